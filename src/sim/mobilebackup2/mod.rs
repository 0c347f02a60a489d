//! `com.apple.mobilebackup2`, the phone's side: it greets, takes a request, and then drives the backup.
//!
//! The order of messages is the one that libimobiledevice and pymobiledevice3 were seen to accept, after traces of real
//! phones (libimobiledevice #180, #1071, #1135, #1224, #1582, #1660). What a backup holds comes from `media/` and `files/`
//! ([`catalog`]); its database and property lists are made in [`manifest`]. A restore ([`restore`]) and the readings of a
//! backup ([`inspect`]) take it from the host in the order of [`source`].
//!
//! What encrypts a backup is in [`encryption`], how its password changes in [`password`].

mod backup;
mod catalog;
mod content;
mod earlier;
mod encryption;
mod inspect;
mod link;
mod manifest;
mod password;
mod pending;
mod policy;
mod restore;
mod settings;
mod snapshot;
mod source;
mod space;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::device::Device;
use crate::mobilebackup2::message::{DeviceMessage, Response};
use crate::mobilebackup2::request::{HostMessage, Request};
use crate::usbmux::Stream;
use link::Link;

/// How long the phone waits for a word of the host.
const HOST_PATIENCE: Duration = Duration::from_secs(300);
/// The versions of the backup protocol that the phone speaks.
const PROTOCOL_VERSIONS: [f64; 2] = [2.0, 2.1];
/// `MBErrorDomain`: no such thing here.
const UNSUPPORTED: i64 = 1;
/// `MBErrorDomain`: what the host has of a backup cannot be used.
const BAD_MANIFEST: i64 = 205;

/// Why the phone ends a request without success: what it answers.
#[derive(Debug)]
struct Refusal {
    code: i64,
    description: String,
}

/// Why a backup ended before its end.
#[derive(Debug)]
enum Stop {
    /// The connection broke, or the host said something that is not understood.
    Broken(io::Error),
    /// The phone gives up and says why.
    Refused(Refusal),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Stop {
    /// Gives up with a code of `MBErrorDomain`.
    fn refuse(code: i64, what: impl std::fmt::Display) -> Self {
        let description = format!("{what} (MBErrorDomain/{code})");
        Self::Refused(Refusal { code, description })
    }
}

/// Serves one connection.
pub(super) async fn serve(stream: Stream, device: Arc<Device>) -> io::Result<()> {
    let mut link = Link::new(stream, device.clone());
    match talk(&mut link, &device).await {
        Ok(()) => Ok(()),
        Err(Stop::Broken(error)) => Err(error),
        Err(Stop::Refused(refusal)) => Err(io::Error::other(refusal.description)),
    }
}

async fn talk(link: &mut Link, device: &Arc<Device>) -> Result<(), Stop> {
    greet(link, device).await?;
    loop {
        let request = match link.hear().await? {
            Some(HostMessage::Request(request)) => request,
            Some(HostMessage::Hello { versions }) => {
                link.say(&hello(&versions)).await?;
                continue;
            }
            Some(HostMessage::Disconnect) | None => return Ok(()),
            Some(other) => return Err(io::Error::other(format!("{other:?} is no request")).into()),
        };
        let mut content = None;
        let answered = match &request {
            Request::Backup { target, force_full, .. } => {
                backup::run(link, device, target, *force_full).await
            }
            Request::ChangePassword { target, old, new } => {
                password::change(device, target, old.as_ref(), new.as_ref()).await
            }
            Request::Restore(restore) => match own(device, &restore.subject.target) {
                Ok(()) => restore::run(link, device, restore).await,
                other => other,
            },
            Request::Inspect { subject, what } => {
                inspect::run(link, device, subject, what).await.map(|text| content = text)
            }
            Request::EnableCloudBackup { enabled, .. } => settings::cloud_backup(device, *enabled),
            Request::EraseDevice { .. } => settings::erase(device).await,
            Request::Other { name } => Err(Stop::refuse(UNSUPPORTED, format!("{name} is not supported"))),
        };
        let response = match answered {
            Ok(()) => Response { content, ..Response::default() },
            Err(Stop::Refused(Refusal { code, description })) => {
                Response { code, description: Some(description), ..Response::default() }
            }
            Err(broken) => return Err(broken),
        };
        let done = response.code == 0;
        link.say(&DeviceMessage::Response(response)).await?;
        match request {
            Request::Restore(restore) if done && restore.options.reboot => restore::restart_soon(device),
            _ => {}
        }
    }
}

/// A request must be meant for this phone.
fn own(device: &Device, target: &str) -> Result<(), Stop> {
    let own = target == device.udid().as_str();
    if own { Ok(()) } else { Err(Stop::refuse(UNSUPPORTED, "the target is another device")) }
}

/// The phone is switched on.
///
/// # Errors
/// What putting a restore in place gave.
pub(super) fn phone_starts(device: &Device) -> io::Result<()> {
    settings::on_start(device)?;
    restore::on_start(device)
}

/// Agrees on versions.
async fn greet(link: &mut Link, device: &Device) -> Result<(), Stop> {
    let major = device.version().devicelink();
    link.say(&DeviceMessage::VersionExchange { major, minor: 0 }).await?;
    match link.hear().await? {
        Some(HostMessage::VersionOk { .. }) => {}
        other => return Err(io::Error::other(format!("{other:?} instead of a version")).into()),
    }
    link.say(&DeviceMessage::Ready).await?;
    match link.hear().await? {
        Some(HostMessage::Hello { versions }) => link.say(&hello(&versions)).await,
        other => Err(io::Error::other(format!("{other:?} instead of a greeting")).into()),
    }
}

/// The answer to a greeting: the highest version that both speak, or that there is none.
fn hello(versions: &[f64]) -> DeviceMessage {
    let common =
        PROTOCOL_VERSIONS.iter().rev().find(|ours| versions.iter().any(|v| (v - **ours).abs() < 0.01));
    let code = i64::from(common.is_none());
    let protocol_version = common.copied();
    DeviceMessage::Response(Response { code, protocol_version, ..Response::default() })
}
