//! Wakes tasks to within some 50 µs: a thread of its own, since the runtime's timer turns 1 ms into 2.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// The kernel may wake us later by this at most, in nanoseconds.
const SLACK_NS: u64 = 1000;
/// The last stretch before a time is due is not slept: the kernel's wake-up takes about this long.
const SPIN: Duration = Duration::from_micros(30);

#[derive(Debug)]
struct Entry {
    due: Instant,
    /// How much sooner than that the thread stops sleeping.
    awake: Duration,
    waker: Waker,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.cmp(&other.due)
    }
}

#[derive(Debug, Default)]
struct Timer {
    waiting: Mutex<BinaryHeap<Reverse<Entry>>>,
    earlier: Condvar,
}

/// Wakes `waker` at `due`.
pub(super) fn wake_at(due: Instant, waker: Waker) {
    wake(Entry { due, awake: SPIN, waker });
}

/// Wakes `waker` soon after `due`, by some 50 µs, at no cost to anybody else.
pub(super) fn wake_soon_after(due: Instant, waker: Waker) {
    wake(Entry { due, awake: Duration::ZERO, waker });
}

fn wake(entry: Entry) {
    static TIMER: OnceLock<&'static Timer> = OnceLock::new();
    let timer = TIMER.get_or_init(|| {
        let timer: &'static Timer = Box::leak(Box::default());
        let thread = std::thread::Builder::new().name("sim-timer".to_owned());
        thread.spawn(|| timer.run()).expect("a thread can be started, or nothing works");
        timer
    });
    let mut waiting = timer.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let first = waiting.peek().is_none_or(|Reverse(first)| entry.due < first.due);
    waiting.push(Reverse(entry));
    if first {
        timer.earlier.notify_one();
    }
}

/// Waits until `due`.
pub(super) async fn sleep_until(due: Instant) {
    SleepUntil { due, waker: None }.await;
}

struct SleepUntil {
    due: Instant,
    waker: Option<Waker>,
}

impl Future for SleepUntil {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.due {
            return Poll::Ready(());
        }
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            wake_at(self.due, cx.waker().clone());
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Timer {
    fn run(&self) {
        // Without it the timer is only less exact.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(SLACK_NS));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(Reverse(first)) = waiting.peek() else {
                waiting = self.earlier.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (left, awake) = (first.due.saturating_duration_since(Instant::now()), first.awake);
            if left > awake {
                let slept = self.earlier.wait_timeout(waiting, left.saturating_sub(awake));
                waiting = slept.unwrap_or_else(PoisonError::into_inner).0;
            } else if left.is_zero() {
                let due = waiting.pop();
                drop(waiting);
                due.into_iter().for_each(|Reverse(due)| due.waker.wake());
                waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            } else {
                drop(waiting);
                std::hint::spin_loop();
                waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_wake_in_order_and_never_early() {
        let start = Instant::now();
        let late = tokio::spawn(sleep_until(start + Duration::from_millis(20)));
        sleep_until(start + Duration::from_millis(5)).await;
        assert!(start.elapsed() >= Duration::from_millis(5));
        late.await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
