//! Scenarios of the account, iCloud Photos, photos that look missing, and the backups.

use jiff::SignedDuration;

use super::{BACKUP, Scenario, scenario, stuck, waiting};
use crate::sim::new::phone::{Phone, Switch, cocoa_seconds, date};

pub(super) const SCENARIOS: &[Scenario] = &[
    // -- account --
    scenario("signed-out", "icloud-signed-out", &[], "iCloud wants the password again", |phone| {
        waiting(phone, 20);
        phone.status("iCloudLibraryClientIsNotAuthenticated", true);
    }),
    scenario("icloud-full", "icloud-storage-full", &[], "the iCloud storage is full", |phone| {
        stuck(phone, 24);
        phone.status("isExceedingQuota", true);
    }),
    scenario(
        "shared-library-full",
        "shared-library-storage-full",
        &[],
        "the storage of the shared library's owner is full",
        |phone| {
            phone.mix.shared_library = phone.mix.own() / 4;
            phone.status("isExceedingSharedLibraryQuota", true);
        },
    )
    .since(16),
    scenario(
        "shared-library",
        "photos-not-copied",
        &[],
        "a quarter of the photos is in an iCloud Shared Photo Library",
        |phone| {
            phone.mix.shared_library = phone.mix.own() / 4;
        },
    )
    .since(16),
    scenario(
        "advanced-data-protection",
        "photos-not-copied",
        &["advanced-data-protection"],
        "Advanced Data Protection is on",
        |phone| phone.status("walrusEnabled", true),
    )
    .since(16),
    scenario("find-my-off", "photos-not-copied", &[], "Find My is off, as before an erase", |phone| {
        phone.value("com.apple.fmip", "IsAssociated", false);
    }),
    // -- iCloud Photos --
    scenario("never-on", "icloud-photos-off", &[], "iCloud Photos was never switched on", |phone| {
        nothing_in_icloud(phone);
        phone.cloud.switch = Switch::Never;
    }),
    scenario(
        "switched-off",
        "icloud-photos-switched-off",
        &[],
        "iCloud Photos was switched off nine days ago",
        |phone| {
            nothing_in_icloud(phone);
            phone.cloud.switch = Switch::Off { days_ago: 9, reason: Some("User turned off iCloud Photos") };
        },
    ),
    scenario("paused", "icloud-photos-paused", &[], "the owner pressed Pause", |phone| {
        waiting(phone, 20);
        phone.cloud.paused = true;
    }),
    scenario(
        "optimizing",
        "icloud-photos-waiting-on-system",
        &[],
        "iOS is busy with itself and lets the uploads wait",
        |phone| {
            waiting(phone, 20);
            phone.status("heavyResourceUsage", true);
            phone.status("poorSystemConditions", true);
        },
    ),
    scenario("battery-budget", "battery-budget-spent", &[], "the day's battery budget is spent", |phone| {
        waiting(phone, 20);
        phone.status("hasBatteryBudgetKey", false);
    }),
    scenario("cellular-budget", "cellular-budget-spent", &[], "the cellular budget is spent", |phone| {
        waiting(phone, 20);
        phone.status("hasCellularBudgetKey", false);
    }),
    scenario(
        "backup-snapshot",
        "backup-snapshot-running",
        &[],
        "a backup holds the library still",
        |phone| {
            waiting(phone, 20);
            phone.status("isTakingBackupSnapshot", true);
        },
    ),
    scenario(
        "first-sync",
        "first-sync-unfinished",
        &[],
        "switched on yesterday, most is still to go up",
        |phone| {
            let most = phone.mix.own() * 4 / 5;
            waiting(phone, most);
            phone.cloud.first_sync_unfinished = true;
        },
    ),
    scenario("cloud-wiped", "icloud-library-wiped", &[], "the library in iCloud has been wiped", |phone| {
        phone.status("iCloudLibraryHasBeenWiped", true);
        phone.status("containerHasBeenWiped", true);
        phone.cloud.status.push(("iCloudLibraryExists", None));
        phone.cloud.server_surplus = -i64::from(phone.mix.uploaded);
    }),
    scenario(
        "deletion-scheduled",
        "icloud-library-deletion-scheduled",
        &[],
        "switched off on all devices: iCloud deletes the library in three weeks",
        |phone| {
            phone.cloud.switch = Switch::Off { days_ago: 9, reason: Some("User turned off iCloud Photos") };
            let many = phone.mix.own() / 2;
            phone.mix.move_from_uploaded(many, |mix| &mut mix.only_in_icloud);
            let when = phone.now.checked_add(SignedDuration::from_hours(21 * 24)).unwrap_or(phone.now);
            phone.status("exitDeleteTime", date(when));
        },
    ),
    scenario(
        "uploads-waiting",
        "uploads-waiting",
        &["photos-not-copied"],
        "a few photos of the last hour wait for their turn",
        |phone| {
            phone.mix.move_from_uploaded(6, |mix| &mut mix.waiting);
            phone.cloud.synced_s_ago = 2 * 3600;
        },
    ),
    scenario(
        "uploads-stuck",
        "uploads-stuck",
        &[],
        "photos of the last weeks do not go up, without a reason",
        |phone| {
            stuck(phone, 30);
        },
    ),
    scenario("uploads-failed", "uploads-failed", &[], "the phone gave five photos up", |phone| {
        phone.mix.move_from_uploaded(5, |mix| &mut mix.failed);
        phone.cloud.backlog_days = 20;
    }),
    scenario(
        "server-behind",
        "server-behind",
        &[],
        "iCloud counts fewer photos than this phone sent up",
        |phone| {
            phone.cloud.server_surplus = -17;
        },
    ),
    scenario(
        "device-behind",
        "device-behind",
        &[],
        "iCloud has photos that this phone has not taken in",
        |phone| {
            phone.cloud.server_surplus = 31;
            phone.cloud.to_download = 31;
        },
    ),
    scenario(
        "optimised",
        "originals-only-in-icloud",
        &["optimised-storage"],
        "Optimise Storage: most originals are only in iCloud",
        |phone| {
            let most = phone.mix.own() * 3 / 5;
            phone.mix.move_from_uploaded(most, |mix| &mut mix.only_in_icloud);
            phone.mix.move_from_uploaded(3, |mix| &mut mix.clip_only_in_icloud);
            phone.cloud.optimise = true;
        },
    ),
    scenario("originals-missing", "originals-missing", &[], "two originals are in neither place", |phone| {
        phone.mix.move_from_uploaded(2, |mix| &mut mix.in_neither);
    }),
    scenario(
        "shared-library-exit",
        "shared-library-exit-stuck",
        &[],
        "leaving the shared library does not end",
        |phone| {
            phone.mix.shared_library = 14;
            phone.status("isStuckInExitForSharedLibrary", true);
            phone.status("remainingCountInSharedLibraryExit", 14);
        },
    )
    .since(16),
    scenario(
        "photo-stream",
        "photos-not-copied",
        &["photo-stream-ended"],
        "left-overs of My Photo Stream, which ended in 2023",
        |phone| phone.cloud.photo_stream = true,
    ),
    scenario(
        "unreadable-status",
        "sync-status-unreadable",
        &[],
        "the engine's status file is damaged",
        |phone| {
            phone.damage.status = true;
        },
    ),
    scenario("unreadable-library", "library-unreadable", &[], "the library's database is damaged", |phone| {
        phone.damage.library = true;
    }),
    scenario(
        "place-unknown",
        "photos-not-copied",
        &[],
        "three assets have no row that says where they are",
        |phone| {
            phone.mix.move_from_uploaded(3, |mix| &mut mix.place_unknown);
        },
    ),
    // -- photos that look missing --
    scenario(
        "looks-missing",
        "photos-not-copied",
        &["recently-deleted", "hidden-photos", "shared-album-only"],
        "nothing is lost: deleted lately, hidden, or only in a shared album",
        |phone| {
            phone.mix.hidden = 9;
            phone.mix.trashed = 14;
            phone.mix.shared_album = 11;
            phone.mix.links = 2;
            phone.mix.shared_with_you = 4;
        },
    ),
    // -- iCloud Backup --
    scenario("backup-off", "icloud-backup-off", &[], "iCloud Backup is off", |phone| {
        phone.value(BACKUP, "CloudBackupEnabled", false);
        phone.value(BACKUP, "LastCloudBackupDate", cocoa_seconds(phone.days_ago(200)));
    }),
    scenario(
        "backup-never",
        "icloud-backup-never",
        &[],
        "iCloud Backup is on and has never succeeded",
        |phone| {
            phone.no_value(BACKUP, "LastCloudBackupDate");
            phone.no_value(BACKUP, "LastCloudBackupTZ");
        },
    ),
    scenario(
        "backup-stale",
        "icloud-backup-stale",
        &[],
        "the last iCloud backup is seven weeks old",
        |phone| {
            phone.value(BACKUP, "LastCloudBackupDate", cocoa_seconds(phone.days_ago(49)));
            phone.backup_error = Some(303);
        },
    ),
    scenario(
        "backup-failed",
        "photos-not-copied",
        &[],
        "the last iCloud backup failed; what says so is only in a local backup",
        |phone| phone.backup_error = Some(303),
    ),
    scenario(
        "backup-password",
        "photos-not-copied",
        &[],
        "local backups are encrypted; the password is \"secret\"",
        |phone| {
            phone.toml.push(("backup", "password = \"secret\"".into()));
        },
    ),
    scenario(
        "never-backed-up",
        "local-backup-missing",
        &["photos-not-copied"],
        "no computer has a backup",
        |phone| {
            phone.no_value(BACKUP, "LastiTunesBackupDate");
            phone.no_value(BACKUP, "LastiTunesBackupTZ");
        },
    ),
    scenario(
        "local-backup-stale",
        "local-backup-stale",
        &["photos-not-copied"],
        "the last local backup is a year old",
        |phone| {
            phone.value(BACKUP, "LastiTunesBackupDate", cocoa_seconds(phone.days_ago(370)));
        },
    ),
];

/// iCloud Photos is not on: no asset was ever handed to the engine.
fn nothing_in_icloud(phone: &mut Phone) {
    let mix = &mut phone.mix;
    mix.never_queued += std::mem::take(&mut mix.uploaded);
    (mix.from_icloud, mix.shared_album) = (0, 0);
}
