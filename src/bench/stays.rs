//! The phones that are plugged in, and what is to be done about each: a state machine without I/O and without a clock.
//!
//! A *stay* lasts from plug to unplug; a visit is made in it. A phone that is away for a moment (a loose cable, a
//! restart, a usbmuxd that is started anew) goes on with the same stay.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::usbmux::{Attached, DeviceId, Udid};
use crate::visit::reach::RETURN_WAIT;

/// Phones that may be there at once; a muxer that lists more is lying.
pub(super) const STAYS_MAX: usize = 256;
/// Stays that may begin within an hour. A device that comes again and again, or each time as another one, fills the
/// record no faster.
const NEW_PER_HOUR_MAX: usize = 240;
const HOUR: Duration = Duration::from_secs(3600);
/// How often one stay may begin its work again because the phone left in the middle.
const TRIES_MAX: u32 = 20;

/// Visits of one stay that ended because a person was missing or something was in the way. Whoever refused a passcode
/// so often is not asked again before the phone is plugged in anew.
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
    /// The same when the muxer is gone, or was never there since the start.
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
    /// Something here was in the way, which may pass.
    Hindered,
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
    absent: Option<(Instant, Absence)>,
    work: Work,
    tries: u32,
    told_to_stop: bool,
    /// The work may ask a person when it is begun again.
    may_ask: bool,
    /// Visits that ended because a person was missing or something was in the way.
    rounds: u32,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Stays {
    pace: Pace,
    stays: BTreeMap<Udid, Stay>,
    /// When those of the last hour began.
    begun: VecDeque<Instant>,
    /// Those that are there and could not begin.
    refused: BTreeMap<Udid, Attached>,
}

impl Stays {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, stays: BTreeMap::new(), begun: VecDeque::new(), refused: BTreeMap::new() }
    }

    /// A visit that was open when the bench started. `due`: something is left to do.
    pub(super) fn taken_up(&mut self, now: Instant, udid: Udid, due: bool) {
        let work = if due { Work::Due } else { Work::Settled(None) };
        let absent = Some((now, Absence::Unseen));
        self.stays.insert(udid, Stay { absent, ..Stay::new(work) });
    }

    /// A phone is there.
    pub(super) fn attached(&mut self, now: Instant, attached: Attached) -> Vec<Do> {
        let udid = attached.udid.clone();
        if !self.stays.contains_key(&udid) {
            if !self.has_room(now) {
                if self.refused.len() < STAYS_MAX {
                    self.refused.insert(udid.clone(), attached);
                }
                return vec![Do::Refuse(udid)];
            }
            self.begun.push_back(now);
        }
        let stay = self.stays.entry(udid).or_insert_with(|| Stay::new(Work::Due));
        stay.attached = Some(attached.clone());
        stay.absent = None;
        if stay.work != Work::Due {
            return Vec::new();
        }
        stay.work = Work::Running;
        vec![Do::Work { attached, quietly: false }]
    }

    /// For one more stay.
    fn has_room(&mut self, now: Instant) -> bool {
        let is_old = |began: &Instant| now.saturating_duration_since(*began) >= HOUR;
        while self.begun.front().is_some_and(is_old) {
            self.begun.pop_front();
        }
        self.stays.len() < STAYS_MAX && self.begun.len() < NEW_PER_HOUR_MAX
    }

    /// The muxer says that one left.
    pub(super) fn detached(&mut self, now: Instant, id: DeviceId) -> Option<Udid> {
        self.refused.retain(|_, attached| attached.id != id);
        let (udid, stay) = self.stays.iter_mut().find(|(_, stay)| stay.number() == Some(id))?;
        stay.attached = None;
        stay.absent = Some((now, Absence::Unplugged));
        Some(udid.clone())
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
        stay.told_to_stop = false;
        let left = matches!(how, Worked::Gone | Worked::Stopped);
        match (&stay.attached, stay.absent) {
            (Some(attached), _) if left && stay.tries < TRIES_MAX => {
                stay.tries += 1;
                stay.work = Work::Running;
                vec![Do::Work { attached: attached.clone(), quietly: false }]
            }
            (None, Some((since, _))) if left => {
                self.stays.remove(udid);
                vec![Do::End { udid: udid.clone(), since }]
            }
            _ => {
                let was_visit = matches!(how, Worked::Waits | Worked::Hindered);
                stay.rounds += u32::from(was_visit);
                let later = how == Worked::Shut || (was_visit && stay.rounds < ROUNDS_MAX);
                let longer = LONGER.pow(stay.rounds.saturating_sub(1).min(ROUNDS_MAX));
                stay.work = Work::Settled(later.then_some(now + self.pace.look_again * longer));
                stay.may_ask = how == Worked::Hindered;
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
        while !self.refused.is_empty() && self.has_room(now) {
            let Some((_, attached)) = self.refused.pop_first() else { break };
            deeds.extend(self.attached(now, attached));
        }
        deeds
    }
}

impl Stay {
    fn new(work: Work) -> Self {
        Self { attached: None, absent: None, work, tries: 0, rounds: 0, told_to_stop: false, may_ask: false }
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
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        away_idle: Duration::from_secs(5),
        away_working: Duration::from_secs(45),
        unseen: Duration::from_secs(60),
        look_again: Duration::from_secs(15),
    };

    fn udid(n: u32) -> Udid {
        Udid::parse(&format!("00008101-{n:016X}")).unwrap()
    }

    fn phone(n: u32, id: u32) -> Attached {
        Attached { id: DeviceId(id), udid: udid(n), product_id: 0x12a8, location_id: 0, speed_bps: 0 }
    }

    fn work(attached: Attached) -> Vec<Do> {
        vec![Do::Work { attached, quietly: false }]
    }

    /// Stays, and the clock in seconds.
    fn stays() -> (Stays, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Stays::new(PACE), move |seconds| start + Duration::from_secs(seconds))
    }

    #[test]
    fn a_plug_begins_and_an_unplug_ends() {
        let (mut stays, at) = stays();
        assert_eq!(stays.attached(at(0), phone(1, 7)), work(phone(1, 7)));
        assert_eq!(stays.attached(at(0), phone(1, 7)), [], "it is told once");
        assert_eq!(stays.worked(at(1), &udid(1), Worked::Settled), []);
        assert_eq!(stays.tick(at(1000)), [], "it may stay for long");
        assert_eq!(stays.detached(at(1000), DeviceId(7)), Some(udid(1)));
        assert_eq!(stays.tick(at(1004)), []);
        assert_eq!(stays.tick(at(1005)), [Do::End { udid: udid(1), since: at(1000) }]);
        assert_eq!(stays.attached(at(0), phone(1, 8)), work(phone(1, 8)), "the next plug is another stay");
    }

    #[test]
    fn a_loose_cable_is_the_same_stay() {
        let (mut stays, at) = stays();
        let _ = stays.attached(at(0), phone(1, 7));
        stays.detached(at(1), DeviceId(7));
        assert_eq!(stays.attached(at(0), phone(1, 8)), [], "the visit finds it again by itself");
        assert_eq!(stays.worked(at(2), &udid(1), Worked::Settled), []);
        assert_eq!(stays.detached(at(3), DeviceId(7)), None, "that number is an old one");
        assert_eq!(stays.tick(at(500)), []);
    }

    #[test]
    fn one_that_leaves_in_the_middle_is_waited_for_and_then_stopped() {
        let (mut stays, at) = stays();
        let _ = stays.attached(at(0), phone(1, 7));
        stays.detached(at(10), DeviceId(7));
        assert_eq!(stays.tick(at(54)), []);
        assert_eq!(stays.tick(at(55)), [Do::Stop(udid(1))]);
        assert_eq!(stays.tick(at(56)), [], "once");
        let end = Do::End { udid: udid(1), since: at(10) };
        assert_eq!(stays.worked(at(57), &udid(1), Worked::Stopped), [end]);
    }

    #[test]
    fn one_that_returned_too_late_for_the_visit_is_worked_with_again_but_not_for_ever() {
        let (mut stays, at) = stays();
        let _ = stays.attached(at(0), phone(1, 7));
        for id in 8..8 + TRIES_MAX {
            stays.detached(at(1), DeviceId(id - 1));
            assert_eq!(stays.attached(at(0), phone(1, id)), []);
            assert_eq!(stays.worked(at(2), &udid(1), Worked::Gone), work(phone(1, id)));
        }
        assert_eq!(stays.worked(at(3), &udid(1), Worked::Gone), []);
    }

    #[test]
    fn a_muxer_that_is_started_anew_ends_nothing() {
        let (mut stays, at) = stays();
        let _ = stays.attached(at(0), phone(1, 7));
        stays.worked(at(1), &udid(1), Worked::Settled);
        stays.unseen(at(10));
        assert_eq!(stays.tick(at(69)), []);
        assert_eq!(stays.attached(at(0), phone(1, 1)), []);
        stays.unseen(at(100));
        assert_eq!(stays.tick(at(160)), [Do::End { udid: udid(1), since: at(100) }]);
    }

    #[test]
    fn an_unplug_that_was_seen_counts_also_when_the_muxer_goes_with_its_last_phone() {
        let (mut stays, at) = stays();
        let _ = stays.attached(at(0), phone(1, 7));
        stays.worked(at(1), &udid(1), Worked::Settled);
        stays.detached(at(10), DeviceId(7));
        stays.unseen(at(11));
        assert_eq!(stays.tick(at(15)), [Do::End { udid: udid(1), since: at(10) }]);
    }

    #[test]
    fn what_was_open_at_the_start_goes_on_when_the_phone_is_there_and_ends_when_not() {
        let (mut stays, at) = stays();
        stays.taken_up(at(0), udid(1), true);
        stays.taken_up(at(0), udid(2), false);
        stays.taken_up(at(0), udid(3), true);
        assert_eq!(stays.attached(at(0), phone(1, 1)), work(phone(1, 1)));
        assert_eq!(stays.attached(at(0), phone(2, 2)), [], "all was done before");
        assert_eq!(stays.tick(at(60)), [Do::End { udid: udid(3), since: at(0) }]);
    }

    #[test]
    fn who_waits_for_a_person_is_looked_at_again_without_asking() {
        let (mut stays, at) = stays();
        let _ = stays.attached(at(0), phone(1, 7));
        assert_eq!(stays.worked(at(10), &udid(1), Worked::Waits), []);
        assert_eq!(stays.tick(at(24)), []);
        let again = [Do::Work { attached: phone(1, 7), quietly: true }];
        assert_eq!(stays.tick(at(25)), again);
        stays.worked(at(26), &udid(1), Worked::Shut);
        stays.paired(at(27), DeviceId(7));
        assert_eq!(stays.tick(at(27)), again, "somebody has just tapped Trust");
        stays.worked(at(28), &udid(1), Worked::Hindered);
        assert_eq!(stays.tick(at(87)), []);
        assert_eq!(stays.tick(at(88)), work(phone(1, 7)), "nobody was asked yet: the disk was full");
        stays.worked(at(90), &udid(1), Worked::Waits);
        assert_eq!(stays.tick(at(100_000)), [], "a passcode that nobody enters is not asked for all night");
    }

    #[test]
    fn a_muxer_that_lists_phones_without_end_is_not_believed() {
        let (mut stays, at) = stays();
        for n in 0..u32::try_from(STAYS_MAX).unwrap() {
            assert_eq!(stays.attached(at(3600 * u64::from(n / 200)), phone(n, n)).len(), 1);
        }
        assert_eq!(stays.attached(at(9999), phone(9999, 9999)), [Do::Refuse(udid(9999))]);
        assert_eq!(stays.attached(at(9999), phone(0, 10_000)), [], "who is there already stays");
    }

    #[test]
    fn a_device_that_is_another_one_each_time_fills_no_record() {
        let (mut stays, at) = stays();
        let mut begun = 0;
        for n in 0..1000 {
            let now = at(3 * u64::from(n));
            begun +=
                stays.attached(now, phone(n, n)).iter().filter(|it| matches!(it, Do::Work { .. })).count();
            stays.worked(now, &udid(n), Worked::Settled);
            stays.detached(now, DeviceId(n));
            stays.tick(now + PACE.away_idle);
        }
        assert_eq!(begun, NEW_PER_HOUR_MAX);
        assert_eq!(stays.attached(at(7200), phone(5000, 5000)), work(phone(5000, 5000)), "it passes");
    }
}
