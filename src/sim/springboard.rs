//! `com.apple.springboardservices`: icons and the home screen. Commands as in libimobiledevice's sbservices.c.

use std::io;
use std::sync::Arc;

use aws_lc_rs::digest;
use plist::{Dictionary, Value};

use super::device::Device;
use super::healthy::dictionary;
use super::plists::{reply, reply_value, request};
use super::png;
use crate::frame::DictExt;
use crate::usbmux::Stream;

/// Icons in the dock, and on a page.
const DOCK: usize = 4;
const PAGE: usize = 24;
/// Pixels along the side of an icon.
const ICON_SIDE: u16 = 60;

/// Serves one connection.
pub(super) async fn serve(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    while let Some(asked) = request(&mut stream).await? {
        match asked.string("command") {
            Some("getIconState") => reply_value(&mut stream, &icon_state(&device)).await?,
            // The layout that was sent is not kept; hosts wait for no reply.
            Some("setIconState") => {}
            Some(command) => reply(&mut stream, answer(command, &asked)).await?,
            None => reply(&mut stream, dictionary! {"Error": "MissingCommand"}).await?,
        }
    }
    Ok(())
}

fn answer(command: &str, asked: &Dictionary) -> Dictionary {
    match command {
        "getIconPNGData" => {
            let id = asked.string("bundleId").unwrap_or_default();
            dictionary! {"pngData": Value::Data(icon(id))}
        }
        "getHomeScreenWallpaperPNGData"
        | "getHomeScreenWallpaperPreviewImage"
        | "getWallpaperPreviewImage" => {
            dictionary! {"pngData": Value::Data(png::plain(117, 253, [40, 60, 120]))}
        }
        "getInterfaceOrientation" => dictionary! {"interfaceOrientation": 1},
        "getHomeScreenIconMetrics" => dictionary! {
            "homeScreenIconColumns": 4, "homeScreenIconRows": 6, "homeScreenIconDockMaxCount": DOCK as u64,
            "homeScreenIconWidth": u64::from(ICON_SIDE), "homeScreenIconHeight": u64::from(ICON_SIDE),
        },
        _ => dictionary! {"Error": "UnknownCommand"},
    }
}

/// A square whose colour is the application's own.
fn icon(id: &str) -> Vec<u8> {
    let hash = digest::digest(&digest::SHA256, id.as_bytes());
    let [r, g, b] = [hash.as_ref()[0], hash.as_ref()[1], hash.as_ref()[2]];
    png::plain(ICON_SIDE, ICON_SIDE, [r, g, b])
}

fn icon_state(device: &Device) -> Value {
    let icons: Vec<Value> = device.apps().iter().map(icon_entry).collect();
    let (dock, rest) = icons.split_at(icons.len().min(DOCK));
    let mut pages = vec![Value::Array(dock.to_vec())];
    pages.extend(rest.chunks(PAGE).map(|page| Value::Array(page.to_vec())));
    Value::Array(pages)
}

fn icon_entry(app: &Dictionary) -> Value {
    let id = app.string("CFBundleIdentifier").unwrap_or_default();
    let name = app.string("CFBundleDisplayName").unwrap_or(id);
    Value::Dictionary(dictionary! {"bundleIdentifier": id, "displayIdentifier": id, "displayName": name})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_have_icons_of_their_own() {
        let asked = dictionary! {"bundleId": "org.example.notes"};
        let icon = answer("getIconPNGData", &asked);
        assert!(icon.data("pngData").unwrap().starts_with(b"\x89PNG"));
        assert_ne!(super::icon("a"), super::icon("b"));
        assert_eq!(answer("dance", &asked).string("Error"), Some("UnknownCommand"));
    }
}
