//! `cloud-backup on|off`: the phone's own switch of iCloud Backup.

use serde_json::json;

use super::arguments::{CloudBackup, Switch};
use super::phones::Phones;
use super::run::Run;
use super::terminal;
use super::visits::begin;
use crate::remedy::Consent;
use crate::visit::Stop;

/// Turns it on or off.
pub(super) async fn cloud_backup(run: &Run, arguments: &CloudBackup) -> Result<(), Stop> {
    let on = arguments.switch == Switch::On;
    switched(run, on).await.map_err(|stop| run.explain("cloud-backup", stop))
}

async fn switched(run: &Run, on: bool) -> Result<(), Stop> {
    let phones = Phones::open(run)?;
    let begun = begin(run, &phones, Consent::default(), run.watch_query()).await;
    let mut visit = begun.map_err(|unreached| unreached.stop)?;
    visit.switch_cloud_backup(on).await?;
    if run.global.json {
        terminal::print_json(&json!({
            "schema": "idevice-fix/cloud-backup/1", "udid": visit.udid().as_str(), "enabled": on,
        }));
    }
    run.screen.say(if on {
        "iCloud Backup is on. It is made when the phone is on Wi-Fi and power with its screen locked."
    } else {
        "iCloud Backup is off. Backups that are in iCloud stay there for a while; Apple deletes them later."
    });
    Ok(())
}
