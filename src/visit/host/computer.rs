//! The computer itself: its usbmuxd's age, its pair records, its clock.

use jiff::{SignedDuration, Timestamp};

use super::{Check, Trouble};
use crate::collect::bus::Host;
use crate::facts::text::plain;

/// This program was not written before.
const WRITTEN: &str = "2026-11-01T00:00:00Z";
/// Certificates of phones are for ten years; a clock that is later than this is wrong, or this program very old.
const TOO_LATE: &str = "2046-01-01T00:00:00Z";
/// A file may be this much younger than now.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// The last release of usbmuxd whose socket let every local user write files as its own (CVE-2025-66004, its issue 272).
const HOLE_UP_TO: [u32; 3] = [1, 1, 1];
/// The first day of the month in which it was mended.
const MENDED: u32 = 20_251_201;

/// The version of the package, if it says something.
pub(super) fn usbmuxd_version(host: &Host) -> Option<Check> {
    const NAME: &str = "usbmuxd's age";
    let version = host.package("usbmuxd")?;
    if !has_hole(&version) {
        return Some(Check::good(NAME, format!("version {}", plain(&version))));
    }
    Some(Check::notice(
        NAME,
        format!(
            "version {} lets every user of this computer write files as usbmuxd (CVE-2025-66004)",
            plain(&version)
        ),
        "sudo apt update && sudo apt install --only-upgrade usbmuxd",
    ))
}

/// Whether this version of the Debian package, or of one made from it, has the hole.
fn has_hole(version: &str) -> bool {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let (upstream, revision) = version.rsplit_once('-').unwrap_or((version, ""));
    let digits = |text: &str| -> Vec<u32> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        text[..end].split('.').filter_map(|part| part.parse().ok()).collect()
    };
    let mut release = digits(upstream);
    release.resize(HOLE_UP_TO.len(), 0);
    if release[..] != HOLE_UP_TO[..] {
        return release[..] < HOLE_UP_TO[..];
    }
    // A snapshot of the development carries its day: 1.1.1~git20250201, 1.1.1+git20251220.abcdef.
    let days = upstream.split(|c: char| !c.is_ascii_digit()).filter(|part| part.len() == 8);
    if let Some(day) = days.filter_map(|day| day.parse::<u32>().ok()).next() {
        return day < MENDED;
    }
    // Distributions mend it in place and say so in the revision.
    let stable_update = revision.contains("+deb") || revision.contains("~deb");
    let ubuntu_update = revision.split_once("ubuntu").is_some_and(|(_, update)| update.contains('.'));
    !(stable_update || ubuntu_update)
}

/// Whether usbmuxd can keep what makes a phone trust this computer.
pub(super) fn pair_records(host: &Host) -> Option<Check> {
    const NAME: &str = "pair records";
    const WHAT: &str = "usbmuxd cannot keep pair records, so that each plug asks for trust anew";
    // usbmuxd makes the folder itself when there is none.
    let folder = host.pair_records()?;
    let running = host.programs().into_iter().find(|program| program.name == "usbmuxd");
    let uid = running.map(|program| program.uid).or_else(|| host.uid_of("usbmux")).unwrap_or(0);
    if folder.read_only {
        let what = format!("{WHAT}: /var/lib/lockdown is mounted read-only");
        return Some(Check::bad(NAME, Trouble::Failed, what, "sudo mount -o remount,rw /var/lib/lockdown"));
    }
    let own = folder.uid == uid && folder.mode & 0o300 == 0o300;
    // Which groups it is in is not looked at: a folder that a group may write to is given the benefit.
    let others = folder.mode & 0o030 == 0o030 || folder.mode & 0o003 == 0o003;
    if uid == 0 || own || others {
        return Some(Check::good(NAME, "/var/lib/lockdown can be written by usbmuxd"));
    }
    let what = format!("{WHAT}: /var/lib/lockdown is not its own (mode {:04o})", folder.mode);
    Some(Check::bad(
        NAME,
        Trouble::Failed,
        what,
        "sudo chown usbmux /var/lib/lockdown && sudo chmod u+rwx /var/lib/lockdown",
    ))
}

/// A clock that is far off: certificates are not valid then, and ages mean nothing.
pub(super) fn clock(host: &Host, now: Timestamp) -> Check {
    const NAME: &str = "clock";
    let limit = |text: &str| text.parse::<Timestamp>().expect("a time written here");
    let newest = host.newest_record();
    let wrong = if now < limit(WRITTEN) {
        Some("it is before this program was written".to_owned())
    } else if now > limit(TOO_LATE) {
        Some("that is far in the future".to_owned())
    } else {
        newest
            .filter(|newest| newest.duration_since(now) > AHEAD)
            .map(|newest| format!("software was installed here on {}", newest.strftime("%F")))
    };
    match wrong {
        Some(why) => Check::bad(
            NAME,
            Trouble::Failed,
            format!("this computer's clock says {}, and {why}", now.strftime("%F %H:%M UTC")),
            "sudo timedatectl set-ntp true",
        ),
        None => Check::good(NAME, "plausible"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_the_hole_are_told_from_mended_ones() {
        for old in [
            "1.1.1-2",
            "1.1.0-2+b3",
            "1.0.8-2",
            "1.1.1-5~exp3ubuntu2",
            "2:1.1.1-6",
            "1.1.1~git20250201.9af2b12-1",
        ] {
            assert!(has_hole(old), "{old}");
        }
        for mended in [
            "1.1.1-2+deb12u1",
            "1.1.1-6+deb13u1",
            "1.1.1-5~exp3ubuntu2.1",
            "1.1.2-1",
            "1.2.0",
            "1.1.1+git20251220-1",
        ] {
            assert!(!has_hole(mended), "{mended}");
        }
        for odd in ["", "-", "ä", "1", "99999999999999999999-1"] {
            let _ = has_hole(odd);
        }
    }
}
