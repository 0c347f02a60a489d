//! A stream that lets only frames within the limits through, for a reader that would not check them itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{FIRST_ALLOCATION, Limits, check};

/// Wraps a stream of frames: each inbound one is taken in whole and checked before its first byte is passed on. What
/// is written goes through untouched.
///
/// A frame that breaks the limits is an [`io::ErrorKind::InvalidData`], then and ever after. The reader must expect
/// nothing but frames on the stream, and TLS must lie below.
#[derive(Debug)]
pub struct Guard<S> {
    stream: S,
    limits: Limits,
    /// The frame that is coming in or being handed out, its length first.
    frame: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Receiving,
    /// Handing out from this byte on.
    Passing(usize),
    Refused,
}

const HEADER: usize = 4;

impl<S> Guard<S> {
    /// Guards `stream`.
    pub fn new(stream: S, limits: Limits) -> Self {
        Self { stream, limits, frame: Vec::new(), state: State::Receiving }
    }

    /// How many bytes must be there before the next decision; an error if the frame announces too many.
    fn wanted(&self) -> io::Result<usize> {
        let Some(header) = self.frame.first_chunk::<HEADER>() else { return Ok(HEADER) };
        let length = u32::from_be_bytes(*header) as usize;
        if length > self.limits.bytes {
            return Err(refusal(&super::Error::TooLong { bytes: length as u64, limit: self.limits.bytes }));
        }
        Ok(HEADER + length)
    }
}

fn refusal(error: &super::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// Takes bytes in until a whole checked frame is there, or the stream ends between two frames (`false`).
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let have = self.frame.len();
            let wanted = self.wanted()?;
            if have >= HEADER && have == wanted {
                check(&self.frame[HEADER..], &self.limits).map_err(|e| refusal(&e))?;
                return Poll::Ready(Ok(true));
            }
            let room = (wanted - have).min(FIRST_ALLOCATION);
            self.frame.resize(have + room, 0);
            let mut buffer = ReadBuf::new(&mut self.frame[have..]);
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
            let received = buffer.filled().len();
            self.frame.truncate(have + received);
            ready!(polled)?;
            match (received, have) {
                (0, 0) => return Poll::Ready(Ok(false)),
                (0, _) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                _ => {}
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let from = match this.state {
            State::Refused => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            State::Passing(from) => from,
            State::Receiving => match ready!(this.receive(cx)) {
                Ok(true) => 0,
                Ok(false) => return Poll::Ready(Ok(())),
                Err(error) => {
                    this.state = State::Refused;
                    this.frame = Vec::new();
                    return Poll::Ready(Err(error));
                }
            },
        };
        let to = this.frame.len().min(from + out.remaining());
        out.put_slice(&this.frame[from..to]);
        if to == this.frame.len() {
            this.frame.clear();
            this.state = State::Receiving;
        } else {
            this.state = State::Passing(to);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
