//! The report for a terminal: at most so many columns, with or without colour, and the same words either way.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::figures::{self, Light};
use super::{Report, Rung, fact_words};
use crate::facts::text::plain;
use crate::visit::climb::Change;
use crate::visit::words;

/// How many open rungs are shown with all their steps; the others' steps are in the HTML.
const RUNGS_WITH_STEPS: usize = 3;
/// How many further findings, gaps and skipped items are listed before the rest is counted.
const LISTED_MAX: usize = 12;

/// How to write.
#[derive(Debug, Clone)]
pub struct Style {
    /// With ANSI colours.
    pub colour: bool,
    /// Columns.
    pub width: usize,
    /// The reader's time zone.
    pub zone: TimeZone,
}

impl Default for Style {
    fn default() -> Self {
        Self { colour: false, width: 80, zone: TimeZone::UTC }
    }
}

/// The whole report.
#[must_use]
pub fn text(report: &Report, style: &Style) -> String {
    let mut page = Page::new(style);
    head(&mut page, report);
    why(&mut page, report);
    whereabouts(&mut page, report);
    done(&mut page, report);
    climbed(&mut page, report);
    risky(&mut page, report);
    ladder(&mut page, report);
    gaps(&mut page, report);
    page.out
}

/// The answer and what to do, without what was copied: for `diagnose`.
#[must_use]
pub fn diagnosis(report: &Report, style: &Style) -> String {
    let mut page = Page::new(style);
    head(&mut page, report);
    why(&mut page, report);
    whereabouts(&mut page, report);
    risky(&mut page, report);
    ladder(&mut page, report);
    gaps(&mut page, report);
    page.out
}

/// The answer alone: verdict, why, and where the originals are; shown before anything is copied.
#[must_use]
pub fn answer(report: &Report, style: &Style) -> String {
    let mut page = Page::new(style);
    head(&mut page, report);
    if let Some(finding) = figures::answer(report) {
        page.heading("Why");
        page.line(2, Ink::Bold, &plain(&finding.title));
        let rest = report.diagnosis.findings.iter().skip(1).filter(|finding| finding.severity != "notice");
        for finding in rest.take(LISTED_MAX) {
            page.item(2, Ink::None, "- ", &plain(&finding.title));
        }
    }
    whereabouts(&mut page, report);
    page.out
}

/// Where the originals are, how far their upload is, and what is in the albums that hide photos.
#[must_use]
pub fn photos(report: &Report, style: &Style) -> String {
    const COUNTS: [(&str, &str); 8] = [
        ("assets", "photos and videos"),
        ("uploaded", "uploaded to iCloud"),
        ("waiting", "waiting for upload"),
        ("failed", "given up by the phone"),
        ("never_queued", "never queued for upload"),
        ("recently_deleted", "in Recently Deleted"),
        ("hidden", "in the Hidden album"),
        ("shared_album_only", "only in shared albums"),
    ];
    let mut page = Page::new(style);
    head(&mut page, report);
    whereabouts(&mut page, report);
    page.heading("The library");
    for (name, what) in COUNTS {
        let n = figures::number(report, &format!("library.{name}"));
        page.line(2, Ink::None, &format!("{what:<30}{:>10}", n.map_or_else(|| "?".to_owned(), words::count)));
    }
    gaps(&mut page, report);
    page.out
}

/// A fact that changed, in a line.
#[must_use]
pub fn change(change: &Change, zone: &TimeZone) -> String {
    figures::change(change, zone)
}

/// How much of a rung is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// What it is, what it risks, and what for.
    Head,
    /// Its steps too.
    Steps,
    /// And the reasons and what it costs.
    Why,
}

/// One rung, for who is about to climb it.
#[must_use]
pub fn rung(report: &Report, rung: &Rung, detail: Detail, style: &Style) -> String {
    let mut page = Page::new(style);
    page.gap();
    let head = format!("Rung {} of {}  ", rung.rung, report.diagnosis.ladder.len());
    page.item(0, Ink::Bold, &head, &plain(&rung.title));
    let risk = match rung.risk.as_str() {
        "none" => "risks nothing",
        "disruptive" => "costs settings or time, no data",
        "data" => "CAN LOSE PHOTOS",
        _ => "DESTROYS WHAT IS THERE",
    };
    let risky = !matches!(rung.risk.as_str(), "none" | "disruptive");
    page.line(2, if risky { Ink::Light(Light::NotSafe) } else { Ink::Dim }, risk);
    for id in &rung.because {
        let finding = report.diagnosis.findings.iter().find(|finding| finding.id == *id);
        if let Some(finding) = finding {
            page.item(2, Ink::None, "For    ", &plain(&finding.title));
        }
    }
    if detail == Detail::Head {
        return page.out;
    }
    for (at, step) in rung.steps.iter().enumerate() {
        page.item(2, Ink::None, &format!("{:>2}. ", at + 1), &plain(step));
    }
    if detail == Detail::Why {
        for why in &rung.why {
            page.item(2, Ink::Dim, "Why    ", &plain(why));
        }
    }
    if !rung.helped.is_empty() {
        page.item(2, Ink::Dim, "Helped when  ", &plain(&rung.helped));
    }
    page.out
}

fn head(page: &mut Page<'_>, report: &Report) {
    if let Some(line) = figures::device_line(report) {
        page.line(0, Ink::Bold, &line);
        page.line(0, Ink::Dim, &format!("read on {}", words::moment(report.ended_at, &page.style.zone)));
        page.gap();
    }
    let light = Light::of(&report.diagnosis.verdict.photos);
    page.line(0, Ink::Light(light), light.words());
    page.line(0, Ink::Bold, &figures::headline(report));
    if light == Light::Safe {
        for row in figures::places(report).iter().filter(|row| row.place == "only-in-icloud") {
            let n = words::counted(row.assets, "original is", "originals are");
            page.line(0, Ink::None, &format!("{n} only in iCloud and in our copy, not on the phone."));
        }
    }
}

fn why(page: &mut Page<'_>, report: &Report) {
    let findings = &report.diagnosis.findings;
    if findings.is_empty() {
        return;
    }
    let answer = figures::answer(report);
    page.heading(if answer.is_some() { "Why" } else { "Worth knowing" });
    let mut rest = findings.as_slice();
    if let Some(finding) = answer {
        page.line(2, Ink::Bold, &plain(&finding.title));
        for evidence in finding.evidence.iter().take(3) {
            page.line(4, Ink::Dim, &figures::evidence(evidence));
        }
        rest = &findings[1..];
    }
    for finding in rest.iter().take(LISTED_MAX) {
        let ink = if finding.severity == "notice" { Ink::Dim } else { Ink::None };
        page.item(2, ink, "- ", &plain(&finding.title));
    }
    page.and_more(2, rest.len());
}

fn whereabouts(page: &mut Page<'_>, report: &Report) {
    let places = figures::places(report);
    if places.is_empty() {
        return;
    }
    page.heading("Where the originals are");
    page.line(
        2,
        Ink::Dim,
        &format!("{:<30}{:>10}{:>15}{:>15}", "", "photos", "in our copy", "in the backup"),
    );
    for row in places {
        let kept = |n: u64| if figures::on_phone(&row.place) || n > 0 { words::count(n) } else { "-".into() };
        page.line(
            2,
            if row.place == "here-and-in-icloud" { Ink::None } else { Ink::Bold },
            &format!(
                "{:<30}{:>10}{:>15}{:>15}",
                figures::place_words(&row.place),
                words::count(row.assets),
                kept(row.copied),
                kept(row.backed_up)
            ),
        );
    }
}

fn done(page: &mut Page<'_>, report: &Report) {
    let Some(protection) = &report.protection else { return };
    page.heading("What was done");
    for (name, sentence) in
        [("Photos  ", figures::photos_done(report)), ("Backup  ", figures::backup_done(report))]
    {
        if let Some(sentence) = sentence {
            page.item(2, Ink::None, name, &sentence);
        }
    }
    page.item(2, Ink::None, "Kept in ", &plain(&protection.folder));
    for made in &protection.layouts {
        page.item(2, Ink::None, "Also in ", &figures::laid_out_sentence(made));
    }
    if !protection.skipped.is_empty() {
        page.line(2, Ink::Bold, "Skipped");
        for skipped in protection.skipped.iter().take(LISTED_MAX) {
            page.item(4, Ink::None, "- ", &format!("{}: {}", plain(&skipped.item), plain(&skipped.reason)));
        }
        page.and_more(4, protection.skipped.len());
    }
}

fn climbed(page: &mut Page<'_>, report: &Report) {
    if report.climbed.is_empty() {
        return;
    }
    page.heading("Rungs climbed");
    for rung in &report.climbed {
        page.item(2, Ink::None, "- ", &format!("{}: {}", plain(&rung.title), plain(&rung.sentence)));
        for change in &rung.changes {
            page.item(4, Ink::Dim, "", &figures::change(change, &page.style.zone));
        }
    }
}

fn risky(page: &mut Page<'_>, report: &Report) {
    page.heading("Before anything that can lose data");
    for (of, title, light) in figures::risky(&report.diagnosis.verdict) {
        page.columns(2, title, 38, Ink::Light(light), light.words());
        let (data, after) = figures::reasons(report, of);
        for reason in data {
            page.item(4, Ink::Dim, "- ", &plain(&reason.text));
        }
        for reason in after {
            page.item(4, Ink::Dim, "- after the erase: ", &plain(&reason.text));
        }
        for told in figures::told(report, of) {
            page.item(4, Ink::None, "! ", &plain(&told.text));
        }
    }
}

fn ladder(page: &mut Page<'_>, report: &Report) {
    if report.diagnosis.ladder.is_empty() {
        return;
    }
    page.heading("What to do, least risk first");
    let mut shown = 0;
    for rung in &report.diagnosis.ladder {
        let (ink, state) = state(rung);
        let risk = match rung.risk.as_str() {
            "none" => String::new(),
            "disruptive" => "  [costs settings or time]".to_owned(),
            "data" => "  [can lose photos]".to_owned(),
            _ => "  [destroys]".to_owned(),
        };
        page.rung(rung.rung, ink, state, &format!("{}{risk}", plain(&rung.title)));
        if rung.state == "blocked" && !rung.blocked_by.is_empty() {
            for by in figures::blocked_by(report, rung) {
                page.item(14, Ink::Dim, "- ", &by);
            }
        }
        if matches!(rung.state.as_str(), "do" | "ask") && shown < RUNGS_WITH_STEPS {
            shown += 1;
            for (at, step) in rung.steps.iter().enumerate() {
                page.item(14, Ink::Dim, &format!("{}. ", at + 1), &plain(step));
            }
        }
    }
}

fn state(rung: &Rung) -> (Ink, &'static str) {
    match rung.state.as_str() {
        "done" => (Ink::Light(Light::Safe), "done"),
        "blocked" => (Ink::Light(Light::NotSafe), "blocked"),
        "ask" => (Ink::Light(Light::CannotTell), "look"),
        _ => (Ink::Bold, "do"),
    }
}

fn gaps(page: &mut Page<'_>, report: &Report) {
    let gaps = &report.diagnosis.gaps;
    if gaps.is_empty() {
        return;
    }
    page.heading("What could not be read");
    for gap in gaps.iter().take(LISTED_MAX) {
        page.item(
            2,
            Ink::Dim,
            "- ",
            &format!("{}: {}", fact_words::whole_name(&gap.fact), plain(&gap.reason)),
        );
    }
    page.and_more(2, gaps.len());
}

/// How a piece of text is inked.
#[derive(Debug, Clone, Copy)]
enum Ink {
    None,
    Bold,
    Dim,
    Light(Light),
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Ink::None => "",
            Ink::Bold => "\x1b[1m",
            Ink::Dim => "\x1b[2m",
            Ink::Light(Light::Safe) => "\x1b[1;32m",
            Ink::Light(Light::NotSafe) => "\x1b[1;31m",
            Ink::Light(Light::CannotTell) => "\x1b[1;33m",
        }
    }
}

struct Page<'s> {
    style: &'s Style,
    out: String,
}

impl<'s> Page<'s> {
    fn new(style: &'s Style) -> Self {
        Self { style, out: String::new() }
    }

    fn gap(&mut self) {
        self.out.push('\n');
    }

    fn heading(&mut self, title: &str) {
        self.gap();
        self.line(0, Ink::Bold, title);
    }

    /// A paragraph, wrapped.
    fn line(&mut self, indent: usize, ink: Ink, text: &str) {
        self.item(indent, ink, "", text);
    }

    /// A paragraph behind a mark; what is wrapped hangs behind the mark.
    fn item(&mut self, indent: usize, ink: Ink, mark: &str, text: &str) {
        let hang = indent + mark.chars().count();
        for (at, line) in wrap(text, self.style.width.saturating_sub(hang)).into_iter().enumerate() {
            let lead = if at == 0 { mark } else { "" };
            let pad = if at == 0 { indent } else { hang };
            let inked = self.inked(ink, &line);
            let _ = writeln!(self.out, "{:pad$}{lead}{inked}", "");
        }
    }

    /// Two columns.
    fn columns(&mut self, indent: usize, left: &str, width: usize, ink: Ink, right: &str) {
        let right = self.inked(ink, right);
        let _ = writeln!(self.out, "{:indent$}{left:<width$}{right}", "");
    }

    /// A rung: number, state, title.
    fn rung(&mut self, number: u64, ink: Ink, state: &str, title: &str) {
        let state = self.inked(ink, &format!("{state:<8}"));
        for (at, line) in wrap(title, self.style.width.saturating_sub(14)).into_iter().enumerate() {
            if at == 0 {
                let _ = writeln!(self.out, "{number:>4}  {state}{line}");
            } else {
                let _ = writeln!(self.out, "{:14}{line}", "");
            }
        }
    }

    fn and_more(&mut self, indent: usize, all: usize) {
        if all > LISTED_MAX {
            self.line(indent, Ink::Dim, &format!("and {} more", all - LISTED_MAX));
        }
    }

    fn inked(&self, ink: Ink, text: &str) -> String {
        match ink.code() {
            code if self.style.colour && !code.is_empty() => format!("{code}{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// Breaks at spaces; a word longer than the line is broken where it must be. Runs of spaces inside a line are kept,
/// so that tables survive.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(20);
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.trim_end().chars().collect();
    while rest.len() > width {
        let at = rest[..=width].iter().rposition(|c| *c == ' ').filter(|at| *at > 0).unwrap_or(width);
        let line: String = rest[..at].iter().collect();
        lines.push(line.trim_end().to_owned());
        rest.drain(..at);
        let blanks = rest.iter().take_while(|c| **c == ' ').count();
        rest.drain(..blanks);
    }
    lines.push(rest.into_iter().collect());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_photos_verdict_comes_first_and_the_reason_second() {
        let shown = text(&sample::troubled(), &Style::default());
        let verdict = shown.find("NOT SAFE").unwrap();
        let why = shown.find("iCloud storage is full").unwrap();
        let ladder = shown.find("What to do, least risk first").unwrap();
        assert!(verdict < why && why < ladder, "{shown}");
        assert!(shown.contains("37 photos exist only on this phone"), "{shown}");
    }

    #[test]
    fn no_line_is_wider_than_asked_and_colour_changes_no_word() {
        let report = sample::troubled();
        for width in [60, 80, 120] {
            let plain = text(&report, &Style { width, ..Style::default() });
            let table = plain.lines().skip_while(|l| !l.starts_with("Where")).take_while(|l| !l.is_empty());
            let table: Vec<&str> = table.collect();
            for line in plain.lines().filter(|line| width >= 80 || !table.contains(line)) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
        let coloured = text(&report, &Style { colour: true, ..Style::default() });
        let mut stripped = String::new();
        let mut parts = coloured.split('\x1b');
        stripped.push_str(parts.next().unwrap());
        for part in parts {
            stripped.push_str(part.split_once('m').unwrap().1);
        }
        assert_eq!(stripped, text(&report, &Style::default()));
    }

    #[test]
    fn text_from_a_phone_cannot_steer_the_terminal() {
        let shown = text(&sample::hostile(), &Style::default());
        assert!(!shown.contains('\x1b') && !shown.contains('\u{202e}') && !shown.contains('\r'), "{shown:?}");
    }

    #[test]
    fn a_phone_of_which_nothing_is_known_is_not_called_safe() {
        let shown = text(&sample::nothing(), &Style::default());
        assert!(shown.starts_with("CANNOT TELL"), "{shown}");
        assert!(!shown.lines().any(|line| line.ends_with("  SAFE") || line == "SAFE"), "{shown}");
    }

    #[test]
    fn long_words_are_broken_and_short_text_is_kept() {
        assert_eq!(wrap("a b", 20), ["a b"]);
        assert_eq!(wrap(&"x".repeat(45), 20).len(), 3);
        assert_eq!(wrap("", 20), [""]);
        assert_eq!(wrap("twelve chars and then some more", 20), ["twelve chars and", "then some more"]);
    }
}
