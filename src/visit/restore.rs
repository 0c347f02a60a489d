//! Restoring a backup onto a phone: may it be, can it be, and what state the phone is in when it breaks off.
//!
//! A restore replaces what is on the phone. So it is made only onto an empty one, or where the gate for an erase is open, and
//! only from a backup that is proven now. What speaks against it is looked at before anything is sent: Find My, the
//! versions, the phone's space, its battery, the password.

use std::sync::Arc;

use cap_std::fs::Dir;
use serde::Serialize;

use super::extract::needed_bytes;
use super::kept::{Kept, existing, folder_stop};
use super::reading::{Open, Standing};
use super::stop::{Stop, Trouble};
use super::{Visit, reach, words};
use crate::afc::{Afc, Status};
use crate::backup::Secret;
use crate::backup::choice::Choice;
use crate::backup::proof_file::ProofFile;
use crate::backup::restore::{self, Error, RestoreOptions, Restored, Wish};
use crate::backup::verify::{self, Depth};
use crate::facts::text::plain;
use crate::facts::{Facts, value};
use crate::frame::DictExt;
use crate::library;
use crate::mobilebackup2::host::Patience;
use crate::remedy::gate::{self, Cleared};
use crate::remedy::{Accept, Consent, Proofs, RemedyId};
use crate::services::installation_proxy;
use crate::usbmux::Udid;

/// Below this charge a phone that is not gaining could switch itself off on the way.
const CHARGE_PERCENT: u8 = 20;
/// Apps of Apple's come with a phone.
const APPLES: &str = "com.apple.";
/// Reasons that are said in one sentence; the others are counted.
const REASONS_SAID: usize = 3;

/// That the content of one phone may be replaced. Only [`Visit::may_replace`] gives one, and a restore takes it by value.
#[derive(Debug)]
pub struct Permission {
    udid: Udid,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Empty,
    Cleared(Cleared),
}

impl Permission {
    /// In one sentence.
    #[must_use]
    pub fn sentence(&self) -> &'static str {
        match self.why {
            Why::Empty => {
                "The phone is empty: no photo, no video, no app of its owner's. (Messages and\n\
                 contacts cannot be seen over USB.)"
            }
            Why::Cleared(_) => {
                "The phone is not empty, and what is on it is proven to be kept: the gate for an\n\
                 erase is open."
            }
        }
    }
}

/// What is to be restored, as people and scripts are told before.
#[derive(Debug, Clone, Serialize)]
pub struct RestorePlan {
    /// Where the backup is.
    pub folder: std::path::PathBuf,
    /// The phone that made it.
    pub made_by: Option<String>,
    /// The system that made it.
    pub ios_version: Option<String>,
    /// When it was made.
    pub made_at: Option<jiff::Timestamp>,
    /// It is encrypted.
    pub encrypted: bool,
    /// What its files have together.
    pub bytes: u64,
}

/// A backup that was found, opened and is about to be restored.
#[derive(Debug)]
pub struct Source {
    /// What it is.
    pub plan: RestorePlan,
    root: Dir,
    udid: Udid,
    password: Option<Arc<Secret>>,
}

impl Source {
    /// Looks at a backup that is to be restored: it must be in the vault, with our record beside it, and the password must
    /// open it.
    ///
    /// # Errors
    /// It is none of ours, or cannot be opened.
    pub async fn open(standing: Standing, password: Option<Arc<Secret>>) -> Result<Self, Stop> {
        let not_ours = || {
            Stop::new(
                Trouble::Failed,
                format!(
                    "The backup in {} is not one that idevice-fix has proven.",
                    standing.folder.display()
                ),
                "Take it into the vault first: idevice-fix backup adopt DIR. Only a proven backup is restored.",
            )
        };
        let named = standing.folder.file_name().and_then(|name| Udid::parse(name.to_str()?));
        let (Some(udid), Some(above)) = (named, standing.folder.parent()) else { return Err(not_ours()) };
        let root = existing(above)?.ok_or_else(not_ours)?;
        if ProofFile::header(&root).is_none_or(|header| header.udid != udid.as_str()) {
            return Err(not_ours());
        }
        let mut plan = RestorePlan {
            folder: standing.folder.clone(),
            made_by: standing.device_name().map(plain),
            ios_version: standing.ios_version().map(plain),
            made_at: standing.made_at(),
            encrypted: standing.encrypted(),
            bytes: 0,
        };
        let Open { backup, .. } = standing.open(password.clone()).await?;
        let counting = tokio::task::spawn_blocking(move || needed_bytes(&backup, &Choice::default()));
        plan.bytes = counting.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        Ok(Self { plan, root, udid, password })
    }
}

impl Visit {
    /// What speaks against restoring this backup onto this phone, each with its own sentence; the first decides.
    ///
    /// # Errors
    /// The first of them.
    pub fn can_restore(&self, facts: &Facts, plan: &RestorePlan) -> Result<(), Stop> {
        find_my_is_off(facts)?;
        fits_the_system(facts, plan)?;
        fits_into_the_phone(facts, plan)?;
        has_charge(facts)
    }

    /// May what is on this phone be replaced: it is empty, or the gate for an erase is open now.
    ///
    /// # Errors
    /// It may not: why.
    pub async fn may_replace(&self, facts: &Facts, kept: &Kept) -> Result<Permission, Stop> {
        let udid = self.udid().clone();
        let holds = self.what_it_holds(facts).await?;
        let Some(holds) = holds else { return Ok(Permission { udid, why: Why::Empty }) };
        let proofs = Proofs { photos: kept.photos.as_ref(), backup: kept.backup.as_ref() };
        let consent: &Consent = &self.beginning.consent;
        match gate::clear(RemedyId::EraseAndRestore, facts, &proofs, consent, &self.moment()) {
            Ok(cleared) => Ok(Permission { udid, why: Why::Cleared(cleared) }),
            Err(blocked) => {
                let said: Vec<&str> =
                    blocked.iter().take(REASONS_SAID).map(|one| one.text.as_str()).collect();
                let more = match blocked.len().saturating_sub(REASONS_SAID) {
                    0 => String::new(),
                    n => format!(" (and {n} more: idevice-fix gate erase)"),
                };
                Err(Stop::new(
                    Trouble::GateClosed,
                    format!(
                        "This phone is not empty ({holds}), and replacing what is on it is not proven to be safe: {}{more}",
                        said.join(" ")
                    ),
                    "Protect it first: idevice-fix. Nothing was changed.",
                ))
            }
        }
    }

    /// What makes the phone one that is not empty, in words; `None`: it is.
    async fn what_it_holds(&self, facts: &Facts) -> Result<Option<String>, Stop> {
        let mut holds = Vec::new();
        match &facts.media {
            None => holds.push("its photos could not be listed".to_owned()),
            Some(listing) if !listing.refused.is_empty() => {
                holds.push("some of its folders of photos could not be listed".to_owned());
            }
            Some(listing) if !listing.files.is_empty() => {
                holds.push(words::counted(listing.files.len() as u64, "file of photos", "files of photos"));
            }
            Some(_) => {}
        }
        match &facts.library.assets {
            Some(assets) if assets.is_empty() => {}
            Some(assets) => {
                holds.push(words::counted(
                    assets.len() as u64,
                    "photo in its library",
                    "photos in its library",
                ));
            }
            None if self.has_no_library().await => {}
            None => holds.push("its photo library could not be read".to_owned()),
        }
        let apps = installation_proxy::browse(self.session(), "User", &["CFBundleIdentifier"]).await;
        match apps {
            Err(error) => holds.push(format!("its apps could not be listed: {}", plain(&error.to_string()))),
            Ok(apps) => {
                let own = |app: &&plist::Dictionary| {
                    !app.string("CFBundleIdentifier").is_some_and(|id| id.starts_with(APPLES))
                };
                let count = apps.iter().filter(own).count() as u64;
                holds.extend((count > 0).then(|| words::counted(count, "app", "apps")));
            }
        }
        Ok((!holds.is_empty()).then(|| holds.join(", ")))
    }

    /// A phone on which the Photos app was never opened has no library at all.
    async fn has_no_library(&self) -> bool {
        let Ok(afc) = Afc::open(self.session()).await else { return false };
        let path = format!("{}/{}", library::FOLDER, library::DATABASE_NAME);
        matches!(afc.file_info(&path).await, Err(error) if error.status() == Some(Status::NotFound))
    }

    /// Proves the backup once more, to its last byte.
    ///
    /// # Errors
    /// It is damaged, or cannot be read.
    pub async fn prove_source(&self, source: &Source) -> Result<(), Stop> {
        let root = source.root.try_clone().map_err(|error| folder_stop(&source.plan.folder, &error))?;
        let password = source.password.as_deref();
        let proving =
            verify::prove_at(root, &source.udid, password, Depth::Full, self.observer(), self.cancel());
        let proven = proving.await.map_err(|error| match error {
            verify::Error::Cancelled => Stop::interrupted(),
            verify::Error::WrongPassword => super::wrong_password(),
            verify::Error::Io(error) => folder_stop(&source.plan.folder, &error),
            verify::Error::Vault(error) => Stop::new(Trouble::Failed, format!("{error}."), ""),
        })?;
        match (proven.proof, proven.damage.first()) {
            (Some(proof), _) if proof.proven_inside() => Ok(()),
            (Some(_), _) => Err(super::wrong_password()),
            (None, damage) => {
                let first =
                    damage.map_or_else(String::new, |one| plain(&format!("{}: {}", one.path, one.what)));
                Err(Stop::new(
                    Trouble::VerificationFailed,
                    format!("The backup is not what was received, so it is not restored: {first}."),
                    "An older one may be whole: idevice-fix backup list, then --from. Nothing was changed on the phone.",
                ))
            }
        }
    }

    /// Restores. The phone that the permission is about must be this one.
    ///
    /// # Errors
    /// It broke off; the sentence says what state the phone is in.
    ///
    /// # Panics
    /// With a permission for another phone.
    pub async fn restore(
        &self,
        permission: Permission,
        source: Source,
        options: RestoreOptions,
        apps: bool,
    ) -> Result<Restored, Stop> {
        assert_eq!(&permission.udid, self.udid(), "a permission is for one phone");
        assert!(self.beginning.consent.has(Accept::ReplaceContent), "a restore is agreed to by name");
        if let Why::Cleared(cleared) = &permission.why {
            assert_eq!((cleared.udid(), cleared.remedy()), (self.udid(), RemedyId::EraseAndRestore));
        }
        let password = source.password.as_deref().cloned();
        let patience = Patience::default();
        let wish = Wish { root: source.root, source: source.udid, options, apps, password, patience };
        restore::restore(self.session(), wish, self.observer(), self.cancel()).await.map_err(stop)
    }

    /// From now on this counts as accepted.
    pub fn accept(&mut self, accept: Accept) {
        self.beginning.consent.accepted.insert(accept);
    }
}

fn find_my_is_off(facts: &Facts) -> Result<(), Stop> {
    // Where it could not be read, the phone itself says no before it takes anything.
    match value(&facts.settings.find_my) {
        Some(true) => Err(Stop::new(
            Trouble::PersonNeeded,
            "Find My is on, and a phone with Find My on is not restored.",
            "Turn it off on the phone: Settings > your name > Find My > Find My iPhone. Then run this again.",
        )),
        _ => Ok(()),
    }
}

/// An older system cannot read what a newer one has written.
fn fits_the_system(facts: &Facts, plan: &RestorePlan) -> Result<(), Stop> {
    let theirs = plan.ios_version.as_deref();
    let ours = facts.device.as_ref().and_then(|device| device.ios_version.as_deref());
    let (Some(theirs), Some(ours)) = (theirs, ours) else { return Ok(()) };
    match (version(theirs), version(ours)) {
        (Some(backup), Some(phone)) if backup > phone => Err(Stop::new(
            Trouble::Failed,
            format!("The backup comes from iOS {theirs}, and this phone has the older iOS {}.", plain(ours)),
            "Update the phone first: Settings > General > Software Update. Then run this again.",
        )),
        _ => Ok(()),
    }
}

/// The numbers of a version.
fn version(text: &str) -> Option<Vec<u32>> {
    let mut numbers: Vec<u32> =
        text.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>()?;
    // 18.0 is 18.
    while numbers.len() > 1 && numbers.last() == Some(&0) {
        numbers.pop();
    }
    Some(numbers)
}

fn fits_into_the_phone(facts: &Facts, plan: &RestorePlan) -> Result<(), Stop> {
    match value(&facts.storage.free_bytes) {
        Some(free) if plan.bytes >= free => Err(Stop::new(
            Trouble::NoSpace,
            format!(
                "The backup has {}, and {} are free on the phone.",
                words::bytes(plan.bytes),
                words::bytes(free)
            ),
            "Free space on the phone, or use one with more storage.",
        )),
        _ => Ok(()),
    }
}

fn has_charge(facts: &Facts) -> Result<(), Stop> {
    match value(&facts.battery.level_percent) {
        Some(level) if level < CHARGE_PERCENT && facts.battery.gaining() != Some(true) => Err(Stop::new(
            Trouble::PersonNeeded,
            format!(
                "The phone's battery is at {level} % and not gaining: it could switch itself off on the way."
            ),
            "Charge it first.",
        )),
        _ => Ok(()),
    }
}

/// What a restore that broke off leaves, as far as it is known how phones do it.
const AS_IT_WAS: &str = "As far as is known a phone puts a restore in place only when everything has come, at its restart: so it \
                         is as it was. Restart it, then run the same command again.";

fn stop(error: Error) -> Stop {
    let cause = format!("The restore: {}.", plain(error.to_string().trim_end_matches('.')));
    match error {
        Error::Cancelled => {
            Stop { cause: "Stopped.".to_owned(), next: AS_IT_WAS.to_owned(), ..Stop::interrupted() }
        }
        Error::CancelledOnPhone => Stop::new(Trouble::PersonNeeded, cause, AS_IT_WAS),
        Error::Lockdown(error) => reach::lockdown_stop(&error),
        Error::Talk(_) | Error::Disconnected(_) => Stop::new(Trouble::Failed, cause, AS_IT_WAS),
        Error::SyncLocked => Stop::new(Trouble::Failed, cause, "Close it, then run this again."),
        Error::Apps(_) => Stop::new(Trouble::Failed, cause, "Leave it out with --no-apps."),
        Error::Disk(_) => Stop::new(Trouble::Failed, cause, "Verify the backup: idevice-fix backup verify."),
        Error::Device { code, .. } => {
            let trouble = match code {
                207 => Trouble::WrongPassword,
                105 => Trouble::NoSpace,
                13 | 208 | 211 | 212 => Trouble::PersonNeeded,
                _ => Trouble::Failed,
            };
            Stop::new(trouble, cause, error.meaning().map_or("", |meaning| meaning.next_step))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("18.10") > version("18.9.1") && version("26.0") > version("18.4.1"));
        assert_eq!(version("18.0"), version("18"));
        assert_eq!((version("18.x"), version("")), (None, None));
    }

    #[test]
    fn what_the_phone_says_has_its_exit_status_and_a_way_on() {
        for (code, status) in
            [(207, 8), (105, 5), (208, 4), (211, 4), (203, 1), (205, 1), (102, 1), (4711, 1)]
        {
            let told = stop(Error::Device { code, description: "x".into() });
            assert_eq!(told.trouble.exit_status(), status, "{told}");
            assert!(told.cause.ends_with('.') && told.next.ends_with('.'), "{told}");
        }
        for error in [Error::Cancelled, Error::Disconnected("x".into()), Error::CancelledOnPhone] {
            assert!(stop(error).next.contains("as it was"), "the state of the phone is said");
        }
    }
}
