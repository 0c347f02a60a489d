//! `cloud-backup on|off`: the phone's own switch of iCloud Backup. Turning it off takes a copy of the phone away, so that is
//! agreed to by name.

use serde_json::json;

use super::arguments::{CloudBackup, Switch};
use super::owner;
use super::phones::Phones;
use super::run::Run;
use super::terminal;
use super::visits::begin;
use crate::facts::{Facts, value};
use crate::remedy::Consent;
use crate::visit::{Stop, Trouble, Visit, words};

/// The statement that a phone without iCloud Backup is wanted, by its name.
const NAME: &str = "no-icloud-backup";

/// Turns it on or off.
pub(super) async fn cloud_backup(run: &Run, arguments: &CloudBackup) -> Result<(), Stop> {
    let on = arguments.switch == Switch::On;
    switched(run, on, &arguments.accept).await.map_err(|stop| run.explain("cloud-backup", stop))
}

async fn switched(run: &Run, on: bool, accepted: &[String]) -> Result<(), Stop> {
    if let Some(unknown) = accepted.iter().find(|name| on || *name != NAME) {
        let cause = format!("{unknown:?} is nothing that can be accepted here.");
        return Err(Stop::new(Trouble::Usage, cause, format!("cloud-backup off takes {NAME}.")));
    }
    let phones = Phones::open(run)?;
    let begun = begin(run, &phones, Consent::default(), run.watch_query()).await;
    let mut visit = begun.map_err(|unreached| unreached.stop)?;
    if !on {
        let facts = visit.quick().await?;
        if value(&facts.icloud_backup.enabled) == Some(false) {
            tell(run, &visit, on, "iCloud Backup is off already; nothing was changed.");
            return Ok(());
        }
        agree(run, &facts, accepted).await?;
    }
    visit.switch_cloud_backup(on).await?;
    tell(
        run,
        &visit,
        on,
        if on {
            "iCloud Backup is on. It is made when the phone is on Wi-Fi and power with its screen locked."
        } else {
            "iCloud Backup is off. Backups that are in iCloud stay there for a while; Apple deletes them later."
        },
    );
    Ok(())
}

fn tell(run: &Run, visit: &Visit, on: bool, sentence: &str) {
    if run.global.json {
        terminal::print_json(&json!({
            "schema": "idevice-fix/cloud-backup/1", "udid": visit.udid().as_str(), "enabled": on,
        }));
    }
    run.screen.say(sentence);
}

/// By name on the command line, or typed. A yes to everything is none: it does what protects.
async fn agree(run: &Run, facts: &Facts, accepted: &[String]) -> Result<(), Stop> {
    if !accepted.is_empty() {
        return Ok(());
    }
    let nobody = || {
        Stop::new(
            Trouble::PersonNeeded,
            "iCloud Backup is as it was: nobody said that this phone may go without it.",
            format!("Say it by name: --accept {NAME}."),
        )
    };
    // Who is not shown what is lost cannot agree to it.
    if run.global.yes || run.global.quiet || run.global.json || !terminal::can_ask() {
        return Err(nobody());
    }
    run.screen.say(&format!("\n{}", what_is_lost(facts)));
    owner::forget_what_was_typed();
    if owner::types(run, NAME).await {
        return Ok(());
    }
    if run.cancel.is_cancelled() { Err(Stop::interrupted()) } else { Err(nobody()) }
}

fn what_is_lost(facts: &Facts) -> String {
    let last = match value(&facts.icloud_backup.last_backup) {
        Some(last) => {
            format!("The last one, of {}, ", words::ago(last, facts.observed_at))
        }
        None => "What is in iCloud of earlier ones ".to_owned(),
    };
    format!(
        "  Without iCloud Backup, settings, messages and the data of apps are in no new copy in iCloud. {last}stays there for \
         a while, until Apple deletes it. Photos are not touched. A local backup keeps the same: idevice-fix backup."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Fact, Source};

    #[test]
    fn it_is_said_what_is_lost() {
        let mut facts = Facts::default();
        assert!(what_is_lost(&facts).contains("What is in iCloud of earlier ones stays there"));
        facts.icloud_backup.last_backup = Some(Fact::new(facts.observed_at, Source::new("t", "t")));
        assert!(what_is_lost(&facts).contains("The last one, of just now, stays there"));
    }
}
