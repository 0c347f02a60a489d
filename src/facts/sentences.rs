//! The sentences of the judgement, out of `sentences.en.toml`: titles of findings, the verdict, the reasons of the gate.
//!
//! A sentence is a template: `{name}` stands for a value, `{name?one|many}` for a word that depends on a number. Another
//! language is another file ([`speak`]); with its names of months and its rule for plurals it needs no code. This module
//! knows no file system: who starts the program hands the words in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, OnceLock};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::text;

/// The key under which a file names its [`Plural`].
const PLURAL: &str = "plural";
/// The key of the twelve names of months, with a stroke between each two.
const MONTHS: &str = "months";

/// A value in a sentence.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// A count; it is grouped in threes, and words may depend on it.
    Number(u64),
    /// Words or figures that are set already. What came from a phone is defused by who hands it in.
    Text(String),
}

impl From<u64> for Part {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Part {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u8> for Part {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Part {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// How a language chooses among the words that depend on a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Plural {
    /// One, and every other number.
    #[default]
    OneOther,
    /// None and one, and every other number.
    ZeroOneOther,
    /// One, few (2 to 4, 22 to 24, ...) and many, as in Slavic languages.
    OneFewMany,
    /// The same for every number.
    Same,
}

impl Plural {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "one-other" => Self::OneOther,
            "zero-one-other" => Self::ZeroOneOther,
            "one-few-many" => Self::OneFewMany,
            "same" => Self::Same,
            _ => return None,
        })
    }

    fn choose(self, number: u64) -> usize {
        let (ten, hundred) = (number % 10, number % 100);
        match self {
            Self::Same => 0,
            Self::OneOther => usize::from(number != 1),
            Self::ZeroOneOther => usize::from(number > 1),
            Self::OneFewMany if ten == 1 && hundred != 11 => 0,
            Self::OneFewMany if (2..=4).contains(&ten) && !(12..=14).contains(&hundred) => 1,
            Self::OneFewMany => 2,
        }
    }
}

/// The sentences of one language.
#[derive(Debug, Default)]
struct Language {
    plural: Plural,
    templates: BTreeMap<String, String>,
}

/// Sentences that are none.
#[derive(Debug, thiserror::Error)]
pub enum BadSentences {
    /// The file is no such file.
    #[error("{0}")]
    NotParsed(#[from] toml::de::Error),
    /// It has a sentence that is never said.
    #[error("no sentence is called {0}")]
    Unknown(String),
    /// It has another value in it than the English one, or a bracket that is not closed.
    #[error("{0} is not well formed: its values are not those of the English sentence")]
    Values(String),
    /// Its rule for plurals is none that is known.
    #[error("no rule for plurals is called {0}")]
    Plural(String),
}

static OWN: LazyLock<Language> = LazyLock::new(|| {
    Language::parse(include_str!("sentences.en.toml")).expect("a test parses the sentences that are built in")
});

static OTHER: OnceLock<Language> = OnceLock::new();

impl Language {
    fn parse(file: &str) -> Result<Self, BadSentences> {
        let mut templates: BTreeMap<String, String> = toml::from_str(file)?;
        let plural = match templates.remove(PLURAL) {
            Some(word) => Plural::parse(&word).ok_or(BadSentences::Plural(word))?,
            None => Plural::default(),
        };
        if let Some((name, _)) = templates.iter().find(|(_, template)| values_of(template).is_none()) {
            return Err(BadSentences::Values(name.clone()));
        }
        Ok(Self { plural, templates })
    }

    /// Another language: it may leave sentences out, and must not have others or other values in them.
    fn beside(own: &Self, file: &str) -> Result<Self, BadSentences> {
        let other = Self::parse(file)?;
        for (name, template) in &other.templates {
            let own = own.templates.get(name).ok_or_else(|| BadSentences::Unknown(name.clone()))?;
            let (has, may) = (values_of(template), values_of(own));
            if has.zip(may).is_none_or(|(has, may)| !has.is_subset(&may)) {
                return Err(BadSentences::Values(name.clone()));
            }
        }
        Ok(other)
    }
}

/// The names of the values in a template; `None`: a bracket is not closed.
fn values_of(template: &str) -> Option<BTreeSet<&str>> {
    let mut names = BTreeSet::new();
    for piece in pieces(template) {
        if let Piece::Value { name, .. } = piece? {
            names.insert(name);
        }
    }
    Some(names)
}

enum Piece<'t> {
    Words(&'t str),
    Value { name: &'t str, choice: Option<&'t str> },
}

/// A template in its pieces; `None` for one that is not well formed.
fn pieces(mut rest: &str) -> impl Iterator<Item = Option<Piece<'_>>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(inside) = rest.strip_prefix('{') else {
            let end = rest.find('{').unwrap_or(rest.len());
            let (words, left) = rest.split_at(end);
            rest = left;
            return Some(Some(Piece::Words(words)));
        };
        let Some((value, left)) = inside.split_once('}') else {
            rest = "";
            return Some(None);
        };
        rest = left;
        let (name, choice) = value.split_once('?').map_or((value, None), |(name, words)| (name, Some(words)));
        Some(Some(Piece::Value { name, choice }))
    })
}

/// Takes the content of a `sentences` file in another language, for the rest of the run; what it leaves out stays English.
/// The first call counts.
///
/// # Errors
/// It is no such file; then English stays.
pub fn speak(sentences: &str) -> Result<(), BadSentences> {
    let other = Language::beside(&OWN, sentences)?;
    // Somebody has chosen already.
    let _ = OTHER.set(other);
    Ok(())
}

/// The language that has this sentence, and its template.
fn template(name: &str) -> (&'static Language, &'static str) {
    let of = |language: &'static Language| Some((language, language.templates.get(name)?.as_str()));
    let found = OTHER.get().and_then(of).or_else(|| of(&OWN));
    found.unwrap_or_else(|| panic!("no sentence is called {name}: a test looks for each in the sources"))
}

/// A sentence without values.
pub(crate) fn fixed(name: &str) -> &'static str {
    template(name).1
}

/// A sentence with its values. Use [`say`].
pub(crate) fn said(name: &str, values: &[(&str, Part)]) -> String {
    let (language, template) = template(name);
    filled(language.plural, template, values)
}

fn filled(plural: Plural, template: &str, values: &[(&str, Part)]) -> String {
    let mut said = String::with_capacity(template.len() + 16);
    for piece in pieces(template).flatten() {
        match piece {
            Piece::Words(words) => said.push_str(words),
            Piece::Value { name, choice } => {
                let value = values.iter().find(|(named, _)| *named == name).map(|(_, value)| value);
                match (value, choice) {
                    (Some(Part::Number(number)), Some(words)) => {
                        let words: Vec<&str> = words.split('|').collect();
                        said.push_str(words[plural.choose(*number).min(words.len() - 1)]);
                    }
                    (Some(Part::Number(number)), None) => said.push_str(&text::grouped(*number)),
                    (Some(Part::Text(text)), _) => said.push_str(text),
                    (None, _) => debug_assert!(false, "{template:?} wants {name}, which was not handed in"),
                }
            }
        }
    }
    said
}

/// A day, as the language writes it.
pub(crate) fn day(at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    let months = fixed(MONTHS).split('|').nth(usize::from(at.month().unsigned_abs()).saturating_sub(1));
    let parts = [
        ("day", Part::Text(at.day().to_string())),
        ("month", months.unwrap_or_default().into()),
        ("year", Part::Text(at.year().to_string())),
    ];
    said("day", &parts)
}

/// Says a sentence by its name, with the values that it wants.
macro_rules! say {
    ($name:literal $(, $value:ident = $of:expr)* $(,)?) => {
        $crate::facts::sentences::said(
            $name,
            &[$((stringify!($value), $crate::facts::sentences::Part::from($of))),*],
        )
    };
}
pub(crate) use say;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_and_words_follow_the_number() {
        let template = "{n} {n?photo|photos} of {whose} {n?is|are} here";
        let of = |n: u64| filled(Plural::OneOther, template, &[("n", n.into()), ("whose", "Anna".into())]);
        assert_eq!(of(1), "1 photo of Anna is here");
        assert_eq!(of(1203), "1,203 photos of Anna are here");
        assert_eq!(of(0), "0 photos of Anna are here");
        // What a phone says is no template.
        assert_eq!(filled(Plural::Same, "{a}", &[("a", "{b}".into())]), "{b}");
    }

    #[test]
    fn plurals_by_language() {
        let chosen = |plural: Plural| [0, 1, 2, 5, 11, 12, 21, 22, 111].map(|n| plural.choose(n));
        assert_eq!(chosen(Plural::OneOther), [1, 0, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(chosen(Plural::ZeroOneOther), [0, 0, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(chosen(Plural::OneFewMany), [2, 0, 1, 2, 2, 2, 0, 1, 2]);
        assert_eq!(chosen(Plural::Same), [0; 9]);
    }

    #[test]
    fn the_built_in_sentences_are_well_formed() {
        assert!(OWN.templates.len() > 100);
        assert_eq!(fixed(MONTHS).split('|').count(), 12);
        for (name, template) in &OWN.templates {
            assert!(values_of(template).is_some(), "{name}");
            assert!(!template.is_empty() && !template.contains('\n'), "{name}");
        }
        assert_eq!(day(Timestamp::UNIX_EPOCH), "1 January 1970");
    }

    #[test]
    fn another_language_may_leave_out_and_must_not_invent() {
        let own = Language::parse("a = '{n} {n?photo|photos}'\nb = 'x'").unwrap();
        let other = Language::beside(&own, "plural = 'same'\na = '写真{n}枚'").unwrap();
        assert_eq!((other.plural, other.templates.len()), (Plural::Same, 1));
        for (file, bad) in [
            ("c = 'x'", "no sentence is called c"),
            ("a = '{m}'", "a is not well formed"),
            ("a = '{n'", "a is not well formed"),
            ("plural = 'two'", "no rule for plurals is called two"),
            ("a = 3", "invalid type"),
            ("nonsense", ""),
        ] {
            let error = Language::beside(&own, file).unwrap_err().to_string();
            assert!(error.contains(bad), "{file}: {error}");
        }
    }
}
