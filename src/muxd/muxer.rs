//! Our own multiplexer at work: phones come and go on the bus, each has its [`Line`], and whoever asks is told and
//! connected. The same to its users as a usbmuxd.
//!
//! A phone that cannot be made ready is tried again as long as it is plugged in, less and less often: its permissions
//! may come a moment after itself, another program may let go of it, and one that resets itself again and again must
//! not keep us busy. What goes wrong with one phone is no other's affair.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::held::Held;
use super::line::{Line, NoLine};
use super::neighbour::Neighbour;
use super::plug::{Bus, NotReady, Seen};
use super::preflight::preflight;
use super::records::Records;
use crate::lockdown::Phone;
use crate::usbmux::{Attached, DeviceId, Error, Event, Front, Muxer, Stream, Udid};

/// How often the bus is looked at, if nobody tells of a change there.
const LOOK: Duration = Duration::from_millis(200);
/// The pause before a phone is tried again: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A change on the bus ends a pause that is shorter than this. What we do to a phone is a change, too.
const EAGER: Duration = Duration::from_secs(1);
/// A line that lasted this long was a good one: the next one is tried soon.
const GOOD_LINE: Duration = Duration::from_secs(10);
/// The first list waits for the phones that are there at the beginning; one that is silent ends this wait.
const SETTLE_WAIT: Duration = Duration::from_secs(6);
/// udev has done its part with a phone this soon, or is not waited for.
const SEEN_TO_WITHIN: Duration = Duration::from_millis(500);
/// A phone is asked whether it trusts this computer before anybody else can ask it, if it answers so soon; and if it has
/// not been plugged in for long: nobody waits for the list for that.
const PREFLIGHT_FIRST: Duration = Duration::from_millis(250);
const LISTED_WITHIN: Duration = Duration::from_millis(600);
/// A phone that was let go of can be spoken to again within this, or not at all.
const TAKE_UP_WAIT: Duration = Duration::from_secs(7);
/// Phones at the same time; a machine with more ports than this has not been built.
const PHONES_MAX: usize = 256;
/// Events that may wait for a slow listener; one that lets more wait hears no more.
const EVENTS_WAITING_MAX: usize = 64 + PHONES_MAX;

/// How a multiplexer behaves.
pub struct Manners {
    /// Where the numbers of phones begin.
    pub first_id: u32,
    /// Whether phones that do not know this computer are asked to trust it when they are plugged in.
    pub asks_for_trust: bool,
    /// Who may want the same phones.
    pub neighbour: Option<Arc<dyn Neighbour>>,
}

impl Default for Manners {
    /// Every phone is taken and none is asked.
    fn default() -> Self {
        Self { first_id: 1, asks_for_trust: false, neighbour: None }
    }
}

impl std::fmt::Debug for Manners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Manners").field("asks_for_trust", &self.asks_for_trust).finish_non_exhaustive()
    }
}

/// A multiplexer. Dropped, it lets go of every phone.
#[derive(Debug)]
pub struct Muxd {
    house: Arc<House>,
    _stop: DropGuard,
}

/// What the tasks of a multiplexer share.
#[derive(Debug)]
struct House {
    bus: Arc<dyn Bus>,
    records: Arc<Records>,
    manners: Manners,
    phones: Mutex<Phones>,
    /// Something on the bus has changed.
    changes: watch::Sender<()>,
    /// Phones of the first look that were not tried yet; `None` before that look.
    untried: watch::Sender<Option<usize>>,
}

#[derive(Debug, Default)]
struct Phones {
    given_ids: u32,
    plugged: BTreeMap<DeviceId, Plugged>,
    listeners: Vec<mpsc::Sender<Event>>,
}

#[derive(Debug)]
struct Plugged {
    attached: Attached,
    /// `None`: nobody has used the phone for long, and it is in nobody's hands.
    line: watch::Sender<Option<Line>>,
    /// Is told that the phone is wanted again.
    wanted: Arc<Notify>,
    listed: bool,
}

impl Phones {
    fn tell(&mut self, event: &Event) {
        self.listeners.retain(|listener| listener.try_send(event.clone()).is_ok());
    }

    fn listed(&self) -> impl Iterator<Item = &Attached> {
        self.plugged.values().filter(|plugged| plugged.listed).map(|plugged| &plugged.attached)
    }
}

impl Muxd {
    /// Begins to watch the bus. Within a runtime.
    #[must_use]
    pub fn start(bus: Arc<dyn Bus>, records: Records, manners: Manners) -> Self {
        let house = Arc::new(House {
            bus,
            records: Arc::new(records),
            manners,
            phones: Mutex::default(),
            changes: watch::Sender::default(),
            untried: watch::Sender::new(None),
        });
        let stop = CancellationToken::new();
        let (watching, stopped) = (Arc::clone(&house), stop.clone());
        tokio::spawn(async move {
            let watching = async { tokio::join!(watching.hear(), Arc::clone(&watching).watch()) };
            stopped.run_until_cancelled(watching).await;
        });
        Self { house, _stop: stop.drop_guard() }
    }

    /// The phones that are listed at this moment, without waiting for any.
    #[must_use]
    pub fn listed(&self) -> Vec<Attached> {
        self.house.phones().listed().cloned().collect()
    }
}

impl House {
    fn phones(&self) -> MutexGuard<'_, Phones> {
        self.phones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on that something on the bus has changed.
    async fn hear(&self) {
        loop {
            self.bus.changed().await;
            self.changes.send_replace(());
        }
    }

    /// Looks at the bus again and again: a task for each phone that is there. They end with this.
    async fn watch(self: Arc<Self>) {
        // By what it has for as long as it is plugged in: its bus, and its address there.
        let place = |phone: &Seen| (phone.bus, phone.address);
        let mut keepers: HashMap<(u8, u8), tokio::task::JoinSet<()>> = HashMap::new();
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let bus = Arc::clone(&self.bus);
            let looked = tokio::task::spawn_blocking(move || bus.seen()).await;
            let seen =
                looked.map_err(|error| error.to_string()).and_then(|it| it.map_err(|it| it.to_string()));
            let seen = match seen {
                Ok(seen) => seen,
                Err(error) => {
                    // A look that failed says nothing of the phones: none has left for that.
                    tracing::debug!("the bus cannot be looked at: {error}");
                    self.untried.send_modify(|untried| *untried = untried.or(Some(0)));
                    rest(LOOK, &mut changes).await;
                    continue;
                }
            };
            let places: HashSet<(u8, u8)> = seen.iter().map(place).collect();
            keepers.retain(|place, _| places.contains(place));
            let fresh: Vec<Seen> =
                seen.into_iter().filter(|phone| !keepers.contains_key(&place(phone))).collect();
            let fresh = &fresh[..fresh.len().min(PHONES_MAX.saturating_sub(keepers.len()))];
            let is_first = self.untried.borrow().is_none();
            if is_first {
                self.untried.send_replace(Some(fresh.len()));
            }
            for &phone in fresh {
                let mut keeper = tokio::task::JoinSet::new();
                keeper.spawn(Arc::clone(&self).keep(phone, is_first));
                keepers.insert(place(&phone), keeper);
            }
            rest(LOOK, &mut changes).await;
        }
    }

    /// Makes a phone ready and keeps it, as long as it is plugged in: whoever sees it leave drops this.
    async fn keep(self: Arc<Self>, seen: Seen, counts: bool) {
        let mut first_try = counts.then(|| FirstTry(&self.untried));
        let (mut pause, mut complaint) = (PAUSE_MIN, String::new());
        self.wait_for_leave_to_take(&seen).await;
        self.wait_until_seen_to(&seen).await;
        let mut changes = self.changes.subscribe();
        loop {
            let began = Instant::now();
            changes.mark_unchanged();
            match self.open(seen).await {
                Ok((udid, line, held)) => {
                    complaint.clear();
                    self.attend(&seen, udid, (line, held), &mut first_try).await;
                }
                Err(error) => {
                    // Said once for each reason, not every few seconds.
                    if complaint != error {
                        tracing::info!(
                            bus = seen.bus,
                            address = seen.address,
                            "a phone cannot be spoken to: {error}"
                        );
                        complaint = error;
                    }
                }
            }
            first_try = None;
            if began.elapsed() >= GOOD_LINE {
                pause = PAUSE_MIN;
            }
            if pause < EAGER {
                rest(pause, &mut changes).await;
            } else {
                tokio::time::sleep(pause).await;
            }
            pause = (2 * pause).min(PAUSE_MAX);
            self.wait_for_leave_to_take(&seen).await;
        }
    }

    async fn wait_for_leave_to_take(&self, seen: &Seen) {
        let Some(neighbour) = &self.manners.neighbour else { return };
        let began = Instant::now();
        let before = self.bus.plugged_for(seen).unwrap_or_default();
        loop {
            let plugged_for = began.elapsed() + before;
            if neighbour.leaves(plugged_for) {
                return;
            }
            if neighbour.has_lost(seen, plugged_for) {
                return tracing::info!(
                    bus = seen.bus,
                    address = seen.address,
                    "the usbmuxd that answers does not list a phone: our own multiplexer takes it"
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn wait_until_seen_to(&self, seen: &Seen) {
        let mut changes = self.changes.subscribe();
        tracing::debug!(plugged_for = ?self.bus.plugged_for(seen), "a phone is on the bus");
        let seen_to = async {
            while !self.bus.is_seen_to(seen) {
                rest(LOOK, &mut changes).await;
            }
        };
        let in_time = tokio::time::timeout(SEEN_TO_WITHIN, seen_to).await.is_ok();
        tracing::debug!(plugged_for = ?self.bus.plugged_for(seen), in_time, "the system has seen to a phone");
    }

    async fn open(&self, seen: Seen) -> Result<(Udid, Line, Held), String> {
        let bus = Arc::clone(&self.bus);
        let ready = tokio::task::spawn_blocking(move || bus.ready(&seen)).await;
        let ready = ready.map_err(|error| error.to_string())?.map_err(|error: NotReady| error.to_string())?;
        let held = Held::new(ready.hold);
        tracing::debug!(plugged_for = ?self.bus.plugged_for(&seen), "a phone's multiplexer is claimed");
        let line = Line::open(ready.bulk).await.map_err(|error: NoLine| error.to_string())?;
        tracing::debug!(plugged_for = ?self.bus.plugged_for(&seen), "its multiplexer answers");
        Ok((ready.udid, line, held))
    }

    /// Lists a phone, and takes it from the list when it is gone.
    async fn attend(
        self: &Arc<Self>,
        seen: &Seen,
        udid: Udid,
        ours: (Line, Held),
        first_try: &mut Option<FirstTry<'_>>,
    ) {
        let here = self.enter(seen, udid, ours.0.clone());
        let phone = Phone { muxer: Arc::clone(self) as Arc<dyn Muxer>, attached: here.attached.clone() };
        let asking = async {
            if self.manners.asks_for_trust {
                preflight(&phone).await;
            }
        };
        let gone = self.have(seen, &here, ours);
        tokio::pin!(asking, gone);
        let plugged_for = self.bus.plugged_for(seen).unwrap_or_default();
        let first = PREFLIGHT_FIRST.min(LISTED_WITHIN.saturating_sub(plugged_for));
        let asked = tokio::select! {
            () = &mut asking => true,
            () = &mut gone => return,
            () = tokio::time::sleep(first) => false,
        };
        here.list();
        *first_try = None;
        tokio::select! {
            () = gone => {}
            () = async { if !asked { asking.await }; std::future::pending().await } => {}
        }
    }

    /// Until a phone cannot be spoken to any more. With a neighbour it is let go of as long as nobody uses it.
    async fn have(&self, seen: &Seen, here: &Here, (mut line, mut held): (Line, Held)) {
        let udid = &here.attached.udid;
        loop {
            let unused = async {
                match &self.manners.neighbour {
                    Some(neighbour) => line.unused(neighbour.unused_for()).await,
                    None => std::future::pending().await,
                }
            };
            let times_wanted = tokio::select! {
                () = line.gone() => return,
                () = held.breaks(self.changes.subscribe()) => return tracing::info!("somebody has set another configuration of {udid}"),
                times_wanted = unused => times_wanted,
            };
            let wanted = match here.let_go(&line, times_wanted) {
                LetGo::Done(wanted) => wanted,
                LetGo::Wanted => continue,
                LetGo::Gone => return,
            };
            drop(line);
            held.release().await;
            tracing::debug!("{udid} is let go of: nobody uses it");
            tokio::select! {
                () = self.becomes_the_neighbours(seen) => return,
                () = wanted.notified() => {}
            }
            (line, held) = match self.open(*seen).await {
                Ok((same, line, held)) if same == *udid => (line, held),
                Ok(_) => return,
                Err(why) => return tracing::info!("{udid} cannot be spoken to any more: {why}"),
            };
            here.take_up(&line);
        }
    }

    async fn becomes_the_neighbours(&self, seen: &Seen) {
        while !self.manners.neighbour.as_ref().is_some_and(|neighbour| neighbour.has(seen)) {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn enter(self: &Arc<Self>, seen: &Seen, udid: Udid, line: Line) -> Here {
        let mut phones = self.phones();
        let id = DeviceId(self.manners.first_id.wrapping_add(phones.given_ids));
        phones.given_ids = phones.given_ids.wrapping_add(1);
        let attached = Attached {
            id,
            udid,
            product_id: seen.product_id,
            location_id: seen.location_id(),
            speed_bps: seen.speed_bps,
        };
        let (line, wanted) = (watch::Sender::new(Some(line)), Arc::default());
        phones.plugged.insert(id, Plugged { attached: attached.clone(), line, wanted, listed: false });
        Here { house: Arc::clone(self), attached }
    }

    async fn settled(&self) {
        let mut untried = self.untried.subscribe();
        let _ = tokio::time::timeout(SETTLE_WAIT, untried.wait_for(|untried| *untried == Some(0))).await;
    }

    /// Files may be slow: not on the runtime's own threads.
    async fn with_records<T: Send + 'static>(
        &self,
        request: &'static str,
        deed: impl FnOnce(&Records) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let records = Arc::clone(&self.records);
        let done = tokio::task::spawn_blocking(move || deed(&records)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| Error::Io { request, source })
    }
}

/// Waits so long, or until something on the bus has changed.
async fn rest(most: Duration, changes: &mut watch::Receiver<()>) {
    let _ = tokio::time::timeout(most, changes.changed()).await;
}

/// A phone that was there at the first look and was not tried yet.
struct FirstTry<'a>(&'a watch::Sender<Option<usize>>);

impl Drop for FirstTry<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|untried| *untried = untried.map(|left| left.saturating_sub(1)));
    }
}

/// What came of letting go of a phone.
enum LetGo {
    /// It is free, until somebody says that they want it.
    Done(Arc<Notify>),
    /// Somebody is about to use it.
    Wanted,
    /// It has no entry any more.
    Gone,
}

/// A phone's entry; it ends with this.
struct Here {
    house: Arc<House>,
    attached: Attached,
}

impl Here {
    fn list(&self) {
        let mut phones = self.house.phones();
        if let Some(plugged) = phones.plugged.get_mut(&self.attached.id) {
            plugged.listed = true;
            tracing::info!(id = self.attached.id.0, "our own multiplexer has {}", self.attached.udid);
            phones.tell(&Event::Attached(self.attached.clone()));
        }
    }

    /// Nobody has it, until the answer is told that it is wanted; unless somebody has wanted it more often by now.
    fn let_go(&self, line: &Line, times_wanted: u64) -> LetGo {
        let phones = self.house.phones();
        let Some(plugged) = phones.plugged.get(&self.attached.id) else { return LetGo::Gone };
        if line.times_wanted() != times_wanted {
            return LetGo::Wanted;
        }
        // A word that is left over from the last time: whoever said it has been served since.
        let _ = plugged.wanted.notified().now_or_never();
        plugged.line.send_replace(None);
        LetGo::Done(Arc::clone(&plugged.wanted))
    }

    fn take_up(&self, line: &Line) {
        if let Some(plugged) = self.house.phones().plugged.get(&self.attached.id) {
            plugged.line.send_replace(Some(line.clone()));
        }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let mut phones = self.house.phones();
        if phones.plugged.remove(&self.attached.id).is_some_and(|plugged| plugged.listed) {
            tracing::info!(id = self.attached.id.0, "{} is gone", self.attached.udid);
            phones.tell(&Event::Detached(self.attached.id));
        }
    }
}

#[async_trait]
impl Muxer for House {
    async fn devices(&self) -> Result<Vec<Attached>, Error> {
        self.settled().await;
        Ok(self.phones().listed().cloned().collect())
    }

    async fn listen(&self) -> Result<mpsc::Receiver<Event>, Error> {
        let (listener, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let mut phones = self.phones();
        for attached in phones.listed() {
            // There is room for so many.
            let _ = listener.try_send(Event::Attached(attached.clone()));
        }
        phones.listeners.retain(|listener| !listener.is_closed());
        phones.listeners.push(listener);
        Ok(events)
    }

    async fn connect(&self, device: DeviceId, port: u16) -> Result<Stream, Error> {
        let plugged = self.phones().plugged.get(&device).map(|it| {
            it.line.borrow().iter().for_each(Line::is_wanted);
            (it.line.subscribe(), Arc::clone(&it.wanted))
        });
        let (mut lines, wanted) = plugged.ok_or(Error::NoSuchDevice)?;
        let line = lines.borrow_and_update().clone();
        if let Some(line) = line {
            match line.connect(port).await {
                // It was let go of at this very moment, perhaps.
                Err(Error::NoSuchDevice) if lines.has_changed().is_ok() => {}
                connected => return connected,
            }
        }
        wanted.notify_one();
        let taken = async { lines.wait_for(Option::is_some).await.ok().and_then(|line| line.clone()) };
        let line = tokio::time::timeout(TAKE_UP_WAIT, taken).await.map_err(|_| Error::Timeout("Connect"))?;
        line.ok_or(Error::NoSuchDevice)?.connect(port).await
    }

    async fn buid(&self) -> Result<String, Error> {
        self.with_records("ReadBUID", Records::buid).await
    }

    async fn pair_record(&self, udid: &Udid) -> Result<Option<Vec<u8>>, Error> {
        let udid = udid.clone();
        self.with_records("ReadPairRecord", move |records| records.read(&udid)).await
    }

    async fn save_pair_record(
        &self,
        udid: &Udid,
        device: Option<DeviceId>,
        record: &[u8],
    ) -> Result<(), Error> {
        let (udid, record) = (udid.clone(), record.to_vec());
        self.with_records("SavePairRecord", move |records| records.save(&udid, &record)).await?;
        let mut phones = self.phones();
        if let Some(id) = device.filter(|id| phones.plugged.contains_key(id)) {
            phones.tell(&Event::Paired(id));
        }
        Ok(())
    }

    async fn delete_pair_record(&self, udid: &Udid) -> Result<(), Error> {
        let udid = udid.clone();
        self.with_records("DeletePairRecord", move |records| records.delete(&udid)).await
    }
}

impl Front for Muxd {
    fn behind(&self) -> &dyn Muxer {
        self.house.as_ref()
    }
}

#[cfg(test)]
mod tests;
