//! How many assets of each sort a library has.

/// The first iOS that shows what others sent in Messages among the photos.
const SHARED_WITH_YOU_SINCE: u32 = 15;
/// The first iOS with the iCloud Shared Photo Library.
pub(super) const SHARED_LIBRARY_SINCE: u32 = 16;

/// How many assets of each sort. The first group adds up to the owner's library without what is in Recently Deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mix {
    /// In iCloud, original here.
    pub(super) uploaded: u32,
    /// Handed to the engine, not up yet; only here.
    pub(super) waiting: u32,
    /// Quarantined; only here.
    pub(super) failed: u32,
    /// Never handed to the engine; only here.
    pub(super) never_queued: u32,
    /// In iCloud, original not here.
    pub(super) only_in_icloud: u32,
    /// Live Photos whose still is here and whose clip is only in iCloud.
    pub(super) clip_only_in_icloud: u32,
    /// The library says that the original is in neither place.
    pub(super) in_neither: u32,
    /// Without any row that says where the original is.
    pub(super) place_unknown: u32,

    /// Of the uploaded: came from iCloud, so that they lie in `PhotoData/CPLAssets`.
    pub(super) from_icloud: u32,
    /// Of the uploaded: in the Hidden album.
    pub(super) hidden: u32,
    /// Of the uploaded: favourites.
    pub(super) favourites: u32,
    /// Of the uploaded: edited.
    pub(super) edited: u32,
    /// Of the uploaded: burst frames that were not picked, four to a burst.
    pub(super) unpicked: u32,

    /// Of the uploaded: saved out of a conversation in Messages (iOS 15 and later).
    pub(super) syndicated: u32,
    /// Of the uploaded: in the iCloud Shared Photo Library (iOS 16 and later).
    pub(super) shared_library: u32,

    /// Besides: in Recently Deleted.
    pub(super) trashed: u32,
    /// Besides: removed for good, rows that wait for their own removal.
    pub(super) expunged: u32,
    /// Besides: only in a shared album.
    pub(super) shared_album: u32,
    /// Besides: behind an iCloud link.
    pub(super) links: u32,
    /// Besides: "Shared with You" (iOS 15 and later).
    pub(super) shared_with_you: u32,
}

impl Mix {
    /// A library of `photos` assets that are all where they should be.
    pub(super) fn healthy(photos: u32) -> Self {
        Self {
            uploaded: photos,
            from_icloud: photos / 8,
            favourites: photos / 12,
            edited: photos / 15,
            unpicked: if photos >= 60 { 4 } else { 0 },
            trashed: photos.min(2),
            expunged: 1,
            shared_album: photos.min(3),
            ..Self::default()
        }
    }

    /// Moves `count` of the uploaded to another sort; as many as there are, and one stays (a library of which nothing
    /// ever went up is another story). Returns how many moved.
    pub(super) fn move_from_uploaded(&mut self, count: u32, to: fn(&mut Self) -> &mut u32) {
        let moved = count.min(self.uploaded.saturating_sub(1));
        self.uploaded -= moved;
        *to(self) += moved;
        self.unpicked = if self.uploaded >= 60 { self.unpicked } else { 0 };
        for part in [
            &mut self.from_icloud,
            &mut self.hidden,
            &mut self.favourites,
            &mut self.edited,
            &mut self.syndicated,
            &mut self.shared_library,
        ] {
            *part = (*part).min(self.uploaded / 4);
        }
    }

    /// Takes out what iOS `major` does not know.
    pub(super) fn fit(&mut self, major: u32) {
        if major < SHARED_WITH_YOU_SINCE {
            (self.syndicated, self.shared_with_you) = (0, 0);
        }
        if major < SHARED_LIBRARY_SINCE {
            self.shared_library = 0;
        }
    }

    /// The owner's library without Recently Deleted.
    pub(super) fn own(&self) -> u32 {
        self.uploaded
            + self.waiting
            + self.failed
            + self.never_queued
            + self.only_in_icloud
            + self.clip_only_in_icloud
            + self.in_neither
            + self.place_unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_keeps_the_whole() {
        let mut mix = Mix::healthy(100);
        mix.move_from_uploaded(30, |mix| &mut mix.waiting);
        mix.move_from_uploaded(500, |mix| &mut mix.failed);
        assert_eq!((mix.own(), mix.uploaded, mix.waiting, mix.failed), (100, 1, 30, 69));
        assert!(mix.favourites <= mix.uploaded && mix.unpicked == 0);
    }
}
