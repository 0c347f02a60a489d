//! The contact sheet's part of a visit: the small pictures off the phone, then the page.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::Visit;
use super::carry::Failed;
use super::kept::{copy_stop, existing};
use super::protect::Protected;
use super::stop::{Stop, Trouble};
use crate::facts::Facts;
use crate::facts::text::plain;
use crate::photos::Store;
use crate::photos::gallery::{self, About, Fetched, PAGE, Sheet, Written};
use crate::progress::CancellationToken;
use crate::usbmux::Udid;

/// What the page may show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown {
    /// Also what the Hidden album holds.
    pub hidden: bool,
}

/// The page as it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GalleryMade {
    /// Where it is on this computer.
    pub page: String,
    /// Photos and videos on it.
    pub items: u64,
    /// Of these, how many show a small picture.
    pub with_thumbnail: u64,
    /// Photos and videos of the Hidden album that are left out.
    pub hidden_left_out: u64,
    /// Small pictures that came over the cable for it.
    pub fetched_files: u64,
    /// Their bytes.
    pub fetched_bytes: u64,
}

impl GalleryMade {
    fn of(folder: &Path, written: Written, fetched: Fetched) -> Self {
        Self {
            page: folder.join(PAGE).display().to_string(),
            items: written.tiles,
            with_thumbnail: written.with_thumbnail,
            hidden_left_out: written.hidden_left_out,
            fetched_files: fetched.files,
            fetched_bytes: fetched.bytes,
        }
    }
}

impl Visit {
    /// Makes the page and notes it. What goes wrong with it takes nothing away from what was protected.
    pub(super) async fn add_gallery(&mut self, facts: &Facts, shown: Shown, protected: &mut Protected) {
        if protected.stops.iter().any(|stop| stop.trouble == Trouble::Interrupted) {
            return;
        }
        let phone_is_there = !protected.stops.iter().any(|stop| stop.trouble.ends_the_visit());
        let (made, stop) = match self.gallery(facts, shown, phone_is_there).await {
            Ok((made, stop)) => (Some(made), stop),
            Err(stop) => (None, Some(stop)),
        };
        protected.protection.gallery = made;
        protected.stops.extend(stop);
    }

    /// The page is made also when the small pictures could not all be fetched; that is then the stop beside it.
    async fn gallery(
        &mut self,
        facts: &Facts,
        shown: Shown,
        phone_is_there: bool,
    ) -> Result<(GalleryMade, Option<Stop>), Stop> {
        let store = self.store()?;
        let about = About {
            device: facts.device.as_ref().and_then(|device| device.name.as_deref()),
            read_at: facts.observed_at,
            hidden: shown.hidden,
        };
        let sheet = Sheet::of(&store, Some(&facts.library), about);
        gallery::keep(&store, &sheet).map_err(|error| copy_stop(&error))?;
        let (mut fetched, mut stop) = (Fetched::default(), None);
        if phone_is_there {
            match self.fetch_thumbnails(&store, &sheet).await {
                Ok(done) => fetched = done,
                Err(failed) if failed.trouble == Trouble::Interrupted => return Err(failed),
                Err(failed) => stop = Some(failed),
            }
        }
        let written = write(store, sheet, self.cancel().clone()).await?;
        Ok((GalleryMade::of(&self.folder(), written, fetched), stop))
    }

    async fn fetch_thumbnails(&mut self, store: &Store, sheet: &Sheet) -> Result<Fetched, Stop> {
        let (observer, cancel) = (Arc::clone(&self.beginning.observer), self.cancel().clone());
        let paths = sheet.paths();
        self.carry(async |session| {
            let fetched = gallery::fetch(session.as_ref(), store, &paths, observer.as_ref(), &cancel).await;
            fetched.map_err(|error| match error {
                gallery::Failed::Cancelled => Failed::Finally(Stop::interrupted()),
                gallery::Failed::Copy(error) => Failed::Finally(copy_stop(&error)),
                gallery::Failed::Device(error) => Failed::Broke(Stop::new(
                    Trouble::Failed,
                    format!(
                        "The small pictures for the contact sheet could not all be fetched: {}.",
                        plain(&error.to_string())
                    ),
                    "Run the same command again to go on.",
                )),
            })
        })
        .await
    }
}

/// Makes the page again from what is kept in a phone's folder; `None` when there is no copy.
///
/// # Errors
/// Another run works on the copy, the disk is full or gives no answer, or interrupted.
pub async fn gallery_without_phone(
    path: PathBuf,
    udid: Udid,
    cancel: CancellationToken,
) -> Result<Option<GalleryMade>, Stop> {
    let Some(folder) = existing(&path)? else { return Ok(None) };
    let looked = Store::look(folder, udid.clone()).map_err(|error| copy_stop(&error))?;
    if looked.is_none_or(|store| store.size().0 == 0) {
        return Ok(None);
    }
    let Some(folder) = existing(&path)? else { return Ok(None) };
    let store = Store::open(folder, udid).map_err(|error| copy_stop(&error))?;
    let sheet = gallery::kept(&store).map_or_else(
        || Sheet::of(&store, None, About { device: None, read_at: Timestamp::now(), hidden: true }),
        |kept| kept.with_newcomers(&store),
    );
    let written = write(store, sheet, cancel).await?;
    Ok(Some(GalleryMade::of(&path, written, Fetched::default())))
}

async fn write(store: Store, sheet: Sheet, cancel: CancellationToken) -> Result<Written, Stop> {
    let token = cancel.clone();
    let task = move || gallery::write(&store, &sheet, &TimeZone::system(), &token);
    let written = tokio::task::spawn_blocking(task).await;
    let written = written.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let written = written.map_err(|error| copy_stop(&error))?;
    if cancel.is_cancelled() { Err(Stop::interrupted()) } else { Ok(written) }
}
