//! One row of the library, joined with its master, its names and its originals, to an asset.

use std::collections::HashMap;

use super::cells::{Cells, Number};
use super::rows::{Named, Original};
use super::schema::Schema;
use super::unknown::Unknown;
use crate::facts::path::is_clean_relative;
use crate::facts::{Asset, AssetKind, Gap, Owner, Place, Resource, ResourceKind, Upload};

/// Original resources of one asset that are kept; real ones have at most three.
const RESOURCES_PER_ASSET_MAX: usize = 8;
/// `ZCLOUDLOCALSTATE` of asset and master: quarantined, the phone gave it up.
const STATE_FAILED: i64 = 4;
/// `ZCLOUDLOCALSTATE` of master and resource: in iCloud.
const STATE_SYNCED: i64 = 3;
/// `ZTRASHEDSTATE`: removed for good, a row that only waits for its own removal.
const TRASHED_EXPUNGED: i64 = 2;
/// Bit of `ZAVALANCHEPICKTYPE`: a burst frame that was not picked.
const PICK_TYPE_UNPICKED: i64 = 2;

/// The columns of the assets' table that are read: their place in a row of the scan.
mod column {
    pub(super) const KEY: usize = 0;
    pub(super) const UUID: usize = 1;
    pub(super) const DIRECTORY: usize = 2;
    pub(super) const FILENAME: usize = 3;
    pub(super) const KIND: usize = 4;
    pub(super) const KIND_SUBTYPE: usize = 5;
    pub(super) const CREATED: usize = 6;
    pub(super) const ADDED: usize = 7;
    pub(super) const TRASHED_STATE: usize = 8;
    pub(super) const TRASHED_DATE: usize = 9;
    pub(super) const HIDDEN: usize = 10;
    pub(super) const FAVOURITE: usize = 11;
    pub(super) const VISIBILITY: usize = 12;
    pub(super) const SAVED_TYPE: usize = 13;
    pub(super) const BUNDLE_SCOPE: usize = 14;
    pub(super) const CLOUD_STATE: usize = 15;
    pub(super) const MASTER: usize = 16;
    pub(super) const ATTRIBUTES: usize = 17;
    pub(super) const PICK_TYPE: usize = 18;
    pub(super) const BURST: usize = 19;
}

/// Their names, in the order of [`column`].
pub(super) const COLUMNS: [&str; 20] = [
    "Z_PK",
    "ZUUID",
    "ZDIRECTORY",
    "ZFILENAME",
    "ZKIND",
    "ZKINDSUBTYPE",
    "ZDATECREATED",
    "ZADDEDDATE",
    "ZTRASHEDSTATE",
    "ZTRASHEDDATE",
    "ZHIDDEN",
    "ZFAVORITE",
    "ZVISIBILITYSTATE",
    "ZSAVEDASSETTYPE",
    "ZBUNDLESCOPE",
    "ZCLOUDLOCALSTATE",
    "ZMASTER",
    "ZADDITIONALATTRIBUTES",
    "ZAVALANCHEPICKTYPE",
    "ZAVALANCHEUUID",
];

/// What the rows of the assets' table are joined with.
pub(super) struct Reading<'a> {
    pub(super) schema: &'a Schema,
    pub(super) masters: HashMap<i64, Number>,
    pub(super) names: HashMap<i64, Named>,
    pub(super) originals: Vec<Original>,
    /// The albums that an asset is in, by its row.
    pub(super) members: HashMap<i64, Vec<u32>>,
    pub(super) unknown: Unknown,
    pub(super) unclean_paths: u64,
    pub(super) text_bytes: usize,
}

impl Reading<'_> {
    /// One row; `None` for one that is removed for good.
    pub(super) fn asset(&mut self, cells: &Cells<'_>) -> Option<Asset> {
        let key = cells.whole(column::KEY)?;
        let trashed_state = self.trashed_state(cells);
        if trashed_state == Some(TRASHED_EXPUNGED) {
            return None;
        }
        let owner = self.owner(cells);
        let named = cells.whole(column::ATTRIBUTES).and_then(|key| self.names.remove(&key));
        let path = self.path(cells, owner);
        let resources =
            if owner == Owner::Own { self.resources(key, &path, named.as_ref()) } else { Vec::new() };
        let place = resources.iter().map(|resource| resource.place).max().unwrap_or(Place::Unknown);
        let asset = Asset {
            uuid: uuid(cells.text(column::UUID), key),
            original_name: named.and_then(|named| named.name).map(String::from),
            kind: kind(cells, &resources),
            owner,
            created: cells.time(column::CREATED),
            added: cells.time(column::ADDED),
            trashed: (trashed_state == Some(1)).then(|| cells.time(column::TRASHED_DATE)),
            hidden: self.unknown.flag("ZASSET.ZHIDDEN", cells.number(column::HIDDEN)),
            favourite: cells.whole(column::FAVOURITE) == Some(1),
            burst_unpicked: self.burst_unpicked(cells),
            albums: self.members.remove(&key).unwrap_or_default(),
            upload: self.upload(cells, owner),
            place,
            path,
            resources,
        };
        self.text_bytes += 2 * asset.path.len() + asset.uuid.len();
        Some(asset)
    }

    fn trashed_state(&mut self, cells: &Cells<'_>) -> Option<i64> {
        if !self.schema.tells_trashed() {
            return None;
        }
        self.unknown.known(
            "ZASSET.ZTRASHEDSTATE",
            cells.number(column::TRASHED_STATE),
            &[0, 1, TRASHED_EXPUNGED],
        )
    }

    /// From iOS 15 the bundle scope says it, before the kind of saving. What neither says is counted as the owner's.
    fn owner(&mut self, cells: &Cells<'_>) -> Owner {
        if self.schema.assets.has("ZBUNDLESCOPE") {
            return match self.unknown.known(
                "ZASSET.ZBUNDLESCOPE",
                cells.number(column::BUNDLE_SCOPE),
                &[0, 1, 2, 3],
            ) {
                Some(1) => Owner::Link,
                Some(2) => Owner::SharedAlbum,
                Some(3) => Owner::SharedWithYou,
                _ => Owner::Own,
            };
        }
        match cells.whole(column::SAVED_TYPE) {
            Some(4) => Owner::SharedAlbum,
            Some(8) => Owner::Link,
            Some(12) => Owner::SharedWithYou,
            _ => Owner::Own,
        }
    }

    /// Apple's own rule: in iCloud is what has a master whose state is 3.
    fn upload(&mut self, cells: &Cells<'_>, owner: Owner) -> Upload {
        if !self.schema.tells_upload() || owner != Owner::Own {
            return Upload::Waiting;
        }
        let asset = self.unknown.known(
            "ZASSET.ZCLOUDLOCALSTATE",
            cells.number(column::CLOUD_STATE),
            &[0, 1, 2, 3, STATE_FAILED],
        );
        let master_key = cells.number(column::MASTER);
        let master = match master_key {
            Number::Whole(key) => self.masters.get(&key).copied(),
            _ => None,
        };
        let master = master.and_then(|state| {
            self.unknown.known("ZCLOUDMASTER.ZCLOUDLOCALSTATE", state, &[0, 1, 2, STATE_SYNCED, STATE_FAILED])
        });
        match (asset, master) {
            (Some(STATE_FAILED), _) | (_, Some(STATE_FAILED)) => Upload::Failed,
            (Some(1..=3), Some(STATE_SYNCED)) => Upload::Uploaded,
            (Some(0), None) if master_key == Number::Null => Upload::NeverQueued,
            _ => Upload::Waiting,
        }
    }

    fn burst_unpicked(&self, cells: &Cells<'_>) -> bool {
        let assets = &self.schema.assets;
        if assets.has("ZAVALANCHEPICKTYPE") {
            return cells.whole(column::PICK_TYPE).is_some_and(|pick| pick & PICK_TYPE_UNPICKED != 0);
        }
        cells.text(column::BURST).is_some() && cells.whole(column::VISIBILITY) == Some(2)
    }

    fn path(&mut self, cells: &Cells<'_>, owner: Owner) -> String {
        let (Some(directory), Some(name)) = (cells.text(column::DIRECTORY), cells.text(column::FILENAME))
        else {
            return String::new();
        };
        let path = [directory, name].join("/");
        if is_clean_relative(&path) && !name.contains('/') {
            return path;
        }
        self.unclean_paths += u64::from(owner == Owner::Own);
        String::new()
    }

    /// The originals of the asset `key`.
    fn resources(&mut self, key: i64, path: &str, named: Option<&Named>) -> Vec<Resource> {
        let first = self.originals.partition_point(|original| original.asset < key);
        let rows = self.originals[first..].iter().take_while(|original| original.asset == key);
        let unknown = &mut self.unknown;
        let mut resources: Vec<Resource> = rows
            .take(RESOURCES_PER_ASSET_MAX + 1)
            .map(|row| {
                let original = row.kind == ResourceKind::Original;
                let fallback = named.filter(|_| original).and_then(|named| named.bytes);
                Resource {
                    kind: row.kind,
                    path: (original && !path.is_empty()).then(|| path.to_owned()),
                    stated_bytes: row.bytes.or(fallback),
                    fingerprint: row.fingerprint.or_else(|| named.filter(|_| original)?.fingerprint),
                    place: place(row, unknown),
                }
            })
            .collect();
        // A library has a hundred thousand of these lists, most of them of one.
        resources.shrink_to_fit();
        if resources.len() > RESOURCES_PER_ASSET_MAX {
            unknown.note("originals of one asset", Number::Wrong("more than 8"));
            resources.truncate(RESOURCES_PER_ASSET_MAX);
            resources.iter_mut().for_each(|resource| resource.place = Place::Unknown);
        }
        resources
    }

    /// What was noticed on the way.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        if self.unclean_paths == 0 {
            return Vec::new();
        }
        let reason = format!(
            "{} assets have a path in the library that does not lie below the media folder",
            self.unclean_paths
        );
        vec![Gap { fact: "library.paths".into(), reason }]
    }
}

/// Where an original is. `ZREMOTEAVAILABILITY` alone does not mean that it is in iCloud: it is 1 on an upload that
/// waits as well.
fn place(row: &Original, unknown: &mut Unknown) -> Place {
    let here = match row.local {
        Number::Whole(1) => Some(true),
        Number::Whole(i64::MIN..=-1) => Some(false),
        other => {
            unknown.note("ZINTERNALRESOURCE.ZLOCALAVAILABILITY", other);
            None
        }
    };
    let remote = match row.remote {
        Number::Whole(0) => Some(false),
        Number::Whole(1..) => Some(true),
        other => {
            unknown.note("ZINTERNALRESOURCE.ZREMOTEAVAILABILITY", other);
            None
        }
    };
    let state = unknown.known("ZINTERNALRESOURCE.ZCLOUDLOCALSTATE", row.state, &[0, 1, 2, STATE_SYNCED]);
    match (here, remote) {
        (Some(true), Some(true)) if state == Some(STATE_SYNCED) => Place::HereAndInIcloud,
        (Some(true), _) => Place::OnlyHere,
        (Some(false), Some(true)) => Place::OnlyInIcloud,
        (Some(false), Some(false)) => Place::InNeither,
        (None, _) | (Some(false), None) => Place::Unknown,
    }
}

/// `ZKIND` 0 photo, 1 video; `ZKINDSUBTYPE` 2 Live Photo.
fn kind(cells: &Cells<'_>, resources: &[Resource]) -> AssetKind {
    let has_clip = resources.iter().any(|resource| resource.kind == ResourceKind::LiveVideo);
    match (cells.whole(column::KIND), cells.whole(column::KIND_SUBTYPE)) {
        (Some(0), Some(2)) => AssetKind::LivePhoto,
        (Some(0), _) if has_clip => AssetKind::LivePhoto,
        (Some(0), _) => AssetKind::Photo,
        (Some(1), _) => AssetKind::Video,
        _ => AssetKind::Other,
    }
}

/// The asset's own name, if it is one that can go into file names and reports; else one made of its row.
fn uuid(text: Option<&str>, key: i64) -> String {
    let clean = |text: &&str| {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    text.filter(clean).map_or_else(|| format!("row{key}"), str::to_owned)
}
