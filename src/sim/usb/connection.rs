//! One connection at the phone's end of the mux protocol: its numbers, its windows, and what waits in either direction.
//!
//! As usbmuxd does, it acknowledges bytes when whoever reads them has taken them, so that a slow reader stops the
//! sender. Nothing is ever sent twice: the cable loses nothing. Knows no packets of the link and no other connections.

use std::collections::VecDeque;

use crate::usbmux::packet::{Segment, WINDOW_BYTES, flags};

/// Bytes that wait for the host's window at most.
const WAITING_BYTES_MAX: usize = 128 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The host asked; nobody has been told.
    Asked,
    /// Whoever owns the streams is opening the port.
    Opening,
    /// It is open and the host is not told.
    Granted,
    /// Both sides know.
    Open,
    /// The host is gone; what it had said may still be handed over.
    Left,
}

/// What a segment from the host does to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It goes on.
    Fine,
    /// The host ended it.
    Ended,
    /// The host does not keep to the protocol: there is no going on.
    Nonsense,
}

/// What is to be done for a connection beside the cable.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Open,
    Deliver(Vec<u8>),
    /// The last thing that happens.
    Close,
}

/// What is to be sent for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) flags: u8,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) payload: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Connection {
    state: State,
    /// The stream has ended; what it said goes out first.
    ended: bool,
    /// Number of the host's next byte.
    expected: u32,
    /// The host's bytes before this one are taken.
    taken: u32,
    /// And the host knows of those before this one.
    acknowledged: u32,
    /// From the host, not handed over yet.
    arrived: Vec<u8>,
    /// To the host, not sent yet.
    waiting: VecDeque<u8>,
    /// Number of the phone's next byte.
    next: u32,
    /// The host has taken the bytes before this one.
    reached: u32,
    /// How far beyond `reached` the host lets the phone go.
    window_bytes: u32,
}

impl Connection {
    /// For a host's SYN.
    pub(super) fn asked(syn: &Segment<'_>) -> Self {
        let first = syn.sequence.wrapping_add(1);
        Self {
            state: State::Asked,
            ended: false,
            expected: first,
            taken: first,
            acknowledged: first,
            arrived: Vec::new(),
            waiting: VecDeque::new(),
            next: 0,
            reached: 0,
            window_bytes: syn.window_bytes.min(WINDOW_BYTES),
        }
    }

    /// A segment of the host's.
    pub(super) fn hear(&mut self, segment: &Segment<'_>) -> Heard {
        if segment.flags & flags::RST != 0 {
            return Heard::Ended;
        }
        if segment.flags != flags::ACK || segment.sequence != self.expected {
            return Heard::Nonsense;
        }
        self.window_bytes = segment.window_bytes.min(WINDOW_BYTES);
        let news = segment.acknowledged.wrapping_sub(self.reached);
        if news <= self.in_flight() {
            self.reached = segment.acknowledged;
        }
        let Ok(bytes) = u32::try_from(segment.payload.len()) else { return Heard::Nonsense };
        if bytes == 0 {
            return Heard::Fine;
        }
        let untaken = self.expected.wrapping_sub(self.taken);
        if self.state != State::Open || untaken + bytes > WINDOW_BYTES {
            return Heard::Nonsense;
        }
        self.expected = self.expected.wrapping_add(bytes);
        if self.ended {
            // Nobody reads any more; that the host may go on costs nothing.
            self.taken = self.expected;
        } else {
            self.arrived.extend(segment.payload);
        }
        Heard::Fine
    }

    /// The host is gone. False: nothing is left to do.
    pub(super) fn leave(&mut self) -> bool {
        let known = self.state != State::Asked && !self.ended;
        self.state = State::Left;
        self.waiting = VecDeque::new();
        known
    }

    pub(super) fn has_left(&self) -> bool {
        self.state == State::Left
    }

    /// The port is open. Ignored when nobody asked, or the host has left since.
    pub(super) fn open(&mut self) {
        if self.state == State::Opening {
            self.state = State::Granted;
        }
    }

    /// The stream has ended. False: it had not begun, the host is to be refused.
    pub(super) fn end(&mut self) -> bool {
        self.ended = true;
        self.arrived = Vec::new();
        self.taken = self.expected;
        !matches!(self.state, State::Asked | State::Opening)
    }

    /// Bytes that the stream may say now.
    pub(super) fn room_bytes(&self) -> usize {
        if self.ended || !matches!(self.state, State::Granted | State::Open) {
            return 0;
        }
        WAITING_BYTES_MAX.saturating_sub(self.waiting.len())
    }

    pub(super) fn say(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room_bytes(), "a stream said more than there is room for");
        self.waiting.extend(bytes);
    }

    /// The stream has taken so many bytes of what was delivered.
    pub(super) fn take(&mut self, bytes: usize) {
        if self.ended {
            return;
        }
        let untaken = self.expected.wrapping_sub(self.taken);
        let taken = u32::try_from(bytes + self.arrived.len()).ok().filter(|taken| *taken <= untaken);
        assert!(taken.is_some(), "a stream took more than it was given");
        self.taken = self.taken.wrapping_add(u32::try_from(bytes).expect("less than what was given"));
    }

    pub(super) fn deed(&mut self) -> Option<Deed> {
        if self.state == State::Asked {
            self.state = State::Opening;
            return Some(Deed::Open);
        }
        if !self.arrived.is_empty() {
            return Some(Deed::Deliver(std::mem::take(&mut self.arrived)));
        }
        (self.state == State::Left).then_some(Deed::Close)
    }

    /// What to send next, with at most so many bytes. After RST the connection is over.
    pub(super) fn speak(&mut self, payload_bytes_max: usize) -> Option<Said> {
        let sequence = self.next;
        let (flags, payload) = match self.state {
            State::Granted => {
                self.state = State::Open;
                self.next = 1;
                (flags::SYN_ACK, Vec::new())
            }
            State::Open => self.speak_open(payload_bytes_max)?,
            State::Asked | State::Opening | State::Left => return None,
        };
        self.acknowledged = self.taken;
        Some(Said { flags, sequence, acknowledged: self.taken, payload })
    }

    fn speak_open(&mut self, payload_bytes_max: usize) -> Option<(u8, Vec<u8>)> {
        let allowed = usize::try_from(self.window_bytes.saturating_sub(self.in_flight())).unwrap_or(0);
        let bytes = allowed.min(self.waiting.len()).min(payload_bytes_max);
        if bytes > 0 {
            let (front, back) = self.waiting.as_slices();
            let first = bytes.min(front.len());
            let payload = [&front[..first], &back[..bytes - first]].concat();
            self.waiting.drain(..bytes);
            self.next = self.next.wrapping_add(u32::try_from(bytes).expect("bounded by the window"));
            return Some((flags::ACK, payload));
        }
        if self.ended && self.waiting.is_empty() {
            return Some((flags::RST, Vec::new()));
        }
        // Said once for each time that bytes were taken, and never in answer to a segment that carries none.
        (self.taken != self.acknowledged).then(|| (flags::ACK, Vec::new()))
    }

    /// How the phone says that it does not go on with this.
    pub(super) fn reset(&self) -> Said {
        Said { flags: flags::RST, sequence: self.next, acknowledged: self.expected, payload: Vec::new() }
    }

    fn in_flight(&self) -> u32 {
        self.next.wrapping_sub(self.reached)
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.arrived.len() + self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection on which much has passed: the next numbers are these.
    fn late(theirs: u32, ours: u32) -> Connection {
        let mut connection = Connection::asked(&segment(flags::SYN, theirs.wrapping_sub(1), 0, b""));
        assert_eq!(connection.deed(), Some(Deed::Open));
        connection.open();
        assert_eq!(
            connection.speak(100).map(|said| (said.flags, said.acknowledged)),
            Some((flags::SYN_ACK, theirs))
        );
        (connection.next, connection.reached) = (ours, ours);
        connection
    }

    fn segment(flags: u8, sequence: u32, acknowledged: u32, payload: &[u8]) -> Segment<'_> {
        Segment {
            source: 1,
            destination: 2,
            sequence,
            acknowledged,
            flags,
            window_bytes: WINDOW_BYTES,
            payload,
        }
    }

    #[test]
    fn numbers_go_round_after_four_gigabytes_in_both_directions() {
        let said: Vec<u8> = (0..400_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
        let (theirs, ours) = (u32::MAX - 70_000, u32::MAX - 150_000);
        let mut connection = late(theirs, ours);
        let (mut given, mut heard, mut acked, mut sent, mut delivered) = (0, Vec::new(), 0, 0, Vec::new());
        let number = |first: u32, bytes: usize| first.wrapping_add(u32::try_from(bytes).unwrap());
        while heard.len() < said.len() || delivered.len() < said.len() {
            let room = connection.room_bytes().min(said.len() - given);
            connection.say(&said[given..given + room]);
            given += room;
            while let Some(out) = connection.speak(30_000) {
                assert_eq!((out.flags, out.sequence), (flags::ACK, number(ours, heard.len())));
                assert_eq!(out.acknowledged, number(theirs, delivered.len()));
                heard.extend(out.payload);
                assert!(heard.len() - acked <= WINDOW_BYTES as usize);
            }
            acked += (heard.len() - acked).min(50_000);
            let piece = &said[sent..said.len().min(sent + 40_000)];
            let segment = segment(flags::ACK, number(theirs, sent), number(ours, acked), piece);
            assert_eq!(connection.hear(&segment), Heard::Fine);
            sent += piece.len();
            if let Some(Deed::Deliver(bytes)) = connection.deed() {
                delivered.extend_from_slice(&bytes);
                connection.take(bytes.len());
            }
        }
        assert!(heard == said && delivered == said);
        // Old numbers are not taken for new ones on the other side either.
        let old = segment(flags::ACK, number(theirs, sent), number(ours, acked).wrapping_sub(5), b"");
        let in_flight = connection.in_flight();
        assert_eq!((connection.hear(&old), connection.in_flight()), (Heard::Fine, in_flight));
        assert_eq!(connection.hear(&segment(flags::ACK, theirs, 0, b"again")), Heard::Nonsense);
    }
}
