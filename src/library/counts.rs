//! The counts, made once and from the assets alone, so that no two numbers can disagree.

use super::schema::Schema;
use crate::facts::{Asset, Counts, Library, Owner, Place, Upload};

/// Fills `library.counts` from all `assets`, as far as this library's columns tell.
pub(super) fn fill(library: &mut Library, schema: &Schema, assets: &[Asset]) {
    let own_and_kept = schema.tells_owner() && schema.tells_trashed();
    let own = || assets.iter().filter(|asset| asset.owner == Owner::Own);
    let kept = || own().filter(|asset| asset.trashed.is_none());
    let when = |told: bool, count: usize| (own_and_kept && told).then_some(count as u64);
    let upload =
        |state: Upload| when(schema.tells_upload(), kept().filter(|asset| asset.upload == state).count());
    let place =
        |place: Place| when(schema.tells_place(), kept().filter(|asset| asset.place == place).count());
    library.counts = Counts {
        assets: when(true, kept().count()),
        uploaded: upload(Upload::Uploaded),
        waiting: upload(Upload::Waiting),
        failed: upload(Upload::Failed),
        never_queued: upload(Upload::NeverQueued),
        originals_here_and_in_icloud: place(Place::HereAndInIcloud),
        originals_only_here: place(Place::OnlyHere),
        originals_only_in_icloud: place(Place::OnlyInIcloud),
        originals_in_neither: place(Place::InNeither),
        originals_place_unknown: place(Place::Unknown),
        recently_deleted: when(true, own().filter(|asset| asset.trashed.is_some()).count()),
        hidden: when(schema.tells_hidden(), kept().filter(|asset| asset.hidden).count()),
        shared_album_only: when(true, shared_albums_only(assets)),
        burst_frames_unpicked: when(
            schema.tells_burst(),
            kept().filter(|asset| asset.burst_unpicked).count(),
        ),
    };
    library.uploaded_with_trashed =
        when(schema.tells_upload(), own().filter(|asset| asset.upload == Upload::Uploaded).count());
}

fn shared_albums_only(assets: &[Asset]) -> usize {
    assets.iter().filter(|asset| asset.owner == Owner::SharedAlbum && asset.trashed.is_none()).count()
}
