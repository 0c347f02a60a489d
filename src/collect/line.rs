//! A line to the phone's files that is laid anew when it breaks. What was learned of the phone's patience with several
//! requests in flight is kept from one connection to the next.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::quick::start_afc;
use crate::afc::{Afc, Pacing, Settings};
use crate::lockdown::{self, Session};

/// So many connections may die before the phone is taken to be stuck.
const DEATHS_MAX: u32 = 2;

/// How long a stuck phone is waited for: a person is waiting too, and nothing says that it will come round.
const STUCK_WAIT: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Line<'a> {
    session: &'a Session,
    pacing: Arc<Pacing>,
    afc: Option<Afc>,
    /// Connections that died of what was asked of them.
    deaths: u32,
}

impl<'a> Line<'a> {
    /// No connection yet.
    pub(super) fn new(session: &'a Session) -> Self {
        Self { session, pacing: Arc::default(), afc: None, deaths: 0 }
    }

    /// A connection that is alive as far as is known.
    pub(super) async fn afc(&mut self) -> Result<Afc, lockdown::Error> {
        if let Some(afc) = self.afc.as_ref().filter(|afc| !afc.is_dead()) {
            return Ok(afc.clone());
        }
        let stream = start_afc(self.session).await?;
        let mut settings = Settings { pacing: Arc::clone(&self.pacing), ..Settings::default() };
        if self.deaths >= DEATHS_MAX {
            settings.limit = settings.limit.min(STUCK_WAIT);
        }
        Ok(self.afc.insert(Afc::over_with(stream, settings)).clone())
    }

    /// Does `work`, and once more over a new connection if the first one died of it; on a phone that is stuck once only.
    pub(super) async fn twice<'b, T>(
        &mut self,
        work: impl Fn(Afc) -> BoxFuture<'b, T>,
    ) -> Result<T, lockdown::Error> {
        let done = self.once(&work).await?;
        if self.afc.as_ref().is_some_and(|afc| !afc.is_dead()) || self.deaths >= DEATHS_MAX {
            return Ok(done);
        }
        self.once(&work).await
    }

    async fn once<'b, T>(&mut self, work: &impl Fn(Afc) -> BoxFuture<'b, T>) -> Result<T, lockdown::Error> {
        let afc = self.afc().await?;
        let done = work(afc.clone()).await;
        self.deaths += u32::from(afc.is_dead());
        Ok(done)
    }
}
