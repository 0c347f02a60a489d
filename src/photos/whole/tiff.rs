//! TIFF, which DNG is: every directory and every strip or tile that one names lies inside the file.

use std::collections::HashSet;
use std::io;

use super::Bytes;

/// Directories that are followed; a DNG has a handful.
const DIRECTORIES_MAX: usize = 64;
/// Entries of one directory, and values of one entry, that are looked at.
const ENTRIES_MAX: u64 = 1 << 16;

/// Tags that name where data begins, with the tag that names how long each piece is.
const DATA: [(u16, u16); 3] = [(273, 279), (324, 325), (513, 514)];
/// Tags that name further directories.
const SUB_IFDS: u16 = 330;
const EXIF: u16 = 34665;
const GPS: u16 = 34853;

struct Tiff<'a> {
    bytes: &'a Bytes<'a>,
    little: bool,
}

/// One entry of a directory.
struct Entry {
    tag: u16,
    kind: u16,
    count: u64,
    /// Where its value stands.
    at: u64,
}

pub(super) fn is_whole(bytes: &Bytes<'_>) -> io::Result<bool> {
    let Some(head) = bytes.read::<8>(0)? else { return Ok(false) };
    let tiff = Tiff { bytes, little: head[0] == b'I' };
    let mut waiting = vec![u64::from(tiff.u32(4)?.unwrap_or(0))];
    let mut seen = HashSet::new();
    while let Some(at) = waiting.pop() {
        if !seen.insert(at) {
            continue;
        }
        if seen.len() > DIRECTORIES_MAX || !tiff.directory_is_whole(at, &mut waiting)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Tiff<'_> {
    fn u16(&self, at: u64) -> io::Result<Option<u16>> {
        let swap = if self.little { u16::from_le_bytes } else { u16::from_be_bytes };
        Ok(self.bytes.read(at)?.map(swap))
    }

    fn u32(&self, at: u64) -> io::Result<Option<u32>> {
        let swap = if self.little { u32::from_le_bytes } else { u32::from_be_bytes };
        Ok(self.bytes.read(at)?.map(swap))
    }

    fn directory_is_whole(&self, at: u64, waiting: &mut Vec<u64>) -> io::Result<bool> {
        let Some(entries) = self.entries(at)? else { return Ok(false) };
        for entry in &entries {
            if matches!(entry.tag, SUB_IFDS | EXIF | GPS) {
                match self.values(entry)? {
                    Some(found) => waiting.extend(found),
                    None => return Ok(false),
                }
            }
        }
        for (offsets, lengths) in DATA {
            let of = |tag| entries.iter().find(|entry| entry.tag == tag);
            let (Some(offsets), Some(lengths)) = (of(offsets), of(lengths)) else { continue };
            let (Some(offsets), Some(lengths)) = (self.values(offsets)?, self.values(lengths)?) else {
                return Ok(false);
            };
            let inside =
                offsets.iter().zip(&lengths).all(|(offset, length)| offset + length <= self.bytes.size);
            if !inside || offsets.len() != lengths.len() {
                return Ok(false);
            }
        }
        let next = at + 2 + 12 * entries.len() as u64;
        match self.u32(next)? {
            Some(0) => Ok(true),
            Some(next) => {
                waiting.push(u64::from(next));
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// The entries of the directory at `at`, if it and all values of its entries lie inside the file.
    fn entries(&self, at: u64) -> io::Result<Option<Vec<Entry>>> {
        let Some(count) = self.u16(at)?.filter(|_| at >= 8) else { return Ok(None) };
        let mut entries = Vec::new();
        for n in 0..u64::from(count) {
            let at = at + 2 + 12 * n;
            let (Some(tag), Some(kind), Some(count), Some(value)) =
                (self.u16(at)?, self.u16(at + 2)?, self.u32(at + 4)?, self.u32(at + 8)?)
            else {
                return Ok(None);
            };
            let length = u64::from(count) * width(kind);
            let value_at = if length <= 4 { at + 8 } else { u64::from(value) };
            if value_at + length > self.bytes.size {
                return Ok(None);
            }
            entries.push(Entry { tag, kind, count: u64::from(count), at: value_at });
        }
        Ok(Some(entries))
    }

    /// The numbers of an entry; `None` when there are impossibly many or they are no whole numbers.
    fn values(&self, entry: &Entry) -> io::Result<Option<Vec<u64>>> {
        if entry.count > ENTRIES_MAX {
            return Ok(None);
        }
        let mut values = Vec::new();
        for n in 0..entry.count {
            let value = match entry.kind {
                3 => self.u16(entry.at + 2 * n)?.map(u64::from),
                4 | 13 => self.u32(entry.at + 4 * n)?.map(u64::from),
                _ => None,
            };
            match value {
                Some(value) => values.push(value),
                None => return Ok(None),
            }
        }
        Ok(Some(values))
    }
}

/// Bytes of one value of a TIFF type.
fn width(kind: u16) -> u64 {
    match kind {
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 => 8,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::whole;

    /// One directory with one strip of `strip` bytes at its end.
    fn dng(strip: u32) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0\x02\0".to_vec();
        let strip_at = 8 + 2 + 24 + 4;
        for (tag, value) in [(273_u16, strip_at), (279, strip)] {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(4_u16.to_le_bytes());
            bytes.extend(1_u32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0; 4]);
        bytes.extend(vec![7; strip as usize]);
        bytes
    }

    #[test]
    fn a_strip_must_lie_inside() {
        let content = dng(100);
        assert!(whole(&content, "a.DNG"));
        for cut in 0..content.len() {
            assert!(!whole(&content[..cut], "a.DNG"), "cut at {cut}");
        }
    }

    #[test]
    fn directories_that_point_at_each_other_end() {
        let mut content = dng(4);
        let next = 8 + 2 + 24;
        content[next] = 8;
        assert!(whole(&content, "a.DNG"));
    }
}
