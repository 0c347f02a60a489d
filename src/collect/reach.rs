//! Phones that could not be reached: how far we came, as facts. The device's no becomes a fact here.

use std::time::Duration;

use tokio::time::timeout;

use super::domains;
use crate::facts::{Device, Facts, Reach};
use crate::frame::DictExt;
use crate::lockdown::connection::Connection;
use crate::lockdown::pairing::Obstacle;
use crate::lockdown::{Phone, Refusal};

/// How long a phone that does not trust us is asked for its name.
const STRANGER_WAIT: Duration = Duration::from_secs(3);

/// What stands between us and the phone, as a fact.
#[must_use]
pub fn reach_of(obstacle: &Obstacle) -> Reach {
    match obstacle {
        Obstacle::NotTrusted => Reach::NotTrusted,
        Obstacle::Pending => Reach::TrustPending,
        Obstacle::Denied => Reach::TrustDenied,
        Obstacle::Locked => Reach::Locked,
        Obstacle::NotUnlockedSinceBoot => Reach::NotUnlockedSinceBoot,
        Obstacle::Stale | Obstacle::UnusableRecord(_) => Reach::StalePairing,
        Obstacle::Supervised | Obstacle::Prohibited(_) => Reach::PairingForbidden,
        Obstacle::KeyMismatch => Reach::KeyMismatch,
        Obstacle::KeyChanged => Reach::KeyChanged,
        Obstacle::Restoring => Reach::RecoveryMode,
    }
}

/// What a refusal to start a service says of the lock, if anything.
pub(super) fn reach_of_refusal(refusal: &Refusal) -> Option<Reach> {
    match refusal {
        Refusal::PasswordProtected | Refusal::DeviceLocked => Some(Reach::Locked),
        // Which of the two a phone answers that was not unlocked since it started differs between versions.
        Refusal::EscrowLocked | Refusal::MissingValue => Some(Reach::NotUnlockedSinceBoot),
        _ => None,
    }
}

/// What a phone tells a stranger: its name, model and version. Raises no question on it and changes nothing.
pub async fn stranger(phone: &Phone) -> Device {
    let udid = phone.attached.udid.as_str();
    let ask = async {
        let mut connection = Connection::open(phone).await.ok()?;
        let mut values = plist::Dictionary::new();
        for key in ["DeviceName", "ProductType", "ProductVersion", "BuildVersion", "DeviceClass"] {
            if let Ok(value) = connection.value(None, Some(key)).await {
                values.insert(key.to_owned(), value);
            }
        }
        Some(values)
    };
    let values = timeout(STRANGER_WAIT, ask).await.ok().flatten().unwrap_or_default();
    debug_assert!(values.string("UniqueDeviceID").is_none(), "the id is the muxer's to say");
    domains::device(udid, &values)
}

/// The facts of a phone that could not be asked: who it is as far as that is known, how far we came, and for all the
/// rest the reason why it is unknown.
#[must_use]
pub fn unreached(device: Option<Device>, reach: Reach) -> Facts {
    let mut facts = Facts { device, reach, observed_at: jiff::Timestamp::now(), ..Facts::default() };
    let reason = why(reach);
    for group in [
        "battery",
        "storage",
        "icloud_photos",
        "icloud_backup",
        "local_backup",
        "photo_copy",
        "library",
        "settings",
    ] {
        facts.gap(group, reason);
    }
    facts
}

fn why(reach: Reach) -> &'static str {
    match reach {
        Reach::Trusted => "the phone was not asked",
        Reach::NotTrusted => "the phone does not trust this computer yet",
        Reach::TrustPending => "the phone is waiting for somebody to tap Trust",
        Reach::TrustDenied => "\"Don't Trust\" was tapped on the phone",
        Reach::StalePairing => "the phone does not accept this computer's earlier pairing any more",
        Reach::KeyChanged => {
            "the phone does not know this computer and shows another key than the one that was paired"
        }
        Reach::KeyMismatch => "what answers does not hold the key of the phone that was paired",
        Reach::Locked => "the phone is locked",
        Reach::NotUnlockedSinceBoot => "the phone has not been unlocked since it was started",
        Reach::PairingForbidden => "the phone's management forbids pairing with this computer",
        Reach::RecoveryMode => "the phone is in recovery mode",
        Reach::DfuMode => "the phone is in DFU mode",
        Reach::UsbRestricted => "the phone has shut its data connection (USB restricted mode)",
        Reach::HeldByOtherProgram => "another program on this computer holds the phone",
        Reach::NoPermission => "this user may not open the phone's USB device",
        Reach::NoUsbmux => "no usbmuxd answers on this computer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_of_a_phone_that_could_not_be_asked() {
        let facts = unreached(None, Reach::TrustDenied);
        for fact in ["battery.level_percent", "library.assets", "icloud_photos.enabled", "settings.find_my"] {
            assert!(facts.gap_of(fact).unwrap().reason.contains("Don't Trust"), "{fact}");
        }
    }

    #[test]
    fn a_refusal_that_says_nothing_of_the_lock_is_none() {
        assert_eq!(reach_of_refusal(&Refusal::InvalidService), None);
        assert_eq!(reach_of_refusal(&Refusal::PasswordProtected), Some(Reach::Locked));
    }
}
