//! The host's end of the mux protocol against a phone that says anything: it keeps to its bounds, sends nothing that is
//! malformed, and tells a client what its phone said, once and in order.

use std::collections::BTreeMap;

use idevice_fix::muxd::{CONNECTIONS_MAX, ConnectionId, Input, Mux, Output, TRANSFER_BYTES_MAX};
use idevice_fix::usbmux::packet::{
    Message, Numbers, PACKET_BYTES_MAX, Packet, READ_BYTES, Segment, Version, flags,
};

use super::source::{Source, said_from};

/// What waits in either direction on one connection: the window that usbmuxd grants, once and twice, and a reason.
const HELD_BYTES_MAX: usize = (128 << 10) + (256 << 10) + PACKET_BYTES_MAX;
const OUTPUTS_MAX: usize = 100_000;

/// What a client and the phone know of a connection.
#[derive(Default)]
struct Wire {
    /// The host's and the phone's.
    ports: (u16, u16),
    is_open: bool,
    /// Its client has gone, or was told that it is over.
    is_over: bool,
    told: usize,
    taken: usize,
    said: usize,
    /// Of what the client said, this has reached the phone.
    heard: usize,
    /// The number of the phone's next byte, as the phone sees it.
    next: u32,
}

struct Bench {
    mux: Mux,
    unit: usize,
    wires: BTreeMap<ConnectionId, Wire>,
    version: Option<Version>,
    /// An empty transfer is due.
    owes_empty: bool,
    /// Bytes came that nobody knows the meaning of: what clients are told may be anything.
    is_noisy: bool,
}

pub(crate) fn run(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let unit = [512, 64, 1024, 1][source.below(4)];
    let mut bench = Bench {
        mux: Mux::new(unit),
        unit: usize::from(unit),
        wires: BTreeMap::new(),
        version: None,
        owes_empty: false,
        is_noisy: false,
    };
    while !source.is_empty() {
        let choice = source.byte();
        bench.happens(choice & 0x0f, &mut source);
        if choice & 0x80 == 0 {
            bench.drain();
        }
        bench.keeps_its_bounds();
    }
    bench.drain();
    for id in bench.wires.keys().copied().collect::<Vec<_>>() {
        bench.mux.handle(Input::Abandoned(id));
        bench.wires.entry(id).or_default().is_over = true;
    }
    bench.drain();
    assert_eq!(bench.mux.connections(), 0, "connections outlive their clients");
}

impl Bench {
    fn happens(&mut self, choice: u8, source: &mut Source<'_>) {
        match choice {
            0 => {
                let most = usize::from(source.byte());
                self.is_noisy = true;
                self.mux.handle(Input::Read(source.take(most)));
            }
            1 => {
                let filled = vec![source.byte(); source.below(READ_BYTES + 1)];
                self.is_noisy = true;
                self.mux.handle(Input::Read(&filled));
            }
            2 => self.hears(Packet {
                numbers: None,
                message: Message::Version { major: u32::from(source.byte() % 4), minor: 0 },
            }),
            3 => {
                let (kind, text) = (source.byte(), source.take(8).to_vec());
                self.hears_message(Message::Control { kind, text: &text });
            }
            4..=8 => self.phone_speaks(choice, source),
            9 => {
                let port = source.half();
                if let Some(id) = self.mux.open(port) {
                    // The host counts its ports up; no bytes are enough to use them all.
                    let host_port = u16::try_from(self.wires.len() + 1).expect("a short run");
                    let wire = Wire { ports: (host_port, port), ..Wire::default() };
                    assert!(self.wires.insert(id, wire).is_none(), "a number is used twice");
                }
            }
            10 | 11 => self.client_says(source),
            12 => self.client_takes(source),
            13 => self.client_leaves(source),
            _ => {
                let count = source.below(64);
                for _ in 0..count {
                    let Some(output) = self.mux.transfer() else { break };
                    self.does(output);
                }
            }
        }
    }

    fn which(&self, source: &mut Source<'_>) -> Option<ConnectionId> {
        let at = source.below(self.wires.len());
        self.wires.keys().nth(at).copied()
    }

    /// A segment of a connection that there is, mostly in order.
    fn phone_speaks(&mut self, choice: u8, source: &mut Source<'_>) {
        let Some(id) = self.which(source) else { return };
        let wire = self.wires.get_mut(&id).expect("just found");
        let (host_port, phone_port) = wire.ports;
        let known = [flags::SYN_ACK, flags::ACK, flags::ACK, flags::RST, source.byte()];
        let flags = known[usize::from(choice - 4)];
        let bytes = if flags == flags::ACK { source.below(33_000) } else { 0 };
        let odd = if choice == 8 { source.word() } else { 0 };
        let sequence = wire.next.wrapping_add(odd);
        if flags == flags::ACK && wire.is_open && odd == 0 {
            wire.next = wire.next.wrapping_add(bytes as u32);
        }
        self.is_noisy |= choice == 8;
        let place = (sequence as usize).saturating_sub(1);
        let payload = said_from(place, bytes);
        let acknowledged = match source.byte() {
            0..=199 => 1 + wire.heard as u32,
            200..=230 => 1,
            _ => source.word(),
        };
        let window_bytes = u32::from(source.half()) << 8;
        self.hears_message(Message::Segment(Segment {
            source: phone_port,
            destination: host_port,
            sequence,
            acknowledged,
            flags,
            window_bytes,
            payload: &payload,
        }));
    }

    fn hears_message(&mut self, message: Message<'_>) {
        let numbers = (self.version == Some(Version::Two)).then_some(Numbers { sent: 7, seen: 9 });
        self.hears(Packet { numbers, message });
    }

    fn hears(&mut self, packet: Packet<'_>) {
        let bytes = packet.encode();
        for piece in bytes.chunks(READ_BYTES) {
            self.mux.handle(Input::Read(piece));
        }
        if bytes.len().is_multiple_of(READ_BYTES) {
            self.mux.handle(Input::Read(&[]));
        }
    }

    fn client_says(&mut self, source: &mut Source<'_>) {
        let Some(id) = self.which(source) else { return };
        let wire = self.wires.get_mut(&id).expect("just found");
        let room = if wire.is_over { 0 } else { self.mux.room_bytes(id) };
        let bytes = source.below(1 << 16).min(room);
        let said = said_from(wire.said, bytes);
        wire.said += bytes;
        if !wire.is_over {
            self.mux.handle(Input::Said(id, &said));
        }
    }

    fn client_takes(&mut self, source: &mut Source<'_>) {
        let Some(id) = self.which(source) else { return };
        let wire = self.wires.get_mut(&id).expect("just found");
        let bytes = source.below(1 << 16).min(wire.told - wire.taken);
        wire.taken += bytes;
        self.mux.handle(Input::Took(id, bytes));
    }

    fn client_leaves(&mut self, source: &mut Source<'_>) {
        let Some(id) = self.which(source) else { return };
        self.wires.get_mut(&id).expect("just found").is_over = true;
        let leaves = if source.byte() & 1 == 0 { Input::Ended(id) } else { Input::Abandoned(id) };
        self.mux.handle(leaves);
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            let Some(output) = self.mux.poll() else { return };
            self.does(output);
        }
        panic!("it never comes to rest");
    }

    fn does(&mut self, output: Output) {
        match output {
            Output::Write(bytes) => self.writes(&bytes),
            Output::Ready => {}
            Output::Opened(id) => {
                let wire = self.mentioned(id);
                assert!(!wire.is_open, "opened twice");
                (wire.is_open, wire.next) = (true, 1);
            }
            Output::Refused(id, reason) => {
                let wire = self.mentioned(id);
                assert!(!wire.is_open && reason.len() <= 3 * 200, "{reason}");
                wire.is_over = true;
            }
            Output::Deliver { connection, bytes } => {
                let is_noisy = self.is_noisy;
                let wire = self.mentioned(connection);
                assert!(wire.is_open && !bytes.is_empty());
                assert!(is_noisy || bytes == said_from(wire.told, bytes.len()), "out of order");
                wire.told += bytes.len();
            }
            Output::Close(id) => {
                let wire = self.mentioned(id);
                wire.is_over = true;
            }
            Output::Remark { text, .. } => assert!(text.len() <= 3 * 1024),
            Output::Incompatible(major) => assert!(major != 1 && major != 2),
        }
    }

    fn mentioned(&mut self, id: ConnectionId) -> &mut Wire {
        let wire = self.wires.get_mut(&id).expect("only what was opened is mentioned");
        assert!(!wire.is_over, "{id:?} is mentioned after its end");
        wire
    }

    fn writes(&mut self, bytes: &[u8]) {
        if std::mem::take(&mut self.owes_empty) {
            return assert!(bytes.is_empty(), "a full transfer is not ended");
        }
        assert!(!bytes.is_empty() && bytes.len() <= TRANSFER_BYTES_MAX);
        self.owes_empty = bytes.len().is_multiple_of(self.unit);
        let parsed = [Version::One, Version::Two]
            .into_iter()
            .find_map(|version| Some((version, Packet::parse(bytes, version).ok()?)));
        let (version, packet) = parsed.expect("what is sent is well formed");
        match packet.message {
            Message::Version { .. } => {}
            Message::Setup => self.version = Some(Version::Two),
            Message::Segment(segment) => {
                self.version.get_or_insert(version);
                self.phone_hears(&segment);
            }
            Message::Control { .. } => panic!("a host has nothing to remark"),
        }
    }

    fn phone_hears(&mut self, segment: &Segment<'_>) {
        let ports = (segment.source, segment.destination);
        let wire = self.wires.values_mut().find(|wire| wire.ports == ports);
        if segment.flags == flags::SYN {
            return assert!(wire.is_some() && segment.sequence == 0 && segment.payload.is_empty());
        }
        if segment.payload.is_empty() {
            return;
        }
        let wire = wire.expect("data of a connection");
        assert_eq!(segment.flags, flags::ACK);
        assert_eq!(segment.sequence as usize, 1 + wire.heard, "a byte is missing or comes twice");
        assert_eq!(segment.payload, said_from(wire.heard, segment.payload.len()));
        wire.heard += segment.payload.len();
        assert!(wire.heard <= wire.said);
    }

    fn keeps_its_bounds(&self) {
        let connections = self.mux.connections();
        assert!(connections <= CONNECTIONS_MAX);
        assert!(self.mux.held_bytes() <= connections * HELD_BYTES_MAX + PACKET_BYTES_MAX);
    }
}

/// A version, an opened port, words on it, and the end of it.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let agreed = |major: u8| [&[0, 0][..], &[14, 1, 0], &[2, major], &[9, 1, 0]].concat();
    let grant = [4, 0, 0, 0, 0, 0, 2];
    let word = [5, 0, 0, 0, 100, 0, 0, 0, 2];
    let talk = [&grant[..], &word, &[12, 0, 0, 50, 0], &[10, 0, 0, 200, 0], &word, &[13, 0, 0, 0]].concat();
    let mut seeds = vec![vec![], [agreed(2), talk.clone()].concat(), [agreed(1), talk].concat()];
    seeds.push([agreed(2), grant.to_vec(), vec![7, 0, 0, 0, 0, 0, 0]].concat());
    seeds.push([agreed(2), vec![8, 0, 0, 255, 1, 2, 3, 4, 231, 9, 9, 9, 9, 0, 0]].concat());
    seeds.push([agreed(3), vec![0, 4, 1, 2, 3, 4]].concat());
    seeds
}
