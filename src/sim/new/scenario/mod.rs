//! The scenarios: each a change to a healthy phone, and what a diagnosis of it must say.

mod cloud;
mod device;

use std::sync::LazyLock;

use super::Error;
use super::mix::Mix;
use super::phone::{Phone, cocoa_seconds};

/// One sort of trouble.
pub struct Scenario {
    /// The name on the command line.
    pub name: &'static str,
    /// What is the case, for people.
    pub about: &'static str,
    /// The id of the finding that must come first.
    pub first: &'static str,
    /// Ids of further findings that must be there.
    pub also: &'static [&'static str],
    /// How many photos its library has unless told otherwise.
    pub photos: u32,
    /// The first major version of iOS on which this can be.
    pub since: u32,
    shape: fn(&mut Phone),
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario")
            .field("name", &self.name)
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

impl Scenario {
    pub(super) fn shape(&self, phone: &mut Phone) {
        (self.shape)(phone);
    }
}

impl Scenario {
    /// The same, on iOS `major` and later only.
    const fn since(self, major: u32) -> Self {
        Self { since: major, ..self }
    }
}

/// Every scenario, the healthy phone first.
#[must_use]
pub fn scenarios() -> &'static [&'static Scenario] {
    &SCENARIOS
}

/// The scenario called `name`.
pub(super) fn find(name: &str) -> Result<&'static Scenario, Error> {
    scenarios()
        .iter()
        .copied()
        .find(|scenario| scenario.name == name)
        .ok_or_else(|| Error::UnknownScenario(name.to_owned()))
}

const BACKUP: &str = "com.apple.mobile.backup";

/// A library of the usual size.
const PHOTOS: u32 = 120;

const fn scenario(
    name: &'static str,
    first: &'static str,
    also: &'static [&'static str],
    about: &'static str,
    shape: fn(&mut Phone),
) -> Scenario {
    Scenario { name, about, first, also, photos: PHOTOS, since: 13, shape }
}

static SCENARIOS: LazyLock<Vec<&'static Scenario>> =
    LazyLock::new(|| FIRST.iter().chain(device::SCENARIOS).chain(cloud::SCENARIOS).collect());

const FIRST: &[Scenario] = &[
    scenario(
        "healthy",
        "photos-not-copied",
        &[],
        "everything is where it should be; nothing is copied yet",
        |_| {},
    ),
    Scenario {
        photos: 240,
        ..scenario(
            "demo",
            "icloud-storage-full",
            &[
                "uploads-failed",
                "icloud-backup-stale",
                "recently-deleted",
                "hidden-photos",
                "shared-album-only",
            ],
            "iCloud is full: 37 photos exist only on the phone, 7 of them failed; iCloud Backup is stale",
            demo,
        )
    },
    Scenario {
        photos: 240,
        ..scenario(
            "mixed",
            "originals-missing",
            &["uploads-stuck", "uploads-failed", "originals-only-in-icloud", "shared-album-only"],
            "one photo or more in every state that a library knows",
            mixed,
        )
    },
];

/// One asset or more of every sort.
fn mixed(phone: &mut Phone) {
    for (many, to) in [
        (6, (|mix| &mut mix.waiting) as fn(&mut Mix) -> &mut u32),
        (4, |mix| &mut mix.failed),
        (3, |mix| &mut mix.never_queued),
        (8, |mix| &mut mix.only_in_icloud),
        (3, |mix| &mut mix.clip_only_in_icloud),
        (1, |mix| &mut mix.in_neither),
    ] {
        phone.mix.move_from_uploaded(many, to);
    }
    phone.mix = Mix {
        hidden: 3,
        edited: 12,
        syndicated: 5,
        shared_library: 6,
        trashed: 8,
        expunged: 3,
        shared_album: 6,
        links: 2,
        shared_with_you: 3,
        ..phone.mix.clone()
    };
    phone.cloud.backlog_days = 12;
    phone.cloud.optimise = true;
}

/// The phone of `--demo`.
fn demo(phone: &mut Phone) {
    let photos = phone.mix.own();
    let part = |of_240: u32| (of_240 * photos).div_ceil(240);
    phone.mix.move_from_uploaded(part(30), |mix| &mut mix.waiting);
    phone.mix.move_from_uploaded(part(7), |mix| &mut mix.failed);
    phone.mix = Mix { hidden: part(3), trashed: part(12), shared_album: part(5), ..phone.mix.clone() };
    phone.cloud.backlog_days = 34;
    phone.status("isExceedingQuota", true);
    phone.value(BACKUP, "LastCloudBackupDate", cocoa_seconds(phone.days_ago(41)));
    for key in ["LastiTunesBackupDate", "LastiTunesBackupTZ"] {
        phone.no_value(BACKUP, key);
    }
    phone.backup_error = Some(303);
}

/// Photos that wait, for the reason that the scenario names.
fn waiting(phone: &mut Phone, photos: u32) {
    phone.mix.move_from_uploaded(photos, |mix| &mut mix.waiting);
    phone.cloud.backlog_days = 3;
}

/// Photos that have waited for weeks.
fn stuck(phone: &mut Phone, photos: u32) {
    phone.mix.move_from_uploaded(photos, |mix| &mut mix.waiting);
    phone.cloud.backlog_days = 24;
}
