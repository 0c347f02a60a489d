//! Which files belong to which originals: the library names the file of an asset, the walk shows what lies beside it.

use crate::facts::{Library, MediaListing, Place, ResourceKind};

/// Clips of Live Photos.
const CLIPS: [&str; 2] = ["mov", "mp4"];
/// RAW files of the cameras that people import from, and Apple's own.
const RAWS: [&str; 16] = [
    "dng", "cr2", "cr3", "crw", "nef", "nrw", "arw", "srf", "sr2", "raf", "orf", "rw2", "pef", "rwl", "srw",
    "3fr",
];

/// Gives clips and RAW files that lie beside their still, with the same stem, their paths.
pub(super) fn resolve(library: &mut Library, listing: &MediaListing) {
    let Some(assets) = &mut library.assets else { return };
    for asset in assets {
        let Some(stem) = stem_of(&asset.path) else { continue };
        for resource in &mut asset.resources {
            let endings: &[&str] = match resource.kind {
                ResourceKind::Original => continue,
                ResourceKind::LiveVideo => &CLIPS,
                ResourceKind::Raw => &RAWS,
            };
            if !is_here(resource.place) {
                continue;
            }
            let mut files = beside(listing, stem);
            let found = files.find(|path| *path != asset.path && ends_with(path, endings));
            resource.path = found.map(str::to_owned);
        }
    }
}

fn is_here(place: Place) -> bool {
    matches!(place, Place::HereAndInIcloud | Place::OnlyHere)
}

/// More files of one stem than any camera writes.
const BESIDE_MAX: usize = 64;

/// The files with this stem. The listing is sorted by path, so that no index of it has to be made.
fn beside<'a>(listing: &'a MediaListing, stem: &'a str) -> impl Iterator<Item = &'a str> {
    let begins = format!("{stem}.");
    let first = listing.files.partition_point(|file| file.path < begins);
    let near = listing.files[first..].iter().map(|file| file.path.as_str()).take(BESIDE_MAX);
    near.take_while(move |path| path.starts_with(&begins)).filter(move |path| stem_of(path) == Some(stem))
}

/// The path without its ending; `None` for one that has none.
fn stem_of(path: &str) -> Option<&str> {
    let (stem, ending) = path.rsplit_once('.')?;
    (!stem.is_empty() && !stem.ends_with('/') && !ending.contains('/')).then_some(stem)
}

fn ends_with(path: &str, endings: &[&str]) -> bool {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    endings.iter().any(|wanted| ending.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Asset, AssetKind, MediaFile, Owner, Resource, Upload};

    fn asset(path: &str, kinds: &[(ResourceKind, Place)]) -> Asset {
        let resource = |(kind, place): &(ResourceKind, Place)| Resource {
            kind: *kind,
            path: (*kind == ResourceKind::Original).then(|| path.to_owned()),
            stated_bytes: None,
            fingerprint: None,
            place: *place,
        };
        Asset {
            uuid: "u".into(),
            path: path.into(),
            original_name: None,
            kind: AssetKind::LivePhoto,
            owner: Owner::Own,
            created: None,
            added: None,
            trashed: None,
            hidden: false,
            favourite: false,
            burst_unpicked: false,
            albums: Vec::new(),
            upload: Upload::Uploaded,
            place: Place::OnlyHere,
            resources: kinds.iter().map(resource).collect(),
        }
    }

    fn resolved(asset: Asset, files: &[&str]) -> Vec<Option<String>> {
        let file = |path: &&str| MediaFile { path: (*path).into(), size: 1, mtime_ns: 0, birthtime_ns: 0 };
        let listing = MediaListing { files: files.iter().map(file).collect(), refused: Vec::new() };
        let mut library = Library { assets: Some(vec![asset]), ..Library::default() };
        resolve(&mut library, &listing);
        library.assets.unwrap().remove(0).resources.into_iter().map(|resource| resource.path).collect()
    }

    const FILES: [&str; 5] = [
        "DCIM/100APPLE/A.AAE",
        "DCIM/100APPLE/A.DNG",
        "DCIM/100APPLE/A.HEIC",
        "DCIM/100APPLE/A.MOV",
        "DCIM/101APPLE/B.MOV",
    ];

    #[test]
    fn clip_and_raw_lie_beside_the_still() {
        let here = Place::OnlyHere;
        let kinds =
            [(ResourceKind::Original, here), (ResourceKind::LiveVideo, here), (ResourceKind::Raw, here)];
        let paths = resolved(asset("DCIM/100APPLE/A.HEIC", &kinds), &FILES);
        assert_eq!(
            paths,
            [
                Some("DCIM/100APPLE/A.HEIC".into()),
                Some("DCIM/100APPLE/A.MOV".into()),
                Some("DCIM/100APPLE/A.DNG".into())
            ]
        );
    }

    #[test]
    fn what_is_not_there_or_not_here_has_no_path() {
        let clip = [(ResourceKind::LiveVideo, Place::OnlyInIcloud)];
        assert_eq!(resolved(asset("DCIM/100APPLE/A.HEIC", &clip), &FILES), [None]);
        let clip = [(ResourceKind::LiveVideo, Place::OnlyHere)];
        assert_eq!(resolved(asset("DCIM/100APPLE/B.HEIC", &clip), &FILES), [None]);
        assert_eq!(resolved(asset("", &clip), &FILES), [None]);
        assert_eq!(
            resolved(asset("DCIM/100APPLE/A.MOV", &clip), &FILES),
            [None],
            "a file is not its own clip"
        );
    }
}
