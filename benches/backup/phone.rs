//! The simulated phone behind its sockets, and the moment in which it begins to send files.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use idevice_fix::lockdown::{Phone, Session, pairing};
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::sim::{self, Bus, Device};
use idevice_fix::usbmux::client::Usbmuxd;
use idevice_fix::usbmux::server::Listener;
use idevice_fix::usbmux::{Address, Muxer, Udid};

use super::Load;

/// Files of one folder on the phone.
const IN_A_FOLDER: u32 = 1000;
/// What the phone keeps while a backup is under way: it begins with the first file.
const UNDER_WAY: &str = "state/backup.snapshot";

/// A phone that is served.
pub(crate) struct Served {
    pub(crate) folder: PathBuf,
    pub(crate) device: Arc<Device>,
    pub(crate) tcp: String,
    unix: PathBuf,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

/// Makes the phone's folder.
pub(crate) fn make(folder: &Path, load: &Load, toml: &str) {
    std::fs::create_dir_all(folder).expect("a folder is made");
    let settings = format!("[lock]\npasscode_for_backup = false\n[person]\ntrusts_after_ms = 1\n{toml}");
    std::fs::write(folder.join("device.toml"), settings).expect("a file is written");
    let noise: Vec<u8> = (0..1u32 << 16).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for number in 0..load.files {
        let inside = folder.join(format!("files/HomeDomain/Library/Load/{:04}", number / IN_A_FOLDER));
        if number % IN_A_FOLDER == 0 {
            std::fs::create_dir_all(&inside).expect("a folder is made");
        }
        let mut file = std::fs::File::create(inside.join(format!("{number:07}"))).expect("a file is made");
        let bytes = (load.bytes)(number);
        if load.sparse {
            file.set_len(bytes).expect("a file is made");
        } else {
            let from = number as usize % 1000;
            let to = from + usize::try_from(bytes).expect("small files are small");
            file.write_all(&noise[from..to]).expect("a file is written");
        }
    }
}

impl Served {
    pub(crate) async fn open(folder: &Path) -> Self {
        let device = Device::open(folder, true).expect("the folder is right");
        let unix = folder.join("socket");
        let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let tcp = probe.local_addr().expect("it has an address").to_string();
        drop(probe);
        let listeners = vec![
            Listener::unix(&unix, 0o600).expect("a socket is made"),
            Listener::tcp(&tcp).await.expect("a port is opened"),
        ];
        let stop = CancellationToken::new();
        let bus = Bus::new(vec![device.clone()]);
        let serving = tokio::spawn(sim::run(bus, listeners, stop.clone()));
        Self { folder: folder.to_owned(), device, tcp, unix, stop, serving }
    }

    pub(crate) fn udid(&self) -> Udid {
        self.device.udid().clone()
    }

    pub(crate) async fn session(&self) -> Session {
        let muxer: Arc<dyn Muxer> = Arc::new(Usbmuxd::at(Address::Unix(self.unix.clone())));
        let attached = muxer.devices().await.expect("the bus answers").remove(0);
        let phone = Phone { muxer, attached };
        let wait = Duration::from_secs(20);
        let cancel = CancellationToken::new();
        pairing::establish(&phone, wait, &Silent, &cancel).await.expect("the phone trusts us")
    }

    /// Runs a backup; gives what it gives, and the time since the phone began to send files.
    pub(crate) async fn timed<T>(&self, backup: impl Future<Output = T>) -> (T, Duration) {
        let sign = self.folder.join(UNDER_WAY);
        let _ = std::fs::remove_file(&sign);
        let began = async {
            while !sign.exists() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Instant::now()
        };
        let started = Instant::now();
        tokio::pin!(backup);
        tokio::pin!(began);
        let began = tokio::select! {
            began = &mut began => began,
            done = &mut backup => return (done, started.elapsed()),
        };
        let done = backup.await;
        (done, began.elapsed())
    }

    pub(crate) async fn close(self) {
        self.stop.cancel();
        let _ = self.serving.await;
    }
}
