//! `photos status`, `photos pull`, `photos verify`.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::arguments::Photos;
use super::fix;
use super::phones::Phones;
use super::run::Run;
use super::visits::{begin, ended};
use super::{secrets, terminal};
use crate::backup::Secret;
use crate::facts::text::plain;
use crate::photos::verify::Depth;
use crate::remedy::Consent;
use crate::report::{self, Report};
use crate::usbmux::Udid;
use crate::visit::{Kept, Part, Stop, Trouble, Wish, kept_backups, kept_without_phone, phones_kept, words};

/// The originals.
pub(super) async fn photos(run: &Run, command: &Photos) -> Result<(), Stop> {
    match command {
        Photos::Status => status(run).await.map_err(|stop| run.explain("photos-status", stop)),
        Photos::Pull(options) => {
            let wish = Wish { photos: true, paranoid: options.paranoid, ..Wish::default() };
            fix::protect_as_told(run, wish, "photos-pull").await
        }
        Photos::Verify => verify(run, Part::Photos, "photos-verify").await,
    }
}

async fn status(run: &Run) -> Result<(), Stop> {
    let phones = Phones::open(run)?;
    let begun = begin(run, &phones, Consent::default(), run.watch_query()).await;
    let mut visit = begun.map_err(|unreached| unreached.stop)?;
    let outcome = visit.diagnose().await?;
    let report = Report::of(&outcome);
    if run.global.json {
        terminal::print_json(&json!({
            "schema": "idevice-fix/photos-status/1", "device": report.diagnosis.device,
            "library": report.diagnosis.facts["library"], "photo_copy": report.diagnosis.facts["photo_copy"],
            "whereabouts": report.whereabouts, "verdict": report.diagnosis.verdict.photos, "gaps": report.diagnosis.gaps,
        }));
    } else {
        terminal::print(&report::photos_text(&report, &terminal::stdout_style()));
    }
    ended(&outcome)
}

/// Reads what is kept again, byte by byte, without the phone.
pub(super) async fn verify(run: &Run, part: Part, name: &str) -> Result<(), Stop> {
    let (udid, kept) = match verified(run, part).await {
        Ok(done) => done,
        Err(stop) => return Err(super::visits::print_failure(run, name, stop)),
    };
    let stop = kept.stop();
    if run.global.json {
        let photos = kept
            .photos
            .as_ref()
            .map(|proof| json!({"files": proof.files(), "verified_at": proof.proven_at()}));
        let backup = kept.backup.as_ref().map(|proof| {
            json!({"made_at": proof.made_at(), "verified_at": proof.proven_at(), "encrypted": proof.encrypted(),
                "proven_inside": proof.proven_inside(), "complete": proof.complete(), "media_files": proof.media_files()})
        });
        terminal::print_json(&json!({
            "event": "result", "schema": format!("idevice-fix/{name}/1"),
            "exit_status": stop.as_ref().map_or(0, |stop| stop.trouble.exit_status()),
            "udid": udid.as_str(), "photos": photos, "backup": backup, "damage": kept.damage,
        }));
    } else {
        for line in lines(&kept) {
            terminal::print(&format!("{line}\n"));
        }
    }
    stop.map_or(Ok(()), Err)
}

fn lines(kept: &Kept) -> Vec<String> {
    let zone = terminal::stdout_style().zone;
    let mut lines: Vec<String> =
        kept.damage.iter().map(|damage| format!("DAMAGED  {}", plain(damage))).collect();
    if let Some(proof) = &kept.photos {
        let files = words::counted(proof.files() as u64, "file", "files");
        lines.push(format!(
            "Photos: {files} read again, as received ({})",
            words::moment(proof.proven_at(), &zone)
        ));
    }
    if let Some(proof) = &kept.backup {
        let inside = if proof.proven_inside() {
            "every file is whole"
        } else {
            "proven from outside only: its password is not known"
        };
        lines.push(format!("Backup of {}: {inside}", words::moment(proof.made_at(), &zone)));
    }
    lines
}

async fn verified(run: &Run, part: Part) -> Result<(Udid, Kept), Stop> {
    let phones = run.global.demo.then(|| Phones::open(run)).transpose()?;
    let dest = phones.as_ref().map_or_else(|| run.dest(), |phones| phones.dest(run))?;
    let udid = one_kept(run, phones_kept(&dest)?)?;
    let password = known_password(run, &dest, &udid, part).await?;
    let watch: Arc<dyn crate::progress::Observer> = run.watch();
    let folder = dest.join(udid.as_str());
    let kept = kept_without_phone(
        &folder,
        &udid,
        Depth::Full,
        part,
        password.as_deref(),
        watch.as_ref(),
        &run.cancel,
    )
    .await?;
    let nothing = kept.photos.is_none() && kept.backup.is_none() && kept.damage.is_empty();
    if nothing {
        return Err(Stop::new(
            Trouble::Failed,
            format!("Nothing of the phone {udid} is kept under {} that could be verified.", dest.display()),
            "Make a copy first: idevice-fix.",
        ));
    }
    Ok((udid, kept))
}

/// The password of the newest backup, where one is needed to see all of it.
async fn known_password(
    run: &Run,
    dest: &Path,
    udid: &Udid,
    part: Part,
) -> Result<Option<Arc<Secret>>, Stop> {
    let encrypted = kept_backups(dest, udid).first().is_some_and(|newest| newest.encrypted);
    if part != Part::Photos && encrypted { secrets::wanted(run, udid).await } else { Ok(None) }
}

/// The phone that is named, or the only one of which something is kept.
pub(super) fn one_kept(run: &Run, mut kept: Vec<Udid>) -> Result<Udid, Stop> {
    if let Some(named) = &run.global.udid {
        return Udid::parse(named).ok_or_else(|| {
            Stop::new(Trouble::Usage, format!("{:?} is no id of a device.", plain(named)), "")
        });
    }
    match kept.len() {
        1 => Ok(kept.remove(0)),
        0 => Err(Stop::new(Trouble::Failed, "Nothing is kept here yet.", "Make a copy first: idevice-fix.")),
        _ => {
            let ids: Vec<&str> = kept.iter().map(Udid::as_str).collect();
            Err(Stop::new(
                Trouble::SeveralDevices,
                format!("Several phones are kept here: {}.", ids.join(", ")),
                "Name one with --udid.",
            ))
        }
    }
}
