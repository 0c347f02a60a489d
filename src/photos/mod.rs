//! The copy of the photos: plan, pull, manifest, verify.

pub mod verify;
