//! What a rule is, and how it states what it found.

use serde::Serialize;

use crate::facts::{Facts, Maybe};

use super::{Evidence, Finding, FindingId, Severity};

/// One rule: the finding that it is about, and what it makes of the facts.
pub(super) struct Rule {
    pub(super) id: FindingId,
    pub(super) judge: fn(&Facts) -> Option<Found>,
}

/// What a rule found.
pub(super) struct Found {
    pub(super) severity: Severity,
    title: String,
    evidence: Vec<Evidence>,
}

impl Found {
    pub(super) fn blocking(title: impl Into<String>) -> Self {
        Self { severity: Severity::Blocking, title: title.into(), evidence: Vec::new() }
    }

    pub(super) fn problem(title: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, ..Self::blocking(title) }
    }

    pub(super) fn notice(title: impl Into<String>) -> Self {
        Self { severity: Severity::Notice, ..Self::blocking(title) }
    }

    /// A problem if `bad`, else a notice.
    pub(super) fn problem_if(bad: bool, title: impl Into<String>) -> Self {
        if bad { Self::problem(title) } else { Self::notice(title) }
    }

    /// Rests on this fact, if it is known.
    pub(super) fn on<T: Serialize>(mut self, fact: &Maybe<T>) -> Self {
        self.evidence.extend(fact.as_ref().map(Evidence::of));
        self
    }

    /// Rests on this count over the library.
    pub(super) fn on_count(self, key: &'static str, count: u64) -> Self {
        self.with(Evidence::new("library:Photos.sqlite", key, count))
    }

    /// Rests on this.
    pub(super) fn with(mut self, evidence: Evidence) -> Self {
        self.evidence.push(evidence);
        self
    }

    pub(super) fn finding(self, id: FindingId) -> Finding {
        Finding { id, severity: self.severity, title: self.title, evidence: self.evidence }
    }
}

/// True only when the fact is known and true.
pub(super) fn yes(fact: &Maybe<bool>) -> bool {
    fact.as_ref().is_some_and(|fact| fact.value)
}

/// True only when the fact is known and false.
pub(super) fn no(fact: &Maybe<bool>) -> bool {
    fact.as_ref().is_some_and(|fact| !fact.value)
}

/// A phone was read: it is there and let us in.
pub(super) fn was_read(facts: &Facts) -> bool {
    facts.device.is_some() && facts.reach == crate::facts::Reach::Trusted
}

/// A case for a rule: facts on which it fires, and facts, as near to them as can be, on which it does not.
#[cfg(test)]
pub(super) struct Case {
    pub(super) id: FindingId,
    pub(super) fires: fn(&mut Facts),
    pub(super) silent: fn(&mut Facts),
}

/// What the cases are made of.
#[cfg(test)]
pub(super) mod cases {
    use jiff::{SignedDuration, Timestamp};

    use crate::facts::{Asset, AssetKind, Device, Engine, Fact, Facts, Maybe, Owner, Place, Source, Upload};

    pub(in crate::diagnosis) const NOW: i64 = 1_790_000_000;

    pub(in crate::diagnosis) fn fact<T>(value: T) -> Maybe<T> {
        Some(Fact::new(value, Source::new("test", "key")))
    }

    pub(in crate::diagnosis) fn days_ago(days: i64) -> Timestamp {
        Timestamp::from_second(NOW).unwrap() - SignedDuration::from_hours(24 * days)
    }

    /// A phone that was read, and of which nothing else is known.
    pub(in crate::diagnosis) fn read_phone() -> Facts {
        let device = Device { udid: "00008101-000000000000001E".to_owned(), ..Device::default() };
        Facts { device: Some(device), observed_at: Timestamp::from_second(NOW).unwrap(), ..Facts::default() }
    }

    /// The engine's status, made when it is asked for first.
    pub(in crate::diagnosis) fn engine(facts: &mut Facts) -> &mut Engine {
        facts.icloud_photos.engine.get_or_insert_default()
    }

    /// iCloud Photos is on, its first sync is done, and it synced just now.
    pub(in crate::diagnosis) fn icloud_on(facts: &mut Facts) {
        facts.icloud_photos.enabled = fact(true);
        facts.icloud_photos.last_sync = fact(days_ago(0));
        engine(facts).initial_sync_date = fact(days_ago(100));
    }

    /// One own asset, added so many days ago.
    pub(in crate::diagnosis) fn asset(upload: Upload, added_days_ago: i64) -> Asset {
        Asset {
            uuid: "A".to_owned(),
            path: "DCIM/100APPLE/IMG_0001.JPG".to_owned(),
            original_name: None,
            kind: AssetKind::Photo,
            owner: Owner::Own,
            created: None,
            added: Some(days_ago(added_days_ago)),
            trashed: None,
            hidden: false,
            favourite: false,
            burst_unpicked: false,
            albums: Vec::new(),
            upload,
            place: Place::OnlyHere,
            resources: Vec::new(),
        }
    }

    /// A library of this one asset, counted.
    pub(in crate::diagnosis) fn library_of(facts: &mut Facts, asset: Asset) {
        let counts = &mut facts.library.counts;
        counts.assets = Some(1);
        counts.waiting = Some(u64::from(asset.upload == Upload::Waiting));
        counts.failed = Some(u64::from(asset.upload == Upload::Failed));
        counts.never_queued = Some(u64::from(asset.upload == Upload::NeverQueued));
        counts.uploaded = Some(u64::from(asset.upload == Upload::Uploaded));
        counts.originals_only_here = Some(1);
        facts.library.assets = Some(vec![asset]);
    }
}
