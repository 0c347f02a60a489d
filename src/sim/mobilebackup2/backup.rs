//! One backup, from the passcode to the result.
//!
//! New files land in `Snapshot/` and are moved into place at the end; only then the status says finished. So what an
//! interrupted backup leaves is the one before it, and the next one starts over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;

use super::catalog::{self, Item, Kind};
use super::content::Content;
use super::encryption::Protection;
use super::link::{Link, Outgoing};
use super::snapshot::{self, Memory, Sent};
use super::{BAD_MANIFEST, Stop, earlier, manifest, space};
use crate::backup::mbfile::MbFile;
use crate::mobilebackup2::message::DeviceMessage;
use crate::mobilebackup2::request::StatusValue;
use crate::sim::config::Lock;
use crate::sim::device::Device;

/// How long the phone shows its passcode screen, and how long a locked phone waits inside a backup.
const PASSCODE_WAIT: Duration =
    if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(180) };
/// A batch of files ends with so many bytes or files.
const BATCH_BYTES: u64 = 32 << 20;
const BATCH_FILES: usize = 256;
/// Items of one move or removal.
const ITEMS: usize = 1000;

const LOCKED: i64 = 208;

/// Backs the phone up.
pub(super) async fn run(
    link: &mut Link,
    device: &Arc<Device>,
    target: &str,
    force_full: bool,
) -> Result<(), Stop> {
    if target != device.udid().as_str() {
        return Err(Stop::refuse(1, "the target is another device"));
    }
    passcode(device).await?;
    tokio::time::sleep(device.traits().backup_silence).await;
    let (protection, items) = in_background({
        let device = device.clone();
        move || {
            let protection = Protection::of(&device)?;
            let items = catalog::take(&device, protection.is_some())?;
            Ok((protection, items))
        }
    })
    .await?;
    let mut run = Run::new(link, device, protection, items)?;
    run.compare(force_full).await?;
    if !force_full {
        run.go_on().await?;
    }
    space::check(run.link, device.version(), run.bytes_total).await?;
    run.send().await?;
    run.put_in_place().await?;
    run.check().await?;
    Ok(Memory::forget(device)?)
}

/// Asks for the passcode where this iOS does.
async fn passcode(device: &Arc<Device>) -> Result<(), Stop> {
    if device.version().asks_passcode_for_backup() { passcode_entered(device).await } else { Ok(()) }
}

/// Has the passcode entered, if the phone has one that it asks for.
pub(super) async fn passcode_entered(device: &Arc<Device>) -> Result<(), Stop> {
    if !device.config().lock.passcode_for_backup {
        return Ok(());
    }
    let entered = tokio::time::timeout(PASSCODE_WAIT, device.asks_passcode()).await;
    entered.map_err(|_| Stop::refuse(LOCKED, "Device locked"))
}

/// One backup under way.
struct Run<'a> {
    link: &'a mut Link,
    device: &'a Arc<Device>,
    /// What encrypts this backup; `None`: it is plain.
    protection: Option<Arc<Protection>>,
    /// The backup's folder on the host.
    root: String,
    uuid: String,
    now: SystemTime,
    scratch: tempfile::TempDir,
    full: bool,
    items: BTreeMap<String, Item>,
    /// Ids of files to be sent.
    wanted: Vec<String>,
    /// Those of them that the host has taken before an interruption.
    there: Vec<Sent>,
    memory: Option<Memory>,
    /// Ids of files that the host has and the phone has no more.
    stale: Vec<String>,
    bytes_total: u64,
    bytes_sent: u64,
    records: Records,
}

/// The backup's own records, as sent.
#[derive(Default)]
struct Records {
    status: Vec<u8>,
    manifest: Vec<u8>,
    /// SHA-256 of the database, which may be too large to be kept in memory.
    database_sha256: Vec<u8>,
}

impl<'a> Run<'a> {
    fn new(
        link: &'a mut Link,
        device: &'a Arc<Device>,
        protection: Option<Arc<Protection>>,
        items: BTreeMap<String, Item>,
    ) -> Result<Self, Stop> {
        let scratch = tempfile::Builder::new().prefix("backup-").tempdir_in(device.temporary())?;
        Ok(Self {
            link,
            device,
            protection,
            root: device.udid().as_str().to_owned(),
            uuid: uuid::Uuid::new_v4().to_string().to_uppercase(),
            now: SystemTime::from(device.clock()),
            scratch,
            full: true,
            items,
            wanted: Vec::new(),
            there: Vec::new(),
            memory: None,
            stale: Vec::new(),
            bytes_total: 0,
            bytes_sent: 0,
            records: Records::default(),
        })
    }

    fn path(&self, below: &str) -> String {
        format!("{}/{below}", self.root)
    }

    /// Looks at what the host has, and decides what to send.
    async fn compare(&mut self, force_full: bool) -> Result<(), Stop> {
        let before = match force_full {
            true => None,
            false => {
                let protection = self.protection.as_ref();
                earlier::read(self.link, &self.root, self.scratch.path(), protection).await?
            }
        };
        let before = before.unwrap_or_default();
        self.full = !before.to_build_upon;
        let protection = self.protection.clone();
        let same = |item: &Item| {
            before.files.get(&item.id).is_some_and(|file| {
                (file.size, file.last_modified, file.inode)
                    == (item.file.size, item.file.last_modified, item.file.inode)
                    && keeps_its_key(protection.as_deref(), file)
            })
        };
        for item in self.items.values_mut().filter(|item| before.to_build_upon && same(item)) {
            item.file.encryption_key.clone_from(&before.files[&item.id].encryption_key);
        }
        let same = |item: &Item| before.to_build_upon && same(item);
        let files = self.items.values().filter(|item| item.kind == Kind::File);
        let wanted: Vec<&Item> = files.filter(|item| item.unsendable() || !same(item)).collect();
        self.bytes_total = wanted.iter().map(|item| item.file.size).sum();
        self.wanted = wanted.into_iter().map(|item| item.id.clone()).collect();
        let still = |id: &String| self.items.get(id).is_some_and(|item| item.kind == Kind::File);
        self.stale = before.files.into_keys().filter(|id| !still(id)).collect();
        Ok(())
    }

    /// Goes on with what an interrupted backup has left on the host, if this phone does.
    async fn go_on(&mut self) -> Result<(), Stop> {
        let Some(mut left) = snapshot::left(self.link, self.device, &self.root).await? else { return Ok(()) };
        self.uuid = left.uuid;
        for id in &self.wanted {
            let item = self.items.get_mut(id).expect("what is wanted is an item");
            let Some(sent) = left.sent.remove(id).filter(|sent| sent.is(&item.file)) else { continue };
            let file = MbFile { encryption_key: sent.key(), ..item.file.clone() };
            let plain = file.encryption_key.is_none() || self.protection.is_some();
            if plain && !item.unsendable() && keeps_its_key(self.protection.as_deref(), &file) {
                self.bytes_total -= file.size;
                item.file = file;
                self.there.push(sent);
            }
        }
        Ok(())
    }

    /// Sends everything that is wanted into `Snapshot/`, then the records.
    async fn send(&mut self) -> Result<(), Stop> {
        for folder in [self.root.clone(), self.path("Snapshot")] {
            self.link.demand(&DeviceMessage::CreateDirectory { path: folder }).await?;
        }
        let status = manifest::status_plist("uploading", self.full, &self.uuid, self.now);
        self.send_records(vec![("Snapshot/Status.plist", Content::Bytes(status))]).await?;
        let prefixes: BTreeSet<&str> = self.wanted.iter().map(|id| &id[..2]).collect();
        for prefix in prefixes {
            let path = format!("{}/Snapshot/{prefix}", self.root);
            self.link.demand(&DeviceMessage::CreateDirectory { path }).await?;
        }
        self.memory = Some(Memory::begin(self.device, &self.uuid, &self.there)?);
        let there: BTreeSet<&str> = self.there.iter().map(Sent::id).collect();
        let mut left: Vec<String> =
            self.wanted.iter().filter(|id| !there.contains(id.as_str())).cloned().collect();
        let mut locks = self.device.traits().backup_locks_in_the_middle;
        while !left.is_empty() {
            if locks && self.bytes_sent >= self.bytes_total / 2 {
                locks = false;
                self.lock_in_the_middle().await?;
            }
            self.send_batch(&mut left).await?;
        }
        self.make_records().await?;
        let database = Content::File(File::open(self.database())?);
        let manifest = Content::Bytes(self.records.manifest.clone());
        // First what tells how to read the other: pymobiledevice3 reads the database as soon as it is there.
        self.send_records(vec![("Snapshot/Manifest.plist", manifest), ("Snapshot/Manifest.db", database)])
            .await
    }

    async fn send_batch(&mut self, left: &mut Vec<String>) -> Result<(), Stop> {
        let (mut files, mut ids, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(id) = left.pop() {
            let item = self.items.get_mut(&id).expect("what is wanted is an item");
            let content = match item.open(self.device) {
                Ok(Some(file)) => content_of(file, item, self.protection.as_deref())?,
                Ok(None) => {
                    let protection = self.protection.as_ref();
                    item.file.encryption_key =
                        protection.map(|ours| ours.new_key(item.file.protection_class)).transpose()?;
                    Content::Refused
                }
                // It was deleted since it was listed: then it is in no manifest either.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.items.remove(&id);
                    self.wanted.retain(|wanted| *wanted != id);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            bytes += item.file.size;
            files.push(Outgoing {
                device_path: item.device_path(),
                host_path: format!("{}/Snapshot/{}", self.root, item.stored()),
                content,
            });
            ids.push(id);
            if bytes >= BATCH_BYTES || ids.len() >= BATCH_FILES {
                break;
            }
        }
        if files.is_empty() {
            return Ok(());
        }
        self.bytes_sent += bytes;
        let progress = 95.0 * (self.bytes_sent as f64 / self.bytes_total.max(1) as f64).min(1.0);
        let bytes = self.link.upload(progress, files).await?;
        let taken = ids.iter().zip(bytes).map(|(id, bytes)| (&self.items[id], bytes));
        let taken = taken.filter(|(item, _)| !item.unsendable());
        let taken: Vec<Sent> = taken.map(|(item, bytes)| Sent::of(&item.id, &item.file, bytes)).collect();
        Ok(self.memory.as_mut().map_or(Ok(()), |memory| memory.add(&taken))?)
    }

    /// The screen locks, and the phone goes on after an unlock.
    async fn lock_in_the_middle(&mut self) -> Result<(), Stop> {
        self.device.set_lock(Lock::Locked);
        let unlocked = tokio::time::timeout(PASSCODE_WAIT, self.device.unlocked()).await;
        unlocked.map_err(|_| Stop::refuse(LOCKED, "Device locked"))
    }

    /// Where the new database stands as it is sent.
    fn database(&self) -> PathBuf {
        self.scratch.path().join("Manifest.db")
    }

    async fn make_records(&mut self) -> Result<(), Stop> {
        let path = self.database();
        let items = std::mem::take(&mut self.items);
        let protection = self.protection.clone();
        let (items, key, sha256) = in_background(move || {
            let clear = path.with_extension("clear");
            let made = if protection.is_some() { &clear } else { &path };
            manifest::write_database(made, &items).map_err(manifest::io_error)?;
            let key = protection.map(|ours| ours.encrypt_database(&clear, &path)).transpose()?;
            let mut sha256 = digest::Context::new(&digest::SHA256);
            let mut database = File::open(&path)?;
            let mut piece = vec![0; 1 << 20];
            loop {
                match database.read(&mut piece)? {
                    0 => return Ok((items, key, sha256.finish().as_ref().to_vec())),
                    read => sha256.update(&piece[..read]),
                }
            }
        })
        .await?;
        self.items = items;
        self.records.database_sha256 = sha256;
        let bag = self.protection.as_ref().map(|ours| ours.bag.clone());
        self.records.manifest = manifest::manifest_plist(self.device, self.now, bag.zip(key));
        self.records.status = manifest::status_plist("finished", self.full, &self.uuid, self.now);
        Ok(())
    }

    async fn send_records(&mut self, records: Vec<(&str, Content)>) -> Result<(), Stop> {
        let files = records.into_iter().map(|(name, content)| Outgoing {
            device_path: format!("/var/tmp/{}", name.rsplit('/').next().unwrap_or(name)),
            host_path: format!("{}/{name}", self.root),
            content,
        });
        let files = files.collect();
        self.link.upload(95.0, files).await?;
        Ok(())
    }

    /// Moves what was sent into its place, says finished, and removes what is not wanted any more.
    async fn put_in_place(&mut self) -> Result<(), Stop> {
        // Also what could not be sent: hosts have an empty file in its place.
        let sent: Vec<&Item> = self.wanted.iter().map(|id| &self.items[id]).collect();
        let prefixes: BTreeSet<&str> = sent.iter().map(|item| &item.id[..2]).collect();
        let folders: Vec<String> = prefixes.into_iter().map(|prefix| self.path(prefix)).collect();
        let place = |name: &str| (format!("{}/Snapshot/{name}", self.root), format!("{}/{name}", self.root));
        let mut moves: Vec<(String, String)> = sent.iter().map(|item| place(&item.stored())).collect();
        moves.extend(["Manifest.db", "Manifest.plist"].map(place));
        for path in folders {
            self.link.demand(&DeviceMessage::CreateDirectory { path }).await?;
        }
        for items in moves.chunks(ITEMS) {
            let message = DeviceMessage::MoveItems { items: items.to_vec(), progress: 97.0 };
            self.link.demand(&message).await?;
        }
        let status = self.records.status.clone();
        self.send_records(vec![("Status.plist", Content::Bytes(status))]).await?;
        let stale = self.stale.iter().map(|id| self.path(&format!("{}/{id}", &id[..2])));
        let gone: Vec<String> = stale.chain([self.path("Snapshot")]).collect();
        for paths in gone.chunks(ITEMS) {
            self.link.demand(&DeviceMessage::RemoveItems { paths: paths.to_vec(), progress: 99.0 }).await?;
        }
        Ok(())
    }

    /// Looks whether the host has it all, and has the records as they were sent.
    async fn check(&mut self) -> Result<(), Stop> {
        let root = self.root.clone();
        self.link.demand(&DeviceMessage::ContentsOfDirectory { path: root }).await?;
        let files = self.items.values().filter(|item| item.kind == Kind::File && !item.unsendable());
        let mut by_folder: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for item in files {
            by_folder.entry(&item.id[..2]).or_default().push(&item.id);
        }
        for (prefix, ids) in by_folder {
            let path = format!("{}/{prefix}", self.root);
            let listing = self.link.demand(&DeviceMessage::ContentsOfDirectory { path }).await?.value;
            let StatusValue::Listing(listing) = listing else { return Err(missing(prefix)) };
            if let Some(id) = ids.iter().find(|id| !listing.contains_key(id)) {
                return Err(missing(id));
            }
        }
        let sha256_of = |bytes: &[u8]| digest::digest(&digest::SHA256, bytes).as_ref().to_vec();
        for (name, sent) in [
            ("Status.plist", sha256_of(&self.records.status)),
            ("Manifest.plist", sha256_of(&self.records.manifest)),
            ("Manifest.db", self.records.database_sha256.clone()),
        ] {
            let path = format!("{}/{name}", self.root);
            let mut back = digest::Context::new(&digest::SHA256);
            let keep = |piece: &[u8]| {
                back.update(piece);
                Ok(())
            };
            if !self.link.download(&path, keep).await? || back.finish().as_ref() != sent {
                return Err(Stop::refuse(BAD_MANIFEST, format!("{name} is not what was sent")));
            }
        }
        Ok(())
    }
}

/// What is sent of a file that was opened, and its key: a fresh one, since its content is new. Empty files have none.
fn content_of(file: File, item: &mut Item, protection: Option<&Protection>) -> io::Result<Content> {
    item.file.encryption_key = None;
    let Some(protection) = protection.filter(|_| file.metadata().is_ok_and(|metadata| metadata.len() > 0))
    else {
        return Ok(Content::File(file));
    };
    let key = protection.new_key(item.file.protection_class)?;
    let encrypting = Box::new(protection.encrypting(&key)?);
    item.file.encryption_key = Some(key);
    Ok(Content::Encrypted(file, encrypting))
}

/// A file that the host has can stay there: its key is one of ours, or none is wanted.
fn keeps_its_key(protection: Option<&Protection>, file: &MbFile) -> bool {
    match (protection, &file.encryption_key) {
        (None, _) => true,
        (Some(protection), Some(key)) => protection.opens(key),
        (Some(_), None) => file.size == 0,
    }
}

fn missing(what: &str) -> Stop {
    Stop::refuse(BAD_MANIFEST, format!("Manifest references files not in backup: {what}"))
}

/// Runs what reads and writes files on this computer away from the connections.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Stop> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?;
    Ok(done?)
}
