//! One simulated phone: its data, its screen, its clock, its notifications, its faults.
//!
//! Knows nothing of sockets and frames; the services are written against it. Everything that a running phone can be
//! told to do differently is asked for at the moment it matters ([`Device::config`]), never kept.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{Span, Timestamp};
use plist::{Dictionary, Value};
use tokio::sync::{broadcast, watch};

use super::config::{Config, Lock};
use super::faults::Counters;
use super::folder::{self, Folder};
use super::supervision::Challenges;
use super::temper::Traits;
use super::times::{self, Times};
use super::tree::Tree;
use super::trust::Trusts;
use super::values::Values;
use super::version::IosVersion;
use super::watched::Watched;
use super::{FolderError, healthy};
use crate::usbmux::Udid;

/// Notifications that a slow observer may lag behind before it misses some.
const NOTIFICATIONS_KEPT: usize = 1024;

/// Posted when the screen is locked or unlocked; when it is locked; and at the first unlock.
const LOCK_STATE: &str = "com.apple.springboard.lockstate";
const LOCK_COMPLETE: &str = "com.apple.springboard.lockcomplete";
const FIRST_UNLOCK: &str = "com.apple.mobile.keybagd.first_unlock";

/// Remembers that the phone was erased; one byte.
const ERASED: &str = "erased";

/// How a phone leaves the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// The cable is out; back after 2 s.
    Unplugged,
    /// It restarts; back before its first unlock.
    Restart,
    /// It shuts down, or waits in recovery mode: it does not come back by itself.
    Off,
}

type Leave = Box<dyn Fn(Departure) + Send + Sync>;

/// A simulated phone. Shared by all its connections.
pub struct Device {
    udid: Udid,
    version: IosVersion,
    folder: Folder,
    config: Watched,
    pub(super) values: Mutex<Values>,
    times: Mutex<BTreeMap<String, Times>>,
    withheld: super::afc::Withheld,
    ioregistry: Dictionary,
    profiles: Dictionary,
    apps: Vec<Dictionary>,
    /// Of these, those that an erased phone still has.
    apps_of_the_system: Vec<Dictionary>,
    erased: AtomicBool,
    pub(super) faults: Counters,
    pub(super) lock: watch::Sender<Lock>,
    /// What `device.toml` said of the lock when it was last applied.
    lock_told: Mutex<Lock>,
    pub(super) unlock_wanted: AtomicBool,
    /// When its person did something, since it was opened.
    pub(super) touches: Mutex<Vec<(Touched, Instant)>>,
    notifications: broadcast::Sender<Arc<str>>,
    plugged_in: Mutex<Instant>,
    pub(super) trusts: Trusts,
    pub(super) challenges: Challenges,
    /// Taken while a file of `state/` is read, changed and written.
    remembering: Mutex<()>,
    /// Held while a restore is under way: there is one at a time.
    pub(super) restoring: tokio::sync::Mutex<()>,
    leave: Mutex<Option<Leave>>,
}

/// Something that the person who holds the phone did, because the phone asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touched {
    /// Tapped Trust and entered the passcode.
    Trust,
    /// Entered the passcode for a backup or its password.
    Passcode,
    /// Unlocked the screen.
    Unlock,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("udid", &self.udid)
            .field("folder", &self.folder.path)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// Opens the folder of a simulated phone. With `keep`, what happens to the phone stays in its folder; else it
    /// goes to a temporary one that vanishes with the device.
    ///
    /// # Errors
    /// The folder or the file in it that is damaged, with the reason.
    pub fn open(dir: &Path, keep: bool) -> Result<Arc<Self>, FolderError> {
        let folder = Folder::open(dir, keep)?;
        let config = Watched::open(dir)?;
        let (values, udid) = Values::read(&folder)?;
        let version = version(&values, &folder)?;
        let lock = config.now().lock.state;
        let apps = apps(&folder)?;
        let erased = folder::read_state(&folder.state, ERASED).map_err(|error| {
            FolderError::damaged(&folder.path.join("state").join(ERASED), error.to_string())
        })?;
        let device = Arc::new(Self {
            udid,
            version,
            values: Mutex::new(values),
            times: Mutex::new(times::read(dir)?),
            withheld: super::afc::Withheld::default(),
            ioregistry: folder.dictionary("ioregistry.plist")?.unwrap_or_else(healthy::ioregistry),
            profiles: laid_over(healthy::profiles(), folder.dictionary("profiles.plist")?),
            apps_of_the_system: apps.iter().filter(|app| is_of_the_system(app)).cloned().collect(),
            apps,
            erased: AtomicBool::new(erased.is_some()),
            faults: Counters::default(),
            lock: watch::Sender::new(lock),
            lock_told: Mutex::new(lock),
            unlock_wanted: AtomicBool::new(false),
            touches: Mutex::default(),
            notifications: broadcast::Sender::new(NOTIFICATIONS_KEPT),
            plugged_in: Mutex::new(Instant::now()),
            trusts: Trusts::default(),
            challenges: Challenges::default(),
            remembering: Mutex::default(),
            restoring: tokio::sync::Mutex::default(),
            leave: Mutex::default(),
            config,
            folder,
        });
        // A folder that is opened is a phone that is switched on.
        if let Err(error) = super::mobilebackup2::phone_starts(&device) {
            return Err(FolderError::damaged(&device.folder.path.join("state"), error.to_string()));
        }
        Ok(device)
    }

    /// Who it is.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.udid
    }

    /// Its iOS.
    #[must_use]
    pub fn version(&self) -> IosVersion {
        self.version
    }

    /// `device.toml` as it is now; a changed lock state takes effect.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        let config = self.config.now();
        let mut told = lock(&self.lock_told);
        if *told != config.lock.state {
            *told = config.lock.state;
            self.set_lock(config.lock.state);
        }
        config
    }

    /// What its temper makes it do.
    #[must_use]
    pub fn traits(&self) -> Traits {
        Traits::of(self.config().temper)
    }

    // -- what is on it --

    /// `media/`, the AFC root, with what was written to it.
    #[must_use]
    pub fn media(&self) -> &Tree {
        &self.folder.media
    }

    /// `files/`, by domain: what a backup holds besides `media/`.
    #[must_use]
    pub fn files(&self) -> &Tree {
        &self.folder.files
    }

    /// `crashes/`.
    #[must_use]
    pub fn crashes(&self) -> &Tree {
        &self.folder.crashes
    }

    /// A folder on this computer for temporary files; it vanishes with the device.
    #[must_use]
    pub fn temporary(&self) -> &Path {
        self.folder.temporary()
    }

    /// The dates that `media.times` gives to a file, by its path below `media/`.
    #[must_use]
    pub fn times(&self, path: &str) -> Option<Times> {
        lock(&self.times).get(path.trim_matches('/')).copied()
    }

    /// A file was changed: from now on it has its own dates.
    pub fn touched(&self, path: &str) {
        lock(&self.times).remove(path.trim_matches('/'));
    }

    /// Files came back from a backup, and with them their dates, which stay in the folder if the phone keeps anything.
    /// Dates that a file has already to the second are finer than those of a backup.
    ///
    /// # Errors
    /// What writing `media.times` gave.
    pub(super) fn restored_times(&self, restored: impl Iterator<Item = (String, Times)>) -> io::Result<()> {
        let mut times = lock(&self.times);
        let same = |a: &Times, b: &Times| {
            (a.mtime.as_second(), a.birthtime.as_second()) == (b.mtime.as_second(), b.birthtime.as_second())
        };
        let mut changed = false;
        for (path, new) in restored {
            if !times.get(&path).is_some_and(|old| same(old, &new)) {
                times.insert(path, new);
                changed = true;
            }
        }
        if changed && self.folder.kept { times::write(&self.folder.path, &times) } else { Ok(()) }
    }

    /// No file has dates of its own any more.
    ///
    /// # Errors
    /// What writing `media.times` gave.
    pub(super) fn forget_times(&self) -> io::Result<()> {
        let mut times = lock(&self.times);
        times.clear();
        if self.folder.kept { times::write(&self.folder.path, &times) } else { Ok(()) }
    }

    /// `state/`, where the phone remembers things.
    pub(super) fn state(&self) -> &Tree {
        &self.folder.state
    }

    /// What AFC keeps to itself on a harsh phone.
    pub(super) fn withheld(&self) -> &super::afc::Withheld {
        &self.withheld
    }

    /// The IORegistry's entries, by name or class.
    #[must_use]
    pub fn ioregistry(&self) -> &Dictionary {
        &self.ioregistry
    }

    /// MCInstall's answers, by request.
    #[must_use]
    pub fn profiles(&self) -> &Dictionary {
        &self.profiles
    }

    /// What is installed, as installation_proxy tells it.
    #[must_use]
    pub fn apps(&self) -> &[Dictionary] {
        if self.erased.load(Ordering::Relaxed) { &self.apps_of_the_system } else { &self.apps }
    }

    /// The phone was erased: its owner's apps are gone.
    pub(super) fn forget_apps(&self) -> io::Result<()> {
        self.write_state(ERASED, b"1")?;
        self.erased.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The file with the lines of the log.
    pub(super) fn syslog_path(&self) -> PathBuf {
        self.folder.path.join("syslog.txt")
    }

    /// A file of what the phone remembers; `None` if there is none.
    ///
    /// # Errors
    /// What reading gave.
    pub fn read_state(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        folder::read_state(&self.folder.state, name)
    }

    /// Remembers a file, replaced in one step.
    ///
    /// # Errors
    /// What writing gave.
    pub fn write_state(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        folder::write_state(&self.folder.state, name, bytes)
    }

    /// The phone was erased: what hosts had set is not set any more.
    pub(super) fn forget_values(&self) {
        match Values::read(&self.folder) {
            Ok((values, _)) => *lock(&self.values) = values,
            Err(error) => tracing::warn!("{error}; the erased phone keeps what was set"),
        }
    }

    /// Held by who changes what is remembered, so that two connections do not lose each other's change.
    pub(super) fn remembering(&self) -> MutexGuard<'_, ()> {
        lock(&self.remembering)
    }

    // -- screen, clock, notifications --

    /// The screen lock, to be watched.
    #[must_use]
    pub fn lock(&self) -> watch::Receiver<Lock> {
        self.lock.subscribe()
    }

    /// Locks or unlocks the phone, which it tells who observes.
    pub fn set_lock(&self, state: Lock) {
        let before = self.lock.send_replace(state);
        if before == state {
            return;
        }
        self.post_notification(LOCK_STATE);
        match (before, state) {
            (_, Lock::Locked) => self.post_notification(LOCK_COMPLETE),
            (Lock::BeforeFirstUnlock, _) => self.post_notification(FIRST_UNLOCK),
            _ => {}
        }
    }

    /// The phone's clock.
    #[must_use]
    pub fn clock(&self) -> Timestamp {
        let now = Timestamp::now();
        let seconds = Span::new().try_seconds(self.config().clock.offset_seconds);
        let told = seconds.and_then(|ahead| now.checked_add(ahead)).unwrap_or(now);
        let set = Span::new().try_milliseconds(self.clock_ahead_ms());
        set.and_then(|ahead| told.checked_add(ahead)).unwrap_or(told)
    }

    /// Posts a notification to everybody who observes it.
    pub fn post_notification(&self, name: &str) {
        // Nobody observing is no error.
        let _ = self.notifications.send(Arc::from(name));
    }

    /// All notifications from now on.
    #[must_use]
    pub fn notifications(&self) -> broadcast::Receiver<Arc<str>> {
        self.notifications.subscribe()
    }

    // -- the bus --

    /// Leaves the bus: every connection dies.
    pub fn leave(&self, departure: Departure) {
        if let Some(leave) = &*lock(&self.leave) {
            leave(departure);
        }
    }

    /// What [`Device::leave`] does; given by the bus that the phone is plugged into.
    pub(super) fn on_leave(&self, leave: Leave) {
        *lock(&self.leave) = Some(leave);
    }

    /// The phone is on the bus (again).
    pub(super) fn plugged_in(&self) {
        *lock(&self.plugged_in) = Instant::now();
        self.close_dialog();
    }

    /// How long it has been on the bus.
    pub(super) fn plugged_in_for(&self) -> Duration {
        lock(&self.plugged_in).elapsed()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn version(values: &Values, folder: &Folder) -> Result<IosVersion, FolderError> {
    let text = values.value("", "ProductVersion").and_then(Value::as_string).unwrap_or_default();
    IosVersion::parse(text).ok_or_else(|| {
        let reason = format!("`ProductVersion` {text:?} is no iOS version such as 18.4.1");
        FolderError::damaged(&folder.path.join(super::values::FILE), reason)
    })
}

fn laid_over(mut below: Dictionary, above: Option<Dictionary>) -> Dictionary {
    below.extend(above.into_iter().flatten());
    below
}

fn is_of_the_system(app: &Dictionary) -> bool {
    app.get("ApplicationType").and_then(Value::as_string) == Some("System")
}

fn apps(folder: &Folder) -> Result<Vec<Dictionary>, FolderError> {
    const FILE: &str = "apps.plist";
    let wants = || FolderError::damaged(&folder.path.join(FILE), "wants an array of dictionaries");
    match folder.plist(FILE)? {
        None => Ok(healthy::apps()),
        Some(Value::Array(apps)) => {
            apps.into_iter().map(|app| app.into_dictionary().ok_or_else(wants)).collect()
        }
        Some(_) => Err(wants()),
    }
}
