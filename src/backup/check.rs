//! Reads a backup again and compares it with what was received. It finds; what it is worth is said in [`super::verify`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use aws_lc_rs::digest::{Context, SHA256};
use cap_fs_ext::DirExt;
use cap_std::fs::Dir;

use super::Secret;
use super::harmless::is_harmless;
use super::keybag::Keys;
use super::manifest::{self, Database, Manifest, Row, Status};
use super::mbfile::MbFile;
use super::proof_file::{ProofFile, Stat};
use super::record::{Known, Record};
use super::verify::{Damage, ProvenMedia, Refused};

mod file;

/// Records of the backup itself, which no row names.
const RECORDS: [&str; 4] = ["Info.plist", "Manifest.db", "Manifest.plist", "Status.plist"];
/// Most things named one by one.
const NAMED_MAX: usize = 10_000;
/// Where rows of the camera roll begin.
const MEDIA_PREFIX: &str = "Media/";
/// Files that wait for a reader.
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
    /// How each file that was read stood.
    pub(super) files: BTreeMap<String, Stat>,
    pub(super) media: HashMap<String, (String, ProvenMedia)>,
    pub(super) encrypted: bool,
    /// The content was looked at, not only the outside.
    pub(super) inside: bool,
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

/// The backup to be checked.
pub(super) struct Subject {
    /// Holds the phone's folder, the record and the proof.
    pub(super) root: Dir,
    /// The phone's folder.
    pub(super) own: Dir,
    pub(super) record: Record,
    /// What an earlier proof read; files that stand as they stood then are not read again.
    pub(super) before: Option<ProofFile>,
}

/// Checks everything that can be checked.
pub(super) fn check(
    subject: &Subject,
    password: Option<&Secret>,
    watch: &Arc<Watch>,
) -> Result<Found, Stopped> {
    let mut found = Found::default();
    let own = &subject.own;
    match Status::read(own) {
        Ok(status) if status.finished() => {}
        Ok(status) => {
            found.damaged("Status.plist", format!("the phone did not finish: it says {:?}", status.state));
        }
        Err(error) => found.damaged("Status.plist", error.to_string()),
    }
    if let Err(error) = manifest::read_plist(own, "Info.plist") {
        found.damaged("Info.plist", error.to_string());
    }
    let opened = open(subject, password, &mut found)?;
    read_all(subject, opened.as_ref(), &mut found, watch)?;
    if watch.stop.load(Ordering::Relaxed) {
        return Err(Stopped::Cancelled);
    }
    Ok(found)
}

/// Manifest and database, as far as they can be opened.
struct Opened {
    database: Database,
    keys: Option<Keys>,
}

fn open(subject: &Subject, password: Option<&Secret>, found: &mut Found) -> Result<Option<Opened>, Stopped> {
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

/// Reads every file, on as many threads as there are processors, while this one walks the rows.
fn read_all(
    subject: &Subject,
    opened: Option<&Opened>,
    found: &mut Found,
    watch: &Arc<Watch>,
) -> Result<(), Stopped> {
    let (jobs, waiting) = mpsc::sync_channel::<Job>(QUEUE);
    let (results, done) = mpsc::channel();
    let waiting = Mutex::new(waiting);
    let readers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(8);
    let keys = opened.and_then(|opened| opened.keys.as_ref());
    std::thread::scope(|scope| {
        for _ in 0..readers {
            let (results, waiting) = (results.clone(), &waiting);
            scope.spawn(move || {
                while let Some(job) = next(waiting) {
                    let result = file::read(subject, keys, &job, watch);
                    if results.send((job, result)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(results);
        let walked = walk(subject, opened, found, &jobs, watch);
        drop(jobs);
        for (job, result) in done {
            take(found, job, result);
        }
        walked
    })?;
    found.damage.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}

fn next(waiting: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn take(found: &mut Found, job: Job, result: io::Result<file::Read>) {
    let name = job.row.as_ref().map_or(job.stored.as_str(), |row| row.name.as_str());
    match result {
        Err(error) => found.damaged(&job.stored, describe(name, &job.stored, &error.to_string())),
        Ok(read) => {
            if let Some(what) = read.damage {
                found.damaged(&job.stored, describe(name, &job.stored, &what));
                return;
            }
            if let Some(note) = read.note {
                found.note(format!("{name}: {note}"));
            }
            found.files.insert(job.stored.clone(), read.stat);
            let media = job.row.and_then(|row| row.media);
            if let Some((media, proven)) = media.zip(read.media) {
                found.media.insert(media, (job.stored, proven));
            }
        }
    }
}

fn describe(name: &str, stored: &str, what: &str) -> String {
    if name == stored { what.to_owned() } else { format!("{name}: {what}") }
}

/// Hands out every file that the rows and the record name.
fn walk(
    subject: &Subject,
    opened: Option<&Opened>,
    found: &mut Found,
    jobs: &mpsc::SyncSender<Job>,
    watch: &Watch,
) -> Result<(), Stopped> {
    let mut named: HashSet<String> = HashSet::new();
    let send = |job: Job| !watch.stop.load(Ordering::Relaxed) && jobs.send(job).is_ok();
    for name in RECORDS {
        match subject.record.file(name) {
            Some(known) => drop(send(Job { stored: name.to_owned(), known: *known, row: None })),
            None => found.damaged(name, "there is no record of receiving it"),
        }
    }
    if let Some(opened) = opened {
        let mut rows = 0u64;
        let walked = opened.database.rows(|row| {
            rows += 1;
            let job = if row.is_file() { job_of(subject, &row, &mut named, found) } else { None };
            job.is_none_or(&send) && !watch.stop.load(Ordering::Relaxed)
        });
        match walked {
            Err(error) => found.damaged("Manifest.db", error.to_string()),
            Ok(()) if rows == 0 => found.damaged("Manifest.db", "it names no files at all"),
            Ok(()) => {}
        }
    }
    for (stored, known) in subject.record.files() {
        let own_record = RECORDS.contains(&stored);
        if own_record || named.contains(stored) {
            continue;
        }
        if opened.is_none() {
            send(Job { stored: stored.to_owned(), known: *known, row: None });
        }
    }
    if opened.is_some() {
        unnamed(&subject.own, &named, found).map_err(Stopped::Io)?;
    }
    Ok(())
}

/// What is to be read for a row; `None` where there is nothing to read, and why is told.
fn job_of(subject: &Subject, row: &Row, named: &mut HashSet<String>, found: &mut Found) -> Option<Job> {
    let name = format!("{}::{}", row.domain, row.path);
    let Some(stored) = row.stored() else {
        found.damaged("Manifest.db", format!("{name}: its row has the wrong file name {:?}", row.id));
        return None;
    };
    let file = match MbFile::parse(&row.archive) {
        Ok(file) => file,
        Err(what) => {
            found.damaged("Manifest.db", format!("{name}: its description is damaged: {what}"));
            MbFile::default()
        }
    };
    named.insert(stored.clone());
    let known = subject.record.file(&stored).copied();
    let code = known.map_or(0, |known| known.code);
    // What came later has taken a refusal out of the record: one that is there is the last word, and what stands is older.
    let refused = if code != 0 { Some(code) } else { subject.record.refused(&row.id) };
    if let Some(code) = refused {
        let (domain, path) = (row.domain.clone(), row.path.clone());
        let harmless = is_harmless(&domain, &path);
        found.refused.push(Refused { domain, path, code, harmless });
    }
    let Some(known) = known else {
        if refused.is_none() {
            let there = subject.own.symlink_metadata(&stored).is_ok();
            let what = if there { "there is no record of receiving it" } else { "it is missing" };
            found.damaged(&stored, format!("{name}: {what}"));
        }
        return None;
    };
    let media = row.path.strip_prefix(MEDIA_PREFIX).filter(|_| row.domain == "CameraRollDomain");
    let media = media.filter(|_| refused.is_none()).map(str::to_owned);
    Some(Job { stored, known, row: Some(JobRow { name, media, file, refused: refused.is_some() }) })
}

/// Counts files that no row names: left-overs, a note and no damage.
fn unnamed(own: &Dir, named: &HashSet<String>, found: &mut Found) -> io::Result<()> {
    let mut count = 0u64;
    for entry in own.entries()? {
        let entry = entry?;
        let Ok(folder) = entry.file_name().into_string() else { continue };
        if !entry.file_type()?.is_dir() {
            count += u64::from(!RECORDS.contains(&folder.as_str()));
            continue;
        }
        for inside in own.open_dir_nofollow(&folder)?.entries()? {
            let name = inside?.file_name();
            let stored = name.to_str().map(|name| format!("{folder}/{name}"));
            count += u64::from(stored.is_none_or(|stored| !named.contains(&stored)));
        }
    }
    if count > 0 {
        found.note(format!("{count} files in the backup's folder are named by no row of its manifest."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::record::Journal;
    use crate::mobilebackup2::ledger::{Entry, Ledger, Received};

    #[test]
    fn a_file_that_the_phone_refused_anew_is_told_although_an_older_one_stands() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        root.create_dir("own").unwrap();
        let (domain, path) = ("HomeDomain".to_owned(), "Library/SMS/sms.db".to_owned());
        let id = manifest::file_id(&domain, &path);
        let row = Row { id, domain, path, flags: 1, archive: Vec::new() };
        let stored = row.stored().unwrap();
        let received = |path: String, bytes, code| {
            Entry::Received(Received { path, device_path: String::new(), bytes, sha256: [0; 32], code })
        };
        let anew = format!("Snapshot/{stored}");
        let mut journal = Journal::open(&root).unwrap();
        let older = received(stored.clone(), 3, 0);
        let moved = Entry::Moved { from: anew.clone(), to: stored };
        journal.keep(&[older, received(anew, 0, 0x0B), moved]).unwrap();
        let (own, record) = (root.open_dir("own").unwrap(), Record::load(&root).unwrap());
        let subject = Subject { root, own, record, before: None };
        let mut found = Found::default();
        job_of(&subject, &row, &mut HashSet::new(), &mut found);
        let [refused] = &found.refused[..] else { panic!("{:?}", found.refused) };
        assert_eq!((refused.code, refused.harmless), (0x0B, false));
    }
}
