//! Typed looks into a dictionary. A value of another kind than wanted is as good as none: phones differ.

use jiff::Timestamp;
use plist::{Dictionary, Value};

/// Looks into a property list dictionary.
pub trait DictExt {
    /// A string.
    fn string(&self, key: &str) -> Option<&str>;
    /// A whole number that is not negative.
    fn uint(&self, key: &str) -> Option<u64>;
    /// A whole number. Numbers above `i64::MAX` are two's complement: phones send negative currents that way.
    fn int(&self, key: &str) -> Option<i64>;
    /// A number, whole or not.
    fn real(&self, key: &str) -> Option<f64>;
    /// A truth value, or the number 0 or 1.
    fn boolean(&self, key: &str) -> Option<bool>;
    /// Bytes.
    fn data(&self, key: &str) -> Option<&[u8]>;
    /// A time, if it is one that a calendar can hold.
    fn date(&self, key: &str) -> Option<Timestamp>;
    /// A dictionary.
    fn dict(&self, key: &str) -> Option<&Dictionary>;
    /// An array.
    fn array(&self, key: &str) -> Option<&[Value]>;
}

impl DictExt for Dictionary {
    fn string(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_string()
    }

    fn uint(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_unsigned_integer()
    }

    fn int(&self, key: &str) -> Option<i64> {
        let value = self.get(key)?;
        value.as_signed_integer().or_else(|| value.as_unsigned_integer().map(u64::cast_signed))
    }

    fn real(&self, key: &str) -> Option<f64> {
        let value = self.get(key)?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a reading that is asked for as a real is no exact count"
        )]
        let whole = || value.as_signed_integer().map(|n| n as f64);
        value.as_real().or_else(whole)
    }

    fn boolean(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Boolean(truth) => Some(*truth),
            Value::Integer(number) => match number.as_unsigned() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            _ => None,
        }
    }

    fn data(&self, key: &str) -> Option<&[u8]> {
        self.get(key)?.as_data()
    }

    fn date(&self, key: &str) -> Option<Timestamp> {
        let date: std::time::SystemTime = self.get(key)?.as_date()?.into();
        Timestamp::try_from(date).ok()
    }

    fn dict(&self, key: &str) -> Option<&Dictionary> {
        self.get(key)?.as_dictionary()
    }

    fn array(&self, key: &str) -> Option<&[Value]> {
        self.get(key)?.as_array().map(Vec::as_slice)
    }
}
