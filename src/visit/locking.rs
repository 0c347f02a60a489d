//! A screen that locks in the middle: some phones stop a backup or a copy then and go on after an unlock. A phone that has
//! gone quiet is asked whether it is locked, and a person is called once for each time that it is.
//!
//! A phone that locks itself and goes on is left alone: nobody has to come for that. The wait is as long as the deed's own
//! patience with a silent phone; this module ends nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plist::Value;

use crate::afc::client::ANSWER_LIMIT;
use crate::lockdown::Session;
use crate::mobilebackup2::host::Patience;
use crate::progress::{Event, Observer, Phase, Touch};

/// A phone that sends something comes with it several times a second; one that has sent nothing for so long is asked.
const QUIET: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the phone may take to say whether it is locked.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Passes events on, and notices when what should move does not.
pub(super) struct Locking {
    observer: Arc<dyn Observer>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What has moved once and is not over: its bytes, and when they last changed.
    moving: HashMap<Phase, (u64, Instant)>,
    /// The phone shows its passcode screen, which is told by who asked for it.
    passcode: bool,
    /// A person was called to unlock it.
    called: bool,
}

impl State {
    /// For how long nothing has moved: where one thing still does, the phone works.
    fn quiet_for(&self) -> Duration {
        let quiet = self.moving.values().map(|(_, since)| since.elapsed()).min();
        quiet.filter(|_| !self.passcode).unwrap_or_default()
    }

    /// How long it may go on like that before the first deed gives up.
    fn patience_left(&self) -> Duration {
        let left =
            self.moving.iter().map(|(phase, (_, since))| patience(*phase).saturating_sub(since.elapsed()));
        left.min().unwrap_or_default()
    }
}

impl Observer for Locking {
    fn event(&self, event: Event) {
        {
            let mut state = self.state();
            match &event {
                Event::Advanced { phase: phase @ (Phase::Photos | Phase::Backup), bytes_done, .. } => {
                    let entry = state.moving.get(phase);
                    if *bytes_done > 0 && entry.is_none_or(|(before, _)| before != bytes_done) {
                        state.moving.insert(*phase, (*bytes_done, Instant::now()));
                    }
                }
                Event::Ended { phase } => drop(state.moving.remove(phase)),
                Event::PersonNeeded { touch: Touch::Passcode, .. } => state.passcode = true,
                Event::PersonDone { touch: Touch::Passcode } => {
                    state.passcode = false;
                    // It was quiet because of that.
                    state.moving.values_mut().for_each(|(_, since)| *since = Instant::now());
                }
                _ => {}
            }
        }
        self.observer.event(event);
    }
}

impl Locking {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the work over this session; meanwhile a phone that is locked and has gone quiet is told of.
    pub(super) async fn beside<T>(&self, session: &Session, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    // A phone that goes on may be locked all the same: who was called is needed until it says otherwise.
                    if !self.asks() {
                        continue;
                    }
                    tokio::select! {
                        done = &mut work => break done,
                        locked = is_locked(session) => self.told(locked),
                    }
                }
            }
        };
        // Whatever comes next is a new beginning.
        self.unlocked();
        self.state().moving.clear();
        done
    }

    /// Is it asked whether it is locked?
    fn asks(&self) -> bool {
        let state = self.state();
        state.called || state.quiet_for() >= QUIET
    }

    fn told(&self, locked: Option<bool>) {
        match locked {
            Some(true) => {
                let mut state = self.state();
                // It may have gone on while it was asked.
                if state.called || state.quiet_for() < QUIET {
                    return;
                }
                state.called = true;
                let within = state.patience_left();
                drop(state);
                self.observer.event(Event::PersonNeeded { touch: Touch::Unlock, within });
            }
            Some(false) => self.unlocked(),
            _ => {}
        }
    }

    fn unlocked(&self) {
        if std::mem::take(&mut self.state().called) {
            self.observer.event(Event::PersonDone { touch: Touch::Unlock });
        }
    }
}

/// How long a deed waits for a silent phone.
fn patience(phase: Phase) -> Duration {
    match phase {
        Phase::Photos => ANSWER_LIMIT,
        _ => Patience::default().stream,
    }
}

/// `None`: the phone does not say.
async fn is_locked(session: &Session) -> Option<bool> {
    let asked = session.value(None, Some("PasswordProtected"));
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(Ok(Value::Boolean(locked))) => Some(locked),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Observer for Heard {
        fn event(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    fn advanced(bytes_done: u64) -> Event {
        Event::Advanced { phase: Phase::Backup, bytes_done, bytes_total: None, items_done: 0 }
    }

    fn touches(heard: &Heard) -> (usize, usize) {
        let heard = heard.0.lock().unwrap();
        let needed = heard.iter().filter(|event| matches!(event, Event::PersonNeeded { .. })).count();
        let done = heard.iter().filter(|event| matches!(event, Event::PersonDone { .. })).count();
        (needed, done)
    }

    #[test]
    fn one_lock_is_told_once_and_the_next_one_again() {
        let heard = Arc::new(Heard::default());
        let locking = Locking::new(Arc::clone(&heard) as Arc<dyn Observer>);
        locking.event(advanced(5));
        locking.told(Some(true));
        assert_eq!(touches(&heard), (0, 0), "it goes on");
        long_ago(&locking);
        locking.told(Some(false));
        locking.told(None);
        assert_eq!(touches(&heard), (0, 0));
        (0..3).for_each(|_| locking.told(Some(true)));
        assert_eq!(touches(&heard), (1, 0));
        // A trickle while it is still locked is the same lock.
        locking.event(advanced(6));
        assert!(locking.asks());
        locking.told(Some(true));
        locking.told(None);
        long_ago(&locking);
        locking.told(Some(true));
        assert_eq!(touches(&heard), (1, 0));
        locking.told(Some(false));
        locking.unlocked();
        assert_eq!(touches(&heard), (1, 1));
        locking.told(Some(true));
        assert_eq!(touches(&heard), (2, 1));
    }

    #[test]
    fn what_still_moves_beside_it_is_no_quiet_and_the_call_fits_the_shortest_patience() {
        let locking = Locking::new(Arc::new(Heard::default()));
        let photos =
            Event::Advanced { phase: Phase::Photos, bytes_done: 1, bytes_total: None, items_done: 0 };
        locking.event(photos);
        long_ago(&locking);
        assert!(locking.asks());
        assert!(locking.state().patience_left() <= ANSWER_LIMIT - QUIET);
        locking.event(advanced(5));
        assert!(!locking.asks());
    }

    fn long_ago(locking: &Locking) {
        for (_, since) in locking.state().moving.values_mut() {
            *since = Instant::now().checked_sub(QUIET * 2).unwrap();
        }
    }

    #[test]
    fn what_has_not_begun_what_is_over_and_a_passcode_screen_are_not_quiet() {
        let locking = Locking::new(Arc::new(Heard::default()));
        locking.event(advanced(0));
        assert!(locking.state().quiet_for().is_zero());
        locking.event(advanced(5));
        long_ago(&locking);
        assert!(locking.state().quiet_for() > QUIET);
        // The same number again is no movement.
        locking.event(advanced(5));
        assert!(locking.state().quiet_for() > QUIET);
        locking.event(Event::PersonNeeded { touch: Touch::Passcode, within: QUIET });
        assert!(locking.state().quiet_for().is_zero());
        locking.event(Event::PersonDone { touch: Touch::Passcode });
        assert!(locking.state().quiet_for() < QUIET);
        long_ago(&locking);
        locking.event(advanced(6));
        assert!(locking.state().quiet_for() < QUIET);
        long_ago(&locking);
        locking.event(Event::Ended { phase: Phase::Backup });
        assert!(locking.state().quiet_for().is_zero());
    }
}
