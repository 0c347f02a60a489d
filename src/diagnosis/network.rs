//! Rules about the network, as the iCloud Photos engine sees it.

use crate::facts::sentences::fixed;
use crate::facts::{Engine, Facts, Maybe};

use super::FindingId;
use super::rule::{Found, Rule, no, yes};

pub(super) const RULES: &[Rule] = &[
    Rule { id: FindingId::Offline, judge: offline },
    Rule { id: FindingId::AirplaneMode, judge: airplane_mode },
    Rule { id: FindingId::LowDataMode, judge: low_data_mode },
    Rule { id: FindingId::CellularRestricted, judge: cellular_restricted },
    Rule { id: FindingId::PoorNetwork, judge: poor_network },
];

fn engine(facts: &Facts) -> Option<&Engine> {
    facts.icloud_photos.engine.as_ref()
}

/// The engine writes the flag only where it matters: absent means connected.
fn offline(facts: &Facts) -> Option<Found> {
    let flag = &engine(facts)?.connected_to_network;
    no(flag).then(|| Found::notice(fixed("offline")).on(flag))
}

fn airplane_mode(facts: &Facts) -> Option<Found> {
    flagged(&engine(facts)?.in_airplane_mode, fixed("airplane-mode"))
}

fn low_data_mode(facts: &Facts) -> Option<Found> {
    flagged(&engine(facts)?.constrained_network, fixed("low-data-mode"))
}

fn cellular_restricted(facts: &Facts) -> Option<Found> {
    flagged(&engine(facts)?.cellular_is_restricted, fixed("cellular-restricted"))
}

fn poor_network(facts: &Facts) -> Option<Found> {
    flagged(&engine(facts)?.poor_network, fixed("poor-network"))
}

fn flagged(flag: &Maybe<bool>, title: &'static str) -> Option<Found> {
    yes(flag).then(|| Found::notice(title).on(flag))
}

#[cfg(test)]
pub(super) const CASES: &[super::rule::Case] = {
    use super::rule::Case;
    use super::rule::cases::{engine, fact};
    &[
        Case {
            id: FindingId::Offline,
            fires: |f| engine(f).connected_to_network = fact(false),
            silent: |f| engine(f).connected_to_network = None,
        },
        Case {
            id: FindingId::AirplaneMode,
            fires: |f| engine(f).in_airplane_mode = fact(true),
            silent: |f| engine(f).in_airplane_mode = fact(false),
        },
        Case {
            id: FindingId::LowDataMode,
            fires: |f| engine(f).constrained_network = fact(true),
            silent: |f| engine(f).poor_network = fact(true),
        },
        Case {
            id: FindingId::CellularRestricted,
            fires: |f| engine(f).cellular_is_restricted = fact(true),
            silent: |f| engine(f).has_cellular_budget = fact(false),
        },
        Case {
            id: FindingId::PoorNetwork,
            fires: |f| engine(f).poor_network = fact(true),
            silent: |f| engine(f).connected_to_network = fact(true),
        },
    ]
};
