//! Simulated iPhones as USB devices for another machine, or for this one: USB/IP, the side that has the devices.
//!
//! `usbip attach` of any Linux plugs one in, and every program there sees an iPhone on its bus. USB/IP knows neither
//! permissions nor encryption: listen on the loopback, or where everybody may have the phones.

mod session;
mod wire;

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::session::Session;
use self::wire::{Command, Exported, Request};
use super::{Answer, Control, Phone, Setup};
use crate::sim::config::{Speed, Usb};
use crate::sim::{Bus, Device};
use crate::usbmux::{Attached, DeviceId, Event, Muxer};

/// A host says what it wants within this.
const REQUEST_WAIT: Duration = Duration::from_secs(10);
/// A host takes what it is sent within this, or is gone.
const SEND_WAIT: Duration = Duration::from_secs(30);
/// A host that has been silent for so long is asked whether it is there, as often and as many times.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVES: u32 = 4;
/// Hosts at the same time.
const HOSTS_MAX: usize = 64;
/// Commands that wait to be seen; a host that goes on waits itself.
const COMMANDS_MAX: usize = 16;
/// So much is gathered before it is sent.
const OUT_BYTES: usize = 256 << 10;

/// The phones that hosts may import.
#[derive(Debug)]
struct Shelf {
    bus: Bus,
    devices: Vec<Arc<Device>>,
    taken: Mutex<HashSet<DeviceId>>,
}

/// Serves the phones of `bus` to hosts that come to `listener`, until `stop`. `devices` are those on the bus.
pub async fn run(bus: Bus, devices: Vec<Arc<Device>>, listener: TcpListener, stop: CancellationToken) {
    let shelf = Arc::new(Shelf { bus, devices, taken: Mutex::default() });
    let mut hosts = tokio::task::JoinSet::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        while hosts.try_join_next().is_some() {}
        match accepted {
            Ok((host, _)) if hosts.len() < HOSTS_MAX => {
                let shelf = Arc::clone(&shelf);
                hosts.spawn(async move {
                    if let Err(error) = shelf.serve(host).await {
                        tracing::debug!("a host of the simulated USB bus is gone: {error}");
                    }
                });
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("nobody can be let in at the moment: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A phone that a host has; the next one may have it when this is dropped.
struct Taken {
    shelf: Arc<Shelf>,
    id: DeviceId,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.shelf.taken().remove(&self.id);
    }
}

impl Shelf {
    fn taken(&self) -> std::sync::MutexGuard<'_, HashSet<DeviceId>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>, mut host: TcpStream) -> io::Result<()> {
        host.set_nodelay(true)?;
        notice_when_gone(&host)?;
        let wanted = tokio::time::timeout(REQUEST_WAIT, Request::read(&mut host)).await??;
        let phones = self.phones().await;
        match wanted {
            Request::List => {
                let exported: Vec<Exported> = phones.into_iter().map(|(_, _, exported)| exported).collect();
                host.write_all(&wire::list(&exported)).await?;
                host.shutdown().await
            }
            Request::Import(id) => {
                let found = phones.into_iter().find(|(_, _, exported)| exported.bus_id == id);
                let found = found.filter(|(attached, _, _)| self.taken().insert(attached.id));
                let exported = found.as_ref().map(|(_, _, exported)| exported);
                let reply = wire::imported(exported);
                let Some((attached, usb, _)) = found else { return host.write_all(&reply).await };
                let _taken = Taken { shelf: Arc::clone(&self), id: attached.id };
                host.write_all(&reply).await?;
                self.attend(host, attached, &usb).await
            }
        }
    }

    /// The phones on the bus, and what is told of them.
    async fn phones(&self) -> Vec<(Attached, Usb, Exported)> {
        let plugged = self.bus.devices().await.unwrap_or_default();
        let known = |attached: Attached| {
            let device = self.devices.iter().find(|device| *device.udid() == attached.udid)?;
            let usb = device.config().usb.clone();
            let exported = export(&attached, &usb)?;
            Some((attached, usb, exported))
        };
        plugged.into_iter().filter_map(known).collect()
    }

    /// Carries the transfers of a host that has imported a phone, until either leaves.
    async fn attend(&self, host: TcpStream, attached: Attached, usb: &Usb) -> io::Result<()> {
        let id = attached.id;
        let mut events = self.bus.listen().await.map_err(io::Error::other)?;
        let plugged = self.bus.devices().await.map_err(io::Error::other)?;
        if !plugged.iter().any(|attached| attached.id == id) {
            return Ok(());
        }
        let unplugged = async move {
            while let Some(event) = events.recv().await {
                if event == Event::Detached(id) {
                    break;
                }
            }
        };
        let session = Session::new(Phone::new(Arc::new(self.bus.clone()), attached, usb));
        tokio::select! {
            carried = carry(session, host) => carried,
            () = unplugged => Ok(()),
        }
    }
}

/// A host that vanishes says nothing: it is asked whether it is still there, so that its phone is free again.
fn notice_when_gone(host: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(host, true)?;
    sockopt::set_tcp_keepidle(host, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(host, KEEPALIVE)?;
    sockopt::set_tcp_keepcnt(host, KEEPALIVES)?;
    Ok(())
}

/// Reads commands in a task of its own, since half of one must not be lost.
async fn carry(mut session: Session, host: TcpStream) -> io::Result<()> {
    let (mut from_host, mut to_host) = host.into_split();
    let (sender, mut commands) = mpsc::channel(COMMANDS_MAX);
    let reading = async move {
        loop {
            let command = Command::read(&mut from_host).await;
            let over = command.is_err();
            if sender.send(command).await.is_err() || over {
                return std::future::pending().await;
            }
        }
    };
    let working = async move {
        let mut out = Vec::new();
        loop {
            let all = session.fill(&mut out, OUT_BYTES);
            if !out.is_empty() {
                tokio::time::timeout(SEND_WAIT, to_host.write_all(&out)).await??;
                out.clear();
            }
            if session.leaves {
                return to_host.shutdown().await;
            }
            if !all {
                continue;
            }
            tokio::select! {
                command = commands.recv() => match command {
                    None => return Ok(()),
                    Some(command) => match command? {
                        Command::Submit(submit) => session.submit(submit, &mut out)?,
                        Command::Unlink { number, unlinked } => session.unlink(number, unlinked, &mut out),
                    },
                },
                () = session.phone.happens() => {}
            }
        }
    };
    tokio::select! {
        () = reading => Ok(()),
        done = working => done,
    }
}

/// What a list says, as the phone itself tells it on its control endpoint.
fn export(attached: &Attached, usb: &Usb) -> Option<Exported> {
    let mut control = Control::new(&attached.udid, usb);
    let mut descriptor = |kind: u16, length| {
        let setup =
            Setup { request_type: TO_HOST, request: GET_DESCRIPTOR, value: kind << 8, index: 0, length };
        match control.answer(&setup) {
            Answer::Done(bytes) => Some(bytes),
            _ => None,
        }
    };
    let device = descriptor(DEVICE, 18)?;
    let configuration = descriptor(CONFIGURATION, u16::MAX)?;
    let address = attached.location_id & 0xFFFF;
    Some(Exported {
        bus_id: format!("1-{}", address.saturating_sub(1)),
        bus: attached.location_id >> 16,
        address,
        speed: match usb.speed {
            Speed::High => 3,
            Speed::Super => 5,
        },
        descriptor: device.try_into().ok()?,
        interfaces: interfaces(&configuration),
    })
}

const TO_HOST: u8 = 0x80;
const GET_DESCRIPTOR: u8 = 6;
const DEVICE: u16 = 1;
const CONFIGURATION: u16 = 2;
const INTERFACE: u8 = 4;

/// Class, subclass and protocol of the interfaces in their first setting.
fn interfaces(mut configuration: &[u8]) -> Vec<[u8; 3]> {
    let mut found = Vec::new();
    while let [length, kind, ..] = *configuration {
        let Some((one, rest)) = configuration.split_at_checked(usize::from(length).max(2)) else { break };
        if let (INTERFACE, [_, _, _, 0, _, class, sub, protocol, ..]) = (kind, one) {
            found.push([*class, *sub, *protocol]);
        }
        configuration = rest;
    }
    found
}

/// For [`crate::fuzzed`]: reads what a host says as long as it can be understood.
pub(crate) fn read_all(bytes: &[u8]) {
    use futures_util::FutureExt as _;
    let (mut asked, mut said) = (bytes, bytes);
    let reading = async {
        while wire::Request::read(&mut asked).await.is_ok() {}
        while wire::Command::read(&mut said).await.is_ok() {}
    };
    reading.now_or_never().expect("bytes that are there are not waited for");
}

#[cfg(test)]
mod tests;
