//! DeviceLink messages and streams; the host's side of a backup, inside one device's folder.
//!
//! After the greetings the *device* drives a backup: it asks the host for space, folders, listings, moves and removals,
//! sends files and takes files back, and says at the end how it went. What it says is untrusted: every message is
//! bounded before it is parsed, every path is confined to the folder of the one device that is backed up, and nothing
//! that stands is ever written in place.
//!
//! This module knows nothing of vaults, manifests or proofs: it keeps what a device sends and reports each file with
//! the digest taken while it came in. The formats are described by libimobiledevice's
//! `idevicebackup2.c` and `mobilebackup2.c` and by pymobiledevice3's `device_link.py`.

pub mod codes;
pub(crate) mod disk;
pub mod folder;
pub mod host;
pub mod ledger;
pub mod message;
pub mod request;
mod secret;
pub mod stream;
pub mod wish;

pub use secret::Secret;
