//! What stands on a ladder, in which order, and what never stands open on it.

use super::*;
use crate::diagnosis::diagnose;
use crate::facts::{Device, Fact, Maybe, Reach, Source};
use crate::remedy::tests::observed::Observed;
use crate::remedy::tests::world::{Tape, World};

fn fact<T>(value: T) -> Maybe<T> {
    Some(Fact::new(value, Source::new("test", "key")))
}

/// A phone with nothing wrong, everything copied and backed up.
fn good() -> Observed {
    World::draw(&mut Tape::new(&[])).observe()
}

/// The same, before anything was copied.
fn unprotected() -> Observed {
    let mut world = World::draw(&mut Tape::new(&[]));
    world.has_photos_proof = false;
    world.backup = None;
    world.remembers_backup = false;
    let mut observed = world.observe();
    observed.facts.icloud_backup.last_backup = fact(observed.moment.now);
    observed.facts.library.counts.originals_only_here = Some(37);
    observed
}

fn climb(observed: &Observed) -> Ladder {
    let diagnosis = diagnose(&observed.facts);
    build(&diagnosis, &observed.facts, &observed.proofs(), &observed.consent, &observed.moment)
}

fn remedies(ladder: &Ladder) -> Vec<RemedyId> {
    ladder.rungs.iter().map(|rung| rung.remedy).collect()
}

#[test]
fn copying_and_backing_up_stand_on_every_ladder_until_done() {
    let ladder = climb(&unprotected());
    let [copy, back_up] = [RemedyId::CopyPhotos, RemedyId::BackUp].map(|id| ladder.rung(id).unwrap());
    assert_eq!((copy.rung, copy.state, copy.automatic), (1, State::Do, true));
    assert_eq!(copy.because, [FindingId::PhotosNotCopied]);
    assert_eq!((back_up.rung, back_up.state), (2, State::Do));

    let mut done = good();
    done.facts.photo_copy.files_not_copied = fact(0);
    let ladder = climb(&done);
    assert_eq!(ladder.rung(RemedyId::CopyPhotos).unwrap().state, State::Done);
    assert_eq!(ladder.rung(RemedyId::BackUp).unwrap().state, State::Done);
}

#[test]
fn a_full_icloud_gives_the_ladder_of_its_cures_least_risk_first() {
    let mut observed = unprotected();
    let facts = &mut observed.facts;
    facts.library.counts.waiting = Some(30);
    let engine = facts.icloud_photos.engine.as_mut().unwrap();
    engine.initial_sync_date = fact(facts.observed_at);
    engine.is_exceeding_quota = fact(true);
    let ladder = climb(&observed);
    assert_eq!(
        remedies(&ladder),
        [
            RemedyId::CopyPhotos,
            RemedyId::BackUp,
            RemedyId::ChooseWhatIcloudBacksUp,
            RemedyId::FreeIcloudStorage,
            RemedyId::WaitAndMeasureAgain,
            RemedyId::DeleteIcloudAppData,
            RemedyId::DeletePhotosToFreeSpace,
        ]
    );
    assert_eq!(ladder.rung(RemedyId::ChooseWhatIcloudBacksUp).unwrap().state, State::Ask);
    let risky = ladder.rung(RemedyId::DeletePhotosToFreeSpace).unwrap();
    assert_eq!(risky.state, State::Blocked);
    assert_eq!(risky.blocked_by, [FindingId::PhotosNotCopied.into()]);
    assert!(!risky.blocked.is_empty());
}

#[test]
fn what_reaches_the_phone_comes_before_everything_else() {
    let mut observed = unprotected();
    observed.facts.reach = Reach::NotTrusted;
    let ladder = climb(&observed);
    assert_eq!(ladder.rungs[0].remedy, RemedyId::UnlockAndTrust);
    let copy = ladder.rung(RemedyId::CopyPhotos).unwrap();
    assert_eq!(
        (copy.state, copy.blocked_by.as_slice()),
        (State::Blocked, &[FindingId::NotTrusted.into()][..])
    );

    observed.facts.reach = Reach::PairingForbidden;
    assert_eq!(climb(&observed).rungs[0].remedy, RemedyId::AskAdministrator);
}

#[test]
fn the_rung_for_the_worst_finding_comes_first_in_its_group() {
    let mut observed = unprotected();
    let facts = &mut observed.facts;
    facts.icloud_backup.enabled = fact(false);
    facts.icloud_photos.engine.as_mut().unwrap().not_authenticated = fact(true);
    facts.library.counts.hidden = Some(3);
    let all = remedies(&climb(&observed));
    let at = |id| all.iter().position(|other| *other == id).unwrap();
    assert!(at(RemedyId::SignIn) < at(RemedyId::TurnOnIcloudBackup));
    assert!(at(RemedyId::TurnOnIcloudBackup) < at(RemedyId::LookInHidden));
}

#[test]
fn what_usb_cannot_tell_is_asked_unless_a_finding_tells() {
    let mut observed = unprotected();
    let engine = observed.facts.icloud_photos.engine.as_mut().unwrap();
    engine.stuck_in_shared_library_exit = fact(true);
    let device = Device { ios_version: Some("26.1".to_owned()), ..observed.facts.device.clone().unwrap() };
    observed.facts.device = Some(Device { product_type: Some("iPhone17,1".to_owned()), ..device });
    let ladder = climb(&observed);
    let update = ladder.rung(RemedyId::UpdateIos).unwrap();
    assert_eq!((update.state, update.blocked_by.as_slice()), (State::Blocked, &[ReasonId::BackUpFirst][..]));
    assert_eq!(ladder.rung(RemedyId::PrepareAtHome).unwrap().state, State::Ask);

    let mut observed = good();
    observed.facts.icloud_photos.engine.as_mut().unwrap().stuck_in_shared_library_exit = fact(true);
    assert_eq!(climb(&observed).rung(RemedyId::UpdateIos).unwrap().state, State::Ask);
    observed.facts.icloud_photos.engine.as_mut().unwrap().client_too_old = fact(true);
    assert_eq!(climb(&observed).rung(RemedyId::UpdateIos).unwrap().state, State::Do);
}

#[test]
fn a_phone_that_is_not_set_up_cannot_be_backed_up() {
    let mut observed = unprotected();
    observed.facts.settings.setup_done = fact(false);
    let ladder = climb(&observed);
    assert_eq!(ladder.rungs[0].remedy, RemedyId::FinishSetup);
    assert_eq!(ladder.rung(RemedyId::BackUp).unwrap().blocked_by, [FindingId::SetupUnfinished.into()]);
    assert_eq!(ladder.rung(RemedyId::CopyPhotos).unwrap().state, State::Do);
}

#[test]
fn without_a_phone_there_is_no_ladder_unless_a_finding_says_why() {
    let mut observed = good();
    observed.facts = Facts::default();
    assert_eq!(climb(&observed), Ladder::default());
    observed.facts.reach = Reach::NoUsbmux;
    assert_eq!(climb(&observed).rungs[0].remedy, RemedyId::FreeTheUsbDevice);
}

#[test]
fn a_rung_is_written_as_the_contract_says() {
    let json = serde_json::to_value(climb(&unprotected())).unwrap();
    let rung = &json[0];
    assert_eq!(
        (&rung["rung"], &rung["remedy"], &rung["risk"], &rung["state"], &rung["automatic"]),
        (&1.into(), &"copy-photos".into(), &"none".into(), &"do".into(), &true.into())
    );
    assert_eq!(rung["because"], serde_json::json!(["photos-not-copied"]));
    assert_eq!(rung["blocked_by"], serde_json::json!([]));
    assert!(rung["title"].is_string() && rung["steps"][0].is_string());
}

/// Over many worlds, with every trouble that calls for a risky rung: it is open if and only if the gate clears it, the
/// rungs go up by risk, and the two that protect are there.
#[test]
fn no_risky_rung_stands_open_unless_the_gate_clears_it() {
    let (mut open, mut shut) = (0, 0);
    for seed in 0..1_500_u32 {
        // Sparse tapes are phones with little wrong; the multiplier spreads the seeds over all choices.
        let every = 1 + seed as usize % 40;
        let tape: Vec<u8> = (0..160)
            .map(|at| {
                if at % every == 0 && every < 30 {
                    (seed.wrapping_mul(2_654_435_761) >> (at % 24)) as u8
                } else {
                    0
                }
            })
            .collect();
        let mut observed = World::draw(&mut Tape::new(&tape)).observe();
        let facts = &mut observed.facts;
        if let Some(engine) = facts.icloud_photos.engine.as_mut() {
            engine.is_exceeding_quota = fact(true);
            engine.stuck_in_shared_library_exit = fact(true);
        }
        facts.icloud_backup.failure = fact("MBErrorDomain 303".to_owned());
        facts.settings.recent_panics = fact(9);
        facts.library.counts.uploaded = facts.library.counts.uploaded.map(|_| 1_000_000);
        let ladder = climb(&observed);
        if ladder.rungs.is_empty() {
            continue;
        }
        assert!(ladder.rungs.is_sorted_by_key(|rung| rung.risk));
        assert!(ladder.rungs.iter().enumerate().all(|(at, rung)| rung.rung == at + 1));
        assert!(ladder.rung(RemedyId::CopyPhotos).is_some() && ladder.rung(RemedyId::BackUp).is_some());
        for rung in ladder.rungs.iter().filter(|rung| rung.risk >= Risk::Data) {
            let cleared = gate::clear(
                rung.remedy,
                &observed.facts,
                &observed.proofs(),
                &observed.consent,
                &observed.moment,
            );
            assert_eq!(rung.state == State::Do, cleared.is_ok(), "{}", rung.remedy);
            assert_eq!(rung.state == State::Blocked, !rung.blocked_by.is_empty(), "{}", rung.remedy);
            if cleared.is_ok() { open += 1 } else { shut += 1 }
        }
    }
    assert!(open > 500 && shut > 500, "both have to be met often: {open} open, {shut} shut");
}
