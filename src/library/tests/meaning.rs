//! What rows mean.

use crate::facts::{AssetKind, Owner, Place, ResourceKind, Upload};
use crate::library::testing::{Draft, only};

#[test]
fn an_uploaded_photo_is_here_and_in_icloud() {
    let draft = Draft::new();
    draft.uploaded_photo(7);
    let library = draft.read().unwrap();
    let asset = only(&library);
    assert_eq!(asset.uuid, "UUID-7");
    assert_eq!(asset.path, "DCIM/100APPLE/IMG_7.HEIC");
    assert_eq!(asset.original_name.as_deref(), Some("IMG_7.HEIC"));
    assert_eq!(
        (asset.upload, asset.place, asset.owner),
        (Upload::Uploaded, Place::HereAndInIcloud, Owner::Own)
    );
    assert_eq!(asset.resources[0].stated_bytes, Some(2000));
    assert_eq!(asset.created.unwrap().to_string(), "2023-03-08T20:26:40.5Z");
    assert_eq!(library.counts.assets, Some(1));
    assert_eq!(library.counts.originals_here_and_in_icloud, Some(1));
    assert!(library.unknown_states.is_empty() && library.gaps.is_empty());
}

#[test]
fn every_state_counts_where_the_contract_says() {
    let draft = Draft::new();
    for key in 1..=9 {
        draft.uploaded_photo(key);
    }
    draft.run(
        "UPDATE ZCLOUDMASTER SET ZCLOUDLOCALSTATE = 1 WHERE Z_PK = 2;
         UPDATE ZINTERNALRESOURCE SET ZCLOUDLOCALSTATE = 0 WHERE ZASSET = 2;
         UPDATE ZASSET SET ZCLOUDLOCALSTATE = 4 WHERE Z_PK = 3;
         UPDATE ZASSET SET ZCLOUDLOCALSTATE = 0, ZMASTER = NULL WHERE Z_PK = 4;
         UPDATE ZINTERNALRESOURCE SET ZLOCALAVAILABILITY = -1 WHERE ZASSET = 5;
         UPDATE ZINTERNALRESOURCE SET ZLOCALAVAILABILITY = -1, ZREMOTEAVAILABILITY = 0 WHERE ZASSET = 6;
         DELETE FROM ZINTERNALRESOURCE WHERE ZASSET = 7;
         UPDATE ZASSET SET ZTRASHEDSTATE = 1, ZTRASHEDDATE = 700000000, ZHIDDEN = 1 WHERE Z_PK = 8;
         UPDATE ZASSET SET ZHIDDEN = 1, ZAVALANCHEPICKTYPE = 2 WHERE Z_PK = 9;
         INSERT INTO ZASSET (Z_PK, ZBUNDLESCOPE, ZTRASHEDSTATE) VALUES (20, 2, 0), (21, 3, 0), (22, 1, 0);
         INSERT INTO ZASSET (Z_PK, ZBUNDLESCOPE, ZTRASHEDSTATE) VALUES (23, 0, 2);",
    );
    let library = draft.read().unwrap();
    let counts = &library.counts;
    assert_eq!(counts.assets, Some(8));
    assert_eq!((counts.uploaded, counts.waiting), (Some(5), Some(1)));
    assert_eq!((counts.failed, counts.never_queued), (Some(1), Some(1)));
    assert_eq!((counts.originals_here_and_in_icloud, counts.originals_only_here), (Some(4), Some(1)));
    assert_eq!((counts.originals_only_in_icloud, counts.originals_in_neither), (Some(1), Some(1)));
    assert_eq!(counts.originals_place_unknown, Some(1));
    assert_eq!((counts.recently_deleted, counts.hidden), (Some(1), Some(1)));
    assert_eq!((counts.shared_album_only, counts.burst_frames_unpicked), (Some(1), Some(1)));
    assert_eq!(library.uploaded_with_trashed, Some(6));
    assert!(library.unknown_states.is_empty(), "{:?}", library.unknown_states);
    let trashed = library.assets.as_ref().unwrap().iter().find(|asset| asset.uuid == "UUID-8").unwrap();
    assert_eq!(trashed.trashed.unwrap().unwrap().to_string(), "2023-03-08T20:26:40Z");
}

#[test]
fn a_live_photo_is_one_asset_at_the_worst_place_of_its_originals() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    draft.run(
        "INSERT INTO ZINTERNALRESOURCE (ZASSET, ZDATASTORECLASSID, ZDATASTORESUBTYPE, ZLOCALAVAILABILITY,
            ZREMOTEAVAILABILITY, ZCLOUDLOCALSTATE) VALUES (1, 0, 18, -1, 1, 3), (1, 0, 3, -1, 0, 0), (1, 2, 1, -1, 0, 0);",
    );
    let library = draft.read().unwrap();
    let asset = only(&library);
    assert_eq!((asset.kind, asset.place), (AssetKind::LivePhoto, Place::OnlyInIcloud));
    assert_eq!(asset.resources.len(), 2);
    let clip = asset.resources.iter().find(|r| r.kind == ResourceKind::LiveVideo).unwrap();
    assert_eq!((clip.path.as_deref(), clip.stated_bytes), (None, None));
}

#[test]
fn a_library_of_ios_13_tells_its_own_assets_by_the_kind_of_saving() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    draft.uploaded_photo(2);
    draft.run(
        "UPDATE ZASSET SET ZSAVEDASSETTYPE = 4 WHERE Z_PK = 2;
         ALTER TABLE ZASSET DROP COLUMN ZBUNDLESCOPE; ALTER TABLE ZASSET RENAME TO ZGENERICASSET;",
    );
    let counts = draft.read().unwrap().counts;
    assert_eq!((counts.assets, counts.shared_album_only), (Some(1), Some(1)));
}

#[test]
fn what_a_library_cannot_say_is_a_gap_and_no_zero() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    draft.run(
        "ALTER TABLE ZASSET DROP COLUMN ZHIDDEN; ALTER TABLE ZASSET DROP COLUMN ZAVALANCHEPICKTYPE;
         ALTER TABLE ZASSET DROP COLUMN ZAVALANCHEUUID; DROP TABLE ZCLOUDMASTER;
         ALTER TABLE ZINTERNALRESOURCE DROP COLUMN ZREMOTEAVAILABILITY;",
    );
    let library = draft.read().unwrap();
    let counts = &library.counts;
    assert_eq!(counts.assets, Some(1));
    assert_eq!((counts.uploaded, counts.never_queued, counts.hidden), (None, None, None));
    assert_eq!((counts.originals_only_here, counts.originals_place_unknown), (None, None));
    assert_eq!(counts.burst_frames_unpicked, None);
    for fact in ["library.uploaded", "library.hidden", "library.originals_only_here"] {
        assert!(library.gaps.iter().any(|gap| gap.fact == fact), "{fact}");
    }
}

#[test]
fn without_the_trash_nothing_can_be_counted() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    draft.run("ALTER TABLE ZASSET DROP COLUMN ZTRASHEDSTATE;");
    let library = draft.read().unwrap();
    assert_eq!((library.counts.assets, library.counts.recently_deleted), (None, None));
    assert_eq!(library.assets.unwrap().len(), 1);
}

#[test]
fn unknown_states_are_noted_and_never_make_a_photo_safe() {
    let draft = Draft::new();
    for key in 1..=5 {
        draft.uploaded_photo(key);
    }
    draft.run(
        "UPDATE ZASSET SET ZCLOUDLOCALSTATE = 9 WHERE Z_PK = 1;
         UPDATE ZCLOUDMASTER SET ZCLOUDLOCALSTATE = 'three' WHERE Z_PK = 2;
         UPDATE ZINTERNALRESOURCE SET ZCLOUDLOCALSTATE = 77 WHERE ZASSET = 3;
         UPDATE ZINTERNALRESOURCE SET ZLOCALAVAILABILITY = x'01' WHERE ZASSET = 4;
         UPDATE ZASSET SET ZBUNDLESCOPE = 5, ZTRASHEDSTATE = 6 WHERE Z_PK = 5;",
    );
    let library = draft.read().unwrap();
    assert_eq!(
        library.unknown_states,
        [
            "ZASSET.ZBUNDLESCOPE=5 (1)",
            "ZASSET.ZCLOUDLOCALSTATE=9 (1)",
            "ZASSET.ZTRASHEDSTATE=6 (1)",
            "ZCLOUDMASTER.ZCLOUDLOCALSTATE=text (1)",
            "ZINTERNALRESOURCE.ZCLOUDLOCALSTATE=77 (1)",
            "ZINTERNALRESOURCE.ZLOCALAVAILABILITY=blob (1)",
        ]
    );
    let counts = &library.counts;
    assert_eq!((counts.assets, counts.uploaded, counts.waiting), (Some(5), Some(3), Some(2)));
    assert_eq!((counts.originals_here_and_in_icloud, counts.originals_only_here), (Some(3), Some(1)));
    assert_eq!(counts.originals_place_unknown, Some(1));
}

#[test]
fn a_path_that_leads_elsewhere_is_no_path() {
    let draft = Draft::new();
    draft.uploaded_photo(1);
    draft.uploaded_photo(2);
    draft.run(
        "UPDATE ZASSET SET ZDIRECTORY = '../../etc' WHERE Z_PK = 1;
         UPDATE ZASSET SET ZDIRECTORY = '/Users/x' WHERE Z_PK = 2;",
    );
    let library = draft.read().unwrap();
    for asset in library.assets.as_ref().unwrap() {
        assert_eq!((asset.path.as_str(), asset.resources[0].path.as_deref()), ("", None));
    }
    assert!(library.gaps.iter().any(|gap| gap.fact == "library.paths" && gap.reason.starts_with("2 ")));
}

#[test]
fn a_log_that_was_not_folded_in_is_read() {
    let draft = Draft::new();
    draft.run("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;");
    draft.uploaded_photo(1);
    let copies = tempfile::tempdir().unwrap();
    for name in ["Photos.sqlite", "Photos.sqlite-wal"] {
        std::fs::copy(draft.dir.path().join(name), copies.path().join(name)).unwrap();
    }
    let library = crate::library::read_database(copies.path()).unwrap();
    assert_eq!(library.counts.assets, Some(1));
}

#[test]
fn a_library_comes_out_of_a_backup() {
    let draft = Draft::new();
    draft.run("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;");
    draft.uploaded_photo(1);
    let from = draft.dir.path().to_owned();
    let mut asked = Vec::new();
    let copies = tempfile::tempdir().unwrap();
    let library = crate::library::from_backup(copies.path(), |path| {
        asked.push(path.to_owned());
        std::fs::File::open(from.join(path.strip_prefix("PhotoData/").unwrap())).map(Some)
    })
    .unwrap();
    assert_eq!(library.counts.assets, Some(1));
    assert_eq!(asked, ["PhotoData/Photos.sqlite", "PhotoData/Photos.sqlite-wal"]);
    let none = crate::library::from_backup(copies.path(), |_| Ok(None::<&[u8]>));
    assert!(matches!(none, Err(crate::library::Unreadable::Missing(_))));
}
