//! The rows that say which files an asset consists of, and where each of them is.

use rusqlite::types::Value;

use crate::facts::{Fingerprint, Owner, Place, Upload};
use crate::sim::new::assets::Asset;
use crate::sim::new::kind::Kind;
use crate::sim::new::schema::Rows;

/// `ZLOCALAVAILABILITY` of what another library of the phone holds.
const ELSEWHERE: i64 = -32_768;

/// One resource, as far as it differs from its neighbours.
struct Resource {
    store: i64,
    subtype: i64,
    kind: i64,
    recipe: i64,
    version: i64,
    /// Local, remote, cloud state.
    place: (i64, i64, i64),
    bytes: u64,
    fingerprint: Option<Fingerprint>,
    uniform_type: &'static str,
}

/// Writes all resources of `asset`, whose key is `key`.
pub(super) fn write(rows: &mut Rows<'_>, asset: &Asset, key: i64) -> Result<(), rusqlite::Error> {
    let all = match asset.owner {
        Owner::Own if asset.place == Place::Unknown => Vec::new(),
        Owner::Own => own(asset),
        Owner::SharedAlbum => vec![foreign(asset, 2)],
        Owner::Link => vec![foreign(asset, 0)],
        Owner::SharedWithYou => vec![foreign(asset, 3)],
    };
    for resource in all {
        rows.add("ZINTERNALRESOURCE", "InternalResource", &values(&resource, key))?;
    }
    Ok(())
}

/// `ZLOCALAVAILABILITY`, `ZREMOTEAVAILABILITY`, `ZCLOUDLOCALSTATE` of an original. What waits is already said to be
/// remote, as seen in a published library: the state is what counts.
fn original_place(place: Place, upload: Upload) -> (i64, i64, i64) {
    match (place, upload) {
        (Place::HereAndInIcloud | Place::Unknown, _) => (1, 1, 3),
        (Place::OnlyInIcloud, _) => (-1, 1, 3),
        (Place::InNeither, _) => (-1, 0, 0),
        (Place::OnlyHere, Upload::Waiting) => (1, 1, 0),
        (Place::OnlyHere, Upload::Failed) => (1, 0, 1),
        (Place::OnlyHere, _) => (1, 0, 0),
    }
}

fn own(asset: &Asset) -> Vec<Resource> {
    let base = Resource {
        store: 0,
        subtype: 1,
        kind: i64::from(asset.kind.is_video()),
        recipe: 0,
        version: 0,
        place: original_place(asset.place, asset.upload),
        bytes: asset.bytes,
        fingerprint: asset.fingerprint,
        uniform_type: asset.kind.uniform_type(),
    };
    let second = original_place(asset.clip_place, asset.upload);
    let mut all = Vec::with_capacity(6);
    match asset.kind {
        Kind::Live => all.push(Resource {
            subtype: 18,
            kind: 3,
            place: second,
            bytes: asset.second_bytes,
            fingerprint: asset.second_fingerprint,
            uniform_type: "com.apple.quicktime-movie",
            ..base
        }),
        Kind::RawPair => all.push(Resource {
            subtype: 17,
            kind: 4,
            place: second,
            bytes: asset.second_bytes,
            fingerprint: asset.second_fingerprint,
            uniform_type: "com.adobe.raw-image",
            ..base
        }),
        _ => {}
    }
    let jpeg = |subtype, recipe, version, place, bytes| Resource {
        store: 0,
        subtype,
        kind: 0,
        recipe,
        version,
        place,
        bytes,
        fingerprint: None,
        uniform_type: "public.jpeg",
    };
    if asset.upload == Upload::Uploaded {
        // Smaller versions that iCloud made; not having them here is normal.
        all.push(jpeg(4, 65_741, 0, (-1, 1, 3), 380_000));
        all.push(jpeg(5, 65_743, 0, (-1, 1, 3), 31_000));
    }
    // What a conversation gave has its thumbnail there, not here.
    let thumbnail = if asset.syndicated { (ELSEWHERE, 0, 0) } else { (1, 0, 0) };
    all.push(jpeg(0, 65_747, 3, thumbnail, 12_000));
    if asset.edited {
        let (_, remote, state) = base.place;
        all.push(jpeg(2, 65_938, 2, (1, remote, state), asset.edit_bytes));
    }
    all.insert(0, base);
    all
}

/// The one file that is kept of somebody else's asset.
fn foreign(asset: &Asset, store: i64) -> Resource {
    Resource {
        store,
        subtype: if store == 0 { 1 } else { 3 },
        kind: 0,
        recipe: if store == 0 { 0 } else { 65_741 },
        version: 0,
        place: (1, 1, 0),
        bytes: asset.bytes,
        fingerprint: asset.fingerprint,
        uniform_type: asset.kind.uniform_type(),
    }
}

fn values(resource: &Resource, key: i64) -> Vec<(&'static str, Value)> {
    let (local, remote, state) = resource.place;
    let compact = compact_type(resource.uniform_type);
    let fingerprint = resource.fingerprint.map_or(Value::Null, |print| Value::Text(print.to_string()));
    vec![
        ("ZASSET", Value::Integer(key)),
        ("ZDATASTORECLASSID", Value::Integer(resource.store)),
        ("ZDATASTORESUBTYPE", Value::Integer(resource.subtype)),
        ("ZRESOURCETYPE", Value::Integer(resource.kind)),
        ("ZRECIPEID", Value::Integer(resource.recipe)),
        ("ZVERSION", Value::Integer(resource.version)),
        ("ZLOCALAVAILABILITY", Value::Integer(local)),
        ("ZREMOTEAVAILABILITY", Value::Integer(remote)),
        ("ZCLOUDLOCALSTATE", Value::Integer(state)),
        ("ZDATALENGTH", Value::Integer(i64::try_from(resource.bytes).unwrap_or(i64::MAX))),
        ("ZFILEID", Value::Integer(-1)),
        ("ZORIENTATION", Value::Integer(1)),
        ("ZUTICONFORMANCEHINT", Value::Integer(if compact == "23" { 3 } else { 1 })),
        ("ZCOMPACTUTI", Value::Text(compact.to_owned())),
        ("ZUNIFORMTYPEIDENTIFIER", Value::Text(resource.uniform_type.to_owned())),
        ("ZFINGERPRINT", fingerprint),
    ]
}

/// The library's short form of a uniform type; what it has no number for is kept with an underscore.
fn compact_type(uniform_type: &str) -> &str {
    match uniform_type {
        "public.jpeg" => "1",
        "public.heic" => "3",
        "public.png" => "6",
        "com.apple.quicktime-movie" => "23",
        "public.mpeg-4" => "24",
        _ => "_com.adobe.raw-image",
    }
}
