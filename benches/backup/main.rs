//! Backups at speed: our engine beside idevicebackup2, pymobiledevice3, a sink that throws everything away and a plain
//! synced write of the same files, all from the same simulated phone in the same run; and what proving costs.
//!
//! `cargo bench --bench backup -- small` and so on: `small` (200,000 files, without pymobiledevice3, which takes five
//! minutes for them), `quick` (20,000 of them, three times; only when it is named), `large` (4 GB in 2,000 files, twice, and
//! proving them), `link` (the same at 40 MB/s), `encrypted`, `rows` (a manifest of a million rows), `database` (1.5 GB
//! sent back). Each needs up to 10 GB in the temporary folder, and removes them. Programs that are not installed are left
//! out; pymobiledevice3 is looked for where `PYMOBILEDEVICE3` says, in `target/peers`, and in the search path.
//!
//! The time of a receiving begins when the phone begins to send files; what it does before is its own affair, and the
//! same for all. It ends when everything is received and, for us and the plain write, durable.

#![expect(clippy::print_stdout, reason = "figures are what a benchmark is for")]

mod peers;
mod phone;
#[path = "../common/processor.rs"]
mod processor;
mod proving;
mod receiving;
mod sink;

use std::time::{Duration, Instant};

/// Sizes of the files of real backups: most are small.
const SMALL: Load = Load { files: 200_000, sparse: false, bytes: small_size };
const LARGE: Load = Load { files: 2_000, sparse: true, bytes: |_| 2_000_000 };
const HALF: Load = Load { files: 500, sparse: true, bytes: |_| 2_000_000 };

/// What a phone holds.
#[derive(Clone, Copy)]
struct Load {
    files: u32,
    /// Nothing of it lies on the disk: reading costs what the page cache costs.
    sparse: bool,
    /// Of each file, by number.
    bytes: fn(u32) -> u64,
}

impl Load {
    fn total(&self) -> u64 {
        (0..self.files).map(self.bytes).sum()
    }
}

/// 200 bytes to 8 kB, most of them below 3 kB.
fn small_size(number: u32) -> u64 {
    let spread = u64::from(number.wrapping_mul(2_654_435_761) >> 16) % 1000;
    200 + spread * spread * 7_800 / 1_000_000
}

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |part: &str| chosen.is_empty() || chosen.iter().any(|word| word == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let began = Instant::now();
        let told = |part: &str| println!("  ({part} is over at {:.0} s)", began.elapsed().as_secs_f64());
        if wants("small") {
            receiving::without_limit("small", SMALL, 1, false).await;
            told("small");
        }
        if chosen.iter().any(|word| word == "quick") {
            receiving::without_limit("quick", Load { files: 20_000, ..SMALL }, 3, true).await;
            told("quick");
        }
        if wants("large") {
            receiving::without_limit("large", LARGE, 2, true).await;
            told("large");
        }
        if wants("link") {
            receiving::at_the_link(LARGE, 40_000_000).await;
            told("link");
        }
        if wants("encrypted") {
            proving::encrypted(HALF).await;
            told("encrypted");
        }
        if wants("rows") {
            proving::rows(1_000_000).await;
            told("rows");
        }
        if wants("database") {
            proving::sent_back(1_500_000_000).await;
            told("database");
        }
    });
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}

/// One line: how many files and bytes a second.
fn tell(who: &str, load: &Load, took: Duration, processor_seconds: f64) {
    let seconds = took.as_secs_f64();
    println!(
        "  {who:<28} {:>7.2} s  {:>8.0} files/s  {:>7.1} MB/s  {:>6.1} s of processor, the phone's with it",
        seconds,
        f64::from(load.files) / seconds,
        load.total() as f64 / seconds / 1e6,
        processor_seconds
    );
}

/// The most memory that a process has had, in bytes.
fn peak_memory(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
