//! The small services: the battery's registry entries, MobileGestalt, the names that notification_proxy takes, the
//! form of installation_proxy's answers.

use std::time::Duration;

use plist::{Dictionary, Value};
use tokio::time::timeout;

use super::node::{Node, Section};
use super::reason;
use super::shape;
use super::word::Word;
use crate::frame::{self, DictExt, Encoding, Limits};
use crate::lockdown::Session;
use crate::services::diagnostics::{self, Entry};
use crate::services::{Error, installation_proxy};

const ENTRIES: &[(&str, Entry<'static>)] = &[
    ("AppleSmartBattery", Entry::Name("AppleSmartBattery")),
    ("AppleARMPMUCharger", Entry::Name("AppleARMPMUCharger")),
    ("class IOPMPowerSource", Entry::Class("IOPMPowerSource")),
];
/// How long one entry may take.
const ENTRY_WAIT: Duration = Duration::from_secs(5);

/// What a host observes; observing changes nothing.
const NOTIFICATIONS: &[&str] = &[
    "com.apple.LocalAuthentication.ui.dismissed",
    "com.apple.LocalAuthentication.ui.presented",
    "com.apple.itunes-client.syncCancelRequest",
    "com.apple.itunes-client.syncResumeRequest",
    "com.apple.itunes-client.syncSuspendRequest",
    "com.apple.language.changed",
    "com.apple.mobile.application_installed",
    "com.apple.mobile.application_uninstalled",
    "com.apple.mobile.backup.domain_changed",
    "com.apple.mobile.data_sync.domain_changed",
    "com.apple.mobile.lockdown.activation_state",
    "com.apple.mobile.lockdown.device_name_changed",
    "com.apple.mobile.lockdown.disk_usage_changed",
    "com.apple.mobile.lockdown.phone_number_changed",
    "com.apple.mobile.lockdown.request_pair",
    "com.apple.mobile.lockdown.timezone_changed",
    "com.apple.mobile.lockdown.trusted_host_attached",
    "com.apple.springboard.attemptactivation",
];
const PROXY: &str = "com.apple.mobile.notification_proxy";
/// How long the proxy may take to say goodbye.
const GOODBYE_WAIT: Duration = Duration::from_secs(5);
/// Messages that may come before it does.
const MESSAGES_MAX: usize = 100;
/// Apps whose keys are told.
const APPS_MAX: usize = 400;

/// diagnostics_relay.
pub(super) async fn diagnostics(session: &Session, into: &mut Section) {
    for (name, entry) in ENTRIES {
        let told = match timeout(ENTRY_WAIT, diagnostics::ioregistry(session, *entry)).await {
            Err(_) => Node::own("no answer in time"),
            Ok(Err(error)) => reason::of_service(&error).into(),
            Ok(Ok(None)) => Node::own("no such entry"),
            Ok(Ok(Some(values))) => shape::of_dictionary(&values),
        };
        into.section(Word::own("IORegistry")).insert(Word::own(name), told);
    }
    let keys = ["ProductVersion", "PasswordConfigured"];
    let gestalt = match timeout(ENTRY_WAIT, diagnostics::mobile_gestalt(session, &keys)).await {
        Err(_) => Node::own("no answer in time"),
        Ok(Err(error)) => reason::of_service(&error).into(),
        Ok(Ok(None)) => Node::own("not answered any more"),
        Ok(Ok(Some(values))) => shape::of_dictionary(&values),
    };
    into.put("MobileGestalt", gestalt);
}

/// notification_proxy: every name is observed, and after the last one the end of the talk is asked for. What comes before
/// the goodbye came on its own.
pub(super) async fn notifications(session: &Session, into: &mut Section) -> Result<(), Error> {
    let mut stream = session.start_service(PROXY).await?;
    let wire = |source| Error::Wire { service: PROXY, source };
    for name in NOTIFICATIONS {
        let message = command(&[("Command", "ObserveNotification"), ("Name", name)]);
        let told = match frame::write(&mut stream, &message, Encoding::Xml).await {
            Ok(()) => "taken",
            Err(_) => "the connection broke",
        };
        into.section(Word::own("observed")).insert(Word::own(name), Node::own(told));
    }
    frame::write(&mut stream, &command(&[("Command", "Shutdown")]), Encoding::Xml).await.map_err(wire)?;
    for _ in 0..MESSAGES_MAX {
        let next = timeout(GOODBYE_WAIT, frame::read(&mut stream, &Limits::LOCKDOWN_UNTRUSTED)).await;
        let message = next.map_err(|_| Error::Timeout(PROXY))?.map_err(wire)?;
        let said = message.as_dictionary().and_then(|message| message.string("Command"));
        match said {
            Some("ProxyDeath") => {
                into.put("goodbye", Word::own("ProxyDeath"));
                return Ok(());
            }
            Some("RelayNotification") => into.put("a notification came by itself", true),
            _ => into.put("goodbye", Word::own("another message")),
        }
    }
    Ok(())
}

fn command(entries: &[(&str, &str)]) -> Value {
    let mut message = Dictionary::new();
    for (key, value) in entries {
        message.insert((*key).to_owned(), (*value).into());
    }
    Value::Dictionary(message)
}

/// installation_proxy: which keys the apps that were installed by the owner have; which apps is nobody's business.
pub(super) async fn apps(session: &Session, into: &mut Section) -> Result<(), Error> {
    let attributes = [
        "CFBundleIdentifier",
        "CFBundleVersion",
        "ApplicationType",
        "ApplicationSINF",
        "iTunesMetadata",
        "Container",
        "Path",
        "StaticDiskUsage",
        "DynamicDiskUsage",
        "UIFileSharingEnabled",
        "SignerIdentity",
        "IsDemotedApp",
        "IsAppClip",
    ];
    let apps = installation_proxy::browse(session, "User", &attributes).await?;
    into.put("apps of the owner", Word::about(apps.len() as u64));
    let mut keys = Dictionary::new();
    for app in apps.iter().take(APPS_MAX) {
        for (key, value) in app {
            if !keys.contains_key(key) {
                keys.insert(key.clone(), value.clone());
            }
        }
    }
    into.put("keys", shape::flat(&keys));
    Ok(())
}
