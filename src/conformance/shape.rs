//! A property list without its content: the names of its keys and the kinds of its values.

use std::collections::BTreeMap;

use plist::{Dictionary, Value};

use super::node::Node;
use super::word::{Word, shape};

/// Levels of dictionaries that are looked into.
const DEPTH_MAX: usize = 4;
/// Keys of one dictionary that are looked at: no known one has a tenth of that.
const KEYS_MAX: usize = 2000;
/// Under this name stands how many keys are not shown, by their shape.
pub(super) const UNLISTED: &str = "(not shown)";

/// The kind of a value; of a dictionary its keys, of an array the kinds of its items.
pub(super) fn of(value: &Value) -> Node {
    node(value, DEPTH_MAX)
}

/// The keys of a dictionary with the kinds of their values.
pub(super) fn of_dictionary(values: &Dictionary) -> Node {
    dictionary(values, DEPTH_MAX)
}

/// The keys of a dictionary with the kinds of their values, not looking into those.
pub(super) fn flat(values: &Dictionary) -> Node {
    dictionary(values, 1)
}

fn node(value: &Value, depth: usize) -> Node {
    match value {
        Value::Dictionary(values) if depth > 0 && !values.is_empty() => dictionary(values, depth),
        Value::Array(items) => Node::own(array(items)),
        other => Node::own(kind(other)),
    }
}

fn dictionary(values: &Dictionary, depth: usize) -> Node {
    let mut shown = BTreeMap::new();
    let mut hidden: BTreeMap<Word, u64> = BTreeMap::new();
    for (key, value) in values.iter().take(KEYS_MAX) {
        match Word::key(key) {
            Some(key) => {
                shown.insert(key, node(value, depth - 1));
            }
            None => *hidden.entry(shape(key)).or_default() += 1,
        }
    }
    if !hidden.is_empty() {
        let counts = hidden.into_iter().map(|(shape, count)| (shape, Word::about(count).into())).collect();
        shown.insert(Word::own(UNLISTED), Node::Map(counts));
    }
    Node::Map(shown)
}

fn array(items: &[Value]) -> &'static str {
    let mut kinds: Vec<&str> = items.iter().take(KEYS_MAX).map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    match kinds.as_slice() {
        [] => "array, empty",
        ["string"] => "array of string",
        ["dictionary"] => "array of dictionary",
        ["integer"] => "array of integer",
        ["data"] => "array of data",
        ["array"] => "array of array",
        _ => "array",
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::Dictionary(_) => "dictionary",
        Value::Boolean(_) => "boolean",
        Value::Data(_) => "data",
        Value::Date(_) => "date",
        Value::Real(_) => "real",
        Value::Integer(_) => "integer",
        Value::String(_) => "string",
        Value::Uid(_) => "reference",
        _ => "another kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_and_values_and_strange_keys_are_not() {
        let mut inner = Dictionary::new();
        inner.insert("AnnaSchmidt".into(), "secret".into());
        inner.insert("4915112345678".into(), 1.into());
        inner.insert("BatteryData".into(), Value::Data(vec![1, 2, 3]));
        let mut root = Dictionary::new();
        root.insert("ProductType".into(), "Anna".into());
        root.insert("BatteryIsCharging".into(), true.into());
        root.insert("AdapterDetails".into(), Value::Dictionary(inner));
        root.insert("SupportedDeviceFamilies".into(), Value::Array(vec![1.into()]));
        let told = of_dictionary(&root).to_json();
        assert_eq!(
            told,
            serde_json::json!({
                "AdapterDetails": {
                    "(not shown)": {"digits": "1+", "letters and digits": "1+"}, "BatteryData": "data",
                },
                "BatteryIsCharging": "boolean",
                "ProductType": "string",
                "SupportedDeviceFamilies": "array of integer",
            })
        );
    }

    #[test]
    fn depth_ends_with_the_kind() {
        let mut value = Value::from(1);
        for _ in 0..DEPTH_MAX + 3 {
            value = Value::Dictionary([("Status".to_owned(), value)].into_iter().collect());
        }
        let text = of(&value).to_json().to_string();
        assert_eq!(text.matches("Status").count(), DEPTH_MAX, "{text}");
        assert!(text.contains("\"dictionary\""));
    }
}
