//! Taking in a backup that another program made: no phone is needed for it.

use std::path::{Path, PathBuf};

use super::backup::{vault_stop, wrong_password};
use super::kept::{existing, folder_stop};
use super::stop::{Stop, Trouble};
use super::{space, words};
use crate::backup::Secret;
use crate::backup::adopt::{self, Adopted, Error, Foreign};
use crate::backup::vault::Vault;
use crate::durable;
use crate::facts::text::plain;
use crate::progress::{CancellationToken, Observer};
use crate::usbmux::Udid;

/// Finds another program's backup in `dir`: that of the phone `wanted`, or the only one.
///
/// # Errors
/// There is none, there are several, or it is another phone's.
pub fn find_backup(dir: &Path, wanted: Option<&Udid>) -> Result<Foreign, Stop> {
    let none = || {
        let cause = format!("There is no folder {}.", plain(&dir.display().to_string()));
        Stop::new(Trouble::Usage, cause, "Name the folder that holds the backup.")
    };
    let opened = existing(dir)?.ok_or_else(none)?;
    Foreign::find(&opened, wanted).map_err(|error| stop(dir, error))
}

/// Copies the backup below `dest`, proves it and makes it the newest one of its phone. Tells where it stands.
///
/// # Errors
/// It is older than the kept one, or cannot be proven; there is no room, or the disk fails.
pub async fn adopt_backup(
    dest: &Path,
    foreign: Foreign,
    password: Option<&Secret>,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<(PathBuf, Adopted), Stop> {
    let udid = foreign.udid().clone();
    let folder = dest.join(udid.as_str());
    if space::at(&folder).map_err(|error| folder_stop(&folder, &error))?.fat {
        return Err(space::fat_stop(&folder, "Name another disk with --dest."));
    }
    let own = durable::open_or_create_private(&folder).map_err(|error| folder_stop(&folder, &error))?;
    let vault = Vault::open(own, udid).map_err(|error| vault_stop(&folder, error))?;
    let adopted = adopt::adopt(foreign, &vault, password, space::RESERVE_BYTES, observer, cancel).await;
    Ok((folder.join("backup"), adopted.map_err(|error| stop(&folder, error))?))
}

fn stop(folder: &Path, error: Error) -> Stop {
    let untouched = "Nothing was changed, neither there nor here.";
    let cause = format!("The backup was not taken in: {}.", plain(&error.to_string()));
    let failed = |next: &str| Stop::new(Trouble::Failed, cause.clone(), next);
    match error {
        Error::Cancelled => Stop::interrupted(),
        Error::WrongPassword => wrong_password(),
        Error::PasswordNeeded => Stop::new(
            Trouble::WrongPassword,
            "The backup is encrypted, and without its password nothing can be proven about it: nobody hashed its files while \
             they were received.",
            "Set BACKUP_PASSWORD to its password.",
        ),
        Error::Several(_) => {
            Stop::new(Trouble::SeveralDevices, cause, "Name one with --udid, or its own folder.")
        }
        Error::NoBackup(_) => failed("Name the folder that holds Manifest.db, or the one above it."),
        Error::OtherPhone { .. } | Error::Special(_) | Error::Source { .. } => failed(untouched),
        Error::Older { .. } => failed("The newer one stays. Name another place with --dest to keep both."),
        Error::Damaged { damage } => {
            let first = damage
                .first()
                .map_or(String::new(), |one| format!(", first {}: {}", plain(&one.path), plain(&one.what)));
            Stop::new(
                Trouble::VerificationFailed,
                format!(
                    "The backup was not taken in, since it is damaged: {}{first}.",
                    words::counted(damage.len() as u64, "file", "files")
                ),
                untouched,
            )
        }
        Error::NoSpace { needed_bytes, free_bytes } => Stop::new(
            Trouble::NoSpace,
            format!(
                "{} are needed at {} for the copy and {} are free.",
                words::bytes(needed_bytes),
                folder.display(),
                words::bytes(free_bytes)
            ),
            "Free some space, or name another disk with --dest.",
        ),
        Error::Vault(error) => vault_stop(folder, error),
        Error::Disk(error) => folder_stop(folder, &error),
    }
}
