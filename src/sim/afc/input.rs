//! Requests as they come in: whole, in order, and no further ahead than the phone's temper allows.

use std::io;

use tokio::io::{AsyncReadExt, ReadHalf};

use crate::afc::Operation;
use crate::afc::packet::{HEADER_BYTES, Header};
use crate::afc::request::PARAMS_BYTES_MAX;
use crate::usbmux::Stream;

/// How much is read at once where nothing bounds the requests that wait.
const AHEAD_BYTES: usize = 64 << 10;

/// How much of a write's bytes is handed on at once.
const PIECE_BYTES: usize = 256 << 10;

/// A request whose parameters are there and whose payload is still to come.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) number: u64,
    pub(super) operation: u64,
    pub(super) params: Vec<u8>,
    pub(super) payload: u64,
}

/// See the module.
pub(super) struct Input {
    stream: ReadHalf<Stream>,
    buffer: Vec<u8>,
    /// The part of `buffer` that was taken.
    taken: usize,
    waiting_max: Option<usize>,
    piece: Vec<u8>,
}

/// What stands at the front of some bytes.
enum Front {
    /// So many bytes more are needed to know.
    Needs(usize),
    /// A request whose parameters end here; bytes beyond belong to its payload or to the next request.
    Request { header: Header, params: usize, payload: u64 },
}

impl Input {
    pub(super) fn new(stream: ReadHalf<Stream>, waiting_max: Option<usize>) -> Self {
        Self { stream, buffer: Vec::new(), taken: 0, waiting_max, piece: Vec::new() }
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// The next request; `None` when the host has left between two.
    pub(super) async fn next(&mut self) -> io::Result<Option<Incoming>> {
        loop {
            let needs = match front(self.rest())? {
                Front::Request { header, params, payload } => {
                    let params = self.rest()[HEADER_BYTES..HEADER_BYTES + params].to_vec();
                    self.taken += HEADER_BYTES + params.len();
                    let Header { number, operation, .. } = header;
                    return Ok(Some(Incoming { number, operation, params, payload }));
                }
                Front::Needs(needs) => needs,
            };
            if self.read(needs).await? == 0 {
                let cut = !self.rest().is_empty();
                return if cut { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(None) };
            }
        }
    }

    /// Reads at least one byte. Where waiting requests are counted, never so much that more of them could be whole than
    /// may wait; else as much as there is.
    async fn read(&mut self, needs: usize) -> io::Result<usize> {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        let ahead = match self.waiting_max {
            Some(waiting_max) => ((waiting_max + 1) * HEADER_BYTES - 1).saturating_sub(self.buffer.len()),
            None => AHEAD_BYTES,
        };
        let most = needs.max(ahead);
        self.buffer.reserve(most);
        (&mut self.stream).take(most as u64).read_buf(&mut self.buffer).await
    }

    /// Goes on reading while an answer is on its way, until as many requests wait as may. Returns when that is so or
    /// the host has closed its side; may be dropped at any time without losing anything.
    pub(super) async fn read_ahead(&mut self) -> io::Result<()> {
        let Some(waiting_max) = self.waiting_max else { return Ok(()) };
        while let Some(needs) = missing(self.rest(), waiting_max)? {
            if self.read(needs).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Bytes of the payload of the request that was taken last: at least one, at most `left`.
    pub(super) async fn payload(&mut self, left: u64) -> io::Result<Vec<u8>> {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let mut piece = std::mem::take(&mut self.piece);
        piece.clear();
        let there = self.rest().len().min(most);
        if there > 0 {
            piece.extend_from_slice(&self.rest()[..there]);
            self.taken += there;
            return Ok(piece);
        }
        piece.reserve(most);
        match (&mut self.stream).take(most as u64).read_buf(&mut piece).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(piece),
        }
    }

    /// Takes a piece's memory back for the next one.
    pub(super) fn give_back(&mut self, piece: Vec<u8>) {
        self.piece = piece;
    }
}

/// Understands the front of `bytes`.
fn front(bytes: &[u8]) -> io::Result<Front> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Ok(Front::Needs(HEADER_BYTES - bytes.len()));
    };
    let header = Header::parse(head).map_err(io::Error::other)?;
    // A write's bytes stand behind its handle, whether the host counts them as parameters or as payload.
    let params = match Operation::from_raw(header.operation) {
        Some(Operation::FileWrite) => header.params.min(8),
        _ => header.params,
    };
    if params > PARAMS_BYTES_MAX {
        return Err(io::Error::other("a request with more parameters than any has"));
    }
    let params = usize::try_from(params).expect("bounded above");
    match bytes.len().checked_sub(HEADER_BYTES + params) {
        Some(_) => Ok(Front::Request { header, params, payload: header.body() - params as u64 }),
        None => Ok(Front::Needs(HEADER_BYTES + params - bytes.len())),
    }
}

/// How many bytes may be read now so that at most `waiting_max` requests wait; `None`: no more.
fn missing(mut bytes: &[u8], waiting_max: usize) -> io::Result<Option<usize>> {
    for _ in 0..waiting_max {
        match front(bytes)? {
            Front::Needs(needs) => return Ok(Some(needs)),
            // A payload stays in the stream until its request's turn.
            Front::Request { payload, .. } if payload > 0 => return Ok(None),
            Front::Request { params, .. } => bytes = &bytes[HEADER_BYTES + params..],
        }
    }
    Ok(None)
}
