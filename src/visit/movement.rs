//! Is the upload moving? Two readings of the same phone, apart in time, tell waiting from stuck: what moves needs
//! patience, what has stood still for a quarter of an hour without a reason needs something else.
//!
//! Values in, values out: this module knows no phone and no clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::words;
pub use crate::diagnosis::thresholds::STILL_AFTER;
use crate::diagnosis::{Diagnosis, FindingId};
use crate::facts::{Fact, Facts, Reach, Source, value};

/// The rate is that of the last hour: an upload of last night says nothing about this one.
const RATE_OVER: SignedDuration = SignedDuration::from_mins(60);
/// No rate is told from less time than this.
const RATE_AFTER: SignedDuration = SignedDuration::from_secs(20);
/// Readings that are kept; at one a minute this is more than an hour.
const READINGS_MAX: usize = 128;

/// What one reading says about the upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// Assets that are not in iCloud yet: waiting, given up, never queued.
    pub to_upload: Option<u64>,
    /// Assets that are in iCloud.
    pub uploaded: Option<u64>,
    /// Bytes that wait to go up, from the engine's own store.
    pub bytes_to_upload: Option<u64>,
    /// Assets that the server counts.
    pub server_assets: Option<u64>,
    /// Assets that the phone still has to take in.
    pub to_download: Option<u64>,
    /// The engine's last contact with the server.
    pub last_sync: Option<Timestamp>,
    /// What explains that it does not go on: the one reason why the engine pauses, else what keeps it from going on.
    pub reason: Option<FindingId>,
    /// The phone has not been unlocked since it was started: nothing can go up.
    pub shut: bool,
}

/// What keeps everything from going up without being a pause, weightiest first.
const NO_PAUSE: [FindingId; 5] = [
    FindingId::IcloudPhotosSwitchedOff,
    FindingId::IcloudPhotosOff,
    FindingId::IcloudLibraryWiped,
    FindingId::IcloudLibraryDeletionScheduled,
    FindingId::FirstSyncUnfinished,
];

/// Why nothing goes on, where something says so.
fn reason(facts: &Facts, diagnosis: &Diagnosis) -> Option<FindingId> {
    let counts = &facts.library.counts;
    let given_up = counts.failed > Some(0) && counts.waiting == Some(0) && counts.never_queued == Some(0);
    let keeps = || NO_PAUSE.into_iter().find(|id| diagnosis.finding(*id).is_some());
    diagnosis.pause_reason.or_else(keeps).or(given_up.then_some(FindingId::UploadsFailed))
}

impl Reading {
    /// What these facts say.
    #[must_use]
    pub fn of(facts: &Facts, diagnosis: &Diagnosis) -> Self {
        let counts = &facts.library.counts;
        let parts = [counts.waiting, counts.failed, counts.never_queued];
        // A library out of a backup is the same whenever it is read: it shows no standstill.
        let live = facts.library.from_backup.is_none();
        let known = live && parts.iter().any(Option::is_some);
        let icloud = &facts.icloud_photos;
        Self {
            at: facts.observed_at,
            to_upload: known.then(|| parts.iter().flatten().fold(0, |sum, n| n.saturating_add(sum))),
            uploaded: counts.uploaded.filter(|_| live),
            bytes_to_upload: icloud.backlog.as_ref().map(|backlog| backlog.value.outgoing_bytes),
            server_assets: value(&icloud.server_assets),
            to_download: value(&icloud.to_download),
            last_sync: value(&icloud.last_sync),
            reason: reason(facts, diagnosis),
            shut: facts.reach == Reach::NotUnlockedSinceBoot,
        }
    }

    /// Something went up or came down since `earlier`: any of the numbers that only progress changes.
    fn moved_since(&self, earlier: &Self) -> bool {
        let less = |now: Option<u64>, then: Option<u64>| now.zip(then).is_some_and(|(now, then)| now < then);
        let more = |now: Option<u64>, then: Option<u64>| now.zip(then).is_some_and(|(now, then)| now > then);
        more(self.uploaded, earlier.uploaded)
            || less(self.to_upload, earlier.to_upload)
            || less(self.bytes_to_upload, earlier.bytes_to_upload)
            || more(self.server_assets, earlier.server_assets)
            || less(self.to_download, earlier.to_download)
    }

    /// With the numbers of `earlier` where this one has none: what was known last.
    fn or(&self, earlier: Option<&Self>) -> Self {
        let mut known = self.clone();
        if let Some(earlier) = earlier {
            known.to_upload = known.to_upload.or(earlier.to_upload);
            known.uploaded = known.uploaded.or(earlier.uploaded);
            known.bytes_to_upload = known.bytes_to_upload.or(earlier.bytes_to_upload);
            known.server_assets = known.server_assets.or(earlier.server_assets);
            known.to_download = known.to_download.or(earlier.to_download);
        }
        known
    }

    /// Nothing is known to wait without a reason, so nothing can be stuck from then on.
    fn expects_nothing(&self) -> bool {
        self.reason.is_some() || self.to_upload.is_none_or(|left| left == 0)
    }

    fn nothing_left(&self) -> bool {
        self.to_upload == Some(0) && self.to_download.is_none_or(|left| left == 0)
    }
}

/// How it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// Nothing waits.
    Done,
    /// It went on since the first reading.
    Moving,
    /// Nothing went on, and the phone says why.
    Waiting,
    /// Nothing went on for a quarter of an hour, and nothing explains it.
    Stuck,
    /// Nothing went on yet, and too little time has passed to say more.
    TooEarly,
    /// The library could not be read: nobody can tell.
    Unknown,
}

/// What the readings so far say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Movement {
    /// How it goes.
    pub pace: Pace,
    /// When the first reading was made.
    pub since: Timestamp,
    /// Since when nothing has gone on without a reason, as far as the readings show.
    pub still_from: Timestamp,
    /// When something last went on, as far as the readings show.
    pub moved_at: Option<Timestamp>,
    /// Assets that went up since the first reading.
    pub uploaded_since: u64,
    /// Assets that still have to go up.
    pub left: Option<u64>,
    /// Bytes that still have to go up.
    pub bytes_left: Option<u64>,
    /// Assets in an hour, over the last hour.
    pub per_hour: Option<f64>,
    /// Bytes in a second, over the last hour.
    pub bytes_per_second: Option<f64>,
    /// Until everything is up, at this rate, in seconds.
    pub seconds_left: Option<u64>,
    /// Why it waits, by the finding's id.
    pub reason: Option<FindingId>,
    /// How many readings were taken.
    pub readings: u64,
}

/// The readings of one phone, oldest first.
#[derive(Debug, Default)]
pub struct Watch {
    readings: Vec<Reading>,
    first: Option<Reading>,
    moved_at: Option<Timestamp>,
    /// The last reading, with the last known numbers where it has none: a movement is seen across a reading that failed.
    known: Option<Reading>,
    /// Since when something should go on and has not. Time that says nothing is taken out of it by moving this on.
    still_from: Option<Timestamp>,
    /// Time since the last reading in which nothing could be expected to go on.
    left_out: SignedDuration,
    /// The same over all readings.
    left_out_ever: SignedDuration,
    taken: u64,
}

impl Watch {
    /// Takes a reading in, and says what is known now. A reading older than the last (a clock was set) starts anew.
    pub fn take(&mut self, reading: Reading) -> Movement {
        if self.readings.last().is_some_and(|last| reading.at < last.at) {
            *self = Self::default();
        }
        let known = reading.or(self.known.as_ref());
        let moved = self.known.as_ref().is_some_and(|before| known.moved_since(before));
        if moved {
            self.moved_at = Some(reading.at);
        }
        // What stood still until now had its reason, or was not there: when that ended nobody saw.
        let anew =
            moved || known.expects_nothing() || self.known.as_ref().is_none_or(Reading::expects_nothing);
        let still_from = match self.still_from {
            Some(since) if !anew => since.saturating_add(self.says_nothing(&reading)).unwrap_or(reading.at),
            _ => reading.at,
        };
        self.still_from = Some(still_from.min(reading.at));
        self.left_out = SignedDuration::ZERO;
        self.known = Some(known);
        self.first.get_or_insert_with(|| reading.clone());
        self.taken += 1;
        self.readings.push(reading);
        if self.readings.len() > READINGS_MAX {
            self.readings.remove(0);
        }
        self.movement()
    }

    /// Takes out of the next standstill that the phone was away for so long, or busy with what we asked of it.
    pub fn leave_out(&mut self, length: SignedDuration) {
        let length = length.max(SignedDuration::ZERO);
        self.left_out = self.left_out.saturating_add(length);
        self.left_out_ever = self.left_out_ever.saturating_add(length);
    }

    /// How much was taken out so far, for another watch of the same phone.
    #[must_use]
    #[expect(
        clippy::misnamed_getters,
        reason = "over all readings; the field of that name is of the last one"
    )]
    pub fn left_out(&self) -> SignedDuration {
        self.left_out_ever
    }

    /// How much of the time since the last reading says nothing.
    fn says_nothing(&self, reading: &Reading) -> SignedDuration {
        let Some(last) = self.readings.last() else { return SignedDuration::ZERO };
        let between = reading.at.duration_since(last.at);
        if last.shut || reading.shut { between } else { self.left_out.min(between) }
    }

    fn movement(&self) -> Movement {
        let (first, last) = (
            self.first.as_ref().expect("a reading was just taken"),
            self.readings.last().expect("a reading was just taken"),
        );
        let (per_hour, bytes_per_second) = self.rates(last);
        let still_from = self.still_from.unwrap_or(first.at);
        Movement {
            pace: self.pace(still_from, last),
            since: first.at,
            still_from,
            moved_at: self.moved_at,
            uploaded_since: gained(first.uploaded, last.uploaded),
            left: last.to_upload,
            bytes_left: last.bytes_to_upload,
            per_hour,
            bytes_per_second,
            seconds_left: seconds_left(last, per_hour, bytes_per_second),
            reason: last.reason,
            readings: self.taken,
        }
    }

    fn pace(&self, still_from: Timestamp, last: &Reading) -> Pace {
        let still_for = last.at.duration_since(still_from);
        match self.moved_at {
            _ if last.nothing_left() => Pace::Done,
            _ if last.to_upload.is_none() => Pace::Unknown,
            Some(_) if still_for < STILL_AFTER => Pace::Moving,
            _ if last.reason.is_some() => Pace::Waiting,
            _ if still_for >= STILL_AFTER => Pace::Stuck,
            _ => Pace::TooEarly,
        }
    }

    /// Assets an hour and bytes a second, over the last hour of the readings.
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    fn rates(&self, last: &Reading) -> (Option<f64>, Option<f64>) {
        let base = self.readings.iter().find(|reading| last.at.duration_since(reading.at) <= RATE_OVER);
        let Some(base) = base else { return (None, None) };
        let over = last.at.duration_since(base.at);
        if over < RATE_AFTER {
            return (None, None);
        }
        let seconds = over.as_secs_f64();
        let up = gained(base.uploaded, last.uploaded).max(gained(last.to_upload, base.to_upload));
        let bytes = gained(last.bytes_to_upload, base.bytes_to_upload);
        let rate = |n: u64| (n > 0).then_some(n as f64 / seconds);
        (rate(up).map(|each_second| each_second * 3600.0), rate(bytes))
    }
}

/// Spans in which the phone was away, shut, or busy with what was asked of it.
#[derive(Debug, Default)]
pub(super) struct Unwatched(Vec<(Timestamp, Timestamp)>);

impl Unwatched {
    /// A span that ends later than all before it. One that lies in it is a part of it.
    pub(super) fn leave_out(&mut self, since: Timestamp, until: Timestamp) {
        self.0.retain(|(from, _)| *from < since);
        let since = self.0.last().map_or(since, |(_, earlier)| since.max(*earlier));
        self.0.push((since, until));
    }

    /// How long they are together; from here on it is counted anew.
    pub(super) fn take(&mut self) -> SignedDuration {
        let spans = std::mem::take(&mut self.0).into_iter();
        let lengths = spans.map(|(from, until)| until.duration_since(from).max(SignedDuration::ZERO));
        lengths.fold(SignedDuration::ZERO, SignedDuration::saturating_add)
    }
}

/// How much more `now` is than `then`; 0 when it is less or unknown.
fn gained(then: Option<u64>, now: Option<u64>) -> u64 {
    now.zip(then).map_or(0, |(now, then)| now.saturating_sub(then))
}

/// Bytes tell better than numbers, since a video takes as long as many pictures.
#[expect(clippy::cast_precision_loss, reason = "a time for people")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time for people; casts saturate"
)]
fn seconds_left(last: &Reading, per_hour: Option<f64>, bytes_per_second: Option<f64>) -> Option<u64> {
    let by_bytes = last.bytes_to_upload.filter(|bytes| *bytes > 0).zip(bytes_per_second);
    let by_number = last.to_upload.filter(|left| *left > 0).zip(per_hour);
    by_bytes
        .map(|(bytes, rate)| bytes as f64 / rate)
        .or_else(|| by_number.map(|(left, rate)| left as f64 / rate * 3600.0))
        .map(|seconds| seconds.ceil() as u64)
}

impl Movement {
    /// Since when readings have shown that nothing moves, although something should; `None`: it moves, nothing waits, or
    /// one reading is no comparison.
    #[must_use]
    pub fn still_since(&self) -> Option<Timestamp> {
        let compared = self.readings >= 2 && self.left.is_some();
        let still = matches!(self.pace, Pace::Stuck | Pace::Waiting | Pace::TooEarly);
        (compared && still).then_some(self.still_from)
    }

    /// Makes a fact of it, for the rules. A movement that was not seen takes an earlier fact back.
    pub fn tell(&self, facts: &mut Facts) {
        let source = Source::new("readings of the phone, compared", "movement");
        facts.icloud_photos.still_since = self.still_since().map(|since| Fact::new(since, source));
    }

    /// In a sentence or two. `reason` is the title of the finding that explains a wait.
    #[must_use]
    pub fn sentence(&self, now: Timestamp, reason: Option<&str>) -> String {
        let still = |since: Timestamp| words::duration(now.duration_since(since).unsigned_abs());
        match self.pace {
            Pace::Done => "Nothing waits on this phone any more.".to_owned(),
            Pace::Moving => self.moving(),
            Pace::Waiting => format!(
                "Waiting, not stuck: {}. {} to upload.",
                reason.unwrap_or("the phone has a reason to pause").trim_end_matches('.'),
                self.left_words()
            ),
            Pace::Stuck => format!(
                "Stuck: nothing has moved for {}, and nothing explains it. {} to upload.",
                still(self.still_from),
                self.left_words()
            ),
            Pace::TooEarly => {
                format!("No movement seen yet, which is too early to judge. {} to upload.", self.left_words())
            }
            Pace::Unknown => "The library could not be read, so nobody can tell whether it moves.".to_owned(),
        }
    }

    fn left_words(&self) -> String {
        let items = self.left.map_or_else(|| "?".to_owned(), |left| words::counted(left, "item", "items"));
        match self.bytes_left.filter(|bytes| *bytes > 0) {
            Some(bytes) => format!("{items} ({})", words::bytes(bytes)),
            None => items,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates for people; casts saturate"
    )]
    fn moving(&self) -> String {
        let mut rates = Vec::new();
        if let Some(each) = self.per_hour {
            rates.push(format!("{} an hour", words::counted(each.round() as u64, "item", "items")));
        }
        if let Some(each) = self.bytes_per_second {
            rates.push(format!("{}/s", words::bytes(each as u64)));
        }
        let rates = if rates.is_empty() { String::new() } else { format!(" at {}", rates.join(", ")) };
        let left = self.seconds_left.map_or_else(String::new, |seconds| {
            format!(", done in about {}", words::duration(Duration::from_secs(seconds)))
        });
        format!("Moving{rates}: {} to upload{left}.", self.left_words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(minute: i64, left: u64) -> Reading {
        Reading {
            at: Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute),
            to_upload: Some(left),
            uploaded: Some(1000 - left),
            bytes_to_upload: None,
            server_assets: None,
            to_download: None,
            last_sync: None,
            reason: None,
            shut: false,
        }
    }

    fn watched(readings: impl IntoIterator<Item = Reading>) -> Movement {
        let mut watch = Watch::default();
        readings.into_iter().map(|reading| watch.take(reading)).last().unwrap()
    }

    #[test]
    fn two_equal_readings_a_quarter_of_an_hour_apart_are_stuck_and_nearer_ones_are_not() {
        assert_eq!(watched([reading(0, 30)]).pace, Pace::TooEarly);
        assert_eq!(watched([reading(0, 30), reading(14, 30)]).pace, Pace::TooEarly);
        let stuck = watched([reading(0, 30), reading(15, 30)]);
        assert_eq!(stuck.pace, Pace::Stuck);
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(15);
        assert!(stuck.sentence(now, None).contains("nothing has moved for 15 min"), "{stuck:?}");
    }

    #[test]
    fn a_reason_makes_it_waiting() {
        let paused = |minute| Reading { reason: Some(FindingId::IcloudStorageFull), ..reading(minute, 30) };
        let waiting = watched([paused(0), paused(40)]);
        assert_eq!(waiting.pace, Pace::Waiting);
        let said = waiting.sentence(waiting.since, Some("iCloud storage is full."));
        assert!(said.starts_with("Waiting, not stuck: iCloud storage is full. 30 items"), "{said}");
    }

    #[test]
    fn what_was_explained_until_now_is_not_stuck_yet() {
        let paused = |minute| Reading { reason: Some(FindingId::IcloudStorageFull), ..reading(minute, 30) };
        assert_eq!(watched([paused(0), paused(40), reading(41, 30)]).pace, Pace::TooEarly);
        assert_eq!(watched([paused(0), paused(40), reading(41, 30), reading(55, 30)]).pace, Pace::TooEarly);
        assert_eq!(watched([paused(0), paused(40), reading(41, 30), reading(56, 30)]).pace, Pace::Stuck);
        // When the reason went nobody saw.
        assert_eq!(watched([paused(0), reading(20, 30)]).pace, Pace::TooEarly);
    }

    #[test]
    fn what_did_not_wait_before_is_not_stuck_yet() {
        let taken = |minute| Reading { uploaded: Some(1000), ..reading(minute, 1) };
        let first = || Reading { uploaded: Some(1000), ..reading(0, 0) };
        assert_eq!(watched([first(), taken(20)]).pace, Pace::TooEarly);
        assert_eq!(watched([first(), taken(20), taken(35)]).pace, Pace::Stuck);
        let blind = Reading { to_upload: None, uploaded: None, ..reading(0, 0) };
        assert_eq!(watched([blind, reading(20, 30)]).pace, Pace::TooEarly);
    }

    #[test]
    fn a_movement_across_a_reading_that_failed_is_seen_and_a_standstill_too() {
        let blind = |minute| Reading { to_upload: None, uploaded: None, ..reading(minute, 0) };
        let moving = watched([reading(0, 30), blind(10), reading(20, 10)]);
        assert_eq!((moving.pace, moving.moved_at), (Pace::Moving, Some(reading(20, 0).at)));
        assert_eq!(watched([reading(0, 30), blind(10), reading(20, 30)]).pace, Pace::Stuck);
    }

    #[test]
    fn time_in_which_the_phone_was_away_or_shut_is_no_standstill() {
        let after = |away: i64, minute| {
            let mut watch = Watch::default();
            watch.take(reading(0, 30));
            watch.leave_out(SignedDuration::from_mins(away));
            watch.leave_out(SignedDuration::from_mins(-9));
            watch.take(reading(minute, 30))
        };
        assert_eq!(after(0, 20).pace, Pace::Stuck);
        assert_eq!(after(10, 20).pace, Pace::TooEarly);
        assert_eq!(after(10, 25).pace, Pace::Stuck);
        // Never more than there was.
        assert_eq!(after(600, 20).still_from, reading(20, 30).at);
        let shut = |minute| Reading { shut: true, to_upload: None, uploaded: None, ..reading(minute, 0) };
        assert_eq!(watched([reading(0, 30), reading(5, 30), shut(15), reading(25, 30)]).pace, Pace::TooEarly);
        // What was found stays found after a deed.
        let mut watch = Watch::default();
        watch.take(reading(0, 30));
        watch.take(reading(20, 30));
        watch.leave_out(SignedDuration::from_mins(60));
        let movement = watch.take(reading(81, 30));
        assert_eq!((movement.pace, watch.left_out()), (Pace::Stuck, SignedDuration::from_mins(60)));
        assert_eq!(movement.still_since(), Some(reading(60, 30).at));
    }

    #[test]
    fn spans_that_overlap_count_once() {
        let at = |minute| reading(minute, 0).at;
        let mut unwatched = Unwatched::default();
        for (since, until) in [(0, 5), (10, 12), (14, 15), (9, 20), (15, 30)] {
            unwatched.leave_out(at(since), at(until));
        }
        assert_eq!(unwatched.take(), SignedDuration::from_mins(5 + 11 + 10));
        assert_eq!(unwatched.take(), SignedDuration::ZERO);
        unwatched.leave_out(at(5), at(1));
        assert_eq!(unwatched.take(), SignedDuration::ZERO, "a clock was set back");
    }

    #[test]
    fn what_moves_has_a_rate_and_an_end() {
        let moving = watched([reading(0, 30), reading(10, 20)]);
        assert_eq!((moving.pace, moving.uploaded_since, moving.left), (Pace::Moving, 10, Some(20)));
        assert_eq!((moving.per_hour.map(f64::round), moving.seconds_left), (Some(60.0), Some(1200)));
        let said = moving.sentence(moving.since, None);
        assert_eq!(said, "Moving at 60 items an hour: 20 items to upload, done in about 20 min.");
        // Bytes decide where they are known.
        let heavy = |minute, left, bytes| Reading { bytes_to_upload: Some(bytes), ..reading(minute, left) };
        let moving = watched([heavy(0, 30, 60_000_000), heavy(1, 29, 54_000_000)]);
        assert_eq!((moving.bytes_per_second, moving.seconds_left), (Some(100_000.0), Some(540)));
    }

    /// What is found on a phone with three photos on their way, `minutes` after a first reading that showed `before`.
    fn found_after(minutes: i64, before: u64, change: impl Fn(&mut Facts)) -> bool {
        let mut watch = Watch::default();
        let mut last = None;
        for (minute, waiting) in [(0, before), (minutes, 3)] {
            let mut facts = Facts { device: Some(crate::facts::Device::default()), ..Facts::default() };
            facts.observed_at = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
            let source = || Source::new("test", "key");
            facts.icloud_photos.enabled = Some(Fact::new(true, source()));
            facts.icloud_photos.last_sync = Some(Fact::new(facts.observed_at, source()));
            let counts = &mut facts.library.counts;
            (counts.waiting, counts.never_queued, counts.failed) = (Some(waiting), Some(0), Some(0));
            change(&mut facts);
            let movement = watch.take(Reading::of(&facts, &crate::diagnosis::diagnose(&facts)));
            movement.tell(&mut facts);
            last = Some(crate::diagnosis::diagnose(&facts));
        }
        last.is_some_and(|diagnosis| diagnosis.finding(FindingId::UploadsStuck).is_some())
    }

    #[test]
    fn a_measured_standstill_is_found_and_a_shorter_one_a_movement_and_a_reason_are_not() {
        let nothing = |_: &mut Facts| {};
        assert!(found_after(15, 3, nothing));
        assert!(!found_after(14, 3, nothing));
        assert!(!found_after(15, 4, nothing));
        assert!(!found_after(15, 3, |facts| {
            let made_at = Fact::new(Timestamp::UNIX_EPOCH, Source::new("backup:test", ""));
            facts.library.from_backup = Some(made_at);
        }));
        assert!(!found_after(15, 3, |facts| {
            let engine = facts.icloud_photos.engine.get_or_insert_default();
            engine.in_airplane_mode = Some(Fact::new(true, Source::new("test", "key")));
            engine.initial_sync_date = Some(Fact::new(Timestamp::UNIX_EPOCH, Source::new("test", "key")));
        }));
    }

    #[test]
    fn one_reading_is_no_standstill_and_what_is_off_or_given_up_is_not_called_stuck() {
        assert_eq!(watched([reading(0, 30)]).still_since(), None);
        assert_eq!(watched([reading(0, 30), reading(1, 30)]).still_since(), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(watched([reading(0, 30), reading(1, 29)]).still_since(), None);
        let mut facts = Facts { device: Some(crate::facts::Device::default()), ..Facts::default() };
        let counts = &mut facts.library.counts;
        (counts.waiting, counts.never_queued, counts.failed) = (Some(0), Some(9), Some(0));
        let reason_of = |facts: &Facts| Reading::of(facts, &crate::diagnosis::diagnose(facts)).reason;
        assert_eq!(reason_of(&facts), None);
        facts.icloud_photos.enabled = Some(Fact::new(false, Source::new("test", "key")));
        assert_eq!(reason_of(&facts), Some(FindingId::IcloudPhotosOff));
        facts.icloud_photos.enabled = None;
        let counts = &mut facts.library.counts;
        (counts.never_queued, counts.failed) = (Some(0), Some(9));
        assert_eq!(reason_of(&facts), Some(FindingId::UploadsFailed));
    }

    #[test]
    fn it_stops_being_moving_when_it_stands_still() {
        let now = [reading(0, 30), reading(5, 29), reading(19, 29)];
        assert_eq!(watched(now.clone()).pace, Pace::Moving);
        assert_eq!(watched(now.into_iter().chain([reading(20, 29)])).pace, Pace::Stuck);
    }

    #[test]
    fn new_photos_are_no_standstill_and_no_library_is_no_verdict() {
        // Two more were taken, three went up.
        let mut later = reading(20, 29);
        later.uploaded = Some(973);
        assert_eq!(watched([reading(0, 30), later]).pace, Pace::Moving);
        let blind = Reading { to_upload: None, uploaded: None, ..reading(0, 0) };
        assert_eq!(watched([blind]).pace, Pace::Unknown);
        assert_eq!(watched([reading(0, 0)]).pace, Pace::Done);
    }

    #[test]
    fn a_clock_that_was_set_back_starts_anew_and_absurd_numbers_do_no_harm() {
        let movement = watched([reading(60, 30), reading(0, 30)]);
        assert_eq!((movement.pace, movement.since), (Pace::TooEarly, Timestamp::UNIX_EPOCH));
        let mut absurd = reading(1, 30);
        (absurd.to_upload, absurd.bytes_to_upload) = (Some(u64::MAX), Some(u64::MAX));
        let mut later = absurd.clone();
        (later.at, later.bytes_to_upload) = (absurd.at + SignedDuration::from_mins(1), Some(u64::MAX - 1));
        let movement = watched([absurd, later]);
        assert!(!movement.sentence(movement.since, None).is_empty());
        let mut watch = Watch::default();
        for minute in 0..500 {
            watch.take(reading(minute, 30));
        }
        assert_eq!(watch.readings.len(), READINGS_MAX);
        assert_eq!(watch.movement().pace, Pace::Stuck);
    }
}
