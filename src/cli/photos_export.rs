//! `photos export`: the pictures of the copy in a folder of their own, HEIC as JPEG.

use std::path::Path;

use serde_json::json;

use super::photos::one_kept;
use super::run::Run;
use super::terminal;
use crate::facts::text::plain;
use crate::photos::export::Exported;
use crate::visit::{Stop, Trouble, export_without_phone, phones_kept, words};

const NAME: &str = "photos-export";

/// Exports the pictures.
pub(super) async fn export(run: &Run, into: &Path) -> Result<(), Stop> {
    let exported = match make(run, into).await {
        Ok(exported) => exported,
        Err(stop) => return Err(super::visits::print_failure(run, NAME, stop)),
    };
    let stop = stop(&exported);
    if run.global.json {
        let listed = |of: &[(String, String)]| -> Vec<_> {
            of.iter().map(|(item, reason)| json!({"item": item, "reason": reason})).collect()
        };
        terminal::print_json(&json!({
            "event": "result", "schema": format!("idevice-fix/{NAME}/1"),
            "exit_status": stop.as_ref().map_or(0, |stop| stop.trouble.exit_status()),
            "folder": into.display().to_string(), "converted": exported.converted, "copied": exported.copied,
            "unchanged": exported.unchanged, "left": exported.left, "failed": listed(&exported.failed),
            "notes": listed(&exported.notes),
        }));
    } else {
        terminal::print(&text(&exported, into));
    }
    stop.map_or(Ok(()), Err)
}

async fn make(run: &Run, into: &Path) -> Result<Exported, Stop> {
    let dest = run.dest()?;
    let into = std::path::absolute(into).map_err(|error| {
        Stop::new(Trouble::Usage, format!("{} is no folder: {error}.", into.display()), "")
    })?;
    if into.starts_with(&dest) {
        return Err(Stop::new(
            Trouble::Usage,
            format!("{} is inside the folder of the copies.", into.display()),
            "Name a folder elsewhere, so that nobody takes the JPEGs for the originals.",
        ));
    }
    let udid = one_kept(run, phones_kept(&dest)?)?;
    let folder = dest.join(udid.as_str());
    let exported = export_without_phone(&folder, udid.clone(), into, run.watch(), run.cancel.clone());
    exported.await?.ok_or_else(|| {
        Stop::new(
            Trouble::Failed,
            format!("No photos of the phone {udid} are kept under {}.", dest.display()),
            "Copy them first: idevice-fix photos pull.",
        )
    })
}

fn stop(exported: &Exported) -> Option<Stop> {
    if exported.cancelled {
        return Some(Stop::interrupted());
    }
    let (path, reason) = exported.failed.first()?;
    Some(Stop::new(
        Trouble::Skipped,
        format!(
            "{} not be exported, {} first: {}.",
            words::counted(exported.failed.len() as u64, "picture could", "pictures could"),
            plain(path),
            plain(reason)
        ),
        "Each is listed with its reason.",
    ))
}

fn text(exported: &Exported, into: &Path) -> String {
    let mut text = String::new();
    for (path, reason) in &exported.failed {
        text.push_str(&format!("NOT EXPORTED  {}: {}\n", plain(path), plain(reason)));
    }
    for (path, note) in &exported.notes {
        text.push_str(&format!("NOTE  {}: {}\n", plain(path), plain(note)));
    }
    text.push_str(&format!(
        "{} made from HEIC and {} copied into {}; {} there already.\n",
        words::counted(exported.converted, "JPEG", "JPEGs"),
        words::counted(exported.copied, "other picture", "other pictures"),
        into.display(),
        words::counted(exported.unchanged, "was", "were"),
    ));
    if exported.left > 0 {
        text.push_str(&format!(
            "{} left where they are: videos, the clips of Live Photos, RAWs and recipes of edits.\n",
            words::counted(exported.left, "file was", "files were")
        ));
    }
    text
}
