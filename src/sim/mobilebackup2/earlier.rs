//! The backup that the host has: read back before a new one, to see what need not be sent again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use plist::Dictionary;

use super::BAD_MANIFEST;
use super::backup::in_background;
use super::encryption::Protection;
use super::link::Link;
use super::manifest::{self, Status};
use super::{Refusal, Stop};
use crate::backup::mbfile::MbFile;
use crate::frame::{self, DictExt, Limits};

/// A backup that the host has.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// Its files, by id.
    pub(super) files: HashMap<String, MbFile>,
    /// What has not changed since need not be sent again. Not so when backups were plain then and are encrypted now: all
    /// that such a backup is good for is to know what has to go.
    pub(super) to_build_upon: bool,
}

/// Reads the backup in the host's folder `root`; `None`: there is none, or none whose database this phone can read.
pub(super) async fn read(
    link: &mut Link,
    root: &str,
    scratch: &Path,
    protection: Option<&Arc<Protection>>,
) -> Result<Option<Earlier>, Stop> {
    let mut status = Vec::new();
    link.download(&format!("{root}/Status.plist"), bounded(&mut status)).await?;
    let Some(status) = Status::parse(&status).filter(|status| status.finished) else { return Ok(None) };
    let mut plist = Vec::new();
    link.download(&format!("{root}/Manifest.plist"), bounded(&mut plist)).await?;
    if plist.is_empty() {
        // An empty file stands for a backup that is yet to be made, unless the status speaks of an incremental one.
        return if status.full { Ok(None) } else { Err(no_manifest()) };
    }
    let manifest = frame::parse(&plist, &Limits::FILE).ok().and_then(plist::Value::into_dictionary);
    let manifest = manifest.ok_or_else(|| bad("Manifest.plist is no property list"))?;
    let Some(made) = made_under(&manifest, protection)? else { return Ok(None) };
    let path = scratch.join("before.db");
    let mut file = File::create(&path)?;
    if !link.download(&format!("{root}/Manifest.db"), |piece| file.write_all(piece)).await? {
        return Err(no_manifest());
    }
    drop(file);
    let to_build_upon = made.is_some() == protection.is_some();
    let clear = scratch.join("before-in-the-clear.db");
    let read = in_background(move || {
        let path = match &made {
            Some((protection, key)) => {
                protection.decrypt_database(key, &path, &clear)?;
                &clear
            }
            None => &path,
        };
        manifest::read_database(path).map_err(io::Error::other)
    });
    let files = read.await.map_err(|stop| match stop {
        Stop::Broken(error) => bad(error),
        refused @ Stop::Refused(_) => refused,
    })?;
    Ok(Some(Earlier { files, to_build_upon }))
}

type Under = Option<(Arc<Protection>, Vec<u8>)>;

/// What the earlier backup was encrypted with, and its database's key; `Some(None)`: nothing. `None`: with something that
/// this phone no longer has, since its password was changed or removed.
fn made_under(manifest: &Dictionary, protection: Option<&Arc<Protection>>) -> Result<Option<Under>, Stop> {
    if manifest.boolean("IsEncrypted") != Some(true) {
        return Ok(Some(None));
    }
    let ours = protection.filter(|ours| manifest.data("BackupKeyBag") == Some(&ours.bag));
    let Some(ours) = ours else { return Ok(None) };
    let key = manifest.data("ManifestKey").ok_or_else(|| bad("Manifest.plist has no ManifestKey"))?;
    Ok(Some(Some((Arc::clone(ours), key.to_vec()))))
}

/// Keeps a small file in memory.
pub(super) fn bounded(into: &mut Vec<u8>) -> impl FnMut(&[u8]) -> io::Result<()> {
    const MOST: usize = 16 << 20;
    move |piece| {
        if into.len() + piece.len() > MOST {
            return Err(io::Error::other("the host sends too much"));
        }
        into.extend_from_slice(piece);
        Ok(())
    }
}

fn bad(what: impl std::fmt::Display) -> Stop {
    Stop::refuse(BAD_MANIFEST, format!("Error reading the manifest: {what}"))
}

fn no_manifest() -> Stop {
    let text = "Error reading backup properties (MBErrorDomain/205). Underlying error: Error deserializing \
                properties: Cannot parse a NULL or zero-length data (MBErrorDomain/11).";
    Stop::Refused(Refusal { code: BAD_MANIFEST, description: text.into() })
}
