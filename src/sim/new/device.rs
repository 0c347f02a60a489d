//! What is not a file of the phone: what lockdown and the small services answer, its log, and `device.toml`.
//!
//! Keys and shapes as ideviceinfo, pymobiledevice3 and go-ios read them from real phones.

use jiff::Timestamp;
use plist::{Dictionary, Value};

use super::folder::Folder;
use super::phone::{Phone, ZONE, ZONE_OFFSET_S, cocoa_seconds, local};
use super::random::Random;
use super::{Error, Scenario};

/// The phone's storage for data, and what of it is free.
const DATA_BYTES: u64 = 113_000_000_000;
const FREE_BYTES: u64 = 30_701_121_536;

/// Writes them all.
pub(super) fn write(phone: &Phone, scenario: &Scenario, folder: &mut Folder) -> Result<(), Error> {
    let now = phone.now;
    folder.file("device.toml", now, toml(phone, scenario).as_bytes())?;
    folder.xml_plist("lockdown.plist", now, &lockdown(phone))?;
    folder.xml_plist("ioregistry.plist", now, &registry(phone))?;
    folder.xml_plist("profiles.plist", now, &profiles(phone))?;
    folder.xml_plist("apps.plist", now, &apps())?;
    folder.file("syslog.txt", now, syslog(phone).as_bytes())?;
    crashes(phone, folder)
}

fn toml(phone: &Phone, scenario: &Scenario) -> String {
    let mut out = format!(
        "# A simulated phone, made by `sim new --scenario {} --ios {} --seed {}`: {}.\ntemper = \"{}\"\n",
        scenario.name,
        phone.ios.version,
        phone.seed,
        scenario.about,
        phone.temper.as_str(),
    );
    let mut lines = phone.toml.clone();
    lines.sort_by_key(|(section, _)| *section);
    let mut open = "";
    for (section, line) in &lines {
        if *section != open {
            out.push_str(&format!("\n[{section}]\n"));
            open = section;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

fn dict<const N: usize>(pairs: [(&str, Value); N]) -> Dictionary {
    Dictionary::from_iter(pairs)
}

/// All domains, with what the scenario changes.
fn lockdown(phone: &Phone) -> Value {
    let mut domains = Dictionary::new();
    let mut put = |name: &str, values: Dictionary| domains.insert(name.to_owned(), Value::Dictionary(values));
    put("", identity(phone));
    put("com.apple.disk_usage", disk());
    put("com.apple.disk_usage.factory", disk());
    put("com.apple.mobile.battery", battery_domain());
    put("com.apple.mobile.backup", backup_domain(phone));
    put("com.apple.fmip", dict([("IsAssociated", true.into())]));
    put("com.apple.purplebuddy", setup());
    put("com.apple.PurpleBuddy", setup());
    put("com.apple.international", international());
    put(
        "com.apple.mobile.iTunes",
        dict([
            ("MinITunesVersion", "12.10.10".into()),
            ("MinMacOSVersion", "10.5.8".into()),
            ("iTunesSetupComplete", true.into()),
            ("FamilyID", Value::from(10_083)),
        ]),
    );
    put("com.apple.mobile.wireless_lockdown", dict([("EnableWifiConnections", false.into())]));
    put("com.apple.mobile.software_behavior", dict([("Valid", true.into())]));
    put("com.apple.mobile.data_sync", Dictionary::new());
    for (domain, key, value) in &phone.lockdown {
        let Some(values) = domains.get_mut(domain).and_then(Value::as_dictionary_mut) else { continue };
        match value {
            Some(value) => values.insert((*key).to_owned(), value.clone()),
            None => values.remove(key),
        };
    }
    Value::Dictionary(domains)
}

/// The null domain.
fn identity(phone: &Phone) -> Dictionary {
    let hardware = phone.ios.hardware;
    let mut random = Random::new(phone.seed, "serials");
    let mut address = |last: &str| {
        let digits = random.digits(8);
        Value::from(format!(
            "02:{}:{}:{}:{}:{last}",
            &digits[..2],
            &digits[2..4],
            &digits[4..6],
            &digits[6..]
        ))
    };
    let (wifi, bluetooth, ethernet) = (address("01"), address("02"), address("03"));
    let mut values = dict([
        ("ActivationState", "Activated".into()),
        ("ActivationStateAcknowledged", true.into()),
        ("BasebandStatus", "BBInfoAvailable".into()),
        ("BasebandVersion", "5.51.03".into()),
        ("BluetoothAddress", bluetooth),
        ("BoardId", Value::from(12)),
        ("BrickState", false.into()),
        ("BuildVersion", phone.ios.build.into()),
        ("CPUArchitecture", "arm64e".into()),
        ("ChipID", Value::from(hardware.chip_id)),
        ("DeviceClass", "iPhone".into()),
        ("DeviceColor", "1".into()),
        ("DeviceName", phone.name.as_str().into()),
        ("EthernetAddress", ethernet),
        ("HardwareModel", hardware.board.into()),
        ("HardwarePlatform", hardware.platform.into()),
        ("HasSiDP", true.into()),
        ("HostAttached", true.into()),
        ("HumanReadableProductVersionString", phone.ios.version.as_str().into()),
        ("InternationalMobileEquipmentIdentity", random.digits(15).into()),
        ("MLBSerialNumber", random.digits(17).into()),
        ("MobileEquipmentIdentifier", random.digits(14).into()),
        ("ModelNumber", hardware.model_number.into()),
        ("PairRecordProtectionClass", Value::from(4)),
        ("PartitionType", "GUID_partition_scheme".into()),
        ("PasswordProtected", false.into()),
        ("ProductName", "iPhone OS".into()),
        ("ProductType", hardware.product_type.into()),
        ("ProductVersion", phone.ios.version.as_str().into()),
        ("ProductionSOC", true.into()),
        ("ProtocolVersion", "2".into()),
        ("RegionInfo", "LL/A".into()),
    ]);
    values.extend(dict([
        ("SIMStatus", "kCTSIMSupportSIMStatusReady".into()),
        ("SerialNumber", format!("F{}X", random.digits(10)).into()),
        ("SupportedDeviceFamilies", Value::Array(vec![Value::from(1)])),
        ("TelephonyCapability", true.into()),
        ("TimeZone", ZONE.into()),
        ("TimeZoneOffsetFromUTC", Value::from(ZONE_OFFSET_S)),
        ("TrustedHostAttached", true.into()),
        ("UniqueChipID", Value::from(phone.chip_unique)),
        ("UniqueDeviceID", phone.udid.as_str().into()),
        ("UseRaptorCerts", true.into()),
        ("Uses24HourClock", false.into()),
        ("WiFiAddress", wifi),
        ("kCTPostponementStatus", "kCTPostponementStatusActivated".into()),
    ]));
    values
}

fn disk() -> Dictionary {
    dict([
        ("AmountDataAvailable", Value::from(FREE_BYTES)),
        ("AmountDataReserved", Value::from(209_715_200_u64)),
        ("AmountRestoreAvailable", Value::from(FREE_BYTES + 8_000_000_000)),
        ("TotalDataAvailable", Value::from(FREE_BYTES + 209_715_200)),
        ("TotalDataCapacity", Value::from(DATA_BYTES)),
        ("TotalDiskCapacity", Value::from(127_989_493_760_u64)),
        ("TotalSystemCapacity", Value::from(127_989_493_760 - DATA_BYTES)),
    ])
}

fn battery_domain() -> Dictionary {
    dict([
        ("BatteryCurrentCapacity", Value::from(76)),
        ("BatteryIsCharging", true.into()),
        ("ExternalChargeCapable", true.into()),
        ("ExternalConnected", true.into()),
        ("FullyCharged", false.into()),
        ("GasGaugeCapability", true.into()),
        ("HasBattery", true.into()),
    ])
}

/// `WillEncrypt` is not there: no backup password was ever set.
fn backup_domain(phone: &Phone) -> Dictionary {
    dict([
        ("CloudBackupEnabled", true.into()),
        ("LastCloudBackupDate", Value::from(cocoa_seconds(phone.ago(19 * 3600)))),
        ("LastCloudBackupTZ", "GMT-7".into()),
        ("LastiTunesBackupDate", Value::from(cocoa_seconds(phone.days_ago(6)))),
        ("LastiTunesBackupTZ", "GMT-7".into()),
        ("RequiresEncryption", Value::from(0)),
        ("Version", "2.0".into()),
    ])
}

fn setup() -> Dictionary {
    dict([
        ("SetupDone", true.into()),
        ("SetupFinishedAllSteps", true.into()),
        ("SetupState", "SetupUsingAssistant".into()),
    ])
}

fn international() -> Dictionary {
    dict([
        ("Language", "en-US".into()),
        ("Locale", "en_US".into()),
        ("Keyboard", "en_US@sw=QWERTY;hw=Automatic".into()),
    ])
}

/// The battery, under its name and under its class, and the wireless interface.
fn registry(phone: &Phone) -> Value {
    let design = u64::from(phone.ios.hardware.battery_mah);
    let full = design * 91 / 100;
    let adapter = dict([
        ("Watts", Value::from(12)),
        ("Voltage", Value::from(5000)),
        ("Current", Value::from(2400)),
        ("Description", "usb host".into()),
    ]);
    let mut battery = dict([
        ("AdapterDetails", Value::Dictionary(adapter)),
        ("AppleRawCurrentCapacity", Value::from(full * 76 / 100)),
        ("AppleRawMaxCapacity", Value::from(full - 9)),
        ("Amperage", Value::from(610)),
        ("AtCriticalLevel", false.into()),
        ("AtWarnLevel", false.into()),
        ("CurrentCapacity", Value::from(76)),
        ("CycleCount", Value::from(412)),
        ("DesignCapacity", Value::from(design)),
        ("ExternalConnected", true.into()),
        ("FullyCharged", false.into()),
        ("InstantAmperage", Value::from(602)),
        ("IsCharging", true.into()),
        ("MaxCapacity", Value::from(100)),
        ("NominalChargeCapacity", Value::from(full)),
        ("Temperature", Value::from(2950)),
        ("Voltage", Value::from(4012)),
        ("BatteryInstalled", true.into()),
        ("TimeRemaining", Value::from(65_535)),
    ]);
    for (key, value) in &phone.battery {
        battery.insert((*key).to_owned(), value.clone());
    }
    let inner = ["DesignCapacity", "CycleCount"].map(|key| (key, battery[key].clone()));
    battery.insert("BatteryData".into(), Value::Dictionary(dict(inner)));
    let battery = Value::Dictionary(battery);
    let wireless =
        dict([("IOClass", "AppleBCMWLANSkywalkInterface".into()), ("IO80211CountryCode", "US".into())]);
    Value::Dictionary(dict([
        ("AppleSmartBattery", battery.clone()),
        ("IOPMPowerSource", battery),
        ("AppleBCMWLANSkywalkInterface", Value::Dictionary(wireless)),
    ]))
}

fn profiles(phone: &Phone) -> Value {
    let id = "com.example-logistics.mdm.base";
    let profile = dict([
        ("PayloadDescription", "Settings for company phones".into()),
        ("PayloadDisplayName", "Example Logistics".into()),
        ("PayloadOrganization", "Example Logistics Ltd".into()),
        ("PayloadRemovalDisallowed", true.into()),
        ("PayloadUUID", Random::new(phone.seed, "profile").uuid().into()),
        ("PayloadVersion", Value::from(1)),
    ]);
    let (order, metadata) = if phone.managed {
        (vec![Value::from(id)], dict([(id, Value::Dictionary(profile))]))
    } else {
        (Vec::new(), Dictionary::new())
    };
    let list = dict([
        ("OrderedIdentifiers", Value::Array(order)),
        ("ProfileManifest", Value::Dictionary(Dictionary::new())),
        ("ProfileMetadata", Value::Dictionary(metadata)),
        ("Status", "Acknowledged".into()),
    ]);
    let cloud = dict([
        ("IsSupervised", phone.managed.into()),
        ("AllowPairing", (!phone.managed).into()),
        ("ConfigurationWasApplied", true.into()),
        ("CloudConfigurationUIComplete", true.into()),
    ]);
    let cloud = dict([("CloudConfiguration", Value::Dictionary(cloud)), ("Status", "Acknowledged".into())]);
    Value::Dictionary(dict([
        ("GetProfileList", Value::Dictionary(list)),
        ("GetCloudConfiguration", Value::Dictionary(cloud)),
    ]))
}

fn apps() -> Value {
    let app = |id: &str, name: &str, kind: &str, version: &str, bytes: u64| {
        Value::Dictionary(dict([
            ("ApplicationType", kind.into()),
            ("CFBundleDisplayName", name.into()),
            ("CFBundleExecutable", name.into()),
            ("CFBundleIdentifier", id.into()),
            ("CFBundleName", name.into()),
            ("CFBundleShortVersionString", version.into()),
            ("CFBundleVersion", version.into()),
            ("DynamicDiskUsage", Value::from(bytes * 3)),
            ("StaticDiskUsage", Value::from(bytes)),
        ]))
    };
    Value::Array(vec![
        app("com.apple.mobileslideshow", "Photos", "System", "1.0", 30_000_000),
        app("com.apple.camera", "Camera", "System", "1.0", 10_000_000),
        app("com.apple.MobileSMS", "Messages", "System", "1.0", 20_000_000),
        app("com.apple.mobilesafari", "Safari", "System", "18.4", 60_000_000),
        app("org.example.notes", "Field Notes", "User", "3.2.1", 41_000_000),
        app("org.example.tickets", "Tickets", "User", "11.0", 118_000_000),
    ])
}

fn syslog(phone: &Phone) -> String {
    let lines = [
        ("SpringBoard(FrontBoard)[61]", "Notice", "[FBSceneManager] Scene did update"),
        (
            "cloudphotod[212]",
            "Default",
            "[com.apple.photos.cpl:engine.statusCenter] saving CPLStatus <private>",
        ),
        ("assetsd[201]", "Default", "[com.apple.photos.backend:Sync] library is available"),
        ("backupd[330]", "Info", "[com.apple.MobileBackup:general] idle"),
        ("lockdownd[77]", "Notice", "handle_connection: connected over USB"),
    ];
    let mut out = String::new();
    for (at, (process, level, text)) in (0..).zip(lines) {
        let when = local(phone.ago(60 - at * 7)).strftime("%b %e %H:%M:%S");
        out.push_str(&format!("{when} {} {process} <{level}>: {text}\n", phone.name));
    }
    out
}

/// What lies in the crash reports' folder.
fn crashes(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
    let name =
        |kind: &str, at: Timestamp| format!("crashes/{kind}-{}.ips", local(at).strftime("%Y-%m-%d-%H%M%S"));
    let report = |number: u32, text: &str, at: Timestamp| {
        let header = serde_json::json!({
            "bug_type": number.to_string(),
            "timestamp": local(at).strftime("%Y-%m-%d %H:%M:%S.00 -0700").to_string(),
            "os_version": format!("iPhone OS {} ({})", phone.ios.version, phone.ios.build),
        });
        format!(
            "{header}\n{}\n",
            serde_json::json!({ "product": phone.ios.hardware.product_type, "panicString": text })
        )
    };
    let low_memory = phone.days_ago(11);
    let text = report(298, "", low_memory);
    folder.file(&name("JetsamEvent", low_memory), low_memory, text.as_bytes())?;
    for at in 0..i64::from(phone.panics) {
        let when = phone.ago(at * 2 * 86_400 + 41_000);
        let text = report(
            210,
            "panic(cpu 2 caller 0xfffffff0): userspace watchdog timeout: no successful checkins",
            when,
        );
        folder.file(&name("panic-full", when), when, text.as_bytes())?;
    }
    Ok(())
}
