//! Is there room? One look at the disk before anything is copied, and the other disks that would do.

use std::io;
use std::path::{Path, PathBuf};

use super::stop::{Stop, Trouble};

/// Kept free for the computer itself: what is planned must leave this much.
pub const RESERVE_BYTES: u64 = 512 * 1024 * 1024;
/// A phone begins only when so much more is free than it is about to send (pymobiledevice3 #1886).
pub const PHONE_MARGIN_BYTES: u64 = 128 * 1024 * 1024;
/// `f_type` of FAT12, FAT16 and FAT32 (Linux `magic.h`, `MSDOS_SUPER_MAGIC`). exFAT is another and takes large files.
const FAT_MAGIC: u64 = 0x4d44;
/// `f_type` of exFAT (Linux `magic.h`, `EXFAT_SUPER_MAGIC`).
const EXFAT_MAGIC: u64 = 0x2011_BAB0;
/// File systems that are no disks, or no place for a person's data.
const NO_DISKS: [&str; 12] = [
    "proc", "sysfs", "tmpfs", "devtmpfs", "ramfs", "squashfs", "overlay", "vfat", "msdos", "iso9660",
    "efivarfs", "autofs",
];

/// What a folder's disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free for this user, in bytes.
    pub free_bytes: u64,
    /// FAT: no file of 4 GiB or more, no links, no permissions.
    pub fat: bool,
    /// Two backups cannot share their files here, so that each needs all of its room.
    pub no_links: bool,
}

/// A mounted disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Free for this user, in bytes.
    pub free_bytes: u64,
}

/// The space at `path`, or where it would be made.
///
/// # Errors
/// When not even the nearest folder above it can be asked.
pub fn at(path: &Path) -> io::Result<Space> {
    let there = path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let volume = rustix::fs::statvfs(there)?;
    let kind = rustix::fs::statfs(there)?.f_type;
    let fat = kind as u64 == FAT_MAGIC;
    let no_links = fat || kind as u64 == EXFAT_MAGIC;
    Ok(Space { free_bytes: volume.f_bavail.saturating_mul(volume.f_frsize), fat, no_links })
}

/// What is said of a FAT file system.
#[must_use]
pub fn fat_stop(folder: &Path, next: impl Into<String>) -> Stop {
    let cause = format!("{} is on a FAT file system, which cannot hold a backup.", folder.display());
    Stop::new(Trouble::NoSpace, cause, next)
}

/// Other mounted disks with room for `need_bytes`, the roomiest first.
#[must_use]
pub fn others_with_room(need_bytes: u64, not_here: &Path) -> Vec<Disk> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let here = device_of(not_here);
    let mut seen = Vec::from_iter(here);
    let mut disks: Vec<Disk> = Vec::new();
    for path in candidates(&mounts) {
        let Some(device) = device_of(&path) else { continue };
        let writable = rustix::fs::access(&path, rustix::fs::Access::WRITE_OK).is_ok();
        if seen.contains(&device) || !writable {
            continue;
        }
        seen.push(device);
        match at(&path) {
            Ok(space) if !space.fat && space.free_bytes >= need_bytes => {
                disks.push(Disk { path, free_bytes: space.free_bytes });
            }
            _ => {}
        }
    }
    disks.sort_by_key(|disk| std::cmp::Reverse(disk.free_bytes));
    disks
}

fn device_of(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    path.ancestors().find_map(|above| std::fs::metadata(above).ok()).map(|metadata| metadata.dev())
}

/// The mount points that may hold a person's data, out of the text of `/proc/self/mounts`.
fn candidates(mounts: &str) -> Vec<PathBuf> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, point, kind, options) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let point = unescaped(point);
            let ours = ["/boot", "/proc", "/sys", "/dev", "/snap", "/efi", "/etc"];
            let system = ours.iter().any(|top| Path::new(&point).starts_with(top))
                || (point.starts_with("/run/") && !point.starts_with("/run/media/"));
            let read_only = options.split(',').any(|option| option == "ro");
            (!system && !read_only && !NO_DISKS.contains(&kind)).then(|| PathBuf::from(point))
        })
        .collect()
}

/// The kernel writes blanks and backslashes in mount points as three octal digits.
fn unescaped(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let bytes = field.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\')
            .then(|| field.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok()))
            .flatten();
        out.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_space_of_its_parent() {
        let temp = tempfile::tempdir().unwrap();
        let space = at(&temp.path().join("not/there/yet")).unwrap();
        assert!(space.free_bytes > 0 && !space.fat);
        assert!(at(Path::new("relative/nowhere")).is_ok());
    }

    #[test]
    fn only_disks_of_people_are_offered() {
        let mounts = "/dev/sda1 / ext4 rw,relatime 0 0\n\
                      proc /proc proc rw 0 0\n\
                      tmpfs /run/user/1000 tmpfs rw 0 0\n\
                      /dev/sda2 /boot ext4 rw 0 0\n\
                      /dev/sdb1 /run/media/anna/My\\040Disk exfat rw 0 0\n\
                      /dev/sdc1 /mnt/stick vfat rw 0 0\n\
                      /dev/sdd1 /mnt/archive ext4 ro,relatime 0 0\n\
                      broken line\n";
        assert_eq!(candidates(mounts), [PathBuf::from("/"), PathBuf::from("/run/media/anna/My Disk")]);
    }

    #[test]
    fn odd_mount_points_do_not_panic() {
        for odd in ["\\", "\\0", "\\04", "\\999", "a\\040b", "é\\é\\04é", "\\134"] {
            let _ = unescaped(odd);
        }
        assert_eq!(unescaped("a\\134b"), "a\\b");
    }

    #[test]
    fn a_disk_without_room_is_not_offered() {
        assert!(others_with_room(u64::MAX, Path::new("/")).is_empty());
    }
}
