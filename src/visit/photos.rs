//! The originals' part of a visit: what is to be copied, and copying it through breaks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::carry::Failed;
use super::kept::{copy_stop, disk_full, folder_stop};
use super::outcome::{PhotosKept, Skipped};
use super::stop::{Stop, Trouble};
use super::{Visit, reach, words};
use crate::backup::verify::BackupProof;
use crate::durable;
use crate::facts::text::plain;
use crate::facts::{Facts, MediaListing};
use crate::lockdown::Session;
use crate::photos::pull::{self, Cause};
use crate::photos::{Ended, Options, Plan, Pulled, Store};
use crate::progress::{CancellationToken, Event, Observer};

/// What copying came to, over all breaks.
#[derive(Debug, Default)]
pub(super) struct Copying {
    /// For the report.
    pub(super) kept: PhotosKept,
    /// What the phone or this computer refused, by path, with the reason.
    pub(super) refused: BTreeMap<String, String>,
    /// Everything in the plan was tried.
    pub(super) complete: bool,
    /// Each file is read twice.
    pub(super) paranoid: bool,
    /// What is worth knowing of files that were copied.
    pub(super) notes: Vec<String>,
}

impl Copying {
    fn add(&mut self, pulled: &Pulled, took: Duration) {
        self.kept.copied_files += pulled.files;
        self.kept.copied_bytes += pulled.bytes;
        self.kept.received_bytes += pulled.received_bytes;
        self.kept.resumed_bytes += pulled.resumed_bytes;
        self.kept.seconds += took.as_secs();
        for refused in &pulled.refused {
            self.refused.insert(refused.path.clone(), refused.reason.clone());
        }
        self.notes.extend(pulled.notes.iter().cloned());
    }

    /// These files came from the backup. One that the phone showed and did not hand out is refused no more; of what it
    /// did not even show it is told how many files came.
    pub(super) fn took_from_backup(&mut self, taken: &[String], seen: impl Fn(&str) -> bool) {
        self.kept.from_backup_files += taken.len() as u64;
        let mut unseen: BTreeMap<String, u64> = BTreeMap::new();
        for path in taken {
            if seen(path) {
                self.refused.remove(path);
                continue;
            }
            let holds = |refused: &&String| {
                path.strip_prefix(refused.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if let Some(refused) = self.refused.keys().find(holds) {
                *unseen.entry(refused.clone()).or_default() += 1;
            }
        }
        for (path, files) in unseen {
            if let Some(reason) = self.refused.get_mut(&path) {
                let files = words::counted(files, "file was", "files were");
                *reason = format!("{reason}; as it was then, {files} taken from the backup");
            }
        }
    }

    /// Where an encrypted backup holds what was refused, its password would give it.
    pub(super) fn say_what_a_password_would_give(&mut self, proof: &BackupProof) {
        for (_, reason) in self.refused.iter_mut().filter(|(path, _)| proof.media(path).is_some()) {
            reason.push_str(
                "; the backup holds it, and with its password (BACKUP_PASSWORD) it is taken from there",
            );
        }
    }

    /// What is still refused, for the report.
    pub(super) fn skipped(&self) -> Vec<Skipped> {
        let skipped =
            |(item, reason): (&String, &String)| Skipped { item: item.clone(), reason: reason.clone() };
        self.refused.iter().map(skipped).collect()
    }
}

/// What is to be copied now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// What exists nowhere else, for no longer than this.
    OnlyHere(Duration),
    /// Everything.
    All,
}

impl Visit {
    /// Opens the copy for writing.
    pub(super) fn store(&self) -> Result<Store, Stop> {
        let folder = self.folder();
        let dir = durable::open_or_create_private(&folder).map_err(|error| folder_stop(&folder, &error))?;
        Store::open_knowing(dir, self.udid().clone(), &self.known_copy).map_err(|error| copy_stop(&error))
    }

    /// Copies, through breaks.
    pub(super) async fn copy_photos(
        &mut self,
        store: &Store,
        facts: &Facts,
        wanted: Wanted,
        copying: &mut Copying,
    ) -> Result<(), Stop> {
        let (observer, cancel) = (Arc::clone(&self.beginning.observer), self.cancel().clone());
        let deed = async |session| {
            copy_once(session, store, facts, wanted, copying, observer.as_ref(), &cancel).await
        };
        self.carry(deed).await
    }
}

/// Copies over one session. What an earlier session has stored is not in the plan any more.
pub(super) async fn copy_once(
    session: Arc<Session>,
    store: &Store,
    facts: &Facts,
    wanted: Wanted,
    copying: &mut Copying,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<(), Failed> {
    let listing = facts.media.as_ref().ok_or_else(|| Failed::Finally(no_listing(facts)))?;
    let (plan, budget) = plan(store, listing, facts, wanted).map_err(Failed::Finally)?;
    let began = Instant::now();
    if plan.items.is_empty() && wanted != Wanted::All {
        return Ok(());
    }
    let options = Options { budget, paranoid: copying.paranoid, ..Options::default() };
    let pulled = pull::pull_with(session.as_ref(), store, &plan, observer, cancel, options).await;
    match pulled {
        Ok(pulled) => {
            copying.add(&pulled, began.elapsed());
            copying.complete = pulled.ended == Ended::Complete && wanted == Wanted::All;
            if pulled.ended == Ended::Cancelled { Err(Failed::Finally(Stop::interrupted())) } else { Ok(()) }
        }
        Err(error) => {
            copying.add(&error.pulled, began.elapsed());
            Err(failed(&error))
        }
    }
}

fn plan(
    store: &Store,
    listing: &MediaListing,
    facts: &Facts,
    wanted: Wanted,
) -> Result<(Plan, Option<Duration>), Stop> {
    let mut plan = store.plan(listing, Some(&facts.library)).map_err(|error| copy_stop(&error))?;
    let Wanted::OnlyHere(budget) = wanted else { return Ok((plan, None)) };
    plan.items.retain(|item| item.only_here);
    plan.bytes = plan.items.iter().map(|item| item.file.size).sum();
    // What the walk could not see is told once, by the copying of everything.
    plan.refused.clear();
    Ok((plan, Some(budget)))
}

fn no_listing(facts: &Facts) -> Stop {
    let why =
        facts.gap_of("media").map_or("the phone's files could not be listed", |gap| gap.reason.as_str());
    Stop::new(
        Trouble::Failed,
        format!("The photos cannot be copied: {}.", plain(why)),
        "Unlock the phone, plug it in again and run this again.",
    )
}

fn failed(error: &pull::Error) -> Failed {
    match &error.cause {
        cause if cause.is_disk_full() => Failed::Finally(disk_full()),
        Cause::Copy(error) => Failed::Finally(copy_stop(error)),
        cause if cause.is_stall() => Failed::Broke(Stop::new(
            Trouble::Failed,
            format!("The phone stopped answering while photos were copied: {}.", plain(&cause.to_string())),
            "Everything that was complete is kept; unlock the phone, plug it in again and run the same command again to go on.",
        )),
        cause => Failed::Broke(Stop::new(
            Trouble::Failed,
            format!("{}.", reach::sentence(&cause.to_string())),
            "Everything that was complete is kept; plug the phone in again and run the same command again to go on.",
        )),
    }
}

/// Tells of a refused file as of one that the backup may still deliver.
pub(super) struct MayComeFromBackup(pub(super) Arc<dyn Observer>);

impl Observer for MayComeFromBackup {
    fn event(&self, event: Event) {
        self.0.event(match event {
            Event::Skipped { item, reason } => {
                Event::Note(format!("{item}: {reason}; it is looked for in the backup"))
            }
            other => other,
        });
    }
}
