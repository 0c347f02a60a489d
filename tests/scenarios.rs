//! The scenarios that `sim new` makes: each is among the labelled cases that `tests/judgement.rs` judges, and one of a later
//! iOS is refused.

#[path = "scenarios/by_hand.rs"]
mod by_hand;

use std::collections::BTreeSet;
use std::path::Path;

use idevice_fix::sim::new::{NewOptions, Scenario, Temper, create, scenarios};

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

/// Every scenario is among the labelled cases, which `tests/judgement.rs` judges; where a case is a scenario and nothing
/// else, its label and the scenario promise the same first finding.
#[test]
fn every_scenario_has_a_labelled_case() {
    let mut used = BTreeSet::new();
    for case in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")).unwrap() {
        let case = case.unwrap().path();
        let read = |file: &str| {
            let text = std::fs::read_to_string(case.join(file)).ok()?;
            Some(toml::from_str::<toml::Table>(&text).unwrap())
        };
        let (Some(recipe), Some(label)) = (read("recipe.toml"), read("expect.toml")) else { continue };
        let name = recipe.get("scenario").and_then(toml::Value::as_str).unwrap_or("healthy").to_owned();
        let scenario = scenarios().iter().find(|scenario| scenario.name == name);
        let scenario = scenario.unwrap_or_else(|| panic!("no scenario is called {name}"));
        let changed = ["plist", "sql", "file", "device"].iter().any(|change| recipe.contains_key(*change));
        if let (false, false, Some(first)) = (changed, label.contains_key("before"), label.get("first")) {
            assert_eq!(first.as_str(), Some(scenario.first), "{}", case.display());
        }
        used.insert(name);
    }
    let missing: Vec<&str> =
        scenarios().iter().map(|scenario| scenario.name).filter(|name| !used.contains(*name)).collect();
    assert!(missing.is_empty(), "no case is made of {missing:?}");
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
