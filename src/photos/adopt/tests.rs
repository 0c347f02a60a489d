//! Downloads of every sort against a library that knows what is only in iCloud.

use std::path::PathBuf;

use super::*;
use crate::facts::{AssetKind, Owner, Place, Resource, Upload};
use crate::photos::Source;
use crate::photos::verify::{Depth, PhotosProof, prove};
use crate::progress::Silent;
use crate::usbmux::Udid;

struct Desk {
    host: tempfile::TempDir,
    download: tempfile::TempDir,
}

/// A picture that is structurally whole.
fn picture(seed: u8, bytes: usize) -> Vec<u8> {
    let mut picture = b"\0\0\0\x10ftypheic\0\0\0\0\0\0\0\x08meta".to_vec();
    picture.extend(u32::try_from(bytes + 8).unwrap().to_be_bytes());
    picture.extend(b"mdat");
    picture.extend((0..bytes).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed)));
    picture
}

fn fingerprint(bytes: &[u8]) -> Fingerprint {
    let mut taking = Fingerprinting::default();
    taking.update(bytes);
    taking.finish()
}

fn original(kind: ResourceKind, content: &[u8], place: Place) -> Resource {
    let bytes = content.len() as u64;
    Resource { kind, path: None, stated_bytes: Some(bytes), fingerprint: Some(fingerprint(content)), place }
}

fn asset(n: u8, name: &str, resources: Vec<Resource>) -> Asset {
    Asset {
        uuid: format!("UUID-{n}"),
        path: format!("DCIM/100APPLE/{name}"),
        original_name: Some(name.to_owned()),
        kind: AssetKind::Photo,
        owner: Owner::Own,
        created: jiff::Timestamp::from_second(1_700_000_000).ok(),
        added: None,
        trashed: None,
        hidden: false,
        favourite: false,
        burst_unpicked: false,
        albums: Vec::new(),
        upload: Upload::Uploaded,
        place: resources.iter().map(|original| original.place).max().unwrap_or(Place::Unknown),
        resources,
    }
}

/// A photo with the clip of a Live Photo, both only in iCloud; a photo that is; one that is on the phone; one in neither.
fn library() -> Library {
    use ResourceKind::{LiveVideo, Original};
    let cloud = Place::OnlyInIcloud;
    let assets = vec![
        asset(
            1,
            "IMG_0001.HEIC",
            vec![original(Original, &picture(1, 1000), cloud), original(LiveVideo, &picture(2, 3000), cloud)],
        ),
        asset(2, "IMG_0002.HEIC", vec![original(Original, &picture(3, 1500), cloud)]),
        asset(3, "IMG_0003.HEIC", vec![original(Original, &picture(4, 1700), Place::HereAndInIcloud)]),
        asset(4, "IMG_0004.HEIC", vec![original(Original, &picture(5, 1900), Place::InNeither)]),
    ];
    Library { assets: Some(assets), ..Library::default() }
}

impl Desk {
    fn new() -> Self {
        Self { host: tempfile::tempdir().unwrap(), download: tempfile::tempdir().unwrap() }
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.download.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn store(&self) -> Store {
        let dir = Dir::open_ambient_dir(self.host.path(), cap_std::ambient_authority()).unwrap();
        Store::open(dir, Udid::parse("00008101-000000000000001E").unwrap()).unwrap()
    }

    fn adopt(&self, library: &Library) -> Adoption {
        let folder = Dir::open_ambient_dir(self.download.path(), cap_std::ambient_authority()).unwrap();
        adopt(&self.store(), library, &folder, &Silent, &CancellationToken::new()).unwrap()
    }

    fn proof(&self) -> Option<PhotosProof> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = self.store();
        runtime.block_on(prove(&store, Depth::Full, &Silent, &CancellationToken::new())).unwrap().proof
    }

    /// The originals that are proven to be adopted.
    fn covered(&self, library: &Library) -> Vec<(String, ResourceKind)> {
        let Some(proof) = self.proof() else { return Vec::new() };
        let assets = library.assets.as_ref().unwrap();
        let all = assets.iter().flat_map(|asset| asset.resources.iter().map(move |one| (asset, one)));
        let covered = all.filter(|(asset, one)| proof.adopted(&asset.uuid, one));
        covered.map(|(asset, one)| (asset.uuid.clone(), one.kind)).collect()
    }
}

#[test]
fn true_originals_are_taken_whatever_they_are_called_and_proven() {
    use ResourceKind::{LiveVideo, Original};
    let desk = Desk::new();
    desk.put("iCloud Photos/IMG_0001.HEIC", &picture(1, 1000));
    desk.put("iCloud Photos/holiday clip.mov", &picture(2, 3000));
    desk.put("IMG_0002 (1).HEIC", &picture(3, 1500));
    desk.put("IMG_0003.HEIC", &picture(4, 1700));
    desk.put("old disk/scan.heic", &picture(5, 1900));
    desk.put("Photo Details.csv", b"imgName,fileChecksum\n");
    desk.put(".DS_Store", b"x");
    let adoption = desk.adopt(&library());
    assert!(adoption.not_taken.is_empty(), "{:?}", adoption.not_taken);
    assert!(adoption.taken.iter().all(|one| one.by == By::Fingerprint));
    assert_eq!((adoption.taken.len(), adoption.on_phone, adoption.no_pictures), (4, 1, 2));
    assert_eq!((adoption.missing_before, adoption.missing), (4, 0));
    let wanted = [("UUID-1", Original), ("UUID-1", LiveVideo), ("UUID-2", Original), ("UUID-4", Original)];
    assert_eq!(desk.covered(&library()), wanted.map(|(asset, part)| (asset.to_owned(), part)));
    let kept = desk.host.path().join("photos/Adopted/UUID-2/IMG_0002.HEIC");
    assert_eq!(std::fs::read(kept).unwrap(), picture(3, 1500));
    let entry = desk.store().entry("Adopted/UUID-1/IMG_0001.mov").unwrap();
    assert_eq!(
        (entry.source, entry.part, entry.mtime_ns),
        (Source::Adopted, Some(LiveVideo), 1_700_000_000_000_000_000)
    );
    let again = desk.adopt(&library());
    assert_eq!((again.taken.len(), again.already_kept, again.missing_before), (0, 4, 0));
}

#[test]
fn what_is_not_the_original_is_listed_with_its_reason_and_proves_nothing() {
    let desk = Desk::new();
    let mut edited = picture(3, 1500);
    edited[700] ^= 1;
    desk.put("IMG_0002.HEIC", &edited);
    desk.put("cut/IMG_0001.HEIC", &picture(1, 1000)[..900]);
    desk.put("small/IMG_0004.HEIC", &picture(9, 300));
    desk.put("other.jpg", &picture(8, 77));
    std::os::unix::fs::symlink("/etc/hostname", desk.download.path().join("IMG_0001.HEIC")).unwrap();
    std::os::unix::fs::symlink("/", desk.download.path().join("all")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        desk.download.path().join("IMG_0009.HEIC"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let adoption = desk.adopt(&library());
    let mut not_taken = adoption.not_taken.clone();
    not_taken.sort();
    let wanted = [
        ("IMG_0001.HEIC", "a link is not followed"),
        ("IMG_0002.HEIC", "edited or damaged"),
        ("IMG_0009.HEIC", "no plain file"),
        ("all", "a link is not followed"),
        ("cut/IMG_0001.HEIC", "cut short"),
        ("other.jpg", "no original of this library"),
        ("small/IMG_0004.HEIC", "smaller version"),
    ];
    assert_eq!(not_taken.len(), wanted.len(), "{not_taken:?}");
    for ((file, reason), (wanted, part)) in not_taken.iter().zip(wanted) {
        assert!(file == wanted && reason.contains(part), "{file}: {reason}");
    }
    assert!(adoption.taken.is_empty() && desk.covered(&library()).is_empty() && adoption.missing == 4);
}

#[test]
fn without_a_fingerprint_name_and_exact_size_of_one_original_decide() {
    let mut library = library();
    for asset in library.assets.as_mut().unwrap() {
        asset.resources.iter_mut().for_each(|original| original.fingerprint = None);
    }
    let desk = Desk::new();
    desk.put("IMG_0001.heic", &picture(1, 1000));
    desk.put("IMG_0001.MOV", &picture(2, 3000));
    desk.put("renamed.HEIC", &picture(3, 1500));
    let mut broken = picture(5, 1900);
    broken[27] ^= 8;
    desk.put("IMG_0004.HEIC", &broken);
    let adoption = desk.adopt(&library);
    assert!(adoption.taken.iter().all(|one| one.by == By::NameAndSize));
    assert_eq!((adoption.taken.len(), adoption.not_taken.len(), adoption.missing), (2, 2, 2), "{adoption:?}");
    // A list that comes along knows better than the name.
    let desk = Desk::new();
    desk.put("IMG_0002.HEIC", &picture(77, 1500));
    let list = format!("imgName,fileChecksum\nIMG_0002.HEIC,{}\n", fingerprint(&picture(3, 1500)));
    desk.put("Photo Details-1.csv", list.as_bytes());
    let adoption = desk.adopt(&library);
    assert!(
        adoption.taken.is_empty() && adoption.not_taken[0].1.contains("damaged on the way"),
        "{adoption:?}"
    );
    // Two originals of one name and size: nobody can say which it is.
    let mut twin = library.assets.as_ref().unwrap()[1].clone();
    twin.uuid = "UUID-9".to_owned();
    library.assets.as_mut().unwrap().push(twin);
    let desk = Desk::new();
    desk.put("IMG_0002.HEIC", &picture(3, 1500));
    let adoption = desk.adopt(&library);
    assert!(adoption.taken.is_empty() && adoption.not_taken[0].1.contains("several"), "{adoption:?}");
}

#[test]
fn one_content_covers_every_asset_that_has_it_and_damage_takes_the_cover_away() {
    let mut library = library();
    let mut twin = library.assets.as_ref().unwrap()[1].clone();
    twin.uuid = "UUID-9".to_owned();
    library.assets.as_mut().unwrap().push(twin);
    let desk = Desk::new();
    desk.put("IMG_0002.HEIC", &picture(3, 1500));
    desk.put("copy of IMG_0002.HEIC", &picture(3, 1500));
    let adoption = desk.adopt(&library);
    assert_eq!((adoption.taken.len(), adoption.already_kept), (2, 2));
    assert_eq!(desk.covered(&library).len(), 2);
    let kept: PathBuf = desk.host.path().join("photos/Adopted/UUID-9/IMG_0002.HEIC");
    std::fs::write(&kept, picture(4, 1500)).unwrap();
    assert_eq!(desk.covered(&library), [("UUID-2".to_owned(), ResourceKind::Original)]);
    // Damaged, it is missing again, and taken in again.
    let again = desk.adopt(&library);
    assert_eq!((again.taken.len(), desk.covered(&library).len()), (1, 2));
    // A library that states more bytes than were adopted is not covered.
    library.assets.as_mut().unwrap()[1].resources[0].stated_bytes = Some(1_000_000);
    assert_eq!(desk.covered(&library).len(), 1);
}

#[test]
fn hostile_names_and_depths_stay_in_the_folder() {
    let mut library = library();
    library.assets.as_mut().unwrap()[1].original_name = Some("../../../x/IMG\u{0}.HEIC".to_owned());
    let desk = Desk::new();
    let deep = "d/".repeat(40);
    desk.put(&format!("{deep}IMG_0001.HEIC"), &picture(1, 1000));
    desk.put("a\u{202E}b.HEIC", &picture(3, 1500));
    let adoption = desk.adopt(&library);
    assert_eq!(adoption.taken.len(), 1, "{adoption:?}");
    assert!(adoption.not_taken.iter().any(|(_, why)| why.contains("too deep")));
    assert!(desk.host.path().join("photos/Adopted/UUID-2/original.HEIC").exists());
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let folder = Dir::open_ambient_dir(desk.download.path(), cap_std::ambient_authority()).unwrap();
    assert!(matches!(adopt(&desk.store(), &library, &folder, &Silent, &cancelled), Err(Failed::Cancelled)));
}
