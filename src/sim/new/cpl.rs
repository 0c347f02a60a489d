//! The files of the iCloud Photos engine below `PhotoData`, and the few others that every phone has there.
//!
//! Keys and shapes as in published libraries: `syncstatus.plist` leaves out what is not the case; markers hold the
//! *local* time as text; `cloudServiceEnableLog.plist` is the history of the switch; `store.cloudphotodb` is the
//! engine's own database with what it still has to send and what it gave up.

use jiff::Timestamp;
use plist::{Dictionary, Value};
use rusqlite::{Connection, params};

use super::Error;
use super::assets::Asset;
use super::folder::Folder;
use super::phone::{Phone, Switch, cocoa, date, local};
use super::random::Random;
use super::schema::{CLOUD, Schema};
use crate::facts::{Owner, Upload};

const PHOTO_DATA: &str = "media/PhotoData";

/// Writes them all.
pub(super) fn write(phone: &Phone, assets: &[Asset], folder: &mut Folder) -> Result<(), Error> {
    surroundings(phone, folder)?;
    switchings(phone, folder)?;
    if phone.cloud.switch == Switch::Never {
        return Ok(());
    }
    markers(phone, folder)?;
    status(phone, assets, folder)?;
    settings(phone, folder)?;
    store(phone, assets, folder)
}

/// When iCloud Photos was switched on.
fn switched_on(phone: &Phone) -> Timestamp {
    if phone.cloud.first_sync_unfinished { phone.ago(30 * 3600) } else { phone.days_ago(1100) }
}

/// When it last talked to the server.
fn last_sync(phone: &Phone) -> Timestamp {
    match phone.cloud.switch {
        Switch::Off { days_ago, .. } => phone.days_ago(days_ago),
        _ => phone.ago(phone.cloud.synced_s_ago),
    }
}

fn marker(at: Timestamp) -> String {
    let local = local(at);
    format!("{}.{:03}", local.strftime("%Y-%m-%d %H.%M.%S"), local.millisecond())
}

fn markers(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
    let on = switched_on(phone);
    if phone.is_on() {
        folder.file(&format!("{PHOTO_DATA}/cpl_enabled_marker"), on, marker(on).as_bytes())?;
    }
    if phone.is_on() && !phone.cloud.first_sync_unfinished {
        let first = first_sync(phone);
        folder.file(&format!("{PHOTO_DATA}/CPL/initialsync_marker"), first, marker(first).as_bytes())?;
        folder.file(
            &format!("{PHOTO_DATA}/cpl_download_finished_marker"),
            first,
            marker(first).as_bytes(),
        )?;
    }
    if phone.cloud.paused {
        let since = phone.ago(20 * 3600);
        let pause = Value::Dictionary(Dictionary::from_iter([
            ("reason", Value::from(3)),
            ("unpauseTime", date(phone.ago(-4 * 3600))),
        ]));
        folder.binary_plist(&format!("{PHOTO_DATA}/CPL/pauseICloudPhotos"), since, &pause)?;
    }
    Ok(())
}

fn first_sync(phone: &Phone) -> Timestamp {
    phone.ago(1100 * 86_400 - 5400)
}

/// The history of the switch, as two programs of the phone keep it.
fn switchings(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
    let entry = |kind: &str, enabled: bool, at: Timestamp, reason: Option<&str>| {
        let mut entry = Dictionary::new();
        entry.insert("enabled".into(), enabled.into());
        if let Some(reason) = reason {
            entry.insert("reason".into(), reason.into());
        }
        entry.insert("timestamp".into(), date(at));
        entry.insert("type".into(), kind.into());
        Value::Dictionary(entry)
    };
    let on = switched_on(phone);
    let mut log = vec![entry("SharedAlbum", true, phone.days_ago(1101), None)];
    if phone.cloud.switch != Switch::Never {
        log.push(entry("CPL", true, on, None));
    }
    let mut changed = on;
    if let Switch::Off { days_ago, reason } = phone.cloud.switch {
        changed = phone.days_ago(days_ago);
        log.push(entry("CPL", false, changed, reason));
    }
    let log = Value::Array(log);
    for program in ["accountsd", "assetsd"] {
        let path = format!("{PHOTO_DATA}/private/com.apple.{program}/cloudServiceEnableLog.plist");
        folder.binary_plist(&path, changed, &log)?;
    }
    Ok(())
}

/// Own assets that the server holds, by what they are: images, movies.
fn on_the_server(phone: &Phone, assets: &[Asset]) -> (i64, i64) {
    let up = |video: bool| {
        let holds = |asset: &&Asset| {
            asset.owner == Owner::Own
                && asset.trashed.is_none()
                && asset.upload == Upload::Uploaded
                && asset.kind.is_video() == video
        };
        i64::try_from(assets.iter().filter(holds).count()).unwrap_or(i64::MAX)
    };
    let (images, movies) = (up(false) + phone.cloud.server_surplus, up(true));
    (images.max(0), if images < 0 { (movies + images).max(0) } else { movies })
}

fn status(phone: &Phone, assets: &[Asset], folder: &mut Folder) -> Result<(), Error> {
    let synced = last_sync(phone);
    let path = format!("{PHOTO_DATA}/CPL/syncstatus.plist");
    if phone.damage.status {
        return folder.file(&path, synced, b"bplist00\xd3\x01\x02\x03 cut short").map(drop);
    }
    let mut keys = Dictionary::new();
    keys.insert("accountFlags".into(), Value::Data(vec![8, 1, 16, 0, 24, 1]));
    let (images, movies) = on_the_server(phone, assets);
    if images + movies > 0 {
        let count = Dictionary::from_iter([
            ("public.image", Value::from(images)),
            ("public.movie", Value::from(movies)),
        ]);
        keys.insert("cloudAssetCountPerType".into(), Value::Dictionary(count));
        keys.insert("cloudAssetCountPerTypeLastCheckDate".into(), date(synced));
    }
    for key in
        ["hasBatteryBudgetKey", "hasCellularBudgetKey", "hasValidSystemBudgetKey", "iCloudLibraryExists"]
    {
        keys.insert(key.into(), true.into());
    }
    if !phone.cloud.first_sync_unfinished {
        keys.insert("initialSyncDate".into(), date(first_sync(phone)));
        keys.insert("lastCompletePrefetchDate".into(), date(synced));
    }
    keys.insert("lastSyncDate".into(), date(synced));
    for (key, value) in &phone.cloud.status {
        match value {
            Some(value) => keys.insert((*key).into(), value.clone()),
            None => keys.remove(key),
        };
    }
    keys.sort_keys();
    folder.binary_plist(&path, synced, &Value::Dictionary(keys))
}

/// What the server configured, and the engine's smaller notes.
fn settings(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
    let synced = last_sync(phone);
    let throttle =
        [("forget-after", 3600), ("give-up-after", 1800), ("start-after", 2), ("wait-at-most", 60)];
    let configuration = Dictionary::from_iter([
        ("client.request.throttle", numbers(&throttle)),
        ("feature.version.duplicateprocessor", Value::from(1)),
        ("max.days.inRecentlyDeleted", Value::from(30)),
        ("max.num.photosToImport.daily", Value::from(50_000)),
        ("max.num.photosToImport.hourly", Value::from(5_000)),
        ("max.num.recordsToUploadPerBatch", Value::from(200)),
        ("max.num.resourcesToUploadPerBatch", Value::from(8)),
        ("refresh.interval.seconds", Value::from(7200)),
    ]);
    let server = Dictionary::from_iter([
        ("configuration", Value::Dictionary(configuration)),
        ("lastUpdate", date(synced)),
    ]);
    let cpl = format!("{PHOTO_DATA}/CPL");
    folder.xml_plist(&format!("{cpl}/cloudphotos-1.0.plist"), synced, &Value::Dictionary(server))?;
    let counts = [("CountKeyImages", phone.cloud.to_download), ("CountKeyVideos", 0)];
    folder.xml_plist(&format!("{cpl}/DownloadCounts.plist"), synced, &numbers(&counts))?;
    let mobile = Dictionary::from_iter([
        ("cloudVersion", Value::from(Random::new(phone.seed, "cloud version").uuid())),
        ("storeUUID", Value::from(phone.store_uuid())),
    ]);
    folder.xml_plist(&format!("{cpl}/mobileCPL.plist"), synced, &Value::Dictionary(mobile))
}

fn numbers<N: Into<Value> + Copy>(pairs: &[(&str, N)]) -> Value {
    Value::Dictionary(pairs.iter().map(|(key, number)| ((*key).to_owned(), (*number).into())).collect())
}

/// `store.cloudphotodb`: what is still to be sent, and what was given up and why.
fn store(phone: &Phone, assets: &[Asset], folder: &mut Folder) -> Result<(), Error> {
    let relative = format!("{PHOTO_DATA}/CPL/storage/store.cloudphotodb");
    let path = folder.place(&relative)?;
    let failed = |error| Error::Database { path: path.clone(), error };
    fill_store(phone, assets, &path).map_err(failed)?;
    folder.adopt(&relative, last_sync(phone))
}

fn fill_store(phone: &Phone, assets: &[Asset], path: &std::path::Path) -> Result<(), rusqlite::Error> {
    let schema = Schema::of(CLOUD, 0);
    let mut database = Connection::open(path)?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.pragma_update(None, "journal_mode", "MEMORY")?;
    let transaction = database.transaction()?;
    transaction.execute_batch(&schema.tables_sql())?;
    scope(phone, assets, &transaction)?;
    let mut random = Random::new(phone.seed, "engine");
    for asset in assets.iter().filter(|asset| asset.owner == Owner::Own && asset.trashed.is_none()) {
        match asset.upload {
            Upload::Waiting => outgoing(&transaction, asset, &mut random)?,
            Upload::Failed => quarantined(phone, &transaction, asset)?,
            Upload::Uploaded | Upload::NeverQueued => {}
        }
    }
    transaction.execute_batch(&schema.indexes_sql())?;
    transaction.commit()
}

fn scope(phone: &Phone, assets: &[Asset], database: &Connection) -> Result<(), rusqlite::Error> {
    let (images, movies) = on_the_server(phone, assets);
    let up = assets.iter().filter(|asset| asset.owner == Owner::Own && asset.upload == Upload::Uploaded);
    let bytes = up.map(|asset| asset.bytes + asset.second_bytes).sum::<u64>();
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let first = (!phone.cloud.first_sync_unfinished).then(|| cocoa(first_sync(phone)));
    database.execute(
        "INSERT INTO scopes (scopeIdentifier, scopeType, localIndex, cloudIndex, stableIndex, creationDate,
             estimatedSize, estimatedAssetCount, initialSyncDate, pullFromTransportLastCompletionDate, lastClearedPush)
         VALUES ('PrimarySync', 1, 1, 1, 1, ?1, ?2, ?3, ?4, ?5, ?5)",
        params![cocoa(switched_on(phone)), bytes, images + movies, first, cocoa(last_sync(phone))],
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
        asset.fingerprint,
        asset.kind.uniform_type(),
        kind,
        size,
        upload
    ])?;
    if asset.second_extension().is_some() {
        let size = i64::try_from(asset.second_bytes).unwrap_or(i64::MAX);
        let print = random.fingerprint();
        insert.execute(params![asset.uuid, 18, print, "com.apple.quicktime-movie", 2, size, upload])?;
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

/// What every phone has beside, whether iCloud Photos is on or not.
fn surroundings(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
    let born = phone.days_ago(1101);
    let stamp = local(born).strftime("%Y%m%d-%H%M%S").to_string();
    folder.file(&format!("{PHOTO_DATA}/Caches/CreateDatabase_{stamp}-07:00"), born, b"")?;
    folder.file(&format!("{PHOTO_DATA}/Caches/libraryavailable"), born, b"")?;
    folder.file(&format!("{PHOTO_DATA}/protection"), born, b"")?;
    let person = Random::new(phone.seed, "person").digits(11);
    folder.file(&format!("{PHOTO_DATA}/PhotoCloudSharingData/personID"), born, person.as_bytes())?;
    let private = Dictionary::from_iter([("PLLastKnownBuild", Value::from(phone.ios.build))]);
    let path = format!("{PHOTO_DATA}/private/com.apple.assetsd/appPrivateData.plist");
    folder.binary_plist(&path, born, &Value::Dictionary(private))?;
    let journal = Dictionary::from_iter([("version", Value::from(1))]);
    folder.binary_plist(&format!("{PHOTO_DATA}/Journals/Asset.plist"), born, &Value::Dictionary(journal))?;
    for empty in ["Downloads", "Books", "Recordings", "iTunes_Control/iTunes", "PhotoData/Metadata"] {
        folder.directory(&format!("media/{empty}"))?;
    }
    folder.file("media/iTunes_Control/iTunes/IC-Info.sidv", born, &[0; 36])?;
    folder.file("media/com.apple.itunes.lock_sync", born, b"")?;
    if phone.cloud.photo_stream {
        let old = phone.days_ago(1300);
        let path = "media/PhotoStreamsData/1234567890/100APPLE/IMG_0001.JPG";
        let studio = super::media::studio(phone);
        folder.stream(path, old, |out| studio.thumbnail(out, phone.seed))?;
    }
    Ok(())
}
