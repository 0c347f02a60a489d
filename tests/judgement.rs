//! Simulated phones judged: what each scenario says must come first comes first, its further findings are there, and
//! nothing that can lose data is safe or open before anything was copied.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use idevice_fix::collect;
use idevice_fix::diagnosis::{Diagnosis, FindingId, diagnose};
use idevice_fix::facts::Facts;
use idevice_fix::ladder::{self, State};
use idevice_fix::lockdown::{Phone, pairing};
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::remedy::gate::{Answer, verdict};
use idevice_fix::remedy::{Consent, Moment, Proofs, RemedyId, Risk};
use idevice_fix::sim::new::{NewOptions, Scenario, Temper, create, scenarios};
use idevice_fix::sim::{Bus, Device};
use idevice_fix::usbmux::Muxer;

/// What is read of a phone of this scenario; `None` when it does not let us in (the visit's business, not ours).
async fn facts(scenario: &Scenario, ios: &str) -> Option<Facts> {
    let folder = tempfile::tempdir().unwrap();
    let options = NewOptions {
        scenario: scenario.name.to_owned(),
        ios: ios.to_owned(),
        photos: Some(40),
        temper: Temper::Kind,
        media_bytes: Some(1 << 20),
        ..NewOptions::default()
    };
    create(&folder.path().join("phone"), &options).unwrap();
    let device = Device::open(&folder.path().join("phone"), false).unwrap();
    let bus = Arc::new(Bus::new(vec![device]));
    let attached = bus.devices().await.unwrap().remove(0);
    let phone = Phone { muxer: bus, attached };
    let cancel = CancellationToken::new();
    let session = pairing::establish(&phone, Duration::from_secs(10), &Silent, &cancel).await.ok()?;
    let mut facts = collect::quick(&session).await.unwrap();
    assert!(
        diagnose(&facts).finding(FindingId::LibraryUnreadable).is_none(),
        "not read yet is not unreadable"
    );
    collect::full(&session, folder.path(), &mut facts, &Silent, &cancel).await.unwrap();
    collect::kept(&mut facts, None, None);
    Some(facts)
}

/// Scenarios whose phones do not let anybody in, or are not phones yet.
const NOT_LET_IN: [&str; 7] = [
    "untrusted",
    "trust-pending",
    "denied",
    "stale-pairing",
    "locked",
    "before-first-unlock",
    "pairing-forbidden",
];

fn ids(diagnosis: &Diagnosis) -> Vec<&'static str> {
    diagnosis.findings.iter().map(|finding| finding.id.as_str()).collect()
}

/// What is wrong with the judgement of this scenario's phone.
async fn complaints(scenario: &'static Scenario) -> Vec<String> {
    let Some(facts) = facts(scenario, "18.4.1").await else {
        return vec![format!("{}: not let in", scenario.name)];
    };
    let diagnosis = diagnose(&facts);
    let ids = ids(&diagnosis);
    let mut complaints = Vec::new();
    if ids.first() != Some(&scenario.first) {
        complaints.push(format!("{}: wants {} first, got {ids:?}", scenario.name, scenario.first));
    }
    for id in scenario.also.iter().filter(|id| !ids.contains(id)) {
        complaints.push(format!("{}: lacks {id}, got {ids:?}", scenario.name));
    }
    let moment = Moment { now: facts.observed_at, plugged_in_since: None };
    let (proofs, consent) = (Proofs::default(), Consent::default());
    let verdict = verdict(&facts, &proofs, &consent, &moment);
    if [verdict.erase, verdict.delete_icloud_library, verdict.toggle_icloud_photos].contains(&Answer::Safe) {
        complaints.push(format!("{}: something is safe with nothing copied: {verdict:#?}", scenario.name));
    }
    let ladder = ladder::build(&diagnosis, &facts, &proofs, &consent, &moment);
    if ladder.rungs.iter().any(|rung| rung.risk >= Risk::Data && rung.state != State::Blocked) {
        complaints.push(format!("{}: a risky rung is not blocked", scenario.name));
    }
    if ladder.rung(RemedyId::CopyPhotos).is_none_or(|rung| rung.state != State::Do) {
        complaints.push(format!("{}: copying the photos is not to be done", scenario.name));
    }
    complaints
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_scenario_is_judged_as_it_was_made() {
    let let_in = scenarios().iter().filter(|scenario| !NOT_LET_IN.contains(&scenario.name));
    let judged = let_in.map(|scenario| tokio::spawn(complaints(scenario)));
    let all: Vec<String> =
        stream::iter(judged).buffered(4).map(Result::unwrap).collect::<Vec<_>>().await.concat();
    assert!(all.is_empty(), "{}", all.join("\n"));
}
