//! What the keys of the lockdown domains mean, in plain words: for `info DOMAIN`. The keys as libimobiledevice's
//! `ideviceinfo` and pymobiledevice3 show them; what no source explains is only spelt out.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use plist::{Dictionary, Value};

use crate::facts::text::plain;
use crate::visit::words;

/// Seconds from 1970 to 2001, where Apple's own time begins.
const APPLE_EPOCH: i64 = 978_307_200;
/// Longer values are told by their length; `--raw` shows them.
const SHOWN_ITEMS_MAX: usize = 8;

/// The domains that `info` knows, each with what it is about. The first is the one without a name. One that ideviceinfo
/// lists is missing on purpose: asked for `com.apple.mobile.debug`, phones end the session.
pub const DOMAINS: &[(&str, &str)] = &[
    ("", "The device itself"),
    ("com.apple.mobile.battery", "Battery"),
    ("com.apple.disk_usage", "Storage"),
    ("com.apple.disk_usage.factory", "Storage as it left the factory"),
    ("com.apple.mobile.backup", "Backups"),
    ("com.apple.fmip", "Find My"),
    ("com.apple.PurpleBuddy", "The setup assistant"),
    ("com.apple.international", "Language and region"),
    ("com.apple.mobile.wireless_lockdown", "Connections over Wi-Fi"),
    ("com.apple.mobile.iTunes", "What computers are told for syncing"),
    ("com.apple.iTunes", "iTunes"),
    ("com.apple.mobile.restriction", "Restrictions"),
    ("com.apple.mobile.software_behavior", "Behaviour by country"),
    ("com.apple.mobile.data_sync", "Accounts that sync contacts and calendars"),
    ("com.apple.mobile.sync_data_class", "What is synced with a computer"),
    ("com.apple.mobile.tethered_sync", "Syncing by cable"),
    ("com.apple.mobile.internal", "Apple's own builds"),
    ("com.apple.mobile.user_preferences", "Preferences"),
    ("com.apple.mobile.chaperone", "Supervision"),
    ("com.apple.mobile.nikita", "Activation"),
    ("com.apple.mobile.third_party_termination", "Termination by third parties"),
    ("com.apple.mobile.lockdown_cache", "Lockdown's own cache"),
    ("com.apple.mobile.iTunes.store", "The store"),
    ("com.apple.mobile.iTunes.SQLMusicLibraryPostProcessCommands", "The music library"),
    ("com.apple.fairplay", "Copy protection"),
    ("com.apple.xcode.developerdomain", "Development"),
    ("com.apple.security.mac.amfi", "Developer Mode"),
];

/// Keys in plain words. A key has the same meaning in every domain that has it.
const KEYS: &[(&str, &str)] = &[
    ("ActivationState", "Activation"),
    ("ActivationStateAcknowledged", "Apple knows of the activation"),
    ("BasebandStatus", "Modem"),
    ("BasebandVersion", "Modem's firmware"),
    ("BoardId", "Board (a number of Apple's)"),
    ("BrickState", "Shut until it is activated"),
    ("ChipID", "Chip (a number of Apple's)"),
    ("DevicePublicKey", "Its public key"),
    ("DieID", "Number of the chip itself"),
    ("FamilyID", "Family (a number of Apple's)"),
    ("HasSiDP", "Can be personalised by Apple"),
    ("MinITunesVersion", "Oldest iTunes that it works with"),
    ("MinMacOSVersion", "Oldest macOS that it works with"),
    ("MLBSerialNumber", "Serial number of the board"),
    ("PairRecordProtectionClass", "Protection of the pairing"),
    ("PartitionType", "Partitions"),
    ("ProductionSOC", "Sold to people, not for tests"),
    ("ProtocolVersion", "Version of this protocol"),
    ("SupportedDeviceFamilies", "Runs apps for (numbers of Apple's)"),
    ("UseRaptorCerts", "Newer kind of activation"),
    ("kCTPostponementStatus", "Phone service is activated"),
    ("BluetoothAddress", "Bluetooth address"),
    ("BuildVersion", "Build of iOS"),
    ("CPUArchitecture", "Processor"),
    ("DeviceClass", "Kind of device"),
    ("DeviceColor", "Colour (a number of Apple's)"),
    ("DeviceName", "Name"),
    ("EthernetAddress", "Ethernet address"),
    ("FirmwareVersion", "Firmware"),
    ("HardwareModel", "Board"),
    ("HardwarePlatform", "Chip"),
    ("HumanReadableProductVersionString", "iOS, as Settings shows it"),
    ("HostAttached", "A computer is attached"),
    ("InternationalMobileEquipmentIdentity", "IMEI"),
    ("InternationalMobileEquipmentIdentity2", "IMEI of the second SIM"),
    ("IsPaired", "Paired with this computer"),
    ("MobileEquipmentIdentifier", "MEID"),
    ("ModelNumber", "Model number"),
    ("PasswordProtected", "A passcode is needed now"),
    ("PhoneNumber", "Phone number"),
    ("ProductName", "System"),
    ("ProductType", "Apple's name for the model"),
    ("ProductVersion", "iOS"),
    ("RegionInfo", "Sold in"),
    ("SerialNumber", "Serial number"),
    ("SIMStatus", "SIM card"),
    ("TelephonyCapability", "Can make calls"),
    ("TimeIntervalSince1970", "Its clock"),
    ("TimeZone", "Time zone"),
    ("TimeZoneOffsetFromUTC", "Time zone, seconds from UTC"),
    ("TrustedHostAttached", "A trusted computer is attached"),
    ("UniqueChipID", "Chip id (ECID)"),
    ("UniqueDeviceID", "Device id (UDID)"),
    ("Uses24HourClock", "24-hour clock"),
    ("WiFiAddress", "Wi-Fi address"),
    ("BatteryCurrentCapacity", "Charge"),
    ("BatteryIsCharging", "Charging"),
    ("ExternalChargeCapable", "The cable can charge it"),
    ("ExternalConnected", "Power on the cable"),
    ("FullyCharged", "Full"),
    ("GasGaugeCapability", "Measures its charge"),
    ("HasBattery", "Has a battery"),
    ("AmountDataAvailable", "Free for data"),
    ("AmountDataReserved", "Reserved"),
    ("AmountRestoreAvailable", "Free for a restore"),
    ("TotalDataAvailable", "Free and reserved"),
    ("TotalDataCapacity", "For data in all"),
    ("TotalDiskCapacity", "In all"),
    ("TotalSystemAvailable", "Free for the system"),
    ("TotalSystemCapacity", "For the system in all"),
    ("CalendarUsage", "Calendars"),
    ("CameraUsage", "Camera"),
    ("MediaCacheUsage", "Cached media"),
    ("MobileApplicationUsage", "Apps"),
    ("NotesUsage", "Notes"),
    ("PhotoUsage", "Photos"),
    ("VoicemailUsage", "Voicemail"),
    ("WebAppCacheUsage", "Cached web pages"),
    ("CloudBackupEnabled", "iCloud Backup is on"),
    ("LastCloudBackupDate", "Last iCloud Backup"),
    ("LastCloudBackupTZ", "Time zone of that"),
    ("LastiTunesBackupDate", "Last backup to a computer"),
    ("LastiTunesBackupTZ", "Time zone of that"),
    ("RequiresEncryption", "Backups must be encrypted"),
    ("WillEncrypt", "A backup password is set"),
    ("IsAssociated", "Find My is on"),
    ("SetupDone", "Set up"),
    ("SetupState", "How it was set up"),
    ("SetupFinishedAllSteps", "Every step of it was done"),
    ("Language", "Language"),
    ("Locale", "Region"),
    ("Keyboard", "Keyboard"),
    ("SupportedLanguages", "Languages that it has"),
    ("SupportedLocales", "Regions that it has"),
    ("SupportedKeyboards", "Keyboards that it has"),
    ("EnableWifiConnections", "Computers may connect over Wi-Fi"),
    ("EnableWifiDebugging", "Developers may connect over Wi-Fi"),
    ("DeveloperModeStatus", "Developer Mode is on"),
    ("ProhibitAppInstall", "Installing apps is forbidden"),
    ("ProhibitAppDelete", "Deleting apps is forbidden"),
    ("DeviceIsChaperoned", "Supervised"),
    ("iTunesSetupComplete", "Set up for iTunes"),
];

/// What a domain is about; one that is not known has only its name. Older systems write some of them in small letters.
#[must_use]
pub fn about(domain: &str) -> Option<&'static str> {
    DOMAINS.iter().find(|(name, _)| name.eq_ignore_ascii_case(domain)).map(|(_, about)| *about)
}

/// What a key means; one that is not known is spelt out: `SupportedWidgetFamilies` becomes `Supported widget families`.
#[must_use]
pub fn key_in_words(key: &str) -> String {
    match KEYS.iter().find(|(name, _)| *name == key) {
        Some((_, words)) => (*words).to_owned(),
        None => spelt_out(&plain(key)),
    }
}

fn spelt_out(key: &str) -> String {
    let chars: Vec<char> = key.chars().collect();
    let mut out = String::with_capacity(key.len() + 8);
    for (at, &c) in chars.iter().enumerate() {
        let after_small = at > 0 && chars[at - 1].is_ascii_lowercase();
        let before_small = chars.get(at + 1).is_some_and(char::is_ascii_lowercase);
        let word_begins = c.is_ascii_uppercase() && at > 0 && (after_small || before_small);
        if word_begins && !out.ends_with(' ') {
            out.push(' ');
        }
        let lower = word_begins && (before_small || chars.get(at + 1).is_none());
        out.push(match c {
            '_' | '-' => ' ',
            c if lower => c.to_ascii_lowercase(),
            c => c,
        });
    }
    out
}

/// A value in plain words, by what its key is about. Text from the phone is defused.
#[must_use]
pub fn value_in_words(domain: &str, key: &str, value: &Value, zone: &TimeZone) -> String {
    let whole = |value: &Value| value.as_unsigned_integer().or_else(|| value.as_real().and_then(seconds));
    match (key, value) {
        ("RequiresEncryption", Value::Integer(number)) => yes_no(number.as_signed() != Some(0)),
        ("BatteryCurrentCapacity", Value::Integer(number)) => format!("{number} %"),
        ("LastCloudBackupDate" | "LastiTunesBackupDate", number) if whole(number).is_some() => {
            moment(whole(number).unwrap_or_default(), APPLE_EPOCH, zone)
        }
        ("TimeIntervalSince1970", number) if whole(number).is_some() => {
            moment(whole(number).unwrap_or_default(), 0, zone)
        }
        ("SIMStatus", Value::String(text)) => sim_status(text),
        ("kCTPostponementStatus", Value::String(text)) if text == "kCTPostponementStatusActivated" => {
            yes_no(true)
        }
        (_, Value::Boolean(value)) => yes_no(*value),
        (_, Value::Integer(number)) => match number.as_unsigned() {
            Some(bytes) if domain.starts_with("com.apple.disk_usage") => words::bytes(bytes),
            _ => number.to_string(),
        },
        (_, Value::Real(number)) => number.to_string(),
        (_, Value::String(text)) if text.is_empty() => "(empty)".to_owned(),
        (_, Value::String(text)) => plain(text),
        (_, Value::Date(date)) => date
            .to_xml_format()
            .parse::<Timestamp>()
            .map_or_else(|_| plain(&date.to_xml_format()), |at| words::moment(at, zone)),
        (_, Value::Data(bytes)) => words::counted(bytes.len() as u64, "byte of data", "bytes of data"),
        (_, Value::Array(items)) => list(domain, key, items, zone),
        (_, Value::Dictionary(entries)) => entries_in_words(domain, entries, zone),
        _ => "(unknown)".to_owned(),
    }
}

/// As the phone's telephony names it; what no source explains stands as it is.
fn sim_status(text: &str) -> String {
    let words = match text {
        "kCTSIMSupportSIMStatusReady" => "ready",
        "kCTSIMSupportSIMStatusNotInserted" => "none is in it",
        "kCTSIMSupportSIMStatusPINLocked" => "waits for its PIN",
        "kCTSIMSupportSIMStatusPUKLocked" => "waits for its PUK",
        "kCTSIMSupportSIMStatusPermanentlyLocked" => "locked for good",
        "kCTSIMSupportSIMStatusNetworkLocked" => "the phone is bound to another network",
        other => return plain(other),
    };
    words.to_owned()
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
fn seconds(real: f64) -> Option<u64> {
    (real.is_finite() && (0.0..1e12).contains(&real)).then_some(real as u64)
}

fn moment(seconds: u64, epoch: i64, zone: &TimeZone) -> String {
    let at = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| seconds.checked_add(epoch))
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.map_or_else(|| seconds.to_string(), |at| words::moment(at, zone))
}

fn list(domain: &str, key: &str, items: &[Value], zone: &TimeZone) -> String {
    let shown: Vec<String> =
        items.iter().take(SHOWN_ITEMS_MAX).map(|item| value_in_words(domain, key, item, zone)).collect();
    match items.len() {
        0 => "none".to_owned(),
        n if n > SHOWN_ITEMS_MAX => {
            format!("{}, and {} more", shown.join(", "), words::count((n - SHOWN_ITEMS_MAX) as u64))
        }
        _ => shown.join(", "),
    }
}

fn entries_in_words(domain: &str, entries: &Dictionary, zone: &TimeZone) -> String {
    let mut shown: Vec<String> = entries
        .iter()
        .take(SHOWN_ITEMS_MAX)
        .map(|(key, value)| format!("{}: {}", key_in_words(key), value_in_words(domain, key, value, zone)))
        .collect();
    if entries.len() > SHOWN_ITEMS_MAX {
        shown.push(format!("and {} more", words::count((entries.len() - SHOWN_ITEMS_MAX) as u64)));
    }
    if shown.is_empty() { "none".to_owned() } else { shown.join("; ") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(domain: &str, key: &str, value: impl Into<Value>) -> String {
        value_in_words(domain, key, &value.into(), &TimeZone::UTC)
    }

    #[test]
    fn values_read_as_what_they_are() {
        assert_eq!(of("com.apple.disk_usage", "TotalDiskCapacity", 127_989_493_760_u64), "128 GB");
        assert_eq!(of("com.apple.mobile.battery", "BatteryCurrentCapacity", 53), "53 %");
        assert_eq!(
            of("com.apple.mobile.backup", "LastCloudBackupDate", 812_806_913_u64),
            "4 Oct 2026, 11:41"
        );
        assert_eq!(of("com.apple.mobile.backup", "RequiresEncryption", 0), "no");
        assert_eq!(of("", "DeviceName", "a\u{1b}[2Jb"), "a\u{FFFD}[2Jb");
        assert_eq!(of("", "SIMStatus", "kCTSIMSupportSIMStatusReady"), "ready");
        assert_eq!(of("", "SIMStatus", "Evil\u{1b}"), "Evil\u{FFFD}");
        assert_eq!(of("", "X", Value::Data(vec![1, 2])), "2 bytes of data");
        assert_eq!(of("", "X", Value::Array(vec![])), "none");
        assert!(of("", "X", Value::Array(vec![1.into(); 20])).ends_with("and 12 more"));
    }

    #[test]
    fn absurd_numbers_are_shown_as_they_are() {
        assert_eq!(of("", "LastCloudBackupDate", u64::MAX), u64::MAX.to_string());
        assert_eq!(of("", "TimeIntervalSince1970", f64::NAN), "NaN");
        assert_eq!(of("com.apple.disk_usage", "X", -5), "-5");
    }

    #[test]
    fn unknown_keys_are_spelt_out() {
        assert_eq!(key_in_words("SupportedWidgetFamilies"), "Supported widget families");
        assert_eq!(key_in_words("MLBOtherNumber"), "MLB other number");
        assert_eq!(key_in_words("kCTNewStatus"), "k CT new status");
        assert_eq!(key_in_words(""), "");
    }

    #[test]
    fn each_key_and_domain_stands_once() {
        assert_eq!(KEYS.iter().map(|(key, _)| key).collect::<BTreeSet<_>>().len(), KEYS.len());
        assert_eq!(DOMAINS.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len(), DOMAINS.len());
    }
}
