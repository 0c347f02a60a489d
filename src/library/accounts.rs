//! The accounts database of a backup, `Accounts3.sqlite`: is an Apple Account signed in.
//!
//! Apple's, undescribed; tables as iLEAPP reads them. Names and addresses in it are not read.

use std::collections::BTreeSet;
use std::path::Path;

use super::Unreadable;
use super::untrusted::Untrusted;

/// The database's name in the folder that [`apple_account`] is given.
pub const ACCOUNTS_NAME: &str = "Accounts3.sqlite";
/// The sort of account that iCloud hangs on.
const APPLE_ACCOUNT: &str = "com.apple.account.AppleAccount";
/// More accounts than any phone has.
const ROWS_MAX: usize = 10_000;

/// Whether an Apple Account is signed in, from `dir`, which holds a copy of the database that belongs to this call.
///
/// # Errors
/// As [`super::read_database`].
pub fn apple_account(dir: &Path) -> Result<bool, Unreadable> {
    let database = Untrusted::open(dir, ACCOUNTS_NAME)?;
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
    let mut signed_in = false;
    database.scan(&accounts, &["ZACCOUNTTYPE", "ZACTIVE"], ROWS_MAX, |cells| {
        // A version without the column, or without a value in it, has no account that is not active.
        let active = cells.whole(1) != Some(0);
        signed_in |= active && cells.whole(0).is_some_and(|kind| apple.contains(&kind));
        Ok(())
    })?;
    Ok(signed_in)
}

#[cfg(test)]
mod tests {
    use super::*;

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
