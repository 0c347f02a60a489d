//! What each fact is called, and how its value reads, for people: in the terminal, in the report, in `info`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::facts::text::plain;
use crate::visit::words;

/// Names in plain words, by the dotted name of the fact or its group.
const NAMES: &[(&str, &str)] = &[
    ("battery", "Battery and heat"),
    ("battery.level_percent", "Charge"),
    ("battery.charging", "Charging"),
    ("battery.external_power", "Power on the cable"),
    ("battery.health_percent", "Battery health (our estimate)"),
    ("battery.cycle_count", "Charge cycles"),
    ("battery.temperature_c", "Temperature"),
    ("battery.current_ma", "Current into the battery"),
    ("battery.adapter_watts", "The charger offers"),
    ("battery.fully_charged", "Full"),
    ("storage", "Storage of the phone"),
    ("storage.total_bytes", "In all"),
    ("storage.free_bytes", "Free"),
    ("storage.purgeable_bytes", "The phone could free by itself"),
    ("icloud_photos", "iCloud Photos"),
    ("icloud_photos.enabled", "Switched on"),
    ("icloud_photos.last_sync", "Last contact with iCloud"),
    ("icloud_photos.server_assets", "Photos and videos in iCloud"),
    ("icloud_photos.still_since", "Nothing has moved since"),
    ("icloud_photos.reset_pending", "A reset of its own is still to come"),
    ("icloud_photos.metrics", "Its own counters"),
    ("icloud_photos.paused_by_owner", "Paused by the owner"),
    ("icloud_photos.pause_reason", "Why it waits"),
    ("icloud_photos.switchings", "Switched on and off"),
    ("icloud_photos.to_download", "Still to take in from iCloud"),
    ("icloud_photos.recently_deleted_days", "Days kept in Recently Deleted"),
    ("icloud_photos.optimise_storage", "Optimise Storage"),
    ("icloud_photos.photo_stream_traces", "Traces of Photo Stream"),
    ("icloud_photos.markers", "Marks that it left (the phone's own time)"),
    ("icloud_photos.markers.enabled", "Switched on at"),
    ("icloud_photos.markers.download_finished", "Everything downloaded once"),
    ("icloud_photos.markers.initial_sync", "First sync finished"),
    ("icloud_photos.backlog", "Waiting to go up"),
    ("icloud_photos.backlog.outgoing_files", "Files"),
    ("icloud_photos.backlog.outgoing_bytes", "Size"),
    ("icloud_photos.backlog.outgoing_changes", "Changes"),
    ("icloud_photos.backlog.quarantined", "Set aside by the phone"),
    ("icloud_photos.backlog.scopes", "Libraries that are kept in step"),
    ("icloud_photos.backlog.scopes.identifier", "Name"),
    ("icloud_photos.backlog.scopes.estimated_assets", "Photos"),
    ("icloud_photos.backlog.scopes.estimated_bytes", "Size"),
    ("icloud_photos.backlog.scopes.initial_sync", "First sync finished"),
    ("icloud_photos.backlog.scopes.last_pull", "Last taken in"),
    ("icloud_photos.backlog.scopes.disabled_at", "Switched off"),
    ("icloud_photos.backlog.scopes.delete_at", "To be deleted"),
    ("icloud_photos.backlog.scopes.dropped_some_records", "Left something out"),
    ("icloud_photos.server_configuration_at", "Apple's settings for it are of"),
    ("icloud_photos.engine", "What the sync engine says"),
    ("icloud_photos.engine.is_exceeding_quota", "iCloud storage is full"),
    ("icloud_photos.engine.is_exceeding_shared_library_quota", "Storage of the shared library is full"),
    ("icloud_photos.engine.low_disk_space", "Too little storage on the phone"),
    ("icloud_photos.engine.very_low_disk_space", "Hardly any storage on the phone"),
    ("icloud_photos.engine.not_authenticated", "Not signed in to iCloud"),
    ("icloud_photos.engine.client_too_old", "iOS is too old for it"),
    ("icloud_photos.engine.connected_to_network", "Has a network"),
    ("icloud_photos.engine.in_airplane_mode", "Airplane mode"),
    ("icloud_photos.engine.cellular_is_restricted", "Not over mobile data"),
    ("icloud_photos.engine.constrained_network", "Low Data Mode"),
    ("icloud_photos.engine.poor_network", "Poor network"),
    ("icloud_photos.engine.low_power_mode", "Low Power Mode"),
    ("icloud_photos.engine.low_battery", "Battery too low for it"),
    ("icloud_photos.engine.has_battery_budget", "May still use the battery today"),
    ("icloud_photos.engine.has_valid_system_budget", "iOS gives it time to work"),
    ("icloud_photos.engine.has_cellular_budget", "May still use mobile data"),
    ("icloud_photos.engine.thermal_pressure", "Too hot for it"),
    ("icloud_photos.engine.moderate_thermal_pressure", "Warm"),
    ("icloud_photos.engine.heavy_resource_usage", "The phone is busy"),
    ("icloud_photos.engine.poor_system_conditions", "The phone has no room for it"),
    ("icloud_photos.engine.taking_backup_snapshot", "A backup is being made"),
    ("icloud_photos.engine.library_exists", "There is a library in iCloud"),
    ("icloud_photos.engine.library_wiped", "The library in iCloud was emptied"),
    ("icloud_photos.engine.container_wiped", "Its place in iCloud was emptied"),
    ("icloud_photos.engine.walrus_enabled", "Advanced Data Protection"),
    ("icloud_photos.engine.stuck_in_shared_library_exit", "Leaving the shared library hangs"),
    ("icloud_photos.engine.exit_delete_time", "iCloud deletes the library on"),
    ("icloud_photos.engine.initial_sync_date", "First sync finished"),
    ("icloud_photos.engine.last_sync_date", "Last contact with iCloud"),
    ("icloud_photos.engine.cloud_asset_count", "The server counts"),
    ("icloud_photos.engine.cloud_asset_count_checked_at", "Counted"),
    ("icloud_photos.engine.upgrade_suggested", "A newer iOS is suggested"),
    ("icloud_photos.engine.server_feature_version", "Version of the server"),
    ("icloud_photos.engine.has_changes_to_process", "Has changes to work through"),
    ("icloud_photos.engine.last_prune_date", "Last freed storage"),
    ("icloud_photos.engine.last_complete_prefetch_date", "Last fetched everything ahead"),
    ("icloud_photos.engine.shared_library_exit_remaining", "Still to bring out of the shared library"),
    ("icloud_photos.engine.blocked_reason", "Blocked (a number of Apple's)"),
    ("icloud_photos.engine.unblocked_reason", "Unblocked (a number of Apple's)"),
    ("icloud_photos.engine.busy_state", "Busy (a number of Apple's)"),
    ("icloud_photos.engine.unknown_keys", "Says more that is not known here"),
    ("icloud_backup", "iCloud Backup"),
    ("icloud_backup.enabled", "Switched on"),
    ("icloud_backup.last_backup", "Last backup"),
    ("icloud_backup.failure", "Trouble noted by the phone"),
    ("icloud_backup.account_enabled", "Its account was switched on"),
    ("icloud_backup.enabled_in_backup", "Switched on when our backup was made"),
    ("icloud_backup.last_backup_in_backup", "Last backup when ours was made"),
    ("local_backup", "Backup on a computer"),
    ("local_backup.will_encrypt", "A backup password is set"),
    ("local_backup.requires_encryption", "Encryption is demanded"),
    ("local_backup.last_backup", "Last one, to any computer"),
    ("local_backup.made_at", "Ours was made"),
    ("local_backup.verified_at", "Ours was proven"),
    ("local_backup.encrypted", "Ours is encrypted"),
    ("local_backup.password_known", "Its password was known"),
    ("photo_copy", "Our copy of the photos"),
    ("photo_copy.files_copied", "Files copied and proven"),
    ("photo_copy.files_not_copied", "Files not copied yet"),
    ("photo_copy.bytes_not_copied", "Their size"),
    ("photo_copy.verified_at", "Proven"),
    ("library", "Photo library"),
    ("library.assets", "Photos and videos"),
    ("library.uploaded", "In iCloud"),
    ("library.waiting", "Waiting for upload"),
    ("library.failed", "Given up by the phone"),
    ("library.never_queued", "Never queued for upload"),
    ("library.originals_here_and_in_icloud", "Originals here and in iCloud"),
    ("library.originals_only_here", "Originals only on this phone"),
    ("library.originals_only_in_icloud", "Originals only in iCloud"),
    ("library.originals_in_neither", "Originals in neither"),
    ("library.originals_place_unknown", "Originals whose place is unknown"),
    ("library.recently_deleted", "In Recently Deleted"),
    ("library.hidden", "In the Hidden album"),
    ("library.shared_album_only", "Only in shared albums"),
    ("library.burst_frames_unpicked", "Burst pictures not picked"),
    ("library.from_backup_made_at", "Read from our backup, made"),
    ("library.model_version", "Version of the library"),
    ("settings", "Clock, management, account"),
    ("settings.clock_offset_seconds", "Clock ahead of this computer's"),
    ("settings.time_zone", "Time zone"),
    ("settings.activation_state", "Activation"),
    ("settings.setup_done", "Set up"),
    ("settings.find_my", "Find My"),
    ("settings.profiles", "Configuration profiles"),
    ("settings.supervised", "Managed by an organisation"),
    ("settings.apple_account", "An Apple Account is signed in"),
    ("settings.account_data_classes", "What that account is used for"),
    ("settings.set_up_by", "How the phone was set up"),
    ("settings.find_my_in_backup", "Find My when the backup was made"),
    ("settings.recent_panics", "Restarts by itself in 7 days"),
    ("reach", "Trusted session"),
    ("device", "Device"),
    ("device.udid", "Id"),
    ("device.name", "Name"),
    ("device.product_type", "Apple's name for the model"),
    ("device.model", "Model"),
    ("device.ios_version", "iOS"),
    ("device.build", "Build"),
];

/// What a fact is called. A name that is not known is spelt out.
#[must_use]
pub fn name(fact: &str) -> String {
    if let Some((_, words)) = NAMES.iter().find(|(name, _)| *name == fact) {
        return (*words).to_owned();
    }
    spelt_out(fact)
}

/// A name that the program gave to something, as words: `icloud-storage-full` is `iCloud storage full`.
fn spelt_out(name: &str) -> String {
    let words = plain(name).replace(['_', '-'], " ").replace("icloud", "iCloud");
    let mut chars = words.chars();
    match chars.next() {
        Some('i') if words.starts_with("iCloud") => words,
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// A fact of the second level with its group, for where it stands alone: `Photo library: Waiting for upload`.
#[must_use]
pub fn whole_name(fact: &str) -> String {
    match fact.split_once('.') {
        Some((group, _)) => format!("{}: {}", name(group), name(fact)),
        None => name(fact),
    }
}

/// A value as it reads. Text from the phone in it is defused.
#[must_use]
pub fn in_words(fact: &str, value: &Value, zone: &TimeZone) -> String {
    let last = fact.rsplit('.').next().unwrap_or(fact);
    match value {
        Value::Null => "unknown".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number_in_words(last, number),
        Value::String(text) if last == "pause_reason" => spelt_out(text),
        Value::String(text) => match (text.parse::<Timestamp>(), text.parse::<DateTime>()) {
            (Ok(at), _) => words::moment(at, zone),
            // A phone may be called like a day.
            (_, Ok(local)) if fact.starts_with("icloud_photos.markers.") => {
                local.strftime("%-d %b %Y, %H:%M").to_string()
            }
            _ => plain(text),
        },
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| in_words(fact, item, zone)).collect();
            if items.is_empty() { "none".to_owned() } else { items.join(", ") }
        }
        Value::Object(fields) if fact == "icloud_photos.switchings" => {
            let on = if fields.get("enabled") == Some(&Value::Bool(true)) { "on" } else { "off" };
            let at = fields.get("at").map_or_else(String::new, |at| in_words("", at, zone));
            let reason = fields.get("reason").and_then(Value::as_str).map(plain);
            format!("{on} {at}{}", reason.map_or_else(String::new, |reason| format!(" ({reason})")))
        }
        Value::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| !value.is_null());
            let parts = known.map(|(key, value)| {
                let inner = format!("{fact}.{key}");
                format!("{} {}", name_of_part(&inner, key).to_lowercase(), in_words(&inner, value, zone))
            });
            parts.collect::<Vec<_>>().join(", ")
        }
    }
}

fn name_of_part(dotted: &str, key: &str) -> String {
    if NAMES.iter().any(|(name, _)| *name == dotted) { name(dotted) } else { name(key) }
}

fn number_in_words(last: &str, number: &serde_json::Number) -> String {
    let unit = |text: String| match last {
        name if name.ends_with("_percent") => format!("{text} %"),
        name if name.ends_with("_c") => format!("{text} °C"),
        name if name.ends_with("_ma") => format!("{text} mA"),
        name if name.ends_with("_watts") => format!("{text} W"),
        name if name.ends_with("_seconds") => format!("{text} s"),
        _ => text,
    };
    match number.as_u64() {
        Some(bytes) if last.ends_with("_bytes") || last.starts_with("bytes_") => words::bytes(bytes),
        Some(version) if last.ends_with("_version") => version.to_string(),
        Some(count) => unit(words::count(count)),
        None if number.is_i64() => unit(number.to_string()),
        None => unit(number.as_f64().map_or_else(|| number.to_string(), |real| format!("{real:.1}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::facts::{Engine, Facts};

    #[test]
    fn every_fact_has_a_name_in_plain_words() {
        let mut facts = Facts::default();
        facts.icloud_photos.engine = Some(Engine::default());
        let whole = serde_json::to_value(&facts).unwrap();
        let mut missing = Vec::new();
        walk("", &whole, &mut |name| {
            if !NAMES.iter().any(|(known, _)| *known == name) {
                missing.push(name.to_owned());
            }
        });
        assert!(missing.is_empty(), "{missing:?}");
        let names: BTreeSet<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), NAMES.len(), "each once");
    }

    fn walk(at: &str, value: &Value, each: &mut impl FnMut(&str)) {
        let Value::Object(fields) = value else { return };
        for (key, value) in fields {
            let name = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
            each(&name);
            walk(&name, value, each);
        }
    }

    #[test]
    fn values_have_their_units_and_a_phones_text_is_defused() {
        let of = |fact: &str, value: Value| in_words(fact, &value, &TimeZone::UTC);
        assert_eq!(of("storage.free_bytes", json!(30_701_121_536_u64)), "30.7 GB");
        assert_eq!(of("photo_copy.bytes_not_copied", json!(1_500_000)), "1.5 MB");
        assert_eq!(of("battery.level_percent", json!(53)), "53 %");
        assert_eq!(of("battery.temperature_c", json!(29.5)), "29.5 °C");
        assert_eq!(of("battery.current_ma", json!(-312)), "-312 mA");
        assert_eq!(of("settings.profiles", json!([])), "none");
        assert_eq!(of("icloud_photos.markers.enabled", json!("2023-11-18T11:48:40")), "18 Nov 2023, 11:48");
        assert_eq!(of("icloud_photos.pause_reason", json!("icloud-storage-full")), "iCloud storage full");
        assert_eq!(
            of("icloud_photos.backlog.scopes", json!([{"identifier": "A", "last_pull": null}])),
            "name A"
        );
        assert_eq!(of("settings.time_zone", json!("a\u{1b}b")), "a\u{FFFD}b");
        assert_eq!(of("icloud_photos.last_sync", json!("2026-11-20T21:17:09Z")), "20 Nov 2026, 21:17");
        assert_eq!(
            of(
                "icloud_photos.switchings",
                json!([{"enabled": false, "at": "2026-11-20T21:17:09Z", "reason": "x\u{1b}"}])
            ),
            "off 20 Nov 2026, 21:17 (x\u{FFFD})"
        );
        assert_eq!(
            of("icloud_photos.backlog", json!({"outgoing_files": 3, "outgoing_bytes": 2_000})),
            "files 3, size 2.0 kB"
        );
    }

    #[test]
    fn an_unknown_name_is_spelt_out() {
        assert_eq!(name("icloud_new_thing"), "iCloud new thing");
        assert_eq!(name("level_percent"), "Level percent");
        assert_eq!(whole_name("library.waiting"), "Photo library: Waiting for upload");
    }
}
