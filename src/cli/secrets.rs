//! Passwords from where others cannot read them: a file descriptor, the environment, or a person at the terminal. Never
//! from the command line, which every user of the computer can see.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use super::run::Run;
use super::terminal;
use crate::backup::Secret;
use crate::visit::{Stop, Trouble};

/// The environment variable with the password of the backups.
pub(super) const PASSWORD: &str = "BACKUP_PASSWORD";
/// The one with the password to be set.
pub(super) const NEW_PASSWORD: &str = "BACKUP_PASSWORD_NEW";

/// Longest line that is taken for a password.
const LINE_BYTES_MAX: usize = 4096;
/// How often a person may repeat a new password until both are the same.
const TRIES: u32 = 3;
const STOP_FOLLOWS: Duration = Duration::from_millis(300);

/// A password and where it may come from.
pub(super) struct Wanted {
    /// What a person is asked.
    pub(super) question: &'static str,
    /// A new one is asked for twice.
    pub(super) repeat: bool,
    /// The option that names a file descriptor, and the descriptor.
    pub(super) fd: (&'static str, Option<u32>),
    /// The environment variable.
    pub(super) variable: &'static str,
}

/// A password of the environment.
pub(super) fn of_environment(variable: &str) -> Option<Secret> {
    use std::os::unix::ffi::OsStringExt;
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(|value| Secret::new(value.into_vec()))
}

/// Reads from one descriptor after the other, so that two passwords may come as two lines of the same.
#[derive(Default)]
pub(super) struct Descriptors {
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

/// The password that is wanted, from the first place that has it.
pub(super) async fn password(
    run: &Run,
    wanted: &Wanted,
    descriptors: &mut Descriptors,
) -> Result<Secret, Stop> {
    let (option, fd) = wanted.fd;
    let given = match fd {
        Some(number) => Some(descriptors.line(number).map_err(|error| {
            Stop::new(Trouble::Usage, format!("{option} {number} cannot be read: {error}."), "")
        })?),
        None => of_environment(wanted.variable),
    };
    match given {
        Some(secret) if secret.expose().is_empty() => Err(missing(wanted)),
        Some(secret) => Ok(secret),
        None if run.global.yes || !terminal::can_ask() => Err(missing(wanted)),
        None => asked(run, wanted).await,
    }
}

fn missing(wanted: &Wanted) -> Stop {
    let (option, variable) = (wanted.fd.0, wanted.variable);
    Stop::new(
        Trouble::WrongPassword,
        format!("{} is missing.", wanted.question),
        format!("Set {variable}, give it through a file descriptor ({option} N), or run this at a terminal."),
    )
}

/// Asks a person, who may leave with Ctrl-C: then the terminal shows again what is typed.
async fn asked(run: &Run, wanted: &Wanted) -> Result<Secret, Stop> {
    let shown = rustix::termios::tcgetattr(std::io::stdin()).ok();
    let (question, repeat) = (wanted.question, wanted.repeat);
    let screen = std::sync::Arc::clone(&run.screen);
    let asking = tokio::task::spawn_blocking(move || screen.beside(|| converse(question, repeat)));
    tokio::select! {
        () = run.cancel.cancelled() => {
            if let Some(shown) = shown {
                let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &shown);
            }
            Err(stopped())
        }
        answer = asking => match answer.ok().flatten() {
            Some(secret) => Ok(secret),
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

fn converse(question: &str, repeat: bool) -> Option<Secret> {
    for _ in 0..TRIES {
        let first = Secret::new(rpassword::prompt_password(format!("{question}: ")).ok()?);
        if first.expose().is_empty() {
            continue;
        }
        if !repeat {
            return Some(first);
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
