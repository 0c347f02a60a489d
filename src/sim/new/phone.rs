//! What the phone to be made is like: the one description from which every file of the folder follows, so that no
//! two of them contradict each other. A scenario is a change to it.

use jiff::{SignedDuration, Timestamp};
use plist::Value;

use super::random::Random;
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

/// One release of iOS as far as the folder shows it.
#[derive(Debug, Clone)]
pub(super) struct Ios {
    /// e.g. 18.
    pub(super) major: u32,
    /// e.g. `18.4.1`.
    pub(super) version: String,
    /// e.g. `22E252`.
    pub(super) build: &'static str,
    /// `PLModelVersion` of its photo library.
    pub(super) library_model: i64,
    /// The phone that runs it.
    pub(super) hardware: &'static Hardware,
}

/// One phone model.
#[derive(Debug)]
pub(super) struct Hardware {
    pub(super) product_type: &'static str,
    pub(super) board: &'static str,
    pub(super) platform: &'static str,
    pub(super) chip_id: u32,
    pub(super) model_number: &'static str,
    pub(super) battery_mah: u32,
}

const IPHONE_11: Hardware = Hardware {
    product_type: "iPhone12,1",
    board: "N104AP",
    platform: "t8030",
    chip_id: 0x8030,
    model_number: "MWLT2",
    battery_mah: 3110,
};
const IPHONE_12: Hardware = Hardware {
    product_type: "iPhone13,2",
    board: "D53gAP",
    platform: "t8101",
    chip_id: 0x8101,
    model_number: "MGH93",
    battery_mah: 2815,
};

/// The version meant by a bare major number, its build, the library's model, the phone. A library's model changes
/// within a major version too; see [`Ios::of`].
const RELEASES: &[(u32, &str, &str, i64, &Hardware)] = &[
    (13, "13.7", "17H35", 13703, &IPHONE_11),
    (14, "14.8.1", "18H107", 14208, &IPHONE_12),
    (15, "15.8.3", "19H386", 15502, &IPHONE_12),
    (16, "16.7.10", "20H350", 16502, &IPHONE_12),
    (17, "17.7.2", "21H221", 17600, &IPHONE_12),
    (18, "18.4.1", "22E252", 18600, &IPHONE_12),
    (26, "26.1", "23B85", 19320, &IPHONE_12),
    (27, "27.0.1", "24A339", 270_008_501, &IPHONE_12),
];

impl Ios {
    /// The release that `text` names: `18` or `18.4.1`.
    ///
    /// # Errors
    /// [`Error::UnknownIos`] for a version of which we know no library.
    pub(super) fn of(text: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownIos(text.to_owned());
        let numbers: Vec<u32> =
            text.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| unknown())?;
        let (major, minor) = (numbers[0], numbers.get(1).copied());
        let (_, version, build, model, hardware) =
            RELEASES.iter().find(|release| release.0 == major).ok_or_else(unknown)?;
        let version = if minor.is_some() { text } else { version };
        let library_model = match (major, minor) {
            (16, Some(0..=3)) => 16320,
            (17, Some(0..=4)) => 17120,
            _ => *model,
        };
        Ok(Self { major, version: version.to_owned(), build, library_model, hardware })
    }

    /// Every major version that can be made.
    #[cfg(test)]
    pub(super) fn majors() -> impl Iterator<Item = u32> {
        RELEASES.iter().map(|release| release.0)
    }
}

/// How many assets of each sort. The first group adds up to the owner's library without what is in Recently Deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mix {
    /// In iCloud, original here.
    pub(super) uploaded: u32,
    /// Handed to the engine, not up yet; only here.
    pub(super) waiting: u32,
    /// Quarantined; only here.
    pub(super) failed: u32,
    /// Never handed to the engine; only here.
    pub(super) never_queued: u32,
    /// In iCloud, original not here.
    pub(super) only_in_icloud: u32,
    /// Live Photos whose still is here and whose clip is only in iCloud.
    pub(super) clip_only_in_icloud: u32,
    /// The library says that the original is in neither place.
    pub(super) in_neither: u32,
    /// Without any row that says where the original is.
    pub(super) place_unknown: u32,

    /// Of the uploaded: came from iCloud, so that they lie in `PhotoData/CPLAssets`.
    pub(super) from_icloud: u32,
    /// Of the uploaded: in the Hidden album.
    pub(super) hidden: u32,
    /// Of the uploaded: favourites.
    pub(super) favourites: u32,
    /// Of the uploaded: edited.
    pub(super) edited: u32,
    /// Of the uploaded: burst frames that were not picked, four to a burst.
    pub(super) unpicked: u32,

    /// Besides: in Recently Deleted.
    pub(super) trashed: u32,
    /// Besides: only in a shared album.
    pub(super) shared_album: u32,
    /// Besides: behind an iCloud link.
    pub(super) links: u32,
    /// Besides: "Shared with You".
    pub(super) shared_with_you: u32,
}

impl Mix {
    /// A library of `photos` assets that are all where they should be.
    pub(super) fn healthy(photos: u32) -> Self {
        Self {
            uploaded: photos,
            from_icloud: photos / 8,
            favourites: photos / 12,
            edited: photos / 15,
            unpicked: if photos >= 60 { 4 } else { 0 },
            trashed: photos.min(2),
            shared_album: photos.min(3),
            ..Self::default()
        }
    }

    /// Moves `count` of the uploaded to another sort; as many as there are, and one stays (a library of which nothing
    /// ever went up is another story). Returns how many moved.
    pub(super) fn move_from_uploaded(&mut self, count: u32, to: fn(&mut Self) -> &mut u32) {
        let moved = count.min(self.uploaded.saturating_sub(1));
        self.uploaded -= moved;
        *to(self) += moved;
        self.unpicked = if self.uploaded >= 60 { self.unpicked } else { 0 };
        for part in [&mut self.from_icloud, &mut self.hidden, &mut self.favourites, &mut self.edited] {
            *part = (*part).min(self.uploaded / 4);
        }
    }

    /// The owner's library without Recently Deleted.
    pub(super) fn own(&self) -> u32 {
        self.uploaded
            + self.waiting
            + self.failed
            + self.never_queued
            + self.only_in_icloud
            + self.clip_only_in_icloud
            + self.in_neither
            + self.place_unknown
    }
}

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
        let default_bytes = u64::from(photos) * (105_000_000 / u64::from(photos)).clamp(24_000, 2_000_000);
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
            media_bytes: options.media_bytes.unwrap_or(default_bytes),
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
    fn versions_are_taken_by_major_number_or_in_full() {
        assert_eq!(Ios::of("18").unwrap().version, "18.4.1");
        assert_eq!(Ios::of("16.1.1").unwrap().library_model, 16320);
        assert_eq!(Ios::of("16").unwrap().library_model, 16502);
        for wrong in ["", "12", "x", "18.", "18.x", "-1"] {
            assert!(Ios::of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_release_has_a_described_library() {
        let models = super::super::schema::Schema::models(super::super::schema::PHOTOS);
        for major in Ios::majors() {
            let ios = Ios::of(&major.to_string()).unwrap();
            assert!(models.contains(&ios.library_model), "{major}");
        }
    }

    #[test]
    fn moving_keeps_the_whole() {
        let mut mix = Mix::healthy(100);
        mix.move_from_uploaded(30, |mix| &mut mix.waiting);
        mix.move_from_uploaded(500, |mix| &mut mix.failed);
        assert_eq!((mix.own(), mix.uploaded, mix.waiting, mix.failed), (100, 1, 30, 69));
        assert!(mix.favourites <= mix.uploaded && mix.unpicked == 0);
    }

    #[test]
    fn dates_are_apples() {
        assert!((cocoa("2001-01-01T00:00:01.5Z".parse().unwrap()) - 1.5).abs() < 1e-9);
        assert_eq!(local("2026-11-22T03:00:00Z".parse().unwrap()).to_string(), "2026-11-21T20:00:00");
    }
}
