//! Carries a deed through a phone that leaves and returns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Visit;
use super::reach::{self, Broken};
use super::stop::{Stop, Trouble};
use crate::lockdown::Session;
use crate::usbmux::Attached;

/// How often a phone may leave during one deed; a loose cable must not keep us for ever.
pub(super) const RETURNS_MAX: u32 = 20;
/// A phone whose session could not be made is left alone for so long.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);

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
        Err(broke_too_often())
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

    /// A new session with a phone that came back. One that drops off again meanwhile, as phones do while they start, is
    /// waited for again.
    pub(super) async fn take_up(&mut self, mut back: Attached) -> Result<(), Stop> {
        let began = Instant::now();
        for _ in 0..self.drops_max() {
            self.plugged_in_since = Some(Timestamp::now());
            let session = reach::session(
                &self.beginning.muxer,
                back.clone(),
                self.beginning.wait,
                self.beginning.observer.as_ref(),
                &self.beginning.cancel,
            );
            let unreached = match session.await {
                // Only with a session is it the phone as it is now: until then the next try finds that the old one has left.
                Ok(session) => {
                    self.session = Arc::new(session);
                    self.attached = back;
                    // When it left is known no better than when it was last there.
                    self.leave_out(self.seen_at);
                    self.seen_at = Timestamp::now();
                    return Ok(());
                }
                Err(unreached) => unreached,
            };
            if unreached.reach.is_some() || self.cancel().is_cancelled() {
                return Err(unreached.stop);
            }
            self.pause(TRY_AGAIN_AFTER).await?;
            if !self.comes_again(&unreached.stop, &back).await {
                return Err(unreached.stop);
            }
            tracing::info!(stop = %unreached.stop, "a phone that was back left again");
            let dropped = if self.waits_without_end() { Instant::now() } else { began };
            let muxer = self.beginning.muxer.as_ref();
            let returned = reach::returned(muxer, &back.udid, dropped, self.return_wait, self.cancel());
            back = returned.await?;
        }
        Err(broke_too_often())
    }

    /// It left while its session was made; or it could not be talked to, and there is all the time in the world.
    async fn comes_again(&self, stop: &Stop, back: &Attached) -> bool {
        match stop.trouble {
            Trouble::NoDevice => true,
            Trouble::Failed if self.waits_without_end() => true,
            Trouble::Failed => !reach::is_there(self.beginning.muxer.as_ref(), back.id).await,
            _ => false,
        }
    }

    fn waits_without_end(&self) -> bool {
        self.return_wait == reach::WITHOUT_END
    }

    fn drops_max(&self) -> u32 {
        if self.waits_without_end() { u32::MAX } else { RETURNS_MAX }
    }
}

/// A cable that helps nobody.
pub(super) fn broke_too_often() -> Stop {
    Stop::new(
        Trouble::Failed,
        "The connection to the phone broke too often.",
        "Try another cable or port, and run the same command again to go on.",
    )
}
