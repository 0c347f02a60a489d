//! AFC: the file service below `/var/mobile/Media`. Packets for both sides, and a client that keeps requests in flight.
//!
//! Knows paths as the phone names them and nothing of photos or of this computer's file system. The format is described
//! in libimobiledevice's `afc.h` and `afc.c`; where clients differ, the layout that all of them accept is written.

mod buffers;
pub mod client;
mod error;
mod flight;
pub mod info;
mod pacing;
pub mod packet;
mod reply;
pub mod request;
#[cfg(test)]
mod tests;

pub use client::{Afc, Dial, File, Piece, Read, SERVICE, Settings};
pub use error::{Cause, Error};
pub use info::{DeviceInfo, Directory, FileInfo, Kind};
pub use pacing::Pacing;
pub use packet::{Operation, Status};
pub use request::{Lock, OpenMode, Request, Whence};
