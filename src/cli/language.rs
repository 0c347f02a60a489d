//! The language of the words that are data: files in the places where programs of this system keep theirs, chosen by the
//! environment as everywhere.

use std::path::PathBuf;

use super::terminal;
use crate::facts::sentences;
use crate::facts::text::plain;
use crate::remedy::texts;

/// The folder below each place.
const FOLDER: &str = "idevice-fix";
/// A file of words is some tens of KiB.
const BYTES_MAX: u64 = 4 << 20;

/// Takes the words of the environment's language, if there are some.
pub(super) fn choose() {
    let Some(language) = language() else { return };
    let file = |name: &str| found(&format!("{name}.{language}.toml"));
    let (words, explained, said) = (file("texts"), file("explained"), file("sentences"));
    let not_used = |error: &dyn std::error::Error| {
        let why = plain(&error.to_string());
        terminal::say(&format!("idevice-fix: the words in the language {language} are not used: {why}"));
    };
    if (words.is_some() || explained.is_some())
        && let Err(error) = texts::speak(words.as_deref(), explained.as_deref())
    {
        not_used(&error);
    }
    if let Some(Err(error)) = said.as_deref().map(sentences::speak) {
        not_used(&error);
    }
}

/// The language without its country; none for English and for the system's own.
fn language() -> Option<String> {
    let named = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    of_locale(&named?)
}

fn of_locale(locale: &str) -> Option<String> {
    let language = locale.split(['_', '.', '@']).next().unwrap_or_default();
    let is_one = (2..=3).contains(&language.len()) && language.bytes().all(|b| b.is_ascii_lowercase());
    (is_one && language != "en").then(|| language.to_owned())
}

fn found(name: &str) -> Option<String> {
    places().into_iter().find_map(|place| {
        let path = place.join(FOLDER).join(name);
        let length = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?.len();
        (length <= BYTES_MAX).then(|| std::fs::read_to_string(path).ok()).flatten()
    })
}

/// `XDG_DATA_HOME`, then `XDG_DATA_DIRS`, with their usual values.
fn places() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = set("XDG_DATA_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".local/share")));
    let dirs = set("XDG_DATA_DIRS").unwrap_or_else(|| "/usr/local/share:/usr/share".into());
    home.into_iter().chain(std::env::split_paths(&dirs)).filter(|place| place.is_absolute()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_names_its_language() {
        for (locale, language) in [
            ("de_DE.UTF-8", Some("de")),
            ("fr", Some("fr")),
            ("gsw_CH", Some("gsw")),
            ("en_GB.UTF-8", None),
            ("C.UTF-8", None),
            ("POSIX", None),
            ("../../x", None),
            ("", None),
        ] {
            assert_eq!(of_locale(locale).as_deref(), language, "{locale}");
        }
    }
}
