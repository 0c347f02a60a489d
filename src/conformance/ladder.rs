//! How deep reads may be kept in flight, and how large they may be: every depth with every size, on one file.
//!
//! Begins with one at a time and goes on until something is odd three times. Each step is short; what is measured is
//! whether answers come whole and in order, and how fast.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::files::{Chosen, connect, size_class};
use super::node::{Node, Section};
use super::raw::{Oddity, Raw};
use super::reason;
use super::word::Word;
use crate::afc::Request;
use crate::lockdown::Session;

/// Reads in flight.
const DEPTHS: [(usize, &str); 7] = [
    (1, "01 in flight"),
    (2, "02 in flight"),
    (4, "04 in flight"),
    (8, "08 in flight"),
    (16, "16 in flight"),
    (32, "32 in flight"),
    (64, "64 in flight"),
];
/// Bytes of one read.
const SIZES: [(u32, &str); 7] = [
    (64 << 10, "0064 KiB"),
    (128 << 10, "0128 KiB"),
    (256 << 10, "0256 KiB"),
    (512 << 10, "0512 KiB"),
    (1 << 20, "1024 KiB"),
    (2 << 20, "2048 KiB"),
    (4 << 20, "4096 KiB"),
];
/// Bytes that are asked for at the same time at most: on a slow cable they take two seconds.
const IN_FLIGHT_BYTES_MAX: u64 = 64 << 20;
/// Oddities after which no more is tried.
const ODDITIES_MAX: usize = 3;

/// How long one step asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) time: Duration,
    pub(super) bytes: u64,
}

/// Climbs it.
pub(super) async fn climb(session: &Session, chosen: &Chosen, step: Step, into: &mut Section) {
    into.put("file", size_class(chosen.size));
    let mut line = None;
    let mut oddities = 0;
    for (depth, depth_name) in DEPTHS {
        for (size, size_name) in SIZES {
            let told = if u64::from(size) > chosen.size {
                told("not tried: the file is too small")
            } else if depth as u64 * u64::from(size) > IN_FLIGHT_BYTES_MAX {
                told("not tried: more than 64 MiB in flight")
            } else if oddities >= ODDITIES_MAX {
                told("not tried: three oddities before")
            } else {
                let (rung, odd) = rung(session, &mut line, chosen, (depth, size), step).await;
                oddities += usize::from(odd);
                rung
            };
            into.section(Word::own(depth_name)).insert(Word::own(size_name), told.into());
        }
    }
}

fn told(answers: &'static str) -> Section {
    let mut section = Section::default();
    section.put("answers", Word::own(answers));
    section
}

/// One step, over a connection that is opened anew where the last one died.
async fn rung(
    session: &Session,
    line: &mut Option<(Raw, u64)>,
    chosen: &Chosen,
    (depth, size): (usize, u32),
    step: Step,
) -> (Section, bool) {
    let mut section = Section::default();
    if line.is_none() {
        match connect(session).await {
            Ok(mut raw) => match raw.open(&chosen.path).await {
                Ok(handle) => *line = Some((raw, handle)),
                Err(oddity) => section.put("answers", oddity.word()),
            },
            Err(error) => section.put("answers", reason::of_lockdown(&error)),
        }
    }
    let Some((raw, handle)) = line.as_mut() else { return (section, true) };
    let mut reads = Reads { handle: *handle, file: chosen.size, size, at: 0, asked: VecDeque::new() };
    match reads.run(raw, depth, step).await {
        Ok((bytes, took)) => {
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
            section.put("answers", Word::own("whole and in order"));
            section.put("MB per second", Node::figure(bytes / 1000 / millis));
            (section, false)
        }
        Err((after, oddity)) => {
            *line = None;
            section.put("answers", oddity.word());
            section.put("good answers before", Word::about(after));
            (section, true)
        }
    }
}

/// Reads of one file from its beginning, over and over.
struct Reads {
    handle: u64,
    file: u64,
    size: u32,
    at: u64,
    /// What was asked and is not answered: a read, or going back to the beginning.
    asked: VecDeque<bool>,
}

impl Reads {
    async fn run(
        &mut self,
        raw: &mut Raw,
        depth: usize,
        step: Step,
    ) -> Result<(u64, Duration), (u64, Oddity)> {
        let began = Instant::now();
        let (mut bytes, mut good, mut reads) = (0, 0, 0_u64);
        self.at = self.file;
        loop {
            let enough = reads * u64::from(self.size) >= step.bytes || began.elapsed() >= step.time;
            // A full row of reads is asked at least once, or nothing would have been in flight.
            while self.asked.len() < depth && (!enough || reads < depth as u64) {
                self.ask(raw).await.map_err(|oddity| (good, oddity))?;
                reads += u64::from(*self.asked.back().expect("one was asked"));
            }
            let Some(is_read) = self.asked.pop_front() else { break };
            let answered = if is_read { raw.swallowed(self.size).await } else { raw.rewound().await };
            answered.map_err(|oddity| (good, oddity))?;
            good += 1;
            bytes += if is_read { u64::from(self.size) } else { 0 };
        }
        Ok((bytes, began.elapsed()))
    }

    async fn ask(&mut self, raw: &mut Raw) -> Result<(), Oddity> {
        if self.at + u64::from(self.size) > self.file {
            raw.send_rewind(self.handle).await?;
            self.asked.push_back(false);
            self.at = 0;
            return Ok(());
        }
        raw.send(&Request::FileRead { handle: self.handle, count: u64::from(self.size) }).await?;
        self.asked.push_back(true);
        self.at += u64::from(self.size);
        Ok(())
    }
}
