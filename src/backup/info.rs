//! `Info.plist`: what the host writes about a backup, in the keys that other readers of backups want.
//!
//! The keys are those of libimobiledevice's `idevicebackup2.c`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plist::{Dictionary, Value};

use crate::frame::{self, DictExt};
use crate::usbmux::Udid;

/// Lockdown values that are taken over: key there, key here.
const FROM_LOCKDOWN: &[(&str, &str)] = &[
    ("BuildVersion", "Build Version"),
    ("DeviceName", "Device Name"),
    ("DeviceName", "Display Name"),
    ("IntegratedCircuitCardIdentity", "ICCID"),
    ("InternationalMobileEquipmentIdentity", "IMEI"),
    ("MobileEquipmentIdentifier", "MEID"),
    ("PhoneNumber", "Phone Number"),
    ("ProductType", "Product Type"),
    ("ProductVersion", "Product Version"),
    ("SerialNumber", "Serial Number"),
];

/// The version of iTunes that we say we are, unless the phone wants a later one.
const ITUNES_VERSION: &str = "12.9.5";

/// What the file is made of.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Lockdown's null domain.
    pub(super) lockdown: Dictionary,
    /// The phone's own settings for iTunes.
    pub(super) itunes_settings: Dictionary,
    /// The least version of iTunes that the phone wants.
    pub(super) itunes_version: Option<String>,
    /// The apps of the user, as installation_proxy tells them.
    pub(super) apps: Vec<Dictionary>,
    /// Files of `iTunes_Control/iTunes`, by name.
    pub(super) itunes_files: Dictionary,
    /// `Books/iBooksData2.plist`.
    pub(super) books: Option<Vec<u8>>,
    /// The id that the backup had before; it keeps it.
    pub(super) guid: Option<String>,
}

/// The file's bytes.
pub(super) fn info_plist(sources: &Sources, udid: &Udid, now: SystemTime) -> Vec<u8> {
    let mut info = Dictionary::new();
    let (mut applications, mut installed) = (Dictionary::new(), Vec::new());
    for app in &sources.apps {
        let Some(bundle) = app.string("CFBundleIdentifier") else { continue };
        installed.push(Value::from(bundle));
        let mut entry = Dictionary::new();
        for key in ["ApplicationSINF", "iTunesMetadata"] {
            entry.extend(app.data(key).map(|data| (key.to_owned(), Value::Data(data.to_vec()))));
        }
        if entry.len() == 2 {
            applications.insert(bundle.to_owned(), Value::Dictionary(entry));
        }
    }
    info.insert("Applications".into(), Value::Dictionary(applications));
    info.insert("Installed Applications".into(), Value::Array(installed));
    for (theirs, ours) in FROM_LOCKDOWN {
        info.extend(sources.lockdown.string(theirs).map(|text| ((*ours).to_owned(), text.into())));
    }
    let fresh = || uuid::Uuid::new_v4().simple().to_string().to_uppercase();
    info.insert("GUID".into(), sources.guid.clone().unwrap_or_else(fresh).into());
    // Whole seconds: other readers know no parts of one.
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let date = UNIX_EPOCH + Duration::from_secs(seconds);
    info.insert("Last Backup Date".into(), Value::Date(date.into()));
    info.insert("Target Identifier".into(), udid.as_str().into());
    info.insert("Target Type".into(), "Device".into());
    info.insert("Unique Identifier".into(), udid.as_str().to_uppercase().into());
    info.insert("iTunes Files".into(), Value::Dictionary(sources.itunes_files.clone()));
    info.insert("iTunes Settings".into(), Value::Dictionary(sources.itunes_settings.clone()));
    info.insert("iTunes Version".into(), sources.itunes_version.as_deref().unwrap_or(ITUNES_VERSION).into());
    info.extend(sources.books.clone().map(|data| ("iBooks Data 2".to_owned(), Value::Data(data))));
    frame::to_xml(&Value::Dictionary(info))
}

/// The id in an earlier file.
pub(super) fn guid_of(info: &Dictionary) -> Option<String> {
    let text = info.string("GUID").map(str::to_owned);
    text.filter(|guid| guid.len() <= 64 && guid.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Limits;

    #[test]
    fn it_holds_what_other_readers_want() {
        let udid = Udid::parse("00008101-000000000000001e").unwrap();
        let mut app = Dictionary::new();
        app.insert("CFBundleIdentifier".into(), "com.example.app".into());
        app.insert("ApplicationSINF".into(), Value::Data(vec![1]));
        app.insert("iTunesMetadata".into(), Value::Data(vec![2]));
        let mut sources = Sources { apps: vec![app], guid: Some("ABC".into()), ..Sources::default() };
        sources.lockdown.insert("ProductVersion".into(), "18.4.1".into());
        let bytes = info_plist(&sources, &udid, UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
        assert!(bytes.starts_with(b"<?xml"));
        assert!(String::from_utf8_lossy(&bytes).contains("<date>2023-11-14T22:13:20Z</date>"));
        let info = frame::parse(&bytes, &Limits::FILE).unwrap().into_dictionary().unwrap();
        assert_eq!(info.string("Unique Identifier"), Some("00008101-000000000000001E"));
        assert_eq!(info.string("Target Identifier"), Some("00008101-000000000000001e"));
        assert_eq!(info.string("Product Version"), Some("18.4.1"));
        assert!(info.dict("Applications").unwrap().contains_key("com.example.app"));
        assert_eq!(guid_of(&info).as_deref(), Some("ABC"));
        assert!(info.string("IMEI").is_none());
    }
}
