//! The words of a climb: what is shown of a rung, what is asked about it, and what changed by it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::owner::{self, Reply};
use super::super::run::{Run, record_stop};
use super::super::terminal;
use super::super::visits::Recorded;
use super::{Climb, LATER};
use crate::facts::text::{harmless, plain};
use crate::job::Jobs;
use crate::ladder::{Rung, State};
use crate::remedy::{Consent, Risk};
use crate::report::{self, Detail, Report};
use crate::visit::climb::{By, Climbed, Deed, Effect, is_worth_climbing, statements};
use crate::visit::movement::Movement;
use crate::visit::{Kept, Outcome, Stop, Visit, words};

/// How often an answer that is none is asked for again.
const TRIES: u32 = 5;
/// How many earlier visits are looked into.
const EARLIER_MAX: usize = 50;

/// What is done about a rung.
pub(super) enum Choice {
    /// This program does it.
    Do(Deed),
    /// The owner says that it is done.
    Done,
    /// It is passed over.
    Pass,
    /// The climb is left.
    Leave,
}

/// After a visit: offers to climb what is left, where somebody is there to do it.
pub(in crate::cli) async fn offer(
    run: &Run,
    visit: &mut Visit,
    recorded: &Recorded,
    outcome: &mut Outcome,
) -> bool {
    let gone = outcome.stops.iter().any(|stop| stop.trouble.ends_the_visit());
    let asks = !run.global.json && !run.global.yes && !run.global.quiet && terminal::can_ask();
    if gone || !asks || !is_worth_climbing(outcome) {
        return false;
    }
    let open =
        outcome.ladder.rungs.iter().filter(|rung| matches!(rung.state, State::Do | State::Ask)).count();
    run.screen.say(&format!(
        "\nThe ladder has {}, least risk first. Each is shown, done by you or by\nidevice-fix, and the phone is read again \
         to see whether it helped.",
        words::counted(open as u64, "open rung", "open rungs")
    ));
    owner::forget_what_was_typed();
    let now = loop {
        match owner::reply(run, "Climb now? [Y/n] ").await {
            Reply::Said(said) => match said.to_lowercase().as_str() {
                "" | "y" | "yes" => break true,
                "n" | "no" | "q" => break false,
                _ => {}
            },
            Reply::Nobody => break false,
            Reply::Stopped => {
                outcome.stops.push(Stop::interrupted());
                break false;
            }
        }
    };
    if !now {
        run.screen.say(LATER);
        return false;
    }
    // What is proven was proven a moment ago; a rung that needs it reads it again.
    Climb::new(run, visit, recorded, Kept::default()).climb(outcome).await;
    true
}

impl Climb<'_> {
    /// What the owner wants done about a rung.
    pub(super) async fn choose(&mut self, outcome: &Outcome, rung: &Rung) -> Result<Choice, Stop> {
        let deed = Deed::of(rung.remedy);
        let (question, enter): (&str, &str) = match deed {
            Some(_) if rung.risk == Risk::None => ("[Enter = do it now, s = skip, w = why, q = leave] ", "d"),
            Some(_) => ("[d = do it now, s = skip, w = why, q = leave] ", "?"),
            None => ("[Enter = I have done it, s = skip, w = why, q = leave] ", "y"),
        };
        loop {
            let said = self.ask(question, &["", "d", "y", "s", "w", "q"]).await?;
            match (said.map(|said| if said.is_empty() { enter } else { said }), deed) {
                (None | Some("q"), _) => return Ok(Choice::Leave),
                (Some("s"), _) => return Ok(Choice::Pass),
                (Some("w"), _) => self.show(outcome, rung, Detail::Why),
                (Some("d"), Some(deed)) => return Ok(Choice::Do(deed)),
                (Some("y"), _) => return Ok(Choice::Done),
                _ => {}
            }
        }
    }

    /// Asks until one of `words` is said. `None`: nobody is there, or nonsense was said too often.
    pub(super) async fn ask(
        &self,
        question: &str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, Stop> {
        owner::forget_what_was_typed();
        for _ in 0..TRIES {
            match owner::reply(self.run, question).await {
                Reply::Stopped => return Err(Stop::interrupted()),
                Reply::Nobody => return Ok(None),
                Reply::Said(said) => {
                    let said = said.to_lowercase();
                    if let Some(word) = words.iter().find(|word| **word == said) {
                        return Ok(Some(word));
                    }
                }
            }
        }
        Ok(None)
    }

    /// A rung that a statement by name would open: shows what is stated, and wants the names typed.
    pub(super) async fn accepted(
        &mut self,
        outcome: &mut Outcome,
        rung: &Rung,
    ) -> Result<Option<Rung>, Stop> {
        let wanted = statements(rung);
        self.show(outcome, rung, Detail::Head);
        self.say("  It is shut only by what you can state by name:");
        for accept in &wanted {
            self.say(&terminal::wrapped(&format!("{accept}: {}", accept.statement()), 4, 80));
        }
        for accept in wanted {
            owner::forget_what_was_typed();
            if !owner::types(self.run, accept.as_str()).await {
                if self.run.cancel.is_cancelled() {
                    return Err(Stop::interrupted());
                }
                self.say("  Not stated, so it stays shut.");
                return Ok(None);
            }
            self.visit.accept(accept);
            self.recorded.accepted(&Consent { accepted: BTreeSet::from([accept]) })?;
        }
        self.say("\nReading the phone again ...");
        self.read_again(outcome).await?;
        let opened = outcome.ladder.rung(rung.remedy).filter(|rung| rung.state == State::Do).cloned();
        if opened.is_none() {
            self.say("  It is still shut; the report says why.");
        }
        Ok(opened)
    }

    pub(super) fn show(&self, outcome: &Outcome, rung: &Rung, detail: Detail) {
        let report = Report::of(outcome);
        let remedy = rung.remedy.as_str();
        if let Some(shown) = report.diagnosis.ladder.iter().find(|rung| rung.remedy == remedy) {
            self.say(report::rung_text(&report, shown, detail, &terminal::stderr_style()).trim_end());
        }
        if let Some(earlier) = self.earlier.get(remedy) {
            let at = words::moment(earlier.ended_at, &terminal::stderr_style().zone);
            let text = format!("Earlier  on {at}: {}", plain(&earlier.sentence));
            self.say(terminal::wrapped(&text, 2, 80).trim_end());
        }
    }

    /// What changed between two readings.
    pub(super) fn tell(&self, before: &Outcome, now: &Outcome, effect: &Effect) {
        let style = terminal::stderr_style();
        self.say(&format!("  {}", effect.sentence()));
        for change in &effect.changes {
            self.say(&format!("    {}", report::change_text(change, &style.zone)));
        }
        for (word, titles) in [("gone", &effect.gone), ("new", &effect.new)] {
            for title in titles {
                self.say(terminal::wrapped(&format!("{word}: {}", plain(title)), 4, 80).trim_end());
            }
        }
        if before.verdict.photos != now.verdict.photos {
            self.say(&format!(
                "    the photos: {} \u{2192} {}",
                before.verdict.photos.shout(),
                now.verdict.photos.shout()
            ));
        }
    }
}

/// How the upload goes, in a sentence.
pub(in crate::cli) fn told(movement: &Movement, outcome: &Outcome) -> String {
    let reason = movement.reason.and_then(|id| outcome.diagnosis.finding(id));
    // A sentence that quotes a finding may be longer than a name is.
    harmless(&movement.sentence(outcome.facts.observed_at, reason.map(|finding| finding.title.as_str())))
}

/// What earlier visits of this phone did, by remedy, newest first. A record that cannot be read is no reason to stop.
pub(super) fn earlier(visit: &Visit) -> BTreeMap<String, Climbed> {
    let mut earlier = BTreeMap::new();
    let Ok(Some(jobs)) = Jobs::open_existing(visit.dest()).map_err(|error| record_stop(&error)) else {
        return earlier;
    };
    let rows = jobs.list().unwrap_or_default();
    for row in rows.iter().filter(|row| row.udid == visit.udid().as_str()).take(EARLIER_MAX) {
        let Ok(json) = jobs.read(row, "report.json") else { continue };
        let Ok(report) = serde_json::from_slice::<Report>(&json) else { continue };
        for rung in report.climbed.into_iter().rev().filter(|rung| rung.by != By::Nobody) {
            earlier.entry(rung.remedy.clone()).or_insert(rung);
        }
    }
    earlier
}
