//! Reads a backup again and compares it with what was received. It finds; what it is worth is said in [`super::verify`].
//!
//! A backup may have more than a million files: one thread walks the rows, others read the files, and what they find is
//! taken as it comes, so that only what has to be known of all files at once is in memory.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use aws_lc_rs::digest::{Context, SHA256};
use cap_fs_ext::DirExt;
use cap_std::fs::Dir;

use super::Secret;
use super::camera_roll::CameraRoll;
use super::keybag::Keys;
use super::manifest::{self, Database, Manifest, Status};
use super::mbfile::MbFile;
use super::proof_file::{ProofFile, Writing};
use super::record::{Known, Record};
use super::verify::{Damage, Refused};
use walk::Walk;

mod file;
mod walk;

/// Records of the backup itself, which no row names.
pub(super) const RECORDS: [&str; 4] = ["Info.plist", "Manifest.db", "Manifest.plist", "Status.plist"];
/// Most things named one by one.
const NAMED_MAX: usize = 10_000;
/// Files that wait for a reader, and findings that wait to be taken.
const QUEUE: usize = 64;

/// Progress and the wish to stop, shared with whoever waits.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) bytes: AtomicU64,
    pub(super) items: AtomicU64,
    pub(super) stop: AtomicBool,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) damage: Vec<Damage>,
    pub(super) notes: Vec<String>,
    pub(super) refused: Vec<Refused>,
    pub(super) media: CameraRoll,
    pub(super) encrypted: bool,
    /// The content was looked at, not only the outside.
    pub(super) inside: bool,
    /// Files that rows name and that are there.
    standing: u64,
}

impl Found {
    fn damaged(&mut self, path: &str, what: impl Into<String>) {
        if self.damage.len() < NAMED_MAX {
            self.damage.push(Damage { path: path.to_owned(), what: what.into() });
        }
    }

    fn note(&mut self, text: String) {
        if self.notes.len() < NAMED_MAX {
            self.notes.push(text);
        }
    }

    fn refused(&mut self, refused: Refused) {
        if self.refused.len() < NAMED_MAX {
            self.refused.push(refused);
        } else {
            self.damaged("Manifest.db", format!("the phone refused more than {NAMED_MAX} of its files"));
        }
    }
}

/// Why nothing was found out.
#[derive(Debug)]
pub(super) enum Stopped {
    Cancelled,
    WrongPassword,
    Io(io::Error),
}

/// One file to be read.
struct Job {
    stored: String,
    known: Known,
    row: Option<JobRow>,
}

/// What the manifest says of it.
struct JobRow {
    name: String,
    /// Path below the media root, for a file of the camera roll.
    media: Option<String>,
    file: MbFile,
    /// The phone did not send it: what stands is empty or older, and its key is for what never came.
    refused: bool,
}

/// What a thread tells.
enum Told {
    Read(Box<Job>, io::Result<file::Read>),
    Damaged(String, String),
    Refused(Refused),
    /// A file stands that cannot be compared.
    Stands,
}

/// The share of the files that are read, drawn anew each time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Of a million.
    share: u32,
    seed: u64,
}

impl Sample {
    /// `share` of a million.
    pub(super) fn new(share: u32) -> Self {
        let mut seed = [0; 8];
        aws_lc_rs::rand::fill(&mut seed).expect("the system's random numbers do not end");
        Self { share, seed: u64::from_le_bytes(seed) }
    }

    /// This file is in it.
    pub(super) fn takes(self, stored: &str) -> bool {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (self.seed, stored).hash(&mut hasher);
        RECORDS.contains(&stored) || hasher.finish() % 1_000_000 < u64::from(self.share)
    }
}

/// The backup to be checked.
pub(super) struct Subject {
    /// Holds the phone's folder, the record and the proof.
    pub(super) root: Dir,
    /// The phone's folder.
    pub(super) own: Dir,
    pub(super) record: Record,
    /// What an earlier proof read; files that stand as they stood then are not read again.
    pub(super) before: Option<ProofFile>,
    /// Only some files are read: then nothing is proven.
    pub(super) sample: Option<Sample>,
}

/// Manifest and database, as far as they can be opened.
pub(super) struct Opened {
    database: Database,
    keys: Option<Keys>,
}

/// Looks at the records of the backup and opens what holds the rows; `None`: it can be looked at from outside only, or it
/// is damaged.
pub(super) fn open(
    subject: &Subject,
    password: Option<&Secret>,
    found: &mut Found,
) -> Result<Option<Opened>, Stopped> {
    match Status::read(&subject.own) {
        Ok(status) if status.finished() => {}
        Ok(status) => {
            found.damaged("Status.plist", format!("the phone did not finish: it says {:?}", status.state));
        }
        Err(error) => found.damaged("Status.plist", error.to_string()),
    }
    if let Err(error) = manifest::read_plist(&subject.own, "Info.plist") {
        found.damaged("Info.plist", error.to_string());
    }
    let manifest = match Manifest::read(&subject.own) {
        Ok(manifest) => manifest,
        Err(error) => {
            found.damaged("Manifest.plist", error.to_string());
            return Ok(None);
        }
    };
    found.encrypted = manifest.encrypted;
    let keys = match (manifest.encrypted, password) {
        (false, _) => None,
        (true, None) => {
            found.note(
                "The backup is encrypted and its password is not known: proven from outside only.".into(),
            );
            return Ok(None);
        }
        (true, Some(password)) => match manifest.unlock(password) {
            Ok(keys) => keys,
            // A salt that rotted away makes every password wrong.
            Err(manifest::Error::WrongPassword) if !as_received(subject, "Manifest.plist") => {
                found.damaged(
                    "Manifest.plist",
                    "its content is not what was received, and no password opens it",
                );
                return Ok(None);
            }
            Err(manifest::Error::WrongPassword) => return Err(Stopped::WrongPassword),
            Err(error) => {
                found.damaged("Manifest.plist", error.to_string());
                return Ok(None);
            }
        },
    };
    let database = manifest.database(&subject.own, keys.as_ref(), &subject.root);
    match database.and_then(|database| database.quick_check().map(|()| database)) {
        Ok(database) => {
            found.inside = true;
            Ok(Some(Opened { database, keys }))
        }
        Err(error) => {
            found.damaged("Manifest.db", error.to_string());
            Ok(None)
        }
    }
}

/// A record of the backup stands as it came.
fn as_received(subject: &Subject, name: &str) -> bool {
    let Some(known) = subject.record.file(name) else { return false };
    let mut sha256 = Context::new(&SHA256);
    let mut piece = vec![0; 1 << 16];
    let Ok(mut file) = manifest::open_plain(&subject.own, name) else { return false };
    loop {
        match file.read(&mut piece) {
            Ok(0) => return sha256.finish().as_ref() == known.sha256,
            Ok(read) => sha256.update(&piece[..read]),
            Err(_) => return false,
        }
    }
}

/// Reads every file, on as many threads as there are processors, while another walks the rows. What is proven of each goes
/// into `proof`.
pub(super) fn read_all(
    subject: &Subject,
    opened: Option<Opened>,
    found: &mut Found,
    watch: &Arc<Watch>,
    mut proof: Option<&mut Writing<'_>>,
) -> Result<(), Stopped> {
    let (jobs, waiting) = mpsc::sync_channel::<Job>(QUEUE);
    let (results, told) = mpsc::sync_channel(QUEUE);
    let waiting = Mutex::new(waiting);
    let readers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(8);
    let (database, keys) = opened.map(|opened| (opened.database, opened.keys)).unzip();
    let (keys, has_rows) = (keys.flatten(), database.is_some());
    std::thread::scope(|scope| {
        for _ in 0..readers {
            let (results, waiting, keys) = (results.clone(), &waiting, keys.as_ref());
            scope.spawn(move || {
                while let Some(job) = next(waiting) {
                    let result = file::read(subject, keys, &job, watch);
                    if results.send(Told::Read(Box::new(job), result)).is_err() {
                        break;
                    }
                }
            });
        }
        let adopts = subject.record.adopted_files() > 0;
        let walk = Walk { subject, jobs, told: results, watch, adopts };
        scope.spawn(move || walk.all(database));
        for one in told {
            take(found, one, proof.as_deref_mut());
        }
    });
    if watch.stop.load(Ordering::Relaxed) {
        return Err(Stopped::Cancelled);
    }
    if has_rows {
        unnamed(&subject.own, found).map_err(Stopped::Io)?;
    }
    found.damage.sort_by(|a, b| a.path.cmp(&b.path));
    found.notes.sort();
    Ok(())
}

fn next(waiting: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Keeps what a thread told.
fn take(found: &mut Found, told: Told, proof: Option<&mut Writing<'_>>) {
    let (job, result) = match told {
        Told::Read(job, result) => (*job, result),
        Told::Damaged(path, what) => {
            found.damaged(&path, what);
            return;
        }
        Told::Refused(refused) => {
            found.refused(refused);
            return;
        }
        Told::Stands => {
            found.standing += 1;
            return;
        }
    };
    let name = job.row.as_ref().map_or(job.stored.as_str(), |row| row.name.as_str());
    let there = !matches!(&result, Err(error) if error.kind() == io::ErrorKind::NotFound);
    found.standing += u64::from(job.row.is_some() && there);
    let read = match result {
        Ok(file::Read { damage: Some(what), .. }) => Err(what),
        Ok(read) => Ok(read),
        Err(error) => Err(error.to_string()),
    };
    match read {
        Err(what) => found.damaged(&job.stored, describe(name, &job.stored, &what)),
        Ok(read) => {
            if let Some(note) = read.note {
                found.note(format!("{name}: {note}"));
            }
            let media = job.row.and_then(|row| row.media).zip(read.media);
            if let Some((path, proven)) = &media {
                found.media.insert(path, proven);
            }
            if let Some(proof) = proof {
                proof.file(job.stored, read.stat);
                if let Some((path, proven)) = &media {
                    proof.media(path, proven);
                }
            }
        }
    }
}

fn describe(name: &str, stored: &str, what: &str) -> String {
    if name == stored { what.to_owned() } else { format!("{name}: {what}") }
}

/// Counts files that no row names: left-overs, a note and no damage.
fn unnamed(own: &Dir, found: &mut Found) -> io::Result<()> {
    let mut count = 0u64;
    for entry in own.entries()? {
        let entry = entry?;
        let Ok(folder) = entry.file_name().into_string() else { continue };
        if !entry.file_type()?.is_dir() {
            count += u64::from(!RECORDS.contains(&folder.as_str()));
            continue;
        }
        for inside in own.open_dir_nofollow(&folder)?.entries()? {
            inside?;
            count += 1;
        }
    }
    let count = count.saturating_sub(found.standing);
    if count > 0 {
        found.note(format!("{count} files in the backup's folder are named by no row of its manifest."));
    }
    Ok(())
}
