//! A muxer that stands in front of another one: all but connections is the other one's.

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{Attached, DeviceId, Error, Event, Muxer, Stream, Udid};

/// See the module. Whatever is one is a [`Muxer`].
#[async_trait]
pub trait Front: Send + Sync + std::fmt::Debug {
    /// Who stands behind.
    fn behind(&self) -> &dyn Muxer;

    /// A connection, by another way perhaps.
    async fn reach(&self, device: DeviceId, port: u16) -> Result<Stream, Error> {
        self.behind().connect(device, port).await
    }
}

#[async_trait]
impl<F: Front> Muxer for F {
    async fn devices(&self) -> Result<Vec<Attached>, Error> {
        self.behind().devices().await
    }

    async fn listen(&self) -> Result<mpsc::Receiver<Event>, Error> {
        self.behind().listen().await
    }

    async fn connect(&self, device: DeviceId, port: u16) -> Result<Stream, Error> {
        self.reach(device, port).await
    }

    async fn buid(&self) -> Result<String, Error> {
        self.behind().buid().await
    }

    async fn pair_record(&self, udid: &Udid) -> Result<Option<Vec<u8>>, Error> {
        self.behind().pair_record(udid).await
    }

    async fn save_pair_record(
        &self,
        udid: &Udid,
        device: Option<DeviceId>,
        record: &[u8],
    ) -> Result<(), Error> {
        self.behind().save_pair_record(udid, device, record).await
    }

    async fn delete_pair_record(&self, udid: &Udid) -> Result<(), Error> {
        self.behind().delete_pair_record(udid).await
    }
}
