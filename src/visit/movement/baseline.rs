//! Against what a reading is held: the readings before it, since when nothing has gone on, and the time that says nothing.

use jiff::{SignedDuration, Timestamp};

use super::reading::Reading;
use super::{Movement, Pace, STILL_AFTER};

/// The rate is that of the last hour: an upload of last night says nothing about this one.
const RATE_OVER: SignedDuration = SignedDuration::from_mins(60);
/// No rate is told from less time than this.
const RATE_AFTER: SignedDuration = SignedDuration::from_secs(20);
/// Readings that are kept; at one a minute this is more than an hour.
pub(super) const READINGS_MAX: usize = 128;

/// The readings of one phone, oldest first.
#[derive(Debug, Default)]
pub struct Watch {
    pub(super) readings: Vec<Reading>,
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

    pub(super) fn movement(&self) -> Movement {
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
pub(in crate::visit) struct Unwatched(Vec<(Timestamp, Timestamp)>);

impl Unwatched {
    /// A span that ends later than all before it. One that lies in it is a part of it.
    pub(in crate::visit) fn leave_out(&mut self, since: Timestamp, until: Timestamp) {
        self.0.retain(|(from, _)| *from < since);
        let since = self.0.last().map_or(since, |(_, earlier)| since.max(*earlier));
        self.0.push((since, until));
    }

    /// How long they are together; from here on it is counted anew.
    pub(in crate::visit) fn take(&mut self) -> SignedDuration {
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
