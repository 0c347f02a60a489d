//! What the phone tells of itself for `Info.plist`, which the host writes.

use plist::{Dictionary, Value};

use super::super::info::Sources;
use crate::afc::Afc;
use crate::lockdown::{self, Session};
use crate::services::installation_proxy;

/// Files of `iTunes_Control/iTunes` that belong into `Info.plist`.
const ITUNES_FILES: [&str; 11] = [
    "ApertureAlbumPrefs",
    "IC-Info.sidb",
    "IC-Info.sidv",
    "PhotosFolderAlbums",
    "PhotosFolderName",
    "PhotosFolderPrefs",
    "VoiceMemos.plist",
    "iPhotoAlbumPrefs",
    "iTunesApplicationIDs",
    "iTunesPrefs",
    "iTunesPrefs.plist",
];
const ITUNES_FILE_BYTES_MAX: u64 = 4 << 20;

/// Asks the phone for what goes into `Info.plist`; what it does not tell is left out.
pub(super) async fn sources(session: &Session, afc: Option<&Afc>) -> Sources {
    let dictionary = |value: Result<Value, lockdown::Error>| value.ok().and_then(Value::into_dictionary);
    let attributes = ["CFBundleIdentifier", "ApplicationSINF", "iTunesMetadata"];
    let minimum = session.value(Some("com.apple.mobile.iTunes"), Some("MinITunesVersion")).await;
    let mut sources = Sources {
        lockdown: dictionary(session.value(None, None).await).unwrap_or_default(),
        itunes_settings: dictionary(session.value(Some("com.apple.iTunes"), None).await).unwrap_or_default(),
        itunes_version: minimum.ok().and_then(Value::into_string),
        apps: installation_proxy::browse(session, "User", &attributes).await.unwrap_or_default(),
        ..Sources::default()
    };
    let Some(afc) = afc else { return sources };
    let mut files = Dictionary::new();
    for name in ITUNES_FILES {
        let path = format!("/iTunes_Control/iTunes/{name}");
        let content =
            afc.read_file(&path, ITUNES_FILE_BYTES_MAX).await.ok().filter(|content| !content.is_empty());
        files.extend(content.map(|content| (name.to_owned(), Value::Data(content))));
    }
    sources.itunes_files = files;
    sources.books = afc.read_file("/Books/iBooksData2.plist", ITUNES_FILE_BYTES_MAX).await.ok();
    sources
}
