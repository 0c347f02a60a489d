//! `doctor`: is this computer ready?

use serde_json::json;

use super::arguments::Doctor;
use super::pair_record;
use super::phones::{Phones, is_own};
use super::run::Run;
use super::terminal;
use crate::collect::bus::Host;
use crate::visit::host::{self, Asked, Check, State};
use crate::visit::{Stop, exit_status};

/// Looks, and names the one command that mends what it found.
pub(super) async fn doctor(run: &Run, arguments: &Doctor) -> Result<(), Stop> {
    if let Some(file) = &arguments.import_pair_record {
        return pair_record::import(run, file).await.map_err(|stop| run.explain("doctor", stop));
    }
    let phones = Phones::open(run);
    let dest = match &phones {
        Ok(phones) => phones.dest(run),
        Err(_) => run.dest(),
    }
    .map_err(|stop| run.explain("doctor", stop))?;
    let devices = match &phones {
        Ok(phones) => phones.muxer.devices().await,
        Err(stop) => Err(crate::usbmux::Error::BadAddress(stop.cause.clone())),
    };
    let muxer = Asked { is_own: is_own(run), devices };
    let checks = host::examine(&Host::system(), &muxer, &dest, jiff::Timestamp::now());
    let status = exit_status(checks.iter().filter_map(|check| check.trouble));
    if run.global.json {
        terminal::print_json(
            &json!({"schema": "idevice-fix/doctor/1", "ready": status == 0, "checks": checks}),
        );
    } else {
        for check in &checks {
            terminal::print(&line(check));
        }
    }
    let worst = checks.iter().filter(|check| check.trouble.is_some()).min_by_key(|check| check.trouble);
    match worst.and_then(|check| Some((check.trouble?, check))) {
        None => Ok(()),
        Some((trouble, check)) => Err(Stop::new(
            trouble,
            format!("This computer is not ready: {}.", check.text),
            check.mend.as_ref().map_or_else(String::new, |mend| format!("Mend it with: {mend}")),
        )),
    }
}

fn line(check: &Check) -> String {
    let mark = match check.state {
        State::Good => "ok  ",
        State::Notice => "note",
        State::Bad => "BAD ",
    };
    let mend = check.mend.as_ref().map_or_else(String::new, |mend| format!("\n        -> {mend}"));
    format!("{mark}  {}: {}{mend}\n", check.name, check.text)
}
