//! The name that a phone's file gets on this computer.
//!
//! It is the phone's own wherever that is harmless. Marks that turn the direction of reading or cannot be seen would
//! make one file look like another in a folder window: they are written as `%` and two hexadecimal digits per byte,
//! and so is a `%` that could be taken for that. [`phone_path`] undoes it.

use std::fmt::Write;

use aws_lc_rs::digest::digest;

use crate::facts::text::is_mark;

/// What a name may have at most, in bytes, so that with everything else it stays below 255.
const FOLDER_BYTES_MAX: usize = 200;
const STEM_BYTES_MAX: usize = 180;
const EXTENSION_BYTES_MAX: usize = 20;

/// The path below `photos/` for a clean path of the phone.
pub(super) fn local_path(path: &str) -> String {
    let is_usual = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'%';
    if path.as_bytes().iter().all(is_usual) {
        return path.to_owned();
    }
    let mut local = String::with_capacity(path.len());
    for (at, c) in path.char_indices() {
        if is_mark(c) || (c == '%' && hex_pair(&path[at + 1..]).is_some()) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                write!(local, "%{byte:02X}").expect("a String takes everything");
            }
        } else {
            local.push(c);
        }
    }
    local
}

/// Another path below `photos/`, for a file whose usual one this computer cannot hold, or holds for another file. It
/// has nothing that any file system refuses, and differs from those of all other files also where case and Unicode form
/// do not count. The manifest names it beside the phone's path.
pub(super) fn strict_path(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').map_or((None, path), |(folder, name)| (Some(folder), name));
    let (stem, extension) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).unwrap_or((name, ""));
    let mark = hex::encode(&digest(&aws_lc_rs::digest::SHA256, path.as_bytes()).as_ref()[..8]);
    let mut strict = folder.map_or_else(String::new, |folder| {
        let folders: Vec<String> =
            folder.split('/').map(|name| strict_name(name, FOLDER_BYTES_MAX)).collect();
        folders.join("/") + "/"
    });
    strict.push_str(&strict_name(stem, STEM_BYTES_MAX));
    write!(strict, "%~{mark}").expect("a String takes everything");
    if !extension.is_empty() {
        strict.push('.');
        strict.push_str(&strict_name(extension, EXTENSION_BYTES_MAX));
    }
    strict
}

/// A name, or its beginning, without what some file system refuses: the characters that mean something to FAT, exFAT
/// and NTFS, and dots and blanks at its end.
fn strict_name(name: &str, most: usize) -> String {
    let last = name.trim_end_matches(['.', ' ']).len();
    let mut strict = String::new();
    for (at, c) in name.char_indices() {
        let refused =
            at >= last || !c.is_ascii() || matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\\');
        let escaped = if refused || is_mark(c) || c == '%' {
            c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect()
        } else {
            c.to_string()
        };
        if strict.len() + escaped.len() > most {
            break;
        }
        strict.push_str(&escaped);
    }
    strict
}

/// The phone's path for a path that [`local_path`] made; `None` for one that it cannot have made.
#[cfg(test)]
pub(super) fn phone_path(local: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(local.len());
    let mut rest = local;
    while let Some(c) = rest.chars().next() {
        match (c, rest.get(1..).and_then(hex_pair)) {
            ('%', Some(byte)) => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            _ => {
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// The byte that two hexadecimal digits at the front of `text` mean.
fn hex_pair(text: &str) -> Option<u8> {
    let pair = text.as_bytes().get(..2)?;
    if !pair.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_names_stay_as_they_are() {
        for path in ["DCIM/100APPLE/IMG_0001.HEIC", "Grüße 100%.jpg", "50% off", "家族.png", "%"] {
            assert_eq!(local_path(path), path);
        }
    }

    #[test]
    fn marks_become_readable() {
        assert_eq!(local_path("a\u{202E}gpj.exe"), "a%E2%80%AEgpj.exe");
        assert_eq!(local_path("a%2Fb"), "a%252Fb");
    }

    #[test]
    fn a_strict_name_can_be_held_everywhere_and_is_no_other_files() {
        let long = format!("DCIM/{}.HEIC", "é\u{202E}".repeat(45));
        let names = [
            &long,
            "DCIM/a",
            "DCIM/A",
            "DCIM/a.",
            "DCIM/a ",
            "DCIM/é",
            "DCIM/e\u{301}",
            "x./a:b/c?.JPG",
            "a%~1",
        ];
        let mut seen = std::collections::HashSet::new();
        for path in names {
            let strict = strict_path(path);
            assert!(seen.insert(strict.to_lowercase()), "{strict}");
            assert!(crate::facts::path::is_clean_relative(&strict), "{strict}");
            for name in strict.split('/') {
                assert!(name.is_ascii() && name.len() <= 255 && !name.ends_with(['.', ' ']), "{strict}");
                assert!(!name.contains([':', '?', '*', '\\', '"', '<', '>', '|']), "{strict}");
            }
        }
        assert!(strict_path("DCIM/IMG_0001.HEIC").starts_with("DCIM/IMG_0001%~"));
        assert!(strict_path("x./a:b/c?.JPG").starts_with("x%2E/a%3Ab/c%3F%~"));
    }

    proptest! {
        #[test]
        fn every_name_comes_back(path in "([%0-9A-Fa-fxé\u{202E}\u{200B}/]|\\PC){0,20}") {
            prop_assert_eq!(phone_path(&local_path(&path)), Some(path));
        }
    }
}
