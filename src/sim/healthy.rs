//! What a healthy iPhone 12 on iOS 18.4.1 says, where a folder is silent.
//!
//! Names and types of the keys are those of published lockdown dumps (idb #795, libimobiledevice #1068, #1095, #1199,
//! tidevice's README); the values are invented.

use std::collections::BTreeMap;

use plist::{Dictionary, Value};

/// Seconds from 1970 to 2001, where Apple's dates begin.
const APPLE_EPOCH: i64 = 978_307_200;

/// Builds a dictionary from pairs.
macro_rules! dictionary {
    ($($key:literal: $value:expr),* $(,)?) => {{
        let mut dictionary = Dictionary::new();
        $(dictionary.insert($key.to_owned(), Value::from($value));)*
        dictionary
    }};
}
pub(super) use dictionary;

/// The lockdown domains; the null domain is `""`. `seed` makes serial numbers and addresses the phone's own.
pub(super) fn domains(udid: &str, seed: [u8; 8]) -> BTreeMap<String, Dictionary> {
    let mut domains = BTreeMap::new();
    let mut add = |name: &str, values: Dictionary| domains.insert(name.to_owned(), values);
    add("", null_domain(udid, seed));
    add("com.apple.mobile.backup", backup());
    add("com.apple.mobile.battery", battery());
    add("com.apple.disk_usage", disk_usage());
    add("com.apple.fmip", dictionary! {"IsAssociated": false});
    add("com.apple.mobile.iTunes", itunes());
    add("com.apple.iTunes", Dictionary::new());
    add("com.apple.PurpleBuddy", dictionary! {"SetupDone": true, "SetupState": "SetupUsingAssistant"});
    add("com.apple.international", international());
    add("com.apple.mobile.wireless_lockdown", dictionary! {"EnableWifiConnections": false});
    add("com.apple.security.mac.amfi", dictionary! {"DeveloperModeStatus": false});
    add("com.apple.xcode.developerdomain", dictionary! {"DeveloperStatus": ""});
    add("com.apple.mobile.software_behavior", dictionary! {"Valid": true});
    add("com.apple.mobile.restriction", dictionary! {"ProhibitAppInstall": false});
    domains
}

fn hex_upper(bytes: &[u8]) -> String {
    hex::encode_upper(bytes)
}

fn null_domain(udid: &str, seed: [u8; 8]) -> Dictionary {
    let [a, b, c, d, e, ..] = seed;
    let mac = |last: u8| format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{:02x}", e.wrapping_add(last));
    let mut values = hardware(udid, seed);
    let more = dictionary! {
        "ActivationState": "Activated", "ActivationStateAcknowledged": true, "BrickState": false,
        "BluetoothAddress": mac(1), "EthernetAddress": mac(2), "WiFiAddress": mac(0),
        "DeviceName": "iPhone", "HostAttached": true, "IsPaired": true, "TrustedHostAttached": true,
        "PairRecordProtectionClass": 4, "PasswordProtected": false, "ProtocolVersion": "2",
        "InternationalMobileEquipmentIdentity": format!("35{:013}", u64::from_be_bytes(seed) % 10_000_000_000_000),
        "SIMStatus": "kCTSIMSupportSIMStatusReady", "TelephonyCapability": true,
        "kCTPostponementStatus": "kCTPostponementStatusActivated",
        "TimeZone": "Europe/Berlin", "TimeZoneOffsetFromUTC": 3600, "Uses24HourClock": true,
        "BasebandStatus": "BBInfoAvailable", "BasebandVersion": "5.51.03",
        "SupportedDeviceFamilies": Value::Array(vec![Value::from(1)]),
    };
    values.extend(more);
    values
}

fn hardware(udid: &str, seed: [u8; 8]) -> Dictionary {
    // The second half of a new UDID is the chip's own number.
    let ecid = udid.split_once('-').and_then(|(_, ecid)| u64::from_str_radix(ecid, 16).ok());
    dictionary! {
        "BoardId": 12, "BuildVersion": "22E252", "CPUArchitecture": "arm64e", "ChipID": 33025,
        "DeviceClass": "iPhone", "DeviceColor": "1", "DieID": u64::from_be_bytes(seed) >> 1,
        "FirmwareVersion": "iBoot-11881.100.993", "HardwareModel": "D53gAP", "HardwarePlatform": "t8101",
        "HasSiDP": true, "HumanReadableProductVersionString": "18.4.1", "ModelNumber": "MGH93",
        "PartitionType": "GUID_partition_scheme", "ProductName": "iPhone OS", "ProductType": "iPhone13,2",
        "ProductVersion": "18.4.1", "ProductionSOC": true, "RegionInfo": "LL/A",
        "SerialNumber": format!("F{}", &hex_upper(&seed)[..11]),
        "UniqueChipID": ecid.unwrap_or(1), "UniqueDeviceID": udid,
    }
}

fn backup() -> Dictionary {
    // Yesterday, so that a healthy phone stays healthy whenever it is run.
    let yesterday = jiff::Timestamp::now().as_second() - APPLE_EPOCH - 20 * 3600;
    dictionary! {
        "CloudBackupEnabled": true, "LastCloudBackupDate": yesterday, "LastCloudBackupTZ": "GMT+1",
        "RequiresEncryption": 0, "Version": "2.0",
    }
}

fn battery() -> Dictionary {
    dictionary! {
        "BatteryCurrentCapacity": 80, "BatteryIsCharging": true, "ExternalChargeCapable": true,
        "ExternalConnected": true, "FullyCharged": false, "GasGaugeCapability": true, "HasBattery": true,
    }
}

fn disk_usage() -> Dictionary {
    dictionary! {
        "AmountDataAvailable": 64_000_000_000_u64, "AmountDataReserved": 209_715_200_u64,
        "AmountRestoreAvailable": 64_000_000_000_u64, "TotalDataAvailable": 64_209_715_200_u64,
        "TotalDataCapacity": 117_989_493_760_u64, "TotalDiskCapacity": 127_989_493_760_u64,
        "TotalSystemCapacity": 10_000_000_000_u64,
    }
}

fn itunes() -> Dictionary {
    dictionary! {
        "FamilyID": 10_085, "MinITunesVersion": "12.10.10", "MinMacOSVersion": "10.5.8", "iTunesSetupComplete": true,
    }
}

fn international() -> Dictionary {
    dictionary! {"Language": "en", "Locale": "en_US", "Keyboard": "en_US"}
}

/// What `diagnostics_relay` finds in the IORegistry.
pub(super) fn ioregistry() -> Dictionary {
    let battery = dictionary! {
        "AppleRawCurrentCapacity": 2150, "AppleRawMaxCapacity": 2690, "AtCriticalLevel": false,
        "AtWarnLevel": false, "BatteryInstalled": true, "CurrentCapacity": 80, "CycleCount": 312,
        "DesignCapacity": 2815, "ExternalConnected": true, "FullyCharged": false, "InstantAmperage": 412,
        "IsCharging": true, "MaxCapacity": 100, "NominalChargeCapacity": 2720, "Serial": "F8Y0000000000000",
        "Temperature": 2950, "TimeRemaining": 65535, "Voltage": 4150,
        "AdapterDetails": Value::Dictionary(dictionary! {
            "Current": 500, "Description": "usb host", "Name": "USB Host", "Voltage": 5000, "Watts": 2,
        }),
    };
    dictionary! {"AppleSmartBattery": Value::Dictionary(battery)}
}

/// What MCInstall answers on a phone that nobody manages.
pub(super) fn profiles() -> Dictionary {
    dictionary! {
        "GetProfileList": Value::Dictionary(dictionary! {
            "OrderedIdentifiers": Value::Array(Vec::new()),
            "ProfileManifest": Value::Dictionary(Dictionary::new()),
            "ProfileMetadata": Value::Dictionary(Dictionary::new()),
        }),
        "GetCloudConfiguration": Value::Dictionary(dictionary! {
            "CloudConfiguration": Value::Dictionary(dictionary! {"IsSupervised": false}),
        }),
    }
}

/// What is installed.
pub(super) fn apps() -> Vec<Dictionary> {
    let app = |id: &str, name: &str, kind: &str, version: &str| {
        dictionary! {
            "ApplicationType": kind, "CFBundleDisplayName": name, "CFBundleExecutable": name,
            "CFBundleIdentifier": id, "CFBundleName": name, "CFBundleShortVersionString": version,
            "CFBundleVersion": version, "Path": format!("/private/var/containers/Bundle/Application/{name}.app"),
        }
    };
    vec![
        app("com.apple.mobileslideshow", "Photos", "System", "18.4"),
        app("com.apple.Preferences", "Settings", "System", "18.4"),
        app("org.example.notes", "Notes", "User", "3.1"),
        app("org.example.weather", "Weather", "User", "7.0.2"),
    ]
}
