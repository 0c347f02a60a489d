//! Where the traces go: stderr, as much as was asked for. The `idevice` crate's own log stays off whatever was asked:
//! it prints what the phone and we say to each other, passwords too.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
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
    // A second start (tests) finds a log already there, which is as good.
    let _ = tracing_subscriber::registry().with(shown).with(targets(level)).try_init();
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
    use tracing::Level;

    #[test]
    fn the_idevice_crate_never_speaks() {
        let targets = targets(LevelFilter::TRACE);
        assert!(!targets.would_enable("idevice", &Level::ERROR));
        assert!(!targets.would_enable("idevice::services::mobilebackup2", &Level::ERROR));
        assert!(targets.would_enable("idevice_fix::afc", &Level::TRACE));
        assert!(!targets.would_enable("rustls", &Level::ERROR));
    }
}
