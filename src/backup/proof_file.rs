//! What the prover wrote down: the sizes and times of every file it read, so that a later run proves the same backup
//! without reading it all again.
//!
//! One JSON object a line: first what was proven, then the files, at the end their number; a file cut short is none.
//! Only [`super::verify`] makes a proof of it, after looking at every file's presence, size and time again.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, BufWriter, Write};

use cap_std::fs::Dir;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::digest_text;
use super::verify::{ProvenMedia, Refused};
use crate::durable;
use crate::mobilebackup2::ledger::Digest;

/// Its name beside the device's folder.
pub const PROOF: &str = "proof.jsonl";
const SCHEMA: &str = "idevice-fix/backup-proof/1";

/// What was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    schema: String,
    /// Whose backup.
    pub udid: String,
    /// SHA-256 of the record of what was received.
    #[serde(with = "digest_text")]
    pub record_sha256: Digest,
    /// When the backup was made.
    pub made_at: Timestamp,
    /// When it was proven.
    pub proven_at: Timestamp,
    /// It is encrypted.
    pub encrypted: bool,
    /// Its password was known.
    pub password_known: bool,
}

impl Header {
    /// What is proven now.
    #[must_use]
    pub fn new(
        udid: &str,
        record_sha256: Digest,
        made_at: Timestamp,
        encrypted: bool,
        password_known: bool,
    ) -> Self {
        let proven_at = Timestamp::now();
        let (schema, udid) = (SCHEMA.to_owned(), udid.to_owned());
        Self { schema, udid, record_sha256, made_at, proven_at, encrypted, password_known }
    }
}

/// How a file stood on the disk when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
}

impl Stat {
    /// Of an open file.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn of(file: &std::fs::File) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata()?;
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Ok(Self { size: metadata.len(), mtime_ns })
    }
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// What was proven.
    pub header: Header,
    /// How each file stood, by its path below the device's folder.
    pub files: BTreeMap<String, Stat>,
    /// Camera-roll files, by path below the media root, with the path of the file that holds each.
    pub media: HashMap<String, (String, ProvenMedia)>,
    /// What the phone refused.
    pub refused: Vec<Refused>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Header(Header),
    File { file: String, size: u64, mtime_ns: i64 },
    Media { media: String, file: String, size: u64, mtime_s: i64, sha256: Option<String>, whole: bool },
    Refused { refused: String, domain: String, code: u8, harmless: bool },
    End { end: usize },
}

impl ProofFile {
    /// Writes it durably in one step.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn save(&self, dir: &Dir) -> io::Result<()> {
        durable::replace(dir, PROOF, 0o600, |file| {
            let mut out = BufWriter::new(file);
            let mut put = |line: &Line| {
                let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
                text.push(b'\n');
                out.write_all(&text)
            };
            put(&Line::Header(self.header.clone()))?;
            for (file, Stat { size, mtime_ns }) in &self.files {
                put(&Line::File { file: file.clone(), size: *size, mtime_ns: *mtime_ns })?;
            }
            for (media, (file, proven)) in &self.media {
                let ProvenMedia { size, mtime_s, sha256, whole } = *proven;
                let (media, file, sha256) = (media.clone(), file.clone(), sha256.map(hex::encode));
                put(&Line::Media { media, file, size, mtime_s, sha256, whole })?;
            }
            for Refused { domain, path, code, harmless } in self.refused.iter().cloned() {
                put(&Line::Refused { refused: path, domain, code, harmless })?;
            }
            put(&Line::End { end: self.files.len() + self.media.len() + self.refused.len() })?;
            out.flush()
        })
    }

    /// Reads it; `None` if there is none, or if it is not whole.
    #[must_use]
    pub fn load(dir: &Dir) -> Option<Self> {
        let reader = BufReader::new(dir.open(PROOF).ok()?);
        let mut lines =
            reader.lines().map(|line| line.ok().and_then(|line| serde_json::from_str(&line).ok()));
        let Some(Line::Header(header)) = lines.next()? else { return None };
        if header.schema != SCHEMA {
            return None;
        }
        let mut whole = Self { header, files: BTreeMap::new(), media: HashMap::new(), refused: Vec::new() };
        let mut ended = false;
        for line in lines {
            match line? {
                _ if ended => return None,
                Line::Header(_) => return None,
                Line::File { file, size, mtime_ns } => {
                    whole.files.insert(file, Stat { size, mtime_ns });
                }
                Line::Media { media, file, size, mtime_s, sha256, whole: is_whole } => {
                    let sha256 = match sha256.map(hex::decode) {
                        Some(bytes) => Some(bytes.ok()?.try_into().ok()?),
                        None => None,
                    };
                    whole.media.insert(media, (file, ProvenMedia { size, mtime_s, sha256, whole: is_whole }));
                }
                Line::Refused { refused, domain, code, harmless } => {
                    whole.refused.push(Refused { domain, path: refused, code, harmless });
                }
                Line::End { end } => {
                    ended = end == whole.files.len() + whole.media.len() + whole.refused.len();
                }
            }
        }
        ended.then_some(whole)
    }

    /// Only what was proven; `None` if there is no proof.
    #[must_use]
    pub fn header(dir: &Dir) -> Option<Header> {
        let mut first = String::new();
        BufReader::new(dir.open(PROOF).ok()?).read_line(&mut first).ok()?;
        serde_json::from_str::<Header>(&first).ok().filter(|header| header.schema == SCHEMA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_cut_one_is_none() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let media = ProvenMedia { size: 3, mtime_s: -4, sha256: Some([7; 32]), whole: true };
        let refused =
            Refused { domain: "HomeDomain".into(), path: "x\"y".into(), code: 0x0B, harmless: false };
        let file = ProofFile {
            header: Header::new("u", [1; 32], Timestamp::UNIX_EPOCH, true, false),
            files: BTreeMap::from([("ab/abc".to_owned(), Stat { size: 3, mtime_ns: -1 })]),
            media: HashMap::from([("DCIM/x".to_owned(), ("ab/abc".to_owned(), media))]),
            refused: vec![refused],
        };
        file.save(&dir).unwrap();
        assert_eq!(ProofFile::load(&dir).unwrap(), file);
        assert_eq!(ProofFile::header(&dir).unwrap(), file.header);
        let whole = dir.read(PROOF).unwrap();
        for length in 0..whole.len() - 1 {
            dir.write(PROOF, &whole[..length]).unwrap();
            assert!(ProofFile::load(&dir).is_none(), "cut at {length}");
        }
    }
}
