//! Panic reports: a phone that restarts by itself leaves one each time, in what `com.apple.crashreportcopymobile`
//! serves over AFC. Only names and times are looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::{quick::not_started, words};
use crate::afc::{Afc, Status};
use crate::facts::{Fact, Facts, Source};
use crate::lockdown::Session;

const SERVICE: &str = "com.apple.crashreportcopymobile";
/// How long listing may take.
const WAIT: Duration = Duration::from_secs(8);
/// Where reports lie: at the top, and in this folder on some versions.
const FOLDERS: [&str; 2] = ["/", "/Panics"];
/// How far back a report counts.
const RECENT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A name holds the phone's local time, and its zone is not asked for: a report may seem up to this much newer.
const ZONE_SLACK: SignedDuration = SignedDuration::from_hours(15);

/// How many panic reports of the last 7 days the phone holds, or why that is not known.
pub(super) async fn count(session: &Session) -> Result<u32, String> {
    let counted = timeout(WAIT, async {
        let stream = session.start_service(SERVICE).await.map_err(|error| not_started(SERVICE, &error))?;
        let afc = Afc::over(stream);
        let mut reports = BTreeSet::new();
        for folder in FOLDERS {
            match afc.read_dir(folder).await {
                Ok(directory) => reports.extend(directory.names.iter().filter_map(|name| moment_of(name))),
                Err(error) if error.status() == Some(Status::NotFound) => {}
                Err(error) => return Err(words(&error)),
            }
        }
        Ok(reports)
    });
    let reports = counted.await.unwrap_or_else(|_| Err(format!("{SERVICE} did not answer in time")))?;
    Ok(recent(&reports, Timestamp::now()))
}

/// Tells what [`count`] found.
pub(super) fn tell(count: Result<u32, String>, facts: &mut Facts) {
    match count {
        Ok(count) => {
            let source = Source::new("afc:com.apple.crashreportcopymobile", "panic-full");
            facts.settings.recent_panics = Some(Fact::new(count, source));
        }
        Err(reason) => facts.gap("settings.recent_panics", reason),
    }
}

fn recent(reports: &BTreeSet<DateTime>, now: Timestamp) -> u32 {
    let is_recent = |moment: &&DateTime| {
        let at = moment.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp());
        at.is_ok_and(|at| (-ZONE_SLACK..=RECENT).contains(&now.duration_since(at)))
    };
    u32::try_from(reports.iter().filter(is_recent).count()).unwrap_or(u32::MAX)
}

/// The moment in the name of a panic report: `panic-full-2026-11-20-081512.0002.ips`. A panic may leave several files
/// (`panic-base-…`) of the same moment; it counts once.
fn moment_of(name: &str) -> Option<DateTime> {
    let rest = name.strip_prefix("panic-")?;
    let rest = rest.strip_prefix("full-").or_else(|| rest.strip_prefix("base-")).unwrap_or(rest);
    let (date, time) = (rest.get(..10)?, rest.get(11..17)?);
    if rest.as_bytes()[10] != b'-' {
        return None;
    }
    let date: Date = date.parse().ok()?;
    let part = |at: usize| time.get(at..at + 2)?.parse::<i8>().ok();
    Some(date.to_datetime(Time::new(part(0)?, part(2)?, part(4)?, 0).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_the_last_days_count_once_each() {
        let names = [
            "panic-full-2026-11-20-081512.0002.ips",
            "panic-base-2026-11-20-081512.000.ips",
            "panic-full-2026-11-21-230000.ips",
            "panic-full-2026-11-01-000000.ips",
            "panic-full-2031-01-01-000000.ips",
            "JetsamEvent-2026-11-20-081512.ips",
            "panic-full-2026-13-40-999999.ips",
            "panic-full-",
            "panic-ÄÖÜ-ÄÖÜÄÖÜÄÖÜ",
        ];
        let reports: BTreeSet<_> = names.iter().filter_map(|name| moment_of(name)).collect();
        assert_eq!(recent(&reports, "2026-11-22T12:00:00Z".parse().unwrap()), 2);
    }
}
