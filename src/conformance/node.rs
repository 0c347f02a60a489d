//! The pieces that a conformance file is built of: words, yes and no, rough figures, and groups of them. Texts and keys
//! are [`Word`]s, so nothing of a phone's gets in by another way.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::word::Word;

/// A piece of a conformance file. There is no other way to build one.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A text.
    Word(Word),
    /// Yes or no.
    Truth(bool),
    /// A measured figure, cut to two digits: it tells of a cable, not of a person.
    Figure(u64),
    /// Named pieces, in the order of their names.
    Map(BTreeMap<Word, Node>),
    /// Pieces in an order that means something.
    List(Vec<Node>),
}

impl Node {
    /// One of our own texts.
    #[must_use]
    pub const fn own(text: &'static str) -> Self {
        Self::Word(Word::own(text))
    }

    /// A figure, cut to its two leading digits.
    #[must_use]
    pub fn figure(mut number: u64) -> Self {
        let mut scale = 1;
        while number >= 100 {
            number /= 10;
            scale *= 10;
        }
        Self::Figure(number * scale)
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Word(word) => Value::from(word.as_str()),
            Self::Truth(truth) => Value::from(*truth),
            Self::Figure(number) => Value::from(*number),
            Self::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.as_str().to_owned(), node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
            Self::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
        }
    }
}

impl From<bool> for Node {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl From<Word> for Node {
    fn from(word: Word) -> Self {
        Self::Word(word)
    }
}

/// Named pieces while they are put together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Section(BTreeMap<Word, Node>);

impl Section {
    /// Puts a piece under one of our own names.
    pub fn put(&mut self, name: &'static str, node: impl Into<Node>) {
        self.0.insert(Word::own(name), node.into());
    }

    /// Puts a piece under a word.
    pub fn put_word(&mut self, name: Word, node: impl Into<Node>) {
        self.0.insert(name, node.into());
    }

    /// The section of this name, made if it is not there: what is written to it stays, however the rest goes.
    pub fn section(&mut self, name: Word) -> &mut BTreeMap<Word, Node> {
        let node = self.0.entry(name).or_insert_with(|| Node::Map(BTreeMap::new()));
        if !matches!(node, Node::Map(_)) {
            *node = Node::Map(BTreeMap::new());
        }
        match node {
            Node::Map(entries) => entries,
            _ => unreachable!("it was made a map above"),
        }
    }

    /// Nothing was put.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Section> for Node {
    fn from(section: Section) -> Self {
        Self::Map(section.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_two_digits() {
        assert_eq!(Node::figure(37_912), Node::Figure(37_000));
        assert_eq!(Node::figure(99), Node::Figure(99));
        assert_eq!(Node::figure(u64::MAX), Node::Figure(18_000_000_000_000_000_000));
    }

    #[test]
    fn groups_are_in_the_order_of_their_names() {
        let mut section = Section::default();
        section.put("b", true);
        section.section(Word::own("a")).insert(Word::own("inner"), Node::own("text"));
        assert_eq!(Node::from(section).to_json().to_string(), r#"{"a":{"inner":"text"},"b":true}"#);
    }
}
