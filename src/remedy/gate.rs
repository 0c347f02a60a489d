//! The gate: whether something that can lose the owner's data may be done, and the only maker of a [`Cleared`].
//!
//! Every demand is looked at each time, for the reasons are the answer: which of them do not hold, known or unknown.
//! There is no way to go around a demand; three of them can be met by a statement that the owner makes by name.

use jiff::Timestamp;
use serde::Serialize;

use crate::facts::Facts;
use crate::facts::sentences::{fixed, say};
use crate::usbmux::Udid;

use super::demands::{Case, Demand, PHOTOS, demands_of, own_proofs};
use super::{Consent, Moment, Proofs, ReasonId, RemedyId};

pub use super::demands::{Blocked, Part};

/// May it be done?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Every demand holds.
    Safe,
    /// A demand is known not to hold.
    NotSafe,
    /// Something could not be read that would tell.
    CannotTell,
}

impl Answer {
    /// As it stands in the JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::NotSafe => "not-safe",
            Self::CannotTell => "cannot-tell",
        }
    }

    /// As people read it.
    #[must_use]
    pub fn shout(self) -> &'static str {
        fixed(match self {
            Self::Safe => "verdict-safe",
            Self::NotSafe => "verdict-not-safe",
            Self::CannotTell => "verdict-cannot-tell",
        })
    }

    /// Cannot tell where the first demand does not hold, or where not knowing is all that keeps the others from it.
    fn to(blocked: &[Blocked]) -> Self {
        if blocked.is_empty() {
            Self::Safe
        } else if blocked.iter().any(|demand| demand.first) || blocked.iter().all(|demand| !demand.known) {
            Self::CannotTell
        } else {
            Self::NotSafe
        }
    }
}

/// What the verdict answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Is every original in at least two places?
    Photos,
    /// May the phone be erased and restored?
    Erase,
    /// May the photos in iCloud be deleted, to be uploaded again?
    DeleteIcloudLibrary,
    /// May iCloud Photos be turned off and on?
    ToggleIcloudPhotos,
}

impl Question {
    /// Every question, in the order of the verdict.
    pub const ALL: [Self; 4] =
        [Self::Photos, Self::Erase, Self::DeleteIcloudLibrary, Self::ToggleIcloudPhotos];

    fn demands(self) -> &'static [Demand] {
        match self {
            Self::Photos => PHOTOS,
            Self::Erase => demands_of(RemedyId::EraseAndRestore),
            Self::DeleteIcloudLibrary => demands_of(RemedyId::DeleteIcloudLibrary),
            Self::ToggleIcloudPhotos => demands_of(RemedyId::ToggleIcloudPhotos),
        }
    }
}

/// One demand of one question that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Which question.
    #[serde(rename = "for")]
    pub question: Question,
    /// Why, by its stable name.
    pub id: ReasonId,
    /// Why, in plain words with figures; text from the phone in it is harmless for a terminal.
    pub text: String,
    /// Whom it is about.
    pub part: Part,
    /// Known not to hold; `false`: something could not be read that would tell.
    pub known: bool,
    #[serde(skip)]
    clause: Option<String>,
}

/// Something that the owner has to be told although it keeps nothing shut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Which question.
    #[serde(rename = "for")]
    pub question: Question,
    /// What it is about, by its stable name.
    pub id: ReasonId,
    /// In plain words with figures.
    pub text: String,
}

/// The verdict on this phone as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Every original is in at least two of: phone, iCloud, our copy.
    pub photos: Answer,
    /// The phone may be erased and restored.
    pub erase: Answer,
    /// The photos in iCloud may be deleted.
    pub delete_icloud_library: Answer,
    /// iCloud Photos may be turned off and on.
    pub toggle_icloud_photos: Answer,
    /// A record of a real phone of this iOS major version confirmed our assumptions. None is part of this version.
    pub confirmed_on_real_device: bool,
    /// Every demand that does not hold, by question, "your data" first.
    pub reasons: Vec<Reason>,
    /// What the owner has to be told before an open rung is climbed.
    pub told: Vec<Told>,
}

impl Verdict {
    /// The answer to a question.
    #[must_use]
    pub fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Photos => self.photos,
            Question::Erase => self.erase,
            Question::DeleteIcloudLibrary => self.delete_icloud_library,
            Question::ToggleIcloudPhotos => self.toggle_icloud_photos,
        }
    }

    /// The reasons for one question.
    pub fn reasons_for(&self, question: Question) -> impl Iterator<Item = &Reason> {
        self.reasons.iter().filter(move |reason| reason.question == question)
    }

    /// The verdict on the photos in one sentence that an owner understands.
    #[must_use]
    pub fn sentence(&self) -> String {
        let shout = self.photos.shout();
        let mut reasons = self.reasons_for(Question::Photos);
        let said = match self.photos {
            Answer::Safe => fixed("verdict-two-places").to_owned(),
            // The first one is what cannot be told without; the others only follow from it.
            Answer::CannotTell => reasons.next().map(clause).unwrap_or_default(),
            Answer::NotSafe => {
                reasons.filter(|reason| reason.known).map(clause).collect::<Vec<String>>().join("; ")
            }
        };
        say!("verdict", word = shout, said = said)
    }
}

/// A reason as a part of the sentence.
fn clause(reason: &Reason) -> String {
    reason.clause.as_ref().unwrap_or(&reason.text).trim_end_matches(['.', '\u{3002}']).to_owned()
}

/// The permission to do one remedy on one phone, resting on exactly these proofs. Only this module makes one, and a
/// deed takes it by value, so that it is good for one deed.
#[derive(Debug)]
pub struct Cleared {
    udid: Udid,
    remedy: RemedyId,
    photos_manifest_sha256: Option<[u8; 32]>,
    backup_manifest_sha256: Option<[u8; 32]>,
}

impl Cleared {
    /// Which phone.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.udid
    }

    /// Which remedy.
    #[must_use]
    pub fn remedy(&self) -> RemedyId {
        self.remedy
    }

    /// The manifest of the photo copy that it rests on.
    #[must_use]
    pub fn photos_manifest_sha256(&self) -> Option<&[u8; 32]> {
        self.photos_manifest_sha256.as_ref()
    }

    /// The record of the backup that it rests on.
    #[must_use]
    pub fn backup_manifest_sha256(&self) -> Option<&[u8; 32]> {
        self.backup_manifest_sha256.as_ref()
    }
}

/// Facts and proofs held against each other: once, for all that is asked of them. A large library takes its time.
pub struct Standing<'a>(Case<'a>);

impl<'a> Standing<'a> {
    /// A proof of another phone is no proof.
    #[must_use]
    pub fn new(facts: &'a Facts, proofs: &Proofs<'a>, consent: &'a Consent, moment: &'a Moment) -> Self {
        Self(Case::new(facts, proofs, consent, moment))
    }

    /// Whether a remedy's demands hold, without clearing anything: for showing a ladder, also for remedies that demand
    /// nothing.
    ///
    /// # Errors
    /// Every demand that does not hold.
    pub fn permits(&self, remedy: RemedyId) -> Result<(), Vec<Blocked>> {
        let blocked = judged(&self.0, demands_of(remedy));
        if blocked.is_empty() { Ok(()) } else { Err(blocked) }
    }

    /// Every file of the walk, and every original on the phone, is proven to be in the copy or in the verified backup.
    /// `None`: the folders were not listed, so nobody knows.
    #[must_use]
    pub fn everything_copied(&self) -> Option<bool> {
        self.0.facts.media.as_ref()?;
        Some(self.0.account.files_not_copied == 0 && self.0.account.not_copied == 0)
    }

    /// Answers every question about this phone as it is now.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut reasons = Vec::new();
        let mut answers = [Answer::CannotTell; 4];
        for (answer, question) in answers.iter_mut().zip(Question::ALL) {
            let blocked = judged(&self.0, question.demands());
            *answer = Answer::to(&blocked);
            reasons.extend(blocked.into_iter().map(|Blocked { id, text, part, known, clause, .. }| Reason {
                question,
                id,
                text,
                part,
                known,
                clause,
            }));
        }
        let [photos, erase, delete_icloud_library, toggle_icloud_photos] = answers;
        let told = if erase == Answer::Safe { told_before_an_erase(&self.0) } else { Vec::new() };
        Verdict {
            photos,
            erase,
            delete_icloud_library,
            toggle_icloud_photos,
            confirmed_on_real_device: false,
            reasons,
            told,
        }
    }
}

/// [`Standing::verdict`], when nothing else is asked.
#[must_use]
pub fn verdict(facts: &Facts, proofs: &Proofs<'_>, consent: &Consent, moment: &Moment) -> Verdict {
    Standing::new(facts, proofs, consent, moment).verdict()
}

/// Clears one remedy for this phone as it is now.
///
/// # Errors
/// Every demand that does not hold.
pub fn clear(
    remedy: RemedyId,
    facts: &Facts,
    proofs: &Proofs<'_>,
    consent: &Consent,
    moment: &Moment,
) -> Result<Cleared, Vec<Blocked>> {
    let case = Case::new(facts, proofs, consent, moment);
    let blocked = judged(&case, demands_of(remedy));
    match &case.udid {
        Some(udid) if blocked.is_empty() => Ok(Cleared {
            udid: udid.clone(),
            remedy,
            photos_manifest_sha256: case.copies.photos.map(|proof| *proof.manifest_sha256()),
            backup_manifest_sha256: case.copies.backup.map(|proof| *proof.manifest_sha256()),
        }),
        Some(_) => Err(blocked),
        None => Err(super::demands::no_phone(blocked)),
    }
}

/// When the verified backup of this phone was made: whole, though perhaps proven only from outside.
#[must_use]
pub fn verified_backup_made_at(facts: &Facts, proofs: &Proofs<'_>) -> Option<Timestamp> {
    let (_, copies) = own_proofs(facts, proofs);
    copies.backup.map(crate::backup::verify::BackupProof::made_at)
}

/// Every reason, "your data" before "after the erase", else in the order of the demands.
fn judged(case: &Case<'_>, demands: &[Demand]) -> Vec<Blocked> {
    let mut blocked: Vec<Blocked> = demands.iter().flat_map(|demand| demand(case)).collect();
    blocked.sort_by_key(|reason| reason.part);
    blocked
}

/// An erase leaves what is only in iCloud where it is; the owner is told how much that is.
fn told_before_an_erase(case: &Case<'_>) -> Vec<Told> {
    let number = case.account.only_in_icloud_not_adopted;
    if number == 0 {
        return Vec::new();
    }
    let text = say!("told-only-in-icloud", n = number);
    let id = crate::diagnosis::FindingId::OriginalsOnlyInIcloud.into();
    vec![Told { question: Question::Erase, id, text }]
}
