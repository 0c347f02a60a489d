//! What lies in a folder of downloads: pictures that may be originals, and the lists that come with them. No link is
//! followed, and a folder that never ends is given up.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, MetadataExt};

use super::details::Details;
use crate::progress::CancellationToken;

/// Folders inside folders that are looked into.
const DEPTH_MAX: usize = 32;
/// More files than any download has.
const FILES_MAX: usize = 2_000_000;
/// How much of lists is read, all together, in bytes: about 500,000 lines.
const LIST_BYTES_MAX: u64 = 64 << 20;
/// Endings of what is no original: lists, sidecars, archives, what systems leave behind.
const NO_PICTURES: [&str; 22] = [
    "csv", "json", "xml", "txt", "html", "htm", "md", "pdf", "plist", "aae", "xmp", "ini", "db", "log",
    "url", "vcf", "zip", "tar", "gz", "7z", "dmg", "part",
];

/// A file that may be an original.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Below the folder.
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) mtime_ns: i64,
}

impl Candidate {
    /// For people and JSON.
    pub(super) fn shown(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Its name without folders, as text.
    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// What comes behind the last dot of its name.
    pub(super) fn extension(&self) -> String {
        self.path.extension().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The folder it is in.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// By path.
    pub(super) candidates: Vec<Candidate>,
    /// What could not be looked at, with the reason.
    pub(super) unread: Vec<(String, String)>,
    pub(super) no_pictures: u64,
    pub(super) details: Details,
    /// Bytes of lists that were read.
    list_bytes: u64,
}

/// Looks through `folder`. [`io::ErrorKind::Interrupted`] when cancelled.
pub(super) fn scan(folder: &Dir, cancel: &CancellationToken) -> io::Result<Scanned> {
    let mut scanned = Scanned::default();
    let mut left = vec![(PathBuf::new(), 0)];
    let mut files = 0;
    while let Some((path, depth)) = left.pop() {
        let top = path.as_os_str().is_empty();
        // Opened when its turn comes: a download may have more folders than a program may have open.
        let opened = if top { folder.try_clone() } else { folder.open_dir_nofollow(&path) };
        let (dir, entries) = match opened.and_then(|dir| Ok((dir.try_clone()?, dir.entries()?))) {
            Err(error) if top => return Err(error),
            Err(error) => {
                scanned.unread(&path, format!("the folder cannot be read: {error}"));
                continue;
            }
            Ok(opened) => opened,
        };
        for entry in entries {
            if cancel.is_cancelled() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let name = entry?.file_name();
            files += 1;
            if files > FILES_MAX {
                return Err(io::Error::other(format!("it holds more than {FILES_MAX} files")));
            }
            let inside = path.join(&name);
            match dir.symlink_metadata(&name) {
                Err(error) => scanned.unread(&inside, format!("it cannot be looked at: {error}")),
                Ok(metadata) if metadata.is_dir() && depth < DEPTH_MAX => {
                    left.push((inside, depth + 1));
                }
                Ok(metadata) if metadata.is_dir() => {
                    scanned.unread(&inside, "the folder lies too deep".to_owned());
                }
                Ok(metadata) if metadata.is_file() => scanned.file(&dir, &name, inside, &metadata),
                Ok(metadata) if metadata.is_symlink() => {
                    scanned.unread(&inside, "a link is not followed".to_owned());
                }
                Ok(_) => scanned.unread(&inside, "it is no plain file".to_owned()),
            }
        }
    }
    scanned.candidates.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(scanned)
}

impl Scanned {
    fn unread(&mut self, path: &Path, why: String) {
        self.unread.push((path.to_string_lossy().into_owned(), why));
    }

    fn file(&mut self, dir: &Dir, name: &OsStr, path: PathBuf, metadata: &cap_std::fs::Metadata) {
        let text = name.to_string_lossy();
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if text.starts_with('.') || NO_PICTURES.contains(&extension.as_str()) {
            self.no_pictures += 1;
            let lower = text.to_lowercase();
            if lower.starts_with("photo details")
                && extension == "csv"
                && let Err(error) = self.list(dir, name, &path)
            {
                self.unread(&path, format!("the list cannot be read: {error}"));
            }
            return;
        }
        let mtime_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        self.candidates.push(Candidate { path, size: metadata.len(), mtime_ns });
    }

    fn list(&mut self, dir: &Dir, name: &OsStr, path: &Path) -> io::Result<()> {
        let file = super::open(dir, &PathBuf::from(name))?;
        let mut bytes = Vec::new();
        let room = LIST_BYTES_MAX - self.list_bytes;
        file.take(room + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > room {
            return Err(io::Error::other("the lists are longer than any such lists"));
        }
        self.list_bytes += bytes.len() as u64;
        self.details.add(path.parent().unwrap_or(Path::new("")), &String::from_utf8_lossy(&bytes));
        Ok(())
    }
}
