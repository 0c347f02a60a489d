//! What strikes a connection: the counters behind `[[fault]]`, and the draws of a `[faults]` plan.
//!
//! Knows nothing of protocols: whoever moves bytes or messages counts them here and does what the answer says. What a
//! plan draws for a connection follows from its seed, the service, the number of the connection among that service's,
//! and what passed over this connection alone: what other connections do meanwhile changes nothing, so a run can be
//! had again exactly.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::config::{At, Fault, FaultKind, FaultPlan};
use super::device::{Departure, Device};

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
pub(super) struct Counters {
    armed: Mutex<Vec<Armed>>,
    /// Connections so far, by service.
    connections: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    /// Counts `amount` at `at`, and says what strikes now. `faults` is what `device.toml` says at the moment; a
    /// change there arms everything anew.
    fn count(&self, faults: &[Fault], at: At, amount: Amount) -> Option<FaultKind> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn next_connection(&self, service: &'static str) -> u64 {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let number = connections.entry(service).or_default();
        *number += 1;
        *number
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

/// What may strike one connection.
#[derive(Debug)]
pub struct Faults {
    device: Arc<Device>,
    service: &'static str,
    number: u64,
    drawn: Option<Drawn>,
}

impl Faults {
    /// For a new connection to `service`.
    #[must_use]
    pub fn new(device: Arc<Device>, service: &'static str) -> Self {
        let number = device.faults.next_connection(service);
        Self { device, service, number, drawn: None }
    }

    /// Counts what is about to be moved at `at` ([`At::Any`]: at none of the places that have a name), and says what
    /// strikes it. [`FaultKind::Unplug`] has happened already when it is returned; the others are the caller's to act
    /// out.
    pub fn strike(&mut self, at: At, amounts: &[Amount]) -> Option<FaultKind> {
        let config = self.device.config();
        if config.fault.is_empty() && config.faults.is_none() {
            return None;
        }
        let mut strikes = None;
        for amount in amounts {
            strikes = strikes.or(self.device.faults.count(&config.fault, at, *amount));
            if let Some(plan) = &config.faults {
                strikes = strikes.or(self.draw(plan, at, *amount));
            }
        }
        if strikes == Some(FaultKind::Unplug) {
            self.device.leave(Departure::Unplugged);
        }
        strikes
    }

    fn draw(&mut self, plan: &FaultPlan, at: At, amount: Amount) -> Option<FaultKind> {
        if !plan.at.contains(&At::Any) && !plan.at.contains(&at) {
            return None;
        }
        let drawn = match &mut self.drawn {
            Some(drawn) if drawn.plan == *plan => drawn,
            stale => stale.insert(Drawn::new(plan.clone(), self.service, self.number)),
        };
        drawn.count(at, amount)
    }
}

/// A plan as it is drawn for one connection.
#[derive(Debug)]
struct Drawn {
    plan: FaultPlan,
    seed: u64,
    struck: u32,
    lots: BTreeMap<(u8, bool), Lot>,
}

/// The next strike at one place, counted in bytes or in messages.
#[derive(Debug)]
struct Lot {
    random: Random,
    left: u64,
}

impl Drawn {
    fn new(plan: FaultPlan, service: &str, number: u64) -> Self {
        let seed = mixed(mixed(plan.seed, service.as_bytes()), &number.to_le_bytes());
        Self { plan, seed, struck: 0, lots: BTreeMap::new() }
    }

    fn count(&mut self, at: At, amount: Amount) -> Option<FaultKind> {
        let (passed, mean, by_bytes) = match amount {
            Amount::Bytes(n) => (n, self.plan.mean_bytes?, true),
            Amount::Message => (1, self.plan.mean_messages?, false),
        };
        if self.struck >= self.plan.times {
            return None;
        }
        let place = at as u8;
        let lot = self.lots.entry((place, by_bytes)).or_insert_with(|| {
            let mut random = Random(mixed(self.seed, &[place, u8::from(by_bytes)]));
            let left = random.distance(mean);
            Lot { random, left }
        });
        if passed < lot.left {
            lot.left -= passed;
            return None;
        }
        lot.left = lot.random.distance(mean);
        self.struck += 1;
        let kinds = self.plan.kinds.len() as u64;
        let choice = usize::try_from(lot.random.below(kinds)).unwrap_or(0);
        self.plan.kinds.get(choice).copied()
    }
}

/// `SplitMix64`: the same numbers on every machine, and no secret.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(end)) >> 64).unwrap_or(0)
    }

    /// From 1 to twice `mean`, each as likely.
    fn distance(&mut self, mean: u64) -> u64 {
        1 + self.below(mean.saturating_mul(2))
    }
}

fn mixed(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |seed, byte| Random(seed ^ u64::from(*byte)).next())
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

    fn plan(toml: &str) -> FaultPlan {
        super::super::config::Config::parse(&format!("[faults]\n{toml}")).unwrap().faults.unwrap()
    }

    /// Which of a thousand messages are struck, and how.
    fn struck(plan: &FaultPlan, service: &str, connection: u64) -> Vec<(usize, FaultKind)> {
        let mut drawn = Drawn::new(plan.clone(), service, connection);
        (0..1000).filter_map(|n| drawn.count(At::AfcRead, Amount::Message).map(|kind| (n, kind))).collect()
    }

    #[test]
    fn a_plan_strikes_the_same_connection_alike_and_another_one_otherwise() {
        let plan = plan("seed = 7\nmean_messages = 20");
        let first = struck(&plan, "com.apple.afc", 1);
        assert!((30..80).contains(&first.len()), "about one in twenty: {}", first.len());
        assert_eq!(struck(&plan, "com.apple.afc", 1), first);
        assert_ne!(struck(&plan, "com.apple.afc", 2), first);
        assert_ne!(struck(&plan, "lockdown", 1), first);
        let kinds: std::collections::BTreeSet<_> = first.iter().map(|(_, kind)| *kind as u8).collect();
        assert_eq!(kinds.len(), 6, "every kind has its turn");
    }

    #[test]
    fn a_plan_that_counts_bytes_does_not_look_at_how_they_are_cut() {
        let plan = plan("seed = 3\nmean_bytes = 5000\nkinds = [\"corrupt\"]");
        let strikes = |piece: u64| {
            let mut drawn = Drawn::new(plan.clone(), "x", 1);
            let pieces =
                (0..200_000 / piece).filter(|_| drawn.count(At::AfcRead, Amount::Bytes(piece)).is_some());
            pieces.map(|n| n * piece / 1000).collect::<Vec<_>>()
        };
        assert!(strikes(1).len() > 20);
        assert_eq!(strikes(1)[0], strikes(10)[0]);
    }

    #[test]
    fn a_plan_ends_after_its_times_and_keeps_to_its_places() {
        let plan = plan("seed = 3\nmean_messages = 1\ntimes = 2\nat = [\"lockdown\"]");
        assert_eq!(struck(&plan, "x", 1).len(), 2);
        let folder = tempfile::tempdir().unwrap();
        let toml = "[faults]\nseed = 3\nmean_messages = 1\nat = [\"lockdown\"]\nkinds = [\"corrupt\"]";
        std::fs::write(folder.path().join("device.toml"), toml).unwrap();
        let mut faults = Faults::new(Device::open(folder.path(), false).unwrap(), "x");
        assert!((0..50).all(|_| faults.strike(At::AfcRead, &[Amount::Message]).is_none()));
        assert!((0..50).any(|_| faults.strike(At::Lockdown, &[Amount::Message]).is_some()));
    }
}
