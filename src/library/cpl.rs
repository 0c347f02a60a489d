//! The small files of the iCloud Photos engine below `PhotoData`: its status, its markers, its history, its settings.
//!
//! Pure: bytes in, values out; every file is bounded before it is parsed. Apple describes none of them; keys and
//! meanings are those seen in real files and in public forensic work (iLEAPP, osxphotos). A key that is absent is *not
//! set*; one of the wrong type is a gap; one that we do not know is listed apart.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use plist::{Dictionary, Value};

use super::Unreadable;
use crate::facts::text::plain;
use crate::facts::{Engine, Fact, Gap, Maybe, Source, Switching};
use crate::frame::{self, DictExt, Limits};

/// The engine's status.
pub const STATUS_PATH: &str = "PhotoData/CPL/syncstatus.plist";
/// There as long as iCloud Photos is on.
pub const ENABLED_MARKER_PATH: &str = "PhotoData/cpl_enabled_marker";
/// There when everything was downloaded once.
pub const DOWNLOAD_FINISHED_MARKER_PATH: &str = "PhotoData/cpl_download_finished_marker";
/// There when the first sync was finished.
pub const INITIAL_SYNC_MARKER_PATH: &str = "PhotoData/CPL/initialsync_marker";
/// There while the owner has pressed Pause.
pub const PAUSE_PATH: &str = "PhotoData/CPL/pauseICloudPhotos";
/// What is still to be taken in.
pub const DOWNLOAD_COUNTS_PATH: &str = "PhotoData/CPL/DownloadCounts.plist";
/// Resets of the engine that were asked for.
pub const RESETS_PATH: &str = "PhotoData/CPL/resetevents.plist";
/// The engine's own counters.
pub const METRICS_PATH: &str = "PhotoData/CPL/metrics.plist";
/// What the server configured; the number in the name may change.
pub const SERVER_CONFIGURATION_PATH: &str = "PhotoData/CPL/cloudphotos-1.0.plist";
/// The histories of switching on and off; a phone has one or more of them.
pub const SWITCHINGS_PATHS: [&str; 3] = [
    "PhotoData/private/com.apple.accountsd/cloudServiceEnableLog.plist",
    "PhotoData/private/com.apple.assetsd/cloudServiceEnableLog.plist",
    "PhotoData/private/com.apple.photolibraryd/cloudServiceEnableLog.plist",
];

/// Each of these files is a few KiB; the longest that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
const LIMITS: Limits = Limits { bytes: FILE_BYTES_MAX, depth: 32, nodes: 50_000 };
/// Entries of the history that are kept, the newest.
const SWITCHINGS_MAX: usize = 1000;
/// Unknown keys that are listed.
const UNKNOWN_KEYS_MAX: usize = 64;
/// More assets than any account has: a larger count is no count.
const ASSETS_MAX: u64 = 1 << 40;

type Field<T> = fn(&mut Engine) -> &mut Maybe<T>;

/// Truth values of the status: the file's key, the fact's name, its place.
const FLAGS: &[(&str, &str, Field<bool>)] = &[
    ("isExceedingQuota", "is_exceeding_quota", |e| &mut e.is_exceeding_quota),
    ("isExceedingSharedLibraryQuota", "is_exceeding_shared_library_quota", |e| {
        &mut e.is_exceeding_shared_library_quota
    }),
    ("lowDiskSpace", "low_disk_space", |e| &mut e.low_disk_space),
    ("veryLowDiskSpace", "very_low_disk_space", |e| &mut e.very_low_disk_space),
    ("iCloudLibraryClientIsNotAuthenticated", "not_authenticated", |e| &mut e.not_authenticated),
    ("iCloudLibraryClientVersionTooOld", "client_too_old", |e| &mut e.client_too_old),
    ("upgradeSuggestedToAccessAllPhotos", "upgrade_suggested", |e| &mut e.upgrade_suggested),
    ("connectedToNetwork", "connected_to_network", |e| &mut e.connected_to_network),
    ("inAirplaneMode", "in_airplane_mode", |e| &mut e.in_airplane_mode),
    ("cellularIsRestricted", "cellular_is_restricted", |e| &mut e.cellular_is_restricted),
    ("constrainedNetwork", "constrained_network", |e| &mut e.constrained_network),
    ("poorNetworkQuality", "poor_network", |e| &mut e.poor_network),
    ("isBlockedByLowPowerModeKey", "low_power_mode", |e| &mut e.low_power_mode),
    ("lowBatteryLevel", "low_battery", |e| &mut e.low_battery),
    ("hasBatteryBudgetKey", "has_battery_budget", |e| &mut e.has_battery_budget),
    ("hasValidSystemBudgetKey", "has_valid_system_budget", |e| &mut e.has_valid_system_budget),
    ("hasCellularBudgetKey", "has_cellular_budget", |e| &mut e.has_cellular_budget),
    ("thermalPressure", "thermal_pressure", |e| &mut e.thermal_pressure),
    ("moderateThermalPressure", "moderate_thermal_pressure", |e| &mut e.moderate_thermal_pressure),
    ("heavyResourceUsage", "heavy_resource_usage", |e| &mut e.heavy_resource_usage),
    ("poorSystemConditions", "poor_system_conditions", |e| &mut e.poor_system_conditions),
    ("iCloudLibraryExists", "library_exists", |e| &mut e.library_exists),
    ("iCloudLibraryHasBeenWiped", "library_wiped", |e| &mut e.library_wiped),
    ("containerHasBeenWiped", "container_wiped", |e| &mut e.container_wiped),
    ("walrusEnabled", "walrus_enabled", |e| &mut e.walrus_enabled),
    ("isStuckInExitForSharedLibrary", "stuck_in_shared_library_exit", |e| {
        &mut e.stuck_in_shared_library_exit
    }),
    ("hasChangesToProcess", "has_changes_to_process", |e| &mut e.has_changes_to_process),
];

/// Moments of the status.
const MOMENTS: &[(&str, &str, Field<Timestamp>)] = &[
    ("exitDeleteTime", "exit_delete_time", |e| &mut e.exit_delete_time),
    ("initialSyncDate", "initial_sync_date", |e| &mut e.initial_sync_date),
    ("lastSyncDate", "last_sync_date", |e| &mut e.last_sync_date),
    ("lastPruneDate", "last_prune_date", |e| &mut e.last_prune_date),
    ("lastCompletePrefetchDate", "last_complete_prefetch_date", |e| &mut e.last_complete_prefetch_date),
    ("cloudAssetCountPerTypeLastCheckDate", "cloud_asset_count_checked_at", |e| {
        &mut e.cloud_asset_count_checked_at
    }),
];

/// Whole numbers of the status; no source says what most of them mean.
const NUMBERS: &[(&str, &str, Field<i64>)] = &[
    ("blockedReason", "blocked_reason", |e| &mut e.blocked_reason),
    ("unBlockedReason", "unblocked_reason", |e| &mut e.unblocked_reason),
    ("busyState", "busy_state", |e| &mut e.busy_state),
    ("serverFeatureCompatibleVersion", "server_feature_version", |e| &mut e.server_feature_version),
];

const COUNT_KEY: &str = "cloudAssetCountPerType";
const EXIT_REMAINING_KEY: &str = "remainingCountInSharedLibraryExit";
/// Known, and of no use here.
const IGNORED_KEYS: [&str; 1] = ["accountFlags"];

/// The engine's status, and what of it could not be read. `written_at` is the file's own time: the status is written
/// when it changes, so it can be old.
///
/// # Errors
/// [`Unreadable::PropertyList`] when it is no property list with a dictionary at its root.
pub fn sync_status(bytes: &[u8], written_at: Option<Timestamp>) -> Result<(Engine, Vec<Gap>), Unreadable> {
    let status = dictionary(STATUS_PATH, bytes)?;
    let mut reading = Status { status: &status, written_at, engine: Engine::default(), gaps: Vec::new() };
    for (key, name, field) in FLAGS {
        reading.take(key, name, *field, |status| status.boolean(key));
    }
    for (key, name, field) in MOMENTS {
        reading.take(key, name, *field, |status| status.date(key));
    }
    for (key, name, field) in NUMBERS {
        reading.take(key, name, *field, |status| status.int(key));
    }
    reading.take(COUNT_KEY, "cloud_asset_count", |e| &mut e.cloud_asset_count, cloud_asset_count);
    let remaining =
        |status: &Dictionary| status.uint(EXIT_REMAINING_KEY).filter(|count| *count <= ASSETS_MAX);
    let field: Field<u64> = |e| &mut e.shared_library_exit_remaining;
    reading.take(EXIT_REMAINING_KEY, "shared_library_exit_remaining", field, remaining);
    reading.take_unknown();
    Ok((reading.engine, reading.gaps))
}

struct Status<'a> {
    status: &'a Dictionary,
    written_at: Option<Timestamp>,
    engine: Engine,
    gaps: Vec<Gap>,
}

impl Status<'_> {
    fn take<T>(&mut self, key: &str, name: &str, field: Field<T>, read: impl Fn(&Dictionary) -> Option<T>) {
        let Some(value) = self.status.get(key) else { return };
        let Some(read) = read(self.status) else {
            let reason = format!("{} in {STATUS_PATH} holds {}", plain(key), kind_of(value));
            self.gaps.push(Gap { fact: format!("icloud_photos.engine.{name}").into(), reason });
            return;
        };
        let place = format!("afc:/{STATUS_PATH}").into();
        let source = Source { place, key: key.to_owned().into(), written_at: self.written_at };
        *field(&mut self.engine) = Some(Fact::new(read, source));
    }

    /// Keys that we do not know are listed. Of the one that says that a backup's snapshot is being taken, no source
    /// states the exact name; a truth value whose name speaks of a snapshot is taken for it.
    fn take_unknown(&mut self) {
        let known = |key: &str| {
            FLAGS.iter().any(|(known, ..)| *known == key)
                || MOMENTS.iter().any(|(known, ..)| *known == key)
                || NUMBERS.iter().any(|(known, ..)| *known == key)
                || [COUNT_KEY, EXIT_REMAINING_KEY].contains(&key)
                || IGNORED_KEYS.contains(&key)
        };
        let mut unknown: Vec<&String> = self.status.keys().filter(|key| !known(key)).collect();
        unknown.sort();
        for key in &unknown {
            let says_snapshot = key.to_ascii_lowercase().contains("snapshot");
            if says_snapshot && self.status.boolean(key).is_some() {
                self.take(
                    key,
                    "taking_backup_snapshot",
                    |e| &mut e.taking_backup_snapshot,
                    |s| s.boolean(key),
                );
            }
        }
        self.engine.unknown_keys = unknown.into_iter().take(UNKNOWN_KEYS_MAX).map(|key| plain(key)).collect();
    }
}

/// All of the owner's assets that the server counts, whatever their type.
fn cloud_asset_count(status: &Dictionary) -> Option<u64> {
    let by_type = status.dict(COUNT_KEY)?;
    by_type
        .values()
        .try_fold(0_u64, |sum, count| sum.checked_add(count.as_unsigned_integer()?))
        .filter(|count| *count <= ASSETS_MAX)
}

/// The moment in a marker file, in the phone's local time: `2022-12-31 15.30.47.888`.
#[must_use]
pub fn marker(bytes: &[u8]) -> Option<DateTime> {
    let text = std::str::from_utf8(bytes.get(..bytes.len().min(64))?).ok()?.trim();
    let (date, time) = text.split_once(' ')?;
    let mut parts = time.splitn(4, '.');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let fraction = parts.next().map(|digits| format!(".{digits}")).unwrap_or_default();
    format!("{date}T{hours}:{minutes}:{seconds}{fraction}").parse().ok()
}

/// The history of switching iCloud Photos on and off, oldest first, out of one of its files.
///
/// # Errors
/// [`Unreadable::PropertyList`] when it is no array of dictionaries, or an entry for iCloud Photos (`CPL`) has no
/// readable state or time: half a history is none.
pub fn switchings(bytes: &[u8]) -> Result<Vec<Switching>, Unreadable> {
    let file = "cloudServiceEnableLog.plist";
    let value = parse(file, bytes)?;
    let entries = value.as_array().ok_or_else(|| wrong(file, "an array is wanted"))?;
    let mut switchings = Vec::new();
    for entry in entries {
        let entry = entry.as_dictionary().ok_or_else(|| wrong(file, "an entry is no dictionary"))?;
        if entry.string("type") != Some("CPL") {
            continue;
        }
        let (Some(enabled), Some(at)) = (entry.boolean("enabled"), entry.date("timestamp")) else {
            return Err(wrong(file, "an entry has no readable state and time"));
        };
        switchings.push(Switching { enabled, at, reason: entry.get("reason").and_then(reason) });
    }
    Ok(in_order(switchings))
}

/// Histories from several files as one: sorted by time, the newest kept.
#[must_use]
pub fn in_order(mut switchings: Vec<Switching>) -> Vec<Switching> {
    switchings.sort_by_key(|switching| switching.at);
    let surplus = switchings.len().saturating_sub(SWITCHINGS_MAX);
    switchings.drain(..surplus);
    switchings
}

fn reason(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(plain(text)),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Assets that are still to be taken in from the server.
///
/// # Errors
/// [`Unreadable::PropertyList`] when a count is missing or no count.
pub fn download_counts(bytes: &[u8]) -> Result<u64, Unreadable> {
    let counts = dictionary(DOWNLOAD_COUNTS_PATH, bytes)?;
    let count = |key: &str| match counts.get(key) {
        None => Some(0),
        Some(_) => counts.uint(key).filter(|count| *count <= ASSETS_MAX),
    };
    match (count("CountKeyImages"), count("CountKeyVideos")) {
        (Some(images), Some(videos)) => Ok(images + videos),
        _ => Err(wrong(DOWNLOAD_COUNTS_PATH, "a count is no number")),
    }
}

/// What the server told the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerConfiguration {
    /// Days an asset stays in Recently Deleted.
    pub recently_deleted_days: Option<u32>,
    /// When this came in.
    pub last_update: Option<Timestamp>,
}

/// The server's configuration. Days that make no sense (none, or more than a year) count as not stated.
///
/// # Errors
/// [`Unreadable::PropertyList`] when it is none.
pub fn server_configuration(bytes: &[u8]) -> Result<ServerConfiguration, Unreadable> {
    let root = dictionary(SERVER_CONFIGURATION_PATH, bytes)?;
    let days = root.dict("configuration").and_then(|c| c.uint("max.days.inRecentlyDeleted"));
    let days = days.and_then(|days| u32::try_from(days).ok()).filter(|days| (1..=366).contains(days));
    Ok(ServerConfiguration { recently_deleted_days: days, last_update: root.date("lastUpdate") })
}

/// Why the engine was told to pause, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// The owner pressed Pause (reason 3, or none is noted); otherwise the system did.
    pub by_owner: bool,
    /// Until when, if that is noted.
    pub until: Option<Timestamp>,
}

/// The pause file. One that cannot be parsed still means that the engine pauses; that is the caller's to say.
///
/// # Errors
/// [`Unreadable::PropertyList`] when it is none.
pub fn pause(bytes: &[u8]) -> Result<Pause, Unreadable> {
    let root = dictionary(PAUSE_PATH, bytes)?;
    Ok(Pause {
        by_owner: root.int("reason").is_none_or(|reason| reason == 3),
        until: root.date("unpauseTime"),
    })
}

/// Whether a reset is pending: one of the entries, wherever they stand in the file, says so.
///
/// # Errors
/// [`Unreadable::PropertyList`] when it is neither a dictionary nor an array.
pub fn reset_pending(bytes: &[u8]) -> Result<bool, Unreadable> {
    let says =
        |value: &Value| value.as_dictionary().and_then(|entry| entry.boolean("pending")).unwrap_or(false);
    match parse(RESETS_PATH, bytes)? {
        Value::Array(entries) => Ok(entries.iter().any(says)),
        Value::Dictionary(root) => {
            let listed = |value: &Value| value.as_array().is_some_and(|entries| entries.iter().any(says));
            Ok(root.boolean("pending").unwrap_or(false)
                || root.values().any(|value| says(value) || listed(value)))
        }
        _ => Err(wrong(RESETS_PATH, "a dictionary or an array is wanted")),
    }
}

/// The engine's counters by their own names; what is no count is left out.
///
/// # Errors
/// [`Unreadable::PropertyList`] when it is no dictionary.
pub fn metrics(bytes: &[u8]) -> Result<BTreeMap<String, u64>, Unreadable> {
    let root = dictionary(METRICS_PATH, bytes)?;
    let counts = root.keys().filter(|key| key.ends_with("Count"));
    let counts = counts.filter_map(|key| Some((plain(key), root.uint(key)?)));
    Ok(counts.take(UNKNOWN_KEYS_MAX).collect())
}

fn parse(file: &str, bytes: &[u8]) -> Result<Value, Unreadable> {
    frame::parse(bytes, &LIMITS).map_err(|error| wrong(file, &plain(&error.to_string())))
}

fn dictionary(file: &str, bytes: &[u8]) -> Result<Dictionary, Unreadable> {
    parse(file, bytes)?.into_dictionary().ok_or_else(|| wrong(file, "a dictionary is wanted"))
}

fn wrong(file: &str, what: &str) -> Unreadable {
    Unreadable::PropertyList { file: file.to_owned(), what: what.to_owned() }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "an array",
        Value::Dictionary(_) => "a dictionary (or one with values out of range)",
        Value::Boolean(_) => "a truth value",
        Value::Data(_) => "data",
        Value::Date(_) => "a date out of range",
        Value::Real(_) => "a real number",
        Value::Integer(_) => "a number (or one out of range)",
        Value::String(_) => "a text",
        _ => "something else",
    }
}
