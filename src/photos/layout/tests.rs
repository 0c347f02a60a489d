//! Arrangements of a small copy.

use std::path::Path;

use cap_std::fs::Dir;
use jiff::tz::TimeZone;

use super::*;
use crate::facts::{Album, AssetKind, MediaFile, Place, Upload};
use crate::photos::Source;
use crate::photos::verify::{Depth, prove};
use crate::progress::Silent;
use crate::usbmux::Udid;

struct Desk {
    host: tempfile::TempDir,
    store: Store,
}

/// 2026-11-01T00:00:00Z.
const NOVEMBER_S: i64 = 1_793_491_200;

fn asset(uuid: &str, path: &str, name: &str) -> Asset {
    Asset {
        uuid: uuid.into(),
        path: path.into(),
        original_name: Some(name.into()),
        kind: AssetKind::Photo,
        owner: Owner::Own,
        created: Timestamp::from_second(NOVEMBER_S).ok(),
        added: None,
        trashed: None,
        hidden: false,
        favourite: false,
        burst_unpicked: false,
        albums: Vec::new(),
        upload: Upload::Uploaded,
        place: Place::OnlyHere,
        resources: Vec::new(),
    }
}

impl Desk {
    fn with(paths: &[&str]) -> Self {
        let host = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(host.path(), cap_std::ambient_authority()).unwrap();
        let store = Store::open(dir, Udid::parse("00008101-000000000000001E").unwrap()).unwrap();
        let mut intake = store.intake();
        for (n, path) in (0..).zip(paths) {
            let file = MediaFile {
                path: (*path).into(),
                size: path.len() as u64,
                mtime_ns: (NOVEMBER_S + 40 * 86_400 + n) * 1_000_000_000,
                birthtime_ns: 0,
            };
            intake.take(&file, Source::Afc, None, &mut path.as_bytes()).unwrap();
        }
        intake.finish().unwrap();
        Self { host, store }
    }

    fn lay(&self, layout: Layout, library: Option<&Library>) -> LaidOut {
        self.store.lay_out(layout, library, &TimeZone::UTC, &CancellationToken::new()).unwrap()
    }

    /// The files below `folder` with their content.
    fn found(&self, folder: &str) -> Vec<(String, String)> {
        fn walk(dir: &Path, root: &Path, found: &mut Vec<(String, String)>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, root, found);
                } else {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    found.push((name, std::fs::read_to_string(&path).unwrap()));
                }
            }
        }
        let root = self.host.path().join(folder);
        let mut found = Vec::new();
        walk(&root, &root, &mut found);
        found.sort();
        found
    }

    fn names(&self, folder: &str) -> Vec<String> {
        self.found(folder).into_iter().map(|(name, _)| name).collect()
    }
}

const A: &str = "DCIM/100APPLE/IMG_0001.HEIC";
const A_CLIP: &str = "DCIM/100APPLE/IMG_0001.MOV";
const A_EDIT: &str = "PhotoData/Mutations/DCIM/100APPLE/IMG_0001/Adjustments/FullSizeRender.heic";
const B: &str = "PhotoData/CPLAssets/group1/ABCD.HEIC";
const C: &str = "DCIM/101APPLE/IMG_0007.JPG";
const D: &str = "DCIM/101APPLE/IMG_0008.JPG";

fn library() -> Library {
    let (mut a, mut b) = (asset("A", A, "IMG_0001.HEIC"), asset("B", B, "IMG_0001.HEIC"));
    let (mut c, mut d) = (asset("C", C, "IMG_0007.JPG"), asset("D", D, "IMG_0008.JPG"));
    (a.albums, b.albums) = (vec![0, 1], vec![1]);
    (c.trashed, d.hidden) = (Some(None), true);
    d.albums = vec![0];
    let album = |title: &str| Album { title: title.into(), shared: false };
    let albums = Some(vec![album("../Trip"), album("Trip"), album("trip")]);
    Library { assets: Some(vec![a, b, c, d]), albums, ..Library::default() }
}

#[test]
fn files_are_where_their_date_album_and_state_put_them() {
    let desk = Desk::with(&[A, A_CLIP, A_EDIT, B, C, D]);
    let by_date = desk.lay(Layout::ByDate, Some(&library()));
    assert_eq!((by_date.files, by_date.hidden_left_out, by_date.impossible), (4, 1, None));
    let found = desk.found("photos.by-date");
    let wanted = [
        ("2026/2026-11/IMG_0001 (2).HEIC", B),
        ("2026/2026-11/IMG_0001 (edited).heic", A_EDIT),
        ("2026/2026-11/IMG_0001.HEIC", A),
        ("2026/2026-11/IMG_0001.MOV", A_CLIP),
    ];
    assert_eq!(found, wanted.map(|(name, content)| (name.to_owned(), content.to_owned())));
    desk.lay(Layout::ByAlbum, Some(&library()));
    assert_eq!(desk.names("photos.by-album").len(), 7, "{:?}", desk.names("photos.by-album"));
    assert!(desk.names("photos.by-album").contains(&"%2E.%2FTrip/IMG_0001.HEIC".to_owned()));
    desk.lay(Layout::RecentlyDeleted, Some(&library()));
    assert_eq!(desk.names("photos.recently-deleted"), ["IMG_0007.JPG"]);
}

#[test]
fn no_second_copy_is_made_and_an_edit_of_a_link_is_noticed() {
    use std::os::unix::fs::MetadataExt;
    let desk = Desk::with(&[A, B]);
    let laid_out = desk.lay(Layout::ByDate, Some(&library()));
    let link = desk.host.path().join("photos.by-date/2026/2026-11/IMG_0001.HEIC");
    match laid_out.links.unwrap() {
        Link::HardLink => {
            let copy = std::fs::metadata(desk.host.path().join("photos").join(A)).unwrap();
            assert_eq!((copy.ino(), copy.nlink()), (std::fs::metadata(&link).unwrap().ino(), 2));
        }
        Link::Symlink => assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink()),
        Link::Reflink => {}
    }
    std::fs::write(&link, b"somebody's edit").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let proven = runtime.block_on(prove(&desk.store, Depth::Recheck, &Silent, &CancellationToken::new()));
    let damaged: Vec<String> = proven.unwrap().damage.into_iter().map(|one| one.path).collect();
    let wanted: &[&str] = if laid_out.links == Some(Link::Reflink) { &[] } else { &[A] };
    assert_eq!(damaged, wanted);
}

#[test]
fn a_second_run_follows_the_library_and_takes_nothing_of_anybody() {
    let desk = Desk::with(&[A, B, C]);
    desk.lay(Layout::ByDate, Some(&library()));
    let month = desk.host.path().join("photos.by-date/2026/2026-11");
    std::fs::write(month.join("letter.txt"), b"mine").unwrap();
    std::fs::create_dir(month.join("best of")).unwrap();
    std::fs::write(month.join("best of/IMG_0001.HEIC"), b"mine too").unwrap();
    let mut library = library();
    let assets = library.assets.as_mut().unwrap();
    assets[0].trashed = Some(None);
    assets[1].created = Timestamp::from_second(NOVEMBER_S + 31 * 86_400).ok();
    let again = desk.lay(Layout::ByDate, Some(&library));
    assert_eq!((again.files, again.others_kept), (1, 2));
    assert_eq!(
        desk.names("photos.by-date"),
        ["2026/2026-11/best of/IMG_0001.HEIC", "2026/2026-11/letter.txt", "2026/2026-12/IMG_0001.HEIC"]
    );
    assert!(!desk.host.path().join("photos.by-date.new").exists());
    assert_eq!(desk.names("photos").len(), 3, "the copy itself is as it was");
}

#[test]
fn what_a_killed_run_left_is_brought_back_before_anything_goes() {
    let desk = Desk::with(&[A, B]);
    desk.lay(Layout::ByDate, Some(&library()));
    for left_over in ["photos.by-date.new/2026", "photos.by-date.old"] {
        let left_over = desk.host.path().join(left_over);
        std::fs::create_dir_all(&left_over).unwrap();
        std::fs::write(left_over.join("letter.txt"), b"mine").unwrap();
    }
    assert_eq!(desk.lay(Layout::ByDate, Some(&library())).others_kept, 2);
    let names = desk.names("photos.by-date");
    assert!(["2026/letter.txt", "letter.txt"].iter().all(|name| names.contains(&(*name).to_owned())));
    assert!(!desk.host.path().join("photos.by-date.old").exists());
}

#[test]
fn the_last_good_name_of_a_photo_is_not_taken_away() {
    let desk = Desk::with(&[A, B]);
    desk.lay(Layout::ByDate, Some(&library()));
    desk.lay(Layout::ByAlbum, Some(&library()));
    std::fs::remove_file(desk.host.path().join("photos").join(A)).unwrap();
    let again =
        desk.store.lay_out(Layout::ByDate, Some(&library()), &TimeZone::UTC, &CancellationToken::new());
    let left = desk.found("photos.by-date");
    let found = left.iter().any(|(_, content)| content == A);
    assert!(
        found || desk.found("photos.by-album").iter().any(|(_, content)| content == A),
        "{again:?}: {left:?}"
    );
}

#[test]
fn without_a_library_dates_are_those_of_the_files_and_the_rest_says_why_not() {
    let desk = Desk::with(&[A, A_EDIT, "PhotoData/PhotoCloudSharingData/1/2/100CLOUD/IMG_0001.JPG"]);
    assert_eq!(desk.lay(Layout::ByDate, None).files, 2);
    assert_eq!(
        desk.names("photos.by-date"),
        ["2026/2026-12/IMG_0001 (edited).heic", "2026/2026-12/IMG_0001.HEIC"]
    );
    for layout in [Layout::ByAlbum, Layout::RecentlyDeleted] {
        assert!(desk.lay(layout, None).impossible.unwrap().contains("was not read"));
        assert!(!desk.host.path().join(layout.folder()).exists());
    }
}

#[test]
fn what_the_library_said_is_kept_and_read_again() {
    let desk = Desk::with(&[A]);
    assert!(desk.store.remembered().unwrap().is_none());
    desk.store.remember(&library()).unwrap();
    let first = desk.store.remembered().unwrap().unwrap();
    assert_eq!(
        (first.library.assets.clone(), first.library.albums.clone()),
        (library().assets, library().albums)
    );
    desk.store.remember(&library()).unwrap();
    desk.store.remember(&Library::default()).unwrap();
    assert_eq!(desk.store.remembered().unwrap().unwrap().since, first.since, "the same is not written again");
    let mut other = library();
    other.assets.as_mut().unwrap()[0].favourite = true;
    desk.store.remember(&other).unwrap();
    assert!(desk.store.remembered().unwrap().unwrap().library.assets.unwrap()[0].favourite);
    let path = desk.host.path().join("photos.library");
    let bytes = std::fs::read(&path).unwrap();
    for cut in [0, 1, 30, bytes.len() / 2, bytes.len() - 3] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert!(desk.store.remembered().unwrap().is_none(), "cut at {cut}");
    }
}
