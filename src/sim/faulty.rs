//! Faults on the services that do not act them out themselves: what such a service says between two flushes is one
//! message, and is struck here on its way out.
//!
//! Knows how a frame begins (a length of four bytes, which stands first in most of these services), and nothing of
//! what the services say; the protocol's own refusal is handed in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::config::{At, FaultKind};
use super::faults::{Amount, Faults};
use crate::usbmux::Stream;

/// What is said without a flush counts as a message of its own from here on: a file, not an answer.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Faulty {
    stream: Stream,
    faults: Faults,
    /// The service's own way to say no, as bytes; none: it hangs up.
    refusal: Option<Vec<u8>>,
    /// Messages that may still be struck.
    subject: u64,
    /// What was said since the last flush.
    said: Vec<u8>,
    /// What goes out, and how much of it has gone.
    going: Vec<u8>,
    gone: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It speaks.
    Open,
    /// It has refused: what belongs to the same answer is kept back, until the host asks again.
    Refused,
    /// It says nothing more.
    Mute,
    /// It hangs up when what is going has gone.
    Ending,
}

impl Faulty {
    /// `messages_max`: so many messages may be struck, the rest passes untouched.
    pub(super) fn new(stream: Stream, faults: Faults, refusal: Option<Vec<u8>>, messages_max: u64) -> Self {
        let (said, going) = (Vec::new(), Vec::new());
        Self { stream, faults, refusal, subject: messages_max, said, going, gone: 0, state: State::Open }
    }

    /// The message is whole: what becomes of it?
    fn judge(&mut self) {
        if self.said.is_empty() {
            return;
        }
        let mut message = std::mem::take(&mut self.said);
        if self.state == State::Refused {
            return;
        }
        self.subject = self.subject.saturating_sub(1);
        let amounts = [Amount::Message, Amount::Bytes(message.len() as u64)];
        match self.faults.strike(At::Any, &amounts) {
            None => {}
            Some(FaultKind::Unplug | FaultKind::Stall) => {
                self.state = State::Mute;
                return;
            }
            Some(FaultKind::Refuse) => {
                self.state = if self.refusal.is_some() { State::Refused } else { State::Ending };
                message = self.refusal.clone().unwrap_or_default();
            }
            Some(FaultKind::Corrupt) => corrupt(&mut message),
            Some(FaultKind::LieAboutLength) if is_framed(&message) => {
                let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
                message[..4].copy_from_slice(&length.saturating_mul(2).to_be_bytes());
            }
            // Where no length is stated, none can be wrong: less comes.
            Some(FaultKind::LieAboutLength | FaultKind::Short) => {
                message.truncate(message.len() / 2);
                self.state = State::Ending;
            }
        }
        self.going.append(&mut message);
    }

    /// Sends what is going.
    fn poll_go(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.going.len() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.going[self.gone..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gone += sent;
        }
        self.going.clear();
        self.gone = 0;
        match self.state {
            State::Mute => Poll::Pending,
            State::Ending => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            State::Open | State::Refused => Poll::Ready(Ok(())),
        }
    }
}

/// The second half is another one; a length in front stays.
fn corrupt(message: &mut [u8]) {
    let middle = (message.len() / 2).max(4).min(message.len().saturating_sub(1));
    for byte in &mut message[middle..] {
        *byte ^= 0x5a;
    }
}

fn is_framed(message: &[u8]) -> bool {
    message.first_chunk().is_some_and(|length| u32::from_be_bytes(*length) as usize <= message.len() - 4)
}

impl AsyncRead for Faulty {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if this.state == State::Refused && buf.filled().len() > before {
            this.state = State::Open;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_go(cx))?;
        if this.subject == 0 && this.state == State::Open {
            return Pin::new(&mut this.stream).poll_write(cx, buf);
        }
        this.said.extend_from_slice(buf);
        if this.said.len() >= MESSAGE_BYTES_MAX {
            this.judge();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.judge();
        ready!(this.poll_go(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.judge();
        ready!(this.poll_go(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::super::Device;
    use super::*;

    const FRAME: &[u8] = b"\0\0\0\x06answer";

    fn struck(fault: &str, refusal: Option<&[u8]>) -> (tempfile::TempDir, DuplexStream, Faulty) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("device.toml"), fault).unwrap();
        let faults = Faults::new(Device::open(folder.path(), false).unwrap(), "test");
        let (host, phone) = tokio::io::duplex(1 << 16);
        (folder, host, Faulty::new(Box::new(phone), faults, refusal.map(<[u8]>::to_vec), u64::MAX))
    }

    /// What the host gets of two answers, the second of which is struck.
    async fn second_of_two(kind: &str, refusal: Option<&[u8]>) -> Vec<u8> {
        let toml = format!("[[fault]]\nat = \"any\"\nafter_messages = 1\nkind = \"{kind}\"");
        let (_folder, mut host, mut phone) = struck(&toml, refusal);
        let answering = async move {
            for _ in 0..2 {
                for part in [&FRAME[..4], &FRAME[4..]] {
                    phone.write_all(part).await?;
                }
                phone.flush().await?;
            }
            phone.shutdown().await
        };
        let answered = tokio::time::timeout(Duration::from_millis(200), answering).await;
        assert_eq!(answered.is_err(), kind == "stall" || kind == "unplug", "{kind}");
        let mut got = Vec::new();
        host.read_to_end(&mut got).await.unwrap();
        assert_eq!(&got[..FRAME.len()], FRAME, "{kind}");
        got.split_off(FRAME.len())
    }

    #[tokio::test]
    async fn each_kind_does_what_it_says() {
        assert_eq!(second_of_two("refuse", Some(b"no")).await, b"no");
        assert_eq!(second_of_two("refuse", None).await, b"");
        assert_eq!(second_of_two("short", None).await, &FRAME[..5]);
        assert_eq!(second_of_two("stall", None).await, b"");
        assert_eq!(second_of_two("unplug", None).await, b"");
        let corrupt = second_of_two("corrupt", None).await;
        assert!(corrupt.len() == FRAME.len() && corrupt[..4] == FRAME[..4] && corrupt != FRAME);
        let lying = second_of_two("lie-about-length", None).await;
        assert_eq!((lying[3], &lying[4..]), (20, &FRAME[4..]));
    }

    #[tokio::test]
    async fn a_refused_answer_is_refused_whole_and_the_next_one_comes() {
        let (_folder, mut host, mut phone) =
            struck("[[fault]]\nat = \"any\"\nafter_messages = 0\nkind = \"refuse\"", Some(b"no"));
        for _ in 0..3 {
            phone.write_all(FRAME).await.unwrap();
            phone.flush().await.unwrap();
        }
        host.write_all(b"?").await.unwrap();
        phone.read_u8().await.unwrap();
        phone.write_all(FRAME).await.unwrap();
        phone.shutdown().await.unwrap();
        drop(phone);
        let mut got = Vec::new();
        host.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, [b"no", FRAME].concat());
    }
}
