//! Figures as people read them. Everything the visit says and the report shows is worded here, so that the same
//! number looks the same everywhere.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Bytes in decimal units, as disks and phones are sold: `999 B`, `1.5 MB`, `30.7 GB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut shown = n as f64 / 1000.0;
    let mut unit = 0;
    while shown >= 999.5 && unit + 1 < UNITS.len() {
        shown /= 1000.0;
        unit += 1;
    }
    if shown < 99.95 { format!("{shown:.1} {}", UNITS[unit]) } else { format!("{shown:.0} {}", UNITS[unit]) }
}

/// A count with its thousands apart: `1,240`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and its noun: `1 photo`, `37 photos`.
#[must_use]
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A length of time, to the unit that matters: `8 s`, `4 min`, `2 h 5 min`.
#[must_use]
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs().min(u64::MAX / 2);
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min", (seconds + 30) / 60),
        _ => {
            let minutes = (seconds + 30) / 60;
            match (minutes / 60, minutes % 60) {
                (hours, 0) => format!("{hours} h"),
                (hours, minutes) => format!("{hours} h {minutes} min"),
            }
        }
    }
}

/// A moment in the reader's own time: `22 Nov 2026, 03:25`.
#[must_use]
pub fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%-d %b %Y, %H:%M").to_string()
}

/// How long ago, to the unit that matters: `3 days ago`. The future is `just now`, since clocks differ.
#[must_use]
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(at.as_second()).max(0);
    let of = |n: i64, one: &str, many: &str| format!("{n} {} ago", if n == 1 { one } else { many });
    match seconds {
        0..=59 => "just now".to_owned(),
        60..=3_599 => of(seconds / 60, "minute", "minutes"),
        3_600..=86_399 => of(seconds / 3_600, "hour", "hours"),
        _ => of(seconds / 86_400, "day", "days"),
    }
}

/// Part of a whole in per cent, never 100 before it is whole and never 0 while there is something.
#[must_use]
pub fn percent(part: u64, whole: u64) -> u8 {
    if whole == 0 {
        return 100;
    }
    let exact = u128::from(part.min(whole)) * 100 / u128::from(whole);
    let shown = u8::try_from(exact).expect("at most 100");
    if shown == 0 && part > 0 { 1 } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500_000), "1.5 MB");
        assert_eq!(bytes(30_701_121_536), "30.7 GB");
        assert_eq!(bytes(127_989_493_760), "128 GB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(bytes(u64::MAX), "18447 PB");
        assert_eq!(count(0), "0");
        assert_eq!(count(1_240), "1,240");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "photo", "photos"), "1 photo");
        assert_eq!(counted(37, "photo", "photos"), "37 photos");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(duration(Duration::from_secs(8)), "8 s");
        assert_eq!(duration(Duration::from_secs(240)), "4 min");
        assert_eq!(duration(Duration::from_secs(7_500)), "2 h 5 min");
        assert_eq!(duration(Duration::from_secs(7_200)), "2 h");
        let at: Timestamp = "2026-11-22T03:25:10Z".parse().unwrap();
        assert_eq!(moment(at, &TimeZone::UTC), "22 Nov 2026, 03:25");
        assert_eq!(ago(at, at), "just now");
        assert_eq!(ago("2026-11-19T03:12:44Z".parse().unwrap(), at), "3 days ago");
        assert_eq!(ago(Timestamp::MAX, at), "just now");
        assert_eq!(ago(Timestamp::MIN, at).split(' ').next_back(), Some("ago"));
    }

    #[test]
    fn nearly_done_is_not_done() {
        assert_eq!(percent(999_999, 1_000_000), 99);
        assert_eq!(percent(1, 1_000_000), 1);
        assert_eq!(percent(0, 10), 0);
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(20, 10), 100);
    }
}
