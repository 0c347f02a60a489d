//! `conformance`: measures a phone, shows the file, and saves it if that is wanted.

mod comparison;

use std::io::{BufRead, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use serde_json::Value;

use super::arguments::{Conformance, ConformanceCommand};
use super::phones::Phones;
use super::run::Run;
use super::{secrets, terminal};
use crate::backup::Secret;
use crate::conformance::{End, Measuring, Pace, backup};
use crate::durable;
use crate::facts::text::{bytes, counted};
use crate::frame::DictExt;
use crate::lockdown::{Phone, Session};
use crate::progress::{CancellationToken, Observer};
use crate::visit::{Stop, Trouble, reach};

/// Times that an answer which is none is asked for again.
const TRIES: u32 = 3;
/// The file's permissions: its owner's.
const FILE_MODE: u32 = 0o600;

/// Measures, or compares.
pub(super) async fn conformance(run: &Run, arguments: &Conformance) -> Result<(), Stop> {
    match &arguments.command {
        Some(ConformanceCommand::Compare { file }) => {
            let compared = comparison::compared(run, file).await;
            compared.map_err(|stop| match stop.trouble {
                // The list was printed; the exit status says that it is not empty.
                Trouble::Skipped => stop,
                _ => run.explain("conformance-comparison", stop),
            })
        }
        None => measured(run, arguments).await,
    }
}

/// What measuring came to: the file, and why it is not whole.
struct Measured {
    file: Value,
    stop: Option<Stop>,
}

async fn measured(run: &Run, arguments: &Conformance) -> Result<(), Stop> {
    let failed = |stop| run.explain("conformance", stop);
    let phones = Phones::open(run).map_err(failed)?;
    if arguments.with_backup && !run.global.yes && !terminal::can_ask() {
        return Err(failed(Stop::new(
            Trouble::PersonNeeded,
            "A backup takes long, and nobody is at a terminal to agree to it.",
            "Say yes with -y, or leave --with-backup out.",
        )));
    }
    let Measured { file, stop } = measure(run, &phones, arguments).await.map_err(failed)?;
    show(run, &file);
    let saved = save(run, arguments, &file).await;
    summary(run, &file);
    match (stop, saved) {
        (Some(stop), _) => Err(stop),
        (None, saved) => saved,
    }
}

async fn measure(run: &Run, phones: &Phones, arguments: &Conformance) -> Result<Measured, Stop> {
    let (muxer, observer) = (&phones.muxer, run.watch_query());
    let chosen = reach::choose(muxer.as_ref(), run.global.udid.as_deref(), &phones.on_bus().await).await;
    let attached = chosen.map_err(|unreached| unreached.stop)?;
    let phone = Phone { muxer: Arc::clone(muxer), attached: attached.clone() };
    let mut measuring = Measuring::new(Pace::default(), phones.simulated);
    let end = measuring.stranger(&phone, observer.as_ref(), &run.cancel).await;
    if end != End::Done {
        return Ok(Measured { file: measuring.file(), stop: stop_of(end) });
    }
    let wait = if run.person_is_near() { reach::WAIT_WITH_PERSON } else { reach::WAIT_ALONE };
    let session = match reach::session(muxer, attached, wait, observer.as_ref(), &run.cancel).await {
        Ok(session) => session,
        Err(unreached) => {
            measuring.not_let_in("the phone did not let this computer in");
            return Ok(Measured { file: measuring.file(), stop: Some(unreached.stop) });
        }
    };
    let with_backup = arguments.with_backup && agrees_to_backup(run, &session).await?;
    let scratch = if with_backup {
        // A backup is large: it goes where backups go, and not into the system's temporary folder.
        backup::scratch_below(&phones.dest(run)?)
    } else {
        tempfile::Builder::new().prefix("idevice-fix-").tempdir()
    };
    let scratch = scratch.map_err(|error| {
        let cause = format!("There is no place for copies: {error}.");
        Stop::new(Trouble::Failed, cause, "Name another folder with --dest.")
    })?;
    let password = secrets::given(run)?;
    let observer = observer.as_ref();
    let path = scratch.path();
    let end =
        all(&mut measuring, &session, path, with_backup, password.as_deref(), observer, &run.cancel).await;
    let file = measuring.file();
    let stop = stop_of(end).or_else(|| locked(&file));
    Ok(Measured { file, stop })
}

async fn all(
    measuring: &mut Measuring,
    session: &Session,
    scratch: &Path,
    with_backup: bool,
    password: Option<&Secret>,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> End {
    let end = measuring.trusted(session, scratch, observer, cancel).await;
    if end != End::Done || !with_backup {
        return end;
    }
    measuring.backup(session, scratch, password, observer, cancel).await
}

fn stop_of(end: End) -> Option<Stop> {
    match end {
        End::Done => None,
        End::Cancelled => Some(Stop::new(Trouble::Interrupted, "Stopped; what was measured is above.", "")),
        End::PhoneLeft => Some(Stop::new(
            Trouble::NoDevice,
            "The phone left before everything was measured; what was measured is above.",
            "Plug it in and run this again.",
        )),
    }
}

/// A lock that kept part of it shut is something that a person can change.
fn locked(file: &Value) -> Option<Stop> {
    let gaps = file["gaps"].as_array()?;
    let shut = ["PasswordProtected", "EscrowLocked", "DeviceLocked"];
    let locked = gaps.iter().any(|gap| gap["reason"].as_str().is_some_and(|reason| shut.contains(&reason)));
    locked.then(|| {
        Stop::new(
            Trouble::PersonNeeded,
            "The phone is locked, which kept part of it from being measured.",
            "Unlock it and run this again.",
        )
    })
}

/// Says what a backup means and asks.
async fn agrees_to_backup(run: &Run, session: &Session) -> Result<bool, Stop> {
    let usage = session.value(Some("com.apple.disk_usage"), None).await.ok();
    let usage = usage.as_ref().and_then(plist::Value::as_dictionary);
    let used = usage
        .and_then(|usage| usage.uint("TotalDataCapacity")?.checked_sub(usage.uint("AmountDataAvailable")?));
    let much =
        used.map_or_else(|| "as much as the phone holds".to_owned(), |used| format!("up to {}", bytes(used)));
    run.screen.say(&format!(
        "With a backup: the phone sends {much} to this computer, which is thrown away afterwards. That can take hours; \
         the phone may ask for its passcode, and it notes the time as that of its last backup."
    ));
    if run.global.yes {
        return Ok(true);
    }
    question(run, "Make it? [y/N] ", false).await
}

/// Asks a question at the terminal; Enter is `usual`.
async fn question(run: &Run, text: &str, usual: bool) -> Result<bool, Stop> {
    let (screen, text) = (Arc::clone(&run.screen), text.to_owned());
    let asking = tokio::task::spawn_blocking(move || screen.beside(|| converse(&text, usual)));
    tokio::select! {
        () = run.cancel.cancelled() => Err(Stop::interrupted()),
        answer = asking => Ok(answer.unwrap_or(false)),
    }
}

fn converse(text: &str, usual: bool) -> bool {
    for _ in 0..TRIES {
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        let mut line = String::new();
        if !matches!(std::io::stdin().lock().read_line(&mut line), Ok(n) if n > 0) {
            return false;
        }
        match line.trim().to_lowercase().as_str() {
            "" => return usual,
            "y" | "yes" => return true,
            "n" | "no" => return false,
            _ => {}
        }
    }
    false
}

fn pretty(file: &Value) -> String {
    let mut text = serde_json::to_string_pretty(file).expect("JSON is written as JSON");
    text.push('\n');
    text
}

fn show(run: &Run, file: &Value) {
    if run.global.json {
        terminal::print_json(file);
    } else {
        terminal::print(&pretty(file));
    }
}

/// What is in it, and what is not.
fn summary(run: &Run, file: &Value) {
    let parts = file["parts"].as_object().map_or(0, serde_json::Map::len);
    run.screen.say(&format!("{} measured.", counted(parts as u64, "part was", "parts were")));
    for (reason, parts) in missing(file) {
        run.screen.say(&format!("Not whole ({reason}): {}", parts.join("; ")));
    }
}

/// The parts that are not whole, by reason.
fn missing(file: &Value) -> Vec<(&str, Vec<&str>)> {
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    for gap in file["gaps"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let word = |key: &str| gap[key].as_str().unwrap_or_default();
        match by_reason.iter_mut().find(|(reason, _)| *reason == word("reason")) {
            Some((_, parts)) => parts.push(word("part")),
            None => by_reason.push((word("reason"), vec![word("part")])),
        }
    }
    by_reason
}

/// Saves the file that was shown, if that is wanted. Without a terminal `--out` says so.
async fn save(run: &Run, arguments: &Conformance, file: &Value) -> Result<(), Stop> {
    let ask = terminal::can_ask() && !run.global.yes;
    let path = match (&arguments.out, ask) {
        (Some(out), _) => out.clone(),
        (None, true) => PathBuf::from(usual_name(file)),
        (None, false) => {
            run.screen.say("Nothing was saved; --out FILE does that.");
            return Ok(());
        }
    };
    if ask && !run.cancel.is_cancelled() {
        run.screen.say("This is the whole file. It holds nothing that says whose phone it is.");
        if !question(run, &format!("Save it as {}? [Y/n] ", path.display()), true).await? {
            return Ok(());
        }
    } else if run.cancel.is_cancelled() && arguments.out.is_none() {
        return Ok(());
    }
    let saved = write(&path, &pretty(file));
    saved.map_err(|error| {
        let cause = format!("{} could not be written: {error}.", path.display());
        run.explain("conformance", Stop::new(Trouble::Failed, cause, "Name another file with --out."))
    })?;
    run.screen.say(&format!("Saved as {}.", path.display()));
    Ok(())
}

fn usual_name(file: &Value) -> String {
    let word = |key: &str| file["phone"][key].as_str().unwrap_or("unknown").replace([',', ' '], "-");
    format!("conformance-{}-{}.json", word("product_type"), word("ios_version"))
}

/// Beside, synced, renamed.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let path = std::path::absolute(path)?;
    let wrong = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no name of a file");
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(wrong)?;
    if !durable::is_single_component(name) {
        return Err(wrong());
    }
    let dir = Dir::open_ambient_dir(path.parent().ok_or_else(wrong)?, ambient_authority())?;
    durable::replace_bytes(&dir, name, FILE_MODE, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_is_written_privately_and_only_under_a_name() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file.json");
        write(&path, "{}").unwrap();
        write(&path, "{\"a\": 1}").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\": 1}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write(&temp.path().join("none/file.json"), "{}").is_err());
        assert!(write(Path::new("/"), "{}").is_err());
    }

    #[test]
    fn what_is_missing_is_told_by_reason() {
        let gap = |part: &str, reason: &str| json!({"part": part, "reason": reason});
        let file = json!({"gaps": [gap("a", "x"), gap("b", "y"), gap("c", "x")]});
        assert_eq!(missing(&file), [("x", vec!["a", "c"]), ("y", vec!["b"])]);
    }

    #[test]
    fn the_usual_name_is_one_name() {
        let file = json!({"phone": {"product_type": "iPhone13,2", "ios_version": "18.4.1"}});
        assert_eq!(usual_name(&file), "conformance-iPhone13-2-18.4.1.json");
        assert_eq!(usual_name(&json!({})), "conformance-unknown-unknown.json");
    }
}
