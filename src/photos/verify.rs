//! Proves a copy of photos, and is the only place that makes a [`PhotosProof`].

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use crate::facts::MediaFile;
use crate::usbmux::Udid;

/// One file of the copy that was read again and is what was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenFile {
    /// Bytes.
    pub size: u64,
    /// The phone's modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// The container is structurally whole (`true` also for kinds without a check).
    pub whole: bool,
}

/// The proof that a copy of one phone's photos is what was received. Only this module makes one.
#[derive(Debug, Clone)]
pub struct PhotosProof {
    udid: Udid,
    manifest_sha256: [u8; 32],
    proven_at: Timestamp,
    files: HashMap<String, ProvenFile>,
    adopted: HashSet<String>,
}

impl PhotosProof {
    /// Whose photos.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.udid
    }

    /// SHA-256 of the manifest that was proven.
    #[must_use]
    pub fn manifest_sha256(&self) -> &[u8; 32] {
        &self.manifest_sha256
    }

    /// When.
    #[must_use]
    pub fn proven_at(&self) -> Timestamp {
        self.proven_at
    }

    /// How many files are proven.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// The proven file at `path` below the media root.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&ProvenFile> {
        self.files.get(path)
    }

    /// The copy holds this file as the phone shows it now: same size and modification time, structurally whole.
    #[must_use]
    pub fn covers(&self, file: &MediaFile) -> bool {
        self.files.get(&file.path).is_some_and(|proven| {
            proven.size == file.size && proven.mtime_ns == file.mtime_ns && proven.whole
        })
    }

    /// The original of this asset (by its library UUID) was adopted from elsewhere and proven.
    #[must_use]
    pub fn adopted(&self, asset_uuid: &str) -> bool {
        self.adopted.contains(asset_uuid)
    }
}

#[cfg(test)]
impl PhotosProof {
    /// A proof out of nothing, for tests of the judgement.
    pub(crate) fn for_test(
        udid: &str,
        proven_at: Timestamp,
        files: HashMap<String, ProvenFile>,
        adopted: HashSet<String>,
    ) -> Self {
        Self { udid: Udid::parse(udid).unwrap(), manifest_sha256: [0; 32], proven_at, files, adopted }
    }
}
