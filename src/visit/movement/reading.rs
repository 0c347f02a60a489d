//! What one reading of the phone says about the upload.

use jiff::Timestamp;
use serde::Serialize;

use crate::diagnosis::{Diagnosis, FindingId};
use crate::facts::{Facts, Reach, value};

/// What one reading says about the upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// Assets that are not in iCloud yet: waiting, given up, never queued.
    pub to_upload: Option<u64>,
    /// Assets that are in iCloud.
    pub uploaded: Option<u64>,
    /// Bytes that wait to go up, from the engine's own store.
    pub bytes_to_upload: Option<u64>,
    /// Assets that the server counts.
    pub server_assets: Option<u64>,
    /// Assets that the phone still has to take in.
    pub to_download: Option<u64>,
    /// The engine's last contact with the server.
    pub last_sync: Option<Timestamp>,
    /// What explains that it does not go on: the one reason why the engine pauses, else what keeps it from going on.
    pub reason: Option<FindingId>,
    /// The phone has not been unlocked since it was started: nothing can go up.
    pub shut: bool,
}

/// What keeps everything from going up without being a pause, weightiest first.
const NO_PAUSE: [FindingId; 5] = [
    FindingId::IcloudPhotosSwitchedOff,
    FindingId::IcloudPhotosOff,
    FindingId::IcloudLibraryWiped,
    FindingId::IcloudLibraryDeletionScheduled,
    FindingId::FirstSyncUnfinished,
];

/// Why nothing goes on, where something says so.
fn reason(facts: &Facts, diagnosis: &Diagnosis) -> Option<FindingId> {
    let counts = &facts.library.counts;
    let given_up = counts.failed > Some(0) && counts.waiting == Some(0) && counts.never_queued == Some(0);
    let keeps = || NO_PAUSE.into_iter().find(|id| diagnosis.finding(*id).is_some());
    diagnosis.pause_reason.or_else(keeps).or(given_up.then_some(FindingId::UploadsFailed))
}

impl Reading {
    /// What these facts say.
    #[must_use]
    pub fn of(facts: &Facts, diagnosis: &Diagnosis) -> Self {
        let counts = &facts.library.counts;
        let parts = [counts.waiting, counts.failed, counts.never_queued];
        // A library out of a backup is the same whenever it is read: it shows no standstill.
        let live = facts.library.from_backup.is_none();
        let known = live && parts.iter().any(Option::is_some);
        let icloud = &facts.icloud_photos;
        Self {
            at: facts.observed_at,
            to_upload: known.then(|| parts.iter().flatten().fold(0, |sum, n| n.saturating_add(sum))),
            uploaded: counts.uploaded.filter(|_| live),
            bytes_to_upload: icloud.backlog.as_ref().map(|backlog| backlog.value.outgoing_bytes),
            server_assets: value(&icloud.server_assets),
            to_download: value(&icloud.to_download),
            last_sync: value(&icloud.last_sync),
            reason: reason(facts, diagnosis),
            shut: facts.reach == Reach::NotUnlockedSinceBoot,
        }
    }

    /// Something went up or came down since `earlier`: any of the numbers that only progress changes.
    pub(super) fn moved_since(&self, earlier: &Self) -> bool {
        let less = |now: Option<u64>, then: Option<u64>| now.zip(then).is_some_and(|(now, then)| now < then);
        let more = |now: Option<u64>, then: Option<u64>| now.zip(then).is_some_and(|(now, then)| now > then);
        more(self.uploaded, earlier.uploaded)
            || less(self.to_upload, earlier.to_upload)
            || less(self.bytes_to_upload, earlier.bytes_to_upload)
            || more(self.server_assets, earlier.server_assets)
            || less(self.to_download, earlier.to_download)
    }

    /// With the numbers of `earlier` where this one has none: what was known last.
    pub(super) fn or(&self, earlier: Option<&Self>) -> Self {
        let mut known = self.clone();
        if let Some(earlier) = earlier {
            known.to_upload = known.to_upload.or(earlier.to_upload);
            known.uploaded = known.uploaded.or(earlier.uploaded);
            known.bytes_to_upload = known.bytes_to_upload.or(earlier.bytes_to_upload);
            known.server_assets = known.server_assets.or(earlier.server_assets);
            known.to_download = known.to_download.or(earlier.to_download);
        }
        known
    }

    /// Nothing is known to wait without a reason, so nothing can be stuck from then on.
    pub(super) fn expects_nothing(&self) -> bool {
        self.reason.is_some() || self.to_upload.is_none_or(|left| left == 0)
    }

    pub(super) fn nothing_left(&self) -> bool {
        self.to_upload == Some(0) && self.to_download.is_none_or(|left| left == 0)
    }
}
