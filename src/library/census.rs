//! What a library is made of, apart from anybody's photos: tables, columns, and how often each state occurs.
//!
//! For whoever wants to know whether our picture of the schema holds. Names are as the database has them: text from the
//! phone, not to be shown as it is.

use std::collections::BTreeMap;
use std::path::Path;

use super::cells::{Cells, Number};
use super::schema::{self, Schema};
use super::untrusted::{Table, Untrusted};
use super::{DATABASE_NAME, Unreadable, read_database};
use crate::facts::Library;

/// Rows of one table that are looked at.
const ROWS_MAX: usize = 20_000_000;
/// Tables of a database that are listed: real ones have about 110.
const TABLES_MAX: usize = 1_000;
/// Different states of one column that are told apart.
const STATES_MAX: usize = 256;

/// Columns of an asset that hold states.
const ASSET_STATES: &[&str] = &[
    "ZACTIVELIBRARYSCOPEPARTICIPATIONSTATE",
    "ZADJUSTMENTSSTATE",
    "ZBUNDLESCOPE",
    "ZCLOUDDELETESTATE",
    "ZCLOUDLOCALSTATE",
    "ZCOMPLETE",
    "ZHASADJUSTMENTS",
    "ZHIDDEN",
    "ZKIND",
    "ZKINDSUBTYPE",
    "ZSAVEDASSETTYPE",
    "ZSYNDICATIONSTATE",
    "ZTRASHEDSTATE",
    "ZVISIBILITYSTATE",
];
const MASTER_STATES: &[&str] = &["ZCLOUDLOCALSTATE"];
const ATTRIBUTE_STATES: &[&str] = &["ZCLOUDAVALANCHEPICKTYPE", "ZCLOUDRECOVERYSTATE"];
const RESOURCE_STATES: &[&str] = &[
    "ZCLOUDLOCALSTATE",
    "ZDATASTORECLASSID",
    "ZDATASTORESUBTYPE",
    "ZLOCALAVAILABILITY",
    "ZREMOTEAVAILABILITY",
    "ZTRASHEDSTATE",
    "ZVERSION",
];

/// What stands in a cell that should hold a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing.
    Null,
    /// A number.
    Number(i64),
    /// Something else than a whole number.
    NoNumber,
    /// One more than are told apart.
    Further,
}

/// How often each state occurs in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct States {
    /// The table, by the name that we asked for.
    pub table: &'static str,
    /// The column, by the name that we asked for.
    pub column: &'static str,
    /// How often each occurs.
    pub counts: BTreeMap<State, u64>,
}

/// A table as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Its name: text from the phone.
    pub table: String,
    /// Its columns: text from the phone.
    pub columns: Vec<String>,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Census {
    /// `PLModelVersion`.
    pub model_version: Option<i64>,
    /// Every plain table.
    pub tables: Vec<Shape>,
    /// The states.
    pub states: Vec<States>,
    /// The library as it is read otherwise, to compare; an error's words where it cannot be.
    pub library: Option<Library>,
}

/// Takes the census of the library in `dir`, which is as for [`read_database`].
///
/// # Errors
/// Any [`Unreadable`]; a table that is not there or not plain is left out.
pub fn census(dir: &Path) -> Result<Census, Unreadable> {
    let library = read_database(dir).ok();
    let database = Untrusted::open(dir, DATABASE_NAME)?;
    let mut census = Census {
        model_version: schema::model_version(&database).map(|fact| fact.value),
        library,
        ..Census::default()
    };
    for table in database.table_names(TABLES_MAX)? {
        let columns = database.column_names(&table)?;
        census.tables.push(Shape { table, columns });
    }
    if let Ok(schema) = Schema::discover(&database) {
        let tables = [
            ("asset", Some(&schema.assets), ASSET_STATES),
            ("master", schema.masters.as_ref(), MASTER_STATES),
            ("attributes", schema.attributes.as_ref(), ATTRIBUTE_STATES),
            ("resource", schema.resources.as_ref(), RESOURCE_STATES),
        ];
        for (name, table, columns) in tables {
            if let Some(table) = table {
                census.states.extend(count(&database, name, table, columns)?);
            }
        }
    }
    Ok(census)
}

fn count(
    database: &Untrusted,
    name: &'static str,
    table: &Table,
    columns: &'static [&'static str],
) -> Result<Vec<States>, Unreadable> {
    let present: Vec<&'static str> = columns.iter().copied().filter(|column| table.has(column)).collect();
    let mut all: Vec<States> =
        present.iter().map(|column| States { table: name, column, counts: BTreeMap::new() }).collect();
    database.scan(table, &present, ROWS_MAX, |cells| {
        for (at, states) in all.iter_mut().enumerate() {
            let state = state(cells, at);
            let full = states.counts.len() >= STATES_MAX && !states.counts.contains_key(&state);
            *states.counts.entry(if full { State::Further } else { state }).or_default() += 1;
        }
        Ok(())
    })?;
    Ok(all)
}

fn state(cells: &Cells<'_>, at: usize) -> State {
    match cells.number(at) {
        Number::Null => State::Null,
        Number::Whole(number) => State::Number(number),
        Number::Wrong(_) => State::NoNumber,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Draft;
    use super::*;

    #[test]
    fn tables_columns_and_states_are_told() {
        let draft = Draft::new();
        for key in 1..=3 {
            draft.uploaded_photo(key);
        }
        draft.run("UPDATE ZASSET SET ZKIND = 'text' WHERE Z_PK = 1; UPDATE ZASSET SET ZHIDDEN = NULL WHERE Z_PK = 2;");
        draft.run("CREATE TABLE ZSOMETHINGNEW (ZX INTEGER); CREATE VIEW ZVIEW AS SELECT 1;");
        let census = census(draft.dir.path()).unwrap();
        let tables: Vec<&str> = census.tables.iter().map(|shape| shape.table.as_str()).collect();
        assert!(tables.contains(&"ZSOMETHINGNEW") && tables.contains(&"ZASSET"), "{tables:?}");
        assert!(!tables.contains(&"ZVIEW"), "{tables:?}");
        let of = |table: &str, column: &str| {
            census.states.iter().find(|states| states.table == table && states.column == column).unwrap()
        };
        assert_eq!(of("master", "ZCLOUDLOCALSTATE").counts, [(State::Number(3), 3)].into());
        assert_eq!(of("asset", "ZKIND").counts, [(State::Number(0), 2), (State::NoNumber, 1)].into());
        assert_eq!(of("asset", "ZHIDDEN").counts, [(State::Null, 1), (State::Number(0), 2)].into());
        assert_eq!(census.library.unwrap().counts.assets, Some(3));
    }

    #[test]
    fn without_assets_the_tables_are_still_told() {
        let draft = Draft::without_schema();
        draft.run("CREATE TABLE ZOTHER (ZX INTEGER)");
        let census = census(draft.dir.path()).unwrap();
        assert_eq!(census.tables, [Shape { table: "ZOTHER".into(), columns: vec!["ZX".into()] }]);
        assert!(census.states.is_empty() && census.library.is_none());
    }

    #[test]
    fn a_column_of_many_states_is_bounded() {
        let draft = Draft::new();
        for key in 1..=300 {
            draft.run(&format!("INSERT INTO ZCLOUDMASTER VALUES ({key}, {key})"));
        }
        let census = census(draft.dir.path()).unwrap();
        let counts = &census.states.iter().find(|states| states.table == "master").unwrap().counts;
        assert_eq!((counts.len(), counts[&State::Further]), (STATES_MAX + 1, 300 - STATES_MAX as u64));
    }
}
