//! Length-prefixed property lists over a stream.
//!
//! Knows how many bytes, levels and values a message may have, and checks that *before* the property list crate sees a
//! byte: that crate recurses on nested input and expands shared references, so sixty kilobytes from a phone could end
//! the process and three hundred bytes could take a gigabyte. Knows nothing of what the messages mean.
//!
//! A frame is a big-endian `u32` length followed by that many bytes of an XML or binary property list
//! (libimobiledevice `property_list_service.c`). The binary form is described in Apple's published `CFBinaryPList.c`.

mod binary;
mod dict;
mod guard;
mod xml;

use std::io::Cursor;

use std::time::{Duration, SystemTime};

use plist::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use dict::DictExt;
pub use guard::Guard;

/// How much one property list may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, as sent and again after shared references are expanded.
    pub bytes: usize,
    /// Levels of arrays and dictionaries.
    pub depth: usize,
    /// Values and keys, counted once for every place in which they appear.
    pub nodes: usize,
}

impl Limits {
    /// What lockdown says before anybody is trusted.
    pub const LOCKDOWN_UNTRUSTED: Self = Self { bytes: 64 << 10, depth: 32, nodes: 8_000 };
    /// What lockdown and the small services say inside a session.
    pub const LOCKDOWN: Self = Self { bytes: 16 << 20, depth: 64, nodes: 400_000 };
    /// A message of mobilebackup2: lists of many files.
    pub const DEVICELINK: Self = Self { bytes: 64 << 20, depth: 64, nodes: 1_000_000 };
    /// A file: from the phone's file system, out of a backup, or of our own.
    pub const FILE: Self = Self { bytes: 128 << 20, depth: 128, nodes: 2_000_000 };
}

/// Why no property list came out, or could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Longer than allowed.
    #[error("a property list of {bytes} bytes, more than the {limit} allowed here")]
    TooLong {
        /// Its bytes, announced or expanded.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// Nested deeper than allowed.
    #[error("a property list nested deeper than {0} levels")]
    TooDeep(usize),
    /// More values than allowed.
    #[error("a property list of more than {0} values")]
    TooMany(usize),
    /// Not a property list.
    #[error("not a property list: {0}")]
    Malformed(String),
    /// The stream ended where a frame could have begun: the other side closed it.
    #[error("the connection was closed")]
    Closed,
    /// The stream ended inside a frame.
    #[error("the connection ended in the middle of a message")]
    Cut,
    /// The stream broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
}

impl Error {
    fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}

/// How a property list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `<?xml`
    Xml,
    /// `bplist00`
    Binary,
}

const BINARY_MAGIC: &[u8] = b"bplist00";

/// Checks that `bytes` are a property list within `limits`, without building it.
///
/// # Errors
/// The limit that is exceeded, or [`Error::Malformed`]. What passes may still turn out malformed in [`parse`].
pub fn check(bytes: &[u8], limits: &Limits) -> Result<Encoding, Error> {
    if bytes.len() > limits.bytes {
        return Err(Error::TooLong { bytes: bytes.len() as u64, limit: limits.bytes });
    }
    if bytes.starts_with(BINARY_MAGIC) {
        binary::check(bytes, limits)?;
        Ok(Encoding::Binary)
    } else {
        xml::check(bytes, limits)?;
        Ok(Encoding::Xml)
    }
}

/// Reads a property list, XML or binary.
///
/// # Errors
/// As [`check`].
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Value, Error> {
    let parsed = match check(bytes, limits)? {
        Encoding::Binary => Value::from_reader(Cursor::new(bytes)),
        Encoding::Xml => Value::from_reader_xml(Cursor::new(bytes)),
    };
    parsed.map_err(|error| Error::malformed(error.to_string().escape_debug().to_string()))
}

/// As XML, indented with tabs as phones do it. Dates are cut to whole seconds: Apple's XML form has no fractions, and
/// other readers refuse them. The references of archives, which XML does not have, become dictionaries with a
/// `CF$UID`, as Apple's software writes them.
#[must_use]
pub fn to_xml(value: &Value) -> Vec<u8> {
    let mut held = value.clone();
    bring_to_xml(&mut held);
    let mut bytes = Vec::new();
    held.to_writer_xml(&mut bytes).expect("a value in memory without references can be written to memory");
    bytes
}

/// Recursion is safe here: a value is our own, or its depth was bounded when it was parsed.
fn bring_to_xml(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(bring_to_xml),
        Value::Dictionary(entries) => entries.values_mut().for_each(bring_to_xml),
        Value::Date(date) => {
            let time: SystemTime = (*date).into();
            if let Ok(since) = time.duration_since(SystemTime::UNIX_EPOCH) {
                *date = (SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())).into();
            }
        }
        Value::Uid(uid) => {
            let number = Value::from(uid.get());
            *value = Value::Dictionary([("CF$UID".to_owned(), number)].into_iter().collect());
        }
        _ => {}
    }
}

/// In the binary form.
#[must_use]
pub fn to_binary(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.to_writer_binary(&mut bytes).expect("a value in memory can be written to memory");
    bytes
}

/// The bytes of one frame.
#[must_use]
pub fn encode(value: &Value, encoding: Encoding) -> Vec<u8> {
    let body = match encoding {
        Encoding::Xml => to_xml(value),
        Encoding::Binary => to_binary(value),
    };
    let length = u32::try_from(body.len()).expect("our own messages are far below 4 GiB");
    let mut bytes = Vec::with_capacity(4 + body.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// The next frame. Not safe to cancel: after a timeout the stream must be thrown away.
///
/// # Errors
/// [`Error::Closed`] at the end of the stream, else as [`parse`].
pub async fn read<S: AsyncRead + Unpin + ?Sized>(stream: &mut S, limits: &Limits) -> Result<Value, Error> {
    parse(&read_bytes(stream, limits).await?, limits)
}

/// The bytes of the next frame, without its length and not yet checked for what they are.
///
/// # Errors
/// [`Error::Closed`] at the end of the stream, [`Error::TooLong`] before anything is taken in, [`Error::Cut`].
pub async fn read_bytes<S: AsyncRead + Unpin + ?Sized>(
    stream: &mut S,
    limits: &Limits,
) -> Result<Vec<u8>, Error> {
    let length = read_length(stream).await?;
    if length as usize > limits.bytes {
        return Err(Error::TooLong { bytes: length.into(), limit: limits.bytes });
    }
    let mut body = Vec::with_capacity((length as usize).min(FIRST_ALLOCATION));
    let received = stream.take(length.into()).read_to_end(&mut body).await?;
    if received < length as usize { Err(Error::Cut) } else { Ok(body) }
}

/// A length is only a promise: memory beyond this is taken as the bytes arrive.
const FIRST_ALLOCATION: usize = 64 << 10;

async fn read_length<S: AsyncRead + Unpin + ?Sized>(stream: &mut S) -> Result<u32, Error> {
    let mut header = [0; 4];
    let mut filled = 0;
    while filled < header.len() {
        match stream.read(&mut header[filled..]).await? {
            0 if filled == 0 => return Err(Error::Closed),
            0 => return Err(Error::Cut),
            n => filled += n,
        }
    }
    Ok(u32::from_be_bytes(header))
}

/// Sends one frame and flushes it.
///
/// # Errors
/// [`Error::Io`].
pub async fn write<S: AsyncWrite + Unpin + ?Sized>(
    stream: &mut S,
    value: &Value,
    encoding: Encoding,
) -> Result<(), Error> {
    stream.write_all(&encode(value, encoding)).await?;
    stream.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests;
