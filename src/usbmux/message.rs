//! What is said on usbmuxd's socket, for both sides.
//!
//! Sixteen bytes of little-endian header, then an XML property list (version 1) or a fixed structure (version 0, the
//! oldest form). Described by libusbmuxd's `usbmuxd-proto.h` and usbmuxd's `client.c`. Knows no sockets.

use plist::{Dictionary, Value};

use super::{Attached, DeviceId, Event, Udid};
use crate::frame::DictExt;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 16;
/// The longest request that a usbmuxd takes, with its header.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;
/// The longest reply that is taken, with its header: a list of a few hundred devices.
pub const REPLY_BYTES_MAX: usize = 1 << 20;
/// Bytes of the serial number's field in version 0.
const SERIAL_FIELD_BYTES: usize = 256;

/// The form of what follows the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Fixed structures.
    Binary,
    /// Property lists.
    Plist,
}

impl Version {
    fn number(self) -> u32 {
        match self {
            Self::Binary => 0,
            Self::Plist => 1,
        }
    }

    /// The version with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Binary),
            1 => Some(Self::Plist),
            _ => None,
        }
    }
}

/// What kind of message the header announces.
pub mod kind {
    /// A [`super::ResultCode`].
    pub const RESULT: u32 = 1;
    /// Version 0: connect.
    pub const CONNECT: u32 = 2;
    /// Version 0: listen.
    pub const LISTEN: u32 = 3;
    /// Version 0: a device came.
    pub const DEVICE_ADD: u32 = 4;
    /// Version 0: a device left.
    pub const DEVICE_REMOVE: u32 = 5;
    /// Version 0: a device was paired.
    pub const DEVICE_PAIRED: u32 = 6;
    /// A property list.
    pub const PLIST: u32 = 8;
}

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole message.
    pub length: u32,
    /// The number of the [`Version`].
    pub version: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// Chosen by the client; replies repeat it, notifications have 0.
    pub tag: u32,
}

impl Header {
    /// Reads a header.
    #[must_use]
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self { length: word(0), version: word(4), kind: word(8), tag: word(12) }
    }

    /// How many bytes follow, if the whole message has at least a header and at most `max` bytes.
    #[must_use]
    pub fn body_bytes(&self, max: usize) -> Option<usize> {
        let length = usize::try_from(self.length).ok()?;
        if length > max { None } else { length.checked_sub(HEADER_BYTES) }
    }
}

/// A whole message.
#[must_use]
pub fn encode(version: Version, kind: u32, tag: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_BYTES + body.len()).expect("our own messages are far below 4 GiB");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    for word in [length, version.number(), kind, tag] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(body);
    bytes
}

/// A whole message that holds a property list.
#[must_use]
pub fn encode_plist(tag: u32, body: Dictionary) -> Vec<u8> {
    encode(Version::Plist, kind::PLIST, tag, &crate::frame::to_xml(&Value::Dictionary(body)))
}

/// How a request went. Commands about pair records answer with the numbers of Unix errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultCode(pub u32);

impl ResultCode {
    /// Done.
    pub const OK: Self = Self(0);
    /// No such command, or not now.
    pub const BAD_COMMAND: Self = Self(1);
    /// No such device.
    pub const BAD_DEVICE: Self = Self(2);
    /// The device refused the port.
    pub const REFUSED: Self = Self(3);
    /// Not in this version of the protocol.
    pub const BAD_VERSION: Self = Self(6);
    /// There is no such pair record (`ENOENT`).
    pub const NO_ENTRY: Self = Self(2);
    /// Pair records are not for this client (`EACCES`).
    pub const NOT_PERMITTED: Self = Self(13);
    /// The pair record could not be read or written (`EIO`).
    pub const IO: Self = Self(5);
    /// A key is missing or has a wrong value (`EINVAL`).
    pub const INVALID: Self = Self(22);
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// From now on tell what changes.
    Listen,
    /// Which devices are there.
    ListDevices,
    /// Who listens.
    ListListeners,
    /// Make this socket a connection to a port.
    Connect {
        /// The device's number.
        device: DeviceId,
        /// The port, in host byte order.
        port: u16,
    },
    /// The host's own id.
    ReadBuid,
    /// The pair record of a device.
    ReadPairRecord {
        /// Its id as sent: not yet checked.
        udid: String,
    },
    /// Keep a pair record.
    SavePairRecord {
        /// The device's id as sent: not yet checked.
        udid: String,
        /// Its number, if it is plugged in.
        device: Option<DeviceId>,
        /// The record.
        record: Vec<u8>,
    },
    /// Forget a pair record.
    DeletePairRecord {
        /// The device's id as sent: not yet checked.
        udid: String,
    },
}

/// The name by which this program is known to a usbmuxd.
const PROGRAM: &str = "idevice-fix";
/// The version of libusbmuxd's manners that we have: property lists and pair records.
const LIBRARY_VERSION: u64 = 3;

impl Request {
    /// The request's name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Listen => "Listen",
            Self::ListDevices => "ListDevices",
            Self::ListListeners => "ListListeners",
            Self::Connect { .. } => "Connect",
            Self::ReadBuid => "ReadBUID",
            Self::ReadPairRecord { .. } => "ReadPairRecord",
            Self::SavePairRecord { .. } => "SavePairRecord",
            Self::DeletePairRecord { .. } => "DeletePairRecord",
        }
    }

    /// Reads a client's property list.
    ///
    /// # Errors
    /// What to answer: [`ResultCode::BAD_COMMAND`] for what is no request, [`ResultCode::INVALID`] or
    /// [`ResultCode::BAD_DEVICE`] for one whose keys are missing or wrong.
    pub fn from_dictionary(dict: &Dictionary) -> Result<Self, ResultCode> {
        let udid = || dict.string("PairRecordID").map(str::to_owned).ok_or(ResultCode::INVALID);
        let device = || dict.uint("DeviceID").and_then(|id| u32::try_from(id).ok()).map(DeviceId);
        match dict.string("MessageType").ok_or(ResultCode::BAD_COMMAND)? {
            "Listen" => Ok(Self::Listen),
            "ListDevices" => Ok(Self::ListDevices),
            "ListListeners" => Ok(Self::ListListeners),
            "Connect" => {
                let port = dict.uint("PortNumber").and_then(|port| u16::try_from(port).ok());
                Ok(Self::Connect {
                    device: device().ok_or(ResultCode::BAD_DEVICE)?,
                    port: port.ok_or(ResultCode::BAD_COMMAND)?.swap_bytes(),
                })
            }
            "ReadBUID" => Ok(Self::ReadBuid),
            "ReadPairRecord" => Ok(Self::ReadPairRecord { udid: udid()? }),
            "SavePairRecord" => Ok(Self::SavePairRecord {
                udid: udid()?,
                device: device(),
                record: dict.data("PairRecordData").ok_or(ResultCode::INVALID)?.to_owned(),
            }),
            "DeletePairRecord" => Ok(Self::DeletePairRecord { udid: udid()? }),
            _ => Err(ResultCode::BAD_COMMAND),
        }
    }

    /// The property list to send.
    #[must_use]
    pub fn to_dictionary(&self) -> Dictionary {
        let mut dict = message(self.name());
        dict.insert("ClientVersionString".into(), concat!("idevice-fix ", env!("CARGO_PKG_VERSION")).into());
        dict.insert("ProgName".into(), PROGRAM.into());
        dict.insert("kLibUSBMuxVersion".into(), LIBRARY_VERSION.into());
        match self {
            Self::Listen | Self::ListDevices | Self::ListListeners | Self::ReadBuid => {}
            Self::Connect { device, port } => {
                dict.insert("DeviceID".into(), u64::from(device.0).into());
                dict.insert("PortNumber".into(), u64::from(port.swap_bytes()).into());
            }
            Self::ReadPairRecord { udid } | Self::DeletePairRecord { udid } => {
                dict.insert("PairRecordID".into(), udid.as_str().into());
            }
            Self::SavePairRecord { udid, device, record } => {
                dict.insert("PairRecordID".into(), udid.as_str().into());
                dict.insert("PairRecordData".into(), Value::Data(record.clone()));
                if let Some(device) = device {
                    dict.insert("DeviceID".into(), u64::from(device.0).into());
                }
            }
        }
        dict
    }

    /// Reads a request of version 0.
    ///
    /// # Errors
    /// [`ResultCode::BAD_COMMAND`].
    pub fn from_binary(kind: u32, body: &[u8]) -> Result<Self, ResultCode> {
        match (kind, body) {
            (kind::LISTEN, _) => Ok(Self::Listen),
            (kind::CONNECT, [a, b, c, d, high, low, ..]) => Ok(Self::Connect {
                device: DeviceId(u32::from_le_bytes([*a, *b, *c, *d])),
                port: u16::from_be_bytes([*high, *low]),
            }),
            _ => Err(ResultCode::BAD_COMMAND),
        }
    }
}

fn message(kind: &str) -> Dictionary {
    let mut dict = Dictionary::new();
    dict.insert("MessageType".into(), kind.into());
    dict
}

/// The answer that is only a number.
#[must_use]
pub fn result(code: ResultCode) -> Dictionary {
    let mut dict = message("Result");
    dict.insert("Number".into(), u64::from(code.0).into());
    dict
}

/// What a device's entry says; the same in a list and in an event.
#[must_use]
pub fn attached_to_dictionary(device: &Attached) -> Dictionary {
    let mut properties = Dictionary::new();
    properties.insert("ConnectionSpeed".into(), device.speed_bps.into());
    properties.insert("ConnectionType".into(), "USB".into());
    properties.insert("DeviceID".into(), u64::from(device.id.0).into());
    properties.insert("LocationID".into(), u64::from(device.location_id).into());
    properties.insert("ProductID".into(), u64::from(device.product_id).into());
    properties.insert("SerialNumber".into(), device.udid.as_str().into());
    let mut dict = message("Attached");
    dict.insert("DeviceID".into(), u64::from(device.id.0).into());
    dict.insert("Properties".into(), Value::Dictionary(properties));
    dict
}

/// Reads a device's entry. `None` for what is not plugged in over USB, or has no usable id.
#[must_use]
pub fn attached_from_dictionary(dict: &Dictionary) -> Option<Attached> {
    let properties = dict.dict("Properties")?;
    if properties.string("ConnectionType") != Some("USB") {
        return None;
    }
    let number = |key: &str| properties.uint(key).and_then(|n| u32::try_from(n).ok());
    let id = number("DeviceID").or_else(|| dict.uint("DeviceID").and_then(|n| u32::try_from(n).ok()))?;
    Some(Attached {
        id: DeviceId(id),
        udid: Udid::parse(properties.string("SerialNumber")?)?,
        product_id: number("ProductID").and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
        location_id: number("LocationID").unwrap_or(0),
        speed_bps: properties.uint("ConnectionSpeed").unwrap_or(0),
    })
}

/// An event as a property list.
#[must_use]
pub fn event_to_dictionary(event: &Event) -> Dictionary {
    let about = |kind: &str, id: &DeviceId| {
        let mut dict = message(kind);
        dict.insert("DeviceID".into(), u64::from(id.0).into());
        dict
    };
    match event {
        Event::Attached(device) => attached_to_dictionary(device),
        Event::Detached(id) => about("Detached", id),
        Event::Paired(id) => about("Paired", id),
    }
}

/// Reads an event. `None` for one that is unknown, or about a device that is not plugged in over USB.
#[must_use]
pub fn event_from_dictionary(dict: &Dictionary) -> Option<Event> {
    let id = || dict.uint("DeviceID").and_then(|id| u32::try_from(id).ok()).map(DeviceId);
    match dict.string("MessageType")? {
        "Attached" => attached_from_dictionary(dict).map(Event::Attached),
        "Detached" => id().map(Event::Detached),
        "Paired" => id().map(Event::Paired),
        _ => None,
    }
}

/// An event as version 0 has it: its kind and its body.
#[must_use]
pub fn event_to_binary(event: &Event) -> (u32, Vec<u8>) {
    match event {
        Event::Attached(device) => {
            let mut body = device.id.0.to_le_bytes().to_vec();
            body.extend(device.product_id.to_le_bytes());
            let serial = device.udid.as_str().as_bytes();
            body.extend(serial);
            body.resize(body.len() + SERIAL_FIELD_BYTES - serial.len(), 0);
            body.extend([0; 2]);
            body.extend(device.location_id.to_le_bytes());
            (kind::DEVICE_ADD, body)
        }
        Event::Detached(id) => (kind::DEVICE_REMOVE, id.0.to_le_bytes().to_vec()),
        Event::Paired(id) => (kind::DEVICE_PAIRED, id.0.to_le_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests;
