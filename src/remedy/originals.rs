//! Where every original of the owner's library is: the library's word against the files that the walk saw and the
//! files that are proven to be in our copy or in the verified backup.
//!
//! The unit is the asset, and an asset is as badly off as the worst of its originals (a Live Photo with its clip only
//! in iCloud is only in iCloud). Assets of others (shared albums, links) are not counted; trashed ones are.

use crate::backup::verify::BackupProof;
use crate::facts::{
    Asset, Facts, MediaFile, MediaListing, Owner, Place, Resource, ResourceKind, Upload, value,
};
use crate::photos::verify::PhotosProof;

/// Counts over the whole library, made once. "Assets" are the owner's own, trashed ones included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Assets.
    pub(super) assets: u64,
    /// Uploaded, not trashed.
    pub(super) uploaded: u64,
    /// Uploaded and trashed.
    pub(super) uploaded_trashed: u64,
    /// Handed to the engine and not up yet.
    pub(super) waiting: u64,
    /// Original files that the library says are on the phone.
    pub(super) files_said_here: u64,
    /// Of these, files that the walk saw (or that AFC refused and the verified backup holds).
    pub(super) files_seen: u64,
    /// Assets with an original on the phone that is not proven to be copied in full.
    pub(super) not_copied: u64,
    /// Files of the walk, of any kind, that are neither in the copy nor in the verified backup.
    pub(super) files_not_copied: u64,
    /// Their bytes.
    pub(super) bytes_not_copied: u64,
    /// Assets of which the library does not say where they are.
    pub(super) place_unknown: u64,
    /// Assets with an original in neither place that was not adopted either.
    pub(super) in_neither: u64,
    /// Assets with an original only in iCloud.
    pub(super) only_in_icloud: u64,
    /// Of these, assets that were not adopted.
    pub(super) only_in_icloud_not_adopted: u64,
    /// In how many of phone, iCloud and our copy the originals are.
    pub(super) spread: Spread,
}

/// Assets by what keeps them from being in two places; each in one class, its worst.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spread {
    /// In at least two places.
    pub(super) safe: u64,
    /// Only on this phone; of these, trashed.
    pub(super) only_here: u64,
    pub(super) only_here_trashed: u64,
    /// Only in iCloud.
    pub(super) only_in_icloud: u64,
    /// Only in our copy.
    pub(super) only_in_copy: u64,
    /// Nowhere that we know of.
    pub(super) nowhere: u64,
    /// Cannot tell.
    pub(super) unknown: u64,
}

/// What keeps one asset from being in two places; worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lack {
    Nothing,
    Unknown,
    OnlyHere,
    OnlyInCopy,
    OnlyInIcloud,
    Nowhere,
}

/// Proofs that are about this phone, and a backup that counts as verified; what the rest of the judgement looks at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Copies<'a> {
    pub(super) photos: Option<&'a PhotosProof>,
    /// `None` also when the phone refused rows that matter.
    pub(super) backup: Option<&'a BackupProof>,
}

impl Copies<'_> {
    /// The file, as the phone shows it now, is proven to be in one of them. Where both hold it, with different bytes,
    /// one of them is not the phone's, and nobody knows which.
    fn cover(&self, file: &MediaFile) -> bool {
        let copy = self.photos.filter(|proof| proof.covers(file));
        let backup = self.backup.filter(|proof| proof.covers(file));
        match (copy, backup) {
            (Some(copy), Some(backup)) => {
                let copied = copy.file(&file.path).map(|kept| kept.sha256);
                copied == backup.media(&file.path).and_then(|kept| kept.sha256)
            }
            (copy, backup) => copy.is_some() || backup.is_some(),
        }
    }

    /// The verified backup holds a whole file at `path` that is not smaller than `stated_bytes`.
    fn backup_holds(&self, path: &str, stated_bytes: Option<u64>) -> bool {
        self.backup.and_then(|proof| proof.media(path)).is_some_and(|media| {
            media.sha256.is_some() && media.whole && media.size >= stated_bytes.unwrap_or(0)
        })
    }

    /// One of them holds what was at `path` before it left the phone. A name alone is no proof, since names return:
    /// the size has to be exactly the one that the library states.
    fn hold_departed(&self, path: &str, stated_bytes: Option<u64>) -> bool {
        let Some(stated) = stated_bytes else { return false };
        self.photos.and_then(|proof| proof.file(path)).is_some_and(|file| file.size == stated && file.whole)
            || self
                .backup
                .and_then(|proof| proof.media(path))
                .is_some_and(|media| media.size == stated && media.sha256.is_some() && media.whole)
    }

    fn adopted(&self, asset: &Asset, original: &Resource) -> bool {
        self.photos.is_some_and(|proof| proof.adopted(&asset.uuid, original))
    }
}

/// The iCloud library is there, not wiped and not scheduled for deletion. `None`: the phone's status does not tell.
pub(super) fn icloud_library_is_there(facts: &Facts) -> Option<bool> {
    let known = |key: &str| facts.gap_of(&format!("icloud_photos.engine.{key}")).is_none();
    let Some(engine) = &facts.icloud_photos.engine else {
        return known("library_exists").then_some(false);
    };
    let lost = engine.exit_delete_time.is_some()
        || value(&engine.library_wiped) == Some(true)
        || value(&engine.container_wiped) == Some(true);
    if lost {
        return Some(false);
    }
    let all_known =
        ["library_exists", "library_wiped", "container_wiped", "exit_delete_time"].into_iter().all(known);
    match value(&engine.library_exists) {
        Some(false) => Some(false),
        Some(true) => all_known.then_some(true),
        // The engine leaves out what is not set.
        None => all_known.then_some(false),
    }
}

/// Accounts for every own asset. `facts.library.assets` and `facts.media` may be missing: then the counts are zero, and
/// the demand that both are read does not hold anyway.
pub(super) fn account(facts: &Facts, copies: &Copies<'_>) -> Account {
    let mut account = Account::default();
    let nothing = MediaListing::default();
    let walk = facts.media.as_ref().unwrap_or(&nothing);
    for file in walk.files.iter().filter(|file| !copies.cover(file)) {
        account.files_not_copied += 1;
        account.bytes_not_copied = account.bytes_not_copied.saturating_add(file.size);
    }
    let view = View { walk, copies, icloud: icloud_library_is_there(facts) };
    for asset in facts.library.assets.iter().flatten().filter(|asset| asset.owner == Owner::Own) {
        account.add(asset, &view);
    }
    account
}

/// What one asset is held against.
struct View<'a> {
    walk: &'a MediaListing,
    copies: &'a Copies<'a>,
    icloud: Option<bool>,
}

/// One original of an asset, looked up.
struct Original {
    place: Place,
    /// The phone has the file, in the size that the library states or larger.
    here: bool,
    /// The phone has a file there, of whatever size (or refused it, and the backup has it).
    seen: bool,
    /// What is on the phone is proven to be copied, in full size.
    copied: bool,
    /// Our copy or the backup still holds it although the phone does not.
    kept: bool,
    /// It was adopted from elsewhere, and that is proven.
    adopted: bool,
}

impl Original {
    fn said_here(&self) -> bool {
        matches!(self.place, Place::HereAndInIcloud | Place::OnlyHere)
    }
}

impl View<'_> {
    fn look_up(&self, asset: &Asset, resource: &Resource) -> Original {
        let path = match (&resource.path, resource.kind) {
            (Some(path), _) => Some(path.as_str()),
            (None, ResourceKind::Original) if !asset.path.is_empty() => Some(asset.path.as_str()),
            (None, _) => None,
        };
        let place = resource.place;
        let adopted = self.copies.adopted(asset, resource);
        let absent = Original { place, here: false, seen: false, copied: false, kept: false, adopted };
        let Some(path) = path else { return absent };
        if let Some(file) = self.walk.file(path) {
            let here = file.size >= resource.stated_bytes.unwrap_or(0);
            return Original { here, seen: true, copied: here && self.copies.cover(file), ..absent };
        }
        let refused = self.walk.refused.iter().any(|(refused, _)| refused.trim_matches('/') == path);
        if refused && self.copies.backup_holds(path, resource.stated_bytes) {
            return Original { here: true, seen: true, copied: true, ..absent };
        }
        Original { kept: self.copies.hold_departed(path, resource.stated_bytes), ..absent }
    }

    /// The originals of an asset. Where the asset itself is said to be worse off than its resources are, that word
    /// counts too, as an original without a file.
    fn originals(&self, asset: &Asset) -> Vec<Original> {
        let mut originals: Vec<Original> =
            asset.resources.iter().map(|resource| self.look_up(asset, resource)).collect();
        if originals.iter().map(|original| original.place).max().is_none_or(|worst| worst < asset.place) {
            originals.push(Original {
                place: asset.place,
                here: false,
                seen: false,
                copied: false,
                kept: false,
                adopted: false,
            });
        }
        originals
    }

    /// What keeps an original from being in two of phone, iCloud and our copy.
    fn lack(&self, asset: &Asset, original: &Original) -> Lack {
        if original.place == Place::Unknown {
            return Lack::Unknown;
        }
        let here = original.said_here() && original.here;
        let up = matches!(original.place, Place::HereAndInIcloud | Place::OnlyInIcloud)
            && asset.upload == Upload::Uploaded;
        let icloud = if up { self.icloud } else { Some(false) };
        let copied = original.copied || original.kept || original.adopted;
        let certain = u8::from(here) + u8::from(icloud == Some(true)) + u8::from(copied);
        if certain >= 2 {
            return Lack::Nothing;
        }
        if certain == 1 && icloud.is_none() {
            return Lack::Unknown;
        }
        match (here, icloud, copied) {
            (true, _, _) => Lack::OnlyHere,
            (_, _, true) => Lack::OnlyInCopy,
            (_, Some(true) | None, _) => Lack::OnlyInIcloud,
            (false, Some(false), false) => Lack::Nowhere,
        }
    }
}

impl Account {
    fn add(&mut self, asset: &Asset, view: &View<'_>) {
        self.assets += 1;
        match (asset.upload, asset.trashed.is_some()) {
            (Upload::Uploaded, false) => self.uploaded += 1,
            (Upload::Uploaded, true) => self.uploaded_trashed += 1,
            (Upload::Waiting, _) => self.waiting += 1,
            (Upload::Failed | Upload::NeverQueued, _) => {}
        }
        let originals = view.originals(asset);
        for original in originals.iter().filter(|original| original.said_here()) {
            self.files_said_here += 1;
            self.files_seen += u64::from(original.seen);
        }
        let has = |place: Place| originals.iter().any(|original| original.place == place);
        let lacks =
            |place: Place| originals.iter().any(|original| original.place == place && !original.adopted);
        self.not_copied +=
            u64::from(originals.iter().any(|original| original.said_here() && !original.copied));
        self.place_unknown += u64::from(has(Place::Unknown));
        self.in_neither += u64::from(lacks(Place::InNeither));
        self.only_in_icloud += u64::from(has(Place::OnlyInIcloud));
        self.only_in_icloud_not_adopted += u64::from(lacks(Place::OnlyInIcloud));
        let lack = originals.iter().map(|original| view.lack(asset, original)).max().unwrap_or(Lack::Unknown);
        self.spread.add(lack, asset.trashed.is_some());
    }
}

impl Spread {
    fn add(&mut self, lack: Lack, trashed: bool) {
        match lack {
            Lack::Nothing => self.safe += 1,
            Lack::Unknown => self.unknown += 1,
            Lack::OnlyHere => {
                self.only_here += 1;
                self.only_here_trashed += u64::from(trashed);
            }
            Lack::OnlyInCopy => self.only_in_copy += 1,
            Lack::OnlyInIcloud => self.only_in_icloud += 1,
            Lack::Nowhere => self.nowhere += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use jiff::Timestamp;

    use super::*;
    use crate::backup::verify::ProvenMedia;
    use crate::photos::verify::ProvenFile;

    #[test]
    fn a_file_that_copy_and_backup_hold_with_different_bytes_is_covered_by_neither() {
        const UDID: &str = "00008101-000000000000001E";
        let path = "DCIM/100APPLE/IMG_0001.HEIC";
        let file = MediaFile { path: path.to_owned(), size: 9, mtime_ns: 5_000_000_000, birthtime_ns: 0 };
        let copied = ProvenFile { size: 9, mtime_ns: 5_000_000_000, sha256: [1; 32], whole: true };
        let photos = PhotosProof::for_test(
            UDID,
            Timestamp::UNIX_EPOCH,
            HashMap::from([(path.to_owned(), copied)]),
            HashSet::new(),
        );
        for (byte, covered) in [(1, true), (2, false)] {
            let kept = ProvenMedia { size: 9, mtime_s: 5, sha256: Some([byte; 32]), whole: true };
            let media = HashMap::from([(path.to_owned(), kept)]);
            let now = Timestamp::UNIX_EPOCH;
            let backup = BackupProof::for_test(UDID, now, now, false, false, media, Vec::new());
            let both = Copies { photos: Some(&photos), backup: Some(&backup) };
            assert_eq!(both.cover(&file), covered);
            assert!(
                Copies { backup: None, ..both }.cover(&file) && Copies { photos: None, ..both }.cover(&file)
            );
        }
    }
}
