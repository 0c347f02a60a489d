//! The only way for text and numbers into a conformance file.
//!
//! Nothing that a phone says is copied. A [`Word`] is one of our own texts; or a name from our own lists; or a key that
//! is made of nothing but words from them; or a version, a build or a model in its own narrow form; or a small
//! number. A count becomes its order of magnitude. What does not pass is only counted, by its shape. So a name, an
//! address, a number or a text of the owner's cannot get in, wherever on the phone it stands.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use crate::afc::Status;
use crate::lockdown::Refusal;

/// Keys of property lists that are known, by name.
const KEYS: &str = include_str!("data/keys.txt");
/// Words that a key may be made of besides those in [`KEYS`].
const WORDS: &str = include_str!("data/words.txt");
/// Tables and columns of the photo library that are known, by name; `#` stands for an entity's number.
const LIBRARY_NAMES: &str = include_str!("data/library-names.txt");
/// Words in known keys that are also a person's name.
const NAMES_OF_PEOPLE: [&str; 4] = ["chip", "mac", "max", "will"];
/// The longest key that is looked at, in bytes.
const NAME_BYTES_MAX: usize = 80;

/// A text that may stand in a conformance file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(Cow<'static, str>);

impl Word {
    /// One of our own texts.
    #[must_use]
    pub const fn own(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// A key of a property list, if it can be nothing of the owner's.
    #[must_use]
    pub fn key(name: &str) -> Option<Self> {
        let known = known_keys();
        (known.contains(name) || is_composed(name)).then(|| Self(Cow::Owned(name.to_owned())))
    }

    /// The name of a table or a column of the library, if it can be nothing of the owner's.
    #[must_use]
    pub fn library_name(name: &str) -> Option<Self> {
        let general = without_entity_number(name)?;
        let passes = library_names().contains(general.as_str())
            || general.strip_prefix('Z').is_some_and(|rest| is_run_together(rest.trim_start_matches("_#")));
        passes.then(|| Self(Cow::Owned(name.to_owned())))
    }

    /// How many, by order of magnitude: no count of photos tells whose they are, but an exact one might.
    #[must_use]
    pub fn about(count: u64) -> Self {
        Self::own(match count {
            0 => "0",
            1..=9 => "1+",
            10..=99 => "10+",
            100..=999 => "100+",
            1_000..=9_999 => "1000+",
            10_000..=99_999 => "10000+",
            _ => "100000+",
        })
    }

    /// A state of the library: small numbers, and the one large negative one that real libraries hold. Any other
    /// could be somebody's number.
    #[must_use]
    pub fn state(number: i64) -> Self {
        match number {
            -99..=255 | -32768 => Self(Cow::Owned(number.to_string())),
            _ => Self::own("another number"),
        }
    }

    /// An entity's or a model's number of the library, a version of a protocol: up to nine digits only where `most`
    /// says so.
    #[must_use]
    pub fn number_up_to(number: u64, most: u64) -> Self {
        if number <= most { Self(Cow::Owned(number.to_string())) } else { Self::own("another number") }
    }

    /// A version of iOS.
    #[must_use]
    pub fn ios_version(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('.').collect();
        let fits = (1..=3).contains(&parts.len()) && parts.iter().all(|part| digits(part, 1..=2));
        fits.then(|| Self(Cow::Owned(text.to_owned())))
    }

    /// A build of iOS, such as `22E252`.
    #[must_use]
    pub fn build(text: &str) -> Option<Self> {
        let head = text.get(..2).filter(|head| digits(head, 2..=2))?;
        let letter = text.get(2..3).filter(|letter| letter.as_bytes()[0].is_ascii_uppercase())?;
        let rest = text.get(3..)?;
        let number = rest.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(rest);
        digits(number, 1..=4).then(|| Self(Cow::Owned(format!("{head}{letter}{rest}"))))
    }

    /// A model identifier, such as `iPhone13,2`.
    #[must_use]
    pub fn product_type(text: &str) -> Option<Self> {
        let rest = ["iPhone", "iPad", "iPod"].iter().find_map(|family| text.strip_prefix(family))?;
        let (major, minor) = rest.split_once(',')?;
        (digits(major, 1..=2) && digits(minor, 1..=2)).then(|| Self(Cow::Owned(text.to_owned())))
    }

    /// A refusal of lockdown's by its name, if it is one that is known.
    #[must_use]
    pub fn refusal(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Other(_) => Self::own("another refusal"),
            known => Self(Cow::Owned(known.name().to_owned())),
        }
    }

    /// A status of AFC's, if it is one that is known.
    #[must_use]
    pub fn afc_status(status: Status) -> Self {
        match status {
            Status::Other(_) => Self::own("another status"),
            known => Self(Cow::Owned(known.to_string())),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn listed(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.starts_with("# ")).flat_map(str::split_whitespace)
}

fn known_keys() -> &'static BTreeSet<&'static str> {
    static KNOWN: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    KNOWN.get_or_init(|| listed(KEYS).collect())
}

fn library_names() -> &'static BTreeSet<&'static str> {
    static KNOWN: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    KNOWN.get_or_init(|| listed(LIBRARY_NAMES).collect())
}

/// The words of all known keys and of the list of words, in lower case.
fn vocabulary() -> &'static BTreeSet<String> {
    static KNOWN: OnceLock<BTreeSet<String>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let of_keys = listed(KEYS).flat_map(|key| words_of(key).unwrap_or_default());
        let words = listed(WORDS).chain(of_keys).map(str::to_lowercase);
        words.filter(|word| word.len() > 1 && !NAMES_OF_PEOPLE.contains(&word.as_str())).collect()
    })
}

/// `BatteryIsCharging` into its words. `None`: there is something else than letters and hyphens, dots or underscores
/// between words.
fn words_of(name: &str) -> Option<Vec<&str>> {
    let mut words = Vec::new();
    for part in name.split(['.', '-', '_']) {
        let bytes = part.as_bytes();
        if part.is_empty() || !bytes.iter().all(u8::is_ascii_alphabetic) {
            return None;
        }
        let mut begin = 0;
        for at in 1..bytes.len() {
            let upper = bytes[at].is_ascii_uppercase();
            let after_lower = bytes[at - 1].is_ascii_lowercase();
            let before_lower = bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
            if upper && (after_lower || before_lower) {
                words.push(&part[begin..at]);
                begin = at;
            }
        }
        words.push(&part[begin..]);
    }
    Some(words)
}

/// Two or more words, each from the vocabulary: what Apple's programmers write, and no name.
fn is_composed(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && words_of(name).is_some_and(|words| {
            words.len() >= 2 && words.iter().all(|word| vocabulary().contains(&word.to_lowercase()))
        })
}

/// `CLOUDLOCALSTATE`: words of the vocabulary run together, two or more.
fn is_run_together(name: &str) -> bool {
    if name.len() > NAME_BYTES_MAX || !name.bytes().all(|b| b.is_ascii_uppercase()) {
        return false;
    }
    let lower = name.to_ascii_lowercase();
    // For each end of a word, the most words that lead there.
    let mut reached = vec![None; lower.len() + 1];
    reached[0] = Some(0_usize);
    for at in 0..lower.len() {
        let Some(words) = reached[at] else { continue };
        for end in at + 2..=lower.len() {
            let word = &lower[at..end];
            let short = end - at == 2;
            if vocabulary().contains(word) && (!short || ["is", "id", "of", "on", "in"].contains(&word)) {
                reached[end] = reached[end].max(Some(words + 1));
            }
        }
    }
    reached[lower.len()].is_some_and(|words| words >= 2)
}

/// `Z_33ASSETS` as `Z_#ASSETS`, `Z34_ASSET` as `Z#_ASSET`: at most two digits, and only there.
fn without_entity_number(name: &str) -> Option<String> {
    let (head, rest) = match name.strip_prefix("Z_") {
        Some(rest) => ("Z_", rest),
        None => ("Z", name.strip_prefix('Z').unwrap_or_default()),
    };
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    match count {
        0 => Some(name.to_owned()),
        1 | 2 => Some(format!("{head}#{}", &rest[count..])),
        _ => None,
    }
}

/// What a text that is not shown looks like.
#[must_use]
pub fn shape(text: &str) -> Word {
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let of = |separator: char| text.split(separator).count() > 1;
    Word::own(if text.is_empty() {
        "empty"
    } else if text.bytes().all(|b| b.is_ascii_digit()) {
        "digits"
    } else if text.contains('@') {
        "like an address"
    } else if text.split(':').count() == 6 && text.split(':').all(hex) {
        "like a hardware address"
    } else if text.len() >= 12 && hex(text) {
        "like an identifier"
    } else if text.contains('/') {
        "like a path"
    } else if of('.') && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) {
        "like a domain name"
    } else if text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        "letters and digits"
    } else {
        "other text"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_apples_pass_and_names_of_people_do_not() {
        for key in [
            "BatteryIsCharging",
            "com.apple.mobile.backup",
            "st_mtime",
            "BatteryLevelMaximum",
            "LastUploadTime",
        ] {
            assert!(Word::key(key).is_some(), "{key}");
        }
        for key in [
            "Anna",
            "AnnaBackupEnabled",
            "anna@example.com",
            "Battery",
            "WillBackup",
            "Max.Backup",
            "MacBackup",
            "02:00:5e:10:00:01",
            "4915112345678",
            "Battery4915112345678",
            "BatteryÄnna",
            "",
            "...",
            "com.example.annas-notes",
            "Backup Enabled",
            &"BatteryBackup".repeat(20),
        ] {
            assert_eq!(Word::key(key), None, "{key}");
        }
    }

    #[test]
    fn names_of_the_library_pass_and_others_do_not() {
        for name in ["ZASSET", "ZCLOUDLOCALSTATE", "Z_33ASSETS", "Z34_ASSET", "ZCLOUDUPLOADSTATE", "Z_PK"] {
            assert!(Word::library_name(name).is_some(), "{name}");
        }
        for name in
            ["ZANNASCHMIDT", "Z_491ASSETS", "ANNA", "ZASSET4915112345678", "zasset", "ZASSET ", "", "Z", "Z_"]
        {
            assert_eq!(Word::library_name(name), None, "{name}");
        }
    }

    #[test]
    fn versions_have_their_narrow_form() {
        for good in ["13", "18.4", "18.4.1"] {
            assert!(Word::ios_version(good).is_some(), "{good}");
        }
        for bad in ["", "4915", "18.4.1.2", "18.", "a", "18.415"] {
            assert_eq!(Word::ios_version(bad), None, "{bad}");
        }
        for good in ["22E252", "17A577", "20G5026e", "24A1"] {
            assert!(Word::build(good).is_some(), "{good}");
        }
        for bad in ["", "2", "22", "22E", "22e252", "22E49151", "F2LW12345678", "22E252ab", "ää2"] {
            assert_eq!(Word::build(bad), None, "{bad}");
        }
        assert!(Word::product_type("iPhone13,2").is_some());
        for bad in ["iPhone", "iPhone4915,1", "Anna13,2", "iPhone13,2 "] {
            assert_eq!(Word::product_type(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_lose_what_could_tell_a_person() {
        assert_eq!(Word::about(1_203).as_str(), "1000+");
        assert_eq!(Word::state(3).as_str(), "3");
        assert_eq!(Word::state(-32768).as_str(), "-32768");
        assert_eq!(Word::state(4_915_112_345).as_str(), "another number");
    }

    #[test]
    fn what_a_phone_calls_its_refusals_is_not_repeated() {
        assert_eq!(Word::refusal(&Refusal::from_name("InvalidService")).as_str(), "InvalidService");
        assert_eq!(Word::refusal(&Refusal::from_name("Anna Schmidt")).as_str(), "another refusal");
        assert_eq!(Word::afc_status(Status::from_code(8)).as_str(), "not found (AFC status 8)");
        assert_eq!(Word::afc_status(Status::from_code(4_915_112_345)).as_str(), "another status");
    }

    #[test]
    fn every_shape_is_one_of_our_own_texts() {
        for (text, shown) in [
            ("", "empty"),
            ("4915112345678", "digits"),
            ("anna@example.com", "like an address"),
            ("02:00:5e:10:00:01", "like a hardware address"),
            ("00008101-000A1234000B5678", "like an identifier"),
            ("/DCIM/IMG_1.HEIC", "like a path"),
            ("com.example.notes", "like a domain name"),
            ("Anna", "letters and digits"),
            ("Anna's iPhone 🦊", "other text"),
        ] {
            assert_eq!(shape(text).as_str(), shown);
        }
    }
}
