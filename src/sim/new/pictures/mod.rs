//! The files of photos and clips: small true pictures, padded to a real camera's sizes in ways that their formats allow,
//! each with bytes of its own so that no two have the same hash.
//!
//! JPEG: ITU T.81 with an Exif block; padding in APP15 segments. PNG: padding in a private chunk. DNG: a TIFF 6.0 of one
//! uncompressed strip with a `DNGVersion`. HEIC and MOV: the two small files that come with this module and a `free` box
//! behind (ISO/IEC 14496-12). A reader that looks at structure or at pixels finds each of them whole.

mod exif;
mod padding;
mod png;

use std::io;
use std::sync::LazyLock;

use jiff::Timestamp;

use super::random::Random;
use padding::Padding;
pub(super) use padding::Sink;

/// A HEIC still of 256 × 192.
const STILL: &[u8] = include_bytes!("../data/still.heic");
/// A clip of one second.
const CLIP: &[u8] = include_bytes!("../data/clip.mov");
/// The pictures that all phones share, drawn once in a process; the padding makes each file its own.
static DRAWN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut random = Random::new(0, "pictures");
    (0..20).map(|_| draw(&mut random)).collect()
});
/// The picture's width and height in pixels.
const SIZE: (u16, u16) = (128, 96);
/// The most bytes that one JPEG segment holds besides its marker: its length field counts itself.
const SEGMENT_MAX: u64 = 65_533;

/// What one phone's pictures are made from.
pub(super) struct Studio {
    padding: Padding,
    model: &'static str,
}

impl Studio {
    /// For the phone of `seed`; `model` is the camera's name. With `holes`, what only fills a file up takes no place on
    /// the disk.
    pub(super) fn new(seed: u64, model: &'static str, holes: bool) -> Self {
        Self { padding: Padding::new(seed, holes), model }
    }

    /// A JPEG of about `bytes`, taken `at`.
    pub(super) fn jpeg(&self, out: &mut dyn Sink, tag: u64, bytes: u64, at: Timestamp) -> io::Result<()> {
        let picture = picture(tag);
        let exif = exif::block(self.model, at);
        out.write_all(&picture[..2])?;
        segment(out, 0xe1, &exif)?;
        let mut left = bytes.saturating_sub((picture.len() + exif.len() + 4) as u64);
        while left > 12 {
            let body = (left - 4).min(SEGMENT_MAX);
            out.write_all(&[0xff, 0xef])?;
            out.write_all(&u16::try_from(body + 2).expect("a segment's length fits").to_be_bytes())?;
            self.padding.write(out, tag.wrapping_add(left), body)?;
            left -= body + 4;
        }
        out.write_all(&picture[2..])
    }

    /// A thumbnail: the picture alone, with a comment that makes it its own.
    pub(super) fn thumbnail(&self, out: &mut dyn Sink, tag: u64) -> io::Result<()> {
        let picture = picture(tag);
        out.write_all(&picture[..2])?;
        segment(out, 0xfe, format!("{tag:016x}").as_bytes())?;
        out.write_all(&picture[2..])
    }

    /// A HEIC of about `bytes`.
    pub(super) fn heic(&self, out: &mut dyn Sink, tag: u64, bytes: u64) -> io::Result<()> {
        self.with_free_box(out, STILL, tag, bytes)
    }

    /// A QuickTime clip of about `bytes`.
    pub(super) fn clip(&self, out: &mut dyn Sink, tag: u64, bytes: u64) -> io::Result<()> {
        self.with_free_box(out, CLIP, tag, bytes)
    }

    /// A PNG of about `bytes`, higher than wide as a screen is.
    pub(super) fn png(&self, out: &mut dyn Sink, tag: u64, bytes: u64) -> io::Result<()> {
        png::write(out, &self.padding, tag, bytes)
    }

    /// A RAW of about `bytes`: one strip of 8-bit RGB.
    pub(super) fn dng(&self, out: &mut dyn Sink, tag: u64, bytes: u64) -> io::Result<()> {
        let width = ((bytes.clamp(1000, 1 << 26) as f64 / 4.0).sqrt() as usize).max(16);
        let height = width * 4 / 3 / 2 * 2;
        let strip = width * height * 3;
        let entries: [(u16, u16, u32, u32); 11] = [
            (254, 4, 1, 0),                       // NewSubfileType
            (256, 4, 1, width as u32),            // ImageWidth
            (257, 4, 1, height as u32),           // ImageLength
            (258, 3, 3, 8 + 2 + 11 * 12 + 4),     // BitsPerSample, behind the directory
            (259, 3, 1, 1),                       // Compression: none
            (262, 3, 1, 2),                       // PhotometricInterpretation: RGB
            (273, 4, 1, 8 + 2 + 11 * 12 + 4 + 8), // StripOffsets
            (277, 3, 1, 3),                       // SamplesPerPixel
            (278, 4, 1, height as u32),           // RowsPerStrip
            (279, 4, 1, strip as u32),            // StripByteCounts
            (50706, 1, 4, 0x0000_0401),           // DNGVersion 1.4
        ];
        out.write_all(b"II*\0\x08\0\0\0")?;
        out.write_all(&11_u16.to_le_bytes())?;
        for (number, kind, count, value) in entries {
            out.write_all(&number.to_le_bytes())?;
            out.write_all(&kind.to_le_bytes())?;
            out.write_all(&count.to_le_bytes())?;
            out.write_all(&value.to_le_bytes())?;
        }
        out.write_all(&[0; 4])?;
        out.write_all(&[8, 0, 8, 0, 8, 0, 0, 0])?;
        self.padding.write(out, tag, strip as u64)
    }

    fn with_free_box(&self, out: &mut dyn Sink, file: &[u8], tag: u64, bytes: u64) -> io::Result<()> {
        out.write_all(file)?;
        let length = bytes.saturating_sub(file.len() as u64).clamp(16, u32::MAX.into());
        out.write_all(&u32::try_from(length).expect("clamped to four bytes").to_be_bytes())?;
        out.write_all(b"free")?;
        self.padding.write(out, tag, length - 8)
    }
}

/// The picture that `tag` stands for.
fn picture(tag: u64) -> &'static [u8] {
    &DRAWN[to_usize(tag >> 32) % DRAWN.len()]
}

/// Draws a picture: a slope between two colours with stripes, different for each.
fn draw(random: &mut Random) -> Vec<u8> {
    let tag = random.next();
    let (width, height) = (usize::from(SIZE.0), usize::from(SIZE.1));
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            pixels.extend_from_slice(&colour(tag, x, y, width, height));
        }
    }
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 70)
        .encode(&pixels, SIZE.0, SIZE.1, jpeg_encoder::ColorType::Rgb)
        .expect("the pixels are as many as the size says");
    jpeg
}

/// The colour of one point of the picture that `tag` stands for.
fn colour(tag: u64, x: usize, y: usize, width: usize, height: usize) -> [u8; 3] {
    let from = tag.to_be_bytes();
    let stripe = (x + y * usize::from(from[6] % 5)) / (8 + usize::from(from[7] % 24)) % 2 * 24;
    std::array::from_fn(|at| {
        let (a, b) = (usize::from(from[at]), usize::from(from[at + 3]));
        let mixed = (a * (width - x) / width + b * y / height) / 2 + stripe;
        u8::try_from(mixed.min(255)).unwrap_or(255)
    })
}

fn segment(out: &mut dyn Sink, marker: u8, body: &[u8]) -> io::Result<()> {
    out.write_all(&[0xff, marker])?;
    out.write_all(&u16::try_from(body.len() + 2).expect("a short segment").to_be_bytes())?;
    out.write_all(body)
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(write: impl FnOnce(&Studio, &mut dyn Sink) -> io::Result<()>) -> Vec<u8> {
        let mut out = Vec::new();
        write(&Studio::new(3, "iPhone 12", false), &mut out).unwrap();
        out
    }

    fn at() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    #[test]
    fn a_jpeg_is_a_chain_of_segments_up_to_its_end() {
        let jpeg = made(|studio, out| studio.jpeg(out, 9, 200_000, at()));
        assert!((195_000..=200_100).contains(&jpeg.len()), "{}", jpeg.len());
        assert_eq!(&jpeg[..2], &[0xff, 0xd8]);
        let mut position = 2;
        let mut segments = 0;
        while jpeg[position + 1] != 0xda {
            assert_eq!(jpeg[position], 0xff);
            position += 2 + usize::from(u16::from_be_bytes([jpeg[position + 2], jpeg[position + 3]]));
            segments += 1;
        }
        assert!(segments > 5);
        assert_eq!(&jpeg[jpeg.len() - 2..], &[0xff, 0xd9]);
        let text = jpeg.windows(19).any(|window| window == b"2026:01:01 20:04:05");
        assert!(text, "the time of the phone's own clock");
    }

    #[test]
    fn boxes_add_up_to_the_file() {
        for file in [
            made(|studio, out| studio.heic(out, 9, 50_000)),
            made(|studio, out| studio.clip(out, 9, 50_000)),
            made(|studio, out| studio.heic(out, 9, 1)),
        ] {
            let mut position = 0;
            let mut kinds = Vec::new();
            while position < file.len() {
                let length = u32::from_be_bytes(file[position..position + 4].try_into().unwrap()) as usize;
                kinds.push(file[position + 4..position + 8].to_vec());
                position += length;
            }
            assert_eq!(position, file.len());
            assert_eq!((&kinds[0][..], &kinds.last().unwrap()[..]), (&b"ftyp"[..], &b"free"[..]));
        }
    }

    #[test]
    fn tags_make_files_different_and_nothing_else_does() {
        let one = |tag| made(|studio, out| studio.heic(out, tag, 9_000));
        assert_eq!(one(1), one(1));
        assert_ne!(one(1), one(2));
        let dng = made(|studio, out| studio.dng(out, 1, 9_000));
        assert!(dng.starts_with(b"II*\0"));
        let thumbnails = |tag| made(|studio, out| studio.thumbnail(out, tag));
        assert_ne!(thumbnails(1), thumbnails(2));
    }
}
