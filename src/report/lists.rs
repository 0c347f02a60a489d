//! Lists of assets as text, CSV and JSON, written as they are made: a list of a whole library is never held as text.
//!
//! CSV is that of RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe in front, as
//! spreadsheets themselves do to say that something is text.

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::text::Style;
use crate::facts::text::{harmless, plain};
use crate::facts::{Asset, AssetKind, Place, Upload};
use crate::visit::lists::{List, Lists, Row};
use crate::visit::words;

/// Columns for the date, the size and the note of a line, with the blanks between them.
const OTHER_COLUMNS: usize = 2 + 10 + 2 + 1 + 10 + 2 + 30;
/// The fewest columns for a name.
const NAME_COLUMNS_MIN: usize = 16;

/// The head of the CSV.
const CSV_HEAD: [&str; 17] = [
    "list",
    "uuid",
    "kind",
    "name",
    "path",
    "place",
    "upload",
    "created",
    "added",
    "deleted",
    "days_left",
    "hidden",
    "favourite",
    "albums",
    "bytes",
    "copied",
    "fingerprint",
];

/// Writes the lists for people. `lists` is `None` when the library could not be read.
///
/// # Errors
/// What `out` gave.
pub fn lists_text(
    lists: Option<&Lists<'_>>,
    wanted: &[List],
    style: &Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(lists) = lists else {
        return writeln!(
            out,
            "\nThe photo library could not be read, so there are no lists.\nidevice-fix photos pull copies everything all the same."
        );
    };
    for list in wanted {
        let Some(rows) = lists.list(*list) else {
            writeln!(out, "\n{}: this phone's library does not tell", list.title())?;
            continue;
        };
        let (count, bytes, unknown) = rows.fold((0, 0_u64, false), |(count, bytes, unknown), row| {
            (count + 1, bytes.saturating_add(row.bytes.unwrap_or(0)), unknown || row.bytes.is_none())
        });
        let sized = match (count, unknown) {
            (0, _) => String::new(),
            (_, false) => format!(", {}", words::bytes(bytes)),
            (_, true) => format!(", {} and more", words::bytes(bytes)),
        };
        writeln!(
            out,
            "\n{}: {}{sized}",
            list.title(),
            words::counted(count, "photo or video", "photos and videos")
        )?;
        for row in lists.list(*list).into_iter().flatten() {
            line(&row, *list, style, out)?;
        }
    }
    Ok(())
}

fn line(row: &Row<'_>, list: List, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let columns = style.width.saturating_sub(OTHER_COLUMNS).max(NAME_COLUMNS_MIN);
    let date =
        row.asset.created.or(row.asset.added).map_or_else(|| "?".to_owned(), |at| day(at, &style.zone));
    let bytes = row.bytes.map_or_else(|| "?".to_owned(), words::bytes);
    let name = cut(&plain(name(row.asset)), columns);
    writeln!(out, "  {date:<10}  {name:<columns$} {bytes:>10}  {}", note(row, list))
}

fn day(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d").to_string()
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}

/// What people know it by.
fn name(asset: &Asset) -> &str {
    let of_path = || asset.path.rsplit('/').next().filter(|name| !name.is_empty());
    asset.original_name.as_deref().or_else(of_path).unwrap_or(&asset.uuid)
}

fn note(row: &Row<'_>, list: List) -> String {
    let place = match row.asset.place {
        Place::HereAndInIcloud => "here and in iCloud",
        Place::OnlyHere => "only here",
        Place::OnlyInIcloud => "only in iCloud",
        Place::InNeither => "in neither",
        Place::Unknown => "place unknown",
    };
    if list == List::RecentlyDeleted {
        return match row.days_left {
            None => "days left unknown".to_owned(),
            Some(0) => "removed for good today".to_owned(),
            Some(1) => "1 day left".to_owned(),
            Some(days) => format!("{days} days left"),
        };
    }
    match row.copied {
        Some(false) => format!("{place}, not copied"),
        Some(true) => format!("{place}, copied"),
        None => place.to_owned(),
    }
}

/// Writes the lists as CSV; without any wanted, all of the owner's assets.
///
/// # Errors
/// What `out` gave.
pub fn lists_csv(lists: Option<&Lists<'_>>, wanted: &[List], out: &mut dyn Write) -> io::Result<()> {
    record(out, CSV_HEAD.iter().copied())?;
    let Some(lists) = lists else { return Ok(()) };
    if wanted.is_empty() {
        for row in lists.rows() {
            csv_row(lists, "all", &row, out)?;
        }
    }
    for list in wanted {
        for row in lists.list(*list).into_iter().flatten() {
            csv_row(lists, list.as_str(), &row, out)?;
        }
    }
    Ok(())
}

fn csv_row(lists: &Lists<'_>, list: &str, row: &Row<'_>, out: &mut dyn Write) -> io::Result<()> {
    let item = Item::of(lists, row);
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let albums: Vec<String> = item.albums.iter().map(|title| harmless(title)).collect();
    let original = row.asset.resources.first().and_then(|original| original.fingerprint);
    let cells = [
        list.to_owned(),
        item.uuid.to_owned(),
        kebab(&item.kind),
        item.name.to_owned(),
        item.path.to_owned(),
        kebab(&item.place),
        kebab(&item.upload),
        time(item.created),
        time(item.added),
        time(item.deleted_at),
        item.days_left.map(|days| days.to_string()).unwrap_or_default(),
        word(item.hidden),
        word(item.favourite),
        albums.join("; "),
        item.bytes.map(|bytes| bytes.to_string()).unwrap_or_default(),
        item.copied.map(word).unwrap_or_default(),
        original.map(|print| print.to_string()).unwrap_or_default(),
    ];
    record(out, cells.iter().map(String::as_str))
}

/// The word of a value in JSON.
fn kebab(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("a word is plain data");
    value.as_str().unwrap_or_default().to_owned()
}

fn record<'c>(out: &mut dyn Write, cells: impl Iterator<Item = &'c str>) -> io::Result<()> {
    let cells: Vec<String> = cells.map(cell).collect();
    write!(out, "{}\r\n", cells.join(","))
}

fn cell(text: &str) -> String {
    let mut text = harmless(text);
    // Also behind blanks, which some spreadsheets skip.
    if text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) {
        text.insert(0, '\'');
    }
    let special = |c: char| matches!(c, '"' | ',' | ';' | '\r' | '\n');
    if text.contains(special) || text.starts_with(' ') || text.ends_with(' ') {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

/// The lists as JSON: an object with a list of assets for each; `null` for what the library does not tell.
#[derive(Debug)]
pub struct ListsJson<'a> {
    /// The lists; `None` when the library could not be read.
    pub lists: Option<&'a Lists<'a>>,
    /// Which.
    pub wanted: &'a [List],
}

impl Serialize for ListsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.wanted.iter().map(|list| {
            let known = self.lists.filter(|lists| lists.list(*list).is_some());
            (list.as_str(), known.map(|lists| OneList(lists, *list)))
        }))
    }
}

struct OneList<'a>(&'a Lists<'a>, List);

impl Serialize for OneList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.list(self.1).into_iter().flatten().map(|row| Item::of(self.0, &row)))
    }
}

/// An asset as it stands in the JSON.
#[derive(Serialize)]
struct Item<'a> {
    uuid: &'a str,
    kind: AssetKind,
    name: &'a str,
    path: &'a str,
    place: Place,
    upload: Upload,
    created: Option<Timestamp>,
    added: Option<Timestamp>,
    deleted: bool,
    deleted_at: Option<Timestamp>,
    days_left: Option<i64>,
    hidden: bool,
    favourite: bool,
    albums: Vec<&'a str>,
    bytes: Option<u64>,
    copied: Option<bool>,
}

impl<'a> Item<'a> {
    fn of(lists: &'a Lists<'_>, row: &Row<'a>) -> Self {
        let asset = row.asset;
        Self {
            uuid: &asset.uuid,
            kind: asset.kind,
            name: name(asset),
            path: &asset.path,
            place: asset.place,
            upload: asset.upload,
            created: asset.created,
            added: asset.added,
            deleted: asset.trashed.is_some(),
            deleted_at: asset.trashed.flatten(),
            days_left: row.days_left,
            hidden: asset.hidden,
            favourite: asset.favourite,
            albums: lists.albums(asset).collect(),
            bytes: row.bytes,
            copied: row.copied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_text_and_never_formulas() {
        for (text, wanted) in [
            ("IMG_0001.HEIC", "IMG_0001.HEIC"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=HYPERLINK(\"http://x\")", "\"'=HYPERLINK(\"\"http://x\"\")\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@x", "'@x"),
            (" =1", "' =1"),
            (" x", "\" x\""),
            ("\t=1", "\u{FFFD}=1"),
            ("a\r\nb\u{1b}[2J", "a\u{FFFD}\u{FFFD}b\u{FFFD}[2J"),
            ("", ""),
        ] {
            assert_eq!(cell(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn names_are_cut_to_their_columns() {
        assert_eq!(cut("short", 16), "short");
        assert_eq!(cut(&"x".repeat(40), 16).chars().count(), 16);
    }
}
