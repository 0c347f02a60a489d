//! Restores by our own host's side, and what else a host may want done with a backup.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;
use crate::frame::{self, Encoding, Limits};
use crate::mobilebackup2::host::Wish;
use crate::mobilebackup2::wish::{Inspection, RestoreOptions, Subject};
use crate::sim::device::Departure;

/// Everything comes back, and everything else goes.
const ALL: RestoreOptions = RestoreOptions {
    system_files: true,
    preserve_settings: false,
    reboot: false,
    dont_copy_backup: true,
    remove_items_not_restored: true,
};

/// What is below `media/` and `files/`: content, or where a link leads; with the date to the second.
fn everything(folder: &Path) -> BTreeMap<String, (Option<Vec<u8>>, i64)> {
    fn walk(folder: &Path, below: &Path, into: &mut BTreeMap<String, (Option<Vec<u8>>, i64)>) {
        let Ok(entries) = std::fs::read_dir(below) else { return };
        for entry in entries {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let epoch = SystemTime::UNIX_EPOCH;
            let seconds = metadata.modified().unwrap().duration_since(epoch).unwrap().as_secs() as i64;
            let content = if metadata.is_symlink() {
                Some(std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes())
            } else if metadata.is_file() {
                Some(std::fs::read(&path).unwrap())
            } else {
                walk(folder, &path, into);
                None
            };
            into.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), (content, seconds));
        }
    }
    let mut all = BTreeMap::new();
    for part in ["media", "files"] {
        walk(folder, &folder.join(part), &mut all);
    }
    all
}

fn age(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000)).unwrap();
}

impl Bench {
    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.phone.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    async fn restore_with(&self, options: RestoreOptions, source: &str) -> Report {
        let (here, there) = tokio::io::duplex(1 << 16);
        let phone = tokio::spawn(serve(Box::new(there), self.device.clone()));
        let cancel = CancellationToken::new();
        let host = Host::greet(Box::new(here), Patience::default(), &cancel).await.unwrap();
        let root = Dir::open_ambient_dir(self.dest.path(), cap_std::ambient_authority()).unwrap();
        let folder = Folder::open_read_only(root, crate::usbmux::Udid::parse(source).unwrap()).unwrap();
        let udid = self.device.udid().as_str().to_owned();
        let wish = Wish { target: &udid, options, password: None };
        let report = host.restore(wish, folder, &Silent, &cancel).await;
        phone.abort();
        report
    }

    async fn restore(&self, options: RestoreOptions) -> Report {
        let report = self.restore_with(options, self.device.udid().as_str()).await;
        self.device.starts().await;
        report
    }

    fn everything(&self) -> BTreeMap<String, (Option<Vec<u8>>, i64)> {
        everything(self.phone.path())
    }

    /// Asks for something that needs no host's work but the sending of files.
    async fn inspect(&self, what: Inspection) -> Response {
        let (mut here, there) = tokio::io::duplex(1 << 20);
        let phone = tokio::spawn(serve(Box::new(there), self.device.clone()));
        let ask = Request::Inspect { subject: Subject::own(self.device.udid().as_str()), what };
        let told = [
            None,
            Some(HostMessage::VersionOk { major: 400 }),
            Some(HostMessage::Hello { versions: vec![2.1] }),
            Some(HostMessage::Request(ask)),
        ];
        let mut heard = None;
        for say in told {
            if let Some(say) = say {
                frame::write(&mut here, &say.to_value(), Encoding::Binary).await.unwrap();
            }
            heard = Some(self.answer(&mut here).await);
        }
        drop(here);
        let _ = phone.await.unwrap();
        let Some(DeviceMessage::Response(response)) = heard else { panic!("{heard:?}") };
        response
    }

    /// The next message that is not a wish for a file; such wishes are granted.
    async fn answer(&self, here: &mut tokio::io::DuplexStream) -> DeviceMessage {
        use crate::mobilebackup2::request::{Status, StatusValue};
        use crate::mobilebackup2::stream::Writer;
        loop {
            let value = frame::read(here, &Limits::DEVICELINK).await.unwrap();
            let message = DeviceMessage::from_value(value).unwrap();
            let DeviceMessage::DownloadFiles { paths, .. } = message else { return message };
            let mut writer = Writer::new(here);
            for path in paths {
                writer.name(path.as_bytes()).await.unwrap();
                match std::fs::read(self.dest.path().join(&path)) {
                    Ok(content) => {
                        writer.data(&content).await.unwrap();
                        writer.end(0, "").await.unwrap();
                    }
                    Err(_) => writer.end(6, "No such file or directory").await.unwrap(),
                }
            }
            writer.finish().await.unwrap();
            let done = Status::with(StatusValue::Empty);
            frame::write(here, &HostMessage::Status(done).to_value(), Encoding::Binary).await.unwrap();
        }
    }
}

#[tokio::test]
async fn after_a_restore_the_phone_is_what_was_backed_up() {
    let bench = Bench::new(QUIET);
    bench.put("files/AppDomain-org.example.notes/Documents/note.txt", b"note");
    age(&bench.phone.path().join("media/DCIM/100APPLE/IMG_0002.JPG"));
    std::fs::create_dir_all(bench.phone.path().join("media/Downloads/empty folder")).unwrap();
    let before = bench.everything();
    assert!(matches!(bench.back_up(true, 0).await.outcome, Outcome::Finished));
    let backup = everything_of_the_host(&bench);

    bench.put("media/DCIM/100APPLE/IMG_0001.JPG", b"edited");
    bench.put("media/DCIM/101APPLE/NEW.JPG", b"new");
    bench.put("files/HomeDomain/Library/new.db", b"new");
    bench.put("files/NewDomain/x", b"new");
    bench.put("media/com.apple.itunes.lock_sync", b"");
    bench.put("media/iTunesRestore/RestoreApplications.plist", b"");
    let photo = bench.phone.path().join("media/DCIM/100APPLE/IMG_0002.JPG");
    std::fs::remove_file(&photo).unwrap();
    std::fs::create_dir_all(photo.join("a folder in the way")).unwrap();
    std::fs::remove_file(bench.phone.path().join("media/DCIM/100APPLE/link")).unwrap();
    std::os::unix::fs::symlink("/etc", bench.phone.path().join("media/Elsewhere")).unwrap();

    let report = bench.restore(ALL).await;
    assert!(matches!(report.outcome, Outcome::Finished), "{:?} {:?}", report.outcome, report.notes);
    assert!(report.sent_back_bytes > 700_000);
    let mut after = bench.everything();
    assert!(after.remove("media/com.apple.itunes.lock_sync").is_some());
    assert_eq!(after, before);
    assert!(everything_of_the_host(&bench) == backup, "the backup is as it was");
    // Dates that the disk cannot hold are kept beside, for this run and the next.
    let photo = "DCIM/100APPLE/IMG_0002.JPG";
    assert_eq!(bench.device.times(photo).unwrap().mtime.as_second(), 1_500_000_000);
    let again = Device::open(bench.phone.path(), true).unwrap();
    assert_eq!(again.times(photo), bench.device.times(photo));
}

fn everything_of_the_host(bench: &Bench) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![bench.dest.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.push((path.clone(), std::fs::read(path).unwrap()));
            }
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn what_is_not_asked_for_stays_as_it_is() {
    let bench = Bench::new(QUIET);
    bench.put("files/HomeDomain/Library/SMS/sms.db", b"old");
    bench.put("files/AppDomain-org.example.gone/Documents/x", b"old");
    assert!(matches!(bench.back_up(true, 0).await.outcome, Outcome::Finished));
    let settings = "files/HomeDomain/Library/Preferences/com.apple.mobile.ldbackup.plist";
    for path in [
        "files/HomeDomain/Library/SMS/sms.db",
        "files/AppDomain-org.example.gone/Documents/x",
        settings,
        "media/DCIM/100APPLE/IMG_0002.JPG",
        "media/DCIM/100APPLE/IMG_0003.JPG",
    ] {
        bench.put(path, b"new");
    }
    let content = |path: &str| std::fs::read(bench.phone.path().join(path)).unwrap();
    let own = RestoreOptions { reboot: false, ..RestoreOptions::default() };
    assert!(matches!(bench.restore(own).await.outcome, Outcome::Finished));
    assert_eq!(content("media/DCIM/100APPLE/IMG_0002.JPG"), b"two");
    assert_eq!(content("media/DCIM/100APPLE/IMG_0003.JPG"), b"new", "nothing was to be removed");
    assert_eq!(content("files/HomeDomain/Library/SMS/sms.db"), b"new");

    let system = RestoreOptions { system_files: true, ..own };
    assert!(matches!(bench.restore(system).await.outcome, Outcome::Finished));
    assert_eq!(content("files/HomeDomain/Library/SMS/sms.db"), b"old");
    assert_eq!(content(settings), b"new", "the phone keeps its settings");
    assert_eq!(content("files/AppDomain-org.example.gone/Documents/x"), b"new", "the app is not there");

    let apps = b"<plist version=\"1.0\"><dict><key>org.example.gone</key><dict/></dict></plist>";
    bench.put("media/iTunesRestore/RestoreApplications.plist", apps);
    let settings_too = RestoreOptions { preserve_settings: false, ..system };
    assert!(matches!(bench.restore(settings_too).await.outcome, Outcome::Finished));
    assert_eq!(content(settings), b"plist");
    assert_eq!(content("files/AppDomain-org.example.gone/Documents/x"), b"old", "the host has it installed");
    assert!(!bench.phone.path().join("media/iTunesRestore").exists());
}

#[tokio::test]
async fn a_restore_waits_for_the_restart_and_a_second_one_for_it_fails() {
    let bench = Bench::new(QUIET);
    let before = bench.everything();
    bench.back_up(true, 0).await;
    bench.put("media/DCIM/100APPLE/IMG_0002.JPG", b"changed");
    let changed = bench.everything();
    let udid = bench.device.udid().as_str().to_owned();
    assert!(matches!(bench.restore_with(ALL, &udid).await.outcome, Outcome::Finished));
    assert_eq!(bench.everything(), changed, "nothing is in place yet");
    let second = bench.restore_with(ALL, &udid).await.outcome;
    assert!(matches!(second, Outcome::DeviceError { code: 102, .. }), "{second:?}");
    // A phone that is switched off and on again has restarted too.
    Device::open(bench.phone.path(), true).unwrap();
    let after: Vec<_> = bench.everything().into_iter().map(|(path, (content, _))| (path, content)).collect();
    let before: Vec<_> = before.into_iter().map(|(path, (content, _))| (path, content)).collect();
    assert_eq!(after, before);
    assert!(matches!(bench.restore_with(ALL, &udid).await.outcome, Outcome::Finished));
}

#[tokio::test]
async fn a_restore_that_cannot_be_done_says_why_and_changes_nothing() {
    let bench = Bench::new(QUIET);
    bench.back_up(true, 0).await;
    let before = bench.everything();
    let refused = async |want: i64, says: &str| {
        let outcome = bench.restore(ALL).await.outcome;
        let Outcome::DeviceError { code, description } = outcome else { panic!("{outcome:?}") };
        assert_eq!(code, want, "{description}");
        assert!(description.contains(says), "{description}");
        assert_eq!(bench.everything(), before);
    };
    bench.device.set_value("com.apple.fmip", "IsAssociated", Some(true.into()));
    refused(211, "Find My iPhone must be disabled before restoring (MBErrorDomain/211)").await;
    bench.device.set_value("com.apple.fmip", "IsAssociated", Some(false.into()));
    bench.device.set_value("com.apple.disk_usage", "AmountDataAvailable", Some(1000.into()));
    refused(105, "Insufficient free disk space on device to restore (1000 < 7").await;
    bench.device.set_value("com.apple.disk_usage", "AmountDataAvailable", Some(1_000_000_000.into()));

    let own = bench.own();
    let id = crate::backup::manifest::file_id("CameraRollDomain", "Media/DCIM/100APPLE/IMG_0002.JPG");
    for (name, code, says) in [
        (format!("{}/{id}", &id[..2]), 205, "Multiple errors downloading files (MBErrorDomain/205)"),
        ("Manifest.db".into(), 205, "Error reading backup database"),
        ("Manifest.plist".into(), 205, "Error reading backup properties"),
        ("Status.plist".into(), 4, "No such file or directory at path"),
    ] {
        let whole = std::fs::read(own.join(&name)).unwrap();
        std::fs::remove_file(own.join(&name)).unwrap();
        refused(code, says).await;
        if name.ends_with(".plist") || name.ends_with(".db") {
            std::fs::write(own.join(&name), &whole[..whole.len() / 2]).unwrap();
            refused(if name == "Status.plist" { 103 } else { 205 }, "MBErrorDomain").await;
        }
        std::fs::write(own.join(&name), whole).unwrap();
    }
    let database = rusqlite::Connection::open(own.join("Manifest.db")).unwrap();
    database.execute("UPDATE Files SET relativePath = '../../' || relativePath WHERE flags = 1", []).unwrap();
    drop(database);
    refused(205, "a path that no phone can have").await;
}

#[tokio::test]
async fn a_backup_of_another_phone_is_restored_from_its_own_folder() {
    let old = Bench::new(QUIET);
    old.back_up(true, 0).await;
    let new = Bench::new(QUIET);
    std::fs::remove_dir_all(new.phone.path().join("media")).unwrap();
    std::fs::create_dir(new.phone.path().join("media")).unwrap();
    let from = old.device.udid().as_str();
    std::fs::rename(old.own(), new.dest.path().join(from)).unwrap();
    let device = Device::open(new.phone.path(), true).unwrap();
    let new = Bench { device, ..new };
    assert!(matches!(new.restore_with(ALL, from).await.outcome, Outcome::Finished));
    new.device.starts().await;
    assert_eq!(new.everything().keys().collect::<Vec<_>>(), old.everything().keys().collect::<Vec<_>>());
}

#[tokio::test]
async fn an_interrupted_restore_changes_nothing_and_the_next_one_finishes() {
    for fault in ["after_messages = 8\nkind = \"short\"", "after_messages = 7\nkind = \"corrupt\""] {
        let bench = Bench::new(QUIET);
        bench.back_up(true, 0).await;
        let before = bench.everything();
        let text = format!("{QUIET}[[fault]]\nat = \"backup-message\"\n{fault}\n");
        bench.change("device.toml", text.as_bytes());
        tokio::time::sleep(Duration::from_millis(30)).await;
        let outcome = bench.restore(ALL).await.outcome;
        assert!(!matches!(outcome, Outcome::Finished), "{outcome:?}");
        assert_eq!(bench.everything(), before);
        bench.change("device.toml", QUIET.as_bytes());
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(matches!(bench.restore(ALL).await.outcome, Outcome::Finished));
        assert_eq!(bench.everything(), before);
    }
}

#[tokio::test]
async fn a_harsh_phone_is_restored_too_and_lists_nothing() {
    let config = "temper = \"harsh\"\n[person]\nunlocks_after_ms = 50\nenters_passcode_after_ms = 20\n";
    let bench = Bench::new(config);
    let before = bench.everything();
    assert!(matches!(bench.back_up(true, 0).await.outcome, Outcome::Finished));
    bench.put("media/DCIM/100APPLE/IMG_0002.JPG", b"changed");
    assert!(matches!(bench.restore(ALL).await.outcome, Outcome::Finished));
    assert_eq!(bench.everything().keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(bench.everything()["media/DCIM/100APPLE/IMG_0002.JPG"].0.as_deref(), Some(&b"two"[..]));
    let listed = bench.inspect(Inspection::List).await;
    assert_eq!(listed.code, 205);
    let text = listed.description.unwrap();
    assert!(text.contains("/Manifest.mbdb\" (MBErrorDomain/4)."), "{text}");
}

#[tokio::test]
async fn a_backup_is_described_and_listed() {
    let bench = Bench::new(QUIET);
    bench.back_up(true, 0).await;
    let info = bench.inspect(Inspection::Info).await;
    assert_eq!(info.code, 0);
    let text = info.content.unwrap();
    assert!(text.contains("Product Version: 18.4.1\n") && text.contains("Files: 5\n"), "{text}");
    let list = bench.inspect(Inspection::List).await.content.unwrap();
    assert!(
        list.contains("CameraRollDomain,Media/DCIM/100APPLE/IMG_0001.JPG,file,100644,501,501,"),
        "{list}"
    );
    assert!(list.lines().any(|line| line.contains("/link,link,") && line.ends_with(",IMG_0001.JPG")));
    let missing = Inspection::Extract { domain: "HomeDomain".into(), path: "none".into(), password: None };
    assert_eq!(bench.inspect(missing).await.code, 4);
}

#[tokio::test]
async fn a_restart_by_the_restore_puts_it_in_place() {
    use crate::sim::Bus;
    use crate::usbmux::Muxer;
    let bench = Bench::new(QUIET);
    bench.back_up(true, 0).await;
    let before = bench.everything();
    bench.put("media/DCIM/100APPLE/IMG_0003.JPG", b"new");
    let bus = Bus::new(vec![bench.device.clone()]);
    let udid = bench.device.udid().as_str().to_owned();
    let report = bench.restore_with(RestoreOptions { reboot: true, ..ALL }, &udid).await;
    assert!(matches!(report.outcome, Outcome::Finished));
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        if bench.everything() == before && !bus.devices().await.unwrap().is_empty() {
            break;
        }
    }
    assert_eq!(bench.everything(), before);
    assert_eq!(bus.devices().await.unwrap().len(), 1);
    bench.device.leave(Departure::Off);
}

#[tokio::test]
async fn a_phone_that_keeps_nothing_is_restored_for_as_long_as_it_runs() {
    let bench = Bench::new(QUIET);
    bench.back_up(true, 0).await;
    bench.put("media/DCIM/100APPLE/IMG_0002.JPG", b"changed");
    bench.put("media/DCIM/NEW/IMG_0003.JPG", b"new");
    std::fs::remove_file(bench.phone.path().join("media/DCIM/100APPLE/IMG_0001.JPG")).unwrap();
    let folder = bench.everything();
    let device = Device::open(bench.phone.path(), false).unwrap();
    let bench = Bench { device, ..bench };
    assert!(matches!(bench.restore(ALL).await.outcome, Outcome::Finished));
    let media = bench.device.media();
    let read = |path: &str| media.read(Path::new(path)).unwrap();
    assert_eq!(read("DCIM/100APPLE/IMG_0002.JPG").as_deref(), Some(&b"two"[..]));
    assert_eq!(read("DCIM/100APPLE/IMG_0001.JPG").map(|photo| photo.len()), Some(700_000));
    assert_eq!(read("DCIM/NEW/IMG_0003.JPG"), None);
    assert_eq!(media.names(Path::new("DCIM")).unwrap(), ["100APPLE"]);
    assert_eq!(bench.everything(), folder, "the folder is as it was");
    assert!(!bench.phone.path().join("state/restore.waiting").exists());
}
