//! Protecting the phone's data, in the order that respects its owner: first, for two minutes at most, the originals
//! that exist nowhere else; then the backup is requested, so that the passcode is asked for while the person is there;
//! then photos and backup go on side by side.

use std::sync::Arc;
use std::time::Duration;

use super::arrange::arrange;
use super::backup::{Backing, back_up_once};
use super::backup_kept::{disagreements, kept_backups};
use super::carry::Failed;
use super::gallery::Shown;
use super::kept::{Kept, Part, copy_stop, kept_without_phone, prove_photos};
use super::locking::Locking;
use super::outcome::{Protection, Skipped};
use super::photos::{Copying, MayComeFromBackup, Wanted, copy_once};
use super::stop::{Stop, Trouble};
use super::{Visit, words};
use crate::facts::Facts;
use crate::photos::Store;
use crate::photos::layout::Layouts;
use crate::photos::verify::Depth;
use crate::progress::{Event, Observer};

/// How long the originals that exist nowhere else go before everything else.
const ONLY_HERE_FIRST: Duration = Duration::from_secs(120);

/// What is to be protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// Copy the photos.
    pub photos: bool,
    /// Read each photo twice and keep it only when both readings agree.
    pub paranoid: bool,
    /// Make a backup.
    pub backup: bool,
    /// Arrange the copy of the photos, too.
    pub layouts: Layouts,
    /// A full backup even where an earlier one could be built upon.
    pub full_backup: bool,
    /// About how long it takes, as the plan says.
    pub expected: Duration,
    /// Make the contact sheet of the copy.
    pub gallery: Option<Shown>,
}

/// What protecting came to.
#[derive(Debug, Default)]
pub struct Protected {
    /// For the report.
    pub protection: Protection,
    /// What is proven to be kept now.
    pub kept: Kept,
    /// What went wrong.
    pub stops: Vec<Stop>,
}

/// The two parts while they run.
struct Parts {
    copying: Copying,
    backing: Backing,
    /// Troubles that end one part and not the other.
    stops: Vec<Stop>,
    photos_left: bool,
    backup_left: bool,
    /// Rows that matter and that the phone did not put into the backup.
    refused_by_backup: Vec<Skipped>,
}

impl Visit {
    /// Copies, backs up and proves as wished. What was achieved is in the result, also when something went wrong.
    pub async fn protect(&mut self, facts: &Facts, wish: Wish) -> Protected {
        let mut protected = Protected::default();
        protected.protection.folder = self.folder().display().to_string();
        if let Err(stop) = self.protect_into(facts, wish, &mut protected).await {
            protected.stops.push(stop);
        }
        if let Some(shown) = wish.gallery {
            self.add_gallery(facts, shown, &mut protected).await;
        }
        let skipped = &protected.protection.skipped;
        if let Some(first) = skipped.first() {
            protected.stops.push(skipped_stop(first, skipped.len()));
        }
        protected.stops.extend(protected.kept.stop());
        protected
    }

    async fn protect_into(
        &mut self,
        facts: &Facts,
        wish: Wish,
        protected: &mut Protected,
    ) -> Result<(), Stop> {
        let store = if wish.photos { Some(self.store()?) } else { None };
        let mut parts = Parts {
            copying: Copying { paranoid: wish.paranoid, ..Copying::default() },
            backing: Backing::new(self, wish)?,
            stops: Vec::new(),
            photos_left: wish.photos,
            backup_left: wish.backup,
            refused_by_backup: Vec::new(),
        };
        if let Some(store) = &store {
            store.remember(&facts.library).map_err(|error| copy_stop(&error))?;
        }
        let carried = self.carry_parts(store.as_ref(), facts, wish, &mut parts).await;
        protected.stops.append(&mut parts.stops);
        if wish.photos {
            protected.protection.photos = Some(parts.copying.kept.clone());
            protected.protection.skipped = parts.copying.skipped();
            protected.protection.notes.append(&mut parts.copying.notes);
        }
        // What is here now is proven and told whatever happened; only a visit that was stopped ends at once.
        if self.cancel().is_cancelled() {
            return carried.and(Err(Stop::interrupted()));
        }
        let proven = self.prove_all(store.as_ref(), facts, &mut parts, protected).await;
        if let (Some(store), Ok(())) = (&store, &proven) {
            let library = Some(&facts.library);
            protected.protection.layouts = arrange(store, wish.layouts, library, self.cancel())?;
        }
        carried.and(proven)
    }

    async fn carry_parts(
        &mut self,
        store: Option<&Store>,
        facts: &Facts,
        wish: Wish,
        parts: &mut Parts,
    ) -> Result<(), Stop> {
        if let (Some(store), true) = (store, wish.backup) {
            let first = Wanted::OnlyHere(ONLY_HERE_FIRST);
            match self.copy_photos(store, facts, first, &mut parts.copying).await {
                Err(stop) if stop.trouble != Trouble::Failed => return Err(stop),
                Err(stop) => {
                    // Photos that cannot be copied are no reason to make no backup.
                    parts.photos_left = false;
                    parts.stops.push(stop);
                }
                Ok(()) => {}
            }
        }
        let locking = Arc::new(Locking::new(Arc::clone(&self.beginning.observer)));
        let observer: Arc<dyn Observer> = Arc::clone(&locking) as Arc<dyn Observer>;
        let cancel = self.cancel().clone();
        let a_backup_may_help = wish.backup || !kept_backups(self.dest(), self.udid()).is_empty();
        let photos_observer: Arc<dyn Observer> = if a_backup_may_help {
            Arc::new(MayComeFromBackup(Arc::clone(&observer)))
        } else {
            Arc::clone(&observer)
        };
        self.carry(async |session| {
            let Parts { copying, backing, stops, photos_left, backup_left, .. } = &mut *parts;
            let photos = async {
                let Some(store) = store.filter(|_| *photos_left) else { return Ok(()) };
                copy_once(
                    Arc::clone(&session),
                    store,
                    facts,
                    Wanted::All,
                    copying,
                    photos_observer.as_ref(),
                    &cancel,
                )
                .await
            };
            let backup = async {
                if !*backup_left {
                    return Ok(());
                }
                back_up_once(Arc::clone(&session), backing, &observer, &cancel).await
            };
            let parts = async { tokio::join!(photos, backup) };
            let (photos, backup) = locking.beside(&session, parts).await;
            let photos = settle(photos, photos_left, stops);
            let backup = settle(backup, backup_left, stops);
            photos.and(backup)
        })
        .await
    }

    async fn prove_all(
        &mut self,
        store: Option<&Store>,
        facts: &Facts,
        parts: &mut Parts,
        protected: &mut Protected,
    ) -> Result<(), Stop> {
        let kept = &mut protected.kept;
        protected.protection.backup = parts.backing.kept().await;
        match parts.backing.made.take() {
            Some((made, _)) => {
                protected.protection.notes.extend(made.notes);
                let refused = made.proof.refused().iter().filter(|row| !row.harmless);
                let skipped = refused.map(|row| Skipped {
                    item: format!("{}: {}", row.domain, row.path),
                    reason: format!("the phone refused to put it into the backup (code {:#04x})", row.code),
                });
                parts.refused_by_backup = skipped.collect();
                kept.backup = Some(made.proof);
            }
            None => self.prove_kept(Part::Backup, kept).await?,
        }
        protected.protection.skipped.extend(parts.refused_by_backup.iter().cloned());
        let Some(store) = store else {
            self.prove_kept(Part::Photos, kept).await?;
            kept.damage.extend(disagreements(facts, kept));
            return Ok(());
        };
        let taken = self.take_from_backup(store, facts, &mut parts.copying, kept).await;
        protected.protection.skipped = parts.copying.skipped();
        protected.protection.skipped.extend(parts.refused_by_backup.iter().cloned());
        taken?;
        // What this visit received came into being after the record, so it is read again; the rest only if it is not as
        // it was read.
        prove_photos(store, Depth::Recheck, kept, self.observer(), self.cancel()).await?;
        let mut photos = parts.copying.kept.clone();
        if let Some(proof) = &kept.photos {
            photos.proven_files = proof.files() as u64;
            photos.verified_at = Some(proof.proven_at());
            (photos.unread_files, photos.unread_since) = proof.unread();
        }
        protected.protection.photos = Some(photos);
        kept.damage.extend(disagreements(facts, kept));
        Ok(())
    }

    /// Proves what this visit did not touch, as quickly as earlier proofs allow.
    pub(super) async fn prove_kept(&self, part: Part, kept: &mut Kept) -> Result<(), Stop> {
        let password = self.beginning.password.as_deref();
        let depth = Depth::Recheck;
        let folder = self.folder();
        let proven =
            kept_without_phone(&folder, self.udid(), depth, part, password, self.observer(), self.cancel());
        let Kept { photos, backup, damage, notes } = proven.await?;
        kept.photos = kept.photos.take().or(photos);
        kept.backup = kept.backup.take().or(backup);
        kept.damage.extend(damage);
        kept.notes.extend(notes);
        Ok(())
    }
}

/// What is left of a part after a try: a final trouble ends this part and is kept; a break is handed on, so that both
/// parts wait for the phone.
fn settle(tried: Result<(), Failed>, left: &mut bool, stops: &mut Vec<Stop>) -> Result<(), Failed> {
    match tried {
        Ok(()) => *left = false,
        Err(Failed::Finally(stop)) => {
            *left = false;
            stops.push(stop);
        }
        Err(broke @ Failed::Broke(_)) => return Err(broke),
    }
    Ok(())
}

fn skipped_stop(first: &Skipped, all: usize) -> Stop {
    Stop::new(
        Trouble::Skipped,
        format!(
            "{} skipped, {} first: {}.",
            words::counted(all as u64, "file was", "files were"),
            crate::facts::text::plain(&first.item),
            crate::facts::text::plain(&first.reason)
        ),
        "The report lists each with its reason.",
    )
}

/// Says when nothing more has to be tapped.
pub(super) fn can_leave(left: Duration) -> Event {
    Event::Note(format!(
        "Nothing more has to be tapped on the phone. Leave it plugged in for about {}.",
        words::duration(left)
    ))
}
