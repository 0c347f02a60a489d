//! What a session gives: TLS with the host's certificates, and services.

use std::io;
use std::sync::Arc;

use plist::Value;
use rustls::ServerConfig;

use super::is_locked;
use crate::lockdown::Refusal;
use crate::lockdown::tls::{self, Newest, TrustedHost};
use crate::sim::config::{Lock, TlsNewest};
use crate::sim::device::Device;
use crate::sim::ports::{Ports, Waiting};
use crate::sim::service::{Needs, Service};
use crate::sim::trust::Pairing;

/// The phone's side of TLS with a host that it was paired with.
pub(super) async fn tls(device: &Arc<Device>, pairing: &Pairing) -> io::Result<Arc<ServerConfig>> {
    let identity = device.identity().await?;
    let root = pairing.certificate("RootCertificate");
    let host = TrustedHost::new(pairing.certificate("HostCertificate"), (!root.is_empty()).then_some(root));
    let newest = match device.config().tls.newest {
        TlsNewest::Tls12 => Newest::Tls12,
        TlsNewest::Tls13 => Newest::Tls13,
    };
    let config = host.and_then(|host| {
        let certificate = pairing.certificate("DeviceCertificate");
        tls::server_config(certificate, identity.private_key.as_bytes(), &host, newest)
    });
    config.map_err(io::Error::other)
}

/// What a started service adds to the reply, or why it is not started.
pub(super) type Started = Result<Vec<(&'static str, Value)>, Refusal>;

/// Opens a port for a service.
pub(super) async fn start_service(
    device: &Arc<Device>,
    ports: &Ports,
    pairing: Option<&Pairing>,
    name: Option<String>,
    escrow_bag: Option<Vec<u8>>,
) -> io::Result<Started> {
    let Some(name) = name else { return Ok(Err(Refusal::MissingService)) };
    let Some(service) = Service::named(&name) else { return Ok(Err(Refusal::InvalidService)) };
    if device.config().refuse.services.contains(&name) {
        return Ok(Err(Refusal::ServiceProhibited));
    }
    if pairing.is_none() && service.needs() != Needs::Nothing {
        return Ok(Err(Refusal::SessionInactive));
    }
    if service.needs() == Needs::Unlocked
        && let Some(refusal) = keeps_shut(device, escrow_bag.as_deref())
    {
        device.wants_unlock();
        return Ok(Err(refusal));
    }
    let tls = match pairing {
        Some(pairing) if service.encrypted(device) => Some(tls(device, pairing).await?),
        _ => None,
    };
    let encrypted = tls.is_some();
    let Some(port) = ports.open(Waiting { service, tls }) else { return Ok(Err(Refusal::ServiceLimit)) };
    let mut reply = vec![("Port", Value::from(port)), ("Service", Value::from(name))];
    if encrypted {
        reply.push(("EnableServiceSSL", Value::Boolean(true)));
    }
    Ok(Ok(reply))
}

/// Why a locked phone does not open its data, if it does not.
fn keeps_shut(device: &Device, escrow_bag: Option<&[u8]>) -> Option<Refusal> {
    if device.plugged_in_for() < device.traits().protected_after_plug_in {
        return Some(Refusal::PasswordProtected);
    }
    match (is_locked(device)?, escrow_bag) {
        (_, None) => Some(Refusal::PasswordProtected),
        (Lock::BeforeFirstUnlock, Some(_)) => Some(Refusal::EscrowLocked),
        (_, Some(bag)) => (!device.knows_escrow_bag(bag)).then_some(Refusal::EscrowLocked),
    }
}
