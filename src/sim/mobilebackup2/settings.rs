//! What a host changes on the phone without a backup: iCloud Backup, and the erasing of everything.
//!
//! `EraseDevice` exists since iOS 9 (libimobiledevice #463); the phone erases itself and drops the connection without an
//! answer (pymobiledevice3 #205). Here it is refused unless `device.toml` says `[erase] allowed = true`, because a folder
//! that is kept loses `media/`, `files/` and `state/` by it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use plist::Value;

use super::backup::in_background;
use super::{Stop, pending, restore};
use crate::sim::config::Lock;
use crate::sim::device::{Departure, Device};

const BACKUP_DOMAIN: &str = "com.apple.mobile.backup";
const CLOUD_KEY: &str = "CloudBackupEnabled";
/// Remembers what a host set; one byte.
const CLOUD_FILE: &str = "cloud-backup";
const REFUSED: i64 = 1;

/// Turns iCloud Backup on or off.
pub(super) fn cloud_backup(device: &Device, enabled: bool) -> Result<(), Stop> {
    device.write_state(CLOUD_FILE, if enabled { b"1" } else { b"0" })?;
    device.set_value(BACKUP_DOMAIN, CLOUD_KEY, Some(Value::Boolean(enabled)));
    device.post_notification("com.apple.mobile.backup.domain_changed");
    Ok(())
}

/// What was set before the phone was switched off.
pub(super) fn on_start(device: &Device) -> io::Result<()> {
    if let Some(told) = device.read_state(CLOUD_FILE)? {
        device.set_value(BACKUP_DOMAIN, CLOUD_KEY, Some(Value::Boolean(told == b"1")));
    }
    Ok(())
}

/// Erases the phone, if it may; it is on its way out then.
pub(super) async fn erase(device: &Arc<Device>) -> Result<(), Stop> {
    restore::find_my_is_off(device)?;
    if !device.config().erase.allowed {
        return Err(Stop::refuse(REFUSED, "Erasing is not allowed by the folder of this simulated phone"));
    }
    let phone = Arc::clone(device);
    in_background(move || {
        for tree in [phone.media(), phone.files(), phone.crashes(), phone.state()] {
            for name in tree.names(Path::new("."))? {
                pending::remove_all(tree, Path::new(&name))?;
            }
        }
        phone.set_backup_password(None)?;
        phone.forget_apps()
    })
    .await?;
    device.forget_pairings();
    device.forget_values();
    device.forget_times()?;
    device.set_value("com.apple.PurpleBuddy", "SetupDone", Some(Value::Boolean(false)));
    device.set_value(BACKUP_DOMAIN, CLOUD_KEY, Some(Value::Boolean(false)));
    device.leave(Departure::Restart);
    // Without a passcode there is nothing to unlock.
    device.set_lock(Lock::Unlocked);
    // The connection dies with the phone's leaving; no answer comes first.
    std::future::pending().await
}
