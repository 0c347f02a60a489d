//! The person who holds the phone: unlocks it, taps Trust, enters the passcode — some time after being asked, or never.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::config::{Config, Lock};
use super::device::{Device, Touched};

/// A change of `device.toml` reaches a waiting person within this.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Touches that are remembered.
const TOUCHES_MAX: usize = 10_000;

/// Posted when the phone asks for the passcode, and when it no longer does.
const PASSCODE_PRESENTED: &str = "com.apple.LocalAuthentication.ui.presented";
const PASSCODE_DISMISSED: &str = "com.apple.LocalAuthentication.ui.dismissed";

impl Device {
    /// What its person did since the phone was opened, and when.
    #[must_use]
    pub fn touches(&self) -> Vec<(Touched, std::time::Instant)> {
        self.touches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn did(&self, what: Touched) {
        let mut touches = self.touches.lock().unwrap_or_else(PoisonError::into_inner);
        // A person does not do more in a day; a client that asks for ever must not fill the memory.
        if touches.len() < TOUCHES_MAX {
            touches.push((what, std::time::Instant::now()));
        }
    }

    /// Shows the passcode screen and waits until the person has entered it; that unlocks the phone too. Never
    /// returns if the person never does: the caller has its own patience, and the screen goes away with the wait.
    pub async fn asks_passcode(&self) {
        struct Shown<'a>(&'a Device);
        impl Drop for Shown<'_> {
            fn drop(&mut self) {
                self.0.post_notification(PASSCODE_DISMISSED);
            }
        }
        self.post_notification(PASSCODE_PRESENTED);
        let shown = Shown(self);
        self.waits_for(|config| config.person.enters_passcode_after_ms).await;
        self.did(Touched::Passcode);
        self.set_lock(Lock::Unlocked);
        drop(shown);
    }

    /// Shows the Trust dialog and waits until the person has tapped Trust. Never returns if the person never does.
    pub async fn asks_trust(&self) {
        self.waits_for(|config| config.person.trusts_after_ms).await;
        self.did(Touched::Trust);
    }

    /// Waits until the phone is unlocked, which the person does `unlocks_after_ms` after it was first wanted.
    pub async fn unlocked(self: &Arc<Self>) {
        self.wants_unlock();
        let mut lock = self.lock();
        // The sender lives in `self`, so this ends only with the right state.
        let _ = lock.wait_for(|lock| *lock == Lock::Unlocked).await;
    }

    /// Lets the person know that the phone wants to be unlocked; returns at once. Does nothing on an unlocked phone,
    /// or when the person was told already.
    pub fn wants_unlock(self: &Arc<Self>) {
        if *self.lock().borrow() == Lock::Unlocked || self.unlock_wanted.swap(true, Ordering::AcqRel) {
            return;
        }
        let device = Arc::downgrade(self);
        tokio::spawn(async move {
            let asked = Instant::now();
            while let Some(device) = device.upgrade() {
                let after = device.config().person.unlocks_after_ms;
                if *device.lock().borrow() == Lock::Unlocked {
                    device.unlock_wanted.store(false, Ordering::Release);
                    return;
                }
                if after > 0 && asked.elapsed() >= Duration::from_millis(after) {
                    device.unlock_wanted.store(false, Ordering::Release);
                    device.did(Touched::Unlock);
                    device.set_lock(Lock::Unlocked);
                    return;
                }
                drop(device);
                sleep(LOOK_EVERY).await;
            }
        });
    }

    /// Waits as long as `device.toml` says now; 0 waits until it says otherwise.
    async fn waits_for(&self, after_ms: impl Fn(&Config) -> u64) {
        let asked = Instant::now();
        loop {
            let after = Duration::from_millis(after_ms(&self.config()));
            if !after.is_zero() && asked.elapsed() >= after {
                return;
            }
            let left = after.saturating_sub(asked.elapsed());
            sleep(if after.is_zero() { LOOK_EVERY } else { left.min(LOOK_EVERY) }).await;
        }
    }
}
