//! Both ends of the mux protocol, stepped against each other in one process: the host's of [`crate::muxd`], and the
//! simulated phone's.

use std::collections::HashMap;

use super::mux;
use crate::muxd;
use crate::usbmux::packet::READ_BYTES;

const UNIT: u16 = 512;

/// The two ends and the cable between them. What is delivered is taken at once; the phone's ports echo.
struct Ends {
    host: muxd::Mux,
    phone: mux::Mux,
    heard: HashMap<muxd::ConnectionId, Vec<u8>>,
    waiting: HashMap<mux::ConnectionId, Vec<u8>>,
    over: Vec<muxd::ConnectionId>,
}

impl Ends {
    fn new() -> Self {
        Self {
            host: muxd::Mux::new(UNIT),
            phone: mux::Mux::new(UNIT),
            heard: HashMap::new(),
            waiting: HashMap::new(),
            over: Vec::new(),
        }
    }

    /// One thing at either end; false: nothing is left to do.
    fn step(&mut self) -> bool {
        let host = self.host.poll();
        let phone = self.phone.poll();
        let idle = host.is_none() && phone.is_none();
        match host {
            Some(muxd::Output::Write(bytes)) => self.to_phone(&bytes),
            Some(muxd::Output::Deliver { connection, bytes }) => {
                self.host.handle(muxd::Input::Took(connection, bytes.len()));
                self.heard.entry(connection).or_default().extend(bytes);
            }
            Some(muxd::Output::Close(id) | muxd::Output::Refused(id, _)) => self.over.push(id),
            _ => {}
        }
        match phone {
            Some(mux::Output::Transfer(bytes)) => self.to_host(&bytes),
            Some(mux::Output::Open { connection, port: 7 }) => {
                self.phone.handle(mux::Input::Opened(connection));
            }
            Some(mux::Output::Open { connection, .. }) => self.phone.handle(mux::Input::Refused(connection)),
            Some(mux::Output::Deliver { connection, bytes }) => {
                self.phone.handle(mux::Input::Took(connection, bytes.len()));
                self.waiting.entry(connection).or_default().extend(bytes);
            }
            _ => {}
        }
        let echoed = self.echo();
        !idle || echoed
    }

    fn echo(&mut self) -> bool {
        let mut moved = false;
        for (id, bytes) in &mut self.waiting {
            let room = self.phone.room_bytes(*id).min(bytes.len());
            if room > 0 {
                self.phone.handle(mux::Input::Said(*id, &bytes[..room]));
                bytes.drain(..room);
                moved = true;
            }
        }
        moved
    }

    /// The phone's controller hands over USB packets as they are.
    fn to_phone(&mut self, transfer: &[u8]) {
        if transfer.is_empty() {
            return self.phone.handle(mux::Input::Transfer(&[]));
        }
        for piece in transfer.chunks(usize::from(UNIT)) {
            self.phone.handle(mux::Input::Transfer(piece));
        }
    }

    /// A read is over when it is full or a USB packet was short.
    fn to_host(&mut self, transfer: &[u8]) {
        for read in transfer.chunks(READ_BYTES) {
            self.host.handle(muxd::Input::Read(read));
        }
    }

    fn rest(&mut self) {
        while self.step() {}
    }
}

#[test]
fn megabytes_go_there_and_back_on_many_connections_at_once() {
    let mut ends = Ends::new();
    ends.rest();
    let wires: Vec<_> = (0..9).map(|_| ends.host.open(7).unwrap()).collect();
    let refused = ends.host.open(8).unwrap();
    ends.rest();
    assert_eq!(ends.over, [refused]);
    let said: Vec<Vec<u8>> =
        (0..9_u32).map(|n| (0..900_000 + n).map(|at| (at * 7 + n).to_le_bytes()[0]).collect()).collect();
    let mut given = [0; 9];
    while (0..9).any(|n| given[n] < said[n].len()) {
        for n in 0..9 {
            let room = ends.host.room_bytes(wires[n]).min(said[n].len() - given[n]);
            ends.host.handle(muxd::Input::Said(wires[n], &said[n][given[n]..given[n] + room]));
            given[n] += room;
        }
        ends.rest();
    }
    for (wire, said) in wires.iter().zip(&said) {
        assert!(ends.heard[wire] == *said);
        ends.host.handle(muxd::Input::Ended(*wire));
    }
    ends.rest();
    assert_eq!((ends.host.connections(), ends.host.held_bytes(), ends.phone.held_bytes()), (0, 0, 0));
}

#[test]
fn a_phone_that_ends_a_connection_has_its_last_words_heard() {
    let mut ends = Ends::new();
    let id = ends.host.open(7).unwrap();
    ends.rest();
    ends.host.handle(muxd::Input::Said(id, b"last words"));
    for _ in 0..100 {
        ends.step();
    }
    let there = *ends.waiting.keys().next().unwrap();
    ends.phone.handle(mux::Input::Ended(there));
    ends.rest();
    assert_eq!((ends.heard[&id].as_slice(), ends.over.as_slice()), (&b"last words"[..], &[id][..]));
    assert_eq!(ends.host.connections(), 0);
}
