//! Climbing the ladder with its owner: a rung is shown, done by this program or by the owner, the phone is read again,
//! and what changed is told. It can be left at each rung and taken up later; what was done is in the record.

mod asking;
mod deeds;
mod gate;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::phones::Phones;
use super::run::Run;
use super::terminal;
use super::visits::{Recorded, Recorder, begin, ended};
use crate::ladder::{Rung, State};
use crate::remedy::{Consent, RemedyId, Risk};
use crate::report::{self, Detail, Report};
use crate::visit::climb::{By, Climbed, Effect, Helped, is_worth_climbing, next_rung};
use crate::visit::movement::Watch;
use crate::visit::{Kept, Outcome, Stop, Trouble, Visit};

pub(super) use asking::{offer, told};

use asking::{Choice, earlier};

const LATER: &str = "The ladder stays in the report. Take it up again: idevice-fix climb.";

/// `climb`: reads the phone and climbs, without copying anything first.
pub(super) async fn climb(run: &Run) -> Result<(), Stop> {
    if run.global.json || run.global.yes || !terminal::can_ask() {
        return Err(Stop::new(
            if run.global.json || run.global.yes { Trouble::Usage } else { Trouble::PersonNeeded },
            "Climbing asks at each rung, so it needs a person at a terminal.",
            "For scripts: idevice-fix diagnose --json names the rungs.",
        ));
    }
    let phones = Phones::open(run)?;
    let recorder = std::sync::Arc::new(Recorder::default());
    let watch = std::sync::Arc::new(super::run::Both(
        run.watch(),
        std::sync::Arc::clone(&recorder) as std::sync::Arc<dyn crate::progress::Observer>,
    ));
    let begun = begin(run, &phones, Consent::default(), watch).await;
    let mut visit = begun.map_err(|unreached| unreached.stop)?;
    let (before, kept) = visit.diagnose_with_kept().await?;
    let answer = report::answer_text(&Report::of(&before), &terminal::stdout_style());
    terminal::print(&format!("\n{answer}"));
    ended(&before)?;
    let dest = visit.dest().to_owned();
    let recorded = std::sync::Arc::new(Recorded::begin(&dest, &visit, &before, "climb")?);
    recorder.keep_in(&recorded);
    let mut outcome = before;
    if is_worth_climbing(&outcome) {
        Climb::new(run, &mut visit, &recorded, kept).climb(&mut outcome).await;
    } else {
        run.screen.say("\nNothing on the ladder calls for being climbed now.");
    }
    recorded.end(&mut outcome)?;
    run.screen.say(&format!("\n{}", outcome.verdict.sentence()));
    run.screen.say(&format!("The report: {}", recorded.path().join("report.html").display()));
    ended(&outcome)
}

/// A climb under way.
struct Climb<'r> {
    run: &'r Run,
    visit: &'r mut Visit,
    recorded: &'r Recorded,
    kept: Kept,
    passed: BTreeSet<RemedyId>,
    earlier: BTreeMap<String, Climbed>,
    /// Every reading, compared: what stands still in them is found, not only said.
    watch: Watch,
}

impl<'r> Climb<'r> {
    fn new(run: &'r Run, visit: &'r mut Visit, recorded: &'r Recorded, kept: Kept) -> Self {
        let earlier = earlier(visit);
        Self { run, visit, recorded, kept, passed: BTreeSet::new(), earlier, watch: Watch::default() }
    }

    /// Climbs until there is no further rung, or it is left.
    async fn climb(&mut self, outcome: &mut Outcome) {
        self.visit.watched(&mut self.watch, outcome, &self.kept);
        loop {
            let Some(rung) = next_rung(outcome, &self.passed).cloned() else {
                self.say("\nThat was the last rung that is open now.");
                return;
            };
            match self.one(outcome, &rung).await {
                Ok(true) => {}
                Ok(false) => {
                    self.say(LATER);
                    return;
                }
                Err(stop) => {
                    let stop = match stop.trouble {
                        Trouble::Failed => self.visit.still_there(stop).await,
                        trouble if trouble < Trouble::Failed => Err(stop),
                        _ => Ok(stop),
                    };
                    let stop = match stop {
                        Ok(stop) => stop,
                        Err(over) => {
                            outcome.stops.push(over);
                            return;
                        }
                    };
                    self.say(&format!("{stop}"));
                    outcome.stops.push(stop);
                    self.passed.insert(rung.remedy);
                }
            }
        }
    }

    fn say(&self, text: &str) {
        self.run.screen.say(text);
    }

    /// One rung; `false`: the climb is left.
    async fn one(&mut self, outcome: &mut Outcome, rung: &Rung) -> Result<bool, Stop> {
        let began_at = Timestamp::now();
        let mut rung = rung.clone();
        if rung.state == State::Blocked {
            match self.accepted(outcome, &rung).await? {
                Some(opened) => rung = opened,
                None => {
                    self.passed.insert(rung.remedy);
                    return Ok(true);
                }
            }
        }
        if rung.risk >= Risk::Data {
            self.show(outcome, &rung, Detail::Head);
            let Some(cleared) = self.cleared(outcome, &rung).await? else {
                self.passed.insert(rung.remedy);
                return Ok(true);
            };
            self.show_cleared(outcome, &rung, cleared);
        } else {
            self.show(outcome, &rung, Detail::Steps);
        }
        let choice = self.choose(outcome, &rung).await?;
        if matches!(choice, Choice::Leave) {
            return Ok(false);
        }
        self.passed.insert(rung.remedy);
        self.recorded.rung_began(rung.remedy.as_str());
        let done = self.act(outcome, &rung, choice, began_at).await;
        let climbed = match &done {
            Ok(climbed) => climbed.clone(),
            Err(stop) => {
                let failed = Effect { result: Helped::Failed, changes: vec![], gone: vec![], new: vec![] };
                climbed(&rung, By::Agent, began_at, &failed, stop.to_string())
            }
        };
        self.recorded.rung_ended(&climbed);
        outcome.climbed.push(climbed);
        // On the disk after each rung, so that a cut cable or terminal loses none.
        self.recorded.end(outcome)?;
        done?;
        Ok(true)
    }

    /// Does it, or has it done, reads again and tells what changed.
    async fn act(
        &mut self,
        outcome: &mut Outcome,
        rung: &Rung,
        choice: Choice,
        began_at: Timestamp,
    ) -> Result<Climbed, Stop> {
        let by = if matches!(choice, Choice::Do(_)) { By::Agent } else { By::Owner };
        let done = match choice {
            Choice::Do(deed) => match self.perform(outcome, deed).await {
                Ok(done) => done,
                Err(stop) => {
                    // What was read before it says nothing about what it left behind.
                    if !stop.trouble.leaves_no_phone() {
                        self.read_again(outcome).await?;
                    }
                    return Err(stop);
                }
            },
            Choice::Done => true,
            Choice::Pass | Choice::Leave => false,
        };
        if !done {
            let passed = Effect { result: Helped::PassedOver, changes: vec![], gone: vec![], new: vec![] };
            let sentence = passed.sentence();
            return Ok(climbed(rung, By::Nobody, began_at, &passed, sentence));
        }
        let before = outcome.clone();
        if rung.helped_facts.is_empty() {
            let effect = Effect::between(rung, &before, &before);
            return Ok(climbed(rung, by, began_at, &effect, effect.sentence()));
        }
        self.say("\nReading the phone again ...");
        self.read_again(outcome).await?;
        let mut effect = Effect::between(rung, &before, outcome);
        self.tell(&before, outcome, &effect);
        if matches!(effect.result, Helped::NotYet | Helped::Partly) {
            effect = self.wait(rung, &before, outcome, effect).await?;
        }
        let sentence = effect.sentence();
        Ok(climbed(rung, by, began_at, &effect, sentence))
    }
}

/// A rung for the record.
fn climbed(rung: &Rung, by: By, began_at: Timestamp, effect: &Effect, sentence: String) -> Climbed {
    Climbed {
        remedy: rung.remedy.as_str().to_owned(),
        title: rung.title.clone(),
        by,
        began_at,
        ended_at: Timestamp::now(),
        result: effect.result,
        sentence,
        changes: effect.changes.clone(),
    }
}
