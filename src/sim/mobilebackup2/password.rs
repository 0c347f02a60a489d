//! `ChangePassword`: a host sets, changes or removes the password that encrypts this phone's backups.
//!
//! What the request must hold is read from libimobiledevice's `idevicebackup2.c` (only a new password sets one, only an old
//! one removes it); that iOS 13 and later want the passcode for it, from its issue #835. The code for a wrong password is
//! the one of its thread #155. In which order a phone looks at both is not known: here nothing is looked at before the
//! passcode.

use std::sync::Arc;

use super::backup::{in_background, passcode_entered};
use super::encryption::Protection;
use super::{Stop, UNSUPPORTED};
use crate::frame::DictExt;
use crate::mobilebackup2::Secret;
use crate::sim::device::Device;

/// `MBErrorDomain`: the password is wrong or missing.
const WRONG_PASSWORD: i64 = 207;
const BACKUP_DOMAIN: &str = "com.apple.mobile.backup";

/// Does what the request says.
pub(super) async fn change(
    device: &Arc<Device>,
    target: &str,
    old: Option<&Secret>,
    new: Option<&Secret>,
) -> Result<(), Stop> {
    if target != device.udid().as_str() {
        return Err(Stop::refuse(UNSUPPORTED, "the target is another device"));
    }
    if device.version().asks_passcode_for_password() {
        passcode_entered(device).await?;
    }
    let (old, new) = (text(old), text(new));
    let set = device.backup_password();
    if set.as_deref() != old {
        return Err(Stop::refuse(WRONG_PASSWORD, "Invalid password"));
    }
    let Some(new) = new else {
        return match (set, required(device)) {
            (None, _) => Err(Stop::refuse(UNSUPPORTED, "No password was given")),
            (Some(_), true) => Err(Stop::refuse(UNSUPPORTED, "Backups of this device must be encrypted")),
            (Some(_), false) => Ok(device.set_backup_password(None)?),
        };
    };
    device.set_backup_password(Some(new))?;
    // The bag is made now, while the host waits for the answer anyway, and not when a backup has begun.
    let device = Arc::clone(device);
    in_background(move || Protection::of(&device)).await?;
    Ok(())
}

/// An empty password is none.
fn text(secret: Option<&Secret>) -> Option<&str> {
    secret.and_then(Secret::text).filter(|text| !text.is_empty())
}

/// A profile demands that backups are encrypted.
fn required(device: &Device) -> bool {
    let domain = device.domain(BACKUP_DOMAIN);
    domain.boolean("RequiresEncryption").or_else(|| domain.uint("RequiresEncryption").map(|n| n != 0))
        == Some(true)
}
