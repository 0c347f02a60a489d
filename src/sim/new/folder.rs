//! Writes files into the new folder, with their dates, and keeps the list of dates.

use std::collections::HashSet;
use std::fs::{self, File, FileTimes};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Error;
use super::pictures::Sink;

/// Below `media/`: where a phone keeps its owner's pictures and what belongs to them.
const PICTURES: [&str; 4] =
    ["DCIM/", "PhotoData/CPLAssets/", "PhotoData/Mutations/", "PhotoData/PhotoCloudSharingData/"];
/// So much of a file is collected before it is written.
const BUFFER_BYTES: usize = 256 * 1024;

/// The folder being made.
pub(super) struct Folder {
    root: PathBuf,
    times: BufWriter<File>,
    made: HashSet<String>,
    /// One for all files: most are smaller than it.
    buffer: Vec<u8>,
    written: Written,
}

/// What lies below `media/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) picture_files: u64,
    pub(super) picture_bytes: u64,
}

/// A file being written.
struct Output<'a> {
    file: &'a File,
    buffer: &'a mut Vec<u8>,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            return self.file.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Sink for Output<'_> {
    fn hole(&mut self, bytes: u64) -> io::Result<()> {
        self.flush()?;
        let ahead = i64::try_from(bytes).map_err(io::Error::other)?;
        self.file.seek(SeekFrom::Current(ahead)).map(drop)
    }
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
            buffer: Vec::with_capacity(BUFFER_BYTES),
            written: Written::default(),
        })
    }

    /// Where `path` (relative, `/` between its parts) is on this machine; its folders are made.
    pub(super) fn place(&mut self, path: &str) -> Result<PathBuf, Error> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if !self.made.contains(parent) {
            let full = self.root.join(parent);
            // Most often only the last part is new.
            if fs::create_dir(&full).is_err() {
                fs::create_dir_all(&full).map_err(|error| Error::Io { path: full, error })?;
            }
            self.made.insert(parent.to_owned());
        }
        Ok(self.root.join(path))
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
        write: impl FnOnce(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<u64, Error> {
        let full = self.place(path)?;
        let io = |error| Error::Io { path: full.clone(), error };
        let mut file = File::create_new(&full).map_err(io)?;
        self.buffer.clear();
        let mut out = Output { file: &file, buffer: &mut self.buffer };
        write(&mut out).and_then(|()| out.flush()).map_err(io)?;
        let length = file.stream_position().map_err(io)?;
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

    /// All is written; returns what is below `media/`.
    pub(super) fn finish(mut self) -> Result<Written, Error> {
        self.times.flush().map_err(|error| Error::Io { path: self.root.join("media.times"), error })?;
        Ok(self.written)
    }

    fn date(&mut self, path: &str, file: &File, length: u64, times: Times) -> Result<(), Error> {
        let io = |error| Error::Io { path: self.root.join(path), error };
        file.set_times(FileTimes::new().set_modified(times.changed.into())).map_err(io)?;
        if let Some(inside) = path.strip_prefix("media/") {
            self.written.files += 1;
            self.written.bytes += length;
            if PICTURES.iter().any(|folder| inside.starts_with(folder)) {
                self.written.picture_files += 1;
                self.written.picture_bytes += length;
            }
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
