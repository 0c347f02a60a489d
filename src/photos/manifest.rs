//! `photos.manifest`: what the copy holds. JSON, one object a line; the first names the schema and the phone; a later
//! line for a path replaces an earlier one.
//!
//! A line is written only after the bytes it names are durable. A crash can tear the last line: it is cut off when the
//! manifest is opened for writing. A line in the middle that cannot be read names nothing, so its file is copied again.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use cap_std::fs::File;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest_of_hex;
use super::known::{Known, Said};
use super::names::local_path;
use super::store::PHOTOS;
use crate::facts::ResourceKind;
use crate::facts::path::is_clean_relative;
use crate::usbmux::Udid;

/// What the first line says.
pub(super) const SCHEMA: &str = "idevice-fix/photos-manifest/1";

/// The longest manifest that is read: ten million lines.
const BYTES_MAX: u64 = 4 << 30;

/// The longest line that names anything: a path has 1024 bytes at most. The file is read line by line, so this and what
/// it says bound the memory.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Where a file of the copy came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The phone, over AFC.
    Afc,
    /// A local backup of the phone.
    Backup,
    /// The owner's own download.
    Adopted,
}

/// A file of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of what was received.
    pub sha256: [u8; 32],
    /// The phone's modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// The phone's birth time, nanoseconds since 1970.
    pub birthtime_ns: i64,
    /// Where it came from.
    pub source: Source,
    /// Its container is structurally whole (`true` also for kinds without a check).
    pub whole: bool,
    /// The library's name of its asset, where it was known.
    pub asset: Option<String>,
    /// Which of the asset's originals it is: said of what was adopted, since its path does not tell.
    pub part: Option<ResourceKind>,
    /// A later look at the copy found it damaged: how. Such a file counts as not copied.
    pub damaged: Option<String>,
    /// In Recently Deleted, and since when where that is noted.
    pub trashed: Option<Option<Timestamp>>,
    /// Where it is below `photos/`, when this computer cannot hold it under its own name.
    pub stored_as: Option<String>,
}

impl Entry {
    /// Where the file of the phone's `path` is, in the device's folder.
    #[must_use]
    pub fn local(&self, path: &str) -> String {
        match &self.stored_as {
            Some(stored_as) => format!("{PHOTOS}/{stored_as}"),
            None => format!("{PHOTOS}/{}", local_path(path)),
        }
    }
}

/// One line. What stands in it says what it is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udid: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime_ns: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    birthtime_ns: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<ResourceKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_as: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recently_deleted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_as: Option<String>,
}

/// Something to note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// The copy holds this file.
    Copied(String, Entry),
    /// This could not be copied, and why.
    Refused(String, String),
    /// This was found damaged, and how.
    Damaged(String, String),
    /// An older file of this path was kept under another name.
    Kept(String, String),
    /// The owner deleted it, or took it back: whether and since when it is in Recently Deleted.
    Trashed(String, Option<Option<Timestamp>>),
}

impl Note {
    fn line(&self) -> Line {
        match self {
            Note::Copied(path, entry) => Line {
                path: path.clone(),
                size: Some(entry.size),
                sha256: Some(hex::encode(entry.sha256)),
                mtime_ns: Some(entry.mtime_ns),
                birthtime_ns: Some(entry.birthtime_ns),
                source: Some(entry.source),
                whole: Some(entry.whole),
                asset: entry.asset.clone(),
                part: entry.part,
                recently_deleted: entry.trashed.map(|_| true),
                deleted_at: entry.trashed.flatten(),
                stored_as: entry.stored_as.clone(),
                ..Line::default()
            },
            Note::Refused(path, why) => {
                Line { path: path.clone(), refused: Some(why.clone()), ..Line::default() }
            }
            Note::Damaged(path, how) => {
                Line { path: path.clone(), damaged: Some(how.clone()), ..Line::default() }
            }
            Note::Kept(path, name) => {
                Line { path: path.clone(), kept_as: Some(name.clone()), ..Line::default() }
            }
            Note::Trashed(path, trashed) => Line {
                path: path.clone(),
                recently_deleted: Some(trashed.is_some()),
                deleted_at: trashed.flatten(),
                ..Line::default()
            },
        }
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Foreign(String),
}

/// Every file of the copy, by the phone's path. Whoever goes through all of them shares them: a copy may have a million.
pub(super) type Entries = HashMap<Arc<str>, Arc<Entry>>;

/// What the copy holds, and the file that says so.
#[derive(Debug)]
pub(super) struct Manifest {
    file: File,
    said: Said,
}

impl Manifest {
    /// Reads the manifest of `udid`, if it is not `known`; with `writable`, makes an empty one whole and cuts a torn tail
    /// off.
    pub(super) fn open(file: File, udid: &Udid, writable: bool, known: &Known) -> Result<Self, Unusable> {
        if file.metadata()?.len() > BYTES_MAX {
            return Err(Unusable::Foreign("the manifest is larger than any can be".to_owned()));
        }
        let mut manifest = Self { file, said: Said::default() };
        let sha256 = manifest.sha256_to(u64::MAX)?;
        if let Some(said) = known.said(udid, &sha256) {
            manifest.said = said;
        } else {
            manifest.file.seek(SeekFrom::Start(0))?;
            let lines = BufReader::with_capacity(1 << 16, manifest.file.try_clone()?);
            manifest.read_lines(lines, udid)?;
            known.keep(udid, sha256, &manifest.said);
        }
        if writable {
            manifest.file.set_len(manifest.said.length)?;
            manifest.file.seek(SeekFrom::End(0))?;
            if manifest.said.length == 0 {
                let first =
                    Line { schema: Some(SCHEMA.into()), udid: Some(udid.to_string()), ..Line::default() };
                manifest.write(&[first])?;
            }
        }
        Ok(manifest)
    }

    fn read_lines(&mut self, mut from: impl BufRead, udid: &Udid) -> Result<(), Unusable> {
        let (mut line, mut is_first) = (Vec::new(), true);
        while let Some(bytes) = next_line(&mut from, &mut line)? {
            self.said.length += bytes;
            if line == b"\n" {
                continue;
            }
            if std::mem::take(&mut is_first) {
                is_ours(&line, udid)?;
                continue;
            }
            match serde_json::from_slice(&line).ok().and_then(understand) {
                Some(note) => self.take(note),
                None => self.said.unreadable_lines += 1,
            }
        }
        Ok(())
    }

    fn take(&mut self, note: Note) {
        match note {
            Note::Copied(path, entry) => {
                self.said.refused.remove(&path);
                self.said.entries.insert(path.into(), Arc::new(entry));
            }
            Note::Refused(path, why) => {
                self.said.refused.insert(path, why);
            }
            Note::Damaged(path, how) => {
                if let Some(entry) = self.said.entries.get_mut(path.as_str()) {
                    Arc::make_mut(entry).damaged = Some(how);
                }
            }
            Note::Kept(..) => {}
            Note::Trashed(path, trashed) => {
                if let Some(entry) = self.said.entries.get_mut(path.as_str()) {
                    Arc::make_mut(entry).trashed = trashed;
                }
            }
        }
    }

    /// Adds notes, durable when this returns. On an error none of them counts, and the file is as it was.
    pub(super) fn add(&mut self, notes: Vec<Note>) -> io::Result<()> {
        if notes.is_empty() {
            return Ok(());
        }
        let lines: Vec<Line> = notes.iter().map(Note::line).collect();
        self.write(&lines)?;
        for note in notes {
            self.take(note);
        }
        Ok(())
    }

    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What was written of it would be taken for a torn tail, but only if it is the last.
            let _ = self.file.set_len(self.said.length);
            let _ = self.file.seek(SeekFrom::Start(self.said.length));
            return Err(error);
        }
        self.said.length += bytes.len() as u64;
        Ok(())
    }

    /// Every file of the copy, by the phone's path.
    pub(super) fn entries(&self) -> &Entries {
        &self.said.entries
    }

    /// What was refused last time it was tried, with the reason.
    pub(super) fn refused(&self) -> &HashMap<String, String> {
        &self.said.refused
    }

    /// Lines that could not be read.
    pub(super) fn unreadable_lines(&self) -> u64 {
        self.said.unreadable_lines
    }

    /// SHA-256 of the whole lines as they are on the disk.
    pub(super) fn sha256(&mut self) -> io::Result<[u8; 32]> {
        let sha256 = self.sha256_to(self.said.length)?;
        self.file.seek(SeekFrom::Start(self.said.length))?;
        Ok(sha256)
    }

    /// SHA-256 of the first `left` bytes, or of all of the file if `left` is the largest number.
    fn sha256_to(&mut self, mut left: u64) -> io::Result<[u8; 32]> {
        let all = left == u64::MAX;
        let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        self.file.seek(SeekFrom::Start(0))?;
        let mut block = vec![0; 1 << 16];
        while left > 0 {
            let most = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = self.file.read(&mut block[..most])?;
            match read {
                0 if all => break,
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => hash.update(&block[..read]),
            }
            left -= read as u64;
        }
        Ok(super::digest(hash))
    }
}

/// Reads the next line into `line` and gives its bytes; `None` at the end, and for a last line without its end: that one
/// is torn. Of a line that is too long nothing comes but its bytes.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
    let (mut bytes, mut too_long) = (0, false);
    loop {
        line.clear();
        let read = from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line)?;
        bytes += read as u64;
        if line.ends_with(b"\n") {
            if too_long {
                line.clear();
            }
            return Ok(Some(bytes));
        }
        if read == 0 {
            return Ok(None);
        }
        too_long = true;
    }
}

/// Whether the first line is that of a manifest of `udid`.
fn is_ours(first: &[u8], udid: &Udid) -> Result<(), Unusable> {
    let first: Line = serde_json::from_slice(first).unwrap_or_default();
    match first.schema.as_deref() {
        Some(SCHEMA) => {}
        Some(other) => {
            let other = crate::facts::text::plain(other);
            return Err(Unusable::Foreign(format!("the manifest has the schema {other:?}, not {SCHEMA:?}")));
        }
        None => return Err(Unusable::Foreign("the manifest does not begin with its schema".to_owned())),
    }
    if first.udid.as_deref() != Some(udid.as_str()) {
        return Err(Unusable::Foreign("the manifest is that of another device".to_owned()));
    }
    Ok(())
}

/// What a line notes; `None` for one that notes nothing we know.
fn understand(line: Line) -> Option<Note> {
    if !is_clean_relative(&line.path) {
        return line.refused.map(|why| Note::Refused(line.path, why));
    }
    if let Some(why) = line.refused {
        return Some(Note::Refused(line.path, why));
    }
    if let Some(how) = line.damaged {
        return Some(Note::Damaged(line.path, how));
    }
    if let Some(name) = line.kept_as {
        return Some(Note::Kept(line.path, name));
    }
    let trashed = line.recently_deleted.filter(|is| *is).map(|_| line.deleted_at);
    if line.sha256.is_none() && line.recently_deleted.is_some() {
        return Some(Note::Trashed(line.path, trashed));
    }
    if line.stored_as.as_deref().is_some_and(|stored_as| !is_clean_relative(stored_as)) {
        return None;
    }
    let sha256 = digest_of_hex(&line.sha256?)?;
    let entry = Entry {
        size: line.size?,
        sha256,
        mtime_ns: line.mtime_ns?,
        birthtime_ns: line.birthtime_ns?,
        source: line.source?,
        whole: line.whole?,
        asset: line.asset,
        part: line.part,
        damaged: None,
        trashed,
        stored_as: line.stored_as,
    };
    Some(Note::Copied(line.path, entry))
}

#[cfg(test)]
mod tests {
    use cap_std::fs::{Dir, OpenOptions};

    use super::*;

    const UDID: &str = "00008101-000000000000001E";

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn open(&self) -> Result<Manifest, Unusable> {
            let dir = Dir::open_ambient_dir(self.0.path(), cap_std::ambient_authority()).unwrap();
            let file = dir.open_with("m", OpenOptions::new().read(true).write(true).create(true)).unwrap();
            Manifest::open(file, &Udid::parse(UDID).unwrap(), true, &Known::default())
        }

        fn bytes(&self) -> Vec<u8> {
            std::fs::read(self.0.path().join("m")).unwrap()
        }
    }

    fn entry(n: u8) -> Entry {
        Entry {
            size: 5,
            sha256: [n; 32],
            mtime_ns: -3,
            birthtime_ns: 4,
            source: Source::Afc,
            whole: true,
            asset: Some("A".into()),
            part: Some(ResourceKind::LiveVideo),
            damaged: None,
            trashed: Some(None),
            stored_as: Some("a%~1".into()),
        }
    }

    #[test]
    fn a_later_line_wins_and_everything_comes_back() {
        let place = Place::new();
        let mut manifest = place.open().unwrap();
        manifest.add(vec![Note::Refused("b".into(), "no".into())]).unwrap();
        manifest
            .add(vec![
                Note::Copied("a".into(), entry(1)),
                Note::Copied("a".into(), entry(2)),
                Note::Copied("b".into(), entry(3)),
                Note::Copied("c".into(), entry(4)),
                Note::Damaged("c".into(), "gone".into()),
            ])
            .unwrap();
        let mut again = place.open().unwrap();
        assert_eq!(again.entries().len(), 3);
        assert_eq!(*again.entries()["a"], entry(2));
        assert_eq!(again.entries()["c"].damaged.as_deref(), Some("gone"));
        assert!(again.refused().is_empty(), "what was copied later is refused no more");
        assert_eq!(again.sha256().unwrap(), manifest.sha256().unwrap());
    }

    #[test]
    fn a_manifest_torn_at_any_byte_keeps_all_lines_before() {
        let place = Place::new();
        place.open().unwrap().add(vec![Note::Copied("a".into(), entry(1))]).unwrap();
        let before = place.bytes().len();
        place.open().unwrap().add(vec![Note::Copied("b".into(), entry(2))]).unwrap();
        let bytes = place.bytes();
        for cut in before..bytes.len() {
            std::fs::write(place.0.path().join("m"), &bytes[..cut]).unwrap();
            let mut manifest = place.open().unwrap();
            assert_eq!(manifest.entries().len(), 1, "cut at {cut}");
            manifest.add(vec![Note::Copied("c".into(), entry(3))]).unwrap();
            assert_eq!(place.open().unwrap().entries().len(), 2, "cut at {cut}");
        }
        for cut in 0..=40 {
            std::fs::write(place.0.path().join("m"), &bytes[..cut]).unwrap();
            assert!(place.open().unwrap().entries().is_empty());
        }
    }

    #[test]
    fn a_line_too_long_names_nothing_and_what_follows_counts() {
        let place = Place::new();
        place.open().unwrap().add(vec![Note::Copied("a".into(), entry(1))]).unwrap();
        let whole = place.bytes();
        let again =
            String::from_utf8(whole.clone()).unwrap().lines().last().unwrap().replace("\"a\"", "\"b\"");
        // Its last piece alone would be a line.
        let most = usize::try_from(LINE_BYTES_MAX).unwrap();
        for more in [0, 1, most] {
            let long = [&vec![b' '; most + more][..], again.as_bytes(), b"\n"].concat();
            let last = format!("{}\n", again.replace("\"b\"", "\"c\""));
            let bytes = [&whole[..], &long, last.as_bytes()].concat();
            std::fs::write(place.0.path().join("m"), &bytes).unwrap();
            let manifest = place.open().unwrap();
            let mut names: Vec<_> = manifest.entries().keys().map(|path| path.to_string()).collect();
            names.sort();
            assert_eq!((names, manifest.unreadable_lines()), (vec!["a".to_owned(), "c".to_owned()], 1));
            assert_eq!(place.bytes().len(), bytes.len());
        }
    }

    #[test]
    fn anothers_manifest_is_refused_and_damage_in_the_middle_is_counted() {
        let place = Place::new();
        let first = format!("{{\"schema\":\"{SCHEMA}\",\"udid\":\"{UDID}\"}}\n");
        let hostile = "{\"path\":\"../x\",\"size\":1,\"sha256\":\"00\"}\nnoise\n";
        std::fs::write(place.0.path().join("m"), format!("{first}{hostile}")).unwrap();
        assert_eq!(place.open().unwrap().unreadable_lines(), 2);
        for bad in [first.replace("1E", "2E"), first.replace("manifest/1", "manifest/9"), "{}\n".to_owned()] {
            std::fs::write(place.0.path().join("m"), bad).unwrap();
            assert!(matches!(place.open(), Err(Unusable::Foreign(_))));
        }
    }
}
