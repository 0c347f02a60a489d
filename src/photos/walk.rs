//! What there is to copy: a walk over the phone's folders of photos, with many questions in flight.
//!
//! Every name is hostile until shown otherwise. What cannot be read is listed with its reason and never ends the walk;
//! links are listed, not followed, so no cycle exists; depth, number and the bytes of all paths are bounded, and so is
//! the memory that a phone can make the walk take.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::afc::{Afc, Cause, Dial, Error, FileInfo, Kind, Pacing, Settings, Status};
use crate::facts::path::{COMPONENTS_MAX, PATH_BYTES_MAX, is_clean_component};
use crate::facts::{MediaFile, MediaListing};
use crate::progress::CancellationToken;

/// Where originals, edits, sidecars and shared albums are.
const ROOTS: [&str; 4] =
    ["DCIM", "PhotoData/CPLAssets", "PhotoData/Mutations", "PhotoData/PhotoCloudSharingData"];

/// Files and folders that are looked at; what is beyond is listed as not seen.
const ENTRIES_MAX: usize = 1_000_000;

/// Bytes of all their paths together. A real one has some 40; a phone that gives each file the longest that there is
/// would otherwise fill a gigabyte.
const ALL_PATHS_BYTES_MAX: usize = 128 << 20;

/// Refusals that are listed one by one.
const REFUSED_MAX: usize = 10_000;

/// Questions that wait for their turn on the connection. The connection itself decides how many are in flight.
const QUESTIONS: usize = 256;

/// Walks the phone's folders of photos.
///
/// # Errors
/// Only a dead connection (also when `cancel` made it so). What the phone refuses is in the listing.
pub async fn walk(afc: &Afc, cancel: &CancellationToken) -> Result<MediaListing, Error> {
    let mut walk = Walk::default();
    for root in ROOTS {
        walk.waiting.push_back(Visit { path: root.to_owned(), is_root: true });
    }
    let mut asked = FuturesUnordered::new();
    loop {
        while asked.len() < QUESTIONS {
            let Some(visit) = walk.waiting.pop_front() else { break };
            asked.push(look(afc, visit));
        }
        let seen = tokio::select! {
            seen = asked.next() => seen,
            () = cancel.cancelled() => return Err(given_up()),
        };
        match seen {
            Some(seen) => walk.take(seen?),
            None => return Ok(walk.finish()),
        }
    }
}

/// [`walk`] over a connection of its own; where the phone turned out to dislike several requests in flight, once more
/// with one at a time.
///
/// # Errors
/// A connection that could not be made, or died in spite of that.
pub async fn walk_anew(
    dial: &dyn Dial,
    pacing: &Arc<Pacing>,
    cancel: &CancellationToken,
) -> Result<MediaListing, Error> {
    loop {
        let trusted = pacing.ceiling();
        let settings = Settings { pacing: Arc::clone(pacing), ..Settings::default() };
        let afc = Afc::dial(dial, settings).await?;
        match walk(&afc, cancel).await {
            Err(error) if error.broken().is_some() && pacing.ceiling() < trusted => {}
            other => return other,
        }
    }
}

fn given_up() -> Error {
    Error::Broken {
        operation: crate::afc::Operation::ReadDir,
        path: "".into(),
        cause: Arc::new(Cause::GivenUp),
    }
}

struct Visit {
    path: String,
    is_root: bool,
}

/// What was seen at a path.
enum Seen {
    File(MediaFile),
    Folder {
        path: String,
        names: Vec<String>,
    },
    /// With names in a folder that nothing can have.
    Unusable {
        path: String,
        names: Vec<String>,
        unusable: Vec<(String, &'static str)>,
    },
    Refused {
        path: String,
        why: String,
    },
    /// A folder of photos that this phone does not have.
    Absent,
}

async fn look(afc: &Afc, visit: Visit) -> Result<Seen, Error> {
    let Visit { path, is_root } = visit;
    let info = match afc.file_info(&path).await {
        Ok(info) => info,
        Err(error) => return said_no(error, path, is_root),
    };
    match info.kind {
        Kind::File => Ok(Seen::File(file(path, &info))),
        Kind::Link => Ok(Seen::Refused { path, why: "it is a link; links are not followed".into() }),
        Kind::Special => Ok(Seen::Refused { path, why: "it is neither a file nor a folder".into() }),
        Kind::Directory => match afc.read_dir(&path).await {
            Ok(found) if found.unusable.is_empty() => Ok(Seen::Folder { path, names: found.names }),
            Ok(found) => Ok(Seen::Unusable { path, names: found.names, unusable: found.unusable }),
            Err(error) => said_no(error, path, false),
        },
    }
}

fn file(path: String, info: &FileInfo) -> MediaFile {
    MediaFile { path, size: info.size, mtime_ns: info.mtime_ns, birthtime_ns: info.birthtime_ns }
}

/// A refusal is something seen; a dead connection is an error.
fn said_no(error: Error, path: String, is_root: bool) -> Result<Seen, Error> {
    match &error {
        Error::Broken { .. } => Err(error),
        Error::Status { status: Status::NotFound, .. } if is_root => Ok(Seen::Absent),
        other => Ok(Seen::Refused { path, why: reason(other) }),
    }
}

/// Why something could not be read, in plain words.
pub(super) fn reason(error: &Error) -> String {
    match error.status() {
        Some(Status::PermissionDenied) => "the phone does not allow reading it (AFC status 10)".to_owned(),
        Some(Status::NotFound) => "it was gone when it was to be read (AFC status 8)".to_owned(),
        Some(status) => format!("the phone did not let it be read: {status}"),
        None => match error {
            Error::Unreadable { .. } => "what the phone says about it cannot be understood".to_owned(),
            Error::UnsendablePath { .. } => "its path is no path".to_owned(),
            other => crate::facts::text::plain(&other.to_string()),
        },
    }
}

#[derive(Default)]
struct Walk {
    waiting: VecDeque<Visit>,
    listing: MediaListing,
    entries: usize,
    path_bytes: usize,
    not_listed: usize,
}

impl Walk {
    fn take(&mut self, seen: Seen) {
        match seen {
            Seen::File(file) => self.listing.files.push(file),
            Seen::Refused { path, why } => self.refuse(path, why),
            Seen::Folder { path, names } => self.enter(&path, names),
            Seen::Unusable { path, names, unusable } => {
                for (name, why) in unusable {
                    self.refuse(format!("{path}/{name}"), why.to_owned());
                }
                self.enter(&path, names);
            }
            Seen::Absent => {}
        }
    }

    fn enter(&mut self, folder: &str, names: Vec<String>) {
        if folder.split('/').count() >= COMPONENTS_MAX {
            return self.refuse(folder.to_owned(), "it lies too deep".to_owned());
        }
        for name in names {
            if self.entries >= ENTRIES_MAX {
                let why = format!("only the first {ENTRIES_MAX} files and folders are looked at");
                return self.refuse(folder.to_owned(), why);
            }
            let path = format!("{folder}/{name}");
            if self.path_bytes + path.len() > ALL_PATHS_BYTES_MAX {
                let why = format!("only {ALL_PATHS_BYTES_MAX} bytes of paths are looked at");
                return self.refuse(folder.to_owned(), why);
            }
            self.entries += 1;
            self.path_bytes += path.len();
            if !is_clean_component(&name) {
                self.refuse(path, "its name holds control characters".to_owned());
            } else if path.len() > PATH_BYTES_MAX {
                self.refuse(path, "its path is longer than 1024 bytes".to_owned());
            } else {
                self.waiting.push_back(Visit { path, is_root: false });
            }
        }
    }

    fn refuse(&mut self, path: String, why: String) {
        if self.listing.refused.len() < REFUSED_MAX {
            self.listing.refused.push((path, why));
        } else {
            self.not_listed += 1;
        }
    }

    fn finish(mut self) -> MediaListing {
        if self.not_listed > 0 {
            let why = format!("{} more could not be read and are not listed", self.not_listed);
            self.listing.refused.push((String::new(), why));
        }
        self.listing.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.listing.files.dedup_by(|a, b| a.path == b.path);
        self.listing.refused.sort();
        self.listing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_of_a_walk_take_a_bounded_amount_of_memory() {
        let mut walk = Walk::default();
        let folder = format!("DCIM/{}", "x".repeat(900));
        let names = || (0..10_000).map(|n| format!("{n:0>100}")).collect();
        for _ in 0..14 {
            walk.enter(&folder, names());
        }
        let held: usize = walk.waiting.iter().map(|visit| visit.path.len()).sum();
        assert!((ALL_PATHS_BYTES_MAX - 2048..=ALL_PATHS_BYTES_MAX).contains(&held), "{held}");
        let (refused, why) = &walk.listing.refused[0];
        assert!(*refused == folder && why.contains("bytes of paths"), "{why}");
        assert!(walk.entries < ENTRIES_MAX);
    }
}
