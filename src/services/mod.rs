//! The small lockdown services, one file each.
