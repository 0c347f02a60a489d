//! The oracle: the gate's table read again, line by line, over the truth of a world. It knows no facts, no proofs, no
//! paths; it shares no code with the gate, so that the two can disagree.

use crate::diagnosis::FindingId as F;
use crate::facts::{Place, Reach, Upload};
use crate::remedy::gate::{Answer, Question};
use crate::remedy::{Accept, ReasonId};

use super::world::{Cloud, Disk, Held, LibraryRead, Part, Photo, Status, ToDownload, Walk, World};

/// Whether a line of the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holds {
    Yes,
    NobodyKnows,
    No,
}

impl Holds {
    fn when(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// The lines of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Readable,
    Copied,
    NothingOnlyInIcloud,
    BackedUp,
    BackedUpLately,
    Encrypted,
    FindMy,
    Charge,
    TwoPlaces,
}

impl Line {
    /// The ids by which a reason can name this line.
    pub(super) fn is_named_by(self, id: ReasonId) -> bool {
        use ReasonId::{
            BackupNotVerified, BackupTooOld, BatteryTooLowToErase, CountsDisagree, FindMyUnknown, Finding,
            OriginalsOnlyHere, PlaceUnknown, UnknownStateValue,
        };
        match self {
            Self::Readable => matches!(
                id,
                Finding(F::NotTrusted | F::StalePairing | F::LibraryUnreadable | F::SyncStatusUnreadable)
                    | CountsDisagree
                    | UnknownStateValue
            ),
            Self::Copied => matches!(id, Finding(F::PhotosNotCopied | F::OriginalsMissing) | PlaceUnknown),
            Self::NothingOnlyInIcloud => matches!(id, Finding(F::OriginalsOnlyInIcloud | F::DeviceBehind)),
            Self::BackedUp => {
                matches!(id, Finding(F::LocalBackupMissing | F::BackupPasswordUnknown) | BackupNotVerified)
            }
            Self::BackedUpLately => id == BackupTooOld,
            Self::Encrypted => id == F::LocalBackupNotEncrypted.into(),
            Self::FindMy => matches!(id, Finding(F::FindMyOn) | FindMyUnknown),
            Self::Charge => id == BatteryTooLowToErase,
            Self::TwoPlaces => matches!(
                id,
                Finding(F::OriginalsMissing | F::OriginalsOnlyInIcloud) | OriginalsOnlyHere | PlaceUnknown
            ),
        }
    }
}

/// Every line that the question's column has, and whether it holds.
pub(super) fn column(world: &World, question: Question) -> Vec<(Line, Holds)> {
    let deletes = question == Question::DeleteIcloudLibrary;
    let readable = (Line::Readable, Holds::when(readable(world, deletes)));
    let copied = (Line::Copied, copied(world));
    let backed_up = (Line::BackedUp, backed_up(world));
    match question {
        Question::Photos => vec![readable, (Line::TwoPlaces, two_places(world))],
        Question::ToggleIcloudPhotos => {
            vec![readable, copied, (Line::NothingOnlyInIcloud, only_in_icloud(world, false, true))]
        }
        Question::DeleteIcloudLibrary => {
            vec![readable, copied, (Line::NothingOnlyInIcloud, only_in_icloud(world, true, false)), backed_up]
        }
        Question::Erase => vec![
            readable,
            copied,
            (Line::NothingOnlyInIcloud, only_in_icloud(world, true, true)),
            backed_up,
            (Line::BackedUpLately, lately(world)),
            (Line::Encrypted, encrypted(world)),
            (Line::FindMy, find_my(world)),
            (Line::Charge, charge(world)),
        ],
    }
}

/// The answer that a column gives.
pub(super) fn answer(column: &[(Line, Holds)]) -> Answer {
    if column.iter().all(|(_, holds)| *holds == Holds::Yes) {
        return Answer::Safe;
    }
    let unreadable = column.iter().any(|(line, holds)| *line == Line::Readable && *holds != Holds::Yes);
    let known_bad = column.iter().any(|(_, holds)| *holds == Holds::No);
    if unreadable || !known_bad { Answer::CannotTell } else { Answer::NotSafe }
}

/// The line under the table: a verified local backup of a phone that was read just now.
pub(super) fn only_backed_up(world: &World) -> bool {
    read_now(world) && backed_up(world) == Holds::Yes
}

/// How many originals stay in iCloud alone when an open erase is done.
pub(super) fn stay_in_icloud(world: &World) -> usize {
    let adopted = photo_proof_counts(world);
    let only_there = |photo: &&Photo| photo.parts.iter().any(|part| part.claim == Place::OnlyInIcloud);
    own(world).filter(only_there).filter(|photo| !(adopted && photo.adopted)).count()
}

fn own(world: &World) -> impl Iterator<Item = &Photo> {
    world.photos.iter().filter(|photo| photo.own)
}

fn is_here(part: &Part) -> bool {
    part.claim == Place::HereAndInIcloud || part.claim == Place::OnlyHere
}

fn photo_proof_counts(world: &World) -> bool {
    world.has_photos_proof && !world.photos_proof_of_other_phone && world.device
}

/// The backup's content counts: of this phone, and nothing refused that matters.
fn backup_counts(world: &World) -> bool {
    world.device && world.backup.as_ref().is_some_and(|backup| !backup.other_phone && !backup.lacks_messages)
}

fn backup_is_open(world: &World) -> bool {
    world.backup.as_ref().is_some_and(|backup| !backup.encrypted || backup.password_known)
}

fn read_now(world: &World) -> bool {
    world.reach == Reach::Trusted && world.device && world.read_minutes_ago <= 30
}

fn refused_but_backed_up(world: &World, part: &Part) -> bool {
    backup_counts(world)
        && backup_is_open(world)
        && matches!(part.backed_up, Held::Exact | Held::Stale | Held::OtherSize)
}

fn readable(world: &World, deletes: bool) -> bool {
    if !read_now(world) || world.library != LibraryRead::Yes || world.unknown_state {
        return false;
    }
    let status = match world.status {
        Status::Read => true,
        Status::NoFile => world.enabled == Some(false),
        Status::Refused => false,
    };
    let folders = matches!(world.walk, Walk::Done | Walk::RefusedElsewhere);
    let every_file_seen = world.photos.iter().all(|photo| {
        photo.parts.iter().all(|part| match part.disk {
            Disk::Full | Disk::Larger | Disk::Smaller => true,
            Disk::Refused => refused_but_backed_up(world, part),
            Disk::Absent => !(photo.own && is_here(part)),
        })
    });
    let nothing_up = world.uploaded(false) == 0 && world.uploaded(true) == 0;
    let nothing_to_compare = !deletes && world.enabled == Some(false) && nothing_up;
    status && folders && every_file_seen && (nothing_to_compare || world.server_says().1)
}

/// The copy of an original that is on the phone is good: full, of today, whole.
fn is_copied(world: &World, part: &Part) -> bool {
    let full = part.disk != Disk::Smaller || !part.size_stated;
    match part.disk {
        Disk::Absent => false,
        Disk::Refused => refused_but_backed_up(world, part),
        Disk::Full | Disk::Larger | Disk::Smaller => full && file_is_copied(world, part),
    }
}

fn file_is_copied(world: &World, part: &Part) -> bool {
    let pulled = photo_proof_counts(world) && part.pulled == Held::Exact;
    let backed_up = backup_counts(world) && backup_is_open(world) && part.backed_up == Held::Exact;
    pulled || backed_up
}

fn copied(world: &World) -> Holds {
    if world.library == LibraryRead::Refused || world.walk == Walk::NotDone {
        return Holds::NobodyKnows;
    }
    // Also files of others, and edits: a fresh plan would still copy them.
    let files = world
        .photos
        .iter()
        .flat_map(|photo| &photo.parts)
        .all(|part| matches!(part.disk, Disk::Absent | Disk::Refused) || file_is_copied(world, part));
    let edits = photo_proof_counts(world) || world.edits.is_empty();
    let edits = edits && world.edits.iter().all(|copied| *copied);
    let originals =
        own(world).all(|photo| photo.parts.iter().all(|part| !is_here(part) || is_copied(world, part)));
    let lost = own(world).any(|photo| {
        photo.parts.iter().any(|part| part.claim == Place::InNeither)
            && !(photo.adopted && photo_proof_counts(world))
    });
    if !files || !edits || !originals || lost {
        return Holds::No;
    }
    let unknown = own(world)
        .any(|photo| photo.parts.is_empty() || photo.parts.iter().any(|part| part.claim == Place::Unknown));
    if unknown { Holds::NobodyKnows } else { Holds::Yes }
}

/// The cloud library is there, not wiped and not scheduled for deletion.
fn cloud(world: &World) -> Holds {
    match world.status {
        Status::Refused => Holds::NobodyKnows,
        Status::NoFile => Holds::No,
        Status::Read => match world.cloud {
            Cloud::There => Holds::Yes,
            Cloud::NobodyKnows => Holds::NobodyKnows,
            Cloud::Wiped | Cloud::ContainerWiped | Cloud::Scheduled | Cloud::NotMentioned | Cloud::Denied => {
                Holds::No
            }
        },
    }
}

fn only_in_icloud(world: &World, adopting_helps: bool, may_stay_there: bool) -> Holds {
    if may_stay_there && cloud(world) == Holds::Yes {
        return Holds::Yes;
    }
    let to_come = match world.to_download {
        ToDownload::NoFile | ToDownload::None => Holds::Yes,
        ToDownload::Some(_) => Holds::No,
        ToDownload::Refused => Holds::NobodyKnows,
    };
    if world.library == LibraryRead::Refused {
        return to_come.max(Holds::NobodyKnows);
    }
    let helps = adopting_helps && photo_proof_counts(world);
    let some = own(world).any(|photo| {
        photo.parts.iter().any(|part| part.claim == Place::OnlyInIcloud) && !(helps && photo.adopted)
    });
    let there = match (some, may_stay_there && cloud(world) == Holds::NobodyKnows) {
        (false, _) => Holds::Yes,
        (true, true) => Holds::NobodyKnows,
        (true, false) => Holds::No,
    };
    to_come.max(there)
}

fn backed_up(world: &World) -> Holds {
    Holds::when(backup_counts(world) && backup_is_open(world))
}

/// Of this phone; what else is wrong with it is another line's business.
fn own_backup(world: &World) -> Option<&super::world::Backup> {
    world.backup.as_ref().filter(|backup| world.device && !backup.other_phone)
}

fn lately(world: &World) -> Holds {
    let Some(backup) = own_backup(world) else { return Holds::Yes };
    let since_plugged_in = world.plugged_in_minutes_ago.is_some_and(|minutes| backup.age_minutes <= minutes);
    let fresh = backup.age_minutes >= 0 && (backup.age_minutes <= 120 || since_plugged_in);
    Holds::when(fresh || world.accepted.contains(&Accept::BackupAge))
}

fn encrypted(world: &World) -> Holds {
    let Some(backup) = own_backup(world) else { return Holds::Yes };
    Holds::when(backup.encrypted || world.accepted.contains(&Accept::UnencryptedBackup))
}

fn find_my(world: &World) -> Holds {
    if world.accepted.contains(&Accept::ActivationLock) {
        return Holds::Yes;
    }
    world.find_my.map_or(Holds::NobodyKnows, |on| Holds::when(!on))
}

fn charge(world: &World) -> Holds {
    let gaining = match (world.charging, world.current_ma) {
        (Some(false), _) => Holds::No,
        (_, Some(current)) => Holds::when(current > 0),
        (Some(true), None) => Holds::Yes,
        (None, None) => Holds::NobodyKnows,
    };
    match world.level {
        None | Some(101..) => Holds::NobodyKnows,
        Some(50..=100) => Holds::Yes,
        Some(20..50) => gaining,
        Some(0..20) => Holds::No,
    }
}

fn two_places(world: &World) -> Holds {
    if world.library == LibraryRead::Refused || world.walk == Walk::NotDone {
        return Holds::NobodyKnows;
    }
    let worst = own(world).map(|photo| {
        if photo.parts.is_empty() {
            return Holds::NobodyKnows;
        }
        photo.parts.iter().map(|part| in_two_places(world, photo, part)).max().expect("it has parts")
    });
    worst.max().unwrap_or(Holds::Yes)
}

fn in_two_places(world: &World, photo: &Photo, part: &Part) -> Holds {
    if part.claim == Place::Unknown {
        return Holds::NobodyKnows;
    }
    let whole_here = match part.disk {
        Disk::Full | Disk::Larger => true,
        Disk::Smaller => !part.size_stated,
        Disk::Refused => refused_but_backed_up(world, part),
        Disk::Absent => false,
    };
    let on_phone = usize::from(is_here(part) && whole_here);
    // What nobody can see on the phone (any more) is known again by its exact size.
    let unseen = matches!(part.disk, Disk::Absent | Disk::Refused);
    let left_a_copy = unseen && part.size_stated && {
        let pulled = photo_proof_counts(world) && matches!(part.pulled, Held::Exact | Held::Stale);
        let backed_up = backup_counts(world)
            && backup_is_open(world)
            && matches!(part.backed_up, Held::Exact | Held::Stale);
        pulled || backed_up
    };
    let adopted = photo.adopted && photo_proof_counts(world);
    let in_copy = usize::from(is_copied(world, part) || left_a_copy || adopted);
    let claimed_up = part.claim == Place::HereAndInIcloud || part.claim == Place::OnlyInIcloud;
    let up = if claimed_up && photo.upload == Upload::Uploaded { cloud(world) } else { Holds::No };
    let sure = on_phone + in_copy + usize::from(up == Holds::Yes);
    let at_best = sure + usize::from(up == Holds::NobodyKnows);
    match (sure >= 2, at_best >= 2) {
        (true, _) => Holds::Yes,
        (false, true) => Holds::NobodyKnows,
        (false, false) => Holds::No,
    }
}
