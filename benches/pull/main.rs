//! How fast photos come off a phone: this program and its peers against the same simulated phone, in one run.
//!
//! The phone is a process of its own behind a socket, and so is everyone who copies from it. Before anyone is timed the
//! cable itself is measured, by a client that throws everything away: figures are given as parts of that. What is
//! copied is counted afterwards, so that nobody is fast by leaving something out. Ours is timed from the walk to the
//! last synced line of the manifest; the peers from their start to their end, without any syncing.
//!
//! `cargo bench --bench pull`, on a machine that does nothing else (two cores are enough), as root because of ifuse.
//! Words behind `--` choose scenarios: `usb2`, `usb3`, `small`, `no-limit`, `second`. `--ours` leaves the peers out,
//! `--whole` lets them copy all files instead of a sample. pymobiledevice3 and ifuse are looked for
//! on the PATH; `PYMOBILEDEVICE3` and `IFUSE` name them elsewhere. A peer that is not there is told, not failed.
//! The table is left in `target/tmp/pull.md`.

#![expect(clippy::print_stdout, reason = "figures are what a benchmark is for")]

mod cable;
mod ours;
mod peers;
mod phone;
mod program;
mod roles;
mod scenarios;
mod sink;
mod table;

use std::path::Path;

use scenarios::{Chosen, SCENARIOS};
use table::Table;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [role, rest @ ..] = &words[..]
        && let Some(role) = role.strip_prefix(program::ROLE)
    {
        return roles::play(role, rest);
    }
    let names = || words.iter().filter(|word| !word.starts_with('-'));
    if let Some(unknown) = names().find(|name| SCENARIOS.iter().all(|one| one.name != name.as_str())) {
        let known: Vec<_> = SCENARIOS.iter().map(|one| one.name).collect();
        println!("there is no scenario {unknown}; there are {}", known.join(", "));
        std::process::exit(2);
    }
    let has = |option: &str| words.iter().any(|word| word == option);
    let chosen = Chosen { peers: !has("--ours"), whole: has("--whole") };
    let mut table = Table::default();
    for scenario in SCENARIOS {
        if names().next().is_none() || names().any(|name| name == scenario.name) {
            (scenario.run)(&chosen, &mut table);
        }
    }
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pull.md");
    std::fs::write(&place, table.markdown()).expect("the table is written");
    println!("\n{}\nwritten to {}", table.summary(), place.display());
}
