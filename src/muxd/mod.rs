//! The phone's side of the USB cable: what is on the bus, and the host's end of the mux protocol. The one module that
//! knows `rusb`.
//!
//! [`usb`] looks and touches nothing: no interface is claimed and no configuration changed, since a usbmuxd may be at
//! work on the same phone. [`Muxd`] takes phones and is as good as a usbmuxd; [`Auto`] leaves them to one that runs.

mod auto;
mod client;
mod connection;
mod descriptors;
mod held;
mod line;
mod mux;
mod muxer;
mod neighbour;
mod plug;
mod preflight;
mod records;
mod sysfs;
mod transfers;
mod uevents;
pub mod usb;

pub use auto::Auto;
pub use line::{Bulk, Line, NoLine, WRITES_MAX};
pub use mux::{CONNECTIONS_MAX, ConnectionId, Input, Mux, Output, TRANSFER_BYTES_MAX};
pub use muxer::{Manners, Muxd};
pub use neighbour::Neighbour;
pub use plug::{Bus, Hold, NotReady, Ready, Seen, Usb};
pub use records::Records;
