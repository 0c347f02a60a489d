//! The first look: lockdown's values and the engine's small files, in well under five seconds.

use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use plist::{Dictionary, Value};
use tokio::time::{Instant, sleep, timeout};

use super::engine::Files;
use super::line::Line;
use super::{Error, LEFT_TO_FULL, NOT_READ_YET, domains, gaps, is_lost, reach, words};
use crate::facts::text::plain;
use crate::facts::{Fact, Facts, Reach, Source};
use crate::frame::DictExt;
use crate::lockdown::{self, Session};
use crate::usbmux::Stream;

/// How long one domain may take; a healthy phone answers in milliseconds.
const DOMAIN_WAIT: Duration = Duration::from_millis(1500);
/// How long all domains may take together.
const DOMAINS_WAIT: Duration = Duration::from_millis(3800);
/// How long the engine's files may take together.
const FILES_WAIT: Duration = Duration::from_millis(3800);
/// A phone is locked for a moment after it is plugged in.
const LOCKED_FOR_A_MOMENT: Duration = Duration::from_millis(2000);
/// Between two tries while it is.
const LOCKED_POLL: Duration = Duration::from_millis(250);
/// What both lockdown and the file service can tell.
pub(super) const STORAGE: [&str; 2] = ["storage.total_bytes", "storage.free_bytes"];
/// The phone's files below the media root.
pub(super) const AFC_SERVICE: &str = "com.apple.afc";

/// Reads what can be read at once: who the phone is, battery, storage, clock, account and backup settings, and the
/// iCloud Photos engine's own status and markers. What [`super::full`] adds is a gap until then.
///
/// A phone whose lock keeps its files shut is told by `reach`; what could be read is in the facts all the same.
///
/// # Errors
/// [`Error::Lost`] when the phone does not even tell who it is.
pub async fn quick(session: &Session) -> Result<Facts, Error> {
    let asked_at = Timestamp::now();
    let root = root(session).await?;
    let mut facts = Facts {
        device: Some(domains::device(session.udid().as_str(), &root)),
        observed_at: asked_at,
        ..Facts::default()
    };
    domains::root(&root, &mut facts);
    let (told, (files, locked)) = tokio::join!(ask_domains(session), fetch_files(session));
    told.tell(&mut facts);
    files.tell(&mut facts);
    facts.reach = locked.unwrap_or_default();
    gaps(&mut facts, LEFT_TO_FULL, NOT_READ_YET);
    facts.gap("storage.purgeable_bytes", "no value that a phone gives over USB states it");
    facts.gap("icloud_photos.optimise_storage", "only a local backup holds this setting");
    facts.gap("icloud_backup.failure", "only a local backup holds this state");
    for fact in ["settings.apple_account", "settings.account_data_classes"] {
        facts.gap(fact, "only a local backup holds the accounts");
    }
    for fact in [
        "icloud_backup.account_enabled",
        "icloud_backup.enabled_in_backup",
        "icloud_backup.last_backup_in_backup",
        "settings.set_up_by",
        "settings.find_my_in_backup",
    ] {
        facts.gap(fact, "only a local backup holds this");
    }
    Ok(facts)
}

async fn root(session: &Session) -> Result<Dictionary, Error> {
    let value = session.value(None, None).await?;
    let what = "something else than a dictionary".to_owned();
    value
        .into_dictionary()
        .ok_or_else(|| Error::Lost(lockdown::Error::Protocol { request: "GetValue".to_owned(), what }))
}

type Answer = Result<Dictionary, String>;
/// Understands a domain.
type Understand = fn(&Dictionary, &mut Facts);

/// The domains as they came.
struct Told {
    clock: Result<f64, String>,
    battery: Answer,
    backup: Answer,
    disk_usage: Answer,
    find_my: Answer,
    setup: Answer,
}

async fn ask_domains(session: &Session) -> Told {
    let end = Instant::now() + DOMAINS_WAIT;
    let clock = clock(session, end).await;
    let battery = domain(session, domains::BATTERY, end).await;
    let backup = domain(session, domains::BACKUP, end).await;
    let disk_usage = domain(session, domains::DISK_USAGE, end).await;
    let find_my = domain(session, domains::FIND_MY, end).await;
    let mut setup = domain(session, domains::SETUP[0], end).await;
    if !setup.as_ref().is_ok_and(|values| values.contains_key("SetupDone")) {
        let other = domain(session, domains::SETUP[1], end).await;
        if other.is_ok() {
            setup = other;
        }
    }
    Told { clock, battery, backup, disk_usage, find_my, setup }
}

async fn ask(
    session: &Session,
    domain: Option<&str>,
    key: Option<&str>,
    end: Instant,
) -> Result<Value, String> {
    let left = end.saturating_duration_since(Instant::now()).min(DOMAIN_WAIT);
    match timeout(left, session.value(domain, key)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(words(&error)),
        Err(_) => Err("the phone did not answer in time".to_owned()),
    }
}

async fn domain(session: &Session, name: &str, end: Instant) -> Answer {
    let value = ask(session, Some(name), None, end).await?;
    value.into_dictionary().ok_or_else(|| format!("the phone answered {name} with no dictionary"))
}

/// The phone's clock minus ours, in seconds: its answer is taken as given in the middle of the round trip.
async fn clock(session: &Session, end: Instant) -> Result<f64, String> {
    const KEY: &str = "TimeIntervalSince1970";
    let sent_at = Timestamp::now();
    let sent = Instant::now();
    let value = ask(session, None, Some(KEY), end).await?;
    let half = sent.elapsed().as_secs_f64() / 2.0;
    let mut wrapped = Dictionary::new();
    wrapped.insert(KEY.to_owned(), value);
    let phone = wrapped.real(KEY).filter(|seconds| seconds.is_finite());
    let phone = phone.ok_or_else(|| format!("{KEY} holds what cannot be understood"))?;
    Ok(phone - sent_at.as_duration().as_secs_f64() - half)
}

impl Told {
    fn tell(self, facts: &mut Facts) {
        match self.clock {
            Ok(offset) => {
                let source = Source::new("lockdown:", "TimeIntervalSince1970");
                facts.settings.clock_offset_seconds = Some(Fact::new(offset, source));
            }
            Err(reason) => facts.gap("settings.clock_offset_seconds", reason),
        }
        let parts: [(Answer, Understand, &[&'static str]); 5] = [
            (
                self.battery,
                domains::battery,
                &[
                    "battery.level_percent",
                    "battery.charging",
                    "battery.external_power",
                    "battery.fully_charged",
                ],
            ),
            (
                self.backup,
                domains::backup,
                &[
                    "icloud_backup.enabled",
                    "icloud_backup.last_backup",
                    "local_backup.will_encrypt",
                    "local_backup.requires_encryption",
                    "local_backup.last_backup",
                ],
            ),
            (self.disk_usage, domains::disk_usage, &STORAGE),
            (self.find_my, domains::find_my, &["settings.find_my"]),
            (self.setup, domains::setup, &["settings.setup_done"]),
        ];
        for (answer, understand, names) in parts {
            match answer {
                Ok(values) => understand(&values, facts),
                Err(reason) => gaps(facts, names, &reason),
            }
        }
    }
}

/// The engine's files, and what kept them shut if it was the lock.
async fn fetch_files(session: &Session) -> (Files, Option<Reach>) {
    let fetched = timeout(FILES_WAIT, async {
        match Line::new(session).twice(|afc| async move { Files::fetch(&afc).await }.boxed()).await {
            Ok(files) => (files, None),
            Err(error) => {
                let locked = error.refusal().and_then(reach::reach_of_refusal);
                (Files::refused(&words(&error)), locked)
            }
        }
    });
    fetched.await.unwrap_or_else(|_| (Files::refused("the phone did not answer in time"), None))
}

/// Starts the file service; asks again while the phone is locked for the moment after it was plugged in.
pub(super) async fn start_afc(session: &Session) -> Result<Stream, lockdown::Error> {
    let end = Instant::now() + LOCKED_FOR_A_MOMENT;
    loop {
        match session.start_service_escrowed(AFC_SERVICE).await {
            Err(error) if Instant::now() < end && !is_lost(&error) => {
                let locked = error.refusal().and_then(reach::reach_of_refusal);
                if locked != Some(Reach::Locked) {
                    return Err(error);
                }
                sleep(LOCKED_POLL).await;
            }
            other => return other,
        }
    }
}

/// The reason for people why a service could not be started.
pub(super) fn not_started(service: &str, error: &lockdown::Error) -> String {
    plain(&format!("{service} could not be started: {error}"))
}
