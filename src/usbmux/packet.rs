//! The mux protocol's packets as they cross the USB cable, for the host's side and the phone's.
//!
//! A header of eight bytes (version 1, and VERSION always) or sixteen (version 2), then VERSION, CONTROL, SETUP or a
//! TCP segment with a header of twenty bytes; all numbers are big endian. One packet is one bulk transfer. Described by
//! usbmuxd's `device.c`. Knows no USB, no connections and no clock.

/// Bytes of a header of version 1.
pub const SHORT_HEADER_BYTES: usize = 8;
/// Bytes of a header of version 2.
pub const LONG_HEADER_BYTES: usize = 16;
/// Bytes of a TCP header; options do not occur.
pub const TCP_HEADER_BYTES: usize = 20;
/// The longest packet that either side takes, with its headers: usbmuxd's `DEV_MRU`.
pub const PACKET_BYTES_MAX: usize = 64 << 10;
/// What one read of the host takes at most: usbmuxd's `USB_MRU`. A longer packet reaches it in pieces.
pub const READ_BYTES: usize = 16 << 10;
/// Unacknowledged bytes that either side allows the other on a connection.
pub const WINDOW_BYTES: u32 = 128 << 10;

/// Windows cross the cable divided by 2 to this power.
const WINDOW_SHIFT: u32 = 8;
const MAGIC: u32 = 0xFEED_FACE;
const VERSION: u32 = 0;
const CONTROL: u32 = 1;
const SETUP: u32 = 2;
const TCP: u32 = 6;
/// Major, minor and padding.
const VERSION_BODY_BYTES: usize = 12;
const SETUP_BODY: u8 = 7;
/// The length of a TCP header in its own words, in the upper half of the byte.
const TCP_OFFSET: u8 = 5 << 4;

/// TCP's flags, as far as the protocol uses them. Neither side ever sends another one.
pub mod flags {
    /// Asks for a connection.
    pub const SYN: u8 = 0x02;
    /// Refuses or ends one.
    pub const RST: u8 = 0x04;
    /// Everything on a connection.
    pub const ACK: u8 = 0x10;
    /// Grants one.
    pub const SYN_ACK: u8 = SYN | ACK;
}

/// The version of the protocol that both sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Short headers.
    One,
    /// Long headers.
    Two,
}

/// The numbers in a header of version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The sender's count of its packets.
    pub sent: u16,
    /// What it has seen of the other's; usbmuxd sends back what it was sent, so that this proves nothing.
    pub seen: u16,
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// There in version 2, except on VERSION.
    pub numbers: Option<Numbers>,
    /// What it says.
    pub message: Message<'a>,
}

/// What a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// The first word of either side.
    Version {
        /// 1 or 2.
        major: u32,
        /// 0.
        minor: u32,
    },
    /// A word for the other side's log.
    Control {
        /// 3 error, 5 warning, 7 information.
        kind: u8,
        /// The text, as it came.
        text: &'a [u8],
    },
    /// Version 2: the host begins.
    Setup,
    /// A connection's.
    Segment(Segment<'a>),
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The sender's port.
    pub source: u16,
    /// The other's.
    pub destination: u16,
    /// Number of the first byte of `payload`; both sides begin at 0, and SYN counts as one.
    pub sequence: u32,
    /// The byte that is expected next.
    pub acknowledged: u32,
    /// See [`flags`].
    pub flags: u8,
    /// Bytes that may be unacknowledged; a multiple of 256 when it crosses the cable.
    pub window_bytes: u32,
    /// What is carried.
    pub payload: &'a [u8],
}

/// Why bytes are no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The header is not there in full.
    #[error("{0} bytes are no header of a packet")]
    Short(usize),
    /// It announces less than a header, or more than [`PACKET_BYTES_MAX`].
    #[error("a packet announces {0} bytes")]
    Announced(u32),
    /// It announces something else than has come.
    #[error("a packet announces {announced} bytes and has {there}")]
    Length {
        /// What it says.
        announced: usize,
        /// What has come.
        there: usize,
    },
    /// A header of version 2 without its mark.
    #[error("a packet has {0:#010x} where its mark belongs")]
    Magic(u32),
    /// No known kind.
    #[error("a packet is of the unknown kind {0}")]
    Kind(u32),
    /// Of a known kind, and not formed like it.
    #[error("a {0} packet is malformed")]
    Malformed(&'static str),
}

impl<'a> Packet<'a> {
    /// Reads one whole packet; `version` is what was agreed on. VERSION has the short header in either.
    ///
    /// # Errors
    /// [`Error`]; the bytes are to be dropped.
    pub fn parse(bytes: &'a [u8], version: Version) -> Result<Self, Error> {
        let announced = announced_bytes(bytes)?.ok_or(Error::Short(bytes.len()))?;
        if announced != bytes.len() {
            return Err(Error::Length { announced, there: bytes.len() });
        }
        let kind = word(bytes, 0);
        if kind == VERSION {
            return Ok(Self { numbers: None, message: version_message(&bytes[SHORT_HEADER_BYTES..])? });
        }
        let (numbers, body) = match version {
            Version::One => (None, &bytes[SHORT_HEADER_BYTES..]),
            Version::Two => {
                let body = bytes.get(LONG_HEADER_BYTES..).ok_or(Error::Short(bytes.len()))?;
                let magic = word(bytes, 8);
                if magic != MAGIC {
                    return Err(Error::Magic(magic));
                }
                (Some(Numbers { sent: half(bytes, 12), seen: half(bytes, 14) }), body)
            }
        };
        let message = match kind {
            CONTROL => match body {
                [kind, text @ ..] => Message::Control { kind: *kind, text },
                [] => return Err(Error::Malformed("CONTROL")),
            },
            SETUP if body == [SETUP_BODY] => Message::Setup,
            SETUP => return Err(Error::Malformed("SETUP")),
            TCP => Message::Segment(Segment::parse(body)?),
            other => return Err(Error::Kind(other)),
        };
        Ok(Self { numbers, message })
    }

    /// The bytes to send. VERSION never has numbers, whatever it was given.
    ///
    /// # Panics
    /// When the packet would be longer than [`PACKET_BYTES_MAX`]: whoever makes packets knows the bound.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self.message {
            Message::Version { major, minor } => (VERSION, [major, minor, 0].map(u32::to_be_bytes).concat()),
            Message::Control { kind, text } => (CONTROL, [&[kind], text].concat()),
            Message::Setup => (SETUP, vec![SETUP_BODY]),
            Message::Segment(segment) => (TCP, segment.encode()),
        };
        let numbers = self.numbers.filter(|_| kind != VERSION);
        let header_bytes = if numbers.is_some() { LONG_HEADER_BYTES } else { SHORT_HEADER_BYTES };
        let length = header_bytes + body.len();
        assert!(length <= PACKET_BYTES_MAX, "a packet of {length} bytes");
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(u32::try_from(length).expect("bounded above").to_be_bytes());
        if let Some(Numbers { sent, seen }) = numbers {
            bytes.extend(MAGIC.to_be_bytes());
            bytes.extend(sent.to_be_bytes());
            bytes.extend(seen.to_be_bytes());
        }
        bytes.extend(body);
        bytes
    }
}

impl<'a> Segment<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let payload = bytes.get(TCP_HEADER_BYTES..).ok_or(Error::Malformed("TCP"))?;
        if bytes[12] != TCP_OFFSET {
            return Err(Error::Malformed("TCP"));
        }
        Ok(Self {
            source: half(bytes, 0),
            destination: half(bytes, 2),
            sequence: word(bytes, 4),
            acknowledged: word(bytes, 8),
            flags: bytes[13],
            window_bytes: u32::from(half(bytes, 14)) << WINDOW_SHIFT,
            payload,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let window = u16::try_from(self.window_bytes >> WINDOW_SHIFT).unwrap_or(u16::MAX);
        let mut bytes = Vec::with_capacity(TCP_HEADER_BYTES + self.payload.len());
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.destination.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledged.to_be_bytes());
        bytes.extend([TCP_OFFSET, self.flags]);
        bytes.extend(window.to_be_bytes());
        // The checksum and the urgent pointer: the cable needs neither.
        bytes.extend([0; 4]);
        bytes.extend(self.payload);
        bytes
    }
}

fn version_message(body: &[u8]) -> Result<Message<'_>, Error> {
    if body.len() != VERSION_BODY_BYTES {
        return Err(Error::Malformed("VERSION"));
    }
    Ok(Message::Version { major: word(body, 0), minor: word(body, 4) })
}

/// How long the packet that begins here says it is; `None` as long as that cannot be told.
fn announced_bytes(bytes: &[u8]) -> Result<Option<usize>, Error> {
    if bytes.len() < SHORT_HEADER_BYTES {
        return Ok(None);
    }
    let announced = word(bytes, 4);
    let length = usize::try_from(announced).ok();
    let fits = length.filter(|length| (SHORT_HEADER_BYTES..=PACKET_BYTES_MAX).contains(length));
    fits.map(Some).ok_or(Error::Announced(announced))
}

/// The big-endian number at `at`, which must be there.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Puts together packets that arrive in pieces, and keeps at most [`PACKET_BYTES_MAX`].
///
/// A piece whose length is no multiple of `unit` ends what came before it: the transfer is over. With what does not fit
/// together everything up to the end of that transfer is dropped, since nobody can say where in it a packet begins.
#[derive(Debug)]
pub struct Assembler {
    unit: usize,
    bytes: Vec<u8>,
    skips: bool,
}

impl Assembler {
    /// For pieces that are full at a multiple of `unit` bytes: [`READ_BYTES`] at the host, the endpoint's largest USB
    /// packet at the phone.
    ///
    /// # Panics
    /// When `unit` is 0.
    #[must_use]
    pub fn new(unit: usize) -> Self {
        assert!(unit > 0, "pieces have a length");
        Self { unit, bytes: Vec::new(), skips: false }
    }

    /// Takes the next piece. `None`: more has to come. The packet is as long as it announces, and otherwise unchecked.
    ///
    /// # Errors
    /// [`Error::Short`], [`Error::Announced`] and [`Error::Length`]; what came so far is dropped.
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let ends = piece.is_empty() || !piece.len().is_multiple_of(self.unit);
        if self.skips {
            self.skips = !ends;
            return Ok(None);
        }
        if piece.is_empty() && self.bytes.is_empty() {
            return Ok(None);
        }
        let there = self.bytes.len() + piece.len();
        // The header decides before anything is kept: what is kept is never more than a packet may be.
        let head = if self.bytes.is_empty() { piece } else { &self.bytes };
        let trouble = match announced_bytes(head) {
            Err(error) => error,
            Ok(Some(announced)) if there == announced => {
                let mut packet = std::mem::take(&mut self.bytes);
                packet.extend(piece);
                return Ok(Some(packet));
            }
            Ok(Some(announced)) if ends || there > announced => Error::Length { announced, there },
            Ok(None) => Error::Short(there),
            Ok(Some(_)) => {
                self.bytes.extend(piece);
                return Ok(None);
            }
        };
        self.bytes = Vec::new();
        self.skips = !ends;
        Err(trouble)
    }

    /// Bytes that are kept now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests;
