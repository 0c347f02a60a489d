//! The USB bus as this computer's kernel tells of it, without opening a device: sysfs (the kernel's
//! `Documentation/ABI/*/sysfs-bus-usb`), the device nodes and who has them open, udev's rules. Also the few other things
//! of the computer that decide whether a phone can be reached.
//!
//! Everything is read below one root, so that a computer in any state can be put into a folder. Nothing is judged here.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::muxd::usb::has_multiplexer;
use crate::usbmux::Udid;

/// A serial number in recovery mode has about 150 characters.
const TEXT_BYTES_MAX: u64 = 512;
/// All descriptors of a device; a phone's take less than 2 KiB.
const DESCRIPTORS_BYTES_MAX: u64 = 256 * 1024;
/// Devices on all buses together; there can be 127 on each.
const DEVICES_MAX: usize = 2048;
/// Processes that are looked at.
const PROCESSES_MAX: usize = 20_000;
/// Debian's list of packages has about ten megabytes on a full desktop.
const STATUS_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Where udev looks for rules, the weightiest place first.
const RULES: [&str; 4] = ["etc/udev/rules.d", "run/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d"];
/// Where a phone's pair records are kept.
const PAIR_RECORDS: &str = "var/lib/lockdown";

/// A computer.
pub struct Host {
    root: PathBuf,
    opens: Box<dyn Fn(&Path) -> bool + Send + Sync>,
}

/// A device on a bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsbDevice {
    /// The kernel's name for where it is plugged in: `1-4.2` is port 2 of the hub at port 4 of bus 1.
    pub port: String,
    /// Who made it.
    pub vendor: u16,
    /// What it is.
    pub product: u16,
    /// Its serial number, as the kernel read it at plug-in.
    pub serial: Option<String>,
    /// Number of the bus.
    pub bus: u8,
    /// Address on the bus.
    pub address: u8,
    /// How fast the link is, in Mbit/s.
    pub speed_mbps: Option<u32>,
    /// The version of USB that it speaks, in hundredths: 210 is a device of USB 3 on a link of USB 2.
    pub usb_version: Option<u16>,
    /// The configuration that it is in; `None`: in none.
    pub configuration: Option<u8>,
    /// The current that it may draw in it, in mA.
    pub power_ma: Option<u32>,
    /// It has a supply of its own (a hub that has none cannot charge a phone).
    pub self_powered: Option<bool>,
    /// The system allows it to be used (`authorized`).
    pub authorized: bool,
    /// What it offers in its configuration.
    pub interfaces: Vec<Interface>,
}

/// Something that a device offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Class, subclass, protocol.
    pub kind: [u8; 3],
    /// The driver that has it; `usbfs` is a program.
    pub driver: Option<String>,
}

impl Interface {
    /// It is the multiplexer's, which everything else goes through.
    #[must_use]
    pub fn is_multiplexer(&self) -> bool {
        self.kind == [0xff, 0xfe, 2]
    }

    /// A program has it, not the kernel.
    #[must_use]
    pub fn has_program(&self) -> bool {
        self.driver.as_deref() == Some("usbfs")
    }
}

/// A socket of a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Where a device in it would be.
    pub name: String,
    /// What the kernel says of it, where it does (since Linux 6.3): `not attached`, `configured`, `default`, …
    pub state: Option<String>,
    /// How often it was switched off for drawing too much.
    pub over_current: u32,
    /// There is a device in it.
    pub occupied: bool,
}

/// A running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name; the kernel keeps 15 letters.
    pub name: String,
    /// The user that it runs as.
    pub uid: u32,
}

/// The folder of pair records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairRecords {
    /// Its owner.
    pub uid: u32,
    /// Its permissions.
    pub mode: u32,
    /// Its file system is mounted so that nobody can write.
    pub read_only: bool,
}

impl Host {
    /// This computer.
    #[must_use]
    pub fn system() -> Self {
        Self::at(PathBuf::from("/"), |node| {
            rustix::fs::access(node, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_ok()
        })
    }

    /// A computer whose files are below `root`; `opens` says whether this user may open a device node.
    pub fn at(root: PathBuf, opens: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Self {
        Self { root, opens: Box::new(opens) }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// There is a USB at all: a container has none.
    #[must_use]
    pub fn has_usb(&self) -> bool {
        self.path("sys/bus/usb/devices").is_dir()
    }

    /// What is on the buses, hubs too, in the order of their ports.
    #[must_use]
    pub fn usb_devices(&self) -> Vec<UsbDevice> {
        let Ok(entries) = fs::read_dir(self.path("sys/bus/usb/devices")) else { return Vec::new() };
        let folders = entries.flatten().map(|entry| entry.path()).take(DEVICES_MAX * 16);
        let mut devices: Vec<UsbDevice> =
            folders.filter_map(|folder| device(&folder)).take(DEVICES_MAX).collect();
        devices.sort_by(|one, other| one.port.cmp(&other.port));
        devices
    }

    /// The port that the phone with this id is plugged into.
    #[must_use]
    pub fn port_of(&self, udid: &Udid) -> Option<String> {
        let devices = self.usb_devices();
        let is_it =
            |device: &&UsbDevice| device.serial.as_deref().and_then(Udid::parse).as_ref() == Some(udid);
        devices.iter().find(is_it).map(|device| device.port.clone())
    }

    /// The sockets of all hubs.
    #[must_use]
    pub fn ports(&self) -> Vec<Port> {
        let Ok(entries) = fs::read_dir(self.path("sys/bus/usb/devices")) else { return Vec::new() };
        let interfaces = entries.flatten().map(|entry| entry.path()).take(DEVICES_MAX * 16);
        let mut ports: Vec<Port> = interfaces
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flat_map(|entries| entries.flatten().map(|entry| entry.path()).take(64))
            .filter_map(|folder| port(&folder))
            .collect();
        ports.sort_by(|one, other| one.name.cmp(&other.name));
        ports.dedup_by(|one, other| one.name == other.name);
        ports
    }

    /// This user may open the device.
    #[must_use]
    pub fn may_open(&self, device: &UsbDevice) -> bool {
        (self.opens)(&self.path(&node(device)))
    }

    /// The programs that have the device open, as far as this user can see them.
    #[must_use]
    pub fn programs_at(&self, device: &UsbDevice) -> Vec<Process> {
        let node = PathBuf::from("/").join(node(device));
        let has_it = |process: &Process| {
            let files = fs::read_dir(self.path(&format!("proc/{}/fd", process.pid)));
            files.is_ok_and(|files| {
                files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target == node))
            })
        };
        self.programs().into_iter().filter(has_it).collect()
    }

    /// The programs that run.
    #[must_use]
    pub fn programs(&self) -> Vec<Process> {
        let Ok(entries) = fs::read_dir(self.path("proc")) else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.take(PROCESSES_MAX).filter_map(|pid| self.program(pid)).collect()
    }

    fn program(&self, pid: u32) -> Option<Process> {
        let folder = self.path(&format!("proc/{pid}"));
        let name = line(&folder.join("comm"))?;
        let uid = fs::read_to_string(folder.join("status")).ok().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        });
        Some(Process { pid, name, uid: uid.unwrap_or(0) })
    }

    /// The rules of udev whose file names end like this, the weightiest first.
    #[must_use]
    pub fn rules(&self, ending: &str) -> Vec<PathBuf> {
        let found = RULES.iter().filter_map(|folder| {
            let entries = fs::read_dir(self.path(folder)).ok()?;
            let mut names: Vec<String> =
                entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
            names.retain(|name| name.ends_with(ending));
            names.sort();
            Some(names.into_iter().map(move |name| Path::new("/").join(folder).join(name)))
        });
        found.flatten().collect()
    }

    /// The version of a Debian package that is installed.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<String> {
        let status = bounded(&self.path("var/lib/dpkg/status"), STATUS_BYTES_MAX)?;
        let status = String::from_utf8_lossy(&status);
        let wanted = format!("Package: {name}");
        let entry = status.split("\n\n").find(|entry| entry.lines().any(|line| line == wanted))?;
        let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name));
        let installed = field("Status: ").is_some_and(|status| status.ends_with(" installed"));
        installed.then(|| field("Version: ").map(str::to_owned)).flatten()
    }

    /// When this computer last noted that software was installed: its clock has been there.
    #[must_use]
    pub fn newest_record(&self) -> Option<jiff::Timestamp> {
        fs::metadata(self.path("var/lib/dpkg/status")).ok()?.modified().ok()?.try_into().ok()
    }

    /// Where the system's usbmuxd keeps pair records; `None`: the folder is not there.
    #[must_use]
    pub fn pair_records(&self) -> Option<PairRecords> {
        let folder = self.path(PAIR_RECORDS);
        let metadata = fs::metadata(&folder).ok().filter(fs::Metadata::is_dir)?;
        let mounts = fs::read_to_string(self.path("proc/self/mounts")).unwrap_or_default();
        let read_only = is_read_only(&mounts, Path::new("/").join(PAIR_RECORDS).as_path());
        Some(PairRecords { uid: metadata.uid(), mode: metadata.mode() & 0o7777, read_only })
    }

    /// The number of a user of this computer.
    #[must_use]
    pub fn uid_of(&self, user: &str) -> Option<u32> {
        let users = bounded(&self.path("etc/passwd"), 1024 * 1024)?;
        let users = String::from_utf8_lossy(&users);
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(user)).then(|| fields.nth(1)?.parse().ok()).flatten()
        })
    }

    /// Whether the multiplexer is in any of its configurations, also in one that nobody has set; `None`: that is not told.
    #[must_use]
    pub fn has_multiplexer(&self, device: &UsbDevice) -> Option<bool> {
        let path = self.path("sys/bus/usb/devices").join(&device.port).join("descriptors");
        has_multiplexer(&bounded(&path, DESCRIPTORS_BYTES_MAX)?)
    }

    /// The kernel lets Apple's devices charge with more than USB allows.
    #[must_use]
    pub fn charges_fast(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.path("sys/class/power_supply")) else { return false };
        entries.flatten().any(|entry| {
            entry.file_name().to_string_lossy().starts_with("apple_mfi_fastcharge")
                && line(&entry.path().join("charge_type")).as_deref() == Some("Fast")
        })
    }
}

fn node(device: &UsbDevice) -> String {
    format!("dev/bus/usb/{:03}/{:03}", device.bus, device.address)
}

/// Reads a device's folder; an interface's has no address.
fn device(folder: &Path) -> Option<UsbDevice> {
    let port = folder.file_name()?.to_str()?.to_owned();
    let text = |name: &str| line(&folder.join(name)).filter(|text| !text.is_empty());
    let hex = |name: &str| u16::from_str_radix(&text(name)?, 16).ok();
    let attributes = text("bmAttributes").and_then(|text| u8::from_str_radix(&text, 16).ok());
    Some(UsbDevice {
        vendor: hex("idVendor")?,
        product: hex("idProduct")?,
        serial: text("serial"),
        bus: text("busnum")?.parse().ok()?,
        address: text("devnum")?.parse().ok()?,
        speed_mbps: text("speed").and_then(|speed| speed.split('.').next()?.parse().ok()),
        usb_version: text("version").and_then(|version| version.replace('.', "").parse().ok()),
        configuration: text("bConfigurationValue")
            .and_then(|value| value.parse().ok())
            .filter(|value| *value > 0),
        power_ma: text("bMaxPower").and_then(|power| power.trim_end_matches("mA").parse().ok()),
        self_powered: attributes.map(|bits| bits & 0x40 != 0),
        authorized: text("authorized").as_deref() != Some("0"),
        interfaces: interfaces(folder, &port),
        port,
    })
}

fn interfaces(folder: &Path, port: &str) -> Vec<Interface> {
    let prefix = format!("{port}:");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.retain(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&prefix)));
    folders.sort();
    let read = |folder: &PathBuf| {
        let field = |name: &str| u8::from_str_radix(&line(&folder.join(name))?, 16).ok();
        let kind = [field("bInterfaceClass")?, field("bInterfaceSubClass")?, field("bInterfaceProtocol")?];
        let driver = fs::read_link(folder.join("driver")).ok();
        let driver = driver.and_then(|target| target.file_name()?.to_str().map(str::to_owned));
        Some(Interface { kind, driver })
    };
    folders.iter().filter_map(read).take(64).collect()
}

/// Reads a hub's socket: a folder `1-4-port2`, or `usb1-port2` of a bus itself.
fn port(folder: &Path) -> Option<Port> {
    let (hub, number) = folder.file_name()?.to_str()?.rsplit_once("-port")?;
    number.parse::<u8>().ok()?;
    let name = match hub.strip_prefix("usb") {
        Some(bus) => format!("{bus}-{number}"),
        None => format!("{hub}.{number}"),
    };
    let over_current =
        line(&folder.join("over_current_count")).and_then(|count| count.parse().ok()).unwrap_or(0);
    let occupied = folder.join("device").exists();
    Some(Port { name, state: line(&folder.join("state")), over_current, occupied })
}

/// Whether the file system that holds `path` is mounted read-only, out of the text of `/proc/self/mounts`.
fn is_read_only(mounts: &str, path: &Path) -> bool {
    let holding = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, options) = (fields.next()?, fields.nth(1)?);
        path.starts_with(point).then_some((point.len(), options))
    });
    // Of two at one place the later one lies on top.
    let innermost = holding.max_by_key(|(length, _)| *length);
    innermost.is_some_and(|(_, options)| options.split(',').any(|option| option == "ro"))
}

fn bounded(file: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(file).ok()?.take(bytes_max).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A short text of one line, without its end and up to the first zero.
fn line(file: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&bounded(file, TEXT_BYTES_MAX)?).into_owned();
    Some(text.split(['\0', '\n']).next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computer_without_anything_has_nothing() {
        let host = Host::at("/nonexistent".into(), |_| true);
        assert!(!host.has_usb() && host.usb_devices().is_empty() && host.ports().is_empty());
        assert!(host.programs().is_empty() && host.rules("usbmuxd.rules").is_empty());
        assert_eq!((host.package("usbmuxd"), host.pair_records(), host.uid_of("root")), (None, None, None));
        assert!(!host.charges_fast());
    }

    #[test]
    fn this_computer_can_be_looked_at_whatever_it_is() {
        let host = Host::system();
        for device in host.usb_devices() {
            assert!(device.bus > 0 && !device.port.is_empty());
            let _ = host.programs_at(&device);
        }
        let _ = (host.ports(), host.package("usbmuxd"));
        assert!(host.programs().iter().any(|process| process.pid == std::process::id()));
        assert_eq!(host.uid_of("root"), Some(0));
    }

    #[test]
    fn a_mount_deeper_down_counts_for_what_is_in_it() {
        let mounts = "/dev/sda1 / ext4 rw,relatime 0 0\ntmpfs /var tmpfs ro,nosuid 0 0\nbroken\n";
        assert!(is_read_only(mounts, Path::new("/var/lib/lockdown")));
        assert!(!is_read_only(mounts, Path::new("/home/x")));
        assert!(!is_read_only("", Path::new("/var")));
    }

    #[test]
    fn only_an_installed_package_has_a_version() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("var/lib/dpkg")).unwrap();
        let status = "Package: usb\nStatus: install ok installed\nVersion: 9\n\n\
                      Package: usbmuxd\nStatus: install ok installed\nVersion: 1.1.1-2\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n";
        fs::write(root.path().join("var/lib/dpkg/status"), status).unwrap();
        let host = Host::at(root.path().to_owned(), |_| true);
        assert_eq!(host.package("usbmuxd").as_deref(), Some("1.1.1-2"));
        assert_eq!((host.package("gone"), host.package("us")), (None, None));
    }
}
