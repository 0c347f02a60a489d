//! Copies what a plan names: many files in flight, each exact, all durable in batches, and a clean end whatever happens.
//!
//! What the phone refuses is listed and the rest goes on. When the connection dies, a new one goes on where the old one
//! ended, asking one thing at a time if several were in flight; a file that by itself ends two connections is listed like
//! a refused one, provided that the others can be copied.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use super::commit::{Committer, Durable};
use super::fetch::{Fetch, Fetched};
use super::partial::Partials;
use super::plan::Plan;
use super::sink::Sink;
use super::store::{self, Store};
use crate::afc::{self, Afc, Dial, Settings};
use crate::progress::{CancellationToken, Event, Observer, Phase};

/// Files that are worked on at once. The connection holds far fewer handles and bounds the bytes that wait: these many
/// have been received and wait for the disk while it pauses, as it does whenever a batch is made durable.
const FILES_AT_ONCE: usize = 1024;

/// New connections after one has died, in one pull.
const REDIALS_MAX: usize = 8;

/// Connections one after the other that brought not one file: then the phone is at fault, not a file.
const FRUITLESS_MAX: usize = 3;

/// How long a phone may be silent on the connections after a fruitless one: a person waits for the answer.
const FRUITLESS_WAIT: Duration = Duration::from_secs(10);

/// Notes that are kept; more are only told.
const NOTES_MAX: usize = 1000;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// An item that could not be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The phone's path; empty for what has none. Text from the phone.
    pub path: String,
    /// Why, in plain words.
    pub reason: String,
}

/// How a pull ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ended {
    /// Everything in the plan was tried.
    #[default]
    Complete,
    /// The time that it was given is over.
    Budget,
    /// It was asked to stop.
    Cancelled,
    /// It failed; the error says how.
    Failed,
}

/// What a pull did. What it counts is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulled {
    /// How it ended.
    pub ended: Ended,
    /// Files that became part of the copy.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of photos that came over the cable, also those of files that were read twice or cut off.
    pub received_bytes: u64,
    /// Bytes of interrupted files that were here already, and did not come again.
    pub resumed_bytes: u64,
    /// What could not be copied: during the walk, by the phone, or by this computer.
    pub refused: Vec<Refused>,
    /// What is worth knowing of files that were copied. Text from the phone is in it.
    pub notes: Vec<String>,
    /// Files of the plan that are neither copied nor refused.
    pub left: u64,
}

/// A pull that failed, with what it did until then.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Error {
    /// Why.
    #[source]
    pub cause: Cause,
    /// What is durable all the same.
    pub pulled: Box<Pulled>,
}

/// Why a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The phone left, stalled, or spoke nonsense.
    #[error(transparent)]
    Device(afc::Error),
    /// This computer: a full disk ([`store::Error::Full`]), say.
    #[error(transparent)]
    Copy(#[from] store::Error),
}

impl Cause {
    /// The disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Copy(store::Error::Full(_)))
    }

    /// The phone is there and does not answer.
    #[must_use]
    pub fn is_stall(&self) -> bool {
        matches!(self, Self::Device(error) if matches!(error.broken().map(|cause| &**cause), Some(afc::Cause::Timeout(_))))
    }
}

/// Copies what `plan` names into `store`. `budget`: no longer than that. When this returns, everything that it counts
/// is durable, and the connection is closed.
///
/// # Errors
/// The phone left or stalled, or this computer failed; what was done until then is in the error.
pub async fn pull(
    dial: &dyn Dial,
    store: &Store,
    plan: &Plan,
    observer: &dyn Observer,
    cancel: &CancellationToken,
    budget: Option<Duration>,
) -> Result<Pulled, Error> {
    pull_with(dial, store, plan, observer, cancel, Options { budget, ..Options::default() }).await
}

/// How a pull is done; the default is right for a phone and a patient owner.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// No longer than that.
    pub budget: Option<Duration>,
    /// A file becomes part of the copy only when two readings of it gave the same bytes.
    pub paranoid: bool,
    /// How its connections behave.
    pub settings: Settings,
}

/// [`pull`] with options of one's own.
///
/// # Errors
/// As [`pull`].
pub async fn pull_with(
    dial: &dyn Dial,
    store: &Store,
    plan: &Plan,
    observer: &dyn Observer,
    cancel: &CancellationToken,
    options: Options,
) -> Result<Pulled, Error> {
    let Options { budget, paranoid, settings } = options;
    let items_total = Some(plan.items.len() as u64);
    observer.event(Event::Began { phase: Phase::Photos, bytes_total: Some(plan.bytes), items_total });
    let failed = CancellationToken::new();
    let failing = failed.clone();
    let committer = Committer::begin(store.clone(), move || failing.cancel()).map_err(|error| Error {
        cause: store::Error::io("starting a thread", error).into(),
        pulled: Box::new(Pulled { ended: Ended::Failed, ..Pulled::default() }),
    })?;
    let partials = store.partials().map_err(|error| Error {
        cause: error.into(),
        pulled: Box::new(Pulled { ended: Ended::Failed, ..Pulled::default() }),
    })?;
    let gear = Gear {
        sink: Sink::begin(store, failed.clone()),
        committer,
        partials: Arc::clone(partials),
        received: AtomicU64::new(0),
        resumed: AtomicU64::new(0),
        failed,
        paranoid,
    };
    let until = budget.map(|budget| Instant::now() + budget);
    let mut run = Run::of(plan, observer, cancel, until);
    let ended = run.connections(&gear, dial, &settings).await;
    let result = run.finish(gear, store, ended).await;
    observer.event(Event::Ended { phase: Phase::Photos });
    result
}

/// What all files share.
struct Gear {
    sink: Sink,
    committer: Committer,
    partials: Arc<Partials>,
    /// Bytes of photos that came.
    received: AtomicU64,
    /// Bytes of photos that were here already, of files that were gone on with.
    resumed: AtomicU64,
    /// Cancelled when this computer fails.
    failed: CancellationToken,
    /// See [`Options::paranoid`].
    paranoid: bool,
}

struct Run<'a> {
    plan: &'a Plan,
    observer: &'a dyn Observer,
    cancel: &'a CancellationToken,
    until: Option<Instant>,
    received_files: u64,
    /// Places in the plan that are neither received nor refused.
    remaining: BTreeSet<usize>,
    /// Places at which the connection died while nothing else was worked on: tried again when all others are done.
    deferred: BTreeSet<usize>,
    /// Places at which it died a second time. Refused, if others can be copied meanwhile.
    suspects: BTreeMap<usize, String>,
    refused: Vec<Refused>,
    notes: Vec<String>,
    told: (u64, u64),
}

/// How the work on one connection ended.
enum Stop {
    Ended(Ended),
    Broken(afc::Error),
    /// The sink or the committer knows why.
    Disk,
}

impl<'a> Run<'a> {
    fn of(
        plan: &'a Plan,
        observer: &'a dyn Observer,
        cancel: &'a CancellationToken,
        until: Option<Instant>,
    ) -> Self {
        let mut run = Self {
            plan,
            observer,
            cancel,
            until,
            received_files: 0,
            remaining: (0..plan.items.len()).collect(),
            deferred: BTreeSet::new(),
            suspects: BTreeMap::new(),
            refused: Vec::new(),
            notes: Vec::new(),
            told: (0, 0),
        };
        for (path, why) in &plan.refused {
            run.refuse(path.clone(), why.clone());
        }
        run
    }

    /// One connection after the other, until nothing is left or it makes no sense to go on. An error without a cause is
    /// this computer's: the sink or the committer knows it.
    async fn connections(
        &mut self,
        gear: &Gear,
        dial: &dyn Dial,
        settings: &Settings,
    ) -> Result<Ended, Option<afc::Error>> {
        let (mut redials, mut fruitless) = (0, 0);
        let patient = settings.limit;
        let mut settings = settings.clone();
        while self.remaining.len() > self.suspects.len() {
            let (trusted, files) = (settings.pacing.ceiling(), self.received_files);
            let afc = tokio::select! {
                dialled = Afc::dial(dial, settings.clone()) => dialled.map_err(Some)?,
                () = self.cancel.cancelled() => return Ok(Ended::Cancelled),
            };
            let stop = self.work(gear, &afc, trusted).await;
            // What was let go of in the middle is here to be gone on with before anybody asks for it.
            gear.sink.settled().await;
            let error = match stop {
                Stop::Ended(Ended::Complete) => break,
                Stop::Ended(ended) => return Ok(ended),
                Stop::Disk => return Err(None),
                Stop::Broken(error) => error,
            };
            fruitless = if self.received_files > files { 0 } else { fruitless + 1 };
            settings.limit = if fruitless == 0 { patient } else { patient.min(FRUITLESS_WAIT) };
            if redials == REDIALS_MAX || fruitless == FRUITLESS_MAX {
                return Err(Some(error));
            }
            redials += 1;
            self.observer.event(Event::Note(format!("{error}; trying a new connection")));
        }
        if !self.suspects.is_empty() {
            self.still_answers(dial, settings).await.map_err(Some)?;
        }
        for (place, why) in std::mem::take(&mut self.suspects) {
            self.give_up(place, format!("the connection ends whenever it is read: {why}"));
        }
        Ok(Ended::Complete)
    }

    /// A phone that answers nothing any more is at fault, not the file that was read last.
    async fn still_answers(&self, dial: &dyn Dial, settings: Settings) -> Result<(), afc::Error> {
        let asked = async {
            match Afc::dial(dial, settings).await?.device_info().await {
                Err(error) if error.broken().is_some() => Err(error),
                // A "no" is an answer.
                _ => Ok(()),
            }
        };
        tokio::select! {
            answered = asked => answered,
            () = self.cancel.cancelled() => Ok(()),
        }
    }

    /// Works on one connection. `trusted`: how many requests in flight the phone is trusted with.
    async fn work(&mut self, gear: &Gear, afc: &Afc, trusted: usize) -> Stop {
        let at_once = if trusted == 1 { 1 } else { FILES_AT_ONCE };
        let plan = self.plan;
        let fetch = Fetch {
            afc,
            sink: &gear.sink,
            committer: &gear.committer,
            partials: &gear.partials,
            received: &gear.received,
            resumed: &gear.resumed,
            paranoid: gear.paranoid,
        };
        let mut queue = self.queue();
        let mut tick = tokio::time::interval(TELL_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lanes = FuturesUnordered::new();
        loop {
            while lanes.len() < at_once {
                let Some(place) = queue.pop_front() else { break };
                lanes.push(async move { (place, fetch.fetch(&plan.items[place]).await) });
            }
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Stop::Ended(Ended::Cancelled),
                () = gear.failed.cancelled() => return Stop::Disk,
                () = over(self.until) => return Stop::Ended(Ended::Budget),
                _ = tick.tick() => self.tell(gear),
                outcome = lanes.next() => match outcome {
                    None => return Stop::Ended(Ended::Complete),
                    Some((place, Fetched::Broken(error))) => {
                        if at_once == 1 {
                            self.died_alone(place, &error);
                        }
                        return Stop::Broken(error);
                    }
                    Some((_, Fetched::Disk)) => return Stop::Disk,
                    Some((place, Fetched::Received(note))) => {
                        self.remaining.remove(&place);
                        self.received_files += 1;
                        if let Some(note) = note {
                            self.note(format!("{}: {note}", plan.items[place].file.path));
                        }
                    }
                    Some((place, Fetched::Refused(why))) => self.give_up(place, why),
                },
            }
        }
    }

    /// What is left, in the plan's order; files that ended a connection come last, those that did so twice not at all.
    fn queue(&self) -> VecDeque<usize> {
        let first = self.remaining.iter().filter(|place| !self.deferred.contains(place));
        let last = self
            .deferred
            .iter()
            .filter(|place| self.remaining.contains(place) && !self.suspects.contains_key(place));
        first.chain(last).copied().collect()
    }

    /// The connection died while only this place was worked on.
    fn died_alone(&mut self, place: usize, error: &afc::Error) {
        if !self.deferred.insert(place) {
            let why = error.broken().map_or_else(String::new, ToString::to_string);
            self.suspects.insert(place, why);
        }
    }

    /// This place is not tried again.
    fn give_up(&mut self, place: usize, why: String) {
        self.remaining.remove(&place);
        self.refuse(self.plan.items[place].file.path.clone(), why);
    }

    fn refuse(&mut self, path: String, reason: String) {
        self.observer.event(Event::Skipped { item: path.clone(), reason: reason.clone() });
        self.refused.push(Refused { path, reason });
    }

    /// Keeps what is worth knowing of a file.
    fn note(&mut self, note: String) {
        self.observer.event(Event::Note(note.clone()));
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note);
        }
    }

    fn tell(&mut self, gear: &Gear) {
        let here = gear.received.load(Ordering::Relaxed) + gear.resumed.load(Ordering::Relaxed);
        let now = (here, self.received_files);
        if std::mem::replace(&mut self.told, now) != now {
            self.observer.event(Event::Advanced {
                phase: Phase::Photos,
                bytes_done: now.0,
                bytes_total: Some(self.plan.bytes),
                items_done: now.1,
            });
        }
    }

    /// Makes durable what was received, and says what came of it all.
    async fn finish(
        mut self,
        gear: Gear,
        store: &Store,
        ended: Result<Ended, Option<afc::Error>>,
    ) -> Result<Pulled, Error> {
        self.tell(&gear);
        let Gear { sink, committer, received, resumed, .. } = gear;
        let written = sink.finish().await;
        let (Durable { files, bytes, refused, renamed }, committed) =
            tokio::task::spawn_blocking(|| committer.finish()).await.unwrap_or_else(|error| {
                std::panic::resume_unwind(error.into_panic());
            });
        for (path, why) in refused {
            self.refuse(path, why);
        }
        for (path, stored_as) in renamed {
            self.note(format!(
                "{path}: this computer cannot hold it under its name; it is kept as {stored_as}"
            ));
        }
        let noted = store.note_trashed(&self.plan.trashed);
        let refusals = self.refused.iter().filter(|refused| !refused.path.is_empty());
        let refused = refusals.map(|one| (one.path.clone(), one.reason.clone())).collect();
        let noted = noted.and(store.note_refused(refused));
        let pulled = Pulled {
            ended: *ended.as_ref().unwrap_or(&Ended::Failed),
            files,
            bytes,
            received_bytes: received.into_inner(),
            resumed_bytes: resumed.into_inner(),
            refused: self.refused,
            notes: self.notes,
            left: self.remaining.len() as u64,
        };
        // What this computer says counts first: with a full disk nothing else matters.
        let local = written.and(committed).and(noted).map_err(Cause::Copy);
        let device = match ended {
            Err(Some(error)) => Err(Cause::Device(error)),
            _ => Ok(()),
        };
        match local.and(device) {
            Ok(()) => Ok(pulled),
            Err(cause) => {
                let pulled = Box::new(Pulled { ended: Ended::Failed, ..pulled });
                Err(Error { cause, pulled })
            }
        }
    }
}

/// The end of the time that was given, if any was.
async fn over(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
