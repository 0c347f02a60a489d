//! One restore: from the backup's records on the host to a phone that restarts with it.
//!
//! The order of messages follows traces of real restores: the records one by one (libimobiledevice #801), then files in
//! batches (#438), all into a folder of the phone's own, whose move into place ends it (#726, #787); the restart puts them
//! where they belong. The refusals have the codes and words of such traces: 211 while Find My is on, 105 with both numbers
//! (#460), 205 for what could not be downloaded (#801). No trace shows `DLMessageCopyItem` in a restore: that a phone asks
//! for a copy beside the backup, unless told not to, follows from what hosts say their option does.

use std::io;
use std::sync::Arc;

use super::backup::in_background;
use super::catalog::Kind;
use super::link::Link;
use super::pending;
use super::policy::Policy;
use super::source::{Held, Source};
use super::{BAD_MANIFEST, Stop};
use crate::mobilebackup2::message::DeviceMessage;
use crate::mobilebackup2::wish::Restore;
use crate::sim::device::Device;
use crate::sim::version::IosVersion;

/// A batch of files ends with so many bytes or files.
const BATCH_BYTES: u64 = 32 << 20;
const BATCH_FILES: usize = 256;
/// What a live database may have grown by since its row was made, and the records themselves.
const SLACK_BYTES: u64 = 1 << 30;

const NO_ROOM: i64 = 105;
const TOO_NEW: i64 = 203;
/// A general failure: no trace shows two restores at once.
const UNDER_WAY: i64 = 1;
const FIND_MY_ON: i64 = 211;

/// Restores the phone. What was restored waits for its restart.
pub(super) async fn run(link: &mut Link, device: &Arc<Device>, restore: &Restore) -> Result<(), Stop> {
    find_my_is_off(device)?;
    let Ok(_alone) = device.restoring.try_lock() else {
        return Err(Stop::refuse(UNDER_WAY, "Another restore is under way"));
    };
    let folder = in_background({
        let device = Arc::clone(device);
        move || pending::begin(&device)
    });
    let folder = folder.await?;
    let restored = take(link, device, restore, folder).await;
    if restored.is_err() {
        pending::abandon(device)?;
    }
    restored
}

async fn take(
    link: &mut Link,
    device: &Arc<Device>,
    restore: &Restore,
    folder: cap_std::fs::Dir,
) -> Result<(), Stop> {
    let root = &restore.subject.source;
    let source = Source::open(link, root, folder, restore.password.clone()).await?;
    fits(device, &source)?;
    let policy = Policy { options: restore.options, apps: pending::apps(device) };
    let held: Vec<&Held> =
        source.held.iter().filter(|held| policy.takes(&held.domain, held.path())).collect();
    let files: Vec<&Held> = held.iter().copied().filter(|held| held.kind == Kind::File).collect();
    let room = room(device, &files)?;
    if !restore.options.dont_copy_backup {
        copy(link, &source).await?;
    }
    fetch(link, &source, &files, room).await?;
    pending::complete(device, &policy, source.encrypted, &held)
}

pub(super) fn find_my_is_off(device: &Device) -> Result<(), Stop> {
    let on = device.value("com.apple.fmip", "IsAssociated").and_then(|on| on.as_boolean()).unwrap_or(false);
    if on {
        return Err(Stop::refuse(FIND_MY_ON, "Find My iPhone must be disabled before restoring"));
    }
    Ok(())
}

/// An older system cannot read what a newer one has written.
fn fits(device: &Device, source: &Source) -> Result<(), Stop> {
    let Some(text) = source.lockdown("ProductVersion") else {
        return Err(Stop::refuse(BAD_MANIFEST, "The backup does not say which system made it"));
    };
    let newer = IosVersion::parse(&text).is_none_or(|theirs| theirs > device.version());
    if newer {
        let what = format!("The backup is of a newer system ({text}) than this one ({})", device.version());
        return Err(Stop::refuse(TOO_NEW, what));
    }
    Ok(())
}

/// How many bytes may come.
fn room(device: &Device, files: &[&Held]) -> Result<u64, Stop> {
    let free = device.value("com.apple.disk_usage", "AmountDataAvailable");
    let free = free.and_then(|free| free.as_unsigned_integer()).unwrap_or(u64::MAX);
    let need = files.iter().fold(0u64, |sum, held| sum.saturating_add(held.file.size));
    if need >= free {
        let what = format!("Insufficient free disk space on device to restore ({free} < {need})");
        return Err(Stop::refuse(NO_ROOM, what));
    }
    Ok(need.saturating_add(SLACK_BYTES).min(free))
}

/// A copy of the whole backup beside it, under a name of the kind that iTunes gives to its archived ones.
async fn copy(link: &mut Link, source: &Source) -> Result<(), Stop> {
    let made = source.date().unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let to = format!("{}-{}", source.root, made.strftime("%Y%m%d-%H%M%S"));
    let copy = DeviceMessage::CopyItem { from: source.root.clone(), to };
    let status = link.ask(&copy).await?;
    if status.code == 0 {
        return Ok(());
    }
    let text = status.text.unwrap_or_default();
    Err(Stop::refuse(BAD_MANIFEST, format!("Error copying the backup: {} {text}", status.code)))
}

async fn fetch(link: &mut Link, source: &Source, files: &[&Held], room: u64) -> Result<(), Stop> {
    let total: u64 = files.iter().map(|held| held.file.size).sum();
    let (mut done, mut left, mut rest) = (0u64, room, files);
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(batch(rest));
        let progress = 5.0 + 90.0 * (done as f64 / total.max(1) as f64).min(1.0);
        // What has come counts, not what the backup says.
        left -= source.fetch(link, progress, batch, left).await?;
        let bytes: u64 = batch.iter().map(|held| held.file.size).sum();
        done += bytes;
        rest = after;
    }
    Ok(())
}

/// How many files come next.
fn batch(files: &[&Held]) -> usize {
    let mut bytes = 0u64;
    let small = files.iter().take(BATCH_FILES).take_while(|held| {
        let fits = bytes < BATCH_BYTES;
        bytes = bytes.saturating_add(held.file.size);
        fits
    });
    small.count().max(1)
}

/// The phone restarts by itself some time after it has answered, so that the host can say good-bye.
pub(super) fn restart_soon(device: &Arc<Device>) {
    use crate::sim::device::Departure;
    use std::time::Duration;
    const RESTARTS_AFTER: Duration =
        if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(2) };
    let device = Arc::downgrade(device);
    tokio::spawn(async move {
        tokio::time::sleep(RESTARTS_AFTER).await;
        if let Some(device) = device.upgrade() {
            device.leave(Departure::Restart);
        }
    });
}

/// A folder that is opened is a phone that starts.
pub(super) fn on_start(device: &Device) -> io::Result<()> {
    pending::finish(device)
}
