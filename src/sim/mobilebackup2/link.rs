//! Messages and files on the wire, as the phone sends and hears them, with the faults of `device.toml`.

use std::future::pending;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt, BufReader, BufWriter};

use super::content::Content;
use super::{HOST_PATIENCE, Stop};
use crate::frame::{self, Encoding, Limits};
use crate::mobilebackup2::codes::{BLOCK_DATA, BLOCK_REMOTE_ERROR, BLOCK_SUCCESS};
use crate::mobilebackup2::message::DeviceMessage;
use crate::mobilebackup2::request::{HostMessage, Status};
use crate::mobilebackup2::stream::{Piece, Reader, Writer};
use crate::sim::config::{At, FaultKind};
use crate::sim::device::Device;
use crate::sim::faults::{Amount, Faults};
use crate::usbmux::Stream;

/// Buffered towards the host.
const BUFFER_BYTES: usize = 256 * 1024;

/// The text that goes with [`BLOCK_REMOTE_ERROR`].
const INPUT_OUTPUT: &str = "Input/output error (5)";

/// The connection to the host.
pub(super) struct Link {
    stream: BufReader<Stream>,
    faults: Faults,
}

/// A file to be sent.
pub(super) struct Outgoing {
    /// Its path on the phone.
    pub(super) device_path: String,
    /// Where the host puts it.
    pub(super) host_path: String,
    pub(super) content: Content,
}

impl Link {
    pub(super) fn new(stream: Stream, device: Arc<Device>) -> Self {
        let faults = Faults::new(device, "com.apple.mobilebackup2");
        Self { stream: BufReader::with_capacity(BUFFER_BYTES, stream), faults }
    }

    /// The next message of the host; `None` when it is gone.
    pub(super) async fn hear(&mut self) -> io::Result<Option<HostMessage>> {
        let read = tokio::time::timeout(HOST_PATIENCE, frame::read(&mut self.stream, &Limits::DEVICELINK));
        match read.await.map_err(|_| io::ErrorKind::TimedOut)? {
            Err(frame::Error::Closed) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
            Ok(value) => HostMessage::from_value(value).map(Some).map_err(io::Error::other),
        }
    }

    /// Says something.
    pub(super) async fn say(&mut self, message: &DeviceMessage) -> Result<(), Stop> {
        let mut bytes = frame::encode(&message.to_value(), Encoding::Binary);
        let amounts = [Amount::Message, Amount::Bytes(bytes.len() as u64)];
        match self.faults.strike(At::BackupMessage, &amounts) {
            None => {}
            Some(FaultKind::Refuse) => return Err(Stop::refuse(100, INPUT_OUTPUT)),
            Some(FaultKind::Unplug | FaultKind::Stall) => return pending().await,
            Some(FaultKind::Corrupt) => bytes.iter_mut().skip(4).for_each(|byte| *byte ^= 0x55),
            Some(FaultKind::Short) => {
                bytes.truncate(bytes.len() / 2);
                self.stream.write_all(&bytes).await?;
                return Ok(self.stream.shutdown().await?);
            }
            Some(FaultKind::LieAboutLength) => bytes[..4].copy_from_slice(&u32::MAX.to_be_bytes()),
        }
        self.stream.write_all(&bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Says something that the host answers with a status.
    pub(super) async fn ask(&mut self, message: &DeviceMessage) -> Result<Status, Stop> {
        self.say(message).await?;
        self.status().await
    }

    /// [`Link::ask`]; the backup cannot go on if the host fails at it.
    pub(super) async fn demand(&mut self, message: &DeviceMessage) -> Result<Status, Stop> {
        let status = self.ask(message).await?;
        if status.code == 0 { Ok(status) } else { Err(refused(message.name(), &status)) }
    }

    async fn status(&mut self) -> Result<Status, Stop> {
        match self.hear().await? {
            Some(HostMessage::Status(status)) => Ok(status),
            Some(HostMessage::Disconnect) | None => {
                Err(io::Error::from(io::ErrorKind::ConnectionAborted).into())
            }
            Some(other) => Err(io::Error::other(format!("{other:?} instead of a status")).into()),
        }
    }

    /// Sends files. Gives the bytes that were sent of each.
    pub(super) async fn upload(&mut self, progress: f64, files: Vec<Outgoing>) -> Result<Vec<u64>, Stop> {
        let announced = files.iter().map(|file| file.content.bytes()).sum();
        self.say(&DeviceMessage::UploadFiles { progress, total_bytes: announced }).await?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, &mut self.stream);
        let mut sent = Vec::with_capacity(files.len());
        for file in files {
            let mut writer = Writer::new(&mut out);
            writer.name(file.device_path.as_bytes()).await?;
            writer.name(file.host_path.as_bytes()).await?;
            sent.push(send(&mut out, file.content, &mut self.faults).await?);
        }
        Writer::new(&mut out).finish().await?;
        let status = self.status().await?;
        if status.code == 0 { Ok(sent) } else { Err(refused("Multiple errors uploading files", &status)) }
    }

    /// Wants one file back, handed to `keep` in pieces. `false`: the host has none.
    pub(super) async fn download(
        &mut self,
        path: &str,
        mut keep: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<bool, Stop> {
        self.say(&DeviceMessage::DownloadFiles { paths: vec![path.to_owned()], progress: 0.0 }).await?;
        let mut reader = Reader::new(&mut self.stream);
        let mut there = false;
        while within_patience(reader.name()).await?.is_some() {
            let mut piece = Vec::new();
            loop {
                piece.clear();
                match within_patience(reader.piece(&mut piece, BUFFER_BYTES)).await? {
                    Piece::Data(_) => keep(&piece)?,
                    Piece::End(end) => {
                        there = end.success();
                        break;
                    }
                }
            }
        }
        let status = self.status().await?;
        Ok(there && status.code == 0)
    }
}

impl Link {
    /// Wants several files back. Each is told to `keep` by its place in `paths`: once with nothing when it begins, then in
    /// pieces. `false`: not all came whole; hosts stop at the first that they have not, or leave out that one.
    pub(super) async fn fetch(
        &mut self,
        progress: f64,
        paths: &[String],
        mut keep: impl FnMut(usize, Option<&[u8]>) -> io::Result<()>,
    ) -> Result<bool, Stop> {
        self.say(&DeviceMessage::DownloadFiles { paths: paths.to_vec(), progress }).await?;
        let mut reader = Reader::new(&mut self.stream);
        let (mut at, mut whole) = (0, 0);
        let mut piece = Vec::new();
        while let Some(name) = within_patience(reader.name()).await? {
            let asked = paths[at..].iter().position(|path| path.as_bytes() == name);
            let this = at + asked.ok_or_else(|| io::Error::other("a file that was not asked for"))?;
            at = this + 1;
            keep(this, None)?;
            loop {
                piece.clear();
                match within_patience(reader.piece(&mut piece, BUFFER_BYTES)).await? {
                    Piece::Data(_) => keep(this, Some(&piece))?,
                    Piece::End(end) => {
                        whole += usize::from(end.success());
                        break;
                    }
                }
            }
        }
        let status = self.status().await?;
        Ok(whole == paths.len() && status.code == 0)
    }
}

/// Waits for a piece of a stream no longer than for a message.
async fn within_patience<T>(
    reading: impl Future<Output = Result<T, crate::mobilebackup2::stream::Error>>,
) -> io::Result<T> {
    let read = tokio::time::timeout(HOST_PATIENCE, reading).await;
    read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)
}

/// What a host that fails means for the phone.
fn refused(what: &str, status: &Status) -> Stop {
    // -15 is a full disk: the phone's own word for it is 105.
    let code = if status.code == -15 { 105 } else { 104 };
    let text = status.text.as_deref().unwrap_or("no text");
    Stop::refuse(code, format!("{what}: the host answered {} ({text})", status.code))
}

/// Sends what is in a file; gives the bytes that were sent. Faults strike a file as a message, and its bytes.
async fn send<S: AsyncWrite + Unpin>(out: &mut S, content: Content, faults: &mut Faults) -> io::Result<u64> {
    let Some(mut pieces) = content.pieces() else {
        Writer::new(out).end(BLOCK_REMOTE_ERROR, INPUT_OUTPUT).await?;
        return Ok(0);
    };
    let mut on_file = faults.strike(At::BackupUpload, &[Amount::Message]);
    let mut sent = 0;
    loop {
        let data = pieces.next().await?;
        let read = data.len();
        sent += read as u64;
        let on_bytes =
            if read == 0 { None } else { faults.strike(At::BackupUpload, &[Amount::Bytes(read as u64)]) };
        match on_file.take().or(on_bytes) {
            Some(strike) if ends_file(out, strike, data).await? => return Ok(sent),
            _ if read == 0 => break,
            _ => Writer::new(out).data(data).await?,
        }
    }
    Writer::new(out).end(BLOCK_SUCCESS, "").await?;
    Ok(sent)
}

/// Acts a fault out on a piece of a file, which is empty at the end of one. `true`: the file has ended with it.
async fn ends_file<S: AsyncWrite + Unpin>(
    out: &mut S,
    strike: FaultKind,
    data: &mut [u8],
) -> io::Result<bool> {
    let half = &data[..data.len() / 2];
    match strike {
        FaultKind::Unplug | FaultKind::Stall => return pending().await,
        FaultKind::Corrupt => {
            let middle = data.len() / 2;
            if let Some(byte) = data.get_mut(middle) {
                *byte ^= 0xFF;
            }
            return Ok(false);
        }
        FaultKind::LieAboutLength => {
            out.write_u32(u32::MAX).await?;
            out.write_u8(BLOCK_DATA).await?;
            out.write_all(data).await?;
            out.flush().await?;
            return pending().await;
        }
        FaultKind::Refuse | FaultKind::Short => {}
    }
    let mut writer = Writer::new(out);
    // Hosts take an empty block for the end of everything.
    if !half.is_empty() {
        writer.data(half).await?;
    }
    match strike {
        FaultKind::Refuse => writer.end(BLOCK_REMOTE_ERROR, INPUT_OUTPUT).await?,
        // The file ends early and yet well.
        _ => writer.end(BLOCK_SUCCESS, "").await?,
    }
    Ok(true)
}
