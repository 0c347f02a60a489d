//! Rules: facts to findings, each with its evidence.
//!
//! Values in, values out: no device, no clock, no file. A rule sees [`Facts`] and says what is the case, in plain words
//! with figures; it must never take *unknown* for *no*. The rules are a table, in one file per subject, with a case
//! that fires and one that does not beside each. What to do about a finding is the remedies' business, not ours.

mod account;
mod backups;
mod device;
mod icloud_photos;
mod ids;
mod missing;
mod network;
mod order;
mod pause;
mod power;
mod reach;
mod rule;
#[cfg(test)]
mod tests;
pub mod thresholds;
mod uploads;

use serde::{Serialize, Serializer};

use crate::facts::sentences::say;
use crate::facts::{Fact, Facts, Source};

use rule::Rule;

pub(crate) use ids::ids;

pub use ids::FindingId;
pub use reach::reach_finding;

/// How much a finding matters to this owner; worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Explains the owner's trouble by itself, or stops everything.
    Blocking,
    /// Something is wrong.
    Problem,
    /// Worth knowing.
    Notice,
}

/// One value that a finding rests on, and where it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Where.
    pub source: Source,
    /// What was read there.
    pub value: serde_json::Value,
}

impl Evidence {
    /// The evidence that a fact is.
    pub fn of<T: Serialize>(fact: &Fact<T>) -> Self {
        let value = serde_json::to_value(&fact.value).expect("facts are plain values, which JSON can hold");
        Self { source: fact.source.clone(), value }
    }

    /// Evidence that has no single fact: a count over the library, say.
    #[must_use]
    pub fn new(place: &'static str, key: &'static str, value: impl Into<serde_json::Value>) -> Self {
        Self { source: Source::new(place, key), value: value.into() }
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Evidence", 4)?;
        out.serialize_field("source", &self.source.place)?;
        out.serialize_field("key", &self.source.key)?;
        out.serialize_field("value", &self.value)?;
        match self.source.written_at {
            Some(at) => out.serialize_field("written_at", &at)?,
            None => out.skip_field("written_at")?,
        }
        out.end()
    }
}

/// Something that is the case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What.
    pub id: FindingId,
    /// How much it matters to this owner.
    pub severity: Severity,
    /// One plain sentence with figures. Text from the phone inside it is already made harmless for one line of a
    /// terminal; HTML still has to be escaped.
    pub title: String,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
}

/// What is the case on this phone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Diagnosis {
    /// Worst first; the first is the answer to "why?".
    pub findings: Vec<Finding>,
    /// The one reason why iCloud Photos does not go on, by Apple's own precedence; always the id of a finding above.
    pub pause_reason: Option<FindingId>,
}

impl Diagnosis {
    /// The finding of that id, if it is the case.
    #[must_use]
    pub fn finding(&self, id: FindingId) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.id == id)
    }
}

/// Every rule, by subject.
const RULES: &[&[Rule]] = &[
    reach::RULES,
    power::RULES,
    device::RULES,
    network::RULES,
    account::RULES,
    icloud_photos::RULES,
    uploads::RULES,
    missing::RULES,
    backups::RULES,
];

fn rules() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().copied().flatten()
}

/// The rule about `id` finds something in these facts.
fn fires(id: FindingId, facts: &Facts) -> bool {
    rules().find(|rule| rule.id == id).is_some_and(|rule| (rule.judge)(facts).is_some())
}

/// Reasons to pause that end by themselves or by a tap are worth no more than a note while nothing waits; these are
/// trouble also then, and explain it alone when something does.
const HARD_REASONS: &[FindingId] = &[
    FindingId::IosTooOld,
    FindingId::IcloudSignedOut,
    FindingId::DeviceStorageFull,
    FindingId::IcloudStorageFull,
];

/// What is the case, worst first. The same facts always give the same diagnosis.
#[must_use]
pub fn diagnose(facts: &Facts) -> Diagnosis {
    let mut findings: Vec<Finding> =
        rules().filter_map(|rule| Some((rule.judge)(facts)?.finding(rule.id))).collect();
    let found: Vec<FindingId> = findings.iter().map(|finding| finding.id).collect();
    let pause_reason = pause::reason(facts, |id| found.contains(&id));
    let waits = pause::anything_waits(facts) != Some(false);
    let idle = |id: FindingId| id == FindingId::IcloudStorageFull && !waits && !keeps_from_backing_up(&found);
    for finding in &mut findings {
        finding.severity =
            if idle(finding.id) { Severity::Notice } else { in_effect(finding, pause_reason, waits) };
        note_age(finding, facts);
    }
    findings.sort_by_key(|finding| {
        let last = finding.id == FindingId::StolenDeviceProtection;
        (last, finding.severity, idle(finding.id), order::rank(finding.id))
    });
    Diagnosis { findings, pause_reason }
}

/// A full iCloud shows itself in iCloud Backup too. Where everything is up and backups are made, it explains nothing
/// that this owner misses.
fn keeps_from_backing_up(found: &[FindingId]) -> bool {
    const SIGNS: [FindingId; 3] =
        [FindingId::IcloudBackupFailed, FindingId::IcloudBackupStale, FindingId::IcloudBackupNever];
    SIGNS.iter().any(|sign| found.contains(sign))
}

/// The engine writes its status when something changes, so a flag in it may be of another day: then its age is said.
fn note_age(finding: &mut Finding, facts: &Facts) {
    let written_at = finding.evidence.first().and_then(|evidence| evidence.source.written_at);
    let Some(age) = written_at.map(|at| facts.observed_at.duration_since(at)) else { return };
    if age <= thresholds::STATUS_MAY_BE_OLD {
        return;
    }
    let hours = age.as_hours().unsigned_abs();
    let age = if hours < 48 { say!("hours", n = hours) } else { say!("days", n = hours / 24) };
    finding.title = say!("noted-ago", title = finding.title.trim_end_matches(['.', '\u{3002}']), age = age);
}

/// How much a reason to pause matters depends on whether anything waits for iCloud Photos (or nobody knows): the one
/// that wins then explains the trouble.
fn in_effect(finding: &Finding, pause_reason: Option<FindingId>, waits: bool) -> Severity {
    if waits
        && (pause_reason == Some(finding.id)
            || (pause_reason.is_some() && HARD_REASONS.contains(&finding.id)))
    {
        return Severity::Blocking;
    }
    finding.severity
}
