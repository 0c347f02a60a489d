//! `com.apple.mobile.notification_proxy`: a host observes the phone's notifications and posts its own. See
//! libimobiledevice's notification_proxy.h. The insecure variant, which needs no session, tells only of pairing.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plist::{Dictionary, Value};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::broadcast::error::RecvError;

use super::device::Device;
use super::healthy::dictionary;
use crate::frame::{self, DictExt, Encoding, Limits};
use crate::usbmux::Stream;

/// A change of `device.toml` is noticed within this, and told.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Names that one host may observe.
const NAMES_MAX: usize = 1024;
/// What a host that is not trusted may observe.
const INSECURE: &[&str] =
    &["com.apple.mobile.lockdown.request_pair", "com.apple.mobile.lockdown.request_host_buid"];

/// Serves one connection.
pub(super) async fn serve(stream: Stream, device: Arc<Device>, trusted: bool) -> io::Result<()> {
    let notifications = device.notifications();
    let (reader, writer) = tokio::io::split(stream);
    let observed = Mutex::new(BTreeSet::new());
    let writer = tokio::sync::Mutex::new(writer);
    let commands = commands(reader, &device, trusted, &observed);
    tokio::select! {
        ended = commands => {
            if ended? {
                say(&writer, dictionary! {"Command": "ProxyDeath"}).await?;
            }
            Ok(())
        }
        relayed = relay(notifications, &observed, &writer) => relayed,
        () = watch(&device) => Ok(()),
    }
}

/// Takes commands until the host leaves (`false`) or wants the proxy to end (`true`).
async fn commands(
    mut reader: ReadHalf<Stream>,
    device: &Device,
    trusted: bool,
    observed: &Mutex<BTreeSet<String>>,
) -> io::Result<bool> {
    loop {
        let command = match frame::read(&mut reader, &Limits::LOCKDOWN_UNTRUSTED).await {
            Err(frame::Error::Closed) => return Ok(false),
            other => other.map_err(io::Error::other)?,
        };
        let command = command.into_dictionary().unwrap_or_default();
        let name = command.string("Name").unwrap_or_default();
        match command.string("Command") {
            Some("ObserveNotification") if trusted || INSECURE.contains(&name) => {
                let mut observed = observed.lock().unwrap_or_else(PoisonError::into_inner);
                if observed.len() < NAMES_MAX {
                    observed.insert(name.to_owned());
                }
            }
            Some("PostNotification") if trusted => device.post_notification(name),
            Some("Shutdown") => return Ok(true),
            // There is no reply to a command, so a wrong one goes unanswered.
            _ => {}
        }
    }
}

/// What changes in `device.toml` happens to the phone when somebody looks, so somebody looks.
async fn watch(device: &Device) {
    loop {
        let _ = device.config();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn relay(
    mut notifications: tokio::sync::broadcast::Receiver<Arc<str>>,
    observed: &Mutex<BTreeSet<String>>,
    writer: &tokio::sync::Mutex<WriteHalf<Stream>>,
) -> io::Result<()> {
    loop {
        let name = match notifications.recv().await {
            Ok(name) => name,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return Ok(()),
        };
        let wanted = observed.lock().unwrap_or_else(PoisonError::into_inner).contains(&*name);
        if wanted {
            say(writer, dictionary! {"Command": "RelayNotification", "Name": &*name}).await?;
        }
    }
}

async fn say(writer: &tokio::sync::Mutex<WriteHalf<Stream>>, message: Dictionary) -> io::Result<()> {
    let mut writer = writer.lock().await;
    frame::write(&mut *writer, &Value::Dictionary(message), Encoding::Binary).await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tell(host: &mut tokio::io::DuplexStream, command: &str, name: &str) {
        let message = dictionary! {"Command": command, "Name": name};
        frame::write(host, &Value::Dictionary(message), Encoding::Xml).await.unwrap();
    }

    #[tokio::test]
    async fn a_change_of_the_file_is_told_and_a_stranger_hears_only_of_pairing() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        let open = |trusted| {
            let (host, phone) = tokio::io::duplex(1 << 16);
            tokio::spawn(serve(Box::new(phone), Arc::clone(&device), trusted));
            host
        };
        let (mut host, mut stranger) = (open(true), open(false));
        for name in ["com.apple.springboard.lockstate", INSECURE[0]] {
            tell(&mut host, "ObserveNotification", name).await;
            tell(&mut stranger, "ObserveNotification", name).await;
        }
        // Nobody who is not trusted may post.
        tell(&mut stranger, "PostNotification", "com.apple.springboard.lockstate").await;
        tokio::time::sleep(LOOK_EVERY).await;
        std::fs::write(folder.path().join("device.toml"), "[lock]\nstate = \"locked\"\n").unwrap();
        let heard = async |who: &mut tokio::io::DuplexStream| {
            let told = frame::read(who, &Limits::LOCKDOWN).await.unwrap().into_dictionary().unwrap();
            told.string("Name").unwrap().to_owned()
        };
        assert_eq!(heard(&mut host).await, "com.apple.springboard.lockstate");
        device.post_notification(INSECURE[0]);
        assert_eq!(heard(&mut host).await, INSECURE[0]);
        assert_eq!(heard(&mut stranger).await, INSECURE[0]);
    }

    #[tokio::test]
    async fn an_observed_notification_is_relayed_and_shutdown_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        let (mut host, phone) = tokio::io::duplex(1 << 16);
        let served = tokio::spawn(serve(Box::new(phone), device, true));
        tell(&mut host, "ObserveNotification", "a").await;
        tell(&mut host, "PostNotification", "b").await;
        tell(&mut host, "PostNotification", "a").await;
        let told = frame::read(&mut host, &Limits::LOCKDOWN).await.unwrap().into_dictionary().unwrap();
        assert_eq!((told.string("Command"), told.string("Name")), (Some("RelayNotification"), Some("a")));
        tell(&mut host, "Shutdown", "").await;
        let told = frame::read(&mut host, &Limits::LOCKDOWN).await.unwrap().into_dictionary().unwrap();
        assert_eq!(told.string("Command"), Some("ProxyDeath"));
        served.await.unwrap().unwrap();
    }
}
