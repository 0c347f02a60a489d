//! The assets of the library, decided one by one before anything is written: library, files and the engine's own
//! records are three views of this list.

use jiff::{SignedDuration, Timestamp};

use super::kind::Kind;
use super::mix::Mix;
use super::phone::Phone;
use super::random::Random;
use crate::facts::{Counts, Fingerprint, Owner, Place, Upload};

/// One frame of a burst.
#[derive(Debug, Clone)]
pub(super) struct Burst {
    pub(super) uuid: String,
    pub(super) picked: bool,
}

/// One asset.
#[derive(Debug, Clone)]
pub(super) struct Asset {
    pub(super) uuid: String,
    pub(super) kind: Kind,
    pub(super) owner: Owner,
    /// Below `media/`, e.g. `DCIM/100APPLE`.
    pub(super) directory: String,
    /// Without its extension, e.g. `IMG_0001`.
    pub(super) stem: String,
    /// What it was called where it was taken.
    pub(super) original_name: String,
    pub(super) created: Timestamp,
    pub(super) added: Timestamp,
    pub(super) upload: Upload,
    pub(super) place: Place,
    /// The clip of a Live Photo, where it is not where the still is.
    pub(super) clip_place: Place,
    pub(super) trashed: Option<Timestamp>,
    pub(super) hidden: bool,
    pub(super) favourite: bool,
    pub(super) edited: bool,
    /// Saved out of a conversation in Messages.
    pub(super) syndicated: bool,
    /// In the iCloud Shared Photo Library.
    pub(super) in_shared_library: bool,
    /// Removed for good: only the row still waits for its own removal.
    pub(super) expunged: bool,
    pub(super) burst: Option<Burst>,
    /// Bytes of the original, of the clip or RAW beside it, of the edit: known when the files are written; for what is
    /// only in iCloud, as the library states them.
    pub(super) bytes: u64,
    pub(super) second_bytes: u64,
    pub(super) edit_bytes: u64,
    /// The fingerprints of the original, and of the clip or RAW beside it: known when the files are written, unless they
    /// are mostly holes.
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) second_fingerprint: Option<Fingerprint>,
    /// What the engine calls it where the fingerprint is not known.
    pub(super) master_name: String,
}

impl Asset {
    /// The file's name.
    pub(super) fn filename(&self) -> String {
        format!("{}.{}", self.stem, self.kind.extension())
    }

    /// Its path below `media/`.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.directory, self.filename())
    }

    /// The original is a file on the phone.
    pub(super) fn is_here(&self) -> bool {
        matches!(self.place, Place::HereAndInIcloud | Place::OnlyHere | Place::Unknown)
    }

    /// The clip of a Live Photo, or the RAW, is a file on the phone.
    pub(super) fn second_is_here(&self) -> bool {
        matches!(self.clip_place, Place::HereAndInIcloud | Place::OnlyHere | Place::Unknown)
    }

    /// The extension of the clip or RAW beside the original.
    pub(super) fn second_extension(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Live => Some("MOV"),
            Kind::RawPair => Some("DNG"),
            _ => None,
        }
    }

    /// One of `of` ways in which rows of the same meaning differ; which one follows from the asset's name.
    pub(super) fn variant(&self, of: usize) -> usize {
        self.uuid.bytes().fold(0, |sum, byte| sum * 31 % 9973 + usize::from(byte)) % of
    }

    /// What the engine calls its master: the original's fingerprint, where that is known.
    pub(super) fn master_name(&self) -> String {
        self.fingerprint.map_or_else(|| self.master_name.clone(), |fingerprint| fingerprint.to_string())
    }

    /// The engine knows it.
    pub(super) fn is_queued(&self) -> bool {
        self.owner == Owner::Own && self.upload != Upload::NeverQueued
    }
}

/// The sorts of which the owner's library consists, in the order in which they are planned: what waits is newest.
fn sorts(mix: &Mix) -> Vec<(u32, Upload, Place, Place)> {
    use Place::{HereAndInIcloud as Both, InNeither, OnlyHere, OnlyInIcloud, Unknown};
    use Upload::{Failed, NeverQueued, Uploaded, Waiting};
    vec![
        (mix.only_in_icloud, Uploaded, OnlyInIcloud, OnlyInIcloud),
        (mix.in_neither, Uploaded, InNeither, InNeither),
        (mix.place_unknown, Uploaded, Unknown, Unknown),
        (mix.clip_only_in_icloud, Uploaded, Both, OnlyInIcloud),
        (mix.uploaded, Uploaded, Both, Both),
        (mix.never_queued, NeverQueued, OnlyHere, OnlyHere),
        (mix.failed, Failed, OnlyHere, OnlyHere),
        (mix.waiting, Waiting, OnlyHere, OnlyHere),
    ]
}

/// All assets of the phone, the oldest first; those that are not the owner's, and the trashed, at the end.
pub(super) fn plan(phone: &Phone) -> Vec<Asset> {
    let mut planner = Planner::new(phone);
    let settled: u32 = sorts(&phone.mix).iter().take(6).map(|sort| sort.0).sum();
    let backlog = phone.mix.failed + phone.mix.waiting;
    let mut at = 0;
    for (count, upload, place, clip_place) in sorts(&phone.mix) {
        for _ in 0..count {
            let added = if at < settled {
                planner.settled_time(at, settled)
            } else {
                planner.backlog_time(at - settled, backlog)
            };
            let kind = planner.kind(clip_place != place);
            planner.add(kind, Owner::Own, upload, place, clip_place, added);
            at += 1;
        }
    }
    planner.mark_up();
    planner.add_trashed();
    planner.add_foreign();
    planner.assets
}

struct Planner<'a> {
    phone: &'a Phone,
    random: Random,
    assets: Vec<Asset>,
    /// The number of the camera's next file.
    number: u32,
    shared_folder: String,
}

/// The first kinds of every library, so that also a small one has each; then by weight.
const FIRST_KINDS: [Kind; 12] = [
    Kind::Live,
    Kind::Jpeg,
    Kind::Heic,
    Kind::Video,
    Kind::Screenshot,
    Kind::RawPair,
    Kind::Live,
    Kind::Jpeg,
    Kind::SlowMotion,
    Kind::Panorama,
    Kind::ScreenRecording,
    Kind::Live,
];

/// Days over which a library has grown.
const GROWN_DAYS: i64 = 3 * 365;

impl<'a> Planner<'a> {
    fn new(phone: &'a Phone) -> Self {
        let mut random = Random::new(phone.seed, "assets");
        let person = random.digits(11);
        let shared_folder = format!("PhotoData/PhotoCloudSharingData/{person}/{}/100CLOUD", random.uuid());
        let assets = Vec::with_capacity(phone.mix.own() as usize);
        Self { phone, random, assets, number: 1, shared_folder }
    }

    /// When the asset at `at` of `of` came in, of those that are settled.
    fn settled_time(&mut self, at: u32, of: u32) -> Timestamp {
        let newest = self.phone.cloud.backlog_days.max(1) + 1;
        let span = (GROWN_DAYS - newest) * 86_400;
        let step = span / i64::from(of.max(1));
        let jitter = i64::try_from(self.random.below(step.unsigned_abs().max(1))).unwrap_or(0);
        self.phone.ago(GROWN_DAYS * 86_400 - i64::from(at) * step - jitter)
    }

    /// When the asset at `at` of `of` came in, of those that wait or failed. Without a backlog of days they came
    /// after the last sync.
    fn backlog_time(&mut self, at: u32, of: u32) -> Timestamp {
        let (from, to) = match self.phone.cloud.backlog_days {
            0 => (self.phone.cloud.synced_s_ago - 600, 300),
            days => (days * 86_400, 30 * 3600),
        };
        let step = (from - to) / i64::from(of.max(1));
        self.phone.ago(from - i64::from(at) * step)
    }

    fn kind(&mut self, needs_clip: bool) -> Kind {
        if needs_clip {
            return Kind::Live;
        }
        if let Some(kind) = FIRST_KINDS.get(self.assets.len()) {
            return *kind;
        }
        match self.random.below(100) {
            0..=39 => Kind::Live,
            40..=62 => Kind::Jpeg,
            63..=77 => Kind::Heic,
            78..=84 => Kind::Video,
            85..=93 => Kind::Screenshot,
            94..=95 => Kind::RawPair,
            96 => Kind::Panorama,
            97..=98 => Kind::SlowMotion,
            _ => Kind::ScreenRecording,
        }
    }

    fn add(&mut self, kind: Kind, owner: Owner, upload: Upload, place: Place, clip: Place, added: Timestamp) {
        let uuid = self.random.uuid();
        // Files are dated to the nanosecond.
        let part = SignedDuration::from_nanos(i64::try_from(self.random.below(999_999_999)).unwrap_or(0));
        let added = added.checked_add(part).unwrap_or(added);
        let number = self.number;
        let stem = format!("IMG_{:04}", number % 10_000);
        let directory = format!("DCIM/{}APPLE", 100 + number / 1000);
        self.number += if number % 1000 == 999 { 2 } else { 1 };
        self.assets.push(Asset {
            uuid,
            kind,
            owner,
            directory,
            original_name: format!("{stem}.{}", kind.extension()),
            stem,
            created: added,
            added,
            upload,
            place,
            clip_place: clip,
            trashed: None,
            hidden: false,
            favourite: false,
            edited: false,
            syndicated: false,
            in_shared_library: false,
            expunged: false,
            burst: None,
            bytes: 0,
            second_bytes: 0,
            edit_bytes: 0,
            fingerprint: None,
            second_fingerprint: None,
            master_name: self.random.fingerprint(),
        });
    }

    /// Favourites, hidden, edits, bursts and what came from iCloud, among the uploaded whose original is here.
    fn mark_up(&mut self) {
        let plain: Vec<usize> = (0..self.assets.len())
            .filter(|at| {
                let asset = &self.assets[*at];
                asset.place == Place::HereAndInIcloud && asset.clip_place == asset.place
                    || asset.upload == Upload::NeverQueued
            })
            .collect();
        let mix = &self.phone.mix;
        let mut next = plain.into_iter();
        for at in next.by_ref().take(mix.unpicked as usize * 5 / 4) {
            self.make_burst_frame(at);
        }
        let mut next = self.shuffled(next.collect()).into_iter();
        for at in next.by_ref().take(mix.hidden as usize) {
            self.assets[at].hidden = true;
        }
        for at in next.by_ref().take(mix.edited as usize) {
            self.assets[at].edited = true;
        }
        for at in next.by_ref().take(mix.from_icloud as usize) {
            let group = self.random.between(1, 499);
            let asset = &mut self.assets[at];
            asset.directory = format!("PhotoData/CPLAssets/group{group}");
            asset.stem.clone_from(&asset.uuid);
        }
        for at in next.by_ref().take(mix.favourites as usize) {
            self.assets[at].favourite = true;
        }
        for at in next.by_ref().take(mix.syndicated as usize) {
            self.assets[at].syndicated = true;
        }
        for at in next.take(mix.shared_library as usize) {
            self.assets[at].in_shared_library = true;
        }
    }

    fn shuffled(&mut self, mut places: Vec<usize>) -> Vec<usize> {
        for end in (1..places.len()).rev() {
            let other = self.random.below(end as u64 + 1);
            places.swap(end, usize::try_from(other).unwrap_or(end));
        }
        places
    }

    /// Frames of bursts stand in groups of five, of which the third is picked.
    fn make_burst_frame(&mut self, at: usize) {
        let frame = self.assets.iter().filter(|asset| asset.burst.is_some()).count() % 5;
        let uuid = match self.assets.iter().rev().find_map(|asset| asset.burst.as_ref()) {
            Some(burst) if frame != 0 => burst.uuid.clone(),
            _ => self.random.uuid(),
        };
        let asset = &mut self.assets[at];
        asset.kind = Kind::Heic;
        asset.original_name = format!("{}.HEIC", asset.stem);
        asset.burst = Some(Burst { uuid, picked: frame == 2 });
    }

    fn add_trashed(&mut self) {
        let on = self.phone.is_on();
        let (upload, place) = if on {
            (Upload::Uploaded, Place::HereAndInIcloud)
        } else {
            (Upload::NeverQueued, Place::OnlyHere)
        };
        for at in 0..i64::from(self.phone.mix.trashed + self.phone.mix.expunged) {
            let added = self.phone.days_ago(60 + at);
            let kind = self.kind(false);
            self.add(kind, Owner::Own, upload, place, place, added);
            // Deleted over the last four weeks, so that something is always about to go for good.
            let deleted = self.phone.ago((at * 2 % 29) * 86_400 + 7_200 + at * 60);
            let asset = self.assets.last_mut().expect("one was just added");
            asset.trashed = Some(deleted);
            asset.expunged = at >= i64::from(self.phone.mix.trashed);
        }
    }

    fn add_foreign(&mut self) {
        let mix = self.phone.mix.clone();
        for (count, owner) in [
            (mix.shared_album, Owner::SharedAlbum),
            (mix.links, Owner::Link),
            (mix.shared_with_you, Owner::SharedWithYou),
        ] {
            for at in 0..count {
                let added = self.phone.days_ago(90 + i64::from(at));
                self.add(
                    Kind::Jpeg,
                    owner,
                    Upload::NeverQueued,
                    Place::HereAndInIcloud,
                    Place::HereAndInIcloud,
                    added,
                );
                self.number -= 1;
                let shared = self.shared_folder.clone();
                let share = self.random.uuid();
                let asset = self.assets.last_mut().expect("one was just added");
                (asset.directory, asset.stem) = match owner {
                    Owner::SharedAlbum => (shared, format!("IMG_{:04}", at + 1)),
                    Owner::Link => (format!("PhotoData/CMMAssets/{share}"), asset.uuid.clone()),
                    _ => ("PhotoData/Syndication/originals".to_owned(), asset.uuid.clone()),
                };
            }
        }
    }
}

/// What the library must be counted to hold, by the contract's rules: own assets that are not trashed.
pub(super) fn count(assets: &[Asset]) -> Counts {
    let number = |holds: &dyn Fn(&Asset) -> bool| {
        let own = |asset: &&Asset| asset.owner == Owner::Own && asset.trashed.is_none() && holds(asset);
        Some(assets.iter().filter(own).count() as u64)
    };
    let up = |upload| number(&move |asset: &Asset| asset.upload == upload);
    let place = |place| number(&move |asset: &Asset| asset.place.max(asset.clip_place) == place);
    let all = |holds: fn(&Asset) -> bool| Some(assets.iter().filter(|asset| holds(asset)).count() as u64);
    Counts {
        assets: number(&|_| true),
        uploaded: up(Upload::Uploaded),
        waiting: up(Upload::Waiting),
        failed: up(Upload::Failed),
        never_queued: up(Upload::NeverQueued),
        originals_here_and_in_icloud: place(Place::HereAndInIcloud),
        originals_only_here: place(Place::OnlyHere),
        originals_only_in_icloud: place(Place::OnlyInIcloud),
        originals_in_neither: place(Place::InNeither),
        originals_place_unknown: place(Place::Unknown),
        recently_deleted: all(|asset| asset.trashed.is_some() && !asset.expunged),
        hidden: number(&|asset| asset.hidden),
        shared_album_only: all(|asset| asset.owner == Owner::SharedAlbum),
        burst_frames_unpicked: number(&|asset| asset.burst.as_ref().is_some_and(|burst| !burst.picked)),
    }
}
