//! Proves a backup, and is the only place that makes a [`BackupProof`].

use std::collections::HashMap;

use jiff::Timestamp;

use crate::facts::MediaFile;
use crate::usbmux::Udid;

/// One camera-roll file that the backup is proven to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenMedia {
    /// Bytes of its content (decrypted, where the backup is encrypted).
    pub size: u64,
    /// `LastModified` of its row, seconds since 1970.
    pub mtime_s: i64,
    /// SHA-256 of its content; `None` in an encrypted backup whose password is not known.
    pub sha256: Option<[u8; 32]>,
    /// The container is structurally whole, as far as its content could be read.
    pub whole: bool,
}

/// A row of the manifest whose file the phone itself refused to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Domain and path of the row: text from the phone.
    pub domain: String,
    /// Path below the domain: text from the phone.
    pub path: String,
    /// The DeviceLink code that the phone gave, e.g. `0x0B`.
    pub code: u8,
    /// On the short list of files without which a backup is still whole.
    pub harmless: bool,
}

/// The proof that a backup is what was received and whole. Only this module makes one.
#[derive(Debug, Clone)]
pub struct BackupProof {
    udid: Udid,
    manifest_sha256: [u8; 32],
    made_at: Timestamp,
    proven_at: Timestamp,
    encrypted: bool,
    password_known: bool,
    media: HashMap<String, ProvenMedia>,
    refused: Vec<Refused>,
}

impl BackupProof {
    /// Whose backup.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.udid
    }

    /// SHA-256 of our record of the backup's files.
    #[must_use]
    pub fn manifest_sha256(&self) -> &[u8; 32] {
        &self.manifest_sha256
    }

    /// When the backup was made.
    #[must_use]
    pub fn made_at(&self) -> Timestamp {
        self.made_at
    }

    /// When it was proven.
    #[must_use]
    pub fn proven_at(&self) -> Timestamp {
        self.proven_at
    }

    /// It is encrypted.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        self.encrypted
    }

    /// Its content was proven too, not only its outside: it is plain, or its password was known.
    #[must_use]
    pub fn proven_inside(&self) -> bool {
        !self.encrypted || self.password_known
    }

    /// What the phone refused to send.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Nothing was refused that matters.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.refused.iter().all(|row| row.harmless)
    }

    /// The proven camera-roll file at `path` below the media root.
    #[must_use]
    pub fn media(&self, path: &str) -> Option<&ProvenMedia> {
        self.media.get(path)
    }

    /// How many camera-roll files it holds.
    #[must_use]
    pub fn media_files(&self) -> usize {
        self.media.len()
    }

    /// The backup holds this file as the phone shows it now: same size, same modification time to the second, content
    /// read and structurally whole.
    #[must_use]
    pub fn covers(&self, file: &MediaFile) -> bool {
        self.media.get(&file.path).is_some_and(|proven| {
            proven.size == file.size
                && proven.mtime_s == file.mtime_ns.div_euclid(1_000_000_000)
                && proven.sha256.is_some()
                && proven.whole
        })
    }
}

#[cfg(test)]
impl BackupProof {
    /// A proof out of nothing, for tests of the judgement.
    pub(crate) fn for_test(
        udid: &str,
        made_at: Timestamp,
        proven_at: Timestamp,
        encrypted: bool,
        password_known: bool,
        media: HashMap<String, ProvenMedia>,
        refused: Vec<Refused>,
    ) -> Self {
        let udid = Udid::parse(udid).unwrap();
        Self { udid, manifest_sha256: [0; 32], made_at, proven_at, encrypted, password_known, media, refused }
    }
}
