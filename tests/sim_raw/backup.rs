//! DeviceLink and mobilebackup2.

use std::io::{Cursor, Read};

use idevice_fix::sim::Service;
use plist::{Dictionary, Value};

use crate::host::{EMPTY, Host, PATIENCE, array, dictionary};
use crate::wire::Simulator;

pub(crate) fn simulator(toml: &str) -> Simulator {
    Simulator::start_with(toml, |phone| {
        let folder = phone.join("media/DCIM/100APPLE");
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in
            [("IMG_0001.HEIC", vec![1; 700_000]), ("IMG_0002.JPG", b"two".to_vec()), ("empty", vec![])]
        {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        let preferences = phone.join("files/HomeDomain/Library/Preferences");
        std::fs::create_dir_all(&preferences).unwrap();
        std::fs::write(preferences.join("com.example.plist"), b"settings").unwrap();
    })
}

pub(crate) const QUIET: &str = "[lock]\npasscode_for_backup = false\n";

#[test]
fn trap_9_the_version_is_one_that_hosts_know_and_the_protocols_is_a_real_number() {
    for (ios, version) in [("13.5", 300), ("14.8", 400), ("18.4.1", 400), ("26.0", 400)] {
        let values = format!(
            "<plist version=\"1.0\"><dict><key></key><dict><key>ProductVersion</key><string>{ios}</string></dict></dict></plist>"
        );
        let simulator =
            Simulator::start_with("", |phone| std::fs::write(phone.join("lockdown.plist"), values).unwrap());
        for xml in [false, true] {
            let mut host = Host::connect(&simulator);
            host.greet(version, xml).unwrap();
            let response = host.hello(&[2.0, 2.1], xml).unwrap();
            assert_eq!(response["ErrorCode"], Value::from(0));
            assert_eq!(response["ProtocolVersion"], Value::Real(2.1), "an integer ends idevicebackup2");
        }
    }
}

#[test]
fn a_host_of_another_age_is_told_so() {
    let simulator = simulator(QUIET);
    let mut host = Host::connect(&simulator);
    host.greet(400, false).unwrap();
    assert_eq!(host.hello(&[2.0], false).unwrap()["ProtocolVersion"], Value::Real(2.0));
    let mut host = Host::connect(&simulator);
    host.greet(400, false).unwrap();
    assert_eq!(host.hello(&[9.0], false).unwrap()["ErrorCode"], Value::from(1));
}

/// A backup taken by a host that breaks at everything that breaks a real one.
fn taken(simulator: &Simulator, host: &mut Host, full: bool, xml: bool) -> Dictionary {
    host.greet(400, xml).unwrap();
    host.hello(&[2.0, 2.1], xml).unwrap();
    host.asked.clear();
    host.request_backup(simulator_udid(simulator).as_str(), full, xml).unwrap();
    host.serve(xml).unwrap()
}

pub(crate) fn simulator_udid(simulator: &Simulator) -> String {
    let devices = simulator.mux("<key>MessageType</key><string>ListDevices</string>");
    crate::wire::value(&devices, "SerialNumber").unwrap()
}

fn finished(host: &Host, udid: &str) {
    let status = &host.files[&format!("{udid}/Status.plist")];
    let status = Value::from_reader(Cursor::new(status)).unwrap().into_dictionary().unwrap();
    assert_eq!(status["SnapshotState"].as_string(), Some("finished"));
    assert!(host.files.contains_key(&format!("{udid}/Manifest.db")));
    let manifest = &host.files[&format!("{udid}/Manifest.plist")];
    let manifest = Value::from_reader(Cursor::new(manifest)).unwrap().into_dictionary().unwrap();
    assert_eq!(manifest["IsEncrypted"].as_boolean(), Some(false));
    assert!(!host.files.keys().any(|path| path.contains("/Snapshot/")), "nothing is left in Snapshot");
    let photo = host.files.values().filter(|bytes| bytes.len() == 700_000 && bytes.iter().all(|b| *b == 1));
    assert_eq!(photo.count(), 1);
}

#[test]
fn traps_8_and_9_a_backup_asks_only_for_what_every_host_can_do_and_ends_finished() {
    for temper in ["kind", "harsh"] {
        let simulator = simulator(&format!("temper = \"{temper}\"\n{QUIET}"));
        let udid = simulator_udid(&simulator);
        let mut host = Host::connect(&simulator);
        let response = taken(&simulator, &mut host, false, false);
        assert_eq!(response["ErrorCode"], Value::from(0), "{response:?}");
        assert_eq!(host.asked[0], "DLMessageDownloadFiles", "first the status, alone");
        finished(&host, &udid);
        // Again, as the host that sends XML: most is there already.
        let uploads = |host: &Host| host.asked.iter().filter(|name| *name == "DLMessageUploadFiles").count();
        let first = uploads(&host);
        let files = host.files.clone();
        host.stream = simulator.service(Service::MobileBackup2);
        host.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let response = taken(&simulator, &mut host, false, true);
        assert_eq!(response["ErrorCode"], Value::from(0), "{response:?}");
        finished(&host, &udid);
        assert!(uploads(&host) <= first);
        let photo = files.iter().find(|(_, bytes)| bytes.len() == 700_000).unwrap().0;
        assert!(host.files.contains_key(photo));
    }
}

#[test]
fn trap_9_an_empty_manifest_means_that_there_was_no_backup() {
    let simulator = simulator(QUIET);
    let udid = simulator_udid(&simulator);
    let mut host = Host::connect(&simulator);
    // As pymobiledevice3 prepares a full backup.
    let status = dictionary([
        ("BackupState", "new".into()),
        ("Date", Value::Date(std::time::SystemTime::UNIX_EPOCH.into())),
        ("IsFullBackup", false.into()),
        ("SnapshotState", "finished".into()),
        ("UUID", "4EAC1F3A-6E63-4C35-8B5B-0F4F8E0B9D11".into()),
        ("Version", "3.3".into()),
    ]);
    let mut bytes = Vec::new();
    Value::Dictionary(status).to_writer_binary(&mut bytes).unwrap();
    host.folders.insert(udid.clone());
    host.files.insert(format!("{udid}/Status.plist"), bytes);
    host.files.insert(format!("{udid}/Manifest.plist"), Vec::new());
    let response = taken(&simulator, &mut host, true, true);
    assert_eq!(response["ErrorCode"], Value::from(0), "{response:?}");
    finished(&host, &udid);
}

#[test]
fn requests_that_make_no_sense_get_an_error_code_or_the_door_and_harm_nobody() {
    let simulator = simulator(QUIET);
    let message =
        |name: &str| dictionary([("MessageName", name.into()), ("TargetIdentifier", "nobody".into())]);
    for name in ["Backup", "Dance"] {
        let mut host = Host::connect(&simulator);
        host.greet(400, false).unwrap();
        host.hello(&[2.1], false).unwrap();
        host.process(message(name), false).unwrap();
        let response = host.response().unwrap();
        assert_ne!(response["ErrorCode"], Value::from(0), "{name}: {response:?}");
    }
    // A status that nobody asked for, a request before the greeting, something that is no message.
    let unasked = array(["DLMessageStatusResponse".into(), Value::from(0), EMPTY.into(), EMPTY.into()]);
    let early = array(["DLMessageProcessMessage".into(), Value::Dictionary(message("Backup"))]);
    for strange in [unasked, early, Value::from(5), array([]), array([Value::from(1)])] {
        let mut host = Host::connect(&simulator);
        host.receive().unwrap();
        host.send(&strange, false).unwrap();
        let mut rest = Vec::new();
        let _ = host.stream.read_to_end(&mut rest);
        assert!(rest.len() < 4096, "{strange:?}");
    }
    let mut host = Host::connect(&simulator);
    assert_eq!(taken(&simulator, &mut host, false, false)["ErrorCode"], Value::from(0));
}
