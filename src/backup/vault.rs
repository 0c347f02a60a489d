//! Where a phone's backups stand: the last one that was proven, the one being made beside it, and the two before.
//!
//! ```text
//! backup/            <udid>/… in the iTunes format, and beside it our record and proof
//! backup.staging/    the same, being made
//! backup.history/    the two proven before, by date
//! ```
//!
//! A new backup begins as a copy of the last proven one that shares its files (hard links, or blocks where links are not
//! possible), so that a phone sends only what changed; no file is ever written in place. It takes the other's place in
//! one step, after it was proven. What a crash leaves at any point is put right at the next opening.

use std::io;

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, RenameFlags};

use super::interrupted;
use super::manifest::{Manifest, Status, clear, open_plain};
use super::proof_file::{Header, ProofFile};
use super::record::{RECORD, Record};
use crate::durable::{self, make_private};
use crate::mobilebackup2::folder::INCOMING;
use crate::usbmux::Udid;

mod share;
#[cfg(test)]
mod tests;

pub(super) use share::share_blocks;
use share::{make_read_only, share_tree};

const CURRENT: &str = "backup";
const STAGING: &str = "backup.staging";
const HISTORY: &str = "backup.history";
/// A staging folder that is still being copied.
const CLONING: &str = "backup.staging.partial";
/// A backup of another program that is being taken in.
const ADOPTING: &str = "backup.adopting";
/// What is being deleted.
const GONE: &str = "backup.gone";
const LOCK: &str = "backup.lock";
/// Damaged records of an interrupted backup go here, inside staging.
const SET_ASIDE: &str = "set-aside";
/// Backups kept besides the last one.
const HISTORY_KEPT: usize = 2;
/// The records that a phone looks at to decide what to send.
const RECORDS: [&str; 3] = ["Status.plist", "Manifest.plist", "Manifest.db"];

/// Why a vault cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process makes or verifies a backup of this phone.
    #[error("another process is at work on this phone's backup")]
    Busy,
    /// It was opened for reading only.
    #[error("this vault was opened for reading")]
    ReadOnly,
    /// The disk.
    #[error("{at}: {source}")]
    Io {
        /// What was done.
        at: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn at(at: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { at, source }
}

/// The backups of one phone.
#[derive(Debug)]
pub struct Vault {
    dir: Dir,
    udid: Udid,
    /// Held while this vault may change anything.
    lock: Option<File>,
    /// `false`: as on a file system that cannot exchange two folders in one step.
    can_exchange: bool,
}

/// What a new backup begins with.
#[derive(Debug)]
pub struct Begun {
    /// The staging folder.
    pub root: Dir,
    /// Bytes that an interrupted run received and that are still there.
    pub interrupted_bytes: Option<u64>,
    /// It builds upon a backup that was proven.
    pub builds_upon_proven: bool,
    /// What was put right, in words.
    pub notes: Vec<String>,
}

impl Vault {
    /// Opens the backups of `udid` in the phone's folder `dir` for making one, and puts right what a crash left.
    ///
    /// # Errors
    /// [`Error::Busy`] while another process has it open so; [`Error::Io`].
    pub fn open(dir: Dir, udid: Udid) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = dir.open_with(LOCK, &options).map_err(at("opening the vault's lock"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy),
            other => other.map_err(io::Error::from).map_err(at("locking the vault"))?,
        }
        let vault = Self { dir, udid, lock: Some(lock), can_exchange: true };
        vault.recover().map_err(at("putting the vault in order"))?;
        Ok(vault)
    }

    /// Opens the backups for reading; nothing is changed, and a backup may be under way.
    #[must_use]
    pub fn look(dir: Dir, udid: Udid) -> Self {
        Self { dir, udid, lock: None, can_exchange: true }
    }

    /// Whose backups.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.udid
    }

    /// The folder of the last proven backup (it holds the one named like the phone); `None`: there is none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn current(&self) -> Result<Option<Dir>, Error> {
        self.existing(CURRENT).map_err(at("opening the last backup"))
    }

    /// The folder of the backup being made.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn staging(&self) -> Result<Option<Dir>, Error> {
        self.existing(STAGING).map_err(at("opening the backup being made"))
    }

    /// Prepares staging: goes on with what an interrupted run left, else with a copy of the last proven backup that
    /// shares its files, else with nothing.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Io`].
    pub fn begin(&self) -> Result<Begun, Error> {
        self.writable()?;
        let mut notes = Vec::new();
        let proven = self.current()?.is_some();
        let mut interrupted_bytes = None;
        if let Some(staging) = self.staging()? {
            interrupted_bytes = Some(received_bytes(&staging));
            self.mend_staging(&staging, proven, &mut notes)
                .map_err(at("putting the interrupted backup in order"))?;
        }
        let root = match self.staging()? {
            Some(root) => root,
            None => self.new_staging(&mut notes).map_err(at("preparing the backup's folder"))?,
        };
        Ok(Begun { root, interrupted_bytes, builds_upon_proven: proven, notes })
    }

    /// Throws the backup being made away.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Io`].
    pub fn discard_staging(&self) -> Result<(), Error> {
        self.writable()?;
        self.discard(STAGING).map_err(at("removing the interrupted backup"))
    }

    /// Puts the backup in staging, which was proven, in the place of the last one, which becomes history.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Io`].
    ///
    /// # Panics
    /// Without a proof in staging: that is a bug of the caller.
    pub fn promote(&self) -> Result<(), Error> {
        self.writable()?;
        let promote = || -> io::Result<()> {
            let staging = self.existing(STAGING)?.ok_or(io::ErrorKind::NotFound)?;
            assert!(ProofFile::header(&staging).is_some(), "only a proven backup is promoted");
            for left_over in [INCOMING, SET_ASIDE] {
                ignore_missing(staging.remove_dir_all(left_over))?;
            }
            make_read_only(&staging.open_dir_nofollow(self.udid.as_str())?)?;
            sync_all(&staging)?;
            self.exchange()?;
            self.prune()
        };
        promote().map_err(at("putting the new backup in its place"))
    }

    /// When the last proven backup was made.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn made_at(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.current()?.as_ref().and_then(ProofFile::header).map(|header| header.made_at))
    }

    /// An empty folder for a backup of another program, with the phone's folder in it.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Io`].
    pub(super) fn begin_adoption(&self) -> Result<Dir, Error> {
        self.end_adoption()?;
        let begin = || -> io::Result<Dir> {
            make_private(&self.dir, ADOPTING)?;
            let root = self.dir.open_dir_nofollow(ADOPTING)?;
            make_private(&root, self.udid.as_str())?;
            Ok(root)
        };
        begin().map_err(at("preparing the backup's folder"))
    }

    /// Throws away what is being taken in.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Io`].
    pub(super) fn end_adoption(&self) -> Result<(), Error> {
        self.writable()?;
        self.discard(ADOPTING).map_err(at("removing a copy that is not whole"))
    }

    /// Puts the backup that was taken in and proven in the place of the last one. One of our own that was interrupted is
    /// thrown away: the phone builds upon the one taken in.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Io`].
    pub(super) fn promote_adopted(&self) -> Result<(), Error> {
        self.discard_staging()?;
        self.dir.rename(ADOPTING, &self.dir, STAGING).map_err(at("putting the new backup in its place"))?;
        self.promote()
    }

    fn writable(&self) -> Result<(), Error> {
        self.lock.as_ref().map(|_| ()).ok_or(Error::ReadOnly)
    }

    fn existing(&self, name: &str) -> io::Result<Option<Dir>> {
        match self.dir.open_dir_nofollow(name) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The new one in, the old one out. Each step leaves a state that [`Vault::recover`] understands.
    fn exchange(&self) -> io::Result<()> {
        if self.existing(CURRENT)?.is_none() {
            self.dir.rename(STAGING, &self.dir, CURRENT)?;
            return durable::sync_dir(&self.dir);
        }
        match self.swap() {
            Ok(()) => {
                durable::sync_dir(&self.dir)?;
                self.retire(STAGING)
            }
            // A file system that cannot exchange: between the two steps there is no `backup`, and staging is proven.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
                self.retire(CURRENT)?;
                self.dir.rename(STAGING, &self.dir, CURRENT)?;
                durable::sync_dir(&self.dir)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn swap(&self) -> rustix::io::Result<()> {
        if !self.can_exchange {
            return Err(rustix::io::Errno::INVAL);
        }
        rustix::fs::renameat_with(&self.dir, STAGING, &self.dir, CURRENT, RenameFlags::EXCHANGE)
    }

    /// Moves a backup that was the last proven one into history, under the time at which it was made.
    fn retire(&self, name: &str) -> io::Result<()> {
        let header = self.existing(name)?.as_ref().and_then(ProofFile::header);
        make_private(&self.dir, HISTORY)?;
        let history = self.dir.open_dir_nofollow(HISTORY)?;
        let form = "%Y-%m-%dT%H-%M-%SZ";
        let base = match header {
            Some(header) => header.made_at.strftime(form).to_string(),
            // Perhaps a newer version of this program can read its proof.
            None => format!("unproven-{}", Timestamp::now().strftime(form)),
        };
        let mut named = base.clone();
        for number in 2.. {
            if history.symlink_metadata(&named).is_err() {
                break;
            }
            named = format!("{base}.{number}");
        }
        self.dir.rename(name, &history, &named)?;
        durable::sync_dir(&history)?;
        durable::sync_dir(&self.dir)
    }

    /// Keeps the newest of history.
    fn prune(&self) -> io::Result<()> {
        let Some(history) = self.existing(HISTORY)? else { return Ok(()) };
        let mut names: Vec<String> =
            history.entries()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        // What somebody else put there, or cannot be judged, is nobody's surplus.
        names.retain(|name| {
            history.open_dir_nofollow(name).is_ok_and(|backup| ProofFile::header(&backup).is_some())
        });
        names.sort();
        let surplus = names.len().saturating_sub(HISTORY_KEPT);
        for name in &names[..surplus] {
            ignore_missing(self.dir.remove_dir_all(GONE))?;
            history.rename(name, &self.dir, GONE)?;
            self.dir.remove_dir_all(GONE)?;
        }
        Ok(())
    }

    /// Puts right what a crash left.
    fn recover(&self) -> io::Result<()> {
        for left_over in [GONE, CLONING, ADOPTING] {
            ignore_missing(self.dir.remove_dir_all(left_over))?;
        }
        let proof = |dir: Option<Dir>| dir.as_ref().and_then(ProofFile::header);
        // A later look at the older one may have proven it again meanwhile: what counts is which was made later.
        let later =
            |new: &Header, last: &Header| (new.made_at, new.proven_at) > (last.made_at, last.proven_at);
        let (current, staging) = (self.existing(CURRENT)?, self.existing(STAGING)?);
        for root in current.iter().chain(&staging) {
            clear::remove_empty_left_overs(root)?;
        }
        let there = current.is_some();
        match (proof(current), proof(staging)) {
            // Proven and not in its place yet.
            (Some(last), Some(new)) if later(&new, &last) => self.exchange()?,
            (None, Some(_)) if !there => self.exchange()?,
            // In its place already; the old one was on its way to history.
            (Some(_), Some(_)) => self.retire(STAGING)?,
            _ => {}
        }
        self.prune()
    }

    fn discard(&self, name: &str) -> io::Result<()> {
        ignore_missing(self.dir.remove_dir_all(GONE))?;
        ignore_missing(self.dir.rename(name, &self.dir, GONE))?;
        ignore_missing(self.dir.remove_dir_all(GONE))
    }

    /// Makes an interrupted backup one that a phone can go on with, or start over from; or throws it away where the last
    /// proven one is the better start.
    fn mend_staging(&self, staging: &Dir, proven: bool, notes: &mut Vec<String>) -> io::Result<()> {
        let own = match staging.open_dir_nofollow(self.udid.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.discard(STAGING),
            other => other?,
        };
        let half_moved = interrupted::is_half_put_together(staging)?;
        let unreadable_record = Record::load(staging).is_err();
        if unreadable_record || (proven && half_moved) {
            notes.push(
                "The interrupted backup was half put together; a new one starts from the last good one."
                    .into(),
            );
            return self.discard(STAGING);
        }
        let damaged: Vec<&str> = RECORDS.into_iter().filter(|name| is_damaged(&own, name)).collect();
        if half_moved || !damaged.is_empty() {
            if proven {
                notes.push(format!(
                    "Damaged records ({}): a new backup starts from the last good one.",
                    damaged.join(", ")
                ));
                return self.discard(STAGING);
            }
            set_aside(staging, &own)?;
            notes.push(
                "Records of the interrupted backup were unusable and are set aside; the phone starts over."
                    .into(),
            );
        }
        let dropped = interrupted::drop_unrecorded(staging, &own)?;
        if dropped > 0 {
            notes.push(format!("{dropped} files came in the last moment before a kill and are sent again."));
        }
        Ok(())
    }

    /// A new staging folder, complete before it has its name.
    fn new_staging(&self, notes: &mut Vec<String>) -> io::Result<Dir> {
        ignore_missing(self.dir.remove_dir_all(CLONING))?;
        make_private(&self.dir, CLONING)?;
        let new = self.dir.open_dir_nofollow(CLONING)?;
        make_private(&new, self.udid.as_str())?;
        if let Some(last) = self.existing(CURRENT)? {
            let from = last.open_dir_nofollow(self.udid.as_str())?;
            share_tree(&from, &new.open_dir_nofollow(self.udid.as_str())?)?;
            ignore_missing(last.copy(RECORD, &new, RECORD).map(drop))?;
            let own = new.open_dir_nofollow(self.udid.as_str())?;
            let damaged: Vec<&str> = RECORDS.into_iter().filter(|name| is_damaged(&own, name)).collect();
            if !damaged.is_empty() {
                set_aside(&new, &own)?;
                notes.push(format!(
                    "Records of the last backup are damaged ({}): the new one does without them, and the phone starts over.",
                    damaged.join(", ")
                ));
            }
        }
        sync_all(&new)?;
        self.dir.rename(CLONING, &self.dir, STAGING)?;
        durable::sync_dir(&self.dir)?;
        self.dir.open_dir_nofollow(STAGING)
    }
}

/// Bytes that an interrupted run has received and not put in place.
fn received_bytes(staging: &Dir) -> u64 {
    let record = Record::load(staging).unwrap_or_default();
    record.files().filter(|(path, _)| path.starts_with("Snapshot/")).map(|(_, known)| known.bytes).sum()
}

/// A record that is there and cannot be used.
fn is_damaged(own: &Dir, name: &str) -> bool {
    let file = match open_plain(own, name) {
        Err(error) => return error.kind() != io::ErrorKind::NotFound,
        Ok(file) => file,
    };
    match name {
        "Status.plist" => Status::read(own).is_err(),
        "Manifest.plist" => Manifest::read(own).is_err(),
        _ => file.metadata().map_or(true, |metadata| metadata.len() == 0),
    }
}

/// Moves the records out of the phone's sight, all of them: one without the others is worse than none.
fn set_aside(staging: &Dir, own: &Dir) -> io::Result<()> {
    make_private(staging, SET_ASIDE)?;
    let aside = staging.open_dir_nofollow(SET_ASIDE)?;
    for name in RECORDS {
        ignore_missing(own.rename(name, &aside, name))?;
    }
    durable::sync_dir(own)
}

/// Everything on this file system is durable when this returns.
pub(super) fn sync_all(dir: &Dir) -> io::Result<()> {
    let handle = dir.open(".")?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&handle)?;
    #[cfg(not(target_os = "linux"))]
    handle.sync_all()?;
    Ok(())
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
