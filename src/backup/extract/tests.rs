//! Extraction from a backup made by hand: what comes out, and what a hostile or damaged one does.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aws_lc_rs::digest::SHA256;
use rusqlite::Connection;

use super::*;
use crate::backup::choice::Pattern;
use crate::backup::manifest::file_id;
use crate::progress::Silent;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        let manifest = plist::Value::Dictionary(plist::Dictionary::from_iter([("IsEncrypted", false)]));
        std::fs::create_dir(bench.path("backup")).unwrap();
        manifest.to_file_xml(bench.path("backup/Manifest.plist")).unwrap();
        let table = "CREATE TABLE Files (fileID TEXT PRIMARY KEY, domain TEXT, relativePath TEXT, flags INTEGER, file BLOB);";
        bench.database().execute_batch(table).unwrap();
        bench
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn database(&self) -> Connection {
        Connection::open(self.path("backup/Manifest.db")).unwrap()
    }

    fn row(&self, domain: &str, path: &str, flags: i64, size: u64) {
        let file =
            MbFile { relative_path: path.into(), size, last_modified: 1_700_000_000, ..MbFile::default() };
        let row = (file_id(domain, path), domain, path, flags, file.to_archive());
        self.database().execute("INSERT INTO Files VALUES (?1, ?2, ?3, ?4, ?5)", row).unwrap();
    }

    fn file(&self, domain: &str, path: &str, content: &[u8]) {
        self.row(domain, path, 1, content.len() as u64);
        let id = file_id(domain, path);
        let folder = self.path("backup").join(&id[..2]);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(id), content).unwrap();
    }

    async fn extract(&self, choice: Choice, record: Option<Record>) -> Result<Extracted, Error> {
        let open = |name: &str| Dir::open_ambient_dir(self.path(name), cap_std::ambient_authority()).unwrap();
        std::fs::create_dir_all(self.path("out")).unwrap();
        let backup = Backup::open(open("backup"), None, &open("backup")).unwrap();
        let subject = Subject { backup, record, into: open("out") };
        let placing = Box::new(AsInBackup::new(choice));
        extract(subject, placing, &Silent, &CancellationToken::new()).await
    }

    fn out(&self) -> Vec<String> {
        fn walk(folder: &Path, base: &Path, into: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, base, into);
                } else {
                    into.push(path.strip_prefix(base).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let mut all = Vec::new();
        walk(self.0.path(), self.0.path(), &mut all);
        all.retain(|path| !path.starts_with("backup/"));
        all.sort();
        all
    }
}

#[test]
fn it_is_of_when_the_host_began() {
    let bench = Bench::new();
    let begun_at = || {
        let dir = Dir::open_ambient_dir(bench.path("backup"), cap_std::ambient_authority()).unwrap();
        Backup::open(dir.try_clone().unwrap(), None, &dir).unwrap().begun_at()
    };
    assert_eq!(begun_at(), None, "it does not say");
    let says = |value: plist::Value| {
        let info = plist::Dictionary::from_iter([("Last Backup Date", value)]);
        plist::Value::Dictionary(info).to_file_xml(bench.path("backup/Info.plist")).unwrap();
    };
    let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_790_000_000);
    says(plist::Value::Date(date.into()));
    assert_eq!(begun_at(), Some(jiff::Timestamp::from_second(1_790_000_000).unwrap()));
    says("yesterday".into());
    assert_eq!(begun_at(), None, "no date");
}

#[tokio::test]
async fn files_come_out_whole_with_their_dates_and_for_the_owner_alone() {
    let bench = Bench::new();
    bench.file("HomeDomain", "Library/SMS/sms.db", b"messages");
    bench.file("HomeDomain", "Library/empty", b"");
    bench.file("RootDomain", "x.db", b"other");
    bench.row("HomeDomain", "Library", 2, 0);
    bench.row("HomeDomain", "Library/link", 4, 0);
    let choice = Choice { domains: Pattern::domain("Home*").into_iter().collect(), ..Choice::default() };
    let done = bench.extract(choice, None).await.unwrap();
    assert_eq!((done.files, done.bytes, done.links, done.missed_files), (2, 8, 1, 0));
    assert_eq!(bench.out(), ["out/HomeDomain/Library/SMS/sms.db", "out/HomeDomain/Library/empty"]);
    let metadata = std::fs::metadata(bench.path("out/HomeDomain/Library/SMS/sms.db")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let modified = metadata.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(modified.as_secs(), 1_700_000_000);
}

#[tokio::test]
async fn nothing_is_cut_to_the_stated_size_and_what_is_missing_is_listed() {
    let bench = Bench::new();
    bench.file("HomeDomain", "live.db", b"longer than its row says");
    bench.database().execute("DELETE FROM Files", []).unwrap();
    bench.row("HomeDomain", "live.db", 1, 3);
    bench.row("HomeDomain", "refused", 1, 3);
    let done = bench.extract(Choice::default(), None).await.unwrap();
    assert_eq!((done.files, done.other_size_files, done.missed_files, done.damaged_files), (1, 1, 1, 1));
    assert_eq!(std::fs::read(bench.path("out/HomeDomain/live.db")).unwrap(), b"longer than its row says");
    assert!(done.missed[0].why.contains("does not hold it"), "{:?}", done.missed);
}

#[tokio::test]
async fn with_our_record_a_changed_file_is_damage_and_does_not_stay() {
    let bench = Bench::new();
    for (path, content) in [("good", b"good"), ("bad", b"bad!")] {
        bench.file("HomeDomain", path, content);
    }
    let mut record = Record::default();
    for content in ["good", "bad?"] {
        let id = file_id("HomeDomain", &content[..content.len().min(4)].replace('?', ""));
        let digest = aws_lc_rs::digest::digest(&SHA256, content.as_bytes());
        record.adopt(&format!("{}/{id}", &id[..2]), 4, digest.as_ref().try_into().unwrap()).unwrap();
    }
    let done = bench.extract(Choice::default(), Some(record)).await.unwrap();
    assert_eq!((done.files, done.damaged_files), (1, 1), "{done:?}");
    assert_eq!(bench.out(), ["out/HomeDomain/good"]);
}

#[tokio::test]
async fn hostile_paths_stay_inside_and_overwrite_nothing() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.path("out/HomeDomain")).unwrap();
    std::fs::write(bench.path("secret"), b"mine").unwrap();
    std::os::unix::fs::symlink("../..", bench.path("out/HomeDomain/link")).unwrap();
    std::fs::write(bench.path("out/HomeDomain/there"), b"mine").unwrap();
    let long = "x".repeat(300);
    let paths = [
        "../../secret",
        "/secret",
        "a/../../../secret",
        "link/secret",
        "there",
        "a\u{202E}b",
        &long,
        "f",
        "f/g",
    ];
    for path in paths {
        bench.file("HomeDomain", path, b"evil");
    }
    bench.file("..", "secret", b"evil");
    let done = bench.extract(Choice::default(), None).await.unwrap();
    assert_eq!(std::fs::read(bench.path("secret")).unwrap(), b"mine");
    assert_eq!(std::fs::read(bench.path("out/HomeDomain/there")).unwrap(), b"mine");
    assert_eq!(done.files + done.missed_files, 10);
    // The link, the file that was there, the long name, and the one whose folder is a file (or the file in whose place a folder is).
    assert_eq!((done.missed_files, done.damaged_files), (4, 0), "{:?}", done.missed);
    assert!(bench.out().iter().all(|path| path.starts_with("out/") || path == "secret"), "{:?}", bench.out());
}

#[tokio::test]
async fn a_damaged_row_is_listed_and_a_stop_is_a_stop() {
    let bench = Bench::new();
    bench.file("HomeDomain", "a", b"a");
    bench.database().execute("UPDATE Files SET file = x'00'", []).unwrap();
    let done = bench.extract(Choice::default(), None).await.unwrap();
    assert_eq!((done.files, done.damaged_files), (0, 1));
    bench.file("HomeDomain", "b", b"b");
    bench
        .database()
        .execute("UPDATE Files SET fileID = '../../secret' WHERE relativePath = 'a'", [])
        .unwrap();
    let done = bench.extract(Choice::default(), None).await.unwrap();
    assert_eq!((done.files, done.damaged_files), (1, 1), "{done:?}");
}
