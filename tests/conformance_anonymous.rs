//! A phone on which a person is written into every place that somebody or something could have written to: as a value,
//! as a key, as the name of a file, a folder, a table, a column, an app, a domain of a backup, as a number, in a path.
//! Nothing of it may be in the file of `conformance`, in no form.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use idevice_fix::conformance::{End, Measuring, Pace};
use idevice_fix::lockdown::{Phone, pairing};
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::sim::new::{NewOptions, Temper, create};
use idevice_fix::sim::{Bus, Device};
use idevice_fix::usbmux::Muxer;
use plist::{Dictionary, Value};

/// Names, numbers, addresses, ids, texts: none of them, nor any five characters in a row of them, is anything that the
/// project itself writes.
const PRIVATE: &[&str] = &[
    "Quirinziska",
    "Vögelbrzost",
    "quirinziska.brzost@kanarimail.example",
    "+4977391826405",
    "4977391826405",
    "354915038462719",
    "8949027384615509273",
    "F7QXZW9KJ3Y8",
    "D7739182-6F3Q9C4E1D7B5A83",
    "D7739182-6F3A9C4E1D7B5A83",
    "b7:9f:3e:71:c8:5d",
    "7D3F9B1E-6A4C-4F0B-9E27-B5C8D1A0F377",
    "IMG_73918.HEIC",
    "org.kanarivogel.brzostapp",
    "hort.kanarivogel.notizbuch",
    "Żółwik🦊🐢",
    "Zwibbelkoppel 73, 10997 Hüxdorf",
    "52.773918",
    "/DCIM/Kanarivogel/Brzost",
    "ZKANARIVOGEL",
    "ZQUIRINZISKA73918",
    "zwibbelfisch-wlan",
    "KanarivogelBrzost",
];

/// Every form in which a text could hide.
fn forms(private: &str) -> Vec<String> {
    let hash = |algorithm| digest::digest(algorithm, private.as_bytes()).as_ref().to_vec();
    let mut forms = vec![private.to_owned(), private.chars().rev().collect()];
    let mut coded = vec![
        private.as_bytes().to_vec(),
        hash(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        hash(&digest::SHA256),
        hash(&digest::SHA512),
    ];
    // Base64 of the same bytes looks otherwise two or four bits further on.
    coded.extend([1, 2].map(|shift| private.as_bytes().get(shift..).unwrap_or_default().to_vec()));
    for bytes in coded {
        forms.push(hex::encode(&bytes));
        let text = STANDARD_NO_PAD.encode(&bytes);
        // The last character may hold bits of what follows.
        forms.push(text[..text.len() - 1].to_owned());
        let text = URL_SAFE_NO_PAD.encode(&bytes);
        forms.push(text[..text.len() - 1].to_owned());
    }
    // Split: any five characters in a row.
    let letters: Vec<char> = private.chars().filter(|c| c.is_alphanumeric()).collect();
    forms.extend(letters.windows(5).map(|window| window.iter().collect::<String>()));
    forms
}

/// The first form of a private text in `file`, with and without what stands between letters and digits.
fn found_in(file: &str) -> Option<(String, String)> {
    let lower = file.to_lowercase();
    let bare: String = lower.chars().filter(|c| c.is_alphanumeric()).collect();
    // Parts of these texts that any file of ours holds.
    let ours = ["example", "heic", "group", "00008", "90000", "00000"];
    for private in PRIVATE {
        for form in forms(private) {
            let form = form.to_lowercase();
            if form.chars().count() < 5 || ours.iter().any(|ours| ours.contains(form.as_str())) {
                continue;
            }
            if lower.contains(&form) || bare.contains(&form) {
                return Some(((*private).to_owned(), form));
            }
        }
    }
    None
}

#[test]
fn the_search_finds_every_form() {
    assert_eq!(found_in("{\"BatteryIsCharging\": \"boolean\", \"10+\": 37000}"), None);
    for private in PRIVATE {
        let mut hidden: Vec<String> = forms(private).into_iter().filter(|form| form.len() > 6).collect();
        hidden.push(private.to_uppercase());
        let letters: Vec<char> = private.chars().filter(|c| c.is_alphanumeric()).collect();
        let apart: Vec<String> = letters.chunks(2).map(|chunk| chunk.iter().collect()).collect();
        hidden.push(apart.join(" - "));
        for form in hidden {
            assert!(found_in(&format!("{{\"x\": \"{form}\"}}")).is_some(), "{private}: {form}");
        }
    }
}

/// A dictionary with all private texts as keys and as values, two levels deep.
fn stuffed() -> Dictionary {
    let mut values = Dictionary::new();
    for (at, private) in PRIVATE.iter().enumerate() {
        let mut inner = Dictionary::new();
        inner.insert((*private).to_owned(), Value::from(*private));
        inner.insert("Name".into(), Value::from(*private));
        let value = match at % 4 {
            0 => Value::from(*private),
            1 => Value::Dictionary(inner),
            2 => Value::Array(vec![Value::from(*private), Value::Dictionary(inner)]),
            _ => Value::Data(private.as_bytes().to_vec()),
        };
        values.insert((*private).to_owned(), value);
    }
    values.insert("4977391826405".into(), Value::from(4_977_391_826_405_u64));
    values
}

fn edit_plist(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = Value::from_file(path).unwrap_or_else(|_| Value::Dictionary(Dictionary::new()));
    edit(&mut value);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    value.to_file_binary(path).unwrap();
}

fn write_into_lockdown(dir: &Path) {
    edit_plist(&dir.join("lockdown.plist"), |value| {
        let domains = value.as_dictionary_mut().unwrap();
        if !domains.contains_key("") {
            domains.insert(String::new(), Value::Dictionary(Dictionary::new()));
        }
        let root = domains.get_mut("").and_then(Value::as_dictionary_mut).unwrap();
        root.extend(stuffed());
        for (key, private) in [
            ("DeviceName", 0),
            ("PhoneNumber", 3),
            ("InternationalMobileEquipmentIdentity", 5),
            ("SerialNumber", 7),
            ("UniqueDeviceID", 9),
            ("WiFiAddress", 10),
            ("TimeZone", 16),
            ("ModelNumber", 7),
            ("ProductType", 0),
            ("BuildVersion", 4),
        ] {
            root.insert(key.into(), PRIVATE[private].into());
        }
        for domain in [
            "com.apple.mobile.data_sync",
            "com.apple.mobile.user_preferences",
            "com.apple.Accessibility",
            "com.apple.mobile.battery",
            "com.apple.disk_usage",
            "com.apple.international",
        ] {
            domains.insert(domain.into(), Value::Dictionary(stuffed()));
        }
    });
}

fn write_into_small_services(dir: &Path) {
    edit_plist(&dir.join("ioregistry.plist"), |value| {
        let entries = value.as_dictionary_mut().unwrap();
        for name in ["AppleSmartBattery", "IOPMPowerSource", "AppleARMPMUCharger"] {
            let mut entry = stuffed();
            entry.insert("Serial".into(), PRIVATE[7].into());
            entry.insert("AdapterDetails".into(), Value::Dictionary(stuffed()));
            entries.insert(name.into(), Value::Dictionary(entry));
        }
    });
    let mut app = stuffed();
    app.insert("CFBundleIdentifier".into(), PRIVATE[13].into());
    app.insert("CFBundleName".into(), PRIVATE[0].into());
    app.insert("ApplicationType".into(), "User".into());
    app.insert("Path".into(), PRIVATE[18].into());
    app.insert("iTunesMetadata".into(), Value::Data(PRIVATE[2].as_bytes().to_vec()));
    Value::Array(vec![Value::Dictionary(app)]).to_file_binary(dir.join("apps.plist")).unwrap();
    edit_plist(&dir.join("profiles.plist"), |value| {
        let profiles = value.as_dictionary_mut().unwrap();
        profiles.insert("GetProfileList".into(), Value::Dictionary(stuffed()));
    });
}

fn write_into_files(dir: &Path) {
    let media = dir.join("media");
    for private in PRIVATE {
        let name = private.replace('/', "_");
        for folder in [media.join(&name), media.join("DCIM").join(&name), media.join("PhotoData").join(&name)]
        {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(&name), private.repeat(100)).unwrap();
        }
        std::fs::write(media.join("DCIM/100APPLE").join(&name), private.repeat(1000)).unwrap();
        let domain = dir.join("files").join(format!("AppDomain-{name}")).join(&name);
        std::fs::create_dir_all(&domain).unwrap();
        std::fs::write(domain.join(&name), private).unwrap();
        let home = dir.join("files/HomeDomain/Library").join(&name);
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join(format!("{name}.sqlite")), private).unwrap();
    }
    for name in [
        "CPL/syncstatus.plist",
        "CPL/DownloadCounts.plist",
        "CPL/cloudphotos-1.0.plist",
        "CPL/mobileCPL.plist",
        "CPL/metrics.plist",
        "CPL/resetevents.plist",
        "CPL/pauseICloudPhotos",
        "MISC/DCIM_APPLE.plist",
    ] {
        edit_plist(&media.join("PhotoData").join(name), |value| {
            let values = value.as_dictionary_mut().unwrap();
            values.extend(stuffed());
            values.insert("storeUUID".into(), PRIVATE[11].into());
            if let Some(counts) = values.get_mut("cloudAssetCountPerType").and_then(Value::as_dictionary_mut)
            {
                counts.insert(PRIVATE[0].into(), 4_977_391_826_405_u64.into());
            }
        });
    }
    edit_plist(&media.join("PhotoData/private/com.apple.accountsd/cloudServiceEnableLog.plist"), |value| {
        if let Some(entry) = value.as_array_mut().and_then(|entries| entries.first_mut()) {
            entry.as_dictionary_mut().unwrap().extend(stuffed());
        }
    });
}

fn write_into_library(dir: &Path) {
    let database = rusqlite::Connection::open(dir.join("media/PhotoData/Photos.sqlite")).unwrap();
    let quoted = |text: &str| text.replace('"', "\"\"");
    for private in PRIVATE {
        let name = quoted(private);
        database
            .execute_batch(&format!(
                "CREATE TABLE \"T {name}\" (\"{name}\" TEXT); INSERT INTO \"T {name}\" VALUES ('{name}');
                 CREATE TABLE IF NOT EXISTS \"{name}\" (\"{name}\" TEXT);
                 ALTER TABLE ZASSET ADD COLUMN \"{name}\" VARCHAR;
                 ALTER TABLE ZINTERNALRESOURCE ADD COLUMN \"{name}\" VARCHAR;"
            ))
            .unwrap();
    }
    database
        .execute_batch(
            "CREATE TABLE Z_4977 (Z_49773918INDEX INTEGER);
             UPDATE ZADDITIONALASSETATTRIBUTES SET ZTITLE = 'Quirinziska', ZORIGINALFILENAME = 'IMG_73918.HEIC';
             UPDATE ZASSET SET ZKINDSUBTYPE = 4977391826405 WHERE Z_PK % 5 = 0;
             UPDATE ZASSET SET ZVISIBILITYSTATE = 'Quirinziska' WHERE Z_PK % 5 = 1;
             UPDATE ZASSET SET ZSAVEDASSETTYPE = 73918 WHERE Z_PK % 5 = 2;
             UPDATE ZCLOUDMASTER SET ZCLOUDLOCALSTATE = 52.773918 WHERE Z_PK % 5 = 3;
             UPDATE ZINTERNALRESOURCE SET ZVERSION = 10997 WHERE Z_PK % 3 = 0;",
        )
        .unwrap();
    let metadata = edit_metadata(&database);
    database.execute("UPDATE Z_METADATA SET Z_PLIST = ?1", [metadata]).unwrap();
}

/// The library's own property list, with a number for a person in place of the model's.
fn edit_metadata(database: &rusqlite::Connection) -> Vec<u8> {
    let bytes: Vec<u8> = database.query_row("SELECT Z_PLIST FROM Z_METADATA", [], |row| row.get(0)).unwrap();
    let mut value = Value::from_reader(std::io::Cursor::new(bytes)).unwrap();
    let values = value.as_dictionary_mut().unwrap();
    values.extend(stuffed());
    values.insert("PLModelVersion".into(), 773_918_264_u64.into());
    let mut bytes = Vec::new();
    value.to_writer_binary(&mut bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_in_the_file() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("Quirinziska Kanarivogel");
    let options = NewOptions {
        temper: Temper::Kind,
        photos: Some(20),
        media_bytes: Some(4_000_000),
        name: Some(PRIVATE[0].to_owned()),
        live_wal: false,
        ..NewOptions::default()
    };
    create(&dir, &options).unwrap();
    write_into_lockdown(&dir);
    write_into_small_services(&dir);
    write_into_files(&dir);
    write_into_library(&dir);
    let bus = Arc::new(Bus::new(vec![Device::open(&dir, false).unwrap()]));
    let phone = Phone { attached: bus.devices().await.unwrap().remove(0), muxer: bus };
    assert_eq!(phone.attached.udid.as_str(), PRIVATE[9], "the person's id is the phone's");
    let cancel = CancellationToken::new();
    let mut measuring = Measuring::new(Pace::brief(), true);
    assert_eq!(measuring.stranger(&phone, &Silent, &cancel).await, End::Done);
    let session = pairing::establish(&phone, Duration::from_secs(60), &Silent, &cancel).await.unwrap();
    let scratch = temp.path().join("Quirinziska");
    std::fs::create_dir(&scratch).unwrap();
    assert_eq!(measuring.trusted(&session, &scratch, &Silent, &cancel).await, End::Done);
    let backup = tempfile::tempdir_in(&scratch).unwrap();
    assert_eq!(measuring.backup(&session, backup.path(), None, &Silent, &cancel).await, End::Done);
    let file = measuring.file();
    let text = serde_json::to_string_pretty(&file).unwrap();
    assert_eq!(found_in(&text), None, "{text}");
    // It was all there to be read, and was counted.
    let parts = &file["parts"];
    assert_eq!(file["gaps"], serde_json::json!([]), "{text}");
    assert_eq!(file["phone"]["product_type"], "not in the usual form");
    assert_eq!(file["phone"]["build"], "not in the usual form");
    for place in [
        &parts["lockdown, in a session"]["values"],
        &parts["lockdown, in a session"]["domains"]["com.apple.mobile.data_sync"],
        &parts["diagnostics"]["IORegistry"]["AppleSmartBattery"],
        &parts["diagnostics"]["IORegistry"]["AppleSmartBattery"]["AdapterDetails"],
        &parts["engine"]["PhotoData/CPL/syncstatus.plist"],
        &parts["engine"]["PhotoData/CPL/metrics.plist"],
    ] {
        assert_eq!(place["(not shown)"]["like an address"], "1+", "{place}");
    }
    assert_eq!(parts["library"]["tables"]["ZASSET"]["(not shown)"], "10+");
    assert_eq!(parts["library"]["other tables"]["other text"], "10+");
    assert_eq!(parts["library"]["states"]["asset"]["ZKINDSUBTYPE"]["another number"], "1+");
    assert_eq!(parts["library"]["states"]["asset"]["ZVISIBILITYSTATE"]["no number"], "1+");
    assert_eq!(parts["library"]["model version"], 770_000_000);
    assert_eq!(parts["files"]["other names at the top"], "10+");
    assert_eq!(parts["backup"]["records"]["rows"]["AppDomain of an app"]["file"], "10+");
}
