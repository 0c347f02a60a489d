//! The 40-byte header, the operations and the status codes: bytes to types, for both sides.
//!
//! Everything is little endian. `entire` counts header, parameters and payload; `this` counts header and parameters.
//! In replies a status, a handle and a position stand in the parameters, data stands in the payload: some clients read
//! the two parts apart, so the split is part of the format.

/// The first eight bytes of each packet.
pub const MAGIC: [u8; 8] = *b"CFA6LPAA";

/// Bytes of the header.
pub const HEADER_BYTES: usize = 40;

/// Bytes of a reply whose parameters are one number (status, handle, position).
pub const NUMBER_REPLY_BYTES: usize = HEADER_BYTES + 8;

/// The most that one read asks for: real phones were seen to answer reads up to here in one piece.
pub const READ_BYTES_MAX: u32 = 4 << 20;

/// The header of a packet, with its lengths already known to be in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the parameters that follow.
    pub params: u64,
    /// Bytes of the payload that follows them.
    pub payload: u64,
    /// The request's number; its reply has the same.
    pub number: u64,
    /// The operation as sent: [`Operation::from_raw`] knows which exist.
    pub operation: u64,
}

/// Why 40 bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not an AFC packet at all.
    #[error("it does not begin with AFC's magic bytes")]
    Magic,
    /// Lengths that contradict each other.
    #[error("its lengths are impossible (entire {entire}, this {this})")]
    Lengths {
        /// `entire_length` as sent.
        entire: u64,
        /// `this_length` as sent.
        this: u64,
    },
}

impl Header {
    /// Reads a header. A length is believed only as far as the lengths agree with each other: the caller bounds them.
    ///
    /// # Errors
    /// Wrong magic, or lengths below the header's own or in the wrong order.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        if bytes[..8] != MAGIC {
            return Err(HeaderError::Magic);
        }
        let (entire, this) = (u64_at(bytes, 8), u64_at(bytes, 16));
        let wrong = HeaderError::Lengths { entire, this };
        let params = this.checked_sub(HEADER_BYTES as u64).ok_or(wrong)?;
        let payload = entire.checked_sub(this).ok_or(wrong)?;
        Ok(Self { params, payload, number: u64_at(bytes, 24), operation: u64_at(bytes, 32) })
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let this = HEADER_BYTES as u64 + self.params;
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&(this + self.payload).to_le_bytes());
        bytes[16..24].copy_from_slice(&this.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.operation.to_le_bytes());
        bytes
    }

    /// The bytes of everything that follows the header.
    #[must_use]
    pub fn body(&self) -> u64 {
        // Cannot overflow: both come from one subtraction chain of `entire`, or were counted in memory.
        self.params + self.payload
    }
}

/// The header of a reply that carries `payload` bytes of data.
#[must_use]
pub fn data_header(number: u64, payload: u64) -> [u8; HEADER_BYTES] {
    Header { params: 0, payload, number, operation: Operation::Data.raw() }.encode()
}

/// A whole reply whose parameters are one number.
#[must_use]
pub fn number_reply(number: u64, operation: Operation, value: u64) -> [u8; NUMBER_REPLY_BYTES] {
    let mut bytes = [0; NUMBER_REPLY_BYTES];
    let header = Header { params: 8, payload: 0, number, operation: operation.raw() };
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    bytes[HEADER_BYTES..].copy_from_slice(&value.to_le_bytes());
    bytes
}

/// A whole status reply.
#[must_use]
pub fn status_reply(number: u64, status: Status) -> [u8; NUMBER_REPLY_BYTES] {
    number_reply(number, Operation::Status, status.code())
}

/// The little-endian number at `at`. The caller knows that it is there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of eight bytes"))
}

macro_rules! operations {
    ($($name:ident = $raw:literal, $doc:literal;)*) => {
        /// What a packet asks or answers.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation { $(#[doc = $doc] $name,)* }

        impl Operation {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The operation of this number, if we know it.
            #[must_use]
            pub fn from_raw(raw: u64) -> Option<Self> {
                match raw { $($raw => Some(Self::$name),)* _ => None }
            }

            /// Its number on the wire.
            #[must_use]
            pub fn raw(self) -> u64 {
                match self { $(Self::$name => $raw,)* }
            }
        }
    };
}

operations! {
    Status = 0x01, "Reply: a status code.";
    Data = 0x02, "Reply: bytes.";
    ReadDir = 0x03, "Names in a folder.";
    Truncate = 0x07, "Set a file's size, by path.";
    RemovePath = 0x08, "Remove a file or an empty folder.";
    MakeDir = 0x09, "Make a folder and its parents.";
    FileInfo = 0x0A, "What `lstat` says.";
    DeviceInfo = 0x0B, "Model and space.";
    FileOpen = 0x0D, "Open a file.";
    FileOpenResult = 0x0E, "Reply: a file handle.";
    FileRead = 0x0F, "Read from a handle's position.";
    FileWrite = 0x10, "Write at a handle's position.";
    FileSeek = 0x11, "Move a handle's position.";
    FileTell = 0x12, "Ask a handle's position.";
    FileTellResult = 0x13, "Reply: a position.";
    FileClose = 0x14, "Close a handle.";
    FileSetSize = 0x15, "Set a file's size, by handle.";
    RenamePath = 0x18, "Rename.";
    FileLock = 0x1B, "Lock or unlock a handle.";
    MakeLink = 0x1C, "Make a hard or symbolic link.";
    SetModTime = 0x1E, "Set a modification time.";
    RemovePathAndContents = 0x22, "Remove a folder with all that is in it.";
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

macro_rules! statuses {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// A device's answer in one number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Status {
            $(#[doc = $text] $name,)*
            /// A code that no source names.
            Other(u64),
        }

        impl Status {
            /// The status of this code.
            #[must_use]
            pub fn from_code(code: u64) -> Self {
                match code { $($code => Self::$name,)* other => Self::Other(other) }
            }

            /// Its code on the wire.
            #[must_use]
            pub fn code(self) -> u64 {
                match self { $(Self::$name => $code,)* Self::Other(code) => code }
            }

            /// The words for people.
            fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Other(_) => "unknown status" }
            }
        }
    };
}

statuses! {
    Success = 0, "success";
    Unknown = 1, "unknown error";
    HeaderInvalid = 2, "invalid header";
    NoResources = 3, "no resources";
    ReadError = 4, "read error";
    WriteError = 5, "write error";
    UnknownPacket = 6, "unknown packet";
    InvalidArgument = 7, "invalid argument";
    NotFound = 8, "not found";
    IsDirectory = 9, "is a folder";
    PermissionDenied = 10, "permission denied";
    NotConnected = 11, "service not connected";
    Timeout = 12, "timeout";
    TooMuchData = 13, "too much data";
    EndOfData = 14, "end of data";
    NotSupported = 15, "not supported";
    Exists = 16, "exists already";
    Busy = 17, "busy";
    NoSpace = 18, "no space left";
    WouldBlock = 19, "locked by another program";
    Io = 20, "input/output error";
    Interrupted = 21, "interrupted";
    InProgress = 22, "in progress";
    Internal = 23, "internal error";
    Mux = 30, "multiplexer error";
    NoMemory = 31, "no memory";
    NotEnoughData = 32, "not enough data";
    DirectoryNotEmpty = 33, "folder not empty";
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (AFC status {})", self.text(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A status reply as libimobiledevice's own source lays it out: "not found" for request 7.
    const NOT_FOUND: [u8; 48] = [
        b'C', b'F', b'A', b'6', b'L', b'P', b'A', b'A', 48, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 7,
        0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn a_status_is_laid_out_in_the_parameters() {
        assert_eq!(status_reply(7, Status::NotFound), NOT_FOUND);
        let header = Header::parse(NOT_FOUND[..40].try_into().unwrap()).unwrap();
        assert_eq!(header, Header { params: 8, payload: 0, number: 7, operation: 1 });
    }

    #[test]
    fn data_is_all_payload() {
        let header = Header::parse(&data_header(3, 1000)).unwrap();
        assert_eq!(header, Header { params: 0, payload: 1000, number: 3, operation: 2 });
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for (entire, this) in [(39, 40), (40, 39), (0, 0), (40, 41), (u64::MAX, 0), (1, u64::MAX)] {
            let mut bytes = data_header(1, 0);
            bytes[8..16].copy_from_slice(&u64::to_le_bytes(entire));
            bytes[16..24].copy_from_slice(&u64::to_le_bytes(this));
            assert_eq!(Header::parse(&bytes), Err(HeaderError::Lengths { entire, this }));
        }
    }

    #[test]
    fn another_magic_is_refused() {
        let mut bytes = data_header(1, 0);
        bytes[7] = b'B';
        assert_eq!(Header::parse(&bytes), Err(HeaderError::Magic));
    }

    #[test]
    fn the_largest_lengths_do_not_overflow() {
        let mut bytes = data_header(1, 0);
        bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.body(), u64::MAX - 40);
    }

    #[test]
    fn operations_and_statuses_keep_their_numbers() {
        for operation in Operation::ALL {
            assert_eq!(Operation::from_raw(operation.raw()), Some(*operation));
        }
        assert_eq!(Operation::from_raw(0x1D), None);
        for code in 0..64 {
            assert_eq!(Status::from_code(code).code(), code);
        }
        assert_eq!(Status::PermissionDenied.to_string(), "permission denied (AFC status 10)");
    }
}
