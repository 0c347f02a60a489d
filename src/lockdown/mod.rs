//! Lockdown: pairing, trust, sessions over TLS pinned to the device's key.
