//! The connections to one phone: bounded, and where there are too many, the one over which nothing has passed for
//! longest has to go, so that idle ones lock nobody out.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::usbmux::Stream;

/// Connections to one phone at a time.
const CONNECTIONS_MAX: usize = 512;
/// One over which something passed within this time stays.
const BUSY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Connections {
    since: Instant,
    open: Mutex<(u64, BTreeMap<u64, Arc<Signs>>)>,
}

/// Signs of life of a connection.
#[derive(Debug)]
struct Signs {
    /// When something last passed, in milliseconds since the phone was plugged in.
    passed_ms: AtomicU64,
    must_go: CancellationToken,
}

impl Default for Connections {
    fn default() -> Self {
        Self { since: Instant::now(), open: Mutex::default() }
    }
}

impl Connections {
    /// Enters a connection as long as the result lives. `None`: there are too many, and all are busy.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Entry> {
        let mut open = self.open();
        if open.1.len() >= CONNECTIONS_MAX {
            let idlest = open.1.iter().min_by_key(|(_, signs)| signs.passed_ms.load(Ordering::Relaxed));
            let (number, signs) = idlest.map(|(number, signs)| (*number, Arc::clone(signs)))?;
            let busy = u64::try_from(BUSY.as_millis()).unwrap_or(u64::MAX);
            if self.now_ms().saturating_sub(signs.passed_ms.load(Ordering::Relaxed)) < busy {
                return None;
            }
            signs.must_go.cancel();
            open.1.remove(&number);
        }
        open.0 += 1;
        let number = open.0;
        let signs =
            Arc::new(Signs { passed_ms: AtomicU64::new(self.now_ms()), must_go: CancellationToken::new() });
        open.1.insert(number, Arc::clone(&signs));
        Some(Entry { connections: Arc::clone(self), number, signs })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn open(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Arc<Signs>>)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place.
#[derive(Debug)]
pub(super) struct Entry {
    connections: Arc<Connections>,
    number: u64,
    signs: Arc<Signs>,
}

impl Entry {
    /// Until the connection has to make room for another.
    pub(super) async fn must_go(&self) {
        self.signs.must_go.cancelled().await;
    }

    /// The connection's stream, with an eye on what passes.
    pub(super) fn watch(&self, stream: Stream) -> WatchedStream {
        WatchedStream { stream, connections: Arc::clone(&self.connections), signs: Arc::clone(&self.signs) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.open().1.remove(&self.number);
    }
}

/// A stream that leaves signs of life.
#[derive(Debug)]
pub(super) struct WatchedStream {
    stream: Stream,
    connections: Arc<Connections>,
    signs: Arc<Signs>,
}

impl WatchedStream {
    fn sign<T>(&self, polled: Poll<T>) -> Poll<T> {
        if polled.is_ready() {
            self.signs.passed_ms.store(self.connections.now_ms(), Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.sign(polled)
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.sign(polled)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idlest_goes_when_there_are_too_many_and_the_busy_stay() {
        let connections = Arc::new(Connections::default());
        let entries: Vec<Entry> = (0..CONNECTIONS_MAX).map(|_| connections.enter().unwrap()).collect();
        assert!(connections.enter().is_none(), "all are busy");
        std::thread::sleep(BUSY);
        for entry in entries.iter().filter(|entry| entry.number != 7) {
            entry.signs.passed_ms.store(connections.now_ms(), Ordering::Relaxed);
        }
        let one_more = connections.enter().unwrap();
        let gone: Vec<u64> = entries
            .iter()
            .filter(|entry| entry.signs.must_go.is_cancelled())
            .map(|entry| entry.number)
            .collect();
        assert_eq!(gone, [7]);
        drop(entries);
        assert_eq!(connections.open().1.len(), 1);
        drop(one_more);
        assert!(connections.open().1.is_empty());
    }
}
