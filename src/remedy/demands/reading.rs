//! The first demand: the phone was read just now, its library and its sync status could be read, and the numbers that
//! must agree do. Where it does not hold, nothing can be told.

use std::time::Duration;

use crate::diagnosis::{FindingId, reach_finding};
use crate::facts::sentences::{fixed, say};
use crate::facts::text::plain;
use crate::facts::{Facts, Reach, value};
use crate::remedy::ReasonId;

use super::{Blocked, Case, signed};

/// *Now* means that the phone was read again: facts older than this clear nothing. Reading a library of 100,000 assets
/// takes a minute or two; half an hour leaves room for a slow link and is short enough that nobody has used the phone
/// for long since.
const FACTS_AGE_MAX: Duration = Duration::from_secs(30 * 60);

pub(in crate::remedy) fn read_now(case: &Case<'_>) -> Vec<Blocked> {
    if case.facts.reach != Reach::Trusted {
        let id = reach_finding(case.facts.reach).unwrap_or(FindingId::NotTrusted);
        return vec![Blocked::untold(id, fixed("gate-not-let-in"))];
    }
    if case.udid.is_none() {
        return no_phone(Vec::new());
    }
    let age = case.moment.now.duration_since(case.facts.observed_at);
    if age > signed(FACTS_AGE_MAX) {
        let text = say!("gate-read-long-ago", n = age.as_mins().unsigned_abs());
        return vec![Blocked::untold(FindingId::LibraryUnreadable, text)];
    }
    Vec::new()
}

/// The reasons, with the one that there is no phone at all if nothing else says it.
pub(in crate::remedy) fn no_phone(mut blocked: Vec<Blocked>) -> Vec<Blocked> {
    if blocked.is_empty() {
        blocked.push(Blocked::untold(FindingId::LibraryUnreadable, fixed("gate-no-phone")));
    }
    blocked
}

pub(in crate::remedy) fn library_read(case: &Case<'_>) -> Vec<Blocked> {
    let because = |fact: &str| {
        case.facts
            .gap_of(fact)
            .map_or_else(String::new, |gap| say!("gate-because", reason = plain(&gap.reason)))
    };
    let mut blocked = Vec::new();
    if case.facts.library.assets.is_none() || case.facts.gap_of("library").is_some() {
        let text = say!("gate-library-unread", because = because("library"));
        blocked.push(Blocked::untold(FindingId::LibraryUnreadable, text));
    } else if let Some((column, words)) = missing_count(case.facts) {
        let fact = format!("library.{column}");
        let text = say!("gate-library-silent", what = fixed(words), because = because(&fact));
        blocked.push(Blocked::untold(FindingId::LibraryUnreadable, text));
    } else if let Some(made_at) = value(&case.facts.library.from_backup)
        && !is_of_this_visit(made_at, case)
    {
        let text = fixed("gate-library-old");
        blocked.push(Blocked::untold(FindingId::LibraryUnreadable, text));
    }
    match &case.facts.media {
        None => {
            let text = say!("gate-folders-unlisted", because = because("media"));
            blocked.push(Blocked::untold(FindingId::LibraryUnreadable, text));
        }
        Some(walk) => {
            let unseen = walk.refused.iter().map(|(path, _)| path.trim_matches('/'));
            if let Some(path) = unseen.filter(|path| may_hide_originals(path, case)).min() {
                let text = say!("gate-path-refused", path = plain(&format!("/{path}")));
                blocked.push(Blocked::untold(FindingId::LibraryUnreadable, text));
            }
        }
    }
    blocked
}

/// A backup that is as new as an erase wants it: its library is the phone's as it is now.
fn is_of_this_visit(made_at: jiff::Timestamp, case: &Case<'_>) -> bool {
    super::erase::is_fresh(made_at, case.moment)
}

/// The first count that the demands need and that the library does not have.
fn missing_count(facts: &Facts) -> Option<(&'static str, &'static str)> {
    let counts = &facts.library.counts;
    let needed = [
        (counts.assets, "assets", "count-assets"),
        (counts.uploaded, "uploaded", "count-uploaded"),
        (counts.waiting, "waiting", "count-waiting"),
        (counts.failed, "failed", "count-failed"),
        (counts.never_queued, "never_queued", "count-never-queued"),
        (
            counts.originals_here_and_in_icloud,
            "originals_here_and_in_icloud",
            "count-originals-here-and-in-icloud",
        ),
        (counts.originals_only_here, "originals_only_here", "count-originals-only-here"),
        (counts.originals_only_in_icloud, "originals_only_in_icloud", "count-originals-only-in-icloud"),
        (counts.originals_in_neither, "originals_in_neither", "count-originals-in-neither"),
        (counts.originals_place_unknown, "originals_place_unknown", "count-originals-place-unknown"),
        (counts.recently_deleted, "recently_deleted", "count-recently-deleted"),
    ];
    needed.into_iter().find(|(count, ..)| count.is_none()).map(|(_, name, words)| (name, words))
}

/// The folders in which originals and edits live.
const PHOTO_FOLDERS: [&str; 3] = ["DCIM", "PhotoData/CPLAssets", "PhotoData/Mutations"];

/// A path that the walk was refused, and behind which originals or edits may be that nobody saw. A single file that
/// the verified backup holds is none.
fn may_hide_originals(path: &str, case: &Case<'_>) -> bool {
    let below =
        |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let concerns = PHOTO_FOLDERS
        .iter()
        .any(|folder| path.is_empty() || path == *folder || below(path, folder) || below(folder, path));
    let in_backup = case.copies.backup.and_then(|proof| proof.media(path));
    concerns && !in_backup.is_some_and(|media| media.sha256.is_some() && media.whole)
}

/// iCloud Photos is known not to be on, and the library claims nothing about iCloud: then there is nothing to compare.
fn icloud_photos_known_off(case: &Case<'_>) -> bool {
    value(&case.facts.icloud_photos.enabled) == Some(false)
        && case.account.uploaded + case.account.uploaded_trashed == 0
}

pub(in crate::remedy) fn sync_status_read(case: &Case<'_>) -> Vec<Blocked> {
    let gap = case.facts.gap_of("icloud_photos.engine");
    let never_on =
        case.facts.icloud_photos.engine.is_none() && value(&case.facts.icloud_photos.enabled) == Some(false);
    if gap.is_none() && (case.facts.icloud_photos.engine.is_some() || never_on) {
        return Vec::new();
    }
    let why = gap.map_or_else(String::new, |gap| say!("gate-because", reason = plain(&gap.reason)));
    let text = say!("gate-status-unread", because = why);
    vec![Blocked::untold(FindingId::SyncStatusUnreadable, text)]
}

pub(in crate::remedy) fn states_known(case: &Case<'_>) -> Vec<Blocked> {
    let states = &case.facts.library.unknown_states;
    if states.is_empty() {
        return Vec::new();
    }
    let named: Vec<String> = states.iter().take(3).map(|state| plain(state)).collect();
    let text = say!("gate-states-unknown", states = named.join(", "));
    vec![Blocked::untold(ReasonId::UnknownStateValue, text)]
}

/// The comparison with the server, where there is something to compare.
pub(in crate::remedy) fn server_agrees(case: &Case<'_>) -> Vec<Blocked> {
    if icloud_photos_known_off(case) { Vec::new() } else { server_counted(case) }
}

/// The library's count of uploaded assets is the server's, or what waits, what is in Recently Deleted and what is still
/// to be taken in explain the difference. Nobody knows whether the server counts trashed assets: all or none of them.
pub(in crate::remedy) fn server_counted(case: &Case<'_>) -> Vec<Blocked> {
    let photos = &case.facts.icloud_photos;
    let counted_by_server =
        value(&photos.server_assets).or_else(|| value(&photos.engine.as_ref()?.cloud_asset_count));
    let here = case.account.uploaded;
    // A library that was not read, or does not say, has not uploaded 0 photos.
    let known = case.facts.library.assets.is_some() && case.facts.library.counts.uploaded.is_some();
    let Some(server) = counted_by_server else {
        let text = match known {
            true => say!("gate-server-untold", n = here),
            false => fixed("gate-counts-untold").to_owned(),
        };
        return vec![Blocked::untold(ReasonId::CountsDisagree, text)];
    };
    if !known {
        return vec![Blocked::untold(ReasonId::CountsDisagree, fixed("gate-uploaded-untold"))];
    }
    let to_download = value(&photos.to_download).unwrap_or(0);
    let slack = case.account.waiting.saturating_add(to_download);
    let explained = |base: u64| server.checked_sub(base).is_some_and(|more| more <= slack);
    let trashed = case.account.uploaded_trashed;
    if explained(here) || explained(here.saturating_add(trashed)) {
        return Vec::new();
    }
    let text = say!(
        "gate-counts-disagree",
        here = here,
        trashed = trashed,
        server = server,
        waiting = case.account.waiting,
        coming = to_download,
    );
    vec![Blocked::untold(ReasonId::CountsDisagree, text)]
}

pub(in crate::remedy) fn files_agree(case: &Case<'_>) -> Vec<Blocked> {
    let (said, seen) = (case.account.files_said_here, case.account.files_seen);
    if said == seen || case.facts.media.is_none() {
        return Vec::new();
    }
    let text = say!("gate-files-disagree", said = said, seen = seen);
    vec![Blocked::untold(ReasonId::CountsDisagree, text)]
}
