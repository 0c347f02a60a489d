//! `com.apple.mobile.notification_proxy`: hear and tell what happens, by names such as
//! `com.apple.itunes-mobdev.syncWillStart`.

use idevice::services::notification_proxy::NotificationProxyClient;
use tokio::sync::mpsc;

use super::{ANSWER_WAIT, Error, call, guarded};
use crate::frame::Limits;
use crate::lockdown::Session;

const SERVICE: &str = "com.apple.mobile.notification_proxy";
/// Notifications that may wait for whoever hears them; what comes on top waits on the phone.
const WAITING_MAX: usize = 64;

/// Hears the notifications with these names. The channel ends when the phone ends it or is gone; dropping it ends the
/// connection.
///
/// # Errors
/// See [`Error`].
pub async fn observe(session: &Session, names: &[&str]) -> Result<mpsc::Receiver<String>, Error> {
    let stream = session.start_service(SERVICE).await?;
    let mut proxy = NotificationProxyClient::new(guarded(stream, Limits::LOCKDOWN_UNTRUSTED));
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let registered = super::in_own_task(SERVICE, ANSWER_WAIT, async move {
        for name in names {
            proxy.observe_notification(name).await?;
        }
        Ok(proxy)
    });
    let mut proxy = registered.await?;
    let (heard, receiver) = mpsc::channel(WAITING_MAX);
    // A task of its own: a panic in the crate ends the channel and nothing else.
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                () = heard.closed() => return,
                name = proxy.receive_notification() => name,
            };
            let Ok(name) = name else { return };
            if heard.send(name).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Tells the phone these notifications, in this order, and waits until it has taken them.
///
/// # Errors
/// See [`Error`].
pub async fn post(session: &Session, names: &[&str]) -> Result<(), Error> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    call(session, SERVICE, ANSWER_WAIT, |idevice| async move {
        let mut proxy = NotificationProxyClient::new(idevice);
        for name in names {
            proxy.post_notification(name).await?;
        }
        // There is no answer to a post. The end of the conversation has one, and it comes after them all.
        proxy.shutdown().await
    })
    .await
}
