//! The photo library as observed: assets, where their originals are, and the files that a walk over AFC saw.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Fingerprint, Gap, Maybe};

/// Where an original is. The order is from best to worst: the place of an asset is the worst of its originals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On this phone and in iCloud.
    HereAndInIcloud,
    /// Only on this phone.
    OnlyHere,
    /// Only in iCloud.
    OnlyInIcloud,
    /// The library says neither.
    InNeither,
    /// The library has no row that says.
    Unknown,
}

/// How far the upload of an asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upload {
    /// In iCloud (the master's state is 3).
    Uploaded,
    /// Handed to the engine, not up yet.
    Waiting,
    /// Quarantined: the phone gave it up ("couldn't sync").
    Failed,
    /// Never handed to the engine.
    NeverQueued,
}

/// Whose an asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The owner's own library.
    Own,
    /// Only in a shared album.
    SharedAlbum,
    /// An iCloud link that somebody sent.
    Link,
    /// "Shared with You".
    SharedWithYou,
}

/// What an asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AssetKind {
    /// A photo.
    Photo,
    /// A Live Photo: still and clip.
    LivePhoto,
    /// A video.
    Video,
    /// Something else (the raw kind is not kept).
    Other,
}

/// Which original of an asset a resource is (`ZDATASTORESUBTYPE` 1, 17, 18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// The original itself.
    Original,
    /// The RAW beside a JPEG or HEIC.
    Raw,
    /// The clip of a Live Photo.
    LiveVideo,
}

/// One original resource of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Which.
    pub kind: ResourceKind,
    /// Its file below the media root (`DCIM/100APPLE/IMG_0001.HEIC`) where the library or the walk names it.
    /// Text from the phone, already known to be a clean relative path.
    pub path: Option<String>,
    /// The size that the library states, in bytes.
    pub stated_bytes: Option<u64>,
    /// The fingerprint of its content that the library states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Where it is.
    pub place: Place,
}

/// An album.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Album {
    /// What its maker called it: text from the phone.
    pub title: String,
    /// It is shared over iCloud.
    pub shared: bool,
}

/// One asset. A Live Photo is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// `ZUUID`: the asset's own name in the library.
    pub uuid: String,
    /// Below the media root: `ZDIRECTORY/ZFILENAME`, as a clean relative path; empty when the library names none.
    pub path: String,
    /// The name it was taken or imported under: text from the phone.
    pub original_name: Option<String>,
    /// What it is.
    pub kind: AssetKind,
    /// Whose it is.
    pub owner: Owner,
    /// When it was taken.
    pub created: Option<Timestamp>,
    /// When it came into this library.
    pub added: Option<Timestamp>,
    /// In Recently Deleted, and since when (a `None` inside: the date is not noted).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub trashed: Option<Option<Timestamp>>,
    /// In the Hidden album.
    pub hidden: bool,
    /// Marked as favourite.
    pub favourite: bool,
    /// A burst frame that was not picked.
    pub burst_unpicked: bool,
    /// The albums that it is in: places in the library's list of albums.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub albums: Vec<u32>,
    /// How far its upload is.
    pub upload: Upload,
    /// The worst place of its originals.
    pub place: Place,
    /// Its originals.
    pub resources: Vec<Resource>,
}

/// A value that is there, also when it says nothing.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Counts by asset, of the owner's own library; trashed assets count only in `recently_deleted`. `None`: the library
/// could not be read or does not have the column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it, and the contract defines them")]
pub struct Counts {
    pub assets: Option<u64>,
    pub uploaded: Option<u64>,
    pub waiting: Option<u64>,
    pub failed: Option<u64>,
    pub never_queued: Option<u64>,
    pub originals_here_and_in_icloud: Option<u64>,
    pub originals_only_here: Option<u64>,
    pub originals_only_in_icloud: Option<u64>,
    pub originals_in_neither: Option<u64>,
    pub originals_place_unknown: Option<u64>,
    pub recently_deleted: Option<u64>,
    pub hidden: Option<u64>,
    pub shared_album_only: Option<u64>,
    pub burst_frames_unpicked: Option<u64>,
}

/// The photo library.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Library {
    /// Counts, made from `assets` once, so that no two numbers can disagree.
    #[serde(flatten)]
    pub counts: Counts,
    /// `PLModelVersion` of the database.
    pub model_version: Maybe<i64>,
    /// Every asset, also trashed and foreign ones; `None` with a gap `library` when it could not be read.
    #[serde(skip)]
    pub assets: Option<Vec<Asset>>,
    /// The albums that people made; `None` when the library does not tell which assets are in which.
    #[serde(skip)]
    pub albums: Option<Vec<Album>>,
    /// State values that we do not know, as `column=value` with their count. Not empty: the gate cannot tell.
    #[serde(skip)]
    pub unknown_states: Vec<String>,
    /// The phone itself did not give the library: it is that of our verified backup, made then.
    #[serde(rename = "from_backup_made_at")]
    pub from_backup: Maybe<Timestamp>,
    /// Uploaded assets including trashed ones, for the comparison with the server's count.
    #[serde(skip)]
    pub uploaded_with_trashed: Option<u64>,
    /// What the library could not say, e.g. a column that it does not have; `collect` moves them to the visit's gaps.
    #[serde(skip)]
    pub gaps: Vec<Gap>,
}

/// One file that the walk over AFC saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFile {
    /// Below the media root, a clean relative path.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970 as the phone states them.
    pub mtime_ns: i64,
    /// Birth time, nanoseconds since 1970.
    pub birthtime_ns: i64,
}

/// What the walk saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaListing {
    /// Every file that a pull would copy, sorted by path.
    pub files: Vec<MediaFile>,
    /// Folders and files that could not be read, with the reason in plain words.
    pub refused: Vec<(String, String)>,
}

impl MediaListing {
    /// The file at `path`, if the walk saw it.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&MediaFile> {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok().map(|at| &self.files[at])
    }
}
