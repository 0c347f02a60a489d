//! Every fault at every place: each `at` × each `kind` × bytes and messages × times, on every service; and plans that
//! a seed draws.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use idevice_fix::sim::Service;

use crate::backup::{QUIET, simulator_udid};
use crate::host::Host;
use crate::wire::{self, Simulator, xml};

const KINDS: [&str; 6] = ["unplug", "stall", "refuse", "corrupt", "short", "lie-about-length"];
/// Nothing for so long is silence.
const SILENCE: Duration = Duration::from_millis(600);
const PHOTO_BYTES: usize = 65_536;

fn simulator(toml: &str) -> Simulator {
    Simulator::start_with(toml, |phone| {
        std::fs::create_dir_all(phone.join("media/DCIM/100APPLE")).unwrap();
        std::fs::write(phone.join("media/DCIM/100APPLE/IMG_0001.JPG"), vec![b'p'; PHOTO_BYTES]).unwrap();
        std::fs::write(phone.join("syslog.txt"), "a line\nanother\n").unwrap();
    })
}

fn fault(at: &str, after: (&str, usize), kind: &str, times: u32) -> String {
    format!("[[fault]]\nat = \"{at}\"\n{} = {}\nkind = \"{kind}\"\ntimes = {times}\n", after.0, after.1)
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// As many bytes as wanted came.
    Whole,
    Closed,
    Silent,
}

/// Bytes until `wanted` are there, the phone hangs up, or it is silent.
fn collect(stream: &mut UnixStream, wanted: usize) -> (Vec<u8>, End) {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let mut bytes = Vec::new();
    let mut piece = vec![0; 1 << 16];
    while bytes.len() < wanted {
        match stream.read(&mut piece) {
            Ok(0) => return (bytes, End::Closed),
            Ok(read) => bytes.extend(&piece[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return (bytes, End::Silent);
            }
            Err(_) => return (bytes, End::Closed),
        }
    }
    (bytes, End::Whole)
}

fn frame(body: &str) -> Vec<u8> {
    let body = xml(body);
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

fn afc(number: u64, operation: u64, params: &[u8], payload: &[u8]) -> Vec<u8> {
    let this = 40 + params.len() as u64;
    let words = [this + payload.len() as u64, this, number, operation];
    let words = words.iter().flat_map(|word| word.to_le_bytes());
    b"CFA6LPAA"
        .iter()
        .copied()
        .chain(words)
        .chain(params.iter().copied())
        .chain(payload.iter().copied())
        .collect()
}

/// One round at a place: what is sent at once on a new connection. All of it is answered at once, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    AfcRead,
    AfcWrite,
    Lockdown,
    /// A service that leaves its faults to the phone.
    Small(Service),
}

impl Round {
    fn at(self) -> &'static str {
        match self {
            Self::AfcRead => "afc-read",
            Self::AfcWrite => "afc-write",
            Self::Lockdown => "lockdown",
            Self::Small(_) => "any",
        }
    }

    fn open(self, simulator: &Simulator) -> UnixStream {
        match self {
            Self::AfcRead | Self::AfcWrite => simulator.service(Service::Afc),
            Self::Lockdown => simulator.lockdown(),
            Self::Small(service) => simulator.service(service),
        }
    }

    fn request(self) -> Vec<u8> {
        let open = |mode: u64, path: &str| {
            afc(1, 0x0D, &[&mode.to_le_bytes()[..], path.as_bytes(), b"\0"].concat(), b"")
        };
        let handle = 1_u64.to_le_bytes();
        match self {
            Self::AfcRead => {
                let read = [handle, (PHOTO_BYTES as u64).to_le_bytes()].concat();
                [open(1, "/DCIM/100APPLE/IMG_0001.JPG"), afc(2, 0x0F, &read, b"")].concat()
            }
            Self::AfcWrite => [open(3, "/written"), afc(2, 0x10, &handle, &[b'w'; PHOTO_BYTES])].concat(),
            Self::Lockdown => frame("<key>Request</key><string>QueryType</string>"),
            Self::Small(Service::DiagnosticsRelay) => frame("<key>Request</key><string>GasGauge</string>"),
            Self::Small(Service::InstallationProxy) => frame("<key>Command</key><string>Lookup</string>"),
            Self::Small(Service::Springboard) => {
                frame("<key>command</key><string>getInterfaceOrientation</string>")
            }
            Self::Small(Service::Profiles) => frame("<key>RequestType</key><string>GetProfileList</string>"),
            Self::Small(Service::HouseArrest) => frame(
                "<key>Command</key><string>VendDocuments</string><key>Identifier</key><string>nobody</string>",
            ),
            Self::Small(Service::NotificationProxy | Service::InsecureNotificationProxy) => {
                frame("<key>Command</key><string>Shutdown</string>")
            }
            // These begin by themselves.
            Self::Small(_) => Vec::new(),
        }
    }

    /// How many bytes and messages a round counts as at its place.
    fn amounts(self, clean: &[u8]) -> (usize, usize) {
        match self {
            Self::AfcRead | Self::AfcWrite => (PHOTO_BYTES, 2),
            Self::Lockdown | Self::Small(_) => (clean.len(), 1),
        }
    }
}

const ROUNDS: [Round; 11] = [
    Round::AfcRead,
    Round::AfcWrite,
    Round::Lockdown,
    Round::Small(Service::DiagnosticsRelay),
    Round::Small(Service::InstallationProxy),
    Round::Small(Service::Springboard),
    Round::Small(Service::Profiles),
    Round::Small(Service::HouseArrest),
    Round::Small(Service::NotificationProxy),
    Round::Small(Service::Heartbeat),
    Round::Small(Service::CrashReportMover),
];

fn exchange(simulator: &Simulator, round: Round, wanted: usize) -> (Vec<u8>, End) {
    let mut stream = round.open(simulator);
    // A phone that has hung up already takes nothing.
    let _ = stream.write_all(&round.request());
    collect(&mut stream, wanted)
}

/// The number of the phone's stay on the bus.
fn stay(simulator: &Simulator) -> Option<String> {
    wire::value(&simulator.mux("<key>MessageType</key><string>ListDevices</string>"), "DeviceID")
}

/// The phone has left since `before`, and is back.
fn left_and_came_back(simulator: &Simulator, before: &str) -> bool {
    for _ in 0..500 {
        match stay(simulator) {
            None => std::thread::sleep(Duration::from_millis(20)),
            Some(now) => return now != before,
        }
    }
    panic!("the phone did not come back");
}

/// A round that a fault struck.
struct Struck<'a> {
    case: &'a str,
    simulator: &'a Simulator,
    round: Round,
    kind: &'a str,
    by_bytes: bool,
    /// The phone's stay on the bus before it.
    before: &'a str,
}

/// What a struck round must look like, beside `clean`.
fn check(struck: &Struck<'_>, clean: &[u8], got: (&[u8], End)) {
    let Struck { case, simulator, round, kind, by_bytes, before } = *struck;
    let (bytes, end) = got;
    let case = format!("{case}: {} of {} bytes, {end:?}", bytes.len(), clean.len());
    // Bytes of a write are struck before its reply is made.
    let of_write = round == Round::AfcWrite && by_bytes;
    match kind {
        "unplug" => {
            assert!(bytes.len() < clean.len() && left_and_came_back(simulator, before), "{case}");
        }
        "stall" => {
            assert!(end == End::Silent && bytes.len() < clean.len() && clean.starts_with(bytes), "{case}");
        }
        "corrupt" if of_write => {
            assert_eq!(bytes, clean, "{case}");
            let read = [
                afc(1, 0x0D, b"\x01\0\0\0\0\0\0\0/written\0", b""),
                afc(2, 0x0F, &[[1, 0, 0, 0, 0, 0, 0, 0], 65_536_u64.to_le_bytes()].concat(), b""),
            ];
            let mut stream = simulator.service(Service::Afc);
            stream.write_all(&read.concat()).unwrap();
            let (read, end) = collect(&mut stream, 48 + 40 + PHOTO_BYTES);
            assert!(end == End::Whole && read[88..].iter().any(|b| *b != b'w'), "{case}");
        }
        "refuse" | "short" | "lie-about-length" if of_write => {
            assert_eq!((bytes.len(), bytes[88]), (clean.len(), 5), "{case}: a write error");
        }
        "corrupt" => assert!(bytes.len() == clean.len() && bytes != clean, "{case}"),
        "refuse" => refused(&case, round, bytes, end),
        "short" if round == Round::AfcRead => {
            assert_eq!(bytes.len(), clean.len() - PHOTO_BYTES / 2, "{case}: half of it, and said so");
        }
        "short" => {
            assert!(end == End::Closed && bytes.len() < clean.len() && clean.starts_with(bytes), "{case}");
        }
        // Where no length is stated, none can be wrong.
        _ if round == Round::Small(Service::CrashReportMover) => assert!(bytes.len() < clean.len(), "{case}"),
        _ => {
            let other = bytes.iter().zip(clean).filter(|(a, b)| a != b).count();
            assert!(bytes.len() == clean.len() && (1..=4).contains(&other), "{case}: {other} bytes differ");
        }
    }
}

fn refused(case: &str, round: Round, bytes: &[u8], end: End) {
    let text = String::from_utf8_lossy(bytes);
    match round {
        Round::AfcRead | Round::AfcWrite => {
            assert!(bytes.len() == 96 && bytes[80] == 1 && bytes[88] != 0, "{case}: a status that is not 0");
        }
        Round::Lockdown => assert!(text.contains("<key>Error</key>"), "{case}"),
        Round::Small(Service::DiagnosticsRelay) => assert!(text.contains("Failure"), "{case}"),
        Round::Small(
            Service::InstallationProxy | Service::Springboard | Service::Profiles | Service::HouseArrest,
        ) => {
            assert!(text.contains("Error"), "{case}: {text}");
        }
        Round::Small(_) => assert!(bytes.is_empty() && end == End::Closed, "{case}: it hangs up"),
    }
}

fn rounds_of(round: Round, kind: &str) {
    let clean = simulator("");
    let (clean, _) = exchange(&clean, round, usize::MAX);
    assert!(!clean.is_empty(), "{round:?}");
    let (bytes, messages) = round.amounts(&clean);
    for (counter, each) in [("after_bytes", bytes), ("after_messages", messages)] {
        // The last byte or message of the second round is struck, and so again two rounds later; then no more.
        let simulator = simulator(&fault(round.at(), (counter, 2 * each - 1), kind, 2));
        for n in 1..=6 {
            let case = format!("{round:?}, {kind}, {counter}, round {n}");
            let before = stay(&simulator).expect("the phone is on the bus");
            let (got, end) = exchange(&simulator, round, clean.len());
            if n == 2 || n == 4 {
                let (case, simulator, before) = (case.as_str(), &simulator, before.as_str());
                let by_bytes = counter == "after_bytes";
                check(&Struck { case, simulator, round, kind, by_bytes, before }, &clean, (&got, end));
            } else {
                assert_eq!((got.len(), end), (clean.len(), End::Whole), "{case}");
                assert!(got == clean, "{case}");
            }
        }
    }
}

#[test]
fn each_kind_strikes_each_place_when_and_as_often_as_told() {
    std::thread::scope(|scope| {
        for kind in KINDS {
            // Where most of the time is waiting, the rounds wait side by side.
            if kind == "unplug" || kind == "stall" {
                for round in ROUNDS {
                    scope.spawn(move || rounds_of(round, kind));
                }
            } else {
                scope.spawn(move || ROUNDS.into_iter().for_each(|round| rounds_of(round, kind)));
            }
        }
    });
}

#[test]
fn a_fault_at_its_own_place_leaves_the_others_alone() {
    for at in ["afc-read", "afc-write", "lockdown", "backup-upload", "backup-message"] {
        let simulator = simulator(&fault(at, ("after_messages", 0), "corrupt", 1000));
        for round in
            [Round::AfcRead, Round::AfcWrite, Round::Lockdown, Round::Small(Service::DiagnosticsRelay)]
        {
            let clean = { exchange(&crate::faults::simulator(""), round, usize::MAX).0 };
            let (got, _) = exchange(&simulator, round, clean.len());
            assert_eq!(got == clean, round.at() != at, "{at} {round:?}");
        }
    }
}

/// A backup, as far as it comes.
fn backup(simulator: &Simulator) -> (Host, std::io::Result<plist::Dictionary>) {
    let udid = simulator_udid(simulator);
    let mut host = Host::connect(simulator);
    host.stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let run = |host: &mut Host| {
        host.greet(400, false)?;
        host.hello(&[2.0, 2.1], false)?;
        host.request_backup(&udid, true, false)?;
        host.serve(false)
    };
    let ended = run(&mut host);
    (host, ended)
}

fn succeeded(ended: &std::io::Result<plist::Dictionary>) -> bool {
    ended.as_ref().is_ok_and(|said| said["ErrorCode"].as_signed_integer() == Some(0))
}

#[test]
fn a_backup_is_struck_in_its_messages_and_in_its_files() {
    std::thread::scope(|scope| {
        for kind in KINDS {
            scope.spawn(move || {
                // The photo is the second of five files.
                for (at, after) in [
                    ("backup-message", ("after_messages", 5)),
                    ("backup-message", ("after_bytes", 1000)),
                    ("backup-upload", ("after_messages", 1)),
                    ("backup-upload", ("after_bytes", 1000)),
                    ("any", ("after_messages", 5)),
                    ("any", ("after_bytes", 1000)),
                ] {
                    backup_struck(at, after, kind);
                }
            });
        }
    });
}

fn backup_struck(at: &str, after: (&str, usize), kind: &str) {
    let case = format!("{at} {after:?} {kind}");
    let simulator = simulator(&format!("{QUIET}{}", fault(at, after, kind, 1)));
    let before = stay(&simulator).expect("the phone is on the bus");
    let (host, ended) = backup(&simulator);
    let in_file = host.ends.iter().filter(|(_, code)| *code == 0x0B).count();
    let photo =
        host.files.values().any(|bytes| bytes.len() == PHOTO_BYTES && bytes.iter().all(|b| *b == b'p'));
    match (kind, at) {
        ("unplug", _) => assert!(ended.is_err() && left_and_came_back(&simulator, &before), "{case}"),
        ("stall", _) => {
            let silent = ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            assert!(silent, "{case}: {ended:?}");
        }
        ("refuse", "backup-upload") => assert!(in_file == 1, "{case}: {:?} {ended:?}", host.ends),
        ("refuse", "backup-message") => {
            let code = ended.as_ref().ok().and_then(|said| said["ErrorCode"].as_signed_integer());
            assert!(code == Some(100), "{case}: {ended:?}");
        }
        // The stream is in order: only who compares can tell.
        ("corrupt" | "short", "backup-upload") => assert!(in_file == 0 && !photo, "{case}: {ended:?}"),
        ("corrupt" | "short" | "lie-about-length", "backup-message") => {
            assert!(ended.is_err(), "{case}: {ended:?}");
        }
        ("lie-about-length", "backup-upload") => assert!(ended.is_err(), "{case}: {ended:?}"),
        _ => assert!(!succeeded(&ended) || in_file > 0 || !photo, "{case}: {ended:?}"),
    }
    // It was once: the next one is whole.
    let (host, ended) = backup(&simulator);
    assert!(succeeded(&ended), "{case}: the next backup: {ended:?}");
    assert!(
        host.files.values().any(|bytes| bytes.len() == PHOTO_BYTES && bytes.iter().all(|b| *b == b'p')),
        "{case}"
    );
}

/// All that comes back on some connections, each of which asks a hundred things at once.
fn trace(simulator: &Simulator) -> Vec<Vec<u8>> {
    let requests = |round: Round| round.request().repeat(50);
    let rounds = [
        Round::AfcRead,
        Round::Lockdown,
        Round::AfcRead,
        Round::AfcWrite,
        Round::Small(Service::DiagnosticsRelay),
        Round::Small(Service::Profiles),
        Round::Lockdown,
    ];
    let all = |round: Round| {
        let mut stream = round.open(simulator);
        let mut writing = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let _ = writing.write_all(&requests(round));
            let _ = writing.shutdown(std::net::Shutdown::Write);
        });
        let mut bytes = Vec::new();
        stream.set_read_timeout(Some(wire::PATIENCE)).unwrap();
        let _ = stream.read_to_end(&mut bytes);
        sending.join().unwrap();
        bytes
    };
    rounds.into_iter().map(all).collect()
}

#[test]
fn a_plan_of_faults_strikes_to_the_byte_alike_each_time() {
    let plan = |seed: u64| {
        format!(
            "[faults]\nseed = {seed}\nmean_bytes = 400000\nmean_messages = 40\n\
             kinds = [\"refuse\", \"corrupt\", \"short\", \"lie-about-length\"]\n"
        )
    };
    let clean = trace(&simulator(""));
    let first = trace(&simulator(&plan(7)));
    assert!(first != clean, "nothing was struck");
    let second = trace(&simulator(&plan(7)));
    for (n, (one, other)) in first.iter().zip(&second).enumerate() {
        assert!(one == other, "connection {n}: {} and {} bytes", one.len(), other.len());
    }
    assert!(first[0] != first[2], "two connections to one service have each their own fate");
    assert!(trace(&simulator(&plan(8))) != first, "another seed, another run");
}
