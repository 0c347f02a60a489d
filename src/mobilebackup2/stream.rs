//! Files on a DeviceLink stream, for both sides and both directions.
//!
//! Each file is one or two names (`u32` length and bytes: from a device two, the path there and the path on the host;
//! from a host one), then blocks (`u32` length of what follows, a code byte, data); a block whose code is not
//! [`BLOCK_DATA`](super::codes::BLOCK_DATA) ends the file, and an empty name ends the stream. Numbers are big-endian.
//! A block may announce up to 4 GiB: it is passed on in pieces and never held whole.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::codes::{BLOCK_DATA, BLOCK_SUCCESS};
use super::message::PATH_BYTES_MAX;

/// Data in one block as Apple's own host sends it; a phone buffers a whole block, so larger ones can kill its backup.
pub const BLOCK_BYTES: usize = 32 * 1024;
/// Longest text of an error at the end of a file that is kept; what is beyond is read and dropped.
const TEXT_BYTES_KEPT: usize = 1024;
/// Longest text of an error at the end of a file that is accepted at all.
const TEXT_BYTES_MAX: u32 = 1 << 20;

/// A stream that is not what the protocol allows, or that broke.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Io(#[from] std::io::Error),
    /// A name is longer than any path may be.
    #[error("a name of {0} bytes was announced, {PATH_BYTES_MAX} are allowed")]
    NameTooLong(u32),
    /// A block without even a code, inside a file.
    #[error("an empty block inside a file")]
    EmptyBlock,
    /// The text of an error is longer than any may be.
    #[error("an error text of {0} bytes was announced")]
    TextTooLong(u32),
}

/// How a file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// [`BLOCK_SUCCESS`], or the sender's error code.
    pub code: u8,
    /// What the sender says about it.
    pub text: String,
}

impl End {
    /// The sender says that the whole file was sent.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == BLOCK_SUCCESS
    }
}

/// What comes next inside a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes were appended to the buffer; never 0.
    Data(usize),
    /// The file is over.
    End(End),
}

/// Reads files from a stream. `S` should be buffered.
#[derive(Debug)]
pub struct Reader<'a, S> {
    stream: &'a mut S,
    /// Data bytes of the current block that have not been read yet.
    left: u32,
}

impl<'a, S: AsyncRead + Unpin> Reader<'a, S> {
    /// Reads the files that follow on `stream`.
    pub fn new(stream: &'a mut S) -> Self {
        Self { stream, left: 0 }
    }

    /// The next name; `None` ends the stream. The bytes are as sent: a name need not be text.
    ///
    /// # Errors
    /// A broken stream, or a name beyond [`PATH_BYTES_MAX`].
    pub async fn name(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let length = self.stream.read_u32().await?;
        if length == 0 {
            return Ok(None);
        }
        if length as usize > PATH_BYTES_MAX {
            return Err(Error::NameTooLong(length));
        }
        let mut name = vec![0; length as usize];
        self.stream.read_exact(&mut name).await?;
        Ok(Some(name))
    }

    /// The next piece of the current file: appends at most `most` bytes to `buffer`, or tells how the file ended.
    ///
    /// # Errors
    /// A broken stream or a block that the protocol does not allow.
    pub async fn piece(&mut self, buffer: &mut Vec<u8>, most: usize) -> Result<Piece, Error> {
        while self.left == 0 {
            let length = self.stream.read_u32().await?;
            let text_length = length.checked_sub(1).ok_or(Error::EmptyBlock)?;
            let code = self.stream.read_u8().await?;
            if code != BLOCK_DATA {
                let text = self.text(text_length).await?;
                return Ok(Piece::End(End { code, text }));
            }
            self.left = text_length;
        }
        let take = most.min(self.left as usize);
        buffer.reserve(take);
        let mut piece = (&mut *self.stream).take(take as u64);
        while piece.limit() > 0 {
            if piece.read_buf(buffer).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
        self.left -= u32::try_from(take).expect("take is at most left, which is a u32");
        Ok(Piece::Data(take))
    }

    async fn text(&mut self, length: u32) -> Result<String, Error> {
        if length > TEXT_BYTES_MAX {
            return Err(Error::TextTooLong(length));
        }
        let mut text = vec![0; length as usize];
        self.stream.read_exact(&mut text).await?;
        text.truncate(TEXT_BYTES_KEPT);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Writes files to a stream. `S` should be buffered; [`Writer::finish`] flushes it.
#[derive(Debug)]
pub struct Writer<'a, S> {
    stream: &'a mut S,
}

impl<'a, S: AsyncWrite + Unpin> Writer<'a, S> {
    /// Writes files to `stream`.
    pub fn new(stream: &'a mut S) -> Self {
        Self { stream }
    }

    /// Begins a file: a host gives its one name; a device gives the path there, then the path on the host.
    ///
    /// # Errors
    /// A broken stream.
    ///
    /// # Panics
    /// On an empty name or one beyond [`PATH_BYTES_MAX`]: they would be read as something else.
    pub async fn name(&mut self, name: &[u8]) -> std::io::Result<()> {
        assert!(!name.is_empty() && name.len() <= PATH_BYTES_MAX, "a name of {} bytes", name.len());
        self.stream.write_u32(u32::try_from(name.len()).expect("bounded above")).await?;
        self.stream.write_all(name).await
    }

    /// Data of the current file, in blocks of at most [`BLOCK_BYTES`]; nothing for no data, since an empty block would end a
    /// transfer.
    ///
    /// # Errors
    /// A broken stream.
    pub async fn data(&mut self, data: &[u8]) -> std::io::Result<()> {
        for block in data.chunks(BLOCK_BYTES) {
            let length = u32::try_from(block.len() + 1).expect("a block is small");
            self.stream.write_u32(length).await?;
            self.stream.write_u8(BLOCK_DATA).await?;
            self.stream.write_all(block).await?;
        }
        Ok(())
    }

    /// Ends the current file.
    ///
    /// # Errors
    /// A broken stream.
    pub async fn end(&mut self, code: u8, text: &str) -> std::io::Result<()> {
        let text = &text.as_bytes()[..text.len().min(TEXT_BYTES_KEPT)];
        self.stream.write_u32(u32::try_from(text.len() + 1).expect("bounded above")).await?;
        self.stream.write_u8(code).await?;
        self.stream.write_all(text).await
    }

    /// Ends the stream and flushes it.
    ///
    /// # Errors
    /// A broken stream.
    pub async fn finish(self) -> std::io::Result<()> {
        self.stream.write_u32(0).await?;
        self.stream.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobilebackup2::codes::BLOCK_REMOTE_ERROR;

    async fn read_all(bytes: &[u8], most: usize) -> Result<Vec<(Vec<u8>, Vec<u8>, End)>, Error> {
        let mut stream = bytes;
        let mut reader = Reader::new(&mut stream);
        let mut files = Vec::new();
        while let Some(name) = reader.name().await? {
            let mut data = Vec::new();
            let end = loop {
                match reader.piece(&mut data, most).await? {
                    Piece::Data(read) => assert!(read > 0 && read <= most),
                    Piece::End(end) => break end,
                }
            };
            files.push((name, data, end));
        }
        Ok(files)
    }

    async fn three_files() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.name(b"big").await.unwrap();
        writer.data(&vec![7; 3 * BLOCK_BYTES + 5]).await.unwrap();
        writer.end(BLOCK_SUCCESS, "").await.unwrap();
        writer.name(b"empty").await.unwrap();
        writer.data(b"").await.unwrap();
        writer.end(BLOCK_SUCCESS, "").await.unwrap();
        writer.name(b"refused").await.unwrap();
        writer.end(BLOCK_REMOTE_ERROR, "Operation not permitted").await.unwrap();
        writer.finish().await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn files_come_out_as_they_went_in() {
        let bytes = three_files().await;
        for most in [1, 1000, BLOCK_BYTES, usize::MAX] {
            let files = read_all(&bytes, most).await.unwrap();
            assert_eq!(files.len(), 3);
            assert_eq!(files[0].1, vec![7; 3 * BLOCK_BYTES + 5]);
            assert!(files[0].2.success() && files[1].2.success());
            assert_eq!(files[1].1, b"");
            assert_eq!(files[2].2, End { code: 0x0B, text: "Operation not permitted".into() });
        }
    }

    #[tokio::test]
    async fn the_bytes_are_those_of_other_hosts() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.name(b"U/a").await.unwrap();
        writer.data(b"hi").await.unwrap();
        writer.end(BLOCK_SUCCESS, "").await.unwrap();
        writer.finish().await.unwrap();
        assert_eq!(bytes, b"\0\0\0\x03U/a\0\0\0\x03\x0chi\0\0\0\x01\0\0\0\0\0");
    }

    #[tokio::test]
    async fn cut_at_every_length_it_is_an_error() {
        let bytes = three_files().await;
        for length in (0..200).chain(bytes.len() - 100..bytes.len()) {
            assert!(read_all(&bytes[..length], 4096).await.is_err(), "cut at {length}");
        }
    }

    #[tokio::test]
    async fn lengths_beyond_bounds_take_no_memory() {
        let name = u32::MAX.to_be_bytes();
        assert!(matches!(read_all(&name, 10).await, Err(Error::NameTooLong(u32::MAX))));
        let block = [&b"\0\0\0\x01a"[..], &u32::MAX.to_be_bytes(), b"\x0cabc"].concat();
        assert!(matches!(read_all(&block, 10).await, Err(Error::Io(_))));
        let text = [&b"\0\0\0\x01a"[..], &u32::MAX.to_be_bytes(), b"\x0b"].concat();
        assert!(matches!(read_all(&text, 10).await, Err(Error::TextTooLong(_))));
        assert!(matches!(read_all(b"\0\0\0\x01a\0\0\0\0", 10).await, Err(Error::EmptyBlock)));
    }
}
