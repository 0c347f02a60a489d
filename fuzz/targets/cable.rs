//! Both ends of the mux protocol on one cable: whatever their clients and services do, and in whatever order, what one
//! side says the other is told, all of it and in order.

use std::collections::{BTreeMap, VecDeque};

use idevice_fix::muxd::{self, Input as HostInput, Output as HostOutput};
use idevice_fix::sim::usb::{self, Input as PhoneInput, Output as PhoneOutput};
use idevice_fix::usbmux::packet::READ_BYTES;

use super::source::{Source, said_from};

const UNIT: u16 = 512;
const STEPS_MAX: usize = 1_000_000;

/// One side of a connection.
#[derive(Default)]
struct Side {
    is_open: bool,
    said: usize,
    told: usize,
    taken: usize,
    has_left: bool,
}

struct Cable {
    host: muxd::Mux,
    phone: usb::Mux,
    clients: BTreeMap<muxd::ConnectionId, Side>,
    services: BTreeMap<usb::ConnectionId, Side>,
    /// Opened and granted in the same order: connection by connection, who belongs to whom.
    asked: VecDeque<muxd::ConnectionId>,
    pairs: BTreeMap<usb::ConnectionId, muxd::ConnectionId>,
}

pub(crate) fn run(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let mut cable = Cable {
        host: muxd::Mux::new(UNIT),
        phone: usb::Mux::new(UNIT),
        clients: BTreeMap::new(),
        services: BTreeMap::new(),
        asked: VecDeque::new(),
        pairs: BTreeMap::new(),
    };
    cable.rests();
    while !source.is_empty() {
        cable.happens(source.byte(), &mut source);
    }
    cable.everybody_takes_all();
    for (service, client) in &cable.pairs {
        let (service, client) = (&cable.services[service], &cable.clients[client]);
        if !service.has_left && !client.has_left {
            assert!(client.is_open && service.is_open);
            assert_eq!((client.told, service.told), (service.said, client.said), "something is missing");
        }
    }
}

impl Cable {
    fn happens(&mut self, choice: u8, source: &mut Source<'_>) {
        match choice % 10 {
            0 if self.clients.len() < 64 => {
                let id = self.host.open(62078).expect("there is room");
                self.clients.insert(id, Side::default());
                // One after the other, so that it is known whose connection the phone opens.
                self.asked.push_back(id);
                self.rests();
            }
            1 | 2 => self.client_says(source),
            3 | 4 => self.service_says(source),
            5 => {
                let bytes = source.below(1 << 16);
                self.takes(source, bytes);
            }
            6 if source.byte() < 64 => self.somebody_leaves(source),
            7 => {
                self.host_to_phone(source.below(8));
            }
            8 => {
                self.phone_to_host(source.below(8));
            }
            _ => self.rests(),
        }
    }

    fn client_says(&mut self, source: &mut Source<'_>) {
        let at = source.below(self.clients.len());
        let Some((id, side)) = self.clients.iter_mut().nth(at) else { return };
        if side.has_left {
            return;
        }
        let bytes = source.below(1 << 16).min(self.host.room_bytes(*id));
        let said = said_from(side.said, bytes);
        side.said += bytes;
        self.host.handle(HostInput::Said(*id, &said));
    }

    fn service_says(&mut self, source: &mut Source<'_>) {
        let at = source.below(self.services.len());
        let Some((id, side)) = self.services.iter_mut().nth(at) else { return };
        let bytes = source.below(1 << 16).min(self.phone.room_bytes(*id));
        let said = said_from(side.said, bytes);
        side.said += bytes;
        self.phone.handle(PhoneInput::Said(*id, &said));
    }

    fn takes(&mut self, source: &mut Source<'_>, bytes: usize) {
        let at = source.below(self.clients.len() + self.services.len());
        if let Some((id, side)) = self.clients.iter_mut().nth(at) {
            let bytes = bytes.min(side.told - side.taken);
            side.taken += bytes;
            self.host.handle(HostInput::Took(*id, bytes));
        } else if let Some((id, side)) = self.services.iter_mut().nth(at - self.clients.len()) {
            let bytes = bytes.min(side.told - side.taken);
            side.taken += bytes;
            self.phone.handle(PhoneInput::Took(*id, bytes));
        }
    }

    fn somebody_leaves(&mut self, source: &mut Source<'_>) {
        let at = source.below(self.clients.len() + self.services.len());
        if let Some((id, side)) = self.clients.iter_mut().nth(at) {
            side.has_left = true;
            self.host.handle(HostInput::Ended(*id));
        } else if let Some((id, side)) = self.services.iter_mut().nth(at - self.clients.len()) {
            side.has_left = true;
            self.phone.handle(PhoneInput::Ended(*id));
        }
    }

    /// At most so many transfers; false: there are no more.
    fn host_to_phone(&mut self, most: usize) -> bool {
        for _ in 0..most {
            let Some(HostOutput::Write(bytes)) = self.host.transfer() else { return false };
            if bytes.is_empty() {
                self.phone.handle(PhoneInput::Transfer(&[]));
            }
            bytes.chunks(UNIT.into()).for_each(|piece| self.phone.handle(PhoneInput::Transfer(piece)));
            self.phone_acts();
        }
        true
    }

    fn phone_to_host(&mut self, most: usize) -> bool {
        for _ in 0..most {
            let Some(PhoneOutput::Transfer(bytes)) = self.phone.transfer() else { return false };
            if bytes.is_empty() {
                self.host.handle(HostInput::Read(&[]));
            }
            bytes.chunks(READ_BYTES).for_each(|piece| self.host.handle(HostInput::Read(piece)));
            self.host_acts();
        }
        true
    }

    fn phone_acts(&mut self) {
        while let Some(deed) = self.phone.deed() {
            match deed {
                PhoneOutput::Open { connection, .. } => {
                    let client = self.asked.pop_front().expect("only what was asked for is opened");
                    self.pairs.insert(connection, client);
                    self.services.insert(connection, Side { is_open: true, ..Side::default() });
                    self.phone.handle(PhoneInput::Opened(connection));
                }
                PhoneOutput::Deliver { connection, bytes } => {
                    let side = self.services.get_mut(&connection).expect("opened");
                    assert_eq!(bytes, said_from(side.told, bytes.len()), "out of order");
                    side.told += bytes.len();
                }
                PhoneOutput::Close(connection) => {
                    let client = self.pairs[&connection];
                    assert!(self.clients[&client].has_left, "nobody has left");
                    self.services.get_mut(&connection).expect("opened").has_left = true;
                }
                PhoneOutput::Transfer(_) => panic!("a deed is no transfer"),
            }
        }
    }

    fn host_acts(&mut self) {
        while let Some(news) = self.host.news() {
            match news {
                HostOutput::Opened(id) => self.clients.get_mut(&id).expect("asked for").is_open = true,
                HostOutput::Deliver { connection, bytes } => {
                    let side = self.clients.get_mut(&connection).expect("asked for");
                    assert_eq!(bytes, said_from(side.told, bytes.len()), "out of order");
                    side.told += bytes.len();
                }
                HostOutput::Close(id) | HostOutput::Refused(id, _) => {
                    let service =
                        self.pairs.iter().find(|(_, client)| **client == id).map(|(service, _)| service);
                    assert!(
                        service.is_some_and(|service| self.services[service].has_left),
                        "nobody has left"
                    );
                    self.clients.get_mut(&id).expect("asked for").has_left = true;
                }
                HostOutput::Ready | HostOutput::Remark { .. } => {}
                HostOutput::Write(_) | HostOutput::Incompatible(_) => panic!("{news:?} is no news here"),
            }
        }
    }

    /// Until neither side has anything to send.
    fn rests(&mut self) {
        for _ in 0..STEPS_MAX {
            let (more, back) = (self.host_to_phone(1), self.phone_to_host(1));
            self.host_acts();
            self.phone_acts();
            if !more && !back {
                return;
            }
        }
        panic!("they never come to rest");
    }

    fn everybody_takes_all(&mut self) {
        for _ in 0..STEPS_MAX {
            self.rests();
            let mut moved = 0;
            for (id, side) in self.clients.iter_mut().filter(|(_, side)| side.taken < side.told) {
                moved += side.told - side.taken;
                self.host.handle(HostInput::Took(*id, side.told - side.taken));
                side.taken = side.told;
            }
            for (id, side) in self.services.iter_mut().filter(|(_, side)| side.taken < side.told) {
                moved += side.told - side.taken;
                self.phone.handle(PhoneInput::Took(*id, side.told - side.taken));
                side.taken = side.told;
            }
            if moved == 0 {
                return;
            }
        }
        panic!("it never ends");
    }
}

/// Two connections that talk both ways, one of which ends in the middle.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let talk = [1, 0, 0, 255, 255, 3, 0, 0, 255, 255, 7, 3, 0, 8, 2, 0, 5, 255, 127, 0, 0, 9];
    let more = [1, 1, 0, 99, 1, 3, 1, 0, 255, 9, 5, 255, 127, 3, 0, 9];
    vec![
        vec![],
        [&[0][..], &talk, &[9]].concat(),
        [&[0, 0][..], &talk, &more, &talk, &[6, 0, 1, 0], &talk, &more].concat(),
        [&[0, 0][..], &talk, &more, &[6, 0, 2, 0], &talk, &more, &[0], &talk].concat(),
    ]
}
