//! Decrypted copies, which are kept nowhere: files without a name, gone when they are closed, however the process ends.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

/// How the names begin that files have for a moment.
const NAME_BEGINS: &str = ".decrypted-";
/// No moment is so long.
const MOMENT: Duration = Duration::from_secs(60);

/// Removes names that a process left when it was killed between two steps of [`open_while_empty`]: there are only zeros
/// behind them.
pub(in crate::backup) fn remove_empty_left_overs(dir: &Dir) -> io::Result<()> {
    for entry in dir.entries()? {
        let entry = entry?;
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(NAME_BEGINS));
        let age = || entry.metadata()?.modified()?.into_std().elapsed().map_err(io::Error::other);
        if ours && age().is_ok_and(|age| age > MOMENT) {
            dir.remove_file(entry.file_name())?;
        }
    }
    Ok(())
}

/// A file without a name that only this process can read.
///
/// # Errors
/// Any I/O error.
pub fn unlinked(dir: &Dir) -> io::Result<File> {
    let file = tempfile::tempfile_in(format!("/proc/self/fd/{}", dir.as_raw_fd()))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Lets `open` open a file that has no name any more before a byte of content is in it: SQLite opens files by name alone, and
/// follows every path to its end. Gives the file, `bytes` zeros long and to be filled, and what `open` gave; it must hold the
/// file open. SQLite looks into it only when it is asked something.
///
/// # Errors
/// Any I/O error.
pub(super) fn open_while_empty<T>(
    dir: &Dir,
    bytes: u64,
    open: impl FnOnce(&str) -> T,
) -> io::Result<(File, T)> {
    struct Named<'a>(&'a Dir, String);
    impl Drop for Named<'_> {
        fn drop(&mut self) {
            // Whoever cannot remove it now could not have made it: it is a name in a folder of our own.
            let _ = self.0.remove_file(&self.1);
        }
    }
    let named = Named(dir, format!("{NAME_BEGINS}{}", uuid::Uuid::new_v4()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = dir.open_with(&named.1, &options)?.into_std();
    file.set_len(bytes)?;
    let path = fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()))?.join(&named.1);
    let path = path.to_str().ok_or_else(|| io::Error::other("the path of the backup is no text"))?;
    let opened = open(path);
    drop(named);
    Ok((file, opened))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn the_name_is_gone_before_there_is_content() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let opened = open_while_empty(&dir, 10, |path| {
            assert_eq!(fs::metadata(path)?.permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::read(path)?, [0; 10]);
            File::open(path)
        });
        let (mut file, opened) = opened.unwrap();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        file.write_all(b"in the clear").unwrap();
        let mut text = String::new();
        opened.unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "in the clear");
    }

    #[test]
    fn a_name_that_a_killed_process_left_is_removed_when_it_is_old() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        for name in [".decrypted-old", ".decrypted-new", "other"] {
            let file = File::create(temp.path().join(name)).unwrap();
            let age = if name.ends_with("new") { Duration::ZERO } else { MOMENT * 2 };
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        }
        remove_empty_left_overs(&dir).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".decrypted-new", "other"]);
    }
}
