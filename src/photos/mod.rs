//! The copy of the photos: walk, plan, pull, manifest, verify.
//!
//! Knows AFC and one device's folder on this computer: a mirrored tree under `photos/` and its manifest. Knows the
//! library only as facts; knows no backup: a file that comes from one is handed in as a reader ([`Store::take_in`]).
//! Everything about a photo lives here once: what a walk copies, which local name it gets, when it is durable.

pub mod adopt;
mod commit;
mod exif;
pub mod export;
mod fetch;
mod folder;
mod knowledge;
pub mod layout;
pub mod gallery;
mod manifest;
mod names;
mod partial;
mod plan;
pub mod pull;
mod sink;
mod stage;
mod store;
#[cfg(test)]
mod tests;
pub mod verify;
mod walk;
pub(crate) mod whole;

pub use knowledge::Remembered;
pub use manifest::{Entry, Source};
pub use plan::{Item, Plan};
pub use pull::{Ended, Options, Pulled, Refused, pull, pull_with};
pub use store::{Error, Store, Taken};
pub use walk::{walk, walk_anew};

/// The digest of a finished SHA-256.
fn digest(hash: aws_lc_rs::digest::Context) -> [u8; 32] {
    hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}
