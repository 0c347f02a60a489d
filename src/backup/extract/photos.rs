//! The photos and videos of a backup, under the names, dates and albums that the library inside it gives them.
//!
//! ```text
//! 2026/2026-11/IMG_0001.HEIC     by the month in which it was taken; its clip, edit and sidecar stand beside it
//! Albums/Sedona/IMG_0001.HEIC    a further name of the same file
//! Hidden/  Recently Deleted/  Shared Albums/  No Date/
//! Other Files/DCIM/…             what the library does not know
//! ```

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Placing;
use super::name::safe;
use crate::backup::choice::{Choice, Pattern};
use crate::backup::mbfile::MbFile;
use crate::facts::{Asset, Library, Owner};

/// The domain of the camera roll, and the folder in it that is the media root.
const DOMAIN: &str = "CameraRollDomain";
const MEDIA: &str = "Media/";
/// Where photos, edits and shared albums are, below the media root.
const ROOTS: [&str; 4] =
    ["DCIM/", "PhotoData/CPLAssets/", "PhotoData/Mutations/", "PhotoData/PhotoCloudSharingData/"];
const EDITS: &str = "PhotoData/Mutations/";
/// What stands between the original's path and the edited rendition's name.
const ADJUSTMENTS: &str = "/Adjustments/";
const RENDITION: &str = "FullSizeRender";
const OTHER: &str = "Other Files";

/// Every file that [`Photos`] can place.
#[must_use]
pub fn choice() -> Choice {
    let pattern =
        |root: &&str| Pattern::path(&format!("{MEDIA}{root}**")).expect("our own patterns are short");
    Choice {
        domains: Pattern::domain(DOMAIN).into_iter().collect(),
        paths: ROOTS.iter().map(pattern).collect(),
    }
}

/// Places photos by what the library says of them.
#[derive(Debug, Default)]
pub struct Photos {
    /// By the asset's path below the media root.
    exact: HashMap<String, usize>,
    /// By that path without its extension, for what belongs to the asset.
    stems: HashMap<String, usize>,
    shown: Vec<Shown>,
    /// Places that are taken, in lower case: some disks know no other.
    taken: HashSet<String>,
}

#[derive(Debug)]
struct Shown {
    /// Folder and stem; the first is where the file stands.
    places: Vec<String>,
    taken: Option<Timestamp>,
}

impl Photos {
    /// From the assets and albums of a library. `zone` decides the month of a photo.
    #[must_use]
    pub fn of(library: &Library, zone: &TimeZone) -> Self {
        let mut photos = Self::default();
        let mut stems = HashSet::new();
        let albums = library.albums.as_deref().unwrap_or_default();
        for asset in library.assets.iter().flatten().filter(|asset| !asset.path.is_empty()) {
            // What is hidden or deleted is not to turn up in an album.
            let shown = !asset.hidden && asset.trashed.is_none();
            let own = asset.albums.iter().filter(|_| shown);
            let titles =
                own.filter_map(|at| albums.get(usize::try_from(*at).ok()?)).map(|album| &album.title);
            let folders = std::iter::once(folder_of(asset, zone))
                .chain(titles.map(|title| format!("Albums/{}", safe(title))));
            let name = asset.original_name.as_deref().unwrap_or(&asset.path);
            let stem = safe(without_extension(name.rsplit('/').next().unwrap_or(name)));
            let places = folders.map(|folder| alone(&mut stems, &format!("{folder}/{stem}"))).collect();
            let at = photos.shown.len();
            photos.shown.push(Shown { places, taken: asset.created });
            photos.exact.insert(asset.path.clone(), at);
            photos.stems.entry(without_extension(&asset.path).to_owned()).or_insert(at);
        }
        photos
    }

    /// The asset to which a file belongs, and what its name gets behind the stem.
    fn of_asset(&self, path: &str) -> Option<(usize, String)> {
        if let Some(edit) = path.strip_prefix(EDITS) {
            let (original, name) = edit.split_once(ADJUSTMENTS)?;
            let extension = name.strip_prefix(RENDITION)?.strip_prefix('.')?;
            return Some((*self.stems.get(original)?, format!(" (edited).{}", safe(extension))));
        }
        let at = self.exact.get(path).or_else(|| self.stems.get(without_extension(path)))?;
        let ending = &path[without_extension(path).len()..];
        Some((*at, if ending.is_empty() { String::new() } else { safe(ending) }))
    }
}

impl Placing for Photos {
    fn places(&mut self, domain: &str, _: &MbFile, path: &str) -> Vec<String> {
        let Some(path) = path.strip_prefix(MEDIA).filter(|_| domain == DOMAIN) else { return Vec::new() };
        if !ROOTS.iter().any(|root| path.starts_with(root)) {
            return Vec::new();
        }
        let wanted = match self.of_asset(path) {
            Some((at, ending)) => {
                self.shown[at].places.iter().map(|place| format!("{place}{ending}")).collect()
            }
            None => {
                let components: Vec<String> = path.split('/').map(safe).collect();
                vec![format!("{OTHER}/{}", components.join("/"))]
            }
        };
        wanted.iter().map(|place: &String| alone(&mut self.taken, place)).collect()
    }

    fn taken(&self, path: &str) -> Option<Timestamp> {
        let (at, _) = self.of_asset(path.strip_prefix(MEDIA)?)?;
        self.shown[at].taken
    }
}

fn folder_of(asset: &Asset, zone: &TimeZone) -> String {
    match asset {
        Asset { trashed: Some(_), .. } => "Recently Deleted".to_owned(),
        Asset { hidden: true, .. } => "Hidden".to_owned(),
        Asset { owner: Owner::Own, created: Some(at), .. } => {
            at.to_zoned(zone.clone()).strftime("%Y/%Y-%m").to_string()
        }
        Asset { owner: Owner::Own, .. } => "No Date".to_owned(),
        _ => "Shared Albums".to_owned(),
    }
}

/// The path up to its last name's extension.
fn without_extension(path: &str) -> &str {
    match path.rfind('.') {
        Some(dot) if !path[dot..].contains('/') && !path[..dot].ends_with('/') && dot > 0 => &path[..dot],
        _ => path,
    }
}

/// The place, or the same with the next number that is free.
fn alone(taken: &mut HashSet<String>, place: &str) -> String {
    if taken.insert(place.to_lowercase()) {
        return place.to_owned();
    }
    let stem = without_extension(place);
    let ending = &place[stem.len()..];
    let numbered = (2..).map(|number| format!("{stem} ({number}){ending}"));
    numbered.into_iter().find(|place| taken.insert(place.to_lowercase())).expect("numbers do not end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Album, AssetKind, Place, Upload};

    fn asset(path: &str, name: &str, created: &str) -> Asset {
        Asset {
            uuid: path.to_owned(),
            path: path.to_owned(),
            original_name: Some(name.to_owned()),
            kind: AssetKind::Photo,
            owner: Owner::Own,
            created: created.parse().ok(),
            added: None,
            trashed: None,
            hidden: false,
            favourite: false,
            burst_unpicked: false,
            upload: Upload::Uploaded,
            place: Place::OnlyHere,
            resources: Vec::new(),
            albums: vec![0],
        }
    }

    fn place(photos: &mut Photos, path: &str) -> Vec<String> {
        photos.places(DOMAIN, &MbFile::default(), &format!("{MEDIA}{path}"))
    }

    #[test]
    fn a_photo_stands_by_its_month_with_all_that_belongs_to_it_and_in_its_albums() {
        let one = asset("DCIM/100APPLE/IMG_0001.HEIC", "Beach.HEIC", "2026-11-22T03:00:00Z");
        let two = asset("PhotoData/CPLAssets/group1/ABC.JPG", "beach.jpg", "2026-11-23T03:00:00Z");
        let hidden = Asset { hidden: true, ..asset("DCIM/100APPLE/IMG_0002.JPG", "../x", "") };
        let two = Asset { albums: vec![], ..two };
        let albums = Some(vec![Album { title: "Trip / 2026".to_owned(), shared: false }]);
        let library = Library { assets: Some(vec![one, two, hidden]), albums, ..Library::default() };
        let mut photos = Photos::of(&library, &TimeZone::UTC);
        assert_eq!(
            place(&mut photos, "DCIM/100APPLE/IMG_0001.HEIC"),
            ["2026/2026-11/Beach.HEIC", "Albums/Trip %2F 2026/Beach.HEIC"]
        );
        assert_eq!(place(&mut photos, "DCIM/100APPLE/IMG_0001.MOV")[0], "2026/2026-11/Beach.MOV");
        let edited = "PhotoData/Mutations/DCIM/100APPLE/IMG_0001/Adjustments/FullSizeRender.jpg";
        assert_eq!(place(&mut photos, edited)[0], "2026/2026-11/Beach (edited).jpg");
        // The same name in the same month, also for disks that do not tell them apart.
        assert_eq!(place(&mut photos, "PhotoData/CPLAssets/group1/ABC.JPG"), ["2026/2026-11/beach (2).JPG"]);
        assert_eq!(place(&mut photos, "DCIM/100APPLE/IMG_0002.JPG"), ["Hidden/x.JPG"]);
        assert_eq!(place(&mut photos, "DCIM/100APPLE/IMG_9.JPG"), ["Other Files/DCIM/100APPLE/IMG_9.JPG"]);
        assert_eq!(photos.taken(&format!("{MEDIA}{edited}")).unwrap().to_string(), "2026-11-22T03:00:00Z");
        assert!(place(&mut photos, "PhotoData/Photos.sqlite").is_empty());
        assert!(photos.places("HomeDomain", &MbFile::default(), "Media/DCIM/x").is_empty());
    }

    #[test]
    fn hostile_names_lead_nowhere_and_never_meet() {
        let names = ["..", "a/..", "x", "X", ".", "\u{202E}", "", ".hidden"];
        let assets: Vec<Asset> = names
            .iter()
            .enumerate()
            .map(|(at, name)| asset(&format!("DCIM/{at}.JPG"), name, "2026-11-22T03:00:00Z"))
            .collect();
        let library = Library { assets: Some(assets), ..Library::default() };
        let mut photos = Photos::of(&library, &TimeZone::UTC);
        let mut seen = HashSet::new();
        for at in 0..names.len() {
            for place in place(&mut photos, &format!("DCIM/{at}.JPG")) {
                assert!(crate::facts::path::is_clean_relative(&place), "{place}");
                assert!(seen.insert(place.to_lowercase()), "{place}");
            }
        }
        assert_eq!(without_extension("a.b/c"), "a.b/c");
        assert_eq!(without_extension("a/.x"), "a/.x");
    }
}
