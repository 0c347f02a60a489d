//! What the phone tells of a backup on the host, and what it takes out of it for the host.
//!
//! Messages as in the trace of libimobiledevice #927: files are copied on the host, from the backup to
//! `_unback_/<UDID>/var/…`; encrypted ones must travel through the phone. A phone of iOS 10 or later that is asked for a
//! list still looks for the `Manifest.mbdb` of older ones and fails (#422, #608, #1224): so does a harsh one here, while a
//! kind one answers. The wording of the texts is ours, since no trace shows one; the list is CSV, as hosts announce it.

use std::fmt::Write;
use std::sync::Arc;

use cap_std::fs::Dir;

use super::backup::in_background;
use super::catalog::Kind;
use super::content::Content;
use super::link::{Link, Outgoing};
use super::policy::on_the_phone;
use super::source::{Held, Source, because, no_such_file};
use super::{BAD_MANIFEST, Stop};
use crate::mobilebackup2::Secret;
use crate::mobilebackup2::message::{DeviceMessage, PATH_BYTES_MAX};
use crate::mobilebackup2::wish::{Inspection, Subject};
use crate::sim::config::Temper;
use crate::sim::device::Device;

/// Where hosts look for what was unpacked.
const UNPACKED: &str = "_unback_";
/// A longer list ends here: hosts hold it in memory as one text.
const LIST_BYTES_MAX: usize = 48 << 20;
/// One file of an encrypted backup that travels through the phone.
const FILE_BYTES_MAX: u64 = 1 << 40;

/// Answers; the text is what was asked for.
pub(super) async fn run(
    link: &mut Link,
    device: &Arc<Device>,
    subject: &Subject,
    what: &Inspection,
) -> Result<Option<String>, Stop> {
    let root = &subject.source;
    if *what == Inspection::List
        && device.config().temper == Temper::Harsh
        && device.version().at_least(10, 0)
    {
        let path = format!("{root}/Manifest.mbdb");
        let missing = format!("No such file or directory at path \"{path}\" (MBErrorDomain/4)");
        return Err(because("Error reading backup database", &missing));
    }
    let scratch = tempfile::Builder::new().prefix("inspect-").tempdir_in(device.temporary())?;
    let folder = Dir::open_ambient_dir(scratch.path(), cap_std::ambient_authority())?;
    let own = folder.try_clone()?;
    let password = match what {
        Inspection::Unback { password } | Inspection::Extract { password, .. } => password.clone(),
        Inspection::Info | Inspection::List => None::<Secret>,
    };
    let source = Source::open(link, root, folder, password).await?;
    match what {
        Inspection::Info => Ok(Some(info(&source))),
        Inspection::List => in_background(move || Ok(list(&source))).await.map(Some),
        Inspection::Unback { .. } => unpack(link, &own, &source, source.held.iter().collect()).await,
        Inspection::Extract { domain, path, .. } => {
            let wanted =
                |held: &&Held| held.domain == *domain && held.path() == path && held.kind == Kind::File;
            let held = source.held.iter().find(wanted);
            let held = held.ok_or_else(|| no_such_file(&format!("{domain}-{path}")))?;
            unpack(link, &own, &source, vec![held]).await
        }
    }
}

fn info(source: &Source) -> String {
    let files = source.held.iter().filter(|held| held.kind == Kind::File);
    let bytes = files.clone().fold(0u64, |sum, held| sum.saturating_add(held.file.size));
    let mut text = format!("Backup: {}\n", source.root);
    for (title, key) in [
        ("Device Name", "DeviceName"),
        ("Product Type", "ProductType"),
        ("Product Version", "ProductVersion"),
        ("Build Version", "BuildVersion"),
        ("Serial Number", "SerialNumber"),
        ("Unique Identifier", "UniqueDeviceID"),
    ] {
        if let Some(value) = source.lockdown(key) {
            // Writing to a text does not fail.
            let _ = writeln!(text, "{title}: {}", value.replace(['\n', '\r'], " "));
        }
    }
    let date = source.date().map_or_else(|| "unknown".to_owned(), |date| date.to_string());
    let _ = writeln!(text, "Date: {date}\nEncrypted: {}", source.encrypted);
    let _ = writeln!(text, "Files: {}\nSize: {bytes}", files.count());
    text
}

fn list(source: &Source) -> String {
    let mut text = "Domain,Path,Kind,Mode,User,Group,Modified,Changed,Born,Size,Target\n".to_owned();
    for held in &source.held {
        let kind = match held.kind {
            Kind::File => "file",
            Kind::Folder => "folder",
            Kind::Link => "link",
        };
        let file = &held.file;
        let _ = writeln!(
            text,
            "{},{},{kind},{:o},{},{},{},{},{},{},{}",
            quoted(&held.domain),
            quoted(held.path()),
            file.mode,
            file.user_id,
            file.group_id,
            file.last_modified,
            file.last_status_change,
            file.birth,
            file.size,
            quoted(file.target.as_deref().unwrap_or_default()),
        );
        if text.len() > LIST_BYTES_MAX {
            break;
        }
    }
    text
}

/// A field of CSV (RFC 4180).
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

async fn unpack(
    link: &mut Link,
    own: &Dir,
    source: &Source,
    held: Vec<&Held>,
) -> Result<Option<String>, Stop> {
    let mut made = String::new();
    for held in held {
        let target = format!("{UNPACKED}/{}/{}", source.root, on_the_phone(&held.domain, held.path()));
        if target.len() > PATH_BYTES_MAX {
            return Err(Stop::refuse(BAD_MANIFEST, "The backup holds a path that is too long"));
        }
        let parent = target.rsplit_once('/').map_or("", |(parent, _)| parent);
        match held.kind {
            Kind::Folder => make(link, &target, &mut made).await?,
            Kind::File => {
                make(link, parent, &mut made).await?;
                file(link, own, source, held, &target).await?;
            }
            // The protocol has no message that makes a link.
            Kind::Link => {}
        }
    }
    Ok(None)
}

/// Has the host make a folder; what is within one row's folder is mostly within the next one's too.
async fn make(link: &mut Link, path: &str, made: &mut String) -> Result<(), Stop> {
    if made != path {
        link.demand(&DeviceMessage::CreateDirectory { path: path.to_owned() }).await?;
        path.clone_into(made);
    }
    Ok(())
}

async fn file(link: &mut Link, own: &Dir, source: &Source, held: &Held, target: &str) -> Result<(), Stop> {
    let from = format!("{}/{}", source.root, held.stored());
    if !source.encrypted {
        let copy = DeviceMessage::CopyItem { from, to: target.to_owned() };
        return link.demand(&copy).await.map(|_| ());
    }
    source.fetch(link, 0.0, &[held], FILE_BYTES_MAX).await?;
    let content = Content::File(own.open(held.stored())?.into_std());
    let device_path = format!("/var/tmp/{}", held.id);
    link.upload(0.0, vec![Outgoing { device_path, host_path: target.to_owned(), content }]).await?;
    own.remove_file(held.stored())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_list_stay_fields() {
        assert_eq!(quoted("Media/DCIM"), "Media/DCIM");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\"\n"), "\"say \"\"x\"\"\n\"");
    }
}
