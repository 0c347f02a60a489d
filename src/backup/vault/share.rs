//! Copies of a backup that take no room of their own: files share their blocks where the file system can, else they are the
//! same files under two names. Nothing is ever written through either: what is new is written elsewhere and renamed.

use std::ffi::OsStr;
use std::fs::FileTimes;
use std::io;

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};

/// Makes `to` a copy of `from` that shares its files; where that is not possible, at last a real copy.
pub(super) fn share_tree(from: &Dir, to: &Dir) -> io::Result<()> {
    let mut blocks = true;
    share_below(from, to, &mut blocks)
}

/// `blocks`: sharing blocks has not failed yet, so it is tried first.
fn share_below(from: &Dir, to: &Dir, blocks: &mut bool) -> io::Result<()> {
    for entry in from.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let mut builder = DirBuilder::new();
            builder.mode(0o700);
            to.create_dir_with(&name, &builder)?;
            share_below(&from.open_dir_nofollow(&name)?, &to.open_dir_nofollow(&name)?, blocks)?;
        } else if kind.is_file() {
            share_file(from, to, &name, blocks)?;
        }
    }
    Ok(())
}

fn share_file(from: &Dir, to: &Dir, name: &OsStr, blocks: &mut bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    if *blocks {
        let (source, target) = (from.open(name)?.into_std(), to.open_with(name, &options)?.into_std());
        if share_blocks(&source, &target) {
            return same_time(&source, &target);
        }
        *blocks = false;
        to.remove_file(name)?;
    }
    if from.hard_link(name, to, name).is_ok() {
        return Ok(());
    }
    // No links here either, or too many to one file.
    let (mut source, mut target) = (from.open(name)?.into_std(), to.open_with(name, &options)?.into_std());
    io::copy(&mut source, &mut target)?;
    same_time(&source, &target)
}

/// What is known of a file goes by its time too.
fn same_time(source: &std::fs::File, target: &std::fs::File) -> io::Result<()> {
    target.set_times(FileTimes::new().set_modified(source.metadata()?.modified()?))
}

/// Makes `target` share the blocks of `source`; `false`: nothing was done, the file system cannot.
#[cfg(target_os = "linux")]
pub(in crate::backup) fn share_blocks(source: &std::fs::File, target: &std::fs::File) -> bool {
    rustix::fs::ioctl_ficlone(target, source).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(in crate::backup) fn share_blocks(_: &std::fs::File, _: &std::fs::File) -> bool {
    false
}

/// Files of a proven backup are read-only: another program that writes in place would change history, which shares them.
pub(super) fn make_read_only(dir: &Dir) -> io::Result<()> {
    for entry in dir.entries()? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            make_read_only(&entry.open_dir()?)?;
        } else if kind.is_file() && entry.metadata()?.permissions().mode() & 0o777 != 0o400 {
            dir.set_permissions(entry.file_name(), Permissions::from_mode(0o400))?;
        }
    }
    Ok(())
}
