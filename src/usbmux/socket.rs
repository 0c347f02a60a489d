//! A client's own socket, as the server of usbmuxd's protocol hands it on.
//!
//! Knows whether its other end has gone without reading from it: who serves a connection may be busy sending.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket. Clones share it; it closes with the last.
#[derive(Debug, Clone)]
pub struct Socket(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// True when the other end has closed or has nothing more to say.
    #[must_use]
    pub fn is_closed_by_peer(&self) -> bool {
        let ready = match &*self.0 {
            Kind::Unix(stream) => stream.ready(Interest::READABLE).now_or_never(),
            Kind::Tcp(stream) => stream.ready(Interest::READABLE).now_or_never(),
        };
        match ready {
            Some(Ok(ready)) => ready.is_read_closed(),
            Some(Err(_)) => true,
            None => false,
        }
    }
}

/// Bytes that the system may hold for a client, if it lets us: with its usual 208 KiB both sides wait for each other
/// more than they work.
const SEND_BUFFER_BYTES: usize = 512 << 10;

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        // Without it everything is only slower.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES);
        Self(Arc::new(Kind::Unix(stream)))
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self(Arc::new(Kind::Tcp(stream)))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let read = match &*self.0 {
                Kind::Unix(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_read_buf(buf)
                }
                Kind::Tcp(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_read_buf(buf)
                }
            };
            match read {
                // Somebody else was quicker: it is not ready any more.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let written = match &*self.0 {
                Kind::Unix(stream) => {
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_write(buf)
                }
                Kind::Tcp(stream) => {
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_write(buf)
                }
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let side = rustix::net::Shutdown::Write;
        let done = match &*self.0 {
            Kind::Unix(stream) => rustix::net::shutdown(stream, side),
            Kind::Tcp(stream) => rustix::net::shutdown(stream, side),
        };
        match done {
            // The other end has gone already.
            Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            other => Poll::Ready(other.map_err(io::Error::from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_and_a_peer_that_leaves_is_seen() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut socket = Socket::from(here);
        socket.write_all(b"ping").await.unwrap();
        let mut four = [0; 4];
        there.read_exact(&mut four).await.unwrap();
        there.write_all(&four).await.unwrap();
        assert!(!socket.is_closed_by_peer());
        socket.read_exact(&mut four).await.unwrap();
        assert_eq!(&four, b"ping");
        // Also while bytes wait that nobody reads.
        there.write_all(b"unread").await.unwrap();
        drop(there);
        let mut seen = false;
        for _ in 0..100 {
            seen = seen || socket.is_closed_by_peer();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(seen);
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"unread");
        assert!(socket.write_all(b"x").await.is_err());
    }

    #[tokio::test]
    async fn shutting_down_ends_the_other_sides_reading() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut socket = Socket::from(here);
        socket.shutdown().await.unwrap();
        assert_eq!(there.read(&mut [0; 4]).await.unwrap(), 0);
        drop(there);
        socket.shutdown().await.unwrap();
    }
}
