//! One run of the program: its options, where it says things, and how it is asked to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::arguments::Global;
use super::events::Events;
use super::screen::{Screen, Talk};
use super::secrets::Given;
use super::terminal;
pub(super) use crate::progress::Both;
use crate::progress::{CancellationToken, Observer};
pub(super) use crate::record::record_stop;
use crate::visit::{Stop, Trouble};

/// The folder of DEST in the user's home.
const DEST_NAME: &str = "idevice-fix";

/// One run of the program.
pub(super) struct Run {
    /// The options of every command.
    pub(super) global: Global,
    /// Cancelled by Ctrl-C.
    pub(super) cancel: CancellationToken,
    /// Shows things to people.
    pub(super) screen: Arc<Screen>,
    /// Shows things to scripts, if `--json`.
    events: Option<Arc<Events>>,
    /// Passwords that came in.
    pub(super) given: Given,
    began: Instant,
}

impl Run {
    pub(super) fn new(global: Global) -> Self {
        let talk = if global.quiet || global.json { Talk::NeedsOnly } else { Talk::All };
        Self {
            cancel: CancellationToken::new(),
            screen: Arc::new(Screen::new(talk)),
            events: global.json.then(Arc::default),
            given: Given::default(),
            began: Instant::now(),
            global,
        }
    }

    /// The first Ctrl-C (or SIGTERM, SIGHUP) asks for a clean stop, the second ends the program.
    pub(super) fn stop_on_signals(&self) {
        use tokio::signal::unix::{SignalKind, signal};
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let Ok(mut signals) = signal(kind) else { continue };
            let (cancel, screen) = (self.cancel.clone(), Arc::clone(&self.screen));
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if cancel.is_cancelled() {
                        std::process::exit(i32::from(Trouble::Interrupted.exit_status()));
                    }
                    cancel.cancel();
                    screen.say("Stopping cleanly; what is complete is kept. (Ctrl-C again ends at once.)");
                }
            });
        }
    }

    /// DEST.
    pub(super) fn dest(&self) -> Result<PathBuf, Stop> {
        if let Some(dest) = &self.global.dest {
            return std::path::absolute(dest).map_err(|error| {
                Stop::new(Trouble::Usage, format!("{} is no folder: {error}.", dest.display()), "")
            });
        }
        std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(DEST_NAME)).ok_or_else(
            || {
                Stop::new(
                    Trouble::Usage,
                    "There is no home folder to keep things in.",
                    "Name one with --dest.",
                )
            },
        )
    }

    /// Observers for a command that answers with one object: people see it move, scripts wait for the answer.
    pub(super) fn watch_query(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.screen) as Arc<dyn Observer>
    }

    /// Observers for a long command: people see it move, scripts get an event a line.
    pub(super) fn watch(&self) -> Arc<dyn Observer> {
        match &self.events {
            None => self.watch_query(),
            Some(events) => Arc::new(Both(Arc::clone(events) as Arc<dyn Observer>, self.watch_query())),
        }
    }

    /// Is somebody at a terminal, or has everything been said yes to: then it is worth waiting for a person.
    pub(super) fn person_is_near(&self) -> bool {
        self.global.yes || self.global.demo || terminal::can_ask()
    }

    /// Tells how it ended, and the exit status.
    pub(super) fn end(&self, ended: Result<(), Stop>) -> u8 {
        self.screen.close(self.began.elapsed());
        match ended {
            Ok(()) => 0,
            Err(stop) => {
                if !stop.cause.is_empty() {
                    terminal::say(&format!("idevice-fix: {stop}"));
                }
                stop.trouble.exit_status()
            }
        }
    }

    /// For a query that failed under `--json`: the object that says so. People read the sentence on stderr.
    pub(super) fn explain(&self, name: &str, stop: Stop) -> Stop {
        if self.global.json {
            terminal::print_json(&json!({
                "schema": format!("idevice-fix/{name}/1"),
                "error": {"exit_status": stop.trouble.exit_status(), "cause": stop.cause, "next": stop.next},
            }));
        }
        stop
    }
}
