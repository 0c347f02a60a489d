//! Tests of made phones: what is written is what was asked for, and other readers take it.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::diagnosis::FindingId;
use crate::facts::{Fingerprint, Fingerprinting, Owner, Place, ResourceKind, Upload};
use crate::library;

/// A small phone, quickly made.
fn small(scenario: &str) -> NewOptions {
    NewOptions {
        scenario: scenario.to_owned(),
        photos: Some(40),
        media_bytes: Some(300_000),
        now: "2026-11-22T12:00:00Z".parse().unwrap(),
        ..NewOptions::default()
    }
}

fn make(options: &NewOptions) -> (tempfile::TempDir, Created) {
    let dir = tempfile::tempdir().unwrap();
    let created = create(dir.path(), options).unwrap();
    (dir, created)
}

/// The same phone without its photos' files, for tests that walk over all of them: files are what takes the time.
fn make_without_files(options: &NewOptions) -> (tempfile::TempDir, Counts) {
    let dir = tempfile::tempdir().unwrap();
    let scenario = scenario::find(&options.scenario).unwrap();
    let mut phone = Phone::healthy(options, options.photos.unwrap()).unwrap();
    scenario.shape(&mut phone);
    phone.mix.fit(phone.ios.major);
    let mut folder = Folder::create(dir.path()).unwrap();
    let assets = assets::plan(&phone);
    super::library::write(&phone, &assets, &mut folder).unwrap();
    device::write(&phone, scenario, &mut folder).unwrap();
    (dir, assets::count(&assets))
}

/// Every file below `dir`, by its path.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The library as the agent reads it: from a copy, without the shared memory.
fn read_library(phone: &Path) -> Result<crate::facts::Library, library::Unreadable> {
    let copy = tempfile::tempdir().unwrap();
    for name in [library::DATABASE_NAME, library::WAL_NAME] {
        let from = phone.join("media/PhotoData").join(name);
        if from.exists() {
            std::fs::copy(from, copy.path().join(name)).unwrap();
        }
    }
    library::read_database(copy.path())
}

#[test]
fn the_same_options_make_the_same_bytes() {
    let (first, _) = make(&small("demo"));
    let (second, _) = make(&small("demo"));
    let names = files(first.path());
    assert_eq!(names, files(second.path()));
    for name in &names {
        let (one, two) = (std::fs::read(first.path().join(name)), std::fs::read(second.path().join(name)));
        assert_eq!(one.unwrap(), two.unwrap(), "{name}");
    }
    let (third, created) = make(&NewOptions { seed: 2, ..small("demo") });
    let same = names.iter().filter(|name| {
        let other = std::fs::read(third.path().join(name)).ok();
        name.ends_with(".HEIC") && std::fs::read(first.path().join(name)).ok() == other
    });
    assert_eq!(same.count(), 0, "another seed, other photos");
    assert_eq!(created.counts.assets, Some(40));
}

#[test]
fn the_agent_counts_in_every_scenario_what_was_made() {
    for scenario in scenarios() {
        let (dir, counts) = make_without_files(&small(scenario.name));
        let toml = std::fs::read_to_string(dir.path().join("device.toml")).unwrap();
        crate::sim::config::Config::parse(&toml).unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
        if scenario.name == "unreadable-library" {
            assert!(read_library(dir.path()).is_err());
            continue;
        }
        let read = read_library(dir.path()).unwrap();
        assert_eq!(read.counts, counts, "{}", scenario.name);
        assert_eq!(counts.assets, Some(40), "{}", scenario.name);
        assert!(read.unknown_states.is_empty(), "{}: {:?}", scenario.name, read.unknown_states);
        assert!(read.gaps.is_empty(), "{}: {:?}", scenario.name, read.gaps);
    }
}

#[test]
fn every_ios_has_a_library_that_the_agent_reads() {
    for major in release::Ios::majors() {
        let (dir, counts) = make_without_files(&NewOptions { ios: major.to_string(), ..small("demo") });
        let read = read_library(dir.path()).unwrap();
        assert_eq!(read.counts, counts, "iOS {major}");
        the_albums_have_their_members(&read);
        let without_log = NewOptions { ios: major.to_string(), live_wal: false, ..small("optimised") };
        let (dir, counts) = make_without_files(&without_log);
        assert!(!dir.path().join("media/PhotoData/Photos.sqlite-wal").exists());
        assert_eq!(read_library(dir.path()).unwrap().counts, counts, "iOS {major}");
    }
}

fn the_albums_have_their_members(library: &crate::facts::Library) {
    let albums = library.albums.as_ref().unwrap();
    let titles: Vec<(&str, bool)> = albums.iter().map(|album| (album.title.as_str(), album.shared)).collect();
    assert_eq!(titles, [("Sedona", false), ("Family", false), ("Grandma’s 80th", true)]);
    let assets = library.assets.as_ref().unwrap();
    let members = |album: u32| assets.iter().filter(move |asset| asset.albums.contains(&album));
    assert!(members(0).count() > 2 && members(0).all(|asset| asset.owner == Owner::Own));
    assert!(members(1).count() > 0 && members(1).all(|asset| asset.favourite));
    let shared = assets.iter().filter(|asset| asset.owner == Owner::SharedAlbum).count();
    assert!(shared > 0 && members(2).count() == shared);
    assert!(members(2).all(|asset| asset.owner == Owner::SharedAlbum && asset.albums == [2]));
}

fn fingerprint_of(file: &Path) -> Fingerprint {
    let mut taking = Fingerprinting::default();
    taking.update(&std::fs::read(file).unwrap());
    taking.finish()
}

#[test]
fn what_is_only_in_icloud_can_be_had_with_the_size_and_fingerprint_that_the_library_states() {
    let folder = tempfile::tempdir().unwrap();
    let originals = Some(folder.path().to_owned());
    let (dir, created) = make(&NewOptions { originals, ..small("optimised") });
    let details = std::fs::read_to_string(folder.path().join("Photo Details.csv")).unwrap();
    let mut found = 0;
    for asset in read_library(dir.path()).unwrap().assets.unwrap() {
        let name = asset.original_name.as_deref().unwrap_or_default();
        for original in &asset.resources {
            let stem = name.rsplit_once('.').unwrap().0;
            let file = match (original.kind, original.place) {
                (ResourceKind::Original, Place::OnlyInIcloud) => folder.path().join(name),
                (ResourceKind::Raw, Place::OnlyInIcloud) => folder.path().join(format!("{stem}.DNG")),
                (ResourceKind::LiveVideo, Place::OnlyInIcloud) => folder.path().join(format!("{stem}.MOV")),
                (ResourceKind::Original, Place::HereAndInIcloud) => {
                    dir.path().join("media").join(&asset.path)
                }
                _ => continue,
            };
            assert_eq!(Some(std::fs::metadata(&file).unwrap().len()), original.stated_bytes, "{file:?}");
            let fingerprint = original.fingerprint.unwrap();
            assert_eq!(fingerprint_of(&file), fingerprint, "{file:?}");
            if original.place == Place::OnlyInIcloud {
                found += 1;
                assert!(details.contains(&format!(",{fingerprint},")), "{file:?}");
            }
        }
    }
    assert_eq!(found, created.original_files);
    assert!(found > 10 && std::fs::read_dir(folder.path()).unwrap().count() as u64 == found + 1);
}

#[test]
fn the_log_holds_what_the_database_alone_does_not() {
    let (dir, created) = make(&small("demo"));
    std::fs::remove_file(dir.path().join("media/PhotoData/Photos.sqlite-wal")).unwrap();
    let read = read_library(dir.path()).unwrap();
    assert_ne!(read.counts, created.counts);
    assert_eq!(read.counts.recently_deleted, Some(0));
}

#[test]
fn what_the_library_says_is_here_is_here_with_its_size_and_date() {
    let (dir, _) = make(&small("optimised"));
    let media = dir.path().join("media");
    let mut seen = BTreeSet::new();
    for asset in read_library(dir.path()).unwrap().assets.unwrap() {
        let original = std::fs::metadata(media.join(&asset.path));
        let here = asset.owner != Owner::Own
            || asset
                .resources
                .first()
                .is_none_or(|original| matches!(original.place, Place::HereAndInIcloud | Place::OnlyHere));
        assert_eq!(original.is_ok(), here, "{}", asset.path);
        if let (Ok(file), Some(stated)) = (original, asset.resources.first().and_then(|one| one.stated_bytes))
        {
            assert_eq!(file.len(), stated, "{}", asset.path);
            let modified = jiff::Timestamp::try_from(file.modified().unwrap()).unwrap();
            assert_eq!(modified.as_millisecond(), asset.created.unwrap().as_millisecond(), "{}", asset.path);
        }
        assert!(seen.insert(asset.path.clone()), "{} twice", asset.path);
        let thumbnail = media.join("PhotoData/Thumbnails/V2").join(&asset.path).join("5005.JPG");
        assert!(thumbnail.exists(), "{}", asset.path);
    }
}

#[test]
fn every_media_file_has_its_date_in_the_list() {
    let (dir, created) = make(&small("looks-missing"));
    let listed: BTreeSet<String> = std::fs::read_to_string(dir.path().join("media.times"))
        .unwrap()
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let mtime: jiff::Timestamp = line["mtime"].as_str().unwrap().parse().unwrap();
            let path = line["path"].as_str().unwrap().to_owned();
            let file = std::fs::metadata(dir.path().join("media").join(&path)).unwrap();
            assert_eq!(jiff::Timestamp::try_from(file.modified().unwrap()).unwrap(), mtime, "{path}");
            path
        })
        .collect();
    let there: BTreeSet<String> = files(&dir.path().join("media")).into_iter().collect();
    assert_eq!(listed, there);
    assert_eq!(created.media_files, there.len() as u64);
}

#[test]
fn the_engines_files_agree_with_the_library() {
    for scenario in ["healthy", "demo", "uploads-stuck", "optimised", "first-sync"] {
        let (dir, created) = make(&small(scenario));
        let photo_data = dir.path().join("media/PhotoData");
        let status = std::fs::read(photo_data.join("CPL/syncstatus.plist")).unwrap();
        let (engine, gaps) = library::cpl::sync_status(&status, None).unwrap();
        assert!(gaps.is_empty(), "{scenario}: {gaps:?}");
        assert_eq!(engine.cloud_asset_count.unwrap().value, created.counts.uploaded.unwrap(), "{scenario}");
        let store = rusqlite::Connection::open(photo_data.join("CPL/storage/store.cloudphotodb")).unwrap();
        let count = |sql| store.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs();
        let waiting = count("SELECT COUNT(DISTINCT itemIdentifier) FROM outgoingResources");
        assert_eq!(Some(waiting), created.counts.waiting, "{scenario}");
        assert_eq!(
            Some(count("SELECT COUNT(*) FROM quarantinedRecords")),
            created.counts.failed,
            "{scenario}"
        );
    }
}

#[test]
fn stuck_means_long_before_the_last_sync_and_waiting_means_after_it() {
    let added = |scenario: &str| {
        let (dir, _) = make(&small(scenario));
        let assets = read_library(dir.path()).unwrap().assets.unwrap();
        let status = std::fs::read(dir.path().join("media/PhotoData/CPL/syncstatus.plist")).unwrap();
        let synced = library::cpl::sync_status(&status, None).unwrap().0.last_sync_date.unwrap().value;
        let waiting =
            assets.into_iter().filter(|asset| asset.upload == Upload::Waiting && asset.owner == Owner::Own);
        waiting.map(|asset| asset.added.unwrap().duration_since(synced).as_hours()).collect::<Vec<_>>()
    };
    let (stuck, waiting) = (added("uploads-stuck"), added("uploads-waiting"));
    assert!(!stuck.is_empty() && stuck.iter().all(|hours| *hours <= -24), "{stuck:?}");
    assert!(!waiting.is_empty() && waiting.iter().all(|hours| *hours >= 0), "{waiting:?}");
}

#[test]
fn real_sizes_take_hardly_any_place_where_padding_is_holes() {
    use std::os::unix::fs::MetadataExt;
    let options = NewOptions { sizes: Sizes::Real, sparse: true, media_bytes: None, ..small("healthy") };
    let (dir, created) = make(&options);
    assert!(created.picture_bytes > 50_000_000, "{}", created.picture_bytes);
    let media = dir.path().join("media");
    let pictures: Vec<String> = files(&media)
        .into_iter()
        .filter(|path| path.starts_with("DCIM") || path.contains("/CPLAssets/"))
        .collect();
    let mut on_disk = 0;
    let mut hashes = BTreeSet::new();
    for path in &pictures {
        let file = std::fs::File::open(media.join(path)).unwrap();
        on_disk += file.metadata().unwrap().blocks() * 512;
        let bytes = std::fs::read(media.join(path)).unwrap();
        assert!(
            hashes.insert(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes).as_ref().to_vec())
        );
        let end: &[u8] = match path.rsplit_once('.').unwrap().1 {
            "JPG" => &[0xff, 0xd9],
            "PNG" => b"IEND\xae\x42\x60\x82",
            _ => b"",
        };
        assert!(bytes.ends_with(end), "{path}");
    }
    assert!(on_disk < created.picture_bytes / 5, "{on_disk} of {} bytes", created.picture_bytes);
}

#[test]
fn a_mixed_library_has_every_state() {
    let (dir, created) = make(&NewOptions { photos: Some(120), ..small("mixed") });
    let counts = &created.counts;
    for (name, count) in [
        ("uploaded", counts.uploaded),
        ("waiting", counts.waiting),
        ("failed", counts.failed),
        ("never queued", counts.never_queued),
        ("only here", counts.originals_only_here),
        ("only in iCloud", counts.originals_only_in_icloud),
        ("in neither", counts.originals_in_neither),
        ("recently deleted", counts.recently_deleted),
        ("hidden", counts.hidden),
        ("shared album", counts.shared_album_only),
    ] {
        assert!(count > Some(0), "{name}");
    }
    let library = read_library(dir.path()).unwrap();
    assert_eq!(&library.counts, counts);
    let store = rusqlite::Connection::open(dir.path().join("media/PhotoData/Photos.sqlite")).unwrap();
    for (what, wanted) in [
        ("ZASSET WHERE ZACTIVELIBRARYSCOPEPARTICIPATIONSTATE = 1 AND ZLIBRARYSCOPE NOT NULL", 6),
        ("ZSHARE WHERE ZSCOPEIDENTIFIER LIKE 'SharedSync-%'", 1),
        ("ZADDITIONALASSETATTRIBUTES WHERE ZSYNDICATIONIDENTIFIER NOT NULL", 5),
        ("ZINTERNALRESOURCE WHERE ZLOCALAVAILABILITY = -32768", 5),
        ("ZASSET WHERE ZTRASHEDSTATE = 2", 3),
        ("ZASSET WHERE ZBUNDLESCOPE = 3", 3),
    ] {
        let count: i64 =
            store.query_row(&format!("SELECT COUNT(*) FROM {what}"), [], |row| row.get(0)).unwrap();
        assert_eq!(count, wanted, "{what}");
    }
    for state in
        ["ZASSET WHERE ZCLOUDLOCALSTATE = 2", "ZCLOUDMASTER WHERE ZCLOUDLOCALSTATE = 2", "Z_1KEYWORDS"]
    {
        let count: i64 =
            store.query_row(&format!("SELECT COUNT(*) FROM {state}"), [], |row| row.get(0)).unwrap();
        assert!(count > 0, "{state}");
    }
}

#[test]
fn the_engines_backlog_is_in_its_log() {
    let (dir, created) = make(&small("demo"));
    let storage = dir.path().join("media/PhotoData/CPL/storage");
    let backlog = |with_log: bool| {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(storage.join("store.cloudphotodb"), copy.path().join("store.cloudphotodb")).unwrap();
        if with_log {
            let name = "store.cloudphotodb-wal";
            std::fs::copy(storage.join(name), copy.path().join(name)).unwrap();
        }
        library::read_backlog(copy.path()).unwrap()
    };
    assert_eq!(backlog(false).outgoing_files, 0);
    assert!(backlog(true).outgoing_files >= created.counts.waiting.unwrap());
    assert_eq!(
        backlog(true).quarantined.iter().map(|(_, count)| count).sum::<u64>(),
        created.counts.failed.unwrap()
    );
}

#[test]
fn scenarios_have_names_of_their_own_and_name_findings_that_exist() {
    let names: BTreeSet<&str> = scenarios().iter().map(|scenario| scenario.name).collect();
    assert_eq!(names.len(), scenarios().len());
    assert_eq!(scenarios()[0].name, "healthy");
    for scenario in scenarios() {
        for id in scenario.also.iter().chain([&scenario.first]) {
            assert!(FindingId::parse(id).is_some(), "{}: {id}", scenario.name);
        }
    }
}

#[test]
fn the_simulator_opens_what_was_made() {
    let (dir, created) = make(&small("untrusted"));
    let device = crate::sim::Device::open(dir.path(), false).unwrap();
    assert_eq!(device.udid().as_str(), created.udid);
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |options: NewOptions| create(&dir.path().join("new"), &options).unwrap_err().to_string();
    assert!(refused(small("no-such")).contains("no-such"));
    assert!(refused(NewOptions { ios: "12".into(), ..small("healthy") }).contains("12"));
    assert!(refused(NewOptions { photos: Some(0), ..small("healthy") }).contains('0'));
    std::fs::write(dir.path().join("there"), "x").unwrap();
    let error = create(dir.path(), &small("healthy")).unwrap_err();
    assert!(matches!(error, Error::NotEmpty(_)), "{error}");
    assert_eq!(files(dir.path()), ["there"]);
}
