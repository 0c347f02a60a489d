//! Telling the service's supervisor how it stands: datagrams to the socket that `NOTIFY_SOCKET` names, as systemd's
//! sd_notify(3) describes. Without one nobody is told.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The supervisor, if there is one.
#[derive(Debug)]
pub struct Supervisor {
    line: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names.
    #[must_use]
    pub fn from_env() -> Self {
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let meant = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let line = std::env::var_os("NOTIFY_SOCKET").and_then(|name| line(&name.into_vec()));
        Self { line, watchdog: micros.filter(|_| meant).map(Duration::from_micros) }
    }

    /// It runs, and does its work.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// What it is at.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// It was told to stop and does so.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// It is alive; to be said more often than [`Supervisor::watchdog`].
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// How often the supervisor wants to hear that it is alive.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.line
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            tracing::debug!(%error, "the supervisor was not told");
        }
    }
}

/// A socket to talk to the one of this name; `@` begins an abstract one.
fn line(name: &[u8]) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match name {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
        _ => return None,
    };
    let socket = UnixDatagram::unbound().ok()?;
    // A supervisor that does not read must not stop the work.
    socket.set_nonblocking(true).ok()?;
    Some((socket, address.ok()?))
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &[u8]) -> Supervisor {
        Supervisor { line: line(name), watchdog: None }
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_supervisor_hears_how_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let supervisor = at(path.as_os_str().as_bytes());
        supervisor.ready("1 phone\nREADY=0");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=1 phone READY=0", "a name cannot say other things");
        supervisor.stopping();
        assert_eq!(heard(&socket), "STOPPING=1");
    }

    #[test]
    fn an_abstract_one_does_as_well() {
        let name = format!("idevice-fix-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        at(format!("@{name}").as_bytes()).alive();
        assert_eq!(heard(&socket), "WATCHDOG=1");
    }

    #[test]
    fn without_one_or_with_one_that_is_gone_nothing_happens() {
        at(b"relative").ready("x");
        at(b"/nonexistent/notify").ready("x");
        at(b"").ready("x");
    }
}
