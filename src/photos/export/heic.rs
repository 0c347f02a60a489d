//! Decoding HEIC with libheif, where the program was built with it (feature `heic`).
//!
//! libheif is a C++ library that reads files which came from a phone: it is asked for nothing larger than a camera
//! makes, and it is used only when the user asks for an export. Format: ISO/IEC 23008-12; `heif.h` of libheif.

use super::Decode;

/// The decoder; `None` when the program was built without.
#[must_use]
pub fn decoder() -> Option<&'static dyn Decode> {
    #[cfg(feature = "heic")]
    return Some(&with_libheif::Libheif);
    #[cfg(not(feature = "heic"))]
    None
}

#[cfg(feature = "heic")]
mod with_libheif {
    use libheif_rs::{ColorSpace, HeifContext, ImageHandle, ItemId, RgbChroma};

    use crate::photos::export::{Decode, Decoded};

    /// Pixels of a picture that is decoded. Today's phones make 48 million.
    const PIXELS_MAX: u64 = 80_000_000;

    pub(super) struct Libheif;

    impl Decode for Libheif {
        fn decode(&self, heic: &[u8]) -> Result<Decoded, String> {
            // The context borrows these bytes without saying so; it is gone before they are.
            let context = HeifContext::read_from_bytes(heic).map_err(|error| damaged(&error))?;
            let handle = context.primary_image_handle().map_err(|error| damaged(&error))?;
            let (width, height) = (u64::from(handle.width()), u64::from(handle.height()));
            if width * height > PIXELS_MAX || width * height == 0 {
                return Err(format!(
                    "it says to be {width} by {height} pixels, which no phone's camera makes"
                ));
            }
            let exif = exif(&handle);
            let icc = handle.color_profile_raw().map(|profile| profile.data);
            // No options of our own: this version of the binding frees them before it uses them.
            let image = handle.decode(ColorSpace::Rgb(RgbChroma::Rgb), None);
            let image = image.map_err(|error| damaged(&error))?;
            let planes = image.planes();
            let plane = planes.interleaved.ok_or("it has no colours that a JPEG can have")?;
            let size =
                |pixels: u32| u16::try_from(pixels).map_err(|_| "it is wider or higher than a JPEG can be");
            let (width, height) = (size(plane.width)?, size(plane.height)?);
            let row = usize::from(width) * 3;
            let rows = plane.data.chunks(plane.stride.max(1)).take(usize::from(height));
            let rgb: Vec<u8> = rows.filter_map(|whole| whole.get(..row)).flatten().copied().collect();
            if rgb.len() != row * usize::from(height) {
                return Err("its pixels are not all there".to_owned());
            }
            Ok(Decoded { width, height, rgb, exif, icc: icc.filter(|icc| !icc.is_empty()) })
        }
    }

    fn damaged(error: &libheif_rs::HeifError) -> String {
        format!("it could not be decoded: {}", crate::facts::text::plain(error.message.trim()))
    }

    /// The Exif block: four bytes say how far behind them it begins.
    fn exif(handle: &ImageHandle) -> Option<Vec<u8>> {
        let mut ids: [ItemId; 1] = [0];
        if handle.metadata_block_ids(&mut ids, b"Exif") == 0 {
            return None;
        }
        let block = handle.metadata(ids[0]).ok()?;
        let skip = u32::from_be_bytes(block.get(..4)?.try_into().ok()?);
        let tiff = block.get(4_usize.checked_add(usize::try_from(skip).ok()?)?..)?;
        (tiff.starts_with(b"MM\0*") || tiff.starts_with(b"II*\0")).then(|| tiff.to_vec())
    }
}
