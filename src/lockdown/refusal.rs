//! The names with which lockdownd says no.

/// A refusal by name; the device's text for each is the variant's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request made no sense to the device.
    InvalidResponse,
    /// A key is missing in the request.
    MissingKey,
    /// There is no such value; from StartService on some versions: not unlocked since it started.
    MissingValue,
    /// The value needs a session, or is never given.
    GetProhibited,
    /// The value needs a session, or may never be set.
    SetProhibited,
    /// The value may not be removed.
    RemoveProhibited,
    /// The value never changes.
    ImmutableValue,
    /// The device is locked, and this needs the passcode.
    PasswordProtected,
    /// "Don't Trust" was tapped.
    UserDeniedPairing,
    /// The question is on the screen.
    PairingDialogResponsePending,
    /// The request names no host.
    MissingHostId,
    /// The device does not know this host (any more).
    InvalidHostId,
    /// There is a session already.
    SessionActive,
    /// There is no session.
    SessionInactive,
    /// The request names no session.
    MissingSessionId,
    /// There is no such session.
    InvalidSessionId,
    /// The request names no service.
    MissingService,
    /// There is no such service on this device now.
    InvalidService,
    /// The service runs as often as it may.
    ServiceLimit,
    /// The request holds no pair record.
    MissingPairRecord,
    /// The device could not store the pairing.
    SavePairRecordFailed,
    /// The pair record makes no sense to the device.
    InvalidPairRecord,
    /// The activation record is wrong.
    InvalidActivationRecord,
    /// The activation record is missing.
    MissingActivationRecord,
    /// The service may not be started, by rule of a profile for example.
    ServiceProhibited,
    /// The escrow bag does not open: not unlocked since the device started.
    EscrowLocked,
    /// Not over this connection.
    PairingProhibitedOverThisConnection,
    /// Find My forbids it.
    FmipProtected,
    /// A configuration profile forbids it.
    McProtected,
    /// A supervised device wants its supervisor's signature.
    McChallengeRequired,
    /// The device is locked.
    DeviceLocked,
    /// The connection is of no use (any more).
    InvalidConnection,
    /// The request has a wrong form.
    MalformedCommand,
    /// The device failed.
    InternalError,
    /// A name not known here. It comes from the device: escape it when showing.
    Other(String),
}

/// Stands for the name of a refusal that comes with an empty one: a sentence that ends there would say nothing.
const UNNAMED: &str = "Unnamed";

const NAMES: &[(Refusal, &str)] = &[
    (Refusal::InvalidResponse, "InvalidResponse"),
    (Refusal::MissingKey, "MissingKey"),
    (Refusal::MissingValue, "MissingValue"),
    (Refusal::GetProhibited, "GetProhibited"),
    (Refusal::SetProhibited, "SetProhibited"),
    (Refusal::RemoveProhibited, "RemoveProhibited"),
    (Refusal::ImmutableValue, "ImmutableValue"),
    (Refusal::PasswordProtected, "PasswordProtected"),
    (Refusal::UserDeniedPairing, "UserDeniedPairing"),
    (Refusal::PairingDialogResponsePending, "PairingDialogResponsePending"),
    (Refusal::MissingHostId, "MissingHostID"),
    (Refusal::InvalidHostId, "InvalidHostID"),
    (Refusal::SessionActive, "SessionActive"),
    (Refusal::SessionInactive, "SessionInactive"),
    (Refusal::MissingSessionId, "MissingSessionID"),
    (Refusal::InvalidSessionId, "InvalidSessionID"),
    (Refusal::MissingService, "MissingService"),
    (Refusal::InvalidService, "InvalidService"),
    (Refusal::ServiceLimit, "ServiceLimit"),
    (Refusal::MissingPairRecord, "MissingPairRecord"),
    (Refusal::SavePairRecordFailed, "SavePairRecordFailed"),
    (Refusal::InvalidPairRecord, "InvalidPairRecord"),
    (Refusal::InvalidActivationRecord, "InvalidActivationRecord"),
    (Refusal::MissingActivationRecord, "MissingActivationRecord"),
    (Refusal::ServiceProhibited, "ServiceProhibited"),
    (Refusal::EscrowLocked, "EscrowLocked"),
    (Refusal::PairingProhibitedOverThisConnection, "PairingProhibitedOverThisConnection"),
    (Refusal::FmipProtected, "FMiPProtected"),
    (Refusal::McProtected, "MCProtected"),
    (Refusal::McChallengeRequired, "MCChallengeRequired"),
    (Refusal::DeviceLocked, "DeviceLocked"),
    (Refusal::InvalidConnection, "InvalidConnection"),
    (Refusal::MalformedCommand, "MalformedCommand"),
    (Refusal::InternalError, "InternalError"),
];

/// Bytes of an unknown name that are kept.
const OTHER_BYTES_MAX: usize = 200;

impl Refusal {
    /// The refusal that the device names so.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        NAMES.iter().find(|(_, known)| *known == name).map_or_else(
            || {
                Self::Other(
                    if name.is_empty() { UNNAMED } else { name }.chars().take(OTHER_BYTES_MAX / 4).collect(),
                )
            },
            |(refusal, _)| refusal.clone(),
        )
    }

    /// The device's name for it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => NAMES
                .iter()
                .find(|(refusal, _)| refusal == known)
                .map(|(_, name)| *name)
                .expect("every variant but Other is in the table, as a test checks"),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The name may come from the device: control characters stay out of terminals and logs.
        write!(f, "{}", self.name().escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_went() {
        for (refusal, name) in NAMES {
            assert_eq!(Refusal::from_name(name), *refusal);
            assert_eq!(refusal.name(), *name);
        }
        assert_eq!(NAMES.len(), 34, "a new variant needs its line in the table");
    }

    #[test]
    fn an_unknown_name_is_kept_short_and_shown_escaped() {
        let refusal = Refusal::from_name(&format!("Odd\x1b[31m{}", "x".repeat(500)));
        assert!(refusal.name().len() <= OTHER_BYTES_MAX);
        assert_eq!(Refusal::from_name("").name(), UNNAMED);
        assert!(!refusal.to_string().contains('\x1b'));
    }
}
