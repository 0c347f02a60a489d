//! What outlives a run, and what does not.

use super::*;
use crate::facts::path::is_clean_relative;

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Arc<Partials> {
        let dir = Dir::open_ambient_dir(self.0.path(), cap_std::ambient_authority()).unwrap();
        Arc::new(Partials::open(dir).unwrap())
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn of(n: u64) -> Identity {
    Identity { path: format!("DCIM/{n}.MOV"), size: 1000, mtime_ns: 5, birthtime_ns: 4 }
}

fn keep(partials: &Arc<Partials>, n: u64, content: &[u8]) {
    let mut staging = partials.begin_large(of(n)).unwrap();
    staging.write(content).unwrap();
    staging.keep();
}

fn go_on(partials: &Arc<Partials>, kept: Kept) -> Option<(Staging, Vec<u8>)> {
    kept.go_on(partials, &CancellationToken::new()).unwrap()
}

#[test]
fn what_is_kept_is_gone_on_with_in_the_same_run_and_the_next() {
    let desk = Desk::new();
    let partials = desk.open();
    keep(&partials, 1, b"first ");
    let (mut staging, tail) = go_on(&partials, partials.claim(&of(1)).unwrap()).unwrap();
    assert_eq!((staging.written(), &tail[..]), (6, &b"first "[..]));
    staging.write(b"second").unwrap();
    staging.keep();
    let partials = desk.open();
    assert_eq!(partials.list(), [(of(1), 12)]);
    let (staging, _) = go_on(&partials, partials.claim(&of(1)).unwrap()).unwrap();
    let staged = staging.finish("x", 0).unwrap();
    let whole = aws_lc_rs::digest::digest(&SHA256, b"first second");
    assert_eq!((staged.size, &staged.sha256[..]), (12, whole.as_ref()));
    staged.discard();
    assert!(desk.names().is_empty());
}

#[test]
fn another_file_of_the_same_path_is_none_to_go_on_with() {
    let other = [
        Identity { size: 1001, ..of(1) },
        Identity { mtime_ns: 6, ..of(1) },
        Identity { birthtime_ns: 5, ..of(1) },
    ];
    for other in other {
        let desk = Desk::new();
        let partials = desk.open();
        keep(&partials, 1, b"content");
        assert!(partials.claim(&of(2)).is_none() && partials.claim(&other).is_none());
        assert!(desk.names().is_empty());
    }
}

#[test]
fn a_staged_file_that_nobody_places_is_kept_only_with_a_checkpoint() {
    let desk = Desk::new();
    let partials = desk.open();
    let mut staging = partials.begin_large(of(1)).unwrap();
    staging.write(b"content").unwrap();
    drop(staging.finish("x", 0).unwrap());
    assert!(desk.names().is_empty(), "without a checkpoint nothing of it is durable");
    keep(&partials, 1, b"content");
    let (staging, _) = go_on(&partials, partials.claim(&of(1)).unwrap()).unwrap();
    drop(staging.finish("x", 0).unwrap());
    assert_eq!(partials.list(), [(of(1), 7)]);
}

#[test]
fn a_journal_cut_anywhere_counts_up_to_its_last_whole_line() {
    let desk = Desk::new();
    let partials = desk.open();
    keep(&partials, 1, b"first ");
    let (mut staging, _) = go_on(&partials, partials.claim(&of(1)).unwrap()).unwrap();
    staging.write(b"second").unwrap();
    staging.keep();
    let path = desk.0.path().join("1.journal");
    let journal = std::fs::read(&path).unwrap();
    let lines: Vec<usize> = (0..journal.len()).filter(|at| journal[*at] == b'\n').collect();
    assert_eq!(lines.len(), 3);
    for cut in 0..=journal.len() {
        let read = read_journal(&journal[..cut]).map(|(_, at)| at.bytes);
        let expected = if cut > lines[2] { Some(12) } else { (cut > lines[1]).then_some(6) };
        assert_eq!(read, expected, "cut at {cut}");
    }
    for at in 0..journal.len() {
        let mut changed = journal.clone();
        changed[at] ^= 0x15;
        if let Some((of, at)) = read_journal(&changed) {
            assert!(at.bytes <= of.size && is_clean_relative(&of.path));
        }
    }
    // Behind a torn line it is gone on in a line of its own.
    std::fs::write(&path, &journal[..journal.len() - 1]).unwrap();
    let partials = desk.open();
    let (mut staging, _) = go_on(&partials, partials.claim(&of(1)).unwrap()).unwrap();
    assert_eq!(staging.written(), 6);
    staging.write(b"other").unwrap();
    staging.keep();
    assert_eq!(desk.open().list(), [(of(1), 11)]);
}

#[test]
fn the_folder_holds_no_more_than_is_worth_it() {
    let desk = Desk::new();
    let partials = desk.open();
    for n in 0..KEPT_MAX as u64 + 5 {
        keep(&partials, n, b"content");
    }
    assert_eq!((partials.list().len(), desk.names().len()), (KEPT_MAX, 2 * KEPT_MAX));
    for odd in ["7", "x", "900.journal", "0007"] {
        std::fs::write(desk.0.path().join(odd), b"noise").unwrap();
    }
    let partials = desk.open();
    assert!(partials.list().len() < KEPT_MAX && desk.names().len() == 2 * partials.list().len());
    assert!(partials.begin().is_ok(), "no name is taken twice");
    partials.retain(|of| of.path == "DCIM/3.MOV");
    assert_eq!(partials.list(), [(of(3), 7)]);
}

#[test]
fn a_checkpoint_is_due_as_often_as_a_batch() {
    let desk = Desk::new();
    let partials = desk.open();
    let mut staging = partials.begin_large(of(1)).unwrap();
    staging.write(&[1; 100]).unwrap();
    assert!(staging.due().is_none());
    let block = vec![2; 1 << 20];
    for _ in 0..64 {
        staging.write(&block).unwrap();
    }
    let due = staging.due().unwrap();
    assert!(staging.due().is_none(), "one at a time");
    due.make().unwrap();
    assert_eq!(desk.names(), ["1", "1.journal"]);
    // A file that is not large has none.
    let mut small = partials.begin().unwrap();
    for _ in 0..65 {
        small.write(&block).unwrap();
    }
    assert!(small.due().is_none());
}
