//! Text that came from a phone, made harmless for where it goes.

/// The longest text from a phone that is shown, in characters; the rest becomes an ellipsis.
pub const SHOWN_CHARS_MAX: usize = 200;

/// For a terminal, a log or a plain-text file: one line, no control characters (so no escape sequences), no marks that
/// turn the direction of reading or hide, and bounded in length. Each such character becomes `U+FFFD`.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut shown: String =
        text.chars().take(SHOWN_CHARS_MAX).map(|c| if is_mark(c) { '\u{FFFD}' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// As [`plain`], of any length: for files of data, where nothing may be lost.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if is_mark(c) { '\u{FFFD}' } else { c }).collect()
}

/// For the text of an HTML element or a quoted attribute: [`plain`], with the five special characters as entities.
#[must_use]
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A number for people, in groups of three: `1,203`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// So many of something: `1 photo`, `1,203 photos`.
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// Bytes for people, in decimal units as Apple's own screens have them: `30.7 GB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match UNITS.iter().find(|(size, _)| number >= *size) {
        // Tenths by whole numbers, rounded half up; in wide integers, so that no hostile number overflows.
        Some((size, unit)) => {
            let tenths = (u128::from(number) * 10 + u128::from(*size) / 2) / u128::from(*size);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => counted(number, "byte", "bytes"),
    }
}

/// A control character, or one that changes how its neighbours are read (bidirectional marks, separators of lines,
/// invisible joiners at the edges of words, tags).
#[must_use]
pub fn is_mark(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_bidi_marks_are_defused() {
        assert_eq!(plain("a\u{1b}[31mb\u{202e}c\n"), "a\u{FFFD}[31mb\u{FFFD}c\u{FFFD}");
    }

    #[test]
    fn html_is_text() {
        assert_eq!(html("<b a='x'>&\""), "&lt;b a=&#39;x&#39;&gt;&amp;&quot;");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 7, 999, 1_000, 1_203, 1_234_567].map(grouped).join(" "),
            "0 7 999 1,000 1,203 1,234,567"
        );
        assert_eq!(counted(1, "photo", "photos"), "1 photo");
    }

    #[test]
    fn bytes_have_decimal_units() {
        let shown = [0, 1, 999, 1_000, 30_701_121_536, u64::MAX].map(bytes).join(", ");
        assert_eq!(shown, "0 bytes, 1 byte, 999 bytes, 1.0 kB, 30.7 GB, 18446744.1 TB");
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(plain(&"x".repeat(500)).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
