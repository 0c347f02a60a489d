//! What fills a photo's file up to a camera's size: noise, or nothing at all.
//!
//! Every stretch of padding begins with the file's own tag, so that no two files have the same hash, and says in itself
//! where in the file it stands, so that a copy whose pieces were put together in the wrong order is found out: the
//! noise repeats after a prime number of bytes, and a hole is broken by stamps.

use std::io::{self, Write};

use crate::sim::new::random::Random;

/// The noise from which padding is cut: a prime number of bytes, so that pieces of any usual size that change places
/// change the file.
const NOISE_BYTES: usize = 262_139;
/// Less than this is not worth a hole.
const HOLE_BYTES_MIN: u64 = 16 * 1024;
/// A hole is interrupted by a stamp after so many bytes.
const STAMP_EVERY_BYTES: u64 = 256 * 1024;
/// A tag's and a stamp's bytes.
const TAG_BYTES: u64 = 8;

/// Where a file's bytes go.
pub(in crate::sim::new) trait Sink: Write {
    /// So many bytes that are zero and need no place on the disk, where the file system has that. A file must not end
    /// with them.
    fn hole(&mut self, bytes: u64) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn hole(&mut self, bytes: u64) -> io::Result<()> {
        self.resize(self.len() + usize::try_from(bytes).expect("a file in memory is short"), 0);
        Ok(())
    }
}

/// See the module.
pub(super) struct Padding {
    noise: Vec<u8>,
    holes: bool,
}

/// A part of a stretch of padding.
enum Piece<'a> {
    Bytes(&'a [u8]),
    Zeros(u64),
}

impl Padding {
    /// For the phone of `seed`; with `holes`, long stretches are zeros that take no place.
    pub(super) fn new(seed: u64, holes: bool) -> Self {
        let mut noise = vec![0; NOISE_BYTES];
        Random::new(seed, "noise").fill(&mut noise);
        // Padding must not look like a marker to a reader that searches for one.
        noise.iter_mut().for_each(|byte| *byte = unmarked(*byte));
        Self { noise, holes }
    }

    /// `count` bytes of padding that begin with `tag`.
    pub(super) fn write(&self, out: &mut dyn Sink, tag: u64, count: u64) -> io::Result<()> {
        self.pieces(tag, count, |piece| match piece {
            Piece::Bytes(bytes) => out.write_all(bytes),
            Piece::Zeros(count) => out.hole(count),
        })
    }

    /// What `step` makes of `state` and each byte of that stretch of padding, one after the other.
    pub(super) fn fold(&self, tag: u64, count: u64, mut state: u32, step: fn(u32, u8) -> u32) -> u32 {
        let folded = self.pieces(tag, count, |piece| {
            match piece {
                Piece::Bytes(bytes) => state = bytes.iter().fold(state, |state, byte| step(state, *byte)),
                Piece::Zeros(count) => state = (0..count).fold(state, |state, _| step(state, 0)),
            }
            Ok(())
        });
        folded.expect("folding writes nothing");
        state
    }

    fn pieces(
        &self,
        tag: u64,
        count: u64,
        mut take: impl FnMut(Piece<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.holes && count >= HOLE_BYTES_MIN {
            return stamped(tag, count, take);
        }
        let start = tag.to_be_bytes().map(unmarked);
        let first = usize::try_from(count.min(TAG_BYTES)).expect("eight bytes");
        take(Piece::Bytes(&start[..first]))?;
        let mut left = count - first as u64;
        let mut at = usize::from(u16::from_be_bytes([start[6], start[7]]));
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(NOISE_BYTES - at);
            take(Piece::Bytes(&self.noise[at..at + piece]))?;
            left -= piece as u64;
            at = 0;
        }
        Ok(())
    }
}

/// Zeros between stamps, one at each end.
fn stamped(tag: u64, count: u64, mut take: impl FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<()> {
    let mut at = 0_u64;
    let last = count - TAG_BYTES;
    loop {
        let stamp = if at == 0 { tag } else { tag ^ at.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        take(Piece::Bytes(&stamp.to_be_bytes().map(unmarked)))?;
        if at == last {
            return Ok(());
        }
        let next = (at + STAMP_EVERY_BYTES).min(last);
        // The last stretch can be shorter than a stamp.
        match (next - at).checked_sub(TAG_BYTES) {
            Some(zeros) => {
                take(Piece::Zeros(zeros))?;
                at = next;
            }
            None => return take(Piece::Bytes(&vec![0; usize::try_from(next - at).expect("below eight")])),
        }
    }
}

fn unmarked(byte: u8) -> u8 {
    if byte == 0xff { 0xfe } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(holes: bool, tag: u64, count: u64) -> Vec<u8> {
        let mut out = Vec::new();
        Padding::new(3, holes).write(&mut out, tag, count).unwrap();
        out
    }

    #[test]
    fn padding_has_the_length_asked_for_and_no_marker() {
        for holes in [false, true] {
            for count in [0, 1, 7, 8, 9, 15, 16, 65_529, 262_139, 262_144, 262_148, 262_155, 262_160, 800_001]
            {
                let made = padded(holes, u64::MAX, count);
                assert_eq!(made.len() as u64, count);
                assert!(!made.contains(&0xff), "{count}");
            }
        }
    }

    #[test]
    fn pieces_that_change_places_change_the_file() {
        for (holes, sizes) in [(false, &[4096, 65_536, 262_144, 1 << 20][..]), (true, &[262_144, 1 << 20])] {
            let made = padded(holes, 5, 4 << 20);
            for size in sizes {
                let mut pieces: Vec<&[u8]> = made.chunks(*size).collect();
                pieces.swap(0, 1);
                assert_ne!(pieces.concat(), made, "{holes} {size}");
                let distinct: std::collections::BTreeSet<&[u8]> = made.chunks(*size).collect();
                assert_eq!(distinct.len(), pieces.len(), "{holes} {size}");
            }
        }
    }

    #[test]
    fn a_tag_makes_padding_its_own_and_folding_sees_the_same_bytes() {
        for holes in [false, true] {
            assert_ne!(padded(holes, 1, 100_000), padded(holes, 2, 100_000));
            let sum = |state: u32, byte: u8| state.rotate_left(5) ^ u32::from(byte);
            let folded = Padding::new(3, holes).fold(1, 100_000, 7, sum);
            assert_eq!(folded, padded(holes, 1, 100_000).iter().fold(7, |state, byte| sum(state, *byte)));
        }
    }
}
