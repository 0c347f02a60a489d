//! A line to the phone's files that is laid anew when it breaks. What was learned of the phone's patience with several
//! requests in flight is kept from one connection to the next.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::quick::start_afc;
use crate::afc::{Afc, Pacing, Settings};
use crate::lockdown::{self, Session};

/// See the module.
pub(super) struct Line<'a> {
    session: &'a Session,
    pacing: Arc<Pacing>,
    afc: Option<Afc>,
}

impl<'a> Line<'a> {
    /// No connection yet.
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session, pacing: Arc::default(), afc: None }
    }

    /// A connection that is alive as far as is known.
    pub(super) async fn afc(&mut self) -> Result<Afc, lockdown::Error> {
        if let Some(afc) = self.afc.as_ref().filter(|afc| !afc.is_dead()) {
            return Ok(afc.clone());
        }
        let stream = start_afc(self.session).await?;
        let settings = Settings { pacing: Arc::clone(&self.pacing), ..Settings::default() };
        Ok(self.afc.insert(Afc::over_with(stream, settings)).clone())
    }

    /// Does `work`, and once more over a new connection if the first one died of it.
    pub(super) async fn twice<'b, T>(
        &mut self,
        work: impl Fn(Afc) -> BoxFuture<'b, T>,
    ) -> Result<T, lockdown::Error> {
        let afc = self.afc().await?;
        let done = work(afc.clone()).await;
        if !afc.is_dead() {
            return Ok(done);
        }
        let afc = self.afc().await?;
        Ok(work(afc).await)
    }
}
