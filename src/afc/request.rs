//! Requests: built by the client, understood by the device's side.

use super::packet::{HEADER_BYTES, Header, Operation, Status, u64_at};

/// The longest path that either side accepts, in bytes without its NUL (`PATH_MAX` of the phone's system).
pub const PATH_BYTES_MAX: usize = 1024;

/// The most bytes of parameters that a request other than a write can have: two paths, two numbers.
pub const PARAMS_BYTES_MAX: u64 = 16 + 2 * (PATH_BYTES_MAX as u64 + 1);

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// `r`
    Read,
    /// `r+`: read and write, made if it is not there.
    ReadWrite,
    /// `w`: write, made or emptied.
    Write,
    /// `w+`: read and write, made or emptied.
    WriteRead,
    /// `a`: append.
    Append,
    /// `a+`: append and read.
    AppendRead,
}

impl OpenMode {
    const ALL: [Self; 6] =
        [Self::Read, Self::ReadWrite, Self::Write, Self::WriteRead, Self::Append, Self::AppendRead];

    fn raw(self) -> u64 {
        self as u64 + 1
    }

    fn from_raw(raw: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.raw() == raw)
    }
}

/// What to do with a handle's lock (`flock`, never waiting).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Many may hold it.
    Shared,
    /// One may hold it.
    Exclusive,
    /// Let go.
    Unlock,
}

impl Lock {
    fn raw(self) -> u64 {
        match self {
            Lock::Shared => 5,
            Lock::Exclusive => 6,
            Lock::Unlock => 12,
        }
    }

    fn from_raw(raw: u64) -> Option<Self> {
        // The bit 4 says "do not wait", which AFC never does, with or without it.
        match raw & !4 {
            1 => Some(Lock::Shared),
            2 => Some(Lock::Exclusive),
            8 => Some(Lock::Unlock),
            _ => None,
        }
    }
}

/// What a position is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whence {
    /// The beginning.
    Start,
    /// Where the handle is.
    Current,
    /// The end.
    End,
}

/// One request. A write's bytes are its payload, and not part of this.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the operations are documented where they are listed")]
pub enum Request {
    ReadDir { path: String },
    Truncate { path: String, size: u64 },
    RemovePath { path: String },
    MakeDir { path: String },
    FileInfo { path: String },
    DeviceInfo,
    FileOpen { path: String, mode: OpenMode },
    FileRead { handle: u64, count: u64 },
    FileWrite { handle: u64 },
    FileSeek { handle: u64, whence: Whence, offset: i64 },
    FileTell { handle: u64 },
    FileClose { handle: u64 },
    FileSetSize { handle: u64, size: u64 },
    RenamePath { from: String, to: String },
    FileLock { handle: u64, lock: Lock },
    MakeLink { symbolic: bool, target: String, link: String },
    SetModTime { path: String, mtime_ns: i64 },
    RemovePathAndContents { path: String },
}

/// A path that cannot be sent: it holds a NUL or is longer than [`PATH_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsendablePath;

impl Request {
    /// Its operation.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Request::ReadDir { .. } => Operation::ReadDir,
            Request::Truncate { .. } => Operation::Truncate,
            Request::RemovePath { .. } => Operation::RemovePath,
            Request::MakeDir { .. } => Operation::MakeDir,
            Request::FileInfo { .. } => Operation::FileInfo,
            Request::DeviceInfo => Operation::DeviceInfo,
            Request::FileOpen { .. } => Operation::FileOpen,
            Request::FileRead { .. } => Operation::FileRead,
            Request::FileWrite { .. } => Operation::FileWrite,
            Request::FileSeek { .. } => Operation::FileSeek,
            Request::FileTell { .. } => Operation::FileTell,
            Request::FileClose { .. } => Operation::FileClose,
            Request::FileSetSize { .. } => Operation::FileSetSize,
            Request::RenamePath { .. } => Operation::RenamePath,
            Request::FileLock { .. } => Operation::FileLock,
            Request::MakeLink { .. } => Operation::MakeLink,
            Request::SetModTime { .. } => Operation::SetModTime,
            Request::RemovePathAndContents { .. } => Operation::RemovePathAndContents,
        }
    }

    /// The numbers that stand first and the paths that follow.
    fn parts(&self) -> (Vec<u64>, Vec<&str>) {
        match self {
            Request::ReadDir { path }
            | Request::RemovePath { path }
            | Request::MakeDir { path }
            | Request::FileInfo { path }
            | Request::RemovePathAndContents { path } => (vec![], vec![path]),
            Request::DeviceInfo => (vec![], vec![]),
            Request::Truncate { path, size } => (vec![*size], vec![path]),
            Request::FileOpen { path, mode } => (vec![mode.raw()], vec![path]),
            Request::SetModTime { path, mtime_ns } => (vec![mtime_ns.cast_unsigned()], vec![path]),
            Request::FileRead { handle, count } => (vec![*handle, *count], vec![]),
            Request::FileWrite { handle } | Request::FileTell { handle } | Request::FileClose { handle } => {
                (vec![*handle], vec![])
            }
            Request::FileSeek { handle, whence, offset } => {
                (vec![*handle, *whence as u64, offset.cast_unsigned()], vec![])
            }
            Request::FileSetSize { handle, size } => (vec![*handle, *size], vec![]),
            Request::FileLock { handle, lock } => (vec![*handle, lock.raw()], vec![]),
            Request::RenamePath { from, to } => (vec![], vec![from, to]),
            Request::MakeLink { symbolic, target, link } => {
                (vec![if *symbolic { 2 } else { 1 }], vec![target, link])
            }
        }
    }

    /// Header, parameters and `payload` in one piece: two writes would make two packets on the bus.
    ///
    /// # Errors
    /// A path that cannot be sent.
    pub fn encode(&self, number: u64, payload: &[u8]) -> Result<Vec<u8>, UnsendablePath> {
        let (numbers, paths) = self.parts();
        if paths.iter().any(|path| path.len() > PATH_BYTES_MAX || path.contains('\0')) {
            return Err(UnsendablePath);
        }
        let params = numbers.len() * 8 + paths.iter().map(|path| path.len() + 1).sum::<usize>();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + params + payload.len());
        let header = Header {
            params: params as u64,
            payload: payload.len() as u64,
            number,
            operation: self.operation().raw(),
        };
        bytes.extend_from_slice(&header.encode());
        for value in numbers {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        for path in paths {
            bytes.extend_from_slice(path.as_bytes());
            bytes.push(0);
        }
        bytes.extend_from_slice(payload);
        Ok(bytes)
    }

    /// Understands a request by its operation and its parameters (for a write: the handle alone). Clients differ: a
    /// path may come with its NUL or without.
    ///
    /// # Errors
    /// The status that a device answers: not supported, or an invalid argument.
    pub fn parse(operation: u64, params: &[u8]) -> Result<Self, Status> {
        let operation = Operation::from_raw(operation).ok_or(Status::NotSupported)?;
        let mut params = Params(params);
        Ok(match operation {
            Operation::ReadDir => Request::ReadDir { path: params.path()? },
            Operation::Truncate => {
                let size = params.number()?;
                Request::Truncate { size, path: params.path()? }
            }
            Operation::RemovePath => Request::RemovePath { path: params.path()? },
            Operation::MakeDir => Request::MakeDir { path: params.path()? },
            Operation::FileInfo => Request::FileInfo { path: params.path()? },
            Operation::DeviceInfo => Request::DeviceInfo,
            Operation::FileOpen => {
                let mode = OpenMode::from_raw(params.number()?).ok_or(Status::InvalidArgument)?;
                Request::FileOpen { mode, path: params.path()? }
            }
            Operation::FileRead => Request::FileRead { handle: params.number()?, count: params.number()? },
            Operation::FileWrite => Request::FileWrite { handle: params.number()? },
            Operation::FileSeek => {
                let handle = params.number()?;
                let whence = match params.number()? {
                    0 => Whence::Start,
                    1 => Whence::Current,
                    2 => Whence::End,
                    _ => return Err(Status::InvalidArgument),
                };
                Request::FileSeek { handle, whence, offset: params.number()?.cast_signed() }
            }
            Operation::FileTell => Request::FileTell { handle: params.number()? },
            Operation::FileClose => Request::FileClose { handle: params.number()? },
            Operation::FileSetSize => {
                Request::FileSetSize { handle: params.number()?, size: params.number()? }
            }
            Operation::RenamePath => Request::RenamePath { from: params.path()?, to: params.path()? },
            Operation::FileLock => {
                let handle = params.number()?;
                let lock = Lock::from_raw(params.number()?).ok_or(Status::InvalidArgument)?;
                Request::FileLock { handle, lock }
            }
            Operation::MakeLink => {
                let symbolic = match params.number()? {
                    1 => false,
                    2 => true,
                    _ => return Err(Status::InvalidArgument),
                };
                Request::MakeLink { symbolic, target: params.path()?, link: params.path()? }
            }
            Operation::SetModTime => {
                let mtime_ns = params.number()?.cast_signed();
                Request::SetModTime { mtime_ns, path: params.path()? }
            }
            Operation::RemovePathAndContents => Request::RemovePathAndContents { path: params.path()? },
            Operation::Status | Operation::Data | Operation::FileOpenResult | Operation::FileTellResult => {
                return Err(Status::UnknownPacket);
            }
        })
    }
}

/// Parameters, read from the front.
struct Params<'a>(&'a [u8]);

impl Params<'_> {
    fn number(&mut self) -> Result<u64, Status> {
        let (number, rest) = self.0.split_at_checked(8).ok_or(Status::InvalidArgument)?;
        self.0 = rest;
        Ok(u64_at(number, 0))
    }

    fn path(&mut self) -> Result<String, Status> {
        if self.0.is_empty() {
            return Err(Status::InvalidArgument);
        }
        let end = self.0.iter().position(|b| *b == 0);
        let (path, rest) = match end {
            Some(end) => (&self.0[..end], &self.0[end + 1..]),
            None => (self.0, &[][..]),
        };
        self.0 = rest;
        if path.len() > PATH_BYTES_MAX {
            return Err(Status::InvalidArgument);
        }
        String::from_utf8(path.to_vec()).map_err(|_| Status::InvalidArgument)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_of_each() -> Vec<Request> {
        let path = || "DCIM/100APPLE/IMG_0001.HEIC".to_owned();
        vec![
            Request::ReadDir { path: path() },
            Request::Truncate { path: path(), size: 5 },
            Request::RemovePath { path: path() },
            Request::MakeDir { path: path() },
            Request::FileInfo { path: path() },
            Request::DeviceInfo,
            Request::FileOpen { path: path(), mode: OpenMode::AppendRead },
            Request::FileRead { handle: 1, count: 1 << 20 },
            Request::FileWrite { handle: 1 },
            Request::FileSeek { handle: 1, whence: Whence::End, offset: -3 },
            Request::FileTell { handle: 1 },
            Request::FileClose { handle: 1 },
            Request::FileSetSize { handle: 1, size: 9 },
            Request::RenamePath { from: path(), to: "b".into() },
            Request::FileLock { handle: 1, lock: Lock::Exclusive },
            Request::MakeLink { symbolic: true, target: "a".into(), link: path() },
            Request::SetModTime { path: path(), mtime_ns: -1 },
            Request::RemovePathAndContents { path: path() },
        ]
    }

    #[test]
    fn each_request_comes_back_from_its_bytes() {
        for request in one_of_each() {
            let bytes = request.encode(9, b"").unwrap();
            let header = Header::parse(bytes[..40].try_into().unwrap()).unwrap();
            assert_eq!((header.number, header.body()), (9, bytes.len() as u64 - 40));
            assert_eq!(Request::parse(header.operation, &bytes[40..]), Ok(request));
        }
    }

    #[test]
    fn a_request_cut_short_is_an_invalid_argument_or_a_shorter_path() {
        for request in one_of_each() {
            let bytes = request.encode(9, b"").unwrap();
            for cut in 40..bytes.len() {
                match Request::parse(request.operation().raw(), &bytes[40..cut]) {
                    Ok(other) => assert_eq!(other.operation(), request.operation()),
                    Err(status) => assert_eq!(status, Status::InvalidArgument),
                }
            }
        }
    }

    #[test]
    fn a_path_may_lack_its_nul() {
        assert_eq!(Request::parse(0x03, b"DCIM"), Ok(Request::ReadDir { path: "DCIM".into() }));
    }

    #[test]
    fn only_a_writes_bytes_are_payload() {
        let bytes = Request::FileWrite { handle: 2 }.encode(1, b"abc").unwrap();
        let header = Header::parse(bytes[..40].try_into().unwrap()).unwrap();
        assert_eq!((header.params, header.payload), (8, 3));
    }

    #[test]
    fn a_path_with_nul_or_without_end_is_not_sent() {
        for path in ["a\0b".to_owned(), "x".repeat(PATH_BYTES_MAX + 1)] {
            assert_eq!(Request::FileInfo { path }.encode(1, b""), Err(UnsendablePath));
        }
    }

    #[test]
    fn an_operation_that_no_client_uses_is_not_supported() {
        assert_eq!(Request::parse(0x1D, b"x"), Err(Status::NotSupported));
        assert_eq!(Request::parse(0x0E, b"x"), Err(Status::UnknownPacket));
    }

    proptest! {
        #[test]
        fn random_parameters_never_panic(operation in 0_u64..0x30, params in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Request::parse(operation, &params);
        }
    }
}
