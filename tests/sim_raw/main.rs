//! Raw bytes against the simulated iPhone: our own clients have no part in it, so that an error made alike on both
//! sides of the project shows. What the bytes must be is taken from public descriptions of the protocols, and from
//! what libimobiledevice, pymobiledevice3 and go-ios send and need.

mod afc;
mod backup;
mod faults;
mod host;
mod lockdown;
mod socket;
mod wire;
