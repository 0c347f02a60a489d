//! `photos adopt`: originals that were downloaded elsewhere become part of the copy.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::phones::Phones;
use super::photos::one_kept;
use super::run::Run;
use super::terminal;
use super::visits::{begin, print_failure};
use crate::facts::text::plain;
use crate::photos::adopt::{Adoption, By};
use crate::remedy::Consent;
use crate::report::Report;
use crate::usbmux::Udid;
use crate::visit::{Outcome, Stop, Trouble, adopt, exit_status, phones_kept, words};

/// Files that are listed for people; JSON has all.
const LISTED_MAX: usize = 40;

/// What was done, with or without the phone.
struct Done {
    udid: Udid,
    adoption: Adoption,
    /// With the phone: what is judged now.
    outcome: Option<Outcome>,
    /// Without it: since when its library was as it is remembered.
    since: Option<Timestamp>,
    stops: Vec<Stop>,
}

/// Takes in what `dir` holds.
pub(super) async fn adopt(run: &Run, dir: &Path) -> Result<(), Stop> {
    let done = done(run, dir).await.map_err(|stop| print_failure(run, "photos-adopt", stop))?;
    if run.global.json {
        print_json(&done);
    } else {
        for line in lines(&done, run.global.verbose > 0) {
            terminal::print(&format!("{line}\n"));
        }
    }
    done.stops.into_iter().min_by_key(|stop| stop.trouble).map_or(Ok(()), Err)
}

async fn done(run: &Run, dir: &Path) -> Result<Done, Stop> {
    let phones = Phones::open(run)?;
    match begin(run, &phones, Consent::default(), run.watch()).await {
        Ok(mut visit) => {
            let (adoption, outcome) = visit.adopt(dir).await?;
            let (udid, stops) = (visit.udid().clone(), outcome.stops.clone());
            Ok(Done { udid, adoption, outcome: Some(outcome), since: None, stops })
        }
        // Without the phone what is remembered of its library tells which original a file is.
        Err(why) if why.stop.trouble == Trouble::NoDevice => {
            let dest = phones.dest(run)?;
            let udid = one_kept(run, phones_kept(&dest)?).map_err(|_| why.stop)?;
            let folder = dest.join(udid.as_str());
            let made = adopt::adopt_without_phone(&folder, &udid, dir, run.watch(), &run.cancel).await?;
            Ok(Done {
                udid,
                adoption: made.adoption,
                outcome: None,
                since: Some(made.since),
                stops: made.stops,
            })
        }
        Err(why) => Err(why.stop),
    }
}

fn print_json(done: &Done) {
    let adoption = &done.adoption;
    let taken: Vec<Value> = adoption
        .taken
        .iter()
        .map(|one| {
            json!({"file": one.file, "asset": one.asset, "part": one.part, "by": one.by.as_str(), "bytes": one.bytes})
        })
        .collect();
    let not_taken: Vec<Value> =
        adoption.not_taken.iter().map(|(file, reason)| json!({"file": file, "reason": reason})).collect();
    let verdict = done.outcome.as_ref().map(|outcome| Report::of(outcome).diagnosis.verdict);
    terminal::print_json(&json!({
        "event": "result", "schema": "idevice-fix/photos-adopt/1",
        "exit_status": exit_status(done.stops.iter().map(|stop| stop.trouble)),
        "udid": done.udid.as_str(), "library_since": done.since, "taken": taken, "shared": adoption.shared,
        "already_kept": adoption.already_kept, "on_phone": adoption.on_phone, "not_taken": not_taken,
        "no_pictures": adoption.no_pictures, "missing_before": adoption.missing_before, "missing": adoption.missing,
        "verdict": verdict,
    }));
}

fn lines(done: &Done, all: bool) -> Vec<String> {
    let adoption = &done.adoption;
    let files = |n: u64| words::counted(n, "file", "files");
    let mut lines = Vec::new();
    if let Some(since) = done.since {
        let since = words::moment(since, &terminal::stdout_style().zone);
        lines.push(format!("The phone is not here; its library is taken as it was read on {since}."));
    }
    let most = if all { usize::MAX } else { LISTED_MAX };
    for (file, reason) in adoption.not_taken.iter().take(most) {
        lines.push(format!("NOT TAKEN  {}: {}", plain(file), plain(reason)));
    }
    if let Some(more) = adoption.not_taken.len().checked_sub(most).filter(|more| *more > 0) {
        lines.push(format!("NOT TAKEN  and {} (-v lists them)", words::counted(more as u64, "more", "more")));
    }
    let bytes = adoption.taken.iter().fold(0_u64, |sum, one| sum.saturating_add(one.bytes));
    let by_name = adoption.taken.iter().filter(|one| one.by == By::NameAndSize).count() as u64;
    let how = if by_name == 0 {
        String::new()
    } else {
        format!(", {} of them known by name and size alone", words::count(by_name))
    };
    lines.push(format!(
        "Taken in: {} ({}{how}).",
        words::counted(adoption.taken.len() as u64, "original", "originals"),
        words::bytes(bytes)
    ));
    for (n, what) in [
        (adoption.already_kept, "taken in before"),
        (adoption.on_phone, "with originals that are on the phone"),
        (adoption.no_pictures, "without a picture (lists, sidecars, archives)"),
    ] {
        if n > 0 {
            lines.push(format!("Left alone: {} {what}.", files(n)));
        }
    }
    lines.push(match adoption.missing {
        0 => "Every original that is not on the phone is in the copy now.".to_owned(),
        n => format!(
            "Still missing: {} not on the phone and not in the copy.",
            words::counted(n, "original is", "originals are")
        ),
    });
    lines
}
