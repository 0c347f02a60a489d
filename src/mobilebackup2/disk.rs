//! The threads behind the talk with a phone: one stores what comes in, one hashes it, and one makes batches durable
//! meanwhile.
//!
//! Durable means: the data is synced, then the ledger's lines that name it, then those are synced; in batches, never per
//! file. The queues are bounded, so a slow disk slows the phone down and takes no memory.

use std::io;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::codes;
use super::folder::{Denied, Folder};
use super::host::PIECE_BYTES;
use super::ledger::Ledger;
use super::stream::End;
use digests::Digests;
use syncer::Syncer;
use writer::Writer;

mod digests;
mod syncer;
mod writer;

/// Hand-overs on their way to the disk, and again on their way to be hashed, of not much more than [`PIECE_BYTES`] each: a
/// disk that pauses for some 20 ms does not stop a fast phone.
const QUEUE: usize = 64;
/// Room for pieces that is kept to be used again.
const SPARE: usize = QUEUE;
/// Things handed over at once: waking a thread for each of many small files would cost more than storing them.
const GATHERED: usize = 256;

/// Where files wait until the phone puts them in their places; below the device's folder.
pub(crate) const SNAPSHOT: &str = "Snapshot";
/// With it a backup is finished.
pub(crate) const STATUS: &str = "Status.plist";

/// What the disk thread is asked to do.
#[derive(Debug)]
pub(super) enum Work {
    /// A file begins: its path on the phone, its path here as the phone named it.
    Begin { device_path: String, host_path: Vec<u8> },
    /// More of it.
    Data(Vec<u8>),
    /// Its end.
    End(End),
    /// The batch of files is over: what failed?
    Uploaded(oneshot::Sender<Vec<Failure>>),
    /// Time passes.
    Tick,
    /// Anything else; the answer is the status for the phone.
    Ask(Ask, oneshot::Sender<Result<Answer, Failure>>),
}

/// A wish of the phone that touches the disk.
#[derive(Debug)]
pub(super) enum Ask {
    FreeSpace,
    CreateDirectory(String),
    List(String),
    Move(Vec<(String, String)>),
    Remove(Vec<String>),
    Copy(String, String),
    Open(String),
    /// The whole content of a small metadata file.
    ReadSmall(&'static str),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    Done,
    Bytes(u64),
    Listing(plist::Dictionary),
    File(std::fs::File),
    Content(Option<Vec<u8>>),
}

/// A wish that was not granted, or a file that was not stored.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub path: String,
    pub code: i64,
    pub text: String,
    /// Nothing went wrong here: the phone named a path that it may not name.
    pub hostile: bool,
    /// This computer's disk could not do it; the phone asked for nothing wrong.
    pub disk: bool,
}

impl Failure {
    pub(super) fn new(path: &str, denied: &Denied) -> Self {
        let hostile = matches!(denied, Denied::Path { .. });
        Self {
            path: path.chars().take(256).collect(),
            code: denied.code(),
            text: denied.to_string(),
            hostile,
            disk: !hostile && matches!(denied.code(), codes::GENERIC | codes::INPUT_OUTPUT | codes::NO_SPACE),
        }
    }
}

/// Counts of what was stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Files that came in, also those that the phone ended with an error.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The threads.
#[derive(Debug)]
pub(super) struct Disk {
    queue: mpsc::Sender<Vec<Work>>,
    /// Not handed over yet.
    gathered: Vec<Work>,
    gathered_bytes: usize,
    spare: mpsc::Receiver<Vec<u8>>,
    writer: JoinHandle<io::Result<()>>,
}

impl Disk {
    /// Starts the threads.
    pub(super) fn start(folder: Folder, ledger: Box<dyn Ledger>) -> io::Result<Self> {
        let (queue, work) = mpsc::channel(QUEUE);
        let syncer = Syncer::start(folder.sync_handle()?, ledger)?;
        let (used, spare) = mpsc::channel(SPARE);
        let mut writer = Writer::new(folder, Digests::start(syncer, used)?);
        let writer =
            std::thread::Builder::new().name("backup-disk".into()).spawn(move || writer.run(work))?;
        Ok(Self { queue, gathered: Vec::new(), gathered_bytes: 0, spare, writer })
    }

    /// Hands over work, several things at once; waits while the disk is behind. `false`: the disk thread ended,
    /// [`Disk::finish`] tells why.
    pub(super) async fn send(&mut self, work: Work) -> bool {
        let last = matches!(work, Work::Uploaded(_) | Work::Ask(..));
        self.gathered_bytes += match &work {
            Work::Data(data) => data.capacity(),
            Work::Begin { device_path, host_path } => device_path.len() + host_path.len(),
            _ => 0,
        };
        self.gathered.push(work);
        if last || self.gathered.len() >= GATHERED || self.gathered_bytes >= PIECE_BYTES {
            self.hand_over().await
        } else {
            true
        }
    }

    /// Empty room for a piece of [`PIECE_BYTES`].
    pub(super) fn room(&mut self) -> Vec<u8> {
        self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(PIECE_BYTES))
    }

    async fn hand_over(&mut self) -> bool {
        self.gathered_bytes = 0;
        self.gathered.is_empty() || self.queue.send(std::mem::take(&mut self.gathered)).await.is_ok()
    }

    /// Time passes and nothing is under way.
    pub(super) async fn tick(&self) {
        // A disk thread that ended is noticed with the next work.
        let _ = self.queue.send(vec![Work::Tick]).await;
    }

    /// Asks and waits for the answer. `None`: the disk thread ended.
    pub(super) async fn ask(&mut self, ask: Ask) -> Option<Result<Answer, Failure>> {
        let (reply, answer) = oneshot::channel();
        if !self.send(Work::Ask(ask, reply)).await {
            return None;
        }
        answer.await.ok()
    }

    /// Makes everything durable that was handed over, and ends the threads.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        self.hand_over().await;
        drop(self.queue);
        let joined = tokio::task::spawn_blocking(move || self.writer.join()).await;
        match joined {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
