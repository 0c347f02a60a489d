//! What a climb does itself, and how it sees whether a rung helped: reading again, waiting, measuring.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::{backup_password, owner};
use super::Climb;
use super::asking::told;
use crate::ladder::Rung;
use crate::remedy::RemedyId;
use crate::visit::climb::{Deed, Effect, Helped};
use crate::visit::movement::{Pace, Reading, STILL_AFTER, Watch};
use crate::visit::{Outcome, Protected, Stop, Trouble, Wish, words};

/// How often the phone is read again while it is waited for.
const READ_EVERY: Duration = Duration::from_secs(60);
/// How long it is waited for at most: then two readings are far enough apart to tell waiting from stuck.
const WAIT_AT_MOST: Duration = Duration::from_secs(STILL_AFTER.as_secs().unsigned_abs() + 30);
/// Several pieces of news come together.
const SETTLE: Duration = Duration::from_secs(2);

impl Climb<'_> {
    pub(super) async fn read_again(&mut self, outcome: &mut Outcome) -> Result<(), Stop> {
        let (mut now, kept) = self.visit.read_again().await?;
        let locked = now.stops.pop();
        self.kept = kept;
        now.job = outcome.job.take();
        now.began_at = outcome.began_at;
        now.protection = outcome.protection.take();
        now.climbed = std::mem::take(&mut outcome.climbed);
        now.stops = std::mem::take(&mut outcome.stops);
        *outcome = now;
        self.visit.watched(&mut self.watch, outcome, &self.kept);
        locked.map_or(Ok(()), Err)
    }

    /// Nothing moved, or not enough: read again, wait, or go on, as the owner likes.
    pub(super) async fn wait(
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
        // What was read just now is the first reading: what went before is no part of this wait.
        let mut watch = Watch::default();
        let first = result(outcome);
        let mut left_out = self.watch.left_out();
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
            watch.leave_out(self.watch.left_out() - left_out);
            left_out = self.watch.left_out();
        }
    }

    /// Does it; `false`: it was not begun after all. A phone that is kept busy by it is not stuck, so its time is no part
    /// of a standstill; a wait is one.
    pub(super) async fn perform(&mut self, outcome: &mut Outcome, deed: Deed) -> Result<bool, Stop> {
        let began_at = Timestamp::now();
        let done = self.done(outcome, deed).await;
        if deed != Deed::WaitAndMeasure {
            self.visit.leave_out(began_at);
        }
        done
    }

    async fn done(&mut self, outcome: &mut Outcome, deed: Deed) -> Result<bool, Stop> {
        match deed {
            Deed::CopyPhotos => return self.protect(outcome, Wish { photos: true, ..Wish::default() }).await,
            Deed::BackUp => return self.protect(outcome, Wish { backup: true, ..Wish::default() }).await,
            Deed::SetBackupPassword => backup_password::set_beside(self.run, self.visit).await?,
            Deed::CloudBackupOn => self.visit.switch_cloud_backup(true).await?,
            Deed::Restart => self.visit.restart().await?,
            Deed::WaitAndMeasure => {
                let before = outcome.clone();
                let waits = RemedyId::WaitAndMeasureAgain;
                let rung = before.ladder.rung(waits).cloned();
                self.measure(outcome, |now| match &rung {
                    Some(rung) => Effect::between(rung, &before, now).result,
                    None => Helped::Unseen,
                })
                .await?;
            }
        }
        Ok(true)
    }

    async fn protect(&mut self, outcome: &mut Outcome, mut wish: Wish) -> Result<bool, Stop> {
        let plan = self.visit.plan(&outcome.facts, wish).await?;
        wish.expected = plan.time();
        self.say(&format!("\n{}", plan.text()));
        if let Some(stop) = plan.obstacle() {
            return Err(stop);
        }
        if self
            .ask("[Enter = begin, s = skip] ", &["", "y", "s", "n"])
            .await?
            .is_none_or(|said| matches!(said, "s" | "n"))
        {
            return Ok(false);
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
        stops.into_iter().find(|stop| stop.trouble < Trouble::Skipped).map_or(Ok(true), Err)
    }
}
