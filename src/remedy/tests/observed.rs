//! What is observed of a world: facts, proofs, consent and the moment, as the judgement sees them.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use crate::backup::verify::{BackupProof, ProvenMedia, Refused};
use crate::facts::{
    Asset, AssetKind, Counts, Device, Engine, Fact, Facts, Maybe, MediaFile, MediaListing, Owner, Place,
    Resource, ResourceKind, Source,
};
use crate::photos::verify::{PhotosProof, ProvenFile};
use crate::remedy::{Consent, Moment, Proofs};

use super::world::{Cloud, Disk, Held, LibraryRead, Part, Photo, Status, ToDownload, Walk, World};

pub(crate) const UDID: &str = "00008101-000000000000001E";
const OTHER_UDID: &str = "00008101-0000000000000002";
const NOW: i64 = 1_790_000_000;

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
                walk.refused.push(("PhotoData/CPLAssets".to_owned(), "status 10".to_owned()));
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
                let sha256 = (readable && part.backed_up != Held::Sealed).then_some([1; 32]);
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
            fingerprint: None,
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
        albums: Vec::new(),
        upload: photo.upload,
        place: resources.iter().map(|resource| resource.place).max().unwrap_or(Place::Unknown),
        resources,
    }
}
