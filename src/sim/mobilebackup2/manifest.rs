//! The records of a backup, as the phone makes and reads them: `Manifest.db`, `Manifest.plist`, `Status.plist`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use plist::{Dictionary, Value};
use rusqlite::{Connection, OpenFlags, params};

use super::catalog::{Item, Kind};
use crate::backup::mbfile::MbFile;
use crate::frame::{self, DictExt, Limits};
use crate::sim::device::Device;

const SCHEMA: &str = "
    CREATE TABLE Files (fileID TEXT PRIMARY KEY, domain TEXT, relativePath TEXT, flags INTEGER, file BLOB);
    CREATE TABLE Properties (key TEXT PRIMARY KEY, value BLOB);
    CREATE INDEX FilesDomainIdx ON Files(domain);
    CREATE INDEX FilesRelativePathIdx ON Files(relativePath);
    CREATE INDEX FilesFlagsIdx ON Files(flags);";

/// Lockdown values that go into `Manifest.plist`.
const LOCKDOWN_KEYS: &[&str] =
    &["BuildVersion", "DeviceName", "ProductType", "ProductVersion", "SerialNumber", "UniqueDeviceID"];
/// Lockdown domains that go there whole.
const LOCKDOWN_DOMAINS: &[&str] = &[
    "com.apple.Accessibility",
    "com.apple.MobileDeviceCrashCopy",
    "com.apple.TerminalFlashr",
    "com.apple.mobile.data_sync",
    "com.apple.mobile.iTunes.accessories",
    "com.apple.mobile.wireless_lockdown",
];

/// Writes the database of `items` to `path`.
pub(super) fn write_database(path: &Path, items: &BTreeMap<String, Item>) -> rusqlite::Result<()> {
    let mut database = Connection::open(path)?;
    database.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")?;
    database.execute_batch(SCHEMA)?;
    let all = database.transaction()?;
    {
        let mut insert = all.prepare("INSERT INTO Files VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for item in items.values() {
            let archive = item.file.to_archive();
            insert.execute(params![
                item.id,
                item.domain,
                item.file.relative_path,
                item.kind as i64,
                archive
            ])?;
        }
    }
    all.commit()
}

/// The files of an earlier backup, by id.
pub(super) fn read_database(path: &Path) -> rusqlite::Result<HashMap<String, MbFile>> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut rows = database.prepare("SELECT fileID, file FROM Files WHERE flags = ?1")?;
    let rows =
        rows.query_map([Kind::File as i64], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let mut files = HashMap::new();
    for row in rows {
        let (id, archive) = row?;
        // A row that cannot be read is as good as none: its file is sent again.
        if let Ok(file) = MbFile::parse(&archive) {
            files.insert(id, file);
        }
    }
    Ok(files)
}

/// `Manifest.plist`; of an encrypted backup with its keybag and the database's key.
pub(super) fn manifest_plist(
    device: &Device,
    now: SystemTime,
    encryption: Option<(Vec<u8>, Vec<u8>)>,
) -> Vec<u8> {
    let mut lockdown = Dictionary::new();
    for key in LOCKDOWN_KEYS {
        lockdown.extend(device.value("", key).map(|value| ((*key).to_owned(), value)));
    }
    for domain in LOCKDOWN_DOMAINS {
        lockdown.insert((*domain).to_owned(), Value::Dictionary(device.domain(domain)));
    }
    let mut manifest = Dictionary::new();
    manifest.insert("Applications".into(), Value::Dictionary(applications(device)));
    manifest.insert("Date".into(), Value::Date(now.into()));
    manifest.insert("IsEncrypted".into(), encryption.is_some().into());
    if let Some((bag, key)) = encryption {
        manifest.insert("BackupKeyBag".into(), Value::Data(bag));
        manifest.insert("ManifestKey".into(), Value::Data(key));
    }
    manifest.insert("Lockdown".into(), Value::Dictionary(lockdown));
    manifest.insert("SystemDomainsVersion".into(), "24.0".into());
    manifest.insert("Version".into(), "10.0".into());
    manifest.insert("WasPasscodeSet".into(), device.config().lock.passcode_for_backup.into());
    frame::to_binary(&Value::Dictionary(manifest))
}

fn applications(device: &Device) -> Dictionary {
    let mut applications = Dictionary::new();
    for app in device.apps().iter().filter(|app| app.string("ApplicationType") != Some("System")) {
        let Some(bundle) = app.string("CFBundleIdentifier") else { continue };
        let mut entry = Dictionary::new();
        entry.insert("CFBundleIdentifier".into(), bundle.into());
        for key in ["CFBundleVersion", "Path"] {
            entry.extend(app.get(key).map(|value| (key.to_owned(), value.clone())));
        }
        entry.insert("ContainerContentClass".into(), "Data/Application".into());
        applications.insert(bundle.to_owned(), Value::Dictionary(entry));
    }
    applications
}

/// What a `Status.plist` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) full: bool,
    pub(super) finished: bool,
}

impl Status {
    /// Reads it; `None` if it is no status.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let status = frame::parse(bytes, &Limits::LOCKDOWN).ok()?;
        let status = status.as_dictionary()?;
        let finished = status.string("SnapshotState")? == "finished";
        Some(Self { full: status.boolean("IsFullBackup").unwrap_or(false), finished })
    }
}

/// The UUID of a `Status.plist` that does not say finished; `None` for any other, and for what is no status.
pub(super) fn unfinished_uuid(bytes: &[u8]) -> Option<String> {
    let status = frame::parse(bytes, &Limits::LOCKDOWN).ok()?;
    let status = status.as_dictionary()?;
    let unfinished = status.string("SnapshotState")? != "finished";
    unfinished.then(|| status.string("UUID").map(str::to_owned))?
}

/// Writes a `Status.plist`.
pub(super) fn status_plist(state: &str, full: bool, uuid: &str, now: SystemTime) -> Vec<u8> {
    let mut status = Dictionary::new();
    status.insert("BackupState".into(), "new".into());
    status.insert("Date".into(), Value::Date(now.into()));
    status.insert("IsFullBackup".into(), full.into());
    status.insert("SnapshotState".into(), state.into());
    status.insert("UUID".into(), uuid.into());
    status.insert("Version".into(), "3.3".into());
    frame::to_binary(&Value::Dictionary(status))
}

/// An error of the database as one of reading and writing.
pub(super) fn io_error(error: rusqlite::Error) -> io::Error {
    io::Error::other(error)
}
