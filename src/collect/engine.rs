//! The iCloud Photos engine's small files: fetched over AFC, then understood without any I/O.

use futures_util::future::join_all;
use jiff::Timestamp;

use crate::afc::{Afc, Status};
use crate::facts::text::plain;
use crate::facts::{Fact, Facts, Maybe, Source, Switching};
use crate::library::cpl;

/// Days in Recently Deleted when the server has not said otherwise.
const RECENTLY_DELETED_DAYS: u32 = 30;

/// What came of asking for a small file.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// Its content, and when it was written.
    Content(Vec<u8>, Option<Timestamp>),
    /// The phone says that there is none.
    Absent,
    /// It could not be read, and why.
    Refused(String),
}

/// Fetches a small file below the media root.
pub(super) async fn fetch(afc: &Afc, path: &str) -> Found {
    let read = async {
        let info = afc.file_info(path).await?;
        let bytes = afc.read_file(path, cpl::FILE_BYTES_MAX as u64).await?;
        Ok::<_, crate::afc::Error>(Found::Content(bytes, written_at(info.mtime_ns)))
    };
    match read.await {
        Ok(found) => found,
        Err(error) if error.status() == Some(Status::NotFound) => Found::Absent,
        Err(error) => Found::Refused(plain(&error.to_string())),
    }
}

fn written_at(mtime_ns: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(mtime_ns)).ok().filter(|_| mtime_ns > 0)
}

/// The files as they came.
#[derive(Debug)]
pub(super) struct Files {
    status: Found,
    enabled_marker: Found,
    download_finished_marker: Found,
    initial_sync_marker: Found,
    pause: Found,
    download_counts: Found,
    server_configuration: Found,
    resets: Found,
    metrics: Found,
    switchings: Vec<Found>,
}

impl Files {
    /// All of them refused for the same reason.
    pub(super) fn refused(reason: &str) -> Self {
        let refused = || Found::Refused(reason.to_owned());
        Self {
            status: refused(),
            enabled_marker: refused(),
            download_finished_marker: refused(),
            initial_sync_marker: refused(),
            pause: refused(),
            download_counts: refused(),
            server_configuration: refused(),
            resets: refused(),
            metrics: refused(),
            switchings: vec![refused()],
        }
    }

    /// Fetches them, side by side as far as the phone takes it.
    pub(super) async fn fetch(afc: &Afc) -> Self {
        let one = |path| fetch(afc, path);
        let (status, enabled_marker, download_finished_marker, initial_sync_marker, pause, download_counts) = tokio::join!(
            one(cpl::STATUS_PATH),
            one(cpl::ENABLED_MARKER_PATH),
            one(cpl::DOWNLOAD_FINISHED_MARKER_PATH),
            one(cpl::INITIAL_SYNC_MARKER_PATH),
            one(cpl::PAUSE_PATH),
            one(cpl::DOWNLOAD_COUNTS_PATH),
        );
        let (server_configuration, resets, metrics, switchings) = tokio::join!(
            one(cpl::SERVER_CONFIGURATION_PATH),
            one(cpl::RESETS_PATH),
            one(cpl::METRICS_PATH),
            join_all(cpl::SWITCHINGS_PATHS.map(one))
        );
        Self {
            status,
            enabled_marker,
            download_finished_marker,
            initial_sync_marker,
            pause,
            download_counts,
            server_configuration,
            resets,
            metrics,
            switchings,
        }
    }

    /// What they say.
    pub(super) fn tell(&self, facts: &mut Facts) {
        self.tell_status(facts);
        self.tell_markers(facts);
        self.tell_pause(facts);
        self.tell_counts(facts);
        self.tell_workings(facts);
        self.tell_switchings(facts);
        self.tell_enabled(facts);
    }

    fn tell_status(&self, facts: &mut Facts) {
        match &self.status {
            Found::Content(bytes, written_at) => match cpl::sync_status(bytes, *written_at) {
                Ok((engine, gaps)) => {
                    facts.icloud_photos.last_sync.clone_from(&engine.last_sync_date);
                    facts.icloud_photos.server_assets.clone_from(&engine.cloud_asset_count);
                    facts.icloud_photos.engine = Some(engine);
                    facts.gaps.extend(gaps);
                }
                Err(error) => unreadable_status(facts, &error.to_string()),
            },
            Found::Absent => {}
            Found::Refused(reason) => unreadable_status(facts, reason),
        }
    }

    fn tell_markers(&self, facts: &mut Facts) {
        let mut marker = |found: &Found, fact: &'static str, place: &'static str| match found {
            Found::Content(bytes, at) => Some(Fact::new(cpl::marker(bytes), dated(place, "", *at))),
            Found::Absent => None,
            Found::Refused(reason) => {
                facts.gap(fact, reason.clone());
                None
            }
        };
        let enabled = marker(
            &self.enabled_marker,
            "icloud_photos.markers.enabled",
            "afc:/PhotoData/cpl_enabled_marker",
        );
        let download_finished = marker(
            &self.download_finished_marker,
            "icloud_photos.markers.download_finished",
            "afc:/PhotoData/cpl_download_finished_marker",
        );
        let initial_sync = marker(
            &self.initial_sync_marker,
            "icloud_photos.markers.initial_sync",
            "afc:/PhotoData/CPL/initialsync_marker",
        );
        let markers = &mut facts.icloud_photos.markers;
        markers.enabled = enabled;
        markers.download_finished = download_finished;
        markers.initial_sync = initial_sync;
    }

    fn tell_pause(&self, facts: &mut Facts) {
        const FACT: &str = "icloud_photos.paused_by_owner";
        let paused =
            |until, at| Some(Fact::new(until, dated("afc:/PhotoData/CPL/pauseICloudPhotos", "reason", at)));
        match &self.pause {
            Found::Content(bytes, at) => match cpl::pause(bytes) {
                Ok(pause) if pause.by_owner => facts.icloud_photos.paused_by_owner = paused(pause.until, *at),
                Ok(_) => facts.gap(FACT, "the phone notes a pause that the owner did not ask for"),
                // The file itself is the order to pause, whatever it holds.
                Err(_) => facts.icloud_photos.paused_by_owner = paused(None, *at),
            },
            Found::Absent => {}
            Found::Refused(reason) => facts.gap(FACT, reason.clone()),
        }
    }

    fn tell_counts(&self, facts: &mut Facts) {
        const COUNTS: &str = "afc:/PhotoData/CPL/DownloadCounts.plist";
        const CONFIGURATION: &str = "afc:/PhotoData/CPL/cloudphotos-1.0.plist";
        match &self.download_counts {
            Found::Content(bytes, at) => match cpl::download_counts(bytes) {
                Ok(count) => {
                    facts.icloud_photos.to_download =
                        Some(Fact::new(count, dated(COUNTS, "CountKeyImages", *at)));
                }
                Err(error) => facts.gap("icloud_photos.to_download", error.to_string()),
            },
            Found::Absent => {}
            Found::Refused(reason) => facts.gap("icloud_photos.to_download", reason.clone()),
        }
        let configuration = match &self.server_configuration {
            Found::Content(bytes, _) => cpl::server_configuration(bytes).map_err(|error| error.to_string()),
            Found::Absent => Ok(cpl::ServerConfiguration::default()),
            Found::Refused(reason) => Err(reason.clone()),
        };
        match configuration {
            Ok(configuration) => {
                let days = configuration.recently_deleted_days.unwrap_or(RECENTLY_DELETED_DAYS);
                let source = Source::new(CONFIGURATION, "max.days.inRecentlyDeleted");
                facts.icloud_photos.recently_deleted_days = Some(Fact::new(days, source));
                let at = configuration.last_update;
                facts.icloud_photos.server_configuration_at =
                    at.map(|at| Fact::new(at, Source::new(CONFIGURATION, "lastUpdate")));
            }
            Err(reason) => facts.gap("icloud_photos.recently_deleted_days", reason),
        }
    }

    /// What the engine notes of its own work. A file that is not there says nothing.
    fn tell_workings(&self, facts: &mut Facts) {
        const RESETS: &str = "afc:/PhotoData/CPL/resetevents.plist";
        const METRICS: &str = "afc:/PhotoData/CPL/metrics.plist";
        match &self.resets {
            Found::Content(bytes, at) => match cpl::reset_pending(bytes) {
                Ok(pending) => {
                    facts.icloud_photos.reset_pending =
                        Some(Fact::new(pending, dated(RESETS, "pending", *at)));
                }
                Err(error) => facts.gap("icloud_photos.reset_pending", error.to_string()),
            },
            Found::Absent => {}
            Found::Refused(reason) => facts.gap("icloud_photos.reset_pending", reason.clone()),
        }
        match &self.metrics {
            Found::Content(bytes, at) => match cpl::metrics(bytes) {
                Ok(counts) => {
                    facts.icloud_photos.metrics = Some(Fact::new(counts, dated(METRICS, "", *at)));
                }
                Err(error) => facts.gap("icloud_photos.metrics", error.to_string()),
            },
            Found::Absent => {}
            Found::Refused(reason) => facts.gap("icloud_photos.metrics", reason.clone()),
        }
    }

    /// The histories of all services as one. One that cannot be read makes the whole unknown: it could hold the
    /// newest entry.
    fn tell_switchings(&self, facts: &mut Facts) {
        let mut switchings = Vec::new();
        let mut seen = false;
        let mut written_at = None;
        for found in &self.switchings {
            let read = match found {
                Found::Content(bytes, at) => {
                    written_at = written_at.max(*at);
                    cpl::switchings(bytes).map_err(|error| error.to_string())
                }
                Found::Absent => continue,
                Found::Refused(reason) => Err(reason.clone()),
            };
            match read {
                Ok(more) => switchings.extend(more),
                Err(reason) => return facts.gap("icloud_photos.switchings", reason),
            }
            seen = true;
        }
        if seen {
            let source = dated("afc:/PhotoData/private", "cloudServiceEnableLog.plist", written_at);
            facts.icloud_photos.switchings = Some(Fact::new(cpl::in_order(switchings), source));
        }
    }

    /// On or off, by the signs that could be read. Two must agree.
    fn tell_enabled(&self, facts: &mut Facts) {
        let votes = self.votes(facts);
        let says = |vote: bool| votes.iter().flatten().filter(|sign| **sign == vote).count();
        let enabled: Maybe<bool> = match (says(true), says(false)) {
            (2.., _) => Some(true),
            (_, 2..) => Some(false),
            _ => None,
        }
        .map(|on| Fact::new(on, Source::new("afc:/PhotoData/cpl_enabled_marker", "")));
        if enabled.is_none() {
            let word = |sign: Option<bool>| sign.map_or("unreadable", |on| if on { "on" } else { "off" });
            let [marker, history, deletion] = votes.map(word);
            facts.gap(
                "icloud_photos.enabled",
                format!("the signs do not agree: marker {marker}, history {history}, status {deletion}"),
            );
        }
        facts.icloud_photos.enabled = enabled;
    }

    /// The marker, the newest switching, and a status that speaks of no deletion to come. A sign that could not be
    /// read says nothing.
    fn votes(&self, facts: &Facts) -> [Option<bool>; 3] {
        let marker = match self.enabled_marker {
            Found::Content(..) => Some(true),
            Found::Absent => Some(false),
            Found::Refused(_) => None,
        };
        let history = if facts.gap_of("icloud_photos.switchings").is_some() {
            None
        } else {
            let newest = facts.icloud_photos.switchings.as_ref().and_then(|history| history.value.last());
            Some(newest.is_some_and(|Switching { enabled, .. }| *enabled))
        };
        let status = match (&self.status, &facts.icloud_photos.engine) {
            (Found::Absent, _) => Some(false),
            (_, Some(_)) if facts.gap_of("icloud_photos.engine.exit_delete_time").is_some() => None,
            (_, Some(engine)) => Some(engine.exit_delete_time.is_none()),
            _ => None,
        };
        [marker, history, status]
    }
}

/// A file on the phone, and when it was written.
fn dated(place: &'static str, key: &'static str, written_at: Option<Timestamp>) -> Source {
    Source { written_at, ..Source::new(place, key) }
}

fn unreadable_status(facts: &mut Facts, reason: &str) {
    for fact in ["icloud_photos.engine", "icloud_photos.last_sync", "icloud_photos.server_assets"] {
        facts.gap(fact, reason);
    }
}

#[cfg(test)]
mod tests {
    use plist::{Date, Dictionary, Value};

    use super::*;
    use crate::facts::value;
    use crate::frame;

    fn absent() -> Files {
        Files {
            status: Found::Absent,
            enabled_marker: Found::Absent,
            download_finished_marker: Found::Absent,
            initial_sync_marker: Found::Absent,
            pause: Found::Absent,
            download_counts: Found::Absent,
            server_configuration: Found::Absent,
            resets: Found::Absent,
            metrics: Found::Absent,
            switchings: vec![Found::Absent],
        }
    }

    fn dictionary(entries: &[(&str, Value)]) -> Value {
        let entries: Dictionary = entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        Value::Dictionary(entries)
    }

    fn file(value: &Value) -> Found {
        Found::Content(frame::to_binary(value), None)
    }

    fn date(text: &str) -> Value {
        Value::Date(Date::from_xml_format(text).unwrap())
    }

    fn history(entries: &[(bool, &str)]) -> Found {
        let entry = |(on, at): &(bool, &str)| {
            dictionary(&[("type", "CPL".into()), ("enabled", (*on).into()), ("timestamp", date(at))])
        };
        file(&Value::Array(entries.iter().map(entry).collect()))
    }

    fn told(files: &Files) -> Facts {
        let mut facts = Facts::default();
        files.tell(&mut facts);
        facts
    }

    fn enabled(files: &Files) -> Option<bool> {
        let facts = told(files);
        assert_eq!(facts.icloud_photos.enabled.is_none(), facts.gap_of("icloud_photos.enabled").is_some());
        value(&facts.icloud_photos.enabled)
    }

    #[test]
    fn a_phone_that_never_had_it_is_off_without_gaps() {
        let facts = told(&absent());
        assert_eq!(value(&facts.icloud_photos.enabled), Some(false));
        assert_eq!(value(&facts.icloud_photos.recently_deleted_days), Some(30));
        assert!(facts.gaps.is_empty() && facts.icloud_photos.engine.is_none());
    }

    #[test]
    fn two_of_three_signs_decide() {
        let status = file(&dictionary(&[("iCloudLibraryExists", true.into())]));
        let marker = Found::Content(b"2022-12-31 15.30.47.888".to_vec(), None);
        let on = history(&[(true, "2022-12-31T23:30:01Z")]);
        let off = history(&[(true, "2022-12-31T23:30:01Z"), (false, "2023-02-01T00:00:00Z")]);
        let all = Files {
            status: status.clone(),
            enabled_marker: marker.clone(),
            switchings: vec![on],
            ..absent()
        };
        assert_eq!(enabled(&all), Some(true));
        assert_eq!(enabled(&Files { switchings: vec![Found::Absent], ..all }), Some(true));
        let switched_off = Files { status, switchings: vec![off.clone()], ..absent() };
        assert_eq!(enabled(&switched_off), Some(false));
        let leaving = file(&dictionary(&[("exitDeleteTime", date("2023-03-01T00:00:00Z"))]));
        let files = Files { status: leaving, enabled_marker: marker, switchings: vec![off], ..absent() };
        assert_eq!(enabled(&files), Some(false));
    }

    #[test]
    fn signs_that_cannot_be_read_decide_nothing() {
        assert_eq!(enabled(&Files::refused("no")), None);
        let one = Files { enabled_marker: Found::Absent, ..Files::refused("no") };
        assert_eq!(enabled(&one), None);
        let broken = file(&dictionary(&[("exitDeleteTime", "soon".into())]));
        let marker = Found::Content(Vec::new(), None);
        let files = Files { status: broken, enabled_marker: marker, ..absent() };
        assert_eq!(enabled(&files), None, "a deletion that cannot be read must not count as none");
    }

    #[test]
    fn what_is_refused_is_a_gap_for_each_fact() {
        let facts = told(&Files::refused("permission denied"));
        for fact in [
            "icloud_photos.engine",
            "icloud_photos.last_sync",
            "icloud_photos.server_assets",
            "icloud_photos.paused_by_owner",
            "icloud_photos.switchings",
            "icloud_photos.to_download",
            "icloud_photos.recently_deleted_days",
            "icloud_photos.markers.enabled",
        ] {
            assert_eq!(
                facts.gap_of(fact).map(|gap| gap.reason.as_str()),
                Some("permission denied"),
                "{fact}"
            );
        }
    }

    #[test]
    fn a_pause_file_means_paused_whatever_it_holds() {
        let paused =
            |found| told(&Files { pause: found, ..absent() }).icloud_photos.paused_by_owner.is_some();
        assert!(paused(Found::Content(b"noise".to_vec(), None)));
        assert!(paused(file(&dictionary(&[("reason", 3.into())]))));
        assert!(!paused(file(&dictionary(&[("reason", 1.into())]))));
        assert!(!paused(Found::Absent));
    }

    #[test]
    fn histories_of_several_services_are_one() {
        let first = history(&[(true, "2022-12-31T23:30:01Z"), (false, "2024-01-01T00:00:00Z")]);
        let second = history(&[(true, "2023-06-01T00:00:00Z")]);
        let facts = told(&Files { switchings: vec![first.clone(), second], ..absent() });
        let states: Vec<_> =
            value(&facts.icloud_photos.switchings).unwrap().iter().map(|s| s.enabled).collect();
        assert_eq!(states, [true, true, false]);
        let refused = told(&Files { switchings: vec![first, Found::Refused("no".into())], ..absent() });
        assert!(refused.icloud_photos.switchings.is_none());
        assert!(refused.gap_of("icloud_photos.switchings").is_some());
    }
}
