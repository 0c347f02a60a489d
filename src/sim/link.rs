//! The cable: how many bytes a second all connections of a phone share in each direction, and how long a byte is on
//! its way.
//!
//! One token bucket for each direction, kept as the time at which it is free again, and a delay of half the round
//! trip. Pure but for the clock that it is handed; [`super::pipe`] moves the bytes. A cable without figures costs
//! nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::LinkConfig;
use super::device::Device;

/// Room in a pipe over a cable without figures, in bytes.
const ROOM: usize = 256 << 10;
/// The least room over a cable with figures: what one TCP window of usbmux holds.
const ROOM_MIN: usize = 128 << 10;
/// The most, however fast and long the cable.
const ROOM_MAX: usize = 64 << 20;
/// Room for so long a time of sending, besides what is on its way: tasks are not scheduled at once.
const ROOM_SLACK: Duration = Duration::from_millis(12);
/// A task that had bytes to send and got its turn late on this computer still sends at the cable's pace, if it is not
/// later than this: the cable would not have waited for it.
pub(super) const LATE_MAX: Duration = Duration::from_millis(10);
/// Bytes that take their place on the cable together; connections take turns in between.
pub(super) const TURN: usize = 32 << 10;

/// The cable of one phone.
#[derive(Debug)]
pub(super) struct Cable {
    device: Arc<Device>,
    to_phone: Mutex<Option<Instant>>,
    to_host: Mutex<Option<Instant>>,
}

/// A direction on the cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToPhone,
    ToHost,
}

/// What the cable lets a pipe do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    rate: Option<u64>,
    delay: Duration,
}

impl Terms {
    fn of(link: &LinkConfig) -> Option<Self> {
        let delay = Duration::from_micros(link.round_trip_us.unwrap_or(0)) / 2;
        if link.bytes_per_second.is_none() && delay.is_zero() {
            return None;
        }
        Some(Self { rate: link.bytes_per_second, delay })
    }

    /// Bytes that a pipe may hold.
    pub(super) fn room(terms: Option<Self>) -> usize {
        let Some(terms) = terms else { return ROOM };
        let Some(rate) = terms.rate else { return ROOM_MAX };
        let time = terms.delay * 2 + ROOM_SLACK;
        let bytes = u128::from(rate).saturating_mul(time.as_nanos()) / 1_000_000_000;
        usize::try_from(bytes).unwrap_or(ROOM_MAX).clamp(ROOM_MIN, ROOM_MAX)
    }

    /// Whether what arrives at `arrives` had left the sender's end before `now`: the cable is free.
    pub(super) fn left_before(self, arrives: Instant, now: Instant) -> bool {
        arrives < now + self.delay
    }

    /// Takes a place for `bytes`, which are there since `ready`, behind what `free` holds; returns when they arrive.
    fn reserve(self, free: &mut Option<Instant>, ready: Instant, bytes: usize) -> Instant {
        let start = free.map_or(ready, |free| free.max(ready));
        let takes = self.rate.map_or(Duration::ZERO, |rate| {
            let nanos = bytes as u128 * 1_000_000_000 / u128::from(rate.max(1));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        });
        let done = start.checked_add(takes).unwrap_or(start);
        *free = Some(done);
        done + self.delay
    }
}

impl Cable {
    pub(super) fn new(device: Arc<Device>) -> Arc<Self> {
        Arc::new(Self { device, to_phone: Mutex::default(), to_host: Mutex::default() })
    }

    /// What `device.toml` says of the cable now; `None`: it costs nothing.
    pub(super) fn terms(&self) -> Option<Terms> {
        Terms::of(&self.device.config().link)
    }

    /// Takes a place for `bytes`, which are there since `ready`; returns when they arrive at the other end.
    pub(super) fn send(&self, way: Way, terms: Terms, bytes: usize, ready: Instant) -> Instant {
        let free = match way {
            Way::ToPhone => &self.to_phone,
            Way::ToHost => &self.to_host,
        };
        let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
        terms.reserve(&mut free, ready, bytes)
    }

    /// When the answer to something sent now could be there.
    pub(super) fn round_trip(&self) -> Option<Instant> {
        self.terms().map(|terms| Instant::now() + terms.delay * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(rate: Option<u64>, round_trip_us: Option<u64>) -> Option<Terms> {
        Terms::of(&LinkConfig { bytes_per_second: rate, round_trip_us })
    }

    #[test]
    fn a_cable_without_figures_has_no_terms() {
        assert_eq!(terms(None, None), None);
        assert!(terms(Some(1), None).is_some() && terms(None, Some(2)).is_some());
    }

    #[test]
    fn bytes_queue_for_the_rate_and_all_are_delayed_alike() {
        let terms = terms(Some(1_000_000), Some(1000)).unwrap();
        let (mut free, now) = (None, Instant::now());
        let us = Duration::from_micros;
        assert_eq!(terms.reserve(&mut free, now, 1000), now + us(1000 + 500));
        assert_eq!(terms.reserve(&mut free, now, 500), now + us(1500 + 500));
        // An idle cable saves nothing up.
        let later = now + us(10_000);
        assert_eq!(terms.reserve(&mut free, later, 1000), later + us(1000 + 500));
        // Who only came late to the cable loses no time.
        assert_eq!(terms.reserve(&mut free, later - us(3000), 1000), later + us(2000 + 500));
    }

    #[test]
    fn the_room_holds_what_is_on_its_way() {
        assert_eq!(Terms::room(None), ROOM);
        assert_eq!(Terms::room(terms(Some(1000), None)), ROOM_MIN);
        assert!(Terms::room(terms(Some(400_000_000), Some(1000))) >= 400_000);
        assert!(Terms::room(terms(Some(u64::MAX), Some(60_000_000))) <= ROOM_MAX);
    }
}
