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
        self.twice(async |connection| connection.value(domain, key).await).await
    }

    /// Sets a value.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn set_value(&self, domain: Option<&str>, key: &str, value: Value) -> Result<(), Error> {
        self.twice(async |connection| connection.set_value(domain, key, value.clone()).await).await
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
        let started = self.twice(async |connection| connection.start_service(name, escrow_bag).await).await?;
        let stream = reach(&self.phone, started.port).await?;
        if started.tls { encrypt(stream, &self.config).await } else { Ok(stream) }
    }

    /// Does a request, and once more over a new connection if the old one turns out to be gone.
    async fn twice<T>(
        &self,
        mut request: impl AsyncFnMut(&mut Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_mut() {
            let outcome = request(connection).await;
            match &outcome {
                Ok(_) => return outcome,
                Err(error) if !session_is_gone(error) => {
                    if !matches!(error, Error::Refused { .. }) {
                        *slot = None;
                    }
                    return outcome;
                }
                Err(_) => *slot = None,
            }
        }
        let connection = Connection::open(&self.phone).await?;
        let connection = slot.insert(connection.start_session(&self.record, &self.config).await?);
        request(connection).await
    }
}

/// Whether the answer says that a new session is needed. A wait that was too long is not repeated.
fn session_is_gone(error: &Error) -> bool {
    error.is_lost_connection()
        || matches!(error.refusal(), Some(Refusal::SessionInactive | Refusal::InvalidConnection))
}
