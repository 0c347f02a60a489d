//! The vault: stage, verify, promote, history; reading a backup without the phone.
//!
//! A backup here has the iTunes format that other tools read, and beside it our own record of what was received. It
//! counts only when it was proven ([`verify`]), and the one proven before it is not touched until then.

pub mod adopt;
mod by_path;
pub mod camera_roll;
mod check;
pub mod choice;
pub mod cipher;
pub mod extract;
pub mod harmless;
mod info;
mod interrupted;
pub mod keybag;
pub mod make;
pub mod manifest;
pub mod mbfile;
pub mod password;
pub mod proof_file;
pub mod read;
pub mod record;
pub mod restore;
pub mod vault;
pub mod verify;

pub use crate::mobilebackup2::Secret;
