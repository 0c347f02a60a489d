//! Somebody else who takes phones on this computer, and who comes and goes: the system's usbmuxd.
//!
//! One task keeps a place among its listeners; what is known by that is known at once to whoever wonders about a phone,
//! however many there are. Knows nothing of USB beyond where a phone is.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::plug::Seen;
use crate::usbmux::client::Usbmuxd;
use crate::usbmux::server::is_served;
use crate::usbmux::{Address, DeviceId, Error, Event, Muxer};

/// Where its udev rule is installed, a usbmuxd answers within this after the plug.
pub(super) const STARTS_WITHIN: Duration = Duration::from_secs(3);
/// A usbmuxd that answered until now is started anew, by an upgrade say: it has so long before its phones are taken.
const RETURNS_WITHIN: Duration = Duration::from_secs(10);
/// How often one that does not run is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// One that answers lists a phone within this after both are there, or never: it could not have it when it looked, since
/// somebody else had it for that moment, and does not look again.
const LISTS_WITHIN: Duration = Duration::from_secs(15);
/// A phone that nobody has used for so long is not held any more.
const UNUSED_FOR: Duration = Duration::from_secs(10);

/// Somebody who may want the same phones. Answers at once.
pub trait Neighbour: Send + Sync + Debug {
    /// Whether a phone that has been plugged in for so long may be taken.
    fn leaves(&self, plugged_for: Duration) -> bool;
    /// Whether it has this phone.
    fn has(&self, phone: &Seen) -> bool;
    /// Whether it is there and will never have this phone, which has been plugged in for so long: whoever had it in
    /// that time, it is looked at by a usbmuxd when that starts, and at the plug.
    fn has_lost(&self, _phone: &Seen, _plugged_for: Duration) -> bool {
        false
    }
    /// A phone that nobody has used for so long is let go of, so that this one can have it when it comes: a usbmuxd
    /// looks at what is plugged in when it starts, and at a phone that it could not have then never again.
    fn unused_for(&self) -> Duration {
        UNUSED_FOR
    }
}

/// How the usbmuxd stands.
#[derive(Debug, Clone)]
enum Standing {
    /// It answers, or somebody does who is not for us; the places of its phones as far as it tells, and since when it does.
    Answers(HashMap<DeviceId, u32>, Option<Instant>),
    /// Nobody answers; since when, if there was one.
    Away(Option<Instant>),
}

/// The system's usbmuxd.
#[derive(Debug)]
pub(super) struct SystemUsbmuxd {
    standing: watch::Receiver<Standing>,
    starts_at_plug: bool,
    _stop: DropGuard,
}

impl SystemUsbmuxd {
    /// The one at `system`, which is watched as long as this lives. Within a runtime.
    pub(super) fn watch(system: Usbmuxd, starts_at_plug: bool) -> Self {
        let first = if is_there(system.address()) {
            Standing::Answers(HashMap::new(), None)
        } else {
            Standing::Away(None)
        };
        let (teller, standing) = watch::channel(first);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            stopped.run_until_cancelled(follow(system, teller)).await;
        });
        Self { standing, starts_at_plug, _stop: stop.drop_guard() }
    }
}

impl Neighbour for SystemUsbmuxd {
    fn leaves(&self, plugged_for: Duration) -> bool {
        match &*self.standing.borrow() {
            Standing::Answers(..) => false,
            Standing::Away(since) => {
                let is_gone = since.is_none_or(|since| since.elapsed() >= RETURNS_WITHIN);
                is_gone && (!self.starts_at_plug || plugged_for >= STARTS_WITHIN)
            }
        }
    }

    fn has(&self, phone: &Seen) -> bool {
        let Standing::Answers(phones, _) = &*self.standing.borrow() else { return false };
        phones.values().any(|place| *place == phone.location_id())
    }

    fn has_lost(&self, phone: &Seen, plugged_for: Duration) -> bool {
        let tells = |since: &Instant| since.elapsed() >= LISTS_WITHIN;
        let tells = matches!(&*self.standing.borrow(), Standing::Answers(_, Some(since)) if tells(since));
        tells && plugged_for >= LISTS_WITHIN && !self.has(phone)
    }
}

/// Somebody has the socket, whether or not they answer yet.
fn is_there(address: &Address) -> bool {
    match address {
        Address::Unix(path) => is_served(path),
        Address::Tcp(_) => true,
    }
}

/// Listens to it, again and again.
async fn follow(system: Usbmuxd, standing: watch::Sender<Standing>) {
    loop {
        // One that is just starting takes what it finds before it answers.
        let starts = matches!(&*standing.borrow(), Standing::Away(_)) && is_there(system.address());
        if starts {
            standing.send_replace(Standing::Answers(HashMap::new(), None));
        }
        match system.listen().await {
            Ok(mut events) => {
                if starts {
                    tracing::info!(
                        "the usbmuxd at {} answers: it has the phones that are plugged in now",
                        system.address()
                    );
                }
                standing.send_replace(Standing::Answers(HashMap::new(), Some(Instant::now())));
                while let Some(event) = events.recv().await {
                    standing.send_modify(|standing| hear(standing, &event));
                }
                tracing::info!(
                    "the usbmuxd at {} is gone: it has {RETURNS_WITHIN:?} to come back, then our own multiplexer takes \
                     its phones",
                    system.address()
                );
                standing.send_replace(Standing::Away(Some(Instant::now())));
            }
            Err(Error::NotRunning(_)) => {
                standing.send_if_modified(|standing| {
                    let answered = matches!(standing, Standing::Answers(..));
                    if answered {
                        *standing = Standing::Away(Some(Instant::now()));
                    }
                    answered
                });
            }
            // It is busy, or not for this user: somebody has the phones all the same.
            Err(error) => {
                tracing::debug!("the usbmuxd cannot be listened to: {error}");
                standing.send_replace(Standing::Answers(HashMap::new(), None));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn hear(standing: &mut Standing, event: &Event) {
    let Standing::Answers(phones, _) = standing else { return };
    match event {
        Event::Attached(attached) => {
            phones.insert(attached.id, attached.location_id);
        }
        Event::Detached(id) => {
            phones.remove(id);
        }
        Event::Paired(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usbmux::server::tests::{Served, phone, until};

    const LONG: Duration = Duration::from_secs(3600);

    fn seen() -> Seen {
        let (place, product_id) = (phone().location_id, phone().product_id);
        let [_, bus, _, address] = place.to_be_bytes();
        Seen { bus, address, product_id, speed_bps: 0 }
    }

    #[tokio::test]
    async fn a_usbmuxd_that_comes_and_goes_is_known_with_its_phones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usbmuxd");
        let usbmuxd = Usbmuxd::at(Address::Unix(path.clone()));
        let early = SystemUsbmuxd::watch(usbmuxd.clone(), true);
        assert!(!early.leaves(Duration::ZERO), "udev is about to start one");
        assert!(early.leaves(LONG) && SystemUsbmuxd::watch(usbmuxd.clone(), false).leaves(Duration::ZERO));

        let served = Served::at(path, folder);
        let late = SystemUsbmuxd::watch(usbmuxd, false);
        assert!(!late.leaves(LONG), "known from the first moment on");
        for it in [&late, &early] {
            until("its phones are known", || it.has(&seen())).await;
            assert!(!it.leaves(LONG) && !it.has(&Seen { address: 77, ..seen() }));
        }
        served.detach().await;
        until("one that left is known to have left", || !late.has(&seen())).await;
        served.stop().await;
        until("its end is known", || !matches!(*late.standing.borrow(), Standing::Answers(..))).await;
        assert!(!late.leaves(LONG), "it was here a moment ago");
    }

    #[tokio::test]
    async fn a_usbmuxd_that_is_just_starting_counts_as_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usbmuxd");
        let it = SystemUsbmuxd::watch(Usbmuxd::at(Address::Unix(path.clone())), false);
        tokio::time::sleep(2 * LOOK).await;
        assert!(it.leaves(LONG));
        // It has its socket, looks at what is plugged in, and answers nobody yet.
        let _starts = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let began = Instant::now();
        until("it is seen", || !it.leaves(LONG)).await;
        // A client's patience with one that does not answer is five seconds: a phone would have been taken by then.
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        assert!(!it.has_lost(&seen(), LONG), "it has not said yet what it has");
    }

    #[test]
    fn one_that_stays_away_gives_its_phones_up() {
        let at = |since| {
            let (_, standing) = watch::channel(Standing::Away(since));
            SystemUsbmuxd { standing, starts_at_plug: false, _stop: CancellationToken::new().drop_guard() }
        };
        let now = Instant::now();
        assert!(at(None).leaves(Duration::ZERO) && !at(Some(now)).leaves(LONG));
        assert!(at(now.checked_sub(RETURNS_WITHIN)).leaves(Duration::ZERO));
    }

    #[test]
    fn a_phone_that_one_does_not_list_in_time_is_lost_to_it() {
        let with = |phones: &[u32], since| {
            let phones = phones.iter().map(|place| (DeviceId(*place), *place)).collect();
            let (_, standing) = watch::channel(Standing::Answers(phones, since));
            SystemUsbmuxd { standing, starts_at_plug: true, _stop: CancellationToken::new().drop_guard() }
        };
        let now = Instant::now();
        let before = now.checked_sub(LISTS_WITHIN);
        assert!(before.is_some() && with(&[], before).has_lost(&seen(), LONG));
        assert!(
            !with(&[], before).has_lost(&seen(), Duration::from_secs(1)),
            "it was plugged in a moment ago"
        );
        assert!(!with(&[], Some(now)).has_lost(&seen(), LONG), "it has just begun to tell");
        assert!(!with(&[], None).has_lost(&seen(), LONG), "it tells us nothing");
        assert!(!with(&[seen().location_id()], before).has_lost(&seen(), LONG), "it has it");
    }
}
