//! One connection at the host's end of the mux protocol: its numbers, its windows, and what waits in either direction.
//!
//! What the phone said is acknowledged when the client has taken it, as usbmuxd does, so that a client that does not
//! read stops the phone. Nothing is ever sent twice: the cable loses nothing. Knows no packets of the link, no other
//! connections and no clock. Described by usbmuxd's `device.c`.

use std::collections::VecDeque;

use crate::usbmux::packet::{Segment, WINDOW_BYTES, flags};

/// Bytes of the client's that wait for the phone's window at most.
pub(super) const WAITING_BYTES_MAX: usize = 128 << 10;
/// So many bytes that the client has taken are acknowledged even while more of the phone's wait for it.
const ACKNOWLEDGED_AT_ONCE_BYTES: u32 = 32 << 10;
/// What a phone may have said that its client has not taken; more is against the protocol.
const HEARD_BYTES_MAX: u32 = 2 * WINDOW_BYTES;
/// Refusals carry a reason for the log; so much of it is kept.
const REASON_BYTES_MAX: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be asked for.
    New,
    /// The phone has been asked.
    Asked,
    /// The phone has granted it.
    Open,
    /// The phone is gone; what it had said is still the client's.
    Left,
    /// Nothing more is to be done.
    Over,
}

/// What the client is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The phone has opened the port.
    Opened,
    /// It has not; what it said about that.
    Refused(String),
    /// These bytes have come.
    Said(Vec<u8>),
    /// The last thing that happens: the phone has ended it.
    Ended,
}

/// What is to be sent for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) flags: u8,
    pub(super) sequence: u32,
    pub(super) acknowledged: u32,
    pub(super) payload: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    state: State,
    /// The client has nothing more to say; what it said goes out first.
    ended: bool,
    /// The client listens no more: what comes is taken for nobody.
    deaf: bool,
    /// The phone was heard to break the protocol: it is to be told.
    nonsense: bool,
    news: VecDeque<News>,
    /// Number of the phone's next byte.
    expected: u32,
    /// The phone's bytes before this one are taken.
    taken: u32,
    /// And the phone knows of those before this one.
    acknowledged: u32,
    /// To the phone, not sent yet.
    waiting: VecDeque<u8>,
    /// Number of the client's next byte.
    next: u32,
    /// The phone has taken the bytes before this one.
    reached: u32,
    /// How far beyond `reached` the phone lets us go.
    window_bytes: u32,
}

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            state: State::New,
            ended: false,
            deaf: false,
            nonsense: false,
            news: VecDeque::new(),
            expected: 0,
            taken: 0,
            acknowledged: 0,
            waiting: VecDeque::new(),
            next: 0,
            reached: 0,
            window_bytes: 0,
        }
    }

    /// A segment of the phone's.
    pub(super) fn hear(&mut self, segment: &Segment<'_>) {
        if self.nonsense {
            return;
        }
        match self.state {
            State::Asked => self.hear_answer(segment),
            State::Open => self.hear_open(segment),
            // The phone cannot know yet that it is over.
            State::New | State::Left | State::Over => {}
        }
    }

    fn hear_answer(&mut self, segment: &Segment<'_>) {
        if segment.flags & flags::RST != 0 {
            let reason = &segment.payload[..segment.payload.len().min(REASON_BYTES_MAX)];
            self.news.push_back(News::Refused(String::from_utf8_lossy(reason).into_owned()));
            self.state = State::Over;
        } else if segment.flags == flags::SYN_ACK && segment.acknowledged == 1 {
            self.state = State::Open;
            self.expected = segment.sequence.wrapping_add(1);
            self.taken = self.expected;
            self.reached = 1;
            self.window_bytes = segment.window_bytes.min(WINDOW_BYTES);
            self.news.push_back(News::Opened);
        } else {
            self.news.push_back(News::Refused("the phone answered with nonsense".to_owned()));
            self.give_up();
        }
    }

    fn hear_open(&mut self, segment: &Segment<'_>) {
        if segment.flags & flags::RST != 0 {
            self.news.push_back(News::Ended);
            self.waiting = VecDeque::new();
            self.state = State::Left;
            return;
        }
        let untaken = self.expected.wrapping_sub(self.taken);
        let bytes = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        let in_order = segment.flags == flags::ACK && segment.sequence == self.expected;
        // A phone that goes beyond its window by a little is heard out, as usbmuxd does.
        if !in_order || bytes > HEARD_BYTES_MAX - untaken.min(HEARD_BYTES_MAX) {
            tracing::warn!(
                flags = segment.flags,
                sequence = segment.sequence,
                expected = self.expected,
                bytes,
                untaken,
                "the phone breaks the mux protocol"
            );
            self.news.push_back(News::Ended);
            return self.give_up();
        }
        self.window_bytes = segment.window_bytes.min(WINDOW_BYTES);
        if segment.acknowledged.wrapping_sub(self.reached) <= self.in_flight() {
            self.reached = segment.acknowledged;
        }
        if bytes == 0 {
            return;
        }
        self.expected = self.expected.wrapping_add(bytes);
        if self.deaf {
            self.taken = self.expected;
        } else {
            self.news.push_back(News::Said(segment.payload.to_vec()));
        }
    }

    /// No going on with this phone's idea of the connection.
    fn give_up(&mut self) {
        self.nonsense = true;
        self.waiting = VecDeque::new();
    }

    /// What the client is to be told next.
    pub(super) fn news(&mut self) -> Option<News> {
        if self.deaf {
            self.news.clear();
        }
        self.news.pop_front()
    }

    /// Bytes that the client may say now.
    pub(super) fn room_bytes(&self) -> usize {
        if self.ended || self.nonsense || self.state != State::Open {
            return 0;
        }
        WAITING_BYTES_MAX.saturating_sub(self.waiting.len())
    }

    pub(super) fn say(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room_bytes(), "a client said more than there is room for");
        self.waiting.extend(bytes);
    }

    /// The client has taken so many bytes of what it was told.
    pub(super) fn take(&mut self, bytes: usize) {
        if self.deaf {
            return;
        }
        let untaken = self.expected.wrapping_sub(self.taken);
        let bytes = u32::try_from(bytes).ok().filter(|bytes| *bytes <= untaken);
        self.taken = self.taken.wrapping_add(bytes.expect("a client takes no more than it was told"));
    }

    /// The client is gone: what it said still goes out, what comes is for nobody.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.deaf = true;
        self.news.clear();
        self.taken = self.expected;
        if self.state == State::New {
            self.state = State::Over;
        }
    }

    /// As [`Connection::end`], and what it said is lost: the phone did not take it in time.
    pub(super) fn abandon(&mut self) {
        self.end();
        self.give_up();
    }

    /// Whether nothing is left: neither to say nor to tell.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Left | State::Over) && (self.deaf || self.news.is_empty())
    }

    /// What to send next, with at most so many bytes.
    pub(super) fn speak(&mut self, payload_bytes_max: usize) -> Option<Word> {
        let sequence = self.next;
        let (flags, payload) = match self.state {
            State::New => {
                self.state = State::Asked;
                self.next = 1;
                (flags::SYN, Vec::new())
            }
            State::Asked | State::Open => self.speak_on(payload_bytes_max)?,
            State::Left | State::Over => return None,
        };
        // Before the phone has answered there is nothing to acknowledge.
        self.acknowledged = self.taken;
        Some(Word { flags, sequence, acknowledged: self.taken, payload })
    }

    fn speak_on(&mut self, payload_bytes_max: usize) -> Option<(u8, Vec<u8>)> {
        let open = self.state == State::Open;
        if self.nonsense || (self.ended && (!open || self.waiting.is_empty())) {
            self.state = State::Over;
            return Some((flags::RST, Vec::new()));
        }
        if !open {
            return None;
        }
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
        self.owes_word().then(|| (flags::ACK, Vec::new()))
    }

    /// Whether the phone waits for an acknowledgement: of its grant, or of bytes that were taken. While the client has
    /// more to take, a few of them go together.
    fn owes_word(&self) -> bool {
        let unknown = self.taken.wrapping_sub(self.acknowledged);
        let all_taken = self.taken == self.expected;
        unknown > 0 && (all_taken || unknown >= ACKNOWLEDGED_AT_ONCE_BYTES)
    }

    fn in_flight(&self) -> u32 {
        self.next.wrapping_sub(self.reached)
    }

    /// Bytes that are kept now, in either direction.
    pub(super) fn held_bytes(&self) -> usize {
        let told = |news: &News| match news {
            News::Said(bytes) => bytes.len(),
            News::Refused(reason) => reason.len(),
            News::Opened | News::Ended => 0,
        };
        self.waiting.len() + self.news.iter().map(told).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: u8, sequence: u32, acknowledged: u32, payload: &[u8]) -> Segment<'_> {
        Segment {
            source: 62078,
            destination: 1,
            sequence,
            acknowledged,
            flags,
            window_bytes: WINDOW_BYTES,
            payload,
        }
    }

    fn asked() -> Connection {
        let mut connection = Connection::new();
        let syn = connection.speak(100).unwrap();
        assert_eq!((syn.flags, syn.sequence, syn.acknowledged), (flags::SYN, 0, 0));
        assert_eq!(connection.speak(100), None);
        connection
    }

    fn open() -> Connection {
        let mut connection = asked();
        connection.hear(&segment(flags::SYN_ACK, 0, 1, b""));
        assert_eq!(connection.news(), Some(News::Opened));
        let ack = connection.speak(100).unwrap();
        assert_eq!((ack.flags, ack.sequence, ack.acknowledged), (flags::ACK, 1, 1));
        connection
    }

    #[test]
    fn a_refusal_has_its_reason_and_is_the_end() {
        let mut connection = asked();
        connection.hear(&segment(flags::RST | flags::ACK, 0, 1, b"Connection refused"));
        assert_eq!(connection.news(), Some(News::Refused("Connection refused".to_owned())));
        assert!(connection.is_over() && connection.speak(100).is_none());
    }

    #[test]
    fn bytes_are_acknowledged_when_they_are_taken_and_not_before() {
        let mut connection = open();
        connection.hear(&segment(flags::ACK, 1, 1, b"hello"));
        assert_eq!(connection.speak(100), None);
        assert_eq!(connection.news(), Some(News::Said(b"hello".to_vec())));
        connection.take(2);
        assert_eq!(connection.speak(100), None, "the rest is about to be taken");
        connection.take(3);
        assert_eq!(connection.speak(100).unwrap().acknowledged, 6);
        // A segment that carries nothing is never answered: the phone would answer that.
        connection.hear(&segment(flags::ACK, 6, 1, b""));
        assert_eq!(connection.speak(100), None);
    }

    #[test]
    fn a_client_that_reads_slowly_does_not_stop_the_phone_before_its_window_is_full() {
        let mut connection = open();
        let piece = vec![7; 32 << 10];
        let number = |n: u32| 1 + n * (32 << 10);
        for n in 0..4 {
            connection.hear(&segment(flags::ACK, number(n), 1, &piece));
        }
        connection.take(piece.len());
        assert_eq!(connection.speak(100).unwrap().acknowledged, number(1));
        for n in 4..9 {
            connection.hear(&segment(flags::ACK, number(n), 1, &piece));
            assert!(!connection.nonsense);
        }
        connection.hear(&segment(flags::ACK, number(9), 1, b"one too many"));
        assert_eq!(connection.speak(100).unwrap().flags, flags::RST);
    }

    #[test]
    fn what_the_client_said_goes_out_before_its_end() {
        let mut connection = open();
        connection.say(b"good-bye");
        connection.end();
        assert_eq!(connection.speak(5).unwrap().payload, b"good-");
        assert_eq!(connection.speak(5).unwrap().payload, b"bye");
        let last = connection.speak(5).unwrap();
        assert_eq!((last.flags, last.sequence), (flags::RST, 9));
        assert!(connection.is_over());
    }

    #[test]
    fn the_window_bounds_what_is_under_way() {
        let mut connection = asked();
        connection.hear(&Segment { window_bytes: 1024, ..segment(flags::SYN_ACK, 0, 1, b"") });
        assert_eq!(connection.news(), Some(News::Opened));
        connection.say(&[1; 3000]);
        assert_eq!(connection.speak(4096).unwrap().payload.len(), 1024);
        assert_eq!(connection.speak(4096), None);
        connection.hear(&Segment { window_bytes: 1024, ..segment(flags::ACK, 1, 1001, b"") });
        assert_eq!(connection.speak(4096).unwrap().payload.len(), 1000);
        // It cannot have taken what was never sent.
        connection.hear(&Segment { window_bytes: 1024, ..segment(flags::ACK, 1, 90_000, b"") });
        assert_eq!(connection.in_flight(), 1024);
    }

    #[test]
    fn a_phone_that_breaks_the_protocol_is_told_and_left() {
        let wrong: [&dyn Fn() -> Segment<'static>; 3] = [
            &|| segment(flags::ACK, 2, 1, b"a byte is missing"),
            &|| segment(flags::ACK | 0x08, 1, 1, b"pushed"),
            &|| segment(flags::SYN_ACK, 1, 1, b""),
        ];
        for make in wrong {
            let mut connection = open();
            connection.hear(&make());
            assert_eq!(connection.news(), Some(News::Ended));
            assert_eq!(connection.speak(100).unwrap().flags, flags::RST);
            assert!(connection.is_over());
        }
    }
}
