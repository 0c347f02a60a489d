//! The client of a running usbmuxd: the system's, another program's, or a simulated device's.

use std::future::Future;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use plist::Dictionary;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::message::{self, HEADER_BYTES, Header, REPLY_BYTES_MAX, Request, ResultCode};
use super::{Address, Attached, DeviceId, Error, Event, Muxer, Stream, Udid};
use crate::frame::{self, DictExt, Limits};

/// The longest wait for the socket, and for an answer that needs no device.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// The longest wait for a connection to a device's port.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Events that may wait for a slow listener before the muxer is made to wait.
const EVENTS_WAITING_MAX: usize = 64;
const LIMITS: Limits = Limits { bytes: REPLY_BYTES_MAX, depth: 16, nodes: 100_000 };

/// A usbmuxd that runs elsewhere. Each request has its own connection, as libimobiledevice does it.
#[derive(Debug, Clone)]
pub struct Usbmuxd {
    address: Address,
}

impl Usbmuxd {
    /// The one that `USBMUXD_SOCKET_ADDRESS` names, else the system's. Nothing is opened yet.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub fn from_env() -> Result<Self, Error> {
        Address::from_env().map(Self::at)
    }

    /// The one at `address`. Nothing is opened yet.
    #[must_use]
    pub fn at(address: Address) -> Self {
        Self { address }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    async fn open(&self, request: &'static str) -> Result<Stream, Error> {
        let connecting = async {
            match &self.address {
                Address::Unix(path) => UnixStream::connect(path).await.map(|s| Box::new(s) as Stream),
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    // Requests are small and answered one by one: waiting to fill a packet costs 40 ms each.
                    stream.set_nodelay(true)?;
                    Ok(Box::new(stream) as Stream)
                }
            }
        };
        let connected = timeout(ANSWER_WAIT, connecting).await.map_err(|_| Error::Timeout(request))?;
        connected.map_err(|error| self.why_not_open(request, error))
    }

    fn why_not_open(&self, request: &'static str, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Error::NoPermission(self.address.to_string()),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Error::NotRunning(self.address.to_string())
            }
            _ => Error::Io { request, source: error },
        }
    }

    /// Sends a request over a connection of its own; the answer, and the connection for what may follow.
    async fn ask(&self, request: &Request, wait: Duration) -> Result<(Dictionary, Stream), Error> {
        let name = request.name();
        let mut stream = self.open(name).await?;
        let reply = within(wait, name, exchange(&mut stream, request)).await?;
        Ok((reply, stream))
    }

    /// Sends a request whose answer is only a number.
    async fn order(&self, request: &Request, wait: Duration) -> Result<(ResultCode, Stream), Error> {
        let (reply, stream) = self.ask(request, wait).await?;
        let code = result_code(&reply).ok_or_else(|| odd(request.name(), "no result"))?;
        Ok((code, stream))
    }
}

async fn within<T>(
    wait: Duration,
    request: &'static str,
    deed: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(wait, deed).await.unwrap_or(Err(Error::Timeout(request)))
}

async fn exchange(stream: &mut Stream, request: &Request) -> Result<Dictionary, Error> {
    const TAG: u32 = 1;
    let name = request.name();
    let broke = |source| Error::Io { request: name, source };
    stream.write_all(&message::encode_plist(TAG, request.to_dictionary())).await.map_err(broke)?;
    stream.flush().await.map_err(broke)?;
    receive(stream, name).await
}

/// The next message. Not safe to cancel.
async fn receive(stream: &mut Stream, request: &'static str) -> Result<Dictionary, Error> {
    let broke = |source| Error::Io { request, source };
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await.map_err(broke)?;
    let header = Header::parse(&header);
    let length = header
        .body_bytes(REPLY_BYTES_MAX)
        .ok_or_else(|| odd(request, format!("a message of {} bytes", header.length)))?;
    let mut body = Vec::new();
    let received = stream.take(length as u64).read_to_end(&mut body).await.map_err(broke)?;
    if received < length {
        return Err(broke(io::ErrorKind::UnexpectedEof.into()));
    }
    match header.kind {
        message::kind::PLIST => {
            let parsed = frame::parse(&body, &LIMITS).map_err(|error| odd(request, error.to_string()))?;
            parsed.into_dictionary().ok_or_else(|| odd(request, "no dictionary"))
        }
        // What a usbmuxd without property lists answers to one.
        message::kind::RESULT => {
            let code = body.first_chunk().map(|bytes| ResultCode(u32::from_le_bytes(*bytes)));
            code.map(message::result).ok_or_else(|| odd(request, "an empty result"))
        }
        kind => Err(odd(request, format!("a message of kind {kind}"))),
    }
}

fn result_code(reply: &Dictionary) -> Option<ResultCode> {
    (reply.string("MessageType") == Some("Result")).then_some(())?;
    reply.uint("Number").and_then(|number| u32::try_from(number).ok()).map(ResultCode)
}

fn odd(request: &'static str, what: impl Into<String>) -> Error {
    Error::Protocol { request, what: what.into() }
}

fn odd_result(request: &'static str, code: ResultCode) -> Error {
    odd(request, format!("result {}", code.0))
}

#[async_trait]
impl Muxer for Usbmuxd {
    async fn devices(&self) -> Result<Vec<Attached>, Error> {
        let (reply, _) = self.ask(&Request::ListDevices, ANSWER_WAIT).await?;
        let list = reply.array("DeviceList").ok_or_else(|| odd("ListDevices", "no DeviceList"))?;
        let entries = list.iter().filter_map(plist::Value::as_dictionary);
        Ok(entries.filter_map(message::attached_from_dictionary).collect())
    }

    async fn listen(&self) -> Result<mpsc::Receiver<Event>, Error> {
        let (code, stream) = self.order(&Request::Listen, ANSWER_WAIT).await?;
        if code != ResultCode::OK {
            return Err(odd_result("Listen", code));
        }
        let (events, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        tokio::spawn(forward_events(stream, events));
        Ok(receiver)
    }

    async fn connect(&self, device: DeviceId, port: u16) -> Result<Stream, Error> {
        let (code, stream) = self.order(&Request::Connect { device, port }, CONNECT_WAIT).await?;
        match code {
            ResultCode::OK => Ok(stream),
            ResultCode::BAD_DEVICE => Err(Error::NoSuchDevice),
            ResultCode::REFUSED => Err(Error::Refused(port)),
            other => Err(odd_result("Connect", other)),
        }
    }

    async fn buid(&self) -> Result<String, Error> {
        let (reply, _) = self.ask(&Request::ReadBuid, ANSWER_WAIT).await?;
        reply.string("BUID").map(str::to_owned).ok_or_else(|| odd("ReadBUID", "no BUID"))
    }

    async fn pair_record(&self, udid: &Udid) -> Result<Option<Vec<u8>>, Error> {
        let request = Request::ReadPairRecord { udid: udid.to_string() };
        let (reply, _) = self.ask(&request, ANSWER_WAIT).await?;
        if let Some(record) = reply.data("PairRecordData") {
            return Ok(Some(record.to_owned()));
        }
        match result_code(&reply) {
            Some(ResultCode::NO_ENTRY) => Ok(None),
            Some(code) => Err(odd_result("ReadPairRecord", code)),
            None => Err(odd("ReadPairRecord", "no record and no result")),
        }
    }

    async fn save_pair_record(
        &self,
        udid: &Udid,
        device: Option<DeviceId>,
        record: &[u8],
    ) -> Result<(), Error> {
        let request = Request::SavePairRecord { udid: udid.to_string(), device, record: record.to_owned() };
        match self.order(&request, ANSWER_WAIT).await?.0 {
            ResultCode::OK => Ok(()),
            code => Err(odd_result("SavePairRecord", code)),
        }
    }

    async fn delete_pair_record(&self, udid: &Udid) -> Result<(), Error> {
        let request = Request::DeletePairRecord { udid: udid.to_string() };
        match self.order(&request, ANSWER_WAIT).await?.0 {
            ResultCode::OK | ResultCode::NO_ENTRY => Ok(()),
            code => Err(odd_result("DeletePairRecord", code)),
        }
    }
}

/// Passes events on until either side is gone. What is no event that we know is left out.
async fn forward_events(mut stream: Stream, events: mpsc::Sender<Event>) {
    loop {
        let message = tokio::select! {
            () = events.closed() => return,
            message = receive(&mut stream, "Listen") => message,
        };
        match message {
            Ok(dict) => {
                let Some(event) = message::event_from_dictionary(&dict) else { continue };
                if events.send(event).await.is_err() {
                    return;
                }
            }
            Err(Error::Protocol { what, .. }) => {
                tracing::warn!(what = %what.escape_debug(), "usbmuxd sent an event that cannot be read");
                return;
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests;
