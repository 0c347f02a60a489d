//! The phone's USB descriptors: what each of its four configurations has, and the strings.
//!
//! Configurations, classes and endpoint addresses are those that iPhones show in public logs; the layout is that of
//! USB 2.0 §9.6 and USB 3.2 §9.6. Of the audio and HID interfaces only the shape is there: the functions behind
//! everything but the multiplexer are not simulated.

use crate::sim::config::Speed;
use crate::usbmux::Udid;

/// Apple.
const VENDOR: u16 = 0x05ac;
/// What an iPhone was seen to say; no host reads it.
const DEVICE_VERSION: u16 = 0x1502;
/// US English, the only language.
const LANGUAGE: u16 = 0x0409;
/// UTF-16 units of the serial number's string, however short the number is.
const SERIAL_UNITS: usize = 40;

mod kind {
    pub(super) const DEVICE: u8 = 1;
    pub(super) const CONFIGURATION: u8 = 2;
    pub(super) const STRING: u8 = 3;
    pub(super) const INTERFACE: u8 = 4;
    pub(super) const ENDPOINT: u8 = 5;
    pub(super) const QUALIFIER: u8 = 6;
    pub(super) const OTHER_SPEED: u8 = 7;
    pub(super) const BOS: u8 = 15;
    pub(super) const COMPANION: u8 = 48;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transfer {
    Isochronous,
    Bulk,
    Interrupt,
}

/// An interface in one of its alternate settings.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) number: u8,
    pub(super) alternate: u8,
    /// Class, subclass, protocol.
    class: [u8; 3],
    endpoints: &'static [(u8, Transfer)],
}

/// A configuration. Its value is its place in [`CONFIGURATIONS`], from 1.
#[derive(Debug)]
pub(super) struct Configuration {
    name: &'static str,
    pub(super) interfaces: &'static [Interface],
}

const PTP: Interface = Interface {
    number: 0,
    alternate: 0,
    class: [6, 1, 1],
    endpoints: &[(0x02, Transfer::Bulk), (0x81, Transfer::Bulk), (0x83, Transfer::Interrupt)],
};

/// The one that usbmuxd looks for: exactly two endpoints, and before any other interface of the vendor's.
const MUX: Interface = Interface {
    number: 1,
    alternate: 0,
    class: [255, 254, 2],
    endpoints: &[(MUX_ENDPOINTS.out, Transfer::Bulk), (MUX_ENDPOINTS.input, Transfer::Bulk)],
};

const fn interface(
    number: u8,
    alternate: u8,
    class: [u8; 3],
    endpoints: &'static [(u8, Transfer)],
) -> Interface {
    Interface { number, alternate, class, endpoints }
}

pub(super) const CONFIGURATIONS: [Configuration; 4] = [
    Configuration { name: "PTP", interfaces: &[PTP] },
    Configuration {
        name: "iPod USB Interface",
        interfaces: &[
            interface(0, 0, [1, 1, 0], &[]),
            interface(1, 0, [1, 2, 0], &[]),
            interface(1, 1, [1, 2, 0], &[(0x81, Transfer::Isochronous)]),
            interface(2, 0, [3, 0, 0], &[(0x83, Transfer::Interrupt)]),
        ],
    },
    Configuration { name: "PTP + Apple Mobile Device", interfaces: &[PTP, MUX] },
    Configuration {
        name: "PTP + Apple Mobile Device + Apple USB Ethernet",
        interfaces: &[
            PTP,
            MUX,
            // Without endpoints until it is switched on: some hosts take any vendor interface with two for the mux.
            interface(2, 0, [255, 253, 1], &[]),
            interface(2, 1, [255, 253, 1], &[(0x06, Transfer::Bulk), (0x87, Transfer::Bulk)]),
        ],
    },
];

/// The bulk endpoints of the multiplexer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoints {
    /// Address of the one from the host to the phone.
    pub out: u8,
    /// Address of the one from the phone to the host.
    pub input: u8,
}

pub(super) const MUX_ENDPOINTS: Endpoints = Endpoints { out: 0x04, input: 0x85 };

/// The configuration with this value.
pub(super) fn configuration(value: u8) -> Option<&'static Configuration> {
    CONFIGURATIONS.get(usize::from(value).checked_sub(1)?)
}

impl Configuration {
    pub(super) fn has_mux(&self) -> bool {
        self.interfaces.iter().any(|interface| interface.class == MUX.class)
    }
}

/// The serial number as USB has it: the id without its hyphen.
#[must_use]
pub fn serial(udid: &Udid) -> String {
    udid.as_str().chars().filter(|c| *c != '-').collect()
}

/// What a port of the phone was asked for, written out.
#[derive(Debug, Clone)]
pub(super) struct Descriptors {
    pub(super) serial: String,
    pub(super) product_id: u16,
    pub(super) speed: Speed,
}

impl Descriptors {
    /// The descriptor of this kind and number, in full. `None`: the phone has none.
    pub(super) fn describe(&self, kind: u8, index: u8) -> Option<Vec<u8>> {
        let high = self.speed == Speed::High;
        match kind {
            kind::DEVICE => Some(self.device()),
            kind::CONFIGURATION => {
                let speed = if high { Rate::High } else { Rate::Super };
                self::configuration_bytes(index, kind, speed)
            }
            kind::STRING => self.string(index),
            kind::QUALIFIER if high => Some(qualifier()),
            kind::OTHER_SPEED if high => self::configuration_bytes(index, kind, Rate::Full),
            kind::BOS if !high => Some(capabilities()),
            _ => None,
        }
    }

    /// USB packets on the bulk endpoints have at most so many bytes.
    pub(super) fn bulk_packet_bytes(&self) -> u16 {
        match self.speed {
            Speed::High => Rate::High.bulk_packet_bytes(),
            Speed::Super => Rate::Super.bulk_packet_bytes(),
        }
    }

    fn device(&self) -> Vec<u8> {
        // The largest packet on the control endpoint: 64 bytes, or 2 to the power of 9.
        let (release, control_packet) = match self.speed {
            Speed::High => (0x0200_u16, 64),
            Speed::Super => (0x0310, 9),
        };
        let mut bytes = vec![18, kind::DEVICE];
        bytes.extend(release.to_le_bytes());
        // Class, subclass and protocol: the interfaces say.
        bytes.extend([0, 0, 0, control_packet]);
        for number in [VENDOR, self.product_id, DEVICE_VERSION] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([1, 2, 3, 4]);
        bytes
    }

    fn string(&self, index: u8) -> Option<Vec<u8>> {
        let mut units: Vec<u16> = match index {
            0 => vec![LANGUAGE],
            1 => "Apple Inc.".encode_utf16().collect(),
            2 => "iPhone".encode_utf16().collect(),
            3 => self.serial.encode_utf16().take(SERIAL_UNITS).collect(),
            4.. => configuration(index - 3)?.name.encode_utf16().collect(),
        };
        if index == 3 {
            units.resize(SERIAL_UNITS, 0);
        }
        let length = u8::try_from(2 + 2 * units.len()).ok()?;
        let mut bytes = vec![length, kind::STRING];
        bytes.extend(units.into_iter().flat_map(u16::to_le_bytes));
        Some(bytes)
    }
}

/// The speeds that descriptors are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rate {
    Full,
    High,
    Super,
}

impl Rate {
    fn bulk_packet_bytes(self) -> u16 {
        match self {
            Self::Full => 64,
            Self::High => 512,
            Self::Super => 1024,
        }
    }
}

/// `index` counts from 0, the value from 1.
fn configuration_bytes(index: u8, kind: u8, rate: Rate) -> Option<Vec<u8>> {
    let value = index.checked_add(1)?;
    let configuration = configuration(value)?;
    let body: Vec<u8> = configuration.interfaces.iter().flat_map(|it| interface_bytes(it, rate)).collect();
    let settings = configuration.interfaces.iter().filter(|interface| interface.alternate == 0).count();
    let mut bytes = vec![9, kind];
    bytes.extend(u16::try_from(9 + body.len()).ok()?.to_le_bytes());
    // Powered by itself; 500 mA, or 896.
    let power = if rate == Rate::Super { 896 / 8 } else { 500 / 2 };
    bytes.extend([u8::try_from(settings).ok()?, value, value + 3, 0xC0, u8::try_from(power).ok()?]);
    bytes.extend(body);
    Some(bytes)
}

fn interface_bytes(interface: &Interface, rate: Rate) -> Vec<u8> {
    let [class, subclass, protocol] = interface.class;
    let endpoints = u8::try_from(interface.endpoints.len()).expect("the table has at most three");
    let mut bytes = vec![9, kind::INTERFACE, interface.number, interface.alternate, endpoints];
    bytes.extend([class, subclass, protocol, 0]);
    for (address, transfer) in interface.endpoints {
        let (attributes, packet_bytes, interval) = match transfer {
            Transfer::Isochronous => (0x05, 192, 4),
            Transfer::Bulk => (0x02, rate.bulk_packet_bytes(), 0),
            Transfer::Interrupt => (0x03, 64, 10),
        };
        bytes.extend([7, kind::ENDPOINT, *address, attributes]);
        bytes.extend(packet_bytes.to_le_bytes());
        bytes.push(interval);
        if rate == Rate::Super {
            let per_interval = if *transfer == Transfer::Bulk { 0 } else { packet_bytes };
            bytes.extend([6, kind::COMPANION, 0, 0]);
            bytes.extend(per_interval.to_le_bytes());
        }
    }
    bytes
}

/// What the phone would be at the other speed of USB 2.
fn qualifier() -> Vec<u8> {
    vec![10, kind::QUALIFIER, 0x00, 0x02, 0, 0, 0, 64, 4, 0]
}

/// USB 3: what the link can do.
fn capabilities() -> Vec<u8> {
    let mut bytes = vec![5, kind::BOS, 22, 0, 2];
    // USB 2.0 extension: link power management.
    bytes.extend([7, 16, 2, 0x02, 0, 0, 0]);
    // SuperSpeed: full, high and super speed, all functions from full speed on, its latencies.
    bytes.extend([10, 16, 3, 0, 0x0E, 0, 1, 10, 0xFF, 0x07]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Descriptors; 2] {
        [Speed::High, Speed::Super].map(|speed| Descriptors {
            serial: "000081010000000000000001".to_owned(),
            product_id: 0x12a8,
            speed,
        })
    }

    /// The descriptors in a configuration, one by one.
    fn parts(bytes: &[u8]) -> Vec<&[u8]> {
        let mut rest = bytes;
        let mut parts = Vec::new();
        while let [length, ..] = rest {
            let (part, after) = rest.split_at(usize::from(*length));
            parts.push(part);
            rest = after;
        }
        parts
    }

    #[test]
    fn every_configuration_adds_up() {
        for descriptors in all() {
            for index in 0..4 {
                for kind in [kind::CONFIGURATION, kind::OTHER_SPEED] {
                    let Some(bytes) = descriptors.describe(kind, index) else {
                        assert_eq!((kind, descriptors.speed), (kind::OTHER_SPEED, Speed::Super));
                        continue;
                    };
                    let total = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
                    assert_eq!((bytes.len(), bytes[1], bytes[5]), (total, kind, index + 1));
                    assert!(descriptors.describe(kind::STRING, bytes[6]).is_some(), "its name");
                    let parts = parts(&bytes);
                    let interfaces = parts.iter().filter(|part| part[1] == kind::INTERFACE);
                    let promised: usize = interfaces.clone().map(|part| usize::from(part[4])).sum();
                    assert_eq!(parts.iter().filter(|part| part[1] == kind::ENDPOINT).count(), promised);
                    assert_eq!(interfaces.filter(|part| part[3] == 0).count(), usize::from(bytes[4]));
                }
            }
            assert_eq!(descriptors.describe(kind::CONFIGURATION, 4), None);
            assert_eq!(descriptors.describe(kind::CONFIGURATION, 255), None);
        }
    }

    #[test]
    fn a_host_that_takes_any_vendor_interface_with_two_endpoints_finds_the_multiplexer_first() {
        for descriptors in all() {
            let bytes = descriptors.describe(kind::CONFIGURATION, 3).unwrap();
            let parts = parts(&bytes);
            let mut candidates = parts.iter().filter(|part| {
                let loosely = part[1] == kind::INTERFACE && part[3] == 0 && part[4] == 2;
                loosely && (part[5] == 255 || part[6] == 254 || part[7] == 2)
            });
            assert_eq!(candidates.next().map(|part| part[2]), Some(MUX.number));
            assert_eq!(candidates.next(), None);
        }
    }

    #[test]
    fn capabilities_have_the_length_that_they_announce() {
        let bytes = capabilities();
        assert_eq!((bytes.len(), parts(&bytes).len()), (usize::from(bytes[2]), usize::from(bytes[4]) + 1));
    }
}
