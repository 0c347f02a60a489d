//! Lists of the owner's assets: what waits, what is only here, what was deleted, what is not copied. Newest first.
//!
//! The members of a list are those that the library's counts count (trashed assets only in their own list and among what
//! is not copied). Nothing is copied out of the facts: a list of a whole library is as small as its order.

use jiff::{SignedDuration, Timestamp};

use super::Kept;
use crate::facts::{Asset, Facts, MediaListing, Owner, Place, Resource, Upload, value};

/// Days in Recently Deleted where the server's configuration is not known.
const RECENTLY_DELETED_DAYS: u32 = 30;

/// A list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum List {
    Waiting,
    Failed,
    OnlyHere,
    OnlyInIcloud,
    InNeither,
    RecentlyDeleted,
    Hidden,
    /// An original is on the phone that is neither in our proven copy nor in the proven backup.
    NotCopied,
}

impl List {
    /// All of them.
    pub const ALL: [List; 8] = [
        List::Waiting,
        List::Failed,
        List::OnlyHere,
        List::OnlyInIcloud,
        List::InNeither,
        List::RecentlyDeleted,
        List::Hidden,
        List::NotCopied,
    ];

    /// Its word on the command line, in JSON and CSV.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            List::Waiting => "waiting",
            List::Failed => "failed",
            List::OnlyHere => "only-here",
            List::OnlyInIcloud => "only-in-icloud",
            List::InNeither => "in-neither",
            List::RecentlyDeleted => "recently-deleted",
            List::Hidden => "hidden",
            List::NotCopied => "not-copied",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            List::Waiting => "Waiting for upload",
            List::Failed => "Given up by the phone",
            List::OnlyHere => "Only on this phone",
            List::OnlyInIcloud => "Only in iCloud",
            List::InNeither => "Neither on this phone nor in iCloud",
            List::RecentlyDeleted => "In Recently Deleted",
            List::Hidden => "In the Hidden album",
            List::NotCopied => "On this phone and not copied",
        }
    }
}

/// The lists of one phone.
#[derive(Debug)]
pub struct Lists<'a> {
    facts: &'a Facts,
    kept: &'a Kept,
    assets: &'a [Asset],
    /// The owner's assets, newest first.
    order: Vec<u32>,
    listing: &'a MediaListing,
    days: u32,
}

/// One asset of a list.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The asset.
    pub asset: &'a Asset,
    /// Bytes of its originals, as the library states them, else as they are on the phone; `None`: neither tells.
    pub bytes: Option<u64>,
    /// Every original that is on the phone (when none is: every original) is in our proven copy or in the proven backup;
    /// `None` when none is on it and not all were adopted, or its files were not seen.
    pub copied: Option<bool>,
    /// Whole days until it is removed for good; `None` when it is not in Recently Deleted, or the date is not known.
    pub days_left: Option<i64>,
}

/// No file at all.
static NOTHING: MediaListing = MediaListing { files: Vec::new(), refused: Vec::new() };

impl<'a> Lists<'a> {
    /// The lists of what was read; `None` when the library could not be.
    #[must_use]
    pub fn of(facts: &'a Facts, kept: &'a Kept) -> Option<Self> {
        let assets = facts.library.assets.as_deref()?;
        let own = (0..).zip(assets).filter(|(_, asset)| asset.owner == Owner::Own).map(|(at, _)| at);
        let mut order: Vec<u32> = own.collect();
        let at = |place: &u32| &assets[*place as usize];
        order.sort_by(|a, b| {
            let taken = |asset: &Asset| asset.created.or(asset.added);
            taken(at(b)).cmp(&taken(at(a))).then_with(|| at(a).path.cmp(&at(b).path))
        });
        let days = value(&facts.icloud_photos.recently_deleted_days).unwrap_or(RECENTLY_DELETED_DAYS);
        let listing = facts.media.as_ref().unwrap_or(&NOTHING);
        Some(Self { facts, kept, assets, order, listing, days })
    }

    /// The members of a list; `None` for what this library cannot tell.
    #[must_use]
    pub fn list(&self, list: List) -> Option<impl Iterator<Item = Row<'a>> + '_> {
        let counts = &self.facts.library.counts;
        let tells = match list {
            List::Waiting => counts.waiting.is_some(),
            List::Failed => counts.failed.is_some(),
            List::OnlyHere => counts.originals_only_here.is_some(),
            List::OnlyInIcloud => counts.originals_only_in_icloud.is_some(),
            List::InNeither => counts.originals_in_neither.is_some(),
            List::RecentlyDeleted => counts.recently_deleted.is_some(),
            List::Hidden => counts.hidden.is_some(),
            List::NotCopied => counts.originals_only_here.is_some() && self.facts.media.is_some(),
        };
        tells.then(|| self.rows().filter(move |row| Self::has(list, row)))
    }

    /// All of the owner's assets.
    pub fn rows(&self) -> impl Iterator<Item = Row<'a>> + '_ {
        self.order.iter().map(|place| self.row(&self.assets[*place as usize]))
    }

    /// The titles of the albums that an asset is in. Text from the phone.
    pub fn albums<'s>(&'s self, asset: &'s Asset) -> impl Iterator<Item = &'s str> {
        let albums = self.facts.library.albums.as_deref().unwrap_or_default();
        asset.albums.iter().filter_map(|place| Some(albums.get(*place as usize)?.title.as_str()))
    }

    fn has(list: List, row: &Row<'_>) -> bool {
        let asset = row.asset;
        let kept = asset.trashed.is_none();
        match list {
            List::Waiting => kept && asset.upload == Upload::Waiting,
            List::Failed => kept && asset.upload == Upload::Failed,
            List::OnlyHere => kept && asset.place == Place::OnlyHere,
            List::OnlyInIcloud => kept && asset.place == Place::OnlyInIcloud,
            List::InNeither => kept && asset.place == Place::InNeither,
            List::RecentlyDeleted => !kept,
            List::Hidden => kept && asset.hidden,
            List::NotCopied => row.copied == Some(false),
        }
    }

    fn row(&self, asset: &'a Asset) -> Row<'a> {
        let stated = asset.resources.iter().map(|original| original.stated_bytes);
        let stated: Option<u64> = stated.sum();
        let seen = || self.listing.file(&asset.path).map(|file| file.size);
        let here: Vec<&Resource> = asset
            .resources
            .iter()
            .filter(|original| matches!(original.place, Place::HereAndInIcloud | Place::OnlyHere))
            .collect();
        Row {
            asset,
            bytes: stated.filter(|_| !asset.resources.is_empty()).or_else(seen),
            copied: if here.is_empty() {
                self.is_adopted(asset).then_some(true)
            } else {
                let seen = self.facts.media.is_some();
                seen.then(|| here.iter().all(|original| self.is_copied(original)))
            },
            days_left: asset.trashed.flatten().map(|since| self.days_left(since)),
        }
    }

    /// Every original was downloaded elsewhere and taken in.
    fn is_adopted(&self, asset: &Asset) -> bool {
        let adopted = |original: &Resource| {
            self.kept.photos.as_ref().is_some_and(|proof| proof.adopted(&asset.uuid, original))
        };
        !asset.resources.is_empty() && asset.resources.iter().all(adopted)
    }

    fn is_copied(&self, original: &Resource) -> bool {
        let Some(path) = original.path.as_deref() else { return false };
        let enough = |bytes: u64| bytes >= original.stated_bytes.unwrap_or(0);
        match self.listing.file(path) {
            Some(file) => {
                enough(file.size)
                    && (self.kept.photos.as_ref().is_some_and(|proof| proof.covers(file))
                        || self.kept.backup.as_ref().is_some_and(|proof| proof.covers(file)))
            }
            // What AFC refused can be in the backup.
            None => self
                .kept
                .backup
                .as_ref()
                .and_then(|proof| proof.media(path))
                .is_some_and(|media| media.sha256.is_some() && media.whole && enough(media.size)),
        }
    }

    fn days_left(&self, since: Timestamp) -> i64 {
        let stay = SignedDuration::from_hours(i64::from(self.days) * 24);
        let gone = since.checked_add(stay).unwrap_or(Timestamp::MAX);
        gone.duration_since(self.facts.observed_at).as_hours().max(0) / 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{AssetKind, Counts, Library, MediaFile, ResourceKind};

    fn asset(n: i64, place: Place, upload: Upload) -> Asset {
        let path = format!("DCIM/100APPLE/IMG_{n:04}.JPG");
        let original = Resource {
            kind: ResourceKind::Original,
            path: Some(path.clone()),
            stated_bytes: Some(100),
            fingerprint: None,
            place,
        };
        Asset {
            uuid: format!("U{n}"),
            path,
            original_name: None,
            kind: AssetKind::Photo,
            owner: Owner::Own,
            created: Timestamp::from_second(n * 86_400).ok(),
            added: None,
            trashed: None,
            hidden: false,
            favourite: false,
            burst_unpicked: false,
            albums: Vec::new(),
            upload,
            place,
            resources: vec![original],
        }
    }

    fn facts() -> Facts {
        let mut assets = vec![
            asset(1, Place::OnlyHere, Upload::Waiting),
            asset(2, Place::OnlyHere, Upload::Failed),
            asset(3, Place::OnlyInIcloud, Upload::Uploaded),
            asset(4, Place::InNeither, Upload::Uploaded),
            asset(5, Place::HereAndInIcloud, Upload::Uploaded),
            asset(6, Place::OnlyHere, Upload::NeverQueued),
            asset(7, Place::OnlyHere, Upload::Waiting),
        ];
        assets[4].hidden = true;
        assets[5].trashed = Some(Timestamp::from_second(100 * 86_400).ok());
        assets[6].owner = Owner::SharedAlbum;
        let some = Some(1);
        let counts = Counts {
            waiting: some,
            failed: some,
            originals_only_here: some,
            originals_only_in_icloud: some,
            originals_in_neither: some,
            recently_deleted: some,
            hidden: some,
            ..Counts::default()
        };
        Facts {
            observed_at: Timestamp::from_second(110 * 86_400 + 3600).unwrap(),
            library: Library { assets: Some(assets), counts, ..Library::default() },
            media: Some(MediaListing {
                files: vec![MediaFile {
                    path: "DCIM/100APPLE/IMG_0001.JPG".into(),
                    size: 100,
                    mtime_ns: 0,
                    birthtime_ns: 0,
                }],
                refused: Vec::new(),
            }),
            ..Facts::default()
        }
    }

    #[test]
    fn each_list_has_its_members_newest_first() {
        let (facts, kept) = (facts(), Kept::default());
        let lists = Lists::of(&facts, &kept).unwrap();
        let members = |list| lists.list(list).unwrap().map(|row| row.asset.uuid.as_str()).collect::<Vec<_>>();
        assert_eq!(members(List::Waiting), ["U1"]);
        assert_eq!(members(List::Failed), ["U2"]);
        assert_eq!(members(List::OnlyHere), ["U2", "U1"]);
        assert_eq!(members(List::OnlyInIcloud), ["U3"]);
        assert_eq!(members(List::InNeither), ["U4"]);
        assert_eq!(members(List::RecentlyDeleted), ["U6"]);
        assert_eq!(members(List::Hidden), ["U5"]);
        assert_eq!(members(List::NotCopied), ["U6", "U5", "U2", "U1"]);
        assert_eq!(lists.rows().count(), 6);
        // Deleted ten days and an hour ago, of thirty.
        assert_eq!(lists.list(List::RecentlyDeleted).unwrap().next().unwrap().days_left, Some(19));
    }

    #[test]
    fn what_the_library_does_not_tell_is_no_empty_list() {
        let mut facts = facts();
        facts.library.counts.failed = None;
        facts.media = None;
        let kept = Kept::default();
        let lists = Lists::of(&facts, &kept).unwrap();
        assert!(lists.list(List::Failed).is_none() && lists.list(List::NotCopied).is_none());
        assert_eq!(lists.rows().next().unwrap().copied, None);
        facts.library.assets = None;
        assert!(Lists::of(&facts, &kept).is_none());
    }
}
