//! The cells of the gate's table, one example each: a phone with nothing wrong, one thing changed, and what the four
//! answers become.

use crate::diagnosis::FindingId as F;
use crate::facts::{Place, Reach, Upload};
use crate::remedy::gate::{Answer, Question, verdict};
use crate::remedy::{Accept, ReasonId};

use super::world::{Cloud, Disk, Held, LibraryRead, Server, Status, Tape, ToDownload, Walk, World};
use Answer::{CannotTell, NotSafe, Safe};

/// Two photos, here and in iCloud, copied; an encrypted backup of this visit; Find My off; charged.
pub(super) fn good() -> World {
    World::draw(&mut Tape::new(&[]))
}

/// Photos, erase, delete the iCloud library, toggle iCloud Photos.
pub(super) type Answers = [Answer; 4];

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

pub(super) const ALL_SAFE: Answers = [Safe; 4];
const NOBODY_CAN_TELL: Answers = [CannotTell; 4];

pub(super) fn not_copied(world: &mut World, photo: usize) {
    for part in &mut world.photos[photo].parts {
        part.pulled = Held::Nothing;
        part.backed_up = Held::Nothing;
    }
}

pub(super) fn only_in_icloud(world: &mut World) {
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
