//! Values of state columns that we do not know. One is enough for the gate to say that it cannot tell.

use std::collections::BTreeMap;

use super::cells::Number;

/// Different unknown values that are listed; the rest is counted together.
const LISTED_MAX: usize = 64;

/// Values of state columns that we do not know.
#[derive(Default)]
pub(super) struct Unknown(BTreeMap<String, u64>);

impl Unknown {
    /// Counts one cell of `column` that holds `number`.
    pub(super) fn note(&mut self, column: &'static str, number: Number) {
        let value = match number {
            Number::Null => "null".to_owned(),
            Number::Whole(value) => value.to_string(),
            Number::Wrong(kind) => kind.to_owned(),
        };
        let mut line = format!("{column}={value}");
        if self.0.len() >= LISTED_MAX && !self.0.contains_key(&line) {
            "others".clone_into(&mut line);
        }
        *self.0.entry(line).or_default() += 1;
    }

    /// The number, if it is one of `known`; else it is noted.
    pub(super) fn known(&mut self, column: &'static str, number: Number, known: &[i64]) -> Option<i64> {
        match number {
            Number::Whole(value) if known.contains(&value) => Some(value),
            _ => {
                self.note(column, number);
                None
            }
        }
    }

    /// A truth value; nothing is false.
    pub(super) fn flag(&mut self, column: &'static str, number: Number) -> bool {
        number != Number::Null && self.known(column, number, &[0, 1]) == Some(1)
    }

    /// `column=value (count)`, sorted.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.0.into_iter().map(|(line, count)| format!("{line} ({count})")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_are_counted_and_bounded() {
        let mut unknown = Unknown::default();
        assert_eq!(unknown.known("A", Number::Whole(3), &[3]), Some(3));
        assert!(!unknown.flag("F", Number::Null));
        unknown.note("A", Number::Wrong("text"));
        unknown.note("A", Number::Wrong("text"));
        for value in 0..1000 {
            unknown.note("B", Number::Whole(value));
        }
        let lines = unknown.into_lines();
        assert!(lines.contains(&"A=text (2)".to_owned()), "{lines:?}");
        assert_eq!(lines.len(), LISTED_MAX + 1);
    }
}
