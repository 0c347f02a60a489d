//! The socket's server, in front of any [`Muxer`]: other programs use it in place of usbmuxd.
//!
//! Speaks both versions of the protocol, as usbmuxd's `client.c` does. After a successful Connect the socket is the
//! connection itself and nothing is looked at any more.

mod crowd;
mod keyholders;
mod listener;
mod silent;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plist::{Dictionary, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use crowd::Crowd;
pub use keyholders::Keyholders;
use listener::Guest;
pub use listener::{Listener, is_served};
use silent::Silent;

use super::message::{self, HEADER_BYTES, Header, REQUEST_BYTES_MAX, Request, ResultCode, Version};
use super::{Error, Event, Muxer, Opened, Socket, Stream, Udid};
use crate::frame::{self, DictExt, Limits};
use crate::progress::CancellationToken;

/// Clients at a time. One more, and the one that has been silent for longest before its request has to go.
const CLIENTS_MAX: usize = 1024;
/// Of which so many may listen for events, and half at most; nobody can tell whether they still want to.
const LISTENERS_MAX: usize = 512;
/// The longest wait for a client that has to go.
const EVICTION_WAIT: Duration = Duration::from_secs(1);
/// The longest wait for the rest of a request that was begun.
const REQUEST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait for a client to take what it is told.
const TELL_WAIT: Duration = Duration::from_secs(60);
/// The pause after a client could not be accepted, out of file descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Characters of a listener's name that are kept: all listeners are told in one reply.
const NAME_CHARS_MAX: usize = 128;
/// Bytes moved at a time in each direction of a connection.
const SPLICE_BYTES: usize = 256 << 10;
const LIMITS: Limits = Limits { bytes: REQUEST_BYTES_MAX, depth: 8, nodes: 1_000 };

/// Serves clients until `stop`; their connections end with it.
pub async fn serve(muxer: Arc<dyn Muxer>, listener: Listener, stop: CancellationToken) {
    let (listeners, silent) = (Arc::new(Listeners::default()), Arc::new(Silent::default()));
    let most = clients_max();
    // Who has made a request cannot be told to go: no user gets more than three of eight places that way (a phone has
    // connections for half as many as there are places: nobody takes all of them), and some are root's.
    let roots = most / 8;
    let (room, roots_room) = (Arc::new(Semaphore::new(most - roots)), Arc::new(Semaphore::new(roots)));
    let crowd = Arc::new(Crowd::of(most * 3 / 8));
    let mut clients = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = clients.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok(guest) = accepted else {
            // Out of file descriptors, perhaps.
            silent.evict();
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = place(&room, guest.is_root().then_some(&roots_room), &silent) => place,
        };
        let (listeners, silent) = (Arc::clone(&listeners), Arc::clone(&silent));
        let Guest { stream, user, has_keys } = guest;
        let (muxer, crowd) = (Arc::clone(&muxer), Arc::clone(&crowd));
        let client = Client { muxer, listeners, silent, crowd, stream, user, has_keys };
        clients.spawn(async move {
            // How a client goes is its own affair.
            let _ = client.serve().await;
            drop(place);
        });
    }
}

/// Clients at a time: not more than this process has file descriptors for, since each needs another one or two.
fn clients_max() -> usize {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    descriptors
        .map_or(CLIENTS_MAX, |most| usize::try_from(most / 3).unwrap_or(CLIENTS_MAX).clamp(16, CLIENTS_MAX))
}

/// How many of them may listen.
fn listeners_max() -> usize {
    LISTENERS_MAX.min(clients_max() / 2)
}

/// A place for one more client, in the reserve if there is one for it; where there is none, somebody silent has to go.
async fn place(
    room: &Arc<Semaphore>,
    reserve: Option<&Arc<Semaphore>>,
    silent: &Silent,
) -> OwnedSemaphorePermit {
    loop {
        for room in [Some(room), reserve].into_iter().flatten() {
            if let Ok(place) = Arc::clone(room).try_acquire_owned() {
                return place;
            }
        }
        silent.evict();
        let free = async {
            let Some(reserve) = reserve else { return Arc::clone(room).acquire_owned().await };
            tokio::select! {
                place = Arc::clone(room).acquire_owned() => place,
                place = Arc::clone(reserve).acquire_owned() => place,
            }
        };
        if let Ok(place) = tokio::time::timeout(EVICTION_WAIT, free).await {
            return place.expect("it is never closed");
        }
    }
}

/// Who listens, for ListListeners.
#[derive(Debug, Default)]
struct Listeners(Mutex<(u64, BTreeMap<u64, Dictionary>)>);

impl Listeners {
    /// Enters a listener as long as the result lives; `None`: there are too many.
    fn enter(self: &Arc<Self>, said: &Dictionary) -> Option<Entered> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.1.len() >= listeners_max() {
            return None;
        }
        guard.0 += 1;
        let number = guard.0;
        let text = |key: &str| -> String {
            let said = said.string(key).unwrap_or_default();
            said.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect()
        };
        let mut entry = Dictionary::new();
        entry.insert("Blacklisted".into(), false.into());
        entry.insert("BundleID".into(), text("BundleID").into());
        entry.insert("ConnType".into(), said.uint("ConnType").unwrap_or(0).into());
        entry.insert("ID String".into(), format!("{number}-{}", text("ProgName")).into());
        entry.insert("ProgName".into(), text("ProgName").into());
        entry.insert("kLibUSBMuxVersion".into(), said.uint("kLibUSBMuxVersion").unwrap_or(0).into());
        guard.1.insert(number, entry);
        Some(Entered { listeners: Arc::clone(self), number })
    }

    fn list(&self) -> Value {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Value::Array(guard.1.values().cloned().map(Value::Dictionary).collect())
    }
}

struct Entered {
    listeners: Arc<Listeners>,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.listeners.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.number);
    }
}

struct Client {
    muxer: Arc<dyn Muxer>,
    listeners: Arc<Listeners>,
    silent: Arc<Silent>,
    crowd: Arc<Crowd>,
    stream: Socket,
    /// Whose it is; `None`: it came over the network.
    user: Option<u32>,
    /// It may have pair records, and change them.
    has_keys: bool,
}

/// A request as it came: in which form it wants its answer, what it asks, and what else it said.
struct Asked {
    version: Version,
    tag: u32,
    request: Result<Request, ResultCode>,
    said: Dictionary,
}

impl Client {
    async fn serve(mut self) -> io::Result<()> {
        while let Some(asked) = self.next_request().await? {
            let Some(_busy) = self.crowd.enter(self.user) else {
                let answer = encode_result(&asked, ResultCode::REFUSED);
                return tokio::time::timeout(EVICTION_WAIT, self.stream.write_all(&answer)).await?;
            };
            match asked.request.clone() {
                Ok(Request::Listen) => return self.listen(&asked).await,
                Ok(Request::Connect { device, port }) => match self.muxer.open(device, port).await {
                    Ok(opened) => {
                        self.result(&asked, ResultCode::OK).await?;
                        match opened {
                            Opened::Stream(device) => return splice(self.stream, device).await,
                            Opened::Served(serve) => serve(self.stream).await,
                        }
                        return Ok(());
                    }
                    Err(error) => self.result(&asked, connect_code(&error)).await?,
                },
                Ok(request) => match self.answer(request).await {
                    Ok(reply) => self.send(&message::encode_plist(asked.tag, reply)).await?,
                    Err(code) => self.result(&asked, code).await?,
                },
                Err(code) => self.result(&asked, code).await?,
            }
        }
        Ok(())
    }

    /// The next request; `None` when the client has gone, has to go, or sends what has no length that we take.
    async fn next_request(&mut self) -> io::Result<Option<Asked>> {
        let entered = self.silent.enter();
        tokio::select! {
            biased;
            () = entered.must_go.cancelled() => Ok(None),
            asked = self.read_request() => asked,
        }
    }

    async fn read_request(&mut self) -> io::Result<Option<Asked>> {
        let mut header = [0; HEADER_BYTES];
        match self.stream.read_exact(&mut header).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map(drop)?,
        }
        let header = Header::parse(&header);
        let Some(length) = header.body_bytes(REQUEST_BYTES_MAX) else { return Ok(None) };
        let mut body = vec![0; length];
        tokio::time::timeout(REQUEST_WAIT, self.stream.read_exact(&mut body)).await??;
        Ok(Some(read_request(header, &body)))
    }

    /// Answers what is neither Listen nor Connect.
    async fn answer(&self, request: Request) -> Result<Dictionary, ResultCode> {
        let io = |_: Error| ResultCode::IO;
        let id = |udid: &str| Udid::parse(udid).ok_or(ResultCode::INVALID);
        let mut reply = Dictionary::new();
        match request {
            Request::ReadPairRecord { .. }
            | Request::SavePairRecord { .. }
            | Request::DeletePairRecord { .. }
                if !self.has_keys =>
            {
                return Err(ResultCode::NOT_PERMITTED);
            }
            Request::ListDevices => {
                let devices = self.muxer.devices().await.map_err(io)?;
                let entries = devices.iter().map(message::attached_to_dictionary);
                reply.insert("DeviceList".into(), Value::Array(entries.map(Value::Dictionary).collect()));
            }
            Request::ListListeners => {
                reply.insert("ListenerList".into(), self.listeners.list());
            }
            Request::ReadBuid => {
                reply.insert("BUID".into(), self.muxer.buid().await.map_err(io)?.into());
            }
            Request::ReadPairRecord { udid } => {
                let record = self.muxer.pair_record(&id(&udid)?).await.map_err(io)?;
                let record = record.ok_or(ResultCode::NO_ENTRY)?;
                reply.insert("PairRecordData".into(), Value::Data(record));
            }
            Request::SavePairRecord { udid, device, record } => {
                if record.is_empty() {
                    return Err(ResultCode::INVALID);
                }
                self.muxer.save_pair_record(&id(&udid)?, device, &record).await.map_err(io)?;
                return Ok(message::result(ResultCode::OK));
            }
            Request::DeletePairRecord { udid } => {
                self.muxer.delete_pair_record(&id(&udid)?).await.map_err(io)?;
                return Ok(message::result(ResultCode::OK));
            }
            Request::Listen | Request::Connect { .. } => return Err(ResultCode::BAD_COMMAND),
        }
        Ok(reply)
    }

    /// Tells what changes until the client goes or says anything more, which nobody may.
    async fn listen(mut self, asked: &Asked) -> io::Result<()> {
        let Ok(events) = self.muxer.listen().await else {
            return self.result(asked, ResultCode::IO).await;
        };
        let Some(_entered) = self.listeners.enter(&asked.said) else {
            return self.result(asked, ResultCode::BAD_COMMAND).await;
        };
        self.result(asked, ResultCode::OK).await?;
        let (mut from, mut to) = tokio::io::split(self.stream);
        let mut byte = [0];
        let said_more = tokio::select! {
            told = tell(events, &mut to, asked.version) => return told,
            read = from.read(&mut byte) => read? > 0,
        };
        if said_more {
            to.write_all(&encode_result(asked, ResultCode::BAD_COMMAND)).await?;
        }
        Ok(())
    }

    async fn result(&mut self, asked: &Asked, code: ResultCode) -> io::Result<()> {
        self.send(&encode_result(asked, code)).await
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        tokio::time::timeout(TELL_WAIT, self.stream.write_all(bytes)).await?
    }
}

fn encode_result(asked: &Asked, code: ResultCode) -> Vec<u8> {
    match asked.version {
        Version::Binary => {
            message::encode(Version::Binary, message::kind::RESULT, asked.tag, &code.0.to_le_bytes())
        }
        Version::Plist => message::encode_plist(asked.tag, message::result(code)),
    }
}

fn read_request(header: Header, body: &[u8]) -> Asked {
    let tag = header.tag;
    let none = Dictionary::new;
    match Version::from_number(header.version) {
        None => Asked { version: Version::Binary, tag, request: Err(ResultCode::BAD_VERSION), said: none() },
        Some(version @ Version::Binary) => {
            Asked { version, tag, request: Request::from_binary(header.kind, body), said: none() }
        }
        Some(version @ Version::Plist) => {
            let parsed = (header.kind == message::kind::PLIST).then(|| frame::parse(body, &LIMITS).ok());
            let said = parsed.flatten().and_then(Value::into_dictionary).unwrap_or_default();
            Asked { version, tag, request: Request::from_dictionary(&said), said }
        }
    }
}

fn connect_code(error: &Error) -> ResultCode {
    match error {
        Error::NoSuchDevice => ResultCode::BAD_DEVICE,
        _ => ResultCode::REFUSED,
    }
}

async fn tell(
    mut events: mpsc::Receiver<Event>,
    to: &mut (impl AsyncWrite + Unpin),
    version: Version,
) -> io::Result<()> {
    const NOTIFICATION_TAG: u32 = 0;
    while let Some(event) = events.recv().await {
        let bytes = match version {
            Version::Plist => message::encode_plist(NOTIFICATION_TAG, message::event_to_dictionary(&event)),
            Version::Binary => {
                let (kind, body) = message::event_to_binary(&event);
                message::encode(Version::Binary, kind, NOTIFICATION_TAG, &body)
            }
        };
        tokio::time::timeout(TELL_WAIT, to.write_all(&bytes)).await??;
    }
    Ok(())
}

/// Moves bytes both ways until either side ends; then both are closed, as usbmuxd does it.
///
/// # Errors
/// How either side broke.
pub async fn splice(client: Socket, device: Stream) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_device, mut to_device) = tokio::io::split(device);
    tokio::select! {
        up = pump(&mut from_client, &mut to_device) => up,
        down = pump(&mut from_device, &mut to_client) => down,
    }
}

async fn pump(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut buffer = vec![0; SPLICE_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}

#[cfg(test)]
pub(crate) mod tests;
