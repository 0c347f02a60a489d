//! Encrypted backups, end to end on a simulated phone: made, built upon, proven, damaged, opened with the wrong password;
//! and the password changed over the wire and by the command.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cap_std::fs::Dir;
use idevice_fix::backup::Secret;
use idevice_fix::backup::adopt::{self, Foreign};
use idevice_fix::backup::make::{self, Error, Made, Options};
use idevice_fix::backup::manifest::file_id;
use idevice_fix::backup::password::{self, Change};
use idevice_fix::backup::read::Backup;
use idevice_fix::backup::vault::Vault;
use idevice_fix::backup::verify::{self, Depth, Proven};
use idevice_fix::lockdown::{Phone, Session, pairing};
use idevice_fix::progress::{CancellationToken, Event, Observer, Silent, Touch};
use idevice_fix::sim::{Bus, Device};
use idevice_fix::usbmux::{Muxer, Udid};

const FEW: &str = "[backup]\ndpic = 50\niter = 10\n";
const QUIET: &str = "[lock]\npasscode_for_backup = false\n";
const PHOTO: (&str, &str) = ("CameraRollDomain", "Media/DCIM/100APPLE/IMG_0003.JPG");

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

fn options(password: Option<&str>) -> Options {
    Options { reserve_bytes: 0, password: password.map(Secret::new), ..Options::default() }
}

impl Desk {
    fn with(settings: &str) -> Self {
        let phone = tempfile::tempdir().unwrap();
        put(phone.path(), "device.toml", settings.as_bytes());
        for n in 0..20u8 {
            // Lengths around a block's.
            put(
                phone.path(),
                &format!("media/DCIM/100APPLE/IMG_{n:04}.JPG"),
                &jpeg(n, 40_000 + usize::from(n)),
            );
        }
        put(phone.path(), "media/PhotoData/Photos.sqlite", &[7; 8192]);
        put(phone.path(), "files/HomeDomain/Library/SMS/sms.db", b"messages");
        put(phone.path(), "files/HomeDomain/Library/empty", b"");
        put(phone.path(), "files/HealthDomain/Health/healthdb.sqlite", b"health");
        let device = Device::open(phone.path(), true).unwrap();
        let muxer: Arc<dyn Muxer> = Arc::new(Bus::new(vec![device.clone()]));
        Self { phone, host: tempfile::tempdir().unwrap(), device, muxer }
    }

    async fn session(&self) -> Session {
        let attached = self.muxer.devices().await.unwrap().pop().unwrap();
        let phone = Phone { muxer: self.muxer.clone(), attached };
        pairing::establish(&phone, Duration::from_secs(20), &Silent, &CancellationToken::new()).await.unwrap()
    }

    fn folder(&self) -> Dir {
        Dir::open_ambient_dir(self.host.path(), cap_std::ambient_authority()).unwrap()
    }

    fn udid(&self) -> Udid {
        self.device.udid().clone()
    }

    async fn back_up(&self, password: Option<&str>) -> Result<Made, Error> {
        let session = self.session().await;
        let vault = Vault::open(self.folder(), self.udid()).unwrap();
        make::make(&session, &vault, options(password), &Silent, &CancellationToken::new()).await
    }

    async fn prove(&self, password: Option<&str>, depth: Depth) -> Result<Proven, verify::Error> {
        let vault = Vault::look(self.folder(), self.udid());
        let password = password.map(Secret::new);
        verify::prove(&vault, password.as_ref(), depth, &Silent, &CancellationToken::new()).await
    }

    async fn change(&self, change: &Change) -> Result<(), password::Error> {
        let session = self.session().await;
        password::change(&session, change, &Silent, &CancellationToken::new()).await
    }

    fn own(&self) -> PathBuf {
        self.host.path().join("backup").join(self.udid().as_str())
    }

    fn stored(&self, (domain, path): (&str, &str)) -> PathBuf {
        let id = file_id(domain, path);
        self.own().join(&id[..2]).join(id)
    }

    /// Every file of the current backup, in the clear.
    fn content(&self, password: &str) -> BTreeMap<String, Vec<u8>> {
        let own = self.folder().open_dir("backup").unwrap().open_dir(self.udid().as_str()).unwrap();
        let backup = Backup::open(own, Some(&Secret::new(password)), &self.folder()).unwrap();
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
            if backup
                .open_file(&row.domain, &row.path)
                .and_then(|mut file| file.read_to_end(&mut bytes))
                .is_ok()
            {
                content.insert(format!("{}::{}", row.domain, row.path), bytes);
            }
        }
        content
    }
}

/// Replaces a file's content, also where it is read-only and shared with history.
fn rewrite(path: &Path, bytes: &[u8]) {
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_backup_is_made_proven_inside_and_built_upon() {
    let desk = Desk::with(&format!("{QUIET}{FEW}password = \"geheim\"\n"));
    let made = desk.back_up(Some("geheim")).await.unwrap();
    assert!(made.proof.encrypted() && made.proof.proven_inside() && made.proof.complete());
    assert_eq!(made.proof.media_files(), 21);
    let photo = made.proof.media("DCIM/100APPLE/IMG_0003.JPG").unwrap();
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &jpeg(3, 40_003));
    assert_eq!(
        photo.sha256.as_ref().map(AsRef::as_ref),
        Some(sha256.as_ref()),
        "the hash is the photo's own"
    );
    assert!(photo.whole && photo.size == jpeg(3, 40_003).len() as u64);
    let stored = std::fs::read(desk.stored(PHOTO)).unwrap();
    assert!(stored.len().is_multiple_of(16) && !stored.starts_with(&[0xFF, 0xD8]));
    assert_eq!(desk.content("geheim")["HealthDomain::Health/healthdb.sqlite"], b"health");

    put(desk.phone.path(), "media/DCIM/100APPLE/NEW.JPG", &jpeg(5, 60_000));
    let again = desk.back_up(Some("geheim")).await.unwrap();
    assert_eq!(again.received.files, 1 + 4, "the new photo and the records");
    assert!(again.proof.proven_inside());
    assert_eq!(std::fs::read(desk.stored(PHOTO)).unwrap(), stored);
    assert_eq!(desk.content("geheim")["CameraRollDomain::Media/DCIM/100APPLE/NEW.JPG"], jpeg(5, 60_000));
    for depth in [Depth::Recheck, Depth::Full] {
        assert!(desk.prove(Some("geheim"), depth).await.unwrap().proof.is_some());
    }
    // Nothing decrypted is left anywhere.
    let left: Vec<_> = std::fs::read_dir(desk.host.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("decrypted")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_harsh_phone_s_encrypted_backup_is_proven_inside() {
    let desk = Desk::with(&format!(
        "temper = \"harsh\"\n[person]\nunlocks_after_ms = 50\n{FEW}password = \"geheim\"\n"
    ));
    let made = desk.back_up(Some("geheim")).await.unwrap();
    assert!(made.proof.proven_inside() && made.proof.complete());
    assert_eq!(made.proof.refused().len(), 1);
    assert!(made.notes.iter().any(|note| note.contains("Photos.sqlite")), "{:?}", made.notes);
    assert!(desk.prove(Some("geheim"), Depth::Full).await.unwrap().proof.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_password_it_is_proven_from_outside_and_with_a_wrong_one_not_at_all() {
    let desk = Desk::with(&format!("{QUIET}{FEW}password = \"geheim\"\n"));
    let made = desk.back_up(None).await.unwrap();
    assert!(made.proof.encrypted() && !made.proof.proven_inside());
    assert!(matches!(desk.prove(Some("Geheim"), Depth::Full).await, Err(verify::Error::WrongPassword)));
    put(desk.phone.path(), "media/DCIM/100APPLE/NEW.JPG", &jpeg(5, 60_000));
    assert!(matches!(desk.back_up(Some("Geheim")).await, Err(Error::WrongPassword)));
    assert!(desk.prove(None, Depth::Full).await.unwrap().proof.is_some(), "the last good one is as it was");
    assert!(desk.back_up(Some("geheim")).await.unwrap().proof.proven_inside());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_apart_from_a_wrong_password() {
    let desk = Desk::with(&format!("{QUIET}{FEW}password = \"geheim\"\n"));
    desk.back_up(Some("geheim")).await.unwrap();
    let photo = desk.stored(PHOTO);
    let whole = std::fs::read(&photo).unwrap();
    let mut flipped = whole.clone();
    flipped[1000] ^= 1;
    for bytes in [&flipped[..], &whole[..160], b""] {
        rewrite(&photo, bytes);
        for password in [Some("geheim"), None] {
            let proven = desk.prove(password, Depth::Full).await.unwrap();
            assert!(
                proven.proof.is_none() && !proven.damage.is_empty(),
                "{} bytes, {password:?}",
                bytes.len()
            );
        }
    }
    rewrite(&photo, &whole);
    for name in ["Manifest.db", "Manifest.plist"] {
        let path = desk.own().join(name);
        let whole = std::fs::read(&path).unwrap();
        // Also in the salt, without which no password opens anything.
        let salt = whole.windows(4).position(|window| window == b"DPSL").map(|at| at + 12);
        for at in [whole.len() / 2, whole.len() - 40].into_iter().chain(salt) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            rewrite(&path, &flipped);
            match desk.prove(Some("geheim"), Depth::Full).await {
                Ok(proven) => assert!(proven.proof.is_none() && !proven.damage.is_empty(), "{name} at {at}"),
                Err(error) => panic!("{name} at {at}: {error}"),
            }
        }
        rewrite(&path, &whole);
    }
    assert!(desk.prove(Some("geheim"), Depth::Full).await.unwrap().proof.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_set_changed_and_removed_and_the_vault_follows() {
    let desk = Desk::with(&format!("{QUIET}{FEW}"));
    assert!(!desk.back_up(None).await.unwrap().proof.encrypted());
    let secret = |text: &str| Secret::new(text);
    assert!(matches!(desk.change(&Change::Remove(secret("x"))).await, Err(password::Error::NotSet)));
    for unusable in ["", "two\nlines"] {
        let change = Change::Set(secret(unusable));
        assert!(matches!(desk.change(&change).await, Err(password::Error::Unusable)), "{unusable:?}");
    }
    let no_text = Change::Set(Secret::new([0xFF, 0xFE]));
    assert!(matches!(desk.change(&no_text).await, Err(password::Error::Unusable)));
    desk.change(&Change::Set(secret("eins"))).await.unwrap();
    assert!(matches!(desk.change(&Change::Set(secret("zwei"))).await, Err(password::Error::AlreadySet)));
    let made = desk.back_up(Some("eins")).await.unwrap();
    assert!(made.proof.proven_inside() && made.received.files > 20, "everything came anew");
    let wrong = Change::Replace { old: secret("Eins"), new: secret("zwei") };
    assert!(matches!(desk.change(&wrong).await, Err(password::Error::WrongPassword)));
    desk.change(&Change::Replace { old: secret("eins"), new: secret("zwei") }).await.unwrap();
    assert!(
        desk.prove(Some("eins"), Depth::Full).await.unwrap().proof.is_some(),
        "the older one keeps its own"
    );
    assert!(desk.back_up(Some("zwei")).await.unwrap().proof.proven_inside());
    assert!(matches!(desk.prove(Some("eins"), Depth::Full).await, Err(verify::Error::WrongPassword)));
    desk.change(&Change::Remove(secret("zwei"))).await.unwrap();
    let made = desk.back_up(None).await.unwrap();
    assert!(!made.proof.encrypted() && made.proof.media_files() == 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_backup_is_adopted_with_its_password_alone_and_built_upon_with_a_new_one() {
    let desk = Desk::with(&format!("{QUIET}{FEW}"));
    desk.change(&Change::Set(Secret::new("eins"))).await.unwrap();
    desk.back_up(Some("eins")).await.unwrap();
    let photo = desk.stored(PHOTO);
    let foreign = desk.host.path().join("theirs");
    std::fs::rename(desk.host.path().join("backup"), &foreign).unwrap();
    let adopt = async |password: Option<&str>| {
        let dir = Dir::open_ambient_dir(&foreign, cap_std::ambient_authority()).unwrap();
        let found = Foreign::find(&dir, None).unwrap();
        let vault = Vault::open(desk.folder(), desk.udid()).unwrap();
        let password = password.map(Secret::new);
        adopt::adopt(found, &vault, password.as_ref(), 0, &Silent, &CancellationToken::new()).await
    };
    assert!(matches!(adopt(None).await, Err(adopt::Error::PasswordNeeded)));
    assert!(matches!(adopt(Some("zwei")).await, Err(adopt::Error::WrongPassword)));
    // Cut where a block ends, the padding is missing.
    let theirs = foreign.join(photo.strip_prefix(desk.host.path().join("backup")).unwrap());
    let whole = std::fs::read(&theirs).unwrap();
    rewrite(&theirs, &whole[..whole.len() - 32]);
    assert!(matches!(adopt(Some("eins")).await, Err(adopt::Error::Damaged { .. })));
    rewrite(&theirs, &whole);
    let adopted = adopt(Some("eins")).await.unwrap();
    assert!(adopted.proof.proven_inside() && adopted.proof.adopted_files() > 20);
    // Nothing of what was decrypted has a name.
    let names = std::fs::read_dir(desk.host.path().join("backup")).unwrap().flatten();
    let mut names: Vec<String> = names.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [desk.udid().as_str(), "proof.jsonl", "received.manifest"]);
    let change = Change::Replace { old: Secret::new("eins"), new: Secret::new("zwei") };
    desk.change(&change).await.unwrap();
    let made = desk.back_up(Some("zwei")).await.unwrap();
    assert!(made.proof.proven_inside() && made.proof.media_files() == 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_person_is_told_of_the_passcode_for_a_new_password() {
    let desk = Desk::with(&format!("[person]\nenters_passcode_after_ms = 200\n{FEW}"));
    let told = Told::default();
    let session = desk.session().await;
    let change = Change::Set(Secret::new("eins"));
    password::change(&session, &change, &told, &CancellationToken::new()).await.unwrap();
    let touch = Touch::Passcode;
    assert!(password::is_set(&session).await.unwrap());
    let events = told.0.lock().unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::PersonNeeded { touch: t, .. } if *t == touch)));
    assert!(events.contains(&Event::PersonDone { touch }));
}

// -- the command --

struct Shell {
    temp: tempfile::TempDir,
}

impl Shell {
    fn new() -> Self {
        Self::with("")
    }

    /// `settings` stand behind those of `[backup]`.
    fn with(settings: &str) -> Self {
        let shell = Self { temp: tempfile::tempdir().unwrap() };
        shell.phone("phone", settings);
        for n in 0..5u8 {
            put(&shell.at("phone"), &format!("media/DCIM/100APPLE/IMG_{n:04}.JPG"), &jpeg(n, 40_000));
        }
        put(&shell.at("phone"), "files/HomeDomain/Library/SMS/sms.db", b"messages");
        shell
    }

    fn at(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// A phone that holds nothing yet.
    fn phone(&self, name: &str, settings: &str) {
        put(&self.at(name), "device.toml", format!("temper = \"kind\"\n{QUIET}{FEW}{settings}").as_bytes());
    }

    fn lockdown(&self, name: &str, domain: &str, key: &str, value: plist::Value) {
        let values = plist::Dictionary::from_iter([(key, value)]);
        let domains = plist::Dictionary::from_iter([(domain, values)]);
        plist::Value::Dictionary(domains).to_file_xml(self.at(name).join("lockdown.plist")).unwrap();
    }

    /// No file that the program has made says the password.
    fn keeps_secret(&self, password: &str) {
        let finds = |bytes: &[u8]| bytes.windows(password.len()).any(|window| window == password.as_bytes());
        for path in walk(&self.at("dest")) {
            assert!(!finds(path.to_str().unwrap().as_bytes()), "{}", path.display());
            assert!(!std::fs::read(&path).is_ok_and(|bytes| finds(&bytes)), "{}", path.display());
        }
    }

    /// Runs the program on the phone, which remembers; gives status, stdout and stderr.
    fn run(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
        stdin: Option<&str>,
    ) -> (i32, String, String) {
        self.run_on("phone", arguments, variables, stdin)
    }

    fn run_on(
        &self,
        phone: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
        stdin: Option<&str>,
    ) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_idevice-fix"));
        for name in ["IDEVICE_FIX_UDID", "USBMUXD_SOCKET_ADDRESS", "BACKUP_PASSWORD", "BACKUP_PASSWORD_NEW"] {
            command.env_remove(name);
        }
        command.arg("--device").arg(self.at(phone)).arg("--device-keeps").arg("--dest").arg(self.at("dest"));
        command.args(arguments).envs(variables.iter().copied()).env_remove("DBUS_SESSION_BUS_ADDRESS");
        command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(text) = stdin {
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

/// Every path below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        all.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            all.extend(walk(&entry.path()));
        }
    }
    all
}

#[test]
fn files_come_out_of_an_encrypted_backup_without_the_phone_and_each_trouble_has_its_status() {
    const PASSWORD: &str = "hunter-drei";
    let shell = Shell::with(&format!("password = \"{PASSWORD}\"\n"));
    let known = [("BACKUP_PASSWORD", PASSWORD)];
    let mut said = String::new();
    let mut run = |arguments: &[&str], variables: &[(&str, &str)], stdin| {
        let (status, stdout, stderr) = shell.run(arguments, variables, stdin);
        said.push_str(&stdout);
        said.push_str(&stderr);
        (status, stdout, stderr)
    };
    assert_eq!(run(&["backup", "-y", "-vv"], &known, None).0, 0);

    let list = ["backup", "list", "--domain", "CameraRollDomain", "--json", "-vv"];
    assert_eq!(run(&list, &[], None).0, 8, "nobody gave the password");
    let line = format!("{PASSWORD}\n");
    let by_descriptor = [&list[..], &["--password-fd", "0"]].concat();
    let (status, stdout, stderr) = run(&by_descriptor, &[], Some(line.as_str()));
    assert_eq!(status, 0, "{stderr}");
    let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (answer["schema"].as_str(), answer["encrypted"].as_bool()),
        (Some("idevice-fix/backup-list/1"), Some(true))
    );
    assert_eq!(answer["files"].as_array().unwrap().len(), 5);

    let out = shell.at("out");
    let extract = |place: &Path, rest: &[&str]| -> Vec<String> {
        let mut arguments =
            vec!["backup".to_owned(), "extract".to_owned(), place.to_str().unwrap().to_owned()];
        arguments.extend(rest.iter().map(|one| (*one).to_owned()));
        arguments
    };
    let mut extracted = |place: &Path, rest: &[&str], variables: &[(&str, &str)]| {
        let arguments = extract(place, rest);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&arguments, variables, None)
    };
    let photos = ["--path", "Media/DCIM/**", "--json", "-vv"];
    assert_eq!(extracted(&out, &photos, &[("BACKUP_PASSWORD", "hunter")]).0, 8);
    assert!(!out.exists());
    let (status, stdout, stderr) = extracted(&out, &photos, &known);
    assert_eq!(status, 0, "{stderr}");
    let result: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!((result["files"].as_u64(), result["compared"].as_bool()), (Some(5), Some(true)), "{result}");
    let photo = std::fs::read(out.join("CameraRollDomain/Media/DCIM/100APPLE/IMG_0003.JPG")).unwrap();
    assert_eq!(photo, jpeg(3, 40_000));
    assert_eq!(extracted(&out, &photos, &known).0, 2, "nothing is written over");
    assert_eq!(extracted(&shell.at("none"), &["--path", "*.nothing"], &known).0, 1);
    assert!(!shell.at("none").exists());
    assert_eq!(extracted(&shell.at("none"), &[], &known).0, 2, "what is wanted must be said");

    let dest = shell.at("dest");
    let id = file_id("HomeDomain", "Library/SMS/sms.db");
    let stored = walk(&dest).into_iter().find(|path| path.ends_with(&id)).unwrap();
    rewrite(&stored, &[0; 16]);
    let all = shell.at("all");
    let (status, _, stderr) = extracted(&all, &["--all"], &known);
    assert_eq!(status, 7, "{stderr}");
    assert!(
        stderr.contains("sms.db") && all.join("CameraRollDomain/Media/DCIM/100APPLE/IMG_0003.JPG").exists()
    );
    assert!(!all.join("HomeDomain/Library/SMS/sms.db").exists(), "what is damaged does not stay");
    assert!(!said.contains("hunter"), "a password is in no output");
    shell.keeps_secret(PASSWORD);
}

#[test]
fn a_backup_is_restored_onto_an_empty_phone_and_onto_no_other() {
    const PASSWORD: &str = "hunter-vier";
    let shell = Shell::with(&format!("password = \"{PASSWORD}\"\n"));
    let known = [("BACKUP_PASSWORD", PASSWORD)];
    assert_eq!(shell.run(&["backup", "-y"], &known, None).0, 0);
    let source = std::fs::read_dir(shell.at("dest"))
        .unwrap()
        .flatten()
        .find(|entry| entry.path().join("backup").exists());
    let source = source.unwrap().file_name().into_string().unwrap();
    let restore = ["backup", "restore", "--of", &source, "--json", "-vv"];
    let agreed = [&restore[..], &["--accept", "replace-content"]].concat();

    let (status, _, stderr) = shell.run(&agreed, &known, None);
    assert!(status == 10 && stderr.contains("not empty"), "{status} {stderr}");
    shell.phone("new", "");
    plist::Value::Array(Vec::new()).to_file_xml(shell.at("new/apps.plist")).unwrap();
    let (status, _, stderr) = shell.run_on("new", &[&restore[..], &["-y"]].concat(), &known, None);
    assert!(
        status == 4 && stderr.contains("replace-content"),
        "a yes to everything is no such yes: {stderr}"
    );
    assert_eq!(shell.run_on("new", &agreed, &[("BACKUP_PASSWORD", "hunter")], None).0, 8);
    shell.lockdown("new", "com.apple.fmip", "IsAssociated", true.into());
    let (status, _, stderr) = shell.run_on("new", &agreed, &known, None);
    assert!(status == 4 && stderr.contains("Find My"), "{stderr}");
    shell.lockdown("new", "", "ProductVersion", "13.3".into());
    let (status, _, stderr) = shell.run_on("new", &agreed, &known, None);
    assert!(status == 1 && stderr.contains("older iOS 13.3"), "{stderr}");
    std::fs::remove_file(shell.at("new/lockdown.plist")).unwrap();

    let unplug = "[[fault]]\nat = \"backup-message\"\nafter_messages = 7\nkind = \"unplug\"\n";
    shell.phone("new", unplug);
    let (status, _, stderr) = shell.run_on("new", &agreed, &known, None);
    assert!(status == 1 && stderr.contains("it is as it was"), "{status} {stderr}");
    assert!(!shell.at("new/media/DCIM").exists());

    shell.phone("new", "");
    let (status, stdout, stderr) = shell.run_on("new", &agreed, &known, None);
    assert_eq!(status, 0, "{stderr}");
    let result: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert!(result["sent_bytes"].as_u64().unwrap() > 200_000 && result["job"].is_string(), "{result}");
    assert!(!stdout.contains("hunter") && !stderr.contains("hunter"));
    // A folder that is opened is a phone that starts, and its start puts things in place.
    assert_eq!(shell.run_on("new", &["info"], &[], None).0, 0);
    let content = |phone: &str| -> BTreeMap<PathBuf, Vec<u8>> {
        let root = shell.at(phone).join("media/DCIM");
        let files = walk(&root).into_iter().filter(|path| path.is_file());
        files
            .map(|path| (path.strip_prefix(&root).unwrap().to_owned(), std::fs::read(&path).unwrap()))
            .collect()
    };
    assert_eq!(content("new"), content("phone"));
    assert_eq!(std::fs::read(shell.at("new/files/HomeDomain/Library/SMS/sms.db")).unwrap(), b"messages");
    shell.keeps_secret(PASSWORD);
}

#[test]
fn a_phone_that_is_not_empty_is_restored_only_while_the_gate_is_open() {
    let shell = Shell::new();
    let full = shell.at("full");
    let made = Command::new(env!("CARGO_BIN_EXE_idevice-fix"))
        .args(["sim", "new", "--photos", "5", "--media-bytes", "500000", "--scenario", "icloud-full"])
        .arg(&full)
        .status();
    assert!(made.unwrap().success());
    shell.phone("full", "");
    let mut lockdown = plist::Value::from_file(full.join("lockdown.plist")).unwrap();
    let find_my = plist::Dictionary::from_iter([("IsAssociated", false)]);
    lockdown.as_dictionary_mut().unwrap().insert("com.apple.fmip".into(), find_my.into());
    lockdown.to_file_xml(full.join("lockdown.plist")).unwrap();
    let (status, _, stderr) = shell.run_on("full", &["fix", "-y", "-q"], &[], None);
    assert_eq!(status, 0, "{stderr}");
    let restore = ["backup", "restore", "--accept", "replace-content"];
    let (status, _, stderr) = shell.run_on("full", &restore, &[], None);
    assert!(status == 10 && stderr.contains("not encrypted"), "{status} {stderr}");

    let accepted = [&restore[..], &["--accept", "unencrypted-backup"]].concat();
    put(&full, "media/DCIM/100APPLE/IMG_9999.JPG", &jpeg(9, 5000));
    let (status, _, stderr) = shell.run_on("full", &accepted, &[], None);
    assert!(status == 10 && stderr.contains("not copied"), "{status} {stderr}");
    std::fs::remove_file(full.join("media/DCIM/100APPLE/IMG_9999.JPG")).unwrap();
    let photos = || -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        walk(&full.join("media/DCIM"))
            .into_iter()
            .map(|path| (path.clone(), std::fs::read(path).ok()))
            .collect()
    };
    let before = photos();
    let (status, _, stderr) = shell.run_on("full", &accepted, &[], None);
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(shell.run_on("full", &["info"], &[], None).0, 0);
    assert_eq!(photos(), before);
}

#[test]
fn the_keyring_keeps_what_it_is_told_to_and_nothing_secret_is_an_argument() {
    use std::os::unix::fs::PermissionsExt;
    const PASSWORD: &str = "hunter-keyring";
    let shell = Shell::new();
    let script = "#!/bin/sh\ncd \"$KEYRING\" || exit 2\necho \"$@\" >> arguments\nenv >> arguments\ncase $1 in\n\
                  store) cat > secret ;;\nlookup) cat secret 2>/dev/null ;;\nclear) rm -f secret ;;\nesac\n";
    put(&shell.at("bin"), "secret-tool", script.as_bytes());
    let tool = shell.at("bin/secret-tool");
    std::fs::set_permissions(tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(shell.at("keyring")).unwrap();
    let path = format!("{}:{}", shell.at("bin").display(), std::env::var("PATH").unwrap());
    let keyring = shell.at("keyring");
    let keyring = keyring.to_str().unwrap();
    let there = [("PATH", path.as_str()), ("KEYRING", keyring), ("BACKUP_PASSWORD_NEW", PASSWORD)];
    let set = ["backup", "password", "set", "--keep-in-keyring", "-vv"];
    let (status, _, stderr) = shell.run(&set, &there, None);
    assert_eq!(status, 0, "{stderr}");
    assert!(stderr.contains("keyring") && !stderr.contains("hunter"), "{stderr}");
    assert_eq!(std::fs::read(shell.at("keyring/secret")).unwrap(), PASSWORD.as_bytes());
    assert_eq!(shell.run(&["backup", "-y", "-vv"], &there[..2], None).0, 0);
    let verify = ["backup", "verify", "--json"];
    let inside = |stdout: &str| -> bool {
        let result: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        result["backup"]["proven_inside"].as_bool().unwrap()
    };
    let (status, stdout, stderr) = shell.run(&verify, &there[..2], None);
    assert!(status == 0 && inside(&stdout), "{stderr}");
    let (_, _, stderr) = shell.run(&["backup", "password", "forget"], &there[..2], None);
    assert!(stderr.contains("no longer"), "{stderr}");
    let (status, stdout, _) = shell.run(&verify, &there[..2], None);
    assert!(status == 0 && !inside(&stdout), "proven from outside only again");
    let keep = ["backup", "password", "keep"];
    let wrong = [there[0], there[1], ("BACKUP_PASSWORD", "hunter")];
    assert_eq!(shell.run(&keep, &wrong, None).0, 8, "it is tried first");
    assert!(!shell.at("keyring/secret").exists());
    let arguments = std::fs::read_to_string(shell.at("keyring/arguments")).unwrap();
    assert!(arguments.contains("lookup") && !arguments.contains("hunter"), "{arguments}");
    shell.keeps_secret(PASSWORD);
}

#[test]
fn the_command_sets_changes_and_removes_and_its_exit_status_tells() {
    let shell = Shell::new();
    let (old, new) = ("BACKUP_PASSWORD", "BACKUP_PASSWORD_NEW");
    let set = ["backup", "password", "set"];
    let (status, _, stderr) = shell.run(&set, &[], None);
    assert_eq!(status, 8, "nobody gave one: {stderr}");
    assert!(stderr.contains(new) && stderr.contains("--new-password-fd"), "{stderr}");
    let (status, stdout, stderr) =
        shell.run(&[&set[..], &["--json"]].concat(), &[(new, "hunter-eins")], None);
    assert_eq!(status, 0, "{stderr}");
    let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["schema"], "idevice-fix/backup-password/1");
    assert_eq!(answer["encrypted"], true);
    assert_eq!(shell.run(&set, &[(new, "x")], None).0, 8, "one is set already");

    let backup = ["backup", "-y"];
    assert_eq!(shell.run(&backup, &[(old, "wrong")], None).0, 8);
    let (status, stdout, stderr) =
        shell.run(&[&backup[..], &["-vv"]].concat(), &[(old, "hunter-eins")], None);
    assert_eq!(status, 0, "{stderr}");
    assert!(!stdout.contains("hunter") && !stderr.contains("hunter"), "a password is in no output");
    let verify = ["backup", "verify"];
    assert_eq!(shell.run(&verify, &[(old, "hunter-eins")], None).0, 0);
    assert_eq!(shell.run(&verify, &[(old, "hunter")], None).0, 8);
    assert_eq!(shell.run(&verify, &[], None).0, 0, "from outside only");

    let change = ["backup", "password", "change", "--password-fd", "0", "--new-password-fd", "0", "-vv"];
    assert_eq!(shell.run(&change, &[], Some("wrong\nhunter-zwei\n")).0, 8);
    let (status, stdout, stderr) = shell.run(&change, &[], Some("hunter-eins\nhunter-zwei\n"));
    assert_eq!(status, 0, "{stderr}");
    assert!(!stdout.contains("hunter") && !stderr.contains("hunter"), "{stderr}");
    let off = ["backup", "password", "off"];
    assert_eq!(shell.run(&off, &[(old, "hunter-eins")], None).0, 8);
    assert_eq!(shell.run(&off, &[(old, "hunter-zwei")], None).0, 0);
    let (status, _, stderr) = shell.run(&off, &[], None);
    assert_eq!(status, 0, "nothing to do needs no password: {stderr}");
    assert_eq!(shell.run(&change, &[], Some("a\nb\n")).0, 1, "none is set");
    assert_eq!(
        shell.run(&["backup", "password", "off", "--password", "x"], &[], None).0,
        2,
        "never an argument"
    );
}
