//! What is kept of this phone on this computer, as far as it is proven now.

use std::io;
use std::path::Path;

use cap_std::fs::Dir;

use super::stop::{Stop, Trouble};
use super::{Visit, backup_kept, words};
use crate::backup::Secret;
use crate::backup::verify::BackupProof;
use crate::facts::text::plain;
use crate::photos::verify::{self, Depth, PhotosProof};
use crate::photos::{self, Store};
use crate::progress::{CancellationToken, Observer};
use crate::usbmux::Udid;

/// The proofs, and what is damaged.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Of the copy of the photos.
    pub photos: Option<PhotosProof>,
    /// Of the newest backup.
    pub backup: Option<BackupProof>,
    /// What was found damaged, as sentences.
    pub damage: Vec<String>,
    /// What a person may want to know of it and is no damage, as sentences.
    pub notes: Vec<String>,
}

impl Kept {
    /// The stop that damage is.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        let first = self.damage.first()?;
        let more = match self.damage.len() - 1 {
            0 => String::new(),
            n => format!(" (and {} more)", words::count(n as u64)),
        };
        Some(Stop::new(
            Trouble::VerificationFailed,
            format!("What is kept here is not what was received: {first}{more}."),
            "Run idevice-fix again with the phone plugged in: what is damaged is fetched anew.",
        ))
    }
}

impl Visit {
    /// Proves again what is kept, as quickly as the records of earlier proofs allow.
    ///
    /// # Errors
    /// Another run holds the folder, or the disk gives no answer.
    pub async fn kept(&self) -> Result<Kept, Stop> {
        let password = self.beginning.password.as_deref();
        let (folder, udid, depth) = (self.folder(), self.udid(), Depth::Recheck);
        let (observer, cancel) = (self.observer(), self.cancel());
        let mut kept = Kept::default();
        let Some(dir) = existing(&folder)? else { return Ok(kept) };
        let store = Store::look_knowing(dir, udid.clone(), &self.known_copy);
        if let Some(store) = store.map_err(|error| copy_stop(&error))? {
            prove_photos(&store, depth, &mut kept, observer, cancel).await?;
        }
        let backup =
            kept_without_phone(&folder, udid, depth, Part::Backup, password, observer, cancel).await?;
        kept.backup = backup.backup;
        kept.damage.extend(backup.damage);
        kept.notes.extend(backup.notes);
        Ok(kept)
    }
}

/// What is to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The copy of the photos.
    Photos,
    /// The newest backup.
    Backup,
    /// Both.
    Both,
}

/// Proves what is kept in a phone's folder.
///
/// # Errors
/// Another run holds the folder, or the disk gives no answer.
pub async fn kept_without_phone(
    path: &Path,
    udid: &Udid,
    depth: Depth,
    part: Part,
    password: Option<&Secret>,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Kept, Stop> {
    let mut kept = Kept::default();
    if part != Part::Backup
        && let Some(store) = store_to_prove(path, udid)?
    {
        prove_photos(&store, depth, &mut kept, observer, cancel).await?;
    }
    if part != Part::Photos {
        let Some(folder) = existing(path)? else { return Ok(kept) };
        backup_kept::prove_again(folder, udid, depth, password, &mut kept, observer, cancel).await?;
    }
    if depth == Depth::Full && kept.backup.is_some() && part != Part::Photos {
        compare(path, udid, &mut kept, observer, cancel).await?;
    }
    Ok(kept)
}

/// The copy, open for writing where that may be: what is found damaged is noted then, and the next pull fetches it.
fn store_to_prove(path: &Path, udid: &Udid) -> Result<Option<Store>, Stop> {
    let look = || -> Result<Option<Store>, Stop> {
        let Some(folder) = existing(path)? else { return Ok(None) };
        Store::look(folder, udid.clone()).map_err(|error| copy_stop(&error))
    };
    let Some(store) = look()? else { return Ok(None) };
    drop(store);
    let Some(folder) = existing(path)? else { return Ok(None) };
    match Store::open(folder, udid.clone()) {
        Ok(store) => Ok(Some(store)),
        // Somebody else looks, or nothing can be written here: looking tells the truth all the same.
        Err(_) => look(),
    }
}

/// Holds the camera roll of the backup against what was copied over AFC: other bytes are an alarm, absence is a note.
async fn compare(
    path: &Path,
    udid: &Udid,
    kept: &mut Kept,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<(), Stop> {
    let mut photos = Kept { photos: kept.photos.clone(), ..Kept::default() };
    if photos.photos.is_none() {
        let Some(folder) = existing(path)? else { return Ok(()) };
        let store = Store::look(folder, udid.clone()).map_err(|error| copy_stop(&error))?;
        let Some(store) = store else { return Ok(()) };
        prove_photos(&store, Depth::Recheck, &mut photos, observer, cancel).await?;
    }
    let (Some(photos), Some(backup)) = (&photos.photos, &kept.backup) else { return Ok(()) };
    let backup_kept::Compared { same, differ } = backup_kept::compared(photos, backup);
    let copied = photos.files() as u64;
    if same < copied {
        let which = if backup.proven_inside() { "are" } else { "can be seen to be" };
        kept.notes.push(format!(
            "Of {} copied photo files {} {which} in the backup with the same bytes; the others stand in the copy alone.",
            words::count(copied),
            words::count(same)
        ));
    }
    kept.damage.extend(differ);
    Ok(())
}

/// The phones of which something is kept below `dest`.
///
/// # Errors
/// The folder cannot be read.
pub fn phones_kept(dest: &Path) -> Result<Vec<Udid>, Stop> {
    let entries = match std::fs::read_dir(dest) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| folder_stop(dest, &error))?,
    };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut udids: Vec<Udid> = folders.filter_map(|entry| Udid::parse(entry.file_name().to_str()?)).collect();
    udids.sort();
    Ok(udids)
}

/// Proves the copy of the photos.
pub(super) async fn prove_photos(
    store: &Store,
    depth: Depth,
    kept: &mut Kept,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<(), Stop> {
    let proven = verify::prove(store, depth, observer, cancel).await.map_err(|error| match error {
        verify::Error::Cancelled => Stop::interrupted(),
        verify::Error::Copy(error) => copy_stop(&error),
    })?;
    kept.photos = proven.proof;
    kept.damage.extend(proven.damage.iter().map(|one| format!("{}: {}", plain(&one.path), plain(&one.what))));
    Ok(())
}

/// The folder, if it is there.
pub(super) fn existing(path: &Path) -> Result<Option<Dir>, Stop> {
    match Dir::open_ambient_dir(path, cap_std::ambient_authority()) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(folder_stop(path, &error)),
    }
}

/// A folder of ours that cannot be used.
pub(super) fn folder_stop(path: &Path, error: &io::Error) -> Stop {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return disk_full();
    }
    Stop::new(
        Trouble::Failed,
        format!("{} cannot be used: {error}.", path.display()),
        "Check that it is yours, or name another folder with --dest.",
    )
}

/// The disk is full.
pub(super) fn disk_full() -> Stop {
    Stop::new(
        Trouble::NoSpace,
        "The disk is full. Everything that was complete is kept.",
        "Free some space and run the same command again to go on, or name another disk with --dest.",
    )
}

/// A trouble with the copy of the photos on this computer.
pub(super) fn copy_stop(error: &photos::Error) -> Stop {
    match error {
        photos::Error::Full(_) => disk_full(),
        photos::Error::Locked => Stop::new(
            Trouble::Failed,
            "Another run of idevice-fix is working on this phone's copy.",
            "Wait until it has ended.",
        ),
        error => {
            Stop::new(Trouble::Failed, format!("The copy of the photos: {}.", plain(&error.to_string())), "")
        }
    }
}
