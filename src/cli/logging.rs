//! Where the traces go: stderr, as much as was asked for. The `idevice` crate's own log stays off whatever was asked:
//! it prints what the phone and we say to each other, passwords too.

use std::fmt;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts the log.
pub(super) fn start(verbose: u8, quiet: bool, colour: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::OFF,
        (false, 0) => LevelFilter::ERROR,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let shown =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(true);
    let log = tracing_subscriber::registry().with(targets(level));
    // A second start (tests) finds a log already there, which is as good.
    let _ = if goes_to_journal() {
        log.with(shown.with_ansi(false).event_format(JournalLine)).try_init()
    } else {
        log.with(shown).try_init()
    };
}

/// stderr is systemd's journal: `JOURNAL_STREAM` names it by device and inode (systemd.exec(5)).
pub(super) fn goes_to_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|file| named == format!("{}:{}", file.st_dev, file.st_ino))
}

/// A line of the journal: it begins with its weight (sd-daemon(3)), and has no time, which the journal keeps.
struct JournalLine;

impl<S, N> FormatEvent<S, N> for JournalLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        write!(writer, "<{}>{}: ", weight(*metadata.level()), metadata.target())?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

fn weight(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Our own traces only.
fn targets(level: LevelFilter) -> Targets {
    Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("idevice_fix", level)
        .with_target("idevice", LevelFilter::OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_journal_begins_with_its_weight() {
        use std::sync::{Arc, Mutex};
        #[derive(Clone, Default)]
        struct Kept(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(JournalLine);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(phone = 1, "odd");
        });
        let line = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(
            line.starts_with("<4>idevice_fix::cli::logging") && line.ends_with("odd phone=1\n"),
            "{line:?}"
        );
    }

    #[test]
    fn the_idevice_crate_never_speaks() {
        let targets = targets(LevelFilter::TRACE);
        assert!(!targets.would_enable("idevice", &Level::ERROR));
        assert!(!targets.would_enable("idevice::services::mobilebackup2", &Level::ERROR));
        assert!(targets.would_enable("idevice_fix::afc", &Level::TRACE));
        assert!(!targets.would_enable("rustls", &Level::ERROR));
    }
}
