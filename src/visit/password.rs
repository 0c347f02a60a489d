//! The backup password's part of a visit: is one set, and what each trouble of changing it means.

use std::sync::Arc;

use super::stop::{Stop, Trouble};
use super::{Visit, kept_backups, reach};
use crate::backup::Secret;
use crate::backup::password::{self, Change, Error};
use crate::facts::text::plain;

impl Visit {
    /// Whether the password of the phone's backups is known here.
    #[must_use]
    pub fn knows_password(&self) -> bool {
        self.beginning.password.is_some()
    }

    /// From now on this is the password of the phone's backups.
    pub fn learn_password(&mut self, password: Arc<Secret>) {
        self.beginning.password = Some(password);
    }

    /// Whether the newest backup that is kept of this phone is encrypted.
    #[must_use]
    pub fn keeps_encrypted_backup(&self) -> bool {
        kept_backups(self.dest(), self.udid()).first().is_some_and(|newest| newest.encrypted)
    }

    /// Whether the phone encrypts its backups.
    ///
    /// # Errors
    /// The phone does not say.
    pub async fn encrypts_backups(&self) -> Result<bool, Stop> {
        password::is_set(self.session()).await.map_err(|error| reach::lockdown_stop(&error))
    }

    /// Sets, changes or removes the password of the phone's backups; a person may have to enter the passcode.
    ///
    /// # Errors
    /// It is as it was; or, after a broken talk, the sentence says that this is not known.
    pub async fn change_backup_password(&self, change: &Change) -> Result<(), Stop> {
        let done = password::change(self.session(), change, self.observer(), self.cancel()).await;
        done.map_err(stop)
    }
}

/// One is to be set, and the phone has one.
#[must_use]
pub fn password_is_set_already() -> Stop {
    Stop::new(
        Trouble::WrongPassword,
        "A backup password is set on this phone already.",
        "Change it: idevice-fix backup password change.",
    )
}

/// One is to be changed, and the phone has none.
#[must_use]
pub fn no_password_is_set() -> Stop {
    Stop::new(
        Trouble::Failed,
        "No backup password is set on this phone.",
        "Set one: idevice-fix backup password set.",
    )
}

fn stop(error: Error) -> Stop {
    let cause = format!("The backup password: {}.", plain(error.to_string().trim_end_matches('.')));
    match error {
        Error::Unusable | Error::WrongPassword => Stop::new(
            Trouble::WrongPassword,
            cause,
            "It is not the phone's passcode and not the Apple Account's password: it was chosen when a computer \
             first encrypted a backup of this phone.",
        ),
        Error::AlreadySet => password_is_set_already(),
        Error::NotSet => no_password_is_set(),
        Error::Cancelled => Stop { next: LOOK.to_owned(), ..Stop::interrupted() },
        Error::Lockdown(error) => reach::lockdown_stop(&error),
        error @ Error::Device { .. } => {
            let trouble = if error.needs_person() { Trouble::PersonNeeded } else { Trouble::Failed };
            let next = match error.meaning() {
                Some(_) if error.needs_person() => {
                    "Run it again and enter the passcode on the phone when it asks."
                }
                Some(meaning) => meaning.next_step,
                None => "",
            };
            Stop::new(trouble, cause, next)
        }
        Error::Talk(_) | Error::Disconnected(_) | Error::NotTaken => Stop::new(Trouble::Failed, cause, LOOK),
    }
}

const LOOK: &str =
    "See whether the phone has taken it: idevice-fix info com.apple.mobile.backup WillEncrypt.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_has_its_exit_status() {
        let device = |code| Error::Device { code, description: "…".into() };
        for (error, status) in [
            (Error::WrongPassword, 8),
            (Error::Unusable, 8),
            (Error::AlreadySet, 8),
            (Error::NotSet, 1),
            (device(208), 4),
            (device(1), 1),
            (Error::NotTaken, 1),
            (Error::Cancelled, 130),
        ] {
            let told = stop(error);
            assert_eq!(told.trouble.exit_status(), status, "{told}");
            assert!(told.cause.ends_with('.') && told.next.ends_with('.'), "{told}");
        }
    }
}
