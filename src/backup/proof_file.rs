//! What the prover wrote down: the sizes and times of every file it read, so that a later run proves the same backup
//! without reading it all again.
//!
//! One JSON object a line: first what was proven, then the files, at the end their number; a file cut short is none.
//! Only [`super::verify`] makes a proof of it, after looking at every file's presence, size and time again.

use std::io::{self, BufRead, BufReader, BufWriter, Write};

use cap_std::fs::{Dir, File};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::by_path::ByPath;
use super::camera_roll::{CameraRoll, stored};
use super::record::digest_text;
use super::verify::{ProvenMedia, Refused};
use crate::durable;
use crate::mobilebackup2::ledger::Digest;

/// Its name beside the device's folder.
pub const PROOF: &str = "proof.jsonl";
const SCHEMA: &str = "idevice-fix/backup-proof/1";
/// Stands beside it while damage is known that was found after it was written: then it says nothing any more about any
/// file until all of them were read again. The proof itself stays, since it tells what backup this is.
const DAMAGED: &str = "proof.damaged";

/// Writes down that something is damaged.
///
/// # Errors
/// Any I/O error.
pub(super) fn note_damage(root: &Dir) -> io::Result<()> {
    durable::replace_bytes(root, DAMAGED, 0o600, format!("{}\n", Timestamp::now()).as_bytes())
}

/// Whether damage was found since everything was read last.
pub(super) fn is_known_damaged(root: &Dir) -> bool {
    root.symlink_metadata(DAMAGED).is_ok()
}

/// Everything was read again, and is whole.
///
/// # Errors
/// Any I/O error but that nothing was written down.
pub(super) fn forget_damage(root: &Dir) -> io::Result<()> {
    match root.remove_file(DAMAGED) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => durable::sync_dir(root),
    }
}

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
    /// So many of its files were taken from another program's backup.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub adopted_files: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
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
        adopted_files: u64,
    ) -> Self {
        let proven_at = Timestamp::now();
        let (schema, udid) = (SCHEMA.to_owned(), udid.to_owned());
        Self { schema, udid, record_sha256, made_at, proven_at, encrypted, password_known, adopted_files }
    }
}

/// How a file stood on the disk when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// When the file came into being here, nanoseconds since 1970, where the file system tells. A copy of it has
    /// another, whatever other dates it was given.
    pub born_ns: Option<i64>,
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
        let born = metadata.created().ok().and_then(|born| Timestamp::try_from(born).ok());
        let born_ns = born.and_then(|born| i64::try_from(born.as_nanosecond()).ok());
        Ok(Self { size: metadata.len(), mtime_ns, born_ns })
    }
}

/// [`Stat`] without a byte between its parts.
type PackedStat = [[u8; 8]; 3];

/// Stands for no time of birth.
const NOT_TOLD: i64 = i64::MIN;

fn packed(stat: Stat) -> PackedStat {
    [stat.size.to_le_bytes(), stat.mtime_ns.to_le_bytes(), stat.born_ns.unwrap_or(NOT_TOLD).to_le_bytes()]
}

fn unpacked([size, mtime_ns, born_ns]: PackedStat) -> Stat {
    let born_ns = Some(i64::from_le_bytes(born_ns)).filter(|born| *born != NOT_TOLD);
    Stat { size: u64::from_le_bytes(size), mtime_ns: i64::from_le_bytes(mtime_ns), born_ns }
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// What was proven.
    pub header: Header,
    /// How each file stood, by its path below the device's folder.
    files: ByPath<PackedStat>,
    /// Camera-roll files, by path below the media root.
    pub media: CameraRoll,
    /// What the phone refused.
    pub refused: Vec<Refused>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Header(Header),
    File {
        file: String,
        size: u64,
        mtime_ns: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        born_ns: Option<i64>,
    },
    Media {
        media: String,
        file: String,
        size: u64,
        mtime_s: i64,
        sha256: Option<String>,
        whole: bool,
    },
    Refused {
        refused: String,
        domain: String,
        code: u8,
        harmless: bool,
    },
    End {
        end: usize,
    },
}

/// A proof that is being written: file after file while they are proven, since all of them at once would take more memory
/// than is needed.
pub(super) struct Writing<'f> {
    out: BufWriter<&'f mut File>,
    lines: usize,
    /// Why nothing more is written.
    failed: Option<io::Error>,
}

impl<'f> Writing<'f> {
    /// Begins it.
    pub(super) fn begin(file: &'f mut File, header: &Header) -> Self {
        let mut writing = Self { out: BufWriter::new(file), lines: 0, failed: None };
        writing.put(&Line::Header(header.clone()));
        writing.lines = 0;
        writing
    }

    /// A file was read.
    pub(super) fn file(&mut self, file: String, Stat { size, mtime_ns, born_ns }: Stat) {
        self.put(&Line::File { file, size, mtime_ns, born_ns });
    }

    /// What a file of the camera roll holds.
    pub(super) fn media(&mut self, media: &str, proven: &ProvenMedia) {
        let ProvenMedia { size, mtime_s, sha256, whole } = *proven;
        let (file, media, sha256) = (stored(media), media.to_owned(), sha256.map(hex::encode));
        self.put(&Line::Media { media, file, size, mtime_s, sha256, whole });
    }

    /// Ends it; the error is the first one, since it began.
    pub(super) fn end(mut self, refused: &[Refused]) -> io::Result<()> {
        for Refused { domain, path, code, harmless } in refused.iter().cloned() {
            self.put(&Line::Refused { refused: path, domain, code, harmless });
        }
        self.put(&Line::End { end: self.lines });
        self.failed.map_or(Ok(()), Err)?;
        self.out.flush()
    }

    fn put(&mut self, line: &Line) {
        if self.failed.is_some() {
            return;
        }
        self.lines += 1;
        let written = serde_json::to_vec(line).map_err(io::Error::other).and_then(|mut text| {
            text.push(b'\n');
            self.out.write_all(&text)
        });
        self.failed = written.err();
    }
}

impl ProofFile {
    /// How the file stood.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<Stat> {
        self.files.get(path).map(unpacked)
    }

    /// All files and how they stood.
    pub fn files(&self) -> impl Iterator<Item = (String, Stat)> {
        self.files.iter().map(|(path, stat)| (path, unpacked(stat)))
    }

    /// Number of files.
    #[must_use]
    pub fn files_count(&self) -> usize {
        self.files.len()
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
        let mut whole =
            Self { header, files: ByPath::default(), media: CameraRoll::default(), refused: Vec::new() };
        let mut ended = false;
        for line in lines {
            match line? {
                _ if ended => return None,
                Line::Header(_) => return None,
                Line::File { file, size, mtime_ns, born_ns } => {
                    whole.files.insert(&file, packed(Stat { size, mtime_ns, born_ns })).ok()?;
                }
                Line::Media { media, file, size, mtime_s, sha256, whole: is_whole }
                    if file == stored(&media) =>
                {
                    let sha256 = match sha256.map(hex::decode) {
                        Some(bytes) => Some(bytes.ok()?.try_into().ok()?),
                        None => None,
                    };
                    whole.media.insert(&media, &ProvenMedia { size, mtime_s, sha256, whole: is_whole });
                }
                Line::Media { .. } => return None,
                Line::Refused { refused, domain, code, harmless } => {
                    whole.refused.push(Refused { domain, path: refused, code, harmless });
                }
                Line::End { end } => {
                    ended = end == whole.files.len() + whole.media.files() + whole.refused.len();
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
        let header = Header::new("u", [1; 32], Timestamp::UNIX_EPOCH, true, false, 2);
        let stat = Stat { size: 3, mtime_ns: -1, born_ns: Some(5) };
        durable::replace(&dir, PROOF, 0o600, |file| {
            let mut writing = Writing::begin(file, &header);
            writing.file("ab/abc".to_owned(), stat);
            writing.media("DCIM/x", &media);
            writing.end(std::slice::from_ref(&refused))
        })
        .unwrap();
        let file = ProofFile::load(&dir).unwrap();
        assert_eq!(file.files().collect::<Vec<_>>(), [("ab/abc".to_owned(), stat)]);
        assert_eq!((file.media.file("DCIM/x"), &file.refused), (Some(media), &vec![refused]));
        assert_eq!((file.media.files(), file.media.bytes()), (1, 3));
        assert_eq!(ProofFile::header(&dir).unwrap(), header);
        let whole = dir.read(PROOF).unwrap();
        for length in 0..whole.len() - 1 {
            dir.write(PROOF, &whole[..length]).unwrap();
            assert!(ProofFile::load(&dir).is_none(), "cut at {length}");
        }
    }
}
