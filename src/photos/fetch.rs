//! One file off the phone: what it is before and after, its bytes in between, and again where that does not agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::commit::{Committer, Ready};
use super::manifest::{Entry, Source};
use super::partial::{Identity, LARGE_BYTES, Partials};
use super::plan::Item;
use super::sink::{Receiving, Sink};
use super::stage::Staged;
use super::walk::reason;
use crate::afc::{Afc, Error, File, FileInfo, Kind, OpenMode, Read, Status, Whence};
use crate::facts::MediaFile;
use crate::progress::CancellationToken;

/// The size of one read.
const CHUNK_BYTES: u64 = 1 << 20;

/// Reads of one file that wait behind the one that is being answered.
const CHUNKS_AHEAD: usize = 3;

/// How often a file is read before it is given up: changed meanwhile, cut short, or not whole.
const READINGS_MAX: usize = 4;

/// No photo and no clip is as large as this; a phone that says so is confused, or not a phone.
const FILE_BYTES_MAX: u64 = 1 << 40;

/// What became of a file.
#[derive(Debug)]
pub(super) enum Fetched {
    /// It is received and on its way into the copy; with what is worth knowing of it.
    Received(Option<String>),
    /// It cannot be copied, and why.
    Refused(String),
    /// The connection is dead.
    Broken(Error),
    /// This computer failed; the sink or the committer knows how.
    Disk,
}

/// What one file needs.
#[derive(Clone, Copy)]
pub(super) struct Fetch<'a> {
    pub(super) afc: &'a Afc,
    pub(super) sink: &'a Sink,
    pub(super) committer: &'a Committer,
    pub(super) partials: &'a Arc<Partials>,
    /// Counts each byte that arrives.
    pub(super) received: &'a AtomicU64,
    /// Counts each byte that was here already.
    pub(super) resumed: &'a AtomicU64,
    /// Nothing is believed before two readings agree.
    pub(super) paranoid: bool,
}

/// Why one reading gave no file.
enum Trouble {
    Refused(String),
    /// Worth another reading, with the reason in case it is the last.
    Again(String),
    Broken(Error),
    Disk,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Broken { .. } => Self::Broken(error),
            other => Self::Refused(reason(&other)),
        }
    }
}

impl Fetch<'_> {
    pub(super) async fn fetch(self, item: &Item) -> Fetched {
        let mut seen: Vec<[u8; 32]> = Vec::new();
        let mut why = String::new();
        // The walk has looked at it already. That is enough to begin with where little is lost if it has changed since.
        let mut before = Some(as_walked(item)).filter(|before| before.size < LARGE_BYTES);
        for _ in 0..READINGS_MAX {
            let as_walked = before.is_some();
            match self.read_once(item, before.take()).await {
                Ok((info, staged)) if self.is_believed(&staged, &seen) => {
                    let differed = seen.iter().any(|other| *other != staged.sha256);
                    self.committer.add(ready(item, &info, staged));
                    return Fetched::Received(differed.then(|| {
                        let readings = seen.len() + 1;
                        format!("its {readings} readings gave different bytes; the last one was kept")
                    }));
                }
                Ok((_, staged)) => {
                    "each reading gave other bytes".clone_into(&mut why);
                    seen.push(staged.sha256);
                    discard(staged).await;
                }
                Err(Trouble::Again(again)) => why = again,
                // What is the matter with it, the phone says when it is asked.
                Err(Trouble::Refused(again)) if as_walked => why = again,
                Err(Trouble::Refused(why)) => return Fetched::Refused(why),
                Err(Trouble::Broken(error)) => return Fetched::Broken(error),
                Err(Trouble::Disk) => return Fetched::Disk,
            }
        }
        Fetched::Refused(format!("{why}, {READINGS_MAX} times"))
    }

    /// A container that is not whole is believed when the phone sends the same twice. The paranoid believe nothing
    /// else, since phones were seen to send other bytes for the same file (ifuse issue 107).
    fn is_believed(&self, staged: &Staged, seen: &[[u8; 32]]) -> bool {
        (staged.whole && !self.paranoid) || seen.contains(&staged.sha256)
    }

    /// One reading, from a look at the file to another look right behind the last of its bytes, which must agree. A small
    /// file costs two round trips. `before`: the look before, where it was made already.
    async fn read_once(self, item: &Item, before: Option<FileInfo>) -> Result<(FileInfo, Staged), Trouble> {
        let path = &item.file.path;
        let open = self.afc.open_file(path, OpenMode::Read);
        let (before, opened) = match before {
            Some(before) => (before, open.await),
            None => {
                let (before, opened) = tokio::join!(self.afc.file_info(path), open);
                (before?, opened)
            }
        };
        if before.kind != Kind::File {
            return Err(Trouble::Refused("it is no file any more".to_owned()));
        }
        if before.size > FILE_BYTES_MAX {
            return Err(Trouble::Refused(format!("the phone says that it has {} bytes", before.size)));
        }
        let mut file = opened.map_err(|error| not_opened(error, &before))?;
        let (receiving, from) = self.begin(&mut file, path, &before).await?;
        match self.read_and_look_again(file, from, &before, &receiving).await {
            Ok(()) => {}
            // What came of a large file is kept.
            Err(broken @ Trouble::Broken(_)) => return Err(broken),
            Err(other) => {
                receiving.discard();
                return Err(other);
            }
        }
        let staged = receiving.finish(path, before.mtime_ns).await.ok_or(Trouble::Disk)?;
        assert_eq!(staged.size, before.size, "every read was compared with what was asked");
        Ok((before, staged))
    }

    /// Where the bytes go, and from which one on they are wanted: a large file that was interrupted is gone on with.
    async fn begin(
        self,
        file: &mut File,
        path: &str,
        before: &FileInfo,
    ) -> Result<(Receiving, u64), Trouble> {
        if before.size < LARGE_BYTES {
            return Ok((self.sink.receive(), 0));
        }
        let FileInfo { size, mtime_ns, birthtime_ns, .. } = *before;
        let of = Identity { path: path.to_owned(), size, mtime_ns, birthtime_ns };
        let Some(kept) = self.partials.claim(&of) else { return Ok((self.sink.receive_large(of), 0)) };
        let (partials, cancel) = (Arc::clone(self.partials), CancellationToken::new());
        let _stops = cancel.clone().drop_guard();
        let proving = tokio::task::spawn_blocking(move || kept.go_on(&partials, &cancel));
        let proven = proving.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let Ok(Some((staging, tail))) = proven else { return Ok((self.sink.receive_large(of), 0)) };
        let from = staging.written();
        let receiving = self.sink.go_on(staging);
        match self.agrees(file, from, &tail).await {
            Ok(true) => {
                self.resumed.fetch_add(from, Ordering::Relaxed);
                Ok((receiving, from))
            }
            Err(broken @ Trouble::Broken(_)) => Err(broken),
            Ok(false) | Err(_) => {
                receiving.discard();
                Err(Trouble::Again(
                    "the phone does not go on with it where its reading was interrupted".to_owned(),
                ))
            }
        }
    }

    /// Moves to `from`, over the last bytes that are here already: the phone has the same.
    async fn agrees(self, file: &mut File, from: u64, tail: &[u8]) -> Result<bool, Trouble> {
        let back = i64::try_from(from - tail.len() as u64).expect("no file is that large");
        file.seek(Whence::Start, back).await?;
        let again = file.read(u32::try_from(tail.len()).expect("a small number")).await?;
        self.received.fetch_add(again.len() as u64, Ordering::Relaxed);
        Ok(again == tail)
    }

    /// Reads a file from `from` on to its end; then it still is what it was before.
    async fn read_and_look_again(
        self,
        mut file: File,
        from: u64,
        before: &FileInfo,
        receiving: &Receiving,
    ) -> Result<(), Trouble> {
        let path = file.path().to_owned();
        let (asked, answers) = mpsc::channel(CHUNKS_AHEAD);
        let asking = async {
            ask_all(&mut file, from, before.size, asked).await?;
            // A phone answers in order: what it says about the file then is said after the last of its bytes.
            let (closed, after) = tokio::join!(file.close(), self.afc.file_info(&path));
            closed?;
            Ok::<_, Trouble>(after?)
        };
        let (after, ()) = tokio::try_join!(asking, self.take_all(answers, receiving))?;
        let identity = |info: &FileInfo| (info.kind, info.size, info.mtime_ns, info.birthtime_ns);
        if identity(&after) == identity(before) {
            Ok(())
        } else {
            Err(Trouble::Again("it changed while it was read".to_owned()))
        }
    }

    /// Takes what was asked for as it comes. A piece that is shorter than asked is trouble.
    async fn take_all(
        self,
        mut answers: mpsc::Receiver<(u64, Read)>,
        receiving: &Receiving,
    ) -> Result<(), Trouble> {
        while let Some((count, read)) = answers.recv().await {
            let piece = read.piece().await?;
            self.received.fetch_add(piece.len() as u64, Ordering::Relaxed);
            if piece.len() as u64 != count {
                return Err(Trouble::Again("the phone sent less than the file's length".to_owned()));
            }
            receiving.write(piece);
        }
        Ok(())
    }
}

/// What the walk saw.
fn as_walked(item: &Item) -> FileInfo {
    let MediaFile { size, mtime_ns, birthtime_ns, .. } = item.file;
    FileInfo { kind: Kind::File, size, blocks: 0, links: 1, mtime_ns, birthtime_ns, link_target: None }
}

/// Asks for what lies between `from` and `size`, with several reads on their way.
async fn ask_all(
    file: &mut File,
    from: u64,
    size: u64,
    asked: mpsc::Sender<(u64, Read)>,
) -> Result<(), Trouble> {
    let mut at = from;
    while at < size {
        let count = CHUNK_BYTES.min(size - at);
        let read = file.ask_read(u32::try_from(count).expect("at most a chunk")).await?;
        at += count;
        if asked.send((count, read)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Removes what a reading gave. A disk that is busy holds nobody up.
async fn discard(staged: Staged) {
    let discarding = tokio::task::spawn_blocking(move || staged.discard());
    discarding.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
}

fn not_opened(error: Error, info: &FileInfo) -> Trouble {
    match error.status() {
        // Seen since iOS 12.3 (ifuse issue 54).
        Some(Status::PermissionDenied) if info.links > 1 => Trouble::Refused(format!(
            "the phone does not open it (AFC status 10): it has {} hard links; a backup holds it",
            info.links
        )),
        _ => error.into(),
    }
}

fn ready(item: &Item, info: &FileInfo, staged: Staged) -> Ready {
    let entry = Entry {
        size: staged.size,
        sha256: staged.sha256,
        mtime_ns: info.mtime_ns,
        birthtime_ns: info.birthtime_ns,
        source: Source::Afc,
        part: None,
        whole: staged.whole,
        asset: item.asset.as_deref().map(str::to_owned),
        damaged: None,
        trashed: item.trashed,
        stored_as: None,
    };
    Ready { path: item.file.path.clone(), entry, staged }
}
