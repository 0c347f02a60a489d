//! Messages with a limit on every wait, and progress.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, BufReader};

use super::{ENCODING, Error, Patience};
use crate::frame::{self, Limits};
use crate::mobilebackup2::disk::Disk;
use crate::mobilebackup2::message::DeviceMessage;
use crate::mobilebackup2::request::HostMessage;
use crate::mobilebackup2::secret;
use crate::progress::{CancellationToken, Event, Observer, Phase};
use crate::usbmux::Stream;

/// While the device is silent, the disk is told that time passes in this interval.
const TICK: Duration = Duration::from_secs(1);
/// Silence of this length is told, and each multiple of it.
const SILENCE_TOLD: Duration = Duration::from_secs(30);
/// Progress is told at most once in this time.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The stream with limits on every wait.
pub(super) struct Talk<'a> {
    pub(super) stream: &'a mut BufReader<Stream>,
    pub(super) patience: Patience,
    cancel: &'a CancellationToken,
}

impl<'a> Talk<'a> {
    pub(super) fn new(
        stream: &'a mut BufReader<Stream>,
        patience: Patience,
        cancel: &'a CancellationToken,
    ) -> Self {
        Self { stream, patience, cancel }
    }

    /// The next message.
    pub(super) async fn message(
        &mut self,
        limit: Duration,
        waiting_for: &str,
    ) -> Result<DeviceMessage, Error> {
        let read = frame::read(self.stream, &Limits::DEVICELINK);
        let value = within(self.cancel, limit, waiting_for, read).await?;
        let value = value.map_err(|source| Error::Broken { at: waiting_for.to_owned(), source })?;
        Ok(DeviceMessage::from_value(value)?)
    }

    /// The next message; meanwhile the disk hears that time passes, and a long silence is told.
    pub(super) async fn message_or_tick(
        &mut self,
        limit: Duration,
        disk: &Disk,
        progress: &Progress<'_>,
    ) -> Result<DeviceMessage, Error> {
        let began = Instant::now();
        let reading = self.message(limit, "its next message");
        tokio::pin!(reading);
        loop {
            tokio::select! {
                message = &mut reading => return message,
                () = tokio::time::sleep(TICK) => {
                    disk.tick().await;
                    progress.silence(began.elapsed(), limit);
                }
            }
        }
    }

    /// Sends a message.
    pub(super) async fn send(&mut self, message: &HostMessage) -> Result<(), Error> {
        let value = message.to_value();
        let mut bytes = frame::encode(&value, ENCODING);
        let sending = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await.map_err(frame::Error::Io)
        };
        let at = "an answer to the phone";
        let sent = within(self.cancel, self.patience.stream, at, sending).await;
        if matches!(message, HostMessage::Request(request) if request.is_secret()) {
            secret::wipe(&mut bytes);
            secret::wipe_texts(value);
        }
        sent?.map_err(|source| Error::Broken { at: at.to_owned(), source })
    }

    /// Says good-bye; nobody waits for what becomes of it.
    pub(super) async fn leave(&mut self) {
        let value = HostMessage::Disconnect.to_value();
        let leaving = async {
            let _ = frame::write(self.stream, &value, ENCODING).await;
            let _ = self.stream.shutdown().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), leaving).await;
    }

    /// Waits for something on the stream inside a transfer of files.
    pub(super) async fn in_stream<T>(
        cancel: &CancellationToken,
        limit: Duration,
        at: &str,
        work: impl Future<Output = Result<T, crate::mobilebackup2::stream::Error>>,
    ) -> Result<T, Error> {
        let done = within(cancel, limit, at, work).await?;
        done.map_err(|source| Error::Stream { at: at.to_owned(), source })
    }

    pub(super) fn cancel(&self) -> &'a CancellationToken {
        self.cancel
    }
}

/// Waits at most `limit`, and not after a request to stop.
async fn within<T>(
    cancel: &CancellationToken,
    limit: Duration,
    waiting_for: &str,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Cancelled),
        done = tokio::time::timeout(limit, work) => {
            done.map_err(|_| Error::Stalled { waiting_for: waiting_for.to_owned(), after: limit })
        }
    }
}

/// Counts what came and tells it, not too often.
pub struct Progress<'a> {
    observer: &'a dyn Observer,
    phase: Phase,
    percent: f64,
    bytes: u64,
    files: u64,
    told: Instant,
    silence_told: Cell<u32>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(observer: &'a dyn Observer, phase: Phase) -> Self {
        observer.event(Event::Began { phase, bytes_total: None, items_total: None });
        let told = Instant::now();
        Self { observer, phase, percent: 0.0, bytes: 0, files: 0, told, silence_told: Cell::new(0) }
    }

    pub(super) fn percent(&mut self, percent: f64) {
        self.percent = self.percent.max(percent);
        self.silence_told.set(0);
    }

    pub(super) fn moved(&mut self, bytes: u64, files: u64) {
        self.bytes += bytes;
        self.files += files;
        if self.told.elapsed() >= PROGRESS_INTERVAL {
            self.told = Instant::now();
            self.tell();
        }
    }

    pub(super) fn last(&self) {
        self.tell();
        self.observer.event(Event::Ended { phase: self.phase });
    }

    fn tell(&self) {
        // The device says how far it is, never how much there is: the total is what follows from both.
        let known = self.percent >= 1.0;
        let total = (self.bytes as f64 * 100.0 / self.percent.max(1.0)) as u64;
        let bytes_total = known.then_some(total.max(self.bytes));
        let (bytes_done, items_done) = (self.bytes, self.files);
        self.observer.event(Event::Advanced { phase: self.phase, bytes_done, bytes_total, items_done });
    }

    pub(super) fn silence(&self, silent: Duration, limit: Duration) {
        let times = u32::try_from(silent.as_secs() / SILENCE_TOLD.as_secs()).unwrap_or(u32::MAX);
        if times > self.silence_told.replace(times) {
            let (silent, limit) = (silent.as_secs(), limit.as_secs());
            let text = format!("The phone has been silent for {silent} s; we wait for up to {limit} s.");
            self.observer.event(Event::Note(text));
        }
    }
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("bytes", &self.bytes)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
