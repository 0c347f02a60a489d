//! A visit as it goes into the record: its steps and its log while it runs, and at the end facts, diagnosis and report.
//!
//! What the command line and the bench share. Knows the names of a visit's files (see [`crate::job`] for where they
//! are); it decides nothing about the visit.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::job::{Ending, Error, Job, Jobs};
use crate::progress::{Event, Observer};
use crate::remedy::Consent;
use crate::report::{self, Report};
use crate::visit::climb::Climbed;
use crate::visit::{Outcome, Stop, Trouble, Visit};

/// A trouble with the record of visits, for people.
#[must_use]
pub fn record_stop(error: &Error) -> Stop {
    if error.is_disk_full() {
        return Stop::new(
            Trouble::NoSpace,
            format!("The disk is full: {error}."),
            "Free some space, or name another folder with --dest.",
        );
    }
    Stop::new(
        Trouble::Failed,
        format!("{error}."),
        "Check that the folder is yours, or name another with --dest.",
    )
}

/// A visit that is recorded.
#[derive(Debug)]
pub struct Recorded {
    job: Job,
}

impl Recorded {
    /// The record of a visit that was begun already.
    #[must_use]
    pub fn of(job: Job) -> Self {
        Self { job }
    }

    /// Begins the record under `dest`.
    ///
    /// # Errors
    /// The record cannot be opened or written.
    pub fn begin(dest: &Path, visit: &Visit, before: &Outcome, command: &str) -> Result<Self, Stop> {
        let jobs = Jobs::open(dest).map_err(|error| record_stop(&error))?;
        let device = before.facts.device.clone().unwrap_or_default();
        let job = jobs
            .begin(visit.udid(), &device, command, before.simulated)
            .map_err(|error| record_stop(&error))?;
        Ok(Self { job })
    }

    /// The visit in the record.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.job.path()
    }

    /// Keeps what the owner accepted by name, with the text of it.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn accepted(&self, consent: &Consent) -> Result<(), Stop> {
        for accept in &consent.accepted {
            self.job.accepted(accept.as_str(), accept.statement()).map_err(|error| record_stop(&error))?;
        }
        Ok(())
    }

    /// A rung of the ladder is begun.
    pub fn rung_began(&self, remedy: &str) {
        // A record that cannot be written is told of when the visit ends.
        let _ = self.job.step_began(&format!("climb {remedy}"));
    }

    /// A rung was climbed or passed over.
    pub fn rung_ended(&self, climbed: &Climbed) {
        let _ = self.job.step_ended(&format!("climb {}", climbed.remedy), &climbed.sentence);
        let _ = self.job.log(&format!("rung {}: {}", climbed.remedy, climbed.sentence));
    }

    /// Writes facts, diagnosis and report, and ends the record.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn end(&self, outcome: &mut Outcome) -> Result<Report, Stop> {
        let (report, ending) = self.write(outcome)?;
        self.job.ended(&ending).map_err(|error| record_stop(&error))?;
        Ok(report)
    }

    /// As [`Recorded::end`], but the visit stays open: the phone is still there.
    ///
    /// # Errors
    /// As [`Recorded::end`].
    pub fn settle(&self, outcome: &mut Outcome) -> Result<Ending, Stop> {
        let (_, ending) = self.write(outcome)?;
        self.job.settled(&ending).map_err(|error| record_stop(&error))?;
        Ok(ending)
    }

    fn write(&self, outcome: &mut Outcome) -> Result<(Report, Ending), Stop> {
        outcome.job = Some(self.job.id().to_owned());
        let report = Report::of(outcome);
        let zone = jiff::tz::TimeZone::system();
        let as_json = |value: &Value| serde_json::to_vec_pretty(value).expect("JSON is written as JSON");
        let whole = serde_json::to_value(&report).expect("a report is plain data");
        self.job
            .keep("facts.json", &as_json(&report.diagnosis.facts))
            .and_then(|()| self.job.keep("diagnosis.json", &as_json(&whole["diagnosis"])))
            .and_then(|()| self.job.keep("report.json", &as_json(&whole)))
            .and_then(|()| self.job.keep("report.html", report::html(&report, &zone).as_bytes()))
            .map_err(|error| record_stop(&error))?;
        let ending = Ending {
            exit_status: report.ending.exit_status,
            sentence: report.ending.sentence.clone(),
            photos_verdict: Some(report.diagnosis.verdict.photos.clone()),
        };
        Ok((report, ending))
    }
}

/// Passes events on, and writes what is worth it into the record of a visit once there is one.
#[derive(Default)]
pub struct Recorder {
    job: Mutex<Option<Arc<Recorded>>>,
}

impl Recorder {
    /// From now on events go into this record.
    pub fn keep_in(&self, recorded: &Arc<Recorded>) {
        *self.job.lock().expect("no holder of this lock panics") = Some(Arc::clone(recorded));
    }
}

impl Observer for Recorder {
    fn event(&self, event: Event) {
        let held = self.job.lock().expect("no holder of this lock panics");
        let Some(recorded) = held.as_ref() else { return };
        // A record that cannot be written (a full disk, say) is told of when the visit ends.
        let _ = match event {
            Event::Began { phase, .. } => recorded.job.step_began(phase.name()),
            Event::Ended { phase } => recorded.job.step_ended(phase.name(), "ended"),
            Event::Advanced { .. } => Ok(()),
            Event::PersonNeeded { touch, .. } => recorded.job.log(&format!("a person is needed: {touch:?}")),
            Event::PersonDone { touch } => recorded.job.log(&format!("the person did it: {touch:?}")),
            Event::Skipped { item, reason } => recorded.job.log(&format!("skipped {item}: {reason}")),
            Event::Note(note) => recorded.job.log(&note),
        };
    }
}
