//! AFC by hand: exactly as many requests in flight as wanted, and every oddity told apart. The packets are those of
//! libimobiledevice `afc.h`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::word::Word;
use crate::afc::packet::{HEADER_BYTES, Header, READ_BYTES_MAX, u64_at};
use crate::afc::{OpenMode, Operation, Request, Status, Whence};
use crate::usbmux::Stream;

/// How long an answer may take while nothing comes.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Bytes that are thrown away at once.
const SINK_BYTES: usize = 256 << 10;
/// The most bytes of an answer that is kept: a list of names or an info.
const KEPT_BYTES_MAX: u64 = 4 << 20;

/// What was not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    Closed,
    Stalled,
    NotAPacket,
    OutOfOrder,
    TooLong,
    OtherReply,
    Short,
    Refused(Status),
}

impl Oddity {
    pub(super) fn word(self) -> Word {
        Word::own(match self {
            Self::Closed => "the connection broke",
            Self::Stalled => "no answer in time",
            Self::NotAPacket => "what came is no packet",
            Self::OutOfOrder => "an answer out of order",
            Self::TooLong => "more bytes than asked",
            Self::OtherReply => "an answer to another question",
            Self::Short => "fewer bytes than asked",
            Self::Refused(status) => return Word::afc_status(status),
        })
    }

    /// The connection can still be used.
    pub(super) fn is_refusal(self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// A connection on which requests are answered in their order.
#[derive(Debug)]
pub(super) struct Raw {
    stream: Stream,
    sent: u64,
    answered: u64,
    sink: Vec<u8>,
}

impl Raw {
    pub(super) fn over(stream: Stream) -> Self {
        Self { stream, sent: 0, answered: 0, sink: vec![0; SINK_BYTES] }
    }

    /// Sends a request without waiting for anything but room on the wire.
    pub(super) async fn send(&mut self, request: &Request) -> Result<(), Oddity> {
        self.sent += 1;
        let bytes = request.encode(self.sent, b"").map_err(|_| Oddity::Refused(Status::InvalidArgument))?;
        let written = timeout(ANSWER_WAIT, self.stream.write_all(&bytes)).await;
        written.map_err(|_| Oddity::Stalled)?.map_err(|_| Oddity::Closed)?;
        timeout(ANSWER_WAIT, self.stream.flush())
            .await
            .map_err(|_| Oddity::Stalled)?
            .map_err(|_| Oddity::Closed)
    }

    /// The header of the next answer, which must be that of the oldest request.
    async fn header(&mut self) -> Result<Header, Oddity> {
        let mut head = [0; HEADER_BYTES];
        let read = timeout(ANSWER_WAIT, self.stream.read_exact(&mut head)).await;
        read.map_err(|_| Oddity::Stalled)?.map_err(|_| Oddity::Closed)?;
        let header = Header::parse(&head).map_err(|_| Oddity::NotAPacket)?;
        self.answered += 1;
        if header.number == self.answered { Ok(header) } else { Err(Oddity::OutOfOrder) }
    }

    async fn read(&mut self, wanted: usize) -> Result<usize, Oddity> {
        let room = wanted.min(SINK_BYTES);
        let read = timeout(ANSWER_WAIT, self.stream.read(&mut self.sink[..room])).await;
        match read.map_err(|_| Oddity::Stalled)?.map_err(|_| Oddity::Closed)? {
            0 => Err(Oddity::Closed),
            count => Ok(count),
        }
    }

    /// The next answer's operation and body.
    async fn answer(&mut self) -> Result<(u64, Vec<u8>), Oddity> {
        let header = self.header().await?;
        if header.body() > KEPT_BYTES_MAX {
            return Err(Oddity::TooLong);
        }
        let mut left = usize::try_from(header.body()).expect("bounded above");
        let mut body = Vec::new();
        while left > 0 {
            let count = self.read(left).await?;
            body.extend_from_slice(&self.sink[..count]);
            left -= count;
        }
        Ok((header.operation, body))
    }

    /// Asks one thing and takes what it is answered, if that is of the kind `wanted`; its number or its bytes.
    async fn ask(&mut self, request: &Request, wanted: Operation) -> Result<Vec<u8>, Oddity> {
        self.send(request).await?;
        let (operation, body) = self.answer().await?;
        match Operation::from_raw(operation) {
            Some(Operation::Status) if body.len() == 8 => match Status::from_code(u64_at(&body, 0)) {
                Status::Success if wanted == Operation::Status => Ok(body),
                Status::Success => Err(Oddity::OtherReply),
                status => Err(Oddity::Refused(status)),
            },
            Some(operation) if operation == wanted => Ok(body),
            _ => Err(Oddity::OtherReply),
        }
    }

    /// What a request that is answered with data gives.
    pub(super) async fn data(&mut self, request: &Request) -> Result<Vec<u8>, Oddity> {
        self.ask(request, Operation::Data).await
    }

    /// The answer to a request that was sent, which must be data.
    pub(super) async fn any_data(&mut self) -> Result<(), Oddity> {
        match self.answer().await? {
            (operation, _) if operation == Operation::Data.raw() => Ok(()),
            _ => Err(Oddity::OtherReply),
        }
    }

    /// Opens a file for reading.
    pub(super) async fn open(&mut self, path: &str) -> Result<u64, Oddity> {
        let request = Request::FileOpen { path: path.to_owned(), mode: OpenMode::Read };
        let body = self.ask(&request, Operation::FileOpenResult).await?;
        if body.len() == 8 { Ok(u64_at(&body, 0)) } else { Err(Oddity::OtherReply) }
    }

    /// Closes a file.
    pub(super) async fn close(&mut self, handle: u64) -> Result<(), Oddity> {
        self.ask(&Request::FileClose { handle }, Operation::Status).await.map(drop)
    }

    /// Goes to the beginning of a file, without waiting for the answer.
    pub(super) async fn send_rewind(&mut self, handle: u64) -> Result<(), Oddity> {
        self.send(&Request::FileSeek { handle, whence: Whence::Start, offset: 0 }).await
    }

    /// The answer to a rewind.
    pub(super) async fn rewound(&mut self) -> Result<(), Oddity> {
        match self.answer().await? {
            (operation, body) if operation == Operation::Status.raw() && body.len() == 8 => {
                match Status::from_code(u64_at(&body, 0)) {
                    Status::Success => Ok(()),
                    status => Err(Oddity::Refused(status)),
                }
            }
            _ => Err(Oddity::OtherReply),
        }
    }

    /// The answer to a read of `count` bytes, which are thrown away.
    pub(super) async fn swallowed(&mut self, count: u32) -> Result<(), Oddity> {
        let header = self.header().await?;
        let body = header.body();
        if header.operation == Operation::Status.raw() && body == 8 {
            let mut code = [0; 8];
            let read = timeout(ANSWER_WAIT, self.stream.read_exact(&mut code)).await;
            read.map_err(|_| Oddity::Stalled)?.map_err(|_| Oddity::Closed)?;
            return Err(Oddity::Refused(Status::from_code(u64::from_le_bytes(code))));
        }
        if header.operation != Operation::Data.raw() {
            return Err(Oddity::OtherReply);
        }
        if body > u64::from(count.min(READ_BYTES_MAX)) {
            return Err(Oddity::TooLong);
        }
        let mut left = usize::try_from(body).expect("at most what was asked");
        while left > 0 {
            left -= self.read(left).await?;
        }
        if body < u64::from(count) { Err(Oddity::Short) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::afc::packet::{data_header, number_reply, status_reply};

    async fn asked(answer: Vec<u8>) -> Result<(), Oddity> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        theirs.write_all(&answer).await.unwrap();
        let keeps_open = tokio::spawn(async move {
            let mut request = [0; 56];
            let _ = theirs.read_exact(&mut request).await;
        });
        let mut raw = Raw::over(Box::new(ours));
        raw.send(&Request::FileRead { handle: 1, count: 4 }).await.unwrap();
        let said = raw.swallowed(4).await;
        keeps_open.await.unwrap();
        said
    }

    fn data(number: u64, bytes: &[u8]) -> Vec<u8> {
        [&data_header(number, bytes.len() as u64)[..], bytes].concat()
    }

    #[tokio::test]
    async fn each_oddity_has_its_name() {
        assert_eq!(asked(data(1, b"abcd")).await, Ok(()));
        assert_eq!(asked(data(2, b"abcd")).await, Err(Oddity::OutOfOrder));
        assert_eq!(asked(data(1, b"abc")).await, Err(Oddity::Short));
        assert_eq!(asked(data(1, b"abcde")).await, Err(Oddity::TooLong));
        assert_eq!(asked(data(1, b"abcd")[..42].to_vec()).await, Err(Oddity::Closed));
        assert_eq!(asked(vec![b'x'; 40]).await, Err(Oddity::NotAPacket));
        assert_eq!(asked(Vec::new()).await, Err(Oddity::Closed));
        let refused = status_reply(1, Status::PermissionDenied).to_vec();
        assert_eq!(asked(refused).await, Err(Oddity::Refused(Status::PermissionDenied)));
        let handle = number_reply(1, Operation::FileOpenResult, 7).to_vec();
        assert_eq!(asked(handle).await, Err(Oddity::OtherReply));
    }
}
