//! A write-ahead log with salts that follow from the seed.
//!
//! SQLite salts every log with random numbers; the same phone would never be made twice. The salts and the checksums
//! over them are the only thing that changes. Format: "WAL-Mode File Format" in SQLite's documentation.

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::Error;
use super::folder::Folder;
use super::phone::Phone;
use super::random::Random;

/// From now on `database` writes into a log; if the log is to `stay`, what is written is never carried over into the
/// database itself.
pub(super) fn begin(database: &Connection, stay: bool) -> Result<(), rusqlite::Error> {
    database.pragma_update(None, "journal_mode", "WAL")?;
    if stay {
        database.pragma_update(None, "wal_autocheckpoint", 0)?;
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    }
    Ok(())
}

/// Once the database at `path` (below the folder) is closed: makes its log, if it stays, the phone's own.
pub(super) fn finish(
    phone: &Phone,
    folder: &mut Folder,
    path: &str,
    changed: Timestamp,
) -> Result<(), Error> {
    if !phone.live_wal {
        return Ok(());
    }
    let log = folder.place(&format!("{path}-wal"))?;
    let io = |error| Error::Io { path: log.clone(), error };
    let bytes = std::fs::read(&log).map_err(io)?;
    std::fs::write(&log, resalted(bytes, phone.seed)).map_err(io)?;
    // The phone has the index of the log in memory that is shared through this file; it is rebuilt by whoever opens
    // the database.
    let index = folder.place(&format!("{path}-shm"))?;
    std::fs::write(&index, vec![0; 32_768]).map_err(|error| Error::Io { path: index, error })?;
    folder.adopt(&format!("{path}-wal"), changed)?;
    folder.adopt(&format!("{path}-shm"), changed)
}

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;

/// The same log with the salts of `seed`. What is no log of whole frames comes back unchanged.
fn resalted(mut log: Vec<u8>, seed: u64) -> Vec<u8> {
    if log.len() < HEADER_BYTES {
        return log;
    }
    let word = |at: usize| u32::from_be_bytes([log[at], log[at + 1], log[at + 2], log[at + 3]]);
    let frame = FRAME_HEADER_BYTES + usize::try_from(word(8)).unwrap_or(usize::MAX - FRAME_HEADER_BYTES);
    let is_log = word(0) & 0xffff_fffe == 0x377f_0682;
    if !is_log || !(log.len() - HEADER_BYTES).is_multiple_of(frame) {
        return log;
    }
    let big_endian = word(0) & 1 == 1;
    let salts = Random::new(seed, "log").next().to_be_bytes();
    log[16..24].copy_from_slice(&salts);
    let mut sum = checksum((0, 0), &log[..24], big_endian);
    put(&mut log[24..32], sum);
    for one in log[HEADER_BYTES..].chunks_exact_mut(frame) {
        one[8..16].copy_from_slice(&salts);
        sum = checksum(sum, &one[..8], big_endian);
        sum = checksum(sum, &one[FRAME_HEADER_BYTES..], big_endian);
        put(&mut one[16..24], sum);
    }
    log
}

fn put(place: &mut [u8], sum: (u32, u32)) {
    place[..4].copy_from_slice(&sum.0.to_be_bytes());
    place[4..].copy_from_slice(&sum.1.to_be_bytes());
}

fn checksum(mut sum: (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let word = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        };
        sum.0 = sum.0.wrapping_add(word(0)).wrapping_add(sum.1);
        sum.1 = sum.1.wrapping_add(word(4)).wrapping_add(sum.0);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_reads_a_resalted_log_and_the_bytes_follow_from_the_seed() {
        let make = |seed| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.db");
            let database = rusqlite::Connection::open(&path).unwrap();
            database.pragma_update(None, "journal_mode", "WAL").unwrap();
            database.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES ('kept')").unwrap();
            let log = std::fs::read(dir.path().join("a.db-wal")).unwrap();
            let copy = tempfile::tempdir().unwrap();
            let log = resalted(log, seed);
            std::fs::copy(&path, copy.path().join("b.db")).unwrap();
            std::fs::write(copy.path().join("b.db-wal"), &log).unwrap();
            let read = rusqlite::Connection::open(copy.path().join("b.db")).unwrap();
            let kept: String = read.query_row("SELECT a FROM t", [], |row| row.get(0)).unwrap();
            assert_eq!(kept, "kept");
            log
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn what_is_no_log_stays_as_it_is() {
        for bytes in [vec![], vec![7; 31], vec![7; 500]] {
            assert_eq!(resalted(bytes.clone(), 1), bytes);
        }
    }
}
