//! Replies as they leave: whole or in pieces, honest or with a fault acted out on them.

use std::io;
use std::os::unix::fs::FileExt;

use tokio::io::{AsyncWriteExt, WriteHalf};

use super::input::Input;
use crate::afc::packet::{HEADER_BYTES, data_header, number_reply, status_reply};
use crate::afc::{Operation, Status};
use crate::sim::config::FaultKind;
use crate::usbmux::Stream;

/// How much of a file is read and sent at once.
const PIECE_BYTES: usize = 256 << 10;
/// A payload of no more than this comes in two pieces.
const LITTLE_BYTES: usize = 4 << 10;

/// See the module.
pub(super) struct Output {
    stream: WriteHalf<Stream>,
    in_pieces: bool,
    buffer: Vec<u8>,
}

impl Output {
    pub(super) fn new(stream: WriteHalf<Stream>, in_pieces: bool) -> Self {
        Self { stream, in_pieces, buffer: Vec::new() }
    }

    pub(super) async fn status(
        &mut self,
        input: &mut Input,
        number: u64,
        status: Status,
        fault: Option<FaultKind>,
    ) -> io::Result<bool> {
        self.small(input, status_reply(number, status), fault).await
    }

    pub(super) async fn handle(
        &mut self,
        input: &mut Input,
        number: u64,
        handle: u64,
        fault: Option<FaultKind>,
    ) -> io::Result<bool> {
        self.small(input, number_reply(number, Operation::FileOpenResult, handle), fault).await
    }

    pub(super) async fn position(
        &mut self,
        input: &mut Input,
        number: u64,
        position: u64,
        fault: Option<FaultKind>,
    ) -> io::Result<bool> {
        self.small(input, number_reply(number, Operation::FileTellResult, position), fault).await
    }

    /// A reply of one number; `false`: it was cut, and the connection with it.
    async fn small(
        &mut self,
        input: &mut Input,
        mut reply: [u8; 48],
        fault: Option<FaultKind>,
    ) -> io::Result<bool> {
        match fault {
            Some(FaultKind::Corrupt) => reply[3] ^= 0x20,
            Some(FaultKind::Short) => {
                self.send(input, &reply[..44]).await?;
                return Ok(false);
            }
            Some(FaultKind::LieAboutLength) => reply[8] = 49,
            _ => {}
        }
        self.send(input, &reply).await.map(|()| true)
    }

    /// A reply from memory.
    pub(super) async fn data(
        &mut self,
        input: &mut Input,
        number: u64,
        data: &[u8],
        fault: Option<FaultKind>,
    ) -> io::Result<()> {
        let sent = if fault == Some(FaultKind::Short) { &data[..data.len() / 2] } else { data };
        let stated = stated(sent.len() as u64, fault);
        let mut reply = std::mem::take(&mut self.buffer);
        reply.clear();
        reply.extend_from_slice(&data_header(number, stated));
        reply.extend_from_slice(sent);
        if fault == Some(FaultKind::Corrupt) {
            // Without data there is only the header to change.
            let middle = if sent.is_empty() { 3 } else { HEADER_BYTES + sent.len() / 2 };
            reply[middle] ^= 0x20;
        }
        let done = self.send(input, &reply).await;
        self.buffer = reply;
        done
    }

    /// A reply from a file: read and sent piece by piece, the header in one write with the first.
    pub(super) async fn file(
        &mut self,
        input: &mut Input,
        number: u64,
        file: &std::fs::File,
        mut offset: u64,
        length: u64,
        fault: Option<FaultKind>,
    ) -> io::Result<()> {
        let mut left = if fault == Some(FaultKind::Short) { length / 2 } else { length };
        let mut reply = std::mem::take(&mut self.buffer);
        reply.resize(reply.len().max(HEADER_BYTES), 0);
        reply[..HEADER_BYTES].copy_from_slice(&data_header(number, stated(left, fault)));
        let mut begins = HEADER_BYTES;
        loop {
            let piece = PIECE_BYTES.min(usize::try_from(left).unwrap_or(PIECE_BYTES));
            // Grows once to its full size; nothing is cleared for each reply.
            reply.resize(reply.len().max(begins + piece), 0);
            fill(file, &mut reply[begins..begins + piece], offset)?;
            if fault == Some(FaultKind::Corrupt) {
                let middle = if piece == 0 { 3 } else { begins + piece / 2 };
                reply[middle] ^= 0x20;
            }
            self.send(input, &reply[..begins + piece]).await?;
            offset += piece as u64;
            left -= piece as u64;
            begins = 0;
            if left == 0 {
                break;
            }
        }
        self.buffer = reply;
        Ok(())
    }

    async fn send(&mut self, input: &mut Input, bytes: &[u8]) -> io::Result<()> {
        if !self.in_pieces {
            self.stream.write_all(bytes).await?;
            return self.stream.flush().await;
        }
        // Header and parameters with a little of the payload, then two more pieces, or one where there is little.
        // Header and parameters stay whole: libimobiledevice reads each in one go, so no phone can have been cutting
        // them.
        let stated = bytes.get(16..24).and_then(|field| field.try_into().ok()).map_or(0, u64::from_le_bytes);
        let whole = usize::try_from(stated).unwrap_or(usize::MAX).min(bytes.len());
        let payload = bytes.len() - whole;
        let middle = if payload > LITTLE_BYTES { whole + payload / 2 } else { 0 };
        let cuts = [whole + payload.min(5), middle, bytes.len()];
        let mut from = 0;
        for cut in cuts.into_iter().map(|cut| cut.min(bytes.len())) {
            if cut <= from {
                continue;
            }
            self.piece(input, &bytes[from..cut], cut < bytes.len()).await?;
            from = cut;
        }
        Ok(())
    }

    /// Sends, and meanwhile takes in the requests that may wait. `goes_on`: the host is to see this piece alone.
    async fn piece(&mut self, input: &mut Input, bytes: &[u8], goes_on: bool) -> io::Result<()> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await?;
            if goes_on {
                tokio::task::yield_now().await;
            }
            Ok(())
        };
        tokio::pin!(sending);
        tokio::select! {
            biased;
            sent = &mut sending => sent,
            read = input.read_ahead() => {
                read?;
                sending.await
            }
        }
    }
}

fn stated(length: u64, fault: Option<FaultKind>) -> u64 {
    if fault == Some(FaultKind::LieAboutLength) { length + 7 } else { length }
}

/// Fills `piece` from the file. One that has become shorter meanwhile reads as zeros: the length is promised already.
fn fill(file: &std::fs::File, mut piece: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !piece.is_empty() {
        let read = file.read_at(piece, offset)?;
        if read == 0 {
            piece.fill(0);
            break;
        }
        offset += read as u64;
        piece = &mut piece[read..];
    }
    Ok(())
}
