//! What lockdown has to say: a healthy phone's values, the folder's `lockdown.plist` over them, and what was set.
//!
//! In `lockdown.plist` the null domain (`""`) is laid over key by key; any other domain that is given replaces the
//! default one whole.

use std::collections::BTreeMap;
use std::io;
use std::sync::{MutexGuard, PoisonError};

use aws_lc_rs::digest;
use plist::{Dictionary, Value};

use super::config::Lock;
use super::device::Device;
use super::folder::Folder;
use super::{FolderError, healthy};
use crate::frame::{self, Limits};
use crate::usbmux::Udid;

/// The file of the folder.
pub(super) const FILE: &str = "lockdown.plist";

/// The file of `state/` with a backup password that was changed over the wire.
const PASSWORD_FILE: &str = "backup.plist";
/// The domain that says whether backups are encrypted.
const BACKUP_DOMAIN: &str = "com.apple.mobile.backup";

/// See the module.
#[derive(Debug)]
pub(super) struct Values {
    domains: BTreeMap<String, Dictionary>,
    /// Keys of the null domain that `lockdown.plist` states itself.
    stated: Vec<String>,
}

impl Values {
    /// Reads the folder's values, and the UDID that they state or the folder's name gives.
    pub(super) fn read(folder: &Folder) -> Result<(Self, Udid), FolderError> {
        let file = folder.dictionary(FILE)?.unwrap_or_default();
        let path = folder.path.join(FILE);
        let mut given = BTreeMap::new();
        for (domain, values) in file {
            let Value::Dictionary(values) = values else {
                let reason = format!("the domain {domain:?} is no dictionary");
                return Err(FolderError::damaged(&path, reason));
            };
            given.insert(domain, values);
        }
        let null = given.remove("").unwrap_or_default();
        let seed = seed(folder);
        let udid = udid(&null, seed).map_err(|reason| FolderError::damaged(&path, reason))?;
        let mut domains = healthy::domains(udid.as_str(), seed);
        let stated = null.keys().cloned().collect();
        domains.entry(String::new()).or_default().extend(null);
        domains.append(&mut given);
        Ok((Self { domains, stated }, udid))
    }

    /// One value.
    pub(super) fn value(&self, domain: &str, key: &str) -> Option<&Value> {
        self.domains.get(domain)?.get(key)
    }

    /// A whole domain; one that nobody knows is empty.
    pub(super) fn domain(&self, domain: &str) -> Dictionary {
        self.domains.get(domain).cloned().unwrap_or_default()
    }

    /// Sets a value, or removes it.
    pub(super) fn set(&mut self, domain: &str, key: &str, value: Option<Value>) {
        let domain = self.domains.entry(domain.to_owned()).or_default();
        match value {
            Some(value) => domain.insert(key.to_owned(), value),
            None => domain.remove(key),
        };
    }

    /// True if `lockdown.plist` itself states this key of the null domain.
    pub(super) fn states(&self, key: &str) -> bool {
        self.stated.iter().any(|stated| stated == key)
    }
}

/// Eight bytes that are this folder's own.
fn seed(folder: &Folder) -> [u8; 8] {
    let name = folder.path.file_name().unwrap_or_default();
    let digest = digest::digest(&digest::SHA256, name.as_encoded_bytes());
    let mut seed = [0; 8];
    seed.copy_from_slice(&digest.as_ref()[..8]);
    seed
}

fn udid(null: &Dictionary, seed: [u8; 8]) -> Result<Udid, String> {
    let text = match null.get("UniqueDeviceID") {
        None => format!("00008101-{}", hex::encode_upper(seed)),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err("`UniqueDeviceID` is no string".to_owned()),
    };
    Udid::parse(&text).ok_or_else(|| {
        format!("`UniqueDeviceID` {text:?} is no UDID: want 24 to 40 hexadecimal digits and hyphens")
    })
}

impl Device {
    /// A lockdown value as a paired host reads it. The null domain is `""`.
    #[must_use]
    pub fn value(&self, domain: &str, key: &str) -> Option<Value> {
        if let Some(value) = self.live_value(domain, key) {
            return Some(value);
        }
        self.values().value(domain, key).cloned()
    }

    /// A string of the null domain, such as `ProductType`.
    #[must_use]
    pub fn string(&self, key: &str) -> Option<String> {
        self.value("", key).and_then(Value::into_string)
    }

    /// A whole lockdown domain as a paired host reads it.
    #[must_use]
    pub fn domain(&self, domain: &str) -> Dictionary {
        let mut values = self.values().domain(domain);
        for key in ["TimeIntervalSince1970", "PasswordProtected", "WillEncrypt"] {
            if let Some(value) = self.live_value(domain, key) {
                values.insert(key.to_owned(), value);
            }
        }
        values
    }

    /// Sets a lockdown value or removes it, until the device is closed.
    pub fn set_value(&self, domain: &str, key: &str, value: Option<Value>) {
        self.values().set(domain, key, value);
    }

    /// Values that follow from the phone's state rather than from a file.
    fn live_value(&self, domain: &str, key: &str) -> Option<Value> {
        match (domain, key) {
            ("", "TimeIntervalSince1970") if !self.values().states(key) => {
                Some(Value::Real(self.clock().as_nanosecond() as f64 / 1e9))
            }
            ("", "PasswordProtected") if *self.lock.borrow() != Lock::Unlocked => Some(Value::Boolean(true)),
            (BACKUP_DOMAIN, "WillEncrypt") => self.will_encrypt().map(Value::Boolean),
            _ => None,
        }
    }

    /// What the phone says of the encryption of its backups; `None`: nothing, since no password was ever set.
    fn will_encrypt(&self) -> Option<bool> {
        match self.changed_password() {
            Some(changed) => Some(changed.is_some()),
            None if self.config().backup.password.is_some() => Some(true),
            None => self.values().value(BACKUP_DOMAIN, "WillEncrypt").and_then(Value::as_boolean),
        }
    }

    /// The password that was set over the wire, or that it was removed; `None`: neither ever happened.
    fn changed_password(&self) -> Option<Option<String>> {
        let bytes = self.read_state(PASSWORD_FILE).ok().flatten()?;
        let state = frame::parse(&bytes, &Limits::FILE).ok()?.into_dictionary()?;
        Some(state.get("Password").and_then(Value::as_string).map(str::to_owned))
    }

    /// The password that encrypts backups: the one set over the wire, else the one of `device.toml`. A phone whose
    /// `lockdown.plist` says that it encrypts, and that comes without a password, has one that nobody knows.
    #[must_use]
    pub fn backup_password(&self) -> Option<String> {
        if let Some(changed) = self.changed_password() {
            return changed;
        }
        let told = self.config().backup.password.clone();
        if told.is_some() || self.will_encrypt() != Some(true) {
            return told;
        }
        let unknown = uuid::Uuid::new_v4().to_string();
        if let Err(error) = self.remember_password(Some(&unknown)) {
            tracing::warn!(%error, "the phone cannot remember its backup password");
        }
        Some(unknown)
    }

    fn remember_password(&self, password: Option<&str>) -> io::Result<()> {
        let mut state = Dictionary::new();
        state.extend(password.map(|password| ("Password".to_owned(), Value::from(password))));
        self.write_state(PASSWORD_FILE, &frame::to_binary(&Value::Dictionary(state)))
    }

    /// Sets or removes the password that encrypts backups.
    ///
    /// # Errors
    /// What remembering it gave.
    pub fn set_backup_password(&self, password: Option<&str>) -> io::Result<()> {
        self.remember_password(password)?;
        self.post_notification("com.apple.mobile.backup.domain_changed");
        Ok(())
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lockdown: Option<&str>) -> Result<(Values, Udid), FolderError> {
        let folder = tempfile::tempdir().unwrap();
        if let Some(text) = lockdown {
            let text = format!("<?xml version=\"1.0\"?><plist version=\"1.0\"><dict>{text}</dict></plist>");
            std::fs::write(folder.path().join(FILE), text).unwrap();
        }
        Values::read(&Folder::open(folder.path(), false).unwrap())
    }

    #[test]
    fn a_folder_without_values_is_a_healthy_phone_of_its_own() {
        let (values, udid) = read(None).unwrap();
        assert_eq!(values.value("", "UniqueDeviceID").unwrap().as_string(), Some(udid.as_str()));
        assert_ne!(read(None).unwrap().1, udid);
        assert!(values.value("com.apple.mobile.backup", "CloudBackupEnabled").is_some());
    }

    #[test]
    fn the_null_domain_is_laid_over_and_any_other_replaced() {
        let text = "<key></key><dict><key>DeviceName</key><string>Anna</string></dict>
            <key>com.apple.mobile.backup</key><dict/>";
        let (values, _) = read(Some(text)).unwrap();
        assert_eq!(values.value("", "DeviceName").unwrap().as_string(), Some("Anna"));
        assert!(values.states("DeviceName") && !values.states("ProductType"));
        assert!(values.value("", "ProductType").is_some());
        assert!(values.domain("com.apple.mobile.backup").is_empty());
        assert!(!values.domain("com.apple.mobile.battery").is_empty());
    }

    #[test]
    fn a_damaged_file_is_named_with_the_reason() {
        let wrong = "<key></key><dict><key>UniqueDeviceID</key><string>../x</string></dict>";
        for (text, named) in
            [("<key>x</key><true/>", "\"x\""), (wrong, "UniqueDeviceID"), ("<dict>", "property list")]
        {
            let error = read(Some(text)).unwrap_err().to_string();
            assert!(error.contains(FILE) && error.contains(named), "{error}");
        }
    }
}
