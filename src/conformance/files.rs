//! What the file service shows: the form of its answers, which of the well-known paths open, how many handles it
//! gives, how many small questions it answers. No name that it lists gets any further than a comparison with our own.

use std::time::Duration;

use tokio::time::Instant;

use super::node::{Node, Section};
use super::raw::{Oddity, Raw};
use super::word::Word;
use crate::afc::info::{Directory, FileInfo, Kind};
use crate::afc::{Request, SERVICE};
use crate::lockdown::{Error, Session};

/// What iOS itself puts into the root.
const TOP_FOLDERS: &[&str] = &[
    "AirFair",
    "Airlock",
    "Books",
    "CloudAssets",
    "DCIM",
    "Deferred",
    "Downloads",
    "EnhancedAudioSharedKeys",
    "HFSMeta",
    "LoFiCloudAssets",
    "MediaAnalysis",
    "MemoriesMovies",
    "PBImages",
    "PhotoData",
    "PhotoStreamsData",
    "Photos",
    "Podcasts",
    "PublicStaging",
    "Purchases",
    "Radio",
    "Recordings",
    "Vibrations",
    "com.apple.itunes.lock_sync",
    "general_storage",
    "iTunesRestore",
    "iTunes_Control",
];

/// Paths that are asked for. The same on every phone: none holds a name that somebody gave.
const PATHS: &[&str] = &[
    "DCIM",
    "DCIM/100APPLE",
    "PhotoData",
    "PhotoData/AlbumsMetadata",
    "PhotoData/CMMAssets",
    "PhotoData/CPL",
    "PhotoData/CPL/DownloadCounts.plist",
    "PhotoData/CPL/cloudphotos-1.0.plist",
    "PhotoData/CPL/initialsync_marker",
    "PhotoData/CPL/metrics.plist",
    "PhotoData/CPL/mobileCPL.plist",
    "PhotoData/CPL/pauseICloudPhotos",
    "PhotoData/CPL/resetevents.plist",
    "PhotoData/CPL/storage",
    "PhotoData/CPL/storage/store.cloudphotodb",
    "PhotoData/CPL/syncstatus.plist",
    "PhotoData/CPLAssets",
    "PhotoData/Caches",
    "PhotoData/Journals",
    "PhotoData/MISC",
    "PhotoData/MISC/DCIM_APPLE.plist",
    "PhotoData/Metadata",
    "PhotoData/Mutations",
    "PhotoData/PhotoCloudSharingData",
    "PhotoData/Photos.sqlite",
    "PhotoData/Photos.sqlite-shm",
    "PhotoData/Photos.sqlite-wal",
    "PhotoData/Thumbnails",
    "PhotoData/cpl_download_finished_marker",
    "PhotoData/cpl_enabled_marker",
    "PhotoData/private",
    "PhotoData/private/com.apple.accountsd/cloudServiceEnableLog.plist",
    "PhotoData/private/com.apple.assetsd/cloudServiceEnableLog.plist",
    "PhotoData/private/com.apple.photolibraryd/cloudServiceEnableLog.plist",
    "iTunes_Control",
];

/// Handles that are opened at most.
const HANDLES_MAX: usize = 64;
/// How long small questions are asked.
const SMALL_FOR: Duration = Duration::from_millis(500);
/// Small questions in flight in the second round.
const SMALL_DEPTH: usize = 16;
/// Files that are looked at for one to read from.
const LOOKED_AT_MAX: usize = 300;
/// How long one is looked for.
const LOOK_FOR: Duration = Duration::from_secs(5);

/// A file to read from. Its path goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) path: String,
    pub(super) size: u64,
}

pub(super) async fn connect(session: &Session) -> Result<Raw, Error> {
    Ok(Raw::over(session.start_service_escrowed(SERVICE).await?))
}

/// The file service without its speed. Gives a file to read from.
pub(super) async fn look(raw: &mut Raw, into: &mut Section) -> Result<Option<Chosen>, Oddity> {
    into.put("device info", keys(&raw.data(&Request::DeviceInfo).await?));
    top(raw, into).await?;
    for path in PATHS {
        let word = match opens(raw, path).await {
            Ok(word) => word,
            Err(oddity) if oddity.is_refusal() => oddity.word(),
            Err(oddity) => return Err(oddity),
        };
        into.section(Word::own("paths")).insert(Word::own(path), word.into());
    }
    let chosen = choose(raw).await?;
    if let Some(chosen) = &chosen {
        let handles = handles(raw, &chosen.path).await?;
        into.put("handles", handles);
        into.put("file info", keys(&raw.data(&info(&chosen.path)).await?));
    }
    for (name, depth) in
        [("small requests per second", 1), ("small requests per second, 16 in flight", SMALL_DEPTH)]
    {
        let rate = small(raw, depth).await?;
        into.put(name, Node::figure(rate));
    }
    Ok(chosen)
}

fn info(path: &str) -> Request {
    Request::FileInfo { path: path.to_owned() }
}

/// The keys of an answer that is made of pairs.
fn keys(reply: &[u8]) -> Node {
    let mut keys = Section::default();
    let mut hidden = 0;
    for (at, text) in reply.strip_suffix(&[0]).unwrap_or(reply).split(|b| *b == 0).enumerate() {
        if at % 2 == 1 {
            continue;
        }
        match std::str::from_utf8(text).ok().and_then(Word::key) {
            Some(key) => keys.put_word(key, Node::own("there")),
            None => hidden += 1,
        }
    }
    if hidden > 0 {
        keys.put("(not shown)", Word::about(hidden));
    }
    keys.into()
}

async fn top(raw: &mut Raw, into: &mut Section) -> Result<(), Oddity> {
    let root = raw.data(&Request::ReadDir { path: "/".to_owned() }).await?;
    let dots = Node::own(if root.starts_with(b".\0..\0") { "first" } else { "not first" });
    into.put("dot and dot-dot in a list", dots);
    let listed = Directory::parse(&root);
    let mut strange = listed.unusable.len() as u64;
    for name in &listed.names {
        match TOP_FOLDERS.iter().find(|known| *known == name) {
            Some(known) => {
                into.section(Word::own("top folders")).insert(Word::own(known), Node::own("there"));
            }
            None => strange += 1,
        }
    }
    into.put("other names at the top", Word::about(strange));
    Ok(())
}

/// Whether a path opens, as far as reading goes.
async fn opens(raw: &mut Raw, path: &str) -> Result<Word, Oddity> {
    let Some(info) = FileInfo::parse(&raw.data(&info(path)).await?) else {
        return Ok(Word::own("its info cannot be read"));
    };
    Ok(Word::own(match info.kind {
        Kind::Directory => {
            raw.data(&Request::ReadDir { path: path.to_owned() }).await?;
            "a folder that opens"
        }
        Kind::File => {
            let handle = raw.open(path).await?;
            raw.close(handle).await?;
            "a file that opens"
        }
        Kind::Link => "a link",
        Kind::Special => "neither file nor folder",
    }))
}

/// The largest file among the first in the camera's folders, else the library's own database.
async fn choose(raw: &mut Raw) -> Result<Option<Chosen>, Oddity> {
    let end = Instant::now() + LOOK_FOR;
    let mut best: Option<Chosen> = None;
    let mut looked_at = 0;
    for folder in names(raw, "DCIM").await? {
        let folder = format!("DCIM/{folder}");
        for name in names(raw, &folder).await? {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX || Instant::now() > end {
                break;
            }
            let path = format!("{folder}/{name}");
            let size = size(raw, &path).await?;
            if best.as_ref().is_none_or(|best| best.size < size) && openable(raw, &path).await? {
                best = Some(Chosen { path, size });
            }
        }
    }
    if best.is_none() {
        let path = "PhotoData/Photos.sqlite".to_owned();
        let size = size(raw, &path).await?;
        best = Some(Chosen { path, size });
    }
    Ok(best.filter(|best| best.size > 0))
}

/// Real phones refuse some originals.
async fn openable(raw: &mut Raw, path: &str) -> Result<bool, Oddity> {
    match raw.open(path).await {
        Ok(handle) => raw.close(handle).await.map(|()| true),
        Err(oddity) if oddity.is_refusal() => Ok(false),
        Err(oddity) => Err(oddity),
    }
}

async fn names(raw: &mut Raw, path: &str) -> Result<Vec<String>, Oddity> {
    match raw.data(&Request::ReadDir { path: path.to_owned() }).await {
        Ok(reply) => Ok(Directory::parse(&reply).names),
        Err(oddity) if oddity.is_refusal() => Ok(Vec::new()),
        Err(oddity) => Err(oddity),
    }
}

async fn size(raw: &mut Raw, path: &str) -> Result<u64, Oddity> {
    match raw.data(&info(path)).await {
        Ok(reply) => {
            Ok(FileInfo::parse(&reply).filter(|info| info.kind == Kind::File).map_or(0, |info| info.size))
        }
        Err(oddity) if oddity.is_refusal() => Ok(0),
        Err(oddity) => Err(oddity),
    }
}

/// How many handles there are before the phone gives no more. All are closed again.
async fn handles(raw: &mut Raw, path: &str) -> Result<Section, Oddity> {
    let mut open = Vec::new();
    let mut end = Word::own("not reached");
    while open.len() < HANDLES_MAX {
        match raw.open(path).await {
            Ok(handle) => open.push(handle),
            Err(oddity) if oddity.is_refusal() => {
                end = oddity.word();
                break;
            }
            Err(oddity) => return Err(oddity),
        }
    }
    let mut told = Section::default();
    told.put("opened", Word::number_up_to(open.len() as u64, HANDLES_MAX as u64));
    told.put("limit", end);
    for handle in open {
        raw.close(handle).await?;
    }
    Ok(told)
}

/// Small questions answered in a second, with so many in flight.
async fn small(raw: &mut Raw, depth: usize) -> Result<u64, Oddity> {
    let request = info("/");
    let began = Instant::now();
    let mut answered = 0_u64;
    let mut in_flight = 0;
    loop {
        while in_flight < depth && began.elapsed() < SMALL_FOR {
            raw.send(&request).await?;
            in_flight += 1;
        }
        if in_flight == 0 {
            break;
        }
        raw.any_data().await?;
        in_flight -= 1;
        answered += 1;
    }
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    Ok(answered * 1000 / millis)
}

/// How large a file is, roughly.
pub(super) fn size_class(size: u64) -> Word {
    Word::own(match size {
        0..0x10_0000 => "under 1 MiB",
        0x10_0000..0x100_0000 => "1 to 16 MiB",
        0x100_0000..0x1000_0000 => "16 to 256 MiB",
        _ => "256 MiB or more",
    })
}
