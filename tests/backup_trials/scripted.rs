//! A scripted phone at the other end of the wire, which says whatever bytes it likes.

use std::path::PathBuf;

use cap_std::fs::Dir;
use idevice_fix::frame::{self, Encoding, Limits};
use idevice_fix::mobilebackup2::folder::Folder;
use idevice_fix::mobilebackup2::host::{Error, Host, Outcome, Patience, Report};
use idevice_fix::mobilebackup2::ledger::Entry;
use idevice_fix::mobilebackup2::message::{DeviceMessage, Response};
use idevice_fix::mobilebackup2::request::{HostMessage, Status};
use idevice_fix::mobilebackup2::stream::Writer;
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::usbmux::Udid;
use tokio::io::{AsyncWriteExt, DuplexStream};

pub(crate) const UDID: &str = "00008101-000000000000001E";
pub(crate) const OTHER: &str = "00008101-00000000000000FF";

/// The phone's end.
pub(crate) struct Phone(pub(crate) DuplexStream);

impl Phone {
    /// Raw bytes; the host may have hung up already.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    pub(crate) async fn say(&mut self, message: DeviceMessage) {
        let _ = frame::write(&mut self.0, &message.to_value(), Encoding::Binary).await;
    }

    /// What the host says; `None`: it hung up.
    pub(crate) async fn hear(&mut self) -> Option<HostMessage> {
        let value = frame::read(&mut self.0, &Limits::DEVICELINK).await.ok()?;
        Some(HostMessage::from_value(value).unwrap())
    }

    pub(crate) async fn ask(&mut self, message: DeviceMessage) -> Status {
        self.say(message).await;
        self.status().await
    }

    pub(crate) async fn status(&mut self) -> Status {
        match self.hear().await {
            Some(HostMessage::Status(status)) => status,
            other => panic!("{other:?} is no status"),
        }
    }

    pub(crate) async fn greets(&mut self) {
        self.say(DeviceMessage::VersionExchange { major: 400, minor: 0 }).await;
        self.hear().await;
        self.say(DeviceMessage::Ready).await;
        self.hear().await;
        let protocol_version = Some(2.1);
        self.say(DeviceMessage::Response(Response { protocol_version, ..Response::default() })).await;
        self.hear().await;
    }

    /// Uploads one file with a name of any bytes.
    pub(crate) async fn upload(&mut self, host_path: &[u8], content: &[u8]) -> Status {
        self.begins_file(host_path).await;
        let mut writer = Writer::new(&mut self.0);
        writer.data(content).await.unwrap();
        writer.end(0, "").await.unwrap();
        writer.finish().await.unwrap();
        self.status().await
    }

    /// Up to the names of a file.
    pub(crate) async fn begins_file(&mut self, host_path: &[u8]) {
        self.say(DeviceMessage::UploadFiles { progress: 1.0, total_bytes: 1 }).await;
        self.names(host_path).await;
    }

    /// The names of a file.
    pub(crate) async fn names(&mut self, host_path: &[u8]) {
        for name in [&b"/private/var/x"[..], host_path] {
            self.raw(&u32::try_from(name.len()).unwrap().to_be_bytes()).await;
            self.raw(name).await;
        }
    }

    pub(crate) async fn done(&mut self, code: i64) {
        self.say(DeviceMessage::Response(Response { code, ..Response::default() })).await;
        self.hear().await;
    }
}

/// The host's folders: the phone's own, another phone's beside it, and something outside.
pub(crate) struct Place {
    pub(crate) temp: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        for folder in [format!("root/{UDID}/ab"), format!("root/{OTHER}"), "outside".to_owned()] {
            std::fs::create_dir_all(temp.path().join(folder)).unwrap();
        }
        for file in [format!("root/{OTHER}/Manifest.db"), "outside/secret".to_owned()] {
            std::fs::write(temp.path().join(file), b"another's").unwrap();
        }
        std::fs::write(temp.path().join(format!("root/{UDID}/Manifest.db")), b"own").unwrap();
        let own = temp.path().join(format!("root/{UDID}"));
        std::os::unix::fs::symlink(temp.path().join("outside"), own.join("folder-link")).unwrap();
        std::os::unix::fs::symlink(temp.path().join("outside/secret"), own.join("file-link")).unwrap();
        Self { temp }
    }

    pub(crate) fn own(&self, name: &str) -> PathBuf {
        self.temp.path().join("root").join(UDID).join(name)
    }

    /// A backup by a phone that does what the script says after the greetings.
    pub(crate) async fn backup<F: Future<Output = ()> + Send + 'static>(
        &self,
        patience: Patience,
        script: impl FnOnce(Phone) -> F + Send + 'static,
    ) -> Report {
        let greeted = |mut phone: Phone| async move {
            phone.greets().await;
            script(phone).await;
        };
        self.unasked(patience, greeted).await.expect("it greets rightly")
    }

    /// A backup by a phone that does what the script says.
    pub(crate) async fn unasked<F: Future<Output = ()> + Send + 'static>(
        &self,
        patience: Patience,
        script: impl FnOnce(Phone) -> F + Send + 'static,
    ) -> Result<Report, Error> {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let phone = tokio::spawn(script(Phone(there)));
        let cancel = CancellationToken::new();
        let root =
            Dir::open_ambient_dir(self.temp.path().join("root"), cap_std::ambient_authority()).unwrap();
        let folder = Folder::open(root, Udid::parse(UDID).unwrap(), 0).unwrap();
        let ledger = Box::new(Vec::<Entry>::new());
        let report = match Host::greet(Box::new(here), patience, &cancel).await {
            Ok(host) => Ok(host.backup(true, folder, ledger, &Silent, &cancel).await),
            Err(error) => Err(error),
        };
        // A script that waits for ever ends with the test.
        if phone.is_finished() {
            phone.await.expect("the script's own expectations hold");
        } else {
            phone.abort();
            match phone.await {
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                _ => {}
            }
        }
        self.is_unharmed();
        report
    }

    /// Nothing outside the phone's own folder has changed.
    fn is_unharmed(&self) {
        let names = |folder: &str| {
            let entries = std::fs::read_dir(self.temp.path().join(folder)).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names(""), ["outside", "root"]);
        assert_eq!(names("outside"), ["secret"]);
        assert_eq!(names("root"), [UDID, OTHER, "incoming"]);
        assert_eq!(names(&format!("root/{OTHER}")), ["Manifest.db"]);
        for file in [format!("root/{OTHER}/Manifest.db"), "outside/secret".to_owned()] {
            assert_eq!(std::fs::read(self.temp.path().join(file)).unwrap(), b"another's");
        }
        assert_eq!(names("root/incoming"), [""; 0], "nothing is left incoming");
    }
}

/// The words of whatever ended a backup.
pub(crate) fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Broken(error) => error.to_string(),
        Outcome::HostError(error) => error.to_string(),
        other => format!("{other:?}"),
    }
}

/// The most memory that this process has had, in bytes.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
