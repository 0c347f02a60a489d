//! Reaching a port on a device.
//!
//! [`Muxer`] is the project's main seam: usbmuxd's client, our own multiplexer and the simulator in process all are
//! one, and nothing above this module can tell them apart. The socket's messages live here once, for its client and
//! its server, and so do the packets that cross the cable.

pub mod address;
pub mod client;
mod front;
pub mod message;
pub mod packet;
pub mod server;
mod socket;

use std::fmt::Debug;
use std::pin::Pin;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

pub use address::Address;
pub use front::Front;
pub use socket::Socket;

/// A stream of bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync + Debug> Duplex for T {}

/// A connection to a port on a device, or what TLS made of it.
pub type Stream = Box<dyn Duplex>;

/// The muxer's own number for a device that is plugged in; a re-plug gives a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub u32);

/// A unique device id, checked: 24 to 40 hexadecimal digits and hyphens. Safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Udid(String);

impl Udid {
    /// Checks `text`; a 24-digit id without its hyphen (as USB serials have it) gets it after the eighth.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let clean =
            (24..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if !clean || !text.bytes().any(|b| b.is_ascii_hexdigit()) || text.starts_with('-') {
            return None;
        }
        if text.len() == 24 && !text.contains('-') {
            return Some(Self(format!("{}-{}", &text[..8], &text[8..])));
        }
        Some(Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Udid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A device that is plugged in over USB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The muxer's number.
    pub id: DeviceId,
    /// Who it is.
    pub udid: Udid,
    /// USB product id.
    pub product_id: u16,
    /// Bus and address, `bus << 16 | address`.
    pub location_id: u32,
    /// Link speed in bits per second; 0 when the muxer does not say.
    pub speed_bps: u64,
}

/// What changes on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A device is there.
    Attached(Attached),
    /// A device left; its connections are dead.
    Detached(DeviceId),
    /// A device was paired by the muxer itself or by another program.
    Paired(DeviceId),
}

/// Why a muxer could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there.
    #[error("no usbmuxd answers at {0}")]
    NotRunning(String),
    /// The socket is there and not ours to open.
    #[error("no permission to open usbmuxd's socket {0}")]
    NoPermission(String),
    /// `USBMUXD_SOCKET_ADDRESS` (or an address given otherwise) has no known form.
    #[error("{0:?} is no address of a usbmuxd: want UNIX:/path, unix:///path, /path or host:port")]
    BadAddress(String),
    /// The device is not plugged in (any more).
    #[error("the device is not connected")]
    NoSuchDevice,
    /// The device refused the port.
    #[error("the device refused a connection to port {0}")]
    Refused(u16),
    /// The muxer answered something else than its protocol allows.
    #[error("usbmuxd answered {request} with {what}")]
    Protocol {
        /// What was asked.
        request: &'static str,
        /// What is wrong with the answer.
        what: String,
    },
    /// No answer in time.
    #[error("usbmuxd did not answer {0} in time")]
    Timeout(&'static str),
    /// The socket broke.
    #[error("the connection to usbmuxd broke at {request}: {source}")]
    Io {
        /// What was asked.
        request: &'static str,
        /// How it broke.
        source: std::io::Error,
    },
}

/// A port that was opened for a client who brings a socket.
pub enum Opened {
    /// A stream: somebody has to move bytes between it and the socket.
    Stream(Stream),
    /// The device serves the client's socket itself, until this ends.
    Served(Serve),
}

/// Serves a client on its own socket.
pub type Serve = Box<dyn FnOnce(Socket) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Anything that lists devices and connects to a port on one. Network devices are never listed.
#[async_trait]
pub trait Muxer: Send + Sync + Debug {
    /// The devices that are plugged in now.
    async fn devices(&self) -> Result<Vec<Attached>, Error>;
    /// First an [`Event::Attached`] for each device that is there, then what changes. The channel ends when the muxer
    /// is gone, or when it cannot tell any more which devices are there: whoever listens anew is told.
    async fn listen(&self) -> Result<mpsc::Receiver<Event>, Error>;
    /// A connection to `port` (host byte order) on `device`.
    async fn connect(&self, device: DeviceId, port: u16) -> Result<Stream, Error>;
    /// As [`Muxer::connect`], for a client that comes with a socket. A device in the same process need not have its
    /// bytes copied.
    async fn open(&self, device: DeviceId, port: u16) -> Result<Opened, Error> {
        self.connect(device, port).await.map(Opened::Stream)
    }
    /// The host's own id that goes into pair records (`SystemBUID`).
    async fn buid(&self) -> Result<String, Error>;
    /// The pair record kept for a device: a property list with private keys, never to be logged. `None`: not paired.
    async fn pair_record(&self, udid: &Udid) -> Result<Option<Vec<u8>>, Error>;
    /// Keeps a pair record; with `device` the muxer tells its listeners that it was paired.
    async fn save_pair_record(
        &self,
        udid: &Udid,
        device: Option<DeviceId>,
        record: &[u8],
    ) -> Result<(), Error>;
    /// Forgets a pair record; one that is not there is no error.
    async fn delete_pair_record(&self, udid: &Udid) -> Result<(), Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_without_hyphen_gets_it() {
        assert_eq!(Udid::parse("00008101000000000000001E").unwrap().as_str(), "00008101-000000000000001E");
    }

    #[test]
    fn no_udid_leaves_its_folder() {
        for bad in ["", "..", "../../../../etc/passwd/aaaaaaaa", "00008101-00000000000000/E", &"a".repeat(41)]
        {
            assert!(Udid::parse(bad).is_none(), "{bad:?}");
        }
    }
}
