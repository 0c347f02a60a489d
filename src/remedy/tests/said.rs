//! What the verdict says to people and to programs, and what is cleared by it.

use jiff::SignedDuration;

use crate::diagnosis::FindingId as F;
use crate::facts::Place;
use crate::remedy::gate::{Question, clear, verdict};
use crate::remedy::{Proofs, ReasonId, RemedyId};

use super::cells::{ALL_SAFE, good, not_copied, only_in_icloud};
use super::observed::UDID;
use super::world::{LibraryRead, World};
use crate::remedy::gate::Answer::Safe;

fn sentence(change: fn(&mut World)) -> String {
    let mut world = good();
    change(&mut world);
    let observed = world.observe();
    verdict(&observed.facts, &observed.proofs(), &observed.consent, &observed.moment).sentence()
}

#[test]
fn the_verdict_is_one_sentence_for_people() {
    let only_here = |world: &mut World| {
        for photo in 0..2 {
            not_copied(world, photo);
            world.photos[photo].parts[0].claim = Place::OnlyHere;
        }
    };
    assert_eq!(sentence(only_here), "NOT SAFE: 2 photos exist only on this phone and are not copied yet.");
    assert_eq!(sentence(only_in_icloud), "NOT SAFE: 1 photo exists only in iCloud.");
    assert_eq!(
        sentence(|_| {}),
        "SAFE: every original is in at least two places (this phone, iCloud, the copy on this computer)."
    );
    assert_eq!(
        sentence(|world| world.library = LibraryRead::Refused),
        "CANNOT TELL: The photo library could not be read (status 10)."
    );
}

#[test]
fn an_erase_tells_what_stays_in_icloud() {
    let mut world = good();
    only_in_icloud(&mut world);
    let observed = world.observe();
    let verdict = verdict(&observed.facts, &observed.proofs(), &observed.consent, &observed.moment);
    assert_eq!(verdict.erase, Safe);
    assert!(
        verdict.told[0].text.starts_with("The originals of 1 photo are only in iCloud"),
        "{:?}",
        verdict.told
    );
}

#[test]
fn reasons_come_in_two_parts_and_as_the_contract_writes_them() {
    let mut world = good();
    world.backup = None;
    world.find_my = Some(true);
    let observed = world.observe();
    let verdict = verdict(&observed.facts, &observed.proofs(), &observed.consent, &observed.moment);
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["erase"], "not-safe");
    assert_eq!(json["confirmed_on_real_device"], false);
    let erase: Vec<_> = verdict.reasons_for(Question::Erase).collect();
    assert!(erase.is_sorted_by_key(|reason| reason.part));
    let find_my =
        json["reasons"].as_array().unwrap().iter().find(|reason| reason["id"] == "find-my-on").unwrap();
    assert_eq!((&find_my["for"], &find_my["part"]), (&"erase".into(), &"after-the-erase".into()));
}

#[test]
fn what_is_cleared_names_the_phone_the_remedy_and_the_proofs() {
    let observed = good().observe();
    let clear_erase = |proofs: &Proofs<'_>| {
        clear(RemedyId::EraseAndRestore, &observed.facts, proofs, &observed.consent, &observed.moment)
    };
    let cleared = clear_erase(&observed.proofs()).unwrap();
    assert_eq!((cleared.udid().as_str(), cleared.remedy()), (UDID, RemedyId::EraseAndRestore));
    assert_eq!(cleared.photos_manifest_sha256(), Some(&[0; 32]));
    assert_eq!(cleared.backup_manifest_sha256(), Some(&[0; 32]));
    let blocked = clear_erase(&Proofs { backup: None, ..observed.proofs() }).unwrap_err();
    assert_eq!(blocked[0].id, ReasonId::BackupNotVerified);
}

#[test]
fn an_update_waits_for_the_backup_and_the_lines_under_the_table_want_one_proven() {
    let mut world = good();
    let both = [RemedyId::StartIcloudBackupAnew, RemedyId::DeleteIcloudAppData, RemedyId::UpdateIos];
    let ids = |world: &World| {
        let observed = world.observe();
        both.map(|remedy| {
            clear(remedy, &observed.facts, &observed.proofs(), &observed.consent, &observed.moment)
                .err()
                .map(|blocked| blocked[0].id)
        })
    };
    assert_eq!(ids(&world), [None, None, None]);
    world.backup.as_mut().unwrap().password_known = false;
    let sealed = Some(F::BackupPasswordUnknown.into());
    assert_eq!(ids(&world), [sealed, sealed, None], "proven from outside will do for an update");
    world.backup = None;
    let missing = Some(ReasonId::BackupNotVerified);
    assert_eq!(ids(&world), [missing, missing, Some(ReasonId::BackUpFirst)]);
}

#[test]
fn facts_of_a_moment_ago_and_a_phone_without_photos_are_fine() {
    let mut world = good();
    world.photos.clear();
    world.edits.clear();
    world.has_photos_proof = false;
    let mut observed = world.observe();
    observed.facts.observed_at = observed.moment.now + SignedDuration::from_secs(1);
    let verdict = verdict(&observed.facts, &observed.proofs(), &observed.consent, &observed.moment);
    assert_eq!(Question::ALL.map(|question| verdict.answer(question)), ALL_SAFE, "{:#?}", verdict.reasons);
}
