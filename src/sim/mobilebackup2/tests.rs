//! The phone's side against our own host's side.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::Dir;

use super::*;
use crate::mobilebackup2::folder::Folder;
use crate::mobilebackup2::host::{Host, Outcome, Patience, Report};
use crate::progress::{CancellationToken, Silent};
use crate::sim::config::Lock;

mod restore;
mod snapshot;

pub(super) struct Bench {
    pub(super) phone: tempfile::TempDir,
    pub(super) dest: tempfile::TempDir,
    pub(super) device: Arc<Device>,
}

impl Bench {
    pub(super) fn new(config: &str) -> Self {
        let phone = tempfile::tempdir().unwrap();
        let put = |path: &str, bytes: &[u8]| {
            let path = phone.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        put("device.toml", config.as_bytes());
        put("media/DCIM/100APPLE/IMG_0001.JPG", &vec![1; 700_000]);
        put("media/DCIM/100APPLE/IMG_0002.JPG", b"two");
        put("media/DCIM/100APPLE/empty", b"");
        put("media/PhotoData/Photos.sqlite", &vec![3; 8192]);
        put("files/HomeDomain/Library/Preferences/com.apple.mobile.ldbackup.plist", b"plist");
        std::os::unix::fs::symlink("IMG_0001.JPG", phone.path().join("media/DCIM/100APPLE/link")).unwrap();
        let device = Device::open(phone.path(), true).unwrap();
        Self { phone, dest: tempfile::tempdir().unwrap(), device }
    }

    pub(super) fn own(&self) -> PathBuf {
        self.dest.path().join(self.device.udid().as_str())
    }

    /// A host and a phone that have greeted each other.
    pub(super) async fn greeted(&self) -> (Host, tokio::task::JoinHandle<io::Result<()>>) {
        let (here, there) = tokio::io::duplex(1 << 16);
        let phone = tokio::spawn(serve(Box::new(there), self.device.clone()));
        let host = Host::greet(Box::new(here), Patience::default(), &CancellationToken::new()).await;
        (host.unwrap(), phone)
    }

    pub(super) async fn back_up(&self, force_full: bool, free_bytes_held_back: u64) -> Report {
        let (host, phone) = self.greeted().await;
        let cancel = CancellationToken::new();
        let root = Dir::open_ambient_dir(self.dest.path(), cap_std::ambient_authority()).unwrap();
        let folder = Folder::open(root, self.device.udid().clone(), free_bytes_held_back).unwrap();
        let report = host.backup(force_full, folder, Box::new(Vec::new()), &Silent, &cancel).await;
        phone.abort();
        report
    }

    /// Domain and path of each file, with its content.
    fn content(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let database = rusqlite::Connection::open(self.own().join("Manifest.db")).unwrap();
        let mut rows =
            database.prepare("SELECT fileID, domain, relativePath FROM Files WHERE flags = 1").unwrap();
        let rows = rows.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        });
        let read = |id: &str| std::fs::read(self.own().join(&id[..2]).join(id)).ok();
        rows.unwrap()
            .map(|row| row.unwrap())
            .map(|(id, domain, path)| (format!("{domain}::{path}"), read(&id)))
            .collect()
    }

    pub(super) fn change(&self, path: &str, bytes: &[u8]) {
        std::fs::write(self.phone.path().join(path), bytes).unwrap();
    }
}

pub(super) const QUIET: &str = "[lock]\npasscode_for_backup = false\n";

fn sqlite_photos(content: &BTreeMap<String, Option<Vec<u8>>>) -> &Option<Vec<u8>> {
    &content["CameraRollDomain::Media/PhotoData/Photos.sqlite"]
}

#[tokio::test]
async fn a_full_backup_then_an_incremental_one_that_sends_only_what_changed() {
    let bench = Bench::new(QUIET);
    let report = bench.back_up(true, 0).await;
    assert!(matches!(report.outcome, Outcome::Finished), "{:?}", report.outcome);
    let content = bench.content();
    assert_eq!(content.len(), 5);
    assert_eq!(
        content["CameraRollDomain::Media/DCIM/100APPLE/IMG_0001.JPG"].as_deref(),
        Some(&vec![1; 700_000][..])
    );
    assert_eq!(content["CameraRollDomain::Media/DCIM/100APPLE/empty"].as_deref(), Some(&b""[..]));
    assert!(sqlite_photos(&content).is_some());
    assert!(!bench.own().join("Snapshot").exists());
    let id = crate::backup::manifest::file_id("CameraRollDomain", "Media/DCIM/100APPLE/IMG_0002.JPG");
    let stale = bench.own().join(&id[..2]).join(&id);
    assert!(stale.exists());

    bench.change("media/DCIM/100APPLE/IMG_0001.JPG", b"shorter now");
    std::fs::remove_file(bench.phone.path().join("media/DCIM/100APPLE/IMG_0002.JPG")).unwrap();
    let report = bench.back_up(false, 0).await;
    assert!(matches!(report.outcome, Outcome::Finished), "{:?}", report.outcome);
    // The changed file and the records.
    assert_eq!(report.stored.files, 1 + 4);
    assert!(report.sent_back_bytes > 0);
    assert_eq!(bench.content().len(), 4);
    assert!(!stale.exists());

    let report = bench.back_up(true, 0).await;
    assert_eq!(report.stored.files, 4 + 4, "a full backup sends everything");
}

#[tokio::test]
async fn a_harsh_phone_gets_its_backup_too() {
    let bench =
        Bench::new("temper = \"harsh\"\n[person]\nunlocks_after_ms = 50\nenters_passcode_after_ms = 20\n");
    let report = bench.back_up(true, 0).await;
    assert!(matches!(report.outcome, Outcome::Finished), "{:?}", report.outcome);
    assert!(report.notes.iter().any(|note| note.contains("0x0b")), "{:?}", report.notes);
    let content = bench.content();
    let refused = "HomeDomain::Library/Application Support/FileProvider/backup/backup_manifest.db";
    assert_eq!(content[refused].as_deref(), Some(&b""[..]), "an empty file stands for what was refused");
    assert!(sqlite_photos(&content).is_some());
}

#[tokio::test]
async fn a_full_host_is_told_what_is_missing() {
    let bench = Bench::new(QUIET);
    let report = bench.back_up(true, u64::MAX).await;
    assert!(matches!(report.outcome, Outcome::DeviceError { code: 105, .. }), "{:?}", report.outcome);
    let sent = 700_000 + 3 + 8192 + 5;
    assert_eq!(report.purge_wanted_bytes, Some(sent + (128 << 20) + (2 << 30)));
}

#[tokio::test]
async fn a_passcode_that_nobody_enters_ends_with_208() {
    let bench = Bench::new("[person]\nenters_passcode_after_ms = 0\n");
    let report = bench.back_up(true, 0).await;
    assert!(matches!(report.outcome, Outcome::DeviceError { code: 208, .. }), "{:?}", report.outcome);
}

#[tokio::test]
async fn empty_metadata_is_no_earlier_backup_after_a_full_one_and_an_error_after_an_incremental_one() {
    let bench = Bench::new(QUIET);
    bench.back_up(true, 0).await;
    std::fs::write(bench.own().join("Manifest.plist"), b"").unwrap();
    let report = bench.back_up(false, 0).await;
    assert!(matches!(report.outcome, Outcome::Finished), "{:?}", report.outcome);
    assert_eq!(report.stored.files, 5 + 4);
    bench.back_up(false, 0).await;
    std::fs::write(bench.own().join("Manifest.plist"), b"").unwrap();
    let report = bench.back_up(false, 0).await;
    assert!(matches!(report.outcome, Outcome::DeviceError { code: 205, .. }), "{:?}", report.outcome);
}

#[tokio::test]
async fn faults_never_look_like_success() {
    for (kind, at, after) in [
        ("short", "backup-message", "after_messages = 5"),
        ("lie-about-length", "backup-message", "after_messages = 5"),
        ("corrupt", "backup-message", "after_messages = 5"),
        ("refuse", "backup-message", "after_messages = 5"),
        ("refuse", "backup-message", "after_messages = 14"),
    ] {
        let fault = format!("{QUIET}[[fault]]\nat = \"{at}\"\n{after}\nkind = \"{kind}\"\n");
        let report = Bench::new(&fault).back_up(true, 0).await;
        assert!(!matches!(report.outcome, Outcome::Finished), "{kind}");
    }
}

#[tokio::test]
async fn requests_that_are_not_known_get_an_honest_answer() {
    use crate::frame::{self, Encoding, Limits};
    let bench = Bench::new(QUIET);
    let (mut here, there) = tokio::io::duplex(1 << 16);
    let phone = tokio::spawn(serve(Box::new(there), bench.device.clone()));
    let mut body = plist::Dictionary::new();
    body.insert("MessageName".into(), "Unheard".into());
    let unheard = plist::Value::Array(vec!["DLMessageProcessMessage".into(), plist::Value::Dictionary(body)]);
    for (say, hear) in [
        (None, "DLMessageVersionExchange"),
        (Some(HostMessage::VersionOk { major: 400 }.to_value()), "DLMessageDeviceReady"),
        (Some(HostMessage::Hello { versions: vec![2.1] }.to_value()), "DLMessageProcessMessage"),
        (Some(unheard), "DLMessageProcessMessage"),
    ] {
        if let Some(say) = say {
            frame::write(&mut here, &say, Encoding::Xml).await.unwrap();
        }
        let heard = frame::read(&mut here, &Limits::DEVICELINK).await.unwrap();
        let heard = DeviceMessage::from_value(heard).unwrap();
        assert_eq!(heard.name(), hear);
        if let DeviceMessage::Response(response) = heard {
            let answered = response.protocol_version.is_none();
            assert_eq!(response.code, i64::from(answered), "{response:?}");
        }
    }
    assert_eq!(*bench.device.lock().borrow(), Lock::Unlocked);
    drop(here);
    phone.await.unwrap().unwrap();
}
