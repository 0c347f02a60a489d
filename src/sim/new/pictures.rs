//! The files of photos and clips: small true pictures, padded to a real camera's sizes in ways that their formats allow,
//! each with bytes of its own so that no two have the same hash.
//!
//! JPEG: ITU T.81 with an Exif block (CIPA DC-008); padding in APP15 segments. PNG: RFC 2083 with stored deflate blocks.
//! DNG: a TIFF 6.0 of one uncompressed strip with a `DNGVersion`. HEIC and MOV: the two small files that come with this
//! module and a `free` box behind (ISO/IEC 14496-12).

use std::io::{self, Write};
use std::sync::LazyLock;

use jiff::Timestamp;

use super::phone::local;
use super::random::Random;

/// A HEIC still of 256 × 192.
const STILL: &[u8] = include_bytes!("data/still.heic");
/// A clip of one second.
const CLIP: &[u8] = include_bytes!("data/clip.mov");
/// The pictures that all phones share, drawn once in a process; the padding makes each file its own.
static DRAWN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut random = Random::new(0, "pictures");
    (0..20).map(|_| draw(&mut random)).collect()
});
/// The picture's width and height in pixels.
const SIZE: (u16, u16) = (128, 96);
/// The noise from which padding is cut.
const NOISE_BYTES: usize = 256 * 1024;
/// The most bytes that one JPEG segment holds besides its marker: its length field counts itself.
const SEGMENT_MAX: usize = 65_533;

/// What one phone's pictures are made from.
pub(super) struct Studio {
    noise: Vec<u8>,
    model: &'static str,
}

impl Studio {
    /// For the phone of `seed`; `model` is the camera's name.
    pub(super) fn new(seed: u64, model: &'static str) -> Self {
        let mut random = Random::new(seed, "noise");
        let mut noise = vec![0; NOISE_BYTES];
        random.fill(&mut noise);
        // Padding must not look like a marker to a reader that searches for one.
        for byte in noise.iter_mut().filter(|byte| **byte == 0xff) {
            *byte = 0xfe;
        }
        Self { noise, model }
    }

    /// `count` bytes of padding that begin with `tag`.
    fn pad(&self, out: &mut dyn Write, tag: u64, count: usize) -> io::Result<()> {
        // The tag too must hold no 0xff.
        let tag = tag.to_be_bytes().map(|byte| byte & 0x7f);
        let first = count.min(tag.len());
        out.write_all(&tag[..first])?;
        let mut left = count - first;
        let mut at = usize::from(u16::from_be_bytes([tag[6], tag[7]]));
        while left > 0 {
            let piece = left.min(NOISE_BYTES - at);
            out.write_all(&self.noise[at..at + piece])?;
            left -= piece;
            at = 0;
        }
        Ok(())
    }

    /// A JPEG of about `bytes`, taken `at`.
    pub(super) fn jpeg(&self, out: &mut dyn Write, tag: u64, bytes: u64, at: Timestamp) -> io::Result<()> {
        let picture = picture(tag);
        let exif = self.exif(at);
        out.write_all(&picture[..2])?;
        segment(out, 0xe1, &exif)?;
        let mut left = (to_usize(bytes)).saturating_sub(picture.len() + exif.len() + 4);
        while left > 12 {
            let body = (left - 4).min(SEGMENT_MAX);
            out.write_all(&[0xff, 0xef])?;
            out.write_all(&u16::try_from(body + 2).expect("a segment's length fits").to_be_bytes())?;
            self.pad(out, tag.wrapping_add(left as u64), body)?;
            left -= body + 4;
        }
        out.write_all(&picture[2..])
    }

    /// A thumbnail: the picture alone, with a comment that makes it its own.
    pub(super) fn thumbnail(&self, out: &mut dyn Write, tag: u64) -> io::Result<()> {
        let picture = picture(tag);
        out.write_all(&picture[..2])?;
        segment(out, 0xfe, format!("{tag:016x}").as_bytes())?;
        out.write_all(&picture[2..])
    }

    /// A HEIC of about `bytes`.
    pub(super) fn heic(&self, out: &mut dyn Write, tag: u64, bytes: u64) -> io::Result<()> {
        self.with_free_box(out, STILL, tag, bytes)
    }

    /// A QuickTime clip of about `bytes`.
    pub(super) fn clip(&self, out: &mut dyn Write, tag: u64, bytes: u64) -> io::Result<()> {
        self.with_free_box(out, CLIP, tag, bytes)
    }

    /// A PNG of about `bytes`, higher than wide as a screen is.
    pub(super) fn png(&self, out: &mut dyn Write, tag: u64, bytes: u64) -> io::Result<()> {
        let width = (bytes.clamp(1500, 1 << 24) as f64 / 6.0).sqrt() as usize;
        let height = width * 2;
        let mut rows = Vec::with_capacity(height * (width * 3 + 1));
        for y in 0..height {
            rows.push(0);
            for x in 0..width {
                rows.extend_from_slice(&colour(tag, x, y, width, height));
            }
        }
        out.write_all(b"\x89PNG\r\n\x1a\n")?;
        let mut header = Vec::new();
        header.extend_from_slice(&(width as u32).to_be_bytes());
        header.extend_from_slice(&(height as u32).to_be_bytes());
        header.extend_from_slice(&[8, 2, 0, 0, 0]);
        chunk(out, b"IHDR", &header)?;
        chunk(out, b"tEXt", format!("Comment\0{tag:016x}").as_bytes())?;
        chunk(out, b"IDAT", &stored(&rows))?;
        chunk(out, b"IEND", &[])
    }

    /// A RAW of about `bytes`: one strip of 8-bit RGB.
    pub(super) fn dng(&self, out: &mut dyn Write, tag: u64, bytes: u64) -> io::Result<()> {
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
        self.pad(out, tag, strip)
    }

    fn with_free_box(&self, out: &mut dyn Write, file: &[u8], tag: u64, bytes: u64) -> io::Result<()> {
        out.write_all(file)?;
        let length = to_usize(bytes).saturating_sub(file.len()).max(16);
        out.write_all(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes())?;
        out.write_all(b"free")?;
        self.pad(out, tag, length - 8)
    }

    /// An Exif block: who took it, and when by the phone's own clock.
    fn exif(&self, at: Timestamp) -> Vec<u8> {
        let taken = local(at).strftime("%Y:%m:%d %H:%M:%S\0").to_string();
        let texts: [(u16, Vec<u8>); 3] = [
            (0x010f, b"Apple\0".to_vec()),
            (0x0110, format!("{}\0", self.model).into_bytes()),
            (0x0132, taken.clone().into_bytes()),
        ];
        let mut tiff = b"MM\0*\0\0\0\x08".to_vec();
        let inner_at = directory(&mut tiff, &texts, true);
        let inner: [(u16, Vec<u8>); 2] = [(0x9003, taken.into_bytes()), (0x9011, b"-07:00\0".to_vec())];
        let start = u32::try_from(tiff.len()).expect("an Exif block is short");
        tiff[inner_at..inner_at + 4].copy_from_slice(&start.to_be_bytes());
        directory(&mut tiff, &inner, false);
        let mut exif = b"Exif\0\0".to_vec();
        exif.extend_from_slice(&tiff);
        exif
    }
}

/// Appends a TIFF directory of texts, with a pointer to the Exif directory if `outer`; returns where that pointer is.
fn directory(tiff: &mut Vec<u8>, texts: &[(u16, Vec<u8>)], outer: bool) -> usize {
    let count = texts.len() + usize::from(outer);
    let mut data_at = tiff.len() + 2 + count * 12 + 4;
    let mut data = Vec::new();
    tiff.extend_from_slice(&u16::try_from(count).expect("few entries").to_be_bytes());
    for (number, text) in texts {
        tiff.extend_from_slice(&number.to_be_bytes());
        tiff.extend_from_slice(&[0, 2]);
        tiff.extend_from_slice(&u32::try_from(text.len()).expect("short texts").to_be_bytes());
        tiff.extend_from_slice(&u32::try_from(data_at).expect("a short block").to_be_bytes());
        data.extend_from_slice(text);
        data_at += text.len();
    }
    let pointer_at = tiff.len() + 8;
    if outer {
        tiff.extend_from_slice(&[0x87, 0x69, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0]);
    }
    tiff.extend_from_slice(&[0; 4]);
    tiff.extend_from_slice(&data);
    pointer_at
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

fn segment(out: &mut dyn Write, marker: u8, body: &[u8]) -> io::Result<()> {
    out.write_all(&[0xff, marker])?;
    out.write_all(&u16::try_from(body.len() + 2).expect("a short segment").to_be_bytes())?;
    out.write_all(body)
}

fn chunk(out: &mut dyn Write, kind: &[u8; 4], body: &[u8]) -> io::Result<()> {
    out.write_all(&u32::try_from(body.len()).expect("a chunk of a small picture").to_be_bytes())?;
    out.write_all(kind)?;
    out.write_all(body)?;
    out.write_all(&crc32(&[kind, body]).to_be_bytes())
}

/// A zlib stream of stored blocks.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).expect("a block of at most 65535");
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for piece in bytes.chunks(5552) {
        for byte in piece {
            a += u32::from(*byte);
            b += a;
        }
        (a, b) = (a % 65_521, b % 65_521);
    }
    out.extend_from_slice(&(b << 16 | a).to_be_bytes());
    out
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut value = at as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
};

fn crc32(pieces: &[&[u8]]) -> u32 {
    !pieces
        .iter()
        .flat_map(|piece| piece.iter())
        .fold(u32::MAX, |crc, byte| CRC_TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8))
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(write: impl FnOnce(&Studio, &mut dyn Write) -> io::Result<()>) -> Vec<u8> {
        let mut out = Vec::new();
        write(&Studio::new(3, "iPhone 12"), &mut out).unwrap();
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
    fn a_png_has_right_checksums() {
        assert_eq!(crc32(&[b"123456789"]), 0xcbf4_3926);
        let png = made(|studio, out| studio.png(out, 9, 20_000));
        let mut position = 8;
        let mut last = [0; 4];
        while position < png.len() {
            let length = u32::from_be_bytes(png[position..position + 4].try_into().unwrap()) as usize;
            let end = position + 8 + length;
            last.copy_from_slice(&png[position + 4..position + 8]);
            assert_eq!(crc32(&[&png[position + 4..end]]).to_be_bytes(), png[end..end + 4]);
            position = end + 4;
        }
        assert_eq!(&last, b"IEND");
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
