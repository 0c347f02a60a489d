//! What a backup looks like: the order and the shapes of the phone's messages, what it refuses to send, and where its
//! own records state other sizes than it sends.
//!
//! The backup is received into a folder that the caller removes, and nothing of its content gets any further.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::node::{Node, Section};
use super::reason;
use super::tap::{Seen, Tap};
use super::word::Word;
use crate::backup::Secret;
use crate::backup::manifest::{self, Row};
use crate::backup::mbfile::MbFile;
use crate::backup::read::Backup;
use crate::durable;
use crate::lockdown::{Error, Refusal, Session};
use crate::mobilebackup2::folder::Folder;
use crate::mobilebackup2::host::{Host, Outcome, Patience};
use crate::mobilebackup2::ledger::{Entry, Ledger};
use crate::progress::{CancellationToken, Observer};
use crate::usbmux::Stream;

const SERVICE: &str = "com.apple.mobilebackup2";
/// Space that is never offered to the phone.
const RESERVE_BYTES: u64 = 2 << 30;
/// Files that the phone refused and that are looked up.
const REFUSED_MAX: usize = 10_000;

/// The domains of a backup that are the same on every phone.
const DOMAINS: &[&str] = &[
    "CameraRollDomain",
    "DatabaseDomain",
    "HealthDomain",
    "HomeDomain",
    "HomeKitDomain",
    "InstallDomain",
    "KeyboardDomain",
    "KeychainDomain",
    "ManagedPreferencesDomain",
    "MediaDomain",
    "MobileDeviceDomain",
    "NetworkDomain",
    "ProtectedDomain",
    "RootDomain",
    "SystemPreferencesDomain",
    "TonesDomain",
    "WirelessDomain",
];
/// Beginnings of domains that go on with an app's or a group's name.
const FAMILIES: &[(&str, &str)] = &[
    ("AppDomain-", "AppDomain of an app"),
    ("AppDomainGroup-", "AppDomainGroup of a group"),
    ("AppDomainPlugin-", "AppDomainPlugin of a plug-in"),
    ("SysContainerDomain-", "SysContainerDomain of a container"),
    ("SysSharedContainerDomain-", "SysSharedContainerDomain of a container"),
];

/// Files that ended with a code, by the name under which they came.
#[derive(Debug, Default, Clone)]
struct Refused(Arc<Mutex<BTreeMap<String, u8>>>);

impl Ledger for Refused {
    fn keep(&mut self, batch: &[Entry]) -> io::Result<()> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in batch {
            if let Entry::Received(file) = entry
                && file.code != 0
                && refused.len() < REFUSED_MAX
            {
                let name = file.path.rsplit('/').next().unwrap_or_default();
                refused.insert(name.to_owned(), file.code);
            }
        }
        Ok(())
    }
}

/// Has the phone make a full backup into `scratch` and tells what it was like.
pub(super) async fn measure(
    session: &Session,
    scratch: &Path,
    password: Option<&Secret>,
    observer: &dyn Observer,
    cancel: &CancellationToken,
    into: &mut Section,
) -> Result<(), Word> {
    let stream = start(session).await.map_err(|error| reason::of_lockdown(&error))?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let tap: Stream = Box::new(Tap::new(stream, Arc::clone(&seen)));
    let refused = Refused::default();
    let outcome = receive(session, tap, scratch, &refused, observer, cancel, into).await;
    tell(&seen.lock().unwrap_or_else(PoisonError::into_inner), into);
    outcome?;
    let folder = scratch.join(session.udid().as_str());
    let (password, refused) =
        (password.cloned(), refused.0.lock().unwrap_or_else(PoisonError::into_inner).clone());
    let looking = tokio::task::spawn_blocking(move || records(&folder, password.as_ref(), &refused));
    let told = looking.await.map_err(|_| Word::own("its records could not be read"))??;
    into.put("records", told);
    Ok(())
}

/// With the escrow bag, which also works on a locked phone, else without.
async fn start(session: &Session) -> Result<Stream, Error> {
    match session.start_service_escrowed(SERVICE).await {
        Err(Error::Refused { refusal: Refusal::EscrowLocked | Refusal::MissingValue, .. }) => {
            session.start_service(SERVICE).await
        }
        other => other,
    }
}

async fn receive(
    session: &Session,
    stream: Stream,
    scratch: &Path,
    refused: &Refused,
    observer: &dyn Observer,
    cancel: &CancellationToken,
    into: &mut Section,
) -> Result<(), Word> {
    let no_disk = |_| Word::own("this computer's disk");
    let root = Dir::open_ambient_dir(scratch, ambient_authority()).map_err(no_disk)?;
    let folder = Folder::open(root, session.udid().clone(), RESERVE_BYTES).map_err(no_disk)?;
    let greeted = Host::greet(stream, Patience::default(), cancel).await;
    let host = greeted.map_err(|_| Word::own("the greeting failed"))?;
    into.put("DeviceLink version", Word::number_up_to(host.device_version(), 999));
    let report = host.backup(true, folder, Box::new(refused.clone()), observer, cancel).await;
    into.put("asked for space to be freed", report.purge_wanted_bytes.is_some());
    into.put("asked for earlier files", report.sent_back_bytes > 0);
    let ended = match report.outcome {
        Outcome::Finished => {
            into.put("end", Word::own("finished"));
            return Ok(());
        }
        Outcome::NotFinished { .. } => Word::own("done, and its status does not say finished"),
        Outcome::DeviceError { code, .. } => {
            let code = u64::try_from(code).unwrap_or(u64::MAX);
            into.put("error code", Word::number_up_to(code, 999));
            Word::own("the phone gave up")
        }
        Outcome::Disconnected { .. } => Word::own("the phone ended the talk"),
        Outcome::HostError(_) => Word::own("this computer's disk"),
        Outcome::Broken(_) => Word::own("the talk broke off"),
    };
    into.put("end", ended.clone());
    Err(ended)
}

fn tell(seen: &Seen, into: &mut Section) {
    into.put("order of messages", Node::List(seen.order.iter().cloned().map(Node::Word).collect()));
    let shapes =
        seen.shapes.iter().map(|(name, shapes)| (name.clone(), Node::List(shapes.clone()))).collect();
    into.put("shapes of messages", Node::Map(shapes));
    let codes = seen
        .codes
        .iter()
        .map(|(code, count)| (Word::number_up_to(u64::from(*code), 255), Word::about(*count).into()));
    into.put("codes at the end of files", Node::Map(codes.collect()));
    if seen.lost {
        into.put("the stream", Word::own("could not be followed to its end"));
    }
}

/// What the records say beside what came.
fn records(
    folder: &Path,
    password: Option<&Secret>,
    refused: &BTreeMap<String, u8>,
) -> Result<Section, Word> {
    let no_disk = |_| Word::own("this computer's disk");
    let dir = Dir::open_ambient_dir(folder, ambient_authority()).map_err(no_disk)?;
    let scratch = dir.try_clone().map_err(no_disk)?;
    let stored = dir.try_clone().map_err(no_disk)?;
    let backup = Backup::open(dir, password, &scratch).map_err(|error| {
        Word::own(match error {
            manifest::Error::WrongPassword => "encrypted, and no password was given",
            _ => "its records could not be read",
        })
    })?;
    let mut told = Section::default();
    let encrypted = backup.manifest().encrypted;
    told.put("encrypted", encrypted);
    let (mut counts, mut sizes, mut no) = (Counts::default(), Counts::default(), Counts::default());
    let mut without_file = Counts::default();
    let walked = backup.rows(|row| {
        let place = place(&row);
        counts.count(place.clone());
        if !row.is_file() {
            return true;
        }
        if let Some(code) = refused.get(&row.id) {
            no.count(format_code(&place, *code));
        }
        let Some(name) = row.stored() else { return true };
        let length =
            manifest::open_plain(&stored, &name).and_then(|file| file.metadata()).map(|data| data.size());
        match (length, MbFile::parse(&row.archive)) {
            (Err(_), _) if !refused.contains_key(&row.id) => without_file.count(place),
            (Ok(length), Ok(file)) if !is_size(length, file.size, encrypted) => sizes.count(place),
            _ => {}
        }
        true
    });
    walked.map_err(|_| Word::own("its records could not be read"))?;
    told.put("rows", counts.tell());
    told.put("other sizes than stated", sizes.tell());
    told.put("refused", no.tell());
    told.put("rows without a file", without_file.tell());
    Ok(told)
}

/// A file has the stated size; encrypted, it is padded to whole blocks.
fn is_size(length: u64, stated: u64, encrypted: bool) -> bool {
    length == stated || (encrypted && length == (stated / 16 + 1) * 16)
}

#[derive(Default)]
struct Counts(BTreeMap<Vec<Word>, u64>);

impl Counts {
    fn count(&mut self, place: Vec<Word>) {
        *self.0.entry(place).or_default() += 1;
    }

    fn tell(self) -> Node {
        let mut root: BTreeMap<Word, Node> = BTreeMap::new();
        for (place, count) in self.0 {
            let mut at = &mut root;
            let (last, above) = place.split_last().expect("a place has a domain and a kind");
            for word in above {
                let node = at.entry(word.clone()).or_insert_with(|| Node::Map(BTreeMap::new()));
                let Node::Map(inner) = node else { unreachable!("only maps are put above the last word") };
                at = inner;
            }
            at.insert(last.clone(), Word::about(count).into());
        }
        Node::Map(root)
    }
}

/// Domain and kind of a row.
fn place(row: &Row) -> Vec<Word> {
    vec![domain(&row.domain), kind(row)]
}

fn format_code(place: &[Word], code: u8) -> Vec<Word> {
    let mut place = place.to_vec();
    place.push(Word::number_up_to(u64::from(code), 255));
    place
}

fn domain(name: &str) -> Word {
    let known = DOMAINS.iter().find(|known| **known == name).copied();
    let family = || FAMILIES.iter().find(|(begin, _)| name.starts_with(begin)).map(|(_, family)| *family);
    Word::own(known.or_else(family).unwrap_or("another domain"))
}

fn kind(row: &Row) -> Word {
    const KINDS: &[(&str, &[&str])] = &[
        ("database", &["db", "sqlite", "sqlitedb", "sqlite3", "storedata", "cloudphotodb"]),
        ("database's log", &["db-wal", "sqlite-wal", "sqlitedb-wal", "db-shm", "sqlite-shm"]),
        ("property list", &["plist", "aae"]),
        ("photo or film", &["heic", "jpg", "jpeg", "png", "mov", "mp4", "dng", "gif", "heif", "webp"]),
    ];
    Word::own(match row.flags {
        1 => {
            let extension = row.path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
            let extension = extension.unwrap_or_default();
            KINDS
                .iter()
                .find(|(_, known)| known.contains(&extension.as_str()))
                .map_or("file", |(kind, _)| kind)
        }
        2 => "folder",
        4 => "link",
        _ => "another kind",
    })
}

/// A new private folder for a backup below `dir`.
///
/// # Errors
/// This computer's disk.
pub fn scratch_below(dir: &Path) -> io::Result<tempfile::TempDir> {
    durable::open_or_create_private(dir)?;
    tempfile::Builder::new().prefix("conformance-").tempdir_in(dir)
}
