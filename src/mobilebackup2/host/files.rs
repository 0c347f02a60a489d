//! Files: those that the phone sends, and those of the earlier backup that it wants back.

use plist::{Dictionary, Value};
use tokio::io::{AsyncReadExt, BufReader, BufWriter};
use tokio::sync::oneshot;

use super::talk::Talk;
use super::{Answer, Ask, Error, Failure, PIECE_BYTES, Patience, Run, Work};
use crate::mobilebackup2::codes::{self, BLOCK_LOCAL_ERROR, BLOCK_SUCCESS};
use crate::mobilebackup2::request::{Status, StatusValue};
use crate::mobilebackup2::stream::{BLOCK_BYTES, End, Piece, Reader, Writer};
use crate::progress::CancellationToken;
use crate::usbmux::Stream;

impl Run<'_> {
    /// Takes in the stream of files that follows an upload message.
    pub(super) async fn receive(&mut self, talk: &mut Talk<'_>) -> Result<Status, Error> {
        let (cancel, limit) = (talk.cancel(), talk.patience.stream);
        let mut reader = Reader::new(talk.stream);
        loop {
            let names = async {
                let Some(device) = reader.name().await? else { return Ok(None) };
                let host = reader.name().await?.unwrap_or_default();
                Ok(Some((device, host)))
            };
            let Some((device, host)) = Talk::in_stream(cancel, limit, "the name of a file", names).await?
            else {
                break;
            };
            let shown = String::from_utf8_lossy(&host).into_owned();
            let device_path = String::from_utf8_lossy(&device).into_owned();
            self.hand_over(Work::Begin { device_path, host_path: host }).await?;
            let end = self.receive_one(&mut reader, &shown, talk.patience, cancel).await?;
            if !end.success() {
                self.note(format!("the phone refused {shown} with code {:#04x}: {}", end.code, end.text));
            }
            self.hand_over(Work::End(end)).await?;
            self.stored.files += 1;
            if self.stored.files > talk.patience.steps {
                return Err(Error::Endless { what: "files", most: talk.patience.steps });
            }
            self.progress.moved(0, 1);
        }
        let (reply, failures) = oneshot::channel();
        self.hand_over(Work::Uploaded(reply)).await?;
        Ok(self.status_of(failures.await.unwrap_or_default()))
    }

    async fn receive_one(
        &mut self,
        reader: &mut Reader<'_, BufReader<Stream>>,
        shown: &str,
        patience: Patience,
        cancel: &CancellationToken,
    ) -> Result<End, Error> {
        // Most files are small; a large one shows after its first block, and has its room then.
        let (mut data, mut enough) = (Vec::new(), BLOCK_BYTES);
        loop {
            // Blocks are gathered, so that many small ones cost one hand-over.
            let gather = async {
                while data.len() < enough {
                    let most = enough - data.len();
                    if let Piece::End(end) = reader.piece(&mut data, most).await? {
                        return Ok(Some(end));
                    }
                }
                Ok(None)
            };
            let end = Talk::in_stream(cancel, patience.stream, shown, gather).await?;
            self.stored.bytes += data.len() as u64;
            self.progress.moved(data.len() as u64, 0);
            if !data.is_empty() {
                self.hand_over(Work::Data(data)).await?;
            }
            if let Some(end) = end {
                return Ok(end);
            }
            (data, enough) = (self.disk.room(), PIECE_BYTES);
        }
    }

    /// Hands work to the disk. If the disk thread ended, there is nothing left to do but to stop; its own error is
    /// told at the end.
    async fn hand_over(&mut self, work: Work) -> Result<(), Error> {
        if self.disk.send(work).await { Ok(()) } else { Err(Error::Cancelled) }
    }

    /// The status after a stream, by what could not be stored.
    fn status_of(&mut self, failures: Vec<Failure>) -> Status {
        if failures.is_empty() {
            return Status::with(StatusValue::Listing(Dictionary::new()));
        }
        let full = failures.iter().any(|failure| failure.code == codes::NO_SPACE);
        let listing = several(&failures);
        for failure in failures {
            self.note(format!("not stored: {}", failure.text));
            if !failure.hostile && self.host_failure.is_none() {
                self.host_failure = Some(failure);
            }
        }
        if full {
            return Status::refused(codes::NO_SPACE, "No space left on device");
        }
        Status {
            code: codes::MULTIPLE,
            text: Some("Multi status".into()),
            value: StatusValue::Listing(listing),
        }
    }

    /// Sends files of the earlier backup to the phone, in small blocks: a phone holds a whole block in memory, and dies of
    /// large ones.
    pub(super) async fn send_back(
        &mut self,
        talk: &mut Talk<'_>,
        paths: Vec<String>,
    ) -> Result<Status, Error> {
        let (cancel, limit) = (talk.cancel(), talk.patience.stream);
        let mut out = BufWriter::with_capacity(PIECE_BYTES, &mut *talk.stream);
        let mut failures = Vec::new();
        for path in paths {
            let opened = match self.disk.ask(Ask::Open(path.clone())).await {
                Some(Ok(Answer::File(file))) => Ok(file),
                Some(Err(failure)) => Err(failure),
                _ => return Err(Error::Cancelled),
            };
            // An empty name would end the stream.
            if path.is_empty() {
                failures.extend(opened.err());
                continue;
            }
            let (bytes, failure) = send_one(&(talk.patience, cancel), &mut out, &path, opened).await?;
            self.sent_back_bytes += bytes;
            self.progress.moved(if self.wants_all { bytes } else { 0 }, u64::from(self.wants_all));
            failures.extend(failure);
        }
        let finishing = async { Ok(Writer::new(&mut out).finish().await?) };
        Talk::in_stream(cancel, limit, "the end of files sent back", finishing).await?;
        Ok(self.status_of_sent(&failures))
    }

    fn status_of_sent(&mut self, failures: &[Failure]) -> Status {
        if failures.is_empty() {
            return Status::with(StatusValue::Listing(Dictionary::new()));
        }
        let wants_all = self.wants_all;
        for failure in failures.iter().filter(|failure| failure.hostile || wants_all) {
            self.note(format!("not sent: {}: {}", failure.path, failure.text));
        }
        let value = StatusValue::Listing(several(failures));
        Status { code: codes::MULTIPLE, text: Some("Multi status".into()), value }
    }
}

/// Where files go on their way to the phone.
type Out<'a> = BufWriter<&'a mut BufReader<Stream>>;

/// Sends one file, or why there is none. Silence is limited for each piece, not for the whole file.
async fn send_one(
    talk: &(Patience, &CancellationToken),
    out: &mut Out<'_>,
    path: &str,
    opened: Result<std::fs::File, Failure>,
) -> Result<(u64, Option<Failure>), Error> {
    let (patience, cancel) = *talk;
    let limit = patience.stream;
    let mut writer = Writer::new(out);
    let (mut sent, mut failure) = (0, None);
    Talk::in_stream(cancel, limit, path, async { Ok(writer.name(path.as_bytes()).await?) }).await?;
    match opened {
        Err(refused) => failure = Some(refused),
        Ok(file) => {
            let mut file = tokio::fs::File::from_std(file);
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let read = match file.read(&mut piece).await {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) => {
                        failure = Some(Failure::new(path, &error.into()));
                        break;
                    }
                };
                let writing = async { Ok(writer.data(&piece[..read]).await?) };
                Talk::in_stream(cancel, limit, path, writing).await?;
                sent += read as u64;
            }
        }
    }
    let (code, text) = match &failure {
        Some(failure) => (BLOCK_LOCAL_ERROR, failure.text.as_str()),
        None => (BLOCK_SUCCESS, ""),
    };
    Talk::in_stream(cancel, limit, path, async { Ok(writer.end(code, text).await?) }).await?;
    Ok((sent, failure))
}

/// What went wrong with each path, in the words of DeviceLink.
fn several(failures: &[Failure]) -> Dictionary {
    let entry = |failure: &Failure| {
        let mut entry = Dictionary::new();
        entry.insert("DLFileErrorString".into(), failure.text.as_str().into());
        entry.insert("DLFileErrorCode".into(), failure.code.into());
        (failure.path.clone(), Value::Dictionary(entry))
    };
    failures.iter().map(entry).collect()
}
