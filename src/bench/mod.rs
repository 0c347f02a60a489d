//! The bench: the background service. Every phone that is plugged in gets a visit, recorded in DEST, in which no more is
//! done than the settings allow; nothing on a phone is ever changed, restarted or erased by it.
//!
//! It lives with what comes and goes: phones, usbmuxd, itself. A visit lasts as long as the phone is plugged in; one
//! that was open when the bench ended is gone on with when it starts again and the phone is still there. There is at
//! most one visit of a phone at a time, and several phones are visited at once.
//!
//! It knows no terminal and no command line: it hands [`Happening`]s to who runs it.

mod arrivals;
mod happening;
mod listening;
mod settings;
mod stays;
mod supervisor;
#[cfg(test)]
mod tests;
mod work;

pub use happening::{Happening, Weight};
pub use settings::{OnPlug, Policy, Settings, SettingsError};
pub use stays::Pace;
pub use supervisor::Supervisor;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinSet};

use crate::durable;
use crate::job::{Ending, Jobs};
use crate::progress::CancellationToken;
use crate::record::record_stop;
use crate::usbmux::{Muxer, Udid};
use crate::visit::{Stop, Trouble};

use listening::News;
use stays::{Do, Stays, Worked};
use work::Order;

/// What the record calls a visit of the bench.
pub const COMMAND: &str = "serve";
/// Held by the bench that works in a DEST.
const LOCK_NAME: &str = "idevice-fix.serve.lock";
/// Phones that are worked with at once; the others wait their turn.
const AT_ONCE: usize = 10;
/// The same at one port: a device that comes back each time as another one takes no more turns than this.
const AT_PORT: usize = 3;
/// How often it is looked whether time has come for something.
const TICK: Duration = Duration::from_millis(500);
/// How often it is tried again to write down what could not be written.
const END_AGAIN: Duration = Duration::from_secs(10);
/// As much as the main thread of a program has, where the command line makes its visits.
const VISIT_STACK_BYTES: usize = 8 * 1024 * 1024;
/// How long visits may take to stop cleanly.
const STOP_WAIT: Duration = Duration::from_secs(20);

/// Is told what happens; must return at once.
pub type Tell = Arc<dyn Fn(&Happening) + Send + Sync>;

/// The bench before it begins its work.
pub struct Bench {
    /// Where phones come from.
    pub muxer: Arc<dyn Muxer>,
    /// Where everything goes.
    pub dest: PathBuf,
    /// What is done with a phone that is plugged in.
    pub on_plug: OnPlug,
    /// How long things are waited for.
    pub pace: Pace,
    /// The phones are simulated ones.
    pub simulated: bool,
    /// Who is told that it runs.
    pub supervisor: Supervisor,
    /// Is told what happens.
    pub tell: Tell,
    /// Stops it.
    pub cancel: CancellationToken,
}

impl Bench {
    /// Works until it is told to stop. Visits that are open then stay open.
    ///
    /// # Errors
    /// The record cannot be used, or another bench works in the same DEST.
    pub async fn run(self) -> Result<(), Stop> {
        let jobs = Jobs::open(&self.dest).map_err(|error| record_stop(&error))?;
        let _lock = lock(&self.dest)?;
        let mut floor = Floor::new(self, jobs);
        floor.take_up()?;
        let worked = floor.work().await;
        floor.close().await;
        worked
    }
}

/// Makes sure that nobody else serves this DEST.
fn lock(dest: &Path) -> Result<File, Stop> {
    let failed = |error: std::io::Error| {
        Stop::new(Trouble::Failed, format!("{} cannot be locked: {error}.", dest.display()), "")
    };
    let dir = durable::open_or_create_private(dest).map_err(failed)?;
    let mut options = cap_std::fs::OpenOptions::new();
    let file = dir.open_with(LOCK_NAME, options.append(true).create(true)).map_err(failed)?.into_std();
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Stop::new(
            Trouble::Failed,
            format!("Another idevice-fix serves {} already.", dest.display()),
            "Name another folder with --dest, or stop that one.",
        )),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// A visit writes its record and proves what it copied, which blocks, and is deep: it has a thread of its own.
async fn on_a_thread(order: Order) -> Worked {
    let runtime = tokio::runtime::Handle::current();
    let (done, worked) = tokio::sync::oneshot::channel();
    let (udid, tell) = (order.udid.clone(), Arc::clone(&order.tell));
    let visit = std::thread::Builder::new().name("visit".to_owned()).stack_size(VISIT_STACK_BYTES);
    let begun = visit.spawn(move || {
        let _ = done.send(runtime.block_on(order.carry_out()));
    });
    match begun {
        Ok(_) => worked.await.expect("a visit does not panic"),
        Err(error) => {
            tell(&Happening::Trouble(format!(
                "{udid}: this computer gives no thread for its visit: {error}"
            )));
            Worked::Hindered
        }
    }
}

/// The bench at work.
struct Floor {
    bench: Bench,
    jobs: Jobs,
    stays: Stays,
    works: JoinSet<(Udid, Worked)>,
    /// Whose work a task is: one that panics cannot say it itself.
    of_task: HashMap<Id, Udid>,
    stopping: HashMap<Udid, CancellationToken>,
    /// Visits whose end could not be written down, and since when the phone is away.
    unended: HashMap<Udid, Instant>,
    /// When that was tried last.
    unended_at: Option<Instant>,
    turns: Arc<Semaphore>,
    /// The turns of each port at which somebody has one, or waits for one.
    turns_at: HashMap<String, Arc<Semaphore>>,
}

impl Floor {
    fn new(bench: Bench, jobs: Jobs) -> Self {
        Self {
            stays: Stays::new(bench.pace),
            works: JoinSet::new(),
            of_task: HashMap::new(),
            stopping: HashMap::new(),
            unended: HashMap::new(),
            unended_at: None,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            turns_at: HashMap::new(),
            jobs,
            bench,
        }
    }

    fn tell(&self, happening: &Happening) {
        (self.bench.tell)(happening);
    }

    /// Visits that were open when the last bench ended.
    fn take_up(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        // Interrupted: this service was told to stop, as it is by every upgrade.
        let again = [Trouble::PersonNeeded, Trouble::NoDevice, Trouble::NoSpace, Trouble::Interrupted];
        let again = again.map(Trouble::exit_status);
        for row in self.jobs.open_visits(COMMAND).map_err(|error| record_stop(&error))? {
            let Some(udid) = Udid::parse(&row.udid) else { continue };
            // The settings may allow more than they did: one that was only identified has no verdict.
            let wants_more = self.bench.on_plug > OnPlug::Identify && row.photos_verdict.is_none();
            let is_open = row.exit_status.is_none_or(|status| again.contains(&status));
            self.stays.taken_up(now, udid, is_open || wants_more);
        }
        Ok(())
    }

    async fn work(&mut self) -> Result<(), Stop> {
        let mut news = listening::listen(Arc::clone(&self.bench.muxer));
        let watchdog = self.bench.supervisor.watchdog().map_or(TICK, |wanted| wanted / 3);
        let mut tick = tokio::time::interval(TICK.min(watchdog));
        let cancel = self.bench.cancel.clone();
        self.bench.supervisor.ready("Waiting for phones");
        self.tell(&Happening::Ready);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                heard = news.recv() => match heard {
                    Some(heard) => self.heard(heard),
                    None => return Err(Stop::new(Trouble::Failed, "Nobody listens to usbmuxd any more.", "")),
                },
                Some(done) = self.works.join_next_with_id() => self.done(done),
                _ = tick.tick() => {
                    let deeds = self.stays.tick(Instant::now());
                    self.all(deeds);
                    self.end_the_rest();
                    self.bench.supervisor.alive();
                }
            }
        }
    }

    /// Lets visits stop cleanly. What they were at stays open in the record.
    async fn close(mut self) {
        self.bench.supervisor.stopping();
        let stopped = async { while self.works.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WAIT, stopped).await.is_err() {
            self.tell(&Happening::Trouble("A visit did not stop in time and was broken off.".to_owned()));
        }
    }

    fn heard(&mut self, news: News) {
        let now = Instant::now();
        match news {
            News::Back => self.tell(&Happening::MuxerBack),
            News::Lost(why) => {
                self.stays.unseen(now);
                self.tell(&Happening::MuxerLost(why));
            }
            News::Attached { attached, port } => {
                self.tell(&Happening::Connected { udid: attached.udid.clone(), port: port.clone() });
                let deeds = self.stays.attached(now, attached, port);
                self.all(deeds);
            }
            News::StillPluggedIn(udid) => self.stays.still_plugged_in(&udid),
            News::Detached(id) => {
                if let Some(udid) = self.stays.detached(now, id) {
                    self.tell(&Happening::Disconnected { udid });
                }
            }
            News::Paired(id) => self.stays.paired(now, id),
        }
    }

    fn done(&mut self, done: Result<(Id, (Udid, Worked)), tokio::task::JoinError>) {
        let (task, how) = match done {
            Ok((task, (_, how))) => (task, how),
            Err(error) => {
                self.tell(&Happening::Trouble(format!("A visit was broken off by a fault of ours: {error}")));
                (error.id(), Worked::Settled)
            }
        };
        let Some(udid) = self.of_task.remove(&task) else { return };
        self.stopping.remove(&udid);
        let deeds = self.stays.worked(Instant::now(), &udid, how);
        self.all(deeds);
    }

    fn all(&mut self, deeds: Vec<Do>) {
        for deed in deeds {
            match deed {
                Do::Work { attached, quietly } => self.begin(attached.udid, quietly),
                Do::Stop(udid) => {
                    if let Some(stop) = self.stopping.get(&udid) {
                        stop.cancel();
                    }
                }
                Do::End { udid, since } => self.end(udid, since),
                Do::Refuse(udid) => {
                    let cause = format!(
                        "More phones than any bench has are said to come; {udid} is left out, and visited when it is \
                         plugged in again later."
                    );
                    self.tell(&Happening::Trouble(cause));
                }
            }
        }
    }

    fn begin(&mut self, udid: Udid, quietly: bool) {
        if self.unended.contains_key(&udid) {
            self.unended_at = None;
            self.end_the_rest();
        }
        if self.unended.contains_key(&udid) {
            // What cannot be ended would be gone on with, and mix two plugs in one visit.
            let deeds = self.stays.worked(Instant::now(), &udid, Worked::Hindered);
            return self.all(deeds);
        }
        let cancel = self.bench.cancel.child_token();
        let order = Order {
            muxer: Arc::clone(&self.bench.muxer),
            udid: udid.clone(),
            dest: self.bench.dest.clone(),
            jobs: self.jobs.clone(),
            on_plug: self.bench.on_plug,
            simulated: self.bench.simulated,
            quietly,
            tell: Arc::clone(&self.bench.tell),
            cancel: cancel.clone(),
        };
        let (turns, turns_there, whose) = (Arc::clone(&self.turns), self.turns_at(&udid), udid.clone());
        let task = self.works.spawn(async move {
            let turn = async {
                let there = match turns_there {
                    Some(turns) => Some(turns.acquire_owned().await),
                    None => None,
                };
                (there, turns.acquire_owned().await)
            };
            let turn = tokio::select! {
                () = order.cancel.cancelled() => return (whose, Worked::Stopped),
                turn = turn => turn,
            };
            let worked = on_a_thread(order).await;
            drop(turn);
            (whose, worked)
        });
        self.of_task.insert(task.id(), udid.clone());
        self.stopping.insert(udid, cancel);
    }

    /// The turns of the port that the phone is at, where that can be seen.
    fn turns_at(&mut self, udid: &Udid) -> Option<Arc<Semaphore>> {
        self.turns_at.retain(|_, turns| Arc::strong_count(turns) > 1);
        let port = self.stays.port(udid)?.to_owned();
        let turns = self.turns_at.entry(port).or_insert_with(|| Arc::new(Semaphore::new(AT_PORT)));
        Some(Arc::clone(turns))
    }

    /// The phone was unplugged: its visit ends.
    fn end(&mut self, udid: Udid, since: Instant) {
        // It left before already, if that could not be written down.
        let since = self.unended.remove(&udid).unwrap_or(since);
        match self.end_in_record(&udid, since) {
            Ok(job) => self.tell(&Happening::Ended { udid, job }),
            Err(error) => {
                self.tell(&Happening::Trouble(record_stop(&error).to_string()));
                if self.unended.len() < stays::STAYS_MAX {
                    self.unended.insert(udid, since);
                    self.unended_at = Some(Instant::now());
                }
            }
        }
    }

    /// Ends what could not be written down before: the disk was full, say.
    fn end_the_rest(&mut self) {
        let is_due = self.unended_at.is_none_or(|last| last.elapsed() >= END_AGAIN);
        if self.unended.is_empty() || !is_due {
            return;
        }
        self.unended_at = Some(Instant::now());
        let mut rest = std::mem::take(&mut self.unended).into_iter();
        for (udid, since) in rest.by_ref() {
            match self.end_in_record(&udid, since) {
                Ok(job) => self.tell(&Happening::Ended { udid, job }),
                Err(_) => {
                    // A record that cannot be written holds each of them up for seconds.
                    self.unended.insert(udid, since);
                    break;
                }
            }
        }
        self.unended.extend(rest);
    }

    fn end_in_record(&self, udid: &Udid, since: Instant) -> Result<Option<String>, crate::job::Error> {
        let ago = jiff::SignedDuration::try_from(since.elapsed()).unwrap_or_default();
        let at = jiff::Timestamp::now().checked_sub(ago).unwrap_or(jiff::Timestamp::now());
        let gone = Ending {
            exit_status: Trouble::NoDevice.exit_status(),
            sentence: "The phone was unplugged before all was done.".to_owned(),
            photos_verdict: None,
        };
        let mut ended = None;
        let rows = self.jobs.open_visits(COMMAND)?;
        for row in rows.into_iter().filter(|row| row.udid == udid.as_str()) {
            self.jobs.take_up(&row)?.left(at.max(row.began_at), &gone)?;
            ended = Some(row.job);
        }
        Ok(ended)
    }
}
