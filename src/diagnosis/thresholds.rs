//! Every threshold of the rules, each with its reason.

use jiff::SignedDuration;

/// Below this charge, and not gaining, a phone stops background work and may not survive a long copy. iOS itself warns
/// at 20 %.
pub const BATTERY_LOW_PERCENT: u8 = 20;
/// iOS calls a battery "significantly degraded" below 80 % of its design capacity.
pub const BATTERY_WORN_PERCENT: u8 = 80;
/// From here on a phone that does not charge is no news: the charge limit and optimised charging stop there.
pub const CHARGING_MAY_REST_PERCENT: u8 = 80;
/// Below this, a phone that does not charge is a problem and not a note: an erase and restore needs it.
pub const NOT_CHARGING_PROBLEM_PERCENT: u8 = 50;
/// Apple names 35 °C as the upper end of the ambient range; a battery sensor that shows 38 °C is past it.
pub const DEVICE_HOT_CELSIUS: f64 = 38.0;
/// The engine calls the disk low below this many free bytes.
pub const STORAGE_LOW_BYTES: u64 = 1 << 30;
/// The engine calls the disk very low below this many free bytes, and stops.
pub const STORAGE_FULL_BYTES: u64 = 512 << 20;
/// A clock that is further off than this makes certificates look wrong; two minutes also cover a slow reply.
pub const CLOCK_WRONG_SECONDS: f64 = 120.0;
/// iCloud Backup runs nightly on Wi-Fi and power; two weeks without one are no accident.
pub const ICLOUD_BACKUP_STALE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// A local backup is made by hand; after a month it misses too much to rest on.
pub const LOCAL_BACKUP_STALE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// An item that was added this long before the last sync, and had no reason to wait, should be up. Real libraries show
/// items that waited a minute or two; a day leaves room for a night without Wi-Fi.
pub const UPLOAD_STUCK_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Two readings that are this far apart and show the same numbers mean that nothing moves (Apple's own advice after each
/// step is a quarter of an hour).
pub const STILL_AFTER: SignedDuration = SignedDuration::from_mins(15);
/// The engine writes its status when something changes. On a phone in use that is many times a day; what is older than
/// this is told with its age.
pub const STATUS_MAY_BE_OLD: SignedDuration = SignedDuration::from_hours(24);
/// The battery of a phone that works hard and is not hot. Below this, a flag that says hot is of another moment.
pub const DEVICE_WARM_CELSIUS: f64 = 35.0;
/// One panic can happen to anyone; this many in a week are a pattern.
pub const PANICS_IN_A_WEEK: u32 = 3;
/// How long iOS keeps what was deleted, where the server's configuration does not say.
pub const RECENTLY_DELETED_DAYS: u32 = 30;
/// Stolen Device Protection came with this version.
pub const STOLEN_DEVICE_PROTECTION_SINCE: (u32, u32) = (17, 3);
/// How many photos a finding names; more would bury the sentence.
pub const NAMES_MAX: usize = 50;
