//! A phone's endpoints as long as they are ours.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::plug::Hold;

/// How often it is looked whether a phone is still configured as it was, where nobody tells of changes.
const LOOK: Duration = Duration::from_millis(500);

/// Keeps a phone's endpoints open; closes them where that may take its time.
#[derive(Debug)]
pub(super) struct Held(Option<Arc<dyn Hold>>);

impl Held {
    pub(super) fn new(hold: Arc<dyn Hold>) -> Self {
        Self(Some(hold))
    }

    /// Until they are not as they were. It is looked whenever something on the bus has changed.
    pub(super) async fn breaks(&self, mut changes: watch::Receiver<()>) {
        let Some(hold) = &self.0 else { return };
        loop {
            let _ = tokio::time::timeout(LOOK, changes.changed()).await;
            let hold = Arc::clone(hold);
            if !tokio::task::spawn_blocking(move || hold.is_whole()).await.unwrap_or(false) {
                return;
            }
        }
    }

    /// Closes them, and waits for that.
    pub(super) async fn release(mut self) {
        let hold = self.0.take();
        let _ = tokio::task::spawn_blocking(move || drop(hold)).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(hold) = self.0.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(hold))),
            Err(_) => drop(hold),
        }
    }
}
