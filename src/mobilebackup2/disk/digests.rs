//! The thread that takes the digest of each file from the very bytes that were written, beside the writing of the next
//! ones, and hands whole batches to be made durable. Hashing costs as much as storing does on a fast disk: in one line with
//! it, it would halve the rate.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

use aws_lc_rs::digest::{Context, SHA256};

use super::super::host::PIECE_BYTES;
use super::super::ledger::{Entry, Received};
use super::QUEUE;
use super::syncer::Syncer;

/// Where room goes that can be used again.
type Spare = tokio::sync::mpsc::Sender<Vec<u8>>;

/// What the writer tells, in the order in which it did it.
#[derive(Debug)]
pub(super) enum Written {
    /// More of the file that is coming in.
    Data(Vec<u8>),
    /// The file is over and stands where it belongs; its digest is still to be put in.
    File(Received),
    /// The file is over, and nothing of it is kept.
    Dropped,
    /// Anything else that happened.
    Entry(Entry),
    /// The batch is over; who waits for it to be durable.
    Batch(Option<mpsc::Sender<()>>),
}

impl Written {
    /// Bytes of the paths in it.
    pub(super) fn text_bytes(&self) -> usize {
        match self {
            Self::File(received) => received.text_bytes(),
            Self::Entry(entry) => entry.text_bytes(),
            Self::Data(_) | Self::Dropped | Self::Batch(_) => 0,
        }
    }
}

/// The thread.
#[derive(Debug)]
pub(super) struct Digests {
    queue: Option<mpsc::SyncSender<Vec<Written>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Why the thread ended: told to everyone who still wants something of it.
    broke: Option<(io::ErrorKind, String)>,
}

impl Digests {
    /// Starts it; room of [`PIECE_BYTES`] whose bytes are hashed goes to `spare`, to be used again.
    pub(super) fn start(syncer: Syncer, spare: Spare) -> io::Result<Self> {
        let (queue, written) = mpsc::sync_channel(QUEUE);
        let mut thread = Hashing { syncer, spare, sha256: Context::new(&SHA256), batch: Vec::new() };
        let thread =
            std::thread::Builder::new().name("backup-hash".into()).spawn(move || thread.run(&written))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), broke: None })
    }

    /// Tells what was written; waits while the hashing is behind.
    pub(super) fn tell(&mut self, written: Vec<Written>) -> io::Result<()> {
        let sent = written.is_empty() || self.queue.as_ref().is_some_and(|queue| queue.send(written).is_ok());
        if sent { Ok(()) } else { Err(self.why_it_ended()) }
    }

    pub(super) fn why_it_ended(&mut self) -> io::Error {
        self.finish().err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Returns when every batch that was told is durable.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.queue.take();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => self.broke = result.err().map(|error| (error.kind(), error.to_string())),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => {}
        }
        self.broke.clone().map_or(Ok(()), |(kind, text)| Err(io::Error::new(kind, text)))
    }
}

struct Hashing {
    syncer: Syncer,
    spare: Spare,
    /// Of the file that is coming in.
    sha256: Context,
    batch: Vec<Entry>,
}

impl Hashing {
    fn run(&mut self, written: &mpsc::Receiver<Vec<Written>>) -> io::Result<()> {
        while let Ok(several) = written.recv() {
            several.into_iter().try_for_each(|one| self.take(one))?;
        }
        self.syncer.finish()
    }

    fn take(&mut self, one: Written) -> io::Result<()> {
        match one {
            Written::Data(mut data) => {
                self.sha256.update(&data);
                if data.capacity() >= PIECE_BYTES {
                    data.clear();
                    // There is enough to spare otherwise.
                    let _ = self.spare.try_send(data);
                }
            }
            Written::File(mut received) => {
                let sha256 = std::mem::replace(&mut self.sha256, Context::new(&SHA256)).finish();
                received.sha256 = sha256.as_ref().try_into().expect("SHA-256 has 32 bytes");
                self.batch.push(Entry::Received(received));
            }
            Written::Dropped => self.sha256 = Context::new(&SHA256),
            Written::Entry(entry) => self.batch.push(entry),
            Written::Batch(waits) => self.syncer.keep(std::mem::take(&mut self.batch), waits)?,
        }
        Ok(())
    }
}
