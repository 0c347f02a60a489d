//! What assets are gathered in: albums, the shared library, keywords.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::writer::text;
use crate::facts::Owner;
use crate::sim::new::assets::Asset;
use crate::sim::new::phone::{Phone, cocoa};
use crate::sim::new::random::Random;
use crate::sim::new::schema::{Rows, Schema};

/// `ZKIND` of an album that the owner made, and of one that is shared.
const KIND_OWN: i64 = 2;
const KIND_SHARED: i64 = 1505;
/// `ZSCOPETYPE` of the iCloud Shared Photo Library.
const SCOPE_SHARED_LIBRARY: i64 = 4;

/// What must be known of them while assets are written: the tables of members, the keys of those that take some.
pub(super) struct Albums {
    members: Option<(&'static str, [&'static str; 3])>,
    keyword_members: Option<[&'static str; 2]>,
    trip: i64,
    family: i64,
    shared: i64,
    shared_library: i64,
    keywords: [i64; 2],
}

impl Albums {
    pub(super) fn new(schema: &Schema) -> Self {
        Self {
            members: schema.album_members(),
            keyword_members: schema.keyword_members(),
            trip: 0,
            family: 0,
            shared: 0,
            shared_library: 0,
            keywords: [0; 2],
        }
    }

    /// Writes those that every library has, and those that `phone` has.
    pub(super) fn write(
        &mut self,
        rows: &mut Rows<'_>,
        phone: &Phone,
        random: &mut Random,
    ) -> Result<(), rusqlite::Error> {
        let root = folder(rows, phone, random, 3999, "----Root-Folder----")?;
        folder(rows, phone, random, 3998, "----Project-Root-Folder----")?;
        for (kind, title) in
            [(3571, "progress-sync"), (3572, "progress-ota-restore"), (3573, "progress-fs-import")]
        {
            album(rows, phone, random, &New { kind, title: Some(title), ..New::default() })?;
        }
        let mut own = |rows: &mut Rows<'_>, title| {
            album(
                rows,
                phone,
                random,
                &New { kind: KIND_OWN, title: Some(title), folder: root, ..New::default() },
            )
        };
        self.trip = own(rows, "Sedona")?;
        self.family = own(rows, "Family")?;
        if phone.mix.shared_album > 0 {
            let guid = random.uuid();
            let title = Some("Grandma’s 80th");
            let new = New {
                entity: "CloudSharedAlbum",
                kind: KIND_SHARED,
                title,
                guid: Some(&guid),
                ..New::default()
            };
            self.shared = album(rows, phone, random, &new)?;
        }
        if phone.mix.shared_library > 0 {
            self.shared_library = shared_library(rows, phone, random)?;
        }
        for (at, title) in ["Garden", "Grandma"].into_iter().enumerate() {
            let values = [("ZTITLE", text(Some(title))), ("ZUUID", Value::Text(random.uuid()))];
            self.keywords[at] = rows.add("ZKEYWORD", "Keyword", &values)?.unwrap_or(0);
        }
        Ok(())
    }

    /// `ZLIBRARYSCOPE` of what is in the shared library.
    pub(super) fn shared_library(&self) -> Value {
        if self.shared_library == 0 { Value::Null } else { Value::Integer(self.shared_library) }
    }

    /// Puts an asset, whose key is `key`, where it belongs.
    pub(super) fn join(
        &self,
        rows: &mut Rows<'_>,
        asset: &Asset,
        key: i64,
        attributes: i64,
    ) -> Result<(), rusqlite::Error> {
        if let (Some([member, keyword]), Owner::Own, 5) = (self.keyword_members, asset.owner, key % 13) {
            let chosen = self.keywords[asset.variant(2)];
            let values = [(member, Value::Integer(attributes)), (keyword, Value::Integer(chosen))];
            rows.add_plain("Z_1KEYWORDS", &values)?;
        }
        let Some((table, [album, member, order])) = self.members else { return Ok(()) };
        let chosen = match asset.owner {
            Owner::SharedAlbum => self.shared,
            Owner::Own if asset.trashed.is_none() && key % 9 == 3 => self.trip,
            Owner::Own if asset.favourite => self.family,
            _ => return Ok(()),
        };
        let values = [
            (album, Value::Integer(chosen)),
            (member, Value::Integer(key)),
            (order, Value::Integer(key * 1024)),
        ];
        rows.add_plain(table, &values)
    }

    /// Notes how many each album has.
    pub(super) fn count(&self, database: &Connection) -> Result<(), rusqlite::Error> {
        let Some((table, [album, ..])) = self.members else { return Ok(()) };
        database.execute_batch(&format!(
            "UPDATE ZGENERICALBUM SET ZCACHEDCOUNT = (SELECT COUNT(*) FROM {table} WHERE {album} = Z_PK)
             WHERE ZKIND IN ({KIND_OWN}, {KIND_SHARED})"
        ))
    }
}

/// What of an album is not the same for all.
struct New<'a> {
    entity: &'static str,
    kind: i64,
    title: Option<&'a str>,
    folder: i64,
    guid: Option<&'a str>,
}

impl Default for New<'_> {
    fn default() -> Self {
        Self { entity: "Album", kind: KIND_OWN, title: None, folder: 0, guid: None }
    }
}

fn folder(
    rows: &mut Rows<'_>,
    phone: &Phone,
    random: &mut Random,
    kind: i64,
    guid: &str,
) -> Result<i64, rusqlite::Error> {
    album(rows, phone, random, &New { entity: "Folder", kind, guid: Some(guid), ..New::default() })
}

fn album(
    rows: &mut Rows<'_>,
    phone: &Phone,
    random: &mut Random,
    new: &New<'_>,
) -> Result<i64, rusqlite::Error> {
    let born = cocoa(phone.days_ago(1200));
    let values = [
        ("ZKIND", Value::Integer(new.kind)),
        ("ZTITLE", text(new.title)),
        ("ZUUID", Value::Text(random.uuid())),
        ("ZCLOUDGUID", text(new.guid)),
        ("ZCREATIONDATE", Value::Real(born)),
        ("ZLASTMODIFIEDDATE", Value::Real(born)),
        ("ZPARENTFOLDER", if new.folder == 0 { Value::Null } else { Value::Integer(new.folder) }),
        ("ZCUSTOMSORTASCENDING", Value::Integer(1)),
        ("ZPENDINGITEMSTYPE", Value::Integer(1)),
    ];
    Ok(rows.add("ZGENERICALBUM", new.entity, &values)?.unwrap_or(0))
}

fn shared_library(rows: &mut Rows<'_>, phone: &Phone, random: &mut Random) -> Result<i64, rusqlite::Error> {
    let since = cocoa(phone.days_ago(300));
    let values = [
        ("ZSCOPETYPE", Value::Integer(SCOPE_SHARED_LIBRARY)),
        ("ZSCOPEIDENTIFIER", Value::Text(format!("SharedSync-{}", random.uuid()))),
        ("ZUUID", Value::Text(random.uuid())),
        ("ZTITLE", text(Some("Shared Library"))),
        ("ZSTATUS", Value::Integer(1)),
        ("ZCLOUDLOCALSTATE", Value::Integer(1)),
        ("ZASSETCOUNT", Value::Integer(phone.mix.shared_library.into())),
        ("ZCLOUDITEMCOUNT", Value::Integer(phone.mix.shared_library.into())),
        ("ZCREATIONDATE", Value::Real(since)),
    ];
    Ok(rows.add("ZSHARE", "LibraryScope", &values)?.unwrap_or(0))
}
