//! lockdownd: answers on port 62078, with or without a session, and starts services.
//!
//! The requests are those of libimobiledevice `lockdown.c`; which value needs a session and which error is given
//! when follows its public issues (#153, #1078, #1191) and what real clients were seen to need.

mod records;
mod reply;
mod session;
#[cfg(test)]
mod tests;
mod values;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use plist::{Dictionary, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::config::{Lock, Trust};
use super::device::{Departure, Device};
use super::faults::Faults;
use super::ports::Ports;
use super::trust::{Answer, Pairing};
use crate::frame::{self, DictExt, Limits};
use crate::lockdown::Refusal;
use crate::lockdown::message::{self, Request};
use crate::usbmux::Stream;
use records::Records;
use reply::Said;

/// A client that asked for TLS must get on with it.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A client that stopped its session must close TLS.
const CLOSE_NOTIFY: Duration = Duration::from_secs(5);
/// Asking for it makes a real lockdownd crash.
const DEADLY_DOMAIN: &str = "com.apple.mobile.debug";

/// One connection to lockdownd.
#[derive(Debug)]
pub(super) struct Lockdownd {
    device: Arc<Device>,
    ports: Arc<Ports>,
    /// A harsh phone gives one reply of each connection in pieces: this one has not come yet.
    pieces_due: bool,
    faults: Faults,
}

/// A session that StartSession began.
struct Session {
    id: String,
    pairing: Pairing,
}

/// What an answer leads to.
enum Next {
    /// More requests.
    Go,
    /// TLS.
    Begin(Box<Session>),
    /// Back to plain text.
    Stop,
    /// The connection ends.
    End,
    /// The connection ends and the phone leaves the bus.
    Leave,
}

impl Lockdownd {
    pub(super) fn new(device: Arc<Device>, ports: Arc<Ports>) -> Self {
        let pieces_due = device.traits().lockdown_reply_in_pieces;
        let faults = Faults::new(Arc::clone(&device), "lockdown");
        Self { device, ports, pieces_due, faults }
    }

    /// Serves the connection until either side ends it.
    pub(super) async fn serve(mut self, stream: Stream) -> io::Result<()> {
        let mut stream = Records::new(stream);
        loop {
            let session = match self.converse(&mut stream, None).await? {
                Next::Begin(session) => session,
                next => return self.leave(&next),
            };
            let config = session::tls(&self.device, &session.pairing).await?;
            stream.set_tls(true);
            let acceptor = tokio_rustls::TlsAcceptor::from(config);
            let mut tls = timeout(HANDSHAKE, acceptor.accept(&mut stream)).await??;
            let next = self.converse(&mut tls, Some(&session)).await?;
            let farewell = tls.shutdown().await;
            if !matches!(next, Next::Stop) {
                // A client that has left needs no farewell.
                return self.leave(&next);
            }
            farewell?;
            // What the client still says inside TLS is its farewell; then plain text goes on.
            let _ = timeout(CLOSE_NOTIFY, tls.read(&mut [0; 256])).await;
            stream.set_tls(false);
        }
    }

    fn leave(&self, next: &Next) -> io::Result<()> {
        if matches!(next, Next::Leave) {
            self.device.leave(Departure::Off);
        }
        Ok(())
    }

    /// Answers requests until something else is to happen.
    async fn converse<S>(&mut self, stream: &mut S, session: Option<&Session>) -> io::Result<Next>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let asked = match frame::read(stream, &Limits::LOCKDOWN_UNTRUSTED).await {
                Ok(asked) => asked.into_dictionary().unwrap_or_default(),
                Err(frame::Error::Closed | frame::Error::Cut | frame::Error::Io(_)) => return Ok(Next::End),
                Err(error) => return Err(io::Error::other(error)),
            };
            if asked.string("Domain") == Some(DEADLY_DOMAIN) {
                return Ok(Next::End);
            }
            let (answer, next) = self.answer(&asked, session).await?;
            let in_pieces = self.pieces_due && asked.string("Request") == Some("GetValue");
            self.pieces_due &= !in_pieces;
            match reply::say(stream, &mut self.faults, answer, in_pieces).await? {
                Said::Refused => {}
                Said::Whole if matches!(next, Next::Go) => {}
                Said::Whole => return Ok(next),
                Said::Broken => return Ok(Next::End),
            }
        }
    }

    async fn answer(&self, asked: &Dictionary, session: Option<&Session>) -> io::Result<(Dictionary, Next)> {
        let Some(request) = Request::from_dictionary(asked) else {
            return Ok((message::refused("", &Refusal::MalformedCommand), Next::Go));
        };
        let name = request.name().to_owned();
        let acted = match request {
            Request::Other(name) => self.rare(&name, asked, session.is_some())?,
            request => self.act(request, session).await?,
        };
        let answered = match acted {
            Ok((extra, next)) => {
                let mut reply = message::reply(&name);
                reply.extend(extra);
                (reply, next)
            }
            Err(Refused { refusal, extra }) => {
                let mut reply = message::refused(&name, &refusal);
                reply.extend(extra);
                (reply, Next::Go)
            }
        };
        Ok(answered)
    }

    async fn act(&self, request: Request, session: Option<&Session>) -> io::Result<Acted> {
        let trusted = session.is_some();
        let device = &self.device;
        Ok(match request {
            Request::QueryType => go([("Type", message::TYPE.into())]),
            Request::GetValue { domain, key } => {
                let identity = device.identity().await?;
                let (domain, key) = (domain.as_deref(), key.as_deref());
                values::value(device, &identity, trusted, domain, key).map_or_else(no, go)
            }
            Request::SetValue { domain, key, value } => {
                values::set(device, trusted, domain.as_deref(), key, value).map_or_else(no, go)
            }
            Request::RemoveValue { domain, key } => {
                values::remove(device, trusted, domain.as_deref(), key).map_or_else(no, go)
            }
            Request::Pair { record, options } => self.pair(&record, &options).await?,
            Request::ValidatePair { record } => match self.known(&record) {
                Some(_) => go([]),
                None => no(Refusal::InvalidHostId),
            },
            Request::Unpair { record } => match record.string("HostID") {
                None => no(Refusal::MissingHostId),
                Some(host) if device.unpair(host)? => go([]),
                Some(_) => no(Refusal::InvalidHostId),
            },
            Request::StartSession { host_id, .. } => self.start_session(host_id, trusted),
            Request::StopSession { session_id } => stop_session(session_id, session),
            Request::StartService { service, escrow_bag } => {
                session::start_service(device, &self.ports, session.map(|s| &s.pairing), service, escrow_bag)
                    .await?
                    .map_or_else(no, go)
            }
            Request::EnterRecovery if trusted => Ok((Dictionary::new(), Next::Leave)),
            Request::EnterRecovery => no(Refusal::SessionInactive),
            Request::Goodbye => Ok((success(), Next::End)),
            Request::Other(_) => no(Refusal::MalformedCommand),
        })
    }

    /// What hardly any host asks.
    fn rare(&self, name: &str, asked: &Dictionary, trusted: bool) -> io::Result<Acted> {
        let device = &self.device;
        Ok(match name {
            "Activate" | "Deactivate" | "ResetPairing" if !trusted => no(Refusal::SessionInactive),
            "Activate" if asked.contains_key("ActivationRecord") => no(Refusal::InvalidActivationRecord),
            "Activate" => no(Refusal::MissingActivationRecord),
            "Deactivate" => {
                device.set_value("", "ActivationState", Some("Unactivated".into()));
                device.set_value("", "BrickState", Some(true.into()));
                device.post_notification("com.apple.mobile.lockdown.activation_state");
                go([])
            }
            "ResetPairing" => {
                device.unpair_all()?;
                go([])
            }
            _ => no(Refusal::MalformedCommand),
        })
    }

    fn known(&self, record: &Dictionary) -> Option<Pairing> {
        record.string("HostID").and_then(|host| self.device.pairing(host))
    }

    async fn pair(&self, record: &Dictionary, options: &Dictionary) -> io::Result<Acted> {
        if self.protected() {
            return Ok(no(Refusal::PasswordProtected));
        }
        Ok(match self.device.pair(record, options).await? {
            Answer::Paired { escrow_bag } => go(escrow_bag.map(|bag| ("EscrowBag", Value::Data(bag)))),
            Answer::Refused(refusal) => no(refusal),
            Answer::Challenge(challenge) => {
                let mut extended = Dictionary::new();
                extended.insert("PairingChallenge".to_owned(), Value::Data(challenge));
                let mut extra = Dictionary::new();
                extra.insert("ExtendedResponse".to_owned(), Value::Dictionary(extended));
                Err(Refused { refusal: Refusal::McChallengeRequired, extra })
            }
        })
    }

    fn start_session(&self, host_id: Option<String>, active: bool) -> Acted {
        if active {
            return no(Refusal::SessionActive);
        }
        let Some(host_id) = host_id else { return no(Refusal::MissingHostId) };
        if self.protected() {
            return no(Refusal::PasswordProtected);
        }
        let Some(pairing) = self.device.pairing(&host_id) else { return no(Refusal::InvalidHostId) };
        if self.device.config().trust.state == Trust::Denied {
            return no(Refusal::InvalidHostId);
        }
        let id = uuid::Uuid::new_v4().to_string().to_uppercase();
        let mut reply = Dictionary::new();
        reply.insert("SessionID".to_owned(), id.as_str().into());
        reply.insert("EnableSessionSSL".to_owned(), true.into());
        Ok((reply, Next::Begin(Box::new(Session { id, pairing }))))
    }

    /// Just plugged in, a harsh phone is not ready for a moment.
    fn protected(&self) -> bool {
        self.device.plugged_in_for() < self.device.traits().protected_after_plug_in
    }
}

/// What a request comes to: what is added to its reply and what follows, or a refusal.
type Acted = Result<(Dictionary, Next), Refused>;

struct Refused {
    refusal: Refusal,
    extra: Dictionary,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, extra: Dictionary::new() }
    }
}

fn no(refusal: Refusal) -> Acted {
    Err(refusal.into())
}

fn go(extra: impl IntoIterator<Item = (&'static str, Value)>) -> Acted {
    Ok((extra.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(), Next::Go))
}

fn success() -> Dictionary {
    let mut extra = Dictionary::new();
    extra.insert("Result".to_owned(), "Success".into());
    extra
}

fn stop_session(id: Option<String>, session: Option<&Session>) -> Acted {
    match (id, session) {
        (_, None) => no(Refusal::SessionInactive),
        (None, _) => no(Refusal::MissingSessionId),
        (Some(id), Some(session)) if id != session.id => no(Refusal::InvalidSessionId),
        _ => Ok((success(), Next::Stop)),
    }
}

/// Whether `device` keeps its data from a host at the moment.
fn is_locked(device: &Device) -> Option<Lock> {
    let lock = *device.lock().borrow();
    (lock != Lock::Unlocked).then_some(lock)
}
