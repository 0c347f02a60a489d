//! A simulated iPhone as a USB device of a Linux machine that has a device controller, or of one with `dummy_hcd`, which
//! is both ends of a cable: FunctionFS. There bulk transfers are cut into packets by the kernel, and end as on a real
//! cable.
//!
//! Which configurations there are, and what the device calls itself, is said in configfs by whoever mounts the file
//! system; here is the multiplexer's interface. What the files of the file system take and tell stands in [`files`].

mod files;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::files::{Heard, READ_BYTES, Told, descriptors, hear, put_in, strings, take_out};
use super::{Answer, Phone, Setup};
use crate::sim::config::Speed;
use crate::sim::{Bus, Device};
use crate::usbmux::{Event, Muxer};

/// A configuration with the multiplexer, whatever the one that the host has set is called.
const CONFIGURATION: u16 = 3;
const SET_CONFIGURATION: u8 = 9;

/// The files of the mounted FunctionFS, and the threads that wait at them: those calls cannot be broken off.
struct Gadget {
    told: mpsc::Receiver<Heard>,
    out: mpsc::Receiver<(u64, Vec<u8>)>,
    input: mpsc::Sender<(u64, Vec<u8>)>,
}

impl Gadget {
    fn begin(folder: &Path, speed: Speed) -> io::Result<Self> {
        let open = |name: &str| OpenOptions::new().read(true).write(true).open(folder.join(name));
        let mut control = open("ep0")?;
        control.write_all(&descriptors(speed))?;
        control.write_all(&strings())?;
        let (to_phone, from_phone) = (open("ep1")?, open("ep2")?);
        let (tells, told) = mpsc::channel(1);
        let (taken, out) = mpsc::channel(1);
        let (input, given) = mpsc::channel(1);
        let age = Arc::new(AtomicU64::new(0));
        let (age_for_out, age_for_in) = (Arc::clone(&age), Arc::clone(&age));
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("gadget events").spawn(move || {
            if let Err(error) = hear(&control, &tells, &age) {
                tracing::debug!("the simulated phone's control endpoint is gone: {error}");
            }
        })?;
        thread("gadget out").spawn(move || take_out(to_phone, &taken, &age_for_out))?;
        thread("gadget in").spawn(move || put_in(from_phone, given, &age_for_in))?;
        Ok(Self { told, out, input })
    }

    /// Carries the phone's transfers as long as there is a file system.
    async fn carry(mut self, phone: &mut Phone) {
        // The age of the configuration that the phone knows of, and what came in the next one already.
        let (mut age, mut early) = (0, None);
        let mut waiting = None;
        loop {
            if waiting.is_none() {
                waiting = phone.give();
            }
            tokio::select! {
                heard = self.told.recv() => match heard {
                    None => return,
                    Some(heard) => {
                        let is_another = heard.age != age;
                        age = heard.age;
                        if see(phone, heard) {
                            waiting = None;
                        }
                        if is_another {
                            early = early.and_then(|transfer| take_in_time(phone, age, transfer));
                        }
                    }
                },
                out = self.out.recv(), if early.is_none() => match out {
                    None => return,
                    Some(transfer) => early = take_in_time(phone, age, transfer),
                },
                place = self.input.reserve(), if waiting.is_some() => match (place, waiting.take()) {
                    (Ok(place), Some(bytes)) => place.send((age, bytes)),
                    _ => return,
                },
                () = phone.happens() => {}
            }
        }
    }
}

/// Tells the phone. True: its configuration is another one, and what was on its way is not any more.
fn see(phone: &mut Phone, heard: Heard) -> bool {
    let value = match heard.told {
        Told::Enabled => CONFIGURATION,
        Told::Disabled => 0,
        Told::Other => return false,
        Told::Asked(setup) => {
            let answer = match phone.control(&setup) {
                Answer::Done(bytes) | Answer::Leaves(bytes) => Some(bytes),
                Answer::Configured(_) | Answer::Stall => None,
            };
            if let Some(reply) = heard.reply {
                let _ = reply.send(answer);
            }
            return false;
        }
    };
    let configure = Setup { request_type: 0, request: SET_CONFIGURATION, value, index: 0, length: 0 };
    let _ = phone.control(&configure);
    true
}

/// A transfer belongs to the configuration in which it came: one of an earlier one is nobody's, and one of a later one
/// is given back until the kernel's word of that has come, too.
fn take_in_time(phone: &mut Phone, age: u64, (of, bytes): (u64, Vec<u8>)) -> Option<(u64, Vec<u8>)> {
    if of > age {
        return Some((of, bytes));
    }
    if of == age {
        take(phone, &bytes);
    }
    None
}

/// A read ends with a packet that is not full; where it does not look so, with an empty one.
fn take(phone: &mut Phone, bytes: &[u8]) {
    phone.take(bytes);
    let is_full = bytes.len().is_multiple_of(usize::from(phone.bulk_packet_bytes()));
    if is_full && !bytes.is_empty() && bytes.len() < READ_BYTES {
        phone.take(&[]);
    }
}

/// Offers `device` as the interface of the FunctionFS mounted at `folder`, until `stop` or until it leaves `bus`.
///
/// # Errors
/// When that is no FunctionFS, or another program has it.
pub async fn run(bus: Bus, device: Arc<Device>, folder: &Path, stop: CancellationToken) -> io::Result<()> {
    let mut events = bus.listen().await.map_err(io::Error::other)?;
    let plugged = bus.devices().await.map_err(io::Error::other)?;
    let attached = plugged.into_iter().find(|attached| attached.udid == *device.udid());
    let attached = attached.ok_or_else(|| io::Error::other("the phone is not on the bus"))?;
    let (id, usb) = (attached.id, device.config().usb.clone());
    let gadget = Gadget::begin(folder, usb.speed)?;
    let mut phone = Phone::new(Arc::new(bus), attached, &usb);
    let unplugged = async move {
        while let Some(event) = events.recv().await {
            if event == Event::Detached(id) {
                break;
            }
        }
    };
    tokio::select! {
        () = gadget.carry(&mut phone) => Err(io::Error::other("its files cannot be read any more")),
        () = unplugged => Ok(()),
        () = stop.cancelled() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_came_in_one_configuration_does_not_reach_the_phone_in_the_next() {
        use crate::sim::usb::tests::phone_folder;
        use crate::usbmux::packet::{Message, Packet};
        let (_folder, bus) = phone_folder(1);
        let attached = bus.devices().await.unwrap().remove(0);
        let mut phone = Phone::new(Arc::new(bus), attached, &crate::sim::config::Usb::default());
        let (tells, told) = mpsc::channel(4);
        let (takes, out) = mpsc::channel(4);
        let (input, mut given) = mpsc::channel(4);
        let carried = async { Gadget { told, out, input }.carry(&mut phone).await };
        let tell = async |told: Told, age: u64| tells.send(Heard { told, age, reply: None }).await.unwrap();
        let version = Packet { numbers: None, message: Message::Version { major: 2, minor: 0 } }.encode();
        let said = async {
            tell(Told::Enabled, 1).await;
            takes.send((1, version.clone())).await.unwrap();
            assert_eq!(given.recv().await.map(|(of, _)| of), Some(1));
            // The host sets it anew: what it had said before that is for nobody, and the new word is early.
            tell(Told::Enabled, 3).await;
            takes.send((1, version.clone())).await.unwrap();
            takes.send((5, version.clone())).await.unwrap();
            let nothing = tokio::time::timeout(Duration::from_millis(300), given.recv()).await;
            assert!(nothing.is_err(), "{nothing:?}");
            tell(Told::Enabled, 5).await;
            assert_eq!(given.recv().await.map(|(of, _)| of), Some(5));
        };
        tokio::select! {
            () = carried => panic!("it goes on"),
            done = tokio::time::timeout(Duration::from_secs(20), said) => done.unwrap(),
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_no_functionfs_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Gadget::begin(folder.path(), Speed::High).is_err());
    }
}
