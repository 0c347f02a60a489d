//! A name of the phone as a name on this computer.
//!
//! The rule is that of the photos' mirror: what turns the direction of reading, cannot be seen or has a meaning of its own
//! is written as `%` and two hexadecimal digits per byte, and so is a `%` that could be taken for that.

use std::fmt::Write;

use crate::facts::text::is_mark;

/// The name of one component; never empty, `.` or `..`, and without a slash.
pub(super) fn safe(name: &str) -> String {
    if matches!(name, "" | "." | "..") {
        // An empty name has no byte to be written so.
        return if name.is_empty() { "%00".to_owned() } else { name.replace('.', "%2E") };
    }
    let mut safe = String::with_capacity(name.len());
    for (at, c) in name.char_indices() {
        let looks_escaped = c == '%'
            && name.as_bytes().get(at + 1..at + 3).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit));
        if looks_escaped || c == '/' || is_mark(c) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                write!(safe, "%{byte:02X}").expect("a String takes everything");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_stay_apart_and_lead_nowhere() {
        let names = [
            "a",
            "..",
            ".",
            "",
            "%2E%2E",
            "a/b",
            "a%2Fb",
            "a\u{202E}b",
            "a\0",
            "%00",
            "100%",
            "Grüße",
            "...",
        ];
        let safe: HashSet<String> = names.iter().map(|name| safe(name)).collect();
        assert_eq!(safe.len(), names.len());
        assert!(safe.iter().all(|name| crate::durable::is_single_component(name)));
        assert!(safe.contains("100%") && safe.contains("Grüße"));
    }
}
