//! The desktop's keyring (the Secret Service of GNOME, KDE, KeePassXC) as a place for backup passwords.
//!
//! It is reached through `secret-tool`, libsecret's own program, over its input and output: a library of our own for it
//! would bring a whole D-Bus stack, and the kernel's keyring forgets at the next start. The program's arguments, which
//! everybody can see, hold the phone's id and nothing secret. Nothing is ever put here without being asked to.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::backup::Secret;
use crate::facts::text::plain;
use crate::usbmux::Udid;
use crate::visit::{Stop, Trouble};

const TOOL: &str = "secret-tool";
/// Names our entries in the keyring.
const SERVICE: &str = "idevice-fix";
/// How long a keyring may take; one that is locked asks its owner first.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Longer than any password.
const BYTES_MAX: usize = 4096;

/// Why the keyring gave no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{TOOL} is not installed")]
    NoTool,
    #[error("the keyring gave no answer in {} s", TIME_MAX.as_secs())]
    Silent,
    #[error("the keyring could not be used: {0}")]
    Io(#[from] std::io::Error),
    #[error("the keyring could not be used: {0}")]
    Refused(String),
}

/// The password of this phone's backups, if the keyring has it. One that cannot be asked has none.
pub(super) async fn look_up(udid: &Udid) -> Option<Secret> {
    let asked = ask(&["lookup", "service", SERVICE, "phone", udid.as_str()], None).await;
    match asked {
        Ok((true, secret)) if !secret.expose().is_empty() => Some(secret),
        Ok(_) => None,
        Err(error) => {
            tracing::info!(%error, "the keyring was not asked for the backup password");
            None
        }
    }
}

/// Keeps the password there, in the place of one that may be kept already.
pub(super) async fn keep(udid: &Udid, password: &Secret) -> Result<(), Stop> {
    let label = format!("Backup password of the phone {udid}");
    let label = format!("--label={label}");
    let arguments = ["store", &label, "service", SERVICE, "phone", udid.as_str()];
    match ask(&arguments, Some(password)).await {
        // What it says it stored is looked at: a keyring that stays locked stores nothing.
        Ok((true, _)) if look_up(udid).await.as_ref() == Some(password) => Ok(()),
        Ok(_) => Err(stop("the keyring did not keep the password")),
        Err(error) => Err(stop(&error.to_string())),
    }
}

/// Removes it from there. `false`: it was not there.
pub(super) async fn forget(udid: &Udid) -> Result<bool, Stop> {
    let was_there = look_up(udid).await.is_some();
    let cleared = ask(&["clear", "service", SERVICE, "phone", udid.as_str()], None).await;
    cleared.map_err(|error| stop(&error.to_string()))?;
    if was_there && look_up(udid).await.is_some() {
        return Err(stop("the keyring did not forget the password"));
    }
    Ok(was_there)
}

fn stop(what: &str) -> Stop {
    let mut cause = format!("{what}.");
    cause[..1].make_ascii_uppercase();
    Stop::new(
        Trouble::Failed,
        cause,
        "A keyring is there in a desktop session with the package libsecret-tools; without one, use BACKUP_PASSWORD or \
         --password-fd.",
    )
}

/// Runs the tool; gives whether it says yes, and its output.
async fn ask(arguments: &[&str], input: Option<&Secret>) -> Result<(bool, Secret), Error> {
    let mut command = Command::new(TOOL);
    // The variables with passwords are none of its business.
    command.args(arguments).env_remove(super::secrets::PASSWORD).env_remove(super::secrets::NEW_PASSWORD);
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::NoTool,
        _ => Error::Io(error),
    })?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let talk = async {
        if let (Some(mut stdin), Some(secret)) = (stdin, input) {
            stdin.write_all(secret.expose()).await?;
            stdin.shutdown().await?;
        }
        // With its whole room from the beginning: a vector that grows leaves copies behind.
        let mut said = Vec::with_capacity(BYTES_MAX + 1);
        if let Some(stdout) = stdout {
            stdout.take(BYTES_MAX as u64).read_to_end(&mut said).await?;
        }
        let mut complaint = Vec::new();
        if let Some(stderr) = stderr {
            stderr.take(BYTES_MAX as u64).read_to_end(&mut complaint).await?;
        }
        let status = child.wait().await?;
        Ok::<_, Error>((status.success(), Secret::new(said), complaint))
    };
    let (yes, said, complaint) = tokio::time::timeout(TIME_MAX, talk).await.map_err(|_| Error::Silent)??;
    // It answers no without a word, and complains where it could not ask.
    let complaint = String::from_utf8_lossy(&complaint);
    match complaint.trim() {
        complaint if !yes && !complaint.is_empty() => Err(Error::Refused(plain(complaint))),
        _ => Ok((yes, said)),
    }
}
