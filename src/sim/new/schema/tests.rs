//! The described models make databases; where `IDEVICE_FIX_FIXTURES` names a folder with real ones, they are held
//! against these.

use std::path::{Path, PathBuf};

use super::*;

#[test]
fn every_model_makes_a_database_that_sqlite_takes() {
    for model in Schema::models(PHOTOS) {
        let schema = Schema::of(PHOTOS, model);
        let database = Connection::open_in_memory().unwrap();
        database.execute_batch(&schema.tables_sql()).unwrap();
        database.execute_batch(&schema.indexes_sql()).unwrap();
        let assets = if model < 14_000 { "ZGENERICASSET" } else { "ZASSET" };
        assert!(schema.has_table(assets), "{model}");
        assert!(schema.album_members().is_some(), "{model}");
        assert_eq!(schema.entity("AdditionalAssetAttributes"), Some(1));
    }
    let engine = Schema::of(CLOUD, 0);
    let database = Connection::open_in_memory().unwrap();
    database.execute_batch(&engine.tables_sql()).unwrap();
    database.execute_batch(&engine.indexes_sql()).unwrap();
}

#[test]
fn names_that_carry_an_entitys_number_agree_with_the_entities() {
    for model in Schema::models(PHOTOS) {
        let schema = Schema::of(PHOTOS, model);
        let (table, [albums, assets, _]) = schema.album_members().unwrap();
        let album = schema.entity("Album").unwrap();
        let asset = schema.entity(if model < 14_000 { "GenericAsset" } else { "Asset" }).unwrap();
        assert_eq!(table, format!("Z_{album}ASSETS"), "{model}");
        assert_eq!((albums, assets), (&*format!("Z_{album}ALBUMS"), &*format!("Z_{asset}ASSETS")));
    }
}

#[test]
fn a_row_holds_what_the_model_has() {
    let schema = Schema::of(PHOTOS, 14_208);
    let database = Connection::open_in_memory().unwrap();
    database.execute_batch(&schema.tables_sql()).unwrap();
    let mut rows = Rows::new(&schema, &database);
    let values = [("ZUUID", Value::Text("u".into())), ("ZBUNDLESCOPE", Value::Integer(2))];
    assert_eq!(rows.add("ZASSET", "Asset", &values).unwrap(), Some(1));
    assert_eq!(rows.add("ZNOSUCH", "Asset", &[]).unwrap(), None);
    let row: (String, i64, i64) = database
        .query_row("SELECT ZUUID, Z_ENT, ZTRASHEDSTATE FROM ZASSET", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(row, ("u".to_owned(), 3, 0));
}

/// Columns by table.
type Columns = BTreeMap<String, BTreeMap<String, String>>;

fn fixtures() -> Option<PathBuf> {
    let folder = std::env::var_os("IDEVICE_FIX_FIXTURES").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: IDEVICE_FIX_FIXTURES is not set");
    }
    folder
}

/// What Core Data keeps for itself, which is written apart or not at all, and what SQLite does.
fn is_bookkeeping(table: &str) -> bool {
    ["Z_METADATA", "Z_MODELCACHE", "Z_PRIMARYKEY"].contains(&table)
        || ["ACHANGE", "ATRANSACTION", "sqlite_"].iter().any(|start| table.starts_with(start))
        || ["_node", "_parent", "_rowid"].iter().any(|end| table.ends_with(end))
}

fn columns(database: &Connection) -> Columns {
    let mut tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let of = |table: &String| {
        let mut columns = database.prepare("SELECT name, type FROM pragma_table_info(?)").unwrap();
        let rows = columns.query_map([table], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    names.iter().filter(|name| !is_bookkeeping(name)).map(|name| (name.clone(), of(name))).collect()
}

fn generated(model: i64) -> Columns {
    let database = Connection::open_in_memory().unwrap();
    database.execute_batch(&Schema::of(PHOTOS, model).tables_sql()).unwrap();
    columns(&database)
}

/// A real schema. Triggers may name functions that only Photos has, so what fails is passed over.
fn real(path: &Path) -> Columns {
    let database = Connection::open_in_memory().unwrap();
    for statement in std::fs::read_to_string(path).unwrap().split(";\n") {
        let _ = database.execute_batch(statement);
    }
    columns(&database)
}

/// The columns of `one` that `other` lacks or has with another type.
fn lacking(one: &Columns, other: &Columns) -> Vec<String> {
    let mut lacking = Vec::new();
    for (table, columns) in one {
        for (column, kind) in columns {
            if other.get(table).and_then(|columns| columns.get(column)) != Some(kind) {
                lacking.push(format!("{table}.{column} {kind}"));
            }
        }
    }
    lacking
}

#[test]
fn described_models_are_the_real_ones() {
    let Some(folder) = fixtures() else { return };
    let mut held = Vec::new();
    for entry in std::fs::read_dir(folder.join("photos-schema")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let Some(model) = name.split_once("__model").and_then(|(_, model)| model.parse::<i64>().ok()) else {
            continue;
        };
        if !Schema::models(PHOTOS).contains(&model) {
            continue;
        }
        let (ours, theirs) = (generated(model), real(&path));
        assert!(theirs.len() > 50, "{name} was not understood");
        assert_eq!(lacking(&theirs, &ours), [""; 0], "{name} has what ours has not");
        assert_eq!(lacking(&ours, &theirs), [""; 0], "ours has what {name} has not");
        held.push(model);
    }
    held.sort_unstable();
    assert_eq!(held, [13703, 14208, 15502, 16320, 16502, 17120, 17600, 18600, 19320]);
}

/// The columns that a reader of ours asks for.
fn read_by_us() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        (
            "ASSET",
            &["ZUUID", "ZDIRECTORY", "ZFILENAME", "ZKIND", "ZKINDSUBTYPE", "ZDATECREATED", "ZADDEDDATE"],
        ),
        (
            "ASSET",
            &["ZTRASHEDSTATE", "ZTRASHEDDATE", "ZHIDDEN", "ZFAVORITE", "ZVISIBILITYSTATE", "ZSAVEDASSETTYPE"],
        ),
        (
            "ASSET",
            &["ZCLOUDLOCALSTATE", "ZMASTER", "ZADDITIONALATTRIBUTES", "ZAVALANCHEPICKTYPE", "ZAVALANCHEUUID"],
        ),
        ("ZCLOUDMASTER", &["ZCLOUDLOCALSTATE"]),
        ("ZADDITIONALASSETATTRIBUTES", &["ZORIGINALFILENAME", "ZORIGINALFILESIZE"]),
        ("ZINTERNALRESOURCE", &["ZASSET", "ZDATASTORECLASSID", "ZDATASTORESUBTYPE", "ZDATALENGTH"]),
        ("ZINTERNALRESOURCE", &["ZLOCALAVAILABILITY", "ZREMOTEAVAILABILITY", "ZCLOUDLOCALSTATE"]),
    ]
}

#[test]
fn every_model_has_what_is_read() {
    for model in Schema::models(PHOTOS) {
        let ours = generated(model);
        let assets = if model < 14_000 { "ZGENERICASSET" } else { "ZASSET" };
        for (table, wanted) in read_by_us() {
            let columns = &ours[if table == "ASSET" { assets } else { table }];
            for column in wanted {
                assert!(columns.contains_key(*column), "{model}: {table}.{column}");
            }
        }
        assert_eq!(ours[assets].contains_key("ZBUNDLESCOPE"), model >= 15_000, "{model}");
    }
}

/// What forensic readers were seen to ask real phones for; what ours lacks of it is printed, and nothing of it may be
/// what we read ourselves.
#[test]
fn what_readers_ask_real_phones_for_is_there() {
    let Some(folder) = fixtures() else { return };
    let text =
        std::fs::read_to_string(folder.join("photos-schema/photos_sqlite_columns_by_ios.json")).unwrap();
    let by_ios: BTreeMap<String, BTreeMap<String, Vec<String>>> = serde_json::from_str(&text).unwrap();
    let (mut asked, mut lacking) = (0, Vec::new());
    for (ios, tables) in &by_ios {
        let Ok(release) = crate::sim::new::release::Ios::of(ios) else { continue };
        let ours = generated(release.library_model);
        for (table, columns) in tables {
            asked += columns.len();
            let missing = columns.iter().filter(|column| {
                !ours.get(table).is_some_and(|columns| columns.contains_key(column.as_str()))
            });
            lacking.extend(missing.map(|column| format!("iOS {ios}: {table}.{column}")));
        }
    }
    eprintln!("{} of {asked} columns are lacking: {lacking:?}", lacking.len());
    assert!(asked > 1000);
    for (table, columns) in read_by_us() {
        for column in columns {
            let end = format!("{table}.{column}");
            assert!(!lacking.iter().any(|one| one.ends_with(&end)), "{end}");
        }
    }
    assert!(lacking.len() * 50 < asked, "more than two in a hundred are lacking: {lacking:?}");
}

#[test]
fn the_newest_model_is_the_one_before_with_one_more_entity() {
    let (before, newest) = (Schema::of(PHOTOS, 19_320), Schema::of(PHOTOS, 270_008_501));
    assert_eq!(newest.album_members().unwrap().0, "Z_34ASSETS");
    assert_eq!(newest.entities().count(), before.entities().count() + 1);
    let plain = |schema: &Schema| -> BTreeMap<&'static str, usize> {
        let tables = schema.tables.iter().filter(|table| !table.name.starts_with("Z_"));
        tables.map(|table| (table.name, table.columns.len())).collect()
    };
    let (before, newest) = (plain(&before), plain(&newest));
    let differing: Vec<_> =
        before.iter().filter(|(name, columns)| newest.get(*name) != Some(columns)).collect();
    assert!(differing.is_empty(), "{differing:?}");
}
