//! `photos.manifest`: what the copy holds. JSON, one object a line; the first names the schema and the phone; a later
//! line for a path replaces an earlier one.
//!
//! A line is written only after the bytes it names are durable. A crash can tear the last line: it is cut off when the
//! manifest is opened for writing. A line in the middle that cannot be read names nothing, so its file is copied again.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use cap_std::fs::File;

use super::known::{Known, Said};
use crate::usbmux::Udid;
use line::{Line, is_ours, understand};

mod line;
#[cfg(test)]
mod tests;

pub(super) use line::Note;
#[cfg(test)]
pub(super) use line::SCHEMA;
pub use line::{Entry, Source};

/// The longest manifest that is read: ten million lines.
const BYTES_MAX: u64 = 4 << 30;

/// The longest line that names anything: a path has 1024 bytes at most. The file is read line by line, so this and what
/// it says bound the memory.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Foreign(String),
}

/// Every file of the copy, by the phone's path. Whoever goes through all of them shares them: a copy may have a million.
pub(super) type Entries = HashMap<Arc<str>, Arc<Entry>>;

/// What the copy holds, and the file that says so.
#[derive(Debug)]
pub(super) struct Manifest {
    file: File,
    said: Said,
}

impl Manifest {
    /// Reads the manifest of `udid`, if it is not `known`; with `writable`, makes an empty one whole and cuts a torn tail
    /// off.
    pub(super) fn open(file: File, udid: &Udid, writable: bool, known: &Known) -> Result<Self, Unusable> {
        if file.metadata()?.len() > BYTES_MAX {
            return Err(Unusable::Foreign("the manifest is larger than any can be".to_owned()));
        }
        let mut manifest = Self { file, said: Said::default() };
        let sha256 = manifest.sha256_to(u64::MAX)?;
        if let Some(said) = known.said(udid, &sha256) {
            manifest.said = said;
        } else {
            manifest.file.seek(SeekFrom::Start(0))?;
            let lines = BufReader::with_capacity(1 << 16, manifest.file.try_clone()?);
            manifest.read_lines(lines, udid)?;
            known.keep(udid, sha256, &manifest.said);
        }
        if writable {
            manifest.file.set_len(manifest.said.length)?;
            manifest.file.seek(SeekFrom::End(0))?;
            if manifest.said.length == 0 {
                manifest.write(&[Line::first(udid)])?;
            }
        }
        Ok(manifest)
    }

    fn read_lines(&mut self, mut from: impl BufRead, udid: &Udid) -> Result<(), Unusable> {
        let (mut line, mut is_first) = (Vec::new(), true);
        while let Some(bytes) = next_line(&mut from, &mut line)? {
            self.said.length += bytes;
            if line == b"\n" {
                continue;
            }
            if std::mem::take(&mut is_first) {
                is_ours(&line, udid)?;
                continue;
            }
            match serde_json::from_slice(&line).ok().and_then(understand) {
                Some(note) => self.take(note),
                None => self.said.unreadable_lines += 1,
            }
        }
        Ok(())
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Copied(path, entry) => {
                self.said.refused.remove(&path);
                self.said.entries.insert(path.into(), Arc::new(entry));
            }
            Note::Refused(path, why) => {
                self.said.refused.insert(path, why);
            }
            Note::Damaged(path, how) => {
                if let Some(entry) = self.said.entries.get_mut(path.as_str()) {
                    Arc::make_mut(entry).damaged = Some(how);
                }
            }
            Note::Kept(..) => {}
            Note::Trashed(path, trashed) => {
                if let Some(entry) = self.said.entries.get_mut(path.as_str()) {
                    Arc::make_mut(entry).trashed = trashed;
                }
            }
        }
    }

    /// Adds notes, durable when this returns. On an error none of them counts, and the file is as it was.
    pub(super) fn add(&mut self, notes: Vec<Note>) -> io::Result<()> {
        if notes.is_empty() {
            return Ok(());
        }
        let lines: Vec<Line> = notes.iter().map(Note::line).collect();
        self.write(&lines)?;
        for note in notes {
            self.take(note);
        }
        Ok(())
    }

    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What was written of it would be taken for a torn tail, but only if it is the last.
            let _ = self.file.set_len(self.said.length);
            let _ = self.file.seek(SeekFrom::Start(self.said.length));
            return Err(error);
        }
        self.said.length += bytes.len() as u64;
        Ok(())
    }

    /// Every file of the copy, by the phone's path.
    pub(super) fn entries(&self) -> &Entries {
        &self.said.entries
    }

    /// What was refused last time it was tried, with the reason.
    pub(super) fn refused(&self) -> &HashMap<String, String> {
        &self.said.refused
    }

    /// Lines that could not be read.
    pub(super) fn unreadable_lines(&self) -> u64 {
        self.said.unreadable_lines
    }

    /// SHA-256 of the whole lines as they are on the disk.
    pub(super) fn sha256(&mut self) -> io::Result<[u8; 32]> {
        let sha256 = self.sha256_to(self.said.length)?;
        self.file.seek(SeekFrom::Start(self.said.length))?;
        Ok(sha256)
    }

    /// SHA-256 of the first `left` bytes, or of all of the file if `left` is the largest number.
    fn sha256_to(&mut self, mut left: u64) -> io::Result<[u8; 32]> {
        let all = left == u64::MAX;
        let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        self.file.seek(SeekFrom::Start(0))?;
        let mut block = vec![0; 1 << 16];
        while left > 0 {
            let most = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = self.file.read(&mut block[..most])?;
            match read {
                0 if all => break,
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => hash.update(&block[..read]),
            }
            left -= read as u64;
        }
        Ok(super::digest(hash))
    }
}

/// Reads the next line into `line` and gives its bytes; `None` at the end, and for a last line without its end: that one
/// is torn. Of a line that is too long nothing comes but its bytes.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let (mut bytes, mut too_long) = (0, false);
    loop {
        line.clear();
        let read = from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line)?;
        bytes += read as u64;
        if line.ends_with(b"\n") {
            if too_long {
                line.clear();
            }
            return Ok(Some(bytes));
        }
        if read == 0 {
            return Ok(None);
        }
        too_long = true;
    }
}
