//! `photos.proof`: what the last proof saw. JSON, one object a line; the first names the schema, the phone and the
//! manifest; the others stand in the order of their paths. Only the prover reads it, and only to know which files it
//! need not read again: a record that is damaged or another's is none.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::OpenOptions;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::digest_of_hex;
use super::super::folder::Stamp;
use super::super::manifest::Entry;
use super::super::store::{self, Store};
use super::Found;
use crate::durable;

/// Its name beside the copy.
pub(super) const NAME: &str = "photos.proof";
const SCHEMA: &str = "idevice-fix/photos-proof/3";

/// The longest record that is read.
const BYTES_MAX: u64 = 4 << 30;

/// The longest line that is read: a path has 1024 bytes at most, each of them six as JSON.
const LINE_BYTES_MAX: u64 = 8 << 10;

/// A file as it was when it was read and found right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) stamp: Stamp,
    pub(super) sha256: [u8; 32],
    /// When its bytes were read.
    pub(super) read_at: Timestamp,
}

/// What an earlier proof recorded.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The manifest that it proved.
    pub(super) manifest_sha256: Option<[u8; 32]>,
    /// Place by place; empty if there is no record that counts.
    pub(super) files: Vec<Option<Recorded>>,
}

#[derive(Serialize, Deserialize)]
struct First<'a> {
    schema: &'a str,
    udid: &'a str,
    manifest_sha256: &'a str,
    proven_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    path: std::borrow::Cow<'a, str>,
    size: u64,
    mtime_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    born_ns: Option<i64>,
    sha256: &'a str,
    /// Seconds since 1970.
    read_at: i64,
}

/// What the last proof of this copy recorded of each of `entries`, which are sorted by path; nothing at all if there is
/// no record that can be used. Only what is asked for is held, whatever the file says.
pub(super) fn read(store: &Store, entries: &[(Arc<str>, Arc<Entry>)]) -> Record {
    read_all(store, entries).ok().flatten().unwrap_or_default()
}

fn read_all(store: &Store, entries: &[(Arc<str>, Arc<Entry>)]) -> io::Result<Option<Record>> {
    let options = OpenOptions::new().read(true).follow(FollowSymlinks::No).clone();
    let file = store.device().open_with(NAME, &options)?.take(BYTES_MAX);
    let mut lines = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    if !next_line(&mut lines, &mut line)? {
        return Ok(None);
    }
    let Ok(first) = serde_json::from_slice::<First<'_>>(&line) else { return Ok(None) };
    let ours = first.schema == SCHEMA && first.udid == store.udid().as_str();
    let Some(sha256) = digest_of_hex(first.manifest_sha256).filter(|_| ours) else { return Ok(None) };
    let mut record = Record { manifest_sha256: Some(sha256), files: vec![None; entries.len()] };
    let mut next = 0;
    while next_line(&mut lines, &mut line)? {
        let Some((path, one)) = understand(&line) else { return Ok(None) };
        // Both are in order, and mostly nothing came between.
        let place = match entries.get(next) {
            Some((known, _)) if **known == *path => Ok(next),
            _ => entries.binary_search_by(|(known, _)| (**known).cmp(&*path)),
        };
        if let Ok(place) = place {
            record.files[place] = Some(one);
            next = place + 1;
        }
    }
    Ok(Some(record))
}

/// The next line that is not empty; false at the end.
fn next_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        line.clear();
        if lines.take(LINE_BYTES_MAX).read_until(b'\n', line)? == 0 {
            return Ok(false);
        }
        if line != b"\n" {
            return Ok(true);
        }
    }
}

fn understand(line: &[u8]) -> Option<(std::borrow::Cow<'_, str>, Recorded)> {
    let Line { path, size, mtime_ns, born_ns, sha256: text, read_at } = serde_json::from_slice(line).ok()?;
    let sha256 = digest_of_hex(text)?;
    let read_at = Timestamp::from_second(read_at).ok()?;
    Some((path, Recorded { stamp: Stamp { size, mtime_ns, born_ns }, sha256, read_at }))
}

/// Ends the record: files are damaged, and whoever found that may write nothing else down.
pub(super) fn forget(store: &Store) -> io::Result<()> {
    let device = store.device();
    match device.remove_file(NAME) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => durable::sync_dir(&device),
    }
}

/// Replaces the record in one step by what was found right: `found` belongs to `entries`, place by place.
pub(super) fn write(
    store: &Store,
    entries: &[(Arc<str>, Arc<Entry>)],
    found: &[Found],
    manifest_sha256: [u8; 32],
    proven_at: Timestamp,
) -> Result<(), store::Error> {
    let manifest_sha256 = &hex::encode(manifest_sha256);
    let first = First { schema: SCHEMA, udid: store.udid().as_str(), manifest_sha256, proven_at };
    let written = durable::replace(&store.device(), NAME, 0o600, |file| {
        let mut file = BufWriter::with_capacity(1 << 16, file);
        serde_json::to_writer(&mut file, &first)?;
        for ((path, entry), found) in entries.iter().zip(found) {
            let Found::Right { stamp, read_at, .. } = *found else { continue };
            file.write_all(b"\n")?;
            let line = Line {
                path: (&**path).into(),
                size: entry.size,
                mtime_ns: stamp.mtime_ns,
                born_ns: stamp.born_ns,
                sha256: &hex::encode(entry.sha256),
                read_at: read_at.as_second(),
            };
            serde_json::to_writer(&mut file, &line)?;
        }
        file.write_all(b"\n")?;
        file.flush()
    });
    written.map_err(|error| store::Error::io("recording what was proven", error))
}
