//! Talking to lockdownd, the phone's doorkeeper (port 62078).
//!
//! Knows its messages, how a host becomes trusted, and how a session is encrypted and tied to the device's own key.
//! Must not know what the values mean. The messages are those of libimobiledevice `lockdown.c`; what phones answer
//! is known from logs in its public issues.

pub mod certs;
pub mod connection;
pub mod message;
pub mod pairing;
mod record;
mod refusal;
mod session;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

pub use record::{BadRecord, PairRecord};
pub use refusal::Refusal;
pub use session::Session;

use crate::usbmux::{Attached, Muxer};
use crate::{frame, usbmux};

/// The port on which lockdownd answers.
pub const PORT: u16 = 62078;

/// The longest wait for an answer: lockdownd answers in milliseconds, and in seconds while the phone is waking up.
pub const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// The longest wait for a connection, or for TLS on one.
pub const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// A device that can be reached, and the muxer through which.
#[derive(Debug, Clone)]
pub struct Phone {
    /// Reaches its ports and keeps its pair record.
    pub muxer: Arc<dyn Muxer>,
    /// Which device.
    pub attached: Attached,
}

/// Why lockdown gave no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The muxer could not do its part.
    #[error(transparent)]
    Muxer(#[from] usbmux::Error),
    /// The device answered with a refusal.
    #[error("the device refused {request}: {refusal}")]
    Refused {
        /// What was asked.
        request: String,
        /// Its answer.
        refusal: Refusal,
    },
    /// The wire broke, or carried something that cannot be taken.
    #[error("{request}: {source}")]
    Wire {
        /// What was asked.
        request: String,
        /// What went wrong.
        source: frame::Error,
    },
    /// No answer in time; the connection is of no use any more.
    #[error("the device did not answer {0} in time")]
    Timeout(String),
    /// Another device answers than the muxer said.
    #[error("the muxer speaks of another device than the one that answers")]
    OtherDevice,
    /// An answer outside of the protocol.
    #[error("the device answered {request} with {what}")]
    Protocol {
        /// What was asked.
        request: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// The encrypted session could not be made.
    #[error("no encrypted connection to the device: {0}")]
    Tls(std::io::Error),
    /// Who answers does not hold the key of the device that was paired. The pair record is kept.
    #[error("the device does not have the key with which it was paired")]
    KeyMismatch,
    /// The pair record that the muxer keeps is of no use.
    #[error("the pair record kept for the device is unusable: {0}")]
    Record(#[from] BadRecord),
}

impl Error {
    /// Whether the connection was lost, by its end or by a break, so that a new one may do.
    #[must_use]
    pub fn is_lost_connection(&self) -> bool {
        use frame::Error as Wire;
        matches!(self, Self::Wire { source: Wire::Closed | Wire::Cut | Wire::Io(_), .. })
    }

    /// The device's refusal, if it was one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}
