//! What only a local backup tells: the setting of originals, the state of iCloud Backup, and the library itself where
//! the phone's file service refuses it.
//!
//! Paths as iLEAPP and forensic work on backups of iOS 13 to 27 name them. The backup's content comes through a reader
//! that the caller hands over.

use std::io::{self, Read};
use std::path::Path;

use jiff::Timestamp;
use plist::{Dictionary, Value};

use super::domains::cocoa_date;
use super::full::tell_library;
use super::resolve::resolve;
use super::words;
use crate::facts::text::plain;
use crate::facts::{Fact, Facts, Maybe, Source};
use crate::frame::{self, DictExt, Limits};
use crate::library;

const LIMITS: Limits = Limits { bytes: 4 << 20, depth: 32, nodes: 100_000 };
const PHOTOS: &str = "Library/Preferences/com.apple.mobileslideshow.plist";
const ACCOUNTS: &str = "Library/Accounts/Accounts3.sqlite";
const ACCOUNTS_LOG: &str = "Library/Accounts/Accounts3.sqlite-wal";
const BACKUP: &str = "Library/Preferences/com.apple.MobileBackup.plist";
const SETUP: &str = "Library/Preferences/com.apple.purplebuddy.plist";
const SWITCHES: &str = "Library/Preferences/com.apple.mobile.ldbackup.plist";
const FIND_MY_DOMAIN: &str = "SysSharedContainerDomain-systemgroup.com.apple.icloud.findmydevice.managed";
const FIND_MY: &str = "Library/Preferences/com.apple.icloud.findmydeviced.FMIPStateInfo.plist";
/// Where the state of iCloud Backup lies: iOS 27, and before.
const BACKUP_DOMAINS: [&str; 2] = ["HomeDomain", "RootDomain"];

/// Refines the facts by what a verified backup of this phone holds. `read` gives the content of a file by its domain
/// and path (`Ok(None)`: the backup does not hold it); `made_at` is when it was made, which is as old as all of this is.
pub fn refine(
    facts: &mut Facts,
    made_at: Option<Timestamp>,
    mut read: impl FnMut(&str, &str) -> io::Result<Option<Vec<u8>>>,
) {
    tell_keep_originals(facts, dictionary(read("HomeDomain", PHOTOS)));
    let mut state = Ok(None);
    for domain in BACKUP_DOMAINS {
        state = dictionary(read(domain, BACKUP));
        if !matches!(state, Ok(None)) {
            break;
        }
    }
    tell_backup_state(facts, state);
    tell_account(facts, [ACCOUNTS, ACCOUNTS_LOG].map(|path| read("HomeDomain", path)));
    tell_setup(facts, dictionary(read("HomeDomain", SETUP)));
    tell_find_my(facts, dictionary(read(FIND_MY_DOMAIN, FIND_MY)));
    tell_switches(facts, dictionary(read("HomeDomain", SWITCHES)));
    date_all(facts, made_at);
}

/// What a backup tells is as old as the backup.
fn date_all(facts: &mut Facts, made_at: Option<Timestamp>) {
    fn date<T>(fact: &mut Maybe<T>, made_at: Option<Timestamp>) {
        if let Some(fact) = fact.as_mut().filter(|fact| fact.source.place.starts_with("backup:")) {
            fact.source.written_at = made_at;
        }
    }
    date(&mut facts.icloud_photos.optimise_storage, made_at);
    let icloud = &mut facts.icloud_backup;
    date(&mut icloud.failure, made_at);
    date(&mut icloud.account_enabled, made_at);
    date(&mut icloud.enabled_in_backup, made_at);
    date(&mut icloud.last_backup_in_backup, made_at);
    let settings = &mut facts.settings;
    date(&mut settings.apple_account, made_at);
    date(&mut settings.account_data_classes, made_at);
    date(&mut settings.set_up_by, made_at);
    date(&mut settings.find_my_in_backup, made_at);
}

/// How the phone was set up or restored.
fn tell_setup(facts: &mut Facts, found: Result<Option<Dictionary>, String>) {
    const PLACE: &str = "backup:HomeDomain/Library/Preferences/com.apple.purplebuddy.plist";
    let text = |values: &Dictionary| values.string("SetupState").map(plain);
    facts.settings.set_up_by = told(facts, "settings.set_up_by", PLACE, "SetupState", found, text);
}

/// Find My as the backup has it. What the gate asks is what the phone says now, so this is a fact of its own.
fn tell_find_my(facts: &mut Facts, found: Result<Option<Dictionary>, String>) {
    const PLACE: &str = "backup:com.apple.icloud.findmydevice.managed/FMIPStateInfo.plist";
    let on = |values: &Dictionary| values.boolean("fmipActive");
    facts.settings.find_my_in_backup =
        told(facts, "settings.find_my_in_backup", PLACE, "fmipActive", found, on);
}

/// The switch and the date of iCloud Backup as the backup has them. They are judged by what the phone says now: how long
/// ago its last backup was, an older word does not tell. So these are facts of their own, and its own gaps stay.
fn tell_switches(facts: &mut Facts, found: Result<Option<Dictionary>, String>) {
    const PLACE: &str = "backup:HomeDomain/Library/Preferences/com.apple.mobile.ldbackup.plist";
    const ENABLED: (&str, &str) = ("icloud_backup.enabled_in_backup", "CloudBackupEnabled");
    const LAST: (&str, &str) = ("icloud_backup.last_backup_in_backup", "LastCloudBackupDate");
    let on = |values: &Dictionary| values.boolean(ENABLED.1);
    let at = |values: &Dictionary| cocoa_date(values, LAST.1);
    facts.icloud_backup.enabled_in_backup = told(facts, ENABLED.0, PLACE, ENABLED.1, found.clone(), on);
    facts.icloud_backup.last_backup_in_backup = told(facts, LAST.0, PLACE, LAST.1, found, at);
}

/// The value of one key, or the gap.
fn told<T>(
    facts: &mut Facts,
    fact: &'static str,
    place: &'static str,
    key: &'static str,
    found: Result<Option<Dictionary>, String>,
    read: impl Fn(&Dictionary) -> Option<T>,
) -> Maybe<T> {
    facts.gaps.retain(|gap| gap.fact != fact);
    let reason = match found {
        Ok(Some(values)) => match read(&values) {
            Some(value) => return Some(Fact::new(value, Source::new(place, key))),
            None if values.contains_key(key) => format!("{key} holds what cannot be understood"),
            None => format!("the backup does not hold {key}"),
        },
        Ok(None) => "the backup does not hold this setting".to_owned(),
        Err(reason) => reason,
    };
    facts.gap(fact, reason);
    None
}

/// Reads the library from inside a verified backup that was made then, when the phone itself does not give it.
/// `scratch` is a private folder; `open` gives the content of a file below the media root. True when it could be read.
/// Blocks.
pub fn library_from_backup<R: Read>(
    facts: &mut Facts,
    scratch: &Path,
    made_at: Timestamp,
    open: impl FnMut(&str) -> io::Result<Option<R>>,
) -> bool {
    let folder = match tempfile::Builder::new().prefix("library-").tempdir_in(scratch) {
        Ok(folder) => folder,
        Err(error) => {
            facts.gap("library", words(&error));
            return false;
        }
    };
    let read = library::from_backup(folder.path(), open);
    let told = read.is_ok();
    if told {
        facts.gaps.retain(|gap| gap.fact != "library" && !gap.fact.starts_with("library."));
        tell_library(facts, read.map_err(|error| words(&error)));
        let source = Source::new("backup:CameraRollDomain/Media/PhotoData/Photos.sqlite", "");
        facts.library.from_backup = Some(Fact::new(made_at, source));
    }
    if let Some(listing) = &facts.media {
        resolve(&mut facts.library, listing);
    }
    told
}

fn dictionary(read: io::Result<Option<Vec<u8>>>) -> Result<Option<Dictionary>, String> {
    let Some(bytes) = read.map_err(|error| words(&error))? else { return Ok(None) };
    let value = frame::parse(&bytes, &LIMITS).map_err(|error| words(&error))?;
    value.into_dictionary().map(Some).ok_or_else(|| "no dictionary".to_owned())
}

/// A phone that was never asked leaves the key out; then originals are optimised.
fn tell_keep_originals(facts: &mut Facts, found: Result<Option<Dictionary>, String>) {
    const FACT: &str = "icloud_photos.optimise_storage";
    const KEY: &str = "downloadAndKeepOriginals";
    let keeps = match found {
        Ok(Some(values)) if !values.contains_key(KEY) => Ok(false),
        Ok(Some(values)) => {
            values.boolean(KEY).ok_or_else(|| format!("{KEY} holds what cannot be understood"))
        }
        Ok(None) => Err("the backup does not hold this setting".to_owned()),
        Err(reason) => Err(reason),
    };
    facts.gaps.retain(|gap| gap.fact != FACT);
    match keeps {
        Ok(keeps) => {
            let source =
                Source::new("backup:HomeDomain/Library/Preferences/com.apple.mobileslideshow.plist", KEY);
            facts.icloud_photos.optimise_storage = Some(Fact::new(!keeps, source));
        }
        Err(reason) => facts.gap(FACT, reason),
    }
}

fn tell_backup_state(facts: &mut Facts, found: Result<Option<Dictionary>, String>) {
    const FACT: &str = "icloud_backup.failure";
    facts.gaps.retain(|gap| gap.fact != FACT);
    match found {
        Ok(Some(values)) => {
            let source =
                Source::new("backup:Library/Preferences/com.apple.MobileBackup.plist", "BackupStateInfo");
            facts.icloud_backup.failure = failure(&values).map(|failure| Fact::new(failure, source));
            let source =
                Source::new("backup:Library/Preferences/com.apple.MobileBackup.plist", "AccountEnabledDate");
            facts.gaps.retain(|gap| gap.fact != "icloud_backup.account_enabled");
            let enabled = values.date("AccountEnabledDate");
            facts.icloud_backup.account_enabled = enabled.map(|at| Fact::new(at, source));
        }
        Ok(None) => facts.gap(FACT, "the backup does not hold this state"),
        Err(reason) => facts.gap(FACT, reason),
    }
}

/// Is an Apple Account signed in, and what for? The database and its log are copied beside each other to be read.
fn tell_account(facts: &mut Facts, [database, log]: [io::Result<Option<Vec<u8>>>; 2]) {
    const FACT: &str = "settings.apple_account";
    const CLASSES: &str = "settings.account_data_classes";
    const PLACE: &str = "backup:HomeDomain/Library/Accounts/Accounts3.sqlite";
    let read = || {
        let database = database.map_err(|error| words(&error))?;
        let database = database.ok_or_else(|| "the backup does not hold the accounts".to_owned())?;
        let folder = tempfile::Builder::new().prefix("accounts-").tempdir().map_err(|error| words(&error))?;
        let put = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).map_err(|error| words(&error))
        };
        put(library::ACCOUNTS_NAME, &database)?;
        if let Some(log) = log.map_err(|error| words(&error))? {
            put(&format!("{}-wal", library::ACCOUNTS_NAME), &log)?;
        }
        let signed_in = library::apple_account(folder.path()).map_err(|error| words(&error));
        let classes = library::data_classes(folder.path()).map_err(|error| words(&error));
        Ok((signed_in, classes))
    };
    facts.gaps.retain(|gap| gap.fact != FACT && gap.fact != CLASSES);
    let (signed_in, classes) = read().unwrap_or_else(|reason: String| (Err(reason.clone()), Err(reason)));
    match signed_in {
        Ok(is) => facts.settings.apple_account = Some(Fact::new(is, Source::new(PLACE, "ZACCOUNT"))),
        Err(reason) => facts.gap(FACT, reason),
    }
    match classes {
        Ok(all) => {
            let source = Source::new(PLACE, "ZDATACLASS");
            facts.settings.account_data_classes = Some(Fact::new(all, source));
        }
        Err(reason) => facts.gap(CLASSES, reason),
    }
}

/// The first error of the last backup to iCloud, as `domain code`.
fn failure(values: &Dictionary) -> Option<String> {
    let state = values.dict("BackupStateInfo")?;
    if state.boolean("isCloud") == Some(false) {
        return None;
    }
    let first = match state.get("errors")? {
        Value::Array(errors) => errors.first()?,
        other => other,
    };
    match first {
        Value::Dictionary(error) => {
            let domain = error.string("domain").unwrap_or("MBErrorDomain");
            let code = error.int("code").map_or_else(|| "without a code".to_owned(), |code| code.to_string());
            Some(plain(&format!("{domain} {code}")))
        }
        Value::String(text) => Some(plain(text)),
        Value::Integer(code) => Some(format!("MBErrorDomain {code}")),
        _ => Some("an error that cannot be understood".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::value;

    fn plist(entries: &[(&str, Value)]) -> Vec<u8> {
        let root: Dictionary =
            entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        frame::to_binary(&Value::Dictionary(root))
    }

    fn state(entries: &[(&str, Value)]) -> Vec<u8> {
        let inner = frame::parse(&plist(entries), &LIMITS).unwrap();
        plist(&[("BackupStateInfo", inner)])
    }

    fn refined(photos: Option<&[u8]>, root_backup: Option<&[u8]>) -> Facts {
        let mut facts = Facts::default();
        refine(&mut facts, None, |domain, path| {
            Ok(match (domain, path) {
                ("HomeDomain", PHOTOS) => photos.map(<[u8]>::to_vec),
                ("RootDomain", BACKUP) => root_backup.map(<[u8]>::to_vec),
                _ => None,
            })
        });
        facts
    }

    #[test]
    fn a_failed_backup_to_icloud_is_told_with_its_code() {
        let error =
            frame::parse(&plist(&[("domain", "MBErrorDomain".into()), ("code", 303.into())]), &LIMITS);
        let errors = Value::Array(vec![error.unwrap()]);
        let facts = refined(
            Some(&plist(&[("downloadAndKeepOriginals", true.into())])),
            Some(&state(&[("isCloud", true.into()), ("errors", errors)])),
        );
        assert_eq!(value(&facts.icloud_backup.failure).as_deref(), Some("MBErrorDomain 303"));
        assert_eq!(value(&facts.icloud_photos.optimise_storage), Some(false));
        let gaps: Vec<&str> = facts.gaps.iter().map(|gap| gap.fact.as_ref()).collect();
        let none = [
            "settings.apple_account",
            "settings.account_data_classes",
            "settings.set_up_by",
            "settings.find_my_in_backup",
            "icloud_backup.enabled_in_backup",
            "icloud_backup.last_backup_in_backup",
        ];
        assert_eq!(gaps, none, "this backup holds no more");
    }

    #[test]
    fn the_other_plists_tell_how_it_was_set_up_and_what_the_phone_itself_did_not() {
        let made_at = Timestamp::from_second(1_790_000_000).unwrap();
        let mut facts = Facts::default();
        let now_unknown = ["icloud_backup.enabled", "icloud_backup.last_backup"];
        now_unknown.into_iter().for_each(|fact| facts.gap(fact, "GetProhibited"));
        refine(&mut facts, Some(made_at), |domain, path| {
            Ok(match (domain, path) {
                ("HomeDomain", SETUP) => Some(plist(&[("SetupState", "RestoredFromiCloudBackup".into())])),
                (FIND_MY_DOMAIN, FIND_MY) => Some(plist(&[("fmipActive", false.into())])),
                ("HomeDomain", SWITCHES) => Some(plist(&[
                    ("CloudBackupEnabled", true.into()),
                    ("LastCloudBackupDate", 769_034_247.into()),
                ])),
                _ => None,
            })
        });
        assert_eq!(value(&facts.settings.set_up_by).as_deref(), Some("RestoredFromiCloudBackup"));
        assert_eq!(value(&facts.settings.find_my_in_backup), Some(false));
        assert!(facts.settings.find_my.is_none(), "an older word of Find My opens no gate");
        let icloud = &facts.icloud_backup;
        let enabled = icloud.enabled_in_backup.as_ref().unwrap();
        assert!(enabled.value && enabled.source.written_at == Some(made_at));
        assert!(icloud.last_backup_in_backup.as_ref().unwrap().source.written_at == Some(made_at));
        // It says nothing of how old the last backup is now: nothing that destroys is built on it.
        assert!(icloud.enabled.is_none() && icloud.last_backup.is_none());
        assert!(now_unknown.into_iter().all(|fact| facts.gap_of(fact).is_some()));
    }

    #[test]
    fn a_backup_that_went_well_has_no_failure() {
        let facts = refined(Some(&plist(&[])), Some(&state(&[("isCloud", true.into())])));
        assert!(facts.icloud_backup.failure.is_none() && facts.gap_of("icloud_backup.failure").is_none());
        assert_eq!(value(&facts.icloud_photos.optimise_storage), Some(true));
    }

    #[test]
    fn what_is_not_in_the_backup_stays_a_gap() {
        let facts = refined(None, Some(b"noise"));
        assert!(facts.gap_of("icloud_photos.optimise_storage").is_some());
        assert!(facts.gap_of("icloud_backup.failure").is_some());
    }

    /// Keys of the plists with every other sort of value: a gap or a harmless word, never a panic.
    #[test]
    fn wrong_types_everywhere_are_survived() {
        let date = Value::Date(plist::Date::from_xml_format("0001-01-01T00:00:00Z").unwrap());
        let values = [
            Value::Array(vec![Value::from(1)]),
            Value::Dictionary(Dictionary::new()),
            Value::Boolean(true),
            Value::Data(vec![0xFF; 9]),
            date,
            Value::Real(f64::NAN),
            Value::from(-1),
            Value::from(u64::MAX),
            Value::from("\u{1b}[31m"),
        ];
        for value in &values {
            let facts = refined(
                Some(&plist(&[("downloadAndKeepOriginals", value.clone())])),
                Some(&plist(&[("BackupStateInfo", value.clone())])),
            );
            if value.as_boolean().is_none() {
                assert!(facts.icloud_photos.optimise_storage.is_none(), "{value:?}");
            }
            for key in ["errors", "isCloud"] {
                let facts = refined(None, Some(&state(&[(key, value.clone())])));
                let failure = facts.icloud_backup.failure.map(|failure| failure.value);
                assert!(!failure.unwrap_or_default().chars().any(char::is_control), "{value:?}");
            }
        }
    }

    #[test]
    fn a_library_out_of_a_backup_says_when_the_backup_was_made() {
        let scratch = tempfile::tempdir().unwrap();
        let made_at: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let mut facts = Facts::default();
        facts.gap("library", "status 10");
        let nothing = |_: &str| Ok(None::<&[u8]>);
        assert!(!library_from_backup(&mut facts, scratch.path(), made_at, nothing));
        assert_eq!(facts.gap_of("library").unwrap().reason, "status 10", "the phone's own reason stands");
        let file = scratch.path().join("made.sqlite");
        let database = rusqlite::Connection::open(&file).unwrap();
        database.execute_batch("CREATE TABLE ZASSET (Z_PK INTEGER PRIMARY KEY, ZUUID VARCHAR);").unwrap();
        drop(database);
        let bytes = std::fs::read(&file).unwrap();
        let open = |path: &str| Ok((path == "PhotoData/Photos.sqlite").then_some(bytes.as_slice()));
        assert!(library_from_backup(&mut facts, scratch.path(), made_at, open));
        assert_eq!(crate::facts::value(&facts.library.from_backup), Some(made_at));
        assert!(facts.library.assets.is_some() && facts.gap_of("library").is_none());
    }
}
