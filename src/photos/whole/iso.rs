//! ISO base media, which HEIC, MOV and MP4 are: the boxes at the top follow each other exactly to the end, and what the
//! tables inside them point at lies inside the file. A cut between two boxes leaves every box whole; the tables tell.

use std::io;
use std::ops::Range;

use super::{Bytes, PARTS_MAX};

/// Boxes in one box that are looked at: a movie has a few tracks, a picture a few tables.
const CHILDREN_MAX: usize = 4096;

/// The longest table of a picture's items that is read; a picture of tiles has some hundred items.
const ITEMS_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a movie's table that are read at once.
const BLOCK_BYTES: usize = 64 << 10;

/// The way from a movie to where its samples are.
const TO_CHUNKS: [&[u8; 4]; 5] = [b"moov", b"trak", b"mdia", b"minf", b"stbl"];

/// A box inside another: its kind, and where its content is.
type Child = ([u8; 4], Range<u64>);

/// See the module.
pub(super) fn is_whole(bytes: &Bytes<'_>) -> io::Result<bool> {
    let (mut at, mut described) = (0, false);
    for _ in 0..PARTS_MAX {
        if at == bytes.size {
            return Ok(described && tables_point_inside(bytes)?);
        }
        let Some(head) = bytes.read::<8>(at)? else {
            return Ok(described && bytes.only_zeros_from(at)? && tables_point_inside(bytes)?);
        };
        described |= matches!(&head[4..], b"moov" | b"meta" | b"moof");
        let length = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
            // To the end of the file; a run of zeros is padding.
            0 if head[4..] == [0; 4] => {
                return Ok(described && bytes.only_zeros_from(at)? && tables_point_inside(bytes)?);
            }
            0 => return Ok((described || head[4..] == *b"mdat" && at > 0) && tables_point_inside(bytes)?),
            1 => match bytes.read::<8>(at + 8)?.map(u64::from_be_bytes) {
                Some(length) if length >= 16 => length,
                _ => return Ok(false),
            },
            length if length >= 8 => u64::from(length),
            _ => return Ok(false),
        };
        at = match at.checked_add(length) {
            Some(next) if next <= bytes.size => next,
            _ => return Ok(false),
        };
    }
    Ok(false)
}

/// What cannot be understood points nowhere: it is no reason to doubt a file whose boxes are whole.
fn tables_point_inside(bytes: &Bytes<'_>) -> io::Result<bool> {
    for (kind, content) in children(bytes, 0..bytes.size)? {
        let inside = match &kind {
            b"meta" => items_are_inside(bytes, content)?,
            b"moov" => chunks_are_inside(bytes, content, &TO_CHUNKS[1..])?,
            _ => true,
        };
        if !inside {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The boxes that follow each other in a range of the file.
fn children(bytes: &Bytes<'_>, range: Range<u64>) -> io::Result<Vec<Child>> {
    let mut found = Vec::new();
    let mut at = range.start;
    while found.len() < CHILDREN_MAX && range.end.saturating_sub(at) >= 8 {
        let Some(head) = bytes.read::<8>(at)? else { break };
        let kind = [head[4], head[5], head[6], head[7]];
        let (content, length) = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
            0 => (at + 8, range.end - at),
            1 => (at + 16, bytes.read::<8>(at + 8)?.map_or(0, u64::from_be_bytes)),
            length => (at + 8, u64::from(length)),
        };
        match at.checked_add(length) {
            Some(end) if end <= range.end && content <= end => {
                found.push((kind, content..end));
                at = end;
            }
            _ => break,
        }
    }
    Ok(found)
}

/// Every chunk of every track begins inside the file.
fn chunks_are_inside(bytes: &Bytes<'_>, range: Range<u64>, way: &[&[u8; 4]]) -> io::Result<bool> {
    for (kind, content) in children(bytes, range)? {
        let inside = match way {
            [next, rest @ ..] if kind == **next => chunks_are_inside(bytes, content, rest)?,
            [] if &kind == b"stco" => offsets_are_inside::<4>(bytes, content)?,
            [] if &kind == b"co64" => offsets_are_inside::<8>(bytes, content)?,
            _ => true,
        };
        if !inside {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A table of offsets of `N` bytes each, behind its version and its length.
fn offsets_are_inside<const N: usize>(bytes: &Bytes<'_>, table: Range<u64>) -> io::Result<bool> {
    let Some(count) = bytes.read::<4>(table.start + 4)?.map(u32::from_be_bytes) else { return Ok(true) };
    let end = table.end.min((table.start + 8).saturating_add(u64::from(count) * N as u64));
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = table.start + 8;
    while at < end {
        let most = block.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        let there = bytes.read_some(&mut block[..most], at)?;
        let offsets = block[..there].chunks_exact(N);
        if offsets.len() == 0 {
            break;
        }
        if offsets.map(number).any(|offset| offset >= bytes.size) {
            return Ok(false);
        }
        at += (there / N * N) as u64;
    }
    Ok(true)
}

/// Every piece of every item of a picture lies inside the file (`iloc`; what lies in a box of its own is not looked at).
fn items_are_inside(bytes: &Bytes<'_>, meta: Range<u64>) -> io::Result<bool> {
    // A full box: version and flags come before the boxes in it.
    let inside = children(bytes, meta.start.saturating_add(4)..meta.end)?;
    let Some((_, table)) = inside.into_iter().find(|(kind, _)| kind == b"iloc") else { return Ok(true) };
    if table.end - table.start > ITEMS_BYTES_MAX {
        return Ok(true);
    }
    let mut content = vec![0; usize::try_from(table.end - table.start).expect("bounded above")];
    let there = bytes.read_some(&mut content, table.start)?;
    Ok(pieces(&content[..there]).is_none_or(|pieces| pieces.into_iter().all(|end| end <= bytes.size)))
}

/// Where each piece of the items that lie in the file itself ends; `None` for a table that cannot be understood.
fn pieces(table: &[u8]) -> Option<Vec<u64>> {
    let mut rest = table;
    let version = take(&mut rest, 4)? >> 24;
    let sizes = take(&mut rest, 2)?;
    let size =
        |shift: u32| usize::try_from(sizes >> shift & 15).ok().filter(|size| matches!(size, 0 | 4 | 8));
    let (offset_size, length_size, base_size) = (size(12)?, size(8)?, size(4)?);
    let index_size = if version == 0 { 0 } else { size(0)? };
    if offset_size + length_size == 0 {
        // Pieces that take no room could be without number.
        return None;
    }
    let wide = if version < 2 { 2 } else { 4 };
    let mut ends = Vec::new();
    for _ in 0..take(&mut rest, wide)? {
        take(&mut rest, wide)?;
        let method = if version == 0 { 0 } else { take(&mut rest, 2)? & 15 };
        let elsewhere = take(&mut rest, 2)?;
        let base = take(&mut rest, base_size)?;
        for _ in 0..take(&mut rest, 2)? {
            take(&mut rest, index_size)?;
            let (offset, length) = (take(&mut rest, offset_size)?, take(&mut rest, length_size)?);
            if method == 0 && elsewhere == 0 {
                ends.push(base.saturating_add(offset).saturating_add(length));
            }
        }
    }
    Some(ends)
}

/// The next `size` bytes, at most 8, as a number.
fn take(rest: &mut &[u8], size: usize) -> Option<u64> {
    let (bytes, after) = rest.split_at_checked(size)?;
    *rest = after;
    Some(number(bytes))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::super::tests::whole;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len() + 8).unwrap();
        [&length.to_be_bytes()[..], kind, content].concat()
    }

    /// A picture of two pieces, whose table (of `version`) says where they are.
    fn heic(version: u8) -> Vec<u8> {
        let ftyp = boxed(b"ftyp", b"heic\0\0\0\0");
        let table = |at: u32| {
            let mut table = vec![version, 0, 0, 0, 0x44, 0];
            let wide = |n: u16| {
                if version < 2 { n.to_be_bytes().to_vec() } else { u32::from(n).to_be_bytes().to_vec() }
            };
            table.extend(wide(1));
            table.extend(wide(7));
            if version > 0 {
                table.extend([0, 0]);
            }
            table.extend([0, 0, 0, 2]);
            for (offset, length) in [(at, 10_u32), (at + 10, 20)] {
                table.extend(offset.to_be_bytes());
                table.extend(length.to_be_bytes());
            }
            boxed(b"meta", &[&[0; 4][..], &boxed(b"iloc", &table)].concat())
        };
        let before = ftyp.len() + table(0).len() + 8;
        [ftyp, table(u32::try_from(before).unwrap()), boxed(b"mdat", &[7; 30])].concat()
    }

    /// A movie whose table of chunks, with offsets of 4 or 8 bytes, comes before its data.
    fn movie(wide: bool) -> Vec<u8> {
        let ftyp = boxed(b"ftyp", b"qt  \0\0\0\0");
        let moov = |at: u64| {
            let mut table = vec![0, 0, 0, 0, 0, 0, 0, 1];
            let offset = at.to_be_bytes();
            table.extend(if wide { &offset[..] } else { &offset[4..] });
            let table = boxed(if wide { b"co64" } else { b"stco" }, &table);
            [b"stbl", b"minf", b"mdia", b"trak", b"moov"]
                .iter()
                .fold(table, |content, kind| boxed(kind, &content))
        };
        let before = ftyp.len() + moov(0).len() + 8;
        [ftyp, moov(before as u64), boxed(b"mdat", &[7; 30])].concat()
    }

    #[test]
    fn a_cut_is_noticed_at_every_byte_also_between_two_boxes() {
        for (name, content) in [
            ("a.HEIC", heic(0)),
            ("a.HEIC", heic(1)),
            ("a.heif", heic(2)),
            ("a.MOV", movie(false)),
            ("a.mp4", movie(true)),
        ] {
            assert!(whole(&content, name), "{name}");
            for cut in 0..content.len() {
                assert!(!whole(&content[..cut], name), "{name} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_table_that_cannot_be_understood_is_no_reason_to_doubt() {
        for at in 0..heic(1).len() {
            // Every byte changed once: never a panic, and where the boxes still hold, an answer.
            let mut content = heic(1);
            content[at] ^= 0xFF;
            let _ = whole(&content, "a.HEIC");
            let mut content = movie(false);
            let last = content.len() - 1;
            content[at.min(last)] ^= 0xFF;
            let _ = whole(&content, "a.MOV");
        }
        let mut odd = heic(0);
        let sizes = odd.windows(4).position(|four| four == b"iloc").unwrap() + 8;
        odd[sizes] = 0x33;
        assert!(whole(&odd, "a.HEIC"));
    }
}
