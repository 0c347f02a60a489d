//! Lockdown's domains as facts. Pure: a dictionary in, facts and gaps out.
//!
//! Domains and keys as in libimobiledevice's `ideviceinfo` and in values that people published; a key that is absent
//! is a gap, except where its absence is known to mean *never*.

use jiff::Timestamp;
use plist::Dictionary;

use crate::facts::{Device, Fact, Facts, Maybe, Source};
use crate::frame::DictExt;

/// Level and charging.
pub(super) const BATTERY: &str = "com.apple.mobile.battery";
/// iCloud Backup and local backups.
pub(super) const BACKUP: &str = "com.apple.mobile.backup";
/// Storage.
pub(super) const DISK_USAGE: &str = "com.apple.disk_usage";
/// Find My.
pub(super) const FIND_MY: &str = "com.apple.fmip";
/// The setup assistant; the phone's spelling differs.
pub(super) const SETUP: [&str; 2] = ["com.apple.PurpleBuddy", "com.apple.purplebuddy"];

/// Seconds from 1970 to 2001, where the backup's dates begin.
const COCOA_EPOCH_SECONDS: i64 = 978_307_200;
/// The longest text that is kept, in characters.
const TEXT_CHARS_MAX: usize = 512;

/// A reader of one domain, that notes what is missing.
struct Domain<'a> {
    values: &'a Dictionary,
    place: &'static str,
    facts: &'a mut Facts,
}

impl Domain<'_> {
    /// The value that `read` finds at `key`, or the gap `fact`.
    fn need<T>(
        &mut self,
        fact: &'static str,
        key: &'static str,
        read: impl Fn(&Dictionary, &str) -> Option<T>,
    ) -> Maybe<T> {
        let found = self.may(fact, key, read);
        if found.is_none() {
            self.facts.gap(fact, format!("the phone states no {key}"));
        }
        found
    }

    /// The value that `read` finds at `key`; none when the key is absent, and a gap when it holds something else.
    fn may<T>(
        &mut self,
        fact: &'static str,
        key: &'static str,
        read: impl Fn(&Dictionary, &str) -> Option<T>,
    ) -> Maybe<T> {
        let found = read(self.values, key);
        if found.is_none() && self.values.contains_key(key) {
            self.facts.gap(fact, format!("{key} holds what cannot be understood"));
        }
        found.map(|value| Fact::new(value, Source::new(self.place, key)))
    }
}

fn flag(values: &Dictionary, key: &str) -> Option<bool> {
    values.boolean(key)
}

fn text(values: &Dictionary, key: &str) -> Option<String> {
    values.string(key).map(|text| text.chars().take(TEXT_CHARS_MAX).collect())
}

fn percent(values: &Dictionary, key: &str) -> Option<u8> {
    u8::try_from(values.uint(key)?).ok().filter(|percent| *percent <= 100)
}

/// Bytes that a phone can have.
fn bytes(values: &Dictionary, key: &str) -> Option<u64> {
    values.uint(key).filter(|bytes| *bytes <= 1 << 50)
}

/// Whole seconds since 2001, as phones note their backups; 0 is never.
pub(super) fn cocoa_date(values: &Dictionary, key: &str) -> Option<Timestamp> {
    let seconds = values.int(key).filter(|seconds| *seconds > 0)?;
    Timestamp::from_second(seconds.checked_add(COCOA_EPOCH_SECONDS)?).ok()
}

/// Who the phone is, from the null domain.
pub(super) fn device(udid: &str, values: &Dictionary) -> Device {
    let product_type = text(values, "ProductType");
    Device {
        udid: udid.to_owned(),
        name: text(values, "DeviceName"),
        model: product_type.as_deref().and_then(super::models::name_of).map(str::to_owned),
        product_type,
        device_class: text(values, "DeviceClass"),
        ios_version: text(values, "ProductVersion"),
        build: text(values, "BuildVersion"),
    }
}

/// Time zone and activation, from the null domain.
pub(super) fn root(values: &Dictionary, facts: &mut Facts) {
    let mut domain = Domain { values, place: "lockdown:", facts };
    let time_zone = domain.need("settings.time_zone", "TimeZone", text);
    let activation_state = domain.need("settings.activation_state", "ActivationState", text);
    facts.settings.time_zone = time_zone;
    facts.settings.activation_state = activation_state;
}

/// Level and charging.
pub(super) fn battery(values: &Dictionary, facts: &mut Facts) {
    let mut domain = Domain { values, place: "lockdown:com.apple.mobile.battery", facts };
    let level_percent = domain.need("battery.level_percent", "BatteryCurrentCapacity", percent);
    let charging = domain.need("battery.charging", "BatteryIsCharging", flag);
    let external_power = domain.need("battery.external_power", "ExternalConnected", flag);
    let fully_charged = domain.need("battery.fully_charged", "FullyCharged", flag);
    let battery = &mut facts.battery;
    battery.level_percent = level_percent;
    battery.charging = charging;
    battery.external_power = external_power;
    battery.fully_charged = fully_charged;
}

/// iCloud Backup and local backups. Phones leave keys out for what never was.
pub(super) fn backup(values: &Dictionary, facts: &mut Facts) {
    const PLACE: &str = "lockdown:com.apple.mobile.backup";
    let mut domain = Domain { values, place: PLACE, facts };
    let enabled = domain.need("icloud_backup.enabled", "CloudBackupEnabled", flag);
    let last_cloud = domain.may("icloud_backup.last_backup", "LastCloudBackupDate", never_or(cocoa_date));
    let last_local = domain.may("local_backup.last_backup", "LastiTunesBackupDate", never_or(cocoa_date));
    let will_encrypt = domain.may("local_backup.will_encrypt", "WillEncrypt", flag);
    let requires = domain.may("local_backup.requires_encryption", "RequiresEncryption", flag);
    facts.icloud_backup.enabled = enabled;
    facts.icloud_backup.last_backup = last_cloud.and_then(|fact| Some(Fact::new(fact.value?, fact.source)));
    let local = &mut facts.local_backup;
    local.last_backup = last_local.and_then(|fact| Some(Fact::new(fact.value?, fact.source)));
    local.requires_encryption = requires;
    // A phone on which no password was ever set leaves the key out.
    let absent = !values.contains_key("WillEncrypt");
    local.will_encrypt =
        will_encrypt.or_else(|| absent.then(|| Fact::new(false, Source::new(PLACE, "WillEncrypt"))));
}

/// Reads a date of which 0 means never: `Some(None)`.
fn never_or(
    read: impl Fn(&Dictionary, &str) -> Option<Timestamp>,
) -> impl Fn(&Dictionary, &str) -> Option<Option<Timestamp>> {
    move |values, key| if values.int(key) == Some(0) { Some(None) } else { read(values, key).map(Some) }
}

/// Storage.
pub(super) fn disk_usage(values: &Dictionary, facts: &mut Facts) {
    let mut domain = Domain { values, place: "lockdown:com.apple.disk_usage", facts };
    let total = domain.may("storage.total_bytes", "TotalDiskCapacity", bytes);
    let total = total.or_else(|| domain.may("storage.total_bytes", "TotalDataCapacity", bytes));
    let free = domain.may("storage.free_bytes", "AmountDataAvailable", bytes);
    let free = free.or_else(|| domain.may("storage.free_bytes", "TotalDataAvailable", bytes));
    for (fact, found) in [("storage.total_bytes", &total), ("storage.free_bytes", &free)] {
        if found.is_none() {
            facts.gap(fact, "the phone states none");
        }
    }
    facts.storage.total_bytes = total;
    facts.storage.free_bytes = free;
}

/// Find My. A missing key is never taken for off.
pub(super) fn find_my(values: &Dictionary, facts: &mut Facts) {
    let mut domain = Domain { values, place: "lockdown:com.apple.fmip", facts };
    facts.settings.find_my = domain.need("settings.find_my", "IsAssociated", flag);
}

/// The setup assistant.
pub(super) fn setup(values: &Dictionary, facts: &mut Facts) {
    let mut domain = Domain { values, place: "lockdown:com.apple.PurpleBuddy", facts };
    facts.settings.setup_done = domain.need("settings.setup_done", "SetupDone", flag);
}

#[cfg(test)]
mod tests {
    use plist::Value;

    use super::*;
    use crate::facts::value;

    fn dictionary(entries: &[(&str, Value)]) -> Dictionary {
        entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    #[test]
    fn a_backup_domain_as_an_iphone_on_ios_27_has_it() {
        let mut facts = Facts::default();
        let values =
            dictionary(&[("CloudBackupEnabled", true.into()), ("LastCloudBackupDate", 812_806_913.into())]);
        backup(&values, &mut facts);
        assert_eq!(value(&facts.icloud_backup.enabled), Some(true));
        assert_eq!(value(&facts.icloud_backup.last_backup).unwrap().to_string(), "2026-10-04T11:41:53Z");
        assert_eq!(
            value(&facts.local_backup.will_encrypt),
            Some(false),
            "absent means that none was ever set"
        );
        assert_eq!((&facts.local_backup.last_backup, facts.gaps.len()), (&None, 0));
    }

    #[test]
    fn a_date_of_zero_is_never_and_nonsense_is_a_gap() {
        for (date, gaps) in [
            (Value::from(0), 0),
            (Value::from(-5), 1),
            (Value::from(u64::MAX), 1),
            (Value::from(i64::MAX), 1),
            (Value::from("yesterday"), 1),
        ] {
            let mut facts = Facts::default();
            let values = [("CloudBackupEnabled", true.into()), ("LastCloudBackupDate", date.clone())];
            backup(&dictionary(&values), &mut facts);
            assert_eq!((facts.icloud_backup.last_backup, facts.gaps.len()), (None, gaps), "{date:?}");
        }
    }

    #[test]
    fn an_unreadable_password_switch_is_unknown_and_not_off() {
        let mut facts = Facts::default();
        backup(&dictionary(&[("CloudBackupEnabled", true.into()), ("WillEncrypt", "x".into())]), &mut facts);
        assert_eq!(facts.local_backup.will_encrypt, None);
        assert!(facts.gap_of("local_backup.will_encrypt").is_some());
    }

    #[test]
    fn a_battery_level_beyond_measure_is_a_gap() {
        for level in [Value::from(101), Value::from(-1), Value::from(u64::MAX), Value::from("50")] {
            let mut facts = Facts::default();
            battery(&dictionary(&[("BatteryCurrentCapacity", level)]), &mut facts);
            assert!(facts.battery.level_percent.is_none() && facts.gap_of("battery.level_percent").is_some());
        }
    }

    #[test]
    fn find_my_is_never_guessed() {
        let mut facts = Facts::default();
        find_my(&Dictionary::new(), &mut facts);
        assert!(facts.settings.find_my.is_none() && facts.gap_of("settings.find_my").is_some());
    }

    /// Every key that is read, with every sort of value: a value that makes sense, or a gap; never a panic.
    #[test]
    fn every_key_with_every_sort_of_value_is_survived() {
        type Read = fn(&Dictionary, &mut Facts);
        let domains: [(Read, &[&str]); 6] = [
            (root, &["TimeZone", "ActivationState"]),
            (battery, &["BatteryCurrentCapacity", "BatteryIsCharging", "ExternalConnected", "FullyCharged"]),
            (
                backup,
                &[
                    "CloudBackupEnabled",
                    "LastCloudBackupDate",
                    "LastiTunesBackupDate",
                    "WillEncrypt",
                    "RequiresEncryption",
                ],
            ),
            (
                disk_usage,
                &["TotalDiskCapacity", "TotalDataCapacity", "AmountDataAvailable", "TotalDataAvailable"],
            ),
            (find_my, &["IsAssociated"]),
            (setup, &["SetupDone"]),
        ];
        let date = |text| Value::Date(plist::Date::from_xml_format(text).unwrap());
        let values = [
            Value::Array(Vec::new()),
            Value::Dictionary(Dictionary::new()),
            Value::Data(vec![0xFF; 3]),
            date("0001-01-01T00:00:00Z"),
            date("9999-12-31T23:59:59Z"),
            Value::Real(f64::INFINITY),
            Value::from(i64::MIN),
            Value::from(1_u64 << 63),
            Value::from(u64::MAX),
        ];
        for (read, keys) in domains {
            for value in &values {
                let all: Vec<(&str, Value)> = keys.iter().map(|key| (*key, value.clone())).collect();
                let mut facts = Facts::default();
                read(&dictionary(&all), &mut facts);
                assert!(!facts.gaps.is_empty(), "{keys:?} = {value:?} is taken for something");
                let known = Facts { gaps: Vec::new(), ..facts };
                assert_eq!(known, Facts::default(), "{keys:?} = {value:?}");
            }
        }
        for value in values {
            let device = device("u", &dictionary(&[("DeviceName", value.clone()), ("ProductType", value)]));
            assert_eq!((device.name, device.model), (None, None));
        }
    }

    #[test]
    fn a_phone_is_named_by_its_model() {
        let device = device("u", &dictionary(&[("ProductType", "iPhone13,2".into())]));
        assert_eq!(device.model.as_deref(), Some("iPhone 12"));
    }
}
