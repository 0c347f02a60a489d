//! A phone's backup, end to end on a simulated phone: full, incremental, interrupted, damaged, on a full disk.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cap_std::fs::Dir;
use idevice_fix::backup::adopt::{self, Adopted, Foreign};
use idevice_fix::backup::make::{self, Error, Made, Options};
use idevice_fix::backup::mbfile::MbFile;
use idevice_fix::backup::read::Backup;
use idevice_fix::backup::vault::{self, Vault};
use idevice_fix::backup::verify::{self, Depth, Proven};
use idevice_fix::lockdown::{Phone, Session, pairing};
use idevice_fix::mobilebackup2::host::Patience;
use idevice_fix::progress::{CancellationToken, Event, Observer, Silent, Touch};
use idevice_fix::sim::{Bus, Device, Rerouted};
use idevice_fix::usbmux::{Muxer, Stream, Udid};

const QUIET: &str = "[lock]\npasscode_for_backup = false\n";

/// A simulated phone and the host's folder for it.
struct Desk {
    phone: tempfile::TempDir,
    host: tempfile::TempDir,
    device: Arc<Device>,
    muxer: Arc<dyn Muxer>,
}

/// Remembers what was told.
#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl Observer for Told {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// A small JPEG: start, one segment, end.
fn jpeg(seed: u8, size: usize) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xDA, 0, 2];
    bytes.extend(std::iter::repeat_n(seed | 1, size));
    bytes.extend([0xFF, 0xD9]);
    bytes
}

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A muxer whose connections keep what the host writes until it is flushed, as TLS may do it.
fn that_holds_back(bus: Bus) -> impl Muxer {
    Rerouted::new(bus, |bus, device, port| async move {
        let stream = bus.connect(device, port).await?;
        Ok(Box::new(tokio::io::BufWriter::with_capacity(1 << 20, stream)) as Stream)
    })
}

impl Desk {
    fn with(settings: &str) -> Self {
        Self::at(settings, tempfile::tempdir().unwrap())
    }

    fn at(settings: &str, host: tempfile::TempDir) -> Self {
        let phone = tempfile::tempdir().unwrap();
        put(phone.path(), "device.toml", settings.as_bytes());
        for n in 0..30u8 {
            put(phone.path(), &format!("media/DCIM/100APPLE/IMG_{n:04}.JPG"), &jpeg(n, 40_000));
        }
        put(phone.path(), "media/PhotoData/Photos.sqlite", &[7; 8192]);
        put(phone.path(), "files/HomeDomain/Library/SMS/sms.db", b"messages");
        put(phone.path(), "files/HomeDomain/Library/empty", b"");
        let device = Device::open(phone.path(), true).unwrap();
        let muxer: Arc<dyn Muxer> = Arc::new(Bus::new(vec![device.clone()]));
        Self { phone, host, device, muxer }
    }

    async fn session(&self) -> Session {
        for _ in 0..100 {
            if let Some(attached) = self.muxer.devices().await.unwrap().pop() {
                let phone = Phone { muxer: self.muxer.clone(), attached };
                let cancel = CancellationToken::new();
                return pairing::establish(&phone, Duration::from_secs(20), &Silent, &cancel).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the phone did not come back");
    }

    fn folder(&self) -> Dir {
        Dir::open_ambient_dir(self.host.path(), cap_std::ambient_authority()).unwrap()
    }

    fn udid(&self) -> Udid {
        self.device.udid().clone()
    }

    fn vault(&self) -> Vault {
        Vault::open(self.folder(), self.udid()).unwrap()
    }

    async fn back_up_told(&self, options: Options, observer: &dyn Observer) -> Result<Made, Error> {
        let session = self.session().await;
        let vault = self.vault();
        make::make(&session, &vault, options, observer, &CancellationToken::new()).await
    }

    async fn back_up(&self) -> Result<Made, Error> {
        let options = Options { reserve_bytes: 0, ..Options::default() };
        self.back_up_told(options, &Silent).await
    }

    async fn prove(&self, depth: Depth) -> Proven {
        let vault = Vault::look(self.folder(), self.udid());
        verify::prove(&vault, None, depth, &Silent, &CancellationToken::new()).await.unwrap()
    }

    fn current(&self) -> PathBuf {
        self.host.path().join("backup").join(self.udid().as_str())
    }

    /// Every file of the current backup, by domain and path, read as other tools would.
    fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let own = self.folder().open_dir("backup").unwrap().open_dir(self.udid().as_str()).unwrap();
        let backup = Backup::open(own, None, &self.folder()).unwrap();
        let mut rows = Vec::new();
        backup
            .rows(|row| {
                rows.push(row);
                true
            })
            .unwrap();
        let mut content = BTreeMap::new();
        for row in rows.iter().filter(|row| row.is_file()) {
            let mut bytes = Vec::new();
            if let Ok(mut file) = backup.open_file(&row.domain, &row.path) {
                file.read_to_end(&mut bytes).unwrap();
                content.insert(format!("{}::{}", row.domain, row.path), bytes);
            }
        }
        content
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_proven_and_built_upon() {
    let desk = Desk::with(QUIET);
    let made = desk.back_up().await.unwrap();
    assert_eq!(made.proof.media_files(), 31);
    assert!(made.proof.complete() && made.proof.proven_inside());
    let photo = made.proof.media("DCIM/100APPLE/IMG_0003.JPG").unwrap();
    assert!(photo.whole && photo.sha256.is_some());
    let content = desk.content();
    assert_eq!(content["CameraRollDomain::Media/DCIM/100APPLE/IMG_0003.JPG"], jpeg(3, 40_000));
    assert_eq!(content["HomeDomain::Library/empty"], b"");
    assert!(desk.current().join("Info.plist").exists());

    put(desk.phone.path(), "media/DCIM/100APPLE/IMG_0003.JPG", &jpeg(99, 50_000));
    put(desk.phone.path(), "media/DCIM/100APPLE/NEW.JPG", &jpeg(5, 60_000));
    std::fs::remove_file(desk.phone.path().join("media/DCIM/100APPLE/IMG_0004.JPG")).unwrap();
    let again = desk.back_up().await.unwrap();
    // Two files and the four records that the phone sends.
    assert_eq!(again.received.files, 2 + 4);
    assert!(again.sent_back_bytes > 0);
    assert_eq!(again.proof.media_files(), 31);
    let content = desk.content();
    assert_eq!(content["CameraRollDomain::Media/DCIM/100APPLE/IMG_0003.JPG"], jpeg(99, 50_000));
    assert!(!content.contains_key("CameraRollDomain::Media/DCIM/100APPLE/IMG_0004.JPG"));

    // The one before is history, whole and unchanged, and at most two are kept.
    for _ in 0..3 {
        desk.back_up().await.unwrap();
    }
    let history = desk.host.path().join("backup.history");
    assert_eq!(std::fs::read_dir(&history).unwrap().count(), 2);
    assert!(!desk.host.path().join("backup.staging").exists());
    let proven = desk.prove(Depth::Recheck).await;
    assert!(proven.proof.is_some() && proven.bytes_read == 0);
    assert!(desk.prove(Depth::Full).await.proof.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_host_writes_is_flushed() {
    for settings in [QUIET, "[lock]\npasscode_for_backup = false\n[tls]\nservices = \"all\"\n"] {
        let mut desk = Desk::with(settings);
        desk.muxer = Arc::new(that_holds_back(Bus::new(vec![desk.device.clone()])));
        assert_eq!(desk.back_up().await.unwrap().proof.media_files(), 31);
        // The second one sends files to the phone.
        assert!(desk.back_up().await.unwrap().sent_back_bytes > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harsh_phone_is_backed_up_and_the_person_is_told() {
    let desk = Desk::with("temper = \"harsh\"\n[person]\nunlocks_after_ms = 50\n");
    let told = Told::default();
    let options = Options { reserve_bytes: 0, ..Options::default() };
    let made = desk.back_up_told(options, &told).await.unwrap();
    assert_eq!(made.proof.refused().len(), 1);
    assert!(made.proof.complete(), "{:?}", made.proof.refused());
    assert!(made.notes.iter().any(|note| note.contains("Photos.sqlite")), "{:?}", made.notes);
    let events = told.0.lock().unwrap();
    let touch = Touch::Passcode;
    assert!(events.iter().any(|event| matches!(event, Event::PersonNeeded { touch: t, .. } if *t == touch)));
    assert!(events.contains(&Event::PersonDone { touch }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_unplugged_on_the_way_leaves_the_last_backup_and_the_next_run_finishes() {
    for (at, after) in [("backup-upload", "after_bytes = 600000"), ("backup-message", "after_messages = 30")]
    {
        let desk = Desk::with(QUIET);
        desk.back_up().await.unwrap();
        let before = desk.content();
        for n in 0..30u8 {
            put(desk.phone.path(), &format!("media/DCIM/100APPLE/IMG_{n:04}.JPG"), &jpeg(n + 100, 70_000));
        }
        let fault = format!("{QUIET}[[fault]]\nat = \"{at}\"\n{after}\nkind = \"unplug\"\n");
        put(desk.phone.path(), "device.toml", fault.as_bytes());
        let error = desk.back_up().await.unwrap_err();
        assert!(matches!(error, Error::Talk(_)), "{error}");
        assert!(desk.prove(Depth::Full).await.proof.is_some(), "{at}");
        assert!(desk.content() == before, "the last backup is untouched");
        assert!(desk.host.path().join("backup.staging").exists());

        let made = desk.back_up().await.unwrap();
        assert!(made.interrupted_bytes.is_some());
        assert_eq!(made.proof.media_files(), 31);
        assert!(desk.content()["CameraRollDomain::Media/DCIM/100APPLE/IMG_0007.JPG"] == jpeg(107, 70_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_goes_on_after_an_interruption_is_proven_with_what_came_before_it() {
    let desk = Desk::with(QUIET);
    for n in 0..500 {
        put(
            desk.phone.path(),
            &format!("files/HomeDomain/Library/Small/{n:03}"),
            format!("{n:0200}").as_bytes(),
        );
    }
    let fault =
        format!("{QUIET}[[fault]]\nat = \"backup-upload\"\nafter_bytes = 900000\nkind = \"unplug\"\n");
    put(desk.phone.path(), "device.toml", fault.as_bytes());
    assert!(matches!(desk.back_up().await, Err(Error::Talk(_))));
    let made = desk.back_up().await.unwrap();
    assert!(made.interrupted_bytes.is_some_and(|bytes| bytes > 0));
    assert!(made.received.files < 400, "{} files were sent again", made.received.files);
    assert!(made.proof.complete() && made.proof.proven_inside());
    assert_eq!(made.proof.media_files(), 31);
    let content = desk.content();
    for n in 0..500 {
        assert_eq!(content[&format!("HomeDomain::Library/Small/{n:03}")], format!("{n:0200}").as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_is_named_and_nothing_damaged_is_proven() {
    let desk = Desk::with(QUIET);
    desk.back_up().await.unwrap();
    let own = desk.current();
    let photo = "CameraRollDomain::Media/DCIM/100APPLE/IMG_0003.JPG";
    let stored = stored_path(&own, "CameraRollDomain", "Media/DCIM/100APPLE/IMG_0003.JPG");
    let whole = std::fs::read(&stored).unwrap();
    let mut flipped = whole.clone();
    flipped[1000] ^= 1;
    let changes: [(&str, Option<Vec<u8>>); 4] = [
        ("bit flip", Some(flipped)),
        ("cut", Some(whole[..100].to_vec())),
        ("empty", Some(Vec::new())),
        ("missing", None),
    ];
    for (what, bytes) in changes {
        rewrite(&stored, bytes.as_deref());
        for depth in [Depth::Full, Depth::Recheck] {
            let proven = desk.prove(depth).await;
            assert!(proven.proof.is_none(), "{what}");
            assert!(
                proven.damage.iter().any(|damage| damage.what.contains(photo)),
                "{what}: {:?}",
                proven.damage
            );
        }
        rewrite(&stored, Some(&whole));
    }
    for name in ["Status.plist", "Manifest.plist", "Manifest.db", "Info.plist"] {
        let path = own.join(name);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for bytes in [&b""[..], &whole[..whole.len() / 2], &flipped] {
            rewrite(&path, Some(bytes));
            let proven = desk.prove(Depth::Full).await;
            assert!(proven.proof.is_none(), "{name}");
            assert!(proven.damage.iter().any(|damage| damage.path == name), "{name}: {:?}", proven.damage);
        }
        rewrite(&path, Some(&whole));
    }
    assert!(desk.prove(Depth::Full).await.proof.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_was_found_is_not_forgotten() {
    let desk = Desk::with(QUIET);
    desk.back_up().await.unwrap();
    let stored = stored_path(&desk.current(), "CameraRollDomain", "Media/DCIM/100APPLE/IMG_0003.JPG");
    let date = std::fs::metadata(&stored).unwrap().modified().unwrap();
    let change = || {
        let mut bytes = std::fs::read(&stored).unwrap();
        bytes[1000] ^= 1;
        // In place, as a sick disk does it: neither the file nor its dates are others.
        let file = std::fs::File::options().write(true).open(&stored).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        file.set_modified(date).unwrap();
    };
    change();
    assert!(desk.prove(Depth::Recheck).await.proof.is_some(), "it is not looked at");
    assert_eq!(desk.prove(Depth::Full).await.damage.len(), 1);
    assert!(desk.prove(Depth::Recheck).await.proof.is_none(), "what was found counts");
    change();
    let proven = desk.prove(Depth::Recheck).await;
    assert!(proven.proof.is_some() && proven.bytes_read > 0, "it is whole again, and all of it was read");
    assert_eq!(desk.prove(Depth::Recheck).await.bytes_read, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_change_on_their_way_are_as_received_but_a_short_photo_is_not_whole() {
    let fault = format!("{QUIET}[[fault]]\nat = \"backup-upload\"\nafter_bytes = 200000\nkind = \"short\"\n");
    let made = Desk::with(&fault).back_up().await.unwrap();
    let media: Vec<_> =
        (0..30).map(|n| made.proof.media(&format!("DCIM/100APPLE/IMG_{n:04}.JPG")).unwrap()).collect();
    assert_eq!(media.iter().filter(|photo| !photo.whole).count(), 1);
    assert!(made.notes.iter().any(|note| note.contains("the manifest says")), "{:?}", made.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_that_the_phone_refuses_leaves_the_backup_incomplete() {
    let fault =
        format!("{QUIET}[[fault]]\nat = \"backup-upload\"\nafter_bytes = 200000\nkind = \"refuse\"\n");
    let made = Desk::with(&fault).back_up().await.unwrap();
    assert_eq!(made.proof.refused().len(), 1);
    assert!(!made.proof.complete());
    assert_eq!(made.proof.refused()[0].code, 0x0B);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_records_after_a_crash_need_nobody_to_delete_anything() {
    let desk = Desk::with(QUIET);
    // Interrupted before there is any proven backup, and its metadata emptied.
    let fault =
        format!("{QUIET}[[fault]]\nat = \"backup-message\"\nafter_messages = 60\nkind = \"unplug\"\n");
    put(desk.phone.path(), "device.toml", fault.as_bytes());
    let _ = desk.back_up().await;
    let staging = desk.host.path().join("backup.staging").join(desk.udid().as_str());
    for name in ["Manifest.plist", "Manifest.db", "Status.plist"] {
        rewrite(&staging.join(name), Some(b""));
    }
    let made = desk.back_up().await.unwrap();
    assert_eq!(made.proof.media_files(), 31);
    // The same beside a proven one.
    put(desk.phone.path(), "device.toml", format!("{fault}times = 1\n").as_bytes());
    put(desk.phone.path(), "media/DCIM/100APPLE/IMG_0001.JPG", &jpeg(77, 999));
    let _ = desk.back_up().await;
    if staging.exists() {
        rewrite(&staging.join("Manifest.plist"), Some(b""));
    }
    let made = desk.back_up().await.unwrap();
    assert!(made.proof.media("DCIM/100APPLE/IMG_0001.JPG").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_with_its_own_name_and_the_next_run_finishes() {
    let host = tempfile::tempdir().unwrap();
    let mount = |size: &str, remount: &str| {
        std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("{remount}size={size}"), "tmpfs"])
            .arg(host.path())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !mount("300k", "") {
        return;
    }
    let path = host.path().to_owned();
    let desk = Desk::at(QUIET, host);
    let error = desk.back_up().await.unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    let remounted =
        std::process::Command::new("mount").args(["-o", "remount,size=400m"]).arg(&path).status().unwrap();
    assert!(remounted.success());
    let made = desk.back_up().await.unwrap();
    assert_eq!(made.proof.media_files(), 31);
    drop(made);
    let unmounted = std::process::Command::new("umount").arg("-l").arg(&path).status().unwrap();
    assert!(unmounted.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_phone_and_one_writer_at_a_time() {
    let fault = format!("{QUIET}[[fault]]\nat = \"backup-upload\"\nafter_bytes = 200000\nkind = \"stall\"\n");
    let desk = Desk::with(&fault);
    let patience = Patience { stream: Duration::from_millis(500), ..Patience::default() };
    let options = Options { reserve_bytes: 0, patience, ..Options::default() };
    let session = desk.session().await;
    let vault = desk.vault();
    assert!(matches!(Vault::open(desk.folder(), desk.udid()), Err(vault::Error::Busy)));
    let error = make::make(&session, &vault, options, &Silent, &CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("was silent"), "{error}");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = make::make(&session, &vault, Options::default(), &Silent, &cancel).await.unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
}

/// Replaces a file's content, also where it is read-only and shared with history.
fn rewrite(path: &Path, bytes: Option<&[u8]>) {
    let _ = std::fs::remove_file(path);
    if let Some(bytes) = bytes {
        std::fs::write(path, bytes).unwrap();
    }
}

fn stored_path(own: &Path, domain: &str, path: &str) -> PathBuf {
    let id = idevice_fix::backup::manifest::file_id(domain, path);
    own.join(&id[..2]).join(id)
}

/// A copy of a folder, as another program would have made it: nothing is read-only in it.
fn copied(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copied(&entry.path(), &target);
        } else {
            std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// Every file below a folder with its content, time and inode.
fn stand(root: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime, u64)> {
    use std::os::unix::fs::MetadataExt;
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            all.extend(stand(&entry.path()));
        } else {
            let content = std::fs::read(entry.path()).unwrap();
            all.insert(entry.path(), (content, metadata.modified().unwrap(), metadata.ino()));
        }
    }
    all
}

impl Desk {
    /// Takes in what stands in `foreign`.
    async fn adopt(&self, foreign: &Path) -> Result<Adopted, adopt::Error> {
        let dir = Dir::open_ambient_dir(foreign, cap_std::ambient_authority()).unwrap();
        let found = Foreign::find(&dir, Some(&self.udid()))?;
        adopt::adopt(found, &self.vault(), None, 0, &Silent, &CancellationToken::new()).await
    }

    /// Changes a row's stated size, as if the phone had counted other bytes.
    fn restate(foreign: &Path, (domain, path): (&str, &str), size: u64) {
        let database = rusqlite::Connection::open(foreign.join("Manifest.db")).unwrap();
        let id = idevice_fix::backup::manifest::file_id(domain, path);
        let archive: Vec<u8> =
            database.query_row("SELECT file FROM Files WHERE fileID = ?1", [&id], |row| row.get(0)).unwrap();
        let file = MbFile { size, ..MbFile::parse(&archive).unwrap() };
        let changed = database
            .execute("UPDATE Files SET file = ?2 WHERE fileID = ?1", (&id, file.to_archive()))
            .unwrap();
        assert_eq!(changed, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_programs_backup_is_taken_in_proven_and_built_upon() {
    let desk = Desk::with(QUIET);
    desk.back_up().await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = elsewhere.path().join("MobileSync").join(desk.udid().as_str());
    copied(&desk.current(), &foreign);
    put(&foreign, ".DS_Store", b"left alone");
    std::fs::remove_dir_all(desk.host.path().join("backup")).unwrap();
    let theirs = stand(&foreign);

    let adopted = desk.adopt(foreign.parent().unwrap()).await.unwrap();
    assert!(adopted.notes.iter().any(|note| note.contains("nobody hashed")), "{:?}", adopted.notes);
    assert_eq!(adopted.proof.adopted_files(), adopted.files);
    assert_eq!(adopted.proof.media_files(), 31);
    assert!(adopted.proof.complete() && adopted.proof.proven_inside());
    assert_eq!(stand(&foreign), theirs, "theirs is as it was");
    assert!(!desk.current().join(".DS_Store").exists());
    // It is made when it was made, however often it is proven.
    let status = std::fs::metadata(foreign.join("Status.plist")).unwrap().modified().unwrap();
    assert!(jiff::Timestamp::try_from(status).unwrap() >= adopted.proof.made_at());
    let again = desk.prove(Depth::Full).await.proof.unwrap();
    assert_eq!((again.made_at(), again.adopted_files()), (adopted.proof.made_at(), adopted.files));

    // The phone sends what changed, and what it sends is hashed while it comes.
    put(desk.phone.path(), "media/DCIM/100APPLE/NEW.JPG", &jpeg(5, 60_000));
    let made = desk.back_up().await.unwrap();
    assert_eq!(made.received.files, 1 + 4);
    // Of the photos and the rest; the four records came anew.
    assert_eq!(made.proof.adopted_files(), adopted.files - 4);
    assert_eq!(desk.content()["CameraRollDomain::Media/DCIM/100APPLE/NEW.JPG"], jpeg(5, 60_000));
    assert_eq!(stand(&foreign), theirs, "theirs is as it was");
    // What is newer is not replaced by what is older.
    let error = desk.adopt(&foreign).await.unwrap_err();
    assert!(matches!(error, adopt::Error::Older { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_not_whole_or_not_a_plain_folder_is_not_taken_in() {
    const PHOTO: (&str, &str) = ("CameraRollDomain", "Media/DCIM/100APPLE/IMG_0003.JPG");
    const DATABASE: (&str, &str) = ("CameraRollDomain", "Media/PhotoData/Photos.sqlite");
    type Change = fn(&Path);
    let stored = |foreign: &Path, (domain, path): (&str, &str)| stored_path(foreign, domain, path);
    let desk = Desk::with(QUIET);
    desk.back_up().await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let original = elsewhere.path().join("original");
    copied(&desk.current(), &original);
    std::fs::remove_dir_all(desk.host.path().join("backup")).unwrap();
    let damaged: [(&str, Change); 9] = [
        ("Media/DCIM/100APPLE/IMG_0003.JPG", |foreign| {
            let path = stored_path(foreign, PHOTO.0, PHOTO.1);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(path, &whole[..whole.len() - 1]).unwrap();
        }),
        ("IMG_0003.JPG", |foreign| std::fs::write(stored_path(foreign, PHOTO.0, PHOTO.1), b"").unwrap()),
        ("it is missing", |foreign| std::fs::remove_file(stored_path(foreign, PHOTO.0, PHOTO.1)).unwrap()),
        ("sms.db", |foreign| Desk::restate(foreign, ("HomeDomain", "Library/SMS/sms.db"), 9)),
        ("Manifest.db", |foreign| std::fs::write(foreign.join("Manifest.db"), b"").unwrap()),
        ("Status.plist", |foreign| {
            let text = std::fs::read(foreign.join("Status.plist")).unwrap();
            let mut status: plist::Dictionary = plist::from_bytes(&text).unwrap();
            status.insert("SnapshotState".into(), "uploading".into());
            plist::to_file_binary(foreign.join("Status.plist"), &status).unwrap();
        }),
        ("link", |foreign| std::os::unix::fs::symlink("/etc/passwd", foreign.join("link")).unwrap()),
        ("link", |foreign| {
            let path = stored_path(foreign, PHOTO.0, PHOTO.1);
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
        }),
        ("not of", |foreign| {
            let text = std::fs::read(foreign.join("Info.plist")).unwrap();
            let mut info: plist::Dictionary = plist::from_bytes(&text).unwrap();
            info.insert("Target Identifier".into(), "00008101-00000000DEADBEEF".into());
            plist::to_file_binary(foreign.join("Info.plist"), &info).unwrap();
        }),
    ];
    for (number, (what, change)) in damaged.into_iter().enumerate() {
        let foreign = elsewhere.path().join(number.to_string());
        copied(&original, &foreign);
        change(&foreign);
        let error = desk.adopt(&foreign).await.unwrap_err();
        let told = match &error {
            adopt::Error::Damaged { damage } => {
                damage.iter().map(|one| format!("{} {}; ", one.path, one.what)).collect()
            }
            error => error.to_string(),
        };
        assert!(told.contains(what), "{number}: {told}");
        for name in ["backup", "backup.adopting", "backup.staging"] {
            assert!(!desk.host.path().join(name).exists(), "{number}: {name}");
        }
    }
    // A live database that is whole may have another size than stated.
    let foreign = elsewhere.path().join("live");
    copied(&original, &foreign);
    let database = stored(&foreign, DATABASE);
    std::fs::remove_file(&database).unwrap();
    rusqlite::Connection::open(&database).unwrap().execute_batch("CREATE TABLE t (x);").unwrap();
    Desk::restate(&foreign, DATABASE, 1 << 20);
    let adopted = desk.adopt(&foreign).await.unwrap();
    assert!(adopted.notes.iter().any(|note| note.contains("Photos.sqlite")), "{:?}", adopted.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_says_what_it_read_and_proves_nothing() {
    let desk = Desk::with(QUIET);
    desk.back_up().await.unwrap();
    let proof = desk.host.path().join("backup/proof.jsonl");
    let before = std::fs::read(&proof).unwrap();
    let look = async |share: u32| {
        let vault = Vault::look(desk.folder(), desk.udid());
        let cancel = CancellationToken::new();
        verify::sample(&vault, None, share, &Silent, &cancel).await.unwrap().unwrap()
    };
    let (some, all) = (look(200_000).await, look(1_000_000).await);
    assert!(some.files_read >= 4 && some.files_read < some.files, "{some:?}");
    assert_eq!((all.files_read, all.files), (some.files, some.files));
    assert!(some.damage.is_empty() && all.inside);
    assert_eq!(std::fs::read(&proof).unwrap(), before);
    // What is not in the sample is seen from outside.
    let photo = stored_path(&desk.current(), "CameraRollDomain", "Media/DCIM/100APPLE/IMG_0003.JPG");
    rewrite(&photo, Some(b"short"));
    assert_eq!(look(1).await.damage.len(), 1);
    rewrite(&photo, None);
    assert_eq!(look(1).await.damage.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_no_longer_fits_is_left_and_everything_is_sent_anew() {
    let desk = Desk::with(QUIET);
    desk.back_up().await.unwrap();
    // Something here damaged the last backup: an incremental one that builds upon it can never be whole.
    let photo = stored_path(&desk.current(), "CameraRollDomain", "Media/DCIM/100APPLE/IMG_0003.JPG");
    rewrite(&photo, Some(b"rotten"));
    put(desk.phone.path(), "media/DCIM/100APPLE/NEW.JPG", &jpeg(5, 60_000));
    let told = Told::default();
    let options = Options { reserve_bytes: 0, ..Options::default() };
    let made = desk.back_up_told(options, &told).await.unwrap();
    assert_eq!(made.proof.media_files(), 32);
    assert!(made.received.files > 30);
    let events = told.0.lock().unwrap();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Note(note) if note.contains("sends everything anew")))
    );
}

/// The whole count by `IDEVICE_FIX_ROWS=1000000`: the memory of the program is told, and held to 128 MiB.
#[test]
fn a_backup_of_very_many_files_is_verified_in_little_memory() {
    let rows: u32 = std::env::var("IDEVICE_FIX_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let udid = "00008101-000000000000002E";
    let temp =
        tempfile::tempdir_in(std::env::var_os("IDEVICE_FIX_ROWS_DIR").unwrap_or("/tmp".into())).unwrap();
    many(&temp.path().join(udid), udid, rows);
    let dest = temp.path().join("dest");
    let run = |arguments: &[&str]| {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_idevice-fix"))
            .args(["--dest", dest.to_str().unwrap(), "--json", "-q"])
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let (began, mut kib) = (std::time::Instant::now(), 0);
        loop {
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap_or_default();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(kib);
            if let Some(ended) = program.try_wait().unwrap() {
                eprintln!("{arguments:?}: {rows} rows, {} MiB, {:.1?}", kib / 1024, began.elapsed());
                assert!(ended.success(), "{arguments:?}: {ended}");
                return kib;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let adopting = run(&["backup", "adopt", temp.path().join(udid).to_str().unwrap()]);
    let verifying = run(&["backup", "verify"]);
    assert!(adopting <= 256 << 10, "{adopting} KiB");
    assert!(verifying <= 128 << 10, "{verifying} KiB");
}

/// A plain backup of so many files, one in ten a photo, all of them empty.
fn many(own: &Path, udid: &str, rows: u32) {
    std::fs::create_dir_all(own).unwrap();
    let database = rusqlite::Connection::open(own.join("Manifest.db")).unwrap();
    database
        .execute_batch(
            "PRAGMA synchronous=OFF; BEGIN;
             CREATE TABLE Files (fileID TEXT PRIMARY KEY, domain TEXT, relativePath TEXT, flags INTEGER, file BLOB);",
        )
        .unwrap();
    for folder in 0..=255u8 {
        std::fs::create_dir(own.join(format!("{folder:02x}"))).unwrap();
    }
    {
        let mut insert = database.prepare("INSERT INTO Files VALUES (?1, ?2, ?3, 1, ?4)").unwrap();
        for row in 0..rows {
            let (domain, path) = match row % 10 {
                0 => {
                    ("CameraRollDomain", format!("Media/PhotoData/Thumbnails/V2/DCIM/100APPLE/IMG_{row}.JPG"))
                }
                _ => {
                    ("AppDomain-org.example.reader", format!("Library/Application Support/books/{row}/page"))
                }
            };
            let file = MbFile { relative_path: path.clone(), mode: 0o100_644, ..MbFile::default() };
            let id = idevice_fix::backup::manifest::file_id(domain, &path);
            std::fs::File::create(own.join(&id[..2]).join(&id)).unwrap();
            insert.execute((&id, domain, &path, file.to_archive())).unwrap();
        }
    }
    database.execute_batch("COMMIT").unwrap();
    drop(database);
    let date = plist::Value::Date(std::time::SystemTime::now().into());
    let id = plist::Value::from(udid);
    let lockdown = plist::Dictionary::from_iter([("UniqueDeviceID", id.clone())]);
    for (name, content) in [
        ("Status.plist", vec![("SnapshotState", plist::Value::from("finished")), ("Date", date.clone())]),
        ("Info.plist", vec![("Target Identifier", id)]),
        (
            "Manifest.plist",
            vec![
                ("IsEncrypted", plist::Value::Boolean(false)),
                ("Date", date),
                ("Lockdown", lockdown.into()),
            ],
        ),
    ] {
        plist::to_file_binary(own.join(name), &plist::Dictionary::from_iter(content)).unwrap();
    }
}
