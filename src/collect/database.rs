//! Takes the library's database off the phone, whole and of one moment, and reads the copy.
//!
//! Database and log are copied back to back and looked at again afterwards: a phone goes on writing. A log that only
//! grew meanwhile does no harm; a database that changed does, and is copied again. The copies vanish afterwards.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use super::words;
use crate::afc::{self, Afc, OpenMode, Status};
use crate::facts::{Backlog, Library};
use crate::library::census::{self, Census};
use crate::library::{self, Unreadable};
use crate::progress::{CancellationToken, Event, Observer, Phase};

/// Tries before a library that keeps changing is given up.
const TRIES: u32 = 4;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(700);
/// Room that a copy leaves on the disk.
const ROOM_LEFT_BYTES: u64 = 64 << 20;
/// One read. With those ahead it fills a fast cable, and not more: whatever else is asked meanwhile comes behind them.
const CHUNK_BYTES: u64 = 64 << 10;
/// Reads that are asked ahead. The list of files is asked for meanwhile, a hundred questions at a time: each of those
/// waits behind all of these.
const CHUNKS_AHEAD: usize = 2;
/// The least time between two words on progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Why there is no library.
#[derive(Debug)]
pub(super) enum Failed {
    /// It could not be read, and why.
    Unreadable(String),
    /// We were asked to stop.
    Cancelled,
}

/// Where copies go and who watches.
#[derive(Clone, Copy)]
pub(super) struct Desk<'a> {
    /// A private folder on this computer.
    pub(super) scratch: &'a Path,
    /// Is told of the bytes.
    pub(super) observer: &'a dyn Observer,
    /// Asks us to stop.
    pub(super) cancel: &'a CancellationToken,
}

/// A database on the phone, with its log.
#[derive(Clone, Copy)]
struct Pair {
    folder: &'static str,
    name: &'static str,
}

/// The engine's store on the phone.
pub(super) const STORE_PATH: &str = "PhotoData/CPL/storage/store.cloudphotodb";
const LIBRARY: Pair = Pair { folder: library::FOLDER, name: library::DATABASE_NAME };
const STORE: Pair = Pair { folder: library::STORE_FOLDER, name: library::STORE_NAME };

/// Size and modification time of a database and its log; `None` where there is no log.
type Stamp = ((u64, i64), Option<(u64, i64)>);

/// Copies the photo library off the phone and reads it.
pub(super) async fn read_library(afc: &Afc, desk: Desk<'_>) -> Result<Library, Failed> {
    desk.observer.event(Event::Began { phase: Phase::Library, bytes_total: None, items_total: None });
    let read = copied(afc, desk, LIBRARY, library::read_database).await;
    desk.observer.event(Event::Ended { phase: Phase::Library });
    read
}

/// Copies the engine's own store off the phone and reads what waits in it.
pub(super) async fn read_backlog(afc: &Afc, desk: Desk<'_>) -> Result<Backlog, Failed> {
    copied(afc, Desk { observer: &crate::progress::Silent, ..desk }, STORE, library::read_backlog).await
}

/// Copies the photo library off the phone and takes its census; the copy vanishes. What went wrong is told in words that
/// may hold the phone's; we were asked to stop: `None`.
///
/// # Errors
/// The library could not be copied or read.
pub async fn census(
    afc: &Afc,
    scratch: &Path,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Option<Census>, String> {
    match copied(afc, Desk { scratch, observer, cancel }, LIBRARY, census::census).await {
        Ok(census) => Ok(Some(census)),
        Err(Failed::Cancelled) => Ok(None),
        Err(Failed::Unreadable(words)) => Err(words),
    }
}

/// Copies `pair` until it held still meanwhile and `read` makes sense of it.
async fn copied<T: Send + 'static>(
    afc: &Afc,
    desk: Desk<'_>,
    pair: Pair,
    read: fn(&Path) -> Result<T, Unreadable>,
) -> Result<T, Failed> {
    let mut reason = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            rest(desk.cancel).await?;
        }
        let folder = tempfile::Builder::new().prefix("library-").tempdir_in(desk.scratch);
        let folder = folder.map_err(|error| Failed::Unreadable(words(&error)))?;
        match copy_once(afc, desk, pair, folder.path()).await {
            Ok(()) => {}
            Err(Trouble::Moved(what)) => {
                reason = what;
                continue;
            }
            Err(Trouble::Failed(failed)) => return Err(failed),
        }
        let path = folder.path().to_owned();
        match tokio::task::spawn_blocking(move || read(&path)).await {
            Ok(Ok(value)) => return Ok(value),
            // A copy of two moments looks like damage; the next one may be whole.
            Ok(Err(error @ Unreadable::Damaged { .. })) => reason = words(&error),
            Ok(Err(error)) => return Err(Failed::Unreadable(words(&error))),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    Err(Failed::Unreadable(reason))
}

async fn rest(cancel: &CancellationToken) -> Result<(), Failed> {
    tokio::select! {
        () = cancel.cancelled() => Err(Failed::Cancelled),
        () = sleep(PAUSE) => Ok(()),
    }
}

enum Trouble {
    Moved(String),
    Failed(Failed),
}

impl Trouble {
    fn unreadable(error: &impl std::fmt::Display) -> Self {
        Self::Failed(Failed::Unreadable(words(error)))
    }

    fn of_afc(error: &afc::Error) -> Self {
        match error {
            afc::Error::ShortRead { .. } => Self::Moved(words(error)),
            _ => Self::unreadable(error),
        }
    }
}

/// One copy; an error when the phone changed it meanwhile.
async fn copy_once(afc: &Afc, desk: Desk<'_>, pair: Pair, to: &Path) -> Result<(), Trouble> {
    let before = stamp(afc, pair).await?;
    check_room(desk.scratch, before.0.0 + before.1.map_or(0, |(size, _)| size))?;
    let mut copy =
        Copy { afc, desk, done: 0, total: before.0.0 + before.1.map_or(0, |(size, _)| size), told: None };
    let (database, log) =
        (format!("{}/{}", pair.folder, pair.name), format!("{}/{}-wal", pair.folder, pair.name));
    copy.file(&database, before.0.0, &to.join(pair.name)).await?;
    if let Some((size, _)) = before.1 {
        copy.file(&log, size, &to.join(format!("{}-wal", pair.name))).await?;
    }
    let after = stamp(afc, pair).await?;
    if after.0 != before.0 {
        return Err(Trouble::Moved("the phone kept changing it while it was copied".to_owned()));
    }
    match (before.1, after.1) {
        (Some((size, _)), None) if size > 0 => {
            Err(Trouble::Moved("its log went away while it was copied".into()))
        }
        (Some((was, _)), Some((is, _))) if is < was => Err(Trouble::Moved("its log was begun anew".into())),
        (None, Some((size, _))) if size > 0 => Err(Trouble::Moved("a log came while it was copied".into())),
        _ => Ok(()),
    }
}

/// A phone may claim any size: the copy must leave room on this computer's disk.
fn check_room(scratch: &Path, wanted: u64) -> Result<(), Trouble> {
    let disk = rustix::fs::statvfs(scratch).map_err(|error| Trouble::unreadable(&error))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if wanted.saturating_add(ROOM_LEFT_BYTES) > free {
        let reason = format!("a copy of it needs {wanted} bytes, and {} has {free} free", scratch.display());
        return Err(Trouble::unreadable(&reason));
    }
    Ok(())
}

async fn stamp(afc: &Afc, pair: Pair) -> Result<Stamp, Trouble> {
    let database = format!("{}/{}", pair.folder, pair.name);
    let info = afc.file_info(&database).await.map_err(|error| Trouble::of_afc(&error))?;
    if info.kind != afc::Kind::File {
        return Err(Trouble::unreadable(&format!("{database} is no file")));
    }
    let log = match afc.file_info(&format!("{database}-wal")).await {
        Ok(info) => Some((info.size, info.mtime_ns)),
        Err(error) if error.status() == Some(Status::NotFound) => None,
        Err(error) => return Err(Trouble::of_afc(&error)),
    };
    let total = info.size.saturating_add(log.map_or(0, |(size, _)| size));
    if total > library::FILE_BYTES_MAX {
        return Err(Trouble::unreadable(&format!("{database} has {total} bytes, more than any library")));
    }
    Ok(((info.size, info.mtime_ns), log))
}

struct Copy<'a> {
    afc: &'a Afc,
    desk: Desk<'a>,
    done: u64,
    total: u64,
    told: Option<Instant>,
}

impl Copy<'_> {
    /// Exactly `size` bytes of `path`, into a new private file.
    async fn file(&mut self, path: &str, size: u64, to: &PathBuf) -> Result<(), Trouble> {
        let opened = self.afc.open_file(path, OpenMode::Read).await;
        let mut source = opened.map_err(|error| Trouble::of_afc(&error))?;
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut target = options.open(to).await.map_err(|error| Trouble::unreadable(&error))?;
        let mut asked = VecDeque::new();
        let mut next = 0;
        while next < size || !asked.is_empty() {
            while next < size && asked.len() < CHUNKS_AHEAD {
                let count = CHUNK_BYTES.min(size - next);
                let read = source.ask_read(u32::try_from(count).expect("at most a chunk")).await;
                asked.push_back((count, read.map_err(|error| Trouble::of_afc(&error))?));
                next += count;
            }
            let Some((count, read)) = asked.pop_front() else { break };
            let bytes = tokio::select! {
                () = self.desk.cancel.cancelled() => return Err(Trouble::Failed(Failed::Cancelled)),
                bytes = read.bytes() => bytes.map_err(|error| Trouble::of_afc(&error))?,
            };
            if bytes.len() as u64 != count {
                return Err(Trouble::Moved(format!("{path} became shorter while it was copied")));
            }
            self.keep(&mut target, &bytes).await.map_err(|error| Trouble::unreadable(&error))?;
        }
        target.flush().await.map_err(|error| Trouble::unreadable(&error))?;
        source.close().await.map_err(|error| Trouble::of_afc(&error))
    }

    async fn keep(&mut self, target: &mut File, bytes: &[u8]) -> std::io::Result<()> {
        target.write_all(bytes).await?;
        self.done += bytes.len() as u64;
        if self.told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY) || self.done == self.total {
            self.told = Some(Instant::now());
            self.desk.observer.event(Event::Advanced {
                phase: Phase::Library,
                bytes_done: self.done,
                bytes_total: Some(self.total),
                items_done: 0,
            });
        }
        Ok(())
    }
}
