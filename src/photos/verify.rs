//! Proves a copy of photos, and is the only place that makes a [`PhotosProof`].
//!
//! Proving is reading every file again and comparing it with what was received. What was proven is recorded beside the
//! copy (`photos.proof`); with [`Depth::Recheck`] a file whose size and date are as recorded is not read again, and
//! whatever differs is.

mod record;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use super::folder::{Folders, is_absence};
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

/// How deep a proof looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every byte is read again.
    Full,
    /// Only what is not as an earlier proof recorded it (presence, size, date) is read again.
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
    let entries: Vec<(String, Entry)> = {
        let manifest = store.manifest();
        let mut entries: Vec<_> =
            manifest.entries().iter().map(|(path, entry)| (path.clone(), entry.clone())).collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries
    };
    let bytes_total = entries.iter().map(|(_, entry)| entry.size).sum();
    let items_total = Some(entries.len() as u64);
    observer.event(Event::Began { phase: Phase::Verify, bytes_total: Some(bytes_total), items_total });
    let looking = Arc::new(Looking {
        store: store.clone(),
        record: if depth == Depth::Recheck { Record::read(store) } else { Record::default() },
        entries,
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

/// What a look at one file found: its local date if it is as received, else what is wrong.
type Look = Result<i64, String>;

struct Looking {
    store: Store,
    record: Record,
    entries: Vec<(String, Entry)>,
    next: AtomicUsize,
    /// Bytes of files that were looked at, read or not.
    bytes_seen: AtomicU64,
    bytes_read: AtomicU64,
    looks: Mutex<HashMap<usize, Look>>,
    cancel: CancellationToken,
}

impl Looking {
    fn look_at_all(&self) -> Result<(), Error> {
        let mut folders = Folders::below(self.store.device());
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((path, entry)) = self.entries.get(place) else { return Ok(()) };
            let look = match self.look(&mut folders, path, entry) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(Error::Cancelled),
                Err(error) if is_absence(&error) => Err("it is missing".to_owned()),
                Err(error) => Err(format!("it cannot be read: {error}")),
                Ok(look) => look,
            };
            self.looks.lock().expect("nothing panics while it holds this lock").insert(place, look);
        }
    }

    fn look(&self, folders: &mut Folders, path: &str, entry: &Entry) -> io::Result<Look> {
        use std::os::unix::fs::MetadataExt;
        if self.cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let file = folders.open(&entry.local(path))?;
        let metadata = file.metadata()?;
        if metadata.len() != entry.size {
            return Ok(Err(format!("it has {} bytes instead of {}", metadata.len(), entry.size)));
        }
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        let now = Recorded { size: entry.size, mtime_ns, sha256: entry.sha256 };
        if self.record.of(path) == Some(&now) && entry.damaged.is_none() {
            self.bytes_seen.fetch_add(entry.size, Ordering::Relaxed);
            return Ok(Ok(mtime_ns));
        }
        let sha256 = hash(&file, &self.cancel, |read| {
            self.bytes_seen.fetch_add(read, Ordering::Relaxed);
            self.bytes_read.fetch_add(read, Ordering::Relaxed);
        })?;
        Ok(if sha256 == entry.sha256 { Ok(mtime_ns) } else { Err("its content has changed".to_owned()) })
    }

    /// Notes damage, records what was proven, and makes the proof.
    fn conclude(self) -> Result<Proven, Error> {
        let mut looks = self.looks.into_inner().expect("the threads have ended");
        let (mut files, mut adopted) = (HashMap::new(), HashMap::new());
        let (mut damage, mut notes, mut record) = (Vec::new(), Vec::new(), Record::default());
        for (place, (path, entry)) in self.entries.into_iter().enumerate() {
            match looks.remove(&place).expect("every file was looked at") {
                Err(what) => {
                    if entry.damaged.as_ref() != Some(&what) {
                        notes.push(Note::Damaged(path.clone(), what.clone()));
                    }
                    damage.push(Damage { path, what });
                }
                Ok(local_mtime_ns) => {
                    let Entry { size, sha256, mtime_ns, whole, .. } = entry;
                    record.insert(&path, Recorded { size, mtime_ns: local_mtime_ns, sha256 });
                    if let (Source::Adopted, true, Some(asset), Some(part)) =
                        (entry.source, whole, &entry.asset, entry.part)
                    {
                        adopted.entry(asset.clone()).or_insert_with(Vec::new).push((part, size));
                    }
                    files.insert(path.clone(), ProvenFile { size, mtime_ns, sha256, whole });
                    if entry.damaged.is_some() {
                        // Somebody has put it right.
                        notes.push(Note::Copied(path, Entry { damaged: None, ..entry }));
                    }
                }
            }
        }
        if self.store.is_writable() {
            let noted = self.store.manifest().add(notes);
            noted.map_err(|error| store::Error::io("noting damage in the manifest", error))?;
        }
        let manifest_sha256 = self.store.manifest_sha256()?;
        let proven_at = Timestamp::now();
        let udid = self.store.udid().clone();
        if self.store.is_writable() {
            record.write(&self.store, manifest_sha256, proven_at)?;
        }
        let proof =
            (!files.is_empty()).then_some(PhotosProof { udid, manifest_sha256, proven_at, files, adopted });
        Ok(Proven { proof, damage, bytes_read: self.bytes_read.into_inner() })
    }
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

/// One file of the copy that was read again and is what was received.
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
    files: HashMap<String, ProvenFile>,
    /// By asset: which of its originals, and their bytes.
    adopted: HashMap<String, Vec<(ResourceKind, u64)>>,
}

impl PhotosProof {
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

    /// The paths of all proven files below the media root.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The proven file at `path` below the media root.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&ProvenFile> {
        self.files.get(path)
    }

    /// The copy holds this file as the phone shows it now: same size and modification time, structurally whole.
    #[must_use]
    pub fn covers(&self, file: &MediaFile) -> bool {
        self.files.get(&file.path).is_some_and(|proven| {
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
        Self { udid: Udid::parse(udid).unwrap(), manifest_sha256: [0; 32], proven_at, files, adopted }
    }
}
