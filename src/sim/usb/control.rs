//! What the phone answers on its control endpoint: descriptors, configurations, and Apple's two requests about modes.
//!
//! Described by USB 2.0 §9.4 and usbmuxd's `usb.c`. The phone has the initial mode only and answers with its four
//! configurations: a phone that answers the question for its mode and shows one configuration is taken for one whose
//! multiplexer is switched off. Another mode it refuses, as phones do that are too old for it.

use super::descriptors::{self, Descriptors, Endpoints, MUX_ENDPOINTS, configuration, serial};
use crate::sim::config::Usb;
use crate::usbmux::Udid;

/// Interfaces of a configuration at most.
const INTERFACES_MAX: usize = 3;
/// The initial mode, and which others there would be.
const MODE_REPLY: [u8; 4] = [3, 3, 3, 0];
const INITIAL_MODE: u16 = 1;

mod request {
    pub(super) const STATUS: u8 = 0;
    pub(super) const CLEAR_FEATURE: u8 = 1;
    pub(super) const SET_FEATURE: u8 = 3;
    pub(super) const SET_ADDRESS: u8 = 5;
    pub(super) const DESCRIPTOR: u8 = 6;
    pub(super) const CONFIGURATION: u8 = 8;
    pub(super) const SET_CONFIGURATION: u8 = 9;
    pub(super) const INTERFACE: u8 = 10;
    pub(super) const SET_INTERFACE: u8 = 11;
    pub(super) const SET_LATENCIES: u8 = 48;
    pub(super) const SET_DELAY: u8 = 49;
    pub(super) const GET_MODE: u8 = 0x45;
    pub(super) const SET_MODE: u8 = 0x52;
}

/// The eight bytes that begin a control transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// `bmRequestType`: direction, owner and recipient.
    pub request_type: u8,
    /// `bRequest`.
    pub request: u8,
    /// `wValue`.
    pub value: u16,
    /// `wIndex`.
    pub index: u16,
    /// `wLength`: bytes that the host wants or sends.
    pub length: u16,
}

impl Setup {
    /// Reads the bytes; little endian.
    #[must_use]
    pub fn parse(bytes: [u8; 8]) -> Self {
        let [request_type, request, v0, v1, i0, i1, l0, l1] = bytes;
        let [value, index, length] = [[v0, v1], [i0, i1], [l0, l1]].map(u16::from_le_bytes);
        Self { request_type, request, value, index, length }
    }
}

/// How the phone answers a control transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It sends these bytes, never more than were asked for; none for a transfer towards it.
    Done(Vec<u8>),
    /// It has taken a configuration (0: none). What went on on the other endpoints is over, also when it had the same
    /// one before.
    Configured(u8),
    /// It sends these bytes, then leaves the bus and comes back.
    Leaves(Vec<u8>),
    /// It does not do that.
    Stall,
}

/// The phone's control endpoint.
#[derive(Debug)]
pub struct Control {
    descriptors: Descriptors,
    /// The value of the configuration; 0: none, as after power came on.
    configuration: u8,
    /// Each interface's alternate setting.
    alternates: [u8; INTERFACES_MAX],
}

impl Control {
    /// A phone that was just plugged in.
    #[must_use]
    pub fn new(udid: &Udid, usb: &Usb) -> Self {
        let descriptors = Descriptors { serial: serial(udid), product_id: usb.product_id, speed: usb.speed };
        Self { descriptors, configuration: 0, alternates: [0; INTERFACES_MAX] }
    }

    /// The endpoints of the multiplexer, if the configuration has one.
    #[must_use]
    pub fn mux_endpoints(&self) -> Option<Endpoints> {
        configuration(self.configuration)?.has_mux().then_some(MUX_ENDPOINTS)
    }

    /// USB packets on the multiplexer's endpoints have at most so many bytes: `wMaxPacketSize`.
    #[must_use]
    pub fn bulk_packet_bytes(&self) -> u16 {
        self.descriptors.bulk_packet_bytes()
    }

    /// Answers a transfer. No request that the phone knows has data from the host that matters to it.
    #[must_use]
    pub fn answer(&mut self, setup: &Setup) -> Answer {
        let mut answer = match setup.request_type {
            0x80..=0x82 => self.tell(setup),
            0x00..=0x02 => self.obey(setup),
            0xC0 => apples_own(setup),
            _ => Answer::Stall,
        };
        if let Answer::Done(bytes) | Answer::Leaves(bytes) = &mut answer {
            bytes.truncate(usize::from(setup.length));
        }
        answer
    }

    /// A standard request towards the host.
    fn tell(&self, setup: &Setup) -> Answer {
        let [low, high] = setup.value.to_le_bytes();
        let bytes = match (setup.request_type, setup.request) {
            // Powered by itself; interfaces and endpoints have nothing to report.
            (0x80, request::STATUS) => Some(vec![1, 0]),
            (_, request::STATUS) => Some(vec![0, 0]),
            (0x80, request::DESCRIPTOR) => self.descriptors.describe(high, low),
            (0x80, request::CONFIGURATION) => Some(vec![self.configuration]),
            (0x81, request::INTERFACE) => {
                let number = setup.index.to_le_bytes()[0];
                self.has(number, 0).then(|| vec![self.alternates[usize::from(number)]])
            }
            _ => None,
        };
        bytes.map_or(Answer::Stall, Answer::Done)
    }

    /// A standard request towards the phone.
    fn obey(&mut self, setup: &Setup) -> Answer {
        let done = Answer::Done(Vec::new());
        match (setup.request_type, setup.request) {
            (0x00, request::SET_CONFIGURATION) => match u8::try_from(setup.value) {
                Ok(value) if value == 0 || configuration(value).is_some() => {
                    self.configuration = value;
                    self.alternates = [0; INTERFACES_MAX];
                    Answer::Configured(value)
                }
                _ => Answer::Stall,
            },
            (0x01, request::SET_INTERFACE) => {
                let ([number, _], [alternate, _]) = (setup.index.to_le_bytes(), setup.value.to_le_bytes());
                if !self.has(number, alternate) {
                    return Answer::Stall;
                }
                self.alternates[usize::from(number)] = alternate;
                done
            }
            // The address is the bus' own affair; a halt never happens here, so that clearing one is easy.
            (0x00, request::SET_ADDRESS | request::SET_LATENCIES | request::SET_DELAY)
            | (_, request::CLEAR_FEATURE | request::SET_FEATURE) => done,
            _ => Answer::Stall,
        }
    }

    fn has(&self, number: u8, alternate: u8) -> bool {
        let interfaces = configuration(self.configuration).map_or(&[][..], |it| it.interfaces);
        interfaces.iter().any(|it| (it.number, it.alternate) == (number, alternate))
    }
}

fn apples_own(setup: &Setup) -> Answer {
    match setup.request {
        request::GET_MODE => Answer::Done(MODE_REPLY.to_vec()),
        request::SET_MODE if setup.index == INITIAL_MODE => Answer::Leaves(vec![0]),
        request::SET_MODE => Answer::Done(vec![1]),
        _ => Answer::Stall,
    }
}

/// Every interface number has its place among the alternate settings.
const _: () = {
    let mut at = 0;
    while at < descriptors::CONFIGURATIONS.len() {
        let interfaces = descriptors::CONFIGURATIONS[at].interfaces;
        let mut each = 0;
        while each < interfaces.len() {
            assert!((interfaces[each].number as usize) < INTERFACES_MAX);
            each += 1;
        }
        at += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    fn phone() -> Control {
        Control::new(&Udid::parse("00008101-000000000000001E").unwrap(), &Usb::default())
    }

    fn setup(request_type: u8, request: u8, value: u16, index: u16, length: u16) -> Setup {
        Setup { request_type, request, value, index, length }
    }

    #[test]
    fn an_answer_is_never_longer_than_asked_for() {
        for length in 0..20 {
            let Answer::Done(bytes) = phone().answer(&setup(0x80, 6, 0x0100, 0, length)) else {
                panic!("no device descriptor")
            };
            assert_eq!(bytes.len(), usize::from(length.min(18)));
        }
    }

    #[test]
    fn alternate_settings_end_with_their_configuration() {
        let mut phone = phone();
        assert_eq!(phone.answer(&setup(0x01, 11, 1, 2, 0)), Answer::Stall, "nothing is configured");
        assert_eq!(phone.answer(&setup(0, 9, 4, 0, 0)), Answer::Configured(4));
        assert_eq!(phone.answer(&setup(0x01, 11, 1, 2, 0)), Answer::Done(vec![]));
        assert_eq!(phone.answer(&setup(0x81, 10, 0, 2, 1)), Answer::Done(vec![1]));
        assert_eq!(phone.answer(&setup(0x01, 11, 2, 2, 0)), Answer::Stall);
        assert_eq!(phone.answer(&setup(0, 9, 4, 0, 0)), Answer::Configured(4));
        assert_eq!(phone.answer(&setup(0x81, 10, 0, 2, 1)), Answer::Done(vec![0]));
    }

    #[test]
    fn any_request_has_an_answer_and_unknown_ones_stall() {
        let mut phone = phone();
        for request_type in 0..=255 {
            for request in 0..=255 {
                for (value, index) in [(0, 0), (0x03FF, 0xFFFF), (0xFFFF, 0x0409), (4, 2), (0x0206, 0)] {
                    let answer = phone.answer(&setup(request_type, request, value, index, 9));
                    let known = matches!(request_type, 0..=2 | 0x80..=0x82 | 0xC0);
                    assert!(known || answer == Answer::Stall, "{request_type:#x} {request:#x}");
                }
            }
        }
    }
}
