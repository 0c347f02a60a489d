//! Demands about the local backup, and about what the owner stands before after an erase.

use std::time::Duration;

use jiff::Timestamp;

use crate::diagnosis::FindingId;
use crate::facts::sentences::{fixed, say};
use crate::facts::text::plain;
use crate::facts::value;
use crate::remedy::{Accept, Moment, ReasonId};

use super::{Blocked, Case, signed};

/// The age up to which a backup will do for an erase without being accepted by name.
const BACKUP_AGE_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// How far a backup's date may lie in the future before its age counts as unknown: clocks are corrected by seconds.
const CLOCK_SLACK: Duration = Duration::from_secs(60);
/// Charge that an erase and a restore need.
const CHARGE_TO_ERASE_PERCENT: u8 = 50;
/// Charge that will do while the phone is gaining.
const CHARGE_TO_ERASE_GAINING_PERCENT: u8 = 20;

pub(in crate::remedy) fn backup_verified(case: &Case<'_>) -> Vec<Blocked> {
    let Some(proof) = case.backup else {
        let local = &case.facts.local_backup;
        return vec![if local.made_at.is_none() && local.last_backup.is_none() {
            Blocked::known(FindingId::LocalBackupMissing, fixed("gate-backup-missing"))
        } else {
            let text = fixed("gate-backup-unproven");
            Blocked::known(ReasonId::BackupNotVerified, text)
        }];
    };
    if !proof.complete() {
        let matter = proof.refused().iter().filter(|row| !row.harmless);
        let named: Vec<String> =
            matter.clone().take(3).map(|row| plain(&format!("{}/{}", row.domain, row.path))).collect();
        let text = say!("gate-backup-lacks", n = matter.count() as u64, names = named.join(", "));
        return vec![Blocked::known(ReasonId::BackupNotVerified, text)];
    }
    if !proof.proven_inside() {
        let text = fixed("gate-backup-locked");
        return vec![Blocked::known(FindingId::BackupPasswordUnknown, text)];
    }
    Vec::new()
}

pub(in crate::remedy) fn backup_fresh(case: &Case<'_>) -> Vec<Blocked> {
    let Some(proof) = case.backup else { return Vec::new() };
    if case.consent.has(Accept::BackupAge) {
        return Vec::new();
    }
    if is_fresh(proof.made_at(), case.moment) {
        return Vec::new();
    }
    let text = if is_plausible(proof.made_at(), case.moment) {
        say!("gate-backup-old", age = age_in_words(proof.made_at(), case.moment.now))
    } else {
        fixed("gate-backup-of-the-future").to_owned()
    };
    vec![Blocked::known(ReasonId::BackupTooOld, text)]
}

fn is_plausible(made_at: Timestamp, moment: &Moment) -> bool {
    moment.now.duration_since(made_at) >= -signed(CLOCK_SLACK)
}

/// At most two hours old, or made since this phone was plugged in.
pub(super) fn is_fresh(made_at: Timestamp, moment: &Moment) -> bool {
    let young = moment.now.duration_since(made_at) <= signed(BACKUP_AGE_MAX);
    let made_since_plugged_in = moment.plugged_in_since.is_some_and(|since| made_at >= since);
    is_plausible(made_at, moment) && (young || made_since_plugged_in)
}

pub(in crate::remedy) fn backup_encrypted(case: &Case<'_>) -> Vec<Blocked> {
    match case.backup {
        Some(proof) if !proof.encrypted() && !case.consent.has(Accept::UnencryptedBackup) => {
            let text = fixed("gate-backup-not-encrypted");
            vec![Blocked::known(FindingId::LocalBackupNotEncrypted, text).after_the_erase()]
        }
        _ => Vec::new(),
    }
}

pub(in crate::remedy) fn find_my_off(case: &Case<'_>) -> Vec<Blocked> {
    if case.consent.has(Accept::ActivationLock) {
        return Vec::new();
    }
    match value(&case.facts.settings.find_my) {
        Some(false) => Vec::new(),
        Some(true) => {
            let text = fixed("gate-find-my-on");
            vec![Blocked::known(FindingId::FindMyOn, text).after_the_erase()]
        }
        None => {
            let text = fixed("gate-find-my-unknown");
            vec![Blocked::unknown(ReasonId::FindMyUnknown, text).after_the_erase()]
        }
    }
}

pub(in crate::remedy) fn charge_for_an_erase(case: &Case<'_>) -> Vec<Blocked> {
    let battery = &case.facts.battery;
    // More than 100 % is no level.
    let Some(level) = value(&battery.level_percent).filter(|level| *level <= 100) else {
        let text = fixed("gate-charge-unknown");
        return vec![Blocked::unknown(ReasonId::BatteryTooLowToErase, text).after_the_erase()];
    };
    if level >= CHARGE_TO_ERASE_PERCENT {
        return Vec::new();
    }
    if level < CHARGE_TO_ERASE_GAINING_PERCENT {
        let text = say!("gate-charge-low", level = level, wanted = CHARGE_TO_ERASE_GAINING_PERCENT);
        return vec![Blocked::known(ReasonId::BatteryTooLowToErase, text).after_the_erase()];
    }
    match battery.gaining() {
        Some(true) => Vec::new(),
        Some(false) => {
            let text = say!("gate-charge-not-gaining", level = level, wanted = CHARGE_TO_ERASE_PERCENT);
            vec![Blocked::known(ReasonId::BatteryTooLowToErase, text).after_the_erase()]
        }
        None => {
            let text = say!("gate-charge-unsure", level = level);
            vec![Blocked::unknown(ReasonId::BatteryTooLowToErase, text).after_the_erase()]
        }
    }
}

pub(in crate::remedy) fn backed_up_first(case: &Case<'_>) -> Vec<Blocked> {
    if case.copies.backup.is_some() {
        return Vec::new();
    }
    vec![Blocked::known(ReasonId::BackUpFirst, fixed("gate-back-up-first"))]
}

/// How long ago, in the largest unit that gives at least two.
fn age_in_words(from: Timestamp, now: Timestamp) -> String {
    let hours = now.duration_since(from).as_hours().unsigned_abs();
    if hours >= 48 { say!("days", n = hours / 24) } else { say!("hours", n = hours) }
}
