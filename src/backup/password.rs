//! The password that encrypts a phone's backups: is one set, and setting, changing or removing it.
//!
//! The password lives in the phone, and this program keeps it nowhere. Whether one is set is read from lockdown before and
//! after: what the phone answers to the request is not believed alone.

use super::Secret;
use super::make::{OBSERVED, start, watched};
use crate::lockdown::{self, Refusal, Session};
use crate::mobilebackup2::codes::{self, Meaning};
use crate::mobilebackup2::host::{self, Host, Patience, Reply};
use crate::progress::{CancellationToken, Observer};
use crate::services::notification_proxy;

const DOMAIN: &str = "com.apple.mobile.backup";
const KEY: &str = "WillEncrypt";
/// The phone says that the password is wrong or missing.
const WRONG_PASSWORD: i64 = 207;
/// Longer than any password that a person types, and far below what a message may hold.
const BYTES_MAX: usize = 1024;

/// What is to become of the password.
#[derive(Debug, Clone)]
pub enum Change {
    /// None is set; this one will be.
    Set(Secret),
    /// The one that is set is replaced.
    Replace {
        /// The one that is set.
        old: Secret,
        /// The one to be set.
        new: Secret,
    },
    /// The one that is set is removed: backups are not encrypted any more.
    Remove(Secret),
}

impl Change {
    fn current(&self) -> Option<&Secret> {
        match self {
            Self::Set(_) => None,
            Self::Replace { old, .. } | Self::Remove(old) => Some(old),
        }
    }

    fn wanted(&self) -> Option<&Secret> {
        match self {
            Self::Remove(_) => None,
            Self::Replace { new, .. } | Self::Set(new) => Some(new),
        }
    }
}

/// Why the password is not as it was wished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A password is empty, too long, or no text, or a new one could not be typed elsewhere.
    #[error("a password must be text of 1 to {BYTES_MAX} bytes, and a new one without control characters")]
    Unusable,
    /// One is set already.
    #[error("a backup password is set already")]
    AlreadySet,
    /// None is set.
    #[error("no backup password is set")]
    NotSet,
    /// The old one is wrong.
    #[error("the backup password is wrong")]
    WrongPassword,
    /// Lockdown, or starting a service.
    #[error(transparent)]
    Lockdown(#[from] lockdown::Error),
    /// The talk with the phone broke off.
    #[error(transparent)]
    Talk(#[from] host::Error),
    /// The phone refuses.
    #[error("{} (the phone's error {code}: {description})", codes::meaning(*code).cause)]
    Device {
        /// Its code.
        code: i64,
        /// What it says about it: text from the phone.
        description: String,
    },
    /// The phone ended the talk without a result.
    #[error("the phone ended the talk without saying why: {0:?}")]
    Disconnected(String),
    /// The phone says done, and what lockdown says has not followed.
    #[error("the phone says that it is done, and its settings do not show it")]
    NotTaken,
    /// The person or the program asked to stop, here or on the phone.
    #[error("stopped on request")]
    Cancelled,
}

impl Error {
    /// What the phone's error means, where it is one.
    #[must_use]
    pub fn meaning(&self) -> Option<Meaning> {
        match self {
            Self::Device { code, .. } => Some(codes::meaning(*code)),
            _ => None,
        }
    }

    /// The phone waits for a person: its passcode was not entered, or it is locked.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        matches!(self, Self::Device { code: codes::DEVICE_LOCKED, .. })
    }
}

/// Whether the phone encrypts its backups. A phone on which no password was ever set says nothing: it does not.
///
/// # Errors
/// Lockdown; also a phone that does not let this be read.
pub async fn is_set(session: &Session) -> Result<bool, lockdown::Error> {
    match session.value(Some(DOMAIN), Some(KEY)).await {
        Ok(value) => {
            Ok(value.as_boolean() == Some(true) || value.as_unsigned_integer().is_some_and(|n| n != 0))
        }
        Err(lockdown::Error::Refused { refusal: Refusal::MissingValue, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Changes the password, and looks whether the phone did. It may ask for its passcode: `observer` is told.
///
/// # Errors
/// [`Error`]. After a broken talk it is not known which password is set.
pub async fn change(
    session: &Session,
    change: &Change,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let usable =
        |secret: &Secret| secret.text().is_some() && (1..=BYTES_MAX).contains(&secret.expose().len());
    // A new one must be such that a person can type it elsewhere; an old one is what it is.
    let typed = |secret: &Secret| secret.text().is_some_and(|text| !text.contains(char::is_control));
    if !change.current().into_iter().chain(change.wanted()).all(usable) || !change.wanted().is_none_or(typed)
    {
        return Err(Error::Unusable);
    }
    match (is_set(session).await?, change.current().is_some()) {
        (true, false) => return Err(Error::AlreadySet),
        (false, true) => return Err(Error::NotSet),
        _ => {}
    }
    request(session, change, observer, cancel).await?;
    if is_set(session).await? == change.wanted().is_some() { Ok(()) } else { Err(Error::NotTaken) }
}

async fn request(
    session: &Session,
    change: &Change,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let broken = |error| if cancel.is_cancelled() { Error::Cancelled } else { Error::Talk(error) };
    // Without notifications it works too; only nobody is told of the passcode.
    let notifications = notification_proxy::observe(session, &OBSERVED).await.ok();
    let stream = start(session).await?;
    let stopping = cancel.child_token();
    let host = Host::greet(stream, Patience::default(), &stopping).await.map_err(broken)?;
    let udid = session.phone().attached.udid.clone();
    let asking = host.change_password(&udid, change.current(), change.wanted(), &stopping);
    let (answer, cancelled_on_phone) = watched(asking, notifications, observer, &stopping).await;
    match answer {
        Ok(Reply::Done) => Ok(()),
        Ok(Reply::DeviceError { code: WRONG_PASSWORD, .. }) => Err(Error::WrongPassword),
        Ok(Reply::DeviceError { code, description }) => Err(Error::Device { code, description }),
        Ok(Reply::Disconnected { text }) => Err(Error::Disconnected(text)),
        Err(_) if cancelled_on_phone => Err(Error::Cancelled),
        Err(error) => Err(broken(error)),
    }
}
