//! The page itself. Every text that came from a phone goes through [`crate::facts::text::html`], every path through
//! [`url`]; the page's own policy forbids scripts and everything that is not beside it.
//!
//! Made for 20,000 items: the browser lays out and paints only the rows that are near the screen
//! (`content-visibility`) and loads a picture when it comes near. The filter is a set of radio buttons and a style
//! sheet. What a month holds of each sort stands in its style, so that its place is kept free before it is laid out.

use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::sheet::{Kind, Sheet, Standing, Tile};
use crate::facts::text::{counted, grouped, html as escaped};

const STYLE: &str = include_str!("style.css");

/// Tiles that are laid out together: whole rows for every number of columns that the style sheet knows.
const TOGETHER: usize = 120;

/// What can be linked of a tile: paths below the page's folder.
pub(super) struct Links {
    /// The original in the copy.
    pub(super) file: Option<String>,
    /// The small picture.
    pub(super) thumbnail: Option<String>,
}

/// A way to look at a part: all, one standing, hidden, or not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    All,
    Standing(Standing),
    Hidden,
    NotCopied,
}

impl View {
    fn all() -> impl Iterator<Item = Self> {
        [Self::All]
            .into_iter()
            .chain(Standing::ALL.map(Self::Standing))
            .chain([Self::Hidden, Self::NotCopied])
    }

    fn id(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Standing(standing) => standing.id(),
            Self::Hidden => "hidden",
            Self::NotCopied => "not-copied",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Standing(standing) => standing.words(),
            Self::Hidden => "Hidden album",
            Self::NotCopied => "Not in this copy",
        }
    }

    fn shows(self, tile: &Tile, links: &Links) -> bool {
        match self {
            Self::All => true,
            Self::Standing(standing) => tile.standing == standing,
            Self::Hidden => tile.hidden,
            Self::NotCopied => links.file.is_none(),
        }
    }
}

/// How many of each view there are, in the order of [`View::all`].
#[derive(Debug, Clone, Default)]
struct Numbers([u64; 12]);

impl Numbers {
    fn add(&mut self, tile: &Tile, links: &Links) {
        for (number, view) in self.0.iter_mut().zip(View::all()) {
            *number += u64::from(view.shows(tile, links));
        }
    }

    /// The views of which there is something.
    fn views(&self) -> impl Iterator<Item = (View, u64)> + '_ {
        View::all().zip(self.0).filter(|(_, number)| *number > 0)
    }
}

/// A month's tiles as they lie in the sheet.
struct Month<'a> {
    first: Option<Date>,
    tiles: Vec<(&'a Tile, Links)>,
    numbers: Numbers,
}

impl Month<'_> {
    fn id(&self) -> String {
        self.first.map_or_else(|| "m-none".to_owned(), |first| first.strftime("m%Y-%m").to_string())
    }

    fn words(&self) -> String {
        self.first.map_or_else(|| "Without a date".to_owned(), |first| first.strftime("%B %Y").to_string())
    }
}

/// Writes the page.
pub(super) fn write(
    out: &mut dyn Write,
    sheet: &Sheet,
    zone: &TimeZone,
    links: &mut dyn FnMut(&Tile) -> Links,
) -> io::Result<()> {
    let months = months(sheet, zone, links);
    let mut total = Numbers::default();
    for month in &months {
        for (sum, part) in total.0.iter_mut().zip(month.numbers.0) {
            *sum += part;
        }
    }
    out.write_all(head(sheet, &total, zone).as_bytes())?;
    out.write_all(jumps(&months).as_bytes())?;
    out.write_all(b"</div><main id=\"months\" tabindex=\"-1\">\n")?;
    for month in &months {
        out.write_all(section(month, zone).as_bytes())?;
    }
    if months.is_empty() {
        out.write_all(b"<p class=\"empty\">Nothing has been copied yet.</p>")?;
    }
    out.write_all(b"</main></body></html>\n")
}

fn months<'a>(sheet: &'a Sheet, zone: &TimeZone, links: &mut dyn FnMut(&Tile) -> Links) -> Vec<Month<'a>> {
    let mut months: Vec<Month<'a>> = Vec::new();
    for tile in &sheet.tiles {
        let first = tile.taken.map(|taken| taken.to_zoned(zone.clone()).date().first_of_month());
        if months.last().is_none_or(|month| month.first != first) {
            months.push(Month { first, tiles: Vec::new(), numbers: Numbers::default() });
        }
        let month = months.last_mut().expect("one was just pushed");
        let links = links(tile);
        month.numbers.add(tile, &links);
        month.tiles.push((tile, links));
    }
    months
}

/// Appends formatted markup; writing to a `String` cannot fail.
macro_rules! put {
    ($page:expr, $($arg:tt)*) => { let _ = write!($page, $($arg)*); };
}

fn head(sheet: &Sheet, total: &Numbers, zone: &TimeZone) -> String {
    let title = sheet
        .device
        .as_deref()
        .map_or_else(|| "Photos".to_owned(), |name| format!("Photos of {}", escaped(name)));
    let mut page = String::with_capacity(16 * 1024);
    put!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' file:; \
         style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"robots\" \
         content=\"noindex\"><meta name=\"referrer\" content=\"no-referrer\"><title>{title}</title><style>{STYLE}{}\
         </style></head><body><a class=\"skip\" href=\"#months\">To the photos</a><header><h1>{title}</h1><p>{}",
        filters(total),
        counted(total.0[0], "photo or video", "photos and videos")
    );
    match sheet.read_at {
        Some(at) => {
            let at = at.to_zoned(zone.clone()).strftime("%-d %B %Y, %H:%M").to_string();
            put!(page, "; where each one is, as the phone said on {at}.</p>");
        }
        None => page.push_str(
            ". Where each one is was not read from the phone: this is what the copy holds, also what the Hidden album \
             has on the phone.</p>",
        ),
    }
    let left_out = sheet.left_out.len() as u64;
    if left_out > 0 {
        put!(
            page,
            "<p>{} of the Hidden album {} not shown; <code>photos pull --gallery --hidden</code> shows them.</p>",
            counted(left_out, "photo or video", "photos and videos"),
            if left_out == 1 { "is" } else { "are" }
        );
    }
    page.push_str("</header>");
    // Before the bar and not in it: a rule can look from a button to what stands behind it, and no further.
    for (view, _) in total.views() {
        let checked = if view == View::All { " checked" } else { "" };
        put!(page, "<input type=\"radio\" name=\"show\" id=\"f-{}\"{checked}>", view.id());
    }
    page.push_str("<div class=\"bar\"><div class=\"views\" role=\"group\" aria-label=\"Show\">");
    for (view, number) in total.views() {
        let (id, words) = (view.id(), view.words());
        put!(page, "<label for=\"f-{id}\">{words} <small>{}</small></label>", grouped(number));
    }
    page.push_str("</div>");
    page
}

/// The rules that make each radio button a filter.
fn filters(total: &Numbers) -> String {
    let mut style = String::new();
    for (view, _) in total.views() {
        let id = view.id();
        put!(
            style,
            "#f-{id}:checked~.bar label[for=f-{id}]{{border-color:var(--ink);background:var(--ink);color:var(--page)}}\
             #f-{id}:checked~.bar label[for=f-{id}] small{{color:inherit}}\
             #f-{id}:focus-visible~.bar label[for=f-{id}]{{outline:3px solid var(--focus);outline-offset:1px}}\n"
        );
        if view != View::All {
            put!(
                style,
                "#f-{id}:checked~main :is(li,section):not(.{id}){{display:none}}\
                 #f-{id}:checked~main section{{--n:var(--{id})}}\n"
            );
        }
    }
    style
}

fn jumps(months: &[Month<'_>]) -> String {
    let mut page = String::from("<details><summary>Go to a month</summary><nav aria-label=\"Months\">");
    let mut year = None;
    for month in months {
        let this = month.first.map(jiff::civil::Date::year);
        if year != Some(this) {
            if year.is_some() {
                page.push_str("</p>");
            }
            year = Some(this);
            put!(page, "<p><b>{}</b> ", this.map_or_else(|| "Undated".to_owned(), |year| year.to_string()));
        }
        let words = month.first.map_or_else(|| "all".to_owned(), |first| first.strftime("%b").to_string());
        put!(page, "<a href=\"#{}\">{words}</a> ", month.id());
    }
    if year.is_some() {
        page.push_str("</p>");
    }
    page.push_str("</nav></details>");
    page
}

fn section(month: &Month<'_>, zone: &TimeZone) -> String {
    let mut page = String::with_capacity(month.tiles.len() * 512);
    page.push_str("<section class=\"");
    let views: Vec<&str> =
        month.numbers.views().filter(|(view, _)| *view != View::All).map(|(view, _)| view.id()).collect();
    page.push_str(&views.join(" "));
    put!(page, "\" id=\"{0}\" aria-labelledby=\"h-{0}\" style=\"", month.id());
    for (view, number) in month.numbers.views() {
        put!(page, "--{}:{number};", view.id());
    }
    put!(page, "\"><h2 id=\"h-{}\">{}<span class=\"n\"></span></h2>\n", month.id(), month.words());
    for rows in month.tiles.chunks(TOGETHER) {
        put!(page, "<ul style=\"--k:{}\">\n", rows.len());
        for (tile, links) in rows {
            one(&mut page, tile, links, zone);
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</section>\n");
    page
}

fn one(page: &mut String, tile: &Tile, links: &Links, zone: &TimeZone) {
    put!(page, "<li class=\"{}", tile.standing.id());
    if tile.hidden {
        page.push_str(" hidden");
    }
    if links.file.is_none() {
        page.push_str(" not-copied");
    }
    page.push_str("\">");
    match &links.file {
        Some(file) => {
            put!(page, "<a href=\"{}\">", url(file));
        }
        None => page.push_str("<div>"),
    }
    picture(page, tile, links, zone);
    let kind = match tile.kind {
        Kind::Photo => "",
        Kind::LivePhoto => "<i>Live</i>",
        Kind::Video => "<i>Video</i>",
    };
    put!(page, "{kind}<b>{}", tile.standing.words());
    if tile.hidden {
        page.push_str(", hidden");
    }
    if links.file.is_none() {
        page.push_str(", not copied");
    }
    page.push_str(if links.file.is_some() { "</b></a></li>\n" } else { "</b></div></li>\n" });
}

fn picture(page: &mut String, tile: &Tile, links: &Links, zone: &TimeZone) {
    let name = escaped(&tile.name);
    let date = tile.taken.map_or_else(String::new, |taken| {
        format!(", {}", taken.to_zoned(zone.clone()).strftime("%-d %B %Y"))
    });
    match &links.thumbnail {
        Some(thumbnail) => {
            put!(
                page,
                "<img loading=\"lazy\" decoding=\"async\" src=\"{}\" alt=\"{name}{date}\">",
                url(thumbnail)
            );
        }
        None => {
            put!(page, "<span class=\"t\">{name}<small>{}</small></span>", date.trim_start_matches(", "));
        }
    }
}

/// A relative address: every byte that means something in one is written as `%` and two digits.
fn url(path: &str) -> String {
    let mut url = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            url.push(char::from(byte));
        } else {
            put!(url, "%{byte:02X}");
        }
    }
    url
}
