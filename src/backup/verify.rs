//! Proves a backup, and is the only place that makes a [`BackupProof`].
//!
//! Proven means: the phone said that it finished; every row of its manifest that is a file has its file, or the phone
//! itself refused it; every file's bytes on the disk are those that were received; the records parse and the database
//! passes its check; and where the backup is encrypted and the password is known, the keybag unlocks and every file
//! decrypts with valid padding. A stored `Size` that differs is a note, and so are files that no row names.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, File};
use jiff::Timestamp;
use rustix::fs::FlockOperation;

use super::Secret;
use super::camera_roll::CameraRoll;
use super::check::{self, Found, Stopped, Subject, Watch};
use super::manifest::open_plain;
use super::proof_file::{self, Header, PROOF, ProofFile, Stat, Writing};
use super::record::Record;
use super::vault::{self, Vault};
use crate::durable;
use crate::facts::MediaFile;
pub use crate::photos::verify::Depth;
use crate::progress::{CancellationToken, Event, Observer, Phase};
use crate::usbmux::Udid;

mod sample;

pub use sample::{Sampled, sample};

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Something in the backup that is not as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file in the backup's folder.
    pub path: String,
    /// What is wrong, with the file's own name where the manifest tells it. Text from the phone is in it.
    pub what: String,
}

/// What a proving came to.
#[derive(Debug)]
pub struct Proven {
    /// The proof; `None` if anything is damaged, or if there is no backup.
    pub proof: Option<BackupProof>,
    /// What is damaged, by file.
    pub damage: Vec<Damage>,
    /// What a person may want to know and is no damage.
    pub notes: Vec<String>,
    /// Bytes that were read again.
    pub bytes_read: u64,
}

/// Why a backup could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The vault.
    #[error(transparent)]
    Vault(#[from] vault::Error),
    /// The password does not open this backup; nothing is said about damage.
    #[error("the backup password is wrong")]
    WrongPassword,
    /// The disk.
    #[error("the backup cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The person or the program asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

/// Proves the last backup of a vault.
///
/// # Errors
/// [`Error`]; damage is no error but a result.
pub async fn prove(
    vault: &Vault,
    password: Option<&Secret>,
    depth: Depth,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Proven, Error> {
    let Some(root) = vault.current()? else {
        let notes = vec!["There is no local backup yet.".to_owned()];
        return Ok(Proven { proof: None, damage: Vec::new(), notes, bytes_read: 0 });
    };
    prove_at(root, vault.udid(), password, depth, observer, cancel).await
}

/// Proves the backup in `root`, which holds the phone's folder and our record, and writes down what was proven.
///
/// # Errors
/// As [`prove`].
pub async fn prove_at(
    root: Dir,
    udid: &Udid,
    password: Option<&Secret>,
    depth: Depth,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Proven, Error> {
    let (udid, password) = (udid.clone(), password.cloned());
    let work = move |watch: &Arc<Watch>| prove_blocking(&root, &udid, password.as_ref(), depth, watch);
    watched(work, observer, cancel).await
}

/// Runs the reading on a thread of its own, tells how far it is, and stops it when that is wished.
async fn watched<T: Send + 'static>(
    work: impl FnOnce(&Arc<Watch>) -> Result<T, Error> + Send + 'static,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<T, Error> {
    observer.event(Event::Began { phase: Phase::Verify, bytes_total: None, items_total: None });
    let watch = Arc::new(Watch::default());
    let shared = Arc::clone(&watch);
    let mut working = tokio::task::spawn_blocking(move || work(&shared));
    let done = loop {
        tokio::select! {
            done = &mut working => break done.map_err(io::Error::other)?,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => tell(observer, &watch),
            () = cancel.cancelled(), if !watch.stop.load(Ordering::Relaxed) => {
                watch.stop.store(true, Ordering::Relaxed);
            }
        }
    };
    tell(observer, &watch);
    observer.event(Event::Ended { phase: Phase::Verify });
    done
}

fn tell(observer: &dyn Observer, watch: &Watch) {
    let (bytes_done, items_done) = (watch.bytes.load(Ordering::Relaxed), watch.items.load(Ordering::Relaxed));
    observer.event(Event::Advanced { phase: Phase::Verify, bytes_done, bytes_total: None, items_done });
}

fn prove_blocking(
    root: &Dir,
    udid: &Udid,
    password: Option<&Secret>,
    depth: Depth,
    watch: &Arc<Watch>,
) -> Result<Proven, Error> {
    let Some(_alone) = alone(root, watch)? else { return Err(Error::Cancelled) };
    let own = root.open_dir_nofollow(udid.as_str())?;
    // Where damage is known, nothing counts that was read before it was found.
    let recheck = depth == Depth::Recheck && !proof_file::is_known_damaged(root);
    let before = ProofFile::load(root).filter(|before| recheck && before.header.udid == udid.as_str());
    let record_sha256 = match Record::sha256(root) {
        Ok(sha256) => sha256,
        Err(error) => return Ok(unrecorded(&error)),
    };
    let before = before.filter(|before| before.header.record_sha256 == record_sha256);
    let before = match before {
        Some(before) if stands_as_proven(&own, &before, password.is_some()) => {
            watch.items.fetch_add(before.files_count() as u64, Ordering::Relaxed);
            let proof = Some(proof_of(&before.header, before.media, before.refused, udid));
            return Ok(Proven { proof, damage: Vec::new(), notes: Vec::new(), bytes_read: 0 });
        }
        before => before,
    };
    let record = match Record::load(root) {
        Ok(record) => record,
        Err(error) => return Ok(unrecorded(&error)),
    };
    // What an earlier proof saw only from outside is looked into now that the password is there.
    let before = before
        .filter(|before| before.header.password_known || password.is_none() || !before.header.encrypted);
    let subject = Subject { root: root.try_clone()?, own, record, before, sample: None };
    conclude(&subject, udid, record_sha256, password, watch)
}

/// One prover at a time: the others wait, so that none finds the other's half-written proof. `None`: it was stopped.
fn alone(root: &Dir, watch: &Watch) -> io::Result<Option<File>> {
    let folder = root.open(".")?;
    loop {
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if watch.stop.load(Ordering::Relaxed) => return Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(PROGRESS_INTERVAL),
            other => return other.map(|()| Some(folder)).map_err(io::Error::from),
        }
    }
}

/// Without our record nothing can be proven.
fn unrecorded(error: &io::Error) -> Proven {
    let what = format!("the record of what was received cannot be used: {error}");
    let damage = vec![Damage { path: super::record::RECORD.to_owned(), what }];
    Proven { proof: None, damage, notes: Vec::new(), bytes_read: 0 }
}

/// Checks everything and, where nothing is damaged, writes down what was proven.
fn conclude(
    subject: &Subject,
    udid: &Udid,
    record_sha256: [u8; 32],
    password: Option<&Secret>,
    watch: &Arc<Watch>,
) -> Result<Proven, Error> {
    let mut found = Found::default();
    let opened = check::open(subject, password, &mut found).map_err(stopped)?;
    let made_at = match &subject.before {
        Some(before) => before.header.made_at,
        None => made_at(&subject.own).unwrap_or(Timestamp::UNIX_EPOCH),
    };
    let inside = found.encrypted && found.inside;
    let adopted = subject.record.adopted_files();
    let header = Header::new(udid.as_str(), record_sha256, made_at, found.encrypted, inside, adopted);
    let (mut opened, mut checked) = (Some(opened), None);
    let saved = durable::replace(&subject.root, PROOF, 0o600, |file| {
        let mut proof = Writing::begin(file, &header);
        let opened = opened.take().flatten();
        let read = check::read_all(subject, opened, &mut found, watch, Some(&mut proof));
        let well = read.is_ok() && found.damage.is_empty();
        checked = Some(read);
        if !well {
            // An earlier proof stays what it is.
            return Err(io::ErrorKind::InvalidData.into());
        }
        proof.end(&found.refused)
    });
    match checked {
        Some(read) => read,
        // Nothing can be written down: it is looked at all the same.
        None => check::read_all(subject, opened.flatten(), &mut found, watch, None),
    }
    .map_err(stopped)?;
    let bytes_read = watch.bytes.load(Ordering::Relaxed);
    let Found { damage, mut notes, refused, media, .. } = found;
    if !damage.is_empty() {
        note_damage(&subject.root, &mut notes);
        return Ok(Proven { proof: None, damage, notes, bytes_read });
    }
    if subject.before.is_none() {
        proof_file::forget_damage(&subject.root)?;
    }
    if let Err(error) = saved {
        // On a full disk, a backup that was proven before is proven again all the same: what was written down stands.
        if ProofFile::header(&subject.root).is_none_or(|kept| kept.record_sha256 != record_sha256) {
            return Err(error.into());
        }
        notes.push(format!("That it was proven again could not be written down: {error}."));
    }
    if adopted > 0 {
        notes.push(format!(
            "{adopted} files were adopted from another program's backup: nobody hashed them while they were received, so \
             only what they are now is proven."
        ));
    }
    let proof = Some(proof_of(&header, media, refused, udid));
    Ok(Proven { proof, damage, notes, bytes_read })
}

/// Sees to it that no later run takes the backup for proven because of what an earlier one wrote down.
fn note_damage(root: &Dir, notes: &mut Vec<String>) {
    if let Err(error) = proof_file::note_damage(root) {
        notes.push(format!(
            "That it is damaged could not be written down ({error}): the next run may take it for proven where it only \
             looks at sizes and dates."
        ));
    }
}

fn stopped(stopped: Stopped) -> Error {
    match stopped {
        Stopped::Cancelled => Error::Cancelled,
        Stopped::WrongPassword => Error::WrongPassword,
        Stopped::Io(error) => Error::Io(error),
    }
}

/// When the backup was made. The phone's own clock may be wrong: it was when this computer received its status.
fn made_at(own: &Dir) -> Option<Timestamp> {
    let stat = Stat::of(&open_plain(own, "Status.plist").ok()?).ok()?;
    Timestamp::from_nanosecond(stat.mtime_ns.into()).ok()
}

/// Every file that was proven is there with the size and time it had then.
fn stands_as_proven(own: &Dir, before: &ProofFile, password_given: bool) -> bool {
    let looked_inside = !before.header.encrypted || before.header.password_known;
    (looked_inside || !password_given)
        && before.files().all(|(path, stat)| {
            open_plain(own, &path).and_then(|file| Stat::of(&file)).is_ok_and(|now| now == stat)
        })
}

fn proof_of(header: &Header, media: CameraRoll, refused: Vec<Refused>, udid: &Udid) -> BackupProof {
    BackupProof {
        udid: udid.clone(),
        manifest_sha256: header.record_sha256,
        made_at: header.made_at,
        proven_at: header.proven_at,
        encrypted: header.encrypted,
        password_known: header.password_known,
        adopted_files: header.adopted_files,
        media,
        refused,
    }
}

/// One camera-roll file that the backup is proven to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenMedia {
    /// Bytes of its content (decrypted, where the backup is encrypted).
    pub size: u64,
    /// `LastModified` of its row, seconds since 1970.
    pub mtime_s: i64,
    /// SHA-256 of its content; `None` in an encrypted backup whose password is not known.
    pub sha256: Option<[u8; 32]>,
    /// The container is structurally whole, as far as its content could be read.
    pub whole: bool,
}

/// A row of the manifest whose file the phone itself refused to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Domain and path of the row: text from the phone.
    pub domain: String,
    /// Path below the domain: text from the phone.
    pub path: String,
    /// The DeviceLink code that the phone gave, e.g. `0x0B`.
    pub code: u8,
    /// On the short list of files without which a backup is still whole.
    pub harmless: bool,
}

/// The proof that a backup is what was received and whole. Only this module makes one.
#[derive(Debug, Clone)]
pub struct BackupProof {
    udid: Udid,
    manifest_sha256: [u8; 32],
    made_at: Timestamp,
    proven_at: Timestamp,
    encrypted: bool,
    password_known: bool,
    adopted_files: u64,
    media: CameraRoll,
    refused: Vec<Refused>,
}

impl BackupProof {
    /// Whose backup.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.udid
    }

    /// SHA-256 of our record of the backup's files.
    #[must_use]
    pub fn manifest_sha256(&self) -> &[u8; 32] {
        &self.manifest_sha256
    }

    /// When the backup was made.
    #[must_use]
    pub fn made_at(&self) -> Timestamp {
        self.made_at
    }

    /// When it was proven.
    #[must_use]
    pub fn proven_at(&self) -> Timestamp {
        self.proven_at
    }

    /// It is encrypted.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        self.encrypted
    }

    /// Its content was proven too, not only its outside: it is plain, or its password was known.
    #[must_use]
    pub fn proven_inside(&self) -> bool {
        !self.encrypted || self.password_known
    }

    /// So many of its files were taken from another program's backup: of these no hash from the time of receiving is known,
    /// and proven is that they hold together and are what was adopted.
    #[must_use]
    pub fn adopted_files(&self) -> u64 {
        self.adopted_files
    }

    /// What the phone refused to send.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Nothing was refused that matters.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.refused.iter().all(|row| row.harmless)
    }

    /// The proven camera-roll file at `path` below the media root.
    #[must_use]
    pub fn media(&self, path: &str) -> Option<ProvenMedia> {
        self.media.file(path)
    }

    /// How many camera-roll files it holds.
    #[must_use]
    pub fn media_files(&self) -> usize {
        self.media.files()
    }

    /// The backup holds this file as the phone shows it now: same size, same modification time to the second, content
    /// read and structurally whole.
    #[must_use]
    pub fn covers(&self, file: &MediaFile) -> bool {
        self.media.file(&file.path).is_some_and(|proven| {
            proven.size == file.size
                && proven.mtime_s == file.mtime_ns.div_euclid(1_000_000_000)
                && proven.sha256.is_some()
                && proven.whole
        })
    }
}

#[cfg(test)]
impl BackupProof {
    /// A proof out of nothing, for tests of the judgement.
    pub(crate) fn for_test(
        udid: &str,
        made_at: Timestamp,
        proven_at: Timestamp,
        encrypted: bool,
        password_known: bool,
        files: std::collections::HashMap<String, ProvenMedia>,
        refused: Vec<Refused>,
    ) -> Self {
        let mut media = CameraRoll::default();
        for (path, proven) in files {
            media.insert(&path, &proven);
        }
        let udid = Udid::parse(udid).unwrap();
        let (manifest_sha256, adopted_files) = ([0; 32], 0);
        Self {
            udid,
            manifest_sha256,
            made_at,
            proven_at,
            encrypted,
            password_known,
            adopted_files,
            media,
            refused,
        }
    }
}
