//! Backups that stand on this computer, opened without a phone: the vault's newest, an older one, or any folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use jiff::Timestamp;

use super::kept::{existing, folder_stop};
use super::stop::{Stop, Trouble};
use super::{kept_backups, words};
use crate::backup::Secret;
use crate::backup::manifest::{self, Error, Manifest};
use crate::backup::read::Backup;
use crate::backup::record::Record;
use crate::facts::text::plain;
use crate::frame::DictExt;
use crate::usbmux::Udid;

/// Folders that are looked into for the one that is a backup.
const FOLDERS_MAX: usize = 1000;
/// What every backup since iOS 10 has, and what those before had instead.
const DATABASE: &str = "Manifest.db";
const OLD_DATABASE: &str = "Manifest.mbdb";

/// A backup that stands on this computer, not opened yet.
#[derive(Debug)]
pub struct Standing {
    /// The folder that holds its records.
    pub folder: PathBuf,
    own: Dir,
    /// Our record of what was received, where it is ours.
    record: Option<Record>,
    manifest: Manifest,
}

impl Standing {
    /// The newest backup that is kept of this phone.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub async fn newest(dest: &Path, udid: &Udid) -> Result<Self, Stop> {
        let (dest, udid) = (dest.to_owned(), udid.clone());
        off_the_workers(move || Self::read_newest(&dest, &udid)).await
    }

    /// The backup in a folder, or in the only folder below it that is one.
    ///
    /// # Errors
    /// It is none, it holds several, or it cannot be used.
    pub async fn at(folder: &Path) -> Result<Self, Stop> {
        let folder = folder.to_owned();
        off_the_workers(move || Self::read(&folder)).await
    }

    fn read_newest(dest: &Path, udid: &Udid) -> Result<Self, Stop> {
        let newest = kept_backups(dest, udid).into_iter().next().ok_or_else(|| {
            Stop::new(
                Trouble::Failed,
                format!("No proven backup of the phone {udid} is kept under {}.", dest.display()),
                "Make one: idevice-fix backup; or name the folder of another one with --from.",
            )
        })?;
        Self::read(&newest.folder)
    }

    fn read(folder: &Path) -> Result<Self, Stop> {
        let found = existing(folder)?;
        let dir = found
            .ok_or_else(|| Stop::new(Trouble::Usage, format!("{} is not there.", folder.display()), ""))?;
        let (folder, own) = chosen(folder, dir)?;
        let manifest = Manifest::read(&own).map_err(|error| unreadable(&folder, &error))?;
        let record = folder.parent().and_then(|above| existing(above).ok()?);
        let record = record.and_then(|above| Record::load(&above).ok());
        Ok(Self { folder, own, record: record.filter(|record| record.files().next().is_some()), manifest })
    }

    /// Its files are encrypted.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        self.manifest.encrypted
    }

    /// What tells whether a password is its own; `None`: it is not encrypted.
    #[must_use]
    pub fn lock(&self) -> Option<Lock> {
        Lock::of(&self.manifest)
    }

    /// When it was made, by the phone's clock.
    #[must_use]
    pub fn made_at(&self) -> Option<Timestamp> {
        self.manifest.date
    }

    /// The system that made it: text from the phone.
    #[must_use]
    pub fn ios_version(&self) -> Option<&str> {
        self.manifest.lockdown.string("ProductVersion")
    }

    /// The phone's name: text from the phone.
    #[must_use]
    pub fn device_name(&self) -> Option<&str> {
        self.manifest.lockdown.string("DeviceName")
    }

    /// Whose it is, by what the phone said of itself, else by the folder's name.
    #[must_use]
    pub fn udid(&self) -> Option<Udid> {
        let named = || Udid::parse(self.folder.file_name()?.to_str()?);
        self.manifest.lockdown.string("UniqueDeviceID").and_then(Udid::parse).or_else(named)
    }

    /// Opens it; unlocking an encrypted one takes seconds.
    ///
    /// # Errors
    /// The password is wrong or missing, or the backup is damaged.
    pub async fn open(self, password: Option<Arc<Secret>>) -> Result<Open, Stop> {
        let Self { folder, own, record, .. } = self;
        let place = folder.clone();
        let opened = off_the_workers(move || {
            let io = |source| Error::Io { file: DATABASE, source };
            let scratch = tempfile::tempdir().map_err(io)?;
            let dir = Dir::open_ambient_dir(scratch.path(), cap_std::ambient_authority()).map_err(io)?;
            Backup::open(own, password.as_deref(), &dir)
        });
        let backup = opened.await.map_err(|error| unreadable(&place, &error))?;
        Ok(Open { folder, backup, record })
    }
}

/// A backup that is open for reading.
#[derive(Debug)]
pub struct Open {
    /// The folder that holds its records.
    pub folder: PathBuf,
    /// The backup.
    pub backup: Backup,
    /// What was received, where the backup is ours: every file is held against it.
    pub record: Option<Record>,
}

/// What tells whether a password is that of an encrypted backup.
#[derive(Debug, Clone)]
pub struct Lock(Manifest);

impl Lock {
    /// That of a backup with these records; `None`: it is not encrypted.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Option<Self> {
        manifest.encrypted.then(|| Self(manifest.clone()))
    }

    /// That of the newest backup that is kept of a phone; `None`: none is kept, it is not encrypted, or it cannot be read.
    #[must_use]
    pub async fn of_newest(dest: &Path, udid: &Udid) -> Option<Self> {
        Standing::newest(dest, udid).await.ok()?.lock()
    }

    /// The password opens it; finding out takes seconds. Also where it cannot be told: that is damage, which is found later.
    pub async fn opened_by(&self, password: &Secret) -> bool {
        let (manifest, password) = (self.0.clone(), password.clone());
        let unlocked = off_the_workers(move || manifest.unlock(&password).map(drop)).await;
        !matches!(unlocked, Err(Error::WrongPassword))
    }
}

/// Reads or computes where it keeps nobody waiting: the record of a large backup has a line for each of its files.
async fn off_the_workers<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let acting = tokio::task::spawn_blocking(act).await;
    acting.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// The password does not open the backup.
#[must_use]
pub fn wrong_password() -> Stop {
    Stop::new(
        Trouble::WrongPassword,
        "The backup password is wrong.",
        "It is not the phone's passcode and not the Apple Account's password: it was chosen when a computer first \
         encrypted a backup of this phone.",
    )
}

/// The folder that is a backup: this one, or the only one in it.
fn chosen(folder: &Path, dir: Dir) -> Result<(PathBuf, Dir), Stop> {
    let is_backup = |dir: &Dir| manifest::open_plain(dir, DATABASE).is_ok();
    if is_backup(&dir) {
        return Ok((folder.to_owned(), dir));
    }
    let mut found = Vec::new();
    let entries = dir.entries().map_err(|error| folder_stop(folder, &error))?;
    for entry in entries.flatten().take(FOLDERS_MAX) {
        let name = entry.file_name();
        match dir.open_dir_nofollow(&name) {
            Ok(below) if is_backup(&below) => found.push((folder.join(name), below)),
            _ => {}
        }
    }
    let usage = |cause: String, next: &str| Err(Stop::new(Trouble::Usage, cause, next));
    match found.len() {
        1 => Ok(found.remove(0)),
        0 if manifest::open_plain(&dir, OLD_DATABASE).is_ok() => usage(
            format!(
                "The backup in {} was made by iOS 9 or before, which is not read here.",
                folder.display()
            ),
            "Other programs read it.",
        ),
        0 => usage(
            format!("{} is no backup: it has no {DATABASE}.", folder.display()),
            "Name the folder that holds it.",
        ),
        n => usage(
            format!("{} holds {}.", folder.display(), words::counted(n as u64, "backup", "backups")),
            "Name one of them.",
        ),
    }
}

/// What it means that a backup's records cannot be read.
fn unreadable(folder: &Path, error: &Error) -> Stop {
    match error {
        Error::WrongPassword => wrong_password(),
        Error::Io { source, .. } if source.kind() != io::ErrorKind::NotFound => folder_stop(folder, source),
        error => Stop::new(
            Trouble::VerificationFailed,
            format!("The backup in {} cannot be read: {}.", folder.display(), plain(&error.to_string())),
            "An older one may be whole: idevice-fix backup list.",
        ),
    }
}
