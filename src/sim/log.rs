//! The phone's log: the lines of `syslog.txt` and what is added to it, then what happens to the phone as it happens.
//!
//! Lines have the form of BSD's syslog with Apple's additions, as public issues of libimobiledevice quote them:
//! `Nov 22 05:30:00 Annas-iPhone SpringBoard(FrontBoard)[58] <Notice>: text`.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::device::Device;

/// The file is looked at again after this.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes read at a time, and the longest line: what is longer comes in pieces.
const PIECE: usize = 16 << 10;
/// The length of `Nov 22 05:30:00`.
const DATE_BYTES: usize = 15;

/// The programs that a phone always runs, as far as its log and its list of processes name them.
pub(super) const PROCESSES: &[(u32, &str)] = &[
    (0, "kernel_task"),
    (1, "launchd"),
    (31, "notifyd"),
    (34, "lockdownd"),
    (41, "mobile_assertion_agent"),
    (58, "SpringBoard"),
    (59, "backboardd"),
    (66, "mediaserverd"),
    (73, "accountsd"),
    (88, "cloudd"),
    (97, "assetsd"),
    (98, "photolibraryd"),
    (104, "cloudphotod"),
    (121, "installd"),
    (133, "profiled"),
    (160, "MobileBackup"),
];
const NOTIFYD: (u32, &str) = PROCESSES[2];

/// Follows the log from its first line.
pub(super) struct Follow {
    device: Arc<Device>,
    events: broadcast::Receiver<Arc<str>>,
    ready: VecDeque<String>,
    /// The line that has no end yet.
    part: Vec<u8>,
    read_to: u64,
    inode: u64,
}

impl Follow {
    pub(super) fn new(device: Arc<Device>) -> Self {
        let events = device.notifications();
        Self { device, events, ready: VecDeque::new(), part: Vec::new(), read_to: 0, inode: 0 }
    }

    /// The next line, without its end; waits for it as long as it takes.
    pub(super) async fn next(&mut self) -> io::Result<String> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(line);
            }
            if self.read_on()? {
                continue;
            }
            tokio::select! {
                event = self.events.recv() => match event {
                    Ok(name) => return Ok(event_line(&self.device, &name)),
                    // Who is slow misses some, as on a phone.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Reads what the file has more. False: nothing.
    fn read_on(&mut self) -> io::Result<bool> {
        let file = match File::open(self.device.syslog_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        let metadata = file.metadata()?;
        if metadata.ino() != self.inode || metadata.len() < self.read_to {
            // Another file than before: from its beginning.
            (self.inode, self.read_to) = (metadata.ino(), 0);
        }
        let mut piece = vec![0; PIECE - self.part.len()];
        let n = file.read_at(&mut piece, self.read_to)?;
        self.read_to += n as u64;
        self.part.extend(&piece[..n]);
        while let Some(end) = self.part.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.part.drain(..=end).collect();
            self.ready.push_back(text(&line[..end]));
        }
        // A last line without an end is whole when nothing more comes.
        if self.part.len() >= PIECE || (n == 0 && !self.part.is_empty()) {
            self.ready.push_back(text(&std::mem::take(&mut self.part)));
        }
        Ok(!self.ready.is_empty() || n > 0)
    }
}

/// A NUL would end the line too early.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).replace('\0', "\u{fffd}")
}

fn event_line(device: &Device, notification: &str) -> String {
    let when = device.clock().to_zoned(TimeZone::UTC).strftime("%b %e %H:%M:%S").to_string();
    let host = device.string("DeviceName").unwrap_or_default().replace(char::is_whitespace, "-");
    let (pid, process) = NOTIFYD;
    format!("{when} {host} {process}[{pid}] <Notice>: posted {notification}").replace(['\n', '\0'], " ")
}

/// A line, taken apart.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) time: Timestamp,
    pub(super) process: String,
    /// The library that wrote it, in brackets in the line; else the process itself.
    pub(super) image: String,
    pub(super) pid: u32,
    pub(super) level: Level,
    pub(super) message: String,
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Notice = 0x00,
    Info = 0x01,
    Debug = 0x02,
    Error = 0x10,
    Fault = 0x11,
}

impl Entry {
    /// A line that has another form is a message of the kernel, written now.
    pub(super) fn parse(line: &str, now: Timestamp) -> Self {
        Self::formed(line, now).unwrap_or_else(|| Self {
            time: now,
            process: "kernel".to_owned(),
            image: "kernel".to_owned(),
            pid: 0,
            level: Level::Notice,
            message: line.to_owned(),
        })
    }

    fn formed(line: &str, now: Timestamp) -> Option<Self> {
        let time = time(line.get(..DATE_BYTES)?, now)?;
        let (_host, rest) = line.get(DATE_BYTES..)?.trim_start().split_once(' ')?;
        let (who, rest) = rest.split_once('[')?;
        let (pid, rest) = rest.split_once("] <")?;
        let (level, message) = rest.split_once(">: ")?;
        let (process, image) = match who.split_once('(') {
            Some((process, image)) => (process, image.trim_end_matches(')')),
            None => (who, who),
        };
        let level = match level {
            "Info" => Level::Info,
            "Debug" => Level::Debug,
            "Error" | "Critical" | "Alert" | "Emergency" => Level::Error,
            "Fault" => Level::Fault,
            _ => Level::Notice,
        };
        let (process, image) = (process.to_owned(), image.to_owned());
        Some(Self { time, process, image, pid: pid.parse().ok()?, level, message: message.to_owned() })
    }
}

/// `Nov 22 05:30:00`, in the last twelve months.
fn time(date: &str, now: Timestamp) -> Option<Timestamp> {
    let year = now.to_zoned(TimeZone::UTC).year();
    let of = |year: i16| {
        let time = DateTime::strptime("%Y %b %d %H:%M:%S", format!("{year} {date}")).ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    let time = of(year)?;
    if time > now.checked_add(24.hours()).ok()? { of(year - 1) } else { Some(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-22T06:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_line_is_taken_apart() {
        let line = "Nov 22 05:30:00 Annas-iPhone SpringBoard(FrontBoard)[58] <Error>: [x] <y>: z";
        let entry = Entry::parse(line, now());
        assert_eq!((entry.process.as_str(), entry.image.as_str()), ("SpringBoard", "FrontBoard"));
        assert_eq!((entry.pid, entry.level, entry.message.as_str()), (58, Level::Error, "[x] <y>: z"));
        assert_eq!(entry.time.to_string(), "2026-11-22T05:30:00Z");
        let last_year = Entry::parse("Dec  1 05:30:00 h p[1] <Notice>: m", now());
        assert_eq!(last_year.time.to_string(), "2025-12-01T05:30:00Z");
    }

    #[test]
    fn any_other_line_is_a_message() {
        let line = "Nov 22 05:30:00 Annas-iPhone SpringBoard(FrontBoard)[58] <Error>: text";
        for length in 0..line.len() - 5 {
            assert_eq!(Entry::parse(&line[..length], now()).message, line[..length]);
        }
        for odd in [
            "\u{e4}\u{f6}\u{fc}\u{e4}\u{f6}\u{fc}\u{e4}\u{f6}",
            "Nov 99 05:30:00 h p[1] <Notice>: m",
            "Nov 22 05:30:00 h p[x] <Notice>: m",
        ] {
            assert_eq!(Entry::parse(odd, now()).process, "kernel");
        }
    }

    #[tokio::test]
    async fn the_file_is_followed_and_events_come_live() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("syslog.txt");
        std::fs::write(&file, "one\ntwo").unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        let mut log = Follow::new(Arc::clone(&device));
        assert_eq!(log.next().await.unwrap(), "one");
        assert_eq!(log.next().await.unwrap(), "two");
        device.post_notification("com.example.event");
        assert!(log.next().await.unwrap().ends_with("notifyd[31] <Notice>: posted com.example.event"));
        std::fs::write(&file, "one\ntwo\nthree\n").unwrap();
        assert_eq!(log.next().await.unwrap(), "");
        assert_eq!(log.next().await.unwrap(), "three");
        std::fs::write(&file, format!("{}\n", "x".repeat(PIECE * 2))).unwrap();
        let mut length = 0;
        while length < PIECE * 2 - "one\ntwo\nthree\n".len() {
            length += log.next().await.unwrap().len();
        }
    }
}
