//! Both ends of the mux protocol against each other in one process: the host's of [`crate::muxd`], and the simulated
//! phone's. First stepped, then at work with a whole phone behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::{Answer, Phone, Setup, mux};
use crate::afc::Afc;
use crate::lockdown::{self, pairing};
use crate::muxd::{self, Bulk, Line, NoLine, WRITES_MAX};
use crate::progress::{CancellationToken, Silent};
use crate::sim::{Bus, Device, Rerouted};
use crate::usbmux::packet::READ_BYTES;
use crate::usbmux::{Error, Muxer};

mod hostile;
mod line;
mod muxer;

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
            Some(muxd::Output::Write(bytes)) => self.carry_to_phone(&bytes),
            Some(muxd::Output::Deliver { connection, bytes }) => {
                self.host.handle(muxd::Input::Took(connection, bytes.len()));
                self.heard.entry(connection).or_default().extend(bytes);
            }
            Some(muxd::Output::Close(id) | muxd::Output::Refused(id, _)) => self.over.push(id),
            _ => {}
        }
        match phone {
            Some(mux::Output::Transfer(bytes)) => self.carry_to_host(&bytes),
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
    fn carry_to_phone(&mut self, transfer: &[u8]) {
        if transfer.is_empty() {
            return self.phone.handle(mux::Input::Transfer(&[]));
        }
        for piece in transfer.chunks(usize::from(UNIT)) {
            self.phone.handle(mux::Input::Transfer(piece));
        }
    }

    /// A read is over when it is full or a USB packet was short.
    fn carry_to_host(&mut self, transfer: &[u8]) {
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

/// A phone in its last configuration, and a cable to it; the second of the two plugs it out.
async fn cable(bus: &Bus) -> (Bulk, tokio::task::JoinHandle<()>) {
    let attached = bus.devices().await.unwrap().remove(0);
    let mut phone = Phone::new(Arc::new(bus.clone()), attached, &crate::sim::config::Usb::default());
    let setup = Setup { request_type: 0, request: 9, value: 4, index: 0, length: 0 };
    assert_eq!(phone.control(&setup), Answer::Configured(4));
    let packet_bytes = phone.bulk_packet_bytes();
    let (reads_in, reads) = mpsc::channel(4);
    let (writes, mut writes_out) = mpsc::channel::<Vec<u8>>(WRITES_MAX);
    let plugged = tokio::spawn(async move {
        loop {
            while let Some(transfer) = phone.give() {
                for read in transfer.chunks(READ_BYTES) {
                    let Ok(()) = reads_in.send(read.to_vec()).await else { return };
                }
            }
            tokio::select! {
                () = phone.happens() => {}
                written = writes_out.recv() => match written {
                    Some(transfer) if transfer.is_empty() => phone.take(&[]),
                    Some(transfer) => transfer.chunks(packet_bytes.into()).for_each(|piece| phone.take(piece)),
                    None => return,
                },
            }
        }
    });
    (Bulk { reads, writes, packet_bytes }, plugged)
}

/// A bus whose one phone is reached over the mux protocol.
fn over_usb(bus: Bus, line: Line) -> impl Muxer {
    Rerouted::new(bus, move |_, _, port| {
        let line = line.clone();
        async move { line.connect(port).await }
    })
}

pub(super) fn phone_folder(bytes: usize) -> (tempfile::TempDir, Bus) {
    phone_with(bytes, "")
}

fn phone_with(bytes: usize, settings: &str) -> (tempfile::TempDir, Bus) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("media/DCIM")).unwrap();
    let content: Vec<u8> = (0..bytes).map(|at| (at * 31 % 251) as u8).collect();
    std::fs::write(folder.path().join("media/DCIM/clip.mov"), content).unwrap();
    let settings = format!("[person]\ntrusts_after_ms = 1\n{settings}");
    std::fs::write(folder.path().join("device.toml"), settings).unwrap();
    let bus = Bus::new(vec![Device::open(folder.path(), false).unwrap()]);
    (folder, bus)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_phone_is_paired_and_read_over_the_mux_protocol() {
    let (folder, bus) = phone_folder(3_000_000);
    let (bulk, plugged) = cable(&bus).await;
    let line = Line::open(bulk).await.unwrap();
    assert!(matches!(line.connect(9).await, Err(Error::Refused(9))));
    let muxer: Arc<dyn Muxer> = Arc::new(over_usb(bus, line.clone()));
    let attached = muxer.devices().await.unwrap().remove(0);
    let phone = lockdown::Phone { muxer, attached };
    let wait = Duration::from_secs(20);
    let session = pairing::establish(&phone, wait, &Silent, &CancellationToken::new()).await.unwrap();
    let there = std::fs::read(folder.path().join("media/DCIM/clip.mov")).unwrap();
    let afc = Afc::open(&session).await.unwrap();
    assert!(afc.read_file("/DCIM/clip.mov", 4_000_000).await.unwrap() == there);
    // Pulled out in the middle of things: whoever waits is told.
    let mut waiting = line.connect(lockdown::PORT).await.unwrap();
    plugged.abort();
    line.gone().await;
    assert!(waiting.read_u8().await.is_err() && waiting.write_all(&[0; 300_000]).await.is_err());
    assert!(matches!(line.connect(lockdown::PORT).await, Err(Error::NoSuchDevice)));
}

#[tokio::test]
async fn a_phone_that_says_nothing_or_the_wrong_version_or_leaves_is_no_line() {
    let bulk = || {
        let (phone, reads) = mpsc::channel(4);
        let (writes, written) = mpsc::channel(WRITES_MAX);
        (Bulk { reads, writes, packet_bytes: UNIT }, phone, written)
    };
    let (ends, phone, _written) = bulk();
    phone.send([&[0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 9][..], &[0; 8]].concat()).await.unwrap();
    assert_eq!(Line::open(ends).await.unwrap_err(), NoLine::Incompatible(9));
    let (ends, phone, _written) = bulk();
    drop(phone);
    assert_eq!(Line::open(ends).await.unwrap_err(), NoLine::Gone);
    let (ends, _phone, _written) = bulk();
    assert_eq!(Line::open(ends).await.unwrap_err(), NoLine::Silent);
}
