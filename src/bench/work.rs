//! What is done with one phone that was plugged in, as far as the settings allow, in a visit that is recorded.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::happening::{Happening, is_worth_telling};
use super::settings::OnPlug;
use super::stays::Worked;
use super::{COMMAND, Tell};
use crate::collect;
use crate::collect::bus::Host;
use crate::facts::{Device, Reach};
use crate::job::{Ending, Jobs};
use crate::lockdown::Phone;
use crate::lockdown::pairing::{self, Attempt};
use crate::progress::{Both, CancellationToken, Event, Observer};
use crate::record::{Recorded, Recorder, record_stop};
use crate::remedy::Consent;
use crate::usbmux::{self, Muxer, Udid};
use crate::visit::reach::WAIT_WITH_PERSON;
use crate::visit::{Beginning, Outcome, Stop, Trouble, Visit, Wish, device_words, unreached};

/// How long a phone may take to say whether it trusts this computer.
const ASK_WAIT: Duration = Duration::from_secs(5);
/// A phone that was just plugged in may not answer at once.
const TRIES: u32 = 3;
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The step of the record in which a phone is asked who it is.
const IDENTIFY: &str = "identify";

/// The work that is to be done.
pub(super) struct Order {
    pub(super) muxer: Arc<dyn Muxer>,
    pub(super) udid: Udid,
    pub(super) dest: PathBuf,
    pub(super) jobs: Jobs,
    pub(super) on_plug: OnPlug,
    pub(super) simulated: bool,
    /// Only if the phone lets us in without anybody being asked.
    pub(super) quietly: bool,
    pub(super) tell: Tell,
    pub(super) cancel: CancellationToken,
}

impl Order {
    /// Does it. Whatever comes of it is in the record and was told.
    pub(super) async fn carry_out(self) -> Worked {
        let Some(phone) = self.found().await else { return Worked::Gone };
        if self.quietly && !lets_us_in(&phone).await {
            return Worked::Shut;
        }
        let worked = tokio::select! {
            () = self.cancel.cancelled(), if self.on_plug == OnPlug::Identify => return Worked::Stopped,
            worked = self.recorded(&phone) => worked,
        };
        match worked {
            _ if self.cancel.is_cancelled() => Worked::Stopped,
            Ok(worked) => worked,
            Err((stop, worked)) => {
                (self.tell)(&Happening::Trouble(format!("{}: {stop}", self.udid())));
                // The disk is full, say: that may pass.
                worked
            }
        }
    }

    /// The phone by the number that it has now: while this waited for its turn it may have come back with another one, and
    /// its own may be another phone's. `None`: the muxer does not list it.
    async fn found(&self) -> Option<Phone> {
        for number in 1.. {
            if let Some(phone) = self.listed().await.ok().flatten() {
                return Some(phone);
            }
            if number == TRIES {
                break;
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
        None
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// The muxer says nothing of any phone.
    async fn listed(&self) -> Result<Option<Phone>, usbmux::Error> {
        let devices = self.muxer.devices().await?;
        let attached = devices.into_iter().find(|device| device.udid == self.udid);
        Ok(attached.map(|attached| Phone { muxer: Arc::clone(&self.muxer), attached }))
    }

    fn udid(&self) -> &Udid {
        &self.udid
    }

    async fn recorded(&self, phone: &Phone) -> Result<Worked, (Stop, Worked)> {
        let device = collect::stranger(phone).await;
        let recorded = Arc::new(self.open(&device).map_err(|stop| (stop, Worked::Hindered))?);
        let ending = match self.on_plug {
            OnPlug::Identify => {
                let identified = self.identify(&device, &recorded).await;
                identified.map_err(|stop| (stop, Worked::Hindered))?
            }
            OnPlug::Diagnose | OnPlug::Protect => {
                self.visit(&recorded).await.map_err(|stop| (stop, Worked::Spoilt))?
            }
        };
        let Some(ending) = ending else { return Ok(Worked::Gone) };
        let waits = [Trouble::PersonNeeded, Trouble::NoSpace].map(Trouble::exit_status);
        let waits = waits.contains(&ending.exit_status);
        let job = recorded.job().id().to_owned();
        (self.tell)(&Happening::Settled { udid: self.udid().clone(), job, ending });
        Ok(if waits { Worked::Waits } else { Worked::Settled })
    }

    /// The visit that is open, or a new one.
    fn open(&self, device: &Device) -> Result<Recorded, Stop> {
        let trouble = |error| record_stop(&error);
        let udid = self.udid().clone();
        let open = self.jobs.open_visits(COMMAND).map_err(trouble)?;
        let job = match open.iter().rev().find(|row| row.udid == udid.as_str()) {
            Some(row) => {
                let job = self.jobs.take_up(row).map_err(trouble)?;
                if !self.quietly {
                    job.log("the visit goes on").map_err(trouble)?;
                    (self.tell)(&Happening::Continued { udid, job: job.id().to_owned() });
                }
                job
            }
            None => {
                let job = self.jobs.begin(&udid, device, COMMAND, self.simulated).map_err(trouble)?;
                let device = device_words(Some(device));
                (self.tell)(&Happening::Began { udid, job: job.id().to_owned(), device });
                job
            }
        };
        if let Some(port) = Host::system().port_of(self.udid()) {
            job.at_port(&port).map_err(trouble)?;
        }
        Ok(Recorded::of(job))
    }

    /// Asks who it is and whether it trusts this computer; nobody is asked for anything. `None`: it left.
    async fn identify(&self, device: &Device, recorded: &Recorded) -> Result<Option<Ending>, Stop> {
        let trouble = |error| record_stop(&error);
        let job = recorded.job();
        job.step_began(IDENTIFY).map_err(trouble)?;
        let reach = self.reach().await;
        let words = device_words(Some(device));
        let (exit_status, sentence) = match reach {
            None if !self.is_there().await => return Ok(None),
            None => (Trouble::Failed.exit_status(), format!("{words} does not answer.")),
            Some(reach) => (0, format!("{words}: {}.", reach_words(reach))),
        };
        let facts = serde_json::json!({"device": device, "reach": reach});
        let facts = serde_json::to_vec_pretty(&facts).expect("facts are plain data");
        job.keep("facts.json", &facts).map_err(trouble)?;
        job.step_ended(IDENTIFY, &sentence).map_err(trouble)?;
        let ending = Ending { exit_status, sentence, photos_verdict: None };
        job.settled(&ending).map_err(trouble)?;
        Ok(Some(ending))
    }

    /// How far a phone lets us in; `None`: it does not answer.
    async fn reach(&self) -> Option<Reach> {
        for _ in 0..TRIES {
            match self.listed().await {
                Ok(Some(phone)) => match timeout(ASK_WAIT, pairing::attempt(&phone)).await {
                    Ok(Ok(Attempt::Trusted(_))) => return Some(Reach::Trusted),
                    Ok(Ok(Attempt::Not(obstacle))) => return Some(collect::reach_of(&obstacle)),
                    Ok(Err(error)) => tracing::debug!(%error, "a phone that was plugged in does not answer"),
                    Err(_) => tracing::debug!("a phone that was plugged in does not answer in time"),
                },
                // Nobody else's turn waits for one that has left already.
                Ok(None) => return None,
                Err(error) => tracing::debug!(%error, "the muxer does not answer"),
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
        None
    }

    async fn is_there(&self) -> bool {
        self.listed().await.is_ok_and(|phone| phone.is_some())
    }

    /// A whole visit. `None`: the phone left and did not come back.
    async fn visit(&self, recorded: &Arc<Recorded>) -> Result<Option<Ending>, Stop> {
        let recorder = Arc::new(Recorder::default());
        recorder.keep_in(recorded);
        let telling = Arc::new(Telling { udid: self.udid().clone(), tell: Arc::clone(&self.tell) });
        let mut outcome = match self.read_and_protect(Arc::new(Both(recorder, telling))).await {
            Ok(outcome) => outcome,
            Err(stop) if self.cancel.is_cancelled() || stop.trouble == Trouble::NoDevice => return Ok(None),
            Err(stop) => {
                let exit_status = stop.trouble.exit_status();
                let ending = Ending { exit_status, sentence: stop.to_string(), photos_verdict: None };
                recorded.job().settled(&ending).map_err(|error| record_stop(&error))?;
                return Ok(Some(ending));
            }
        };
        let left = outcome.stops.iter().any(|stop| stop.trouble == Trouble::NoDevice);
        // What was found and done until then is kept, also when the phone left.
        let ending = recorded.settle(&mut outcome)?;
        Ok((!left && !self.cancel.is_cancelled()).then_some(ending))
    }

    async fn read_and_protect(&self, observer: Arc<dyn Observer>) -> Result<Outcome, Stop> {
        let beginning = Beginning {
            muxer: Arc::clone(&self.muxer),
            on_bus: Vec::new(),
            udid: Some(self.udid().to_string()),
            dest: self.dest.clone(),
            wait: WAIT_WITH_PERSON,
            simulated: self.simulated,
            consent: Consent::default(),
            password: None,
            observer,
            cancel: self.cancel.clone(),
        };
        let mut visit = match Visit::begin(beginning).await {
            Ok(visit) => visit,
            Err(why) if why.reach.is_none() => return Err(why.stop),
            Err(why) => return Ok(unreached(&why, self.simulated)),
        };
        let mut outcome = visit.diagnose().await?;
        if self.on_plug != OnPlug::Protect || !outcome.stops.is_empty() {
            return Ok(outcome);
        }
        let mut wish = Wish { photos: true, backup: true, ..Wish::default() };
        let plan = visit.plan(&outcome.facts, wish).await?;
        if let Some(obstacle) = plan.obstacle() {
            outcome.stops.push(obstacle);
            return Ok(outcome);
        }
        wish.expected = plan.time();
        let protected = visit.protect(&outcome.facts, wish).await;
        Ok(visit.conclude(outcome.facts, protected).await)
    }
}

/// Whether there is a session to be had without asking anybody.
async fn lets_us_in(phone: &Phone) -> bool {
    matches!(timeout(ASK_WAIT, pairing::attempt(phone)).await, Ok(Ok(Attempt::Trusted(_))))
}

/// How far a phone lets us in, for people.
fn reach_words(reach: Reach) -> &'static str {
    match reach {
        Reach::Trusted => "it trusts this computer",
        Reach::NotTrusted => "it does not trust this computer yet",
        Reach::TrustPending => "it asks whether to trust this computer",
        Reach::TrustDenied => "trust was denied on it",
        Reach::StalePairing => "it does not accept this computer's earlier pairing any more",
        Reach::KeyMismatch => "it does not hold the key that was paired",
        Reach::KeyChanged => "it shows another key than the one that was paired",
        Reach::Locked => "it is locked",
        Reach::NotUnlockedSinceBoot => "it has not been unlocked since it was started",
        Reach::PairingForbidden => "its management forbids pairing",
        Reach::RecoveryMode | Reach::DfuMode => "iOS does not run on it",
        Reach::UsbRestricted => "it charges only, until it is unlocked",
        Reach::HeldByOtherProgram => "another program holds it",
        Reach::NoPermission | Reach::NoUsbmux => "it cannot be reached from here",
    }
}

/// Tells the bench what a visit tells.
struct Telling {
    udid: Udid,
    tell: Tell,
}

impl Observer for Telling {
    fn event(&self, event: Event) {
        if is_worth_telling(&event) {
            (self.tell)(&Happening::Told { udid: self.udid.clone(), event });
        }
    }
}
