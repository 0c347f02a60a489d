//! What a backup of this phone holds: one item for each file, folder and link, by domain.
//!
//! `media/` is the camera roll's `Media/`; each folder of `files/` is a domain of its own.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use cap_std::fs::MetadataExt;

use crate::backup::manifest::file_id;
use crate::backup::mbfile::MbFile;
use crate::sim::device::Device;
use crate::sim::temper::Traits;
use crate::sim::tree::Tree;

/// The domain of the photos.
pub(super) const CAMERA_ROLL: &str = "CameraRollDomain";
/// The row that real phones fail to send, in a backup that is good all the same (pymobiledevice3 #755).
pub(super) const UNSENDABLE: (&str, &str) =
    ("HomeDomain", "Library/Application Support/FileProvider/backup/backup_manifest.db");
/// What hosts lock while they sync; it is in no backup.
pub(super) const SYNC_LOCK: &str = "com.apple.itunes.lock_sync";
/// What leaves the phone only in encrypted backups: Apple's own list ("About encrypted backups") names Health data, call
/// history and website history. A domain and a path; an empty path is the whole domain.
const ONLY_ENCRYPTED: [(&str, &str); 5] = [
    ("HealthDomain", ""),
    ("HomeDomain", "Library/CallHistoryDB"),
    ("HomeDomain", "Library/Safari/History.db"),
    ("HomeDomain", "Library/Safari/History.db-shm"),
    ("HomeDomain", "Library/Safari/History.db-wal"),
];
/// By how much the `Size` of a live database is off.
const SIZE_SKEW: u64 = 4096;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File = 1,
    Folder = 2,
    Link = 4,
}

/// One row of the manifest.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) domain: String,
    pub(super) kind: Kind,
    pub(super) file: MbFile,
    /// Where it is read, below `media/` or `files/`; `None`: the phone cannot read it.
    source: Option<PathBuf>,
}

impl Item {
    /// Its place below a backup's folder.
    pub(super) fn stored(&self) -> String {
        format!("{}/{}", &self.id[..2], self.id)
    }

    /// Its path on the phone, as the phone names it while sending.
    pub(super) fn device_path(&self) -> String {
        if self.domain == CAMERA_ROLL {
            format!("/.ba/mobile/{}", self.file.relative_path)
        } else {
            format!("/.b/5/{}/{}", self.domain, self.file.relative_path)
        }
    }

    /// The phone cannot send it.
    pub(super) fn unsendable(&self) -> bool {
        self.kind == Kind::File && self.source.is_none()
    }

    /// Opens it for sending.
    pub(super) fn open(&self, device: &Device) -> io::Result<Option<std::fs::File>> {
        let Some(source) = &self.source else { return Ok(None) };
        let tree = if self.domain == CAMERA_ROLL { device.media() } else { device.files() };
        tree.open(source).map(|file| Some(file.into_std()))
    }
}

/// Everything that a backup of `device` holds, by id. Some of it only leaves the phone encrypted.
pub(super) fn take(device: &Device, encrypted: bool) -> io::Result<BTreeMap<String, Item>> {
    let traits = device.traits();
    let mut items = BTreeMap::new();
    let root = Path::new(".");
    walk(device, device.media(), &Under { domain: CAMERA_ROLL, prefix: "Media" }, root, traits, &mut items)?;
    for domain in names(device.files(), root)? {
        let folder = PathBuf::from(&domain);
        walk(device, device.files(), &Under { domain: &domain, prefix: "" }, &folder, traits, &mut items)?;
    }
    if traits.backup_refuses_harmless_row {
        let (domain, path) = UNSENDABLE;
        let file = MbFile { size: 16_384, mode: 0o100_644, protection_class: 3, ..described(path, device) };
        add(
            &mut items,
            Item { id: file_id(domain, path), domain: domain.into(), kind: Kind::File, file, source: None },
        );
    }
    if !encrypted {
        items.retain(|_, item| !only_encrypted(&item.domain, &item.file.relative_path));
    }
    Ok(items)
}

/// A plain backup does not hold this.
pub(super) fn only_encrypted(domain: &str, path: &str) -> bool {
    ONLY_ENCRYPTED.iter().any(|(only, below)| {
        let inside = path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        domain == *only && (below.is_empty() || inside)
    })
}

/// The class of keys that protects a file: what iOS gives to files whose makers ask for nothing, and to Health data.
fn protection_class(domain: &str) -> u32 {
    const UNTIL_FIRST_UNLOCK: u32 = 3;
    const UNLESS_OPEN: u32 = 2;
    if domain == "HealthDomain" { UNLESS_OPEN } else { UNTIL_FIRST_UNLOCK }
}

/// Where a folder's content goes in the backup.
struct Under<'a> {
    domain: &'a str,
    prefix: &'a str,
}

fn walk(
    device: &Device,
    tree: &Tree,
    under: &Under<'_>,
    start: &Path,
    traits: Traits,
    items: &mut BTreeMap<String, Item>,
) -> io::Result<()> {
    let mut folders = vec![(start.to_owned(), under.prefix.to_owned())];
    while let Some((folder, relative)) = folders.pop() {
        add(items, item(device, tree, under, &folder, &relative, traits)?);
        for name in names(tree, &folder)?.into_iter().filter(|name| name != SYNC_LOCK) {
            let source = if folder == Path::new(".") { PathBuf::from(&name) } else { folder.join(&name) };
            let relative = if relative.is_empty() { name } else { format!("{relative}/{name}") };
            if tree.symlink_metadata(&source)?.is_dir() {
                folders.push((source, relative));
            } else {
                add(items, item(device, tree, under, &source, &relative, traits)?);
            }
        }
    }
    Ok(())
}

fn item(
    device: &Device,
    tree: &Tree,
    under: &Under<'_>,
    source: &Path,
    relative: &str,
    traits: Traits,
) -> io::Result<Item> {
    let metadata = tree.symlink_metadata(source)?;
    let (kind, mode) = if metadata.is_dir() {
        (Kind::Folder, 0o040_755)
    } else if metadata.is_symlink() {
        (Kind::Link, 0o120_755)
    } else {
        (Kind::File, 0o100_644)
    };
    let id = file_id(under.domain, relative);
    let mut file = MbFile { mode, inode: metadata.ino(), ..described(relative, device) };
    file.last_modified = metadata.mtime();
    file.last_status_change = metadata.ctime();
    let born = metadata.created().ok().and_then(|born| born.into_std().duration_since(UNIX_EPOCH).ok());
    file.birth = born.map_or(metadata.mtime(), |born| born.as_secs().cast_signed());
    let told = source.to_str().filter(|_| under.domain == CAMERA_ROLL).and_then(|path| device.times(path));
    if let Some(times) = told {
        file.last_modified = times.mtime.as_nanosecond().div_euclid(1_000_000_000) as i64;
        file.birth = times.birthtime.as_nanosecond().div_euclid(1_000_000_000) as i64;
    }
    if kind == Kind::Link {
        let target = tree.holder(source)?.read_link_contents(source)?;
        file.target = Some(target.to_string_lossy().into_owned());
    }
    if kind == Kind::File {
        file.size = metadata.len();
        file.protection_class = protection_class(under.domain);
        if skewed(relative, &id, traits) {
            file.size += SIZE_SKEW;
        }
    }
    Ok(Item { id, domain: under.domain.to_owned(), kind, file, source: Some(source.to_owned()) })
}

/// One database in so many was written to between its row and its sending; the same ones each time.
fn skewed(path: &str, id: &str, traits: Traits) -> bool {
    let database = [".sqlite", ".db", ".sqlitedb"].iter().any(|end| path.ends_with(end));
    let number = u32::from_str_radix(&id[..6], 16).unwrap_or(0);
    let chosen = |one_in: u32| path.ends_with("/Photos.sqlite") || number.is_multiple_of(one_in);
    database && traits.backup_size_differs_one_in.is_some_and(chosen)
}

fn described(path: &str, device: &Device) -> MbFile {
    let now = device.clock().as_second();
    MbFile {
        relative_path: path.to_owned(),
        user_id: 501,
        group_id: 501,
        last_modified: now,
        last_status_change: now,
        birth: now,
        ..MbFile::default()
    }
}

fn add(items: &mut BTreeMap<String, Item>, item: Item) {
    items.insert(item.id.clone(), item);
}

/// The names in a folder; a folder that is not there is empty.
fn names(tree: &Tree, folder: &Path) -> io::Result<Vec<String>> {
    match tree.names(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}
