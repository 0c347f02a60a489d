//! The phone's side against our own host's side.
