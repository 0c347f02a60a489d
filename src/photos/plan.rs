//! What is still to be copied, and in which order: what exists nowhere else first, newest first.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::folder::Folders;
use super::manifest::{Entry, Manifest};
use super::partial::Identity;
use super::store::{Error, Store};
use crate::facts::{Asset, Library, MediaFile, MediaListing, Place};

/// One file to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The file as the walk saw it.
    pub file: MediaFile,
    /// The library's name of its asset, where it is known: that of the original, its clip, its edit or its sidecar.
    pub asset: Option<Arc<str>>,
    /// The library says that this asset is on this phone and nowhere else.
    pub only_here: bool,
    /// The library says that it is in Recently Deleted, and since when where that is noted.
    pub trashed: Option<Option<Timestamp>>,
}

/// What is to be copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of copying.
    pub items: Vec<Item>,
    /// Their bytes.
    pub bytes: u64,
    /// Assets of which a file is to be copied; `None` without a readable library.
    pub assets: Option<u64>,
    /// Of these, assets that exist nowhere else.
    pub assets_only_here: Option<u64>,
    /// Files that the copy holds already, and their bytes.
    pub copied_files: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// What the walk could not see, with the reason.
    pub refused: Vec<(String, String)>,
    /// Bytes of the items that are here already: what came of files whose reading was interrupted.
    pub interrupted_bytes: u64,
    /// Files of the copy that the owner has deleted or taken back since, with what the library says now.
    pub(super) trashed: Vec<(String, Option<Option<Timestamp>>)>,
}

impl Plan {
    /// True when nothing is left to copy and nothing was refused.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.items.is_empty() && self.refused.is_empty()
    }
}

impl Store {
    /// Compares what the phone shows with what the copy holds: a file counts as copied when the manifest names it with
    /// the same size and modification time, undamaged, and it is there with that size.
    ///
    /// # Errors
    /// What looking at the copy gave.
    pub fn plan(&self, listing: &MediaListing, library: Option<&Library>) -> Result<Plan, Error> {
        let assets = library.and_then(|library| library.assets.as_deref());
        let known = assets.map(Known::of);
        let mut plan = Plan { refused: listing.refused.clone(), ..Plan::default() };
        let mut folders = Folders::below(self.device());
        let mut ranked = Vec::new();
        for file in &listing.files {
            let asset = known.as_ref().and_then(|known| known.asset(&file.path));
            if let Some(entry) = copied(&self.manifest(), &mut folders, file)? {
                plan.copied_files += 1;
                plan.copied_bytes += file.size;
                let trashed = asset.map(|asset| asset.trashed);
                plan.trashed
                    .extend(trashed.filter(|now| *now != entry.trashed).map(|now| (file.path.clone(), now)));
                continue;
            }
            plan.bytes = plan.bytes.saturating_add(file.size);
            let item = Item {
                file: file.clone(),
                asset: asset.map(|asset| Arc::clone(&asset.uuid)),
                only_here: asset.is_some_and(|asset| asset.place == Place::OnlyHere),
                trashed: asset.and_then(|asset| asset.trashed),
            };
            ranked.push((rank(asset, file), item));
        }
        ranked.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.file.path.cmp(&y.file.path)));
        plan.items = ranked.into_iter().map(|(_, item)| item).collect();
        if known.is_some() {
            plan.assets = Some(count(&plan.items, |_| true));
            plan.assets_only_here = Some(count(&plan.items, |item| item.only_here));
        }
        plan.interrupted_bytes = self.interrupted_of(&plan.items);
        Ok(plan)
    }

    /// What is here of these files already. What was kept of others is of no use any more.
    fn interrupted_of(&self, items: &[Item]) -> u64 {
        let wanted = |of: &Identity| items.iter().any(|item| of.is(&item.file));
        if let Ok(partials) = self.partials() {
            partials.retain(wanted);
        }
        self.interrupted().iter().filter(|(of, _)| wanted(of)).map(|(_, bytes)| bytes).sum()
    }
}

/// What the manifest says of a file that the copy holds.
fn copied<'m>(
    manifest: &'m Manifest,
    folders: &mut Folders,
    file: &MediaFile,
) -> Result<Option<&'m Entry>, Error> {
    let says = |entry: &&Entry| {
        entry.size == file.size && entry.mtime_ns == file.mtime_ns && entry.damaged.is_none()
    };
    let Some(entry) = manifest.entries().get(file.path.as_str()).map(|entry| &**entry).filter(says) else {
        return Ok(None);
    };
    let there = folders.size_of(&entry.local(&file.path));
    let there = there.map_err(|error| Error::io("looking at the copy", error))?;
    Ok((there == Some(file.size)).then_some(entry))
}

fn count(items: &[Item], counts: impl Fn(&Item) -> bool) -> u64 {
    let assets: HashSet<_> =
        items.iter().filter(|item| counts(item)).filter_map(|item| item.asset.as_ref()).collect();
    assets.len() as u64
}

/// Lower is earlier. What the library does not place may exist nowhere else as well, so it comes before what is safe.
fn rank(asset: Option<&KnownAsset<'_>>, file: &MediaFile) -> (u8, Reverse<i64>) {
    let group = match asset.map(|asset| asset.place) {
        Some(Place::OnlyHere) => 0,
        None | Some(Place::Unknown | Place::InNeither) => 1,
        Some(Place::OnlyInIcloud | Place::HereAndInIcloud) => 2,
    };
    let taken_ns = asset.and_then(|asset| asset.taken_ns).unwrap_or(file.mtime_ns);
    (group, Reverse(taken_ns))
}

pub(super) struct KnownAsset<'a> {
    pub(super) asset: &'a Asset,
    uuid: Arc<str>,
    place: Place,
    trashed: Option<Option<Timestamp>>,
    taken_ns: Option<i64>,
}

/// The assets of a library by the files that belong to them.
pub(super) struct Known<'a> {
    assets: Vec<KnownAsset<'a>>,
    by_path: HashMap<&'a str, usize>,
    /// By folder and name without extension; `None` where two assets share it: `IMG_0001.JPG` and `IMG_0001.HEIC` can
    /// be different pictures.
    by_stem: HashMap<&'a str, Option<usize>>,
}

impl<'a> Known<'a> {
    pub(super) fn of(library: &'a [Asset]) -> Self {
        let mut known = Self { assets: Vec::new(), by_path: HashMap::new(), by_stem: HashMap::new() };
        for asset in library.iter().filter(|asset| !asset.path.is_empty()) {
            let at = known.assets.len();
            let taken = asset.created.or(asset.added);
            known.assets.push(KnownAsset {
                asset,
                uuid: asset.uuid.as_str().into(),
                place: asset.place,
                trashed: asset.trashed,
                taken_ns: taken.and_then(|time| i64::try_from(time.as_nanosecond()).ok()),
            });
            known.by_path.insert(&asset.path, at);
            for path in asset.resources.iter().filter_map(|resource| resource.path.as_deref()) {
                known.by_path.insert(path, at);
            }
            known.by_stem.entry(stem(&asset.path)).and_modify(|both| *both = None).or_insert(Some(at));
        }
        known
    }

    pub(super) fn asset(&self, path: &str) -> Option<&KnownAsset<'a>> {
        let by_stem = |stem: &str| self.by_stem.get(stem).copied().flatten();
        let at = self
            .by_path
            .get(path)
            .copied()
            .or_else(|| by_stem(stem(path)))
            .or_else(|| by_stem(mutated(path)?))
            .or_else(|| by_stem(&edited(path)?))?;
        Some(&self.assets[at])
    }
}

/// A path without its extension.
pub(super) fn stem(path: &str) -> &str {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[name..].rfind('.') {
        Some(dot) if dot > 0 => &path[..name + dot],
        _ => path,
    }
}

/// `PhotoData/Mutations/DCIM/100APPLE/IMG_0002/Adjustments/…` belongs to `DCIM/100APPLE/IMG_0002`.
pub(super) fn mutated(path: &str) -> Option<&str> {
    let below = path.strip_prefix("PhotoData/Mutations/")?;
    below.find("/Adjustments/").map(|end| &below[..end])
}

/// `DCIM/100APPLE/IMG_E0002.JPG` and `IMG_O0002.AAE` belong to `DCIM/100APPLE/IMG_0002`.
pub(super) fn edited(path: &str) -> Option<String> {
    let stem = stem(path);
    let (folder, name) = stem.rsplit_once('/')?;
    let number = name.strip_prefix("IMG_E").or_else(|| name.strip_prefix("IMG_O"))?;
    Some(format!("{folder}/IMG_{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_find_the_asset_that_they_belong_to() {
        assert_eq!(stem("DCIM/100APPLE/IMG_0001.HEIC"), "DCIM/100APPLE/IMG_0001");
        assert_eq!(stem("DCIM/100.x/.MISC"), "DCIM/100.x/.MISC");
        let edit = "PhotoData/Mutations/DCIM/100APPLE/IMG_0002/Adjustments/FullSizeRender.jpg";
        assert_eq!(mutated(edit), Some("DCIM/100APPLE/IMG_0002"));
        assert_eq!(edited("DCIM/100APPLE/IMG_E0002.JPG").as_deref(), Some("DCIM/100APPLE/IMG_0002"));
        assert_eq!(edited("DCIM/100APPLE/IMG_0002.JPG"), None);
    }
}
