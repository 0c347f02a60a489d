//! The originals that are only in iCloud, as their owner gets them from privacy.apple.com: the files under their original
//! names, and a `Photo Details.csv` that names each with its fingerprint.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Error;
use super::assets::Asset;
use super::pictures::Sink;
use crate::facts::{Fingerprint, Fingerprinting};

/// The list beside them.
const DETAILS: &str = "Photo Details.csv";

/// A file's length in bytes and its fingerprint; none for one with holes, which are never read.
pub(super) type Made = (u64, Option<Fingerprint>);

/// The folder that they go to.
pub(super) struct Originals {
    root: PathBuf,
    /// How often a name was used: a camera counts to 9999 and begins again.
    names: HashMap<String, u32>,
    /// Name, fingerprint and the asset's own name of each file.
    written: Vec<(String, Option<Fingerprint>, String)>,
}

impl Originals {
    /// A new folder.
    pub(super) fn create(root: &Path) -> Result<Self, Error> {
        let io = |error| Error::Io { path: root.to_owned(), error };
        fs::create_dir_all(root).map_err(io)?;
        if fs::read_dir(root).map_err(io)?.next().is_some() {
            return Err(Error::NotEmpty(root.to_owned()));
        }
        Ok(Self { root: root.to_owned(), names: HashMap::new(), written: Vec::new() })
    }

    /// Writes one original, or the clip or RAW beside it.
    pub(super) fn write(
        &mut self,
        asset: &Asset,
        extension: &str,
        write: impl FnOnce(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<Made, Error> {
        let stem =
            asset.original_name.rsplit_once('.').map_or(asset.original_name.as_str(), |(stem, _)| stem);
        let mut name = format!("{stem}.{extension}");
        let used = self.names.entry(name.clone()).or_default();
        *used += 1;
        if *used > 1 {
            name = format!("{stem} ({used}).{extension}");
        }
        let path = self.root.join(&name);
        let io = |error| Error::Io { path: path.clone(), error };
        let mut out = Plain(BufWriter::new(File::create_new(&path).map_err(io)?));
        let made = measure(&mut out, write).map_err(io)?;
        out.0.flush().map_err(io)?;
        self.written.push((name, made.1, asset.uuid.clone()));
        Ok(made)
    }

    /// Writes the list, and returns how many there are.
    pub(super) fn finish(self, assets: &[Asset]) -> Result<u64, Error> {
        let path = self.root.join(DETAILS);
        let by_uuid: HashMap<&str, &Asset> =
            assets.iter().map(|asset| (asset.uuid.as_str(), asset)).collect();
        let mut list =
            "imgName,fileChecksum,favorite,hidden,deleted,originalCreationDate,viewCount,importDate\n"
                .to_owned();
        for (name, fingerprint, uuid) in &self.written {
            let asset = by_uuid[uuid.as_str()];
            let print = fingerprint.map(|print| print.to_string()).unwrap_or_default();
            let word = |yes: bool| if yes { "yes" } else { "no" };
            let date = |at: jiff::Timestamp| at.strftime("%A %B %-d,%Y %-I:%M %p GMT").to_string();
            list.push_str(&format!(
                "{name},{print},{},{},no,\"{}\",0,\"{}\"\n",
                word(asset.favourite),
                word(asset.hidden),
                date(asset.created),
                date(asset.added)
            ));
        }
        fs::write(&path, list).map_err(|error| Error::Io { path, error })?;
        Ok(self.written.len() as u64)
    }
}

/// What `write` writes to `out`: how long it is, and its fingerprint.
pub(super) fn measure(
    out: &mut dyn Sink,
    write: impl FnOnce(&mut dyn Sink) -> io::Result<()>,
) -> io::Result<Made> {
    let mut measured = Measured { out, bytes: 0, taking: Some(Fingerprinting::default()) };
    write(&mut measured)?;
    Ok((measured.bytes, measured.taking.map(Fingerprinting::finish)))
}

struct Measured<'a> {
    out: &'a mut dyn Sink,
    bytes: u64,
    taking: Option<Fingerprinting>,
}

impl Write for Measured<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        if let Some(taking) = &mut self.taking {
            taking.update(&bytes[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Sink for Measured<'_> {
    fn hole(&mut self, bytes: u64) -> io::Result<()> {
        self.bytes += bytes;
        self.taking = None;
        self.out.hole(bytes)
    }
}

/// Keeps nothing.
pub(super) struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Nowhere {
    fn hole(&mut self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}

/// A file of its own; holes are written out, since these files go elsewhere.
struct Plain(BufWriter<File>);

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Plain {
    fn hole(&mut self, bytes: u64) -> io::Result<()> {
        io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut self.0).map(drop)
    }
}
