//! The phone's own small pictures: `PhotoData/Thumbnails/V2/<path of the original>/5005.JPG`, which stay on the phone
//! also when the original has gone to iCloud (seen in lists of files of real phones).

use std::io;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::{THUMBNAILS, name_of, put};
use crate::afc::{Afc, Dial, Error as AfcError, Kind, Pacing, Settings};
use crate::photos::folder::Folders;
use crate::photos::store::{Error, Store, private_folder};
use crate::progress::{CancellationToken, Event, Observer};

/// The largest small picture that is taken. A phone's have 20 to 100 kB.
const BYTES_MAX: u64 = 1 << 20;
/// How many are asked for at once; with [`BYTES_MAX`] it bounds the memory.
const AT_ONCE: usize = 24;

/// What fetching came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Small pictures that came over the cable.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Small pictures that were here as the phone has them.
    pub unchanged: u64,
    /// Originals of which the phone has none that could be read and is one.
    pub none: u64,
}

/// Why not all could be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The connection to the phone.
    #[error(transparent)]
    Device(#[from] AfcError),
    /// This computer.
    #[error(transparent)]
    Copy(#[from] Error),
    /// It was asked to stop.
    #[error("it was asked to stop")]
    Cancelled,
}

/// Fetches the small pictures of these originals; those that are here with the phone's size and date are not fetched
/// again.
///
/// # Errors
/// A connection that could not be made or died, a full disk, or cancelled; what was fetched before stays.
pub async fn fetch(
    dial: &dyn Dial,
    store: &Store,
    paths: &[String],
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Fetched, Failed> {
    let folder = private_folder(&store.device(), THUMBNAILS)?;
    let mut folders = Folders::below(Arc::new(folder));
    let pacing = Arc::new(Pacing::default());
    observer.event(Event::Note(format!("Fetching small pictures for {} photos and videos.", paths.len())));
    loop {
        let trusted = pacing.ceiling();
        let settings = Settings { pacing: Arc::clone(&pacing), ..Settings::default() };
        let afc = Afc::dial(dial, settings).await?;
        match fetch_over(&afc, &mut folders, paths, cancel).await {
            // A phone that dislikes several requests in flight is asked one thing at a time.
            Err(Failed::Device(error)) if error.broken().is_some() && pacing.ceiling() < trusted => {}
            other => return other,
        }
    }
}

async fn fetch_over(
    afc: &Afc,
    folders: &mut Folders,
    paths: &[String],
    cancel: &CancellationToken,
) -> Result<Fetched, Failed> {
    let mut fetched = Fetched::default();
    let mut waiting = paths.iter().filter_map(|path| Some((path.as_str(), name_of(path)?)));
    let mut asked = FuturesUnordered::new();
    loop {
        while asked.len() < AT_ONCE {
            let Some((path, name)) = waiting.next() else { break };
            let here = here(folders, &name).map_err(Error::at("looking at a small picture"))?;
            asked.push(ask(afc, path, name, here));
        }
        let answer = tokio::select! {
            answer = asked.next() => answer,
            () = cancel.cancelled() => return Err(Failed::Cancelled),
        };
        let Some(answer) = answer else { return Ok(fetched) };
        match answer? {
            Found::None => fetched.none += 1,
            Found::Unchanged => fetched.unchanged += 1,
            Found::New { name, bytes, mtime_ns } => {
                put(folders, &name, &bytes, mtime_ns).map_err(Error::at("writing a small picture"))?;
                fetched.files += 1;
                fetched.bytes += bytes.len() as u64;
            }
        }
    }
}

enum Found {
    None,
    Unchanged,
    New { name: String, bytes: Vec<u8>, mtime_ns: i64 },
}

/// What is here: its size and date in whole seconds, which every file system can hold.
type Here = Option<(u64, i64)>;

fn here(folders: &mut Folders, name: &str) -> io::Result<Here> {
    let Some(size) = folders.size_of(name)? else { return Ok(None) };
    let modified = folders.open(name)?.metadata()?.modified()?;
    let seconds = modified.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(Some((size, i64::try_from(seconds).unwrap_or(i64::MAX))))
}

async fn ask(afc: &Afc, path: &str, name: String, here: Here) -> Result<Found, AfcError> {
    let remote = format!("PhotoData/Thumbnails/V2/{path}/5005.JPG");
    let none = |error: AfcError| if error.broken().is_some() { Err(error) } else { Ok(Found::None) };
    let info = match afc.file_info(&remote).await {
        Ok(info) if info.kind == Kind::File && (1..=BYTES_MAX).contains(&info.size) => info,
        Ok(_) => return Ok(Found::None),
        Err(error) => return none(error),
    };
    if here == Some((info.size, info.mtime_ns.div_euclid(1_000_000_000))) {
        return Ok(Found::Unchanged);
    }
    match afc.read_file(&remote, BYTES_MAX).await {
        Ok(bytes) if is_jpeg(&bytes) => Ok(Found::New { name, bytes, mtime_ns: info.mtime_ns }),
        Ok(_) => Ok(Found::None),
        Err(error) => none(error),
    }
}

/// It begins and ends as a JPEG does: nothing else is ever shown as a picture on the page.
fn is_jpeg(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.starts_with(&[0xff, 0xd8, 0xff]) && bytes[..end].ends_with(&[0xff, 0xd9])
}
