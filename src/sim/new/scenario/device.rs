//! Scenarios of reaching the phone, its power, its storage, its network, its clock and its management.

use plist::Value;

use super::{Scenario, scenario, waiting};
use crate::sim::new::phone::Phone;

const BATTERY: &str = "com.apple.mobile.battery";
const DISK: &str = "com.apple.disk_usage";

pub(super) const SCENARIOS: &[Scenario] = &[
    // -- reaching the device --
    scenario("untrusted", "trust-pending", &[], "asked whether to trust, nobody answers", |phone| {
        phone.toml.push(("person", "trusts_after_ms = 0".into()));
    }),
    scenario("trust-pending", "trust-pending", &[], "the Trust dialog is up and stays up", |phone| {
        phone.toml.push(("trust", "state = \"pending\"".into()));
    }),
    scenario("denied", "trust-denied", &[], "the owner tapped Don't Trust", |phone| {
        phone.toml.push(("trust", "state = \"denied\"".into()));
    }),
    scenario("stale-pairing", "stale-pairing", &[], "the phone forgot this computer", |phone| {
        phone.toml.push(("trust", "state = \"stale\"".into()));
        phone.toml.push(("person", "trusts_after_ms = 0".into()));
    }),
    scenario("locked", "device-locked", &[], "the screen is locked and nobody unlocks it", |phone| {
        phone.toml.push(("lock", "state = \"locked\"".into()));
        phone.toml.push(("person", "unlocks_after_ms = 0".into()));
        phone.value("", "PasswordProtected", true);
    }),
    scenario(
        "before-first-unlock",
        "not-unlocked-since-boot",
        &[],
        "started and not unlocked since, and nobody unlocks it",
        |phone| {
            phone.toml.push(("lock", "state = \"before-first-unlock\"".into()));
            phone.toml.push(("person", "unlocks_after_ms = 0".into()));
            phone.value("", "PasswordProtected", true);
        },
    ),
    scenario(
        "pairing-forbidden",
        "pairing-forbidden",
        &[],
        "supervised, and pairs only with its owner",
        |phone| {
            phone.toml.push(("trust", "state = \"supervised\"".into()));
            phone.managed = true;
        },
    ),
    scenario("not-activated", "not-activated", &[], "erased and not set up", |phone| {
        phone.value("", "ActivationState", "Unactivated");
        phone.value("", "BrickState", true);
    }),
    scenario("setup-unfinished", "setup-unfinished", &[], "the setup assistant is still open", |phone| {
        for domain in ["com.apple.purplebuddy", "com.apple.PurpleBuddy"] {
            phone.value(domain, "SetupDone", false);
            phone.value(domain, "SetupFinishedAllSteps", false);
        }
    }),
    scenario("restarting", "restarting-by-itself", &[], "three kernel panics in the last week", |phone| {
        phone.panics = 3;
    }),
    // -- power and heat --
    scenario("battery-low", "battery-low", &[], "9 % and losing charge", |phone| {
        charge(phone, 9, false, -420);
    }),
    scenario("not-charging", "not-charging", &[], "half full, on a cable that gives too little", |phone| {
        charge(phone, 48, false, -180);
    }),
    scenario("low-power", "low-power-mode", &[], "Low Power Mode holds the uploads", |phone| {
        waiting(phone, 20);
        phone.status("isBlockedByLowPowerModeKey", true);
    }),
    scenario(
        "battery-worn",
        "photos-not-copied",
        &["battery-worn"],
        "the battery holds 71 % of what it held",
        |phone| {
            let design = phone.ios.hardware.battery_mah;
            phone.battery.push(("NominalChargeCapacity", (u64::from(design) * 71 / 100).into()));
            phone.battery.push(("AppleRawMaxCapacity", (u64::from(design) * 70 / 100).into()));
            phone.battery.push(("CycleCount", 1140_u64.into()));
        },
    ),
    scenario("hot", "device-hot", &[], "too hot to go on", |phone| {
        waiting(phone, 20);
        phone.battery.push(("Temperature", 4130_u64.into()));
        phone.status("thermalPressure", true);
    }),
    // -- storage --
    scenario("device-full", "device-storage-full", &[], "300 MB free on the phone", |phone| {
        waiting(phone, 20);
        free(phone, 300 << 20);
        phone.status("lowDiskSpace", true);
        phone.status("veryLowDiskSpace", true);
    }),
    scenario("device-low", "device-storage-low", &[], "800 MB free on the phone", |phone| {
        free(phone, 800 << 20);
        phone.status("lowDiskSpace", true);
    }),
    // -- network --
    scenario("offline", "offline", &[], "no network", |phone| {
        waiting(phone, 20);
        phone.status("connectedToNetwork", false);
    }),
    scenario("airplane", "airplane-mode", &[], "airplane mode", |phone| {
        waiting(phone, 20);
        phone.status("inAirplaneMode", true);
        phone.status("connectedToNetwork", false);
    }),
    scenario("low-data", "low-data-mode", &[], "Low Data Mode", |phone| {
        waiting(phone, 20);
        phone.status("constrainedNetwork", true);
    }),
    scenario(
        "cellular-restricted",
        "cellular-restricted",
        &[],
        "Photos may not use cellular data",
        |phone| {
            waiting(phone, 20);
            phone.status("cellularIsRestricted", true);
        },
    ),
    scenario("poor-network", "poor-network", &[], "a network that hardly carries anything", |phone| {
        waiting(phone, 20);
        phone.status("poorNetworkQuality", true);
    }),
    // -- clock and management --
    scenario("clock-wrong", "clock-wrong", &[], "the clock is two days behind", |phone| {
        phone.toml.push(("clock", "offset_seconds = -172800".into()));
    }),
    scenario(
        "managed",
        "photos-not-copied",
        &["managed-device"],
        "an employer's phone with a profile",
        |phone| {
            phone.managed = true;
        },
    ),
    scenario("ios-too-old", "ios-too-old", &[], "iCloud wants a newer iOS", |phone| {
        waiting(phone, 20);
        phone.status("iCloudLibraryClientVersionTooOld", true);
    }),
];

/// The battery's level and whether it gains.
fn charge(phone: &mut Phone, percent: u64, gains: bool, milliampere: i64) {
    phone.value(BATTERY, "BatteryCurrentCapacity", percent);
    phone.value(BATTERY, "BatteryIsCharging", gains);
    let raw = u64::from(phone.ios.hardware.battery_mah) * percent / 100;
    for (key, value) in [
        ("CurrentCapacity", Value::from(percent)),
        ("AppleRawCurrentCapacity", Value::from(raw)),
        ("IsCharging", Value::from(gains)),
        ("InstantAmperage", Value::from(milliampere)),
        ("Amperage", Value::from(milliampere)),
    ] {
        phone.battery.push((key, value));
    }
}

/// The phone's free storage in bytes.
fn free(phone: &mut Phone, bytes: u64) {
    phone.value(DISK, "AmountDataAvailable", bytes);
    phone.value(DISK, "TotalDataAvailable", bytes + (200 << 20));
}
