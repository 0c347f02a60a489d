//! One visit of one device, as recorded: a row in `DEST/idevice-fix.db` with its steps and what the owner accepted,
//! and a folder `DEST/<udid>/jobs/<job>/` with what was found.
//!
//! Knows SQLite and the layout of DEST. It does not know what a visit does, and it judges nothing: the visit hands it
//! texts and numbers. Everything is private to the user (folders 0700, files 0600).

mod folder;
mod row;
mod schema;
#[cfg(test)]
mod tests;

pub use folder::{FolderError, by_name};
pub use row::{Ending, Row, Step};

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use cap_std::fs::Dir;
use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::facts;
use crate::usbmux::Udid;

/// The name of the record below DEST.
pub const RECORD_NAME: &str = "idevice-fix.db";

/// Why the record could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is not to be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// SQLite says no.
    #[error("the record {RECORD_NAME} could not be {doing}: {source}")]
    Record {
        /// What was tried: `read`, `written`, `opened`.
        doing: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The record was written by a newer idevice-fix.
    #[error(
        "the record {RECORD_NAME} was written by a newer idevice-fix (its layout is {found}, this one knows {known})"
    )]
    Newer {
        /// The layout found.
        found: i64,
        /// The newest layout that this program knows.
        known: i64,
    },
}

impl Error {
    /// The disk is full: the one trouble here that has its own remedy.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Error::Folder(error) => error.is_disk_full(),
            Error::Record { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Error::Newer { .. } => false,
        }
    }
}

/// Maps SQLite's errors, naming what was tried.
fn while_doing(doing: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |source| Error::Record { doing, source }
}

/// All recorded visits of one DEST.
#[derive(Debug, Clone)]
pub struct Jobs {
    dest: PathBuf,
    connection: Arc<Mutex<Connection>>,
}

impl Jobs {
    /// The record below `dest`; folder and record are made if they are not there.
    ///
    /// # Errors
    /// When the folder or the record cannot be made or opened, or a newer program wrote it.
    pub fn open(dest: &Path) -> Result<Self, Error> {
        folder::make_private(dest)?;
        let path = dest.join(RECORD_NAME);
        folder::make_private_file(&path)?;
        let mut connection = Connection::open(&path).map_err(while_doing("opened"))?;
        schema::prepare(&mut connection)?;
        Ok(Self { dest: dest.to_owned(), connection: Arc::new(Mutex::new(connection)) })
    }

    /// The record below `dest` if there is one; makes nothing.
    ///
    /// # Errors
    /// As [`Jobs::open`].
    pub fn open_existing(dest: &Path) -> Result<Option<Self>, Error> {
        if dest.join(RECORD_NAME).is_file() { Self::open(dest).map(Some) } else { Ok(None) }
    }

    /// Begins a visit: its folder, its row, and the link under `by-name`.
    ///
    /// # Errors
    /// When the folder or the row cannot be written.
    pub fn begin(
        &self,
        udid: &Udid,
        device: &facts::Device,
        command: &str,
        simulated: bool,
    ) -> Result<Job, Error> {
        let began_at = Timestamp::now();
        let mut connection = self.lock();
        // Two phones may be plugged in in the same second, also before two programs.
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(while_doing("written"))?;
        let taken = |id: &str| {
            let found = transaction.query_row("SELECT 1 FROM jobs WHERE job = ?1", [id], |_| Ok(()));
            !matches!(found, Err(rusqlite::Error::QueryReturnedNoRows))
        };
        let (id, folder) = folder::make_job(&self.dest, udid, began_at, taken)?;
        let row = params![
            id,
            udid.as_str(),
            device.name,
            device.product_type,
            device.ios_version,
            command,
            simulated,
            began_at.to_string()
        ];
        transaction
            .execute(
                "INSERT INTO jobs(job, udid, device_name, product_type, ios_version, command, simulated, began_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                row,
            )
            .and_then(|_| transaction.commit())
            .map_err(while_doing("written"))?;
        drop(connection);
        folder::link_by_name(&self.dest, udid, device.name.as_deref())?;
        let path = folder::job_path(&self.dest, udid, &id);
        Ok(Job { id, path, folder, connection: Arc::clone(&self.connection) })
    }

    /// The visits by this command that have not ended, oldest first, without their steps.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn open_visits(&self, command: &str) -> Result<Vec<Row>, Error> {
        schema::open_rows(&self.lock(), command).map_err(while_doing("read"))
    }

    /// Goes on with a visit that has not ended.
    ///
    /// # Errors
    /// When its folder cannot be opened, or the row names none.
    pub fn take_up(&self, row: &Row) -> Result<Job, Error> {
        let folder = folder::open_job(&self.dest, &row.udid, &row.job)?;
        let path = self.dest.join(&row.udid).join("jobs").join(&row.job);
        Ok(Job { id: row.job.clone(), path, folder, connection: Arc::clone(&self.connection) })
    }

    /// Every visit, newest first.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn list(&self) -> Result<Vec<Row>, Error> {
        let connection = self.lock();
        let mut rows = schema::rows(&connection).map_err(while_doing("read"))?;
        for row in &mut rows {
            row.steps = schema::steps(&connection, &row.job).map_err(while_doing("read"))?;
        }
        Ok(rows)
    }

    /// The visit with this id, or the newest that has a report.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn find(&self, id: Option<&str>) -> Result<Option<Row>, Error> {
        let rows = self.list()?;
        Ok(match id {
            Some(id) => rows.into_iter().find(|row| row.job == id),
            None => rows.into_iter().find(|row| self.read(row, "report.json").is_ok()),
        })
    }

    /// A file out of a visit's folder.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn read(&self, row: &Row, name: &str) -> Result<Vec<u8>, Error> {
        Ok(folder::read(&self.dest, &row.udid, &row.job, name)?)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().expect("no holder of this lock panics")
    }
}

/// A visit that is under way.
#[derive(Debug)]
pub struct Job {
    id: String,
    path: PathBuf,
    folder: Dir,
    connection: Arc<Mutex<Connection>>,
}

impl Job {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its folder, as a path for people.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A step begins.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn step_began(&self, name: &str) -> Result<(), Error> {
        self.execute(
            "INSERT INTO steps(job, number, name, began_at)
             VALUES (?1, (SELECT COALESCE(MAX(number), 0) + 1 FROM steps WHERE job = ?1), ?2, ?3)",
            params![self.id, name, Timestamp::now().to_string()],
        )
    }

    /// The newest step of this name ended.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn step_ended(&self, name: &str, outcome: &str) -> Result<(), Error> {
        self.execute(
            "UPDATE steps SET ended_at = ?3, outcome = ?4
             WHERE job = ?1 AND number = (SELECT MAX(number) FROM steps WHERE job = ?1 AND name = ?2)",
            params![self.id, name, Timestamp::now().to_string(), outcome],
        )
    }

    /// The owner accepted something by name, with the text that they were shown.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn accepted(&self, name: &str, text: &str) -> Result<(), Error> {
        self.execute(
            "INSERT INTO accepted(job, name, text, at) VALUES (?1, ?2, ?3, ?4)",
            params![self.id, name, text, Timestamp::now().to_string()],
        )
    }

    /// The visit ended.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn ended(&self, ending: &Ending) -> Result<(), Error> {
        self.execute(
            "UPDATE jobs SET ended_at = ?2, exit_status = ?3, sentence = ?4, photos_verdict = ?5 WHERE job = ?1",
            params![
                self.id,
                Timestamp::now().to_string(),
                ending.exit_status,
                ending.sentence,
                ending.photos_verdict
            ],
        )
    }

    /// All that was to be done is done, and the phone is still there: as [`Job::ended`], but the visit stays open.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn settled(&self, ending: &Ending) -> Result<(), Error> {
        self.execute(
            "UPDATE jobs SET exit_status = ?2, sentence = ?3, photos_verdict = COALESCE(?4, photos_verdict)
             WHERE job = ?1",
            params![self.id, ending.exit_status, ending.sentence, ending.photos_verdict],
        )
    }

    /// The phone is gone since `at`, and with it the visit. What was settled stands; a visit that was not gets `ending`.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn left(&self, at: Timestamp, ending: &Ending) -> Result<(), Error> {
        self.execute(
            "UPDATE jobs SET ended_at = ?2, sentence = CASE WHEN exit_status IS NULL THEN ?4 ELSE sentence END,
                 exit_status = COALESCE(exit_status, ?3)
             WHERE job = ?1 AND ended_at IS NULL",
            params![self.id, at.to_string(), ending.exit_status, ending.sentence],
        )
    }

    /// The phone is plugged into this port.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn at_port(&self, port: &str) -> Result<(), Error> {
        self.execute("UPDATE jobs SET port = ?2 WHERE job = ?1", params![self.id, port])
    }

    /// Keeps a file in the visit's folder, replacing it in one step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        Ok(folder::keep(&self.folder, name, content)?)
    }

    /// Adds a line to the visit's log; control characters in it are defused.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn log(&self, line: &str) -> Result<(), Error> {
        Ok(folder::log(&self.folder, Timestamp::now(), line)?)
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<(), Error> {
        let connection = self.connection.lock().expect("no holder of this lock panics");
        connection.execute(sql, values).map(drop).map_err(while_doing("written"))
    }
}
