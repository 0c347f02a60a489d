//! How long `diagnose` takes on a large library, against the time that copying the files takes which it must read.
//!
//! The phone is a process of its own behind a socket; so is `diagnose`, with its peak memory watched. The same files are
//! then copied over the same cable by somebody who does nothing else: `diagnose` may take three seconds more, and at most
//! 128 MiB.
//!
//! `cargo bench --bench diagnose`, on a machine that does nothing else. Behind `--`: `harsh` for a phone that is as hard
//! as real ones were seen to be, a number for so many photos (100,000). About two minutes, most of them for making the
//! phone, which is kept in `target/tmp` for the next time.

#![expect(clippy::print_stdout, reason = "figures are what a benchmark is for")]

#[path = "common/reading.rs"]
mod reading;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use idevice_fix::afc::Afc;
use idevice_fix::library::{self, cpl};
use idevice_fix::lockdown::{Phone, pairing};
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::usbmux::client::Usbmuxd;
use idevice_fix::usbmux::{Address, Muxer};

const PROGRAM: &str = env!("CARGO_BIN_EXE_idevice-fix");
const PHOTOS: u32 = 100_000;
const BYTES_PER_SECOND: u64 = 40_000_000;
const ROUND_TRIP_US: u64 = 1000;
/// What `diagnose` may take besides the copying.
const WANTED_SECONDS_MORE: f64 = 3.0;
const WANTED_MIB: u64 = 128;
/// How often the memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let harsh = words.iter().any(|word| word == "harsh");
    let photos = words.iter().find_map(|word| word.parse().ok()).unwrap_or(PHOTOS);
    let folder = phone(photos);
    let served = Served::start(&folder, if harsh { "harsh" } else { "kind" });
    let home = tempfile::tempdir().expect("a temporary folder");
    // Once to be trusted, which is not what is measured.
    diagnose(&served, home.path());
    let (seconds, peak_kib) = diagnose(&served, home.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (bytes, copying) = runtime.block_on(copy(&served));
    let (more, mib) = (seconds - copying, peak_kib.div_ceil(1024));
    let word = |met: bool| if met { "met" } else { "MISSED" };
    println!(
        "{photos} photos, {} phone, {} MB/s, {} ms: diagnose {seconds:.2} s; copying {:.1} MB of files that it must \
         read {copying:.2} s; {more:.2} s more (wanted at most {WANTED_SECONDS_MORE}: {}); peak {mib} MiB (wanted at \
         most {WANTED_MIB}: {})",
        if harsh { "harsh" } else { "kind" },
        BYTES_PER_SECOND / 1_000_000,
        ROUND_TRIP_US / 1000,
        bytes as f64 / 1e6,
        word(more <= WANTED_SECONDS_MORE),
        word(mib <= WANTED_MIB),
    );
}

/// The folder of a phone with so many photos, from an earlier time or new.
fn phone(photos: u32) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("diagnose-{photos}"));
    if !folder.join("lockdown.plist").exists() {
        println!("making a phone with {photos} photos ...");
        let mut command = Command::new(PROGRAM);
        command.args(["sim", "new", "--sparse", "--sizes", "2000", "--photos", &photos.to_string()]);
        assert!(command.arg(&folder).status().expect("the program runs").success(), "no phone was made");
    }
    folder
}

/// A phone that is plugged in. Dropped, it is unplugged.
struct Served {
    process: Child,
    socket: PathBuf,
    _room: tempfile::TempDir,
}

impl Served {
    fn start(folder: &Path, temper: &str) -> Self {
        let toml = format!(
            "temper = \"{temper}\"\n[person]\ntrusts_after_ms = 1\n[link]\nbytes_per_second = {BYTES_PER_SECOND}\n\
             round_trip_us = {ROUND_TRIP_US}\n"
        );
        std::fs::write(folder.join("device.toml"), toml).expect("a file is written");
        let room = tempfile::tempdir().expect("a temporary folder");
        let socket = room.path().join("mux");
        let mut command = Command::new(PROGRAM);
        command.args(["sim", "run", "--unix"]).arg(&socket).arg(folder);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the simulator starts");
        let mut lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let says = lines.by_ref().map_while(Result::ok).find(|line| line.contains('='));
        says.expect("the simulator says where it listens");
        // What it says later is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.count());
        Self { process, socket, _room: room }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs `diagnose`: seconds, and peak memory in KiB.
fn diagnose(served: &Served, home: &Path) -> (f64, u64) {
    let answer = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut command = Command::new(PROGRAM);
    command
        .args(["--json", "-y", "diagnose"])
        .env("USBMUXD_SOCKET_ADDRESS", format!("UNIX:{}", served.socket.display()))
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .env("XDG_DATA_HOME", home)
        .stdin(Stdio::null())
        .stdout(answer.reopen().expect("a second handle"))
        .stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command.spawn().expect("the program runs");
    let mut peak_kib = 0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            break status;
        }
        peak_kib = peak_kib.max(memory_kib(child.id()));
        std::thread::sleep(LOOK_EVERY);
    };
    let seconds = started.elapsed().as_secs_f64();
    assert!(status.success(), "diagnose ended with {status}");
    let said = std::fs::read(answer.path()).expect("it was written");
    let said: serde_json::Value = serde_json::from_slice(&said).expect("it is JSON");
    assert!(said["facts"]["library"]["assets"].as_u64() > Some(0), "the library was not read");
    (seconds, peak_kib)
}

fn memory_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// Copies what `diagnose` must read, and throws it away: bytes and seconds.
async fn copy(served: &Served) -> (u64, f64) {
    let muxer: Arc<dyn Muxer> = Arc::new(Usbmuxd::at(Address::Unix(served.socket.clone())));
    let attached = muxer.devices().await.expect("the phone is listed").remove(0);
    let phone = Phone { muxer, attached };
    let cancel = CancellationToken::new();
    let wait = Duration::from_secs(30);
    let session = pairing::establish(&phone, wait, &Silent, &cancel).await.expect("the phone trusts us");
    let afc = Afc::open(&session).await.expect("the files are served");
    let library = format!("{}/{}", library::FOLDER, library::DATABASE_NAME);
    let store = format!("{}/{}", library::STORE_FOLDER, library::STORE_NAME);
    let paths =
        [format!("{library}-wal"), library, format!("{store}-wal"), store, cpl::STATUS_PATH.to_owned()];
    let started = Instant::now();
    let mut bytes = 0;
    for path in paths {
        bytes += copy_one(&afc, &path).await;
    }
    (bytes, started.elapsed().as_secs_f64())
}

async fn copy_one(afc: &Afc, path: &str) -> u64 {
    match afc.file_info(path).await {
        Ok(info) => reading::read(afc, path, info.size).await,
        Err(_) => 0,
    }
}
