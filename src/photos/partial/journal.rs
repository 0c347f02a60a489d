//! The journal of a large file that is being received: which file of the phone it is, and at each checkpoint how many of
//! its bytes are durable and their SHA-256. JSON, one object a line.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use serde::{Deserialize, Serialize};

use super::{Kept, Partials};
use crate::durable;
use crate::facts::MediaFile;
use crate::facts::path::is_clean_relative;

/// The longest journal that is read: a checkpoint a second for half a day.
const JOURNAL_BYTES_MAX: u64 = 8 << 20;

const SCHEMA: &str = "idevice-fix/photos-partial/1";
pub(super) const JOURNAL_SUFFIX: &str = ".journal";

/// Which file of the phone, as it was when its first byte was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::photos) struct Identity {
    pub(in crate::photos) path: String,
    pub(in crate::photos) size: u64,
    pub(in crate::photos) mtime_ns: i64,
    pub(in crate::photos) birthtime_ns: i64,
}

impl Identity {
    /// The phone shows the same file.
    pub(in crate::photos) fn is(&self, file: &MediaFile) -> bool {
        (self.path.as_str(), self.size, self.mtime_ns, self.birthtime_ns)
            == (file.path.as_str(), file.size, file.mtime_ns, file.birthtime_ns)
    }
}

/// So many bytes are durable, and this is their SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::photos) struct Checkpoint {
    pub(in crate::photos) bytes: u64,
    pub(in crate::photos) sha256: [u8; 32],
}

/// The first line of a journal.
#[derive(Serialize, Deserialize)]
struct First {
    schema: String,
    #[serde(flatten)]
    of: Identity,
}

/// A further line of a journal.
#[derive(Serialize, Deserialize)]
struct Line {
    bytes: u64,
    sha256: String,
}

/// The journal of one large file. Shared by whoever writes it and whoever makes a checkpoint meanwhile.
#[derive(Debug)]
pub(in crate::photos) struct Journal {
    partials: Arc<Partials>,
    name: String,
    of: Identity,
    state: Mutex<State>,
    /// A checkpoint is being made.
    pub(in crate::photos) busy: AtomicBool,
}

#[derive(Debug)]
enum State {
    /// Most large files are received before their first checkpoint is due. The first line is there, so that a full disk
    /// has room for the second.
    Begun(File),
    Open(File, Checkpoint),
    /// The file has its place, or is gone.
    Closed,
}

impl Journal {
    pub(super) fn begin(partials: Arc<Partials>, name: String, of: Identity) -> io::Result<Self> {
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
        let mut file = partials.dir.open_with(journal_name(&name), &options)?.into_std();
        let mut line = serde_json::to_vec(&First { schema: SCHEMA.to_owned(), of: of.clone() })?;
        line.push(b'\n');
        file.write_all(&line)?;
        Ok(Self { partials, name, of, state: Mutex::new(State::Begun(file)), busy: AtomicBool::new(false) })
    }

    /// Opens the journal that is there, without a torn line at its end.
    pub(super) fn reopen(
        partials: Arc<Partials>,
        name: String,
        of: Identity,
        at: Checkpoint,
    ) -> io::Result<Self> {
        let options = OpenOptions::new().read(true).write(true).follow(FollowSymlinks::No).clone();
        let mut file = partials.dir.open_with(journal_name(&name), &options)?.into_std();
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(JOURNAL_BYTES_MAX).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end as u64 + 1);
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        Ok(Self {
            partials,
            name,
            of,
            state: Mutex::new(State::Open(file, at)),
            busy: AtomicBool::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    /// Makes what is in `data` durable, and then says so. Blocks as long as the disk takes.
    pub(in crate::photos) fn checkpoint(&self, data: &File, at: Checkpoint) -> io::Result<()> {
        let mut state = self.state();
        match &*state {
            State::Closed => return Ok(()),
            State::Open(_, last) if last.bytes >= at.bytes => return Ok(()),
            _ => data.sync_data()?,
        }
        let mut line = serde_json::to_vec(&Line { bytes: at.bytes, sha256: hex::encode(at.sha256) })?;
        line.push(b'\n');
        let is_first = matches!(&*state, State::Begun(_));
        let (State::Begun(file) | State::Open(file, _)) = &mut *state else { return Ok(()) };
        file.write_all(&line)?;
        file.sync_data()?;
        if is_first {
            durable::sync_dir(&self.partials.dir)?;
        }
        *state = match std::mem::replace(&mut *state, State::Closed) {
            State::Begun(file) | State::Open(file, _) => State::Open(file, at),
            State::Closed => State::Closed,
        };
        Ok(())
    }

    /// Leaves the file for another time, if something of it is durable and there is room; false: nothing is kept.
    pub(in crate::photos) fn keep(&self) -> bool {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Closed) {
            State::Open(_, at) => {
                self.partials.keep(Kept { name: self.name.clone(), of: self.of.clone(), at })
            }
            _ => false,
        }
    }

    /// The file is somewhere else now, or nobody wants it.
    pub(in crate::photos) fn remove(&self) {
        *self.state() = State::Closed;
        let _ = self.partials.dir.remove_file(journal_name(&self.name));
    }
}

pub(super) fn journal_name(name: &str) -> String {
    format!("{name}{JOURNAL_SUFFIX}")
}

pub(super) fn read_bounded(dir: &Dir, name: &str) -> io::Result<Vec<u8>> {
    let options = OpenOptions::new().read(true).follow(FollowSymlinks::No).clone();
    let mut bytes = Vec::new();
    dir.open_with(name, &options)?.take(JOURNAL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Which file, and its furthest checkpoint. Only whole lines count.
pub(super) fn read_journal(bytes: &[u8]) -> Option<(Identity, Checkpoint)> {
    let whole = bytes.iter().rposition(|b| *b == b'\n')?;
    let mut lines = bytes[..whole].split(|b| *b == b'\n');
    let First { schema, of } = serde_json::from_slice(lines.next()?).ok()?;
    if schema != SCHEMA || !is_clean_relative(&of.path) {
        return None;
    }
    let checkpoint = |line: &[u8]| {
        let Line { bytes, sha256: text } = serde_json::from_slice(line).ok()?;
        let mut sha256 = [0; 32];
        hex::decode_to_slice(text, &mut sha256).ok()?;
        (bytes <= of.size).then_some(Checkpoint { bytes, sha256 })
    };
    let last = lines.filter_map(checkpoint).max_by_key(|at| at.bytes)?;
    Some((of, last))
}
