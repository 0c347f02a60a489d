//! What the commands that visit a phone share: beginning, the record, the result.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::phones::Phones;
use super::run::{Run, record_stop};
use super::{secrets, terminal};
use crate::job::{Ending, Job, Jobs};
use crate::progress::{Event, Observer, Phase};
use crate::remedy::{Accept, Consent};
use crate::report::{self, Report};
use crate::visit::climb::Climbed;
use crate::visit::{Beginning, Outcome, Stop, Trouble, Unreached, Visit, exit_status, reach};

/// Begins a visit. `watch` is told what happens.
pub(super) async fn begin(
    run: &Run,
    phones: &Phones,
    consent: Consent,
    watch: Arc<dyn Observer>,
) -> Result<Visit, Box<Unreached>> {
    let unusable = |stop| Box::new(Unreached { reach: None, device: None, stop });
    let wait = if run.person_is_near() { reach::WAIT_WITH_PERSON } else { reach::WAIT_ALONE };
    let mut visit = Visit::begin(Beginning {
        muxer: Arc::clone(&phones.muxer),
        on_bus: phones.on_bus().await,
        udid: run.global.udid.clone(),
        dest: phones.dest(run).map_err(unusable)?,
        wait,
        simulated: phones.simulated,
        consent,
        password: secrets::given(run).map_err(unusable)?,
        observer: watch,
        cancel: run.cancel.clone(),
    })
    .await?;
    if !visit.knows_password() && visit.keeps_encrypted_backup() {
        let known = secrets::known(run, visit.udid()).await.map_err(unusable)?;
        known.into_iter().for_each(|password| visit.learn_password(password));
    }
    Ok(visit)
}

/// What the owner accepts by name.
pub(super) fn consent(names: &[String]) -> Result<Consent, Stop> {
    let mut consent = Consent::default();
    for name in names {
        let accept = Accept::parse(name).ok_or_else(|| {
            let known: Vec<&str> = Accept::ALL.iter().map(|accept| accept.as_str()).collect();
            Stop::new(
                Trouble::Usage,
                format!("{name:?} is nothing that can be accepted."),
                format!("These can: {}.", known.join(", ")),
            )
        })?;
        consent.accepted.insert(accept);
    }
    Ok(consent)
}

/// The stop of an outcome that decides the exit status.
pub(super) fn ended(outcome: &Outcome) -> Result<(), Stop> {
    outcome.weightiest().cloned().map_or(Ok(()), Err)
}

/// A visit as it goes into the record: steps, log, and at the end the report.
pub(super) struct Recorded {
    job: Job,
}

impl Recorded {
    /// Begins the record under `dest`.
    pub(super) fn begin(dest: &Path, visit: &Visit, before: &Outcome, command: &str) -> Result<Self, Stop> {
        let jobs = Jobs::open(dest).map_err(|error| record_stop(&error))?;
        let device = before.facts.device.clone().unwrap_or_default();
        let job = jobs
            .begin(visit.udid(), &device, command, before.simulated)
            .map_err(|error| record_stop(&error))?;
        Ok(Self { job })
    }

    /// Its folder.
    pub(super) fn path(&self) -> &Path {
        self.job.path()
    }

    /// Keeps what the owner accepted by name, with the text of it.
    pub(super) fn accepted(&self, consent: &Consent) -> Result<(), Stop> {
        for accept in &consent.accepted {
            self.job.accepted(accept.as_str(), accept.statement()).map_err(|error| record_stop(&error))?;
        }
        Ok(())
    }

    /// A rung of the ladder is begun.
    pub(super) fn rung_began(&self, remedy: &str) {
        // A record that cannot be written is told of when the visit ends.
        let _ = self.job.step_began(&format!("climb {remedy}"));
    }

    /// A rung was climbed or passed over.
    pub(super) fn rung_ended(&self, climbed: &Climbed) {
        let _ = self.job.step_ended(&format!("climb {}", climbed.remedy), &climbed.sentence);
        let _ = self.job.log(&format!("rung {}: {}", climbed.remedy, climbed.sentence));
    }

    /// Writes facts, diagnosis and report, and ends the record.
    pub(super) fn end(&self, outcome: &mut Outcome) -> Result<Report, Stop> {
        outcome.job = Some(self.job.id().to_owned());
        let report = Report::of(outcome);
        let zone = jiff::tz::TimeZone::system();
        let as_json = |value: &Value| serde_json::to_vec_pretty(value).expect("JSON is written as JSON");
        let whole = serde_json::to_value(&report).expect("a report is plain data");
        let kept = self
            .job
            .keep("facts.json", &as_json(&report.diagnosis.facts))
            .and_then(|()| self.job.keep("diagnosis.json", &as_json(&whole["diagnosis"])))
            .and_then(|()| self.job.keep("report.json", &as_json(&whole)))
            .and_then(|()| self.job.keep("report.html", report::html(&report, &zone).as_bytes()))
            .and_then(|()| {
                self.job.ended(&Ending {
                    exit_status: report.ending.exit_status,
                    sentence: report.ending.sentence.clone(),
                    photos_verdict: Some(report.diagnosis.verdict.photos.clone()),
                })
            });
        kept.map_err(|error| record_stop(&error))?;
        Ok(report)
    }
}

/// Passes events on, and writes what is worth it into the record of a visit once there is one.
#[derive(Default)]
pub(super) struct Recorder {
    job: Mutex<Option<Arc<Recorded>>>,
}

impl Recorder {
    /// From now on events go into this record.
    pub(super) fn keep_in(&self, recorded: &Arc<Recorded>) {
        *self.job.lock().expect("no holder of this lock panics") = Some(Arc::clone(recorded));
    }
}

impl Observer for Recorder {
    fn event(&self, event: Event) {
        let held = self.job.lock().expect("no holder of this lock panics");
        let Some(recorded) = held.as_ref() else { return };
        // A record that cannot be written (a full disk, say) is told of when the visit ends.
        let _ = match event {
            Event::Began { phase, .. } => recorded.job.step_began(step(phase)),
            Event::Ended { phase } => recorded.job.step_ended(step(phase), "ended"),
            Event::Advanced { .. } => Ok(()),
            Event::PersonNeeded { touch, .. } => recorded.job.log(&format!("a person is needed: {touch:?}")),
            Event::PersonDone { touch } => recorded.job.log(&format!("the person did it: {touch:?}")),
            Event::Skipped { item, reason } => recorded.job.log(&format!("skipped {item}: {reason}")),
            Event::Note(note) => recorded.job.log(&note),
        };
    }
}

fn step(phase: Phase) -> &'static str {
    match phase {
        Phase::Reach => "reach",
        Phase::Read => "read",
        Phase::Library => "library",
        Phase::Photos => "photos",
        Phase::Backup => "backup",
        Phase::Extract => "extract",
        Phase::Restore => "restore",
        Phase::Verify => "verify",
        Phase::Export => "export",
    }
}

/// The result of a long command for scripts.
pub(super) fn print_result(name: &str, report: &Report) {
    let whole = serde_json::to_value(report).expect("a report is plain data");
    terminal::print_json(&json!({
        "event": "result",
        "schema": format!("idevice-fix/{name}/1"),
        "exit_status": report.ending.exit_status,
        "sentence": report.ending.sentence,
        "job": report.job,
        "diagnosis": whole["diagnosis"],
        "whereabouts": whole["whereabouts"],
        "protection": whole["protection"],
        "climbed": whole.get("climbed").cloned().unwrap_or_else(|| json!([])),
    }));
}

/// The result of a long command that came to nothing.
pub(super) fn print_failure(run: &Run, name: &str, stop: Stop) -> Stop {
    if run.global.json {
        terminal::print_json(&json!({
            "event": "result",
            "schema": format!("idevice-fix/{name}/1"),
            "exit_status": exit_status([stop.trouble]),
            "sentence": stop.to_string(),
        }));
    }
    stop
}
