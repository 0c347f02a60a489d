//! A bus whose connections take another way: over the mux protocol, through somebody who listens, or held back. What is
//! on the bus, and the host's pair records, stay the bus's own.

use std::fmt;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::bus::Bus;
use crate::usbmux::{Attached, DeviceId, Error, Event, Muxer, Stream, Udid};

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
impl Muxer for Rerouted {
    async fn devices(&self) -> Result<Vec<Attached>, Error> {
        self.bus.devices().await
    }

    async fn listen(&self) -> Result<mpsc::Receiver<Event>, Error> {
        self.bus.listen().await
    }

    async fn connect(&self, device: DeviceId, port: u16) -> Result<Stream, Error> {
        (self.route)(self.bus.clone(), device, port).await
    }

    async fn buid(&self) -> Result<String, Error> {
        self.bus.buid().await
    }

    async fn pair_record(&self, udid: &Udid) -> Result<Option<Vec<u8>>, Error> {
        self.bus.pair_record(udid).await
    }

    async fn save_pair_record(
        &self,
        udid: &Udid,
        device: Option<DeviceId>,
        record: &[u8],
    ) -> Result<(), Error> {
        self.bus.save_pair_record(udid, device, record).await
    }

    async fn delete_pair_record(&self, udid: &Udid) -> Result<(), Error> {
        self.bus.delete_pair_record(udid).await
    }
}
