//! `jobs`: the recorded visits.

use serde_json::json;

use super::run::{Run, record_stop};
use super::terminal;
use crate::facts::text::plain;
use crate::job::{Jobs, Row};
use crate::visit::{Stop, words};

/// Lists the recorded visits, newest first.
pub(super) fn jobs(run: &Run) -> Result<(), Stop> {
    let record =
        Jobs::open_existing(&run.dest()?).map_err(|error| run.explain("jobs", record_stop(&error)))?;
    let rows = match record {
        Some(record) => record.list().map_err(|error| run.explain("jobs", record_stop(&error)))?,
        None => Vec::new(),
    };
    let rows: Vec<Row> = rows
        .into_iter()
        .filter(|row| run.global.udid.as_ref().is_none_or(|udid| *udid == row.udid))
        .collect();
    if run.global.json {
        terminal::print_json(&json!({"schema": "idevice-fix/jobs/1", "jobs": rows}));
        return Ok(());
    }
    if rows.is_empty() {
        run.screen.say("No visit has been recorded here yet.");
    }
    let style = terminal::stdout_style();
    for row in &rows {
        terminal::print(&line(row, &style.zone));
    }
    Ok(())
}

fn line(row: &Row, zone: &jiff::tz::TimeZone) -> String {
    let device = plain(row.device_name.as_deref().unwrap_or("iPhone"));
    let photos = match row.photos_verdict.as_deref() {
        Some("safe") => "photos SAFE",
        Some("not-safe") => "photos NOT SAFE",
        Some("cannot-tell") => "photos: CANNOT TELL",
        _ => "no verdict",
    };
    let ended = match (row.exit_status, &row.sentence) {
        (Some(status), Some(sentence)) => format!("{} (exit {status})", plain(sentence)),
        _ => "was cut off, or is still running".to_owned(),
    };
    format!(
        "{}  {}  {device}{}, {}, {photos}\n    {ended}\n",
        row.job,
        words::moment(row.began_at, zone),
        if row.simulated { " (simulated)" } else { "" },
        row.command
    )
}
