//! The copy of the photos off a simulated phone: all of it, twice, interrupted, refused, damaged, with hostile names.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cap_std::fs::Dir;
use idevice_fix::afc::packet::{HEADER_BYTES, Header, data_header, status_reply};
use idevice_fix::afc::{Afc, Dial, Directory, FileInfo, Kind, Pacing, Request, Settings, Status};
use idevice_fix::facts::{Asset, AssetKind, Library, MediaListing, Place};
use idevice_fix::library::read_database;
use idevice_fix::lockdown::{self, Phone, Session, pairing};
use idevice_fix::photos::pull::Cause;
use idevice_fix::photos::verify::{Depth, prove};
use idevice_fix::photos::{self, Ended, Options, Plan, Pulled, Store, gallery, pull_with};
use idevice_fix::progress::{CancellationToken, Event, Observer, Silent};
use idevice_fix::sim::new::{NewOptions, Temper, create};
use idevice_fix::sim::{Bus, Device, Service};
use idevice_fix::usbmux::{Muxer, Stream, Udid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "photos/hostile.rs"]
mod hostile;

/// A simulated phone, the host's folder for it, and how often the phone was dialled.
struct Desk {
    phone: tempfile::TempDir,
    host: tempfile::TempDir,
    device: Arc<Device>,
    dialled: AtomicUsize,
    /// What either side writes leaves when it is flushed, and not before: as TLS may do it.
    holds_back: bool,
}

#[async_trait]
impl Dial for Desk {
    async fn dial(&self) -> Result<Stream, lockdown::Error> {
        self.dialled.fetch_add(1, Ordering::Relaxed);
        let (here, there) = tokio::io::duplex(256 << 10);
        let device = self.device.clone();
        let (here, there): (Stream, Stream) = match self.holds_back {
            false => (Box::new(here), Box::new(there)),
            true => (held_back(here), held_back(there)),
        };
        tokio::spawn(async move { Service::Afc.serve(there, device).await });
        Ok(here)
    }
}

fn udid() -> Udid {
    Udid::parse("00008101-000000000000001E").unwrap()
}

/// Larger than anything that is written before a flush.
fn held_back(stream: tokio::io::DuplexStream) -> Stream {
    Box::new(tokio::io::BufWriter::with_capacity(1 << 20, stream))
}

/// A picture of about `size` bytes that is structurally whole.
fn heic(seed: usize, size: usize) -> Vec<u8> {
    let mut bytes = b"\0\0\0\x10ftypheic\0\0\0\0\0\0\0\x08meta".to_vec();
    bytes.extend(u32::try_from(size + 8).unwrap().to_be_bytes());
    bytes.extend(b"mdat");
    bytes.extend((0..size).map(|n| (n * 31 + seed * 17 + n / 251) as u8));
    bytes
}

impl Desk {
    /// A phone of 40 pictures, one clip of 9 MB, an edit, an asset from iCloud and an empty file.
    fn with(settings: &str) -> Self {
        let phone = tempfile::tempdir().unwrap();
        let put = |path: &str, content: &[u8]| {
            let path = phone.path().join("media").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        for n in 1..=40 {
            put(&format!("DCIM/100APPLE/IMG_{n:04}.HEIC"), &heic(n, 20_000 + n * 1000));
        }
        put("DCIM/101APPLE/IMG_1001.MOV", &heic(1001, 9_000_000));
        put("DCIM/101APPLE/empty", b"");
        put("PhotoData/Mutations/DCIM/100APPLE/IMG_0002/Adjustments/FullSizeRender.heic", &heic(7, 100));
        put("PhotoData/CPLAssets/group1/AB-CD.HEIC", &heic(8, 100));
        put("PhotoData/Photos.sqlite", b"not a photo");
        put("Downloads/x", b"not a photo");
        std::fs::write(phone.path().join("device.toml"), settings).unwrap();
        let device = Device::open(phone.path(), false).unwrap();
        Self {
            phone,
            host: tempfile::tempdir().unwrap(),
            device,
            dialled: AtomicUsize::new(0),
            holds_back: false,
        }
    }

    /// The phone changes its ways.
    async fn becomes(&self, settings: &str) {
        // Written beside and renamed, so that the phone never reads half of it.
        let beside = self.phone.path().join("beside");
        std::fs::write(&beside, format!("temper = \"kind\"\n{settings}")).unwrap();
        std::fs::rename(&beside, self.phone.path().join("device.toml")).unwrap();
        tokio::time::sleep(Duration::from_millis(80)).await;
    }

    fn dir(&self) -> Dir {
        Dir::open_ambient_dir(self.host.path(), cap_std::ambient_authority()).unwrap()
    }

    fn store(&self) -> Store {
        Store::open(self.dir(), udid()).unwrap()
    }

    async fn listing(&self) -> MediaListing {
        photos::walk_anew(self, &Arc::new(Pacing::default()), &CancellationToken::new()).await.unwrap()
    }

    async fn plan(&self, store: &Store) -> Plan {
        store.plan(&self.listing().await, None).unwrap()
    }

    async fn pull(&self, store: &Store) -> Result<Pulled, photos::pull::Error> {
        let plan = self.plan(store).await;
        let settings = Settings { limit: Duration::from_millis(700), ..Settings::default() };
        let options = Options { settings, ..Options::default() };
        pull_with(self, store, &plan, &Silent, &CancellationToken::new(), options).await
    }

    /// The copy of `path` has the phone's bytes and the phone's date.
    fn agrees(&self, path: &str) -> bool {
        let (phone, copy) =
            (self.phone.path().join("media").join(path), self.host.path().join("photos").join(path));
        let date = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
        copy.exists()
            && std::fs::read(&phone).unwrap() == std::fs::read(&copy).unwrap()
            && date(&phone) == date(&copy)
    }

    /// Every file of the listing is in the copy, byte by byte, and proven; nothing half is left.
    async fn everything_is_copied(&self, store: &Store) {
        let listing = self.listing().await;
        for file in &listing.files {
            assert!(self.agrees(&file.path), "{}", file.path);
        }
        let proven = prove(store, Depth::Full, &Silent, &CancellationToken::new()).await.unwrap();
        let proof = proven.proof.unwrap();
        assert!(proven.damage.is_empty() && listing.files.iter().all(|file| proof.covers(file)));
        let partial = std::fs::read_dir(self.host.path().join("photos.partial")).unwrap();
        assert_eq!(partial.count(), 0);
    }
}

/// Changes a byte and leaves the dates as they were, as a sick disk does.
fn rot(path: &Path) {
    let date = std::fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(path, bytes).unwrap();
    std::fs::File::options().write(true).open(path).unwrap().set_modified(date).unwrap();
}

#[tokio::test]
async fn damage_that_was_found_is_not_forgotten_and_what_is_fetched_anew_is_read_again() {
    let desk = Desk::with("temper = \"kind\"\n");
    let store = desk.store();
    desk.pull(&store).await.unwrap();
    desk.everything_is_copied(&store).await;
    let photo = desk.host.path().join("photos/DCIM/100APPLE/IMG_0003.HEIC");
    let again =
        async |store: &Store, depth| prove(store, depth, &Silent, &CancellationToken::new()).await.unwrap();
    assert_eq!(again(&store, Depth::Recheck).await.bytes_read, 0);
    drop(store);
    rot(&photo);
    let looked = Store::look(desk.dir(), udid()).unwrap().unwrap();
    assert_eq!(again(&looked, Depth::Recheck).await.damage, [], "it is not looked at");
    assert_eq!(again(&looked, Depth::Full).await.damage.len(), 1);
    assert_eq!(again(&looked, Depth::Recheck).await.damage.len(), 1, "what was found counts");
    drop(looked);
    let store = desk.store();
    assert_eq!(again(&store, Depth::Recheck).await.damage.len(), 1);
    assert_eq!(desk.pull(&store).await.unwrap().files, 1);
    assert_eq!(again(&store, Depth::Recheck).await.bytes_read, std::fs::metadata(&photo).unwrap().len());
    // The new one has the size, the date and the digest of the one that is lost, and is not the one that was read.
    std::fs::remove_file(&photo).unwrap();
    assert_eq!(desk.pull(&store).await.unwrap().files, 1);
    assert_eq!(again(&store, Depth::Recheck).await.bytes_read, std::fs::metadata(&photo).unwrap().len());
    assert_eq!(again(&store, Depth::Recheck).await.bytes_read, 0);
}

#[tokio::test]
async fn whatever_is_written_is_flushed_by_both_sides() {
    for temper in ["kind", "harsh"] {
        let desk = Desk { holds_back: true, ..Desk::with(&format!("temper = \"{temper}\"\n")) };
        let pulled = desk.pull(&desk.store()).await.unwrap();
        // A harsh phone refuses some, which is an answer too.
        assert!(pulled.ended == Ended::Complete && pulled.left == 0 && pulled.files > 20, "{pulled:?}");
    }
}

#[tokio::test]
async fn everything_is_copied_once_and_a_second_run_transfers_nothing() {
    let desk = Desk::with("");
    let store = desk.store();
    let pulled = desk.pull(&store).await.unwrap();
    assert_eq!((pulled.ended, pulled.files, pulled.left, pulled.refused.len()), (Ended::Complete, 44, 0, 0));
    assert_eq!(pulled.bytes, pulled.received_bytes);
    desk.everything_is_copied(&store).await;
    assert!(!desk.host.path().join("photos/PhotoData/Photos.sqlite").exists());
    let plan = desk.plan(&store).await;
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let phone = Overheard::by(&desk, move |request| {
        let opens = matches!(request, Request::FileOpen { .. } | Request::FileRead { .. });
        counter.fetch_add(usize::from(opens), Ordering::Relaxed);
        true
    });
    let again = photos::pull(&phone, &store, &plan, &Silent, &CancellationToken::new(), None).await.unwrap();
    assert_eq!((again.files, again.received_bytes, opened.load(Ordering::Relaxed)), (0, 0, 0));
    drop(store);
    let reopened = desk.store();
    assert!(desk.plan(&reopened).await.is_done());
}

#[tokio::test]
async fn a_harsh_phone_gives_everything_but_what_it_refuses() {
    let desk = Desk::with("temper = \"harsh\"");
    let store = desk.store();
    let pulled = desk.pull(&store).await.unwrap();
    assert_eq!((pulled.ended, pulled.files, pulled.left), (Ended::Complete, 43, 0));
    let [refused] = &pulled.refused[..] else { panic!("{:?}", pulled.refused) };
    assert_eq!(refused.path, "DCIM/100APPLE/IMG_0003.HEIC");
    assert!(refused.reason.contains("2 hard links"), "{}", refused.reason);
    assert_eq!(desk.dialled.load(Ordering::Relaxed), 2, "nothing on a harsh phone needs a new connection");
    // What AFC refused comes from elsewhere, and then nothing is left.
    let plan = desk.plan(&store).await;
    assert_eq!(plan.items.len(), 1);
    let mut content = std::fs::File::open(desk.phone.path().join("media").join(&refused.path)).unwrap();
    store.take_in(&plan.items[0].file, photos::Source::Backup, None, &mut content).unwrap();
    assert!(desk.plan(&store).await.items.is_empty() && store.refused().is_empty());
}

#[tokio::test]
async fn a_refused_folder_is_listed_and_the_rest_is_copied() {
    let desk = Desk::with(
        "[refuse]\nafc_paths = [\"/PhotoData/CPLAssets/group1\", \"/DCIM/101APPLE/IMG_1001.MOV\"]",
    );
    let store = desk.store();
    let pulled = desk.pull(&store).await.unwrap();
    let refused: Vec<_> = pulled.refused.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(refused, ["DCIM/101APPLE/IMG_1001.MOV", "PhotoData/CPLAssets/group1"]);
    assert_eq!(pulled.files, 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unplugged_phone_leaves_what_was_copied_and_the_next_run_goes_on() {
    let desk = Desk::with("");
    let store = desk.store();
    let bus: Arc<dyn Muxer> = Arc::new(Bus::new(vec![desk.device.clone()]));
    let cancel = CancellationToken::new();
    let plan = desk.plan(&store).await;
    let session = session(&bus).await;
    desk.becomes("[[fault]]\nat = \"afc-read\"\nafter_bytes = 900000\nkind = \"unplug\"").await;
    let error = photos::pull(&session, &store, &plan, &Silent, &cancel, None).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Device(_)), "{error}");
    let done = error.pulled.files;
    assert!(done < 44 && store.size().0 == done && error.pulled.left == 44 - done);
    let session = self::session(&bus).await;
    let plan = desk.plan(&store).await;
    let rest = photos::pull(&session, &store, &plan, &Silent, &cancel, None).await.unwrap();
    assert_eq!(rest.files + done, 44, "nothing that was durable is copied again");
    desk.everything_is_copied(&store).await;
}

#[tokio::test]
async fn small_pictures_come_off_the_phone_once_and_only_what_is_one() {
    let refused = "/PhotoData/Thumbnails/V2/DCIM/100APPLE/IMG_0004.HEIC/5005.JPG";
    let desk = Desk::with(&format!("[refuse]\nafc_paths = [\"{refused}\"]"));
    let put = |n: u32, content: &[u8]| {
        let folder = format!("media/PhotoData/Thumbnails/V2/DCIM/100APPLE/IMG_{n:04}.HEIC");
        let folder = desk.phone.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("5005.JPG"), content).unwrap();
    };
    put(1, b"\xff\xd8\xff\xe0 small \xff\xd9");
    put(2, b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>");
    put(3, &vec![0xff; 2 << 20]);
    put(4, b"\xff\xd8\xff\xe0 refused \xff\xd9");
    let store = desk.store();
    let paths: Vec<String> = (1..=6).map(|n| format!("DCIM/100APPLE/IMG_{n:04}.HEIC")).collect();
    let cancel = CancellationToken::new();
    let fetched = gallery::fetch(&desk, &store, &paths, &Silent, &cancel).await.unwrap();
    assert_eq!((fetched.files, fetched.none, fetched.unchanged), (1, 5, 0));
    let again = gallery::fetch(&desk, &store, &paths, &Silent, &cancel).await.unwrap();
    assert_eq!((again.files, again.bytes, again.unchanged), (0, 0, 1));
    put(1, b"\xff\xd8\xff\xe0 small and edited \xff\xd9");
    let edited = gallery::fetch(&desk, &store, &paths, &Silent, &cancel).await.unwrap();
    assert_eq!((edited.files, edited.unchanged), (1, 0));
    cancel.cancel();
    let stopped = gallery::fetch(&desk, &store, &paths, &Silent, &cancel).await.unwrap_err();
    assert!(matches!(stopped, gallery::Failed::Cancelled), "{stopped}");
}

/// A session with the phone, as soon as it is on the bus.
async fn session(bus: &Arc<dyn Muxer>) -> Session {
    for _ in 0..100 {
        if let Some(attached) = bus.devices().await.unwrap().pop() {
            let phone = Phone { muxer: bus.clone(), attached };
            let wait = Duration::from_secs(20);
            return pairing::establish(&phone, wait, &Silent, &CancellationToken::new()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the phone did not come back");
}

#[tokio::test]
async fn a_phone_that_falls_silent_once_is_asked_one_thing_at_a_time() {
    let desk = Desk::with("");
    let store = desk.store();
    let plan = desk.plan(&store).await;
    desk.becomes("[[fault]]\nat = \"afc-read\"\nafter_bytes = 4000000\nkind = \"stall\"").await;
    let settings = Settings { limit: Duration::from_millis(300), ..Settings::default() };
    let pacing = settings.pacing.clone();
    let cancel = CancellationToken::new();
    let pulled =
        pull_with(&desk, &store, &plan, &Silent, &cancel, Options { settings, ..Options::default() })
            .await
            .unwrap();
    assert_eq!((pulled.files, pacing.ceiling()), (44, 1));
    desk.everything_is_copied(&store).await;
}

#[tokio::test]
async fn a_phone_that_stays_silent_ends_the_pull_in_time_and_takes_nothing_away() {
    let desk = Desk::with("");
    let store = desk.store();
    let mut some = desk.plan(&store).await;
    some.items.truncate(10);
    let cancel = CancellationToken::new();
    photos::pull(&desk, &store, &some, &Silent, &cancel, None).await.unwrap();
    let plan = desk.plan(&store).await;
    desk.becomes("[[fault]]\nat = \"afc-read\"\nafter_messages = 0\nkind = \"stall\"\ntimes = 1000").await;
    let settings = Settings { limit: Duration::from_millis(200), ..Settings::default() };
    let deed = pull_with(&desk, &store, &plan, &Silent, &cancel, Options { settings, ..Options::default() });
    let outcome = tokio::time::timeout(Duration::from_secs(10), deed).await.expect("no hang");
    let error = outcome.unwrap_err();
    assert!(error.cause.is_stall(), "{error}");
    assert_eq!((error.pulled.files, error.pulled.left, store.size().0), (0, 34, 10));
    assert!(error.pulled.refused.is_empty(), "no file is blamed: {:?}", error.pulled.refused);
    let proven = prove(&store, Depth::Full, &Silent, &cancel).await.unwrap();
    assert_eq!(proven.proof.unwrap().files(), 10);
}

#[tokio::test]
async fn short_and_damaged_replies_are_read_again() {
    for kind in ["short", "lie-about-length", "corrupt"] {
        let desk = Desk::with("");
        let store = desk.store();
        let plan = desk.plan(&store).await;
        // The first bytes of a picture: a change there is a change of its structure.
        desk.becomes(&format!("[[fault]]\nat = \"afc-read\"\nafter_messages = 40\nkind = \"{kind}\"")).await;
        let cancel = CancellationToken::new();
        let settings = Settings { limit: Duration::from_millis(300), ..Settings::default() };
        let pulled =
            pull_with(&desk, &store, &plan, &Silent, &cancel, Options { settings, ..Options::default() })
                .await
                .unwrap();
        assert_eq!(pulled.files + pulled.refused.len() as u64, 44, "{kind}: {:?}", pulled.refused);
        let rest = desk.pull(&store).await.unwrap();
        assert_eq!(pulled.files + rest.files, 44, "{kind}");
        if kind != "corrupt" {
            desk.everything_is_copied(&store).await;
        }
    }
}

#[tokio::test]
async fn a_picture_cut_short_on_the_phone_is_copied_as_it_is_and_known_for_it() {
    let desk = Desk::with("");
    let path = desk.phone.path().join("media/DCIM/100APPLE/IMG_0005.HEIC");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1000]).unwrap();
    let store = desk.store();
    let pulled = desk.pull(&store).await.unwrap();
    assert_eq!((pulled.files, pulled.refused.len()), (44, 0));
    assert!(pulled.received_bytes > pulled.bytes, "it was read twice");
    assert!(!store.entry("DCIM/100APPLE/IMG_0005.HEIC").unwrap().whole);
    let proven = prove(&store, Depth::Full, &Silent, &CancellationToken::new()).await.unwrap();
    let listing = desk.listing().await;
    let uncovered: Vec<_> =
        listing.files.iter().filter(|file| !proven.proof.as_ref().unwrap().covers(file)).collect();
    assert_eq!(uncovered.len(), 1);
}

#[tokio::test]
async fn a_pull_stops_when_it_is_asked_to_or_its_time_is_over() {
    let desk = Desk::with("");
    let store = desk.store();
    let plan = desk.plan(&store).await;
    let none = Some(Duration::ZERO);
    let pulled = photos::pull(&desk, &store, &plan, &Silent, &CancellationToken::new(), none).await.unwrap();
    assert_eq!((pulled.ended, pulled.left), (Ended::Budget, 44 - pulled.files));
    struct StopsAtTheFirstBytes(CancellationToken, Mutex<Vec<Event>>);
    impl Observer for StopsAtTheFirstBytes {
        fn event(&self, event: Event) {
            if matches!(event, Event::Advanced { bytes_done: 1.., .. }) {
                self.0.cancel();
            }
            self.1.lock().unwrap().push(event);
        }
    }
    let plan = desk.plan(&store).await;
    let stopper = StopsAtTheFirstBytes(CancellationToken::new(), Mutex::default());
    let pulled = photos::pull(&desk, &store, &plan, &stopper, &stopper.0, None).await.unwrap();
    assert!(matches!(pulled.ended, Ended::Cancelled | Ended::Complete));
    let events = stopper.1.into_inner().unwrap();
    assert!(
        matches!(events.first(), Some(Event::Began { .. }))
            && matches!(events.last(), Some(Event::Ended { .. }))
    );
    desk.pull(&store).await.unwrap();
    desk.everything_is_copied(&store).await;
}

#[tokio::test]
async fn a_walk_lists_links_and_follows_none() {
    let desk = Desk::with("");
    let dcim = desk.phone.path().join("media/DCIM");
    std::os::unix::fs::symlink("..", dcim.join("loop")).unwrap();
    std::os::unix::fs::symlink("100APPLE/IMG_0001.HEIC", dcim.join("again.HEIC")).unwrap();
    let listing = desk.listing().await;
    assert_eq!(listing.files.len(), 44);
    let refused: Vec<_> = listing.refused.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(refused, ["DCIM/again.HEIC", "DCIM/loop"]);
}

/// A phone that answers as it likes: a folder of hostile names, each of which is a file.
struct Hostile(Vec<Vec<u8>>);

#[async_trait]
impl Dial for Hostile {
    async fn dial(&self) -> Result<Stream, lockdown::Error> {
        let (here, mut there) = tokio::io::duplex(1 << 20);
        let names = self.0.clone();
        tokio::spawn(async move {
            loop {
                let mut head = [0; HEADER_BYTES];
                if there.read_exact(&mut head).await.is_err() {
                    return;
                }
                let header = Header::parse(&head).unwrap();
                let mut body = vec![0; usize::try_from(header.body()).unwrap()];
                there.read_exact(&mut body).await.unwrap();
                let reply = hostile_reply(&names, &header, &body);
                if there.write_all(&reply).await.is_err() {
                    return;
                }
            }
        });
        Ok(Box::new(here))
    }
}

fn hostile_reply(names: &[Vec<u8>], header: &Header, body: &[u8]) -> Vec<u8> {
    let data = |bytes: Vec<u8>| [&data_header(header.number, bytes.len() as u64)[..], &bytes].concat();
    let info = |kind, size| FileInfo {
        kind,
        size,
        blocks: 0,
        links: 1,
        mtime_ns: 1_000_000_000,
        birthtime_ns: 0,
        link_target: None,
    };
    match Request::parse(header.operation, body).unwrap() {
        Request::FileInfo { path } if path == "DCIM" => data(info(Kind::Directory, 0).encode()),
        Request::FileInfo { path } if path.ends_with("huge") => data(info(Kind::File, 1 << 63).encode()),
        Request::FileInfo { path } if path.starts_with("DCIM/") => data(info(Kind::File, 3).encode()),
        Request::ReadDir { .. } => data(Directory::encode(names)),
        Request::FileOpen { .. } => idevice_fix::afc::packet::number_reply(
            header.number,
            idevice_fix::afc::Operation::FileOpenResult,
            1,
        )
        .to_vec(),
        Request::FileRead { .. } => data(b"abc".to_vec()),
        Request::FileClose { .. } => status_reply(header.number, Status::Success).to_vec(),
        _ => status_reply(header.number, Status::NotFound).to_vec(),
    }
}

#[tokio::test]
async fn hostile_names_stay_in_the_folder_or_are_listed() {
    let names: Vec<Vec<u8>> = [
        &b"good"[..],
        b"..",
        b"../up",
        b"a/b",
        b"/etc/x",
        b"",
        b"bell\x07",
        b"\xff\xfe",
        b"huge",
        "a\u{202E}gpj.exe".as_bytes(),
        b"good.partial",
        b"Good",
        "e\u{301}".as_bytes(),
        "é".as_bytes(),
        &[b'x'; 4096],
        b"good",
        b"50%41",
        b".",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let phone = Hostile(names);
    let listing = photos::walk_anew(&phone, &Arc::default(), &CancellationToken::new()).await.unwrap();
    let seen: Vec<_> = listing.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        seen,
        [
            "DCIM/50%41",
            "DCIM/Good",
            "DCIM/a\u{202E}gpj.exe",
            "DCIM/e\u{301}",
            "DCIM/good",
            "DCIM/good.partial",
            "DCIM/huge",
            "DCIM/é",
        ]
    );
    assert_eq!(listing.refused.len(), 8, "{:?}", listing.refused);
    let host = tempfile::tempdir().unwrap();
    let dir = Dir::open_ambient_dir(host.path(), cap_std::ambient_authority()).unwrap();
    let store = Store::open(dir, Udid::parse("00008101-000000000000001E").unwrap()).unwrap();
    let plan = store.plan(&listing, None).unwrap();
    let pulled = photos::pull(&phone, &store, &plan, &Silent, &CancellationToken::new(), None).await.unwrap();
    assert_eq!((pulled.files, pulled.refused.len()), (7, 9));
    assert!(
        pulled
            .refused
            .iter()
            .any(|one| one.path == "DCIM/huge" && one.reason.contains("9223372036854775808"))
    );
    let mut local: Vec<_> = std::fs::read_dir(host.path().join("photos/DCIM"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    local.sort();
    assert_eq!(local, ["50%2541", "Good", "a%E2%80%AEgpj.exe", "e\u{301}", "good", "good.partial", "é"]);
    assert!(store.plan(&listing, None).unwrap().items.len() == 1);
}

/// A phone of which every request is overheard; the connection ends where the listener says so.
struct Overheard<'a, F> {
    desk: &'a Desk,
    listener: Arc<F>,
}

impl<'a, F: Fn(&Request) -> bool> Overheard<'a, F> {
    /// `listener`: false ends the connection.
    fn by(desk: &'a Desk, listener: F) -> Self {
        Self { desk, listener: Arc::new(listener) }
    }
}

#[async_trait]
impl<F: Fn(&Request) -> bool + Send + Sync + 'static> Dial for Overheard<'_, F> {
    async fn dial(&self) -> Result<Stream, lockdown::Error> {
        let phone = self.desk.dial().await?;
        let (here, there) = tokio::io::duplex(256 << 10);
        let (mut from_phone, mut to_phone) = tokio::io::split(phone);
        let (mut from_host, mut to_host) = tokio::io::split(there);
        let listener = Arc::clone(&self.listener);
        let requests = async move {
            loop {
                let mut head = [0; HEADER_BYTES];
                if from_host.read_exact(&mut head).await.is_err() {
                    return;
                }
                let header = Header::parse(&head).unwrap();
                let mut body = vec![0; usize::try_from(header.body()).unwrap()];
                from_host.read_exact(&mut body).await.unwrap();
                if Request::parse(header.operation, &body).is_ok_and(|request| !listener(&request)) {
                    return;
                }
                if to_phone.write_all(&[&head[..], &body].concat()).await.is_err() {
                    return;
                }
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::io::copy(&mut from_phone, &mut to_host) => {}
                () = requests => {}
            }
        });
        Ok(Box::new(here))
    }
}

#[tokio::test]
async fn a_file_that_ends_every_connection_is_listed_and_the_others_are_copied() {
    let desk = Desk::with("");
    let store = desk.store();
    let plan = desk.plan(&store).await;
    let cancel = CancellationToken::new();
    let is_poison =
        |request: &Request| matches!(request, Request::FileOpen { path, .. } if path.ends_with("0007.HEIC"));
    let phone = Overheard::by(&desk, move |request| !is_poison(request));
    let pulled = photos::pull(&phone, &store, &plan, &Silent, &cancel, None).await.unwrap();
    assert_eq!((pulled.files, pulled.left), (43, 0));
    let [refused] = &pulled.refused[..] else { panic!("{:?}", pulled.refused) };
    assert_eq!(refused.path, "DCIM/100APPLE/IMG_0007.HEIC");
}

/// A file system of its own, which is unmounted however the test ends.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`: this user may not mount one.
    fn mount(size: &str) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let mounted = disk.mount_with(&format!("size={size}"));
        if !mounted {
            eprintln!("skipped: no small file system can be mounted here");
        }
        mounted.then_some(disk)
    }

    fn grow(&self, size: &str) {
        assert!(self.mount_with(&format!("remount,size={size}")));
    }

    fn mount_with(&self, options: &str) -> bool {
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.path());
        mount.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut umount = std::process::Command::new("umount");
        let _ = umount.arg("-l").arg(self.path()).stderr(std::process::Stdio::null()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_of_its_own_and_the_next_run_goes_on() {
    let desk = Desk::with("");
    let Some(small) = SmallDisk::mount("2m") else { return };
    let udid = Udid::parse("00008101-000000000000001E").unwrap();
    let open = || Dir::open_ambient_dir(small.path(), cap_std::ambient_authority()).unwrap();
    let store = Store::open(open(), udid.clone()).unwrap();
    let error = desk.pull(&store).await.unwrap_err();
    assert!(error.cause.is_disk_full(), "{error}");
    assert_eq!(store.size().0, error.pulled.files);
    let proven = prove(&store, Depth::Full, &Silent, &CancellationToken::new()).await.unwrap();
    assert!(proven.damage.is_empty());
    drop(store);
    small.grow("64m");
    let store = Store::open(open(), udid).unwrap();
    let rest = desk.pull(&store).await.unwrap();
    assert_eq!(rest.files + error.pulled.files, 44);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_bus_through_lockdown_the_same_photos_come() {
    let desk = Desk::with("");
    let bus: Arc<dyn Muxer> = Arc::new(Bus::new(vec![desk.device.clone()]));
    let cancel = CancellationToken::new();
    let session = session(&bus).await;
    let afc = Afc::open(&session).await.unwrap();
    let listing = photos::walk(&afc, &cancel).await.unwrap();
    let store = desk.store();
    let plan = store.plan(&listing, None).unwrap();
    let pulled = photos::pull(&session, &store, &plan, &Silent, &cancel, None).await.unwrap();
    assert_eq!((pulled.files, pulled.refused.len()), (44, 0));
    desk.everything_is_copied(&store).await;
}

const CLIP: &str = "DCIM/102APPLE/IMG_2001.MOV";
const CLIP_BYTES: u64 = 24 << 20;
/// What is read again of a file that is gone on with, to see that the phone has the same.
const OVERLAP_BYTES: u64 = 64 << 10;

/// A clip that is structurally whole, quickly made.
fn clip(seed: u8) -> Vec<u8> {
    let mut bytes = b"\0\0\0\x10ftypqt  \0\0\0\0\0\0\0\x08moov".to_vec();
    bytes.extend(u32::try_from(CLIP_BYTES - 24).unwrap().to_be_bytes());
    bytes.extend(b"mdat");
    // The pattern's length is prime, so that no two blocks of the file are alike.
    let pattern: Vec<u8> = (0..65_521_u32).map(|n| (n * n / 7) as u8 ^ seed).collect();
    while bytes.len() < CLIP_BYTES as usize {
        let more = pattern.len().min(CLIP_BYTES as usize - bytes.len());
        bytes.extend_from_slice(&pattern[..more]);
    }
    bytes
}

impl Desk {
    /// A phone of one large clip.
    fn with_a_clip() -> Self {
        let desk = Self::with("");
        for folder in ["DCIM", "PhotoData"] {
            std::fs::remove_dir_all(desk.phone.path().join("media").join(folder)).unwrap();
        }
        desk.puts_the_clip(1);
        desk
    }

    fn puts_the_clip(&self, seed: u8) {
        let path = self.phone.path().join("media").join(CLIP);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, clip(seed)).unwrap();
    }

    /// Pulls until the phone has fallen silent for good, and gives how much of the clip is durable then.
    async fn interrupted(&self) -> u64 {
        self.becomes("[[fault]]\nat = \"afc-read\"\nafter_bytes = 3000000\nkind = \"stall\"\ntimes = 1000")
            .await;
        let store = self.store();
        let plan = self.plan(&store).await;
        let settings = Settings { limit: Duration::from_millis(150), ..Settings::default() };
        let options = Options { settings, ..Options::default() };
        let pulled = pull_with(self, &store, &plan, &Silent, &CancellationToken::new(), options).await;
        let pulled = pulled.unwrap_or_else(|error| *error.pulled);
        assert_eq!((pulled.files, store.size().0), (0, 0));
        assert!(pulled.resumed_bytes > 0, "each new connection goes on with it: {pulled:?}");
        self.becomes("").await;
        self.plan(&store).await.interrupted_bytes
    }

    fn partial(&self, suffix: &str) -> std::path::PathBuf {
        let entries = std::fs::read_dir(self.host.path().join("photos.partial")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some() == (suffix == "journal"));
        assert_eq!(paths.len(), 1);
        paths.remove(0)
    }
}

#[tokio::test]
async fn an_interrupted_clip_is_gone_on_with_where_it_ended() {
    let desk = Desk::with_a_clip();
    let here = desk.interrupted().await;
    assert!(here > 1 << 20 && here < CLIP_BYTES, "{here}");
    // The next run, which never trusts what lies behind the last checkpoint.
    let append = |path: &Path, bytes: &[u8]| {
        let mut whole = std::fs::read(path).unwrap();
        whole.extend_from_slice(bytes);
        std::fs::write(path, whole).unwrap();
    };
    append(&desk.partial(""), &[7; 100_000]);
    append(&desk.partial("journal"), b"{\"bytes\":24000000,\"sha");
    let store = desk.store();
    let pulled = desk.pull(&store).await.unwrap();
    assert_eq!((pulled.files, pulled.resumed_bytes), (1, here));
    assert_eq!(pulled.received_bytes, CLIP_BYTES - here + OVERLAP_BYTES);
    desk.everything_is_copied(&store).await;
}

#[tokio::test]
async fn what_is_not_provably_the_same_clip_is_read_from_its_beginning() {
    let desk = Desk::with_a_clip();
    let keeps = tempfile::tempdir().unwrap();
    let here = desk.interrupted().await;
    for path in [desk.partial(""), desk.partial("journal")] {
        std::fs::copy(&path, keeps.path().join(path.file_name().unwrap())).unwrap();
    }
    let on_phone = desk.phone.path().join("media").join(CLIP);
    for change in ["a byte", "a short tail", "another date", "another clip of the same date", "no journal"] {
        for name in ["photos", "photos.partial", "photos.manifest", "photos.proof"] {
            let path = desk.host.path().join(name);
            let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
        }
        std::fs::create_dir(desk.host.path().join("photos.partial")).unwrap();
        for entry in std::fs::read_dir(keeps.path()).unwrap() {
            let path = entry.unwrap().path();
            let kept = desk.host.path().join("photos.partial").join(path.file_name().unwrap());
            std::fs::copy(&path, kept).unwrap();
        }
        let data = desk.partial("");
        let mut content = std::fs::read(&data).unwrap();
        let date = std::fs::metadata(&on_phone).unwrap().modified().unwrap();
        match change {
            "a byte" => {
                content[here as usize / 2] ^= 1;
                std::fs::write(&data, content).unwrap();
            }
            "a short tail" => std::fs::write(&data, &content[..here as usize - 1]).unwrap(),
            "no journal" => std::fs::remove_file(desk.partial("journal")).unwrap(),
            _ => {
                desk.puts_the_clip(2);
                let file = std::fs::File::options().write(true).open(&on_phone).unwrap();
                let later = if change == "another date" { Duration::from_secs(1) } else { Duration::ZERO };
                file.set_modified(date + later).unwrap();
            }
        }
        let store = desk.store();
        let pulled = desk.pull(&store).await.unwrap();
        let again = if change == "another clip of the same date" { OVERLAP_BYTES } else { 0 };
        assert_eq!((pulled.files, pulled.resumed_bytes), (1, 0), "{change}");
        assert_eq!(pulled.received_bytes, CLIP_BYTES + again, "{change}");
        desk.everything_is_copied(&store).await;
        drop(store);
        desk.puts_the_clip(1);
        let file = std::fs::File::options().write(true).open(&on_phone).unwrap();
        file.set_modified(date).unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_was_full_in_the_middle_of_a_clip_goes_on_with_it() {
    let desk = Desk::with_a_clip();
    let Some(small) = SmallDisk::mount("12m") else { return };
    let open = || {
        let dir = Dir::open_ambient_dir(small.path(), cap_std::ambient_authority()).unwrap();
        Store::open(dir, Udid::parse("00008101-000000000000001E").unwrap()).unwrap()
    };
    let store = open();
    assert!(desk.pull(&store).await.unwrap_err().cause.is_disk_full());
    drop(store);
    small.grow("64m");
    let store = open();
    let rest = desk.pull(&store).await.unwrap();
    assert!(rest.files == 1 && rest.resumed_bytes > 1 << 20, "{rest:?}");
    assert_eq!(rest.received_bytes + rest.resumed_bytes, CLIP_BYTES + OVERLAP_BYTES);
    let copy = std::fs::read(small.path().join("photos").join(CLIP)).unwrap();
    assert!(copy == clip(1));
}

/// Pulls one file of a phone that changes it at the third read of the first `times` readings.
async fn pull_while_it_changes(desk: &Desk, path: &str, times: usize, change: fn(&Path)) -> Pulled {
    let store = desk.store();
    let mut plan = desk.plan(&store).await;
    plan.items.retain(|item| item.file.path == path);
    let (reads, changes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let on_phone = desk.phone.path().join("media").join(path);
    let phone = Overheard::by(desk, move |request| {
        match request {
            Request::FileOpen { .. } => reads.store(0, Ordering::Relaxed),
            Request::FileRead { .. }
                if reads.fetch_add(1, Ordering::Relaxed) == 2
                    && changes.fetch_add(1, Ordering::Relaxed) < times =>
            {
                change(&on_phone);
            }
            _ => {}
        }
        true
    });
    photos::pull(&phone, &store, &plan, &Silent, &CancellationToken::new(), None).await.unwrap()
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_read_again_and_not_for_ever() {
    use std::io::{Seek, SeekFrom, Write};
    const PATH: &str = "DCIM/101APPLE/IMG_1001.MOV";
    let grows = |path: &Path| {
        let mut file = std::fs::File::options().append(true).open(path).unwrap();
        file.write_all(b"\0\0\0\x10freemore....").unwrap();
    };
    let is_written_over = |path: &Path| {
        let mut file = std::fs::File::options().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(5_000_000)).unwrap();
        file.write_all(b"other").unwrap();
    };
    let is_replaced = |path: &Path| {
        let date = std::fs::metadata(path).unwrap().modified().unwrap();
        let mut other = std::fs::read(path).unwrap();
        other[4_000_000] ^= 1;
        let beside = path.with_extension("beside");
        std::fs::write(&beside, other).unwrap();
        std::fs::File::options().write(true).open(&beside).unwrap().set_modified(date).unwrap();
        std::fs::rename(beside, path).unwrap();
    };
    let changes: [fn(&Path); 3] = [grows, is_written_over, is_replaced];
    for change in changes {
        let desk = Desk::with("");
        let pulled = pull_while_it_changes(&desk, PATH, 1, change).await;
        assert_eq!((pulled.files, pulled.refused.len()), (1, 0));
        assert!(pulled.received_bytes > pulled.bytes && desk.agrees(PATH));
    }
    let desk = Desk::with("");
    let pulled = pull_while_it_changes(&desk, PATH, usize::MAX, grows).await;
    assert_eq!((pulled.files, pulled.left), (0, 0));
    assert_eq!(pulled.refused[0].reason, "it changed while it was read, 4 times");
    assert!(!desk.host.path().join("photos").join(PATH).exists());
}

#[tokio::test]
async fn the_paranoid_keep_what_two_readings_agree_on() {
    const PATH: &str = "DCIM/101APPLE/IMG_1001.MOV";
    let desk = Desk::with("");
    let cancel = CancellationToken::new();
    // A change in the pixels has no structure: one reading cannot know.
    for (paranoid, right) in [(false, false), (true, true)] {
        let _ = std::fs::remove_dir_all(desk.host.path().join("photos"));
        let _ = std::fs::remove_file(desk.host.path().join("photos.manifest"));
        desk.becomes("").await;
        let store = desk.store();
        let mut plan = desk.plan(&store).await;
        plan.items.retain(|item| item.file.path == PATH);
        // Another number each time, so that the fault is armed anew.
        let after = 4_000_000 + u32::from(paranoid);
        desk.becomes(&format!("[[fault]]\nat = \"afc-read\"\nafter_bytes = {after}\nkind = \"corrupt\""))
            .await;
        let options = Options { paranoid, ..Options::default() };
        let pulled = pull_with(&desk, &store, &plan, &Silent, &cancel, options).await.unwrap();
        assert_eq!((pulled.files, desk.agrees(PATH)), (1, right));
        assert_eq!(pulled.notes.len(), usize::from(paranoid), "{:?}", pulled.notes);
        let readings = if paranoid { 3 } else { 1 };
        assert_eq!(pulled.received_bytes, pulled.bytes * readings);
    }
}

#[tokio::test]
async fn bytes_that_are_others_each_time_are_refused_by_the_paranoid_and_named() {
    const PATH: &str = "DCIM/101APPLE/IMG_1001.MOV";
    let desk = Desk::with("");
    let store = desk.store();
    let mut plan = desk.plan(&store).await;
    plan.items.retain(|item| item.file.path == PATH);
    // Every fourth of the nine pieces of a reading, so that no two readings are struck alike.
    desk.becomes("[[fault]]\nat = \"afc-read\"\nafter_bytes = 3500000\nkind = \"corrupt\"\ntimes = 1000")
        .await;
    let options = Options { paranoid: true, ..Options::default() };
    let cancel = CancellationToken::new();
    let pulled = pull_with(&desk, &store, &plan, &Silent, &cancel, options).await.unwrap();
    assert_eq!((pulled.files, pulled.left), (0, 0));
    assert_eq!(pulled.refused[0].path, PATH);
    assert_eq!(pulled.refused[0].reason, "each reading gave other bytes, 4 times");
}

/// A phone as `sim new` makes it, with every kind of file that a library has, and what its library says.
fn whole_library() -> (Desk, Library) {
    let phone = tempfile::tempdir().unwrap();
    std::fs::remove_dir(phone.path()).unwrap();
    let options = NewOptions {
        photos: Some(64),
        temper: Temper::Kind,
        media_bytes: Some(4_000_000),
        live_wal: false,
        ..NewOptions::default()
    };
    create(phone.path(), &options).unwrap();
    let library = read_database(&phone.path().join("media/PhotoData")).unwrap();
    let device = Device::open(phone.path(), false).unwrap();
    let host = tempfile::tempdir().unwrap();
    (Desk { phone, host, device, dialled: AtomicUsize::new(0), holds_back: false }, library)
}

/// The library says for these assets that they are on this phone and nowhere else.
fn exist_only_here(library: &mut Library, which: impl Fn(usize) -> bool) {
    for (n, asset) in library.assets.as_mut().unwrap().iter_mut().enumerate() {
        asset.place = if which(n) { Place::OnlyHere } else { Place::HereAndInIcloud };
    }
}

#[tokio::test]
async fn every_kind_of_file_of_a_whole_library_is_copied_and_known() {
    let (desk, mut library) = whole_library();
    let store = desk.store();
    let listing = desk.listing().await;
    let plan = store.plan(&listing, Some(&library)).unwrap();
    let cancel = CancellationToken::new();
    let pulled = photos::pull(&desk, &store, &plan, &Silent, &cancel, None).await.unwrap();
    assert_eq!((pulled.left, pulled.refused.len()), (0, 0));
    desk.everything_is_copied(&store).await;
    let assets = library.assets.as_ref().unwrap();
    let copied = |path: &str| store.entry(path).is_some();
    let beside = |asset: &Asset, extension: &str| {
        copied(&format!("{}.{extension}", asset.path.rsplit_once('.').unwrap().0))
    };
    let count = |is: &dyn Fn(&Asset) -> bool| assets.iter().filter(|asset| is(asset)).count();
    type Kind<'a> = (&'a str, &'a dyn Fn(&Asset) -> bool);
    let kinds: [Kind<'_>; 9] = [
        ("a Live Photo with its clip", &|a| {
            a.kind == AssetKind::LivePhoto && copied(&a.path) && beside(a, "MOV")
        }),
        ("a RAW beside its JPEG", &|a| a.path.ends_with("JPG") && copied(&a.path) && beside(a, "DNG")),
        ("a frame of a burst that was not picked", &|a| a.burst_unpicked && copied(&a.path)),
        ("a screenshot", &|a| a.path.ends_with("PNG") && copied(&a.path)),
        ("a screen recording", &|a| a.path.ends_with("MP4") && copied(&a.path)),
        ("an asset that came from iCloud", &|a| {
            a.path.starts_with("PhotoData/CPLAssets/") && copied(&a.path)
        }),
        ("one of a shared album", &|a| {
            a.path.starts_with("PhotoData/PhotoCloudSharingData/") && copied(&a.path)
        }),
        ("one in Recently Deleted", &|a| a.trashed.is_some() && copied(&a.path)),
        ("a sidecar", &|a| beside(a, "AAE")),
    ];
    for (kind, is) in kinds {
        assert!(count(is) > 0, "{kind}");
    }
    let below = |prefix: &str, suffix: &str| {
        listing
            .files
            .iter()
            .any(|f| f.path.starts_with(prefix) && f.path.ends_with(suffix) && copied(&f.path))
    };
    assert!(below("PhotoData/Mutations/", "FullSizeRender.heic"), "an edit");
    assert!(below("PhotoData/Mutations/", "Adjustments.plist"), "how slow");
    // What is in Recently Deleted is so in the manifest, also when that changes later.
    for asset in assets.iter().filter(|asset| copied(&asset.path)) {
        let entry = store.entry(&asset.path).unwrap();
        assert_eq!((entry.trashed, entry.asset.as_deref()), (asset.trashed, Some(asset.uuid.as_str())));
    }
    let back = library.assets.as_mut().unwrap().iter_mut().find(|asset| asset.trashed.is_some()).unwrap();
    back.trashed = None;
    let back = back.path.clone();
    let plan = store.plan(&listing, Some(&library)).unwrap();
    let again = photos::pull(&desk, &store, &plan, &Silent, &cancel, None).await.unwrap();
    assert_eq!(again.received_bytes, 0);
    drop(store);
    assert_eq!(desk.store().entry(&back).unwrap().trashed, None);
}

#[tokio::test]
async fn what_exists_nowhere_else_is_opened_first_and_the_newest_of_it_first() {
    let (desk, mut library) = whole_library();
    exist_only_here(&mut library, |n| n % 5 == 0);
    let store = desk.store();
    let plan = store.plan(&desk.listing().await, Some(&library)).unwrap();
    let opened = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&opened);
    let phone = Overheard::by(&desk, move |request| {
        if let Request::FileOpen { path, .. } = request {
            hears.lock().unwrap().push(path.clone());
        }
        true
    });
    photos::pull(&phone, &store, &plan, &Silent, &CancellationToken::new(), None).await.unwrap();
    let opened = opened.lock().unwrap();
    let planned: Vec<_> = plan.items.iter().map(|item| item.file.path.clone()).collect();
    // Several are asked for at once, and small ones overtake large ones among them.
    for (place, path) in opened.iter().enumerate() {
        let planned = planned.iter().position(|other| other == path).unwrap();
        assert!(place.abs_diff(planned) < 24, "{path} was opened as number {place}, planned as {planned}");
    }
    assert_eq!((opened.len(), &opened[..4]), (planned.len(), &planned[..4]));
    let assets = library.assets.as_ref().unwrap();
    let asset = |path: &String| assets.iter().find(|asset| asset.path == *path);
    let originals: Vec<_> =
        planned.iter().filter_map(asset).map(|asset| (asset.place, asset.created)).collect();
    let (first, later): (Vec<_>, Vec<_>) = originals.iter().partition(|(place, _)| *place == Place::OnlyHere);
    assert!(first.len() > 5 && later.len() > 5 && originals.starts_with(&first));
    assert!(first.is_sorted_by(|a, b| a.1 >= b.1) && later.is_sorted_by(|a, b| a.1 >= b.1));
}
