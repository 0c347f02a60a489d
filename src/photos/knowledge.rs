//! `photos.library`: what the phone's library said of each asset when it was last read, kept beside the copy. With it
//! the copy is of use when the phone is gone: albums, original names, dates, and which originals were only in iCloud.
//!
//! JSON, one object a line: the first names the schema, the phone and the albums, each other is an asset. It is never
//! the ground of a verdict, which is always of the phone as it is now.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::OpenOptions;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::store::{Error, Store};
use crate::durable;
use crate::facts::{Album, Asset, Library};

const NAME: &str = "photos.library";
const SCHEMA: &str = "idevice-fix/photos-library/1";
/// The longest record that is read.
const BYTES_MAX: u64 = 4 << 30;
/// The longest line that is read: an asset has less than 4 KiB.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// The library as it was.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// The library was first seen like this.
    pub since: Timestamp,
    /// Its assets and albums; counts and gaps are not kept.
    pub library: Library,
}

#[derive(Serialize, Deserialize)]
struct First {
    schema: String,
    udid: String,
    since: Timestamp,
    assets: u64,
    albums: Option<Vec<Album>>,
}

impl Store {
    /// Keeps what `library` says of its assets; one that could not be read is not kept. The same again is not written
    /// again.
    ///
    /// # Errors
    /// A full disk, or what the file system said.
    pub fn remember(&self, library: &Library) -> Result<(), Error> {
        let Some(assets) = &library.assets else { return Ok(()) };
        if self.is_remembered(library.albums.as_ref(), assets).unwrap_or(false) {
            return Ok(());
        }
        let first = First {
            schema: SCHEMA.to_owned(),
            udid: self.udid().to_string(),
            since: Timestamp::now(),
            assets: assets.len() as u64,
            albums: library.albums.clone(),
        };
        let written = durable::replace(&self.device(), NAME, 0o600, |file| {
            let mut file = BufWriter::new(file);
            serde_json::to_writer(&mut file, &first)?;
            for asset in assets {
                file.write_all(b"\n")?;
                serde_json::to_writer(&mut file, asset)?;
            }
            file.write_all(b"\n")?;
            file.flush()
        });
        written.map_err(|error| Error::io("keeping what the library says", error))
    }

    /// What was kept; `None` when there is nothing that can be used.
    ///
    /// # Errors
    /// What the file system said.
    pub fn remembered(&self) -> Result<Option<Remembered>, Error> {
        match self.read_remembered() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map_err(|error| Error::io("reading what the library said", error)),
        }
    }

    fn lines(&self) -> io::Result<impl BufRead> {
        let options = OpenOptions::new().read(true).follow(FollowSymlinks::No).clone();
        let file = self.device().open_with(NAME, &options)?.into_std();
        Ok(BufReader::with_capacity(1 << 16, file.take(BYTES_MAX)))
    }

    fn first(&self, lines: &mut impl BufRead) -> io::Result<Option<First>> {
        let mut line = Vec::new();
        read_line(lines, &mut line)?;
        let first: Option<First> = serde_json::from_slice(&line).ok();
        Ok(first.filter(|first| first.schema == SCHEMA && first.udid == self.udid().as_str()))
    }

    /// What is kept is exactly this.
    fn is_remembered(&self, albums: Option<&Vec<Album>>, assets: &[Asset]) -> io::Result<bool> {
        let mut lines = self.lines()?;
        if self.first(&mut lines)?.is_none_or(|first| first.albums.as_ref() != albums) {
            return Ok(false);
        }
        let (mut line, mut wanted) = (Vec::new(), Vec::new());
        for asset in assets {
            wanted.clear();
            serde_json::to_writer(&mut wanted, asset)?;
            read_line(&mut lines, &mut line)?;
            if line != wanted {
                return Ok(false);
            }
        }
        read_line(&mut lines, &mut line)?;
        Ok(line.is_empty())
    }

    fn read_remembered(&self) -> io::Result<Option<Remembered>> {
        let mut lines = self.lines()?;
        let Some(first) = self.first(&mut lines)? else { return Ok(None) };
        let (mut line, mut assets) = (Vec::new(), Vec::new());
        loop {
            read_line(&mut lines, &mut line)?;
            if line.is_empty() {
                break;
            }
            let Ok(asset) = serde_json::from_slice::<Asset>(&line) else { return Ok(None) };
            assets.push(asset);
        }
        if assets.len() as u64 != first.assets {
            return Ok(None);
        }
        let library = Library { assets: Some(assets), albums: first.albums, ..Library::default() };
        Ok(Some(Remembered { since: first.since, library }))
    }
}

/// The next line without its end; empty at the end of the file.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    line.clear();
    lines.take(LINE_BYTES_MAX).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(())
}
