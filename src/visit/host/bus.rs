//! What the bus shows of each phone, and what stands between it and the muxer.

use super::{Asked, Check, Trouble};
use crate::collect::bus::{Host, Port, Process, UsbDevice};
use crate::facts::text::plain;
use crate::muxd::usb::Mode;
use crate::usbmux::{Attached, Udid};
use crate::visit::words;

const NAME: &str = "USB";
const APPLE: u16 = 0x05ac;
/// USB's class of cameras, which phones offer beside everything else.
const CAMERA: u8 = 6;
/// Programs that take a phone's camera for themselves.
const CAMERA_PROGRAMS: [&str; 2] = ["gvfsd-gphoto2", "gphoto2"];
/// What Apple's phones need; a link of USB 1 carries less than a fortieth of it.
const SLOW_MBPS: u32 = 12;
/// A hub that speaks no more than this is one of USB 2.
const USB_2: u16 = 200;
/// The line of a rule of udev that lets the person at the computer open a phone.
const RULE: &str = "SUBSYSTEM==\"usb\", ATTR{idVendor}==\"05ac\", TAG+=\"uaccess\"";

/// Looks at every phone on the bus, or for why there is none.
pub(super) fn bus(host: &Host, muxer: &Asked) -> Vec<Check> {
    let devices = host.usb_devices();
    let phones = devices.iter().filter(|device| device.vendor == APPLE);
    let phones: Vec<(&UsbDevice, Mode)> =
        phones.filter_map(|device| Some((device, Mode::of_product(device.product)?))).collect();
    if phones.is_empty() {
        return vec![nothing(host, muxer)];
    }
    let mut checks = Vec::new();
    for (phone, mode) in phones {
        checks.push(reached(host, phone, mode, muxer));
        checks.extend(link(phone, &devices));
        checks.extend(power(host, phone, &devices));
    }
    checks
}

fn nothing(host: &Host, muxer: &Asked) -> Check {
    if let Ok(listed) = &muxer.devices
        && !listed.is_empty()
    {
        return Check::good(NAME, "the phones are on another computer's bus, which usbmuxd reaches");
    }
    if !host.has_usb() {
        return Check::notice(
            NAME,
            "this system has no USB (a container or a virtual machine)",
            "hand the phone in, or the socket /var/run/usbmuxd of the computer that it is plugged into",
        );
    }
    let ports = host.ports();
    if let Some(port) = ports.iter().find(|port| is_stuck(port)) {
        return Check::bad(
            NAME,
            Trouble::NoDevice,
            format!(
                "something in socket {} does not come up ({})",
                plain(&port.name),
                plain(port.state.as_deref().unwrap_or("?"))
            ),
            "try another cable, then another socket without a hub in between",
        );
    }
    if let Some(port) = ports.iter().find(|port| port.over_current > 0 && !port.occupied) {
        return Check::bad(
            NAME,
            Trouble::NoDevice,
            format!("socket {} was switched off because too much current was drawn", plain(&port.name)),
            "take out what is in it, and try another cable",
        );
    }
    Check::notice(NAME, "no iPhone or iPad is on the bus", "plug one in with a data cable and unlock it")
}

/// There is something in the socket, and no device came of it.
fn is_stuck(port: &Port) -> bool {
    let at_rest = ["not attached", "configured", "suspended", "powered"];
    !port.occupied && port.state.as_deref().is_some_and(|state| !at_rest.contains(&state))
}

/// Whether the muxer has it, and why not.
fn reached(host: &Host, phone: &UsbDevice, mode: Mode, muxer: &Asked) -> Check {
    let whose = of(phone);
    match mode {
        Mode::Recovery | Mode::Dfu => {
            let mode = if mode == Mode::Recovery { "recovery" } else { "DFU" };
            let what = format!("{whose} is in {mode} mode: iOS does not run on it");
            return Check::bad(NAME, Trouble::PersonNeeded, what, "restart it with its buttons");
        }
        Mode::Normal if !phone.authorized => {
            return Check::bad(
                NAME,
                Trouble::NoDevice,
                format!("{whose} is shut out by this system's USB authorization (USBGuard, say)"),
                format!("echo 1 | sudo tee /sys/bus/usb/devices/{}/authorized", plain(&phone.port)),
            );
        }
        Mode::Normal => {}
    }
    let is_listed = |attached: &Attached| serial(phone).as_ref() == Some(&attached.udid);
    match &muxer.devices {
        Ok(listed) if listed.iter().any(is_listed) => {
            Check::good(NAME, format!("{whose} is on the bus and listed"))
        }
        Ok(_) if muxer.is_own => untaken(host, phone, &whose),
        Ok(_) => unlisted(host, phone, &whose),
        Err(_) => without_muxer(host, phone, &whose),
    }
}

/// The muxer answers and does not list it.
fn unlisted(host: &Host, phone: &UsbDevice, whose: &str) -> Check {
    if let Some(holder) = holder(host, phone) {
        return holder;
    }
    if let Some(check) = restricted(host, phone, whose) {
        return check;
    }
    if !is_set_up(phone) {
        let what = format!("{whose} is on the bus and usbmuxd has not taken it up");
        return Check::bad(NAME, Trouble::NoDevice, what, "sudo systemctl restart usbmuxd");
    }
    let what = format!("{whose} is on the bus and usbmuxd does not list it");
    Check::bad(NAME, Trouble::NoDevice, what, "sudo systemctl restart usbmuxd")
}

/// It is in a configuration with the multiplexer.
fn is_set_up(phone: &UsbDevice) -> bool {
    phone.configuration.is_some() && phone.interfaces.iter().any(|interface| interface.is_multiplexer())
}

/// It charges, and that is all. One that has the multiplexer in a configuration that nobody has set is not like that.
fn restricted(host: &Host, phone: &UsbDevice, whose: &str) -> Option<Check> {
    let shows_none = phone.configuration.is_some() && !is_set_up(phone);
    (shows_none && host.has_multiplexer(phone) != Some(true)).then(|| {
        Check::bad(
            NAME,
            Trouble::PersonNeeded,
            format!("{whose} charges and shows no data connection (USB restricted mode)"),
            "unlock it and plug it in again",
        )
    })
}

/// Our own multiplexer could not take it.
fn untaken(host: &Host, phone: &UsbDevice, whose: &str) -> Check {
    // Whoever may not open it cannot have set its configuration either: its interfaces say nothing then.
    let why = holder(host, phone).or_else(|| not_permitted(host, phone, whose));
    why.or_else(|| restricted(host, phone, whose)).unwrap_or_else(|| {
        let what = format!("{whose} is on the bus and does not answer");
        Check::bad(NAME, Trouble::NoDevice, what, "unlock it and plug it in again")
    })
}

/// No muxer answers: this user would have to open it.
fn without_muxer(host: &Host, phone: &UsbDevice, whose: &str) -> Check {
    holder(host, phone).or_else(|| not_permitted(host, phone, whose)).unwrap_or_else(|| {
        let what = format!("{whose} is on the bus and may be opened, and no usbmuxd answers");
        Check::notice(NAME, what, "sudo systemctl start usbmuxd")
    })
}

/// This user may not open it, and which rule of udev would let them.
fn not_permitted(host: &Host, phone: &UsbDevice, whose: &str) -> Option<Check> {
    if host.may_open(phone) {
        return None;
    }
    let ours = host.rules("-idevice-fix.rules");
    let Some(rule) = ours.first() else {
        return Some(Check::bad(
            NAME,
            Trouble::NoDevice,
            format!("{whose} is on the bus, and no rule of udev lets this user open it; it would be: {RULE}"),
            "sudo cp udev/70-idevice-fix.rules /etc/udev/rules.d/ && sudo udevadm control --reload && sudo \
             udevadm trigger --subsystem-match=usb",
        ));
    };
    Some(Check::bad(
        NAME,
        Trouble::NoDevice,
        format!(
            "{whose} is on the bus, and this user may not open it in spite of {} (nobody's seat, nor in its group)",
            rule.display()
        ),
        "sudo udevadm trigger --subsystem-match=usb; without a seat: sudo adduser \"$USER\" idevice-fix",
    ))
}

/// The program that is in the way, by name.
fn holder(host: &Host, phone: &UsbDevice) -> Option<Check> {
    let taken: Vec<_> = phone.interfaces.iter().filter(|interface| interface.has_program()).collect();
    if taken.is_empty() {
        return None;
    }
    let mut programs = host.programs_at(phone);
    // We may be about to take it ourselves.
    let all = programs.len();
    programs.retain(|program| program.pid != std::process::id());
    let is_ours = programs.len() < all;
    let is_camera_program =
        |program: &&Process| CAMERA_PROGRAMS.iter().any(|name| program.name.starts_with(name));
    let whose = of(phone);
    if let Some(program) = programs.iter().find(is_camera_program) {
        return Some(Check::bad(
            NAME,
            Trouble::NoDevice,
            format!("{} holds {whose} as a camera", named(program)),
            "gio mount -s gphoto2",
        ));
    }
    let multiplexer = taken.iter().any(|interface| interface.is_multiplexer());
    let camera = taken.iter().any(|interface| interface.kind[0] == CAMERA);
    if !multiplexer && !camera {
        return None;
    }
    let Some(program) = programs.first() else {
        return (!is_ours).then(|| {
            Check::bad(
                NAME,
                Trouble::NoDevice,
                format!("another program, of another user, holds {whose}"),
                "sudo idevice-fix doctor  (it names the program)",
            )
        });
    };
    let what = if program.name == "usbmuxd" {
        format!("another usbmuxd ({}) holds {whose} than the one that is asked", named(program))
    } else {
        format!("{} holds {whose}", named(program))
    };
    Some(Check::bad(NAME, Trouble::NoDevice, what, format!("sudo kill {}", program.pid)))
}

/// A link that is slower than it need be.
fn link(phone: &UsbDevice, devices: &[UsbDevice]) -> Option<Check> {
    let speed = phone.speed_mbps?;
    let whose = of(phone);
    if speed <= SLOW_MBPS {
        let what = format!("the link to {whose} carries only {speed} Mbit/s");
        return Some(Check::notice(
            "speed",
            what,
            "try another cable, and a socket of this computer without a hub",
        ));
    }
    // A device of USB 3 on a link of USB 2 says 2.10; an older one says 2.00.
    let can_more = phone.usb_version.is_some_and(|version| version > USB_2) && speed <= 480;
    let hub = above(phone, devices).find(|hub| hub.usb_version.is_some_and(|version| version <= USB_2));
    let hub = hub.filter(|_| can_more)?;
    Some(Check::notice(
        "speed",
        format!("{whose} could be faster than the hub at {}, which is one of USB 2", plain(&hub.port)),
        "plug it into a socket of this computer, or a hub of USB 3",
    ))
}

/// What it can be charged with.
fn power(host: &Host, phone: &UsbDevice, devices: &[UsbDevice]) -> Option<Check> {
    const NAME: &str = "power";
    let whose = of(phone);
    if let Some(hub) = above(phone, devices).find(|hub| hub.self_powered == Some(false)) {
        let what = format!("{whose} hangs on the hub at {}, which has no power supply", plain(&hub.port));
        return Some(Check::notice(
            NAME,
            what,
            "use a hub with a power supply, or a socket of this computer",
        ));
    }
    let milliamps = phone.power_ma.filter(|power| *power > 0)?;
    Some(if host.charges_fast() {
        Check::good(NAME, format!("{whose} is charged with what it asks for"))
    } else if milliamps < 500 {
        let what = format!("{whose} may draw only {milliamps} mA, which hardly charges it");
        Check::notice(NAME, what, "plug it into a socket of this computer")
    } else {
        Check::good(NAME, format!("{whose} may draw {milliamps} mA"))
    })
}

/// The hubs between a device and the computer, the nearest first; not the computer's own.
fn above<'d>(device: &UsbDevice, devices: &'d [UsbDevice]) -> impl Iterator<Item = &'d UsbDevice> {
    let mut ports = Vec::new();
    let mut port = device.port.as_str();
    while let Some((hub, _)) = port.rsplit_once('.') {
        ports.push(hub.to_owned());
        port = hub;
    }
    ports.into_iter().filter_map(|port| devices.iter().find(|device| device.port == port))
}

fn serial(phone: &UsbDevice) -> Option<Udid> {
    phone.serial.as_deref().and_then(Udid::parse)
}

fn of(phone: &UsbDevice) -> String {
    let port = plain(&phone.port);
    match serial(phone) {
        Some(udid) => format!("{udid} (socket {port})"),
        None => format!("the device in socket {port}"),
    }
}

fn named(program: &Process) -> String {
    format!("{} (process {})", plain(&program.name), program.pid)
}

/// Programs that are in the way of phones, or soon will be.
pub(super) fn programs(host: &Host) -> Check {
    const NAME: &str = "other programs";
    let programs = host.programs();
    let taker =
        programs.iter().find(|program| CAMERA_PROGRAMS.iter().any(|name| program.name.starts_with(name)));
    if let Some(program) = taker {
        let what = format!("{} opens phones as cameras and can get in the way", named(program));
        return Check::notice(NAME, what, "gio mount -s gphoto2");
    }
    let muxers: Vec<&Process> = programs.iter().filter(|program| program.name == "usbmuxd").collect();
    if let [first, .., last] = muxers.as_slice() {
        let what = format!(
            "{} run ({} to {}): one takes phones from the other",
            words::counted(muxers.len() as u64, "usbmuxd", "usbmuxds"),
            first.pid,
            last.pid
        );
        return Check::notice(NAME, what, format!("sudo kill {}", last.pid));
    }
    Check::good(NAME, "none that takes phones for itself")
}
