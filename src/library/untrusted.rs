//! A SQLite database in which nothing is believed: neither its bytes, nor its schema, nor how long a query takes.
//!
//! SQLite's own advice for databases from elsewhere ("Defense Against The Dark Arts", sqlite.org/security.html) is
//! followed: defensive and untrusted-schema modes, views and triggers off, tight limits, cell sizes checked, a check
//! of the structure first, a progress handler with a deadline, no memory mapping. On top of it an authorizer lets
//! through nothing but reads of the tables that were found to be plain tables.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::Unreadable;
use super::cells::Cells;
use crate::facts::text::plain;

/// How long everything that is asked of one database may take.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Steps of SQLite's machine between two looks at the clock.
const STEPS_BETWEEN_CHECKS: i32 = 20_000;
/// Memory that SQLite may take in the whole process, in bytes. A plain scan needs a few MiB; only a schema made to
/// hurt needs more.
const HEAP_BYTES_MAX: i64 = 512 << 20;
/// Pages that a connection keeps, in KiB: a scan needs each page once.
const CACHE_KIB: u32 = 1024;
/// SQLite's own way to a file on Unix, without locks.
const UNLOCKED: &str = "unix-none";
/// Limits of SQLite. Core Data's own schemas need less than a tenth of each.
const LIMITS: &[(Limit, i32)] = &[
    (Limit::SQLITE_LIMIT_LENGTH, 64 << 20),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 20),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 3),
    (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 32),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 10),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// A database that was opened, checked and fenced in.
pub(super) struct Untrusted {
    connection: Connection,
    file: String,
    /// Tables that may be read, in lower case.
    readable: Arc<Mutex<BTreeSet<String>>>,
    out_of_time: Arc<AtomicBool>,
    /// Where checks are made meanwhile; without it each is made before its table is read.
    beside: Option<Beside>,
}

/// Tables are checked on a thread of its own, with a connection of its own.
struct Beside {
    ask: mpsc::Sender<String>,
    checking: JoinHandle<Result<(), Unreadable>>,
}

impl Beside {
    /// Waits for what was asked until now.
    fn verdict(self) -> Result<(), Unreadable> {
        drop(self.ask);
        self.checking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// A plain table and its plain columns.
#[derive(Debug, Clone)]
pub(super) struct Table {
    name: String,
    columns: BTreeSet<String>,
    computed: BTreeSet<String>,
}

impl Table {
    /// It has the column, as a plain one.
    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.contains(column)
    }

    /// Its plain columns, by name.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str)
    }
}

impl Untrusted {
    /// As [`Self::open`], for a database whose checks take seconds: they are made beside the reading. What was read
    /// counts only when [`Self::checked`] has said so.
    pub(super) fn open_and_check_beside(dir: &Path, name: &str) -> Result<Self, Unreadable> {
        let (ask, asked) = mpsc::channel::<String>();
        let (folder, file) = (dir.to_owned(), name.to_owned());
        // Each of both plays the log back, which takes its time: at the same time.
        let checking = std::thread::Builder::new()
            .name("library-check".to_owned())
            .spawn(move || {
                let checker = Self::open(&folder, &file)?;
                asked.iter().try_for_each(|table| checker.check_now(&table))
            })
            .map_err(|source| Unreadable::Io { file: name.to_owned(), source })?;
        let beside = Beside { ask, checking };
        match Self::open(dir, name) {
            Ok(database) => Ok(Self { beside: Some(beside), ..database }),
            Err(error) => {
                beside.verdict()?;
                Err(error)
            }
        }
    }

    /// Waits for the checks that are made beside the reading.
    pub(super) fn checked(self) -> Result<(), Unreadable> {
        self.beside.map_or(Ok(()), Beside::verdict)
    }

    /// Opens `name` in `dir`, which belongs to us, and reads its schema.
    pub(super) fn open(dir: &Path, name: &str) -> Result<Self, Unreadable> {
        Self::open_for(dir, name, TIME_MAX)
    }

    /// As [`Self::open`]; everything that is asked of it may take so long.
    fn open_for(dir: &Path, name: &str, time: Duration) -> Result<Self, Unreadable> {
        let path = dir.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(Unreadable::NotADatabase(name.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Unreadable::Missing(name.to_owned()));
            }
            Err(source) => return Err(Unreadable::Io { file: name.to_owned(), source }),
        }
        remove_companions(dir, name)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NOFOLLOW
            | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let wrong = |error: rusqlite::Error| explain(name, &error, false);
        // The copy is ours and nobody writes to it: without locks two connections may read it.
        let connection = Connection::open_with_flags_and_vfs(&path, flags, UNLOCKED).map_err(wrong)?;
        let mut database = Self {
            connection,
            file: name.to_owned(),
            readable: Arc::default(),
            out_of_time: Arc::default(),
            beside: None,
        };
        database.fence(time).map_err(wrong)?;
        database.load_schema()?;
        Ok(database)
    }

    fn fence(&mut self, time: Duration) -> rusqlite::Result<()> {
        let connection = &mut self.connection;
        for (limit, value) in LIMITS {
            connection.set_limit(*limit, *value)?;
        }
        for (switch, on) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
            (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
            (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
        ] {
            connection.set_db_config(switch, on)?;
        }
        // Exclusive locking keeps the index of the log in memory: no shared-memory file is made or believed.
        connection.execute_batch(&format!(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF;
             PRAGMA cell_size_check=ON; PRAGMA query_only=ON; PRAGMA hard_heap_limit={HEAP_BYTES_MAX};"
        ))?;
        let deadline = Instant::now() + time;
        let out_of_time = Arc::clone(&self.out_of_time);
        connection.progress_handler(
            STEPS_BETWEEN_CHECKS,
            Some(move || {
                let over = Instant::now() >= deadline;
                out_of_time.fetch_or(over, Ordering::Relaxed);
                over
            }),
        )?;
        // It makes SQLite read the schema, which must not be before memory and time are bounded.
        connection.execute_batch(&format!("PRAGMA cache_size=-{CACHE_KIB};"))?;
        let readable = Arc::clone(&self.readable);
        connection.authorizer(Some(move |context: AuthContext<'_>| authorize(&context, &readable)))
    }

    /// Makes SQLite read the header, the log and the schema now.
    fn load_schema(&self) -> Result<(), Unreadable> {
        self.objects_named("").map(drop)
    }

    /// Checks the structure of one table with its indexes. Only what is read is checked: a check of everything would
    /// run the code of virtual tables over their hostile content, and takes seconds on a large library.
    fn check(&self, name: &str) -> Result<(), Unreadable> {
        match &self.beside {
            // Who checks ends early only with an error, which `checked` gives.
            Some(beside) => beside.ask.send(name.to_owned()).or(Ok(())),
            None => self.check_now(name),
        }
    }

    fn check_now(&self, name: &str) -> Result<(), Unreadable> {
        let mut verdict = None;
        self.pragma("quick_check", name, |row| {
            verdict = verdict.take().or(Some(row.get::<_, String>(0)?));
            Ok(())
        })?;
        match verdict.as_deref() {
            Some("ok") => Ok(()),
            other => {
                let what = plain(other.unwrap_or("its check says nothing"));
                Err(Unreadable::Damaged { file: self.file.clone(), what })
            }
        }
    }

    /// The plain table `name`, checked, or `None` when nothing of that name is there.
    ///
    /// SQLite itself refuses a schema whose entry says something else than its SQL, so that the two looks at the
    /// entry decide.
    pub(super) fn table(&self, name: &str) -> Result<Option<Table>, Unreadable> {
        self.table_after(name, Self::check)
    }

    /// As [`Self::table`], for one that is not worth the library: damage in it is told here, and nowhere else.
    pub(super) fn minor_table(&self, name: &str) -> Result<Option<Table>, Unreadable> {
        self.table_after(name, Self::check_now)
    }

    fn table_after(
        &self,
        name: &str,
        check: impl Fn(&Self, &str) -> Result<(), Unreadable>,
    ) -> Result<Option<Table>, Unreadable> {
        let found = self.objects_named(name)?;
        let Some((kind, sql)) = found.first() else { return Ok(None) };
        let head = sql.trim_start().get(..12).unwrap_or_default();
        if found.len() != 1 || kind != "table" || !head.eq_ignore_ascii_case("CREATE TABLE") {
            return Err(self.strange(format!("{name} is no plain table")));
        }
        check(self, name)?;
        let mut table = Table { name: name.to_owned(), columns: BTreeSet::new(), computed: BTreeSet::new() };
        self.pragma("table_xinfo", name, |row| {
            let column: String = row.get("name")?;
            let hidden: i64 = row.get("hidden")?;
            if hidden == 0 {
                table.columns.insert(column)
            } else {
                table.computed.insert(column)
            };
            Ok(())
        })?;
        self.readable.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_ascii_lowercase());
        Ok(Some(table))
    }

    /// The names of all plain tables, up to `most`, as the database has them.
    pub(super) fn table_names(&self, most: usize) -> Result<Vec<String>, Unreadable> {
        let ask = || {
            let mut statement =
                self.connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")?;
            let rows = statement.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?.unwrap_or_default()))
            })?;
            let plain = |sql: &str| {
                let head = sql.trim_start().get(..12).unwrap_or_default();
                head.eq_ignore_ascii_case("CREATE TABLE")
            };
            rows.filter(|row| row.as_ref().map_or(true, |(_, sql)| plain(sql)))
                .map(|row| row.map(|(name, _)| name))
                .take(most)
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        ask().map_err(|error| self.explain(&error))
    }

    /// The names of the columns of a table that was named by [`Self::table_names`].
    pub(super) fn column_names(&self, table: &str) -> Result<Vec<String>, Unreadable> {
        let mut columns = Vec::new();
        self.pragma("table_xinfo", table, |row| {
            columns.push(row.get("name")?);
            Ok(())
        })?;
        Ok(columns)
    }

    /// What the schema table says of `name`: kind and SQL of each entry, in SQLite's own sense of equal names.
    fn objects_named(&self, name: &str) -> Result<Vec<(String, String)>, Unreadable> {
        let ask = || {
            let mut statement = self.connection.prepare(
                "SELECT type, sql FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE AND type <> 'index' LIMIT 2",
            )?;
            let rows = statement.query_map([name], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?.unwrap_or_default()))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        ask().map_err(|error| self.explain(&error))
    }

    fn pragma(
        &self,
        pragma: &str,
        name: &str,
        each: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), Unreadable> {
        self.connection.pragma(None, pragma, name, each).map_err(|error| self.explain(&error))
    }

    /// Every row of `table`, with `columns` in this order; a column that the table does not have reads as null.
    ///
    /// Indexes are not used: they are not checked against their tables, so one could hide rows.
    pub(super) fn scan(
        &self,
        table: &Table,
        columns: &[&str],
        rows_max: usize,
        mut each: impl FnMut(&Cells<'_>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        if let Some(column) = columns.iter().find(|column| table.computed.contains(**column)) {
            return Err(self.strange(format!("{}.{column} is computed", table.name)));
        }
        let chosen: Vec<String> = columns
            .iter()
            .map(|column| if table.has(column) { format!("\"{column}\"") } else { "NULL".to_owned() })
            .collect();
        let chosen = if chosen.is_empty() { "NULL".to_owned() } else { chosen.join(", ") };
        let sql = format!("SELECT {chosen} FROM \"{}\" NOT INDEXED", table.name);
        let mut statement = self.connection.prepare(&sql).map_err(|error| self.explain(&error))?;
        let mut rows = statement.query([]).map_err(|error| self.explain(&error))?;
        let mut seen = 0_usize;
        while let Some(row) = rows.next().map_err(|error| self.explain(&error))? {
            seen += 1;
            if seen > rows_max {
                return Err(self.too_large(format!("more than {rows_max} rows in {}", table.name)));
            }
            each(&Cells::new(row))?;
        }
        Ok(())
    }

    /// This database holds more than any real one.
    pub(super) fn too_large(&self, what: String) -> Unreadable {
        Unreadable::TooLarge { file: self.file.clone(), what }
    }

    /// A table that is wanted is not there.
    pub(super) fn no_table(&self, table: &str) -> Unreadable {
        Unreadable::NoTable { file: self.file.clone(), table: table.to_owned() }
    }

    fn strange(&self, what: String) -> Unreadable {
        Unreadable::Strange { file: self.file.clone(), what }
    }

    fn explain(&self, error: &rusqlite::Error) -> Unreadable {
        explain(&self.file, error, self.out_of_time.load(Ordering::Relaxed))
    }
}

/// Removes what may lie beside the database besides its log: an index of the log from another moment, or a journal
/// that SQLite would play back.
fn remove_companions(dir: &Path, name: &str) -> Result<(), Unreadable> {
    for suffix in ["-shm", "-journal"] {
        match std::fs::remove_file(dir.join(format!("{name}{suffix}"))) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(Unreadable::Io { file: format!("{name}{suffix}"), source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn authorize(context: &AuthContext<'_>, readable: &Mutex<BTreeSet<String>>) -> Authorization {
    let allowed = match context.action {
        AuthAction::Select => true,
        AuthAction::Pragma { pragma_name, .. } => ["quick_check", "table_xinfo"].contains(&pragma_name),
        AuthAction::Read { table_name, .. } if context.accessor.is_none() => {
            ["sqlite_schema", "sqlite_master"].contains(&table_name)
                || readable
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .contains(&table_name.to_ascii_lowercase())
        }
        _ => false,
    };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

fn explain(file: &str, error: &rusqlite::Error, out_of_time: bool) -> Unreadable {
    let file = file.to_owned();
    let what = plain(&error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) if out_of_time => {
            Unreadable::TooSlow { file, seconds: TIME_MAX.as_secs() }
        }
        Some(ErrorCode::NotADatabase) => Unreadable::NotADatabase(file),
        Some(ErrorCode::DatabaseCorrupt) => Unreadable::Damaged { file, what },
        Some(ErrorCode::OutOfMemory | ErrorCode::TooBig) => Unreadable::TooLarge { file, what },
        _ => Unreadable::Sqlite { file, what },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::testing::Draft;

    #[test]
    fn when_the_time_is_over_reading_ends() {
        let draft = Draft::new();
        draft.run(
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 30000)
                INSERT INTO ZCLOUDMASTER SELECT x, 3 FROM c",
        );
        let rows = |time| {
            let database = Untrusted::open_for(draft.dir.path(), super::super::DATABASE_NAME, time)?;
            let table = database.table("ZCLOUDMASTER")?.expect("it was made");
            let mut rows = 0;
            database.scan(&table, &["Z_PK"], usize::MAX, |_| {
                rows += 1;
                Ok(())
            })?;
            Ok(rows)
        };
        assert_eq!(rows(TIME_MAX).unwrap(), 30_000);
        let over: Result<i32, Unreadable> = rows(Duration::ZERO);
        assert!(matches!(over, Err(Unreadable::TooSlow { .. })), "{over:?}");
    }

    #[test]
    fn damage_in_a_minor_table_is_its_own() {
        let draft = Draft::new();
        draft.uploaded_photo(1);
        let file = draft.dir.path().join(super::super::DATABASE_NAME);
        let before = crate::library::read_database(draft.dir.path()).unwrap();
        let database = Connection::open(&file).unwrap();
        let page = |table: &str| -> usize {
            let asked = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
            database.query_row(asked, [table], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
        };
        let page_bytes: usize = database
            .pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))
            .unwrap()
            .try_into()
            .unwrap();
        let (minor, major) = (page("Z_METADATA"), page("ZASSET"));
        drop(database);
        let sound = std::fs::read(&file).unwrap();
        let broken = |page: usize| {
            let mut bytes = sound.clone();
            bytes[(page - 1) * page_bytes..page * page_bytes].fill(0xA5);
            std::fs::write(&file, bytes).unwrap();
            crate::library::read_database(draft.dir.path())
        };
        assert_eq!(broken(minor).unwrap().counts, before.counts);
        assert!(matches!(broken(major), Err(Unreadable::Damaged { .. })));
    }
}
