//! `expect.toml`: what must be found on a phone, and what must not; and how the phone is met before.
//!
//! Whatever can lose data is held to more than the label says: a verdict is `safe`, and a rung of risk open, only where
//! the label says so in so many words.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::Error;
use crate::diagnosis::FindingId;
use crate::remedy::{Accept, RemedyId};
use crate::report::Diagnosed;

/// The file's name in a case's folder.
pub(super) const FILE: &str = "expect.toml";

/// A label.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Label {
    /// What the case is about, for people.
    #[expect(dead_code, reason = "for those who read the label")]
    about: String,
    /// The finding that answers "why?"; `none` for a phone of which nothing is found.
    first: Option<String>,
    /// Findings that must be there besides.
    #[serde(default)]
    must: Vec<String>,
    /// Findings that must not.
    #[serde(default)]
    must_not: Vec<String>,
    /// Nothing is worse than a notice.
    #[serde(default)]
    calm: bool,
    /// The one reason for a pause; `none` for none.
    pause_reason: Option<String>,
    /// Facts that must be gaps.
    #[serde(default)]
    gaps: Vec<String>,
    /// Counts of the library; `unknown` for one that cannot be told.
    #[serde(default)]
    counts: BTreeMap<String, toml::Value>,
    /// Any other fact by its dotted name.
    #[serde(default)]
    facts: BTreeMap<String, toml::Value>,
    /// `photos`, `erase`, `delete_icloud_library`, `toggle_icloud_photos`.
    #[serde(default)]
    verdict: BTreeMap<String, String>,
    /// Ids that must be among the reasons of a verdict.
    #[serde(default)]
    reasons: BTreeMap<String, Vec<String>>,
    /// Remedies by their state on the ladder; `absent` for one that must not stand there.
    #[serde(default)]
    ladder: BTreeMap<String, String>,
    /// How the phone is met.
    #[serde(default)]
    pub(super) before: Before,
}

/// What happens before the phone is judged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Before {
    /// There is no phone's folder: what this computer sees instead.
    pub(super) instead: Option<Instead>,
    /// The phone trusted this computer before its trouble began.
    pub(super) known: bool,
    /// It is not asked for its trust.
    pub(super) not_asked: bool,
    /// How long a person is waited for, in milliseconds; a minute unless said otherwise.
    pub(super) wait_ms: Option<u64>,
    /// `photos` and `backup` are copied and proven.
    pub(super) protect: BTreeSet<Part>,
    /// What is only in iCloud is downloaded and taken in.
    pub(super) adopt: bool,
    /// The backup's password, as far as it is known here.
    pub(super) password: Option<String>,
    /// Statements that the owner makes by name.
    pub(super) accept: Vec<String>,
    /// The phone is judged so much later, unchanged and plugged in again.
    pub(super) hours_later: i64,
}

/// What a computer without a phone to talk to sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Instead {
    /// No usbmuxd answers.
    NoUsbmux,
    /// A device that this user may not open.
    NoPermission,
    /// A device that another program holds.
    Held,
    /// A device that shows no data connection.
    Restricted,
    /// A phone that usbmuxd does not list although it could.
    NotTaken,
    /// A device in recovery mode.
    Recovery,
    /// A device in DFU mode.
    Dfu,
}

/// A copy on this computer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    Photos,
    Backup,
}

const QUESTIONS: [&str; 4] = ["photos", "erase", "delete_icloud_library", "toggle_icloud_photos"];
const SAFE: &str = "safe";
const NONE: &str = "none";
const UNKNOWN: &str = "unknown";
const ABSENT: &str = "absent";

/// What is wrong with a judgement.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    pub(super) complaints: Vec<String>,
    /// Questions that were answered `safe`, and rungs that were open, without the label saying so.
    pub(super) falsely_safe: Vec<String>,
}

impl Label {
    /// Reads it out of a case's folder.
    pub(super) fn read(case: &Path) -> Result<Self, Error> {
        let path = case.join(FILE);
        let label: Self = super::read_toml(&path)?.ok_or_else(|| Error::label("it is not there"))?;
        label.check()?;
        Ok(label)
    }

    /// A label that names what does not exist would be met by chance.
    fn check(&self) -> Result<(), Error> {
        let findings = self.first.iter().chain(&self.must).chain(&self.must_not).chain(&self.pause_reason);
        if let Some(wrong) = findings.filter(|id| *id != NONE).find(|id| FindingId::parse(id).is_none()) {
            return Err(Error::label(format!("no finding is called {wrong}")));
        }
        if let Some(wrong) = self.ladder.keys().find(|id| RemedyId::parse(id).is_none()) {
            return Err(Error::label(format!("no remedy is called {wrong}")));
        }
        let asked = self.verdict.keys().chain(self.reasons.keys());
        if let Some(wrong) = asked.into_iter().find(|question| !QUESTIONS.contains(&question.as_str())) {
            return Err(Error::label(format!("no verdict is called {wrong}")));
        }
        if let Some(wrong) = self.before.accept.iter().find(|name| Accept::parse(name).is_none()) {
            return Err(Error::label(format!("{wrong} is nothing that can be accepted")));
        }
        Ok(())
    }

    /// Holds a judgement to the label.
    pub(super) fn hold(&self, judged: &Diagnosed) -> Wrong {
        let mut wrong = Wrong::default();
        self.hold_findings(judged, &mut wrong.complaints);
        self.hold_facts(judged, &mut wrong.complaints);
        self.hold_verdict(judged, &mut wrong);
        self.hold_ladder(judged, &mut wrong);
        hold_sums(judged, &mut wrong.complaints);
        wrong
    }

    fn hold_findings(&self, judged: &Diagnosed, complaints: &mut Vec<String>) {
        let found: Vec<&str> = judged.findings.iter().map(|finding| finding.id.as_str()).collect();
        let first = found.first().copied().unwrap_or(NONE);
        if let Some(wanted) = self.first.as_deref().filter(|wanted| *wanted != first) {
            complaints.push(format!("first is {first}, not {wanted}"));
        }
        let missing = self.must.iter().filter(|id| !found.contains(&id.as_str()));
        complaints.extend(missing.map(|id| format!("{id} is not found")));
        let stray = self.must_not.iter().filter(|id| found.contains(&id.as_str()));
        complaints.extend(stray.map(|id| format!("{id} is found")));
        if self.calm {
            let loud = judged.findings.iter().filter(|finding| finding.severity != "notice");
            complaints.extend(loud.map(|finding| format!("{} is a {}", finding.id, finding.severity)));
        }
        if let Some(wanted) = &self.pause_reason {
            let said = judged.facts["icloud_photos"]["pause_reason"].as_str().unwrap_or(NONE);
            if said != wanted {
                complaints.push(format!("the reason for the pause is {said}, not {wanted}"));
            }
        }
        let lacking = self.gaps.iter().filter(|fact| !judged.gaps.iter().any(|gap| gap.fact == **fact));
        complaints.extend(lacking.map(|fact| format!("{fact} is no gap")));
    }

    fn hold_facts(&self, judged: &Diagnosed, complaints: &mut Vec<String>) {
        let counts = self.counts.iter().map(|(name, wanted)| (format!("library.{name}"), wanted));
        let facts = self.facts.iter().map(|(name, wanted)| (name.clone(), wanted));
        for (name, wanted) in counts.chain(facts) {
            let said = judged.facts.pointer(&format!("/{}", name.replace('.', "/")));
            let wanted = if wanted.as_str() == Some(UNKNOWN) {
                Value::Null
            } else {
                serde_json::to_value(wanted).unwrap_or_default()
            };
            match said {
                None => complaints.push(format!("there is no fact {name}")),
                Some(said) if *said != wanted => complaints.push(format!("{name} is {said}, not {wanted}")),
                Some(_) => {}
            }
        }
    }

    fn hold_verdict(&self, judged: &Diagnosed, wrong: &mut Wrong) {
        let verdict = &judged.verdict;
        let answers =
            [&verdict.photos, &verdict.erase, &verdict.delete_icloud_library, &verdict.toggle_icloud_photos];
        for (question, said) in QUESTIONS.into_iter().zip(answers) {
            let wanted = self.verdict.get(question);
            if said == SAFE && wanted.is_none_or(|wanted| wanted != SAFE) {
                wrong.falsely_safe.push(question.to_owned());
            }
            if let Some(wanted) = wanted.filter(|wanted| *wanted != said) {
                let why: Vec<&str> =
                    verdict.reasons.iter().filter(|r| r.of == question).map(|r| r.id.as_str()).collect();
                wrong.complaints.push(format!("{question} is {said} {why:?}, not {wanted}"));
            }
        }
        for (question, ids) in &self.reasons {
            let given: Vec<&str> =
                verdict.reasons.iter().filter(|r| r.of == *question).map(|r| r.id.as_str()).collect();
            let lacking = ids.iter().filter(|id| !given.contains(&id.as_str()));
            let all = lacking.map(|id| format!("{id} is no reason of {question}, only {given:?}"));
            wrong.complaints.extend(all);
        }
    }

    fn hold_ladder(&self, judged: &Diagnosed, wrong: &mut Wrong) {
        for (remedy, wanted) in &self.ladder {
            let rung = judged.ladder.iter().find(|rung| rung.remedy == *remedy);
            let said = rung.map_or(ABSENT, |rung| rung.state.as_str());
            if said != wanted {
                wrong.complaints.push(format!("the rung {remedy} is {said}, not {wanted}"));
            }
        }
        for rung in judged.ladder.iter().filter(|rung| ["data", "destroys"].contains(&rung.risk.as_str())) {
            let said_open = self.ladder.get(&rung.remedy).is_some_and(|wanted| *wanted == rung.state);
            if rung.state != "blocked" && !said_open {
                wrong.falsely_safe.push(rung.remedy.clone());
            }
        }
        if !judged.ladder.is_sorted_by_key(|rung| risk_rank(&rung.risk)) {
            wrong.complaints.push("the ladder does not go from little risk to much".to_owned());
        }
    }
}

fn risk_rank(risk: &str) -> usize {
    ["none", "disruptive", "data", "destroys"].iter().position(|name| *name == risk).unwrap_or(usize::MAX)
}

/// The numbers of one diagnosis agree with each other, whatever the label says.
fn hold_sums(judged: &Diagnosed, complaints: &mut Vec<String>) {
    const PLACES: [&str; 5] = [
        "originals_here_and_in_icloud",
        "originals_only_here",
        "originals_only_in_icloud",
        "originals_in_neither",
        "originals_place_unknown",
    ];
    let count = |name: &str| judged.facts["library"][name].as_u64();
    let sum = |names: &[&str]| names.iter().map(|name| count(name)).sum::<Option<u64>>();
    let Some(assets) = count("assets") else { return };
    for (what, parts) in [
        ("the five places", &PLACES[..]),
        ("the states of the upload", &["uploaded", "waiting", "failed", "never_queued"]),
    ] {
        if let Some(all) = sum(parts).filter(|all| *all != assets) {
            complaints.push(format!("{what} add up to {all}, and there are {assets} assets"));
        }
    }
}
