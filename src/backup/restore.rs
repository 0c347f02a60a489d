//! Gives a backup back to a phone: what belongs around the protocol, and what each end of it means.
//!
//! The phone takes what it wants and changes nothing here. As traces of real restores show (libimobiledevice #726, #787), it
//! gathers everything in a folder of its own, which it moves into place when all has come; the restart puts it where it
//! belongs. So an interrupted restore leaves the phone as it was.

use std::io;

use cap_fs_ext::DirExt;
use cap_std::fs::Dir;
use plist::{Dictionary, Value};

use super::Secret;
use super::make::{self, OBSERVED, SyncLock, start, watched};
use super::manifest;
use crate::afc::{self, Afc};
use crate::frame::{self, DictExt};
use crate::lockdown::{self, Session};
use crate::mobilebackup2::codes::{self, Meaning};
use crate::mobilebackup2::folder::Folder;
use crate::mobilebackup2::host::{self, Host, Outcome, Patience};
pub use crate::mobilebackup2::wish::RestoreOptions;
use crate::progress::{CancellationToken, Observer};
use crate::services::notification_proxy;
use crate::usbmux::Udid;

/// Where a host leaves the list of apps that a restored phone is to install (libimobiledevice #343, #668).
const APPS_FOLDER: &str = "/iTunesRestore";
const APPS_FILE: &str = "/iTunesRestore/RestoreApplications.plist";

/// What is restored, and how.
#[derive(Debug)]
pub struct Wish {
    /// The folder that holds the backup's folder.
    pub root: Dir,
    /// Whose backup it is: the name of its folder.
    pub source: Udid,
    /// How.
    pub options: RestoreOptions,
    /// The phone is told which apps the backup knows, so that it installs them.
    pub apps: bool,
    /// The password of an encrypted backup.
    pub password: Option<Secret>,
    /// Limits on the phone's silence.
    pub patience: Patience,
}

/// A phone that has everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Bytes that the phone took.
    pub sent_bytes: u64,
    /// Apps that it was told to install.
    pub apps: usize,
    /// What a person may want to know. Text from the phone is in it.
    pub notes: Vec<String>,
}

/// Why the phone was not restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Lockdown, or starting a service.
    #[error(transparent)]
    Lockdown(#[from] lockdown::Error),
    /// The talk with the phone broke off.
    #[error(transparent)]
    Talk(#[from] host::Error),
    /// The phone gave up.
    #[error("{} (the phone's error {code}: {description})", codes::meaning_of_restore(*code).cause)]
    Device {
        /// Its code.
        code: i64,
        /// What it says about it: text from the phone.
        description: String,
    },
    /// The phone ended the talk without a result.
    #[error("the phone ended the restore without saying why: {0:?}")]
    Disconnected(String),
    /// Another program holds the phone's sync lock.
    #[error("another program is syncing with the phone")]
    SyncLocked,
    /// The list of apps could not be given to the phone.
    #[error("the phone did not take the list of its apps: {0}")]
    Apps(#[source] afc::Error),
    /// This computer could not read the backup.
    #[error("the backup could not be read: {0}")]
    Disk(#[source] io::Error),
    /// The person or the program asked to stop.
    #[error("stopped on request")]
    Cancelled,
    /// Somebody cancelled it on the phone.
    #[error("the restore was cancelled on the phone")]
    CancelledOnPhone,
}

impl Error {
    /// What the phone's error means, where it is one.
    #[must_use]
    pub fn meaning(&self) -> Option<Meaning> {
        match self {
            Self::Device { code, .. } => Some(codes::meaning_of_restore(*code)),
            _ => None,
        }
    }
}

/// Has the phone restore itself. Well ended means that it has everything; most of it is in its place only after its
/// restart.
///
/// # Errors
/// [`Error`]; then the phone has put nothing in place, as far as it is known how phones do it.
pub async fn restore(
    session: &Session,
    wish: Wish,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Restored, Error> {
    let notifications = notification_proxy::observe(session, &OBSERVED).await.ok();
    let applications = if wish.apps { applications(&wish)? } else { Dictionary::new() };
    let stream = start(session).await?;
    let stopping = cancel.child_token();
    let broken = |error| if cancel.is_cancelled() { Error::Cancelled } else { Error::Talk(error) };
    let host = Host::greet(stream, wish.patience, &stopping).await.map_err(broken)?;
    let lock = SyncLock::take(session).await.map_err(|error| match error {
        make::Error::Lockdown(error) => Error::Lockdown(error),
        _ => Error::SyncLocked,
    })?;
    let apps = applications.len();
    let told = tell_apps(lock.afc(), applications).await;
    let folder = Folder::open_read_only(wish.root, wish.source).map_err(Error::Disk);
    let done = match told.and(folder) {
        Err(error) => Err(error),
        Ok(folder) => {
            let udid = session.phone().attached.udid.clone();
            let request =
                host::Wish { target: udid.as_str(), options: wish.options, password: wish.password };
            let work = host.restore(request, folder, observer, &stopping);
            Ok(watched(work, notifications, observer, &stopping).await)
        }
    };
    lock.release(session).await;
    let (report, cancelled_on_phone) = done?;
    match report.outcome {
        Outcome::Finished => Ok(Restored { sent_bytes: report.sent_back_bytes, apps, notes: report.notes }),
        Outcome::HostError(error) => Err(Error::Disk(error)),
        _ if cancel.is_cancelled() => Err(Error::Cancelled),
        _ if cancelled_on_phone => Err(Error::CancelledOnPhone),
        Outcome::DeviceError { code, description } => Err(Error::Device { code, description }),
        Outcome::Disconnected { text } | Outcome::NotFinished { state: text } => {
            Err(Error::Disconnected(text))
        }
        Outcome::Broken(error) => Err(Error::Talk(error)),
    }
}

/// The apps that the backup knows, with what the phone needs to install them.
fn applications(wish: &Wish) -> Result<Dictionary, Error> {
    let own = wish.root.open_dir_nofollow(wish.source.as_str()).map_err(Error::Disk)?;
    // A backup without this file, or with a damaged one, is restored without its apps.
    let info = manifest::read_plist(&own, "Info.plist").unwrap_or_default();
    Ok(info.dict("Applications").cloned().unwrap_or_default())
}

/// Leaves the list of apps where the phone looks for it.
async fn tell_apps(afc: Option<&Afc>, applications: Dictionary) -> Result<(), Error> {
    let Some(afc) = afc.filter(|_| !applications.is_empty()) else { return Ok(()) };
    let bytes = frame::to_xml(&Value::Dictionary(applications));
    let tell = async {
        match afc.remove_all(APPS_FOLDER).await {
            Err(error) if error.status() != Some(afc::Status::NotFound) => return Err(error),
            _ => {}
        }
        afc.make_dir(APPS_FOLDER).await?;
        let mut file = afc.open_file(APPS_FILE, afc::OpenMode::Write).await?;
        file.write(&bytes).await?;
        file.close().await
    };
    tell.await.map_err(Error::Apps)
}
