//! The simulated iPhone at the level of USB: what it says of itself on the control endpoint, and the phone's end of
//! the mux protocol on the two bulk endpoints.
//!
//! [`Control`] and [`Mux`] are values in, values out: no USB, no streams, no tasks, no clock. [`Phone`] puts the
//! simulated phone's ports behind them. Whoever carries the transfers of a real USB host hands it control transfers and
//! bulk OUT transfers, and fetches bulk IN transfers whenever [`Phone::happens`] says that something may have changed.
//!
//! What a host does with it is described by usbmuxd's `usb.c` and `device.c`; the numbers are those of iPhones in public
//! logs.

mod connection;
mod control;
mod descriptors;
pub mod functionfs;
#[cfg(test)]
mod tests;
mod mux;
mod phone;
pub mod usbip;

pub use control::{Answer, Control, Setup};
pub use descriptors::{Endpoints, serial};
pub use mux::{CONNECTIONS_MAX, ConnectionId, Input, Mux, Output, TRANSFER_BYTES_MAX};
pub use phone::Phone;
