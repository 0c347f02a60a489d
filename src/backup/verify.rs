//! Proves a backup, and is the only place that makes a [`BackupProof`].
//!
//! Proven means: the phone said that it finished; every row of its manifest that is a file has its file, or the phone
//! itself refused it; every file's bytes on the disk are those that were received; the records parse and the database
//! passes its check; and where the backup is encrypted and the password is known, the keybag unlocks and every file
//! decrypts with valid padding. A stored `Size` that differs is a note, and so are files that no row names.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use jiff::Timestamp;

use super::Secret;
use super::check::{self, Found, Stopped, Subject, Watch};
use super::manifest::open_plain;
use super::proof_file::{Header, ProofFile, Stat};
use super::record::Record;
use super::vault::{self, Vault};
use crate::facts::MediaFile;
pub use crate::photos::verify::Depth;
use crate::progress::{CancellationToken, Event, Observer, Phase};
use crate::usbmux::Udid;

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
    observer.event(Event::Began { phase: Phase::Verify, bytes_total: None, items_total: None });
    let watch = Arc::new(Watch::default());
    let work = {
        let (watch, udid, password) = (watch.clone(), udid.clone(), password.cloned());
        move || prove_blocking(&root, &udid, password.as_ref(), depth, &watch)
    };
    let mut working = tokio::task::spawn_blocking(work);
    let proven = loop {
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
    proven
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
    let own = root.open_dir_nofollow(udid.as_str())?;
    let before =
        ProofFile::load(root).filter(|before| depth == Depth::Recheck && before.header.udid == udid.as_str());
    let record_sha256 = match Record::sha256(root) {
        Ok(sha256) => sha256,
        Err(error) => return Ok(unrecorded(&error)),
    };
    let before = before.filter(|before| before.header.record_sha256 == record_sha256);
    if let Some(before) = &before
        && stands_as_proven(&own, before, password.is_some())
    {
        watch.items.fetch_add(before.files.len() as u64, Ordering::Relaxed);
        let proof = Some(proof_of(before, udid));
        return Ok(Proven { proof, damage: Vec::new(), notes: Vec::new(), bytes_read: 0 });
    }
    let record = match Record::load(root) {
        Ok(record) => record,
        Err(error) => return Ok(unrecorded(&error)),
    };
    // What an earlier proof saw only from outside is looked into now that the password is there.
    let before = before
        .filter(|before| before.header.password_known || password.is_none() || !before.header.encrypted);
    let subject = Subject { root: root.try_clone()?, own, record, before };
    let found = check::check(&subject, password, watch).map_err(|stopped| match stopped {
        Stopped::Cancelled => Error::Cancelled,
        Stopped::WrongPassword => Error::WrongPassword,
        Stopped::Io(error) => Error::Io(error),
    })?;
    conclude(&subject, udid, record_sha256, found, watch)
}

/// Without our record nothing can be proven.
fn unrecorded(error: &io::Error) -> Proven {
    let what = format!("the record of what was received cannot be used: {error}");
    let damage = vec![Damage { path: super::record::RECORD.to_owned(), what }];
    Proven { proof: None, damage, notes: Vec::new(), bytes_read: 0 }
}

fn conclude(
    subject: &Subject,
    udid: &Udid,
    record_sha256: [u8; 32],
    found: Found,
    watch: &Watch,
) -> Result<Proven, Error> {
    let bytes_read = watch.bytes.load(Ordering::Relaxed);
    let Found { damage, mut notes, refused, files, media, encrypted, inside } = found;
    if !damage.is_empty() {
        return Ok(Proven { proof: None, damage, notes, bytes_read });
    }
    // The phone's own clock may be wrong: it was made when this computer received its status.
    let made_at = match &subject.before {
        Some(before) => before.header.made_at,
        None => {
            Timestamp::from_nanosecond(Stat::of(&open_plain(&subject.own, "Status.plist")?)?.mtime_ns.into())
                .map_err(io::Error::other)?
        }
    };
    let header = Header::new(udid.as_str(), record_sha256, made_at, encrypted, encrypted && inside);
    let file = ProofFile { header, files, media, refused };
    if let Err(error) = file.save(&subject.root) {
        // On a full disk, a backup that was proven before is proven again all the same: what was written down stands.
        if ProofFile::header(&subject.root).is_none_or(|kept| kept.record_sha256 != record_sha256) {
            return Err(error.into());
        }
        notes.push(format!("That it was proven again could not be written down: {error}."));
    }
    Ok(Proven { proof: Some(proof_of(&file, udid)), damage, notes, bytes_read })
}

/// Every file that was proven is there with the size and time it had then.
fn stands_as_proven(own: &Dir, before: &ProofFile, password_given: bool) -> bool {
    let looked_inside = !before.header.encrypted || before.header.password_known;
    (looked_inside || !password_given)
        && before.files.iter().all(|(path, stat)| {
            open_plain(own, path).and_then(|file| Stat::of(&file)).is_ok_and(|now| now == *stat)
        })
}

fn proof_of(file: &ProofFile, udid: &Udid) -> BackupProof {
    let header = &file.header;
    BackupProof {
        udid: udid.clone(),
        manifest_sha256: header.record_sha256,
        made_at: header.made_at,
        proven_at: header.proven_at,
        encrypted: header.encrypted,
        password_known: header.password_known,
        media: file.media.iter().map(|(path, (_, proven))| (path.clone(), proven.clone())).collect(),
        refused: file.refused.clone(),
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
    media: HashMap<String, ProvenMedia>,
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
    pub fn media(&self, path: &str) -> Option<&ProvenMedia> {
        self.media.get(path)
    }

    /// How many camera-roll files it holds.
    #[must_use]
    pub fn media_files(&self) -> usize {
        self.media.len()
    }

    /// The backup holds this file as the phone shows it now: same size, same modification time to the second, content
    /// read and structurally whole.
    #[must_use]
    pub fn covers(&self, file: &MediaFile) -> bool {
        self.media.get(&file.path).is_some_and(|proven| {
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
        media: HashMap<String, ProvenMedia>,
        refused: Vec<Refused>,
    ) -> Self {
        let udid = Udid::parse(udid).unwrap();
        Self { udid, manifest_sha256: [0; 32], made_at, proven_at, encrypted, password_known, media, refused }
    }
}
