//! Text that came from a phone, made harmless for where it goes.

/// The longest text from a phone that is shown, in characters; the rest becomes an ellipsis.
pub const SHOWN_CHARS_MAX: usize = 200;

/// For a terminal, a log or a plain-text file: one line, no control characters (so no escape sequences), no marks that
/// turn the direction of reading or hide, and bounded in length. Each such character becomes `U+FFFD`.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut shown: String =
        text.chars().take(SHOWN_CHARS_MAX).map(|c| if is_harmless(c) { c } else { '\u{FFFD}' }).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
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

/// Neither a control character nor one that changes how its neighbours are read (bidirectional marks, separators of
/// lines, invisible joiners at the edges of words, tags).
fn is_harmless(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{061C}' | '\u{E0000}'..='\u{E007F}'))
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
    fn long_names_are_cut() {
        assert_eq!(plain(&"x".repeat(500)).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
