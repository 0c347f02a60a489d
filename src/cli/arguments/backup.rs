//! `backup` and its parts, as clap sees them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// A full backup, even where an earlier one could be built upon
    #[arg(long)]
    pub(crate) full: bool,
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// The backups kept under DEST, or what is in one
    List(BackupList),
    /// Read the newest backup again and prove it
    Verify {
        /// Read only so much of it, drawn anew each time: that proves nothing (exit status 6)
        #[arg(long, value_name = "PERCENT", value_parser = share)]
        sample: Option<u32>,
    },
    /// Take in a backup that Finder, iTunes, Apple Devices, idevicebackup2 or pymobiledevice3 made: it is copied, proven and
    /// becomes the newest one
    Adopt {
        /// The folder with Manifest.db in it, or the one above
        dir: PathBuf,
    },
    /// Take files out of a backup, without touching the phone
    Extract(BackupExtract),
    /// Restore a proven backup onto a phone that is empty, or may be erased
    Restore(BackupRestore),
    /// Set, change or remove the password that encrypts the phone's backups
    #[command(subcommand)]
    Password(BackupPassword),
}

/// Which files of which backup.
#[derive(Debug, Args)]
pub(crate) struct FilesOfBackup {
    /// The backup in this folder, whoever made it [default: the newest one kept of the phone]
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Files of this domain (with * and ?), e.g. HomeDomain or 'AppDomain-*'
    #[arg(long, value_name = "NAME")]
    pub(crate) domain: Vec<String>,
    /// Files with this path (with *, ** and ?), e.g. 'Library/SMS/**' or '*.sqlite'
    #[arg(long, value_name = "GLOB")]
    pub(crate) path: Vec<String>,
}

impl FilesOfBackup {
    /// Something is chosen.
    pub(crate) fn chooses(&self) -> bool {
        self.from.is_some() || !self.domain.is_empty() || !self.path.is_empty()
    }
}

#[derive(Debug, Args)]
pub(crate) struct BackupList {
    /// The files of one backup
    #[arg(long)]
    pub(crate) files: bool,
    /// The domains of one backup, with the number and size of their files
    #[arg(long, conflicts_with = "files")]
    pub(crate) domains: bool,
    #[command(flatten)]
    pub(crate) which: FilesOfBackup,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("wanted").required(true).multiple(true).args(["photos", "all", "domain", "path"]))]
pub(crate) struct BackupExtract {
    /// The folder to make; it must not be there yet
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// Photos and videos by month, with their names, dates and albums
    #[arg(long, conflicts_with_all = ["all", "domain", "path"])]
    pub(crate) photos: bool,
    /// Everything, by domain
    #[arg(long, conflicts_with_all = ["domain", "path"])]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) which: FilesOfBackup,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct BackupRestore {
    /// The backup in this folder of DEST [default: the newest one kept of the phone]
    #[arg(long, value_name = "DIR", conflicts_with = "of")]
    pub(crate) from: Option<PathBuf>,
    /// The newest backup of another phone, by its id: to move to a new phone
    #[arg(long, value_name = "UDID")]
    pub(crate) of: Option<String>,
    /// Leave out what belongs to the system: accounts, messages, settings
    #[arg(long)]
    pub(crate) no_system: bool,
    /// The phone keeps its settings
    #[arg(long)]
    pub(crate) keep_settings: bool,
    /// Do not have the phone install the apps that the backup knows
    #[arg(long)]
    pub(crate) no_apps: bool,
    /// What the phone has and the backup has not stays
    #[arg(long)]
    pub(crate) keep_others: bool,
    /// Do not restart the phone afterwards; only its restart puts everything in place
    #[arg(long)]
    pub(crate) no_reboot: bool,
    /// Agree by name, instead of typing it: replace-content; also what the gate takes (see gate --help)
    #[arg(long, value_name = "NAME")]
    pub(crate) accept: Vec<String>,
}

/// Passwords come from a file descriptor, the environment, the desktop's keyring or a person at the terminal, in this order:
/// never from the command line.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupPassword {
    /// Encrypt backups from now on (BACKUP_PASSWORD_NEW)
    Set(NewPassword),
    /// Replace the password (BACKUP_PASSWORD by BACKUP_PASSWORD_NEW)
    Change(NewPassword),
    /// Encrypt backups no more (BACKUP_PASSWORD)
    Off,
    /// Keep the password (BACKUP_PASSWORD) in this desktop's keyring, where it is looked up
    Keep,
    /// Remove the password from this desktop's keyring
    Forget,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct NewPassword {
    /// The new password is the next line of this file descriptor
    #[arg(long, value_name = "FD")]
    pub(crate) new_password_fd: Option<u32>,
    /// Also keep it in this desktop's keyring, where it is looked up
    #[arg(long)]
    pub(crate) keep_in_keyring: bool,
}

/// A share in percent, as parts of a million.
fn share(text: &str) -> Result<u32, String> {
    let wanted = "a share such as 5%";
    let percent: f64 = text.strip_suffix('%').ok_or(wanted)?.parse().map_err(|_| wanted)?;
    if !(0.0001..=100.0).contains(&percent) {
        return Err("more than nothing and at most 100%".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a million")]
    Ok((percent * 10_000.0).round() as u32)
}
