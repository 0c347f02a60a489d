//! One file off the phone: what it is before and after, its bytes in between, and again where that does not agree.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::commit::{Committer, Ready};
use super::manifest::{Entry, Source};
use super::plan::Item;
use super::sink::Sink;
use super::stage::Staged;
use super::walk::reason;
use crate::afc::{Afc, Error, File, FileInfo, Kind, OpenMode, Status};

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
    /// Counts each byte that arrives.
    pub(super) received: &'a AtomicU64,
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
        for _ in 0..READINGS_MAX {
            match self.read_once(item).await {
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
                }
                Err(Trouble::Again(again)) => why = again,
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

    /// One reading: two questions before, two after, so that a small file costs three round trips.
    async fn read_once(self, item: &Item) -> Result<(FileInfo, Staged), Trouble> {
        let path = &item.file.path;
        let (before, opened) =
            tokio::join!(self.afc.file_info(path), self.afc.open_file(path, OpenMode::Read));
        let before = before?;
        if before.kind != Kind::File {
            return Err(Trouble::Refused("it is no file any more".to_owned()));
        }
        if before.size > FILE_BYTES_MAX {
            return Err(Trouble::Refused(format!("the phone says that it has {} bytes", before.size)));
        }
        let mut file = opened.map_err(|error| not_opened(error, &before))?;
        let receiving = self.sink.receive();
        self.read_to_end(&mut file, before.size, |piece| receiving.write(piece)).await?;
        let (closed, after) = tokio::join!(file.close(), self.afc.file_info(path));
        closed?;
        let after = after?;
        let identity = |info: &FileInfo| (info.kind, info.size, info.mtime_ns, info.birthtime_ns);
        if identity(&after) != identity(&before) {
            return Err(Trouble::Again("it changed while it was read".to_owned()));
        }
        let staged = receiving.finish(path, before.mtime_ns).await.ok_or(Trouble::Disk)?;
        assert_eq!(staged.size, before.size, "every read was compared with what was asked");
        Ok((before, staged))
    }

    /// Reads `size` bytes with several reads on their way. One that is shorter than asked is trouble.
    async fn read_to_end(
        self,
        file: &mut File,
        size: u64,
        take: impl Fn(crate::afc::Piece),
    ) -> Result<(), Trouble> {
        let (asked, mut answers) = mpsc::channel(CHUNKS_AHEAD);
        let ask = async move {
            let mut at = 0;
            while at < size {
                let count = CHUNK_BYTES.min(size - at);
                let read = file.ask_read(u32::try_from(count).expect("at most a chunk")).await?;
                at += count;
                if asked.send((count, read)).await.is_err() {
                    break;
                }
            }
            Ok::<_, Trouble>(())
        };
        let answer = async {
            while let Some((count, read)) = answers.recv().await {
                let piece = read.piece().await?;
                self.received.fetch_add(piece.len() as u64, Ordering::Relaxed);
                if piece.len() as u64 != count {
                    return Err(Trouble::Again("the phone sent less than the file's length".to_owned()));
                }
                take(piece);
            }
            Ok(())
        };
        tokio::try_join!(ask, answer).map(drop)
    }
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
    };
    Ready { path: item.file.path.clone(), entry, staged }
}
