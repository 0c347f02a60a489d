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
use crate::lockdown::{PairRecord, Phone};
use crate::usbmux::{self, Udid};
use crate::visit::{Stop, Trouble};

/// A pair record is a few kilobytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// How long a phone may take to say whether it takes the record.
const ASK_WAIT: Duration = Duration::from_secs(10);

/// Gives a pair record to the muxer. One that works already, or of which that cannot be told, is not replaced.
pub(super) async fn import(run: &Run, file: &Path) -> Result<(), Stop> {
    let record = read(file)?;
    let udid = whose(run, file)?;
    let phones = Phones::open(run)?;
    let failed = |error: usbmux::Error| {
        Stop::new(
            Trouble::NoDevice,
            format!("{}.", plain(&error.to_string())),
            "idevice-fix doctor says more.",
        )
    };
    let attached = phones.muxer.devices().await.map_err(failed)?.into_iter().find(|there| there.udid == udid);
    let phone = attached.map(|attached| Phone { muxer: Arc::clone(&phones.muxer), attached });
    if phones.muxer.pair_record(&udid).await.map_err(failed)?.is_some() {
        may_replace(phone.as_ref(), &udid).await?;
    }
    phones.muxer.save_pair_record(&udid, None, &record.to_plist()).await.map_err(failed)?;
    let works = match &phone {
        Some(phone) => Some(attempt(phone).await?),
        None => None,
    };
    tell(run, &udid, works.as_ref())
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

async fn attempt(phone: &Phone) -> Result<Attempt, Stop> {
    let failed = |why: String| Stop::new(Trouble::Failed, format!("The phone cannot be asked: {why}."), "");
    let asked = tokio::time::timeout(ASK_WAIT, pairing::attempt(phone)).await;
    asked
        .map_err(|_| failed("it does not answer".to_owned()))?
        .map_err(|error| failed(plain(&error.to_string())))
}

/// Only a record that the phone does not accept may be replaced.
async fn may_replace(phone: Option<&Phone>, udid: &Udid) -> Result<(), Stop> {
    let Some(phone) = phone else {
        return Err(Stop::new(
            Trouble::PersonNeeded,
            format!(
                "There is a pair record of {udid} already, and the phone is not here to say whether it is good."
            ),
            "Plug the phone in, then run this again.",
        ));
    };
    match attempt(phone).await? {
        Attempt::Not(Obstacle::Stale | Obstacle::UnusableRecord(_) | Obstacle::NotTrusted) => Ok(()),
        Attempt::Trusted(_) => Err(Stop::new(
            Trouble::Usage,
            format!("{udid} trusts this computer already; nothing was changed."),
            "",
        )),
        Attempt::Not(_) => Err(Stop::new(
            Trouble::PersonNeeded,
            format!(
                "There is a pair record of {udid} already, and the phone does not say now whether it is good."
            ),
            "Unlock it if you can, plug it in again, and run this again.",
        )),
    }
}

fn tell(run: &Run, udid: &Udid, works: Option<&Attempt>) -> Result<(), Stop> {
    let (accepted, words) = match works {
        None => (
            None,
            "The phone is not plugged in: plug it in, and idevice-fix devices shows whether it is taken.",
        ),
        Some(Attempt::Trusted(_)) => (Some(true), "The phone lets this computer in."),
        Some(Attempt::Not(Obstacle::Locked | Obstacle::NotUnlockedSinceBoot)) => {
            (None, "The phone is locked, so that it does not say yet whether it is taken.")
        }
        Some(Attempt::Not(_)) => (Some(false), ""),
    };
    if run.global.json {
        let answer =
            json!({"schema": "idevice-fix/pair-record/1", "udid": udid.as_str(), "accepted": accepted});
        terminal::print_json(&answer);
    } else if accepted != Some(false) {
        terminal::print(&format!("The pair record of {udid} was imported. {words}\n"));
    }
    match accepted {
        Some(false) => Err(Stop::new(
            Trouble::PersonNeeded,
            format!("The pair record was imported, and {udid} does not accept it."),
            "It was made for another phone, or the phone was reset since; take one of another computer.",
        )),
        _ => Ok(()),
    }
}
