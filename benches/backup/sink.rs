//! A host that answers a phone rightly and keeps nothing but what the phone looks at again: the names, and the records.

use std::collections::HashMap;

use idevice_fix::frame::{self, Encoding, Limits};
use idevice_fix::lockdown::Session;
use idevice_fix::mobilebackup2::message::DeviceMessage;
use idevice_fix::mobilebackup2::request::{HostMessage, Request, Status, StatusValue};
use idevice_fix::mobilebackup2::stream::{Piece, Reader, Writer};
use idevice_fix::usbmux::Stream;
use plist::{Dictionary, Value};
use tokio::io::BufReader;

const PIECE_BYTES: usize = 256 * 1024;

#[derive(Default)]
struct Sink {
    /// By folder.
    names: HashMap<String, Dictionary>,
    records: HashMap<String, Vec<u8>>,
}

/// Takes a full backup and throws it away. Gives the files and bytes that came.
pub(crate) async fn receive(session: &Session) -> (u64, u64) {
    let stream = session.start_service("com.apple.mobilebackup2").await.expect("the service starts");
    let mut stream = BufReader::with_capacity(PIECE_BYTES, stream);
    hear(&mut stream).await;
    say(&mut stream, HostMessage::VersionOk { major: 400 }).await;
    hear(&mut stream).await;
    say(&mut stream, HostMessage::Hello { versions: vec![2.0, 2.1] }).await;
    hear(&mut stream).await;
    let target = session.phone().attached.udid.as_str().to_owned();
    let request = Request::Backup { source: Some(target.clone()), target, force_full: true };
    say(&mut stream, HostMessage::Request(request)).await;
    let (mut sink, mut files, mut bytes) = (Sink::default(), 0, 0);
    loop {
        let status = match hear(&mut stream).await {
            DeviceMessage::Response(response) => {
                assert_eq!(response.code, 0, "{:?}", response.description);
                return (files, bytes);
            }
            DeviceMessage::UploadFiles { .. } => {
                let came = sink.take(&mut stream).await;
                files += came.0;
                bytes += came.1;
                Status::with(StatusValue::Listing(Dictionary::new()))
            }
            DeviceMessage::DownloadFiles { paths, .. } => sink.give(&mut stream, &paths).await,
            DeviceMessage::FreeDiskSpace => Status::with(StatusValue::Bytes(1 << 40)),
            DeviceMessage::ContentsOfDirectory { path } => {
                Status::with(StatusValue::Listing(sink.names.get(&path).cloned().unwrap_or_default()))
            }
            DeviceMessage::MoveItems { items, .. } => {
                for (from, to) in items {
                    sink.moved(&from, &to);
                }
                Status::with(StatusValue::Listing(Dictionary::new()))
            }
            _ => Status::with(StatusValue::Listing(Dictionary::new())),
        };
        say(&mut stream, HostMessage::Status(status)).await;
    }
}

async fn hear(stream: &mut BufReader<Stream>) -> DeviceMessage {
    let value = frame::read(stream, &Limits::DEVICELINK).await.expect("the phone speaks");
    DeviceMessage::from_value(value).expect("the phone speaks DeviceLink")
}

async fn say(stream: &mut BufReader<Stream>, message: HostMessage) {
    frame::write(stream, &message.to_value(), Encoding::Binary).await.expect("the phone listens");
}

impl Sink {
    async fn take(&mut self, stream: &mut BufReader<Stream>) -> (u64, u64) {
        let (mut files, mut bytes) = (0, 0);
        let mut reader = Reader::new(stream);
        let mut piece = Vec::new();
        while reader.name().await.expect("a name").is_some() {
            let path = reader.name().await.expect("a name").unwrap_or_default();
            let path = String::from_utf8(path).expect("a path is text");
            let kept = path.contains("Manifest.") || path.contains("Status.plist");
            let mut content = Vec::new();
            loop {
                piece.clear();
                match reader.piece(&mut piece, PIECE_BYTES).await.expect("the stream goes on") {
                    Piece::Data(read) => bytes += read as u64,
                    Piece::End(_) => break,
                }
                if kept {
                    content.extend_from_slice(&piece);
                }
            }
            files += 1;
            if kept {
                self.records.insert(path, content);
            }
        }
        (files, bytes)
    }

    fn moved(&mut self, from: &str, to: &str) {
        if let Some(content) = self.records.remove(from) {
            self.records.insert(to.to_owned(), content);
        } else if let Some((folder, name)) = to.rsplit_once('/') {
            let entry = Value::Dictionary(Dictionary::new());
            self.names.entry(folder.to_owned()).or_default().insert(name.to_owned(), entry);
        }
    }

    async fn give(&mut self, stream: &mut BufReader<Stream>, paths: &[String]) -> Status {
        let mut out = tokio::io::BufWriter::new(stream);
        let mut whole = true;
        for path in paths {
            let mut writer = Writer::new(&mut out);
            writer.name(path.as_bytes()).await.expect("the phone takes it");
            let code = match self.records.get(path) {
                Some(content) => {
                    writer.data(content).await.expect("the phone takes it");
                    0
                }
                None => 6,
            };
            whole &= code == 0;
            writer.end(code, "").await.expect("the phone takes it");
        }
        Writer::new(&mut out).finish().await.expect("the phone takes it");
        if whole {
            Status::with(StatusValue::Listing(Dictionary::new()))
        } else {
            Status::refused(-13, "Multi status")
        }
    }
}
