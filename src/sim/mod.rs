//! The simulated iPhone: the device's behaviour behind every protocol.
