//! What Linux tells of a USB device in its file system, without opening the device: documented in the kernel's
//! `Documentation/ABI/stable/sysfs-bus-usb`. On other systems nothing is there and nothing is found.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A serial number in recovery mode has about 150 characters.
const TEXT_BYTES_MAX: usize = 512;
/// The device's own descriptor stands before those of its configurations.
pub(super) const DEVICE_DESCRIPTOR_BYTES: usize = 18;
/// All descriptors of a device; a phone's take less than 2 KiB.
const DESCRIPTORS_BYTES_MAX: u64 = 256 << 10;
/// Processes that are looked at to name the one that uses a device.
const PROCESSES_MAX: usize = 10_000;

/// The kernel's view of the buses.
#[derive(Debug, Clone)]
pub(super) struct Sysfs {
    devices: PathBuf,
    processes: PathBuf,
    udev: PathBuf,
}

impl Sysfs {
    pub(super) fn system() -> Self {
        Self { devices: "/sys/bus/usb/devices".into(), processes: "/proc".into(), udev: "/run/udev".into() }
    }

    /// Every device on the buses that is made by `vendor`. `None`: there is no such tree.
    ///
    /// # Errors
    /// When something that is there cannot be read: too many files are open, for example.
    pub(super) fn made_by(&self, vendor: u16) -> io::Result<Option<Vec<Plugged>>> {
        let entries = match fs::read_dir(&self.devices) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut made = Vec::new();
        for entry in entries {
            let entry = entry?;
            // Interfaces have a colon in their names, and no vendor.
            if !entry.file_name().as_encoded_bytes().contains(&b':') {
                made.extend(made_by(&entry.path(), vendor)?);
            }
        }
        Ok(Some(made))
    }

    /// The device at this address.
    pub(super) fn device(&self, bus: u8, address: u8) -> Option<Device> {
        let entries = fs::read_dir(&self.devices).ok()?;
        let mut folders = entries.flatten().map(|entry| entry.path());
        let is_it = |folder: &PathBuf| {
            number(&folder.join("busnum")) == Some(bus) && number(&folder.join("devnum")) == Some(address)
        };
        folders.find(is_it).map(|folder| Device { folder, processes: self.processes.clone() })
    }

    /// Whether udev has applied its rules to a device, or does not run: it has an entry then, until the device leaves.
    pub(super) fn is_seen_to(&self, device: &Device) -> bool {
        let entry = || Some(self.udev.join(format!("data/c{}", text(&device.folder.join("dev"))?)));
        !self.udev.join("control").exists() || entry().is_none_or(|entry| entry.exists())
    }
}

/// A device as its descriptor names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plugged {
    pub(super) bus: u8,
    pub(super) address: u8,
    pub(super) product_id: u16,
    /// 0: not told.
    pub(super) megabits_per_s: u64,
}

/// One device.
#[derive(Debug)]
pub(super) struct Device {
    folder: PathBuf,
    processes: PathBuf,
}

impl Device {
    /// The serial number as the kernel read it at plug-in.
    pub(super) fn serial(&self) -> Option<String> {
        text(&self.folder.join("serial")).filter(|serial| !serial.is_empty())
    }

    /// The value of its configuration, 0 without one; `None`: it is gone.
    pub(super) fn configuration(&self) -> Option<u8> {
        let value = text(&self.folder.join("bConfigurationValue"))?;
        if value.is_empty() { Some(0) } else { value.parse().ok() }
    }

    /// The descriptors of its configurations as the kernel read them at plug-in, one after the other.
    pub(super) fn configurations(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = fs::File::open(self.folder.join("descriptors")).ok()?;
        file.take(DESCRIPTORS_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        (bytes.len() > DEVICE_DESCRIPTOR_BYTES).then(|| bytes.split_off(DEVICE_DESCRIPTOR_BYTES))
    }

    /// How long it has been plugged in.
    pub(super) fn plugged_for(&self) -> Option<Duration> {
        let ms = text(&self.folder.join("power/connected_duration"))?.parse().ok()?;
        Some(Duration::from_millis(ms))
    }

    /// The program that has claimed the multiplexer's interface.
    pub(super) fn held_by(&self, bus: u8, address: u8) -> Option<String> {
        if !self.multiplexer_is_claimed() {
            return None;
        }
        let node = PathBuf::from(format!("/dev/bus/usb/{bus:03}/{address:03}"));
        Some(self.process_with(&node).unwrap_or_else(|| "another program".to_owned()))
    }

    /// A program claims an interface through the driver `usbfs`.
    pub(super) fn multiplexer_is_claimed(&self) -> bool {
        let Some(name) = self.folder.file_name().and_then(|name| name.to_str()) else { return false };
        // The device 1-2 has the interfaces 1-2:4.0, 1-2:4.1, …, beside it and, in the kernel's tree, below it.
        let prefix = format!("{name}:");
        let Ok(entries) = fs::read_dir(&self.folder) else { return false };
        let folders = entries.flatten().map(|entry| entry.path());
        folders
            .filter(|folder| {
                folder.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with(&prefix))
            })
            .any(|folder| is_multiplexer(&folder) && driver(&folder).as_deref() == Some("usbfs"))
    }

    /// The name of the process that has `node` open; other users' processes are seen by root only.
    fn process_with(&self, node: &Path) -> Option<String> {
        let processes = fs::read_dir(&self.processes).ok()?.flatten().take(PROCESSES_MAX);
        for process in processes.map(|entry| entry.path()) {
            let Ok(files) = fs::read_dir(process.join("fd")) else { continue };
            let has_it = |file: fs::DirEntry| fs::read_link(file.path()).is_ok_and(|target| target == node);
            if files.flatten().any(has_it) {
                return text(&process.join("comm"));
            }
        }
        None
    }
}

/// The device in this folder of the tree, if it is `vendor`'s and is still there.
fn made_by(folder: &Path, vendor: u16) -> io::Result<Option<Plugged>> {
    let hex = |file: &str| {
        let text = line(&folder.join(file))?;
        Ok::<_, io::Error>(text.and_then(|text| u16::from_str_radix(&text, 16).ok()))
    };
    let number =
        |file: &str| Ok::<_, io::Error>(line(&folder.join(file))?.and_then(|text| text.parse().ok()));
    if hex("idVendor")? != Some(vendor) {
        return Ok(None);
    }
    let (Some(bus), Some(address), Some(product_id)) =
        (number("busnum")?, number("devnum")?, hex("idProduct")?)
    else {
        return Ok(None);
    };
    // "1.5" is the one speed that is no whole number, and no phone's.
    let speed = line(&folder.join("speed"))?.and_then(|speed| speed.parse().ok());
    Ok(Some(Plugged { bus, address, product_id, megabits_per_s: speed.unwrap_or(0) }))
}

fn is_multiplexer(interface: &Path) -> bool {
    let field = |name: &str| text(&interface.join(name));
    field("bInterfaceClass").as_deref() == Some("ff")
        && field("bInterfaceSubClass").as_deref() == Some("fe")
        && field("bInterfaceProtocol").as_deref() == Some("02")
}

fn driver(interface: &Path) -> Option<String> {
    let target = fs::read_link(interface.join("driver")).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

fn number(file: &Path) -> Option<u8> {
    text(file)?.parse().ok()
}

fn text(file: &Path) -> Option<String> {
    line(file).ok()?
}

/// A short text of one line, without its end and up to the first zero. `None`: it is not there, or is about to leave.
fn line(file: &Path) -> io::Result<Option<String>> {
    let bytes = match fs::read(file) {
        Err(error) if is_gone(&error) => return Ok(None),
        other => other?,
    };
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]).into_owned();
    Ok(Some(text.split(['\0', '\n']).next().unwrap_or_default().trim().to_owned()))
}

/// The kernel answers so when a device has just left.
fn is_gone(error: &io::Error) -> bool {
    let no_device = rustix::io::Errno::NODEV.raw_os_error();
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(no_device)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A kernel's tree with a phone at bus 1, address 2, whose multiplexer belongs to `driver`.
    fn tree(driver: Option<&str>) -> (tempfile::TempDir, Sysfs) {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, content: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        put("devices/usb1/busnum", "1\n");
        put("devices/usb1/devnum", "1\n");
        put("devices/1-2/busnum", "1\n");
        put("devices/1-2/devnum", "2\n");
        put("devices/1-2/idVendor", "05ac\n");
        put("devices/1-2/idProduct", "12a8\n");
        put("devices/1-2/speed", "480\n");
        put("devices/usb1/idVendor", "1d6b\n");
        put("devices/1-2/serial", "00008101000000000000001E\n");
        for (field, value) in [("Class", "ff"), ("SubClass", "fe"), ("Protocol", "02")] {
            put(&format!("devices/1-2/1-2:4.1/bInterface{field}"), &format!("{value}\n"));
        }
        if let Some(driver) = driver {
            symlink(format!("../../../drivers/{driver}"), root.path().join("devices/1-2/1-2:4.1/driver"))
                .unwrap();
        }
        put("proc/77/comm", "usbmuxd\n");
        fs::create_dir_all(root.path().join("proc/77/fd")).unwrap();
        symlink("/dev/bus/usb/001/002", root.path().join("proc/77/fd/9")).unwrap();
        let at = |folder| root.path().join(folder);
        let sysfs = Sysfs { devices: at("devices"), processes: at("proc"), udev: at("udev") };
        (root, sysfs)
    }

    #[test]
    fn a_phone_is_found_by_its_address_with_its_serial_number() {
        let (_root, sysfs) = tree(None);
        assert_eq!(sysfs.device(1, 2).unwrap().serial().as_deref(), Some("00008101000000000000001E"));
        assert!(sysfs.device(1, 1).unwrap().serial().is_none());
        assert!(sysfs.device(2, 2).is_none());
    }

    #[test]
    fn what_a_vendor_made_is_listed_as_the_kernel_describes_it() {
        let (root, sysfs) = tree(None);
        let phone = Plugged { bus: 1, address: 2, product_id: 0x12a8, megabits_per_s: 480 };
        assert_eq!(sysfs.made_by(0x05ac).unwrap().unwrap(), [phone]);
        assert_eq!(sysfs.made_by(0x1234).unwrap().unwrap(), []);
        let device = sysfs.device(1, 2).unwrap();
        assert_eq!((device.configuration(), device.plugged_for()), (None, None));
        for (text, value) in [("4\n", Some(4)), ("\n", Some(0)), ("what\n", None)] {
            fs::write(root.path().join("devices/1-2/bConfigurationValue"), text).unwrap();
            assert_eq!(device.configuration(), value, "{text:?}");
        }
        fs::create_dir(root.path().join("devices/1-2/power")).unwrap();
        fs::write(root.path().join("devices/1-2/power/connected_duration"), "1500\n").unwrap();
        assert_eq!(device.plugged_for(), Some(Duration::from_millis(1500)));
        for (length, rest) in [(0, None), (18, None), (20, Some(vec![18, 19]))] {
            fs::write(root.path().join("devices/1-2/descriptors"), (0..length).collect::<Vec<u8>>()).unwrap();
            assert_eq!(device.configurations(), rest, "{length}");
        }
        // A device that is about to leave has files no more.
        fs::remove_file(root.path().join("devices/1-2/devnum")).unwrap();
        assert_eq!(sysfs.made_by(0x05ac).unwrap().unwrap(), []);
        // What is there and cannot be read says nothing of who has left.
        fs::create_dir(root.path().join("devices/1-2/devnum")).unwrap();
        assert!(sysfs.made_by(0x05ac).is_err());
    }

    #[test]
    fn udev_is_waited_for_where_it_runs() {
        let (root, sysfs) = tree(None);
        let device = sysfs.device(1, 2).unwrap();
        let put = |path: &str, content: &str| {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), content).unwrap();
        };
        assert!(sysfs.is_seen_to(&device), "nobody will");
        put("udev/control", "");
        assert!(sysfs.is_seen_to(&device), "it has no node");
        put("devices/1-2/dev", "189:1\n");
        put("udev/data/c189:10", "");
        assert!(!sysfs.is_seen_to(&device));
        put("udev/data/c189:1", "");
        assert!(sysfs.is_seen_to(&device));
    }

    #[test]
    fn who_holds_the_multiplexer_is_named_where_it_can_be_seen() {
        let (_root, sysfs) = tree(Some("usbfs"));
        assert_eq!(sysfs.device(1, 2).unwrap().held_by(1, 2).as_deref(), Some("usbmuxd"));
        let (root, sysfs) = tree(Some("usbfs"));
        fs::remove_dir_all(root.path().join("proc")).unwrap();
        assert_eq!(sysfs.device(1, 2).unwrap().held_by(1, 2).as_deref(), Some("another program"));
    }

    #[test]
    fn nobody_holds_it_without_a_claim_by_a_program() {
        for driver in [None, Some("ipheth")] {
            let (_root, sysfs) = tree(driver);
            assert_eq!(sysfs.device(1, 2).unwrap().held_by(1, 2), None);
        }
    }

    #[test]
    fn where_there_is_no_such_tree_nothing_is_found() {
        let nowhere = Sysfs {
            devices: "/nonexistent/a".into(),
            processes: "/nonexistent/b".into(),
            udev: "/nonexistent/c".into(),
        };
        assert!(nowhere.device(1, 2).is_none() && nowhere.made_by(1).unwrap().is_none());
    }
}
