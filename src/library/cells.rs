//! Cells of a row, read with doubt: SQLite lets any cell hold any type, whatever its column was declared as.

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::ValueRef;

/// Seconds from 1970 to 2001, where Core Data's times begin.
const COCOA_EPOCH_SECONDS: f64 = 978_307_200.0;
/// The longest text that is taken from a cell, in bytes; a longer one counts as none.
const TEXT_BYTES_MAX: usize = 1024;

/// What stands where a whole number is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// Nothing.
    Null,
    /// A number.
    Whole(i64),
    /// Something else: the name of its type.
    Wrong(&'static str),
}

/// One row.
pub(super) struct Cells<'a>(&'a Row<'a>);

impl<'a> Cells<'a> {
    pub(super) fn new(row: &'a Row<'a>) -> Self {
        Self(row)
    }

    fn cell(&self, at: usize) -> ValueRef<'a> {
        self.0.get_ref(at).unwrap_or(ValueRef::Null)
    }

    /// The whole number at `at`. A real that is whole counts: SQLite may store either.
    pub(super) fn number(&self, at: usize) -> Number {
        match self.cell(at) {
            ValueRef::Null => Number::Null,
            ValueRef::Integer(number) => Number::Whole(number),
            ValueRef::Real(number) => whole(number).map_or(Number::Wrong("real"), Number::Whole),
            ValueRef::Text(_) => Number::Wrong("text"),
            ValueRef::Blob(_) => Number::Wrong("blob"),
        }
    }

    /// The whole number at `at`, if there is one.
    pub(super) fn whole(&self, at: usize) -> Option<i64> {
        match self.number(at) {
            Number::Whole(number) => Some(number),
            _ => None,
        }
    }

    /// A size in bytes; nothing and less than nothing are no size.
    pub(super) fn bytes(&self, at: usize) -> Option<u64> {
        u64::try_from(self.whole(at)?).ok().filter(|bytes| *bytes > 0)
    }

    /// A text of reasonable length.
    pub(super) fn text(&self, at: usize) -> Option<&'a str> {
        match self.cell(at) {
            ValueRef::Text(bytes) if bytes.len() <= TEXT_BYTES_MAX => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The bytes of a blob.
    pub(super) fn blob(&self, at: usize) -> Option<&'a [u8]> {
        match self.cell(at) {
            ValueRef::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A time, kept as seconds since 2001.
    pub(super) fn time(&self, at: usize) -> Option<Timestamp> {
        match self.cell(at) {
            #[expect(clippy::cast_precision_loss, reason = "a time of this size is exact to the second")]
            ValueRef::Integer(seconds) => cocoa_time(seconds as f64),
            ValueRef::Real(seconds) => cocoa_time(seconds),
            _ => None,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and far inside of the range of i64")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

/// The moment `seconds` after the start of 2001; `None` for one that no calendar can hold.
#[expect(clippy::cast_possible_truncation, reason = "bounded before it is cast")]
pub(super) fn cocoa_time(seconds: f64) -> Option<Timestamp> {
    // Years 1 to 9999; comparisons with NaN are false.
    if !(-63_000_000_000.0..=252_000_000_000.0).contains(&seconds) {
        return None;
    }
    let milliseconds = ((seconds + COCOA_EPOCH_SECONDS) * 1000.0).round() as i64;
    Timestamp::from_millisecond(milliseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_backups_date_is_read() {
        assert_eq!(cocoa_time(812_806_913.0).unwrap().to_string(), "2026-10-04T11:41:53Z");
    }

    #[test]
    fn impossible_times_are_none() {
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e18, -1e18, f64::MAX] {
            assert_eq!(cocoa_time(seconds), None, "{seconds}");
        }
        assert!(cocoa_time(-62_000_000_000.0).is_some());
    }
}
