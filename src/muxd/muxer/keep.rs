//! How a phone is kept as long as it is plugged in: waited for, made ready, listed, let go of and taken up again.
//!
//! A phone that cannot be made ready is tried again, less and less often: its permissions may come a moment after
//! itself, another program may let go of it, and one that resets itself again and again must not keep us busy.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::super::held::Held;
use super::super::line::{Line, NoLine};
use super::super::plug::{NotReady, Seen};
use super::super::preflight::preflight;
use super::{House, LOOK, Plugged, rest};
use crate::lockdown::Phone;
use crate::usbmux::{Attached, DeviceId, Event, Muxer, Udid};

/// The pause before a phone is tried again: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(25);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A change on the bus ends a pause that is shorter than this. What we do to a phone is a change, too.
const EAGER: Duration = Duration::from_secs(1);
/// A line that lasted this long was a good one: the next one is tried soon.
const GOOD_LINE: Duration = Duration::from_secs(10);
/// udev has done its part with a phone this soon, or is not waited for.
const SEEN_TO_WITHIN: Duration = Duration::from_millis(500);
/// A phone is asked whether it trusts this computer before anybody else can ask it, if it answers so soon; and if it has
/// not been plugged in for long: nobody waits for the list for that.
const PREFLIGHT_FIRST: Duration = Duration::from_millis(250);
const LISTED_WITHIN: Duration = Duration::from_millis(600);

impl House {
    /// Makes a phone ready and keeps it, as long as it is plugged in: whoever sees it leave drops this.
    pub(super) async fn keep(self: Arc<Self>, seen: Seen, counts: bool) {
        let mut first_try = counts.then(|| FirstTry(&self.untried));
        let (mut pause, mut complaint) = (PAUSE_MIN, String::new());
        self.wait_for_leave_to_take(&seen).await;
        self.wait_until_seen_to(&seen).await;
        let mut changes = self.changes.subscribe();
        loop {
            let began = Instant::now();
            changes.mark_unchanged();
            match self.open(seen).await {
                Ok((udid, line, held)) => {
                    complaint.clear();
                    self.attend(&seen, udid, (line, held), &mut first_try).await;
                }
                Err(error) => {
                    // Said once for each reason, not every few seconds.
                    if complaint != error {
                        tracing::info!(
                            bus = seen.bus,
                            address = seen.address,
                            "a phone cannot be spoken to: {error}"
                        );
                        complaint = error;
                    }
                }
            }
            first_try = None;
            if began.elapsed() >= GOOD_LINE {
                pause = PAUSE_MIN;
            }
            if pause < EAGER {
                rest(pause, &mut changes).await;
            } else {
                tokio::time::sleep(pause).await;
            }
            pause = (2 * pause).min(PAUSE_MAX);
            self.wait_for_leave_to_take(&seen).await;
        }
    }

    async fn wait_for_leave_to_take(&self, seen: &Seen) {
        let Some(neighbour) = &self.manners.neighbour else { return };
        let began = Instant::now();
        let before = self.bus.plugged_for(seen).unwrap_or_default();
        loop {
            let plugged_for = began.elapsed() + before;
            if neighbour.leaves(plugged_for) {
                return;
            }
            if neighbour.has_lost(seen, plugged_for) {
                return tracing::info!(
                    bus = seen.bus,
                    address = seen.address,
                    "the usbmuxd that answers does not list a phone: our own multiplexer takes it"
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn wait_until_seen_to(&self, seen: &Seen) {
        let mut changes = self.changes.subscribe();
        tracing::debug!(plugged_for = ?self.bus.plugged_for(seen), "a phone is on the bus");
        let seen_to = async {
            while !self.is_seen_to(*seen).await {
                rest(LOOK, &mut changes).await;
            }
        };
        let in_time = tokio::time::timeout(SEEN_TO_WITHIN, seen_to).await.is_ok();
        tracing::debug!(plugged_for = ?self.bus.plugged_for(seen), in_time, "the system has seen to a phone");
    }

    async fn is_seen_to(&self, seen: Seen) -> bool {
        let bus = Arc::clone(&self.bus);
        // If that cannot be asked, it is not waited for.
        tokio::task::spawn_blocking(move || bus.is_seen_to(&seen)).await.unwrap_or(true)
    }

    async fn open(&self, seen: Seen) -> Result<(Udid, Line, Held), String> {
        let bus = Arc::clone(&self.bus);
        // Held from the first moment: whoever waits for it may be gone by then, and must not close it on a thread of the
        // runtime's.
        let made_ready = move || bus.ready(&seen).map(|it| (it.udid, it.bulk, Held::new(it.hold)));
        let ready = tokio::task::spawn_blocking(made_ready).await;
        let (udid, bulk, held) =
            ready.map_err(|error| error.to_string())?.map_err(|error: NotReady| error.to_string())?;
        tracing::debug!(plugged_for = ?self.bus.plugged_for(&seen), "a phone's multiplexer is claimed");
        let line = Line::open(bulk).await.map_err(|error: NoLine| error.to_string())?;
        tracing::debug!(plugged_for = ?self.bus.plugged_for(&seen), "its multiplexer answers");
        Ok((udid, line, held))
    }

    /// Lists a phone, and takes it from the list when it is gone.
    async fn attend(
        self: &Arc<Self>,
        seen: &Seen,
        udid: Udid,
        ours: (Line, Held),
        first_try: &mut Option<FirstTry<'_>>,
    ) {
        let here = self.enter(seen, udid, ours.0.clone());
        let phone = Phone { muxer: Arc::clone(self) as Arc<dyn Muxer>, attached: here.attached.clone() };
        let asking = async {
            if self.manners.asks_for_trust {
                preflight(&phone).await;
            }
        };
        let gone = self.have(seen, &here, ours);
        tokio::pin!(asking, gone);
        let plugged_for = self.bus.plugged_for(seen).unwrap_or_default();
        let first = PREFLIGHT_FIRST.min(LISTED_WITHIN.saturating_sub(plugged_for));
        let asked = tokio::select! {
            () = &mut asking => true,
            () = &mut gone => return,
            () = tokio::time::sleep(first) => false,
        };
        here.list();
        *first_try = None;
        tokio::select! {
            () = gone => {}
            () = async { if !asked { asking.await }; std::future::pending().await } => {}
        }
    }

    /// Until a phone cannot be spoken to any more. With a neighbour it is let go of as long as nobody uses it.
    async fn have(&self, seen: &Seen, here: &Here, (mut line, mut held): (Line, Held)) {
        let udid = &here.attached.udid;
        loop {
            let unused = async {
                match &self.manners.neighbour {
                    Some(neighbour) => line.unused(neighbour.unused_for()).await,
                    None => std::future::pending().await,
                }
            };
            let times_wanted = tokio::select! {
                () = line.gone() => return,
                () = held.breaks(self.changes.subscribe()) => return tracing::info!("somebody has set another configuration of {udid}"),
                times_wanted = unused => times_wanted,
            };
            let wanted = match here.let_go(&line, times_wanted) {
                LetGo::Done(wanted) => wanted,
                LetGo::Wanted => continue,
                LetGo::Gone => return,
            };
            drop(line);
            held.release().await;
            tracing::debug!("{udid} is let go of: nobody uses it");
            tokio::select! {
                () = self.becomes_the_neighbours(seen) => return,
                () = wanted.notified() => {}
            }
            (line, held) = match self.open(*seen).await {
                Ok((same, line, held)) if same == *udid => (line, held),
                Ok(_) => return,
                Err(why) => return tracing::info!("{udid} cannot be spoken to any more: {why}"),
            };
            here.take_up(&line);
        }
    }

    async fn becomes_the_neighbours(&self, seen: &Seen) {
        while !self.manners.neighbour.as_ref().is_some_and(|neighbour| neighbour.has(seen)) {
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) fn enter(self: &Arc<Self>, seen: &Seen, udid: Udid, line: Line) -> Here {
        let mut phones = self.phones();
        let id = DeviceId(self.manners.first_id.wrapping_add(phones.given_ids));
        phones.given_ids = phones.given_ids.wrapping_add(1);
        let attached = Attached {
            id,
            udid,
            product_id: seen.product_id,
            location_id: seen.location_id(),
            speed_bps: seen.speed_bps,
        };
        let (line, wanted) = (watch::Sender::new(Some(line)), Arc::default());
        phones.plugged.insert(id, Plugged { attached: attached.clone(), line, wanted, listed: false });
        Here { house: Arc::clone(self), attached }
    }
}

/// A phone that was there at the first look and was not tried yet.
struct FirstTry<'a>(&'a watch::Sender<Option<usize>>);

impl Drop for FirstTry<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|untried| *untried = untried.map(|left| left.saturating_sub(1)));
    }
}

/// What came of letting go of a phone.
pub(super) enum LetGo {
    /// It is free, until somebody says that they want it.
    Done(Arc<Notify>),
    /// Somebody is about to use it.
    Wanted,
    /// It has no entry any more.
    Gone,
}

/// A phone's entry; it ends with this.
pub(super) struct Here {
    house: Arc<House>,
    pub(super) attached: Attached,
}

impl Here {
    fn list(&self) {
        let mut phones = self.house.phones();
        if let Some(plugged) = phones.plugged.get_mut(&self.attached.id) {
            plugged.listed = true;
            tracing::info!(id = self.attached.id.0, "our own multiplexer has {}", self.attached.udid);
            phones.tell(&Event::Attached(self.attached.clone()));
        }
    }

    /// Nobody has it, until the answer is told that it is wanted; unless somebody has wanted it more often by now.
    pub(super) fn let_go(&self, line: &Line, times_wanted: u64) -> LetGo {
        let phones = self.house.phones();
        let Some(plugged) = phones.plugged.get(&self.attached.id) else { return LetGo::Gone };
        if line.times_wanted() != times_wanted {
            return LetGo::Wanted;
        }
        // A word that is left over from the last time: whoever said it has been served since.
        let _ = plugged.wanted.notified().now_or_never();
        plugged.line.send_replace(None);
        LetGo::Done(Arc::clone(&plugged.wanted))
    }

    pub(super) fn take_up(&self, line: &Line) {
        if let Some(plugged) = self.house.phones().plugged.get(&self.attached.id) {
            plugged.line.send_replace(Some(line.clone()));
        }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let mut phones = self.house.phones();
        if phones.plugged.remove(&self.attached.id).is_some_and(|plugged| plugged.listed) {
            tracing::info!(id = self.attached.id.0, "{} is gone", self.attached.udid);
            phones.tell(&Event::Detached(self.attached.id));
        }
    }
}
