//! A report to be handed on: everything stays that says what is the case, and nothing that says whose phone it is.
//!
//! What goes: the phone's name and id, folders of this computer, names of files and albums, free text from the phone.
//! What stays: model, iOS, counts, dates, states, sentences. A name that stands inside a sentence is taken out of it.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Report;

/// What stands where something was.
const GONE: &str = "(left out)";
/// What stands where the name of a file was.
const FILE: &str = "(a file)";
/// Fields whose text is ours, word for word, and names no file of the owner's.
const OURS: [&str; 16] = [
    "schema",
    "made_by",
    "id",
    "severity",
    "source",
    "key",
    "fact",
    "remedy",
    "risk",
    "state",
    "because",
    "blocked_by",
    "steps",
    "why",
    "helped",
    "place",
];
/// Facts that are free text from the phone, by the last part of their name.
const FREE_TEXT: [&str; 8] = [
    "profiles",
    "time_zone",
    "quarantined",
    "unknown_keys",
    "failure",
    "identifier",
    "account_data_classes",
    "set_up_by",
];
/// Files of iOS itself, which tell nothing of anybody.
const OF_IOS: [&str; 5] =
    ["Photos.sqlite", "syncstatus.plist", "store.cloudphotodb", "Manifest.db", "cloudServiceEnableLog.plist"];

/// The report without what says whose phone it is.
#[must_use]
pub fn redacted(report: &Report) -> Report {
    let mut whole = serde_json::to_value(report).expect("a report is plain data");
    let secrets = secrets(report);
    scrub(&mut whole, "", &secrets);
    let mut clean: Report = serde_json::from_value(whole).expect("scrubbing keeps the shape");
    if let Some(device) = &mut clean.diagnosis.device {
        device.name = None;
        GONE.clone_into(&mut device.udid);
    }
    if let Some(protection) = &mut clean.protection {
        GONE.clone_into(&mut protection.folder);
        for skipped in &mut protection.skipped {
            FILE.clone_into(&mut skipped.item);
        }
        protection.layouts.iter_mut().for_each(|layout| GONE.clone_into(&mut layout.folder));
        protection.gallery = None;
    }
    for finding in &mut clean.diagnosis.findings {
        finding.evidence.iter_mut().for_each(|evidence| evidence.value = harmless(&evidence.value));
    }
    for change in clean.climbed.iter_mut().flat_map(|climbed| &mut climbed.changes) {
        let name = change.fact.rsplit('.').next().unwrap_or_default();
        for value in [&mut change.before, &mut change.after] {
            *value = if FREE_TEXT.contains(&name) { emptied(value) } else { harmless(value) };
        }
    }
    clean.redacted = true;
    clean
}

/// Texts that must not stand anywhere, longest first, so that a part does not hide the whole.
fn secrets(report: &Report) -> Vec<String> {
    let device = report.diagnosis.device.as_ref();
    let home = std::env::home_dir().map(|home| home.display().to_string());
    let folder = report.protection.as_ref().map(|protection| protection.folder.clone());
    let mut secrets: Vec<String> = [
        device.map(|device| device.udid.clone()),
        device.map(|device| device.udid.replace('-', "")),
        device.and_then(|device| device.name.clone()),
        device.and_then(|device| device.name.as_deref().map(crate::facts::text::plain)),
        folder,
        home,
    ]
    .into_iter()
    .flatten()
    // A name of one or two letters stands in half of all words, and alone it names nobody.
    .filter(|secret| secret.chars().count() > 2)
    .collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

fn scrub(value: &mut Value, field: &str, secrets: &[String]) {
    match value {
        Value::Object(fields) => scrub_fields(fields, secrets),
        _ if FREE_TEXT.contains(&field) && !value.is_null() => *value = emptied(value),
        Value::Array(items) => items.iter_mut().for_each(|item| scrub(item, field, secrets)),
        Value::String(text) if !OURS.contains(&field) => *text = without(text, secrets),
        _ => {}
    }
}

fn scrub_fields(fields: &mut Map<String, Value>, secrets: &[String]) {
    // A switching of iCloud Photos carries the phone's own reason beside its date.
    let switching = fields.contains_key("enabled") && fields.contains_key("at");
    for (name, value) in fields {
        if switching && name == "reason" && !value.is_null() {
            *value = Value::from(GONE);
        } else {
            scrub(value, name, secrets);
        }
    }
}

fn emptied(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(|_| Value::from(GONE)).collect()),
        _ => Value::from(GONE),
    }
}

/// Evidence is numbers, switches and dates; its other texts come from the phone.
fn harmless(value: &Value) -> Value {
    match value {
        Value::String(text) if text.parse::<Timestamp>().is_ok() => value.clone(),
        Value::String(_) => Value::from(GONE),
        Value::Array(items) => Value::Array(items.iter().map(harmless).collect()),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), harmless(value))).collect())
        }
        other => other.clone(),
    }
}

/// A sentence without the secrets and without names of files.
fn without(text: &str, secrets: &[String]) -> String {
    let mut clean = text.to_owned();
    for secret in secrets {
        clean = clean.replace(secret.as_str(), GONE);
    }
    let words: Vec<String> = clean.split(' ').map(word_without_file).collect();
    words.join(" ")
}

/// A word that is the name or path of a file becomes a stand-in; the marks around it stay.
fn word_without_file(word: &str) -> String {
    let core = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/' && c != '_');
    if core.is_empty() || !is_file(core) {
        return word.to_owned();
    }
    word.replacen(core, FILE, 1)
}

fn is_file(word: &str) -> bool {
    if OF_IOS.iter().any(|known| word.ends_with(known)) || word.starts_with("https:") {
        return false;
    }
    let below =
        word.matches('/').count() >= 1 && word.chars().any(|c| c.is_ascii_digit() || c == '.' || c == '_');
    let ending = word.rsplit_once('.').is_some_and(|(stem, ending)| {
        !stem.is_empty()
            && (2..=5).contains(&ending.len())
            && ending.chars().all(char::is_alphanumeric)
            && ending.chars().any(char::is_alphabetic)
    });
    below || ending || word.starts_with("IMG_")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::sample;

    #[test]
    fn nothing_that_names_the_owner_is_left_and_the_verdict_is() {
        let mut report = sample::troubled();
        report.diagnosis.facts["settings"] = json!({"profiles": ["Acme Corp"], "time_zone": "Europe/Zurich", "find_my": true,
                   "set_up_by": "Restored by Zoe"});
        report.diagnosis.facts["icloud_photos"]["switchings"] =
            json!([{"enabled": false, "at": "2026-11-01T10:00:00Z", "reason": "anna turned it off"}]);
        report.diagnosis.findings[1].title =
            "7 photos of Anna's iPhone failed: IMG_0007.HEIC, a b.MOV".to_owned();
        report.diagnosis.findings[1].evidence[0].value = json!(["IMG_0007.HEIC", 7, "2026-11-20T21:17:09Z"]);
        report.diagnosis.verdict.reasons[0].text =
            "HomeDomain/Library/SMS/sms.db of 00008101-000000000000001E was refused".to_owned();
        let clean = redacted(&report);
        let text = serde_json::to_string(&clean).unwrap();
        for secret in [
            "Anna",
            "anna",
            "000000000000001E",
            "IMG_0007",
            "sms.db",
            "/home/",
            "Acme",
            "Zurich",
            "Zoe",
            "b.MOV",
        ] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert_eq!(clean.diagnosis.verdict.photos, report.diagnosis.verdict.photos);
        assert_eq!(clean.diagnosis.verdict.sentence, report.diagnosis.verdict.sentence);
        assert_eq!(clean.whereabouts, report.whereabouts);
        assert_eq!(clean.diagnosis.ladder, report.diagnosis.ladder, "steps are ours");
        assert_eq!(clean.diagnosis.findings[1].evidence[0].value[1], 7, "numbers stay");
        assert_eq!(clean.diagnosis.findings[0].evidence, report.diagnosis.findings[0].evidence);
        assert!(clean.redacted);
    }

    #[test]
    fn what_changed_on_a_rung_names_nobody_and_keeps_its_numbers() {
        let mut report = sample::troubled();
        let change = |fact: &str, before: Value, after: Value| crate::visit::climb::Change {
            fact: fact.to_owned(),
            before,
            after,
        };
        report.climbed[0].changes.extend([
            change("settings.profiles", serde_json::json!([]), serde_json::json!(["Anna at Example School"])),
            change("settings.activation_state", "Unactivated".into(), "Anna's iPhone".into()),
        ]);
        let clean = redacted(&report);
        let text = serde_json::to_string(&clean.climbed).unwrap();
        assert!(!text.contains("Anna") && !text.contains("Example"), "{text}");
        let kept = &clean.climbed[0].changes[0];
        assert_eq!((&kept.before, &kept.after), (&42.into(), &30.into()));
    }

    #[test]
    fn sentences_stay_readable() {
        let secrets = vec!["Anna's iPhone".to_owned()];
        assert_eq!(
            without("37 photos exist only on this phone.", &secrets),
            "37 photos exist only on this phone."
        );
        assert_eq!(
            without("Anna's iPhone (iPhone 12, iOS 18.4.1)", &secrets),
            "(left out) (iPhone 12, iOS 18.4.1)"
        );
        assert_eq!(without("see \"DCIM/100APPLE/IMG_1.HEIC\".", &secrets), "see \"(a file)\".");
        assert_eq!(without("ended in 2023 and/or later", &secrets), "ended in 2023 and/or later");
        assert_eq!(without("Photos.sqlite is damaged", &secrets), "Photos.sqlite is damaged");
    }
}
