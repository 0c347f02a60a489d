//! The words of the remedies, out of `texts.en.toml`: titles, steps per version of iOS or kind of device, why, and how
//! one sees that it helped. And the explanations, out of `explained.en.toml`: what people were told elsewhere, and what
//! is true.
//!
//! Another language is another pair of files ([`speak`]); this module knows none of the words, and no file either.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use serde::{Deserialize, Serialize};

use crate::facts::Device;

use super::RemedyId;

/// Versions of iOS between which menus moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Menus {
    /// iOS 14 and older.
    #[serde(rename = "ios-14")]
    UpTo14,
    /// iOS 15 to 17.
    #[serde(rename = "ios-15-17")]
    From15To17,
    /// iOS 18.
    #[serde(rename = "ios-18")]
    Of18,
    /// iOS 26.
    #[serde(rename = "ios-26")]
    Of26,
    /// iOS 27 and newer.
    #[serde(rename = "ios-27")]
    From27,
}

impl Menus {
    /// Every group.
    pub const ALL: [Self; 5] = [Self::UpTo14, Self::From15To17, Self::Of18, Self::Of26, Self::From27];

    /// The group of a version; an unknown version gets the menus of iOS 26, which most phones in use have.
    #[must_use]
    pub fn of(ios_major: Option<u32>) -> Self {
        match ios_major {
            Some(..=14) => Self::UpTo14,
            Some(15..=17) => Self::From15To17,
            Some(18) => Self::Of18,
            Some(19..=26) | None => Self::Of26,
            Some(27..) => Self::From27,
        }
    }
}

/// Kinds of device between which buttons and names differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An iPhone without a Home button.
    Iphone,
    /// An iPhone with one.
    IphoneHome,
    /// An iPad without a Home button.
    Ipad,
    /// An iPad or iPod with one.
    IpadHome,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Iphone, Self::IphoneHome, Self::Ipad, Self::IpadHome];

    /// The kind of a model identifier; an unknown one counts as an iPhone without Home button, as all new ones are.
    #[must_use]
    pub fn of(product_type: Option<&str>) -> Self {
        let Some(product) = product_type else { return Self::Iphone };
        let numbers = product.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let mut numbers = numbers.split(',').map(|number| number.parse::<u32>().ok());
        let (major, minor) = (numbers.next().flatten(), numbers.next().flatten());
        if product.starts_with("iPod") {
            return Self::IpadHome;
        }
        if product.starts_with("iPad") {
            // Pro from 2018 (8), Air 4 (13) and everything later; 11 and 12 are small and plain iPads with a button.
            return if matches!(major, Some(..=7 | 11 | 12)) { Self::IpadHome } else { Self::Ipad };
        }
        match (major, minor) {
            // iPhone X.
            (Some(10), Some(3 | 6)) => Self::Iphone,
            // Up to iPhone 8, and the SE of 2020 and 2022.
            (Some(..=10), _) | (Some(12), Some(8)) | (Some(14), Some(6)) => Self::IphoneHome,
            _ => Self::Iphone,
        }
    }

    /// What people call it, as it stands in the menus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iphone | Self::IphoneHome => "iPhone",
            Self::Ipad | Self::IpadHome => "iPad",
        }
    }
}

/// The words of one remedy, as they stand in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    title: String,
    /// For every phone that no list below is about.
    #[serde(default)]
    steps: Vec<String>,
    #[serde(default)]
    by_menus: BTreeMap<Menus, Vec<String>>,
    #[serde(default)]
    by_kind: BTreeMap<Kind, Vec<String>>,
    #[serde(default)]
    why: Vec<String>,
    helped: String,
}

/// The words of one remedy for one phone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Words {
    /// What it is, in one line.
    pub title: String,
    /// What to do, one step each.
    pub steps: Vec<String>,
    /// Why, and what it costs.
    pub why: Vec<String>,
    /// How one sees that it helped.
    pub helped: String,
}

/// Something that people are told elsewhere, and what is true.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// Its stable name.
    pub id: String,
    /// What people read or ask.
    pub claim: String,
    /// What is true.
    pub truth: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explanations {
    explanation: Vec<Explanation>,
}

static ENTRIES: LazyLock<BTreeMap<String, Entry>> = LazyLock::new(|| {
    toml::from_str(include_str!("texts.en.toml")).expect("a test parses the texts that are built in")
});

static EXPLANATIONS: LazyLock<Vec<Explanation>> = LazyLock::new(|| {
    let parsed: Explanations = toml::from_str(include_str!("explained.en.toml"))
        .expect("a test parses the explanations that are built in");
    parsed.explanation
});

/// Words in another language, where there are some.
static OTHER: OnceLock<Other> = OnceLock::new();

/// Another language, as far as it goes.
#[derive(Debug, Default)]
struct Other {
    entries: BTreeMap<String, Entry>,
    explanations: Vec<Explanation>,
}

/// Words that are none.
#[derive(Debug, thiserror::Error)]
pub enum BadWords {
    /// The file is no such file.
    #[error("{0}")]
    NotParsed(#[from] toml::de::Error),
    /// It has words for something that is no remedy.
    #[error("no remedy is called {0}")]
    NoRemedy(String),
    /// It has no step for this one.
    #[error("{0} has no steps")]
    NoSteps(String),
}

impl Other {
    fn parse(texts: Option<&str>, explained: Option<&str>) -> Result<Self, BadWords> {
        let entries: BTreeMap<String, Entry> = texts.map(toml::from_str).transpose()?.unwrap_or_default();
        for (name, entry) in &entries {
            if RemedyId::parse(name).is_none() {
                return Err(BadWords::NoRemedy(name.clone()));
            }
            if entry.steps.is_empty() {
                return Err(BadWords::NoSteps(name.clone()));
            }
        }
        let explained: Option<Explanations> = explained.map(toml::from_str).transpose()?;
        Ok(Self { entries, explanations: explained.map_or_else(Vec::new, |all| all.explanation) })
    }
}

/// Takes the content of a `texts` and an `explained` file in another language, for the rest of the run; what they leave
/// out stays English. The first call counts.
///
/// # Errors
/// One of them is no such file; then English stays.
pub fn speak(texts: Option<&str>, explained: Option<&str>) -> Result<(), BadWords> {
    let other = Other::parse(texts, explained)?;
    // Somebody has chosen already.
    let _ = OTHER.set(other);
    Ok(())
}

/// The words of a remedy for this phone; for an unknown one, the words for a new iPhone.
#[must_use]
pub fn words(remedy: RemedyId, device: Option<&Device>) -> Words {
    let menus = Menus::of(device.and_then(Device::ios_major));
    let kind = Kind::of(device.and_then(|device| device.product_type.as_deref()));
    words_for(remedy, menus, kind)
}

fn words_for(remedy: RemedyId, menus: Menus, kind: Kind) -> Words {
    let own = || ENTRIES.get(remedy.as_str()).expect("a test holds the texts to every remedy");
    let entry = OTHER.get().and_then(|other| other.entries.get(remedy.as_str())).unwrap_or_else(own);
    words_of(entry, menus, kind)
}

fn words_of(entry: &Entry, menus: Menus, kind: Kind) -> Words {
    let steps = entry.by_kind.get(&kind).or_else(|| entry.by_menus.get(&menus)).unwrap_or(&entry.steps);
    let named = |text: &String| text.replace("{device}", kind.name());
    Words {
        title: named(&entry.title),
        steps: steps.iter().map(named).collect(),
        why: entry.why.iter().map(named).collect(),
        helped: named(&entry.helped),
    }
}

/// What people are told elsewhere, and what is true.
#[must_use]
pub fn explanations() -> &'static [Explanation] {
    match OTHER.get() {
        Some(other) if !other.explanations.is_empty() => &other.explanations,
        _ => &EXPLANATIONS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_words_for_every_remedy_on_every_phone_and_for_nothing_else() {
        let names: Vec<&str> = ENTRIES.keys().map(String::as_str).collect();
        let mut ids: Vec<&str> = RemedyId::ALL.iter().map(|id| id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(names, ids);
        for id in RemedyId::ALL {
            for (menus, kind) in Menus::ALL.into_iter().flat_map(|menus| Kind::ALL.map(|kind| (menus, kind)))
            {
                let words = words_for(*id, menus, kind);
                assert!(!words.steps.is_empty(), "{id} for {menus:?} on {kind:?}");
                assert!(!words.title.ends_with('.') && !words.title.is_empty(), "{id}");
                let sentences = words.steps.iter().chain(&words.why).chain([&words.helped]);
                for sentence in sentences {
                    assert!(sentence.ends_with(['.', '?']), "{id}: {sentence:?}");
                    assert!(!sentence.contains(['{', '}', '\n']), "{id}: {sentence:?}");
                }
            }
        }
    }

    #[test]
    fn whatever_costs_something_says_why_and_what() {
        for id in RemedyId::ALL.iter().filter(|id| id.risk() > super::super::Risk::None) {
            assert!(!words(*id, None).why.is_empty(), "{id}");
        }
    }

    #[test]
    fn explanations_have_names_of_their_own() {
        let mut ids: Vec<&str> = explanations().iter().map(|explanation| explanation.id.as_str()).collect();
        ids.sort_unstable();
        assert!(ids.len() >= 12);
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn another_language_needs_no_code_and_nonsense_is_refused() {
        let german = "[set-clock]\ntitle = 'Die Uhr stellen'\nsteps = ['{device}: Einstellungen.']\nhelped = 'Sie geht.'";
        let other = Other::parse(Some(german), None).unwrap();
        let words = words_of(&other.entries["set-clock"], Menus::Of18, Kind::Ipad);
        assert_eq!(
            (words.title.as_str(), words.steps[0].as_str()),
            ("Die Uhr stellen", "iPad: Einstellungen.")
        );
        assert!(matches!(Other::parse(Some("[x]\ntitle='a'\nhelped='b'"), None), Err(BadWords::NoRemedy(_))));
        let empty = "[set-clock]\ntitle='a'\nhelped='b'";
        assert!(matches!(Other::parse(Some(empty), None), Err(BadWords::NoSteps(_))));
        assert!(matches!(Other::parse(None, Some("nonsense")), Err(BadWords::NotParsed(_))));
        assert!(Other::parse(None, None).unwrap().entries.is_empty());
    }

    #[test]
    fn buttons_by_model() {
        for (model, kind) in [
            ("iPhone8,1", Kind::IphoneHome),
            ("iPhone10,4", Kind::IphoneHome),
            ("iPhone10,3", Kind::Iphone),
            ("iPhone12,8", Kind::IphoneHome),
            ("iPhone13,2", Kind::Iphone),
            ("iPhone14,6", Kind::IphoneHome),
            ("iPhone18,1", Kind::Iphone),
            ("iPad5,3", Kind::IpadHome),
            ("iPad8,1", Kind::Ipad),
            ("iPad12,1", Kind::IpadHome),
            ("iPad14,1", Kind::Ipad),
            ("iPod9,1", Kind::IpadHome),
            ("\u{1b}", Kind::Iphone),
        ] {
            assert_eq!(Kind::of(Some(model)), kind, "{model}");
        }
    }

    #[test]
    fn menus_by_version() {
        let groups = [13, 14, 15, 17, 18, 26, 27, 99].map(|major| Menus::of(Some(major)));
        use Menus::{From15To17, From27, Of18, Of26, UpTo14};
        assert_eq!(groups, [UpTo14, UpTo14, From15To17, From15To17, Of18, Of26, From27, From27]);
    }
}
