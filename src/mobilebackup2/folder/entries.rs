//! What stands in a folder under one name: never reached through a link.

use std::io;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use plist::{Dictionary, Value};

pub(super) fn open_file(dir: &Dir, name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Without waiting, so that a pipe in a file's place cannot hold us.
    options
        .read(true)
        .follow(FollowSymlinks::No)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    let file = dir.open_with(name, &options)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    Ok(file)
}

pub(super) fn remove_any(dir: &Dir, name: &str) -> io::Result<()> {
    if dir.symlink_metadata(name)?.is_dir() { dir.remove_dir_all(name) } else { dir.remove_file(name) }
}

pub(super) fn describe(metadata: &cap_std::fs::Metadata) -> Dictionary {
    let kind = if metadata.is_dir() {
        "DLFileTypeDirectory"
    } else if metadata.is_file() {
        "DLFileTypeRegular"
    } else {
        "DLFileTypeUnknown"
    };
    let mut entry = Dictionary::new();
    entry.insert("DLFileType".into(), kind.into());
    entry.insert("DLFileSize".into(), metadata.len().into());
    if let Ok(modified) = metadata.modified() {
        entry.insert("DLFileModificationDate".into(), Value::Date(modified.into_std().into()));
    }
    entry
}
