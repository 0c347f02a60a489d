//! The contact sheet over small copies: hostile names, numbers that add up, hidden photos, small pictures made here.

use std::path::Path;

use jiff::Timestamp;

use super::*;
use crate::facts::{Asset, AssetKind, Library, MediaFile, Owner, Place, Upload};
use crate::photos::{Source, exif};
use crate::usbmux::Udid;

/// A copy in a scratch folder.
struct Copy {
    temp: tempfile::TempDir,
    store: Store,
}

impl Copy {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        let store = Store::open(dir, Udid::parse("00008101-000000000000001E").unwrap()).unwrap();
        let mut intake = store.intake();
        for (path, content) in files {
            let file = MediaFile {
                path: (*path).to_owned(),
                size: content.len() as u64,
                mtime_ns: 1_700_000_000_000_000_000,
                birthtime_ns: 0,
            };
            intake.take(&file, Source::Afc, None, &mut &content[..]).unwrap();
        }
        assert!(intake.finish().unwrap().refused.is_empty());
        Self { temp, store }
    }

    fn page(&self, sheet: &Sheet) -> (Written, String) {
        let written = write(&self.store, sheet, &TimeZone::UTC, &CancellationToken::new()).unwrap();
        (written, std::fs::read_to_string(self.temp.path().join(PAGE)).unwrap())
    }

    fn thumbnail(&self, path: &str) -> std::path::PathBuf {
        self.temp.path().join(THUMBNAILS).join(format!("{path}.jpg"))
    }
}

fn asset(path: &str, place: Place) -> Asset {
    Asset {
        uuid: path.to_owned(),
        path: path.to_owned(),
        original_name: None,
        kind: AssetKind::Photo,
        owner: Owner::Own,
        created: Some("2026-03-04T05:06:07Z".parse().unwrap()),
        added: None,
        trashed: None,
        hidden: false,
        favourite: false,
        burst_unpicked: false,
        albums: Vec::new(),
        upload: Upload::Uploaded,
        place,
        resources: Vec::new(),
    }
}

fn library(assets: Vec<Asset>) -> Library {
    Library { assets: Some(assets), ..Library::default() }
}

fn about(hidden: bool) -> About<'static> {
    About { device: Some("Anna’s <iPhone>"), read_at: Timestamp::UNIX_EPOCH, hidden }
}

/// A JPEG of 1200 × 800 that is to be turned.
fn jpeg() -> Vec<u8> {
    let mut jpeg = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut jpeg, 60);
    encoder.add_exif_metadata(&exif::only_orientation(6)).unwrap();
    let pixels: Vec<u8> = (0..1200 * 800 * 3_u32).map(|n| (n / 3000) as u8).collect();
    encoder.encode(&pixels, 1200, 800, jpeg_encoder::ColorType::Rgb).unwrap();
    jpeg
}

#[test]
fn a_phone_cannot_write_markup_or_lead_elsewhere() {
    let names = [
        "DCIM/100APPLE/a#b?c%d&e\"f'g<h>.PNG",
        "DCIM/100APPLE/javascript:alert(1).PNG",
        "DCIM/100APPLE/\u{202E}gpj.PNG",
        "DCIM/http:/x.PNG",
    ];
    // A PNG is asked for its structure only by whoever copies it; here its name counts.
    let copy = Copy::of(&names.map(|name| (name, &b"x"[..])));
    let mut hostile = asset(names[0], Place::OnlyHere);
    hostile.original_name = Some("<script>alert(1)</script>\" onerror=\"x\u{1b}[31m".to_owned());
    let (written, page) = copy.page(&Sheet::of(&copy.store, Some(&library(vec![hostile])), about(false)));
    assert_eq!(written.tiles, 4);
    assert!(page.contains("href=\"photos/DCIM/100APPLE/a%23b%3Fc%25d%26e%22f%27g%3Ch%3E.PNG\""), "{page}");
    assert!(page.contains("href=\"photos/DCIM/100APPLE/javascript%3Aalert%281%29.PNG\""));
    assert!(page.contains("Anna’s &lt;iPhone&gt;"));
    for bad in ["<script", "onerror=\"x", "\u{1b}", "\u{202E}", "http://", "https://", "href=\"http", "<h>"] {
        assert!(!page.contains(bad), "{bad:?}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn every_asset_stands_in_one_place_and_the_numbers_add_up() {
    let here = ["DCIM/100APPLE/1.PNG", "DCIM/100APPLE/2.PNG", "DCIM/100APPLE/3.PNG", "DCIM/100APPLE/4.PNG"];
    let copy = Copy::of(&here.map(|name| (name, &b"x"[..])));
    let mut deleted = asset("DCIM/100APPLE/3.PNG", Place::OnlyHere);
    deleted.trashed = Some(None);
    let mut others = asset("PhotoData/PhotoCloudSharingData/x/y/1.PNG", Place::HereAndInIcloud);
    others.owner = Owner::SharedAlbum;
    let assets = vec![
        asset(here[0], Place::OnlyHere),
        asset(here[1], Place::HereAndInIcloud),
        asset("DCIM/100APPLE/9.PNG", Place::OnlyInIcloud),
        deleted,
        others,
    ];
    let (written, page) = copy.page(&Sheet::of(&copy.store, Some(&library(assets)), about(false)));
    assert_eq!((written.tiles, written.with_thumbnail), (6, 0));
    for (id, number) in [
        ("only-here", 1),
        ("both", 1),
        ("only-icloud", 1),
        ("deleted", 1),
        ("others", 1),
        ("gone", 1),
        ("not-copied", 2),
    ] {
        assert!(page.contains(&format!("--{id}:{number};")), "{id}");
        assert_eq!(page.contains(&format!("id=\"f-{id}\"")), number > 0, "{id}");
    }
    assert!(!page.contains("f-neither"), "a filter that shows nothing is not offered");
    assert!(page.contains("Only in iCloud, not copied") && page.contains(">March 2026<"));
}

#[test]
fn hidden_photos_are_left_out_with_their_names_also_when_the_page_is_made_again() {
    let path = "DCIM/100APPLE/IMG_0666.JPG";
    let copy = Copy::of(&[(path, &jpeg()), ("DCIM/100APPLE/IMG_0001.JPG", &jpeg())]);
    let mut hidden = asset(path, Place::OnlyHere);
    hidden.hidden = true;
    let library = library(vec![hidden, asset("DCIM/100APPLE/IMG_0001.JPG", Place::OnlyHere)]);
    let with = Sheet::of(&copy.store, Some(&library), about(true));
    let (written, page) = copy.page(&with);
    assert!(written.hidden_left_out == 0 && page.contains("IMG_0666") && copy.thumbnail(path).exists());
    let without = Sheet::of(&copy.store, Some(&library), about(false));
    keep(&copy.store, &without).unwrap();
    let again = kept(&copy.store).unwrap();
    assert_eq!(again, without);
    for sheet in [without, again.with_newcomers(&copy.store)] {
        let (written, page) = copy.page(&sheet);
        assert_eq!((written.tiles, written.hidden_left_out), (1, 1));
        assert!(!page.contains("IMG_0666") && page.contains("IMG_0001"));
        assert!(!copy.thumbnail(path).exists(), "its small picture is gone as well");
    }
}

#[test]
fn without_a_library_the_files_of_one_name_are_one() {
    let copy = Copy::of(&[
        ("DCIM/100APPLE/IMG_0001.HEIC", b"x"),
        ("DCIM/100APPLE/IMG_0001.MOV", b"x"),
        ("DCIM/100APPLE/IMG_0001.AAE", b"x"),
        ("DCIM/100APPLE/IMG_E0001.JPG", b"x"),
        ("DCIM/100APPLE/IMG_0002.MOV", b"x"),
        ("PhotoData/Mutations/DCIM/100APPLE/IMG_0001/Adjustments/FullSizeRender.heic", b"x"),
    ]);
    let sheet = Sheet::of(&copy.store, None, about(false));
    let tiles: Vec<_> = sheet.tiles.iter().map(|tile| (tile.path.as_str(), tile.kind)).collect();
    let expected = [
        ("DCIM/100APPLE/IMG_0002.MOV", sheet::Kind::Video),
        ("DCIM/100APPLE/IMG_0001.HEIC", sheet::Kind::LivePhoto),
    ];
    assert_eq!(tiles, expected);
    assert!(copy.page(&sheet).1.contains("was not read from the phone"));
}

#[test]
fn small_pictures_are_made_of_jpegs_and_keep_how_they_are_turned() {
    let (whole, path) = (jpeg(), "DCIM/100APPLE/IMG_0001.JPG");
    let cut = &whole[..whole.len() / 3];
    let copy = Copy::of(&[(path, &whole), ("DCIM/100APPLE/cut.JPG", cut), ("DCIM/100APPLE/none.JPG", b"no")]);
    let (written, page) = copy.page(&Sheet::of(&copy.store, None, about(false)));
    assert!(written.tiles == 3 && written.with_thumbnail >= 1);
    assert!(page.contains("photos.thumbnails/DCIM/100APPLE/IMG_0001.JPG.jpg"));
    let small = std::fs::read(copy.thumbnail(path)).unwrap();
    let mut decoder = jpeg_decoder::Decoder::new(&small[..]);
    let pixels = decoder.decode().unwrap();
    let info = decoder.info().unwrap();
    assert!(info.width >= 256 && info.width < 1200 && pixels.len() < 1200 * 800);
    assert_eq!(decoder.exif_data().and_then(exif::orientation), Some(6));
    assert!(!copy.thumbnail("DCIM/100APPLE/none.JPG").exists());
}

#[test]
fn what_is_no_small_picture_of_the_page_goes_and_nothing_else() {
    let path = "DCIM/100APPLE/IMG_0001.JPG";
    let copy = Copy::of(&[(path, &jpeg())]);
    let folder = copy.temp.path().join(THUMBNAILS);
    let put = |name: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"x").unwrap();
    };
    for name in ["DCIM/old/gone.JPG.jpg", "DCIM/100APPLE/torn.jpg.partial", "notes.txt"] {
        put(name);
    }
    std::os::unix::fs::symlink("/", folder.join("DCIM/link")).unwrap();
    copy.page(&Sheet::of(&copy.store, None, about(false)));
    let there = |name: &str| Path::new(&folder.join(name)).exists();
    assert!(!there("DCIM/old") && !there("DCIM/100APPLE/torn.jpg.partial"));
    assert!(there("notes.txt") && there("DCIM/link") && copy.thumbnail(path).exists());
}

#[test]
fn a_kept_sheet_that_was_changed_leads_nowhere() {
    let copy = Copy::of(&[("DCIM/1.PNG", b"x")]);
    let mut sheet = Sheet::of(&copy.store, None, about(false));
    sheet.tiles[0].path = "../../etc/passwd".to_owned();
    keep(&copy.store, &sheet).unwrap();
    assert!(kept(&copy.store).unwrap().tiles.is_empty());
    for damage in [&b"{"[..], b"", b"[1,2]"] {
        std::fs::write(copy.temp.path().join(THUMBNAILS).join(SHEET), damage).unwrap();
        assert!(kept(&copy.store).is_none());
    }
}
