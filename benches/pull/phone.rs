//! The simulated phone: made by `sim new`, served by `sim run`, both as anyone runs them.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::program::{self, Ran};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_idevice-fix");

/// A file behind which nothing lies on the disk, beside the photos: the cable is measured with it.
pub(crate) const LARGE_FILE: &str = "Benchmark/large.bin";
const LARGE_BYTES: u64 = 4 << 30;

/// What the cable costs.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub(crate) bytes_per_second: u64,
    pub(crate) round_trip_us: u64,
}

/// A phone's folder. Dropped, it is removed.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// A healthy phone with so many photos, of sizes as `sim new --sizes` takes them.
    pub(crate) fn new(photos: u32, sizes: &str) -> Self {
        let folder = scratch();
        let mut command = Command::new(PROGRAM);
        command.args(["sim", "new", "--sparse", "--photos", &photos.to_string(), "--sizes", sizes]);
        let made = program::run(command.arg(folder.path().join("phone"))).and_then(Ran::succeeded);
        let made = made.unwrap_or_else(|why| panic!("no phone could be made: {why}"));
        print!("{}", made.output);
        let phone = Self(folder);
        let large = phone.media().join(LARGE_FILE);
        std::fs::create_dir_all(large.parent().expect("it is in a folder")).expect("a folder is made");
        std::fs::File::create(large).and_then(|file| file.set_len(LARGE_BYTES)).expect("a file is made");
        phone
    }

    pub(crate) fn media(&self) -> PathBuf {
        self.path().join("media")
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("phone")
    }
}

/// A new folder on the disk that the build is on: `/tmp` may be memory.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder")
}

/// A phone that is plugged in. Dropped, it is unplugged.
pub(crate) struct Phone {
    process: Child,
    sockets: tempfile::TempDir,
    /// Where everyone but libimobiledevice finds it: `host:port`.
    pub(crate) tcp: String,
}

impl Phone {
    /// Plugs a phone in. Everyone who asks is trusted at once.
    pub(crate) fn serve(folder: &Folder, temper: &str, link: Option<Link>) -> Self {
        let mut toml = format!("temper = \"{temper}\"\n[person]\ntrusts_after_ms = 1\n");
        if let Some(Link { bytes_per_second, round_trip_us }) = link {
            toml +=
                &format!("[link]\nbytes_per_second = {bytes_per_second}\nround_trip_us = {round_trip_us}\n");
        }
        std::fs::write(folder.path().join("device.toml"), toml).expect("a file is written");
        let sockets = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(PROGRAM);
        command.args(["sim", "run", "--tcp", "127.0.0.1:0", "--unix"]).arg(sockets.path().join("mux"));
        let mut process = command
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the simulator starts");
        let mut lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let tcp = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once('=').map(|(_, address)| address.to_owned()).filter(is_tcp))
            .expect("the simulator says where it listens");
        // What it says later is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.count());
        Self { process, sockets, tcp }
    }

    /// The unix socket.
    pub(crate) fn unix(&self) -> PathBuf {
        self.sockets.path().join("mux")
    }
}

#[expect(clippy::ptr_arg, reason = "it stands in `filter`, which lends what it has")]
fn is_tcp(address: &String) -> bool {
    address.starts_with("127.0.0.1:")
}

impl Drop for Phone {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Plain files below a folder, and their bytes.
pub(crate) fn count(folder: &Path) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let below = if metadata.is_dir() {
            count(&entry.path())
        } else {
            (u64::from(metadata.is_file()), metadata.len())
        };
        files += below.0;
        bytes += below.1;
    }
    (files, bytes)
}
