//! Clients that have made a request and are at it: they listen, or are connected, and nobody may tell them to go. No
//! user has so many of them that there is no room for the others; root may do as it likes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How many such clients each user has. Who comes over the network is one user.
#[derive(Debug)]
pub(super) struct Crowd {
    most: usize,
    of_user: Mutex<BTreeMap<Option<u32>, usize>>,
}

impl Crowd {
    /// A user may have `most`.
    pub(super) fn of(most: usize) -> Self {
        Self { most, of_user: Mutex::default() }
    }

    /// Counts one more as long as the result lives; `None`: the user has too many.
    pub(super) fn enter(self: &Arc<Self>, user: Option<u32>) -> Option<EnteredCrowd> {
        let mut of_user = self.of_user.lock().unwrap_or_else(PoisonError::into_inner);
        let count = of_user.entry(user).or_default();
        if *count >= self.most && user != Some(0) {
            return None;
        }
        *count += 1;
        Some(EnteredCrowd { crowd: Arc::clone(self), user })
    }
}

/// One that is counted.
pub(super) struct EnteredCrowd {
    crowd: Arc<Crowd>,
    user: Option<u32>,
}

impl Drop for EnteredCrowd {
    fn drop(&mut self) {
        let mut of_user = self.crowd.of_user.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = of_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                of_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_room_for_the_others_and_root_always_has_some() {
        let crowd = Arc::new(Crowd::of(2));
        let mut entered: Vec<_> = (0..2).map(|_| crowd.enter(Some(1000)).unwrap()).collect();
        assert!(crowd.enter(Some(1000)).is_none());
        for user in [Some(1001), None, Some(0), Some(0), Some(0)] {
            entered.push(crowd.enter(user).unwrap());
        }
        drop(entered.remove(0));
        assert!(crowd.enter(Some(1000)).is_some());
        drop(entered);
        assert!(crowd.of_user.lock().unwrap().is_empty());
    }
}
