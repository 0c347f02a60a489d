//! `com.apple.springboardservices`: icons and the home screen. Commands as in libimobiledevice's sbservices.c.

use std::io;
use std::sync::Arc;

use aws_lc_rs::digest;
use plist::{Dictionary, Value};

use super::device::Device;
use super::healthy::dictionary;
use super::plists::{reply, reply_value, request};
use super::png;
use crate::frame::{self, DictExt, Limits};
use crate::usbmux::Stream;

/// The file of `state/` with the layout that a host has set.
const LAYOUT_FILE: &str = "iconstate.plist";
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
            Some("setIconState") => {
                set_icon_state(&device, asked.array("iconState"))?;
                reply(&mut stream, Dictionary::new()).await?;
            }
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

/// Keeps a layout. One that is empty or of an old form changes nothing.
fn set_icon_state(device: &Device, layout: Option<&[Value]>) -> io::Result<()> {
    match layout.filter(|pages| !pages.is_empty()) {
        Some(pages) => device.write_state(LAYOUT_FILE, &frame::to_binary(&Value::Array(pages.to_vec()))),
        None => Ok(()),
    }
}

fn icon_state(device: &Device) -> Value {
    let kept = device.read_state(LAYOUT_FILE).ok().flatten();
    if let Some(layout) = kept.and_then(|bytes| frame::parse(&bytes, &Limits::FILE).ok()) {
        return layout;
    }
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

    #[test]
    fn a_layout_that_is_set_is_told_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        let first = icon_state(&device);
        set_icon_state(&device, Some(&[])).unwrap();
        assert_eq!(icon_state(&device), first);
        let mut pages = first.into_array().unwrap();
        pages.push(Value::Array(Vec::new()));
        set_icon_state(&device, Some(&pages)).unwrap();
        assert_eq!(icon_state(&device), Value::Array(pages));
    }
}
