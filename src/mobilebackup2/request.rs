//! What a host says: the greetings, requests and status answers from host to device, for both sides.

use plist::{Dictionary, Value};

use super::Secret;
use super::message::{Malformed, signed, split};
use super::wish::{Inspection, Restore, Subject};

/// The text that stands for "nothing" in a status answer.
pub const EMPTY_MARKER: &str = "___EmptyParameterString___";

/// A message from host to device.
#[derive(Debug, Clone, PartialEq)]
pub enum HostMessage {
    /// The DeviceLink version is agreed.
    VersionOk {
        /// What the host says it speaks.
        major: u64,
    },
    /// The versions of the backup protocol that the host speaks.
    Hello {
        /// For example 2.0 and 2.1.
        versions: Vec<f64>,
    },
    /// A request.
    Request(Request),
    /// The answer to what the device asked for.
    Status(Status),
    /// The host leaves.
    Disconnect,
}

/// What a host wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Back up.
    Backup {
        /// The folder that all paths begin with; the device's UDID.
        target: String,
        /// The backup to compare with; the same UDID, where it is sent at all.
        source: Option<String>,
        /// Send everything, whatever the host has.
        force_full: bool,
    },
    /// Set, change or remove the password of backups. Passwords are text.
    ChangePassword {
        /// The device's UDID.
        target: String,
        /// The password that is set; absent: none is.
        old: Option<Secret>,
        /// The one to be set; absent: backups are not encrypted any more.
        new: Option<Secret>,
    },
    /// Bring a backup back onto the device.
    Restore(Restore),
    /// Tell of a backup, or take files out of it.
    Inspect {
        /// Which.
        subject: Subject,
        /// What.
        what: Inspection,
    },
    /// Turn iCloud Backup on or off.
    EnableCloudBackup {
        /// The device's UDID.
        target: String,
        /// On.
        enabled: bool,
    },
    /// Erase all content and settings.
    EraseDevice {
        /// The device's UDID.
        target: String,
    },
    /// A request this side does not speak; what it holds (maybe passwords) is dropped.
    Other {
        /// Its name.
        name: String,
    },
}

/// A host's answer to a device's message.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// 0, or a negative DeviceLink code ([`super::codes`]).
    pub code: i64,
    /// What went wrong.
    pub text: Option<String>,
    /// What was asked for.
    pub value: StatusValue,
}

/// The last element of a status answer.
#[derive(Debug, Clone, PartialEq)]
pub enum StatusValue {
    /// Nothing.
    Empty,
    /// Bytes free.
    Bytes(u64),
    /// A listing, or what went wrong with each path.
    Listing(Dictionary),
}

impl Status {
    /// Done.
    #[must_use]
    pub fn ok() -> Self {
        Self::with(StatusValue::Empty)
    }

    /// Done, and here is what was asked for.
    #[must_use]
    pub fn with(value: StatusValue) -> Self {
        Self { code: 0, text: None, value }
    }

    /// Not done.
    #[must_use]
    pub fn refused(code: i64, text: impl Into<String>) -> Self {
        Self { code, text: Some(text.into()), value: StatusValue::Empty }
    }
}

impl HostMessage {
    /// Reads a message, in any of the encodings that hosts use for negative codes.
    ///
    /// # Errors
    /// [`Malformed`] when an element that the message needs is missing or of another kind.
    pub fn from_value(value: Value) -> Result<Self, Malformed> {
        let (name, elements) = split(value)?;
        let want = |what| Malformed { message: name.clone(), what };
        match name.as_str() {
            "DLMessageVersionExchange" => {
                let agreed = elements.get(1).and_then(Value::as_string) == Some("DLVersionsOk");
                let major = elements.get(2).and_then(Value::as_unsigned_integer);
                agreed.then_some(()).ok_or_else(|| want("versions are not agreed"))?;
                Ok(Self::VersionOk { major: major.unwrap_or(0) })
            }
            "DLMessageProcessMessage" => {
                let body = elements.get(1).and_then(Value::as_dictionary);
                Self::from_body(body.ok_or_else(|| want("no dictionary"))?)
            }
            "DLMessageStatusResponse" => Ok(Self::Status(Status {
                code: elements.get(1).and_then(signed).ok_or_else(|| want("no code"))?,
                text: elements
                    .get(2)
                    .and_then(Value::as_string)
                    .filter(|t| *t != EMPTY_MARKER)
                    .map(str::to_owned),
                value: StatusValue::read(elements.get(3)),
            })),
            "DLMessageDisconnect" => Ok(Self::Disconnect),
            _ => Err(want("is no message of a host")),
        }
    }

    fn from_body(body: &Dictionary) -> Result<Self, Malformed> {
        let text = |key: &str| body.get(key).and_then(Value::as_string).map(str::to_owned);
        let name = text("MessageName")
            .ok_or_else(|| Malformed { message: "DLMessageProcessMessage".into(), what: "no MessageName" })?;
        let options = body.get("Options").and_then(Value::as_dictionary);
        Ok(match name.as_str() {
            "Hello" => {
                let versions = body.get("SupportedProtocolVersions").and_then(Value::as_array);
                let number = |v: &Value| v.as_real().or_else(|| v.as_signed_integer().map(|n| n as f64));
                Self::Hello { versions: versions.into_iter().flatten().filter_map(number).collect() }
            }
            "Backup" => Self::Request(Request::Backup {
                target: text("TargetIdentifier")
                    .ok_or_else(|| Malformed { message: "Backup".into(), what: "no TargetIdentifier" })?,
                source: text("SourceIdentifier"),
                force_full: options
                    .and_then(|o| o.get("ForceFullBackup"))
                    .and_then(Value::as_boolean)
                    .unwrap_or(false),
            }),
            "ChangePassword" => Self::Request(Request::ChangePassword {
                target: text("TargetIdentifier")
                    .ok_or_else(|| Malformed { message: name.clone(), what: "no TargetIdentifier" })?,
                old: text("OldPassword").map(Secret::new),
                new: text("NewPassword").map(Secret::new),
            }),
            "Restore" => Self::Request(Request::Restore(Restore::read(body)?)),
            "EnableCloudBackup" => {
                let told = body.get("CloudBackupState").or_else(|| options?.get("CloudBackupState"));
                let enabled = told.and_then(|told| told.as_boolean().or_else(|| Some(signed(told)? != 0)));
                let want = || Malformed { message: name.clone(), what: "no CloudBackupState" };
                let target = Subject::read(&name, body)?.target;
                Self::Request(Request::EnableCloudBackup { target, enabled: enabled.ok_or_else(want)? })
            }
            "EraseDevice" => {
                Self::Request(Request::EraseDevice { target: Subject::read(&name, body)?.target })
            }
            _ => match Inspection::read(&name, body)? {
                Some(what) => Self::Request(Request::Inspect { subject: Subject::read(&name, body)?, what }),
                None => Self::Request(Request::Other { name }),
            },
        })
    }

    /// The message as it goes over the wire.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Array(match self {
            Self::VersionOk { major } => {
                vec!["DLMessageVersionExchange".into(), "DLVersionsOk".into(), (*major).into()]
            }
            Self::Hello { versions } => {
                let mut body = Dictionary::new();
                body.insert("MessageName".into(), "Hello".into());
                let versions = versions.iter().copied().map(Value::Real).collect();
                body.insert("SupportedProtocolVersions".into(), Value::Array(versions));
                process(body)
            }
            Self::Request(request) => process(request.body()),
            Self::Status(status) => vec![
                "DLMessageStatusResponse".into(),
                status.code.into(),
                status.text.as_deref().unwrap_or(EMPTY_MARKER).into(),
                status.value.to_value(),
            ],
            Self::Disconnect => vec!["DLMessageDisconnect".into(), EMPTY_MARKER.into()],
        })
    }
}

impl Request {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Backup { .. } => "Backup",
            Self::ChangePassword { .. } => "ChangePassword",
            Self::Restore(_) => "Restore",
            Self::Inspect { what, .. } => what.name(),
            Self::EnableCloudBackup { .. } => "EnableCloudBackup",
            Self::EraseDevice { .. } => "EraseDevice",
            Self::Other { name } => name,
        }
    }

    /// True if a password is in it: then every copy of it is overwritten after use.
    pub(super) fn is_secret(&self) -> bool {
        match self {
            Self::ChangePassword { .. } => true,
            Self::Restore(restore) => restore.password.is_some(),
            Self::Inspect { what, .. } => what.has_password(),
            _ => false,
        }
    }

    fn body(&self) -> Dictionary {
        let mut body = Dictionary::new();
        body.insert("MessageName".into(), self.name().into());
        match self {
            Self::Backup { target, source, force_full } => {
                body.insert("TargetIdentifier".into(), target.as_str().into());
                if let Some(source) = source {
                    body.insert("SourceIdentifier".into(), source.as_str().into());
                }
                if *force_full {
                    let mut options = Dictionary::new();
                    options.insert("ForceFullBackup".into(), true.into());
                    body.insert("Options".into(), Value::Dictionary(options));
                }
            }
            Self::ChangePassword { target, old, new } => {
                body.insert("TargetIdentifier".into(), target.as_str().into());
                for (key, password) in [("OldPassword", old), ("NewPassword", new)] {
                    if let Some(password) = password {
                        let text =
                            password.text().expect("whoever makes the request has seen that it is text");
                        body.insert(key.into(), text.into());
                    }
                }
            }
            Self::Restore(restore) => restore.write(&mut body),
            Self::Inspect { subject, what } => {
                subject.write(&mut body);
                what.write(&mut body);
            }
            Self::EnableCloudBackup { target, enabled } => {
                body.insert("TargetIdentifier".into(), target.as_str().into());
                body.insert("CloudBackupState".into(), (*enabled).into());
            }
            Self::EraseDevice { target } => {
                body.insert("TargetIdentifier".into(), target.as_str().into());
            }
            Self::Other { .. } => {}
        }
        body
    }
}

impl StatusValue {
    fn read(value: Option<&Value>) -> Self {
        match value {
            Some(Value::Dictionary(listing)) => Self::Listing(listing.clone()),
            Some(Value::Integer(bytes)) => bytes.as_unsigned().map_or(Self::Empty, Self::Bytes),
            _ => Self::Empty,
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Empty => EMPTY_MARKER.into(),
            Self::Bytes(bytes) => (*bytes).into(),
            Self::Listing(listing) => Value::Dictionary(listing.clone()),
        }
    }
}

fn process(body: Dictionary) -> Vec<Value> {
    vec!["DLMessageProcessMessage".into(), Value::Dictionary(body)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobilebackup2::wish::RestoreOptions;

    fn change(old: Option<&str>, new: Option<&str>) -> HostMessage {
        let (old, new) = (old.map(Secret::new), new.map(Secret::new));
        HostMessage::Request(Request::ChangePassword { target: "U".into(), old, new })
    }

    fn inspect(what: Inspection) -> HostMessage {
        let subject = Subject { target: "U".into(), source: "V".into() };
        HostMessage::Request(Request::Inspect { subject, what })
    }

    #[test]
    fn options_that_are_not_sent_have_the_phones_own_values() {
        let mut body = Dictionary::new();
        body.insert("MessageName".into(), "Restore".into());
        body.insert("TargetIdentifier".into(), "U".into());
        let message = HostMessage::from_value(Value::Array(process(body.clone()))).unwrap();
        let (options, password) = (RestoreOptions::default(), None);
        let restore = Restore { subject: Subject::own("U"), options, password };
        assert_eq!(message, HostMessage::Request(Request::Restore(restore)));
        body.remove("TargetIdentifier");
        assert!(HostMessage::from_value(Value::Array(process(body))).is_err());
    }

    #[test]
    fn what_a_host_says_survives_the_wire() {
        let mut listing = Dictionary::new();
        listing.insert("Status.plist".into(), Value::Dictionary(Dictionary::new()));
        let backup = Request::Backup { target: "U".into(), source: Some("U".into()), force_full: true };
        for message in [
            HostMessage::VersionOk { major: 400 },
            HostMessage::Hello { versions: vec![2.0, 2.1] },
            HostMessage::Request(backup),
            HostMessage::Request(Request::Backup { target: "U".into(), source: None, force_full: false }),
            change(Some("old"), Some("new")),
            change(None, Some("new")),
            change(Some("old"), None),
            HostMessage::Request(Request::Restore(Restore {
                subject: Subject::own("U"),
                options: RestoreOptions { reboot: false, system_files: true, ..RestoreOptions::default() },
                password: Some(Secret::new("hunter2")),
            })),
            inspect(Inspection::Info),
            inspect(Inspection::List),
            inspect(Inspection::Unback { password: Some(Secret::new("hunter2")) }),
            inspect(Inspection::Extract { domain: "HomeDomain".into(), path: "a/b".into(), password: None }),
            HostMessage::Request(Request::EnableCloudBackup { target: "U".into(), enabled: true }),
            HostMessage::Request(Request::EraseDevice { target: "U".into() }),
            HostMessage::Status(Status::ok()),
            HostMessage::Status(Status::refused(-13, "Multi status")),
            HostMessage::Status(Status::with(StatusValue::Bytes(1 << 50))),
            HostMessage::Status(Status::with(StatusValue::Listing(listing))),
            HostMessage::Disconnect,
        ] {
            assert_eq!(HostMessage::from_value(message.to_value()).unwrap(), message);
        }
    }

    #[test]
    fn negative_codes_of_all_hosts_mean_the_same() {
        let code = (-13i64).cast_unsigned();
        for number in [Value::from(code), Value::from(-13i64)] {
            let value = Value::Array(vec!["DLMessageStatusResponse".into(), number]);
            let HostMessage::Status(status) = HostMessage::from_value(value).unwrap() else { panic!() };
            assert_eq!(status.code, -13);
        }
    }

    #[test]
    fn a_password_is_never_printed_and_one_of_an_unknown_request_not_even_kept() {
        assert!(!format!("{:?}", change(Some("hunter2"), Some("hunter2"))).contains("hunter2"));
        let mut body = Dictionary::new();
        body.insert("MessageName".into(), "Unheard".into());
        body.insert("Password".into(), "hunter2".into());
        let message = HostMessage::from_value(Value::Array(process(body))).unwrap();
        assert_eq!(message, HostMessage::Request(Request::Other { name: "Unheard".into() }));
    }
}
