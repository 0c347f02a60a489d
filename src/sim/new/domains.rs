//! `files/`: what a backup holds besides the media, so that a backup is more than photos: preferences, accounts,
//! messages, calls, contacts, calendars, notes and two apps, with content of invented people.
//!
//! Paths, tables and columns as published descriptions of iOS backups (iLEAPP, mvt) name them; only what somebody asks
//! for is there.

use plist::{Dictionary, Value};

use super::Error;
use super::folder::Folder;
use super::phone::{Phone, cocoa, cocoa_seconds, date};
use super::random::Random;

/// Writes them all.
pub(super) fn write(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
    preferences(phone, folder)?;
    for store in STORES {
        database(phone, folder, store)?;
    }
    documents(phone, folder)
}

fn dict<const N: usize>(pairs: [(&str, Value); N]) -> Dictionary {
    Dictionary::from_iter(pairs)
}

/// A lockdown value as the scenario set it, for the file that backs it.
fn backup_value(phone: &Phone, key: &str, healthy: Value) -> Option<Value> {
    let set = phone
        .lockdown
        .iter()
        .rev()
        .find(|(domain, name, _)| *domain == "com.apple.mobile.backup" && *name == key);
    set.map_or(Some(healthy), |(_, _, value)| value.clone())
}

fn preferences(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
    let mut backup = Dictionary::new();
    for (key, healthy) in [
        ("CloudBackupEnabled", true.into()),
        ("LastCloudBackupDate", Value::from(cocoa_seconds(phone.ago(19 * 3600)))),
        ("LastiTunesBackupDate", Value::from(cocoa_seconds(phone.days_ago(6)))),
        ("Version", "2.0".into()),
    ] {
        if let Some(value) = backup_value(phone, key, healthy) {
            backup.insert(key.into(), value);
        }
    }
    let mut state = dict([
        ("date", date(phone.ago(17 * 3600))),
        ("isBackground", true.into()),
        ("isCloud", true.into()),
        ("progress", Value::Real(1.0)),
        ("state", Value::from(if phone.backup_error.is_some() { 5 } else { 4 })),
    ]);
    if let Some(code) = phone.backup_error {
        let error = dict([("domain", "MBErrorDomain".into()), ("code", code.into())]);
        state.insert("errors".into(), Value::Array(vec![Value::Dictionary(error)]));
    }
    let engine = dict([
        ("AccountEnabledDate", date(phone.days_ago(1100))),
        ("BackupStateInfo", Value::Dictionary(state)),
    ]);
    let photos = dict([("downloadAndKeepOriginals", (!phone.cloud.optimise).into())]);
    let setup = dict([("SetupDone", true.into()), ("SetupState", "SetupUsingAssistant".into())]);
    let find_my = phone
        .lockdown
        .iter()
        .any(|(domain, _, value)| *domain == "com.apple.fmip" && *value == Some(Value::Boolean(false)));
    let find_my = dict([("fmipActive", (!find_my).into()), ("fmipLostModeType", Value::from(0))]);
    let clock = dict([("WorldClock", Value::Array(vec!["Phoenix".into(), "Berlin".into()]))]);
    let home = "HomeDomain/Library/Preferences";
    let engine_domain = if phone.ios.major >= 27 { "HomeDomain" } else { "RootDomain" };
    let find_my_container = "SysSharedContainerDomain-systemgroup.com.apple.icloud.findmydevice.managed";
    for (path, values) in [
        (format!("{home}/com.apple.mobile.ldbackup.plist"), backup),
        (format!("{engine_domain}/Library/Preferences/com.apple.MobileBackup.plist"), engine),
        (format!("{home}/com.apple.mobileslideshow.plist"), photos),
        (format!("{home}/com.apple.purplebuddy.plist"), setup),
        (format!("{home}/com.apple.mobiletimer.plist"), clock),
        (
            format!(
                "{find_my_container}/Library/Preferences/com.apple.icloud.findmydeviced.FMIPStateInfo.plist"
            ),
            find_my,
        ),
    ] {
        folder.binary_plist(&format!("files/{path}"), phone.ago(16 * 3600), &Value::Dictionary(values))?;
    }
    Ok(())
}

/// One small database: where, its tables, and a statement that is run once for each of `rows` with its number, a
/// date in Apple's seconds, a UUID and a line of text.
struct Store {
    path: &'static str,
    tables: &'static str,
    insert: &'static str,
    rows: u32,
}

const STORES: &[Store] = &[
    Store {
        path: "HomeDomain/Library/SMS/sms.db",
        tables: "CREATE TABLE handle (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, country TEXT, service TEXT NOT NULL, uncanonicalized_id TEXT);
                 CREATE TABLE chat (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT UNIQUE NOT NULL, chat_identifier TEXT, service_name TEXT, display_name TEXT);
                 CREATE TABLE message (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT UNIQUE NOT NULL, text TEXT, handle_id INTEGER DEFAULT 0, service TEXT, date INTEGER, date_read INTEGER, date_delivered INTEGER, is_from_me INTEGER DEFAULT 0, cache_has_attachments INTEGER DEFAULT 0);
                 CREATE TABLE attachment (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT UNIQUE NOT NULL, filename TEXT, uti TEXT, mime_type TEXT, transfer_name TEXT, total_bytes INTEGER DEFAULT 0, created_date INTEGER DEFAULT 0, is_outgoing INTEGER DEFAULT 0);
                 CREATE TABLE chat_message_join (chat_id INTEGER, message_id INTEGER, message_date INTEGER DEFAULT 0, PRIMARY KEY (chat_id, message_id));
                 CREATE TABLE message_attachment_join (message_id INTEGER, attachment_id INTEGER, UNIQUE (message_id, attachment_id));
                 INSERT INTO handle (id, country, service) VALUES ('+14805550123', 'us', 'iMessage');
                 INSERT INTO chat (guid, chat_identifier, service_name) VALUES ('iMessage;-;+14805550123', '+14805550123', 'iMessage');",
        insert: "INSERT INTO message (guid, text, handle_id, service, date, is_from_me) VALUES (?3, ?4, 1, 'iMessage', CAST(?2 AS INTEGER) * 1000000000, ?1 % 2)",
        rows: 180,
    },
    Store {
        path: "HomeDomain/Library/AddressBook/AddressBook.sqlitedb",
        tables: "CREATE TABLE ABPerson (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, First TEXT, Last TEXT, CreationDate INTEGER, ModificationDate INTEGER, guid TEXT);
                 CREATE TABLE ABMultiValue (UID INTEGER PRIMARY KEY, record_id INTEGER, property INTEGER, identifier INTEGER, label INTEGER, value TEXT, guid TEXT);
                 CREATE TABLE ABMultiValueLabel (value TEXT, UNIQUE(value));",
        insert: "INSERT INTO ABPerson (First, Last, CreationDate, guid) VALUES (?4, 'Example', ?2, ?3)",
        rows: 60,
    },
    Store {
        path: "HomeDomain/Library/CallHistoryDB/CallHistory.storedata",
        tables: "CREATE TABLE ZCALLRECORD (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZANSWERED INTEGER, ZORIGINATED INTEGER, ZDATE TIMESTAMP, ZDURATION FLOAT, ZADDRESS VARCHAR, ZUNIQUE_ID VARCHAR, ZSERVICE_PROVIDER VARCHAR);",
        insert: "INSERT INTO ZCALLRECORD VALUES (?1, 2, 1, 1, ?1 % 2, ?2, 40 + ?1, '+14805550123', ?3, ?4)",
        rows: 40,
    },
    Store {
        path: "HomeDomain/Library/Calendar/Calendar.sqlitedb",
        tables: "CREATE TABLE Calendar (ROWID INTEGER PRIMARY KEY, title TEXT, UUID TEXT); INSERT INTO Calendar VALUES (1, 'Home', NULL);
                 CREATE TABLE CalendarItem (ROWID INTEGER PRIMARY KEY, summary TEXT, start_date REAL, end_date REAL, calendar_id INTEGER, UUID TEXT);",
        insert: "INSERT INTO CalendarItem VALUES (?1, ?4, ?2, ?2 + 3600, 1, ?3)",
        rows: 50,
    },
    Store {
        path: "HomeDomain/Library/Accounts/Accounts3.sqlite",
        tables: "CREATE TABLE ZACCOUNTTYPE (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZIDENTIFIER VARCHAR, ZACCOUNTTYPEDESCRIPTION VARCHAR);
                 INSERT INTO ZACCOUNTTYPE VALUES (1, 4, 1, 'com.apple.account.AppleAccount', 'iCloud');
                 CREATE TABLE ZACCOUNT (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZACTIVE INTEGER, ZAUTHENTICATED INTEGER, ZACCOUNTTYPE INTEGER, ZDATE TIMESTAMP, ZIDENTIFIER VARCHAR, ZUSERNAME VARCHAR, ZACCOUNTDESCRIPTION VARCHAR);
                 CREATE TABLE ZDATACLASS (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZNAME VARCHAR);",
        insert: "INSERT INTO ZACCOUNT VALUES (?1, 2, 1, 1, 1, 1, ?2, ?3, 'anna@example.com', 'iCloud')",
        rows: 1,
    },
    Store {
        path: "HomeDomain/Library/Safari/Bookmarks.db",
        tables: "CREATE TABLE bookmarks (id INTEGER PRIMARY KEY, special_id INTEGER DEFAULT 0, parent INTEGER, type INTEGER, title TEXT, url TEXT COLLATE NOCASE, external_uuid TEXT);",
        insert: "INSERT INTO bookmarks VALUES (?1, 0, NULL, 0, ?4, 'https://example.com/' || ?1, ?3)",
        rows: 25,
    },
    Store {
        path: "AppDomainGroup-group.com.apple.notes/NoteStore.sqlite",
        tables: "CREATE TABLE ZICCLOUDSYNCINGOBJECT (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZCREATIONDATE1 TIMESTAMP, ZIDENTIFIER VARCHAR, ZTITLE1 VARCHAR);
                 CREATE TABLE ZICNOTEDATA (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZNOTE INTEGER, ZDATA BLOB);",
        insert: "INSERT INTO ZICCLOUDSYNCINGOBJECT VALUES (?1, 12, 1, ?2, ?3, ?4)",
        rows: 18,
    },
    Store {
        path: "HomeDomain/Library/Voicemail/voicemail.db",
        tables: "CREATE TABLE voicemail (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, remote_uid INTEGER, date INTEGER, sender TEXT, duration INTEGER, uuid TEXT);",
        insert: "INSERT INTO voicemail VALUES (?1, ?1, ?2, '+14805550123', 12, ?3)",
        rows: 4,
    },
    Store {
        path: "HomeDomain/Library/Reminders/Container_v1/Stores/Data-local.sqlite",
        tables: "CREATE TABLE ZREMCDREMINDER (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZCREATIONDATE TIMESTAMP, ZCKIDENTIFIER VARCHAR, ZTITLE VARCHAR);",
        insert: "INSERT INTO ZREMCDREMINDER VALUES (?1, 5, 1, ?2, ?3, ?4)",
        rows: 22,
    },
    Store {
        path: "HomeDomain/Library/TCC/TCC.db",
        tables: "CREATE TABLE access (service TEXT NOT NULL, client TEXT NOT NULL, client_type INTEGER NOT NULL, auth_value INTEGER NOT NULL, auth_reason INTEGER NOT NULL, auth_version INTEGER NOT NULL, last_modified INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (service, client, client_type));",
        insert: "INSERT INTO access VALUES ('kTCCServicePhotos', 'org.example.app' || ?1, 0, 2, 2, 1, CAST(?2 AS INTEGER) + 978307200)",
        rows: 6,
    },
    Store {
        path: "AppDomain-org.example.notes/Documents/field-notes.sqlite",
        tables: "CREATE TABLE entry (id INTEGER PRIMARY KEY, at REAL, uuid TEXT, body TEXT);",
        insert: "INSERT INTO entry VALUES (?1, ?2, ?3, ?4)",
        rows: 400,
    },
    Store {
        path: "AppDomain-org.example.tickets/Library/Application Support/tickets.db",
        tables: "CREATE TABLE ticket (id INTEGER PRIMARY KEY, bought REAL, code TEXT, title TEXT);",
        insert: "INSERT INTO ticket VALUES (?1, ?2, ?3, ?4)",
        rows: 30,
    },
];

fn database(phone: &Phone, folder: &mut Folder, store: &Store) -> Result<(), Error> {
    let relative = format!("files/{}", store.path);
    let path = folder.place(&relative)?;
    fill(phone, store, &path).map_err(|error| Error::Database { path, error })?;
    folder.adopt(&relative, phone.ago(9 * 3600))
}

fn fill(phone: &Phone, store: &Store, path: &std::path::Path) -> Result<(), rusqlite::Error> {
    let mut random = Random::new(phone.seed, store.path);
    let mut database = rusqlite::Connection::open(path)?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.pragma_update(None, "journal_mode", "MEMORY")?;
    let transaction = database.transaction()?;
    transaction.execute_batch(store.tables)?;
    {
        let mut insert = transaction.prepare(store.insert)?;
        let used = insert.parameter_count();
        for number in 1..=store.rows {
            let at = cocoa(phone.ago(i64::from(store.rows - number) * 30_000 + 4000));
            let all: [&dyn rusqlite::ToSql; 4] = [&number, &at, &random.uuid(), &line(&mut random)];
            insert.execute(&all[..used])?;
        }
    }
    transaction.commit()
}

/// A line that somebody could have written.
fn line(random: &mut Random) -> String {
    const WORDS: [&str; 16] = [
        "the", "photos", "from", "Sedona", "are", "still", "here", "see", "you", "at", "seven", "bring",
        "water", "call", "Grandma", "tomorrow",
    ];
    let count = random.between(3, 9);
    let words: Vec<&str> =
        (0..count).map(|_| WORDS[usize::try_from(random.below(16)).unwrap_or(0)]).collect();
    words.join(" ")
}

/// Files of apps and a few that are no database.
fn documents(phone: &Phone, folder: &mut Folder) -> Result<(), Error> {
    let mut random = Random::new(phone.seed, "documents");
    let mut noise = vec![0; 180_000];
    random.fill(&mut noise);
    let at = phone.days_ago(20);
    let notes = "files/AppDomain-org.example.notes";
    folder.file(&format!("{notes}/Documents/sketch 1.bin"), at, &noise)?;
    folder.file(&format!("{notes}/Documents/empty.txt"), at, b"")?;
    folder.file(&format!("{notes}/Documents/größe – 日記.txt"), at, "Umlaute und Kana\n".as_bytes())?;
    folder.directory(&format!("{notes}/Library/Caches"))?;
    let ringtone = &noise[..40_000];
    folder.file("files/MediaDomain/Library/Recordings/20260101 120000.m4a", at, ringtone)?;
    folder.file(
        "files/HomeDomain/Library/SMS/Attachments/ab/11/note.txt",
        at,
        line(&mut random).as_bytes(),
    )?;
    let networks = Dictionary::from_iter([(
        "wifi.network.ssid.Home",
        Value::Dictionary(Dictionary::from_iter([("AddReason", Value::from("WiFi Settings"))])),
    )]);
    let path = "files/SystemPreferencesDomain/com.apple.wifi.known-networks.plist";
    folder.binary_plist(path, at, &Value::Dictionary(networks))
}
