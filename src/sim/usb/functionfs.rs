//! A simulated iPhone as a USB device of a Linux machine that has a device controller, or of one with `dummy_hcd`, which
//! is both ends of a cable: FunctionFS. There bulk transfers are cut into packets by the kernel, and end as on a real
//! cable.
//!
//! Which configurations there are, and what the device calls itself, is said in configfs by whoever mounts the file
//! system; here is the multiplexer's interface. Described by the kernel's `linux/usb/functionfs.h`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Answer, Phone, Setup};
use crate::sim::config::Speed;
use crate::sim::{Bus, Device};
use crate::usbmux::{Event, Muxer};

const DESCRIPTORS_MAGIC: u32 = 3;
const STRINGS_MAGIC: u32 = 2;
const HAS_HIGH_SPEED: u32 = 2;
const HAS_SUPER_SPEED: u32 = 4;
/// Requests to the device, and those before a configuration is set, come here too: Apple's own are such.
const ALL_REQUESTS: u32 = 64 | 128;
/// An event: a setup packet, its kind, three bytes of nothing.
const EVENT_BYTES: usize = 12;
/// The kernel keeps four.
const EVENTS_MAX: usize = 4;
/// More than the longest transfer of any host, so that only a short packet ends a read.
const READ_BYTES: usize = 64 << 10;
/// A configuration with the multiplexer, whatever the one that the host has set is called.
const CONFIGURATION: u16 = 3;
const SET_CONFIGURATION: u8 = 9;
/// `ESHUTDOWN`: the host has set no configuration with this interface.
const NOT_CONFIGURED: i32 = 108;
/// `EL2HLT`: how a stalled control transfer is reported to whoever stalled it.
const STALLED: i32 = 51;
/// `EIDRM`: the host asks something else instead.
const ASKED_ANEW: i32 = 43;
const TO_HOST: u8 = 0x80;

/// The mux's interface and its two endpoints, the one to the phone first.
fn descriptors(speed: Speed) -> Vec<u8> {
    let (flag, packet_bytes) = match speed {
        Speed::High => (HAS_HIGH_SPEED, 512_u16),
        Speed::Super => (HAS_SUPER_SPEED, 1024),
    };
    let [low, high] = packet_bytes.to_le_bytes();
    let mut described = vec![9, 4, 0, 0, 2, 255, 254, 2, 0];
    let mut count = 1_u32;
    for address in [super::descriptors::MUX_ENDPOINTS.out, super::descriptors::MUX_ENDPOINTS.input] {
        described.extend([7, 5, address, 2, low, high, 0]);
        count += 1;
        if flag == HAS_SUPER_SPEED {
            described.extend([6, 48, 0, 0, 0, 0]);
            count += 1;
        }
    }
    let length = u32::try_from(16 + described.len()).expect("a few bytes");
    let head = [DESCRIPTORS_MAGIC, length, flag | ALL_REQUESTS, count];
    head.iter().flat_map(|number| number.to_le_bytes()).chain(described).collect()
}

/// None.
fn strings() -> Vec<u8> {
    [STRINGS_MAGIC, 16, 0, 0].iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// What the kernel tells of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It has set a configuration with this interface.
    Enabled,
    /// It has taken it away.
    Disabled,
    /// It asks something.
    Asked(Setup),
    /// What changes nothing.
    Other,
}

fn told(event: &[u8; EVENT_BYTES]) -> Told {
    let [s0, s1, s2, s3, s4, s5, s6, s7, kind, ..] = *event;
    match kind {
        2 => Told::Enabled,
        1 | 3 => Told::Disabled,
        4 => Told::Asked(Setup::parse([s0, s1, s2, s3, s4, s5, s6, s7])),
        _ => Told::Other,
    }
}

type Reply = oneshot::Sender<Option<Vec<u8>>>;

/// Reads what the kernel tells, until there is nobody to tell it to. `None` as a reply: the phone does not do that.
fn hear(mut control: &File, tells: &mpsc::Sender<(Told, Option<Reply>)>) -> io::Result<()> {
    let mut events = [0; EVENTS_MAX * EVENT_BYTES];
    loop {
        let read = match control.read(&mut events) {
            Err(error) if is_one_of(&error, &[ASKED_ANEW]) => continue,
            other => other?,
        };
        for event in events[..read].chunks_exact(EVENT_BYTES) {
            let told = told(event.try_into().expect("chunks of this length"));
            let Told::Asked(setup) = told else {
                if tells.blocking_send((told, None)).is_err() {
                    return Ok(());
                }
                continue;
            };
            let (reply, replied) = oneshot::channel();
            if tells.blocking_send((told, Some(reply))).is_err() {
                return Ok(());
            }
            answer(control, &setup, replied.blocking_recv().ok().flatten())?;
        }
    }
}

/// A request is stalled by moving no bytes the wrong way.
fn answer(mut control: &File, setup: &Setup, reply: Option<Vec<u8>>) -> io::Result<()> {
    let to_host = setup.request_type & TO_HOST != 0;
    let done = match reply {
        Some(bytes) if to_host => control.write(&bytes).map(drop),
        None if to_host => control.read(&mut []).map(drop),
        Some(_) => control.read(&mut vec![0; usize::from(setup.length)]).map(drop),
        None => control.write(&[]).map(drop),
    };
    match done {
        Err(error) if is_one_of(&error, &[STALLED, NOT_CONFIGURED, ASKED_ANEW]) => Ok(()),
        other => other,
    }
}

fn is_one_of(error: &io::Error, codes: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Bulk OUT transfers, whole, until there is nobody for them.
fn take_out(mut endpoint: File, transfers: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match endpoint.read(&mut buffer) {
            Ok(bytes) => {
                if transfers.blocking_send(buffer[..bytes].to_vec()).is_err() {
                    return;
                }
            }
            // The next read waits for the next configuration.
            Err(error) if is_one_of(&error, &[NOT_CONFIGURED]) => std::thread::yield_now(),
            Err(error) => return tracing::debug!("the simulated phone's endpoint to it is gone: {error}"),
        }
    }
}

/// Bulk IN transfers; those of a configuration that is over are for nobody.
fn put_in(mut endpoint: File, mut transfers: mpsc::Receiver<(u64, Vec<u8>)>, age: &AtomicU64) {
    while let Some((of, bytes)) = transfers.blocking_recv() {
        if of != age.load(Ordering::Acquire) {
            continue;
        }
        match endpoint.write(&bytes) {
            Ok(_) => {}
            Err(error) if is_one_of(&error, &[NOT_CONFIGURED]) => {}
            Err(error) => return tracing::debug!("the simulated phone's endpoint from it is gone: {error}"),
        }
    }
}

/// The files of the mounted FunctionFS, and the threads that wait at them: those calls cannot be broken off.
struct Gadget {
    told: mpsc::Receiver<(Told, Option<Reply>)>,
    out: mpsc::Receiver<Vec<u8>>,
    input: mpsc::Sender<(u64, Vec<u8>)>,
    age: Arc<AtomicU64>,
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
        let young = Arc::clone(&age);
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("gadget events").spawn(move || {
            if let Err(error) = hear(&control, &tells) {
                tracing::debug!("the simulated phone's control endpoint is gone: {error}");
            }
        })?;
        thread("gadget out").spawn(move || take_out(to_phone, &taken))?;
        thread("gadget in").spawn(move || put_in(from_phone, given, &young))?;
        Ok(Self { told, out, input, age })
    }

    /// Carries the phone's transfers as long as there is a file system.
    async fn carry(mut self, phone: &mut Phone) {
        let mut waiting = None;
        loop {
            if waiting.is_none() {
                waiting = phone.give();
            }
            tokio::select! {
                told = self.told.recv() => match told {
                    None => return,
                    Some((told, reply)) => {
                        if let Some(answer) = self.see(phone, told) {
                            if let Some(reply) = reply { let _ = reply.send(answer); }
                        } else {
                            waiting = None;
                        }
                    }
                },
                out = self.out.recv() => match out {
                    None => return,
                    Some(bytes) => take(phone, &bytes),
                },
                place = self.input.reserve(), if waiting.is_some() => match (place, waiting.take()) {
                    (Ok(place), Some(bytes)) => place.send((self.age.load(Ordering::Acquire), bytes)),
                    _ => return,
                },
                () = phone.happens() => {}
            }
        }
    }

    /// `None`: there is another configuration, and what was on its way is not any more.
    fn see(&self, phone: &mut Phone, told: Told) -> Option<Option<Vec<u8>>> {
        let value = match told {
            Told::Enabled => CONFIGURATION,
            Told::Disabled => 0,
            Told::Other => return Some(None),
            Told::Asked(setup) => {
                return Some(match phone.control(&setup) {
                    Answer::Done(bytes) | Answer::Leaves(bytes) => Some(bytes),
                    Answer::Configured(_) | Answer::Stall => None,
                });
            }
        };
        self.age.fetch_add(1, Ordering::AcqRel);
        let configure = Setup { request_type: 0, request: SET_CONFIGURATION, value, index: 0, length: 0 };
        let _ = phone.control(&configure);
        None
    }
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
        () = gadget.carry(&mut phone) => {}
        () = unplugged => {}
        () = stop.cancelled() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_have_the_length_and_the_count_that_they_announce() {
        for (speed, endpoints, companions) in [(Speed::High, 2, 0), (Speed::Super, 2, 2)] {
            let bytes = descriptors(speed);
            let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!(usize::try_from(number(4)).unwrap(), bytes.len());
            let mut kinds = Vec::new();
            let mut rest = &bytes[16..];
            while let [length, kind, ..] = *rest {
                kinds.push(kind);
                rest = &rest[usize::from(length)..];
            }
            let count = |wanted: u8| kinds.iter().filter(|kind| **kind == wanted).count();
            assert_eq!((count(4), count(5), count(48)), (1, endpoints, companions));
            assert_eq!(usize::try_from(number(12)).unwrap(), kinds.len());
        }
        assert_eq!(strings().len(), 16);
    }

    #[test]
    fn events_are_told_apart_and_unknown_ones_change_nothing() {
        let event = |kind: u8| {
            let mut event = [0; EVENT_BYTES];
            event[..8].copy_from_slice(&[0xC0, 0x45, 0, 0, 0, 0, 4, 0]);
            event[8] = kind;
            told(&event)
        };
        assert_eq!(event(2), Told::Enabled);
        assert_eq!((event(1), event(3)), (Told::Disabled, Told::Disabled));
        let mode = Setup { request_type: 0xC0, request: 0x45, value: 0, index: 0, length: 4 };
        assert_eq!(event(4), Told::Asked(mode));
        for kind in [0, 5, 6, 7, 255] {
            assert_eq!(event(kind), Told::Other);
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_no_functionfs_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Gadget::begin(folder.path(), Speed::High).is_err());
    }
}
