//! `report`: the report of a recorded visit again.

use super::arguments;
use super::run::{Run, record_stop};
use super::terminal;
use crate::facts::text::plain;
use crate::job::{Jobs, Row};
use crate::report::{self, Report};
use crate::visit::{Stop, Trouble};

/// Shows the report of a visit: text, or with `--json` and `--html` the two files that the visit left.
pub(super) fn report(run: &Run, arguments: &arguments::Report) -> Result<(), Stop> {
    shown(run, arguments).map_err(|stop| run.explain("report", stop))
}

fn shown(run: &Run, arguments: &arguments::Report) -> Result<(), Stop> {
    let (record, row) = find(run, arguments.job.as_deref())?;
    let json = record.read(&row, "report.json").map_err(|error| {
        Stop::new(Trouble::Failed, format!("The visit {} has no report: {error}.", row.job), "")
    })?;
    let report: Report = serde_json::from_slice(&json).map_err(|error| {
        Stop::new(Trouble::Failed, format!("The report of {} is damaged: {error}.", row.job), "")
    })?;
    let report = if arguments.redact { report::redacted(&report) } else { report };
    if run.global.json {
        let value = serde_json::to_value(&report).expect("a report is plain data");
        terminal::print_json(&value);
    } else if arguments.html {
        terminal::print(&report::html(&report, &terminal::stdout_style().zone));
    } else {
        terminal::print(&report::text(&report, &terminal::stdout_style()));
    }
    Ok(())
}

fn find(run: &Run, job: Option<&str>) -> Result<(Jobs, Row), Stop> {
    let dest = run.dest()?;
    let record = Jobs::open_existing(&dest).map_err(|error| record_stop(&error))?;
    let row = match &record {
        Some(record) => record.find(job).map_err(|error| record_stop(&error))?,
        None => None,
    };
    match (record, row, job) {
        (Some(record), Some(row), _) => Ok((record, row)),
        (_, _, Some(job)) => Err(Stop::new(
            Trouble::Usage,
            format!("No visit {} is recorded under {}.", plain(job), dest.display()),
            "The recorded ones: idevice-fix jobs.",
        )),
        (_, _, None) => Err(Stop::new(
            Trouble::Failed,
            format!("No visit with a report is recorded under {}.", dest.display()),
            "Make one: idevice-fix.",
        )),
    }
}
