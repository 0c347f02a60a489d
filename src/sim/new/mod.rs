//! Makes the folder of a simulated phone: `sim new`.
//!
//! The folder is in iOS' own formats, so that what is made here and what was taken from a real phone are served alike:
//!
//! ```text
//! device.toml      temper, locks, person: what is not data on a phone
//! lockdown.plist, ioregistry.plist, profiles.plist, apps.plist      what the small services answer
//! media/           the AFC root: DCIM, PhotoData with Photos.sqlite and the files of the iCloud Photos engine
//! files/           what a backup holds besides: preferences, messages, contacts, …
//! media.times      the dates of everything in media/, since a checkout keeps none
//! syslog.txt, crashes/
//! ```
//!
//! How it is made: a [`Phone`] says what the phone is like, a scenario changes that, and every file follows from the
//! one description. So the library, the engine's status, its own database and lockdown never contradict each other
//! unless a scenario wants it. The same options give the same bytes; nothing here asks a clock or the system's
//! random numbers.
//!
//! Formats: the library's names and types in `data/photos-sqlite.txt` (see [`schema`]), its states as iLEAPP and
//! osxphotos document them, the engine's files as in published libraries. `data/still.heic` and `data/clip.mov` are a
//! colour gradient drawn and encoded for this project with ffmpeg 5.1 (filter `gradients`, libx264) and libheif 1.15
//! (`heif-enc`).
//!
//! This module must not know how the folder is served; it shares nothing with the simulator but the format.

mod assets;
mod cpl;
mod device;
mod domains;
mod folder;
mod kind;
mod library;
mod media;
mod mix;
mod originals;
mod phone;
mod pictures;
mod random;
mod release;
mod scenario;
mod schema;
mod sizes;
mod wal;

pub use scenario::{Scenario, scenarios};
pub use sizes::Sizes;

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::facts::Counts;
use folder::Folder;
use originals::Originals;
use phone::Phone;

/// How hard the phone makes the work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Temper {
    /// As real phones were seen to be.
    #[default]
    Harsh,
    /// As easy as the protocols allow.
    Kind,
}

impl Temper {
    /// The word in `device.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Harsh => "harsh",
            Self::Kind => "kind",
        }
    }
}

/// What phone to make.
#[derive(Debug, Clone)]
pub struct NewOptions {
    /// A name from [`scenarios`].
    pub scenario: String,
    /// `18` or `18.4.1`; 13 to 18, 26 and 27 are known.
    pub ios: String,
    /// How many assets the owner's library has, without Recently Deleted; `None`: the scenario's own number.
    pub photos: Option<u32>,
    /// Everything that is not said otherwise follows from this.
    pub seed: u64,
    /// How hard the phone makes the work.
    pub temper: Temper,
    /// The phone's name; `None`: Anna's iPhone.
    pub name: Option<String>,
    /// The moment the phone is in; all its dates are relative to it.
    pub now: Timestamp,
    /// Leave part of the library in a write-ahead log, as on every living phone.
    pub live_wal: bool,
    /// About how many bytes all originals together have; `None`: about 100 MB, more for very many.
    pub media_bytes: Option<u64>,
    /// How large each file is.
    pub sizes: Sizes,
    /// Let what only fills files up be holes, which take no place on a disk whose file system has them. The bytes that
    /// are read are others then, and always the same. More than 4 GiB are made so in any case.
    pub sparse: bool,
    /// A new or empty folder for the originals that are only in iCloud, as their owner would download them.
    pub originals: Option<PathBuf>,
}

impl Default for NewOptions {
    fn default() -> Self {
        Self {
            scenario: "healthy".to_owned(),
            ios: "18.4.1".to_owned(),
            photos: None,
            seed: 1,
            temper: Temper::Harsh,
            name: None,
            now: Timestamp::now(),
            live_wal: true,
            media_bytes: None,
            sizes: Sizes::default(),
            sparse: false,
            originals: None,
        }
    }
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// The phone's unique id, with its hyphen.
    pub udid: String,
    /// Its name.
    pub name: String,
    /// e.g. `18.4.1`.
    pub ios_version: String,
    /// The scenario it was made from.
    pub scenario: &'static Scenario,
    /// What the library must be counted to hold.
    pub counts: Counts,
    /// Files below `media/`.
    pub media_files: u64,
    /// Their bytes.
    pub media_bytes: u64,
    /// Of these files, those that are pictures or belong to one: what a copy of the photos takes.
    pub picture_files: u64,
    /// Their bytes.
    pub picture_bytes: u64,
    /// Originals that were written as iCloud holds them.
    pub original_files: u64,
}

/// Why no phone was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No scenario of that name.
    #[error("no scenario is called {0:?}; `sim new --list` names them")]
    UnknownScenario(String),
    /// A version of which no library is known.
    #[error("iOS {0:?} cannot be made: 13 to 18, 26 and 27 can, as in `18` or `18.4.1`")]
    UnknownIos(String),
    /// What the scenario shows came with a later iOS.
    #[error("{scenario} needs iOS {since} or later")]
    TooOld {
        /// Its name.
        scenario: &'static str,
        /// The first major version that has it.
        since: u32,
    },
    /// None, or too many.
    #[error("a phone with {0} photos cannot be made: from 1 to {max}", max = phone::PHOTOS_MAX)]
    Photos(u32),
    /// There is something already.
    #[error("{} is not empty: a phone is made into a new or an empty folder", .0.display())]
    NotEmpty(PathBuf),
    /// The disk said no.
    #[error("cannot write {}: {error}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
    /// SQLite said no.
    #[error("cannot write the database {}: {error}", .path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// What it said.
        error: rusqlite::Error,
    },
}

/// Makes the folder of a phone at `dir`, which must be new or empty.
///
/// # Errors
/// An option that cannot be, a folder in use, or a disk or database that said no. What was written by then is left.
pub fn create(dir: &Path, options: &NewOptions) -> Result<Created, Error> {
    let scenario = scenario::find(&options.scenario)?;
    let mut phone = Phone::healthy(options, options.photos.unwrap_or(scenario.photos))?;
    if phone.ios.major < scenario.since {
        return Err(Error::TooOld { scenario: scenario.name, since: scenario.since });
    }
    scenario.shape(&mut phone);
    phone.mix.fit(phone.ios.major);
    let mut folder = Folder::create(dir)?;
    let mut assets = assets::plan(&phone);
    let mut originals = options.originals.as_deref().map(Originals::create).transpose()?;
    media::write(&phone, &mut assets, &mut folder, &mut originals)?;
    let original_files = originals.map_or(Ok(0), |originals| originals.finish(&assets))?;
    library::write(&phone, &assets, &mut folder)?;
    cpl::write(&phone, &assets, &mut folder)?;
    device::write(&phone, scenario, &mut folder)?;
    domains::write(&phone, &mut folder)?;
    let written = folder.finish()?;
    Ok(Created {
        udid: phone.udid,
        name: phone.name,
        ios_version: phone.ios.version,
        scenario,
        counts: assets::count(&assets),
        media_files: written.files,
        media_bytes: written.bytes,
        picture_files: written.picture_files,
        picture_bytes: written.picture_bytes,
        original_files,
    })
}

#[cfg(test)]
mod tests;
