//! A whole visit: collect, answer, protect, judge, collect again. The only caller of deeds; the command line and the
//! bench both run one.
//!
//! Knows the order of things and what each trouble means for it. It knows no terminal: it hands events to an observer
//! and returns values; the one question is asked by who runs it.

pub mod adopt;
mod adopt_backup;
mod arrange;
mod backup;
mod backup_kept;
mod carry;
pub mod climb;
mod extract;
pub mod host;
mod export;
mod figures;
mod gallery;
mod kept;
pub mod lists;
mod locking;
pub mod movement;
mod outcome;
mod password;
mod photos;
pub mod plan;
mod protect;
pub mod reach;
mod read;
mod reading;
mod restore;
pub mod space;
mod stop;
pub mod words;

pub use adopt_backup::{adopt_backup, find_backup};
pub use arrange::arrange_without_phone;
pub use backup_kept::{KeptBackup, kept_backups, sample_without_phone};
pub use export::export_without_phone;
pub use extract::{Extraction, Wanted, extract};
pub use gallery::{GalleryMade, Shown, gallery_without_phone};
pub use kept::{Kept, Part, kept_without_phone, phones_kept};
pub use outcome::{BackupKept, Outcome, PhotosKept, Protection, Skipped, Whereabouts};
pub use password::{no_password_is_set, password_is_set_already};
pub use protect::{Protected, Wish};
pub use reach::Unreached;
pub use read::{device_words, unreached};
pub use reading::{Lock, Open, Standing, wrong_password};
pub use restore::{Permission, RestorePlan, Source as RestoreSource};
pub use stop::{Stop, Trouble, exit_status};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::backup::Secret;
use crate::lockdown::Session;
use crate::muxd::usb::OnBus;
use crate::photos::Known;
use crate::progress::{CancellationToken, Observer};
use crate::remedy::{Consent, Moment};
use crate::usbmux::{Attached, Muxer, Udid};

/// What a visit needs to begin.
#[derive(Clone)]
pub struct Beginning {
    /// How phones are reached.
    pub muxer: Arc<dyn Muxer>,
    /// What the USB bus shows beside the muxer.
    pub on_bus: Vec<OnBus>,
    /// Which phone; `None`: the only one.
    pub udid: Option<String>,
    /// Where everything goes.
    pub dest: PathBuf,
    /// How long a person is waited for.
    pub wait: Duration,
    /// The phone is a simulated one.
    pub simulated: bool,
    /// What the owner accepted by name.
    pub consent: Consent,
    /// The password of the backups, if it is known.
    pub password: Option<Arc<Secret>>,
    /// Is told what happens.
    pub observer: Arc<dyn Observer>,
    /// Stops the visit.
    pub cancel: CancellationToken,
}

/// A visit of a phone that let us in.
pub struct Visit {
    beginning: Beginning,
    attached: Attached,
    session: Arc<Session>,
    began_at: Timestamp,
    /// Since when the phone has been plugged in without a break, as far as this visit saw it.
    plugged_in_since: Option<Timestamp>,
    /// The manifest of the copy, as it was read last.
    known_copy: Known,
    /// How long a phone that left is waited for.
    return_wait: Duration,
    /// Until when the phone was surely there.
    seen_at: Timestamp,
    /// Time that says nothing of whether anything goes up.
    unwatched: movement::Unwatched,
}

impl Visit {
    /// Finds the phone and gets in, waiting for a person where one is needed.
    ///
    /// # Errors
    /// There is none, there are several, or it does not let us in.
    pub async fn begin(beginning: Beginning) -> Result<Self, Box<Unreached>> {
        let began_at = Timestamp::now();
        let chosen = reach::choose(beginning.muxer.as_ref(), beginning.udid.as_deref(), &beginning.on_bus);
        let attached = chosen.await?;
        let session = reach::session(
            &beginning.muxer,
            attached.clone(),
            beginning.wait,
            beginning.observer.as_ref(),
            &beginning.cancel,
        );
        let session = Arc::new(session.await?);
        let plugged_in_since = Some(began_at);
        Ok(Self {
            beginning,
            attached,
            session,
            began_at,
            plugged_in_since,
            known_copy: Known::default(),
            return_wait: reach::RETURN_WAIT,
            seen_at: Timestamp::now(),
            unwatched: movement::Unwatched::default(),
        })
    }

    /// Which phone.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.attached.udid
    }

    /// The session with it.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Where everything goes.
    #[must_use]
    pub fn dest(&self) -> &Path {
        &self.beginning.dest
    }

    /// From now on everything goes there.
    pub fn go_to(&mut self, dest: PathBuf) {
        self.beginning.dest = dest;
    }

    /// The phone's folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.beginning.dest.join(self.udid().as_str())
    }

    /// From now on a phone that leaves, and a person who has to unlock it, are waited for until we are asked to stop.
    pub fn be_patient(&mut self) {
        self.return_wait = reach::WITHOUT_END;
        self.beginning.wait = reach::WITHOUT_END;
    }

    /// Since then the phone was kept from its own work, so that time is no part of a standstill.
    pub fn leave_out(&mut self, since: Timestamp) {
        self.unwatched.leave_out(since, Timestamp::now());
    }

    fn observer(&self) -> &dyn Observer {
        self.beginning.observer.as_ref()
    }

    fn cancel(&self) -> &CancellationToken {
        &self.beginning.cancel
    }

    fn moment(&self) -> Moment {
        Moment { now: Timestamp::now(), plugged_in_since: self.plugged_in_since }
    }
}
