//! `store.cloudphotodb`, the engine's own database: what is still to be sent and fetched, and what was given up and why.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{PHOTO_DATA, first_sync, last_sync, on_the_server, switched_on};
use crate::facts::{Owner, Upload};
use crate::sim::new::assets::Asset;
use crate::sim::new::folder::Folder;
use crate::sim::new::phone::{Phone, Switch, cocoa};
use crate::sim::new::random::Random;
use crate::sim::new::schema::{CLOUD, Schema};
use crate::sim::new::{Error, wal};

/// Writes the database and its log.
pub(super) fn write(phone: &Phone, assets: &[Asset], folder: &mut Folder) -> Result<(), Error> {
    let relative = format!("{PHOTO_DATA}/CPL/storage/store.cloudphotodb");
    let path = folder.place(&relative)?;
    let failed = |error| Error::Database { path: path.clone(), error };
    fill(phone, assets, &path).map_err(failed)?;
    wal::finish(phone, folder, &relative, last_sync(phone))?;
    folder.adopt(&relative, last_sync(phone))
}

fn fill(phone: &Phone, assets: &[Asset], path: &std::path::Path) -> Result<(), rusqlite::Error> {
    let schema = Schema::of(CLOUD, 0);
    let mut database = Connection::open(path)?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.pragma_update(None, "journal_mode", "MEMORY")?;
    let transaction = database.transaction()?;
    transaction.execute_batch(&schema.tables_sql())?;
    transaction.execute_batch(&schema.indexes_sql())?;
    if phone.cloud.switch != Switch::Never {
        scope(phone, assets, &transaction)?;
    }
    transaction.commit()?;
    // What the engine does all day is in its log.
    wal::begin(&database, phone.live_wal)?;
    let transaction = database.transaction()?;
    transaction.execute(
        "INSERT INTO statusCenter (scopeIndex, identifier, class, generation) VALUES (1, ?, 'CPLEngine', 1)",
        [phone.store_uuid()],
    )?;
    let mut random = Random::new(phone.seed, "engine");
    for asset in assets.iter().filter(|asset| asset.owner == Owner::Own && asset.trashed.is_none()) {
        match asset.upload {
            Upload::Waiting => outgoing(&transaction, asset, &mut random)?,
            Upload::Failed => quarantined(phone, &transaction, asset)?,
            Upload::Uploaded | Upload::NeverQueued => {}
        }
    }
    incoming(phone, &transaction, &mut random)?;
    transaction.commit()
}

fn scope(phone: &Phone, assets: &[Asset], database: &Connection) -> Result<(), rusqlite::Error> {
    let (images, movies) = on_the_server(phone, assets);
    let up = assets.iter().filter(|asset| asset.owner == Owner::Own && asset.upload == Upload::Uploaded);
    let bytes = up.map(|asset| asset.bytes + asset.second_bytes).sum::<u64>();
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let (disabled, deleted) = match phone.cloud.switch {
        Switch::Off { days_ago, .. } => (Some(cocoa(phone.days_ago(days_ago))), exit_delete_time(phone)),
        _ => (None, None),
    };
    let first = (!phone.cloud.first_sync_unfinished).then(|| cocoa(first_sync(phone)));
    database.execute(
        "INSERT INTO scopes (scopeIdentifier, scopeType, localIndex, cloudIndex, stableIndex, creationDate,
             estimatedSize, estimatedAssetCount, initialSyncDate, pullFromTransportLastCompletionDate, lastClearedPush,
             disabledDate, deleteDate)
         VALUES ('PrimarySync', 1, 1, 1, 1, ?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7)",
        params![
            cocoa(switched_on(phone)),
            bytes,
            images + movies,
            first,
            cocoa(last_sync(phone)),
            disabled,
            deleted
        ],
    )?;
    database.execute(
        "INSERT INTO globals (libraryVersion, \"resources.totalSize\", \"resources.totalOriginalSize\",
             libraryCreationDate) VALUES (?1, ?2, ?2, ?3)",
        params![phone.store_uuid(), bytes, cocoa(switched_on(phone))],
    )?;
    Ok(())
}

fn outgoing(database: &Connection, asset: &Asset, random: &mut Random) -> Result<(), rusqlite::Error> {
    let upload = random.uuid();
    let mut insert = database.prepare_cached(
        "INSERT INTO outgoingResources (scopeIndex, itemIdentifier, resourceType, fingerPrint, fileUTI, fileKind,
             fileSize, uploadIdentifier) VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let kind = i64::from(asset.kind.is_video()) + 1;
    let size = i64::try_from(asset.bytes).unwrap_or(i64::MAX);
    insert.execute(params![
        asset.uuid,
        1,
        asset.master_name(),
        asset.kind.uniform_type(),
        kind,
        size,
        upload
    ])?;
    if let Some(extension) = asset.second_extension() {
        let size = i64::try_from(asset.second_bytes).unwrap_or(i64::MAX);
        let print = random.fingerprint();
        let (kind, uniform_type, file_kind) = match extension {
            "DNG" => (17, "com.adobe.raw-image", 1),
            _ => (18, "com.apple.quicktime-movie", 2),
        };
        insert.execute(params![asset.uuid, kind, print, uniform_type, file_kind, size, upload])?;
    }
    let mut insert = database.prepare_cached(
        "INSERT INTO pushRepository (class, scopeIndex, identifier, changeType, dequeueOrder, trashed,
             uploadIdentifier, flags, trustLevel) VALUES (?, 1, ?, 0, ?, 0, ?, 0, 0)",
    )?;
    let order = cocoa(asset.added).round();
    for class in ["CPLMasterChange", "CPLAssetChange"] {
        insert.execute(params![class, asset.uuid, order, upload])?;
    }
    Ok(())
}

fn quarantined(phone: &Phone, database: &Connection, asset: &Asset) -> Result<(), rusqlite::Error> {
    database
        .prepare_cached(
            "INSERT INTO quarantinedRecords (scopeIndex, localIdentifier, quarantineDate, class, reason)
             VALUES (1, ?, ?, 'CPLMasterChange', ?)",
        )?
        .execute(params![
            asset.uuid,
            cocoa(last_sync(phone)) - 1800.0,
            "Resource could not be uploaded after 5 attempts"
        ])
        .map(drop)
}

/// When iCloud deletes the library, as the status says.
fn exit_delete_time(phone: &Phone) -> Option<f64> {
    let said = phone.cloud.status.iter().rev().find(|(key, _)| *key == "exitDeleteTime")?;
    let date = said.1.as_ref()?.as_date()?;
    Timestamp::try_from(std::time::SystemTime::from(date)).ok().map(cocoa)
}

/// What is still to be fetched.
fn incoming(phone: &Phone, database: &Connection, random: &mut Random) -> Result<(), rusqlite::Error> {
    let mut insert = database.prepare(
        "INSERT INTO downloadQueue (position, scopeIndex, itemIdentifier, resourceType, fingerPrint, fileUTI, fileSize,
             taskIdentifier, retryCount, status, intent) VALUES (?1, 1, ?2, 1, ?3, 'public.heic', ?4, ?1, 0, 0, 1)",
    )?;
    for position in 1..=phone.cloud.to_download {
        let bytes = random.between(800_000, 3_000_000).cast_signed();
        insert.execute(params![position, random.uuid(), random.fingerprint(), bytes])?;
    }
    Ok(())
}
