//! Facts collected from simulated phones, in process: what the maker of the phone says is there is what is read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use idevice_fix::collect;
use idevice_fix::facts::{Facts, Owner, Place, Reach, value};
use idevice_fix::lockdown::{Phone, Session, pairing};
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::sim::config::Lock;
use idevice_fix::sim::new::{Created, NewOptions, Temper, create};
use idevice_fix::sim::{Bus, Device};
use idevice_fix::usbmux::Muxer;

struct Bench {
    folder: tempfile::TempDir,
    created: Created,
}

impl Bench {
    /// A small phone of this scenario.
    fn new(options: &NewOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let created = create(&folder.path().join("phone"), options).unwrap();
        Self { folder, created }
    }

    /// A session with it, paired from nothing.
    async fn session(&self) -> (Session, Arc<Device>) {
        let device = Device::open(&self.folder.path().join("phone"), false).unwrap();
        let bus = Arc::new(Bus::new(vec![Arc::clone(&device)]));
        let attached = bus.devices().await.unwrap().remove(0);
        let phone = Phone { muxer: bus, attached };
        let cancel = CancellationToken::new();
        let wait = Duration::from_secs(30);
        (pairing::establish(&phone, wait, &Silent, &cancel).await.unwrap(), device)
    }

    async fn full(&self, session: &Session, facts: &mut Facts) {
        let cancel = CancellationToken::new();
        collect::full(session, self.folder.path(), facts, &Silent, &cancel).await.unwrap();
        let left: Vec<_> =
            std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["phone"], "copies of the library stay behind");
    }

    /// Adds lines to the phone's `device.toml`.
    fn configure(&self, lines: &str) {
        std::fs::write(self.folder.path().join("phone/device.toml"), lines).unwrap();
    }

    async fn facts(&self) -> Facts {
        let (session, _device) = self.session().await;
        let mut facts = collect::quick(&session).await.unwrap();
        self.full(&session, &mut facts).await;
        facts
    }
}

fn small(scenario: &str, temper: Temper) -> NewOptions {
    NewOptions {
        scenario: scenario.to_owned(),
        photos: None,
        temper,
        media_bytes: Some(4 << 20),
        ..NewOptions::default()
    }
}

fn assert_counts(bench: &Bench, facts: &Facts) {
    assert_eq!(facts.library.counts, bench.created.counts, "{}", bench.created.scenario.name);
    let counts = &facts.library.counts;
    let places = [
        counts.originals_here_and_in_icloud,
        counts.originals_only_here,
        counts.originals_only_in_icloud,
        counts.originals_in_neither,
        counts.originals_place_unknown,
    ];
    assert_eq!(places.iter().map(|count| count.unwrap()).sum::<u64>(), counts.assets.unwrap());
}

/// What collects may be spawned as a task of its own.
#[test]
fn collecting_may_cross_threads() {
    fn may_cross<T: Send>(_: impl Fn(&'static Session) -> T) {}
    may_cross(collect::quick);
    may_cross(|session| async {
        let (mut facts, cancel) = (Facts::default(), CancellationToken::new());
        collect::full(session, std::path::Path::new("/"), &mut facts, &Silent, &cancel).await
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_phone_tells_all_there_is() {
    let bench = Bench::new(&small("healthy", Temper::Kind));
    let (session, _device) = bench.session().await;
    let began = Instant::now();
    let mut facts = collect::quick(&session).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "the first look took {:?}", began.elapsed());

    let device = facts.device.as_ref().unwrap();
    assert_eq!(device.udid, bench.created.udid);
    assert_eq!((device.name.as_deref(), device.ios_major()), (Some("Anna’s iPhone"), Some(18)));
    assert!(device.model.is_some(), "{:?}", device.product_type);
    assert_eq!(facts.reach, Reach::Trusted);
    assert!(value(&facts.settings.clock_offset_seconds).unwrap().abs() < 2.0);
    assert_eq!(value(&facts.icloud_photos.enabled), Some(true));
    assert!(facts.icloud_photos.engine.is_some() && facts.icloud_photos.last_sync.is_some());
    assert!(facts.icloud_photos.last_sync.as_ref().unwrap().source.written_at.is_some());
    assert!(value(&facts.icloud_backup.last_backup).is_some());
    assert!(facts.gap_of("library.assets").is_some(), "the first look has not read the library");

    bench.full(&session, &mut facts).await;
    assert_counts(&bench, &facts);
    let expected = [
        "storage.purgeable_bytes",
        "icloud_photos.optimise_storage",
        "icloud_backup.failure",
        "settings.apple_account",
        "settings.account_data_classes",
        "icloud_backup.account_enabled",
        "icloud_backup.enabled_in_backup",
        "icloud_backup.last_backup_in_backup",
        "settings.set_up_by",
        "settings.find_my_in_backup",
    ];
    let gaps: Vec<_> = facts.gaps.iter().map(|gap| gap.fact.as_ref()).collect();
    assert_eq!(gaps, expected);
    assert!(facts.battery.health_percent.is_some() && facts.battery.temperature_c.is_some());
    assert_eq!(value(&facts.settings.recent_panics), Some(0));
    assert_eq!(value(&facts.settings.profiles), Some(Vec::new()));
    assert_eq!(value(&facts.icloud_photos.photo_stream_traces), Some(false));
    assert_originals_are_seen(&facts);
    assert_eq!(facts.library.counts.uploaded, value(&facts.icloud_photos.server_assets));
}

/// A scenario, and what must be seen in its facts besides its counts.
type Expected = (&'static str, fn(&Facts) -> bool);

const TROUBLES: &[Expected] = &[
    ("uploads-failed", |facts| facts.library.counts.failed > Some(0)),
    ("originals-missing", |facts| facts.library.counts.originals_in_neither > Some(0)),
    ("place-unknown", |facts| facts.library.counts.originals_place_unknown > Some(0)),
    ("looks-missing", |facts| facts.library.counts.hidden > Some(0)),
    ("never-on", |facts| {
        let history = value(&facts.icloud_photos.switchings).unwrap_or_default();
        value(&facts.icloud_photos.enabled) == Some(false) && history.is_empty()
    }),
    ("switched-off", |facts| {
        let newest = facts.icloud_photos.switchings.as_ref().and_then(|history| history.value.last());
        value(&facts.icloud_photos.enabled) == Some(false) && newest.is_some_and(|newest| !newest.enabled)
    }),
    ("deletion-scheduled", |facts| {
        facts.icloud_photos.engine.as_ref().is_some_and(|engine| engine.exit_delete_time.is_some())
    }),
    ("paused", |facts| facts.icloud_photos.paused_by_owner.is_some()),
    ("photo-stream", |facts| value(&facts.icloud_photos.photo_stream_traces) == Some(true)),
    ("managed", |facts| !value(&facts.settings.profiles).unwrap().is_empty()),
    ("restarting", |facts| value(&facts.settings.recent_panics) >= Some(2)),
    ("clock-wrong", |facts| value(&facts.settings.clock_offset_seconds).unwrap().abs() > 120.0),
    ("never-backed-up", |facts| {
        facts.local_backup.last_backup.is_none() && facts.gap_of("local_backup.last_backup").is_none()
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_trouble_is_seen_and_counted_as_it_was_made() {
    for (scenario, is_seen) in TROUBLES {
        let bench = Bench::new(&NewOptions { photos: Some(40), ..small(scenario, Temper::Kind) });
        let facts = bench.facts().await;
        assert_counts(&bench, &facts);
        assert!(is_seen(&facts), "{scenario}: {facts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_library_that_cannot_be_read_is_a_gap_with_its_reason() {
    let bench = Bench::new(&NewOptions { photos: Some(20), ..small("unreadable-library", Temper::Kind) });
    let facts = bench.facts().await;
    assert!(facts.library.counts.assets.is_none() && facts.library.assets.is_none());
    let reason = &facts.gap_of("library.assets").unwrap().reason;
    assert!(reason.contains("damaged") || reason.contains("no SQLite database"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_harsh_phone_tells_the_same() {
    let bench = Bench::new(&small("icloud-full", Temper::Harsh));
    let facts = bench.facts().await;
    assert_counts(&bench, &facts);
    let engine = facts.icloud_photos.engine.as_ref().unwrap();
    assert_eq!(value(&engine.is_exceeding_quota), Some(true));
}

/// Every original that the library says is here has its file in the walk, with at least the stated size.
fn assert_originals_are_seen(facts: &Facts) {
    let media = facts.media.as_ref().unwrap();
    let mut seen = 0;
    for asset in facts.library.assets.iter().flatten().filter(|asset| asset.owner == Owner::Own) {
        for resource in &asset.resources {
            if matches!(resource.place, Place::OnlyHere | Place::HereAndInIcloud) {
                let path = resource
                    .path
                    .as_deref()
                    .unwrap_or_else(|| panic!("no file for {resource:?} of {asset:?}"));
                let file = media.file(path).unwrap_or_else(|| panic!("{path} was not seen"));
                assert!(file.size >= resource.stated_bytes.unwrap_or(0), "{path}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "only {seen} originals");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_generation_of_ios_is_read() {
    for ios in ["13", "14", "15", "17", "26", "27"] {
        let options =
            NewOptions { ios: ios.to_owned(), photos: Some(30), ..small("optimised", Temper::Kind) };
        let bench = Bench::new(&options);
        let facts = bench.facts().await;
        assert_counts(&bench, &facts);
        assert!(facts.library.unknown_states.is_empty(), "iOS {ios}: {:?}", facts.library.unknown_states);
        let assets = facts.library.assets.as_ref().unwrap();
        assert!(assets.iter().any(|asset| asset.place == Place::OnlyInIcloud), "iOS {ios}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_reading_ends_at_once_and_leaves_gaps() {
    let bench = Bench::new(&small("healthy", Temper::Kind));
    let (session, _device) = bench.session().await;
    let mut facts = collect::quick(&session).await.unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let began = Instant::now();
    let read = collect::full(&session, bench.folder.path(), &mut facts, &Silent, &cancel).await;
    assert!(matches!(read, Err(collect::Error::Cancelled)) && began.elapsed() < Duration::from_secs(1));
    assert!(facts.gap_of("library.assets").is_some() && facts.gap_of("battery.cycle_count").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_phone_refuses_is_a_gap_in_its_own_words() {
    let bench = Bench::new(&NewOptions { photos: Some(20), ..small("healthy", Temper::Kind) });
    bench.configure(
        "[refuse]
         lockdown_domains = [\"com.apple.mobile.backup\", \"com.apple.fmip\"]
         services = [\"com.apple.mobile.MCInstall\", \"com.apple.crashreportcopymobile\"]
         afc_paths = [\"PhotoData/Photos.sqlite\", \"PhotoData/CPL/syncstatus.plist\"]",
    );
    let facts = bench.facts().await;
    for (fact, word) in [
        ("icloud_backup.enabled", "Prohibited"),
        ("local_backup.will_encrypt", "Prohibited"),
        ("settings.find_my", "Prohibited"),
        ("settings.profiles", "MCInstall"),
        ("settings.recent_panics", "crashreportcopymobile"),
        ("library", "status 10"),
        ("icloud_photos.engine", "status 10"),
    ] {
        let gap = facts.gap_of(fact).unwrap_or_else(|| panic!("no gap for {fact}"));
        assert!(gap.reason.contains(word), "{fact}: {}", gap.reason);
    }
    assert!(facts.local_backup.will_encrypt.is_none(), "what is refused is not off");
    assert!(facts.media.is_some() && facts.battery.health_percent.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_stalls_still_gives_a_first_look_within_five_seconds() {
    let bench = Bench::new(&NewOptions { photos: Some(20), ..small("healthy", Temper::Kind) });
    let (session, _device) = bench.session().await;
    bench.configure("[[fault]]\nat = \"afc-read\"\nafter_messages = 1\nkind = \"stall\"\ntimes = 9");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    let facts = collect::quick(&session).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(facts.battery.level_percent.is_some());
    assert!(facts.gap_of("icloud_photos.engine").unwrap().reason.contains("in time"));
    assert!(facts.icloud_photos.enabled.is_none() && facts.gap_of("icloud_photos.enabled").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_was_not_unlocked_since_it_started_says_so() {
    let bench = Bench::new(&NewOptions { photos: Some(20), ..small("healthy", Temper::Kind) });
    let (session, device) = bench.session().await;
    device.set_lock(Lock::BeforeFirstUnlock);
    let facts = collect::quick(&session).await.unwrap();
    assert_eq!(facts.reach, Reach::NotUnlockedSinceBoot);
    assert!(facts.gap_of("icloud_photos.engine").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_leaves_while_it_is_read_is_lost_and_nothing_is_made_up() {
    let bench = Bench::new(&NewOptions { photos: Some(40), ..small("healthy", Temper::Kind) });
    let (session, _device) = bench.session().await;
    let mut facts = collect::quick(&session).await.unwrap();
    bench.configure("[[fault]]\nat = \"afc-read\"\nafter_bytes = 200000\nkind = \"unplug\"");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let cancel = CancellationToken::new();
    let read = collect::full(&session, bench.folder.path(), &mut facts, &Silent, &cancel).await;
    assert!(matches!(read, Err(collect::Error::Lost(_))), "{read:?}");
    assert!(facts.library.counts.assets.is_none() && facts.gap_of("library.assets").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_told_the_phones_name_and_no_more() {
    let bench = Bench::new(&NewOptions { photos: Some(20), ..small("healthy", Temper::Kind) });
    let device = Device::open(&bench.folder.path().join("phone"), false).unwrap();
    let bus = Arc::new(Bus::new(vec![device]));
    let attached = bus.devices().await.unwrap().remove(0);
    let stranger = collect::stranger(&Phone { muxer: bus, attached }).await;
    assert_eq!(stranger.udid, bench.created.udid);
    let facts = collect::unreached(Some(stranger), Reach::NotTrusted);
    assert!(facts.device.unwrap().product_type.is_some());
}
