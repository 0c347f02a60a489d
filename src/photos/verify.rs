//! Proves a copy of photos, and is the only place that makes a [`PhotosProof`].
//!
//! Proving is reading every file again and comparing it with what was received. What was proven is recorded beside the
//! copy (`photos.proof`); with [`Depth::Recheck`] a file whose size and dates are as recorded is not read again, and
//! whatever differs is, and so is what was read too long ago. A file that was fetched anew since differs in when it came
//! into being here. Damage that somebody finds who may only look ends the record. The proof says how many of its files
//! it did not read and since when they have not been.
//!
//! A copy may have a million files: what is known of them is shared with the manifest, not repeated.

mod record;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::folder::{Folders, Stamp, is_absence};
use super::manifest::{Entry, Note, Source};
use super::store::{self, Store};
use crate::facts::{MediaFile, Resource, ResourceKind};
use crate::progress::{CancellationToken, Event, Observer, Phase};
use crate::usbmux::Udid;
use record::{Record, Recorded};

/// Threads that read and hash.
const THREADS: usize = 2;

/// Bytes that are read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A file that was read longer ago than this is read again, whatever is recorded: disks forget, and nothing else tells.
const READ_AGE_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How deep a proof looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every byte is read again.
    Full,
    /// Only what is not as an earlier proof recorded it (presence, size, dates), or was read more than 30 days ago, is
    /// read again.
    Recheck,
}

/// Something in the copy that is not as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The phone's path. Text from the phone.
    pub path: String,
    /// What is wrong, in plain words.
    pub what: String,
}

/// What proving found.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The proof of all files that are not damaged; `None` when there is none.
    pub proof: Option<PhotosProof>,
    /// What is damaged, by path. The next pull copies it again.
    pub damage: Vec<Damage>,
    /// Bytes that were read.
    pub bytes_read: u64,
}

/// Why nothing could be proven.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was asked to stop.
    #[error("it was asked to stop")]
    Cancelled,
    /// This computer could not read or record.
    #[error(transparent)]
    Copy(#[from] store::Error),
}

/// Compares every file that the manifest names with what was received, and makes the proof. In a store that is open
/// for writing, damage is noted in the manifest, so that the next pull copies those files again.
///
/// # Errors
/// Cancelled, or this computer could not read the folder itself or record the proof. A file that cannot be read is
/// damage, no error.
pub async fn prove(
    store: &Store,
    depth: Depth,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Proven, Error> {
    let entries = sorted(store);
    let bytes_total = entries.iter().map(|(_, entry)| entry.size).sum();
    let items_total = Some(entries.len() as u64);
    observer.event(Event::Began { phase: Phase::Verify, bytes_total: Some(bytes_total), items_total });
    let recorded = if depth == Depth::Recheck { record::read(store, &entries) } else { Record::default() };
    let looking = Arc::new(Looking {
        store: store.clone(),
        recorded,
        entries,
        began_at: Timestamp::now(),
        next: AtomicUsize::new(0),
        bytes_seen: AtomicU64::new(0),
        bytes_read: AtomicU64::new(0),
        looks: Mutex::default(),
        cancel: cancel.child_token(),
    });
    let result = looked(&looking, observer, bytes_total).await;
    observer.event(Event::Ended { phase: Phase::Verify });
    result?;
    let looking = Arc::into_inner(looking).expect("the threads have ended");
    tokio::task::spawn_blocking(move || looking.conclude())
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// What the manifest names, by path.
fn sorted(store: &Store) -> Vec<(Arc<str>, Arc<Entry>)> {
    let mut entries: Vec<_> = {
        let manifest = store.manifest();
        manifest.entries().iter().map(|(path, entry)| (Arc::clone(path), Arc::clone(entry))).collect()
    };
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    entries
}

/// Runs the threads and tells how far they are. Dropped, it stops them.
async fn looked(looking: &Arc<Looking>, observer: &dyn Observer, bytes_total: u64) -> Result<(), Error> {
    let _stops = looking.cancel.clone().drop_guard();
    let mut threads = tokio::task::JoinSet::new();
    for _ in 0..THREADS {
        let looking = Arc::clone(looking);
        threads.spawn_blocking(move || looking.look_at_all());
    }
    let mut tick = tokio::time::interval(TELL_EVERY);
    loop {
        tokio::select! {
            ended = threads.join_next() => match ended {
                None => return Ok(()),
                Some(Ok(done)) => done?,
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            },
            _ = tick.tick() => observer.event(Event::Advanced {
                phase: Phase::Verify,
                bytes_done: looking.bytes_seen.load(Ordering::Relaxed),
                bytes_total: Some(bytes_total),
                items_done: looking.next.load(Ordering::Relaxed).min(looking.entries.len()) as u64,
            }),
        }
    }
}

/// What a look at one file found.
#[derive(Debug)]
enum Found {
    /// It is as it was received.
    Right {
        stamp: Stamp,
        /// When its bytes were read.
        read_at: Timestamp,
        /// That was now.
        now: bool,
    },
    /// What is wrong.
    Wrong(String),
}

struct Looking {
    store: Store,
    /// By path.
    entries: Vec<(Arc<str>, Arc<Entry>)>,
    recorded: Record,
    began_at: Timestamp,
    next: AtomicUsize,
    /// Bytes of files that were looked at, read or not.
    bytes_seen: AtomicU64,
    bytes_read: AtomicU64,
    looks: Mutex<Vec<(usize, Found)>>,
    cancel: CancellationToken,
}

impl Looking {
    fn look_at_all(&self) -> Result<(), Error> {
        let mut folders = Folders::below(self.store.device());
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((path, entry)) = self.entries.get(place) else { return Ok(()) };
            let recorded = self.recorded.files.get(place).and_then(Option::as_ref);
            let found = match self.look(&mut folders, path, entry, recorded) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(Error::Cancelled),
                Err(error) if is_absence(&error) => Found::Wrong("it is missing".to_owned()),
                Err(error) => Found::Wrong(format!("it cannot be read: {error}")),
                Ok(found) => found,
            };
            self.looks.lock().expect("nothing panics while it holds this lock").push((place, found));
        }
    }

    fn look(
        &self,
        folders: &mut Folders,
        path: &str,
        entry: &Entry,
        recorded: Option<&Recorded>,
    ) -> io::Result<Found> {
        if self.cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let local = entry.local(path);
        if let Some(recorded) = recorded.filter(|recorded| self.counts(recorded, entry))
            && folders.stamp_of(&local)? == Some(recorded.stamp)
        {
            self.bytes_seen.fetch_add(entry.size, Ordering::Relaxed);
            let Recorded { stamp, read_at, .. } = *recorded;
            return Ok(Found::Right { stamp, read_at, now: false });
        }
        let file = folders.open(&local)?;
        let metadata = file.metadata()?;
        if metadata.len() != entry.size {
            return Ok(Found::Wrong(format!("it has {} bytes instead of {}", metadata.len(), entry.size)));
        }
        let stamp = Stamp::of(&metadata);
        let sha256 = hash(&file, &self.cancel, |read| {
            self.bytes_seen.fetch_add(read, Ordering::Relaxed);
            self.bytes_read.fetch_add(read, Ordering::Relaxed);
        })?;
        Ok(if sha256 == entry.sha256 {
            Found::Right { stamp, read_at: self.began_at, now: true }
        } else {
            Found::Wrong("its content has changed".to_owned())
        })
    }

    /// What is recorded is of the file that the manifest names, and not too old. A clock that was wrong counts for
    /// nothing.
    fn counts(&self, recorded: &Recorded, entry: &Entry) -> bool {
        let age = self.began_at.duration_since(recorded.read_at);
        (recorded.stamp.size, recorded.sha256) == (entry.size, entry.sha256)
            && entry.damaged.is_none()
            && (SignedDuration::ZERO..=READ_AGE_MAX).contains(&age)
    }

    /// Notes damage, records what was proven, and makes the proof.
    fn conclude(self) -> Result<Proven, Error> {
        let mut looks = self.looks.into_inner().expect("the threads have ended");
        looks.sort_unstable_by_key(|(place, _)| *place);
        assert_eq!(looks.len(), self.entries.len(), "every file was looked at once");
        let found: Vec<Found> = looks.into_iter().map(|(_, found)| found).collect();
        let (mut damage, notes) = judge(&self.entries, &found);
        if self.store.is_writable() {
            let noted = self.store.manifest().add(notes);
            noted.map_err(|error| store::Error::io("noting damage in the manifest", error))?;
        } else if !damage.is_empty()
            && let Err(error) = record::forget(&self.store)
        {
            let what = format!("that files are damaged could not be written down: {error}");
            damage.push(Damage { path: record::NAME.to_owned(), what });
        }
        let manifest_sha256 = self.store.manifest_sha256()?;
        let proven_at = Timestamp::now();
        let record = &self.recorded;
        let same = found.iter().filter(|found| matches!(found, Found::Right { now: false, .. })).count();
        let is_news = same != found.len()
            || same != record.files.iter().flatten().count()
            || record.manifest_sha256 != Some(manifest_sha256);
        if self.store.is_writable() && is_news {
            record::write(&self.store, &self.entries, &found, manifest_sha256, proven_at)?;
        }
        let proof = PhotosProof::of(&self.store, manifest_sha256, proven_at, self.entries, &found);
        Ok(Proven { proof, damage, bytes_read: self.bytes_read.into_inner() })
    }
}

/// What is damaged, and what the manifest does not know of that yet.
fn judge(entries: &[(Arc<str>, Arc<Entry>)], found: &[Found]) -> (Vec<Damage>, Vec<Note>) {
    let (mut damage, mut notes) = (Vec::new(), Vec::new());
    for ((path, entry), found) in entries.iter().zip(found) {
        match found {
            Found::Wrong(what) => {
                if entry.damaged.as_ref() != Some(what) {
                    notes.push(Note::Damaged(path.to_string(), what.clone()));
                }
                damage.push(Damage { path: path.to_string(), what: what.clone() });
            }
            Found::Right { .. } if entry.damaged.is_some() => {
                // Somebody has put it right.
                let right = Entry { damaged: None, ..Entry::clone(entry) };
                notes.push(Note::Copied(path.to_string(), right));
            }
            Found::Right { .. } => {}
        }
    }
    (damage, notes)
}

/// SHA-256 of a whole file. [`io::ErrorKind::Interrupted`] when cancelled.
pub(super) fn sha256_of(file: &File, cancel: &CancellationToken) -> io::Result<[u8; 32]> {
    hash(file, cancel, |_| {})
}

fn hash(mut file: &File, cancel: &CancellationToken, read_so_far: impl Fn(u64)) -> io::Result<[u8; 32]> {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match file.read(&mut block) {
            Ok(0) => return Ok(super::digest(hash)),
            Ok(read) => {
                hash.update(&block[..read]);
                read_so_far(read as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// One file of the copy that was read again, now or for an earlier proof, and is what was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenFile {
    /// Bytes.
    pub size: u64,
    /// The phone's modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// The container is structurally whole (`true` also for kinds without a check).
    pub whole: bool,
}

/// The proof that a copy of one phone's photos is what was received. Only this module makes one.
#[derive(Debug, Clone)]
pub struct PhotosProof {
    udid: Udid,
    manifest_sha256: [u8; 32],
    proven_at: Timestamp,
    files: HashMap<Arc<str>, ProvenFile>,
    /// Files that were not read for this proof: they are as an earlier one read and recorded them.
    unread: u64,
    /// When that of them was read which was read first.
    unread_since: Option<Timestamp>,
    /// By asset: which of its originals, and their bytes.
    adopted: HashMap<String, Vec<(ResourceKind, u64)>>,
}

impl PhotosProof {
    /// Of all files that were found right; `None` if there is none.
    fn of(
        store: &Store,
        manifest_sha256: [u8; 32],
        proven_at: Timestamp,
        entries: Vec<(Arc<str>, Arc<Entry>)>,
        found: &[Found],
    ) -> Option<Self> {
        let mut proof = Self {
            udid: store.udid().clone(),
            manifest_sha256,
            proven_at,
            files: HashMap::with_capacity(entries.len()),
            unread: 0,
            unread_since: None,
            adopted: HashMap::new(),
        };
        for ((path, entry), found) in entries.into_iter().zip(found) {
            let Found::Right { read_at, now, .. } = *found else { continue };
            if !now {
                proof.unread += 1;
                proof.unread_since = Some(proof.unread_since.map_or(read_at, |since| since.min(read_at)));
            }
            let Entry { size, sha256, mtime_ns, whole, .. } = *entry;
            if let (Source::Adopted, true, Some(asset), Some(part)) =
                (entry.source, whole, &entry.asset, entry.part)
            {
                proof.adopted.entry(asset.clone()).or_default().push((part, size));
            }
            proof.files.insert(path, ProvenFile { size, mtime_ns, sha256, whole });
        }
        (!proof.files.is_empty()).then_some(proof)
    }

    /// Whose photos.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.udid
    }

    /// SHA-256 of the manifest that was proven.
    #[must_use]
    pub fn manifest_sha256(&self) -> &[u8; 32] {
        &self.manifest_sha256
    }

    /// When.
    #[must_use]
    pub fn proven_at(&self) -> Timestamp {
        self.proven_at
    }

    /// How many files are proven.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// How many of these were not read for this proof, since size and date are as an earlier one recorded them; and
    /// when the one of them was read that was read first.
    #[must_use]
    pub fn unread(&self) -> (u64, Option<Timestamp>) {
        (self.unread, self.unread_since)
    }

    /// The paths of all proven files below the media root.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(|path| &**path)
    }

    /// The proven file at `path` below the media root.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&ProvenFile> {
        self.files.get(path)
    }

    /// The copy holds this file as the phone shows it now: same size and modification time, structurally whole.
    #[must_use]
    pub fn covers(&self, file: &MediaFile) -> bool {
        self.files.get(file.path.as_str()).is_some_and(|proven| {
            proven.size == file.size && proven.mtime_ns == file.mtime_ns && proven.whole
        })
    }

    /// This original of the asset with this library UUID was adopted from elsewhere and proven, and it is not smaller
    /// than the library states now.
    #[must_use]
    pub fn adopted(&self, asset_uuid: &str, original: &Resource) -> bool {
        let is_it = |(part, size): &(ResourceKind, u64)| {
            *part == original.kind && *size >= original.stated_bytes.unwrap_or(0)
        };
        self.adopted.get(asset_uuid).is_some_and(|parts| parts.iter().any(is_it))
    }
}

#[cfg(test)]
impl PhotosProof {
    /// A proof out of nothing, for tests of the judgement; of an adopted asset all originals are.
    pub(crate) fn for_test(
        udid: &str,
        proven_at: Timestamp,
        files: HashMap<String, ProvenFile>,
        adopted: std::collections::HashSet<String>,
    ) -> Self {
        let parts = [ResourceKind::Original, ResourceKind::Raw, ResourceKind::LiveVideo];
        let all = parts.map(|part| (part, u64::MAX)).to_vec();
        let adopted = adopted.into_iter().map(|asset| (asset, all.clone())).collect();
        let files = files.into_iter().map(|(path, file)| (path.into(), file)).collect();
        let udid = Udid::parse(udid).unwrap();
        Self { udid, manifest_sha256: [0; 32], proven_at, files, unread: 0, unread_since: None, adopted }
    }
}
