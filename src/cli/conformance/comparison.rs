//! `conformance compare`: a saved file against a simulated phone of the same iOS, which is made and measured here.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::all;
use crate::cli::run::Run;
use crate::cli::terminal::{self, wrapped};
use crate::conformance::compare::{BadFile, Comparison, FILE_BYTES_MAX, Read, compare};
use crate::conformance::{End, Measuring, Pace};
use crate::facts::text::{counted, plain};
use crate::lockdown::Phone;
use crate::progress::Silent;
use crate::sim::new::{NewOptions, create};
use crate::sim::{Bus, Device};
use crate::usbmux::Muxer;
use crate::visit::{Stop, Trouble, reach};

/// Photos of the simulated phone: enough for every kind of asset.
const PHOTOS: u32 = 40;
/// The simulated person taps Trust in a moment.
const TAPPED_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn compared(run: &Run, path: &Path) -> Result<(), Stop> {
    let phone = read(path)?;
    run.screen.say(&format!("Making and measuring a simulated phone with iOS {} ...", phone.ios_version));
    let assumed = assumed(run, &phone).await?;
    let comparison = compare(&phone, &assumed);
    if run.global.json {
        print_json(&phone, &comparison);
    } else {
        terminal::print(&text(&phone, &comparison, terminal::stdout_style().width));
    }
    if comparison.differences.is_empty() { Ok(()) } else { Err(Stop::new(Trouble::Skipped, "", "")) }
}

/// Reads a file that may come from anybody.
fn read(path: &Path) -> Result<Read, Stop> {
    let stop = |why: &dyn std::fmt::Display| {
        Stop::new(
            Trouble::Usage,
            format!("{} cannot be compared: {why}.", plain(&path.display().to_string())),
            "A whole file is made by: idevice-fix conformance --out FILE.",
        )
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| stop(&error))?;
    if !file.metadata().map_err(|error| stop(&error))?.is_file() {
        return Err(stop(&"it is no file"));
    }
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| stop(&error))?;
    Read::parse(&bytes).map_err(|error| stop(&error))
}

/// The simulated phone of the same iOS, measured in the same way.
async fn assumed(run: &Run, phone: &Read) -> Result<Read, Stop> {
    let failed = |error: &dyn std::fmt::Display| {
        let cause = format!("No simulated phone with iOS {} could be made: {error}.", phone.ios_version);
        Stop::new(Trouble::Failed, cause, "")
    };
    let temp = tempfile::tempdir().map_err(|error| failed(&error))?;
    let folder = temp.path().join("phone");
    let options =
        NewOptions { ios: phone.ios_version.clone(), photos: Some(PHOTOS), ..NewOptions::default() };
    let made = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || create(&folder, &options)).await
    };
    made.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    let device = Device::open(&folder, false).map_err(|error| failed(&error))?;
    let muxer: Arc<dyn Muxer> = Arc::new(Bus::new(vec![device]));
    let chosen = reach::choose(muxer.as_ref(), None, &[]).await;
    let attached = chosen.map_err(|unreached| unreached.stop)?;
    let simulated = Phone { muxer: Arc::clone(&muxer), attached: attached.clone() };
    let mut measuring = Measuring::new(Pace::brief(), true);
    let mut end = measuring.stranger(&simulated, &Silent, &run.cancel).await;
    if end == End::Done {
        let session = reach::session(&muxer, attached, TAPPED_WITHIN, &Silent, &run.cancel).await;
        let session = session.map_err(|unreached| unreached.stop)?;
        let (path, has_backup) = (temp.path(), phone.has_backup());
        end = all(&mut measuring, &session, path, has_backup, None, &Silent, &run.cancel).await;
    }
    match end {
        End::Done => Read::of(&measuring.file()).map_err(|error: BadFile| failed(&error)),
        End::Cancelled => Err(Stop::interrupted()),
        End::PhoneLeft => Err(failed(&"it left")),
    }
}

fn print_json(phone: &Read, comparison: &Comparison) {
    let differences: Vec<Value> = comparison
        .differences
        .iter()
        .map(|found| json!({"place": found.place, "assumed": found.assumed, "phone": found.phone}))
        .collect();
    let gaps: Vec<Value> = comparison
        .not_measured
        .iter()
        .map(|(part, reason)| json!({"part": part, "reason": reason}))
        .collect();
    terminal::print_json(&json!({
        "schema": "idevice-fix/conformance-comparison/1",
        "phone": {"product_type": phone.product_type, "ios_version": phone.ios_version, "simulated": phone.simulated},
        "compared": comparison.compared, "differences": differences, "not_measured": gaps,
    }));
}

fn text(phone: &Read, comparison: &Comparison, width: usize) -> String {
    let who = phone.product_type.as_deref().unwrap_or("A phone");
    let made_on = if phone.simulated { " (itself a simulated phone)" } else { "" };
    let mut text =
        format!("{who} with iOS {}{made_on}, held against the simulated phone\n\n", phone.ios_version);
    for found in &comparison.differences {
        text.push_str(&wrapped(&found.place, 0, width));
        text.push_str(&wrapped(&format!("we assume:      {}", found.assumed), 2, width));
        text.push_str(&wrapped(&format!("the phone said: {}", found.phone), 2, width));
    }
    if !comparison.differences.is_empty() {
        text.push('\n');
    }
    let differences = counted(comparison.differences.len() as u64, "difference", "differences");
    let _ = writeln!(text, "{differences} in {}.", counted(comparison.compared as u64, "place", "places"));
    for (part, reason) in &comparison.not_measured {
        text.push_str(&wrapped(&format!("Not whole: {part} ({reason})"), 0, width));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_where_there_is_room_to() {
        assert_eq!(wrapped("one two three", 0, 80), "one two three\n");
        assert_eq!(wrapped("one two three", 2, 9), "  one two\n      three\n");
        assert_eq!(wrapped("unbreakable", 0, 4), "unbreakable\n");
    }
}
