//! A file of the copy while it is being received: beside the copy, under a name of ours, hashed as it comes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use aws_lc_rs::digest::{Context, SHA256};
use cap_std::fs::Dir;
use rustix::fs::{Timespec, Timestamps};

use super::commit::{BATCH_BYTES, BATCH_TIME};
use super::partial::{Checkpoint, Journal, Partials};
use super::{digest, whole};

/// A file that is being received. Dropped unfinished, it is removed.
pub(super) struct Staging {
    partials: Arc<Partials>,
    name: String,
    file: Option<Arc<File>>,
    hash: Context,
    written: u64,
    /// A large file's.
    journal: Option<Arc<Journal>>,
    /// How many bytes the last checkpoint covers, and when it was.
    marked: (u64, Instant),
}

/// A checkpoint that is due.
pub(super) struct Due {
    journal: Arc<Journal>,
    file: Arc<File>,
    at: Checkpoint,
}

/// A file that was received to its end and waits for its place in the copy. Dropped, it is removed, unless what is
/// durable of it is worth keeping for another time.
#[derive(Debug)]
pub(super) struct Staged {
    partials: Arc<Partials>,
    name: Option<String>,
    journal: Option<Arc<Journal>>,
    pub(super) size: u64,
    pub(super) sha256: [u8; 32],
    pub(super) whole: bool,
}

impl Staging {
    /// An empty file.
    pub(super) fn new(partials: Arc<Partials>, name: String, file: File) -> Self {
        Self {
            partials,
            name,
            file: Some(Arc::new(file)),
            hash: Context::new(&SHA256),
            written: 0,
            journal: None,
            marked: (0, Instant::now()),
        }
    }

    /// The file has `written` bytes already, of which `hash` is the hash.
    pub(super) fn gone_on_with(mut self, hash: Context, written: u64) -> Self {
        (self.hash, self.written, self.marked.0) = (hash, written, written);
        self
    }

    /// It is gone on with if it is interrupted.
    pub(super) fn with_journal(mut self, journal: Journal) -> Self {
        self.journal = Some(Arc::new(journal));
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Bytes that are there.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file().as_ref().write_all(bytes)?;
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Takes all of `source`, which is at its beginning: its bytes are shared where the file system can (`true`), else
    /// they are copied. Either way what is here now is what is hashed.
    pub(super) fn fill_from(&mut self, source: &File) -> io::Result<bool> {
        let file = Arc::clone(self.file());
        let shared = share_bytes(&file, source);
        let mut from: &File = if shared { &file } else { source };
        let mut block = vec![0; 1 << 18];
        loop {
            let read = match from.read(&mut block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if read == 0 {
                return Ok(shared);
            }
            if !shared {
                (&*file).write_all(&block[..read])?;
            }
            self.hash.update(&block[..read]);
            self.written += read as u64;
        }
    }

    fn file(&self) -> &Arc<File> {
        self.file.as_ref().expect("open until it is finished")
    }

    /// The checkpoint that is due, as often as batches of files are made durable. It is made by somebody who may wait
    /// for the disk; meanwhile there is no other.
    pub(super) fn due(&mut self) -> Option<Due> {
        let journal = self.journal.as_ref()?;
        let (bytes, since) = self.marked;
        if self.written - bytes < BATCH_BYTES && since.elapsed() < BATCH_TIME
            || journal.busy.swap(true, Ordering::Relaxed)
        {
            return None;
        }
        self.marked = (self.written, Instant::now());
        Some(Due { journal: Arc::clone(journal), file: Arc::clone(self.file()), at: self.here() })
    }

    fn here(&self) -> Checkpoint {
        Checkpoint { bytes: self.written, sha256: digest(self.hash.clone()) }
    }

    /// Looks at its structure and gives it the phone's date. `phone_name` says what the file promises to be.
    pub(super) fn finish(mut self, phone_name: &str, mtime_ns: i64) -> io::Result<Staged> {
        let file = self.file.take().expect("open until it is finished");
        let whole = whole::is_whole(&file, phone_name)?;
        set_mtime(&file, mtime_ns)?;
        Ok(Staged {
            partials: Arc::clone(&self.partials),
            name: Some(std::mem::take(&mut self.name)),
            journal: self.journal.take(),
            size: self.written,
            sha256: digest(std::mem::replace(&mut self.hash, Context::new(&SHA256))),
            whole,
        })
    }

    /// Leaves what came of it for another time, if it is a large file. Blocks as long as the disk takes.
    pub(super) fn keep(mut self) {
        if let Some(journal) = self.journal.take().filter(|_| self.written > 0) {
            // When this fails, as on a full disk it may, the checkpoint before it counts.
            if let Err(error) = journal.checkpoint(self.file(), self.here()) {
                tracing::info!(%error, "the last bytes of an interrupted file are not kept");
            }
            if journal.keep() {
                self.name.clear();
            } else {
                journal.remove();
            }
        }
    }
}

impl Due {
    /// Makes the checkpoint. Blocks as long as the disk takes.
    pub(super) fn make(self) -> io::Result<()> {
        let made = self.journal.checkpoint(&self.file, self.at);
        self.journal.busy.store(false, Ordering::Relaxed);
        made
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(journal) = &self.journal {
            journal.remove();
        }
        if !self.name.is_empty() {
            let _ = self.partials.dir().remove_file(&self.name);
        }
    }
}

impl Staged {
    /// Its folder and its name there.
    pub(super) fn place(&self) -> (&Dir, &str) {
        (self.partials.dir(), self.name.as_deref().expect("it has a name until it is moved"))
    }

    /// It has been moved into its place.
    pub(super) fn moved(&mut self) {
        self.name = None;
        if let Some(journal) = self.journal.take() {
            journal.remove();
        }
    }

    /// It is not wanted. Blocks while a checkpoint is being made.
    pub(super) fn discard(mut self) {
        if let Some(journal) = self.journal.take() {
            journal.remove();
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Some(name) = &self.name else { return };
        if let Some(journal) = &self.journal {
            if journal.keep() {
                return;
            }
            journal.remove();
        }
        let _ = self.partials.dir().remove_file(name);
    }
}

/// Lets an empty file have all bytes of another without copying them; `false` where that cannot be.
#[cfg(target_os = "linux")]
pub(super) fn share_bytes(empty: &File, source: &File) -> bool {
    rustix::fs::ioctl_ficlone(empty, source).is_ok()
}

/// As on Linux, where only whole files can be cloned, by their names.
#[cfg(not(target_os = "linux"))]
pub(super) fn share_bytes(_empty: &File, _source: &File) -> bool {
    false
}

/// Dates that the host's file system cannot hold are left at now: the manifest has the phone's.
pub(super) fn set_mtime(file: &File, mtime_ns: i64) -> io::Result<()> {
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let mtime = time(mtime_ns.div_euclid(1_000_000_000), mtime_ns.rem_euclid(1_000_000_000) as _);
    let times = Timestamps { last_access: time(0, rustix::fs::UTIME_OMIT), last_modification: mtime };
    match rustix::fs::futimens(file, &times) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::OVERFLOW | rustix::io::Errno::PERM) => Ok(()),
        other => Ok(other?),
    }
}
