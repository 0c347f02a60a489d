//! Is a picture's or a clip's container whole? Do its boxes, chunks or markers end inside the file?
//!
//! Copies of photos were seen cut short with every size as expected (libheif issue 1757), so a size is no proof. This
//! reads the structure only, never the pixels: ISO base media files (HEIC, MOV, MP4), JPEG, PNG, TIFF (DNG), WebP, GIF
//! and property lists (AAE). The kind is known by content, not by name; a name that promises one of these kinds over
//! content that is none is not whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

mod iso;
mod tiff;

/// The most boxes, chunks or segments that are followed: more than any real file has at its top.
const PARTS_MAX: usize = 1 << 20;

/// Extensions that promise a kind which is checked, in lower case.
const CHECKED: [&str; 14] =
    ["jpg", "jpeg", "heic", "heif", "hif", "avif", "mov", "mp4", "m4v", "png", "dng", "gif", "webp", "aae"];

/// True for a file that is whole, also for one of a kind without a check. `name` is only asked for its extension.
pub(crate) fn is_whole(file: &File, name: &str) -> io::Result<bool> {
    let bytes = Bytes { file, size: file.metadata()?.len() };
    let mut head = [0; 12];
    let there = bytes.read_some(&mut head, 0)?;
    let head = &head[..there];
    match head {
        [0xFF, 0xD8, 0xFF, ..] => jpeg(&bytes),
        [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, ..] => png(&bytes),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => tiff::is_whole(&bytes),
        [b'R', b'I', b'F', b'F', ..] => riff(&bytes),
        [b'G', b'I', b'F', b'8', ..] => Ok(bytes.ends_with(&[0x3B])?),
        [b'b', b'p', b'l', b'i', b's', b't', ..] => binary_plist(&bytes),
        [_, _, _, _, b'f', b't', b'y', b'p', ..]
        | [_, _, _, _, b'm', b'o', b'o', b'v', ..]
        | [_, _, _, _, b'm', b'd', b'a', b't', ..]
        | [_, _, _, _, b'w', b'i', b'd', b'e', ..]
        | [_, _, _, _, b'f', b'r', b'e', b'e', ..] => iso::is_whole(&bytes),
        _ if is_xml(head) => bytes.ends_with(b"</plist>"),
        _ => Ok(!is_promised(name)),
    }
}

fn is_promised(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| CHECKED.contains(&extension.as_str()))
}

fn is_xml(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    head.starts_with(b"<?xml") || head.starts_with(b"<plist") || head.starts_with(b"<!DOCT")
}

/// A file and its size, read by position.
struct Bytes<'a> {
    file: &'a File,
    size: u64,
}

impl Bytes<'_> {
    /// Reads up to the end of the file.
    fn read_some(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], at + done as u64)? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    /// Exactly `N` bytes, or `None` where the file ends before.
    fn read<const N: usize>(&self, at: u64) -> io::Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        let whole = at < self.size && self.read_some(&mut bytes, at)? == N;
        Ok(whole.then_some(bytes))
    }

    /// The file ends with `tail`, white space and zeros behind it aside.
    fn ends_with(&self, tail: &[u8]) -> io::Result<bool> {
        let mut last = [0; 4096];
        let from = self.size.saturating_sub(last.len() as u64);
        let there = self.read_some(&mut last, from)?;
        let last = &last[..there];
        let end = last.iter().rposition(|b| !matches!(b, 0 | b' ' | b'\n' | b'\r' | b'\t'));
        Ok(end.is_some_and(|end| last[..=end].ends_with(tail)))
    }

    /// Nothing but zeros from `at` to the end, of which only a little is looked at.
    fn only_zeros_from(&self, at: u64) -> io::Result<bool> {
        let mut rest = [0; 4096];
        let there = self.read_some(&mut rest, at)?;
        Ok(rest[..there].iter().all(|b| *b == 0))
    }
}

/// PNG: chunks, the last of which is `IEND`.
fn png(bytes: &Bytes<'_>) -> io::Result<bool> {
    let mut at = 8_u64;
    for _ in 0..PARTS_MAX {
        let Some(head) = bytes.read::<8>(at)? else { return Ok(false) };
        let length = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
        at += 12 + length;
        if at > bytes.size {
            return Ok(false);
        }
        if head[4..] == *b"IEND" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// JPEG: segments inside the file up to the scan, and the end-of-image marker. Pictures with a second one behind (a
/// gain map, a portrait) end with that one's marker.
fn jpeg(bytes: &Bytes<'_>) -> io::Result<bool> {
    let mut at = 2_u64;
    for _ in 0..PARTS_MAX {
        let Some([0xFF, marker]) = bytes.read::<2>(at)? else { return Ok(false) };
        match marker {
            // A fill byte, or a marker without a segment.
            0xFF => at += 1,
            0x01 | 0xD0..=0xD8 => at += 2,
            0xD9 => return Ok(true),
            _ => {
                let Some(length) = bytes.read::<2>(at + 2)? else { return Ok(false) };
                let length = u64::from(u16::from_be_bytes(length));
                at += 2 + length;
                if length < 2 || at > bytes.size {
                    return Ok(false);
                }
                if marker == 0xDA {
                    return Ok(bytes.ends_with(&[0xFF, 0xD9])? || scan_ends(bytes, at)?);
                }
            }
        }
    }
    Ok(false)
}

/// The entropy-coded data from `at` on reach an end-of-image marker: needed when something else follows the picture.
fn scan_ends(bytes: &Bytes<'_>, mut at: u64) -> io::Result<bool> {
    let mut block = vec![0; 1 << 16];
    let mut after_ff = false;
    while at < bytes.size {
        let there = bytes.read_some(&mut block, at)?;
        if there == 0 {
            break;
        }
        for byte in &block[..there] {
            if after_ff && *byte == 0xD9 {
                return Ok(true);
            }
            after_ff = *byte == 0xFF;
        }
        at += there as u64;
    }
    Ok(false)
}

/// WebP: the container states its length.
fn riff(bytes: &Bytes<'_>) -> io::Result<bool> {
    let length = bytes.read::<4>(4)?.map(u32::from_le_bytes);
    Ok(length.is_some_and(|length| 8 + u64::from(length) <= bytes.size))
}

/// A binary property list: its trailer is there and the table that it names lies before it.
fn binary_plist(bytes: &Bytes<'_>) -> io::Result<bool> {
    let Some(trailer) = bytes.size.checked_sub(32) else { return Ok(false) };
    let Some(tail) = bytes.read::<32>(trailer)? else { return Ok(false) };
    let number = |from: usize| u64::from_be_bytes(tail[from..from + 8].try_into().expect("eight bytes"));
    let (objects, table) = (number(8), number(24));
    let table_bytes = objects.checked_mul(u64::from(tail[6]));
    let end = table_bytes.and_then(|length| table.checked_add(length));
    Ok(objects > 0 && end == Some(trailer))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    pub(super) fn whole(content: &[u8], name: &str) -> bool {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        is_whole(&file, name).unwrap()
    }

    fn jpeg_picture() -> Vec<u8> {
        let mut bytes = Vec::new();
        let pixels = [128; 64 * 64];
        jpeg_encoder::Encoder::new(&mut bytes, 80)
            .encode(&pixels, 64, 64, jpeg_encoder::ColorType::Luma)
            .unwrap();
        bytes
    }

    fn movie() -> Vec<u8> {
        [
            &b"\0\0\0\x14ftypqt  \0\0\0\0qt  "[..],
            b"\0\0\0\x08wide\0\0\0\x10mdat12345678",
            b"\0\0\0\x01moov\0\0\0\0\0\0\0\x14abcd",
        ]
        .concat()
    }

    fn png_picture() -> Vec<u8> {
        [&b"\x89PNG\r\n\x1a\n"[..], b"\0\0\0\x02IDATxxcrcc", b"\0\0\0\0IENDcrcc"].concat()
    }

    fn aae() -> Vec<u8> {
        b"<?xml version=\"1.0\"?>\n<plist version=\"1.0\"><dict/></plist>\n".to_vec()
    }

    fn binary() -> Vec<u8> {
        let mut bytes = Vec::new();
        plist::to_writer_binary(&mut bytes, &["adjustment", "data"]).unwrap();
        bytes
    }

    #[test]
    fn each_kind_is_whole_and_at_no_shorter_length() {
        for (name, content) in [
            ("a.JPG", jpeg_picture()),
            ("a.MOV", movie()),
            ("a.PNG", png_picture()),
            ("a.AAE", aae().trim_ascii().to_vec()),
            ("b.AAE", binary()),
            ("a.GIF", b"GIF89a...\x3B".to_vec()),
            ("a.WEBP", b"RIFF\x08\0\0\0WEBPVP8 ".to_vec()),
        ] {
            assert!(whole(&content, name), "{name}");
            for cut in 0..content.len() {
                // Where a movie ends between two boxes before its `moov`, it has none.
                assert!(!whole(&content[..cut], name), "{name} cut at {cut}");
            }
        }
    }

    #[test]
    fn padding_and_what_follows_a_picture_are_borne() {
        assert!(whole(&[jpeg_picture(), vec![0; 100]].concat(), "a.JPG"));
        assert!(whole(&[jpeg_picture(), b"more data".to_vec()].concat(), "a.JPG"));
        assert!(whole(&[movie(), vec![0; 100]].concat(), "a.MOV"));
        assert!(whole(&[movie(), vec![0; 5]].concat(), "a.MOV"));
        assert!(whole(&[png_picture(), b"x".to_vec()].concat(), "a.PNG"));
    }

    #[test]
    fn a_box_that_points_beyond_the_end_is_not_whole() {
        let mut heic = [&b"\0\0\0\x10ftypheic\0\0\0\0"[..], b"\0\0\0\x08meta", b"\0\0\x10\0mdat"].concat();
        assert!(!whole(&heic, "a.HEIC"));
        heic.resize(24 + 4096, 7);
        assert!(whole(&heic, "a.HEIC"));
    }

    #[test]
    fn a_name_without_a_check_is_whole_whatever_it_holds() {
        assert!(whole(b"", "notes.txt"));
        assert!(whole(b"anything", "a"));
        assert!(!whole(b"", "a.HEIC"));
        assert!(!whole(&[0; 5000], "a.mov"));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut seed = 42_u64;
        let heads: [&[u8]; 8] = [
            b"\xFF\xD8\xFF",
            b"\x89PNG\r\n\x1a\n",
            b"II*\0",
            b"MM\0*",
            b"RIFF",
            b"\0\0\0\x08ftyp",
            b"bplist00",
            b"",
        ];
        for round in 0..2000 {
            let mut content = heads[round % heads.len()].to_vec();
            for _ in 0..(round % 200) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                content.push((seed >> 56) as u8);
            }
            let _ = whole(&content, "x.jpg");
        }
    }
}
