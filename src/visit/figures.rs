//! The figures of the plan: what is left to copy, how large a backup will be, and what room there is.
//!
//! A backup's size is nowhere told before the phone makes it. Where an earlier one is kept, it is the best measure there is:
//! what of the photos it has not yet, and a part of everything else, since databases of messages and apps change daily.

use std::time::Duration;

use super::kept::{copy_stop, existing};
use super::plan::Plan;
use super::stop::{Stop, Trouble};
use super::{Visit, Wish, space};
use crate::backup::camera_roll::CameraRoll;
use crate::backup::proof_file::ProofFile;
use crate::backup::vault::Vault;
use crate::facts::{Facts, MediaFile, Place, value};
use crate::frame::DictExt;
use crate::photos::Store;
use crate::services::installation_proxy;

/// What a backup holds beside photos and the data of apps: settings, messages, the system's own databases.
const BACKUP_BASE_BYTES: u64 = 400_000_000;
/// The part of what is no photo that changes between two backups: databases are sent anew whole.
const CHANGED_PART: u64 = 4;
/// The same for what grows between two backups.
const GROWN_PART: u64 = 10;
/// Records and small things that every backup sends.
const RECORDS_BYTES: u64 = 32_000_000;
/// How long the phone may count the sizes of its apps.
const APPS_WAIT: Duration = Duration::from_secs(15);

impl Visit {
    /// The plan for this wish.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub async fn plan(&self, facts: &Facts, wish: Wish) -> Result<Plan, Stop> {
        let folder = self.folder();
        let (photo_files, photo_bytes, only_here_files) =
            if wish.photos { self.photos_left(facts)? } else { (0, 0, 0) };
        let last = if wish.backup { self.last_backup() } else { None };
        let incremental = wish.backup && !wish.full_backup && last.is_some();
        let backup_bytes = match wish.backup {
            true => Some(self.backup_estimate(facts, last.as_ref(), incremental).await),
            false => None,
        };
        let there = space::at(&folder).map_err(|error| {
            Stop::new(
                Trouble::NoSpace,
                format!("{} cannot be asked for its space: {error}.", folder.display()),
                "Name another folder with --dest.",
            )
        })?;
        let mut plan = Plan {
            folder,
            photo_files,
            photo_bytes,
            only_here_files,
            backup_bytes,
            kept_again_bytes: last.filter(|_| there.no_links).map_or(0, |last| last.bytes),
            incremental,
            free_bytes: there.free_bytes,
            fat: there.fat,
            other_disks: Vec::new(),
            passcode_needed: wish.backup,
        };
        if !plan.fits() {
            plan.other_disks = space::others_with_room(plan.needed_bytes(), &plan.folder);
        }
        Ok(plan)
    }

    /// Files and bytes that are not copied yet, and how many of the files exist nowhere else.
    fn photos_left(&self, facts: &Facts) -> Result<(u64, u64, u64), Stop> {
        let Some(listing) = &facts.media else { return Ok((0, 0, 0)) };
        let store = match existing(&self.folder())? {
            Some(folder) => Store::look_knowing(folder, self.udid().clone(), &self.known_copy)
                .map_err(|error| copy_stop(&error))?,
            None => None,
        };
        if let Some(store) = store {
            let plan = store.plan(listing, Some(&facts.library)).map_err(|error| copy_stop(&error))?;
            let only_here = plan.items.iter().filter(|item| item.only_here).count() as u64;
            let bytes = plan.bytes.saturating_sub(plan.interrupted_bytes);
            return Ok((plan.items.len() as u64, bytes, only_here));
        }
        let bytes = listing.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size));
        let originals = facts.library.assets.iter().flatten().filter(|asset| asset.place == Place::OnlyHere);
        let only_here = originals.map(|asset| asset.resources.len() as u64).sum();
        Ok((listing.files.len() as u64, bytes, only_here))
    }

    /// What the last proven backup holds, as its proof says.
    fn last_backup(&self) -> Option<Last> {
        let folder = existing(&self.folder()).ok()??;
        let root = Vault::look(folder, self.udid().clone()).current().ok()??;
        let proof = ProofFile::load(&root)?;
        let bytes = proof.files().map(|(_, stat)| stat.size).fold(0, u64::saturating_add);
        Some(Last { bytes, media: proof.media })
    }

    /// The bytes that a backup will send: never more than the phone has in use.
    async fn backup_estimate(&self, facts: &Facts, last: Option<&Last>, incremental: bool) -> u64 {
        let files = facts.media.iter().flat_map(|listing| &listing.files);
        let media = |wanted: &dyn Fn(&MediaFile) -> bool| {
            files.clone().filter(|file| wanted(file)).map(|file| file.size).fold(0, u64::saturating_add)
        };
        let estimate = match last {
            Some(last) if incremental => {
                let new = media(&|file| !last.holds(file));
                new.saturating_add(last.other_bytes() / CHANGED_PART).saturating_add(RECORDS_BYTES)
            }
            Some(last) => {
                let other = last.other_bytes();
                media(&|_| true).saturating_add(other + other / GROWN_PART).saturating_add(RECORDS_BYTES)
            }
            None => media(&|_| true).saturating_add(self.app_bytes().await).saturating_add(BACKUP_BASE_BYTES),
        };
        let used = match (value(&facts.storage.total_bytes), value(&facts.storage.free_bytes)) {
            (Some(total), Some(free)) => total.saturating_sub(free),
            _ => u64::MAX,
        };
        estimate.min(used)
    }

    /// What the owner's apps keep on the phone; 0 when it does not say in time.
    async fn app_bytes(&self) -> u64 {
        const SIZE: &str = "DynamicDiskUsage";
        let asked = installation_proxy::browse(self.session(), "User", &[SIZE]);
        match tokio::time::timeout(APPS_WAIT, asked).await {
            Ok(Ok(apps)) => apps.iter().filter_map(|app| app.uint(SIZE)).fold(0, u64::saturating_add),
            Ok(Err(error)) => {
                tracing::info!(%error, "the phone does not tell the sizes of its apps");
                0
            }
            Err(_) => 0,
        }
    }
}

/// What the last proven backup holds.
struct Last {
    /// All of it.
    bytes: u64,
    media: CameraRoll,
}

impl Last {
    /// It has this file as the phone shows it now.
    fn holds(&self, file: &MediaFile) -> bool {
        let mtime_s = file.mtime_ns.div_euclid(1_000_000_000);
        self.media.file(&file.path).is_some_and(|held| held.size == file.size && held.mtime_s == mtime_s)
    }

    /// What is no photo.
    fn other_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.media.bytes()).min(u64::MAX / 2)
    }
}
