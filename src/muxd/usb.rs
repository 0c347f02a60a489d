//! Which Apple devices are plugged in, seen without any usbmuxd: also those that none lists.
//!
//! Product ids are those in usbmuxd's `usb.h` and libirecovery's `libirecovery.h`.

use std::time::Duration;

use rusb::{Device, DeviceDescriptor, UsbContext};

use super::sysfs::{self, DEVICE_DESCRIPTOR_BYTES, Sysfs};
use super::{descriptors, plug};
use crate::usbmux::Udid;

pub(super) const APPLE: u16 = 0x05ac;
/// The longest wait for each of the two answers that a serial number takes.
const STRING_WAIT: Duration = Duration::from_millis(400);

/// What runs on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// iOS.
    Normal,
    /// The boot loader: a restore was broken off, or somebody asked for it.
    Recovery,
    /// Nothing but the chip's own loader.
    Dfu,
}

impl Mode {
    /// What the product id of one of Apple's devices says; `None`: it is no phone or tablet.
    #[must_use]
    pub fn of_product(id: u16) -> Option<Self> {
        match id {
            0x1290..=0x12af => Some(Self::Normal),
            0x1280..=0x1283 => Some(Self::Recovery),
            0x1227 => Some(Self::Dfu),
            _ => None,
        }
    }
}

/// An Apple device on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBus {
    /// What runs on it.
    pub mode: Mode,
    /// USB product id.
    pub product_id: u16,
    /// Number of the bus.
    pub bus: u8,
    /// Address on the bus.
    pub address: u8,
    /// Who it is, if its serial number says so; never in recovery and DFU mode.
    pub udid: Option<Udid>,
    /// The unique chip id, which is what recovery and DFU mode tell.
    pub ecid: Option<u64>,
    /// Whether this user may open it. Where not, only what the system had read is known.
    pub permitted: bool,
    /// Whether one of its configurations has the multiplexer; `None`: the system does not tell.
    pub has_multiplexer: Option<bool>,
    /// The program that uses its multiplexer, when that can be seen: a process name, or "another program".
    pub held_by: Option<String>,
}

/// The Apple devices on the bus now, ordered by bus and address. A machine without USB has none.
///
/// Blocks for less than a second for each device: keep it off the runtime's own threads.
#[must_use]
pub fn list() -> Vec<OnBus> {
    // No context and no list mean that there is no USB here, in a container for example.
    let Ok(devices) = rusb::Context::new().and_then(|context| context.devices()) else {
        return Vec::new();
    };
    let sysfs = Sysfs::system();
    let mut found: Vec<OnBus> = devices.iter().filter_map(|device| look_at(&device, &sysfs)).collect();
    found.sort_by_key(|device| (device.bus, device.address));
    found
}

fn look_at<T: UsbContext>(device: &Device<T>, sysfs: &Sysfs) -> Option<OnBus> {
    let descriptor = device.device_descriptor().ok()?;
    if descriptor.vendor_id() != APPLE {
        return None;
    }
    let mode = Mode::of_product(descriptor.product_id())?;
    let (bus, address) = (device.bus_number(), device.address());
    let opened = device.open();
    let permitted = !matches!(opened, Err(rusb::Error::Access));
    let entry = sysfs.device(bus, address);
    // What the kernel read at plug-in costs no transfer and needs no permission.
    let known = entry.as_ref().and_then(sysfs::Device::serial);
    let serial = known.or_else(|| opened.ok().and_then(|handle| read_serial(&handle, &descriptor)));
    let serial = serial.unwrap_or_default();
    Some(OnBus {
        mode,
        product_id: descriptor.product_id(),
        bus,
        address,
        udid: (mode == Mode::Normal).then(|| Udid::parse(&serial)).flatten(),
        ecid: ecid(&serial),
        permitted,
        has_multiplexer: entry
            .as_ref()
            .and_then(sysfs::Device::configurations)
            .and_then(|it| is_described(&it)),
        held_by: entry.and_then(|entry| entry.held_by(bus, address)),
    })
}

/// Whether one of a device's configurations has the multiplexer, in descriptors as the kernel keeps them: the device's
/// own, and then those of its configurations. `None`: no configuration is described.
#[must_use]
pub fn has_multiplexer(descriptors: &[u8]) -> Option<bool> {
    is_described(descriptors.get(DEVICE_DESCRIPTOR_BYTES..)?)
}

fn is_described(configurations: &[u8]) -> Option<bool> {
    let described = descriptors::parse(configurations);
    (!described.is_empty()).then(|| plug::choose(&described).is_some())
}

pub(super) fn read_serial<T: UsbContext>(
    handle: &rusb::DeviceHandle<T>,
    descriptor: &DeviceDescriptor,
) -> Option<String> {
    let language = *handle.read_languages(STRING_WAIT).ok()?.first()?;
    let text = handle.read_serial_number_string(language, descriptor, STRING_WAIT).ok()?;
    // Phones fill the string up with zeros.
    Some(text.split('\0').next().unwrap_or_default().to_owned())
}

/// The unique chip id out of a boot loader's serial number, `CPID:8101 … ECID:001C2D3E4F5A6B7C …`.
fn ecid(serial: &str) -> Option<u64> {
    let hex = serial.split_whitespace().find_map(|word| word.strip_prefix("ECID:"))?;
    u64::from_str_radix(hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_phones_has_an_empty_list_and_no_error() {
        // Whatever is plugged in here, looking is quick and does not fail.
        for device in list() {
            assert!(Mode::of_product(device.product_id).is_some());
        }
    }

    #[test]
    fn modes_are_told_by_the_product_id() {
        assert_eq!(Mode::of_product(0x12a8), Some(Mode::Normal));
        assert_eq!(Mode::of_product(0x12ab), Some(Mode::Normal));
        assert_eq!(Mode::of_product(0x1281), Some(Mode::Recovery));
        assert_eq!(Mode::of_product(0x1227), Some(Mode::Dfu));
        assert_eq!(Mode::of_product(0x024f), None, "a keyboard");
    }

    #[test]
    fn the_chip_id_is_found_in_a_boot_loaders_serial_number() {
        let serial =
            "CPID:8101 CPRV:11 CPFM:03 SCEP:01 BDID:0C ECID:001C2D3E4F5A6B7C IBFL:3C SRNM:[F2LXXXXXXXXX]";
        assert_eq!(ecid(serial), Some(0x001c_2d3e_4f5a_6b7c));
        assert_eq!(ecid("00008101000000000000001E"), None);
        assert_eq!(ecid("ECID:nothing"), None);
    }

    #[test]
    fn a_multiplexer_is_found_in_any_configuration_and_not_where_nothing_is_described() {
        let configuration = |value: u8, interface: &[u8]| {
            let length = u8::try_from(9 + interface.len()).unwrap();
            [&[9, 2, length, 0, 1, value, 0, 0xC0, 250], interface].concat()
        };
        let camera = [9, 4, 0, 0, 0, 6, 1, 1, 0];
        let mux = [9, 4, 1, 0, 2, 255, 254, 2, 0, 7, 5, 0x04, 2, 0, 2, 0, 7, 5, 0x85, 2, 0, 2, 0];
        let device = [0; DEVICE_DESCRIPTOR_BYTES];
        let first = [&device[..], &configuration(1, &camera)].concat();
        assert_eq!(has_multiplexer(&first), Some(false));
        let both = [&first[..], &configuration(3, &mux)].concat();
        assert_eq!(has_multiplexer(&both), Some(true));
        for length in 0..=device.len() {
            assert_eq!(has_multiplexer(&both[..length]), None, "{length}");
        }
    }
}
