//! What is said to lockdownd and what it answers, for both sides. Knows no sockets.

use plist::{Dictionary, Value};

use super::Refusal;
use crate::frame::DictExt;

/// What QueryType answers on a phone that runs iOS.
pub const TYPE: &str = "com.apple.mobile.lockdown";
/// What QueryType answers on a device that is being restored.
pub const RESTORE_TYPE: &str = "com.apple.mobile.restored";
/// The protocol's version, as a string.
pub const PROTOCOL_VERSION: &str = "2";
/// The name by which we introduce ourselves.
pub const LABEL: &str = "idevice-fix";

/// What a host asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Who is there.
    QueryType,
    /// A value; without a key the whole domain, without a domain the null domain.
    GetValue {
        /// Reverse-DNS name, or the null domain.
        domain: Option<String>,
        /// Name of the value.
        key: Option<String>,
    },
    /// Set a value.
    SetValue {
        /// Reverse-DNS name, or the null domain.
        domain: Option<String>,
        /// Name of the value.
        key: Option<String>,
        /// The value.
        value: Option<Value>,
    },
    /// Remove a value.
    RemoveValue {
        /// Reverse-DNS name, or the null domain.
        domain: Option<String>,
        /// Name of the value.
        key: Option<String>,
    },
    /// Become trusted.
    Pair {
        /// Certificates and ids; never a private key from us.
        record: Dictionary,
        /// `ExtendedPairingErrors`, and a supervisor's signature.
        options: Dictionary,
    },
    /// Before iOS 7: confirm a pairing.
    ValidatePair {
        /// Certificates and ids.
        record: Dictionary,
    },
    /// Give trust back.
    Unpair {
        /// At least the host's id.
        record: Dictionary,
    },
    /// Begin an encrypted session.
    StartSession {
        /// The host's id from the pair record.
        host_id: Option<String>,
        /// The muxer's id from the pair record.
        system_buid: Option<String>,
    },
    /// End it.
    StopSession {
        /// As given by StartSession.
        session_id: Option<String>,
    },
    /// Start a service.
    StartService {
        /// Its reverse-DNS name.
        service: Option<String>,
        /// Opens what the lock screen closes, if the device was unlocked once.
        escrow_bag: Option<Vec<u8>>,
    },
    /// Restart into recovery mode.
    EnterRecovery,
    /// The connection will be closed.
    Goodbye,
    /// Not known here.
    Other(String),
}

impl Request {
    /// The request's name on the wire.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::QueryType => "QueryType",
            Self::GetValue { .. } => "GetValue",
            Self::SetValue { .. } => "SetValue",
            Self::RemoveValue { .. } => "RemoveValue",
            Self::Pair { .. } => "Pair",
            Self::ValidatePair { .. } => "ValidatePair",
            Self::Unpair { .. } => "Unpair",
            Self::StartSession { .. } => "StartSession",
            Self::StopSession { .. } => "StopSession",
            Self::StartService { .. } => "StartService",
            Self::EnterRecovery => "EnterRecovery",
            Self::Goodbye => "Goodbye",
            Self::Other(name) => name,
        }
    }

    /// Reads what a host sent. `None`: it has no `Request`.
    #[must_use]
    pub fn from_dictionary(dict: &Dictionary) -> Option<Self> {
        let text = |key: &str| dict.string(key).map(str::to_owned);
        let (domain, key) = (text("Domain"), text("Key"));
        let record = || dict.dict("PairRecord").cloned().unwrap_or_default();
        Some(match dict.string("Request")? {
            "QueryType" => Self::QueryType,
            "GetValue" => Self::GetValue { domain, key },
            "SetValue" => Self::SetValue { domain, key, value: dict.get("Value").cloned() },
            "RemoveValue" => Self::RemoveValue { domain, key },
            "Pair" => {
                let options = dict.dict("PairingOptions").cloned().unwrap_or_default();
                Self::Pair { record: record(), options }
            }
            "ValidatePair" => Self::ValidatePair { record: record() },
            "Unpair" => Self::Unpair { record: record() },
            "StartSession" => Self::StartSession { host_id: text("HostID"), system_buid: text("SystemBUID") },
            "StopSession" => Self::StopSession { session_id: text("SessionID") },
            "StartService" => Self::StartService {
                service: text("Service"),
                escrow_bag: dict.data("EscrowBag").map(<[u8]>::to_vec),
            },
            "EnterRecovery" => Self::EnterRecovery,
            "Goodbye" => Self::Goodbye,
            other => Self::Other(other.to_owned()),
        })
    }

    /// What to send.
    #[must_use]
    pub fn to_dictionary(&self) -> Dictionary {
        let mut dict = Dictionary::new();
        dict.insert("Label".into(), LABEL.into());
        dict.insert("Request".into(), self.name().into());
        let mut text = |key: &str, value: &Option<String>| {
            if let Some(value) = value {
                dict.insert(key.into(), value.as_str().into());
            }
        };
        match self {
            Self::GetValue { domain, key }
            | Self::SetValue { domain, key, .. }
            | Self::RemoveValue { domain, key } => {
                text("Domain", domain);
                text("Key", key);
            }
            Self::StartSession { host_id, system_buid } => {
                text("HostID", host_id);
                text("SystemBUID", system_buid);
            }
            Self::StopSession { session_id } => text("SessionID", session_id),
            Self::StartService { service, .. } => text("Service", service),
            _ => {}
        }
        match self {
            Self::SetValue { value: Some(value), .. } => {
                dict.insert("Value".into(), value.clone());
            }
            Self::Pair { record, options } => {
                dict.insert("PairRecord".into(), Value::Dictionary(record.clone()));
                dict.insert("PairingOptions".into(), Value::Dictionary(options.clone()));
                dict.insert("ProtocolVersion".into(), PROTOCOL_VERSION.into());
            }
            Self::ValidatePair { record } | Self::Unpair { record } => {
                dict.insert("PairRecord".into(), Value::Dictionary(record.clone()));
                dict.insert("ProtocolVersion".into(), PROTOCOL_VERSION.into());
            }
            Self::StartService { escrow_bag: Some(bag), .. } => {
                dict.insert("EscrowBag".into(), Value::Data(bag.clone()));
            }
            _ => {}
        }
        dict
    }
}

/// An answer to `request` to which its results are still to be added.
#[must_use]
pub fn reply(request: &str) -> Dictionary {
    let mut dict = Dictionary::new();
    dict.insert("Request".into(), request.into());
    dict
}

/// The answer that refuses `request`.
#[must_use]
pub fn refused(request: &str, refusal: &Refusal) -> Dictionary {
    let mut dict = reply(request);
    dict.insert("Error".into(), refusal.name().into());
    dict
}

/// What a reply refuses with, if it does. Before iOS 5 a failure had no name.
#[must_use]
pub fn refusal_of(reply: &Dictionary) -> Option<Refusal> {
    if let Some(name) = reply.string("Error") {
        return Some(Refusal::from_name(name));
    }
    (reply.string("Result") == Some("Failure")).then(|| Refusal::Other("Failure".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_as_they_went() {
        let text = |text: &str| Some(text.to_owned());
        let mut record = Dictionary::new();
        record.insert("HostID".into(), "A".into());
        for request in [
            Request::QueryType,
            Request::GetValue { domain: None, key: None },
            Request::GetValue { domain: text("com.apple.mobile.battery"), key: text("HasBattery") },
            Request::SetValue { domain: None, key: text("UntrustedHostBUID"), value: Some("x".into()) },
            Request::RemoveValue { domain: None, key: text("k") },
            Request::Pair { record: record.clone(), options: Dictionary::new() },
            Request::ValidatePair { record: record.clone() },
            Request::Unpair { record },
            Request::StartSession { host_id: text("A"), system_buid: text("B") },
            Request::StopSession { session_id: text("S") },
            Request::StartService { service: text("com.apple.afc"), escrow_bag: Some(vec![1]) },
            Request::EnterRecovery,
            Request::Goodbye,
            Request::Other("Dance".into()),
        ] {
            assert_eq!(Request::from_dictionary(&request.to_dictionary()), Some(request));
        }
        assert_eq!(Request::from_dictionary(&Dictionary::new()), None);
    }

    #[test]
    fn a_refusal_is_found_in_both_of_its_forms() {
        assert_eq!(refusal_of(&refused("Pair", &Refusal::McProtected)), Some(Refusal::McProtected));
        let mut old = reply("StartSession");
        old.insert("Result".into(), "Failure".into());
        assert_eq!(refusal_of(&old), Some(Refusal::Other("Failure".into())));
        assert_eq!(refusal_of(&reply("QueryType")), None);
    }
}
