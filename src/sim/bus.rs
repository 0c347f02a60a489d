//! A bus with simulated phones on it: a [`Muxer`] in process.
//!
//! Plugs phones in and out, tells who listens, keeps the host's pair records, and connects ports: lockdown's own, and
//! those that lockdown opens for a service, each good for one connection.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cap_std::fs::Dir;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::config::{Lock, Speed};
use super::connections::{Connections, Entry};
use super::device::{Departure, Device};
use super::direct::Direct;
use super::host_records::Records;
use super::link::Cable;
use super::lockdownd::Lockdownd;
use super::pipe;
use super::ports::{Ports, Waiting};
use super::timer;
use crate::lockdown;
use crate::usbmux::{Attached, DeviceId, Error, Event, Muxer, Opened, Socket, Stream, Udid};

/// A phone that left comes back after this.
pub const AWAY: Duration = Duration::from_secs(2);
/// Events that a listener may lag behind before it is dropped.
const EVENTS_KEPT: usize = 1024;
/// How often a socket is looked at for whether its host has left.
const LOOK_FOR_HOST: Duration = Duration::from_secs(1);
/// A service may go on for so long after its host has left, to take in what was sent.
const AFTER_HOST_LEFT: Duration = Duration::from_secs(5);

/// A muxer with simulated phones. Clones share the bus.
#[derive(Debug, Clone)]
pub struct Bus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    slots: Vec<Slot>,
    state: Mutex<State>,
    records: Records,
}

#[derive(Debug)]
struct Slot {
    device: Arc<Device>,
    cable: Arc<Cable>,
}

#[derive(Debug)]
struct State {
    /// For each slot, the phone that is plugged in.
    plugs: Vec<Option<Plug>>,
    next_id: u32,
    listeners: Vec<mpsc::Sender<Event>>,
}

/// One stay of a phone on the bus.
#[derive(Debug)]
struct Plug {
    attached: Attached,
    ports: Arc<Ports>,
    gone: CancellationToken,
    connections: Arc<Connections>,
}

impl Bus {
    /// A bus with `devices` plugged in, whose pair records live in memory.
    #[must_use]
    pub fn new(devices: Vec<Arc<Device>>) -> Self {
        Self::with(devices, Records::default())
    }

    /// A bus with `devices` plugged in, whose pair records are files in `records`, as usbmuxd keeps them.
    #[must_use]
    pub fn with_records(devices: Vec<Arc<Device>>, records: Dir) -> Self {
        Self::with(devices, Records::in_folder(records))
    }

    fn with(devices: Vec<Arc<Device>>, records: Records) -> Self {
        let slots: Vec<_> = devices
            .into_iter()
            .map(|device| Slot { cable: Cable::new(Arc::clone(&device)), device })
            .collect();
        let plugs = slots.iter().map(|_| None).collect();
        let state = Mutex::new(State { plugs, next_id: 1, listeners: Vec::new() });
        let inner = Arc::new(Inner { slots, state, records });
        for (slot, Slot { device, .. }) in inner.slots.iter().enumerate() {
            let bus = Arc::downgrade(&inner);
            device.on_leave(Box::new(move |departure| depart(&bus, slot, departure)));
            inner.plug_in(slot);
        }
        Self(inner)
    }
}

/// With the bus its connections end, and with them what the phones keep for them.
impl Drop for Inner {
    fn drop(&mut self) {
        self.state().plugs.iter().flatten().for_each(|plug| plug.gone.cancel());
    }
}

/// A phone leaves the bus, and comes back where it does.
fn depart(bus: &Weak<Inner>, slot: usize, departure: Departure) {
    let Some(inner) = bus.upgrade() else { return };
    if !inner.plug_out(slot) || departure == Departure::Off {
        return;
    }
    let device = Arc::clone(&inner.slots[slot].device);
    if departure == Departure::Restart {
        device.set_lock(Lock::BeforeFirstUnlock);
    }
    let bus = Weak::clone(bus);
    // Phones leave because of what a service did, and services are tasks; without a runtime nobody can wait.
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        tokio::time::sleep(AWAY).await;
        if departure == Departure::Restart {
            device.starts().await;
        }
        let Some(inner) = bus.upgrade() else { return };
        inner.plug_in(slot);
        if departure == Departure::Restart {
            device.wants_unlock();
        }
    });
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plug_in(&self, slot: usize) {
        let device = &self.slots[slot].device;
        device.plugged_in();
        let usb = device.config().usb.clone();
        let mut state = self.state();
        let id = DeviceId(state.next_id);
        state.next_id += 1;
        let attached = Attached {
            id,
            udid: device.udid().clone(),
            product_id: usb.product_id,
            // Bus 1; the first phone has the address 2, as behind a root hub.
            location_id: 1 << 16 | u32::try_from(slot + 2).unwrap_or(u32::MAX >> 16),
            speed_bps: match usb.speed {
                Speed::High => 480_000_000,
                Speed::Super => 5_000_000_000,
            },
        };
        state.plugs[slot] = Some(Plug {
            attached: attached.clone(),
            ports: Arc::default(),
            gone: CancellationToken::new(),
            connections: Arc::default(),
        });
        state.tell(&Event::Attached(attached));
    }

    /// False: it was not there.
    fn plug_out(&self, slot: usize) -> bool {
        let mut state = self.state();
        let Some(plug) = state.plugs[slot].take() else { return false };
        plug.gone.cancel();
        state.tell(&Event::Detached(plug.attached.id));
        true
    }

    /// Takes up a connection on the phone's side.
    fn admit(&self, id: DeviceId, port: u16) -> Result<Admitted, Error> {
        let state = self.state();
        let plugged = |plug: &Option<Plug>| plug.as_ref().is_some_and(|plug| plug.attached.id == id);
        let slot = state.plugs.iter().position(plugged).ok_or(Error::NoSuchDevice)?;
        let plug = state.plugs[slot].as_ref().ok_or(Error::NoSuchDevice)?;
        let entry = plug.connections.enter().ok_or(Error::Refused(port))?;
        let waiting = if port == lockdown::PORT {
            None
        } else {
            Some(plug.ports.take(port).ok_or(Error::Refused(port))?)
        };
        let Slot { device, cable } = &self.slots[slot];
        Ok(Admitted {
            device: Arc::clone(device),
            cable: Arc::clone(cable),
            ports: Arc::clone(&plug.ports),
            waiting,
            gone: plug.gone.clone(),
            entry,
        })
    }
}

/// A connection that the phone has taken up.
struct Admitted {
    device: Arc<Device>,
    cable: Arc<Cable>,
    ports: Arc<Ports>,
    /// The service; none: lockdown.
    waiting: Option<Waiting>,
    gone: CancellationToken,
    entry: Entry,
}

impl Admitted {
    /// Over the cable; gives the host's end.
    fn over_the_cable(self) -> Stream {
        let (host, phone, line) = pipe::connection(&self.cable);
        tokio::spawn(async move {
            let host_left = line.clone();
            let whole = self.attend(Box::new(phone), async move { host_left.host_left().await }).await;
            if !whole {
                line.cut();
            }
        });
        Box::new(host)
    }

    /// On the client's own socket.
    async fn on(self, socket: Socket) {
        let (cable, gone) = (Arc::clone(&self.cable), self.gone.clone());
        let phone = Direct::new(socket.clone(), cable, gone);
        self.attend(Box::new(phone), async move {
            while !socket.is_closed_by_peer() {
                tokio::time::sleep(LOOK_FOR_HOST).await;
            }
        })
        .await;
    }

    /// Runs the phone's side of a connection until it is done, the phone leaves (`false`), or the host has left for a
    /// while.
    async fn attend(self, stream: Stream, host_left: impl Future<Output = ()>) -> bool {
        let Self { device, ports, waiting, gone, entry, .. } = self;
        let stream: Stream = Box::new(entry.watch(stream));
        let served = async {
            match waiting {
                None => Lockdownd::new(device, ports).serve(stream).await,
                Some(waiting) => waiting.serve(stream, device).await,
            }
        };
        let host_left = async {
            host_left.await;
            tokio::time::sleep(AFTER_HOST_LEFT).await;
        };
        tokio::select! {
            biased;
            () = gone.cancelled() => return false,
            () = entry.must_go() => return false,
            result = served => {
                if let Err(error) = result {
                    tracing::debug!("a connection to the simulated phone ended: {error}");
                }
            }
            () = host_left => {}
        }
        true
    }
}

impl State {
    fn tell(&mut self, event: &Event) {
        self.listeners.retain(|listener| listener.try_send(event.clone()).is_ok());
    }
}

fn broken(request: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io { request, source }
}

#[async_trait]
impl Muxer for Bus {
    async fn devices(&self) -> Result<Vec<Attached>, Error> {
        Ok(self.0.state().plugs.iter().flatten().map(|plug| plug.attached.clone()).collect())
    }

    async fn listen(&self) -> Result<mpsc::Receiver<Event>, Error> {
        let (sender, receiver) = mpsc::channel(EVENTS_KEPT);
        let mut state = self.0.state();
        state.listeners.retain(|listener| !listener.is_closed());
        for plug in state.plugs.iter().flatten() {
            // The channel is empty and has room for every phone on the bus.
            let _ = sender.try_send(Event::Attached(plug.attached.clone()));
        }
        state.listeners.push(sender);
        Ok(receiver)
    }

    async fn connect(&self, device: DeviceId, port: u16) -> Result<Stream, Error> {
        let stream = self.0.admit(device, port)?.over_the_cable();
        if let Some(there) = self.0.round_trip(device) {
            timer::sleep_until(there).await;
        }
        Ok(stream)
    }

    async fn open(&self, device: DeviceId, port: u16) -> Result<Opened, Error> {
        if self.0.round_trip(device).is_some() {
            return self.connect(device, port).await.map(Opened::Stream);
        }
        let admitted = self.0.admit(device, port)?;
        Ok(Opened::Served(Box::new(|socket| Box::pin(admitted.on(socket)))))
    }

    async fn buid(&self) -> Result<String, Error> {
        self.0.records.buid().map_err(broken("ReadBUID"))
    }

    async fn pair_record(&self, udid: &Udid) -> Result<Option<Vec<u8>>, Error> {
        self.0.records.read(udid).map_err(broken("ReadPairRecord"))
    }

    async fn save_pair_record(
        &self,
        udid: &Udid,
        device: Option<DeviceId>,
        record: &[u8],
    ) -> Result<(), Error> {
        self.0.records.save(udid, record).map_err(broken("SavePairRecord"))?;
        let mut state = self.0.state();
        let id = device.filter(|id| state.plugs.iter().flatten().any(|plug| plug.attached.id == *id));
        if let Some(id) = id {
            state.tell(&Event::Paired(id));
        }
        Ok(())
    }

    async fn delete_pair_record(&self, udid: &Udid) -> Result<(), Error> {
        self.0.records.delete(udid).map_err(broken("DeletePairRecord"))
    }
}

impl Inner {
    /// When a connection made now is there.
    fn round_trip(&self, id: DeviceId) -> Option<Instant> {
        let state = self.state();
        let slot = state.plugs.iter().position(|plug| plug.as_ref().is_some_and(|p| p.attached.id == id))?;
        self.slots[slot].cable.round_trip()
    }
}
