//! The record's tables and how an older layout becomes the present one.

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Row as SqlRow};

use super::{Error, Row, Step, while_doing};

/// Each entry takes the layout one further; `user_version` counts how many have been applied.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE jobs (
        job TEXT PRIMARY KEY,
        udid TEXT NOT NULL,
        device_name TEXT,
        product_type TEXT,
        ios_version TEXT,
        command TEXT NOT NULL,
        simulated INTEGER NOT NULL,
        began_at TEXT NOT NULL,
        ended_at TEXT,
        exit_status INTEGER,
        sentence TEXT,
        photos_verdict TEXT
    ) STRICT;
    CREATE INDEX jobs_by_phone ON jobs(udid, began_at);
    CREATE TABLE steps (
        job TEXT NOT NULL REFERENCES jobs(job),
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        began_at TEXT NOT NULL,
        ended_at TEXT,
        outcome TEXT,
        PRIMARY KEY (job, number)
    ) STRICT;
    CREATE TABLE accepted (
        job TEXT NOT NULL REFERENCES jobs(job),
        name TEXT NOT NULL,
        text TEXT NOT NULL,
        at TEXT NOT NULL
    ) STRICT;
",
    "ALTER TABLE jobs ADD COLUMN port TEXT;",
];

/// How long another program that writes the record is waited for.
const BUSY_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// Sets the connection up and brings the layout up to date, in one transaction.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), Error> {
    let opened = while_doing("opened");
    connection.busy_timeout(BUSY_WAIT).map_err(&opened)?;
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))
        .map_err(&opened)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(&opened)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(&opened)?;
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(&opened)?;
    let found: i64 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(&opened)?;
    let known = i64::try_from(MIGRATIONS.len()).expect("a handful of migrations");
    if found > known {
        return Err(Error::Newer { found, known });
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration).map_err(&opened)?;
    }
    transaction.pragma_update(None, "user_version", known).map_err(&opened)?;
    transaction.commit().map_err(&opened)
}

/// Something that one row of a table is.
pub(super) trait FromRow: Sized {
    /// Reads it.
    fn from_row(row: &SqlRow<'_>) -> rusqlite::Result<Self>;
}

/// Every visit, newest first, without steps.
pub(super) fn rows(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    connection
        .prepare("SELECT * FROM jobs ORDER BY began_at DESC, job DESC")?
        .query_map([], Row::from_row)?
        .collect()
}

/// The visits by this command that have not ended, oldest first, without steps.
pub(super) fn open_rows(connection: &Connection, command: &str) -> rusqlite::Result<Vec<Row>> {
    connection
        .prepare("SELECT * FROM jobs WHERE command = ?1 AND ended_at IS NULL ORDER BY began_at, job")?
        .query_map([command], Row::from_row)?
        .collect()
}

/// The steps of a visit, in order.
pub(super) fn steps(connection: &Connection, job: &str) -> rusqlite::Result<Vec<Step>> {
    connection
        .prepare("SELECT name, began_at, ended_at, outcome FROM steps WHERE job = ?1 ORDER BY number")?
        .query_map([job], |row| {
            Ok(Step {
                name: row.get("name")?,
                began_at: time(row, "began_at")?,
                ended_at: optional_time(row, "ended_at")?,
                outcome: row.get("outcome")?,
            })
        })?
        .collect()
}

/// A time that must be there.
pub(super) fn time(row: &SqlRow<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get::<_, String>(column)?
        .parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

/// A time that may be missing.
pub(super) fn optional_time(row: &SqlRow<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    match row.get::<_, Option<String>>(column)? {
        None => Ok(None),
        Some(_) => time(row, column).map(Some),
    }
}
