//! The vault: stages, exchanges, history, and what a crash leaves.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::*;
use crate::backup::manifest::file_id;
use crate::backup::proof_file::{PROOF, Writing};
use crate::mobilebackup2::folder::{Folder, Place};

const UDID: &str = "00008101-000000000000001E";

struct Desk(tempfile::TempDir);

/// A file's inode, mode, time and content.
type Stand = (u64, u32, i64, i64, Vec<u8>);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Vault {
        let dir = Dir::open_ambient_dir(self.0.path(), cap_std::ambient_authority()).unwrap();
        Vault::open(dir, Udid::parse(UDID).unwrap()).unwrap()
    }

    /// Makes what stands in staging a proven backup, made at that second.
    fn prove(vault: &Vault, second: i64) {
        let staging = vault.staging().unwrap().unwrap();
        let made_at = Timestamp::from_second(second).unwrap();
        let header = Header::new(UDID, [0; 32], made_at, false, false, 0);
        durable::replace(&staging, PROOF, 0o600, |file| Writing::begin(file, &header).end(&[])).unwrap();
    }

    /// A backup that holds one file with this content, proven and in staging.
    fn staged(vault: &Vault, second: i64, content: &[u8]) -> Dir {
        let begun = vault.begin().unwrap();
        let own = begun.root.open_dir(UDID).unwrap();
        let _ = own.remove_file("file");
        own.write("file", content).unwrap();
        Self::prove(vault, second);
        begun.root
    }

    fn content(&self, folder: &str) -> Option<String> {
        std::fs::read_to_string(self.0.path().join(folder).join(UDID).join("file")).ok()
    }

    fn history(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path().join(HISTORY)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Everything below a folder, as it stands.
    fn stand(&self, folder: &str) -> BTreeMap<String, Stand> {
        fn walk(root: &Path, at: &Path, all: &mut BTreeMap<String, Stand>) {
            for entry in std::fs::read_dir(at).unwrap().flatten() {
                let (path, metadata) = (entry.path(), entry.metadata().unwrap());
                if metadata.is_dir() {
                    walk(root, &path, all);
                } else {
                    let stand = (
                        metadata.ino(),
                        metadata.mode(),
                        metadata.mtime(),
                        metadata.mtime_nsec(),
                        std::fs::read(&path).unwrap(),
                    );
                    all.insert(path.strip_prefix(root).unwrap().display().to_string(), stand);
                }
            }
        }
        let (root, mut all) = (self.0.path().join(folder), BTreeMap::new());
        walk(&root, &root, &mut all);
        all
    }
}

#[test]
fn the_new_one_takes_the_place_and_two_older_ones_are_kept() {
    for can_exchange in [true, false] {
        let desk = Desk::new();
        for second in 1..=5 {
            let vault = Vault { can_exchange, ..desk.open() };
            Desk::staged(&vault, second, format!("made {second}").as_bytes());
            vault.promote().unwrap();
            assert_eq!(desk.content(CURRENT).unwrap(), format!("made {second}"));
            assert!(vault.staging().unwrap().is_none());
        }
        assert_eq!(desk.history(), ["1970-01-01T00-00-03Z", "1970-01-01T00-00-04Z"], "{can_exchange}");
        assert_eq!(desk.content("backup.history/1970-01-01T00-00-04Z").unwrap(), "made 4");
    }
}

#[test]
fn a_crash_between_any_two_steps_is_put_right_at_the_next_opening() {
    type Crash = fn(&Vault);
    let crashes: [(&str, Crash); 5] = [
        ("before anything", |_| {}),
        ("after the first rename of two", |vault| vault.retire(CURRENT).unwrap()),
        ("after the exchange", |vault| vault.swap().unwrap()),
        ("the older one proven again meanwhile", |vault| {
            let last = vault.current().unwrap().unwrap();
            let header = ProofFile::header(&last).unwrap();
            let again = Header::new(UDID, [0; 32], header.made_at, false, false, 0);
            durable::replace(&last, PROOF, 0o600, |file| Writing::begin(file, &again).end(&[])).unwrap();
        }),
        ("after all of it, half deleted", |vault| {
            vault.promote().unwrap();
            make_private(&vault.dir, GONE).unwrap();
            make_private(&vault.dir, CLONING).unwrap();
            make_private(&vault.dir, ADOPTING).unwrap();
        }),
    ];
    for (what, crash) in crashes {
        let desk = Desk::new();
        let vault = desk.open();
        Desk::staged(&vault, 1, b"older");
        vault.promote().unwrap();
        Desk::staged(&vault, 2, b"newer");
        crash(&vault);
        drop(vault);
        let vault = desk.open();
        assert_eq!(desk.content(CURRENT).as_deref(), Some("newer"), "{what}");
        assert_eq!(desk.history(), ["1970-01-01T00-00-01Z"], "{what}");
        assert_eq!(desk.content("backup.history/1970-01-01T00-00-01Z").as_deref(), Some("older"), "{what}");
        assert!(vault.staging().unwrap().is_none(), "{what}");
        for left_over in [GONE, CLONING, ADOPTING] {
            assert!(!vault.dir.exists(left_over), "{what}: {left_over}");
        }
    }
}

#[test]
fn nothing_that_a_phone_or_sqlite_does_in_staging_reaches_the_last_backup() {
    let desk = Desk::new();
    let vault = desk.open();
    let begun = vault.begin().unwrap();
    let own = begun.root.open_dir(UDID).unwrap();
    let stored = file_id("HomeDomain", "x");
    let folder = &stored[..2];
    own.create_dir(folder).unwrap();
    own.write(format!("{folder}/{stored}"), "photo").unwrap();
    let plists = [
        ("Info.plist", "GUID", plist::Value::from("x")),
        ("Status.plist", "SnapshotState", "finished".into()),
        ("Manifest.plist", "IsEncrypted", false.into()),
    ];
    for (name, key, value) in plists {
        let content = plist::Dictionary::from_iter([(key, value)]);
        own.write(name, crate::frame::to_binary(&content.into())).unwrap();
    }
    let database = desk.0.path().join(STAGING).join(UDID).join("Manifest.db");
    let table = "PRAGMA journal_mode=WAL; CREATE TABLE Files (fileID TEXT PRIMARY KEY, domain TEXT, relativePath TEXT, flags INTEGER, file BLOB);";
    rusqlite::Connection::open(&database).unwrap().execute_batch(table).unwrap();
    Desk::prove(&vault, 1);
    vault.promote().unwrap();
    let before = desk.stand(CURRENT);
    assert!(before.values().all(|stand| stand.1 & 0o777 == 0o400 || stand.4.starts_with(b"{")), "{before:?}");

    let begun = vault.begin().unwrap();
    let own = begun.root.open_dir(UDID).unwrap();
    crate::backup::manifest::open_database(&own).unwrap().rows(|_| true).unwrap();
    let mut folder_of_phone =
        Folder::open(begun.root.try_clone().unwrap(), Udid::parse(UDID).unwrap(), 0).unwrap();
    let udid = Udid::parse(UDID).unwrap();
    let path = |path: &str| Place::parse(&udid, &format!("{UDID}/{path}")).unwrap();
    let (photo, other, database) =
        (path(&format!("{folder}/{stored}")), path("Snapshot"), path("Manifest.db"));
    let (moved, status) = (path(&format!("{folder}/moved")), path("Status.plist"));
    // Every way in which a phone changes a file: sent anew, moved over, copied over, removed.
    let mut incoming = folder_of_phone.begin().unwrap();
    incoming.file.write_all(b"another photo").unwrap();
    folder_of_phone.place_file(incoming, &photo).unwrap();
    folder_of_phone.rename(&photo, &moved).unwrap();
    folder_of_phone.rename(&moved, &database).unwrap();
    folder_of_phone.copy(&database, &photo).unwrap();
    folder_of_phone.copy(&database, &status).unwrap();
    folder_of_phone.create_directory(&format!("{UDID}/Snapshot/ab")).unwrap();
    folder_of_phone.rename(&other, &photo).unwrap();
    folder_of_phone.remove(&path("Info.plist")).unwrap();
    assert_eq!(desk.stand(CURRENT), before);
    // The new one is another in all of it, and throwing it away changes nothing either.
    assert_ne!(
        desk.stand(STAGING).get(&format!("{UDID}/Manifest.db")),
        before.get(&format!("{UDID}/Manifest.db"))
    );
    vault.discard_staging().unwrap();
    assert_eq!(desk.stand(CURRENT), before);
}

#[test]
fn what_is_taken_in_replaces_an_interrupted_backup_only_when_it_is_proven() {
    let desk = Desk::new();
    let vault = desk.open();
    Desk::staged(&vault, 1, b"older");
    vault.promote().unwrap();
    let interrupted = vault.begin().unwrap().root.open_dir(UDID).unwrap();
    interrupted.remove_file("file").unwrap();
    interrupted.write("file", "half").unwrap();
    vault.begin_adoption().unwrap().open_dir(UDID).unwrap().write("file", "taken").unwrap();
    vault.end_adoption().unwrap();
    assert_eq!(desk.content(STAGING).as_deref(), Some("half"));

    let root = vault.begin_adoption().unwrap();
    root.open_dir(UDID).unwrap().write("file", "taken").unwrap();
    let header = Header::new(UDID, [0; 32], Timestamp::from_second(9).unwrap(), false, false, 1);
    durable::replace(&root, PROOF, 0o600, |file| Writing::begin(file, &header).end(&[])).unwrap();
    vault.promote_adopted().unwrap();
    assert_eq!(desk.content(CURRENT).as_deref(), Some("taken"));
    assert_eq!(vault.made_at().unwrap(), Timestamp::from_second(9).ok());
    assert!(vault.staging().unwrap().is_none());
    let looks = Vault::look(vault.dir.try_clone().unwrap(), vault.udid);
    assert!(matches!(looks.begin_adoption(), Err(Error::ReadOnly)));
}

#[test]
fn damaged_records_of_the_last_backup_are_left_out_of_the_next_and_stay_where_they_are() {
    let desk = Desk::new();
    let vault = desk.open();
    let own = vault.begin().unwrap().root.open_dir(UDID).unwrap();
    for name in RECORDS {
        own.write(name, "").unwrap();
    }
    own.write("file", "photo").unwrap();
    Desk::prove(&vault, 1);
    vault.promote().unwrap();
    let before = desk.stand(CURRENT);
    let begun = vault.begin().unwrap();
    assert!(begun.notes.iter().any(|note| note.contains("Manifest.db")), "{:?}", begun.notes);
    let own = begun.root.open_dir(UDID).unwrap();
    assert!(RECORDS.iter().all(|name| !own.exists(name)) && own.exists("file"));
    assert_eq!(desk.stand(CURRENT), before);
}
