//! Exporting the pictures of a copy, without the phone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::kept::{copy_stop, existing};
use super::stop::{Stop, Trouble};
use crate::photos::export::{self, Exported, decoder};
use crate::photos::{self, Store};
use crate::progress::{CancellationToken, Observer};
use crate::usbmux::Udid;

/// Exports the pictures of what is kept in a phone's folder; `None` when there is no copy.
///
/// # Errors
/// This program was built without a decoder for HEIC, another run works on the copy, the disk is full or gives no
/// answer. What fails for one picture is in the result.
pub async fn export_without_phone(
    path: &Path,
    udid: Udid,
    into: PathBuf,
    observer: Arc<dyn Observer>,
    cancel: CancellationToken,
) -> Result<Option<Exported>, Stop> {
    let Some(decoder) = decoder() else { return Err(without_decoder()) };
    let Some(folder) = existing(path)? else { return Ok(None) };
    let store = Store::look(folder, udid).map_err(|error| copy_stop(&error))?;
    let Some(store) = store.filter(|store| store.size().0 > 0) else { return Ok(None) };
    let task = move || export::export(&store, &into, decoder, observer.as_ref(), &cancel);
    let exported = tokio::task::spawn_blocking(task).await;
    let exported = exported.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    exported.map(Some).map_err(|error| match error {
        photos::Error::Full(_) => Stop::new(
            Trouble::NoSpace,
            "The disk is full. Every picture that was complete is kept.",
            "Free some space and run the same command again to go on, or name another folder.",
        ),
        other => copy_stop(&other),
    })
}

/// What to do where nothing can decode HEIC.
fn without_decoder() -> Stop {
    Stop::new(
        Trouble::Usage,
        "This idevice-fix was built without what decodes HEIC.",
        "Build it with it: cargo build --release --features heic (that needs libheif with its headers; on Debian: \
         apt install libheif-dev).",
    )
}
