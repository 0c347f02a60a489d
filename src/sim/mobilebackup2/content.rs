//! What is sent of a file: its bytes as they are, encrypted on the way, or the phone's word that it cannot read them.

use std::io::{self, Read};

use tokio::io::AsyncReadExt;

use crate::backup::cipher::Encrypting;

/// Read at once.
const PIECE_BYTES: usize = 256 * 1024;
/// Read where the phone is: the way to another thread and back, for a file's bytes and again for its end, would cost a small
/// file more than all else.
const HEAD_BYTES: u64 = 64 * 1024;

/// What is sent of a file.
pub(super) enum Content {
    Bytes(Vec<u8>),
    File(std::fs::File),
    /// A file that is encrypted while it is sent.
    Encrypted(std::fs::File, Box<Encrypting>),
    /// The phone cannot read it and says so.
    Refused,
}

impl Content {
    /// How many bytes are to be sent, as far as it is known before.
    pub(super) fn bytes(&self) -> u64 {
        let length = |file: &std::fs::File| file.metadata().map_or(0, |metadata| metadata.len());
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => length(file),
            Self::Encrypted(file, _) => Encrypting::length(length(file)),
            Self::Refused => 0,
        }
    }

    /// To be read piece by piece; `None`: the phone cannot read it.
    pub(super) fn pieces(self) -> Option<Pieces> {
        let (file, encrypting) = match self {
            Self::Bytes(bytes) => return Some(Pieces::new(bytes, None, None)),
            Self::File(file) => (file, None),
            Self::Encrypted(file, encrypting) => (file, Some(encrypting)),
            Self::Refused => return None,
        };
        let mut head = Vec::new();
        let read = (&file).take(HEAD_BYTES).read_to_end(&mut head);
        // What cannot be read is told when it is asked for again.
        let more = !matches!(read, Ok(read) if (read as u64) < HEAD_BYTES);
        Some(Pieces::new(head, more.then(|| tokio::fs::File::from_std(file)), encrypting))
    }
}

/// The bytes that are sent of a file.
pub(super) struct Pieces {
    plain: Vec<u8>,
    /// So much of `plain` is read and not given yet.
    read: usize,
    /// What comes after that.
    rest: Option<tokio::fs::File>,
    /// Gone when the last block has been made.
    encrypting: Option<Box<Encrypting>>,
    encrypted: Vec<u8>,
    ended: bool,
}

impl Pieces {
    fn new(head: Vec<u8>, rest: Option<tokio::fs::File>, encrypting: Option<Box<Encrypting>>) -> Self {
        let read = head.len();
        Self { plain: head, read, rest, encrypting, encrypted: Vec::new(), ended: false }
    }

    /// The next bytes; none at the end.
    pub(super) async fn next(&mut self) -> io::Result<&mut [u8]> {
        while !self.ended {
            let read = self.read_on().await?;
            self.ended = read == 0;
            match self.encrypting.take() {
                None => return Ok(&mut self.plain[..read]),
                Some(encrypting) if self.ended => {
                    self.encrypted = encrypting.last();
                    return Ok(&mut self.encrypted);
                }
                Some(mut encrypting) => {
                    self.encrypted = encrypting.piece(&self.plain[..read]);
                    self.encrypting = Some(encrypting);
                    if !self.encrypted.is_empty() {
                        return Ok(&mut self.encrypted);
                    }
                }
            }
        }
        Ok(&mut [])
    }

    /// Has more in `plain`, and tells how much.
    async fn read_on(&mut self) -> io::Result<usize> {
        let there = std::mem::take(&mut self.read);
        match &mut self.rest {
            Some(rest) if there == 0 => {
                self.plain.resize(PIECE_BYTES, 0);
                rest.read(&mut self.plain).await
            }
            _ => Ok(there),
        }
    }
}
