//! Sockets that clients of usbmuxd connect to.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, chmodat, chownat, fcntl_setfl, open, renameat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
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
        if let Ok(there) = std::fs::symlink_metadata(path)
            && (!there.file_type().is_socket() || is_served(path))
        {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let group = keyholders.as_ref().and_then(Keyholders::group_id);
        bind(path, mode, group).map(|listener| Self::Unix(listener, path.to_owned(), keyholders))
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

/// Whether somebody listens there; also one that is busy, or is not for this user. Never blocks.
#[must_use]
pub fn is_served(path: &Path) -> bool {
    let connected = || -> rustix::io::Result<()> {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        fcntl_setfl(&socket, OFlags::NONBLOCK)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
    };
    matches!(connected(), Ok(()) | Err(Errno::AGAIN | Errno::ACCESS | Errno::PERM))
}

/// A socket that has its permissions before it has its name: nobody slips in between, and in the folder in which it is
/// made nobody else can put anything in its place.
fn bind(path: &Path, mode: u32, group: Option<u32>) -> io::Result<UnixListener> {
    // Short: a socket's whole path may have a hundred characters or so.
    const NAME: &str = "s";
    let private = path.with_file_name(format!(".{:08x}", uuid::Uuid::new_v4().as_fields().0));
    std::fs::DirBuilder::new().mode(0o700).create(&private)?;
    let beside = private.join(NAME);
    let placed = UnixListener::bind(&beside).and_then(|listener| {
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = open(&private, folder, Mode::empty())?;
        let group = group.map(rustix::fs::Gid::from_raw);
        chownat(&folder, NAME, None, group, AtFlags::SYMLINK_NOFOLLOW)?;
        chmodat(&folder, NAME, Mode::from_raw_mode(mode), AtFlags::empty())?;
        renameat(&folder, NAME, CWD, path)?;
        Ok(listener)
    });
    if placed.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    let _ = std::fs::remove_dir(&private);
    placed
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path, _) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}
