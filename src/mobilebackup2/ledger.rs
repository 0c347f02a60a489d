//! What was received, told as it happens: the digest of each file is taken while its bytes come in.

use std::io;

/// SHA-256 of a file's content.
pub type Digest = [u8; 32];

/// One file as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where it was put, below the device's folder (without the UDID): text from the phone, checked as a path.
    pub path: String,
    /// Its path on the phone: text from the phone.
    pub device_path: String,
    /// Bytes received.
    pub bytes: u64,
    /// SHA-256 of these bytes.
    pub sha256: Digest,
    /// 0, or the code with which the phone ended the file. A file that ended with a code before any byte came was not
    /// put anywhere.
    pub code: u8,
}

/// One thing that happened to the files of the backup, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file came in.
    Received(Received),
    /// A file or a folder was moved.
    Moved {
        /// From, below the device's folder.
        from: String,
        /// To, below the device's folder.
        to: String,
    },
    /// A file or a folder was copied.
    Copied {
        /// From, below the device's folder.
        from: String,
        /// To, below the device's folder.
        to: String,
    },
    /// A file or a folder was removed.
    Removed {
        /// Below the device's folder.
        path: String,
    },
}

impl Received {
    /// Bytes of the paths in it.
    pub(super) fn text_bytes(&self) -> usize {
        self.path.len() + self.device_path.len()
    }
}

impl Entry {
    /// Bytes of the paths in it.
    pub(super) fn text_bytes(&self) -> usize {
        match self {
            Self::Received(received) => received.text_bytes(),
            Self::Moved { from, to } | Self::Copied { from, to } => from.len() + to.len(),
            Self::Removed { path } => path.len(),
        }
    }
}

/// Keeps the entries. It is handed a batch only after the data that the batch names is durable, and makes the batch
/// durable before it returns.
pub trait Ledger: Send {
    /// Keeps a batch.
    ///
    /// # Errors
    /// Any I/O error: the backup then stops.
    fn keep(&mut self, batch: &[Entry]) -> io::Result<()>;
}

impl Ledger for Vec<Entry> {
    fn keep(&mut self, batch: &[Entry]) -> io::Result<()> {
        self.extend_from_slice(batch);
        Ok(())
    }
}
