//! A folder of the phone, with what the phone changes laid over it.
//!
//! A simulated device that keeps nothing must leave its folder as it was, and yet what it was told to write must be
//! there when it is read. So reading looks in the upper folder first; what is to be changed is copied there before.
//! Paths are relative, without `..` ([`clean`] makes them so); cap-std keeps links from leading out.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap_std::fs::{Dir, File, Metadata};

/// A path of the phone (`/DCIM/./100APPLE`) as a relative path; the root itself is `.`. `None`: it leads out.
#[must_use]
pub fn clean(path: &str) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            clean.pop().then_some(())?;
        } else {
            clean.push(part);
        }
    }
    if clean.as_os_str().is_empty() {
        clean.push(".");
    }
    Some(clean)
}

/// See the module. Every method takes a [`clean`] path.
#[derive(Debug)]
pub struct Tree {
    lower: Option<Dir>,
    upper: Dir,
    gone: Mutex<BTreeSet<PathBuf>>,
    /// Something was changed: until then nobody needs to look into the upper folder.
    changed: AtomicBool,
}

impl Tree {
    /// Changes go into `upper`; `lower` is only read.
    #[must_use]
    pub fn new(lower: Option<Dir>, upper: Dir) -> Self {
        Self { lower, upper, gone: Mutex::default(), changed: AtomicBool::new(false) }
    }

    /// The folder in which `path` is to be read: open, list or stat it there.
    ///
    /// # Errors
    /// `NotFound`, or what looking for it gave.
    pub fn holder(&self, path: &Path) -> io::Result<&Dir> {
        Ok(self.find(path)?.0)
    }

    /// [`Tree::holder`], and what `path` is there, without following a link at its end.
    ///
    /// # Errors
    /// As [`Tree::holder`].
    pub fn find(&self, path: &Path) -> io::Result<(&Dir, Metadata)> {
        if let Some(lower) = self.unchanged() {
            return Ok((lower, lower.symlink_metadata(path)?));
        }
        match self.upper.symlink_metadata(path) {
            Ok(metadata) => return Ok((&self.upper, metadata)),
            // Under a file of the upper folder there is nothing either way.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let lower = self.lower.as_ref().filter(|_| !self.is_gone(path)).ok_or(io::ErrorKind::NotFound)?;
        Ok((lower, lower.symlink_metadata(path)?))
    }

    /// The lower folder, as long as everything is as it says.
    fn unchanged(&self) -> Option<&Dir> {
        self.lower.as_ref().filter(|_| !self.changed.load(Ordering::Acquire))
    }

    fn changes(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// What `path` is, without following a link at its end.
    ///
    /// # Errors
    /// As [`Tree::holder`].
    pub fn symlink_metadata(&self, path: &Path) -> io::Result<Metadata> {
        Ok(self.find(path)?.1)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As [`Tree::holder`], and what opening gave.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        self.holder(path)?.open(path)
    }

    /// Reads a whole file; `None` if there is none.
    ///
    /// # Errors
    /// Any but `NotFound`.
    pub fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match self.holder(path).and_then(|dir| dir.read(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names in a folder, sorted. Names that are not UTF-8 cannot be on an iPhone and are left out.
    ///
    /// # Errors
    /// As [`Tree::holder`]; a file is `NotADirectory`.
    pub fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = BTreeSet::new();
        if let Some(lower) = self.unchanged() {
            collect_names(lower, path, &mut names)?;
            return Ok(names.into_iter().collect());
        }
        collect_names(self.holder(path)?, path, &mut names)?;
        if let Some(lower) = self.lower.as_ref().filter(|_| !self.is_gone(path)) {
            match collect_names(lower, path, &mut names) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let gone = self.gone();
        names.retain(|name| {
            let inside = if path == Path::new(".") { PathBuf::from(name) } else { path.join(name) };
            !gone.contains(&inside) || self.upper.symlink_metadata(&inside).is_ok()
        });
        Ok(names.into_iter().collect())
    }

    /// Prepares `path` for being changed and gives the folder in which to do so: its parent is there, and the file,
    /// link or folder itself (with all that is in it) if it exists.
    ///
    /// # Errors
    /// `NotFound` if the parent does not exist; what copying gave.
    pub fn writable(&self, path: &Path) -> io::Result<&Dir> {
        let Some(lower) = &self.lower else { return Ok(&self.upper) };
        self.changes();
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            if !self.holder(parent)?.metadata(parent)?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            self.upper.create_dir_all(parent)?;
        }
        let there = lower.symlink_metadata(path).ok().filter(|_| !self.is_gone(path));
        if let Some(metadata) = there {
            self.copy_up(lower, path, &metadata)?;
        }
        Ok(&self.upper)
    }

    /// Removes a file, a link, or a folder that is empty.
    ///
    /// # Errors
    /// `NotFound`, `DirectoryNotEmpty`, or what removing gave.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        if self.symlink_metadata(path)?.is_dir() {
            if !self.names(path)?.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            ignore_missing(self.upper.remove_dir_all(path))?;
        } else {
            ignore_missing(self.upper.remove_file(path))?;
        }
        self.hide(path);
        Ok(())
    }

    /// Moves a file, a link or a whole folder; a file in the way is replaced.
    ///
    /// # Errors
    /// `NotFound`, or what moving gave.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.symlink_metadata(from)?;
        self.writable(from)?;
        self.writable(to)?;
        self.upper.rename(from, &self.upper, to)?;
        self.hide(from);
        Ok(())
    }

    /// Moves what stands in the way, whatever it is and although it may not be readable: what the lower folder has of it
    /// stays there, out of sight.
    ///
    /// # Errors
    /// What moving gave.
    pub fn put_away(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.upper.rename(from, &self.upper, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.lower.is_some() => {}
            other => other?,
        }
        self.hide(from);
        Ok(())
    }

    fn copy_up(&self, lower: &Dir, path: &Path, metadata: &Metadata) -> io::Result<()> {
        let upper = &self.upper;
        if metadata.is_dir() {
            upper.create_dir_all(path)?;
            for entry in lower.read_dir(path)? {
                let inside = path.join(entry?.file_name());
                if !self.is_gone(&inside) {
                    self.copy_up(lower, &inside, &lower.symlink_metadata(&inside)?)?;
                }
            }
        } else if upper.symlink_metadata(path).is_ok() {
            // Copied before, perhaps changed since.
        } else if metadata.is_symlink() {
            upper.symlink(lower.read_link(path)?, path)?;
        } else {
            lower.copy(path, upper, path)?;
            let copy = upper.open_with(path, cap_std::fs::OpenOptions::new().write(true))?;
            copy.into_std().set_modified(metadata.modified()?.into_std())?;
        }
        Ok(())
    }

    /// Marks what the lower folder has at `path` as removed.
    fn hide(&self, path: &Path) {
        if self.lower.is_some() {
            self.gone().insert(path.to_owned());
            self.changes();
        }
    }

    fn is_gone(&self, path: &Path) -> bool {
        let gone = self.gone();
        !gone.is_empty() && path.ancestors().any(|above| gone.contains(above))
    }

    fn gone(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn collect_names(dir: &Dir, path: &Path, names: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in dir.read_dir(path)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(())
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folders {
        lower: tempfile::TempDir,
        _upper: tempfile::TempDir,
        tree: Tree,
    }

    fn folders() -> Folders {
        let open = |temp: &tempfile::TempDir| {
            Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap()
        };
        let (lower, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(lower.path().join("DCIM/100APPLE")).unwrap();
        std::fs::write(lower.path().join("DCIM/100APPLE/a"), "a").unwrap();
        std::fs::write(lower.path().join("DCIM/100APPLE/b"), "b").unwrap();
        let tree = Tree::new(Some(open(&lower)), open(&upper));
        Folders { lower, _upper: upper, tree }
    }

    fn path(text: &str) -> PathBuf {
        clean(text).unwrap()
    }

    #[test]
    fn paths_stay_inside() {
        assert_eq!(clean("/"), Some(PathBuf::from(".")));
        assert_eq!(clean("./DCIM//x/../y"), Some(PathBuf::from("DCIM/y")));
        assert_eq!(clean(".."), None);
        assert_eq!(clean("/a/../../b"), None);
    }

    #[test]
    fn what_is_written_is_read_and_the_folder_below_stays_as_it_was() {
        let folders = folders();
        let tree = &folders.tree;
        let a = path("/DCIM/100APPLE/a");
        tree.writable(&a).unwrap().write(&a, "changed").unwrap();
        tree.writable(&path("new")).unwrap().write("new", "new").unwrap();
        assert_eq!(tree.read(&a).unwrap().unwrap(), b"changed");
        assert_eq!(tree.names(&path("/")).unwrap(), ["DCIM", "new"]);
        assert_eq!(tree.names(&path("DCIM/100APPLE")).unwrap(), ["a", "b"]);
        assert_eq!(std::fs::read(folders.lower.path().join("DCIM/100APPLE/a")).unwrap(), b"a");
        assert!(!folders.lower.path().join("new").exists());
    }

    #[test]
    fn what_is_removed_or_moved_is_gone_and_may_come_again() {
        let folders = folders();
        let tree = &folders.tree;
        let b = path("DCIM/100APPLE/b");
        tree.remove(&b).unwrap();
        assert_eq!(tree.read(&b).unwrap(), None);
        assert_eq!(tree.names(&path("DCIM/100APPLE")).unwrap(), ["a"]);
        tree.writable(&b).unwrap().write(&b, "again").unwrap();
        assert_eq!(tree.read(&b).unwrap().unwrap(), b"again");
        tree.rename(&path("DCIM"), &path("Moved")).unwrap();
        assert!(tree.symlink_metadata(&path("DCIM/100APPLE/a")).is_err());
        assert_eq!(tree.names(&path("Moved/100APPLE")).unwrap(), ["a", "b"]);
        let error = tree.remove(&path("Moved/100APPLE")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
        assert!(folders.lower.path().join("DCIM/100APPLE/b").exists());
    }

    #[test]
    fn nothing_is_written_under_a_folder_that_is_not_there() {
        let folders = folders();
        let missing = path("nowhere/x");
        assert_eq!(folders.tree.writable(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
