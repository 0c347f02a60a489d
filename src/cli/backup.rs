//! `backup` and `backup verify`; `backup list`, `extract`, `restore` and `password` have files of their own.

use super::arguments::{Backup, BackupCommand};
use super::fix;
use super::photos::verify;
use super::run::Run;
use crate::visit::{Part, Stop, Wish};

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
        Some(BackupCommand::List(arguments)) => super::backup_list::list(run, arguments).await,
        Some(BackupCommand::Restore(arguments)) => super::backup_restore::restore(run, arguments).await,
        Some(BackupCommand::Extract(arguments)) => super::backup_extract::extract(run, arguments).await,
    }
}
