//! A property list grown from bytes: whatever its shape, it speaks the words that somebody listens to.

use plist::{Dictionary, Value};

use super::source::Source;

const DEPTH_MAX: usize = 4;

/// One value; `words` are the keys and texts that mean something.
pub(crate) fn value(source: &mut Source<'_>, words: &[&str]) -> Value {
    grow(source, words, 0)
}

/// The same, of the kind that most messages are.
pub(crate) fn dictionary(source: &mut Source<'_>, words: &[&str]) -> Dictionary {
    fill(source, words, 0)
}

fn fill(source: &mut Source<'_>, words: &[&str], depth: usize) -> Dictionary {
    let count = source.byte() % 12;
    (0..count).map(|_| (text(source, words), grow(source, words, depth + 1))).collect()
}

fn grow(source: &mut Source<'_>, words: &[&str], depth: usize) -> Value {
    match source.byte() % if depth < DEPTH_MAX { 10 } else { 7 } {
        0 => Value::Boolean(source.byte() & 1 == 1),
        1 => Value::Integer(u64::from(source.word()).into()),
        2 => Value::Integer((i64::from(source.word().cast_signed()) << (source.byte() % 32)).into()),
        3 => Value::Real(f64::from(source.word().cast_signed()) / 7.0),
        4 => {
            let most = usize::from(source.byte());
            Value::Data(source.take(most).to_vec())
        }
        5 => Value::Date(std::time::SystemTime::UNIX_EPOCH.into()),
        7 => Value::Dictionary(fill(source, words, depth)),
        8 => {
            let count = source.byte() % 8;
            Value::Array((0..count).map(|_| grow(source, words, depth + 1)).collect())
        }
        _ => Value::String(text(source, words)),
    }
}

fn text(source: &mut Source<'_>, words: &[&str]) -> String {
    let which = source.byte();
    match words.get(usize::from(which)) {
        Some(word) => (*word).to_owned(),
        None => {
            let most = usize::from(which % 16);
            String::from_utf8_lossy(source.take(most)).into_owned()
        }
    }
}
