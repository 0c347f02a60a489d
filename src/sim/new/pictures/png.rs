//! PNG (RFC 2083): a drawn picture in stored deflate blocks, and padding in a private chunk of its own.

use std::io;

use super::colour;
use super::padding::{Padding, Sink};

/// The picture itself is drawn no larger than about this; the rest is padding.
const DRAWN_BYTES_MAX: u64 = 24 * 1024;
/// Ancillary, private, safe to copy: readers pass over it.
const PADDING_CHUNK: &[u8; 4] = b"paDd";
/// Bytes of a chunk besides what it holds.
const CHUNK_BYTES: u64 = 12;

/// A PNG of about `bytes`, higher than wide as a screen is.
pub(super) fn write(out: &mut dyn Sink, padding: &Padding, tag: u64, bytes: u64) -> io::Result<()> {
    let drawn = bytes.clamp(1500, DRAWN_BYTES_MAX);
    let width = (drawn as f64 / 6.0).sqrt() as usize;
    let rows = rows(tag, width);
    let text = format!("Comment\0{tag:016x}");
    let picture = stored(&rows);
    out.write_all(b"\x89PNG\r\n\x1a\n")?;
    let mut header = Vec::new();
    header.extend_from_slice(&(width as u32).to_be_bytes());
    header.extend_from_slice(&(width as u32 * 2).to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    chunk(out, b"IHDR", &header)?;
    chunk(out, b"tEXt", text.as_bytes())?;
    let written = 8 + 4 * CHUNK_BYTES + (header.len() + text.len() + picture.len()) as u64;
    if let Some(left) = bytes.checked_sub(written + CHUNK_BYTES).filter(|left| *left > 0) {
        out.write_all(&u32::try_from(left).unwrap_or(u32::MAX >> 1).to_be_bytes())?;
        out.write_all(PADDING_CHUNK)?;
        padding.write(out, tag, left)?;
        let crc = PADDING_CHUNK.iter().fold(u32::MAX, |crc, byte| crc_step(crc, *byte));
        let crc = !padding.fold(tag, left, crc, crc_step);
        out.write_all(&crc.to_be_bytes())?;
    }
    chunk(out, b"IDAT", &picture)?;
    chunk(out, b"IEND", &[])
}

/// The picture's rows, each with its filter's number before it.
fn rows(tag: u64, width: usize) -> Vec<u8> {
    let height = width * 2;
    let mut rows = Vec::with_capacity(height * (width * 3 + 1));
    for y in 0..height {
        rows.push(0);
        for x in 0..width {
            rows.extend_from_slice(&colour(tag, x, y, width, height));
        }
    }
    rows
}

fn chunk(out: &mut dyn Sink, kind: &[u8; 4], body: &[u8]) -> io::Result<()> {
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

fn crc_step(crc: u32, byte: u8) -> u32 {
    CRC_TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8)
}

fn crc32(pieces: &[&[u8]]) -> u32 {
    !pieces.iter().flat_map(|piece| piece.iter()).fold(u32::MAX, |crc, byte| crc_step(crc, *byte))
}

#[cfg(test)]
mod tests {
    use super::super::to_usize;
    use super::*;

    #[test]
    fn a_png_has_right_checksums_and_the_size_asked_for() {
        assert_eq!(crc32(&[b"123456789"]), 0xcbf4_3926);
        for (holes, bytes) in [(false, 8_000), (false, 60_000), (true, 300_000)] {
            let mut png = Vec::new();
            write(&mut png, &Padding::new(3, holes), 9, bytes).unwrap();
            assert!((png.len() as u64).abs_diff(bytes) < 1_500, "{} for {bytes}", png.len());
            let mut position = 8;
            let mut last = [0; 4];
            while position < png.len() {
                let length = u32::from_be_bytes(png[position..position + 4].try_into().unwrap());
                let end = position + 8 + to_usize(length.into());
                last.copy_from_slice(&png[position + 4..position + 8]);
                assert_eq!(crc32(&[&png[position + 4..end]]).to_be_bytes(), png[end..end + 4]);
                position = end + 4;
            }
            assert_eq!(&last, b"IEND");
        }
    }
}
