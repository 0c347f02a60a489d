//! The demands that the gate makes, each a small function, and the table of who makes which.
//!
//! A demand holds, or it says in plain words and with its figures why not. It says also whether it is *known* not to
//! hold, or whether something could not be read that would tell.

mod data;
mod erase;
mod reading;

use std::time::Duration;

use serde::Serialize;

use crate::backup::verify::BackupProof;
use crate::facts::Facts;
use crate::facts::sentences::fixed;
use crate::usbmux::Udid;

use super::originals::{Account, Copies, account};
use super::{Consent, Moment, Proofs, ReasonId, RemedyId};

use data::{
    every_original_copied, in_two_places, none_only_in_icloud, none_only_in_icloud_that_is_lost,
    none_only_in_icloud_that_is_lost_or_not_adopted,
};
use erase::{
    backed_up_first, backup_encrypted, backup_fresh, backup_verified, charge_for_an_erase, find_my_off,
};
use reading::{
    files_agree, library_read, read_now, server_agrees, server_counted, states_known, sync_status_read,
};

pub(super) use reading::no_phone;

/// Whom a reason is about, so that people can read it in two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// "Your data": what could be lost.
    YourData,
    /// "After the erase": what the owner would stand before afterwards.
    AfterTheErase,
}

impl Part {
    /// The heading.
    #[must_use]
    pub fn heading(self) -> &'static str {
        fixed(match self {
            Self::YourData => "part-your-data",
            Self::AfterTheErase => "part-after-the-erase",
        })
    }
}

/// One demand that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// Why, by its stable name.
    pub id: ReasonId,
    /// Why, in plain words with figures.
    pub text: String,
    /// Whom it is about.
    pub part: Part,
    /// Known not to hold; `false`: something could not be read that would tell.
    pub known: bool,
    /// It is part of the first demand, without which nothing can be told: that the library could be read and agrees.
    #[serde(skip)]
    pub(super) first: bool,
    /// As a part of the verdict's one sentence, where that says more.
    #[serde(skip)]
    pub(super) clause: Option<String>,
}

impl Blocked {
    fn known(id: impl Into<ReasonId>, text: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            text: text.into(),
            part: Part::YourData,
            known: true,
            first: false,
            clause: None,
        }
    }

    fn unknown(id: impl Into<ReasonId>, text: impl Into<String>) -> Self {
        Self { known: false, ..Self::known(id, text) }
    }

    /// The first demand: nothing can be told without it.
    fn untold(id: impl Into<ReasonId>, text: impl Into<String>) -> Self {
        Self { first: true, ..Self::unknown(id, text) }
    }

    fn after_the_erase(self) -> Self {
        Self { part: Part::AfterTheErase, ..self }
    }
}

/// Everything that is judged at once, with what was made of it.
pub(super) struct Case<'a> {
    pub(super) facts: &'a Facts,
    pub(super) copies: Copies<'a>,
    /// A backup proof of this phone, also one with refused rows that matter.
    pub(super) backup: Option<&'a BackupProof>,
    pub(super) consent: &'a Consent,
    pub(super) moment: &'a Moment,
    pub(super) account: Account,
    pub(super) udid: Option<Udid>,
}

impl<'a> Case<'a> {
    /// A proof of another phone is no proof.
    pub(super) fn new(
        facts: &'a Facts,
        proofs: &Proofs<'a>,
        consent: &'a Consent,
        moment: &'a Moment,
    ) -> Self {
        let (backup, copies) = own_proofs(facts, proofs);
        let udid = facts.device.as_ref().and_then(|device| Udid::parse(&device.udid));
        let account = account(facts, &copies);
        Self { facts, copies, backup, consent, moment, account, udid }
    }
}

impl Case<'_> {
    /// The library and the folders were both read, so that the account means something.
    pub(super) fn is_accounted(&self) -> bool {
        self.facts.library.assets.is_some() && self.facts.media.is_some()
    }
}

/// The proofs that are about this phone: its backup, also one that lacks rows that matter, and the copies that count.
pub(super) fn own_proofs<'a>(facts: &Facts, proofs: &Proofs<'a>) -> (Option<&'a BackupProof>, Copies<'a>) {
    let udid = facts.device.as_ref().and_then(|device| Udid::parse(&device.udid));
    let photos = proofs.photos.filter(|proof| Some(proof.udid()) == udid.as_ref());
    let backup = proofs.backup.filter(|proof| Some(proof.udid()) == udid.as_ref());
    (backup, Copies { photos, backup: backup.filter(|proof| proof.complete()) })
}

/// A demand: the reasons for which it does not hold, none when it does.
pub(super) type Demand = fn(&Case<'_>) -> Vec<Blocked>;

/// What the verdict on the photos demands.
pub(super) const PHOTOS: &[Demand] =
    &[read_now, library_read, sync_status_read, states_known, server_agrees, files_agree, in_two_places];

const TOGGLE: &[Demand] = &[
    read_now,
    library_read,
    sync_status_read,
    states_known,
    server_agrees,
    files_agree,
    every_original_copied,
    none_only_in_icloud_that_is_lost,
];

const DELETE_ICLOUD_LIBRARY: &[Demand] = &[
    read_now,
    library_read,
    sync_status_read,
    states_known,
    server_counted,
    files_agree,
    every_original_copied,
    none_only_in_icloud,
    backup_verified,
];

const ERASE: &[Demand] = &[
    read_now,
    library_read,
    sync_status_read,
    states_known,
    server_agrees,
    files_agree,
    every_original_copied,
    none_only_in_icloud_that_is_lost_or_not_adopted,
    backup_verified,
    backup_fresh,
    backup_encrypted,
    find_my_off,
    charge_for_an_erase,
];

const ONLY_BACKED_UP: &[Demand] = &[read_now, backup_verified];

/// What a remedy demands before it is open; nothing for one that risks nothing.
pub(super) fn demands_of(remedy: RemedyId) -> &'static [Demand] {
    match remedy {
        RemedyId::ToggleIcloudPhotos | RemedyId::SignOutAndIn | RemedyId::DeletePhotosToFreeSpace => TOGGLE,
        RemedyId::DeleteIcloudLibrary => DELETE_ICLOUD_LIBRARY,
        RemedyId::EraseAndRestore => ERASE,
        RemedyId::StartIcloudBackupAnew | RemedyId::DeleteIcloudAppData => ONLY_BACKED_UP,
        RemedyId::UpdateIos => &[backed_up_first],
        _ => &[],
    }
}

fn signed(duration: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(duration).expect("our limits are hours, which always fit")
}
