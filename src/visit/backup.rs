//! The backup's part of a visit: making it through breaks, proving it again, and giving the copy of the photos what the
//! phone's file service refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use jiff::Timestamp;
use serde::Serialize;

use super::carry::Failed;
use super::kept::{Kept, copy_stop, existing, folder_stop};
use super::outcome::BackupKept;
use super::photos::Copying;
use super::protect::can_leave;
use super::stop::{Stop, Trouble};
use super::{Visit, Wish, reach, words};
use crate::backup::Secret;
use crate::backup::make::{self, Made, Options};
use crate::backup::proof_file::ProofFile;
use crate::backup::read::Backup;
use crate::backup::record::Record;
use crate::backup::vault::{self, Vault};
use crate::backup::verify::{self, Depth};
use crate::durable;
use crate::facts::text::plain;
use crate::facts::{Facts, MediaFile};
use crate::lockdown::Session;
use crate::photos::{Source, Store, Taken};
use crate::progress::{CancellationToken, Event, Observer, Touch};
use crate::usbmux::Udid;

/// How often the phone is asked for the passcode before the backup is given up: it shows its screen for three minutes.
const PASSCODE_TRIES: u32 = 2;
/// The domain of a backup that holds the camera roll, and the folder in it.
const CAMERA_ROLL: (&str, &str) = ("CameraRollDomain", "Media/");

/// A backup while it is made.
pub(super) struct Backing {
    vault: Option<Vault>,
    options: Options,
    passcode_tries: u32,
    /// How long the photos and the backup are expected to take, for the sentence that lets the person go.
    expected: Duration,
    /// What was made.
    pub(super) made: Option<(Made, Duration)>,
}

impl Backing {
    /// Opens the vault, if a backup is wished.
    pub(super) fn new(visit: &Visit, wish: Wish) -> Result<Self, Stop> {
        let folder = visit.folder();
        let vault = if wish.backup {
            let dir =
                durable::open_or_create_private(&folder).map_err(|error| folder_stop(&folder, &error))?;
            Some(Vault::open(dir, visit.udid().clone()).map_err(|error| vault_stop(&folder, error))?)
        } else {
            None
        };
        let password = visit.beginning.password.as_deref().cloned();
        let options = Options { force_full: wish.full_backup, password, ..Options::default() };
        Ok(Self { vault, options, passcode_tries: 0, expected: wish.expected, made: None })
    }

    /// For the report.
    pub(super) fn kept(&self) -> Option<BackupKept> {
        let (made, took) = self.made.as_ref()?;
        let (files, bytes) = self.vault.as_ref().map_or((0, 0), size);
        Some(BackupKept {
            files,
            bytes,
            received_bytes: made.received.bytes,
            encrypted: made.proof.encrypted(),
            proven_inside: made.proof.proven_inside(),
            seconds: took.as_secs(),
            verified_at: Some(made.proof.proven_at()),
        })
    }
}

/// Files and bytes of the newest backup, by our own record of what was received.
fn size(vault: &Vault) -> (u64, u64) {
    let record = vault.current().ok().flatten().and_then(|root| Record::load(&root).ok());
    record.map_or((0, 0), |record| {
        record
            .files()
            .fold((0, 0), |(files, bytes), (_, known)| (files + 1, known.bytes.saturating_add(bytes)))
    })
}

/// Makes the backup over one session. What an earlier session has received is gone on with where the phone does.
pub(super) async fn back_up_once(
    session: Arc<Session>,
    backing: &mut Backing,
    observer: &Arc<dyn Observer>,
    cancel: &CancellationToken,
) -> Result<(), Failed> {
    let vault = backing.vault.as_ref().expect("a backup is made only where one is wished");
    loop {
        let began = Instant::now();
        let told = TellsWhenToLeave { observer: Arc::clone(observer), expected: backing.expected };
        match make::make(&session, vault, backing.options.clone(), &told, cancel).await {
            Ok(made) => {
                backing.made = Some((made, began.elapsed()));
                return Ok(());
            }
            Err(error) if error.needs_person() && backing.passcode_tries + 1 < PASSCODE_TRIES => {
                backing.passcode_tries += 1;
                let again = "The phone's passcode was not entered in time, so it is asked for once more.";
                observer.event(Event::Note(again.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

/// When the passcode was entered, nothing more has to be tapped: that is said.
struct TellsWhenToLeave {
    observer: Arc<dyn Observer>,
    expected: Duration,
}

impl Observer for TellsWhenToLeave {
    fn event(&self, event: Event) {
        let entered = event == Event::PersonDone { touch: Touch::Passcode };
        self.observer.event(event);
        if entered {
            self.observer.event(can_leave(self.expected));
        }
    }
}

const GO_ON: &str =
    "Everything that was complete is kept, also the last good backup; run the same command again to go on.";

fn failed(error: make::Error) -> Failed {
    if error.is_disk_full() {
        let wanted = match &error {
            make::Error::Device { purge_wanted_bytes: Some(bytes), .. } => {
                format!(" The phone wants {} more.", words::bytes(*bytes))
            }
            _ => String::new(),
        };
        return Failed::Finally(Stop::new(
            Trouble::NoSpace,
            format!("There is not enough space for the backup.{wanted}"),
            "Free some space or name another disk with --dest; the last good backup is as it was.",
        ));
    }
    let cause =
        |error: &make::Error| format!("The backup: {}.", plain(error.to_string().trim_end_matches('.')));
    match error {
        make::Error::Cancelled => Failed::Finally(Stop::interrupted()),
        make::Error::Lockdown(error) => Failed::Broke(reach::lockdown_stop(&error)),
        error @ (make::Error::Talk(_) | make::Error::Disconnected(_) | make::Error::NotFinished(_)) => {
            Failed::Broke(Stop::new(Trouble::Failed, cause(&error), GO_ON))
        }
        error @ make::Error::Device { .. } => {
            let trouble = if error.needs_person() { Trouble::PersonNeeded } else { Trouble::Failed };
            let next = error.meaning().map_or(GO_ON, |meaning| meaning.next_step);
            Failed::Finally(Stop::new(trouble, cause(&error), next))
        }
        error @ make::Error::CancelledOnPhone => {
            Failed::Finally(Stop::new(Trouble::PersonNeeded, cause(&error), "Run it again when it suits."))
        }
        error @ make::Error::Damaged { .. } => {
            Failed::Finally(Stop::new(Trouble::VerificationFailed, cause(&error), GO_ON))
        }
        make::Error::WrongPassword => Failed::Finally(wrong_password()),
        error => Failed::Finally(Stop::new(Trouble::Failed, cause(&error), GO_ON)),
    }
}

fn wrong_password() -> Stop {
    Stop::new(
        Trouble::WrongPassword,
        "The backup password is wrong.",
        "Set BACKUP_PASSWORD to the right one, or unset it: then the backup is proven from outside only.",
    )
}

fn vault_stop(folder: &Path, error: vault::Error) -> Stop {
    match error {
        vault::Error::Busy => Stop::new(
            Trouble::Failed,
            "Another run of idevice-fix is working on this phone's backup.",
            "Wait until it has ended.",
        ),
        vault::Error::Io { source, .. } => folder_stop(folder, &source),
        error @ vault::Error::ReadOnly => Stop::new(Trouble::Failed, format!("{error}."), ""),
    }
}

/// Proves the newest backup in a phone's folder again.
pub(super) async fn prove_again(
    folder: Dir,
    udid: &Udid,
    depth: Depth,
    password: Option<&Secret>,
    kept: &mut Kept,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<(), Stop> {
    let vault = Vault::look(folder, udid.clone());
    let proven =
        verify::prove(&vault, password, depth, observer, cancel).await.map_err(|error| match error {
            verify::Error::Cancelled => Stop::interrupted(),
            verify::Error::WrongPassword => wrong_password(),
            verify::Error::Vault(error) => vault_stop(Path::new("the backup"), error),
            verify::Error::Io(error) => folder_stop(Path::new("the backup"), &error),
        })?;
    kept.backup = proven.proof;
    kept.damage.extend(proven.damage.iter().map(|one| format!("{}: {}", plain(&one.path), plain(&one.what))));
    Ok(())
}

/// A backup that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptBackup {
    /// Whose.
    pub udid: String,
    /// Where.
    pub folder: PathBuf,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was proven last.
    pub verified_at: Timestamp,
    /// It is encrypted.
    pub encrypted: bool,
    /// Its content was proven too, not only its outside.
    pub proven_inside: bool,
}

/// The folder of a phone's newest backup, and of those before it.
const BACKUP: &str = "backup";
const HISTORY: &str = "backup.history";

/// The proven backups of a phone below `dest`, newest first, by what their proofs say.
#[must_use]
pub fn kept_backups(dest: &Path, udid: &Udid) -> Vec<KeptBackup> {
    let own = dest.join(udid.as_str());
    let earlier =
        std::fs::read_dir(own.join(HISTORY)).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = std::iter::once(own.join(BACKUP)).chain(earlier);
    let mut kept: Vec<KeptBackup> = folders.filter_map(kept_backup).collect();
    kept.sort_by_key(|backup| std::cmp::Reverse(backup.made_at));
    kept
}

fn kept_backup(folder: PathBuf) -> Option<KeptBackup> {
    let dir = existing(&folder).ok()??;
    let header = ProofFile::header(&dir)?;
    Some(KeptBackup {
        udid: header.udid,
        made_at: header.made_at,
        verified_at: header.proven_at,
        encrypted: header.encrypted,
        proven_inside: !header.encrypted || header.password_known,
        folder,
    })
}

impl Visit {
    /// Gives the copy what AFC refused and the proven backup holds. What is taken in is refused no more.
    pub(super) async fn take_from_backup(
        &self,
        store: &Store,
        facts: &Facts,
        copying: &mut Copying,
        kept: &Kept,
    ) -> Result<(), Stop> {
        let (Some(proof), Some(listing)) = (&kept.backup, &facts.media) else { return Ok(()) };
        let wanted: Vec<MediaFile> = copying
            .refused
            .keys()
            .filter_map(|path| listing.file(path).filter(|file| proof.covers(file)).cloned())
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let (folder, udid, password, store) =
            (self.folder(), self.udid().clone(), self.beginning.password.clone(), store.clone());
        let taking = tokio::task::spawn_blocking(move || {
            take_in(&folder, &udid, password.as_deref(), &store, &wanted)
        });
        let taken = taking.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        for path in taken {
            copying.refused.remove(&path);
            copying.kept.from_backup_files += 1;
        }
        Ok(())
    }

    /// Lets a proven backup say what only it holds: settings and states that USB does not tell.
    pub(super) async fn refine(&self, facts: &mut Facts, kept: &Kept) {
        if kept.backup.as_ref().is_none_or(|proof| !proof.proven_inside()) {
            return;
        }
        let (folder, udid, password) = (self.folder(), self.udid().clone(), self.beginning.password.clone());
        let mut refined = facts.clone();
        let reading = tokio::task::spawn_blocking(move || {
            with_backup(&folder, &udid, password.as_deref(), |backup| {
                crate::collect::refine(&mut refined, |domain, path| small_file(backup, domain, path));
                Ok(refined)
            })
        });
        match reading.await {
            Ok(Ok(refined)) => *facts = refined,
            Ok(Err(stop)) => tracing::info!(%stop, "the backup could not be asked for settings"),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// The longest file that is read out of a backup into memory.
const SMALL_FILE_BYTES_MAX: u64 = 16 << 20;

fn small_file(backup: &Backup, domain: &str, path: &str) -> std::io::Result<Option<Vec<u8>>> {
    use std::io::Read;
    let mut content = match backup.open_file(domain, path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?.take(SMALL_FILE_BYTES_MAX),
    };
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Opens the newest proven backup and does something with it.
fn with_backup<T>(
    folder: &Path,
    udid: &Udid,
    password: Option<&Secret>,
    act: impl FnOnce(&Backup) -> Result<T, Stop>,
) -> Result<T, Stop> {
    let io = |error: std::io::Error| folder_stop(folder, &error);
    let dir = existing(folder)?.ok_or_else(|| io(std::io::ErrorKind::NotFound.into()))?;
    let current = Vault::look(dir, udid.clone()).current().map_err(|error| vault_stop(folder, error))?;
    let current = current.ok_or_else(|| io(std::io::ErrorKind::NotFound.into()))?;
    let own = current.open_dir_nofollow(udid.as_str()).map_err(io)?;
    let scratch = tempfile::tempdir().map_err(io)?;
    let scratch_dir = Dir::open_ambient_dir(scratch.path(), cap_std::ambient_authority()).map_err(io)?;
    let backup = Backup::open(own, password, &scratch_dir).map_err(|error| {
        Stop::new(Trouble::Failed, format!("The backup cannot be read: {}.", plain(&error.to_string())), "")
    })?;
    act(&backup)
}

/// The paths that became part of the copy.
fn take_in(
    folder: &Path,
    udid: &Udid,
    password: Option<&Secret>,
    store: &Store,
    wanted: &[MediaFile],
) -> Result<Vec<String>, Stop> {
    with_backup(folder, udid, password, |backup| {
        let mut taken = Vec::new();
        for file in wanted {
            let (domain, media) = CAMERA_ROLL;
            let Ok(mut content) = backup.open_file(domain, &format!("{media}{}", file.path)) else {
                continue;
            };
            match store.take_in(file, Source::Backup, None, &mut content) {
                Ok(Taken::Durable) => taken.push(file.path.clone()),
                Ok(Taken::Refused(why)) => tracing::info!(path = %plain(&file.path), why, "not taken in"),
                Err(crate::photos::Error::WrongSize { .. } | crate::photos::Error::Reader { .. }) => {}
                Err(error) => return Err(copy_stop(&error)),
            }
        }
        Ok(taken)
    })
}

/// Files that the copy and the backup both hold as the phone shows them, with different bytes: an alarm. A file that one
/// of them does not hold is none.
pub(super) fn disagreements(facts: &Facts, kept: &Kept) -> Vec<String> {
    let (Some(photos), Some(backup), Some(listing)) = (&kept.photos, &kept.backup, &facts.media) else {
        return Vec::new();
    };
    let differ = |file: &&MediaFile| {
        photos.covers(file)
            && backup.covers(file)
            && photos.file(&file.path).map(|kept| Some(kept.sha256))
                != backup.media(&file.path).map(|kept| kept.sha256)
    };
    listing
        .files
        .iter()
        .filter(differ)
        .map(|file| {
            format!("{}: the phone gave other bytes for the copy than for the backup", plain(&file.path))
        })
        .collect()
}
