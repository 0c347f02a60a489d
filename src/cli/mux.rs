//! `mux`: our own multiplexer behind the socket of usbmuxd, for every program that wants one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::Mux;
use super::run::Run;
use crate::muxd::{Manners, Muxd, Records, Usb};
use crate::usbmux::Address;
use crate::usbmux::server::{self, Keyholders, Listener};
use crate::visit::{Stop, Trouble};

/// Serves until it is told to stop, which is how this command ends.
pub(super) async fn mux(run: &Run, arguments: &Mux) -> Result<(), Stop> {
    let path = socket(arguments)?;
    let keyholders = Keyholders::new(arguments.group.as_deref()).map_err(|error| {
        Stop::new(Trouble::Usage, format!("{error}."), "The groups of this computer are in /etc/group.")
    })?;
    let listener =
        Listener::unix_for(&path, arguments.mode, keyholders).map_err(|error| busy(&path, &error))?;
    let records = match &arguments.records {
        Some(folder) => Records::in_folders([folder.clone()]),
        None => Records::system(),
    };
    let manners = Manners { asks_for_trust: !arguments.no_preflight, ..Manners::default() };
    let muxd = Arc::new(Muxd::start(Arc::new(Usb::system()), records, manners));
    if let Ok(address) = listener.address() {
        run.screen.say(&format!("Phones are served at USBMUXD_SOCKET_ADDRESS={address}"));
    }
    server::serve(Arc::clone(&muxd) as Arc<_>, listener, run.cancel.clone()).await;
    muxd.close().await;
    Ok(())
}

/// As said, else where programs look.
fn socket(arguments: &Mux) -> Result<PathBuf, Stop> {
    if let Some(path) = &arguments.socket {
        return Ok(path.clone());
    }
    match Address::from_env() {
        Ok(Address::Unix(path)) => Ok(path),
        Ok(Address::Tcp(address)) => Err(Stop::new(
            Trouble::Usage,
            format!("USBMUXD_SOCKET_ADDRESS names {address}, where everybody could have the phones."),
            "Name a socket with --socket PATH.",
        )),
        Err(error) => Err(Stop::new(Trouble::Usage, format!("{error}."), "Correct it, or unset it.")),
    }
}

fn busy(path: &Path, error: &io::Error) -> Stop {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::AddrInUse => Stop::new(
            Trouble::Failed,
            format!("Somebody serves phones at {path} already, or it is no socket."),
            "End that program first (sudo systemctl stop usbmuxd), or name another place with --socket.",
        ),
        io::ErrorKind::PermissionDenied => Stop::new(
            Trouble::Failed,
            format!("This user may not make {path}, or not for that group."),
            "Run it as root, or name another place with --socket.",
        ),
        _ => Stop::new(Trouble::Failed, format!("{path} cannot be listened on: {error}."), ""),
    }
}
