//! # idevice-fix
//!
//! Tells the owner of a USB-connected iPhone or iPad the truth about their photos, protects them, and leads up a
//! ladder of fixes on which nothing destructive is offered before a verified copy exists.
//!
//! This list is the map. It goes from the wire to the report, in the order in which data meets the modules, and
//! **a module uses only modules listed above it**; `tests/tidy.rs` holds everyone to that.

// -- ground: what every layer stands on --
pub mod durable;
pub mod progress;

// -- wire: bytes <-> types, one protocol each; the messages live here once, for both sides --
pub mod frame;
pub mod usbmux;
pub mod lockdown;
pub mod services;
pub mod afc;
pub mod mobilebackup2;
pub mod muxd;

// -- observing and keeping --
pub mod facts;
pub mod library;
pub mod photos;
pub mod backup;
pub mod collect;

// -- judgement: values in, values out, no I/O --
pub mod diagnosis;
pub mod remedy;
pub mod ladder;

// -- the visit --
pub mod job;
pub mod visit;
pub mod report;
pub mod record;
pub mod conformance;

// -- doors --
pub mod sim;
pub mod bench;
pub mod cli;
#[doc(hidden)]
pub mod fuzzed;
