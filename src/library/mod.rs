//! The phone's photo library, `PhotoData/Photos.sqlite`, and the files of its iCloud Photos engine, as facts.
//!
//! Knows no device and no network: it is handed copies (a folder, or bytes) and gives back values from
//! [`crate::facts`]. It must not decide what a value means for the owner; that is the judgement's.
//!
//! Everything here is untrusted. A phone, or somebody who wrote to its media folder over the cable, chooses every byte
//! of these files, the schema of the databases included. What cannot be read is an [`Unreadable`] with its reason.
//!
//! The database is Apple's Core Data model of the Photos app; no description is published. Column meanings follow
//! what the osxphotos and iLEAPP projects found, checked on real libraries of the models of iOS 13 to 26. Columns are
//! chosen by what exists, never by a version number.

mod accounts;
mod albums;
mod asset;
mod cells;
pub mod census;
mod counts;
pub mod cpl;
mod engine_store;
mod rows;
mod schema;
mod unknown;
mod untrusted;

pub use accounts::{ACCOUNTS_NAME, apple_account, data_classes};
pub use engine_store::{STORE_FOLDER, STORE_NAME, read_backlog};

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::facts::Library;
use untrusted::Untrusted;

/// The database's name in the folder that [`read_database`] is given.
pub const DATABASE_NAME: &str = "Photos.sqlite";
/// Its write-ahead log, beside it. The shared-memory file (`-shm`) is never copied: SQLite makes its own.
pub const WAL_NAME: &str = "Photos.sqlite-wal";
/// Where both are below the media root.
pub const FOLDER: &str = "PhotoData";
/// The longest database or log that is taken off a phone, in bytes. A library of a million photos has about 4 GiB.
pub const FILE_BYTES_MAX: u64 = 16 << 30;

/// Why a library or an engine's file could not be read. The texts are made harmless and can be shown.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file is not there.
    #[error("{0} is not there")]
    Missing(String),
    /// The copy on this computer could not be read or written.
    #[error("the copy of {file} could not be used on this computer: {source}")]
    Io {
        /// Which file.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// Something else, or encrypted.
    #[error("{0} is no SQLite database (or it is encrypted)")]
    NotADatabase(String),
    /// The structure is broken: often a database and a log from different moments.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// Which file.
        file: String,
        /// What was found.
        what: String,
    },
    /// It has none of the tables that are wanted: a newer system, or no photo library at all.
    #[error("{file} has no table {table}")]
    NoTable {
        /// Which file.
        file: String,
        /// The table.
        table: String,
    },
    /// Not what any phone writes: a view in place of a table, a column that is computed.
    #[error("{file} is not what a phone writes: {what}")]
    Strange {
        /// Which file.
        file: String,
        /// What is strange.
        what: String,
    },
    /// More rows or longer texts than any library has.
    #[error("{file} is too large: {what}")]
    TooLarge {
        /// Which file.
        file: String,
        /// What there is too much of.
        what: String,
    },
    /// Reading took longer than allowed.
    #[error("reading {file} was stopped after {seconds} seconds")]
    TooSlow {
        /// Which file.
        file: String,
        /// The limit.
        seconds: u64,
    },
    /// SQLite refused for a reason of its own.
    #[error("{file} could not be queried: {what}")]
    Sqlite {
        /// Which file.
        file: String,
        /// SQLite's words.
        what: String,
    },
    /// A property list that is none.
    #[error("{file}: {what}")]
    PropertyList {
        /// Which file.
        file: String,
        /// What is wrong.
        what: String,
    },
}

/// Reads the library from `dir`, which holds `Photos.sqlite` and, if there is one, `Photos.sqlite-wal`.
///
/// `dir` must be a private, writable folder with **copies** that belong to this call: SQLite replays the log into the
/// database. Blocks for up to two minutes; call it off the runtime's own threads.
///
/// # Errors
/// Any [`Unreadable`]. A column that is missing is none: the counts that need it are `None` and `gaps` says why.
pub fn read_database(dir: &Path) -> Result<Library, Unreadable> {
    let database = Untrusted::open_and_check_beside(dir, DATABASE_NAME)?;
    let read = read_unchecked(&database);
    // A broken structure explains whatever else went wrong.
    database.checked()?;
    read
}

/// What the database says; it counts when its structure is found to be whole.
fn read_unchecked(database: &Untrusted) -> Result<Library, Unreadable> {
    let schema = schema::Schema::discover(database)?;
    let mut read = rows::read(database, &schema)?;
    let mut library = Library { model_version: schema::model_version(database), ..Library::default() };
    library.gaps = schema.gaps();
    library.gaps.append(&mut read.gaps);
    library.unknown_states = read.unknown.into_lines();
    library.albums = read.albums;
    counts::fill(&mut library, &schema, &read.assets);
    library.assets = Some(read.assets);
    Ok(library)
}

/// Reads the library from inside a backup. `open` gives the content of a file below the media root (`Ok(None)`: the
/// backup does not hold it), already decrypted; the copies are made in `dir`, a private folder that belongs to this
/// call.
///
/// # Errors
/// As [`read_database`]; [`Unreadable::Missing`] when the backup does not hold the database.
pub fn from_backup<R: Read>(
    dir: &Path,
    mut open: impl FnMut(&str) -> io::Result<Option<R>>,
) -> Result<Library, Unreadable> {
    for name in [DATABASE_NAME, WAL_NAME] {
        let failed = |source| Unreadable::Io { file: name.to_owned(), source };
        match open(&format!("{FOLDER}/{name}")).map_err(failed)? {
            Some(content) => copy_bounded(content, &dir.join(name), FILE_BYTES_MAX).map_err(failed)?,
            None if name == DATABASE_NAME => return Err(Unreadable::Missing(format!("{FOLDER}/{name}"))),
            None => {}
        }
    }
    read_database(dir)
}

fn copy_bounded(content: impl Read, to: &Path, bytes_max: u64) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let copied = io::copy(&mut content.take(bytes_max + 1), &mut file)?;
    if copied > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
