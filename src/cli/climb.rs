//! Climbing the ladder with its owner: a rung is shown, done by this program or by the owner, the phone is read again,
//! and what changed is told. It can be left at each rung and taken up later; what was done is in the record.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::owner::{self, Reply};
use super::phones::Phones;
use super::run::{Run, record_stop};
use super::visits::{Recorded, Recorder, begin, ended};
use super::{backup_password, terminal};
use crate::facts::text::plain;
use crate::job::Jobs;
use crate::ladder::{Rung, State};
use crate::remedy::gate::Cleared;
use crate::remedy::{Consent, RemedyId, Risk};
use crate::report::{self, Detail, Report};
use crate::visit::climb::{By, Climbed, Deed, Effect, Helped, is_worth_climbing, next_rung, statements};
use crate::visit::movement::{Movement, Pace, Reading, STILL_AFTER, Watch};
use crate::visit::{Kept, Outcome, Protected, Stop, Trouble, Visit, Wish, words};

/// How often the phone is read again while it is waited for.
const READ_EVERY: Duration = Duration::from_secs(60);
/// How long it is waited for at most: then two readings are far enough apart to tell waiting from stuck.
const WAIT_AT_MOST: Duration = Duration::from_secs(STILL_AFTER.as_secs().unsigned_abs() + 30);
/// The gate's word counts for so long after the phone was read.
const CLEARED_FOR: SignedDuration = SignedDuration::from_secs(60);
/// Several pieces of news come together.
const SETTLE: Duration = Duration::from_secs(2);
/// How often an answer that is none is asked for again.
const TRIES: u32 = 5;

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

/// After a visit: offers to climb what is left, where somebody is there to do it.
pub(super) async fn offer(run: &Run, visit: &mut Visit, recorded: &Recorded, outcome: &mut Outcome) -> bool {
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

const LATER: &str = "The ladder stays in the report. Take it up again: idevice-fix climb.";

/// What is done about a rung.
enum Choice {
    /// This program does it.
    Do(Deed),
    /// The owner says that it is done.
    Done,
    /// It is passed over.
    Pass,
    /// The climb is left.
    Leave,
}

/// A climb under way.
struct Climb<'r> {
    run: &'r Run,
    visit: &'r mut Visit,
    recorded: &'r Recorded,
    kept: Kept,
    passed: BTreeSet<RemedyId>,
    earlier: BTreeMap<String, Climbed>,
}

impl<'r> Climb<'r> {
    fn new(run: &'r Run, visit: &'r mut Visit, recorded: &'r Recorded, kept: Kept) -> Self {
        let earlier = earlier(visit);
        Self { run, visit, recorded, kept, passed: BTreeSet::new(), earlier }
    }

    /// Climbs until there is no further rung, or it is left.
    async fn climb(&mut self, outcome: &mut Outcome) {
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
        let by = match choice {
            Choice::Do(_) => By::Agent,
            Choice::Done => By::Owner,
            Choice::Pass | Choice::Leave => By::Nobody,
        };
        if let Choice::Do(deed) = choice
            && let Err(stop) = self.perform(outcome, deed).await
        {
            // What was read before it says nothing about what it left behind.
            if !stop.trouble.leaves_no_phone() {
                self.read_again(outcome).await?;
            }
            return Err(stop);
        }
        if by == By::Nobody {
            let passed = Effect { result: Helped::PassedOver, changes: vec![], gone: vec![], new: vec![] };
            let sentence = passed.sentence();
            return Ok(climbed(rung, by, began_at, &passed, sentence));
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

    async fn read_again(&mut self, outcome: &mut Outcome) -> Result<(), Stop> {
        let (mut now, kept) = self.visit.read_again().await?;
        let locked = now.stops.pop();
        self.kept = kept;
        now.job = outcome.job.take();
        now.began_at = outcome.began_at;
        now.protection = outcome.protection.take();
        now.climbed = std::mem::take(&mut outcome.climbed);
        now.stops = std::mem::take(&mut outcome.stops);
        *outcome = now;
        locked.map_or(Ok(()), Err)
    }

    /// Nothing moved, or not enough: read again, wait, or go on, as the owner likes.
    async fn wait(
        &mut self,
        rung: &Rung,
        before: &Outcome,
        outcome: &mut Outcome,
        mut effect: Effect,
    ) -> Result<Effect, Stop> {
        while matches!(effect.result, Helped::NotYet | Helped::Partly) {
            let question = "[Enter = next rung, r = read again, m = wait and measure] ";
            match self.ask(question, &["", "n", "r", "m"]).await? {
                Some("r") => self.read_again(outcome).await?,
                Some("m") => self.measure(outcome, |now| Effect::between(rung, before, now).result).await?,
                _ => return Ok(effect),
            }
            effect = Effect::between(rung, before, outcome);
            self.tell(before, outcome, &effect);
        }
        Ok(effect)
    }

    /// Reads again and again until `result` says that it helped, a line is typed, or it is known whether it is stuck.
    async fn measure(
        &mut self,
        outcome: &mut Outcome,
        result: impl Fn(&Outcome) -> Helped,
    ) -> Result<(), Stop> {
        self.say(&format!(
            "Reading the phone every minute and when it tells of news, for at most {}. Enter goes on.",
            words::duration(WAIT_AT_MOST)
        ));
        owner::forget_what_was_typed();
        let began = Instant::now();
        let mut watch = Watch::default();
        let first = result(outcome);
        loop {
            let movement = watch.take(Reading::of(&outcome.facts, &outcome.diagnosis));
            self.say(&format!("  {}", told(&movement, outcome)));
            let moved = result(outcome) != first || matches!(movement.pace, Pace::Done | Pace::Stuck);
            if moved || began.elapsed() >= WAIT_AT_MOST {
                return Ok(());
            }
            tokio::select! {
                news = self.visit.wait_for_news(READ_EVERY) => { news?; }
                true = owner::types_something(READ_EVERY * 2) => return Ok(()),
            }
            self.visit.pause(SETTLE).await?;
            self.read_again(outcome).await?;
        }
    }

    /// What the owner wants done about a rung.
    async fn choose(&mut self, outcome: &Outcome, rung: &Rung) -> Result<Choice, Stop> {
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
    async fn ask(&self, question: &str, words: &[&'static str]) -> Result<Option<&'static str>, Stop> {
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
    async fn accepted(&mut self, outcome: &mut Outcome, rung: &Rung) -> Result<Option<Rung>, Stop> {
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

    /// For a rung that can lose data: a fresh reading, the gate's word, what has to be known, and its name typed.
    async fn cleared(&mut self, outcome: &mut Outcome, rung: &Rung) -> Result<Option<Cleared>, Stop> {
        self.say("  This can lose data, so the phone is read again before it is opened ...");
        let Some(cleared) = self.cleared_now(outcome, rung).await? else { return Ok(None) };
        self.say("  The gate is open: what it could lose is kept and proven on this computer.");
        for told in &outcome.verdict.told {
            self.say(&terminal::wrapped(&format!("! {}", plain(&told.text)), 2, 80));
        }
        self.say("  idevice-fix does not do this itself; the steps are yours. Anything else than the word skips it.");
        owner::forget_what_was_typed();
        let agreed = owner::types(self.run, rung.remedy.as_str()).await;
        if self.run.cancel.is_cancelled() {
            return Err(Stop::interrupted());
        }
        if !agreed {
            return Ok(None);
        }
        if Timestamp::now().duration_since(outcome.facts.observed_at) < CLEARED_FOR {
            return Ok(Some(cleared));
        }
        self.say("  That took a while, so the phone is read once more ...");
        self.cleared_now(outcome, rung).await
    }

    /// The gate's word for the phone as it is now, if the ladder still has the rung.
    async fn cleared_now(&mut self, outcome: &mut Outcome, rung: &Rung) -> Result<Option<Cleared>, Stop> {
        self.read_again(outcome).await?;
        let cleared = match self.visit.clear(rung.remedy, outcome, &self.kept) {
            Ok(cleared) => cleared,
            Err(blocked) => {
                self.say("  It is shut now:");
                blocked.iter().for_each(|text| self.say(&format!("  - {}", plain(text))));
                return Ok(None);
            }
        };
        if outcome.ladder.rung(rung.remedy).is_none_or(|rung| rung.state != State::Do) {
            self.say("  Nothing calls for it any more.");
            return Ok(None);
        }
        Ok(Some(cleared))
    }

    async fn perform(&mut self, outcome: &mut Outcome, deed: Deed) -> Result<(), Stop> {
        match deed {
            Deed::CopyPhotos => self.protect(outcome, Wish { photos: true, ..Wish::default() }).await,
            Deed::BackUp => self.protect(outcome, Wish { backup: true, ..Wish::default() }).await,
            Deed::SetBackupPassword => backup_password::set_beside(self.run, self.visit).await,
            Deed::CloudBackupOn => self.visit.switch_cloud_backup(true).await,
            Deed::Restart => self.visit.restart().await,
            Deed::WaitAndMeasure => {
                let before = outcome.clone();
                let waits = RemedyId::WaitAndMeasureAgain;
                let rung = before.ladder.rung(waits).cloned();
                self.measure(outcome, |now| match &rung {
                    Some(rung) => Effect::between(rung, &before, now).result,
                    None => Helped::Unseen,
                })
                .await
            }
        }
    }

    async fn protect(&mut self, outcome: &mut Outcome, mut wish: Wish) -> Result<(), Stop> {
        let plan = self.visit.plan(&outcome.facts, wish).await?;
        wish.expected = plan.time();
        self.say(&format!("\n{}", plan.text()));
        if let Some(stop) = plan.obstacle() {
            return Err(stop);
        }
        let Protected { protection, stops, .. } = self.visit.protect(&outcome.facts, wish).await;
        let whole = outcome.protection.get_or_insert_default();
        whole.folder = protection.folder;
        whole.photos = protection.photos.or(whole.photos.take());
        whole.backup = protection.backup.or(whole.backup.take());
        for skipped in protection.skipped {
            if !whole.skipped.contains(&skipped) {
                whole.skipped.push(skipped);
            }
        }
        whole.notes.extend(protection.notes);
        // What was skipped is in the report; anything heavier is said.
        stops.into_iter().find(|stop| stop.trouble < Trouble::Skipped).map_or(Ok(()), Err)
    }

    /// The steps of a rung that can lose data. The gate's permission is spent on showing them: it is good for this phone,
    /// this rung and this moment.
    #[expect(clippy::needless_pass_by_value, reason = "a permission is spent, not looked at")]
    fn show_cleared(&self, outcome: &Outcome, rung: &Rung, cleared: Cleared) {
        assert!(
            cleared.remedy() == rung.remedy && cleared.udid() == self.visit.udid(),
            "the gate was asked about this rung of this phone"
        );
        self.show(outcome, rung, Detail::Steps);
    }

    fn show(&self, outcome: &Outcome, rung: &Rung, detail: Detail) {
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
    fn tell(&self, before: &Outcome, now: &Outcome, effect: &Effect) {
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

/// How the upload goes, in a sentence.
pub(super) fn told(movement: &Movement, outcome: &Outcome) -> String {
    let reason = movement.reason.and_then(|id| outcome.diagnosis.finding(id));
    plain_sentence(
        &movement.sentence(outcome.facts.observed_at, reason.map(|finding| finding.title.as_str())),
    )
}

/// A sentence that quotes a finding may be longer than a name is.
fn plain_sentence(text: &str) -> String {
    crate::facts::text::harmless(text)
}

/// What earlier visits of this phone did, by remedy, newest first. A record that cannot be read is no reason to stop.
fn earlier(visit: &Visit) -> BTreeMap<String, Climbed> {
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

/// How many earlier visits are looked into.
const EARLIER_MAX: usize = 50;
