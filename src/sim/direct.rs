//! A connection that the phone serves on its client's own socket: no byte is copied on the way, as long as the cable
//! costs nothing. When `device.toml` gives the cable figures, the connection goes over it from then on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::link::Cable;
use super::pipe::{self, End};
use crate::usbmux::Socket;
use crate::usbmux::server::splice;

/// See the module.
#[derive(Debug)]
pub(super) struct Direct {
    path: Path,
    cable: Arc<Cable>,
    gone: CancellationToken,
    /// Who waits for bytes: it must look again when the path changes.
    reader: Option<Waker>,
}

#[derive(Debug)]
enum Path {
    Socket(Socket),
    Cable(End),
}

impl Direct {
    /// The phone's side of `socket`; when `gone` is cancelled, what is still on the cable is lost.
    pub(super) fn new(socket: Socket, cable: Arc<Cable>, gone: CancellationToken) -> Self {
        Self { path: Path::Socket(socket), cable, gone, reader: None }
    }

    /// Goes over the cable if it has come to cost something.
    fn choose(&mut self) {
        let Path::Socket(socket) = &self.path else { return };
        if self.cable.terms().is_none() {
            return;
        }
        let (host, phone, _) = pipe::connection(&self.cable);
        let (socket, gone) = (socket.clone(), self.gone.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = gone.cancelled() => {}
                // How the client goes shows at the other end of the pipe.
                _ = splice(socket, Box::new(host)) => {}
            }
        });
        self.path = Path::Cable(phone);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl AsyncRead for Direct {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.choose();
        match &mut this.path {
            Path::Cable(end) => Pin::new(end).poll_read(cx, buf),
            Path::Socket(socket) => {
                let polled = Pin::new(socket).poll_read(cx, buf);
                if polled.is_pending()
                    && !this.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker()))
                {
                    this.reader = Some(cx.waker().clone());
                }
                polled
            }
        }
    }
}

impl AsyncWrite for Direct {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.choose();
        match &mut this.path {
            Path::Cable(end) => Pin::new(end).poll_write(cx, buf),
            Path::Socket(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().path {
            Path::Cable(end) => Pin::new(end).poll_flush(cx),
            Path::Socket(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().path {
            Path::Cable(end) => Pin::new(end).poll_shutdown(cx),
            Path::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::super::Device;
    use super::*;

    #[tokio::test]
    async fn a_cable_that_gets_figures_is_used_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let cable = Cable::new(Device::open(folder.path(), false).unwrap());
        let (here, mut host) = UnixStream::pair().unwrap();
        let (mut from_host, mut to_host) =
            tokio::io::split(Direct::new(here.into(), cable, CancellationToken::new()));
        to_host.write_all(b"at once").await.unwrap();
        host.read_exact(&mut [0; 7]).await.unwrap();
        // A task that waits on the socket meanwhile still gets what comes over the cable.
        let waiting = tokio::spawn(async move { from_host.read_u8().await });
        tokio::time::sleep(Duration::from_millis(30)).await;
        let toml = "[link]\nbytes_per_second = 10000000\nround_trip_us = 1000\n";
        std::fs::write(folder.path().join("device.toml"), toml).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let started = Instant::now();
        let sending = async { to_host.write_all(&[7; 1_000_000]).await };
        let mut bytes = vec![0; 1_000_000];
        let (sent, read) = tokio::join!(sending, host.read_exact(&mut bytes));
        sent.unwrap();
        read.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(95), "{:?}", started.elapsed());
        host.write_all(b"x").await.unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), b'x');
    }
}
