//! `sim new`, `sim run` and `sim judge`: the simulated iPhone for tests and for looking around.

use std::sync::Arc;

use serde_json::json;
use tokio::net::TcpListener;

use super::arguments::{Sim, SimJudge, SimNew, SimRun};
use super::phones::folder_stop;
use super::run::Run;
use super::terminal;
use crate::facts::text::plain;
use crate::sim::cases::{self, Judged};
use crate::sim::new::{self, NewOptions, Scenario, Temper};
use crate::sim::usb::{functionfs, usbip};
use crate::sim::{self, Bus, Device};
use crate::usbmux::server::Listener;
use crate::visit::{Stop, Trouble, words};

/// Permissions of the unix socket: the one who runs the simulator.
const SOCKET_MODE: u32 = 0o600;

/// Makes or serves simulated phones.
pub(super) async fn sim(run: &Run, command: &Sim) -> Result<(), Stop> {
    match command {
        Sim::New(arguments) if arguments.list => {
            list(run);
            Ok(())
        }
        Sim::New(arguments) => create(run, arguments),
        Sim::Run(arguments) => serve(run, arguments).await,
        Sim::Judge(arguments) => judge(run, arguments).await.map_err(|stop| run.explain("cases", stop)),
    }
}

fn list(run: &Run) {
    if run.global.json {
        let scenarios: Vec<_> = new::scenarios()
            .iter()
            .map(|one| {
                json!({"name": one.name, "about": one.about, "finding": one.first, "also": one.also,
                       "since_ios": one.since})
            })
            .collect();
        terminal::print_json(&json!({"schema": "idevice-fix/scenarios/1", "scenarios": scenarios}));
        return;
    }
    let width = terminal::stdout_style().width;
    let mut out = format!("{:<NAME_COLUMNS$}{:<IOS_COLUMNS$}WHAT IS THE CASE\n", "NAME", "IOS");
    for one in new::scenarios() {
        out.push_str(&entry(one, width));
    }
    terminal::print(&out);
}

/// Columns for a scenario's name, and for the versions of iOS that have it.
const NAME_COLUMNS: usize = 26;
const IOS_COLUMNS: usize = 5;

/// A scenario's entry, no wider than `width`.
fn entry(one: &Scenario, width: usize) -> String {
    let room = width.saturating_sub(NAME_COLUMNS + IOS_COLUMNS).max(20);
    let mut lines = vec![String::new()];
    for word in one.about.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    let since = format!("{}+", one.since);
    let mut out = format!("{:<NAME_COLUMNS$}{since:<IOS_COLUMNS$}{}\n", one.name, lines[0]);
    for line in &lines[1..] {
        out.push_str(&format!("{:1$}{line}\n", "", NAME_COLUMNS + IOS_COLUMNS));
    }
    out
}

fn create(run: &Run, arguments: &SimNew) -> Result<(), Stop> {
    let Some(dir) = &arguments.dir else {
        return Err(Stop::new(Trouble::Usage, "No folder was named.", "idevice-fix sim new DIR"));
    };
    let options = NewOptions {
        scenario: arguments.scenario.clone(),
        ios: arguments.ios.clone(),
        photos: arguments.photos,
        seed: arguments.seed,
        temper: if arguments.temper == "kind" { Temper::Kind } else { Temper::Harsh },
        name: arguments.name.clone(),
        media_bytes: arguments.media_bytes,
        sizes: arguments.sizes.unwrap_or_default(),
        sparse: arguments.sparse,
        originals: arguments.originals.clone(),
        ..NewOptions::default()
    };
    let made = new::create(dir, &options).map_err(|error| {
        let trouble = match error {
            new::Error::Io { .. } | new::Error::Database { .. } => Trouble::Failed,
            _ => Trouble::Usage,
        };
        run.explain("sim-new", Stop::new(trouble, format!("{error}."), ""))
    })?;
    if run.global.json {
        terminal::print_json(&json!({
            "schema": "idevice-fix/sim-new/1", "udid": made.udid, "name": made.name, "ios_version": made.ios_version,
            "scenario": made.scenario.name, "library": made.counts, "media_files": made.media_files,
            "media_bytes": made.media_bytes, "picture_files": made.picture_files, "picture_bytes": made.picture_bytes,
            "original_files": made.original_files,
        }));
    } else {
        terminal::print(&format!(
            "{}: {} with iOS {}, {} of pictures ({}), {} in all ({})\n",
            dir.display(),
            made.name,
            made.ios_version,
            words::counted(made.picture_files, "file", "files"),
            words::bytes(made.picture_bytes),
            words::counted(made.media_files, "file", "files"),
            words::bytes(made.media_bytes)
        ));
    }
    Ok(())
}

async fn serve(run: &Run, arguments: &SimRun) -> Result<(), Stop> {
    let mut listeners = Vec::new();
    if let Some(path) = &arguments.unix {
        listeners.push(Listener::unix(path, SOCKET_MODE).map_err(|error| busy(&path.display(), &error))?);
    }
    if let Some(address) = arguments.tcp {
        listeners.push(Listener::tcp(&address.to_string()).await.map_err(|error| busy(&address, &error))?);
    }
    let usb = match arguments.usbip {
        None => None,
        Some(address) => Some(TcpListener::bind(address).await.map_err(|error| busy(&address, &error))?),
    };
    if listeners.is_empty() && usb.is_none() && arguments.functionfs.is_none() {
        return Err(Stop::new(
            Trouble::Usage,
            "No place to listen was named.",
            "Give --unix PATH, --tcp ADDR:PORT, --usbip ADDR:PORT or --functionfs MOUNT.",
        ));
    }
    if arguments.functionfs.is_some() && arguments.dirs.len() > 1 {
        return Err(Stop::new(Trouble::Usage, "A FunctionFS is one device.", "Name one phone's folder."));
    }
    let devices =
        arguments.dirs.iter().map(|dir| Device::open(dir, arguments.keep)).collect::<Result<Vec<_>, _>>();
    let devices = devices.map_err(|error| folder_stop(&error))?;
    let ids: Vec<String> = devices.iter().map(|device| device.udid().to_string()).collect();
    for listener in &listeners {
        if let Ok(address) = listener.address() {
            run.screen.say(&format!("Serving {} at USBMUXD_SOCKET_ADDRESS={address}", ids.join(", ")));
        }
    }
    let bus = Bus::new(devices.clone());
    let as_gadget = gadget(run, arguments, &bus, &devices);
    let on_usb = async {
        let Some(listener) = usb else { return };
        if let Ok(address) = listener.local_addr() {
            run.screen.say(&format!(
                "USB devices at {address}: usbip --tcp-port {} list -r {}",
                address.port(),
                address.ip()
            ));
        }
        usbip::run(bus.clone(), devices.clone(), listener, run.cancel.clone()).await;
    };
    let ((), (), ended) =
        tokio::join!(sim::run(bus.clone(), listeners, run.cancel.clone()), on_usb, as_gadget);
    // Being stopped is how this command ends.
    ended
}

/// The phone as the device of a FunctionFS, if one was named. Ends everything when that breaks.
async fn gadget(run: &Run, arguments: &SimRun, bus: &Bus, devices: &[Arc<Device>]) -> Result<(), Stop> {
    let (Some(folder), Some(device)) = (&arguments.functionfs, devices.first()) else { return Ok(()) };
    run.screen.say(&format!("{} is the device of {}", device.udid(), folder.display()));
    let ran = functionfs::run(bus.clone(), Arc::clone(device), folder, run.cancel.clone()).await;
    ran.map_err(|error| {
        run.cancel.cancel();
        Stop::new(
            Trouble::Failed,
            format!("{} cannot be a USB device: {error}.", folder.display()),
            "It has to be a mounted FunctionFS that nobody else uses, and you may have to be root.",
        )
    })
}

/// Judges every case; exit status 1 when one is wrong.
async fn judge(run: &Run, arguments: &SimJudge) -> Result<(), Stop> {
    let at_once = std::thread::available_parallelism().map_or(1, |threads| 2 * threads.get());
    let mut judged: Vec<Judged> = Vec::new();
    for dir in &arguments.dirs {
        let tell = |one: &Judged| {
            if !run.global.json {
                terminal::print(&case_line(one));
            }
        };
        let more = cases::judge(dir, at_once, &run.cancel, tell).await;
        judged.extend(
            more.map_err(|error| Stop::new(Trouble::Usage, format!("{}.", plain(&error.to_string())), ""))?,
        );
        if run.cancel.is_cancelled() {
            return Err(Stop::interrupted());
        }
    }
    if judged.is_empty() {
        let next = "A case is a folder with an expect.toml; the README says what is in it.";
        return Err(Stop::new(Trouble::Usage, "There is no case.", next));
    }
    let wrong = judged.iter().filter(|one| !one.is_right()).count();
    let falsely_safe = judged.iter().filter(|one| !one.falsely_safe.is_empty()).count();
    if run.global.json {
        terminal::print_json(&json!({
            "schema": "idevice-fix/cases/1", "cases": judged, "right": judged.len() - wrong, "wrong": wrong,
            "falsely_safe": falsely_safe,
        }));
    } else {
        terminal::print(&format!(
            "{}: {} right, {wrong} wrong; said to be safe without being so: {falsely_safe}\n",
            words::counted(judged.len() as u64, "case", "cases"),
            judged.len() - wrong,
        ));
    }
    if wrong > 0 { Err(Stop::new(Trouble::Failed, "", "")) } else { Ok(()) }
}

/// A case in a line, and a line for each thing that is wrong with its judgement.
fn case_line(one: &Judged) -> String {
    let word = if one.is_right() { "right" } else { "WRONG" };
    let mut out = format!(
        "{word}  {:<36} {}\n",
        plain(&one.name),
        plain(one.first.as_deref().unwrap_or("nothing found"))
    );
    for what in &one.falsely_safe {
        out.push_str(&format!("       {} is not said to be safe by the label\n", plain(what)));
    }
    for complaint in &one.wrong {
        out.push_str(&format!("       {}\n", plain(complaint)));
    }
    out
}

fn busy(place: &dyn std::fmt::Display, error: &std::io::Error) -> Stop {
    Stop::new(Trouble::Failed, format!("{place} cannot be listened on: {error}."), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_fits_a_terminal() {
        for one in new::scenarios() {
            let entry = entry(one, 80);
            assert!(entry.lines().all(|line| line.chars().count() <= 80), "{entry}");
            assert!(entry.starts_with(&format!("{} ", one.name)), "{entry}");
            let words: Vec<&str> = entry.split_whitespace().skip(2).collect();
            assert_eq!(words.join(" "), one.about);
        }
    }
}
