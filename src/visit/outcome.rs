//! What a visit leaves behind, as values: the report shows them, the record keeps them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::climb::Climbed;
use super::gallery::GalleryMade;
use super::stop::Stop;
use crate::backup::verify::BackupProof;
use crate::diagnosis::{self, Diagnosis};
use crate::facts::{Asset, Facts, MediaListing, Owner, Place, Resource};
use crate::ladder::{self, Ladder};
use crate::photos::layout::LaidOut;
use crate::photos::verify::PhotosProof;
use crate::remedy::gate::{self, Verdict};
use crate::remedy::{Consent, Moment, Proofs};

/// Everything that a visit found and did.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The id of the visit, if it is recorded.
    pub job: Option<String>,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The phone is a simulated one.
    pub simulated: bool,
    /// The facts, as read last.
    pub facts: Facts,
    /// What is the case.
    pub diagnosis: Diagnosis,
    /// What to do.
    pub ladder: Ladder,
    /// What is safe.
    pub verdict: Verdict,
    /// Which originals are where; `None` when the library could not be read.
    pub whereabouts: Option<Vec<Whereabouts>>,
    /// What was copied and proven; `None` when nothing was to be.
    pub protection: Option<Protection>,
    /// The rungs of the ladder that were climbed in this visit, in order.
    pub climbed: Vec<Climbed>,
    /// What went wrong; empty when it is done and complete.
    pub stops: Vec<Stop>,
}

impl Outcome {
    /// Judges facts and proofs. What was done is added by who did it.
    #[must_use]
    pub fn judged(facts: Facts, proofs: &Proofs<'_>, consent: &Consent, moment: &Moment) -> Self {
        let diagnosis = diagnosis::diagnose(&facts);
        let standing = gate::Standing::new(&facts, proofs, consent, moment);
        let ladder = ladder::build_on(&diagnosis, &facts, proofs, &standing, moment);
        let verdict = standing.verdict();
        let whereabouts = whereabouts(&facts, proofs);
        Self {
            job: None,
            began_at: moment.now,
            ended_at: moment.now,
            simulated: false,
            facts,
            diagnosis,
            ladder,
            verdict,
            whereabouts,
            protection: None,
            climbed: Vec::new(),
            stops: Vec::new(),
        }
    }

    /// Judges the same facts again, after something was added to them. Where the originals are does not change by it.
    pub fn judge_again(&mut self, proofs: &Proofs<'_>, consent: &Consent, moment: &Moment) {
        self.diagnosis = diagnosis::diagnose(&self.facts);
        let standing = gate::Standing::new(&self.facts, proofs, consent, moment);
        self.ladder = ladder::build_on(&self.diagnosis, &self.facts, proofs, &standing, moment);
        self.verdict = standing.verdict();
    }

    /// The stop that decides the exit status, if there is one.
    #[must_use]
    pub fn weightiest(&self) -> Option<&Stop> {
        self.stops.iter().min_by_key(|stop| stop.trouble)
    }

    /// How it ended, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        self.weightiest().map_or_else(|| "Done and complete.".to_owned(), ToString::to_string)
    }
}

/// The assets whose originals are in one place, and how many of them are kept here too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// `here-and-in-icloud`, `only-here`, `only-in-icloud`, `in-neither`, `unknown`.
    pub place: String,
    /// How many assets.
    pub assets: u64,
    /// Of these, how many have every original that can be copied in our proven copy.
    pub copied: u64,
    /// Of these, how many have them in the proven backup.
    pub backed_up: u64,
}

/// What was copied and proven in this visit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// The phone's folder on this computer.
    pub folder: String,
    /// The copy of the photos.
    pub photos: Option<PhotosKept>,
    /// The local backup.
    pub backup: Option<BackupKept>,
    /// What was skipped, each with its reason.
    pub skipped: Vec<Skipped>,
    /// What is worth knowing and neither damage nor skipped. Text from the phone is in it.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How the copy of the photos was arranged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layouts: Vec<LaidOut>,
    /// The contact sheet of the copy, where one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gallery: Option<GalleryMade>,
}

impl Protection {
    /// Nothing was copied, and no backup was made.
    pub(super) fn left_all_as_it_was(&self) -> bool {
        let copied = |photos: &PhotosKept| photos.copied_files + photos.from_backup_files;
        self.backup.is_none() && self.photos.as_ref().map_or(0, copied) == 0
    }
}

/// The copy of the photos.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhotosKept {
    /// Files that this visit copied.
    pub copied_files: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Bytes of photos that came over the cable in this visit, also those that came twice.
    #[serde(default)]
    pub received_bytes: u64,
    /// Bytes of files whose reading was interrupted earlier: they were here already and did not come again.
    #[serde(default)]
    pub resumed_bytes: u64,
    /// Files taken from the backup, because the phone did not hand them out.
    pub from_backup_files: u64,
    /// Files in the copy that are proven.
    pub proven_files: u64,
    /// Seconds that the copying took.
    pub seconds: u64,
    /// Of these, files that were not read again now: size and date are as they were when they were read and proven.
    #[serde(default)]
    pub unread_files: u64,
    /// When that of them was read which was read first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread_since: Option<Timestamp>,
    /// When the copy was proven; `None`: it is not.
    pub verified_at: Option<Timestamp>,
}

/// The local backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupKept {
    /// Files that it holds.
    pub files: u64,
    /// Bytes that it holds.
    pub bytes: u64,
    /// Bytes that came over the cable in this visit.
    pub received_bytes: u64,
    /// It is encrypted.
    pub encrypted: bool,
    /// Its content was proven too, not only its outside.
    pub proven_inside: bool,
    /// Seconds that it took.
    pub seconds: u64,
    /// When it was read again and compared; `None`: it is not proven.
    pub verified_at: Option<Timestamp>,
}

/// Something that was skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// What: a path from the phone, mostly.
    pub item: String,
    /// Why, in plain words.
    pub reason: String,
}

/// The places in the order in which they are shown.
const PLACES: [(Place, &str); 5] = [
    (Place::HereAndInIcloud, "here-and-in-icloud"),
    (Place::OnlyHere, "only-here"),
    (Place::OnlyInIcloud, "only-in-icloud"),
    (Place::InNeither, "in-neither"),
    (Place::Unknown, "unknown"),
];

/// Counts the owner's assets by place, and which of them are kept here too. The sums are those of the library's own
/// counts: trashed assets and those of others are left out.
fn whereabouts(facts: &Facts, proofs: &Proofs<'_>) -> Option<Vec<Whereabouts>> {
    let nothing = MediaListing::default();
    let walk = facts.media.as_ref().unwrap_or(&nothing);
    let assets = facts.library.assets.as_ref()?;
    let mut rows =
        PLACES.map(|(_, name)| Whereabouts { place: name.to_owned(), assets: 0, copied: 0, backed_up: 0 });
    for asset in assets.iter().filter(|asset| asset.owner == Owner::Own && asset.trashed.is_none()) {
        let at = PLACES.iter().position(|(place, _)| *place == asset.place).expect("every place is listed");
        rows[at].assets += 1;
        rows[at].copied += u64::from(proofs.photos.is_some_and(|proof| in_copy(asset, walk, proof)));
        rows[at].backed_up += u64::from(proofs.backup.is_some_and(|proof| in_backup(asset, walk, proof)));
    }
    Some(rows.into())
}

fn in_copy(asset: &Asset, walk: &MediaListing, proof: &PhotosProof) -> bool {
    let holds = |original: &Resource| {
        original.path.as_deref().is_some_and(|path| match walk.file(path) {
            Some(file) => proof.covers(file),
            None => proof.file(path).is_some_and(|kept| {
                kept.whole && original.stated_bytes.is_some_and(|stated| stated == kept.size)
            }),
        })
    };
    let kept = |original: &Resource| proof.adopted(&asset.uuid, original) || holds(original);
    !asset.resources.is_empty() && asset.resources.iter().all(kept)
}

fn in_backup(asset: &Asset, walk: &MediaListing, proof: &BackupProof) -> bool {
    let holds = |original: &Resource| {
        original.path.as_deref().and_then(|path| walk.file(path)).is_some_and(|file| proof.covers(file))
    };
    !asset.resources.is_empty() && asset.resources.iter().all(holds)
}
