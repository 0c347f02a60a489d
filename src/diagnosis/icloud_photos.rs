//! Rules about iCloud Photos itself: on or off, paused, and what became of its library.

use crate::collect::NOT_READ_YET;
use crate::facts::sentences::{day, fixed, say};
use crate::facts::text::plain;
use crate::facts::{Facts, Switching, value};

use super::pause::{anything_waits, battery_budget_spent, system_busy};
use super::rule::{Found, Rule, no, was_read, yes};
use super::{Evidence, FindingId};

pub(super) const RULES: &[Rule] = &[
    Rule { id: FindingId::IcloudPhotosOff, judge: off },
    Rule { id: FindingId::IcloudPhotosSwitchedOff, judge: switched_off },
    Rule { id: FindingId::IcloudPhotosPaused, judge: paused },
    Rule { id: FindingId::IcloudPhotosWaitingOnSystem, judge: waiting_on_system },
    Rule { id: FindingId::BatteryBudgetSpent, judge: battery_budget },
    Rule { id: FindingId::CellularBudgetSpent, judge: cellular_budget },
    Rule { id: FindingId::BackupSnapshotRunning, judge: backup_snapshot },
    Rule { id: FindingId::FirstSyncUnfinished, judge: first_sync },
    Rule { id: FindingId::IcloudLibraryWiped, judge: wiped },
    Rule { id: FindingId::IcloudLibraryDeletionScheduled, judge: deletion_scheduled },
    Rule { id: FindingId::SharedLibraryExitStuck, judge: shared_library_exit },
    Rule { id: FindingId::PhotoStreamEnded, judge: photo_stream },
    Rule { id: FindingId::SyncStatusUnreadable, judge: sync_status_unreadable },
    Rule { id: FindingId::LibraryUnreadable, judge: library_unreadable },
];

fn off(facts: &Facts) -> Option<Found> {
    let enabled = &facts.icloud_photos.enabled;
    if !no(enabled) {
        return None;
    }
    let title = fixed("photos-off");
    // The rule beside this one says it better where it knows when it was switched off.
    let found = match switched_off(facts) {
        Some(_) => Found::notice(title),
        None => Found::blocking(title),
    };
    Some(found.on(enabled))
}

fn switched_off(facts: &Facts) -> Option<Found> {
    let photos = &facts.icloud_photos;
    let history = photos.switchings.as_ref()?;
    let last: &Switching = history.value.last()?;
    if last.enabled || yes(&photos.enabled) {
        return None;
    }
    let reason = last
        .reason
        .as_deref()
        .map_or_else(String::new, |reason| say!("switched-off-reason", reason = plain(reason)));
    let title = say!("switched-off", day = day(last.at), reason = reason);
    Some(Found::blocking(title).on(&photos.switchings).on(&photos.enabled))
}

fn paused(facts: &Facts) -> Option<Found> {
    let pause = &facts.icloud_photos.paused_by_owner;
    let until = value(pause)?;
    let title = match until {
        Some(until) => {
            say!("paused-until", day = day(until), time = until.strftime("%H:%M").to_string())
        }
        None => fixed("paused").to_owned(),
    };
    Some(Found::notice(title).on(pause))
}

fn waiting_on_system(facts: &Facts) -> Option<Found> {
    let engine = facts.icloud_photos.engine.as_ref().filter(|engine| system_busy(engine))?;
    let title = fixed("waiting-on-system");
    Some(Found::notice(title).on(&engine.heavy_resource_usage).on(&engine.poor_system_conditions))
}

fn battery_budget(facts: &Facts) -> Option<Found> {
    let engine = facts.icloud_photos.engine.as_ref().filter(|engine| battery_budget_spent(engine))?;
    let title = fixed("battery-budget-spent");
    Some(Found::notice(title).on(&engine.has_battery_budget).on(&engine.has_valid_system_budget))
}

fn cellular_budget(facts: &Facts) -> Option<Found> {
    let flag = &facts.icloud_photos.engine.as_ref()?.has_cellular_budget;
    no(flag).then(|| Found::notice(fixed("cellular-budget-spent")).on(flag))
}

fn backup_snapshot(facts: &Facts) -> Option<Found> {
    let flag = &facts.icloud_photos.engine.as_ref()?.taking_backup_snapshot;
    yes(flag).then(|| Found::notice(fixed("backup-snapshot-running")).on(flag))
}

fn first_sync(facts: &Facts) -> Option<Found> {
    let photos = &facts.icloud_photos;
    let engine = photos.engine.as_ref()?;
    let unfinished = yes(&photos.enabled)
        && engine.initial_sync_date.is_none()
        && photos.markers.initial_sync.is_none()
        && facts.gap_of("icloud_photos.engine.initial_sync_date").is_none()
        && facts.gap_of("icloud_photos.markers.initial_sync").is_none();
    if !unfinished {
        return None;
    }
    let left = facts.icloud_photos.backlog.as_ref().map(|backlog| backlog.value.outgoing_bytes);
    let bytes = match left.filter(|bytes| *bytes > 0) {
        Some(bytes) => say!("first-sync-bytes", bytes = crate::facts::text::bytes(bytes)),
        None => String::new(),
    };
    let title = say!("first-sync-unfinished", bytes = bytes);
    let found =
        if anything_waits(facts) == Some(false) { Found::notice(title) } else { Found::blocking(title) };
    let evidence = Evidence::new("afc:/PhotoData/CPL/syncstatus.plist", "initialSyncDate", None::<bool>);
    Some(found.on(&photos.enabled).with(evidence).on(&photos.backlog))
}

fn wiped(facts: &Facts) -> Option<Found> {
    let engine = facts.icloud_photos.engine.as_ref()?;
    if !yes(&engine.library_wiped) && !yes(&engine.container_wiped) {
        return None;
    }
    let only_there = facts.library.counts.originals_only_in_icloud.unwrap_or(0);
    let lost = match only_there {
        0 => String::new(),
        number => say!("wiped-lost", n = number),
    };
    let but = match value(&facts.icloud_photos.server_assets) {
        Some(number) if number > 0 => say!("wiped-but", n = number),
        _ => String::new(),
    };
    let title = say!("wiped", but = but, lost = lost);
    let found = Found::blocking(title).on(&engine.library_wiped).on(&engine.container_wiped);
    Some(if only_there > 0 { found.on_count("originals_only_in_icloud", only_there) } else { found })
}

fn deletion_scheduled(facts: &Facts) -> Option<Found> {
    let date = &facts.icloud_photos.engine.as_ref()?.exit_delete_time;
    let at = value(date)?;
    let title = if at <= facts.observed_at {
        say!("deletion-past", day = day(at))
    } else {
        let hours = at.duration_since(facts.observed_at).as_hours().unsigned_abs();
        let left = if hours < 48 { say!("hours", n = hours) } else { say!("days", n = hours / 24) };
        say!("deletion-scheduled", day = day(at), left = left)
    };
    let enabled = &facts.icloud_photos.enabled;
    let title = if yes(enabled) { say!("deletion-although-on", title = title) } else { title };
    Some(Found::blocking(title).on(date).on(enabled))
}

fn shared_library_exit(facts: &Facts) -> Option<Found> {
    let engine = facts.icloud_photos.engine.as_ref()?;
    let flag = &engine.stuck_in_shared_library_exit;
    let left = match value(&engine.shared_library_exit_remaining) {
        Some(number) if number > 0 => say!("shared-library-exit-left", n = number),
        _ => String::new(),
    };
    let title = say!("shared-library-exit-stuck", left = left);
    yes(flag).then(|| Found::problem(title).on(flag).on(&engine.shared_library_exit_remaining))
}

fn photo_stream(facts: &Facts) -> Option<Found> {
    let traces = &facts.icloud_photos.photo_stream_traces;
    let title = fixed("photo-stream-ended");
    yes(traces).then(|| Found::notice(title).on(traces))
}

fn sync_status_unreadable(facts: &Facts) -> Option<Found> {
    let gap = facts.gap_of("icloud_photos.engine").filter(|_| was_read(facts))?;
    let title = say!("sync-status-unreadable", reason = plain(&gap.reason));
    let evidence = Evidence::new("afc:/PhotoData/CPL/syncstatus.plist", "", gap.reason.clone());
    Some(Found::problem(title).with(evidence))
}

fn library_unreadable(facts: &Facts) -> Option<Found> {
    // What nobody has tried to read yet is not unreadable.
    let gap = facts.gap_of("library").filter(|gap| was_read(facts) && gap.reason != NOT_READ_YET)?;
    let title = say!("library-unreadable", reason = plain(&gap.reason));
    Some(Found::problem(title).with(Evidence::new("afc:/PhotoData/Photos.sqlite", "", gap.reason.clone())))
}

#[cfg(test)]
pub(super) const CASES: &[super::rule::Case] = {
    use super::rule::Case;
    use super::rule::cases::{days_ago, engine, fact, icloud_on};
    fn switchings(facts: &mut Facts, all: &[(bool, i64)]) {
        let all = all.iter().map(|(enabled, days)| Switching {
            enabled: *enabled,
            at: days_ago(*days),
            reason: None,
        });
        facts.icloud_photos.switchings = fact(all.collect());
    }
    &[
        Case {
            id: FindingId::IcloudPhotosOff,
            fires: |f| f.icloud_photos.enabled = fact(false),
            silent: |f| f.icloud_photos.enabled = fact(true),
        },
        Case {
            id: FindingId::IcloudPhotosSwitchedOff,
            fires: |f| switchings(f, &[(true, 90), (false, 20)]),
            silent: |f| switchings(f, &[(false, 20), (true, 19)]),
        },
        Case {
            id: FindingId::IcloudPhotosPaused,
            fires: |f| f.icloud_photos.paused_by_owner = fact(None),
            silent: |f| engine(f).low_power_mode = fact(true),
        },
        Case {
            id: FindingId::IcloudPhotosWaitingOnSystem,
            fires: |f| engine(f).poor_system_conditions = fact(true),
            silent: |f| engine(f).heavy_resource_usage = fact(false),
        },
        Case {
            id: FindingId::BatteryBudgetSpent,
            fires: |f| {
                engine(f).has_battery_budget = fact(false);
                engine(f).has_valid_system_budget = fact(true);
            },
            silent: |f| {
                engine(f).has_battery_budget = fact(false);
                engine(f).has_valid_system_budget = fact(false);
            },
        },
        Case {
            id: FindingId::CellularBudgetSpent,
            fires: |f| engine(f).has_cellular_budget = fact(false),
            silent: |f| engine(f).has_cellular_budget = fact(true),
        },
        Case {
            id: FindingId::BackupSnapshotRunning,
            fires: |f| engine(f).taking_backup_snapshot = fact(true),
            silent: |f| engine(f).taking_backup_snapshot = fact(false),
        },
        Case {
            id: FindingId::FirstSyncUnfinished,
            fires: |f| {
                icloud_on(f);
                engine(f).initial_sync_date = None;
            },
            silent: icloud_on,
        },
        Case {
            id: FindingId::IcloudLibraryWiped,
            fires: |f| engine(f).container_wiped = fact(true),
            silent: |f| engine(f).library_wiped = fact(false),
        },
        Case {
            id: FindingId::IcloudLibraryDeletionScheduled,
            fires: |f| engine(f).exit_delete_time = fact(days_ago(-10)),
            silent: |f| engine(f).library_wiped = fact(true),
        },
        Case {
            id: FindingId::SharedLibraryExitStuck,
            fires: |f| engine(f).stuck_in_shared_library_exit = fact(true),
            silent: |f| engine(f).shared_library_exit_remaining = fact(3),
        },
        Case {
            id: FindingId::PhotoStreamEnded,
            fires: |f| f.icloud_photos.photo_stream_traces = fact(true),
            silent: |f| f.icloud_photos.photo_stream_traces = fact(false),
        },
        Case {
            id: FindingId::SyncStatusUnreadable,
            fires: |f| f.gap("icloud_photos.engine", "status 10"),
            silent: |f| f.gap("icloud_photos.enabled", "the signs disagree"),
        },
        Case {
            id: FindingId::LibraryUnreadable,
            fires: |f| f.gap("library", "status 10"),
            silent: |f| {
                f.gap("library.hidden", "no such column");
                f.gap("library", NOT_READ_YET);
            },
        },
    ]
};
