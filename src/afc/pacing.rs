//! How many requests one phone is trusted with at once.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The most requests in flight on one connection: what a round trip of a few milliseconds and a phone that answers 50
/// thousand a second can use.
const IN_FLIGHT_MAX: usize = 128;

/// How deep requests may be kept in flight with one phone. Outlives a connection: what one connection learned the hard
/// way, the next one knows.
#[derive(Debug)]
pub struct Pacing(AtomicUsize);

impl Default for Pacing {
    fn default() -> Self {
        Self(AtomicUsize::new(IN_FLIGHT_MAX))
    }
}

impl Pacing {
    /// The most requests in flight that this phone is trusted with.
    #[must_use]
    pub fn ceiling(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// One request at a time from now on.
    pub fn fall_back(&self) {
        self.0.store(1, Ordering::Relaxed);
    }
}
