//! `photos.proof`: what the last proof saw. JSON, one object a line; the first names the schema, the phone and the
//! manifest. Only the prover reads it, and only to know which files it need not read again: a record that is damaged or
//! another's is none.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::OpenOptions;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::store::{self, Store};
use crate::durable;

const NAME: &str = "photos.proof";
const SCHEMA: &str = "idevice-fix/photos-proof/1";

/// The longest record that is read.
const BYTES_MAX: u64 = 4 << 30;

/// A file as it was when it was read and found right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recorded {
    pub(super) size: u64,
    /// The local file's, nanoseconds since 1970.
    pub(super) mtime_ns: i64,
    pub(super) sha256: [u8; 32],
}

/// What a proof saw, by the phone's path.
#[derive(Debug, Default)]
pub(super) struct Record(HashMap<String, Recorded>);

#[derive(Serialize, Deserialize)]
struct First {
    schema: String,
    udid: String,
    manifest_sha256: String,
    proven_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    size: u64,
    mtime_ns: i64,
    sha256: String,
}

impl Record {
    pub(super) fn of(&self, path: &str) -> Option<&Recorded> {
        self.0.get(path)
    }

    pub(super) fn insert(&mut self, path: &str, recorded: Recorded) {
        self.0.insert(path.to_owned(), recorded);
    }

    /// The record of the last proof of this copy; empty if there is none that can be used.
    pub(super) fn read(store: &Store) -> Self {
        bytes(store).ok().and_then(|bytes| parse(&bytes, store)).unwrap_or_default()
    }

    /// Replaces the record in one step.
    pub(super) fn write(
        &self,
        store: &Store,
        manifest_sha256: [u8; 32],
        proven_at: Timestamp,
    ) -> Result<(), store::Error> {
        let udid = store.udid().to_string();
        let first = First {
            schema: SCHEMA.to_owned(),
            udid,
            manifest_sha256: hex::encode(manifest_sha256),
            proven_at,
        };
        let mut paths: Vec<_> = self.0.iter().collect();
        paths.sort_by_key(|(path, _)| path.as_str());
        let written = durable::replace(&store.device(), NAME, 0o600, |file| {
            let mut file = io::BufWriter::new(file);
            serde_json::to_writer(&mut file, &first)?;
            for (path, recorded) in paths {
                let Recorded { size, mtime_ns, sha256 } = *recorded;
                file.write_all(b"\n")?;
                let line = Line { path: path.clone(), size, mtime_ns, sha256: hex::encode(sha256) };
                serde_json::to_writer(&mut file, &line)?;
            }
            file.write_all(b"\n")?;
            file.flush()
        });
        written.map_err(|error| store::Error::io("recording what was proven", error))
    }
}

fn bytes(store: &Store) -> io::Result<Vec<u8>> {
    let options = OpenOptions::new().read(true).follow(FollowSymlinks::No).clone();
    let mut bytes = Vec::new();
    store.device().open_with(NAME, &options)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(bytes: &[u8], store: &Store) -> Option<Record> {
    let mut lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let first: First = serde_json::from_slice(lines.next()?).ok()?;
    if first.schema != SCHEMA || first.udid != store.udid().as_str() {
        return None;
    }
    let mut record = Record::default();
    for line in lines {
        let Line { path, size, mtime_ns, sha256: text } = serde_json::from_slice(line).ok()?;
        let mut sha256 = [0; 32];
        hex::decode_to_slice(text, &mut sha256).ok()?;
        record.0.insert(path, Recorded { size, mtime_ns, sha256 });
    }
    Some(record)
}
