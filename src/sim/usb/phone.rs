//! A simulated iPhone at the end of a USB cable: its control endpoint, its mux, and the streams behind its ports.
//! Knows no carrier: USB/IP or whoever else hands over the transfers and fetches them.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Answer, ConnectionId, Control, Endpoints, Input, Mux, Output, Setup};
use crate::sim::config::Usb;
use crate::usbmux::{Attached, Muxer, Stream};

/// Bytes that a service says at once.
const PIECE_BYTES: usize = 32 << 10;
/// Doings of streams that wait to be seen.
const DOINGS_MAX: usize = 64;
/// Streams with those that only hand over what the host had said before it left.
const STREAMS_MAX: usize = 2 * super::CONNECTIONS_MAX;
/// What the host had said is handed over within this, or not at all.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(5);

/// What the stream behind a connection did.
#[derive(Debug)]
enum Doing {
    Opened,
    Refused,
    Said(Vec<u8>),
    Took(usize),
    Ended,
}

/// A stream, as the mux's side sees it.
#[derive(Debug)]
struct Port {
    /// Bytes for the service; bounded by the window that the mux grants.
    to_service: mpsc::UnboundedSender<Vec<u8>>,
    /// What the service said and the mux had no room for.
    held: Vec<u8>,
    /// The service may say another piece.
    goes_on: Arc<Semaphore>,
    /// Tells the stream's task that the host has left.
    _left: DropGuard,
}

/// See the module.
#[derive(Debug)]
pub struct Phone {
    muxer: Arc<dyn Muxer>,
    attached: Attached,
    control: Control,
    /// There while a configuration with the mux's interface is set.
    mux: Option<Mux>,
    ports: HashMap<ConnectionId, Port>,
    doings: mpsc::Receiver<(ConnectionId, Doing)>,
    /// For the streams' tasks.
    tells: mpsc::Sender<(ConnectionId, Doing)>,
    tasks: Vec<AbortHandle>,
}

impl Phone {
    /// The phone that `muxer` calls `attached`, with what `usb` says of its descriptors.
    #[must_use]
    pub fn new(muxer: Arc<dyn Muxer>, attached: Attached, usb: &Usb) -> Self {
        let control = Control::new(&attached.udid, usb);
        let (tells, doings) = mpsc::channel(DOINGS_MAX);
        Self { muxer, attached, control, mux: None, ports: HashMap::new(), doings, tells, tasks: Vec::new() }
    }

    /// Answers a control transfer. With a configuration everything begins anew.
    pub fn control(&mut self, setup: &Setup) -> Answer {
        let answer = self.control.answer(setup);
        if matches!(answer, Answer::Configured(_)) {
            self.end_streams();
            let mux = self.control.mux_endpoints().map(|_| Mux::new(self.control.bulk_packet_bytes()));
            self.mux = mux;
        }
        answer
    }

    /// Where its mux is now, if it has one.
    #[must_use]
    pub fn mux_endpoints(&self) -> Option<Endpoints> {
        self.control.mux_endpoints()
    }

    /// `wMaxPacketSize` of its bulk endpoints.
    #[must_use]
    pub fn bulk_packet_bytes(&self) -> u16 {
        self.control.bulk_packet_bytes()
    }

    /// Takes a bulk OUT transfer to the mux, or a piece of one; empty: one of no bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        if let Some(mux) = &mut self.mux {
            mux.handle(Input::Transfer(bytes));
            self.do_deeds();
        }
    }

    /// The next bulk IN transfer of the mux; empty: one of no bytes.
    pub fn give(&mut self) -> Option<Vec<u8>> {
        match self.mux.as_mut()?.transfer()? {
            Output::Transfer(bytes) => {
                self.fill();
                Some(bytes)
            }
            other => unreachable!("a transfer, not {other:?}"),
        }
    }

    /// Waits until a stream has done something, and sees to it. Nothing is lost when it is dropped.
    pub async fn happens(&mut self) {
        let Some((id, doing)) = self.doings.recv().await else { return };
        if !self.ports.contains_key(&id) {
            return;
        }
        let Some(mux) = &mut self.mux else { return };
        match doing {
            Doing::Opened => mux.handle(Input::Opened(id)),
            Doing::Refused => {
                self.ports.remove(&id);
                mux.handle(Input::Refused(id));
            }
            Doing::Took(bytes) => mux.handle(Input::Took(id, bytes)),
            Doing::Said(bytes) => {
                if let Some(port) = self.ports.get_mut(&id) {
                    port.held = bytes;
                }
            }
            Doing::Ended => {
                self.ports.remove(&id);
                mux.handle(Input::Ended(id));
            }
        }
        self.fill();
        self.do_deeds();
    }

    /// Hands the mux what services said, as far as there is room.
    fn fill(&mut self) {
        let Some(mux) = &mut self.mux else { return };
        for (id, port) in self.ports.iter_mut().filter(|(_, port)| !port.held.is_empty()) {
            let room = mux.room_bytes(*id).min(port.held.len());
            if room > 0 {
                mux.handle(Input::Said(*id, &port.held[..room]));
                port.held.drain(..room);
                if port.held.is_empty() {
                    port.goes_on.add_permits(1);
                }
            }
        }
    }

    fn do_deeds(&mut self) {
        while let Some(deed) = self.mux.as_mut().and_then(Mux::deed) {
            match deed {
                Output::Open { connection, port } => self.open(connection, port),
                Output::Deliver { connection, bytes } => {
                    if let Some(port) = self.ports.get(&connection) {
                        // A stream that has ended says so itself.
                        let _ = port.to_service.send(bytes);
                    }
                }
                Output::Close(connection) => {
                    self.ports.remove(&connection);
                }
                Output::Transfer(_) => unreachable!("deeds are no transfers"),
            }
        }
    }

    fn open(&mut self, id: ConnectionId, port: u16) {
        self.tasks.retain(|task| !task.is_finished());
        if self.tasks.len() >= STREAMS_MAX {
            if let Some(mux) = &mut self.mux {
                mux.handle(Input::Refused(id));
            }
            return;
        }
        let (to_service, from_host) = mpsc::unbounded_channel();
        let goes_on = Arc::new(Semaphore::new(1));
        let left = CancellationToken::new();
        let _left = left.clone().drop_guard();
        self.ports.insert(id, Port { to_service, held: Vec::new(), goes_on: Arc::clone(&goes_on), _left });
        let (muxer, device, doings) = (Arc::clone(&self.muxer), self.attached.id, self.tells.clone());
        let task = tokio::spawn(async move {
            let last = match muxer.connect(device, port).await {
                Ok(stream) => {
                    let _ = doings.send((id, Doing::Opened)).await;
                    let carrying = carry(stream, id, &doings, from_host, &goes_on, &left);
                    tokio::select! {
                        () = carrying => {}
                        () = async { left.cancelled().await; tokio::time::sleep(LAST_WORDS).await } => {}
                    }
                    Doing::Ended
                }
                Err(_) => Doing::Refused,
            };
            let _ = doings.send((id, last)).await;
        });
        self.tasks.push(task.abort_handle());
    }

    fn end_streams(&mut self) {
        self.ports.clear();
        self.tasks.drain(..).for_each(|task| task.abort());
        (self.tells, self.doings) = mpsc::channel(DOINGS_MAX);
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.end_streams();
    }
}

/// Moves bytes both ways until the service is done, or the host has left and has been heard.
async fn carry(
    stream: Stream,
    id: ConnectionId,
    doings: &mpsc::Sender<(ConnectionId, Doing)>,
    mut from_host: mpsc::UnboundedReceiver<Vec<u8>>,
    goes_on: &Semaphore,
    left: &CancellationToken,
) {
    let (mut from_service, mut to_service) = tokio::io::split(stream);
    let down = async {
        loop {
            // What it says is for nobody once the host has left, but it may have to say it before it listens.
            if let Some(Ok(turn)) = left.run_until_cancelled(goes_on.acquire()).await {
                turn.forget();
            }
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let read = (&mut from_service).take(PIECE_BYTES as u64).read_buf(&mut piece).await;
            if !matches!(read, Ok(1..)) {
                return;
            }
            if !left.is_cancelled() && doings.send((id, Doing::Said(piece))).await.is_err() {
                return;
            }
        }
    };
    let up = async {
        while let Some(bytes) = from_host.recv().await {
            let written = async {
                to_service.write_all(&bytes).await?;
                to_service.flush().await
            };
            if written.await.is_err() || doings.send((id, Doing::Took(bytes.len()))).await.is_err() {
                return false;
            }
        }
        let _ = to_service.shutdown().await;
        true
    };
    tokio::pin!(down);
    tokio::select! {
        () = &mut down => {}
        // A service that listens no more may still have something to say.
        host_left = up => if !host_left { down.await },
    }
}
