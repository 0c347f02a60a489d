//! Which assets are in which album: those that people made, their own and shared ones. The system's own collections
//! (imports, smart albums, progress marks) are none.

use std::collections::HashMap;

use super::Unreadable;
use super::schema::Schema;
use super::untrusted::Untrusted;
use crate::facts::Album;

/// `ZKIND` of an album that the owner made.
const KIND_OWN: i64 = 2;
/// `ZKIND` of a shared album.
const KIND_SHARED: i64 = 1505;
/// More albums than any library has.
const ALBUMS_MAX: usize = 100_000;
/// More memberships than any library has.
const MEMBERS_MAX: usize = 10_000_000;
/// Albums of one asset that are kept.
const ALBUMS_PER_ASSET_MAX: usize = 100;

/// The albums, and by the row of an asset the albums that it is in.
pub(super) type Read = (Option<Vec<Album>>, HashMap<i64, Vec<u32>>);

/// Reads all albums and their members; no albums at all where this library does not have the tables.
pub(super) fn read(database: &Untrusted, schema: &Schema) -> Result<Read, Unreadable> {
    let Some(tables) = &schema.albums else { return Ok((None, HashMap::new())) };
    let (mut albums, mut places) = (Vec::new(), HashMap::new());
    database.scan(&tables.albums, &["Z_PK", "ZKIND", "ZTITLE", "ZTRASHEDSTATE"], ALBUMS_MAX, |cells| {
        let shared = match cells.whole(1) {
            Some(KIND_OWN) => false,
            Some(KIND_SHARED) => true,
            _ => return Ok(()),
        };
        let gone = cells.whole(3).is_some_and(|state| state != 0);
        if let (Some(key), Some(title), false) = (cells.whole(0), cells.text(2), gone) {
            let place = u32::try_from(albums.len()).expect("fewer albums than their bound");
            places.insert(key, place);
            albums.push(Album { title: title.to_owned(), shared });
        }
        Ok(())
    })?;
    let mut members: HashMap<i64, Vec<u32>> = HashMap::new();
    let columns = [tables.album_column.as_str(), tables.asset_column.as_str()];
    database.scan(&tables.members, &columns, MEMBERS_MAX, |cells| {
        let place = cells.whole(0).and_then(|album| places.get(&album));
        if let (Some(place), Some(asset)) = (place, cells.whole(1)) {
            let of_asset = members.entry(asset).or_default();
            if of_asset.len() < ALBUMS_PER_ASSET_MAX && !of_asset.contains(place) {
                of_asset.push(*place);
            }
        }
        Ok(())
    })?;
    Ok((Some(albums), members))
}
