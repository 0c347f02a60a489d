//! Sockets that clients of usbmuxd connect to.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::usbmux::Socket;

/// Where clients come in.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket; its file is removed at the end.
    Unix(UnixListener, PathBuf),
    /// A TCP port.
    Tcp(TcpListener),
}

impl Listener {
    /// A Unix socket at `path` with these permissions (Unix bits). A socket there that nobody answers is replaced.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when somebody answers there, or something else than a socket has that name.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
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
        let placed = std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode))
            .and_then(|()| std::fs::rename(&beside, path));
        if placed.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        placed.map(|()| Self::Unix(listener, path.to_owned()))
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
            Self::Unix(_, path) => Ok(format!("UNIX:{}", path.display())),
            Self::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(listener, _) => Ok(listener.accept().await?.0.into()),
            Self::Tcp(listener) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Ok(stream.into())
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}
