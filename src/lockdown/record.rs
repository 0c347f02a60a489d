//! The pair record: what a host keeps of a pairing.

use plist::{Dictionary, Value};

use crate::frame::{self, DictExt, Limits};

/// A pair record is a few kilobytes of certificates.
const LIMITS: Limits = Limits { bytes: 256 << 10, depth: 8, nodes: 200 };

/// Why a stored pair record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// Not a property list, or not a dictionary.
    #[error("it is no property list dictionary")]
    NotADictionary,
    /// A key is missing or has a value of the wrong kind.
    #[error("its {0} is missing or of the wrong kind")]
    Key(&'static str),
    /// A key's certificate or private key cannot be read.
    #[error("its {key} cannot be read: {why}")]
    Unreadable {
        /// Which key.
        key: &'static str,
        /// Why, without any of its content.
        why: String,
    },
    /// A certificate and a private key do not belong together.
    #[error("its private keys do not belong to its certificates")]
    KeysDiffer,
}

/// A pair record in the form that all hosts share: private keys included, so it is never shown. Keys that are not
/// known here are kept when it is written again.
#[derive(Clone, PartialEq)]
pub struct PairRecord(Dictionary);

impl PairRecord {
    /// Reads what a muxer keeps.
    ///
    /// # Errors
    /// [`BadRecord`] when what a session needs is missing: the host's id, the muxer's id, the device's certificate, and
    /// the host's certificate with its key.
    pub fn from_plist(bytes: &[u8]) -> Result<Self, BadRecord> {
        let parsed = frame::parse(bytes, &LIMITS).map_err(|_| BadRecord::NotADictionary)?;
        Self::from_dictionary(parsed.into_dictionary().ok_or(BadRecord::NotADictionary)?)
    }

    /// As [`Self::from_plist`], of what is read already.
    ///
    /// # Errors
    /// As [`Self::from_plist`].
    pub fn from_dictionary(dict: Dictionary) -> Result<Self, BadRecord> {
        for key in ["HostID", "SystemBUID"] {
            dict.string(key).ok_or(BadRecord::Key(key))?;
        }
        for key in ["DeviceCertificate", "HostCertificate", "HostPrivateKey"] {
            dict.data(key).ok_or(BadRecord::Key(key))?;
        }
        Ok(Self(dict))
    }

    /// As XML, the form in which every tool can read it.
    #[must_use]
    pub fn to_plist(&self) -> Vec<u8> {
        frame::to_xml(&Value::Dictionary(self.0.clone()))
    }

    /// The host's id; new with each pairing.
    #[must_use]
    pub fn host_id(&self) -> &str {
        self.0.string("HostID").expect("checked when it was read")
    }

    /// The id of the muxer that the pairing was made for.
    #[must_use]
    pub fn system_buid(&self) -> &str {
        self.0.string("SystemBUID").expect("checked when it was read")
    }

    /// The device's certificate, made by the host over the device's public key. PEM or DER.
    #[must_use]
    pub fn device_certificate(&self) -> &[u8] {
        self.0.data("DeviceCertificate").expect("checked when it was read")
    }

    /// The host's certificate. PEM or DER.
    #[must_use]
    pub fn host_certificate(&self) -> &[u8] {
        self.0.data("HostCertificate").expect("checked when it was read")
    }

    /// The certificate that signed the others. PEM or DER.
    #[must_use]
    pub fn root_certificate(&self) -> Option<&[u8]> {
        self.0.data("RootCertificate")
    }

    pub(super) fn host_private_key(&self) -> &[u8] {
        self.0.data("HostPrivateKey").expect("checked when it was read")
    }

    /// What opens a locked device's services, if it was unlocked once since it started.
    #[must_use]
    pub fn escrow_bag(&self) -> Option<&[u8]> {
        self.0.data("EscrowBag").filter(|bag| !bag.is_empty())
    }

    /// The part that the device gets when pairing: certificates and ids, no private key.
    #[must_use]
    pub fn public_part(&self) -> Dictionary {
        const PUBLIC: [&str; 5] =
            ["DeviceCertificate", "HostCertificate", "RootCertificate", "HostID", "SystemBUID"];
        PUBLIC
            .iter()
            .filter_map(|key| self.0.get(key).map(|value| ((*key).to_owned(), value.clone())))
            .collect()
    }

    pub(super) fn insert(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }
}

/// Shows only which host it is: the rest is secret.
impl std::fmt::Debug for PairRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairRecord").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Dictionary {
        let mut dict = Dictionary::new();
        for key in ["HostID", "SystemBUID", "WiFiMACAddress"] {
            dict.insert(key.into(), "secret-text".into());
        }
        for key in
            ["DeviceCertificate", "HostCertificate", "HostPrivateKey", "RootCertificate", "RootPrivateKey"]
        {
            dict.insert(key.into(), Value::Data(b"secret-data".to_vec()));
        }
        dict.insert("SomethingNew".into(), 5.into());
        dict
    }

    #[test]
    fn a_record_keeps_what_it_does_not_know() {
        let record = PairRecord::from_dictionary(sample()).unwrap();
        let again = PairRecord::from_plist(&record.to_plist()).unwrap();
        assert_eq!(again.0, sample());
        assert_eq!(again.escrow_bag(), None);
    }

    #[test]
    fn what_a_session_needs_must_be_there() {
        for key in ["HostID", "SystemBUID", "DeviceCertificate", "HostCertificate", "HostPrivateKey"] {
            let mut dict = sample();
            dict.remove(key);
            assert!(matches!(PairRecord::from_dictionary(dict), Err(BadRecord::Key(k)) if k == key));
        }
        assert!(matches!(PairRecord::from_plist(b"<plist><array/></plist>"), Err(BadRecord::NotADictionary)));
        assert!(matches!(PairRecord::from_plist(b""), Err(BadRecord::NotADictionary)));
    }

    #[test]
    fn no_private_key_is_in_the_public_part_and_nothing_is_shown() {
        let record = PairRecord::from_dictionary(sample()).unwrap();
        assert!(record.public_part().keys().all(|key| !key.contains("Private")));
        assert_eq!(record.public_part().len(), 5);
        assert!(!format!("{record:?}").contains("secret"));
    }
}
