//! A running usbmuxd and our own multiplexer side by side: which of them a phone is reached through.
//!
//! A usbmuxd that answers has the phones. Where its udev rule is installed it is started by the plug, and is waited
//! for; when it does not come, or there is none, our own takes the phone. Our own holds a phone only as long as somebody
//! uses it: a usbmuxd that comes back finds the others free. Whoever asks sees the phones of both.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::muxer::{Manners, Muxd};
use super::neighbour::{STARTS_WITHIN, SystemUsbmuxd};
use super::plug::Bus;
use super::records::Records;
use crate::usbmux::client::Usbmuxd;
use crate::usbmux::server::is_served;
use crate::usbmux::{Address, Attached, DeviceId, Error, Event, Muxer, Stream, Udid};

/// The numbers of our own phones begin here; a usbmuxd counts from 1.
const OWN_FIRST: u32 = 1 << 28;
/// How often a usbmuxd that does not run is looked for by those who listen.
const LOOK: Duration = Duration::from_secs(1);
const EVENTS_WAITING_MAX: usize = 64;
/// Where udev's rules are, and what a udev that runs has.
const RULES: [&str; 5] = [
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
];
const UDEV: &str = "/run/udev/control";

/// See the module.
#[derive(Debug)]
pub struct Auto {
    system: Usbmuxd,
    own: Muxd,
}

impl Auto {
    /// The usbmuxd at `socket`, and our own on `bus`. Within a runtime.
    #[must_use]
    pub fn start(socket: &Path, bus: Arc<dyn Bus>, records: Records) -> Self {
        let starts_at_plug = rule_is_installed();
        if is_served(socket) {
            tracing::info!("phones are reached through the usbmuxd at {}", socket.display());
        } else if starts_at_plug {
            tracing::info!(
                "no usbmuxd answers at {}, but udev starts one at the plug: it has {STARTS_WITHIN:?}, then our own \
                 multiplexer takes the phone",
                socket.display()
            );
        } else {
            tracing::info!("no usbmuxd answers at {}: our own multiplexer takes phones", socket.display());
        }
        let system = Usbmuxd::at(Address::Unix(socket.to_owned()));
        let neighbour = Arc::new(SystemUsbmuxd::watch(system.clone(), starts_at_plug));
        let manners = Manners { first_id: OWN_FIRST, neighbour: Some(neighbour), ..Manners::default() };
        Self { system, own: Muxd::start(bus, records, manners) }
    }
}

/// Whether udev starts a usbmuxd at the plug.
fn rule_is_installed() -> bool {
    let is_one = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let is_named = name.to_str().is_some_and(|name| name.contains("usbmuxd") && name.ends_with(".rules"));
        // A rule is switched off by a link to /dev/null, or an empty file, of its name.
        is_named && entry.path().metadata().is_ok_and(|about| about.is_file() && about.len() > 0)
    };
    let mut folders = RULES.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    Path::new(UDEV).exists() && folders.any(|folder| folder.flatten().any(is_one))
}

/// What the system's answers, unless it does not run: then our own.
macro_rules! system_else_own {
    ($self:ident . $method:ident ( $($argument:expr),* )) => {
        match $self.system.$method($($argument),*).await {
            Err(Error::NotRunning(_)) => $self.own.$method($($argument),*).await,
            other => other,
        }
    };
}

#[async_trait]
impl Muxer for Auto {
    async fn devices(&self) -> Result<Vec<Attached>, Error> {
        let mut devices = match self.system.devices().await {
            Ok(devices) => devices,
            Err(Error::NotRunning(_)) => return self.own.devices().await,
            Err(error) => return Err(error),
        };
        let ours = self.own.listed().into_iter().filter(|own| devices.iter().all(|it| it.udid != own.udid));
        let ours: Vec<Attached> = ours.collect();
        devices.extend(ours);
        Ok(devices)
    }

    async fn listen(&self) -> Result<mpsc::Receiver<Event>, Error> {
        let theirs = match self.system.listen().await {
            Ok(events) => Some(events),
            Err(Error::NotRunning(_)) => None,
            Err(error) => return Err(error),
        };
        let ours = self.own.listen().await?;
        let (teller, told) = mpsc::channel(EVENTS_WAITING_MAX);
        tokio::spawn(tell_of_both(self.system.clone(), theirs, ours, teller));
        Ok(told)
    }

    async fn connect(&self, device: DeviceId, port: u16) -> Result<Stream, Error> {
        if is_own(device) {
            self.own.connect(device, port).await
        } else {
            self.system.connect(device, port).await
        }
    }

    async fn buid(&self) -> Result<String, Error> {
        system_else_own!(self.buid())
    }

    async fn pair_record(&self, udid: &Udid) -> Result<Option<Vec<u8>>, Error> {
        system_else_own!(self.pair_record(udid))
    }

    async fn save_pair_record(
        &self,
        udid: &Udid,
        device: Option<DeviceId>,
        record: &[u8],
    ) -> Result<(), Error> {
        // A number of ours means nothing to a usbmuxd, and the other way round.
        let theirs = device.filter(|id| !is_own(*id));
        match self.system.save_pair_record(udid, theirs, record).await {
            Err(Error::NotRunning(_)) => self.own.save_pair_record(udid, device, record).await,
            other => other,
        }
    }

    async fn delete_pair_record(&self, udid: &Udid) -> Result<(), Error> {
        system_else_own!(self.delete_pair_record(udid))
    }
}

fn is_own(device: DeviceId) -> bool {
    device.0 >= OWN_FIRST
}

/// Tells what happens at either, until nobody listens. A usbmuxd that begins is listened to. When one ends, so does
/// this: its phones are as likely to be back in a moment, with it or with our own, as to have been pulled out, and whoever
/// listens anew is told which are there.
async fn tell_of_both(
    system: Usbmuxd,
    mut theirs: Option<mpsc::Receiver<Event>>,
    mut ours: mpsc::Receiver<Event>,
    teller: mpsc::Sender<Event>,
) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let told = tokio::select! {
            () = teller.closed() => return,
            event = ours.recv() => match event {
                // It was too much for us: whoever listens anew hears of all there are.
                None => return,
                event => event,
            },
            event = next_of(&mut theirs, &mut look) => event,
        };
        match told {
            Some(event) => {
                if teller.send(event).await.is_err() {
                    return;
                }
            }
            None if theirs.is_some() => return,
            None => theirs = system.listen().await.ok(),
        }
    }
}

/// The next event of a usbmuxd; `None`: it has ended, or it is time to look for one.
async fn next_of(theirs: &mut Option<mpsc::Receiver<Event>>, look: &mut Interval) -> Option<Event> {
    match theirs {
        Some(events) => events.recv().await,
        None => {
            look.tick().await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plug::{NotReady, Ready, Seen};
    use super::*;
    use crate::usbmux::server::tests::{Served, phone};

    /// No phone is on it.
    #[derive(Debug)]
    struct Empty;

    impl Bus for Empty {
        fn seen(&self) -> Result<Vec<Seen>, NotReady> {
            Ok(Vec::new())
        }

        fn ready(&self, _seen: &Seen) -> Result<Ready, NotReady> {
            Err(NotReady::Gone)
        }
    }

    #[tokio::test]
    async fn a_usbmuxd_that_ends_says_nothing_of_its_phones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usbmuxd");
        let records = Records::in_folders([folder.path().join("lockdown")]);
        let auto = Auto::start(&path, Arc::new(Empty), records);
        assert_eq!(auto.devices().await.unwrap(), []);
        let mut events = auto.listen().await.unwrap();
        let served = Served::at(path, folder);
        let wait = Duration::from_secs(20);
        let first = tokio::time::timeout(wait, events.recv()).await.expect("it is found when it comes");
        assert_eq!(first, Some(Event::Attached(phone())));
        assert_eq!(auto.devices().await.unwrap(), [phone()]);
        served.stop().await;
        // No word of the phone, which may well be there in a moment.
        assert_eq!(tokio::time::timeout(wait, events.recv()).await.expect("that is told"), None);
        assert!(auto.listen().await.unwrap().try_recv().is_err() && auto.devices().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_lost_events_of_our_own_is_told_to_read_the_list_anew() {
        let folder = tempfile::tempdir().unwrap();
        let nobody = Usbmuxd::at(Address::Unix(folder.path().join("usbmuxd")));
        let (ours, told_of_ours) = mpsc::channel(4);
        let (teller, mut told) = mpsc::channel(4);
        tokio::spawn(tell_of_both(nobody, None, told_of_ours, teller));
        let wait = Duration::from_secs(20);
        ours.send(Event::Attached(phone())).await.unwrap();
        let first = tokio::time::timeout(wait, told.recv()).await.unwrap();
        assert_eq!(first, Some(Event::Attached(phone())));
        // What a multiplexer does with a listener that let too many wait.
        drop(ours);
        assert_eq!(tokio::time::timeout(wait, told.recv()).await.expect("that is told"), None);
    }
}
