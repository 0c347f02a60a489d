//! Everything that was observed: values, each with where it came from; what could not be read is a [`Gap`].
//!
//! This module knows no device and does no I/O: `library`, `photos`, `backup` and `collect` fill it, the judgement
//! reads it, the report shows it. The JSON names are those of the diagnosis that others script against.
//!
//! **How to read an `Option`.** `None` with a [`Gap`] of the same name means *unknown*; `None` without one means
//! *never* or *none*. A rule must never take unknown for no.

mod fingerprint;
mod icloud;
mod library;
pub mod path;
pub mod sentences;
pub mod text;

pub use fingerprint::{Fingerprint, Fingerprinting};
pub use icloud::{Backlog, Engine, IcloudBackup, IcloudPhotos, Markers, Scope, Switching};
pub use library::{
    Album, Asset, AssetKind, Counts, Library, MediaFile, MediaListing, Owner, Place, Resource, ResourceKind,
    Upload,
};

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// Where a value was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The place, e.g. `lockdown:com.apple.mobile.battery`, `afc:/PhotoData/CPL/syncstatus.plist`,
    /// `ioregistry:AppleSmartBattery`, `library:Photos.sqlite`, `usb`, `host`, `vault`.
    pub place: Cow<'static, str>,
    /// The key or column there; empty when the place itself is the evidence (a marker file, say).
    pub key: Cow<'static, str>,
    /// When the phone wrote it, where it can be older than this visit (a file's modification time).
    pub written_at: Option<Timestamp>,
}

impl Source {
    /// A place that is read live.
    #[must_use]
    pub const fn new(place: &'static str, key: &'static str) -> Self {
        Self { place: Cow::Borrowed(place), key: Cow::Borrowed(key), written_at: None }
    }
}

/// A value with its source. Serialises as the value alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact<T> {
    /// What was read.
    pub value: T,
    /// Where.
    pub source: Source,
}

impl<T> Fact<T> {
    /// A fact.
    pub const fn new(value: T, source: Source) -> Self {
        Self { value, source }
    }
}

impl<T: Serialize> Serialize for Fact<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// A value that may be unknown (then a [`Gap`] says why) or never set (then none does).
pub type Maybe<T> = Option<Fact<T>>;

/// The value of a [`Maybe`], without its source.
pub fn value<T: Clone>(fact: &Maybe<T>) -> Option<T> {
    fact.as_ref().map(|fact| fact.value.clone())
}

/// Something that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The dotted name in the JSON, e.g. `storage.purgeable_bytes`; a whole group is named by its group alone.
    pub fact: Cow<'static, str>,
    /// Why, in plain words; the device's own word is quoted where it gave one.
    pub reason: String,
}

/// Which phone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Device {
    /// The unique device id, with its hyphen.
    pub udid: String,
    /// The owner's name for it: text from the phone, to be escaped wherever it goes.
    pub name: Option<String>,
    /// Apple's model identifier, e.g. `iPhone13,2`.
    pub product_type: Option<String>,
    /// The name people know, e.g. `iPhone 12`; `None` for an identifier that our table does not know.
    pub model: Option<String>,
    /// `iPhone`, `iPad`, `iPod`.
    #[serde(skip)]
    pub device_class: Option<String>,
    /// e.g. `18.4.1`.
    pub ios_version: Option<String>,
    /// e.g. `22E252`.
    pub build: Option<String>,
}

impl Device {
    /// The major version of iOS, if the version could be read.
    #[must_use]
    pub fn ios_major(&self) -> Option<u32> {
        self.ios_version.as_deref()?.split('.').next()?.parse().ok()
    }
}

/// How far we came with the phone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// In a trusted session.
    #[default]
    Trusted,
    /// Nobody has asked it yet.
    NotTrusted,
    /// The Trust dialog is up and nobody has answered.
    TrustPending,
    /// The owner tapped "Don't Trust".
    TrustDenied,
    /// Our pair record is not accepted any more (`InvalidHostID`).
    StalePairing,
    /// Who answers does not hold the key of our pair record.
    KeyMismatch,
    /// Our pair record is not accepted any more, and the phone names another key than the record's: it was erased, or
    /// it is another device.
    KeyChanged,
    /// The screen is locked and the phone wants it unlocked.
    Locked,
    /// Not unlocked since it was started.
    NotUnlockedSinceBoot,
    /// Management or Find My forbids pairing.
    PairingForbidden,
    /// In recovery mode.
    RecoveryMode,
    /// In DFU mode.
    DfuMode,
    /// On the bus, but its data connection is shut (USB restricted mode).
    UsbRestricted,
    /// On the bus, but held by another program.
    HeldByOtherProgram,
    /// On the bus, but this user may not open it.
    NoPermission,
    /// On the bus, and no usbmuxd answers or the one that does has not taken it.
    NoUsbmux,
}

/// Battery and heat.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Battery {
    /// Charge, 0–100 %.
    pub level_percent: Maybe<u8>,
    /// Gaining charge now.
    pub charging: Maybe<bool>,
    /// Any power on the cable; a USB host always counts.
    pub external_power: Maybe<bool>,
    /// Our estimate: nominal (else raw maximum) against design capacity; not the number of Settings.
    pub health_percent: Maybe<u8>,
    /// Full charge cycles.
    pub cycle_count: Maybe<u32>,
    /// Battery temperature in degrees Celsius.
    pub temperature_c: Maybe<f64>,
    /// Current into (positive) or out of (negative) the battery, in milliampere.
    pub current_ma: Maybe<i64>,
    /// What the charger offers, in watts.
    pub adapter_watts: Maybe<u32>,
    /// Full.
    pub fully_charged: Maybe<bool>,
}

impl Battery {
    /// Gaining charge now: the current decides where it is known, for a USB host always counts as external power and
    /// may still give too little. `None`: nothing tells.
    #[must_use]
    pub fn gaining(&self) -> Option<bool> {
        match (value(&self.current_ma), value(&self.charging)) {
            (_, Some(false)) => Some(false),
            (Some(current), _) => Some(current > 0),
            (None, charging) => charging,
        }
    }
}

/// The phone's own storage, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Storage {
    /// The whole data capacity.
    pub total_bytes: Maybe<u64>,
    /// Free now.
    pub free_bytes: Maybe<u64>,
    /// What the phone would free by itself.
    pub purgeable_bytes: Maybe<u64>,
}

/// The phone's clock against ours, its management, its account.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Settings {
    /// The phone's clock minus ours, in seconds, corrected by half the round trip.
    pub clock_offset_seconds: Maybe<f64>,
    /// The phone's time zone name.
    pub time_zone: Maybe<String>,
    /// `Activated` and the like.
    pub activation_state: Maybe<String>,
    /// The setup assistant has been finished.
    pub setup_done: Maybe<bool>,
    /// Find My (and with it the activation lock) is on. Never guessed: unreadable is a gap.
    pub find_my: Maybe<bool>,
    /// Display names of the configuration profiles: text from the phone.
    pub profiles: Maybe<Vec<String>>,
    /// Supervised by an organisation.
    pub supervised: Maybe<bool>,
    /// An Apple Account is signed in; known only from inside a local backup, as of that backup.
    pub apple_account: Maybe<bool>,
    /// What that account is used for, by the phone's own names (`com.apple.Dataclass.CloudPhotos` and the like), as of
    /// that backup: text from the phone, shown and never judged.
    pub account_data_classes: Maybe<Vec<String>>,
    /// How the phone was set up (`SetupUsingAssistant`, `RestoredFromiCloudBackup` and the like), as of that backup: text
    /// from the phone.
    pub set_up_by: Maybe<String>,
    /// Find My was on when that backup was made. What an erase demands is [`Settings::find_my`], which the phone says now.
    pub find_my_in_backup: Maybe<bool>,
    /// Panic reports of the last 7 days.
    pub recent_panics: Maybe<u32>,
}

/// Local backups, and what our vault can prove.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LocalBackup {
    /// A backup password is set on the phone. The phone leaves the key out when none was ever set: that is `false`.
    pub will_encrypt: Maybe<bool>,
    /// The phone's management demands encryption.
    pub requires_encryption: Maybe<bool>,
    /// The newest local backup that the phone remembers, to any computer.
    pub last_backup: Maybe<Timestamp>,
    /// When our own newest backup was made, as its proof states.
    pub made_at: Maybe<Timestamp>,
    /// When our own newest backup was proven.
    pub verified_at: Maybe<Timestamp>,
    /// Our newest backup is encrypted.
    pub encrypted: Maybe<bool>,
    /// The password of our newest backup was known when it was proven; meaningless when it is not encrypted.
    pub password_known: Maybe<bool>,
}

/// What our copy of the photos holds, against what the phone shows now.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PhotoCopy {
    /// Files of the fresh listing that are proven to be in the copy or in the verified backup.
    pub files_copied: Maybe<u64>,
    /// Files of the fresh listing that are not.
    pub files_not_copied: Maybe<u64>,
    /// Their bytes.
    pub bytes_not_copied: Maybe<u64>,
    /// When the copy was last proven.
    pub verified_at: Maybe<Timestamp>,
}

/// All facts of one visit. `Default` is a phone of which nothing is known and nothing was asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Facts {
    /// Which phone; `None` when there is none.
    #[serde(skip)]
    pub device: Option<Device>,
    /// How far we came with it.
    #[serde(skip)]
    pub reach: Reach,
    /// When this was read.
    #[serde(skip)]
    pub observed_at: Timestamp,
    /// Battery and heat.
    pub battery: Battery,
    /// The phone's storage.
    pub storage: Storage,
    /// iCloud Photos.
    pub icloud_photos: IcloudPhotos,
    /// iCloud Backup.
    pub icloud_backup: IcloudBackup,
    /// Local backups.
    pub local_backup: LocalBackup,
    /// Our copy of the photos.
    pub photo_copy: PhotoCopy,
    /// The photo library; its counts are in the JSON, its assets are not.
    pub library: Library,
    /// Clock, management, account.
    pub settings: Settings,
    /// What is on the phone as files, from a walk over AFC.
    #[serde(skip)]
    pub media: Option<MediaListing>,
    /// What could not be read. The JSON shows them beside the facts.
    #[serde(skip)]
    pub gaps: Vec<Gap>,
}

impl Facts {
    /// Notes that `fact` could not be read. A second gap of the same name is dropped: the first reason stands.
    pub fn gap(&mut self, fact: impl Into<Cow<'static, str>>, reason: impl Into<String>) {
        let fact = fact.into();
        if !self.gaps.iter().any(|gap| gap.fact == fact) {
            self.gaps.push(Gap { fact, reason: reason.into() });
        }
    }

    /// The gap that covers `fact`: its own, or that of a group that contains it.
    #[must_use]
    pub fn gap_of(&self, fact: &str) -> Option<&Gap> {
        self.gaps.iter().find(|gap| {
            fact == gap.fact || fact.strip_prefix(gap.fact.as_ref()).is_some_and(|rest| rest.starts_with('.'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_gap_covers_its_facts_and_no_neighbour() {
        let mut facts = Facts::default();
        facts.gap("icloud_photos.engine", "status 10");
        assert!(facts.gap_of("icloud_photos.engine.low_battery").is_some());
        assert!(facts.gap_of("icloud_photos.engine").is_some());
        assert!(facts.gap_of("icloud_photos.engine_two").is_none());
        assert!(facts.gap_of("icloud_photos.enabled").is_none());
    }

    #[test]
    fn a_fact_serialises_as_its_value() {
        let fact =
            Fact::new(53_u8, Source::new("lockdown:com.apple.mobile.battery", "BatteryCurrentCapacity"));
        assert_eq!(serde_json::to_string(&fact).unwrap(), "53");
    }
}
