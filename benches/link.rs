//! What the simulated cable really gives: its rate in each direction, its round trip; and how fast the simulated phone
//! is when the cable costs nothing, over a unix socket to a client that throws everything away. Prints medians and
//! compares them with what was asked for.
//!
//! `cargo bench --bench link`, on a machine that does nothing else (two cores are enough). Words behind `--` choose
//! parts: `mux` (both ends of the mux protocol against each other, without USB), `cable`, `files`, `small`.

#![expect(clippy::print_stdout, reason = "figures are what a benchmark is for")]

#[path = "common/processor.rs"]
mod processor;

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use idevice_fix::lockdown::{Phone, Session, pairing};
use idevice_fix::muxd;
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::sim::{self, Bus, Device, usb};
use idevice_fix::usbmux::client::Usbmuxd;
use idevice_fix::usbmux::packet::READ_BYTES;
use idevice_fix::usbmux::server::Listener;
use idevice_fix::usbmux::{Address, Muxer, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const FILE: &str = "DCIM/100APPLE/IMG_0001.MOV";
const MIB: u32 = 1 << 20;
const GIB: u64 = 1 << 30;
/// `wMaxPacketSize` of bulk endpoints on USB 2.
const USB_PACKET_BYTES: u16 = 512;
const ROUND_TRIPS: u32 = 500;
/// Each figure is the median of so many.
const ROUNDS: usize = 5;
const SMALL_REQUESTS: u32 = 20_000;
/// A cable is right when it is no further off than this.
const TOLERANCE_PERCENT: f64 = 2.0;
const WANTED_GB_PER_S: f64 = 1.5;
const WANTED_REQUESTS_PER_S: f64 = 20_000.0;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |part: &str| chosen.is_empty() || chosen.iter().any(|word| word == part);
    if wants("mux") {
        both_ends();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        if wants("cable") {
            for (rate, round_trip_us) in
                [(40_000_000, 1000), (40_000_000, 200), (100_000_000, 1000), (400_000_000, 500)]
            {
                in_process(rate, round_trip_us).await;
            }
        }
        for (words, toml) in [("plain", ""), ("TLS", "[tls]\nservices = \"all\"\n"), ("harsh", HARSH)] {
            if wants("files") {
                files(words, toml).await;
            }
            if wants("small") {
                small(words, toml).await;
            }
        }
    });
}

/// The first line of a `device.toml` has no table above it.
const HARSH: &str = "temper = \"harsh\"\n";

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}

/// A phone with one large file, and a session with it through `muxer`.
fn phone_folder(toml: &str, bytes: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("media").join(FILE);
    std::fs::create_dir_all(file.parent().expect("it has one")).expect("a folder is made");
    // Nothing of it lies on the disk: reading it costs what the page cache costs.
    std::fs::File::create(&file).and_then(|file| file.set_len(bytes)).expect("a file is made");
    std::fs::write(folder.path().join("device.toml"), format!("{toml}[person]\ntrusts_after_ms = 1\n"))
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
    let (mut to_host, mut to_phone, mut trips) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut stream = session.start_service("com.apple.afc").await.expect("AFC starts");
        let took = throw_away(&mut stream, 4, 4 * u64::from(MIB), bytes).await;
        to_host.push(bytes as f64 / took.as_secs_f64());
        let mut stream = session.start_service("com.apple.afc").await.expect("AFC starts");
        to_phone.push(bytes as f64 / write_all(&mut stream, bytes).await.as_secs_f64());
        trips.push(round_trip(&session).await.as_secs_f64() * 1e6);
    }
    let (to_host, to_phone, trip) = (median(to_host), median(to_phone), median(trips));
    let off = |measured: f64, wanted: u64| (measured / wanted as f64 - 1.0) * 100.0;
    let offs = [off(to_host, rate), off(to_phone, rate), off(trip, round_trip_us)];
    println!(
        "asked {:>5.0} MB/s {round_trip_us:>5} us | to host {:>6.1} MB/s ({:+.1} %) | to phone {:>6.1} MB/s ({:+.1} %) | round trip {trip:>6.0} us ({:+.1} %) | {}",
        rate as f64 / 1e6,
        to_host / 1e6,
        offs[0],
        to_phone / 1e6,
        offs[1],
        offs[2],
        verdict(offs.iter().all(|off| off.abs() <= TOLERANCE_PERCENT)),
    );
}

/// Writes a file, with some requests under way.
async fn write_all(stream: &mut Stream, bytes: u64) -> Duration {
    const UNDER_WAY: usize = 16;
    let mut buffer = [0; 64];
    ask(stream, &packet(1, 0x0D, &[3], "/written")).await;
    assert_eq!(discard(stream, &mut buffer).await, 8);
    let chunk = u64::from(MIB / 4);
    let mut request = packet(2, 0x10, &[1], "");
    request[8..16].copy_from_slice(&(48 + chunk).to_le_bytes());
    request.resize(request.len() + usize::try_from(chunk).expect("a quarter of a MiB"), 0x5a);
    let started = Instant::now();
    let mut under_way = 0;
    for _ in 0..bytes / chunk {
        ask(stream, &request).await;
        under_way += 1;
        if under_way == UNDER_WAY {
            discard(stream, &mut buffer).await;
            under_way -= 1;
        }
    }
    for _ in 0..under_way {
        discard(stream, &mut buffer).await;
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
        ask(&mut stream, &request).await;
        awake(stream.read_exact(&mut reply)).await.expect("the phone answers");
        times.push(started.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Asks `future` again and again instead of going to sleep: what an idle processor takes to wake is the time of whoever
/// measures, not the cable's.
async fn awake<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return output;
        }
        tokio::task::yield_now().await;
    }
}

/// A phone behind a unix socket, and a session with it as any client of usbmuxd has one.
struct Socket {
    session: Session,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Socket {
    async fn open(toml: &str, file_bytes: u64) -> Self {
        let folder = phone_folder(toml, file_bytes);
        let path: PathBuf = folder.path().join("socket");
        let listener = Listener::unix(&path, 0o600).expect("a socket is made");
        let stop = CancellationToken::new();
        let bus = Bus::new(vec![device(folder.path())]);
        let serving = tokio::spawn(sim::run(bus, vec![listener], stop.clone()));
        let session = session(Arc::new(Usbmuxd::at(Address::Unix(path)))).await;
        Self { session, stop, serving, _folder: folder }
    }

    async fn close(self) {
        self.stop.cancel();
        let _ = self.serving.await;
    }
}

/// A gigabyte through both state machines of the mux protocol, in transfers as USB has them, in each direction.
fn both_ends() {
    for (direction, to_host) in [("to host", true), ("to phone", false)] {
        let mut rates: Vec<f64> =
            (0..ROUNDS).map(|_| GIB as f64 / Ends::open().carry(to_host) / 1e9).collect();
        rates.sort_by(f64::total_cmp);
        let rate = rates[ROUNDS / 2];
        println!(
            "both ends of the mux protocol, 1 GiB {direction}: {rate:.2} GB/s ({})",
            verdict(rate >= 1.0)
        );
    }
}

/// The two ends, with a connection between them.
struct Ends {
    host: muxd::Mux,
    phone: usb::Mux,
    here: muxd::ConnectionId,
    there: Option<usb::ConnectionId>,
    arrived: u64,
}

impl Ends {
    fn open() -> Self {
        let mut host = muxd::Mux::new(USB_PACKET_BYTES);
        let here = host.open(7).expect("there is room");
        let phone = usb::Mux::new(USB_PACKET_BYTES);
        let mut ends = Self { host, phone, here, there: None, arrived: 0 };
        while ends.step() {}
        ends
    }

    /// Seconds that a gigabyte takes.
    fn carry(&mut self, to_host: bool) -> f64 {
        let there = self.there.expect("it is open");
        let words = vec![7; MIB as usize];
        let began = Instant::now();
        while self.arrived < GIB {
            if to_host {
                let room = self.phone.room_bytes(there).min(words.len());
                self.phone.handle(usb::Input::Said(there, &words[..room]));
            } else {
                let room = self.host.room_bytes(self.here).min(words.len());
                self.host.handle(muxd::Input::Said(self.here, &words[..room]));
            }
            while self.step() {}
        }
        began.elapsed().as_secs_f64()
    }

    /// One thing at either end; false: nothing is left to do.
    fn step(&mut self) -> bool {
        let (host, phone) = (self.host.poll(), self.phone.poll());
        let idle = host.is_none() && phone.is_none();
        match host {
            Some(muxd::Output::Write(bytes)) if bytes.is_empty() => {
                self.phone.handle(usb::Input::Transfer(&[]));
            }
            Some(muxd::Output::Write(bytes)) => {
                for piece in bytes.chunks(USB_PACKET_BYTES.into()) {
                    self.phone.handle(usb::Input::Transfer(piece));
                }
            }
            Some(muxd::Output::Deliver { connection, bytes }) => {
                self.arrived += bytes.len() as u64;
                self.host.handle(muxd::Input::Took(connection, bytes.len()));
            }
            _ => {}
        }
        match phone {
            Some(usb::Output::Transfer(bytes)) => {
                bytes.chunks(READ_BYTES).for_each(|read| self.host.handle(muxd::Input::Read(read)));
            }
            Some(usb::Output::Open { connection, .. }) => {
                self.there = Some(connection);
                self.phone.handle(usb::Input::Opened(connection));
            }
            Some(usb::Output::Deliver { connection, bytes }) => {
                self.arrived += bytes.len() as u64;
                self.phone.handle(usb::Input::Took(connection, bytes.len()));
            }
            _ => {}
        }
        !idle
    }
}

/// Sends requests: TLS may keep what is not flushed.
async fn ask(stream: &mut Stream, requests: &[u8]) {
    stream.write_all(requests).await.expect("bytes go");
    stream.flush().await.expect("bytes go");
}

/// One AFC packet of a host.
fn packet(number: u64, operation: u64, numbers: &[u64], path: &str) -> Vec<u8> {
    let this = 40 + 8 * numbers.len() as u64 + if path.is_empty() { 0 } else { path.len() as u64 + 1 };
    let mut bytes = b"CFA6LPAA".to_vec();
    for word in [this, this, number, operation].iter().chain(numbers) {
        bytes.extend(word.to_le_bytes());
    }
    if !path.is_empty() {
        bytes.extend(path.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Reads a reply and throws it away; gives the bytes behind its header.
async fn discard(stream: &mut Stream, buffer: &mut [u8]) -> u64 {
    let mut header = [0; 40];
    stream.read_exact(&mut header).await.expect("the phone answers");
    let entire = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
    let mut left = entire - 40;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = stream.read(&mut buffer[..most]).await.expect("the phone goes on");
        assert!(read > 0, "the phone hung up");
        left -= read as u64;
    }
    entire - 40
}

/// Throws a file of a gigabyte away, and prints how fast.
async fn files(words: &str, toml: &str) {
    let socket = Socket::open(toml, GIB).await;
    for (in_flight, count) in [(1, u64::from(MIB)), (1, 4 * u64::from(MIB)), (4, 4 * u64::from(MIB))] {
        let (mut rates, processor) = (Vec::new(), processor::seconds());
        for _ in 0..ROUNDS {
            let mut stream = socket.session.start_service("com.apple.afc").await.expect("AFC starts");
            rates.push(GIB as f64 / throw_away(&mut stream, in_flight, count, GIB).await.as_secs_f64() / 1e9);
        }
        let per_round = (processor::seconds() - processor) / ROUNDS as f64;
        let rate = median(rates);
        println!(
            "{words}, unix socket, 1 GiB, {in_flight} x {} MiB in flight: {rate:.2} GB/s, {per_round:.2} s of processor for both sides ({})",
            count / u64::from(MIB),
            verdict(rate >= WANTED_GB_PER_S),
        );
    }
    socket.close().await;
}

/// Reads `bytes` of the file, with several requests in flight.
async fn throw_away(stream: &mut Stream, in_flight: usize, count: u64, bytes: u64) -> Duration {
    let mut buffer = vec![0; MIB as usize];
    ask(stream, &packet(1, 0x0D, &[1], &format!("/{FILE}"))).await;
    assert_eq!(discard(stream, &mut buffer).await, 8);
    let started = Instant::now();
    let (mut asked, mut got) = (0, 0);
    while got < bytes {
        while asked < bytes && asked - got < count * in_flight as u64 {
            ask(stream, &packet(2, 0x0F, &[1, count], "")).await;
            asked += count;
        }
        got += discard(stream, &mut buffer).await;
    }
    started.elapsed()
}

/// Asks about a file again and again, and prints how often a second.
async fn small(words: &str, toml: &str) {
    let socket = Socket::open(toml, 1).await;
    let path = format!("/{FILE}");
    let requests = [
        ("not supported", packet(1, 0x7fff, &[], "")),
        ("file info", packet(1, 0x0A, &[], &path)),
        ("list folder", packet(1, 0x03, &[], "/DCIM/100APPLE")),
    ];
    for (name, request) in requests {
        for in_flight in [1, 16] {
            let mut rates = Vec::new();
            for _ in 0..ROUNDS {
                let mut stream = socket.session.start_service("com.apple.afc").await.expect("AFC starts");
                let took = ask_again_and_again(&mut stream, &request, in_flight).await;
                rates.push(f64::from(SMALL_REQUESTS) / took.as_secs_f64());
            }
            let rate = median(rates);
            let verdict = verdict(rate >= WANTED_REQUESTS_PER_S);
            println!(
                "{words}, unix socket, {name}, {in_flight:>2} in flight: {rate:>7.0} requests/s ({verdict})"
            );
        }
    }
    socket.close().await;
}

async fn ask_again_and_again(stream: &mut Stream, request: &[u8], in_flight: u32) -> Duration {
    let mut buffer = vec![0; 4096];
    let batch = request.repeat(in_flight as usize);
    let started = Instant::now();
    for _ in 0..SMALL_REQUESTS / in_flight {
        ask(stream, &batch).await;
        for _ in 0..in_flight {
            discard(stream, &mut buffer).await;
        }
    }
    started.elapsed()
}
