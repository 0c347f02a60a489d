//! Folders that were not made by `sim new`: put together by hand from what other tools read off a phone (the property
//! lists that `ideviceinfo -x` and `ideviceinfo -q DOMAIN -x` print, a copied media folder), without dates, without
//! `device.toml`, without `state/`. They are served and diagnosed like any other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use plist::{Dictionary, Value};
use serde_json::Value as Json;

/// What `ideviceinfo -x` prints of a paired phone, as far as anybody looks: one domain is embedded in it.
const NULL_DOMAIN: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>ActivationState</key><string>Activated</string>
<key>BuildVersion</key><string>20H350</string>
<key>DeviceClass</key><string>iPhone</string>
<key>DeviceName</key><string>Ben’s old phone</string>
<key>HardwareModel</key><string>D20AP</string>
<key>NonVolatileRAM</key><dict><key>boot-args</key><data></data></dict>
<key>PasswordProtected</key><false/>
<key>ProductType</key><string>iPhone10,1</string>
<key>ProductVersion</key><string>16.7.10</string>
<key>TimeZone</key><string>America/Phoenix</string>
<key>TimeZoneOffsetFromUTC</key><real>-25200</real>
<key>UniqueDeviceID</key><string>00008015-0011223344556677</string>
<key>com.apple.mobile.backup</key><dict>
  <key>CloudBackupEnabled</key><true/>
  <key>LastCloudBackupDate</key><integer>769034247</integer>
  <key>LastCloudBackupTZ</key><string>GMT-4</string>
  <key>RequiresEncryption</key><integer>0</integer>
  <key>Version</key><string>2.0</string>
</dict>
</dict></plist>
"#;

/// What `ideviceinfo -q com.apple.mobile.battery -x` prints.
const BATTERY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict>
<key>BatteryCurrentCapacity</key><integer>41</integer>
<key>BatteryIsCharging</key><true/>
<key>ExternalConnected</key><true/>
<key>HasBattery</key><true/>
</dict></plist>
"#;

/// What a folder's `lockdown.plist` is: the domains by their names, the null domain's is empty.
fn write_lockdown(phone: &Path, domains: impl IntoIterator<Item = (&'static str, Value)>) {
    let all: Dictionary = domains.into_iter().map(|(name, values)| (name.to_owned(), values)).collect();
    fs::create_dir_all(phone).unwrap();
    plist::to_file_xml(phone.join("lockdown.plist"), &Value::Dictionary(all)).unwrap();
}

fn plist_of(text: &str) -> Value {
    Value::from_reader_xml(text.as_bytes()).unwrap()
}

/// A small JPEG, as a copied media folder holds them.
fn picture() -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels = [90; 32 * 32];
    jpeg_encoder::Encoder::new(&mut bytes, 60)
        .encode(&pixels, 32, 32, jpeg_encoder::ColorType::Luma)
        .unwrap();
    bytes
}

fn put(phone: &Path, path: &str, bytes: &[u8]) {
    let full = phone.join("media").join(path);
    fs::create_dir_all(full.parent().unwrap()).unwrap();
    fs::write(full, bytes).unwrap();
}

/// `idevice-fix --device PHONE --json COMMAND`: what it printed last, and how it ended.
fn run(phone: &Path, command: &[&str]) -> (Json, Option<i32>) {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_idevice-fix"))
        .args(["--json", "--device"])
        .arg(phone)
        .args(command)
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path().join("config"))
        .env("XDG_DATA_HOME", home.path().join("data"))
        .env_remove("USBMUXD_SOCKET_ADDRESS")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let last = printed.lines().last().unwrap_or_else(|| {
        panic!("nothing was printed: {}", String::from_utf8_lossy(&output.stderr));
    });
    (serde_json::from_str(last).unwrap(), output.status.code())
}

fn findings(diagnosis: &Json) -> Vec<&str> {
    diagnosis["findings"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[test]
fn a_folder_put_together_by_hand_is_a_phone() {
    let folder = tempfile::tempdir().unwrap();
    let phone = folder.path().join("bens-phone");
    write_lockdown(&phone, [("", plist_of(NULL_DOMAIN)), ("com.apple.mobile.battery", plist_of(BATTERY))]);
    for path in ["DCIM/100APPLE/IMG_0001.JPG", "DCIM/100APPLE/IMG_0002.JPG", "PhotoData/Thumbnails/a.JPG"] {
        put(&phone, path, &picture());
    }
    let mut status = Vec::new();
    let keys = Dictionary::from_iter([("isExceedingQuota", Value::from(true))]);
    plist::to_writer_binary(&mut status, &Value::Dictionary(keys)).unwrap();
    put(&phone, "PhotoData/CPL/syncstatus.plist", &status);
    put(&phone, "PhotoData/cpl_enabled_marker", b"2022-12-31 15.30.47.888");

    let (diagnosis, status) = run(&phone, &["diagnose"]);
    assert_eq!(status, Some(0), "{diagnosis}");
    assert_eq!(diagnosis["device"]["name"], "Ben’s old phone");
    assert_eq!(diagnosis["device"]["ios_version"], "16.7.10");
    assert_eq!(diagnosis["facts"]["battery"]["level_percent"], 41);
    // The domain that was embedded counts: May 2025.
    assert_eq!(diagnosis["facts"]["icloud_backup"]["last_backup"], "2025-05-15T20:37:27Z");
    let found = findings(&diagnosis);
    for wanted in ["icloud-storage-full", "icloud-backup-stale", "library-unreadable", "photos-not-copied"] {
        assert!(found.contains(&wanted), "{wanted} is not in {found:?}");
    }
    assert!(!found.contains(&"clock-wrong"), "{found:?}");

    let dest = folder.path().join("dest");
    let (pulled, status) = run(&phone, &["--dest", dest.to_str().unwrap(), "--yes", "photos", "pull"]);
    assert_eq!(status, Some(0), "{pulled}");
    let copy = dest.join("00008015-0011223344556677/photos/DCIM/100APPLE/IMG_0002.JPG");
    assert_eq!(fs::read(copy).unwrap(), picture());
    let mut left: Vec<_> = fs::read_dir(&phone)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["lockdown.plist", "media"], "the folder stays as it was");
}

#[test]
fn a_dump_that_says_when_it_was_made_has_that_clock() {
    let folder = tempfile::tempdir().unwrap();
    let mut null = plist_of(NULL_DOMAIN);
    let values = null.as_dictionary_mut().unwrap();
    values.insert("TimeIntervalSince1970".to_owned(), Value::Real(1_747_429_388.650_657));
    write_lockdown(folder.path(), [("", null)]);
    let (diagnosis, status) = run(folder.path(), &["diagnose"]);
    assert_eq!(status, Some(0), "{diagnosis}");
    assert!(findings(&diagnosis).contains(&"clock-wrong"), "{:?}", findings(&diagnosis));
}

#[test]
fn a_folder_with_nothing_but_photos_is_a_healthy_phone_with_them() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "DCIM/100APPLE/IMG_0001.JPG", &picture());
    let (diagnosis, status) = run(folder.path(), &["diagnose"]);
    assert_eq!(status, Some(0), "{diagnosis}");
    assert_eq!(diagnosis["device"]["product_type"], "iPhone13,2");
}

/// Real shapes, where `IDEVICE_FIX_FIXTURES` names a folder that holds some: a published dump of an iPhone 12, the
/// names of all files below the media folder of another phone, and the library of a third.
#[test]
fn real_dumps_make_a_phone() {
    let Some(fixtures) = std::env::var_os("IDEVICE_FIX_FIXTURES").map(PathBuf::from) else {
        eprintln!("skipped: IDEVICE_FIX_FIXTURES is not set");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let phone = folder.path().join("phone");
    let dump = fs::read(fixtures.join("lockdown/iphone13,2-ios18.4.1-allvalues.redacted.json")).unwrap();
    let mut null = from_json(&serde_json::from_slice(&dump).unwrap());
    let values = null.as_dictionary_mut().unwrap();
    values.insert("UniqueDeviceID".to_owned(), "00008101-000000000000001E".into());
    values.remove("TimeIntervalSince1970");
    write_lockdown(&phone, [("", null)]);
    let list =
        fs::read_to_string(fixtures.join("media-lists/media_paths_hickman_ios15.3.1_iPhone8.txt")).unwrap();
    let paths: Vec<&str> =
        list.lines().filter_map(|line| line.split_once("/Media/")).map(|(_, path)| path).collect();
    assert!(paths.len() > 1000, "{} paths", paths.len());
    for path in paths.iter().filter(|path| !path.ends_with('/')) {
        let bytes =
            if path.to_ascii_uppercase().ends_with(".JPG") { picture() } else { path.as_bytes().to_vec() };
        let full = phone.join("media").join(path);
        if !full.is_dir() && fs::create_dir_all(full.parent().unwrap()).is_ok() {
            fs::write(full, bytes).unwrap();
        }
    }
    for name in ["Photos.sqlite-wal", "Photos.sqlite-shm"] {
        let _ = fs::remove_file(phone.join("media/PhotoData").join(name));
    }
    put(
        &phone,
        "PhotoData/Photos.sqlite",
        &fs::read(fixtures.join("photos-db/Test-Cloud-13.1__Photos.sqlite")).unwrap(),
    );
    let cpl = |name: &str| {
        fs::read(fixtures.join(format!("cpl/Test-Cloud-13.1__resources_cpl_cloudsync.noindex_{name}")))
            .unwrap()
    };
    for name in ["syncstatus.plist", "DownloadCounts.plist", "mobileCPL.plist", "cloudphotos-1.0.plist"] {
        put(&phone, &format!("PhotoData/CPL/{name}"), &cpl(name));
    }
    put(&phone, "PhotoData/cpl_enabled_marker", &cpl("cpl_enabled_marker"));
    let (diagnosis, status) = run(&phone, &["diagnose"]);
    assert_eq!(status, Some(0), "{diagnosis}");
    assert_eq!(diagnosis["facts"]["library"]["uploaded"], 23, "{}", diagnosis["gaps"]);
    assert_eq!(diagnosis["facts"]["icloud_photos"]["server_assets"], 23);
    assert_eq!(diagnosis["facts"]["icloud_backup"]["last_backup"], "2025-05-15T20:37:27Z");
    // The library is of a Mac and the files are of another phone: what is said to be here is not.
    assert_ne!(diagnosis["verdict"]["erase"], "safe");
}

/// A dump that somebody published as JSON, as the property list that it was.
fn from_json(value: &Json) -> Value {
    match value {
        Json::Bool(truth) => Value::Boolean(*truth),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            _ => Value::Real(number.as_f64().unwrap()),
        },
        Json::Array(items) => Value::Array(items.iter().map(from_json).collect()),
        Json::Object(pairs) => {
            Value::Dictionary(pairs.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
        Json::String(text) => Value::String(text.clone()),
        Json::Null => Value::String(String::new()),
    }
}
