//! A stream on which TLS begins and ends while the connection goes on.
//!
//! After StopSession the same connection continues in plain text, so nothing after the last TLS record may be taken
//! by TLS. Record headers (RFC 5246 §6.2.1) are therefore read here, and TLS is handed one record at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const HEADER_BYTES: usize = 5;
/// change_cipher_spec … heartbeat.
const CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// See the module.
#[derive(Debug)]
pub(super) struct Records<S> {
    stream: S,
    tls: bool,
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that are read, and that were handed on.
    filled: usize,
    given: usize,
    /// Bytes left of the record.
    left: usize,
}

impl<S> Records<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, tls: false, header: [0; HEADER_BYTES], filled: 0, given: 0, left: 0 }
    }

    /// From now on TLS (or no longer).
    pub(super) fn set_tls(&mut self, tls: bool) {
        self.tls = tls;
    }
}

impl<S: AsyncRead + Unpin> Records<S> {
    /// Reads the next header. False: none comes, or what comes is no TLS.
    fn poll_header(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.filled < HEADER_BYTES {
            if self.filled > 0 && !CONTENT_TYPES.contains(&self.header[0]) {
                return Poll::Ready(Ok(false));
            }
            // Only a first byte that TLS can have is followed further: plain text may be shorter than a header.
            let wanted = if self.filled == 0 { 1 } else { HEADER_BYTES };
            let mut buf = ReadBuf::new(&mut self.header[self.filled..wanted]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            let n = buf.filled().len();
            if n == 0 {
                return Poll::Ready(Ok(false));
            }
            self.filled += n;
        }
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Records<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.tls && this.left == 0 && this.given == this.filled {
            (this.filled, this.given) = (0, 0);
        }
        if this.tls && this.left == 0 && this.given == 0 {
            if !ready!(this.poll_header(cx))? {
                return Poll::Ready(Ok(()));
            }
            this.left = usize::from(u16::from_be_bytes([this.header[3], this.header[4]]));
        }
        if this.given < this.filled {
            let n = buf.remaining().min(this.filled - this.given);
            buf.put_slice(&this.header[this.given..this.given + n]);
            this.given += n;
            return Poll::Ready(Ok(()));
        }
        if !this.tls {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let wanted = this.left.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(wanted));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let n = part.filled().len();
        buf.advance(n);
        this.left -= n;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Records<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    /// TLS ends, the connection does not.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn read_some(records: &mut Records<&[u8]>) -> Vec<u8> {
        let mut buf = [0; 64];
        let n = records.read(&mut buf).await.unwrap();
        buf[..n].to_vec()
    }

    #[tokio::test]
    async fn tls_gets_its_records_and_nothing_of_what_follows() {
        let wire: &[u8] = b"\x17\x03\x03\x00\x02ab\x15\x03\x03\x00\x01c\0\0\0\x04plain";
        let mut records = Records::new(wire);
        records.set_tls(true);
        let mut tls = Vec::new();
        loop {
            let some = read_some(&mut records).await;
            if some.is_empty() {
                break;
            }
            tls.extend(some);
        }
        assert_eq!(tls, b"\x17\x03\x03\x00\x02ab\x15\x03\x03\x00\x01c");
        records.set_tls(false);
        let mut plain = Vec::new();
        records.read_to_end(&mut plain).await.unwrap();
        assert_eq!(plain, b"\0\0\0\x04plain");
    }

    #[tokio::test]
    async fn a_cut_record_ends() {
        for cut in 0..7 {
            let wire = &b"\x17\x03\x03\x00\x02ab"[..cut];
            let mut records = Records::new(wire);
            records.set_tls(true);
            let mut tls = Vec::new();
            records.read_to_end(&mut tls).await.unwrap();
            assert!(tls.len() <= cut);
        }
    }
}
