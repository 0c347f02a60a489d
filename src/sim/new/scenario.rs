//! The scenarios: each a change to a healthy phone, and what a diagnosis of it must say.

use jiff::SignedDuration;
use plist::Value;

use super::Error;
use super::phone::{Mix, Phone, Switch, cocoa_seconds, date};

/// One sort of trouble.
pub struct Scenario {
    /// The name on the command line.
    pub name: &'static str,
    /// What is the case, for people.
    pub about: &'static str,
    /// The id of the finding that must come first.
    pub first: &'static str,
    /// Ids of further findings that must be there.
    pub also: &'static [&'static str],
    /// How many photos its library has unless told otherwise.
    pub photos: u32,
    shape: fn(&mut Phone),
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario")
            .field("name", &self.name)
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

impl Scenario {
    pub(super) fn shape(&self, phone: &mut Phone) {
        (self.shape)(phone);
    }
}

/// Every scenario, the healthy phone first.
#[must_use]
pub fn scenarios() -> &'static [Scenario] {
    SCENARIOS
}

/// The scenario called `name`.
pub(super) fn find(name: &str) -> Result<&'static Scenario, Error> {
    SCENARIOS
        .iter()
        .find(|scenario| scenario.name == name)
        .ok_or_else(|| Error::UnknownScenario(name.to_owned()))
}

const BACKUP: &str = "com.apple.mobile.backup";
const BATTERY: &str = "com.apple.mobile.battery";
const DISK: &str = "com.apple.disk_usage";

/// A library of the usual size.
const PHOTOS: u32 = 120;

const fn scenario(
    name: &'static str,
    first: &'static str,
    also: &'static [&'static str],
    about: &'static str,
    shape: fn(&mut Phone),
) -> Scenario {
    Scenario { name, about, first, also, photos: PHOTOS, shape }
}

const SCENARIOS: &[Scenario] = &[
    scenario(
        "healthy",
        "photos-not-copied",
        &[],
        "everything is where it should be; nothing is copied yet",
        |_| {},
    ),
    Scenario {
        photos: 240,
        ..scenario(
            "demo",
            "icloud-storage-full",
            &[
                "uploads-failed",
                "icloud-backup-stale",
                "recently-deleted",
                "hidden-photos",
                "shared-album-only",
            ],
            "iCloud is full: 37 photos exist only on the phone, 7 of them failed; iCloud Backup is stale",
            demo,
        )
    },
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
    // -- account --
    scenario("signed-out", "icloud-signed-out", &[], "iCloud wants the password again", |phone| {
        waiting(phone, 20);
        phone.status("iCloudLibraryClientIsNotAuthenticated", true);
    }),
    scenario("icloud-full", "icloud-storage-full", &[], "the iCloud storage is full", |phone| {
        stuck(phone, 24);
        phone.status("isExceedingQuota", true);
    }),
    scenario(
        "shared-library-full",
        "shared-library-storage-full",
        &[],
        "the storage of the shared library's owner is full",
        |phone| {
            phone.status("isExceedingSharedLibraryQuota", true);
        },
    ),
    scenario(
        "advanced-data-protection",
        "photos-not-copied",
        &["advanced-data-protection"],
        "Advanced Data Protection is on",
        |phone| phone.status("walrusEnabled", true),
    ),
    scenario("find-my-off", "photos-not-copied", &[], "Find My is off, as before an erase", |phone| {
        phone.value("com.apple.fmip", "IsAssociated", false);
    }),
    // -- iCloud Photos --
    scenario("never-on", "icloud-photos-off", &[], "iCloud Photos was never switched on", |phone| {
        nothing_in_icloud(phone);
        phone.cloud.switch = Switch::Never;
    }),
    scenario(
        "switched-off",
        "icloud-photos-switched-off",
        &[],
        "iCloud Photos was switched off nine days ago",
        |phone| {
            nothing_in_icloud(phone);
            phone.cloud.switch = Switch::Off { days_ago: 9, reason: Some("User turned off iCloud Photos") };
        },
    ),
    scenario("paused", "icloud-photos-paused", &[], "the owner pressed Pause", |phone| {
        waiting(phone, 20);
        phone.cloud.paused = true;
    }),
    scenario(
        "optimizing",
        "icloud-photos-waiting-on-system",
        &[],
        "iOS is busy with itself and lets the uploads wait",
        |phone| {
            waiting(phone, 20);
            phone.status("heavyResourceUsage", true);
            phone.status("poorSystemConditions", true);
        },
    ),
    scenario("battery-budget", "battery-budget-spent", &[], "the day's battery budget is spent", |phone| {
        waiting(phone, 20);
        phone.status("hasBatteryBudgetKey", false);
    }),
    scenario("cellular-budget", "cellular-budget-spent", &[], "the cellular budget is spent", |phone| {
        waiting(phone, 20);
        phone.status("hasCellularBudgetKey", false);
    }),
    scenario(
        "backup-snapshot",
        "backup-snapshot-running",
        &[],
        "a backup holds the library still",
        |phone| {
            waiting(phone, 20);
            phone.status("isTakingBackupSnapshot", true);
        },
    ),
    scenario(
        "first-sync",
        "first-sync-unfinished",
        &[],
        "switched on yesterday, most is still to go up",
        |phone| {
            let most = phone.mix.own() * 4 / 5;
            waiting(phone, most);
            phone.cloud.first_sync_unfinished = true;
        },
    ),
    scenario("cloud-wiped", "icloud-library-wiped", &[], "the library in iCloud has been wiped", |phone| {
        phone.status("iCloudLibraryHasBeenWiped", true);
        phone.status("containerHasBeenWiped", true);
        phone.cloud.status.push(("iCloudLibraryExists", None));
        phone.cloud.server_surplus = -i64::from(phone.mix.uploaded);
    }),
    scenario(
        "deletion-scheduled",
        "icloud-library-deletion-scheduled",
        &[],
        "switched off on all devices: iCloud deletes the library in three weeks",
        |phone| {
            phone.cloud.switch = Switch::Off { days_ago: 9, reason: Some("User turned off iCloud Photos") };
            let many = phone.mix.own() / 2;
            phone.mix.move_from_uploaded(many, |mix| &mut mix.only_in_icloud);
            let when = phone.now.checked_add(SignedDuration::from_hours(21 * 24)).unwrap_or(phone.now);
            phone.status("exitDeleteTime", date(when));
        },
    ),
    scenario(
        "uploads-waiting",
        "uploads-waiting",
        &[],
        "a few photos of the last hour wait for their turn",
        |phone| {
            phone.mix.move_from_uploaded(6, |mix| &mut mix.waiting);
            phone.cloud.synced_s_ago = 2 * 3600;
        },
    ),
    scenario(
        "uploads-stuck",
        "uploads-stuck",
        &[],
        "photos of the last weeks do not go up, without a reason",
        |phone| {
            stuck(phone, 30);
        },
    ),
    scenario("uploads-failed", "uploads-failed", &[], "the phone gave five photos up", |phone| {
        phone.mix.move_from_uploaded(5, |mix| &mut mix.failed);
        phone.cloud.backlog_days = 20;
    }),
    scenario(
        "server-behind",
        "server-behind",
        &[],
        "iCloud counts fewer photos than this phone sent up",
        |phone| {
            phone.cloud.server_surplus = -17;
        },
    ),
    scenario(
        "device-behind",
        "device-behind",
        &[],
        "iCloud has photos that this phone has not taken in",
        |phone| {
            phone.cloud.server_surplus = 31;
            phone.cloud.to_download = 31;
        },
    ),
    scenario(
        "optimised",
        "originals-only-in-icloud",
        &["optimised-storage"],
        "Optimise Storage: most originals are only in iCloud",
        |phone| {
            let most = phone.mix.own() * 3 / 5;
            phone.mix.move_from_uploaded(most, |mix| &mut mix.only_in_icloud);
            phone.mix.move_from_uploaded(3, |mix| &mut mix.clip_only_in_icloud);
            phone.cloud.optimise = true;
        },
    ),
    scenario("originals-missing", "originals-missing", &[], "two originals are in neither place", |phone| {
        phone.mix.move_from_uploaded(2, |mix| &mut mix.in_neither);
    }),
    scenario(
        "shared-library-exit",
        "shared-library-exit-stuck",
        &[],
        "leaving the shared library does not end",
        |phone| {
            phone.status("isStuckInExitForSharedLibrary", true);
            phone.status("remainingCountInSharedLibraryExit", 14);
        },
    ),
    scenario(
        "photo-stream",
        "photos-not-copied",
        &["photo-stream-ended"],
        "left-overs of My Photo Stream, which ended in 2023",
        |phone| phone.cloud.photo_stream = true,
    ),
    scenario(
        "unreadable-status",
        "sync-status-unreadable",
        &[],
        "the engine's status file is damaged",
        |phone| {
            phone.damage.status = true;
        },
    ),
    scenario("unreadable-library", "library-unreadable", &[], "the library's database is damaged", |phone| {
        phone.damage.library = true;
    }),
    scenario(
        "place-unknown",
        "photos-not-copied",
        &[],
        "three assets have no row that says where they are",
        |phone| {
            phone.mix.move_from_uploaded(3, |mix| &mut mix.place_unknown);
        },
    ),
    // -- photos that look missing --
    scenario(
        "looks-missing",
        "photos-not-copied",
        &["recently-deleted", "hidden-photos", "shared-album-only"],
        "nothing is lost: deleted lately, hidden, or only in a shared album",
        |phone| {
            phone.mix.hidden = 9;
            phone.mix.trashed = 14;
            phone.mix.shared_album = 11;
            phone.mix.links = 2;
            phone.mix.shared_with_you = 4;
        },
    ),
    // -- iCloud Backup --
    scenario("backup-off", "icloud-backup-off", &[], "iCloud Backup is off", |phone| {
        phone.value(BACKUP, "CloudBackupEnabled", false);
        phone.value(BACKUP, "LastCloudBackupDate", cocoa_seconds(phone.days_ago(200)));
    }),
    scenario(
        "backup-never",
        "icloud-backup-never",
        &[],
        "iCloud Backup is on and has never succeeded",
        |phone| {
            phone.no_value(BACKUP, "LastCloudBackupDate");
            phone.no_value(BACKUP, "LastCloudBackupTZ");
        },
    ),
    scenario(
        "backup-stale",
        "icloud-backup-stale",
        &[],
        "the last iCloud backup is seven weeks old",
        |phone| {
            phone.value(BACKUP, "LastCloudBackupDate", cocoa_seconds(phone.days_ago(49)));
            phone.backup_error = Some(303);
        },
    ),
    scenario(
        "never-backed-up",
        "local-backup-missing",
        &["photos-not-copied"],
        "no computer has a backup",
        |phone| {
            phone.no_value(BACKUP, "LastiTunesBackupDate");
            phone.no_value(BACKUP, "LastiTunesBackupTZ");
        },
    ),
    scenario(
        "local-backup-stale",
        "local-backup-stale",
        &[],
        "the last local backup is a year old",
        |phone| {
            phone.value(BACKUP, "LastiTunesBackupDate", cocoa_seconds(phone.days_ago(370)));
        },
    ),
];

/// The phone of `--demo`.
fn demo(phone: &mut Phone) {
    let photos = phone.mix.own();
    let part = |of_240: u32| (of_240 * photos).div_ceil(240);
    phone.mix.move_from_uploaded(part(30), |mix| &mut mix.waiting);
    phone.mix.move_from_uploaded(part(7), |mix| &mut mix.failed);
    phone.mix = Mix { hidden: part(3), trashed: part(12), shared_album: part(5), ..phone.mix.clone() };
    phone.cloud.backlog_days = 34;
    phone.status("isExceedingQuota", true);
    phone.value(BACKUP, "LastCloudBackupDate", cocoa_seconds(phone.days_ago(41)));
    for key in ["LastiTunesBackupDate", "LastiTunesBackupTZ"] {
        phone.no_value(BACKUP, key);
    }
    phone.backup_error = Some(303);
}

/// Photos that wait, for the reason that the scenario names.
fn waiting(phone: &mut Phone, photos: u32) {
    phone.mix.move_from_uploaded(photos, |mix| &mut mix.waiting);
    phone.cloud.backlog_days = 3;
}

/// Photos that have waited for weeks.
fn stuck(phone: &mut Phone, photos: u32) {
    phone.mix.move_from_uploaded(photos, |mix| &mut mix.waiting);
    phone.cloud.backlog_days = 24;
}

/// iCloud Photos is not on: no asset was ever handed to the engine.
fn nothing_in_icloud(phone: &mut Phone) {
    let mix = &mut phone.mix;
    mix.never_queued += std::mem::take(&mut mix.uploaded);
    (mix.from_icloud, mix.shared_album) = (0, 0);
}

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
