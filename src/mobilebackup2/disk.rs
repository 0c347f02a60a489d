//! The thread that writes what comes in: it hashes, stores, moves and removes in the order in which the phone asked, and
//! a second thread makes batches durable meanwhile.
//!
//! Durable means: the data is synced, then the ledger's lines that name it, then those are synced; in batches of
//! [`BATCH_BYTES`] or [`BATCH_AGE`], never per file. The queues are bounded, so a slow disk slows the phone down and takes no
//! memory.

use std::io::{self, Write};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use tokio::sync::{mpsc, oneshot};

use super::codes::{self, BLOCK_SUCCESS};
use super::folder::{Denied, Folder, Incoming, Place, SyncHandle};
use super::host::PIECE_BYTES;
use super::ledger::{Entry, Ledger, Received};
use super::stream::End;

/// A batch is made durable when it holds so many bytes,
const BATCH_BYTES: u64 = 64 << 20;
/// or when it is so old.
const BATCH_AGE: Duration = Duration::from_secs(1);
/// Entries after which a batch ends in any case, to bound memory.
const BATCH_ENTRIES: usize = 16_384;
/// Hand-overs on their way to the disk, of not much more than [`super::host::PIECE_BYTES`] each.
const QUEUE: usize = 16;
/// Things handed over at once: waking a thread for each of many small files would cost more than storing them.
const GATHERED: usize = 256;
/// Free space is looked at again after so many bytes: the reserve is kept also from a phone that does not ask.
const ROOM_LOOKED_AT_BYTES: u64 = 16 << 20;
/// After so many bytes that could not be stored, nobody waits for the end of the stream any more: there may be none.
const DROPPED_BYTES_MAX: u64 = 256 << 20;
/// What a file costs that could not be stored, besides its bytes.
const DROPPED_FILE_BYTES: u64 = 4096;
/// Most failures told of one batch of files.
const FAILURES_MAX: usize = 1000;

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

/// Both threads.
#[derive(Debug)]
pub(super) struct Disk {
    queue: mpsc::Sender<Vec<Work>>,
    /// Not handed over yet.
    gathered: Vec<Work>,
    gathered_bytes: usize,
    writer: JoinHandle<io::Result<()>>,
}

impl Disk {
    /// Starts both threads.
    pub(super) fn start(folder: Folder, ledger: Box<dyn Ledger>) -> io::Result<Self> {
        let (queue, work) = mpsc::channel(QUEUE);
        let syncer = Syncer::start(folder.sync_handle()?, ledger)?;
        let mut writer = Writer::new(folder, syncer);
        let writer =
            std::thread::Builder::new().name("backup-disk".into()).spawn(move || writer.run(work))?;
        Ok(Self { queue, gathered: Vec::new(), gathered_bytes: 0, writer })
    }

    /// Hands over work, several things at once; waits while the disk is behind. `false`: the disk thread ended,
    /// [`Disk::finish`] tells why.
    pub(super) async fn send(&mut self, work: Work) -> bool {
        let last = matches!(work, Work::Uploaded(_) | Work::Ask(..));
        self.gathered_bytes += if let Work::Data(data) = &work { data.len() } else { 0 };
        self.gathered.push(work);
        if last || self.gathered.len() >= GATHERED || self.gathered_bytes >= PIECE_BYTES {
            self.hand_over().await
        } else {
            true
        }
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

    /// Makes everything durable that was handed over, and ends both threads.
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

/// The file that is coming in.
struct Current {
    device_path: String,
    path: String,
    bytes: u64,
    sha256: digest::Context,
    /// Where it goes; or why it is only read and dropped.
    target: Result<(Place, Option<Incoming>), Failure>,
}

struct Writer {
    folder: Folder,
    syncer: Syncer,
    current: Option<Current>,
    failures: Vec<Failure>,
    batch: Vec<Entry>,
    batch_bytes: u64,
    batch_since: Instant,
    /// Files that the phone ended with an error before any byte came: they stand nowhere.
    absent: std::collections::HashSet<String>,
    /// The journal says that files are put in their places or removed from them: a kill in between leaves half of each.
    announced: bool,
    /// Bytes written since free space was looked at.
    unlooked_bytes: u64,
    /// Bytes that came and could not be stored.
    dropped_bytes: u64,
}

impl Writer {
    fn new(folder: Folder, syncer: Syncer) -> Self {
        Self {
            folder,
            syncer,
            current: None,
            failures: Vec::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            batch_since: Instant::now(),
            absent: std::collections::HashSet::new(),
            announced: false,
            unlooked_bytes: ROOM_LOOKED_AT_BYTES,
            dropped_bytes: 0,
        }
    }

    fn run(&mut self, mut work: mpsc::Receiver<Vec<Work>>) -> io::Result<()> {
        let mut worked = Ok(());
        while let Some(several) = work.blocking_recv() {
            worked = several.into_iter().try_for_each(|one| self.work(one));
            if worked.is_err() {
                break;
            }
        }
        // A file that never ended was never received.
        if let Some(Current { target: Ok((_, Some(incoming))), .. }) = self.current.take() {
            self.folder.drop_file(incoming);
        }
        let kept = self.syncer.keep(std::mem::take(&mut self.batch)).and_then(|()| self.syncer.finish());
        worked.and(kept)
    }

    fn work(&mut self, work: Work) -> io::Result<()> {
        match work {
            Work::Begin { device_path, host_path } => self.begin(device_path, &host_path),
            Work::Data(data) => self.data(&data)?,
            Work::End(end) => self.end(&end)?,
            Work::Tick => {}
            Work::Uploaded(reply) => {
                let _ = reply.send(std::mem::take(&mut self.failures));
            }
            Work::Ask(ask, reply) => {
                let _ = reply.send(self.answer(ask));
            }
        }
        self.sync_if_due()
    }

    fn begin(&mut self, device_path: String, host_path: &[u8]) {
        let path = String::from_utf8_lossy(host_path).into_owned();
        let place = std::str::from_utf8(host_path)
            .map_err(|_| Denied::Path { path: path.clone(), why: "is no text" })
            .and_then(|path| self.folder.place_to_change(path));
        let target = place.map_err(|denied| Failure::new(&path, &denied));
        let path = target.as_ref().map_or(path, Place::relative);
        self.current = Some(Current {
            device_path,
            path,
            bytes: 0,
            sha256: digest::Context::new(&digest::SHA256),
            target: target.map(|place| (place, None)),
        });
    }

    /// Stores more of the current file. After a failure the rest is only read, so that the stream stays in step; but not
    /// for ever.
    fn data(&mut self, data: &[u8]) -> io::Result<()> {
        let room = self.room(data.len() as u64);
        let Some(current) = &mut self.current else { return Ok(()) };
        current.bytes += data.len() as u64;
        let (_, incoming) = match &mut current.target {
            Ok(target) => target,
            Err(failure) => {
                let failure = failure.clone();
                return self.dropped(data.len() as u64, &failure);
            }
        };
        let stored = room.and_then(|()| match incoming {
            Some(incoming) => incoming.file.write_all(data),
            None => self.folder.begin().and_then(|mut begun| {
                let written = begun.file.write_all(data);
                *incoming = Some(begun);
                written
            }),
        });
        current.sha256.update(data);
        if let Err(error) = stored {
            if let Some(incoming) = incoming.take() {
                self.folder.drop_file(incoming);
            }
            current.target = Err(Failure::new(&current.path, &error.into()));
        }
        Ok(())
    }

    /// There is room for more besides the reserve.
    fn room(&mut self, more: u64) -> io::Result<()> {
        self.unlooked_bytes = self.unlooked_bytes.saturating_add(more);
        if self.unlooked_bytes >= ROOM_LOOKED_AT_BYTES {
            if self.folder.free_bytes()? == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.unlooked_bytes = 0;
        }
        Ok(())
    }

    /// Counts what could not be stored.
    fn dropped(&mut self, bytes: u64, why: &Failure) -> io::Result<()> {
        self.dropped_bytes = self.dropped_bytes.saturating_add(bytes);
        if self.dropped_bytes <= DROPPED_BYTES_MAX {
            return Ok(());
        }
        let full = why.code == codes::NO_SPACE;
        let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::InvalidData };
        let text = format!("the phone goes on with files that cannot be stored: {}: {}", why.path, why.text);
        Err(io::Error::new(kind, text))
    }

    /// Decides on code and bytes. An error before any byte leaves what stood there; with bytes the file is kept as it came,
    /// and its code is kept with it.
    fn end(&mut self, end: &End) -> io::Result<()> {
        let Some(Current { device_path, path, bytes, sha256, target }) = self.current.take() else {
            return Ok(());
        };
        let kept = end.code == BLOCK_SUCCESS || bytes > 0;
        let placed = target.and_then(|(place, incoming)| {
            if !kept {
                return Ok(());
            }
            let incoming = incoming.map_or_else(|| self.folder.begin(), Ok);
            let placed = incoming.and_then(|incoming| self.folder.place_file(incoming, &place));
            placed.map_err(|error| Failure::new(&path, &error.into()))
        });
        if let Err(failure) = placed {
            self.dropped(DROPPED_FILE_BYTES, &failure)?;
            if self.failures.len() < FAILURES_MAX {
                self.failures.push(failure);
            }
            return Ok(());
        }
        if kept {
            self.absent.remove(&path);
        } else if self.absent.len() < FAILURES_MAX {
            self.absent.insert(path.clone());
        }
        let sha256 = sha256.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
        self.announced &= path != STATUS;
        self.batch_bytes += bytes;
        self.batch.push(Entry::Received(Received { path, device_path, bytes, sha256, code: end.code }));
        Ok(())
    }

    fn answer(&mut self, ask: Ask) -> Result<Answer, Failure> {
        match ask {
            Ask::FreeSpace => {
                let free = self.folder.free_bytes();
                free.map(Answer::Bytes).map_err(|error| Failure::new("", &error.into()))
            }
            Ask::CreateDirectory(path) => {
                let made = self.folder.create_directory(&path);
                made.map(|()| Answer::Done).map_err(|denied| Failure::new(&path, &denied))
            }
            Ask::List(path) => {
                let listing = self.folder.list(&path);
                listing.map(Answer::Listing).map_err(|denied| Failure::new(&path, &denied))
            }
            Ask::Move(items) => first_failure(items.iter().map(|(from, to)| self.rename(from, to))),
            Ask::Remove(paths) => first_failure(paths.iter().map(|path| self.remove(path))),
            Ask::Copy(from, to) => self.copy(&from, &to).map(|()| Answer::Done),
            Ask::Open(path) => {
                let file = self.folder.open_file(&path);
                file.map(|file| Answer::File(file.into_std())).map_err(|denied| Failure::new(&path, &denied))
            }
            Ask::ReadSmall(name) => Ok(Answer::Content(self.folder.read_small(name, 1 << 20))),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let source = self.folder.place_to_change(from).map_err(|denied| Failure::new(from, &denied))?;
        let target = self.folder.place_to_change(to).map_err(|denied| Failure::new(to, &denied))?;
        let entry = Entry::Moved { from: source.relative(), to: target.relative() };
        self.announce(&entry, &target).map_err(|error| Failure::new(from, &error.into()))?;
        match self.folder.rename(&source, &target) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && self.absent.remove(&source.relative()) =>
            {
                self.stand_in(&target).map_err(|error| Failure::new(to, &error.into()))?;
            }
            Err(error) => return Err(Failure::new(from, &error.into())),
            Ok(()) => {}
        }
        self.batch.push(entry);
        Ok(())
    }

    /// Puts an empty file where the phone wants one to be that it refused to send, as other hosts do: a row without any
    /// file is more than readers of backups expect. What stands there already is better and stays.
    fn stand_in(&mut self, target: &Place) -> io::Result<()> {
        if self.folder.stands(target) {
            return Ok(());
        }
        let empty = self.folder.begin()?;
        self.folder.place_file(empty, target)
    }

    fn remove(&mut self, path: &str) -> Result<(), Failure> {
        let place = self.folder.place_to_change(path).map_err(|denied| Failure::new(path, &denied))?;
        let entry = Entry::Removed { path: place.relative() };
        self.announce(&entry, &place).map_err(|error| Failure::new(path, &error.into()))?;
        self.folder.remove(&place).map_err(|error| Failure::new(path, &error.into()))?;
        self.batch.push(entry);
        Ok(())
    }

    /// Writes the first change to what stands in its place down before it is made, durably. What is done twice by the
    /// journal's word is done once.
    fn announce(&mut self, entry: &Entry, changed: &Place) -> io::Result<()> {
        let waits = changed.relative();
        if self.announced || waits == SNAPSHOT || waits.starts_with("Snapshot/") {
            return Ok(());
        }
        self.batch.push(entry.clone());
        self.syncer.keep_now(std::mem::take(&mut self.batch))?;
        self.batch_bytes = 0;
        self.announced = true;
        Ok(())
    }

    fn copy(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let source = self.folder.place_to_change(from).map_err(|denied| Failure::new(from, &denied))?;
        let target = self.folder.place_to_change(to).map_err(|denied| Failure::new(to, &denied))?;
        self.folder.copy(&source, &target).map_err(|error| Failure::new(from, &error.into()))?;
        self.batch.push(Entry::Copied { from: source.relative(), to: target.relative() });
        Ok(())
    }

    fn sync_if_due(&mut self) -> io::Result<()> {
        let due = self.batch_bytes >= BATCH_BYTES
            || self.batch.len() >= BATCH_ENTRIES
            || (!self.batch.is_empty() && self.batch_since.elapsed() >= BATCH_AGE);
        if due {
            self.syncer.keep(std::mem::take(&mut self.batch))?;
            self.batch_bytes = 0;
        }
        if due || self.batch.is_empty() {
            self.batch_since = Instant::now();
        }
        Ok(())
    }
}

/// All are tried; the first failure is told, and as several if there was more than one.
fn first_failure(results: impl Iterator<Item = Result<(), Failure>>) -> Result<Answer, Failure> {
    let mut failures = results.filter_map(Result::err);
    let Some(mut first) = failures.next() else { return Ok(Answer::Done) };
    let others = failures.fold(0, |count, failure| {
        first.hostile |= failure.hostile;
        first.disk |= failure.disk;
        count + 1
    });
    if others > 0 {
        first.code = codes::MULTIPLE;
        first.text = format!("{} (and {others} more)", first.text);
    }
    Err(first)
}

/// A batch, and who waits for it to be durable.
type Batch = (Vec<Entry>, Option<std_mpsc::Sender<()>>);

/// The thread that makes batches durable, one at a time.
struct Syncer {
    batches: Option<std_mpsc::SyncSender<Batch>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Syncer {
    fn start(handle: SyncHandle, mut ledger: Box<dyn Ledger>) -> io::Result<Self> {
        let (batches, incoming) = std_mpsc::sync_channel::<Batch>(1);
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

    /// Hands over a batch; waits while the one before it is not durable yet.
    fn keep(&mut self, batch: Vec<Entry>) -> io::Result<()> {
        self.hand_over((batch, None))
    }

    /// Hands over a batch and waits until it is durable.
    fn keep_now(&mut self, batch: Vec<Entry>) -> io::Result<()> {
        let (waits, durable) = std_mpsc::channel();
        self.hand_over((batch, Some(waits)))?;
        durable.recv().map_err(|_| self.why_it_ended())
    }

    fn hand_over(&mut self, batch: Batch) -> io::Result<()> {
        let sent = self.batches.as_ref().is_some_and(|batches| batches.send(batch).is_ok());
        if sent { Ok(()) } else { Err(self.why_it_ended()) }
    }

    fn why_it_ended(&mut self) -> io::Error {
        self.finish().err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.batches.take();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }
}
