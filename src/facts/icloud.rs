//! What iCloud keeps in step: the photo engine's status, its markers and its backlog, and iCloud Backup.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::Serialize;

use super::Maybe;

/// The iCloud Photos engine's own status file, `PhotoData/CPL/syncstatus.plist`. Absent flags are `None` and mean
/// "not set" as long as the file itself could be read.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are the engine's own keys, explained where they are parsed")]
pub struct Engine {
    pub is_exceeding_quota: Maybe<bool>,
    pub is_exceeding_shared_library_quota: Maybe<bool>,
    pub low_disk_space: Maybe<bool>,
    pub very_low_disk_space: Maybe<bool>,
    pub not_authenticated: Maybe<bool>,
    pub client_too_old: Maybe<bool>,
    pub connected_to_network: Maybe<bool>,
    pub in_airplane_mode: Maybe<bool>,
    pub cellular_is_restricted: Maybe<bool>,
    pub constrained_network: Maybe<bool>,
    pub poor_network: Maybe<bool>,
    pub low_power_mode: Maybe<bool>,
    pub low_battery: Maybe<bool>,
    pub has_battery_budget: Maybe<bool>,
    pub has_valid_system_budget: Maybe<bool>,
    pub has_cellular_budget: Maybe<bool>,
    pub thermal_pressure: Maybe<bool>,
    pub moderate_thermal_pressure: Maybe<bool>,
    pub heavy_resource_usage: Maybe<bool>,
    pub poor_system_conditions: Maybe<bool>,
    pub taking_backup_snapshot: Maybe<bool>,
    pub library_exists: Maybe<bool>,
    pub library_wiped: Maybe<bool>,
    pub container_wiped: Maybe<bool>,
    pub walrus_enabled: Maybe<bool>,
    pub stuck_in_shared_library_exit: Maybe<bool>,
    pub exit_delete_time: Maybe<Timestamp>,
    pub initial_sync_date: Maybe<Timestamp>,
    pub last_sync_date: Maybe<Timestamp>,
    /// Assets by uniform type, as the server counted them.
    pub cloud_asset_count: Maybe<u64>,
    pub cloud_asset_count_checked_at: Maybe<Timestamp>,
    pub upgrade_suggested: Maybe<bool>,
    pub server_feature_version: Maybe<i64>,
    pub has_changes_to_process: Maybe<bool>,
    pub last_prune_date: Maybe<Timestamp>,
    pub last_complete_prefetch_date: Maybe<Timestamp>,
    pub shared_library_exit_remaining: Maybe<u64>,
    /// Numbers whose meaning no source states; shown as they are, never judged.
    pub blocked_reason: Maybe<i64>,
    pub unblocked_reason: Maybe<i64>,
    pub busy_state: Maybe<i64>,
    /// Keys of the file that we do not know: text from the phone, sorted, bounded in number.
    pub unknown_keys: Vec<String>,
}

/// One entry of the history of switching iCloud Photos on and off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Switching {
    /// On or off.
    pub enabled: bool,
    /// When.
    pub at: Timestamp,
    /// The phone's own reason, if it noted one: text from the phone.
    pub reason: Option<String>,
}

/// The marker files that the engine leaves. Each holds a moment in the phone's *local* time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Markers {
    /// `cpl_enabled_marker`: iCloud Photos was switched on then, and it is on as long as the file is there. A `None`
    /// inside: the file is there, its text says nothing.
    pub enabled: Maybe<Option<DateTime>>,
    /// `cpl_download_finished_marker`: everything was downloaded at least once.
    pub download_finished: Maybe<Option<DateTime>>,
    /// `CPL/initialsync_marker`: the first sync was finished.
    pub initial_sync: Maybe<Option<DateTime>>,
}

/// What the engine has not sent yet, from its own store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// Files waiting to go up.
    pub outgoing_files: u64,
    /// Their bytes.
    pub outgoing_bytes: u64,
    /// Changes waiting to go up.
    pub outgoing_changes: u64,
    /// Why items were quarantined, with their number, most frequent first: text from the phone.
    pub quarantined: Vec<(String, u64)>,
    /// The libraries that the engine keeps in step: the owner's own, and those that are shared with them.
    pub scopes: Vec<Scope>,
    /// Why the libraries could not be read although the rest could.
    #[serde(skip)]
    pub scopes_unread: Option<String>,
}

/// A library as the engine's store notes it. What is `None` the engine has not noted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// The engine's name for it: text from the phone.
    pub identifier: Option<String>,
    /// How many assets the server said that it holds.
    pub estimated_assets: Option<u64>,
    /// How many bytes.
    pub estimated_bytes: Option<u64>,
    /// When its first sync was finished.
    pub initial_sync: Option<Timestamp>,
    /// When it was last taken in as a whole.
    pub last_pull: Option<Timestamp>,
    /// When it was switched off.
    pub disabled_at: Option<Timestamp>,
    /// When it is to be deleted.
    pub delete_at: Option<Timestamp>,
    /// The engine has left records out.
    pub dropped_some_records: Option<bool>,
}

/// iCloud Photos.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct IcloudPhotos {
    /// On, by two of three signs (marker, newest switching, no deletion date); a gap when they disagree.
    pub enabled: Maybe<bool>,
    /// Last time the engine talked to the server.
    pub last_sync: Maybe<Timestamp>,
    /// Own assets that the server counts.
    pub server_assets: Maybe<u64>,
    /// Nothing has gone up or come down since then, as readings of this phone show; none where there were none before.
    pub still_since: Maybe<Timestamp>,
    /// The owner pressed Pause; until when, if the phone noted it.
    pub paused_by_owner: Maybe<Option<Timestamp>>,
    /// Every switching on and off, oldest first.
    pub switchings: Maybe<Vec<Switching>>,
    /// Assets that the phone still has to take in from the server (`DownloadCounts.plist`).
    pub to_download: Maybe<u64>,
    /// Days an asset stays in Recently Deleted, as the server configured it (30 if it says nothing).
    pub recently_deleted_days: Maybe<u32>,
    /// "Optimise Storage" is set (`downloadAndKeepOriginals` false or absent), known only from inside a backup.
    pub optimise_storage: Maybe<bool>,
    /// Left-overs of Photo Stream were seen.
    pub photo_stream_traces: Maybe<bool>,
    /// The marker files.
    pub markers: Markers,
    /// The engine has a reset of its own before it, which keeps uploads waiting (`resetevents.plist`).
    pub reset_pending: Maybe<bool>,
    /// How often the engine ran, and what kept it, by its own counters (`metrics.plist`); shown, never judged.
    pub metrics: Maybe<BTreeMap<String, u64>>,
    /// What waits to go up, from the engine's own store; a gap `icloud_photos.backlog` when it could not be read.
    pub backlog: Maybe<Backlog>,
    /// When the server's configuration last came in (`lastUpdate`).
    pub server_configuration_at: Maybe<Timestamp>,
    /// The engine's status; `None` with a gap `icloud_photos.engine` when it could not be read, `None` without one
    /// when the file is not there (iCloud Photos was never on).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
}

/// iCloud Backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct IcloudBackup {
    /// The switch.
    pub enabled: Maybe<bool>,
    /// The last one that succeeded; `None` without a gap: never.
    pub last_backup: Maybe<Timestamp>,
    /// The state and error noted by the phone, from inside a local backup.
    pub failure: Maybe<String>,
    /// When the account that iCloud Backup uses was switched on, from inside a local backup.
    pub account_enabled: Maybe<Timestamp>,
    /// The switch when a local backup was made. What is judged is [`IcloudBackup::enabled`], which the phone says now.
    pub enabled_in_backup: Maybe<bool>,
    /// The last one that had succeeded when a local backup was made; how old the last one is now it does not tell.
    pub last_backup_in_backup: Maybe<Timestamp>,
}
