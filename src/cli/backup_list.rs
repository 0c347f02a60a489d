//! `backup list`: the backups that are kept, or what is in one.

use std::collections::BTreeMap;

use serde_json::json;

use super::arguments::{BackupList, FilesOfBackup};
use super::photos::one_kept;
use super::run::Run;
use super::{secrets, terminal};
use crate::backup::choice::{Choice, Pattern};
use crate::backup::mbfile::MbFile;
use crate::facts::text::plain;
use crate::usbmux::Udid;
use crate::visit::{KeptBackup, Open, Standing, Stop, Trouble, kept_backups, phones_kept, words};

/// Schema of both answers.
const SCHEMA: &str = "backup-list";
/// Said of a backup that is not encrypted.
const LEFT_OUT: &str = "A backup that is not encrypted leaves out saved passwords, Health data, Wi-Fi
networks, call history and history of websites.";

/// Lists.
pub(super) async fn list(run: &Run, arguments: &BackupList) -> Result<(), Stop> {
    let inside = arguments.files || arguments.domains || arguments.which.chooses();
    let listed = if inside { contents(run, arguments).await } else { kept(run) };
    listed.map_err(|stop| run.explain(SCHEMA, stop))
}

fn kept(run: &Run) -> Result<(), Stop> {
    let dest = run.dest()?;
    let wanted = |udid: &Udid| run.global.udid.as_deref().is_none_or(|named| named == udid.as_str());
    let backups: Vec<KeptBackup> = phones_kept(&dest)?
        .iter()
        .filter(|udid| wanted(udid))
        .flat_map(|udid| kept_backups(&dest, udid))
        .collect();
    if run.global.json {
        terminal::print_json(&json!({"schema": format!("idevice-fix/{SCHEMA}/1"), "backups": backups}));
        return Ok(());
    }
    if backups.is_empty() {
        run.screen.say(&format!("No proven backup is kept under {}.", dest.display()));
    }
    let zone = terminal::stdout_style().zone;
    for backup in &backups {
        let adopted = if backup.adopted_files > 0 { ", adopted" } else { "" };
        let how = match (backup.encrypted, backup.proven_inside) {
            (false, _) => "not encrypted, proven",
            (true, true) => "encrypted, proven",
            (true, false) => "encrypted, proven from outside only",
        };
        terminal::print(&format!(
            "{}  made {}  {how}{adopted}\n    {}\n",
            backup.udid,
            words::moment(backup.made_at, &zone),
            backup.folder.display()
        ));
    }
    if backups.iter().any(|backup| !backup.encrypted) {
        run.screen.say(LEFT_OUT);
    }
    Ok(())
}

/// The backup that is meant: in the named folder, else the newest that is kept of the phone.
pub(super) async fn standing(run: &Run, which: &FilesOfBackup) -> Result<Standing, Stop> {
    match &which.from {
        Some(folder) => Standing::at(folder).await,
        None => {
            let dest = run.dest()?;
            Standing::newest(&dest, &one_kept(run, phones_kept(&dest)?)?).await
        }
    }
}

/// Opens it, with its password where it has one.
pub(super) async fn opened(run: &Run, standing: Standing) -> Result<Open, Stop> {
    let password = if standing.encrypted() {
        let udid = standing.udid();
        match udid {
            Some(udid) => Some(secrets::needed(run, &udid, standing.lock().as_ref()).await?),
            None => Some(secrets::given(run)?.ok_or_else(secrets::backup_password_is_missing)?),
        }
    } else {
        None
    };
    standing.open(password).await
}

/// The patterns as they were typed.
pub(super) fn choice(which: &FilesOfBackup) -> Result<Choice, Stop> {
    let patterns = |texts: &[String], make: fn(&str) -> Option<Pattern>| {
        let made = texts.iter().map(|text| {
            make(text).ok_or_else(|| Stop::new(Trouble::Usage, format!("{text:?} is no pattern."), ""))
        });
        made.collect::<Result<Vec<Pattern>, Stop>>()
    };
    Ok(Choice {
        domains: patterns(&which.domain, Pattern::domain)?,
        paths: patterns(&which.path, Pattern::path)?,
    })
}

async fn contents(run: &Run, arguments: &BackupList) -> Result<(), Stop> {
    let choice = choice(&arguments.which)?;
    let standing = standing(run, &arguments.which).await?;
    let (made_at, encrypted) = (standing.made_at(), standing.encrypted());
    let open = opened(run, standing).await?;
    if !encrypted {
        run.screen.say(LEFT_OUT);
    }
    let head = json!({
        "schema": format!("idevice-fix/{SCHEMA}/1"), "folder": open.folder, "made_at": made_at, "encrypted": encrypted,
    });
    if arguments.domains { domains(run, &open, &choice, head) } else { files(run, &open, &choice, &head) }
}

/// One line a domain.
fn domains(run: &Run, open: &Open, choice: &Choice, mut head: serde_json::Value) -> Result<(), Stop> {
    let mut domains: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    each(open, choice, |domain, _, file| {
        let (files, bytes) = domains.entry(domain.to_owned()).or_default();
        (*files, *bytes) = (*files + 1, bytes.saturating_add(file.size));
    })?;
    if run.global.json {
        let list = domains
            .iter()
            .map(|(domain, (files, bytes))| json!({"domain": domain, "files": files, "bytes": bytes}));
        head["domains"] = list.collect();
        terminal::print_json(&head);
        return Ok(());
    }
    for (domain, (files, bytes)) in &domains {
        let files = words::counted(*files, "file", "files");
        terminal::print(&format!("{:>8}  {files:>14}  {}\n", words::bytes(*bytes), plain(domain)));
    }
    Ok(())
}

/// One line a file, as they come: a backup can hold a million.
fn files(run: &Run, open: &Open, choice: &Choice, head: &serde_json::Value) -> Result<(), Stop> {
    let zone = terminal::stdout_style().zone;
    let as_json = run.global.json;
    let mut first = true;
    if as_json {
        let text = head.to_string();
        terminal::print(&format!("{},\"files\":[", text.trim_end_matches('}')));
    }
    let listed = each(open, choice, |domain, path, file| {
        let modified = jiff::Timestamp::from_second(file.last_modified).ok();
        if as_json {
            let one = json!({"domain": domain, "path": path, "bytes": file.size, "modified": modified});
            terminal::print(&format!("{}\n{one}", if first { "" } else { "," }));
        } else {
            let when = modified.map_or_else(String::new, |at| words::moment(at, &zone));
            let name = format!("{}/{}", long(domain), long(path));
            terminal::print(&format!("{:>8}  {when:>18}  {name}\n", words::bytes(file.size)));
        }
        first = false;
    });
    if as_json {
        terminal::print("\n]}\n");
    }
    listed
}

/// A path that can be typed again: harmless for the terminal, and not cut.
fn long(text: &str) -> String {
    text.chars()
        .map(|c| if plain(c.encode_utf8(&mut [0; 4])).starts_with(c) { c } else { '\u{FFFD}' })
        .collect()
}

fn each(open: &Open, choice: &Choice, mut take: impl FnMut(&str, &str, &MbFile)) -> Result<(), Stop> {
    let read = open.backup.rows(|row| {
        if row.is_file() && choice.takes(&row.domain, &row.path) {
            // Of a row that cannot be read at least its name is shown.
            take(&row.domain, &row.path, &MbFile::parse(&row.archive).unwrap_or_default());
        }
        true
    });
    read.map_err(|error| {
        let cause = format!("The backup cannot be read to its end: {}.", plain(&error.to_string()));
        Stop::new(Trouble::VerificationFailed, cause, "")
    })
}
