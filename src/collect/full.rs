//! The whole look: what takes more than a moment. Each part that fails is a gap; only a phone that has left ends it.

use std::path::Path;

use futures_util::FutureExt;

use super::database::{self, Desk, Failed};
use super::line::Line;
use super::quick::{AFC_SERVICE, STORAGE, not_started};
use super::resolve::resolve;
use super::{Error, LEFT_TO_FULL, battery, gaps, is_lost, management, panics, words};
use crate::afc::{self, DeviceInfo, Status};
use crate::facts::{Backlog, Fact, Facts, Library, MediaListing, Source};
use crate::lockdown::{self, Session};
use crate::photos;
use crate::progress::{CancellationToken, Event, Observer, Phase};

/// Left-overs of Photo Stream lie here.
const PHOTO_STREAM: &str = "PhotoStreamsData";
/// What the file service alone can tell.
const OVER_AFC: [&str; 4] =
    ["library", "media", "icloud_photos.photo_stream_traces", "icloud_photos.backlog"];

/// Reads what [`super::quick`] left: battery, management, panic reports, the photo library, what waits for iCloud, and
/// the list of the phone's photo files. `scratch` is a private folder on this computer with room for a copy of the
/// library; nothing stays in it.
///
/// # Errors
/// [`Error::Lost`] when the phone has left, [`Error::Cancelled`] when asked to stop. What was read until then is in
/// `facts`, the rest is gaps.
pub async fn full(
    session: &Session,
    scratch: &Path,
    facts: &mut Facts,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    forget_gaps(facts);
    observer.event(Event::Began { phase: Phase::Read, bytes_total: None, items_total: None });
    let desk = Desk { scratch, observer, cancel };
    let all = async {
        tokio::join!(
            battery::ask(session),
            management::ask(session),
            panics::count(session),
            Box::pin(files(session, desk))
        )
    };
    let read = tokio::select! {
        () = cancel.cancelled() => None,
        read = all => Some(read),
    };
    observer.event(Event::Ended { phase: Phase::Read });
    let Some((registry, answers, panics, files)) = read else {
        gaps(facts, LEFT_TO_FULL, "reading was interrupted");
        return Err(Error::Cancelled);
    };
    registry.tell(facts);
    answers.tell(facts);
    panics::tell(panics, facts);
    match files {
        Ok(files) => {
            files.tell(facts);
            if cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
        }
        Err(error) => {
            gaps(facts, &OVER_AFC, &not_started(AFC_SERVICE, &error));
            if is_lost(&error) { Err(Error::Lost(error)) } else { Ok(()) }
        }
    }
}

/// Gaps of an earlier look, or of the quick one, are not those of this.
fn forget_gaps(facts: &mut Facts) {
    let is_ours = |fact: &str| {
        LEFT_TO_FULL
            .iter()
            .any(|ours| fact.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    };
    facts.gaps.retain(|gap| !is_ours(&gap.fact));
}

/// What the file service gave.
struct Files {
    space: Result<DeviceInfo, String>,
    photo_stream: Result<bool, String>,
    library: Result<Library, String>,
    backlog: Result<Option<Backlog>, String>,
    media: Result<MediaListing, String>,
}

/// The library comes over one connection and the list of files over another, side by side: the first waits for the
/// cable's bytes, the second for its round trips.
async fn files(session: &Session, desk: Desk<'_>) -> Result<Files, lockdown::Error> {
    let mut line = Line::new(session);
    let mut beside = Line::new(session);
    let contents = async {
        let space =
            line.twice(|afc| async move { afc.device_info().await.map_err(|error| words(&error)) }.boxed());
        let space = space.await?;
        let photo_stream = line.twice(|afc| async move { photo_stream(&afc).await }.boxed()).await?;
        let read = |afc| async move { database::read_library(&afc, desk).await.map_err(reason) }.boxed();
        let library = line.twice(read).await?;
        let backlog = line.twice(|afc| async move { backlog(&afc, desk).await }.boxed()).await?;
        Ok::<_, lockdown::Error>((space, photo_stream, library, backlog))
    };
    let (contents, media) = tokio::join!(contents, listing(&mut beside, desk));
    let (space, photo_stream, library, backlog) = contents?;
    let media = match media {
        // A phone that gives no second connection is asked over the first.
        Err(error) if !is_lost(&error) => listing(&mut line, desk).await?,
        other => other?,
    };
    Ok(Files { space, photo_stream, library, backlog, media })
}

async fn listing(
    line: &mut Line<'_>,
    desk: Desk<'_>,
) -> Result<Result<MediaListing, String>, lockdown::Error> {
    let walk =
        |afc| async move { photos::walk(&afc, desk.cancel).await.map_err(|error| words(&error)) }.boxed();
    line.twice(walk).await
}

fn reason(failed: Failed) -> String {
    match failed {
        Failed::Unreadable(reason) => reason,
        Failed::Cancelled => "reading was interrupted".to_owned(),
    }
}

async fn photo_stream(afc: &afc::Afc) -> Result<bool, String> {
    match afc.read_dir(PHOTO_STREAM).await {
        Ok(directory) => Ok(!directory.names.is_empty()),
        Err(error) if error.status() == Some(Status::NotFound) => Ok(false),
        Err(error) => Err(words(&error)),
    }
}

/// What waits, if the engine has a store at all.
async fn backlog(afc: &afc::Afc, desk: Desk<'_>) -> Result<Option<Backlog>, String> {
    match afc.file_info(database::STORE_PATH).await {
        Err(error) if error.status() == Some(Status::NotFound) => Ok(None),
        Err(error) => Err(words(&error)),
        Ok(_) => database::read_backlog(afc, desk).await.map(Some).map_err(reason),
    }
}

impl Files {
    fn tell(self, facts: &mut Facts) {
        tell_space(facts, self.space);
        match self.photo_stream {
            Ok(traces) => {
                let fact = Fact::new(traces, Source::new("afc:/PhotoStreamsData", ""));
                facts.icloud_photos.photo_stream_traces = Some(fact);
            }
            Err(reason) => facts.gap("icloud_photos.photo_stream_traces", reason),
        }
        match self.backlog {
            Ok(backlog) => {
                if let Some(reason) = backlog.as_ref().and_then(|backlog| backlog.scopes_unread.clone()) {
                    facts.gap("icloud_photos.backlog.scopes", reason);
                }
                let source =
                    Source::new("afc:/PhotoData/CPL/storage/store.cloudphotodb", "outgoingResources");
                facts.icloud_photos.backlog = backlog.map(|backlog| Fact::new(backlog, source));
            }
            Err(reason) => facts.gap("icloud_photos.backlog", reason),
        }
        tell_library(facts, self.library);
        match self.media {
            Ok(listing) => facts.media = Some(listing),
            Err(reason) => facts.gap("media", reason),
        }
        if let Some(listing) = &facts.media {
            resolve(&mut facts.library, listing);
        }
    }
}

/// Fills what lockdown did not tell of the storage.
fn tell_space(facts: &mut Facts, space: Result<DeviceInfo, String>) {
    let Ok(space) = space else { return };
    let storage = &mut facts.storage;
    for (slot, bytes, fact, key) in [
        (&mut storage.total_bytes, space.total_bytes, STORAGE[0], "FSTotalBytes"),
        (&mut storage.free_bytes, space.free_bytes, STORAGE[1], "FSFreeBytes"),
    ] {
        if let (None, Some(bytes)) = (&slot, bytes) {
            *slot = Some(Fact::new(bytes, Source::new("afc:device", key)));
            facts.gaps.retain(|gap| gap.fact != fact);
        }
    }
}

/// The library, or why there is none.
pub(super) fn tell_library(facts: &mut Facts, library: Result<Library, String>) {
    match library {
        Ok(mut library) => {
            facts.gaps.append(&mut library.gaps);
            facts.library = library;
        }
        Err(reason) => facts.gap("library", reason),
    }
}
