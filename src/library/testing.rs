//! Little libraries for tests, in the columns that matter of the real schema.

use std::path::Path;

use rusqlite::Connection;

use super::{DATABASE_NAME, Unreadable, read_database};
use crate::facts::{Asset, Library};

/// The tables as iOS 15 and later have them.
pub(super) const SCHEMA: &str = "
    CREATE TABLE Z_METADATA (Z_VERSION INTEGER PRIMARY KEY, Z_UUID VARCHAR(255), Z_PLIST BLOB);
    CREATE TABLE ZASSET (Z_PK INTEGER PRIMARY KEY, ZUUID VARCHAR, ZDIRECTORY VARCHAR, ZFILENAME VARCHAR,
        ZKIND INTEGER, ZKINDSUBTYPE INTEGER, ZDATECREATED TIMESTAMP, ZADDEDDATE TIMESTAMP, ZTRASHEDSTATE INTEGER,
        ZTRASHEDDATE TIMESTAMP, ZHIDDEN INTEGER, ZFAVORITE INTEGER, ZVISIBILITYSTATE INTEGER,
        ZSAVEDASSETTYPE INTEGER, ZBUNDLESCOPE INTEGER, ZCLOUDLOCALSTATE INTEGER, ZMASTER INTEGER,
        ZADDITIONALATTRIBUTES INTEGER, ZAVALANCHEPICKTYPE INTEGER, ZAVALANCHEUUID VARCHAR);
    CREATE TABLE ZCLOUDMASTER (Z_PK INTEGER PRIMARY KEY, ZCLOUDLOCALSTATE INTEGER);
    CREATE TABLE ZADDITIONALASSETATTRIBUTES (Z_PK INTEGER PRIMARY KEY, ZORIGINALFILENAME VARCHAR,
        ZORIGINALFILESIZE INTEGER);
    CREATE TABLE ZINTERNALRESOURCE (Z_PK INTEGER PRIMARY KEY, ZASSET INTEGER, ZDATASTORECLASSID INTEGER,
        ZDATASTORESUBTYPE INTEGER, ZDATALENGTH INTEGER, ZLOCALAVAILABILITY INTEGER, ZREMOTEAVAILABILITY INTEGER,
        ZCLOUDLOCALSTATE INTEGER);";

/// A library that is being made in a folder of its own.
pub(super) struct Draft {
    pub(super) dir: tempfile::TempDir,
    pub(super) connection: Connection,
}

impl Draft {
    /// An empty library in the usual schema.
    pub(super) fn new() -> Self {
        let draft = Self::without_schema();
        draft.run(SCHEMA);
        draft
    }

    /// An empty database.
    pub(super) fn without_schema() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let connection = Connection::open(dir.path().join(DATABASE_NAME)).unwrap();
        Self { dir, connection }
    }

    pub(super) fn run(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap();
    }

    /// A photo `IMG_<key>.HEIC` that is here and in iCloud.
    pub(super) fn uploaded_photo(&self, key: i64) {
        self.run(&format!(
            "INSERT INTO ZCLOUDMASTER VALUES ({key}, 3);
             INSERT INTO ZADDITIONALASSETATTRIBUTES VALUES ({key}, 'IMG_{key}.HEIC', 1000);
             INSERT INTO ZASSET (Z_PK, ZUUID, ZDIRECTORY, ZFILENAME, ZKIND, ZKINDSUBTYPE, ZDATECREATED, ZADDEDDATE,
                ZTRASHEDSTATE, ZHIDDEN, ZFAVORITE, ZVISIBILITYSTATE, ZSAVEDASSETTYPE, ZBUNDLESCOPE, ZCLOUDLOCALSTATE,
                ZMASTER, ZADDITIONALATTRIBUTES, ZAVALANCHEPICKTYPE)
             VALUES ({key}, 'UUID-{key}', 'DCIM/100APPLE', 'IMG_{key}.HEIC', 0, 0, 700000000.5, 700000001, 0, 0, 0, 0,
                3, 0, 1, {key}, {key}, 0);
             INSERT INTO ZINTERNALRESOURCE (ZASSET, ZDATASTORECLASSID, ZDATASTORESUBTYPE, ZDATALENGTH,
                ZLOCALAVAILABILITY, ZREMOTEAVAILABILITY, ZCLOUDLOCALSTATE)
             VALUES ({key}, 0, 1, 2000, 1, 1, 3);"
        ));
    }

    /// Reads the library in its folder.
    pub(super) fn read(self) -> Result<Library, Unreadable> {
        drop(self.connection);
        read_database(self.dir.path())
    }
}

/// Bytes as a whole database.
pub(super) fn read_bytes(bytes: &[u8]) -> Result<Library, Unreadable> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(DATABASE_NAME), bytes).unwrap();
    read_database(dir.path())
}

/// The bytes of the database in `dir`.
pub(super) fn bytes_of(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join(DATABASE_NAME)).unwrap()
}

/// The only asset.
pub(super) fn only(library: &Library) -> &Asset {
    let assets = library.assets.as_ref().unwrap();
    assert_eq!(assets.len(), 1);
    &assets[0]
}
