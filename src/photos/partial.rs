//! Files that are being received: beside the copy, under names of ours. What came of a large one outlives its reading.
//!
//! Knows this computer only. A large file has a journal: which file of the phone it is, and at each checkpoint how many
//! of its bytes are durable and their SHA-256. Nothing else counts: what lies behind the last checkpoint may never have
//! reached the disk and is cut off, and what lies before it is read again and compared before a new byte is added. A
//! file of the phone with another size or another date is another file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest::{Context, SHA256};
use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use serde::{Deserialize, Serialize};

use super::digest;
use super::stage::Staging;
use crate::durable;
use crate::facts::MediaFile;
use crate::facts::path::is_clean_relative;
use crate::progress::CancellationToken;

/// Files from this size on are gone on with. USB 2 carries so much in half a second: for less, checkpoints would cost
/// more than reading it again.
pub(super) const LARGE_BYTES: u64 = 16 << 20;

/// So many of the last bytes that are here are read from the phone once more before a file is gone on with: a phone
/// that cannot go on in the middle of a file, or has another file there now, is known by them.
const OVERLAP_BYTES: u64 = 64 << 10;

/// Interrupted files that are kept: more than are ever read at once.
const KEPT_MAX: usize = 32;

/// Bytes of interrupted files that are kept: two hours of the largest video that an iPhone takes.
const KEPT_BYTES_MAX: u64 = 128 << 30;

/// The longest journal that is read: a checkpoint a second for half a day.
const JOURNAL_BYTES_MAX: u64 = 8 << 20;

const SCHEMA: &str = "idevice-fix/photos-partial/1";
const JOURNAL_SUFFIX: &str = ".journal";

/// Bytes that are read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// Which file of the phone, as it was when its first byte was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) mtime_ns: i64,
    pub(super) birthtime_ns: i64,
}

impl Identity {
    /// The phone shows the same file.
    pub(super) fn is(&self, file: &MediaFile) -> bool {
        (self.path.as_str(), self.size, self.mtime_ns, self.birthtime_ns)
            == (file.path.as_str(), file.size, file.mtime_ns, file.birthtime_ns)
    }
}

/// So many bytes are durable, and this is their SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

/// The folder of files that are being received.
#[derive(Debug)]
pub(super) struct Partials {
    dir: Dir,
    /// Interrupted files, by the phone's path.
    kept: Mutex<BTreeMap<String, Kept>>,
    next: AtomicU64,
}

/// An interrupted file. As long as nobody goes on with it, it stays where it is.
#[derive(Debug)]
pub(super) struct Kept {
    name: String,
    of: Identity,
    at: Checkpoint,
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

impl Partials {
    /// Opens the folder for writing: what can be gone on with stays, everything else is worth nothing and is removed.
    pub(super) fn open(dir: Dir) -> io::Result<Self> {
        let mut kept = Vec::new();
        let mut names = Vec::new();
        for entry in dir.entries()? {
            names.push(entry?.file_name());
        }
        let numbers: Vec<u64> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
        for number in &numbers {
            kept.extend(Kept::read(&dir, &number.to_string()));
        }
        let kept = bounded(kept);
        let wanted = |name: &str| {
            let name = name.strip_suffix(JOURNAL_SUFFIX).unwrap_or(name);
            kept.values().any(|one| one.name == name)
        };
        for name in names.iter().filter(|name| !name.to_str().is_some_and(&wanted)) {
            dir.remove_file(name)?;
        }
        let next = numbers.into_iter().max().unwrap_or(0).saturating_add(1);
        Ok(Self { dir, kept: Mutex::new(kept), next: AtomicU64::new(next) })
    }

    /// Interrupted files and what is durable of them, without changing anything.
    pub(super) fn look(dir: &Dir) -> Vec<(Identity, u64)> {
        let entries = dir.entries().into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
        let kept = numbers.filter_map(|number| Kept::read(dir, &number.to_string()));
        kept.map(|kept| (kept.of, kept.at.bytes)).collect()
    }

    /// A new file.
    pub(super) fn begin(self: &Arc<Self>) -> io::Result<Staging> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o644);
        let file = self.dir.open_with(&name, &options)?.into_std();
        Ok(Staging::new(Arc::clone(self), name, file))
    }

    /// A new file that is gone on with if it is interrupted.
    pub(super) fn begin_large(self: &Arc<Self>, of: Identity) -> io::Result<Staging> {
        let staging = self.begin()?;
        let journal = Journal::begin(Arc::clone(self), staging.name().to_owned(), of)?;
        Ok(staging.with_journal(journal))
    }

    /// What is here of that file, if it can be gone on with. Whoever has it decides over it.
    pub(super) fn claim(&self, of: &Identity) -> Option<Kept> {
        let kept = self.kept().remove(&of.path)?;
        if kept.of == *of {
            return Some(kept);
        }
        self.remove(&kept.name);
        None
    }

    /// Keeps an interrupted file for whoever claims it; false: there are enough.
    fn keep(&self, interrupted: Kept) -> bool {
        let mut kept = self.kept();
        let bytes = kept.values().fold(interrupted.at.bytes, |sum, one| sum.saturating_add(one.at.bytes));
        if kept.len() >= KEPT_MAX || bytes > KEPT_BYTES_MAX {
            return false;
        }
        if let Some(other) = kept.insert(interrupted.of.path.clone(), interrupted) {
            self.remove(&other.name);
        }
        true
    }

    /// Removes every interrupted file that is not wanted any more.
    pub(super) fn retain(&self, wanted: impl Fn(&Identity) -> bool) {
        self.kept().retain(|_, kept| {
            let wanted = wanted(&kept.of);
            if !wanted {
                self.remove(&kept.name);
            }
            wanted
        });
    }

    /// Interrupted files, and what is durable of them.
    pub(super) fn list(&self) -> Vec<(Identity, u64)> {
        self.kept().values().map(|kept| (kept.of.clone(), kept.at.bytes)).collect()
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().expect("nothing panics while it holds this lock")
    }

    /// The journal goes first: a file without one is worth nothing, a journal without its file neither.
    fn remove(&self, name: &str) {
        let _ = self.dir.remove_file(journal_name(name));
        let _ = self.dir.remove_file(name);
    }
}

/// Of several pieces of one file the longest; of too many files those of which most is here.
fn bounded(mut kept: Vec<Kept>) -> BTreeMap<String, Kept> {
    kept.sort_by_key(|one| std::cmp::Reverse(one.at.bytes));
    let mut bounded = BTreeMap::new();
    let mut bytes = 0_u64;
    for one in kept {
        bytes = bytes.saturating_add(one.at.bytes);
        if bounded.len() < KEPT_MAX && bytes <= KEPT_BYTES_MAX {
            bounded.entry(one.of.path.clone()).or_insert(one);
        }
    }
    bounded
}

impl Kept {
    /// What the journal of `name` says, if it and the file are there and at least as long.
    fn read(dir: &Dir, name: &str) -> Option<Self> {
        let (of, at) = read_journal(&read_bounded(dir, &journal_name(name)).ok()?)?;
        let metadata = dir.symlink_metadata(name).ok()?;
        (metadata.is_file() && metadata.len() >= at.bytes).then(|| Self { name: name.to_owned(), of, at })
    }

    /// Reads again what is here and, if it is what was received, makes it a file that is being received: cut to what
    /// is durable. With it come its last bytes. `None`: it is not, and is gone. Blocks as long as reading takes.
    pub(super) fn go_on(
        self,
        partials: &Arc<Partials>,
        cancel: &CancellationToken,
    ) -> io::Result<Option<(Staging, Vec<u8>)>> {
        match self.prove(&partials.dir, cancel) {
            Ok(Some((file, hash, tail))) => {
                let journal = Journal::reopen(Arc::clone(partials), self.name.clone(), self.of, self.at)?;
                let staging = Staging::new(Arc::clone(partials), self.name, file);
                Ok(Some((staging.gone_on_with(hash, self.at.bytes).with_journal(journal), tail)))
            }
            Ok(None) => {
                partials.remove(&self.name);
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                partials.keep(self);
                Err(error)
            }
            // A disk that cannot read it back has nothing to go on with.
            Err(error) => {
                tracing::info!(%error, "an interrupted file cannot be read again");
                partials.remove(&self.name);
                Ok(None)
            }
        }
    }

    fn prove(&self, dir: &Dir, cancel: &CancellationToken) -> io::Result<Option<(File, Context, Vec<u8>)>> {
        let options = OpenOptions::new().read(true).write(true).follow(FollowSymlinks::No).clone();
        let mut file = dir.open_with(&self.name, &options)?.into_std();
        let mut hash = Context::new(&SHA256);
        let mut block = vec![0; BLOCK_BYTES];
        let mut left = self.at.bytes;
        while left > 0 {
            if cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let most = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = match file.read(&mut block[..most]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if read == 0 {
                return Ok(None);
            }
            hash.update(&block[..read]);
            left -= read as u64;
        }
        if digest(hash.clone()) != self.at.sha256 {
            return Ok(None);
        }
        file.set_len(self.at.bytes)?;
        file.seek(SeekFrom::Start(self.at.bytes))?;
        let overlap = OVERLAP_BYTES.min(self.at.bytes);
        let mut tail = vec![0; usize::try_from(overlap).expect("a small number")];
        file.read_exact_at(&mut tail, self.at.bytes - overlap)?;
        Ok(Some((file, hash, tail)))
    }
}

/// The journal of one large file. Shared by whoever writes it and whoever makes a checkpoint meanwhile.
#[derive(Debug)]
pub(super) struct Journal {
    partials: Arc<Partials>,
    name: String,
    of: Identity,
    state: Mutex<State>,
    /// A checkpoint is being made.
    pub(super) busy: AtomicBool,
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
    fn begin(partials: Arc<Partials>, name: String, of: Identity) -> io::Result<Self> {
        let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
        let mut file = partials.dir.open_with(journal_name(&name), &options)?.into_std();
        let mut line = serde_json::to_vec(&First { schema: SCHEMA.to_owned(), of: of.clone() })?;
        line.push(b'\n');
        file.write_all(&line)?;
        Ok(Self { partials, name, of, state: Mutex::new(State::Begun(file)), busy: AtomicBool::new(false) })
    }

    /// Opens the journal that is there, without a torn line at its end.
    fn reopen(partials: Arc<Partials>, name: String, of: Identity, at: Checkpoint) -> io::Result<Self> {
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
    pub(super) fn checkpoint(&self, data: &File, at: Checkpoint) -> io::Result<()> {
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
    pub(super) fn keep(&self) -> bool {
        let mut state = self.state();
        match std::mem::replace(&mut *state, State::Closed) {
            State::Open(_, at) => {
                self.partials.keep(Kept { name: self.name.clone(), of: self.of.clone(), at })
            }
            _ => false,
        }
    }

    /// The file is somewhere else now, or nobody wants it.
    pub(super) fn remove(&self) {
        *self.state() = State::Closed;
        let _ = self.partials.dir.remove_file(journal_name(&self.name));
    }
}

fn journal_name(name: &str) -> String {
    format!("{name}{JOURNAL_SUFFIX}")
}

fn read_bounded(dir: &Dir, name: &str) -> io::Result<Vec<u8>> {
    let options = OpenOptions::new().read(true).follow(FollowSymlinks::No).clone();
    let mut bytes = Vec::new();
    dir.open_with(name, &options)?.take(JOURNAL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Which file, and its furthest checkpoint. Only whole lines count.
fn read_journal(bytes: &[u8]) -> Option<(Identity, Checkpoint)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Desk(tempfile::TempDir);

    impl Desk {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn open(&self) -> Arc<Partials> {
            let dir = Dir::open_ambient_dir(self.0.path(), cap_std::ambient_authority()).unwrap();
            Arc::new(Partials::open(dir).unwrap())
        }

        fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.0.path()).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    fn of(n: u64) -> Identity {
        Identity { path: format!("DCIM/{n}.MOV"), size: 1000, mtime_ns: 5, birthtime_ns: 4 }
    }

    fn keep(partials: &Arc<Partials>, n: u64, content: &[u8]) {
        let mut staging = partials.begin_large(of(n)).unwrap();
        staging.write(content).unwrap();
        staging.keep();
    }

    fn go_on(partials: &Arc<Partials>, kept: Kept) -> Option<(Staging, Vec<u8>)> {
        kept.go_on(partials, &CancellationToken::new()).unwrap()
    }

    #[test]
    fn what_is_kept_is_gone_on_with_in_the_same_run_and_the_next() {
        let desk = Desk::new();
        let partials = desk.open();
        keep(&partials, 1, b"first ");
        let (mut staging, tail) = go_on(&partials, partials.claim(&of(1)).unwrap()).unwrap();
        assert_eq!((staging.written(), &tail[..]), (6, &b"first "[..]));
        staging.write(b"second").unwrap();
        staging.keep();
        let partials = desk.open();
        assert_eq!(partials.list(), [(of(1), 12)]);
        let (staging, _) = go_on(&partials, partials.claim(&of(1)).unwrap()).unwrap();
        let staged = staging.finish("x", 0).unwrap();
        let whole = aws_lc_rs::digest::digest(&SHA256, b"first second");
        assert_eq!((staged.size, &staged.sha256[..]), (12, whole.as_ref()));
        staged.discard();
        assert!(desk.names().is_empty());
    }

    #[test]
    fn another_file_of_the_same_path_is_none_to_go_on_with() {
        let other = [
            Identity { size: 1001, ..of(1) },
            Identity { mtime_ns: 6, ..of(1) },
            Identity { birthtime_ns: 5, ..of(1) },
        ];
        for other in other {
            let desk = Desk::new();
            let partials = desk.open();
            keep(&partials, 1, b"content");
            assert!(partials.claim(&of(2)).is_none() && partials.claim(&other).is_none());
            assert!(desk.names().is_empty());
        }
    }

    #[test]
    fn a_staged_file_that_nobody_places_is_kept_only_with_a_checkpoint() {
        let desk = Desk::new();
        let partials = desk.open();
        let mut staging = partials.begin_large(of(1)).unwrap();
        staging.write(b"content").unwrap();
        drop(staging.finish("x", 0).unwrap());
        assert!(desk.names().is_empty(), "without a checkpoint nothing of it is durable");
        keep(&partials, 1, b"content");
        let (staging, _) = go_on(&partials, partials.claim(&of(1)).unwrap()).unwrap();
        drop(staging.finish("x", 0).unwrap());
        assert_eq!(partials.list(), [(of(1), 7)]);
    }

    #[test]
    fn a_journal_cut_anywhere_counts_up_to_its_last_whole_line() {
        let desk = Desk::new();
        let partials = desk.open();
        keep(&partials, 1, b"first ");
        let (mut staging, _) = go_on(&partials, partials.claim(&of(1)).unwrap()).unwrap();
        staging.write(b"second").unwrap();
        staging.keep();
        let path = desk.0.path().join("1.journal");
        let journal = std::fs::read(&path).unwrap();
        let lines: Vec<usize> = (0..journal.len()).filter(|at| journal[*at] == b'\n').collect();
        assert_eq!(lines.len(), 3);
        for cut in 0..=journal.len() {
            let read = read_journal(&journal[..cut]).map(|(_, at)| at.bytes);
            let expected = if cut > lines[2] { Some(12) } else { (cut > lines[1]).then_some(6) };
            assert_eq!(read, expected, "cut at {cut}");
        }
        for at in 0..journal.len() {
            let mut changed = journal.clone();
            changed[at] ^= 0x15;
            if let Some((of, at)) = read_journal(&changed) {
                assert!(at.bytes <= of.size && is_clean_relative(&of.path));
            }
        }
        // Behind a torn line it is gone on in a line of its own.
        std::fs::write(&path, &journal[..journal.len() - 1]).unwrap();
        let partials = desk.open();
        let (mut staging, _) = go_on(&partials, partials.claim(&of(1)).unwrap()).unwrap();
        assert_eq!(staging.written(), 6);
        staging.write(b"other").unwrap();
        staging.keep();
        assert_eq!(desk.open().list(), [(of(1), 11)]);
    }

    #[test]
    fn the_folder_holds_no_more_than_is_worth_it() {
        let desk = Desk::new();
        let partials = desk.open();
        for n in 0..KEPT_MAX as u64 + 5 {
            keep(&partials, n, b"content");
        }
        assert_eq!((partials.list().len(), desk.names().len()), (KEPT_MAX, 2 * KEPT_MAX));
        for odd in ["7", "x", "900.journal", "0007"] {
            std::fs::write(desk.0.path().join(odd), b"noise").unwrap();
        }
        let partials = desk.open();
        assert!(partials.list().len() < KEPT_MAX && desk.names().len() == 2 * partials.list().len());
        assert!(partials.begin().is_ok(), "no name is taken twice");
        partials.retain(|of| of.path == "DCIM/3.MOV");
        assert_eq!(partials.list(), [(of(3), 7)]);
    }

    #[test]
    fn a_checkpoint_is_due_as_often_as_a_batch() {
        let desk = Desk::new();
        let partials = desk.open();
        let mut staging = partials.begin_large(of(1)).unwrap();
        staging.write(&[1; 100]).unwrap();
        assert!(staging.due().is_none());
        let block = vec![2; 1 << 20];
        for _ in 0..64 {
            staging.write(&block).unwrap();
        }
        let due = staging.due().unwrap();
        assert!(staging.due().is_none(), "one at a time");
        due.make().unwrap();
        assert_eq!(desk.names(), ["1", "1.journal"]);
        // A file that is not large has none.
        let mut small = partials.begin().unwrap();
        for _ in 0..65 {
            small.write(&block).unwrap();
        }
        assert!(small.due().is_none());
    }
}
