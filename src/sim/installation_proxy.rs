//! `com.apple.mobile.installation_proxy`: what is installed. Nothing can be installed or removed here.

use std::io;
use std::sync::Arc;

use plist::{Dictionary, Value};

use super::device::Device;
use super::healthy::dictionary;
use super::plists::{reply, request};
use crate::frame::DictExt;
use crate::usbmux::Stream;

/// Applications in one reply to Browse.
const PAGE: usize = 20;

/// Serves one connection.
pub(super) async fn serve(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    while let Some(asked) = request(&mut stream).await? {
        let options = asked.dict("ClientOptions").cloned().unwrap_or_default();
        match asked.string("Command") {
            Some("Browse") => browse(&mut stream, &device, &options).await?,
            Some("Lookup") => reply(&mut stream, lookup(&device, &options)).await?,
            _ => {
                let error = dictionary! {
                    "Error": "UnknownCommand", "ErrorDescription": "This phone only tells what is installed",
                };
                reply(&mut stream, error).await?;
            }
        }
    }
    Ok(())
}

async fn browse(stream: &mut Stream, device: &Device, options: &Dictionary) -> io::Result<()> {
    let apps: Vec<Value> =
        wanted(device, options).map(|app| Value::Dictionary(attributes(app, options))).collect();
    for (page, list) in apps.chunks(PAGE).enumerate() {
        let message = dictionary! {
            "Status": "BrowsingApplications", "Total": apps.len() as u64, "CurrentAmount": list.len() as u64,
            "CurrentIndex": (page * PAGE) as u64, "CurrentList": Value::Array(list.to_vec()),
        };
        reply(stream, message).await?;
    }
    reply(stream, dictionary! {"Status": "Complete"}).await
}

fn lookup(device: &Device, options: &Dictionary) -> Dictionary {
    let mut found = Dictionary::new();
    for app in wanted(device, options) {
        let id = app.string("CFBundleIdentifier").unwrap_or_default();
        found.insert(id.to_owned(), Value::Dictionary(attributes(app, options)));
    }
    dictionary! {"LookupResult": Value::Dictionary(found), "Status": "Complete"}
}

/// The applications that the options ask for.
fn wanted<'a>(device: &'a Device, options: &'a Dictionary) -> impl Iterator<Item = &'a Dictionary> {
    let kind = options.string("ApplicationType").filter(|kind| *kind != "Any");
    let ids = options.array("BundleIDs");
    device.apps().iter().filter(move |app| {
        let id = app.get("CFBundleIdentifier");
        let kind_fits = kind.is_none_or(|kind| app.string("ApplicationType").unwrap_or("User") == kind);
        kind_fits && ids.is_none_or(|ids| id.is_some_and(|id| ids.contains(id)))
    })
}

fn attributes(app: &Dictionary, options: &Dictionary) -> Dictionary {
    let Some(names) = options.array("ReturnAttributes") else { return app.clone() };
    let names = names.iter().filter_map(Value::as_string);
    names.filter_map(|name| Some((name.to_owned(), app.get(name)?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, Encoding, Limits};

    #[tokio::test]
    async fn browse_comes_in_pages_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let app = |n: u32| {
            Value::Dictionary(dictionary! {
                "CFBundleIdentifier": format!("org.example.{n}"), "ApplicationType": "User", "Path": "/x",
            })
        };
        let apps = Value::Array((0..45).map(app).collect());
        std::fs::write(folder.path().join("apps.plist"), frame::to_xml(&apps)).unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        let (mut host, phone) = tokio::io::duplex(1 << 20);
        tokio::spawn(serve(Box::new(phone), device));
        let options = dictionary! {
            "ApplicationType": "User", "ReturnAttributes": Value::Array(vec!["CFBundleIdentifier".into()]),
        };
        let ask = dictionary! {"Command": "Browse", "ClientOptions": Value::Dictionary(options)};
        frame::write(&mut host, &Value::Dictionary(ask), Encoding::Xml).await.unwrap();
        let mut pages = Vec::new();
        loop {
            let page = frame::read(&mut host, &Limits::LOCKDOWN).await.unwrap().into_dictionary().unwrap();
            if page.string("Status") == Some("Complete") {
                break;
            }
            assert_eq!(page.uint("Total"), Some(45));
            let list = page.array("CurrentList").unwrap();
            assert!(list.iter().all(|app| app.as_dictionary().unwrap().len() == 1));
            pages.push(list.len());
        }
        assert_eq!(pages, [20, 20, 5]);
    }
}
