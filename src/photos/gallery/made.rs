//! Small pictures made here, from JPEG originals of the copy of which the phone has given none.
//!
//! The originals come from a phone and are hostile until shown otherwise: what would need much memory is left alone, and
//! a damaged one has no small picture.

use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cap_std::fs::Dir;
use jpeg_decoder::{CodingProcess, Decoder, PixelFormat};
use jpeg_encoder::{ColorType, Encoder};

use super::{Sheet, name_of, put};
use crate::photos::exif;
use crate::photos::folder::Folders;
use crate::photos::store::{Error, Store};
use crate::progress::CancellationToken;

/// At least one edge of a small picture has so many pixels (a larger original is made smaller by a power of two).
const EDGE: u16 = 256;
/// JPEG quality of a small picture.
const QUALITY: u8 = 70;
/// Pixels of an original that is looked at. Today's phones make 48 million.
const PIXELS_MAX: u64 = 120_000_000;
/// The same where the decoder has to hold the whole picture before it can make it smaller.
const PIXELS_MAX_PROGRESSIVE: u64 = 30_000_000;
/// Threads that decode.
const THREADS: usize = 2;

/// Makes what is missing. Ends early when `cancel` says so.
pub(super) fn make(
    store: &Store,
    thumbnails: &Arc<Dir>,
    sheet: &Sheet,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let missing = missing(store, thumbnails, sheet)?;
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            let mut from = Folders::below(store.device());
            let mut into = Folders::below(Arc::clone(thumbnails));
            while let Some((local, name, mtime_ns)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if cancel.is_cancelled() {
                    break;
                }
                let Some(small) = from.open(local).ok().and_then(small) else { continue };
                put(&mut into, name, &small, *mtime_ns).map_err(Error::at("writing a small picture"))?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..THREADS.min(missing.len())).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// The JPEG originals of the sheet that are in the copy and have no small picture: where each is, name of the picture, date.
fn missing(store: &Store, thumbnails: &Arc<Dir>, sheet: &Sheet) -> Result<Vec<(String, String, i64)>, Error> {
    let mut folders = Folders::below(Arc::clone(thumbnails));
    let mut missing = Vec::new();
    let manifest = store.manifest();
    for tile in &sheet.tiles {
        let extension = tile.path.rsplit_once('.').map_or("", |(_, extension)| extension);
        if !["jpg", "jpeg"].iter().any(|jpeg| jpeg.eq_ignore_ascii_case(extension)) {
            continue;
        }
        let (Some(name), Some(entry)) = (name_of(&tile.path), manifest.entries().get(tile.path.as_str()))
        else {
            continue;
        };
        let there = folders.size_of(&name).map_err(Error::at("looking at a small picture"))?;
        if there.is_none() && entry.damaged.is_none() {
            missing.push((entry.local(&tile.path), name, entry.mtime_ns));
        }
    }
    Ok(missing)
}

/// The longest JPEG that is decoded, in bytes: the decoder keeps whatever a file says of its colours.
const JPEG_BYTES_MAX: u64 = 128 << 20;

/// A small JPEG of a JPEG; `None` for one that is none, or too large, or in colours that no phone's camera makes.
fn small(original: File) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(BufReader::new(original.take(JPEG_BYTES_MAX)));
    decoder.read_info().ok()?;
    let info = decoder.info()?;
    let most = if info.coding_process == CodingProcess::DctProgressive {
        PIXELS_MAX_PROGRESSIVE
    } else {
        PIXELS_MAX
    };
    if u64::from(info.width) * u64::from(info.height) > most {
        return None;
    }
    let colour = match info.pixel_format {
        PixelFormat::L8 => ColorType::Luma,
        PixelFormat::RGB24 => ColorType::Rgb,
        PixelFormat::L16 | PixelFormat::CMYK32 => return None,
    };
    let (width, height) = decoder.scale(EDGE, EDGE).ok()?;
    let pixels = decoder.decode().ok()?;
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, QUALITY);
    // The pixels stay as they lie in the file, so what turns them must come along.
    if let Some(turned) = decoder.exif_data().and_then(exif::orientation).filter(|turned| *turned > 1) {
        encoder.add_exif_metadata(&exif::only_orientation(turned)).ok()?;
    }
    encoder.encode(&pixels, width, height, colour).ok()?;
    Some(jpeg)
}
