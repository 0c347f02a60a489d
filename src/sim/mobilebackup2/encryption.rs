//! What encrypts this phone's backups: the keybag that was made when the password was set, and the keys of its classes.
//!
//! The bag stays as long as the password does, and with it the keys of all files that have not changed. A changed password
//! means another bag: then everything is sent anew, under new keys (Apple's Platform Security guide). The classes' keys are
//! remembered beside the bag, as a phone does, so that no backup waits for a derivation.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use plist::{Dictionary, Value};

use crate::backup::Secret;
use crate::backup::cipher::{Decrypting, Encrypting, Padding};
use crate::backup::keybag::Keys;
use crate::backup::keybag::create::{self, Iterations};
use crate::frame::{self, DictExt, Limits};
use crate::sim::device::Device;

/// The file of `state/` with the keybag.
const FILE: &str = "backup-keybag.plist";
/// The class of the database's own key: open as soon as the bag is.
const DATABASE_CLASS: u32 = 4;
/// Read and encrypted at once.
const PIECE_BYTES: usize = 1 << 20;

/// A keybag and its keys.
#[derive(Debug)]
pub(super) struct Protection {
    /// As it stands in `Manifest.plist`.
    pub(super) bag: Vec<u8>,
    keys: Keys,
}

impl Protection {
    /// What protects the phone's backups now; `None`: no password is set. Takes seconds the first time after a password
    /// was set.
    pub(super) fn of(device: &Device) -> io::Result<Option<Arc<Self>>> {
        let Some(password) = device.backup_password() else { return Ok(None) };
        if let Some(kept) = device.read_state(FILE)?.and_then(|bytes| Self::parse(&bytes, &password)) {
            return Ok(Some(Arc::new(kept)));
        }
        let config = device.config();
        let iterations = Iterations { dpic: config.backup.dpic, iter: config.backup.iter };
        let created = create::create(&Secret::new(password.as_str()), iterations);
        let made = Self { bag: created.bag, keys: created.keys };
        device.write_state(FILE, &made.to_plist(&password))?;
        Ok(Some(Arc::new(made)))
    }

    /// Reads what was remembered, if it belongs to this password.
    fn parse(bytes: &[u8], password: &str) -> Option<Self> {
        let state = frame::parse(bytes, &Limits::FILE).ok()?.into_dictionary()?;
        if state.string("Password") != Some(password) {
            return None;
        }
        let class =
            |(number, key): (&String, &Value)| Some((number.parse().ok()?, Secret::new(key.as_data()?)));
        let keys = Keys::of(state.dict("ClassKeys")?.iter().filter_map(class));
        Some(Self { bag: state.data("BackupKeyBag")?.to_vec(), keys })
    }

    fn to_plist(&self, password: &str) -> Vec<u8> {
        let key = |(class, key): (u32, &Secret)| (class.to_string(), Value::Data(key.expose().to_vec()));
        let mut state = Dictionary::new();
        state.insert("Password".into(), password.into());
        state.insert("BackupKeyBag".into(), Value::Data(self.bag.clone()));
        state.insert("ClassKeys".into(), Value::Dictionary(self.keys.classes().map(key).collect()));
        frame::to_binary(&Value::Dictionary(state))
    }

    /// A fresh key for a file of this class, wrapped as it stands in the manifest.
    pub(super) fn new_key(&self, class: u32) -> io::Result<Vec<u8>> {
        let no_class = || io::Error::other(format!("the keybag has no class {class}"));
        self.keys.wrap(class, &create::fresh_key()).ok_or_else(no_class)
    }

    /// True if this key is one of ours.
    pub(super) fn opens(&self, wrapped: &[u8]) -> bool {
        self.keys.unwrap(wrapped).is_ok()
    }

    /// Encrypts with a key that [`Protection::new_key`] made.
    pub(super) fn encrypting(&self, wrapped: &[u8]) -> io::Result<Encrypting> {
        let key = self.keys.unwrap(wrapped).map_err(io::Error::other)?;
        Encrypting::new(&key).ok_or_else(|| io::Error::other("the key of a file has a wrong length"))
    }

    /// Encrypts a database that was made; gives the key that belongs into `Manifest.plist`.
    pub(super) fn encrypt_database(&self, plain: &Path, encrypted: &Path) -> io::Result<Vec<u8>> {
        let wrapped = self.new_key(DATABASE_CLASS)?;
        let mut encrypting = self.encrypting(&wrapped)?;
        let (mut from, mut to) = (File::open(plain)?, File::create(encrypted)?);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = from.read(&mut piece)?;
            if read == 0 {
                to.write_all(&encrypting.last())?;
                return Ok(wrapped);
            }
            to.write_all(&encrypting.piece(&piece[..read]))?;
        }
    }

    /// Decrypts a database that a host gave back.
    pub(super) fn decrypt_database(&self, wrapped: &[u8], encrypted: &Path, plain: &Path) -> io::Result<()> {
        let key = self.keys.unwrap(wrapped).map_err(io::Error::other)?;
        let mut from = Decrypting::new(File::open(encrypted)?, &key, Padding::IfThere)?;
        io::copy(&mut from, &mut File::create(plain)?).map(drop)
    }
}

#[cfg(test)]
mod tests;
