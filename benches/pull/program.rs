//! Programs that are run and timed, each in a process of its own with its peak memory watched; also this one, in one of
//! its roles.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Before the name of a role on this program's command line.
pub(crate) const ROLE: &str = "--role=";

/// How often a program's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A program that ran to its end.
pub(crate) struct Ran {
    /// From its start to its end.
    pub(crate) seconds: f64,
    /// The most memory that it had, in KiB.
    pub(crate) peak_kib: u64,
    /// What it said.
    pub(crate) output: String,
    /// What it said last if it did not succeed.
    pub(crate) trouble: Option<String>,
}

impl Ran {
    /// Only if it succeeded.
    pub(crate) fn succeeded(self) -> Result<Self, String> {
        match self.trouble {
            Some(trouble) => Err(trouble),
            None => Ok(self),
        }
    }
}

/// Runs a program to its end. `Err`: it is not there.
pub(crate) fn run(command: &mut Command) -> Result<Ran, String> {
    let log = tempfile::tempfile().expect("a temporary file");
    let errors = log.try_clone().expect("a second handle");
    let output = tempfile::NamedTempFile::new().expect("a temporary file");
    let writes = output.reopen().expect("a second handle");
    let started = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(writes).stderr(errors).spawn();
    let mut child = child.map_err(|error| format!("{:?} is not here ({error})", command.get_program()))?;
    let mut peak_kib = 0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            break status;
        }
        peak_kib = peak_kib.max(memory_kib(child.id(), "VmHWM:"));
        std::thread::sleep(LOOK_EVERY);
    };
    let seconds = started.elapsed().as_secs_f64();
    let output = std::fs::read_to_string(output.path()).unwrap_or_default();
    let trouble = (!status.success()).then(|| format!("{status}: {}", last_words(&log)));
    Ok(Ran { seconds, peak_kib, output, trouble })
}

/// This program in one of its roles. What it found out comes back as JSON, with its peak memory.
pub(crate) fn play(role: &str, arguments: &[&Path]) -> Value {
    let this = std::env::current_exe().expect("this program has a path");
    let ran = run(Command::new(this).arg(format!("{ROLE}{role}")).args(arguments)).and_then(Ran::succeeded);
    let ran = ran.unwrap_or_else(|why| panic!("{role} failed: {why}"));
    let mut said: Value = serde_json::from_str(&ran.output).expect("a role prints one object");
    let own = said["peak_kib"].as_u64().unwrap_or_default();
    said["peak_kib"] = own.max(ran.peak_kib).into();
    said
}

/// A figure of a process' memory, in KiB; 0 when it is gone.
pub(crate) fn memory_kib(process: u32, figure: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn last_words(log: &std::fs::File) -> String {
    use std::os::unix::fs::FileExt;
    let length = log.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = vec![0; 400];
    let read = log.read_at(&mut bytes, length.saturating_sub(400)).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).split_whitespace().collect::<Vec<_>>().join(" ")
}
