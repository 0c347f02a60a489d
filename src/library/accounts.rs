//! The accounts database of a backup, `Accounts3.sqlite`: is an Apple Account signed in, and what for.
//!
//! Apple's, undescribed; tables as iLEAPP reads them. Names and addresses in it are not read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Unreadable;
use super::untrusted::Untrusted;
use crate::facts::text::plain;

/// The database's name in the folder that [`apple_account`] is given.
pub const ACCOUNTS_NAME: &str = "Accounts3.sqlite";
/// The sort of account that iCloud hangs on.
const APPLE_ACCOUNT: &str = "com.apple.account.AppleAccount";
/// More accounts than any phone has.
const ROWS_MAX: usize = 10_000;
/// More tables than any version has, and more uses than there are.
const TABLES_MAX: usize = 1_000;
const CLASSES_MAX: usize = 100;

/// Whether an Apple Account is signed in, from `dir`, which holds a copy of the database that belongs to this call.
///
/// # Errors
/// As [`super::read_database`].
pub fn apple_account(dir: &Path) -> Result<bool, Unreadable> {
    Ok(!apple_accounts(&Untrusted::open(dir, ACCOUNTS_NAME)?)?.is_empty())
}

/// The rows of the Apple Accounts that are signed in.
fn apple_accounts(database: &Untrusted) -> Result<BTreeSet<i64>, Unreadable> {
    let types = database.table("ZACCOUNTTYPE")?.ok_or_else(|| database.no_table("ZACCOUNTTYPE"))?;
    let accounts = database.table("ZACCOUNT")?.ok_or_else(|| database.no_table("ZACCOUNT"))?;
    if !types.has("ZIDENTIFIER") || !accounts.has("ZACCOUNTTYPE") {
        return Err(database.no_table("ZACCOUNT with the type of each account"));
    }
    let mut apple = BTreeSet::new();
    database.scan(&types, &["Z_PK", "ZIDENTIFIER"], ROWS_MAX, |cells| {
        if cells.text(1) == Some(APPLE_ACCOUNT) {
            apple.extend(cells.whole(0));
        }
        Ok(())
    })?;
    let mut signed_in = BTreeSet::new();
    database.scan(&accounts, &["Z_PK", "ZACCOUNTTYPE", "ZACTIVE"], ROWS_MAX, |cells| {
        // A version without the column, or without a value in it, has no account that is not active.
        let active = cells.whole(2) != Some(0);
        if active && cells.whole(1).is_some_and(|kind| apple.contains(&kind)) {
            signed_in.extend(cells.whole(0));
        }
        Ok(())
    })?;
    Ok(signed_in)
}

/// What the Apple Accounts are used for, by the phone's own names, sorted: text from the phone. From `dir`, as
/// [`apple_account`].
///
/// # Errors
/// As [`super::read_database`].
pub fn data_classes(dir: &Path) -> Result<Vec<String>, Unreadable> {
    let database = Untrusted::open(dir, ACCOUNTS_NAME)?;
    let missing = || database.no_table("with the data classes of accounts");
    let names = database.table_names(TABLES_MAX)?;
    // Core Data numbers its join tables by entity: the numbers differ between versions.
    let join = names.iter().find(|name| numbered(name, "ENABLEDDATACLASSES")).ok_or_else(missing)?;
    let join = database.table(join)?.ok_or_else(missing)?;
    let column = |of: &str| join.columns().find(|name| numbered(name, of));
    let (account, class) = column("ENABLEDACCOUNTS").zip(column("ENABLEDDATACLASSES")).ok_or_else(missing)?;
    let classes = database.table("ZDATACLASS")?.filter(|table| table.has("ZNAME")).ok_or_else(missing)?;
    let apple = apple_accounts(&database)?;
    let mut named = BTreeMap::new();
    database.scan(&classes, &["Z_PK", "ZNAME"], ROWS_MAX, |cells| {
        named.extend(cells.whole(0).zip(cells.text(1).map(plain)));
        Ok(())
    })?;
    let mut used = BTreeSet::new();
    database.scan(&join, &[account, class], ROWS_MAX, |cells| {
        let of_apple = cells.whole(0).is_some_and(|account| apple.contains(&account));
        used.extend(cells.whole(1).filter(|_| of_apple).and_then(|class| named.get(&class).cloned()));
        Ok(())
    })?;
    Ok(used.into_iter().take(CLASSES_MAX).collect())
}

/// `Z_2ENABLEDDATACLASSES` for `ENABLEDDATACLASSES`.
fn numbered(name: &str, of: &str) -> bool {
    let number = name.strip_prefix("Z_").and_then(|rest| rest.strip_suffix(of));
    number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_apple_account_is_used_for_is_told_and_nothing_of_the_others() {
        let classes = |sql: &str| {
            let dir = tempfile::tempdir().unwrap();
            let database = rusqlite::Connection::open(dir.path().join(ACCOUNTS_NAME)).unwrap();
            database.execute_batch(&format!("{TABLES}{sql}")).unwrap();
            drop(database);
            data_classes(dir.path())
        };
        let join = "CREATE TABLE ZDATACLASS (Z_PK INTEGER PRIMARY KEY, ZNAME VARCHAR);
            CREATE TABLE Z_2ENABLEDDATACLASSES (Z_2ENABLEDACCOUNTS INTEGER, Z_7ENABLEDDATACLASSES INTEGER);
            INSERT INTO ZACCOUNT VALUES (1, 1, 1), (2, 1, 2);
            INSERT INTO ZDATACLASS VALUES (4, 'com.apple.Dataclass.CloudPhotos'), (5, 'com.apple.Dataclass.Mail');
            INSERT INTO Z_2ENABLEDDATACLASSES VALUES (1, 4), (2, 5), (9, 5), (1, NULL);";
        assert_eq!(classes(join).unwrap(), ["com.apple.Dataclass.CloudPhotos"]);
        assert!(matches!(classes(""), Err(Unreadable::NoTable { .. })));
        let other = join.replace("Z_7ENABLED", "Z_XENABLED");
        assert!(matches!(classes(&other), Err(Unreadable::NoTable { .. })));
    }

    const TABLES: &str = "CREATE TABLE ZACCOUNTTYPE (Z_PK INTEGER PRIMARY KEY, ZIDENTIFIER VARCHAR);
        INSERT INTO ZACCOUNTTYPE VALUES (1, 'com.apple.account.AppleAccount'), (2, 'com.apple.account.Google');
        CREATE TABLE ZACCOUNT (Z_PK INTEGER PRIMARY KEY, ZACTIVE INTEGER, ZACCOUNTTYPE INTEGER);";

    fn read(sql: &str) -> Result<bool, Unreadable> {
        let dir = tempfile::tempdir().unwrap();
        let database = rusqlite::Connection::open(dir.path().join(ACCOUNTS_NAME)).unwrap();
        database.execute_batch(sql).unwrap();
        drop(database);
        apple_account(dir.path())
    }

    #[test]
    fn an_apple_account_is_told_from_others() {
        for (rows, signed_in) in [
            ("", false),
            ("INSERT INTO ZACCOUNT VALUES (1, 1, 2);", false),
            ("INSERT INTO ZACCOUNT VALUES (1, 0, 1);", false),
            ("INSERT INTO ZACCOUNT VALUES (1, 1, 2), (2, 1, 1);", true),
            ("INSERT INTO ZACCOUNT VALUES (1, NULL, 1);", true),
        ] {
            assert_eq!(read(&format!("{TABLES}{rows}")).unwrap(), signed_in, "{rows}");
        }
    }

    #[test]
    fn what_is_no_such_database_says_nothing() {
        assert!(matches!(read("CREATE TABLE X (Y)"), Err(Unreadable::NoTable { .. })));
        assert!(matches!(
            read("CREATE TABLE ZACCOUNTTYPE (Z_PK); CREATE TABLE ZACCOUNT (Z_PK)"),
            Err(Unreadable::NoTable { .. })
        ));
        assert!(
            read("CREATE VIEW ZACCOUNT AS SELECT 1 AS ZACCOUNTTYPE; CREATE TABLE ZACCOUNTTYPE (Z_PK, ZIDENTIFIER)")
                .is_err()
        );
    }
}
