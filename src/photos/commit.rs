//! Makes received files part of the copy, durably, in batches: their data is synced, they get their names, the names
//! are synced, and only then the manifest says so.
//!
//! A file that stands where a new one goes is never lost: if its content is another, it is kept under
//! `photos.earlier/`. After an erase the phone counts its pictures from one again, and `IMG_0001` is another picture.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use cap_std::fs::Dir;

use super::folder::{Folders, is_absence};
use super::manifest::{Entry, Note};
use super::names::{local_path, strict_path};
use super::stage::Staged;
use super::store::{EARLIER, Error, PHOTOS, Store};
use super::verify::sha256_of;
use crate::durable;

/// A batch is made durable when it holds so many bytes,
pub(super) const BATCH_BYTES: u64 = 64 << 20;

/// or when so much time has passed since its first file.
pub(super) const BATCH_TIME: Duration = Duration::from_secs(1);

/// Up to so many files are synced one by one; more are cheaper with the whole file system at once.
const SINGLY_MAX: usize = 16;

/// Earlier files of one name that are kept.
const EARLIER_MAX: u32 = 10_000;

/// A received file that is to become part of the copy.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) path: String,
    pub(super) entry: Entry,
    pub(super) staged: Staged,
}

/// What has become durable.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Durable {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Files that this computer's file system does not take, with the reason.
    pub(super) refused: Vec<(String, String)>,
    /// Files that it does not take under their own name, with where they are below `photos/`.
    pub(super) renamed: Vec<(String, String)>,
}

/// Commits one batch. On an error what the manifest already names stays as it is.
pub(super) fn commit(store: &Store, batch: Vec<Ready>) -> Result<Durable, Error> {
    if batch.is_empty() {
        return Ok(Durable::default());
    }
    let io = |what| move |source| Error::io(what, source);
    let singly = batch.len() <= SINGLY_MAX;
    sync_data(&batch, singly).map_err(io("syncing received photos"))?;
    let mut placing = Placing::new(store);
    for ready in batch {
        placing.place(ready)?;
    }
    let Placing { holders, notes, durable, mut folders, .. } = placing;
    sync_names(&mut folders, &holders, singly).map_err(io("syncing the folders of the copy"))?;
    store.manifest().add(notes).map_err(io("writing the manifest"))?;
    Ok(durable)
}

fn sync_data(batch: &[Ready], singly: bool) -> io::Result<()> {
    if !singly {
        return sync_file_system(batch[0].staged.place().0);
    }
    for ready in batch {
        let (dir, name) = ready.staged.place();
        dir.open(name)?.sync_all()?;
    }
    Ok(())
}

fn sync_names(folders: &mut Folders, holders: &BTreeMap<String, Arc<Dir>>, singly: bool) -> io::Result<()> {
    if !singly || folders.take_created() {
        // A new folder's own name must last as well.
        return holders.values().next().map_or(Ok(()), |dir| sync_file_system(dir));
    }
    holders.values().try_for_each(|dir| durable::sync_dir(dir))
}

/// Everything of the file system on which `dir` is. Linux reports what could not be written.
#[cfg(target_os = "linux")]
fn sync_file_system(dir: &Dir) -> io::Result<()> {
    let opened = dir.open(".")?;
    Ok(rustix::fs::syncfs(&opened)?)
}

/// Everything, where there is nothing narrower.
#[cfg(not(target_os = "linux"))]
fn sync_file_system(dir: &Dir) -> io::Result<()> {
    durable::sync_dir(dir)?;
    rustix::fs::sync();
    Ok(())
}

/// The step in which received files get their names.
struct Placing<'a> {
    folders: Folders,
    holders: BTreeMap<String, Arc<Dir>>,
    notes: Vec<Note>,
    durable: Durable,
    store: &'a Store,
}

impl<'a> Placing<'a> {
    fn new(store: &'a Store) -> Self {
        Self {
            folders: Folders::below(store.device()),
            holders: BTreeMap::new(),
            notes: Vec::new(),
            durable: Durable::default(),
            store,
        }
    }

    fn place(&mut self, mut ready: Ready) -> Result<(), Error> {
        let usual = local_path(&ready.path);
        let known = self.store.entry(&ready.path).and_then(|entry| entry.stored_as);
        let (first, second) = (known.unwrap_or_else(|| usual.clone()), strict_path(&ready.path));
        let mut stored_as = first;
        let mut put = self.put(&stored_as, &mut ready);
        if matches!(put, Ok(false)) || put.as_ref().is_err_and(is_of_the_name) {
            stored_as = second;
            put = self.put(&stored_as, &mut ready);
        }
        match put {
            Ok(true) => {
                self.durable.files += 1;
                self.durable.bytes += ready.entry.size;
                if stored_as != usual {
                    self.durable.renamed.push((ready.path.clone(), stored_as.clone()));
                    ready.entry.stored_as = Some(stored_as);
                }
                self.notes.push(Note::Copied(ready.path, ready.entry));
                Ok(())
            }
            Ok(false) => {
                self.refuse(ready, "its name is that of another file on this computer");
                Ok(())
            }
            Err(error) => match unholdable(&error) {
                Some(why) => {
                    self.refuse(ready, why);
                    Ok(())
                }
                None => Err(Error::io("putting a photo into the copy", error)),
            },
        }
    }

    fn refuse(&mut self, ready: Ready, why: &str) {
        ready.staged.discard();
        self.notes.push(Note::Refused(ready.path.clone(), why.to_owned()));
        self.durable.refused.push((ready.path, why.to_owned()));
    }

    /// Puts a file at `stored_as` below `photos/`; false: another file of the phone is there.
    fn put(&mut self, stored_as: &str, ready: &mut Ready) -> io::Result<bool> {
        let local = format!("{PHOTOS}/{stored_as}");
        let (holder, name) = self.folders.holder(&local, true)?;
        if let Some(size) = self.folders.size_of(&local)? {
            let same = size == ready.entry.size
                && sha256_of(&self.folders.open(&local)?, &self.store.never())? == ready.entry.sha256;
            if !same {
                if self.is_anothers(&local, size, &ready.path)? {
                    return Ok(false);
                }
                self.keep_earlier(&local, &ready.path)?;
            }
        }
        let (stage, staged) = ready.staged.place();
        stage.rename(staged, &holder, name)?;
        ready.staged.moved();
        let parent = local.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.holders.insert(parent.to_owned(), holder);
        Ok(true)
    }

    /// The file of `size` bytes at `local` is that of another path of the phone: on a file system for which two names
    /// are one (`a.JPG` and `A.JPG`, or two Unicode forms of `é`), they must not take each other's place. Which names
    /// are one, only the file system knows; so it is asked whether they lead to the same file.
    fn is_anothers(&mut self, local: &str, size: u64, path: &str) -> io::Result<bool> {
        let others: Vec<String> = {
            let manifest = self.store.manifest();
            if manifest.entries().get(path).is_some_and(|own| own.local(path) == local) {
                return Ok(false);
            }
            let noted = self.notes.iter().filter_map(|note| match note {
                Note::Copied(path, entry) => Some((path.as_str(), entry)),
                _ => None,
            });
            let held = manifest.entries().iter().map(|(path, entry)| (&**path, &**entry));
            let others = held.chain(noted);
            let others = others.filter(|(other, entry)| entry.size == size && *other != path);
            others.map(|(other, entry)| entry.local(other)).collect()
        };
        let there = self.folders.node_of(local)?;
        for other in others {
            if there.is_some() && self.folders.node_of(&other)? == there {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves the file that is in the way to `photos.earlier/`, beside others of its name.
    fn keep_earlier(&mut self, local: &str, path: &str) -> io::Result<()> {
        let (holder, name) = self.folders.holder(local, false)?;
        let below = local.strip_prefix(PHOTOS).unwrap_or(local);
        for n in 1..EARLIER_MAX {
            let kept = format!("{EARLIER}{}", numbered(below, n));
            if self.folders.size_of(&kept)?.is_some() {
                continue;
            }
            let (to, to_name) = self.folders.holder(&kept, true)?;
            holder.rename(name, &to, to_name)?;
            let parent = kept.rsplit_once('/').map_or("", |(parent, _)| parent);
            self.holders.insert(parent.to_owned(), Arc::clone(&to));
            self.notes.push(Note::Kept(path.to_owned(), kept));
            return Ok(());
        }
        Err(io::Error::other("too many earlier files of one name are kept"))
    }
}

/// `DCIM/100APPLE/IMG_0001 (2).HEIC`
fn numbered(path: &str, n: u32) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()) {
        Some((stem, extension)) => format!("{folder}/{stem} ({n}).{extension}"),
        None => format!("{folder}/{name} ({n})"),
    }
}

/// The file system does not take such a name.
fn is_of_the_name(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput)
}

/// Why this computer cannot hold a file of that name, if that is what an error says.
fn unholdable(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        _ if is_of_the_name(error) => Some("this computer's file system does not take its name"),
        io::ErrorKind::IsADirectory | io::ErrorKind::DirectoryNotEmpty => {
            Some("a folder of the copy is in its way")
        }
        io::ErrorKind::NotADirectory => Some("a file of the copy stands where its folder should be"),
        _ if is_absence(error) && error.kind() != io::ErrorKind::NotFound => {
            Some("a link stands where its folder should be")
        }
        _ => None,
    }
}

/// Commits batches on a thread of its own while more is received.
#[derive(Debug)]
pub(super) struct Committer {
    queue: Sender<Ready>,
    thread: std::thread::JoinHandle<(Durable, Result<(), Error>)>,
}

impl Committer {
    /// `failed` is called once, at the first error; afterwards nothing more is committed.
    pub(super) fn begin(store: Store, failed: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (queue, ready) = channel();
        let thread = std::thread::Builder::new()
            .name("commit photos".to_owned())
            .spawn(move || commit_all(&store, &ready, failed))?;
        Ok(Self { queue, thread })
    }

    /// Hands a file over.
    pub(super) fn add(&self, ready: Ready) {
        // A thread that has ended after an error says so when it is asked to finish.
        let _ = self.queue.send(ready);
    }

    /// Commits what is left and says what became durable, also when there was an error. Blocks.
    pub(super) fn finish(self) -> (Durable, Result<(), Error>) {
        drop(self.queue);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn commit_all(store: &Store, ready: &Receiver<Ready>, failed: impl FnOnce()) -> (Durable, Result<(), Error>) {
    let mut total = Durable::default();
    while let Some(batch) = next_batch(ready) {
        match commit(store, batch) {
            Ok(durable) => {
                total.files += durable.files;
                total.bytes += durable.bytes;
                total.refused.extend(durable.refused);
                total.renamed.extend(durable.renamed);
            }
            Err(error) => {
                failed();
                return (total, Err(error));
            }
        }
    }
    (total, Ok(()))
}

/// Waits for a file and takes what comes with it until the batch is full or old enough. `None`: nothing comes any more.
fn next_batch(ready: &Receiver<Ready>) -> Option<Vec<Ready>> {
    let first = ready.recv().ok()?;
    let until = Instant::now() + BATCH_TIME;
    let mut bytes = first.entry.size;
    let mut batch = vec![first];
    while bytes < BATCH_BYTES {
        match ready.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(next) => {
                bytes += next.entry.size;
                batch.push(next);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_file_keeps_its_extension() {
        assert_eq!(numbered("/DCIM/100APPLE/IMG_0001.HEIC", 2), "/DCIM/100APPLE/IMG_0001 (2).HEIC");
        assert_eq!(numbered("/DCIM/.MISC", 1), "/DCIM/.MISC (1)");
    }
}
