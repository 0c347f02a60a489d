//! What a device says: the messages of DeviceLink from device to host, for both sides.
//!
//! Every message is an array whose first element is its name. Which element means what differs from message to
//! message, and is known only here. A host reads progress at the third or fourth element, so a device always sends
//! that element.

use plist::{Dictionary, Value};

/// Longest path in a message or a stream, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// Most items in one move, removal or download.
pub const ITEMS_MAX: usize = 200_000;

/// A message that is not what the protocol allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {what}")]
pub struct Malformed {
    /// The message's name, as far as it could be read.
    pub message: String,
    /// What is wrong with it.
    pub what: &'static str,
}

/// A message from device to host. Progress is in percent and means "after this step".
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceMessage {
    /// The first word: the DeviceLink version the device speaks.
    VersionExchange {
        /// 300 on old systems, 400 since about iOS 14.
        major: u64,
        /// Zero so far.
        minor: u64,
    },
    /// The version was agreed; requests may follow.
    Ready,
    /// The answer to a request; for a backup, its end.
    Response(Response),
    /// How many bytes are free for this backup?
    FreeDiskSpace,
    /// Make room for so many bytes.
    PurgeDiskSpace {
        /// Bytes wanted.
        bytes: u64,
    },
    /// Make a folder.
    CreateDirectory {
        /// Below the backup root.
        path: String,
    },
    /// List a folder.
    ContentsOfDirectory {
        /// Below the backup root.
        path: String,
    },
    /// Move things; a target that exists is replaced.
    MoveItems {
        /// From and to.
        items: Vec<(String, String)>,
        /// Percent.
        progress: f64,
    },
    /// Remove things; what is not there is no error.
    RemoveItems {
        /// Below the backup root.
        paths: Vec<String>,
        /// Percent.
        progress: f64,
    },
    /// Copy a file or a whole folder.
    CopyItem {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// Send me these files.
    DownloadFiles {
        /// Below the backup root.
        paths: Vec<String>,
        /// Percent.
        progress: f64,
    },
    /// Here come files: a stream follows the message.
    UploadFiles {
        /// Percent.
        progress: f64,
        /// Bytes of this batch, as announced.
        total_bytes: u64,
    },
    /// The device leaves.
    Disconnect {
        /// What it says about it.
        text: String,
    },
    /// A message this project does not know.
    Other {
        /// Its name.
        name: String,
    },
}

/// The device's answer to a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Response {
    /// 0: done; else a code of `MBErrorDomain` ([`super::codes`]).
    pub code: i64,
    /// What the device says about it: text from the phone.
    pub description: Option<String>,
    /// In the answer to the greeting: the version the device chose.
    pub protocol_version: Option<f64>,
    /// Text that was asked for.
    pub content: Option<String>,
}

impl DeviceMessage {
    /// Its name on the wire.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::VersionExchange { .. } => "DLMessageVersionExchange",
            Self::Ready => "DLMessageDeviceReady",
            Self::Response(_) => "DLMessageProcessMessage",
            Self::FreeDiskSpace => "DLMessageGetFreeDiskSpace",
            Self::PurgeDiskSpace { .. } => "DLMessagePurgeDiskSpace",
            Self::CreateDirectory { .. } => "DLMessageCreateDirectory",
            Self::ContentsOfDirectory { .. } => "DLContentsOfDirectory",
            Self::MoveItems { .. } => "DLMessageMoveItems",
            Self::RemoveItems { .. } => "DLMessageRemoveItems",
            Self::CopyItem { .. } => "DLMessageCopyItem",
            Self::DownloadFiles { .. } => "DLMessageDownloadFiles",
            Self::UploadFiles { .. } => "DLMessageUploadFiles",
            Self::Disconnect { .. } => "DLMessageDisconnect",
            Self::Other { name } => name,
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`Malformed`] when an element that the message needs is missing, of another kind, or beyond its bound.
    pub fn from_value(value: Value) -> Result<Self, Malformed> {
        let (name, elements) = split(value)?;
        let want = |what| Malformed { message: name.clone(), what };
        Ok(match name.as_str() {
            "DLMessageVersionExchange" => Self::VersionExchange {
                major: elements.get(1).and_then(unsigned).ok_or_else(|| want("no version"))?,
                minor: elements.get(2).and_then(unsigned).unwrap_or(0),
            },
            "DLMessageDeviceReady" => Self::Ready,
            "DLMessageProcessMessage" => {
                let body = elements.get(1).and_then(Value::as_dictionary);
                Self::Response(Response::from_dictionary(body.ok_or_else(|| want("no dictionary"))?))
            }
            "DLMessageGetFreeDiskSpace" => Self::FreeDiskSpace,
            "DLMessagePurgeDiskSpace" => {
                Self::PurgeDiskSpace { bytes: elements.get(1).and_then(unsigned).unwrap_or(0) }
            }
            "DLMessageCreateDirectory" => Self::CreateDirectory { path: path(&name, elements.get(1))? },
            "DLContentsOfDirectory" => Self::ContentsOfDirectory { path: path(&name, elements.get(1))? },
            // The short names are of DeviceLink before version 200.
            "DLMessageMoveItems" | "DLMessageMoveFiles" => {
                Self::MoveItems { items: moves(&name, elements.get(1))?, progress: percent(elements.get(3)) }
            }
            "DLMessageRemoveItems" | "DLMessageRemoveFiles" => Self::RemoveItems {
                paths: paths(&name, elements.get(1))?,
                progress: percent(elements.get(3)),
            },
            "DLMessageCopyItem" => {
                Self::CopyItem { from: path(&name, elements.get(1))?, to: path(&name, elements.get(2))? }
            }
            "DLMessageDownloadFiles" => Self::DownloadFiles {
                paths: paths(&name, elements.get(1))?,
                progress: percent(elements.get(3)),
            },
            "DLMessageUploadFiles" => Self::UploadFiles {
                progress: percent(elements.get(2)),
                total_bytes: elements.get(3).and_then(unsigned).unwrap_or(0),
            },
            "DLMessageDisconnect" => Self::Disconnect {
                text: elements.get(1).and_then(Value::as_string).unwrap_or_default().to_owned(),
            },
            _ => Self::Other { name },
        })
    }

    /// The message as it goes over the wire, with every element that the known hosts index.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut elements = vec![Value::from(self.name())];
        match self {
            Self::VersionExchange { major, minor } => elements.extend([(*major).into(), (*minor).into()]),
            Self::Ready | Self::FreeDiskSpace | Self::Other { .. } => {}
            Self::Response(response) => elements.push(Value::Dictionary(response.to_dictionary())),
            Self::PurgeDiskSpace { bytes } => elements.extend([(*bytes).into(), 4.into()]),
            Self::CreateDirectory { path } => elements.extend([path.as_str().into(), empty()]),
            Self::ContentsOfDirectory { path } => elements.extend([path.as_str().into(), empty()]),
            Self::MoveItems { items, progress } => {
                let items: Dictionary =
                    items.iter().map(|(from, to)| (from.clone(), Value::from(to.as_str()))).collect();
                elements.extend([Value::Dictionary(items), empty(), Value::Real(*progress)]);
            }
            Self::RemoveItems { paths, progress } => {
                elements.extend([strings(paths), empty(), Value::Real(*progress)]);
            }
            Self::CopyItem { from, to } => {
                elements.extend([
                    from.as_str().into(),
                    to.as_str().into(),
                    empty(),
                    Value::Real(0.0),
                    0.into(),
                ]);
            }
            Self::DownloadFiles { paths, progress } => {
                elements.extend([strings(paths), empty(), Value::Real(*progress), 0.into()]);
            }
            Self::UploadFiles { progress, total_bytes } => {
                elements.extend([empty(), Value::Real(*progress), (*total_bytes).into()]);
            }
            Self::Disconnect { text } => elements.push(text.as_str().into()),
        }
        Value::Array(elements)
    }
}

impl Response {
    fn from_dictionary(body: &Dictionary) -> Self {
        let text = |key: &str| body.get(key).and_then(Value::as_string).map(str::to_owned);
        Self {
            // An answer without a code is no success.
            code: body.get("ErrorCode").and_then(signed).unwrap_or(-1),
            description: text("ErrorDescription"),
            protocol_version: body.get("ProtocolVersion").and_then(real),
            content: text("Content"),
        }
    }

    fn to_dictionary(&self) -> Dictionary {
        let mut body = Dictionary::new();
        body.insert("MessageName".into(), "Response".into());
        body.insert("ErrorCode".into(), self.code.into());
        if let Some(text) = &self.description {
            body.insert("ErrorDescription".into(), text.as_str().into());
        }
        if let Some(version) = self.protocol_version {
            body.insert("ProtocolVersion".into(), Value::Real(version));
        }
        if let Some(text) = &self.content {
            body.insert("Content".into(), text.as_str().into());
        }
        body
    }
}

/// Splits a message into its name and its elements (the name is element 0).
pub(super) fn split(value: Value) -> Result<(String, Vec<Value>), Malformed> {
    let Value::Array(elements) = value else {
        return Err(Malformed { message: "a message".into(), what: "is no array" });
    };
    match elements.first().and_then(Value::as_string) {
        Some(name) if name.starts_with("DL") && name.len() <= 64 => Ok((name.to_owned(), elements)),
        _ => Err(Malformed { message: "a message".into(), what: "has no DeviceLink name" }),
    }
}

/// A number that may be negative. Hosts send negative codes as 64-bit two's complement in an unsigned number.
pub(super) fn signed(value: &Value) -> Option<i64> {
    let integer = value.as_signed_integer();
    integer.or_else(|| value.as_unsigned_integer().map(u64::cast_signed))
}

fn unsigned(value: &Value) -> Option<u64> {
    value.as_unsigned_integer()
}

fn real(value: &Value) -> Option<f64> {
    value.as_real().or_else(|| value.as_signed_integer().map(|whole| whole as f64))
}

/// Progress is for people only: what is missing or no number is 0, what is out of bounds is brought back.
fn percent(value: Option<&Value>) -> f64 {
    value.and_then(real).filter(|p| p.is_finite()).unwrap_or(0.0).clamp(0.0, 100.0)
}

fn path(message: &str, value: Option<&Value>) -> Result<String, Malformed> {
    match value.and_then(Value::as_string) {
        Some(path) if path.len() <= PATH_BYTES_MAX => Ok(path.to_owned()),
        Some(_) => Err(Malformed { message: message.into(), what: "a path is too long" }),
        None => Err(Malformed { message: message.into(), what: "has no path" }),
    }
}

fn paths(message: &str, value: Option<&Value>) -> Result<Vec<String>, Malformed> {
    let list = value.and_then(Value::as_array);
    let list = list.ok_or_else(|| Malformed { message: message.into(), what: "has no list of paths" })?;
    if list.len() > ITEMS_MAX {
        return Err(Malformed { message: message.into(), what: "has too many paths" });
    }
    list.iter().map(|item| path(message, Some(item))).collect()
}

fn moves(message: &str, value: Option<&Value>) -> Result<Vec<(String, String)>, Malformed> {
    let list = value.and_then(Value::as_dictionary);
    let list = list.ok_or_else(|| Malformed { message: message.into(), what: "has no list of moves" })?;
    if list.len() > ITEMS_MAX {
        return Err(Malformed { message: message.into(), what: "has too many moves" });
    }
    list.iter()
        .map(|(from, to)| Ok((path(message, Some(&Value::from(from.as_str())))?, path(message, Some(to))?)))
        .collect()
}

fn strings(items: &[String]) -> Value {
    Value::Array(items.iter().map(|item| Value::from(item.as_str())).collect())
}

fn empty() -> Value {
    Value::Dictionary(Dictionary::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_message() -> Vec<DeviceMessage> {
        let text = |t: &str| t.to_owned();
        vec![
            DeviceMessage::VersionExchange { major: 400, minor: 0 },
            DeviceMessage::Ready,
            DeviceMessage::Response(Response {
                code: 105,
                description: Some(text("no space")),
                protocol_version: Some(2.1),
                content: Some(text("x")),
            }),
            DeviceMessage::FreeDiskSpace,
            DeviceMessage::PurgeDiskSpace { bytes: u64::MAX },
            DeviceMessage::CreateDirectory { path: text("U/Snapshot") },
            DeviceMessage::ContentsOfDirectory { path: text("U") },
            DeviceMessage::MoveItems { items: vec![(text("U/a"), text("U/b"))], progress: 12.5 },
            DeviceMessage::RemoveItems { paths: vec![text("U/a"), text("U/b")], progress: 99.0 },
            DeviceMessage::CopyItem { from: text("U/a"), to: text("U/b") },
            DeviceMessage::DownloadFiles { paths: vec![text("U/Status.plist")], progress: 1.0 },
            DeviceMessage::UploadFiles { progress: 3.0, total_bytes: 1 << 40 },
            DeviceMessage::Disconnect { text: text("bye") },
            DeviceMessage::Other { name: text("DLMessageSomethingNew") },
        ]
    }

    #[test]
    fn every_message_survives_the_wire_in_both_encodings() {
        for message in every_message() {
            let value = message.to_value();
            let mut binary = Vec::new();
            value.to_writer_binary(&mut binary).unwrap();
            let mut xml = Vec::new();
            value.to_writer_xml(&mut xml).unwrap();
            for bytes in [binary, xml] {
                let back = Value::from_reader(std::io::Cursor::new(bytes)).unwrap();
                assert_eq!(DeviceMessage::from_value(back).unwrap(), message);
            }
        }
    }

    #[test]
    fn old_names_mean_the_same() {
        let value = Value::Array(vec![
            "DLMessageRemoveFiles".into(),
            Value::Array(vec!["U/a".into()]),
            empty(),
            Value::Real(1.0),
        ]);
        let message = DeviceMessage::from_value(value).unwrap();
        assert_eq!(message, DeviceMessage::RemoveItems { paths: vec!["U/a".into()], progress: 1.0 });
    }

    #[test]
    fn a_message_cut_short_is_refused_or_has_harmless_defaults() {
        for message in every_message() {
            let Value::Array(elements) = message.to_value() else { unreachable!("messages are arrays") };
            for length in 0..elements.len() {
                let cut = Value::Array(elements[..length].to_vec());
                if let Ok(read) = DeviceMessage::from_value(cut) {
                    assert_eq!(read.name(), message.name());
                }
            }
        }
        let no_path = Value::Array(vec!["DLMessageRemoveItems".into()]);
        assert!(DeviceMessage::from_value(no_path).is_err());
    }

    #[test]
    fn an_answer_without_a_code_is_no_success() {
        let value =
            Value::Array(vec!["DLMessageProcessMessage".into(), Value::Dictionary(Dictionary::new())]);
        let DeviceMessage::Response(response) = DeviceMessage::from_value(value).unwrap() else { panic!() };
        assert_ne!(response.code, 0);
    }

    #[test]
    fn wild_progress_is_tamed() {
        for (wild, tame) in [(f64::NAN, 0.0), (1e9, 100.0), (-3.0, 0.0)] {
            let value = DeviceMessage::UploadFiles { progress: wild, total_bytes: 1 }.to_value();
            let read = DeviceMessage::from_value(value).unwrap();
            assert_eq!(read, DeviceMessage::UploadFiles { progress: tame, total_bytes: 1 });
        }
    }

    #[test]
    fn paths_beyond_the_bound_are_refused() {
        let long = "a".repeat(PATH_BYTES_MAX + 1);
        let value = DeviceMessage::CreateDirectory { path: long }.to_value();
        assert!(DeviceMessage::from_value(value).is_err());
    }
}
