//! What the phone to be made is like: the one description from which every file of the folder follows, so that no
//! two of them contradict each other. A scenario is a change to it.

use jiff::{SignedDuration, Timestamp};
use plist::Value;

use super::mix::Mix;
use super::random::Random;
use super::release::Ios;
use super::sizes::Sizes;
use super::{Error, NewOptions, Temper};

/// Seconds from 1970 to 2001, where Apple's own clock starts.
const COCOA_EPOCH_S: f64 = 978_307_200.0;
/// The phone lives in Phoenix, Arizona: seven hours behind UTC all year, so that whoever takes local time for UTC is
/// found out, and no rule of summer time is needed.
pub(super) const ZONE: &str = "America/Phoenix";
/// Its offset from UTC, in seconds.
pub(super) const ZONE_OFFSET_S: i32 = -7 * 3600;
/// The most assets that a folder is made for.
pub(super) const PHOTOS_MAX: u32 = 1_000_000;
/// From so many bytes on, what only fills files up is left out on the disk without being asked.
const SPARSE_FROM_BYTES: u64 = 4 << 30;

/// The switch of iCloud Photos.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Switch {
    /// On since long.
    On,
    /// Was on, switched off so many days ago, with the phone's own reason.
    Off { days_ago: i64, reason: Option<&'static str> },
    /// Never touched.
    Never,
}

/// iCloud Photos.
#[derive(Debug, Clone)]
pub(super) struct Cloud {
    pub(super) switch: Switch,
    /// Keys of the status file that are different from a healthy phone's; `None` takes the key away.
    pub(super) status: Vec<(&'static str, Option<Value>)>,
    /// When the engine last talked to the server, in seconds before now.
    pub(super) synced_s_ago: i64,
    /// The owner pressed Pause.
    pub(super) paused: bool,
    /// The first sync has not finished.
    pub(super) first_sync_unfinished: bool,
    /// How many more (or fewer) assets the server counts than this phone has sent up.
    pub(super) server_surplus: i64,
    /// Photos still to be taken in from the server.
    pub(super) to_download: u32,
    /// Days ago that the backlog began to grow.
    pub(super) backlog_days: i64,
    /// Left-overs of Photo Stream.
    pub(super) photo_stream: bool,
    /// "Optimise Storage" is set.
    pub(super) optimise: bool,
}

/// What is wrong with the files themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Damage {
    /// `Photos.sqlite` is no database.
    pub(super) library: bool,
    /// `syncstatus.plist` is no property list.
    pub(super) status: bool,
}

/// The phone to be made.
#[derive(Debug, Clone)]
pub(super) struct Phone {
    pub(super) seed: u64,
    pub(super) now: Timestamp,
    pub(super) name: String,
    pub(super) ios: Ios,
    pub(super) udid: String,
    pub(super) chip_unique: u64,
    pub(super) temper: Temper,
    pub(super) live_wal: bool,
    pub(super) media_bytes: u64,
    pub(super) sizes: Sizes,
    /// What only fills files up takes no place on the disk.
    pub(super) sparse: bool,
    pub(super) mix: Mix,
    pub(super) cloud: Cloud,
    pub(super) damage: Damage,
    /// Lockdown values different from a healthy phone's: domain, key, value (`None`: not there).
    pub(super) lockdown: Vec<(&'static str, &'static str, Option<Value>)>,
    /// Values of the battery's registry entry different from a healthy phone's.
    pub(super) battery: Vec<(&'static str, Value)>,
    /// Lines of `device.toml`: section, line.
    pub(super) toml: Vec<(&'static str, String)>,
    /// Managed by an organisation.
    pub(super) managed: bool,
    /// Panic reports of the last days.
    pub(super) panics: u32,
    /// What the phone noted about its last iCloud backup, if it failed: an error of its backup engine.
    pub(super) backup_error: Option<i64>,
}

impl Phone {
    /// A healthy phone as `options` want it.
    ///
    /// # Errors
    /// An unknown iOS, or more photos than we make.
    pub(super) fn healthy(options: &NewOptions, photos: u32) -> Result<Self, Error> {
        let ios = Ios::of(&options.ios)?;
        if photos == 0 || photos > PHOTOS_MAX {
            return Err(Error::Photos(photos));
        }
        let mut random = Random::new(options.seed, "identity");
        let chip_unique = random.next() >> 12;
        let media_bytes = options.media_bytes.unwrap_or_else(|| default_bytes(photos));
        Ok(Self {
            seed: options.seed,
            // Whole seconds, as property lists hold them.
            now: Timestamp::from_second(options.now.as_second()).unwrap_or(options.now),
            name: options.name.clone().unwrap_or_else(|| "Anna’s iPhone".to_owned()),
            udid: format!("{:08X}-{chip_unique:016X}", ios.hardware.chip_id),
            ios,
            chip_unique,
            temper: options.temper,
            live_wal: options.live_wal,
            media_bytes,
            sizes: options.sizes,
            sparse: options.sparse || about_bytes(options.sizes, media_bytes, photos) > SPARSE_FROM_BYTES,
            mix: Mix::healthy(photos),
            cloud: Cloud {
                switch: Switch::On,
                status: Vec::new(),
                synced_s_ago: 25 * 60,
                paused: false,
                first_sync_unfinished: false,
                server_surplus: 0,
                to_download: 0,
                backlog_days: 0,
                photo_stream: false,
                optimise: false,
            },
            damage: Damage::default(),
            lockdown: Vec::new(),
            battery: Vec::new(),
            toml: Vec::new(),
            managed: false,
            panics: 0,
            backup_error: None,
        })
    }

    /// So long before now.
    pub(super) fn ago(&self, seconds: i64) -> Timestamp {
        self.now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// So many days before now.
    pub(super) fn days_ago(&self, days: i64) -> Timestamp {
        self.ago(days * 86_400)
    }

    /// Whether iCloud Photos is on.
    pub(super) fn is_on(&self) -> bool {
        self.cloud.switch == Switch::On
    }

    /// The library's own name, which the engine notes too.
    pub(super) fn store_uuid(&self) -> String {
        Random::new(self.seed, "store").uuid()
    }

    /// A flag of the status file.
    pub(super) fn status(&mut self, key: &'static str, value: impl Into<Value>) {
        self.cloud.status.push((key, Some(value.into())));
    }

    /// A lockdown value.
    pub(super) fn value(&mut self, domain: &'static str, key: &'static str, value: impl Into<Value>) {
        self.lockdown.push((domain, key, Some(value.into())));
    }

    /// A lockdown value that is not there.
    pub(super) fn no_value(&mut self, domain: &'static str, key: &'static str) {
        self.lockdown.push((domain, key, None));
    }
}

/// What originals have together when nobody says: about 100 MB, more for very many.
fn default_bytes(photos: u32) -> u64 {
    u64::from(photos) * (105_000_000 / u64::from(photos)).clamp(24_000, 2_000_000)
}

/// About how many bytes the pictures will have.
fn about_bytes(sizes: Sizes, media_bytes: u64, photos: u32) -> u64 {
    match sizes {
        Sizes::Proportional => media_bytes,
        Sizes::Real => u64::from(photos) * 3_000_000,
        Sizes::Each(bytes) => u64::from(photos).saturating_mul(bytes),
    }
}

/// Seconds since 2001, as Apple's databases hold them.
#[expect(clippy::cast_precision_loss, reason = "milliseconds of the years around now fit")]
pub(super) fn cocoa(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0 - COCOA_EPOCH_S
}

/// Whole seconds since 2001, as lockdown gives them.
pub(super) fn cocoa_seconds(at: Timestamp) -> i64 {
    at.as_second() - 978_307_200
}

/// A property list's date.
pub(super) fn date(at: Timestamp) -> Value {
    Value::Date(std::time::SystemTime::from(at).into())
}

/// The phone's wall clock at `at`.
pub(super) fn local(at: Timestamp) -> jiff::civil::DateTime {
    let offset = jiff::tz::Offset::from_seconds(ZONE_OFFSET_S).expect("seven hours are an offset");
    offset.to_datetime(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_apples() {
        assert!((cocoa("2001-01-01T00:00:01.5Z".parse().unwrap()) - 1.5).abs() < 1e-9);
        assert_eq!(local("2026-11-22T03:00:00Z".parse().unwrap()).to_string(), "2026-11-21T20:00:00");
    }
}
