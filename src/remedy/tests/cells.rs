//! The cells of the gate's table, one example each: a phone with nothing wrong, one thing changed, and what the four
//! answers become.

use jiff::SignedDuration;

use crate::diagnosis::FindingId as F;
use crate::facts::{Place, Reach, Upload};
use crate::remedy::gate::{Answer, Question, clear, verdict};
use crate::remedy::{Accept, Proofs, ReasonId, RemedyId};

use super::observed::UDID;
use super::world::{Cloud, Disk, Held, LibraryRead, Server, Status, Tape, ToDownload, Walk, World};
use Answer::{CannotTell, NotSafe, Safe};

/// Two photos, here and in iCloud, copied; an encrypted backup of this visit; Find My off; charged.
fn good() -> World {
    World::draw(&mut Tape::new(&[]))
}

/// Photos, erase, delete the iCloud library, toggle iCloud Photos.
type Answers = [Answer; 4];

struct Cell {
    what: &'static str,
    change: fn(&mut World),
    answers: Answers,
    /// An id that one of the reasons must have; `None` when nothing is wrong.
    because: Option<ReasonId>,
}

const fn cell(what: &'static str, change: fn(&mut World), answers: Answers, because: ReasonId) -> Cell {
    Cell { what, change, answers, because: Some(because) }
}

const fn fine(what: &'static str, change: fn(&mut World), answers: Answers) -> Cell {
    Cell { what, change, answers, because: None }
}

const ALL_SAFE: Answers = [Safe; 4];
const NOBODY_CAN_TELL: Answers = [CannotTell; 4];

fn not_copied(world: &mut World, photo: usize) {
    for part in &mut world.photos[photo].parts {
        part.pulled = Held::Nothing;
        part.backed_up = Held::Nothing;
    }
}

fn only_in_icloud(world: &mut World) {
    not_copied(world, 0);
    world.photos[0].parts[0].claim = Place::OnlyInIcloud;
    world.photos[0].parts[0].disk = Disk::Absent;
}

const FIRST_DEMAND: &[Cell] = &[
    fine("nothing is wrong", |_| {}, ALL_SAFE),
    cell("not trusted", |w| w.reach = Reach::NotTrusted, NOBODY_CAN_TELL, ReasonId::Finding(F::NotTrusted)),
    cell(
        "read too long ago",
        |w| w.read_minutes_ago = 31,
        NOBODY_CAN_TELL,
        ReasonId::Finding(F::LibraryUnreadable),
    ),
    cell(
        "library unreadable",
        |w| w.library = LibraryRead::Refused,
        NOBODY_CAN_TELL,
        ReasonId::Finding(F::LibraryUnreadable),
    ),
    cell(
        "a needed column is missing",
        |w| w.library = LibraryRead::ColumnMissing,
        NOBODY_CAN_TELL,
        ReasonId::Finding(F::LibraryUnreadable),
    ),
    cell(
        "sync status unreadable",
        |w| w.status = Status::Refused,
        NOBODY_CAN_TELL,
        ReasonId::Finding(F::SyncStatusUnreadable),
    ),
    cell("an unknown state value", |w| w.unknown_state = true, NOBODY_CAN_TELL, ReasonId::UnknownStateValue),
    cell("the server counts more", |w| w.server = Server::TooMany, NOBODY_CAN_TELL, ReasonId::CountsDisagree),
    cell("the server counts less", |w| w.server = Server::TooFew, NOBODY_CAN_TELL, ReasonId::CountsDisagree),
    cell(
        "the server says nothing",
        |w| w.server = Server::Unknown,
        NOBODY_CAN_TELL,
        ReasonId::CountsDisagree,
    ),
    fine(
        "the difference is what is in Recently Deleted",
        |w| {
            w.photos[0].trashed = true;
            w.server = Server::CountsTrashed;
        },
        ALL_SAFE,
    ),
    cell(
        "a file that the library names is not there",
        |w| w.photos[0].parts[0].disk = Disk::Absent,
        NOBODY_CAN_TELL,
        ReasonId::CountsDisagree,
    ),
    cell(
        "the folders were not listed",
        |w| w.walk = Walk::NotDone,
        NOBODY_CAN_TELL,
        ReasonId::Finding(F::LibraryUnreadable),
    ),
    cell(
        "a photo folder was refused",
        |w| w.walk = Walk::RefusedPhotos,
        NOBODY_CAN_TELL,
        ReasonId::Finding(F::LibraryUnreadable),
    ),
    fine("an unimportant folder was refused", |w| w.walk = Walk::RefusedElsewhere, ALL_SAFE),
    fine(
        "iCloud Photos was never on: there is no cloud to compare with, and none that may be deleted",
        |w| {
            w.status = Status::NoFile;
            w.enabled = Some(false);
            w.server = Server::Unknown;
            for photo in &mut w.photos {
                photo.upload = Upload::NeverQueued;
                photo.parts[0].claim = Place::OnlyHere;
            }
        },
        [Safe, Safe, CannotTell, Safe],
    ),
];

const ORIGINALS: &[Cell] = &[
    cell(
        "a photo is only on the phone and not copied",
        |w| {
            not_copied(w, 0);
            w.photos[0].parts[0].claim = Place::OnlyHere;
        },
        [NotSafe; 4],
        ReasonId::OriginalsOnlyHere,
    ),
    cell(
        "one here and in iCloud is safe, and yet not copied",
        |w| not_copied(w, 0),
        [Safe, NotSafe, NotSafe, NotSafe],
        ReasonId::Finding(F::PhotosNotCopied),
    ),
    cell(
        "one that waits, in Recently Deleted, counts like all others",
        |w| {
            not_copied(w, 0);
            w.photos[0].trashed = true;
            w.photos[0].upload = Upload::Waiting;
            w.photos[0].parts[0].claim = Place::OnlyHere;
        },
        [NotSafe; 4],
        ReasonId::OriginalsOnlyHere,
    ),
    cell(
        "an edit is not copied",
        |w| w.edits[0] = false,
        [Safe, NotSafe, NotSafe, NotSafe],
        ReasonId::Finding(F::PhotosNotCopied),
    ),
    fine(
        "what AFC refused is in the verified backup",
        |w| {
            w.photos[0].parts[0].disk = Disk::Refused;
            w.photos[0].parts[0].pulled = Held::Nothing;
        },
        ALL_SAFE,
    ),
    cell(
        "a rendition smaller than the original is not the original",
        |w| w.photos[0].parts[0].disk = Disk::Smaller,
        [NotSafe; 4],
        ReasonId::Finding(F::OriginalsOnlyInIcloud),
    ),
    cell(
        "a copy that is not whole is none",
        |w| {
            w.photos[0].parts[0].pulled = Held::Broken;
            w.photos[0].parts[0].backed_up = Held::Sealed;
        },
        [Safe, NotSafe, NotSafe, NotSafe],
        ReasonId::Finding(F::PhotosNotCopied),
    ),
    cell(
        "the library does not say where one is",
        |w| w.photos[0].parts.clear(),
        [CannotTell; 4],
        ReasonId::PlaceUnknown,
    ),
    cell(
        "one is in neither place",
        |w| {
            not_copied(w, 0);
            w.photos[0].parts[0].claim = Place::InNeither;
            w.photos[0].parts[0].disk = Disk::Absent;
        },
        [NotSafe; 4],
        ReasonId::Finding(F::OriginalsMissing),
    ),
    cell(
        "one is only in iCloud",
        only_in_icloud,
        [NotSafe, Safe, NotSafe, Safe],
        ReasonId::Finding(F::OriginalsOnlyInIcloud),
    ),
    fine(
        "one is only in iCloud and adopted",
        |w| {
            only_in_icloud(w);
            w.photos[0].adopted = true;
        },
        ALL_SAFE,
    ),
    cell(
        "one is only in iCloud, which is wiped",
        |w| {
            only_in_icloud(w);
            w.cloud = Cloud::Wiped;
        },
        [NotSafe; 4],
        ReasonId::Finding(F::OriginalsOnlyInIcloud),
    ),
    cell(
        "one is only in iCloud, which is to be deleted, and adopted",
        |w| {
            only_in_icloud(w);
            w.photos[0].adopted = true;
            w.cloud = Cloud::Scheduled;
        },
        [NotSafe, Safe, Safe, NotSafe],
        ReasonId::Finding(F::OriginalsOnlyInIcloud),
    ),
    cell(
        "one is only in iCloud, of which nobody knows whether it is there",
        |w| {
            only_in_icloud(w);
            w.cloud = Cloud::NobodyKnows;
        },
        [NotSafe, CannotTell, NotSafe, CannotTell],
        ReasonId::Finding(F::OriginalsOnlyInIcloud),
    ),
    cell(
        "some in iCloud have not come to this phone",
        |w| {
            w.to_download = ToDownload::Some(5);
            w.server = Server::CountsWhatWaits;
        },
        [Safe, Safe, NotSafe, Safe],
        ReasonId::Finding(F::DeviceBehind),
    ),
];

const BACKUP_AND_AFTER: &[Cell] = &[
    cell(
        "no backup",
        |w| {
            w.backup = None;
            w.remembers_backup = false;
        },
        [Safe, NotSafe, NotSafe, Safe],
        ReasonId::Finding(F::LocalBackupMissing),
    ),
    cell(
        "a backup that nobody proved",
        |w| w.backup = None,
        [Safe, NotSafe, NotSafe, Safe],
        ReasonId::BackupNotVerified,
    ),
    cell(
        "the backup of another phone",
        |w| w.backup.as_mut().unwrap().other_phone = true,
        [Safe, NotSafe, NotSafe, Safe],
        ReasonId::BackupNotVerified,
    ),
    cell(
        "a backup without the messages",
        |w| w.backup.as_mut().unwrap().lacks_messages = true,
        [Safe, NotSafe, NotSafe, Safe],
        ReasonId::BackupNotVerified,
    ),
    cell(
        "a backup that nobody can open",
        |w| w.backup.as_mut().unwrap().password_known = false,
        [Safe, NotSafe, NotSafe, Safe],
        ReasonId::Finding(F::BackupPasswordUnknown),
    ),
    cell(
        "a backup of an earlier visit",
        |w| w.backup.as_mut().unwrap().age_minutes = 121,
        [Safe, NotSafe, Safe, Safe],
        ReasonId::BackupTooOld,
    ),
    fine(
        "an older backup, made since the phone was plugged in",
        |w| {
            w.backup.as_mut().unwrap().age_minutes = 500;
            w.plugged_in_minutes_ago = Some(600);
        },
        ALL_SAFE,
    ),
    fine(
        "an older backup, accepted",
        |w| {
            w.backup.as_mut().unwrap().age_minutes = 100_000;
            w.accepted.insert(Accept::BackupAge);
        },
        ALL_SAFE,
    ),
    cell(
        "a backup out of the future",
        |w| w.backup.as_mut().unwrap().age_minutes = -30,
        [Safe, NotSafe, Safe, Safe],
        ReasonId::BackupTooOld,
    ),
    cell(
        "not encrypted",
        |w| w.backup.as_mut().unwrap().encrypted = false,
        [Safe, NotSafe, Safe, Safe],
        ReasonId::Finding(F::LocalBackupNotEncrypted),
    ),
    fine(
        "not encrypted, accepted",
        |w| {
            w.backup.as_mut().unwrap().encrypted = false;
            w.accepted.insert(Accept::UnencryptedBackup);
        },
        ALL_SAFE,
    ),
    cell(
        "Find My is on",
        |w| w.find_my = Some(true),
        [Safe, NotSafe, Safe, Safe],
        ReasonId::Finding(F::FindMyOn),
    ),
    cell(
        "whether Find My is on is not known",
        |w| w.find_my = None,
        [Safe, CannotTell, Safe, Safe],
        ReasonId::FindMyUnknown,
    ),
    fine(
        "Find My is on, and the owner knows the password",
        |w| {
            w.find_my = Some(true);
            w.accepted.insert(Accept::ActivationLock);
        },
        ALL_SAFE,
    ),
    cell(
        "49 % and not gaining",
        |w| (w.level, w.charging) = (Some(49), Some(false)),
        [Safe, NotSafe, Safe, Safe],
        ReasonId::BatteryTooLowToErase,
    ),
    cell(
        "49 % and losing on a weak port",
        |w| (w.level, w.current_ma) = (Some(49), Some(-80)),
        [Safe, NotSafe, Safe, Safe],
        ReasonId::BatteryTooLowToErase,
    ),
    fine("20 % and gaining", |w| w.level = Some(20), ALL_SAFE),
    cell(
        "19 % and gaining",
        |w| w.level = Some(19),
        [Safe, NotSafe, Safe, Safe],
        ReasonId::BatteryTooLowToErase,
    ),
    cell(
        "charge unknown",
        |w| w.level = None,
        [Safe, CannotTell, Safe, Safe],
        ReasonId::BatteryTooLowToErase,
    ),
    cell(
        "no consent stands for a missing copy",
        |w| {
            w.accepted.extend(Accept::ALL);
            w.backup = None;
            not_copied(w, 0);
        },
        [Safe, NotSafe, NotSafe, NotSafe],
        ReasonId::Finding(F::PhotosNotCopied),
    ),
];

#[test]
fn every_cell_of_the_table_holds() {
    for cell in [FIRST_DEMAND, ORIGINALS, BACKUP_AND_AFTER].into_iter().flatten() {
        let mut world = good();
        (cell.change)(&mut world);
        let observed = world.observe();
        let verdict = verdict(&observed.facts, &observed.proofs(), &observed.consent, &observed.moment);
        let answers = Question::ALL.map(|question| verdict.answer(question));
        assert_eq!(answers, cell.answers, "{}: {:#?}", cell.what, verdict.reasons);
        let named = |id| verdict.reasons.iter().any(|reason| reason.id == id);
        assert!(cell.because.is_none_or(named), "{}: {:#?}", cell.what, verdict.reasons);
        assert_eq!(verdict.reasons.is_empty(), cell.answers == ALL_SAFE, "{}", cell.what);
        assert!(!verdict.confirmed_on_real_device);
    }
}

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
