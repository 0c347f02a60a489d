//! The one plan with figures, shown before the one question: what is copied where, how much it is, whether it fits, how
//! long it takes, and which taps on the phone it needs.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::space::{Disk, PHONE_MARGIN_BYTES, RESERVE_BYTES, fat_stop};
use super::stop::{Stop, Trouble};
use super::words;

/// What a cable and a phone together were seen to carry, for the estimate of time: 20–40 MB/s by USB 2.
const BYTES_PER_SECOND: u64 = 25_000_000;
/// A backup begins with silence: the phone prepares it.
const BACKUP_BEGINS_AFTER: Duration = Duration::from_secs(30);
/// Reading everything again, against the disk.
const VERIFY_BYTES_PER_SECOND: u64 = 300_000_000;

/// What is about to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The phone's folder.
    pub folder: PathBuf,
    /// Files of the photos that are not copied yet.
    pub photo_files: u64,
    /// Their bytes.
    pub photo_bytes: u64,
    /// Of these, files whose originals exist nowhere else.
    pub only_here_files: u64,
    /// The backup's bytes, as estimated: for one that builds upon another only what the phone will send; `None`: no backup is
    /// to be made.
    pub backup_bytes: Option<u64>,
    /// The last backup's bytes, where the file system cannot share them with the new one.
    pub kept_again_bytes: u64,
    /// An earlier backup is built upon.
    pub incremental: bool,
    /// Free at the folder.
    pub free_bytes: u64,
    /// The folder is on a FAT file system.
    pub fat: bool,
    /// Other disks that have room.
    pub other_disks: Vec<Disk>,
    /// The phone will ask for its passcode.
    pub passcode_needed: bool,
}

/// What the owner says to the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Go.
    Yes,
    /// Nothing is to be copied.
    No,
    /// The photos, and no backup.
    PhotosOnly,
    /// The same into another folder.
    OtherFolder(PathBuf),
    /// Nobody is there who could answer.
    Nobody,
}

impl Plan {
    /// Bytes that must be free.
    #[must_use]
    pub fn needed_bytes(&self) -> u64 {
        let backup = self.backup_bytes.map_or(0, |bytes| {
            bytes.saturating_add(self.kept_again_bytes).saturating_add(PHONE_MARGIN_BYTES)
        });
        self.photo_bytes.saturating_add(backup).saturating_add(RESERVE_BYTES)
    }

    /// It fits.
    #[must_use]
    pub fn fits(&self) -> bool {
        !self.fat && self.free_bytes >= self.needed_bytes()
    }

    /// Nothing would be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.photo_files == 0 && self.backup_bytes.is_none()
    }

    /// About how long it takes.
    #[must_use]
    pub fn time(&self) -> Duration {
        let bytes = self.photo_bytes.saturating_add(self.backup_bytes.unwrap_or(0));
        let silence = if self.backup_bytes.is_some() { BACKUP_BEGINS_AFTER } else { Duration::ZERO };
        silence + Duration::from_secs(bytes / BYTES_PER_SECOND + bytes / VERIFY_BYTES_PER_SECOND)
    }

    /// The plan without the backup.
    #[must_use]
    pub fn photos_only(&self) -> Self {
        Self { backup_bytes: None, passcode_needed: false, ..self.clone() }
    }

    /// Why it cannot be done here; `None` when it fits.
    #[must_use]
    pub fn obstacle(&self) -> Option<Stop> {
        if self.fat {
            return Some(fat_stop(&self.folder, self.elsewhere()));
        }
        (!self.fits()).then(|| {
            Stop::new(
                Trouble::NoSpace,
                format!(
                    "{} are needed at {} and {} are free: {} are missing.",
                    words::bytes(self.needed_bytes()),
                    self.folder.display(),
                    words::bytes(self.free_bytes),
                    words::bytes(self.needed_bytes() - self.free_bytes)
                ),
                self.elsewhere(),
            )
        })
    }

    fn elsewhere(&self) -> String {
        match self.other_disks.first() {
            Some(disk) => format!(
                "There is room on {} ({} free): --dest {}.",
                disk.path.display(),
                words::bytes(disk.free_bytes),
                disk.path.join("idevice-fix").display()
            ),
            None => "Free some space, or name another disk with --dest.".to_owned(),
        }
    }

    /// The plan for people, at most 80 columns a line as long as the folder's name is not longer.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from("The plan\n");
        let _ = writeln!(text, "  Photos   {}", self.photos_text());
        if let Some(bytes) = self.backup_bytes {
            let kind = if self.incremental { "what changed since the last one, about" } else { "at most" };
            let _ = writeln!(text, "  Backup   {kind} {}", words::bytes(bytes));
        }
        let _ = writeln!(text, "  Into     {}", self.folder.display());
        let _ = writeln!(
            text,
            "  Space    {} needed, {} free there",
            words::bytes(self.needed_bytes()),
            words::bytes(self.free_bytes)
        );
        let _ = writeln!(text, "  Time     about {}", words::duration(self.time()));
        let taps = if self.passcode_needed {
            "when the backup begins, the phone asks for its passcode; then no
           more, unless its screen locks and it stops: then unlock it once"
        } else {
            "none"
        };
        let _ = writeln!(text, "  Taps     {taps}");
        text
    }

    fn photos_text(&self) -> String {
        if self.photo_files == 0 {
            return "every file is copied already".to_owned();
        }
        let all = format!(
            "{}, {}",
            words::counted(self.photo_files, "file", "files"),
            words::bytes(self.photo_bytes)
        );
        match self.only_here_files {
            0 => all,
            n => format!("{all}; the {} that exist nowhere else first", words::count(n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            folder: PathBuf::from("/home/anna/idevice-fix/00008101-000000000000001E"),
            photo_files: 1_290,
            photo_bytes: 4_120_331_776,
            only_here_files: 37,
            backup_bytes: Some(30_000_000_000),
            kept_again_bytes: 0,
            incremental: false,
            free_bytes: 100_000_000_000,
            fat: false,
            other_disks: vec![],
            passcode_needed: true,
        }
    }

    #[test]
    fn the_plan_has_its_figures_and_fits_a_terminal() {
        let text = plan().text();
        for figure in [
            "1,290 files, 4.1 GB",
            "37",
            "30.0 GB",
            "34.8 GB needed, 100 GB free",
            "about 25 min",
            "passcode",
            "unlock it once",
        ] {
            assert!(text.contains(figure), "{figure}: {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(plan().obstacle(), None);
    }

    #[test]
    fn what_is_missing_is_said_in_bytes_with_a_way_out() {
        let mut short = Plan { free_bytes: 10_000_000_000, ..plan() };
        let stop = short.obstacle().unwrap();
        assert_eq!(stop.trouble, Trouble::NoSpace);
        assert!(stop.cause.contains("24.8 GB are missing"), "{stop}");
        assert!(stop.next.contains("--dest"), "{stop}");
        short.other_disks = vec![Disk { path: "/mnt/big".into(), free_bytes: 900_000_000_000 }];
        assert!(short.obstacle().unwrap().next.contains("--dest /mnt/big/idevice-fix"));
        assert!(Plan { free_bytes: 5_000_000_000, ..plan() }.photos_only().fits());
        let exfat = Plan { kept_again_bytes: 70_000_000_000, ..plan() };
        assert!(!exfat.fits() && exfat.photos_only().fits());
    }

    #[test]
    fn a_fat_disk_is_refused_however_much_is_free() {
        let stop = Plan { fat: true, free_bytes: u64::MAX, ..plan() }.obstacle().unwrap();
        assert!(stop.trouble == Trouble::NoSpace && stop.cause.contains("FAT"), "{stop}");
    }

    #[test]
    fn absurd_figures_do_not_overflow() {
        let absurd = Plan { photo_bytes: u64::MAX, backup_bytes: Some(u64::MAX), free_bytes: 0, ..plan() };
        assert!(absurd.obstacle().is_some() && !absurd.text().is_empty());
        assert!(absurd.time() > Duration::ZERO);
    }
}
