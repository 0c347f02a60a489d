//! The store by itself: taking files in, keeping earlier ones, one writer, proofs that notice.

use std::io;
use std::path::Path;

use cap_std::fs::Dir;

use super::verify::{Depth, prove};
use super::*;
use crate::facts::{Asset, AssetKind, Library, MediaFile, MediaListing, Owner, Place, Upload};
use crate::progress::{CancellationToken, Silent};
use crate::usbmux::Udid;

const HEIC: &str = "DCIM/100APPLE/IMG_0001.HEIC";

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn device(&self) -> Dir {
        Dir::open_ambient_dir(self.0.path(), cap_std::ambient_authority()).unwrap()
    }

    fn open(&self) -> Store {
        Store::open(self.device(), udid()).unwrap()
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.0.path().join(below)
    }
}

fn udid() -> Udid {
    Udid::parse("00008101-000000000000001E").unwrap()
}

fn file(path: &str, size: usize) -> MediaFile {
    MediaFile {
        path: path.to_owned(),
        size: size as u64,
        mtime_ns: 1_700_000_000_250_000_000,
        birthtime_ns: 7,
    }
}

fn take(store: &Store, path: &str, content: &[u8]) -> Result<Taken, Error> {
    store.take_in(&file(path, content.len()), Source::Backup, None, &mut &content[..])
}

/// A HEIC whose boxes end where it ends.
fn heic(n: u8) -> Vec<u8> {
    [&b"\0\0\0\x10ftypheic\0\0\0\0\0\0\0\x08meta\0\0\0\x10mdat"[..], &[n; 8]].concat()
}

async fn proof(store: &Store, depth: Depth) -> verify::Proven {
    prove(store, depth, &Silent, &CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn what_is_taken_in_is_there_with_its_date_and_proven() {
    let desk = Desk::new();
    let store = desk.open();
    assert_eq!(take(&store, HEIC, &heic(1)).unwrap(), Taken::Durable);
    let local = desk.path("photos").join(HEIC);
    assert_eq!(std::fs::read(&local).unwrap(), heic(1));
    let modified = std::fs::metadata(&local).unwrap().modified().unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_nanos(), 1_700_000_000_250_000_000);
    let proven = proof(&store, Depth::Full).await;
    let proof = proven.proof.unwrap();
    assert!(proof.covers(&file(HEIC, heic(1).len())) && proven.damage.is_empty());
    assert_eq!(proof.manifest_sha256(), &store.manifest_sha256().unwrap());
    assert!(std::fs::read_dir(desk.path("photos.partial")).unwrap().next().is_none());
}

#[tokio::test]
async fn a_file_that_is_not_whole_is_copied_but_covers_nothing() {
    let desk = Desk::new();
    let store = desk.open();
    let cut = &heic(1)[..30];
    take(&store, HEIC, cut).unwrap();
    let proof = proof(&store, Depth::Full).await.proof.unwrap();
    assert!(proof.file(HEIC).is_some() && !proof.covers(&file(HEIC, cut.len())));
}

#[tokio::test]
async fn damage_is_named_and_the_next_plan_copies_again() {
    let desk = Desk::new();
    let store = desk.open();
    for (n, name) in ["a", "b", "c", "d"].iter().enumerate() {
        take(&store, &format!("DCIM/{name}.HEIC"), &heic(n as u8)).unwrap();
    }
    assert!(proof(&store, Depth::Full).await.damage.is_empty());
    let dcim = desk.path("photos/DCIM");
    let mut changed = heic(0);
    changed[39] ^= 1;
    std::fs::write(dcim.join("a.HEIC"), &changed).unwrap();
    std::fs::remove_file(dcim.join("b.HEIC")).unwrap();
    std::fs::write(dcim.join("c.HEIC"), b"short").unwrap();
    let proven = proof(&store, Depth::Recheck).await;
    let named: Vec<_> = proven.damage.iter().map(|one| (one.path.as_str(), one.what.as_str())).collect();
    let short = format!("it has 5 bytes instead of {}", heic(0).len());
    assert_eq!(
        named,
        [
            ("DCIM/a.HEIC", "its content has changed"),
            ("DCIM/b.HEIC", "it is missing"),
            ("DCIM/c.HEIC", short.as_str()),
        ]
    );
    assert_eq!(proven.proof.unwrap().files(), 1);
    let size = heic(0).len();
    let files = ["a", "b", "c", "d"].map(|name| file(&format!("DCIM/{name}.HEIC"), size)).to_vec();
    let listing = MediaListing { files, refused: Vec::new() };
    let plan = desk_plan(&store, &listing);
    assert_eq!(plan, ["DCIM/a.HEIC", "DCIM/b.HEIC", "DCIM/c.HEIC"]);
    drop(store);
    assert_eq!(desk_plan(&desk.open(), &listing).len(), 3, "the manifest remembers it");
}

fn desk_plan(store: &Store, listing: &MediaListing) -> Vec<String> {
    store.plan(listing, None).unwrap().items.into_iter().map(|item| item.file.path).collect()
}

#[tokio::test]
async fn a_recheck_reads_only_what_differs() {
    let desk = Desk::new();
    let store = desk.open();
    take(&store, HEIC, &heic(1)).unwrap();
    take(&store, "DCIM/x", b"x").unwrap();
    assert_eq!(proof(&store, Depth::Recheck).await.bytes_read, heic(1).len() as u64 + 1);
    assert_eq!(proof(&store, Depth::Recheck).await.bytes_read, 0);
    std::fs::write(desk.path("photos/DCIM/x"), b"x").unwrap();
    let again = proof(&store, Depth::Recheck).await;
    assert_eq!((again.bytes_read, again.damage.len()), (1, 0));
    std::fs::write(desk.path("photos.proof"), b"noise").unwrap();
    assert_eq!(proof(&store, Depth::Recheck).await.bytes_read, heic(1).len() as u64 + 1);
    assert_eq!(proof(&store, Depth::Full).await.bytes_read, heic(1).len() as u64 + 1);
}

#[tokio::test]
async fn a_recheck_says_what_it_did_not_read_and_reads_what_was_read_too_long_ago() {
    let desk = Desk::new();
    let store = desk.open();
    take(&store, HEIC, &heic(1)).unwrap();
    let unread = |proven: verify::Proven| proven.proof.unwrap().unread();
    assert_eq!(unread(proof(&store, Depth::Recheck).await), (0, None));
    take(&store, "DCIM/x", b"x").unwrap();
    let again = proof(&store, Depth::Recheck).await;
    assert_eq!(again.bytes_read, 1);
    let (files, since) = unread(again);
    assert!(files == 1 && since.is_some());

    let record = std::fs::read_to_string(desk.path("photos.proof")).unwrap();
    let of_x = record.lines().last().unwrap();
    let read_at = of_x.rsplit_once("read_at\":").unwrap().1.trim_end_matches('}');
    let now: i64 = read_at.parse().unwrap();
    let dated = |seconds: i64| of_x.replace(&format!("read_at\":{read_at}"), &format!("read_at\":{seconds}"));
    for (bytes, seconds) in [(0, now - 29 * 86_400), (1, now - 31 * 86_400), (1, now + 3_600)] {
        std::fs::write(desk.path("photos.proof"), record.replace(of_x, &dated(seconds))).unwrap();
        assert_eq!(proof(&store, Depth::Recheck).await.bytes_read, bytes, "{seconds}");
    }
    // What is recorded of another content counts for nothing, whatever stands there.
    let sha256 = of_x.split("sha256\":\"").nth(1).unwrap().split('"').next().unwrap();
    std::fs::write(desk.path("photos.proof"), record.replace(sha256, &"0".repeat(64))).unwrap();
    assert_eq!(proof(&store, Depth::Recheck).await.bytes_read, 1);
    for end in (0..record.len()).step_by(53) {
        std::fs::write(desk.path("photos.proof"), &record[..end]).unwrap();
        let proven = proof(&store, Depth::Recheck).await;
        assert!(proven.damage.is_empty() && proven.proof.unwrap().files() == 2, "cut at {end}");
    }
}

#[test]
fn another_picture_of_the_same_name_never_replaces_the_first() {
    let desk = Desk::new();
    let store = desk.open();
    for n in 1..=3 {
        take(&store, HEIC, &heic(n)).unwrap();
        // The same content again is no other picture.
        take(&store, HEIC, &heic(n)).unwrap();
    }
    assert_eq!(std::fs::read(desk.path("photos").join(HEIC)).unwrap(), heic(3));
    let earlier = desk.path("photos.earlier/DCIM/100APPLE");
    assert_eq!(std::fs::read(earlier.join("IMG_0001 (1).HEIC")).unwrap(), heic(1));
    assert_eq!(std::fs::read(earlier.join("IMG_0001 (2).HEIC")).unwrap(), heic(2));
    assert_eq!(std::fs::read_dir(earlier).unwrap().count(), 2);
}

#[test]
fn what_is_not_as_announced_is_not_taken() {
    let desk = Desk::new();
    let store = desk.open();
    for announced in [3, 5] {
        let taken = store.take_in(&file(HEIC, announced), Source::Backup, None, &mut &b"four"[..]);
        assert!(matches!(taken, Err(Error::WrongSize { .. })));
    }
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the backup is damaged"))
        }
    }
    let taken = store.take_in(&file(HEIC, 4), Source::Backup, None, &mut Broken);
    assert!(matches!(taken, Err(Error::Reader { .. })));
    assert_eq!(store.size(), (0, 0));
    assert!(!desk.path("photos").join(HEIC).exists());
    assert!(std::fs::read_dir(desk.path("photos.partial")).unwrap().next().is_none());
}

#[test]
fn one_writes_and_others_wait_or_look() {
    let desk = Desk::new();
    assert!(Store::look(desk.device(), udid()).unwrap().is_none(), "looking makes nothing");
    assert!(!desk.path("photos").exists());
    let store = desk.open();
    take(&store, HEIC, &heic(1)).unwrap();
    assert!(matches!(Store::open(desk.device(), udid()), Err(Error::Locked)));
    assert!(matches!(Store::look(desk.device(), udid()), Err(Error::Locked)));
    drop(store);
    let look = Store::look(desk.device(), udid()).unwrap().unwrap();
    let second = Store::look(desk.device(), udid()).unwrap().unwrap();
    assert_eq!((look.size(), second.is_writable()), ((1, heic(1).len() as u64), false));
    assert!(matches!(Store::open(desk.device(), udid()), Err(Error::Locked)));
    assert!(take(&look, "DCIM/x", b"x").is_err());
    let other = Udid::parse("00008101-00000000000000FF").unwrap();
    assert!(matches!(Store::look(desk.device(), other), Err(Error::Foreign(_))));
}

#[test]
fn left_overs_and_names_in_the_way_are_no_end() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("photos.partial")).unwrap();
    std::fs::write(desk.path("photos.partial/1"), b"left over").unwrap();
    let store = desk.open();
    take(&store, "DCIM/a", b"1").unwrap();
    assert!(matches!(take(&store, "DCIM/a/b", b"2").unwrap(), Taken::Refused(_)));
    std::fs::create_dir_all(desk.path("photos/DCIM/folder/inside")).unwrap();
    assert!(matches!(take(&store, "DCIM/folder", b"3").unwrap(), Taken::Refused(_)));
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), desk.path("photos/link")).unwrap();
    assert!(matches!(take(&store, "link/x", b"4").unwrap(), Taken::Refused(_)));
    assert!(std::fs::read_dir(outside.path()).unwrap().next().is_none());
    assert_eq!(store.refused().len(), 3);
    assert!(!Path::new(&desk.path("photos.partial/1")).exists());
}

#[test]
fn what_exists_nowhere_else_comes_first_and_newest_first() {
    let desk = Desk::new();
    let store = desk.open();
    let asset = |n: u8, place, day: i64| Asset {
        uuid: format!("U{n}"),
        path: format!("DCIM/100APPLE/IMG_000{n}.HEIC"),
        original_name: None,
        kind: AssetKind::Photo,
        owner: Owner::Own,
        created: Some(jiff::Timestamp::from_second(day * 86_400).unwrap()),
        added: None,
        trashed: None,
        hidden: false,
        favourite: false,
        burst_unpicked: false,
        albums: Vec::new(),
        upload: Upload::Uploaded,
        place,
        resources: Vec::new(),
    };
    let assets = vec![
        asset(1, Place::HereAndInIcloud, 900),
        asset(2, Place::OnlyHere, 100),
        asset(3, Place::OnlyHere, 200),
        asset(4, Place::Unknown, 300),
    ];
    let library = Library { assets: Some(assets), ..Library::default() };
    let paths = [
        "DCIM/100APPLE/IMG_0001.HEIC",
        "DCIM/100APPLE/IMG_0002.HEIC",
        "DCIM/100APPLE/IMG_0002.MOV",
        "DCIM/100APPLE/IMG_0003.HEIC",
        "DCIM/100APPLE/IMG_0004.HEIC",
        "PhotoData/Mutations/DCIM/100APPLE/IMG_0003/Adjustments/FullSizeRender.heic",
    ];
    let listing = MediaListing { files: paths.iter().map(|path| file(path, 10)).collect(), refused: vec![] };
    let plan = store.plan(&listing, Some(&library)).unwrap();
    let order: Vec<_> = plan.items.iter().map(|item| item.file.path.as_str()).collect();
    assert_eq!(order, [paths[3], paths[5], paths[1], paths[2], paths[4], paths[0]]);
    assert_eq!((plan.bytes, plan.assets, plan.assets_only_here), (60, Some(4), Some(2)));
    assert_eq!(store.plan(&listing, None).unwrap().assets, None);
}

#[test]
fn a_path_that_leads_elsewhere_is_refused_and_the_others_are_taken_in() {
    let desk = Desk::new();
    let store = desk.open();
    let mut intake = store.intake();
    for path in ["", "..", "../x", "/etc/x", "DCIM/../../x", "DCIM//x", "DCIM/", "DCIM/a\nb"] {
        intake.take(&file(path, 1), Source::Backup, None, &mut &b"x"[..]).unwrap();
    }
    intake.take(&file("DCIM/100APPLE/A.TXT", 1), Source::Backup, None, &mut &b"x"[..]).unwrap();
    let taken = intake.finish().unwrap();
    assert_eq!((taken.files, taken.refused.len()), (1, 8));
}

#[tokio::test]
async fn a_name_that_this_computer_cannot_hold_is_kept_under_another() {
    let desk = Desk::new();
    let store = desk.open();
    // Harmless to see it takes three times its room, and then more than a name may have.
    let long = format!("DCIM/{}.HEIC", "\u{202E}".repeat(80));
    assert_eq!(take(&store, &long, &heic(1)).unwrap(), Taken::Durable);
    let stored_as = store.entry(&long).unwrap().stored_as.unwrap();
    assert!(stored_as.starts_with("DCIM/%E2%80%AE") && stored_as.ends_with(".HEIC"), "{stored_as}");
    assert_eq!(std::fs::read(desk.path("photos").join(&stored_as)).unwrap(), heic(1));
    drop(store);
    let store = desk.open();
    let listing = MediaListing { files: vec![file(&long, heic(1).len())], refused: vec![] };
    assert!(store.plan(&listing, None).unwrap().items.is_empty());
    assert!(proof(&store, Depth::Full).await.proof.unwrap().covers(&listing.files[0]));
    // A newer picture of that path takes the same place.
    take(&store, &long, &heic(2)).unwrap();
    assert_eq!(std::fs::read(desk.path("photos").join(&stored_as)).unwrap(), heic(2));
    assert_eq!(store.size().0, 1);
}

#[tokio::test]
async fn two_names_that_are_one_on_this_computer_never_take_each_others_place() {
    let desk = Desk::new();
    let store = desk.open();
    take(&store, "DCIM/IMG_0001.HEIC", &heic(1)).unwrap();
    // A file system for which case does not count shows one file under both names; so does a second link to it.
    let dcim = desk.path("photos/DCIM");
    std::fs::hard_link(dcim.join("IMG_0001.HEIC"), dcim.join("img_0001.heic")).unwrap();
    for n in [2, 3] {
        assert_eq!(take(&store, "DCIM/img_0001.heic", &heic(n)).unwrap(), Taken::Durable);
        let stored_as = store.entry("DCIM/img_0001.heic").unwrap().stored_as.unwrap();
        assert_eq!(std::fs::read(desk.path("photos").join(stored_as)).unwrap(), heic(n));
        assert_eq!(std::fs::read(dcim.join("IMG_0001.HEIC")).unwrap(), heic(1));
    }
    let proven = proof(&store, Depth::Full).await;
    assert!(proven.damage.is_empty() && proven.proof.unwrap().files() == 2);
    // Two of one batch do not either.
    let mut intake = store.intake();
    intake.take(&file("DCIM/B", 1), Source::Backup, None, &mut &b"1"[..]).unwrap();
    intake.finish().unwrap();
    std::fs::hard_link(dcim.join("B"), dcim.join("b")).unwrap();
    take(&store, "DCIM/b", b"2").unwrap();
    assert_eq!(std::fs::read(dcim.join("B")).unwrap(), b"1");
}
