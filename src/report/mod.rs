//! The report of a visit: text, JSON and HTML from the same values.
//!
//! [`Report`] is those values: plain data that goes into `report.json` and comes out of it again, so that a report can
//! be shown later without the phone. The renderers are pure functions of it; none of them decides anything, and a
//! number that two of them show is one number here. Text in it came from phones and is escaped where it is shown.

#[cfg(test)]
mod contrast;
pub mod fact_words;
mod figures;
mod html;
mod lists;
pub mod lockdown_words;
mod picture;
mod redact;
#[cfg(test)]
mod sample;
mod text;

pub use figures::laid_out_sentence;
pub use html::html;
pub use lists::{ListsJson, lists_csv, lists_text};
pub use redact::redacted;
pub use text::{
    Detail, Style, answer as answer_text, change as change_text, diagnosis as diagnosis_text,
    photos as photos_text, rung as rung_text, text,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::visit::climb::Climbed;
use crate::visit::{Outcome, Protection, Whereabouts, exit_status};

/// The schema of `report.json` and of the result of `fix`.
pub const SCHEMA: &str = "idevice-fix/report/1";
/// The schema of the diagnosis.
pub const DIAGNOSIS_SCHEMA: &str = "idevice-fix/diagnosis/1";

/// Everything that a report shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The program and its version.
    pub made_by: String,
    /// The id of the visit.
    pub job: Option<String>,
    /// When the visit began.
    pub began_at: Timestamp,
    /// When this was written.
    pub ended_at: Timestamp,
    /// The phone is a simulated one.
    pub simulated: bool,
    /// What was found, judged after everything that was done.
    pub diagnosis: Diagnosed,
    /// Which originals are where; `None` when the library could not be read.
    pub whereabouts: Option<Vec<Whereabouts>>,
    /// What was copied and proven; `None` when nothing was.
    pub protection: Option<Protection>,
    /// The rungs of the ladder that were climbed, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub climbed: Vec<Climbed>,
    /// How it ended.
    pub ending: Ending,
    /// What says whose phone it is was left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

/// The diagnosis, in the shape that others script against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosed {
    /// [`DIAGNOSIS_SCHEMA`].
    pub schema: String,
    /// Which phone; `None` when there is none.
    pub device: Option<Device>,
    /// The facts, by group.
    pub facts: Value,
    /// What could not be read.
    pub gaps: Vec<Gap>,
    /// What is the case, worst first.
    pub findings: Vec<Finding>,
    /// What to do, least risk first.
    pub ladder: Vec<Rung>,
    /// What is safe.
    pub verdict: Verdict,
}

/// Which phone. Text from the phone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The unique device id.
    pub udid: String,
    /// The owner's name for it.
    pub name: Option<String>,
    /// Apple's model identifier.
    pub product_type: Option<String>,
    /// The name people know.
    pub model: Option<String>,
    /// The version of iOS.
    pub ios_version: Option<String>,
    /// Its build.
    pub build: Option<String>,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The dotted name of the fact.
    pub fact: String,
    /// Why, in plain words.
    pub reason: String,
}

/// Something that is the case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its id.
    pub id: String,
    /// `blocking`, `problem`, `notice`.
    pub severity: String,
    /// One sentence.
    pub title: String,
    /// What shows it.
    pub evidence: Vec<Evidence>,
}

/// One value that shows a finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Where it was read.
    pub source: String,
    /// The key there.
    pub key: String,
    /// What it says.
    pub value: Value,
    /// When the phone wrote it, where it can be older than the visit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<Timestamp>,
}

/// One rung of the ladder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// Its number, from 1.
    pub rung: u64,
    /// The id of the remedy.
    pub remedy: String,
    /// `none`, `disruptive`, `data`, `destroys`.
    pub risk: String,
    /// `do`, `blocked`, `done`, `ask`.
    pub state: String,
    /// The agent does it on request.
    pub automatic: bool,
    /// The ids of the findings that call for it.
    pub because: Vec<String>,
    /// The ids of what keeps it shut.
    pub blocked_by: Vec<String>,
    /// One sentence.
    pub title: String,
    /// How to do it.
    pub steps: Vec<String>,
    /// Why, and what it costs.
    #[serde(default)]
    pub why: Vec<String>,
    /// How one sees that it helped.
    #[serde(default)]
    pub helped: String,
}

/// What is safe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The photos: `safe`, `not-safe`, `cannot-tell`.
    pub photos: String,
    /// Erasing the phone.
    pub erase: String,
    /// Deleting the library in iCloud.
    pub delete_icloud_library: String,
    /// Turning iCloud Photos off and on.
    pub toggle_icloud_photos: String,
    /// What was learned on a simulated phone was seen on a real one of this iOS too.
    pub confirmed_on_real_device: bool,
    /// The verdict on the photos in one sentence.
    pub sentence: String,
    /// Every demand that does not hold.
    pub reasons: Vec<Reason>,
    /// What the owner has to be told although it keeps nothing shut.
    pub told: Vec<Told>,
}

/// Something that the owner has to be told before an open rung is climbed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Which verdict.
    #[serde(rename = "for")]
    pub of: String,
    /// Its id.
    pub id: String,
    /// One sentence.
    pub text: String,
}

/// Why a verdict is not `safe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Which verdict: `photos`, `erase`, `delete_icloud_library`, `toggle_icloud_photos`.
    #[serde(rename = "for")]
    pub of: String,
    /// Its id.
    pub id: String,
    /// One sentence.
    pub text: String,
    /// Whom it is about: `your-data` or `after-the-erase`.
    pub part: String,
    /// Known not to hold; `false`: something could not be read that would tell.
    pub known: bool,
}

/// How the visit ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The exit status.
    pub exit_status: u8,
    /// One sentence.
    pub sentence: String,
}

impl Report {
    /// The report of a visit.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            made_by: concat!("idevice-fix ", env!("CARGO_PKG_VERSION")).to_owned(),
            job: outcome.job.clone(),
            began_at: outcome.began_at,
            ended_at: outcome.ended_at,
            simulated: outcome.simulated,
            diagnosis: Diagnosed::of(outcome),
            whereabouts: outcome.whereabouts.clone(),
            protection: outcome.protection.clone(),
            climbed: outcome.climbed.clone(),
            ending: Ending {
                exit_status: exit_status(outcome.stops.iter().map(|stop| stop.trouble)),
                sentence: outcome.sentence(),
            },
            redacted: false,
        }
    }
}

impl Diagnosed {
    /// The diagnosis of a visit: the judgement's own values, as they serialise.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let mut facts = plain(&outcome.facts);
        if let Some(icloud) = facts.get_mut("icloud_photos").and_then(Value::as_object_mut) {
            icloud.insert("pause_reason".to_owned(), plain(&outcome.diagnosis.pause_reason));
        }
        let mut verdict = plain(&outcome.verdict);
        verdict["sentence"] = Value::String(outcome.verdict.sentence());
        let whole = json!({
            "schema": DIAGNOSIS_SCHEMA,
            "device": plain(&outcome.facts.device),
            "facts": facts,
            "gaps": plain(&outcome.facts.gaps),
            "findings": plain(&outcome.diagnosis.findings),
            "ladder": plain(&outcome.ladder.rungs),
            "verdict": verdict,
        });
        serde_json::from_value(whole).expect("the judgement serialises in the contract's shape")
    }
}

/// A value as JSON.
fn plain(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("the values of a visit are plain data, which JSON can hold")
}
