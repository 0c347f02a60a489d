//! Decrypted copies, which are kept nowhere: files without a name, gone when they are closed, however the process ends.

use std::fs::{self, File, Permissions};
use std::io::{self, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

use cap_std::fs::Dir;
use rustix::fs::{AtFlags, CWD, linkat};

/// A file without a name that only this process can read.
///
/// # Errors
/// Any I/O error.
pub fn unlinked(dir: &Dir) -> io::Result<File> {
    let file = tempfile::tempfile_in(format!("/proc/self/fd/{}", dir.as_raw_fd()))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Lets `open` open an unlinked file by name. SQLite follows every path to its end and finds none for a file without a
/// name, so the file has one in `dir` for that moment; `open` must hold the file open when it returns.
///
/// # Errors
/// What `open` gives, or any I/O error.
pub(super) fn with_a_name<T, E: From<io::Error>>(
    file: &mut File,
    dir: &Dir,
    open: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, E> {
    struct Named<'a>(&'a Dir, String);
    impl Drop for Named<'_> {
        fn drop(&mut self) {
            // Whoever cannot remove it now could not have made it: it is a name in a folder of our own.
            let _ = self.0.remove_file(&self.1);
        }
    }
    let named = Named(dir, format!(".decrypted-{}", uuid::Uuid::new_v4()));
    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    if linkat(CWD, from, dir, &named.1, AtFlags::SYMLINK_FOLLOW).is_err() {
        // A file system that has no files without a name has had to unlink it: then it is copied.
        copy(file, dir, &named.1)?;
    }
    let path = fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()))?.join(&named.1);
    let path = path.to_str().ok_or_else(|| io::Error::other("the path of the backup is no text"))?;
    open(path)
}

fn copy(file: &mut File, dir: &Dir, name: &str) -> io::Result<()> {
    use cap_std::fs::OpenOptionsExt;
    let mut options = cap_std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut named = dir.open_with(name, &options)?;
    file.rewind()?;
    io::copy(file, &mut named).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_name_is_there_for_a_moment_and_for_the_owner_alone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let mut file = unlinked(&dir).unwrap();
        file.write_all(b"clear").unwrap();
        let opened = with_a_name(&mut file, &dir, |path| {
            assert_eq!(fs::metadata(path)?.permissions().mode() & 0o777, 0o600);
            File::open(path)
        });
        let mut text = String::new();
        opened.unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "clear");
        copy(&mut file, &dir, "copied").unwrap();
        assert_eq!(fs::read(temp.path().join("copied")).unwrap(), b"clear");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
