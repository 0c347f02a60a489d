//! Writes and hashes what is received, on threads of their own: the connection never waits for the disk or the hash.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::stage::{Staged, Staging};
use super::store::{Error, Store};
use crate::afc::Piece;
use crate::progress::CancellationToken;

/// Threads that write and hash. One file stays on one of them.
const WORKERS: u64 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Sink {
    workers: Vec<mpsc::UnboundedSender<Work>>,
    threads: Vec<JoinHandle<()>>,
    next: AtomicU64,
    failure: Arc<Failure>,
}

/// The first thing that went wrong on this computer.
#[derive(Debug)]
struct Failure {
    error: Mutex<Option<Error>>,
    failed: CancellationToken,
}

#[derive(Debug)]
enum Work {
    Write(u64, Piece),
    Finish { id: u64, name: String, mtime_ns: i64, done: oneshot::Sender<Staged> },
    Abandon(u64),
}

/// A file that is being received. Dropped unfinished, what came of it is removed.
#[derive(Debug)]
pub(super) struct Receiving {
    id: u64,
    worker: Option<mpsc::UnboundedSender<Work>>,
}

impl Sink {
    /// `failed` is cancelled at the first error.
    pub(super) fn begin(store: &Store, failed: CancellationToken) -> Self {
        let failure = Arc::new(Failure { error: Mutex::new(None), failed });
        let (mut workers, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..WORKERS {
            let (worker, work) = mpsc::unbounded_channel();
            let (store, failure) = (store.clone(), Arc::clone(&failure));
            threads.push(tokio::task::spawn_blocking(move || work_off(&store, work, &failure)));
            workers.push(worker);
        }
        Self { workers, threads, next: AtomicU64::new(0), failure }
    }

    /// A new file.
    pub(super) fn receive(&self) -> Receiving {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let worker = usize::try_from(id % WORKERS).expect("a small number");
        Receiving { id, worker: Some(self.workers[worker].clone()) }
    }

    /// Waits until everything is written, and says what went wrong first.
    pub(super) async fn finish(self) -> Result<(), Error> {
        drop(self.workers);
        for thread in self.threads {
            if let Err(panic) = thread.await {
                std::panic::resume_unwind(panic.into_panic());
            }
        }
        self.failure.error.lock().expect("nothing panics while it holds this lock").take().map_or(Ok(()), Err)
    }
}

impl Receiving {
    /// The next bytes. A thread that has given up takes them, too: the failure is told once.
    pub(super) fn write(&self, piece: Piece) {
        if let Some(worker) = &self.worker {
            let _ = worker.send(Work::Write(self.id, piece));
        }
    }

    /// All bytes are there. `None`: this computer failed, and the sink knows how.
    pub(super) async fn finish(mut self, name: &str, mtime_ns: i64) -> Option<Staged> {
        let (done, staged) = oneshot::channel();
        let work = Work::Finish { id: self.id, name: name.to_owned(), mtime_ns, done };
        self.worker.take()?.send(work).ok()?;
        staged.await.ok()
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            let _ = worker.send(Work::Abandon(self.id));
        }
    }
}

fn work_off(store: &Store, mut work: mpsc::UnboundedReceiver<Work>, failure: &Failure) {
    let mut files = HashMap::new();
    while let Some(work) = work.blocking_recv() {
        if failure.failed.is_cancelled() {
            // Nothing more is written to a disk that is full; what waits is let go.
            files.clear();
            continue;
        }
        if let Err(error) = work_one(store, work, &mut files) {
            failure.error.lock().expect("nothing panics while it holds this lock").get_or_insert(error);
            failure.failed.cancel();
        }
    }
}

fn work_one(store: &Store, work: Work, files: &mut HashMap<u64, Staging>) -> Result<(), Error> {
    match work {
        Work::Write(id, piece) => {
            let staging = match files.entry(id) {
                std::collections::hash_map::Entry::Occupied(there) => there.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => new.insert(store.stage()?),
            };
            staging.write(&piece).map_err(|error| Error::io("writing a photo", error))
        }
        Work::Finish { id, name, mtime_ns, done } => {
            // A file without a byte was never written to.
            let staging = files.remove(&id).map_or_else(|| store.stage(), Ok)?;
            let staged = staging.finish(&name, mtime_ns);
            let staged = staged.map_err(|error| Error::io("finishing a photo", error))?;
            // Nobody waits any more: it is removed by being dropped.
            let _ = done.send(staged);
            Ok(())
        }
        Work::Abandon(id) => {
            files.remove(&id);
            Ok(())
        }
    }
}
