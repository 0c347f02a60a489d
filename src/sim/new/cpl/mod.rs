//! The files of the iCloud Photos engine below `PhotoData`, and the few others that every phone has there.
//!
//! Keys and shapes as in published libraries: `syncstatus.plist` leaves out what is not the case; markers hold the
//! *local* time as text; `cloudServiceEnableLog.plist` is the history of the switch; `store.cloudphotodb` is the
//! engine's own database with what it still has to send and what it gave up.

mod store;
mod surroundings;

use jiff::Timestamp;
use plist::{Dictionary, Value};

use super::Error;
use super::assets::Asset;
use super::folder::Folder;
use super::phone::{Phone, Switch, date, local};
use super::random::Random;
use crate::facts::{Owner, Upload};

const PHOTO_DATA: &str = "media/PhotoData";
/// The first iOS whose engine keeps account of its sessions.
const METRICS_SINCE: u32 = 26;

/// Writes them all.
pub(super) fn write(phone: &Phone, assets: &[Asset], folder: &mut Folder) -> Result<(), Error> {
    surroundings::write(phone, folder)?;
    switchings(phone, folder)?;
    notes(phone, folder)?;
    if phone.cloud.switch == Switch::Never {
        never_on(phone, folder)?;
    } else {
        markers(phone, folder)?;
        status(phone, assets, folder)?;
        server_configuration(phone, folder)?;
    }
    store::write(phone, assets, folder)
}

/// A phone on which iCloud Photos was never on has a status all the same, in which little is said.
fn never_on(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
    let budgets = ["hasBatteryBudgetKey", "hasCellularBudgetKey", "hasValidSystemBudgetKey"];
    let status =
        Value::Dictionary(budgets.iter().map(|key| ((*key).to_owned(), Value::from(true))).collect());
    folder.binary_plist(&format!("{PHOTO_DATA}/CPL/syncstatus.plist"), phone.days_ago(1101), &status)
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

/// What the server configured.
fn server_configuration(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
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
    let path = format!("{PHOTO_DATA}/CPL/cloudphotos-1.0.plist");
    folder.xml_plist(&path, synced, &Value::Dictionary(server))
}

/// The engine's smaller notes, which are there even where it was never on.
fn notes(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
    let synced = last_sync(phone);
    let cpl = format!("{PHOTO_DATA}/CPL");
    let counts = [("CountKeyImages", phone.cloud.to_download), ("CountKeyVideos", 0)];
    folder.xml_plist(&format!("{cpl}/DownloadCounts.plist"), synced, &numbers(&counts))?;
    let mobile = Dictionary::from_iter([
        ("cloudVersion", Value::from(Random::new(phone.seed, "cloud version").uuid())),
        ("storeUUID", Value::from(phone.store_uuid())),
    ]);
    folder.xml_plist(&format!("{cpl}/mobileCPL.plist"), synced, &Value::Dictionary(mobile))?;
    let launched = Dictionary::from_iter([("lastSyncAfterLaunchDate", date(synced))]);
    folder.binary_plist(&format!("{cpl}/lastsyncafterlaunch.plist"), synced, &Value::Dictionary(launched))?;
    folder.binary_plist(&format!("{cpl}/feedbackmessages.plist"), synced, &Value::Array(Vec::new()))?;
    if phone.ios.major < METRICS_SINCE {
        return Ok(());
    }
    let metrics = [
        ("BlockedSessionsCount", phone.mix.waiting),
        ("PoorSystemConditionsBlockedCount", 0),
        ("ThunderingHerdBlockedCount", 0),
        ("TotalSessionsCount", 40 + phone.mix.waiting),
    ];
    folder.binary_plist(&format!("{cpl}/metrics.plist"), synced, &numbers(&metrics))
}

fn numbers<N: Into<Value> + Copy>(pairs: &[(&str, N)]) -> Value {
    Value::Dictionary(pairs.iter().map(|(key, number)| ((*key).to_owned(), (*number).into())).collect())
}
