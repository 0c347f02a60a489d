//! Writes and hashes what is received, on threads of their own: the connection never waits for the disk or the hash.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::partial::Identity;
use super::stage::{Due, Staged, Staging};
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

enum Work {
    /// A large file begins.
    Begin(u64, Identity),
    /// An interrupted one is gone on with.
    GoOn(u64, Box<Staging>),
    Write(u64, Piece),
    Finish {
        id: u64,
        name: String,
        mtime_ns: i64,
        done: oneshot::Sender<Staged>,
    },
    /// Its reading ended before its end: what came of a large one may be gone on with.
    Abandon(u64),
    /// What came of it is not wanted.
    Discard(u64),
    /// Answered when everything before it is done.
    Settle(oneshot::Sender<()>),
}

/// A file that is being received. Dropped unfinished, it is left for another time, or removed if it is small.
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

    /// A new file that is gone on with if it is interrupted.
    pub(super) fn receive_large(&self, of: Identity) -> Receiving {
        let receiving = self.receive();
        receiving.tell(|id| Work::Begin(id, of));
        receiving
    }

    /// The rest of a file.
    pub(super) fn go_on(&self, staging: Staging) -> Receiving {
        let receiving = self.receive();
        receiving.tell(|id| Work::GoOn(id, Box::new(staging)));
        receiving
    }

    /// Waits until everything that was handed over or let go of so far is dealt with.
    pub(super) async fn settled(&self) {
        for worker in &self.workers {
            let (done, settled) = oneshot::channel();
            let _ = worker.send(Work::Settle(done));
            let _ = settled.await;
        }
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
        self.tell(|id| Work::Write(id, piece));
    }

    /// What came of it is of no use.
    pub(super) fn discard(mut self) {
        self.tell(Work::Discard);
        self.worker = None;
    }

    fn tell(&self, work: impl FnOnce(u64) -> Work) {
        if let Some(worker) = &self.worker {
            let _ = worker.send(work(self.id));
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

fn work_off(store: &Store, mut work: mpsc::UnboundedReceiver<Work>, failure: &Arc<Failure>) {
    let mut files = HashMap::new();
    while let Some(work) = work.blocking_recv() {
        if failure.failed.is_cancelled() {
            // Nothing more is written to a disk that is full; what waits is let go.
            keep_all(&mut files);
            if let Work::GoOn(_, staging) = work {
                staging.keep();
            }
            continue;
        }
        if let Err(error) = work_one(store, work, &mut files, failure) {
            failure.tell(error);
        }
    }
    keep_all(&mut files);
}

/// What came of large files stays for another time.
fn keep_all(files: &mut HashMap<u64, Staging>) {
    files.drain().for_each(|(_, staging)| staging.keep());
}

impl Failure {
    fn tell(&self, error: Error) {
        self.error.lock().expect("nothing panics while it holds this lock").get_or_insert(error);
        self.failed.cancel();
    }
}

fn work_one(
    store: &Store,
    work: Work,
    files: &mut HashMap<u64, Staging>,
    failure: &Arc<Failure>,
) -> Result<(), Error> {
    match work {
        Work::Begin(id, of) => {
            let staging = store.partials()?.begin_large(of);
            files.insert(id, staging.map_err(|error| Error::io("making a file", error))?);
        }
        Work::GoOn(id, staging) => {
            files.insert(id, *staging);
        }
        Work::Write(id, piece) => {
            let staging = match files.entry(id) {
                std::collections::hash_map::Entry::Occupied(there) => there.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => new.insert(store.stage()?),
            };
            staging.write(&piece).map_err(|error| Error::io("writing a photo", error))?;
            if let Some(due) = staging.due() {
                make(due, Arc::clone(failure));
            }
        }
        Work::Finish { id, name, mtime_ns, done } => {
            // A file without a byte was never written to.
            let staging = files.remove(&id).map_or_else(|| store.stage(), Ok)?;
            let staged = staging.finish(&name, mtime_ns);
            let staged = staged.map_err(|error| Error::io("finishing a photo", error))?;
            // Nobody waits any more: it is let go by being dropped.
            let _ = done.send(staged);
        }
        Work::Abandon(id) => {
            if let Some(staging) = files.remove(&id) {
                staging.keep();
            }
        }
        Work::Discard(id) => {
            files.remove(&id);
        }
        Work::Settle(done) => {
            let _ = done.send(());
        }
    }
    Ok(())
}

/// Makes a checkpoint beside the writing, which does not wait for the disk.
fn make(due: Due, failure: Arc<Failure>) {
    tokio::task::spawn_blocking(move || {
        if let Err(error) = due.make() {
            failure.tell(Error::io("syncing a received photo", error));
        }
    });
}
