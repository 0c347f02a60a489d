//! Takes a backup that another program made into the vault: Finder, iTunes, Apple Devices, idevicebackup2 or
//! pymobiledevice3. Theirs is read and never moved or changed; ours is a copy (that shares its blocks where the disk can),
//! hashed, proven, and only then put in the place of the last one.
//!
//! Such a folder is as untrusted as a phone: no link in it is followed, nothing in it is believed about where it belongs,
//! and only what the format has is taken. What can never be proven of it is what came over the cable, since nobody hashed
//! it then: a file that is shorter than the manifest says is damage here, unless it is a database that is whole.

use std::fs::FileTimes;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use jiff::Timestamp;

use super::Secret;
use super::check::{RECORDS, Watch};
use super::manifest::{self, Manifest, Status, open_plain, read_plist};
use super::record::Record;
use super::vault::{self, Vault, share_blocks};
use super::verify::{self, BackupProof, Damage, Depth, Proven};
use crate::durable;
use crate::frame::DictExt;
use crate::mobilebackup2::ledger::Digest;
use crate::progress::{CancellationToken, Event, Observer, Phase};
use crate::usbmux::Udid;

const PIECE_BYTES: usize = 1 << 20;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Most folders that are looked into for backups.
const FOLDERS_MAX: usize = 1000;

/// Why a backup was not taken in. The vault is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none in this folder.
    #[error("there is no backup in this folder: {0}")]
    NoBackup(String),
    /// There are several, and none is named.
    #[error("there are several backups in this folder: {}", .0.join(", "))]
    Several(Vec<String>),
    /// It is another phone's.
    #[error("this is a backup of the phone {found}, not of {wanted}")]
    OtherPhone {
        /// The one that is named.
        wanted: String,
        /// Whose it is.
        found: String,
    },
    /// The last proven backup is newer.
    #[error("it was made {made_at}, and the backup that is kept here was made {kept_at}")]
    Older {
        /// When this one was made.
        made_at: Timestamp,
        /// When the kept one was made.
        kept_at: Timestamp,
    },
    /// Something in it is no plain file or folder.
    #[error("{0} is a link or another special file, and none is followed")]
    Special(String),
    /// A file of it cannot be read.
    #[error("{path} cannot be read: {source}")]
    Source {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is encrypted, and without its password nothing about it can be proven.
    #[error("the backup is encrypted and its password is not known")]
    PasswordNeeded,
    /// The password does not open it.
    #[error("the backup password is wrong")]
    WrongPassword,
    /// It cannot be proven.
    #[error("the backup is damaged ({} files)", damage.len())]
    Damaged {
        /// By file.
        damage: Vec<Damage>,
    },
    /// The copy has no room.
    #[error("its copy needs {needed_bytes} bytes, {free_bytes} are free")]
    NoSpace {
        /// Bytes that must be free.
        needed_bytes: u64,
        /// Bytes that are.
        free_bytes: u64,
    },
    /// The vault.
    #[error(transparent)]
    Vault(#[from] vault::Error),
    /// This computer's disk.
    #[error("the copy cannot be written: {0}")]
    Disk(#[source] io::Error),
    /// The person or the program asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

/// A backup of another program.
#[derive(Debug)]
pub struct Foreign {
    own: Dir,
    udid: Udid,
    made_at: Timestamp,
    manifest: Manifest,
}

/// A backup that was taken in.
#[derive(Debug)]
pub struct Adopted {
    /// Its proof.
    pub proof: BackupProof,
    /// Files that were taken.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The copy shares its blocks with theirs and takes no room of its own.
    pub shares_blocks: bool,
    /// What a person may want to know. Text from the backup is in it.
    pub notes: Vec<String>,
}

impl Foreign {
    /// Finds the backup in `dir`: that folder itself, or the one below it of the phone `wanted`, or the only one.
    ///
    /// # Errors
    /// [`Error::NoBackup`], [`Error::Several`], [`Error::OtherPhone`], [`Error::Special`].
    pub fn find(dir: &Dir, wanted: Option<&Udid>) -> Result<Self, Error> {
        let own = |dir: &Dir| dir.try_clone().map_err(|error| Error::NoBackup(error.to_string()));
        if is_backup(dir) {
            let found = Self::open(own(dir)?)?;
            return match wanted.filter(|wanted| !same(wanted.as_str(), found.udid.as_str())) {
                Some(wanted) => {
                    let (wanted, found) = (wanted.as_str().to_owned(), found.udid.as_str().to_owned());
                    Err(Error::OtherPhone { wanted, found })
                }
                None => Ok(found),
            };
        }
        let mut names = below(dir)?;
        if let Some(wanted) = wanted {
            names.retain(|name| same(name, wanted.as_str()));
        }
        match &names[..] {
            [] => Err(Error::NoBackup("it holds no Manifest.db, nor does a folder in it".into())),
            [name] => {
                let one = dir.open_dir_nofollow(name).map_err(|_| Error::Special(name.clone()))?;
                Self::find(&one, wanted)
            }
            _ => Err(Error::Several(names)),
        }
    }

    fn open(own: Dir) -> Result<Self, Error> {
        let unreadable = |error: manifest::Error| Error::NoBackup(error.to_string());
        let manifest = Manifest::read(&own).map_err(unreadable)?;
        let info = read_plist(&own, "Info.plist").map_err(unreadable)?;
        let status = Status::read(&own).map_err(unreadable)?;
        let of_info = info.string("Target Identifier").or_else(|| info.string("Unique Identifier"));
        let of_manifest = manifest.lockdown.string("UniqueDeviceID");
        let named = of_manifest.or(of_info).and_then(Udid::parse);
        let udid = named.ok_or_else(|| Error::NoBackup("it does not say whose it is".into()))?;
        if let Some(other) = of_info.filter(|other| !same(other, udid.as_str())) {
            let (wanted, found) = (other.to_owned(), udid.as_str().to_owned());
            return Err(Error::OtherPhone { wanted, found });
        }
        // A copy may have been touched later, and a clock may be wrong: the earliest of what is known is believed.
        let stored = open_plain(&own, "Status.plist").and_then(|file| file.metadata()?.modified());
        let stored = stored.ok().and_then(|time| Timestamp::try_from(time).ok());
        let known = [stored, status.date, manifest.date, info.date("Last Backup Date")];
        let made_at = known.into_iter().flatten().min().unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Self { own, udid, made_at, manifest })
    }

    /// Whose it is, by its own records.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.udid
    }

    /// When it was made: the earliest of what its records and its files say.
    #[must_use]
    pub fn made_at(&self) -> Timestamp {
        self.made_at
    }

    /// It is encrypted: without its password it cannot be adopted.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        self.manifest.encrypted
    }

    /// What its `Manifest.plist` says.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
}

fn is_backup(dir: &Dir) -> bool {
    ["Manifest.db", "Manifest.plist"].iter().any(|name| dir.symlink_metadata(name).is_ok())
}

/// Phones' ids in records differ in case and hyphens from program to program.
fn same(one: &str, other: &str) -> bool {
    let plain = |id: &str| id.replace('-', "").to_ascii_lowercase();
    plain(one) == plain(other)
}

/// Folders in `dir` that hold a backup.
fn below(dir: &Dir) -> Result<Vec<String>, Error> {
    let io = |error: io::Error| Error::NoBackup(error.to_string());
    let mut names = Vec::new();
    for entry in dir.entries().map_err(io)?.take(FOLDERS_MAX) {
        let entry = entry.map_err(io)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if dir.open_dir_nofollow(&name).is_ok_and(|inside| is_backup(&inside)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Copies `foreign` into the vault, proves the copy, and puts it in the place of the last backup, which becomes history.
/// What an interrupted run of our own left is thrown away then.
///
/// # Errors
/// [`Error`]; the vault is as it was.
pub async fn adopt(
    foreign: Foreign,
    vault: &Vault,
    password: Option<&Secret>,
    reserve_bytes: u64,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Adopted, Error> {
    if foreign.encrypted() && password.is_none() {
        return Err(Error::PasswordNeeded);
    }
    if let Some(kept_at) = vault.made_at()?.filter(|kept| *kept > foreign.made_at) {
        return Err(Error::Older { made_at: foreign.made_at, kept_at });
    }
    let root = vault.begin_adoption()?;
    let adopted = copied_and_proven(foreign, vault, &root, password, reserve_bytes, observer, cancel).await;
    match adopted {
        Ok(adopted) => {
            vault.promote_adopted()?;
            Ok(adopted)
        }
        Err(error) => {
            // What is left is removed at the next opening, if it cannot be now.
            let _ = vault.end_adoption();
            Err(error)
        }
    }
}

async fn copied_and_proven(
    foreign: Foreign,
    vault: &Vault,
    root: &Dir,
    password: Option<&Secret>,
    reserve_bytes: u64,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Adopted, Error> {
    let target = root.try_clone().map_err(Error::Disk)?;
    let watch = Arc::new(Watch::default());
    let copy = {
        let (watch, udid) = (Arc::clone(&watch), vault.udid().clone());
        move || {
            let own = target.open_dir_nofollow(udid.as_str()).map_err(Error::Disk)?;
            let mut taking = Taking { from: foreign, to: own, record: Record::default(), bytes: 0, watch };
            let done = taking.all(reserve_bytes)?;
            vault::sync_all(&target).and_then(|()| taking.record.save(&target)).map_err(Error::Disk)?;
            Ok::<_, Error>((done, taking.record.files_count(), taking.bytes))
        }
    };
    let mut working = tokio::task::spawn_blocking(copy);
    observer.event(Event::Began { phase: Phase::Backup, bytes_total: None, items_total: None });
    let copied = loop {
        tokio::select! {
            done = &mut working => break done,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => tell(observer, &watch),
            () = cancel.cancelled(), if !watch.stop.load(Ordering::Relaxed) => {
                watch.stop.store(true, Ordering::Relaxed);
            }
        }
    };
    tell(observer, &watch);
    observer.event(Event::Ended { phase: Phase::Backup });
    let copied = copied.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    let (Done { shares_blocks, left_out }, files, bytes) = copied?;
    let root = root.try_clone().map_err(Error::Disk)?;
    let proven = verify::prove_at(root, vault.udid(), password, Depth::Full, observer, cancel).await;
    let (proof, mut notes) = match proven {
        Ok(Proven { proof: Some(proof), notes, .. }) => (proof, notes),
        Ok(Proven { damage, .. }) => return Err(Error::Damaged { damage }),
        Err(verify::Error::WrongPassword) => return Err(Error::WrongPassword),
        Err(verify::Error::Cancelled) => return Err(Error::Cancelled),
        Err(verify::Error::Io(error)) => return Err(Error::Disk(error)),
        Err(verify::Error::Vault(error)) => return Err(error.into()),
    };
    if left_out > 0 {
        notes.push(format!(
            "{left_out} files in its folder belong to no backup and were left where they are."
        ));
    }
    Ok(Adopted { proof, files, bytes, shares_blocks, notes })
}

fn tell(observer: &dyn Observer, watch: &Watch) {
    let (bytes_done, items_done) = (watch.bytes.load(Ordering::Relaxed), watch.items.load(Ordering::Relaxed));
    observer.event(Event::Advanced { phase: Phase::Backup, bytes_done, bytes_total: None, items_done });
}

/// Copying under way.
struct Taking {
    from: Foreign,
    to: Dir,
    record: Record,
    bytes: u64,
    watch: Arc<Watch>,
}

struct Done {
    shares_blocks: bool,
    /// Files that are not of the format.
    left_out: u64,
}

impl Taking {
    fn all(&mut self, reserve_bytes: u64) -> Result<Done, Error> {
        // The first file shows what the disk can do.
        let from = self.from.own.try_clone().map_err(Error::Disk)?;
        let to = self.to.try_clone().map_err(Error::Disk)?;
        let shares_blocks = self.take(&from, &to, "Manifest.db", "Manifest.db")?;
        let (folders, left_out) = folders(&from)?;
        if !shares_blocks {
            self.has_room(&from, &folders, reserve_bytes)?;
        }
        for name in RECORDS.into_iter().filter(|name| *name != "Manifest.db") {
            self.take(&from, &to, name, name)?;
        }
        let mut done = Done { shares_blocks, left_out };
        for folder in folders {
            let source = from.open_dir_nofollow(&folder).map_err(|_| Error::Special(folder.clone()))?;
            durable::make_private(&to, &folder).map_err(Error::Disk)?;
            let target = to.open_dir_nofollow(&folder).map_err(Error::Disk)?;
            for name in files(&source, &folder)? {
                if name.len() == 40 && is_hex(&name) && name.starts_with(&folder) {
                    self.take(&source, &target, &name, &format!("{folder}/{name}"))?;
                } else {
                    done.left_out += 1;
                }
            }
        }
        self.date_status()?;
        Ok(done)
    }

    /// Copies one file and records it. Tells whether it shares its blocks.
    fn take(&mut self, from: &Dir, to: &Dir, name: &str, path: &str) -> Result<bool, Error> {
        let unreadable = |source| Error::Source { path: path.to_owned(), source };
        let is_plain = from.symlink_metadata(name).map_err(unreadable)?.is_file();
        if !is_plain {
            return Err(Error::Special(path.to_owned()));
        }
        let source = open_plain(from, name).map_err(unreadable)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let mut target = to.open_with(name, &options).map_err(Error::Disk)?.into_std();
        let shared = share_blocks(&source, &target);
        let (mut sha256, mut bytes) = (Context::new(&SHA256), 0);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            if self.watch.stop.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            // What is shared is read from ours: theirs may change meanwhile.
            let read = if shared { (&target).read(&mut piece) } else { (&source).read(&mut piece) };
            let read = read.map_err(unreadable)?;
            if read == 0 {
                break;
            }
            if !shared {
                target.write_all(&piece[..read]).map_err(Error::Disk)?;
            }
            sha256.update(&piece[..read]);
            bytes += read as u64;
            self.watch.bytes.fetch_add(read as u64, Ordering::Relaxed);
        }
        let sha256: Digest = sha256.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
        self.record.adopt(path, bytes, sha256).map_err(|error| Error::NoBackup(error.to_string()))?;
        self.bytes += bytes;
        self.watch.items.fetch_add(1, Ordering::Relaxed);
        Ok(shared)
    }

    /// There is room for a whole copy, and for what the computer needs itself.
    fn has_room(&self, from: &Dir, folders: &[String], reserve_bytes: u64) -> Result<(), Error> {
        let mut needed_bytes = reserve_bytes;
        for folder in folders {
            let source = from.open_dir_nofollow(folder).map_err(|_| Error::Special(folder.clone()))?;
            for name in files(&source, folder)? {
                let metadata = source.symlink_metadata(&name);
                let metadata =
                    metadata.map_err(|source| Error::Source { path: format!("{folder}/{name}"), source })?;
                needed_bytes = needed_bytes.saturating_add(metadata.len());
            }
        }
        let stat = rustix::fs::fstatvfs(&self.to).map_err(|error| Error::Disk(error.into()))?;
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free_bytes < needed_bytes { Err(Error::NoSpace { needed_bytes, free_bytes }) } else { Ok(()) }
    }

    /// A backup was made when its status came; the copy's status came now, so it gets the time of theirs.
    fn date_status(&self) -> Result<(), Error> {
        let date = SystemTime::from(self.from.made_at);
        let mut options = OpenOptions::new();
        options.write(true);
        let file = self.to.open_with("Status.plist", &options).map_err(Error::Disk)?;
        file.into_std().set_times(FileTimes::new().set_modified(date)).map_err(Error::Disk)
    }
}

fn is_hex(name: &str) -> bool {
    name.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// The folders of the format, and how many other things there are. A link among them is refused.
fn folders(own: &Dir) -> Result<(Vec<String>, u64), Error> {
    let io = |source| Error::Source { path: ".".into(), source };
    let (mut folders, mut left_out) = (Vec::new(), 0);
    for entry in own.entries().map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(io)?;
        if !kind.is_dir() && !kind.is_file() {
            return Err(Error::Special(name));
        }
        match (kind.is_dir(), name.len() == 2 && is_hex(&name), RECORDS.contains(&name.as_str())) {
            (true, true, _) => folders.push(name),
            (false, _, true) => {}
            _ => left_out += 1,
        }
    }
    folders.sort();
    Ok((folders, left_out))
}

/// The files of a folder.
fn files(dir: &Dir, folder: &str) -> Result<Vec<String>, Error> {
    let io = |source| Error::Source { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in dir.entries().map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type().map_err(io)?.is_file() {
            return Err(Error::Special(format!("{folder}/{name}")));
        }
        names.push(name);
    }
    Ok(names)
}
