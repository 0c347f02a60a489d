//! One connection's requests in flight: numbers, turns, windows, time limits.
//!
//! A task writes, a task reads. Replies must come in the order of the requests: reads of one handle move its position,
//! so a device that answers out of turn may also have read out of turn, and its bytes cannot be trusted. The first
//! oddity ends the connection; nothing on it is ever resynchronised.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::buffers::Buffers;
use super::error::{Cause, Error};
use super::pacing::Pacing;
use super::packet::{Operation, READ_BYTES_MAX, Status};
use super::reply::Wants;
use super::request::Request;
use crate::usbmux::Stream;

mod asked;
mod replies;

pub(super) use asked::Asked;

/// The most bytes of replies that may be on their way at once, in KiB.
const REPLY_KIB_MAX: u32 = 8 << 10;

/// Of those, so many may wait for whoever asked; then nothing more is read before one is taken.
const LARGE_MAX: usize = 2;

/// The most bytes that may have come and not be used yet, in KiB, before they count against those on their way: a disk
/// that pauses for a moment does not stop the phone.
const LANDED_KIB_MAX: u32 = 16 << 10;

/// A good answer.
#[derive(Debug)]
pub(super) enum Reply {
    Done,
    Data(Vec<u8>, Option<OwnedSemaphorePermit>),
    Handle(Handle),
    Position(u64),
}

/// A handle on the device. Dropped, it is closed there as well.
#[derive(Debug)]
pub(super) struct Handle {
    number: u64,
    flight: Arc<Flight>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Handle {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Its place among the open handles, once its closing has its place in the order: afterwards a drop asks nothing.
    pub(super) fn closing(&mut self) -> Option<OwnedSemaphorePermit> {
        self.permit.take()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let close = Request::FileClose { handle: self.number };
            let _ = self.flight.push(&close, b"", Wants::Status, (None, None, None));
            drop(permit);
        }
    }
}

type Answer = Result<Reply, Failure>;

/// How a request failed, without its name.
#[derive(Debug, Clone)]
enum Failure {
    Status(Status),
    Dead(Arc<Cause>),
}

/// Slot, bytes and handle that a request holds until its reply is there, whoever still waits for it.
type Permits = (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>);

#[derive(Debug)]
struct Pending {
    number: u64,
    operation: Operation,
    wants: Wants,
    answer: oneshot::Sender<Answer>,
    permits: Permits,
}

#[derive(Debug)]
struct Wire {
    next: u64,
    pending: VecDeque<Pending>,
    out: mpsc::UnboundedSender<Vec<u8>>,
    dead: Option<Arc<Cause>>,
    /// When bytes last came.
    moved_at: Instant,
    /// Requests that may be in flight now; answers since that was last thought over; whether it was full meanwhile.
    window: usize,
    answered: usize,
    was_full: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Flight {
    wire: Mutex<Wire>,
    slots: Arc<Semaphore>,
    reply_kib: Arc<Semaphore>,
    large: Arc<Semaphore>,
    landed_kib: Arc<Semaphore>,
    buffers: Arc<Buffers>,
    pacing: Arc<Pacing>,
    limit: Duration,
    ended: CancellationToken,
}

impl Flight {
    /// Takes the stream over. `limit`: how long an answer may take without a byte arriving.
    pub(super) fn begin(stream: Stream, pacing: Arc<Pacing>, limit: Duration) -> Arc<Self> {
        let (out, queue) = mpsc::unbounded_channel();
        let wire = Wire {
            next: 1,
            pending: VecDeque::new(),
            out,
            dead: None,
            moved_at: Instant::now(),
            window: 1,
            answered: 0,
            was_full: false,
        };
        let flight = Arc::new(Self {
            wire: Mutex::new(wire),
            slots: Arc::new(Semaphore::new(1)),
            reply_kib: Arc::new(Semaphore::new(REPLY_KIB_MAX as usize)),
            large: Arc::new(Semaphore::new(LARGE_MAX)),
            landed_kib: Arc::new(Semaphore::new(LANDED_KIB_MAX as usize)),
            buffers: Arc::default(),
            pacing,
            limit,
            ended: CancellationToken::new(),
        });
        let (input, output) = tokio::io::split(stream);
        tokio::spawn(Arc::clone(&flight).run(input, output, queue));
        flight
    }

    /// Both directions until one of them ends; the stream is dropped with them.
    async fn run(
        self: Arc<Self>,
        input: ReadHalf<Stream>,
        output: WriteHalf<Stream>,
        queue: mpsc::UnboundedReceiver<Vec<u8>>,
    ) {
        let cause = {
            // Its own task: on a fast link one side must not wait for the other to be polled.
            let mut writer = tokio::spawn(write_requests(output, queue));
            let cause = tokio::select! {
                cause = self.read_replies(input) => cause,
                written = &mut writer => match written {
                    Ok(Err(error)) => broken(error),
                    _ => Cause::GivenUp,
                },
                cause = self.stalled() => cause,
                () = self.ended.cancelled() => Cause::GivenUp,
            };
            writer.abort();
            cause
        };
        self.die(cause);
    }

    /// Waits for a turn and sends. When this returns the request has its place in the order.
    pub(super) async fn ask(
        self: &Arc<Self>,
        request: &Request,
        payload: &[u8],
        wants: Wants,
        path: Arc<str>,
        handle: Option<OwnedSemaphorePermit>,
    ) -> Result<Asked, Error> {
        let operation = request.operation();
        let kib = match wants {
            // A folder's reply may be large and almost never is: its bound protects memory, this only paces.
            Wants::Data(most) => most.min(u64::from(READ_BYTES_MAX)).div_ceil(1024).max(1),
            _ => 1,
        };
        let kib = if operation == Operation::FileRead { kib } else { kib.min(16) };
        let dead = || self.broken(operation, &path);
        let kib = u32::try_from(kib).expect("at most 4 MiB in KiB");
        let bytes = Arc::clone(&self.reply_kib).acquire_many_owned(kib).await.map_err(|_| dead())?;
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| dead())?;
        match self.push(request, payload, wants, (Some(slot), Some(bytes), handle)) {
            Ok(answer) => Ok(Asked { operation, path, answer, flight: Arc::clone(self) }),
            Err(NotSent::Dead) => Err(dead()),
            Err(NotSent::Path) => Err(Error::UnsendablePath { path }),
        }
    }

    /// Number, place in the order and place in the writer's queue, in one step.
    fn push(
        &self,
        request: &Request,
        payload: &[u8],
        wants: Wants,
        permits: Permits,
    ) -> Result<oneshot::Receiver<Answer>, NotSent> {
        let mut wire = self.wire();
        if wire.dead.is_some() {
            return Err(NotSent::Dead);
        }
        let number = wire.next;
        let bytes = request.encode(number, payload).map_err(|_| NotSent::Path)?;
        if wire.pending.is_empty() {
            wire.moved_at = Instant::now();
        }
        wire.next += 1;
        let (answer, waits) = oneshot::channel();
        wire.pending.push_back(Pending { number, operation: request.operation(), wants, answer, permits });
        wire.was_full |= wire.pending.len() >= wire.window;
        // The writer ends only together with the whole connection, which fails all that is pending.
        let _ = wire.out.send(bytes);
        Ok(waits)
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().expect("nothing panics while it holds this lock")
    }

    fn broken(&self, operation: Operation, path: &Arc<str>) -> Error {
        let cause = self.wire().dead.clone().unwrap_or_else(|| Arc::new(Cause::GivenUp));
        Error::Broken { operation, path: Arc::clone(path), cause }
    }

    /// Lets go of the connection; whatever is in flight fails.
    pub(super) fn give_up(&self) {
        self.ended.cancel();
    }

    /// True once nothing can be asked here any more.
    pub(super) fn is_dead(&self) -> bool {
        self.wire().dead.is_some()
    }

    fn die(&self, cause: Cause) {
        let cause = Arc::new(cause);
        let pending = {
            let mut wire = self.wire();
            if wire.dead.is_some() {
                return;
            }
            if wire.pending.len() > 1 && !matches!(*cause, Cause::GivenUp) {
                // Perhaps it was the depth: this phone is asked one thing at a time from now on.
                self.pacing.fall_back();
            }
            wire.dead = Some(Arc::clone(&cause));
            std::mem::take(&mut wire.pending)
        };
        self.slots.close();
        self.reply_kib.close();
        for request in pending {
            let _ = request.answer.send(Err(Failure::Dead(Arc::clone(&cause))));
        }
        self.ended.cancel();
    }

    /// Ends once the device owes an answer and not a byte of it came within the limit.
    ///
    /// The connection watches itself: whoever asks may be waiting for a turn, and then nobody waits for an answer.
    async fn stalled(&self) -> Cause {
        loop {
            let deadline = {
                let wire = self.wire();
                // With nothing owed the next request begins the wait anew, so no stall can come sooner than this.
                let since = if wire.pending.is_empty() { Instant::now() } else { wire.moved_at };
                since + self.limit
            };
            if deadline <= Instant::now() {
                return Cause::Timeout(self.limit);
            }
            sleep_until(deadline).await;
        }
    }

    #[cfg(test)]
    pub(super) fn window(&self) -> usize {
        self.wire().window
    }
}

enum NotSent {
    Dead,
    Path,
}

fn broken(error: io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => Cause::Closed,
        _ => Cause::Io(error),
    }
}

/// Requests that wait together leave together: fewer, fuller packets on the bus.
async fn write_requests(
    mut output: WriteHalf<Stream>,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
) -> io::Result<()> {
    const TOGETHER_BYTES: usize = 32 << 10;
    while let Some(mut bytes) = queue.recv().await {
        while bytes.len() < TOGETHER_BYTES {
            match queue.try_recv() {
                Ok(more) => bytes.extend_from_slice(&more),
                Err(_) => break,
            }
        }
        output.write_all(&bytes).await?;
        output.flush().await?;
    }
    Ok(())
}
