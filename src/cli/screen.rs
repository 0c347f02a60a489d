//! Shows a visit to a person: bars with bytes, rate and time left where the terminal can be redrawn, plain lines every
//! few seconds where it cannot. All of it goes to stderr. Text that came from a phone is defused here.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::terminal;
use crate::facts::text::plain;
use crate::progress::{Event, Observer, Phase, Touch};
use crate::visit::reach::WITHOUT_END;
use crate::visit::words;

/// Between two plain lines of the same phase.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// Phases that last no longer leave no line behind: they would only be noise.
const WORTH_A_LINE: Duration = Duration::from_millis(1500);

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Talk {
    /// Everything.
    All,
    /// What a person must do.
    NeedsOnly,
}

/// Shows events to a person.
#[derive(Debug)]
pub(super) struct Screen {
    talk: Talk,
    moves: bool,
    colour: bool,
    bars: MultiProgress,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phases: HashMap<Phase, Running>,
    waiting: HashMap<Touch, ProgressBar>,
}

#[derive(Debug)]
struct Running {
    bar: ProgressBar,
    began: Instant,
    told: Instant,
    bytes_total: Option<u64>,
    items_total: Option<u64>,
    bytes_done: u64,
    items_done: u64,
}

impl Screen {
    pub(super) fn new(talk: Talk) -> Self {
        let moves = terminal::stderr_moves();
        let target = if moves { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            talk,
            moves,
            colour: terminal::stderr_colour(),
            bars: MultiProgress::with_draw_target(target),
            state: Mutex::default(),
        }
    }

    /// A line for people, above the bars.
    pub(super) fn say(&self, line: &str) {
        if self.talk == Talk::All {
            self.tell(line);
        }
    }

    /// Does something that writes to the terminal by itself (a question, say).
    pub(super) fn beside<T>(&self, act: impl FnOnce() -> T) -> T {
        self.bars.suspend(act)
    }

    fn tell(&self, line: &str) {
        let set = if self.moves { fitted(line, terminal::stderr_style().width) } else { line.to_owned() };
        self.bars.suspend(|| terminal::say(&set));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn began(&self, phase: Phase, bytes_total: Option<u64>, items_total: Option<u64>) {
        if self.talk != Talk::All {
            return;
        }
        let bar = self.bars.add(ProgressBar::new(bytes_total.or(items_total).unwrap_or(0)));
        bar.set_style(style(bytes_total.is_some(), items_total.is_some(), self.colour));
        bar.set_message(sentence(phase));
        bar.enable_steady_tick(Duration::from_millis(200));
        let now = Instant::now();
        let running =
            Running { bar, began: now, told: now, bytes_total, items_total, bytes_done: 0, items_done: 0 };
        self.state().phases.insert(phase, running);
    }

    fn advanced(&self, phase: Phase, bytes_done: u64, bytes_total: Option<u64>, items_done: u64) {
        let mut state = self.state();
        let Some(running) = state.phases.get_mut(&phase) else { return };
        (running.bytes_done, running.items_done) = (bytes_done, items_done);
        if bytes_total.is_some() && bytes_total != running.bytes_total {
            running.bytes_total = bytes_total;
            running.bar.set_style(style(true, running.items_total.is_some(), self.colour));
            running.bar.set_length(bytes_total.unwrap_or(0));
        }
        let counts_items = running.bytes_total.is_none() && running.items_total.is_some();
        running.bar.set_position(if counts_items { items_done } else { bytes_done });
        if !self.moves && running.told.elapsed() >= PLAIN_EVERY {
            running.told = Instant::now();
            let line = plain_line(phase, running);
            drop(state);
            self.tell(&line);
        }
    }

    fn ended(&self, phase: Phase) {
        let Some(running) = self.state().phases.remove(&phase) else { return };
        running.bar.finish_and_clear();
        self.bars.remove(&running.bar);
        if running.began.elapsed() >= WORTH_A_LINE {
            self.tell(&closing_line(phase, &running));
        }
    }

    fn needed(&self, touch: Touch, within: Duration) {
        let ask = ask(touch);
        let bell = if terminal::stderr_is_terminal() { "\x07" } else { "" };
        let ends = within < WITHOUT_END;
        let limit = if ends { format!(" (within {})", words::duration(within)) } else { String::new() };
        self.tell(&format!("{bell}>> {}{limit}", self.bold(ask)));
        notify(ask);
        if self.moves && ends {
            let bar = self.bars.add(ProgressBar::new_spinner());
            bar.set_style(countdown(within));
            bar.enable_steady_tick(Duration::from_millis(500));
            if let Some(old) = self.state().waiting.insert(touch, bar) {
                old.finish_and_clear();
            }
        }
    }

    fn met(&self, touch: Touch) {
        if let Some(bar) = self.state().waiting.remove(&touch) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// The visit is over: nothing moves any more, and the bell rings if it took long enough to look away.
    pub(super) fn close(&self, took: Duration) {
        let mut state = self.state();
        for (_, running) in state.phases.drain() {
            running.bar.finish_and_clear();
        }
        for (_, bar) in state.waiting.drain() {
            bar.finish_and_clear();
        }
        drop(state);
        if took >= Duration::from_secs(30) && self.talk == Talk::All {
            if terminal::stderr_is_terminal() {
                self.bars.suspend(ring_bell);
            }
            notify("The visit is over.");
        }
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Text whose lines are no wider than the terminal: broken at blanks, and what goes over hangs where its line began.
fn fitted(text: &str, width: usize) -> String {
    let lines = text.split('\n').map(|line| {
        // A line with colours in it is longer than it looks; ours are short.
        if line.chars().count() <= width || line.contains('\x1b') {
            return line.to_owned();
        }
        let indent = line.chars().take_while(|c| *c == ' ').count();
        terminal::hanging(line.trim_start(), indent, indent, width)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn ring_bell() {
    use std::io::Write;
    let _ = std::io::stderr().write_all(b"\x07");
}

impl Observer for Screen {
    fn event(&self, event: Event) {
        match event {
            Event::Began { phase, bytes_total, items_total } => self.began(phase, bytes_total, items_total),
            Event::Advanced { phase, bytes_done, bytes_total, items_done } => {
                self.advanced(phase, bytes_done, bytes_total, items_done);
            }
            Event::Ended { phase } => self.ended(phase),
            Event::PersonNeeded { touch, within } => self.needed(touch, within),
            Event::PersonDone { touch } => self.met(touch),
            Event::Skipped { item, reason } => {
                self.say(&format!("skipped {}: {}", plain(&item), plain(&reason)));
            }
            Event::Note(note) => self.say(&plain(&note)),
        }
    }
}

/// What a person is asked to do.
pub(super) fn ask(touch: Touch) -> &'static str {
    match touch {
        Touch::Trust => "On the phone: unlock it, tap \"Trust\" and enter its passcode",
        Touch::Unlock => "On the phone: unlock it",
        Touch::Passcode => "On the phone: enter its passcode, so that it allows the backup",
    }
}

/// Tells the desktop too, where there is one. Nobody waits for it, and its failure means nothing.
fn notify(text: &str) {
    if std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_none() {
        return;
    }
    let spawned = std::process::Command::new("notify-send")
        .args(["--app-name=idevice-fix", "idevice-fix", text])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    if let Ok(mut child) = spawned {
        std::thread::spawn(move || child.wait());
    }
}

fn sentence(phase: Phase) -> String {
    let words = phase.to_string();
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn style(bytes: bool, items: bool, colour: bool) -> ProgressStyle {
    let bar = if colour { "{bar:22.cyan/238}" } else { "{bar:22}" };
    let template = match (bytes, items) {
        (true, _) => {
            format!("{{msg:16!}} {bar} {{decimal_bytes}}/{{decimal_total_bytes}}, {{rate}}, {{left}}")
        }
        (false, true) => format!("{{msg:16!}} {bar} {{pos}}/{{len}} files"),
        (false, false) => "{msg:16!} {spinner} {decimal_bytes}, {rate}, {elapsed}".to_owned(),
    };
    ProgressStyle::with_template(&template)
        .expect("the templates above are well formed")
        .with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&rate(state.per_sec()));
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let known = state.per_sec() > 0.0 && state.pos() > 0;
            let _ = match known {
                true => write!(out, "{} left", words::duration(state.eta())),
                false => out.write_str("..."),
            };
        })
        .progress_chars("━╸─")
}

fn countdown(within: Duration) -> ProgressStyle {
    ProgressStyle::with_template("   {spinner} waiting: {left}")
        .expect("the template is well formed")
        .with_key("left", move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let left = within.saturating_sub(state.elapsed()).as_secs();
            let _ = write!(out, "{}:{:02} left", left / 60, left % 60);
        })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for people; casts saturate"
)]
fn rate(per_second: f64) -> String {
    format!("{}/s", words::bytes(per_second.max(0.0) as u64))
}

/// One line of progress: `Copying photos: 1.2 GB of 4.1 GB, 38.2 MB/s, 2 min left`.
fn plain_line(phase: Phase, running: &Running) -> String {
    let mut line = format!("{}: ", sentence(phase));
    let seconds = running.began.elapsed().as_secs_f64().max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let per_second = running.bytes_done as f64 / seconds;
    let _ = match (running.bytes_total, running.items_total) {
        (Some(total), _) => {
            #[expect(clippy::cast_precision_loss, reason = "a time for people")]
            let left = total.saturating_sub(running.bytes_done) as f64 / per_second.max(1.0);
            let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
            write!(
                line,
                "{} of {}, {}, {} left",
                words::bytes(running.bytes_done),
                words::bytes(total),
                rate(per_second),
                words::duration(left)
            )
        }
        (None, Some(items)) => {
            write!(line, "{} of {} files", words::count(running.items_done), words::count(items))
        }
        (None, None) => write!(line, "{}, {}", words::bytes(running.bytes_done), rate(per_second)),
    };
    line
}

fn closing_line(phase: Phase, running: &Running) -> String {
    let took = words::duration(running.began.elapsed());
    match (running.bytes_done, running.items_done) {
        (0, 0) => format!("{}: {took}", sentence(phase)),
        (0, items) => format!("{}: {} in {took}", sentence(phase), words::counted(items, "file", "files")),
        (bytes, _) => format!("{}: {} in {took}", sentence(phase), words::bytes(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(bytes_total: Option<u64>, items_total: Option<u64>) -> Running {
        Running {
            bar: ProgressBar::hidden(),
            began: Instant::now(),
            told: Instant::now(),
            bytes_total,
            items_total,
            bytes_done: 0,
            items_done: 0,
        }
    }

    #[test]
    fn a_plain_line_has_bytes_rate_and_time_left() {
        let mut it = running(Some(4_000_000_000), None);
        it.began = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        it.bytes_done = 1_000_000_000;
        let line = plain_line(Phase::Photos, &it);
        assert!(line.starts_with("Copying photos: 1.0 GB of 4.0 GB, "), "{line}");
        assert!(line.contains("MB/s, ") && line.ends_with("30 s left"), "{line}");
    }

    #[test]
    fn nothing_known_yet_is_no_trouble() {
        assert!(plain_line(Phase::Photos, &running(Some(u64::MAX), None)).contains("left"));
        assert_eq!(plain_line(Phase::Verify, &running(None, Some(7))), "Verifying: 0 of 7 files");
        assert!(plain_line(Phase::Backup, &running(None, None)).starts_with("Backing up: 0 B"));
    }

    #[test]
    fn long_lines_are_broken_between_words_and_short_ones_stay() {
        assert_eq!(fitted("  one two three\nfour", 9), "  one two\n  three\nfour");
        assert_eq!(fitted("\nshort\n", 9), "\nshort\n");
        assert_eq!(fitted("a-word-that-is-too-long", 9), "a-word-that-is-too-long");
    }

    #[test]
    fn every_template_is_well_formed() {
        for bytes in [true, false] {
            for items in [true, false] {
                for colour in [true, false] {
                    let _ = style(bytes, items, colour);
                }
            }
        }
        let _ = countdown(Duration::from_secs(180));
    }
}
