//! What a phone does, without a word of whose it is: a file that shows which of our assumptions hold on it, and what
//! differs from the simulated phone.
//!
//! [`Measuring`] asks a phone, changes nothing on it and takes three minutes at most. Whatever gets into its file goes
//! through [`word`], which knows only our own texts and names; that is where anonymity is decided, and nowhere else.
//! [`compare`] holds such a file against another. Must not know the simulator: whoever has one measures it the same
//! way.

pub mod backup;
pub mod compare;
mod files;
mod ladder;
mod library;
mod lockdown;
pub mod node;
mod raw;
mod reason;
mod shape;
mod small;
mod tap;
pub mod word;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::afc::Afc;
use crate::backup::Secret;
use crate::lockdown::{Phone, Session};
use crate::progress::{CancellationToken, Event, Observer};
use ladder::Step;
use node::{Node, Section};
use word::Word;

/// The name and version of the file's form.
pub const SCHEMA: &str = "idevice-fix/conformance/1";
/// How long everything but a backup may take together.
pub const TOTAL: Duration = Duration::from_secs(180);
/// A connection may break a moment before the muxer notices that the phone is gone.
const NOTICE_WAIT: Duration = Duration::from_millis(1500);

/// The parts, in the order in which they are measured, and what is said meanwhile.
const PARTS: &[(&str, &str)] = &[
    (OUTSIDE, "what a stranger is told"),
    (INSIDE, "lockdown's domains"),
    (SERVICES, "services and encryption"),
    (FILES, "the file service"),
    (ENGINE, "the iCloud Photos engine's files"),
    (LIBRARY, "the photo library's schema and states"),
    (CROSS_CHECKS, "cross-checks"),
    (DIAGNOSTICS, "the battery's registry entries"),
    (NOTIFICATIONS, "notifications"),
    (APPS, "the list of apps"),
    (LADDER, "depth and size of reads"),
];
const OUTSIDE: &str = "lockdown, before a session";
const INSIDE: &str = "lockdown, in a session";
const SERVICES: &str = "services";
const FILES: &str = "files";
const ENGINE: &str = "engine";
const LIBRARY: &str = "library";
const CROSS_CHECKS: &str = "cross-checks";
const DIAGNOSTICS: &str = "diagnostics";
const NOTIFICATIONS: &str = "notifications";
const APPS: &str = "apps";
const LADDER: &str = "ladder";
const BACKUP: &str = "backup";

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Everything but a backup, together.
    pub total: Duration,
    /// One step of the ladder of reads.
    pub step_time: Duration,
    /// Bytes of one step of it.
    pub step_bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { total: TOTAL, step_time: Duration::from_millis(400), step_bytes: 48 << 20 }
    }
}

impl Pace {
    /// For a phone whose speed is of no interest: its answers alone are wanted.
    #[must_use]
    pub fn brief() -> Self {
        Self { step_time: Duration::from_millis(20), step_bytes: 1 << 20, ..Self::default() }
    }
}

/// How measuring ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every part had its turn; what is missing is a gap with its reason.
    Done,
    /// We were asked to stop.
    Cancelled,
    /// The phone left the bus.
    PhoneLeft,
}

/// A phone being measured.
#[derive(Debug)]
pub struct Measuring {
    pace: Pace,
    simulated: bool,
    phone: Section,
    parts: Section,
    gaps: Vec<(Word, Word)>,
}

impl Measuring {
    /// Nothing measured yet. `simulated`: the file says so.
    #[must_use]
    pub fn new(pace: Pace, simulated: bool) -> Self {
        Self { pace, simulated, phone: Section::default(), parts: Section::default(), gaps: Vec::new() }
    }

    /// What the phone tells anybody. Changes nothing, asks nobody.
    pub async fn stranger(
        &mut self,
        phone: &Phone,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> End {
        let end = Instant::now() + self.pace.total;
        let mut section = Section::default();
        let work = async {
            lockdown::outside(phone, &mut section).await.map_err(|error| reason::of_lockdown(&error))
        };
        let turn = Turn { end, observer, cancel, phone };
        let outcome = turn.take(OUTSIDE, 15, work).await;
        self.keep(&turn, OUTSIDE, section, outcome).await.unwrap_or(End::Done)
    }

    /// The phone did not let us in: nothing more is measured, for this reason.
    pub fn not_let_in(&mut self, why: &'static str) {
        self.left_out(OUTSIDE, &Word::own(why));
    }

    /// Everything that a trusted computer may ask. `scratch`: a private folder for the copy of the library, which goes
    /// away again.
    pub async fn trusted(
        &mut self,
        session: &Session,
        scratch: &Path,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> End {
        let turn = Turn { end: Instant::now() + self.pace.total, observer, cancel, phone: session.phone() };
        let ended = self.all_parts(&turn, session, scratch).await;
        ended.err().unwrap_or(End::Done)
    }

    async fn all_parts(&mut self, turn: &Turn<'_>, session: &Session, scratch: &Path) -> Result<(), End> {
        self.lockdown(turn, session).await?;
        let chosen = self.files(turn, session).await?;
        self.library(turn, session, scratch).await?;
        self.small_services(turn, session).await?;
        let mut section = Section::default();
        let step = Step { time: self.pace.step_time, bytes: self.pace.step_bytes };
        let climb = async {
            match &chosen {
                Some(chosen) => ladder::climb(session, chosen, step, &mut section).await,
                None => return Err(Word::own("no file to read from")),
            }
            Ok(())
        };
        let outcome = turn.take(LADDER, 60, climb).await;
        self.keep(turn, LADDER, section, outcome).await.map_or(Ok(()), Err)
    }

    async fn lockdown(&mut self, turn: &Turn<'_>, session: &Session) -> Result<(), End> {
        let (mut section, mut phone) = (Section::default(), Section::default());
        let asked = async {
            let told = lockdown::inside(session, &mut section, &mut phone).await;
            told.map_err(|error| reason::of_lockdown(&error))
        };
        let outcome = turn.take(INSIDE, 30, asked).await;
        self.phone = phone;
        self.keep(turn, INSIDE, section, outcome).await.map_or(Ok(()), Err)?;
        let mut section = Section::default();
        let asked = async {
            lockdown::services(turn.phone, &mut section).await.map_err(|error| reason::of_lockdown(&error))
        };
        let outcome = turn.take(SERVICES, 30, asked).await;
        self.keep(turn, SERVICES, section, outcome).await.map_or(Ok(()), Err)
    }

    async fn files(&mut self, turn: &Turn<'_>, session: &Session) -> Result<Option<files::Chosen>, End> {
        let (mut section, mut chosen) = (Section::default(), None);
        let look = async {
            let mut raw = files::connect(session).await.map_err(|error| reason::of_lockdown(&error))?;
            chosen = files::look(&mut raw, &mut section).await.map_err(raw::Oddity::word)?;
            Ok(())
        };
        let outcome = turn.take(FILES, 25, look).await;
        self.keep(turn, FILES, section, outcome).await.map_or(Ok(chosen), Err)
    }

    async fn library(&mut self, turn: &Turn<'_>, session: &Session, scratch: &Path) -> Result<(), End> {
        let open = || async { Afc::open(session).await.map_err(|error| reason::of_afc(&error)) };
        let (mut section, mut on_server) = (Section::default(), None);
        let engine = async {
            on_server = library::engine(&open().await?, &mut section).await;
            Ok(())
        };
        let outcome = turn.take(ENGINE, 15, engine).await;
        self.keep(turn, ENGINE, section, outcome).await.map_or(Ok(()), Err)?;
        let (mut section, mut census) = (Section::default(), None);
        let database = async {
            census = library::database(&open().await?, scratch, turn.cancel, &mut section).await?;
            Ok(())
        };
        let outcome = turn.take(LIBRARY, 60, database).await;
        self.keep(turn, LIBRARY, section, outcome).await.map_or(Ok(()), Err)?;
        let mut section = Section::default();
        let check = async {
            let library = census.and_then(|census| census.library);
            let library = library.ok_or(Word::own("the library was not read"))?;
            library::cross_check(&open().await?, &library, on_server, &mut section).await;
            Ok(())
        };
        let outcome = turn.take(CROSS_CHECKS, 20, check).await;
        self.keep(turn, CROSS_CHECKS, section, outcome).await.map_or(Ok(()), Err)
    }

    async fn small_services(&mut self, turn: &Turn<'_>, session: &Session) -> Result<(), End> {
        let mut section = Section::default();
        let ask = async {
            small::diagnostics(session, &mut section).await;
            Ok(())
        };
        let outcome = turn.take(DIAGNOSTICS, 15, ask).await;
        self.keep(turn, DIAGNOSTICS, section, outcome).await.map_or(Ok(()), Err)?;
        let mut section = Section::default();
        let ask = async {
            small::notifications(session, &mut section).await.map_err(|error| reason::of_service(&error))
        };
        let outcome = turn.take(NOTIFICATIONS, 10, ask).await;
        self.keep(turn, NOTIFICATIONS, section, outcome).await.map_or(Ok(()), Err)?;
        let mut section = Section::default();
        let ask =
            async { small::apps(session, &mut section).await.map_err(|error| reason::of_service(&error)) };
        let outcome = turn.take(APPS, 15, ask).await;
        self.keep(turn, APPS, section, outcome).await.map_or(Ok(()), Err)
    }

    /// Has the phone make a backup into `scratch`, which its caller removes. Neither short nor without a trace on the
    /// phone: it notes the time of its last backup.
    pub async fn backup(
        &mut self,
        session: &Session,
        scratch: &Path,
        password: Option<&Secret>,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> End {
        let turn = Turn { end: Instant::now() + NOTICE_WAIT, observer, cancel, phone: session.phone() };
        let mut section = Section::default();
        let outcome = backup::measure(session, scratch, password, observer, cancel, &mut section).await;
        let outcome = if cancel.is_cancelled() { Err(Word::own(INTERRUPTED)) } else { outcome };
        self.keep(&turn, BACKUP, section, outcome).await.unwrap_or(End::Done)
    }

    /// Keeps what a part gave, and why it did not give more. An end, if nothing more can be asked.
    async fn keep(
        &mut self,
        turn: &Turn<'_>,
        name: &'static str,
        section: Section,
        outcome: Result<(), Word>,
    ) -> Option<End> {
        if !section.is_empty() {
            self.parts.put(name, section);
        }
        let reason = outcome.err();
        let end = match &reason {
            _ if turn.cancel.is_cancelled() => Some(End::Cancelled),
            // What took too long did not break; anything else may have broken because the phone is going.
            Some(why) if !OUT_OF_TIME.contains(&why.as_str()) && turn.phone_left().await => {
                Some(End::PhoneLeft)
            }
            _ if !turn.is_there().await => Some(End::PhoneLeft),
            _ => None,
        };
        let over =
            end.map(|end| Word::own(if end == End::Cancelled { INTERRUPTED } else { "the phone left" }));
        if let Some(reason) = over.clone().or(reason) {
            self.gaps.push((Word::own(name), reason));
        }
        if let Some(reason) = over {
            self.left_out(name, &reason);
        }
        end
    }

    /// Notes the reason for every part after this one.
    fn left_out(&mut self, last: &str, reason: &Word) {
        let after = PARTS.iter().skip_while(|(name, _)| *name != last).skip(1);
        self.gaps.extend(after.map(|(name, _)| (Word::own(name), reason.clone())));
    }

    /// Something is missing.
    #[must_use]
    pub fn has_gaps(&self) -> bool {
        !self.gaps.is_empty()
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> Value {
        let gaps: Vec<Value> = self
            .gaps
            .iter()
            .map(|(part, reason)| json!({"part": part.as_str(), "reason": reason.as_str()}))
            .collect();
        json!({
            "schema": SCHEMA,
            "made_by": concat!("idevice-fix ", env!("CARGO_PKG_VERSION")),
            "made_on": if self.simulated { "a simulated phone" } else { "a phone" },
            "phone": Node::from(self.phone.clone()).to_json(),
            "parts": Node::from(self.parts.clone()).to_json(),
            "gaps": gaps,
        })
    }
}

const INTERRUPTED: &str = "interrupted";
const TOO_LONG: &str = "it took too long";
const NO_TIME: &str = "no time was left";
const OUT_OF_TIME: [&str; 2] = [TOO_LONG, NO_TIME];

/// What every part needs to take its turn.
struct Turn<'a> {
    end: Instant,
    observer: &'a dyn Observer,
    cancel: &'a CancellationToken,
    phone: &'a Phone,
}

impl Turn<'_> {
    /// Does the work of a part, for so many seconds at most and never beyond the end of all.
    async fn take(
        &self,
        name: &str,
        seconds: u64,
        work: impl Future<Output = Result<(), Word>>,
    ) -> Result<(), Word> {
        if self.cancel.is_cancelled() {
            return Err(Word::own(INTERRUPTED));
        }
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Word::own(NO_TIME));
        }
        let words = PARTS.iter().find(|(part, _)| *part == name).map_or(name, |(_, words)| words);
        self.observer.event(Event::Note(format!("Measuring {words} ...")));
        tokio::select! {
            () = self.cancel.cancelled() => Err(Word::own(INTERRUPTED)),
            outcome = timeout(left.min(Duration::from_secs(seconds)), work) => {
                outcome.unwrap_or_else(|_| Err(Word::own(TOO_LONG)))
            }
        }
    }

    async fn is_there(&self) -> bool {
        let listing = timeout(NOTICE_WAIT, self.phone.muxer.devices()).await;
        match listing {
            Ok(Ok(devices)) => devices.iter().any(|device| device.id == self.phone.attached.id),
            Ok(Err(_)) => false,
            // A muxer that does not answer says nothing about the phone; the next part will tell.
            Err(_) => true,
        }
    }

    /// Whether the phone is gone, after something broke: that is noticed only after a moment.
    async fn phone_left(&self) -> bool {
        let until = Instant::now() + NOTICE_WAIT;
        while self.is_there().await {
            if Instant::now() >= until || self.cancel.is_cancelled() {
                return false;
            }
            sleep(Duration::from_millis(100)).await;
        }
        true
    }
}
