//! Other arrangements of the same copy, for people: by date, by album, what is in Recently Deleted. Folders of links
//! beside the mirrored tree, never second copies: the bytes are shared where the file system can (reflink), else the
//! file gets a second name (hard link), else a symbolic link leads to it.
//!
//! An arrangement is made beside the earlier one and then takes its place in one step. What somebody put into the
//! earlier one, or changed in it, is not ours to remove: it is carried over.

mod earlier;
mod names;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use cap_fs_ext::DirExt;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, OpenOptions, OpenOptionsExt};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::folder::Folders;
use super::manifest::Entry;
use super::plan::Known;
use super::stage::{set_mtime, share_bytes};
use super::store::{Error, Store};
use crate::facts::{Asset, Library, Owner};
use crate::progress::CancellationToken;
use names::{Namer, shown_name};

/// An arrangement of the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// `photos.by-date/2026/2026-11/`: by the day on which it was taken.
    ByDate,
    /// `photos.by-album/Sedona/`: the albums that people made, also shared ones.
    ByAlbum,
    /// `photos.recently-deleted/`.
    RecentlyDeleted,
}

impl Layout {
    /// All, in the order in which they are made.
    pub const ALL: [Layout; 3] = [Layout::ByDate, Layout::ByAlbum, Layout::RecentlyDeleted];

    /// Its word on the command line and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::ByDate => "by-date",
            Layout::ByAlbum => "by-album",
            Layout::RecentlyDeleted => "recently-deleted",
        }
    }

    /// Its folder, in the device's folder.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Layout::ByDate => "photos.by-date",
            Layout::ByAlbum => "photos.by-album",
            Layout::RecentlyDeleted => "photos.recently-deleted",
        }
    }
}

/// Which arrangements are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layouts([bool; 3]);

impl Layouts {
    /// Exactly these.
    #[must_use]
    pub fn of(layouts: &[Layout]) -> Self {
        Self(Layout::ALL.map(|layout| layouts.contains(&layout)))
    }

    /// They, in order.
    pub fn iter(self) -> impl Iterator<Item = Layout> {
        Layout::ALL.into_iter().zip(self.0).filter_map(|(layout, wanted)| wanted.then_some(layout))
    }
}

/// What a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// Shared bytes: a change of one leaves the other as it is.
    Reflink,
    /// A second name of the same file: a change of it changes the copy.
    HardLink,
    /// It leads to the copy: a change through it changes the copy.
    Symlink,
}

/// An arrangement that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaidOut {
    /// Which.
    pub layout: String,
    /// Its folder, in the device's folder.
    pub folder: String,
    /// Links in it.
    pub files: u64,
    /// What they are; `None` when there are none.
    pub links: Option<Link>,
    /// Files left out because they are in the Hidden album.
    pub hidden_left_out: u64,
    /// Files of somebody that were found in it and kept.
    pub others_kept: u64,
    /// Why it could not be made; then the earlier one stands.
    pub impossible: Option<String>,
}

impl Store {
    /// Makes the arrangement anew. Without a `library` only dates are known, those of the files. Blocks.
    ///
    /// # Errors
    /// A full disk, or what the file system said; the earlier arrangement stands then. [`io::ErrorKind::Interrupted`]
    /// inside when cancelled.
    pub fn lay_out(
        &self,
        layout: Layout,
        library: Option<&Library>,
        zone: &TimeZone,
        cancel: &CancellationToken,
    ) -> Result<LaidOut, Error> {
        let library = library.filter(|library| library.assets.is_some());
        let mut laid_out = LaidOut {
            layout: layout.as_str().to_owned(),
            folder: layout.folder().to_owned(),
            files: 0,
            links: None,
            hidden_left_out: 0,
            others_kept: 0,
            impossible: None,
        };
        let told = library.is_some_and(|library| layout != Layout::ByAlbum || library.albums.is_some());
        if layout != Layout::ByDate && !told {
            let what = if layout == Layout::ByAlbum { "which albums there are" } else { "what was deleted" };
            laid_out.impossible = Some(format!("the library that would tell {what} was not read"));
            return Ok(laid_out);
        }
        let wanted = Arranging::new(layout, library, zone).places(self, &mut laid_out);
        let failed = |error| Error::io("arranging the copy", error);
        let beside = format!("{}.new", layout.folder());
        let device = self.device();
        earlier::bring_back(self, layout.folder(), &beside).map_err(failed)?;
        device.create_dir_with(&beside, DirBuilder::new().mode(0o700)).map_err(failed)?;
        let new = Arc::new(device.open_dir_nofollow(&beside).map_err(failed)?);
        let mut linking = Linking::new(self, Arc::clone(&new));
        for (place, path, entry) in &wanted {
            if cancel.is_cancelled() {
                let _ = remove_tree(&device, &beside);
                return Err(failed(io::ErrorKind::Interrupted.into()));
            }
            if let Err(error) = linking.link(place, path, entry) {
                let _ = remove_tree(&device, &beside);
                if linking.link.is_none() {
                    laid_out.impossible = Some("this file system has no links of any kind".to_owned());
                    return Ok(laid_out);
                }
                return Err(failed(error));
            }
        }
        laid_out.links = linking.link.filter(|_| linking.made > 0);
        laid_out.files = linking.made;
        laid_out.others_kept = earlier::replace(self, layout.folder(), &beside, &new).map_err(failed)?;
        Ok(laid_out)
    }
}

/// Removes a folder of ours with everything in it; none is fine.
fn remove_tree(device: &Dir, name: &str) -> io::Result<()> {
    match device.remove_dir_all(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Where each file goes: its place in the arrangement, the phone's path, the entry.
type Wanted = Vec<(String, String, Entry)>;

struct Arranging<'a> {
    layout: Layout,
    known: Option<Known<'a>>,
    by_uuid: HashMap<&'a str, &'a Asset>,
    albums: Vec<String>,
    zone: &'a TimeZone,
}

impl<'a> Arranging<'a> {
    fn new(layout: Layout, library: Option<&'a Library>, zone: &'a TimeZone) -> Self {
        let assets = library.and_then(|library| library.assets.as_deref());
        let titles = library.and_then(|library| library.albums.as_deref()).unwrap_or_default();
        let mut namer = Namer::default();
        Self {
            layout,
            known: assets.map(Known::of),
            by_uuid: assets.unwrap_or_default().iter().map(|asset| (asset.uuid.as_str(), asset)).collect(),
            albums: titles.iter().map(|album| namer.folder(&album.title)).collect(),
            zone,
        }
    }

    fn places(&self, store: &Store, laid_out: &mut LaidOut) -> Wanted {
        let manifest = store.manifest();
        let entries = manifest.entries().iter().filter(|(_, entry)| entry.damaged.is_none());
        let sorted: BTreeMap<&str, &Entry> = entries.map(|(path, entry)| (&**path, &**entry)).collect();
        let (mut wanted, mut namer) = (Wanted::new(), Namer::default());
        for (path, entry) in sorted {
            let asset = self.asset(path, entry);
            let Some(name) = shown_name(path, asset) else { continue };
            let folders = self.folders(path, entry, asset);
            if asset.is_some_and(|asset| asset.hidden && asset.trashed.is_none()) {
                laid_out.hidden_left_out += u64::from(!folders.is_empty());
                continue;
            }
            let group = asset.map_or(path, |asset| asset.uuid.as_str());
            for folder in folders {
                let place = namer.file(&folder, &name, group);
                wanted.push((place, path.to_owned(), entry.clone()));
            }
        }
        wanted
    }

    /// The asset that a file belongs to. What was noted when it was copied comes first: names return.
    fn asset(&self, path: &str, entry: &Entry) -> Option<&'a Asset> {
        match &entry.asset {
            Some(uuid) => self.by_uuid.get(uuid.as_str()).copied(),
            None => self.known.as_ref()?.asset(path).map(|known| known.asset),
        }
    }

    /// The folders of the arrangement that a file goes to.
    fn folders(&self, path: &str, entry: &Entry, asset: Option<&Asset>) -> Vec<String> {
        let trashed = asset.is_some_and(|asset| asset.trashed.is_some());
        match self.layout {
            Layout::RecentlyDeleted if trashed => vec![String::new()],
            Layout::RecentlyDeleted => Vec::new(),
            _ if trashed => Vec::new(),
            Layout::ByAlbum => {
                let albums = asset.map_or(&[][..], |asset| &asset.albums[..]);
                let title = |album: &u32| self.albums.get(usize::try_from(*album).ok()?).cloned();
                albums.iter().filter_map(title).collect()
            }
            Layout::ByDate => {
                let own = asset.map_or(!path.starts_with("PhotoData/PhotoCloudSharingData/"), |asset| {
                    asset.owner == Owner::Own
                });
                own.then(|| self.month(entry, asset)).into_iter().collect()
            }
        }
    }

    fn month(&self, entry: &Entry, asset: Option<&Asset>) -> String {
        let of_file =
            || Timestamp::from_nanosecond(entry.mtime_ns.into()).ok().filter(|_| entry.mtime_ns > 0);
        let taken = asset.and_then(|asset| asset.created.or(asset.added)).or_else(of_file);
        taken.map_or_else(
            || "without a date".to_owned(),
            |taken| taken.to_zoned(self.zone.clone()).strftime("%Y/%Y-%m").to_string(),
        )
    }
}

/// Makes links, of the best kind that this file system has.
struct Linking {
    copy: Folders,
    new: Folders,
    /// The kind that worked last; better ones did not.
    link: Option<Link>,
    made: u64,
}

impl Linking {
    fn new(store: &Store, new: Arc<Dir>) -> Self {
        Self { copy: Folders::below(store.device()), new: Folders::below(new), link: None, made: 0 }
    }

    /// Links the file of the copy that has the phone's path `path` to `place`. A file that is not there any more is
    /// left out: the next proof finds it missing.
    fn link(&mut self, place: &str, path: &str, entry: &Entry) -> io::Result<()> {
        let local = entry.local(path);
        if self.copy.size_of(&local)? != Some(entry.size) {
            return Ok(());
        }
        let (to, name) = self.new.holder(place, true)?;
        let kinds = [Link::Reflink, Link::HardLink, Link::Symlink];
        let first = kinds.iter().position(|kind| Some(*kind) == self.link).unwrap_or(0);
        let mut last = io::Error::from(io::ErrorKind::Unsupported);
        for kind in &kinds[first..] {
            let tried = match kind {
                Link::Reflink => self.reflink(&local, &to, name, entry),
                Link::HardLink => {
                    let (from, from_name) = self.copy.holder(&local, false)?;
                    from.hard_link(from_name, &to, name)
                }
                Link::Symlink => {
                    let up = "../".repeat(place.split('/').count());
                    to.symlink(format!("{up}{local}"), name)
                }
            };
            match tried {
                Ok(()) => {
                    self.link = Some(*kind);
                    self.made += 1;
                    return Ok(());
                }
                // No other kind of link would help.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn reflink(&mut self, local: &str, to: &Dir, name: &str, entry: &Entry) -> io::Result<()> {
        let source = self.copy.open(local)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o644);
        let file = to.open_with(name, &options)?.into_std();
        if share_bytes(&file, &source) {
            return set_mtime(&file, entry.mtime_ns);
        }
        to.remove_file(name)?;
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests;
