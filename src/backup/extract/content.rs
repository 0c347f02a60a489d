//! The content of one file: decrypted, and held against what was received while it is read.

use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;

use aws_lc_rs::digest::{Context, SHA256};

use super::{Error, Subject, Trouble, cannot_write};
use crate::backup::check::Watch;
use crate::backup::mbfile::MbFile;
use crate::backup::record::Known;

const PIECE_BYTES: usize = 512 * 1024;

/// Copies the content, decrypted, and holds what is read against what was received.
pub(super) fn copy(
    subject: &Subject,
    watch: &Watch,
    file: &MbFile,
    source: std::fs::File,
    known: Option<Known>,
    target: &mut cap_std::fs::File,
) -> Result<u64, Trouble> {
    let unread = |error: io::Error| match watch.stop.load(Ordering::Relaxed) {
        true => Trouble::Ends(Error::Cancelled),
        false => Trouble::Missed { why: format!("it is damaged: {error}"), damaged: true },
    };
    let mut raw = Hashing { file: source, sha256: Context::new(&SHA256), bytes: 0, watch };
    let mut bytes = 0;
    {
        let mut content = subject.backup.content_of(&mut raw, file).map_err(unread)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = content.read(&mut piece).map_err(unread)?;
            if read == 0 {
                break;
            }
            target.write_all(&piece[..read]).map_err(cannot_write)?;
            bytes += read as u64;
        }
    }
    let Some(known) = known else { return Ok(bytes) };
    if raw.bytes != known.bytes || raw.sha256.finish().as_ref() != known.sha256 {
        let why = "it is damaged: it is not what was received from the phone".into();
        return Err(Trouble::Missed { why, damaged: true });
    }
    Ok(bytes)
}

/// Hashes what is read, counts it, and stops when that is wished.
struct Hashing<'a> {
    file: std::fs::File,
    sha256: Context,
    bytes: u64,
    watch: &'a Watch,
}

impl Read for Hashing<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.watch.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        let read = self.file.read(out)?;
        self.sha256.update(&out[..read]);
        self.bytes += read as u64;
        self.watch.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
