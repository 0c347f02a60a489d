//! Receiving: everybody takes the same files from the same phone.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use idevice_fix::backup::record::{Journal, Record};
use idevice_fix::mobilebackup2::Secret;
use idevice_fix::mobilebackup2::folder::Folder;
use idevice_fix::mobilebackup2::host::{Host, Outcome, Patience};
use idevice_fix::mobilebackup2::ledger::Ledger;
use idevice_fix::progress::{CancellationToken, Silent};

use super::phone::{self, Served};
use super::{Load, peers, processor, proving, sink, tell, verdict};

/// What is wanted, of the lower of the sink and the plain write.
const WANTED: f64 = 0.90;
/// What is wanted of a link with a limit.
const WANTED_OF_THE_LINK: f64 = 0.95;

/// A folder of ours below the temporary one, with room for everything.
pub(crate) fn room() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("idevice-fix-bench-").tempdir().expect("a temporary folder")
}

/// What one receiving took.
#[derive(Clone, Copy)]
struct Took {
    time: Duration,
    processor_seconds: f64,
}

impl Took {
    const NEVER: Self = Self { time: Duration::MAX, processor_seconds: f64::MAX };

    /// Tells it, and gives the better of both.
    fn or(self, who: &str, load: &Load, time: Duration, before: f64) -> Self {
        let processor_seconds = processor::seconds() - before;
        tell(who, load, time, processor_seconds);
        Self { time: self.time.min(time), processor_seconds: self.processor_seconds.min(processor_seconds) }
    }
}

/// Everybody, as fast as they can; `rounds` of those without which nothing can be compared.
pub(crate) async fn without_limit(name: &str, load: Load, rounds: u32, slow_peers: bool) {
    let room = room();
    phone::make(&room.path().join("phone"), &load, "");
    let served = Served::open(&room.path().join("phone")).await;
    println!("{name}: {} files, {:.0} MB, no limit on the link", load.files, load.total() as f64 / 1e6);
    let (mut sunk, mut written, mut ours) = (Took::NEVER, Took::NEVER, Took::NEVER);
    let host = room.path().join("ours");
    for round in 0..rounds {
        let session = served.session().await;
        let before = processor::seconds();
        let (_, took) = served.timed(sink::receive(&session)).await;
        sunk = sunk.or("discarding sink", &load, took, before);
        let before = processor::seconds();
        let took = plain_write(&room.path().join("plain"), &load);
        written = written.or("plain synced write", &load, took, before);
        let before = processor::seconds();
        let took = receive(&served, &host).await;
        ours = ours.or("idevice-fix, synced", &load, took, before);
        if round + 1 == rounds {
            let before = processor::seconds();
            let (_, proving) = proving::prove(&host, &served.udid(), None).await;
            let all = processor::seconds() - before + ours.processor_seconds;
            tell("idevice-fix, with its proof", &load, took + proving, all);
            if load.sparse {
                proving::compare_with_two_cores(&served, &host, None).await;
            }
        }
        let _ = std::fs::remove_dir_all(&host);
    }
    let fastest = fastest_peer(&served, room.path(), &load, slow_peers).await;
    served.close().await;
    let hashing = proving::hashing_takes(load.total());
    conclude([sunk, written, ours], hashing, fastest);
}

/// The time of the fastest of the others.
async fn fastest_peer(served: &Served, room: &Path, load: &Load, slow_ones: bool) -> Option<Duration> {
    let mut fastest: Option<Duration> = None;
    for peer in peers::installed().into_iter().filter(|peer| slow_ones || !peer.is_slow()) {
        let home = room.join("home");
        peer.pair(served, &home).await;
        let target = room.join("peer");
        let before = processor::seconds();
        let (worked, took) = served.timed(peer.back_up(served, &home, &target)).await;
        let name = format!("{}{}", peer.name, if worked { "" } else { " (FAILED)" });
        tell(&name, load, took, processor::seconds() - before);
        if worked {
            fastest = Some(fastest.map_or(took, |fastest| fastest.min(took)));
        }
        let _ = std::fs::remove_dir_all(target);
    }
    fastest
}

/// What is wanted, and what the machine allows: the phone lives on the same processors, and neither the sink nor the plain
/// write hashes anything.
fn conclude([sunk, written, ours]: [Took; 3], hashing: f64, fastest: Option<Duration>) {
    let lower = sunk.time.max(written.time).as_secs_f64();
    let share = lower / ours.time.as_secs_f64();
    println!("  {:.0} % of the lower of sink and plain write: {}", share * 100.0, verdict(share >= WANTED));
    if let Some(fastest) = fastest {
        let times = fastest.as_secs_f64() / ours.time.as_secs_f64();
        println!("  {times:.2} times as fast as the faster peer: {}", verdict(times >= 1.0));
    }
    let needed = sunk.processor_seconds + written.processor_seconds + hashing;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let least = (needed / cores as f64).max(lower);
    println!(
        "  phone, sink, write and hashing take {needed:.1} s of processor by themselves, ours took {:.1} s; on these \
         {cores} cores it cannot be done below {least:.2} s: {:.0} % of that reached",
        ours.processor_seconds,
        100.0 * least / ours.time.as_secs_f64()
    );
}

/// Ours behind a link with a limit.
pub(crate) async fn at_the_link(load: Load, bytes_per_second: u64) {
    let room = room();
    let link = format!("[link]\nbytes_per_second = {bytes_per_second}\nround_trip_us = 1000\n");
    phone::make(&room.path().join("phone"), &load, &link);
    let served = Served::open(&room.path().join("phone")).await;
    println!(
        "link: {} files, {:.0} MB at {} MB/s and 1 ms",
        load.files,
        load.total() as f64 / 1e6,
        bytes_per_second / 1_000_000
    );
    let before = processor::seconds();
    let took = receive(&served, &room.path().join("ours")).await;
    tell("idevice-fix, synced", &load, took, processor::seconds() - before);
    served.close().await;
    let share = load.total() as f64 / took.as_secs_f64() / bytes_per_second as f64;
    println!("  {:.1} % of the link: {}", share * 100.0, verdict(share >= WANTED_OF_THE_LINK));
}

/// The engine receives a full backup into `host`, as the vault has it do, up to the last sync.
pub(crate) async fn receive(served: &Served, host: &Path) -> Duration {
    std::fs::create_dir_all(host.join("backup")).expect("a folder is made");
    let open = || Dir::open_ambient_dir(host.join("backup"), cap_std::ambient_authority());
    let root = open().expect("it was made");
    let session = served.session().await;
    let cancel = CancellationToken::new();
    let backup = async {
        let stream = session.start_service("com.apple.mobilebackup2").await.expect("the service starts");
        let host = Host::greet(stream, Patience::default(), &cancel).await.expect("the phone greets");
        let folder = Folder::open(open().expect("it was made"), served.udid(), 0).expect("a folder is made");
        let journal = Box::new(Journal::open(&root).expect("a journal is made"));
        host.backup(true, folder, journal, &Silent, &cancel).await
    };
    let (report, took) = served.timed(backup).await;
    assert!(matches!(report.outcome, Outcome::Finished), "{:?}", report.outcome);
    // What the vault adds, so that the backup can be proven.
    let own = host.join("backup").join(served.udid().as_str());
    let info = idevice_fix::frame::to_xml(&plist::Value::Dictionary(plist::Dictionary::new()));
    std::fs::write(own.join("Info.plist"), &info).expect("a file is written");
    let mut journal = Journal::open(&root).expect("the journal can be written");
    journal.keep(&[proving::received("Info.plist", &info)]).expect("the journal can be written");
    Record::load(&root).and_then(|record| record.save(&root)).expect("the record is written");
    took
}

/// The same files, written by one thread and synced once.
fn plain_write(target: &Path, load: &Load) -> Duration {
    let noise = vec![0x5a; 2_000_000];
    let began = Instant::now();
    std::fs::create_dir_all(target).expect("a folder is made");
    for folder in 0..256 {
        std::fs::create_dir(target.join(format!("{folder:02x}"))).expect("a folder is made");
    }
    for number in 0..load.files {
        let path = target.join(format!(
            "{:02x}/{:040x}",
            number.wrapping_mul(256) / load.files.max(1) % 256,
            number
        ));
        let mut file = std::fs::File::create(path).expect("a file is made");
        let bytes = usize::try_from((load.bytes)(number)).expect("a file is small");
        file.write_all(&noise[..bytes]).expect("a file is written");
    }
    let folder = std::fs::File::open(target).expect("it was made");
    rustix::fs::syncfs(&folder).expect("the disk takes it");
    let took = began.elapsed();
    let _ = std::fs::remove_dir_all(target);
    took
}

/// The password of phones that encrypt.
pub(crate) fn password() -> Secret {
    Secret::new("bench")
}
