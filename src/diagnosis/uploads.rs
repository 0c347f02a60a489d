//! Rules about what goes up and comes down, and where the originals are.

use jiff::Timestamp;

use crate::facts::sentences::{fixed, say};
use crate::facts::text::bytes;
use crate::facts::{Asset, Facts, Owner, Upload, value};

use super::pause::{self, to_upload};
use super::rule::{Found, Rule, no, yes};
use super::thresholds::{STILL_AFTER, UPLOAD_STUCK_AFTER};
use super::{FindingId, fires};

pub(super) const RULES: &[Rule] = &[
    Rule { id: FindingId::UploadsWaiting, judge: waiting },
    Rule { id: FindingId::UploadsStuck, judge: stuck },
    Rule { id: FindingId::UploadsFailed, judge: failed },
    Rule { id: FindingId::ServerBehind, judge: server_behind },
    Rule { id: FindingId::DeviceBehind, judge: device_behind },
    Rule { id: FindingId::OptimisedStorage, judge: optimised },
    Rule { id: FindingId::OriginalsOnlyInIcloud, judge: only_in_icloud },
    Rule { id: FindingId::OriginalsMissing, judge: originals_missing },
];

fn last_sync(facts: &Facts) -> Option<Timestamp> {
    let photos = &facts.icloud_photos;
    value(&photos.last_sync).or_else(|| value(&photos.engine.as_ref()?.last_sync_date))
}

/// What the library says is still so. One out of a backup is of the moment when that was made: what the engine has sent
/// and fetched since then it does not show.
fn library_is_of_now(facts: &Facts) -> bool {
    let Some(made_at) = value(&facts.library.from_backup) else { return true };
    last_sync(facts).is_some_and(|last_sync| last_sync <= made_at)
}

/// Own assets, not trashed.
fn live(facts: &Facts) -> impl Iterator<Item = &Asset> {
    let assets = facts.library.assets.iter().flatten();
    assets.filter(|asset| asset.owner == Owner::Own && asset.trashed.is_none())
}

/// How many were added long before the last sync, on a phone whose engine has no reason to wait. What has a reason is
/// waiting, however old: the reason is its own finding.
fn number_stuck(facts: &Facts) -> u64 {
    // A library that does not say what is uploaded, or says it in states that nobody knows, tells of nothing stuck.
    let unknown = |line: &String| line.contains("CLOUDLOCALSTATE");
    if to_upload(facts).is_none() || facts.library.unknown_states.iter().any(unknown) {
        return 0;
    }
    let has_reason = pause::reason(facts, |id| fires(id, facts)).is_some()
        || fires(FindingId::FirstSyncUnfinished, facts)
        || fires(FindingId::IcloudLibraryWiped, facts)
        || fires(FindingId::IcloudLibraryDeletionScheduled, facts);
    let Some(last_sync) = last_sync(facts).filter(|_| yes(&facts.icloud_photos.enabled) && !has_reason)
    else {
        return 0;
    };
    // Two readings that show the same numbers say more than any date.
    if stands_still(facts) {
        return to_upload(facts).unwrap_or(0);
    }
    if !library_is_of_now(facts) {
        return 0;
    }
    let on_its_way = |asset: &&Asset| matches!(asset.upload, Upload::Waiting | Upload::NeverQueued);
    let long_ago = |asset: &&Asset| {
        asset.added.is_some_and(|added| last_sync.duration_since(added) > UPLOAD_STUCK_AFTER)
    };
    live(facts).filter(on_its_way).filter(long_ago).count() as u64
}

/// Readings that are a quarter of an hour apart or more showed no movement.
fn stands_still(facts: &Facts) -> bool {
    let since = value(&facts.icloud_photos.still_since);
    since.is_some_and(|since| facts.observed_at.duration_since(since) >= STILL_AFTER)
}

/// How many wait in the ordinary way: added lately, and nothing keeps them. They need nothing but time.
pub(super) fn number_waiting_in_order(facts: &Facts) -> u64 {
    let kept = pause::reason(facts, |id| fires(id, facts)).is_some()
        || !yes(&facts.icloud_photos.enabled)
        || !library_is_of_now(facts);
    if kept { 0 } else { to_upload(facts).unwrap_or(0).saturating_sub(number_stuck(facts)) }
}

fn waiting(facts: &Facts) -> Option<Found> {
    if !yes(&facts.icloud_photos.enabled) {
        return None;
    }
    let number = to_upload(facts)?.saturating_sub(number_stuck(facts));
    if number == 0 {
        return None;
    }
    let reason = pause::reason(facts, |id| fires(id, facts));
    let title = match &facts.icloud_photos.backlog {
        Some(backlog) if backlog.value.outgoing_bytes > 0 => {
            say!("uploads-waiting-bytes", n = number, bytes = bytes(backlog.value.outgoing_bytes))
        }
        _ => say!("uploads-waiting", n = number),
    };
    let found = Found::problem_if(reason.is_some(), title).on_count("waiting", facts.library.counts.waiting?);
    let found = found.on_count("never_queued", facts.library.counts.never_queued?);
    Some(found.on(&facts.icloud_photos.last_sync).on(&facts.icloud_photos.backlog))
}

fn stuck(facts: &Facts) -> Option<Found> {
    let number = number_stuck(facts);
    if number == 0 {
        return None;
    }
    let photos = &facts.icloud_photos;
    let how = match value(&photos.still_since).filter(|_| stands_still(facts)) {
        Some(since) => {
            let minutes = facts.observed_at.duration_since(since).as_mins().unsigned_abs();
            say!("stuck-still", length = say!("minutes", n = minutes))
        }
        None => fixed("stuck-old").to_owned(),
    };
    let why = if yes(&photos.reset_pending) {
        fixed("stuck-reset").to_owned()
    } else {
        say!("stuck-why", n = number)
    };
    let title = say!("uploads-stuck", n = number, how = how, why = why);
    let found = Found::blocking(title).on_count("waiting", number).on(&photos.reset_pending);
    Some(found.on(&photos.still_since).on(&photos.last_sync).on(&photos.enabled))
}

fn failed(facts: &Facts) -> Option<Found> {
    let number = facts.library.counts.failed.filter(|number| *number > 0)?;
    let title = say!("uploads-failed", n = number);
    Some(Found::problem(title).on_count("failed", number).on(&facts.icloud_photos.backlog))
}

/// What the server counts, and what this phone counts as uploaded, live and in Recently Deleted.
struct BothCounts {
    server: u64,
    live: u64,
    trashed: u64,
}

fn both_counts(facts: &Facts) -> Option<BothCounts> {
    let photos = &facts.icloud_photos;
    let server = value(&photos.server_assets).or_else(|| value(&photos.engine.as_ref()?.cloud_asset_count));
    let live = facts.library.counts.uploaded?;
    let trashed = facts.library.uploaded_with_trashed.unwrap_or(live).saturating_sub(live);
    let comparable = value(&photos.enabled) != Some(false) && library_is_of_now(facts);
    server.filter(|_| comparable).map(|server| BothCounts { server, live, trashed })
}

fn server_behind(facts: &Facts) -> Option<Found> {
    let counts = both_counts(facts)?;
    let missing = counts.live.checked_sub(counts.server).filter(|missing| *missing > 0)?;
    let title = say!("server-behind", server = counts.server, here = counts.live, missing = missing);
    Some(Found::problem(title).on(&facts.icloud_photos.server_assets).on_count("uploaded", counts.live))
}

fn device_behind(facts: &Facts) -> Option<Found> {
    let photos_ = &facts.icloud_photos;
    // Without the number that waits nobody knows what explains a difference.
    let more = both_counts(facts).zip(facts.library.counts.waiting).map_or(0, |(counts, waiting)| {
        counts.server.saturating_sub(counts.live).saturating_sub(counts.trashed).saturating_sub(waiting)
    });
    let number = value(&photos_.to_download).unwrap_or(0).max(more);
    if number == 0 || value(&photos_.enabled) == Some(false) {
        return None;
    }
    let but = if server_behind(facts).is_some() { fixed("device-behind-but") } else { "" };
    let title = say!("device-behind", n = number, but = but);
    Some(Found::problem(title).on(&photos_.to_download).on(&photos_.server_assets))
}

fn optimised(facts: &Facts) -> Option<Found> {
    let setting = &facts.icloud_photos.optimise_storage;
    let number = facts.library.counts.originals_only_in_icloud.unwrap_or(0);
    if !yes(setting) && number == 0 {
        return None;
    }
    let title = if no(setting) { fixed("kept-but-only-in-icloud") } else { fixed("optimised-storage") };
    let found = Found::notice(title).on(setting);
    Some(if number > 0 { found.on_count("originals_only_in_icloud", number) } else { found })
}

fn only_in_icloud(facts: &Facts) -> Option<Found> {
    let number = facts.library.counts.originals_only_in_icloud.filter(|number| *number > 0)?;
    let gone = fires(FindingId::IcloudLibraryWiped, facts);
    let endangered = fires(FindingId::IcloudLibraryDeletionScheduled, facts);
    let title = if gone {
        say!("only-in-icloud-wiped", n = number)
    } else if endangered {
        say!("only-in-icloud-scheduled", n = number)
    } else {
        say!("only-in-icloud", n = number)
    };
    let found = if gone || endangered { Found::blocking(title) } else { Found::problem(title) };
    Some(found.on_count("originals_only_in_icloud", number))
}

fn originals_missing(facts: &Facts) -> Option<Found> {
    let number = facts.library.counts.originals_in_neither.filter(|number| *number > 0)?;
    let title = say!("originals-missing", n = number);
    Some(Found::blocking(title).on_count("originals_in_neither", number))
}

#[cfg(test)]
pub(super) const CASES: &[super::rule::Case] = {
    use super::rule::Case;
    use super::rule::cases::{asset, engine, fact, icloud_on, library_of};
    &[
        Case {
            id: FindingId::UploadsWaiting,
            fires: |f| {
                // Old, and the engine has a reason to wait.
                icloud_on(f);
                engine(f).is_exceeding_quota = fact(true);
                library_of(f, asset(Upload::Waiting, 30));
            },
            silent: |f| {
                icloud_on(f);
                library_of(f, asset(Upload::Waiting, 30));
            },
        },
        Case {
            id: FindingId::UploadsStuck,
            fires: |f| {
                icloud_on(f);
                library_of(f, asset(Upload::NeverQueued, 2));
            },
            silent: |f| {
                icloud_on(f);
                library_of(f, asset(Upload::Waiting, 1));
            },
        },
        Case {
            id: FindingId::UploadsFailed,
            fires: |f| f.library.counts.failed = Some(1),
            silent: |f| f.library.counts.failed = Some(0),
        },
        Case {
            id: FindingId::ServerBehind,
            fires: |f| {
                f.icloud_photos.server_assets = fact(9);
                f.library.counts.uploaded = Some(10);
            },
            silent: |f| {
                f.icloud_photos.server_assets = fact(10);
                f.library.counts.uploaded = Some(10);
            },
        },
        Case {
            id: FindingId::DeviceBehind,
            fires: |f| {
                f.icloud_photos.server_assets = fact(12);
                f.library.counts.uploaded = Some(10);
                f.library.uploaded_with_trashed = Some(11);
                f.library.counts.waiting = Some(0);
            },
            silent: |f| {
                f.icloud_photos.server_assets = fact(12);
                f.library.counts.uploaded = Some(10);
                f.library.uploaded_with_trashed = Some(12);
                f.library.counts.waiting = Some(0);
            },
        },
        Case {
            id: FindingId::OptimisedStorage,
            fires: |f| f.icloud_photos.optimise_storage = fact(true),
            silent: |f| f.icloud_photos.optimise_storage = fact(false),
        },
        Case {
            id: FindingId::OriginalsOnlyInIcloud,
            fires: |f| f.library.counts.originals_only_in_icloud = Some(1),
            silent: |f| f.library.counts.originals_only_in_icloud = Some(0),
        },
        Case {
            id: FindingId::OriginalsMissing,
            fires: |f| f.library.counts.originals_in_neither = Some(1),
            silent: |f| f.library.counts.originals_only_in_icloud = Some(1),
        },
    ]
};
