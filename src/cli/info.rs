//! `info`: facts in plain words, or a lockdown domain as the phone gives it.

use base64::Engine as _;
use plist::Value as Plist;
use serde_json::{Map, Value, json};

use super::arguments::Info;
use super::phones::Phones;
use super::run::Run;
use super::terminal;
use super::visits::begin;
use crate::facts::text::plain;
use crate::remedy::Consent;
use crate::report::Report;
use crate::visit::{Kept, Stop, Trouble, Visit, reach, words};

/// Shows facts, or with a domain what lockdown says.
pub(super) async fn info(run: &Run, arguments: &Info) -> Result<(), Stop> {
    shown(run, arguments).await.map_err(|stop| run.explain("info", stop))
}

async fn shown(run: &Run, arguments: &Info) -> Result<(), Stop> {
    let phones = Phones::open(run)?;
    let begun = begin(run, &phones, Consent::default(), run.watch_query()).await;
    let mut visit = begun.map_err(|unreached| unreached.stop)?;
    match &arguments.domain {
        Some(domain) => raw(run, &visit, domain, arguments.key.as_deref()).await,
        None => plain_words(run, &mut visit).await,
    }
}

async fn raw(run: &Run, visit: &Visit, domain: &str, key: Option<&str>) -> Result<(), Stop> {
    let named = Some(domain).filter(|domain| !domain.is_empty());
    let value = visit.session().value(named, key).await.map_err(|error| match error.refusal() {
        Some(refusal) => Stop::new(
            Trouble::Failed,
            format!("The phone does not tell {:?} {:?}: {refusal}.", domain, key.unwrap_or_default()),
            "",
        ),
        None => reach::lockdown_stop(&error),
    })?;
    if run.global.json {
        terminal::print_json(&json!({
            "schema": "idevice-fix/lockdown/1", "domain": domain, "key": key, "value": as_json(&value),
        }));
    } else {
        terminal::print(&as_text(&value, 0));
    }
    Ok(())
}

/// A property list as JSON: bytes are `{"$hex": …}`, times RFC 3339.
fn as_json(value: &Plist) -> Value {
    match value {
        Plist::Dictionary(entries) => Value::Object(
            entries.iter().map(|(key, value)| (key.clone(), as_json(value))).collect::<Map<_, _>>(),
        ),
        Plist::Array(items) => Value::Array(items.iter().map(as_json).collect()),
        Plist::Boolean(value) => json!(value),
        Plist::Integer(value) => value.as_unsigned().map_or_else(
            || value.as_signed().map_or(Value::Null, |signed| json!(signed)),
            |unsigned| json!(unsigned),
        ),
        Plist::Real(value) => json!(value),
        Plist::String(value) => json!(value),
        Plist::Data(bytes) => json!({"$hex": hex::encode(bytes)}),
        Plist::Date(date) => json!(date.to_xml_format()),
        _ => Value::Null,
    }
}

/// A property list as libimobiledevice's `ideviceinfo` prints it.
fn as_text(value: &Plist, indent: usize) -> String {
    match value {
        Plist::Dictionary(entries) => entries.iter().map(|(key, value)| entry(key, value, indent)).collect(),
        Plist::Array(items) => {
            items.iter().enumerate().map(|(at, value)| entry(&at.to_string(), value, indent)).collect()
        }
        scalar => format!("{:indent$}{}\n", "", scalar_text(scalar)),
    }
}

fn entry(key: &str, value: &Plist, indent: usize) -> String {
    let key = plain(key);
    match value {
        Plist::Dictionary(_) | Plist::Array(_) => {
            format!("{:indent$}{key}:\n{}", "", as_text(value, indent + 1))
        }
        scalar => format!("{:indent$}{key}: {}\n", "", scalar_text(scalar)),
    }
}

fn scalar_text(value: &Plist) -> String {
    match value {
        Plist::Boolean(value) => value.to_string(),
        Plist::Integer(value) => value.to_string(),
        Plist::Real(value) => value.to_string(),
        Plist::String(value) => plain(value),
        Plist::Data(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes),
        Plist::Date(date) => date.to_xml_format(),
        _ => String::new(),
    }
}

async fn plain_words(run: &Run, visit: &mut Visit) -> Result<(), Stop> {
    let facts = visit.read().await?;
    let kept = visit.kept().await.unwrap_or_else(|_| Kept::default());
    let outcome = visit.judge(facts, &kept);
    let report = Report::of(&outcome);
    if run.global.json {
        let diagnosis = serde_json::to_value(&report.diagnosis).expect("a diagnosis is plain data");
        terminal::print_json(&json!({
            "schema": "idevice-fix/info/1", "device": diagnosis["device"], "facts": diagnosis["facts"],
            "gaps": diagnosis["gaps"],
        }));
        return Ok(());
    }
    let device = serde_json::to_value(&report.diagnosis.device).expect("a device is plain data");
    terminal::print(&group("device", &device));
    if let Value::Object(groups) = &report.diagnosis.facts {
        for (name, facts) in groups {
            terminal::print(&group(name, facts));
        }
    }
    if !report.diagnosis.gaps.is_empty() {
        terminal::print("\nNot known\n");
        for gap in &report.diagnosis.gaps {
            terminal::print(&format!("  {}: {}\n", label(&gap.fact), plain(&gap.reason)));
        }
    }
    Ok(())
}

/// A group of facts: a heading and a line each. What is unknown is told at the end, with its reason.
fn group(name: &str, facts: &Value) -> String {
    let Value::Object(facts) = facts else { return String::new() };
    let lines: String = facts
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| format!("  {:<32}{}\n", label(key), in_words(key, value)))
        .collect();
    if lines.is_empty() { String::new() } else { format!("\n{}\n{lines}", label(name)) }
}

/// `level_percent` becomes `Level percent`; dots stay.
fn label(key: &str) -> String {
    let words = plain(key).replace('_', " ").replace("icloud", "iCloud");
    let mut chars = words.chars();
    match chars.next() {
        Some('i') if words.starts_with("iCloud") => words,
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn in_words(key: &str, value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => match number.as_u64() {
            Some(bytes) if key.ends_with("_bytes") => words::bytes(bytes),
            Some(count) => words::count(count),
            None => number.as_f64().map_or_else(|| number.to_string(), |real| format!("{real:.1}")),
        },
        Value::String(text) => match text.parse::<jiff::Timestamp>() {
            Ok(at) => words::moment(at, &jiff::tz::TimeZone::system()),
            Err(_) => plain(text),
        },
        Value::Array(items) => items.iter().map(|item| in_words("", item)).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| format!("{} {}", label(key).to_lowercase(), in_words(key, value)))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Null => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_times_have_the_agreed_shape() {
        let mut entries = plist::Dictionary::new();
        entries.insert("Data".into(), Plist::Data(vec![0, 255]));
        entries.insert("Negative".into(), Plist::Integer((-5).into()));
        entries.insert("Name".into(), Plist::String("a\u{1b}b".into()));
        let value = Plist::Dictionary(entries);
        assert_eq!(as_json(&value)["Data"]["$hex"], "00ff");
        assert_eq!(as_json(&value)["Negative"], -5);
        assert!(as_text(&value, 0).contains("Name: a\u{FFFD}b\n"), "{}", as_text(&value, 0));
    }

    #[test]
    fn facts_read_well() {
        assert_eq!(label("level_percent"), "Level percent");
        assert_eq!(label("icloud_photos"), "iCloud photos");
        assert_eq!(in_words("free_bytes", &json!(30_701_121_536_u64)), "30.7 GB");
        assert_eq!(in_words("charging", &json!(true)), "yes");
        assert_eq!(group("battery", &json!({"level_percent": null})), "");
    }
}
