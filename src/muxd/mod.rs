//! The phone's side of the USB cable: what is on the bus, and the host's end of the mux protocol. The one module that
//! knows `rusb`.
//!
//! [`usb`] looks and touches nothing: no interface is claimed and no configuration changed, since a usbmuxd may be at
//! work on the same phone.

mod client;
mod connection;
mod line;
mod mux;
mod sysfs;
pub mod usb;

pub use line::{Bulk, Line, NoLine, WRITES_MAX};
pub use mux::{CONNECTIONS_MAX, ConnectionId, Input, Mux, Output, TRANSFER_BYTES_MAX};
