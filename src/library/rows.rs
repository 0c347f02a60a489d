//! Rows of the library to assets: four scans, joined here rather than in SQL, so that neither a hostile schema nor a
//! missing index can make a join slow.

use std::collections::HashMap;

use super::Unreadable;
use super::albums;
use super::asset::{COLUMNS, Reading};
use super::cells::Number;
use super::schema::Schema;
use super::unknown::Unknown;
use super::untrusted::Untrusted;
use crate::facts::{Album, Asset, Fingerprint, Gap, ResourceKind};

/// More assets than any library has.
const ASSETS_MAX: usize = 1_000_000;
/// Rows of the resources' table; a library has about ten for each asset.
const RESOURCES_MAX: usize = 30_000_000;
/// All texts of all assets together, in bytes.
const TEXT_BYTES_MAX: usize = 256 << 20;
/// What the scans gave.
pub(super) struct Read {
    pub(super) assets: Vec<Asset>,
    pub(super) albums: Option<Vec<Album>>,
    pub(super) unknown: Unknown,
    pub(super) gaps: Vec<Gap>,
}

/// The name an asset was taken or imported under, and its size then.
pub(super) struct Named {
    pub(super) name: Option<Box<str>>,
    pub(super) bytes: Option<u64>,
    pub(super) fingerprint: Option<Fingerprint>,
}

/// An original resource, its states not yet judged.
pub(super) struct Original {
    pub(super) asset: i64,
    pub(super) kind: ResourceKind,
    pub(super) bytes: Option<u64>,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) local: Number,
    pub(super) remote: Number,
    pub(super) state: Number,
}

/// Reads all assets with their originals.
pub(super) fn read(database: &Untrusted, schema: &Schema) -> Result<Read, Unreadable> {
    let masters = read_masters(database, schema)?;
    let names = read_names(database, schema)?;
    let originals = read_originals(database, schema)?;
    let (albums, members) = albums::read(database, schema)?;
    let mut reading = Reading {
        schema,
        masters,
        names,
        originals,
        members,
        unknown: Unknown::default(),
        unclean_paths: 0,
        text_bytes: 0,
    };
    let mut assets = Vec::new();
    database.scan(&schema.assets, &COLUMNS, ASSETS_MAX, |cells| {
        assets.extend(reading.asset(cells));
        if reading.text_bytes > TEXT_BYTES_MAX {
            return Err(database.too_large(format!("more than {TEXT_BYTES_MAX} bytes of names")));
        }
        Ok(())
    })?;
    Ok(Read { assets, albums, gaps: reading.gaps(), unknown: reading.unknown })
}

fn read_masters(database: &Untrusted, schema: &Schema) -> Result<HashMap<i64, Number>, Unreadable> {
    let mut masters = HashMap::new();
    if let Some(table) = schema.masters.as_ref().filter(|_| schema.tells_upload()) {
        database.scan(table, &["Z_PK", "ZCLOUDLOCALSTATE"], ASSETS_MAX * 2, |cells| {
            if let Some(key) = cells.whole(0) {
                masters.insert(key, cells.number(1));
            }
            Ok(())
        })?;
    }
    Ok(masters)
}

fn read_names(database: &Untrusted, schema: &Schema) -> Result<HashMap<i64, Named>, Unreadable> {
    let mut names = HashMap::new();
    let mut text_bytes = 0;
    if let Some(table) = schema.attributes.as_ref().filter(|_| schema.tells_names()) {
        let columns = ["Z_PK", "ZORIGINALFILENAME", "ZORIGINALFILESIZE", "ZMASTERFINGERPRINT"];
        database.scan(table, &columns, ASSETS_MAX * 2, |cells| {
            let name = cells.text(1);
            text_bytes += name.map_or(0, str::len);
            if text_bytes > TEXT_BYTES_MAX {
                return Err(database.too_large(format!("more than {TEXT_BYTES_MAX} bytes of names")));
            }
            if let Some(key) = cells.whole(0) {
                let fingerprint = cells.text(3).and_then(Fingerprint::parse);
                names.insert(key, Named { name: name.map(Box::from), bytes: cells.bytes(2), fingerprint });
            }
            Ok(())
        })?;
    }
    Ok(names)
}

/// The original resources, sorted by asset. Derivatives and what belongs to shared albums are left out.
fn read_originals(database: &Untrusted, schema: &Schema) -> Result<Vec<Original>, Unreadable> {
    let mut originals = Vec::new();
    let Some(table) = schema.resources.as_ref().filter(|_| schema.tells_place()) else {
        return Ok(originals);
    };
    let columns = [
        "ZASSET",
        "ZDATASTORECLASSID",
        "ZDATASTORESUBTYPE",
        "ZDATALENGTH",
        "ZLOCALAVAILABILITY",
        "ZREMOTEAVAILABILITY",
        "ZCLOUDLOCALSTATE",
        "ZFINGERPRINT",
    ];
    database.scan(table, &columns, RESOURCES_MAX, |cells| {
        let kind = match (cells.whole(1), cells.whole(2)) {
            (Some(0), Some(1)) => ResourceKind::Original,
            (Some(0), Some(17)) => ResourceKind::Raw,
            (Some(0), Some(18)) => ResourceKind::LiveVideo,
            _ => return Ok(()),
        };
        if originals.len() >= ASSETS_MAX * 4 {
            return Err(database.too_large(format!("more than {} originals", ASSETS_MAX * 4)));
        }
        if let Some(asset) = cells.whole(0) {
            let (local, remote, state) = (cells.number(4), cells.number(5), cells.number(6));
            let fingerprint = cells.text(7).and_then(Fingerprint::parse);
            originals.push(Original {
                asset,
                kind,
                bytes: cells.bytes(3),
                fingerprint,
                local,
                remote,
                state,
            });
        }
        Ok(())
    })?;
    originals.sort_by_key(|original| original.asset);
    Ok(originals)
}
