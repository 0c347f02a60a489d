//! A walk over an XML property list that counts its elements, without recursion and without building anything.
//!
//! It is stricter than XML: wherever two readers could disagree on where a piece of markup ends (character data
//! sections, internal document types, hyphens in comments, unbalanced quotes), the input is refused. No property list
//! that Apple's software writes has any of these, and what is counted here is then what the parser meets.

use super::{Error, Limits};

/// `<plist>` around the value, and the element that holds a leaf.
const LEVELS_BESIDE_CONTAINERS: usize = 2;

pub(super) fn check(bytes: &[u8], limits: &Limits) -> Result<(), Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::malformed("neither binary nor UTF-8"))?;
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !rest.trim_ascii_start().starts_with('<') {
        return Err(Error::malformed("does not begin with markup"));
    }
    let (mut depth, mut nodes) = (0_usize, 0_usize);
    while let Some(at) = rest.find('<') {
        let (markup, after) = markup(&rest[at..])?;
        match markup {
            Markup::Aside => {}
            Markup::Start { empty, date } => {
                if date && !empty && !is_date_in_utc(after) {
                    return Err(Error::malformed("a date that is not in UTC"));
                }
                nodes += 1;
                if nodes > limits.nodes {
                    return Err(Error::TooMany(limits.nodes));
                }
                if depth >= limits.depth + LEVELS_BESIDE_CONTAINERS {
                    return Err(Error::TooDeep(limits.depth));
                }
                depth += usize::from(!empty);
            }
            Markup::End => {
                depth =
                    depth.checked_sub(1).ok_or_else(|| Error::malformed("an end without its beginning"))?;
            }
        }
        rest = after;
    }
    if depth == 0 { Ok(()) } else { Err(Error::malformed("it ends inside an element")) }
}

enum Markup {
    /// A declaration, document type or comment.
    Aside,
    Start {
        empty: bool,
        date: bool,
    },
    End,
}

/// The piece of markup at the start of `text`, which begins with `<`, and what follows it.
fn markup(text: &str) -> Result<(Markup, &str), Error> {
    if let Some(comment) = text.strip_prefix("<!--") {
        return Ok((Markup::Aside, after_comment(comment)?));
    }
    let end = text.find('>').ok_or_else(|| Error::malformed("it ends inside a tag"))?;
    let (inside, after) = (&text[1..end], &text[end + 1..]);
    if inside.contains('<') {
        return Err(Error::malformed("'<' inside a tag"));
    }
    if let Some(doctype) = inside.strip_prefix('!') {
        let plain = doctype.starts_with("DOCTYPE") && !doctype.contains('[') && quotes_balance(doctype);
        return if plain { Ok((Markup::Aside, after)) } else { Err(Error::malformed("markup not allowed")) };
    }
    if let Some(declaration) = inside.strip_prefix('?') {
        let whole = declaration.len() > 1 && declaration.ends_with('?');
        return if whole {
            Ok((Markup::Aside, after))
        } else {
            Err(Error::malformed("a broken declaration"))
        };
    }
    if inside.starts_with('/') {
        return Ok((Markup::End, after));
    }
    if !quotes_balance(inside) {
        return Err(Error::malformed("'>' inside quotes"));
    }
    let name = inside.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
    let date = name.rsplit(':').next() == Some("date");
    Ok((Markup::Start { empty: inside.ends_with('/'), date }, after))
}

/// Whether the date that `text` begins with is one as Apple's software writes it, and nothing else. The parser brings
/// one with another offset to UTC, and ends the process where that leaves the calendar.
fn is_date_in_utc(text: &str) -> bool {
    let Some((date, _)) = text.split_once("</") else { return false };
    date.ends_with(['Z', 'z']) && !date.contains(['<', '&'])
}

fn after_comment(comment: &str) -> Result<&str, Error> {
    let odd = || Error::malformed("a broken comment");
    if comment.starts_with('>') || comment.starts_with("->") {
        return Err(odd());
    }
    let end = comment.find("--").ok_or_else(odd)?;
    comment[end + 2..].strip_prefix('>').ok_or_else(odd)
}

/// Whether the tag ends outside of quotes.
fn quotes_balance(tag: &str) -> bool {
    let mut open = None;
    for byte in tag.bytes().filter(|b| matches!(b, b'"' | b'\'')) {
        match open {
            None => open = Some(byte),
            Some(quote) if quote == byte => open = None,
            Some(_) => {}
        }
    }
    open.is_none()
}
