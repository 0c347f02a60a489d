//! Computers with nothing wrong, or with what only looks so.

use super::*;

/// A computer that is well, in one way.
type Well = fn(&Computer);

#[test]
fn computers_that_are_well_are_not_flagged() {
    let well: &[(&str, Well)] = &[
        ("a phone at the computer itself", |it| {
            it.phone("1-2");
        }),
        ("one with usbmuxd's claim on it", |it| {
            it.phone("1-2").claimed("1-2", 1, 12, "usbmuxd");
        }),
        ("the kernel's network driver on it", |it| {
            it.phone("1-2").interface("1-2", 2, ["ff", "fd", "01"]);
            it.link("sys/bus/usb/devices/1-2/1-2:4.2/driver", "../../ipheth");
        }),
        ("a hub of USB 3 with a supply", |it| {
            it.phone("1-4.2").device("1-4.2", &[("version", " 2.10")]);
            it.device(
                "1-4",
                &[("idVendor", "05e3"), ("idProduct", "0610"), ("busnum", "1"), ("devnum", "5")],
            );
            it.device("1-4", &[("version", " 2.10"), ("speed", "480"), ("bmAttributes", "e0")]);
        }),
        ("a fast link", |it| {
            it.phone("1-2")
                .device("1-2", &[("version", " 3.20"), ("speed", "10000"), ("bMaxPower", "896mA")]);
        }),
        ("a mended usbmuxd, and its folder", |it| {
            let status = "Package: usbmuxd\nStatus: install ok installed\nVersion: 1.1.1-2+deb12u1\n";
            it.put("var/lib/dpkg/status", status).put("var/lib/lockdown/x", "").phone("1-2");
            let now = it.now.into();
            fs::File::options()
                .write(true)
                .open(it.path("var/lib/dpkg/status"))
                .unwrap()
                .set_modified(now)
                .unwrap();
            fs::set_permissions(it.path("var/lib/lockdown"), fs::Permissions::from_mode(0o2775)).unwrap();
        }),
        ("sockets at rest", |it| {
            it.phone("1-2");
            it.put("sys/bus/usb/devices/1-0:1.0/usb1-port1/state", "not attached\n");
            it.put("sys/bus/usb/devices/1-0:1.0/usb1-port2/state", "configured\n");
        }),
    ];
    for (what, set_up) in well {
        let mut computer = Computer::new().listing();
        set_up(&computer);
        for is_own in [false, true] {
            computer.muxer.is_own = is_own;
            let flagged: Vec<Check> =
                computer.checks().into_iter().filter(|c| c.state != State::Good).collect();
            assert!(flagged.is_empty(), "{what}: {flagged:#?}");
        }
    }
}
