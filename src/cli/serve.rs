//! `serve`: the bench, until it is told to stop. What happens goes to stderr, line by line, and to scripts on stdout.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::Serve;
use super::phones::Phones;
use super::run::Run;
use super::{logging, terminal};
use crate::bench::{Bench, Happening, Pace, Settings, Supervisor, Tell, Weight};
use crate::visit::{Stop, Trouble};

/// The settings below the user's and the system's folders of settings.
const SETTINGS: &str = "idevice-fix/config.toml";
/// The system's folder of settings.
const SYSTEM_SETTINGS: &str = "/etc";

/// Serves until it is told to stop, which is a good end.
pub(super) async fn serve(run: &Run, arguments: &Serve) -> Result<(), Stop> {
    if run.global.udid.is_some() {
        return Err(Stop::new(
            Trouble::Usage,
            "serve visits every phone that is plugged in.",
            "Leave out --udid, and IDEVICE_FIX_UDID.",
        ));
    }
    let settings = settings(arguments.config.as_deref())?;
    let phones = Phones::open(run)?;
    let bench = Bench {
        muxer: Arc::clone(&phones.muxer),
        dest: dest(run, &phones)?,
        on_plug: settings.policy.on_plug,
        pace: Pace::default(),
        simulated: phones.simulated,
        supervisor: Supervisor::from_env(),
        tell: teller(run),
        cancel: run.cancel.clone(),
    };
    bench.run().await
}

/// What was named, else the user's, else the system's, else none.
fn settings(named: Option<&Path>) -> Result<Settings, Stop> {
    let path = named.map(Path::to_owned).or_else(|| places().into_iter().find(|place| place.exists()));
    let Some(path) = path else { return Ok(Settings::default()) };
    Settings::read(&path).map_err(|error| {
        Stop::new(
            Trouble::Usage,
            format!("{}.", crate::facts::text::plain(&error.to_string())),
            "Correct them.",
        )
    })
}

fn places() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = set("XDG_CONFIG_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    user.into_iter().chain([PathBuf::from(SYSTEM_SETTINGS)]).map(|folder| folder.join(SETTINGS)).collect()
}

/// DEST: as said, else the folder that systemd made for the service, else as everywhere.
fn dest(run: &Run, phones: &Phones) -> Result<PathBuf, Stop> {
    let of_service = std::env::var("STATE_DIRECTORY").ok();
    let first = of_service.as_deref().and_then(|folders| folders.split(':').next()).map(PathBuf::from);
    match first.filter(|folder| folder.is_absolute()) {
        Some(folder) if run.global.dest.is_none() && phones.demo.is_none() => Ok(folder),
        _ => phones.dest(run),
    }
}

fn teller(run: &Run) -> Tell {
    let (json, quiet) = (run.global.json, run.global.quiet);
    let to_journal = logging::goes_to_journal();
    Arc::new(move |happening| {
        if json {
            terminal::print_json(&happening.json());
        } else if !quiet || matches!(happening.weight(), Weight::Error | Weight::Notice) {
            terminal::say(&line(happening, to_journal));
        }
    })
}

/// A line of the journal, which keeps the time itself and takes the weight from the line's beginning; or one for people.
fn line(happening: &Happening, to_journal: bool) -> String {
    if to_journal {
        let weight = match happening.weight() {
            Weight::Error => 3,
            Weight::Warning => 4,
            Weight::Notice => 5,
            Weight::Info => 6,
        };
        return format!("<{weight}>{happening}");
    }
    format!("{} {happening}", jiff::Zoned::now().strftime("%H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::arguments::{Arguments, Command};

    #[test]
    fn the_journal_gets_the_weight_and_people_the_time() {
        let lost = Happening::MuxerLost("gone".to_owned());
        assert!(line(&lost, true).starts_with("<4>The muxer"));
        assert!(line(&Happening::Ready, true).starts_with("<6>"));
        assert!(line(&lost, false)[8..].starts_with(" The muxer"), "{}", line(&lost, false));
    }

    #[test]
    fn the_rule_of_udev_writes_nothing_to_a_phone_and_starts_the_unit_that_serves() {
        let rule = include_str!("../../udev/70-idevice-fix.rules");
        let lines = rule.lines().filter(|line| !line.starts_with('#')).flat_map(|line| line.split(", "));
        for part in lines.filter(|part| part.starts_with("ATTR{") || part.starts_with("RUN")) {
            assert!(part.contains("==") || part.contains("!="), "{part} is more than a look");
        }
        assert!(rule.contains("ENV{SYSTEMD_WANTS}+=\"idevice-fix.service\""), "usbmuxd's own stays");
        let unit = include_str!("../../udev/idevice-fix.service");
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/")).unwrap();
        let arguments = Arguments::try_parse_from(start.split(' ')).unwrap();
        let Some(Command::Serve(Serve { config: Some(config) })) = arguments.command else {
            panic!("{start}")
        };
        assert_eq!(config, Path::new(SYSTEM_SETTINGS).join(SETTINGS));
    }

    #[test]
    fn settings_that_were_named_must_be_there() {
        let stop = settings(Some(Path::new("/nonexistent/x.toml"))).unwrap_err();
        assert!(stop.trouble == Trouble::Usage && stop.cause.contains("/nonexistent/x.toml"), "{stop}");
    }
}
