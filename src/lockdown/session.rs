//! An encrypted session with a trusted phone.

use std::sync::Arc;

use plist::Value;
use rustls::ClientConfig;
use tokio::sync::Mutex;

use super::connection::{Connection, encrypt, reach};
use super::{Error, PairRecord, Phone, Refusal, tls};
use crate::usbmux::{Stream, Udid};

/// A session with a phone that trusts this computer. Requests wait for each other; each has a time limit.
///
/// Phones close a lockdown connection that was quiet for long, and a cancelled request makes one useless: the next
/// request then opens a new one by itself, once. A connection is closed by closing it, as most hosts do.
pub struct Session {
    phone: Phone,
    record: PairRecord,
    config: Arc<ClientConfig>,
    connection: Mutex<Option<Connection>>,
}

/// Shows the device and nothing of the pair record.
impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("attached", &self.phone.attached).finish_non_exhaustive()
    }
}

/// Does a request, and once more over a new connection if the old one turns out to be gone. No function: a closure that
/// gives a future which borrows the connection is not known to be `Send`.
macro_rules! twice {
    ($session:expr, |$connection:ident| $request:expr) => {{
        let mut slot = $session.connection.lock().await;
        let first = match slot.as_mut() {
            Some($connection) => Some($request.await),
            None => None,
        };
        match first {
            Some(outcome) if is_final(&outcome, &mut slot) => outcome,
            _ => {
                let $connection = $session.anew(&mut slot).await?;
                $request.await
            }
        }
    }};
}

impl Session {
    /// Opens a session with the record of an earlier pairing.
    ///
    /// # Errors
    /// [`Refusal::InvalidHostId`] when the phone does not know this pairing (any more), [`Error::KeyMismatch`] when
    /// another device answers; neither changes what the muxer keeps.
    pub async fn open(phone: &Phone, record: &PairRecord) -> Result<Self, Error> {
        let config = tls::client_config(record)?;
        let connection = Connection::open(phone).await?.start_session(record, &config).await?;
        Ok(Self {
            phone: phone.clone(),
            record: record.clone(),
            config,
            connection: Mutex::new(Some(connection)),
        })
    }

    /// Which phone, and through which muxer.
    #[must_use]
    pub fn phone(&self) -> &Phone {
        &self.phone
    }

    /// The phone's id.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.phone.attached.udid
    }

    /// A value, or with no key a dictionary of all that the domain holds.
    ///
    /// # Errors
    /// [`Refusal::MissingValue`] when there is none; see [`Error`].
    pub async fn value(&self, domain: Option<&str>, key: Option<&str>) -> Result<Value, Error> {
        twice!(self, |connection| connection.value(domain, key))
    }

    /// Sets a value.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn set_value(&self, domain: Option<&str>, key: &str, value: Value) -> Result<(), Error> {
        twice!(self, |connection| connection.set_value(domain, key, value.clone()))
    }

    /// Starts a service and connects to it, encrypted where the phone wants that.
    ///
    /// # Errors
    /// [`Refusal::PasswordProtected`] while the phone is locked, [`Refusal::InvalidService`] when it has no such
    /// service; see [`Error`].
    pub async fn start_service(&self, name: &str) -> Result<Stream, Error> {
        self.service(name, None).await
    }

    /// As [`Self::start_service`], with the escrow bag of the pairing if there is one: then it also works on a locked
    /// phone that was unlocked once since it started.
    ///
    /// # Errors
    /// [`Refusal::EscrowLocked`], or [`Refusal::MissingValue`] on some versions, when it was not; see [`Error`].
    pub async fn start_service_escrowed(&self, name: &str) -> Result<Stream, Error> {
        self.service(name, self.record.escrow_bag()).await
    }

    async fn service(&self, name: &str, escrow_bag: Option<&[u8]>) -> Result<Stream, Error> {
        let started = twice!(self, |connection| connection.start_service(name, escrow_bag))?;
        let stream = reach(&self.phone, started.port).await?;
        if started.tls { encrypt(stream, &self.config).await } else { Ok(stream) }
    }

    /// A connection in place of one that turned out to be gone.
    async fn anew<'c>(&self, slot: &'c mut Option<Connection>) -> Result<&'c mut Connection, Error> {
        let connection = Connection::open(&self.phone).await?;
        Ok(slot.insert(connection.start_session(&self.record, &self.config).await?))
    }
}

/// Whether an outcome is final; where the connection is of no further use, it is let go. `false`: once more.
fn is_final<T>(outcome: &Result<T, Error>, slot: &mut Option<Connection>) -> bool {
    let Err(error) = outcome else { return true };
    let gone = session_is_gone(error);
    if gone || !matches!(error, Error::Refused { .. }) {
        *slot = None;
    }
    !gone
}

/// Whether the answer says that a new session is needed. A wait that was too long is not repeated.
fn session_is_gone(error: &Error) -> bool {
    error.is_lost_connection()
        || matches!(error.refusal(), Some(Refusal::SessionInactive | Refusal::InvalidConnection))
}
