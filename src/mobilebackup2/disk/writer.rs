//! The thread that stores, moves and removes in the order in which the phone asked.

use std::io::{self, Write};
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::super::codes::{self, BLOCK_SUCCESS};
use super::super::folder::{Denied, Folder, Incoming, Place};
use super::super::ledger::{Digest, Entry, Received};
use super::super::stream::End;
use super::digests::{Digests, Written};
use super::{Answer, Ask, Failure, SNAPSHOT, STATUS, Work};

/// A batch is made durable when it holds so many bytes,
const BATCH_BYTES: u64 = 64 << 20;
/// or when it is so old.
const BATCH_AGE: Duration = Duration::from_secs(1);
/// Entries after which a batch ends in any case, and bytes of their paths, to bound memory: a batch waits while two before
/// it are made durable, each once as entries and once as the ledger's lines.
const BATCH_ENTRIES: usize = 16_384;
const BATCH_TEXT_BYTES: usize = 4 << 20;
/// What happened is told to the hashing thread at the latest when so much of it has gathered.
const GATHERED_MAX: usize = 256;
/// Free space is looked at again after so many bytes: the reserve is kept also from a phone that does not ask.
const ROOM_LOOKED_AT_BYTES: u64 = 16 << 20;
/// After so many bytes that could not be stored, nobody waits for the end of the stream any more: there may be none.
const DROPPED_BYTES_MAX: u64 = 256 << 20;
/// What a file costs that could not be stored, besides its bytes.
const DROPPED_FILE_BYTES: u64 = 4096;
/// Most failures told of one batch of files.
const FAILURES_MAX: usize = 1000;

/// The file that is coming in.
struct Current {
    device_path: String,
    path: String,
    bytes: u64,
    /// Where it goes; or why it is only read and dropped.
    target: Result<(Place, Option<Incoming>), Failure>,
}

pub(super) struct Writer {
    folder: Folder,
    digests: Digests,
    /// Done and not told to the hashing thread yet.
    written: Vec<Written>,
    current: Option<Current>,
    failures: Vec<Failure>,
    /// Of the batch that is under way.
    batch_entries: usize,
    batch_text_bytes: usize,
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
    pub(super) fn new(folder: Folder, digests: Digests) -> Self {
        Self {
            folder,
            digests,
            written: Vec::new(),
            current: None,
            failures: Vec::new(),
            batch_entries: 0,
            batch_text_bytes: 0,
            batch_bytes: 0,
            batch_since: Instant::now(),
            absent: std::collections::HashSet::new(),
            announced: false,
            unlooked_bytes: ROOM_LOOKED_AT_BYTES,
            dropped_bytes: 0,
        }
    }

    pub(super) fn run(&mut self, mut work: mpsc::Receiver<Vec<Work>>) -> io::Result<()> {
        let mut worked = Ok(());
        while let Some(several) = work.blocking_recv() {
            worked = several.into_iter().try_for_each(|one| self.work(one)).and_then(|()| self.tell());
            if worked.is_err() {
                break;
            }
        }
        // A file that never ended was never received.
        if let Some(Current { target: Ok((_, Some(incoming))), .. }) = self.current.take() {
            self.folder.drop_file(incoming);
        }
        self.written.push(Written::Batch(None));
        let kept = self.tell().and_then(|()| self.digests.finish());
        worked.and(kept)
    }

    /// Tells the hashing thread what was done.
    fn tell(&mut self) -> io::Result<()> {
        self.digests.tell(std::mem::take(&mut self.written))
    }

    /// Something happened that the ledger is to keep.
    fn happened(&mut self, written: Written) {
        self.batch_entries += 1;
        self.batch_text_bytes += written.text_bytes();
        self.written.push(written);
    }

    /// Keeps what gathers within bounds: a single message may ask for two hundred thousand changes.
    fn keep_up(&mut self) -> io::Result<()> {
        self.sync_if_due();
        if self.written.len() >= GATHERED_MAX { self.tell() } else { Ok(()) }
    }

    fn work(&mut self, work: Work) -> io::Result<()> {
        match work {
            Work::Begin { device_path, host_path } => self.begin(device_path, &host_path),
            Work::Data(data) => self.data(data)?,
            Work::End(end) => self.end(&end)?,
            Work::Tick => {}
            Work::Uploaded(reply) => {
                let _ = reply.send(std::mem::take(&mut self.failures));
            }
            Work::Ask(ask, reply) => {
                let _ = reply.send(self.answer(ask));
            }
        }
        self.sync_if_due();
        Ok(())
    }

    fn begin(&mut self, device_path: String, host_path: &[u8]) {
        let path = String::from_utf8_lossy(host_path).into_owned();
        let place = std::str::from_utf8(host_path)
            .map_err(|_| Denied::Path { path: path.clone(), why: "is no text" })
            .and_then(|path| self.folder.place_to_change(path));
        let target = place.map_err(|denied| Failure::new(&path, &denied));
        let path = target.as_ref().map_or(path, Place::relative);
        self.current =
            Some(Current { device_path, path, bytes: 0, target: target.map(|place| (place, None)) });
    }

    /// Stores more of the current file. After a failure the rest is only read, so that the stream stays in step; but not
    /// for ever.
    fn data(&mut self, data: Vec<u8>) -> io::Result<()> {
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
            Some(incoming) => incoming.file.write_all(&data),
            None => self.folder.begin().and_then(|mut begun| {
                let written = begun.file.write_all(&data);
                *incoming = Some(begun);
                written
            }),
        });
        match stored {
            Ok(()) => self.written.push(Written::Data(data)),
            Err(error) => {
                if let Some(incoming) = incoming.take() {
                    self.folder.drop_file(incoming);
                }
                current.target = Err(Failure::new(&current.path, &error.into()));
            }
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
        let Some(Current { device_path, path, bytes, target }) = self.current.take() else {
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
            self.written.push(Written::Dropped);
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
        self.announced &= path != STATUS;
        self.batch_bytes += bytes;
        let sha256 = Digest::default();
        self.happened(Written::File(Received { path, device_path, bytes, sha256, code: end.code }));
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
        self.happened(Written::Entry(entry));
        self.keep_up().map_err(|error| Failure::new(from, &error.into()))
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
        self.happened(Written::Entry(entry));
        self.keep_up().map_err(|error| Failure::new(path, &error.into()))
    }

    /// Writes the first change to what stands in its place down before it is made, durably. What is done twice by the
    /// journal's word is done once.
    fn announce(&mut self, entry: &Entry, changed: &Place) -> io::Result<()> {
        let waits = changed.relative();
        if self.announced || waits == SNAPSHOT || waits.starts_with("Snapshot/") {
            return Ok(());
        }
        self.happened(Written::Entry(entry.clone()));
        self.keep_now()?;
        self.announced = true;
        Ok(())
    }

    fn copy(&mut self, from: &str, to: &str) -> Result<(), Failure> {
        let source = self.folder.place_to_change(from).map_err(|denied| Failure::new(from, &denied))?;
        let target = self.folder.place_to_change(to).map_err(|denied| Failure::new(to, &denied))?;
        self.folder.copy(&source, &target).map_err(|error| Failure::new(from, &error.into()))?;
        self.happened(Written::Entry(Entry::Copied { from: source.relative(), to: target.relative() }));
        Ok(())
    }

    fn sync_if_due(&mut self) {
        let due = self.batch_bytes >= BATCH_BYTES
            || self.batch_entries >= BATCH_ENTRIES
            || self.batch_text_bytes >= BATCH_TEXT_BYTES
            || (self.batch_entries > 0 && self.batch_since.elapsed() >= BATCH_AGE);
        if due {
            self.end_batch(None);
        }
        if self.batch_entries == 0 {
            self.batch_since = Instant::now();
        }
    }

    /// What is in the batch is written, and may be made durable.
    fn end_batch(&mut self, waits: Option<std_mpsc::Sender<()>>) {
        self.written.push(Written::Batch(waits));
        (self.batch_entries, self.batch_text_bytes, self.batch_bytes) = (0, 0, 0);
    }

    /// Returns when everything that was done so far is durable.
    fn keep_now(&mut self) -> io::Result<()> {
        let (waits, durable) = std_mpsc::channel();
        self.end_batch(Some(waits));
        self.tell()?;
        durable.recv().map_err(|_| self.digests.why_it_ended())
    }
}

/// All are tried; the first failure is told, and as several if there was more than one. A full disk is told as such,
/// whatever else failed: the phone ends for it, and the person can do something about it.
fn first_failure(results: impl Iterator<Item = Result<(), Failure>>) -> Result<Answer, Failure> {
    let mut failures = results.filter_map(Result::err);
    let Some(mut first) = failures.next() else { return Ok(Answer::Done) };
    let mut full = first.code == codes::NO_SPACE;
    let others = failures.fold(0, |count, failure| {
        first.hostile |= failure.hostile;
        first.disk |= failure.disk;
        full |= failure.code == codes::NO_SPACE;
        count + 1
    });
    if others > 0 {
        first.code = if full { codes::NO_SPACE } else { codes::MULTIPLE };
        first.text = format!("{} (and {others} more)", first.text);
    }
    Err(first)
}
