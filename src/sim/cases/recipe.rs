//! `recipe.toml`: a phone as a scenario and the changes to it, so that a case of a few lines stands for a whole folder.
//!
//! Knows the folder's files and how to change a key, a row or a file of them; what the changes mean is the case's business.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use plist::{Dictionary, Value};
use serde::Deserialize;

use super::Error;
use crate::frame::{self, Limits};
use crate::sim::new::{self, NewOptions, Temper};

/// The file's name in a case's folder.
pub(super) const FILE: &str = "recipe.toml";
/// Photos of a case that states no number: enough for every sort of asset, few enough to be made in a moment.
const PHOTOS: u32 = 24;
/// Bytes of all originals together.
const MEDIA_BYTES: u64 = 200_000;
/// Seconds from 1970 to 2001.
const COCOA_EPOCH_SECONDS: i64 = 978_307_200;

/// A phone, as a scenario of `sim new` and changes to its folder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// A name of `sim new --list`.
    #[serde(default = "healthy")]
    scenario: String,
    /// Its version of iOS.
    #[serde(default = "ios")]
    ios: String,
    #[serde(default = "photos")]
    photos: u32,
    #[serde(default)]
    seed: u64,
    /// As real phones were seen to make it, or as easy as can be.
    #[serde(default)]
    harsh: bool,
    name: Option<String>,
    /// Lines added to `device.toml`.
    #[serde(default)]
    device: String,
    /// Changes to property lists.
    #[serde(default)]
    plist: Vec<PlistChange>,
    /// Changes to databases.
    #[serde(default)]
    sql: Vec<SqlChange>,
    /// Whole files, made or taken away.
    #[serde(default)]
    file: Vec<FileChange>,
}

fn healthy() -> String {
    "healthy".to_owned()
}

fn ios() -> String {
    "18.4.1".to_owned()
}

const fn photos() -> u32 {
    PHOTOS
}

/// Keys of one property list; `/` leads into a dictionary.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlistChange {
    /// Below the phone's folder; made if it is not there.
    path: PathBuf,
    #[serde(default)]
    set: BTreeMap<String, toml::Value>,
    #[serde(default)]
    remove: Vec<String>,
    /// Takes the whole list's place.
    whole: Option<toml::Value>,
}

/// Statements for one database; its log is written into it before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SqlChange {
    path: PathBuf,
    run: Vec<String>,
}

/// A file; without content it is taken away, a folder with all that is in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileChange {
    path: PathBuf,
    text: Option<String>,
    hex: Option<String>,
}

impl Recipe {
    /// Reads it out of a case's folder; `None` if there is none.
    pub(super) fn read(case: &Path) -> Result<Option<Self>, Error> {
        super::read_toml(&case.join(FILE))
    }

    /// Makes the phone's folder at `dir`, which must be new; where the case wants them, the originals that are only in
    /// iCloud are written to `originals`.
    pub(super) fn make(&self, dir: &Path, originals: Option<PathBuf>) -> Result<(), Error> {
        let options = NewOptions {
            scenario: self.scenario.clone(),
            ios: self.ios.clone(),
            photos: Some(self.photos),
            seed: self.seed,
            temper: if self.harsh { Temper::Harsh } else { Temper::Kind },
            name: self.name.clone(),
            media_bytes: Some(MEDIA_BYTES),
            originals,
            ..NewOptions::default()
        };
        new::create(dir, &options).map_err(|error| Error::recipe(error.to_string()))?;
        let now = options.now;
        if !self.device.is_empty() {
            let path = dir.join("device.toml");
            let lines = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, &error))?;
            std::fs::write(&path, format!("{lines}\n{}\n", self.device))
                .map_err(|error| Error::io(&path, &error))?;
        }
        self.file.iter().try_for_each(|change| change.make(dir))?;
        self.plist.iter().try_for_each(|change| change.make(dir, now))?;
        self.sql.iter().try_for_each(|change| change.make(dir))
    }
}

/// A path below the phone's folder, as it is on this computer.
fn below(dir: &Path, path: &Path) -> Result<PathBuf, Error> {
    let clean = path.components().all(|part| matches!(part, Component::Normal(_)));
    if clean && path.components().next().is_some() {
        return Ok(dir.join(path));
    }
    Err(Error::recipe(format!("{} is no path below the phone's folder", path.display())))
}

impl FileChange {
    fn make(&self, dir: &Path) -> Result<(), Error> {
        let path = below(dir, &self.path)?;
        let failed = |error: std::io::Error| Error::io(&path, &error);
        let content = match (&self.text, &self.hex) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(digits)) => hex::decode(digits).map_err(|error| Error::recipe(error.to_string()))?,
            (None, None) if path.is_dir() => return std::fs::remove_dir_all(&path).map_err(failed),
            (None, None) => return std::fs::remove_file(&path).map_err(failed),
            (Some(_), Some(_)) => return Err(Error::recipe("a file has text or hex, not both")),
        };
        write(&path, &content)
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::io(path, &error);
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
    std::fs::write(path, content).map_err(failed)
}

impl SqlChange {
    fn make(&self, dir: &Path) -> Result<(), Error> {
        let path = below(dir, &self.path)?;
        let failed = |error: rusqlite::Error| Error::recipe(format!("{}: {error}", self.path.display()));
        let database = rusqlite::Connection::open(&path).map_err(failed)?;
        database.execute_batch("PRAGMA synchronous=OFF; PRAGMA wal_checkpoint(TRUNCATE);").map_err(failed)?;
        self.run.iter().try_for_each(|statement| database.execute_batch(statement)).map_err(failed)
    }
}

impl PlistChange {
    fn make(&self, dir: &Path, now: Timestamp) -> Result<(), Error> {
        let path = below(dir, &self.path)?;
        let mut root = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Value::Dictionary(Dictionary::new())
            }
            Err(error) => return Err(Error::io(&path, &error)),
            Ok(bytes) => {
                frame::parse(&bytes, &Limits::FILE).unwrap_or_else(|_| Value::Dictionary(Dictionary::new()))
            }
        };
        if let Some(whole) = &self.whole {
            root = value(whole, now)?;
        }
        for (key, wanted) in &self.set {
            let (inner, last) = inner(&mut root, key)?;
            inner.insert(last.to_owned(), value(wanted, now)?);
        }
        for key in &self.remove {
            let (inner, last) = inner(&mut root, key)?;
            inner
                .remove(last)
                .ok_or_else(|| Error::recipe(format!("{} has no {key}", self.path.display())))?;
        }
        write(&path, &frame::to_binary(&root))
    }
}

/// The dictionary that holds the last part of `path`, made if need be, and that part.
fn inner<'a>(root: &'a mut Value, path: &'a str) -> Result<(&'a mut Dictionary, &'a str), Error> {
    let no_dictionary = || Error::recipe(format!("{path} does not lead through dictionaries"));
    let mut dictionary = root.as_dictionary_mut().ok_or_else(no_dictionary)?;
    let mut parts = path.split('/').peekable();
    loop {
        let part = parts.next().ok_or_else(no_dictionary)?;
        if parts.peek().is_none() {
            return Ok((dictionary, part));
        }
        if !dictionary.contains_key(part) {
            dictionary.insert(part.to_owned(), Value::Dictionary(Dictionary::new()));
        }
        dictionary = dictionary.get_mut(part).and_then(Value::as_dictionary_mut).ok_or_else(no_dictionary)?;
    }
}

/// A value as a property list has it. What TOML has no word for is a table with one key: `$days_ago` and `$at` (a date),
/// `$cocoa_days_ago` (seconds since 2001), `$uint`, `$hex`.
fn value(toml: &toml::Value, now: Timestamp) -> Result<Value, Error> {
    Ok(match toml {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::Real(*number),
        toml::Value::Boolean(flag) => Value::Boolean(*flag),
        toml::Value::Array(values) => {
            Value::Array(values.iter().map(|one| value(one, now)).collect::<Result<_, _>>()?)
        }
        toml::Value::Datetime(at) => moment(&at.to_string())?,
        toml::Value::Table(table) => return special(table, now),
    })
}

fn special(table: &toml::Table, now: Timestamp) -> Result<Value, Error> {
    let wrong = |key: &str| Error::recipe(format!("{key} holds what it cannot"));
    let only = table.iter().next().filter(|(key, _)| table.len() == 1 && key.starts_with('$'));
    let Some((key, inside)) = only else {
        let all = table.iter().map(|(key, one)| Ok((key.clone(), value(one, now)?)));
        return Ok(Value::Dictionary(all.collect::<Result<Dictionary, Error>>()?));
    };
    let ago = || {
        let days = inside.as_integer().ok_or_else(|| wrong(key))?;
        let hours = days.checked_mul(24).ok_or_else(|| wrong(key))?;
        now.checked_sub(SignedDuration::from_hours(hours)).map_err(|_| wrong(key))
    };
    Ok(match key.as_str() {
        "$days_ago" => Value::Date(std::time::SystemTime::from(ago()?).into()),
        "$cocoa_days_ago" => Value::from(ago()?.as_second() - COCOA_EPOCH_SECONDS),
        "$at" => moment(inside.as_str().ok_or_else(|| wrong(key))?)?,
        "$uint" => {
            let number = inside.as_str().and_then(|text| text.parse::<u64>().ok());
            Value::from(number.ok_or_else(|| wrong(key))?)
        }
        "$hex" => {
            let bytes = inside.as_str().and_then(|text| hex::decode(text).ok());
            Value::Data(bytes.ok_or_else(|| wrong(key))?)
        }
        _ => return Err(Error::recipe(format!("{key} is no sort of value"))),
    })
}

fn moment(text: &str) -> Result<Value, Error> {
    let date = plist::Date::from_xml_format(text);
    date.map(Value::Date).map_err(|_| Error::recipe(format!("{text} is no date")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn value_of(text: &str) -> Result<Value, Error> {
        let table: toml::Table = toml::from_str(&format!("x = {text}")).unwrap();
        value(&table["x"], now())
    }

    #[test]
    fn values_are_those_of_property_lists() {
        assert_eq!(value_of("3").unwrap(), Value::from(3));
        assert_eq!(value_of("{ '$uint' = '9223372036854775808' }").unwrap(), Value::from(1_u64 << 63));
        assert_eq!(value_of("{ '$cocoa_days_ago' = 1 }").unwrap(), Value::from(817_041_600_i64 - 86_400));
        assert_eq!(value_of("{ '$hex' = '00ff' }").unwrap(), Value::Data(vec![0, 255]));
        assert_eq!(
            value_of("{ '$at' = '0001-01-01T00:00:00Z' }").unwrap(),
            Value::Date(plist::Date::from_xml_format("0001-01-01T00:00:00Z").unwrap())
        );
        assert!(value_of("{ a = { '$days_ago' = 2 } }").unwrap().as_dictionary().unwrap().contains_key("a"));
        for wrong in ["{ '$uint' = 'x' }", "{ '$hex' = 'x' }", "{ '$days_ago' = 'x' }", "{ '$x' = 1 }"] {
            assert!(value_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_path_leads_into_dictionaries_and_not_out_of_the_folder() {
        let mut root = Value::Dictionary(Dictionary::new());
        let (dictionary, last) = inner(&mut root, "com.apple.fmip/IsAssociated").unwrap();
        dictionary.insert(last.to_owned(), true.into());
        assert!(inner(&mut root, "com.apple.fmip/IsAssociated/deeper").is_err());
        for outside in ["/etc/passwd", "../x", "a/../../x", ""] {
            assert!(below(Path::new("phone"), Path::new(outside)).is_err(), "{outside}");
        }
        assert!(below(Path::new("phone"), Path::new("media/PhotoData")).is_ok());
    }
}
