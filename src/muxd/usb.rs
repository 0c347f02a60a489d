//! Which Apple devices are plugged in, seen without any usbmuxd: also those that none lists.
//!
//! Product ids are those in usbmuxd's `usb.h` and libirecovery's `libirecovery.h`.

use std::time::Duration;

use rusb::{Device, DeviceDescriptor, UsbContext};

use super::sysfs::{self, Sysfs};
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
        held_by: entry.and_then(|entry| entry.held_by(bus, address)),
    })
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
}
