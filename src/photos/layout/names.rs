//! The names that files and albums get in an arrangement. What people wrote is text from a phone: nothing of it may lead
//! out of a folder, hide, or take another's place.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use super::super::names::local_path;
use crate::facts::Asset;

/// The longest name of one component, in bytes, with room for a number and an extension.
const NAME_BYTES_MAX: usize = 200;
/// Files that belong to a picture and are none.
const NOT_SHOWN: [&str; 5] = ["plist", "json", "data", "xml", "db"];

/// What a file of the copy is called in an arrangement; `None` for what is no picture and stands beside none.
pub(super) fn shown_name(path: &str, asset: Option<&Asset>) -> Option<String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => return None,
    };
    if NOT_SHOWN.iter().any(|one| extension.eq_ignore_ascii_case(one)) {
        return None;
    }
    let original = asset.and_then(|asset| asset.original_name.as_deref());
    let original = original.map(|name| name.rsplit_once('.').map_or(name, |(stem, _)| stem));
    let stem = if let Some(edited) = folder.strip_prefix("PhotoData/Mutations/") {
        let of = edited.strip_suffix("/Adjustments")?;
        let of = original.unwrap_or_else(|| of.rsplit('/').next().unwrap_or(of));
        format!("{of} (edited)")
    } else {
        original.filter(|stem| !stem.is_empty()).unwrap_or(stem).to_owned()
    };
    Some(format!("{stem}.{extension}"))
}

/// Gives names that are harmless, and no two alike in one folder: also not for a file system that holds upper and lower
/// case for the same.
#[derive(Debug, Default)]
pub(super) struct Namer {
    /// The last number that each name was given with.
    folders: HashMap<String, u32>,
    /// By folder and stem: whose files have it, in order; their number is their place.
    groups: HashMap<String, Vec<String>>,
    files: HashSet<String>,
}

impl Namer {
    /// A folder for this title.
    pub(super) fn folder(&mut self, title: &str) -> String {
        let base = component(title);
        let mut number = self.folders.get(&base.to_lowercase()).copied().unwrap_or(0);
        let mut name = base.clone();
        while number > 0 {
            number += 1;
            name = format!("{base} ({number})");
            if !self.folders.contains_key(&name.to_lowercase()) {
                self.folders.insert(base.to_lowercase(), number);
                break;
            }
        }
        self.folders.insert(name.to_lowercase(), 1);
        name
    }

    /// The place of a file in `folder`. Files of one `group` with one stem keep it alike, so that pairs stay pairs.
    pub(super) fn file(&mut self, folder: &str, name: &str, group: &str) -> String {
        let name = component(name);
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name.as_str(), ""));
        let groups = self.groups.entry(format!("{folder}/{}", stem.to_lowercase())).or_default();
        let known = groups.iter().position(|one| one == group);
        let mut number = 1 + known.unwrap_or_else(|| {
            groups.push(group.to_owned());
            groups.len() - 1
        });
        loop {
            let numbered = if number == 1 { stem.to_owned() } else { format!("{stem} ({number})") };
            let name = if extension.is_empty() { numbered } else { format!("{numbered}.{extension}") };
            let place = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if self.files.insert(place.to_lowercase()) {
                return place;
            }
            number += 1;
        }
    }
}

/// One component of a path: what would lead elsewhere, hide or end a name is written as `%` and two hexadecimal digits
/// a byte, as in the copy itself.
fn component(text: &str) -> String {
    let mut name = String::new();
    for (at, c) in local_path(text).char_indices() {
        if matches!(c, '/' | '\\' | ':' | '"' | '<' | '>' | '|' | '*' | '?') || (at == 0 && c == '.') {
            write!(name, "%{:02X}", u32::from(c)).expect("a String takes everything");
        } else {
            name.push(c);
        }
    }
    if name.trim().is_empty() {
        return "without a name".to_owned();
    }
    let name = shortened(&name);
    // A file system of Windows drops these at the end of a name.
    match name.strip_suffix('.').or_else(|| name.strip_suffix(' ')) {
        Some(rest) => format!("{rest}%{:02X}", name.as_bytes()[name.len() - 1]),
        None => name,
    }
}

/// The name, cut in the middle of what is before its extension where it is too long.
fn shortened(name: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let extension = name.rsplit_once('.').map(|(_, extension)| extension).filter(|one| one.len() <= 16);
    let room = NAME_BYTES_MAX - extension.map_or(0, |one| one.len() + 1) - '…'.len_utf8();
    let end = (0..=room).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    let cut = format!("{}…", &name[..end]);
    extension.map_or(cut.clone(), |extension| format!("{cut}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_cannot_lead_elsewhere_hide_or_meet() {
        let mut namer = Namer::default();
        let titles = [
            "..",
            "../x",
            ".hidden",
            "",
            " ",
            "a/b",
            "a\0b",
            "Trip",
            "trip",
            "Trip",
            "Trip (2)",
            "x\u{202E}y",
            "C:\\x",
            "end.",
        ];
        let named: Vec<String> = titles.iter().map(|title| namer.folder(title)).collect();
        assert_eq!(
            named,
            [
                "%2E%2E",
                "%2E.%2Fx",
                "%2Ehidden",
                "without a name",
                "without a name (2)",
                "a%2Fb",
                "a%00b",
                "Trip",
                "trip (2)",
                "Trip (3)",
                "Trip (2) (2)",
                "x%E2%80%AEy",
                "C%3A%5Cx",
                "end%2E"
            ]
        );
        for name in &named {
            assert!(crate::facts::path::is_clean_component(name), "{name}");
        }
        let long = namer.folder(&"ü".repeat(500));
        assert!(long.len() <= NAME_BYTES_MAX && long.ends_with('…'));
        assert_eq!(namer.folder(&"ü".repeat(500)), format!("{long} (2)"));
        assert_eq!(namer.folder(&"ü".repeat(501)), format!("{long} (3)"));
        assert!(namer.file("a", &format!("{}.HEIC", "x".repeat(500)), "g").ends_with("….HEIC"));
    }

    #[test]
    fn pairs_stay_pairs_and_no_two_files_meet() {
        let mut namer = Namer::default();
        let mut place = |name: &str, group: &str| namer.file("2026", name, group);
        assert_eq!(place("IMG_1.HEIC", "a"), "2026/IMG_1.HEIC");
        assert_eq!(place("IMG_1.MOV", "b"), "2026/IMG_1 (2).MOV");
        assert_eq!(place("img_1.heic", "b"), "2026/img_1 (2).heic");
        assert_eq!(place("IMG_1.MOV", "a"), "2026/IMG_1.MOV");
        assert_eq!(place("IMG_1.MOV", "a"), "2026/IMG_1 (2) (2).MOV".replace(" (2) (2)", " (3)"));
    }

    #[test]
    fn edits_are_named_for_what_they_are_an_edit_of() {
        let edit = "PhotoData/Mutations/DCIM/100APPLE/IMG_0002/Adjustments/FullSizeRender.heic";
        assert_eq!(shown_name(edit, None).as_deref(), Some("IMG_0002 (edited).heic"));
        assert_eq!(shown_name(&edit.replace("FullSizeRender.heic", "Adjustments.plist"), None), None);
        assert_eq!(shown_name("DCIM/100APPLE/IMG_0001.AAE", None).as_deref(), Some("IMG_0001.AAE"));
        assert_eq!(shown_name("DCIM/100APPLE/.x", None), None);
    }
}
