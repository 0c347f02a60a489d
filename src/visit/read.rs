//! Reading the phone: the first sentence within seconds, then everything.

use std::time::{Duration, Instant};

use super::carry::{Failed, RETURNS_MAX, broke_too_often};
use super::kept::Kept;
use super::movement::{Movement, Reading, Watch};
use super::reach;
use super::stop::{Stop, Trouble};
use super::{Outcome, Protected, Visit};
use crate::collect;
use crate::diagnosis::{self, Severity};
use crate::facts::text::plain;
use crate::facts::{Device, Facts, Reach};
use crate::progress::{Event, Touch};
use crate::remedy::Proofs;

/// Where nothing was done, what was read no longer ago than this is not read again.
const STILL_NOW: Duration = Duration::from_secs(60);

/// Between two looks whether the phone was unlocked.
const UNLOCK_POLL: Duration = Duration::from_millis(700);

impl Visit {
    /// Reads everything, saying the first sentence as soon as there is one.
    ///
    /// # Errors
    /// The phone left for good, stays locked, or we were asked to stop.
    pub async fn read(&mut self) -> Result<Facts, Stop> {
        let mut facts = self.first_look().await?;
        self.beginning.observer.event(Event::Note(first_sentence(&facts)));
        if facts.reach == Reach::Trusted {
            self.read_rest(&mut facts).await?;
        }
        Ok(facts)
    }

    /// Reads everything, and judges it with what is kept here.
    ///
    /// # Errors
    /// As [`Visit::read`]. A phone that stays locked is no error: the outcome says so.
    pub async fn diagnose(&mut self) -> Result<Outcome, Stop> {
        Ok(self.diagnose_with_kept().await?.0)
    }

    /// As [`Visit::diagnose`], with the proofs of what is kept here.
    ///
    /// # Errors
    /// As [`Visit::read`].
    pub async fn diagnose_with_kept(&mut self) -> Result<(Outcome, Kept), Stop> {
        let facts = self.read().await?;
        let kept = self.kept().await?;
        let mut facts = facts;
        self.refine(&mut facts, &kept).await;
        let locked = locked_stop(facts.reach);
        let mut outcome = self.judge(facts, &kept);
        outcome.stops.extend(locked);
        Ok((outcome, kept))
    }

    /// Reads everything again, quietly, and judges it with what is kept here: after a rung of the ladder, or to see
    /// whether anything moves.
    ///
    /// # Errors
    /// As [`Visit::read`].
    pub async fn read_again(&mut self) -> Result<(Outcome, Kept), Stop> {
        let mut facts = self.again().await?;
        let kept = self.kept().await?;
        self.refine(&mut facts, &kept).await;
        let locked = locked_stop(facts.reach);
        let mut outcome = self.judge(facts, &kept);
        outcome.stops.extend(locked);
        outcome.ended_at = jiff::Timestamp::now();
        Ok((outcome, kept))
    }

    /// Reads again after something was done, and judges with what is proven now. If the phone cannot be read again, or
    /// nothing was done and it was only just read, the earlier facts stand.
    pub async fn conclude(&mut self, earlier: Facts, protected: Protected) -> Outcome {
        let Protected { protection, kept, mut stops } = protected;
        // Also after a part failed, or nobody entered the passcode: what was read before it may be long ago.
        let can_read = !stops.iter().any(|stop| stop.trouble.leaves_no_phone());
        // Whatever went wrong on the way may have changed what was read before.
        let still_so = stops.is_empty() && protection.left_all_as_it_was() && is_now(&earlier);
        let facts = if can_read && !still_so {
            let again = self.again().await;
            again.unwrap_or_else(|stop| {
                stops.push(stop);
                earlier
            })
        } else {
            earlier
        };
        let mut facts = facts;
        self.refine(&mut facts, &kept).await;
        let mut outcome = self.judge(facts, &kept);
        outcome.protection = Some(protection);
        outcome.stops = stops;
        outcome.ended_at = jiff::Timestamp::now();
        outcome
    }

    async fn again(&mut self) -> Result<Facts, Stop> {
        let mut facts = self.first_look().await?;
        if facts.reach == Reach::Trusted {
            self.read_rest(&mut facts).await?;
        }
        Ok(facts)
    }

    /// What is known within seconds; waits for an unlock where files are shut.
    ///
    /// # Errors
    /// As [`Visit::read`].
    pub async fn first_look(&mut self) -> Result<Facts, Stop> {
        let mut facts = self.quick().await?;
        if facts.reach == Reach::Trusted {
            return Ok(facts);
        }
        let within = self.beginning.wait;
        let (began, began_at) = (Instant::now(), jiff::Timestamp::now());
        // A phone that was not unlocked since its start sends nothing; one that is only locked does.
        let sends_nothing = facts.reach == Reach::NotUnlockedSinceBoot;
        self.observer().event(Event::PersonNeeded { touch: Touch::Unlock, within });
        while facts.reach != Reach::Trusted && began.elapsed() < within {
            tokio::select! {
                () = self.cancel().cancelled() => return Err(Stop::interrupted()),
                () = tokio::time::sleep(UNLOCK_POLL) => {}
            }
            facts = self.quick().await?;
        }
        self.observer().event(Event::PersonDone { touch: Touch::Unlock });
        if sends_nothing {
            self.leave_out(began_at);
        }
        Ok(facts)
    }

    /// What is known within seconds, locked or not.
    ///
    /// # Errors
    /// The phone left for good, or we were asked to stop.
    pub async fn quick(&mut self) -> Result<Facts, Stop> {
        self.carry(async |session| collect::quick(&session).await.map_err(failed)).await
    }

    /// Reads what the first look left. A locked phone's files stay gaps.
    async fn read_rest(&mut self, facts: &mut Facts) -> Result<(), Stop> {
        let scratch = tempfile::Builder::new().prefix("idevice-fix-").tempdir().map_err(|error| {
            Stop::new(
                Trouble::Failed,
                format!("No temporary folder can be made: {error}."),
                "Set TMPDIR to a folder with room.",
            )
        })?;
        let mut returns = 0;
        let (observer, cancel) = (std::sync::Arc::clone(&self.beginning.observer), self.cancel().clone());
        loop {
            let known = facts.clone();
            let mut begun = false;
            let read = self.carry(async |session| {
                // It left and is back: the first look at it may be hours old.
                if std::mem::replace(&mut begun, true) {
                    return Ok(None);
                }
                let mut facts = known.clone();
                let full = collect::full(&session, scratch.path(), &mut facts, observer.as_ref(), &cancel);
                full.await.map_err(failed)?;
                Ok(Some(facts))
            });
            if let Some(whole) = read.await? {
                *facts = whole;
                return Ok(());
            }
            returns += 1;
            if returns >= RETURNS_MAX {
                return Err(broke_too_often());
            }
            *facts = self.first_look().await?;
            if facts.reach != Reach::Trusted {
                return Ok(());
            }
        }
    }

    /// Takes what was just read into a watch. A standstill that the readings show becomes a fact, and what was read is
    /// judged again with it.
    pub fn watched(&mut self, watch: &mut Watch, outcome: &mut Outcome, kept: &Kept) -> Movement {
        watch.leave_out(self.unwatched.take());
        let movement = watch.take(Reading::of(&outcome.facts, &outcome.diagnosis));
        if movement.still_since().is_some() {
            movement.tell(&mut outcome.facts);
            let proofs = Proofs { photos: kept.photos.as_ref(), backup: kept.backup.as_ref() };
            outcome.judge_again(&proofs, &self.beginning.consent, &self.moment());
        }
        movement
    }

    /// Judges what was read, with what is proven to be kept here.
    #[must_use]
    pub fn judge(&self, mut facts: Facts, kept: &Kept) -> Outcome {
        collect::kept(&mut facts, kept.photos.as_ref(), kept.backup.as_ref());
        let proofs = Proofs { photos: kept.photos.as_ref(), backup: kept.backup.as_ref() };
        let mut outcome = Outcome::judged(facts, &proofs, &self.beginning.consent, &self.moment());
        outcome.began_at = self.began_at;
        outcome.simulated = self.beginning.simulated;
        outcome
    }
}

/// What was read is what is the case.
fn is_now(facts: &Facts) -> bool {
    let age = jiff::Timestamp::now().duration_since(facts.observed_at);
    Duration::try_from(age).is_ok_and(|age| age <= STILL_NOW)
}

/// The stop that a phone is whose files are shut by its lock.
pub(super) fn locked_stop(reach: Reach) -> Option<Stop> {
    let cause = match reach {
        Reach::Trusted => return None,
        Reach::NotUnlockedSinceBoot => {
            "The phone has not been unlocked since it was started, so its photos cannot be read."
        }
        _ => "The phone is locked, so its photos cannot be read.",
    };
    Some(Stop::new(Trouble::PersonNeeded, cause, "Unlock it, then run this again."))
}

fn failed(error: collect::Error) -> Failed {
    match error {
        collect::Error::Cancelled => Failed::Finally(Stop::interrupted()),
        collect::Error::Lost(error) => Failed::Broke(reach::lockdown_stop(&error)),
    }
}

/// The device in a few words: `Anna's iPhone (iPhone 12, iOS 18.4.1)`.
#[must_use]
pub fn device_words(device: Option<&Device>) -> String {
    let Some(device) = device else { return "The phone".to_owned() };
    let name = plain(device.name.as_deref().unwrap_or("The phone"));
    let model = device.model.as_ref().or(device.product_type.as_ref()).map(|model| plain(model));
    let version = device.ios_version.as_ref().map(|version| format!("iOS {}", plain(version)));
    let about: Vec<String> = model.into_iter().chain(version).collect();
    if about.is_empty() { name } else { format!("{name} ({})", about.join(", ")) }
}

/// What can be said before the library is read.
fn first_sentence(facts: &Facts) -> String {
    let device = device_words(facts.device.as_ref());
    let diagnosis = diagnosis::diagnose(facts);
    match diagnosis.findings.first().filter(|finding| finding.severity != Severity::Notice) {
        Some(finding) => format!("{device}: {}", finding.title),
        None => format!("{device}: nothing is wrong at first sight; now its photo library is read."),
    }
}

/// The facts and the judgement of a phone that could not be reached, or of none.
#[must_use]
pub fn unreached(unreached: &super::Unreached, simulated: bool) -> Outcome {
    let mut facts = match unreached.reach {
        Some(reach) => collect::unreached(unreached.device.clone(), reach),
        None => {
            let mut facts = Facts::default();
            for group in [
                "battery",
                "storage",
                "icloud_photos",
                "icloud_backup",
                "local_backup",
                "library",
                "settings",
            ] {
                facts.gap(group, unreached.stop.cause.clone());
            }
            facts
        }
    };
    facts.observed_at = jiff::Timestamp::now();
    let moment = crate::remedy::Moment { now: facts.observed_at, plugged_in_since: None };
    let consent = crate::remedy::Consent::default();
    let mut outcome = Outcome::judged(facts, &Proofs::default(), &consent, &moment);
    outcome.simulated = simulated;
    outcome.stops.push(unreached.stop.clone());
    outcome
}
