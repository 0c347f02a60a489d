//! `backup`, `backup verify` and `backup adopt`; `backup list`, `extract`, `restore` and `password` have files of their own.

use std::path::Path;

use serde_json::json;

use super::arguments::{Backup, BackupCommand};
use super::fix;
use super::photos::{kept_phone, known_password, verify};
use super::run::Run;
use super::{secrets, terminal};
use crate::backup::adopt::Adopted;
use crate::backup::verify::Sampled;
use crate::facts::text::plain;
use crate::usbmux::Udid;
use crate::visit::{Lock, Part, Stop, Trouble, Wish, adopt_backup, find_backup, sample_without_phone, words};

/// Makes, lists or verifies backups.
pub(super) async fn backup(run: &Run, arguments: &Backup) -> Result<(), Stop> {
    match &arguments.command {
        None => {
            let full_backup = arguments.full;
            let wish = Wish { backup: true, full_backup, ..Wish::default() };
            fix::protect_as_told(run, wish, "backup").await
        }
        Some(BackupCommand::Verify { sample: None }) => verify(run, Part::Backup, "backup-verify").await,
        Some(BackupCommand::Verify { sample: Some(share) }) => match sampled(run, *share).await {
            Ok((udid, sampled)) => Err(tell_sample(run, &udid, sampled)),
            Err(stop) => Err(super::visits::print_failure(run, "backup-verify", stop)),
        },
        Some(BackupCommand::Adopt { dir }) => {
            adopt(run, dir).await.map_err(|stop| super::visits::print_failure(run, "backup-adopt", stop))
        }
        Some(BackupCommand::Password(command)) => super::backup_password::backup_password(run, command).await,
        Some(BackupCommand::List(arguments)) => super::backup_list::list(run, arguments).await,
        Some(BackupCommand::Restore(arguments)) => super::backup_restore::restore(run, arguments).await,
        Some(BackupCommand::Extract(arguments)) => super::backup_extract::extract(run, arguments).await,
    }
}

/// Looks at a part of the newest backup.
async fn sampled(run: &Run, share: u32) -> Result<(Udid, Sampled), Stop> {
    let (dest, udid) = kept_phone(run)?;
    let (folder, watch) = (dest.join(udid.as_str()), run.watch());
    let password = known_password(run, &dest, &udid, Part::Backup).await?;
    let looked =
        sample_without_phone(&folder, &udid, share, password.as_deref(), watch.as_ref(), &run.cancel);
    looked.await.map(|sampled| (udid, sampled))
}

/// Tells what the look at a part came to. Also when all of it is well the exit status is not 0: most was not read.
fn tell_sample(run: &Run, udid: &Udid, sampled: Sampled) -> Stop {
    let Sampled { made_at, files, files_read, bytes_read, inside, damage, notes } = sampled;
    let damage: Vec<String> =
        damage.iter().map(|one| format!("{}: {}", plain(&one.path), plain(&one.what))).collect();
    let stop = match damage.first() {
        Some(first) => Stop::new(
            Trouble::VerificationFailed,
            format!("What is kept here is not what was received: {first}."),
            "Run idevice-fix again with the phone plugged in: what is damaged is fetched anew.",
        ),
        None => Stop::new(
            Trouble::Skipped,
            format!(
                "Only a sample was read: {} of {} files ({}), and all of it is as received. The backup is not proven by that.",
                words::count(files_read),
                words::count(files),
                words::bytes(bytes_read)
            ),
            "Without --sample all of it is read.",
        ),
    };
    if run.global.json {
        terminal::print_json(&json!({
            "event": "result", "schema": "idevice-fix/backup-verify/1", "exit_status": stop.trouble.exit_status(),
            "sentence": stop.to_string(), "udid": udid.as_str(), "backup": null, "damage": damage,
            "sample": {"made_at": made_at, "files": files, "files_read": files_read, "bytes_read": bytes_read,
                "inside": inside, "notes": notes},
        }));
    } else {
        for line in &damage {
            terminal::print(&format!("DAMAGED  {line}\n"));
        }
    }
    stop
}

/// Takes in a backup that another program made.
async fn adopt(run: &Run, dir: &Path) -> Result<(), Stop> {
    let dest = run.dest()?;
    let wanted = match &run.global.udid {
        Some(named) => Some(Udid::parse(named).ok_or_else(|| {
            Stop::new(Trouble::Usage, format!("{:?} is no id of a device.", plain(named)), "")
        })?),
        None => None,
    };
    let foreign = find_backup(dir, wanted.as_ref())?;
    let udid = foreign.udid().clone();
    let lock = Lock::of(foreign.manifest());
    let password = match &lock {
        Some(lock) => Some(secrets::needed(run, &udid, Some(lock)).await?),
        None => None,
    };
    let watch = run.watch();
    let adopting = adopt_backup(&dest, foreign, password.as_deref(), watch.as_ref(), &run.cancel);
    let (folder, adopted) = adopting.await?;
    let Adopted { proof, files, bytes, shares_blocks, notes } = adopted;
    if run.global.json {
        terminal::print_json(&json!({
            "event": "result", "schema": "idevice-fix/backup-adopt/1", "exit_status": 0, "udid": udid.as_str(),
            "folder": folder, "files": files, "bytes": bytes, "shares_blocks": shares_blocks,
            "backup": super::photos::backup_json(&proof), "notes": notes,
        }));
        return Ok(());
    }
    let zone = terminal::stdout_style().zone;
    let room = if shares_blocks { ", sharing the disk's blocks with the original" } else { "" };
    terminal::print(&format!(
        "Taken in: {}, {}{room}\n{}\n  {}\n",
        words::counted(files, "file", "files"),
        words::bytes(bytes),
        super::photos::backup_line(&proof, &zone),
        folder.display()
    ));
    super::photos::print_notes(&notes);
    Ok(())
}
