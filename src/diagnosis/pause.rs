//! The one reason why iCloud Photos does not go on: the engine's flags in the order in which Apple's own Photos app
//! picks the one line that it shows.
//!
//! The order is the one reported from study of iOS 26.1 (`PXCPLUIStatusProvider`): heavy heat, airplane mode, offline,
//! mobile data off, iOS too old, signed out, disk, iCloud quota, backup snapshot, paused by the owner, Low Power Mode,
//! Low Data Mode, battery budget, cellular budget, low battery, system busy, poor network, moderate heat.

use crate::facts::{Engine, Facts, value};

use super::FindingId;
use super::rule::{no, yes};
use super::thresholds::STATUS_MAY_BE_OLD;

struct Pause {
    id: FindingId,
    flagged: fn(&Facts, &Engine) -> bool,
}

const PRECEDENCE: &[Pause] = &[
    Pause { id: FindingId::DeviceHot, flagged: |_, engine| yes(&engine.thermal_pressure) },
    Pause { id: FindingId::AirplaneMode, flagged: |_, engine| yes(&engine.in_airplane_mode) },
    Pause { id: FindingId::Offline, flagged: |_, engine| no(&engine.connected_to_network) },
    Pause { id: FindingId::CellularRestricted, flagged: |_, engine| yes(&engine.cellular_is_restricted) },
    Pause { id: FindingId::IosTooOld, flagged: |_, engine| yes(&engine.client_too_old) },
    Pause { id: FindingId::IcloudSignedOut, flagged: |_, engine| yes(&engine.not_authenticated) },
    Pause { id: FindingId::DeviceStorageFull, flagged: |_, engine| yes(&engine.very_low_disk_space) },
    Pause {
        id: FindingId::DeviceStorageLow,
        flagged: |facts, engine| yes(&engine.low_disk_space) && to_upload(facts).unwrap_or(0) == 0,
    },
    Pause { id: FindingId::IcloudStorageFull, flagged: |_, engine| yes(&engine.is_exceeding_quota) },
    Pause { id: FindingId::BackupSnapshotRunning, flagged: |_, engine| yes(&engine.taking_backup_snapshot) },
    Pause {
        id: FindingId::IcloudPhotosPaused,
        flagged: |facts, _| facts.icloud_photos.paused_by_owner.is_some(),
    },
    Pause { id: FindingId::LowPowerMode, flagged: |_, engine| yes(&engine.low_power_mode) },
    Pause { id: FindingId::LowDataMode, flagged: |_, engine| yes(&engine.constrained_network) },
    Pause { id: FindingId::BatteryBudgetSpent, flagged: |_, engine| battery_budget_spent(engine) },
    Pause { id: FindingId::CellularBudgetSpent, flagged: |_, engine| no(&engine.has_cellular_budget) },
    Pause { id: FindingId::BatteryLow, flagged: |_, engine| yes(&engine.low_battery) },
    Pause { id: FindingId::IcloudPhotosWaitingOnSystem, flagged: |_, engine| system_busy(engine) },
    Pause { id: FindingId::PoorNetwork, flagged: |_, engine| yes(&engine.poor_network) },
    Pause { id: FindingId::DeviceHot, flagged: |_, engine| yes(&engine.moderate_thermal_pressure) },
];

/// The engine may spend battery only while the system has a budget at all.
pub(super) fn battery_budget_spent(engine: &Engine) -> bool {
    no(&engine.has_battery_budget) && yes(&engine.has_valid_system_budget)
}

/// "Optimising system performance", as the phone puts it.
pub(super) fn system_busy(engine: &Engine) -> bool {
    yes(&engine.heavy_resource_usage) || yes(&engine.poor_system_conditions)
}

/// Every finding that is a reason to pause, in Apple's order; heat stands in it twice.
#[cfg(test)]
pub(super) fn reasons() -> impl Iterator<Item = FindingId> {
    PRECEDENCE.iter().map(|pause| pause.id)
}

/// The reason that wins, of those that are also found: a flag that a measurement contradicts (an old "low battery" on a
/// phone at 80 %) is none. Nothing pauses what is off.
pub(super) fn reason(facts: &Facts, found: impl Fn(FindingId) -> bool) -> Option<FindingId> {
    let photos = &facts.icloud_photos;
    let engine = photos.engine.as_ref().filter(|_| value(&photos.enabled) != Some(false))?;
    PRECEDENCE.iter().find(|pause| (pause.flagged)(facts, engine) && found(pause.id)).map(|pause| pause.id)
}

/// Own assets that are to go up and are not there yet; failed ones do not wait for anything. `None`: the library was
/// not read.
pub(super) fn to_upload(facts: &Facts) -> Option<u64> {
    let counts = &facts.library.counts;
    Some(counts.waiting?.saturating_add(counts.never_queued?))
}

/// Something waits for iCloud Photos to go on, up or down. `None`: the library was not read, so nobody knows.
pub(super) fn anything_waits(facts: &Facts) -> Option<bool> {
    let down = value(&facts.icloud_photos.to_download).unwrap_or(0);
    if down > 0 {
        return Some(true);
    }
    // That nothing waited when an old backup was made does not say that nothing waits now.
    let old = value(&facts.library.from_backup)
        .is_some_and(|made_at| facts.observed_at.duration_since(made_at) > STATUS_MAY_BE_OLD);
    to_upload(facts).map(|up| up > 0).filter(|waits| *waits || !old)
}

#[cfg(test)]
mod tests {
    use super::super::rule::cases::{days_ago, engine, fact, icloud_on, read_phone};
    use super::*;

    fn all_flags(facts: &mut Facts) {
        icloud_on(facts);
        facts.icloud_photos.paused_by_owner = fact(None);
        let engine = engine(facts);
        for flag in [
            &mut engine.thermal_pressure,
            &mut engine.in_airplane_mode,
            &mut engine.cellular_is_restricted,
            &mut engine.client_too_old,
            &mut engine.not_authenticated,
            &mut engine.very_low_disk_space,
            &mut engine.low_disk_space,
            &mut engine.is_exceeding_quota,
            &mut engine.taking_backup_snapshot,
            &mut engine.low_power_mode,
            &mut engine.constrained_network,
            &mut engine.has_valid_system_budget,
            &mut engine.low_battery,
            &mut engine.heavy_resource_usage,
            &mut engine.poor_network,
            &mut engine.moderate_thermal_pressure,
        ] {
            *flag = fact(true);
        }
        for flag in [
            &mut engine.connected_to_network,
            &mut engine.has_battery_budget,
            &mut engine.has_cellular_budget,
        ] {
            *flag = fact(false);
        }
    }

    #[test]
    fn with_every_flag_set_the_reasons_win_in_apples_order() {
        let mut facts = read_phone();
        all_flags(&mut facts);
        let mut gone = Vec::new();
        while let Some(winner) = reason(&facts, |id| !gone.contains(&id)) {
            gone.push(winner);
        }
        let mut order: Vec<FindingId> = reasons().collect();
        order.pop();
        assert_eq!(gone, order, "heat counts once, at its first place");
    }

    #[test]
    fn a_low_disk_is_no_reason_while_something_goes_up() {
        let mut facts = read_phone();
        icloud_on(&mut facts);
        engine(&mut facts).low_disk_space = fact(true);
        facts.library.counts.waiting = Some(0);
        facts.library.counts.never_queued = Some(0);
        assert_eq!(reason(&facts, |_| true), Some(FindingId::DeviceStorageLow));
        facts.library.counts.waiting = Some(1);
        assert_eq!(reason(&facts, |_| true), None);
    }

    #[test]
    fn that_nothing_waited_when_an_old_backup_was_made_says_nothing_of_now() {
        let mut facts = read_phone();
        (facts.library.counts.waiting, facts.library.counts.never_queued) = (Some(0), Some(0));
        assert_eq!(anything_waits(&facts), Some(false));
        facts.library.from_backup = fact(days_ago(1));
        assert_eq!(anything_waits(&facts), Some(false));
        facts.library.from_backup = fact(days_ago(2));
        assert_eq!(anything_waits(&facts), None);
        facts.library.counts.waiting = Some(1);
        assert_eq!(anything_waits(&facts), Some(true));
    }

    #[test]
    fn nothing_pauses_what_is_off() {
        let mut facts = read_phone();
        all_flags(&mut facts);
        facts.icloud_photos.enabled = fact(false);
        assert_eq!(reason(&facts, |_| true), None);
    }
}
