//! Every scenario that `sim new` makes, diagnosed through the whole way from the socket to the findings: the finding
//! that the scenario promises comes first, every finding that a phone can show is shown by some scenario, and a healthy
//! phone raises no alarm on any iOS.

#[path = "scenarios/by_hand.rs"]
mod by_hand;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use idevice_fix::collect;
use idevice_fix::diagnosis::{Diagnosis, FindingId, Severity, diagnose};
use idevice_fix::facts::Facts;
use idevice_fix::lockdown::pairing::{self, Attempt, NotReached, Obstacle};
use idevice_fix::lockdown::{Phone, Session};
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::sim::new::{NewOptions, Scenario, Temper, create, scenarios};
use idevice_fix::sim::{Bus, Device};
use idevice_fix::usbmux::Muxer;

/// For a person who taps Trust, on a busy machine; and for one who never does.
const PATIENCE: Duration = Duration::from_secs(60);
const NO_PATIENCE: Duration = Duration::from_millis(1200);
/// Scenarios that are diagnosed at the same time.
const AT_ONCE: usize = 8;
/// Phones that knew this computer before their trouble began.
const KNOWN_BEFORE: [&str; 2] = ["stale-pairing", "before-first-unlock"];

/// A session with the phone in `dir`, or what stands in the way.
async fn reach(dir: &Path, known_before: bool) -> (Phone, Result<Session, Obstacle>) {
    let toml = dir.join("device.toml");
    let trouble = std::fs::read(&toml).unwrap();
    if known_before {
        std::fs::write(&toml, "temper = \"kind\"\n").unwrap();
    }
    let bus = Arc::new(Bus::new(vec![Device::open(dir, false).unwrap()]));
    let phone = Phone { attached: bus.devices().await.unwrap().remove(0), muxer: bus };
    if known_before {
        let _trusted = establish(&phone, PATIENCE).await.unwrap();
        std::fs::write(&toml, trouble).unwrap();
        // The file is looked at no more often than every few milliseconds.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let session = match pairing::attempt(&phone).await.unwrap() {
            Attempt::Trusted(session) => Ok(session),
            Attempt::Not(obstacle) => Err(obstacle),
        };
        return (phone, session);
    }
    let someone_taps = !String::from_utf8_lossy(&trouble).contains("[trust]")
        && !String::from_utf8_lossy(&trouble).contains("[person]");
    let session = establish(&phone, if someone_taps { PATIENCE } else { NO_PATIENCE }).await;
    (phone, session)
}

async fn establish(phone: &Phone, patience: Duration) -> Result<Session, Obstacle> {
    match pairing::establish(phone, patience, &Silent, &CancellationToken::new()).await {
        Ok(session) => Ok(session),
        Err(NotReached::Obstacle(obstacle)) => Err(obstacle),
        Err(other) => panic!("{other}"),
    }
}

async fn facts(folder: &Path, scenario: &Scenario) -> Facts {
    let (phone, session) = reach(&folder.join("phone"), KNOWN_BEFORE.contains(&scenario.name)).await;
    let session = match session {
        Ok(session) => session,
        Err(obstacle) => {
            let device = collect::stranger(&phone).await;
            return collect::unreached(Some(device), collect::reach_of(&obstacle));
        }
    };
    let mut facts = collect::quick(&session).await.unwrap();
    let scratch = tempfile::tempdir_in(folder).unwrap();
    let cancel = CancellationToken::new();
    collect::full(&session, scratch.path(), &mut facts, &Silent, &cancel).await.unwrap();
    facts
}

/// Findings that no phone's folder can show, and why.
const NOT_OF_A_PHONE: [(FindingId, &str); 8] = [
    (FindingId::NoUsbmux, "is about this computer"),
    (FindingId::UsbNoPermission, "is about this computer"),
    (FindingId::DeviceHeldByOtherProgram, "is about this computer"),
    (FindingId::RecoveryMode, "a phone that runs no iOS answers nothing of what a folder holds"),
    (FindingId::DfuMode, "a phone that runs no iOS answers nothing of what a folder holds"),
    (FindingId::UsbRestricted, "such a phone shows no data interface on the bus"),
    (FindingId::NotTrusted, "lasts until we ask; from then on the phone's person decides"),
    (FindingId::BackupPasswordUnknown, "is about a backup that we have, not about the phone"),
];

fn options(scenario: &Scenario, ios: &str) -> NewOptions {
    NewOptions {
        scenario: scenario.name.to_owned(),
        ios: ios.to_owned(),
        photos: Some(30),
        media_bytes: Some(300_000),
        temper: Temper::Kind,
        ..NewOptions::default()
    }
}

async fn diagnosed(scenario: &'static Scenario) -> (&'static Scenario, Diagnosis, Diagnosis) {
    let folder = tempfile::tempdir().unwrap();
    let phone = folder.path().join("phone");
    create(&phone, &options(scenario, "18.4.1")).unwrap();
    let mut facts = facts(folder.path(), scenario).await;
    let before = diagnose(&facts);
    // What a local backup of this phone would tell besides: it holds what is in `files/`.
    collect::refine(&mut facts, |domain, path| {
        match std::fs::read(phone.join("files").join(domain).join(path)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    });
    (scenario, before, diagnose(&facts))
}

/// What is wrong with what was found.
fn complaint(scenario: &Scenario, diagnosis: &Diagnosis) -> Option<String> {
    let found: Vec<&str> = diagnosis.findings.iter().map(|finding| finding.id.as_str()).collect();
    let first = found.first().copied().unwrap_or("nothing");
    let missing = scenario.also.iter().find(|id| !found.contains(id));
    if first == scenario.first && missing.is_none() {
        return None;
    }
    Some(format!(
        "{}: wants {} first and {:?}, found {found:?}",
        scenario.name, scenario.first, scenario.also
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_scenarios_own_finding_comes_first_and_each_finding_has_a_scenario() {
    let mut complaints = Vec::new();
    let mut shown = BTreeSet::new();
    for some in scenarios().chunks(AT_ONCE) {
        let running: Vec<_> = some.iter().map(|scenario| tokio::spawn(diagnosed(scenario))).collect();
        for one in running {
            let (scenario, before, with_backup) = one.await.unwrap();
            complaints.extend(complaint(scenario, &before));
            shown.extend(before.findings.iter().chain(&with_backup.findings).map(|finding| finding.id));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let excused: BTreeSet<FindingId> = NOT_OF_A_PHONE.iter().map(|(id, _)| *id).collect();
    let missing: Vec<_> =
        FindingId::ALL.iter().filter(|id| !shown.contains(id) && !excused.contains(id)).collect();
    assert!(missing.is_empty(), "no scenario shows {missing:?}");
    let both: Vec<_> = shown.intersection(&excused).collect();
    assert!(both.is_empty(), "a scenario shows what no phone can show: {both:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_healthy_phone_raises_no_alarm_on_any_ios() {
    let made = ["13", "14", "15", "16", "17", "18", "26", "27"].map(|ios| tokio::spawn(healthy(ios)));
    for one in made {
        one.await.unwrap();
    }
}

async fn healthy(ios: &str) {
    let scenario = scenarios()[0];
    let folder = tempfile::tempdir().unwrap();
    let created = create(&folder.path().join("phone"), &options(scenario, ios)).unwrap();
    let facts = facts(folder.path(), scenario).await;
    assert_eq!(facts.library.counts, created.counts, "iOS {ios}");
    assert!(facts.library.unknown_states.is_empty(), "iOS {ios}: {:?}", facts.library.unknown_states);
    let diagnosis = diagnose(&facts);
    let alarms: Vec<_> =
        diagnosis.findings.iter().filter(|finding| finding.severity != Severity::Notice).collect();
    assert!(alarms.is_empty(), "a healthy phone with iOS {ios} has {alarms:?}");
}

#[test]
fn a_scenario_of_a_later_ios_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for scenario in scenarios().iter().filter(|scenario| scenario.since > 13) {
        let ios = (scenario.since - 1).to_string();
        let error = create(&folder.path().join("new"), &options(scenario, &ios)).unwrap_err();
        assert!(error.to_string().contains(scenario.name), "{error}");
        assert!(!folder.path().join("new").exists(), "nothing is left behind");
    }
}
