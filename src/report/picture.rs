//! The report's pictures as inline SVG: plain shapes, colours from the page's style sheet, and a name for those who do
//! not see them. Everything that a picture says stands as text beside it too, so the name does not say it once more.

use std::fmt::Write as _;

use super::Whereabouts;
use super::figures;
use crate::facts::text::html;
use crate::visit::words;

/// Width of the picture's own coordinates; the page scales it.
const WIDTH: f64 = 720.0;
/// Left column with the names of the rows.
const NAMES: f64 = 128.0;
/// Height of one row and of the space between rows.
const ROW: f64 = 34.0;
const ROW_GAP: f64 = 8.0;
/// Height of the column heads.
const HEAD: f64 = 62.0;
/// No column is narrower, so that its head can be read.
const COLUMN_MIN: f64 = 104.0;
const COLUMN_GAP: f64 = 8.0;

/// Where the originals are: a column for each group of photos that share their places, a row for each place. A
/// column's filled cells are the places that hold these photos; two filled cells mean safe.
pub(super) fn originals(places: &[&Whereabouts]) -> String {
    let total: u64 = places.iter().map(|row| row.assets).sum();
    let widths = column_widths(places, total);
    let height = HEAD + 4.0 * (ROW + ROW_GAP) + 26.0;
    let mut svg = format!(
        "<svg class=\"originals\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"A picture of the table that \
         follows\"><g aria-hidden=\"true\">"
    );
    for (at, name) in ["This phone", "iCloud", "Copy on computer", "Verified backup"].iter().enumerate() {
        let y = row_top(at) + ROW / 2.0 + 4.5;
        let _ = write!(svg, "<text class=\"name\" x=\"0\" y=\"{y:.1}\">{name}</text>");
    }
    let mut x = NAMES;
    for (row, width) in places.iter().zip(widths) {
        column(&mut svg, row, x, width);
        x += width + COLUMN_GAP;
    }
    svg.push_str("</g></svg>");
    svg
}

fn row_top(row: usize) -> f64 {
    HEAD + f64::from(u32::try_from(row).expect("four rows")) * (ROW + ROW_GAP)
}

#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn column_widths(places: &[&Whereabouts], total: u64) -> Vec<f64> {
    let columns = places.len() as f64;
    let room = WIDTH - NAMES - COLUMN_GAP * (columns - 1.0);
    let spare = (room - COLUMN_MIN * columns).max(0.0);
    places
        .iter()
        .map(|row| COLUMN_MIN.min(room / columns) + spare * row.assets as f64 / total as f64)
        .collect()
}

fn column(svg: &mut String, row: &Whereabouts, x: f64, width: f64) {
    let _ = write!(svg, "<text class=\"big\" x=\"{x:.1}\" y=\"20\">{}</text>", words::count(row.assets));
    let (first, second) = match row.place.as_str() {
        "here-and-in-icloud" => ("on the phone", "and in iCloud"),
        "only-here" => ("only on", "the phone"),
        "only-in-icloud" => ("only", "in iCloud"),
        "in-neither" => ("in neither,", "says the library"),
        _ => ("place", "unknown"),
    };
    let _ = write!(
        svg,
        "<text class=\"small\" x=\"{x:.1}\" y=\"37\">{first}</text><text class=\"small\" x=\"{x:.1}\" y=\"51\">{second}</text>"
    );
    let whole = |there: bool| if there { row.assets } else { 0 };
    let cells = [
        ("phone", whole(figures::on_phone(&row.place))),
        ("cloud", whole(figures::in_icloud(&row.place))),
        ("copy", row.copied.min(row.assets)),
        ("vault", row.backed_up.min(row.assets)),
    ];
    for (at, (class, held)) in cells.into_iter().enumerate() {
        cell(svg, class, held, row.assets, (x, row_top(at)), width);
    }
    let full = cells.iter().filter(|(_, held)| *held == row.assets).count();
    let (class, verdict) = match full {
        0 => ("bad", "no whole place"),
        1 => ("bad", "one place"),
        2 => ("good", "two places"),
        3 => ("good", "three places"),
        _ => ("good", "four places"),
    };
    let y = row_top(4) + 14.0;
    let _ = write!(svg, "<text class=\"sum {class}\" x=\"{x:.1}\" y=\"{y:.1}\">{verdict}</text>");
}

#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn cell(svg: &mut String, class: &str, held: u64, of: u64, (x, y): (f64, f64), width: f64) {
    let _ = write!(
        svg,
        "<rect class=\"empty\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{ROW}\" rx=\"6\"/>"
    );
    if held == 0 {
        return;
    }
    // Something is never drawn as nothing, and nearly everything never as everything.
    let part = if held >= of { 1.0 } else { (held as f64 / of as f64).clamp(0.06, 0.94) };
    let filled = width * part;
    let _ = write!(
        svg,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{filled:.1}\" height=\"{ROW}\" rx=\"6\"/>"
    );
    if held < of {
        let (tx, ty) = (x + width - 6.0, y + ROW / 2.0 + 4.5);
        let _ = write!(
            svg,
            "<text class=\"part\" x=\"{tx:.1}\" y=\"{ty:.1}\">{} of {}</text>",
            words::count(held),
            words::count(of)
        );
    }
}

/// One part of a bar.
pub(super) struct Part {
    /// The class that colours it.
    pub(super) class: &'static str,
    /// How much.
    pub(super) amount: u64,
}

/// A bar of parts, filled from the left; the rest of `whole` stays empty. `name` says what it is a picture of.
#[expect(clippy::cast_precision_loss, reason = "pixels")]
pub(super) fn bar(name: &str, parts: &[Part], whole: u64) -> String {
    let mut svg = format!(
        "<svg class=\"bar\" viewBox=\"0 0 300 14\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\
         <rect class=\"track\" width=\"300\" height=\"14\"/>",
        html(name)
    );
    let whole = whole.max(parts.iter().map(|part| part.amount).fold(0, u64::saturating_add)).max(1);
    let mut x = 0.0;
    for part in parts.iter().filter(|part| part.amount > 0) {
        let width = (300.0 * part.amount as f64 / whole as f64).max(2.0).min(300.0 - x);
        let _ =
            write!(svg, "<rect class=\"{}\" x=\"{x:.1}\" width=\"{width:.1}\" height=\"14\"/>", part.class);
        x += width;
    }
    svg.push_str("</svg>");
    svg
}

/// The sign of a verdict: a tick, a mark, a question.
pub(super) fn sign(light: figures::Light) -> &'static str {
    match light {
        figures::Light::Safe => {
            "<svg class=\"sign\" viewBox=\"0 0 48 48\" aria-hidden=\"true\"><circle cx=\"24\" cy=\"24\" r=\"22\"/>\
             <path d=\"M14 25l7 7 14-15\"/></svg>"
        }
        figures::Light::NotSafe => {
            "<svg class=\"sign\" viewBox=\"0 0 48 48\" aria-hidden=\"true\"><circle cx=\"24\" cy=\"24\" r=\"22\"/>\
             <path d=\"M24 13v14M24 34v.5\"/></svg>"
        }
        figures::Light::CannotTell => {
            "<svg class=\"sign\" viewBox=\"0 0 48 48\" aria-hidden=\"true\"><circle cx=\"24\" cy=\"24\" r=\"22\"/>\
             <path d=\"M18.5 19a5.5 5.5 0 1 1 8.5 4.6c-2 1.300-3 2.400-3 4.400M24 34v.5\"/></svg>"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(place: &str, assets: u64, copied: u64) -> Whereabouts {
        Whereabouts { place: place.to_owned(), assets, copied, backed_up: 0 }
    }

    #[test]
    fn one_photo_only_here_and_not_copied_is_seen_as_one_place() {
        let row = row("only-here", 1, 0);
        let svg = originals(&[&row]);
        assert!(svg.contains("one place") && svg.contains("class=\"phone\""), "{svg}");
        assert!(!svg.contains("class=\"cloud\"") && !svg.contains("class=\"copy\""), "{svg}");
    }

    #[test]
    fn a_copy_that_lacks_one_of_many_is_not_drawn_whole() {
        let row = row("only-here", 100_000, 99_999);
        let svg = originals(&[&row]);
        assert!(svg.contains("99,999 of 100,000") && svg.contains("one place"), "{svg}");
    }

    #[test]
    fn columns_fit_the_picture() {
        let rows: Vec<Whereabouts> =
            ["here-and-in-icloud", "only-here", "only-in-icloud", "in-neither", "unknown"]
                .iter()
                .zip([1_000_000, 1, 1, 1, 1])
                .map(|(place, n)| row(place, n, 0))
                .collect();
        let rows: Vec<&Whereabouts> = rows.iter().collect();
        let widths = column_widths(&rows, 1_000_004);
        let all: f64 = widths.iter().sum::<f64>() + COLUMN_GAP * 4.0;
        assert!(all <= WIDTH - NAMES + 0.5, "{all}");
    }

    #[test]
    fn a_bar_never_leaves_its_track() {
        let bar = bar("x", &[Part { class: "a", amount: u64::MAX }, Part { class: "b", amount: 7 }], 3);
        assert!(!bar.contains("NaN") && !bar.contains("inf"), "{bar}");
    }
}
