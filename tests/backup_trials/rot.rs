//! Rot: a proven backup changes in one place. It is not proven again, and the place is named.

use std::path::{Path, PathBuf};

use idevice_fix::backup::manifest::file_id;
use idevice_fix::backup::mbfile::MbFile;
use idevice_fix::backup::verify::Depth;
use idevice_fix::frame::{self, Limits};
use idevice_fix::mobilebackup2::Secret;
use plist::Value;

use super::desk::Desk;
use super::trials;

/// Where the numbers come from: xorshift, so that a seed that failed fails again.
struct Dice(u64);

impl Dice {
    fn of(seed: usize) -> Self {
        Self((seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

/// What was done, and to which file of the backup; a swap names either.
struct Done {
    what: String,
    named: Vec<String>,
    /// Everything that was touched, as it was.
    before: Vec<(PathBuf, Option<Vec<u8>>)>,
}

impl Done {
    fn undo(self) {
        for (path, content) in self.before {
            rewrite(&path, content.as_deref());
        }
    }
}

/// Replaces a file's content, also where it is read-only.
fn rewrite(path: &Path, content: Option<&[u8]>) {
    let _ = std::fs::remove_file(path);
    if let Some(content) = content {
        std::fs::write(path, content).unwrap();
    }
}

/// Files of the backup: those with content, below its folder.
fn files(own: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(own).unwrap() {
        let path = entry.unwrap().path();
        let inside: Vec<PathBuf> = if path.is_dir() {
            std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect()
        } else {
            vec![path]
        };
        found.extend(inside.iter().map(|path| path.strip_prefix(own).unwrap().to_str().unwrap().to_owned()));
    }
    found.sort();
    found
}

/// Changes one thing.
fn corrupt(own: &Path, encrypted: bool, dice: &mut Dice) -> Done {
    let files = files(own);
    let kinds = if encrypted { 6 } else { 8 };
    match dice.below(kinds) {
        0 | 1 => in_file(own, &files, dice, "bit flip", |content, dice| {
            let at = dice.below(content.len());
            content[at] ^= 1 << dice.below(8);
        }),
        2 => in_file(own, &files, dice, "truncation", |content, dice| {
            content.truncate(dice.below(content.len()));
        }),
        3 => in_file(own, &files, dice, "zero length", |content, _| content.clear()),
        4 => {
            let file = files[dice.below(files.len())].clone();
            let path = own.join(&file);
            let before = vec![(path.clone(), Some(std::fs::read(&path).unwrap()))];
            rewrite(&path, None);
            Done { what: format!("deletion of {file}"), named: vec![file], before }
        }
        5 if dice.below(2) == 0 => edited_plist(own, dice),
        5 => swap(own, &files, dice),
        6 => edited_rows(own, "missing row", |database| {
            let one = "SELECT fileID FROM Files WHERE flags = 1 ORDER BY fileID LIMIT 1 OFFSET ?1";
            let sql = format!("DELETE FROM Files WHERE fileID = ({one})");
            database.execute(&sql, [dice.below(super::desk::PHOTOS) as i64]).is_ok_and(|rows| rows == 1)
        }),
        _ => edited_rows(own, "extra row", |database| {
            let path = "Library/Never/Sent".to_owned();
            let id = file_id("HomeDomain", &path);
            let archive = MbFile { relative_path: path.clone(), ..MbFile::default() }.to_archive();
            let row = rusqlite::params![id, "HomeDomain", path, archive];
            database.execute("INSERT INTO Files VALUES (?1, ?2, ?3, 1, ?4)", row).is_ok()
        }),
    }
}

fn in_file(
    own: &Path,
    files: &[String],
    dice: &mut Dice,
    what: &str,
    change: impl FnOnce(&mut Vec<u8>, &mut Dice),
) -> Done {
    let with_content: Vec<&String> =
        files.iter().filter(|file| own.join(file).metadata().unwrap().len() > 0).collect();
    let file = with_content[dice.below(with_content.len())].clone();
    let path = own.join(&file);
    let content = std::fs::read(&path).unwrap();
    let mut changed = content.clone();
    change(&mut changed, dice);
    rewrite(&path, Some(&changed));
    Done { what: format!("{what} in {file}"), named: vec![file], before: vec![(path, Some(content))] }
}

fn swap(own: &Path, files: &[String], dice: &mut Dice) -> Done {
    let read = |file: &String| std::fs::read(own.join(file)).unwrap();
    loop {
        let (one, other) = (&files[dice.below(files.len())], &files[dice.below(files.len())]);
        let (left, right) = (read(one), read(other));
        if left == right {
            continue;
        }
        rewrite(&own.join(one), Some(&right));
        rewrite(&own.join(other), Some(&left));
        let before = vec![(own.join(one), Some(left)), (own.join(other), Some(right))];
        return Done {
            what: format!("swap of {one} and {other}"),
            named: vec![one.clone(), other.clone()],
            before,
        };
    }
}

fn edited_plist(own: &Path, dice: &mut Dice) -> Done {
    let name = ["Info.plist", "Status.plist", "Manifest.plist"][dice.below(3)];
    let path = own.join(name);
    let content = std::fs::read(&path).unwrap();
    let mut value = frame::parse(&content, &Limits::FILE).unwrap();
    let entries = value.as_dictionary_mut().unwrap();
    let keys: Vec<String> = entries.keys().cloned().collect();
    let key = &keys[dice.below(keys.len())];
    if dice.below(2) == 0 {
        entries.remove(key);
    } else {
        entries.insert(key.clone(), Value::from("edited"));
    }
    rewrite(&path, Some(&frame::to_binary(&value)));
    Done {
        what: format!("edit of {key} in {name}"),
        named: vec![name.to_owned()],
        before: vec![(path, Some(content))],
    }
}

fn edited_rows(own: &Path, what: &str, edit: impl FnOnce(&rusqlite::Connection) -> bool) -> Done {
    let path = own.join("Manifest.db");
    let content = std::fs::read(&path).unwrap();
    rewrite(&path, Some(&content));
    let database = rusqlite::Connection::open(&path).unwrap();
    assert!(edit(&database), "{what}");
    drop(database);
    assert_ne!(std::fs::read(&path).unwrap(), content);
    let named = vec!["Manifest.db".to_owned()];
    Done { what: what.to_owned(), named, before: vec![(path, Some(content))] }
}

/// Corrupts `count` times, each by its seed.
async fn corrupt_again_and_again(desk: &Desk, password: Option<&Secret>, seeds: std::ops::Range<usize>) {
    let own = desk.own();
    let mut kinds = std::collections::BTreeMap::new();
    for seed in seeds {
        let done = corrupt(&own, password.is_some(), &mut Dice::of(seed));
        for depth in [Depth::Full, Depth::Recheck] {
            let proven = desk.prove(depth, password).await;
            assert!(proven.proof.is_none(), "seed {seed}, {}: passes at {depth:?}", done.what);
            for named in &done.named {
                let told = proven.damage.iter().any(|damage| damage.path == *named);
                assert!(told, "seed {seed}, {}: {:?}", done.what, proven.damage);
            }
        }
        let kind = done.what.split(" of ").next().unwrap().split(" in ").next().unwrap().to_owned();
        *kinds.entry(kind).or_insert(0) += 1;
        done.undo();
    }
    eprintln!("each named, none proven: {kinds:?}");
    let proven = desk.prove(Depth::Full, password).await;
    assert!(proven.proof.is_some(), "{:?}", proven.damage);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_single_corruption_passes_and_each_is_named() {
    let desk = Desk::new("");
    desk.back_up(false).await.unwrap();
    corrupt_again_and_again(&desk, None, 0..trials(16, 700)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_single_corruption_of_an_encrypted_backup_passes_and_each_is_named() {
    let desk = Desk::new("backup = { password = \"secret\", dpic = 10, iter = 10 }\n");
    desk.back_up(false).await.unwrap();
    corrupt_again_and_again(&desk, Some(&Secret::new("secret")), 1000..1000 + trials(5, 300)).await;
}
