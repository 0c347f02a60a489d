//! The records inside a backup: `Status.plist`, `Manifest.plist`, `Manifest.db`.
//!
//! All of them come from a phone or an old disk and are read as untrusted: property lists are bounded before they are
//! parsed, the database is opened immutable, without trust in its schema, with limits, and is checked before it is
//! asked. Opening never changes a byte of it.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions};
use jiff::Timestamp;
use plist::Dictionary;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::Secret;
use super::cipher::{Decrypting, Padding};
use super::keybag::{self, Keybag, Keys};
use crate::frame::{self, DictExt, Limits};

pub(super) mod clear;

pub use clear::unlinked;

/// Longest property list of a backup that is read.
const PLIST_BYTES_MAX: u64 = 128 << 20;
/// Largest value that the database may hold.
const VALUE_BYTES_MAX: i32 = 4 << 20;
/// Smallest page of a database.
const PAGE_BYTES_MIN: u64 = 512;

/// Why a record cannot be used; the text is for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there or cannot be read.
    #[error("{file} cannot be read: {source}")]
    Io {
        /// Which.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// Which.
        file: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The password does not open the backup.
    #[error("the backup password is wrong")]
    WrongPassword,
}

fn damaged(file: &'static str, what: impl Into<Box<dyn std::error::Error>>) -> Error {
    Error::Damaged { file, what: what.into().to_string() }
}

/// Opens a regular file of a backup without following a link.
///
/// # Errors
/// Any I/O error; anything but a regular file is one.
pub fn open_plain(dir: &Dir, path: &str) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No);
    let file = dir.open_with(path, &options)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no regular file"));
    }
    Ok(file.into_std())
}

/// Reads a property list of a backup.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`].
pub fn read_plist(dir: &Dir, file: &'static str) -> Result<Dictionary, Error> {
    let mut bytes = Vec::new();
    let read =
        open_plain(dir, file).and_then(|opened| opened.take(PLIST_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|source| Error::Io { file, source })?;
    if bytes.is_empty() {
        return Err(damaged(file, "it is empty"));
    }
    let value = frame::parse(&bytes, &Limits::FILE).map_err(|error| damaged(file, error))?;
    value.into_dictionary().ok_or_else(|| damaged(file, "it is no dictionary"))
}

/// What `Status.plist` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `finished`, or how far the phone was.
    pub state: String,
    /// When the backup was made, by the phone's clock.
    pub date: Option<Timestamp>,
    /// The phone sent everything, not only what had changed.
    pub full: bool,
}

impl Status {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn read(dir: &Dir) -> Result<Self, Error> {
        const FILE: &str = "Status.plist";
        let status = read_plist(dir, FILE)?;
        let state = status.string("SnapshotState").ok_or_else(|| damaged(FILE, "it has no SnapshotState"))?;
        Ok(Self {
            state: state.to_owned(),
            date: status.date("Date"),
            full: status.boolean("IsFullBackup").unwrap_or(false),
        })
    }

    /// The phone finished it.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.state == "finished"
    }
}

/// What `Manifest.plist` says.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The backup's files are encrypted.
    pub encrypted: bool,
    /// When the backup was made, by the phone's clock.
    pub date: Option<Timestamp>,
    /// The phone's own lockdown values at that time.
    pub lockdown: Dictionary,
    keybag: Option<Keybag>,
    database_key: Option<Vec<u8>>,
}

impl Manifest {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`]: also a keybag that cannot be read, where the backup is encrypted.
    pub fn read(dir: &Dir) -> Result<Self, Error> {
        const FILE: &str = "Manifest.plist";
        let manifest = read_plist(dir, FILE)?;
        let encrypted =
            manifest.boolean("IsEncrypted").ok_or_else(|| damaged(FILE, "it has no IsEncrypted"))?;
        let keybag = match manifest.data("BackupKeyBag").filter(|_| encrypted) {
            Some(bag) => Some(Keybag::parse(bag).map_err(|error| damaged(FILE, error))?),
            None if encrypted => return Err(damaged(FILE, "it has no keybag")),
            None => None,
        };
        let database_key = manifest.data("ManifestKey").map(<[u8]>::to_vec);
        let lockdown = manifest.dict("Lockdown").cloned().unwrap_or_default();
        Ok(Self { encrypted, date: manifest.date("Date"), lockdown, keybag, database_key })
    }

    /// The class keys of an encrypted backup; takes seconds. `None`: it is plain.
    ///
    /// # Errors
    /// [`Error::WrongPassword`], [`Error::Damaged`].
    pub fn unlock(&self, password: &Secret) -> Result<Option<Keys>, Error> {
        let unlocked = self.keybag.as_ref().map(|bag| bag.unlock(password)).transpose();
        unlocked.map_err(|error| match error {
            keybag::Error::WrongPassword => Error::WrongPassword,
            keybag::Error::Damaged(_) => damaged("Manifest.plist", error),
        })
    }

    /// Opens the database. Of an encrypted one a decrypted copy is made in an unlinked file that only this process can
    /// read, below `scratch`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn database(&self, dir: &Dir, keys: Option<&Keys>, scratch: &Dir) -> Result<Database, Error> {
        const FILE: &str = "Manifest.db";
        let io = |source| Error::Io { file: FILE, source };
        let file = open_plain(dir, FILE).map_err(io)?;
        let Some(keys) = keys else { return Database::open(file) };
        let wrapped =
            self.database_key.as_deref().ok_or_else(|| damaged("Manifest.plist", "it has no ManifestKey"))?;
        let key = keys.unwrap(wrapped).map_err(|what| damaged("Manifest.plist", what))?;
        let bytes = file.metadata().map_err(io)?.len();
        let source = Decrypting::new(file, &key, Padding::IfThere).map_err(io)?;
        Database::decrypted(source, bytes, scratch)
    }
}

/// Opens the plain database of a backup, as untrusted.
#[cfg(test)]
pub(super) fn open_database(dir: &Dir) -> Result<Database, Error> {
    let file = open_plain(dir, "Manifest.db").map_err(|source| Error::Io { file: "Manifest.db", source })?;
    Database::open(file)
}

/// One row of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name of its file; by the format 40 lower-case hexadecimal digits.
    pub id: String,
    /// Text from the phone.
    pub domain: String,
    /// Text from the phone.
    pub path: String,
    /// 1 file, 2 folder, 4 link.
    pub flags: i64,
    /// Its archive ([`super::mbfile::MbFile`]).
    pub archive: Vec<u8>,
}

impl Row {
    /// It has a file of its own.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.flags == 1
    }

    /// Where its file stands below the backup's folder; `None` if its name is not one by the format, or not the one that
    /// follows from domain and path.
    #[must_use]
    pub fn stored(&self) -> Option<String> {
        (self.id == file_id(&self.domain, &self.path)).then(|| format!("{}/{}", &self.id[..2], self.id))
    }
}

/// The name of a row's file: SHA-1 of domain, hyphen and path.
#[must_use]
pub fn file_id(domain: &str, path: &str) -> String {
    use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
    let mut sha1 = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in [domain, "-", path] {
        sha1.update(part.as_bytes());
    }
    hex::encode(sha1.finish())
}

/// `Manifest.db`, opened as untrusted.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    /// Keeps the file that the connection reads, which may have no name.
    _file: fs::File,
}

impl Database {
    fn open(file: fs::File) -> Result<Self, Error> {
        let connection = connect(&format!("/proc/self/fd/{}", file.as_raw_fd()));
        Self::bounded(connection, file)
    }

    /// Opens what `source` gives, of at most `bytes`. It is nowhere but in a file without a name, which SQLite has open before
    /// it is filled: a process that is killed leaves nothing of it.
    fn decrypted(mut source: impl Read, bytes: u64, scratch: &Dir) -> Result<Self, Error> {
        let io = |source| Error::Io { file: "Manifest.db", source };
        // SQLite counts the pages of an immutable file when it opens it, and padding is no page.
        let pages = bytes - bytes % PAGE_BYTES_MIN;
        let (mut file, connection) = clear::open_while_empty(scratch, pages, connect).map_err(io)?;
        io::copy(&mut source, &mut file).and_then(|_| file.flush()).map_err(io)?;
        Self::bounded(connection, file)
    }

    fn bounded(connection: rusqlite::Result<Connection>, file: fs::File) -> Result<Self, Error> {
        let bound = |connection: Connection| -> rusqlite::Result<Connection> {
            connection.execute_batch(
                "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; PRAGMA query_only=ON;",
            )?;
            connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX)?;
            connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
            connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, 64 * 1024)?;
            connection.set_limit(Limit::SQLITE_LIMIT_VDBE_OP, 100_000)?;
            Ok(connection)
        };
        let connection = connection.and_then(bound).map_err(|error| damaged("Manifest.db", error))?;
        let database = Self { connection, _file: file };
        database.has_files_table()?;
        Ok(database)
    }

    /// `Files` must be a table: a view could say anything.
    fn has_files_table(&self) -> Result<(), Error> {
        let tables = self.connection.query_row(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'Files' AND sql LIKE 'CREATE TABLE%'",
            [],
            |row| row.get::<_, i64>(0),
        );
        match tables {
            Ok(1) => Ok(()),
            Ok(_) => Err(damaged("Manifest.db", "it has no table of files")),
            Err(error) => Err(damaged("Manifest.db", error)),
        }
    }

    /// SQLite's own check of the database's structure.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the first complaint.
    pub fn quick_check(&self) -> Result<(), Error> {
        let first = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        match first {
            Ok(answer) if answer == "ok" => Ok(()),
            Ok(complaint) => Err(damaged("Manifest.db", complaint)),
            Err(error) => Err(damaged("Manifest.db", error)),
        }
    }

    /// Hands over every row in the order of its id, until `take` returns `false`.
    ///
    /// # Errors
    /// [`Error::Damaged`]: also for a row without id, domain or path.
    pub fn rows(&self, mut take: impl FnMut(Row) -> bool) -> Result<(), Error> {
        let ordered = "SELECT fileID, domain, relativePath, flags, file FROM Files ORDER BY fileID";
        self.select(ordered, &[], &mut take)
    }

    /// The row of a file.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn row(&self, domain: &str, path: &str) -> Result<Option<Row>, Error> {
        let mut found = None;
        let one = "SELECT fileID, domain, relativePath, flags, file FROM Files WHERE fileID = ?1";
        let id = file_id(domain, path);
        self.select(one, &[&id], &mut |row| {
            found = Some(row);
            false
        })?;
        Ok(found.filter(|row| row.domain == domain && row.path == path))
    }

    fn select(
        &self,
        sql: &str,
        values: &[&dyn rusqlite::ToSql],
        take: &mut dyn FnMut(Row) -> bool,
    ) -> Result<(), Error> {
        let mut walk = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query(values)?;
            while let Some(row) = rows.next()? {
                let row = Row {
                    id: row.get(0)?,
                    domain: row.get(1)?,
                    path: row.get(2)?,
                    flags: row.get(3)?,
                    archive: row.get::<_, Option<Vec<u8>>>(4)?.unwrap_or_default(),
                };
                if !take(row) {
                    break;
                }
            }
            Ok(())
        };
        walk().map_err(|error| damaged("Manifest.db", error))
    }
}

/// Has SQLite open a file. It reads nothing of it yet.
fn connect(path: &str) -> rusqlite::Result<Connection> {
    // Immutable: SQLite takes no locks, looks for no journal beside it, and writes nothing.
    let uri = format!("file:{}?immutable=1", escaped(path));
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, flags)
}

/// A path as it stands in a URI of SQLite.
fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_is_the_known_one() {
        assert_eq!(file_id("HomeDomain", "Library/SMS/sms.db"), "3d0d7e5fb2ce288813306e4d4636395e047a3d28");
    }

    #[test]
    fn a_decrypted_copy_is_read_whatever_its_pages_and_has_no_name() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        dir.create_dir("odd ?#%41").unwrap();
        let scratch = dir.open_dir("odd ?#%41").unwrap();
        for (page, mode) in [(512, "delete"), (1024, "wal"), (4096, "delete"), (4096, "wal"), (65_536, "wal")]
        {
            let path = temp.path().join(format!("{page}-{mode}.db"));
            let made = Connection::open(&path).unwrap();
            made.execute_batch(&format!(
                "PRAGMA page_size={page}; PRAGMA journal_mode={mode};
                 CREATE TABLE Files (fileID TEXT PRIMARY KEY, domain TEXT, relativePath TEXT, flags INTEGER, file BLOB);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                 INSERT INTO Files SELECT printf('%040x', i), 'HomeDomain', 'x' || i, 1, zeroblob(100) FROM n;"
            ))
            .unwrap();
            made.close().unwrap();
            let plain = fs::read(&path).unwrap();
            // An encrypted one is longer by its padding, which may be there or not.
            for padding in [0, 16] {
                let bytes = plain.len() as u64 + padding;
                let database = Database::decrypted(&plain[..], bytes, &scratch).unwrap();
                assert_eq!(scratch.entries().unwrap().count(), 0);
                database.quick_check().unwrap();
                let mut rows = 0;
                database
                    .rows(|_| {
                        rows += 1;
                        true
                    })
                    .unwrap();
                assert_eq!(rows, 3000, "{page} {mode} {padding}");
            }
            let cut = Database::decrypted(&plain[..plain.len() / 2], plain.len() as u64, &scratch);
            assert!(cut.and_then(|database| database.quick_check()).is_err(), "{page} {mode}");
        }
        assert!(matches!(Database::decrypted(&[1; 4096][..], 4096, &scratch), Err(Error::Damaged { .. })));
        assert!(matches!(Database::decrypted(&[][..], 0, &scratch), Err(Error::Damaged { .. })));
    }

    fn database(sql: &str) -> Result<Database, Error> {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("Manifest.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        Database::open(fs::File::open(path).unwrap())
    }

    #[test]
    fn a_view_in_the_tables_place_is_refused() {
        let table = "CREATE TABLE Files (fileID TEXT PRIMARY KEY, domain TEXT, relativePath TEXT, flags INTEGER, file BLOB);";
        assert!(database(table).is_ok());
        assert!(database("CREATE TABLE x (a); CREATE VIEW Files AS SELECT * FROM x;").is_err());
        assert!(database("CREATE TABLE other (a);").is_err());
    }

    #[test]
    fn rows_with_holes_are_damage() {
        let table = "CREATE TABLE Files (fileID TEXT PRIMARY KEY, domain TEXT, relativePath TEXT, flags INTEGER, file BLOB);";
        let holes =
            database(&format!("{table} INSERT INTO Files VALUES (NULL, 'a', 'b', 1, x'00');")).unwrap();
        assert!(holes.quick_check().is_ok());
        assert!(matches!(holes.rows(|_| true), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_file_that_is_no_database_is_damage() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("x");
        for content in [&b""[..], b"no database", &[0; 4096]] {
            fs::write(&path, content).unwrap();
            assert!(matches!(Database::open(fs::File::open(&path).unwrap()), Err(Error::Damaged { .. })));
        }
    }
}
