//! Worlds for the tests of the judgement: first the truth about a phone and its copies, then what is observed of it.
//!
//! A world is drawn from a tape of bytes. A zero takes the harmless choice, so that a short or sparse tape is a phone
//! with little wrong, and shrinking a tape shrinks the trouble.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use crate::backup::verify::{BackupProof, ProvenMedia, Refused};
use crate::facts::{
    Asset, AssetKind, Counts, Device, Engine, Fact, Facts, Maybe, MediaFile, MediaListing, Owner, Place,
    Reach, Resource, ResourceKind, Source, Upload,
};
use crate::photos::verify::{PhotosProof, ProvenFile};
use crate::remedy::{Accept, Consent, Moment, Proofs};

pub(crate) const UDID: &str = "00008101-000000000000001E";
const OTHER_UDID: &str = "00008101-0000000000000002";
const NOW: i64 = 1_790_000_000;

/// Choices, one byte each; zeros when it has run out.
pub(crate) struct Tape<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tape<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// One of them; the first is the harmless one.
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }
}

/// What is on the phone's disk for one original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    Full,
    Larger,
    Smaller,
    Absent,
    /// There, and AFC does not even let it be looked at.
    Refused,
}

/// What a copy of ours holds of one original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// Exactly what is (or, if it has left the phone, was) there.
    Exact,
    Nothing,
    /// Of another day.
    Stale,
    /// Cut or damaged.
    Broken,
    /// Of another size.
    OtherSize,
    /// In an encrypted backup that nobody could look into.
    Sealed,
}

#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) claim: Place,
    pub(crate) disk: Disk,
    pub(crate) pulled: Held,
    pub(crate) backed_up: Held,
    pub(crate) size_stated: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Photo {
    pub(crate) own: bool,
    pub(crate) trashed: bool,
    pub(crate) upload: Upload,
    pub(crate) adopted: bool,
    /// None at all: the library has no row that says where it is.
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LibraryRead {
    Yes,
    Refused,
    ColumnMissing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Read,
    Refused,
    NoFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cloud {
    There,
    Wiped,
    ContainerWiped,
    Scheduled,
    NotMentioned,
    Denied,
    NobodyKnows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Exact,
    CountsTrashed,
    CountsWhatWaits,
    CountsTrashedAndWhatWaits,
    TooMany,
    TooFew,
    Between,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    Done,
    NotDone,
    RefusedPhotos,
    RefusedElsewhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToDownload {
    NoFile,
    None,
    Some(u64),
    Refused,
}

#[derive(Debug, Clone)]
pub(crate) struct Backup {
    pub(crate) other_phone: bool,
    pub(crate) lacks_messages: bool,
    pub(crate) encrypted: bool,
    pub(crate) password_known: bool,
    pub(crate) age_minutes: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) reach: Reach,
    pub(crate) device: bool,
    pub(crate) read_minutes_ago: i64,
    pub(crate) library: LibraryRead,
    pub(crate) unknown_state: bool,
    pub(crate) status: Status,
    pub(crate) enabled: Option<bool>,
    pub(crate) cloud: Cloud,
    pub(crate) server: Server,
    pub(crate) to_download: ToDownload,
    pub(crate) walk: Walk,
    pub(crate) photos: Vec<Photo>,
    /// Edits on the phone, each copied or not.
    pub(crate) edits: Vec<bool>,
    pub(crate) has_photos_proof: bool,
    pub(crate) photos_proof_of_other_phone: bool,
    pub(crate) backup: Option<Backup>,
    pub(crate) remembers_backup: bool,
    pub(crate) find_my: Option<bool>,
    pub(crate) level: Option<u8>,
    pub(crate) charging: Option<bool>,
    pub(crate) current_ma: Option<i64>,
    pub(crate) accepted: BTreeSet<Accept>,
    pub(crate) plugged_in_minutes_ago: Option<i64>,
}

impl World {
    /// The world on a tape.
    pub(crate) fn draw(tape: &mut Tape<'_>) -> Self {
        let photos = (0..tape.of(&[2, 1, 0, 4, 6])).map(|_| draw_photo(tape)).collect();
        let mut world = Self {
            reach: tape.of(&[Reach::Trusted, Reach::NotTrusted, Reach::KeyMismatch]),
            device: tape.of(&[true, true, true, false]),
            read_minutes_ago: tape.of(&[0, 29, 31, 600]),
            library: tape.of(&[LibraryRead::Yes, LibraryRead::Refused, LibraryRead::ColumnMissing]),
            unknown_state: tape.of(&[false, false, true]),
            status: tape.of(&[Status::Read, Status::Refused, Status::NoFile]),
            enabled: tape.of(&[Some(true), Some(false), None]),
            cloud: tape.of(&[
                Cloud::There,
                Cloud::Wiped,
                Cloud::ContainerWiped,
                Cloud::Scheduled,
                Cloud::NotMentioned,
                Cloud::Denied,
                Cloud::NobodyKnows,
            ]),
            server: tape.of(&[
                Server::Exact,
                Server::CountsTrashed,
                Server::CountsWhatWaits,
                Server::CountsTrashedAndWhatWaits,
                Server::TooMany,
                Server::TooFew,
                Server::Between,
                Server::Unknown,
            ]),
            to_download: tape.of(&[
                ToDownload::NoFile,
                ToDownload::None,
                ToDownload::Some(1),
                ToDownload::Some(5),
                ToDownload::Refused,
            ]),
            walk: tape.of(&[Walk::Done, Walk::RefusedElsewhere, Walk::NotDone, Walk::RefusedPhotos]),
            photos,
            edits: (0..tape.of(&[1, 0, 2])).map(|_| tape.of(&[true, true, false])).collect(),
            has_photos_proof: tape.of(&[true, true, false]),
            photos_proof_of_other_phone: tape.of(&[false, false, false, true]),
            backup: draw_backup(tape),
            remembers_backup: tape.of(&[true, false]),
            find_my: tape.of(&[Some(false), Some(true), None]),
            level: tape.of(&[Some(80), Some(50), Some(49), Some(20), Some(19), Some(255), None]),
            charging: tape.of(&[Some(true), Some(false), None]),
            current_ma: tape.of(&[None, Some(500), Some(-80), Some(0)]),
            accepted: BTreeSet::new(),
            plugged_in_minutes_ago: tape.of(&[Some(90), None, Some(600)]),
        };
        for accept in Accept::ALL {
            if tape.of(&[false, true]) {
                world.accepted.insert(accept);
            }
        }
        world
    }

    fn seen(&self, photo: &Photo) -> bool {
        self.library == LibraryRead::Yes && photo.own
    }

    pub(crate) fn uploaded(&self, trashed: bool) -> u64 {
        let own = self.photos.iter().filter(|photo| self.seen(photo) && photo.trashed == trashed);
        own.filter(|photo| photo.upload == Upload::Uploaded).count() as u64
    }

    pub(crate) fn explains(&self) -> u64 {
        let waiting =
            self.photos.iter().filter(|p| self.seen(p) && p.upload == Upload::Waiting).count() as u64;
        waiting + if let ToDownload::Some(number) = self.to_download { number } else { 0 }
    }

    /// What the server says, and whether that agrees.
    pub(crate) fn server_says(&self) -> (Option<u64>, bool) {
        let (live, trashed, more) = (self.uploaded(false), self.uploaded(true), self.explains());
        match self.server {
            Server::Exact => (Some(live), true),
            Server::CountsTrashed => (Some(live + trashed), true),
            Server::CountsWhatWaits => (Some(live + more), true),
            Server::CountsTrashedAndWhatWaits => (Some(live + trashed + more), true),
            Server::TooMany => (Some(live + trashed + more + 1), false),
            Server::TooFew if live > 0 => (Some(live - 1), false),
            Server::TooFew => (Some(live), true),
            Server::Between if live + more + 1 < live + trashed => (Some(live + more + 1), false),
            Server::Between => (Some(live), true),
            Server::Unknown => (None, false),
        }
    }
}

fn draw_photo(tape: &mut Tape<'_>) -> Photo {
    let parts = tape.of(&[1, 2, 1, 1, 1, 1, 0]);
    Photo {
        own: tape.of(&[true, true, true, false]),
        trashed: tape.of(&[false, true]),
        upload: tape.of(&[Upload::Uploaded, Upload::Waiting, Upload::Failed, Upload::NeverQueued]),
        adopted: tape.of(&[false, true]),
        parts: (0..parts).map(|_| draw_part(tape)).collect(),
    }
}

fn draw_part(tape: &mut Tape<'_>) -> Part {
    let claim = tape.of(&[
        Place::HereAndInIcloud,
        Place::OnlyHere,
        Place::OnlyInIcloud,
        Place::OnlyInIcloud,
        Place::InNeither,
        Place::Unknown,
    ]);
    let here = matches!(claim, Place::HereAndInIcloud | Place::OnlyHere);
    let disk = tape.of(&[Disk::Full, Disk::Larger, Disk::Full, Disk::Smaller, Disk::Absent, Disk::Refused]);
    Part {
        claim,
        disk: if here { disk } else { Disk::Absent },
        pulled: tape.of(&[Held::Exact, Held::Nothing, Held::Stale, Held::Broken, Held::OtherSize]),
        backed_up: tape.of(&[
            Held::Exact,
            Held::Nothing,
            Held::Stale,
            Held::Broken,
            Held::Sealed,
            Held::OtherSize,
        ]),
        size_stated: tape.of(&[true, true, false]),
    }
}

fn draw_backup(tape: &mut Tape<'_>) -> Option<Backup> {
    tape.of(&[true, true, true, false]).then(|| Backup {
        other_phone: tape.of(&[false, false, false, true]),
        lacks_messages: tape.of(&[false, false, true]),
        encrypted: tape.of(&[true, false]),
        password_known: tape.of(&[true, false]),
        age_minutes: tape.of(&[60, 120, 121, 500, 100_000, -30]),
    })
}

// -- what is observed of a world --

/// A world as the judgement sees it.
pub(crate) struct Observed {
    pub(crate) facts: Facts,
    photos: Option<PhotosProof>,
    backup: Option<BackupProof>,
    pub(crate) consent: Consent,
    pub(crate) moment: Moment,
}

impl Observed {
    pub(crate) fn proofs(&self) -> Proofs<'_> {
        Proofs { photos: self.photos.as_ref(), backup: self.backup.as_ref() }
    }
}

fn fact<T>(value: T) -> Maybe<T> {
    Some(Fact::new(value, Source::new("test", "key")))
}

fn minutes_ago(minutes: i64) -> Timestamp {
    Timestamp::from_second(NOW).unwrap() - SignedDuration::from_mins(minutes)
}

const MTIME_S: i64 = 1_700_000_000;
const STATED: u64 = 1_000;

fn path_of(photo: usize, part: usize) -> String {
    format!("DCIM/100APPLE/IMG_{photo:04}_{part}.HEIC")
}

fn file(path: String, size: u64) -> MediaFile {
    MediaFile { path, size, mtime_ns: MTIME_S * 1_000_000_000, birthtime_ns: 0 }
}

impl World {
    pub(crate) fn observe(&self) -> Observed {
        let mut facts = Facts {
            reach: self.reach,
            device: self.device.then(|| Device { udid: UDID.to_owned(), ..Device::default() }),
            observed_at: minutes_ago(self.read_minutes_ago),
            ..Facts::default()
        };
        self.observe_library(&mut facts);
        self.observe_icloud(&mut facts);
        self.observe_walk(&mut facts);
        facts.settings.find_my = self.find_my.and_then(fact);
        facts.battery.level_percent = self.level.and_then(fact);
        facts.battery.charging = self.charging.and_then(fact);
        facts.battery.current_ma = self.current_ma.and_then(fact);
        facts.local_backup.last_backup = self.remembers_backup.then(|| minutes_ago(600)).and_then(fact);
        Observed {
            facts,
            photos: self.photos_proof(),
            backup: self.backup_proof(),
            consent: Consent { accepted: self.accepted.clone() },
            moment: Moment {
                now: minutes_ago(0),
                plugged_in_since: self.plugged_in_minutes_ago.map(minutes_ago),
            },
        }
    }

    fn observe_library(&self, facts: &mut Facts) {
        if self.library == LibraryRead::Refused {
            facts.gap("library", "status 10");
            return;
        }
        let assets = self.photos.iter().enumerate().map(|(at, photo)| asset(at, photo)).collect();
        facts.library.assets = Some(assets);
        let some = Some(0);
        facts.library.counts = Counts {
            assets: some,
            uploaded: some,
            waiting: some,
            failed: some,
            never_queued: some,
            originals_here_and_in_icloud: some,
            originals_only_here: some,
            originals_only_in_icloud: some,
            originals_in_neither: some,
            originals_place_unknown: some,
            recently_deleted: (self.library == LibraryRead::Yes).then_some(0),
            ..Counts::default()
        };
        if self.unknown_state {
            facts.library.unknown_states.push("ZCLOUDLOCALSTATE=7 (3)".to_owned());
        }
    }

    fn observe_icloud(&self, facts: &mut Facts) {
        let photos = &mut facts.icloud_photos;
        photos.enabled = self.enabled.and_then(fact);
        photos.server_assets = self.server_says().0.and_then(fact);
        photos.to_download = match self.to_download {
            ToDownload::Some(number) => fact(number),
            ToDownload::None => fact(0),
            ToDownload::NoFile | ToDownload::Refused => None,
        };
        if self.status == Status::Read {
            let mut engine = Engine { library_exists: fact(true), ..Engine::default() };
            match self.cloud {
                Cloud::There | Cloud::NobodyKnows => {}
                Cloud::Wiped => engine.library_wiped = fact(true),
                Cloud::ContainerWiped => engine.container_wiped = fact(true),
                Cloud::Scheduled => engine.exit_delete_time = fact(minutes_ago(-6000)),
                Cloud::NotMentioned => engine.library_exists = None,
                Cloud::Denied => engine.library_exists = fact(false),
            }
            photos.engine = Some(engine);
        }
        if self.to_download == ToDownload::Refused {
            facts.gap("icloud_photos.to_download", "status 10");
        }
        match self.status {
            Status::Refused => facts.gap("icloud_photos.engine", "status 10"),
            Status::Read if self.cloud == Cloud::NobodyKnows => {
                facts.gap("icloud_photos.engine.library_wiped", "is a string");
            }
            Status::Read | Status::NoFile => {}
        }
    }

    fn observe_walk(&self, facts: &mut Facts) {
        if self.walk == Walk::NotDone {
            facts.gap("media", "the connection broke");
            return;
        }
        let mut walk = MediaListing::default();
        for (path, part) in self.parts() {
            match part.disk {
                Disk::Full => walk.files.push(file(path, STATED)),
                Disk::Larger => walk.files.push(file(path, STATED * 2)),
                Disk::Smaller => walk.files.push(file(path, STATED / 2)),
                Disk::Absent => {}
                Disk::Refused => walk.refused.push((format!("/{path}"), "status 10".to_owned())),
            }
        }
        walk.files.extend((0..self.edits.len()).map(|at| file(edit(at), STATED)));
        walk.files.sort_by(|a, b| a.path.cmp(&b.path));
        match self.walk {
            Walk::RefusedPhotos => {
                walk.refused.push(("PhotoData/CPLAssets".to_owned(), "status 10".to_owned()))
            }
            Walk::RefusedElsewhere => walk.refused.push(("Downloads".to_owned(), "status 10".to_owned())),
            Walk::Done | Walk::NotDone => {}
        }
        facts.media = Some(walk);
    }

    fn parts(&self) -> impl Iterator<Item = (String, &Part)> {
        self.photos.iter().enumerate().flat_map(|(at, photo)| {
            photo.parts.iter().enumerate().map(move |(number, part)| (path_of(at, number), part))
        })
    }

    fn photos_proof(&self) -> Option<PhotosProof> {
        if !self.has_photos_proof {
            return None;
        }
        let mut files = HashMap::new();
        for (path, part) in self.parts() {
            if let Some(held) = held(part, part.pulled) {
                let mtime_ns = held.mtime_s * 1_000_000_000;
                let proven = ProvenFile { size: held.size, mtime_ns, sha256: [1; 32], whole: held.whole };
                files.insert(path, proven);
            }
        }
        for (at, _) in self.edits.iter().enumerate().filter(|(_, copied)| **copied) {
            let mtime_ns = MTIME_S * 1_000_000_000;
            files.insert(edit(at), ProvenFile { size: STATED, mtime_ns, sha256: [1; 32], whole: true });
        }
        let adopted = self.photos.iter().enumerate().filter(|(_, photo)| photo.adopted);
        let adopted: HashSet<String> = adopted.map(|(at, _)| uuid(at)).collect();
        let udid = if self.photos_proof_of_other_phone { OTHER_UDID } else { UDID };
        Some(PhotosProof::for_test(udid, minutes_ago(5), files, adopted))
    }

    fn backup_proof(&self) -> Option<BackupProof> {
        let backup = self.backup.as_ref()?;
        let readable = !backup.encrypted || backup.password_known;
        let mut media = HashMap::new();
        for (path, part) in self.parts() {
            if let Some(held) = held(part, part.backed_up) {
                let sha256 = (readable && part.backed_up != Held::Sealed).then_some([2; 32]);
                let proven =
                    ProvenMedia { size: held.size, mtime_s: held.mtime_s, sha256, whole: held.whole };
                media.insert(path, proven);
            }
        }
        let refused = backup.lacks_messages.then(|| Refused {
            domain: "HomeDomain".to_owned(),
            path: "Library/SMS/sms.db".to_owned(),
            code: 0x0B,
            harmless: false,
        });
        let harmless = Refused {
            domain: "HomeDomain".to_owned(),
            path: "Library/Caches/x".to_owned(),
            code: 0x0B,
            harmless: true,
        };
        Some(BackupProof::for_test(
            if backup.other_phone { OTHER_UDID } else { UDID },
            minutes_ago(backup.age_minutes),
            minutes_ago(backup.age_minutes - 1),
            backup.encrypted,
            backup.password_known,
            media,
            refused.into_iter().chain([harmless]).collect(),
        ))
    }
}

struct HeldFile {
    size: u64,
    mtime_s: i64,
    whole: bool,
}

fn held(part: &Part, how: Held) -> Option<HeldFile> {
    let size = match part.disk {
        Disk::Larger => STATED * 2,
        Disk::Smaller => STATED / 2,
        Disk::Full | Disk::Absent | Disk::Refused => STATED,
    };
    let exact = HeldFile { size, mtime_s: MTIME_S, whole: true };
    match how {
        Held::Exact | Held::Sealed => Some(exact),
        Held::Nothing => None,
        Held::Stale => Some(HeldFile { mtime_s: MTIME_S - 60, ..exact }),
        Held::Broken => Some(HeldFile { whole: false, ..exact }),
        Held::OtherSize => Some(HeldFile { size: size + 7, ..exact }),
    }
}

fn uuid(photo: usize) -> String {
    format!("UUID-{photo}")
}

fn edit(at: usize) -> String {
    format!("PhotoData/Mutations/DCIM/100APPLE/IMG_{at:04}/Adjustments/FullSizeRender.heic")
}

fn asset(at: usize, photo: &Photo) -> Asset {
    let kinds = [ResourceKind::Original, ResourceKind::LiveVideo];
    let resources: Vec<Resource> = photo
        .parts
        .iter()
        .zip(kinds)
        .enumerate()
        .map(|(number, (part, kind))| Resource {
            kind,
            // The library names the still by the asset's own path, the clip by the resource's.
            path: (number > 0).then(|| path_of(at, number)),
            stated_bytes: part.size_stated.then_some(STATED),
            place: part.claim,
        })
        .collect();
    Asset {
        uuid: uuid(at),
        path: path_of(at, 0),
        original_name: None,
        kind: AssetKind::Photo,
        owner: if photo.own { Owner::Own } else { Owner::SharedAlbum },
        created: None,
        added: None,
        trashed: photo.trashed.then_some(None),
        hidden: false,
        favourite: false,
        burst_unpicked: false,
        upload: photo.upload,
        place: resources.iter().map(|resource| resource.place).max().unwrap_or(Place::Unknown),
        resources,
    }
}
