//! A whole visit: collect, answer, protect, judge, act, collect again.

pub mod words;
