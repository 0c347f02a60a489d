//! Encrypted backups of the phone, read with the reader of backups; and the password that changes on the way.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use cap_std::fs::Dir;

use super::super::tests::{Bench, QUIET};
use super::*;
use crate::backup::manifest::{self, Status};
use crate::backup::read::Backup;
use crate::mobilebackup2::host::{Outcome, Reply};
use crate::progress::CancellationToken;
use crate::sim::Device as Phone;

const FEW: &str = "[backup]\ndpic = 20\niter = 10\n";
const PHOTO: &str = "CameraRollDomain::Media/DCIM/100APPLE/IMG_0001.JPG";

fn encrypting(more: &str) -> Bench {
    let bench = Bench::new(&format!("{more}{FEW}password = \"first\"\n"));
    for path in
        ["HomeDomain/Library/CallHistoryDB/CallHistory.storedata", "HealthDomain/Health/healthdb.sqlite"]
    {
        let path = bench.phone.path().join("files").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"private").unwrap();
    }
    bench
}

async fn finished(bench: &Bench, force_full: bool) -> u64 {
    let report = bench.back_up(force_full, 0).await;
    assert!(matches!(report.outcome, Outcome::Finished), "{:?}", report.outcome);
    report.stored.files
}

fn open(bench: &Bench, password: Option<&str>) -> Result<Backup, manifest::Error> {
    let dir = |path: &Path| Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap();
    let password = password.map(Secret::new);
    Backup::open(dir(&bench.own()), password.as_ref(), &dir(bench.dest.path()))
}

/// Domain and path of each file with its content in the clear; what cannot be read has none.
fn content(bench: &Bench, password: Option<&str>) -> BTreeMap<String, Option<Vec<u8>>> {
    let backup = open(bench, password).unwrap();
    let mut rows = Vec::new();
    backup
        .rows(|row| {
            rows.push(row);
            true
        })
        .unwrap();
    let read = |domain: &str, path: &str| {
        let mut bytes = Vec::new();
        backup.open_file(domain, path).and_then(|mut file| file.read_to_end(&mut bytes)).ok().map(|_| bytes)
    };
    let files = rows.iter().filter(|row| row.is_file());
    files.map(|row| (format!("{}::{}", row.domain, row.path), read(&row.domain, &row.path))).collect()
}

fn stored(bench: &Bench, name: &str) -> Vec<u8> {
    let (domain, path) = name.split_once("::").unwrap();
    let id = manifest::file_id(domain, path);
    std::fs::read(bench.own().join(&id[..2]).join(id)).unwrap()
}

async fn change(bench: &Bench, old: Option<&str>, new: Option<&str>) -> Result<(), i64> {
    let (host, phone) = bench.greeted().await;
    let (old, new) = (old.map(Secret::new), new.map(Secret::new));
    let cancel = CancellationToken::new();
    let reply = host.change_password(bench.device.udid(), old.as_ref(), new.as_ref(), &cancel).await;
    phone.await.unwrap().unwrap();
    match reply.unwrap() {
        Reply::Done => Ok(()),
        Reply::DeviceError { code, .. } => Err(code),
        Reply::Disconnected { text } => panic!("disconnected: {text}"),
    }
}

/// `ChangePassword` byte by byte as pymobiledevice3 writes it, and the phone's answer.
#[tokio::test]
async fn a_password_is_set_by_the_bytes_of_another_host() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let bench = Bench::new(&format!("{QUIET}{FEW}"));
    let (mut here, there) = tokio::io::duplex(1 << 16);
    let phone = tokio::spawn(super::super::serve(Box::new(there), bench.device.clone()));
    let udid = bench.device.udid().as_str();
    let xml = |body: String| {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
             \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n{body}\n</plist>\n"
        );
        [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
    };
    let process = |entries: String| {
        xml(format!("<array><string>DLMessageProcessMessage</string><dict>{entries}</dict></array>"))
    };
    let version = "<array><string>DLMessageVersionExchange</string><string>DLVersionsOk</string>\
                   <integer>400</integer></array>";
    let hello = "<key>MessageName</key><string>Hello</string><key>SupportedProtocolVersions</key>\
                 <array><real>2.0</real><real>2.1</real></array>";
    let change = |passwords: &str| {
        process(format!(
            "<key>MessageName</key><string>ChangePassword</string><key>TargetIdentifier</key>\
             <string>{udid}</string>{passwords}"
        ))
    };
    let new = change("<key>NewPassword</key><string>p\u{e4}ss &amp; more</string>");
    let wrong = change("<key>OldPassword</key><string>pass</string>");
    let mut answers = Vec::new();
    for say in [Vec::new(), xml(version.to_owned()), process(hello.to_owned()), new, wrong] {
        here.write_all(&say).await.unwrap();
        let length = here.read_u32().await.unwrap();
        let mut bytes = vec![0; length as usize];
        here.read_exact(&mut bytes).await.unwrap();
        assert!(bytes.starts_with(b"bplist00"));
        answers.push(Value::from_reader(io::Cursor::new(bytes)).unwrap());
    }
    let answer = |at: usize| {
        let elements = answers[at].as_array().unwrap();
        assert_eq!(elements.len(), 2, "libimobiledevice wants exactly two");
        let body = elements[1].as_dictionary().unwrap();
        (body.string("MessageName").unwrap().to_owned(), body.int("ErrorCode").unwrap())
    };
    assert_eq!(answer(3), ("Response".to_owned(), 0));
    assert_eq!(bench.device.backup_password().as_deref(), Some("p\u{e4}ss & more"));
    assert_eq!(answer(4), ("Response".to_owned(), 207));
    drop(here);
    phone.await.unwrap().unwrap();
}

fn will_encrypt(bench: &Bench) -> Option<bool> {
    bench.device.value("com.apple.mobile.backup", "WillEncrypt").and_then(|value| value.as_boolean())
}

#[tokio::test]
async fn a_full_and_an_incremental_backup_open_with_the_password_alone() {
    let bench = encrypting(QUIET);
    assert_eq!(finished(&bench, true).await, 7 + 4);
    assert!(matches!(open(&bench, Some("First")), Err(manifest::Error::WrongPassword)));
    let read = content(&bench, Some("first"));
    assert_eq!(read[PHOTO].as_deref(), Some(&vec![1; 700_000][..]));
    assert_eq!(read["CameraRollDomain::Media/DCIM/100APPLE/empty"].as_deref(), Some(&b""[..]));
    assert_eq!(read["HealthDomain::Health/healthdb.sqlite"].as_deref(), Some(&b"private"[..]));
    let photo = stored(&bench, PHOTO);
    assert_eq!(photo.len() as u64, Encrypting::length(700_000));
    assert!(!std::fs::read(bench.own().join("Manifest.db")).unwrap().starts_with(b"SQLite"));

    bench.change("media/DCIM/100APPLE/IMG_0002.JPG", b"another");
    bench.change("media/DCIM/100APPLE/empty", b"no more");
    assert_eq!(finished(&bench, false).await, 2 + 4, "only what changed is sent");
    let read = content(&bench, Some("first"));
    assert_eq!(read["CameraRollDomain::Media/DCIM/100APPLE/IMG_0002.JPG"].as_deref(), Some(&b"another"[..]));
    assert_eq!(read["CameraRollDomain::Media/DCIM/100APPLE/empty"].as_deref(), Some(&b"no more"[..]));
    assert_eq!(read[PHOTO].as_deref(), Some(&vec![1; 700_000][..]));
    assert!(stored(&bench, PHOTO) == photo, "its key stayed");
    let own = Dir::open_ambient_dir(bench.own(), cap_std::ambient_authority()).unwrap();
    assert!(!Status::read(&own).unwrap().full);
}

#[tokio::test]
async fn a_harsh_phone_encrypts_too_and_its_refused_row_is_harmless() {
    let bench =
        encrypting("temper = \"harsh\"\n[person]\nunlocks_after_ms = 50\nenters_passcode_after_ms = 20\n");
    finished(&bench, true).await;
    let read = content(&bench, Some("first"));
    assert_eq!(read[PHOTO].as_deref(), Some(&vec![1; 700_000][..]));
    assert_eq!(read["CameraRollDomain::Media/PhotoData/Photos.sqlite"].as_deref(), Some(&[3; 8192][..]));
    assert_eq!(read.values().filter(|content| content.is_none()).count(), 1);
}

#[tokio::test]
async fn a_password_is_set_changed_and_removed_and_the_next_backup_follows() {
    let bench = Bench::new(&format!("{QUIET}{FEW}"));
    let mut notifications = bench.device.notifications();
    assert_eq!(will_encrypt(&bench), None);
    finished(&bench, true).await;
    std::fs::remove_file(bench.phone.path().join("media/DCIM/100APPLE/IMG_0002.JPG")).unwrap();
    let gone = manifest::file_id("CameraRollDomain", "Media/DCIM/100APPLE/IMG_0002.JPG");

    change(&bench, None, Some("eins")).await.unwrap();
    assert_eq!(notifications.try_recv().unwrap().as_ref(), "com.apple.mobile.backup.domain_changed");
    assert_eq!(will_encrypt(&bench), Some(true));
    assert_eq!(finished(&bench, false).await, 4 + 4, "plain before: everything is sent again");
    assert!(!bench.own().join(&gone[..2]).join(&gone).exists(), "nothing plain stays");
    let photo = stored(&bench, PHOTO);

    for (old, new) in [(None, Some("zwei")), (Some("zwei"), Some("drei")), (Some("Eins"), None), (None, None)]
    {
        assert_eq!(change(&bench, old, new).await, Err(207), "{old:?} {new:?}");
    }
    assert_eq!(bench.device.backup_password().as_deref(), Some("eins"));
    change(&bench, Some("eins"), Some("zwei")).await.unwrap();
    assert!(open(&bench, Some("eins")).is_ok(), "what the host has keeps its password");
    assert_eq!(finished(&bench, false).await, 4 + 4, "other keys: everything is sent again");
    assert!(matches!(open(&bench, Some("eins")), Err(manifest::Error::WrongPassword)));
    assert_eq!(content(&bench, Some("zwei"))[PHOTO].as_deref(), Some(&vec![1; 700_000][..]));
    assert!(stored(&bench, PHOTO) != photo);

    change(&bench, Some("zwei"), None).await.unwrap();
    assert_eq!(will_encrypt(&bench), Some(false));
    assert_eq!(change(&bench, Some("zwei"), None).await, Err(207));
    assert_eq!(change(&bench, None, None).await, Err(1));
    assert_eq!(finished(&bench, false).await, 4 + 4);
    assert_eq!(content(&bench, None)[PHOTO].as_deref(), Some(&vec![1; 700_000][..]));
}

#[tokio::test]
async fn what_only_leaves_encrypted_is_in_no_plain_backup() {
    let bench = encrypting(QUIET);
    change(&bench, Some("first"), None).await.unwrap();
    finished(&bench, true).await;
    let names: Vec<String> = content(&bench, None).into_keys().collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(names.iter().all(|name| !name.contains("CallHistory") && !name.contains("Health")), "{names:?}");
}

#[tokio::test]
async fn the_phone_remembers_for_itself_alone() {
    let bench = encrypting(QUIET);
    finished(&bench, true).await;
    change(&bench, Some("first"), Some("second")).await.unwrap();
    finished(&bench, true).await;
    let photo = stored(&bench, PHOTO);
    for file in ["backup.plist", FILE] {
        let metadata = std::fs::metadata(bench.phone.path().join("state").join(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
    let Bench { phone, dest, device } = bench;
    drop(device);
    let device = Phone::open(phone.path(), true).unwrap();
    let bench = Bench { phone, dest, device };
    assert_eq!(will_encrypt(&bench), Some(true));
    assert_eq!(finished(&bench, false).await, 4, "the keys are the same: only the records are sent");
    assert!(stored(&bench, PHOTO) == photo);
    assert!(open(&bench, Some("second")).is_ok());
}

#[tokio::test]
async fn a_changed_password_wants_the_passcode_and_nobody_enters_it() {
    let bench = Bench::new(&format!("[person]\nenters_passcode_after_ms = 0\n{FEW}"));
    let mut notifications = bench.device.notifications();
    assert_eq!(change(&bench, None, Some("x")).await, Err(208));
    assert_eq!(bench.device.backup_password(), None);
    let told: Vec<String> =
        std::iter::from_fn(|| notifications.try_recv().ok()).map(|n| n.to_string()).collect();
    let ui = "com.apple.LocalAuthentication.ui";
    assert_eq!(told, [format!("{ui}.presented"), format!("{ui}.dismissed")]);
}

#[tokio::test]
async fn a_phone_that_says_it_encrypts_has_a_password_that_nobody_knows() {
    let bench = Bench::new(&format!("{QUIET}{FEW}"));
    let lockdown = "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict><key>com.apple.mobile.backup</key>\
        <dict><key>WillEncrypt</key><true/><key>RequiresEncryption</key><integer>1</integer></dict></dict></plist>";
    std::fs::write(bench.phone.path().join("lockdown.plist"), lockdown).unwrap();
    let device = Phone::open(bench.phone.path(), true).unwrap();
    let bench = Bench { device, ..bench };
    finished(&bench, true).await;
    assert_eq!(finished(&bench, false).await, 4, "the same one each time");
    assert!(matches!(open(&bench, Some("")), Err(manifest::Error::WrongPassword)));
    assert_eq!(change(&bench, Some(""), Some("mine")).await, Err(207));
    let unknown = bench.device.backup_password().unwrap();
    assert_eq!(change(&bench, Some(&unknown), None).await, Err(1), "a profile demands encryption");
    assert_eq!(change(&bench, Some(&unknown), Some("mine")).await, Ok(()));
}

#[tokio::test]
async fn records_of_an_encrypted_backup_that_are_damaged_are_told_so() {
    for name in ["Manifest.plist", "Manifest.db"] {
        let bench = encrypting(QUIET);
        finished(&bench, true).await;
        let path = bench.own().join(name);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2 + 1]).unwrap();
        let report = bench.back_up(false, 0).await;
        assert!(
            matches!(report.outcome, Outcome::DeviceError { code: 205, .. }),
            "{name}: {:?}",
            report.outcome
        );
    }
}
