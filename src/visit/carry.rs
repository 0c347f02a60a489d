//! Carries a deed through a phone that leaves and returns.

use std::sync::Arc;

use jiff::Timestamp;

use super::Visit;
use super::reach::{self, Broken};
use super::stop::Stop;
use crate::lockdown::Session;
use crate::usbmux::Attached;

/// How often a phone may leave during one deed; a loose cable must not keep us for ever.
const RETURNS_MAX: u32 = 20;

/// How a deed failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nothing to do with the connection: trying again helps nobody.
    Finally(Stop),
    /// The connection broke. If the phone is still there, this is what is said.
    Broke(Stop),
}

impl Visit {
    /// Does a deed; when the connection breaks because the phone left, waits for its return and does it again. A deed
    /// goes on where it was by what it has stored.
    pub(super) async fn carry<T>(
        &mut self,
        mut deed: impl AsyncFnMut(Arc<Session>) -> Result<T, Failed>,
    ) -> Result<T, Stop> {
        for _ in 0..RETURNS_MAX {
            let stop = match deed(Arc::clone(&self.session)).await {
                Ok(done) => {
                    self.seen_at = Timestamp::now();
                    return Ok(done);
                }
                Err(_) if self.cancel().is_cancelled() => return Err(Stop::interrupted()),
                Err(Failed::Finally(stop)) => return Err(stop),
                Err(Failed::Broke(stop)) => stop,
            };
            tracing::info!(%stop, "a deed broke");
            self.find_again(stop).await?;
        }
        Err(Stop::new(
            super::Trouble::Failed,
            "The connection to the phone broke too often.",
            "Try another cable or port, and run the same command again to go on.",
        ))
    }

    /// After a break: a new session if the phone left and returned; `stop` if it never left.
    pub(super) async fn find_again(&mut self, stop: Stop) -> Result<(), Stop> {
        let broken = reach::after_a_break(
            self.beginning.muxer.as_ref(),
            &self.attached,
            self.return_wait,
            self.observer(),
            self.cancel(),
        );
        let back = match broken.await {
            Broken::StillThere => return Err(stop),
            Broken::Over(stop) => return Err(stop),
            Broken::Back(back) => back,
        };
        self.take_up(back).await
    }

    /// A new session with a phone that came back.
    pub(super) async fn take_up(&mut self, back: Attached) -> Result<(), Stop> {
        self.plugged_in_since = Some(Timestamp::now());
        let session = reach::session(
            &self.beginning.muxer,
            back.clone(),
            self.beginning.wait,
            self.beginning.observer.as_ref(),
            &self.beginning.cancel,
        );
        // Only with a session is it the phone as it is now: until then the next try finds that the old one has left.
        self.session = Arc::new(session.await.map_err(|unreached| unreached.stop)?);
        self.attached = back;
        // When it left is known no better than when it was last there.
        self.leave_out(self.seen_at);
        self.seen_at = Timestamp::now();
        Ok(())
    }
}
