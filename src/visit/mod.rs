//! A whole visit: collect, answer, protect, judge, act, collect again.

pub mod plan;
pub mod host;
mod outcome;
pub mod reach;
pub mod space;
mod stop;
pub mod words;

pub use outcome::{BackupKept, Outcome, PhotosKept, Protection, Skipped, Whereabouts};
pub use stop::{Stop, Trouble, exit_status};
