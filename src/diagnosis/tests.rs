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
