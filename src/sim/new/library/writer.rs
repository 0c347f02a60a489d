//! The rows of the library: albums, assets with what belongs to each, and Core Data's own bookkeeping.

use plist::{Dictionary, Value as Plist};
use rusqlite::Connection;
use rusqlite::types::Value;

use super::albums::Albums;
use super::resources;
use crate::facts::{Owner, Upload};
use crate::sim::new::assets::Asset;
use crate::sim::new::folder::binary;
use crate::sim::new::kind::Kind;
use crate::sim::new::phone::{Phone, ZONE, ZONE_OFFSET_S, cocoa, local};
use crate::sim::new::random::Random;
use crate::sim::new::schema::{Keys, Rows, Schema};

/// What the library holds as latitude and longitude where it knows no place.
const NOWHERE: f64 = -180.0;

pub(super) struct Writer<'a> {
    phone: &'a Phone,
    schema: &'a Schema,
    random: Random,
    asset_table: &'static str,
    albums: Albums,
    /// The highest key of each table so far.
    pub(super) last_keys: Keys,
}

impl<'a> Writer<'a> {
    pub(super) fn new(phone: &'a Phone, schema: &'a Schema) -> Self {
        let old = !schema.has_table("ZASSET");
        Self {
            phone,
            schema,
            random: Random::new(phone.seed, "library"),
            asset_table: if old { "ZGENERICASSET" } else { "ZASSET" },
            albums: Albums::new(schema),
            last_keys: Keys::default(),
        }
    }

    /// `Z_METADATA`: which model this is.
    pub(super) fn metadata(&self, database: &Connection) -> Result<(), rusqlite::Error> {
        let hashes = self.schema.entities().map(|(_, name, _)| {
            let mut hash = vec![0; 32];
            Random::new(self.phone.ios.library_model.unsigned_abs(), name).fill(&mut hash);
            (name, Plist::Data(hash))
        });
        let plist = Plist::Dictionary(Dictionary::from_iter([
            ("PLModelVersion", Plist::from(self.phone.ios.library_model)),
            ("NSStoreModelVersionIdentifiers", Plist::Array(vec!["".into()])),
            ("NSStoreType", "SQLite".into()),
            ("PLLegacyMigrationState", Plist::from(2)),
            ("_NSAutoVacuumLevel", "2".into()),
            ("NSPersistenceFrameworkVersion", Plist::from(1400)),
            ("NSStoreModelVersionHashesVersion", Plist::from(3)),
            ("NSStoreModelVersionHashes", Plist::Dictionary(hashes.collect())),
        ]));
        database.execute(
            "INSERT INTO Z_METADATA VALUES (1, ?, ?)",
            rusqlite::params![self.phone.store_uuid(), binary(&plist)],
        )?;
        Ok(())
    }

    /// `Z_PRIMARYKEY`: every entity and its highest key.
    pub(super) fn primary_keys(&self, database: &Connection) -> Result<(), rusqlite::Error> {
        let mut insert = database.prepare("INSERT OR REPLACE INTO Z_PRIMARYKEY VALUES (?, ?, ?, ?)")?;
        for (number, name, parent) in self.schema.entities() {
            let table = format!("Z{}", name.to_uppercase());
            let highest =
                if parent == 0 { self.last_keys.get(table.as_str()).copied().unwrap_or(0) } else { 0 };
            insert.execute(rusqlite::params![number, name, parent, highest])?;
        }
        for (number, name) in [(16001, "CHANGE"), (16002, "TRANSACTION"), (16003, "TRANSACTIONSTRING")] {
            insert.execute(rusqlite::params![number, name, 0, 0])?;
        }
        Ok(())
    }

    pub(super) fn albums(&mut self, rows: &mut Rows<'_>) -> Result<(), rusqlite::Error> {
        self.albums.write(rows, self.phone, &mut self.random)
    }

    pub(super) fn album_counts(&self, database: &Connection) -> Result<(), rusqlite::Error> {
        self.albums.count(database)
    }

    pub(super) fn asset(&mut self, rows: &mut Rows<'_>, asset: &Asset) -> Result<(), rusqlite::Error> {
        let attributes = rows.last("ZADDITIONALASSETATTRIBUTES") + 1;
        let extended = rows.last("ZEXTENDEDATTRIBUTES") + 1;
        let master = if asset.is_queued() { self.master(rows, asset)? } else { None };
        let here = self.where_taken(asset);
        let values = self.asset_values(asset, master, attributes, extended, here);
        let key = rows.add(self.asset_table, "Asset", &values)?.unwrap_or(0);
        let values = self.attribute_values(asset, key);
        rows.add("ZADDITIONALASSETATTRIBUTES", "AdditionalAssetAttributes", &values)?;
        rows.add("ZEXTENDEDATTRIBUTES", "ExtendedAttributes", &[("ZASSET", Value::Integer(key))])?;
        if let Some(rtree) = self.schema.rtrees().next() {
            let (latitude, longitude) = here;
            rows.database()
                .prepare_cached(&format!("INSERT INTO {rtree} VALUES (?1, ?2, ?2, ?3, ?3)"))?
                .execute(rusqlite::params![key, latitude, longitude])?;
        }
        resources::write(rows, asset, key)?;
        if asset.edited || asset.kind == Kind::SlowMotion {
            self.adjustment(rows, asset, attributes)?;
        }
        self.albums.join(rows, asset, key, attributes)
    }

    /// The master that the engine keeps of an original.
    fn master(&mut self, rows: &mut Rows<'_>, asset: &Asset) -> Result<Option<i64>, rusqlite::Error> {
        let (_, state) = cloud_states(asset);
        let values = [
            ("ZCLOUDLOCALSTATE", Value::Integer(state)),
            ("ZCLOUDMASTERGUID", Value::Text(asset.master_name())),
            ("ZORIGINALFILENAME", Value::Text(asset.original_name.clone())),
            ("ZUNIFORMTYPEIDENTIFIER", Value::Text(asset.kind.uniform_type().into())),
            ("ZCREATIONDATE", Value::Real(cocoa(asset.created))),
            ("ZIMPORTDATE", Value::Real(cocoa(asset.added))),
            ("ZIMPORTEDBY", Value::Integer(1)),
            ("ZORIGINALORIENTATION", Value::Integer(1)),
            (
                "ZMEDIAMETADATATYPE",
                text(Some(if asset.kind.is_video() { "AVAssetProxy" } else { "CGImageProperties" })),
            ),
        ];
        rows.add("ZCLOUDMASTER", "CloudMaster", &values)
    }

    /// Latitude and longitude: at home in Phoenix or on a trip, nowhere for what the camera did not take.
    fn where_taken(&mut self, asset: &Asset) -> (f64, f64) {
        if asset.owner != Owner::Own || matches!(asset.kind, Kind::Screenshot | Kind::ScreenRecording) {
            return (NOWHERE, NOWHERE);
        }
        let spread = |random: &mut Random| (random.fraction() - 0.5) / 8.0;
        (33.45 + spread(&mut self.random), -112.07 + spread(&mut self.random))
    }

    fn asset_values(
        &mut self,
        asset: &Asset,
        master: Option<i64>,
        attributes: i64,
        extended: i64,
        here: (f64, f64),
    ) -> Vec<(&'static str, Value)> {
        let (width, height) = pixels(asset.kind);
        let edited = i64::from(asset.edited || asset.kind == Kind::SlowMotion);
        let unpicked = asset.burst.as_ref().is_some_and(|burst| !burst.picked);
        let mut values = vec![
            ("ZUUID", Value::Text(asset.uuid.clone())),
            ("ZDIRECTORY", Value::Text(asset.directory.clone())),
            ("ZFILENAME", Value::Text(asset.filename())),
            ("ZKIND", Value::Integer(i64::from(asset.kind.is_video()))),
            ("ZKINDSUBTYPE", Value::Integer(asset.kind.subtype())),
            ("ZPLAYBACKSTYLE", Value::Integer(playback_style(asset.kind))),
            ("ZUNIFORMTYPEIDENTIFIER", Value::Text(asset.kind.uniform_type().into())),
            ("ZWIDTH", Value::Integer(width)),
            ("ZHEIGHT", Value::Integer(height)),
            ("ZORIENTATION", Value::Integer(1)),
            ("ZDURATION", Value::Real(if asset.kind.is_video() { 1.0 } else { 0.0 })),
            ("ZLATITUDE", Value::Real(here.0)),
            ("ZLONGITUDE", Value::Real(here.1)),
            ("ZCOMPLETE", Value::Integer(1)),
            ("ZTHUMBNAILINDEX", Value::Integer(attributes - 1)),
            ("ZDATECREATED", Value::Real(cocoa(asset.created))),
            ("ZADDEDDATE", Value::Real(cocoa(asset.added))),
            ("ZSORTTOKEN", Value::Real(cocoa(asset.created))),
            ("ZMODIFICATIONDATE", Value::Real(cocoa(asset.trashed.unwrap_or(asset.added)))),
            ("ZTRASHEDSTATE", Value::Integer(i64::from(asset.trashed.is_some()) + i64::from(asset.expunged))),
            ("ZTRASHEDDATE", asset.trashed.map_or(Value::Null, |at| Value::Real(cocoa(at)))),
            ("ZHIDDEN", Value::Integer(i64::from(asset.hidden))),
            ("ZFAVORITE", Value::Integer(i64::from(asset.favourite))),
            ("ZHASADJUSTMENTS", Value::Integer(edited)),
            ("ZADJUSTMENTSSTATE", Value::Integer(edited * 2)),
            ("ZVISIBILITYSTATE", Value::Integer(if unpicked || asset.owner != Owner::Own { 2 } else { 0 })),
            ("ZADDITIONALATTRIBUTES", Value::Integer(attributes)),
            ("ZEXTENDEDATTRIBUTES", Value::Integer(extended)),
            ("ZMASTER", master.map_or(Value::Null, Value::Integer)),
        ];
        values.extend(self.cloud_values(asset));
        values
    }

    /// What of an asset speaks of iCloud, sharing and bursts.
    fn cloud_values(&mut self, asset: &Asset) -> [(&'static str, Value); 12] {
        let (state, _) = cloud_states(asset);
        let (saved_as, scope) = match asset.owner {
            Owner::Own if asset.directory.starts_with("DCIM/") => (3, 0),
            Owner::Own => (6, 0),
            Owner::SharedAlbum => (4, 2),
            Owner::Link => (8, 1),
            Owner::SharedWithYou => (12, 3),
        };
        let shared = asset.owner == Owner::SharedAlbum;
        let mine = |yes: bool| if shared { Value::Integer(i64::from(yes)) } else { Value::Null };
        let mut cloud_name = || Value::Text(self.random.uuid());
        [
            ("ZCLOUDLOCALSTATE", Value::Integer(state)),
            ("ZCLOUDASSETGUID", if asset.is_queued() || shared { cloud_name() } else { Value::Null }),
            ("ZCLOUDBATCHID", if shared { cloud_name() } else { Value::Null }),
            ("ZCLOUDISMYASSET", mine(false)),
            ("ZCLOUDISDELETABLE", mine(false)),
            ("ZCLOUDPLACEHOLDERKIND", Value::Integer(if shared { 4 } else { 0 })),
            ("ZSAVEDASSETTYPE", Value::Integer(saved_as)),
            ("ZBUNDLESCOPE", Value::Integer(scope)),
            ("ZACTIVELIBRARYSCOPEPARTICIPATIONSTATE", Value::Integer(i64::from(asset.in_shared_library))),
            (
                "ZLIBRARYSCOPE",
                if asset.in_shared_library { self.albums.shared_library() } else { Value::Null },
            ),
            ("ZAVALANCHEUUID", text(asset.burst.as_ref().map(|burst| burst.uuid.as_str()))),
            ("ZAVALANCHEPICKTYPE", Value::Integer(pick_type(asset))),
        ]
    }

    fn attribute_values(&self, asset: &Asset, key: i64) -> Vec<(&'static str, Value)> {
        let (width, height) = pixels(asset.kind);
        let failed = asset.upload == Upload::Failed;
        let (imported_by, bundle) = match (asset.owner, asset.kind) {
            (Owner::Own, _) if asset.syndicated => (6, Some("com.apple.MobileSMS")),
            (Owner::Own, Kind::Screenshot | Kind::ScreenRecording) => (9, Some("com.apple.springboard")),
            (Owner::Own, _) => (1, Some("com.apple.camera")),
            _ => (0, None),
        };
        let last_try = self.phone.ago(self.phone.cloud.synced_s_ago + 1800);
        let fingerprint = asset.fingerprint.map_or(Value::Null, |print| Value::Text(print.to_string()));
        let taken = local(asset.created).strftime("%Y:%m:%d %H:%M:%S").to_string();
        vec![
            ("ZASSET", Value::Integer(key)),
            ("ZORIGINALFILENAME", Value::Text(asset.original_name.clone())),
            ("ZORIGINALFILESIZE", Value::Integer(i64::try_from(asset.bytes).unwrap_or(i64::MAX))),
            ("ZORIGINALWIDTH", Value::Integer(width)),
            ("ZORIGINALHEIGHT", Value::Integer(height)),
            ("ZORIGINALORIENTATION", Value::Integer(1)),
            ("ZUPLOADATTEMPTS", Value::Integer(if failed { 5 } else { 0 })),
            ("ZLASTUPLOADATTEMPTDATE", if failed { Value::Real(cocoa(last_try)) } else { Value::Null }),
            ("ZCLOUDAVALANCHEPICKTYPE", Value::Integer(pick_type(asset))),
            ("ZIMPORTEDBY", Value::Integer(imported_by)),
            ("ZCREATORBUNDLEID", text(bundle)),
            ("ZIMPORTEDBYBUNDLEIDENTIFIER", text(bundle)),
            ("ZSYNDICATIONIDENTIFIER", if asset.syndicated { message_of(asset) } else { Value::Null }),
            ("ZMASTERFINGERPRINT", fingerprint.clone()),
            ("ZORIGINALSTABLEHASH", fingerprint),
            ("ZTIMEZONENAME", text(Some(ZONE))),
            ("ZTIMEZONEOFFSET", Value::Integer(i64::from(ZONE_OFFSET_S))),
            ("ZINFERREDTIMEZONEOFFSET", Value::Integer(i64::from(ZONE_OFFSET_S))),
            ("ZEXIFTIMESTAMPSTRING", Value::Text(taken)),
            ("ZGPSHORIZONTALACCURACY", Value::Real(-1.0)),
        ]
    }

    /// The note that an asset is edited.
    fn adjustment(
        &mut self,
        rows: &mut Rows<'_>,
        asset: &Asset,
        attributes: i64,
    ) -> Result<(), rusqlite::Error> {
        let (format, version) =
            if asset.edited { ("com.apple.photo", "1.5") } else { ("com.apple.video.slomo", "1.1") };
        let values = [
            ("ZASSETATTRIBUTES", Value::Integer(attributes)),
            ("ZADJUSTMENTTIMESTAMP", Value::Real(cocoa(asset.added) + 18_000.0)),
            ("ZADJUSTMENTFORMATIDENTIFIER", text(Some(format))),
            ("ZADJUSTMENTFORMATVERSION", text(Some(version))),
            ("ZEDITORLOCALIZEDNAME", text(Some("Photos"))),
            ("ZOTHERADJUSTMENTSFINGERPRINT", Value::Text(self.random.fingerprint())),
            ("ZUUID", Value::Text(self.random.uuid())),
        ];
        rows.add("ZUNMANAGEDADJUSTMENT", "UnmanagedAdjustment", &values).map(drop)
    }
}

/// `ZCLOUDLOCALSTATE` of asset and master. Several pairs mean the same; which one an asset has follows from its name.
fn cloud_states(asset: &Asset) -> (i64, i64) {
    match asset.upload {
        _ if !asset.is_queued() => (0, 0),
        Upload::Uploaded => (1, 3),
        Upload::Failed => [(4, 4), (4, 1), (1, 4)][asset.variant(3)],
        Upload::Waiting | Upload::NeverQueued => [(1, 1), (1, 0), (2, 1), (1, 2)][asset.variant(4)],
    }
}

pub(super) fn text(value: Option<&str>) -> Value {
    value.map_or(Value::Null, |value| Value::Text(value.to_owned()))
}

/// `ZAVALANCHEPICKTYPE`, a set of bits: 2 not picked, 8 picked by the owner, 4 + 16 + 32 the one that stands for the burst.
fn pick_type(asset: &Asset) -> i64 {
    match &asset.burst {
        None => 0,
        Some(burst) if !burst.picked => 2,
        Some(_) => [8, 52][asset.variant(2)],
    }
}

/// The message that brought it.
fn message_of(asset: &Asset) -> Value {
    Value::Text(format!("at_0_{}", asset.uuid))
}

/// `ZPLAYBACKSTYLE`: how Photos plays it.
fn playback_style(kind: Kind) -> i64 {
    match kind {
        Kind::Live => 3,
        kind if kind.is_video() => 4,
        _ => 1,
    }
}

/// What the library says the original measures. A real camera's numbers: nothing that we know reads the picture to
/// compare.
fn pixels(kind: Kind) -> (i64, i64) {
    match kind {
        Kind::Screenshot | Kind::ScreenRecording => (1170, 2532),
        Kind::Panorama => (10_802, 3908),
        Kind::Video | Kind::SlowMotion => (1920, 1080),
        _ => (4032, 3024),
    }
}
