//! Services of a few lines: heartbeat, MCInstall, house_arrest, syslog_relay, crashreportmover.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use plist::{Dictionary, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::device::Device;
use super::healthy::dictionary;
use super::plists::{reply, request};
use crate::frame::DictExt;
use crate::usbmux::Stream;

/// Between two heartbeats; the host is told so.
const BEAT: Duration = Duration::from_secs(10);
/// A host that misses so long is gone.
const BEAT_MISSED: Duration = Duration::from_secs(30);

/// `com.apple.mobile.heartbeat`: Marco — Polo.
pub(super) async fn heartbeat(mut stream: Stream) -> io::Result<()> {
    loop {
        let marco = dictionary! {"Command": "Marco", "Interval": BEAT.as_secs(), "SupportsSleepyTime": true};
        reply(&mut stream, marco).await?;
        match timeout(BEAT_MISSED, request(&mut stream)).await?? {
            Some(polo) if polo.string("Command") == Some("Polo") => sleep(BEAT).await,
            _ => return Ok(()),
        }
    }
}

/// `com.apple.mobile.MCInstall`: tells of profiles and management; installs nothing.
pub(super) async fn profiles(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    while let Some(asked) = request(&mut stream).await? {
        let told = match asked.string("RequestType") {
            Some("HelloHostIdentifier" | "Flush") => Some(Dictionary::new()),
            Some(kind) => device.profiles().dict(kind).cloned(),
            None => None,
        };
        reply(&mut stream, told.map_or_else(profile_error, acknowledged)).await?;
    }
    Ok(())
}

fn acknowledged(mut told: Dictionary) -> Dictionary {
    if !told.contains_key("Status") {
        told.insert("Status".to_owned(), "Acknowledged".into());
    }
    told
}

fn profile_error() -> Dictionary {
    let error = dictionary! {
        "ErrorCode": 12_000, "ErrorDomain": "MCInstallationErrorDomain",
        "LocalizedDescription": "The request is not supported.",
    };
    dictionary! {"Status": "Error", "ErrorChain": Value::Array(vec![Value::Dictionary(error)])}
}

/// `com.apple.mobile.house_arrest`: no application here shares its files.
pub(super) async fn house_arrest(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    while let Some(asked) = request(&mut stream).await? {
        let id = asked.string("Identifier").unwrap_or_default();
        let installed = device.apps().iter().any(|app| app.string("CFBundleIdentifier") == Some(id));
        let error = if installed { "InstallationLookupFailed" } else { "ApplicationLookupFailed" };
        reply(&mut stream, dictionary! {"Error": error}).await?;
    }
    Ok(())
}

/// `com.apple.syslog_relay`: the lines of `syslog.txt`, then silence until the host leaves.
pub(super) async fn syslog(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    for line in device.syslog()?.lines() {
        stream.write_all(line.as_bytes()).await?;
        stream.write_all(b"\n\0").await?;
    }
    stream.flush().await?;
    let mut told = [0; 256];
    while stream.read(&mut told).await? > 0 {}
    Ok(())
}

/// `com.apple.crashreportmover`: all reports are where they can be read already.
pub(super) async fn crash_report_mover(mut stream: Stream) -> io::Result<()> {
    stream.write_all(b"ping\0").await?;
    stream.shutdown().await
}
