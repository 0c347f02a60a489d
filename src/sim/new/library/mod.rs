//! `PhotoData/Photos.sqlite` from the list of assets, with a live write-ahead log.
//!
//! What the values mean is known from iLEAPP's and osxphotos' documentation and from published libraries:
//! an asset is *uploaded* when its master's `ZCLOUDLOCALSTATE` is 3; 1 is waiting, 4 given up; an original is a resource
//! of data store 0 and subtype 1 (17 the RAW, 18 a Live Photo's clip).

mod albums;
mod resources;
mod writer;

use std::path::Path;

use rusqlite::Connection;

use super::assets::Asset;
use super::folder::Folder;
use super::phone::Phone;
use super::random::Random;
use super::schema::{PHOTOS, Rows, Schema};
use super::{Error, wal};
use crate::facts::Owner;
use writer::Writer;

const PATH: &str = "media/PhotoData/Photos.sqlite";

/// Writes the database, its log, and the few files that the library keeps beside.
pub(super) fn write(phone: &Phone, assets: &[Asset], folder: &mut Folder) -> Result<(), Error> {
    let path = folder.place(PATH)?;
    let failed = |error| Error::Database { path: path.clone(), error };
    let schema = Schema::of(PHOTOS, phone.ios.library_model);
    let mut database = Connection::open(&path).map_err(failed)?;
    fill(phone, assets, &schema, &mut database).map_err(failed)?;
    drop(database);
    let changed = phone.ago(phone.cloud.synced_s_ago.min(180));
    wal::finish(phone, folder, PATH, changed)?;
    if phone.damage.library {
        damage(phone, &path)?;
    }
    folder.adopt(PATH, changed)
}

/// Noise over all pages but the first, so that it looks like a database and is none.
fn damage(phone: &Phone, path: &Path) -> Result<(), Error> {
    let io = |error| Error::Io { path: path.to_owned(), error };
    let mut bytes = std::fs::read(path).map_err(io)?;
    Random::new(phone.seed, "damage").fill(&mut bytes[4096..]);
    std::fs::write(path, bytes).map_err(io)
}

fn fill(
    phone: &Phone,
    assets: &[Asset],
    schema: &Schema,
    database: &mut Connection,
) -> Result<(), rusqlite::Error> {
    database.set_prepared_statement_cache_capacity(32);
    database.pragma_update(None, "page_size", 4096)?;
    database.pragma_update(None, "auto_vacuum", 2)?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.pragma_update(None, "journal_mode", "MEMORY")?;
    // The last tenth, at least what is not the owner's or is trashed, stays in the log.
    let settled = assets.iter().filter(|asset| asset.owner == Owner::Own && asset.trashed.is_none()).count();
    let checkpointed = if phone.live_wal { settled - settled / 10 } else { assets.len() };

    let mut writer = Writer::new(phone, schema);
    let transaction = database.transaction()?;
    transaction.execute_batch(&schema.tables_sql())?;
    transaction.execute_batch(
        "CREATE TABLE Z_METADATA (Z_VERSION INTEGER PRIMARY KEY, Z_UUID VARCHAR(255), Z_PLIST BLOB);
         CREATE TABLE Z_MODELCACHE (Z_CONTENT BLOB);
         CREATE TABLE Z_PRIMARYKEY (Z_ENT INTEGER PRIMARY KEY, Z_NAME VARCHAR, Z_SUPER INTEGER, Z_MAX INTEGER);",
    )?;
    writer.metadata(&transaction)?;
    {
        let mut rows = Rows::new(schema, &transaction);
        writer.albums(&mut rows)?;
        for asset in &assets[..checkpointed] {
            writer.asset(&mut rows, asset)?;
        }
        writer.last_keys = rows.into_last();
    }
    writer.primary_keys(&transaction)?;
    transaction.execute_batch(&schema.indexes_sql())?;
    transaction.commit()?;

    wal::begin(database, phone.live_wal)?;
    let transaction = database.transaction()?;
    {
        let mut rows = Rows::going_on(schema, &transaction, std::mem::take(&mut writer.last_keys));
        for asset in &assets[checkpointed..] {
            writer.asset(&mut rows, asset)?;
        }
        writer.last_keys = rows.into_last();
    }
    writer.primary_keys(&transaction)?;
    writer.album_counts(&transaction)?;
    transaction.commit()
}
