//! What the contact sheet shows: one tile for each photo or video, newest first.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::manifest::{Entries, Source};
use super::super::plan::{edited, mutated, stem};
use super::super::store::Store;
use crate::facts::path::is_clean_relative;
use crate::facts::{Asset, AssetKind, Library, Owner, Place};

/// Where a photo or video stands. Everybody's is exactly one, so that the numbers of all add up to the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Standing {
    OnlyHere,
    HereAndInIcloud,
    OnlyInIcloud,
    InNeither,
    PlaceUnknown,
    RecentlyDeleted,
    Others,
    Gone,
    NotRead,
}

impl Standing {
    /// In the order in which they are offered.
    pub(super) const ALL: [Self; 9] = [
        Self::OnlyHere,
        Self::HereAndInIcloud,
        Self::OnlyInIcloud,
        Self::InNeither,
        Self::PlaceUnknown,
        Self::RecentlyDeleted,
        Self::Others,
        Self::Gone,
        Self::NotRead,
    ];

    /// The name in the page's markup.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::OnlyHere => "only-here",
            Self::HereAndInIcloud => "both",
            Self::OnlyInIcloud => "only-icloud",
            Self::InNeither => "neither",
            Self::PlaceUnknown => "unknown",
            Self::RecentlyDeleted => "deleted",
            Self::Others => "others",
            Self::Gone => "gone",
            Self::NotRead => "not-read",
        }
    }

    /// What the badge says.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::OnlyHere => "Only on the phone",
            Self::HereAndInIcloud => "Phone and iCloud",
            Self::OnlyInIcloud => "Only in iCloud",
            Self::InNeither => "In neither",
            Self::PlaceUnknown => "Place unknown",
            Self::RecentlyDeleted => "Recently deleted",
            Self::Others => "Shared by others",
            Self::Gone => "No longer on the phone",
            Self::NotRead => "Place not read",
        }
    }

    fn of(asset: &Asset) -> Self {
        match (asset.trashed, asset.owner, asset.place) {
            (Some(_), _, _) => Self::RecentlyDeleted,
            (None, Owner::SharedAlbum | Owner::Link | Owner::SharedWithYou, _) => Self::Others,
            (None, Owner::Own, Place::OnlyHere) => Self::OnlyHere,
            (None, Owner::Own, Place::HereAndInIcloud) => Self::HereAndInIcloud,
            (None, Owner::Own, Place::OnlyInIcloud) => Self::OnlyInIcloud,
            (None, Owner::Own, Place::InNeither) => Self::InNeither,
            (None, Owner::Own, Place::Unknown) => Self::PlaceUnknown,
        }
    }
}

/// What a tile shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Photo,
    LivePhoto,
    Video,
}

/// One photo or video.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tile {
    /// The phone's path of the original, a clean relative one.
    pub(super) path: String,
    /// The name it was taken or imported under. Text from the phone.
    pub(super) name: String,
    /// When it was taken.
    pub(super) taken: Option<Timestamp>,
    /// What it is.
    pub(super) kind: Kind,
    /// Where it stands.
    pub(super) standing: Standing,
    /// In the Hidden album.
    #[serde(default)]
    pub(super) hidden: bool,
    /// The library's name of the asset, for what was adopted for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) asset: Option<String>,
}

/// Everything that the page shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sheet {
    /// The owner's name for the phone. Text from the phone.
    pub(super) device: Option<String>,
    /// When the library was read; `None`: it was not.
    pub(super) read_at: Option<Timestamp>,
    /// Newest first; those without a date last.
    pub(super) tiles: Vec<Tile>,
    /// The originals that are left out, since they are in the Hidden album. Kept, so that a page that is made without
    /// the phone does not show them as newcomers.
    #[serde(default)]
    pub(super) left_out: Vec<String>,
}

/// Whose the sheet is and what it may show.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The owner's name for the phone.
    pub device: Option<&'a str>,
    /// When the library was read.
    pub read_at: Timestamp,
    /// Also what the Hidden album holds.
    pub hidden: bool,
}

impl Sheet {
    /// From the copy and, where it could be read, the library: every asset, and what the copy holds besides.
    #[must_use]
    pub fn of(store: &Store, library: Option<&Library>, about: About<'_>) -> Self {
        let assets = library.and_then(|library| library.assets.as_deref());
        let mut sheet = Self {
            device: about.device.map(str::to_owned),
            read_at: assets.is_some().then_some(about.read_at),
            ..Self::default()
        };
        for asset in assets.unwrap_or_default().iter().filter(|asset| !asset.path.is_empty()) {
            if asset.hidden && !about.hidden {
                sheet.left_out.push(asset.path.clone());
            } else {
                sheet.tiles.push(of_asset(asset));
            }
        }
        let standing = if assets.is_some() { Standing::Gone } else { Standing::NotRead };
        let assets = assets.unwrap_or_default();
        let mut known: HashSet<&str> = assets.iter().map(|asset| stem(&asset.path)).collect();
        let resources = assets.iter().flat_map(|asset| &asset.resources);
        known.extend(resources.filter_map(|resource| resource.path.as_deref()).map(stem));
        sheet.tiles.extend(besides(store.manifest().entries(), &known, standing));
        sheet.sort();
        sheet
    }

    /// With what the copy has taken in since the sheet was kept.
    #[must_use]
    pub fn with_newcomers(mut self, store: &Store) -> Self {
        let paths = self.tiles.iter().map(|tile| &tile.path).chain(&self.left_out);
        let known: HashSet<&str> = paths.map(|path| stem(path)).collect();
        let new = besides(store.manifest().entries(), &known, Standing::NotRead);
        self.tiles.extend(new);
        self.sort();
        self
    }

    /// Which originals a phone may have small pictures of.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.tiles.iter().map(|tile| tile.path.clone()).collect()
    }

    /// Only what may be used: a file on this computer may have been changed by anybody.
    pub(super) fn checked(mut self) -> Self {
        self.tiles.retain(|tile| is_clean_relative(&tile.path));
        self.left_out.retain(|path| is_clean_relative(path));
        self.sort();
        self
    }

    fn sort(&mut self) {
        self.tiles.sort_by(|a, b| b.taken.cmp(&a.taken).then_with(|| b.path.cmp(&a.path)));
    }
}

fn of_asset(asset: &Asset) -> Tile {
    let file_name = asset.path.rsplit('/').next().unwrap_or(&asset.path);
    Tile {
        path: asset.path.clone(),
        name: asset.original_name.clone().unwrap_or_else(|| file_name.to_owned()),
        taken: asset.created.or(asset.added),
        kind: match asset.kind {
            AssetKind::Photo | AssetKind::Other => Kind::Photo,
            AssetKind::LivePhoto => Kind::LivePhoto,
            AssetKind::Video => Kind::Video,
        },
        standing: Standing::of(asset),
        hidden: asset.hidden,
        asset: Some(asset.uuid.clone()),
    }
}

/// Pictures by their extension, in the order in which one stands for the others of its name, then clips.
const PICTURES: [&str; 10] = ["heic", "heif", "jpg", "jpeg", "png", "webp", "gif", "tiff", "dng", "avif"];
const CLIPS: [&str; 3] = ["mov", "mp4", "m4v"];
/// What of the copy can be a photo or video of its own: edits and their recipes belong to another.
const FOLDERS: [&str; 3] = ["DCIM/", "PhotoData/CPLAssets/", "PhotoData/PhotoCloudSharingData/"];

/// The photos and videos of the copy whose names are not known yet: files of one name are one, a picture before its clip.
fn besides(entries: &Entries, known: &HashSet<&str>, standing: Standing) -> Vec<Tile> {
    let mut found: HashMap<&str, Vec<(usize, &str)>> = HashMap::new();
    for path in entries.keys().filter(|path| FOLDERS.iter().any(|folder| path.starts_with(folder))) {
        let of_another = mutated(path).is_some() || edited(path).is_some();
        if let (Some(rank), false) = (rank(path), of_another || known.contains(stem(path))) {
            found.entry(stem(path)).or_default().push((rank, path));
        }
    }
    let tile = |mut files: Vec<(usize, &str)>| {
        files.sort_unstable();
        let (first, path) = files[0];
        let with_clip = files.iter().any(|(rank, _)| *rank >= PICTURES.len());
        Tile {
            path: path.to_owned(),
            name: path.rsplit('/').next().unwrap_or(path).to_owned(),
            taken: entries.get(path).and_then(|entry| Timestamp::from_nanosecond(entry.mtime_ns.into()).ok()),
            kind: match (first < PICTURES.len(), with_clip) {
                (true, true) => Kind::LivePhoto,
                (true, false) => Kind::Photo,
                (false, _) => Kind::Video,
            },
            standing,
            hidden: false,
            asset: None,
        }
    };
    found.into_values().map(tile).collect()
}

/// What was adopted, by its asset: of a Live Photo the picture.
pub(super) fn adopted(entries: &Entries) -> HashMap<&str, &str> {
    let mut adopted: HashMap<&str, (usize, &str)> = HashMap::new();
    for (path, entry) in entries.iter().filter(|(_, entry)| entry.source == Source::Adopted) {
        let (Some(asset), Some(rank), None) = (&entry.asset, rank(path), &entry.damaged) else { continue };
        let best = adopted.entry(asset.as_str()).or_insert((rank, path));
        *best = (*best).min((rank, path));
    }
    adopted.into_iter().map(|(asset, (_, path))| (asset, path)).collect()
}

pub(super) fn rank(path: &str) -> Option<usize> {
    let extension = path.rsplit_once('.')?.1.to_ascii_lowercase();
    PICTURES.iter().chain(&CLIPS).position(|known| *known == extension)
}
