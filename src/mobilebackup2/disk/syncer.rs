//! The thread that makes batches durable, one at a time: the data is synced, then the ledger's lines that name it.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::super::folder::SyncHandle;
use super::super::ledger::{Entry, Ledger};

/// A batch, and who waits for it to be durable.
type Batch = (Vec<Entry>, Option<mpsc::Sender<()>>);

/// The thread.
#[derive(Debug)]
pub(super) struct Syncer {
    batches: Option<mpsc::SyncSender<Batch>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Syncer {
    pub(super) fn start(handle: SyncHandle, mut ledger: Box<dyn Ledger>) -> io::Result<Self> {
        let (batches, incoming) = mpsc::sync_channel::<Batch>(1);
        let thread = std::thread::Builder::new().name("backup-sync".into()).spawn(move || {
            for (batch, waits) in incoming {
                handle.sync()?;
                ledger.keep(&batch)?;
                if let Some(waits) = waits {
                    let _ = waits.send(());
                }
            }
            Ok(())
        })?;
        Ok(Self { batches: Some(batches), thread: Some(thread) })
    }

    /// Hands over a batch, whose data is written; waits while two before it are not durable yet.
    pub(super) fn keep(&mut self, batch: Vec<Entry>, waits: Option<mpsc::Sender<()>>) -> io::Result<()> {
        let sent = self.batches.as_ref().is_some_and(|batches| batches.send((batch, waits)).is_ok());
        if sent { Ok(()) } else { Err(self.why_it_ended()) }
    }

    fn why_it_ended(&mut self) -> io::Error {
        self.finish().err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.batches.take();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}
