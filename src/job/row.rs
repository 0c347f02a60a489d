//! A recorded visit as it is read back: its row, its steps, how it ended.

use jiff::Timestamp;
use serde::Serialize;

use super::schema;

/// One recorded visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its id, which is also its folder's name.
    pub job: String,
    /// Which phone.
    pub udid: String,
    /// The owner's name for it: text from the phone.
    pub device_name: Option<String>,
    /// e.g. `iPhone13,2`.
    pub product_type: Option<String>,
    /// e.g. `18.4.1`.
    pub ios_version: Option<String>,
    /// What was run: `fix`, `backup`, `photos pull`, `diagnose`.
    pub command: String,
    /// A simulated phone.
    pub simulated: bool,
    /// The USB port that the phone was plugged into, as the kernel names it (`1-4.2`), where that was seen.
    pub port: Option<String>,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended; `None`: it runs, or was cut off. A visit of the bench ends when the phone is unplugged, also when
    /// all that was to be done was done before.
    pub ended_at: Option<Timestamp>,
    /// The exit status that it ended with.
    pub exit_status: Option<u8>,
    /// How it ended, in one sentence.
    pub sentence: Option<String>,
    /// `safe`, `not-safe`, `cannot-tell`: the verdict on the photos.
    pub photos_verdict: Option<String>,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// One step of a visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it was: `read`, `photos`, `backup`, `verify-photos`, …
    pub name: String,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended; `None`: it was cut off.
    pub ended_at: Option<Timestamp>,
    /// How it ended, in plain words.
    pub outcome: Option<String>,
}

/// How a visit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The exit status.
    pub exit_status: u8,
    /// In one sentence.
    pub sentence: String,
    /// The verdict on the photos, if it came that far.
    pub photos_verdict: Option<String>,
}

impl schema::FromRow for Row {
    fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            job: row.get("job")?,
            udid: row.get("udid")?,
            device_name: row.get("device_name")?,
            product_type: row.get("product_type")?,
            ios_version: row.get("ios_version")?,
            command: row.get("command")?,
            simulated: row.get("simulated")?,
            port: row.get("port")?,
            began_at: schema::time(row, "began_at")?,
            ended_at: schema::optional_time(row, "ended_at")?,
            exit_status: row.get("exit_status")?,
            sentence: row.get("sentence")?,
            photos_verdict: row.get("photos_verdict")?,
            steps: Vec::new(),
        })
    }
}
