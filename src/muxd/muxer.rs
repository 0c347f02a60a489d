//! Our own multiplexer at work: phones come and go on the bus, each has its [`Line`], and whoever asks is told and
//! connected. The same to its users as a usbmuxd.
//!
//! How one phone is kept stands in [`keep`]. What goes wrong with one is no other's affair.

mod keep;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::line::Line;
use super::neighbour::Neighbour;
use super::plug::{Bus, Seen};
use super::records::Records;
use crate::usbmux::{Attached, DeviceId, Error, Event, Front, Muxer, Stream, Udid};

/// How often the bus is looked at, if nobody tells of a change there.
const LOOK: Duration = Duration::from_millis(200);
/// Changes that come in a storm are looked at this often, not each by itself.
const STORM_PAUSE: Duration = Duration::from_millis(20);
/// The first list waits for the phones that are there at the beginning; one that is silent ends this wait.
const SETTLE_WAIT: Duration = Duration::from_secs(6);
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
    watching: Mutex<Option<JoinHandle<()>>>,
    stop: DropGuard,
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
        let watching = tokio::spawn(async move {
            let mut keepers = HashMap::new();
            let watched = async { tokio::join!(watching.hear(), watching.watch(&mut keepers)) };
            stopped.run_until_cancelled(watched).await;
            for keeper in keepers.values_mut() {
                keeper.shutdown().await;
            }
        });
        Self { house, watching: Mutex::new(Some(watching)), stop: stop.drop_guard() }
    }

    /// Lets go of every phone. They are closed in the background: a runtime that ends before this was waited for would
    /// close them itself, one after the other.
    pub async fn close(&self) {
        self.stop.token().cancel();
        let watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watching) = watching {
            let _ = watching.await;
        }
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
            tokio::time::sleep(STORM_PAUSE).await;
        }
    }

    /// Looks at the bus again and again: a task for each phone that is there. They end with this.
    async fn watch(self: &Arc<Self>, keepers: &mut HashMap<(u8, u8), JoinSet<()>>) {
        // By what it has for as long as it is plugged in: its bus, and its address there.
        let place = |phone: &Seen| (phone.bus, phone.address);
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
            // One that is over without its phone having left has met a fault of ours: the phone is tried anew.
            keepers.retain(|place, keeper| places.contains(place) && keeper.try_join_next().is_none());
            let fresh: Vec<Seen> =
                seen.into_iter().filter(|phone| !keepers.contains_key(&place(phone))).collect();
            let fresh = &fresh[..fresh.len().min(PHONES_MAX.saturating_sub(keepers.len()))];
            let is_first = self.untried.borrow().is_none();
            if is_first {
                self.untried.send_replace(Some(fresh.len()));
            }
            for &phone in fresh {
                let mut keeper = JoinSet::new();
                keeper.spawn(Arc::clone(self).keep(phone, is_first));
                keepers.insert(place(&phone), keeper);
            }
            rest(LOOK, &mut changes).await;
        }
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
