//! The counters behind `[[fault]]`: what has passed since a fault was armed, and how often it struck.
//!
//! Knows nothing of protocols: whoever moves bytes or messages counts them here and does what the answer says.

use std::sync::{Mutex, PoisonError};

use super::config::{At, Fault, FaultKind};

/// What a service is about to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many bytes.
    Bytes(u64),
    /// One message.
    Message,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    passed: u64,
    struck: u32,
}

/// The faults of one device, with their counters.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<Vec<Armed>>);

impl Counters {
    /// Counts `amount` at `at`, and says what strikes now. `faults` is what `device.toml` says at the moment; a
    /// change there arms everything anew.
    pub(super) fn count(&self, faults: &[Fault], at: At, amount: Amount) -> Option<FaultKind> {
        let mut armed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !armed.iter().map(|one| &one.fault).eq(faults) {
            *armed =
                faults.iter().map(|fault| Armed { fault: fault.clone(), passed: 0, struck: 0 }).collect();
        }
        let mut strikes = None;
        for one in armed.iter_mut().filter(|one| one.fault.at == At::Any || one.fault.at == at) {
            // The first that strikes wins; the others count on.
            if one.count(amount) && strikes.is_none() {
                strikes = Some(one.fault.kind);
            }
        }
        strikes
    }
}

impl Armed {
    fn count(&mut self, amount: Amount) -> bool {
        let due = match (amount, self.fault.after_bytes, self.fault.after_messages) {
            (Amount::Bytes(n), Some(after), _) => {
                self.passed = self.passed.saturating_add(n);
                self.passed > after
            }
            (Amount::Message, _, Some(after)) => {
                self.passed = self.passed.saturating_add(1);
                self.passed > after
            }
            _ => false,
        };
        let strikes = due && self.struck < self.fault.times;
        if strikes {
            self.struck += 1;
            self.passed = 0;
        }
        strikes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(at: At, bytes: Option<u64>, messages: Option<u64>, times: u32) -> Fault {
        Fault { at, after_bytes: bytes, after_messages: messages, kind: FaultKind::Short, times }
    }

    #[test]
    fn strikes_when_the_count_is_passed_and_as_often_as_told() {
        let counters = Counters::default();
        let faults = [fault(At::AfcRead, Some(10), None, 2)];
        let count = |n| counters.count(&faults, At::AfcRead, Amount::Bytes(n)).is_some();
        assert_eq!([count(10), count(1), count(11), count(100)], [false, true, true, false]);
    }

    #[test]
    fn counts_only_its_own_place_unless_it_says_any() {
        let counters = Counters::default();
        let faults = [fault(At::Any, None, Some(1), 1)];
        assert_eq!(counters.count(&faults, At::Lockdown, Amount::Message), None);
        assert_eq!(counters.count(&faults, At::BackupMessage, Amount::Message), Some(FaultKind::Short));
        let faults = [fault(At::AfcWrite, None, Some(0), 1)];
        assert_eq!(counters.count(&faults, At::AfcRead, Amount::Message), None);
        assert_eq!(counters.count(&faults, At::AfcWrite, Amount::Message), Some(FaultKind::Short));
    }
}
