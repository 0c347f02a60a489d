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
use super::folder::{self, Folder};
use super::{FolderError, healthy};
use crate::frame::{self, DictExt, Limits};
use crate::usbmux::Udid;

/// The file of the folder.
pub(super) const FILE: &str = "lockdown.plist";

/// The file of `state/` with a backup password that was changed over the wire.
const PASSWORD_FILE: &str = "backup.plist";
/// The file of `state/` with the values that were set and removed.
const CHANGES_FILE: &str = "values.plist";
/// The key of the null domain that moves the clock when it is set.
pub(super) const TIME: &str = "TimeIntervalSince1970";
/// The domain that says whether backups are encrypted.
const BACKUP_DOMAIN: &str = "com.apple.mobile.backup";

/// See the module.
#[derive(Debug)]
pub(super) struct Values {
    domains: BTreeMap<String, Dictionary>,
    /// Keys of the null domain that `lockdown.plist` states itself.
    stated: Vec<String>,
    /// What was set (and removed: `None`) since, by domain and key.
    changes: BTreeMap<(String, String), Option<Value>>,
    /// How far a host has set the clock ahead of where it was, in milliseconds.
    clock_ahead_ms: i64,
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
        // A whole dump of the null domain holds other domains in it.
        for (name, values) in null.iter().filter(|(name, _)| name.starts_with("com.apple.")) {
            if let Value::Dictionary(values) = values {
                given.entry(name.clone()).or_insert_with(|| values.clone());
            }
        }
        let seed = seed(folder);
        let udid = udid(&null, seed).map_err(|reason| FolderError::damaged(&path, reason))?;
        let mut domains = healthy::domains(udid.as_str(), seed);
        let stated = null.keys().cloned().collect();
        domains.entry(String::new()).or_default().extend(null);
        domains.append(&mut given);
        let mut values = Self { domains, stated, changes: BTreeMap::new(), clock_ahead_ms: 0 };
        let kept = folder::read_state(&folder.state, CHANGES_FILE)
            .map_err(|error| FolderError::damaged(&path, error.to_string()))?;
        values.recall(kept.as_deref().unwrap_or_default());
        Ok((values, udid))
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
    fn set(&mut self, domain: &str, key: &str, value: Option<Value>) {
        self.changes.insert((domain.to_owned(), key.to_owned()), value.clone());
        let domain = self.domains.entry(domain.to_owned()).or_default();
        match value {
            Some(value) => domain.insert(key.to_owned(), value),
            None => domain.remove(key),
        };
    }

    /// What [`Values::recall`] needs.
    fn remembered(&self) -> Vec<u8> {
        let (mut set, mut removed) = (BTreeMap::<_, Dictionary>::new(), Vec::new());
        for ((domain, key), value) in &self.changes {
            let place = Value::Array(vec![domain.as_str().into(), key.as_str().into()]);
            match value {
                None => removed.push(place),
                Some(value) => {
                    set.entry(domain.clone()).or_default().insert(key.clone(), value.clone());
                }
            }
        }
        let set = set.into_iter().map(|(domain, values)| (domain, Value::Dictionary(values))).collect();
        let mut all = Dictionary::new();
        all.insert("Set".to_owned(), Value::Dictionary(set));
        all.insert("Removed".to_owned(), Value::Array(removed));
        all.insert("ClockAheadMs".to_owned(), self.clock_ahead_ms.into());
        frame::to_binary(&Value::Dictionary(all))
    }

    /// Takes up what was set and removed before; what cannot be read is as good as never set.
    fn recall(&mut self, bytes: &[u8]) {
        let Some(all) = frame::parse(bytes, &Limits::FILE).ok().and_then(Value::into_dictionary) else {
            return;
        };
        for place in all.array("Removed").unwrap_or_default() {
            let words = place.as_array().map(Vec::as_slice).unwrap_or_default();
            if let [Value::String(domain), Value::String(key)] = words {
                self.set(domain, key, None);
            }
        }
        for (domain, values) in all.dict("Set").into_iter().flatten() {
            for (key, value) in values.as_dictionary().into_iter().flatten() {
                self.set(domain, key, Some(value.clone()));
            }
        }
        self.clock_ahead_ms = all.int("ClockAheadMs").unwrap_or_default();
        if self.clock_ahead_ms != 0 {
            self.stated.retain(|stated| stated != TIME);
        }
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
        for key in [TIME, "PasswordProtected", "WillEncrypt"] {
            if let Some(value) = self.live_value(domain, key) {
                values.insert(key.to_owned(), value);
            }
        }
        values
    }

    /// Sets a lockdown value or removes it; the phone remembers that.
    pub fn set_value(&self, domain: &str, key: &str, value: Option<Value>) {
        let mut values = self.values();
        values.set(domain, key, value);
        self.keep_values(&values);
    }

    /// How many values were set and removed.
    pub(super) fn values_changed(&self) -> usize {
        self.values().changes.len()
    }

    /// Whether a host may set the clock: since iOS 6 only while the phone is being set up, or is not activated
    /// (libimobiledevice idevicedate).
    pub(super) fn lets_clock_be_set(&self) -> bool {
        let activated = self.string("ActivationState").is_some_and(|state| state != "Unactivated");
        !activated || self.in_setup() || !self.version().at_least(6, 0)
    }

    /// Sets the phone's clock to so many seconds since 1970; the phone remembers how far that was.
    pub fn set_clock(&self, seconds: f64) {
        let before = self.clock().as_millisecond();
        let mut values = self.values();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float that is too large becomes the largest number"
        )]
        let wanted = (seconds * 1000.0) as i64;
        values.clock_ahead_ms = values.clock_ahead_ms.saturating_add(wanted.saturating_sub(before));
        values.stated.retain(|stated| stated != TIME);
        self.keep_values(&values);
    }

    /// How far a host has set the clock ahead.
    pub(super) fn clock_ahead_ms(&self) -> i64 {
        self.values().clock_ahead_ms
    }

    fn keep_values(&self, values: &Values) {
        if let Err(error) = self.write_state(CHANGES_FILE, &values.remembered()) {
            tracing::warn!("the simulated phone cannot remember what was set: {error}");
        }
    }

    /// Values that follow from the phone's state rather than from a file.
    fn live_value(&self, domain: &str, key: &str) -> Option<Value> {
        match (domain, key) {
            ("", TIME) if !self.values().states(key) => {
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
    fn what_was_set_and_removed_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open(folder.path(), true).unwrap();
        device.set_value("", "DeviceName", Some("Anna".into()));
        device.set_value("org.example", "k", Some(7.into()));
        device.set_value("com.apple.mobile.battery", "HasBattery", None);
        device.set_clock(1_000_000_000.0);
        drop(device);
        let device = Device::open(folder.path(), true).unwrap();
        assert_eq!(device.string("DeviceName").as_deref(), Some("Anna"));
        assert_eq!(device.value("org.example", "k"), Some(7.into()));
        assert_eq!(device.value("com.apple.mobile.battery", "HasBattery"), None);
        assert!((1_000_000_000..1_000_000_060).contains(&device.clock().as_second()));
        device.set_clock(f64::MAX);
        device.set_clock(f64::NAN);
        let _ = device.clock();
        std::fs::write(folder.path().join("state").join(CHANGES_FILE), b"noise").unwrap();
        assert!(Device::open(folder.path(), true).is_ok());
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
