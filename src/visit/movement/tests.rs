//! Readings as they may follow each other, and what is made of them.

use jiff::SignedDuration;

use super::baseline::READINGS_MAX;
use super::*;

fn reading(minute: i64, left: u64) -> Reading {
    Reading {
        at: Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute),
        to_upload: Some(left),
        uploaded: Some(1000 - left),
        bytes_to_upload: None,
        server_assets: None,
        to_download: None,
        last_sync: None,
        reason: None,
        shut: false,
    }
}

fn watched(readings: impl IntoIterator<Item = Reading>) -> Movement {
    let mut watch = Watch::default();
    readings.into_iter().map(|reading| watch.take(reading)).last().unwrap()
}

#[test]
fn two_equal_readings_a_quarter_of_an_hour_apart_are_stuck_and_nearer_ones_are_not() {
    assert_eq!(watched([reading(0, 30)]).pace, Pace::TooEarly);
    assert_eq!(watched([reading(0, 30), reading(14, 30)]).pace, Pace::TooEarly);
    let stuck = watched([reading(0, 30), reading(15, 30)]);
    assert_eq!(stuck.pace, Pace::Stuck);
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(15);
    assert!(stuck.sentence(now, None).contains("nothing has moved for 15 min"), "{stuck:?}");
}

#[test]
fn a_reason_makes_it_waiting() {
    let paused = |minute| Reading { reason: Some(FindingId::IcloudStorageFull), ..reading(minute, 30) };
    let waiting = watched([paused(0), paused(40)]);
    assert_eq!(waiting.pace, Pace::Waiting);
    let said = waiting.sentence(waiting.since, Some("iCloud storage is full."));
    assert!(said.starts_with("Waiting, not stuck: iCloud storage is full. 30 items"), "{said}");
}

#[test]
fn what_was_explained_until_now_is_not_stuck_yet() {
    let paused = |minute| Reading { reason: Some(FindingId::IcloudStorageFull), ..reading(minute, 30) };
    assert_eq!(watched([paused(0), paused(40), reading(41, 30)]).pace, Pace::TooEarly);
    assert_eq!(watched([paused(0), paused(40), reading(41, 30), reading(55, 30)]).pace, Pace::TooEarly);
    assert_eq!(watched([paused(0), paused(40), reading(41, 30), reading(56, 30)]).pace, Pace::Stuck);
    // When the reason went nobody saw.
    assert_eq!(watched([paused(0), reading(20, 30)]).pace, Pace::TooEarly);
}

#[test]
fn what_did_not_wait_before_is_not_stuck_yet() {
    let taken = |minute| Reading { uploaded: Some(1000), ..reading(minute, 1) };
    let first = || Reading { uploaded: Some(1000), ..reading(0, 0) };
    assert_eq!(watched([first(), taken(20)]).pace, Pace::TooEarly);
    assert_eq!(watched([first(), taken(20), taken(35)]).pace, Pace::Stuck);
    let blind = Reading { to_upload: None, uploaded: None, ..reading(0, 0) };
    assert_eq!(watched([blind, reading(20, 30)]).pace, Pace::TooEarly);
}

#[test]
fn a_movement_across_a_reading_that_failed_is_seen_and_a_standstill_too() {
    let blind = |minute| Reading { to_upload: None, uploaded: None, ..reading(minute, 0) };
    let moving = watched([reading(0, 30), blind(10), reading(20, 10)]);
    assert_eq!((moving.pace, moving.moved_at), (Pace::Moving, Some(reading(20, 0).at)));
    assert_eq!(watched([reading(0, 30), blind(10), reading(20, 30)]).pace, Pace::Stuck);
}

#[test]
fn time_in_which_the_phone_was_away_or_shut_is_no_standstill() {
    let after = |away: i64, minute| {
        let mut watch = Watch::default();
        watch.take(reading(0, 30));
        watch.leave_out(SignedDuration::from_mins(away));
        watch.leave_out(SignedDuration::from_mins(-9));
        watch.take(reading(minute, 30))
    };
    assert_eq!(after(0, 20).pace, Pace::Stuck);
    assert_eq!(after(10, 20).pace, Pace::TooEarly);
    assert_eq!(after(10, 25).pace, Pace::Stuck);
    // Never more than there was.
    assert_eq!(after(600, 20).still_from, reading(20, 30).at);
    let shut = |minute| Reading { shut: true, to_upload: None, uploaded: None, ..reading(minute, 0) };
    assert_eq!(watched([reading(0, 30), reading(5, 30), shut(15), reading(25, 30)]).pace, Pace::TooEarly);
    // What was found stays found after a deed.
    let mut watch = Watch::default();
    watch.take(reading(0, 30));
    watch.take(reading(20, 30));
    watch.leave_out(SignedDuration::from_mins(60));
    let movement = watch.take(reading(81, 30));
    assert_eq!((movement.pace, watch.left_out()), (Pace::Stuck, SignedDuration::from_mins(60)));
    assert_eq!(movement.still_since(), Some(reading(60, 30).at));
}

#[test]
fn spans_that_overlap_count_once() {
    let at = |minute| reading(minute, 0).at;
    let mut unwatched = Unwatched::default();
    for (since, until) in [(0, 5), (10, 12), (14, 15), (9, 20), (15, 30)] {
        unwatched.leave_out(at(since), at(until));
    }
    assert_eq!(unwatched.take(), SignedDuration::from_mins(5 + 11 + 10));
    assert_eq!(unwatched.take(), SignedDuration::ZERO);
    unwatched.leave_out(at(5), at(1));
    assert_eq!(unwatched.take(), SignedDuration::ZERO, "a clock was set back");
}

#[test]
fn what_moves_has_a_rate_and_an_end() {
    let moving = watched([reading(0, 30), reading(10, 20)]);
    assert_eq!((moving.pace, moving.uploaded_since, moving.left), (Pace::Moving, 10, Some(20)));
    assert_eq!((moving.per_hour.map(f64::round), moving.seconds_left), (Some(60.0), Some(1200)));
    let said = moving.sentence(moving.since, None);
    assert_eq!(said, "Moving at 60 items an hour: 20 items to upload, done in about 20 min.");
    // Bytes decide where they are known.
    let heavy = |minute, left, bytes| Reading { bytes_to_upload: Some(bytes), ..reading(minute, left) };
    let moving = watched([heavy(0, 30, 60_000_000), heavy(1, 29, 54_000_000)]);
    assert_eq!((moving.bytes_per_second, moving.seconds_left), (Some(100_000.0), Some(540)));
}

/// What is found on a phone with three photos on their way, `minutes` after a first reading that showed `before`.
fn found_after(minutes: i64, before: u64, change: impl Fn(&mut Facts)) -> bool {
    let mut watch = Watch::default();
    let mut last = None;
    for (minute, waiting) in [(0, before), (minutes, 3)] {
        let mut facts = Facts { device: Some(crate::facts::Device::default()), ..Facts::default() };
        facts.observed_at = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        let source = || Source::new("test", "key");
        facts.icloud_photos.enabled = Some(Fact::new(true, source()));
        facts.icloud_photos.last_sync = Some(Fact::new(facts.observed_at, source()));
        let counts = &mut facts.library.counts;
        (counts.waiting, counts.never_queued, counts.failed) = (Some(waiting), Some(0), Some(0));
        change(&mut facts);
        let movement = watch.take(Reading::of(&facts, &crate::diagnosis::diagnose(&facts)));
        movement.tell(&mut facts);
        last = Some(crate::diagnosis::diagnose(&facts));
    }
    last.is_some_and(|diagnosis| diagnosis.finding(FindingId::UploadsStuck).is_some())
}

#[test]
fn a_measured_standstill_is_found_and_a_shorter_one_a_movement_and_a_reason_are_not() {
    let nothing = |_: &mut Facts| {};
    assert!(found_after(15, 3, nothing));
    assert!(!found_after(14, 3, nothing));
    assert!(!found_after(15, 4, nothing));
    assert!(!found_after(15, 3, |facts| {
        let made_at = Fact::new(Timestamp::UNIX_EPOCH, Source::new("backup:test", ""));
        facts.library.from_backup = Some(made_at);
    }));
    assert!(!found_after(15, 3, |facts| {
        let engine = facts.icloud_photos.engine.get_or_insert_default();
        engine.in_airplane_mode = Some(Fact::new(true, Source::new("test", "key")));
        engine.initial_sync_date = Some(Fact::new(Timestamp::UNIX_EPOCH, Source::new("test", "key")));
    }));
}

#[test]
fn one_reading_is_no_standstill_and_what_is_off_or_given_up_is_not_called_stuck() {
    assert_eq!(watched([reading(0, 30)]).still_since(), None);
    assert_eq!(watched([reading(0, 30), reading(1, 30)]).still_since(), Some(Timestamp::UNIX_EPOCH));
    assert_eq!(watched([reading(0, 30), reading(1, 29)]).still_since(), None);
    let mut facts = Facts { device: Some(crate::facts::Device::default()), ..Facts::default() };
    let counts = &mut facts.library.counts;
    (counts.waiting, counts.never_queued, counts.failed) = (Some(0), Some(9), Some(0));
    let reason_of = |facts: &Facts| Reading::of(facts, &crate::diagnosis::diagnose(facts)).reason;
    assert_eq!(reason_of(&facts), None);
    facts.icloud_photos.enabled = Some(Fact::new(false, Source::new("test", "key")));
    assert_eq!(reason_of(&facts), Some(FindingId::IcloudPhotosOff));
    facts.icloud_photos.enabled = None;
    let counts = &mut facts.library.counts;
    (counts.never_queued, counts.failed) = (Some(0), Some(9));
    assert_eq!(reason_of(&facts), Some(FindingId::UploadsFailed));
}

#[test]
fn it_stops_being_moving_when_it_stands_still() {
    let now = [reading(0, 30), reading(5, 29), reading(19, 29)];
    assert_eq!(watched(now.clone()).pace, Pace::Moving);
    assert_eq!(watched(now.into_iter().chain([reading(20, 29)])).pace, Pace::Stuck);
}

#[test]
fn new_photos_are_no_standstill_and_no_library_is_no_verdict() {
    // Two more were taken, three went up.
    let mut later = reading(20, 29);
    later.uploaded = Some(973);
    assert_eq!(watched([reading(0, 30), later]).pace, Pace::Moving);
    let blind = Reading { to_upload: None, uploaded: None, ..reading(0, 0) };
    assert_eq!(watched([blind]).pace, Pace::Unknown);
    assert_eq!(watched([reading(0, 0)]).pace, Pace::Done);
}

#[test]
fn a_clock_that_was_set_back_starts_anew_and_absurd_numbers_do_no_harm() {
    let movement = watched([reading(60, 30), reading(0, 30)]);
    assert_eq!((movement.pace, movement.since), (Pace::TooEarly, Timestamp::UNIX_EPOCH));
    let mut absurd = reading(1, 30);
    (absurd.to_upload, absurd.bytes_to_upload) = (Some(u64::MAX), Some(u64::MAX));
    let mut later = absurd.clone();
    (later.at, later.bytes_to_upload) = (absurd.at + SignedDuration::from_mins(1), Some(u64::MAX - 1));
    let movement = watched([absurd, later]);
    assert!(!movement.sentence(movement.since, None).is_empty());
    let mut watch = Watch::default();
    for minute in 0..500 {
        watch.take(reading(minute, 30));
    }
    assert_eq!(watch.readings.len(), READINGS_MAX);
    assert_eq!(watch.movement().pace, Pace::Stuck);
}
