//! `photos layout`: other arrangements of the copy, without the phone.

use serde_json::json;

use super::phones::Phones;
use super::photos::one_kept;
use super::run::Run;
use super::terminal;
use super::visits::print_failure;
use crate::facts::text::plain;
use crate::photos::layout::{LaidOut, Layouts};
use crate::usbmux::Udid;
use crate::visit::{Stop, Trouble, arrange_without_phone, phones_kept};

/// Arranges the copy.
pub(super) fn layout(run: &Run, layouts: Layouts) -> Result<(), Stop> {
    let (udid, made) = laid_out(run, layouts).map_err(|stop| print_failure(run, "photos-layout", stop))?;
    let stop = made.iter().find_map(|one| {
        let why = one.impossible.as_deref()?;
        let cause = format!("{} was not made: {}.", one.folder, plain(why));
        Some(Stop::new(Trouble::Skipped, cause, "Run idevice-fix photos pull with the phone plugged in."))
    });
    if run.global.json {
        terminal::print_json(&json!({
            "event": "result", "schema": "idevice-fix/photos-layout/1",
            "exit_status": stop.as_ref().map_or(0, |stop| stop.trouble.exit_status()),
            "udid": udid.as_str(), "layouts": made,
        }));
    } else {
        for one in &made {
            terminal::print(&format!("{}\n", crate::report::laid_out_sentence(one)));
        }
    }
    stop.map_or(Ok(()), Err)
}

fn laid_out(run: &Run, layouts: Layouts) -> Result<(Udid, Vec<LaidOut>), Stop> {
    let phones = run.global.demo.then(|| Phones::open(run)).transpose()?;
    let dest = phones.as_ref().map_or_else(|| run.dest(), |phones| phones.dest(run))?;
    let udid = one_kept(run, phones_kept(&dest)?)?;
    let made = arrange_without_phone(&dest.join(udid.as_str()), &udid, layouts, &run.cancel)?;
    Ok((udid, made))
}
