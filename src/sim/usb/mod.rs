//! The simulated iPhone at the level of USB: what it says of itself on the control endpoint, and the phone's end of
//! the mux protocol on the two bulk endpoints.
//!
//! **Not attached to any bus yet.** Nothing in the program runs this so far: [`crate::sim::Bus`] still stands at the
//! level of usbmuxd's socket, above the cable. What is here is values in, values out — no USB, no streams, no tasks, no
//! clock — for whatever will carry the transfers of a real USB host. Whoever does that
//!
//! * answers control transfers with [`Control::answer`] and does what the [`Answer`] says;
//! * makes a [`Mux`] anew each time a configuration is set, if [`Control::mux_endpoints`] names its endpoints then;
//! * feeds the Mux with bulk OUT transfers, and with what the streams behind its connections do;
//! * does the deeds that it asks for, and completes a bulk IN transfer with each [`Output::Transfer`].
//!
//! What a host does with it is described by usbmuxd's `usb.c` and `device.c`; the numbers are those of iPhones in public
//! logs.

mod connection;
mod control;
mod descriptors;
#[cfg(test)]
mod ends;
mod mux;

pub use control::{Answer, Control, Setup};
pub use descriptors::{Endpoints, serial};
pub use mux::{CONNECTIONS_MAX, ConnectionId, Input, Mux, Output, TRANSFER_BYTES_MAX};
