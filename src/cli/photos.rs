//! `photos status`, `photos pull`, `photos verify`; the rest of `photos` has files of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Value, json};

use super::arguments::{Photos, PhotosStatus};
use super::fix;
use super::phones::Phones;
use super::run::Run;
use super::visits::{begin, ended};
use super::{photos_adopt, photos_export, photos_gallery, photos_layout, secrets, terminal};
use crate::backup::Secret;
use crate::backup::verify::BackupProof;
use crate::facts::text::plain;
use crate::photos::layout::Layouts;
use crate::photos::verify::Depth;
use crate::remedy::Consent;
use crate::report::{self, ListsJson, Report};
use crate::usbmux::Udid;
use crate::visit::lists::Lists;
use crate::visit::{
    Kept, Lock, Part, Shown, Stop, Trouble, Whereabouts, Wish, kept_backups, kept_without_phone, phones_kept,
    words,
};

/// The originals.
pub(super) async fn photos(run: &Run, command: &Photos) -> Result<(), Stop> {
    match command {
        Photos::Status(options) => {
            status(run, options).await.map_err(|stop| run.explain("photos-status", stop))
        }
        Photos::Pull(options) => {
            let layouts = Layouts::of(&options.layout);
            let gallery = options.gallery.then_some(Shown { hidden: options.hidden });
            let wish = Wish { photos: true, layouts, gallery, paranoid: options.paranoid, ..Wish::default() };
            fix::protect_as_told(run, wish, "photos-pull").await
        }
        Photos::Export { jpeg } => photos_export::export(run, jpeg).await,
        Photos::Gallery => photos_gallery::again(run).await,
        Photos::Verify => verify(run, Part::Photos, "photos-verify").await,
        Photos::Layout { layouts } => photos_layout::layout(run, Layouts::of(layouts)),
        Photos::Adopt { dir } => photos_adopt::adopt(run, dir).await,
    }
}

async fn status(run: &Run, options: &PhotosStatus) -> Result<(), Stop> {
    let phones = Phones::open(run)?;
    let begun = begin(run, &phones, Consent::default(), run.watch_query()).await;
    let mut visit = begun.map_err(|unreached| unreached.stop)?;
    let (outcome, kept) = visit.diagnose_with_kept().await?;
    let report = Report::of(&outcome);
    let lists = Lists::of(&outcome.facts, &kept);
    let written = write_status(run, options, &report, lists.as_ref());
    written.map_err(|error| {
        Stop::new(Trouble::Failed, format!("The lists could not be written: {error}."), "")
    })?;
    ended(&outcome)
}

fn write_status(
    run: &Run,
    options: &PhotosStatus,
    report: &Report,
    lists: Option<&Lists<'_>>,
) -> std::io::Result<()> {
    let (mut out, style) = (terminal::out(), terminal::stdout_style());
    let wanted = &options.list;
    if options.csv {
        if lists.is_none() {
            terminal::say("The photo library could not be read, so the list is empty.");
        }
        report::lists_csv(lists, wanted, &mut out)?;
    } else if run.global.json {
        let status = Status {
            schema: "idevice-fix/photos-status/1",
            device: &report.diagnosis.device,
            library: &report.diagnosis.facts["library"],
            photo_copy: &report.diagnosis.facts["photo_copy"],
            whereabouts: &report.whereabouts,
            verdict: &report.diagnosis.verdict.photos,
            lists: (!wanted.is_empty()).then_some(ListsJson { lists, wanted }),
            gaps: &report.diagnosis.gaps,
        };
        serde_json::to_writer(&mut out, &status)?;
        out.write_all(b"\n")?;
    } else {
        out.write_all(report::photos_text(report, &style).as_bytes())?;
        if !wanted.is_empty() {
            report::lists_text(lists, wanted, &style, &mut out)?;
        }
    }
    out.flush()
}

/// The answer of `photos status --json`.
#[derive(Serialize)]
struct Status<'a> {
    schema: &'static str,
    device: &'a Option<report::Device>,
    library: &'a Value,
    photo_copy: &'a Value,
    whereabouts: &'a Option<Vec<Whereabouts>>,
    verdict: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lists: Option<ListsJson<'a>>,
    gaps: &'a [report::Gap],
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
        let backup = kept.backup.as_ref().map(backup_json);
        terminal::print_json(&json!({
            "event": "result", "schema": format!("idevice-fix/{name}/1"),
            "exit_status": stop.as_ref().map_or(0, |stop| stop.trouble.exit_status()),
            "udid": udid.as_str(), "photos": photos, "backup": backup, "damage": kept.damage,
            "notes": kept.notes,
        }));
    } else {
        for line in lines(&kept) {
            terminal::print(&format!("{line}\n"));
        }
        print_notes(&kept.notes);
    }
    stop.map_or(Ok(()), Err)
}

/// Notes that are shown; JSON has all of them.
const NOTES_SHOWN: usize = 5;

/// Prints what is worth knowing and no damage.
pub(super) fn print_notes(notes: &[String]) {
    let width = terminal::stdout_style().width;
    for note in notes.iter().take(NOTES_SHOWN) {
        terminal::print(&terminal::wrapped(&format!("Note: {}", plain(note)), 2, width));
    }
    if notes.len() > NOTES_SHOWN {
        let more = words::count((notes.len() - NOTES_SHOWN) as u64);
        terminal::print(&format!("  and {more} notes more: --json has them\n"));
    }
}

/// What is proven of a backup, for programs.
pub(super) fn backup_json(proof: &BackupProof) -> serde_json::Value {
    let refused: Vec<_> = proof
        .refused()
        .iter()
        .map(
            |row| json!({"domain": row.domain, "path": row.path, "code": row.code, "harmless": row.harmless}),
        )
        .collect();
    json!({"made_at": proof.made_at(), "verified_at": proof.proven_at(), "encrypted": proof.encrypted(),
        "proven_inside": proof.proven_inside(), "complete": proof.complete(), "media_files": proof.media_files(),
        "adopted_files": proof.adopted_files(), "refused": refused})
}

/// What is proven of a backup, what could not be, and when, for people.
pub(super) fn backup_line(proof: &BackupProof, zone: &TimeZone) -> String {
    let how = match (proof.proven_inside(), proof.adopted_files() > 0) {
        (false, _) => "proven from outside only, its password is not known",
        (true, false) => "every file is whole and as it was received",
        (true, true) => "every file is whole and as it was adopted",
    };
    let refused = match proof.refused().iter().filter(|row| !row.harmless).count() as u64 {
        0 => String::new(),
        count => {
            format!("; the phone refused {}", words::counted(count, "file that matters", "files that matter"))
        }
    };
    format!(
        "Backup of {}: {how}{refused}\n  proven {}",
        words::moment(proof.made_at(), zone),
        words::moment(proof.proven_at(), zone)
    )
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
        lines.push(backup_line(proof, &zone));
    }
    lines
}

/// Where things are kept, and the phone that is named, or the only one of which something is kept.
pub(super) fn kept_phone(run: &Run) -> Result<(PathBuf, Udid), Stop> {
    let phones = run.global.demo.then(|| Phones::open(run)).transpose()?;
    let dest = phones.as_ref().map_or_else(|| run.dest(), |phones| phones.dest(run))?;
    let udid = one_kept(run, phones_kept(&dest)?)?;
    Ok((dest, udid))
}

async fn verified(run: &Run, part: Part) -> Result<(Udid, Kept), Stop> {
    let (dest, udid) = kept_phone(run)?;
    let password = known_password(run, &dest, &udid, part).await?;
    let folder = dest.join(udid.as_str());
    let watch: Arc<dyn crate::progress::Observer> = run.watch();
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
pub(super) async fn known_password(
    run: &Run,
    dest: &Path,
    udid: &Udid,
    part: Part,
) -> Result<Option<Arc<Secret>>, Stop> {
    let encrypted = kept_backups(dest, udid).first().is_some_and(|newest| newest.encrypted);
    if part == Part::Photos || !encrypted {
        return Ok(None);
    }
    secrets::wanted(run, udid, Lock::of_newest(dest, udid).await.as_ref()).await
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
