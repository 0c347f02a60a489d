//! The host's end of the mux protocol for one phone, as a state machine: finished reads and clients' doings in, bulk
//! transfers and news for clients out.
//!
//! Described by usbmuxd's `device.c` and `usb.c`. As it does, the version is asked for with a short header; one packet
//! is one transfer, and one that fills its last USB packet is followed by an empty one; the count that the phone sends
//! back is sent back to it. Has no USB, no streams, no tasks and no clock: whoever carries the transfers limits waits.
//! Whatever the phone sends, what is kept has a bound.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

use super::connection::{Connection, News, Word};
use crate::usbmux::packet::{
    Assembler, LONG_HEADER_BYTES, Message, Numbers, Packet, READ_BYTES, SHORT_HEADER_BYTES, Segment,
    TCP_HEADER_BYTES, Version, WINDOW_BYTES, flags,
};

/// Connections to one phone at the same time.
pub const CONNECTIONS_MAX: usize = 512;
/// The longest transfer to the phone, as usbmuxd has it.
pub const TRANSFER_BYTES_MAX: usize = 3 * READ_BYTES;
/// Answers to segments of no connection that wait to be sent at most; a phone that floods us gets no more.
const STRANGERS_MAX: usize = 256;
const NOTHING_SEEN: u16 = 0xFFFF;

/// The host's own number for a connection; none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// What one read of at most [`READ_BYTES`] of the bulk IN endpoint gave; empty: a transfer of no bytes.
    Read(&'a [u8]),
    /// The client said something, at most [`Mux::room_bytes`].
    Said(ConnectionId, &'a [u8]),
    /// The client has taken so many bytes of what it was told.
    Took(ConnectionId, usize),
    /// The client is gone. What it said still goes to the phone; the connection is not mentioned again.
    Ended(ConnectionId),
    /// As [`Input::Ended`], and the phone has had time enough: it is told at once, and what was said is lost.
    Abandoned(ConnectionId),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A bulk OUT transfer, whole; empty: one of no bytes, which ends the one before.
    Write(Vec<u8>),
    /// Both sides speak the same version: connections may be opened, and those that were asked for are.
    Ready,
    /// The phone has opened the port.
    Opened(ConnectionId),
    /// It has not, and perhaps says why; untrusted text. The connection is not mentioned again.
    Refused(ConnectionId, String),
    /// Hand these bytes to the client, and say [`Input::Took`] as it takes them.
    Deliver {
        /// The connection.
        connection: ConnectionId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close the client's stream after what was delivered: the phone has ended it. Not mentioned again.
    Close(ConnectionId),
    /// A word of the phone's for the log; untrusted text.
    Remark {
        /// 3 error, 5 warning, 7 information.
        kind: u8,
        /// The text.
        text: String,
    },
    /// There is no speaking with this phone: it said so many as the major version of its protocol.
    Incompatible(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// VERSION is to be asked.
    New,
    /// It is asked.
    Asked,
    One,
    /// What the next packet has in its header.
    Two(Numbers),
    /// The phone speaks something else.
    Incompatible,
}

#[derive(Debug)]
struct Wire {
    phone_port: u16,
    host_port: u16,
    connection: Connection,
}

/// See the module.
#[derive(Debug)]
pub struct Mux {
    /// `wMaxPacketSize` of the endpoints.
    unit: usize,
    link: Link,
    setup_due: bool,
    pieces: Assembler,
    wires: HashMap<ConnectionId, Wire>,
    /// Those that may have something to say to the phone.
    speakers: BTreeSet<ConnectionId>,
    /// Those that may have something to tell their client.
    tellers: BTreeSet<ConnectionId>,
    /// By the host's port, which no two have in common.
    at: HashMap<u16, ConnectionId>,
    next_id: u64,
    next_port: u16,
    news: VecDeque<Output>,
    /// Segments to connections that there are not: their ports (ours, the phone's) and the number that is acknowledged.
    strangers: VecDeque<(u16, u16, u32)>,
    /// The transfer that went out last wants an empty one after it.
    unfinished: bool,
    /// The connection that spoke last; the others have their turn first.
    served: ConnectionId,
}

impl Mux {
    /// For endpoints whose USB packets have at most so many bytes (`wMaxPacketSize`).
    ///
    /// # Panics
    /// When that is 0.
    #[must_use]
    pub fn new(bulk_packet_bytes: u16) -> Self {
        assert!(bulk_packet_bytes > 0, "packets have a length");
        Self {
            unit: usize::from(bulk_packet_bytes),
            link: Link::New,
            setup_due: false,
            pieces: Assembler::new(READ_BYTES),
            wires: HashMap::new(),
            speakers: BTreeSet::new(),
            tellers: BTreeSet::new(),
            at: HashMap::new(),
            next_id: 1,
            next_port: 1,
            news: VecDeque::new(),
            strangers: VecDeque::new(),
            unfinished: false,
            served: ConnectionId(0),
        }
    }

    /// Asks the phone for a connection to `port` (host byte order). `None`: there are [`CONNECTIONS_MAX`].
    pub fn open(&mut self, port: u16) -> Option<ConnectionId> {
        if self.wires.len() >= CONNECTIONS_MAX {
            return None;
        }
        // Fewer connections than ports: one is free.
        while self.next_port == 0 || self.at.contains_key(&self.next_port) {
            self.next_port = self.next_port.wrapping_add(1);
        }
        let (id, host_port) = (ConnectionId(self.next_id), self.next_port);
        self.next_id += 1;
        self.next_port = self.next_port.wrapping_add(1);
        self.wires.insert(id, Wire { phone_port: port, host_port, connection: Connection::new() });
        self.at.insert(host_port, id);
        self.speakers.insert(id);
        Some(id)
    }

    /// Takes what happened. About a connection that is over already nothing is heard any more.
    ///
    /// # Panics
    /// When a client says more than there is room for, or takes more than it was given: that is no phone's doing.
    pub fn handle(&mut self, input: Input<'_>) {
        match input {
            Input::Read(piece) => match self.pieces.push(piece) {
                Ok(Some(packet)) => self.hear(&packet),
                Ok(None) => {}
                Err(error) => tracing::debug!("a transfer of the phone's is dropped: {error}"),
            },
            Input::Said(id, bytes) => self.with(id, |connection| connection.say(bytes)),
            Input::Took(id, bytes) => self.with(id, |connection| connection.take(bytes)),
            Input::Ended(id) => self.with(id, Connection::end),
            Input::Abandoned(id) => self.with(id, Connection::abandon),
        }
    }

    /// The next thing to do: news first, then transfers.
    pub fn poll(&mut self) -> Option<Output> {
        self.news().or_else(|| self.transfer())
    }

    /// The next thing that somebody is to be told.
    pub fn news(&mut self) -> Option<Output> {
        if let Some(told) = self.news.pop_front() {
            return Some(told);
        }
        let (id, news) = loop {
            let id = *self.tellers.first()?;
            match self.wires.get_mut(&id).and_then(|wire| wire.connection.news()) {
                Some(news) => break (id, news),
                None => self.tellers.remove(&id),
            };
        };
        self.sweep(id);
        Some(match news {
            News::Opened => Output::Opened(id),
            News::Refused(reason) => Output::Refused(id, reason),
            News::Said(bytes) => Output::Deliver { connection: id, bytes },
            News::Ended => Output::Close(id),
        })
    }

    /// Whether [`Mux::transfer`] may have something; `false`: it has nothing.
    #[must_use]
    pub fn may_speak(&self) -> bool {
        match self.link {
            Link::New => true,
            Link::Asked | Link::Incompatible => self.unfinished,
            Link::One | Link::Two(_) => {
                self.unfinished || self.setup_due || !self.strangers.is_empty() || !self.speakers.is_empty()
            }
        }
    }

    /// The next bulk OUT transfer; for whoever has room for one only now and then.
    pub fn transfer(&mut self) -> Option<Output> {
        if std::mem::take(&mut self.unfinished) {
            return Some(Output::Write(Vec::new()));
        }
        let bytes = match self.link {
            Link::New => {
                self.link = Link::Asked;
                Packet { numbers: None, message: Message::Version { major: 2, minor: 0 } }.encode()
            }
            Link::Asked | Link::Incompatible => return None,
            Link::One | Link::Two(_) if std::mem::take(&mut self.setup_due) => {
                let numbers = self.count();
                Packet { numbers, message: Message::Setup }.encode()
            }
            Link::One | Link::Two(_) => self.speak()?,
        };
        self.unfinished = bytes.len().is_multiple_of(self.unit);
        Some(Output::Write(bytes))
    }

    /// How many bytes the client of this connection may say now; 0 until it is open.
    #[must_use]
    pub fn room_bytes(&self, id: ConnectionId) -> usize {
        self.wires.get(&id).map_or(0, |wire| wire.connection.room_bytes())
    }

    /// Whether there is still something to say on this connection, or to hear.
    #[must_use]
    pub fn is_open(&self, id: ConnectionId) -> bool {
        self.wires.contains_key(&id)
    }

    /// Connections that there are now, with those whose end has not reached the phone.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.wires.len()
    }

    /// Bytes of the phone's and of clients that are kept now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let connections: usize = self.wires.values().map(|wire| wire.connection.held_bytes()).sum();
        connections + self.pieces.held_bytes()
    }

    fn with(&mut self, id: ConnectionId, what: impl FnOnce(&mut Connection)) {
        if let Some(wire) = self.wires.get_mut(&id) {
            what(&mut wire.connection);
            self.speakers.insert(id);
            self.sweep(id);
        }
    }

    /// Forgets a connection that is over.
    fn sweep(&mut self, id: ConnectionId) {
        if let Some(wire) = self.wires.get(&id).filter(|wire| wire.connection.is_over()) {
            self.at.remove(&wire.host_port);
            self.wires.remove(&id);
            self.speakers.remove(&id);
            self.tellers.remove(&id);
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let version = if matches!(self.link, Link::Two(_)) { Version::Two } else { Version::One };
        let packet = match Packet::parse(bytes, version) {
            Ok(packet) => packet,
            Err(error) => {
                tracing::debug!("a packet of the phone's is dropped: {error}");
                return;
            }
        };
        if let (Link::Two(own), Some(theirs)) = (&mut self.link, packet.numbers) {
            // What usbmuxd sends, and so what every phone has been seen to accept.
            own.seen = theirs.seen;
        }
        match packet.message {
            Message::Version { major, .. } => self.agree(major),
            Message::Control { kind, text } => self.remark(kind, text),
            Message::Segment(segment) if matches!(self.link, Link::One | Link::Two(_)) => {
                self.hear_segment(&segment);
            }
            Message::Setup | Message::Segment(_) => {}
        }
    }

    /// The phone's answer to VERSION; another one later means nothing.
    fn agree(&mut self, major: u32) {
        if self.link != Link::Asked {
            return;
        }
        let told = match major {
            1 => {
                self.link = Link::One;
                Output::Ready
            }
            2 => {
                self.link = Link::Two(Numbers { sent: 0, seen: NOTHING_SEEN });
                self.setup_due = true;
                Output::Ready
            }
            other => {
                self.link = Link::Incompatible;
                Output::Incompatible(other)
            }
        };
        self.news.push_back(told);
    }

    fn remark(&mut self, kind: u8, text: &[u8]) {
        const TEXT_BYTES_MAX: usize = 1024;
        let text = &text[..text.len().min(TEXT_BYTES_MAX)];
        // One that nobody has heard yet makes room: a phone cannot fill our memory with remarks.
        self.news.retain(|told| !matches!(told, Output::Remark { .. }));
        self.news.push_back(Output::Remark { kind, text: String::from_utf8_lossy(text).into_owned() });
    }

    fn hear_segment(&mut self, segment: &Segment<'_>) {
        let id = self.at.get(&segment.destination).copied();
        let wire = id.and_then(|id| self.wires.get_mut(&id).map(|wire| (id, wire)));
        match wire.filter(|(_, wire)| wire.phone_port == segment.source) {
            Some((id, wire)) => {
                wire.connection.hear(segment);
                self.speakers.insert(id);
                self.tellers.insert(id);
                self.sweep(id);
            }
            None if segment.flags & flags::RST == 0 && self.strangers.len() < STRANGERS_MAX => {
                self.strangers.push_back((segment.destination, segment.source, segment.sequence));
            }
            None => {}
        }
    }

    /// What the next connection in turn has to say.
    fn speak(&mut self) -> Option<Vec<u8>> {
        if let Some((host_port, phone_port, acknowledged)) = self.strangers.pop_front() {
            let word = Word { flags: flags::RST, sequence: 0, acknowledged, payload: Vec::new() };
            return Some(self.segment((host_port, phone_port), &word));
        }
        let header_bytes = if self.link == Link::One { SHORT_HEADER_BYTES } else { LONG_HEADER_BYTES };
        let payload_bytes_max = TRANSFER_BYTES_MAX - header_bytes - TCP_HEADER_BYTES;
        let (id, ports, word) = loop {
            let after = self.speakers.range((Bound::Excluded(self.served), Bound::Unbounded)).next();
            let id = *after.or_else(|| self.speakers.first())?;
            let said = self.wires.get_mut(&id).and_then(|wire| {
                Some(((wire.host_port, wire.phone_port), wire.connection.speak(payload_bytes_max)?))
            });
            match said {
                Some((ports, word)) => break (id, ports, word),
                None => self.speakers.remove(&id),
            };
        };
        self.served = id;
        self.sweep(id);
        Some(self.segment(ports, &word))
    }

    fn segment(&mut self, (host_port, phone_port): (u16, u16), word: &Word) -> Vec<u8> {
        let numbers = self.count();
        let message = Message::Segment(Segment {
            source: host_port,
            destination: phone_port,
            sequence: word.sequence,
            acknowledged: word.acknowledged,
            flags: word.flags,
            window_bytes: WINDOW_BYTES,
            payload: &word.payload,
        });
        Packet { numbers, message }.encode()
    }

    /// The numbers of the next packet.
    fn count(&mut self) -> Option<Numbers> {
        let Link::Two(own) = &mut self.link else { return None };
        let numbers = *own;
        own.sent = own.sent.wrapping_add(1);
        Some(numbers)
    }
}

#[cfg(test)]
mod tests;
