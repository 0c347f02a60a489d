//! Asks the phone, reads its library, looks at what we hold, and fills [`Facts`].
//!
//! This is the only place where a device's *no* becomes a fact or a gap, with the device's own word in its reason.
//! It judges nothing and changes nothing on the phone. Every wait has a limit. What one part cannot read does not
//! stop the others; only a phone that has left does.
//!
//! The domain `com.apple.mobile.debug` is never asked for: it makes lockdownd crash (libimobiledevice's
//! `ideviceinfo.c`).

mod battery;
pub mod bus;
mod database;
mod domains;
mod engine;
mod full;
mod inside_backup;
mod kept;
mod line;
mod management;
pub mod models;
mod panics;
mod quick;
mod reach;
mod resolve;

pub use database::census;
pub use full::full;
pub use inside_backup::{library_from_backup, refine};
pub use kept::kept;
pub use quick::quick;
pub use reach::{reach_of, stranger, unreached};

use crate::facts::Facts;
use crate::facts::text::plain;
use crate::{lockdown, usbmux};

/// The reason of a gap that [`full()`] is still going to fill.
pub const NOT_READ_YET: &str = "not read yet";

/// What [`quick()`] leaves to [`full()`], by fact or group.
const LEFT_TO_FULL: &[&str] = &[
    "battery.health_percent",
    "battery.cycle_count",
    "battery.temperature_c",
    "battery.current_ma",
    "battery.adapter_watts",
    "icloud_photos.photo_stream_traces",
    "icloud_photos.backlog",
    "settings.profiles",
    "settings.supervised",
    "settings.recent_panics",
    "library",
    "media",
    "photo_copy",
];

/// Why collecting stopped. Whatever was read until then is in the facts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The phone left, or cannot be asked anything any more.
    #[error("the phone cannot be asked any more: {0}")]
    Lost(#[from] lockdown::Error),
    /// We were asked to stop.
    #[error("interrupted")]
    Cancelled,
}

/// An error's words, harmless wherever they are shown.
fn words(error: &impl std::fmt::Display) -> String {
    plain(&error.to_string())
}

/// Whether no further question can be answered: the phone is off the bus, or what answers is not it.
fn is_lost(error: &lockdown::Error) -> bool {
    matches!(
        error,
        lockdown::Error::Muxer(usbmux::Error::NoSuchDevice | usbmux::Error::NotRunning(_))
            | lockdown::Error::KeyMismatch
            | lockdown::Error::OtherDevice
    )
}

/// Notes the same reason for several facts.
fn gaps(facts: &mut Facts, names: &[&'static str], reason: &str) {
    for name in names {
        facts.gap(*name, reason);
    }
}
