//! The copy of one phone's photos on this computer: its folder, its manifest, its one writer.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt};
use jiff::Timestamp;
use rustix::fs::FlockOperation;

use super::commit::{self, BATCH_BYTES, BATCH_TIME, Durable, Ready};
use super::folder::Folders;
use super::known::Known;
use super::manifest::{Entry, Manifest, Note, Source, Unusable};
use super::partial::{Identity, Partials};
use super::stage::{Staged, Staging};
use crate::facts::path::is_clean_relative;
use crate::facts::{MediaFile, ResourceKind};
use crate::progress::CancellationToken;
use crate::usbmux::Udid;

/// The mirrored tree, in a device's folder.
pub(super) const PHOTOS: &str = "photos";
/// Earlier files whose place was taken by others.
pub(super) const EARLIER: &str = "photos.earlier";
/// Files that are being received.
const PARTIAL: &str = "photos.partial";
/// What the copy holds.
const MANIFEST: &str = "photos.manifest";

/// Why the copy cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another run works on this copy.
    #[error("another run of this program is working on this copy")]
    Locked,
    /// What stands there is not this phone's copy in a form that we know.
    #[error("{0}; move the folder away or choose another place")]
    Foreign(String),
    /// The disk is full (or a quota is).
    #[error("no space left while {0}")]
    Full(&'static str),
    /// Anything else that this computer's file system said.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// What was handed in is not the file that was announced.
    #[error("{path:?} has {got} bytes where {expected} were expected")]
    WrongSize {
        /// The phone's path: text from the phone.
        path: String,
        /// Bytes expected.
        expected: u64,
        /// Bytes found.
        got: u64,
    },
    /// What was handed in could not be read.
    #[error("{path:?} could not be read where it was to be taken from: {source}")]
    Reader {
        /// The phone's path: text from the phone.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(what: &'static str, source: io::Error) -> Self {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            Self::Full(what)
        } else {
            Self::Io { what, source }
        }
    }

    pub(super) fn at(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::io(what, source)
    }
}

/// The copy of one phone's photos. Clones share it. Whoever opened it writes alone.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    udid: Udid,
    device: Arc<Dir>,
    partials: Option<Arc<Partials>>,
    manifest: Mutex<Manifest>,
    /// Held as long as the store is open.
    _lock: std::fs::File,
}

/// What taking a file in did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is part of the copy, durably.
    Durable,
    /// This computer cannot hold it, and why.
    Refused(String),
}

impl Store {
    /// Opens the copy in a device's folder for writing; makes an empty one if there is none.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Foreign`], a full disk, or what the file system said.
    pub fn open(device: Dir, udid: Udid) -> Result<Self, Error> {
        Self::open_knowing(device, udid, &Known::default())
    }

    /// As [`Store::open`], by somebody who has looked at it before.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_knowing(device: Dir, udid: Udid, known: &Known) -> Result<Self, Error> {
        let photos = private_folder(&device, PHOTOS)?;
        let lock = lock(&photos, FlockOperation::NonBlockingLockExclusive)?;
        let partials = Partials::open(private_folder(&device, PARTIAL)?);
        let partials = partials.map_err(Error::at("looking through left-over files"))?;
        let manifest = manifest(&device, &udid, true, known)?;
        let manifest = manifest.expect("a manifest is made when there is none");
        Ok(Self::with(device, udid, Some(partials), manifest, lock))
    }

    /// Opens the copy for looking only; `None` if there is none. Several may look at once, and nobody writes meanwhile.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Foreign`], or what the file system said.
    pub fn look(device: Dir, udid: Udid) -> Result<Option<Self>, Error> {
        Self::look_knowing(device, udid, &Known::default())
    }

    /// As [`Store::look`], by somebody who looks or opens it more than once.
    ///
    /// # Errors
    /// As [`Store::look`].
    pub fn look_knowing(device: Dir, udid: Udid, known: &Known) -> Result<Option<Self>, Error> {
        let photos = match device.open_dir_nofollow(PHOTOS) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::at("opening the copy"))?,
        };
        let lock = lock(&photos, FlockOperation::NonBlockingLockShared)?;
        let manifest = manifest(&device, &udid, false, known)?;
        Ok(manifest.map(|manifest| Self::with(device, udid, None, manifest, lock)))
    }

    fn with(
        device: Dir,
        udid: Udid,
        partials: Option<Partials>,
        manifest: Manifest,
        lock: std::fs::File,
    ) -> Self {
        Self(Arc::new(Inner {
            udid,
            device: Arc::new(device),
            partials: partials.map(Arc::new),
            manifest: Mutex::new(manifest),
            _lock: lock,
        }))
    }

    /// Whose photos.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.0.udid
    }

    /// Whether it may be changed.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.0.partials.is_some()
    }

    /// What the manifest says of a file, by the phone's path.
    #[must_use]
    pub fn entry(&self, path: &str) -> Option<Entry> {
        self.manifest().entries().get(path).map(|entry| Entry::clone(entry))
    }

    /// The copy holds a file of that size and time (seconds since 1970), undamaged as far as is known, and it is there.
    #[must_use]
    pub fn holds(&self, path: &str, size: u64, mtime_s: i64) -> bool {
        self.entry(path).is_some_and(|entry| {
            let says = entry.damaged.is_none()
                && entry.size == size
                && entry.mtime_ns.div_euclid(1_000_000_000) == mtime_s;
            let there = Folders::below(self.device()).size_of(&entry.local(path));
            says && matches!(there, Ok(Some(there)) if there == size)
        })
    }

    /// How many files the manifest names, and their bytes.
    #[must_use]
    pub fn size(&self) -> (u64, u64) {
        let manifest = self.manifest();
        let bytes = manifest.entries().values().map(|entry| entry.size).sum();
        (manifest.entries().len() as u64, bytes)
    }

    /// What could not be copied when it was last tried, with the reason, by path. Text from the phone.
    #[must_use]
    pub fn refused(&self) -> Vec<(String, String)> {
        let manifest = self.manifest();
        let mut refused: Vec<_> =
            manifest.refused().iter().map(|(path, why)| (path.clone(), why.clone())).collect();
        refused.sort();
        refused
    }

    /// Lines of the manifest that could not be read; the files that they named are copied again.
    #[must_use]
    pub fn unreadable_lines(&self) -> u64 {
        self.manifest().unreadable_lines()
    }

    /// SHA-256 of the manifest as it is now: a proof is of this copy if it has the same.
    ///
    /// # Errors
    /// What reading gave.
    pub fn manifest_sha256(&self) -> Result<[u8; 32], Error> {
        self.manifest().sha256().map_err(Error::at("reading the manifest"))
    }

    /// Takes in one file from elsewhere than AFC: `file` says its path, size and dates as the phone shows them.
    /// Durable when this returns. Blocks.
    ///
    /// # Errors
    /// [`Error::WrongSize`], [`Error::Reader`], a full disk, or what the file system said.
    pub fn take_in(
        &self,
        file: &MediaFile,
        source: Source,
        asset: Option<String>,
        reader: &mut dyn io::Read,
    ) -> Result<Taken, Error> {
        let mut intake = self.intake();
        intake.take(file, source, asset, reader)?;
        let durable = intake.finish()?;
        Ok(durable.refused.into_iter().next().map_or(Taken::Durable, |(_, why)| Taken::Refused(why)))
    }

    /// Takes in many files from elsewhere, made durable in batches.
    #[must_use]
    pub fn intake(&self) -> Intake<'_> {
        Intake { store: self, batch: Vec::new(), bytes: 0, since: None, durable: Durable::default() }
    }

    /// Notes what could not be copied. What is noted already with the same reason is not written again.
    pub(super) fn note_refused(&self, refused: Vec<(String, String)>) -> Result<(), Error> {
        let mut manifest = self.manifest();
        let new = refused.into_iter().filter(|(path, why)| manifest.refused().get(path) != Some(why));
        let notes = new.map(|(path, why)| Note::Refused(path, why)).collect();
        manifest.add(notes).map_err(Error::at("writing the manifest"))
    }

    /// Notes what has become of files that the copy holds.
    pub(super) fn note_trashed(&self, trashed: &[(String, Option<Option<Timestamp>>)]) -> Result<(), Error> {
        let notes = trashed.iter().map(|(path, now)| Note::Trashed(path.clone(), *now)).collect();
        self.manifest().add(notes).map_err(Error::at("writing the manifest"))
    }

    pub(super) fn manifest(&self) -> MutexGuard<'_, Manifest> {
        self.0.manifest.lock().expect("nothing panics while it holds this lock")
    }

    pub(super) fn device(&self) -> Arc<Dir> {
        Arc::clone(&self.0.device)
    }

    /// Where files are while they are being received.
    pub(super) fn partials(&self) -> Result<&Arc<Partials>, Error> {
        let partials = self.0.partials.as_ref();
        partials.ok_or_else(|| Error::Foreign("the copy was opened for looking only".into()))
    }

    /// A new file beside the copy.
    pub(super) fn stage(&self) -> Result<Staging, Error> {
        self.partials()?.begin().map_err(Error::at("making a file"))
    }

    /// Files that were interrupted and can be gone on with, and how many bytes of each are here.
    pub(super) fn interrupted(&self) -> Vec<(Identity, u64)> {
        match &self.0.partials {
            Some(partials) => partials.list(),
            None => self
                .0
                .device
                .open_dir_nofollow(PARTIAL)
                .map_or_else(|_| Vec::new(), |dir| Partials::look(&dir)),
        }
    }

    /// A token that nobody cancels.
    pub(super) fn never(&self) -> CancellationToken {
        CancellationToken::new()
    }
}

/// See [`Store::intake`].
#[derive(Debug)]
pub struct Intake<'a> {
    store: &'a Store,
    batch: Vec<Ready>,
    bytes: u64,
    since: Option<std::time::Instant>,
    durable: Durable,
}

/// What an intake has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenIn {
    /// Files that are part of the copy now.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that this computer cannot hold, with the reason.
    pub refused: Vec<(String, String)>,
}

impl Intake<'_> {
    /// Takes one file in. It is durable at the latest when the intake is finished. Blocks.
    ///
    /// # Errors
    /// As [`Store::take_in`]; after [`Error::WrongSize`] and [`Error::Reader`] others may still be taken in.
    pub fn take(
        &mut self,
        file: &MediaFile,
        source: Source,
        asset: Option<String>,
        reader: &mut dyn io::Read,
    ) -> Result<(), Error> {
        if !is_clean_relative(&file.path) {
            self.durable.refused.push((file.path.clone(), "its path is no path".to_owned()));
            return Ok(());
        }
        let staged = receive(self.store, file, reader)?;
        let entry = Entry {
            size: staged.size,
            sha256: staged.sha256,
            mtime_ns: file.mtime_ns,
            birthtime_ns: file.birthtime_ns,
            source,
            whole: staged.whole,
            asset,
            part: None,
            damaged: None,
            trashed: None,
            stored_as: None,
        };
        self.add(file, entry, staged)
    }

    /// Takes in an original that its owner downloaded: `asset` and `part` say which. Its bytes are shared with `source`
    /// where the file system can. It must have the digest that it was recognised by.
    ///
    /// # Errors
    /// As [`Store::take_in`]; [`Error::Reader`] also when `source` has changed since it was recognised.
    pub(super) fn adopt(
        &mut self,
        file: &MediaFile,
        (asset, part): (String, ResourceKind),
        source: &std::fs::File,
        sha256: [u8; 32],
    ) -> Result<bool, Error> {
        let reader = |source| Error::Reader { path: file.path.clone(), source };
        let mut staging = self.store.stage()?;
        let shared = staging.fill_from(source).map_err(Error::at("taking in a photo"))?;
        let staged = staging.finish(&file.path, file.mtime_ns).map_err(Error::at("finishing a photo"))?;
        if (staged.size, staged.sha256) != (file.size, sha256) {
            return Err(reader(io::Error::other("it has changed meanwhile")));
        }
        let entry = Entry {
            size: staged.size,
            sha256,
            mtime_ns: file.mtime_ns,
            birthtime_ns: file.birthtime_ns,
            source: Source::Adopted,
            whole: staged.whole,
            asset: Some(asset),
            part: Some(part),
            damaged: None,
            trashed: None,
            stored_as: None,
        };
        self.add(file, entry, staged)?;
        Ok(shared)
    }

    fn add(&mut self, file: &MediaFile, entry: Entry, staged: Staged) -> Result<(), Error> {
        self.bytes += entry.size;
        self.batch.push(Ready { path: file.path.clone(), entry, staged });
        let since = *self.since.get_or_insert_with(std::time::Instant::now);
        if self.bytes >= BATCH_BYTES || since.elapsed() >= BATCH_TIME {
            self.commit()?;
        }
        Ok(())
    }

    /// Makes the rest durable.
    ///
    /// # Errors
    /// A full disk, or what the file system said.
    pub fn finish(mut self) -> Result<TakenIn, Error> {
        self.commit()?;
        let Durable { files, bytes, refused, .. } = self.durable;
        Ok(TakenIn { files, bytes, refused })
    }

    fn commit(&mut self) -> Result<(), Error> {
        (self.bytes, self.since) = (0, None);
        let done = commit::commit(self.store, std::mem::take(&mut self.batch))?;
        self.durable.files += done.files;
        self.durable.bytes += done.bytes;
        self.durable.refused.extend(done.refused);
        Ok(())
    }
}

/// Copies what is handed in, at most one byte more than was announced.
fn receive(store: &Store, file: &MediaFile, reader: &mut dyn io::Read) -> Result<Staged, Error> {
    let mut staging = store.stage()?;
    let mut block = vec![0; 1 << 18];
    let mut got = 0_u64;
    loop {
        let read = match reader.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other.map_err(|source| Error::Reader { path: file.path.clone(), source })?,
        };
        got += read as u64;
        if read == 0 || got > file.size {
            break;
        }
        staging.write(&block[..read]).map_err(Error::at("writing a photo"))?;
    }
    if got != file.size {
        return Err(Error::WrongSize { path: file.path.clone(), expected: file.size, got });
    }
    staging.finish(&file.path, file.mtime_ns).map_err(Error::at("finishing a photo"))
}

/// A folder of ours in the device's folder, made if it is not there, never through a link.
pub(super) fn private_folder(device: &Dir, name: &str) -> Result<Dir, Error> {
    let opened = match device.open_dir_nofollow(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => device
            .create_dir_with(name, DirBuilder::new().mode(0o700))
            .and_then(|()| device.open_dir_nofollow(name)),
        other => other,
    };
    opened.map_err(Error::at("opening the copy's folder"))
}

fn lock(photos: &Dir, operation: FlockOperation) -> Result<std::fs::File, Error> {
    // Opened for reading: a folder that is open path-only cannot be locked.
    let handle = photos.open(".").map_err(Error::at("opening the copy"))?.into_std();
    match rustix::fs::flock(&handle, operation) {
        Ok(()) => Ok(handle),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked),
        Err(error) => Err(Error::io("locking the copy", error.into())),
    }
}

fn manifest(device: &Dir, udid: &Udid, writable: bool, known: &Known) -> Result<Option<Manifest>, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(writable).create(writable).mode(0o600).follow(FollowSymlinks::No);
    let file = match device.open_with(MANIFEST, &options) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::at("opening the manifest"))?,
    };
    match Manifest::open(file, udid, writable, known) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(Unusable::Io(error)) => Err(Error::io("reading the manifest", error)),
        Err(Unusable::Foreign(why)) => Err(Error::Foreign(why)),
    }
}
