//! A supervised phone knows its supervisors by their certificates, and lets one in that signs a challenge: in lockdown's
//! Pair (go-ios pair.go, pymobiledevice3 lockdown.py) and in MCInstall's Escalate (pymobiledevice3 mobile_config.py).
//!
//! The certificates are those of the cloud configuration, `SupervisorHostCertificates`, as a host sets them.

mod cms;

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::rand;
use plist::{Dictionary, Value};

use super::device::Device;
use super::mcinstall;
use crate::frame::DictExt;
use cms::Signed;

#[cfg(test)]
pub(super) use cms::testing;

/// Bytes of a challenge.
const CHALLENGE_BYTES: usize = 32;
/// Challenges that wait for their answer; the oldest is forgotten for a new one.
const WAITING_MAX: usize = 16;

/// A challenge, and the certificate of who asked for it.
#[derive(Debug)]
struct Challenge {
    bytes: Vec<u8>,
    certificate: Vec<u8>,
}

/// The challenges that a phone gave out.
#[derive(Debug, Default)]
pub(super) struct Challenges(Mutex<Vec<Challenge>>);

impl Challenges {
    fn give(&self, certificate: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; CHALLENGE_BYTES];
        rand::fill(&mut bytes).expect("the system's random numbers are there, or nothing is safe");
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX {
            waiting.remove(0);
        }
        waiting.push(Challenge { bytes: bytes.clone(), certificate: certificate.to_vec() });
        bytes
    }

    /// Takes back the challenge that the message holds, if its supervisor signed it. Each is good for one answer.
    fn take(&self, message: &[u8]) -> bool {
        let Some(signed) = Signed::parse(message) else { return false };
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = waiting.iter().position(|one| one.bytes == signed.content) else { return false };
        let challenge = waiting.remove(at);
        signed.is_by(&challenge.certificate)
    }
}

impl Device {
    /// A challenge for the holder of this certificate (DER); `None`: it is no supervisor's.
    pub(super) fn challenges(&self, certificate: &[u8]) -> Option<Vec<u8>> {
        self.is_supervisor(certificate).then(|| self.challenges.give(certificate))
    }

    /// Whether a supervisor has signed a challenge that this phone gave out and that was not answered yet.
    pub(super) fn is_answered(&self, message: &[u8]) -> bool {
        self.challenges.take(message)
    }

    fn is_supervisor(&self, certificate: &[u8]) -> bool {
        let told = mcinstall::told(self);
        let cloud = told.dict("GetCloudConfiguration").and_then(|told| told.dict("CloudConfiguration"));
        supervisors(cloud).any(|known| known == certificate)
    }
}

fn supervisors(cloud: Option<&Dictionary>) -> impl Iterator<Item = &[u8]> {
    let listed = cloud.and_then(|cloud| cloud.array("SupervisorHostCertificates")).unwrap_or_default();
    listed.iter().filter_map(Value::as_data)
}

#[cfg(test)]
mod tests {
    use super::testing::Supervisor;
    use super::*;

    #[test]
    fn a_challenge_is_answered_once_and_by_who_asked_for_it() {
        let challenges = Challenges::default();
        let (one, other) = (Supervisor::new(), Supervisor::new());
        let answer = one.signed(&challenges.give(&one.certificate), true);
        assert!(challenges.take(&answer) && !challenges.take(&answer));
        let stolen = challenges.give(&one.certificate);
        assert!(!challenges.take(&other.signed(&stolen, true)));
        assert!(!challenges.take(&one.signed(b"another challenge", true)));
        for _ in 0..WAITING_MAX * 2 {
            challenges.give(&one.certificate);
        }
        assert_eq!(challenges.0.lock().unwrap().len(), WAITING_MAX);
    }
}
