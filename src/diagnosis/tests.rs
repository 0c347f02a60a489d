//! Walks the table of rules, and tells stories of whole phones.

use std::collections::BTreeSet;

use super::rule::Case;
use super::rule::cases::{asset, days_ago, engine, fact, icloud_on, library_of, read_phone};
use super::*;
use crate::facts::{Owner, Upload};

fn cases() -> impl Iterator<Item = &'static Case> {
    let all: [&'static [Case]; 9] = [
        reach::CASES,
        power::CASES,
        device::CASES,
        network::CASES,
        account::CASES,
        icloud_photos::CASES,
        uploads::CASES,
        missing::CASES,
        backups::CASES,
    ];
    all.into_iter().flatten()
}

fn ids(facts: &Facts) -> Vec<FindingId> {
    diagnose(facts).findings.iter().map(|finding| finding.id).collect()
}

#[test]
fn every_id_has_one_rule_and_one_case() {
    let by_rule: BTreeSet<FindingId> = rules().map(|rule| rule.id).collect();
    let by_case: BTreeSet<FindingId> = cases().map(|case| case.id).collect();
    let all: BTreeSet<FindingId> = FindingId::ALL.iter().copied().collect();
    assert_eq!(by_rule, all);
    assert_eq!(by_case, all);
    assert_eq!(rules().count(), all.len());
    assert_eq!(cases().count(), all.len());
}

#[test]
fn names_are_kebab_case_and_found_again() {
    for id in FindingId::ALL {
        assert!(id.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{id}");
        assert_eq!(FindingId::parse(id.as_str()), Some(*id));
    }
    assert_eq!(FindingId::parse("nonsense"), None);
}

#[test]
fn each_rule_fires_on_its_case_and_not_beside_it() {
    for case in cases() {
        let mut facts = read_phone();
        (case.fires)(&mut facts);
        let diagnosis = diagnose(&facts);
        let finding = diagnosis.finding(case.id);
        assert!(finding.is_some(), "{} does not fire", case.id);
        let title = &finding.unwrap().title;
        assert!(
            title.ends_with('.') && title.starts_with(char::is_alphanumeric) || title.starts_with('\u{201c}')
        );
        let mut facts = read_phone();
        (case.silent)(&mut facts);
        assert!(!ids(&facts).contains(&case.id), "{} fires where it must not", case.id);
    }
}

#[test]
fn every_finding_names_its_evidence() {
    for case in cases() {
        let mut facts = read_phone();
        (case.fires)(&mut facts);
        let finding = diagnose(&facts).finding(case.id).cloned().unwrap();
        // These two say that there is nothing.
        let says_nothing = [FindingId::LocalBackupMissing, FindingId::PhotosNotCopied].contains(&case.id);
        assert!(says_nothing || !finding.evidence.is_empty(), "{}", case.id);
    }
}

#[test]
fn nothing_is_found_on_a_phone_that_was_not_read() {
    assert_eq!(ids(&Facts::default()), []);
}

#[test]
fn what_is_unknown_is_not_taken_for_no() {
    let mut facts = read_phone();
    for group in [
        "battery",
        "storage",
        "icloud_backup",
        "local_backup",
        "photo_copy",
        "settings",
        "icloud_photos",
        "library",
    ] {
        facts.gap(group, "nobody knows");
    }
    assert_eq!(ids(&facts), [FindingId::LibraryUnreadable, FindingId::SyncStatusUnreadable]);
}

#[test]
fn a_phone_that_was_read_wants_to_be_copied_and_backed_up() {
    assert_eq!(ids(&read_phone()), [FindingId::LocalBackupMissing, FindingId::PhotosNotCopied]);
}

#[test]
fn a_full_icloud_is_the_answer_while_something_waits() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    engine(&mut facts).is_exceeding_quota = fact(true);
    library_of(&mut facts, asset(Upload::Waiting, 30));
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.pause_reason, Some(FindingId::IcloudStorageFull));
    let first = &diagnosis.findings[0];
    assert_eq!((first.id, first.severity), (FindingId::IcloudStorageFull, Severity::Blocking));
    let json = serde_json::to_value(first).unwrap();
    assert_eq!(json["evidence"][0]["value"], true);
    assert_eq!(json["severity"], "blocking");
}

#[test]
fn a_full_icloud_blocks_nothing_when_everything_is_up() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    engine(&mut facts).is_exceeding_quota = fact(true);
    library_of(&mut facts, asset(Upload::Uploaded, 30));
    facts.library.counts.originals_only_in_icloud = Some(4);
    let diagnosis = diagnose(&facts);
    assert!(diagnosis.findings.iter().all(|finding| finding.severity != Severity::Blocking));
}

#[test]
fn a_full_icloud_is_the_answer_before_the_library_is_read() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    engine(&mut facts).is_exceeding_quota = fact(true);
    assert_eq!(diagnose(&facts).findings[0].id, FindingId::IcloudStorageFull);
}

#[test]
fn what_was_added_long_before_the_last_sync_is_stuck_and_the_rest_waits() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    let young = asset(Upload::Waiting, 0);
    let old = asset(Upload::Waiting, 3);
    let mut trashed = asset(Upload::Waiting, 3);
    trashed.trashed = Some(None);
    let mut foreign = asset(Upload::NeverQueued, 3);
    foreign.owner = Owner::SharedAlbum;
    library_of(&mut facts, old.clone());
    facts.library.counts.waiting = Some(3);
    facts.library.assets = Some(vec![old.clone(), old, young, trashed, foreign]);
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.findings[0].id, FindingId::UploadsStuck);
    assert!(diagnosis.findings[0].title.starts_with("2 photos are stuck"), "{}", diagnosis.findings[0].title);
    let waiting = diagnosis.finding(FindingId::UploadsWaiting).unwrap();
    assert!(waiting.title.starts_with("1 photo is waiting"), "{}", waiting.title);
}

#[test]
fn a_measurement_beats_an_old_flag() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    engine(&mut facts).low_battery = fact(true);
    facts.battery.level_percent = fact(80);
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.pause_reason, None);
    assert!(diagnosis.finding(FindingId::BatteryLow).is_none());
}

#[test]
fn recently_deleted_tells_the_days_left() {
    let mut facts = read_phone();
    let mut gone = asset(Upload::Uploaded, 90);
    gone.trashed = Some(Some(days_ago(28)));
    gone.original_name = Some("Beach.HEIC".to_owned());
    facts.library.counts.recently_deleted = Some(1);
    facts.library.assets = Some(vec![gone]);
    let finding = diagnose(&facts).finding(FindingId::RecentlyDeleted).cloned().unwrap();
    assert_eq!(
        finding.title,
        "1 photo is in Recently Deleted and can be recovered; the first goes for good in 2 days."
    );
    assert_eq!(finding.evidence[1].value, serde_json::json!([{"name": "Beach.HEIC", "days_left": 2}]));
}

#[test]
fn a_deletion_date_comes_before_every_other_trouble() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    engine(&mut facts).is_exceeding_quota = fact(true);
    engine(&mut facts).exit_delete_time = fact(days_ago(-12));
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.findings[0].id, FindingId::IcloudLibraryDeletionScheduled);
    assert!(diagnosis.findings[0].title.contains("in 12 days"), "{}", diagnosis.findings[0].title);
}

#[test]
fn stolen_device_protection_is_always_last() {
    for case in cases() {
        let mut facts = read_phone();
        (case.fires)(&mut facts);
        let device = facts.device.as_mut().unwrap();
        device.product_type = Some("iPhone17,1".to_owned());
        device.ios_version = Some("26.1".to_owned());
        let ids = ids(&facts);
        assert_eq!(ids.last(), Some(&FindingId::StolenDeviceProtection), "{}", case.id);
    }
}

#[test]
fn the_pause_reason_is_always_among_the_findings() {
    // All pairs of cases: enough to meet every precedence.
    for first in cases() {
        for second in cases() {
            let mut facts = read_phone();
            (first.fires)(&mut facts);
            (second.fires)(&mut facts);
            let diagnosis = diagnose(&facts);
            if let Some(id) = diagnosis.pause_reason {
                assert!(diagnosis.finding(id).is_some(), "{} and {}", first.id, second.id);
            }
            assert!(
                diagnosis.findings.windows(2).all(|pair| {
                    pair[0].severity <= pair[1].severity || pair[1].id == FindingId::StolenDeviceProtection
                }),
                "worst first"
            );
        }
    }
}

#[test]
fn a_full_icloud_explains_what_it_keeps_from_happening_and_nothing_else() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    engine(&mut facts).is_exceeding_quota = fact(true);
    facts.icloud_backup.enabled = fact(true);
    facts.icloud_backup.last_backup = fact(days_ago(1));
    facts.local_backup.last_backup = fact(days_ago(1));
    library_of(&mut facts, asset(Upload::Uploaded, 30));
    facts.library.counts.originals_only_in_icloud = Some(4);
    let idle = diagnose(&facts);
    assert_eq!(idle.findings[0].id, FindingId::OriginalsOnlyInIcloud);
    assert_eq!(idle.finding(FindingId::IcloudStorageFull).unwrap().severity, Severity::Notice);
    facts.icloud_backup.last_backup = fact(days_ago(40));
    assert_eq!(ids(&facts)[0], FindingId::IcloudStorageFull, "no backup finds room");
}

fn title(facts: &Facts, id: FindingId) -> String {
    diagnose(facts).finding(id).unwrap_or_else(|| panic!("no {id}")).title.clone()
}

#[test]
fn what_contradicts_is_said() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    engine(&mut facts).very_low_disk_space = fact(true);
    facts.storage.free_bytes = fact(20_100_000_000);
    assert!(title(&facts, FindingId::DeviceStorageFull).contains("although 20.1 GB are free"));
    engine(&mut facts).very_low_disk_space = None;
    engine(&mut facts).low_disk_space = fact(true);
    assert!(title(&facts, FindingId::DeviceStorageLow).contains("although 20.1 GB are free"));
    facts.storage.free_bytes = fact(900 << 20);
    assert!(!title(&facts, FindingId::DeviceStorageLow).contains("although"));

    engine(&mut facts).thermal_pressure = fact(true);
    facts.battery.temperature_c = fact(24.0);
    assert!(title(&facts, FindingId::DeviceHot).contains("although its battery is at 24.0"));

    engine(&mut facts).exit_delete_time = fact(days_ago(-10));
    assert!(title(&facts, FindingId::IcloudLibraryDeletionScheduled).contains("By its other signs"));
    engine(&mut facts).library_wiped = fact(true);
    facts.icloud_photos.server_assets = fact(7);
    assert!(title(&facts, FindingId::IcloudLibraryWiped).contains("still said to hold 7 photos"));

    facts.library.counts.uploaded = Some(9);
    facts.icloud_photos.to_download = fact(3);
    assert!(title(&facts, FindingId::DeviceBehind).contains("although iCloud counts fewer"));

    facts.library.counts.originals_only_in_icloud = Some(2);
    facts.icloud_photos.optimise_storage = fact(false);
    assert!(title(&facts, FindingId::OptimisedStorage).contains("although originals are only in iCloud"));
}

#[test]
fn an_old_flag_is_told_with_its_age_and_a_measurement_is_not() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    let mut old = fact(true);
    old.as_mut().unwrap().source.written_at = Some(days_ago(3));
    engine(&mut facts).low_power_mode = old.clone();
    let told = title(&facts, FindingId::LowPowerMode);
    assert!(told.ends_with(" (as the phone noted 3 days ago)."), "{told}");
    engine(&mut facts).low_disk_space = old;
    facts.storage.free_bytes = fact(700 << 20);
    assert!(!title(&facts, FindingId::DeviceStorageLow).contains("noted"));
    let json = serde_json::to_value(diagnose(&facts).finding(FindingId::LowPowerMode).unwrap()).unwrap();
    assert!(json["evidence"][0]["written_at"].is_string(), "{json}");
}

#[test]
fn two_readings_that_show_the_same_are_stuck_unless_something_explains_it() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    library_of(&mut facts, asset(Upload::Waiting, 0));
    assert!(!ids(&facts).contains(&FindingId::UploadsStuck));
    facts.icloud_photos.still_since = fact(facts.observed_at - thresholds::STILL_AFTER);
    let stuck = title(&facts, FindingId::UploadsStuck);
    assert!(stuck.contains("nothing has moved for 15 minutes"), "{stuck}");
    facts.icloud_photos.reset_pending = fact(true);
    assert!(title(&facts, FindingId::UploadsStuck).contains("reset"));
    engine(&mut facts).in_airplane_mode = fact(true);
    assert!(!ids(&facts).contains(&FindingId::UploadsStuck));
}

#[test]
fn a_library_that_does_not_say_what_is_uploaded_tells_of_nothing_stuck() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    library_of(&mut facts, asset(Upload::Waiting, 30));
    assert!(ids(&facts).contains(&FindingId::UploadsStuck));
    facts.library.unknown_states = vec!["ZCLOUDMASTER.ZCLOUDLOCALSTATE=9 (1)".to_owned()];
    assert!(!ids(&facts).contains(&FindingId::UploadsStuck));
    facts.library.unknown_states = Vec::new();
    facts.library.counts.waiting = None;
    assert!(!ids(&facts).contains(&FindingId::UploadsStuck));
}

#[test]
fn an_old_library_is_not_held_against_what_the_phone_did_since() {
    let mut facts = read_phone();
    icloud_on(&mut facts);
    library_of(&mut facts, asset(Upload::Waiting, 60));
    facts.icloud_photos.server_assets = fact(90);
    facts.library.counts.uploaded = Some(40);
    let of_now = [FindingId::UploadsStuck, FindingId::DeviceBehind];
    assert!(of_now.iter().all(|id| ids(&facts).contains(id)));
    // Read out of a backup, and the phone was in touch with iCloud since: those 50 may be here, and the one there.
    facts.library.from_backup = fact(days_ago(30));
    assert!(!of_now.iter().any(|id| ids(&facts).contains(id)), "{:?}", ids(&facts));
    assert!(ids(&facts).contains(&FindingId::UploadsWaiting));
    facts.library.counts.uploaded = Some(120);
    assert!(!ids(&facts).contains(&FindingId::ServerBehind));
    // Not once since then: the library is as good as the phone's own.
    facts.icloud_photos.last_sync = fact(days_ago(31));
    assert!(ids(&facts).contains(&FindingId::UploadsStuck));
    assert!(ids(&facts).contains(&FindingId::ServerBehind));
}

#[test]
fn a_backup_without_an_account_says_signed_out() {
    let mut facts = read_phone();
    facts.settings.apple_account = fact(true);
    assert!(!ids(&facts).contains(&FindingId::IcloudSignedOut));
    facts.settings.apple_account = fact(false);
    assert!(title(&facts, FindingId::IcloudSignedOut).contains("No Apple Account"));
}

#[test]
fn hostile_values_never_panic_and_stay_on_one_line() {
    use jiff::Timestamp;
    let mut facts = read_phone();
    icloud_on(&mut facts);
    let photos = &mut facts.icloud_photos;
    photos.server_assets = fact(u64::MAX);
    photos.to_download = fact(u64::MAX);
    photos.recently_deleted_days = fact(u32::MAX);
    photos.last_sync = fact(Timestamp::MAX);
    photos.paused_by_owner = fact(Some(Timestamp::MIN));
    engine(&mut facts).exit_delete_time = fact(Timestamp::MAX);
    engine(&mut facts).shared_library_exit_remaining = fact(u64::MAX);
    engine(&mut facts).stuck_in_shared_library_exit = fact(true);
    let mut odd = asset(Upload::Waiting, 0);
    odd.added = Some(Timestamp::MIN);
    odd.trashed = Some(Some(Timestamp::MIN));
    library_of(&mut facts, odd);
    for count in [
        &mut facts.library.counts.waiting,
        &mut facts.library.counts.never_queued,
        &mut facts.library.counts.recently_deleted,
        &mut facts.library.counts.originals_in_neither,
    ] {
        *count = Some(u64::MAX);
    }
    facts.settings.clock_offset_seconds = fact(f64::MAX);
    facts.settings.profiles = fact(vec!["\u{1b}[2J\u{202e}evil\n".to_owned()]);
    facts.icloud_backup.failure = fact("line\nline".to_owned());
    facts.icloud_backup.enabled = fact(true);
    facts.icloud_backup.last_backup = fact(Timestamp::MIN);
    facts.local_backup.made_at = fact(Timestamp::MIN);
    facts.storage.free_bytes = fact(0);
    facts.battery.temperature_c = fact(f64::INFINITY);
    for finding in diagnose(&facts).findings {
        assert!(!finding.title.chars().any(char::is_control), "{:?}", finding.title);
    }
}
