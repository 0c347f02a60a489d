//! Is this computer ready? Each check names what is in the way and the one command that mends it. Nothing here talks
//! to a phone beyond asking the muxer for its list: no pairing, no trust.

use std::path::Path;

use serde::Serialize;

use super::space;
use super::stop::Trouble;
use super::words;
use crate::facts::text::plain;
use crate::muxd::usb::{Mode, OnBus};
use crate::usbmux::{self, Attached};

/// Below this much free space a visit will hardly fit.
const LITTLE_SPACE_BYTES: u64 = 20_000_000_000;
/// Programs that take a phone's camera interface for themselves, by the first 15 letters of their names, which is what
/// the kernel keeps.
const CAMERA_PROGRAMS: [&str; 2] = ["gvfsd-gphoto2", "gphoto2"];

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Good,
    /// Worth knowing; a visit works.
    Notice,
    /// In the way of a visit.
    Bad,
}

/// One check of this computer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub state: State,
    /// In one sentence.
    pub text: String,
    /// The one command or act that mends it.
    pub mend: Option<String>,
    /// What it means for the exit status.
    #[serde(skip)]
    pub trouble: Option<Trouble>,
}

impl Check {
    fn good(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, state: State::Good, text: text.into(), mend: None, trouble: None }
    }

    fn notice(name: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, state: State::Notice, text: text.into(), mend: Some(mend.into()), trouble: None }
    }

    fn bad(name: &'static str, trouble: Trouble, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, state: State::Bad, text: text.into(), mend: Some(mend.into()), trouble: Some(trouble) }
    }
}

/// Looks at usbmuxd's answer, at what the bus shows, and at the disk of `dest`.
#[must_use]
pub fn examine(devices: &Result<Vec<Attached>, usbmux::Error>, on_bus: &[OnBus], dest: &Path) -> Vec<Check> {
    vec![muxer(devices), bus(devices, on_bus), camera_programs(), disk(dest)]
}

fn muxer(devices: &Result<Vec<Attached>, usbmux::Error>) -> Check {
    match devices {
        Ok(devices) => Check::good(
            "usbmuxd",
            format!("answers and lists {}", words::counted(devices.len() as u64, "device", "devices")),
        ),
        Err(error @ usbmux::Error::NotRunning(_)) => Check::bad(
            "usbmuxd",
            Trouble::NoDevice,
            error.to_string(),
            "sudo apt install usbmuxd && sudo systemctl start usbmuxd",
        ),
        Err(error @ usbmux::Error::NoPermission(path)) => Check::bad(
            "usbmuxd",
            Trouble::NoDevice,
            error.to_string(),
            format!("ls -l {path}  (then ask its owner's group to add you)"),
        ),
        Err(error @ usbmux::Error::BadAddress(_)) => {
            Check::bad("usbmuxd", Trouble::Usage, error.to_string(), "unset USBMUXD_SOCKET_ADDRESS")
        }
        Err(error) => {
            Check::bad("usbmuxd", Trouble::NoDevice, error.to_string(), "sudo systemctl restart usbmuxd")
        }
    }
}

fn bus(devices: &Result<Vec<Attached>, usbmux::Error>, seen: &[OnBus]) -> Check {
    const NAME: &str = "USB";
    if let Some(odd) = seen.iter().find(|device| device.mode != Mode::Normal) {
        let mode = if odd.mode == Mode::Recovery { "recovery" } else { "DFU" };
        let what = format!("a device is in {mode} mode: iOS does not run on it");
        return Check::bad(NAME, Trouble::PersonNeeded, what, "restart it with its buttons");
    }
    let listed = devices.as_ref().map_or(0, Vec::len);
    if seen.len() > listed {
        let hidden = words::counted((seen.len() - listed) as u64, "device is", "devices are");
        let why = if let Some(program) = seen.iter().find_map(|device| device.held_by.as_ref()) {
            format!(", and {} uses it", plain(program))
        } else if seen.iter().any(|device| !device.permitted) {
            " and this user may not open".to_owned()
        } else {
            String::new()
        };
        let what = format!("{hidden} on the bus that usbmuxd does not list{why}");
        return Check::notice(NAME, what, "sudo systemctl restart usbmuxd");
    }
    match seen.len() {
        0 => Check::notice(
            NAME,
            "no iPhone or iPad is on the bus",
            "plug one in with a data cable and unlock it",
        ),
        n => Check::good(NAME, format!("{} on the bus", words::counted(n as u64, "device", "devices"))),
    }
}

fn camera_programs() -> Check {
    const NAME: &str = "other programs";
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Check::good(NAME, "not looked at: this system has no /proc");
    };
    let taker = processes.flatten().find_map(|entry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        CAMERA_PROGRAMS
            .iter()
            .any(|taker| name.trim_end().starts_with(taker))
            .then(|| name.trim_end().to_owned())
    });
    match taker {
        Some(name) => Check::notice(
            NAME,
            format!("{name} opens phones as cameras and can get in the way"),
            "gio mount -s gphoto2",
        ),
        None => Check::good(NAME, "none that takes phones for itself"),
    }
}

fn disk(dest: &Path) -> Check {
    const NAME: &str = "disk";
    match space::at(dest) {
        Err(error) => Check::bad(
            NAME,
            Trouble::NoSpace,
            format!("{} cannot be asked for its space: {error}", dest.display()),
            "name another folder with --dest",
        ),
        Ok(space) if space.fat => Check::bad(
            NAME,
            Trouble::NoSpace,
            format!("{} is on a FAT file system, which cannot hold a backup", dest.display()),
            "name another disk with --dest",
        ),
        Ok(space) if space.free_bytes < LITTLE_SPACE_BYTES => Check::notice(
            NAME,
            format!(
                "{} free at {}: a phone with many photos will not fit",
                words::bytes(space.free_bytes),
                dest.display()
            ),
            "name another disk with --dest",
        ),
        Ok(space) => {
            Check::good(NAME, format!("{} free at {}", words::bytes(space.free_bytes), dest.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usbmux::{DeviceId, Udid};

    fn attached() -> Attached {
        let udid = Udid::parse("00008101-000000000000001E").unwrap();
        Attached { id: DeviceId(1), udid, product_id: 0x12a8, location_id: 0, speed_bps: 0 }
    }

    #[test]
    fn a_missing_usbmuxd_is_named_with_its_command() {
        let check = muxer(&Err(usbmux::Error::NotRunning("/var/run/usbmuxd".to_owned())));
        assert_eq!((check.state, check.trouble), (State::Bad, Some(Trouble::NoDevice)));
        assert!(check.mend.unwrap().contains("apt install usbmuxd"));
    }

    #[test]
    fn a_ready_computer_is_not_flagged() {
        assert_eq!(muxer(&Ok(vec![attached()])).state, State::Good);
        assert_eq!(bus(&Ok(vec![attached()]), &[]).state, State::Notice, "none on the bus is no obstacle");
    }
}
