//! A whole visit: collect, answer, protect, judge, act, collect again.

pub mod plan;
//pub mod reach;
pub mod space;
mod stop;
pub mod words;

pub use stop::{Stop, Trouble, exit_status};
