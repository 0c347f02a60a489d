//! Taking in originals that their owner downloaded elsewhere, and judging again with them.

use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;
use jiff::Timestamp;

use super::arrange::kept_store;
use super::kept::{Kept, Part, copy_stop, prove_photos};
use super::read::locked_stop;
use super::stop::{Stop, Trouble};
use super::{Outcome, Visit, words};
use crate::facts::Library;
use crate::facts::text::plain;
use crate::photos::Store;
use crate::photos::adopt::{self, Adoption, Failed};
use crate::photos::verify::Depth;
use crate::progress::{CancellationToken, Observer};
use crate::usbmux::Udid;

impl Visit {
    /// Reads the phone, takes in what `folder` holds of the originals that are not on it, and judges with them.
    ///
    /// # Errors
    /// The phone's library or the folder cannot be read, the copy cannot be written, or we were asked to stop. What was
    /// not taken is no error: the outcome's stops say so.
    pub async fn adopt(&mut self, folder: &Path) -> Result<(Adoption, Outcome), Stop> {
        let folder = download(folder)?;
        let mut facts = self.read().await?;
        locked_stop(facts.reach).map_or(Ok(()), Err)?;
        if facts.library.assets.is_none() {
            let why = facts.gap_of("library").map_or("it is not there", |gap| gap.reason.as_str());
            return Err(Stop::new(
                Trouble::Failed,
                format!("The phone's photo library could not be read ({}).", plain(why)),
                "It tells which original a file is; run this again when idevice-fix diagnose can read it.",
            ));
        }
        let store = self.store()?;
        store.remember(&facts.library).map_err(|error| copy_stop(&error))?;
        // The library is lent to the thread that reads the files and comes back.
        let library = std::mem::take(&mut facts.library);
        let observer = Arc::clone(&self.beginning.observer);
        let (library, adoption) = adopted(&store, library, folder, observer, self.cancel()).await;
        facts.library = library;
        let adoption = adoption?;
        let mut kept = Kept::default();
        prove_photos(&store, Depth::Recheck, &mut kept, self.observer(), self.cancel()).await?;
        drop(store);
        self.prove_kept(Part::Backup, &mut kept).await?;
        self.refine(&mut facts, &kept).await;
        let mut outcome = self.judge(facts, &kept);
        outcome.stops.extend(kept.stop());
        outcome.stops.extend(not_taken(&adoption));
        outcome.ended_at = Timestamp::now();
        Ok((adoption, outcome))
    }
}

/// What adopting without the phone came to.
#[derive(Debug)]
pub struct WithoutPhone {
    /// What was done.
    pub adoption: Adoption,
    /// The library was first seen like this then.
    pub since: Timestamp,
    /// What is proven to be kept now.
    pub kept: Kept,
    /// What went wrong.
    pub stops: Vec<Stop>,
}

/// Takes in what `folder` holds of the originals that were not on the phone when its library was last read.
///
/// # Errors
/// As [`Visit::adopt`]; also when no library is remembered.
pub async fn adopt_without_phone(
    path: &Path,
    udid: &Udid,
    folder: &Path,
    observer: Arc<dyn Observer>,
    cancel: &CancellationToken,
) -> Result<WithoutPhone, Stop> {
    let folder = download(folder)?;
    let store = kept_store(path, udid)?;
    let remembered = store.remembered().map_err(|error| copy_stop(&error))?.ok_or_else(|| {
        Stop::new(
            Trouble::Failed,
            "What this phone's library says was not kept.",
            "Plug the phone in and run this again.",
        )
    })?;
    let (_, adoption) = adopted(&store, remembered.library, folder, Arc::clone(&observer), cancel).await;
    let adoption = adoption?;
    let mut kept = Kept::default();
    prove_photos(&store, Depth::Recheck, &mut kept, observer.as_ref(), cancel).await?;
    let stops = kept.stop().into_iter().chain(not_taken(&adoption)).collect();
    Ok(WithoutPhone { adoption, since: remembered.since, kept, stops })
}

async fn adopted(
    store: &Store,
    library: Library,
    folder: Dir,
    observer: Arc<dyn Observer>,
    cancel: &CancellationToken,
) -> (Library, Result<Adoption, Stop>) {
    let (store, cancel) = (store.clone(), cancel.clone());
    let thread = tokio::task::spawn_blocking(move || {
        let adoption = adopt::adopt(&store, &library, &folder, observer.as_ref(), &cancel);
        (library, adoption)
    });
    let (library, adoption) =
        thread.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    (library, adoption.map_err(|error| failed(&error)))
}

fn failed(error: &Failed) -> Stop {
    match error {
        Failed::Cancelled => Stop::interrupted(),
        Failed::Folder(error) => {
            Stop::new(Trouble::Failed, format!("The folder cannot be read: {error}."), "")
        }
        Failed::Copy(error) => copy_stop(error),
    }
}

fn download(folder: &Path) -> Result<Dir, Stop> {
    Dir::open_ambient_dir(folder, cap_std::ambient_authority()).map_err(|error| {
        Stop::new(
            Trouble::Usage,
            format!("{} cannot be opened as a folder: {error}.", folder.display()),
            "Name the folder that the download was unpacked into.",
        )
    })
}

fn not_taken(adoption: &Adoption) -> Option<Stop> {
    let (file, why) = adoption.not_taken.first()?;
    Some(Stop::new(
        Trouble::Skipped,
        format!(
            "{} not taken, {} first: {}.",
            words::counted(adoption.not_taken.len() as u64, "file was", "files were"),
            plain(file),
            plain(why)
        ),
        "",
    ))
}
