//! Our own record of a backup: what came in, with the digest taken while it came in.
//!
//! While a backup runs, each batch is appended to a journal once its data is durable; when it is done, the journal and
//! the record of the backup it builds upon become one record, sorted by path. Both are one JSON object a line and stand
//! beside the device's folder, where a phone cannot name them.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::ops::Bound;

use aws_lc_rs::digest;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt};
use serde::{Deserialize, Serialize};

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

/// A file as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of them.
    pub sha256: Digest,
    /// 0, or the code with which the phone ended it.
    pub code: u8,
}

/// What was received and still stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// By path below the device's folder.
    files: BTreeMap<String, Known>,
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
                Self::File { path: path.clone(), bytes: *bytes, sha256: *sha256, code: *code }
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
    pub fn file(&self, path: &str) -> Option<&Known> {
        self.files.get(path)
    }

    /// All files, by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.files.iter().map(|(path, known)| (path.as_str(), known))
    }

    /// The code with which the phone refused the file of this name.
    #[must_use]
    pub fn refused(&self, name: &str) -> Option<u8> {
        self.refused.get(name).copied()
    }

    /// Records a file that this program itself wrote.
    pub fn wrote(&mut self, path: &str, bytes: u64, sha256: Digest) {
        self.files.insert(path.to_owned(), Known { bytes, sha256, code: 0 });
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
                line => self.take(line),
            }
        }
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Header(_) => {}
            Line::File { path, bytes, sha256, code } => {
                self.refused.remove(name_of(&path));
                self.files.insert(path, Known { bytes, sha256, code });
            }
            Line::Refused { refused, code } => drop(self.refused.insert(name_of(&refused).to_owned(), code)),
            Line::Moved { moved: (from, to) } => {
                for (path, known) in self.cut(&from, Some(&to)) {
                    self.files.insert(format!("{to}{}", &path[from.len()..]), known);
                }
            }
            Line::Copied { copied: (from, to) } => {
                let below = self.below(&from);
                for path in below {
                    let known = self.files[&path];
                    self.files.insert(format!("{to}{}", &path[from.len()..]), known);
                }
            }
            Line::Removed { removed } => drop(self.cut(&removed, None)),
        }
    }

    /// Takes out what stands at `path` or below it; if there is anything, also what it replaces.
    fn cut(&mut self, path: &str, replaces: Option<&str>) -> Vec<(String, Known)> {
        let cut: Vec<(String, Known)> =
            self.below(path).into_iter().filter_map(|path| self.files.remove_entry(&path)).collect();
        if let Some(target) = replaces.filter(|_| !cut.is_empty()) {
            for path in self.below(target) {
                self.files.remove(&path);
            }
        }
        cut
    }

    fn below(&self, path: &str) -> Vec<String> {
        let inside = format!("{path}/");
        let from = (Bound::Included(inside.clone()), Bound::Unbounded);
        let inside =
            self.files.range(from).map(|(path, _)| path).take_while(|other| other.starts_with(&inside));
        let itself = self.files.get_key_value(path).map(|(path, _)| path);
        itself.into_iter().chain(inside).cloned().collect()
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
            for (path, known) in &self.files {
                let Known { bytes, sha256, code } = *known;
                put(&Line::File { path: path.clone(), bytes, sha256, code })?;
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
    let mut text = serde_json::to_vec(line).expect("strings and numbers can be written");
    text.push(b'\n');
    text
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
        let lines: Vec<u8> = batch.iter().flat_map(|entry| text_of(&Line::of(entry))).collect();
        self.0.write_all(&lines)?;
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        (temp, dir)
    }

    fn received(path: &str, bytes: u64, code: u8) -> Entry {
        let sha256 = [u8::try_from(bytes).unwrap(); 32];
        Entry::Received(Received { path: path.into(), device_path: "/x".into(), bytes, sha256, code })
    }

    fn paths(record: &Record) -> Vec<&str> {
        record.files().map(|(path, _)| path).collect()
    }

    #[test]
    fn what_happens_to_files_happens_to_their_record() {
        let (_temp, dir) = dir();
        let text = |t: &str| t.to_owned();
        let mut journal = Journal::open(&dir).unwrap();
        journal
            .keep(&[
                received("Snapshot/ab/abc", 1, 0),
                received("Snapshot/ab/abd", 2, 0),
                received("Snapshot/cd/refused", 0, 0x0B),
                received("ab/abc", 3, 0),
                Entry::Moved { from: text("Snapshot/ab/abc"), to: text("ab/abc") },
                Entry::Copied { from: text("Snapshot"), to: text("Copy") },
            ])
            .unwrap();
        journal.keep(&[Entry::Removed { path: text("Snapshot") }]).unwrap();
        let record = Record::load(&dir).unwrap();
        assert_eq!(paths(&record), ["Copy/ab/abd", "ab/abc"]);
        assert_eq!(record.file("ab/abc").unwrap().bytes, 1);
        assert_eq!(record.refused("refused"), Some(0x0B));

        let sha256 = record.save(&dir).unwrap();
        assert_eq!(Record::sha256(&dir).unwrap(), sha256);
        assert_eq!(Record::load(&dir).unwrap(), record);
        // A later run gets the file that was refused.
        Journal::open(&dir).unwrap().keep(&[received("Snapshot/cd/refused", 5, 0)]).unwrap();
        assert_eq!(Record::load(&dir).unwrap().refused("refused"), None);
    }

    #[test]
    fn a_folder_with_a_name_that_begins_alike_is_another() {
        let mut record = Record::default();
        for path in ["a/1", "ab/1", "a", "a-/1"] {
            record.wrote(path, 1, [0; 32]);
        }
        record.take(Line::Removed { removed: "a".into() });
        assert_eq!(paths(&record), ["a-/1", "ab/1"]);
    }

    #[test]
    fn a_line_cut_by_a_crash_is_left_out_and_written_over() {
        let (_temp, dir) = dir();
        Journal::open(&dir).unwrap().keep(&[received("a", 1, 0), received("b", 2, 0)]).unwrap();
        let whole = dir.read(JOURNAL).unwrap();
        for length in 0..whole.len() {
            dir.write(JOURNAL, &whole[..length]).unwrap();
            let known = Record::load(&dir).unwrap();
            assert!(known.files.len() < 2);
            Journal::open(&dir).unwrap().keep(&[received("c", 3, 0)]).unwrap();
            let record = Record::load(&dir).unwrap();
            assert_eq!(record.files.len(), known.files.len() + 1, "cut at {length}");
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_and_not_an_empty_one() {
        let (_temp, dir) = dir();
        for bad in ["{}\n", "x\n", "{\"schema\":\"idevice-fix/other/1\"}\n", "{\"removed\":\"a\"}\n"] {
            dir.write(RECORD, bad).unwrap();
            assert!(Record::load(&dir).is_err(), "{bad}");
        }
        dir.write(RECORD, format!("{{\"schema\":\"{SCHEMA}\"}}\n{{\"path\":\"a\"")).unwrap();
        assert!(Record::load(&dir).is_err());
    }
}
