//! The phones that are plugged in, without phones and with a clock that is told.

use super::super::arrivals::AT_PORT_MAX;
use super::*;

const PACE: Pace = Pace {
    away_idle: Duration::from_secs(5),
    away_working: Duration::from_secs(45),
    unseen: Duration::from_secs(60),
    look_again: Duration::from_secs(15),
};

fn udid(n: u32) -> Udid {
    Udid::parse(&format!("00008101-{n:016X}")).unwrap()
}

fn phone(n: u32, id: u32) -> Attached {
    Attached { id: DeviceId(id), udid: udid(n), product_id: 0x12a8, location_id: 0, speed_bps: 0 }
}

fn work(attached: Attached) -> Vec<Do> {
    vec![Do::Work { attached, quietly: false }]
}

/// Stays, and the clock in seconds.
fn stays() -> (Stays, impl Fn(u64) -> Instant) {
    let start = Instant::now();
    (Stays::new(PACE), move |seconds| start + Duration::from_secs(seconds))
}

#[test]
fn a_plug_begins_and_an_unplug_ends() {
    let (mut stays, at) = stays();
    assert_eq!(stays.attached(at(0), phone(1, 7), None), work(phone(1, 7)));
    assert_eq!(stays.attached(at(0), phone(1, 7), None), [], "it is told once");
    assert_eq!(stays.worked(at(1), &udid(1), Worked::Settled), []);
    assert_eq!(stays.tick(at(1000)), [], "it may stay for long");
    assert_eq!(stays.detached(at(1000), DeviceId(7)), Some(udid(1)));
    assert_eq!(stays.tick(at(1004)), []);
    assert_eq!(stays.tick(at(1005)), [Do::End { udid: udid(1), since: at(1000) }]);
    assert_eq!(stays.attached(at(0), phone(1, 8), None), work(phone(1, 8)), "the next plug is another stay");
}

#[test]
fn a_loose_cable_is_the_same_stay() {
    let (mut stays, at) = stays();
    let _ = stays.attached(at(0), phone(1, 7), None);
    stays.detached(at(1), DeviceId(7));
    assert_eq!(stays.attached(at(0), phone(1, 8), None), [], "the visit finds it again by itself");
    assert_eq!(stays.worked(at(2), &udid(1), Worked::Settled), []);
    assert_eq!(stays.detached(at(3), DeviceId(7)), None, "that number is an old one");
    assert_eq!(stays.tick(at(500)), []);
}

#[test]
fn one_that_leaves_in_the_middle_is_waited_for_and_then_stopped() {
    let (mut stays, at) = stays();
    let _ = stays.attached(at(0), phone(1, 7), None);
    stays.detached(at(10), DeviceId(7));
    assert_eq!(stays.tick(at(54)), []);
    assert_eq!(stays.tick(at(55)), [Do::Stop(udid(1))]);
    assert_eq!(stays.tick(at(56)), [], "once");
    let end = Do::End { udid: udid(1), since: at(10) };
    assert_eq!(stays.worked(at(57), &udid(1), Worked::Stopped), [end]);
}

#[test]
fn one_that_returned_too_late_for_the_visit_is_worked_with_again_but_not_for_ever() {
    let (mut stays, at) = stays();
    let _ = stays.attached(at(0), phone(1, 7), None);
    for id in 8..8 + TRIES_MAX {
        stays.detached(at(1), DeviceId(id - 1));
        assert_eq!(stays.attached(at(0), phone(1, id), None), []);
        assert_eq!(stays.worked(at(2), &udid(1), Worked::Gone), work(phone(1, id)));
    }
    assert_eq!(stays.worked(at(3), &udid(1), Worked::Gone), []);
}

#[test]
fn a_muxer_that_says_of_every_phone_that_it_left_before_it_ends_ends_nothing() {
    let (mut stays, at) = stays();
    let _ = stays.attached(at(0), phone(1, 7), None);
    stays.worked(at(1), &udid(1), Worked::Settled);
    stays.detached(at(10), DeviceId(7));
    stays.still_plugged_in(&udid(1));
    stays.unseen(at(11));
    assert_eq!(stays.tick(at(40)), [], "the new one may take its time");
    assert_eq!(stays.attached(at(41), phone(1, 1), None), [], "the same stay");
    stays.detached(at(50), DeviceId(1));
    stays.still_plugged_in(&udid(1));
    assert_eq!(stays.tick(at(109)), []);
    assert_eq!(stays.tick(at(110)), [Do::End { udid: udid(1), since: at(50) }], "nobody has it any more");
}

#[test]
fn a_muxer_that_is_started_anew_ends_nothing() {
    let (mut stays, at) = stays();
    let _ = stays.attached(at(0), phone(1, 7), None);
    stays.worked(at(1), &udid(1), Worked::Settled);
    stays.unseen(at(10));
    assert_eq!(stays.tick(at(69)), []);
    assert_eq!(stays.attached(at(0), phone(1, 1), None), []);
    stays.unseen(at(100));
    assert_eq!(stays.tick(at(160)), [Do::End { udid: udid(1), since: at(100) }]);
}

#[test]
fn work_that_ended_because_the_muxer_went_is_begun_again_in_the_same_stay() {
    let (mut stays, at) = stays();
    let _ = stays.attached(at(0), phone(1, 7), None);
    let _ = stays.attached(at(0), phone(2, 8), None);
    stays.unseen(at(10));
    for n in [1, 2] {
        assert_eq!(stays.worked(at(11), &udid(n), Worked::Gone), []);
    }
    assert_eq!(stays.attached(at(20), phone(1, 1), None), work(phone(1, 1)));
    assert_eq!(stays.tick(at(69)), []);
    assert_eq!(stays.tick(at(70)), [Do::End { udid: udid(2), since: at(10) }]);
    // One that was given up after all that time is over at once.
    stays.unseen(at(100));
    assert_eq!(stays.tick(at(160)), [Do::Stop(udid(1))]);
    let end = Do::End { udid: udid(1), since: at(100) };
    assert_eq!(stays.worked(at(161), &udid(1), Worked::Stopped), [end]);
}

#[test]
fn an_unplug_that_was_seen_counts_also_when_the_muxer_goes_with_its_last_phone() {
    let (mut stays, at) = stays();
    let _ = stays.attached(at(0), phone(1, 7), None);
    stays.worked(at(1), &udid(1), Worked::Settled);
    stays.detached(at(10), DeviceId(7));
    stays.unseen(at(11));
    assert_eq!(stays.tick(at(15)), [Do::End { udid: udid(1), since: at(10) }]);
}

#[test]
fn what_was_open_at_the_start_goes_on_when_the_phone_is_there_and_ends_when_not() {
    let (mut stays, at) = stays();
    stays.taken_up(at(0), udid(1), true);
    stays.taken_up(at(0), udid(2), false);
    stays.taken_up(at(0), udid(3), true);
    assert_eq!(stays.attached(at(0), phone(1, 1), None), work(phone(1, 1)));
    assert_eq!(stays.attached(at(0), phone(2, 2), None), [], "all was done before");
    assert_eq!(stays.tick(at(60)), [Do::End { udid: udid(3), since: at(0) }]);
}

#[test]
fn who_waits_for_a_person_is_looked_at_again_without_asking() {
    let (mut stays, at) = stays();
    let _ = stays.attached(at(0), phone(1, 7), None);
    assert_eq!(stays.worked(at(10), &udid(1), Worked::Waits), []);
    assert_eq!(stays.tick(at(24)), []);
    let again = [Do::Work { attached: phone(1, 7), quietly: true }];
    assert_eq!(stays.tick(at(25)), again);
    stays.worked(at(26), &udid(1), Worked::Shut);
    stays.paired(at(27), DeviceId(7));
    assert_eq!(stays.tick(at(27)), again, "somebody has just tapped Trust");
    stays.worked(at(28), &udid(1), Worked::Hindered);
    assert_eq!(stays.tick(at(87)), []);
    assert_eq!(stays.tick(at(88)), work(phone(1, 7)), "nobody was asked yet: the disk was full");
    stays.worked(at(90), &udid(1), Worked::Waits);
    assert_eq!(stays.tick(at(5000)), again);
    stays.worked(at(5001), &udid(1), Worked::Waits);
    assert_eq!(stays.tick(at(100_000)), [], "a passcode that nobody enters is not asked for all night");
}

#[test]
fn a_disk_that_was_full_for_long_keeps_no_phone_from_its_visit() {
    let (mut stays, at) = stays();
    let mut deeds = stays.attached(at(0), phone(1, 7), None);
    for hour in 1..=24 {
        assert_eq!(deeds, work(phone(1, 7)));
        stays.worked(at(3600 * hour), &udid(1), Worked::Hindered);
        assert_eq!(stays.tick(at(3600 * hour + 14)), [], "not again and again");
        deeds = stays.tick(at(3600 * hour + 960));
    }
    // In a visit that could not be recorded somebody may have been asked: that is not done all night.
    for round in 1..ROUNDS_MAX {
        stays.worked(at(100_000 * u64::from(round)), &udid(1), Worked::Spoilt);
        assert_eq!(stays.tick(at(100_000 * u64::from(round) + 960)), work(phone(1, 7)));
    }
    stays.worked(at(900_000), &udid(1), Worked::Spoilt);
    assert_eq!(stays.tick(at(9_000_000)), []);
}

#[test]
fn a_cable_that_is_loose_while_something_is_done_is_the_same_stay() {
    let (mut stays, at) = stays();
    let _ = stays.attached(at(0), phone(1, 7), None);
    stays.detached(at(10), DeviceId(7));
    assert_eq!(stays.worked(at(10), &udid(1), Worked::Gone), [], "the work is broken off at once");
    assert_eq!(stays.tick(at(11)), []);
    assert_eq!(stays.attached(at(12), phone(1, 8), None), work(phone(1, 8)), "and goes on");
    stays.detached(at(20), DeviceId(8));
    assert_eq!(stays.worked(at(21), &udid(1), Worked::Gone), []);
    assert_eq!(stays.tick(at(25)), [Do::End { udid: udid(1), since: at(20) }]);
}

#[test]
fn a_muxer_that_lists_phones_without_end_is_not_believed() {
    let (mut stays, at) = stays();
    for n in 0..u32::try_from(STAYS_MAX).unwrap() {
        assert_eq!(stays.attached(at(3600 * u64::from(n / 200)), phone(n, n), None).len(), 1);
    }
    assert_eq!(stays.attached(at(9999), phone(9999, 9999), None), [Do::Refuse(udid(9999))]);
    assert_eq!(stays.attached(at(9999), phone(0, 10_000), None), [], "who is there already stays");
}

#[test]
fn a_device_that_is_another_one_each_time_fills_no_record() {
    let (mut stays, at) = stays();
    let mut begun = 0;
    for n in 0..1000 {
        let now = at(3 * u64::from(n));
        begun +=
            stays.attached(now, phone(n, n), None).iter().filter(|it| matches!(it, Do::Work { .. })).count();
        stays.worked(now, &udid(n), Worked::Settled);
        stays.detached(now, DeviceId(n));
        stays.tick(now + PACE.away_idle);
    }
    assert_eq!(begun, AT_PORT_MAX);
    assert_eq!(stays.attached(at(7200), phone(5000, 5000), None), work(phone(5000, 5000)), "it passes");
}

/// As many stays at a port as may begin there, all of them over; what was begun at `now`.
fn use_up(stays: &mut Stays, now: Instant, port: &str, first: u32) -> usize {
    let mut begun = 0;
    for n in first..first + 1000 {
        let deeds = stays.attached(now, phone(n, n), Some(port.to_owned()));
        begun += deeds.iter().filter(|it| matches!(it, Do::Work { .. })).count();
        stays.worked(now, &udid(n), Worked::Settled);
        stays.detached(now, DeviceId(n));
        stays.tick(now + PACE.away_idle);
    }
    begun
}

#[test]
fn a_device_that_makes_trouble_at_one_port_keeps_no_phone_at_another_from_its_visit() {
    let (mut stays, at) = stays();
    assert_eq!(use_up(&mut stays, at(0), "1-1", 10_000), AT_PORT_MAX);
    assert_eq!(stays.attached(at(10), phone(1, 1), Some("1-2".to_owned())), work(phone(1, 1)));
    assert_eq!(stays.attached(at(10), phone(2, 2), None), work(phone(2, 2)), "nobody sees where");
    let same = Some("1-1".to_owned());
    assert_eq!(stays.attached(at(10), phone(3, 3), same), [Do::Refuse(udid(3))]);
}

#[test]
fn a_phone_that_was_refused_is_visited_when_there_is_room_if_it_is_still_there() {
    let (mut stays, at) = stays();
    let port = || Some("1-1".to_owned());
    use_up(&mut stays, at(0), "1-1", 10_000);
    for n in 1..=3 {
        assert_eq!(stays.attached(at(10), phone(n, n), port()), [Do::Refuse(udid(n))]);
    }
    assert_eq!(stays.detached(at(20), DeviceId(2)), None);
    assert_eq!(stays.tick(at(3599)), []);
    assert_eq!(stays.tick(at(3600)), [work(phone(1, 1)), work(phone(3, 3))].concat());
    assert_eq!(stays.port(&udid(3)), Some("1-1"));
    assert_eq!(stays.tick(at(3601)), [], "once");
    // What a muxer knew that is gone is not believed.
    use_up(&mut stays, at(3601), "1-1", 20_000);
    assert_eq!(stays.attached(at(3610), phone(4, 4), port()), [Do::Refuse(udid(4))]);
    stays.unseen(at(3620));
    assert!(!stays.tick(at(9000)).iter().any(|it| matches!(it, Do::Work { .. })));
}
