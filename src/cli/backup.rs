//! `backup`, `backup list`, `backup verify`.

use std::time::Duration;

use super::arguments::{Backup, BackupCommand};
use super::fix;
use super::photos::verify;
use super::run::Run;
use crate::visit::{Part, Stop, Wish};

/// Makes, lists or verifies backups.
pub(super) async fn backup(run: &Run, arguments: &Backup) -> Result<(), Stop> {
    match &arguments.command {
        None => {
            let wish =
                Wish { photos: false, backup: true, full_backup: arguments.full, expected: Duration::ZERO };
            fix::protect_as_told(run, wish, "backup").await
        }
        Some(BackupCommand::Verify) => verify(run, Part::Backup, "backup-verify").await,
        Some(BackupCommand::List) => list(run),
    }
}

fn list(_run: &Run) -> Result<(), Stop> {
    Ok(())
}
