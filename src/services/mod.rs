//! The small services that lockdown starts, one file each.
//!
//! Knows the crate `idevice` and is the only module that does. The crate gets a stream that is connected, encrypted and
//! tied to the device's key already, and that lets only frames within [`Limits`] through ([`Guard`]): the crate itself
//! trusts every length and every depth. Its own connecting, TLS, lockdown and pairing are never used. Each call runs in a task
//! of its own with a time limit, since no call in the crate may be cancelled and then used again, and some answers
//! make it panic.
//!
//! **Its log must stay off**, also under `RUST_LOG`: at the level DEBUG the target `idevice` prints every message, and so
//! whatever secret is in one. Whoever sets up the subscriber (the command line does) filters that target out.

pub mod diagnostics;
pub mod installation_proxy;
pub mod notification_proxy;
pub mod springboard;

use std::future::Future;
use std::time::Duration;

use idevice::{Idevice, IdeviceError};
use tokio_util::task::AbortOnDropHandle;

use crate::frame::{self, Guard, Limits};
use crate::lockdown::{self, Refusal, Session, message};
use crate::usbmux::Stream;

/// The longest wait for one answer of a small service.
const ANSWER_WAIT: Duration = Duration::from_secs(20);

/// Why a service gave no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Lockdown did not start it, or it could not be reached.
    #[error(transparent)]
    Lockdown(#[from] lockdown::Error),
    /// The service answered with a refusal.
    #[error("{service} refused: {refusal}")]
    Refused {
        /// Which service.
        service: &'static str,
        /// Its answer.
        refusal: Refusal,
    },
    /// The connection broke, or carried something that cannot be taken.
    #[error("{service}: {source}")]
    Wire {
        /// Which service.
        service: &'static str,
        /// What went wrong.
        source: frame::Error,
    },
    /// An answer outside of the protocol.
    #[error("{service} answered with {what}")]
    Protocol {
        /// Which service.
        service: &'static str,
        /// What is wrong with the answer; safe to show.
        what: String,
    },
    /// No answer in time.
    #[error("{0} did not answer in time")]
    Timeout(&'static str),
}

impl Error {
    /// The device's refusal, if it was one: of lockdown to start the service, or of the service itself.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Lockdown(error) => error.refusal(),
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }
}

/// Starts a service and lets the crate speak with it: in a task of its own, for `wait` at most.
async fn call<T, Deed>(
    session: &Session,
    service: &'static str,
    wait: Duration,
    deed: impl FnOnce(Idevice) -> Deed,
) -> Result<T, Error>
where
    T: Send + 'static,
    Deed: Future<Output = Result<T, IdeviceError>> + Send + 'static,
{
    let stream = session.start_service(service).await?;
    in_own_task(service, wait, deed(guarded(stream, Limits::LOCKDOWN))).await
}

/// The stream as the crate wants it.
fn guarded(stream: Stream, limits: Limits) -> Idevice {
    Idevice::new(Box::new(Guard::new(stream, limits)), message::LABEL)
}

/// Runs a deed of the crate's; the task ends with this call, however it ends.
async fn in_own_task<T: Send + 'static>(
    service: &'static str,
    wait: Duration,
    deed: impl Future<Output = Result<T, IdeviceError>> + Send + 'static,
) -> Result<T, Error> {
    let task = AbortOnDropHandle::new(tokio::spawn(deed));
    match tokio::time::timeout(wait, task).await {
        Err(_) => Err(Error::Timeout(service)),
        Ok(Err(_panicked)) => {
            Err(Error::Protocol { service, what: "something that cannot be read".to_owned() })
        }
        Ok(Ok(outcome)) => outcome.map_err(|error| translate(service, error)),
    }
}

/// The crate keeps most of the device's refusals as text.
fn translate(service: &'static str, error: IdeviceError) -> Error {
    let refused = |refusal| Error::Refused { service, refusal };
    match error {
        IdeviceError::Socket(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::Wire { service, source: frame::Error::Closed }
        }
        IdeviceError::Socket(source) => Error::Wire { service, source: frame::Error::Io(source) },
        IdeviceError::UnknownErrorType(name) => refused(Refusal::from_name(&name)),
        IdeviceError::GetProhibited => refused(Refusal::GetProhibited),
        IdeviceError::DeviceLocked => refused(Refusal::DeviceLocked),
        IdeviceError::MalformedCommand => refused(Refusal::MalformedCommand),
        IdeviceError::InternalError(_) => refused(Refusal::InternalError),
        other => Error::Protocol { service, what: other.to_string().escape_debug().to_string() },
    }
}

#[cfg(test)]
mod tests;
