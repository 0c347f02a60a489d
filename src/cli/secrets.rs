//! Passwords from where others cannot read them: a file descriptor, the environment, the keyring, or a person at the
//! terminal, in this order. Never from the command line, which every user of the computer can see.

use std::fs::File;
use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::run::Run;
use super::{keyring, terminal};
use crate::backup::Secret;
use crate::usbmux::Udid;
use crate::visit::{Lock, Stop, Trouble};

/// The environment variable with the password of the backups.
pub(super) const PASSWORD: &str = "BACKUP_PASSWORD";
/// The one with the password to be set.
pub(super) const NEW_PASSWORD: &str = "BACKUP_PASSWORD_NEW";

/// Longest line that is taken for a password.
const LINE_BYTES_MAX: usize = 4096;
/// How often a person may repeat a new password until both are the same, or type one that opens nothing.
const TRIES: u32 = 3;
const STOP_FOLLOWS: Duration = Duration::from_millis(300);

/// What this run was given, each thing read once.
#[derive(Default)]
pub(super) struct Given {
    descriptors: Mutex<Descriptors>,
    backups: OnceLock<Option<Arc<Secret>>>,
}

/// A password of the environment.
fn of_environment(variable: &str) -> Option<Secret> {
    use std::os::unix::ffi::OsStringExt;
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(|value| Secret::new(value.into_vec()))
}

/// Reads from one descriptor after the other, so that two passwords may come as two lines of the same.
#[derive(Default)]
struct Descriptors {
    open: Vec<(u32, File)>,
}

impl Descriptors {
    fn line(&mut self, number: u32) -> std::io::Result<Secret> {
        let at = match self.open.iter().position(|(open, _)| *open == number) {
            Some(at) => at,
            None => {
                self.open.push((number, File::open(format!("/dev/fd/{number}"))?));
                self.open.len() - 1
            }
        };
        let mut line = Vec::with_capacity(LINE_BYTES_MAX);
        // Byte by byte: what is beyond the line is somebody else's, and nothing of it may stay in a buffer.
        let mut byte = [0];
        while self.open[at].1.read(&mut byte)? == 1 && byte != [b'\n'] {
            if line.len() == LINE_BYTES_MAX {
                return Err(std::io::Error::other("its line is too long for a password"));
            }
            line.push(byte[0]);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Secret::new(line))
    }
}

/// A password that is wanted.
struct Wanted {
    /// What a person is asked.
    question: &'static str,
    /// How.
    asking: Asking,
    /// The option that names a file descriptor.
    option: &'static str,
    /// The environment variable.
    variable: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Once,
    /// A new one is asked for twice.
    Twice,
    /// It goes on without, if nothing is typed.
    OrNothing,
}

const OLD: Wanted = Wanted {
    question: "The backup password",
    asking: Asking::Once,
    option: "--password-fd",
    variable: PASSWORD,
};
const NEW: Wanted = Wanted {
    question: "The new backup password",
    asking: Asking::Twice,
    option: "--new-password-fd",
    variable: NEW_PASSWORD,
};
const WITH_OR_WITHOUT: Wanted = Wanted {
    question: "The backup password (Enter: go on without it, and prove from outside only)",
    asking: Asking::OrNothing,
    ..OLD
};

/// The password of the backups as this run was given it: from a file descriptor, else from the environment.
pub(super) fn given(run: &Run) -> Result<Option<Arc<Secret>>, Stop> {
    if let Some(known) = run.given.backups.get() {
        return Ok(known.clone());
    }
    let read = match run.global.password_fd {
        Some(number) => Some(line(run, &OLD, number)?),
        None => of_environment(PASSWORD),
    };
    Ok(run.given.backups.get_or_init(|| read.map(Arc::new)).clone())
}

fn line(run: &Run, wanted: &Wanted, number: u32) -> Result<Secret, Stop> {
    let mut descriptors = run.given.descriptors.lock().expect("no holder of this lock panics");
    let read = descriptors.line(number).map_err(|error| {
        Stop::new(Trouble::Usage, format!("{} {number} cannot be read: {error}.", wanted.option), "")
    })?;
    if read.expose().is_empty() { Err(missing(wanted)) } else { Ok(read) }
}

/// The password of a phone's backups, which is needed: as given, else from the keyring, else from a person, who is asked
/// again where it does not open `lock`.
pub(super) async fn needed(run: &Run, udid: &Udid, lock: Option<&Lock>) -> Result<Arc<Secret>, Stop> {
    match known(run, udid).await? {
        Some(known) => Ok(known),
        None if !can_ask(run) => Err(missing(&OLD)),
        None => tried(run, &OLD, lock).await?.map(Arc::new).ok_or_else(|| missing(&OLD)),
    }
}

/// The same where everything also goes without it, though with less proof: a person may leave it out.
pub(super) async fn wanted(run: &Run, udid: &Udid, lock: Option<&Lock>) -> Result<Option<Arc<Secret>>, Stop> {
    match known(run, udid).await? {
        None if can_ask(run) => Ok(tried(run, &WITH_OR_WITHOUT, lock).await?.map(Arc::new)),
        known => Ok(known),
    }
}

/// The same without asking a person.
pub(super) async fn known(run: &Run, udid: &Udid) -> Result<Option<Arc<Secret>>, Stop> {
    match given(run)? {
        None => Ok(keyring::look_up(udid).await.map(Arc::new)),
        given => Ok(given),
    }
}

/// The password that is to be set: from a file descriptor, the environment, or a person.
pub(super) async fn new(run: &Run, fd: Option<u32>) -> Result<Secret, Stop> {
    let read = fd.map(|number| line(run, &NEW, number)).transpose()?;
    match read.or_else(|| of_environment(NEW_PASSWORD)) {
        Some(given) => Ok(given),
        None if !can_ask(run) => Err(missing(&NEW)),
        None => asked(run, &NEW).await?.ok_or_else(|| missing(&NEW)),
    }
}

/// It is needed, and nobody gave it.
pub(super) fn backup_password_is_missing() -> Stop {
    missing(&OLD)
}

fn can_ask(run: &Run) -> bool {
    !run.global.yes && terminal::can_ask()
}

fn missing(wanted: &Wanted) -> Stop {
    let (option, variable) = (wanted.option, wanted.variable);
    Stop::new(
        Trouble::WrongPassword,
        format!("{} is missing.", wanted.question),
        format!("Set {variable}, give it through a file descriptor ({option} N), or run this at a terminal."),
    )
}

/// Asks a person until what is typed opens the lock, [`TRIES`] times at most. Who types the same twice means it, and the
/// command says what becomes of it.
async fn tried(run: &Run, wanted: &Wanted, lock: Option<&Lock>) -> Result<Option<Secret>, Stop> {
    let Some(mut typed) = asked(run, wanted).await? else { return Ok(None) };
    let Some(lock) = lock else { return Ok(Some(typed)) };
    for _ in 1..TRIES {
        if lock.opened_by(&typed).await {
            break;
        }
        run.screen.say(DOES_NOT_OPEN);
        let Some(again) = asked(run, wanted).await? else { return Ok(None) };
        let meant = again == typed;
        typed = again;
        if meant {
            break;
        }
    }
    Ok(Some(typed))
}

const DOES_NOT_OPEN: &str = "It does not open the backup that is kept. It is not the phone's passcode and not the Apple Account's password.";

/// Asks a person, who may leave with Ctrl-C: then the terminal shows again what is typed.
async fn asked(run: &Run, wanted: &Wanted) -> Result<Option<Secret>, Stop> {
    let shown = rustix::termios::tcgetattr(std::io::stdin()).ok();
    let (question, asking) = (wanted.question, wanted.asking);
    let screen = std::sync::Arc::clone(&run.screen);
    let answering = tokio::task::spawn_blocking(move || screen.beside(|| converse(question, asking)));
    tokio::select! {
        () = run.cancel.cancelled() => {
            if let Some(shown) = shown {
                let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &shown);
            }
            Err(stopped())
        }
        answer = answering => match answer.ok().flatten() {
            Some(secret) if secret.expose().is_empty() => Ok(None),
            Some(secret) => Ok(Some(secret)),
            // Ctrl-C may end the reading a moment before it is known as a wish to stop.
            None => match tokio::time::timeout(STOP_FOLLOWS, run.cancel.cancelled()).await {
                Ok(()) => Err(stopped()),
                Err(_) => Err(missing(wanted)),
            },
        },
    }
}

fn stopped() -> Stop {
    Stop::new(Trouble::Interrupted, "Stopped; nothing was changed.", "")
}

/// What a person types; empty where that is an answer.
fn converse(question: &str, asking: Asking) -> Option<Secret> {
    for _ in 0..TRIES {
        let first = Secret::new(rpassword::prompt_password(format!("{question}: ")).ok()?);
        match asking {
            Asking::OrNothing => return Some(first),
            _ if first.expose().is_empty() => continue,
            Asking::Once => return Some(first),
            Asking::Twice => {}
        }
        let again = Secret::new(rpassword::prompt_password("The same once more: ").ok()?);
        if again == first {
            return Some(first);
        }
        terminal::say("These were two different ones.");
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn two_lines_of_one_descriptor_are_two_passwords() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all("alt\r\nn\u{e4}u\n".as_bytes()).unwrap();
        let number = u32::try_from(file.as_file().as_raw_fd()).unwrap();
        let mut descriptors = Descriptors::default();
        assert_eq!(descriptors.line(number).unwrap(), Secret::new("alt"));
        assert_eq!(descriptors.line(number).unwrap(), Secret::new("n\u{e4}u"));
        assert!(descriptors.line(number).unwrap().expose().is_empty());
        assert!(descriptors.line(999_999).is_err());
        file.write_all(&[b'x'; LINE_BYTES_MAX + 1]).unwrap();
        assert!(descriptors.line(number).is_err());
    }
}
