//! Real libraries, where `IDEVICE_FIX_FIXTURES` names a folder that holds some: the counts that they are known to have.

use std::path::{Path, PathBuf};

use idevice_fix::facts::{Library, value};
use idevice_fix::library::{self, cpl};

fn fixtures() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("IDEVICE_FIX_FIXTURES") else {
        eprintln!("skipped: IDEVICE_FIX_FIXTURES is not set");
        return None;
    };
    Some(PathBuf::from(folder))
}

fn read(folder: &Path, name: &str) -> Library {
    let copies = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(folder.join("photos-db").join(format!("{name}__Photos.sqlite"))).unwrap();
    std::fs::write(copies.path().join(library::DATABASE_NAME), bytes).unwrap();
    library::read_database(copies.path()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn one_upload_waits_in_the_library_of_2020() {
    let Some(folder) = fixtures() else { return };
    let library = read(&folder, "Test-Cloud-10.15.1");
    let counts = &library.counts;
    assert_eq!(value(&library.model_version), Some(13537));
    assert_eq!((counts.assets, counts.uploaded, counts.waiting), (Some(22), Some(21), Some(1)));
    assert_eq!((counts.failed, counts.never_queued, counts.shared_album_only), (Some(0), Some(0), Some(5)));
    assert_eq!((counts.originals_here_and_in_icloud, counts.originals_only_here), (Some(21), Some(1)));
    let waiting =
        library.assets.iter().flatten().find(|a| a.resources.iter().any(|r| r.stated_bytes == Some(485_453)));
    assert_eq!(waiting.unwrap().place, idevice_fix::facts::Place::OnlyHere);
    clean(&library);
}

#[test]
fn everything_is_uploaded_in_the_library_of_2023() {
    let Some(folder) = fixtures() else { return };
    let library = read(&folder, "Test-Cloud-13.1");
    let counts = &library.counts;
    assert_eq!((counts.assets, counts.uploaded, counts.shared_album_only), (Some(23), Some(23), Some(9)));
    assert_eq!((counts.waiting, counts.originals_here_and_in_icloud), (Some(0), Some(23)));
    clean(&library);
}

#[test]
fn nothing_was_ever_queued_without_icloud() {
    let Some(folder) = fixtures() else { return };
    let library = read(&folder, "Test-Media-Types-15.7.2");
    let counts = &library.counts;
    assert_eq!(
        (counts.assets, counts.never_queued, counts.originals_only_here),
        (Some(18), Some(18), Some(18))
    );
    clean(&library);
}

#[test]
fn trashed_hidden_and_missing_originals_are_told_apart() {
    let Some(folder) = fixtures() else { return };
    let library = read(&folder, "Test-26.1");
    let counts = &library.counts;
    assert_eq!(value(&library.model_version), Some(19320));
    assert_eq!((counts.assets, counts.never_queued), (Some(14), Some(14)));
    assert_eq!((counts.recently_deleted, counts.hidden), (Some(2), Some(1)));
    assert_eq!((counts.originals_in_neither, counts.originals_only_here), (Some(2), Some(12)));
    assert!(library.unknown_states.is_empty(), "{:?}", library.unknown_states);
}

#[test]
fn albums_have_their_members_and_originals_their_fingerprints() {
    let Some(folder) = fixtures() else { return };
    let library = read(&folder, "Test-26.1");
    let titles: Vec<&str> = library.albums.iter().flatten().map(|album| album.title.as_str()).collect();
    assert!(titles.contains(&"Pumpkin Farm") && titles.contains(&"2019-10/11 Paris Clermont"), "{titles:?}");
    let farm = u32::try_from(titles.iter().position(|title| *title == "Pumpkin Farm").unwrap()).unwrap();
    let assets = library.assets.as_ref().unwrap();
    assert_eq!(assets.iter().filter(|asset| asset.albums.contains(&farm)).count(), 3);
    let library = read(&folder, "Test-Cloud-13.1");
    let albums = library.albums.as_ref().unwrap();
    let shared = u32::try_from(albums.iter().position(|album| album.shared).unwrap()).unwrap();
    let assets = library.assets.as_ref().unwrap();
    assert_eq!(assets.iter().filter(|asset| asset.albums.contains(&shared)).count(), 9);
    let originals = assets.iter().flat_map(|asset| &asset.resources);
    assert!(originals.clone().count() >= 23 && originals.clone().all(|one| one.fingerprint.is_some()));
}

fn clean(library: &Library) {
    assert!(library.unknown_states.is_empty(), "{:?}", library.unknown_states);
    assert!(library.gaps.is_empty(), "{:?}", library.gaps);
}

#[test]
fn the_real_engines_files_are_read() {
    let Some(folder) = fixtures() else { return };
    for (name, server, last_sync) in
        [("Test-Cloud-10.15.1", 21, "2020-01-25T17:04:35Z"), ("Test-Cloud-13.1", 23, "2023-01-07T21:17:09Z")]
    {
        let file = |file: &str| {
            std::fs::read(folder.join(format!("cpl/{name}__resources_cpl_cloudsync.noindex_{file}"))).unwrap()
        };
        let (engine, gaps) = cpl::sync_status(&file("syncstatus.plist"), None).unwrap();
        assert!(gaps.is_empty() && engine.unknown_keys.is_empty(), "{gaps:?} {:?}", engine.unknown_keys);
        assert_eq!(value(&engine.cloud_asset_count), Some(server));
        assert_eq!(value(&engine.last_sync_date).unwrap().to_string(), last_sync);
        assert!(cpl::marker(&file("cpl_enabled_marker")).is_some());
        assert_eq!(cpl::download_counts(&file("DownloadCounts.plist")).unwrap(), 0);
        let configuration = cpl::server_configuration(&file("cloudphotos-1.0.plist")).unwrap();
        assert_eq!(configuration.recently_deleted_days, Some(30));
    }
    let log = folder.join("cpl/Test-Cloud-13.1__private_com.apple.accountsd_cloudServiceEnableLog.plist");
    let history = cpl::switchings(&std::fs::read(log).unwrap()).unwrap();
    assert_eq!((history.len(), history[0].enabled), (1, true));
}

/// Every real schema is read, empty: none of its tables is strange to us, and no column that counts is missing.
#[test]
fn every_real_schema_answers_every_question() {
    let Some(folder) = fixtures() else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.join("photos-schema")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        let copies = tempfile::tempdir().unwrap();
        make(&copies.path().join(library::DATABASE_NAME), &std::fs::read_to_string(&path).unwrap());
        let library =
            library::read_database(copies.path()).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(library.gaps.is_empty(), "{path:?}: {:?}", library.gaps);
        assert_eq!(library.counts.assets, Some(0));
        assert_eq!(library.albums.as_ref().map(Vec::len), Some(0), "{path:?}: it tells of albums");
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} schemas were found");
}

/// Triggers stand before their tables in the schema files, so there are two rounds; SQLite's own tables cannot be made.
fn make(database: &Path, schema: &str) {
    let connection = rusqlite::Connection::open(database).unwrap();
    connection.execute_batch("PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY;").unwrap();
    for _ in 0..2 {
        for statement in schema.split(";\n") {
            let _ = connection.execute_batch(statement);
        }
    }
}
