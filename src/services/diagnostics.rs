//! `com.apple.mobile.diagnostics_relay`: the registry of the phone's hardware, and restarting it.

use idevice::services::diagnostics_relay::DiagnosticsRelayClient;
use plist::Dictionary;

use super::{ANSWER_WAIT, Error, call};
use crate::frame::{self, DictExt};
use crate::lockdown::Session;

const SERVICE: &str = "com.apple.mobile.diagnostics_relay";

/// An entry of the registry, as one asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry<'a> {
    /// By its own name, `AppleSmartBattery` for example.
    Name(&'a str),
    /// By its class, `IOPMPowerSource` for example.
    Class(&'a str),
}

/// What the registry holds of an entry; `None` when the phone has no such entry.
///
/// # Errors
/// See [`Error`].
pub async fn ioregistry(session: &Session, entry: Entry<'_>) -> Result<Option<Dictionary>, Error> {
    let (name, class) = match entry {
        Entry::Name(name) => (Some(name.to_owned()), None),
        Entry::Class(class) => (None, Some(class.to_owned())),
    };
    let found = call(session, SERVICE, ANSWER_WAIT, |idevice| async move {
        let mut relay = DiagnosticsRelayClient::new(idevice);
        relay.ioregistry(None, name.as_deref(), class.as_deref()).await
    });
    Ok(found.await?.filter(|entry| !entry.is_empty()))
}

/// Values of MobileGestalt; `None` since iOS 17.4, which gives none any more.
///
/// # Errors
/// See [`Error`].
pub async fn mobile_gestalt(session: &Session, keys: &[&str]) -> Result<Option<Dictionary>, Error> {
    let keys = keys.iter().map(|&key| key.to_owned()).collect();
    let diagnostics = call(session, SERVICE, ANSWER_WAIT, |idevice| async move {
        DiagnosticsRelayClient::new(idevice).mobilegestalt(Some(keys)).await
    });
    let mut diagnostics = diagnostics.await?.unwrap_or_default();
    let values = diagnostics.remove("MobileGestalt").and_then(plist::Value::into_dictionary);
    Ok(values.filter(|values| values.string("Status") != Some("MobileGestaltDeprecated")))
}

/// Asks the phone to restart. That it did is seen by its leaving the bus, which may come before its answer.
///
/// # Errors
/// See [`Error`].
pub async fn restart(session: &Session) -> Result<(), Error> {
    let asked = call(session, SERVICE, ANSWER_WAIT, |idevice| async move {
        DiagnosticsRelayClient::new(idevice).restart().await
    });
    match asked.await {
        Err(Error::Wire { source: frame::Error::Closed | frame::Error::Io(_), .. }) => Ok(()),
        other => other,
    }
}
