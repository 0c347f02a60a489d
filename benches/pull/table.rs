//! What was measured, as a table; and what was wanted of it.

use std::fmt::Write;

use serde_json::Value;

/// The most memory that a copy may take, in KiB.
const PEAK_KIB_MAX: u64 = 64 << 10;

/// What the cable gives to somebody who throws everything away.
#[derive(Clone, Copy)]
pub(crate) struct Cable {
    pub(crate) bytes_per_second: f64,
    pub(crate) round_trip_us: f64,
}

impl Cable {
    pub(crate) fn of(said: &Value) -> Self {
        let figure = |name: &str| said[name].as_f64().expect("the role says so");
        Self { bytes_per_second: figure("bytes_per_second"), round_trip_us: figure("round_trip_us") }
    }
}

/// Something that was wanted, in words, and whether it is so.
pub(crate) struct Want {
    pub(crate) words: String,
    pub(crate) reached: bool,
}

impl Want {
    /// At least so much.
    pub(crate) fn at_least(what: &str, is: f64, wanted: f64) -> Self {
        Self { words: format!("{is:.3} {what}, wanted {wanted}"), reached: is >= wanted }
    }

    /// No more than so long.
    pub(crate) fn seconds(is: f64, wanted: f64) -> Self {
        Self { words: format!("{is:.2} s, wanted {wanted} s"), reached: is <= wanted }
    }

    /// Not a byte.
    pub(crate) fn nothing(bytes: u64) -> Self {
        Self { words: format!("{bytes} bytes copied, wanted 0"), reached: bytes == 0 }
    }

    /// No more memory than a copy may take.
    pub(crate) fn memory(peak_kib: u64) -> Self {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let words = format!("{:.0} MiB, wanted {:.0}", mib(peak_kib), mib(PEAK_KIB_MAX));
        Self { words, reached: peak_kib <= PEAK_KIB_MAX }
    }
}

/// One copy.
pub(crate) struct Row {
    pub(crate) phone: String,
    pub(crate) who: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) peak_kib: Option<u64>,
    pub(crate) cable: Cable,
    pub(crate) wants: Vec<Want>,
    pub(crate) note: String,
}

impl Row {
    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }

    pub(crate) fn part_of_cable(&self) -> f64 {
        self.bytes_per_second() / self.cable.bytes_per_second
    }

    fn cells(&self) -> [String; 10] {
        let wants = self.wants.iter().map(|want| {
            let verdict = if want.reached { "reached" } else { "MISSED" };
            format!("{verdict}: {}", want.words)
        });
        let notes: Vec<_> = wants.chain((!self.note.is_empty()).then(|| self.note.clone())).collect();
        [
            self.phone.clone(),
            self.who.clone(),
            self.files.to_string(),
            format!("{:.1}", self.bytes as f64 / 1e6),
            format!("{:.2}", self.seconds),
            format!("{:.2}", self.bytes_per_second() / 1e6),
            format!("{:.3}", self.part_of_cable()),
            format!("{:.1} MB/s, {:.0} us", self.cable.bytes_per_second / 1e6, self.cable.round_trip_us),
            self.peak_kib.map_or_else(String::new, |kib| format!("{:.0}", kib as f64 / 1024.0)),
            notes.join("; "),
        ]
    }
}

/// All copies of a run.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    missing: Vec<String>,
}

impl Table {
    /// Prints a row and keeps it.
    pub(crate) fn add(&mut self, row: Row) {
        let [phone, who, files, megabytes, seconds, rate, part, cable, peak, notes] = row.cells();
        println!(
            "{phone} | {who} | {files} files, {megabytes} MB in {seconds} s: {rate} MB/s, {part} of the cable ({cable}) | {peak} MiB | {notes}"
        );
        self.rows.push(row);
    }

    /// Prints that a peer was not measured, and why.
    pub(crate) fn miss(&mut self, phone: &str, who: &str, why: &str) {
        println!("{phone} | {who} | not measured: {why}");
        self.missing.push(format!("{who} on {phone}: {why}"));
    }

    /// The table as a text.
    pub(crate) fn markdown(&self) -> String {
        let mut text =
            "| phone | who | files | MB | s | MB/s | part of the cable | cable, measured | peak MiB | |\n"
                .to_owned();
        text += "|---|---|---|---|---|---|---|---|---|---|\n";
        for row in &self.rows {
            writeln!(text, "| {} |", row.cells().join(" | ")).expect("a String takes everything");
        }
        for missing in &self.missing {
            writeln!(text, "\nNot measured: {missing}").expect("a String takes everything");
        }
        text
    }

    /// How much of what was wanted is so.
    pub(crate) fn summary(&self) -> String {
        let wants = || self.rows.iter().flat_map(|row| &row.wants);
        let missed = wants().filter(|want| !want.reached).count();
        format!("{} of {} targets reached", wants().count() - missed, wants().count())
    }
}
