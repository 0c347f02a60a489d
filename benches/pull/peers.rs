//! The others: pymobiledevice3, ifuse with cp, and the AFC client of the `idevice` crate. Each copies as its users do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use idevice::IdeviceService;
use idevice::afc::AfcClient;
use idevice::afc::opcode::AfcFopenMode;
use idevice::usbmuxd::UsbmuxdAddr;
use serde_json::{Value, json};

use crate::phone::{self, Phone};
use crate::program::{self, Ran};

/// What a peer did with some of the phone's folders.
pub(crate) struct Copied {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) peak_kib: Option<u64>,
}

/// A peer.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Copies these folders of the phone; `Err`: why it could not.
    pub(crate) copy: fn(&Phone, &[String], &Path) -> Result<Copied, String>,
}

/// All of them.
pub(crate) const PEERS: &[Peer] = &[
    Peer { name: "pymobiledevice3 afc pull", copy: pymobiledevice3 },
    Peer { name: "ifuse + cp", copy: ifuse },
    Peer { name: "idevice crate", copy: idevice_in_its_process },
];

fn named(variable: &str, usual: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| usual.into())
}

/// Its start takes a second or two, which is nobody's copying: it is measured and taken off.
fn pymobiledevice3(phone: &Phone, folders: &[String], to: &Path) -> Result<Copied, String> {
    let home = tempfile::tempdir().expect("a temporary folder");
    let command = || {
        let mut command = Command::new(named("PYMOBILEDEVICE3", "pymobiledevice3"));
        command.env("HOME", home.path()).env("USBMUXD_SOCKET_ADDRESS", &phone.tcp).arg("afc");
        command
    };
    let listed = || program::run(command().args(["ls", "/Benchmark"])).and_then(Ran::succeeded);
    // The first one pairs.
    listed()?;
    let start = listed()?.seconds;
    let (mut seconds, mut peak_kib) = (0.0, 0);
    for folder in folders {
        let ran = program::run(command().args(["pull", "-i"]).arg(format!("/{folder}")).arg(to))?;
        seconds += (ran.seconds - start).max(0.0);
        peak_kib = peak_kib.max(ran.peak_kib);
    }
    let (files, bytes) = phone::count(to);
    Ok(Copied { files, bytes, seconds, peak_kib: Some(peak_kib) })
}

/// It does not wait for the person who is asked whether to trust this computer: one tries again, as its users do.
const MOUNTS_MAX: usize = 4;

/// Only cp is timed.
fn ifuse(phone: &Phone, folders: &[String], to: &Path) -> Result<Copied, String> {
    let point = tempfile::tempdir().expect("a temporary folder");
    let mount = || {
        let mut mount = Command::new(named("IFUSE", "ifuse"));
        mount.env("USBMUXD_SOCKET_ADDRESS", format!("UNIX:{}", phone.unix().display()));
        program::run(mount.arg(point.path())).and_then(Ran::succeeded)
    };
    let mut mounted = mount();
    for _ in 1..MOUNTS_MAX {
        if mounted.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
        mounted = mount();
    }
    mounted?;
    let folders = folders.iter().map(|folder| point.path().join(folder));
    let copied = program::run(Command::new("cp").arg("-r").args(folders).arg(to));
    let unmounted = ["fusermount3", "fusermount"].iter().any(|program| {
        program::run(Command::new(program).arg("-u").arg(point.path())).is_ok_and(|ran| ran.trouble.is_none())
    });
    assert!(unmounted, "{} stays mounted", point.path().display());
    let (files, bytes) = phone::count(to);
    // A harsh phone refuses one file: cp goes on and does not succeed.
    let ran = copied.and_then(|ran| if files > 0 { Ok(ran) } else { ran.succeeded() })?;
    Ok(Copied { files, bytes, seconds: ran.seconds, peak_kib: None })
}

fn idevice_in_its_process(phone: &Phone, folders: &[String], to: &Path) -> Result<Copied, String> {
    let (mut seconds, mut peak_kib) = (0.0, 0);
    for folder in folders {
        let said = program::play("idevice", &[&phone.unix(), Path::new(folder), to]);
        seconds += said["seconds"].as_f64().expect("it says so");
        peak_kib = peak_kib.max(said["peak_kib"].as_u64().expect("it says so"));
    }
    let (files, bytes) = phone::count(to);
    Ok(Copied { files, bytes, seconds, peak_kib: Some(peak_kib) })
}

/// A folder with all below it, as a program that is made with the crate copies it: list, ask, open, read, close, write.
pub(crate) async fn idevice_crate(socket: &Path, folder: &Path, to: &Path) -> Value {
    let address = UsbmuxdAddr::UnixSocket(socket.display().to_string());
    let mut muxer = address.connect(0).await.expect("the bus answers");
    let device = muxer.get_devices().await.expect("the bus answers").remove(0);
    let provider = device.to_provider(address, "bench");
    let mut afc = AfcClient::connect(&provider).await.expect("AFC starts");
    let started = Instant::now();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        let local = local(to, &folder);
        std::fs::create_dir_all(&local).expect("a folder is made");
        for name in afc.list_dir(folder.display().to_string()).await.expect("it is listed") {
            if matches!(name.as_str(), "." | "..") {
                continue;
            }
            let path = folder.join(&name);
            let info = afc.get_file_info(path.display().to_string()).await.expect("it is there");
            if info.st_ifmt == "S_IFDIR" {
                waiting.push(path);
            } else if let Ok(mut file) = afc.open(path.display().to_string(), AfcFopenMode::RdOnly).await {
                let bytes = file.read_entire().await.expect("it is read");
                file.close().await.expect("it is closed");
                std::fs::write(local.join(name), bytes).expect("the disk takes it");
            }
        }
    }
    json!({"seconds": started.elapsed().as_secs_f64()})
}

fn local(to: &Path, folder: &Path) -> PathBuf {
    to.join(folder.strip_prefix("/").unwrap_or(folder))
}
