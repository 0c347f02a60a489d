//! The ports that lockdown opens on a phone, each for one connection to a service.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use super::device::Device;
use super::service::Service;
use crate::lockdown;
use crate::usbmux::Stream;

/// The first port that lockdown gives to a service.
const FIRST_SERVICE_PORT: u16 = 49152;
/// Ports that wait for their connection, and for how long.
const PORTS_MAX: usize = 256;
const PORT_WAITS: Duration = Duration::from_secs(30);

/// A service that waits on its port.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) service: Service,
    /// How it speaks TLS, if it does.
    pub(super) tls: Option<Arc<ServerConfig>>,
}

impl Waiting {
    pub(super) async fn serve(self, stream: Stream, device: Arc<Device>) -> io::Result<()> {
        let stream: Stream = match self.tls {
            None => stream,
            Some(config) => Box::new(tokio_rustls::TlsAcceptor::from(config).accept(stream).await?),
        };
        self.service.serve(stream, device).await
    }
}

/// The ports that lockdown has opened on a phone.
#[derive(Debug)]
pub(super) struct Ports {
    next: AtomicU16,
    waiting: Mutex<HashMap<u16, (Instant, Waiting)>>,
}

impl Default for Ports {
    fn default() -> Self {
        Self { next: AtomicU16::new(FIRST_SERVICE_PORT), waiting: Mutex::default() }
    }
}

impl Ports {
    /// Opens a port for one connection soon; `None`: too many wait already.
    pub(super) fn open(&self, waiting: Waiting) -> Option<u16> {
        let mut open = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, (since, _)| since.elapsed() < PORT_WAITS);
        if open.len() >= PORTS_MAX {
            return None;
        }
        loop {
            let port = self.next.fetch_add(1, Ordering::Relaxed).max(FIRST_SERVICE_PORT);
            if port != lockdown::PORT && !open.contains_key(&port) {
                open.insert(port, (Instant::now(), waiting));
                return Some(port);
            }
        }
    }

    pub(super) fn take(&self, port: u16) -> Option<Waiting> {
        let mut open = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, waiting) = open.remove(&port)?;
        (since.elapsed() < PORT_WAITS).then_some(waiting)
    }
}
