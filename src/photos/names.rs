//! The name that a phone's file gets on this computer.
//!
//! It is the phone's own wherever that is harmless. Marks that turn the direction of reading or cannot be seen would
//! make one file look like another in a folder window: they are written as `%` and two hexadecimal digits per byte,
//! and so is a `%` that could be taken for that. [`phone_path`] undoes it.

use std::fmt::Write;

/// The path below `photos/` for a clean path of the phone.
pub(super) fn local_path(path: &str) -> String {
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

fn is_mark(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
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

    proptest! {
        #[test]
        fn every_name_comes_back(path in "([%0-9A-Fa-fxé\u{202E}\u{200B}/]|\\PC){0,20}") {
            prop_assert_eq!(phone_path(&local_path(&path)), Some(path));
        }
    }
}
