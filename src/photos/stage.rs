//! A file of the copy while it is being received: beside the copy, under a name of ours, hashed as it comes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{Timespec, Timestamps};

use super::{digest, whole};

/// A file that is being received. Dropped unfinished, it is removed.
pub(super) struct Staging {
    dir: Arc<Dir>,
    name: String,
    file: Option<File>,
    hash: Context,
    written: u64,
}

/// A file that was received to its end and waits for its place in the copy. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Staged {
    dir: Arc<Dir>,
    name: Option<String>,
    pub(super) size: u64,
    pub(super) sha256: [u8; 32],
    pub(super) whole: bool,
}

impl Staging {
    pub(super) fn begin(dir: Arc<Dir>, name: String) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o644);
        let file = dir.open_with(&name, &options)?.into_std();
        Ok(Self { dir, name, file: Some(file), hash: Context::new(&SHA256), written: 0 })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_mut().expect("open until it is finished").write_all(bytes)?;
        self.hash.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Takes all of `source`, which is at its beginning: its bytes are shared where the file system can (`true`), else
    /// they are copied. Either way what is here now is what is hashed.
    pub(super) fn fill_from(&mut self, source: &File) -> io::Result<bool> {
        let file = self.file.as_mut().expect("open until it is finished");
        let shared = share_bytes(file, source);
        let mut from = if shared { &*file } else { source };
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

    /// Looks at its structure and gives it the phone's date. `phone_name` says what the file promises to be.
    pub(super) fn finish(mut self, phone_name: &str, mtime_ns: i64) -> io::Result<Staged> {
        let file = self.file.take().expect("open until it is finished");
        let whole = whole::is_whole(&file, phone_name)?;
        set_mtime(&file, mtime_ns)?;
        Ok(Staged {
            dir: Arc::clone(&self.dir),
            name: Some(std::mem::take(&mut self.name)),
            size: self.written,
            sha256: digest(std::mem::replace(&mut self.hash, Context::new(&SHA256))),
            whole,
        })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _ = self.dir.remove_file(&self.name);
        }
    }
}

impl Staged {
    /// Its folder and its name there.
    pub(super) fn place(&self) -> (&Dir, &str) {
        (&self.dir, self.name.as_deref().expect("it has a name until it is moved"))
    }

    /// It has been moved into its place.
    pub(super) fn moved(&mut self) {
        self.name = None;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = self.dir.remove_file(name);
        }
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
