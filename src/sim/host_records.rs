//! What the host keeps beside a simulated bus: its own id and its pair records, in memory or as usbmuxd keeps them in
//! `/var/lib/lockdown`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap_std::fs::Dir;
use uuid::Uuid;

use crate::usbmux::Udid;
use crate::{durable, frame};

/// The file with the host's own id, beside the pair records.
const BUID_FILE: &str = "SystemConfiguration.plist";
/// The longest pair record that is kept.
const RECORD_BYTES_MAX: usize = 64 << 10;

/// The host's pair records: in memory, or files beside each other.
#[derive(Default)]
pub(super) struct Records {
    dir: Option<Dir>,
    kept: Mutex<BTreeMap<Udid, Vec<u8>>>,
    buid: Mutex<Option<String>>,
}

/// Pair records hold private keys.
impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Records {
    /// Files in `dir`.
    pub(super) fn in_folder(dir: Dir) -> Self {
        Self { dir: Some(dir), ..Self::default() }
    }

    pub(super) fn buid(&self) -> io::Result<String> {
        let mut known = self.buid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buid) = &*known {
            return Ok(buid.clone());
        }
        let fresh = Uuid::new_v4().to_string().to_uppercase();
        let buid = match &self.dir {
            None => fresh,
            Some(dir) => kept_buid(dir, fresh)?,
        };
        *known = Some(buid.clone());
        Ok(buid)
    }

    pub(super) fn read(&self, udid: &Udid) -> io::Result<Option<Vec<u8>>> {
        let Some(dir) = &self.dir else {
            return Ok(self.kept().get(udid).cloned());
        };
        match dir.read(file_name(udid)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    pub(super) fn save(&self, udid: &Udid, record: &[u8]) -> io::Result<()> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(io::Error::other("a pair record of more than 64 KiB"));
        }
        match &self.dir {
            Some(dir) => durable::replace_bytes(dir, &file_name(udid), 0o600, record),
            None => {
                self.kept().insert(udid.clone(), record.to_vec());
                Ok(())
            }
        }
    }

    pub(super) fn delete(&self, udid: &Udid) -> io::Result<()> {
        let Some(dir) = &self.dir else {
            self.kept().remove(udid);
            return Ok(());
        };
        match dir.remove_file(file_name(udid)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Udid, Vec<u8>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_name(udid: &Udid) -> String {
    format!("{udid}.plist")
}

fn kept_buid(dir: &Dir, fresh: String) -> io::Result<String> {
    let kept = dir
        .read(BUID_FILE)
        .ok()
        .and_then(|bytes| frame::parse(&bytes, &frame::Limits::LOCKDOWN_UNTRUSTED).ok()?.into_dictionary());
    let kept =
        kept.and_then(|kept| kept.get("SystemBUID").and_then(plist::Value::as_string).map(str::to_owned));
    if let Some(buid) = kept {
        return Ok(buid);
    }
    let mut dictionary = plist::Dictionary::new();
    dictionary.insert("SystemBUID".to_owned(), fresh.as_str().into());
    let bytes = frame::to_xml(&plist::Value::Dictionary(dictionary));
    durable::replace_bytes(dir, BUID_FILE, 0o600, &bytes)?;
    Ok(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(records: &Records) {
        let udid = Udid::parse("00008101-000000000000001E").unwrap();
        assert_eq!(records.read(&udid).unwrap(), None);
        records.save(&udid, b"record").unwrap();
        assert_eq!(records.read(&udid).unwrap().unwrap(), b"record");
        assert!(records.save(&udid, &vec![0; RECORD_BYTES_MAX + 1]).is_err());
        records.delete(&udid).unwrap();
        records.delete(&udid).unwrap();
        assert_eq!(records.read(&udid).unwrap(), None);
        assert_eq!(records.buid().unwrap(), records.buid().unwrap());
    }

    #[test]
    fn records_are_kept_in_memory_or_in_a_folder() {
        survives(&Records::default());
        let folder = tempfile::tempdir().unwrap();
        let open = || Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
        let records = Records::in_folder(open());
        survives(&records);
        assert_eq!(Records::in_folder(open()).buid().unwrap(), records.buid().unwrap());
    }
}
