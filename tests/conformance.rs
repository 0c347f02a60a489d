//! `conformance` on simulated phones of every kind: what is measured, that nobody is in it, that it ends in time, and
//! what comparing finds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use idevice_fix::conformance::compare::{Read, compare};
use idevice_fix::conformance::{End, Measuring, Pace};
use idevice_fix::lockdown::pairing::{self, NotReached};
use idevice_fix::lockdown::{Phone, Session};
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::sim::new::{NewOptions, Temper, create, scenarios};
use idevice_fix::sim::{Bus, Device};
use idevice_fix::usbmux::Muxer;
use serde_json::Value;

/// For a person who taps Trust, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn make(dir: &Path, ios: &str, temper: Temper, scenario: &str) {
    let options = NewOptions {
        scenario: scenario.to_owned(),
        ios: ios.to_owned(),
        temper,
        photos: Some(20),
        media_bytes: Some(4_000_000),
        ..NewOptions::default()
    };
    create(dir, &options).expect("a phone");
}

fn make_small(dir: &Path, scenario: &str) {
    let options = NewOptions {
        scenario: scenario.to_owned(),
        temper: Temper::Kind,
        photos: Some(8),
        media_bytes: Some(500_000),
        ..NewOptions::default()
    };
    create(dir, &options).expect("a phone");
}

async fn plug_in(dir: &Path) -> Phone {
    let bus = Arc::new(Bus::new(vec![Device::open(dir, false).expect("a whole phone")]));
    Phone { attached: bus.devices().await.expect("a bus").remove(0), muxer: bus }
}

async fn trust(phone: &Phone) -> Result<Session, NotReached> {
    pairing::establish(phone, PATIENCE, &Silent, &CancellationToken::new()).await
}

/// Measures everything but a backup.
async fn measured(dir: &Path, pace: Pace) -> (Value, End) {
    let phone = plug_in(dir).await;
    let cancel = CancellationToken::new();
    let mut measuring = Measuring::new(pace, true);
    let mut end = measuring.stranger(&phone, &Silent, &cancel).await;
    if end == End::Done {
        match trust(&phone).await {
            Ok(session) => {
                let scratch = tempfile::tempdir().unwrap();
                end = measuring.trusted(&session, scratch.path(), &Silent, &cancel).await;
                let left: Vec<_> = std::fs::read_dir(scratch.path()).unwrap().collect();
                assert!(left.is_empty(), "a copy was left: {left:?}");
            }
            Err(_) => measuring.not_let_in("the phone did not let this computer in"),
        }
    }
    (measuring.file(), end)
}

fn gaps(file: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    file["gaps"].as_array().unwrap().iter().map(|gap| (text(&gap["part"]), text(&gap["reason"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_new_phones_are_measured_whole_and_agree_with_the_simulated_ones() {
    for ios in ["13", "18.4.1", "26"] {
        let temp = tempfile::tempdir().unwrap();
        let (kind, harsh) = (temp.path().join("kind"), temp.path().join("harsh"));
        make(&kind, ios, Temper::Kind, "healthy");
        make(&harsh, ios, Temper::Harsh, "healthy");
        let (kind, end) = measured(&kind, Pace::brief()).await;
        assert_eq!((end, gaps(&kind)), (End::Done, vec![]), "{ios}");
        let (harsh, end) = measured(&harsh, Pace::brief()).await;
        assert_eq!((end, gaps(&harsh)), (End::Done, vec![]), "{ios}");
        assert_eq!(kind["parts"].as_object().unwrap().len(), 11);
        let (kind, harsh) = (Read::of(&kind).unwrap(), Read::of(&harsh).unwrap());
        assert_eq!(compare(&harsh, &harsh).differences, []);
        // A kind phone gives all the handles that are asked for, a harsh one sixteen.
        let found = compare(&kind, &harsh).differences;
        let places: Vec<&str> = found.iter().map(|found| found.place.as_str()).collect();
        assert_eq!(places, ["files > handles > limit", "files > handles > opened"], "{found:?}");
        assert_eq!((found[1].assumed.as_str(), found[1].phone.as_str()), ("16", "64"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_measurings_of_one_phone_differ_in_speed_alone() {
    fn without_speed(value: &mut Value) {
        if let Value::Object(entries) = value {
            entries.retain(|key, _| !key.contains("per second"));
            entries.values_mut().for_each(without_speed);
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("phone");
    make(&dir, "17", Temper::Kind, "healthy");
    let (mut one, _) = measured(&dir, Pace::brief()).await;
    let (mut other, _) = measured(&dir, Pace::brief()).await;
    without_speed(&mut one);
    without_speed(&mut other);
    assert_eq!(one.to_string(), other.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_does_not_let_us_in_is_measured_from_outside() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("phone");
    make(&dir, "18", Temper::Kind, "healthy");
    std::fs::write(dir.join("device.toml"), "temper = \"kind\"\n[trust]\nstate = \"denied\"\n").unwrap();
    let (file, _) = measured(&dir, Pace::brief()).await;
    let parts: Vec<&String> = file["parts"].as_object().unwrap().keys().collect();
    assert_eq!(parts, ["lockdown, before a session"]);
    assert_eq!(file["parts"]["lockdown, before a session"]["QueryType"], "com.apple.mobile.lockdown");
    assert_eq!(gaps(&file).len(), 10);
    assert!(gaps(&file).iter().all(|(_, reason)| reason == "the phone did not let this computer in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_phone_gives_what_it_gives() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("phone");
    make(&dir, "18", Temper::Kind, "healthy");
    let toml = dir.join("device.toml");
    std::fs::write(&toml, "temper = \"kind\"\n").unwrap();
    let phone = plug_in(&dir).await;
    let session = trust(&phone).await.unwrap();
    for state in ["locked", "before-first-unlock"] {
        std::fs::write(
            &toml,
            format!("temper = \"kind\"\n[lock]\nstate = \"{state}\"\n[person]\nunlocks_after_ms = 0\n"),
        )
        .unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut measuring = Measuring::new(Pace::brief(), true);
        let scratch = tempfile::tempdir().unwrap();
        let end = measuring.trusted(&session, scratch.path(), &Silent, &CancellationToken::new()).await;
        let file = measuring.file();
        assert_eq!(end, End::Done, "{state}");
        assert!(measuring.has_gaps(), "{state}");
        assert_eq!(file["phone"]["ios_version"], "18.4.1", "{state}: {}", file["phone"]);
        let refused = ["PasswordProtected", "EscrowLocked", "MissingValue", "InvalidHostID"];
        for (part, reason) in gaps(&file) {
            let follows = reason == "the library was not read" || reason == "no file to read from";
            assert!(follows || refused.contains(&reason.as_str()), "{state}: {part}: {reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_stalls_does_not_hold_us_up() {
    for (at, total) in [("lockdown", 4), ("afc-read", 8), ("any", 4)] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("phone");
        make(&dir, "18", Temper::Kind, "healthy");
        let phone = plug_in(&dir).await;
        let session = trust(&phone).await.unwrap();
        let fault = format!("[[fault]]\nat = \"{at}\"\nafter_bytes = 1\nkind = \"stall\"\ntimes = 100000\n");
        std::fs::write(dir.join("device.toml"), format!("temper = \"kind\"\n{fault}")).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let pace = Pace { total: Duration::from_secs(total), ..Pace::brief() };
        let mut measuring = Measuring::new(pace, true);
        let scratch = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let end = measuring.trusted(&session, scratch.path(), &Silent, &CancellationToken::new()).await;
        let took = began.elapsed();
        assert_eq!(end, End::Done, "{at}");
        assert!(took < Duration::from_secs(total + 6), "{at}: {took:?}");
        let gaps = gaps(&measuring.file());
        assert!(!gaps.is_empty(), "{at}");
        let known = [
            "it took too long",
            "no time was left",
            "no answer in time",
            "the library was not read",
            "no file to read from",
            "the database could not be copied or read",
            "the connection broke",
        ];
        for (part, reason) in gaps {
            assert!(known.contains(&reason.as_str()), "{at}: {part}: {reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_leaves_gives_the_part_that_was_measured() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("phone");
    make(&dir, "18", Temper::Kind, "healthy");
    let toml = std::fs::read_to_string(dir.join("device.toml")).unwrap();
    let fault = "[[fault]]\nat = \"afc-read\"\nafter_bytes = 1\nkind = \"unplug\"\n";
    std::fs::write(dir.join("device.toml"), format!("{toml}\n{fault}")).unwrap();
    let (file, end) = measured(&dir, Pace::brief()).await;
    assert_eq!(end, End::PhoneLeft, "{file}");
    assert!(file["parts"]["lockdown, in a session"]["domains"].is_object());
    let gaps = gaps(&file);
    assert!(gaps.iter().any(|(part, reason)| part == "ladder" && reason == "the phone left"), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_stopped_gives_the_part_that_was_measured() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("phone");
    make(&dir, "18", Temper::Kind, "healthy");
    let phone = plug_in(&dir).await;
    let session = trust(&phone).await.unwrap();
    let (cancel, scratch) = (CancellationToken::new(), tempfile::tempdir().unwrap());
    let mut measuring = Measuring::new(Pace::default(), true);
    let stop = cancel.clone();
    let end = tokio::join!(measuring.trusted(&session, scratch.path(), &Silent, &cancel), async move {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        stop.cancel();
    });
    assert_eq!(end.0, End::Cancelled);
    let file = measuring.file();
    assert!(gaps(&file).iter().any(|(_, reason)| reason == "interrupted"), "{file}");
    assert!(!file["parts"].as_object().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_shows_its_messages_its_sizes_and_what_was_refused() {
    for (temper, harsh) in [(Temper::Kind, false), (Temper::Harsh, true)] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("phone");
        make(&dir, "18", temper, "healthy");
        let phone = plug_in(&dir).await;
        let session = trust(&phone).await.unwrap();
        let mut measuring = Measuring::new(Pace::brief(), true);
        let scratch = tempfile::tempdir().unwrap();
        let end = measuring.backup(&session, scratch.path(), None, &Silent, &CancellationToken::new()).await;
        let file = measuring.file();
        assert_eq!((end, gaps(&file)), (End::Done, vec![]), "{file}");
        let backup = &file["parts"]["backup"];
        assert_eq!(backup["DeviceLink version"], "400");
        assert_eq!(backup["end"], "finished");
        let order = backup["order of messages"].as_array().unwrap();
        assert_eq!(order[0], "DLMessageVersionExchange");
        assert_eq!(order.last().unwrap(), "DLMessageProcessMessage");
        assert!(order.contains(&"DLMessageUploadFiles".into()), "{order:?}");
        let records = &backup["records"];
        assert_eq!(records["encrypted"], false);
        assert!(records["rows"]["CameraRollDomain"]["photo or film"].is_string(), "{records}");
        assert_eq!(records["refused"].to_string().contains("\"11\""), harsh, "{records}");
        let sizes = records["other sizes than stated"].as_object().unwrap();
        assert_eq!(sizes.is_empty(), !harsh, "{records}");
    }
}

/// So many scenarios are measured at the same time.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_in_any_trouble_is_measured_to_an_end() {
    let mut waiting: Vec<&'static str> = scenarios().iter().map(|scenario| scenario.name).collect();
    let mut running = tokio::task::JoinSet::new();
    while !waiting.is_empty() || !running.is_empty() {
        while running.len() < AT_ONCE
            && let Some(name) = waiting.pop()
        {
            running.spawn(async move {
                let temp = tempfile::tempdir().unwrap();
                let dir = temp.path().join("phone");
                make_small(&dir, name);
                // Whoever would be waited for is not there.
                let phone = plug_in(&dir).await;
                let cancel = CancellationToken::new();
                let pace = Pace { step_time: Duration::from_millis(1), step_bytes: 1, ..Pace::default() };
                let mut measuring = Measuring::new(pace, true);
                let end = measuring.stranger(&phone, &Silent, &cancel).await;
                let wait = Duration::from_secs(3);
                if let (End::Done, Ok(session)) =
                    (end, pairing::establish(&phone, wait, &Silent, &cancel).await)
                {
                    let scratch = tempfile::tempdir().unwrap();
                    measuring.trusted(&session, scratch.path(), &Silent, &cancel).await;
                }
                let text = measuring.file().to_string();
                let udid = phone.attached.udid.as_str();
                for private in ["Anna", udid, &udid[9..], "IMG_0", "@example"] {
                    assert!(!text.contains(private), "{name}: {private} is in {text}");
                }
                name
            });
        }
        if let Some(done) = running.join_next().await {
            done.expect("it ended");
        }
    }
}

fn program(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idevice-fix"));
    command.env_remove("IDEVICE_FIX_UDID").env_remove("USBMUXD_SOCKET_ADDRESS").env_remove("BACKUP_PASSWORD");
    let output = command.stdin(Stdio::null()).args(arguments).output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
    (output.status.code().expect("it ends by itself"), text(output.stdout), text(output.stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_program_shows_saves_and_compares() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().unwrap();
    let (dir, out) = (temp.path().join("phone"), temp.path().join("file.json"));
    let dest = temp.path().join("dest");
    make(&dir, "16", Temper::Harsh, "healthy");
    let (status, shown, said) =
        program(&["conformance", "--device", path(&dir), "--dest", path(&dest), "--out", path(&out)]);
    assert_eq!(status, 0, "{said}");
    assert_eq!(shown, std::fs::read_to_string(&out).unwrap(), "what is saved is what was shown");
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!dest.exists(), "without a backup nothing goes there");
    let (status, shown, said) = program(&["conformance", "compare", path(&out)]);
    assert_eq!(status, 0, "{shown}{said}");
    assert!(shown.contains("0 differences in "), "{shown}");
    // Another phone answers otherwise.
    let mut file: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    file["parts"]["services"]["services"]["com.apple.afc"] = "started, encrypted".into();
    file["parts"]["services"]["services"]["\u{1b}[31m"] = "\u{1b}]0;x\u{7}".into();
    std::fs::write(&out, file.to_string()).unwrap();
    let (status, shown, said) = program(&["conformance", "compare", path(&out)]);
    assert_eq!(status, 6, "{shown}{said}");
    assert!(shown.contains("services > services > com.apple.afc"), "{shown}");
    assert!(shown.contains("we assume:      started, plain"), "{shown}");
    assert!(shown.contains("the phone said: started, encrypted"), "{shown}");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'));
    let (status, shown, _) = program(&["conformance", "compare", path(&out), "--json"]);
    let comparison: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((status, comparison["differences"].as_array().unwrap().len()), (6, 2));
    assert_eq!(comparison["schema"], "idevice-fix/conformance-comparison/1");
}

#[test]
fn the_program_says_why_it_cannot() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file.json");
    for content in [&b"{}"[..], b"nonsense", &[0xFF; 100]] {
        std::fs::write(&file, content).unwrap();
        let (status, _, said) = program(&["conformance", "compare", path(&file)]);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains("cannot be compared"), "{said}");
    }
    for none in [temp.path(), Path::new("/dev/zero"), &PathBuf::from("/nowhere")] {
        assert_eq!(program(&["conformance", "compare", path(none)]).0, 2);
    }
    let dir = temp.path().join("phone");
    make(&dir, "16", Temper::Kind, "healthy");
    let (status, shown, said) = program(&["conformance", "--with-backup", "--device", path(&dir)]);
    assert_eq!((status, shown.as_str()), (4, ""), "{said}");
    std::fs::write(dir.join("device.toml"), "temper = \"kind\"\n[trust]\nstate = \"denied\"\n").unwrap();
    let (status, shown, said) = program(&["conformance", "--json", "--device", path(&dir)]);
    assert_eq!(status, 4, "{said}");
    let file: Value = serde_json::from_str(&shown).unwrap();
    assert!(file["parts"]["lockdown, before a session"].is_object());
}
