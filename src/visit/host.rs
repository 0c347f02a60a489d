//! Is this computer ready? Each check names what is in the way and the one command that mends it. Nothing here talks
//! to a phone beyond asking the muxer for its list: no pairing, no trust.

mod bus;
mod computer;
#[cfg(test)]
mod tests;

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::space::{self, Space};
use super::stop::Trouble;
use super::words;
use crate::collect::bus::Host;
use crate::usbmux::{self, Attached};

/// Below this much free space a visit will hardly fit.
const LITTLE_SPACE_BYTES: u64 = 20_000_000_000;
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

/// A muxer that was asked which phones it has.
#[derive(Debug)]
pub struct Asked {
    /// It is our own, since no usbmuxd answers or none is wanted.
    pub is_own: bool,
    /// Its answer.
    pub devices: Result<Vec<Attached>, usbmux::Error>,
}

/// Looks at the muxer's answer, at this computer, and at the disk of `dest`.
#[must_use]
pub fn examine(host: &Host, muxer: &Asked, dest: &Path, now: Timestamp) -> Vec<Check> {
    let mut checks = vec![reachable(muxer)];
    checks.extend(computer::usbmuxd_version(host));
    checks.extend(bus::bus(host, muxer));
    checks.push(bus::programs(host));
    checks.extend(computer::pair_records(host));
    checks.push(computer::clock(host, now));
    checks.push(disk(space::at(dest), dest));
    checks
}

fn reachable(muxer: &Asked) -> Check {
    match &muxer.devices {
        Ok(devices) => {
            let listed = words::counted(devices.len() as u64, "device", "devices");
            let how = if muxer.is_own { "no usbmuxd is needed" } else { "phones can be reached" };
            Check::good("usbmuxd", format!("{how}; {listed} listed"))
        }
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

fn disk(space: std::io::Result<Space>, dest: &Path) -> Check {
    const NAME: &str = "disk";
    match space {
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
