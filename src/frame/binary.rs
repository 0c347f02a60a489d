//! A walk over a binary property list that counts what it would expand to, without recursion and without building it.
//!
//! Objects may be shared, so a few bytes can stand for millions of values: the walk follows every reference as often as
//! the parser would, and stops at the first limit. Its own work is therefore bounded by the limit on values, and a
//! cycle ends at the limit on depth.

use super::{Error, Limits};

const TRAILER: usize = 32;
const MAGIC: usize = 8;
/// The years 0 to 9999, in seconds since 2001.
const DATES: std::ops::Range<f64> = -63_145_526_400.0..252_423_993_600.0;

pub(super) fn check(bytes: &[u8], limits: &Limits) -> Result<(), Error> {
    let list = List::open(bytes, limits)?;
    let mut open: Vec<References> = Vec::new();
    let (mut nodes, mut expanded) = (0_usize, 0_usize);
    let mut next = Some(list.root);
    while let Some(index) = next {
        nodes += 1;
        if nodes > limits.nodes {
            return Err(Error::TooMany(limits.nodes));
        }
        match list.object(index)? {
            Object::Leaf { bytes } => {
                expanded = expanded.saturating_add(bytes);
                if expanded > limits.bytes {
                    return Err(Error::TooLong { bytes: expanded as u64, limit: limits.bytes });
                }
            }
            Object::Container(references) => {
                if open.len() >= limits.depth {
                    return Err(Error::TooDeep(limits.depth));
                }
                open.push(references);
            }
        }
        next = list.next_reference(&mut open);
    }
    Ok(())
}

/// The references of a container that are still to be followed.
struct References {
    at: usize,
    left: usize,
}

enum Object {
    Leaf { bytes: usize },
    Container(References),
}

struct List<'a> {
    /// Everything before the trailer.
    bytes: &'a [u8],
    offsets: &'a [u8],
    offset_size: usize,
    reference_size: usize,
    root: usize,
}

impl<'a> List<'a> {
    fn open(whole: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        let end = whole.len().checked_sub(TRAILER).filter(|&end| end > MAGIC).ok_or_else(broken)?;
        let (bytes, trailer) = whole.split_at(end);
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&trailer[at..at + 8]);
            usize::try_from(u64::from_be_bytes(word)).map_err(|_| broken())
        };
        let (offset_size, reference_size) = (usize::from(trailer[6]), usize::from(trailer[7]));
        if !size_is_known(offset_size) || !size_is_known(reference_size) {
            return Err(broken());
        }
        let (count, root, table) = (word(8)?, word(16)?, word(24)?);
        if count > limits.nodes {
            return Err(Error::TooMany(limits.nodes));
        }
        let table_end = count.checked_mul(offset_size).and_then(|n| n.checked_add(table));
        let offsets = table_end.and_then(|end| bytes.get(table..end)).ok_or_else(broken)?;
        Ok(Self { bytes, offsets, offset_size, reference_size, root })
    }

    fn object(&self, index: usize) -> Result<Object, Error> {
        let entry = index.checked_mul(self.offset_size).ok_or_else(broken)?;
        let offset =
            self.offsets.get(entry..).and_then(|o| number(o, self.offset_size)).ok_or_else(broken)?;
        let marker = *self.bytes.get(offset).ok_or_else(broken)?;
        let (kind, low) = (marker >> 4, usize::from(marker & 0x0f));
        let fixed = |length: usize| self.leaf(offset + 1, length);
        match kind {
            0x0 => fixed(0),
            0x3 => self.date(offset),
            // 2^low bytes; what the parser refuses, it refuses without taking memory.
            0x1 | 0x2 if low <= 4 => fixed(1 << low),
            0x8 => fixed(low + 1),
            0x4 | 0x5 => self.counted(offset, low).and_then(|(at, n)| self.leaf(at, n)),
            0x6 => {
                let (at, units) = self.counted(offset, low)?;
                self.leaf(at, units.checked_mul(2).ok_or_else(broken)?)?;
                // A unit becomes up to three bytes of UTF-8.
                Ok(Object::Leaf { bytes: units * 3 })
            }
            0xa => self.container(offset, low, 1),
            0xd => self.container(offset, low, 2),
            _ => Err(broken()),
        }
    }

    /// The parser takes dates of the years before 0 as well, and can then neither write nor show them.
    fn date(&self, offset: usize) -> Result<Object, Error> {
        let bytes = self.bytes.get(offset..).and_then(<[u8]>::first_chunk::<9>).ok_or_else(broken)?;
        let &[0x33, ref seconds @ ..] = bytes else { return Err(broken()) };
        if !DATES.contains(&f64::from_be_bytes(*seconds)) {
            return Err(Error::malformed("a date outside of the years 0 to 9999"));
        }
        self.leaf(offset + 1, 8)
    }

    fn leaf(&self, at: usize, length: usize) -> Result<Object, Error> {
        let end = at.checked_add(length).filter(|&end| end <= self.bytes.len()).ok_or_else(broken)?;
        Ok(Object::Leaf { bytes: end - at })
    }

    fn container(&self, offset: usize, low: usize, per_entry: usize) -> Result<Object, Error> {
        let (at, count) = self.counted(offset, low)?;
        let left = count.checked_mul(per_entry).ok_or_else(broken)?;
        let length = left.checked_mul(self.reference_size).ok_or_else(broken)?;
        at.checked_add(length).filter(|&end| end <= self.bytes.len()).ok_or_else(broken)?;
        Ok(Object::Container(References { at, left }))
    }

    /// Where the content of a counted object starts, and its count.
    fn counted(&self, offset: usize, low: usize) -> Result<(usize, usize), Error> {
        if low != 0x0f {
            return Ok((offset + 1, low));
        }
        let marker = *self.bytes.get(offset + 1).ok_or_else(broken)?;
        if !(0x10..=0x13).contains(&marker) {
            return Err(broken());
        }
        let size = 1 << (marker & 0x03);
        let count = self.bytes.get(offset + 2..).and_then(|b| number(b, size)).ok_or_else(broken)?;
        Ok((offset + 2 + size, count))
    }

    /// Takes the next reference from the innermost container that has one left; leaves the containers that are done.
    fn next_reference(&self, open: &mut Vec<References>) -> Option<usize> {
        loop {
            let innermost = open.last_mut()?;
            if innermost.left == 0 {
                open.pop();
                continue;
            }
            let reference = number(&self.bytes[innermost.at..], self.reference_size);
            innermost.at += self.reference_size;
            innermost.left -= 1;
            // A number beyond `usize` names no object: `object` refuses it.
            return Some(reference.unwrap_or(usize::MAX));
        }
    }
}

fn size_is_known(size: usize) -> bool {
    matches!(size, 1 | 2 | 3 | 4 | 8)
}

/// The big-endian number in the first `size` bytes.
fn number(bytes: &[u8], size: usize) -> Option<usize> {
    let value = bytes.get(..size)?.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    usize::try_from(value).ok()
}

fn broken() -> Error {
    Error::malformed("a broken binary property list")
}
