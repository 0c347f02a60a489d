//! `backup`, `backup list`, `backup verify`; `backup password` has a file of its own.

use serde_json::json;

use super::arguments::{Backup, BackupCommand};
use super::fix;
use super::photos::verify;
use super::run::Run;
use super::terminal;
use crate::usbmux::Udid;
use crate::visit::{KeptBackup, Part, Stop, Wish, kept_backups, phones_kept, words};

/// Makes, lists or verifies backups.
pub(super) async fn backup(run: &Run, arguments: &Backup) -> Result<(), Stop> {
    match &arguments.command {
        None => {
            let full_backup = arguments.full;
            let wish = Wish { backup: true, full_backup, ..Wish::default() };
            fix::protect_as_told(run, wish, "backup").await
        }
        Some(BackupCommand::Verify) => verify(run, Part::Backup, "backup-verify").await,
        Some(BackupCommand::Password(command)) => super::backup_password::backup_password(run, command).await,
        Some(BackupCommand::List) => list(run).map_err(|stop| run.explain("backup-list", stop)),
    }
}

fn list(run: &Run) -> Result<(), Stop> {
    let dest = run.dest()?;
    let wanted = |udid: &Udid| run.global.udid.as_deref().is_none_or(|named| named == udid.as_str());
    let backups: Vec<KeptBackup> = phones_kept(&dest)?
        .iter()
        .filter(|udid| wanted(udid))
        .flat_map(|udid| kept_backups(&dest, udid))
        .collect();
    if run.global.json {
        terminal::print_json(&json!({"schema": "idevice-fix/backup-list/1", "backups": backups}));
        return Ok(());
    }
    if backups.is_empty() {
        run.screen.say(&format!("No proven backup is kept under {}.", dest.display()));
    }
    let zone = terminal::stdout_style().zone;
    for backup in &backups {
        let how = match (backup.encrypted, backup.proven_inside) {
            (false, _) => "not encrypted, proven",
            (true, true) => "encrypted, proven",
            (true, false) => "encrypted, proven from outside only",
        };
        terminal::print(&format!(
            "{}  made {}  {how}\n    {}\n",
            backup.udid,
            words::moment(backup.made_at, &zone),
            backup.folder.display()
        ));
    }
    Ok(())
}
