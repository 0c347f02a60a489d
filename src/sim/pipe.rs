//! A connection between a host and a phone on the bus: bytes in both directions, at the cable's pace, and cut when
//! the phone leaves.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::{Cable, LATE_MAX, TURN, Terms, Way};
use super::timer;

/// A task is woken this much before its bytes are due at most, for the time that waking took of late. An idle
/// processor of a virtual machine takes up to half a millisecond to wake.
const LEAD_MAX: Duration = Duration::from_micros(600);
/// So shortly before its bytes are due, or as shortly as waking takes of late, a task looks again and again: going to
/// sleep takes longer.
const NEAR: Duration = Duration::from_micros(60);
/// A writer that goes on within this has not paused: it only prepared what it writes next.
const AT_ONCE: Duration = Duration::from_micros(150);
/// Of bytes that come without a pause, so long a time's worth is handed over at once: to wake a task for each turn on a
/// fast cable takes a processor that the host under test may need, and what is last among them is no later for it.
const TOGETHER: Duration = Duration::from_micros(250);
/// As [`TOGETHER`], of small messages close behind each other: no longer than the cable is exact.
const CLOSE: Duration = Duration::from_micros(50);
/// Bytes that are due within this are there: the clock is read sooner than they can be used.
const EARLY: Duration = Duration::from_micros(5);
/// What the phone says so soon after something was due to it is its answer to that. The time in between is this
/// computer's, to wake a task and to run it, and no part of the cable's round trip.
const ANSWERS_WITHIN: Duration = Duration::from_micros(300);

/// One direction of a connection.
#[derive(Debug)]
struct Lane {
    way: Way,
    cable: Arc<Cable>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    /// Bytes that have arrived.
    there: usize,
    /// When the others do, in order.
    coming: VecDeque<(Instant, usize)>,
    /// When the last of those that are there was due.
    was_due: Option<Instant>,
    /// The writing end is done.
    ended: bool,
    /// The reading end is gone.
    unread: bool,
    /// The phone left.
    cut: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The writer is woken when no more bytes than this are left.
    writer_from: usize,
    hung_up: Option<Waker>,
    /// The timer that was set last.
    timer: Option<Set>,
    /// The writer has bytes and found no room.
    crowded: bool,
    /// When a writer that got its turn late last wrote, as long as it has not caught up with the cable.
    catching_up: Option<Instant>,
    /// How long after its time a task was seen to run: of the longer times of late, not of the average, since a task
    /// that was woken too soon loses nothing.
    lead: Duration,
}

/// A timer that was set for bytes that are coming.
#[derive(Debug)]
struct Set {
    due: Instant,
    /// To the microsecond.
    exact: bool,
    rings: Instant,
    /// When the task was first seen to run after that, if that was too soon.
    ran: Option<Instant>,
    wakes: Waker,
}

impl State {
    fn wake_all(&mut self) {
        for waker in [self.reader.take(), self.writer.take(), self.hung_up.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn wake_writer(&mut self) {
        if self.bytes.len() <= self.writer_from
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
    }

    /// Counts as there what has arrived by `now`.
    fn arrive(&mut self, now: Instant) {
        while let Some(&(due, bytes)) = self.coming.front().filter(|(due, _)| *due <= now + EARLY) {
            self.coming.pop_front();
            self.there += bytes;
            self.was_due = Some(due);
            if let Some(set) = self.timer.take_if(|set| set.due <= due)
                && set.exact
                && set.due == due
            {
                // Waking a task takes time that is not the cable's: next time it is woken that much sooner.
                let took = set.ran.unwrap_or(now).saturating_duration_since(set.rings).min(LEAD_MAX);
                self.lead =
                    if took > self.lead { (self.lead + took) / 2 } else { (self.lead * 15 + took) / 16 };
            }
        }
    }

    /// Until when the reading end waits, and whether to the microsecond: for the next bytes, and for what comes right
    /// behind them.
    fn next_due(&self) -> Option<(Instant, bool)> {
        let (first, bytes) = *self.coming.front()?;
        let (mut due, mut whole, mut exact) = (first, bytes == TURN, true);
        for (next, bytes) in self.coming.iter().skip(1) {
            if next.duration_since(first) > if whole { TOGETHER } else { CLOSE } {
                break;
            }
            exact &= !whole;
            (due, whole) = (*next, *bytes == TURN);
        }
        Some((due, exact))
    }

    /// Sees to it that `waker` is woken when the next bytes are due at `due`.
    fn set_timer(&mut self, (due, exact): (Instant, bool), now: Instant, waker: &Waker) {
        let near = NEAR.max(self.lead);
        let set = self.timer.as_mut().filter(|set| set.due == due && set.wakes.will_wake(waker));
        let rings = match set {
            // Woken a little too soon.
            Some(set) if now >= set.rings && due.saturating_duration_since(now) <= near => {
                set.ran.get_or_insert(now);
                waker.wake_by_ref();
                return;
            }
            Some(set) if now >= set.rings => due,
            Some(_) => return,
            None if exact => due.checked_sub(self.lead).unwrap_or(due),
            None => due,
        };
        if exact {
            timer::wake_at(rings, waker.clone());
        } else {
            timer::wake_soon_after(rings, waker.clone());
        }
        self.timer = Some(Set { due, exact, rings, ran: None, wakes: waker.clone() });
    }
}

impl Lane {
    fn new(way: Way, cable: Arc<Cable>) -> Arc<Self> {
        Arc::new(Self { way, cable, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if state.cut {
            return Poll::Ready(Err(gone()));
        }
        let now = if state.coming.is_empty() { None } else { Some(Instant::now()) };
        if let Some(now) = now {
            state.arrive(now);
        }
        let n = state.there.min(buf.remaining());
        if n > 0 {
            buf.put_slice(&state.bytes[..n]);
            state.bytes.advance(n);
            state.there -= n;
            state.wake_writer();
            return Poll::Ready(Ok(()));
        }
        let next = state.next_due();
        if buf.remaining() == 0 || (state.ended && next.is_none()) {
            return Poll::Ready(Ok(()));
        }
        if let (Some(due), Some(now)) = (next, now) {
            state.set_timer(due, now, cx.waker());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// When that was due which the reading end may be answering now.
    fn answered(&self) -> Option<Instant> {
        self.state().was_due
    }

    /// `answers`: since when the bytes are there at the latest, if they come at once after that.
    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        answers: Option<Instant>,
    ) -> Poll<io::Result<usize>> {
        let terms = self.cable.terms();
        let mut state = self.state();
        if state.cut {
            return Poll::Ready(Err(gone()));
        }
        if state.unread || state.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let most = Terms::room(terms);
        let room = most.saturating_sub(state.bytes.len());
        if room == 0 && !buf.is_empty() {
            state.crowded = true;
            // On a cable with figures there is a reserve of time: a writer need not come for every turn.
            state.writer_from = if terms.is_some() { most - most / 8 } else { most };
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let crowded = std::mem::take(&mut state.crowded);
        let reader_waits_for_earlier = !state.coming.is_empty() && state.timer.is_some();
        let mut n = room.min(buf.len());
        match terms {
            None if state.coming.is_empty() => state.there += n,
            None => state.coming.push_back((Instant::now(), n)),
            Some(terms) => {
                n = n.min(TURN);
                let now = Instant::now();
                let goes_on = state.catching_up.is_some_and(|last| now.duration_since(last) <= AT_ONCE);
                let late = crowded || goes_on;
                let ready = match answers.filter(|due| now.saturating_duration_since(*due) <= ANSWERS_WITHIN)
                {
                    _ if late => now.checked_sub(LATE_MAX).unwrap_or(now),
                    Some(due) => due,
                    None => now,
                };
                let arrives = self.cable.send(self.way, terms, n, ready);
                state.catching_up = (late && terms.left_before(arrives, now)).then_some(now);
                state.coming.push_back((arrives, n));
            }
        }
        state.bytes.extend_from_slice(&buf[..n]);
        if !reader_waits_for_earlier && let Some(reader) = state.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(n))
    }

    fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.wake_all();
    }

    fn unread(&self) {
        let mut state = self.state();
        state.unread = true;
        state.bytes = BytesMut::new();
        state.coming.clear();
        state.there = 0;
        state.wake_all();
    }

    fn cut(&self) {
        let mut state = self.state();
        state.cut = true;
        state.bytes = BytesMut::new();
        state.wake_all();
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the device left the bus")
}

/// One end of a connection; dropping it closes its direction.
#[derive(Debug)]
pub(super) struct End {
    reads: Arc<Lane>,
    writes: Arc<Lane>,
    /// It is the phone's: how long it takes to answer is the cable's affair alone.
    answers: bool,
}

/// Cuts a connection from outside, and tells when its host has left.
#[derive(Debug, Clone)]
pub(super) struct Line {
    to_phone: Arc<Lane>,
    to_host: Arc<Lane>,
}

/// A new connection over `cable`: the host's end, the phone's end, and the line between.
pub(super) fn connection(cable: &Arc<Cable>) -> (End, End, Line) {
    let to_phone = Lane::new(Way::ToPhone, Arc::clone(cable));
    let to_host = Lane::new(Way::ToHost, Arc::clone(cable));
    let host = End { reads: Arc::clone(&to_host), writes: Arc::clone(&to_phone), answers: false };
    let phone = End { reads: Arc::clone(&to_phone), writes: Arc::clone(&to_host), answers: true };
    (host, phone, Line { to_phone, to_host })
}

impl Line {
    /// Both ends fail from now on; what was on its way is lost.
    pub(super) fn cut(&self) {
        self.to_phone.cut();
        self.to_host.cut();
    }

    /// Waits until the host has dropped its end.
    pub(super) async fn host_left(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.to_host.state();
            if state.unread || state.cut {
                return Poll::Ready(());
            }
            state.hung_up = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.writes.end();
        self.reads.unread();
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.reads.poll_read(cx, buf)
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let answers = if self.answers { self.reads.answered() } else { None };
        self.writes.poll_write(cx, buf, answers)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writes.end();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::Device;
    use super::*;

    fn cable(toml: &str) -> (tempfile::TempDir, Arc<Cable>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("device.toml"), toml).unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        (folder, Cable::new(device))
    }

    async fn carries_everything(toml: &str) {
        let (_folder, cable) = cable(toml);
        let (mut host, mut phone, _line) = connection(&cable);
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let sender = tokio::spawn(async move {
            phone.write_all(&sent).await.unwrap();
            let mut back = Vec::new();
            phone.read_to_end(&mut back).await.unwrap();
            back
        });
        host.write_all(b"thanks").await.unwrap();
        host.shutdown().await.unwrap();
        let mut received = Vec::new();
        host.read_to_end(&mut received).await.unwrap();
        assert!(received == expected);
        assert_eq!(sender.await.unwrap(), b"thanks");
    }

    #[tokio::test]
    async fn a_free_cable_carries_everything_in_order() {
        carries_everything("").await;
    }

    #[tokio::test]
    async fn a_paced_cable_carries_everything_in_order() {
        carries_everything("[link]\nbytes_per_second = 20000000\nround_trip_us = 2000").await;
    }

    #[tokio::test]
    async fn a_paced_cable_takes_its_time() {
        let (_folder, cable) = cable("[link]\nbytes_per_second = 10000000\nround_trip_us = 10000");
        let (mut host, mut phone, _line) = connection(&cable);
        let start = Instant::now();
        let sender = tokio::spawn(async move { phone.write_all(&[7; 500_000]).await });
        let mut received = Vec::new();
        host.read_to_end(&mut received).await.unwrap();
        sender.await.unwrap().unwrap();
        assert_eq!(received.len(), 500_000);
        assert!(start.elapsed() >= Duration::from_millis(54), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn an_answer_is_on_its_way_since_its_question_was_due_and_a_late_one_since_it_was_written() {
        let (_folder, cable) = cable("[link]\nround_trip_us = 20000");
        let (_host, phone, _line) = connection(&cable);
        let delay = Duration::from_millis(10);
        let written = async |due: Option<Instant>| {
            std::future::poll_fn(|cx| phone.writes.poll_write(cx, b"!", due)).await.unwrap();
            phone.writes.state().coming.pop_back().unwrap().0
        };
        let before = Instant::now();
        let long_ago = before.checked_sub(Duration::from_millis(1)).unwrap();
        assert!(written(None).await >= before + delay);
        assert!(written(Some(long_ago)).await >= before + delay);
        // Not to be missed, however busy this computer is.
        let soon = Instant::now() + Duration::from_secs(1);
        assert_eq!(written(Some(soon)).await, soon + delay);
    }

    #[tokio::test]
    async fn a_cut_line_fails_at_both_ends_at_once() {
        let (_folder, cable) = cable("");
        let (mut host, mut phone, line) = connection(&cable);
        phone.write_all(b"lost").await.unwrap();
        line.cut();
        let error = host.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(phone.write_all(b"more").await.is_err());
    }

    #[tokio::test]
    async fn a_writer_waits_for_room_and_learns_that_nobody_reads() {
        let (_folder, cable) = cable("");
        let (host, mut phone, line) = connection(&cable);
        let writer = tokio::spawn(async move { phone.write_all(&vec![0; 8 << 20]).await });
        tokio::task::yield_now().await;
        drop(host);
        line.host_left().await;
        assert_eq!(writer.await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
