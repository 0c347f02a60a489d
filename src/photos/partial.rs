//! Files that are being received: beside the copy, under names of ours. What came of a large one outlives its reading.
//!
//! Knows this computer only. A large file has a journal: which file of the phone it is, and at each checkpoint how many
//! of its bytes are durable and their SHA-256. Nothing else counts: what lies behind the last checkpoint may never have
//! reached the disk and is cut off, and what lies before it is read again and compared before a new byte is added. A
//! file of the phone with another size or another date is another file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest::{Context, SHA256};
use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};

use super::digest;
use super::stage::Staging;
use crate::progress::CancellationToken;
use journal::{JOURNAL_SUFFIX, journal_name, read_bounded, read_journal};

mod journal;
#[cfg(test)]
mod tests;

pub(super) use journal::{Checkpoint, Identity, Journal};

/// Files from this size on are gone on with. USB 2 carries so much in half a second: for less, checkpoints would cost
/// more than reading it again.
pub(super) const LARGE_BYTES: u64 = 16 << 20;

/// So many of the last bytes that are here are read from the phone once more before a file is gone on with: a phone
/// that cannot go on in the middle of a file, or has another file there now, is known by them.
const OVERLAP_BYTES: u64 = 64 << 10;

/// Interrupted files that are kept: more than are ever read at once.
const KEPT_MAX: usize = 32;

/// Bytes of interrupted files that are kept: two hours of the largest video that an iPhone takes.
const KEPT_BYTES_MAX: u64 = 128 << 30;

/// Bytes that are read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// The folder of files that are being received.
#[derive(Debug)]
pub(super) struct Partials {
    dir: Dir,
    /// Interrupted files, by the phone's path.
    kept: Mutex<BTreeMap<String, Kept>>,
    next: AtomicU64,
}

/// An interrupted file. As long as nobody goes on with it, it stays where it is.
#[derive(Debug)]
pub(super) struct Kept {
    name: String,
    of: Identity,
    at: Checkpoint,
}

impl Partials {
    /// Opens the folder for writing: what can be gone on with stays, everything else is worth nothing and is removed.
    pub(super) fn open(dir: Dir) -> io::Result<Self> {
        let mut kept = Vec::new();
        let mut names = Vec::new();
        for entry in dir.entries()? {
            names.push(entry?.file_name());
        }
        let numbers: Vec<u64> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
        for number in &numbers {
            kept.extend(Kept::read(&dir, &number.to_string()));
        }
        let kept = bounded(kept);
        let wanted = |name: &str| {
            let name = name.strip_suffix(JOURNAL_SUFFIX).unwrap_or(name);
            kept.values().any(|one| one.name == name)
        };
        for name in names.iter().filter(|name| !name.to_str().is_some_and(&wanted)) {
            dir.remove_file(name)?;
        }
        let next = numbers.into_iter().max().unwrap_or(0).saturating_add(1);
        Ok(Self { dir, kept: Mutex::new(kept), next: AtomicU64::new(next) })
    }

    /// Interrupted files and what is durable of them, without changing anything.
    pub(super) fn look(dir: &Dir) -> Vec<(Identity, u64)> {
        let entries = dir.entries().into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
        let kept = numbers.filter_map(|number| Kept::read(dir, &number.to_string()));
        kept.map(|kept| (kept.of, kept.at.bytes)).collect()
    }

    /// A new file.
    pub(super) fn begin(self: &Arc<Self>) -> io::Result<Staging> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o644);
        let file = self.dir.open_with(&name, &options)?.into_std();
        Ok(Staging::new(Arc::clone(self), name, file))
    }

    /// A new file that is gone on with if it is interrupted.
    pub(super) fn begin_large(self: &Arc<Self>, of: Identity) -> io::Result<Staging> {
        let staging = self.begin()?;
        let journal = Journal::begin(Arc::clone(self), staging.name().to_owned(), of)?;
        Ok(staging.with_journal(journal))
    }

    /// What is here of that file, if it can be gone on with. Whoever has it decides over it.
    pub(super) fn claim(&self, of: &Identity) -> Option<Kept> {
        let kept = self.kept().remove(&of.path)?;
        if kept.of == *of {
            return Some(kept);
        }
        self.remove(&kept.name);
        None
    }

    /// Keeps an interrupted file for whoever claims it; false: there are enough.
    fn keep(&self, interrupted: Kept) -> bool {
        let mut kept = self.kept();
        let bytes = kept.values().fold(interrupted.at.bytes, |sum, one| sum.saturating_add(one.at.bytes));
        if kept.len() >= KEPT_MAX || bytes > KEPT_BYTES_MAX {
            return false;
        }
        if let Some(other) = kept.insert(interrupted.of.path.clone(), interrupted) {
            self.remove(&other.name);
        }
        true
    }

    /// Removes every interrupted file that is not wanted any more.
    pub(super) fn retain(&self, wanted: impl Fn(&Identity) -> bool) {
        self.kept().retain(|_, kept| {
            let wanted = wanted(&kept.of);
            if !wanted {
                self.remove(&kept.name);
            }
            wanted
        });
    }

    /// Interrupted files, and what is durable of them.
    pub(super) fn list(&self) -> Vec<(Identity, u64)> {
        self.kept().values().map(|kept| (kept.of.clone(), kept.at.bytes)).collect()
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().expect("nothing panics while it holds this lock")
    }

    /// The journal goes first: a file without one is worth nothing, a journal without its file neither.
    fn remove(&self, name: &str) {
        let _ = self.dir.remove_file(journal_name(name));
        let _ = self.dir.remove_file(name);
    }
}

/// Of several pieces of one file the longest; of too many files those of which most is here.
fn bounded(mut kept: Vec<Kept>) -> BTreeMap<String, Kept> {
    kept.sort_by_key(|one| std::cmp::Reverse(one.at.bytes));
    let mut bounded = BTreeMap::new();
    let mut bytes = 0_u64;
    for one in kept {
        bytes = bytes.saturating_add(one.at.bytes);
        if bounded.len() < KEPT_MAX && bytes <= KEPT_BYTES_MAX {
            bounded.entry(one.of.path.clone()).or_insert(one);
        }
    }
    bounded
}

impl Kept {
    /// What the journal of `name` says, if it and the file are there and at least as long.
    fn read(dir: &Dir, name: &str) -> Option<Self> {
        let (of, at) = read_journal(&read_bounded(dir, &journal_name(name)).ok()?)?;
        let metadata = dir.symlink_metadata(name).ok()?;
        (metadata.is_file() && metadata.len() >= at.bytes).then(|| Self { name: name.to_owned(), of, at })
    }

    /// Reads again what is here and, if it is what was received, makes it a file that is being received: cut to what
    /// is durable. With it come its last bytes. `None`: it is not, and is gone. Blocks as long as reading takes.
    pub(super) fn go_on(
        self,
        partials: &Arc<Partials>,
        cancel: &CancellationToken,
    ) -> io::Result<Option<(Staging, Vec<u8>)>> {
        match self.prove(&partials.dir, cancel) {
            Ok(Some((file, hash, tail))) => {
                let journal = Journal::reopen(Arc::clone(partials), self.name.clone(), self.of, self.at)?;
                let staging = Staging::new(Arc::clone(partials), self.name, file);
                Ok(Some((staging.gone_on_with(hash, self.at.bytes).with_journal(journal), tail)))
            }
            Ok(None) => {
                partials.remove(&self.name);
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                partials.keep(self);
                Err(error)
            }
            // A disk that cannot read it back has nothing to go on with.
            Err(error) => {
                tracing::info!(%error, "an interrupted file cannot be read again");
                partials.remove(&self.name);
                Ok(None)
            }
        }
    }

    fn prove(&self, dir: &Dir, cancel: &CancellationToken) -> io::Result<Option<(File, Context, Vec<u8>)>> {
        let options = OpenOptions::new().read(true).write(true).follow(FollowSymlinks::No).clone();
        let mut file = dir.open_with(&self.name, &options)?.into_std();
        let mut hash = Context::new(&SHA256);
        let mut block = vec![0; BLOCK_BYTES];
        let mut left = self.at.bytes;
        while left > 0 {
            if cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let most = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = match file.read(&mut block[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if read == 0 {
                return Ok(None);
            }
            hash.update(&block[..read]);
            left -= read as u64;
        }
        if digest(hash.clone()) != self.at.sha256 {
            return Ok(None);
        }
        file.set_len(self.at.bytes)?;
        file.seek(SeekFrom::Start(self.at.bytes))?;
        let overlap = OVERLAP_BYTES.min(self.at.bytes);
        let mut tail = vec![0; usize::try_from(overlap).expect("a small number")];
        file.read_exact_at(&mut tail, self.at.bytes - overlap)?;
        Ok(Some((file, hash, tail)))
    }
}
