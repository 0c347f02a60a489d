//! Whom the phone trusts: its own key, the hosts that it was paired with, and the dialog that asks the person.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;
use plist::{Dictionary, Value};

use super::config::{Lock, Trust};
use super::device::Device;
use crate::frame::{self, DictExt, Limits};
use crate::lockdown::Refusal;
use crate::lockdown::certs::{self, DeviceKey};

/// Files of `state/`.
const KEY_FILE: &str = "device-key.pem";
const PAIRINGS_FILE: &str = "pairings.plist";
/// Hosts that a phone remembers; the oldest is forgotten for a new one.
const PAIRINGS_MAX: usize = 32;
/// Bytes of an escrow bag.
const ESCROW_BAG_BYTES: usize = 32;
/// Posted when the person has answered the dialog.
const REQUEST_PAIR: &str = "com.apple.mobile.lockdown.request_pair";

/// The phone's own key pair.
pub(super) struct Identity {
    /// PKCS#8, PEM.
    pub(super) private_key: String,
    /// The public half.
    pub(super) public_key: DeviceKey,
}

/// A host that the phone trusts.
#[derive(Clone)]
pub(super) struct Pairing(Dictionary);

impl Pairing {
    pub(super) fn host_id(&self) -> &str {
        self.0.string("HostID").unwrap_or_default()
    }

    pub(super) fn certificate(&self, key: &str) -> &[u8] {
        self.0.data(key).unwrap_or_default()
    }

    pub(super) fn escrow_bag(&self) -> &[u8] {
        self.0.data("EscrowBag").unwrap_or_default()
    }
}

/// The dialog "Trust This Computer?".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Dialog {
    #[default]
    Closed,
    /// Asks about this host.
    Shown(String),
    /// The person trusts this host.
    Trusted(String),
}

/// What the phone knows of trust.
#[derive(Default)]
pub(super) struct Trusts {
    identity: Mutex<Option<Arc<Identity>>>,
    pairings: Mutex<Option<Vec<Pairing>>>,
    dialog: Mutex<Dialog>,
    /// `trust.state = "stale"` has been acted on.
    forgotten: Mutex<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What Pair comes to.
pub(super) enum Answer {
    /// The host is trusted; what to add to the reply. A locked phone that trusts a supervisor keeps the bag for now.
    Paired { escrow_bag: Option<Vec<u8>> },
    /// A supervised phone wants this to be signed.
    Challenge(Vec<u8>),
    /// No.
    Refused(Refusal),
}

impl Device {
    /// The phone's own key; made at the first call, which takes some hundred milliseconds of computing.
    pub(super) async fn identity(self: &Arc<Self>) -> io::Result<Arc<Identity>> {
        if let Some(identity) = &*lock(&self.trusts.identity) {
            return Ok(Arc::clone(identity));
        }
        let device = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || device.make_identity());
        made.await.map_err(io::Error::other)?
    }

    fn make_identity(&self) -> io::Result<Arc<Identity>> {
        // Two connections may come here at once; both must end with the same key.
        let _one_at_a_time = lock(&self.trusts.pairings);
        if let Some(identity) = &*lock(&self.trusts.identity) {
            return Ok(Arc::clone(identity));
        }
        let kept = self.read_state(KEY_FILE)?.and_then(|pem| String::from_utf8(pem).ok());
        let kept = kept.and_then(|pem| certs::key_from_pem(&pem).map(|pair| (pem, pair)));
        let (private_key, pair) = match kept {
            Some(kept) => kept,
            None => {
                let pair = certs::rsa_key();
                let pem = pair.serialize_pem();
                self.write_state(KEY_FILE, pem.as_bytes())?;
                (pem, pair)
            }
        };
        let public_key = DeviceKey::of_pair(&pair);
        let identity = Arc::new(Identity { private_key, public_key });
        *lock(&self.trusts.identity) = Some(Arc::clone(&identity));
        Ok(identity)
    }

    /// The host of that id, if the phone trusts it.
    pub(super) fn pairing(&self, host_id: &str) -> Option<Pairing> {
        self.with_pairings(|pairings| pairings.iter().find(|one| one.host_id() == host_id).cloned())
    }

    /// Whether any host holds this escrow bag.
    pub(super) fn knows_escrow_bag(&self, bag: &[u8]) -> bool {
        !bag.is_empty() && self.with_pairings(|all| all.iter().any(|one| one.escrow_bag() == bag))
    }

    /// Trusts a host no more. False: it was not trusted.
    pub(super) fn unpair(&self, host_id: &str) -> io::Result<bool> {
        let removed = self.with_pairings(|pairings| {
            let before = pairings.len();
            pairings.retain(|one| one.host_id() != host_id);
            before != pairings.len()
        });
        self.keep_pairings()?;
        Ok(removed)
    }

    /// The phone was erased: what it remembered is read anew from `state/`, where nothing is left. It makes itself a
    /// new key.
    pub(super) fn forget_pairings(&self) {
        *lock(&self.trusts.identity) = None;
        *lock(&self.trusts.pairings) = None;
    }

    /// Trusts nobody any more.
    pub(super) fn unpair_all(&self) -> io::Result<()> {
        self.with_pairings(Vec::clear);
        self.keep_pairings()
    }

    /// The dialog goes away when the cable is pulled.
    pub(super) fn close_dialog(&self) {
        *lock(&self.trusts.dialog) = Dialog::Closed;
    }

    /// Answers a host that wants to be trusted.
    pub(super) async fn pair(
        self: &Arc<Self>,
        record: &Dictionary,
        options: &Dictionary,
    ) -> io::Result<Answer> {
        if record.is_empty() {
            return Ok(Answer::Refused(Refusal::MissingPairRecord));
        }
        let Some(host_id) = record.string("HostID") else {
            return Ok(Answer::Refused(Refusal::MissingHostId));
        };
        if !self.holds_our_key(record).await? {
            return Ok(Answer::Refused(Refusal::InvalidPairRecord));
        }
        if let Some(answer) = self.asks_supervisor(options) {
            return Ok(answer);
        }
        if let Some(response) = options.data("ChallengeResponse") {
            return self.trusts_supervisor(host_id, record, response);
        }
        if let Some(refusal) = self.refuses_to_pair() {
            return Ok(Answer::Refused(refusal));
        }
        // A host keeps its BUID from one attempt to the next; several make a new host id for each.
        let host = record.string("SystemBUID").unwrap_or(host_id);
        let same = self.pairing(host_id).is_some_and(|known| {
            known.certificate("HostCertificate") == record.data("HostCertificate").unwrap_or_default()
        });
        if !same && !self.in_setup() && !self.person_trusts(host) {
            return Ok(Answer::Refused(Refusal::PairingDialogResponsePending));
        }
        let escrow_bag = self.trust(host_id, record)?;
        Ok(Answer::Paired { escrow_bag: Some(escrow_bag) })
    }

    /// What a host gets that names a supervisor's certificate, and any host on a phone that lets no other in.
    fn asks_supervisor(&self, options: &Dictionary) -> Option<Answer> {
        if let Some(certificate) = options.data("SupervisorCertificate") {
            return Some(match self.challenges(certificate) {
                Some(challenge) => Answer::Challenge(challenge),
                None => Answer::Refused(Refusal::McProtected),
            });
        }
        let supervised = self.config().trust.state == Trust::Supervised;
        (supervised && options.data("ChallengeResponse").is_none()).then(|| Answer::Challenge(random(32)))
    }

    /// A supervisor that signed its challenge is trusted without a dialog, also by a locked phone.
    fn trusts_supervisor(&self, host_id: &str, record: &Dictionary, response: &[u8]) -> io::Result<Answer> {
        if !self.is_answered(response) {
            return Ok(Answer::Refused(Refusal::McProtected));
        }
        let escrow_bag = self.trust(host_id, record)?;
        let unlocked = *self.lock().borrow() == Lock::Unlocked;
        Ok(Answer::Paired { escrow_bag: unlocked.then_some(escrow_bag) })
    }

    /// A phone that is being set up trusts without asking (usbmuxd preflight.c).
    pub(super) fn in_setup(&self) -> bool {
        self.value("com.apple.PurpleBuddy", "SetupDone") == Some(Value::Boolean(false))
    }

    fn refuses_to_pair(self: &Arc<Self>) -> Option<Refusal> {
        let trust = self.config().trust.state;
        if trust == Trust::Denied {
            return Some(Refusal::UserDeniedPairing);
        }
        if *self.lock().borrow() != Lock::Unlocked {
            self.wants_unlock();
            return Some(Refusal::PasswordProtected);
        }
        (trust == Trust::Pending).then_some(Refusal::PairingDialogResponsePending)
    }

    /// Whether the device certificate that the host made is over our key.
    async fn holds_our_key(self: &Arc<Self>, record: &Dictionary) -> io::Result<bool> {
        let identity = self.identity().await?;
        let certificate = record.data("DeviceCertificate").unwrap_or_default();
        let certificate = certs::certificate("DeviceCertificate", certificate);
        let key = certificate.ok().and_then(|certificate| DeviceKey::of_certificate(&certificate).ok());
        Ok(key.as_ref() == Some(&identity.public_key) && record.data("HostCertificate").is_some())
    }

    /// Whether the person has tapped Trust for this host; asks if nobody did yet.
    fn person_trusts(self: &Arc<Self>, host: &str) -> bool {
        let mut dialog = lock(&self.trusts.dialog);
        match &*dialog {
            Dialog::Trusted(trusted) if trusted == host => {
                *dialog = Dialog::Closed;
                return true;
            }
            Dialog::Shown(_) => return false,
            _ => {}
        }
        *dialog = Dialog::Shown(host.to_owned());
        let (device, host) = (Arc::downgrade(self), host.to_owned());
        tokio::spawn(async move {
            let Some(device) = device.upgrade() else { return };
            device.asks_trust().await;
            let mut dialog = lock(&device.trusts.dialog);
            if *dialog == Dialog::Shown(host.clone()) {
                *dialog = Dialog::Trusted(host);
                device.post_notification(REQUEST_PAIR);
            }
        });
        false
    }

    fn trust(&self, host_id: &str, record: &Dictionary) -> io::Result<Vec<u8>> {
        let escrow_bag = self
            .pairing(host_id)
            .map_or_else(|| random(ESCROW_BAG_BYTES), |known| known.escrow_bag().to_vec());
        let mut kept = Dictionary::new();
        for key in ["HostID", "SystemBUID", "HostCertificate", "RootCertificate", "DeviceCertificate"] {
            kept.extend(record.get(key).map(|value| (key.to_owned(), value.clone())));
        }
        kept.insert("EscrowBag".to_owned(), Value::Data(escrow_bag.clone()));
        self.with_pairings(|pairings| {
            pairings.retain(|one| one.host_id() != host_id);
            if pairings.len() >= PAIRINGS_MAX {
                pairings.remove(0);
            }
            pairings.push(Pairing(kept));
        });
        self.keep_pairings()?;
        self.post_notification("com.apple.mobile.lockdown.host_paired");
        Ok(escrow_bag)
    }

    /// Works on the pairings, read from `state/` at first.
    fn with_pairings<T>(&self, work: impl FnOnce(&mut Vec<Pairing>) -> T) -> T {
        let stale = self.config().trust.state == Trust::Stale;
        let mut pairings = lock(&self.trusts.pairings);
        let pairings = pairings.get_or_insert_with(|| self.kept_pairings());
        let mut forgotten = lock(&self.trusts.forgotten);
        if stale && !*forgotten {
            pairings.clear();
        }
        *forgotten = stale;
        work(pairings)
    }

    fn kept_pairings(&self) -> Vec<Pairing> {
        let kept = self.read_state(PAIRINGS_FILE).ok().flatten();
        let kept = kept.and_then(|bytes| frame::parse(&bytes, &Limits::LOCKDOWN).ok());
        let kept = kept.and_then(Value::into_array).unwrap_or_default();
        kept.into_iter().filter_map(Value::into_dictionary).take(PAIRINGS_MAX).map(Pairing).collect()
    }

    fn keep_pairings(&self) -> io::Result<()> {
        let all = self.with_pairings(|all| all.iter().map(|one| Value::Dictionary(one.0.clone())).collect());
        self.write_state(PAIRINGS_FILE, &frame::to_xml(&Value::Array(all)))
    }
}

fn random(bytes: usize) -> Vec<u8> {
    let mut random = vec![0; bytes];
    rand::fill(&mut random).expect("the system's random numbers are there, or nothing is safe");
    random
}
