//! The simulated phone's end of the mux protocol against a host that says anything.

use std::collections::BTreeMap;

use idevice_fix::sim::usb::{CONNECTIONS_MAX, ConnectionId, Input, Mux, Output, TRANSFER_BYTES_MAX};
use idevice_fix::usbmux::packet::{Message, Numbers, PACKET_BYTES_MAX, Packet, Segment, Version, flags};

use super::source::{Source, said_from};

/// What waits in either direction on one connection: the window, twice, and what one packet goes beyond it.
const HELD_BYTES_MAX: usize = 2 * (128 << 10) + PACKET_BYTES_MAX;
const OUTPUTS_MAX: usize = 100_000;
const UNIT: u16 = 512;

/// What the service behind a port knows of its connection.
#[derive(Default)]
struct Stream {
    told: usize,
    taken: usize,
    said: usize,
    has_ended: bool,
    is_closed: bool,
}

struct Bench {
    mux: Mux,
    streams: BTreeMap<ConnectionId, Stream>,
    /// The number of the host's next byte on its connection from this port to port 62078.
    next: [u32; 16],
    version: Version,
    owes_empty: bool,
}

pub(crate) fn run(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let mut bench = Bench {
        mux: Mux::new(UNIT),
        streams: BTreeMap::new(),
        next: [0; 16],
        version: Version::Two,
        owes_empty: false,
    };
    while !source.is_empty() {
        let choice = source.byte();
        bench.happens(choice & 0x0f, &mut source);
        if choice & 0x80 == 0 {
            bench.drain();
        }
        let most = 2 * CONNECTIONS_MAX * HELD_BYTES_MAX;
        assert!(bench.mux.held_bytes() <= most.min(bench.streams.len() * HELD_BYTES_MAX + PACKET_BYTES_MAX));
    }
    bench.drain();
}

impl Bench {
    fn happens(&mut self, choice: u8, source: &mut Source<'_>) {
        match choice {
            0 => {
                let most = usize::from(source.byte());
                self.mux.handle(Input::Transfer(source.take(most)));
            }
            1 => self.mux.handle(Input::Transfer(&vec![source.byte(); source.below(PACKET_BYTES_MAX)])),
            2 => {
                let major = u32::from(source.byte() % 4);
                self.version = if major == 1 { Version::One } else { Version::Two };
                self.hears(Packet { numbers: None, message: Message::Version { major, minor: 0 } });
            }
            3 => self.hears_message(Message::Setup),
            4..=8 => self.host_speaks(choice, source),
            9 | 10 => self.port_opens(source),
            11 => self.stream_says(source),
            12 => self.stream_takes(source),
            13 => self.stream_ends(source),
            _ => {
                for _ in 0..source.below(64) {
                    let Some(output) = self.mux.transfer() else { break };
                    self.does(output);
                }
            }
        }
    }

    fn host_speaks(&mut self, choice: u8, source: &mut Source<'_>) {
        let port = source.byte() % 16;
        let next = &mut self.next[usize::from(port)];
        let known = [flags::SYN, flags::ACK, flags::ACK, flags::RST, source.byte()];
        let flags = known[usize::from(choice - 4)];
        if flags == flags::SYN {
            *next = 0;
        }
        let bytes = if flags == flags::ACK { source.below(60_000) } else { 0 };
        let odd = if choice == 8 { source.word() } else { 0 };
        let sequence = next.wrapping_add(odd);
        *next = next.wrapping_add(if flags == flags::SYN { 1 } else { bytes as u32 });
        let acknowledged = if source.byte() < 128 { 1 + u32::from(source.half()) } else { source.word() };
        self.hears_message(Message::Segment(Segment {
            source: u16::from(port) + 1,
            destination: 62078,
            sequence,
            acknowledged,
            flags,
            window_bytes: u32::from(source.half()) << 8,
            payload: &vec![port; bytes],
        }));
    }

    fn hears_message(&mut self, message: Message<'_>) {
        let numbers = (self.version == Version::Two).then_some(Numbers { sent: 7, seen: 9 });
        self.hears(Packet { numbers, message });
    }

    fn hears(&mut self, packet: Packet<'_>) {
        let bytes = packet.encode();
        for piece in bytes.chunks(UNIT.into()) {
            self.mux.handle(Input::Transfer(piece));
        }
        if bytes.len().is_multiple_of(UNIT.into()) {
            self.mux.handle(Input::Transfer(&[]));
        }
    }

    fn which(&self, source: &mut Source<'_>) -> Option<ConnectionId> {
        let at = source.below(self.streams.len());
        self.streams.keys().nth(at).copied()
    }

    fn port_opens(&mut self, source: &mut Source<'_>) {
        let Some(id) = self.which(source) else { return };
        let refused = source.byte().is_multiple_of(8);
        if refused {
            self.streams.get_mut(&id).expect("just found").has_ended = true;
        }
        self.mux.handle(if refused { Input::Refused(id) } else { Input::Opened(id) });
    }

    fn stream_says(&mut self, source: &mut Source<'_>) {
        let Some(id) = self.which(source) else { return };
        let stream = self.streams.get_mut(&id).expect("just found");
        let bytes = source.below(1 << 16).min(self.mux.room_bytes(id));
        let said = said_from(stream.said, bytes);
        stream.said += bytes;
        self.mux.handle(Input::Said(id, &said));
    }

    fn stream_takes(&mut self, source: &mut Source<'_>) {
        let Some(id) = self.which(source) else { return };
        let stream = self.streams.get_mut(&id).expect("just found");
        let bytes = source.below(1 << 16).min(stream.told - stream.taken);
        stream.taken += bytes;
        self.mux.handle(Input::Took(id, bytes));
    }

    fn stream_ends(&mut self, source: &mut Source<'_>) {
        let Some(id) = self.which(source) else { return };
        self.streams.get_mut(&id).expect("just found").has_ended = true;
        self.mux.handle(Input::Ended(id));
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
            Output::Transfer(bytes) => self.sends(&bytes),
            Output::Open { connection, .. } => {
                assert!(
                    self.streams.insert(connection, Stream::default()).is_none(),
                    "a number is used twice"
                );
            }
            Output::Deliver { connection, bytes } => {
                let stream = self.streams.get_mut(&connection).expect("only what was opened is delivered to");
                assert!(!bytes.is_empty() && !stream.has_ended && !stream.is_closed);
                stream.told += bytes.len();
            }
            Output::Close(connection) => {
                let stream = self.streams.get_mut(&connection).expect("only what was opened is closed");
                assert!(!std::mem::replace(&mut stream.is_closed, true), "closed twice");
            }
        }
    }

    fn sends(&mut self, bytes: &[u8]) {
        if std::mem::take(&mut self.owes_empty) {
            return assert!(bytes.is_empty(), "a full transfer is not ended");
        }
        assert!(!bytes.is_empty() && bytes.len() <= TRANSFER_BYTES_MAX);
        self.owes_empty = bytes.len().is_multiple_of(UNIT.into());
        let parsed = [Version::One, Version::Two].into_iter().find_map(|v| Packet::parse(bytes, v).ok());
        let packet = parsed.expect("what is sent is well formed");
        if let Message::Segment(segment) = packet.message {
            let known = [flags::SYN_ACK, flags::ACK, flags::RST];
            assert!(known.contains(&segment.flags), "hosts do not forgive");
            assert!(segment.payload.is_empty() || segment.flags == flags::ACK);
        }
    }
}

/// A version, a connection, words in both directions, its end; a host that begins anew.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let begin = |major: u8| vec![2, major, 3];
    let ask = [4, 1, 0, 0, 0, 0, 0, 2];
    let open = [9, 0, 0, 1];
    let ack = [5, 1, 0, 0, 0, 0, 0, 0, 0, 2];
    let word = [5, 1, 0, 0, 200, 0, 0, 0, 0, 2];
    let talk = [&ask[..], &open, &ack, &word, &[12, 0, 0, 100, 0], &[11, 0, 0, 0, 9], &[13, 0, 0]].concat();
    vec![
        vec![],
        [begin(2), talk.clone()].concat(),
        [begin(1), talk.clone()].concat(),
        [begin(2), talk.clone(), begin(2), talk].concat(),
        [begin(2), ask.to_vec(), vec![7, 1, 0, 0, 0, 0, 0]].concat(),
    ]
}
