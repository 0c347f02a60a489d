//! Why a visit, or a part of it, ended otherwise than complete: each trouble with a sentence of cause and the next step.

/// The kinds of trouble that have an exit status of their own. The order is that of their weight: when several apply,
/// the first one decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// The user stopped it.
    Interrupted,
    /// A wrong command line, a damaged simulated phone, a wrong key.
    Usage,
    /// Several devices and none was named.
    SeveralDevices,
    /// No device, no way to reach one, or it left and did not come back.
    NoDevice,
    /// Failed for a reason that has no number of its own.
    Failed,
    /// A person must act: trust, unlock, passcode, or say yes.
    PersonNeeded,
    /// Not enough space, or a file system that cannot hold a backup.
    NoSpace,
    /// The backup password is wrong or missing.
    WrongPassword,
    /// What lies on the disk is not what was received.
    VerificationFailed,
    /// Finished, but something was skipped.
    Skipped,
    /// The gate is closed.
    GateClosed,
}

impl Trouble {
    /// The exit status.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            Trouble::Interrupted => 130,
            Trouble::Usage => 2,
            Trouble::SeveralDevices => 9,
            Trouble::NoDevice => 3,
            Trouble::Failed => 1,
            Trouble::PersonNeeded => 4,
            Trouble::NoSpace => 5,
            Trouble::WrongPassword => 8,
            Trouble::VerificationFailed => 7,
            Trouble::Skipped => 6,
            Trouble::GateClosed => 10,
        }
    }

    /// There is no phone to be read any more, or nobody wants it read.
    #[must_use]
    pub fn leaves_no_phone(self) -> bool {
        self < Trouble::Failed
    }

    /// Nothing further can be asked of the phone.
    #[must_use]
    pub fn ends_the_visit(self) -> bool {
        self <= Trouble::PersonNeeded
    }
}

/// The exit status of a run that met these troubles; none is 0.
#[must_use]
pub fn exit_status(troubles: impl IntoIterator<Item = Trouble>) -> u8 {
    troubles.into_iter().min().map_or(0, Trouble::exit_status)
}

/// A trouble with its sentences. Text from a phone in them is defused already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}{}{next}", if next.is_empty() { "" } else { " " })]
pub struct Stop {
    /// What kind.
    pub trouble: Trouble,
    /// What is the case, as a sentence.
    pub cause: String,
    /// What to do next, as a sentence; empty when there is nothing to do.
    pub next: String,
}

impl Stop {
    /// A trouble with its cause and the next step.
    #[must_use]
    pub fn new(trouble: Trouble, cause: impl Into<String>, next: impl Into<String>) -> Self {
        Self { trouble, cause: cause.into(), next: next.into() }
    }

    /// The user pressed Ctrl-C.
    #[must_use]
    pub fn interrupted() -> Self {
        Self::new(
            Trouble::Interrupted,
            "Stopped. Everything that was complete is kept.",
            "Run the same command again to go on.",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY_WEIGHT: [(Trouble, u8); 11] = [
        (Trouble::Interrupted, 130),
        (Trouble::Usage, 2),
        (Trouble::SeveralDevices, 9),
        (Trouble::NoDevice, 3),
        (Trouble::Failed, 1),
        (Trouble::PersonNeeded, 4),
        (Trouble::NoSpace, 5),
        (Trouble::WrongPassword, 8),
        (Trouble::VerificationFailed, 7),
        (Trouble::Skipped, 6),
        (Trouble::GateClosed, 10),
    ];

    #[test]
    fn nothing_wrong_is_zero() {
        assert_eq!(exit_status([]), 0);
    }

    #[test]
    fn of_two_troubles_the_weightier_decides_whatever_their_order() {
        for (at, (heavy, status)) in BY_WEIGHT.into_iter().enumerate() {
            assert_eq!(exit_status([heavy]), status);
            for (light, _) in &BY_WEIGHT[at..] {
                assert_eq!(exit_status([*light, heavy]), status, "{light:?} and {heavy:?}");
                assert_eq!(exit_status([heavy, *light]), status, "{heavy:?} and {light:?}");
            }
        }
    }

    #[test]
    fn the_sentence_has_cause_and_next_step() {
        let stop = Stop::new(Trouble::NoDevice, "No iPhone is connected.", "Plug it in.");
        assert_eq!(stop.to_string(), "No iPhone is connected. Plug it in.");
        assert_eq!(Stop::new(Trouble::Failed, "It stalled.", "").to_string(), "It stalled.");
    }
}
