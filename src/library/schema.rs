//! Which tables and columns this library has, and so which questions it can answer.

use super::Unreadable;
use super::untrusted::{Table, Untrusted};
use crate::facts::{Fact, Gap, Maybe, Source};
use crate::frame::{self, DictExt, Limits};

/// The tables that are read.
pub(super) struct Schema {
    /// `ZASSET`, before iOS 14 `ZGENERICASSET`.
    pub(super) assets: Table,
    /// What was handed to iCloud.
    pub(super) masters: Option<Table>,
    /// Original names and sizes.
    pub(super) attributes: Option<Table>,
    /// Files, here and in iCloud.
    pub(super) resources: Option<Table>,
    /// Albums, and who is in which.
    pub(super) albums: Option<AlbumTables>,
}

/// The tables of the albums. That of the members is named for the number of the albums' entity, which differs by
/// version: `Z_26ASSETS` has the columns `Z_26ALBUMS` and `Z_34ASSETS`.
pub(super) struct AlbumTables {
    pub(super) albums: Table,
    pub(super) members: Table,
    /// The column of `members` that names the album.
    pub(super) album_column: String,
    /// And the one that names the asset.
    pub(super) asset_column: String,
}

/// The property list in `Z_METADATA` is about 2 KiB.
const METADATA_LIMITS: Limits = Limits { bytes: 1 << 20, depth: 32, nodes: 50_000 };

impl Schema {
    /// Finds the tables; only that of the assets is indispensable.
    pub(super) fn discover(database: &Untrusted) -> Result<Self, Unreadable> {
        let assets = match database.table("ZASSET")? {
            Some(table) => table,
            None => database.table("ZGENERICASSET")?.ok_or_else(|| database.no_table("ZASSET"))?,
        };
        if !assets.has("Z_PK") {
            return Err(database.no_table("ZASSET with a column Z_PK"));
        }
        Ok(Self {
            assets,
            masters: database.table("ZCLOUDMASTER")?,
            attributes: database.table("ZADDITIONALASSETATTRIBUTES")?,
            resources: database.table("ZINTERNALRESOURCE")?,
            albums: AlbumTables::discover(database)?,
        })
    }

    /// Whether an asset is the owner's own can be told.
    pub(super) fn tells_owner(&self) -> bool {
        self.assets.has("ZBUNDLESCOPE") || self.assets.has("ZSAVEDASSETTYPE")
    }

    /// Whether an asset is in Recently Deleted can be told.
    pub(super) fn tells_trashed(&self) -> bool {
        self.assets.has("ZTRASHEDSTATE")
    }

    /// Whether an asset is in iCloud can be told.
    pub(super) fn tells_upload(&self) -> bool {
        let masters = self.masters.as_ref();
        self.assets.has("ZCLOUDLOCALSTATE")
            && self.assets.has("ZMASTER")
            && masters.is_some_and(|table| table.has("Z_PK") && table.has("ZCLOUDLOCALSTATE"))
    }

    /// Where originals are can be told.
    pub(super) fn tells_place(&self) -> bool {
        const NEEDED: [&str; 6] = [
            "ZASSET",
            "ZDATASTORECLASSID",
            "ZDATASTORESUBTYPE",
            "ZLOCALAVAILABILITY",
            "ZREMOTEAVAILABILITY",
            "ZCLOUDLOCALSTATE",
        ];
        self.resources.as_ref().is_some_and(|table| NEEDED.iter().all(|column| table.has(column)))
    }

    /// Whether an asset is in the Hidden album can be told.
    pub(super) fn tells_hidden(&self) -> bool {
        self.assets.has("ZHIDDEN")
    }

    /// Whether a burst frame was left unpicked can be told.
    pub(super) fn tells_burst(&self) -> bool {
        self.assets.has("ZAVALANCHEPICKTYPE")
            || (self.assets.has("ZAVALANCHEUUID") && self.assets.has("ZVISIBILITYSTATE"))
    }

    /// Names of originals can be joined.
    pub(super) fn tells_names(&self) -> bool {
        self.assets.has("ZADDITIONALATTRIBUTES")
            && self.attributes.as_ref().is_some_and(|table| table.has("Z_PK"))
    }

    /// What this library cannot say, by the facts that stay unknown.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut note = |told: bool, facts: &[&'static str], what: &str| {
            if !told {
                let reason = format!("this library does not have the columns that tell {what}");
                gaps.extend(facts.iter().map(|fact| Gap { fact: (*fact).into(), reason: reason.clone() }));
            }
        };
        note(self.tells_owner(), &["library.assets", "library.shared_album_only"], "whose an asset is");
        note(self.tells_trashed(), &["library.recently_deleted"], "what was deleted");
        note(
            self.tells_upload(),
            &["library.uploaded", "library.waiting", "library.failed", "library.never_queued"],
            "what was uploaded",
        );
        note(
            self.tells_place(),
            &[
                "library.originals_here_and_in_icloud",
                "library.originals_only_here",
                "library.originals_only_in_icloud",
                "library.originals_in_neither",
                "library.originals_place_unknown",
            ],
            "where originals are",
        );
        note(self.tells_hidden(), &["library.hidden"], "what is hidden");
        note(self.tells_burst(), &["library.burst_frames_unpicked"], "which burst frames were picked");
        gaps
    }
}

/// More tables than any library has.
const TABLES_MAX: usize = 5_000;

impl AlbumTables {
    /// Finds the tables of the albums; `None` when they are not there in the known form. What is not in that form is no
    /// reason to give up the rest of the library.
    fn discover(database: &Untrusted) -> Result<Option<Self>, Unreadable> {
        let Some(albums) = database.table("ZGENERICALBUM")? else { return Ok(None) };
        if !["Z_PK", "ZKIND", "ZTITLE"].iter().all(|column| albums.has(column)) {
            return Ok(None);
        }
        for name in database.table_names(TABLES_MAX)?.iter().filter(|name| is_numbered(name, "ASSETS")) {
            let Some(members) = database.table(name)? else { continue };
            let column =
                |ending| members.columns().find(|column| is_numbered(column, ending)).map(str::to_owned);
            if let (Some(album_column), Some(asset_column)) = (column("ALBUMS"), column("ASSETS")) {
                return Ok(Some(Self { albums, members, album_column, asset_column }));
            }
        }
        Ok(None)
    }
}

/// `Z_`, the number of an entity, and `ending`.
fn is_numbered(name: &str, ending: &str) -> bool {
    let number = name.strip_prefix("Z_").and_then(|rest| rest.strip_suffix(ending));
    number.is_some_and(|number| (1..=4).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit()))
}

/// `PLModelVersion` of the library, where it can be read: shown, and never used to choose columns.
pub(super) fn model_version(database: &Untrusted) -> Maybe<i64> {
    let table = database.minor_table("Z_METADATA").ok()??;
    let mut version = None;
    database
        .scan(&table, &["Z_PLIST"], 16, |cells| {
            let parsed = cells.blob(0).and_then(|bytes| frame::parse(bytes, &METADATA_LIMITS).ok());
            version =
                version.or(parsed.as_ref().and_then(|value| value.as_dictionary()?.int("PLModelVersion")));
            Ok(())
        })
        .ok()?;
    Some(Fact::new(version?, Source::new("library:Photos.sqlite", "PLModelVersion")))
}
