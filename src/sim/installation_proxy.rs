//! `com.apple.mobile.installation_proxy`: what is installed. Nothing can be installed or removed here.

use std::io;
use std::sync::Arc;

use plist::{Dictionary, Value};

use super::device::Device;
use super::healthy::dictionary;
use super::plists::{reply, request};
use super::tree;
use crate::frame::DictExt;
use crate::usbmux::Stream;

/// What would change what is installed.
const CHANGES: &[&str] =
    &["Install", "Upgrade", "Uninstall", "Archive", "Restore", "RemoveArchive", "RemoveCapabilities"];
/// `ErrorDetail` of refusals: clients print it and decide nothing by it.
const INVALID_ARGUMENT: i64 = -402_653_177;
const NO_PACKAGE: i64 = -402_653_139;
const NOT_VERIFIED: i64 = -402_620_395;
const NOT_INSTALLED: i64 = -402_653_137;
const NOT_ALLOWED: i64 = -402_620_415;
/// Applications in one reply to Browse.
const PAGE: usize = 20;

/// Serves one connection.
pub(super) async fn serve(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    while let Some(asked) = request(&mut stream).await? {
        let options = asked.dict("ClientOptions").cloned().unwrap_or_default();
        match asked.string("Command") {
            Some("Browse") => browse(&mut stream, &device, &options).await?,
            Some("Lookup") => reply(&mut stream, lookup(&device, &options)).await?,
            Some("LookupArchives") => {
                let none = Value::Dictionary(Dictionary::new());
                reply(&mut stream, dictionary! {"LookupResult": none, "Status": "Complete"}).await?;
            }
            Some(command) if CHANGES.contains(&command) => {
                reply(&mut stream, refusal(&device, command, &asked)).await?;
            }
            _ => reply(&mut stream, error("UnknownCommand", "There is no such command", 0)).await?,
        }
    }
    Ok(())
}

/// Why nothing is installed or removed: the package is not there, the application is not, or Apple's servers, which
/// would have to agree, are not.
fn refusal(device: &Device, command: &str, asked: &Dictionary) -> Dictionary {
    let id = asked.string("ApplicationIdentifier");
    let package = asked.string("PackagePath").and_then(tree::clean);
    match (command, id, package) {
        ("Install" | "Upgrade", _, None) => {
            error("MissingPackagePath", "The request names no package", INVALID_ARGUMENT)
        }
        ("Install" | "Upgrade", _, Some(path)) => match device.media().symlink_metadata(&path) {
            Err(_) => error("PackageInspectionFailed", "There is no such package", NO_PACKAGE),
            Ok(_) => error("ApplicationVerificationFailed", "Nobody could verify the package", NOT_VERIFIED),
        },
        (_, None, _) => {
            error("MissingBundleIdentifier", "The request names no application", INVALID_ARGUMENT)
        }
        (_, Some(id), _) if !is_installed(device, id) => {
            error("APIInternalError", "There is no such application", NOT_INSTALLED)
        }
        _ => error("APIInternalError", "This phone keeps its applications", NOT_ALLOWED),
    }
}

fn is_installed(device: &Device, id: &str) -> bool {
    device.apps().iter().any(|app| app.string("CFBundleIdentifier") == Some(id))
}

fn error(name: &str, description: &str, detail: i64) -> Dictionary {
    dictionary! {"Error": name, "ErrorDescription": description, "ErrorDetail": detail}
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

    #[test]
    fn nothing_is_installed_or_removed_and_each_refusal_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("media")).unwrap();
        std::fs::write(folder.path().join("media/a.ipa"), "").unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        for (command, key, value, name) in [
            ("Install", "PackagePath", "/a.ipa", "ApplicationVerificationFailed"),
            ("Upgrade", "PackagePath", "b.ipa", "PackageInspectionFailed"),
            ("Install", "PackagePath", "../../b.ipa", "MissingPackagePath"),
            ("Install", "Other", "", "MissingPackagePath"),
            ("Uninstall", "ApplicationIdentifier", "org.example.notes", "APIInternalError"),
            ("Uninstall", "ApplicationIdentifier", "org.example.none", "APIInternalError"),
            ("Archive", "Other", "", "MissingBundleIdentifier"),
        ] {
            let mut asked = dictionary! {"Command": command};
            asked.insert(key.to_owned(), value.into());
            let told = refusal(&device, command, &asked);
            assert_eq!(told.string("Error"), Some(name), "{command} {value}");
            assert!(told.string("ErrorDescription").is_some());
        }
    }
}
