//! What lockdown has to say: a healthy phone's values, the folder's `lockdown.plist` over them, and what was set.
//!
//! In `lockdown.plist` the null domain (`""`) is laid over key by key; any other domain that is given replaces the
//! default one whole.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use plist::{Dictionary, Value};

use super::folder::Folder;
use super::{FolderError, healthy};
use crate::usbmux::Udid;

/// The file of the folder.
pub(super) const FILE: &str = "lockdown.plist";

/// See the module.
#[derive(Debug)]
pub(super) struct Values {
    domains: BTreeMap<String, Dictionary>,
    /// Keys of the null domain that `lockdown.plist` states itself.
    stated: Vec<String>,
}

impl Values {
    /// Reads the folder's values, and the UDID that they state or the folder's name gives.
    pub(super) fn read(folder: &Folder) -> Result<(Self, Udid), FolderError> {
        let file = folder.dictionary(FILE)?.unwrap_or_default();
        let path = folder.path.join(FILE);
        let mut given = BTreeMap::new();
        for (domain, values) in file {
            let Value::Dictionary(values) = values else {
                let reason = format!("the domain {domain:?} is no dictionary");
                return Err(FolderError::damaged(&path, reason));
            };
            given.insert(domain, values);
        }
        let null = given.remove("").unwrap_or_default();
        let seed = seed(folder);
        let udid = udid(&null, seed).map_err(|reason| FolderError::damaged(&path, reason))?;
        let mut domains = healthy::domains(udid.as_str(), seed);
        let stated = null.keys().cloned().collect();
        domains.entry(String::new()).or_default().extend(null);
        domains.append(&mut given);
        Ok((Self { domains, stated }, udid))
    }

    /// One value.
    pub(super) fn value(&self, domain: &str, key: &str) -> Option<&Value> {
        self.domains.get(domain)?.get(key)
    }

    /// A whole domain; one that nobody knows is empty.
    pub(super) fn domain(&self, domain: &str) -> Dictionary {
        self.domains.get(domain).cloned().unwrap_or_default()
    }

    /// Sets a value, or removes it.
    pub(super) fn set(&mut self, domain: &str, key: &str, value: Option<Value>) {
        let domain = self.domains.entry(domain.to_owned()).or_default();
        match value {
            Some(value) => domain.insert(key.to_owned(), value),
            None => domain.remove(key),
        };
    }

    /// True if `lockdown.plist` itself states this key of the null domain.
    pub(super) fn states(&self, key: &str) -> bool {
        self.stated.iter().any(|stated| stated == key)
    }
}

/// Eight bytes that are this folder's own.
fn seed(folder: &Folder) -> [u8; 8] {
    let name = folder.path.file_name().unwrap_or_default();
    let digest = digest::digest(&digest::SHA256, name.as_encoded_bytes());
    let mut seed = [0; 8];
    seed.copy_from_slice(&digest.as_ref()[..8]);
    seed
}

fn udid(null: &Dictionary, seed: [u8; 8]) -> Result<Udid, String> {
    let text = match null.get("UniqueDeviceID") {
        None => format!("00008101-{}", hex::encode_upper(seed)),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err("`UniqueDeviceID` is no string".to_owned()),
    };
    Udid::parse(&text).ok_or_else(|| {
        format!("`UniqueDeviceID` {text:?} is no UDID: want 24 to 40 hexadecimal digits and hyphens")
    })
}
