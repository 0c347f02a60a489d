//! What a long deed tells while it runs, and how it is asked to stop.
//!
//! Deeds know nothing of terminals: they hand [`Event`]s to an [`Observer`], and the doors decide how to show them.

use std::sync::Arc;
use std::time::Duration;

pub use tokio_util::sync::CancellationToken;

/// The part of a visit that is under way; `Display` gives the words for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Looking for a device and reaching it.
    Reach,
    /// Asking the phone for facts.
    Read,
    /// Copying the photo library's database off the phone.
    Library,
    /// Copying originals over AFC.
    Photos,
    /// Receiving a local backup.
    Backup,
    /// Taking files out of a backup.
    Extract,
    /// Sending a backup back to the phone.
    Restore,
    /// Reading a copy or a backup again and comparing it.
    Verify,
    /// Making JPEGs of the copy's pictures.
    Export,
}

impl Phase {
    /// Its name for scripts and in the record of visits; stable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Reach => "reach",
            Phase::Read => "read",
            Phase::Library => "library",
            Phase::Photos => "photos",
            Phase::Backup => "backup",
            Phase::Extract => "extract",
            Phase::Restore => "restore",
            Phase::Verify => "verify",
            Phase::Export => "export",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Reach => "reaching the phone",
            Phase::Read => "reading",
            Phase::Library => "reading the photo library",
            Phase::Photos => "copying photos",
            Phase::Backup => "backing up",
            Phase::Extract => "extracting",
            Phase::Restore => "restoring",
            Phase::Verify => "verifying",
            Phase::Export => "exporting pictures",
        })
    }
}

/// Something that only a person at the phone can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Touch {
    /// Tap "Trust" and enter the passcode.
    Trust,
    /// Unlock the screen.
    Unlock,
    /// Enter the passcode for a backup.
    Passcode,
}

/// One thing that happened; all counts are totals since the phase began, bytes are bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A phase began. Totals are `None` where nobody can know them yet.
    Began {
        /// Which phase.
        phase: Phase,
        /// Bytes to move, if known.
        bytes_total: Option<u64>,
        /// Files to move or check, if known.
        items_total: Option<u64>,
    },
    /// A phase moved on. Sent at most about ten times a second by the deed.
    Advanced {
        /// Which phase.
        phase: Phase,
        /// Bytes moved since the phase began.
        bytes_done: u64,
        /// The newest knowledge of the total.
        bytes_total: Option<u64>,
        /// Files finished since the phase began.
        items_done: u64,
    },
    /// A phase ended (well or not: the deed's result says).
    Ended {
        /// Which phase.
        phase: Phase,
    },
    /// A person is needed at the phone, for at most `within`.
    PersonNeeded {
        /// What to do there.
        touch: Touch,
        /// How long the phone or we will wait.
        within: Duration,
    },
    /// The person did it (or it is not needed any more).
    PersonDone {
        /// What was done.
        touch: Touch,
    },
    /// One item was skipped; the deed's result lists it too. Text may come from the phone: escape it when showing.
    Skipped {
        /// Which item, as a path or a name.
        item: String,
        /// Why, in plain words.
        reason: String,
    },
    /// A sentence worth saying. Text may come from the phone: escape it when showing.
    Note(String),
}

/// Receives events. Calls come from the deed's own task and must return at once.
pub trait Observer: Send + Sync {
    /// One event.
    fn event(&self, event: Event);
}

/// An observer that keeps nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event) {}
}

/// Two observers, each of which hears everything.
pub struct Both(
    /// Hears first.
    pub Arc<dyn Observer>,
    /// Hears second.
    pub Arc<dyn Observer>,
);

impl Observer for Both {
    fn event(&self, event: Event) {
        self.0.event(event.clone());
        self.1.event(event);
    }
}
