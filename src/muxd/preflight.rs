//! What a multiplexer does with a phone that was just plugged in, before anybody asks: a phone that does not know this
//! computer is asked to trust it. Described by usbmuxd's `preflight.c`.
//!
//! Unlike usbmuxd, no pair record is thrown away because encryption failed: that may be our own fault or the wrong
//! device's, and the record is the owner's.

use std::time::Duration;

use plist::{Dictionary, Value};
use tokio::time::Instant;

use crate::frame::{self, DictExt, Encoding, Limits};
use crate::lockdown::connection::Connection;
use crate::lockdown::pairing::{self, Attempt, Candidate, NotReached, Obstacle};
use crate::lockdown::{Error, Phone};
use crate::progress::{CancellationToken, Silent};

/// A question on the phone's screen is waited for; after that only the phone's own word counts.
const ASKED: Duration = Duration::from_secs(60);
/// The pause before a phone that wants to be asked again is asked: at first, and at most. It may want it without end.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Open to computers that are not trusted yet.
const NOTIFICATIONS: &str = "com.apple.mobile.insecure_notification_proxy";
/// The phone is ready to be asked (again): it was unlocked, or its owner has answered.
const REQUEST_PAIR: &str = "com.apple.mobile.lockdown.request_pair";
/// The phone shows who has asked.
const UNTRUSTED_HOST: &str = "UntrustedHostBUID";

/// Until the phone trusts this computer, or will not be asked. Every wait on it has an end, but for the one for its
/// own word.
pub(super) async fn preflight(phone: &Phone) {
    let udid = &phone.attached.udid;
    match ask_for_trust(phone).await {
        Ok(()) => tracing::info!("{udid} trusts this computer"),
        Err(NotReached::Obstacle(why)) => tracing::info!("{udid} is not asked for trust any more: {why:?}"),
        Err(error) => tracing::info!("{udid} could not be asked whether it trusts this computer: {error}"),
    }
}

async fn ask_for_trust(phone: &Phone) -> Result<(), NotReached> {
    if let Attempt::Trusted(_) = pairing::attempt(phone).await? {
        return Ok(());
    }
    introduce(phone).await?;
    // Making keys is work: once for each time that it is plugged in.
    let (mut candidate, mut pause) = (Candidate::default(), PAUSE_MIN);
    loop {
        // Nobody interrupts: whoever unplugs the phone ends this with it.
        let never = CancellationToken::new();
        match pairing::establish_with(phone, &mut candidate, ASKED, &Silent, &never).await {
            Ok(_) => return Ok(()),
            Err(NotReached::Obstacle(why)) if is_the_owners_affair(&why) => {
                let began = Instant::now();
                if !is_ready_to_be_asked(phone).await? {
                    return Err(NotReached::Obstacle(why));
                }
                pause = pause_after(began.elapsed(), pause);
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(other) => return Err(other),
        }
    }
}

/// How long to wait before the phone is asked again, with the pause that it is due for; one that has been quiet for as
/// long as the longest has a person at it.
fn pause_after(quiet: Duration, due: Duration) -> Duration {
    if quiet >= PAUSE_MAX { PAUSE_MIN } else { due.min(PAUSE_MAX) }
}

/// What the owner can change at any time while the phone is plugged in.
fn is_the_owners_affair(why: &Obstacle) -> bool {
    why.may_pass() || matches!(why, Obstacle::Denied | Obstacle::NotTrusted)
}

/// Says who we are; a phone that does not want to know is asked all the same.
async fn introduce(phone: &Phone) -> Result<(), Error> {
    let own = phone.muxer.buid().await?;
    let mut connection = Connection::open(phone).await?;
    match connection.set_value(None, UNTRUSTED_HOST, own.into()).await {
        Err(Error::Refused { .. }) => Ok(()),
        other => other,
    }
}

/// Waits for the phone's word that it can be asked. False: it does not give it.
async fn is_ready_to_be_asked(phone: &Phone) -> Result<bool, Error> {
    let mut connection = Connection::open(phone).await?;
    let port = match connection.start_service(NOTIFICATIONS, None).await {
        Ok(started) if !started.tls => started.port,
        Ok(_) | Err(Error::Refused { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut stream = phone.muxer.connect(phone.attached.id, port).await?;
    let mut observe = Dictionary::new();
    observe.insert("Command".to_owned(), "ObserveNotification".into());
    observe.insert("Name".to_owned(), REQUEST_PAIR.into());
    let broke = |source| Error::Wire { request: NOTIFICATIONS.to_owned(), source };
    frame::write(&mut stream, &Value::Dictionary(observe), Encoding::Xml).await.map_err(broke)?;
    loop {
        let heard = match frame::read(&mut stream, &Limits::LOCKDOWN_UNTRUSTED).await {
            Ok(heard) => heard.into_dictionary().unwrap_or_default(),
            // A phone that hangs up says nothing more.
            Err(frame::Error::Closed | frame::Error::Cut) => return Ok(false),
            Err(error) => return Err(broke(error)),
        };
        match heard.string("Command") {
            Some("RelayNotification") if heard.string("Name") == Some(REQUEST_PAIR) => return Ok(true),
            Some("ProxyDeath") => return Ok(false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_that_always_wants_to_be_asked_is_asked_less_and_less_often() {
        let mut due = PAUSE_MIN;
        let seconds = [1, 2, 4, 8, 16, 32, 60, 60].map(|seconds| {
            let pause = pause_after(Duration::ZERO, due);
            due = 2 * pause;
            (pause.as_secs(), seconds)
        });
        assert!(seconds.iter().all(|(pause, seconds)| pause == seconds), "{seconds:?}");
        assert_eq!(pause_after(PAUSE_MAX, due), PAUSE_MIN);
    }
}
