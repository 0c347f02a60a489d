//! Rules about the device's storage, its clock, and who manages it.

use crate::facts::sentences::{fixed, say};
use crate::facts::text::{bytes, plain};
use crate::facts::{Facts, Maybe, value};

use super::FindingId;
use super::rule::{Found, Rule, yes};
use super::thresholds::{CLOCK_WRONG_SECONDS, STORAGE_FULL_BYTES, STORAGE_LOW_BYTES};

pub(super) const RULES: &[Rule] = &[
    Rule { id: FindingId::DeviceStorageFull, judge: storage_full },
    Rule { id: FindingId::DeviceStorageLow, judge: storage_low },
    Rule { id: FindingId::ClockWrong, judge: clock_wrong },
    Rule { id: FindingId::ManagedDevice, judge: managed_device },
];

fn storage_full(facts: &Facts) -> Option<Found> {
    let free = &facts.storage.free_bytes;
    let engine = facts.icloud_photos.engine.as_ref();
    let flagged = engine.filter(|engine| yes(&engine.very_low_disk_space));
    let title = match value(free) {
        Some(left) if left < STORAGE_FULL_BYTES => {
            say!("storage-full", free = bytes(left))
        }
        left if flagged.is_some() => {
            say!("storage-full-said", although = although_free(left, STORAGE_FULL_BYTES))
        }
        _ => return None,
    };
    let flag = flagged.map_or(&None, |engine| &engine.very_low_disk_space);
    Some(on_storage(Found::problem(title), facts, flag))
}

/// What a flag of the engine says and the measured space does not: said with it, so that the two do not stand side by
/// side without a word.
fn although_free(left: Option<u64>, limit: u64) -> String {
    match left {
        Some(left) if left >= limit => say!("although-free", free = bytes(left)),
        _ => String::new(),
    }
}

/// What the finding rests on comes first: the measured space where it is little, else the engine's flag.
fn on_storage(found: Found, facts: &Facts, flag: &Maybe<bool>) -> Found {
    let measured = value(&facts.storage.free_bytes).is_some_and(|left| left < STORAGE_LOW_BYTES);
    let found = if measured { found } else { found.on(flag) };
    let found = found.on(&facts.storage.free_bytes).on(&facts.storage.total_bytes);
    if measured { found.on(flag) } else { found }
}

fn storage_low(facts: &Facts) -> Option<Found> {
    if storage_full(facts).is_some() {
        return None;
    }
    let free = &facts.storage.free_bytes;
    let engine = facts.icloud_photos.engine.as_ref();
    let flagged = engine.filter(|engine| yes(&engine.low_disk_space));
    let title = match value(free) {
        Some(left) if left < STORAGE_LOW_BYTES => {
            say!("storage-low", free = bytes(left))
        }
        left if flagged.is_some() => {
            say!("storage-low-said", although = although_free(left, STORAGE_LOW_BYTES))
        }
        _ => return None,
    };
    let flag = flagged.map_or(&None, |engine| &engine.low_disk_space);
    Some(on_storage(Found::problem(title), facts, flag))
}

fn clock_wrong(facts: &Facts) -> Option<Found> {
    let offset = &facts.settings.clock_offset_seconds;
    let seconds = value(offset).filter(|seconds| seconds.abs() > CLOCK_WRONG_SECONDS)?;
    let length = how_long(seconds.abs());
    let title =
        if seconds > 0.0 { say!("clock-fast", length = length) } else { say!("clock-slow", length = length) };
    Some(Found::problem(title).on(offset).on(&facts.settings.time_zone))
}

/// In the largest unit that gives at least two.
fn how_long(seconds: f64) -> String {
    // A clock's offset fits by far; a hostile number becomes the largest one.
    let minutes = (seconds / 60.0).min(1e15) as u64;
    match minutes {
        0..120 => say!("minutes", n = minutes),
        120..2880 => say!("hours", n = minutes / 60),
        _ => say!("days", n = minutes / 1440),
    }
}

fn managed_device(facts: &Facts) -> Option<Found> {
    let settings = &facts.settings;
    let profiles = value(&settings.profiles).filter(|profiles| !profiles.is_empty());
    let supervised = yes(&settings.supervised);
    let title = match profiles {
        Some(profiles) => {
            let named: Vec<String> = profiles.iter().take(3).map(|name| plain(name)).collect();
            let names = named.join(", ");
            match profiles.len() {
                1 => say!("managed-one", names = names),
                number => say!("managed", n = number as u64, names = names),
            }
        }
        None if supervised => fixed("supervised").to_owned(),
        None => return None,
    };
    Some(Found::notice(title).on(&settings.profiles).on(&settings.supervised))
}

#[cfg(test)]
pub(super) const CASES: &[super::rule::Case] = {
    use super::rule::Case;
    use super::rule::cases::{engine, fact};
    &[
        Case {
            id: FindingId::DeviceStorageFull,
            fires: |f| engine(f).very_low_disk_space = fact(true),
            silent: |f| f.storage.free_bytes = fact(STORAGE_FULL_BYTES),
        },
        Case {
            id: FindingId::DeviceStorageLow,
            fires: |f| f.storage.free_bytes = fact(STORAGE_FULL_BYTES),
            silent: |f| f.storage.free_bytes = fact(STORAGE_FULL_BYTES - 1),
        },
        Case {
            id: FindingId::ClockWrong,
            fires: |f| f.settings.clock_offset_seconds = fact(-121.0),
            silent: |f| f.settings.clock_offset_seconds = fact(120.0),
        },
        Case {
            id: FindingId::ManagedDevice,
            fires: |f| f.settings.profiles = fact(vec!["School".to_owned()]),
            silent: |f| {
                f.settings.profiles = fact(Vec::new());
                f.settings.supervised = fact(false);
            },
        },
    ]
};
