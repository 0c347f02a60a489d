//! The phone's sync lock, which a backup and a restore hold as iTunes does.

use std::sync::Arc;
use std::time::Duration;

use super::Error;
use crate::afc::{self, Afc};
use crate::lockdown::Session;
use crate::services::notification_proxy;

/// How long the sync lock is asked for.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(200);
const LOCK_FILE: &str = "/com.apple.itunes.lock_sync";

const WILL_START: &str = "com.apple.itunes-mobdev.syncWillStart";
const LOCK_REQUEST: &str = "com.apple.itunes-mobdev.syncLockRequest";
const DID_START: &str = "com.apple.itunes-mobdev.syncDidStart";
const DID_FINISH: &str = "com.apple.itunes-mobdev.syncDidFinish";

/// The phone's sync lock.
pub(in crate::backup) struct SyncLock {
    afc: Option<Arc<Afc>>,
    file: Option<afc::File>,
}

impl SyncLock {
    /// Takes the lock as iTunes does. A phone without AFC is backed up without it.
    pub(in crate::backup) async fn take(session: &Session) -> Result<Self, Error> {
        let _ = notification_proxy::post(session, &[WILL_START]).await;
        let Ok(afc) = Afc::open(session).await else { return Ok(Self { afc: None, file: None }) };
        let Ok(file) = afc.open_file(LOCK_FILE, afc::OpenMode::ReadWrite).await else {
            return Ok(Self { afc: Some(Arc::new(afc)), file: None });
        };
        let _ = notification_proxy::post(session, &[LOCK_REQUEST]).await;
        for _ in 0..LOCK_TRIES {
            match file.lock(afc::Lock::Exclusive).await {
                Ok(()) => {
                    let _ = notification_proxy::post(session, &[DID_START]).await;
                    return Ok(Self { afc: Some(Arc::new(afc)), file: Some(file) });
                }
                Err(error) if error.status() == Some(afc::Status::WouldBlock) => {
                    tokio::time::sleep(LOCK_PAUSE).await;
                }
                Err(_) => return Ok(Self { afc: Some(Arc::new(afc)), file: None }),
            }
        }
        let _ = notification_proxy::post(session, &[DID_FINISH]).await;
        Err(Error::SyncLocked)
    }

    /// The connection on which it is held, on phones that have one.
    pub(in crate::backup) fn afc(&self) -> Option<&Afc> {
        self.afc.as_deref()
    }

    /// Gives it back. The phone may be gone; its locks go with the connection.
    pub(in crate::backup) async fn release(self, session: &Session) {
        let releasing = async {
            if let Some(file) = self.file {
                let _ = file.lock(afc::Lock::Unlock).await;
                let _ = file.close().await;
                let _ = notification_proxy::post(session, &[DID_FINISH]).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), releasing).await;
    }
}
