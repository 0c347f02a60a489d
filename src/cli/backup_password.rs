//! `backup password set`, `change`, `off`, and whether this desktop's keyring knows it: `keep`, `forget`.

use std::sync::Arc;

use serde_json::json;

use super::arguments::{BackupPassword, NewPassword};
use super::phones::Phones;
use super::photos::one_kept;
use super::run::Run;
use super::visits::begin;
use super::{keyring, secrets, terminal};
use crate::backup::Secret;
use crate::backup::password::Change;
use crate::remedy::Consent;
use crate::usbmux::Udid;
use crate::visit::{
    Lock, Stop, Visit, no_password_is_set, password_is_set_already, phones_kept, wrong_password,
};

const SCHEMA: &str = "backup-password";

/// Sets, changes or removes the password of the phone's backups, or keeps or forgets it here.
pub(super) async fn backup_password(run: &Run, command: &BackupPassword) -> Result<(), Stop> {
    let done = match command {
        BackupPassword::Keep => keep(run).await,
        BackupPassword::Forget => forget(run).await,
        change => changed(run, change).await,
    };
    done.map_err(|stop| run.explain(SCHEMA, stop))
}

async fn changed(run: &Run, command: &BackupPassword) -> Result<(), Stop> {
    let phones = Phones::open(run)?;
    let begun = begin(run, &phones, Consent::default(), run.watch_query()).await;
    let visit = begun.map_err(|unreached| unreached.stop)?;
    // What cannot be done anyway is told before anybody types a password.
    match (command, visit.encrypts_backups().await?) {
        (BackupPassword::Set(_), true) => return Err(password_is_set_already()),
        (BackupPassword::Change(_), false) => return Err(no_password_is_set()),
        (BackupPassword::Off, false) => {
            tell(run, &visit, false, "Backups of this phone are not encrypted; nothing was changed.");
            return Ok(());
        }
        _ => {}
    }
    let (change, keep_it) = wished(run, command, visit.udid()).await?;
    visit.change_backup_password(&change).await?;
    match &change {
        Change::Set(new) => {
            tell(run, &visit, true, SET);
            keep_new(run, visit.udid(), new, keep_it).await
        }
        Change::Replace { new, .. } => {
            tell(run, &visit, true, REPLACED);
            keep_new(run, visit.udid(), new, keep_it).await
        }
        Change::Remove(_) => {
            tell(run, &visit, false, REMOVED);
            Ok(())
        }
    }
}

/// Sets a password in the course of a visit, where a person chooses one.
pub(super) async fn set_beside(run: &Run, visit: &mut Visit) -> Result<(), Stop> {
    if visit.encrypts_backups().await? {
        return Err(password_is_set_already());
    }
    let new = secrets::new(run, None).await?;
    visit.change_backup_password(&Change::Set(new.clone())).await?;
    run.screen.say(SET);
    keep_new(run, visit.udid(), &new, false).await?;
    visit.learn_password(Arc::new(new));
    Ok(())
}

const SET: &str = "Backups of this phone are encrypted from now on. Keep the password where you will find it: without it \
                   nobody can read them. The next backup sends everything anew: idevice-fix backup.";
const REPLACED: &str = "The backup password is changed. Backups that exist keep the one they were made with; the next one \
                        sends everything anew: idevice-fix backup.";
const REMOVED: &str = "Backups of this phone are no longer encrypted: the next one will lack Health data, saved passwords, \
                       the call history and the history of websites.";

/// What is wished, with its passwords, and whether the new one is to be kept here.
async fn wished(run: &Run, command: &BackupPassword, udid: &Udid) -> Result<(Change, bool), Stop> {
    let old = async || secrets::needed(run, udid, None).await.map(|secret| Secret::clone(&secret));
    let new = async |new: &NewPassword| secrets::new(run, new.new_password_fd).await;
    Ok(match command {
        BackupPassword::Set(wish) => (Change::Set(new(wish).await?), wish.keep_in_keyring),
        BackupPassword::Change(wish) => {
            let old = old().await?;
            (Change::Replace { old, new: new(wish).await? }, wish.keep_in_keyring)
        }
        _ => (Change::Remove(old().await?), false),
    })
}

/// Keeps a new password in the keyring: if that is wished, or if an older one would be found there in its place.
async fn keep_new(run: &Run, udid: &Udid, new: &Secret, wished: bool) -> Result<(), Stop> {
    if wished || keyring::look_up(udid).await.is_some() {
        keyring::keep(udid, new).await?;
        run.screen.say(KEPT);
    }
    Ok(())
}

/// Keeps the password that is set in the keyring. It is tried on the newest backup, if that is encrypted.
async fn keep(run: &Run) -> Result<(), Stop> {
    let dest = run.dest()?;
    let udid = one_kept(run, phones_kept(&dest)?)?;
    let lock = Lock::of_newest(&dest, &udid).await;
    let password: Arc<Secret> = secrets::needed(run, &udid, lock.as_ref()).await?;
    match &lock {
        Some(lock) if !lock.opened_by(&password).await => return Err(wrong_password()),
        Some(_) => {}
        None => run.screen.say("No encrypted backup is kept here, so the password could not be tried."),
    }
    keyring::keep(&udid, &password).await?;
    tell_kept(run, &udid, true, KEPT);
    Ok(())
}

async fn forget(run: &Run) -> Result<(), Stop> {
    let udid = one_kept(run, phones_kept(&run.dest()?)?)?;
    let sentence = match keyring::forget(&udid).await? {
        true => "The backup password is no longer in the keyring. The phone and its backups still have it.",
        false => "The backup password of this phone was not in the keyring.",
    };
    tell_kept(run, &udid, false, sentence);
    Ok(())
}

const KEPT: &str =
    "The backup password is in this desktop's keyring now, and is looked up there when it is needed.";

fn tell_kept(run: &Run, udid: &Udid, in_keyring: bool, sentence: &str) {
    if run.global.json {
        terminal::print_json(&json!({
            "schema": format!("idevice-fix/{SCHEMA}/1"), "udid": udid.as_str(), "in_keyring": in_keyring,
        }));
    }
    run.screen.say(sentence);
}

fn tell(run: &Run, visit: &Visit, encrypted: bool, sentence: &str) {
    if run.global.json {
        terminal::print_json(&json!({
            "schema": format!("idevice-fix/{SCHEMA}/1"), "udid": visit.udid().as_str(), "encrypted": encrypted,
        }));
    }
    run.screen.say(sentence);
}
