//! A phone's multiplexer at work: one task that moves transfers between the two bulk endpoints and the [`Mux`], and
//! bytes between the Mux and its clients. Where the transfers come from is somebody else's affair.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::{Bell, Client, Desk, pipe};
use super::mux::{ConnectionId, Input, Mux, Output};
use crate::usbmux::{Error, Stream};

/// A phone answers VERSION within this, or never.
const VERSION_WAIT: Duration = Duration::from_secs(5);
/// A phone grants or refuses a connection within this.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// A phone takes what a client said before it left within this.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often it is looked whether anybody uses a phone.
const LOOK_AT_USES: Duration = Duration::from_millis(500);
/// Transfers that wait for the endpoint at most.
pub const WRITES_MAX: usize = 4;

/// The two bulk endpoints of a phone. When either channel closes, the phone is gone.
#[derive(Debug)]
pub struct Bulk {
    /// Finished reads, in order.
    pub reads: mpsc::Receiver<Vec<u8>>,
    /// Transfers to the phone, in order; a bounded channel.
    pub writes: mpsc::Sender<Vec<u8>>,
    /// `wMaxPacketSize` of both.
    pub packet_bytes: u16,
}

/// Why a phone on the bus cannot be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLine {
    /// It did not answer in time.
    #[error("the device does not answer on its multiplexer")]
    Silent,
    /// It speaks another version of the protocol.
    #[error("the device speaks version {0} of the mux protocol, which nobody knows")]
    Incompatible(u32),
    /// It left.
    #[error("the device left the bus")]
    Gone,
    /// Its endpoints have packets of no bytes.
    #[error("the device describes endpoints that nothing fits through")]
    Endpoints,
}

/// How much a phone is used.
#[derive(Debug, Default)]
struct Uses {
    /// Connections that there are now.
    open: AtomicUsize,
    /// How often one was asked for.
    asked: AtomicU64,
}

type Answer = oneshot::Sender<Result<Client, Error>>;

/// A phone's multiplexer. Clones share it. It ends with the last of them, or with the phone, and its connections with
/// it.
#[derive(Debug, Clone)]
pub struct Line {
    asks: mpsc::Sender<(u16, Answer)>,
    uses: Arc<Uses>,
    gone: CancellationToken,
    _last: Arc<tokio_util::sync::DropGuard>,
}

impl Line {
    /// Begins to speak with a phone, and waits until it has answered.
    ///
    /// # Errors
    /// [`NoLine`], after five seconds at the latest.
    pub async fn open(bulk: Bulk) -> Result<Self, NoLine> {
        if bulk.packet_bytes == 0 {
            return Err(NoLine::Endpoints);
        }
        let (asks, asked) = mpsc::channel(1);
        let (gone, given_up) = (CancellationToken::new(), CancellationToken::new());
        let (ready, readiness) = oneshot::channel();
        let uses = Arc::<Uses>::default();
        let task = Task::new(bulk, ready, Arc::clone(&uses));
        let (left, stop) = (gone.clone(), given_up.clone());
        tokio::spawn(async move {
            let _left = left.drop_guard();
            stop.run_until_cancelled(task.work(asked)).await;
        });
        let line = Self { asks, uses, gone, _last: Arc::new(given_up.drop_guard()) };
        match tokio::time::timeout(VERSION_WAIT, readiness).await {
            Ok(Ok(ready)) => ready.map(|()| line),
            Ok(Err(_)) => Err(NoLine::Gone),
            Err(_) => Err(NoLine::Silent),
        }
    }

    /// A connection to `port` (host byte order).
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::NoSuchDevice`] when the phone is gone, [`Error::Timeout`] after ten seconds.
    pub async fn connect(&self, port: u16) -> Result<Stream, Error> {
        self.is_wanted();
        let (answer, answered) = oneshot::channel();
        let connecting = async {
            self.asks.send((port, answer)).await.map_err(|_| Error::NoSuchDevice)?;
            answered.await.map_err(|_| Error::NoSuchDevice)?
        };
        let connected = tokio::time::timeout(CONNECT_WAIT, connecting).await;
        connected.unwrap_or(Err(Error::Timeout("Connect"))).map(|client| Box::new(client) as Stream)
    }

    /// Somebody is about to ask for a connection.
    pub fn is_wanted(&self) {
        self.uses.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// How often somebody has asked for a connection, or was about to.
    #[must_use]
    pub fn times_wanted(&self) -> u64 {
        self.uses.asked.load(Ordering::Relaxed)
    }

    /// Until it has had no connection for so long; how often it had been wanted until then.
    pub async fn unused(&self, so_long: Duration) -> u64 {
        let now = || (self.uses.open.load(Ordering::Relaxed), self.uses.asked.load(Ordering::Relaxed));
        let (mut last, mut since) = (now(), Instant::now());
        while since.elapsed() < so_long {
            tokio::time::sleep(LOOK_AT_USES.min(so_long)).await;
            let (open, asked) = now();
            if open > 0 || asked != last.1 {
                (last, since) = ((open, asked), Instant::now());
            }
        }
        last.1
    }

    /// Until the phone is gone.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

/// Whoever asked for a connection, and which port.
#[derive(Debug)]
struct Asked {
    port: u16,
    client: Client,
    answer: Answer,
}

/// The one task that knows the mux.
struct Task {
    bulk: Bulk,
    mux: Mux,
    ready: Option<oneshot::Sender<Result<(), NoLine>>>,
    bell: Bell,
    rung: mpsc::UnboundedReceiver<ConnectionId>,
    desks: HashMap<ConnectionId, Desk>,
    asked: HashMap<ConnectionId, Asked>,
    /// Connections whose clients have more to say than there was room for.
    crowded: Vec<ConnectionId>,
    /// Clients that have left, and when the phone must have taken what they said.
    left: VecDeque<(Instant, ConnectionId)>,
    uses: Arc<Uses>,
}

/// However the task ends, nobody waits for it any more.
impl Drop for Task {
    fn drop(&mut self) {
        for desk in self.desks.values() {
            desk.cut();
        }
    }
}

/// Until the first of those that have left has waited long enough.
async fn abandoning(left: &VecDeque<(Instant, ConnectionId)>) {
    match left.front() {
        Some((when, _)) => tokio::time::sleep_until(*when).await,
        None => std::future::pending().await,
    }
}

impl Task {
    fn new(bulk: Bulk, ready: oneshot::Sender<Result<(), NoLine>>, uses: Arc<Uses>) -> Self {
        let (bell, rung) = mpsc::unbounded_channel();
        let mux = Mux::new(bulk.packet_bytes);
        let (desks, asked) = (HashMap::new(), HashMap::new());
        let (crowded, left) = (Vec::new(), VecDeque::new());
        Self { bulk, mux, ready: Some(ready), bell, rung, desks, asked, crowded, left, uses }
    }

    async fn work(mut self, mut asks: mpsc::Receiver<(u16, Answer)>) {
        // A phone is asked before it is heard.
        if let Some(Output::Write(bytes)) = self.mux.transfer()
            && self.bulk.writes.send(bytes).await.is_err()
        {
            return;
        }
        loop {
            self.tell_news();
            let (going, speaks) = (self.bulk.writes.clone(), self.mux.may_speak());
            // What has come is seen first: then one acknowledgement is enough for all of it. A phone that never ends keeps
            // nobody but itself waiting.
            tokio::select! {
                biased;
                read = self.bulk.reads.recv() => match read {
                    Some(read) => self.mux.handle(Input::Read(&read)),
                    None => break,
                },
                Some(id) = self.rung.recv() => self.look_at(id),
                Some((port, answer)) = asks.recv() => self.ask(port, answer),
                () = abandoning(&self.left) => self.abandon(),
                () = async { tokio::time::sleep(CONNECT_WAIT).await }, if !self.asked.is_empty() => self.forget_impatient(),
                place = going.reserve(), if speaks => {
                    let Ok(place) = place else { break };
                    if let Some(Output::Write(bytes)) = self.mux.transfer() {
                        place.send(bytes);
                    }
                }
                () = going.closed(), if !speaks => break,
            }
            self.look_at_crowded();
            self.uses.open.store(self.mux.connections(), Ordering::Relaxed);
        }
        // What the phone said before it left is the clients' all the same.
        while let Ok(read) = self.bulk.reads.try_recv() {
            self.mux.handle(Input::Read(&read));
            self.tell_news();
        }
    }

    fn ask(&mut self, port: u16, answer: Answer) {
        self.forget_impatient();
        let Some(id) = self.mux.open(port) else {
            let _ = answer.send(Err(Error::Refused(port)));
            return;
        };
        let (client, desk) = pipe(id, self.bell.clone());
        self.desks.insert(id, desk);
        self.asked.insert(id, Asked { port, client, answer });
    }

    /// Whoever asked and waits no more has left: a phone that never answers fills nothing up.
    fn forget_impatient(&mut self) {
        for (id, _) in self.asked.extract_if(|_, asked| asked.answer.is_closed()) {
            self.mux.handle(Input::Ended(id));
            self.desks.remove(&id);
        }
    }

    /// Sees what a client did.
    fn look_at(&mut self, id: ConnectionId) {
        let Some(desk) = self.desks.get(&id) else { return };
        let room = self.mux.room_bytes(id);
        let done = desk.done(room);
        if done.took > 0 {
            self.mux.handle(Input::Took(id, done.took));
        }
        if !done.said.is_empty() {
            self.mux.handle(Input::Said(id, &done.said));
        }
        if done.over {
            self.mux.handle(Input::Ended(id));
            // One that only shut its half reads the end of the other, which the protocol does not have.
            desk.end();
            self.desks.remove(&id);
            self.crowded.retain(|crowded| *crowded != id);
        } else if done.said.len() == room && !self.crowded.contains(&id) {
            self.crowded.push(id);
        }
        if done.leaves && self.mux.is_open(id) && !self.left.iter().any(|(_, left)| *left == id) {
            self.left.push_back((Instant::now() + LAST_WORDS, id));
        }
    }

    /// A phone that does not take a client's last words in time has its connection reset.
    fn abandon(&mut self) {
        if let Some((_, id)) = self.left.pop_front() {
            self.mux.handle(Input::Abandoned(id));
            self.crowded.retain(|crowded| *crowded != id);
            if let Some(desk) = self.desks.remove(&id) {
                desk.end();
            }
        }
    }

    /// Where there is room again, clients may go on.
    fn look_at_crowded(&mut self) {
        let ids: Vec<_> = self.crowded.extract_if(.., |id| self.mux.room_bytes(*id) > 0).collect();
        for id in ids {
            self.look_at(id);
        }
    }

    fn tell_news(&mut self) {
        while let Some(news) = self.mux.news() {
            match news {
                Output::Ready => self.tell_ready(Ok(())),
                Output::Incompatible(major) => self.tell_ready(Err(NoLine::Incompatible(major))),
                Output::Opened(id) => self.opened(id),
                Output::Refused(id, reason) => self.refused(id, &reason),
                Output::Deliver { connection, bytes } => {
                    if let Some(desk) = self.desks.get(&connection) {
                        desk.deliver(bytes);
                    }
                }
                Output::Close(id) => {
                    self.crowded.retain(|crowded| *crowded != id);
                    if let Some(desk) = self.desks.remove(&id) {
                        desk.end();
                    }
                }
                Output::Remark { kind, text } => tracing::debug!(kind, "the phone remarks: {text:?}"),
                Output::Write(_) => unreachable!("news are no transfers"),
            }
        }
    }

    fn tell_ready(&mut self, ready: Result<(), NoLine>) {
        if let Some(waits) = self.ready.take() {
            let _ = waits.send(ready);
        }
    }

    fn opened(&mut self, id: ConnectionId) {
        let Some(Asked { client, answer, .. }) = self.asked.remove(&id) else { return };
        // Somebody who waits no more drops the client, and with it the connection.
        let _ = answer.send(Ok(client));
    }

    fn refused(&mut self, id: ConnectionId, reason: &str) {
        self.desks.remove(&id);
        if let Some(Asked { port, answer, .. }) = self.asked.remove(&id) {
            tracing::debug!("the phone refuses port {port}: {reason:?}");
            let _ = answer.send(Err(Error::Refused(port)));
        }
    }
}
