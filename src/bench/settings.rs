//! The bench's settings: a TOML file. What it does not say has its default; what is not known there is an error that
//! names it, so that a misspelt key is not taken for consent.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Nobody's settings are larger.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What is done with a phone that is plugged in. Each does what the one before it does, and more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnPlug {
    /// It is asked who it is. Nothing is asked of a person and nothing is paired.
    #[default]
    Identify,
    /// It is paired (it asks to be trusted), read and judged. Nothing is copied.
    Diagnose,
    /// Its photos are copied, a backup is made, and both are proven.
    Protect,
}

/// What the settings say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What may be done.
    pub policy: Policy,
}

/// What may be done with phones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// With one that is plugged in.
    pub on_plug: OnPlug,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the settings in {} cannot be used: {reason}", path.display())]
pub struct SettingsError {
    path: PathBuf,
    reason: String,
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or says what is not known.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let bad = |reason: String| SettingsError { path: path.to_owned(), reason };
        let file = std::fs::File::open(path).map_err(|error| bad(error.to_string()))?;
        let mut text = String::new();
        let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
        match read.map_err(|error| bad(error.to_string()))? {
            bytes if bytes as u64 > FILE_BYTES_MAX => Err(bad("it is too long".to_owned())),
            _ => Self::parse(&text).map_err(bad),
        }
    }

    /// Understands the text of such a file.
    ///
    /// # Errors
    /// What is wrong, in one sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let at = line.map_or_else(String::new, |line| format!("line {line}: "));
            format!("{at}{}", error.message())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_harmless_choice() {
        for text in ["", "# nothing\n", "[policy]\n"] {
            assert_eq!(Settings::parse(text).unwrap().policy.on_plug, OnPlug::Identify, "{text:?}");
        }
        let settings = Settings::parse("[policy]\non_plug = \"protect\"\n").unwrap();
        assert_eq!(settings.policy.on_plug, OnPlug::Protect);
    }

    #[test]
    fn the_file_that_the_package_brings_says_what_holds_without_it() {
        let shipped = Settings::parse(include_str!("../../udev/config.toml")).unwrap();
        assert_eq!(shipped, Settings::default());
    }

    #[test]
    fn what_is_not_known_is_named_with_its_line() {
        for (text, name) in [
            ("[policy]\non_plugg = \"protect\"\n", "on_plugg"),
            ("[policy]\non_plug = \"erase\"\n", "erase"),
            ("\n[polcy]\n", "polcy"),
        ] {
            let said = Settings::parse(text).unwrap_err();
            assert!(said.starts_with("line 2: ") && said.contains(name), "{said}");
        }
        assert!(Settings::parse("[policy\n").is_err());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let said = Settings::read(Path::new("/nonexistent/config.toml")).unwrap_err().to_string();
        assert!(said.contains("/nonexistent/config.toml"), "{said}");
        let endless = Settings::read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(endless.contains("too long"), "{endless}");
    }
}
