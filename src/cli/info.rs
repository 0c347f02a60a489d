//! `info`: facts in plain words, or a lockdown domain as the phone gives it.

use base64::Engine as _;
use jiff::tz::TimeZone;
use plist::{Dictionary, Value as Plist};
use serde_json::{Map, Value, json};

use super::arguments::Info;
use super::phones::Phones;
use super::run::Run;
use super::terminal;
use super::visits::begin;
use crate::facts::text::plain;
use crate::lockdown::Refusal;
use crate::remedy::Consent;
use crate::report::{Report, fact_words, lockdown_words};
use crate::visit::{Kept, Stop, Trouble, Visit, reach};

/// Wider lines read badly, and many terminals have no more.
const COLUMNS: usize = 80;
/// Columns of the names of facts.
const NAMES: usize = 38;

/// Shows facts, or with a domain what lockdown says.
pub(super) async fn info(run: &Run, arguments: &Info) -> Result<(), Stop> {
    shown(run, arguments).await.map_err(|stop| run.explain("info", stop))
}

async fn shown(run: &Run, arguments: &Info) -> Result<(), Stop> {
    let phones = Phones::open(run)?;
    let begun = begin(run, &phones, Consent::default(), run.watch_query()).await;
    let mut visit = begun.map_err(|unreached| unreached.stop)?;
    match &arguments.domain {
        Some(domain) => one_domain(run, &visit, domain, arguments).await,
        None if arguments.raw => every_domain(run, &visit).await,
        None => plain_words(run, &mut visit).await,
    }
}

/// What lockdown says in one domain: in plain words with the key beside it, or raw. A key alone is always raw, for
/// scripts read it.
async fn one_domain(run: &Run, visit: &Visit, domain: &str, arguments: &Info) -> Result<(), Stop> {
    let key = arguments.key.as_deref();
    let named = Some(domain).filter(|domain| !domain.is_empty());
    let value = visit.session().value(named, key).await.map_err(|error| match error.refusal() {
        Some(refusal) => refused(domain, key, refusal),
        None => reach::lockdown_stop(&error),
    })?;
    match &value {
        _ if run.global.json => terminal::print_json(&json!({
            "schema": "idevice-fix/lockdown/1", "domain": domain, "key": key, "value": as_json(&value),
        })),
        Plist::Dictionary(entries) if key.is_none() && !arguments.raw => {
            let zone = terminal::stdout_style().zone;
            terminal::print(&domain_in_words(domain, entries, &zone));
            if entries.is_empty() {
                run.screen.say(&format!("The phone says nothing in the domain {}.", plain(domain)));
            }
        }
        value => terminal::print(&as_text(value, 0)),
    }
    Ok(())
}

/// What a refusal means here, with the phone's own word.
fn refused(domain: &str, key: Option<&str>, refusal: &Refusal) -> Stop {
    let of = if domain.is_empty() { String::new() } else { format!(" of {}", plain(domain)) };
    let what = match key {
        Some(key) => format!("{}{of}", plain(key)),
        None if domain.is_empty() => "the domain without a name".to_owned(),
        None => format!("the domain {}", plain(domain)),
    };
    let (cause, next) = match refusal {
        Refusal::MissingValue => {
            (format!("The phone has no {what} ({refusal})."), "info --raw shows all that it tells.")
        }
        _ => (format!("The phone does not tell {what}: it refuses with {refusal}."), ""),
    };
    Stop::new(Trouble::Failed, cause, next)
}

/// Every domain that is known, as the phone says it; one that it refuses or does not have is left out.
async fn every_domain(run: &Run, visit: &Visit) -> Result<(), Stop> {
    let mut told = Map::new();
    for (domain, _) in lockdown_words::DOMAINS {
        let named = Some(*domain).filter(|domain| !domain.is_empty());
        let value = match visit.session().value(named, None).await {
            Ok(value) => value,
            Err(error) if error.refusal().is_some() => continue,
            Err(error) => return Err(reach::lockdown_stop(&error)),
        };
        if value.as_dictionary().is_none_or(Dictionary::is_empty) {
            continue;
        }
        if run.global.json {
            told.insert((*domain).to_owned(), as_json(&value));
        } else {
            let head = if domain.is_empty() { String::new() } else { format!("\n{domain}:\n") };
            terminal::print(&format!("{head}{}", as_text(&value, usize::from(!domain.is_empty()))));
        }
    }
    if run.global.json {
        terminal::print_json(&json!({"schema": "idevice-fix/lockdown/1", "domains": told}));
    }
    Ok(())
}

/// A domain in plain words, the phone's own key at the end of each line.
fn domain_in_words(domain: &str, entries: &Dictionary, zone: &TimeZone) -> String {
    let mut text = lockdown_words::about(domain).map_or_else(String::new, |about| format!("{about}\n"));
    for (key, value) in entries {
        let words = lockdown_words::key_in_words(key);
        let said = lockdown_words::value_in_words(domain, key, value, zone);
        let line = format!("{words:<34}{said}");
        let key = plain(key);
        if line.chars().count() + key.chars().count() + 7 <= COLUMNS {
            let room = COLUMNS - 4 - key.chars().count();
            text.push_str(&format!("  {line:<room$}[{key}]\n"));
        } else {
            text.push_str(&terminal::hanging(&line, 2, 36, COLUMNS));
            text.push_str(&format!("\n{:>COLUMNS$}\n", format!("[{key}]")));
        }
    }
    text
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
            let text = format!("{}: {}", fact_words::whole_name(&gap.fact), plain(&gap.reason));
            terminal::print(&terminal::wrapped(&text, 2, COLUMNS));
        }
    }
    Ok(())
}

/// A group of facts: a heading and a line each; a group within it stands indented. What is unknown is told at the end,
/// with its reason.
fn group(name: &str, facts: &Value) -> String {
    let lines = facts_in_words(name, facts, 2);
    if lines.is_empty() { String::new() } else { format!("\n{}\n{lines}", fact_words::name(name)) }
}

fn facts_in_words(group: &str, facts: &Value, indent: usize) -> String {
    let Value::Object(facts) = facts else { return String::new() };
    let zone = terminal::stdout_style().zone;
    let mut lines = String::new();
    for (key, value) in facts.iter().filter(|(_, value)| !value.is_null()) {
        let fact = format!("{group}.{key}");
        let words = fact_words::name(&fact);
        if value.is_object() {
            let inner = facts_in_words(&fact, value, indent + 2);
            if !inner.is_empty() {
                lines.push_str(&format!("{:indent$}{words}\n{inner}", ""));
            }
            continue;
        }
        let width = NAMES - indent;
        let line = format!("{words:<width$}  {}", fact_words::in_words(&fact, value, &zone));
        lines.push_str(&terminal::hanging(&line, indent, NAMES + 2, COLUMNS));
        lines.push('\n');
    }
    lines
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
        assert_eq!(group("battery", &json!({"level_percent": null})), "");
        let text =
            group("icloud_photos", &json!({"enabled": true, "engine": {"low_battery": false, "x": null}}));
        let lines: Vec<&str> = text.trim().lines().collect();
        assert_eq!(lines[0], "iCloud Photos");
        assert!(lines[1].starts_with("  Switched on  ") && lines[1].ends_with("  yes"), "{text}");
        assert!(lines[3].starts_with("    Battery too low for it ") && lines[3].ends_with(" no"), "{text}");
    }

    #[test]
    fn a_domain_in_plain_words_keeps_the_phones_own_keys_and_its_80_columns() {
        let mut entries = plist::Dictionary::new();
        entries.insert("BatteryCurrentCapacity".into(), 53.into());
        entries.insert("Evil\u{202e}Key".into(), Plist::String("x".repeat(300)));
        entries.insert("SupportedLocales".into(), Plist::Array(vec!["en_US".into(); 40]));
        let text = domain_in_words("com.apple.mobile.battery", &entries, &TimeZone::UTC);
        assert!(text.starts_with("Battery\n  Charge  "), "{text}");
        assert!(text.contains("53 %") && text.contains("[BatteryCurrentCapacity]"), "{text}");
        assert!(!text.contains('\u{202e}'));
        assert!(
            text.lines().filter(|line| !line.contains("xxx")).all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}
