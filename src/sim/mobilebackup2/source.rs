//! A backup on the host, as the phone reads it: its records first, then its files, into a folder of the phone's own.
//!
//! The order of the records, and the words of the errors, are those of traces: libimobiledevice #801 (restore), #52, #422
//! (missing records), #607 and #1469 (password). What the host sends is untrusted: bounded in bytes and rows, and every
//! row's domain and path must be ones that can be put below the phone's own folders.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::fs::Dir;

use super::backup::in_background;
use super::catalog::{CAMERA_ROLL, Kind};
use super::link::Link;
use super::{BAD_MANIFEST, Refusal, Stop};
use crate::backup::manifest::{Error, Row};
use crate::backup::mbfile::MbFile;
use crate::backup::read::Backup;
use crate::frame::{self, DictExt, Limits};
use crate::mobilebackup2::Secret;

/// The records, in the order in which a phone wants them.
const RECORDS: [&str; 4] = ["Status.plist", "Manifest.plist", "Manifest.db", "Info.plist"];
/// Larger than any property list of a backup.
const PLIST_BYTES_MAX: u64 = 256 << 20;
/// Larger than any database of a backup: the largest that was reported has 1.6 GB.
const DATABASE_BYTES_MAX: u64 = 8 << 30;
/// The largest backups that were reported have 1.3 million rows.
const ROWS_MAX: usize = 4_000_000;
/// iOS' own limits for a path and for one name in it.
const PATH_BYTES_MAX: usize = 1024;
const NAME_BYTES_MAX: usize = 255;
/// A class and a wrapped key are 44 bytes.
const KEY_BYTES_MAX: usize = 64;

const NO_SUCH_FILE: i64 = 4;
const BAD_STATUS: i64 = 103;
const WRONG_PASSWORD: i64 = 207;

/// One thing that a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) id: String,
    pub(super) domain: String,
    pub(super) kind: Kind,
    pub(super) file: MbFile,
}

impl Held {
    pub(super) fn path(&self) -> &str {
        &self.file.relative_path
    }

    /// Its place below a backup's folder.
    pub(super) fn stored(&self) -> String {
        format!("{}/{}", &self.id[..2], self.id)
    }
}

/// See the module.
pub(super) struct Source {
    /// The backup's folder on the host.
    pub(super) root: String,
    /// Where its records are on the phone, and its files while they come.
    dir: Arc<Dir>,
    backup: Arc<Mutex<Backup>>,
    /// Files, folders and links, by domain and path.
    pub(super) held: Vec<Held>,
    pub(super) encrypted: bool,
}

impl Source {
    /// Takes the records of the backup `root` into `dir` and reads them.
    pub(super) async fn open(
        link: &mut Link,
        root: &str,
        dir: Dir,
        password: Option<Secret>,
    ) -> Result<Self, Stop> {
        for name in RECORDS {
            record(link, root, &dir, name).await?;
        }
        let dir = Arc::new(dir);
        let folder = Arc::clone(&dir);
        let opened = in_background(move || {
            let scratch = folder.try_clone()?;
            let opened = Backup::open(folder.try_clone()?, password.as_ref(), &scratch);
            Ok(opened.and_then(|backup| held(&backup).map(|held| (backup, held))))
        });
        let (backup, held) = opened.await?.map_err(|error| unreadable(&error))?;
        let held = held?;
        let encrypted = backup.manifest().encrypted;
        Ok(Self { root: root.to_owned(), dir, backup: Arc::new(Mutex::new(backup)), held, encrypted })
    }

    /// What `Manifest.plist` says of the phone that made the backup.
    pub(super) fn lockdown(&self, key: &str) -> Option<String> {
        let backup = self.backup.lock().unwrap_or_else(PoisonError::into_inner);
        backup.manifest().lockdown.string(key).map(str::to_owned)
    }

    /// When the backup was made.
    pub(super) fn date(&self) -> Option<jiff::Timestamp> {
        self.backup.lock().unwrap_or_else(PoisonError::into_inner).manifest().date
    }

    /// Takes files of the backup, decrypted where they are encrypted: each stands in the phone's folder under its id.
    /// Gives how many bytes came, at most `most_bytes`.
    pub(super) async fn fetch(
        &self,
        link: &mut Link,
        progress: f64,
        files: &[&Held],
        most_bytes: u64,
    ) -> Result<u64, Stop> {
        let paths: Vec<String> =
            files.iter().map(|held| format!("{}/{}", self.root, held.stored())).collect();
        for held in files {
            self.dir.create_dir_all(&held.id[..2])?;
        }
        let mut current: Option<std::fs::File> = None;
        let mut left = most_bytes;
        let whole = link.fetch(progress, &paths, |at, piece| match piece {
            None => {
                current = Some(self.dir.create(files[at].stored())?.into_std());
                Ok(())
            }
            Some(piece) => {
                left = left.checked_sub(piece.len() as u64).ok_or_else(too_much)?;
                current.as_mut().map_or(Ok(()), |file| file.write_all(piece))
            }
        });
        if !whole.await? {
            return Err(Stop::refuse(BAD_MANIFEST, "Multiple errors downloading files"));
        }
        if self.encrypted {
            self.decrypt(files).await?;
        }
        Ok(most_bytes - left)
    }

    async fn decrypt(&self, files: &[&Held]) -> Result<(), Stop> {
        let backup = Arc::clone(&self.backup);
        let dir = Arc::clone(&self.dir);
        let files: Vec<Held> = files
            .iter()
            .filter(|held| held.file.encryption_key.is_some())
            .map(|held| (*held).clone())
            .collect();
        let decrypted = in_background(move || {
            let backup = backup.lock().unwrap_or_else(PoisonError::into_inner);
            for held in &files {
                let row = Row {
                    id: held.id.clone(),
                    domain: held.domain.clone(),
                    path: held.path().to_owned(),
                    flags: held.kind as i64,
                    archive: Vec::new(),
                };
                let plain = format!("{}.plain", held.stored());
                let mut into = dir.create(&plain)?;
                let copied = backup
                    .open_row(&row, &held.file)
                    .and_then(|mut content| io::copy(&mut content, &mut into));
                if let Err(error) = copied {
                    return Ok(Err(format!("{}: {error}", held.id)));
                }
                dir.rename(plain, &dir, held.stored())?;
            }
            Ok(Ok(()))
        });
        let text = |what| format!("Error decrypting a file of the backup: {what}");
        decrypted.await?.map_err(|what| Stop::refuse(BAD_MANIFEST, text(what)))
    }
}

fn too_much() -> io::Error {
    io::Error::other("the host sends more than the phone has room for")
}

/// Takes one record.
async fn record(link: &mut Link, root: &str, dir: &Dir, name: &'static str) -> Result<(), Stop> {
    let path = format!("{root}/{name}");
    let mut file = dir.create(name)?.into_std();
    let mut left = if name == "Manifest.db" { DATABASE_BYTES_MAX } else { PLIST_BYTES_MAX };
    let keep = |piece: &[u8]| {
        left = left.checked_sub(piece.len() as u64).ok_or_else(too_much)?;
        file.write_all(piece)
    };
    match link.download(&path, keep).await? {
        true => {}
        // The host's own record: a phone asks for it and needs nothing of it.
        false if name == "Info.plist" => {}
        false => return Err(no_record(name, &path)),
    }
    if name == "Status.plist" { status(dir) } else { Ok(()) }
}

/// Only a finished backup is one.
fn status(dir: &Dir) -> Result<(), Stop> {
    let status = frame::parse(&dir.read("Status.plist")?, &Limits::LOCKDOWN).ok();
    let state = status.as_ref().and_then(|status| status.as_dictionary()?.string("SnapshotState"));
    match state {
        Some("finished") => Ok(()),
        Some(state) => Err(Stop::refuse(BAD_MANIFEST, format!("The backup is not finished: {state:?}"))),
        None => Err(Stop::refuse(BAD_STATUS, "Error reading status")),
    }
}

/// A file that the host has not.
pub(super) fn no_such_file(path: &str) -> Stop {
    Stop::refuse(NO_SUCH_FILE, format!("No such file or directory at path \"{path}\""))
}

fn no_record(name: &str, path: &str) -> Stop {
    let missing = format!("No such file or directory at path \"{path}\" (MBErrorDomain/4)");
    match name {
        "Status.plist" => no_such_file(path),
        "Manifest.plist" => because("Error reading backup properties", &missing),
        _ => because("Error reading backup database", &missing),
    }
}

/// A backup that the phone cannot use, and why.
pub(super) fn because(what: &str, underlying: &str) -> Stop {
    let description = format!("{what} (MBErrorDomain/{BAD_MANIFEST}). Underlying error: {underlying}.");
    Stop::Refused(Refusal { code: BAD_MANIFEST, description })
}

fn unreadable(error: &Error) -> Stop {
    match error {
        Error::WrongPassword => {
            let what = "Invalid password when restoring encrypted backup (MBErrorDomain/207). \
                        Underlying error: MKBKeyBagUnlock error (-3)";
            Stop::refuse(WRONG_PASSWORD, what)
        }
        Error::Damaged { file: "Manifest.plist", .. } => {
            because("Error reading backup properties", &format!("{error} (MBErrorDomain/11)"))
        }
        _ => because("Error reading backup database", &format!("{error} (MBErrorDomain/11)")),
    }
}

/// Everything that the backup holds; what cannot stand below the phone's folders makes the whole backup a wrong one.
fn held(backup: &Backup) -> Result<Result<Vec<Held>, Stop>, Error> {
    let mut all = Vec::new();
    let mut wrong = None;
    backup.rows(|row| {
        match read(&row) {
            Ok(Some(held)) => all.push(held),
            Ok(None) => {}
            Err(what) => wrong = Some(what),
        }
        if all.len() > ROWS_MAX {
            wrong = Some("The backup has too many files");
        }
        wrong.is_none()
    })?;
    all.sort_by(|a, b| (&a.domain, a.path()).cmp(&(&b.domain, b.path())));
    if wrong.is_none() && stands_in_its_own_way(&all) {
        wrong = Some("The backup holds something below a file or a link");
    }
    Ok(wrong.map_or(Ok(all), |what| Err(Stop::refuse(BAD_MANIFEST, what))))
}

/// Something is below what is no folder, or there twice.
fn stands_in_its_own_way(all: &[Held]) -> bool {
    let no_folders: HashSet<(&str, &str)> = all
        .iter()
        .filter(|held| held.kind != Kind::Folder)
        .map(|held| (held.domain.as_str(), held.path()))
        .collect();
    let below = |held: &Held| {
        let path = held.path();
        path.match_indices('/').any(|(at, _)| no_folders.contains(&(held.domain.as_str(), &path[..at])))
    };
    let twice = |pair: &[Held]| pair[0].domain == pair[1].domain && pair[0].path() == pair[1].path();
    all.iter().any(below) || all.windows(2).any(twice)
}

/// `None`: a row of a kind that is not known.
fn read(row: &Row) -> Result<Option<Held>, &'static str> {
    let kind = match row.flags {
        1 => Kind::File,
        2 => Kind::Folder,
        4 => Kind::Link,
        _ => return Ok(None),
    };
    if row.domain.contains('/') {
        return Err("Domain name cannot contain a slash");
    }
    if !plain(&row.domain) || !(row.path.is_empty() || row.path.split('/').all(plain)) {
        return Err("The backup holds a path that no phone can have");
    }
    if row.path.len() > PATH_BYTES_MAX || (row.path.is_empty() && kind != Kind::Folder) {
        return Err("The backup holds a path that no phone can have");
    }
    // What follows the kind of a domain is the name of a folder, too.
    if row.domain.split_once('-').is_some_and(|(_, name)| !plain(name)) {
        return Err("The backup holds a path that no phone can have");
    }
    if row.domain == CAMERA_ROLL && row.path == "Media" && kind != Kind::Folder {
        return Err("The backup holds no folder where the media are");
    }
    if row.stored().is_none() {
        return Err("The backup holds a file whose name is not its own");
    }
    let file = MbFile::parse(&row.archive).map_err(|_| "The backup holds a row that cannot be read")?;
    let target = file.target.as_deref().filter(|target| !target.is_empty() && !target.contains('\0'));
    if kind == Kind::Link && target.is_none_or(|target| target.len() > PATH_BYTES_MAX) {
        return Err("The backup holds a link that leads nowhere");
    }
    // Neither has any other use, and both are kept for all rows.
    let target = target.filter(|_| kind == Kind::Link).map(str::to_owned);
    if file.encryption_key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
        return Err("The backup holds a key that is none");
    }
    // The database's own columns say where it goes; the archive only repeats them.
    let file = MbFile { relative_path: row.path.clone(), target, ..file };
    Ok(Some(Held { id: row.id.clone(), domain: row.domain.clone(), kind, file }))
}

/// A name that stands for itself.
fn plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= NAME_BYTES_MAX && !name.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::manifest::file_id;

    fn row(domain: &str, path: &str, flags: i64) -> Row {
        let archive = MbFile { relative_path: path.into(), ..MbFile::default() }.to_archive();
        Row { id: file_id(domain, path), domain: domain.into(), path: path.into(), flags, archive }
    }

    #[test]
    fn rows_that_lead_out_are_refused() {
        assert!(read(&row("HomeDomain", "Library/x", 1)).unwrap().is_some());
        assert!(read(&row("HomeDomain", "", 2)).unwrap().is_some());
        assert!(read(&row("HomeDomain", "x", 7)).unwrap().is_none());
        let long = "x".repeat(256);
        let deep = "a/".repeat(600);
        for (domain, path) in [
            ("Home/Domain", "x"),
            ("..", "x"),
            ("", "x"),
            ("HomeDomain", ""),
            ("HomeDomain", "/etc/passwd"),
            ("HomeDomain", "a/../../x"),
            ("HomeDomain", "a/./x"),
            ("HomeDomain", "a//x"),
            ("HomeDomain", "a/"),
            ("HomeDomain", "a\0b"),
            ("HomeDomain", long.as_str()),
            ("HomeDomain", deep.as_str()),
        ] {
            assert!(read(&row(domain, path, 1)).is_err(), "{domain:?} {path:?}");
        }
        let mut other = row("HomeDomain", "x", 1);
        other.id = file_id("HomeDomain", "y");
        assert!(read(&other).is_err());
    }

    #[test]
    fn rows_that_could_never_be_put_in_place_are_refused() {
        assert!(read(&row(CAMERA_ROLL, "Media", 2)).unwrap().is_some());
        assert!(read(&row(CAMERA_ROLL, "Media", 1)).is_err(), "it would replace all photos");
        assert!(read(&row("AppDomain-..", "x", 1)).is_err());
        let link = |target: Option<&str>| {
            let file =
                MbFile { relative_path: "x".into(), target: target.map(str::to_owned), ..MbFile::default() };
            read(&Row { archive: file.to_archive(), ..row("HomeDomain", "x", 4) })
        };
        assert!(link(Some("y")).unwrap().is_some());
        for target in [None, Some(""), Some("a\0b"), Some("y".repeat(1025).as_str())] {
            assert!(link(target).is_err(), "{target:?}");
        }
        let of = |path: &str, flags| read(&row("HomeDomain", path, flags)).unwrap().unwrap();
        assert!(!stands_in_its_own_way(&[of("x", 2), of("x/y", 1), of("x/z", 1)]));
        assert!(stands_in_its_own_way(&[of("x", 1), of("x-1", 1), of("x/y", 1)]));
        assert!(stands_in_its_own_way(&[of("x", 1), of("x", 1)]));
    }
}
