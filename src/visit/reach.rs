//! Reaching the phone: which one, does it let us in, and what to say when not. When it leaves in the middle, waiting
//! for its return.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::stop::{Stop, Trouble};
use super::words;
use crate::facts::text::plain;
use crate::facts::{self, Reach};
use crate::lockdown::pairing::{self, NotReached, Obstacle};
use crate::lockdown::{self, Phone, Session};
use crate::muxd::usb::{Mode, OnBus};
use crate::progress::{CancellationToken, Event, Observer, Phase};
use crate::usbmux::{self, Attached, DeviceId, Muxer, Udid};

/// How long a person is waited for: at a terminal or with `-y`, and when nobody seems to be there.
pub const WAIT_WITH_PERSON: Duration = Duration::from_secs(120);
/// As [`WAIT_WITH_PERSON`], when nobody seems to be there.
pub const WAIT_ALONE: Duration = Duration::from_secs(10);
/// How long a phone that left is waited for.
pub const RETURN_WAIT: Duration = Duration::from_secs(30);
/// As long as anybody wants to wait: the end is a request to stop. (A year, since a moment has to be computed from it.)
pub const WITHOUT_END: Duration = Duration::from_secs(365 * 24 * 3600);
/// How often the bus is asked while waiting for a return.
const POLL: Duration = Duration::from_millis(250);
/// A connection may break a moment before the muxer notices that the phone is gone.
const NOTICE_WAIT: Duration = Duration::from_millis(1500);

/// A phone that could not be read: what is known about it, how far we came, and the sentence.
#[derive(Debug)]
pub struct Unreached {
    /// How far we came; `None`: there is no phone at all.
    pub reach: Option<Reach>,
    /// What is known of the phone.
    pub device: Option<facts::Device>,
    /// Cause and next step.
    pub stop: Stop,
}

impl Unreached {
    fn without_phone(stop: Stop) -> Self {
        Self { reach: None, device: None, stop }
    }

    fn at(reach: Reach, udid: &str, stop: Stop) -> Self {
        let device = facts::Device { udid: udid.to_owned(), ..facts::Device::default() };
        Self { reach: Some(reach), device: Some(device), stop }
    }
}

/// Picks the phone: the named one, or the only one. `on_bus` is what the USB bus shows beside the muxer.
///
/// # Errors
/// None, several and none named, or only one that is in no state to be talked to.
pub async fn choose(
    muxer: &dyn Muxer,
    udid: Option<&str>,
    on_bus: &[OnBus],
) -> Result<Attached, Box<Unreached>> {
    let devices = match muxer.devices().await {
        Ok(devices) => devices,
        Err(error) => return Err(Box::new(no_muxer(&error, on_bus))),
    };
    match udid {
        Some(named) => named_one(&devices, named, on_bus),
        None => only_one(devices, on_bus),
    }
}

fn named_one(devices: &[Attached], named: &str, on_bus: &[OnBus]) -> Result<Attached, Box<Unreached>> {
    let Some(udid) = Udid::parse(named) else {
        return Err(Box::new(Unreached::without_phone(Stop::new(
            Trouble::Usage,
            format!("{:?} is no id of a device.", plain(named)),
            "The ids of what is plugged in: idevice-fix devices.",
        ))));
    };
    let same = |other: &str| other.eq_ignore_ascii_case(udid.as_str());
    if let Some(device) = devices.iter().find(|device| same(device.udid.as_str())) {
        return Ok(device.clone());
    }
    let on_bus = on_bus.iter().find(|seen| seen.udid.as_ref().is_some_and(|seen| same(seen.as_str())));
    Err(Box::new(match on_bus {
        Some(seen) => only_on_bus(seen),
        None => Unreached::without_phone(Stop::new(
            Trouble::NoDevice,
            format!("The device {udid} is not connected."),
            "Plug it in and unlock it, then run this again.",
        )),
    }))
}

fn only_one(mut devices: Vec<Attached>, on_bus: &[OnBus]) -> Result<Attached, Box<Unreached>> {
    match devices.len() {
        1 => Ok(devices.remove(0)),
        0 => Err(Box::new(on_bus.first().map_or_else(
            || {
                Unreached::without_phone(Stop::new(
                    Trouble::NoDevice,
                    "No iPhone or iPad is connected.",
                    "Plug it in with a data cable and unlock it, then run this again; idevice-fix doctor looks deeper.",
                ))
            },
            only_on_bus,
        ))),
        n => {
            let ids: Vec<&str> = devices.iter().map(|device| device.udid.as_str()).collect();
            Err(Box::new(Unreached::without_phone(Stop::new(
                Trouble::SeveralDevices,
                format!("{n} devices are connected: {}.", ids.join(", ")),
                "Name one with --udid.",
            ))))
        }
    }
}

/// A muxer that gives no list.
#[must_use]
pub fn no_muxer(error: &usbmux::Error, on_bus: &[OnBus]) -> Unreached {
    let cause = format!("{}.", sentence(&error.to_string()));
    let next = match error {
        usbmux::Error::NotRunning(_) => {
            "Install and start usbmuxd (on Debian: apt install usbmuxd), plug the phone in, and run this again."
        }
        usbmux::Error::NoPermission(_) => "Ask for access to it, or run this as a user who has it.",
        usbmux::Error::BadAddress(_) => "Correct USBMUXD_SOCKET_ADDRESS, or unset it.",
        _ => "Restart usbmuxd, plug the phone in again, and run this again.",
    };
    let trouble = match error {
        usbmux::Error::BadAddress(_) => Trouble::Usage,
        _ => Trouble::NoDevice,
    };
    let stop = Stop::new(trouble, cause, next);
    match on_bus.first().and_then(|seen| seen.udid.as_ref()) {
        Some(udid) if trouble == Trouble::NoDevice => Unreached {
            // Without a muxer there is no way to the phone: the contract wants no device in the answer.
            device: None,
            reach: Some(Reach::NoUsbmux),
            stop: Stop { cause: format!("{} A device is on the bus: {udid}.", stop.cause), ..stop },
        },
        _ => Unreached { reach: Some(Reach::NoUsbmux), device: None, stop },
    }
}

/// A phone that the bus shows and the muxer does not.
fn only_on_bus(seen: &OnBus) -> Unreached {
    let udid = seen.udid.as_ref().map_or("", |udid| udid.as_str());
    let (reach, cause, next) = match seen.mode {
        Mode::Recovery => (
            Reach::RecoveryMode,
            "The device is in recovery mode: it shows a cable and a computer, and iOS does not run.",
            "Restart it (on most models: volume up, volume down, then hold the side button until the apple).",
        ),
        Mode::Dfu => (
            Reach::DfuMode,
            "The device is in DFU mode: its screen is black, and iOS does not run.",
            "Hold the side and the volume down button for ten seconds, then switch it on.",
        ),
        Mode::Normal => return unlisted(seen, udid),
    };
    Unreached::at(reach, udid, Stop::new(Trouble::PersonNeeded, cause, next))
}

/// A phone with iOS that usbmuxd does not list.
fn unlisted(seen: &OnBus, udid: &str) -> Unreached {
    let (reach, trouble, cause, next) = match &seen.held_by {
        _ if !seen.permitted => (
            Reach::NoPermission,
            Trouble::NoDevice,
            "A device is on the bus, usbmuxd does not list it, and this user may not open it.".to_owned(),
            "Restart usbmuxd, or run this as a user who may open it; idevice-fix doctor says more.",
        ),
        Some(program) => (
            Reach::HeldByOtherProgram,
            Trouble::NoDevice,
            format!("A device is on the bus, but {} holds it.", plain(program)),
            "End that program and plug the device in again.",
        ),
        None if seen.has_multiplexer == Some(true) => (
            Reach::NoUsbmux,
            Trouble::NoDevice,
            "A device is on the bus and could be spoken to, but it is not listed.".to_owned(),
            "Unlock it and plug it in again; idevice-fix doctor says what may keep it.",
        ),
        None => (
            Reach::UsbRestricted,
            Trouble::PersonNeeded,
            "A device is on the bus, but it shows usbmuxd no data connection.".to_owned(),
            "Unlock it and plug it in again; if that does not help, restart usbmuxd.",
        ),
    };
    let mut unreached = Unreached::at(reach, udid, Stop::new(trouble, cause, next));
    if trouble == Trouble::NoDevice {
        unreached.device = None;
    }
    unreached
}

/// Opens a session, waiting for a person where one is needed.
///
/// # Errors
/// The phone does not let us in, or it left, or it was asked to stop.
pub async fn session(
    muxer: &Arc<dyn Muxer>,
    attached: Attached,
    wait: Duration,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Session, Box<Unreached>> {
    let udid = attached.udid.clone();
    let id = attached.id;
    let phone = Phone { muxer: Arc::clone(muxer), attached };
    match pairing::establish(&phone, wait, observer, cancel).await {
        Ok(session) => Ok(session),
        Err(NotReached::Cancelled) => Err(Box::new(Unreached::without_phone(Stop::interrupted()))),
        Err(NotReached::Obstacle(obstacle)) => {
            let (reach, stop) = obstacle_stop(&obstacle);
            Err(Box::new(Unreached::at(reach, udid.as_str(), stop)))
        }
        Err(NotReached::Failed(error)) => {
            let stop = if is_there(muxer.as_ref(), id).await {
                Stop::new(
                    Trouble::Failed,
                    format!("The phone could not be talked to: {}.", plain(&error.to_string())),
                    "Plug it in again and run this again.",
                )
            } else {
                gone()
            };
            Err(Box::new(Unreached { device: None, reach: None, stop }))
        }
    }
}

/// How far we came, when this stands in the way.
#[must_use]
pub fn of_obstacle(obstacle: &Obstacle) -> Reach {
    obstacle_stop(obstacle).0
}

/// What stands in the way, for people.
fn obstacle_stop(obstacle: &Obstacle) -> (Reach, Stop) {
    let again = "then run this again";
    let (reach, cause, next) = match obstacle {
        Obstacle::NotTrusted => {
            (Reach::NotTrusted, "The phone does not trust this computer yet.".to_owned(), format!("Unlock it, tap Trust and enter its passcode; {again}."))
        }
        Obstacle::Pending => (
            Reach::TrustPending,
            "The phone asks whether to trust this computer, and nobody has answered.".to_owned(),
            format!("Unlock it, tap Trust and enter its passcode; {again}."),
        ),
        Obstacle::Denied => (
            Reach::TrustDenied,
            "\"Don't Trust\" was tapped on the phone.".to_owned(),
            format!("Plug it in again and tap Trust; {again}."),
        ),
        Obstacle::Locked => {
            (Reach::Locked, "The phone is locked.".to_owned(), format!("Unlock it, {again}."))
        }
        Obstacle::NotUnlockedSinceBoot => (
            Reach::NotUnlockedSinceBoot,
            "The phone has not been unlocked since it was started.".to_owned(),
            format!("Unlock it once with its passcode, {again}."),
        ),
        Obstacle::Stale | Obstacle::UnusableRecord(_) => (
            Reach::StalePairing,
            "The phone does not accept the pairing with this computer any more.".to_owned(),
            format!("Unlock it, plug it in again and tap Trust; {again}."),
        ),
        Obstacle::Supervised => (
            Reach::PairingForbidden,
            "The phone is supervised and lets only its organisation's computers in.".to_owned(),
            "Ask its administrator.".to_owned(),
        ),
        Obstacle::Prohibited(word) => (
            Reach::PairingForbidden,
            format!("The phone forbids pairing ({}).", plain(word)),
            "If it is managed, ask its administrator.".to_owned(),
        ),
        Obstacle::KeyMismatch => (
            Reach::KeyMismatch,
            "Who answers does not hold the key of the phone that was paired with this computer.".to_owned(),
            "Plug the phone in directly, without anything between; if it was erased since, unpair it and pair again."
                .to_owned(),
        ),
        Obstacle::KeyChanged => (
            Reach::KeyChanged,
            "The phone does not know this computer, and it shows another key than when it was paired: it was erased \
             or restored since, or this is another device that gives itself out as that phone. It was not asked to \
             trust this computer."
                .to_owned(),
            "If you know that it was erased or restored, pair it anew on purpose (idevicepair pair), then run this \
             again. If not, do not trust what is plugged in."
                .to_owned(),
        ),
        Obstacle::Restoring => (
            Reach::RecoveryMode,
            "The phone is being restored: iOS does not run.".to_owned(),
            format!("Wait until it has started, {again}."),
        ),
    };
    (reach, Stop::new(Trouble::PersonNeeded, cause, next))
}

fn gone() -> Stop {
    Stop::new(
        Trouble::NoDevice,
        format!("The phone was unplugged and did not come back within {}.", words::duration(RETURN_WAIT)),
        "Everything that was complete is kept; plug it in and run the same command again to go on.",
    )
}

pub(super) fn sentence(text: &str) -> String {
    let clean = plain(text);
    let mut chars = clean.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

pub(super) async fn is_there(muxer: &dyn Muxer, id: DeviceId) -> bool {
    muxer.devices().await.is_ok_and(|devices| devices.iter().any(|device| device.id == id))
}

/// What a broken deed means for the visit.
#[derive(Debug)]
pub enum Broken {
    /// The phone is still there: the deed itself failed.
    StillThere,
    /// It left and is back, under this number.
    Back(Attached),
    /// It left and did not come back, or we were asked to stop.
    Over(Stop),
}

/// After a deed broke: did the phone leave? Then waits that long for its return.
pub async fn after_a_break(
    muxer: &dyn Muxer,
    attached: &Attached,
    wait: Duration,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Broken {
    let broke = Instant::now();
    while is_there(muxer, attached.id).await {
        if broke.elapsed() >= NOTICE_WAIT {
            return Broken::StillThere;
        }
        if pause(cancel).await.is_err() {
            return Broken::Over(Stop::interrupted());
        }
    }
    observer.event(Event::Note(if wait == WITHOUT_END {
        "The phone is gone. It is waited for until it is back; Ctrl-C ends it.".to_owned()
    } else {
        format!("The phone is gone. Plug it in again; it is waited for ({}).", words::duration(wait))
    }));
    observer.event(Event::Began { phase: Phase::Reach, bytes_total: None, items_total: None });
    let outcome = returned(muxer, &attached.udid, broke, wait, cancel).await;
    observer.event(Event::Ended { phase: Phase::Reach });
    match outcome {
        Ok(back) => Broken::Back(back),
        Err(stop) => Broken::Over(stop),
    }
}

/// After a phone was asked to restart: waits until it has left and is back.
///
/// # Errors
/// It never left, or it stays away, or we were asked to stop.
pub async fn after_a_restart(
    muxer: &dyn Muxer,
    attached: &Attached,
    leaves_within: Duration,
    wait: Duration,
    cancel: &CancellationToken,
) -> Result<Attached, Stop> {
    let asked = Instant::now();
    while is_there(muxer, attached.id).await {
        if asked.elapsed() >= leaves_within {
            return Err(Stop::new(
                Trouble::Failed,
                "The phone was asked to restart and does not.",
                "Restart it with its buttons.",
            ));
        }
        pause(cancel).await.map_err(|()| Stop::interrupted())?;
    }
    match returned(muxer, &attached.udid, Instant::now(), wait, cancel).await {
        Ok(back) => Ok(back),
        Err(stop) if stop.trouble == Trouble::Interrupted => Err(stop),
        Err(_) => Err(Stop::new(
            Trouble::NoDevice,
            format!("The phone restarted and did not come back within {}.", words::duration(wait)),
            "Unlock it and plug it in again, then run this again.",
        )),
    }
}

/// Waits until the phone is listed, for so long after `broke`.
///
/// # Errors
/// It did not come back, or we were asked to stop.
pub(super) async fn returned(
    muxer: &dyn Muxer,
    udid: &Udid,
    broke: Instant,
    wait: Duration,
    cancel: &CancellationToken,
) -> Result<Attached, Stop> {
    loop {
        // A muxer that is gone for a moment (usbmuxd ends with its last device) is waited for as well.
        let devices = muxer.devices().await.unwrap_or_default();
        if let Some(back) = devices.into_iter().find(|device| device.udid == *udid) {
            return Ok(back);
        }
        if broke.elapsed() >= wait {
            return Err(gone());
        }
        if pause(cancel).await.is_err() {
            return Err(Stop::interrupted());
        }
    }
}

async fn pause(cancel: &CancellationToken) -> Result<(), ()> {
    tokio::select! {
        () = cancel.cancelled() => Err(()),
        () = tokio::time::sleep(POLL) => Ok(()),
    }
}

/// A lockdown request that failed, for people. The caller has ruled out that the phone left.
#[must_use]
pub fn lockdown_stop(error: &lockdown::Error) -> Stop {
    let next = "Unlock the phone, plug it in again, and run the same command again to go on.";
    Stop::new(Trouble::Failed, format!("{}.", sentence(&error.to_string())), next)
}
