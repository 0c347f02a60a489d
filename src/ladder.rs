//! Findings to a ladder of remedies, least risk first.
//!
//! A rung stands on it because a finding calls for it; copying the photos and backing up stand on every one. The order
//! is by risk; what risks nothing begins with what is needed to reach the phone, then what protects. Nothing here opens
//! a rung that can lose data: that is the gate's word alone.

use serde::Serialize;

use crate::diagnosis::thresholds::LOCAL_BACKUP_STALE;
use crate::diagnosis::{Diagnosis, FindingId, reach_finding};
use crate::facts::Facts;
use crate::remedy::catalogue::{Asks, REMEDIES, Remedy};
use crate::remedy::gate::{self, Blocked};
use crate::remedy::texts::words;
use crate::remedy::{Consent, Moment, Proofs, ReasonId, RemedyId, Risk};

/// What is to be done about a rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Do it.
    Do,
    /// Not now: see what blocks it.
    Blocked,
    /// It is done.
    Done,
    /// USB cannot tell whether it is needed: the owner has to look.
    Ask,
}

impl State {
    /// As it stands in the JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Blocked => "blocked",
            Self::Done => "done",
            Self::Ask => "ask",
        }
    }
}

/// One rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rung {
    /// Its number, from 1.
    pub rung: usize,
    /// Which remedy.
    pub remedy: RemedyId,
    /// What it can cost.
    pub risk: Risk,
    /// What is to be done about it.
    pub state: State,
    /// The agent does it itself when it is asked to.
    pub automatic: bool,
    /// The findings that call for it, worst first.
    pub because: Vec<FindingId>,
    /// What keeps it shut, each once.
    pub blocked_by: Vec<ReasonId>,
    /// What it is, in one line.
    pub title: String,
    /// What to do, for this phone.
    pub steps: Vec<String>,
    /// Why, and what it costs.
    pub why: Vec<String>,
    /// How one sees that it helped.
    pub helped: String,
    /// The facts of which one must change, by their dotted names.
    pub helped_facts: &'static [&'static str],
    /// What keeps it shut, in words.
    #[serde(skip)]
    pub blocked: Vec<Blocked>,
}

/// All rungs, from the bottom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Ladder {
    /// Least risk first.
    pub rungs: Vec<Rung>,
}

impl Ladder {
    /// The rung of a remedy, if it stands on this ladder.
    #[must_use]
    pub fn rung(&self, remedy: RemedyId) -> Option<&Rung> {
        self.rungs.iter().find(|rung| rung.remedy == remedy)
    }
}

/// Builds the ladder for this phone as it is now. Without a phone, and without a finding that says why, it is empty.
#[must_use]
pub fn build(
    diagnosis: &Diagnosis,
    facts: &Facts,
    proofs: &Proofs<'_>,
    consent: &Consent,
    moment: &Moment,
) -> Ladder {
    build_on(diagnosis, facts, proofs, &gate::Standing::new(facts, proofs, consent, moment), moment)
}

/// As [`build`], for who has held facts and proofs against each other already.
#[must_use]
pub fn build_on(
    diagnosis: &Diagnosis,
    facts: &Facts,
    proofs: &Proofs<'_>,
    standing: &gate::Standing<'_>,
    moment: &Moment,
) -> Ladder {
    if facts.device.is_none() && diagnosis.findings.is_empty() {
        return Ladder::default();
    }
    let mut rungs: Vec<(Place, Rung)> = REMEDIES
        .iter()
        .filter_map(|remedy| {
            let because: Vec<FindingId> =
                diagnosis.findings.iter().map(|f| f.id).filter(|id| remedy.treats.contains(id)).collect();
            if because.is_empty() && !protects(remedy.id) {
                return None;
            }
            let place = Place::of(remedy, &because, diagnosis, facts);
            let rung = rung(remedy, because, facts);
            Some((place, with_state(rung, remedy, facts, proofs, standing, moment)))
        })
        .collect();
    rungs.sort_by_key(|(place, _)| *place);
    let numbered = rungs.into_iter().enumerate().map(|(at, (_, rung))| Rung { rung: at + 1, ..rung });
    Ladder { rungs: numbered.collect() }
}

/// These two stand on every ladder.
fn protects(remedy: RemedyId) -> bool {
    matches!(remedy, RemedyId::CopyPhotos | RemedyId::BackUp)
}

/// Where a rung stands: by risk, by group within what risks nothing, by the worst finding that it treats; equals keep
/// the order of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    risk: Risk,
    group: Group,
    worst: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Reach,
    Protect,
    Rest,
}

impl Place {
    fn of(remedy: &Remedy, because: &[FindingId], diagnosis: &Diagnosis, facts: &Facts) -> Self {
        let worst = diagnosis.findings.iter().position(|finding| because.contains(&finding.id));
        let reaches = reach_finding(facts.reach).is_some_and(|id| because.contains(&id))
            || remedy.id <= RemedyId::FinishSetup;
        let group = match remedy.id.risk() {
            Risk::None if reaches => Group::Reach,
            Risk::None if protects(remedy.id) => Group::Protect,
            _ => Group::Rest,
        };
        Self { risk: remedy.id.risk(), group, worst: worst.unwrap_or(usize::MAX) }
    }
}

fn rung(remedy: &Remedy, because: Vec<FindingId>, facts: &Facts) -> Rung {
    let words = words(remedy.id, facts.device.as_ref());
    Rung {
        rung: 0,
        remedy: remedy.id,
        risk: remedy.id.risk(),
        state: State::Do,
        automatic: remedy.automatic,
        because,
        blocked_by: Vec::new(),
        title: words.title,
        steps: words.steps,
        why: words.why,
        helped: words.helped,
        helped_facts: remedy.helped,
        blocked: Vec::new(),
    }
}

fn with_state(
    rung: Rung,
    remedy: &Remedy,
    facts: &Facts,
    proofs: &Proofs<'_>,
    standing: &gate::Standing<'_>,
    moment: &Moment,
) -> Rung {
    if is_done(remedy.id, facts, proofs, standing, moment) {
        return Rung { state: State::Done, ..rung };
    }
    if protects(remedy.id)
        && let Some(id) = what_keeps_from_protecting(remedy.id, facts)
    {
        return Rung { state: State::Blocked, blocked_by: vec![id.into()], ..rung };
    }
    if let Err(blocked) = standing.permits(remedy.id) {
        let mut blocked_by: Vec<ReasonId> = Vec::new();
        for reason in &blocked {
            if !blocked_by.contains(&reason.id) {
                blocked_by.push(reason.id);
            }
        }
        return Rung { state: State::Blocked, blocked_by, blocked, ..rung };
    }
    let asks = match remedy.asks {
        Asks::Never => false,
        Asks::Always => true,
        Asks::For(hints) => rung.because.iter().all(|id| hints.contains(id)),
    };
    Rung { state: if asks { State::Ask } else { State::Do }, ..rung }
}

/// A phone that does not let us in can be neither copied nor backed up; one that is not set up refuses backups.
fn what_keeps_from_protecting(remedy: RemedyId, facts: &Facts) -> Option<FindingId> {
    if let Some(id) = reach_finding(facts.reach) {
        return Some(id);
    }
    let unfinished = facts.settings.setup_done.as_ref().is_some_and(|done| !done.value);
    (remedy == RemedyId::BackUp && unfinished).then_some(FindingId::SetupUnfinished)
}

fn is_done(
    remedy: RemedyId,
    facts: &Facts,
    proofs: &Proofs<'_>,
    standing: &gate::Standing<'_>,
    moment: &Moment,
) -> bool {
    match remedy {
        RemedyId::CopyPhotos => standing.everything_copied() == Some(true),
        RemedyId::BackUp => gate::verified_backup_made_at(facts, proofs)
            .is_some_and(|made_at| moment.now.duration_since(made_at) <= LOCAL_BACKUP_STALE),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
