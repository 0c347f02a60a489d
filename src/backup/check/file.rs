//! One file: its bytes on the disk against what was received, and what is inside it.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::sync::atomic::Ordering;

use aws_lc_rs::digest::{Context, SHA256};

use super::super::cipher::{Decrypting, Padding};
use super::super::keybag::Keys;
use super::super::manifest::{open_plain, unlinked};
use super::super::proof_file::Stat;
use super::super::verify::ProvenMedia;
use super::{Job, JobRow, Subject, Watch};
use crate::mobilebackup2::ledger::Digest;
use crate::photos::whole::is_whole;

const PIECE_BYTES: usize = 512 * 1024;

/// What reading a file gave.
pub(super) struct Read {
    pub(super) stat: Stat,
    pub(super) media: Option<ProvenMedia>,
    pub(super) damage: Option<String>,
    pub(super) note: Option<String>,
}

/// Reads a file again, or trusts an earlier proof where the file stands as it stood then.
pub(super) fn read(subject: &Subject, keys: Option<&Keys>, job: &Job, watch: &Watch) -> io::Result<Read> {
    let file = open_plain(&subject.own, &job.stored).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(error.kind(), "it is missing"),
        _ => error,
    })?;
    let stat = Stat::of(&file)?;
    if subject.sample.is_some_and(|sample| !sample.takes(&job.stored)) {
        return Ok(unread(job, stat));
    }
    let read = match proven_before(subject, job, stat) {
        Some(read) => read,
        None => read_anew(subject, keys, job, &file, stat, watch)?,
    };
    watch.items.fetch_add(1, Ordering::Relaxed);
    Ok(read)
}

/// What the earlier proof said of this file, if it still stands as it did.
fn proven_before(subject: &Subject, job: &Job, stat: Stat) -> Option<Read> {
    let before = subject.before.as_ref()?;
    if before.file(&job.stored) != Some(stat) || stat.size != job.known.bytes {
        return None;
    }
    let media = match job.row.as_ref().and_then(|row| row.media.as_ref()) {
        None => None,
        Some(path) => Some(before.media.file(path)?),
    };
    Some(Read { stat, media, damage: None, note: None })
}

/// Of a file that is not in the sample only its presence and its size are seen.
fn unread(job: &Job, stat: Stat) -> Read {
    let damage = (stat.size != job.known.bytes).then(|| other_size(stat.size, job));
    Read { stat, media: None, damage, note: None }
}

fn other_size(bytes: u64, job: &Job) -> String {
    format!("it has {bytes} bytes, {} were received", job.known.bytes)
}

fn read_anew(
    subject: &Subject,
    keys: Option<&Keys>,
    job: &Job,
    file: &File,
    stat: Stat,
    watch: &Watch,
) -> io::Result<Read> {
    let mut raw = Hashing { file, sha256: Context::new(&SHA256), bytes: 0, watch };
    let inside = match (keys, &job.row) {
        (Some(keys), Some(row)) if !row.refused => Some(decrypt(subject, keys, row, &mut raw)),
        _ => None,
    };
    // Also what decrypting left unread, and the whole of a plain file.
    let mut piece = vec![0; PIECE_BYTES];
    while raw.read(&mut piece)? > 0 {}
    let sha256: Digest = raw.sha256.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
    let mut read = Read { stat, media: None, damage: None, note: None };
    if raw.bytes != job.known.bytes {
        read.damage = Some(other_size(raw.bytes, job));
        return Ok(read);
    }
    if sha256 != job.known.sha256 {
        read.damage = Some("its content is not what was received".into());
        return Ok(read);
    }
    let Some(row) = &job.row else { return Ok(read) };
    let content = match inside {
        Some(Ok(content)) => content,
        Some(Err(error)) => {
            read.damage = Some(format!("it does not decrypt: {error}"));
            return Ok(read);
        }
        None => Inside {
            bytes: raw.bytes,
            sha256,
            whole: row.media.is_none() || is_whole(file, &row.name)?,
            head: head(file)?,
        },
    };
    if job.known.adopted && !row.refused && is_cut_short(&content, row) {
        read.damage = Some(format!(
            "it was cut short before it was adopted: the manifest says {} bytes, it has {}",
            row.file.size, content.bytes
        ));
        return Ok(read);
    }
    if content.bytes != row.file.size {
        read.note = Some(format!("the manifest says {} bytes, it has {}", row.file.size, content.bytes));
    }
    read.media = row.media.as_ref().map(|_| ProvenMedia {
        size: content.bytes,
        mtime_s: row.file.last_modified,
        sha256: Some(content.sha256),
        whole: content.whole,
    });
    Ok(read)
}

/// What is inside an encrypted file.
struct Inside {
    bytes: u64,
    sha256: Digest,
    whole: bool,
    /// Its first bytes, at most [`HEAD_BYTES`].
    head: Vec<u8>,
}

/// The header of a SQLite database.
const HEAD_BYTES: usize = 100;

fn head(file: &File) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let mut head = vec![0; HEAD_BYTES];
    let read = file.read_at(&mut head, 0)?;
    head.truncate(read);
    Ok(head)
}

/// A file that nobody hashed while it was received, and that is shorter than the manifest says. Only databases in use are
/// known to change their sizes while a phone sends them: one that holds all its pages is whole, and so is a log beside it.
fn is_cut_short(content: &Inside, row: &JobRow) -> bool {
    let log = ["-wal", "-shm", "-journal"].iter().any(|end| row.name.ends_with(end));
    if content.bytes >= row.file.size || log {
        return false;
    }
    let Some(head) = content.head.first_chunk::<HEAD_BYTES>() else { return true };
    let number =
        |at: usize| u64::from(u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    let page = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    let pages = number(28);
    !head.starts_with(b"SQLite format 3\0") || pages == 0 || page == 0 || content.bytes < page * pages
}

fn decrypt(subject: &Subject, keys: &Keys, row: &JobRow, raw: &mut Hashing<'_>) -> io::Result<Inside> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut sha256 = Context::new(&SHA256);
    let (mut bytes, mut head) = (0, Vec::new());
    // A photo's structure is read from a copy in the clear, which has no name and is gone at once.
    let mut clear = row.media.as_ref().map(|_| unlinked(&subject.root)).transpose()?;
    if let Some(wrapped) = &row.file.encryption_key {
        let key = keys.unwrap(wrapped).map_err(invalid)?;
        let mut plain = Decrypting::new(raw, &key, Padding::Required)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = plain.read(&mut piece)?;
            if read == 0 {
                break;
            }
            sha256.update(&piece[..read]);
            bytes += read as u64;
            let missing = HEAD_BYTES.saturating_sub(head.len()).min(read);
            head.extend_from_slice(&piece[..missing]);
            if let Some(clear) = &mut clear {
                clear.write_all(&piece[..read])?;
            }
        }
    } else if raw.file.metadata()?.len() > 0 {
        return Err(invalid("it has no key"));
    }
    let whole = clear.as_ref().map_or(Ok(true), |clear| is_whole(clear, &row.name))?;
    let sha256 = sha256.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
    Ok(Inside { bytes, sha256, whole, head })
}

/// Hashes what is read, counts it, and stops when that is wished.
struct Hashing<'a> {
    file: &'a File,
    sha256: Context,
    bytes: u64,
    watch: &'a Watch,
}

impl io::Read for Hashing<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.watch.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        let mut file = self.file;
        let read = file.read(out)?;
        self.sha256.update(&out[..read]);
        self.bytes += read as u64;
        self.watch.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
