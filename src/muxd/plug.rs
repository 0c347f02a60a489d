//! The USB bus as phones come and go on it, and a phone made ready: its configuration chosen, its multiplexer's
//! interface claimed.
//!
//! What is done, and in which order, is what usbmuxd's `usb.c` does in both of its generations: the last configuration
//! that has the interface is taken, and a phone whose multiplexer is switched off is asked to switch it on. Knows
//! nothing of the mux protocol.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusb::{Context, Device, DeviceHandle, UsbContext};
use tokio::sync::OnceCell;

use super::descriptors::{self, CONFIGURATIONS_MAX, Configuration, Interface};
use super::line::Bulk;
use super::sysfs::{self, Sysfs};
use super::transfers::{Cable, Endpoints};
use super::uevents::Uevents;
use super::usb::{APPLE, Mode, read_serial};
use crate::usbmux::Udid;

/// The longest wait for an answer on the control endpoint.
const CONTROL_WAIT: Duration = Duration::from_secs(1);
/// The standard's request for a descriptor, and the kind that describes a configuration.
const FROM_DEVICE: u8 = 0x80;
const GET_DESCRIPTOR: u8 = 6;
const CONFIGURATION: u16 = 2 << 8;
/// Longer answers the kernel does not let through.
const DESCRIPTOR_BYTES_MAX: usize = 4096;
/// Apple's request for the mode, and for another one; to the device, of the vendor's kind, with an answer.
const GET_MODE: u8 = 0x45;
const SET_MODE: u8 = 0x52;
const FROM_APPLE: u8 = 0xC0;
/// The bit in an endpoint's address that means "to the host".
const TO_HOST: u8 = 0x80;
/// The mode with the multiplexer that every phone has.
const INITIAL_MODE: u16 = 1;

/// A phone on the bus, before anything is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// Number of the bus.
    pub bus: u8,
    /// Address on the bus; a re-plug gives another.
    pub address: u8,
    /// USB product id.
    pub product_id: u16,
    /// Speed of its link in bits per second; 0: not told.
    pub speed_bps: u64,
}

impl Seen {
    /// Where it is, in one number as muxers have it: the bus above, the address below.
    #[must_use]
    pub fn location_id(&self) -> u32 {
        u32::from(self.bus) << 16 | u32::from(self.address)
    }
}

/// A phone that can be spoken to.
#[derive(Debug)]
pub struct Ready {
    /// Who it is, by its serial number.
    pub udid: Udid,
    /// Its endpoints.
    pub bulk: Bulk,
    /// Keeps the endpoints open; to be dropped where waiting for a moment is allowed.
    pub hold: Arc<dyn Hold>,
}

/// What keeps a phone's endpoints open.
pub trait Hold: Send + Sync + std::fmt::Debug {
    /// Whether they are as they were. The kernel tells nobody when another program takes the configuration or the
    /// interface away: what was under way is simply never heard of again. May block for a moment.
    fn is_whole(&self) -> bool {
        true
    }
}

/// A cable into this computer.
#[derive(Debug)]
struct Plugged {
    _cable: Cable,
    entry: Option<sysfs::Device>,
    configuration: u8,
}

impl Hold for Plugged {
    fn is_whole(&self) -> bool {
        let Some(entry) = &self.entry else { return true };
        // A program that resets the phone takes the interface away and leaves the configuration as it was.
        entry.configuration().is_none_or(|now| now == self.configuration && entry.multiplexer_is_claimed())
    }
}

/// Why a phone on the bus cannot be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The device node is not this user's to open.
    #[error("this user may not open the device")]
    NotPermitted,
    /// Another program has its multiplexer.
    #[error("another program holds the device")]
    Held,
    /// It left, or leaves in order to come back otherwise.
    #[error("the device left the bus")]
    Gone,
    /// None of its configurations has a multiplexer; a phone that only charges is like this.
    #[error("the device shows no multiplexer")]
    NoMultiplexer,
    /// Its serial number is none.
    #[error("the device does not tell its serial number")]
    Nameless,
    /// Something else at the level of USB.
    #[error("{request}: {why}")]
    Usb {
        /// What was asked.
        request: &'static str,
        /// What came of it.
        why: String,
    },
}

/// The bus, or what stands for it. To see and to make ready may block for seconds.
#[async_trait]
pub trait Bus: Send + Sync + std::fmt::Debug {
    /// The phones that are plugged in and run iOS.
    ///
    /// # Errors
    /// When the bus could not be looked at, which says nothing of the phones.
    fn seen(&self) -> Result<Vec<Seen>, NotReady>;
    /// Makes one ready. Called within a runtime.
    ///
    /// # Errors
    /// [`NotReady`].
    fn ready(&self, seen: &Seen) -> Result<Ready, NotReady>;
    /// How long it has been plugged in, where that is known.
    fn plugged_for(&self, _seen: &Seen) -> Option<Duration> {
        None
    }
    /// Whether the system has done with it what it does with everything that is plugged in: before that its
    /// permissions, and its configuration, are not what they will be.
    fn is_seen_to(&self, _seen: &Seen) -> bool {
        true
    }
    /// Until something on the bus has changed, perhaps. Where nobody tells, without end.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}

/// The USB bus of this computer.
#[derive(Debug)]
pub struct Usb {
    sysfs: Sysfs,
    /// `None`: they cannot be heard.
    uevents: OnceCell<Option<Uevents>>,
}

impl Usb {
    /// Nothing is opened yet.
    #[must_use]
    pub fn system() -> Self {
        Self { sysfs: Sysfs::system(), uevents: OnceCell::new() }
    }
}

#[async_trait]
impl Bus for Usb {
    /// Reads what the kernel tells; where there is no such thing, libusb.
    fn seen(&self) -> Result<Vec<Seen>, NotReady> {
        let broke =
            |error: std::io::Error| NotReady::Usb { request: "a look at the bus", why: error.to_string() };
        let Some(plugged) = self.sysfs.made_by(APPLE).map_err(broke)? else { return seen_by_libusb() };
        let runs_ios = plugged.iter().filter(|it| Mode::of_product(it.product_id) == Some(Mode::Normal));
        let seen = runs_ios.map(|it| Seen {
            bus: it.bus,
            address: it.address,
            product_id: it.product_id,
            speed_bps: it.megabits_per_s * 1_000_000,
        });
        Ok(seen.collect())
    }

    fn ready(&self, seen: &Seen) -> Result<Ready, NotReady> {
        let began = Instant::now();
        let context = Context::new().map_err(|error| trouble("libusb", error))?;
        let devices = context.devices().map_err(|error| trouble("the list of devices", error))?;
        let is_it =
            |device: &Device<Context>| (device.bus_number(), device.address()) == (seen.bus, seen.address);
        let device = devices.iter().find(is_it).ok_or(NotReady::Gone)?;
        let handle = device.open().map_err(|error| trouble("open", error))?;
        tracing::debug!(after = ?began.elapsed(), "the device is open");
        let udid = self.name(seen, &device, &handle)?;
        let entry = self.sysfs.device(seen.bus, seen.address);
        let count = device.device_descriptor().map_or(0, |it| it.num_configurations());
        let described = configurations(entry.as_ref(), &handle, count);
        let Some(found) = choose(&described) else { return Err(switch_on(&handle, count)) };
        tracing::debug!(after = ?began.elapsed(), "its configurations are read");
        claim(&handle, &described, &found)?;
        tracing::debug!(after = ?began.elapsed(), "its interface is claimed");
        let (cable, bulk) = Cable::begin(handle, found.endpoints)
            .map_err(|error| NotReady::Usb { request: "bulk transfers", why: error.to_string() })?;
        let hold = Plugged { _cable: cable, entry, configuration: found.configuration };
        Ok(Ready { udid, bulk, hold: Arc::new(hold) })
    }

    fn plugged_for(&self, seen: &Seen) -> Option<Duration> {
        self.sysfs.device(seen.bus, seen.address)?.plugged_for()
    }

    fn is_seen_to(&self, seen: &Seen) -> bool {
        self.sysfs.device(seen.bus, seen.address).is_none_or(|device| self.sysfs.is_seen_to(&device))
    }

    async fn changed(&self) {
        let unheard = |error: std::io::Error| tracing::debug!("changes on the bus are not heard: {error}");
        let uevents = self.uevents.get_or_init(async || Uevents::open().map_err(unheard).ok()).await;
        if let Some(uevents) = uevents
            && uevents.next().await.map_err(unheard).is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

impl Usb {
    fn name(
        &self,
        seen: &Seen,
        device: &Device<Context>,
        handle: &DeviceHandle<Context>,
    ) -> Result<Udid, NotReady> {
        let known = self.sysfs.device(seen.bus, seen.address).and_then(|entry| entry.serial());
        let serial = known.or_else(|| read_serial(handle, &device.device_descriptor().ok()?));
        serial.as_deref().and_then(Udid::parse).ok_or(NotReady::Nameless)
    }
}

fn seen_by_libusb() -> Result<Vec<Seen>, NotReady> {
    let devices = Context::new().and_then(|context| context.devices());
    let devices = devices.map_err(|error| trouble("the list of devices", error))?;
    let seen = |device: Device<Context>| {
        let descriptor = device.device_descriptor().ok()?;
        let is_phone = descriptor.vendor_id() == APPLE
            && Mode::of_product(descriptor.product_id()) == Some(Mode::Normal);
        is_phone.then(|| Seen {
            bus: device.bus_number(),
            address: device.address(),
            product_id: descriptor.product_id(),
            speed_bps: match device.speed() {
                rusb::Speed::Full => 12_000_000,
                rusb::Speed::High => 480_000_000,
                rusb::Speed::Super => 5_000_000_000,
                rusb::Speed::SuperPlus => 10_000_000_000,
                _ => 0,
            },
        })
    };
    Ok(devices.iter().filter_map(seen).collect())
}

fn trouble(request: &'static str, error: rusb::Error) -> NotReady {
    match error {
        rusb::Error::Access => NotReady::NotPermitted,
        rusb::Error::Busy => NotReady::Held,
        rusb::Error::NoDevice => NotReady::Gone,
        other => NotReady::Usb { request, why: other.to_string() },
    }
}

/// Where a phone's multiplexer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    configuration: u8,
    interface: u8,
    endpoints: Endpoints,
}

/// The configurations as the kernel has read them; where it does not tell, as the phone does. Not by libusb: see
/// [`descriptors`].
fn configurations(
    entry: Option<&sysfs::Device>,
    handle: &DeviceHandle<Context>,
    count: u8,
) -> Vec<Configuration> {
    if let Some(bytes) = entry.and_then(sysfs::Device::configurations) {
        return descriptors::parse(&bytes);
    }
    let mut found = Vec::new();
    for index in 0..count.min(CONFIGURATIONS_MAX) {
        let (mut answer, which) = ([0; DESCRIPTOR_BYTES_MAX], CONFIGURATION | u16::from(index));
        let read = handle.read_control(FROM_DEVICE, GET_DESCRIPTOR, which, 0, &mut answer, CONTROL_WAIT);
        let bytes = read.ok().and_then(|length| answer.get(..length)).unwrap_or_default();
        found.extend(descriptors::parse(bytes).into_iter().next());
    }
    found
}

/// The multiplexer of the configuration with the highest value that has one.
pub(super) fn choose(described: &[Configuration]) -> Option<Found> {
    let mut ordered: Vec<&Configuration> = described.iter().filter(|it| it.value > 0).collect();
    ordered.sort_by_key(|configuration| std::cmp::Reverse(configuration.value));
    ordered.iter().find_map(|configuration| {
        configuration.interfaces.iter().find_map(|interface| {
            let endpoints = multiplexer(interface)?;
            Some(Found { configuration: configuration.value, interface: interface.number, endpoints })
        })
    })
}

/// The two bulk endpoints, if the interface is a multiplexer's. usbmuxd's newer generation is content with one of the
/// three numbers; real phones have them all.
fn multiplexer(interface: &Interface) -> Option<Endpoints> {
    const CLASS: [u8; 3] = [255, 254, 2];
    let [one, other] = interface.endpoints[..] else { return None };
    let is_input = |endpoint: descriptors::Endpoint| endpoint.address & TO_HOST != 0;
    let (input, out) = if is_input(one) { (one, other) } else { (other, one) };
    let fits = is_input(input) && !is_input(out) && input.is_bulk && out.is_bulk && out.packet_bytes > 0;
    (interface.class == CLASS && fits).then_some(Endpoints {
        out: out.address,
        input: input.address,
        packet_bytes: out.packet_bytes,
    })
}

/// Sets the configuration, unless it is set, and claims the interface. Drivers of the kernel's that hold interfaces of
/// the configuration before it are detached: cameras are usually claimed by one.
fn claim(handle: &DeviceHandle<Context>, described: &[Configuration], found: &Found) -> Result<(), NotReady> {
    let active = handle.active_configuration().map_err(|error| trouble("GetConfiguration", error))?;
    if active != found.configuration {
        let before = described.iter().filter(|configuration| configuration.value == active);
        for interface in before.flat_map(|configuration| &configuration.interfaces) {
            detach(handle, interface.number);
        }
        tracing::info!(from = active, to = found.configuration, "the phone's configuration is set");
        handle
            .set_active_configuration(found.configuration)
            .map_err(|error| trouble("SetConfiguration", error))?;
    }
    detach(handle, found.interface);
    handle.claim_interface(found.interface).map_err(|error| trouble("claim", error))
}

fn detach(handle: &DeviceHandle<Context>, interface: u8) {
    if handle.kernel_driver_active(interface).unwrap_or(false)
        && let Err(error) = handle.detach_kernel_driver(interface)
    {
        tracing::debug!(interface, "the kernel's driver stays: {error}");
    }
}

/// A phone without a multiplexer may have it switched off (its fifth mode shows a network and nothing else). It is asked
/// for the mode first: one that does not know the question has none. When it agrees it leaves the bus and comes back.
///
/// usbmuxd asks every phone, and takes one with another mode out of it. The modes between the first and the last have
/// the multiplexer too, and somebody may be using what else they have: they are left alone here.
fn switch_on(handle: &DeviceHandle<Context>, configurations: u8) -> NotReady {
    let mut mode = [0; 4];
    let knows = handle.read_control(FROM_APPLE, GET_MODE, 0, 0, &mut mode, CONTROL_WAIT) == Ok(4);
    if !knows || configurations != 1 {
        return NotReady::NoMultiplexer;
    }
    let mut answer = [1];
    match handle.read_control(FROM_APPLE, SET_MODE, 0, INITIAL_MODE, &mut answer, CONTROL_WAIT) {
        Ok(1) if answer == [0] => {
            tracing::info!("the phone's multiplexer is switched on: it leaves the bus and comes back");
            NotReady::Gone
        }
        _ => NotReady::NoMultiplexer,
    }
}

#[cfg(test)]
mod tests {
    use super::super::descriptors::Endpoint;
    use super::*;

    fn endpoint(address: u8) -> Endpoint {
        Endpoint { address, is_bulk: true, packet_bytes: 512 }
    }

    fn mux(number: u8) -> Interface {
        Interface { number, class: [255, 254, 2], endpoints: vec![endpoint(0x04), endpoint(0x85)] }
    }

    fn camera() -> Interface {
        let endpoints = vec![endpoint(0x81), endpoint(0x02), Endpoint { is_bulk: false, ..endpoint(0x83) }];
        Interface { number: 0, class: [6, 1, 1], endpoints }
    }

    fn with(value: u8, interfaces: &[Interface]) -> Configuration {
        Configuration { value, interfaces: interfaces.to_vec() }
    }

    #[test]
    fn the_last_configuration_with_a_multiplexer_is_taken_whatever_their_order() {
        let mut described = vec![
            with(1, &[camera()]),
            with(2, &[]),
            with(3, &[camera(), mux(1)]),
            with(4, &[camera(), mux(1), Interface { class: [255, 253, 1], ..mux(2) }]),
        ];
        let endpoints = Endpoints { out: 0x04, input: 0x85, packet_bytes: 512 };
        let found = Found { configuration: 4, interface: 1, endpoints };
        assert_eq!(choose(&described), Some(found));
        described.reverse();
        assert_eq!(choose(&described), Some(found));
        // In a mode of later phones the last one has no multiplexer.
        described.push(with(5, &[camera()]));
        assert_eq!(choose(&described), Some(found));
        assert_eq!(choose(&described[1..2]).unwrap().configuration, 3);
        assert_eq!(choose(&[with(1, &[camera()])]), None);
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn the_endpoints_may_stand_in_either_order() {
        let turned = Interface { endpoints: vec![endpoint(0x85), endpoint(0x04)], ..mux(1) };
        assert_eq!(multiplexer(&turned), multiplexer(&mux(1)));
    }

    #[test]
    fn descriptors_that_lie_make_no_multiplexer() {
        let bulk = [endpoint(0x04), endpoint(0x85)];
        let wrong: [(&str, Vec<Endpoint>); 6] = [
            ("none", vec![]),
            ("one", vec![bulk[0]]),
            ("three", vec![bulk[0], bulk[1], endpoint(0x86)]),
            ("both out", vec![endpoint(0x04), endpoint(0x05)]),
            ("both in", vec![endpoint(0x84), endpoint(0x85)]),
            ("no bulk", vec![bulk[0], Endpoint { is_bulk: false, ..bulk[1] }]),
        ];
        for (what, endpoints) in wrong {
            assert_eq!(multiplexer(&Interface { endpoints, ..mux(1) }), None, "{what}");
        }
        let nothing_fits = vec![Endpoint { packet_bytes: 0, ..bulk[0] }, bulk[1]];
        assert_eq!(multiplexer(&Interface { endpoints: nothing_fits, ..mux(1) }), None);
        for class in [[255, 254, 1], [255, 42, 2], [6, 254, 2]] {
            assert_eq!(multiplexer(&Interface { class, ..mux(1) }), None);
        }
        // A configuration of value 0 cannot be set: it means that there is none.
        assert_eq!(choose(&[with(0, &[mux(1)])]), None);
    }

    #[test]
    fn a_machine_without_phones_has_none_to_make_ready() {
        let usb = Usb::system();
        let nowhere = Seen { bus: 250, address: 250, product_id: 0x12a8, speed_bps: 0 };
        assert!(!usb.seen().unwrap_or_default().contains(&nowhere));
        assert!(usb.ready(&nowhere).is_err());
    }
}
