//! Is the upload moving? Two readings of the same phone, apart in time, tell waiting from stuck: what moves needs
//! patience, what has stood still for a quarter of an hour without a reason needs something else.
//!
//! Values in, values out: this module knows no phone and no clock.

mod baseline;
mod reading;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::words;
use crate::diagnosis::FindingId;
pub use crate::diagnosis::thresholds::STILL_AFTER;
use crate::facts::{Fact, Facts, Source};

pub(super) use baseline::Unwatched;
pub use baseline::Watch;
pub use reading::Reading;

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
