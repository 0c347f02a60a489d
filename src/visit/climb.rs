//! Climbing the ladder: which rung is next, what the agent does of it itself, and what changed afterwards.
//!
//! Who runs the visit asks the owner; here are the values and the deeds. A rung that can lose data is never done by the
//! agent: its steps are shown for a [`Cleared`] that the gate gave for the phone as it is at that moment.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use plist::Value as Plist;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::kept::Kept;
use super::stop::{Stop, Trouble};
use super::{Outcome, Visit, reach};
use crate::diagnosis::Severity;
use crate::facts::text::plain;
use crate::ladder::{Rung, State};
use crate::lockdown::Session;
use crate::progress::{Event, Phase};
use crate::remedy::gate::{self, Cleared};
use crate::remedy::{Accept, Proofs, ReasonId, RemedyId, Risk};
use crate::services::{diagnostics, notification_proxy};

/// A phone that restarts is back after about a minute; one that updates its caches takes longer.
const RESTART_WAIT: Duration = Duration::from_secs(300);
/// A phone that was asked to restart leaves the bus within this.
const LEAVES_WITHIN: Duration = Duration::from_secs(30);
/// The lockdown domain and key of the switch of iCloud Backup.
const BACKUP_DOMAIN: &str = "com.apple.mobile.backup";
const CLOUD_BACKUP: &str = "CloudBackupEnabled";
/// What a phone posts when something that a diagnosis reads has changed.
const NEWS: [&str; 6] = [
    "com.apple.mobile.lockdown.disk_usage_changed",
    "com.apple.mobile.lockdown.device_name_changed",
    "com.apple.mobile.backup.domain_changed",
    "com.apple.mobile.data_sync.domain_changed",
    "com.apple.mobile.lockdown.activation_state",
    "com.apple.itunes-client.syncResumeRequest",
];

/// A rung as it was climbed, for the record and the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Climbed {
    /// The id of the remedy.
    pub remedy: String,
    /// What it is, in one line.
    pub title: String,
    /// Who did it.
    pub by: By,
    /// When it began.
    pub began_at: Timestamp,
    /// When the phone was read again, or it was left.
    pub ended_at: Timestamp,
    /// What came of it.
    pub result: Helped,
    /// What came of it, in one sentence. Text from the phone may be in it.
    pub sentence: String,
    /// The facts that changed, of those that show whether it helped.
    pub changes: Vec<Change>,
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// This program, since the owner said so.
    Agent,
    /// The owner, on the phone.
    Owner,
    /// Nobody: it was passed over.
    Nobody,
}

/// What came of a rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Helped {
    /// What called for it is gone.
    Yes,
    /// Something that it should change did.
    Partly,
    /// Nothing changed so far.
    NotYet,
    /// There is nothing to be seen over USB.
    Unseen,
    /// It could not be done.
    Failed,
    /// It was passed over.
    PassedOver,
}

/// A fact that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its dotted name.
    pub fact: String,
    /// Its value before; `null` when it was unknown or none.
    pub before: Value,
    /// Its value now.
    pub after: Value,
}

/// What a rung came to, told by the readings before and after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What came of it.
    pub result: Helped,
    /// The facts that changed, of those that show it.
    pub changes: Vec<Change>,
    /// Titles of the findings that are gone. Text from the phone may be in them.
    pub gone: Vec<String>,
    /// Titles of the findings that are new.
    pub new: Vec<String>,
}

impl Effect {
    /// Compares two readings for the sake of one rung.
    #[must_use]
    pub fn between(rung: &Rung, before: &Outcome, after: &Outcome) -> Self {
        let then = serde_json::to_value(&before.facts).expect("facts are plain data");
        let now = serde_json::to_value(&after.facts).expect("facts are plain data");
        let changes: Vec<Change> = rung
            .helped_facts
            .iter()
            .filter_map(|fact| {
                let pointer = format!("/{}", fact.replace('.', "/"));
                let of = |facts: &Value| facts.pointer(&pointer).cloned().unwrap_or(Value::Null);
                let (before, after) = (of(&then), of(&now));
                (before != after).then(|| Change { fact: (*fact).to_owned(), before, after })
            })
            .collect();
        let titles = |of: &Outcome, other: &Outcome| {
            let missing = of.diagnosis.findings.iter().filter(|f| other.diagnosis.finding(f.id).is_none());
            missing.map(|finding| finding.title.clone()).collect()
        };
        let done = after.ladder.rung(rung.remedy).is_none_or(|rung| rung.state == State::Done);
        // What could not be read calls for nothing either.
        let seen = rung.helped_facts.iter().all(|fact| after.facts.gap_of(fact).is_none());
        let result = match () {
            () if done && seen => Helped::Yes,
            () if !changes.is_empty() => Helped::Partly,
            () if rung.helped_facts.is_empty() => Helped::Unseen,
            () => Helped::NotYet,
        };
        Self { result, changes, gone: titles(before, after), new: titles(after, before) }
    }

    /// In one sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self.result {
            Helped::Yes => "It helped: what called for it is gone.".to_owned(),
            Helped::Partly => "Something moved; what called for it is still there.".to_owned(),
            Helped::NotYet => "Nothing has changed yet.".to_owned(),
            Helped::Unseen => "What it does cannot be seen over the cable.".to_owned(),
            Helped::Failed => "It could not be done.".to_owned(),
            Helped::PassedOver => "Passed over.".to_owned(),
        }
    }
}

/// What the agent does of a rung itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Copy the photos.
    CopyPhotos,
    /// Make a local backup.
    BackUp,
    /// Set a backup password, which the owner chooses.
    SetBackupPassword,
    /// Switch iCloud Backup on.
    CloudBackupOn,
    /// Restart the phone.
    Restart,
    /// Read again until something moves.
    WaitAndMeasure,
}

impl Deed {
    /// The deed of a remedy, if there is one. None of them can lose data.
    #[must_use]
    pub const fn of(remedy: RemedyId) -> Option<Self> {
        match remedy {
            RemedyId::CopyPhotos => Some(Self::CopyPhotos),
            RemedyId::BackUp => Some(Self::BackUp),
            RemedyId::SetBackupPassword => Some(Self::SetBackupPassword),
            RemedyId::TurnOnIcloudBackup => Some(Self::CloudBackupOn),
            RemedyId::RestartDevice => Some(Self::Restart),
            RemedyId::WaitAndMeasureAgain => Some(Self::WaitAndMeasure),
            _ => None,
        }
    }
}

/// The rung to stand on next: the lowest that is open, or that a statement by name would open, and that was not passed.
#[must_use]
pub fn next_rung<'o>(outcome: &'o Outcome, passed: &BTreeSet<RemedyId>) -> Option<&'o Rung> {
    outcome.ladder.rungs.iter().find(|rung| {
        !passed.contains(&rung.remedy)
            && match rung.state {
                State::Do | State::Ask => true,
                State::Blocked => !statements(rung).is_empty(),
                State::Done => false,
            }
    })
}

/// Whether there is anything to climb for: an open rung that treats more than a note.
#[must_use]
pub fn is_worth_climbing(outcome: &Outcome) -> bool {
    outcome.ladder.rungs.iter().any(|rung| {
        matches!(rung.state, State::Do | State::Ask)
            && rung.because.iter().any(|id| {
                outcome.diagnosis.finding(*id).is_some_and(|finding| finding.severity != Severity::Notice)
            })
    })
}

/// The statements by name that would open a blocked rung; empty where anything else keeps it shut too.
#[must_use]
pub fn statements(rung: &Rung) -> Vec<Accept> {
    use crate::diagnosis::FindingId;
    let accepts = rung.blocked_by.iter().map(|id| match id {
        ReasonId::BackupTooOld => Some(Accept::BackupAge),
        ReasonId::Finding(FindingId::LocalBackupNotEncrypted) => Some(Accept::UnencryptedBackup),
        ReasonId::Finding(FindingId::FindMyOn) | ReasonId::FindMyUnknown => Some(Accept::ActivationLock),
        _ => None,
    });
    let accepts: Option<BTreeSet<Accept>> = accepts.collect();
    accepts.unwrap_or_default().into_iter().collect()
}

impl Visit {
    /// Asks the gate about a rung, for the phone as these facts and proofs, just read, show it.
    ///
    /// # Errors
    /// Every demand that does not hold, as sentences.
    pub fn clear(&self, remedy: RemedyId, read: &Outcome, kept: &Kept) -> Result<Cleared, Vec<String>> {
        debug_assert!(remedy.risk() >= Risk::Data, "only what can lose data needs clearing");
        let proofs = Proofs { photos: kept.photos.as_ref(), backup: kept.backup.as_ref() };
        gate::clear(remedy, &read.facts, &proofs, &self.beginning.consent, &self.moment())
            .map_err(|blocked| blocked.into_iter().map(|demand| demand.text).collect())
    }

    /// Restarts the phone and waits until it is back and unlocked.
    ///
    /// # Errors
    /// It refuses, stays away, or nobody unlocks it.
    pub async fn restart(&mut self) -> Result<(), Stop> {
        self.ask_to_restart().await?;
        let (observer, cancel) = (std::sync::Arc::clone(&self.beginning.observer), self.cancel().clone());
        observer.event(Event::Note("The phone restarts; it asks for its passcode afterwards.".to_owned()));
        observer.event(Event::Began { phase: Phase::Reach, bytes_total: None, items_total: None });
        let back = reach::after_a_restart(
            self.beginning.muxer.as_ref(),
            &self.attached,
            LEAVES_WITHIN,
            RESTART_WAIT,
            &cancel,
        );
        let back = back.await;
        observer.event(Event::Ended { phase: Phase::Reach });
        self.take_up(back?).await
    }

    /// Asks the phone to restart, and waits for nothing.
    ///
    /// # Errors
    /// It refuses.
    pub async fn ask_to_restart(&self) -> Result<(), Stop> {
        diagnostics::restart(self.session()).await.map_err(|error| {
            let cause = format!("The phone does not restart: {}.", plain(&error.to_string()));
            Stop::new(Trouble::Failed, cause, "Restart it with its buttons.")
        })
    }

    /// Turns iCloud Backup on or off, and looks whether the phone took it.
    ///
    /// # Errors
    /// It refuses, or it says afterwards that it did not.
    pub async fn switch_cloud_backup(&mut self, on: bool) -> Result<(), Stop> {
        switch_cloud_backup(self.session(), on).await
    }

    /// After a deed failed: if the phone left meanwhile, waits for its return. Gives the trouble back where the phone is
    /// there (again), so that the next thing can be tried.
    ///
    /// # Errors
    /// The phone is gone for good, or we were asked to stop.
    pub async fn still_there(&mut self, stop: Stop) -> Result<Stop, Stop> {
        let muxer = std::sync::Arc::clone(&self.beginning.muxer);
        let broken = reach::after_a_break(
            muxer.as_ref(),
            &self.attached,
            self.return_wait,
            self.observer(),
            self.cancel(),
        );
        match broken.await {
            reach::Broken::StillThere => Ok(stop),
            reach::Broken::Back(back) => self.take_up(back).await.map(|()| stop),
            reach::Broken::Over(over) => Err(over),
        }
    }

    /// Leaves the phone alone for a while.
    ///
    /// # Errors
    /// We were asked to stop.
    pub async fn pause(&self, length: Duration) -> Result<(), Stop> {
        tokio::select! {
            () = self.cancel().cancelled() => Err(Stop::interrupted()),
            () = tokio::time::sleep(length) => Ok(()),
        }
    }

    /// Waits until the phone tells of news, or `at_most` has passed; a phone that tells nothing is only waited for.
    ///
    /// # Errors
    /// We were asked to stop.
    pub async fn wait_for_news(&self, at_most: Duration) -> Result<bool, Stop> {
        let cancel = self.cancel().clone();
        let news = async {
            match notification_proxy::observe(self.session(), &NEWS).await {
                Ok(mut heard) => {
                    if heard.recv().await.is_none() {
                        std::future::pending::<()>().await;
                    }
                }
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cancel.cancelled() => Err(Stop::interrupted()),
            () = tokio::time::sleep(at_most) => Ok(false),
            () = news => Ok(true),
        }
    }
}

async fn switch_cloud_backup(session: &Session, on: bool) -> Result<(), Stop> {
    let refused = |why: &str| {
        let word = if on { "on" } else { "off" };
        Stop::new(
            Trouble::Failed,
            format!("The phone did not turn iCloud Backup {word}: {why}."),
            "Do it on the phone: Settings \u{203a} [your name] \u{203a} iCloud \u{203a} iCloud Backup.",
        )
    };
    let set = session.set_value(Some(BACKUP_DOMAIN), CLOUD_BACKUP, Plist::Boolean(on)).await;
    set.map_err(|error| match error.refusal() {
        Some(refusal) => refused(&plain(&refusal.to_string())),
        None => reach::lockdown_stop(&error),
    })?;
    let said = session.value(Some(BACKUP_DOMAIN), Some(CLOUD_BACKUP)).await;
    match said.map_err(|error| reach::lockdown_stop(&error))? {
        Plist::Boolean(now) if now == on => Ok(()),
        _ => Err(refused("it says afterwards that it is as it was")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::FindingId;
    use crate::facts::{Fact, Facts, Source};
    use crate::remedy::catalogue::REMEDIES;
    use crate::remedy::{Consent, Moment};

    fn judged(change: impl FnOnce(&mut Facts)) -> Outcome {
        let mut facts = Facts { device: Some(crate::facts::Device::default()), ..Facts::default() };
        facts.library.counts.waiting = Some(30);
        facts.library.counts.failed = Some(0);
        facts.icloud_photos.enabled = Some(Fact::new(true, Source::new("t", "t")));
        facts.icloud_backup.enabled = Some(Fact::new(true, Source::new("t", "t")));
        change(&mut facts);
        let moment = Moment { now: Timestamp::UNIX_EPOCH, plugged_in_since: None };
        Outcome::judged(facts, &Proofs::default(), &Consent::default(), &moment)
    }

    fn off(facts: &mut Facts) {
        facts.icloud_backup.enabled = Some(Fact::new(false, Source::new("t", "t")));
    }

    #[test]
    fn a_rung_helped_when_what_called_for_it_is_gone() {
        let (before, after) = (judged(off), judged(|_| {}));
        let rung = before.ladder.rung(RemedyId::TurnOnIcloudBackup).unwrap();
        let effect = Effect::between(rung, &before, &after);
        assert_eq!(effect.result, Helped::Yes);
        assert_eq!(effect.changes[0].fact, "icloud_backup.enabled");
        assert_eq!((&effect.changes[0].before, &effect.changes[0].after), (&false.into(), &true.into()));
        assert!(!effect.gone.is_empty());
        let same = Effect::between(rung, &before, &judged(off));
        assert_eq!((same.result, same.changes.len()), (Helped::NotYet, 0));
    }

    #[test]
    fn fewer_waiting_is_partly() {
        let (before, after) = (judged(|_| {}), judged(|facts| facts.library.counts.waiting = Some(12)));
        let mut rung = before.ladder.rung(RemedyId::BackUp).unwrap().clone();
        rung.helped_facts = &["library.waiting"];
        let effect = Effect::between(&rung, &before, &after);
        assert_eq!(effect.result, Helped::Partly);
        assert_eq!(effect.changes[0].fact, "library.waiting");
    }

    #[test]
    fn passed_rungs_are_not_offered_again_and_the_order_is_the_ladders() {
        let outcome = judged(off);
        let mut passed = BTreeSet::new();
        let mut seen = Vec::new();
        while let Some(rung) = next_rung(&outcome, &passed) {
            seen.push(rung.rung);
            assert!(passed.insert(rung.remedy));
        }
        assert!(seen.len() >= 3 && seen.is_sorted(), "{seen:?}");
    }

    #[test]
    fn what_a_statement_cannot_open_is_not_offered() {
        let mut rung = judged(|_| {}).ladder.rungs[0].clone();
        rung.state = State::Blocked;
        rung.blocked_by = vec![FindingId::FindMyOn.into(), ReasonId::BackupTooOld];
        assert_eq!(statements(&rung), [Accept::BackupAge, Accept::ActivationLock]);
        rung.blocked_by.push(ReasonId::OriginalsOnlyHere);
        assert!(statements(&rung).is_empty());
        rung.blocked_by.clear();
        assert!(statements(&rung).is_empty());
    }

    #[test]
    fn no_deed_can_lose_data_and_every_automatic_rung_has_one() {
        for remedy in REMEDIES {
            assert!(Deed::of(remedy.id).is_none() || remedy.id.risk() <= Risk::Disruptive, "{}", remedy.id);
            // Pairing again is what reaching the phone does by itself.
            if remedy.automatic && remedy.id != RemedyId::PairAgain {
                assert!(Deed::of(remedy.id).is_some(), "{}", remedy.id);
            }
        }
    }
}
