//! `backup extract`: files out of a backup, without touching the phone.

use serde_json::json;

use super::arguments::BackupExtract;
use super::backup_list::{choice, opened, standing};
use super::run::Run;
use super::terminal;
use super::visits::print_failure;
use crate::facts::text::plain;
use crate::visit::{self, Extraction, Stop, Trouble, Wanted, words};

const SCHEMA: &str = "backup-extract";
/// Files that are named for people, one a line.
const NAMED_MAX: usize = 20;

/// Extracts.
pub(super) async fn extract(run: &Run, arguments: &BackupExtract) -> Result<(), Stop> {
    let extraction = extracted(run, arguments).await.map_err(|stop| print_failure(run, SCHEMA, stop))?;
    let stop = extraction.stop();
    if run.global.json {
        let exit_status = stop.as_ref().map_or(0, |stop| stop.trouble.exit_status());
        let mut result = json!({
            "event": "result", "schema": format!("idevice-fix/{SCHEMA}/1"), "exit_status": exit_status,
        });
        let came = serde_json::to_value(&extraction).expect("what was extracted is plain data");
        let came = came.as_object().expect("it has fields").clone();
        result.as_object_mut().expect("it is one").extend(came);
        terminal::print_json(&result);
    } else {
        lines(&extraction).iter().for_each(|line| terminal::print(&format!("{line}\n")));
    }
    stop.map_or(Ok(()), Err)
}

async fn extracted(run: &Run, arguments: &BackupExtract) -> Result<Extraction, Stop> {
    let chosen = choice(&arguments.which)?;
    let wanted = if arguments.photos { Wanted::Photos } else { Wanted::Files(chosen) };
    let out = std::path::absolute(&arguments.out).map_err(|error| {
        Stop::new(Trouble::Usage, format!("{} is no folder: {error}.", arguments.out.display()), "")
    })?;
    let open = opened(run, standing(run, &arguments.which).await?).await?;
    let watch = run.watch();
    visit::extract(open, wanted, &out, watch.as_ref(), &run.cancel).await
}

fn lines(extraction: &Extraction) -> Vec<String> {
    let files = &extraction.files;
    let mut lines = vec![format!(
        "{}, {}, in {}",
        words::counted(files.files, "file", "files"),
        words::bytes(files.bytes),
        extraction.folder.display()
    )];
    for one in files.missed.iter().take(NAMED_MAX) {
        lines.push(format!("  NOT  {}: {}", plain(&format!("{}/{}", one.domain, one.path)), plain(&one.why)));
    }
    let more = files.missed_files.saturating_sub(NAMED_MAX as u64);
    if more > 0 {
        lines.push(format!("  NOT  {} more (--json lists them)", words::count(more)));
    }
    if let Some(why) = &extraction.library {
        lines.push(format!("The photos have the phone's own names: its library could not be read ({why})."));
    }
    if files.other_size_files > 0 {
        lines.push(format!(
            "{} another length than the backup's list says, as live databases have; nothing was cut.",
            words::counted(files.other_size_files, "file has", "files have")
        ));
    }
    if files.links > 0 {
        lines.push(format!("{} left out.", words::counted(files.links, "link was", "links were")));
    }
    if !extraction.compared {
        lines.push(
            "This backup was not received by idevice-fix, so there was nothing to hold the files against."
                .into(),
        );
    }
    lines
}
