//! The catalogue of remedies, and the gate that clears a risky one.
//!
//! Values in, values out. A remedy says what it risks, which findings it treats, and how we will know that it helped;
//! its words are data (`texts.en.toml`). Whatever can lose the owner's data is shut by [`gate`], and only the gate can
//! make the [`gate::Cleared`] that opens it. There is no way around it.

pub mod catalogue;
mod demands;
pub mod gate;
mod ids;
mod originals;
pub mod texts;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::backup::verify::BackupProof;
use crate::facts::sentences::fixed;
use crate::photos::verify::PhotosProof;

pub use ids::{ReasonId, RemedyId, Risk};

/// What is proven about the copies on this computer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Proofs<'a> {
    /// The copy of the photos.
    pub photos: Option<&'a PhotosProof>,
    /// The newest local backup, ours or adopted.
    pub backup: Option<&'a BackupProof>,
}

/// A statement that the owner makes by name, for one visit. What is missing cannot be accepted: neither a copy, nor a
/// proof, nor an unreadable library has a name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accept {
    /// The backup may be older than an erase would allow.
    BackupAge,
    /// The backup is not encrypted, and what it leaves out may be lost.
    UnencryptedBackup,
    /// After the erase the phone asks for the Apple Account password, and the owner knows it.
    ActivationLock,
    /// A restore replaces what is on the phone. This opens no gate: a restore is made only onto an empty phone, or where
    /// the gate for an erase is open, and wants this statement besides.
    ReplaceContent,
}

impl Accept {
    /// Every name.
    pub const ALL: [Self; 4] =
        [Self::BackupAge, Self::UnencryptedBackup, Self::ActivationLock, Self::ReplaceContent];

    /// The name as it is typed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BackupAge => "backup-age",
            Self::UnencryptedBackup => "unencrypted-backup",
            Self::ActivationLock => "activation-lock",
            Self::ReplaceContent => "replace-content",
        }
    }

    /// The statement of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|accept| accept.as_str() == name)
    }

    /// What the owner states by accepting it: goes into the record of the visit.
    #[must_use]
    pub fn statement(self) -> &'static str {
        fixed(match self {
            Self::BackupAge => "accept-backup-age",
            Self::UnencryptedBackup => "accept-unencrypted-backup",
            Self::ActivationLock => "accept-activation-lock",
            Self::ReplaceContent => "accept-replace-content",
        })
    }
}

impl std::fmt::Display for Accept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the owner accepted by name, in this visit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Consent {
    /// The names.
    pub accepted: BTreeSet<Accept>,
}

impl Consent {
    /// The owner stated this.
    #[must_use]
    pub fn has(&self, accept: Accept) -> bool {
        self.accepted.contains(&accept)
    }
}

/// When it is, as far as the gate needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Now.
    pub now: Timestamp,
    /// Since when this phone has been plugged in without a break, if that was seen.
    pub plugged_in_since: Option<Timestamp>,
}

#[cfg(test)]
pub(crate) mod tests;
