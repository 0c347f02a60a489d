//! What a backup is proven to hold of the camera roll, packed tightly: by the name under which each file stands, which
//! follows from its path.

use super::by_path::ByPath;
use super::manifest::file_id;
use super::verify::ProvenMedia;

/// [`ProvenMedia`] without a byte between its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    size: [u8; 8],
    mtime_s: [u8; 8],
    sha256: Option<[u8; 32]>,
    whole: bool,
}

/// Camera-roll files, by path below the media root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CameraRoll(ByPath<Packed>);

/// Where the file of a camera-roll path stands below the device's folder.
pub(super) fn stored(path: &str) -> String {
    let id = file_id("CameraRollDomain", &format!("Media/{path}"));
    format!("{}/{id}", &id[..2])
}

impl CameraRoll {
    /// The file at `path`.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<ProvenMedia> {
        self.0.get(&stored(path)).map(unpacked)
    }

    /// How many files there are.
    #[must_use]
    pub fn files(&self) -> usize {
        self.0.len()
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.values().map(|packed| u64::from_le_bytes(packed.size)).fold(0, u64::saturating_add)
    }

    pub(super) fn insert(&mut self, path: &str, proven: &ProvenMedia) {
        let ProvenMedia { size, mtime_s, sha256, whole } = *proven;
        let packed = Packed { size: size.to_le_bytes(), mtime_s: mtime_s.to_le_bytes(), sha256, whole };
        self.0.insert(&stored(path), packed).expect("a digest's name is of the usual form");
    }
}

fn unpacked(packed: Packed) -> ProvenMedia {
    let Packed { size, mtime_s, sha256, whole } = packed;
    ProvenMedia { size: u64::from_le_bytes(size), mtime_s: i64::from_le_bytes(mtime_s), sha256, whole }
}
