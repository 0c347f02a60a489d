//! What is wrong with a computer, one thing each.

use super::*;

/// Puts something wrong into a computer.
type Break = fn(Computer) -> Computer;

/// What is wrong, how it comes out, and words that must be in what is said and in what mends it.
const BROKEN: &[(&str, Break, State, &str, &str)] = &[
    (
        "usbmuxd is not there",
        Computer::without_muxer,
        State::Bad,
        "no usbmuxd answers",
        "apt install usbmuxd",
    ),
    (
        "its socket is not ours",
        |mut it| {
            it.muxer.devices = Err(usbmux::Error::NoPermission("/var/run/usbmuxd".to_owned()));
            it
        },
        State::Bad,
        "no permission",
        "ls -l /var/run/usbmuxd",
    ),
    (
        "a socket with something in it that does not come up",
        |it| {
            it.put("sys/bus/usb/devices/1-0:1.0/usb1-port3/state", "default\n");
            it
        },
        State::Bad,
        "socket 1-3 does not come up (default)",
        "another cable",
    ),
    (
        "a socket that was switched off",
        |it| {
            it.put("sys/bus/usb/devices/1-4:1.0/1-4-port2/over_current_count", "3\n");
            it
        },
        State::Bad,
        "socket 1-4.2 was switched off",
        "another cable",
    ),
    ("nothing is plugged in", |it| it, State::Notice, "no iPhone or iPad", "data cable"),
    (
        "a container",
        |it| {
            fs::remove_dir_all(it.path("sys")).unwrap();
            it
        },
        State::Notice,
        "has no USB",
        "hand the phone in",
    ),
    (
        "no rule lets this user open it",
        |mut it| {
            it.phone("1-2");
            it.opens = false;
            it.without_muxer()
        },
        State::Bad,
        "it would be: SUBSYSTEM==\"usb\", ATTR{idVendor}==\"05ac\", TAG+=\"uaccess\"",
        "udevadm control --reload",
    ),
    (
        "a rule is there, and this user has no seat",
        |mut it| {
            it.phone("1-2").put("usr/lib/udev/rules.d/70-idevice-fix.rules", "");
            it.opens = false;
            it.without_muxer()
        },
        State::Bad,
        "in spite of /usr/lib/udev/rules.d/70-idevice-fix.rules",
        "adduser",
    ),
    (
        "no usbmuxd, and no rule lets our own open it",
        |mut it| {
            // The kernel's choice: nobody could set the configuration with the multiplexer.
            it.phone("1-2").device("1-2", &[("bConfigurationValue", "1")]);
            fs::remove_dir_all(it.path("sys/bus/usb/devices/1-2/1-2:4.1")).unwrap();
            it.opens = false;
            it.with_our_own()
        },
        State::Bad,
        "it would be: SUBSYSTEM==\"usb\", ATTR{idVendor}==\"05ac\", TAG+=\"uaccess\"",
        "udevadm control --reload",
    ),
    (
        "no usbmuxd, and our own has no seat",
        |mut it| {
            it.phone("1-2").put("usr/lib/udev/rules.d/70-idevice-fix.rules", "");
            it.opens = false;
            it.with_our_own()
        },
        State::Bad,
        "in spite of /usr/lib/udev/rules.d/70-idevice-fix.rules",
        "adduser",
    ),
    (
        "no usbmuxd, and restricted mode",
        |it| {
            it.phone("1-2");
            fs::remove_dir_all(it.path("sys/bus/usb/devices/1-2/1-2:4.1")).unwrap();
            it.with_our_own()
        },
        State::Bad,
        "no data connection (USB restricted mode)",
        "unlock it",
    ),
    (
        "no usbmuxd, and a phone that hangs",
        |it| {
            it.phone("1-2");
            it.with_our_own()
        },
        State::Bad,
        "does not answer",
        "plug it in again",
    ),
    (
        "the desktop has opened it as a camera",
        |it| {
            it.phone("1-2").claimed("1-2", 0, 77, "gvfsd-gphoto2");
            it
        },
        State::Bad,
        "gvfsd-gphoto2 (process 77) holds 00008101-000000000000001E (socket 1-2) as a camera",
        "gio mount -s gphoto2",
    ),
    (
        "another usbmuxd has it",
        |it| {
            it.phone("1-2").claimed("1-2", 1, 99, "usbmuxd");
            it
        },
        State::Bad,
        "another usbmuxd (usbmuxd (process 99))",
        "sudo kill 99",
    ),
    (
        "a program has it that cannot be seen",
        |it| {
            it.phone("1-2").link("sys/bus/usb/devices/1-2/1-2:4.1/driver", "../../usbfs");
            it
        },
        State::Bad,
        "another program, of another user",
        "sudo idevice-fix doctor",
    ),
    (
        "restricted mode",
        |it| {
            it.phone("1-2");
            fs::remove_dir_all(it.path("sys/bus/usb/devices/1-2/1-2:4.1")).unwrap();
            it
        },
        State::Bad,
        "no data connection (USB restricted mode)",
        "unlock it",
    ),
    (
        "recovery mode",
        |it| {
            it.phone("1-2").device("1-2", &[("idProduct", "1281")]);
            it
        },
        State::Bad,
        "recovery mode",
        "buttons",
    ),
    (
        "DFU mode",
        |it| {
            it.phone("1-2").device("1-2", &[("idProduct", "1227")]);
            it
        },
        State::Bad,
        "DFU mode",
        "buttons",
    ),
    (
        "usbmuxd lost it",
        |it| {
            it.phone("1-2");
            it
        },
        State::Bad,
        "usbmuxd does not list it",
        "restart usbmuxd",
    ),
    (
        "usbmuxd never took it up",
        |it| {
            it.phone("1-2").device("1-2", &[("bConfigurationValue", "")]);
            it
        },
        State::Bad,
        "has not taken it up",
        "restart usbmuxd",
    ),
    (
        "usbmuxd has left it in the kernel's first configuration",
        |it| {
            it.phone("1-2").device("1-2", &[("bConfigurationValue", "1")]);
            fs::remove_dir_all(it.path("sys/bus/usb/devices/1-2/1-2:4.1")).unwrap();
            // The multiplexer is in another configuration all the same.
            let endpoints = [7, 5, 0x04, 2, 0, 2, 0, 7, 5, 0x85, 2, 0, 2, 0];
            let mux =
                [&[9, 2, 32, 0, 1, 3, 0, 0xC0, 250, 9, 4, 0, 0, 2, 255, 254, 2, 0][..], &endpoints].concat();
            let descriptors = [&[0; 18][..], &[9, 2, 9, 0, 0, 1, 0, 0xC0, 250], &mux].concat();
            fs::write(it.path("sys/bus/usb/devices/1-2/descriptors"), descriptors).unwrap();
            it
        },
        State::Bad,
        "has not taken it up",
        "restart usbmuxd",
    ),
    (
        "USBGuard",
        |it| {
            it.phone("1-2").device("1-2", &[("authorized", "0")]);
            it
        },
        State::Bad,
        "USB authorization",
        "/sys/bus/usb/devices/1-2/authorized",
    ),
    (
        "a hub of USB 2 before a phone of USB 3",
        |it| {
            it.phone("1-4.2").device("1-4.2", &[("version", " 2.10")]);
            it.device(
                "1-4",
                &[("idVendor", "05e3"), ("idProduct", "0608"), ("busnum", "1"), ("devnum", "5")],
            );
            it.device("1-4", &[("version", " 2.00"), ("speed", "480"), ("bmAttributes", "e0")]);
            it.listing()
        },
        State::Notice,
        "faster than the hub at 1-4",
        "hub of USB 3",
    ),
    (
        "a cable that hardly carries anything",
        |it| {
            it.phone("1-2").device("1-2", &[("speed", "12")]);
            it.listing()
        },
        State::Notice,
        "only 12 Mbit/s",
        "another cable",
    ),
    (
        "a hub without a supply",
        |it| {
            it.phone("1-4.2").device("1-4", &[("idVendor", "05e3"), ("idProduct", "0608"), ("busnum", "1")]);
            it.device("1-4", &[("devnum", "5"), ("version", " 2.00"), ("bmAttributes", "80")]);
            it.listing()
        },
        State::Notice,
        "no power supply",
        "hub with a power supply",
    ),
    (
        "little current",
        |it| {
            it.phone("1-2").device("1-2", &[("bMaxPower", "100mA")]);
            it.listing()
        },
        State::Notice,
        "only 100 mA",
        "socket of this computer",
    ),
    (
        "a camera program runs",
        |it| {
            it.phone("1-2").put("proc/78/comm", "gvfsd-gphoto2\n");
            it.listing()
        },
        State::Notice,
        "gvfsd-gphoto2 (process 78) opens phones as cameras",
        "gio mount",
    ),
    (
        "two usbmuxds",
        |it| {
            it.phone("1-2").put("proc/40/comm", "usbmuxd\n");
            it.listing()
        },
        State::Notice,
        "2 usbmuxds run",
        "sudo kill",
    ),
    (
        "an old usbmuxd",
        |it| {
            it.put(
                "var/lib/dpkg/status",
                "Package: usbmuxd\nStatus: install ok installed\nVersion: 1.1.1-2\n",
            );
            it.phone("1-2");
            it.listing()
        },
        State::Notice,
        "CVE-2025-66004",
        "--only-upgrade usbmuxd",
    ),
    (
        "pair records on a disk that cannot be written",
        |it| {
            it.put("var/lib/lockdown/x", "").put("proc/self/mounts", "/dev/sda1 / ext4 ro,relatime 0 0\n");
            it
        },
        State::Bad,
        "mounted read-only",
        "remount,rw",
    ),
    (
        "a clock before this program",
        |mut it| {
            it.now = "2013-01-01T00:00:00Z".parse().unwrap();
            it
        },
        State::Bad,
        "before this program was written",
        "set-ntp",
    ),
    (
        "a clock that went back",
        |mut it| {
            it.put("var/lib/dpkg/status", "");
            it.now = "2026-11-02T00:00:00Z".parse().unwrap();
            let file = fs::File::options().write(true).open(it.path("var/lib/dpkg/status")).unwrap();
            let later: std::time::SystemTime = "2026-12-24T00:00:00Z".parse::<Timestamp>().unwrap().into();
            file.set_modified(later).unwrap();
            it
        },
        State::Bad,
        "installed here on 2026-12-24",
        "set-ntp",
    ),
];

#[test]
fn each_trouble_is_named_with_what_mends_it() {
    for (what, breaks, state, said, mend) in BROKEN {
        let checks = breaks(Computer::new()).checks();
        let found = checks.iter().find(|check| check.text.contains(said));
        let found = found.unwrap_or_else(|| panic!("{what}: {said:?} is not said in {checks:#?}"));
        assert_eq!(found.state, *state, "{what}: {found:?}");
        assert!(found.mend.as_ref().is_some_and(|text| text.contains(mend)), "{what}: {found:?}");
        assert_eq!(found.trouble.is_some(), *state == State::Bad, "{what}");
        let bad = checks.iter().filter(|check| check.state == State::Bad && check.name != "usbmuxd").count();
        assert!(bad <= 1, "{what}: one trouble is one check: {checks:#?}");
    }
}

#[test]
fn a_folder_of_pair_records_that_usbmuxd_may_not_write_is_named() {
    let it = Computer::new();
    it.put("var/lib/lockdown/x", "");
    fs::set_permissions(it.path("var/lib/lockdown"), fs::Permissions::from_mode(0o755)).unwrap();
    // Whoever runs this test owns the folder; usbmuxd runs as another user.
    it.put("proc/12/status", "Uid:\t54321\t54321\t54321\t54321\n");
    let checks = it.checks();
    let check = checks.iter().find(|check| check.name == "pair records").unwrap();
    assert!(check.state == State::Bad && check.text.contains("mode 0755"), "{check:?}");
}
