//! `com.apple.syslog_relay`: the log as text, each line ended by `\n\0` (libimobiledevice syslog_relay.c).

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::device::Device;
use super::log::Follow;
use crate::usbmux::Stream;

/// Serves one connection until the host leaves. What the host says (some say `watch`) means nothing.
pub(super) async fn serve(stream: Stream, device: Arc<Device>) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut log = Follow::new(device);
    let telling = async {
        loop {
            let line = log.next().await?;
            writer.write_all(line.as_bytes()).await?;
            writer.write_all(b"\n\0").await?;
            writer.flush().await?;
        }
    };
    let mut said = [0; 256];
    let host_left = async {
        while reader.read(&mut said).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        told = telling => told,
        left = host_left => left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_end_in_a_nul_and_the_relay_ends_with_its_host() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("syslog.txt"), "one\ntwo\n").unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        let (mut host, phone) = tokio::io::duplex(1 << 10);
        let served = tokio::spawn(serve(Box::new(phone), Arc::clone(&device)));
        host.write_all(b"watch\n").await.unwrap();
        let mut said = [0; 10];
        host.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"one\n\0two\n\0");
        drop(host);
        served.await.unwrap().unwrap();
    }
}
