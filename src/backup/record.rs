//! Our own record of a backup: what came in, with the digest taken while it came in.
//!
//! While a backup runs, each batch is appended to a journal once its data is durable; when it is done, the journal and
//! the record of the backup it builds upon become one record, sorted by path. Both are one JSON object a line and stand
//! beside the device's folder, where a phone cannot name them.
//!
//! Of a file that was adopted from another program's backup the digest is that of the adoption, and the record says so.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Write};

use aws_lc_rs::digest;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use serde::{Deserialize, Serialize};

use super::by_path::ByPath;
use crate::durable;
use crate::mobilebackup2::ledger::{Digest, Entry, Ledger, Received};

/// The record's name beside the device's folder.
pub const RECORD: &str = "received.manifest";
/// The journal's name.
pub const JOURNAL: &str = "received.journal";
/// First line of both.
const SCHEMA: &str = "idevice-fix/backup-record/1";
/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Most files of a backup; the largest that was heard of has 1.3 million.
const FILES_MAX: usize = 3_000_000;
/// Most files that a phone may refuse; real ones refuse one or two.
const REFUSED_MAX: usize = 10_000;

/// A file as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: Digest,
    /// 0, or the code with which the phone ended it.
    pub code: u8,
    /// Not received but taken from another program's backup: what happened to it before is not known.
    pub adopted: bool,
}

/// [`Known`] without a byte between its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    bytes: [u8; 8],
    sha256: Digest,
    code: u8,
    adopted: bool,
}

impl From<Known> for Packed {
    fn from(Known { bytes, sha256, code, adopted }: Known) -> Self {
        Self { bytes: bytes.to_le_bytes(), sha256, code, adopted }
    }
}

impl From<Packed> for Known {
    fn from(Packed { bytes, sha256, code, adopted }: Packed) -> Self {
        Self { bytes: u64::from_le_bytes(bytes), sha256, code, adopted }
    }
}

/// What was received and still stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// By path below the device's folder.
    files: ByPath<Packed>,
    /// Files that the phone refused before any byte came, by name: the code.
    refused: BTreeMap<String, u8>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    schema: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Header(Header),
    File {
        path: String,
        bytes: u64,
        #[serde(with = "digest_text")]
        sha256: Digest,
        code: u8,
        #[serde(default, skip_serializing_if = "is_false")]
        adopted: bool,
    },
    Refused {
        refused: String,
        code: u8,
    },
    Moved {
        moved: (String, String),
    },
    Copied {
        copied: (String, String),
    },
    Removed {
        removed: String,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A digest as hexadecimal text.
pub(super) mod digest_text {
    use super::Digest;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::backup) fn serialize<S: Serializer>(
        digest: &Digest,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(digest))
    }

    pub(in crate::backup) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut digest = Digest::default();
        hex::decode_to_slice(text, &mut digest).map_err(de::Error::custom)?;
        Ok(digest)
    }
}

impl Line {
    fn of(entry: &Entry) -> Self {
        match entry {
            Entry::Received(Received { path, bytes: 0, code, .. }) if *code != 0 => {
                Self::Refused { refused: path.clone(), code: *code }
            }
            Entry::Received(Received { path, bytes, sha256, code, .. }) => {
                let (path, bytes, sha256, code) = (path.clone(), *bytes, *sha256, *code);
                Self::File { path, bytes, sha256, code, adopted: false }
            }
            Entry::Moved { from, to } => Self::Moved { moved: (from.clone(), to.clone()) },
            Entry::Copied { from, to } => Self::Copied { copied: (from.clone(), to.clone()) },
            Entry::Removed { path } => Self::Removed { removed: path.clone() },
        }
    }
}

fn header() -> Line {
    Line::Header(Header { schema: SCHEMA.to_owned() })
}

impl Record {
    /// What was received at `path` below the device's folder.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<Known> {
        self.files.get(path).map(Known::from)
    }

    /// All files, in an order that depends on their paths alone.
    pub fn files(&self) -> impl Iterator<Item = (String, Known)> {
        self.files.iter().map(|(path, packed)| (path, packed.into()))
    }

    /// What is known of each file, without the paths.
    pub fn all_known(&self) -> impl Iterator<Item = Known> {
        self.files.values().map(Known::from)
    }

    /// How many files it knows.
    #[must_use]
    pub fn files_count(&self) -> u64 {
        self.files.len() as u64
    }

    /// How many files were not received but adopted.
    #[must_use]
    pub fn adopted_files(&self) -> u64 {
        self.files.values().filter(|packed| packed.adopted).count() as u64
    }

    /// The code with which the phone refused the file of this name.
    #[must_use]
    pub fn refused(&self, name: &str) -> Option<u8> {
        self.refused.get(name).copied()
    }

    /// Records a file that was taken from another program's backup.
    ///
    /// # Errors
    /// `InvalidData` for more files than any backup has.
    pub fn adopt(&mut self, path: &str, bytes: u64, sha256: Digest) -> io::Result<()> {
        self.put(path, Known { bytes, sha256, code: 0, adopted: true })
    }

    fn put(&mut self, path: &str, known: Known) -> io::Result<()> {
        let too_many = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        self.files.insert(path, known.into()).map_err(|error| too_many(error.to_string()))?;
        if self.files.len() > FILES_MAX {
            return Err(too_many(format!("a backup of more than {FILES_MAX} files")));
        }
        Ok(())
    }

    /// Reads the record and, over it, the journal of a run that is not finished. A last line that a crash cut short is
    /// left out; anything else that cannot be read is an error.
    ///
    /// # Errors
    /// Any I/O error; `InvalidData` for a damaged record.
    pub fn load(dir: &Dir) -> io::Result<Self> {
        let mut record = Self::default();
        record.read(dir, RECORD)?;
        record.read(dir, JOURNAL)?;
        Ok(record)
    }

    fn read(&mut self, dir: &Dir, name: &str) -> io::Result<()> {
        let file = match dir.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let damaged = |line: u64, what: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{name}, line {line}: {what}"))
        };
        let mut reader = BufReader::new(file);
        let (mut text, mut number) = (Vec::new(), 0);
        loop {
            text.clear();
            number += 1;
            let read = io::Read::take(&mut reader, LINE_BYTES_MAX).read_until(b'\n', &mut text)?;
            let whole = text.last() == Some(&b'\n');
            if read == 0 || (!whole && name == JOURNAL) {
                return Ok(());
            }
            let line: Line =
                serde_json::from_slice(&text).map_err(|error| damaged(number, &error.to_string()))?;
            match line {
                Line::Header(Header { schema }) if number == 1 && schema == SCHEMA => {}
                Line::Header(_) => return Err(damaged(number, "is of another kind")),
                _ if number == 1 => return Err(damaged(number, "has no header")),
                line => self.take(line).map_err(|error| damaged(number, &error.to_string()))?,
            }
        }
    }

    fn take(&mut self, line: Line) -> io::Result<()> {
        match line {
            Line::Header(_) => {}
            Line::File { path, bytes, sha256, code, adopted } => {
                self.refused.remove(name_of(&path));
                self.put(&path, Known { bytes, sha256, code, adopted })?;
            }
            Line::Refused { refused, code } => {
                self.refused.insert(name_of(&refused).to_owned(), code);
                if self.refused.len() > REFUSED_MAX {
                    let what = format!("the phone refused more than {REFUSED_MAX} files");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
            Line::Moved { moved: (from, to) } => {
                for (path, known) in self.cut(&from, Some(&to)) {
                    self.put(&format!("{to}{}", &path[from.len()..]), known)?;
                }
            }
            Line::Copied { copied: (from, to) } => {
                for path in self.files.below(&from) {
                    if let Some(known) = self.file(&path) {
                        self.put(&format!("{to}{}", &path[from.len()..]), known)?;
                    }
                }
            }
            Line::Removed { removed } => drop(self.cut(&removed, None)),
        }
        Ok(())
    }

    /// Takes out what stands at `path` or below it; if there is anything, also what it replaces.
    fn cut(&mut self, path: &str, replaces: Option<&str>) -> Vec<(String, Known)> {
        let below = self.files.below(path).into_iter();
        let cut: Vec<(String, Known)> =
            below.filter_map(|path| self.files.remove(&path).map(|packed| (path, packed.into()))).collect();
        if let Some(target) = replaces.filter(|_| !cut.is_empty()) {
            for path in self.files.below(target) {
                self.files.remove(&path);
            }
        }
        cut
    }

    /// Writes the record durably in one step and then removes the journal, which it contains. Gives the record's SHA-256.
    ///
    /// # Errors
    /// Any I/O error; the old record and the journal are then still there.
    pub fn save(&self, dir: &Dir) -> io::Result<Digest> {
        let mut sha256 = digest::Context::new(&digest::SHA256);
        durable::replace(dir, RECORD, 0o600, |file| {
            let mut out = BufWriter::new(file);
            let mut put = |line: &Line| {
                let text = text_of(line);
                sha256.update(&text);
                out.write_all(&text)
            };
            put(&header())?;
            for (path, known) in self.files() {
                let Known { bytes, sha256, code, adopted } = known;
                put(&Line::File { path, bytes, sha256, code, adopted })?;
            }
            for (name, code) in &self.refused {
                put(&Line::Refused { refused: name.clone(), code: *code })?;
            }
            out.flush()
        })?;
        match dir.remove_file(JOURNAL) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(finished(sha256))
    }

    /// SHA-256 of the record as it stands on the disk.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn sha256(dir: &Dir) -> io::Result<Digest> {
        let mut reader = BufReader::with_capacity(1 << 16, dir.open(RECORD)?);
        let mut sha256 = digest::Context::new(&digest::SHA256);
        loop {
            let piece = reader.fill_buf()?;
            if piece.is_empty() {
                return Ok(finished(sha256));
            }
            sha256.update(piece);
            let read = piece.len();
            reader.consume(read);
        }
    }
}

fn finished(sha256: digest::Context) -> Digest {
    sha256.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn text_of(line: &Line) -> Vec<u8> {
    let mut text = Vec::new();
    put_line(&mut text, line);
    text
}

fn put_line(text: &mut Vec<u8>, line: &Line) {
    serde_json::to_writer(&mut *text, line).expect("strings and numbers can be written");
    text.push(b'\n');
}

/// The journal of a run: appends batches and syncs them.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    /// Opens the journal in `dir`, after what is there.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn open(dir: &Dir) -> io::Result<Self> {
        mend(dir)?;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let mut file = dir.open_with(JOURNAL, &options)?;
        if file.metadata()?.len() == 0 {
            file.write_all(&text_of(&header()))?;
            file.sync_data()?;
            durable::sync_dir(dir)?;
        }
        Ok(Self(file))
    }
}

/// Cuts off a last line that a crash left without its end.
fn mend(dir: &Dir) -> io::Result<()> {
    let bytes = match dir.open(JOURNAL) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let (mut whole, mut reader, mut line) = (0, BufReader::new(bytes), Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 || line.last() != Some(&b'\n') {
            break;
        }
        whole += read as u64;
    }
    dir.open_with(JOURNAL, OpenOptions::new().write(true))?.set_len(whole)
}

impl Ledger for Journal {
    fn keep(&mut self, batch: &[Entry]) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for entry in batch {
            put_line(&mut lines, &Line::of(entry));
        }
        self.0.write_all(&lines)?;
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests;
