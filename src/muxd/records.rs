//! Pair records and the host's own id, in the files of usbmuxd: `<UDID>.plist` and `SystemConfiguration.plist`.
//!
//! They are in the system's place where this user may write it, and in the user's own otherwise; what is in either can
//! be read, and of two the newer counts. Holds private keys: nothing here is ever logged, and what is written can be
//! read by its owner only.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use plist::{Dictionary, Value};

use crate::frame::DictExt;
use crate::usbmux::Udid;
use crate::{durable, frame};

/// Where usbmuxd keeps them.
const SYSTEM: &str = "/var/lib/lockdown";
/// Below the user's folder for settings.
const USERS: &str = "idevice-fix/lockdown";
/// The file with the host's own id.
const OWN: &str = "SystemConfiguration.plist";
const OWN_KEY: &str = "SystemBUID";
/// The longest file that is read or kept.
const BYTES_MAX: usize = 64 << 10;
const MODE: u32 = 0o600;

/// The folders with pair records, the system's first.
#[derive(Debug)]
pub struct Records {
    places: Vec<PathBuf>,
    /// Two at a time must neither both make an id nor write beside the same file.
    changes: Mutex<()>,
}

/// A file and when it was written.
type Found = (SystemTime, Vec<u8>);

impl Records {
    /// The system's place, and the user's.
    #[must_use]
    pub fn system() -> Self {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let settings = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).and_then(absolute);
        let settings =
            settings.or_else(|| std::env::home_dir().and_then(absolute).map(|home| home.join(".config")));
        let users = settings.map(|settings| settings.join(USERS));
        Self::in_folders([PathBuf::from(SYSTEM)].into_iter().chain(users))
    }

    /// These folders; what is kept goes to the first that can be written.
    #[must_use]
    pub fn in_folders(places: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { places: places.into_iter().collect(), changes: Mutex::default() }
    }

    /// The host's own id; made when there is none.
    ///
    /// # Errors
    /// When there is none and none can be kept.
    pub fn buid(&self) -> io::Result<String> {
        let _one_at_a_time = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        // The first place decides, so that the id stays the same for as long as the file does.
        for place in &self.places {
            let found = read(place, OWN)?.and_then(|(_, bytes)| {
                let parsed = frame::parse(&bytes, &frame::Limits::LOCKDOWN_UNTRUSTED).ok()?;
                parsed.into_dictionary()?.string(OWN_KEY).map(str::to_owned)
            });
            if let Some(own) = found.filter(|own| !own.is_empty()) {
                return Ok(own);
            }
        }
        let fresh = uuid::Uuid::new_v4().to_string().to_uppercase();
        let mut dictionary = Dictionary::new();
        dictionary.insert(OWN_KEY.to_owned(), fresh.as_str().into());
        self.write(OWN, &frame::to_xml(&Value::Dictionary(dictionary)))?;
        Ok(fresh)
    }

    /// The pair record of a device; of two, the newer one.
    ///
    /// # Errors
    /// When there is one and it cannot be read, for another reason than that it is somebody else's.
    pub fn read(&self, udid: &Udid) -> io::Result<Option<Vec<u8>>> {
        let mut newest: Option<Found> = None;
        for place in &self.places {
            if let Some(found) = read(place, &file_name(udid))?
                && newest.as_ref().is_none_or(|newest| newest.0 < found.0)
            {
                newest = Some(found);
            }
        }
        Ok(newest.map(|(_, bytes)| bytes))
    }

    /// Keeps a pair record.
    ///
    /// # Errors
    /// When none of the places can be written, or it is longer than any pair record.
    pub fn save(&self, udid: &Udid, record: &[u8]) -> io::Result<()> {
        let _one_at_a_time = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&file_name(udid), record)
    }

    /// Forgets a pair record, in every place; one that is not there is no error.
    ///
    /// # Errors
    /// When it is there and stays, anywhere.
    pub fn delete(&self, udid: &Udid) -> io::Result<()> {
        let _one_at_a_time = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outcome = Ok(());
        for place in &self.places {
            let Ok(dir) = Dir::open_ambient_dir(place, cap_std::ambient_authority()) else { continue };
            match dir.remove_file(file_name(udid)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => outcome = outcome.and(Err(error)),
                _ => {}
            }
        }
        outcome
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > BYTES_MAX {
            return Err(io::Error::other("a pair record of more than 64 KiB"));
        }
        let mut why = io::Error::other("there is no folder for pair records");
        for place in &self.places {
            let written = durable::open_or_create_private(place).and_then(|dir| put(&dir, name, bytes));
            match written {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::debug!("nothing can be kept in {}: {error}", place.display());
                    why = error;
                }
            }
        }
        Err(why)
    }
}

/// Writes a file that belongs to whom the folder belongs to: the system's usbmuxd works as a user of its own, and root's
/// files in its folder would be of no use to it.
fn put(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    use cap_std::fs::MetadataExt;
    let folder = dir.dir_metadata()?;
    // Another process may be at the same file.
    let beside = format!("{name}.{}{}", uuid::Uuid::new_v4().simple(), durable::PARTIAL_SUFFIX);
    durable::replace_by(dir, name, &beside, MODE, |file| {
        io::Write::write_all(file, bytes)?;
        if rustix::process::geteuid().is_root() && folder.uid() != 0 {
            let (owner, group) =
                (rustix::fs::Uid::from_raw(folder.uid()), rustix::fs::Gid::from_raw(folder.gid()));
            rustix::fs::fchown(file, Some(owner), Some(group))?;
        }
        Ok(())
    })
}

fn file_name(udid: &Udid) -> String {
    format!("{udid}.plist")
}

/// A file in `place`, if it is there and ours to read. A link is not followed out of the folder.
fn read(place: &Path, name: &str) -> io::Result<Option<Found>> {
    let not_ours = |kind| {
        matches!(
            kind,
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
        )
    };
    let opened = Dir::open_ambient_dir(place, cap_std::ambient_authority()).and_then(|dir| {
        // What is no plain file must not make us wait for somebody to write it.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        dir.open_with(name, OpenOptions::new().read(true).custom_flags(nonblocking))
    });
    let file = match opened {
        Err(error) if not_ours(error.kind()) => return Ok(None),
        other => other?,
    };
    let about = file.metadata()?;
    if !about.is_file() || about.len() > BYTES_MAX as u64 {
        return Err(io::Error::other(format!("{name} is no pair record")));
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, BYTES_MAX as u64), &mut bytes)?;
    Ok(Some((about.modified()?.into_std(), bytes)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn udid() -> Udid {
        Udid::parse("00008101-000000000000001E").unwrap()
    }

    fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let (system, users) = (root.path().join("system"), root.path().join("users/lockdown"));
        (root, system, users)
    }

    /// A folder that nobody can make, not even root: its parent is a file.
    fn barred(root: &Path) -> PathBuf {
        std::fs::write(root.join("file"), "").unwrap();
        root.join("file/lockdown")
    }

    #[test]
    fn a_record_is_kept_in_the_first_place_that_can_be_written_for_its_owner_only() {
        let (root, system, users) = folders();
        let records = Records::in_folders([system.clone(), users.clone()]);
        assert_eq!(records.read(&udid()).unwrap(), None);
        records.save(&udid(), b"keys").unwrap();
        assert_eq!(records.read(&udid()).unwrap().unwrap(), b"keys");
        let file = system.join("00008101-000000000000001E.plist");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!users.exists());
        let records = Records::in_folders([barred(root.path()), users.clone()]);
        records.save(&udid(), b"the user's").unwrap();
        assert_eq!(records.read(&udid()).unwrap().unwrap(), b"the user's");
        assert_eq!(std::fs::metadata(&users).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(Records::in_folders([barred(root.path())]).save(&udid(), b"lost").is_err());
        assert!(records.save(&udid(), &vec![0; BYTES_MAX + 1]).is_err());
        assert_eq!(records.read(&udid()).unwrap().unwrap(), b"the user's");
    }

    #[test]
    fn of_two_records_the_newer_counts_and_both_are_forgotten() {
        let (_root, system, users) = folders();
        Records::in_folders([users.clone()]).save(&udid(), b"new").unwrap();
        Records::in_folders([system.clone()]).save(&udid(), b"old").unwrap();
        let long_ago = SystemTime::now() - std::time::Duration::from_secs(1000);
        let file = std::fs::File::options().write(true).open(system.join(file_name(&udid()))).unwrap();
        file.set_modified(long_ago).unwrap();
        let records = Records::in_folders([system, users]);
        assert_eq!(records.read(&udid()).unwrap().unwrap(), b"new");
        records.delete(&udid()).unwrap();
        assert_eq!(records.read(&udid()).unwrap(), None);
        records.delete(&udid()).unwrap();
    }

    #[test]
    fn a_place_that_keeps_its_record_does_not_save_the_others() {
        let (_root, system, users) = folders();
        let records = Records::in_folders([system.clone(), users.clone()]);
        // A folder of that name is not removed as a file is, by nobody.
        std::fs::create_dir_all(system.join(file_name(&udid()))).unwrap();
        Records::in_folders([users.clone()]).save(&udid(), b"keys").unwrap();
        assert!(records.delete(&udid()).is_err());
        assert!(!users.join(file_name(&udid())).exists());
    }

    #[test]
    fn whoever_writes_at_the_same_time_leaves_one_whole_record_and_nothing_beside_it() {
        let (_root, system, _) = folders();
        std::thread::scope(|scope| {
            for n in 0..4_u8 {
                // Each with a lock of its own, as other processes are.
                let records = Records::in_folders([system.clone()]);
                scope.spawn(move || (0..5).for_each(|_| records.save(&udid(), &[n; 1000]).unwrap()));
            }
        });
        let kept = Records::in_folders([system.clone()]).read(&udid()).unwrap().unwrap();
        assert!(kept.len() == 1000 && kept.iter().all(|byte| *byte == kept[0]));
        assert_eq!(std::fs::read_dir(&system).unwrap().count(), 1);
    }

    #[test]
    fn the_hosts_id_is_made_once_and_read_wherever_it_is() {
        let (root, system, users) = folders();
        let records = Records::in_folders([system.clone(), users.clone()]);
        let own = records.buid().unwrap();
        assert_eq!((own.len(), records.buid().unwrap()), (36, own.clone()));
        // A user who may read the system's id has it too.
        assert_eq!(Records::in_folders([users, system]).buid().unwrap(), own);
        assert!(Records::in_folders([barred(root.path())]).buid().is_err());
    }

    #[test]
    fn what_is_no_plain_file_is_no_record() {
        let (_root, system, _) = folders();
        let records = Records::in_folders([system.clone()]);
        std::fs::create_dir_all(system.join(file_name(&udid()))).unwrap();
        assert!(records.read(&udid()).is_err());
        std::fs::remove_dir(system.join(file_name(&udid()))).unwrap();
        std::fs::write(system.join(file_name(&udid())), vec![0; BYTES_MAX + 1]).unwrap();
        assert!(records.read(&udid()).is_err());
    }
}
