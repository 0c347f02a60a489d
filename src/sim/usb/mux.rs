//! The phone's end of the mux protocol, as a state machine: bulk transfers and streams' doings in, bulk transfers and
//! deeds out.
//!
//! Described by usbmuxd's `device.c` and `usb.c`. Hosts do not forgive here: VERSION is answered with a short header;
//! one transfer is one packet, and one that fills its last USB packet is followed by an empty one; flags are exactly
//! SYN|ACK, ACK and RST; a segment that carries nothing is never acknowledged. Whatever the host sends, what is kept
//! has a bound.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

use super::connection::{Connection, Deed, Heard, Said};
use crate::usbmux::packet::{
    Assembler, LONG_HEADER_BYTES, Message, Numbers, Packet, SHORT_HEADER_BYTES, Segment, TCP_HEADER_BYTES,
    Version, WINDOW_BYTES, flags,
};

/// Connections at the same time, with those that the host has left and nobody has noticed yet.
pub const CONNECTIONS_MAX: usize = 512;
/// The longest packet that the phone sends, as iPhones do.
pub const TRANSFER_BYTES_MAX: usize = 0x7FFC;
/// Refusals that wait to be sent at most; a host that does not listen gets no more.
const REFUSALS_MAX: usize = 1024;
/// What is told to have been seen before anything was.
const NOTHING_SEEN: u16 = 0xFFFF;

/// The phone's own number for a connection; none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// What happens to the phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// A bulk OUT transfer, or a piece of one that the host's controller has split; empty: one of no bytes.
    Transfer(&'a [u8]),
    /// The port that [`Output::Open`] named is open.
    Opened(ConnectionId),
    /// It is not to be had.
    Refused(ConnectionId),
    /// The stream said something, at most [`Mux::room_bytes`].
    Said(ConnectionId, &'a [u8]),
    /// The stream has taken so many bytes of what was delivered.
    Took(ConnectionId, usize),
    /// The stream is over, in both directions.
    Ended(ConnectionId),
}

/// What the phone does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A bulk IN transfer, whole; empty: one of no bytes, which ends the one before.
    Transfer(Vec<u8>),
    /// Open this port, and say [`Input::Opened`] or [`Input::Refused`].
    Open {
        /// For this connection.
        connection: ConnectionId,
        /// The port.
        port: u16,
    },
    /// Hand these bytes to the stream, and say [`Input::Took`] as it takes them.
    Deliver {
        /// The connection.
        connection: ConnectionId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close the stream after what was delivered: the host has left. The connection is not mentioned again and does not
    /// count any more: whoever has the streams bounds how many may be closing.
    Close(ConnectionId),
}

/// The ports of a connection; no two connections have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ports {
    host: u16,
    phone: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// The host has not said which version it speaks.
    Silent,
    One,
    /// What the next packet has in its header.
    Two(Numbers),
}

#[derive(Debug)]
struct Wire {
    ports: Ports,
    connection: Connection,
}

#[derive(Debug)]
enum Reply {
    Version(u32),
    Segment(Ports, Said),
}

/// The phone's end.
#[derive(Debug)]
pub struct Mux {
    /// `wMaxPacketSize` of the endpoints.
    unit: usize,
    link: Link,
    pieces: Assembler,
    wires: BTreeMap<ConnectionId, Wire>,
    /// Those that the host has not left.
    at: HashMap<Ports, ConnectionId>,
    next_id: u64,
    replies: VecDeque<Reply>,
    /// The transfer that went out last wants an empty one after it.
    unfinished: bool,
    /// The connection that sent last; the others have their turn first.
    served: ConnectionId,
}

impl Mux {
    /// For endpoints whose USB packets have at most so many bytes (`wMaxPacketSize`).
    ///
    /// # Panics
    /// When that is 0.
    #[must_use]
    pub fn new(bulk_packet_bytes: u16) -> Self {
        let unit = usize::from(bulk_packet_bytes);
        Self {
            unit,
            link: Link::Silent,
            pieces: Assembler::new(unit),
            wires: BTreeMap::new(),
            at: HashMap::new(),
            next_id: 1,
            replies: VecDeque::new(),
            unfinished: false,
            served: ConnectionId(0),
        }
    }

    /// Takes what happened. About a connection that is over already nothing is heard any more.
    ///
    /// # Panics
    /// When a stream says more than there is room for, or takes more than it was given: that is no host's doing.
    pub fn handle(&mut self, input: Input<'_>) {
        match input {
            Input::Transfer(piece) => match self.pieces.push(piece) {
                Ok(Some(packet)) => self.hear(&packet),
                // Nothing is kept of it: it was skipped, with what came before.
                Ok(None) if self.pieces.held_bytes() == 0 => self.hear_anew(piece),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!("the simulated phone drops a transfer: {error}");
                    self.hear_anew(piece);
                }
            },
            Input::Opened(id) => self.with(id, Connection::open),
            Input::Said(id, bytes) => self.with(id, |connection| {
                if !connection.has_left() {
                    connection.say(bytes);
                }
            }),
            Input::Took(id, bytes) => self.with(id, |connection| connection.take(bytes)),
            Input::Refused(id) | Input::Ended(id) => self.end(id),
        }
    }

    /// The next thing to do: what there is beside the cable first.
    pub fn poll(&mut self) -> Option<Output> {
        self.deed().or_else(|| self.transfer())
    }

    /// The next thing to do beside the cable.
    pub fn deed(&mut self) -> Option<Output> {
        let (id, port, deed) = self.wires.iter_mut().find_map(|(id, wire)| {
            let deed = wire.connection.deed()?;
            Some((*id, wire.ports.phone, deed))
        })?;
        Some(match deed {
            Deed::Open => Output::Open { connection: id, port },
            Deed::Deliver(bytes) => Output::Deliver { connection: id, bytes },
            Deed::Close => {
                self.wires.remove(&id);
                Output::Close(id)
            }
        })
    }

    /// The next bulk IN transfer; for whoever wants none before the host asks for it.
    pub fn transfer(&mut self) -> Option<Output> {
        if std::mem::take(&mut self.unfinished) {
            return Some(Output::Transfer(Vec::new()));
        }
        let bytes = match self.replies.pop_front() {
            Some(Reply::Version(major)) => {
                Packet { numbers: None, message: Message::Version { major, minor: 0 } }.encode()
            }
            Some(Reply::Segment(ports, said)) => self.segment(ports, &said),
            None => {
                let (ports, said) = self.speak()?;
                self.segment(ports, &said)
            }
        };
        self.unfinished = bytes.len().is_multiple_of(self.unit);
        Some(Output::Transfer(bytes))
    }

    /// How many bytes the stream of this connection may say now; 0 until it is open, and after it has ended.
    #[must_use]
    pub fn room_bytes(&self, id: ConnectionId) -> usize {
        self.wires.get(&id).map_or(0, |wire| wire.connection.room_bytes())
    }

    /// Bytes of the host's and of streams that are kept now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let connections: usize = self.wires.values().map(|wire| wire.connection.held_bytes()).sum();
        connections + self.pieces.held_bytes()
    }

    fn with(&mut self, id: ConnectionId, what: impl FnOnce(&mut Connection)) {
        if let Some(wire) = self.wires.get_mut(&id) {
            what(&mut wire.connection);
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let version = if self.link == Link::One { Version::One } else { Version::Two };
        let packet = match Packet::parse(bytes, version) {
            Ok(packet) => packet,
            Err(error) => {
                tracing::debug!("the simulated phone drops a packet: {error}");
                return;
            }
        };
        if let (Link::Two(own), Some(theirs)) = (&mut self.link, packet.numbers) {
            // What the host has seen is its own affair: usbmuxd sends back what it was told.
            own.seen = theirs.sent;
        }
        match packet.message {
            Message::Version { major, .. } => self.begin(major),
            Message::Setup => {
                if let Link::Two(own) = &mut self.link {
                    own.sent = 0;
                }
            }
            Message::Segment(segment) if self.link != Link::Silent => self.hear_segment(&segment),
            Message::Segment(_) | Message::Control { .. } => {}
        }
    }

    /// A host that was started anew cannot know of the half packet that its predecessor left on the cable: its first
    /// word counts all the same.
    fn hear_anew(&mut self, piece: &[u8]) {
        if let Ok(Packet { message: Message::Version { major, .. }, .. }) = Packet::parse(piece, Version::Two)
        {
            self.begin(major);
        }
    }

    /// The host begins, perhaps anew: what an earlier one had open is over.
    fn begin(&mut self, major: u32) {
        for id in self.wires.keys().copied().collect::<Vec<_>>() {
            self.leave(id);
        }
        self.replies.clear();
        let major = if major == 1 { 1 } else { 2 };
        self.link = if major == 1 { Link::One } else { Link::Two(Numbers { sent: 0, seen: NOTHING_SEEN }) };
        self.replies.push_back(Reply::Version(major));
    }

    fn hear_segment(&mut self, segment: &Segment<'_>) {
        let ports = Ports { host: segment.source, phone: segment.destination };
        let Some(id) = self.at.get(&ports).copied() else {
            return self.hear_stranger(ports, segment);
        };
        let Some(wire) = self.wires.get_mut(&id) else { return };
        match wire.connection.hear(segment) {
            Heard::Fine => {}
            Heard::Ended => self.leave(id),
            Heard::Nonsense => {
                let reset = wire.connection.reset();
                self.refuse(ports, reset);
                self.leave(id);
            }
        }
    }

    /// A segment of no connection.
    fn hear_stranger(&mut self, ports: Ports, segment: &Segment<'_>) {
        let refusal =
            |acknowledged| Said { flags: flags::RST, sequence: 0, acknowledged, payload: Vec::new() };
        if segment.flags & flags::RST != 0 {
            return;
        }
        if segment.flags != flags::SYN {
            return self.refuse(ports, refusal(segment.sequence));
        }
        if self.wires.len() >= CONNECTIONS_MAX {
            return self.refuse(ports, refusal(segment.sequence.wrapping_add(1)));
        }
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.wires.insert(id, Wire { ports, connection: Connection::asked(segment) });
        self.at.insert(ports, id);
    }

    fn refuse(&mut self, ports: Ports, said: Said) {
        if self.replies.len() < REFUSALS_MAX {
            self.replies.push_back(Reply::Segment(ports, said));
        }
    }

    /// The host is gone from this connection. Its ports are free, and its stream is to be told.
    fn leave(&mut self, id: ConnectionId) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        if !wire.connection.has_left() {
            self.at.remove(&wire.ports);
            if !wire.connection.leave() {
                self.wires.remove(&id);
            }
        }
    }

    /// The stream is over, or never was.
    fn end(&mut self, id: ConnectionId) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let (ports, left, reset) = (wire.ports, wire.connection.has_left(), wire.connection.reset());
        if left {
            self.wires.remove(&id);
        } else if !wire.connection.end() {
            self.refuse(ports, reset);
            self.forget(id, ports);
        }
    }

    fn forget(&mut self, id: ConnectionId, ports: Ports) {
        self.wires.remove(&id);
        self.at.remove(&ports);
    }

    /// What the next connection in turn has to say.
    fn speak(&mut self) -> Option<(Ports, Said)> {
        let header_bytes = if self.link == Link::One { SHORT_HEADER_BYTES } else { LONG_HEADER_BYTES };
        let payload_bytes_max = TRANSFER_BYTES_MAX - header_bytes - TCP_HEADER_BYTES;
        let speaks = |(id, wire): (&ConnectionId, &mut Wire)| {
            Some((*id, wire.ports, wire.connection.speak(payload_bytes_max)?))
        };
        let after = (Bound::Excluded(self.served), Bound::Unbounded);
        let mut found = self.wires.range_mut(after).find_map(speaks);
        if found.is_none() {
            found = self.wires.range_mut(..=self.served).find_map(speaks);
        }
        let (id, ports, said) = found?;
        self.served = id;
        if said.flags == flags::RST {
            self.forget(id, ports);
        }
        Some((ports, said))
    }

    fn segment(&mut self, ports: Ports, said: &Said) -> Vec<u8> {
        let numbers = match &mut self.link {
            Link::Two(own) => {
                let numbers = *own;
                own.sent = own.sent.wrapping_add(1);
                Some(numbers)
            }
            Link::One | Link::Silent => None,
        };
        let message = Message::Segment(Segment {
            source: ports.phone,
            destination: ports.host,
            sequence: said.sequence,
            acknowledged: said.acknowledged,
            flags: said.flags,
            window_bytes: WINDOW_BYTES,
            payload: &said.payload,
        });
        Packet { numbers, message }.encode()
    }
}
