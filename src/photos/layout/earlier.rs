//! The new arrangement takes the place of the earlier one; what is not ours in the earlier one is carried over.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use rustix::fs::RenameFlags;

use super::super::folder::Folders;
use super::super::store::{PHOTOS, Store, private_folder};
use super::remove_tree;
use crate::durable;

/// Folders inside folders that are looked into.
const DEPTH_MAX: usize = 16;
/// Names that are tried for a file that is carried over.
const NUMBERS_MAX: u32 = 1_000;

/// Puts `beside` (open as `new`) in the place of `name`. Returns how many files were carried over.
pub(super) fn replace(store: &Store, name: &str, beside: &str, new: &Arc<Dir>) -> io::Result<u64> {
    let device = store.device();
    let mut kept = 0;
    match device.open_dir_nofollow(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => device.rename(beside, &device, name)?,
        Err(error) => return Err(error),
        Ok(old) => {
            let ours = Ours::of(store);
            let mut carrying = Carrying { ours: &ours, to: Folders::below(Arc::clone(new)), kept: 0 };
            carrying.carry(&old, "", DEPTH_MAX)?;
            kept = carrying.kept;
            exchange(&device, beside, name)?;
            remove_tree(&device, beside)?;
        }
    }
    durable::sync_dir(&device)?;
    Ok(kept)
}

/// What a run that was killed left beside `name` may hold the only copy of somebody's file: that goes back first.
pub(super) fn bring_back(store: &Store, name: &str, beside: &str) -> io::Result<()> {
    let device = store.device();
    for left_over in [beside.to_owned(), away(name)] {
        let left = match device.open_dir_nofollow(&left_over) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let to = Arc::new(private_folder(&device, name).map_err(io::Error::other)?);
        let ours = Ours::of(store);
        Carrying { ours: &ours, to: Folders::below(to), kept: 0 }.carry(&left, "", DEPTH_MAX)?;
        remove_tree(&device, &left_over)?;
    }
    durable::sync_dir(&device)
}

/// Where the earlier arrangement is for the moment in which it has no name.
fn away(name: &str) -> String {
    format!("{name}.old")
}

/// Both change places; where the file system cannot do that in one step, the earlier one is away for a moment.
fn exchange(device: &Dir, beside: &str, name: &str) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if rustix::fs::renameat_with(device, beside, device, name, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    let away = away(name);
    device.rename(name, device, &away)?;
    device.rename(beside, device, name)?;
    device.rename(&away, device, beside)
}

/// How files are known to be ours: the sizes and dates of everything that stands in the copy.
struct Ours(HashSet<(u64, i64)>);

impl Ours {
    fn of(store: &Store) -> Self {
        let mut copy = Folders::below(store.device());
        let manifest = store.manifest();
        let intact = manifest.entries().iter().filter(|(_, entry)| entry.damaged.is_none());
        let stands = intact.filter_map(|(path, entry)| {
            let local = entry.local(path);
            let (holder, name) = copy.holder(&local, false).ok()?;
            let there = holder.symlink_metadata(name).ok().filter(cap_std::fs::Metadata::is_file)?;
            (there.len() == entry.size).then(|| (there.len(), mtime_ns(&there)))
        });
        Self(stands.collect())
    }

    /// Nothing is lost when it goes: it leads into the copy, or has size and date of a file that stands there.
    fn has(&self, dir: &Dir, name: &std::ffi::OsStr, metadata: &cap_std::fs::Metadata) -> bool {
        if metadata.is_symlink() {
            let target = dir.read_link_contents(name).unwrap_or_default();
            return target.starts_with("..") && target.components().any(|part| part.as_os_str() == PHOTOS);
        }
        metadata.is_file() && self.0.contains(&(metadata.len(), mtime_ns(metadata)))
    }
}

fn mtime_ns(metadata: &cap_std::fs::Metadata) -> i64 {
    use cap_std::fs::MetadataExt as _;
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

struct Carrying<'a> {
    ours: &'a Ours,
    to: Folders,
    kept: u64,
}

impl Carrying<'_> {
    fn carry(&mut self, from: &Dir, below: &str, depth: usize) -> io::Result<()> {
        for entry in from.entries()? {
            let entry = entry?;
            let (name, metadata) = (entry.file_name(), from.symlink_metadata(entry.file_name())?);
            let text = name.to_string_lossy().into_owned();
            if metadata.is_dir() && depth > 0 {
                self.carry(&from.open_dir_nofollow(&name)?, &format!("{below}{text}/"), depth - 1)?;
            } else if metadata.is_dir() || !self.ours.has(from, &name, &metadata) {
                self.keep(from, &name, &format!("{below}{text}"))?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, from: &Dir, name: &std::ffi::OsStr, place: &str) -> io::Result<()> {
        for number in 1..NUMBERS_MAX {
            let place = if number == 1 { place.to_owned() } else { format!("{place} ({number})") };
            let (to, to_name) = self.to.holder(&place, true)?;
            if to.symlink_metadata(to_name).is_err() {
                from.rename(name, &to, to_name)?;
                self.kept += 1;
                return Ok(());
            }
        }
        Err(io::Error::other("too many files of one name stand in the folder"))
    }
}
