//! The vault: stage, verify, promote, history; reading a backup without the phone.

pub mod verify;
