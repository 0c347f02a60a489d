//! The report of a visit: text, JSON and HTML from the same values.
//!
//! [`Report`] is those values: plain data that goes into `report.json` and comes out of it again, so that a report can
//! be shown later without the phone. The renderers are pure functions of it; none of them decides anything, and a
//! number that two of them show is one number here. Text in it came from phones and is escaped where it is shown.

mod figures;
mod html;
mod picture;
#[cfg(test)]
mod sample;
mod text;

pub use html::html;
pub use text::{Style, diagnosis as diagnosis_text, text};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// How it ended.
    pub ending: Ending,
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
    /// Every demand that does not hold.
    pub reasons: Vec<Reason>,
}

/// Why a verdict is not `safe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Which verdict: `photos`, `erase`, `delete-icloud-library`, `toggle-icloud-photos`.
    #[serde(rename = "for")]
    pub of: String,
    /// Its id.
    pub id: String,
    /// One sentence.
    pub text: String,
}

/// The assets whose originals are in one place, and how many of them are kept here too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// `here-and-in-icloud`, `only-here`, `only-in-icloud`, `in-neither`, `unknown`.
    pub place: String,
    /// How many assets.
    pub assets: u64,
    /// Of these, how many have every original that is on the phone in our proven copy.
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
}

/// The copy of the photos.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhotosKept {
    /// Files that this visit copied.
    pub copied_files: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Files taken from the backup, because the phone did not hand them out.
    pub from_backup_files: u64,
    /// Files in the copy that are proven.
    pub proven_files: u64,
    /// Seconds that the copying took.
    pub seconds: u64,
    /// When the copy was read again and compared; `None`: it is not proven.
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

/// How the visit ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The exit status.
    pub exit_status: u8,
    /// One sentence.
    pub sentence: String,
}
