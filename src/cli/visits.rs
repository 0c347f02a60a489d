//! What the commands that visit a phone share: beginning, the record, the result.

use std::sync::Arc;

use serde_json::json;

use super::phones::Phones;
use super::run::Run;
use super::{secrets, terminal};
use crate::progress::Observer;
pub(super) use crate::record::{Recorded, Recorder};
use crate::remedy::{Accept, Consent};
use crate::report::Report;
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
