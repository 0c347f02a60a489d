//! A rung that can lose data: the phone is read again, the gate is asked, and its name is typed, before its steps are
//! shown. They are the owner's to do.

use jiff::{SignedDuration, Timestamp};

use super::super::{owner, terminal};
use super::Climb;
use crate::facts::text::plain;
use crate::ladder::{Rung, State};
use crate::remedy::gate::Cleared;
use crate::report::Detail;
use crate::visit::{Outcome, Stop};

/// The gate's word counts for so long after the phone was read.
const CLEARED_FOR: SignedDuration = SignedDuration::from_secs(60);

impl Climb<'_> {
    /// For a rung that can lose data: a fresh reading, the gate's word, what has to be known, and its name typed.
    pub(super) async fn cleared(
        &mut self,
        outcome: &mut Outcome,
        rung: &Rung,
    ) -> Result<Option<Cleared>, Stop> {
        self.say("  This can lose data, so the phone is read again before it is opened ...");
        let Some(cleared) = self.cleared_now(outcome, rung).await? else { return Ok(None) };
        self.say("  The gate is open: what it could lose is kept and proven on this computer.");
        for told in &outcome.verdict.told {
            self.say(&terminal::wrapped(&format!("! {}", plain(&told.text)), 2, 80));
        }
        self.say("  idevice-fix does not do this itself; the steps are yours. Anything else than the word skips it.");
        owner::forget_what_was_typed();
        let agreed = owner::types(self.run, rung.remedy.as_str()).await;
        if self.run.cancel.is_cancelled() {
            return Err(Stop::interrupted());
        }
        if !agreed {
            return Ok(None);
        }
        if Timestamp::now().duration_since(outcome.facts.observed_at) < CLEARED_FOR {
            return Ok(Some(cleared));
        }
        self.say("  That took a while, so the phone is read once more ...");
        self.cleared_now(outcome, rung).await
    }

    /// The gate's word for the phone as it is now, if the ladder still has the rung.
    async fn cleared_now(&mut self, outcome: &mut Outcome, rung: &Rung) -> Result<Option<Cleared>, Stop> {
        self.read_again(outcome).await?;
        let cleared = match self.visit.clear(rung.remedy, outcome, &self.kept) {
            Ok(cleared) => cleared,
            Err(blocked) => {
                self.say("  It is shut now:");
                blocked.iter().for_each(|text| self.say(&format!("  - {}", plain(text))));
                return Ok(None);
            }
        };
        if outcome.ladder.rung(rung.remedy).is_none_or(|rung| rung.state != State::Do) {
            self.say("  Nothing calls for it any more.");
            return Ok(None);
        }
        Ok(Some(cleared))
    }

    /// The steps of a rung that can lose data. The gate's permission is spent on showing them: it is good for this phone,
    /// this rung and this moment.
    #[expect(clippy::needless_pass_by_value, reason = "a permission is spent, not looked at")]
    pub(super) fn show_cleared(&self, outcome: &Outcome, rung: &Rung, cleared: Cleared) {
        assert!(
            cleared.remedy() == rung.remedy && cleared.udid() == self.visit.udid(),
            "the gate was asked about this rung of this phone"
        );
        self.show(outcome, rung, Detail::Steps);
    }
}
