//! The client: one method per request, all on `&self`, as many in flight as the phone takes.
//!
//! It begins with one request in flight and doubles that as long as every answer is in order; at the first oddity the
//! connection is dead and the next one to the same phone (with the same [`Pacing`]) asks one thing at a time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::buffers::Buffers;
use super::error::Error;
use super::flight::{Asked, Flight, Handle, Reply};
use super::info::{DeviceInfo, Directory, FileInfo};
use super::pacing::Pacing;
use super::packet::{Operation, READ_BYTES_MAX, Status};
use super::reply::Wants;
use super::request::{Lock, OpenMode, Request, Whence};
use crate::lockdown::{self, Session};
use crate::usbmux::Stream;

/// The most handles open at once on one connection. Real phones were seen to stop at 16.
pub const HANDLES_MAX: usize = 12;

/// How long an answer may take while nothing arrives.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The most bytes that a list of names may have: a million names of usual length.
const DIRECTORY_BYTES_MAX: u64 = 32 << 20;

/// The most bytes of a file's or the device's info.
const INFO_BYTES_MAX: u64 = 64 << 10;

/// The most bytes of one write.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// The size of one read when a whole file is wanted.
const CHUNK_BYTES: u32 = 1 << 20;

/// How many reads of one file are asked before the first is answered.
const CHUNKS_AHEAD: usize = 4;

/// How a connection behaves; the default is right for a phone.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long an answer may take while nothing arrives.
    pub limit: Duration,
    /// What is known of the phone's patience with requests in flight.
    pub pacing: Arc<Pacing>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { limit: ANSWER_LIMIT, pacing: Arc::default() }
    }
}

/// An AFC connection. Clones share it; with the last one (and its files) it ends.
#[derive(Debug, Clone)]
pub struct Afc {
    held: Arc<Held>,
}

/// Ends the connection when the last clone is gone.
#[derive(Debug)]
struct Held {
    flight: Arc<Flight>,
    handles: Arc<Semaphore>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.flight.give_up();
    }
}

/// The service's name.
pub const SERVICE: &str = "com.apple.afc";

/// Whoever can open a new AFC connection to one phone.
#[async_trait]
pub trait Dial: Send + Sync {
    /// A stream on which the service was started.
    ///
    /// # Errors
    /// Why the phone could not be reached or does not start it.
    async fn dial(&self) -> Result<Stream, lockdown::Error>;
}

#[async_trait]
impl Dial for Session {
    async fn dial(&self) -> Result<Stream, lockdown::Error> {
        self.start_service(SERVICE).await
    }
}

impl Afc {
    /// Starts the service and connects to it.
    ///
    /// # Errors
    /// [`Error::Unreached`].
    pub async fn open(session: &Session) -> Result<Self, Error> {
        Self::dial(session, Settings::default()).await
    }

    /// [`Afc::open`] for whoever can dial, with settings of one's own.
    ///
    /// # Errors
    /// [`Error::Unreached`].
    pub async fn dial(dial: &dyn Dial, settings: Settings) -> Result<Self, Error> {
        let stream = dial.dial().await.map_err(|error| Error::Unreached(Arc::new(error)))?;
        Ok(Self::over_with(stream, settings))
    }

    /// A connection over a stream that the service was started on.
    #[must_use]
    pub fn over(stream: Stream) -> Self {
        Self::over_with(stream, Settings::default())
    }

    /// [`Afc::over`] with settings of one's own.
    #[must_use]
    pub fn over_with(stream: Stream, settings: Settings) -> Self {
        let flight = Flight::begin(stream, settings.pacing, settings.limit);
        Self { held: Arc::new(Held { flight, handles: Arc::new(Semaphore::new(HANDLES_MAX)) }) }
    }

    /// True once the connection can be asked nothing any more.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.held.flight.is_dead()
    }

    #[cfg(test)]
    pub(super) fn window(&self) -> usize {
        self.held.flight.window()
    }

    async fn ask(&self, request: Request, wants: Wants, path: &str) -> Result<Asked, Error> {
        self.held.flight.ask(&request, b"", wants, path.into(), None).await
    }

    async fn do_it(&self, request: Request, path: &str) -> Result<(), Error> {
        self.ask(request, Wants::Status, path).await?.done().await
    }

    /// The names in a folder.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn read_dir(&self, path: &str) -> Result<Directory, Error> {
        let request = Request::ReadDir { path: path.to_owned() };
        let reply = self.ask(request, Wants::Data(DIRECTORY_BYTES_MAX), path).await?.data().await?;
        Ok(Directory::parse(&reply))
    }

    /// What `lstat` says of a path.
    ///
    /// # Errors
    /// The device's status, a reply without size, kind or time, or a dead connection.
    pub async fn file_info(&self, path: &str) -> Result<FileInfo, Error> {
        let request = Request::FileInfo { path: path.to_owned() };
        let reply = self.ask(request, Wants::Data(INFO_BYTES_MAX), path).await?.data().await?;
        FileInfo::parse(&reply)
            .ok_or_else(|| Error::Unreadable { operation: Operation::FileInfo, path: path.into() })
    }

    /// Model and space.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn device_info(&self) -> Result<DeviceInfo, Error> {
        let reply = self.ask(Request::DeviceInfo, Wants::Data(INFO_BYTES_MAX), "").await?.data().await?;
        DeviceInfo::parse(&reply)
            .ok_or_else(|| Error::Unreadable { operation: Operation::DeviceInfo, path: "".into() })
    }

    /// Opens a file. Waits while [`HANDLES_MAX`] are open on this connection; when the phone takes fewer, that is
    /// learned and fewer are opened from then on.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn open_file(&self, path: &str, mode: OpenMode) -> Result<File, Error> {
        loop {
            let handles = &self.held.handles;
            let permit = Arc::clone(handles).acquire_owned().await.expect("this semaphore is never closed");
            let others_open = handles.available_permits() + 1 < HANDLES_MAX;
            let request = Request::FileOpen { path: path.to_owned(), mode };
            let asked = self.held.flight.ask(&request, b"", Wants::Handle, path.into(), Some(permit)).await?;
            match asked.reply().await {
                Ok(Reply::Handle(handle)) => {
                    return Ok(File { handle, path: path.into(), flight: Arc::clone(&self.held.flight) });
                }
                Ok(other) => unreachable!("an open is only ever answered with a handle, not {other:?}"),
                Err(error) if error.status() == Some(Status::NoResources) && others_open => {
                    // The place that this attempt had is taken out of use; the next one waits for another to be free.
                    if let Ok(permit) = Arc::clone(handles).try_acquire_owned() {
                        permit.forget();
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A whole file in memory, at most `max` bytes of it.
    ///
    /// # Errors
    /// Larger than `max`, a short read, the device's status, or a dead connection.
    pub async fn read_file(&self, path: &str, max: u64) -> Result<Vec<u8>, Error> {
        let info = self.file_info(path).await?;
        if info.size > max {
            return Err(Error::TooLarge { path: path.into(), size: info.size, max });
        }
        let mut file = self.open_file(path, OpenMode::Read).await?;
        let mut bytes = Vec::new();
        let mut asked = std::collections::VecDeque::new();
        let mut next = 0;
        while next < info.size || !asked.is_empty() {
            while next < info.size && asked.len() < CHUNKS_AHEAD {
                let count = u64::from(CHUNK_BYTES).min(info.size - next);
                let read = file.ask_read(u32::try_from(count).expect("at most a chunk")).await?;
                asked.push_back((next, count, read));
                next += count;
            }
            if let Some((offset, wanted, read)) = asked.pop_front() {
                let piece = read.bytes().await?;
                let got = piece.len() as u64;
                if got != wanted {
                    return Err(Error::ShortRead { path: path.into(), offset, wanted, got });
                }
                bytes.extend_from_slice(&piece);
            }
        }
        file.close().await?;
        Ok(bytes)
    }

    /// Makes a folder with its parents; one that is there is no error.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn make_dir(&self, path: &str) -> Result<(), Error> {
        self.do_it(Request::MakeDir { path: path.to_owned() }, path).await
    }

    /// Removes a file or an empty folder.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn remove(&self, path: &str) -> Result<(), Error> {
        self.do_it(Request::RemovePath { path: path.to_owned() }, path).await
    }

    /// Removes a folder with all that is in it.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn remove_all(&self, path: &str) -> Result<(), Error> {
        self.do_it(Request::RemovePathAndContents { path: path.to_owned() }, path).await
    }

    /// Renames.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.do_it(Request::RenamePath { from: from.to_owned(), to: to.to_owned() }, from).await
    }

    /// Makes a hard (or symbolic) link to `target`.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn make_link(&self, symbolic: bool, target: &str, link: &str) -> Result<(), Error> {
        let request = Request::MakeLink { symbolic, target: target.to_owned(), link: link.to_owned() };
        self.do_it(request, link).await
    }

    /// Sets a modification time, nanoseconds since 1970.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn set_mtime(&self, path: &str, mtime_ns: i64) -> Result<(), Error> {
        self.do_it(Request::SetModTime { path: path.to_owned(), mtime_ns }, path).await
    }

    /// Sets a file's size.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn truncate(&self, path: &str, size: u64) -> Result<(), Error> {
        self.do_it(Request::Truncate { path: path.to_owned(), size }, path).await
    }
}

/// A file that is open on the device. Dropped, it is closed there without anybody waiting for it.
#[derive(Debug)]
pub struct File {
    handle: Handle,
    path: Arc<str>,
    flight: Arc<Flight>,
}

/// A read that has its place in the order of reads.
#[derive(Debug)]
pub struct Read(Asked);

/// Bytes of a file. See [`Read::piece`].
#[derive(Debug)]
pub struct Piece {
    bytes: Vec<u8>,
    buffers: Arc<Buffers>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.buffers.give_back(std::mem::take(&mut self.bytes));
    }
}

impl std::ops::Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Read {
    /// What came: fewer bytes than asked at the end of the file only, none behind it.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn bytes(self) -> Result<Vec<u8>, Error> {
        self.0.data().await
    }

    /// As [`Read::bytes`]; what came goes on counting against what may be on its way until it is dropped, so that a
    /// slow disk slows the phone down instead of filling the memory.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn piece(self) -> Result<Piece, Error> {
        let buffers = self.0.buffers();
        let (bytes, room) = self.0.data_with_room().await?;
        Ok(Piece { bytes, buffers, _room: room })
    }
}

impl File {
    /// Its path on the device.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    async fn ask(&self, request: Request, payload: &[u8], wants: Wants) -> Result<Asked, Error> {
        self.flight.ask(&request, payload, wants, Arc::clone(&self.path), None).await
    }

    /// Asks for the next `count` bytes (at most [`READ_BYTES_MAX`]) without waiting for them: several reads may be on
    /// their way, and each begins where the one asked before it ends.
    ///
    /// # Errors
    /// A dead connection.
    pub async fn ask_read(&mut self, count: u32) -> Result<Read, Error> {
        let count = u64::from(count.min(READ_BYTES_MAX));
        let request = Request::FileRead { handle: self.handle.number(), count };
        self.ask(request, b"", Wants::Data(count)).await.map(Read)
    }

    /// The next `count` bytes (at most [`READ_BYTES_MAX`]); fewer at the end of the file only.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn read(&mut self, count: u32) -> Result<Vec<u8>, Error> {
        self.ask_read(count).await?.bytes().await
    }

    /// Writes all of `bytes` at the handle's position.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for piece in bytes.chunks(WRITE_BYTES_MAX) {
            let request = Request::FileWrite { handle: self.handle.number() };
            self.ask(request, piece, Wants::Status).await?.done().await?;
        }
        Ok(())
    }

    /// Moves the position.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn seek(&mut self, whence: Whence, offset: i64) -> Result<(), Error> {
        let request = Request::FileSeek { handle: self.handle.number(), whence, offset };
        self.ask(request, b"", Wants::Status).await?.done().await
    }

    /// The position.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn tell(&self) -> Result<u64, Error> {
        let request = Request::FileTell { handle: self.handle.number() };
        match self.ask(request, b"", Wants::Position).await?.reply().await? {
            Reply::Position(position) => Ok(position),
            other => unreachable!("a tell is only ever answered with a position, not {other:?}"),
        }
    }

    /// Sets the size.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn set_size(&mut self, size: u64) -> Result<(), Error> {
        let request = Request::FileSetSize { handle: self.handle.number(), size };
        self.ask(request, b"", Wants::Status).await?.done().await
    }

    /// Locks or unlocks. A lock that somebody else holds is [`Status::WouldBlock`].
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn lock(&self, lock: Lock) -> Result<(), Error> {
        let request = Request::FileLock { handle: self.handle.number(), lock };
        self.ask(request, b"", Wants::Status).await?.done().await
    }

    /// Closes it and waits for the device's word.
    ///
    /// # Errors
    /// The device's status, or a dead connection.
    pub async fn close(mut self) -> Result<(), Error> {
        let request = Request::FileClose { handle: self.handle.number() };
        let asked = self.ask(request, b"", Wants::Status).await?;
        // A device does one thing after the other: whatever is opened from now on is opened after this is closed.
        drop(self.handle.closing());
        asked.done().await
    }
}
