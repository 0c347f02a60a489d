//! The figures of the plan: what is left to copy, how large a backup will be, and what room there is.

use std::time::Duration;

use super::kept::{copy_stop, existing};
use super::plan::Plan;
use super::stop::{Stop, Trouble};
use super::{Visit, Wish, space};
use crate::facts::{Facts, Place, value};
use crate::frame::DictExt;
use crate::photos::Store;
use crate::services::installation_proxy;

/// What a backup holds beside photos and the data of apps: settings, messages, the system's own databases.
const BACKUP_BASE_BYTES: u64 = 400_000_000;
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
        let (backup_bytes, incremental) =
            if wish.backup { self.backup_estimate(facts, wish).await } else { (None, false) };
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
            Some(folder) => Store::look(folder, self.udid().clone()).map_err(|error| copy_stop(&error))?,
            None => None,
        };
        if let Some(store) = store {
            let plan = store.plan(listing, Some(&facts.library)).map_err(|error| copy_stop(&error))?;
            let only_here = plan.items.iter().filter(|item| item.only_here).count() as u64;
            return Ok((plan.items.len() as u64, plan.bytes, only_here));
        }
        let bytes = listing.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size));
        let originals = facts.library.assets.iter().flatten().filter(|asset| asset.place == Place::OnlyHere);
        let only_here = originals.map(|asset| asset.resources.len() as u64).sum();
        Ok((listing.files.len() as u64, bytes, only_here))
    }

    /// A backup's bytes, from above where the phone tells: photos, the data of apps, and the system's own; never more
    /// than the phone has in use.
    async fn backup_estimate(&self, facts: &Facts, wish: Wish) -> (Option<u64>, bool) {
        let incremental = !wish.full_backup && facts.local_backup.made_at.is_some();
        let media = facts
            .media
            .as_ref()
            .map_or(0, |listing| listing.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size)));
        let estimate = media.saturating_add(self.app_bytes().await).saturating_add(BACKUP_BASE_BYTES);
        let used = match (value(&facts.storage.total_bytes), value(&facts.storage.free_bytes)) {
            (Some(total), Some(free)) => total.saturating_sub(free),
            _ => u64::MAX,
        };
        (Some(estimate.min(used)), incremental)
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
