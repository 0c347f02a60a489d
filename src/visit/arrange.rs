//! Arranging the copy of the photos: with the library that was just read, or as it was when it was last read.

use std::path::Path;

use super::kept::{copy_stop, existing};
use super::stop::{Stop, Trouble};
use crate::facts::Library;
use crate::photos::Store;
use crate::photos::layout::{LaidOut, Layouts};
use crate::progress::CancellationToken;
use crate::usbmux::Udid;

/// Makes the arrangements. A library that could not be read now is replaced by what is remembered of it.
pub(super) fn arrange(
    store: &Store,
    layouts: Layouts,
    library: Option<&Library>,
    cancel: &CancellationToken,
) -> Result<Vec<LaidOut>, Stop> {
    if layouts == Layouts::default() {
        return Ok(Vec::new());
    }
    let failed = |error| if cancel.is_cancelled() { Stop::interrupted() } else { copy_stop(&error) };
    let read = library.filter(|library| library.assets.is_some());
    let remembered = if read.is_none() { store.remembered().map_err(failed)? } else { None };
    let library = read.or_else(|| remembered.as_ref().map(|remembered| &remembered.library));
    let zone = jiff::tz::TimeZone::system();
    layouts.iter().map(|layout| store.lay_out(layout, library, &zone, cancel).map_err(failed)).collect()
}

/// Makes the arrangements of the copy in a phone's folder, without the phone. Blocks.
///
/// # Errors
/// Nothing is kept there, another run works on it, or this computer cannot write.
pub fn arrange_without_phone(
    path: &Path,
    udid: &Udid,
    layouts: Layouts,
    cancel: &CancellationToken,
) -> Result<Vec<LaidOut>, Stop> {
    arrange(&kept_store(path, udid)?, layouts, None, cancel)
}

/// The copy in a phone's folder, for writing; it must be there.
pub(super) fn kept_store(path: &Path, udid: &Udid) -> Result<Store, Stop> {
    let nothing = || {
        Stop::new(
            Trouble::Failed,
            format!("No photos of the phone {udid} are kept in {}.", path.display()),
            "Copy them first: idevice-fix photos pull.",
        )
    };
    let looked = Store::look(existing(path)?.ok_or_else(nothing)?, udid.clone());
    drop(looked.map_err(|error| copy_stop(&error))?.ok_or_else(nothing)?);
    Store::open(existing(path)?.ok_or_else(nothing)?, udid.clone()).map_err(|error| copy_stop(&error))
}
