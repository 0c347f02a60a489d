//! Clients that have connected and not yet said what they want: they make room for others when there are too many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::progress::CancellationToken;

/// The clients that have not said (all of) what they want, in the order in which they fell silent.
#[derive(Debug, Default)]
pub(super) struct Silent(Mutex<(u64, BTreeMap<u64, CancellationToken>)>);

impl Silent {
    /// Enters a client as long as the result lives.
    pub(super) fn enter(self: &Arc<Self>) -> EnteredSilent {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        guard.0 += 1;
        let (number, must_go) = (guard.0, CancellationToken::new());
        guard.1.insert(number, must_go.clone());
        EnteredSilent { silent: Arc::clone(self), number, must_go }
    }

    /// The first in the row must go.
    pub(super) fn evict(&self) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, must_go)) = guard.1.pop_first() {
            must_go.cancel();
        }
    }
}

/// A place in the row.
pub(super) struct EnteredSilent {
    silent: Arc<Silent>,
    number: u64,
    /// Cancelled when it is this client that has to make room.
    pub(super) must_go: CancellationToken,
}

impl Drop for EnteredSilent {
    fn drop(&mut self) {
        self.silent.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.number);
    }
}
