//! What is sent of a file: its bytes as they are, encrypted on the way, or the phone's word that it cannot read them.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::backup::cipher::Encrypting;

/// Read at once.
const PIECE_BYTES: usize = 256 * 1024;

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
        let (source, encrypting): (Box<dyn AsyncRead + Unpin + Send>, _) = match self {
            Self::Bytes(bytes) => (Box::new(io::Cursor::new(bytes)), None),
            Self::File(file) => (Box::new(tokio::fs::File::from_std(file)), None),
            Self::Encrypted(file, encrypting) => {
                (Box::new(tokio::fs::File::from_std(file)), Some(encrypting))
            }
            Self::Refused => return None,
        };
        Some(Pieces { source, encrypting, plain: vec![0; PIECE_BYTES], encrypted: Vec::new(), ended: false })
    }
}

/// The bytes that are sent of a file.
pub(super) struct Pieces {
    source: Box<dyn AsyncRead + Unpin + Send>,
    /// Gone when the last block has been made.
    encrypting: Option<Box<Encrypting>>,
    plain: Vec<u8>,
    encrypted: Vec<u8>,
    ended: bool,
}

impl Pieces {
    /// The next bytes; none at the end.
    pub(super) async fn next(&mut self) -> io::Result<&mut [u8]> {
        while !self.ended {
            let read = self.source.read(&mut self.plain).await?;
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
}
