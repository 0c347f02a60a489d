//! Visits are found again, private, and brought up to date.

use std::os::unix::fs::PermissionsExt;

use super::*;

const UDID: &str = "00008101-000000000000001E";

fn device(name: &str) -> facts::Device {
    facts::Device { udid: UDID.to_owned(), name: Some(name.to_owned()), ..facts::Device::default() }
}

fn ending() -> Ending {
    Ending { exit_status: 0, sentence: "done".to_owned(), photos_verdict: Some("safe".to_owned()) }
}

#[test]
fn a_visit_is_found_again_with_its_steps_and_its_files() {
    let dest = tempfile::tempdir().unwrap();
    let jobs = Jobs::open(dest.path()).unwrap();
    let job = jobs.begin(&Udid::parse(UDID).unwrap(), &device("Anna's iPhone"), "fix", true).unwrap();
    job.step_began("photos").unwrap();
    job.step_ended("photos", "3 files").unwrap();
    job.step_began("backup").unwrap();
    job.keep("report.json", b"{}").unwrap();
    job.ended(&ending()).unwrap();

    let jobs = Jobs::open_existing(dest.path()).unwrap().unwrap();
    let row = jobs.find(None).unwrap().unwrap();
    assert_eq!((row.job.as_str(), row.exit_status), (job.id(), Some(0)));
    assert_eq!(row.steps.len(), 2);
    assert_eq!(row.steps[0].outcome.as_deref(), Some("3 files"));
    assert_eq!(row.steps[1].ended_at, None, "a step that was cut off is shown as such");
    assert_eq!(jobs.read(&row, "report.json").unwrap(), b"{}");
    assert!(jobs.find(Some("nonsense")).unwrap().is_none());
}

#[test]
fn a_visit_that_was_cut_off_has_no_ending() {
    let dest = tempfile::tempdir().unwrap();
    let jobs = Jobs::open(dest.path()).unwrap();
    jobs.begin(&Udid::parse(UDID).unwrap(), &device("x"), "fix", false).unwrap();
    assert_eq!(jobs.list().unwrap()[0].ended_at, None);
    assert!(jobs.find(None).unwrap().is_none(), "it has no report");
}

#[test]
fn an_open_visit_is_settled_taken_up_and_ends_when_the_phone_leaves() {
    let dest = tempfile::tempdir().unwrap();
    let jobs = Jobs::open(dest.path()).unwrap();
    let udid = Udid::parse(UDID).unwrap();
    let job = jobs.begin(&udid, &device("x"), "serve", false).unwrap();
    jobs.begin(&udid, &device("x"), "fix", false).unwrap();
    job.at_port("1-4.2").unwrap();
    job.settled(&ending()).unwrap();

    let open = jobs.open_visits("serve").unwrap();
    assert_eq!(open.len(), 1, "that of another command is nobody's to take up");
    assert_eq!((open[0].exit_status, open[0].ended_at), (Some(0), None));
    assert_eq!(open[0].port.as_deref(), Some("1-4.2"));
    let again = jobs.take_up(&open[0]).unwrap();
    again.log("goes on").unwrap();
    let gone = Ending { exit_status: 3, sentence: "gone".to_owned(), photos_verdict: None };
    let at = Timestamp::UNIX_EPOCH;
    again.left(at, &gone).unwrap();
    again.left(Timestamp::now(), &gone).unwrap();
    assert!(jobs.open_visits("serve").unwrap().is_empty());
    let row = jobs.find(Some(job.id())).unwrap().unwrap();
    assert_eq!((row.exit_status, row.sentence.as_deref()), (Some(0), Some("done")));
    assert_eq!(row.ended_at, Some(at), "it ends once");
}

#[test]
fn a_visit_that_was_not_done_when_the_phone_left_says_so() {
    let dest = tempfile::tempdir().unwrap();
    let jobs = Jobs::open(dest.path()).unwrap();
    let job = jobs.begin(&Udid::parse(UDID).unwrap(), &device("x"), "serve", false).unwrap();
    let gone = Ending { exit_status: 3, sentence: "gone".to_owned(), photos_verdict: None };
    job.left(Timestamp::now(), &gone).unwrap();
    let row = jobs.find(Some(job.id())).unwrap().unwrap();
    assert_eq!((row.exit_status, row.sentence.as_deref()), (Some(3), Some("gone")));
}

#[test]
fn a_record_of_the_first_layout_is_brought_up_to_date() {
    let dest = tempfile::tempdir().unwrap();
    let jobs = Jobs::open(dest.path()).unwrap();
    jobs.begin(&Udid::parse(UDID).unwrap(), &device("x"), "fix", false).unwrap();
    jobs.lock().execute_batch("ALTER TABLE jobs DROP COLUMN port; PRAGMA user_version = 1").unwrap();
    drop(jobs);
    let row = Jobs::open(dest.path()).unwrap().list().unwrap().remove(0);
    assert_eq!((row.command.as_str(), row.port), ("fix", None));
}

#[test]
fn everything_is_private() {
    let dest = tempfile::tempdir().unwrap();
    let below = dest.path().join("new/dest");
    let jobs = Jobs::open(&below).unwrap();
    let job = jobs.begin(&Udid::parse(UDID).unwrap(), &device("x"), "fix", false).unwrap();
    job.keep("facts.json", b"{}").unwrap();
    job.log("line").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&below), 0o700);
    assert_eq!(mode(&below.join(RECORD_NAME)), 0o600);
    assert_eq!(mode(&below.join(UDID)), 0o700);
    assert_eq!(mode(job.path()), 0o700);
    assert_eq!(mode(&job.path().join("facts.json")), 0o600);
    assert_eq!(mode(&job.path().join("log")), 0o600);
}

#[test]
fn a_record_of_a_newer_program_is_left_alone() {
    let dest = tempfile::tempdir().unwrap();
    drop(Jobs::open(dest.path()).unwrap());
    let raw = Connection::open(dest.path().join(RECORD_NAME)).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    assert!(matches!(Jobs::open(dest.path()), Err(Error::Newer { found: 99, .. })));
}

#[test]
fn a_record_that_is_no_database_is_named() {
    let dest = tempfile::tempdir().unwrap();
    std::fs::write(dest.path().join(RECORD_NAME), "this is not a database at all, not a bit").unwrap();
    assert!(matches!(Jobs::open(dest.path()), Err(Error::Record { .. })));
}
