//! What a run that was killed has left in staging, and what of it can be gone on with.
//!
//! The journal trails behind the disk: what it says is durable, what happened in the last second it may not say. So the
//! host writes down that the phone begins to put things in their places before the first of them moves; and files that
//! wait in `Snapshot/` without a line of their own are as good as never sent.

use std::io::{self, BufRead, BufReader};

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;

use super::record::{JOURNAL, Record};
use crate::mobilebackup2::disk::{SNAPSHOT, STATUS};

/// Folders inside one another below `Snapshot/`; real ones have one.
const DEPTH_MAX: usize = 8;

/// The phone was putting files in their places, and how far it came is not known: what stands is half the old backup and
/// half the new one. It is whole again once the status of the new one was received.
///
/// # Errors
/// Any I/O error.
pub(super) fn is_half_put_together(staging: &Dir) -> io::Result<bool> {
    let file = match staging.open(JOURNAL) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let waits = |rest: &[u8]| rest.starts_with(SNAPSHOT.as_bytes());
    let finished = format!("{{\"path\":\"{STATUS}\",");
    let mut half = false;
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        let text = line.as_slice();
        if text.starts_with(b"{\"moved\"") || text.starts_with(b"{\"copied\"") {
            half = true;
        } else if let Some(path) = text.strip_prefix(b"{\"removed\":\"") {
            half |= !waits(path);
        } else if text.starts_with(finished.as_bytes()) {
            half = false;
        }
    }
    Ok(half)
}

/// Removes files that wait in `Snapshot/` and are not recorded as they stand: the phone sends them again. Gives how many.
///
/// # Errors
/// Any I/O error; also a record that cannot be read.
pub(super) fn drop_unrecorded(staging: &Dir, own: &Dir) -> io::Result<u64> {
    let waiting = match own.open_dir_nofollow(SNAPSHOT) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    drop_below(&waiting, SNAPSHOT, &Record::load(staging)?, DEPTH_MAX)
}

fn drop_below(dir: &Dir, path: &str, record: &Record, depth: usize) -> io::Result<u64> {
    let mut dropped = 0;
    for entry in dir.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        let below = name.to_str().map(|name| format!("{path}/{name}"));
        if entry.file_type()?.is_dir() {
            if let (Some(below), Some(deeper)) = (below, depth.checked_sub(1)) {
                dropped += drop_below(&dir.open_dir_nofollow(&name)?, &below, record, deeper)?;
            }
            continue;
        }
        let bytes = entry.metadata()?.len();
        let known = below.and_then(|below| record.file(&below).map(|known| known.bytes));
        if known != Some(bytes) {
            dir.remove_file(&name)?;
            dropped += 1;
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::record::Journal;
    use crate::mobilebackup2::ledger::{Entry, Ledger, Received};

    fn received(path: &str, bytes: u64) -> Entry {
        let (path, device_path) = (path.to_owned(), String::new());
        Entry::Received(Received { path, device_path, bytes, sha256: [7; 32], code: 0 })
    }

    fn moved(from: &str, to: &str) -> Entry {
        Entry::Moved { from: from.to_owned(), to: to.to_owned() }
    }

    fn removed(path: &str) -> Entry {
        Entry::Removed { path: path.to_owned() }
    }

    fn staging() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        (temp, dir)
    }

    #[test]
    fn the_journal_tells_whether_it_is_half_put_together() {
        let cases: [(&[Entry], bool); 6] = [
            (&[received("Snapshot/Status.plist", 1), received("Snapshot/ab/abc", 1)], false),
            (&[received("Snapshot/ab/abc", 1), removed("Snapshot/ab/abc"), removed("Snapshot")], false),
            (&[moved("Snapshot/ab/abc", "ab/abc")], true),
            (&[received("Status.plist", 1), moved("Snapshot/ab/abc", "ab/abc")], true),
            (&[moved("Snapshot/ab/abc", "ab/abc"), received("Status.plist", 1), removed("Snapshot")], false),
            (&[received("Status.plist", 1), removed("ab/old")], true),
        ];
        for (entries, half) in cases {
            let (_temp, staging) = staging();
            assert!(!is_half_put_together(&staging).unwrap());
            Journal::open(&staging).unwrap().keep(entries).unwrap();
            assert_eq!(is_half_put_together(&staging).unwrap(), half, "{entries:?}");
        }
    }

    #[test]
    fn what_waits_without_a_line_is_dropped() {
        let (_temp, staging) = staging();
        staging.create_dir_all("own/Snapshot/ab").unwrap();
        let own = staging.open_dir("own").unwrap();
        assert_eq!(drop_unrecorded(&staging, &staging).unwrap(), 0);
        for name in ["Snapshot/ab/recorded", "Snapshot/ab/shorter", "Snapshot/ab/unknown", "outside"] {
            own.write(name, b"1234").unwrap();
        }
        let lines = [received("Snapshot/ab/recorded", 4), received("Snapshot/ab/shorter", 5)];
        Journal::open(&staging).unwrap().keep(&lines).unwrap();
        assert_eq!(drop_unrecorded(&staging, &own).unwrap(), 2);
        assert!(own.exists("Snapshot/ab/recorded") && own.exists("outside"));
        assert!(!own.exists("Snapshot/ab/shorter") && !own.exists("Snapshot/ab/unknown"));
    }
}
