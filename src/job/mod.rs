//! One visit of one device, as recorded in SQLite.
