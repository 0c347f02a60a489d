//! The bench with simulated phones, over a real socket where the muxer comes and goes.

use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::job::Row;
use crate::sim::new::{NewOptions, create};
use crate::sim::{Bus, Departure, Device};
use crate::usbmux::Address;
use crate::usbmux::client::Usbmuxd;
use crate::usbmux::server::{Listener, serve};

/// Everything here takes a second or two; a busy machine may need longer.
const WAIT: Duration = Duration::from_secs(60);

/// Nobody is waited for.
const PACE: Pace = Pace {
    away_idle: Duration::from_millis(300),
    away_working: Duration::from_secs(45),
    unseen: Duration::from_secs(20),
    look_again: Duration::from_millis(300),
};

/// A phone with a few photos, whose person is quick.
fn phone(below: &Path, name: &str, seed: u64, settings: &str) -> Arc<Device> {
    let folder = below.join(name);
    let options = NewOptions { photos: Some(3), seed, ..NewOptions::default() };
    create(&folder, &options).unwrap();
    std::fs::write(folder.join("device.toml"), format!("temper = \"kind\"\n{settings}")).unwrap();
    Device::open(&folder, false).unwrap()
}

/// A bench that runs.
struct Running {
    dest: PathBuf,
    cancel: CancellationToken,
    told: Arc<Mutex<Vec<Happening>>>,
    task: tokio::task::JoinHandle<Result<(), Stop>>,
}

impl Running {
    fn start(dest: &Path, muxer: Arc<dyn Muxer>, on_plug: OnPlug) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let (cancel, keep) = (CancellationToken::new(), Arc::clone(&told));
        let bench = Bench {
            muxer,
            dest: dest.to_owned(),
            on_plug,
            pace: PACE,
            simulated: true,
            supervisor: Supervisor::from_env(),
            tell: Arc::new(move |happening: &Happening| keep.lock().unwrap().push(happening.clone())),
            cancel: cancel.clone(),
        };
        Self { dest: dest.to_owned(), cancel, told, task: tokio::spawn(bench.run()) }
    }

    fn names(&self) -> Vec<&'static str> {
        self.told.lock().unwrap().iter().map(Happening::name).collect()
    }

    /// Waits until so many happenings of that name were told.
    async fn until(&self, name: &str, times: usize) {
        let began = Instant::now();
        while self.names().iter().filter(|told| **told == name).count() < times {
            assert!(
                began.elapsed() < WAIT,
                "{name} was not told {times} times: {:?}",
                self.told.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn rows(&self) -> Vec<Row> {
        Jobs::open(&self.dest).unwrap().list().unwrap()
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_are_identified_side_by_side_and_nothing_is_asked_of_anybody() {
    let temp = tempfile::tempdir().unwrap();
    let devices =
        vec![phone(temp.path(), "a", 1, ""), phone(temp.path(), "b", 2, "[lock]\nstate = \"locked\"\n")];
    let bus = Arc::new(Bus::new(devices.clone()));
    let bench = Running::start(&temp.path().join("dest"), bus.clone(), OnPlug::Identify);
    bench.until("visit-done", 2).await;
    let rows = bench.rows();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!(
            (row.command.as_str(), row.exit_status, row.ended_at),
            (COMMAND, Some(0), None),
            "{row:?}"
        );
        assert!(row.device_name.is_some() && row.sentence.as_ref().unwrap().contains("iOS"), "{row:?}");
        let record = bus.pair_record(&Udid::parse(&row.udid).unwrap()).await.unwrap();
        assert!(record.is_none(), "nothing is paired for that");
    }
    devices[0].leave(Departure::Off);
    bench.until("visit-ended", 1).await;
    let open = bench.rows().iter().filter(|row| row.ended_at.is_none()).count();
    assert_eq!(open, 1, "the other one is still there");
    assert!(!bench.names().contains(&"person-needed"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_that_starts_again_goes_on_with_the_visit_of_a_phone_that_is_still_there() {
    let temp = tempfile::tempdir().unwrap();
    let dest = temp.path().join("dest");
    let there = phone(temp.path(), "a", 1, "");
    let gone = phone(temp.path(), "b", 2, "");
    let bus = Arc::new(Bus::new(vec![there, gone.clone()]));
    let bench = Running::start(&dest, bus.clone(), OnPlug::Identify);
    bench.until("visit-done", 2).await;
    bench.stop().await;
    gone.leave(Departure::Off);

    let muxer: Arc<dyn Muxer> = bus;
    let told = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&told);
    let cancel = CancellationToken::new();
    let bench = Bench {
        muxer,
        dest: dest.clone(),
        on_plug: OnPlug::Identify,
        pace: Pace { unseen: Duration::from_millis(600), ..PACE },
        simulated: true,
        supervisor: Supervisor::from_env(),
        tell: Arc::new(move |happening: &Happening| keep.lock().unwrap().push(happening.clone())),
        cancel: cancel.clone(),
    };
    let bench = Running { dest, cancel, told, task: tokio::spawn(bench.run()) };
    bench.until("visit-ended", 1).await;
    let rows = bench.rows();
    assert_eq!(rows.len(), 2, "no visit was begun a second time: {rows:?}");
    assert_eq!(rows.iter().filter(|row| row.ended_at.is_none()).count(), 1);
    assert!(!bench.names().contains(&"visit-began"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_is_pulled_out_in_the_middle_and_returns_is_protected_in_one_visit() {
    let temp = tempfile::tempdir().unwrap();
    let fault = "[[fault]]\nat = \"afc-read\"\nafter_bytes = 20000\nkind = \"unplug\"\n";
    let device = phone(temp.path(), "a", 1, fault);
    let bench = Running::start(&temp.path().join("dest"), Arc::new(Bus::new(vec![device])), OnPlug::Protect);
    bench.until("visit-done", 1).await;
    let rows = bench.rows();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0].exit_status, Some(0), "{rows:?}");
    assert!(rows[0].photos_verdict.is_some() && rows[0].ended_at.is_none());
    for step in ["photos", "backup", "verify"] {
        assert!(rows[0].steps.iter().any(|done| done.name == step), "{step}: {:?}", rows[0].steps);
    }
    let folder = bench.dest.join(&rows[0].udid);
    assert!(folder.join("jobs").join(&rows[0].job).join("report.html").is_file());
    assert!(folder.join("backup").join(&rows[0].udid).join("Manifest.db").is_file());
    assert!(bench.names().contains(&"device-disconnected"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_muxer_that_goes_and_comes_ends_no_visit() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("mux");
    let bus = Arc::new(Bus::new(vec![phone(temp.path(), "a", 1, "")]));
    let serving = |stop: &CancellationToken| {
        let listener = Listener::unix(&path, 0o600).unwrap();
        tokio::spawn(serve(bus.clone(), listener, stop.clone()))
    };
    let muxer = Arc::new(Usbmuxd::at(Address::Unix(path.clone())));
    let bench = Running::start(&temp.path().join("dest"), muxer, OnPlug::Identify);
    bench.until("muxer-lost", 1).await;
    let stop = CancellationToken::new();
    let first = serving(&stop);
    bench.until("visit-done", 1).await;
    stop.cancel();
    let _ = first.await;
    bench.until("muxer-lost", 2).await;
    let stop = CancellationToken::new();
    let second = serving(&stop);
    bench.until("device-connected", 2).await;
    let rows = bench.rows();
    assert_eq!((rows.len(), rows[0].ended_at), (1, None), "{rows:?}");
    bench.stop().await;
    stop.cancel();
    let _ = second.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_tap_is_read_as_soon_as_it_was_made_and_two_benches_share_no_folder() {
    let temp = tempfile::tempdir().unwrap();
    let device = phone(temp.path(), "a", 1, "[trust]\nstate = \"denied\"\n");
    let bus = Arc::new(Bus::new(vec![device]));
    let bench = Running::start(&temp.path().join("dest"), bus.clone(), OnPlug::Diagnose);
    bench.until("visit-done", 1).await;
    let rows = bench.rows();
    assert_eq!(rows[0].exit_status, Some(Trouble::PersonNeeded.exit_status()), "{rows:?}");

    let other = Running::start(&temp.path().join("dest"), bus.clone(), OnPlug::Diagnose);
    let refused = other.task.await.unwrap().unwrap_err();
    assert!(refused.cause.contains("serves"), "{refused}");

    std::fs::write(temp.path().join("a/device.toml"), "temper = \"kind\"\n").unwrap();
    let udid = Udid::parse(&rows[0].udid).unwrap();
    let attached = bus.devices().await.unwrap().remove(0);
    let phone = crate::lockdown::Phone { muxer: bus.clone(), attached };
    let silent = crate::progress::Silent;
    let trusted = crate::lockdown::pairing::establish(&phone, WAIT, &silent, &bench.cancel).await;
    drop(trusted.unwrap());
    bench.until("visit-done", 2).await;
    let rows = bench.rows();
    assert_eq!((rows.len(), rows[0].exit_status), (1, Some(0)), "the same visit went on: {rows:?}");
    assert!(bus.pair_record(&udid).await.unwrap().is_some());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_whose_end_could_not_be_written_is_not_gone_on_with_at_the_next_plug() {
    let temp = tempfile::tempdir().unwrap();
    let device = phone(temp.path(), "a", 1, "");
    let bench =
        Running::start(&temp.path().join("dest"), Arc::new(Bus::new(vec![device.clone()])), OnPlug::Identify);
    bench.until("visit-done", 1).await;
    let jobs = bench.dest.join(device.udid().as_str()).join("jobs");
    std::fs::rename(&jobs, temp.path().join("jobs")).unwrap();
    std::fs::write(&jobs, "in the way").unwrap();
    device.leave(Departure::Unplugged);
    bench.until("trouble", 1).await;
    assert_eq!(bench.rows()[0].ended_at, None);
    // It is plugged in again: what it was before has to end first, and cannot.
    bench.until("device-connected", 2).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    std::fs::remove_file(&jobs).unwrap();
    std::fs::rename(temp.path().join("jobs"), &jobs).unwrap();
    bench.until("visit-ended", 1).await;
    bench.until("visit-done", 2).await;
    assert!(!bench.names().contains(&"visit-continued"));
    let rows = bench.rows();
    assert_eq!(rows.iter().filter(|row| row.ended_at.is_some()).count(), 1, "{rows:?}");
    assert_eq!(
        (rows.len(), rows.iter().filter(|row| row.exit_status == Some(0)).count()),
        (2, 2),
        "{rows:?}"
    );
    bench.stop().await;
}

/// A bench's floor on which nothing has happened, and what it tells.
fn floor(dest: &Path) -> (Floor, Arc<Mutex<Vec<Happening>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&told);
    let bench = Bench {
        muxer: Arc::new(Bus::new(Vec::new())),
        dest: dest.to_owned(),
        on_plug: OnPlug::Identify,
        pace: PACE,
        simulated: true,
        supervisor: Supervisor::from_env(),
        tell: Arc::new(move |happening: &Happening| keep.lock().unwrap().push(happening.clone())),
        cancel: CancellationToken::new(),
    };
    (Floor::new(bench, Jobs::open(dest).unwrap()), told)
}

#[tokio::test]
async fn an_end_that_could_not_be_written_is_written_once_and_with_the_time_of_the_first_unplug() {
    let temp = tempfile::tempdir().unwrap();
    let (mut floor, told) = floor(temp.path());
    let udid = Udid::parse("00008101-000000000000001E").unwrap();
    floor.jobs.begin(&udid, &crate::facts::Device::default(), COMMAND, true).unwrap();
    let (jobs, aside) = (temp.path().join(udid.as_str()).join("jobs"), temp.path().join("aside"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (left, before_return) = (Instant::now(), jiff::Timestamp::now());
    tokio::time::sleep(Duration::from_millis(50)).await;
    std::fs::rename(&jobs, &aside).unwrap();
    std::fs::write(&jobs, "in the way").unwrap();
    floor.end(udid.clone(), left);
    std::fs::remove_file(&jobs).unwrap();
    std::fs::rename(&aside, &jobs).unwrap();
    // It had come back, and leaves again before it was tried anew.
    floor.end(udid.clone(), Instant::now());
    floor.unended_at = None;
    floor.end_the_rest();
    let names: Vec<_> = told.lock().unwrap().iter().map(Happening::name).collect();
    assert_eq!(names, ["trouble", "visit-ended"]);
    assert!(matches!(&told.lock().unwrap()[1], Happening::Ended { job: Some(_), .. }));
    let ended_at = floor.jobs.list().unwrap()[0].ended_at.unwrap();
    let late = ended_at.duration_since(before_return).abs();
    assert!(late < jiff::SignedDuration::from_millis(40), "{late:?}");
}

#[tokio::test]
async fn one_port_does_not_have_all_the_turns() {
    let temp = tempfile::tempdir().unwrap();
    let (mut floor, _) = floor(temp.path());
    let at = |n: u32, port: &str| {
        let udid = Udid::parse(&format!("00008101-{n:016X}")).unwrap();
        let id = crate::usbmux::DeviceId(n);
        let attached = crate::usbmux::Attached {
            id,
            udid: udid.clone(),
            product_id: 0x12a8,
            location_id: 0,
            speed_bps: 0,
        };
        (udid, attached, Some(port.to_owned()))
    };
    let mut held = Vec::new();
    for n in 0..20 {
        let (udid, attached, port) = at(n, "1-1");
        let _ = floor.stays.attached(Instant::now(), attached, port);
        let turns = floor.turns_at(&udid).unwrap();
        held.extend(turns.try_acquire_owned());
    }
    assert!(held.len() == AT_PORT && AT_PORT < AT_ONCE);
    let (udid, attached, port) = at(99, "1-2");
    let _ = floor.stays.attached(Instant::now(), attached, port);
    assert!(floor.turns_at(&udid).unwrap().try_acquire_owned().is_ok());
    drop(held);
    // Ports without anybody are forgotten.
    assert!(floor.turns_at(&Udid::parse("00008101-0000000000000F00").unwrap()).is_none());
    assert!(floor.turns_at.is_empty());
}
