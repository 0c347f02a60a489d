//! Raw bytes of a host that restores, inspects and changes settings, against the simulated phone's mobilebackup2: none
//! of the project's own framing, messages or streams has a part in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use idevice_fix::sim::{Device, Service};
use plist::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const PATIENCE: Duration = Duration::from_secs(10);
const EMPTY: &str = "___EmptyParameterString___";

/// A phone's folder, and one connection to its mobilebackup2.
struct Raw {
    folder: tempfile::TempDir,
    device: Arc<Device>,
    stream: DuplexStream,
}

impl Raw {
    /// A phone with one photo, greeted.
    async fn greeted() -> Self {
        Self::greeted_with(|_| {}).await
    }

    /// The same with something done to its folder before.
    async fn greeted_with(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let photos = folder.path().join("media/DCIM/100APPLE");
        std::fs::create_dir_all(&photos).unwrap();
        std::fs::write(photos.join("IMG_0001.JPG"), b"of the phone").unwrap();
        std::fs::write(folder.path().join("device.toml"), "[lock]\npasscode_for_backup = false\n").unwrap();
        prepare(folder.path());
        let device = Device::open(folder.path(), true).unwrap();
        let stream = Self::connect(&device).await;
        Self { folder, device, stream }
    }

    async fn connect(device: &Arc<Device>) -> DuplexStream {
        let (mut here, there) = tokio::io::duplex(1 << 20);
        tokio::spawn(Service::MobileBackup2.serve(Box::new(there), device.clone()));
        assert_eq!(name(&receive(&mut here).await), "DLMessageVersionExchange");
        send(
            &mut here,
            "<string>DLMessageVersionExchange</string><string>DLVersionsOk</string><integer>400</integer>",
        )
        .await;
        assert_eq!(name(&receive(&mut here).await), "DLMessageDeviceReady");
        request(
            &mut here,
            "Hello",
            "<key>SupportedProtocolVersions</key><array><real>2.0</real><real>2.1</real></array>",
        )
        .await;
        let hello = receive(&mut here).await;
        assert_eq!(body(&hello)["ProtocolVersion"].as_real(), Some(2.1));
        here
    }

    fn udid(&self) -> String {
        self.device.udid().as_str().to_owned()
    }

    fn photo(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("media/DCIM/100APPLE/IMG_0001.JPG")).unwrap()
    }

    async fn ask(&mut self, name: &str, more: &str) {
        let udid = self.udid();
        let target = format!("<key>TargetIdentifier</key><string>{udid}</string>{more}");
        request(&mut self.stream, name, &target).await;
    }

    async fn hear(&mut self) -> Value {
        receive(&mut self.stream).await
    }

    /// Sends files as idevicebackup2 does: name, one block, the end; after all a zero, then the status.
    async fn serve(&mut self, files: &[(&str, Option<&[u8]>)]) {
        let mut bytes = Vec::new();
        for (name, content) in files {
            bytes.extend((name.len() as u32).to_be_bytes());
            bytes.extend(name.as_bytes());
            match content {
                Some(content) => {
                    if !content.is_empty() {
                        bytes.extend((content.len() as u32 + 1).to_be_bytes());
                        bytes.push(0x0C);
                        bytes.extend(*content);
                    }
                    bytes.extend([0, 0, 0, 1, 0]);
                }
                None => {
                    bytes.extend([0, 0, 0, 5, 0x06]);
                    bytes.extend(b"gone");
                    break;
                }
            }
        }
        bytes.extend([0; 4]);
        self.stream.write_all(&bytes).await.unwrap();
        let failed = files.iter().any(|(_, content)| content.is_none());
        // -13, as pymobiledevice3 writes it.
        self.status(if failed { "18446744073709551603" } else { "0" }, "<dict/>").await;
    }

    async fn status(&mut self, code: &str, value: &str) {
        let text = format!(
            "<string>DLMessageStatusResponse</string><integer>{code}</integer><string>{EMPTY}</string>{value}"
        );
        send(&mut self.stream, &text).await;
    }
}

async fn send(stream: &mut DuplexStream, elements: &str) {
    let text = format!("<?xml version=\"1.0\"?><plist version=\"1.0\"><array>{elements}</array></plist>");
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    stream.write_all(&bytes).await.unwrap();
}

async fn request(stream: &mut DuplexStream, name: &str, more: &str) {
    let process = "<string>DLMessageProcessMessage</string>";
    send(stream, &format!("{process}<dict><key>MessageName</key><string>{name}</string>{more}</dict>")).await;
}

async fn receive(stream: &mut DuplexStream) -> Value {
    let reading = async {
        let length = stream.read_u32().await.unwrap();
        let mut bytes = vec![0; length as usize];
        stream.read_exact(&mut bytes).await.unwrap();
        assert!(bytes.starts_with(b"bplist00"), "a phone sends binary property lists");
        plist::from_bytes(&bytes).unwrap()
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}

fn name(message: &Value) -> &str {
    message.as_array().unwrap()[0].as_string().unwrap()
}

fn body(message: &Value) -> &plist::Dictionary {
    assert_eq!(name(message), "DLMessageProcessMessage");
    assert_eq!(message.as_array().unwrap().len(), 2);
    message.as_array().unwrap()[1].as_dictionary().unwrap()
}

fn code(message: &Value) -> i64 {
    body(message)["ErrorCode"].as_signed_integer().unwrap()
}

/// The paths of a wish for files, whose every element must be there.
fn wanted(message: &Value) -> Vec<String> {
    assert_eq!(name(message), "DLMessageDownloadFiles");
    let elements = message.as_array().unwrap();
    assert_eq!(elements.len(), 5);
    assert!(elements[2].as_dictionary().is_some() && elements[3].as_real().is_some());
    assert!(elements[4].as_signed_integer().is_some());
    let paths: Vec<String> =
        elements[1].as_array().unwrap().iter().map(|path| path.as_string().unwrap().to_owned()).collect();
    // An empty list hangs hosts (libimobiledevice #112).
    assert!(!paths.is_empty());
    paths
}

/// SHA-1 of domain, hyphen and path.
fn file_id(domain: &str, path: &str) -> String {
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{domain}-{path}").as_bytes(),
    );
    hex::encode(digest)
}

/// The archive of a file, with the keys that every reader of backups knows.
fn archive(path: &str, size: u64) -> Vec<u8> {
    let uid = |number| Value::Uid(plist::Uid::new(number));
    let dictionary = |pairs: Vec<(&str, Value)>| {
        Value::Dictionary(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let class = dictionary(vec![
        ("$classname", "MBFile".into()),
        ("$classes", Value::Array(vec!["MBFile".into(), "NSObject".into()])),
    ]);
    let file = dictionary(vec![
        ("Size", size.into()),
        ("Mode", 0o100_644.into()),
        ("LastModified", 1_600_000_000.into()),
        ("LastStatusChange", 1_600_000_000.into()),
        ("Birth", 1_500_000_000.into()),
        ("UserID", 501.into()),
        ("GroupID", 501.into()),
        ("ProtectionClass", 3.into()),
        ("Flags", 0.into()),
        ("RelativePath", uid(2)),
        ("$class", uid(3)),
    ]);
    let all = dictionary(vec![
        ("$version", 100_000.into()),
        ("$archiver", "NSKeyedArchiver".into()),
        ("$top", dictionary(vec![("root", uid(1))])),
        ("$objects", Value::Array(vec!["$null".into(), file, path.into(), class])),
    ]);
    let mut bytes = Vec::new();
    all.to_writer_binary(&mut bytes).unwrap();
    bytes
}

/// The records of a backup of one photo, made by hand.
struct Records {
    status: Vec<u8>,
    manifest: Vec<u8>,
    database: Vec<u8>,
    id: String,
}

impl Records {
    fn of(domain: &str, path: &str, size: u64) -> Self {
        Self::of_all(&[(domain, path.to_owned(), size)])
    }

    /// Of several files; the id is the first's.
    fn of_all(files: &[(&str, String, u64)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let id = file_id(files[0].0, &files[0].1);
        Self {
            status: plist_of("<key>SnapshotState</key><string>finished</string>"),
            manifest: plist_of(
                "<key>IsEncrypted</key><false/><key>Lockdown</key><dict><key>ProductVersion</key>\
                 <string>17.1</string></dict>",
            ),
            database: database(folder.path(), files),
            id,
        }
    }

    /// Serves the four records, in the order in which traces of real phones show them.
    async fn serve(&self, raw: &mut Raw, root: &str) {
        for (name, content) in [
            ("Status.plist", Some(&self.status)),
            ("Manifest.plist", Some(&self.manifest)),
            ("Manifest.db", Some(&self.database)),
            ("Info.plist", None),
        ] {
            let path = format!("{root}/{name}");
            assert_eq!(wanted(&raw.hear().await), std::slice::from_ref(&path));
            raw.serve(&[(&path, content.map(Vec::as_slice))]).await;
        }
    }

    fn stored(&self, root: &str) -> String {
        format!("{root}/{}/{}", &self.id[..2], self.id)
    }
}

fn plist_of(body: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\"?><plist version=\"1.0\"><dict>{body}</dict></plist>").into_bytes()
}

fn database(folder: &Path, files: &[(&str, String, u64)]) -> Vec<u8> {
    let file = folder.join("Manifest.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    let schema = "CREATE TABLE Files (fileID TEXT PRIMARY KEY, domain TEXT, relativePath TEXT, flags INTEGER, file BLOB)";
    database.execute(schema, []).unwrap();
    let mut insert = database.prepare("INSERT INTO Files VALUES (?1, ?2, ?3, 1, ?4)").unwrap();
    database.execute_batch("BEGIN").unwrap();
    for (domain, path, size) in files {
        insert.execute((file_id(domain, path), domain, path, archive(path, *size))).unwrap();
    }
    database.execute_batch("COMMIT").unwrap();
    drop(insert);
    drop(database);
    std::fs::read(file).unwrap()
}

const PHOTO: (&str, &str) = ("CameraRollDomain", "Media/DCIM/100APPLE/IMG_0001.JPG");
const NO_REBOOT: &str = "<key>Options</key><dict><key>RestoreShouldReboot</key><false/>";
/// Neither a restart nor a copy beside the backup.
const FILES_ONLY: &str = "<key>Options</key><dict><key>RestoreShouldReboot</key><false/>\
                          <key>RestoreDontCopyBackup</key><true/></dict>";

#[tokio::test]
async fn a_restore_byte_by_byte_from_another_phones_backup_with_a_copy_beside_it() {
    let mut raw = Raw::greeted().await;
    let (domain, path) = PHOTO;
    let records = Records::of(domain, path, 6);
    raw.ask("Restore", &format!("<key>SourceIdentifier</key><string>OTHER</string>{NO_REBOOT}</dict>")).await;
    records.serve(&mut raw, "OTHER").await;

    let copy = raw.hear().await;
    assert_eq!(name(&copy), "DLMessageCopyItem");
    let elements = copy.as_array().unwrap();
    assert_eq!(elements.len(), 6, "name, from, to, an empty dictionary, progress, a number");
    assert_eq!(elements[1].as_string(), Some("OTHER"));
    assert!(elements[2].as_string().unwrap().starts_with("OTHER-"));
    raw.status("0", "<dict/>").await;

    let stored = records.stored("OTHER");
    assert_eq!(wanted(&raw.hear().await), std::slice::from_ref(&stored));
    raw.serve(&[(&stored, Some(b"backup"))]).await;
    let done = raw.hear().await;
    assert_eq!(code(&done), 0, "{done:?}");
    assert_eq!(raw.photo(), b"of the phone", "until the restart");
    let after = Device::open(raw.folder.path(), true).unwrap();
    assert_eq!(raw.photo(), b"backup");
    let times = after.times("DCIM/100APPLE/IMG_0001.JPG").unwrap();
    assert_eq!((times.mtime.as_second(), times.birthtime.as_second()), (1_600_000_000, 1_500_000_000));
}

#[tokio::test]
async fn a_file_that_the_host_has_not_ends_a_restore_with_205_in_the_words_of_traces() {
    let mut raw = Raw::greeted().await;
    let (domain, path) = PHOTO;
    let (udid, records) = (raw.udid(), Records::of(domain, path, 6));
    let options = format!("{NO_REBOOT}<key>RestoreDontCopyBackup</key><true/></dict>");
    raw.ask("Restore", &options).await;
    records.serve(&mut raw, &udid).await;
    let stored = records.stored(&udid);
    assert_eq!(wanted(&raw.hear().await), std::slice::from_ref(&stored));
    raw.serve(&[(&stored, None)]).await;
    let refused = raw.hear().await;
    assert_eq!(code(&refused), 205);
    let text = body(&refused)["ErrorDescription"].as_string();
    assert_eq!(text, Some("Multiple errors downloading files (MBErrorDomain/205)"));
    // The connection goes on, and so does the phone.
    raw.ask("Restore", &options).await;
    let status = format!("{udid}/Status.plist");
    assert_eq!(wanted(&raw.hear().await), std::slice::from_ref(&status));
    raw.serve(&[(&status, None)]).await;
    let refused = raw.hear().await;
    assert_eq!(code(&refused), 4);
    let want = format!("No such file or directory at path \"{status}\" (MBErrorDomain/4)");
    assert_eq!(body(&refused)["ErrorDescription"].as_string(), Some(want.as_str()));
    assert_eq!(raw.photo(), b"of the phone");
}

#[tokio::test]
async fn rows_that_lead_out_of_the_phones_folder_are_refused_before_a_file_is_asked_for() {
    for (domain, path) in [
        ("CameraRollDomain", "Media/../../../escaped"),
        ("CameraRollDomain", "Media/DCIM/../../../../escaped"),
        ("CameraRollDomain", "/escaped"),
        ("..", "escaped"),
        ("../..", "escaped"),
        ("a/b", "escaped"),
        ("AppDomain-../../x", "escaped"),
    ] {
        let mut raw = Raw::greeted().await;
        let udid = raw.udid();
        raw.ask("Restore", "").await;
        Records::of(domain, path, 6).serve(&mut raw, &udid).await;
        let refused = raw.hear().await;
        assert_eq!(code(&refused), 205, "{domain} {path}");
        if domain.contains('/') {
            let text = body(&refused)["ErrorDescription"].as_string();
            assert_eq!(text, Some("Domain name cannot contain a slash (MBErrorDomain/205)"));
        }
        assert!(!raw.folder.path().join("escaped").exists());
        assert!(!raw.folder.path().parent().unwrap().join("escaped").exists());
    }
}

#[tokio::test]
async fn hosts_that_lie_or_stop_at_any_byte_harm_neither_the_phone_nor_its_folder() {
    let raw = Raw::greeted().await;
    let udid = raw.udid();
    let status = format!("{udid}/Status.plist");
    let mut good = (status.len() as u32).to_be_bytes().to_vec();
    good.extend(status.as_bytes());
    good.extend([0, 0, 0, 3, 0x0C, b'x', b'y', 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    let other = [&[0, 0, 0, 5][..], b"other", &[0, 0, 0, 1, 0, 0, 0, 0, 0]].concat();
    let long = [&u32::MAX.to_be_bytes()[..], &[0; 64]].concat();
    let mut endless = good[..4 + status.len()].to_vec();
    endless.extend(u32::MAX.to_be_bytes());
    endless.extend([0x0C; 5000]);
    let mut empty_block = good[..4 + status.len()].to_vec();
    empty_block.extend([0; 8]);
    let cuts = (0..good.len()).map(|length| good[..length].to_vec());
    for bytes in cuts.chain([other, long, endless, empty_block]) {
        let mut stream = Raw::connect(&raw.device).await;
        let ask = format!("<key>TargetIdentifier</key><string>{udid}</string>");
        request(&mut stream, "Restore", &ask).await;
        wanted(&receive(&mut stream).await);
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the phone waits for {:?} to go on", bytes.len());
    }
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..64 {
        let mut stream = Raw::connect(&raw.device).await;
        let ask = format!("<key>TargetIdentifier</key><string>{udid}</string>");
        request(&mut stream, "Restore", &ask).await;
        wanted(&receive(&mut stream).await);
        let random: Vec<u8> = (0..200)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed.to_be_bytes()[0] & if seed & 1 == 0 { 0x0F } else { 0xFF }
            })
            .collect();
        stream.write_all(&random).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        assert!(tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok());
    }
    assert_eq!(raw.photo(), b"of the phone");
    assert_eq!(Raw::connect(&raw.device).await.write(b"").await.unwrap(), 0);
}

#[tokio::test]
async fn a_backup_is_unpacked_by_copies_on_the_host_as_a_trace_shows() {
    let mut raw = Raw::greeted().await;
    let (domain, path) = PHOTO;
    let (udid, records) = (raw.udid(), Records::of(domain, path, 6));
    raw.ask("Unback", "").await;
    records.serve(&mut raw, &udid).await;
    let make = raw.hear().await;
    let folder = format!("_unback_/{udid}/var/mobile/Media/DCIM/100APPLE");
    assert_eq!(name(&make), "DLMessageCreateDirectory");
    assert_eq!(make.as_array().unwrap()[1].as_string(), Some(folder.as_str()));
    raw.status("0", &format!("<string>{EMPTY}</string>")).await;
    let copy = raw.hear().await;
    let elements = copy.as_array().unwrap();
    assert_eq!((name(&copy), elements.len()), ("DLMessageCopyItem", 6));
    assert_eq!(elements[1].as_string(), Some(records.stored(&udid).as_str()));
    assert_eq!(elements[2].as_string(), Some(format!("{folder}/IMG_0001.JPG").as_str()));
    raw.status("0", "<dict/>").await;
    assert_eq!(code(&raw.hear().await), 0);
}

#[tokio::test]
async fn info_and_list_come_as_text_and_icloud_backup_is_switched() {
    let mut raw = Raw::greeted().await;
    let (domain, path) = PHOTO;
    let (udid, records) = (raw.udid(), Records::of(domain, path, 6));
    for (request, says) in
        [("Info", "Product Version: 17.1\n"), ("List", "CameraRollDomain,Media/DCIM/100APPLE/")]
    {
        raw.ask(request, "").await;
        records.serve(&mut raw, &udid).await;
        let answer = raw.hear().await;
        assert_eq!(code(&answer), 0);
        assert!(body(&answer)["Content"].as_string().unwrap().contains(says));
    }
    for (state, told) in [("<false/>", false), ("<integer>1</integer>", true)] {
        raw.ask("EnableCloudBackup", &format!("<key>CloudBackupState</key>{state}")).await;
        assert_eq!(code(&raw.hear().await), 0);
        let value = raw.device.value("com.apple.mobile.backup", "CloudBackupEnabled");
        assert_eq!(value, Some(Value::Boolean(told)));
    }
    raw.ask("EraseDevice", "").await;
    assert_eq!(code(&raw.hear().await), 1, "the folder does not allow it");
    assert_eq!(raw.photo(), b"of the phone");
}

/// Up to the question for space.
async fn asks_for_space(raw: &mut Raw) {
    raw.ask("Backup", "<key>Options</key><dict><key>ForceFullBackup</key><true/></dict>").await;
    assert_eq!(name(&raw.hear().await), "DLMessageGetFreeDiskSpace");
}

#[tokio::test]
async fn space_is_judged_to_the_byte_as_it_was_measured_on_a_real_phone() {
    let mut raw = Raw::greeted().await;
    let need = "of the phone".len() as u64 + (128 << 20);
    for (free, missing) in [(need, 0), (need - 1000, 1000)] {
        asks_for_space(&mut raw).await;
        raw.status("0", &format!("<integer>{free}</integer>")).await;
        let purge = raw.hear().await;
        let elements = purge.as_array().unwrap();
        assert_eq!((name(&purge), elements.len()), ("DLMessagePurgeDiskSpace", 3));
        assert_eq!(elements[1].as_unsigned_integer(), Some(missing + (2 << 30)));
        assert_eq!(elements[2].as_unsigned_integer(), Some(4));
        raw.status("18446744073709551615", "<integer>0</integer>").await;
        let refused = raw.hear().await;
        assert_eq!(code(&refused), 105);
        let want =
            format!("Insufficient free disk space on drive to back up ({free} < {need}) (MBErrorDomain/105)");
        assert_eq!(body(&refused)["ErrorDescription"].as_string(), Some(want.as_str()));
    }
    // A host that has purged is asked again.
    asks_for_space(&mut raw).await;
    raw.status("0", "<integer>0</integer>").await;
    assert_eq!(name(&raw.hear().await), "DLMessagePurgeDiskSpace");
    raw.status("0", "<integer>5000000000</integer>").await;
    assert_eq!(name(&raw.hear().await), "DLMessageGetFreeDiskSpace");
    raw.status("0", &format!("<integer>{}</integer>", need + 1)).await;
    assert_eq!(name(&raw.hear().await), "DLMessageCreateDirectory");
}

#[tokio::test]
async fn a_second_restore_is_refused_while_the_first_is_under_way_and_does_not_disturb_it() {
    let mut first = Raw::greeted().await;
    let (domain, path) = PHOTO;
    let (udid, records) = (first.udid(), Records::of(domain, path, 6));
    first.ask("Restore", FILES_ONLY).await;
    records.serve(&mut first, &udid).await;
    let stored = records.stored(&udid);
    assert_eq!(wanted(&first.hear().await), std::slice::from_ref(&stored));

    let mut second = Raw::connect(&first.device).await;
    let ask = format!("<key>TargetIdentifier</key><string>{udid}</string>{FILES_ONLY}");
    for _ in 0..2 {
        request(&mut second, "Restore", &ask).await;
        let refused = receive(&mut second).await;
        assert_eq!(code(&refused), 1);
        let text = body(&refused)["ErrorDescription"].as_string();
        assert_eq!(text, Some("Another restore is under way (MBErrorDomain/1)"));
    }

    first.serve(&[(&stored, Some(b"backup"))]).await;
    assert_eq!(code(&first.hear().await), 0);
    // With the first its turn is over; a host that leaves in the middle gives it back, too.
    for _ in 0..2 {
        request(&mut second, "Restore", &ask).await;
        assert_eq!(wanted(&receive(&mut second).await), [format!("{udid}/Status.plist")]);
        drop(second);
        tokio::time::sleep(Duration::from_millis(50)).await;
        second = Raw::connect(&first.device).await;
    }
    drop(Device::open(first.folder.path(), true).unwrap());
    assert_eq!(first.photo(), b"backup");
}

#[tokio::test]
async fn a_list_of_apps_that_is_a_link_counts_for_nothing_wherever_it_leads() {
    const LIST: &str = "iTunesRestore/RestoreApplications.plist";
    let app = "AppDomain-org.example.wanted";
    let list = plist_of("<key>org.example.wanted</key><dict/>");
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("list"), &list).unwrap();
    let media = |phone: &Path| {
        std::fs::create_dir_all(phone.join("media/iTunesRestore")).unwrap();
        std::fs::write(phone.join("media/list"), &list).unwrap();
        phone.join("media")
    };
    for (target, taken) in [
        (None, true),
        (Some(std::path::PathBuf::from("../list")), false),
        (Some(outside.path().join("list")), false),
        (Some("/dev/zero".into()), false),
    ] {
        let mut raw = Raw::greeted_with(|phone| match &target {
            None => {
                std::fs::copy(media(phone).join("list"), phone.join("media").join(LIST)).map(drop).unwrap();
            }
            Some(target) => std::os::unix::fs::symlink(target, media(phone).join(LIST)).unwrap(),
        })
        .await;
        let (udid, records) = (raw.udid(), Records::of(app, "Documents/note", 4));
        raw.ask("Restore", FILES_ONLY).await;
        records.serve(&mut raw, &udid).await;
        if taken {
            let stored = records.stored(&udid);
            assert_eq!(wanted(&raw.hear().await), std::slice::from_ref(&stored), "the app is wanted");
            raw.serve(&[(&stored, Some(b"note"))]).await;
        }
        let done = raw.hear().await;
        assert_eq!(name(&done), "DLMessageProcessMessage", "{target:?}: the list was followed");
        assert_eq!(code(&done), 0);
    }
    assert_eq!(std::fs::read(outside.path().join("list")).unwrap(), list);
}

#[tokio::test]
async fn what_comes_is_counted_over_all_batches_whatever_the_backup_states() {
    const ROOM: usize = 1_000_000;
    let free = format!(
        "<key>com.apple.disk_usage</key><dict><key>AmountDataAvailable</key><integer>{ROOM}</integer></dict>"
    );
    let free = plist_of(&free);
    // Files that are empty by their rows, more of them than a batch has.
    let files: Vec<_> =
        (0..300).map(|n| ("CameraRollDomain", format!("Media/DCIM/100APPLE/IMG_{n:04}.JPG"), 0)).collect();
    let records = Records::of_all(&files);
    for (bytes_each, fits) in [(ROOM / 2, true), (ROOM / 2 + 1, false)] {
        let prepare = |phone: &Path| std::fs::write(phone.join("lockdown.plist"), &free).unwrap();
        let mut raw = Raw::greeted_with(prepare).await;
        let udid = raw.udid();
        raw.ask("Restore", FILES_ONLY).await;
        records.serve(&mut raw, &udid).await;
        let content = vec![7; bytes_each];
        let mut batches = 0;
        // The first file of each batch is not empty.
        while let Some(message) = next_or_end(&mut raw.stream).await {
            if name(&message) != "DLMessageDownloadFiles" {
                assert_eq!((code(&message), fits), (0, true));
                break;
            }
            let paths = wanted(&message);
            let files: Vec<(&str, Option<&[u8]>)> = paths
                .iter()
                .enumerate()
                .map(|(at, path)| (path.as_str(), Some(if at == 0 { content.as_slice() } else { b"" })))
                .collect();
            raw.serve(&files).await;
            batches += 1;
        }
        assert_eq!(batches, 2);
        let state = raw.folder.path().join("state");
        assert_eq!(state.join("restore.waiting").exists(), fits, "{bytes_each} bytes in each batch");
        assert!(!state.join("restore.incomplete").exists());
        assert_eq!(raw.photo(), b"of the phone");
    }
}

/// The next message; `None` when the phone hangs up.
async fn next_or_end(stream: &mut DuplexStream) -> Option<Value> {
    let mut length = [0; 4];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut length)).await.unwrap().ok()?;
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut bytes)).await.unwrap().ok()?;
    Some(plist::from_bytes(&bytes).unwrap())
}

/// A restore that waits and cannot be put in place: what stands in its folder.
fn waits_in_vain(state: &Path, case: &str) {
    let waiting = state.join("restore.waiting");
    std::fs::create_dir_all(waiting.join("ab")).unwrap();
    std::fs::write(waiting.join("ab/abcd"), b"came").unwrap();
    let header =
        r#"{"system_files":true,"preserve_settings":false,"remove":false,"encrypted":false,"apps":[]}"#;
    let line = |id: &str, path: &str| {
        format!(r#"{{"id":"{id}","domain":"CameraRollDomain","path":"{path}","kind":1,"mtime":1,"birth":1}}"#)
    };
    let plan = match case {
        "no plan" => return,
        "noise" => "\u{fffd}{".to_owned(),
        "empty" => String::new(),
        "a file that never came" => format!("{header}\n{}\n", line("abffff", "Media/DCIM/x")),
        "a name that is none" => format!("{header}\n{}\n", line("é", "Media/DCIM/x")),
        "a path that leads out" => format!("{header}\n{}\n", line("abcd", "Media/../../escaped")),
        "no folder" => {
            std::fs::remove_dir_all(&waiting).unwrap();
            return std::fs::write(&waiting, b"a file").unwrap();
        }
        other => panic!("{other}"),
    };
    std::fs::write(waiting.join("plan.jsonl"), plan).unwrap();
}

#[tokio::test]
async fn a_restore_that_can_never_be_put_in_place_is_set_aside_and_the_phone_starts() {
    let cases = [
        "no plan",
        "noise",
        "empty",
        "a file that never came",
        "a name that is none",
        "a path that leads out",
        "no folder",
    ];
    for case in cases {
        let raw = Raw::greeted().await;
        let (folder, state) = (raw.folder.path().to_owned(), raw.folder.path().join("state"));
        for name in ["restore.failed", "restore.failed.2"] {
            waits_in_vain(&state, case);
            // A phone that keeps nothing leaves its folder as it is.
            drop(Device::open(&folder, false).unwrap());
            assert!(state.join("restore.waiting").exists(), "{case}");
            let device = Device::open(&folder, true).unwrap();
            assert!(state.join(name).symlink_metadata().is_ok(), "{case}");
            assert!(!state.join("restore.waiting").exists(), "{case}");
            if case != "no folder" {
                assert_eq!(std::fs::read(state.join(name).join("ab/abcd")).unwrap(), b"came", "{case}");
            }
            assert!(!folder.join("escaped").exists() && !folder.parent().unwrap().join("escaped").exists());
            assert_eq!(raw.photo(), b"of the phone");
            drop(device);
        }
        // And it can be restored.
        let device = Device::open(&folder, true).unwrap();
        let mut again = Raw { stream: Raw::connect(&device).await, device, folder: raw.folder };
        let (udid, records) = (again.udid(), Records::of(PHOTO.0, PHOTO.1, 6));
        again.ask("Restore", FILES_ONLY).await;
        records.serve(&mut again, &udid).await;
        let stored = records.stored(&udid);
        assert_eq!(wanted(&again.hear().await), std::slice::from_ref(&stored));
        again.serve(&[(&stored, Some(b"backup"))]).await;
        assert_eq!(code(&again.hear().await), 0, "{case}");
        drop(Device::open(&folder, true).unwrap());
        assert_eq!(again.photo(), b"backup");
    }
}
