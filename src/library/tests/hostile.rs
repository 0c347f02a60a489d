//! What no database may do: panic, hang, or be believed.

use std::time::{Duration, Instant};

use crate::library::testing::{Draft, SCHEMA, bytes_of, read_bytes};
use crate::library::{Unreadable, read_backlog, read_database};

fn strange(draft: Draft) -> String {
    match draft.read() {
        Err(error @ Unreadable::Strange { .. }) => error.to_string(),
        other => panic!("wanted strange, got {other:?}"),
    }
}

#[test]
fn a_view_in_place_of_the_table_is_refused() {
    let draft = Draft::new();
    draft.run("ALTER TABLE ZASSET RENAME TO HIDDEN; CREATE VIEW ZASSET AS SELECT * FROM HIDDEN;");
    assert!(strange(draft).contains("ZASSET is no plain table"));
}

#[test]
fn a_view_in_another_case_is_refused() {
    let draft = Draft::new();
    draft
        .run("DROP TABLE ZCLOUDMASTER; CREATE VIEW zCloudMaster AS SELECT 1 AS Z_PK, 3 AS ZCLOUDLOCALSTATE;");
    strange(draft);
}

#[test]
fn an_endless_view_is_never_run() {
    let draft = Draft::without_schema();
    draft.run(
        "CREATE VIEW ZASSET AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)
            SELECT x AS Z_PK, x AS ZTRASHEDSTATE, x AS ZBUNDLESCOPE FROM c;",
    );
    let began = Instant::now();
    strange(draft);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_virtual_table_is_refused() {
    let draft = Draft::new();
    draft
        .run("DROP TABLE ZINTERNALRESOURCE; CREATE VIRTUAL TABLE ZINTERNALRESOURCE USING rtree(Z_PK, a, b);");
    strange(draft);
}

#[test]
fn virtual_tables_elsewhere_are_no_obstacle() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    draft.run(
        "CREATE VIRTUAL TABLE Z_RT_Asset USING rtree(Z_PK, a, b); INSERT INTO Z_RT_Asset VALUES (1, 2, 3);",
    );
    assert_eq!(draft.read().unwrap().counts.assets, Some(1));
}

#[test]
fn a_computed_column_is_refused() {
    for kind in ["VIRTUAL", "STORED"] {
        let draft = Draft::without_schema();
        let computed = format!("ZTRASHEDSTATE INTEGER GENERATED ALWAYS AS (Z_PK * 0) {kind}");
        draft.run(&SCHEMA.replacen("ZTRASHEDSTATE INTEGER", &computed, 1));
        assert!(strange(draft).contains("ZASSET.ZTRASHEDSTATE is computed"));
    }
}

#[test]
fn triggers_do_nothing() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    draft.run("CREATE TRIGGER t AFTER INSERT ON ZASSET BEGIN DELETE FROM ZASSET; END;");
    assert_eq!(draft.read().unwrap().counts.assets, Some(1));
}

#[test]
fn an_index_that_lies_hides_no_row() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    draft.uploaded_photo(2);
    draft.run("CREATE INDEX i ON ZASSET (Z_PK, ZUUID, ZTRASHEDSTATE) WHERE Z_PK = 1;");
    assert_eq!(draft.read().unwrap().counts.assets, Some(2));
}

#[test]
fn extreme_numbers_are_tolerated() {
    let draft = Draft::new();
    for key in [i64::MIN, -1, 0, i64::MAX] {
        draft.run(&format!(
            "INSERT INTO ZASSET (Z_PK, ZDATECREATED, ZADDEDDATE, ZTRASHEDSTATE, ZTRASHEDDATE, ZBUNDLESCOPE, ZMASTER,
                ZADDITIONALATTRIBUTES, ZKIND, ZHIDDEN) VALUES ({key}, 9e999, {key}, 1, -9e999, 0, {key}, {key}, {key}, 0);
             INSERT INTO ZINTERNALRESOURCE (ZASSET, ZDATASTORECLASSID, ZDATASTORESUBTYPE, ZDATALENGTH,
                ZLOCALAVAILABILITY, ZREMOTEAVAILABILITY, ZCLOUDLOCALSTATE) VALUES ({key}, 0, 1, {key}, {key}, {key}, 3);"
        ));
    }
    let library = draft.read().unwrap();
    assert_eq!(library.counts.recently_deleted, Some(4));
    for asset in library.assets.unwrap() {
        assert_eq!((asset.created, asset.trashed), (None, Some(None)));
    }
}

#[test]
fn a_huge_cell_is_no_name() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    draft.run(
        "UPDATE ZASSET SET ZFILENAME = printf('%.*c', 5000000, 'x'), ZUUID = printf('%.*c', 5000000, 'y');
         UPDATE ZADDITIONALASSETATTRIBUTES SET ZORIGINALFILENAME = printf('%.*c', 5000000, 'z');",
    );
    let library = draft.read().unwrap();
    let asset = &library.assets.unwrap()[0];
    assert_eq!(
        (asset.uuid.as_str(), asset.path.as_str(), asset.original_name.as_deref()),
        ("row1", "", None)
    );
}

#[test]
fn hundreds_of_originals_of_one_asset_are_unknown() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    draft.run(
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 300)
         INSERT INTO ZINTERNALRESOURCE (ZASSET, ZDATASTORECLASSID, ZDATASTORESUBTYPE, ZLOCALAVAILABILITY,
            ZREMOTEAVAILABILITY, ZCLOUDLOCALSTATE) SELECT 1, 0, 1, 1, 1, 3 FROM c;",
    );
    let library = draft.read().unwrap();
    assert_eq!(library.counts.originals_place_unknown, Some(1));
    assert!(!library.unknown_states.is_empty());
}

#[test]
fn what_is_no_database_is_told_apart() {
    assert!(matches!(read_bytes(&[0x5A; 8192]), Err(Unreadable::NotADatabase(_))));
    assert!(matches!(read_bytes(b""), Err(Unreadable::NoTable { .. })));
    assert!(matches!(
        read_bytes(b"SQLite format 3\0"),
        Err(Unreadable::NotADatabase(_) | Unreadable::NoTable { .. })
    ));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(read_database(empty.path()), Err(Unreadable::Missing(_))));
    std::fs::create_dir(empty.path().join("Photos.sqlite")).unwrap();
    assert!(matches!(read_database(empty.path()), Err(Unreadable::NotADatabase(_))));
}

#[test]
fn a_link_is_not_followed() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    let other = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(draft.dir.path().join("Photos.sqlite"), other.path().join("Photos.sqlite"))
        .unwrap();
    assert!(read_database(other.path()).is_err());
}

#[test]
fn a_wrong_page_size_is_refused() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    let bytes = bytes_of(draft.dir.path());
    for page_size in [[0x00, 0x00], [0x00, 0x03], [0x02, 0x00], [0x20, 0x00], [0xFF, 0xFF]] {
        let mut wrong = bytes.clone();
        wrong[16..18].copy_from_slice(&page_size);
        assert!(read_bytes(&wrong).is_err(), "{page_size:?}");
    }
}

#[test]
fn a_library_cut_short_or_scrambled_never_panics() {
    let draft = Draft::new();
    for key in 1..40 {
        draft.uploaded_photo(key);
    }
    let bytes = bytes_of(draft.dir.path());
    for length in (0..bytes.len()).step_by(977) {
        if let Ok(library) = read_bytes(&bytes[..length]) {
            panic!("{length} of {} bytes gave {:?}", bytes.len(), library.counts);
        }
    }
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..150 {
        let mut scrambled = bytes.clone();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % scrambled.len();
            scrambled[at] = (seed >> 20) as u8;
        }
        let _ = read_bytes(&scrambled);
    }
}

#[test]
fn a_log_of_another_moment_or_of_noise_is_no_panic() {
    let draft = Draft::new();
    draft.run("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;");
    draft.uploaded_photo(1);
    let old_wal = std::fs::read(draft.dir.path().join("Photos.sqlite-wal")).unwrap();
    draft.run("PRAGMA wal_checkpoint(TRUNCATE); VACUUM;");
    for key in 2..200 {
        draft.uploaded_photo(key);
    }
    draft.run("PRAGMA wal_checkpoint(TRUNCATE);");
    let database = bytes_of(draft.dir.path());
    for log in [old_wal.clone(), vec![0xA5; 20_000], old_wal[..old_wal.len() / 2].to_vec()] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("Photos.sqlite"), &database).unwrap();
        std::fs::write(dir.path().join("Photos.sqlite-wal"), &log).unwrap();
        std::fs::write(dir.path().join("Photos.sqlite-shm"), [0xFF; 32768]).unwrap();
        match read_database(dir.path()) {
            Ok(library) => {
                assert_eq!(library.counts.assets, Some(199), "a log that does not belong was believed");
            }
            Err(error) => assert!(matches!(error, Unreadable::Damaged { .. }), "{error}"),
        }
    }
}

#[test]
fn an_engines_store_is_read_with_the_same_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.cloudphotodb");
    assert!(matches!(read_backlog(dir.path()), Err(Unreadable::Missing(_))));
    let store = rusqlite::Connection::open(&path).unwrap();
    store
        .execute_batch(
            "CREATE TABLE outgoingResources (fileSize INTEGER NOT NULL); INSERT INTO outgoingResources VALUES (10), (-5),
                (9223372036854775807), ('x');
             CREATE TABLE pushRepository (class TEXT); INSERT INTO pushRepository VALUES ('a'), ('b');
             CREATE TABLE quarantinedRecords (reason TEXT);
             INSERT INTO quarantinedRecords VALUES ('bad'), ('worse'), ('bad'), (NULL), (char(27) || '[31m');",
        )
        .unwrap();
    drop(store);
    let backlog = read_backlog(dir.path()).unwrap();
    assert_eq!((backlog.outgoing_files, backlog.outgoing_changes), (4, 2));
    assert_eq!(backlog.outgoing_bytes, 10 + i64::MAX as u64);
    assert_eq!(backlog.quarantined[0], ("bad".to_owned(), 2));
    assert!(backlog.quarantined.iter().all(|(reason, _)| !reason.contains('\u{1b}')));
    assert_eq!(backlog.scopes_unread, None);
    // More libraries than anybody has: what waits is told all the same.
    let store = rusqlite::Connection::open(&path).unwrap();
    store
        .execute_batch(
            "CREATE TABLE scopes (scopeIdentifier TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001)
             INSERT INTO scopes SELECT i FROM n;",
        )
        .unwrap();
    drop(store);
    let backlog = read_backlog(dir.path()).unwrap();
    assert!(backlog.outgoing_files == 4 && backlog.scopes.is_empty() && backlog.scopes_unread.is_some());
    std::fs::write(&path, [7_u8; 5000]).unwrap();
    assert!(matches!(read_backlog(dir.path()), Err(Unreadable::NotADatabase(_))));
}
