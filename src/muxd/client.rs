//! A client's end of a connection to a phone: bytes that wait in either direction between the client's task and the
//! one task that works the phone's [`super::Mux`]. Knows nothing of packets.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use super::mux::ConnectionId;

/// Bytes of the client's that wait at most. What waits in the other direction is bounded by the mux's window.
const WAITING_BYTES_MAX: usize = 128 << 10;

/// What both ends of the pipe look at.
#[derive(Debug, Default)]
struct State {
    /// From the phone.
    heard: BytesMut,
    /// To the phone.
    said: VecDeque<u8>,
    /// Bytes that the client took since the mux was told.
    took: usize,
    /// The phone has ended the connection; what was heard is still there.
    ended: bool,
    /// The phone is gone, and everything with it.
    cut: bool,
    /// The client has nothing more to say.
    done: bool,
    /// The client is gone.
    gone: bool,
    /// The mux's task has been told that there is something to see.
    told: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Tells the mux's task which connections to look at.
pub(super) type Bell = mpsc::UnboundedSender<ConnectionId>;

/// The mux's side.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    state: Arc<Mutex<State>>,
}

/// The client's side; a stream.
#[derive(Debug)]
pub(super) struct Client {
    state: Arc<Mutex<State>>,
    id: ConnectionId,
    bell: Bell,
}

/// What the client did since it was looked at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Said, at most as many bytes as were asked for.
    pub(super) said: Vec<u8>,
    /// Taken.
    pub(super) took: usize,
    /// It will say nothing more.
    pub(super) leaves: bool,
    /// And everything it said has been taken.
    pub(super) over: bool,
}

pub(super) fn pipe(id: ConnectionId, bell: Bell) -> (Client, Desk) {
    let state = Arc::new(Mutex::default());
    (Client { state: Arc::clone(&state), id, bell }, Desk { state })
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Hands bytes to the client.
    pub(super) fn deliver(&self, bytes: Vec<u8>) {
        let mut state = lock(&self.state);
        if !state.gone {
            if state.heard.is_empty() {
                state.heard = BytesMut::from(Bytes::from(bytes));
            } else {
                state.heard.extend_from_slice(&bytes);
            }
            wake(&mut state.reader);
        }
    }

    /// What the client did; of what it said, `room` bytes at most. Asked again when there is more room.
    pub(super) fn done(&self, room: usize) -> Done {
        let mut state = lock(&self.state);
        state.told = false;
        let bytes = room.min(state.said.len());
        let said: Vec<u8> = state.said.drain(..bytes).collect();
        if bytes > 0 {
            wake(&mut state.writer);
        }
        let leaves = state.done || state.gone;
        Done { said, took: std::mem::take(&mut state.took), leaves, over: leaves && state.said.is_empty() }
    }

    /// The phone has ended the connection.
    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        state.wake_all();
    }

    /// The phone is gone.
    pub(super) fn cut(&self) {
        let mut state = lock(&self.state);
        state.cut = true;
        state.wake_all();
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl State {
    fn wake_all(&mut self) {
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

impl Client {
    /// Tells the mux's task, unless it knows already.
    fn tell(&self, state: &mut State) {
        if !std::mem::replace(&mut state.told, true) {
            // Nobody listens when the phone is gone; that is seen elsewhere.
            let _ = self.bell.send(self.id);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.gone = true;
        state.heard = BytesMut::new();
        self.tell(&mut state);
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the device left the bus")
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.state);
        let taken = state.heard.len().min(buf.remaining());
        if taken > 0 {
            buf.put_slice(&state.heard[..taken]);
            state.heard.advance(taken);
            state.took += taken;
            self.tell(&mut state);
            return Poll::Ready(Ok(()));
        }
        if state.cut {
            return Poll::Ready(Err(gone()));
        }
        if state.ended || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.state);
        if state.cut {
            return Poll::Ready(Err(gone()));
        }
        if state.ended || state.done {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let n = buf.len().min(WAITING_BYTES_MAX.saturating_sub(state.said.len()));
        if n == 0 && !buf.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.said.extend(&buf[..n]);
        self.tell(&mut state);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The mux protocol has no half-closed connections: whoever has nothing more to say has left.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.state);
        state.done = true;
        self.tell(&mut state);
        Poll::Ready(Ok(()))
    }
}
