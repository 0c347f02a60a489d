//! How often stays begin at each USB port. A device that comes again and again, or each time as another one, fills no
//! record faster than this, and uses up nobody's share but its own port's: a phone at another one has its visit.
//!
//! A port is what the kernel calls it (`1-4.2`). Where it cannot be seen there is one share for all such phones.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Stays that may begin at one port within an hour.
pub(super) const AT_PORT_MAX: usize = 240;
/// The same behind one port of the computer's own: who is a hub can pretend to be many ports.
pub(super) const BEHIND_MAX: usize = 4 * AT_PORT_MAX;
/// Ports of the computer's own that are remembered.
const OWN_PORTS_MAX: usize = 256;
const HOUR: Duration = Duration::from_secs(3600);

/// The stays that began within the last hour.
#[derive(Debug, Default)]
pub(super) struct Arrivals(BTreeMap<String, VecDeque<(Instant, String)>>);

impl Arrivals {
    /// Whether one more may begin there.
    pub(super) fn has_room(&mut self, now: Instant, port: Option<&str>) -> bool {
        let port = port.unwrap_or_default();
        let is_old = |began: &Instant| now.saturating_duration_since(*began) >= HOUR;
        self.0.retain(|_, began| {
            while began.front().is_some_and(|(began, _)| is_old(began)) {
                began.pop_front();
            }
            !began.is_empty()
        });
        match self.0.get(own_port(port)) {
            None => self.0.len() < OWN_PORTS_MAX,
            Some(began) => {
                began.len() < BEHIND_MAX && began.iter().filter(|(_, at)| at == port).count() < AT_PORT_MAX
            }
        }
    }

    /// One began there.
    pub(super) fn note(&mut self, now: Instant, port: Option<&str>) {
        let port = port.unwrap_or_default();
        self.0.entry(own_port(port).to_owned()).or_default().push_back((now, port.to_owned()));
    }
}

/// The computer's own port, behind which there may be hubs.
fn own_port(port: &str) -> &str {
    port.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_a_share_and_who_is_a_hub_does_not_have_all_of_them() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        let mut begin = |port: Option<&str>, at: Instant| {
            let has_room = arrivals.has_room(at, port);
            if has_room {
                arrivals.note(at, port);
            }
            has_room
        };
        for _ in 0..AT_PORT_MAX {
            assert!(begin(Some("1-4.2"), start) && begin(None, start));
        }
        assert!(!begin(Some("1-4.2"), start) && !begin(None, start));
        assert!(begin(Some("1-4.3"), start) && begin(Some("1-40"), start));
        let pretended = (0..10_000).filter(|n| begin(Some(&format!("1-4.1.{}", n % 100)), start)).count();
        assert_eq!(pretended, BEHIND_MAX - AT_PORT_MAX - 1);
        assert!(!begin(Some("1-4.3"), start) && begin(Some("2-4.3"), start));
        assert!(begin(Some("1-4.2"), start + HOUR), "it passes");
    }

    #[test]
    fn ports_without_end_are_not_remembered() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        for n in 0..10_000 {
            let port = format!("{n}-1");
            if arrivals.has_room(start, Some(&port)) {
                arrivals.note(start, Some(&port));
            }
        }
        assert_eq!(arrivals.0.len(), OWN_PORTS_MAX);
        assert!(arrivals.has_room(start, Some("7-1")), "who is known has the rest of its share");
        assert!(arrivals.has_room(start + HOUR, Some("9999-1")) && arrivals.0.is_empty());
    }
}
