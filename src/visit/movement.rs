//! Is the upload moving? Two readings of the same phone, apart in time, tell waiting from stuck: what moves needs
//! patience, what has stood still for a quarter of an hour without a reason needs something else.
//!
//! Values in, values out: this module knows no phone and no clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::words;
use crate::diagnosis::{Diagnosis, FindingId};
use crate::facts::{Facts, value};

/// Readings that are further apart than this and show the same numbers mean that nothing moves.
pub const STILL_AFTER: SignedDuration = SignedDuration::from_mins(15);
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
    /// The one reason why the engine pauses.
    pub pause_reason: Option<FindingId>,
}

impl Reading {
    /// What these facts say.
    #[must_use]
    pub fn of(facts: &Facts, diagnosis: &Diagnosis) -> Self {
        let counts = &facts.library.counts;
        let parts = [counts.waiting, counts.failed, counts.never_queued];
        let known = parts.iter().any(Option::is_some);
        let icloud = &facts.icloud_photos;
        Self {
            at: facts.observed_at,
            to_upload: known.then(|| parts.iter().flatten().fold(0, |sum, n| n.saturating_add(sum))),
            uploaded: counts.uploaded,
            bytes_to_upload: icloud.backlog.as_ref().map(|backlog| backlog.value.outgoing_bytes),
            server_assets: value(&icloud.server_assets),
            to_download: value(&icloud.to_download),
            last_sync: value(&icloud.last_sync),
            pause_reason: diagnosis.pause_reason,
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
}

/// The readings of one phone, oldest first.
#[derive(Debug, Default)]
pub struct Watch {
    readings: Vec<Reading>,
    first: Option<Reading>,
    moved_at: Option<Timestamp>,
}

impl Watch {
    /// Takes a reading in, and says what is known now. A reading older than the last (a clock was set) starts anew.
    pub fn take(&mut self, reading: Reading) -> Movement {
        if self.readings.last().is_some_and(|last| reading.at < last.at) {
            *self = Self::default();
        }
        if self.readings.last().is_some_and(|last| reading.moved_since(last)) {
            self.moved_at = Some(reading.at);
        }
        self.first.get_or_insert_with(|| reading.clone());
        self.readings.push(reading);
        if self.readings.len() > READINGS_MAX {
            self.readings.remove(0);
        }
        self.movement()
    }

    fn movement(&self) -> Movement {
        let (first, last) = (
            self.first.as_ref().expect("a reading was just taken"),
            self.readings.last().expect("a reading was just taken"),
        );
        let (per_hour, bytes_per_second) = self.rates(last);
        Movement {
            pace: self.pace(first, last),
            since: first.at,
            moved_at: self.moved_at,
            uploaded_since: gained(first.uploaded, last.uploaded),
            left: last.to_upload,
            bytes_left: last.bytes_to_upload,
            per_hour,
            bytes_per_second,
            seconds_left: seconds_left(last, per_hour, bytes_per_second),
            reason: last.pause_reason,
        }
    }

    fn pace(&self, first: &Reading, last: &Reading) -> Pace {
        let still_for = last.at.duration_since(self.moved_at.unwrap_or(first.at));
        match self.moved_at {
            _ if last.nothing_left() => Pace::Done,
            _ if last.to_upload.is_none() => Pace::Unknown,
            Some(_) if still_for < STILL_AFTER => Pace::Moving,
            _ if last.pause_reason.is_some() => Pace::Waiting,
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
                still(self.moved_at.unwrap_or(self.since)),
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
            pause_reason: None,
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
        let paused =
            |minute| Reading { pause_reason: Some(FindingId::IcloudStorageFull), ..reading(minute, 30) };
        let waiting = watched([paused(0), paused(40)]);
        assert_eq!(waiting.pace, Pace::Waiting);
        let said = waiting.sentence(waiting.since, Some("iCloud storage is full."));
        assert!(said.starts_with("Waiting, not stuck: iCloud storage is full. 30 items"), "{said}");
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
