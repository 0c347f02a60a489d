//! The reading side: each reply is whose turn it is, of a length that was asked for, and comes in time.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, BufReader, ReadHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::{Failure, Flight, Handle, Pending, Reply, Wire, broken};
use crate::afc::error::Cause;
use crate::afc::packet::{HEADER_BYTES, Header, Operation};
use crate::afc::reply::{Said, Wants, bound, understand};
use crate::usbmux::Stream;

/// Larger replies to anything but a read are lists such as almost no folder has.
const LARGE_BYTES: u64 = 1 << 20;

/// The slowest rate at which a reply's body may trickle in before the device counts as stalled.
const TRICKLE_BYTES_PER_SECOND: u64 = 32 << 10;

/// Small replies are read from the stream in pieces of this size.
const READ_BUFFER_BYTES: usize = 64 << 10;

impl Flight {
    pub(super) async fn read_replies(self: &Arc<Self>, input: ReadHalf<Stream>) -> Cause {
        let mut input = BufReader::with_capacity(READ_BUFFER_BYTES, input);
        loop {
            if let Err(cause) = self.read_reply(&mut input).await {
                return cause;
            }
        }
    }

    async fn read_reply(self: &Arc<Self>, input: &mut BufReader<ReadHalf<Stream>>) -> Result<(), Cause> {
        let mut head = [0; HEADER_BYTES];
        input.read_exact(&mut head).await.map_err(broken)?;
        let header = Header::parse(&head).map_err(Cause::Header)?;
        let (asked, wants) = self.whose_turn(header.number)?;
        let most =
            bound(header.operation, wants).ok_or(Cause::WrongReply { asked, got: header.operation })?;
        if header.body() > most {
            return Err(Cause::TooLong { asked, got: header.body(), most });
        }
        let large = if asked != Operation::FileRead && header.body() > LARGE_BYTES {
            let room = Arc::clone(&self.large).acquire_owned().await;
            Some(room.expect("this semaphore is never closed"))
        } else {
            None
        };
        let body = self.read_body(input, header.body()).await?;
        self.deliver(&header, wants, asked, (body, large))
    }

    /// What the oldest request asked and wants, if the reply's number is its.
    fn whose_turn(&self, got: u64) -> Result<(Operation, Wants), Cause> {
        let wire = self.wire();
        let oldest = wire.pending.front().ok_or(Cause::Unasked)?;
        if oldest.number == got {
            Ok((oldest.operation, oldest.wants))
        } else {
            Err(Cause::WrongNumber { wanted: oldest.number, got })
        }
    }

    async fn read_body(
        &self,
        input: &mut BufReader<ReadHalf<Stream>>,
        length: u64,
    ) -> Result<Vec<u8>, Cause> {
        let limit = self.limit + Duration::from_secs(length / TRICKLE_BYTES_PER_SECOND);
        let deadline = Instant::now() + limit;
        let wanted = usize::try_from(length).expect("bounded by what was asked");
        let mut body = self.buffers.take(wanted);
        let mut input = input.take(length);
        while body.len() < wanted {
            if body.len() == body.capacity() {
                body.reserve((wanted - body.len()).min(1 << 20));
            }
            // Total silence ends the connection by itself: see `stalled`.
            if input.read_buf(&mut body).await.map_err(broken)? == 0 {
                return Err(Cause::Closed);
            }
            let now = Instant::now();
            if now >= deadline && body.len() < wanted {
                return Err(Cause::Timeout(limit));
            }
            self.wire().moved_at = now;
        }
        Ok(body)
    }

    /// Hands the reply to whoever waits for it, with the room that a large one has, and lets the window grow.
    fn deliver(
        self: &Arc<Self>,
        header: &Header,
        wants: Wants,
        asked: Operation,
        (body, large): (Vec<u8>, Option<OwnedSemaphorePermit>),
    ) -> Result<(), Cause> {
        let said = understand(header.operation, wants, body)
            .ok_or(Cause::WrongReply { asked, got: header.operation })?;
        let mut request = {
            let mut wire = self.wire();
            wire.moved_at = Instant::now();
            let request = wire.pending.pop_front().expect("only this task takes from the front");
            self.grow(&mut wire);
            request
        };
        let answer = match said {
            Said::Done => Ok(Reply::Done),
            Said::No(status) => Err(Failure::Status(status)),
            Said::Data(data) => {
                let room = large.or_else(|| request.permits.1.take().map(|room| self.landed(room)));
                Ok(Reply::Data(data, room))
            }
            Said::Position(position) => Ok(Reply::Position(position)),
            Said::Handle(number) => {
                let permit = request.permits.2.take();
                Ok(Reply::Handle(Handle { number, flight: Arc::clone(self), permit }))
            }
        };
        let Pending { answer: waits, permits, .. } = request;
        drop(permits);
        // Nobody waits any more: a handle inside is closed by being dropped, everything else is nothing.
        let _ = waits.send(answer);
        Ok(())
    }

    /// Room among what has landed, if there is some, in place of room among what is on its way.
    fn landed(&self, on_its_way: OwnedSemaphorePermit) -> OwnedSemaphorePermit {
        let kib = u32::try_from(on_its_way.num_permits()).expect("at most 4 MiB in KiB");
        Arc::clone(&self.landed_kib).try_acquire_many_owned(kib).unwrap_or(on_its_way)
    }

    /// Doubles the window when it was full and every answer in it was good.
    fn grow(&self, wire: &mut Wire) {
        wire.answered += 1;
        if wire.answered < wire.window * 2 {
            return;
        }
        let ceiling = self.pacing.ceiling();
        if std::mem::take(&mut wire.was_full) && wire.window < ceiling {
            let more = wire.window.min(ceiling - wire.window);
            wire.window += more;
            self.slots.add_permits(more);
        }
        wire.answered = 0;
    }
}
