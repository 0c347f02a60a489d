//! The engine's small files.

use plist::{Date, Dictionary, Value};

use crate::facts::value;
use crate::frame;
use crate::library::cpl;

fn binary(entries: &[(&str, Value)]) -> Vec<u8> {
    let root: Dictionary = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    frame::to_binary(&Value::Dictionary(root))
}

fn date(text: &str) -> Value {
    Value::Date(Date::from_xml_format(text).unwrap())
}

#[test]
fn a_status_as_phones_write_it() {
    let counts: Dictionary = [("public.image", 17_u64), ("public.movie", 6)]
        .map(|(k, n)| (k.to_owned(), Value::from(n)))
        .into_iter()
        .collect();
    let bytes = binary(&[
        ("isExceedingQuota", true.into()),
        ("hasBatteryBudgetKey", false.into()),
        ("iCloudLibraryExists", true.into()),
        ("cloudAssetCountPerType", Value::Dictionary(counts)),
        ("lastSyncDate", date("2023-01-07T21:17:09Z")),
        ("blockedReason", 3.into()),
        ("accountFlags", Value::Data(vec![8])),
        ("somethingNew", true.into()),
        ("isTakingBackupSnapshot", true.into()),
    ]);
    let (engine, gaps) = cpl::sync_status(&bytes, "2023-01-08T00:00:00Z".parse().ok()).unwrap();
    assert!(gaps.is_empty());
    assert_eq!(value(&engine.is_exceeding_quota), Some(true));
    assert_eq!(value(&engine.has_battery_budget), Some(false));
    assert_eq!(value(&engine.low_battery), None);
    assert_eq!(value(&engine.cloud_asset_count), Some(23));
    assert_eq!(value(&engine.last_sync_date).unwrap().to_string(), "2023-01-07T21:17:09Z");
    assert_eq!(value(&engine.taking_backup_snapshot), Some(true));
    assert_eq!(engine.unknown_keys, ["isTakingBackupSnapshot", "somethingNew"]);
    let source = engine.is_exceeding_quota.unwrap().source;
    assert_eq!(
        (source.place.as_ref(), source.key.as_ref()),
        ("afc:/PhotoData/CPL/syncstatus.plist", "isExceedingQuota")
    );
    assert!(source.written_at.is_some());
}

#[test]
fn wrong_types_are_gaps_and_not_values() {
    let negative: Dictionary = [("public.image".to_owned(), Value::from(-1))].into_iter().collect();
    let bytes = binary(&[
        ("isExceedingQuota", "yes".into()),
        ("lastSyncDate", 5.into()),
        ("busyState", "x".into()),
        ("cloudAssetCountPerType", Value::Dictionary(negative)),
        ("remainingCountInSharedLibraryExit", u64::MAX.into()),
        ("lowDiskSpace", 7.into()),
    ]);
    let (engine, gaps) = cpl::sync_status(&bytes, None).unwrap();
    assert_eq!(engine, crate::facts::Engine::default());
    let names: Vec<_> = gaps.iter().map(|gap| gap.fact.rsplit('.').next().unwrap()).collect();
    let wanted = [
        "is_exceeding_quota",
        "low_disk_space",
        "last_sync_date",
        "busy_state",
        "cloud_asset_count",
        "shared_library_exit_remaining",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn every_key_of_the_wrong_type_is_survived() {
    let good = binary(&[("isExceedingQuota", true.into()), ("lastSyncDate", date("2023-01-07T21:17:09Z"))]);
    for length in 0..good.len() {
        let _ = cpl::sync_status(&good[..length], None);
    }
    for root in [Value::Array(Vec::new()), Value::String("x".into()), Value::Boolean(true)] {
        assert!(cpl::sync_status(&frame::to_binary(&root), None).is_err());
        assert!(cpl::download_counts(&frame::to_binary(&root)).is_err());
        assert!(cpl::server_configuration(&frame::to_binary(&root)).is_err());
        assert!(cpl::pause(&frame::to_binary(&root)).is_err());
    }
}

/// One value of every sort that a property list has, none of them a sensible one.
fn every_sort() -> Vec<Value> {
    let nested = Dictionary::from_iter([("public.image".to_owned(), Value::from("many"))]);
    vec![
        Value::Array(vec![Value::from(1)]),
        Value::Dictionary(nested),
        Value::Boolean(true),
        Value::Data(vec![0xFF; 9]),
        date("0001-01-01T00:00:00Z"),
        date("9999-12-31T23:59:59Z"),
        Value::Real(f64::NAN),
        Value::Real(1e300),
        Value::from(-1),
        Value::from(i64::MIN),
        Value::from(1_u64 << 63),
        Value::from(u64::MAX),
        Value::from("\u{1b}[2J\u{202e}yes"),
    ]
}

#[test]
fn every_key_of_every_file_with_every_sort_of_value_is_survived() {
    const FLAGS: [&str; 6] = [
        "isExceedingQuota",
        "lowDiskSpace",
        "iCloudLibraryExists",
        "containerHasBeenWiped",
        "connectedToNetwork",
        "hasBatteryBudgetKey",
    ];
    const OTHERS: [&str; 10] = [
        "exitDeleteTime",
        "initialSyncDate",
        "lastSyncDate",
        "lastPruneDate",
        "cloudAssetCountPerTypeLastCheckDate",
        "cloudAssetCountPerType",
        "remainingCountInSharedLibraryExit",
        "busyState",
        "blockedReason",
        "somethingWithASnapshot",
    ];
    for wrong in every_sort() {
        for key in FLAGS.iter().chain(&OTHERS) {
            let (engine, gaps) = cpl::sync_status(&binary(&[(key, wrong.clone())]), None).unwrap();
            let says_nothing = engine == crate::facts::Engine::default();
            if FLAGS.contains(key) && wrong.as_boolean().is_none() {
                assert!(says_nothing && gaps.len() == 1, "{key} = {wrong:?}");
            }
            let shown = gaps.iter().map(|gap| gap.reason.clone()).chain(engine.unknown_keys);
            assert!(shown.flat_map(|text| text.chars().collect::<Vec<_>>()).all(|c| !c.is_control()));
        }
        let _ = cpl::download_counts(&binary(&[("CountKeyImages", wrong.clone())]));
        let _ = cpl::pause(&binary(&[("reason", wrong.clone()), ("unpauseTime", wrong.clone())]));
        let inner = [("max.days.inRecentlyDeleted".to_owned(), wrong.clone())].into_iter().collect();
        let bytes = binary(&[("configuration", Value::Dictionary(inner)), ("lastUpdate", wrong.clone())]);
        let days = cpl::server_configuration(&bytes).unwrap().recently_deleted_days;
        assert!(days.is_none_or(|days| (1..=366).contains(&days)), "{wrong:?}");
        let entry = switching("CPL", wrong.clone(), wrong.clone());
        assert!(cpl::switchings(&frame::to_binary(&Value::Array(vec![entry]))).is_err(), "{wrong:?}");
        let _ = cpl::metrics(&binary(&[("TotalSessionsCount", wrong.clone())]));
        let pending = cpl::reset_pending(&binary(&[("pending", wrong.clone()), ("events", wrong.clone())]));
        assert_eq!(pending.unwrap(), wrong.as_boolean() == Some(true), "{wrong:?}");
    }
}

#[test]
fn resets_and_counters() {
    let entry = |pending: bool| {
        Value::Dictionary([("pending".to_owned(), Value::from(pending))].into_iter().collect())
    };
    let listed = |pending| binary(&[("events", Value::Array(vec![entry(false), entry(pending)]))]);
    assert!(cpl::reset_pending(&listed(true)).unwrap());
    assert!(!cpl::reset_pending(&listed(false)).unwrap());
    assert!(cpl::reset_pending(&frame::to_binary(&Value::Array(vec![entry(true)]))).unwrap());
    assert!(cpl::reset_pending(&binary(&[("a", entry(true))])).unwrap());
    assert!(cpl::reset_pending(b"noise").is_err());
    let counts = cpl::metrics(&binary(&[("TotalSessionsCount", 9.into()), ("Name", 3.into())])).unwrap();
    assert_eq!(counts, [("TotalSessionsCount".to_owned(), 9)].into());
}

#[test]
fn markers_hold_local_time() {
    let moment = cpl::marker(b"2022-12-31 15.30.47.888").unwrap();
    assert_eq!(moment.to_string(), "2022-12-31T15:30:47.888");
    for bad in [
        &b""[..],
        b"x",
        b"2022-12-31",
        b"2022-13-31 15.30.47",
        b"2022-12-31 15.30",
        b"\xFF\xFE",
        &[b'9'; 500],
    ] {
        assert_eq!(cpl::marker(bad), None, "{bad:?}");
    }
}

fn switching(kind: &str, enabled: Value, at: Value) -> Value {
    let entry = [("type", kind.into()), ("enabled", enabled), ("timestamp", at)];
    Value::Dictionary(entry.map(|(key, value): (&str, Value)| (key.to_owned(), value)).into_iter().collect())
}

#[test]
fn the_history_is_sorted_and_only_that_of_icloud_photos() {
    let bytes = frame::to_binary(&Value::Array(vec![
        switching("CPL", false.into(), date("2023-02-01T00:00:00Z")),
        switching("SharedAlbum", true.into(), date("2023-03-01T00:00:00Z")),
        switching("CPL", true.into(), date("2022-12-31T23:30:01Z")),
    ]));
    let history = cpl::switchings(&bytes).unwrap();
    assert_eq!(history.iter().map(|entry| entry.enabled).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn half_a_history_is_none() {
    let bytes = frame::to_binary(&Value::Array(vec![
        switching("CPL", true.into(), date("2022-12-31T23:30:01Z")),
        switching("CPL", "off".into(), date("2023-12-31T23:30:01Z")),
    ]));
    assert!(cpl::switchings(&bytes).is_err());
}

#[test]
fn counts_and_configuration() {
    let counts = binary(&[("CountKeyImages", 3.into()), ("CountKeyVideos", 4.into())]);
    assert_eq!(cpl::download_counts(&counts).unwrap(), 7);
    assert!(cpl::download_counts(&binary(&[("CountKeyImages", u64::MAX.into())])).is_err());
    let days = |days: Value| {
        let inner = [("max.days.inRecentlyDeleted".to_owned(), days)].into_iter().collect();
        let bytes = binary(&[("configuration", Value::Dictionary(inner))]);
        cpl::server_configuration(&bytes).unwrap().recently_deleted_days
    };
    assert_eq!(days(30.into()), Some(30));
    assert_eq!(
        (days((-1).into()), days(0.into()), days(u64::MAX.into()), days("x".into())),
        (None, None, None, None)
    );
}

#[test]
fn a_pause_by_the_owner_is_told_from_one_of_the_system() {
    assert!(cpl::pause(&binary(&[("reason", 3.into())])).unwrap().by_owner);
    assert!(!cpl::pause(&binary(&[("reason", 1.into())])).unwrap().by_owner);
    assert!(cpl::pause(&binary(&[("unpauseTime", date("2026-01-01T00:00:00Z"))])).unwrap().until.is_some());
}
