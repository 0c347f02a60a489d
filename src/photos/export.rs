//! Pictures for whoever cannot open HEIC: every HEIC of the copy as a JPEG in a folder of its own, and the other
//! pictures beside them as they are. Clips and RAWs stay where they are; the copy itself is never changed.
//!
//! Knows the copy's manifest, not the phone. A JPEG is made from the pixels as they are to be seen (turned, cropped), so
//! its Exif block says upright; the rest of the block, with the date and the place, and the colour profile come along.
//! Each JPEG says in a comment which bytes it was made from, so that a second run knows it without making it again.

mod heic;
mod plan;
mod target;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::exif;
use super::folder::Folders;
use super::manifest::Entry;
use super::store::{Error, Store};
use crate::progress::{CancellationToken, Event, Observer, Phase};
use plan::{Job, Make};
use target::{Target, There};

pub use heic::decoder;

/// JPEG quality: no difference to be seen, at about twice the size of the HEIC.
const QUALITY: u8 = 90;
/// Threads that decode.
const THREADS: usize = 2;
/// The largest HEIC that is read into memory.
const HEIC_BYTES_MAX: u64 = 256 << 20;
/// The longest Exif block that a JPEG can hold.
const EXIF_BYTES_MAX: usize = 65_527;

/// A picture as it is to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
    /// Three bytes a pixel, row by row.
    pub rgb: Vec<u8>,
    /// The Exif block, from its byte order on.
    pub exif: Option<Vec<u8>>,
    /// The colour profile.
    pub icc: Option<Vec<u8>>,
}

/// Whoever can decode HEIC.
pub trait Decode: Send + Sync {
    /// The picture, or why it cannot be decoded.
    ///
    /// # Errors
    /// Why, in plain words.
    fn decode(&self, heic: &[u8]) -> Result<Decoded, String>;
}

/// What exporting came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// JPEGs that were made.
    pub converted: u64,
    /// Pictures that were copied as they are.
    pub copied: u64,
    /// Pictures that were there already.
    pub unchanged: u64,
    /// Clips, RAWs and whatever else is no picture: left where they are.
    pub left: u64,
    /// What could not be exported, by the phone's path, with the reason.
    pub failed: Vec<(String, String)>,
    /// What is worth knowing, by the phone's path.
    pub notes: Vec<(String, String)>,
    /// It was asked to stop before the end.
    pub cancelled: bool,
}

/// Exports every picture of the copy into `folder`. Blocks.
///
/// # Errors
/// The disk is full. What fails for one picture is in the result.
pub fn export(
    store: &Store,
    folder: &Path,
    decode: &dyn Decode,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Exported, Error> {
    let into = crate::durable::open_or_create_private(folder).map_err(Error::at("opening the folder"))?;
    let (jobs, left) = plan::jobs(store.manifest().entries());
    let export = Export {
        store,
        into: Arc::new(into),
        decode,
        observer,
        cancel,
        jobs,
        next: AtomicUsize::new(0),
        finished: AtomicUsize::new(0),
        exported: Mutex::new(Exported { left, ..Exported::default() }),
    };
    observer.event(Event::Began {
        phase: Phase::Export,
        bytes_total: None,
        items_total: Some(export.jobs.len() as u64),
    });
    let ended = export.run();
    observer.event(Event::Ended { phase: Phase::Export });
    ended?;
    let mut exported = export.exported.into_inner().expect("no holder of this lock panics");
    exported.failed.sort();
    exported.notes.sort();
    exported.cancelled = cancel.is_cancelled();
    Ok(exported)
}

struct Export<'a> {
    store: &'a Store,
    into: Arc<Dir>,
    decode: &'a dyn Decode,
    observer: &'a dyn Observer,
    cancel: &'a CancellationToken,
    jobs: Vec<Job>,
    next: AtomicUsize,
    finished: AtomicUsize,
    exported: Mutex<Exported>,
}

/// What one picture came to.
enum Done {
    Converted { without_exif: bool },
    Copied,
    Unchanged,
}

impl Export<'_> {
    fn run(&self) -> Result<(), Error> {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS.min(self.jobs.len())).map(|_| scope.spawn(|| self.work())).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    fn work(&self) -> Result<(), Error> {
        let mut from = Folders::below(self.store.device());
        let mut into = Folders::below(Arc::clone(&self.into));
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = self.jobs.get(at).filter(|_| !self.cancel.is_cancelled()) else { return Ok(()) };
            let done = self.one(job, &mut from, &mut into);
            if let Err(Failed::Full) = done {
                self.next.store(self.jobs.len(), Ordering::Relaxed);
                return Err(Error::Full("writing a picture"));
            }
            self.note(job, done);
            self.observer.event(Event::Advanced {
                phase: Phase::Export,
                bytes_done: 0,
                bytes_total: None,
                items_done: self.finished.fetch_add(1, Ordering::Relaxed) as u64 + 1,
            });
        }
    }

    fn note(&self, job: &Job, done: Result<Done, Failed>) {
        let mut exported = self.exported.lock().expect("no holder of this lock panics");
        match done {
            Ok(Done::Converted { without_exif }) => {
                exported.converted += 1;
                if without_exif {
                    let why = "its Exif block is longer than a JPEG can hold and was left out";
                    exported.notes.push((job.path.clone(), why.to_owned()));
                }
            }
            Ok(Done::Copied) => exported.copied += 1,
            Ok(Done::Unchanged) => exported.unchanged += 1,
            Err(failed) => {
                let reason = failed.to_string();
                self.observer.event(Event::Skipped { item: job.path.clone(), reason: reason.clone() });
                exported.failed.push((job.path.clone(), reason));
            }
        }
    }

    fn one(&self, job: &Job, from: &mut Folders, into: &mut Folders) -> Result<Done, Failed> {
        let original = from.open(&job.entry.local(&job.path))?;
        if original.metadata()?.len() != job.entry.size {
            return Err(Failed::Other("the copy of it is damaged; photos verify tells more".to_owned()));
        }
        let target = Target::at(into, &job.target)?;
        match job.make {
            Make::Copy => copy(original, &job.entry, &target),
            Make::Jpeg => self.convert(original, &job.entry, &target),
        }
    }

    fn convert(&self, original: File, entry: &Entry, target: &Target<'_>) -> Result<Done, Failed> {
        let comment = format!("idevice-fix: JPEG of quality {QUALITY} of {}", hex::encode(entry.sha256));
        if target.is_jpeg_with(&comment)? {
            return Ok(Done::Unchanged);
        }
        let mut heic = Vec::new();
        original.take(HEIC_BYTES_MAX + 1).read_to_end(&mut heic)?;
        if heic.len() as u64 > HEIC_BYTES_MAX {
            return Err(Failed::Other("it is too large to be a photo".to_owned()));
        }
        if heic.starts_with(&[0xff, 0xd8, 0xff]) {
            // Named .HEIC and a JPEG inside: what makes photos smaller on the way out was seen to do that.
            return Ok(match target.put(&heic, entry.mtime_ns)? {
                There::Equal => Done::Unchanged,
                There::New => Done::Copied,
            });
        }
        let mut decoded = self.decode.decode(&heic).map_err(Failed::Other)?;
        drop(heic);
        let without_exif = decoded.exif.as_ref().is_some_and(|exif| exif.len() > EXIF_BYTES_MAX);
        if without_exif {
            decoded.exif = None;
        }
        let jpeg = jpeg(&mut decoded, &comment)?;
        Ok(match target.put(&jpeg, entry.mtime_ns)? {
            There::Equal => Done::Unchanged,
            There::New => Done::Converted { without_exif },
        })
    }
}

fn copy(mut original: File, entry: &Entry, target: &Target<'_>) -> Result<Done, Failed> {
    Ok(match target.put_copy(&mut original, entry.mtime_ns)? {
        There::Equal => Done::Unchanged,
        There::New => Done::Copied,
    })
}

/// The JPEG of a picture, with the comment before its first table.
fn jpeg(decoded: &mut Decoded, comment: &str) -> Result<Vec<u8>, Failed> {
    let failed =
        |error: jpeg_encoder::EncodingError| Failed::Other(format!("no JPEG could be made: {error}"));
    let mut jpeg = Vec::with_capacity(decoded.rgb.len() / 8);
    let mut encoder = Encoder::new(&mut jpeg, QUALITY);
    // As cameras do it: half the colour resolution is not seen.
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    if let Some(exif) = &mut decoded.exif {
        exif::set_upright(exif);
        encoder.add_exif_metadata(exif).map_err(failed)?;
    }
    if let Some(icc) = &decoded.icc {
        encoder.add_icc_profile(icc).map_err(failed)?;
    }
    encoder.encode(&decoded.rgb, decoded.width, decoded.height, ColorType::Rgb).map_err(failed)?;
    let at = target::tables_at(&jpeg).expect("an encoder's JPEG has tables");
    let length = u16::try_from(comment.len() + 2).expect("a short comment");
    let segment = [&[0xff, 0xfe], &length.to_be_bytes()[..], comment.as_bytes()].concat();
    jpeg.splice(at..at, segment);
    Ok(jpeg)
}

/// Why one picture could not be exported.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the disk is full")]
    Full,
    #[error("{0}")]
    Other(String),
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        match Error::io("exporting", error) {
            Error::Full(_) => Self::Full,
            Error::Io { source, .. } => Self::Other(source.to_string()),
            other => Self::Other(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
