//! The shape of the phone's own databases, from compact descriptions: names and types of tables, columns and indexes.
//!
//! One text describes several model versions at once. `models` names them in order; a line that ends in `@2-5,8` holds
//! for the models at these positions, one without an `@` for all (a column: for all models that have its table).
//! - `entity NAME [PARENT]`: the Core Data entities, in the order of their numbers (`Z_ENT`, from 1)
//! - `table NAME`, then ` TYPE COLUMN…` lines and ` key COLUMN…` for its primary key
//! - `rtree NAME COLUMN…`: a virtual table of that kind
//! - `index NAME TABLE COLUMN…`, `unique …`; a column with a trailing `-` is descending
//!
//! Types: `p` integer primary key, `i` INTEGER, `z` an INTEGER that real rows hold 0 in where they have nothing to
//! say, `f` FLOAT, `t` TIMESTAMP, `v` VARCHAR, `x` TEXT, `s` STRING, `b` BLOB, `D` DATA, `d` DECIMAL; behind the letter `u`
//! unique, `!` not null, `=N` a default.
//!
//! The descriptions are our own data: a mistake in them is our bug and panics (a test reads every model).

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::types::Value;

/// The photo library, iOS 13 to 26.
pub(super) const PHOTOS: &str = include_str!("data/photos-sqlite.txt");
/// The iCloud Photos engine's own database.
pub(super) const CLOUD: &str = include_str!("data/store-cloudphotodb.txt");

/// One table.
#[derive(Debug, Default)]
struct Table {
    name: &'static str,
    columns: Vec<Column>,
    key: Vec<&'static str>,
}

/// One column.
#[derive(Debug)]
struct Column {
    name: &'static str,
    kind: &'static str,
}

/// The tables, indexes and entities of one model.
#[derive(Debug, Default)]
pub(super) struct Schema {
    tables: Vec<Table>,
    entities: Vec<(&'static str, Option<&'static str>)>,
    indexes: Vec<(bool, &'static str, &'static str, Vec<&'static str>)>,
    rtrees: Vec<(&'static str, Vec<&'static str>)>,
}

impl Schema {
    /// The models that `text` describes, in order.
    pub(super) fn models(text: &'static str) -> Vec<i64> {
        let line = text.lines().find_map(|line| line.strip_prefix("models "));
        line.expect("our description names its models")
            .split(' ')
            .map(|model| model.parse().expect("our description's models are numbers"))
            .collect()
    }

    /// The schema of `model`.
    ///
    /// # Panics
    /// When `text` does not describe it.
    pub(super) fn of(text: &'static str, model: i64) -> Self {
        let models = Self::models(text);
        let at = models.iter().position(|one| *one == model).expect("a model that the description has");
        let mut schema = Self::default();
        let mut table_holds = false;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (words, holds) = words_for(line, at);
            let is_column = line.starts_with(' ');
            if !is_column && words[0] == "table" {
                table_holds = holds;
            }
            if holds && (!is_column || table_holds) {
                schema.take(is_column, &words);
            }
        }
        schema
    }

    fn take(&mut self, is_column: bool, words: &[&'static str]) {
        match (is_column, words) {
            (false, ["entity", name, parent @ ..]) => self.entities.push((name, parent.first().copied())),
            (false, ["table", name]) => self.tables.push(Table { name, ..Table::default() }),
            (false, ["rtree", name, columns @ ..]) => self.rtrees.push((name, columns.to_vec())),
            (false, [kind @ ("index" | "unique"), name, table, columns @ ..]) => {
                self.indexes.push((*kind == "unique", name, table, columns.to_vec()));
            }
            (false, _) => {}
            (true, [kind, names @ ..]) => {
                let table = self.tables.last_mut().expect("columns follow their table");
                if *kind == "key" {
                    table.key = names.to_vec();
                } else {
                    table.columns.extend(names.iter().map(|name| Column { name, kind }));
                }
            }
            (true, []) => {}
        }
    }

    /// Whether there is such a table.
    pub(super) fn has_table(&self, name: &str) -> bool {
        self.table(name).is_some()
    }

    /// The table of an album's members, and its columns for album, asset and order.
    pub(super) fn album_members(&self) -> Option<(&'static str, [&'static str; 3])> {
        self.tables.iter().find_map(|table| {
            let number = table.name.strip_prefix("Z_")?.strip_suffix("ASSETS")?;
            number.parse::<u32>().ok()?;
            match &table.columns[..] {
                [album, asset, order] => Some((table.name, [album.name, asset.name, order.name])),
                _ => None,
            }
        })
    }

    /// The columns of the table of keywords' members: attributes of an asset, keyword.
    pub(super) fn keyword_members(&self) -> Option<[&'static str; 2]> {
        match &self.table("Z_1KEYWORDS")?.columns[..] {
            [attributes, keyword] => Some([attributes.name, keyword.name]),
            _ => None,
        }
    }

    /// The number of an entity.
    pub(super) fn entity(&self, name: &str) -> Option<i64> {
        let at = self.entities.iter().position(|(entity, _)| *entity == name)?;
        i64::try_from(at + 1).ok()
    }

    /// All entities: number, name, the parent's number (0: none).
    pub(super) fn entities(&self) -> impl Iterator<Item = (i64, &'static str, i64)> + '_ {
        (1..).zip(&self.entities).map(|(number, (name, parent))| {
            (number, *name, parent.and_then(|parent| self.entity(parent)).unwrap_or(0))
        })
    }

    /// The statements that make the tables.
    pub(super) fn tables_sql(&self) -> String {
        let mut sql = String::new();
        for table in &self.tables {
            let mut parts: Vec<String> = table.columns.iter().map(Column::sql).collect();
            if !table.key.is_empty() {
                parts.push(format!("PRIMARY KEY ({})", table.key.join(", ")));
            }
            sql.push_str(&format!("CREATE TABLE {} ( {} );\n", quoted(table.name), parts.join(", ")));
        }
        for (name, columns) in &self.rtrees {
            sql.push_str(&format!("CREATE VIRTUAL TABLE {name} USING RTREE ({});\n", columns.join(", ")));
        }
        sql
    }

    /// The statements that make the indexes; quicker after the rows than before.
    pub(super) fn indexes_sql(&self) -> String {
        let mut sql = String::new();
        for (unique, name, table, columns) in &self.indexes {
            let columns: Vec<String> = columns
                .iter()
                .map(|column| match column.strip_suffix('-') {
                    Some(column) => format!("{} DESC", quoted(column)),
                    None => quoted(column),
                })
                .collect();
            let kind = if *unique { "UNIQUE INDEX" } else { "INDEX" };
            sql.push_str(&format!(
                "CREATE {kind} {} ON {} ({});\n",
                quoted(name),
                quoted(table),
                columns.join(", ")
            ));
        }
        sql
    }

    /// The names of the rtrees.
    pub(super) fn rtrees(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.rtrees.iter().map(|(name, _)| *name)
    }

    fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

impl Column {
    fn sql(&self) -> String {
        let kind = match self.kind.as_bytes()[0] {
            b'p' => "INTEGER PRIMARY KEY",
            b'i' | b'z' => "INTEGER",
            b'f' => "FLOAT",
            b't' => "TIMESTAMP",
            b'v' => "VARCHAR",
            b'x' => "TEXT",
            b's' => "STRING",
            b'b' => "BLOB",
            b'D' => "DATA",
            b'd' => "DECIMAL",
            other => panic!("our description has no type {}", char::from(other)),
        };
        let unique = if self.kind.contains('u') { " UNIQUE" } else { "" };
        let needed = if self.kind.contains('!') { " NOT NULL" } else { "" };
        let default = self.kind.split_once('=').map(|(_, value)| format!(" DEFAULT {value}"));
        format!("{} {kind}{unique}{needed}{}", quoted(self.name), default.unwrap_or_default())
    }
}

/// The words of a line without its `@`, and whether it holds for the model at `at`.
fn words_for(line: &'static str, at: usize) -> (Vec<&'static str>, bool) {
    let (body, mask) = line.split_once(" @").map_or((line, None), |(body, mask)| (body, Some(mask)));
    let holds = mask.is_none_or(|mask| {
        mask.split(',').any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<usize>().expect("our description's positions are numbers");
            (number(first)..=number(last)).contains(&at)
        })
    });
    (body.split_ascii_whitespace().collect(), holds)
}

/// A name, in quotes where SQL needs them.
fn quoted(name: &str) -> String {
    if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        name.to_owned()
    } else {
        format!("\"{name}\"")
    }
}

/// The highest key of each table.
pub(super) type Keys = BTreeMap<&'static str, i64>;

/// Writes rows into a database of one schema: gives each its key, and leaves out what this model does not have.
pub(super) struct Rows<'a> {
    schema: &'a Schema,
    database: &'a Connection,
    statements: BTreeMap<&'static str, Statement>,
    last: Keys,
}

/// The prepared text for a table, and which of the given columns it takes.
struct Statement {
    sql: String,
    taken: Vec<bool>,
}

impl<'a> Rows<'a> {
    /// Into `database`.
    pub(super) fn new(schema: &'a Schema, database: &'a Connection) -> Self {
        Self::going_on(schema, database, Keys::new())
    }

    /// Into `database`, where other rows have been written before.
    pub(super) fn going_on(schema: &'a Schema, database: &'a Connection, last: Keys) -> Self {
        Self { schema, database, statements: BTreeMap::new(), last }
    }

    /// The highest keys, for those who go on.
    pub(super) fn into_last(self) -> Keys {
        self.last
    }

    /// The database.
    pub(super) fn database(&self) -> &'a Connection {
        self.database
    }

    /// A Core Data row of `entity` in `table`; its key is the next one. Columns that this model does not have are left
    /// out; a table that it does not have gets no row (`None`). Each call for a table names the same columns.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn add(
        &mut self,
        table: &'static str,
        entity: &str,
        values: &[(&'static str, Value)],
    ) -> Result<Option<i64>, rusqlite::Error> {
        let Some(number) = self.schema.entity(entity).filter(|_| self.schema.has_table(table)) else {
            return Ok(None);
        };
        let key = self.last.entry(table).and_modify(|last| *last += 1).or_insert(1);
        let key = *key;
        let mut all = vec![
            ("Z_PK", Value::Integer(key)),
            ("Z_ENT", Value::Integer(number)),
            ("Z_OPT", Value::Integer(1)),
        ];
        all.extend_from_slice(values);
        self.add_plain(table, &all)?;
        Ok(Some(key))
    }

    /// A row with exactly these values, as far as the table has the columns.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn add_plain(
        &mut self,
        table: &'static str,
        values: &[(&'static str, Value)],
    ) -> Result<(), rusqlite::Error> {
        let schema = self.schema;
        let statement = self.statements.entry(table).or_insert_with(|| Statement::new(schema, table, values));
        assert_eq!(statement.taken.len(), values.len(), "each row of {table} names the same columns");
        let taken =
            values.iter().zip(&statement.taken).filter(|(_, taken)| **taken).map(|((_, value), _)| value);
        self.database.prepare_cached(&statement.sql)?.execute(rusqlite::params_from_iter(taken))?;
        Ok(())
    }

    /// The key of the last row of `table`; 0 without one.
    pub(super) fn last(&self, table: &str) -> i64 {
        self.last.get(table).copied().unwrap_or(0)
    }
}

impl Statement {
    fn new(schema: &Schema, table: &str, values: &[(&'static str, Value)]) -> Self {
        let columns = schema.table(table).map_or(&[][..], |table| &table.columns);
        let has = |name: &str| columns.iter().any(|column| column.name == name);
        let taken: Vec<bool> = values.iter().map(|(name, _)| has(name)).collect();
        let mut names: Vec<String> = values
            .iter()
            .zip(&taken)
            .filter(|(_, taken)| **taken)
            .map(|((name, _), _)| quoted(name))
            .collect();
        let mut marks = vec!["?"; names.len()];
        for column in columns.iter().filter(|column| column.kind == "z") {
            if !values.iter().any(|(name, _)| *name == column.name) {
                names.push(quoted(column.name));
                marks.push("0");
            }
        }
        let sql = format!("INSERT INTO {} ({}) VALUES ({})", quoted(table), names.join(","), marks.join(","));
        Self { sql, taken }
    }
}

#[cfg(test)]
mod tests;
