//! Files out of a backup, onto a disk: decrypted, with their dates, whole.
//!
//! A backup is untrusted: its paths are confined and escaped, nothing that stands is overwritten, no link is made or
//! followed. Nothing is cut to the `Size` that a row states. Where our own record of what was received is there, every
//! file is held against it while it is read, so that damage in a plain backup is noticed too.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use cap_fs_ext::{DirExt, SystemTimeSpec};
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt};
use serde::Serialize;

use super::check::Watch;
use super::choice::Choice;
use super::manifest::{self, Row, open_plain};
use super::mbfile::MbFile;
use super::read::Backup;
use super::record::Record;
use crate::progress::{CancellationToken, Event, Observer, Phase};

mod content;
mod name;
pub mod photos;

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Most files that are listed by name; beyond that they are counted.
const LISTED_MAX: usize = 10_000;

/// Where a file goes, below the folder that is filled.
pub trait Placing: Send {
    /// The places of this file: the first is written, the others are further names of it. None: it is not wanted.
    fn places(&mut self, domain: &str, file: &MbFile, path: &str) -> Vec<String>;
    /// When the photo or video was taken, where that is known better than by the file's own date.
    fn taken(&self, _path: &str) -> Option<jiff::Timestamp> {
        None
    }
}

/// Every file under its domain, as it lies in the backup.
#[derive(Debug)]
pub struct AsInBackup {
    choice: Choice,
}

impl AsInBackup {
    /// What the choice takes.
    #[must_use]
    pub fn new(choice: Choice) -> Self {
        Self { choice }
    }
}

impl Placing for AsInBackup {
    fn places(&mut self, domain: &str, _: &MbFile, path: &str) -> Vec<String> {
        if !self.choice.takes(domain, path) {
            return Vec::new();
        }
        let components = std::iter::once(domain).chain(path.split('/'));
        vec![components.map(name::safe).collect::<Vec<String>>().join("/")]
    }
}

/// A file that could not be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missed {
    /// Its domain: text from the phone.
    pub domain: String,
    /// Its path: text from the phone.
    pub path: String,
    /// Why, in words.
    pub why: String,
    /// What the backup holds of it is not what it should be; else it is not in the backup, or this disk could not hold it.
    pub damaged: bool,
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Extracted {
    /// Files that were written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that could not be given, the first of them by name.
    pub missed: Vec<Missed>,
    /// All of them.
    pub missed_files: u64,
    /// Of these, damaged ones.
    pub damaged_files: u64,
    /// Files whose length is not the one that their row states: live databases, mostly.
    pub other_size: Vec<String>,
    /// All of them.
    pub other_size_files: u64,
    /// Links of the phone, which are not made here.
    pub links: u64,
}

/// Why nothing, or not everything, came out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The records of the backup.
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    /// The disk that is written to.
    #[error("{0}")]
    Disk(#[source] io::Error),
    /// The person or the program asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

/// A backup and the folder into which it is extracted.
#[derive(Debug)]
pub struct Subject {
    /// The backup.
    pub backup: Backup,
    /// Our record of what was received, if it is ours.
    pub record: Option<Record>,
    /// An empty folder.
    pub into: Dir,
}

/// Extracts what `placing` wants. Everything is durable when this returns well.
///
/// # Errors
/// [`Error`]; single files that could not be given are no error but listed.
pub async fn extract(
    subject: Subject,
    placing: Box<dyn Placing>,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Extracted, Error> {
    observer.event(Event::Began { phase: Phase::Extract, bytes_total: None, items_total: None });
    let watch = Arc::new(Watch::default());
    let work = {
        let watch = Arc::clone(&watch);
        move || Extraction { subject, placing, watch, done: Extracted::default() }.run()
    };
    let mut working = tokio::task::spawn_blocking(work);
    let tell = || {
        let (bytes_done, items_done) =
            (watch.bytes.load(Ordering::Relaxed), watch.items.load(Ordering::Relaxed));
        let phase = Phase::Extract;
        observer.event(Event::Advanced { phase, bytes_done, bytes_total: None, items_done });
    };
    let done = loop {
        tokio::select! {
            done = &mut working => break done.map_err(|error| Error::Disk(io::Error::other(error)))?,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => tell(),
            () = cancel.cancelled(), if !watch.stop.load(Ordering::Relaxed) => {
                watch.stop.store(true, Ordering::Relaxed);
            }
        }
    };
    tell();
    observer.event(Event::Ended { phase: Phase::Extract });
    done
}

struct Extraction {
    subject: Subject,
    placing: Box<dyn Placing>,
    watch: Arc<Watch>,
    done: Extracted,
}

/// Why a single file did not come out.
enum Trouble {
    /// It is listed, and the others go on.
    Missed { why: String, damaged: bool },
    /// Nothing further can be written.
    Ends(Error),
}

impl Extraction {
    fn run(mut self) -> Result<Extracted, Error> {
        let mut ended = Ok(());
        let Self { subject, placing, watch, done } = &mut self;
        subject.backup.rows(|row| {
            if watch.stop.load(Ordering::Relaxed) {
                ended = Err(Error::Cancelled);
                return false;
            }
            match one(subject, placing.as_mut(), watch, done, &row) {
                Ok(()) => true,
                Err(Trouble::Missed { why, damaged }) => {
                    done.miss(&row, why, damaged);
                    true
                }
                Err(Trouble::Ends(error)) => {
                    ended = Err(error);
                    false
                }
            }
        })?;
        ended?;
        let synced = subject.into.open(".").and_then(|folder| sync_file_system(&folder));
        synced.map_err(Error::Disk)?;
        Ok(self.done)
    }
}

impl Extracted {
    fn miss(&mut self, row: &Row, why: String, damaged: bool) {
        self.missed_files += 1;
        self.damaged_files += u64::from(damaged);
        if self.missed.len() < LISTED_MAX {
            self.missed.push(Missed { domain: row.domain.clone(), path: row.path.clone(), why, damaged });
        }
    }
}

fn one(
    subject: &Subject,
    placing: &mut dyn Placing,
    watch: &Watch,
    done: &mut Extracted,
    row: &Row,
) -> Result<(), Trouble> {
    const LINK: i64 = 4;
    let missed = |why: &str| Trouble::Missed { why: why.to_owned(), damaged: true };
    let described = MbFile::parse(&row.archive);
    let places = match (&described, row.flags) {
        (Ok(file), 1 | LINK) => placing.places(&row.domain, file, &row.path),
        (Err(_), 1) => placing.places(&row.domain, &MbFile::default(), &row.path),
        _ => Vec::new(),
    };
    let Some((place, further)) = places.split_first() else { return Ok(()) };
    if row.flags == LINK {
        done.links += 1;
        return Ok(());
    }
    let file = described.map_err(|what| missed(&format!("its row is damaged: {what}")))?;
    let bytes = write(subject, placing, watch, row, &file, place)?;
    for name in further {
        another_name(&subject.into, place, name)?;
    }
    done.files += 1;
    done.bytes += bytes;
    watch.items.fetch_add(1, Ordering::Relaxed);
    if bytes != file.size {
        done.other_size_files += 1;
        if done.other_size.len() < LISTED_MAX {
            done.other_size.push(format!("{}/{}", row.domain, row.path));
        }
    }
    Ok(())
}

/// Writes one file. What is not whole does not stay.
fn write(
    subject: &Subject,
    placing: &dyn Placing,
    watch: &Watch,
    row: &Row,
    file: &MbFile,
    place: &str,
) -> Result<u64, Trouble> {
    let stored = row.stored().ok_or_else(|| Trouble::Missed {
        why: "its row is damaged: the name is not the one that follows from its path".into(),
        damaged: true,
    })?;
    let known = subject.record.as_ref().map(|record| record.file(&stored));
    let source = match open_plain(subject.backup.dir(), &stored) {
        Ok(source) => source,
        Err(error) => return Err(absent(subject, row, known.flatten().is_some(), &error)),
    };
    let (dir, name) = parent(&subject.into, place).map_err(cannot_write)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut target = dir.open_with(name, &options).map_err(cannot_write)?;
    let written = content::copy(subject, watch, file, source, known.flatten(), &mut target);
    let dated = written.and_then(|bytes| {
        let taken = placing.taken(&row.path).map_or(file.last_modified, |at| at.as_second());
        let time = || Some(SystemTimeSpec::Absolute(cap_std::time::SystemTime::from_std(moment(taken))));
        dir.set_times(name, time(), time()).map(|()| bytes).map_err(cannot_write)
    });
    if dated.is_err() {
        // A half file under a whole one's name would be worse than none.
        let _ = dir.remove_file(name);
    }
    dated
}

/// A row whose file is not there: the phone refused it, or somebody removed it.
fn absent(subject: &Subject, row: &Row, was_received: bool, error: &io::Error) -> Trouble {
    if error.kind() != io::ErrorKind::NotFound {
        return Trouble::Missed { why: format!("it cannot be read: {error}"), damaged: true };
    }
    let refused = subject.record.as_ref().and_then(|record| record.refused(&row.id));
    let why = match refused {
        Some(code) => format!("the phone refused to back it up (code {code})"),
        None if was_received => "it is missing in the backup, though it was received".to_owned(),
        None => "the backup does not hold it".to_owned(),
    };
    Trouble::Missed { why, damaged: refused.is_none() }
}

/// A disk that is full or breaks ends it; a name that it cannot hold concerns one file.
fn cannot_write(error: io::Error) -> Trouble {
    use rustix::io::Errno;
    const ENDS: [Errno; 5] = [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::MFILE];
    if ENDS.iter().any(|ends| error.raw_os_error() == Some(ends.raw_os_error())) {
        return Trouble::Ends(Error::Disk(error));
    }
    let why = match error.kind() {
        io::ErrorKind::AlreadyExists => "another file has its name already".to_owned(),
        _ => format!("this disk cannot hold its name: {error}"),
    };
    Trouble::Missed { why, damaged: false }
}

/// A further name of a file that was written; where the disk has no such names it is copied.
fn another_name(into: &Dir, place: &str, name: &str) -> Result<(), Trouble> {
    parent(into, name).map_err(cannot_write)?;
    let linked = into.hard_link(place, into, name);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            into.copy(place, into, name).map(drop).map_err(cannot_write)
        }
        other => other.map_err(cannot_write),
    }
}

/// The folder of a path, made if it is not there, and the path's last name.
fn parent<'a>(into: &Dir, path: &'a str) -> io::Result<(Dir, &'a str)> {
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut dir = into.try_clone()?;
    for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        match dir.create_dir_with(folder, &private) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        dir = dir.open_dir_nofollow(folder)?;
    }
    Ok((dir, name))
}

/// A moment in seconds since 1970, as far as clocks of this computer reach.
fn moment(seconds: i64) -> SystemTime {
    // The year 2100 or so: what every file system holds.
    let bounded = seconds.clamp(0, i64::from(u32::MAX));
    SystemTime::UNIX_EPOCH + Duration::from_secs(bounded.unsigned_abs())
}

fn sync_file_system(folder: &cap_std::fs::File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(folder)?;
    #[cfg(not(target_os = "linux"))]
    folder.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests;
