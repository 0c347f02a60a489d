//! What we hold of this phone, as far as it is proven: our copy of its photos and our newest backup.

use crate::backup::verify::BackupProof;
use crate::facts::{Fact, Facts, MediaFile, Source};
use crate::photos::verify::PhotosProof;

const PLACE: &str = "vault";

/// Fills `local_backup` and `photo_copy` from the proofs. Proofs of another phone count for nothing.
///
/// The files that are copied are counted against the listing in `facts`: a file that was edited since it was copied
/// is not copied.
pub fn kept(facts: &mut Facts, photos: Option<&PhotosProof>, backup: Option<&BackupProof>) {
    let udid = facts.device.as_ref().map(|device| device.udid.clone()).unwrap_or_default();
    let photos = photos.filter(|proof| proof.udid().as_str() == udid);
    let backup = backup.filter(|proof| proof.udid().as_str() == udid);
    tell_backup(facts, backup);
    tell_copy(facts, photos, backup);
}

fn tell_backup(facts: &mut Facts, backup: Option<&BackupProof>) {
    let local = &mut facts.local_backup;
    local.made_at = backup.map(|proof| Fact::new(proof.made_at(), Source::new(PLACE, "made_at")));
    local.verified_at = backup.map(|proof| Fact::new(proof.proven_at(), Source::new(PLACE, "proven_at")));
    local.encrypted = backup.map(|proof| Fact::new(proof.encrypted(), Source::new(PLACE, "encrypted")));
    let known = backup.map(|proof| proof.encrypted() && proof.proven_inside());
    local.password_known = known.map(|known| Fact::new(known, Source::new(PLACE, "password_known")));
}

fn tell_copy(facts: &mut Facts, photos: Option<&PhotosProof>, backup: Option<&BackupProof>) {
    let copy = &mut facts.photo_copy;
    copy.verified_at = photos.map(|proof| Fact::new(proof.proven_at(), Source::new(PLACE, "proven_at")));
    let Some(listing) = &facts.media else {
        facts.photo_copy.files_copied = None;
        facts.photo_copy.files_not_copied = None;
        facts.photo_copy.bytes_not_copied = None;
        return facts.gap("photo_copy", "the phone's files could not be listed");
    };
    let covered = |file: &&MediaFile| {
        photos.is_some_and(|proof| proof.covers(file)) || backup.is_some_and(|proof| proof.covers(file))
    };
    let files = listing.files.len() as u64;
    let copied = listing.files.iter().filter(covered).count() as u64;
    let bytes = listing
        .files
        .iter()
        .filter(|file| !covered(file))
        .fold(0_u64, |sum, file| sum.saturating_add(file.size));
    copy.files_copied = Some(Fact::new(copied, Source::new(PLACE, "files")));
    copy.files_not_copied = Some(Fact::new(files - copied, Source::new(PLACE, "files")));
    copy.bytes_not_copied = Some(Fact::new(bytes, Source::new(PLACE, "files")));
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use jiff::Timestamp;

    use super::*;
    use crate::backup::verify::ProvenMedia;
    use crate::facts::{Device, MediaListing, value};
    use crate::photos::verify::ProvenFile;

    const UDID: &str = "00008101-000000000000001E";

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn facts() -> Facts {
        let file =
            |path: &str| MediaFile { path: path.into(), size: 10, mtime_ns: 5_000_000_000, birthtime_ns: 0 };
        let files = ["DCIM/A", "DCIM/B", "DCIM/C"].map(file).to_vec();
        Facts {
            device: Some(Device { udid: UDID.into(), ..Device::default() }),
            media: Some(MediaListing { files, refused: Vec::new() }),
            ..Facts::default()
        }
    }

    fn photos(udid: &str, path: &str, mtime_ns: i64) -> PhotosProof {
        let file = ProvenFile { size: 10, mtime_ns, sha256: [0; 32], whole: true };
        PhotosProof::for_test(udid, now(), HashMap::from([(path.to_owned(), file)]), HashSet::new())
    }

    fn backup(path: &str) -> BackupProof {
        let media = ProvenMedia { size: 10, mtime_s: 5, sha256: Some([0; 32]), whole: true };
        let media = HashMap::from([(path.to_owned(), media)]);
        BackupProof::for_test(UDID, now(), now(), true, true, media, Vec::new())
    }

    #[test]
    fn what_either_proof_covers_is_copied() {
        let mut facts = facts();
        kept(&mut facts, Some(&photos(UDID, "DCIM/A", 5_000_000_000)), Some(&backup("DCIM/B")));
        let copy = &facts.photo_copy;
        assert_eq!((value(&copy.files_copied), value(&copy.files_not_copied)), (Some(2), Some(1)));
        assert_eq!(value(&copy.bytes_not_copied), Some(10));
        assert_eq!(value(&facts.local_backup.password_known), Some(true));
    }

    #[test]
    fn a_file_that_changed_since_or_another_phones_copy_is_none() {
        for proof in [
            photos(UDID, "DCIM/A", 6_000_000_000),
            photos("00008101-000000000000002E", "DCIM/A", 5_000_000_000),
        ] {
            let mut facts = facts();
            kept(&mut facts, Some(&proof), None);
            assert_eq!(value(&facts.photo_copy.files_copied), Some(0));
        }
    }

    #[test]
    fn without_a_listing_nothing_is_said_of_the_copy() {
        let mut facts = Facts { media: None, ..facts() };
        kept(&mut facts, Some(&photos(UDID, "DCIM/A", 5_000_000_000)), None);
        assert!(facts.photo_copy.files_copied.is_none() && facts.gap_of("photo_copy.files_copied").is_some());
        assert!(facts.local_backup.verified_at.is_none());
    }
}
