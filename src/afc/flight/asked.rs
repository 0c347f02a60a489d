//! A request that is on its way, for whoever waits for its answer.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Answer, Failure, Flight, Reply};
use crate::afc::buffers::Buffers;
use crate::afc::error::Error;
use crate::afc::packet::Operation;

/// A request that is on its way.
#[derive(Debug)]
pub(in crate::afc) struct Asked {
    pub(super) operation: Operation,
    pub(super) path: Arc<str>,
    pub(super) answer: oneshot::Receiver<Answer>,
    pub(super) flight: Arc<Flight>,
}

impl Asked {
    /// The answer, in time.
    pub(in crate::afc) async fn reply(mut self) -> Result<Reply, Error> {
        match (&mut self.answer).await {
            Ok(answer) => answer.map_err(|failure| self.named(failure)),
            Err(_) => Err(self.flight.broken(self.operation, &self.path)),
        }
    }

    fn named(&self, failure: Failure) -> Error {
        let (operation, path) = (self.operation, Arc::clone(&self.path));
        match failure {
            Failure::Status(status) => Error::Status { operation, path, status },
            Failure::Dead(cause) => Error::Broken { operation, path, cause },
        }
    }

    /// Where memory goes when what came is used.
    pub(in crate::afc) fn buffers(&self) -> Arc<Buffers> {
        Arc::clone(&self.flight.buffers)
    }

    /// The bytes of a data reply.
    pub(in crate::afc) async fn data(self) -> Result<Vec<u8>, Error> {
        Ok(self.data_with_room().await?.0)
    }

    /// The bytes of a data reply, and the room that they have among those on their way.
    pub(in crate::afc) async fn data_with_room(
        self,
    ) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Error> {
        match self.reply().await? {
            Reply::Data(data, room) => Ok((data, room)),
            other => unreachable!("a data request is only ever answered with data, not {other:?}"),
        }
    }

    /// Success.
    pub(in crate::afc) async fn done(self) -> Result<(), Error> {
        self.reply().await.map(drop)
    }
}
