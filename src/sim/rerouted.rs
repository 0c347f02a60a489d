//! A bus whose connections take another way: over the mux protocol, through somebody who listens, or held back. What is
//! on the bus, and the host's pair records, stay the bus's own.

use std::fmt;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::bus::Bus;
use crate::usbmux::{DeviceId, Error, Front, Muxer, Stream};

type Route = Box<dyn Fn(Bus, DeviceId, u16) -> BoxFuture<'static, Result<Stream, Error>> + Send + Sync>;

/// See the module.
pub struct Rerouted {
    bus: Bus,
    route: Route,
}

impl Rerouted {
    /// `route` makes each connection: given the bus, the device and the port (host byte order).
    #[must_use]
    pub fn new<F>(bus: Bus, route: impl Fn(Bus, DeviceId, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Stream, Error>> + Send + 'static,
    {
        Self { bus, route: Box::new(move |bus, device, port| Box::pin(route(bus, device, port))) }
    }
}

impl fmt::Debug for Rerouted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rerouted").field("bus", &self.bus).finish_non_exhaustive()
    }
}

#[async_trait]
impl Front for Rerouted {
    fn behind(&self) -> &dyn Muxer {
        &self.bus
    }

    async fn reach(&self, device: DeviceId, port: u16) -> Result<Stream, Error> {
        (self.route)(self.bus.clone(), device, port).await
    }
}
