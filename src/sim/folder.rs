//! The folder of a simulated device: what is read from it, and where what the phone changes goes.

use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use plist::{Dictionary, Value};

use super::FolderError;
use super::tree::Tree;
use crate::durable;
use crate::frame::{self, Limits};

/// Larger than any property list that a phone's folder has.
const PLIST_BYTES_MAX: u64 = 16 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Folder {
    /// The folder on this computer.
    pub(super) path: PathBuf,
    /// `media/`
    pub(super) media: Tree,
    /// `files/`
    pub(super) files: Tree,
    /// `crashes/`
    pub(super) crashes: Tree,
    /// `state/`
    pub(super) state: Tree,
    /// What the phone changes stays.
    pub(super) kept: bool,
    temporary: tempfile::TempDir,
}

impl Folder {
    pub(super) fn open(path: &Path, keep: bool) -> Result<Self, FolderError> {
        let no_folder =
            |reason: io::Error| FolderError::NoFolder { path: path.to_owned(), reason: reason.to_string() };
        let dir = Dir::open_ambient_dir(path, cap_std::ambient_authority()).map_err(no_folder)?;
        let temporary = tempfile::Builder::new().prefix("idevice-fix-sim-").tempdir().map_err(no_folder)?;
        let tree = |name: &str| {
            let tree = if keep { kept(&dir, name) } else { overlaid(&dir, temporary.path(), name) };
            tree.map_err(|error| FolderError::damaged(&path.join(name), error.to_string()))
        };
        let (media, files) = (tree("media")?, tree("files")?);
        let (crashes, state) = (tree("crashes")?, tree("state")?);
        let path = path.canonicalize().map_err(no_folder)?;
        Ok(Self { path, media, files, crashes, state, kept: keep, temporary })
    }

    /// A folder on this computer that vanishes with the device.
    pub(super) fn temporary(&self) -> &Path {
        self.temporary.path()
    }

    /// Reads a property list of the folder whose top is a dictionary; `None` if it is not there.
    pub(super) fn dictionary(&self, name: &str) -> Result<Option<Dictionary>, FolderError> {
        match self.plist(name)? {
            None => Ok(None),
            Some(Value::Dictionary(dictionary)) => Ok(Some(dictionary)),
            Some(_) => Err(FolderError::damaged(&self.path.join(name), "wants a dictionary at its top")),
        }
    }

    /// Reads a property list of the folder; `None` if it is not there.
    pub(super) fn plist(&self, name: &str) -> Result<Option<Value>, FolderError> {
        let path = self.path.join(name);
        let damaged = |error: String| FolderError::damaged(&path, error);
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(error.to_string())),
            Ok(metadata) if metadata.len() > PLIST_BYTES_MAX => {
                return Err(damaged("is larger than 16 MiB".to_owned()));
            }
            Ok(_) => {}
        }
        let bytes = std::fs::read(&path).map_err(|error| damaged(error.to_string()))?;
        frame::parse(&bytes, &Limits::FILE).map(Some).map_err(|error| damaged(error.to_string()))
    }
}

fn kept(dir: &Dir, name: &str) -> io::Result<Tree> {
    dir.create_dir_all(name)?;
    Ok(Tree::new(None, dir.open_dir(name)?))
}

fn overlaid(dir: &Dir, temporary: &Path, name: &str) -> io::Result<Tree> {
    let lower = match dir.open_dir(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        other => Some(other?),
    };
    let upper = durable::open_or_create_private(&temporary.join(name))?;
    Ok(Tree::new(lower, upper))
}

/// Reads a file of `state/`.
pub(super) fn read_state(state: &Tree, name: &str) -> io::Result<Option<Vec<u8>>> {
    state.read(Path::new(name))
}

/// Replaces a file of `state/` in one step; nobody else may read it.
pub(super) fn write_state(state: &Tree, name: &str, bytes: &[u8]) -> io::Result<()> {
    durable::replace_bytes(state.writable(Path::new(name))?, name, 0o600, bytes)
}
