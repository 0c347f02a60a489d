//! Asks the phone, the library and the vault, and fills the facts. The only place where a device's no becomes a fact.
