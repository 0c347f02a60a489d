//! The backup's part of a visit: making it through breaks, proving it again, and giving the copy of the photos what the
//! phone's file service refused.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;

use super::carry::Failed;
use super::kept::{Kept, copy_stop, existing, folder_stop};
use super::outcome::BackupKept;
use super::photos::Copying;
use super::protect::can_leave;
use super::stop::{Stop, Trouble};
use super::{Visit, Wish, reach, words};
use crate::backup::Secret;
use crate::backup::make::{self, Made, Options};
use crate::backup::read::Backup;
use crate::backup::record::Record;
use crate::backup::vault::{self, Vault};
use crate::backup::verify::{BackupProof, ProvenMedia};
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
    pub(super) async fn kept(&self) -> Option<BackupKept> {
        let (made, took) = self.made.as_ref()?;
        let root = self.vault.as_ref().and_then(|vault| vault.current().ok().flatten());
        // A record has a line for each of a million files: no async worker waits for it.
        let sizing = tokio::task::spawn_blocking(move || root.map_or((0, 0), |root| size(&root)));
        let sized = sizing.await;
        let (files, bytes) = sized.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
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
fn size(root: &Dir) -> (u64, u64) {
    Record::load(root).map_or((0, 0), |record| {
        record
            .all_known()
            .fold((0, 0), |(files, bytes), known| (files + 1, known.bytes.saturating_add(bytes)))
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

const GO_ON: &str = "Everything that was complete is kept, also the last good backup; run the same command again to go on. If it fails \
     again, make the backup with Finder, Apple Devices or idevicebackup2 and take it in: idevice-fix backup adopt DIR.";
const OTHERWISE: &str = "A backup that another program makes can be taken in: idevice-fix backup adopt DIR.";
/// What the phone asks for beyond what it is short of.
const PURGE_MARGIN_BYTES: u64 = 2 << 30;

fn failed(error: make::Error) -> Failed {
    if error.is_disk_full() {
        let wanted = match &error {
            make::Error::Device { purge_wanted_bytes: Some(bytes), .. } => format!(
                " {} are missing, beside what is kept free for this computer.",
                words::bytes(bytes.checked_sub(PURGE_MARGIN_BYTES).unwrap_or(*bytes))
            ),
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
            let next = match error.meaning() {
                Some(meaning) if trouble == Trouble::PersonNeeded => meaning.next_step.to_owned(),
                Some(meaning) => format!("{} {OTHERWISE}", meaning.next_step),
                None => GO_ON.to_owned(),
            };
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

pub(super) fn wrong_password() -> Stop {
    Stop::new(
        Trouble::WrongPassword,
        "The backup password is wrong.",
        "Set BACKUP_PASSWORD to the right one, or unset it: then the backup is proven from outside only.",
    )
}

pub(super) fn vault_stop(folder: &Path, error: vault::Error) -> Stop {
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
        // What the phone did not even show may be another by now, or more: it stays refused, with what came of it.
        let seen = |path: &str| listing.file(path).is_some();
        let unseen = copying.refused.keys().filter(|path| !path.is_empty() && !seen(path));
        let unseen: Vec<String> = unseen.cloned().collect();
        let locked = proof.encrypted() && self.beginning.password.is_none();
        if locked {
            copying.say_what_a_password_would_give(proof);
        }
        if locked || (wanted.is_empty() && unseen.is_empty()) {
            return Ok(());
        }
        let (folder, udid, password, store, proof) = (
            self.folder(),
            self.udid().clone(),
            self.beginning.password.clone(),
            store.clone(),
            proof.clone(),
        );
        let taking = tokio::task::spawn_blocking(move || {
            with_backup(&folder, &udid, password.as_deref(), |backup| {
                let mut wanted = wanted;
                wanted.extend(kept_below(backup, &unseen, &proof, &store)?);
                take_in(backup, &store, &wanted)
            })
        });
        let taken = taking.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        copying.took_from_backup(&taken, seen);
        Ok(())
    }

    /// Lets a proven backup say what only it holds: settings and states that USB does not tell.
    pub(super) async fn refine(&self, facts: &mut Facts, kept: &Kept) {
        if kept.backup.as_ref().is_none_or(|proof| !proof.proven_inside()) {
            return;
        }
        let made_at = kept.backup.as_ref().map(BackupProof::made_at);
        let (folder, udid, password) = (self.folder(), self.udid().clone(), self.beginning.password.clone());
        let mut refined = facts.clone();
        let reading = tokio::task::spawn_blocking(move || {
            with_backup(&folder, &udid, password.as_deref(), |backup| {
                // What it holds is of its beginning: what the phone did while it was made is not in it.
                let as_of = backup.begun_at().into_iter().chain(made_at).min();
                crate::collect::refine(&mut refined, as_of, |domain, path| small_file(backup, domain, path));
                if let (true, Some(as_of)) = (refined.library.assets.is_none(), as_of) {
                    library_out_of(backup, as_of, &mut refined)?;
                }
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

/// The library that the phone did not give, out of the backup.
fn library_out_of(backup: &Backup, as_of: jiff::Timestamp, facts: &mut Facts) -> Result<(), Stop> {
    let scratch = tempfile::tempdir().map_err(|error| folder_stop(&std::env::temp_dir(), &error))?;
    let (domain, root) = CAMERA_ROLL;
    let open = |path: &str| match backup.open_file(domain, &format!("{root}{path}")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    };
    let read = crate::collect::library_from_backup(facts, scratch.path(), as_of, open);
    tracing::info!(read, "the phone did not give its photo library; the backup was asked for it");
    Ok(())
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

/// The proven files of the backup at or below these paths that the copy does not hold, as the phone showed them when the
/// backup was made.
fn kept_below(
    backup: &Backup,
    paths: &[String],
    proof: &BackupProof,
    store: &Store,
) -> Result<Vec<MediaFile>, Stop> {
    let (domain, media) = CAMERA_ROLL;
    let is_below = |path: &str| {
        paths.iter().any(|above| {
            path.strip_prefix(above.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let mut found = Vec::new();
    if paths.is_empty() {
        return Ok(found);
    }
    let read = backup.rows(|row| {
        let path = row.path.strip_prefix(media).filter(|path| row.domain == domain && is_below(path));
        if let Some((path, proven)) = path.and_then(|path| Some((path, proof.media(path)?))) {
            found.extend(missing(store, path, &proven));
        }
        true
    });
    read.map_err(|error| {
        Stop::new(Trouble::Failed, format!("The backup cannot be read: {}.", plain(&error.to_string())), "")
    })?;
    Ok(found)
}

/// A proven file of the backup that the copy does not hold, as the phone showed it when the backup was made.
fn missing(store: &Store, path: &str, media: &ProvenMedia) -> Option<MediaFile> {
    if media.sha256.is_none() || !media.whole {
        return None;
    }
    let mtime_ns = media.mtime_s.checked_mul(1_000_000_000)?;
    let is_here = store.holds(path, media.size, media.mtime_s);
    (!is_here).then(|| MediaFile {
        path: path.to_owned(),
        size: media.size,
        mtime_ns,
        birthtime_ns: mtime_ns,
    })
}

/// The paths that became part of the copy.
fn take_in(backup: &Backup, store: &Store, wanted: &[MediaFile]) -> Result<Vec<String>, Stop> {
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
}
