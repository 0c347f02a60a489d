//! A `device.toml` that is read again when it changes, so that a test or a person can act on a running phone. A file
//! that became wrong is reported, and the last good one stays in force.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::FolderError;
use super::config::{Config, FILE};

/// Larger than any sensible `device.toml`.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The file's stamp is looked at no more often than this: a program takes longer to start, so one that is started
/// after a change finds it.
const LOOK_EVERY: Duration = Duration::from_millis(1);

type Stamp = Option<(SystemTime, u64, u64)>;

#[derive(Debug)]
struct Seen {
    looked: Instant,
    stamp: Stamp,
    config: Arc<Config>,
}

/// A `device.toml` that is read again when it changes.
#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    seen: Mutex<Seen>,
}

impl Watched {
    /// Reads the file in `folder`; one that is missing has every default.
    pub(super) fn open(folder: &Path) -> Result<Self, FolderError> {
        let path = folder.join(FILE);
        let stamp = stamp(&path);
        let config = Arc::new(read(&path)?.unwrap_or_default());
        Ok(Self { seen: Mutex::new(Seen { looked: Instant::now(), stamp, config }), path })
    }

    /// The file as it is now. Costs a `stat` at most every [`LOOK_EVERY`].
    pub(super) fn now(&self) -> Arc<Config> {
        let mut seen = self.seen();
        if seen.looked.elapsed() < LOOK_EVERY {
            return Arc::clone(&seen.config);
        }
        seen.looked = Instant::now();
        let stamp = stamp(&self.path);
        if stamp == seen.stamp {
            return Arc::clone(&seen.config);
        }
        match read(&self.path) {
            // A file that is being written is empty for a moment.
            Ok(None) if stamp.is_some() => return Arc::clone(&seen.config),
            Ok(config) => seen.config = Arc::new(config.unwrap_or_default()),
            Err(error) => tracing::warn!("{error}; the phone goes on as before"),
        }
        seen.stamp = stamp;
        Arc::clone(&seen.config)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// `None`: no file, or nothing in it.
fn read(path: &Path) -> Result<Option<Config>, FolderError> {
    let damaged = |reason: String| FolderError::Damaged { path: path.to_owned(), reason };
    let text = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
            return Err(damaged("is larger than 1 MiB".to_owned()));
        }
        _ => std::fs::read_to_string(path).map_err(|error| damaged(error.to_string()))?,
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    Config::parse(&text).map(Some).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::config::Lock;

    #[test]
    fn a_running_phone_sees_the_change_and_survives_a_wrong_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let watched = Watched::open(folder.path()).unwrap();
        std::fs::write(&file, "[lock]\nstate = \"locked\"\n").unwrap();
        std::thread::sleep(LOOK_EVERY);
        assert_eq!(watched.now().lock.state, Lock::Locked);
        std::fs::write(&file, "[lock]\nstate = \"lo").unwrap();
        std::thread::sleep(LOOK_EVERY);
        assert_eq!(watched.now().lock.state, Lock::Locked);
    }
}
