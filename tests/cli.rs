//! The built program on simulated phones: what it says and how it ends when something is in the way.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use idevice_fix::lockdown::Phone;
use idevice_fix::lockdown::pairing::establish;
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::sim::{Bus, Device, Touched};
use idevice_fix::usbmux::Muxer;
use idevice_fix::usbmux::server::{Listener, serve};
use serde_json::Value;

/// Kind, and its person does nothing unless a test says so: then a wait is the program's own.
const KIND: &str = "temper = \"kind\"\n";

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idevice-fix"));
    command.env_remove("IDEVICE_FIX_UDID").env_remove("USBMUXD_SOCKET_ADDRESS").env_remove("BACKUP_PASSWORD");
    command.env_remove("DBUS_SESSION_BUS_ADDRESS").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the program writes UTF-8")
}

/// Runs to the end and gives status, stdout and stderr.
fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    (status.code().expect("it ends by itself"), text(&stdout), text(&stderr))
}

/// A scratch folder with a small phone in it.
struct Scratch {
    temp: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A scratch folder with a phone of `scenario` and `settings` as its `device.toml`.
    fn with(scenario: &str, settings: &str) -> Self {
        let scratch = Self::new();
        scratch.phone("phone", scenario, 1, settings);
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn phone(&self, name: &str, scenario: &str, seed: u64, settings: &str) -> PathBuf {
        self.phone_with(name, scenario, seed, settings, "12")
    }

    fn phone_with(&self, name: &str, scenario: &str, seed: u64, settings: &str, photos: &str) -> PathBuf {
        let dir = self.path(name);
        let seed = seed.to_string();
        let media = ["--photos", photos, "--media-bytes", "3000000"];
        let made = run(program()
            .args(["sim", "new", "--scenario", scenario, "--seed", &seed])
            .args(media)
            .arg(&dir));
        assert_eq!(made.0, 0, "{}", made.2);
        std::fs::write(dir.join("device.toml"), settings).expect("the phone's folder is ours");
        dir
    }

    /// The program on this phone, copying into this scratch folder.
    fn on_phone(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.arg("--device").arg(self.path("phone")).arg("--dest").arg(self.path("dest")).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        run(&mut self.on_phone(arguments))
    }
}

/// Phones behind a socket, as usbmuxd has them.
struct Socket {
    path: PathBuf,
    devices: Vec<Arc<Device>>,
    stop: CancellationToken,
    _runtime: tokio::runtime::Runtime,
}

impl Socket {
    fn serve(path: &Path, mode: u32, phones: &[PathBuf]) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let stop = CancellationToken::new();
        let _inside = runtime.enter();
        let devices: Vec<Arc<Device>> =
            phones.iter().map(|dir| Device::open(dir, false).expect("a whole phone")).collect();
        let listener = Listener::unix(path, mode).expect("a socket");
        runtime.spawn(serve(Arc::new(Bus::new(devices.clone())), listener, stop.clone()));
        Self { path: path.to_owned(), devices, stop, _runtime: runtime }
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        run(program().env("USBMUXD_SOCKET_ADDRESS", &self.path).args(arguments))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One plain sentence of cause on stderr's last line, which names what is asked for.
#[track_caller]
fn assert_says(stderr: &str, words: &[&str]) {
    let last = stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("idevice-fix: "), "{stderr}");
    for word in words {
        assert!(last.contains(word), "{word:?} is not in {last:?}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

fn json(stdout: &str) -> Value {
    serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

fn result(stdout: &str) -> Value {
    let last = stdout.lines().last().expect("a result");
    let result = json(last);
    assert_eq!(result["event"], "result", "{last}");
    result
}

#[test]
fn no_device_is_three_with_a_sentence_and_an_object() {
    let scratch = Scratch::new();
    let socket = Socket::serve(&scratch.path("mux"), 0o600, &[]);
    let (status, stdout, stderr) = socket.run(&["diagnose", "--json"]);
    assert_eq!(status, 3, "{stderr}");
    let diagnosis = json(&stdout);
    assert_eq!(diagnosis["device"], Value::Null);
    assert_eq!(diagnosis["schema"], "idevice-fix/diagnosis/1");
    assert_ne!(diagnosis["verdict"]["photos"], "safe");
    let (status, stdout, stderr) = socket.run(&["devices", "--json"]);
    assert_eq!((status, json(&stdout)["devices"].as_array().map(Vec::len)), (3, Some(0)), "{stderr}");
}

#[test]
fn two_devices_and_none_named_is_nine_with_their_ids() {
    let scratch = Scratch::new();
    let phones = [scratch.phone("a", "healthy", 1, KIND), scratch.phone("b", "healthy", 2, KIND)];
    let socket = Socket::serve(&scratch.path("mux"), 0o600, &phones);
    let (status, stdout, stderr) = socket.run(&["devices", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    let ids: Vec<String> = json(&stdout)["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["udid"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 2);
    let (status, _, stderr) = socket.run(&["info"]);
    assert_eq!(status, 9, "{stderr}");
    assert_says(&stderr, &[&ids[0], &ids[1], "--udid"]);
    let (status, _, stderr) = socket.run(&["info", "--udid", &ids[1]]);
    assert_eq!(status, 0, "{stderr}");
}

#[test]
fn a_missing_usbmuxd_is_three_and_says_what_to_install() {
    let mut command = program();
    command.env("USBMUXD_SOCKET_ADDRESS", "/nonexistent/usbmuxd").args(["diagnose", "--json"]);
    let (status, stdout, stderr) = run(&mut command);
    assert_eq!(status, 3, "{stderr}");
    assert_eq!(json(&stdout)["device"], Value::Null);
    assert_says(&stderr, &["/nonexistent/usbmuxd", "usbmuxd"]);
}

#[test]
fn a_socket_that_is_not_ours_is_three_and_is_named() {
    let scratch = Scratch::new();
    let path = scratch.path("mux");
    let _socket = Socket::serve(&path, 0o000, &[]);
    let mut command = program();
    command.env("USBMUXD_SOCKET_ADDRESS", &path).env("HOME", scratch.temp.path()).args(["devices"]);
    if rustix::process::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt;
        // Root may open anything, so somebody else tries, who has to be able to start the program and reach the folder.
        let reachable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(scratch.temp.path(), reachable.clone()).unwrap();
        let copy = scratch.path("idevice-fix");
        std::fs::copy(env!("CARGO_BIN_EXE_idevice-fix"), &copy).unwrap();
        std::fs::set_permissions(&copy, reachable).unwrap();
        let mut other = Command::new(&copy);
        other.env("USBMUXD_SOCKET_ADDRESS", &path).env("HOME", scratch.temp.path()).arg("devices");
        other.uid(65_534).gid(65_534).current_dir("/");
        command = other;
    }
    let (status, _, stderr) = run(&mut command);
    assert_eq!(status, 3, "{stderr}");
    assert_says(&stderr, &["permission", "mux"]);
}

#[test]
fn a_phone_that_nobody_trusts_is_four() {
    let settings = format!("{KIND}[person]\ntrusts_after_ms = 0\n");
    let scratch = Scratch::with("healthy", &settings);
    let (status, stdout, stderr) = scratch.run(&["diagnose", "--json"]);
    assert_eq!(status, 4, "{stderr}");
    let diagnosis = json(&stdout);
    assert_eq!(diagnosis["findings"][0]["id"], "trust-pending", "{stdout}");
    assert!(diagnosis["device"]["udid"].is_string());
    assert_says(&stderr, &["trust", "Trust"]);
}

#[test]
fn a_denied_trust_is_four_at_once() {
    let scratch = Scratch::with("healthy", &format!("{KIND}[trust]\nstate = \"denied\"\n"));
    let began = Instant::now();
    let (status, stdout, stderr) = scratch.run(&["diagnose", "--json"]);
    assert_eq!(status, 4, "{stderr}");
    assert!(began.elapsed() < Duration::from_secs(30), "waiting does not help here");
    assert_eq!(json(&stdout)["findings"][0]["id"], "trust-denied");
}

#[test]
fn a_locked_phone_is_four() {
    for (state, id) in [("locked", "device-locked"), ("before-first-unlock", "not-unlocked-since-boot")] {
        let settings = format!("{KIND}[lock]\nstate = \"{state}\"\n[person]\nunlocks_after_ms = 0\n");
        let scratch = Scratch::with("healthy", &settings);
        let (status, stdout, stderr) = scratch.run(&["diagnose", "--json"]);
        assert_eq!(status, 4, "{state}: {stderr}");
        let ids: Vec<Value> =
            json(&stdout)["findings"].as_array().unwrap().iter().map(|f| f["id"].clone()).collect();
        assert!(
            ids.contains(&Value::from(id)) || ids.contains(&Value::from("device-locked")),
            "{state}: {ids:?}"
        );
        assert_says(&stderr, &["lock"]);
    }
}

#[test]
fn damaged_folders_and_wrong_keys_are_two_and_named_exactly() {
    let scratch = Scratch::with("healthy", "temper = \"kind\"\n[lokc]\nstate = \"locked\"\n");
    let (status, _, stderr) = scratch.run(&["info"]);
    assert_eq!(status, 2, "{stderr}");
    assert_says(&stderr, &["device.toml", "lokc"]);

    std::fs::write(scratch.path("phone/device.toml"), KIND).unwrap();
    std::fs::write(scratch.path("phone/lockdown.plist"), b"<plist><dict><key>").unwrap();
    let (status, _, stderr) = scratch.run(&["info"]);
    assert_eq!(status, 2, "{stderr}");
    assert_says(&stderr, &["lockdown.plist"]);

    let (status, _, stderr) = run(program().args(["--device", "/nonexistent/phone", "info"]));
    assert_eq!(status, 2, "{stderr}");
    assert_says(&stderr, &["/nonexistent/phone"]);
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_copied() {
    let scratch = Scratch::with("icloud-full", KIND);
    let (status, _, stderr) = scratch.run(&["fix"]);
    assert_eq!(status, 4, "{stderr}");
    assert!(stderr.contains("The plan"), "{stderr}");
    assert_says(&stderr, &["-y"]);
    let copied = walk(&scratch.path("dest")).into_iter().filter(|p| p.to_string_lossy().contains("DCIM"));
    assert_eq!(copied.count(), 0);
}

#[test]
fn the_whole_visit_protects_and_the_second_copies_nothing() {
    let scratch = Scratch::with("icloud-full", KIND);
    let (status, stdout, stderr) = scratch.run(&["fix", "-y", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    let first = result(&stdout);
    assert_eq!(first["diagnosis"]["verdict"]["photos"], "safe", "{first:#}");
    assert!(first["protection"]["photos"]["copied_files"].as_u64().unwrap() > 10);
    assert!(first["protection"]["backup"]["verified_at"].is_string());
    consistent(&first["diagnosis"]);

    let (status, stdout, stderr) = scratch.run(&["photos", "pull", "-y", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(result(&stdout)["protection"]["photos"]["copied_files"], 0);
    let (status, stdout, _) = scratch.run(&["report", "--html"]);
    assert!(status == 0 && stdout.starts_with("<!doctype html>"));
    what_afc_refuses_comes_from_the_backup(&scratch);
    let (status, stdout, _) = scratch.run(&["jobs", "--json"]);
    assert!(status == 0 && json(&stdout)["jobs"][0]["job"].is_string(), "{stdout}");
    backups_are_looked_at_and_taken_in(&scratch);
}

/// What may be done with a backup without its phone.
fn backups_are_looked_at_and_taken_in(scratch: &Scratch) {
    // A part of it is no proof: complete only is what read all of it, and compared it with the copy of the photos.
    let (status, stdout, stderr) = scratch.run(&["backup", "verify", "--sample", "30%", "--json"]);
    assert_says(&stderr, &["Only a sample was read", "not proven"]);
    let looked = result(&stdout);
    assert_eq!((status, &looked["backup"], &looked["damage"]), (6, &Value::Null, &serde_json::json!([])));
    assert!(looked["sample"]["files_read"].as_u64() < looked["sample"]["files"].as_u64(), "{looked:#}");
    let (status, stdout, stderr) = scratch.run(&["backup", "verify", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    let verified = result(&stdout);
    let udid = verified["udid"].as_str().unwrap();
    assert_eq!(verified["backup"]["adopted_files"], 0);

    let theirs = scratch.path("dest").join(udid).join("backup");
    let adopt = |dir: &Path, dest: &str| {
        let dest = scratch.path(dest);
        run(program().arg("--dest").arg(dest).args(["--json", "backup", "adopt"]).arg(dir))
    };
    let (status, stdout, stderr) = adopt(&theirs, "elsewhere");
    assert_eq!(status, 0, "{stderr}");
    let adopted = result(&stdout);
    assert_eq!(adopted["udid"], udid);
    assert_eq!(adopted["backup"]["adopted_files"], adopted["files"]);
    let (status, stdout, _) =
        run(program().arg("--dest").arg(scratch.path("elsewhere")).args(["backup", "verify"]));
    assert!(status == 0 && stdout.contains("as it was adopted"), "{stdout}");
    let (status, _, stderr) = adopt(&scratch.path("phone"), "nowhere");
    assert_eq!(status, 1);
    assert_says(&stderr, &["no backup in this folder", "Manifest.db"]);
    assert_eq!(adopt(&scratch.path("missing"), "nowhere").0, 2);
}

#[test]
fn downloaded_originals_count_and_what_only_looks_like_them_does_not() {
    let scratch = Scratch::new();
    let (got, phone) = (scratch.path("got"), scratch.path("phone"));
    let made = run(program()
        .args([
            "sim",
            "new",
            "--scenario",
            "optimised",
            "--photos",
            "12",
            "--media-bytes",
            "1000000",
            "--temper",
            "kind",
        ])
        .arg("--originals")
        .args([&got, &phone]));
    assert_eq!(made.0, 0, "{}", made.2);
    let names: Vec<String> = walk(&got)
        .iter()
        .filter(|path| path.extension().is_none_or(|extension| extension != "csv"))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    // One that was changed on the way, one that was cut, one under another name.
    let (first, second, third) = (got.join(&names[0]), got.join(&names[1]), got.join(&names[2]));
    let (whole, cut) = (std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&first, changed).unwrap();
    std::fs::write(&second, &cut[..cut.len() - 9]).unwrap();
    std::fs::rename(&third, got.join("summer")).unwrap();

    let adopt = ["photos", "adopt", got.to_str().unwrap(), "--json"];
    let (status, stdout, stderr) = scratch.run(&adopt);
    assert_eq!(status, 6, "{stderr}");
    let some = result(&stdout);
    assert_eq!(some["not_taken"].as_array().unwrap().len(), 2, "{some:#}");
    assert_eq!(some["taken"].as_array().unwrap().len(), names.len() - 2);
    assert_eq!((&some["missing"], only_in_icloud(&some)), (&Value::from(2), true));

    std::fs::write(&first, whole).unwrap();
    std::fs::write(&second, cut).unwrap();
    let (status, stdout, stderr) = scratch.run(&adopt);
    assert_eq!(status, 0, "{stderr}");
    let all = result(&stdout);
    assert_eq!((&all["missing"], only_in_icloud(&all)), (&Value::from(0), false), "{all:#}");

    let (status, stdout, stderr) =
        scratch.run(&["photos", "pull", "-y", "--json", "--layout", "by-date,recently-deleted"]);
    assert_eq!(status, 0, "{stderr}");
    let layouts = &result(&stdout)["protection"]["layouts"];
    assert!(layouts[0]["files"].as_u64().unwrap() > names.len() as u64, "{layouts:#}");
    assert!(layouts[1]["layout"] == "recently-deleted" && layouts[1]["files"].as_u64() >= Some(2));

    let (status, stdout, _) =
        scratch.run(&["photos", "status", "--json", "--list", "only-in-icloud,not-copied"]);
    let lists = &json(&stdout)["lists"];
    let away = lists["only-in-icloud"].as_array().unwrap();
    assert!(status == 0 && away.len() > 5 && away[0]["created"].as_str() > away[1]["created"].as_str());
    assert_eq!(lists["not-copied"].as_array().map(Vec::len), Some(0), "{lists:#}");
    let (status, stdout, _) = scratch.run(&["photos", "status", "--csv", "--list", "recently-deleted"]);
    assert_eq!((status, stdout.split("\r\n").count()), (0, 4), "{stdout}");
    let (status, _, stderr) = run(program().args(["photos", "status", "--list", "everything"]));
    assert!(status == 2 && stderr.contains("only-in-icloud"), "{stderr}");
}

/// The library in iCloud may not be deleted since it alone holds originals.
fn only_in_icloud(result: &Value) -> bool {
    let reasons = result["verdict"]["reasons"].as_array().unwrap();
    reasons
        .iter()
        .any(|reason| reason["for"] == "delete_icloud_library" && reason["id"] == "originals-only-in-icloud")
}

/// `photos pull` alone tries what AFC refuses again from the backup that is kept here.
fn what_afc_refuses_comes_from_the_backup(scratch: &Scratch) {
    let folder = std::fs::read_dir(scratch.path("dest")).unwrap().flatten().map(|entry| entry.path());
    let folder = folder.into_iter().find(|path| path.join("photos.manifest").is_file()).unwrap();
    std::fs::remove_dir_all(folder.join("photos")).unwrap();
    // Harsh: one hard-linked original does not open.
    let refuse = "temper = \"harsh\"\n[refuse]\nafc_paths = [\"/PhotoData/Mutations\"]\n";
    std::fs::write(scratch.path("phone/device.toml"), refuse).unwrap();
    let (status, stdout, stderr) = scratch.run(&["photos", "pull", "-y", "--json"]);
    assert_eq!(status, 6, "{stderr}");
    let protection = &result(&stdout)["protection"];
    let [skipped] = &protection["skipped"].as_array().unwrap()[..] else { panic!("{protection:#}") };
    assert_eq!(skipped["item"], "PhotoData/Mutations");
    let reason = skipped["reason"].as_str().unwrap();
    assert!(reason.contains("status 10") && reason.ends_with("taken from the backup"), "{reason}");
    assert!(protection["photos"]["from_backup_files"].as_u64().unwrap() > 1, "{protection:#}");
    assert!(folder.join("photos/PhotoData/Mutations").is_dir());
}

/// The numbers of a diagnosis agree with each other.
fn consistent(diagnosis: &Value) {
    let library = &diagnosis["facts"]["library"];
    let n = |name: &str| library[name].as_u64().unwrap_or_else(|| panic!("{name}: {library:#}"));
    let places = [
        "originals_here_and_in_icloud",
        "originals_only_here",
        "originals_only_in_icloud",
        "originals_in_neither",
        "originals_place_unknown",
    ];
    assert_eq!(places.iter().map(|name| n(name)).sum::<u64>(), n("assets"));
    assert_eq!(n("uploaded") + n("waiting") + n("failed") + n("never_queued"), n("assets"));
    let ids: Vec<&str> =
        diagnosis["findings"].as_array().unwrap().iter().map(|f| f["id"].as_str().unwrap()).collect();
    if let Some(pause) = diagnosis["facts"]["icloud_photos"]["pause_reason"].as_str() {
        assert!(ids.contains(&pause), "{pause} is no finding: {ids:?}");
    }
    for (at, rung) in diagnosis["ladder"].as_array().unwrap().iter().enumerate() {
        assert_eq!(rung["rung"], at + 1);
        for because in rung["because"].as_array().unwrap() {
            assert!(ids.contains(&because.as_str().unwrap()), "{rung}");
        }
    }
}

#[test]
fn a_phone_that_leaves_and_returns_costs_nothing() {
    let settings = format!("{KIND}[[fault]]\nat = \"afc-read\"\nafter_bytes = 2000000\nkind = \"unplug\"\n");
    let scratch = Scratch::with("healthy", &settings);
    let (status, stdout, stderr) = scratch.run(&["photos", "pull", "-y", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    assert!(result(&stdout)["protection"]["photos"]["verified_at"].is_string());
}

#[test]
fn a_phone_that_never_returns_is_three_and_the_next_run_goes_on() {
    let scratch = Scratch::with("healthy", &format!("{KIND}[link]\nbytes_per_second = 600000\n"));
    let socket = Socket::serve(&scratch.path("mux"), 0o600, &[scratch.path("phone")]);
    let mut command = program();
    command.env("USBMUXD_SOCKET_ADDRESS", &socket.path).arg("--dest").arg(scratch.path("dest"));
    command.args(["photos", "pull", "-y", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    wait_for(&scratch.path("dest"), "DCIM");
    drop(socket);
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert_says(&stderr, &["again"]);

    std::fs::write(scratch.path("phone/device.toml"), KIND).unwrap();
    let (status, stdout, stderr) = scratch.run(&["photos", "pull", "-y", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    let photos = &result(&stdout)["protection"]["photos"];
    assert!(photos["copied_files"].as_u64() < photos["proven_files"].as_u64(), "it went on: {photos}");
}

#[test]
fn a_phone_that_leaves_during_a_backup_and_returns_is_backed_up() {
    let settings =
        format!("{KIND}[[fault]]\nat = \"backup-upload\"\nafter_bytes = 1000000\nkind = \"unplug\"\n");
    let scratch = Scratch::with("healthy", &settings);
    let (status, stdout, stderr) = scratch.run(&["backup", "-y", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    assert!(result(&stdout)["protection"]["backup"]["verified_at"].is_string(), "{stdout}");
}

#[test]
fn a_phone_that_stalls_for_good_is_one_and_what_was_copied_stays() {
    let scratch = Scratch::with("healthy", &format!("{KIND}[link]\nbytes_per_second = 600000\n"));
    let pull = ["photos", "pull", "-y", "--json"];
    let child = scratch.on_phone(&pull).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&scratch.path("dest"), "DCIM");
    let stall = "[[fault]]\nat = \"afc-read\"\nafter_bytes = 1\nkind = \"stall\"\ntimes = 1000\n";
    std::fs::write(scratch.path("phone/device.toml"), format!("{KIND}{stall}")).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_says(&stderr, &["stopped answering", "again"]);

    std::fs::write(scratch.path("phone/device.toml"), KIND).unwrap();
    let (status, stdout, stderr) = scratch.run(&pull);
    assert_eq!(status, 0, "{stderr}");
    let photos = &result(&stdout)["protection"]["photos"];
    assert!(photos["copied_files"].as_u64() < photos["proven_files"].as_u64(), "it went on: {photos}");
}

#[test]
fn ctrl_c_is_130_and_the_next_run_goes_on() {
    let settings = format!("{KIND}[link]\nbytes_per_second = 600000\n");
    let scratch = Scratch::with("healthy", &settings);
    let mut child = scratch
        .on_phone(&["photos", "pull", "-y", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&scratch.path("dest"), "DCIM");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    let status = child.wait().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert_says(&stderr, &["again"]);

    std::fs::write(scratch.path("phone/device.toml"), KIND).unwrap();
    let (status, stdout, stderr) = scratch.run(&["photos", "pull", "-y", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    let photos = &result(&stdout)["protection"]["photos"];
    assert!(photos["copied_files"].as_u64() < photos["proven_files"].as_u64(), "it went on: {photos}");
}

#[test]
fn a_bench_visits_what_is_plugged_in_and_stops_when_it_is_told_to() {
    let scratch = Scratch::with("healthy", KIND);
    let notify = std::os::unix::net::UnixDatagram::bind(scratch.path("notify")).unwrap();
    notify.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    std::fs::write(scratch.path("wrong.toml"), "[policy]\non_plug = \"erase\"\n").unwrap();
    let wrong = scratch.path("wrong.toml").display().to_string();
    let (status, _, stderr) = scratch.run(&["serve", "--config", &wrong]);
    assert_eq!(status, 2, "{stderr}");
    assert_says(&stderr, &["wrong.toml", "line 2", "erase"]);

    std::fs::write(scratch.path("config.toml"), "[policy]\non_plug = \"identify\"\n").unwrap();
    let mut child = scratch
        .on_phone(&["serve", "--json", "--config"])
        .arg(scratch.path("config.toml"))
        .env("NOTIFY_SOCKET", scratch.path("notify"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| json(&line.unwrap()));
    let told: Vec<Value> = lines.take_while(|event| event["event"] != "visit-done").collect();
    let names: Vec<&str> = told.iter().filter_map(|event| event["event"].as_str()).collect();
    for name in ["ready", "device-connected", "visit-began"] {
        assert!(names.contains(&name), "{names:?}");
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "to be told to stop is a good end");
    let mut said = Vec::new();
    while said.last().is_none_or(|last| last != "STOPPING=1") {
        let mut bytes = [0; 256];
        let length = notify.recv(&mut bytes).expect("the supervisor is told");
        said.push(text(&bytes[..length]));
    }
    assert!(said[0].starts_with("READY=1\n"), "{said:?}");
    let (_, stdout, _) = scratch.run(&["jobs", "--json"]);
    let job = &json(&stdout)["jobs"][0];
    assert_eq!(
        (&job["command"], &job["exit_status"], &job["ended_at"]),
        (&"serve".into(), &0.into(), &Value::Null)
    );
}

#[test]
fn a_pair_record_of_another_computer_lets_this_one_in() {
    let scratch = Scratch::with("healthy", KIND);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let device = Device::open(&scratch.path("phone"), false).unwrap();
    let udid = device.udid().clone();
    let record = runtime.block_on(async {
        let elsewhere = Arc::new(Bus::new(vec![Arc::clone(&device)]));
        let attached = elsewhere.devices().await.unwrap().remove(0);
        let phone = Phone { muxer: elsewhere.clone(), attached };
        let wait = Duration::from_secs(60);
        establish(&phone, wait, &Silent, &CancellationToken::new()).await.unwrap();
        elsewhere.pair_record(&udid).await.unwrap().unwrap()
    });
    // From now on nobody can tap anything on it.
    let broken = format!("{KIND}[person]\ntrusts_after_ms = 0\nunlocks_after_ms = 0\n");
    std::fs::write(scratch.path("phone/device.toml"), broken).unwrap();
    let (file, socket) = (scratch.path(&format!("{udid}.plist")), scratch.path("mux"));
    std::fs::write(&file, &record).unwrap();
    let stop = CancellationToken::new();
    let here = Arc::new(Bus::new(vec![device]));
    runtime.spawn(serve(Arc::clone(&here) as _, Listener::unix(&socket, 0o600).unwrap(), stop.clone()));
    let import = |file: &Path| {
        let mut command = program();
        run(command.env("USBMUXD_SOCKET_ADDRESS", &socket).args(["doctor", "--import-pair-record"]).arg(file))
    };

    // One that the phone does not take is not kept: it would be in the way of every later try.
    let mut wrong: plist::Dictionary = plist::from_bytes(&record).unwrap();
    wrong.insert("HostID".to_owned(), "6E2F1D3C-0B9A-4C8D-A7E6-5F4E3D2C1B0A".into());
    plist::to_file_xml(&file, &wrong).unwrap();
    let (status, _, stderr) = import(&file);
    assert_eq!(status, 4, "{stderr}");
    assert_says(&stderr, &["does not accept", "nothing was changed"]);
    assert_eq!(runtime.block_on(here.pair_record(&udid)).unwrap(), None);
    let absent = scratch.path("00008101-000000000000AAAA.plist");
    std::fs::write(&absent, &record).unwrap();
    let (status, _, stderr) = import(&absent);
    assert_eq!(status, 3, "{stderr}");
    assert_says(&stderr, &["is not connected"]);

    // The right one takes the place of one that is of no use.
    runtime.block_on(here.save_pair_record(&udid, None, &std::fs::read(&file).unwrap())).unwrap();
    std::fs::write(&file, &record).unwrap();
    let (status, stdout, stderr) = import(&file);
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.contains("lets this computer in"), "{stdout}");
    let (status, _, stderr) = import(&file);
    assert_eq!(status, 2, "{stderr}");
    assert_says(&stderr, &["already"]);
    std::fs::write(scratch.path("other.plist"), "no record").unwrap();
    let (status, _, stderr) = import(&scratch.path("other.plist"));
    assert_eq!(status, 2, "{stderr}");
    assert_says(&stderr, &["other.plist", "no property list"]);
    stop.cancel();
}

#[test]
fn a_contact_sheet_is_made_with_the_copy_and_again_without_the_phone() {
    let scratch = Scratch::with("looks-missing", KIND);
    let (status, stdout, stderr) = scratch.run(&["photos", "pull", "-y", "--json", "--gallery"]);
    assert_eq!(status, 0, "{stderr}");
    let made = result(&stdout)["protection"]["gallery"].clone();
    let items = made["items"].as_u64().unwrap();
    assert!(items > 3 && made["hidden_left_out"].as_u64() > Some(0), "{made}");
    assert_eq!(made["with_thumbnail"].as_u64(), Some(items), "the phone has one of each: {made}");
    let page = PathBuf::from(made["page"].as_str().unwrap());
    let first = std::fs::read_to_string(&page).unwrap();
    assert_eq!(first.matches("<li ").count() as u64, items);
    // Everything that the page leads to is there, and it leads nowhere else.
    for link in
        first.split(['"']).filter(|text| text.starts_with("photos/") || text.starts_with("photos.thumb"))
    {
        assert!(page.with_file_name(link).is_file(), "{link}");
    }
    let (status, stdout, _) = scratch.run(&["photos", "pull", "-y", "--json", "--gallery", "--hidden"]);
    let hidden = result(&stdout)["protection"]["gallery"].clone();
    let all = items + made["hidden_left_out"].as_u64().unwrap();
    assert_eq!(
        (status, hidden["items"].as_u64(), hidden["hidden_left_out"].as_u64()),
        (0, Some(all), Some(0))
    );
    assert!(hidden["fetched_files"].as_u64() < Some(items), "only what was not here: {hidden}");

    std::fs::remove_file(&page).unwrap();
    let again = run(program().arg("--dest").arg(scratch.path("dest")).args(["photos", "gallery", "--json"]));
    let again: (i32, Value) = (again.0, serde_json::from_str(&again.1).unwrap());
    assert_eq!((again.0, again.1["gallery"]["items"].as_u64()), (0, Some(all)));
    assert!(page.is_file());
    let nothing = run(program().arg("--dest").arg(scratch.path("empty")).args(["photos", "gallery"]));
    assert_eq!(nothing.0, 1);
    assert_says(&nothing.2, &["Nothing is kept"]);
}

#[test]
fn pictures_are_exported_or_it_is_said_in_one_sentence_how_to_get_that() {
    let scratch = Scratch::with("healthy", KIND);
    assert_eq!(scratch.run(&["photos", "pull", "-y"]).0, 0);
    let export = |into: &Path, more: &[&str]| {
        let mut command = program();
        command
            .arg("--dest")
            .arg(scratch.path("dest"))
            .args(["photos", "export", "--jpeg"])
            .arg(into)
            .args(more);
        run(&mut command)
    };
    let into = scratch.path("jpegs");
    let (status, stdout, stderr) = export(&into, &["--json"]);
    if !cfg!(feature = "heic") {
        assert_eq!((status, into.exists()), (2, false), "{stderr}");
        assert_says(&stderr, &["without", "--features heic"]);
        return;
    }
    assert_eq!(status, 0, "{stdout}{stderr}");
    let done = result(&stdout);
    assert!(done["converted"].as_u64() > Some(0) && done["copied"].as_u64() > Some(0), "{done}");
    let jpegs = walk(&into).into_iter().filter(|path| path.extension().is_some_and(|end| end == "jpg"));
    let begins = jpegs.map(|path| std::fs::read(path).unwrap()[..3].to_vec()).collect::<Vec<_>>();
    assert!(!begins.is_empty() && begins.iter().all(|begin| begin == &[0xff, 0xd8, 0xff]));
    // A second run makes nothing anew; what somebody else put there is kept, and then 6 says so.
    let again = result(&export(&into, &["--json"]).1);
    assert_eq!((again["converted"].as_u64(), again["copied"].as_u64()), (Some(0), Some(0)), "{again}");
    let mine = walk(&into).into_iter().find(|path| path.is_file()).unwrap();
    std::fs::write(&mine, b"mine").unwrap();
    let (status, stdout, stderr) = export(&into, &[]);
    assert_eq!((status, std::fs::read(&mine).unwrap()), (6, b"mine".to_vec()), "{stderr}");
    assert!(stdout.contains("NOT EXPORTED"), "{stdout}");
    assert_eq!(export(&scratch.path("dest/jpegs"), &[]).0, 2, "not among the originals");
}

/// The program at a terminal of 80 columns, which `script` makes, and somebody who types there.
struct Terminal {
    child: Child,
    shown: Arc<Mutex<String>>,
    seen: usize,
}

impl Terminal {
    fn open(command: &Command) -> Self {
        let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap().replace('\'', "'\\''"));
        let words: Vec<String> =
            std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
        let mut script = Command::new("script");
        script.args(["-qefc", &format!("stty cols 80 rows 50; exec {}", words.join(" ")), "/dev/null"]);
        script.env_remove("DBUS_SESSION_BUS_ADDRESS").env("TERM", "xterm").env("NO_COLOR", "1");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        let mut child =
            script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is installed");
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut out, into) = (child.stdout.take().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = out.read(&mut bytes) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        Self { child, shown, seen: 0 }
    }

    /// Waits until this is shown, after what was waited for before, and gives what was shown until then.
    #[track_caller]
    fn sees(&mut self, words: &'static str) -> String {
        self.sees_one_of(&[words]).0
    }

    /// The same for the first of several.
    #[track_caller]
    fn sees_one_of(&mut self, several: &[&'static str]) -> (String, &'static str) {
        let began = Instant::now();
        loop {
            let shown = self.shown.lock().unwrap()[self.seen..].to_owned();
            let found = several.iter().filter_map(|words| Some((shown.find(words)?, *words))).min();
            if let Some((at, words)) = found {
                self.seen += at + words.len();
                return (shown[..at].to_owned(), words);
            }
            assert!(began.elapsed() < Duration::from_secs(90), "{several:?} is not shown: {shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types it. What was typed before the question was asked is thrown away, so a moment is left for that.
    fn types(&mut self, text: &str) {
        std::thread::sleep(Duration::from_millis(200));
        let mut keys = self.child.stdin.as_ref().unwrap();
        keys.write_all(text.as_bytes()).unwrap();
        keys.flush().unwrap();
    }

    fn status(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

/// A test that fails leaves nobody at a question.
impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const RUNG: &str = "q = leave] ";

#[test]
fn the_ladder_is_climbed_at_a_terminal_left_and_taken_up_again() {
    let scratch = Scratch::with("backup-off", KIND);
    let mut terminal = Terminal::open(&scratch.on_phone(&["--device-keeps"]));
    terminal.sees("other folder] ");
    terminal.types("maybe\n");
    terminal.sees("other folder] ");
    terminal.types("p\n");
    terminal.sees("Climb now? [Y/n] ");
    terminal.types("\n");
    let backup = terminal.sees(RUNG);
    assert!(backup.contains("Make a local backup") && backup.contains("risks nothing"), "{backup}");
    terminal.types("what?\n");
    terminal.sees(RUNG);
    // What is about to be done is shown with its figures, and can still be left.
    terminal.types("\n");
    let plan = terminal.sees("[Enter = begin, s = skip] ");
    assert!(plan.contains("The plan") && plan.contains("Backup   at most"), "{plan}");
    terminal.types("s\n");
    let cloud = terminal.sees(RUNG);
    assert!(cloud.contains("Turn iCloud Backup on"), "{cloud}");
    terminal.types("\n");
    let effect = terminal.sees(RUNG);
    for words in ["It helped", "Switched on: no \u{2192} yes", "gone: iCloud Backup is off"] {
        assert!(effect.contains(words), "{words:?}: {effect}");
    }
    // The next one is the owner's: nothing changes by itself.
    terminal.types("\n");
    terminal.sees("Nothing has changed yet");
    terminal.sees("m = wait and measure] ");
    terminal.types("\n");
    terminal.sees(RUNG);
    terminal.types("q\n");
    terminal.sees("idevice-fix climb");
    assert_eq!(terminal.status(), 0);

    let report = report_of(&scratch, &["--json"]);
    let climbed: Vec<(&str, &str)> = report["climbed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rung| (rung["remedy"].as_str().unwrap(), rung["result"].as_str().unwrap()))
        .collect();
    assert_eq!(climbed[..2], [("back-up", "passed-over"), ("turn-on-icloud-backup", "yes")]);
    assert_eq!(climbed[2].1, "not-yet");
    let jobs: Value = json(&run(program().args(["jobs", "--json", "--dest"]).arg(scratch.path("dest"))).1);
    let steps = jobs["jobs"][0]["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["name"] == "climb turn-on-icloud-backup"), "{steps:?}");

    // Taken up again: it is said what was done before; Ctrl-C at a question is an end with everything kept.
    let mut terminal = Terminal::open(&scratch.on_phone(&["--device-keeps", "climb"]));
    terminal.sees(RUNG);
    terminal.types("s\n");
    let again = terminal.sees(RUNG);
    assert!(again.contains("Earlier  on ") && again.contains("Nothing has changed yet"), "{again}");
    terminal.types("\u{3}");
    assert_eq!(terminal.status(), 130);
}

/// The newest report.
fn report_of(scratch: &Scratch, arguments: &[&str]) -> Value {
    let mut command = program();
    command.arg("--dest").arg(scratch.path("dest")).arg("report").args(arguments);
    json(&run(&mut command).1)
}

#[test]
fn what_can_lose_photos_is_opened_by_the_gate_and_its_name_typed() {
    let scratch = Scratch::with("uploads-stuck", KIND);
    assert_eq!(scratch.run(&["photos", "pull", "-y"]).0, 0);
    let mut terminal = Terminal::open(&scratch.on_phone(&["climb"]));
    let toggle = "To agree, type toggle-icloud-photos: ";
    let mut shown = terminal.sees_one_of(&[RUNG, toggle]);
    while shown.1 == RUNG {
        assert!(!shown.0.contains("CAN LOSE"), "{}", shown.0);
        terminal.types("s\n");
        shown = terminal.sees_one_of(&[RUNG, toggle]);
    }
    let shown = shown.0;
    assert!(shown.contains("CAN LOSE PHOTOS") && shown.contains("The gate is open"), "{shown}");
    assert!(!shown.contains(" 1. "), "no step is shown before: {shown}");
    // A yes is not the word.
    terminal.types("yes\n");
    terminal.sees("To agree, type sign-out-and-in: ");
    terminal.types("sign-out-and-in\n");
    let steps = terminal.sees(RUNG);
    assert!(steps.contains(" 1. "), "only now its steps are shown: {steps}");
    terminal.types("q\n");
    assert_eq!(terminal.status(), 0);
}

/// A minute is long for a test: `IDEVICE_FIX_PATIENCE=1` runs it.
#[test]
fn a_word_that_is_typed_late_is_held_against_the_phone_as_it_is_then() {
    if std::env::var_os("IDEVICE_FIX_PATIENCE").is_none() {
        return;
    }
    let scratch = Scratch::with("uploads-stuck", KIND);
    assert_eq!(scratch.run(&["photos", "pull", "-y"]).0, 0);
    let mut terminal = Terminal::open(&scratch.on_phone(&["climb"]));
    let words = ["To agree, type toggle-icloud-photos: ", "To agree, type sign-out-and-in: "];
    while terminal.sees_one_of(&[RUNG, words[0]]).1 == RUNG {
        terminal.types("s\n");
    }
    std::thread::sleep(Duration::from_secs(61));
    // The phone is as it was: the word still counts.
    terminal.types("toggle-icloud-photos\n");
    terminal.sees("so the phone is read once more");
    assert!(terminal.sees(RUNG).contains(" 1. "), "its steps are shown");
    terminal.types("s\n");
    terminal.sees(words[1]);
    // A photo is taken meanwhile: it is nowhere else.
    std::fs::write(scratch.path("phone/media/DCIM/100APPLE/IMG_9999.JPG"), vec![7; 9000]).unwrap();
    std::thread::sleep(Duration::from_secs(61));
    terminal.types("sign-out-and-in\n");
    terminal.sees("so the phone is read once more");
    let (shut, _) = terminal.sees_one_of(&[RUNG, "The report: "]);
    // The next rung, with its steps, is the one that copies the photo.
    let shut = shut.split("Rung ").next().unwrap();
    assert!(shut.contains("It is shut now:") && !shut.contains(" 1. "), "{shut}");
}

#[test]
fn a_rung_is_gone_on_with_after_a_restart_and_a_slow_unlock() {
    let settings = format!("{KIND}[person]\nunlocks_after_ms = 4000\n");
    let scratch = Scratch::with("uploads-stuck", &settings);
    let mut terminal = Terminal::open(&scratch.on_phone(&["climb"]));
    while !terminal.sees(RUNG).contains("Restart the iPhone") {
        terminal.types("s\n");
    }
    terminal.types("d\n");
    terminal.sees("The phone restarts");
    terminal.sees("On the phone: unlock it");
    // It goes on with the session of the phone that came back.
    terminal.sees("m = wait and measure] ");
    terminal.types("\n");
    terminal.sees(RUNG);
    terminal.types("q\n");
    assert_eq!(terminal.status(), 0);
    let climbed = &report_of(&scratch, &["--json"])["climbed"];
    let restart = climbed.as_array().unwrap().last().unwrap();
    assert_eq!((&restart["remedy"], &restart["by"]), (&"restart-device".into(), &"agent".into()));
    assert_ne!(restart["result"], "failed");
}

/// The phone's iCloud gets room again: its sync status says so from now on.
fn make_room_in_icloud(scratch: &Scratch) {
    let path = scratch.path("phone/media/PhotoData/CPL/syncstatus.plist");
    let mut status = plist::Value::from_file(&path).unwrap().into_dictionary().unwrap();
    assert!(status.remove("isExceedingQuota").is_some(), "{status:?}");
    plist::Value::Dictionary(status).to_file_binary(&path).unwrap();
}

#[test]
fn after_a_part_that_failed_the_phone_is_read_again() {
    let refuse = "[[fault]]\nat = \"backup-message\"\nafter_messages = 1\nkind = \"refuse\"\ntimes = 1000\n";
    let scratch = Scratch::with("icloud-full", &format!("{KIND}{refuse}"));
    assert_eq!(scratch.run(&["photos", "pull", "-y"]).0, 0);
    // Nothing is new and the backup fails: nothing was done, and yet what was read before is not told again.
    let (status, stdout, stderr) = scratch.run(&["fix", "-y", "--json"]);
    assert_eq!(status, 1, "{stderr}");
    let read = stdout.lines().map(json).filter(|line| line["event"] == "began" && line["phase"] == "library");
    assert_eq!(read.count(), 2, "{stdout}");
    // The same of a rung.
    let mut terminal = Terminal::open(&scratch.on_phone(&["climb"]));
    while !terminal.sees(RUNG).contains("Make a local backup") {
        terminal.types("s\n");
    }
    terminal.types("\n");
    terminal.sees("[Enter = begin, s = skip] ");
    make_room_in_icloud(&scratch);
    terminal.types("\n");
    terminal.sees(RUNG);
    terminal.types("q\n");
    assert_ne!(terminal.status(), 0, "a part failed");
    let report = report_of(&scratch, &["--json"]);
    let climbed = report["climbed"].as_array().unwrap();
    assert!(climbed.iter().any(|rung| rung["remedy"] == "back-up" && rung["result"] == "failed"));
    let found = report["diagnosis"]["findings"].as_array().unwrap();
    assert!(found.iter().all(|finding| finding["id"] != "icloud-storage-full"), "{found:?}");
}

#[test]
fn a_phone_that_left_while_it_was_read_is_looked_at_anew() {
    let leaves = "[[fault]]\nat = \"afc-read\"\nafter_bytes = 100000\nkind = \"unplug\"\n";
    let scratch = Scratch::with("icloud-full", &format!("{KIND}{leaves}"));
    let mut command = scratch.on_phone(&["diagnose"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.by_ref().any(|line| line.contains("The phone is gone")));
    make_room_in_icloud(&scratch);
    let rest: Vec<String> = said.collect();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{rest:#?}");
    assert!(!text(&output.stdout).contains("iCloud storage is full"), "{}", text(&output.stdout));
}

#[test]
fn a_phone_that_leaves_at_a_question_is_three_and_what_was_done_is_kept() {
    let scratch = Scratch::with("backup-off", KIND);
    let socket = Socket::serve(&scratch.path("mux"), 0o600, &[scratch.path("phone")]);
    let mut command = program();
    command.env("USBMUXD_SOCKET_ADDRESS", &socket.path).arg("--dest").arg(scratch.path("dest")).arg("climb");
    let mut terminal = Terminal::open(&command);
    terminal.sees(RUNG);
    terminal.types("s\n");
    terminal.sees(RUNG);
    terminal.types("s\n");
    terminal.sees(RUNG);
    drop(socket);
    std::fs::remove_file(scratch.path("mux")).ok();
    terminal.types("\n");
    let (_, shown) = terminal.sees_one_of(&["The new backup password: ", "did not come back"]);
    if shown.starts_with("The new") {
        terminal.types("\u{4}");
        terminal.sees("did not come back");
    }
    assert_eq!(terminal.status(), 3);
    let climbed = report_of(&scratch, &["--json"])["climbed"].as_array().map(Vec::len);
    assert!(climbed >= Some(2), "{climbed:?}");
}

#[test]
fn climbing_needs_a_person() {
    let scratch = Scratch::with("healthy", KIND);
    for (arguments, wanted) in [(&["climb"][..], 4), (&["climb", "-y"], 2), (&["climb", "--json"], 2)] {
        let (status, _, stderr) = scratch.run(arguments);
        assert_eq!(status, wanted, "{stderr}");
        assert_says(&stderr, &["asks at each rung"]);
    }
}

#[test]
fn the_first_five_minutes_ask_for_every_tap_at_once_and_no_more() {
    // The harsh one locks its screen in the middle of a backup, which only one of several batches has.
    for (temper, photos, wanted) in [
        ("kind", "12", &[Touched::Trust, Touched::Passcode][..]),
        ("harsh", "300", &[Touched::Trust, Touched::Passcode, Touched::Unlock]),
    ] {
        let scratch = Scratch::new();
        // Whoever has to come for an unlock needs a while.
        let settings = format!("temper = \"{temper}\"\n[person]\nunlocks_after_ms = 4500\n");
        scratch.phone_with("phone", "demo", 1, &settings, photos);
        let socket = Socket::serve(&scratch.path("mux"), 0o600, &[scratch.path("phone")]);
        let mut command = program();
        command.env("USBMUXD_SOCKET_ADDRESS", &socket.path).arg("--dest").arg(scratch.path("dest"));
        let began = Instant::now();
        let mut child = command
            .args(["fix", "-y", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told: Vec<(Duration, Value)> =
            lines.map(|line| (began.elapsed(), json(&line.unwrap()))).collect();
        assert!(matches!(child.wait().unwrap().code(), Some(0 | 6)), "{temper}");

        let touches = socket.devices[0].touches();
        let what: Vec<Touched> = touches.iter().map(|(what, _)| *what).collect();
        assert_eq!(what, wanted, "{temper}");
        let at = |is: &dyn Fn(&Value) -> bool| {
            told.iter().position(|(_, event)| is(event)).unwrap_or_else(|| panic!("{temper}: {told:#?}"))
        };
        let needed = |touch: &'static str| {
            move |event: &Value| event["event"] == "person-needed" && event["touch"] == touch
        };
        let trusted = at(&|event| event["event"] == "person-done" && event["touch"] == "trust");
        let first = at(&|event| event["event"] == "note");
        let passcode = at(&needed("passcode"));
        let leave = at(&|event| {
            event["text"].as_str().is_some_and(|text| text.starts_with("Nothing more has to be tapped"))
        });
        assert!(trusted < first && first < passcode && passcode < leave, "{temper}: {told:#?}");
        assert!(told[first].0 - told[trusted].0 < Duration::from_secs(5), "{temper}: {:?}", told[first]);
        assert!(told[leave].1["text"].as_str().unwrap().contains("for about"), "{temper}");
        // A screen that locks is announced when it does, once, and it is said when it is unlocked.
        let unlock = needed("unlock");
        let announced = told.iter().filter(|(_, event)| unlock(event)).count();
        let done =
            told.iter().filter(|(_, event)| event["event"] == "person-done" && event["touch"] == "unlock");
        assert_eq!((announced, done.count()), if temper == "harsh" { (1, 1) } else { (0, 0) }, "{told:#?}");
        // Whatever the person does is done in the first three minutes. (The plan says that the screen may lock.)
        assert!(touches.iter().all(|(_, at)| at.duration_since(began) < Duration::from_secs(180)));
        // What exists nowhere else is on the disk before the passcode is asked for.
        let photos = at(&|event| event["event"] == "began" && event["phase"] == "photos");
        assert!(photos < passcode, "{temper}: {told:#?}");
    }
}

/// Twelve tables whose checks are lists of half a million numbers each: some ten megabytes of schema, more than a gigabyte
/// for whoever reads it.
#[test]
fn a_library_whose_schema_is_a_bomb_is_not_read_and_nothing_is_called_safe() {
    let scratch = Scratch::with("demo", KIND);
    let library = scratch.path("phone/media/PhotoData/Photos.sqlite");
    let database = rusqlite::Connection::open(&library).unwrap();
    database.pragma_update(None, "journal_mode", "delete").unwrap();
    let list = "1,".repeat(450_000);
    for number in 0..12 {
        database.execute_batch(&format!("CREATE TABLE bomb{number} (a CHECK (a IN ({list}1)))")).unwrap();
    }
    drop(database);
    let (status, stdout, stderr) = scratch.run(&["--json", "diagnose"]);
    assert!(status == 0 || status == 6, "{status}: {stderr}");
    let said = json(&stdout);
    let gaps = said["gaps"].as_array().unwrap();
    let gap = gaps.iter().find(|gap| gap["fact"] == "library").expect("the library was not read");
    assert!(gap["reason"].as_str().unwrap().contains("too large: out of memory"), "{gap}");
    assert!(!said["verdict"].to_string().contains("\"safe\""), "{}", said["verdict"]);
}

/// A name that tries to break out of wherever it is shown.
const EVIL: &str = "=HYPERLINK(\"http://evil\")\u{1b}[2J\u{1b}]0;x\u{7}\u{202e}\u{9b}31m</title><img src=x onerror=alert(1)>\r\n'\"&";

#[test]
fn a_hostile_name_is_text_in_every_format() {
    let scratch = Scratch::with("demo", "temper = \"kind\"\n[trust]\nstate = \"paired-on-request\"\n");
    let path = scratch.path("phone/lockdown.plist");
    let mut lockdown = plist::Value::from_file(&path).unwrap().into_dictionary().unwrap();
    let device = lockdown.get_mut("").unwrap().as_dictionary_mut().unwrap();
    for key in ["DeviceName", "TimeZone", "SIMStatus", EVIL] {
        device.insert(key.to_owned(), EVIL.into());
    }
    // Binary: control characters have no place in XML.
    plist::Value::Dictionary(lockdown).to_file_binary(&path).unwrap();
    let (status, stdout, stderr) = scratch.run(&["fix", "-y"]);
    assert!(status == 0 || status == 6, "{stderr}");
    assert!(stdout.contains("HYPERLINK"), "the name itself is shown");
    let mut shown = vec![("fix", stdout), ("fix, stderr", stderr)];
    for arguments in [
        &["diagnose"][..],
        &["info"],
        &["info", ""],
        &["info", "", "DeviceName"],
        &["info", "--raw"],
        &["photos", "status"],
        &["photos", "status", "--csv"],
        &["devices"],
        &["gate"],
        &["report"],
        &["report", "--redact"],
        &["report", "--html"],
        &["jobs"],
        &["diagnose", "--watch=5", "--readings", "1"],
    ] {
        let (_, stdout, stderr) = scratch.run(arguments);
        shown.push((arguments[0], stdout));
        shown.push((arguments[0], stderr));
    }
    for path in walk(&scratch.path("dest")) {
        assert_harmless("a name of a file", path.to_str().unwrap());
        let text = path.extension().is_some_and(|end| end == "html") || path.ends_with("log");
        if text {
            shown.push(("a file", std::fs::read_to_string(&path).unwrap()));
        }
    }
    for (what, text) in &shown {
        assert_harmless(what, text);
        if text.starts_with("<!doctype") {
            assert!(!text.contains("<img"), "{what}: markup went through");
        }
        for line in text.lines() {
            let cells = line.split(',').map(|cell| cell.trim_start_matches('"'));
            let csv = text.starts_with("list,uuid");
            assert!(!csv || cells.clone().all(|cell| !cell.starts_with(['=', '+', '@'])), "{what}: {line}");
        }
    }
    // JSON keeps the text as it is, and as JSON: nothing that steers a terminal is in it raw.
    let (_, stdout, _) = scratch.run(&["diagnose", "--json"]);
    assert_eq!(json(&stdout)["device"]["name"], EVIL);
    assert!(!stdout.contains('\u{1b}'));
}

#[track_caller]
fn assert_harmless(what: &str, text: &str) {
    let bad = text.chars().find(|c| {
        (c.is_control() && !matches!(c, '\n' | '\r'))
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    });
    assert_eq!(bad, None, "{what}: {text:?}");
}

#[test]
fn watching_tells_each_reading_and_ends_when_it_is_told_to() {
    let scratch = Scratch::with("icloud-full", KIND);
    let (status, stdout, stderr) = scratch.run(&["diagnose", "--watch=5", "--readings", "2", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    let lines: Vec<Value> = stdout.lines().map(json).collect();
    assert_eq!(
        lines.iter().map(|line| line["event"].as_str().unwrap()).collect::<Vec<_>>(),
        ["reading", "reading", "result"]
    );
    let movement = &lines[2]["movement"];
    assert_eq!((&movement["pace"], &movement["reason"]), (&"waiting".into(), &"icloud-storage-full".into()));
    assert!(lines[2]["sentence"].as_str().unwrap().starts_with("Waiting, not stuck"), "{movement}");
    let (status, _, _) = scratch.run(&["diagnose", "--watch=1"]);
    assert_eq!(status, 2, "a phone is not asked every second");
    // Quiet: the answer, and beside it only what a person must do.
    let (status, stdout, stderr) = scratch.run(&["-q", "diagnose", "--watch=5", "--readings", "1"]);
    assert!(status == 0 && stderr.lines().all(|line| line.starts_with(">> On the phone")), "{stderr}");
    assert!(stdout.contains("Waiting, not stuck"), "{stdout}");
}

#[test]
fn who_watches_without_a_phone_is_told_so_in_the_wished_form() {
    let scratch = Scratch::new();
    let socket = Socket::serve(&scratch.path("mux"), 0o600, &[]);
    let (status, stdout, stderr) = socket.run(&["diagnose", "--watch=5", "--json"]);
    assert_eq!(status, 3, "{stderr}");
    let told = json(&stdout);
    assert_eq!((&told["schema"], &told["error"]["exit_status"]), (&"idevice-fix/watch/1".into(), &3.into()));
    assert!(told["error"]["cause"].as_str().is_some_and(|cause| stderr.contains(cause)), "{told}: {stderr}");
    let (status, stdout, stderr) = socket.run(&["diagnose", "--watch=5", "-q"]);
    assert_eq!((status, stdout.as_str(), stderr.lines().count()), (3, "", 1), "{stderr}");
}

#[test]
fn who_watches_waits_for_a_phone_that_left() {
    let scratch = Scratch::with("icloud-full", KIND);
    let mut command = scratch.on_phone(&["diagnose", "--watch=5", "--readings", "2"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("Watching: read again")));
    // It leaves, and once more while its session is made.
    let leaves = "[[fault]]\nat = \"lockdown\"\nafter_messages = 1\nkind = \"unplug\"\ntimes = 2\n";
    std::fs::write(scratch.path("phone/device.toml"), format!("{KIND}{leaves}")).unwrap();
    let rest: Vec<String> = said.collect();
    let waited = rest.iter().any(|line| line.contains("It is waited for until it is back"));
    assert!(child.wait().unwrap().success() && waited, "{rest:#?}");
}

#[test]
fn icloud_backup_is_turned_off_only_by_name() {
    let scratch = Scratch::with("healthy", KIND);
    let off = |more: &[&str]| {
        let arguments: Vec<&str> = [&["--device-keeps", "cloud-backup", "off"], more].concat();
        scratch.run(&arguments)
    };
    for yes in [&[][..], &["-y"]] {
        let (status, _, stderr) = off(yes);
        assert_eq!(status, 4, "{stderr}");
        assert_says(&stderr, &["as it was", "--accept no-icloud-backup"]);
    }
    assert_eq!(off(&["--accept", "everything"]).0, 2);
    let mut terminal = Terminal::open(&scratch.on_phone(&["--device-keeps", "cloud-backup", "off"]));
    let lost = terminal.sees("To agree, type no-icloud-backup: ");
    assert!(lost.contains("Apple deletes it"), "{lost}");
    terminal.types("yes\n");
    assert_eq!(terminal.status(), 4);
    let (status, stdout, stderr) = off(&["--accept", "no-icloud-backup", "--json"]);
    assert_eq!((status, &json(&stdout)["enabled"]), (0, &false.into()), "{stderr}");
    let (status, _, stderr) = off(&[]);
    assert!(status == 0 && stderr.contains("off already"), "{stderr}");
}

#[test]
fn the_desktop_is_told_when_a_person_is_needed() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::with("healthy", KIND);
    let heard = scratch.path("heard");
    let bin = scratch.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let (first, heard_by) = (scratch.path("first"), heard.display());
    let fake = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {0} && mv {0} {heard_by}\n", first.display());
    std::fs::write(bin.join("notify-send"), fake).unwrap();
    std::fs::set_permissions(bin.join("notify-send"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = scratch.on_phone(&["info"]);
    assert_eq!(run(command.env("PATH", path).env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")).0, 0);
    wait_for(scratch.temp.path(), "heard");
    let told = std::fs::read_to_string(&heard).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..2], ["--app-name=idevice-fix", "idevice-fix"]);
    assert!(lines[2].contains("tap \"Trust\""), "{told}");
}

/// Every letter outside of the values becomes another one, so that what was not translated shows.
fn pseudo(value: &mut toml::Value) {
    match value {
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, value)| pseudo(value)),
        toml::Value::Array(all) => all.iter_mut().for_each(pseudo),
        toml::Value::String(text) => {
            let mut name = false;
            *text = text
                .chars()
                .map(|c| match c {
                    '{' => {
                        name = true;
                        c
                    }
                    '}' | '?' => {
                        name = false;
                        c
                    }
                    c if c.is_ascii_alphabetic() && !name => {
                        char::from_u32(0x24D0 + u32::from(c.to_ascii_lowercase() as u8 - b'a')).unwrap()
                    }
                    c => c,
                })
                .collect();
        }
        _ => {}
    }
}

#[test]
fn another_language_is_complete_without_code() {
    let scratch = Scratch::with("demo", KIND);
    let places = scratch.path("data/idevice-fix");
    std::fs::create_dir_all(&places).unwrap();
    for (name, file) in [
        ("sentences", include_str!("../src/facts/sentences.en.toml")),
        ("texts", include_str!("../src/remedy/texts.en.toml")),
    ] {
        let mut words: toml::Value = toml::from_str(file).unwrap();
        words.as_table_mut().unwrap().remove("plural");
        pseudo(&mut words);
        std::fs::write(places.join(format!("{name}.qq.toml")), toml::to_string(&words).unwrap()).unwrap();
    }
    let mut command = scratch.on_phone(&["diagnose", "--json"]);
    command.env("XDG_DATA_HOME", scratch.path("data")).env("LC_ALL", "qq_QQ.UTF-8");
    let (status, stdout, stderr) = run(&mut command);
    assert_eq!(status, 0, "{stderr}");
    assert!(!stderr.contains("are not used"), "{stderr}");
    let judged = json(&stdout);
    let mut said = vec![judged["verdict"]["sentence"].clone()];
    let of = |list: &Value, field: &str| -> Vec<Value> {
        list.as_array().unwrap().iter().map(|entry| entry[field].clone()).collect()
    };
    said.extend(of(&judged["findings"], "title"));
    said.extend(of(&judged["verdict"]["reasons"], "text"));
    for field in ["title", "helped"] {
        said.extend(of(&judged["ladder"], field));
    }
    for list in ["steps", "why"] {
        said.extend(of(&judged["ladder"], list).iter().flat_map(|all| all.as_array().unwrap().clone()));
    }
    assert!(said.len() > 60, "{}", said.len());
    for sentence in &said {
        let sentence = sentence.as_str().unwrap();
        let english = sentence.split(|c: char| !c.is_ascii_alphabetic()).find(|word| word.len() > 2);
        assert!(english.is_none_or(|word| word == "iPhone"), "{english:?} in {sentence:?}");
        assert!(!sentence.contains(['{', '}']), "{sentence:?}");
    }
}

/// Every path below `dir`.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        paths.push(entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            paths.extend(walk(&entry.path()));
        }
    }
    paths
}

/// Waits until a file with `part` in its path is in the copy.
fn wait_for(dir: &Path, part: &str) {
    let began = Instant::now();
    while !walk(dir).iter().any(|path| path.is_file() && path.to_string_lossy().contains(part)) {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing was copied");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Our own usbmuxd on a socket of its own; told to stop when it is dropped.
struct OwnMux(Child);

impl OwnMux {
    fn start(socket: &Path, records: &Path) -> Self {
        let mut command = program();
        command.args(["mux", "--socket"]).arg(socket).arg("--records").arg(records);
        let started =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        let mux = Self(started);
        let began = Instant::now();
        while !socket.exists() {
            assert!(began.elapsed() < Duration::from_secs(20), "it does not serve");
            std::thread::sleep(Duration::from_millis(20));
        }
        mux
    }

    /// Asks it to stop; its exit status.
    fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.0.wait().expect("it is ours").code()
    }
}

impl Drop for OwnMux {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn our_own_usbmuxd_serves_its_socket_alone_and_ends_when_it_is_asked_to() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let (socket, records) = (scratch.path("mux"), scratch.path("records"));
    let mut mux = OwnMux::start(&socket, &records);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let (status, stdout, stderr) = run(program().arg("--mux").arg(&socket).args(["-v", "devices", "--json"]));
    let listed = json(&stdout)["devices"].as_array().expect("a list").len();
    assert_eq!(status == 3, listed == 0, "{stderr}");
    assert!(stderr.contains("reached through the usbmuxd at"), "{stderr}");
    let (status, _, stderr) = run(program().args(["mux", "--socket"]).arg(&socket));
    assert_eq!(status, 1, "{stderr}");
    assert_says(&stderr, &["already", "--socket"]);
    let (status, _, stderr) =
        run(program().args(["mux", "--group", "no such group", "--socket", "/nonexistent/mux"]));
    assert_eq!(status, 2, "{stderr}");
    assert_eq!((mux.stop(), socket.exists()), (Some(0), false));
}

#[test]
fn without_any_usbmuxd_the_bus_itself_is_looked_at() {
    let (status, stdout, stderr) = run(program().args(["--mux", "embedded", "-v", "devices", "--json"]));
    let listed = json(&stdout)["devices"].as_array().expect("a list").len();
    assert_eq!(status == 3, listed == 0, "{stderr}");
    assert!(stderr.contains("our own multiplexer"), "{stderr}");
    // Left to itself, it says which of the two it found.
    let (_, _, stderr) = run(program().env_remove("USBMUXD_SOCKET_ADDRESS").args(["-v", "devices"]));
    assert!(stderr.contains("usbmuxd") && stderr.contains(" at /var/run/usbmuxd"), "{stderr}");
}
