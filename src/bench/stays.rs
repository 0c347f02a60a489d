//! The phones that are plugged in, and what is to be done about each: a state machine without I/O and without a clock.
//!
//! A *stay* lasts from plug to unplug; a visit is made in it. A phone that is away for a moment (a loose cable, a usbmuxd
//! that is started anew, a restart while something is done with it) goes on with the same stay.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::arrivals::Arrivals;
use crate::usbmux::{Attached, DeviceId, Udid};
use crate::visit::reach::RETURN_WAIT;

/// Phones that may be there at once; a muxer that lists more is lying.
pub(super) const STAYS_MAX: usize = 256;
/// How often one stay may begin its work again because the phone left in the middle.
const TRIES_MAX: u32 = 20;

/// Visits of one stay that ended because a person was missing, or in which one may have been asked. Whoever refused a
/// passcode so often is not asked again before the phone is plugged in anew.
const ROUNDS_MAX: u32 = 3;

/// After each of those it is waited so many times longer.
const LONGER: u32 = 4;

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// A phone that is away for so long while nothing is done with it was unplugged.
    pub away_idle: Duration,
    /// The same while something is done with it: the visit itself waits for its return, and then for its own ending.
    pub away_working: Duration,
    /// The same when the muxer is gone or was never there since the start, or the phone is still in its port.
    pub unseen: Duration,
    /// Between two looks whether a person has tapped Trust or unlocked the phone.
    pub look_again: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            away_idle: Duration::from_secs(5),
            away_working: RETURN_WAIT + Duration::from_secs(15),
            unseen: Duration::from_secs(60),
            look_again: Duration::from_secs(15),
        }
    }
}

/// How the work of a stay came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worked {
    /// All that was to be done is done, or failed for good.
    Settled,
    /// The phone was only looked at, and does not let us in yet.
    Shut,
    /// There was a visit, and a person has to act first.
    Waits,
    /// Something here was in the way before anybody was asked, which may pass.
    Hindered,
    /// The same when somebody may have been asked already.
    Spoilt,
    /// The phone left.
    Gone,
    /// It was told to stop.
    Stopped,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Do {
    /// The work with this phone. `quietly`: only if nobody has to be asked for it.
    Work { attached: Attached, quietly: bool },
    /// Stop the work with this phone.
    Stop(Udid),
    /// The stay is over since then.
    End { udid: Udid, since: Instant },
    /// One phone too many.
    Refuse(Udid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// It is to begin when the phone is seen.
    Due,
    Running,
    /// Nothing is left to do, or it is looked again at that time.
    Settled(Option<Instant>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// The muxer said that it left.
    Unplugged,
    /// Nobody says where it is.
    Unseen,
}

#[derive(Debug)]
struct Stay {
    attached: Option<Attached>,
    /// Where it was plugged in last, where that could be seen.
    port: Option<String>,
    absent: Option<(Instant, Absence)>,
    work: Work,
    tries: u32,
    told_to_stop: bool,
    /// The work may ask a person when it is begun again.
    may_ask: bool,
    /// Visits that ended because a person was missing, or in which one may have been asked.
    rounds: u32,
    /// How often something was in the way before anybody was asked.
    hindered: u32,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Stays {
    pace: Pace,
    stays: BTreeMap<Udid, Stay>,
    /// Those of the last hour.
    arrivals: Arrivals,
    /// Those that are there and could not begin, and where.
    refused: BTreeMap<Udid, (Attached, Option<String>)>,
}

impl Stays {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, stays: BTreeMap::new(), arrivals: Arrivals::default(), refused: BTreeMap::new() }
    }

    /// A visit that was open when the bench started. `due`: something is left to do.
    pub(super) fn taken_up(&mut self, now: Instant, udid: Udid, due: bool) {
        let work = if due { Work::Due } else { Work::Settled(None) };
        let absent = Some((now, Absence::Unseen));
        self.stays.insert(udid, Stay { absent, ..Stay::new(work) });
    }

    /// A phone is there, at that port where it can be seen.
    pub(super) fn attached(&mut self, now: Instant, attached: Attached, port: Option<String>) -> Vec<Do> {
        let udid = attached.udid.clone();
        if !self.stays.contains_key(&udid) {
            if !self.has_room(now, port.as_deref()) {
                if self.refused.len() < STAYS_MAX {
                    self.refused.insert(udid.clone(), (attached, port));
                }
                return vec![Do::Refuse(udid)];
            }
            self.arrivals.note(now, port.as_deref());
        }
        let stay = self.stays.entry(udid).or_insert_with(|| Stay::new(Work::Due));
        stay.attached = Some(attached.clone());
        stay.port = port;
        stay.absent = None;
        if stay.work != Work::Due {
            return Vec::new();
        }
        stay.work = Work::Running;
        vec![Do::Work { attached, quietly: false }]
    }

    /// For one more stay.
    fn has_room(&mut self, now: Instant, port: Option<&str>) -> bool {
        self.stays.len() < STAYS_MAX && self.arrivals.has_room(now, port)
    }

    /// Where a phone was plugged in last, where that could be seen.
    pub(super) fn port(&self, udid: &Udid) -> Option<&str> {
        self.stays.get(udid)?.port.as_deref()
    }

    /// The muxer says that one left.
    pub(super) fn detached(&mut self, now: Instant, id: DeviceId) -> Option<Udid> {
        self.refused.retain(|_, (attached, _)| attached.id != id);
        let (udid, stay) = self.stays.iter_mut().find(|(_, stay)| stay.number() == Some(id))?;
        stay.attached = None;
        stay.absent = Some((now, Absence::Unplugged));
        Some(udid.clone())
    }

    /// One that the muxer let go of is still in its port: a usbmuxd that ends, or is started anew, says of every phone that
    /// it left.
    pub(super) fn still_plugged_in(&mut self, udid: &Udid) {
        if let Some((_, absence)) = self.stays.get_mut(udid).and_then(|stay| stay.absent.as_mut()) {
            *absence = Absence::Unseen;
        }
    }

    /// Somebody paired with one: what waited for that need not wait longer.
    pub(super) fn paired(&mut self, now: Instant, id: DeviceId) {
        let there = self.stays.values_mut().find(|stay| stay.number() == Some(id));
        if let Some(Stay { work: Work::Settled(Some(again)), .. }) = there {
            *again = now;
        }
    }

    /// The muxer is gone, and with it all that it knew.
    pub(super) fn unseen(&mut self, now: Instant) {
        self.refused.clear();
        for stay in self.stays.values_mut() {
            stay.attached = None;
            stay.absent = stay.absent.or(Some((now, Absence::Unseen)));
        }
    }

    /// The work with a phone ended.
    pub(super) fn worked(&mut self, now: Instant, udid: &Udid, how: Worked) -> Vec<Do> {
        let Some(stay) = self.stays.get_mut(udid) else { return Vec::new() };
        let was_given_up = std::mem::take(&mut stay.told_to_stop);
        let left = matches!(how, Worked::Gone | Worked::Stopped);
        match (&stay.attached, stay.absent) {
            (Some(attached), _) if left && stay.tries < TRIES_MAX => {
                stay.tries += 1;
                stay.work = Work::Running;
                vec![Do::Work { attached: attached.clone(), quietly: false }]
            }
            // The work may have ended sooner than the patience with one that is away: whether it is gone will be seen.
            (None, Some(_)) if left && !was_given_up && stay.tries < TRIES_MAX => {
                stay.tries += 1;
                stay.work = Work::Due;
                Vec::new()
            }
            (None, Some((since, _))) if left => {
                self.stays.remove(udid);
                vec![Do::End { udid: udid.clone(), since }]
            }
            _ => {
                let was_visit = matches!(how, Worked::Waits | Worked::Spoilt);
                stay.rounds += u32::from(was_visit);
                stay.hindered = stay.hindered.saturating_add(u32::from(how == Worked::Hindered));
                let later = match how {
                    Worked::Shut | Worked::Hindered => true,
                    _ => was_visit && stay.rounds < ROUNDS_MAX,
                };
                let times = stay.rounds.saturating_add(stay.hindered);
                let longer = LONGER.pow(times.saturating_sub(1).min(ROUNDS_MAX));
                stay.work = Work::Settled(later.then_some(now + self.pace.look_again * longer));
                stay.may_ask = matches!(how, Worked::Hindered | Worked::Spoilt);
                Vec::new()
            }
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Do> {
        let pace = self.pace;
        let mut deeds = Vec::new();
        self.stays.retain(|udid, stay| {
            deeds.extend(stay.tick(now, udid, &pace));
            !matches!(deeds.last(), Some(Do::End { udid: ended, .. }) if ended == udid)
        });
        for (udid, (attached, port)) in std::mem::take(&mut self.refused) {
            if self.has_room(now, port.as_deref()) {
                deeds.extend(self.attached(now, attached, port));
            } else {
                self.refused.insert(udid, (attached, port));
            }
        }
        deeds
    }
}

impl Stay {
    fn new(work: Work) -> Self {
        Self {
            attached: None,
            port: None,
            absent: None,
            work,
            tries: 0,
            rounds: 0,
            hindered: 0,
            told_to_stop: false,
            may_ask: false,
        }
    }

    fn number(&self) -> Option<DeviceId> {
        self.attached.as_ref().map(|attached| attached.id)
    }

    fn tick(&mut self, now: Instant, udid: &Udid, pace: &Pace) -> Option<Do> {
        if let Some((since, absence)) = self.absent {
            let patience = match (absence, self.work) {
                (Absence::Unseen, _) => pace.unseen,
                (Absence::Unplugged, Work::Running) => pace.away_working,
                (Absence::Unplugged, _) => pace.away_idle,
            };
            if now.saturating_duration_since(since) < patience {
                return None;
            }
            return match self.work {
                Work::Running if self.told_to_stop => None,
                Work::Running => {
                    self.told_to_stop = true;
                    Some(Do::Stop(udid.clone()))
                }
                _ => Some(Do::End { udid: udid.clone(), since }),
            };
        }
        match (&self.attached, self.work) {
            (Some(attached), Work::Settled(Some(again))) if now >= again => {
                let attached = attached.clone();
                self.work = Work::Running;
                Some(Do::Work { attached, quietly: !self.may_ask })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
