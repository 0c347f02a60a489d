//! `com.apple.springboardservices`: the icons of apps.

use idevice::services::springboardservices::SpringBoardServicesClient;

use super::{ANSWER_WAIT, Error, call};
use crate::lockdown::Session;

const SERVICE: &str = "com.apple.springboardservices";

/// The PNG of an app's icon, as the phone sends it: not looked into.
///
/// # Errors
/// See [`Error`].
pub async fn icon(session: &Session, bundle_id: &str) -> Result<Vec<u8>, Error> {
    let bundle_id = bundle_id.to_owned();
    call(session, SERVICE, ANSWER_WAIT, |idevice| async move {
        SpringBoardServicesClient::new(idevice).get_icon_pngdata(bundle_id).await
    })
    .await
}
