//! What the simulated cable really gives: its rate in each direction, its round trip, and how fast files come over a
//! unix socket when the cable costs nothing. Prints figures and compares them with what `device.toml` asked for.
//!
//! `cargo bench --bench link`

#![expect(clippy::print_stdout, reason = "figures are what a benchmark is for")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use idevice_fix::afc::OpenMode;
use idevice_fix::afc::client::Afc;
use idevice_fix::lockdown::{Phone, Session, pairing};
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::sim::{self, Bus, Device};
use idevice_fix::usbmux::client::Usbmuxd;
use idevice_fix::usbmux::server::Listener;
use idevice_fix::usbmux::{Address, Muxer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const FILE: &str = "DCIM/100APPLE/IMG_0001.MOV";
const MIB: u32 = 1 << 20;
const ROUND_TRIPS: u32 = 500;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        for (rate, round_trip_us) in
            [(40_000_000, 1000), (40_000_000, 200), (100_000_000, 1000), (400_000_000, 500)]
        {
            in_process(rate, round_trip_us).await;
        }
        over_a_socket().await;
    });
}

/// A phone with one large file, and a session with it through `muxer`.
fn phone_folder(toml: &str, bytes: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("media").join(FILE);
    std::fs::create_dir_all(file.parent().expect("it has one")).expect("a folder is made");
    // Nothing of it lies on the disk: reading it costs what the page cache costs.
    std::fs::File::create(&file).and_then(|file| file.set_len(bytes)).expect("a file is made");
    std::fs::write(folder.path().join("device.toml"), format!("[person]\ntrusts_after_ms = 1\n{toml}"))
        .expect("a file is written");
    folder
}

fn device(folder: &Path) -> Arc<Device> {
    Device::open(folder, false).expect("the folder is right")
}

async fn session(muxer: Arc<dyn Muxer>) -> Session {
    let attached = muxer.devices().await.expect("the bus answers").remove(0);
    let phone = Phone { muxer, attached };
    pairing::establish(&phone, Duration::from_secs(20), &Silent, &CancellationToken::new())
        .await
        .expect("the phone trusts us")
}

async fn in_process(rate: u64, round_trip_us: u64) {
    let bytes = rate / 2;
    let link = format!("[link]\nbytes_per_second = {rate}\nround_trip_us = {round_trip_us}\n");
    let folder = phone_folder(&link, bytes);
    let session = session(Arc::new(Bus::new(vec![device(folder.path())]))).await;
    let afc = Afc::over(session.start_service("com.apple.afc").await.expect("AFC starts"));
    let measured = bytes as f64 / read_all(&afc, 4).await.as_secs_f64();
    let to_phone = bytes as f64 / write_all(&afc, bytes).await.as_secs_f64();
    let trip = round_trip(&session).await.as_secs_f64() * 1e6;
    let off = |measured: f64, wanted: u64| (measured / wanted as f64 - 1.0) * 100.0;
    println!(
        "asked {:>5.0} MB/s {round_trip_us:>5} us | to host {:>6.1} MB/s ({:+.1} %) | to phone {:>6.1} MB/s ({:+.1} %) | round trip {trip:>6.0} us ({:+.1} %)",
        rate as f64 / 1e6,
        measured / 1e6,
        off(measured, rate),
        to_phone / 1e6,
        off(to_phone, rate),
        off(trip, round_trip_us),
    );
}

/// Reads the file with several requests in flight.
async fn read_all(afc: &Afc, in_flight: usize) -> Duration {
    let mut file = afc.open_file(&format!("/{FILE}"), OpenMode::Read).await.expect("the file opens");
    let started = Instant::now();
    let mut asked = VecDeque::new();
    loop {
        while asked.len() < in_flight {
            asked.push_back(file.ask_read(4 * MIB).await.expect("a request is sent"));
        }
        let read = asked.pop_front().expect("one is in flight").bytes().await.expect("bytes come");
        if read.is_empty() {
            return started.elapsed();
        }
    }
}

/// Writes four files side by side: a single one waits for the answer to each of its requests.
async fn write_all(afc: &Afc, bytes: u64) -> Duration {
    const FILES: u64 = 4;
    let started = Instant::now();
    let writers = (0..FILES).map(|n| {
        let afc = afc.clone();
        tokio::spawn(async move {
            let path = format!("/written-{n}");
            let mut file = afc.open_file(&path, OpenMode::Write).await.expect("the file opens");
            let chunk = vec![0x5a; MIB as usize];
            let mut left = bytes / FILES;
            while left > 0 {
                let n = left.min(chunk.len() as u64);
                file.write(&chunk[..usize::try_from(n).expect("at most a chunk")]).await.expect("bytes go");
                left -= n;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer does not panic");
    }
    started.elapsed()
}

/// The median time of a request that costs the phone nothing: of an operation that it does not know.
async fn round_trip(session: &Session) -> Duration {
    let mut stream = session.start_service("com.apple.afc").await.expect("AFC starts");
    let mut request = b"CFA6LPAA".to_vec();
    for word in [40_u64, 40, 1, 0x7fff] {
        request.extend(word.to_le_bytes());
    }
    let mut reply = [0; 48];
    let mut times = Vec::new();
    for _ in 0..ROUND_TRIPS {
        let started = Instant::now();
        stream.write_all(&request).await.expect("bytes go");
        stream.read_exact(&mut reply).await.expect("the phone answers");
        times.push(started.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

async fn over_a_socket() {
    const BYTES: u64 = 2 << 30;
    let folder = phone_folder("", BYTES);
    let socket: PathBuf = folder.path().join("socket");
    let listener = Listener::unix(&socket, 0o600).expect("a socket is made");
    let stop = CancellationToken::new();
    let serving = tokio::spawn(sim::run(Bus::new(vec![device(folder.path())]), vec![listener], stop.clone()));
    let session = session(Arc::new(Usbmuxd::at(Address::Unix(socket)))).await;
    for in_flight in [1, 4] {
        let afc = Afc::over(session.start_service("com.apple.afc").await.expect("AFC starts"));
        let took = read_all(&afc, in_flight).await;
        println!(
            "no cable, unix socket, {in_flight} requests of 4 MiB in flight: {:.2} GB/s; round trip {:.0} us",
            BYTES as f64 / took.as_secs_f64() / 1e9,
            round_trip(&session).await.as_secs_f64() * 1e6
        );
    }
    stop.cancel();
    let _ = serving.await;
}
