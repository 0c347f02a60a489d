//! The phone leaves or falls silent at a message, or the disk is full at a write.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use idevice_fix::backup::make::Error;
use idevice_fix::mobilebackup2::host::{self, Patience};

use super::desk::{Content, Desk, copy_tree};
use super::trials;

/// More messages and files than any of these backups has.
const POINTS: usize = 2000;
const SHORT: Duration = Duration::from_secs(1);

/// What the phone does at every point of `at`, from the first message or file to the last; gives how many there were.
async fn at_every_point(
    base: &Desk,
    at: &str,
    kind: &str,
    full: bool,
    few: usize,
    ended: fn(&Error) -> bool,
) -> usize {
    let old = base.kept();
    let patience = match kind {
        "stall" => Patience {
            greeting: SHORT,
            first_message: SHORT,
            message: SHORT,
            stream: SHORT,
            ..Patience::default()
        },
        _ => Patience::default(),
    };
    // A few of them: at the beginning, and further apart later.
    let points: Vec<usize> = match trials(few, POINTS) {
        POINTS => (1..=POINTS).collect(),
        few => (1..=few).map(|n| n * n * 9).collect(),
    };
    let mut tried = 0;
    for point in points {
        let trial = format!("{kind} at {at} {point}, full: {full}");
        let desk = base.copy();
        desk.fault(&format!("[[fault]]\nat = \"{at}\"\nafter_messages = {point}\nkind = \"{kind}\"\n"));
        match desk.back_up_with(full, patience).await {
            Ok(_) => break,
            Err(error) => assert!(ended(&error), "{trial}: {error}"),
        }
        tried += 1;
        desk.stands(&old, &trial).await;
        desk.finishes(&trial).await;
    }
    eprintln!(
        "{kind} at {at}, full {full}: {tried} points; each time the old backup proven, the next run finished"
    );
    tried
}

fn broke_off(error: &Error) -> bool {
    matches!(error, Error::Talk(_) | Error::Lockdown(_) | Error::Disconnected(_))
}

fn silent(error: &Error) -> bool {
    matches!(error, Error::Talk(host::Error::Stalled { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_leaves_at_any_message_costs_nothing() {
    let base = Desk::changed().await;
    for full in [true, false] {
        assert!(at_every_point(&base, "backup-message", "unplug", full, 1, broke_off).await >= 1);
    }
    for full in [false, true].into_iter().take(trials(1, 2)) {
        assert!(at_every_point(&base, "backup-upload", "unplug", full, 1, broke_off).await >= 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_falls_silent_at_any_message_costs_nothing() {
    let base = Desk::changed().await;
    assert!(at_every_point(&base, "backup-message", "stall", false, 1, silent).await >= 1);
    if trials(1, 2) == 2 {
        assert!(at_every_point(&base, "backup-upload", "stall", false, 1, silent).await >= 1);
    }
}

/// A small disk of its own, if this user may mount one.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        mount(at, "size=512m,nr_inodes=100k").then_some(Self(at))
    }

    fn resize(&self, pages: u64, inodes: u64) {
        assert!(mount(self.0, &format!("remount,size={},nr_inodes={inodes}", pages * 4096)));
    }

    /// Pages and inodes in use.
    fn used(&self) -> (u64, u64) {
        let stat = rustix::fs::statvfs(self.0).unwrap();
        ((stat.f_blocks - stat.f_bfree) * stat.f_frsize / 4096, stat.f_files - stat.f_ffree)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn mount(at: &Path, options: &str) -> bool {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What can run out.
#[derive(Debug, Clone, Copy)]
enum Runs {
    OutOfPages,
    OutOfInodes,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_any_write_costs_nothing() {
    let desk = Desk::changed().await;
    let old = desk.kept();
    // Enough for two hundred writes.
    (200..264).step_by(2).for_each(|seed| desk.change(seed));
    let before = tempfile::tempdir().unwrap();
    copy_tree(desk.dest.path(), before.path());
    let Some(disk) = SmallDisk::mount(desk.dest.path()) else { return };
    for (runs, few, all) in [(Runs::OutOfPages, 2, 200), (Runs::OutOfInodes, 1, 60)] {
        let most = trials(few, all);
        let mut full = 0;
        for number in 0..most {
            let left = (2 * number + 1) * all / (2 * most);
            full += usize::from(full_at(&desk, &disk, before.path(), &old, runs, left as u64).await);
        }
        eprintln!(
            "{runs:?}: full at {full} of {most} points; each time the old backup proven, the next run finished"
        );
        assert!(full * 10 >= most * 9, "{runs:?}: only {full} of {most} found the disk full");
    }
}

/// Leaves so much room. `false`: it was enough.
async fn full_at(
    desk: &Desk,
    disk: &SmallDisk<'_>,
    before: &Path,
    old: &Content,
    runs: Runs,
    left: u64,
) -> bool {
    const PLENTY: (u64, u64) = (131_072, 100_000);
    let trial = format!("{runs:?} after {left}");
    disk.resize(PLENTY.0, PLENTY.1);
    let _ = std::fs::remove_dir_all(desk.host());
    copy_tree(before, desk.dest.path());
    let used = disk.used();
    match runs {
        Runs::OutOfPages => disk.resize(used.0 + left, PLENTY.1),
        Runs::OutOfInodes => disk.resize(PLENTY.0, used.1 + left),
    }
    match desk.back_up(false).await {
        Ok(_) => return false,
        Err(error) => assert!(error.is_disk_full(), "{trial}: {error}"),
    }
    desk.stands(old, &trial).await;
    disk.resize(PLENTY.0, PLENTY.1);
    desk.finishes(&trial).await;
    true
}
