//! Folders below an open one, reached one component at a time and never through a link.
//!
//! A link inside the copy could only have been put there by somebody else; following it would let the copy of one
//! phone's photos land in another place.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions};

/// Folders that are kept open. Photos come folder by folder, so few are enough.
const OPEN_MAX: usize = 64;

/// How a file stands on this disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    /// The local date, which is the phone's too; nanoseconds since 1970.
    pub(super) mtime_ns: i64,
    /// When the file came into being here, nanoseconds since 1970, where the file system tells. Nobody can set it: what
    /// was fetched again or copied to another disk has another, whatever its date says.
    pub(super) born_ns: Option<i64>,
}

impl Stamp {
    /// Of an open file.
    pub(super) fn of(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let date = metadata.mtime().saturating_mul(1_000_000_000);
        Self {
            size: metadata.len(),
            mtime_ns: date.saturating_add(metadata.mtime_nsec()),
            born_ns: metadata.created().ok().and_then(since_1970),
        }
    }
}

fn since_1970(time: std::time::SystemTime) -> Option<i64> {
    jiff::Timestamp::try_from(time).ok().and_then(|time| i64::try_from(time.as_nanosecond()).ok())
}

/// See the module.
#[derive(Debug)]
pub(super) struct Folders {
    root: Arc<Dir>,
    open: HashMap<String, Arc<Dir>>,
    created: bool,
}

impl Folders {
    pub(super) fn below(root: Arc<Dir>) -> Self {
        Self { root, open: HashMap::new(), created: false }
    }

    /// The folder that holds `path`, and the name of `path` in it. With `create`, folders that are missing are made.
    pub(super) fn holder<'p>(&mut self, path: &'p str, create: bool) -> io::Result<(Arc<Dir>, &'p str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.folder(parent, create)?, name))
    }

    fn folder(&mut self, path: &str, create: bool) -> io::Result<Arc<Dir>> {
        if path.is_empty() {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(dir) = self.open.get(path) {
            return Ok(Arc::clone(dir));
        }
        let (above, name) = self.holder(path, create)?;
        let dir = match above.open_dir_nofollow(name) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                match above.create_dir_with(name, DirBuilder::new().mode(0o755)) {
                    // Another thread works below the same folder.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    other => other?,
                }
                self.created = true;
                above.open_dir_nofollow(name)?
            }
            other => other?,
        };
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        let dir = Arc::new(dir);
        self.open.insert(path.to_owned(), Arc::clone(&dir));
        Ok(dir)
    }

    /// Whether a folder was made since this was last asked.
    pub(super) fn take_created(&mut self) -> bool {
        std::mem::take(&mut self.created)
    }

    /// The size of the plain file at `path`; `None` if there is none (a link or a folder is none).
    pub(super) fn size_of(&mut self, path: &str) -> io::Result<Option<u64>> {
        let found = self.holder(path, false).and_then(|(dir, name)| dir.symlink_metadata(name));
        match found {
            Ok(metadata) => Ok(metadata.is_file().then(|| metadata.len())),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How the plain file at `path` stands there; `None` if there is none.
    pub(super) fn stamp_of(&mut self, path: &str) -> io::Result<Option<Stamp>> {
        use cap_std::fs::MetadataExt as _;
        let found = self.holder(path, false).and_then(|(dir, name)| dir.symlink_metadata(name));
        match found {
            Ok(metadata) if !metadata.is_file() => Ok(None),
            Ok(metadata) => {
                let date = metadata.mtime().saturating_mul(1_000_000_000);
                let mtime_ns = date.saturating_add(metadata.mtime_nsec());
                let born = metadata.created().ok().map(cap_std::time::SystemTime::into_std);
                Ok(Some(Stamp { size: metadata.len(), mtime_ns, born_ns: born.and_then(since_1970) }))
            }
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Which file is at `path`: device and number of its node; `None` if there is none.
    pub(super) fn node_of(&mut self, path: &str) -> io::Result<Option<(u64, u64)>> {
        use cap_fs_ext::MetadataExt;
        let found = self.holder(path, false).and_then(|(dir, name)| dir.symlink_metadata(name));
        match found {
            Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the plain file at `path` for reading; a link is an error.
    pub(super) fn open(&mut self, path: &str) -> io::Result<File> {
        let (dir, name) = self.holder(path, false)?;
        let file = dir.open_with(name, OpenOptions::new().read(true).follow(FollowSymlinks::No))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no plain file"));
        }
        Ok(file.into_std())
    }
}

/// There is nothing at a path: also when something on the way is no folder.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_never_followed() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("x"), b"other").unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("DCIM")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("x"), inside.path().join("y")).unwrap();
        let root = Dir::open_ambient_dir(inside.path(), cap_std::ambient_authority()).unwrap();
        let mut folders = Folders::below(Arc::new(root));
        assert!(folders.holder("DCIM/x", true).is_err());
        assert!(folders.open("y").is_err());
        assert_eq!(folders.size_of("y").unwrap(), None);
        assert_eq!(folders.size_of("DCIM/x").unwrap(), None);
        let (dir, name) = folders.holder("new/deep/z", true).unwrap();
        dir.write(name, b"12").unwrap();
        assert_eq!(folders.size_of("new/deep/z").unwrap(), Some(2));
        assert_eq!(folders.size_of("new/deep").unwrap(), None);
    }
}
