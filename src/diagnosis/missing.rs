//! Rules about photos that look missing and are not.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::facts::sentences::{fixed, say};
use crate::facts::{Asset, Facts, Owner, value};

use super::rule::{Found, Rule, yes};
use super::thresholds::{NAMES_MAX, RECENTLY_DELETED_DAYS};
use super::{Evidence, FindingId};

pub(super) const RULES: &[Rule] = &[
    Rule { id: FindingId::RecentlyDeleted, judge: recently_deleted },
    Rule { id: FindingId::HiddenPhotos, judge: hidden },
    Rule { id: FindingId::SharedAlbumOnly, judge: shared_album_only },
    Rule { id: FindingId::PhotosNotInIcloudBackup, judge: not_in_icloud_backup },
];

/// The name that people know a photo by; the evidence is JSON, so it is not escaped here.
fn name(asset: &Asset) -> &str {
    asset.original_name.as_deref().unwrap_or(&asset.path)
}

fn days_left(trashed: Option<Timestamp>, kept_days: u32, now: Timestamp) -> Option<i64> {
    let days_gone = now.duration_since(trashed?).as_hours().div_euclid(24);
    Some((i64::from(kept_days) - days_gone).max(0))
}

fn recently_deleted(facts: &Facts) -> Option<Found> {
    let number = facts.library.counts.recently_deleted.filter(|number| *number > 0)?;
    let kept_days = value(&facts.icloud_photos.recently_deleted_days).unwrap_or(RECENTLY_DELETED_DAYS);
    let own = facts.library.assets.iter().flatten().filter(|asset| asset.owner == Owner::Own);
    let mut listed: Vec<(Option<i64>, &str)> = own
        .filter_map(|asset| Some((days_left(asset.trashed?, kept_days, facts.observed_at), name(asset))))
        .collect();
    listed.sort_unstable();
    let first = listed.iter().find_map(|(days, _)| *days);
    let when = match first {
        Some(0) => fixed("recently-deleted-today").to_owned(),
        Some(1) => fixed("recently-deleted-tomorrow").to_owned(),
        Some(days) => say!("recently-deleted-in", n = days.unsigned_abs()),
        None => String::new(),
    };
    let title = say!("recently-deleted", n = number, when = when);
    let each: Vec<Value> =
        listed.iter().take(NAMES_MAX).map(|(days, name)| json!({"name": name, "days_left": days})).collect();
    let found = Found::notice(title).on_count("recently_deleted", number);
    let found = found.on(&facts.icloud_photos.recently_deleted_days);
    Some(found.with(Evidence::new("library:Photos.sqlite", "ZTRASHEDDATE", each)))
}

fn hidden(facts: &Facts) -> Option<Found> {
    let number = facts.library.counts.hidden.filter(|number| *number > 0)?;
    let own = facts.library.assets.iter().flatten();
    let hidden = own.filter(|asset| asset.owner == Owner::Own && asset.hidden && asset.trashed.is_none());
    let names: Vec<&str> = hidden.map(name).take(NAMES_MAX).collect();
    let title = say!("hidden-photos", n = number);
    let found = Found::notice(title).on_count("hidden", number);
    Some(found.with(Evidence::new("library:Photos.sqlite", "ZHIDDEN", names)))
}

fn shared_album_only(facts: &Facts) -> Option<Found> {
    let number = facts.library.counts.shared_album_only.filter(|number| *number > 0)?;
    let title = say!("shared-album-only", n = number);
    Some(Found::notice(title).on_count("shared_album_only", number))
}

fn not_in_icloud_backup(facts: &Facts) -> Option<Found> {
    let enabled = &facts.icloud_photos.enabled;
    let title = fixed("photos-not-in-icloud-backup");
    yes(enabled).then(|| Found::notice(title).on(enabled).on(&facts.icloud_backup.enabled))
}

#[cfg(test)]
pub(super) const CASES: &[super::rule::Case] = {
    use super::rule::Case;
    use super::rule::cases::fact;
    &[
        Case {
            id: FindingId::RecentlyDeleted,
            fires: |f| f.library.counts.recently_deleted = Some(1),
            silent: |f| f.library.counts.recently_deleted = Some(0),
        },
        Case {
            id: FindingId::HiddenPhotos,
            fires: |f| f.library.counts.hidden = Some(1),
            silent: |f| f.library.counts.hidden = Some(0),
        },
        Case {
            id: FindingId::SharedAlbumOnly,
            fires: |f| f.library.counts.shared_album_only = Some(1),
            silent: |f| f.library.counts.shared_album_only = Some(0),
        },
        Case {
            id: FindingId::PhotosNotInIcloudBackup,
            fires: |f| f.icloud_photos.enabled = fact(true),
            silent: |f| f.icloud_photos.enabled = fact(false),
        },
    ]
};
