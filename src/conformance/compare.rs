//! A conformance file held against another one, that of the simulated phone: what we assume, and what the phone said.
//!
//! The file may come from anybody: it is bounded, and every text of it is made harmless before it is shown. Pure: two
//! values in, a list out.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::SCHEMA;
use super::word::Word;
use crate::facts::text::plain;

/// The longest file that is read, in bytes; a real one has a tenth of that.
pub const FILE_BYTES_MAX: u64 = 2 << 20;
/// Differences that are listed.
const DIFFERENCES_MAX: usize = 5_000;
/// Keys that are named where a whole group differs.
const KEYS_SHOWN: usize = 4;

/// Why a file cannot be compared. The texts can be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFile {
    /// Larger than any.
    #[error("it is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// Not JSON.
    #[error("it is no JSON: {0}")]
    NoJson(String),
    /// JSON of another form.
    #[error("it does not say that it is {SCHEMA}")]
    OtherSchema,
    /// It has no parts.
    #[error("it holds no parts")]
    NoParts,
    /// It does not say which iOS.
    #[error("it does not say from which version of iOS it is")]
    NoVersion,
}

/// A file as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    parts: Map<String, Value>,
    gaps: Vec<(String, String)>,
    /// The version of iOS.
    pub ios_version: String,
    /// The model, if it is told.
    pub product_type: Option<String>,
    /// It was made on a simulated phone.
    pub simulated: bool,
}

impl Read {
    /// Reads a file.
    ///
    /// # Errors
    /// [`BadFile`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadFile> {
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(BadFile::TooLarge);
        }
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| BadFile::NoJson(plain(&error.to_string())))?;
        Self::of(&value)
    }

    /// Takes a file that was measured just now.
    ///
    /// # Errors
    /// [`BadFile`].
    pub fn of(value: &Value) -> Result<Self, BadFile> {
        if value["schema"] != SCHEMA {
            return Err(BadFile::OtherSchema);
        }
        let parts = value["parts"].as_object().filter(|parts| !parts.is_empty()).ok_or(BadFile::NoParts)?;
        let phone = |key: &str| value["phone"][key].as_str();
        let ios_version = phone("ios_version").and_then(Word::ios_version).ok_or(BadFile::NoVersion)?;
        let text = |value: &Value| plain(value.as_str().unwrap_or_default());
        let gaps = value["gaps"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Self {
            parts: parts.clone(),
            gaps: gaps.iter().map(|gap| (text(&gap["part"]), text(&gap["reason"]))).collect(),
            ios_version: ios_version.as_str().to_owned(),
            product_type: phone("product_type")
                .and_then(Word::product_type)
                .map(|word| word.as_str().to_owned()),
            simulated: value["made_on"] == "a simulated phone",
        })
    }

    /// It holds the part that `--with-backup` adds.
    #[must_use]
    pub fn has_backup(&self) -> bool {
        self.parts.contains_key("backup")
    }
}

/// One place where the two say something else. The texts can be shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Where.
    pub place: String,
    /// What we assume: what the simulated phone says.
    pub assumed: String,
    /// What the phone said.
    pub phone: String,
}

/// What a comparison came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// In the order of their places.
    pub differences: Vec<Difference>,
    /// Places that were compared.
    pub compared: usize,
    /// Parts that the file does not hold whole, with the reasons.
    pub not_measured: Vec<(String, String)>,
}

/// How a place is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Both must say the same.
    Same,
    /// Not at all: it depends on the phone's owner, or on the cable.
    Not,
    /// What is on both sides must be of the same kind, and what only the phone has must be known to us.
    Optional,
    /// Whether it is there may differ; a refusal may not.
    MayBeMissing,
    /// The phone's states must be among those whose meaning we know.
    KnownStates,
    /// The phone's own two ways of counting must agree.
    Agrees,
    /// Counts may differ, and what there is as well, unless it is of a kind that is not known.
    Kinds,
    /// Counts may differ; what occurs on the phone must occur on the simulated one.
    Occurs,
    /// The phone must answer whole and in order wherever we assume that it does.
    WholeAndInOrder,
}

/// Lists where `phone` says something else than `assumed`.
#[must_use]
pub fn compare(phone: &Read, assumed: &Read) -> Comparison {
    let mut comparing = Comparing {
        result: Comparison { not_measured: phone.gaps.clone(), ..Comparison::default() },
        broken_off: phone.gaps.iter().chain(&assumed.gaps).map(|(part, _)| part.clone()).collect(),
    };
    for (part, said) in &phone.parts {
        let place = vec![part.as_str()];
        match assumed.parts.get(part) {
            Some(ours) => comparing.pair(&place, Some(ours), Some(said)),
            // A part that the simulated phone was not asked for is no assumption of ours.
            None => comparing.result.not_measured.push((plain(part), "not compared".to_owned())),
        }
    }
    comparing.result
}

struct Comparing {
    result: Comparison,
    /// Parts that one of the two did not measure to their end.
    broken_off: BTreeSet<String>,
}

impl Comparing {
    fn pair(&mut self, place: &[&str], assumed: Option<&Value>, phone: Option<&Value>) {
        let rule = rule(place);
        if rule == Rule::Not || self.result.differences.len() >= DIFFERENCES_MAX {
            return;
        }
        if let (Some(Value::Object(ours)), Some(Value::Object(theirs))) = (assumed, phone) {
            let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for key in keys {
                let inner: Vec<&str> = place.iter().copied().chain([key.as_str()]).collect();
                self.pair(&inner, ours.get(key), theirs.get(key));
            }
            return;
        }
        let cut_short = place.first().is_some_and(|part| self.broken_off.contains(*part));
        if cut_short && (assumed.is_none() || phone.is_none()) {
            return;
        }
        self.result.compared += 1;
        if !holds(rule, place, assumed, phone) {
            self.result.differences.push(Difference {
                place: place.iter().map(|part| plain(part)).collect::<Vec<_>>().join(" > "),
                assumed: words(rule, assumed),
                phone: words(Rule::Same, phone),
            });
        }
    }
}

fn rule(place: &[&str]) -> Rule {
    match place {
        [
            ..,
            "MB per second"
            | "good answers before"
            | "a notification came by itself"
            | "file"
            | "can be read",
        ] => Rule::Not,
        [_, name] if name.starts_with("small requests per second") => Rule::Not,
        ["apps", "apps of the owner"] | ["files", "top folders" | "other names at the top", ..] => Rule::Not,
        ["files", "paths", ..] => Rule::MayBeMissing,
        ["library", "states", _, _, _] => Rule::KnownStates,
        ["library", "states", ..] => Rule::Same,
        ["cross-checks", ..] => Rule::Agrees,
        ["ladder", _, _, "answers"] => Rule::WholeAndInOrder,
        ["engine" | "apps" | "diagnostics", ..] => Rule::Optional,
        ["backup", "records", "encrypted"] => Rule::Not,
        ["backup", "records", "rows", ..] => Rule::Kinds,
        ["backup", "records" | "codes at the end of files", ..] => Rule::Occurs,
        ["backup", "shapes of messages", ..] => Rule::Optional,
        _ => Rule::Same,
    }
}

fn holds(rule: Rule, place: &[&str], assumed: Option<&Value>, phone: Option<&Value>) -> bool {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    match rule {
        Rule::Not => true,
        Rule::Same => assumed == phone,
        Rule::Optional => match (assumed, phone) {
            (Some(ours), Some(theirs)) => ours == theirs || is_absent(Some(ours)) || is_absent(Some(theirs)),
            (Some(_), None) | (None, None) => true,
            (None, Some(_)) => place.last().is_some_and(|key| Word::key(key).is_some()),
        },
        Rule::MayBeMissing => {
            assumed == phone || ((is_absent(assumed) || opens(assumed)) && (is_absent(phone) || opens(phone)))
        }
        Rule::KnownStates => {
            phone.is_none() || place.last().is_some_and(|state| is_known_state(place, state))
        }
        Rule::Kinds => assumed.is_some() || place.last().is_none_or(|kind| !kind.starts_with("another ")),
        Rule::Occurs => assumed.is_some() || phone.is_none(),
        Rule::Agrees => text(phone).is_none_or(|said| {
            said.starts_with("agree")
                || ["cannot be told", "none was looked at", "0"].contains(&said.as_str())
        }),
        Rule::WholeAndInOrder => {
            let fine = |said: &str| said == "whole and in order" || said.starts_with("not tried: ");
            assumed == phone || text(phone).is_none_or(|said| fine(&said))
        }
    }
}

fn is_absent(value: Option<&Value>) -> bool {
    let absent = |said: &str| said.starts_with("not found") || said == "no such entry";
    value.is_none_or(|value| value.as_str().is_some_and(absent))
}

fn opens(value: Option<&Value>) -> bool {
    value.and_then(Value::as_str).is_some_and(|said| said.ends_with(" that opens"))
}

/// States whose meaning is known, by table and column.
const KNOWN_STATES: &[(&str, &str, &[&str])] = &[
    ("asset", "ZBUNDLESCOPE", &["0", "1", "2", "3"]),
    ("asset", "ZCLOUDLOCALSTATE", &["0", "1", "2", "3", "4"]),
    ("asset", "ZHIDDEN", &["0", "1"]),
    ("asset", "ZKIND", &["0", "1"]),
    ("asset", "ZKINDSUBTYPE", &["0", "1", "2", "10", "100", "101", "102", "103"]),
    ("asset", "ZSAVEDASSETTYPE", &["3", "4", "6", "8", "12"]),
    ("asset", "ZTRASHEDSTATE", &["0", "1", "2"]),
    ("asset", "ZVISIBILITYSTATE", &["0", "2"]),
    ("master", "ZCLOUDLOCALSTATE", &["0", "1", "2", "3", "4"]),
    ("resource", "ZCLOUDLOCALSTATE", &["0", "1", "2", "3"]),
    ("resource", "ZDATASTORECLASSID", &["0", "2", "3"]),
    ("resource", "ZLOCALAVAILABILITY", &["1", "-1", "-32768"]),
    ("resource", "ZREMOTEAVAILABILITY", &["0", "1"]),
];

/// Columns that no decision hangs on may hold what they like.
fn is_known_state(place: &[&str], state: &str) -> bool {
    let [_, _, table, column, _] = place else { return true };
    let known = KNOWN_STATES.iter().find(|(at, name, _)| at == table && name == column);
    known.is_none_or(|(_, _, states)| states.contains(&state))
}

/// A value in words: a group by some of its keys.
fn words(rule: Rule, value: Option<&Value>) -> String {
    match (rule, value) {
        (Rule::Agrees, _) => "agree".to_owned(),
        (Rule::KnownStates, None) => "no state that is known".to_owned(),
        (_, None) => "not there".to_owned(),
        (_, Some(Value::String(text))) => plain(text),
        (_, Some(Value::Object(entries))) => {
            let shown: Vec<String> = entries.keys().take(KEYS_SHOWN).map(|key| plain(key)).collect();
            let more = entries.len().saturating_sub(KEYS_SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!(
                "a group of {}{more}",
                if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
            )
        }
        (_, Some(Value::Array(items))) => {
            let shown: Vec<String> =
                items.iter().take(64).map(|item| words(Rule::Same, Some(item))).collect();
            plain(&shown.join(", "))
        }
        (_, Some(other)) => plain(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(parts: &Value, gaps: &Value) -> Read {
        Read::of(&json!({
            "schema": SCHEMA, "made_on": "a phone", "parts": parts, "gaps": gaps,
            "phone": {"ios_version": "18.4.1", "product_type": "iPhone13,2"},
        }))
        .unwrap()
    }

    fn differences(assumed: &Value, phone: &Value) -> Vec<(String, String, String)> {
        compare(&read(phone, &json!([])), &read(assumed, &json!([])))
            .differences
            .into_iter()
            .map(|found| (found.place, found.assumed, found.phone))
            .collect()
    }

    #[test]
    fn equal_files_have_no_differences() {
        let parts = json!({"services": {"services": {"com.apple.afc": "started, plain"}}});
        assert!(differences(&parts, &parts).is_empty());
    }

    #[test]
    fn a_difference_says_what_we_assume_and_what_the_phone_said() {
        let found = differences(
            &json!({"services": {"services": {"com.apple.afc": "started, plain", "x": {"a": "b"}}}}),
            &json!({"services": {"services": {"com.apple.afc": "started, encrypted", "x": "InvalidService"}}}),
        );
        let own = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(
            found,
            [
                own("services > services > com.apple.afc", "started, plain", "started, encrypted"),
                own("services > services > x", "a group of a", "InvalidService"),
            ]
        );
    }

    #[test]
    fn what_depends_on_owner_and_cable_is_no_difference() {
        let found = differences(
            &json!({"ladder": {"01 in flight": {"0064 KiB": {"answers": "whole and in order", "MB per second": 900}}},
                "apps": {"apps of the owner": "1+", "keys": {"Path": "string"}},
                "engine": {"PhotoData/CPL/x.plist": "not found (AFC status 8)"},
                "files": {"paths": {"PhotoData/CPL/x": "a file that opens"}}}),
            &json!({"ladder": {"01 in flight": {"0064 KiB": {"answers": "whole and in order", "MB per second": 30}}},
                "apps": {"apps of the owner": "100+", "keys": {"Path": "string", "Container": "string"}},
                "engine": {"PhotoData/CPL/x.plist": {"Status": "integer"}},
                "files": {"paths": {"PhotoData/CPL/x": "not found (AFC status 8)"}}}),
        );
        assert_eq!(found, []);
    }

    #[test]
    fn oddities_unknown_states_refusals_and_disagreement_are_differences() {
        let found = differences(
            &json!({"ladder": {"01 in flight": {"0064 KiB": {"answers": "whole and in order"}}},
                "library": {"states": {"asset": {"ZCLOUDLOCALSTATE": {"1": "10+"}}}},
                "files": {"paths": {"PhotoData": "a folder that opens"}},
                "apps": {"keys": {"Path": "string"}},
                "cross-checks": {"x": "differ"}}),
            &json!({"ladder": {"01 in flight": {"0064 KiB": {"answers": "an answer out of order"}}},
                "library": {"states": {"asset": {"ZCLOUDLOCALSTATE": {"1": "1+", "3": "1+", "7": "1+"}}}},
                "files": {"paths": {"PhotoData": "permission denied (AFC status 10)"}},
                "apps": {"keys": {"Path": "integer", "(not shown)": "1+"}},
                "cross-checks": {"x": "differ"}}),
        );
        let places: Vec<&str> = found.iter().map(|(place, _, _)| place.as_str()).collect();
        assert_eq!(
            places,
            [
                "ladder > 01 in flight > 0064 KiB > answers",
                "library > states > asset > ZCLOUDLOCALSTATE > 7",
                "files > paths > PhotoData",
                "apps > keys > (not shown)",
                "apps > keys > Path",
                "cross-checks > x",
            ]
        );
    }

    #[test]
    fn of_a_backup_its_kinds_and_codes_are_compared_and_no_counts() {
        let found = differences(
            &json!({"backup": {"records": {"rows": {"HomeDomain": {"file": "1+"}}, "rows without a file": {}},
                "codes at the end of files": {"0": "100+", "11": "1+"}}}),
            &json!({"backup": {"records": {"rows": {"HomeDomain": {"file": "100+"}, "HealthDomain": {"file": "1+"},
                    "another domain": {"file": "1+"}}, "rows without a file": {"HomeDomain": {"file": "1+"}}},
                "codes at the end of files": {"0": "10+", "6": "1+"}}}),
        );
        let places: Vec<&str> = found.iter().map(|(place, _, _)| place.as_str()).collect();
        assert_eq!(
            places,
            [
                "backup > codes at the end of files > 6",
                "backup > records > rows > another domain",
                "backup > records > rows without a file > HomeDomain",
            ]
        );
    }

    #[test]
    fn a_part_that_was_cut_short_is_compared_as_far_as_it_goes() {
        let gaps = json!([{"part": "services", "reason": "it took too long"}]);
        let phone = read(&json!({"services": {"a": "1"}}), &gaps);
        let assumed = read(&json!({"services": {"a": "2", "b": "3"}, "files": {"c": "4"}}), &json!([]));
        let found = compare(&phone, &assumed);
        assert_eq!(found.differences.len(), 1);
        assert_eq!(found.not_measured, [("services".to_owned(), "it took too long".to_owned())]);
    }

    #[test]
    fn hostile_files_are_refused_or_shown_harmlessly() {
        for (bytes, why) in [
            (&b"not json"[..], "no JSON"),
            (b"{}", "does not say that it is"),
            (br#"{"schema": "idevice-fix/conformance/1"}"#, "no parts"),
            (br#"{"schema": "idevice-fix/conformance/1", "parts": {"x": 1}}"#, "version of iOS"),
            (
                br#"{"schema": "idevice-fix/conformance/1", "parts": {"x": 1}, "phone": {"ios_version": "../../x"}}"#,
                "version of iOS",
            ),
        ] {
            let error = Read::parse(bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(Read::parse(&vec![b' '; 3 << 20]), Err(BadFile::TooLarge));
        assert!(Read::parse(&[b'['; 100_000]).is_err());
        let found = differences(
            &json!({"services": {"x": "a"}}),
            &json!({"services": {"x": "a\u{1b}[31mred\u{202e}", "\u{1b}]0;title\u{7}": "long ".repeat(1000)}}),
        );
        assert_eq!(found.len(), 2);
        for (place, assumed, phone) in found {
            for text in [place, assumed, phone] {
                assert!(
                    !text.contains(['\u{1b}', '\u{7}', '\u{202e}']) && text.chars().count() < 300,
                    "{text:?}"
                );
            }
        }
    }
}
