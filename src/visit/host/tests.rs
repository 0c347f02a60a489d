//! Computers in trouble, each in a folder: what the kernel, udev and the packages of such a one would show. Each is named
//! for what it is, and those that are well are not flagged.

mod broken;
mod well;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::usbmux::{DeviceId, Udid};

const UDID: &str = "00008101-000000000000001E";

/// A computer that is put together.
struct Computer {
    root: tempfile::TempDir,
    opens: bool,
    muxer: Asked,
    now: Timestamp,
}

impl Computer {
    /// One with two buses and a usbmuxd that runs and lists nothing.
    fn new() -> Self {
        let this = Self {
            root: tempfile::tempdir().unwrap(),
            opens: true,
            muxer: Asked { is_own: false, devices: Ok(Vec::new()) },
            now: "2026-11-22T12:00:00Z".parse().unwrap(),
        };
        this.device("usb1", &[("idVendor", "1d6b"), ("idProduct", "0002"), ("busnum", "1"), ("devnum", "1")]);
        this.put("proc/12/comm", "usbmuxd\n")
            .put("proc/12/status", "Name:\tusbmuxd\nUid:\t105\t105\t105\t105\n");
        this.put(
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nusbmux:x:105:46::/var/lib/usbmux:/usr/sbin/nologin\n",
        );
        this
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn put(&self, path: &str, content: &str) -> &Self {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), content).unwrap();
        self
    }

    fn link(&self, path: &str, target: &str) -> &Self {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        symlink(target, self.path(path)).unwrap();
        self
    }

    fn device(&self, port: &str, fields: &[(&str, &str)]) -> &Self {
        for (field, value) in fields {
            self.put(&format!("sys/bus/usb/devices/{port}/{field}"), &format!("{value}\n"));
        }
        self
    }

    /// A phone in the multiplexer's configuration, at address 2 of bus 1.
    fn phone(&self, port: &str) -> &Self {
        self.device(
            port,
            &[
                ("idVendor", "05ac"),
                ("idProduct", "12a8"),
                ("busnum", "1"),
                ("devnum", "2"),
                ("serial", "00008101000000000000001E"),
                ("speed", "480"),
                ("version", " 2.00"),
                ("bConfigurationValue", "4"),
                ("bMaxPower", "500mA"),
                ("bmAttributes", "c0"),
                ("authorized", "1"),
            ],
        );
        self.interface(port, 0, ["06", "01", "01"]).interface(port, 1, ["ff", "fe", "02"])
    }

    fn interface(&self, port: &str, number: u8, kind: [&str; 3]) -> &Self {
        let folder = format!("{port}/{port}:4.{number}");
        let names = ["bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol"];
        self.device(&folder, &[(names[0], kind[0]), (names[1], kind[1]), (names[2], kind[2])])
    }

    /// A program has claimed an interface of the phone, and this process has its node open.
    fn claimed(&self, port: &str, number: u8, pid: u32, name: &str) -> &Self {
        self.link(&format!("sys/bus/usb/devices/{port}/{port}:4.{number}/driver"), "../../usbfs");
        self.put(&format!("proc/{pid}/comm"), &format!("{name}\n"));
        self.link(&format!("proc/{pid}/fd/7"), "/dev/bus/usb/001/002")
    }

    fn listing(mut self) -> Self {
        let udid = Udid::parse(UDID).unwrap();
        let attached = Attached { id: DeviceId(1), udid, product_id: 0x12a8, location_id: 0, speed_bps: 0 };
        self.muxer.devices = Ok(vec![attached]);
        self
    }

    fn without_muxer(mut self) -> Self {
        fs::remove_dir_all(self.path("proc/12")).unwrap();
        self.muxer.devices = Err(usbmux::Error::NotRunning("/var/run/usbmuxd".to_owned()));
        self
    }

    /// Without any usbmuxd, and our own multiplexer asked.
    fn with_our_own(mut self) -> Self {
        fs::remove_dir_all(self.path("proc/12")).unwrap();
        self.muxer.is_own = true;
        self
    }

    fn checks(&self) -> Vec<Check> {
        let opens = self.opens;
        let host = Host::at(self.root.path().to_owned(), move |_| opens);
        let mut checks = examine(&host, &self.muxer, self.root.path(), self.now);
        // The disk is that of the computer that this runs on.
        checks.retain(|check| check.name != "disk");
        checks
    }
}

#[test]
fn a_missing_usbmuxd_is_no_trouble_of_a_phone_that_this_user_may_open() {
    let it = Computer::new();
    it.phone("1-2");
    let checks = it.without_muxer().checks();
    assert!(
        checks
            .iter()
            .any(|c| c.name == "USB" && c.state == State::Notice && c.text.contains("may be opened"))
    );
}

#[test]
fn a_fat_disk_and_a_small_one_are_named() {
    let dest = Path::new("/mnt/stick");
    let roomy = Space { free_bytes: 1 << 40, fat: false, no_links: false };
    assert_eq!(disk(Ok(roomy), dest).state, State::Good);
    let fat = disk(Ok(Space { fat: true, ..roomy }), dest);
    assert!(
        fat.state == State::Bad && fat.text.contains("FAT") && fat.text.contains("/mnt/stick"),
        "{fat:?}"
    );
    assert_eq!(disk(Ok(Space { free_bytes: 1 << 30, ..roomy }), dest).state, State::Notice);
    assert_eq!(disk(Err(std::io::ErrorKind::NotFound.into()), dest).trouble, Some(Trouble::NoSpace));
}

#[test]
fn hostile_names_are_shown_as_text() {
    let it = Computer::new();
    it.phone("1-2").claimed("1-2", 1, 66, "evil\u{1b}[2J");
    for check in it.checks() {
        assert!(!check.text.contains('\u{1b}'), "{check:?}");
    }
}
