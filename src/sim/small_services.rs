//! Services of a few lines: heartbeat, assertion_agent, mobileactivationd, crashreportmover.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use plist::{Dictionary, Value};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use super::device::Device;
use super::healthy::dictionary;
use super::plists::{reply, request};
use crate::frame::DictExt;
use crate::usbmux::Stream;

/// Between two heartbeats; the host is told so.
pub(super) const BEAT: Duration = Duration::from_secs(10);

/// `com.apple.mobile.heartbeat`: the phone says Marco and hangs up on a host that has not said Polo when the next
/// Marco is due (libimobiledevice heartbeat.h; go-ios `heartbeat`).
pub(super) async fn heartbeat(mut stream: Stream, beat: Duration) -> io::Result<()> {
    loop {
        reply(&mut stream, marco(beat)).await?;
        let asked = tokio::time::Instant::now();
        match timeout(beat, request(&mut stream)).await {
            Ok(Ok(Some(polo))) if polo.string("Command") == Some("Polo") => {}
            // Nothing in time, the host has left, or it says something else.
            _ => return stream.shutdown().await,
        }
        sleep(beat.saturating_sub(asked.elapsed())).await;
    }
}

fn marco(beat: Duration) -> Dictionary {
    dictionary! {"Command": "Marco", "Interval": beat.as_secs(), "SupportsSleepyTime": true}
}

/// `com.apple.mobile.assertion_agent`: keeps the phone awake for as long as the connection is open. Nothing here falls
/// asleep, so an assertion needs no more than its answer (pymobiledevice3 power_assertion.py).
pub(super) async fn assertions(mut stream: Stream) -> io::Result<()> {
    while let Some(asked) = request(&mut stream).await? {
        let answer = match asked.string("CommandKey") {
            Some("CommandCreateAssertion") => Dictionary::new(),
            _ => dictionary! {"Error": "UnknownCommand"},
        };
        reply(&mut stream, answer).await?;
    }
    Ok(())
}

/// `com.apple.mobileactivationd`: tells the state; who wants to change it needs Apple's servers, which are not here
/// (libideviceactivation #29, pymobiledevice3 mobile_activation.py). One request for each connection.
pub(super) async fn activation(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    let Some(asked) = request(&mut stream).await? else { return Ok(()) };
    let answer = match asked.string("Command") {
        Some("GetActivationStateRequest") => {
            let state = device.string("ActivationState").unwrap_or_default();
            dictionary! {"Value": state}
        }
        _ => dictionary! {"Error": "The request is not supported."},
    };
    reply(&mut stream, answer).await?;
    stream.shutdown().await
}

/// `com.apple.crashreportmover`: all reports are where they can be read already.
pub(super) async fn crash_report_mover(mut stream: Stream) -> io::Result<()> {
    stream.write_all(b"ping\0").await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::frame::{self, Encoding, Limits};

    const QUICK: Duration = Duration::from_millis(200);

    async fn heard(host: &mut tokio::io::DuplexStream) -> Option<Dictionary> {
        frame::read(host, &Limits::LOCKDOWN).await.ok()?.into_dictionary()
    }

    #[tokio::test]
    async fn the_heart_beats_as_long_as_it_is_answered() {
        let (mut host, phone) = tokio::io::duplex(1 << 12);
        let served = tokio::spawn(heartbeat(Box::new(phone), QUICK));
        let began = Instant::now();
        for _ in 0..3 {
            assert_eq!(heard(&mut host).await.unwrap().string("Command"), Some("Marco"));
            let polo = Value::Dictionary(dictionary! {"Command": "Polo"});
            frame::write(&mut host, &polo, Encoding::Xml).await.unwrap();
        }
        assert!(began.elapsed() >= QUICK * 2, "Marco comes once for each beat");
        heard(&mut host).await.unwrap();
        // No Polo: the phone hangs up.
        assert!(heard(&mut host).await.is_none());
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_host_that_says_something_else_is_hung_up_on() {
        let (mut host, phone) = tokio::io::duplex(1 << 12);
        tokio::spawn(heartbeat(Box::new(phone), QUICK));
        heard(&mut host).await.unwrap();
        let wrong = Value::Dictionary(dictionary! {"Command": "Pong"});
        frame::write(&mut host, &wrong, Encoding::Xml).await.unwrap();
        assert!(heard(&mut host).await.is_none());
    }

    #[tokio::test]
    async fn the_mover_says_ping_and_leaves() {
        let (mut host, phone) = tokio::io::duplex(64);
        crash_report_mover(Box::new(phone)).await.unwrap();
        let mut said = Vec::new();
        host.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"ping\0");
    }
}
