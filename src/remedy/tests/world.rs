//! Worlds for the tests of the judgement: the truth about a phone and its copies.
//!
//! A world is drawn from a tape of bytes. A zero takes the harmless choice, so that a short or sparse tape is a phone
//! with little wrong, and shrinking a tape shrinks the trouble.

use std::collections::BTreeSet;

use crate::facts::{Place, Reach, Upload};
use crate::remedy::Accept;

/// Choices, one byte each; zeros when it has run out.
pub(crate) struct Tape<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tape<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// One of them; the first is the harmless one.
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }
}

/// What is on the phone's disk for one original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    Full,
    Larger,
    Smaller,
    Absent,
    /// There, and AFC does not even let it be looked at.
    Refused,
}

/// What a copy of ours holds of one original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// Exactly what is (or, if it has left the phone, was) there.
    Exact,
    Nothing,
    /// Of another day.
    Stale,
    /// Cut or damaged.
    Broken,
    /// Of another size.
    OtherSize,
    /// In an encrypted backup that nobody could look into.
    Sealed,
}

#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) claim: Place,
    pub(crate) disk: Disk,
    pub(crate) pulled: Held,
    pub(crate) backed_up: Held,
    pub(crate) size_stated: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Photo {
    pub(crate) own: bool,
    pub(crate) trashed: bool,
    pub(crate) upload: Upload,
    pub(crate) adopted: bool,
    /// None at all: the library has no row that says where it is.
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LibraryRead {
    Yes,
    Refused,
    ColumnMissing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Read,
    Refused,
    NoFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cloud {
    There,
    Wiped,
    ContainerWiped,
    Scheduled,
    NotMentioned,
    Denied,
    NobodyKnows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Exact,
    CountsTrashed,
    CountsWhatWaits,
    CountsTrashedAndWhatWaits,
    TooMany,
    TooFew,
    Between,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    Done,
    NotDone,
    RefusedPhotos,
    RefusedElsewhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToDownload {
    NoFile,
    None,
    Some(u64),
    Refused,
}

#[derive(Debug, Clone)]
pub(crate) struct Backup {
    pub(crate) other_phone: bool,
    pub(crate) lacks_messages: bool,
    pub(crate) encrypted: bool,
    pub(crate) password_known: bool,
    pub(crate) age_minutes: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) reach: Reach,
    pub(crate) device: bool,
    pub(crate) read_minutes_ago: i64,
    pub(crate) library: LibraryRead,
    pub(crate) unknown_state: bool,
    pub(crate) status: Status,
    pub(crate) enabled: Option<bool>,
    pub(crate) cloud: Cloud,
    pub(crate) server: Server,
    pub(crate) to_download: ToDownload,
    pub(crate) walk: Walk,
    pub(crate) photos: Vec<Photo>,
    /// Edits on the phone, each copied or not.
    pub(crate) edits: Vec<bool>,
    pub(crate) has_photos_proof: bool,
    pub(crate) photos_proof_of_other_phone: bool,
    pub(crate) backup: Option<Backup>,
    pub(crate) remembers_backup: bool,
    pub(crate) find_my: Option<bool>,
    pub(crate) level: Option<u8>,
    pub(crate) charging: Option<bool>,
    pub(crate) current_ma: Option<i64>,
    pub(crate) accepted: BTreeSet<Accept>,
    pub(crate) plugged_in_minutes_ago: Option<i64>,
}

impl World {
    /// The world on a tape.
    pub(crate) fn draw(tape: &mut Tape<'_>) -> Self {
        let photos = (0..tape.of(&[2, 1, 0, 4, 6])).map(|_| draw_photo(tape)).collect();
        let mut world = Self {
            reach: tape.of(&[Reach::Trusted, Reach::NotTrusted, Reach::KeyMismatch]),
            device: tape.of(&[true, true, true, false]),
            read_minutes_ago: tape.of(&[0, 29, 31, 600]),
            library: tape.of(&[LibraryRead::Yes, LibraryRead::Refused, LibraryRead::ColumnMissing]),
            unknown_state: tape.of(&[false, false, true]),
            status: tape.of(&[Status::Read, Status::Refused, Status::NoFile]),
            enabled: tape.of(&[Some(true), Some(false), None]),
            cloud: tape.of(&[
                Cloud::There,
                Cloud::Wiped,
                Cloud::ContainerWiped,
                Cloud::Scheduled,
                Cloud::NotMentioned,
                Cloud::Denied,
                Cloud::NobodyKnows,
            ]),
            server: tape.of(&[
                Server::Exact,
                Server::CountsTrashed,
                Server::CountsWhatWaits,
                Server::CountsTrashedAndWhatWaits,
                Server::TooMany,
                Server::TooFew,
                Server::Between,
                Server::Unknown,
            ]),
            to_download: tape.of(&[
                ToDownload::NoFile,
                ToDownload::None,
                ToDownload::Some(1),
                ToDownload::Some(5),
                ToDownload::Refused,
            ]),
            walk: tape.of(&[Walk::Done, Walk::RefusedElsewhere, Walk::NotDone, Walk::RefusedPhotos]),
            photos,
            edits: (0..tape.of(&[1, 0, 2])).map(|_| tape.of(&[true, true, false])).collect(),
            has_photos_proof: tape.of(&[true, true, false]),
            photos_proof_of_other_phone: tape.of(&[false, false, false, true]),
            backup: draw_backup(tape),
            remembers_backup: tape.of(&[true, false]),
            find_my: tape.of(&[Some(false), Some(true), None]),
            level: tape.of(&[Some(80), Some(50), Some(49), Some(20), Some(19), Some(255), None]),
            charging: tape.of(&[Some(true), Some(false), None]),
            current_ma: tape.of(&[None, Some(500), Some(-80), Some(0)]),
            accepted: BTreeSet::new(),
            plugged_in_minutes_ago: tape.of(&[Some(90), None, Some(600)]),
        };
        for accept in Accept::ALL {
            if tape.of(&[false, true]) {
                world.accepted.insert(accept);
            }
        }
        world
    }

    fn seen(&self, photo: &Photo) -> bool {
        self.library == LibraryRead::Yes && photo.own
    }

    pub(crate) fn uploaded(&self, trashed: bool) -> u64 {
        let own = self.photos.iter().filter(|photo| self.seen(photo) && photo.trashed == trashed);
        own.filter(|photo| photo.upload == Upload::Uploaded).count() as u64
    }

    pub(crate) fn explains(&self) -> u64 {
        let waiting =
            self.photos.iter().filter(|p| self.seen(p) && p.upload == Upload::Waiting).count() as u64;
        waiting + if let ToDownload::Some(number) = self.to_download { number } else { 0 }
    }

    /// What the server says, and whether that agrees.
    pub(crate) fn server_says(&self) -> (Option<u64>, bool) {
        let (live, trashed, more) = (self.uploaded(false), self.uploaded(true), self.explains());
        match self.server {
            Server::Exact => (Some(live), true),
            Server::CountsTrashed => (Some(live + trashed), true),
            Server::CountsWhatWaits => (Some(live + more), true),
            Server::CountsTrashedAndWhatWaits => (Some(live + trashed + more), true),
            Server::TooMany => (Some(live + trashed + more + 1), false),
            Server::TooFew if live > 0 => (Some(live - 1), false),
            Server::TooFew => (Some(live), true),
            Server::Between if live + more + 1 < live + trashed => (Some(live + more + 1), false),
            Server::Between => (Some(live), true),
            Server::Unknown => (None, false),
        }
    }
}

fn draw_photo(tape: &mut Tape<'_>) -> Photo {
    let parts = tape.of(&[1, 2, 1, 1, 1, 1, 0]);
    Photo {
        own: tape.of(&[true, true, true, false]),
        trashed: tape.of(&[false, true]),
        upload: tape.of(&[Upload::Uploaded, Upload::Waiting, Upload::Failed, Upload::NeverQueued]),
        adopted: tape.of(&[false, true]),
        parts: (0..parts).map(|_| draw_part(tape)).collect(),
    }
}

fn draw_part(tape: &mut Tape<'_>) -> Part {
    let claim = tape.of(&[
        Place::HereAndInIcloud,
        Place::OnlyHere,
        Place::OnlyInIcloud,
        Place::OnlyInIcloud,
        Place::InNeither,
        Place::Unknown,
    ]);
    let here = matches!(claim, Place::HereAndInIcloud | Place::OnlyHere);
    let disk = tape.of(&[Disk::Full, Disk::Larger, Disk::Full, Disk::Smaller, Disk::Absent, Disk::Refused]);
    Part {
        claim,
        disk: if here { disk } else { Disk::Absent },
        pulled: tape.of(&[Held::Exact, Held::Nothing, Held::Stale, Held::Broken, Held::OtherSize]),
        backed_up: tape.of(&[
            Held::Exact,
            Held::Nothing,
            Held::Stale,
            Held::Broken,
            Held::Sealed,
            Held::OtherSize,
        ]),
        size_stated: tape.of(&[true, true, false]),
    }
}

fn draw_backup(tape: &mut Tape<'_>) -> Option<Backup> {
    tape.of(&[true, true, true, false]).then(|| Backup {
        other_phone: tape.of(&[false, false, false, true]),
        lacks_messages: tape.of(&[false, false, true]),
        encrypted: tape.of(&[true, false]),
        password_known: tape.of(&[true, false]),
        age_minutes: tape.of(&[60, 120, 121, 500, 100_000, -30]),
    })
}
