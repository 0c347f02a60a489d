//! The host's side: greets the device, asks for a backup, and then does what the device asks for, inside that device's
//! folder.
//!
//! How a backup ends is a type ([`Outcome`]): only a device that says so *and* has left a finished status is finished. A
//! file that the phone or this computer could not finish never replaces one that stands.

use std::time::Duration;

use tokio::io::BufReader;

use super::codes;
pub use super::disk::Stored;
use super::disk::{Answer, Ask, Disk, Failure, Work};
use super::folder::Folder;
use super::ledger::Ledger;
use super::message::{DeviceMessage, Malformed};
use super::request::{HostMessage, Request, Status, StatusValue};
use super::stream;
use crate::frame::{self, DictExt, Encoding, Limits};
use crate::progress::{CancellationToken, Observer, Phase};
use crate::usbmux::Stream;

mod files;
mod password;
mod restore;
mod talk;
#[cfg(test)]
mod tests;

pub use password::Reply;
pub use restore::Wish;
pub use talk::Progress;
use talk::Talk;

/// Most bytes of a file that are handed to the disk at once.
pub const PIECE_BYTES: usize = 256 * 1024;
/// Lowest and highest DeviceLink version that is spoken here.
const VERSIONS: std::ops::RangeInclusive<u64> = 300..=400;
/// Most things noted about one run.
const NOTES_MAX: usize = 1000;

/// How long the device may be silent. Real phones prepare for minutes, and one that locks its screen waits for a person.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For each of the greetings.
    pub greeting: Duration,
    /// For the first message after the request: the passcode is entered in this time.
    pub first_message: Duration,
    /// Between messages.
    pub message: Duration,
    /// Inside a stream of files, in either direction.
    pub stream: Duration,
    /// A phone that sends more messages or more files than this in one run never ends. The largest backups that were
    /// reported have 1.3 million files.
    pub steps: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(60),
            first_message: Duration::from_secs(330),
            message: Duration::from_secs(300),
            stream: Duration::from_secs(120),
            steps: 16_000_000,
        }
    }
}

/// Why the talk with the device broke off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device was silent for too long.
    #[error("the phone was silent for {} s while we waited for {waiting_for}", after.as_secs())]
    Stalled {
        /// What was waited for.
        waiting_for: String,
        /// The limit.
        after: Duration,
    },
    /// The connection broke.
    #[error("the connection to the phone broke at {at}: {source}")]
    Broken {
        /// What was under way.
        at: String,
        /// How.
        source: frame::Error,
    },
    /// A stream of files broke or was not what the protocol allows.
    #[error("the stream of files broke at {at}: {source}")]
    Stream {
        /// What was under way.
        at: String,
        /// How.
        source: stream::Error,
    },
    /// A message was not what the protocol allows.
    #[error("the phone sent a message that is not understood: {0}")]
    Malformed(#[from] Malformed),
    /// Another message was due.
    #[error("the phone sent {name} while we waited for {waiting_for}")]
    Unexpected {
        /// What came: text from the phone.
        name: String,
        /// What was due.
        waiting_for: &'static str,
    },
    /// The device speaks a version that is not known here.
    #[error("the phone speaks DeviceLink version {0}; 300 to 400 are known")]
    Version(u64),
    /// The device refused the greeting.
    #[error("the phone refused to talk about backups (code {0})")]
    Refused(i64),
    /// The device goes on and on.
    #[error("the phone sent more than {most} {what} in one run: it would never end")]
    Endless {
        /// Messages, or files.
        what: &'static str,
        /// The limit.
        most: u64,
    },
    /// The person or the program asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// A password goes over the wire as text.
    #[error("the backup password is not UTF-8 text")]
    PasswordNoText,
}

/// How a backup or a restore ended.
#[derive(Debug)]
pub enum Outcome {
    /// The device says done, and, after a backup, the status it left says finished.
    Finished,
    /// The device says done, but the status it left does not.
    NotFinished {
        /// What the status says.
        state: String,
    },
    /// The device gave up.
    DeviceError {
        /// Its code ([`codes::meaning`]).
        code: i64,
        /// What it says about it: text from the phone.
        description: String,
    },
    /// The device ended the talk without a result.
    Disconnected {
        /// What it says about it: text from the phone.
        text: String,
    },
    /// This computer could not store what came.
    HostError(std::io::Error),
    /// The talk broke off.
    Broken(Error),
}

/// What happened in one run.
#[derive(Debug)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// What came in.
    pub stored: Stored,
    /// Bytes of earlier files that were sent back to the device.
    pub sent_back_bytes: u64,
    /// The device asked to free so many bytes: that much more space is wanted here.
    pub purge_wanted_bytes: Option<u64>,
    /// What a person may want to know: refused files, hostile paths. Text from the phone is in it.
    pub notes: Vec<String>,
}

/// A device that was greeted and waits for a request.
#[derive(Debug)]
pub struct Host {
    stream: BufReader<Stream>,
    patience: Patience,
    device_version: u64,
}

impl Host {
    /// Greets the device on a fresh stream of the mobilebackup2 service.
    ///
    /// # Errors
    /// [`Error`]: an unknown version, a refusal, silence or a broken stream.
    pub async fn greet(
        stream: Stream,
        patience: Patience,
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        let mut stream = BufReader::with_capacity(PIECE_BYTES, stream);
        let mut talk = Talk::new(&mut stream, patience, cancel);
        let major = match talk.message(patience.greeting, "the version").await? {
            DeviceMessage::VersionExchange { major, .. } => major,
            other => return Err(unexpected(&other, "the version")),
        };
        if !VERSIONS.contains(&major) {
            return Err(Error::Version(major));
        }
        talk.send(&HostMessage::VersionOk { major: *VERSIONS.end() }).await?;
        match talk.message(patience.greeting, "its readiness").await? {
            DeviceMessage::Ready => {}
            other => return Err(unexpected(&other, "its readiness")),
        }
        talk.send(&HostMessage::Hello { versions: vec![2.0, 2.1] }).await?;
        match talk.message(patience.greeting, "the answer to the greeting").await? {
            DeviceMessage::Response(response) if response.code == 0 => {}
            DeviceMessage::Response(response) => return Err(Error::Refused(response.code)),
            other => return Err(unexpected(&other, "the answer to the greeting")),
        }
        Ok(Self { stream, patience, device_version: major })
    }

    /// The DeviceLink version that the device speaks.
    #[must_use]
    pub fn device_version(&self) -> u64 {
        self.device_version
    }

    /// Has the device back itself up into `folder`; the folder tells whose. Everything that is stored is durable when this
    /// returns, however the backup ended.
    pub async fn backup(
        self,
        force_full: bool,
        mut folder: Folder,
        ledger: Box<dyn Ledger>,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> Report {
        let udid = folder.udid().as_str().to_owned();
        folder.stop_with(cancel.clone());
        let mut stream = self.stream;
        let mut run = match Disk::start(folder, ledger) {
            Ok(disk) => Run::new(disk, Progress::new(observer, Phase::Backup)),
            Err(error) => return Run::report_of(Outcome::HostError(error)),
        };
        let mut talk = Talk::new(&mut stream, self.patience, cancel);
        let request = Request::Backup { target: udid.clone(), source: Some(udid), force_full };
        let ended = run.serve(&mut talk, request).await;
        if !matches!(
            ended,
            Err(Error::Broken { .. } | Error::Stream { .. } | Error::Endless { .. } | Error::Cancelled)
        ) {
            talk.leave().await;
        }
        run.finish(ended.unwrap_or_else(Outcome::Broken)).await
    }
}

fn unexpected(message: &DeviceMessage, waiting_for: &'static str) -> Error {
    Error::Unexpected { name: message.name().to_owned(), waiting_for }
}

/// One backup under way.
struct Run<'a> {
    disk: Disk,
    progress: Progress<'a>,
    stored: Stored,
    sent_back_bytes: u64,
    purge_wanted_bytes: Option<u64>,
    notes: Vec<String>,
    /// The phone reads a backup: what it wants is there, or the backup is not whole.
    wants_all: bool,
    /// The first file that could not be stored here.
    host_failure: Option<Failure>,
}

impl<'a> Run<'a> {
    fn new(disk: Disk, progress: Progress<'a>) -> Self {
        Self {
            disk,
            progress,
            stored: Stored::default(),
            sent_back_bytes: 0,
            purge_wanted_bytes: None,
            notes: Vec::new(),
            wants_all: false,
            host_failure: None,
        }
    }

    fn report_of(outcome: Outcome) -> Report {
        let stored = Stored::default();
        Report { outcome, stored, sent_back_bytes: 0, purge_wanted_bytes: None, notes: Vec::new() }
    }

    fn note(&mut self, text: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(text);
        }
    }

    /// Asks, then answers the device until it ends.
    async fn serve(&mut self, talk: &mut Talk<'_>, request: Request) -> Result<Outcome, Error> {
        let backs_up = matches!(request, Request::Backup { .. });
        talk.send(&HostMessage::Request(request)).await?;
        let mut limit = talk.patience.first_message;
        let mut steps = 0..talk.patience.steps;
        loop {
            steps.next().ok_or(Error::Endless { what: "messages", most: steps.end })?;
            let message = talk.message_or_tick(limit, &self.disk, &self.progress).await?;
            limit = talk.patience.message;
            let status = match message {
                DeviceMessage::Response(response) if response.code == 0 => {
                    // A restore leaves nothing here that could be judged.
                    return Ok(if backs_up { self.judge_status().await } else { Outcome::Finished });
                }
                DeviceMessage::Response(response) => {
                    let description = response.description.unwrap_or_default();
                    return Ok(Outcome::DeviceError { code: response.code, description });
                }
                DeviceMessage::Disconnect { text } => return Ok(Outcome::Disconnected { text }),
                DeviceMessage::UploadFiles { progress, .. } => {
                    self.progress.percent(progress);
                    self.receive(talk).await?
                }
                DeviceMessage::DownloadFiles { paths, progress } => {
                    self.progress.percent(progress);
                    self.send_back(talk, paths).await?
                }
                DeviceMessage::PurgeDiskSpace { bytes } => {
                    self.purge_wanted_bytes = Some(bytes);
                    Status::refused(codes::GENERIC, "Operation not supported")
                }
                other => match self.ask_of(other) {
                    Ok(ask) => self.answer(ask).await,
                    Err(message) => {
                        self.note(format!("the phone sent the unknown message {}", message.name()));
                        Status::refused(codes::GENERIC, "Operation not supported")
                    }
                },
            };
            talk.send(&HostMessage::Status(status)).await?;
        }
    }

    /// What a message asks of the disk; a message that asks nothing known comes back.
    fn ask_of(&mut self, message: DeviceMessage) -> Result<Ask, DeviceMessage> {
        Ok(match message {
            DeviceMessage::FreeDiskSpace => Ask::FreeSpace,
            DeviceMessage::CreateDirectory { path } => Ask::CreateDirectory(path),
            DeviceMessage::ContentsOfDirectory { path } => Ask::List(path),
            DeviceMessage::MoveItems { items, progress } => {
                self.progress.percent(progress);
                Ask::Move(items)
            }
            DeviceMessage::RemoveItems { paths, progress } => {
                self.progress.percent(progress);
                Ask::Remove(paths)
            }
            DeviceMessage::CopyItem { from, to } => Ask::Copy(from, to),
            other => return Err(other),
        })
    }

    async fn answer(&mut self, ask: Ask) -> Status {
        let changes = matches!(ask, Ask::Move(_) | Ask::Remove(_) | Ask::Copy(..) | Ask::CreateDirectory(_));
        match self.disk.ask(ask).await {
            Some(Ok(Answer::Bytes(bytes))) => Status::with(StatusValue::Bytes(bytes)),
            Some(Ok(Answer::Listing(listing))) => Status::with(StatusValue::Listing(listing)),
            Some(Ok(_)) => Status::with(StatusValue::Listing(plist::Dictionary::new())),
            Some(Err(failure)) => {
                self.note(failure.text.clone());
                let status = Status::refused(failure.code, failure.text.clone());
                // A phone may go on after a change that this disk could not make, and call the end a success: an older
                // file would then stand where the newer one belongs.
                if changes && failure.disk && self.host_failure.is_none() {
                    self.host_failure = Some(failure);
                }
                status
            }
            None => Status::refused(codes::INPUT_OUTPUT, "the disk failed"),
        }
    }

    /// The device says that all is well: so must its status.
    async fn judge_status(&mut self) -> Outcome {
        let content = match self.disk.ask(Ask::ReadSmall("Status.plist")).await {
            Some(Ok(Answer::Content(content))) => content,
            _ => None,
        };
        let Some(content) = content else { return Outcome::NotFinished { state: "missing".into() } };
        let status = frame::parse(&content, &Limits::LOCKDOWN);
        let state = status.ok().and_then(|status| {
            status.as_dictionary().and_then(|status| status.string("SnapshotState").map(str::to_owned))
        });
        match state {
            Some(state) if state == "finished" => Outcome::Finished,
            state => Outcome::NotFinished { state: state.unwrap_or_else(|| "unreadable".into()) },
        }
    }

    /// Makes everything durable and adds up. Trouble of this computer outranks what the device made of it.
    async fn finish(self, mut outcome: Outcome) -> Report {
        let Self { disk, progress, stored, sent_back_bytes, purge_wanted_bytes, notes, host_failure, .. } =
            self;
        if let Some(failure) = host_failure
            && !matches!(outcome, Outcome::Broken(Error::Cancelled))
        {
            let full = failure.code == codes::NO_SPACE;
            let kind = if full { std::io::ErrorKind::StorageFull } else { std::io::ErrorKind::Other };
            let text = format!("{}: {}", failure.path, failure.text);
            outcome = Outcome::HostError(std::io::Error::new(kind, text));
        }
        if let Err(error) = disk.finish().await {
            outcome = Outcome::HostError(error);
        }
        progress.last();
        Report { outcome, stored, sent_back_bytes, purge_wanted_bytes, notes }
    }
}

/// How requests and answers are encoded.
const ENCODING: Encoding = Encoding::Binary;
