//! Pictures exported into a folder: made once, never over anything, each failure listed.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::facts::MediaFile;
use crate::photos::Source;
use crate::progress::Silent;
use crate::usbmux::Udid;

/// Decodes a "HEIC" of our own: its first byte is the grey of a picture of 32 × 24. Counts how often it is asked.
struct Grey(AtomicU64);

impl Decode for Grey {
    fn decode(&self, heic: &[u8]) -> Result<Decoded, String> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let grey = *heic.first().ok_or("it is empty")?;
        if grey == 0 {
            return Err("it could not be decoded: black".to_owned());
        }
        let exif = Some(exif::only_orientation(6));
        Ok(Decoded { width: 32, height: 24, rgb: vec![grey; 32 * 24 * 3], exif, icc: Some(vec![7; 500]) })
    }
}

struct Desk {
    _copy: tempfile::TempDir,
    into: tempfile::TempDir,
    store: Store,
    grey: Grey,
}

impl Desk {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let copy = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(copy.path(), cap_std::ambient_authority()).unwrap();
        let store = Store::open(dir, Udid::parse("00008101-000000000000001E").unwrap()).unwrap();
        for (path, content) in files {
            let size = content.len() as u64;
            let mtime_ns = 1_600_000_000_000_000_000;
            let file = MediaFile { path: (*path).to_owned(), size, mtime_ns, birthtime_ns: 0 };
            store.take_in(&file, Source::Afc, None, &mut &content[..]).unwrap();
        }
        Self { _copy: copy, into: tempfile::tempdir().unwrap(), store, grey: Grey(AtomicU64::new(0)) }
    }

    fn export(&self) -> Exported {
        export(&self.store, self.into.path(), &self.grey, &Silent, &CancellationToken::new()).unwrap()
    }

    fn decoded(&self) -> u64 {
        self.grey.0.load(Ordering::Relaxed)
    }
}

const HEIC: &str = "DCIM/100APPLE/IMG_0001.HEIC";
const MADE: &str = "DCIM/100APPLE/IMG_0001.jpg";

#[test]
fn a_jpeg_is_upright_has_the_phones_date_and_its_colours_and_is_made_once() {
    let desk = Desk::of(&[(HEIC, &[200]), ("DCIM/100APPLE/IMG_0002.MOV", b"x")]);
    let first = desk.export();
    assert_eq!((first.converted, first.copied, first.left, first.failed.len()), (1, 0, 1, 0));
    let path = desk.into.path().join(MADE);
    let bytes = std::fs::read(&path).unwrap();
    let mut decoder = jpeg_decoder::Decoder::new(&bytes[..]);
    let pixels = decoder.decode().unwrap();
    assert!(pixels.iter().all(|grey| (198..=202).contains(grey)) && pixels.len() == 32 * 24 * 3);
    assert_eq!(decoder.exif_data().and_then(exif::orientation), Some(1));
    assert_eq!(decoder.icc_profile().unwrap(), vec![7; 500]);
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_600_000_000);
    let again = desk.export();
    assert_eq!((again.converted, again.unchanged, desk.decoded()), (0, 1, 1), "known by its comment");
}

#[test]
fn what_is_there_is_never_replaced_unless_it_is_what_would_be_written() {
    let png = b"\x89PNG and so on";
    let desk = Desk::of(&[(HEIC, &[90]), ("DCIM/100APPLE/IMG_0003.PNG", png)]);
    let folder = desk.into.path().join("DCIM/100APPLE");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("IMG_0001.jpg"), b"mine").unwrap();
    std::fs::write(folder.join("IMG_0003.PNG"), png).unwrap();
    let exported = desk.export();
    assert_eq!((exported.converted, exported.copied, exported.unchanged), (0, 0, 1));
    let [(path, reason)] = &exported.failed[..] else { panic!("{exported:?}") };
    assert!(path == HEIC && reason.contains("not replaced"), "{reason}");
    assert_eq!(std::fs::read(folder.join("IMG_0001.jpg")).unwrap(), b"mine");
    // A JPEG of ours that was torn is not taken for whole, nor silently replaced.
    std::fs::remove_file(folder.join("IMG_0001.jpg")).unwrap();
    desk.export();
    let whole = std::fs::read(folder.join("IMG_0001.jpg")).unwrap();
    std::fs::write(folder.join("IMG_0001.jpg"), &whole[..whole.len() - 9]).unwrap();
    assert_eq!(desk.export().failed.len(), 1);
    std::fs::write(folder.join("IMG_0001.jpg"), &whole).unwrap();
    assert_eq!(desk.export().unchanged, 2);
}

#[test]
fn one_that_fails_is_listed_and_the_others_are_exported() {
    let jpeg_inside = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 0, 0];
    let desk = Desk::of(&[
        ("DCIM/100APPLE/IMG_0001.HEIC", &[0]),
        ("DCIM/100APPLE/IMG_0002.HEIC", &[]),
        ("DCIM/100APPLE/IMG_0003.HEIC", &[50]),
        ("DCIM/100APPLE/IMG_0004.HEIC", &jpeg_inside),
    ]);
    let exported = desk.export();
    assert_eq!((exported.converted, exported.copied, exported.failed.len()), (1, 1, 2));
    assert!(exported.failed[0].1.contains("black") && exported.failed[1].1.contains("empty"));
    assert_eq!(std::fs::read(desk.into.path().join("DCIM/100APPLE/IMG_0004.jpg")).unwrap(), jpeg_inside);
}

#[test]
fn a_link_in_the_folder_is_not_followed_and_left_overs_are_no_obstacle() {
    let desk = Desk::of(&[(HEIC, &[90])]);
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), desk.into.path().join("DCIM")).unwrap();
    assert_eq!(desk.export().failed.len(), 1);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    std::fs::remove_file(desk.into.path().join("DCIM")).unwrap();
    std::fs::create_dir_all(desk.into.path().join("DCIM/100APPLE")).unwrap();
    std::fs::write(desk.into.path().join(format!("{MADE}.partial")), b"left over").unwrap();
    assert_eq!(desk.export().converted, 1);
    assert!(!desk.into.path().join(format!("{MADE}.partial")).exists());
}

#[test]
fn a_comment_is_found_before_the_tables_and_in_no_damaged_head() {
    let mut picture = Grey(AtomicU64::new(0)).decode(&[9]).unwrap();
    let made = jpeg(&mut picture, "hello").unwrap();
    let at = target::tables_at(&made).unwrap();
    assert!(made[at] == 0xff && matches!(made[at + 1], 0xc0 | 0xdb), "{:x?}", &made[at..at + 2]);
    for cut in 0..at.min(200) {
        let _ = target::tables_at(&made[..cut]);
    }
}

/// Makes HEIC files with libheif's own program, where it is installed, and looks at the JPEGs with another decoder.
#[cfg(feature = "heic")]
#[test]
fn real_heic_files_become_jpegs_that_look_the_same() {
    let decode = decoder().expect("built with it");
    assert!(decode.decode(b"no heic").is_err());
    let still = decode.decode(include_bytes!("../../sim/new/data/still.heic")).unwrap();
    assert_eq!((still.width, still.height, still.rgb.len()), (256, 192, 256 * 192 * 3));
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.jpg");
    let (width, height) = (320_u16, 200_u16);
    let pixel = |x: u16, y: u16| {
        if x < 160 {
            [220, 40, 40]
        } else if y < 100 {
            [40, 200, 60]
        } else {
            [40, 60, 210]
        }
    };
    let pixels: Vec<u8> = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 95);
    encoder.add_exif_metadata(&exif::only_orientation(1)).unwrap();
    encoder.encode(&pixels, width, height, ColorType::Rgb).unwrap();
    std::fs::write(&source, &file).unwrap();
    let heic = folder.path().join("made.heic");
    let made =
        std::process::Command::new("heif-enc").arg(&source).arg("-q").arg("90").arg("-o").arg(&heic).output();
    // Without the program, or with one that cannot make HEVC, there is nothing to compare with.
    let Some(_) = made.ok().filter(|made| made.status.success()) else { return };
    let heic = std::fs::read(heic).unwrap();
    let mut decoded = decode.decode(&heic).unwrap();
    assert_eq!((decoded.width, decoded.height), (width, height));
    let jpeg = jpeg(&mut decoded, "test").unwrap();
    let mut decoder = jpeg_decoder::Decoder::new(&jpeg[..]);
    let seen = decoder.decode().unwrap();
    for (x, y) in [(40, 100), (240, 40), (240, 160)] {
        let at = (usize::from(y) * 320 + usize::from(x)) * 3;
        let near = seen[at..at + 3].iter().zip(pixel(x, y)).all(|(seen, meant)| seen.abs_diff(meant) < 20);
        assert!(near, "at {x},{y}: {:?}", &seen[at..at + 3]);
    }
    // Cut at any place it is refused or shows something; it never brings the program down.
    for cut in (0..heic.len()).step_by(heic.len() / 40 + 1) {
        let _ = decode.decode(&heic[..cut]);
    }
}
