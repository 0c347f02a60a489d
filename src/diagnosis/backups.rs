//! Rules about iCloud Backup, local backups and our copy of the photos.

use jiff::{SignedDuration, Timestamp};

use crate::facts::sentences::{fixed, say};
use crate::facts::text::{bytes, plain};
use crate::facts::{Facts, Maybe, value};

use super::rule::{Found, Rule, no, was_read, yes};
use super::thresholds::{ICLOUD_BACKUP_STALE, LOCAL_BACKUP_STALE};
use super::uploads::number_waiting_in_order;
use super::{FindingId, Severity};

pub(super) const RULES: &[Rule] = &[
    Rule { id: FindingId::IcloudBackupOff, judge: icloud_off },
    Rule { id: FindingId::IcloudBackupNever, judge: icloud_never },
    Rule { id: FindingId::IcloudBackupStale, judge: icloud_stale },
    Rule { id: FindingId::IcloudBackupFailed, judge: icloud_failed },
    Rule { id: FindingId::LocalBackupMissing, judge: local_missing },
    Rule { id: FindingId::LocalBackupStale, judge: local_stale },
    Rule { id: FindingId::LocalBackupNotEncrypted, judge: not_encrypted },
    Rule { id: FindingId::BackupPasswordUnknown, judge: password_unknown },
    Rule { id: FindingId::PhotosNotCopied, judge: photos_not_copied },
];

fn age(facts: &Facts, then: Timestamp) -> String {
    say!("days", n = facts.observed_at.duration_since(then).as_hours().max(0).unsigned_abs() / 24)
}

fn older(facts: &Facts, then: Timestamp, limit: SignedDuration) -> bool {
    facts.observed_at.duration_since(then) > limit
}

fn icloud_off(facts: &Facts) -> Option<Found> {
    let backup = &facts.icloud_backup;
    if !no(&backup.enabled) {
        return None;
    }
    let last = match value(&backup.last_backup) {
        Some(last) => say!("icloud-backup-last", age = age(facts, last)),
        None => String::new(),
    };
    Some(Found::problem(say!("icloud-backup-off", last = last)).on(&backup.enabled).on(&backup.last_backup))
}

fn icloud_never(facts: &Facts) -> Option<Found> {
    let backup = &facts.icloud_backup;
    let never = yes(&backup.enabled)
        && backup.last_backup.is_none()
        && facts.gap_of("icloud_backup.last_backup").is_none();
    never.then(|| Found::problem(fixed("icloud-backup-never")).on(&backup.enabled))
}

fn icloud_stale(facts: &Facts) -> Option<Found> {
    let backup = &facts.icloud_backup;
    let last = value(&backup.last_backup).filter(|last| older(facts, *last, ICLOUD_BACKUP_STALE))?;
    let title = say!("icloud-backup-stale", age = age(facts, last));
    yes(&backup.enabled).then(|| Found::problem(title).on(&backup.last_backup).on(&backup.enabled))
}

fn icloud_failed(facts: &Facts) -> Option<Found> {
    let failure = &facts.icloud_backup.failure;
    let word = value(failure)?;
    let title = say!("icloud-backup-failed", reason = plain(&word));
    Some(Found::problem(title).on(failure))
}

/// The newest local backup known: our vault's, else the one that the phone remembers.
fn newest_local(facts: &Facts) -> &Maybe<Timestamp> {
    let local = &facts.local_backup;
    if local.made_at.is_some() { &local.made_at } else { &local.last_backup }
}

fn local_missing(facts: &Facts) -> Option<Found> {
    let unknown = ["local_backup.last_backup", "local_backup.made_at"]
        .into_iter()
        .any(|fact| facts.gap_of(fact).is_some());
    if !was_read(facts) || newest_local(facts).is_some() || unknown {
        return None;
    }
    // Without an iCloud Backup there is none at all.
    let has_icloud_backup = facts.icloud_backup.last_backup.is_some();
    Some(Found::problem_if(!has_icloud_backup, fixed("local-backup-missing")))
}

fn local_stale(facts: &Facts) -> Option<Found> {
    let newest = newest_local(facts);
    let made = value(newest).filter(|made| older(facts, *made, LOCAL_BACKUP_STALE))?;
    let title = say!("local-backup-stale", age = age(facts, made));
    Some(Found::notice(title).on(newest))
}

fn not_encrypted(facts: &Facts) -> Option<Found> {
    let local = &facts.local_backup;
    if no(&local.encrypted) {
        let title = fixed("local-backup-not-encrypted");
        return Some(Found::notice(title).on(&local.encrypted).on(&local.will_encrypt));
    }
    let title = fixed("no-backup-password");
    no(&local.will_encrypt).then(|| Found::notice(title).on(&local.will_encrypt))
}

fn password_unknown(facts: &Facts) -> Option<Found> {
    let local = &facts.local_backup;
    let title = fixed("backup-password-unknown");
    (yes(&local.encrypted) && no(&local.password_known))
        .then(|| Found::problem(title).on(&local.encrypted).on(&local.password_known))
}

fn photos_not_copied(facts: &Facts) -> Option<Found> {
    let copy = &facts.photo_copy;
    let only_here = facts.library.counts.originals_only_here;
    let title = match value(&copy.files_not_copied) {
        Some(0) => return None,
        Some(number) => {
            let size = value(&copy.bytes_not_copied);
            let size =
                size.map_or_else(String::new, |size| say!("photos-not-copied-size", bytes = bytes(size)));
            say!("photos-not-copied", n = number, size = size)
        }
        None if !was_read(facts) || facts.gap_of("photo_copy.files_not_copied").is_some() => return None,
        None => fixed("photos-not-copied-at-all").to_owned(),
    };
    // A phone of which there is no backup at all has its photos in one place less.
    let unprotected = local_missing(facts).is_some_and(|found| found.severity == Severity::Problem);
    let endangered = only_here.is_none_or(|number| number > number_waiting_in_order(facts));
    let found = Found::problem_if(endangered || unprotected, title).on(&copy.files_not_copied);
    let found = found.on(&copy.bytes_not_copied).on(&copy.files_copied);
    Some(match only_here {
        Some(number) if number > 0 => found.on_count("originals_only_here", number),
        _ => found,
    })
}

#[cfg(test)]
pub(super) const CASES: &[super::rule::Case] = {
    use super::rule::Case;
    use super::rule::cases::{days_ago, fact};
    &[
        Case {
            id: FindingId::IcloudBackupOff,
            fires: |f| f.icloud_backup.enabled = fact(false),
            silent: |f| f.icloud_backup.enabled = fact(true),
        },
        Case {
            id: FindingId::IcloudBackupNever,
            fires: |f| f.icloud_backup.enabled = fact(true),
            silent: |f| {
                f.icloud_backup.enabled = fact(true);
                f.gap("icloud_backup.last_backup", "GetProhibited");
            },
        },
        Case {
            id: FindingId::IcloudBackupStale,
            fires: |f| {
                f.icloud_backup.enabled = fact(true);
                f.icloud_backup.last_backup = fact(days_ago(15));
            },
            silent: |f| {
                f.icloud_backup.enabled = fact(true);
                f.icloud_backup.last_backup = fact(days_ago(14));
                // What a local backup had noted is older than what is the case.
                f.icloud_backup.last_backup_in_backup = fact(days_ago(400));
            },
        },
        Case {
            id: FindingId::IcloudBackupFailed,
            fires: |f| f.icloud_backup.failure = fact("MBErrorDomain 303".to_owned()),
            silent: |f| f.icloud_backup.last_backup = fact(days_ago(1)),
        },
        Case {
            id: FindingId::LocalBackupMissing,
            fires: |_| {},
            silent: |f| f.local_backup.last_backup = fact(days_ago(400)),
        },
        Case {
            id: FindingId::LocalBackupStale,
            fires: |f| f.local_backup.last_backup = fact(days_ago(31)),
            silent: |f| {
                // Ours is newer than what the phone remembers.
                f.local_backup.last_backup = fact(days_ago(31));
                f.local_backup.made_at = fact(days_ago(1));
            },
        },
        Case {
            id: FindingId::LocalBackupNotEncrypted,
            fires: |f| f.local_backup.will_encrypt = fact(false),
            silent: |f| f.local_backup.will_encrypt = fact(true),
        },
        Case {
            id: FindingId::BackupPasswordUnknown,
            fires: |f| {
                f.local_backup.encrypted = fact(true);
                f.local_backup.password_known = fact(false);
            },
            silent: |f| {
                f.local_backup.encrypted = fact(false);
                f.local_backup.password_known = fact(false);
            },
        },
        Case {
            id: FindingId::PhotosNotCopied,
            fires: |_| {},
            silent: |f| f.photo_copy.files_not_copied = fact(0),
        },
    ]
};
