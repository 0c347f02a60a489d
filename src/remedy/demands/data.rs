//! Demands about the originals: in two places, copied, and none lost with the iCloud library.

use crate::diagnosis::FindingId;
use crate::facts::sentences::{fixed, say};
use crate::facts::text::{bytes, plain};
use crate::facts::value;
use crate::remedy::ReasonId;
use crate::remedy::originals::icloud_library_is_there;

use super::{Blocked, Case};

pub(in crate::remedy) fn in_two_places(case: &Case<'_>) -> Vec<Blocked> {
    if !case.is_accounted() {
        let text = fixed("gate-places-untold");
        return vec![Blocked::unknown(ReasonId::PlaceUnknown, text)];
    }
    let spread = &case.account.spread;
    let mut blocked = Vec::new();
    if spread.nowhere > 0 {
        let text = say!("gate-nowhere", n = spread.nowhere);
        blocked.push(Blocked::known(FindingId::OriginalsMissing, text));
    }
    if spread.only_here > 0 {
        let trashed = match spread.only_here_trashed {
            0 => String::new(),
            number => say!("gate-trashed", n = number),
        };
        let text = say!("gate-only-here", n = spread.only_here, trashed = trashed.as_str());
        let clause = say!("gate-only-here-not-copied", n = spread.only_here, trashed = trashed);
        blocked.push(Blocked { clause: Some(clause), ..Blocked::known(ReasonId::OriginalsOnlyHere, text) });
    }
    if spread.only_in_icloud > 0 {
        let text = say!("gate-only-in-icloud", n = spread.only_in_icloud);
        blocked.push(Blocked::known(FindingId::OriginalsOnlyInIcloud, text));
    }
    if spread.only_in_copy > 0 {
        let text = say!("gate-only-in-copy", n = spread.only_in_copy);
        blocked.push(Blocked::known(FindingId::OriginalsMissing, text));
    }
    if spread.unknown > 0 {
        let text = say!("gate-place-unknown", n = spread.unknown);
        blocked.push(Blocked::unknown(ReasonId::PlaceUnknown, text));
    }
    blocked
}

pub(in crate::remedy) fn every_original_copied(case: &Case<'_>) -> Vec<Blocked> {
    if !case.is_accounted() {
        let text = fixed("gate-copied-untold");
        return vec![Blocked::unknown(FindingId::PhotosNotCopied, text)];
    }
    let account = &case.account;
    let mut blocked = Vec::new();
    if account.not_copied > 0 || account.files_not_copied > 0 {
        let text = if account.files_not_copied > 0 {
            let bytes = bytes(account.bytes_not_copied);
            say!("gate-files-not-copied", n = account.files_not_copied, bytes = bytes)
        } else {
            say!("gate-not-copied", n = account.not_copied)
        };
        blocked.push(Blocked::known(FindingId::PhotosNotCopied, text));
    }
    if account.in_neither > 0 {
        let text = say!("gate-in-neither", n = account.in_neither);
        blocked.push(Blocked::known(FindingId::OriginalsMissing, text));
    }
    if account.place_unknown > 0 {
        let text = say!("gate-library-place-unknown", n = account.place_unknown);
        blocked.push(Blocked::unknown(ReasonId::PlaceUnknown, text));
    }
    blocked
}

/// For a remedy that leaves the iCloud library alone: originals that are only there may stay there, if it is there.
pub(in crate::remedy) fn none_only_in_icloud_that_is_lost(case: &Case<'_>) -> Vec<Blocked> {
    only_in_icloud(case, case.account.only_in_icloud)
}

/// The same, for a remedy that a copy from elsewhere satisfies as well.
pub(in crate::remedy) fn none_only_in_icloud_that_is_lost_or_not_adopted(case: &Case<'_>) -> Vec<Blocked> {
    only_in_icloud(case, case.account.only_in_icloud_not_adopted)
}

fn only_in_icloud(case: &Case<'_>, assets: u64) -> Vec<Blocked> {
    let there = icloud_library_is_there(case.facts);
    if there == Some(true) {
        return Vec::new();
    }
    let mut blocked = not_taken_in(case);
    if case.facts.library.assets.is_none() {
        blocked.push(number_unknown());
    }
    if assets > 0 {
        blocked.push(if there == Some(false) {
            let text = say!("gate-icloud-lost", n = assets);
            Blocked::known(FindingId::OriginalsOnlyInIcloud, text)
        } else {
            let text = say!("gate-icloud-unsure", n = assets);
            Blocked::unknown(FindingId::OriginalsOnlyInIcloud, text)
        });
    }
    blocked
}

/// For a remedy that deletes the iCloud library: nothing may be only there.
pub(in crate::remedy) fn none_only_in_icloud(case: &Case<'_>) -> Vec<Blocked> {
    let mut blocked = not_taken_in(case);
    if case.facts.library.assets.is_none() {
        blocked.push(number_unknown());
    }
    let assets = case.account.only_in_icloud_not_adopted;
    if assets > 0 {
        let text = say!("gate-gone-everywhere", n = assets);
        blocked.push(Blocked::known(FindingId::OriginalsOnlyInIcloud, text));
    }
    blocked
}

fn number_unknown() -> Blocked {
    Blocked::unknown(FindingId::OriginalsOnlyInIcloud, fixed("gate-only-in-icloud-untold"))
}

/// Assets that are in iCloud and that this phone has not even taken into its library yet: they too are only in iCloud.
pub(in crate::remedy) fn not_taken_in(case: &Case<'_>) -> Vec<Blocked> {
    let photos = &case.facts.icloud_photos;
    match value(&photos.to_download) {
        Some(0) => Vec::new(),
        Some(number) => {
            let text = say!("gate-not-taken-in", n = number);
            vec![Blocked::known(FindingId::DeviceBehind, text)]
        }
        None => match case.facts.gap_of("icloud_photos.to_download") {
            None => Vec::new(),
            Some(gap) => {
                let text = say!("gate-not-taken-in-untold", reason = plain(&gap.reason));
                vec![Blocked::unknown(FindingId::DeviceBehind, text)]
            }
        },
    }
}
