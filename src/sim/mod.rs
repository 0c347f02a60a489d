//! The simulated iPhone: a device's behaviour behind every protocol, from a folder in iOS' own formats.
//!
//! It behaves, it does not replay, and it accepts whatever real clients send. [`Device`] is the phone: its data, its
//! screen, its person, its clock and its faults. [`Bus`] is a [`crate::usbmux::Muxer`] with such phones on it, in
//! process; [`run`] serves a bus on sockets, where any client of usbmuxd finds it. What the phone changes goes to a
//! temporary folder that vanishes, unless the device is opened to keep.
//!
//! The folder's format is described in the project's README; the protocols where each file says.

use std::path::{Path, PathBuf};

mod afc;
mod bus;
pub mod cases;
pub mod config;
mod connections;
mod device;
mod diagnostics_relay;
mod direct;
mod embedded;
pub mod faults;
mod faulty;
mod folder;
mod healthy;
mod host_records;
mod house_arrest;
mod mobilebackup2;
pub mod new;
mod installation_proxy;
mod link;
mod lockdownd;
mod log;
mod mcinstall;
mod misagent;
mod notification_proxy;
mod os_trace_relay;
mod person;
mod pipe;
mod plists;
mod png;
mod ports;
mod rerouted;
mod run;
mod service;
mod small_services;
mod springboard;
mod supervision;
mod syslog_relay;
pub mod temper;
mod timer;
pub mod times;
pub mod tree;
mod trust;
mod values;
pub mod usb;
pub mod version;
mod watched;

pub use bus::{AWAY, Bus};
pub use device::{Departure, Device, Touched};
pub use rerouted::Rerouted;
pub use run::run;
pub use service::Service;

/// Why a folder is no simulated device.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It is not there, or no folder.
    #[error("{} is no folder of a simulated device: {reason}", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file in it is damaged, or says what it may not.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl FolderError {
    fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}
