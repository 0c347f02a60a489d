//! Rules about reaching the device.

use crate::facts::sentences::{fixed, say};
use crate::facts::{Facts, Reach, value};

use super::rule::{Found, Rule, no, was_read};
use super::thresholds::PANICS_IN_A_WEEK;
use super::{Evidence, FindingId};

pub(super) const RULES: &[Rule] = &[
    Rule { id: FindingId::NoUsbmux, judge: |facts| reached(facts, FindingId::NoUsbmux) },
    Rule { id: FindingId::UsbNoPermission, judge: |facts| reached(facts, FindingId::UsbNoPermission) },
    Rule {
        id: FindingId::DeviceHeldByOtherProgram,
        judge: |facts| reached(facts, FindingId::DeviceHeldByOtherProgram),
    },
    Rule { id: FindingId::RecoveryMode, judge: |facts| reached(facts, FindingId::RecoveryMode) },
    Rule { id: FindingId::DfuMode, judge: |facts| reached(facts, FindingId::DfuMode) },
    Rule { id: FindingId::UsbRestricted, judge: |facts| reached(facts, FindingId::UsbRestricted) },
    Rule { id: FindingId::NotTrusted, judge: |facts| reached(facts, FindingId::NotTrusted) },
    Rule { id: FindingId::TrustPending, judge: |facts| reached(facts, FindingId::TrustPending) },
    Rule { id: FindingId::TrustDenied, judge: |facts| reached(facts, FindingId::TrustDenied) },
    Rule { id: FindingId::StalePairing, judge: |facts| reached(facts, FindingId::StalePairing) },
    Rule { id: FindingId::DeviceLocked, judge: |facts| reached(facts, FindingId::DeviceLocked) },
    Rule {
        id: FindingId::NotUnlockedSinceBoot,
        judge: |facts| reached(facts, FindingId::NotUnlockedSinceBoot),
    },
    Rule { id: FindingId::PairingForbidden, judge: |facts| reached(facts, FindingId::PairingForbidden) },
    Rule { id: FindingId::NotActivated, judge: not_activated },
    Rule { id: FindingId::SetupUnfinished, judge: setup_unfinished },
    Rule { id: FindingId::RestartingByItself, judge: restarting_by_itself },
];

/// The finding that says how far we came with a phone; `None` in a trusted session.
#[must_use]
pub fn reach_finding(reach: Reach) -> Option<FindingId> {
    Some(match reach {
        Reach::Trusted => return None,
        Reach::NotTrusted => FindingId::NotTrusted,
        Reach::TrustPending => FindingId::TrustPending,
        Reach::TrustDenied => FindingId::TrustDenied,
        Reach::StalePairing | Reach::KeyMismatch | Reach::KeyChanged => FindingId::StalePairing,
        Reach::Locked => FindingId::DeviceLocked,
        Reach::NotUnlockedSinceBoot => FindingId::NotUnlockedSinceBoot,
        Reach::PairingForbidden => FindingId::PairingForbidden,
        Reach::RecoveryMode => FindingId::RecoveryMode,
        Reach::DfuMode => FindingId::DfuMode,
        Reach::UsbRestricted => FindingId::UsbRestricted,
        Reach::HeldByOtherProgram => FindingId::DeviceHeldByOtherProgram,
        Reach::NoPermission => FindingId::UsbNoPermission,
        Reach::NoUsbmux => FindingId::NoUsbmux,
    })
}

/// How far we came is one value, so at most one of these rules fires.
fn reached(facts: &Facts, id: FindingId) -> Option<Found> {
    if reach_finding(facts.reach) != Some(id) {
        return None;
    }
    let place = match facts.reach {
        Reach::NoUsbmux => "host",
        Reach::NoPermission
        | Reach::HeldByOtherProgram
        | Reach::RecoveryMode
        | Reach::DfuMode
        | Reach::UsbRestricted => "usb",
        _ => "lockdown",
    };
    let word = serde_json::to_value(facts.reach).expect("a word is JSON");
    Some(Found::blocking(sentence(facts.reach)).with(Evidence::new(place, "", word)))
}

fn sentence(reach: Reach) -> &'static str {
    fixed(match reach {
        Reach::Trusted => "reach-trusted",
        Reach::NotTrusted => "reach-not-trusted",
        Reach::TrustPending => "reach-trust-pending",
        Reach::TrustDenied => "reach-trust-denied",
        Reach::StalePairing => "reach-stale-pairing",
        Reach::KeyMismatch => "reach-key-mismatch",
        Reach::KeyChanged => "reach-key-changed",
        Reach::Locked => "reach-locked",
        Reach::NotUnlockedSinceBoot => "reach-not-unlocked-since-boot",
        Reach::PairingForbidden => "reach-pairing-forbidden",
        Reach::RecoveryMode => "reach-recovery-mode",
        Reach::DfuMode => "reach-dfu-mode",
        Reach::UsbRestricted => "reach-usb-restricted",
        Reach::HeldByOtherProgram => "reach-held-by-other-program",
        Reach::NoPermission => "reach-no-permission",
        Reach::NoUsbmux => "reach-no-usbmux",
    })
}

fn not_activated(facts: &Facts) -> Option<Found> {
    let state = &facts.settings.activation_state;
    let word = value(state)?;
    // Factory and managed activations have other words that still end so.
    if word.ends_with("Activated") && word != "Unactivated" {
        return None;
    }
    Some(Found::blocking(fixed("not-activated")).on(state))
}

fn setup_unfinished(facts: &Facts) -> Option<Found> {
    let done = &facts.settings.setup_done;
    (was_read(facts) && no(done)).then(|| Found::blocking(fixed("setup-unfinished")).on(done))
}

fn restarting_by_itself(facts: &Facts) -> Option<Found> {
    let panics = &facts.settings.recent_panics;
    let number = value(panics).filter(|number| *number >= PANICS_IN_A_WEEK)?;
    let title = say!("restarting-by-itself", n = number);
    Some(Found::problem(title).on(panics))
}

#[cfg(test)]
pub(super) const CASES: &[super::rule::Case] = {
    use super::rule::Case;
    use super::rule::cases::fact;
    macro_rules! reach_case {
        ($id:ident, $reach:ident, $other:ident) => {
            Case {
                id: FindingId::$id,
                fires: |f| f.reach = Reach::$reach,
                silent: |f| f.reach = Reach::$other,
            }
        };
    }
    &[
        reach_case!(NoUsbmux, NoUsbmux, NoPermission),
        reach_case!(UsbNoPermission, NoPermission, NoUsbmux),
        reach_case!(DeviceHeldByOtherProgram, HeldByOtherProgram, NoPermission),
        reach_case!(RecoveryMode, RecoveryMode, DfuMode),
        reach_case!(DfuMode, DfuMode, RecoveryMode),
        reach_case!(UsbRestricted, UsbRestricted, Locked),
        reach_case!(NotTrusted, NotTrusted, TrustPending),
        reach_case!(TrustPending, TrustPending, NotTrusted),
        reach_case!(TrustDenied, TrustDenied, TrustPending),
        reach_case!(StalePairing, KeyMismatch, NotTrusted),
        reach_case!(DeviceLocked, Locked, NotUnlockedSinceBoot),
        reach_case!(NotUnlockedSinceBoot, NotUnlockedSinceBoot, Locked),
        reach_case!(PairingForbidden, PairingForbidden, TrustDenied),
        Case {
            id: FindingId::NotActivated,
            fires: |f| f.settings.activation_state = fact("Unactivated".to_owned()),
            silent: |f| f.settings.activation_state = fact("FactoryActivated".to_owned()),
        },
        Case {
            id: FindingId::SetupUnfinished,
            fires: |f| f.settings.setup_done = fact(false),
            silent: |f| f.settings.setup_done = fact(true),
        },
        Case {
            id: FindingId::RestartingByItself,
            fires: |f| f.settings.recent_panics = fact(3),
            silent: |f| f.settings.recent_panics = fact(2),
        },
    ]
};
