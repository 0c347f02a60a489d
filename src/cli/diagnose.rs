//! `diagnose` and `gate`: what is the case, and whether a step is safe. Nothing is copied but what must be read.

use serde_json::json;

use super::arguments::{Diagnose, Gate, GateStep};
use super::phones::Phones;
use super::run::Run;
use super::terminal;
use super::visits::{Recorded, begin, consent, ended};
use super::watch::{self, Watching};
use crate::facts::text::plain;
use crate::remedy::Consent;
use crate::remedy::gate::{Answer, Question};
use crate::report::{self, Report};
use crate::visit::{Outcome, Stop, Trouble, unreached};

/// Facts, findings, ladder and verdict.
pub(super) async fn diagnose(run: &Run, arguments: &Diagnose) -> Result<(), Stop> {
    if let Some(seconds) = arguments.watch {
        let every = std::time::Duration::from_secs(seconds);
        return watch::watch(run, Watching { every, readings: arguments.readings }).await;
    }
    let phones = Phones::open(run).map_err(|stop| run.explain("diagnosis", stop))?;
    let outcome = read(run, &phones).await.map_err(|stop| run.explain("diagnosis", stop))?;
    let report = Report::of(&outcome);
    if run.global.json {
        terminal::print_json(&serde_json::to_value(&report.diagnosis).expect("a diagnosis is plain data"));
    } else if outcome.facts.device.is_some() {
        terminal::print(&report::diagnosis_text(&report, &terminal::stdout_style()));
    }
    ended(&outcome)
}

/// Reads a phone and judges it; one that cannot be reached is judged by what is known.
async fn read(run: &Run, phones: &Phones) -> Result<Outcome, Stop> {
    match begin(run, phones, Consent::default(), run.watch_query()).await {
        Ok(mut visit) => visit.diagnose().await,
        Err(why) if why.stop.trouble == Trouble::Interrupted => Err(why.stop),
        Err(why) => Ok(unreached(&why, phones.simulated)),
    }
}

/// Exit status 0 only while the step is safe.
pub(super) async fn gate(run: &Run, arguments: &Gate) -> Result<(), Stop> {
    judged(run, arguments).await.map_err(|stop| match stop.trouble {
        Trouble::GateClosed => stop,
        _ => run.explain("gate", stop),
    })
}

async fn judged(run: &Run, arguments: &Gate) -> Result<(), Stop> {
    let consent = consent(&arguments.accept)?;
    let phones = Phones::open(run)?;
    let (question, name, words) = step(arguments.step);
    let (mut outcome, visit) = match begin(run, &phones, consent.clone(), run.watch_query()).await {
        Ok(mut visit) => (visit.diagnose().await?, Some(visit)),
        Err(why) if why.stop.trouble == Trouble::Interrupted => return Err(why.stop),
        Err(why) => (unreached(&why, phones.simulated), None),
    };
    // Only a phone that was read now can be judged: whatever kept us from it is the answer.
    ended(&outcome)?;
    let answer = outcome.verdict.answer(question);
    let closed = (answer != Answer::Safe).then(|| {
        let cause = format!("{words} is not proven to be safe.");
        Stop::new(Trouble::GateClosed, cause, "idevice-fix leads there: it copies, backs up and proves.")
    });
    outcome.stops.extend(closed.clone());
    // What the owner stated by name is kept with what it was said about.
    if let (Some(visit), false) = (visit, consent.accepted.is_empty()) {
        let recorded = Recorded::begin(visit.dest(), &visit, &outcome, &format!("gate {name}"))?;
        recorded.accepted(&consent)?;
        recorded.end(&mut outcome)?;
    }
    show_answer(run, arguments, &outcome);
    closed.map_or(Ok(()), Err)
}

fn step(step: GateStep) -> (Question, &'static str, &'static str) {
    match step {
        GateStep::Erase => (Question::Erase, "erase", "Erasing the phone"),
        GateStep::DeleteIcloudLibrary => {
            (Question::DeleteIcloudLibrary, "delete-icloud-library", "Deleting the photo library in iCloud")
        }
        GateStep::ToggleIcloudPhotos => {
            (Question::ToggleIcloudPhotos, "toggle-icloud-photos", "Turning iCloud Photos off and on")
        }
    }
}

fn show_answer(run: &Run, arguments: &Gate, outcome: &Outcome) {
    let (question, name, words) = step(arguments.step);
    let answer = outcome.verdict.answer(question);
    let reasons: Vec<_> = outcome.verdict.reasons_for(question).collect();
    if run.global.json {
        terminal::print_json(&json!({
            "schema": "idevice-fix/gate/1", "step": name, "verdict": answer.as_str(), "accepted": arguments.accept,
            "reasons": reasons.iter().map(|reason| json!({"id": reason.id, "text": reason.text})).collect::<Vec<_>>(),
            "device": outcome.facts.device, "confirmed_on_real_device": outcome.verdict.confirmed_on_real_device,
            "job": outcome.job,
        }));
        return;
    }
    terminal::print(&format!("{words}: {}\n", answer.shout()));
    for reason in &reasons {
        terminal::print(&format!("  - {}\n", plain(&reason.text)));
    }
    for told in outcome.verdict.told.iter().filter(|told| told.question == question) {
        terminal::print(&format!("  ! {}\n", plain(&told.text)));
    }
}
