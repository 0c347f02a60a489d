//! Becoming trusted.
//!
//! The muxer's pair record is used if there is one. Otherwise, or when the phone does not know it any more, the phone
//! is asked; the record that the muxer keeps is replaced only after the phone has agreed. No private key leaves the
//! host, and the phone sees the same keys however often it is asked.

use std::time::Duration;

use plist::Value;
use tokio::time::Instant;

use super::certs::{DeviceKey, HostKeys, new_record};
use super::connection::Connection;
use super::{Error, PairRecord, Phone, Refusal, Session, message};
use crate::progress::{CancellationToken, Event, Observer, Touch};
use crate::usbmux::Udid;

/// How often the phone is asked while a person has not answered.
const POLL: Duration = Duration::from_millis(500);
/// A phone is locked for a moment after it is plugged in; nobody is called for that.
const LOCKED_FOR_A_MOMENT: Duration = Duration::from_millis(1500);
/// Connections that may break in a row while waiting.
const BREAKS_MAX: u32 = 3;

/// What stands between us and a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The phone was not asked yet.
    NotTrusted,
    /// The question is on the phone's screen.
    Pending,
    /// "Don't Trust" was tapped.
    Denied,
    /// The phone is locked.
    Locked,
    /// The phone was not unlocked since it started.
    NotUnlockedSinceBoot,
    /// There is a pair record, and the phone does not know it any more.
    Stale,
    /// There is a pair record that cannot be read; how it is broken, without its content.
    UnusableRecord(String),
    /// A supervised phone that wants its supervisor's signature.
    Supervised,
    /// The phone forbids it; the name of its refusal.
    Prohibited(String),
    /// Who answers does not hold the key of the phone that was paired. The record is kept.
    KeyMismatch,
    /// Who answers does not know this computer, and shows another key than the phone that was paired: it was erased
    /// since, or it is another device under that phone's id. Nothing is asked and the record is kept.
    KeyChanged,
    /// The device is being restored: there is no iOS to talk to.
    Restoring,
}

impl Obstacle {
    /// Whether it can go away while we wait.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Pending | Self::Locked | Self::NotUnlockedSinceBoot)
    }

    fn touch(&self) -> Option<Touch> {
        match self {
            Self::Pending => Some(Touch::Trust),
            Self::Locked | Self::NotUnlockedSinceBoot => Some(Touch::Unlock),
            _ => None,
        }
    }

    fn of_refusal(refusal: &Refusal) -> Option<Self> {
        Some(match refusal {
            Refusal::PairingDialogResponsePending => Self::Pending,
            Refusal::UserDeniedPairing => Self::Denied,
            Refusal::PasswordProtected | Refusal::DeviceLocked => Self::Locked,
            Refusal::EscrowLocked => Self::NotUnlockedSinceBoot,
            Refusal::McChallengeRequired => Self::Supervised,
            Refusal::InvalidHostId | Refusal::MissingPairRecord | Refusal::InvalidPairRecord => Self::Stale,
            Refusal::PairingProhibitedOverThisConnection
            | Refusal::FmipProtected
            | Refusal::McProtected
            | Refusal::ServiceProhibited => Self::Prohibited(refusal.name().to_owned()),
            _ => return None,
        })
    }

    /// What an error says about trust; the error itself if nothing.
    fn of_error(error: Error) -> Result<Self, Error> {
        match &error {
            Error::KeyMismatch => Ok(Self::KeyMismatch),
            Error::Record(bad) => Ok(Self::UnusableRecord(bad.to_string())),
            Error::Refused { refusal, .. } => Self::of_refusal(refusal).ok_or(error),
            _ => Err(error),
        }
    }
}

/// What came of one try.
#[derive(Debug)]
pub enum Attempt {
    /// The phone trusts us.
    Trusted(Session),
    /// It does not, or not now.
    Not(Obstacle),
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum NotReached {
    /// The phone does not let us in, or nobody has tapped in time.
    #[error("the phone does not let this computer in: {0:?}")]
    Obstacle(Obstacle),
    /// We were asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// The wire.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Opens a session with the pair record that the muxer keeps. Raises no question on the phone and changes nothing.
///
/// # Errors
/// When the phone or the muxer could not be asked.
pub async fn attempt(phone: &Phone) -> Result<Attempt, Error> {
    match phone.muxer.pair_record(&phone.attached.udid).await? {
        None => untrusted(phone).await.or_else(Obstacle::of_error).map(Attempt::Not),
        Some(record) => attempt_with(phone, &record).await,
    }
}

/// What to say of a phone for which there is no record: is it a phone at all?
async fn untrusted(phone: &Phone) -> Result<Obstacle, Error> {
    let kind = Connection::open(phone).await?.query_type().await?;
    Ok(if kind == message::RESTORE_TYPE { Obstacle::Restoring } else { Obstacle::NotTrusted })
}

/// Opens a session with this pair record, whatever the muxer keeps. Raises no question on the phone and changes nothing.
///
/// # Errors
/// When the phone could not be asked, or it is another one.
pub async fn attempt_with(phone: &Phone, record: &[u8]) -> Result<Attempt, Error> {
    let opened = async {
        let session = Session::open(phone, &PairRecord::from_plist(record)?).await?;
        same_device(phone, &session.value(None, Some("UniqueDeviceID")).await?)?;
        Ok(Attempt::Trusted(session))
    };
    match opened.await.or_else(|error| Obstacle::of_error(error).map(Attempt::Not))? {
        Attempt::Not(Obstacle::Stale) if shows_another_key(phone, record).await? => {
            Ok(Attempt::Not(Obstacle::KeyChanged))
        }
        attempt => Ok(attempt),
    }
}

/// Whether the phone's public key, which it tells everybody, is another than the record's. One that it does not tell,
/// or that cannot be read, says nothing: what is paired anew has to show that it holds its key in any case.
async fn shows_another_key(phone: &Phone, record: &[u8]) -> Result<bool, Error> {
    let mut connection = Connection::open(phone).await?;
    let shown = match connection.value(None, Some("DevicePublicKey")).await {
        Ok(shown) => shown.into_data().and_then(|pem| DeviceKey::from_pem(&pem).ok()),
        Err(Error::Refused { .. }) => None,
        Err(error) => return Err(error),
    };
    let record = PairRecord::from_plist(record)?;
    let paired = super::certs::certificate("DeviceCertificate", record.device_certificate())?;
    Ok(shown.is_some_and(|shown| DeviceKey::of_certificate(&paired).is_ok_and(|paired| paired != shown)))
}

/// Whether a new record is for another device's key than the earlier one, as far as that one can be read.
fn has_another_key(earlier: &[u8], new: &PairRecord) -> bool {
    let key_of = |record: &PairRecord| {
        let certificate = super::certs::certificate("DeviceCertificate", record.device_certificate()).ok()?;
        DeviceKey::of_certificate(&certificate).ok()
    };
    let earlier = PairRecord::from_plist(earlier).ok().and_then(|earlier| key_of(&earlier));
    earlier.is_some_and(|earlier| key_of(new).is_none_or(|new| new != earlier))
}

/// What the muxer says must be who answers: the id decides whose folder is written.
fn same_device(phone: &Phone, udid: &Value) -> Result<(), Error> {
    let answered = udid.as_string().and_then(Udid::parse);
    if answered.as_ref() == Some(&phone.attached.udid) { Ok(()) } else { Err(Error::OtherDevice) }
}

/// Opens a session, becoming trusted first if need be, and waits for up to `wait` while a person must tap or unlock.
///
/// The observer hears once whom to ask for what; a phone that is unlocked or a question that is answered is noticed
/// within about half a second.
///
/// # Errors
/// [`NotReached`]: what stands in the way at the end of the wait, or at once if waiting cannot help.
pub async fn establish(
    phone: &Phone,
    wait: Duration,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Session, NotReached> {
    establish_with(phone, &mut Candidate::default(), wait, observer, cancel).await
}

/// What a phone is asked to trust, once it was asked: whoever asks it again later asks for the same.
#[derive(Debug, Default)]
pub struct Candidate(Option<PairRecord>);

/// As [`establish`], with what the phone was asked for in an earlier round.
///
/// # Errors
/// As [`establish`].
pub async fn establish_with(
    phone: &Phone,
    candidate: &mut Candidate,
    wait: Duration,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Session, NotReached> {
    let mut wish = Wish { phone, stale: None, candidate: &mut candidate.0, connection: None };
    let mut bell = Bell { observer, began: Instant::now(), wait, rung: None };
    loop {
        let step = tokio::select! {
            () = cancel.cancelled() => return Err(NotReached::Cancelled),
            step = wish.step(observer) => step?,
        };
        let obstacle = match step {
            Attempt::Trusted(session) => {
                bell.silence();
                return Ok(session);
            }
            Attempt::Not(obstacle) => obstacle,
        };
        let left = wait.saturating_sub(bell.began.elapsed());
        if !obstacle.may_pass() || left.is_zero() {
            return Err(NotReached::Obstacle(obstacle));
        }
        bell.ring(&obstacle);
        tokio::select! {
            () = cancel.cancelled() => return Err(NotReached::Cancelled),
            () = tokio::time::sleep(POLL.min(left)) => {}
        }
    }
}

/// Calls the person, once for each thing to do.
struct Bell<'a> {
    observer: &'a dyn Observer,
    began: Instant,
    wait: Duration,
    rung: Option<Touch>,
}

impl Bell<'_> {
    fn ring(&mut self, obstacle: &Obstacle) {
        let waited = self.began.elapsed();
        let touch = obstacle.touch();
        if touch == self.rung || (touch == Some(Touch::Unlock) && waited < LOCKED_FOR_A_MOMENT) {
            return;
        }
        self.silence();
        if let Some(touch) = touch {
            let within = self.wait.saturating_sub(waited);
            self.observer.event(Event::PersonNeeded { touch, within });
            self.rung = Some(touch);
        }
    }

    fn silence(&mut self) {
        if let Some(touch) = self.rung.take() {
            self.observer.event(Event::PersonDone { touch });
        }
    }
}

/// The wish to be trusted, while it lasts.
struct Wish<'a> {
    phone: &'a Phone,
    /// The muxer's record, when the phone does not know it or it cannot be read.
    stale: Option<Vec<u8>>,
    /// What we ask the phone to trust; the same each time.
    candidate: &'a mut Option<PairRecord>,
    /// The connection over which we ask.
    connection: Option<Connection>,
}

impl Wish<'_> {
    /// One try with what the muxer keeps (another program may have paired meanwhile), else one question to the phone.
    async fn step(&mut self, observer: &dyn Observer) -> Result<Attempt, Error> {
        let kept = self.phone.muxer.pair_record(&self.phone.attached.udid).await?;
        let mut attempt = match kept {
            Some(record) if self.stale.as_ref() != Some(&record) => {
                let attempt = attempt_with(self.phone, &record).await?;
                if let Attempt::Not(Obstacle::Stale | Obstacle::UnusableRecord(_)) = attempt {
                    observer.event(Event::Note(
                        "The phone does not know this computer any more; it is asked again.".to_owned(),
                    ));
                    self.stale = Some(record);
                }
                attempt
            }
            Some(_) => Attempt::Not(Obstacle::Stale),
            None => Attempt::Not(Obstacle::NotTrusted),
        };
        if let Attempt::Not(Obstacle::NotTrusted | Obstacle::Stale | Obstacle::UnusableRecord(_)) = attempt {
            attempt = self.ask_unless_broken(observer).await?;
        }
        Ok(attempt)
    }

    /// A connection that breaks while a person thinks is opened again; one that keeps breaking is an error.
    async fn ask_unless_broken(&mut self, observer: &dyn Observer) -> Result<Attempt, Error> {
        for _ in 0..BREAKS_MAX {
            match self.ask(observer).await {
                Err(error) if error.is_lost_connection() => self.connection = None,
                asked => return asked.or_else(|error| Obstacle::of_error(error).map(Attempt::Not)),
            }
            tokio::time::sleep(POLL).await;
        }
        self.ask(observer).await.or_else(|error| Obstacle::of_error(error).map(Attempt::Not))
    }

    async fn ask(&mut self, observer: &dyn Observer) -> Result<Attempt, Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let mut connection = Connection::open(self.phone).await?;
                if connection.query_type().await? == message::RESTORE_TYPE {
                    return Ok(Attempt::Not(Obstacle::Restoring));
                }
                self.connection.insert(connection)
            }
        };
        if self.candidate.is_none() {
            *self.candidate = Some(candidate(self.phone, connection).await?);
        }
        let candidate = self.candidate.as_mut().expect("made above");
        // It may not have told its key when it was first asked. The earlier pairing is not given up for another key.
        if self.stale.as_ref().is_some_and(|stale| has_another_key(stale, candidate)) {
            return Ok(Attempt::Not(Obstacle::KeyChanged));
        }
        if let Some(bag) = connection.pair(candidate).await? {
            candidate.insert("EscrowBag", Value::Data(bag));
        }
        self.connection = None;
        let session = Session::open(self.phone, candidate).await;
        // Anybody can say that it agrees: what takes the place of an earlier pairing has first shown that it holds the
        // key that it named.
        if session.is_ok() || (self.stale.is_none() && !matches!(session, Err(Error::KeyMismatch))) {
            keep(self.phone, candidate, observer).await;
        }
        session.map(Attempt::Trusted)
    }
}

/// What the phone is asked to trust: new keys and certificates, its own public key among them.
async fn candidate(phone: &Phone, connection: &mut Connection) -> Result<PairRecord, Error> {
    same_device(phone, &connection.value(None, Some("UniqueDeviceID")).await?)?;
    let key = connection.value(None, Some("DevicePublicKey")).await?;
    // Also where the phone joins the Wi-Fi: other hosts want it in their records, and ask for it before Pair.
    let wifi = connection.value(None, Some("WiFiAddress")).await.ok();
    let odd = |what: String| Error::Protocol { request: "GetValue DevicePublicKey".to_owned(), what };
    let key = key.as_data().ok_or_else(|| odd("no data".to_owned())).and_then(|pem| {
        DeviceKey::from_pem(pem).map_err(|why| odd(format!("a key that cannot be used: {why}")))
    })?;
    let system_buid = phone.muxer.buid().await?;
    let host_id = uuid::Uuid::new_v4().to_string().to_uppercase();
    let made =
        tokio::task::spawn_blocking(move || new_record(&HostKeys::generate(), &key, &host_id, &system_buid));
    let mut record = made.await.expect("making keys does not panic").map_err(odd)?;
    if let Some(address) = wifi.as_ref().and_then(Value::as_string) {
        record.insert("WiFiMACAddress", address.into());
    }
    Ok(record)
}

/// Gives the new record to the muxer. If it cannot keep it, the visit goes on and the phone will ask again next time.
async fn keep(phone: &Phone, record: &PairRecord, observer: &dyn Observer) {
    let bytes = record.to_plist();
    let saved = phone.muxer.save_pair_record(&phone.attached.udid, Some(phone.attached.id), &bytes).await;
    if let Err(error) = saved {
        observer.event(Event::Note(format!(
            "The pairing could not be saved ({error}); the phone will ask again next time."
        )));
    }
}

#[cfg(test)]
mod tests;
