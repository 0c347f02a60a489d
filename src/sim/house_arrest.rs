//! `com.apple.mobile.house_arrest`: the files of one application. After the phone has agreed, the same connection
//! speaks AFC (libimobiledevice house_arrest.c).
//!
//! An application's files are what a backup holds of it, `files/AppDomain-<identifier>/`. Its documents are open where
//! it shares them (`UIFileSharingEnabled`), all of it where its developer signed it (`get-task-allow`), as phones do it
//! since iOS 8.3 (ifuse #32).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plist::{Dictionary, Value};

use super::afc::{self, Container};
use super::device::Device;
use super::healthy::dictionary;
use super::plists::{reply, request};
use crate::frame::DictExt;
use crate::usbmux::Stream;

/// The folder of a container that is shared.
pub(super) const DOCUMENTS: &str = "Documents";

/// Serves one connection.
pub(super) async fn serve(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    while let Some(asked) = request(&mut stream).await? {
        match vended(&device, &asked) {
            Ok(container) => {
                prepare(&device, &container.folder)?;
                reply(&mut stream, dictionary! {"Status": "Complete"}).await?;
                return afc::serve_container(stream, device, container).await;
            }
            Err(refusal) => reply(&mut stream, dictionary! {"Error": refusal}).await?,
        }
    }
    Ok(())
}

/// What a request opens, or the name of the refusal.
fn vended(device: &Device, asked: &Dictionary) -> Result<Container, &'static str> {
    let id = asked.string("Identifier").unwrap_or_default();
    let app = device.apps().iter().find(|app| app.string("CFBundleIdentifier") == Some(id));
    let app = app.filter(|_| !id.is_empty()).ok_or("ApplicationLookupFailed")?;
    let (allowed, documents_only) = match asked.string("Command") {
        Some("VendDocuments") => (app.boolean("UIFileSharingEnabled") == Some(true), true),
        Some("VendContainer") => {
            let entitlements = app.dict("Entitlements");
            (entitlements.and_then(|all| all.boolean("get-task-allow")) == Some(true), false)
        }
        _ => return Err("InvalidCommand"),
    };
    if !allowed {
        return Err("InstallationLookupFailed");
    }
    // The identifier is the phone's own data, and yet becomes a path.
    let name = format!("AppDomain-{id}");
    if Path::new(&name).components().count() != 1 || name.contains('/') {
        return Err("InstallationLookupFailed");
    }
    Ok(Container { folder: PathBuf::from(name), documents_only })
}

/// A container is there from the moment its application is installed.
fn prepare(device: &Device, folder: &Path) -> io::Result<()> {
    let documents = folder.join(DOCUMENTS);
    if device.files().symlink_metadata(&documents).is_ok() {
        return Ok(());
    }
    for path in [folder, &documents] {
        let dir = device.files().writable(path)?;
        match dir.create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, Encoding, Limits};

    fn phone() -> (tempfile::TempDir, Arc<Device>) {
        let folder = tempfile::tempdir().unwrap();
        let signed = Value::Dictionary(dictionary! {"get-task-allow": true});
        let apps = [
            dictionary! {"CFBundleIdentifier": "org.example.shares", "UIFileSharingEnabled": true},
            dictionary! {"CFBundleIdentifier": "org.example.mine", "Entitlements": signed},
            dictionary! {"CFBundleIdentifier": "../up", "UIFileSharingEnabled": true},
        ];
        let apps = Value::Array(apps.into_iter().map(Value::Dictionary).collect());
        std::fs::write(folder.path().join("apps.plist"), frame::to_xml(&apps)).unwrap();
        let documents = folder.path().join("files/AppDomain-org.example.shares/Documents");
        std::fs::create_dir_all(&documents).unwrap();
        std::fs::write(documents.join("note"), "hello").unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        (folder, device)
    }

    #[test]
    fn only_what_an_application_shares_is_opened() {
        let (_folder, device) = phone();
        let ask = |command: &str, id: &str| {
            vended(&device, &dictionary! {"Command": command, "Identifier": id}).map(|c| c.documents_only)
        };
        assert_eq!(ask("VendDocuments", "org.example.shares"), Ok(true));
        assert_eq!(ask("VendContainer", "org.example.mine"), Ok(false));
        for (command, id, refusal) in [
            ("VendContainer", "org.example.shares", "InstallationLookupFailed"),
            ("VendDocuments", "org.example.mine", "InstallationLookupFailed"),
            ("VendDocuments", "org.example.none", "ApplicationLookupFailed"),
            ("VendDocuments", "", "ApplicationLookupFailed"),
            ("VendDocuments", "../up", "InstallationLookupFailed"),
            ("Dance", "org.example.mine", "InvalidCommand"),
        ] {
            assert_eq!(ask(command, id), Err(refusal), "{command} {id}");
        }
    }

    #[tokio::test]
    async fn after_a_refusal_another_may_be_asked_for_and_then_it_is_afc() {
        use crate::afc::client::Afc;
        let (_folder, device) = phone();
        let (mut host, phone) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve(Box::new(phone), device));
        for (id, key, word) in [
            ("org.example.none", "Error", "ApplicationLookupFailed"),
            ("org.example.shares", "Status", "Complete"),
        ] {
            let asked = Value::Dictionary(dictionary! {"Command": "VendDocuments", "Identifier": id});
            frame::write(&mut host, &asked, Encoding::Binary).await.unwrap();
            let told = frame::read(&mut host, &Limits::LOCKDOWN).await.unwrap().into_dictionary().unwrap();
            assert_eq!(told.string(key), Some(word));
        }
        let afc = Afc::over(Box::new(host));
        assert_eq!(afc.read_file("/Documents/note", 100).await.unwrap(), b"hello");
        for closed in ["/", "/Library", "/Documents/../Library"] {
            let refused = afc.read_dir(closed).await.unwrap_err().to_string();
            assert!(refused.contains("ermission") || refused.contains("10"), "{closed}: {refused}");
        }
        assert!(afc.read_file("/../org.example.mine", 100).await.is_err());
    }
}
