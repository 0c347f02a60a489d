//! What an interrupted backup has left on the host, and the phone's own memory of it.
//!
//! The phone notes each file that a host has taken. After an interruption a kind phone looks whether that host still has
//! the same unfinished snapshot, and goes on; a harsh one starts over (libimobiledevice #1412), as does any when everything
//! is to be sent anew. A file counts only if it is the same on the phone, and if the host's has the length that was sent.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use cap_std::fs::File;
use serde::{Deserialize, Serialize};

use super::Stop;
use super::link::Link;
use super::manifest;
use super::source::no_such_file;
use crate::backup::mbfile::MbFile;
use crate::frame::DictExt;
use crate::mobilebackup2::message::DeviceMessage;
use crate::mobilebackup2::request::StatusValue;
use crate::sim::device::Device;

/// The memory, below `state/`: the snapshot's UUID on the first line, then a file on each.
const FILE: &str = "backup.snapshot";
/// A status is small.
const STATUS_BYTES_MAX: usize = 1 << 20;

/// A file that a host has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    id: String,
    size: u64,
    mtime: i64,
    inode: u64,
    /// Bytes that went over the wire: more than its size if they were encrypted.
    bytes: u64,
    /// Its wrapped key, if they were.
    key: Option<String>,
}

impl Sent {
    pub(super) fn of(id: &str, file: &MbFile, bytes: u64) -> Self {
        let key = file.encryption_key.as_ref().map(hex::encode);
        Self { id: id.to_owned(), size: file.size, mtime: file.last_modified, inode: file.inode, bytes, key }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// True if the file is still the one that was sent.
    pub(super) fn is(&self, file: &MbFile) -> bool {
        (self.size, self.mtime, self.inode) == (file.size, file.last_modified, file.inode)
    }

    pub(super) fn key(&self) -> Option<Vec<u8>> {
        self.key.as_deref().and_then(|key| hex::decode(key).ok())
    }
}

/// What is on the host of a snapshot that was not finished.
pub(super) struct Left {
    pub(super) uuid: String,
    pub(super) sent: HashMap<String, Sent>,
}

/// Looks at what an interrupted backup has left; `None`: nothing to go on with.
pub(super) async fn left(link: &mut Link, device: &Device, root: &str) -> Result<Option<Left>, Stop> {
    if device.traits().backup_starts_over {
        return Ok(None);
    }
    let Some(mut left) = remembered(device)? else { return Ok(None) };
    let snapshot = format!("{root}/Snapshot");
    let mut status = Vec::new();
    let keep = |piece: &[u8]| {
        status.extend_from_slice(piece);
        if status.len() > STATUS_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
    };
    let there = link.download(&format!("{snapshot}/Status.plist"), keep).await?;
    if !there || manifest::unfinished_uuid(&status).as_ref() != Some(&left.uuid) {
        return Ok(None);
    }
    let folders = list(link, &snapshot).await?;
    let ids: HashSet<String> = left.sent.keys().map(|id| id[..2].to_owned()).collect();
    let mut on_the_host = HashMap::new();
    for folder in ids.into_iter().filter(|folder| folders.contains_key(folder)) {
        for (id, entry) in list(link, &format!("{snapshot}/{folder}")).await? {
            let bytes = entry.as_dictionary().and_then(|entry| entry.uint("DLFileSize"));
            on_the_host.insert(id, bytes);
        }
    }
    left.sent.retain(|id, sent| on_the_host.get(id) == Some(&Some(sent.bytes)));
    Ok(Some(left))
}

async fn list(link: &mut Link, path: &str) -> Result<plist::Dictionary, Stop> {
    let listing = DeviceMessage::ContentsOfDirectory { path: path.to_owned() };
    match link.demand(&listing).await?.value {
        StatusValue::Listing(listing) => Ok(listing),
        _ => Err(no_such_file(path)),
    }
}

fn remembered(device: &Device) -> io::Result<Option<Left>> {
    let Some(bytes) = device.read_state(FILE)? else { return Ok(None) };
    let mut lines = BufReader::new(bytes.as_slice()).lines().map_while(Result::ok);
    let Some(uuid) = lines.next() else { return Ok(None) };
    // The last line may be cut: then its file is sent again.
    let sent = lines.filter_map(|line| serde_json::from_str::<Sent>(&line).ok());
    let sent =
        sent.filter(|sent| sent.id.len() == 40 && sent.id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    Ok(Some(Left { uuid, sent: sent.map(|sent| (sent.id.clone(), sent)).collect() }))
}

/// The memory of the backup under way.
pub(super) struct Memory(File);

impl Memory {
    /// Begins one with what is there already.
    pub(super) fn begin(device: &Device, uuid: &str, there: &[Sent]) -> io::Result<Self> {
        let mut memory = Self(device.state().writable(Path::new(FILE))?.create(FILE)?);
        writeln!(memory.0, "{uuid}")?;
        memory.add(there)?;
        Ok(memory)
    }

    /// Notes files that the host has taken.
    pub(super) fn add(&mut self, sent: &[Sent]) -> io::Result<()> {
        let mut lines = Vec::new();
        for sent in sent {
            serde_json::to_writer(&mut lines, sent)?;
            lines.push(b'\n');
        }
        self.0.write_all(&lines)
    }

    /// The backup is finished.
    pub(super) fn forget(device: &Device) -> io::Result<()> {
        device.state().remove(Path::new(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_that_was_cut_loses_only_its_last_file() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open(folder.path(), true).unwrap();
        assert!(remembered(&device).unwrap().is_none());
        let file = MbFile { size: 5, inode: 7, encryption_key: Some(vec![1, 2]), ..MbFile::default() };
        let sent: Vec<Sent> =
            ["a", "b"].iter().map(|letter| Sent::of(&letter.repeat(40), &file, 16)).collect();
        Memory::begin(&device, "UUID", &sent[..1]).unwrap().add(&sent[1..]).unwrap();
        let whole = remembered(&device).unwrap().unwrap();
        assert_eq!((whole.uuid.as_str(), whole.sent.len()), ("UUID", 2));
        let one = &whole.sent[&"a".repeat(40)];
        assert!(one.is(&file) && !one.is(&MbFile { size: 6, ..file.clone() }));
        assert_eq!(one.key(), file.encryption_key);
        let bytes = device.read_state(FILE).unwrap().unwrap();
        for length in 0..bytes.len() {
            device.write_state(FILE, &bytes[..length]).unwrap();
            let left = remembered(&device).unwrap().map_or(0, |left| left.sent.len());
            assert!(left <= 2 && (left > 0 || length < bytes.len() / 2 + 10), "{left} at {length}");
        }
        Memory::forget(&device).unwrap();
        assert!(remembered(&device).unwrap().is_none());
    }
}
