//! One phone that a host has imported: its transfers in the order of USB.
//!
//! Bulk IN transfers end as on a real bus: where the host's buffer is full, or with a packet that is not. A phone that
//! forgets the empty packet after a full one leaves its host waiting here too.

use std::collections::VecDeque;
use std::io;

use super::wire::{Submit, submitted, unlinked};
use crate::sim::usb::{Answer, Phone};

/// Transfers that wait at most, on all endpoints.
const WAITING_MAX: usize = 1024;
/// `-EPIPE`: the endpoint stalls.
const STALLED: i32 = -32;
/// `-ECONNRESET`: the transfer was taken back.
const TAKEN_BACK: i32 = -104;
/// The bit in an endpoint's address that means "to the host".
const TO_HOST: u8 = 0x80;

/// A bulk IN transfer that waits.
#[derive(Debug)]
struct Wanted {
    number: u32,
    bytes: usize,
    there: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) phone: Phone,
    /// For the mux.
    wanted: VecDeque<Wanted>,
    /// On endpoints on which this phone never says anything.
    idle: Vec<u32>,
    /// What the phone is saying, and how much of it is said.
    saying: Option<(Vec<u8>, usize)>,
    /// It leaves the bus after what is to be sent.
    pub(super) leaves: bool,
}

impl Session {
    pub(super) fn new(phone: Phone) -> Self {
        Self { phone, wanted: VecDeque::new(), idle: Vec::new(), saying: None, leaves: false }
    }

    /// Takes a transfer; adds to `out` what is to be sent at once.
    pub(super) fn submit(&mut self, submit: Submit, out: &mut Vec<u8>) -> io::Result<()> {
        if submit.endpoint == 0 {
            self.control(&submit, out);
            return Ok(());
        }
        let mux = self.phone.mux_endpoints();
        match submit.to_phone {
            Some(data) => {
                if mux.is_some_and(|mux| mux.out == submit.endpoint) {
                    let fills_up = data.len().is_multiple_of(self.phone.bulk_packet_bytes().into());
                    self.phone.take(&data);
                    if submit.ends_with_empty && fills_up && !data.is_empty() {
                        self.phone.take(&[]);
                    }
                }
                out.extend(submitted(submit.number, 0, data.len(), &[]));
            }
            None if self.wanted.len() + self.idle.len() >= WAITING_MAX => {
                return Err(io::Error::other("too many transfers wait"));
            }
            None if mux.is_some_and(|mux| mux.input == submit.endpoint | TO_HOST) => {
                let Submit { number, bytes, .. } = submit;
                self.wanted.push_back(Wanted { number, bytes, there: Vec::new() });
            }
            None => self.idle.push(submit.number),
        }
        Ok(())
    }

    fn control(&mut self, submit: &Submit, out: &mut Vec<u8>) {
        let answer = self.phone.control(&submit.setup);
        self.leaves |= matches!(answer, Answer::Leaves(_));
        let done = match answer {
            Answer::Done(bytes) | Answer::Leaves(bytes) => {
                let sent = &bytes[..bytes.len().min(submit.bytes)];
                let actual = if submit.to_phone.is_some() { submit.bytes } else { sent.len() };
                let sent = if submit.to_phone.is_some() { &[] } else { sent };
                submitted(submit.number, 0, actual, sent)
            }
            Answer::Configured(_) => {
                self.saying = None;
                submitted(submit.number, 0, 0, &[])
            }
            Answer::Stall => submitted(submit.number, STALLED, 0, &[]),
        };
        out.extend(done);
    }

    /// Takes a transfer back, if it still waits.
    pub(super) fn unlink(&mut self, number: u32, taken_back: u32, out: &mut Vec<u8>) {
        let waited = self.wanted.len() + self.idle.len();
        self.wanted.retain(|wanted| wanted.number != taken_back);
        self.idle.retain(|idle| *idle != taken_back);
        let was_there = self.wanted.len() + self.idle.len() < waited;
        out.extend(unlinked(number, if was_there { TAKEN_BACK } else { 0 }));
    }

    /// Adds to `out` what ends now, up to about `bytes_max`. False: there may be more.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> bool {
        let unit = usize::from(self.phone.bulk_packet_bytes());
        while let Some(wanted) = self.wanted.front_mut() {
            if out.len() >= bytes_max {
                return false;
            }
            let saying = self.saying.take().or_else(|| self.phone.give().map(|bytes| (bytes, 0)));
            let Some((bytes, said)) = saying else { break };
            let n = (wanted.bytes - wanted.there.len()).min(bytes.len() - said);
            wanted.there.extend(&bytes[said..said + n]);
            let said = said + n;
            let short = said == bytes.len() && (bytes.is_empty() || !bytes.len().is_multiple_of(unit));
            if said < bytes.len() {
                self.saying = Some((bytes, said));
            }
            if short || wanted.there.len() == wanted.bytes {
                out.extend(submitted(wanted.number, 0, wanted.there.len(), &wanted.there));
                self.wanted.pop_front();
            }
        }
        true
    }
}
