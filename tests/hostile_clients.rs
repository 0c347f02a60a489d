//! Hostile clients against the simulated iPhone: whatever comes on whatever port, nothing panics, memory stays within
//! bounds, and others are served meanwhile.
//!
//! `IDEVICE_FIX_HOSTILE_ROUNDS` makes the fuzzing longer than its few seconds.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use idevice_fix::sim::Service;

#[path = "sim_raw/wire.rs"]
mod wire;

use wire::{Simulator, ask, is_closed, mux, send, still_answers, value, xml};

/// Another client waits no longer than this for anything; generous, for computers that do much else.
const OTHERS_WAIT: Duration = Duration::from_secs(8);
const MIB: usize = 1 << 20;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// One test at a time: each looks at this process's memory. Counts panics on every thread from now on.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    static HOOK: Once = Once::new();
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    PANICS.store(0, Ordering::SeqCst);
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(panic);
        }));
    });
    guard
}

/// Memory of this process that is really there, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Watches memory until it is dropped.
struct Watch {
    before: usize,
    most: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn start() -> Self {
        let (most, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, until) = (Arc::clone(&most), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !until.load(Ordering::SeqCst) {
                seen.fetch_max(resident(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { before: resident(), most, stop }
    }

    /// So many bytes more at most than at the start.
    fn grew(&self) -> usize {
        self.most.fetch_max(resident(), Ordering::SeqCst);
        self.most.load(Ordering::SeqCst).saturating_sub(self.before)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Somebody else's clients, at work all the time.
fn with_others<T>(simulator: &Simulator, hostile: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let (mut served, mut longest) = (0, Duration::ZERO);
            while !stop.load(Ordering::SeqCst) {
                let started = Instant::now();
                still_answers(simulator);
                let devices = simulator.mux("<key>MessageType</key><string>ListDevices</string>");
                assert!(value(&devices, "SerialNumber").is_some());
                let mut afc = simulator.service(Service::Afc);
                afc.write_all(&afc_packet(1, 0x0A, b"/\0", 0)).unwrap();
                afc.read_exact(&mut [0; 40]).unwrap();
                longest = longest.max(started.elapsed());
                served += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            (served, longest)
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(hostile));
        stop.store(true, Ordering::SeqCst);
        let (served, longest) = others.join().unwrap();
        assert!(served > 0 && longest < OTHERS_WAIT, "{served} times, {longest:?} at worst");
        done
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn simulator() -> Simulator {
    Simulator::start_with("", |phone| {
        std::fs::create_dir_all(phone.join("media/DCIM")).unwrap();
        let file = std::fs::File::create(phone.join("media/DCIM/large")).unwrap();
        file.set_len(64 << 20).unwrap();
    })
}

/// An AFC packet that announces `payload` bytes and has none.
fn afc_packet(number: u64, operation: u64, params: &[u8], payload: u64) -> Vec<u8> {
    let this = 40 + params.len() as u64;
    let words = [this.saturating_add(payload), this, number, operation];
    let words = words.iter().flat_map(|word| word.to_le_bytes());
    b"CFA6LPAA".iter().copied().chain(words).chain(params.iter().copied()).collect()
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

const SERVICES: [Service; 16] = [
    Service::Afc,
    Service::CrashReports,
    Service::MobileBackup2,
    Service::DiagnosticsRelay,
    Service::InstallationProxy,
    Service::Springboard,
    Service::Profiles,
    Service::HouseArrest,
    Service::NotificationProxy,
    Service::InsecureNotificationProxy,
    Service::Heartbeat,
    Service::Syslog,
    Service::OsTrace,
    Service::Misagent,
    Service::AssertionAgent,
    Service::MobileActivation,
];

/// Where a client can come in.
#[derive(Debug, Clone, Copy)]
enum Port {
    Usbmux,
    Lockdown,
    Service(Service),
}

fn ports() -> Vec<Port> {
    [Port::Usbmux, Port::Lockdown].into_iter().chain(SERVICES.map(Port::Service)).collect()
}

fn open(simulator: &Simulator, port: Port) -> UnixStream {
    match port {
        Port::Usbmux => simulator.connect(),
        Port::Lockdown => simulator.lockdown(),
        Port::Service(service) => simulator.service(service),
    }
}

/// Xorshift: a seed makes a run that can be had again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most) + 1).map(|_| self.next() as u8).collect()
    }
}

/// A request as the port's own clients send it.
fn honest(port: Port, random: &mut Random) -> Vec<u8> {
    let words =
        ["ListDevices", "Listen", "QueryType", "GetValue", "StartSession", "Browse", "IORegistry", "Goodbye"];
    let word = words[random.below(words.len())];
    let keys = ["MessageType", "Request", "Command", "command", "RequestType"];
    let entries: String = keys.iter().map(|key| format!("<key>{key}</key><string>{word}</string>")).collect();
    let body = xml(&entries);
    match port {
        Port::Usbmux => {
            let header = [16 + body.len() as u32, 1, 8, 7];
            header.iter().flat_map(|word| word.to_le_bytes()).chain(body).collect()
        }
        Port::Service(Service::Afc | Service::CrashReports) => {
            let params = [random.next().to_le_bytes().to_vec(), b"/DCIM/large\0x\0".to_vec()].concat();
            let cut = random.below(params.len());
            // Nothing that changes the phone by chance: what others look at stays.
            let operations = [0x03, 0x0A, 0x0B, 0x0D, 0x0F, 0x11, 0x12, 0x14, 0x1B];
            let operation = operations[random.below(operations.len())];
            afc_packet(random.next(), operation, &params[cut..], random.next() % 3)
        }
        Port::Service(Service::MobileBackup2) => {
            let message = plist::Value::Array(vec![
                "DLMessageVersionExchange".into(),
                "DLVersionsOk".into(),
                plist::Value::from(400),
            ]);
            let mut body = Vec::new();
            message.to_writer_binary(&mut body).unwrap();
            framed(&body)
        }
        _ => framed(&body),
    }
}

/// Something hostile: noise, a request with a few bytes changed, cut, repeated, or with noise behind it.
fn hostile(port: Port, random: &mut Random) -> Vec<u8> {
    let mut bytes = honest(port, random);
    match random.below(6) {
        0 => return random.bytes(400),
        1 => {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
        }
        2 => bytes.truncate(random.below(bytes.len())),
        3 => bytes = bytes.repeat(random.below(20) + 1),
        4 => bytes.extend(random.bytes(200)),
        _ => {
            // Only the lengths.
            let at = random.below(24.min(bytes.len()));
            bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
        }
    }
    bytes
}

#[test]
fn fuzzed_frames_on_every_port_harm_nobody() {
    let _alone = alone();
    let rounds =
        std::env::var("IDEVICE_FIX_HOSTILE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1500);
    let simulator = simulator();
    let watch = Watch::start();
    let seed = 0x5eed_0001_u64;
    let mut random = Random(seed);
    let ports = ports();
    with_others(&simulator, || {
        // Some stay open, half said, while others come.
        let mut half_open = std::collections::VecDeque::new();
        for round in 0..rounds {
            if round == rounds / 2 {
                std::fs::write(simulator.phone().join("device.toml"), "temper = \"harsh\"").unwrap();
            }
            let port = ports[round % ports.len()];
            let mut stream = open(&simulator, port);
            stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            // The phone may hang up before everything is said.
            let _ = stream.write_all(&hostile(port, &mut random));
            if random.below(3) == 0 {
                half_open.push_back(stream);
            } else if random.below(2) == 0 {
                let _ = stream.shutdown(std::net::Shutdown::Write);
                stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
                let _ = stream.read(&mut [0; 512]);
            }
            if half_open.len() > 60 {
                half_open.pop_front();
            }
        }
    });
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "seed {seed:#x}");
    let grew = watch.grew();
    println!("{rounds} rounds on {} ports: memory grew by {} MiB", ports.len(), grew / MIB);
    assert!(grew < 96 * MIB, "{} MiB", grew / MIB);
}

#[test]
fn idle_and_half_open_clients_lock_nobody_out() {
    let _alone = alone();
    let simulator = simulator();
    let watch = Watch::start();
    let idle: Vec<UnixStream> = (0..1200)
        .map(|n| {
            let mut stream = simulator.connect();
            if n % 2 == 0 {
                let _ = stream.write_all(&[200, 0, 0, 0, 1, 0][..n % 7]);
            }
            stream
        })
        .collect();
    with_others(&simulator, || std::thread::sleep(Duration::from_millis(500)));
    drop(idle);
    // The same with connections that lockdown waits on. Each is older than a second when the phone's own bound is met.
    let mut lockdowns = Vec::new();
    for n in 0..700 {
        if n == 500 {
            std::thread::sleep(Duration::from_millis(1100));
        }
        let mut lockdown = simulator.lockdown();
        let _ = lockdown.write_all(&[0, 0, 1][..n % 4]);
        lockdowns.push(lockdown);
    }
    with_others(&simulator, || std::thread::sleep(Duration::from_millis(500)));
    let grew = watch.grew();
    println!("1200 idle clients and 700 half-open connections: memory grew by {} MiB", grew / MIB);
    assert!(grew < 64 * MIB, "{} MiB", grew / MIB);
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

#[test]
fn clients_that_do_not_read_take_little_memory() {
    const READERS: usize = 200;
    let _alone = alone();
    let simulator = simulator();
    let watch = Watch::start();
    let open_file = afc_packet(1, 0x0D, &[&1_u64.to_le_bytes()[..], b"/DCIM/large\0"].concat(), 0);
    let read = afc_packet(2, 0x0F, &[1_u64.to_le_bytes(), (4_u64 << 20).to_le_bytes()].concat(), 0);
    let list = framed(&xml("<key>Request</key><string>GetValue</string>"));
    let ask_devices = honest_list();
    let slow: Vec<UnixStream> = with_others(&simulator, || {
        let streams = (0..READERS).map(|n| {
            let (mut stream, requests) = match n % 4 {
                0 | 1 => (simulator.service(Service::Afc), [open_file.clone(), read.repeat(16)].concat()),
                2 => (simulator.lockdown(), list.repeat(400)),
                _ => (simulator.connect(), ask_devices.repeat(400)),
            };
            stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
            let _ = stream.write_all(&requests);
            stream
        });
        let streams = streams.collect();
        std::thread::sleep(Duration::from_secs(1));
        streams
    });
    let grew = watch.grew();
    println!("{READERS} clients that do not read: memory grew by {} MiB", grew / MIB);
    assert!(grew < READERS * MIB, "{} MiB", grew / MIB);
    drop(slow);
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

/// `ListDevices`, as one message.
fn honest_list() -> Vec<u8> {
    let body = xml("<key>MessageType</key><string>ListDevices</string>");
    let header = [16 + body.len() as u32, 1, 8, 7];
    header.iter().flat_map(|word| word.to_le_bytes()).chain(body).collect()
}

/// An XML property list that is nested too deep for any parser's stack.
fn deep_xml() -> Vec<u8> {
    format!("<plist version=\"1.0\">{}{}</plist>", "<array>".repeat(8000), "</array>".repeat(8000))
        .into_bytes()
}

/// A binary property list of an array that holds itself twice.
fn endless_binary() -> Vec<u8> {
    let mut bytes = b"bplist00\xa2\x00\x00\x08".to_vec();
    bytes.extend([0, 0, 0, 0, 0, 0, 1, 1]);
    bytes.extend(1_u64.to_be_bytes());
    bytes.extend(0_u64.to_be_bytes());
    bytes.extend(11_u64.to_be_bytes());
    bytes
}

#[test]
fn bombs_go_off_nowhere() {
    let _alone = alone();
    let simulator = simulator();
    let watch = Watch::start();
    with_others(&simulator, || {
        for port in ports() {
            let lengths: Vec<Vec<u8>> = match port {
                Port::Usbmux => [u32::MAX, 1 << 20, 15, 0]
                    .map(|length| [length, 1, 8, 1].iter().flat_map(|word| word.to_le_bytes()).collect())
                    .into(),
                Port::Service(Service::Afc | Service::CrashReports) => vec![
                    afc_packet(1, 0x10, &[0; 8], u64::MAX - 100),
                    afc_packet(1, 0x0A, &[b'x'; 5000], 0),
                    [&b"CFA6LPAA"[..], &[0xff; 32]].concat(),
                    [&b"CFA6LPAA"[..], &[0; 32]].concat(),
                ],
                _ => [u32::MAX, 63 << 20, 1 << 30, 0].map(|length| length.to_be_bytes().to_vec()).into(),
            };
            let plists = [deep_xml(), endless_binary(), xml(&"<key>a</key><true/>".repeat(3000))].map(
                |body| match port {
                    Port::Usbmux => {
                        let header = [16 + body.len() as u32, 1, 8, 1];
                        header.iter().flat_map(|word| word.to_le_bytes()).chain(body).collect()
                    }
                    _ => framed(&body),
                },
            );
            for bomb in lengths.into_iter().chain(plists) {
                let mut stream = open(&simulator, port);
                stream.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
                stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
                let _ = stream.write_all(&bomb);
                let _ = stream.read(&mut [0; 4096]);
            }
        }
    });
    let grew = watch.grew();
    println!("length bombs and nested lists on every port: memory grew by {} MiB", grew / MIB);
    assert!(grew < 96 * MIB, "{} MiB", grew / MIB);
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

#[test]
fn endless_streams_are_taken_in_pieces_or_cut_off() {
    let _alone = alone();
    let simulator = simulator();
    let watch = Watch::start();
    let junk = vec![b'A'; MIB];
    with_others(&simulator, || {
        for port in ports() {
            let begins = match port {
                // A write that never ends, into a handle that nobody opened.
                Port::Service(Service::Afc | Service::CrashReports) => afc_packet(1, 0x10, &[9; 8], 1 << 50),
                Port::Usbmux => honest_list(),
                _ => (u32::MAX >> 6).to_be_bytes().to_vec(),
            };
            let mut stream = open(&simulator, port);
            stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let _ = stream.write_all(&begins);
            for _ in 0..48 {
                if stream.write_all(&junk).is_err() {
                    break;
                }
            }
        }
    });
    let grew = watch.grew();
    println!("48 MiB of noise on every port: memory grew by {} MiB", grew / MIB);
    // A host may send lists of up to 64 MiB in a backup, and no more than that is held.
    assert!(grew < 160 * MIB, "{} MiB", grew / MIB);
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

#[test]
fn requests_in_a_wrong_order_get_an_answer_or_the_door() {
    let _alone = alone();
    let simulator = Simulator::start("");
    let mut lockdown = simulator.lockdown();
    for (request, error) in [
        ("StopSession", "SessionInactive"),
        ("StartService", "MissingService"),
        ("EnterRecovery", "SessionInactive"),
        ("Unpair", "MissingHostID"),
        ("Nonsense", "MalformedCommand"),
    ] {
        let reply = ask(&mut lockdown, request, "");
        assert_eq!(value(&reply, "Error").as_deref(), Some(error), "{request}");
    }
    // TLS where plain text belongs, and plain text where TLS belongs.
    let mut tls = simulator.lockdown();
    tls.write_all(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00").unwrap();
    assert!(is_closed(&mut tls));
    // A connection twice on one socket, a request after Listen.
    let mut twice = simulator.connect();
    let listening = mux(&mut twice, "<key>MessageType</key><string>Listen</string>");
    assert_eq!(value(&listening, "Number").as_deref(), Some("0"));
    twice.write_all(&honest_list()).unwrap();
    assert!(is_closed(&mut twice));
    assert!(simulator.port(9_u16.to_be()).is_err());
    // Handles that were never opened, replies instead of requests.
    let mut afc = simulator.service(Service::Afc);
    for operation in [0x0F, 0x11, 0x12, 0x14, 0x15, 0x1B, 0x01, 0x02, 0x0E, 0x13] {
        afc.write_all(&afc_packet(3, operation, &[7; 24], 0)).unwrap();
        let mut reply = [0; 48];
        afc.read_exact(&mut reply).unwrap();
        assert!(reply[32] == 1 && reply[40] != 0, "{operation:#x}");
    }
    let mut backup = simulator.service(Service::MobileBackup2);
    send(&mut backup, &xml("<key>MessageName</key><string>Backup</string>"));
    assert!(is_closed(&mut backup));
    still_answers(&simulator);
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}
