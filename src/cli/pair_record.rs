//! `doctor --import-pair-record`: a phone whose screen is broken cannot be asked to trust this computer; a computer that
//! it trusted before has what it takes.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::phones::Phones;
use super::run::Run;
use super::terminal;
use crate::facts::text::plain;
use crate::lockdown::pairing::{self, Attempt, Obstacle};
use crate::lockdown::{self, PairRecord, Phone};
use crate::usbmux::{self, Udid};
use crate::visit::{Stop, Trouble};

/// A pair record is a few kilobytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// How long a phone may take to say whether it takes the record.
const ASK_WAIT: Duration = Duration::from_secs(10);

/// Gives a pair record to the muxer, once the phone has let us in with it: one that it does not take would only be in the
/// way of pairing anew. One that works already is not replaced.
pub(super) async fn import(run: &Run, file: &Path) -> Result<(), Stop> {
    let record = read(file)?.to_plist();
    let udid = whose(run, file)?;
    let phones = Phones::open(run)?;
    let attached = phones
        .muxer
        .devices()
        .await
        .map_err(|error| no_muxer(&error))?
        .into_iter()
        .find(|there| there.udid == udid);
    let Some(attached) = attached else {
        return Err(Stop::new(
            Trouble::NoDevice,
            format!("{udid} is not connected, so that it cannot be tried whether it takes the pair record."),
            "Plug it in, then run this again.",
        ));
    };
    let phone = Phone { muxer: Arc::clone(&phones.muxer), attached };
    let kept = phones.muxer.pair_record(&udid).await.map_err(|error| no_muxer(&error))?;
    if kept.is_some() && matches!(asked(pairing::attempt(&phone)).await?, Attempt::Trusted(_)) {
        return Err(Stop::new(
            Trouble::Usage,
            format!("{udid} trusts this computer already; nothing was changed."),
            "",
        ));
    }
    match asked(pairing::attempt_with(&phone, &record)).await? {
        Attempt::Trusted(_) => {}
        Attempt::Not(obstacle) => return Err(not_taken(&udid, &obstacle)),
    }
    phones.muxer.save_pair_record(&udid, None, &record).await.map_err(|error| no_muxer(&error))?;
    tell(run, &udid);
    Ok(())
}

fn no_muxer(error: &usbmux::Error) -> Stop {
    let cause = format!("{}.", plain(&error.to_string()));
    Stop::new(Trouble::NoDevice, cause, "idevice-fix doctor says more.")
}

fn read(file: &Path) -> Result<PairRecord, Stop> {
    let bad = |why: String| {
        let cause = format!("{} is no pair record: {why}.", file.display());
        Stop::new(
            Trouble::Usage,
            cause,
            "It is a file UDID.plist out of the folder lockdown of the other computer.",
        )
    };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file);
    let read = opened.and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(bad(error.to_string())),
        Ok(length) if length as u64 > FILE_BYTES_MAX => Err(bad("it is too long".to_owned())),
        Ok(_) => PairRecord::from_plist(&bytes).map_err(|error| bad(error.to_string())),
    }
}

/// Which phone's: as said, else as the file is called.
fn whose(run: &Run, file: &Path) -> Result<Udid, Stop> {
    let of_file = file.file_stem().and_then(|stem| stem.to_str());
    run.global.udid.as_deref().or(of_file).and_then(Udid::parse).ok_or_else(|| {
        Stop::new(
            Trouble::Usage,
            "It is not said which phone the pair record is for: the file is not called after one.",
            "Name the phone with --udid.",
        )
    })
}

async fn asked(attempt: impl Future<Output = Result<Attempt, lockdown::Error>>) -> Result<Attempt, Stop> {
    let failed = |why: String| Stop::new(Trouble::Failed, format!("The phone cannot be asked: {why}."), "");
    let answered = tokio::time::timeout(ASK_WAIT, attempt).await;
    answered
        .map_err(|_| failed("it does not answer".to_owned()))?
        .map_err(|error| failed(plain(&error.to_string())))
}

fn not_taken(udid: &Udid, obstacle: &Obstacle) -> Stop {
    let (cause, next) = if obstacle.may_pass() {
        (
            format!(
                "{udid} is locked and does not say yet whether it takes the pair record; nothing was changed."
            ),
            "Unlock it if you can, then run this again.",
        )
    } else {
        (
            format!("{udid} does not accept this pair record; nothing was changed."),
            "It was made for another phone, or the phone was reset since; take one of another computer.",
        )
    };
    Stop::new(Trouble::PersonNeeded, cause, next)
}

fn tell(run: &Run, udid: &Udid) {
    if run.global.json {
        let answer = json!({"schema": "idevice-fix/pair-record/1", "udid": udid.as_str(), "accepted": true});
        terminal::print_json(&answer);
    } else {
        terminal::print(&format!(
            "The pair record of {udid} was imported. The phone lets this computer in.\n"
        ));
    }
}
