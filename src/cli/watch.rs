//! `diagnose --watch`: reads the phone again and again, and tells waiting from stuck.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::json;

use super::climb::told;
use super::phones::Phones;
use super::run::Run;
use super::terminal;
use super::visits::{begin, ended};
use crate::diagnosis::FindingId;
use crate::facts::text::harmless;
use crate::remedy::Consent;
use crate::report::{self, Report};
use crate::visit::movement::{Movement, Pace, Watch};
use crate::visit::{Kept, Outcome, Stop, Trouble, Visit, unreached, words};

const SCHEMA: &str = "idevice-fix/watch/1";
/// After news the phone is left alone for so long, since one change comes with several.
const SETTLE: Duration = Duration::from_secs(2);

/// How it is watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watching {
    /// Between two readings, unless the phone tells of news earlier.
    pub(super) every: Duration,
    /// Ends after so many readings.
    pub(super) readings: Option<NonZeroU32>,
}

/// Watches until nothing waits any more, as many readings as wished are made, or it is stopped.
pub(super) async fn watch(run: &Run, watching: Watching) -> Result<(), Stop> {
    watched(run, watching).await.map_err(|stop| match stop.trouble {
        Trouble::Interrupted => stop,
        _ => run.explain("watch", stop),
    })
}

async fn watched(run: &Run, watching: Watching) -> Result<(), Stop> {
    let phones = Phones::open(run)?;
    let begun = begin(run, &phones, Consent::default(), run.watch_query()).await;
    let mut visit = begun.map_err(|why| match why.stop.trouble {
        Trouble::Interrupted => why.stop,
        _ => unreached(&why, phones.simulated).weightiest().cloned().unwrap_or(why.stop),
    })?;
    let (mut outcome, kept) = visit.diagnose_with_kept().await?;
    ended(&outcome)?;
    let mut watch = Watch::default();
    let mut movement = visit.watched(&mut watch, &mut outcome, &kept);
    first(run, &outcome, &movement, watching);
    // Who watches is not here for a minute: a phone that restarts or is taken along is waited for.
    visit.be_patient();
    for number in 2_u32.. {
        if movement.pace == Pace::Done || watching.readings.is_some_and(|most| number > most.get()) {
            break;
        }
        let before = outcome;
        let kept;
        (outcome, kept) = next(&mut visit, watching.every).await?;
        ended(&outcome)?;
        movement = visit.watched(&mut watch, &mut outcome, &kept);
        later(run, &before, &outcome, &movement);
    }
    last(run, &outcome, &movement);
    Ok(())
}

async fn next(visit: &mut Visit, every: Duration) -> Result<(Outcome, Kept), Stop> {
    if visit.wait_for_news(every).await? {
        visit.pause(SETTLE).await?;
    }
    visit.read_again().await
}

/// The first reading is the whole diagnosis.
fn first(run: &Run, outcome: &Outcome, movement: &Movement, watching: Watching) {
    if run.global.json {
        terminal::print_json(&object("reading", outcome, movement, &[], &[]));
        return;
    }
    terminal::print(&report::diagnosis_text(&Report::of(outcome), &terminal::stdout_style()));
    let every = words::duration(watching.every);
    run.screen.say(&format!(
        "\nWatching: read again every {every}, and when the phone tells of news. Ctrl-C ends it."
    ));
    line(outcome, movement);
}

fn later(run: &Run, before: &Outcome, now: &Outcome, movement: &Movement) {
    let gone = missing(before, now);
    let new = missing(now, before);
    if run.global.json {
        terminal::print_json(&object("reading", now, movement, &gone, &new));
        return;
    }
    line(now, movement);
    for (word, of, ids) in [("gone", before, gone), ("new", now, new)] {
        for finding in ids.into_iter().filter_map(|id| of.diagnosis.finding(id)) {
            let text = format!("{word}: {}", harmless(&finding.title));
            terminal::print(&terminal::wrapped(&text, 7, terminal::stdout_style().width));
        }
    }
}

fn last(run: &Run, outcome: &Outcome, movement: &Movement) {
    if run.global.json {
        let mut result = object("result", outcome, movement, &[], &[]);
        result["exit_status"] = json!(0);
        terminal::print_json(&result);
    } else if movement.pace == Pace::Stuck {
        run.screen.say("What helps against that, least risk first: idevice-fix climb.");
    }
}

/// `12:40  Moving at 60 items an hour: 20 items to upload, done in about 20 min.`
fn line(outcome: &Outcome, movement: &Movement) {
    let style = terminal::stdout_style();
    let at = outcome.facts.observed_at.to_zoned(style.zone.clone()).strftime("%H:%M").to_string();
    terminal::print(&terminal::wrapped(&format!("{at}  {}", told(movement, outcome)), 0, style.width));
}

/// Findings of one reading that the other does not have.
fn missing(of: &Outcome, other: &Outcome) -> Vec<FindingId> {
    let ids = of.diagnosis.findings.iter().map(|finding| finding.id);
    ids.filter(|id| other.diagnosis.finding(*id).is_none()).collect()
}

fn object(
    event: &str,
    outcome: &Outcome,
    movement: &Movement,
    gone: &[FindingId],
    new: &[FindingId],
) -> serde_json::Value {
    json!({
        "event": event, "schema": SCHEMA, "at": outcome.facts.observed_at,
        "movement": movement, "sentence": told(movement, outcome), "gone": gone, "new": new,
        "diagnosis": Report::of(outcome).diagnosis,
    })
}
