//! Files on this computer that must survive a kill and a power cut: written beside, synced, then renamed.
//!
//! Everything works below an open folder ([`cap_std::fs::Dir`]), so a name can never leave it.

use std::io::{self, Write};
use std::path::Path;

use cap_std::fs::{Dir, DirBuilder, File, OpenOptions};

/// The suffix of a file that is being written and does not count yet.
pub const PARTIAL_SUFFIX: &str = ".partial";

/// Replaces `name` in `dir` in one step: after a crash there is the whole old file or the whole new one.
///
/// The new file has the permissions `mode` (Unix bits). `name` must be a single path component.
///
/// # Errors
/// Any I/O error; the old file is then untouched, and what was written beside it is removed where possible.
pub fn replace(
    dir: &Dir,
    name: &str,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    replace_by(dir, name, &format!("{name}{PARTIAL_SUFFIX}"), mode, fill)
}

/// [`replace`] by way of the file `beside`, a single path component too: for files that several processes may replace
/// at the same time, each by way of its own.
///
/// # Errors
/// As [`replace`].
pub fn replace_by(
    dir: &Dir,
    name: &str,
    beside: &str,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    for name in [name, beside] {
        assert!(is_single_component(name), "a file name without folders is wanted, got {name:?}");
    }
    let written = write_beside(dir, beside, mode, fill).and_then(|()| dir.rename(beside, dir, name));
    if written.is_err() {
        let _ = dir.remove_file(beside);
    }
    written?;
    sync_dir(dir)
}

/// [`replace`] with bytes that are already there.
///
/// # Errors
/// As [`replace`].
pub fn replace_bytes(dir: &Dir, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    replace(dir, name, mode, |file| file.write_all(bytes))
}

fn write_beside(
    dir: &Dir,
    beside: &str,
    mode: u32,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    use cap_std::fs::OpenOptionsExt;
    // A left-over of an earlier crash may have other permissions or be a link: it goes first.
    match dir.remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = dir.open_with(beside, &options)?;
    fill(&mut file)?;
    file.sync_all()
}

/// Syncs a folder's own entries, so that a rename or a new name in it survives a power cut.
///
/// # Errors
/// Any I/O error of the sync.
pub fn sync_dir(dir: &Dir) -> io::Result<()> {
    // cap-std opens a folder path-only where the system can; `.` opened for reading is a handle that can be synced.
    dir.open(".")?.sync_all()
}

/// Opens a folder by its path on this computer, made with mode 0700 (with its parents) if it is not there.
///
/// # Errors
/// Any I/O error; a file in the way is one.
pub fn open_or_create_private(path: &Path) -> io::Result<Dir> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Dir::open_ambient_dir(path, cap_std::ambient_authority())
}

/// Makes the folder `name` in `dir` with mode 0700; one that is there is fine, and stays as it is.
///
/// # Errors
/// Any I/O error. What stands in the way and is no folder shows when it is opened.
pub fn make_private(dir: &Dir, name: &str) -> io::Result<()> {
    use cap_std::fs::DirBuilderExt;
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    match dir.create_dir_with(name, &builder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// True for a name that is one path component and neither `.` nor `..`.
#[must_use]
pub fn is_single_component(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains('/') && !name.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        (temp, dir)
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let (_temp, dir) = folder();
        replace_bytes(&dir, "a", 0o600, b"old").unwrap();
        let error = replace(&dir, "a", 0o600, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("disk gone"))
        });
        assert!(error.is_err());
        assert_eq!(dir.read("a").unwrap(), b"old");
        assert!(!dir.exists("a.partial"));
    }

    #[test]
    fn a_left_over_of_a_crash_is_no_obstacle() {
        let (_temp, dir) = folder();
        dir.write("a.partial", b"left over").unwrap();
        replace_bytes(&dir, "a", 0o600, b"new").unwrap();
        assert_eq!(dir.read("a").unwrap(), b"new");
    }

    #[test]
    fn new_files_are_private() {
        use cap_std::fs::PermissionsExt;
        let (_temp, dir) = folder();
        replace_bytes(&dir, "a", 0o600, b"new").unwrap();
        assert_eq!(dir.metadata("a").unwrap().permissions().mode() & 0o777, 0o600);
        make_private(&dir, "folder").unwrap();
        dir.write("folder/kept", b"kept").unwrap();
        make_private(&dir, "folder").unwrap();
        assert_eq!(dir.metadata("folder").unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(dir.read("folder/kept").unwrap(), b"kept");
    }
}
