//! Writes files into the new folder, with their dates, and keeps the list of dates.

use std::collections::HashSet;
use std::fs::{self, File, FileTimes};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Error;

/// The folder being made.
pub(super) struct Folder {
    root: PathBuf,
    times: BufWriter<File>,
    made: HashSet<PathBuf>,
    media_files: u64,
    media_bytes: u64,
}

/// When a file was born and last changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) born: Timestamp,
    pub(super) changed: Timestamp,
}

impl From<Timestamp> for Times {
    fn from(at: Timestamp) -> Self {
        Self { born: at, changed: at }
    }
}

impl Folder {
    /// A new folder at `root`.
    pub(super) fn create(root: &Path) -> Result<Self, Error> {
        let io = |error| Error::Io { path: root.to_owned(), error };
        fs::create_dir_all(root).map_err(io)?;
        if fs::read_dir(root).map_err(io)?.next().is_some() {
            return Err(Error::NotEmpty(root.to_owned()));
        }
        let path = root.join("media.times");
        let times = File::create_new(&path).map_err(|error| Error::Io { path, error })?;
        Ok(Self {
            root: root.to_owned(),
            times: BufWriter::new(times),
            made: HashSet::new(),
            media_files: 0,
            media_bytes: 0,
        })
    }

    /// Where `path` (relative, `/` between its parts) is on this machine; its folders are made.
    pub(super) fn place(&mut self, path: &str) -> Result<PathBuf, Error> {
        let full = self.root.join(path);
        let parent = full.parent().unwrap_or(&self.root).to_owned();
        if !self.made.contains(&parent) {
            fs::create_dir_all(&parent).map_err(|error| Error::Io { path: parent.clone(), error })?;
            self.made.insert(parent);
        }
        Ok(full)
    }

    /// An empty folder.
    pub(super) fn directory(&mut self, path: &str) -> Result<(), Error> {
        self.place(&format!("{path}/x")).map(drop)
    }

    /// Writes a file in pieces and returns its length in bytes.
    pub(super) fn stream(
        &mut self,
        path: &str,
        times: impl Into<Times>,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<u64, Error> {
        let full = self.place(path)?;
        let io = |error| Error::Io { path: full.clone(), error };
        let mut out = BufWriter::with_capacity(128 * 1024, File::create_new(&full).map_err(io)?);
        write(&mut out).map_err(io)?;
        let file = out.into_inner().map_err(|error| io(error.into_error()))?;
        let length = file.metadata().map_err(io)?.len();
        self.date(path, &file, length, times.into())?;
        Ok(length)
    }

    /// Writes a whole file.
    pub(super) fn file(&mut self, path: &str, times: impl Into<Times>, bytes: &[u8]) -> Result<u64, Error> {
        self.stream(path, times, |out| out.write_all(bytes))
    }

    /// Writes a property list, in binary as iOS does.
    pub(super) fn binary_plist(
        &mut self,
        path: &str,
        times: impl Into<Times>,
        value: &plist::Value,
    ) -> Result<(), Error> {
        self.file(path, times, &binary(value)).map(drop)
    }

    /// Writes a property list as XML.
    pub(super) fn xml_plist(
        &mut self,
        path: &str,
        times: impl Into<Times>,
        value: &plist::Value,
    ) -> Result<(), Error> {
        let mut bytes = Vec::new();
        plist::to_writer_xml(&mut bytes, value).expect("memory takes a property list");
        bytes.push(b'\n');
        self.file(path, times, &bytes).map(drop)
    }

    /// Gives its dates to a file that somebody else wrote (SQLite), and counts it.
    pub(super) fn adopt(&mut self, path: &str, times: impl Into<Times>) -> Result<(), Error> {
        let full = self.root.join(path);
        let io = |error| Error::Io { path: full.clone(), error };
        let file = File::options().write(true).open(&full).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        self.date(path, &file, length, times.into())
    }

    /// All is written; returns the files and bytes below `media/`.
    pub(super) fn finish(mut self) -> Result<(u64, u64), Error> {
        self.times.flush().map_err(|error| Error::Io { path: self.root.join("media.times"), error })?;
        Ok((self.media_files, self.media_bytes))
    }

    fn date(&mut self, path: &str, file: &File, length: u64, times: Times) -> Result<(), Error> {
        let io = |error| Error::Io { path: self.root.join(path), error };
        file.set_times(FileTimes::new().set_modified(times.changed.into())).map_err(io)?;
        if let Some(inside) = path.strip_prefix("media/") {
            self.media_files += 1;
            self.media_bytes += length;
            let line = serde_json::json!({
                "path": inside,
                "mtime": times.changed.to_string(),
                "birthtime": times.born.to_string(),
            });
            writeln!(self.times, "{line}").map_err(io)?;
        }
        Ok(())
    }
}

/// A property list in binary.
pub(super) fn binary(value: &plist::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    plist::to_writer_binary(&mut bytes, value).expect("memory takes a property list");
    bytes
}
