//! The new arrangement takes the place of the earlier one; what is not ours in the earlier one is carried over.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use rustix::fs::RenameFlags;

use super::super::folder::Folders;
use super::super::store::{PHOTOS, Store};
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

/// Both change places; where the file system cannot do that in one step, the earlier one is away for a moment.
fn exchange(device: &Dir, beside: &str, name: &str) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if rustix::fs::renameat_with(device, beside, device, name, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    let away = format!("{name}.old");
    remove_tree(device, &away)?;
    device.rename(name, device, &away)?;
    device.rename(beside, device, name)?;
    device.rename(&away, device, beside)
}

/// How files are known to be ours: the sizes and dates of everything that the copy holds.
struct Ours(HashSet<(u64, i64)>);

impl Ours {
    fn of(store: &Store) -> Self {
        let manifest = store.manifest();
        Self(manifest.entries().values().map(|entry| (entry.size, entry.mtime_ns)).collect())
    }

    /// Nothing is lost when it goes: it leads into the copy, is a second name of a file, or has size and date of a file
    /// that the copy holds.
    fn has(&self, dir: &Dir, name: &std::ffi::OsStr, metadata: &cap_std::fs::Metadata) -> bool {
        use cap_std::fs::MetadataExt as _;
        if metadata.is_symlink() {
            let target = dir.read_link_contents(name).unwrap_or_default();
            return target.starts_with("..") && target.components().any(|part| part.as_os_str() == PHOTOS);
        }
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        metadata.is_file() && (metadata.nlink() > 1 || self.0.contains(&(metadata.len(), mtime_ns)))
    }
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
