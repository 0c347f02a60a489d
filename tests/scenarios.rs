//! Every scenario that `sim new` makes, diagnosed through the whole way from the socket to the findings: the finding
//! that the scenario promises comes first.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use idevice_fix::collect;
use idevice_fix::diagnosis::{Diagnosis, Severity, diagnose};
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

async fn diagnosed(scenario: &'static Scenario) -> (&'static Scenario, Diagnosis) {
    let folder = tempfile::tempdir().unwrap();
    let options = NewOptions {
        scenario: scenario.name.to_owned(),
        photos: Some(30),
        media_bytes: Some(300_000),
        temper: Temper::Kind,
        ..NewOptions::default()
    };
    create(&folder.path().join("phone"), &options).unwrap();
    (scenario, diagnose(&facts(folder.path(), scenario).await))
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
async fn each_scenarios_own_finding_comes_first() {
    let mut complaints = Vec::new();
    for some in scenarios().chunks(AT_ONCE) {
        let running: Vec<_> = some.iter().map(|scenario| tokio::spawn(diagnosed(scenario))).collect();
        for one in running {
            let (scenario, diagnosis) = one.await.unwrap();
            complaints.extend(complaint(scenario, &diagnosis));
            if scenario.name == "healthy" {
                let trouble = diagnosis.findings.iter().find(|finding| finding.severity != Severity::Notice);
                assert!(trouble.is_none(), "a healthy phone has {trouble:?}");
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
