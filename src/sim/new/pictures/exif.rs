//! The Exif block of a JPEG (CIPA DC-008): who took it, and when by the phone's own clock.

use jiff::Timestamp;

use crate::sim::new::phone::local;

/// The block, as the segment's body.
pub(super) fn block(model: &str, at: Timestamp) -> Vec<u8> {
    let taken = local(at).strftime("%Y:%m:%d %H:%M:%S\0").to_string();
    let texts: [(u16, Vec<u8>); 3] = [
        (0x010f, b"Apple\0".to_vec()),
        (0x0110, format!("{model}\0").into_bytes()),
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
