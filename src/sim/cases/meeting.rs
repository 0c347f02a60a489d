//! A case as a visit meets it: the phone is made, served on a bus of its own in this process, read, protected where the
//! label wants that, and judged by the same calls as any phone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Error;
use super::label::{Before, Instead, Part};
use super::recipe::Recipe;
use crate::backup::Secret;
use crate::collect;
use crate::lockdown::Phone;
use crate::lockdown::pairing::{self, Attempt};
use crate::muxd::usb::{Mode, OnBus};
use crate::progress::{CancellationToken, Silent};
use crate::remedy::{Accept, Consent, Moment, Proofs};
use crate::sim::{Bus, Device};
use crate::usbmux::client::Usbmuxd;
use crate::usbmux::{Address, Muxer};
use crate::visit::{Beginning, Kept, Outcome, Stop, Trouble, Unreached, Visit, Wish, unreached};

/// The phone's folder in a case that has no recipe, if it is not the case itself.
const DEVICE: &str = "device";
/// How long a person is waited for unless the label says otherwise: they all tap within a second, and a machine may be
/// busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// A phone looks at its `device.toml` no more often than every few milliseconds.
const FILE_IS_SEEN: Duration = Duration::from_millis(50);
/// What a phone does that trusted this computer before its trouble began.
const BEFORE_THE_TROUBLE: &str = "temper = \"kind\"\n";

/// See the module.
pub(super) struct Meeting<'a> {
    before: &'a Before,
    cancel: CancellationToken,
    /// The phone's folder, where there is a phone.
    phone: Option<PathBuf>,
    /// The folder can be changed: it was made for this case.
    ours: bool,
    /// Everything that is made for the case lies here.
    room: tempfile::TempDir,
}

impl<'a> Meeting<'a> {
    /// Makes or finds the phone's folder.
    pub(super) async fn prepare(
        case: &Path,
        recipe: Option<Recipe>,
        before: &'a Before,
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        let room = tempfile::Builder::new().prefix("idevice-fix-case-").tempdir();
        let room = room.map_err(|error| Error::io(Path::new("a temporary folder"), &error))?;
        let ours = recipe.is_some();
        let phone = match recipe {
            _ if before.instead.is_some() => None,
            Some(recipe) => {
                let phone = room.path().join("phone");
                let originals = before.adopt.then(|| room.path().join("originals"));
                let making = tokio::task::spawn_blocking(move || {
                    recipe.make(&phone, originals)?;
                    Ok::<_, Error>(phone)
                });
                let made = making.await;
                Some(made.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?)
            }
            None if case.join(DEVICE).is_dir() => Some(case.join(DEVICE)),
            None => Some(case.to_owned()),
        };
        Ok(Self { before, cancel: cancel.clone(), phone, ours, room })
    }

    /// Meets the phone and judges it.
    pub(super) async fn judge(&self) -> Result<Outcome, Error> {
        let Some(folder) = &self.phone else {
            return match Visit::begin(self.beginning(self.no_phone()?)?).await {
                Err(why) => Ok(unreached(&why, true)),
                Ok(_) => Err(Error::Visit("a phone is there that should not be".to_owned())),
            };
        };
        let trouble = self.remember_better_days(folder)?;
        let bus = Arc::new(Bus::new(vec![Device::open(folder, false)?]));
        if let Some(trouble) = trouble {
            self.get_acquainted(&bus).await?;
            let path = folder.join(crate::sim::config::FILE);
            std::fs::write(&path, trouble).map_err(|error| Error::io(&path, &error))?;
            tokio::time::sleep(FILE_IS_SEEN).await;
        }
        if self.before.not_asked {
            return self.not_asked(bus).await;
        }
        match Visit::begin(self.beginning((bus, Vec::new()))?).await {
            Ok(visit) => self.visit(visit).await,
            Err(why) => Ok(unreached(&why, true)),
        }
    }

    /// A phone that knew this computer before is kind until it has met it; what it is then comes back.
    fn remember_better_days(&self, folder: &Path) -> Result<Option<String>, Error> {
        if !self.before.known {
            return Ok(None);
        }
        if !self.ours {
            return Err(Error::label("only a phone that is made for its case can have known this computer"));
        }
        let path = folder.join(crate::sim::config::FILE);
        let trouble = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, &error))?;
        std::fs::write(&path, BEFORE_THE_TROUBLE).map_err(|error| Error::io(&path, &error))?;
        Ok(Some(trouble))
    }

    async fn get_acquainted(&self, bus: &Arc<Bus>) -> Result<(), Error> {
        let phone = phone_on(bus).await?;
        let met = pairing::establish(&phone, PATIENCE, &Silent, &self.cancel).await;
        met.map(drop).map_err(|error| Error::Visit(error.to_string()))
    }

    async fn not_asked(&self, bus: Arc<Bus>) -> Result<Outcome, Error> {
        let phone = phone_on(&bus).await?;
        match pairing::attempt(&phone).await.map_err(|error| Error::Visit(error.to_string()))? {
            Attempt::Trusted(_) => {
                Err(Error::Visit("the phone trusts a computer that it never met".to_owned()))
            }
            Attempt::Not(obstacle) => {
                let why = Unreached {
                    reach: Some(collect::reach_of(&obstacle)),
                    device: Some(collect::stranger(&phone).await),
                    stop: Stop::new(Trouble::PersonNeeded, "The phone was not asked.", ""),
                };
                Ok(unreached(&why, true))
            }
        }
    }

    /// What this computer sees instead of a phone.
    fn no_phone(&self) -> Result<(Arc<dyn Muxer>, Vec<OnBus>), Error> {
        let seen = |mode, permitted, has_multiplexer, held_by: Option<&str>| OnBus {
            mode,
            product_id: 0x12a8,
            bus: 1,
            address: 7,
            udid: None,
            ecid: None,
            permitted,
            has_multiplexer: Some(has_multiplexer),
            held_by: held_by.map(str::to_owned),
        };
        let on_bus = match self.before.instead {
            None => return Err(Error::label("there is neither a phone nor what is seen instead")),
            Some(Instead::NoUsbmux) => {
                let nobody = Usbmuxd::at(Address::Unix(self.room.path().join("nobody-listens-here")));
                return Ok((Arc::new(nobody), Vec::new()));
            }
            Some(Instead::NoPermission) => seen(Mode::Normal, false, true, None),
            Some(Instead::Held) => seen(Mode::Normal, true, true, Some("gvfsd-gphoto2")),
            Some(Instead::NotTaken) => seen(Mode::Normal, true, true, None),
            Some(Instead::Restricted) => seen(Mode::Normal, true, false, None),
            Some(Instead::Recovery) => seen(Mode::Recovery, true, false, None),
            Some(Instead::Dfu) => seen(Mode::Dfu, true, false, None),
        };
        Ok((Arc::new(Bus::new(Vec::new())), vec![on_bus]))
    }

    fn beginning(&self, (muxer, on_bus): (Arc<dyn Muxer>, Vec<OnBus>)) -> Result<Beginning, Error> {
        let accepted: Option<BTreeSet<Accept>> =
            self.before.accept.iter().map(|name| Accept::parse(name)).collect();
        let password = self.before.password.as_ref().map(|text| Secret::new(text.clone().into_bytes()));
        Ok(Beginning {
            muxer,
            on_bus,
            udid: None,
            dest: self.room.path().join("dest"),
            wait: self.before.wait_ms.map_or(PATIENCE, Duration::from_millis),
            simulated: true,
            consent: Consent {
                accepted: accepted.ok_or_else(|| Error::label("it accepts what cannot be accepted"))?,
            },
            password: password.map(Arc::new),
            observer: Arc::new(Silent),
            cancel: self.cancel.clone(),
        })
    }

    async fn visit(&self, mut visit: Visit) -> Result<Outcome, Error> {
        let failed = |stop: Stop| Error::Visit(stop.to_string());
        if !self.before.protect.is_empty() {
            let facts = visit.read().await.map_err(failed)?;
            let wish = Wish {
                photos: self.before.protect.contains(&Part::Photos),
                backup: self.before.protect.contains(&Part::Backup),
                ..Wish::default()
            };
            // What went wrong with it shows in the judgement.
            drop(visit.protect(&facts, wish).await);
        }
        if self.before.adopt {
            visit.adopt(&self.room.path().join("originals")).await.map_err(failed)?;
        }
        let (outcome, kept) = visit.diagnose_with_kept().await.map_err(failed)?;
        self.later(outcome, &kept)
    }

    /// The same phone and the same copies, so many hours later.
    fn later(&self, outcome: Outcome, kept: &Kept) -> Result<Outcome, Error> {
        if self.before.hours_later == 0 {
            return Ok(outcome);
        }
        let mut facts = outcome.facts;
        let now = facts.observed_at.checked_add(SignedDuration::from_hours(self.before.hours_later));
        let now: Timestamp = now.map_err(|error| Error::label(error.to_string()))?;
        facts.observed_at = now;
        let moment = Moment { now, plugged_in_since: Some(now) };
        let proofs = Proofs { photos: kept.photos.as_ref(), backup: kept.backup.as_ref() };
        let accepted = self.before.accept.iter().filter_map(|name| Accept::parse(name)).collect();
        Ok(Outcome::judged(facts, &proofs, &Consent { accepted }, &moment))
    }
}

async fn phone_on(bus: &Arc<Bus>) -> Result<Phone, Error> {
    let devices = bus.devices().await.map_err(|error| Error::Visit(error.to_string()))?;
    let attached = devices.into_iter().next();
    let attached = attached.ok_or_else(|| Error::Visit("the phone is not on its bus".to_owned()))?;
    Ok(Phone { muxer: Arc::clone(bus) as Arc<dyn Muxer>, attached })
}
