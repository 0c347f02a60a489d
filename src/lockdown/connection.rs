//! One connection to lockdownd: a request, its answer, in order.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use plist::{Dictionary, Value};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::message::{self, Request};
use super::{ANSWER_WAIT, CONNECT_WAIT, Error, PORT, PairRecord, Phone, tls};
use crate::frame::{self, DictExt, Encoding, Limits};
use crate::usbmux::{self, Stream};

/// A connection to lockdownd, in plain text at first. What a stranger may say on it is bounded tightly; more is taken
/// once it is encrypted to the paired device.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    limits: Limits,
    /// A request was begun and not finished: whatever comes next cannot be told apart from its answer.
    unfinished: bool,
}

/// A service that lockdownd has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Where it waits for one connection.
    pub port: u16,
    /// Whether that connection begins with TLS.
    pub tls: bool,
}

impl Connection {
    /// Connects to the device's lockdownd.
    ///
    /// # Errors
    /// The muxer's, or [`Error::Timeout`] after [`CONNECT_WAIT`].
    pub async fn open(phone: &Phone) -> Result<Self, Error> {
        Ok(Self::over(reach(phone, PORT).await?))
    }

    /// Speaks over a stream that is connected to a lockdownd.
    #[must_use]
    pub fn over(stream: Stream) -> Self {
        Self { stream, limits: Limits::LOCKDOWN_UNTRUSTED, unfinished: false }
    }

    /// Sends a request and waits for its answer, for [`ANSWER_WAIT`] at most.
    ///
    /// # Errors
    /// [`Error::Refused`] with the device's refusal; after any other error, and after a cancelled wait, the connection
    /// is of no use and says so.
    pub async fn ask(&mut self, request: &Request) -> Result<Dictionary, Error> {
        if std::mem::replace(&mut self.unfinished, true) {
            return Err(wire(request, frame::Error::Closed));
        }
        let exchange = self.exchange(request);
        let reply = timeout(ANSWER_WAIT, exchange)
            .await
            .map_err(|_| Error::Timeout(request.name().to_owned()))?
            .map_err(|source| wire(request, source))?;
        let reply = reply.into_dictionary().ok_or_else(|| odd(request, "no dictionary"))?;
        if reply.string("Request").is_some_and(|name| name != request.name()) {
            return Err(odd(request, "the answer to another request"));
        }
        self.unfinished = false;
        match message::refusal_of(&reply) {
            None => Ok(reply),
            Some(refusal) => Err(Error::Refused { request: described(request), refusal }),
        }
    }

    async fn exchange(&mut self, request: &Request) -> Result<Value, frame::Error> {
        let sent = Value::Dictionary(request.to_dictionary());
        frame::write(&mut self.stream, &sent, Encoding::Xml).await?;
        frame::read(&mut self.stream, &self.limits).await
    }

    /// What answers: [`message::TYPE`] on a phone that runs iOS.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn query_type(&mut self) -> Result<String, Error> {
        let reply = self.ask(&Request::QueryType).await?;
        Ok(reply.string("Type").ok_or_else(|| odd(&Request::QueryType, "no Type"))?.to_owned())
    }

    /// A value, or with no key a dictionary of all that the domain gives now. Outside of a session that is little.
    ///
    /// # Errors
    /// As [`Self::ask`]; [`super::Refusal::MissingValue`] when there is none.
    pub async fn value(&mut self, domain: Option<&str>, key: Option<&str>) -> Result<Value, Error> {
        let request = Request::GetValue { domain: domain.map(str::to_owned), key: key.map(str::to_owned) };
        let mut reply = self.ask(&request).await?;
        reply.remove("Value").ok_or_else(|| odd(&request, "no Value"))
    }

    /// Sets a value.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn set_value(&mut self, domain: Option<&str>, key: &str, value: Value) -> Result<(), Error> {
        let request = Request::SetValue {
            domain: domain.map(str::to_owned),
            key: Some(key.to_owned()),
            value: Some(value),
        };
        self.ask(&request).await.map(drop)
    }

    /// Asks to be trusted. The first time this raises the question on the phone, and is refused as pending at once.
    /// Gives the escrow bag, which a locked supervised phone keeps back.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn pair(&mut self, record: &PairRecord) -> Result<Option<Vec<u8>>, Error> {
        let mut options = Dictionary::new();
        // Without it the phone says only that it is protected, never that the question is on its screen.
        options.insert("ExtendedPairingErrors".into(), true.into());
        let reply = self.ask(&Request::Pair { record: record.public_part(), options }).await?;
        Ok(reply.data("EscrowBag").map(<[u8]>::to_vec))
    }

    /// Begins a session and encrypts the connection to the device whose key `tls` pins.
    ///
    /// # Errors
    /// As [`Self::ask`]; [`Error::KeyMismatch`] when another device answers.
    pub async fn start_session(
        mut self,
        record: &PairRecord,
        config: &Arc<ClientConfig>,
    ) -> Result<Self, Error> {
        let request = Request::StartSession {
            host_id: Some(record.host_id().to_owned()),
            system_buid: Some(record.system_buid().to_owned()),
        };
        let reply = self.ask(&request).await?;
        if reply.boolean("EnableSessionSSL") != Some(true) {
            return Err(odd(&request, "a session without encryption"));
        }
        let stream = encrypt(self.stream, config).await?;
        Ok(Self { stream, limits: Limits::LOCKDOWN, unfinished: false })
    }

    /// Starts a service; with the escrow bag also one that the lock screen closes.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn start_service(&mut self, name: &str, escrow_bag: Option<&[u8]>) -> Result<Started, Error> {
        let request = Request::StartService {
            service: Some(name.to_owned()),
            escrow_bag: escrow_bag.map(<[u8]>::to_vec),
        };
        let reply = self.ask(&request).await?;
        let port = reply.uint("Port").and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0);
        let port = port.ok_or_else(|| odd(&request, "no Port"))?;
        Ok(Started { port, tls: reply.boolean("EnableServiceSSL").unwrap_or(false) })
    }
}

/// Connects to a port, for [`CONNECT_WAIT`] at most.
pub(super) async fn reach(phone: &Phone, port: u16) -> Result<Stream, Error> {
    let connecting = phone.muxer.connect(phone.attached.id, port);
    within(CONNECT_WAIT, "a connection", async { connecting.await.map_err(usbmux::Error::into) }).await
}

/// TLS to the device whose key `config` pins, for [`CONNECT_WAIT`] at most.
pub(super) async fn encrypt(stream: Stream, config: &Arc<ClientConfig>) -> Result<Stream, Error> {
    within(CONNECT_WAIT, "the start of encryption", tls::connect(stream, config)).await
}

async fn within<T>(
    wait: Duration,
    what: &str,
    deed: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(wait, deed).await.unwrap_or_else(|_| Err(Error::Timeout(what.to_owned())))
}

fn wire(request: &Request, source: frame::Error) -> Error {
    Error::Wire { request: described(request), source }
}

fn odd(request: &Request, what: &str) -> Error {
    Error::Protocol { request: described(request), what: what.to_owned() }
}

/// The request with what it is about, as errors name it.
fn described(request: &Request) -> String {
    match request {
        Request::GetValue { domain, key } | Request::SetValue { domain, key, .. } => {
            let place: Vec<&str> = [domain, key].into_iter().flatten().map(String::as_str).collect();
            format!("{} {}", request.name(), place.join(" ")).trim_end().to_owned()
        }
        Request::StartService { service: Some(service), .. } => format!("StartService {service}"),
        other => other.name().to_owned(),
    }
}
