//! What every phone has beside the engine's files, whether iCloud Photos is on or not. Names as in published lists of
//! what lies below the media folder of iOS 15 and 16.

use jiff::Timestamp;
use plist::{Dictionary, Value};

use super::PHOTO_DATA;
use crate::sim::new::folder::Folder;
use crate::sim::new::phone::{Phone, local};
use crate::sim::new::random::Random;
use crate::sim::new::{Error, media};

/// Writes them.
pub(super) fn write(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
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
    photo_data(phone, born, folder)?;
    shared_albums(phone, born, folder)?;
    if phone.cloud.photo_stream {
        photo_stream(phone, folder)?;
    }
    Ok(())
}

/// The library's caches and notes: nobody needs them, and every walk meets them.
fn photo_data(phone: &Phone, born: Timestamp, folder: &mut Folder) -> Result<(), Error> {
    let mut random = Random::new(phone.seed, "surroundings");
    let mut noise = vec![0; 24_576];
    random.fill(&mut noise);
    let empty = Value::Dictionary(Dictionary::new());
    for plist in [
        "Caches/PLDataMigrationInfo.plist",
        "Caches/Analytics/CPAnalyticsPropertiesCache.plist",
        "Caches/VisionService/clustererState.plist",
        "Caches/VisionService/PhotoAnalysisServicePreferences.plist",
        "Journals/MigrationHistory.plist",
    ] {
        folder.binary_plist(&format!("{PHOTO_DATA}/{plist}"), born, &empty)?;
    }
    for (file, bytes) in [
        ("Journals/MigrationHistory-change.plj", 0),
        ("MISC/PreviewWellImage.tiff", 12_288),
        ("Thumbnails/3334.ithmb", 24_576),
        ("Thumbnails/4531.ithmb", 24_576),
        ("Thumbnails/thumbnailConfiguration", 96),
        ("Caches/VisionService/AlgoFaceClusterCache.data", 4_096),
        ("suspendnebulad", 0),
    ] {
        folder.file(&format!("{PHOTO_DATA}/{file}"), born, &noise[..bytes])?;
    }
    Ok(())
}

/// What lies beside the shared albums, whether there are any or not.
fn shared_albums(phone: &Phone, born: Timestamp, folder: &mut Folder) -> Result<(), Error> {
    let base = format!("{PHOTO_DATA}/PhotoCloudSharingData");
    let server = Dictionary::from_iter([("allowedToPublish", Value::from(true))]);
    folder.binary_plist(&format!("{base}/serverconfiguration"), born, &Value::Dictionary(server))?;
    let cache = Value::Dictionary(Dictionary::new());
    folder.binary_plist(&format!("{base}/Caches/diskcacherepository.plist"), born, &cache)?;
    if phone.mix.shared_album > 0 {
        let emails = Dictionary::from_iter([("1", Value::from("grandma@example.com"))]);
        folder.binary_plist(&format!("{base}/cloudSharedEmails.plist"), born, &Value::Dictionary(emails))?;
    }
    Ok(())
}

/// Left-overs of My Photo Stream: reduced copies that its end in 2023 left behind.
fn photo_stream(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
    let studio = media::studio(phone);
    let mut random = Random::new(phone.seed, "photo stream");
    let person = random.digits(10);
    for number in 1..=6 {
        let path = format!("media/PhotoStreamsData/{person}/100APPLE/IMG_{number:04}.JPG");
        let tag = random.next();
        folder.stream(&path, phone.days_ago(1300 - number), |out| studio.thumbnail(out, tag))?;
    }
    folder
        .file(&format!("media/PhotoStreamsData/{person}/.MISC/Info.plist"), phone.days_ago(1300), b"")
        .map(drop)
}
