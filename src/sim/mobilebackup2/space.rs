//! Whether the host has room, by Apple's rule.
//!
//! Measured on iOS 26 (pymobiledevice3 #1886): a backup needs what it sends and 128 MiB, and more than that must be free. If
//! it is not, the phone asks the host to purge what is missing and 2 GiB; only a host that says it has done so is asked again
//! what is free. Then the phone gives up with 105 and both numbers.

use super::Stop;
use super::link::Link;
use crate::mobilebackup2::message::DeviceMessage;
use crate::mobilebackup2::request::StatusValue;
use crate::sim::version::IosVersion;

/// What must be free besides what is sent.
const MARGIN_BYTES: u64 = 128 << 20;
/// Added to what a purge is asked for.
const PURGE_EXTRA_BYTES: u64 = 2 << 30;
const HOST_FULL: i64 = 105;

/// Goes on only if the host has room for so many bytes.
pub(super) async fn check(link: &mut Link, version: IosVersion, bytes: u64) -> Result<(), Stop> {
    let need = bytes.saturating_add(MARGIN_BYTES);
    let mut free = free_bytes(link).await?;
    if free <= need && version.at_least(14, 0) {
        let bytes = (need - free).saturating_add(PURGE_EXTRA_BYTES);
        if link.ask(&DeviceMessage::PurgeDiskSpace { bytes }).await?.code == 0 {
            free = free_bytes(link).await?;
        }
    }
    if free > need {
        return Ok(());
    }
    let what = format!("Insufficient free disk space on drive to back up ({free} < {need})");
    Err(Stop::refuse(HOST_FULL, what))
}

async fn free_bytes(link: &mut Link) -> Result<u64, Stop> {
    match link.demand(&DeviceMessage::FreeDiskSpace).await?.value {
        StatusValue::Bytes(bytes) => Ok(bytes),
        _ => Ok(0),
    }
}
