//! Rules about the Apple Account and what hangs on it.

use crate::facts::sentences::fixed;
use crate::facts::{Device, Engine, Facts, Maybe};

use super::rule::{Found, Rule, no, yes};
use super::thresholds::STOLEN_DEVICE_PROTECTION_SINCE;
use super::{Evidence, FindingId};

pub(super) const RULES: &[Rule] = &[
    Rule { id: FindingId::IosTooOld, judge: ios_too_old },
    Rule { id: FindingId::IcloudSignedOut, judge: signed_out },
    Rule { id: FindingId::IcloudStorageFull, judge: icloud_full },
    Rule { id: FindingId::SharedLibraryStorageFull, judge: shared_library_full },
    Rule { id: FindingId::AdvancedDataProtection, judge: advanced_data_protection },
    Rule { id: FindingId::FindMyOn, judge: find_my_on },
    Rule { id: FindingId::StolenDeviceProtection, judge: stolen_device_protection },
];

fn engine(facts: &Facts) -> Option<&Engine> {
    facts.icloud_photos.engine.as_ref()
}

fn problem(flag: &Maybe<bool>, title: &'static str) -> Option<Found> {
    yes(flag).then(|| Found::problem(title).on(flag))
}

fn ios_too_old(facts: &Facts) -> Option<Found> {
    problem(&engine(facts)?.client_too_old, fixed("ios-too-old"))
}

fn signed_out(facts: &Facts) -> Option<Found> {
    let account = &facts.settings.apple_account;
    if no(account) {
        let title = fixed("signed-out-by-backup");
        return Some(Found::problem(title).on(account));
    }
    problem(&engine(facts)?.not_authenticated, fixed("signed-out"))
}

fn icloud_full(facts: &Facts) -> Option<Found> {
    problem(&engine(facts)?.is_exceeding_quota, fixed("icloud-full"))
}

fn shared_library_full(facts: &Facts) -> Option<Found> {
    let flag = &engine(facts)?.is_exceeding_shared_library_quota;
    problem(flag, fixed("shared-library-full"))
}

fn advanced_data_protection(facts: &Facts) -> Option<Found> {
    let flag = &engine(facts)?.walrus_enabled;
    let title = fixed("advanced-data-protection");
    yes(flag).then(|| Found::notice(title).on(flag))
}

fn find_my_on(facts: &Facts) -> Option<Found> {
    let flag = &facts.settings.find_my;
    let title = fixed("find-my-on");
    yes(flag).then(|| Found::notice(title).on(flag))
}

/// USB cannot read whether it is on, so every iPhone that can have it gets the notice.
fn stolen_device_protection(facts: &Facts) -> Option<Found> {
    let device = facts.device.as_ref().filter(|device| is_iphone(device))?;
    let version = device.ios_version.as_deref()?;
    (major_and_minor(version)? >= STOLEN_DEVICE_PROTECTION_SINCE).then(|| {
        let title = fixed("stolen-device-protection");
        Found::notice(title).with(Evidence::new("lockdown", "ProductVersion", version))
    })
}

fn is_iphone(device: &Device) -> bool {
    let class = device.device_class.as_deref().or(device.product_type.as_deref());
    class.is_some_and(|class| class.starts_with("iPhone"))
}

fn major_and_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next().map_or(Some(0), |minor| minor.parse().ok())?;
    Some((major, minor))
}

#[cfg(test)]
pub(super) const CASES: &[super::rule::Case] = {
    use super::rule::Case;
    use super::rule::cases::{engine, fact};
    fn iphone(facts: &mut Facts, version: &str) {
        let device = facts.device.as_mut().expect("the cases are about a phone that was read");
        device.product_type = Some("iPhone13,2".to_owned());
        device.ios_version = Some(version.to_owned());
    }
    &[
        Case {
            id: FindingId::IosTooOld,
            fires: |f| engine(f).client_too_old = fact(true),
            silent: |f| engine(f).client_too_old = fact(false),
        },
        Case {
            id: FindingId::IcloudSignedOut,
            fires: |f| engine(f).not_authenticated = fact(true),
            silent: |f| engine(f).not_authenticated = fact(false),
        },
        Case {
            id: FindingId::IcloudStorageFull,
            fires: |f| engine(f).is_exceeding_quota = fact(true),
            silent: |f| engine(f).is_exceeding_shared_library_quota = fact(true),
        },
        Case {
            id: FindingId::SharedLibraryStorageFull,
            fires: |f| engine(f).is_exceeding_shared_library_quota = fact(true),
            silent: |f| engine(f).is_exceeding_quota = fact(true),
        },
        Case {
            id: FindingId::AdvancedDataProtection,
            fires: |f| engine(f).walrus_enabled = fact(true),
            silent: |f| engine(f).walrus_enabled = fact(false),
        },
        Case {
            id: FindingId::FindMyOn,
            fires: |f| f.settings.find_my = fact(true),
            silent: |f| f.settings.find_my = fact(false),
        },
        Case {
            id: FindingId::StolenDeviceProtection,
            fires: |f| iphone(f, "17.3"),
            silent: |f| iphone(f, "17.2.1"),
        },
    ]
};
