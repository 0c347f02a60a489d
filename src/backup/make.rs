//! Makes a backup: what belongs around the protocol, the receiving itself, the proving, and the putting in place.
//!
//! Before and after the backup a host takes the phone's sync lock and posts notifications, as iTunes does; a phone that
//! cannot lend the lock is in another sync. The passcode that newer systems ask for is told to whoever watches, as long
//! as the phone shows its screen for it.

use std::io;
use std::time::{Duration, SystemTime};

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use tokio::sync::mpsc;

use super::Secret;
use super::info;
use super::manifest;
use super::record::{Journal, Record};
use super::vault::{self, Begun, Vault};
use super::verify::{self, BackupProof, Damage, Depth};
use crate::afc::Afc;
use crate::durable;
use crate::lockdown::{self, Refusal, Session};
use crate::mobilebackup2::codes::{self, Meaning};
use crate::mobilebackup2::folder::Folder;
use crate::mobilebackup2::host::{self, Host, Outcome, Patience, Report, Stored};
use crate::mobilebackup2::ledger::{Digest, Entry, Ledger, Received};
use crate::progress::{CancellationToken, Event, Observer, Touch};
use crate::services::notification_proxy;

mod sync_lock;
mod told;

pub(super) use sync_lock::SyncLock;

const SERVICE: &str = "com.apple.mobilebackup2";
/// Space that is never offered to the phone: the computer needs some itself.
pub const RESERVE_BYTES: u64 = 512 << 20;
/// How long the phone shows its passcode screen.
const PASSCODE_WAIT: Duration = Duration::from_secs(180);
const CANCEL: &str = "com.apple.itunes-client.syncCancelRequest";
const PASSCODE_SHOWN: &str = "com.apple.LocalAuthentication.ui.presented";
const PASSCODE_GONE: &str = "com.apple.LocalAuthentication.ui.dismissed";
pub(super) const OBSERVED: [&str; 6] = [
    CANCEL,
    "com.apple.itunes-client.syncSuspendRequest",
    "com.apple.itunes-client.syncResumeRequest",
    "com.apple.mobile.backup.domain_changed",
    PASSCODE_SHOWN,
    PASSCODE_GONE,
];
/// How a backup is to be made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The phone sends everything, whatever is there.
    pub force_full: bool,
    /// The backup password, if it is known: then the proof looks inside.
    pub password: Option<Secret>,
    /// Space that is never offered to the phone, in bytes.
    pub reserve_bytes: u64,
    /// Limits on the phone's silence.
    pub patience: Patience,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            force_full: false,
            password: None,
            reserve_bytes: RESERVE_BYTES,
            patience: Patience::default(),
        }
    }
}

/// A backup that was made, proven and put in its place.
#[derive(Debug)]
pub struct Made {
    /// Its proof.
    pub proof: BackupProof,
    /// What came in.
    pub received: Stored,
    /// Bytes of the earlier backup's records that the phone wanted back.
    pub sent_back_bytes: u64,
    /// Bytes that an earlier, interrupted run had received; whether the phone went on or started over, `received` tells.
    pub interrupted_bytes: Option<u64>,
    /// What a person may want to know. Text from the phone is in it.
    pub notes: Vec<String>,
}

/// Why there is no new backup. The last proven one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The vault.
    #[error(transparent)]
    Vault(#[from] vault::Error),
    /// Lockdown, or starting a service.
    #[error(transparent)]
    Lockdown(#[from] lockdown::Error),
    /// The talk with the phone broke off.
    #[error(transparent)]
    Talk(#[from] host::Error),
    /// The phone gave up.
    #[error("{} (the phone's error {code}: {description})", codes::meaning(*code).cause)]
    Device {
        /// Its code.
        code: i64,
        /// What it says about it: text from the phone.
        description: String,
        /// How many bytes it asked us to free, if it did.
        purge_wanted_bytes: Option<u64>,
    },
    /// The phone ended the talk without a result.
    #[error("the phone ended the backup without saying why: {0:?}")]
    Disconnected(String),
    /// The phone says that it is done, and its own status says that it is not.
    #[error("the phone did not finish the backup: its status says {0:?}")]
    NotFinished(String),
    /// Another program holds the phone's sync lock.
    #[error("another program is syncing with the phone")]
    SyncLocked,
    /// This computer could not store what came.
    #[error("this computer could not store the backup: {0}")]
    Disk(#[source] io::Error),
    /// What was received is damaged.
    #[error("the backup that was received is damaged ({} files)", damage.len())]
    Damaged {
        /// By file.
        damage: Vec<Damage>,
    },
    /// The password does not open the backup.
    #[error("the backup password is wrong")]
    WrongPassword,
    /// The person or the program asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// Somebody cancelled it on the phone.
    #[error("the backup was cancelled on the phone")]
    CancelledOnPhone,
}

impl Error {
    /// What the phone's error means, where it is one.
    #[must_use]
    pub fn meaning(&self) -> Option<Meaning> {
        match self {
            Self::Device { code, .. } => Some(codes::meaning(*code)),
            _ => None,
        }
    }

    /// This computer's disk is too small, by its own word or by the phone's.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Device { code, .. } => *code == codes::HOST_FULL,
            Self::Disk(error) | Self::Vault(vault::Error::Io { source: error, .. }) => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// The phone waits for a person: its passcode was not entered, or it is locked.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        matches!(self, Self::Device { code: codes::DEVICE_LOCKED, .. })
    }

    /// The phone could not use the records of the earlier backup.
    fn blames_records(&self) -> bool {
        matches!(self, Self::Device { code: 4 | 11 | 103 | codes::BAD_MANIFEST, .. })
    }
}

/// Makes a backup of the phone into its vault, proves it, and puts it in the place of the last one. A phone that cannot
/// use the earlier backup's records is asked once more, for a full backup.
///
/// # Errors
/// [`Error`]; what was received so far stays, and the next run goes on with it where the phone does.
pub async fn make(
    session: &Session,
    vault: &Vault,
    options: Options,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Made, Error> {
    let begun = vault.begin()?;
    for note in &begun.notes {
        observer.event(Event::Note(note.clone()));
    }
    if let Some(bytes) = begun.interrupted_bytes.filter(|bytes| *bytes > 0) {
        let text = format!(
            "An earlier backup was interrupted after {bytes} bytes; the phone decides whether it goes on."
        );
        observer.event(Event::Note(text));
    }
    let builds_upon = begun.builds_upon_proven || begun.interrupted_bytes.is_some();
    let made = received_and_proven(session, vault, begun, &options, observer, cancel).await;
    match made {
        // It cannot be gone on with: the phone takes what stands there for good and would send nothing of it again.
        Err(Error::Damaged { damage }) if builds_upon && !options.force_full => {
            vault.discard_staging()?;
            observer.event(Event::Note(format!(
                "What the phone sent and what it builds upon do not fit together ({}, first {}): it sends everything anew.",
                damage.len(),
                damage.first().map_or("", |first| first.path.as_str())
            )));
            let (begun, options) = (vault.begin()?, Options { force_full: true, ..options });
            let made = received_and_proven(session, vault, begun, &options, observer, cancel).await;
            if matches!(made, Err(Error::Damaged { .. })) {
                vault.discard_staging()?;
            }
            made
        }
        Err(Error::Damaged { damage }) => {
            vault.discard_staging()?;
            Err(Error::Damaged { damage })
        }
        made => made,
    }
}

/// Receives into what was begun, proves it and puts it in the place of the last one.
async fn received_and_proven(
    session: &Session,
    vault: &Vault,
    begun: Begun,
    options: &Options,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Made, Error> {
    let mut report = receive(session, vault, &begun, options, observer, cancel).await;
    if matches!(&report, Err(error) if error.blames_records()) && !options.force_full {
        observer.event(Event::Note(
            "The phone could not use the earlier backup's records: it starts over.".into(),
        ));
        let options = Options { force_full: true, ..options.clone() };
        report = receive(session, vault, &begun, &options, observer, cancel).await;
    }
    let report = report?;
    let Begun { root, interrupted_bytes, notes: mut all_notes, .. } = begun;
    let proven = prove_new(root, vault, options.password.as_ref(), observer, cancel).await?;
    vault.promote()?;
    if let Some(before) = interrupted_bytes.filter(|bytes| *bytes > 0) {
        let now = report.stored.bytes;
        all_notes.push(format!(
            "An interrupted run had received {before} bytes, this one received {now}: whether a phone goes on or starts over \
             is its own choice."
        ));
    }
    all_notes.extend(report.notes);
    all_notes.extend(proven.1);
    Ok(Made {
        proof: proven.0,
        received: report.stored,
        sent_back_bytes: report.sent_back_bytes,
        interrupted_bytes,
        notes: all_notes,
    })
}

/// Settles the record and proves what is in staging.
async fn prove_new(
    root: Dir,
    vault: &Vault,
    password: Option<&Secret>,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<(BackupProof, Vec<String>), Error> {
    let settle = root.try_clone().map_err(Error::Disk)?;
    let settled = tokio::task::spawn_blocking(move || Record::load(&settle)?.save(&settle)).await;
    settled.map_err(io::Error::other).and_then(|saved| saved).map_err(Error::Disk)?;
    let proven = verify::prove_at(root, vault.udid(), password, Depth::Full, observer, cancel).await;
    match proven {
        Ok(verify::Proven { proof: Some(proof), notes, .. }) => Ok((proof, notes)),
        Ok(verify::Proven { damage, .. }) => Err(Error::Damaged { damage }),
        Err(verify::Error::WrongPassword) => Err(Error::WrongPassword),
        Err(verify::Error::Cancelled) => Err(Error::Cancelled),
        Err(verify::Error::Io(error)) => Err(Error::Disk(error)),
        Err(verify::Error::Vault(error)) => Err(error.into()),
    }
}

/// One run of the protocol, with all that belongs around it.
async fn receive(
    session: &Session,
    vault: &Vault,
    begun: &Begun,
    options: &Options,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Report, Error> {
    // Without notifications a backup works too; only nobody is told of the passcode.
    let notifications = notification_proxy::observe(session, &OBSERVED).await.ok();
    let stream = start(session).await?;
    let stopping = cancel.child_token();
    let host =
        Host::greet(stream, options.patience, &stopping).await.map_err(|error| broken(error, cancel))?;
    let lock = SyncLock::take(session).await?;
    let prepared = prepare(session, lock.afc(), vault, begun, options).await;
    let outcome = match prepared {
        Ok((folder, journal)) => {
            let backup = host.backup(options.force_full, folder, Box::new(journal), observer, &stopping);
            Ok(watched(backup, notifications, observer, &stopping).await)
        }
        Err(error) => Err(Error::Disk(error)),
    };
    lock.release(session).await;
    let (report, cancelled_on_phone) = outcome?;
    conclude(report, cancelled_on_phone, cancel)
}

/// Starts the service: with the escrow bag, which also works on a locked phone, else without.
pub(super) async fn start(session: &Session) -> Result<crate::usbmux::Stream, lockdown::Error> {
    match session.start_service_escrowed(SERVICE).await {
        Err(lockdown::Error::Refused { refusal: Refusal::EscrowLocked | Refusal::MissingValue, .. }) => {
            session.start_service(SERVICE).await
        }
        other => other,
    }
}

fn broken(error: host::Error, cancel: &CancellationToken) -> Error {
    if cancel.is_cancelled() { Error::Cancelled } else { Error::Talk(error) }
}

/// Runs what the phone is asked for and listens meanwhile. Tells whether somebody cancelled it on the phone.
pub(super) async fn watched<T>(
    work: impl Future<Output = T>,
    notifications: Option<mpsc::Receiver<String>>,
    observer: &dyn Observer,
    stopping: &CancellationToken,
) -> (T, bool) {
    let mut cancelled = false;
    let mut asked = false;
    let (_keeps_open, never) = mpsc::channel(1);
    let mut notifications = notifications.unwrap_or(never);
    let mut listening = true;
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            name = notifications.recv(), if listening => match name.as_deref() {
                None => listening = false,
                Some(CANCEL) => {
                    cancelled = true;
                    stopping.cancel();
                }
                Some(PASSCODE_SHOWN) if !asked => {
                    asked = true;
                    observer.event(Event::PersonNeeded { touch: Touch::Passcode, within: PASSCODE_WAIT });
                }
                Some(PASSCODE_GONE) if asked => {
                    asked = false;
                    observer.event(Event::PersonDone { touch: Touch::Passcode });
                }
                Some(_) => {}
            }
        }
    };
    if asked {
        observer.event(Event::PersonDone { touch: Touch::Passcode });
    }
    (done, cancelled)
}

/// What the end of the talk means for the backup.
fn conclude(report: Report, cancelled_on_phone: bool, cancel: &CancellationToken) -> Result<Report, Error> {
    let purge_wanted_bytes = report.purge_wanted_bytes;
    match report.outcome {
        Outcome::Finished => Ok(report),
        Outcome::HostError(error) => Err(Error::Disk(error)),
        _ if cancel.is_cancelled() => Err(Error::Cancelled),
        _ if cancelled_on_phone => Err(Error::CancelledOnPhone),
        Outcome::NotFinished { state } => Err(Error::NotFinished(state)),
        Outcome::DeviceError { code, description } => {
            Err(Error::Device { code, description, purge_wanted_bytes })
        }
        Outcome::Disconnected { text } => Err(Error::Disconnected(text)),
        Outcome::Broken(error) => Err(Error::Talk(error)),
    }
}

/// Opens the folder and the journal, and writes what the host writes into a backup.
async fn prepare(
    session: &Session,
    afc: Option<&Afc>,
    vault: &Vault,
    begun: &Begun,
    options: &Options,
) -> io::Result<(Folder, Journal)> {
    let mut journal = Journal::open(&begun.root)?;
    let folder = Folder::open(begun.root.try_clone()?, vault.udid().clone(), options.reserve_bytes)?;
    let own = begun.root.open_dir_nofollow(vault.udid().as_str())?;
    let mut sources = told::sources(session, afc).await;
    sources.guid = manifest::read_plist(&own, "Info.plist").ok().as_ref().and_then(info::guid_of);
    let bytes = info::info_plist(&sources, vault.udid(), SystemTime::now());
    durable::replace_bytes(&own, "Info.plist", 0o600, &bytes)?;
    let sha256: Digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes)
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes");
    let (path, device_path) = ("Info.plist".to_owned(), String::new());
    let wrote = Received { path, device_path, bytes: bytes.len() as u64, sha256, code: 0 };
    journal.keep(&[Entry::Received(wrote)])?;
    Ok((folder, journal))
}
