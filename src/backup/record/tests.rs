//! The record of a proven backup: what it says comes back, and what was changed is noticed.

use super::*;

fn dir() -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
    (temp, dir)
}

fn received(path: &str, bytes: u64, code: u8) -> Entry {
    let sha256 = [u8::try_from(bytes).unwrap(); 32];
    Entry::Received(Received { path: path.into(), device_path: "/x".into(), bytes, sha256, code })
}

fn paths(record: &Record) -> Vec<String> {
    record.files().map(|(path, _)| path).collect()
}

#[test]
fn what_happens_to_files_happens_to_their_record() {
    let (_temp, dir) = dir();
    let text = |t: &str| t.to_owned();
    let mut journal = Journal::open(&dir).unwrap();
    journal
        .keep(&[
            received("Snapshot/ab/abc", 1, 0),
            received("Snapshot/ab/abd", 2, 0),
            received("Snapshot/cd/refused", 0, 0x0B),
            received("ab/abc", 3, 0),
            Entry::Moved { from: text("Snapshot/ab/abc"), to: text("ab/abc") },
            Entry::Copied { from: text("Snapshot"), to: text("Copy") },
        ])
        .unwrap();
    journal.keep(&[Entry::Removed { path: text("Snapshot") }]).unwrap();
    let record = Record::load(&dir).unwrap();
    assert_eq!(paths(&record), ["Copy/ab/abd", "ab/abc"]);
    assert_eq!(record.file("ab/abc").unwrap().bytes, 1);
    assert_eq!(record.refused("refused"), Some(0x0B));

    let sha256 = record.save(&dir).unwrap();
    assert_eq!(Record::sha256(&dir).unwrap(), sha256);
    assert_eq!(Record::load(&dir).unwrap(), record);
    // A later run gets the file that was refused.
    Journal::open(&dir).unwrap().keep(&[received("Snapshot/cd/refused", 5, 0)]).unwrap();
    assert_eq!(Record::load(&dir).unwrap().refused("refused"), None);
}

#[test]
fn a_folder_with_a_name_that_begins_alike_is_another() {
    let mut record = Record::default();
    for path in ["a/1", "ab/1", "a", "a-/1"] {
        record.adopt(path, 1, [0; 32]).unwrap();
    }
    record.take(Line::Removed { removed: "a".into() }).unwrap();
    assert_eq!(paths(&record), ["a-/1", "ab/1"]);
}

#[test]
fn a_line_cut_by_a_crash_is_left_out_and_written_over() {
    let (_temp, dir) = dir();
    Journal::open(&dir).unwrap().keep(&[received("a", 1, 0), received("b", 2, 0)]).unwrap();
    let whole = dir.read(JOURNAL).unwrap();
    for length in 0..whole.len() {
        dir.write(JOURNAL, &whole[..length]).unwrap();
        let known = Record::load(&dir).unwrap();
        assert!(known.files.len() < 2);
        Journal::open(&dir).unwrap().keep(&[received("c", 3, 0)]).unwrap();
        let record = Record::load(&dir).unwrap();
        assert_eq!(record.files.len(), known.files.len() + 1, "cut at {length}");
    }
}

#[test]
fn a_damaged_record_is_an_error_and_not_an_empty_one() {
    let (_temp, dir) = dir();
    for bad in ["{}\n", "x\n", "{\"schema\":\"idevice-fix/other/1\"}\n", "{\"removed\":\"a\"}\n"] {
        dir.write(RECORD, bad).unwrap();
        assert!(Record::load(&dir).is_err(), "{bad}");
    }
    dir.write(RECORD, format!("{{\"schema\":\"{SCHEMA}\"}}\n{{\"path\":\"a\"")).unwrap();
    assert!(Record::load(&dir).is_err());
}
