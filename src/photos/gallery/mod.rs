//! The contact sheet: one page over the copy, `photos.html` beside `photos/`, with small pictures in
//! `photos.thumbnails/`. It works from a file, without a network and without a script.
//!
//! Knows the copy's manifest and the library as facts. The small pictures are the phone's own, from
//! `PhotoData/Thumbnails`, where it has one (also of originals that are only in iCloud), else made here from a JPEG of
//! the copy. What the Hidden album holds is left out, picture and name, unless it is asked for: a contact sheet is what
//! one shows to others. What was learned from the phone is kept beside the pictures, so that the page can be made again
//! without it.

mod made;
mod page;
mod sheet;
mod thumbnails;

use std::collections::HashSet;
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions};
use jiff::tz::TimeZone;

use super::folder::Folders;
use super::names::local_path;
use super::store::{Error, Store, private_folder};
use crate::durable;
use crate::progress::CancellationToken;
use sheet::Tile;

pub use sheet::{About, Sheet};
pub use thumbnails::{Failed, Fetched, fetch};

/// The page, in a device's folder.
pub const PAGE: &str = "photos.html";
/// The small pictures, in a device's folder.
const THUMBNAILS: &str = "photos.thumbnails";
/// What was learned from the phone, among the small pictures.
const SHEET: &str = "sheet.json";
/// The longest [`SHEET`] that is read: a million tiles.
const SHEET_BYTES_MAX: u64 = 512 << 20;

/// What making the page came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Photos and videos on the page.
    pub tiles: u64,
    /// Of these, how many show a small picture; the others show their kind and name.
    pub with_thumbnail: u64,
    /// Photos and videos of the Hidden album that are left out.
    pub hidden_left_out: u64,
}

/// Writes the page, after the small pictures that can be made here are made (until `cancel` says otherwise) and those of
/// nothing on the page are gone. Blocks.
///
/// # Errors
/// A full disk, or what the file system said.
pub fn write(
    store: &Store,
    sheet: &Sheet,
    zone: &TimeZone,
    cancel: &CancellationToken,
) -> Result<Written, Error> {
    let device = store.device();
    let thumbnails = Arc::new(private_folder(&device, THUMBNAILS)?);
    sweep(&thumbnails, sheet).map_err(Error::at("clearing old small pictures away"))?;
    made::make(store, &thumbnails, sheet, cancel)?;
    let mut folders = Folders::below(Arc::clone(&thumbnails));
    let mut written = Written { hidden_left_out: sheet.left_out.len() as u64, ..Written::default() };
    let manifest = store.manifest();
    let in_copy = |path: &str| manifest.entries().get(path).is_some_and(|entry| entry.damaged.is_none());
    let adopted = sheet::adopted(manifest.entries());
    let mut links = |tile: &Tile| {
        let instead = tile.asset.as_deref().and_then(|asset| adopted.get(asset).copied());
        // A page of the phone's must not open from here: only pictures and clips do.
        let shown = |path: &&str| sheet::rank(path).is_some();
        let file = Some(tile.path.as_str()).filter(|path| in_copy(path)).or(instead).filter(shown);
        let thumbnail = name_of(&tile.path);
        let there = thumbnail.as_deref().is_some_and(|name| matches!(folders.size_of(name), Ok(Some(1..))));
        written.tiles += 1;
        written.with_thumbnail += u64::from(there);
        page::Links {
            file: file.and_then(|path| Some(manifest.entries().get(path)?.local(path))),
            thumbnail: thumbnail.filter(|_| there).map(|name| format!("{THUMBNAILS}/{name}")),
        }
    };
    durable::replace(&device, PAGE, 0o600, |file| {
        let mut out = BufWriter::new(file);
        page::write(&mut out, sheet, zone, &mut links)?;
        out.flush()
    })
    .map_err(Error::at("writing the contact sheet"))?;
    Ok(written)
}

/// Keeps what was learned from the phone for when the page is made again without it.
///
/// # Errors
/// A full disk, or what the file system said.
pub fn keep(store: &Store, sheet: &Sheet) -> Result<(), Error> {
    let thumbnails = private_folder(&store.device(), THUMBNAILS)?;
    durable::replace(&thumbnails, SHEET, 0o600, |file| {
        let mut out = BufWriter::new(file);
        serde_json::to_writer(&mut out, sheet)?;
        out.flush()
    })
    .map_err(Error::at("writing what the contact sheet shows"))
}

/// What was kept; `None` when there is none that can be read.
#[must_use]
pub fn kept(store: &Store) -> Option<Sheet> {
    let folder = store.device().open_dir_nofollow(THUMBNAILS).ok()?;
    let file = folder.open_with(SHEET, OpenOptions::new().read(true).follow(FollowSymlinks::No)).ok()?;
    let mut bytes = Vec::new();
    file.take(SHEET_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice::<Sheet>(&bytes).ok().map(Sheet::checked)
}

/// The small picture's name below its folder; `None` where its name would be longer than names can be.
fn name_of(path: &str) -> Option<String> {
    let name = format!("{}.jpg", local_path(path));
    name.rsplit('/')
        .next()
        .is_some_and(|last| last.len() + durable::PARTIAL_SUFFIX.len() <= 255)
        .then_some(name)
}

/// Removes small pictures that the sheet does not show.
fn sweep(thumbnails: &Dir, sheet: &Sheet) -> io::Result<()> {
    let shown: HashSet<String> = sheet.tiles.iter().filter_map(|tile| name_of(&tile.path)).collect();
    sweep_folder(thumbnails, "", &shown, crate::facts::path::COMPONENTS_MAX)
}

fn sweep_folder(folder: &Dir, path: &str, shown: &HashSet<String>, depth: usize) -> io::Result<()> {
    for entry in folder.entries()? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        if entry.file_type()?.is_dir() {
            if depth > 0 {
                sweep_folder(&folder.open_dir_nofollow(&name)?, &below, shown, depth - 1)?;
                // Only an empty one goes.
                let _ = folder.remove_dir(&name);
            }
        } else if name.ends_with(".jpg") && !shown.contains(&below) || name.ends_with(durable::PARTIAL_SUFFIX)
        {
            folder.remove_file(&name)?;
        }
    }
    Ok(())
}

/// Puts a small picture into its place. It can be had again, so it is not synced: a torn one has another size or date
/// than the phone's and is fetched anew.
fn put(folders: &mut Folders, name: &str, bytes: &[u8], mtime_ns: i64) -> io::Result<()> {
    let (folder, name) = folders.holder(name, true)?;
    let beside = format!("{name}{}", durable::PARTIAL_SUFFIX);
    let _ = folder.remove_file(&beside);
    let written = (|| {
        use cap_std::fs::OpenOptionsExt;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = folder.open_with(&beside, &options)?.into_std();
        file.write_all(bytes)?;
        super::stage::set_mtime(&file, mtime_ns)?;
        folder.rename(&beside, &folder, name)
    })();
    if written.is_err() {
        let _ = folder.remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests;
