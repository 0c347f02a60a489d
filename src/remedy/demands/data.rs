//! Demands about the originals: in two places, copied, and none lost with the iCloud library.

use crate::diagnosis::FindingId;
use crate::facts::text::{bytes, counted, grouped, plain};
use crate::facts::value;
use crate::remedy::ReasonId;
use crate::remedy::originals::icloud_library_is_there;

use super::{Blocked, Case};

pub(in crate::remedy) fn in_two_places(case: &Case<'_>) -> Vec<Blocked> {
    if !case.is_accounted() {
        let text = "where the originals are cannot be told";
        return vec![Blocked::unknown(ReasonId::PlaceUnknown, text)];
    }
    let spread = &case.account.spread;
    let photos = |number| counted(number, "photo", "photos");
    let exist = |number: u64| if number == 1 { "exists" } else { "exist" };
    let mut blocked = Vec::new();
    if spread.nowhere > 0 {
        let text = format!(
            "{} {} in full neither on this phone nor in iCloud nor in our copy",
            photos(spread.nowhere),
            exist(spread.nowhere)
        );
        blocked.push(Blocked::known(FindingId::OriginalsMissing, text));
    }
    if spread.only_here > 0 {
        let trashed = match spread.only_here_trashed {
            0 => String::new(),
            number => format!(" ({} of them in Recently Deleted)", grouped(number)),
        };
        let text =
            format!("{} {} only on this phone{trashed}", photos(spread.only_here), exist(spread.only_here));
        blocked.push(Blocked::known(ReasonId::OriginalsOnlyHere, text));
    }
    if spread.only_in_icloud > 0 {
        let text =
            format!("{} {} only in iCloud", photos(spread.only_in_icloud), exist(spread.only_in_icloud));
        blocked.push(Blocked::known(FindingId::OriginalsOnlyInIcloud, text));
    }
    if spread.only_in_copy > 0 {
        let text = format!(
            "{} {} in full only in our copy on this computer",
            photos(spread.only_in_copy),
            exist(spread.only_in_copy)
        );
        blocked.push(Blocked::known(FindingId::OriginalsMissing, text));
    }
    if spread.unknown > 0 {
        let text = format!("of {} nobody can tell where the originals are", photos(spread.unknown));
        blocked.push(Blocked::unknown(ReasonId::PlaceUnknown, text));
    }
    blocked
}

pub(in crate::remedy) fn every_original_copied(case: &Case<'_>) -> Vec<Blocked> {
    if !case.is_accounted() {
        let text = "Whether every original is copied cannot be told.";
        return vec![Blocked::unknown(FindingId::PhotosNotCopied, text)];
    }
    let account = &case.account;
    let mut blocked = Vec::new();
    if account.not_copied > 0 || account.files_not_copied > 0 {
        let text = if account.files_not_copied > 0 {
            format!(
                "{} of the photo library ({}) {} not copied and proven yet.",
                counted(account.files_not_copied, "file", "files"),
                bytes(account.bytes_not_copied),
                if account.files_not_copied == 1 { "is" } else { "are" }
            )
        } else {
            format!("Of {} there is no full copy yet.", counted(account.not_copied, "photo", "photos"))
        };
        blocked.push(Blocked::known(FindingId::PhotosNotCopied, text));
    }
    if account.in_neither > 0 {
        let text = format!(
            "The originals of {} are neither on this phone nor in iCloud; what is left of them must not be lost too.",
            counted(account.in_neither, "photo", "photos")
        );
        blocked.push(Blocked::known(FindingId::OriginalsMissing, text));
    }
    if account.place_unknown > 0 {
        let text = format!(
            "The library does not say where the originals of {} are.",
            counted(account.place_unknown, "photo", "photos")
        );
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
        let originals = counted(assets, "photo", "photos");
        blocked.push(if there == Some(false) {
            let text = format!(
                "The originals of {originals} are only in iCloud, and that library is wiped, scheduled for deletion \
                 or not there."
            );
            Blocked::known(FindingId::OriginalsOnlyInIcloud, text)
        } else {
            let text = format!(
                "The originals of {originals} are only in iCloud, and nothing tells whether that library is still \
                 there."
            );
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
        let text = format!(
            "The originals of {} are only in iCloud; they would be gone on every device.",
            counted(assets, "photo", "photos")
        );
        blocked.push(Blocked::known(FindingId::OriginalsOnlyInIcloud, text));
    }
    blocked
}

fn number_unknown() -> Blocked {
    Blocked::unknown(
        FindingId::OriginalsOnlyInIcloud,
        "How many originals are only in iCloud cannot be told.",
    )
}

/// Assets that are in iCloud and that this phone has not even taken into its library yet: they too are only in iCloud.
pub(in crate::remedy) fn not_taken_in(case: &Case<'_>) -> Vec<Blocked> {
    let photos = &case.facts.icloud_photos;
    match value(&photos.to_download) {
        Some(0) => Vec::new(),
        Some(number) => {
            let text =
                format!("{} in iCloud have not come to this phone yet.", counted(number, "photo", "photos"));
            vec![Blocked::known(FindingId::DeviceBehind, text)]
        }
        None => match case.facts.gap_of("icloud_photos.to_download") {
            None => Vec::new(),
            Some(gap) => {
                let text = format!(
                    "How many photos in iCloud have not come to this phone yet could not be read ({}).",
                    plain(&gap.reason)
                );
                vec![Blocked::unknown(FindingId::DeviceBehind, text)]
            }
        },
    }
}
