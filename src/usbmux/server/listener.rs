//! Sockets that clients of usbmuxd connect to.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use super::Keyholders;
use crate::usbmux::Socket;

/// A client as it comes in.
pub(super) struct Guest {
    pub(super) stream: Socket,
    /// Whose process it is; over the network nobody can tell.
    pub(super) user: Option<u32>,
    /// It may have pair records, and change them.
    pub(super) has_keys: bool,
}

impl Guest {
    pub(super) fn is_root(&self) -> bool {
        self.user == Some(0)
    }
}

/// Where clients come in.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket; its file is removed at the end. With keyholders, pair records are for them only.
    Unix(UnixListener, PathBuf, Option<Keyholders>),
    /// A TCP port.
    Tcp(TcpListener),
}

impl Listener {
    /// A Unix socket at `path` with these permissions (Unix bits). A socket there that nobody answers is replaced.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when somebody answers there, or something else than a socket has that name.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        Self::place(path, mode, None)
    }

    /// As [`Listener::unix`], for a machine with other users: the socket is the keyholders' group's, and whoever else
    /// its permissions let in gets no pair record and changes none.
    ///
    /// # Errors
    /// As [`Listener::unix`]; also when this user may not give files to the group.
    pub fn unix_for(path: &Path, mode: u32, keyholders: Keyholders) -> io::Result<Self> {
        Self::place(path, mode, Some(keyholders))
    }

    fn place(path: &Path, mode: u32, keyholders: Option<Keyholders>) -> io::Result<Self> {
        if let Ok(there) = std::fs::symlink_metadata(path) {
            let answers = || std::os::unix::net::UnixStream::connect(path).is_ok();
            if !there.file_type().is_socket() || answers() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
        }
        // It gets its permissions before it gets its name: nobody slips in between.
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        let _ = std::fs::remove_file(&beside);
        let listener = UnixListener::bind(&beside)?;
        let group = keyholders.as_ref().and_then(Keyholders::group_id);
        let placed = std::os::unix::fs::chown(&beside, None, group)
            .and_then(|()| std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode)))
            .and_then(|()| std::fs::rename(&beside, path));
        if placed.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        placed.map(|()| Self::Unix(listener, path.to_owned(), keyholders))
    }

    /// A TCP port, `host:port`; port 0 takes any that is free.
    ///
    /// # Errors
    /// When the address is wrong or taken.
    pub async fn tcp(address: &str) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self::Tcp)
    }

    /// What clients put into `USBMUXD_SOCKET_ADDRESS`.
    ///
    /// # Errors
    /// When the system cannot say which port it gave.
    pub fn address(&self) -> io::Result<String> {
        match self {
            Self::Unix(_, path, _) => Ok(format!("UNIX:{}", path.display())),
            Self::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
        }
    }

    /// The next client.
    pub(super) async fn accept(&self) -> io::Result<Guest> {
        match self {
            Self::Unix(listener, _, keyholders) => {
                let stream = listener.accept().await?.0;
                // One that has gone already has no name, and needs nothing.
                let peer = stream.peer_cred().ok();
                let is_one =
                    |holders: &Keyholders| peer.is_some_and(|peer| holders.includes(peer.uid(), peer.gid()));
                let has_keys = keyholders.as_ref().is_none_or(is_one);
                Ok(Guest { stream: stream.into(), user: peer.map(|peer| peer.uid()), has_keys })
            }
            Self::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Ok(Guest { stream: stream.into(), user: None, has_keys: true })
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path, _) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}
