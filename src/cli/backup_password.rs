//! `backup password set`, `change` and `off`.

use serde_json::json;

use super::arguments::BackupPassword;
use super::phones::Phones;
use super::run::Run;
use super::secrets::{self, Descriptors, Wanted};
use super::terminal;
use super::visits::begin;
use crate::backup::password::Change;
use crate::remedy::Consent;
use crate::visit::{Stop, Visit, no_password_is_set, password_is_set_already};

const SCHEMA: &str = "backup-password";

/// Sets, changes or removes the password of the phone's backups.
pub(super) async fn backup_password(run: &Run, command: &BackupPassword) -> Result<(), Stop> {
    changed(run, command).await.map_err(|stop| run.explain(SCHEMA, stop))
}

async fn changed(run: &Run, command: &BackupPassword) -> Result<(), Stop> {
    let phones = Phones::open(run)?;
    let begun = begin(run, &phones, Consent::default(), run.watch_query()).await;
    let visit = begun.map_err(|unreached| unreached.stop)?;
    // What cannot be done anyway is told before anybody types a password.
    match (command, visit.encrypts_backups().await?) {
        (BackupPassword::Set { .. }, true) => return Err(password_is_set_already()),
        (BackupPassword::Change { .. }, false) => return Err(no_password_is_set()),
        (BackupPassword::Off { .. }, false) => {
            tell(run, &visit, false, "Backups of this phone are not encrypted; nothing was changed.");
            return Ok(());
        }
        _ => {}
    }
    let change = wished(run, command).await?;
    visit.change_backup_password(&change).await?;
    match change {
        Change::Set(_) => tell(run, &visit, true, SET),
        Change::Replace { .. } => tell(run, &visit, true, REPLACED),
        Change::Remove(_) => tell(run, &visit, false, REMOVED),
    }
    Ok(())
}

const SET: &str = "Backups of this phone are encrypted from now on. Keep the password where you will find it: without it \
                   nobody can read them. The next backup sends everything anew: idevice-fix backup.";
const REPLACED: &str = "The backup password is changed. Backups that exist keep the one they were made with; the next one \
                        sends everything anew: idevice-fix backup.";
const REMOVED: &str = "Backups of this phone are no longer encrypted: the next one will lack Health data, saved passwords, \
                       the call history and the history of websites.";

/// The passwords for what is wished.
async fn wished(run: &Run, command: &BackupPassword) -> Result<Change, Stop> {
    let mut descriptors = Descriptors::default();
    let old = |fd| Wanted {
        question: "The backup password that is set",
        repeat: false,
        fd: ("--password-fd", fd),
        variable: secrets::PASSWORD,
    };
    let new = |fd| Wanted {
        question: "The new backup password",
        repeat: true,
        fd: ("--new-password-fd", fd),
        variable: secrets::NEW_PASSWORD,
    };
    Ok(match *command {
        BackupPassword::Set { new_password_fd } => {
            Change::Set(secrets::password(run, &new(new_password_fd), &mut descriptors).await?)
        }
        BackupPassword::Change { password_fd, new_password_fd } => {
            let old = secrets::password(run, &old(password_fd), &mut descriptors).await?;
            let new = secrets::password(run, &new(new_password_fd), &mut descriptors).await?;
            Change::Replace { old, new }
        }
        BackupPassword::Off { password_fd } => {
            Change::Remove(secrets::password(run, &old(password_fd), &mut descriptors).await?)
        }
    })
}

fn tell(run: &Run, visit: &Visit, encrypted: bool, sentence: &str) {
    if run.global.json {
        terminal::print_json(&json!({
            "schema": format!("idevice-fix/{SCHEMA}/1"), "udid": visit.udid().as_str(), "encrypted": encrypted,
        }));
    }
    run.screen.say(sentence);
}
