//! Originals that their owner downloaded elsewhere (icloud.com, privacy.apple.com, a Mac) become part of the copy.
//!
//! A file is taken for an original when its fingerprint is the one that the library states for it, whatever it is
//! called; where the library states none, when name and exact size are those of one original and of no other. An edited
//! rendition, a smaller version and a download that was cut short have the right name and nothing else: they are not
//! taken, and listed. What is taken is shared or copied, hashed, and proven from then on like everything else in the
//! copy. It lies below `Adopted/` and the asset's own name, where no file of the phone ever comes to lie.
//!
//! The folder is somebody's download: nothing in it is believed, no link in it is followed, and it stays as it is.

mod details;
mod recognise;
mod scan;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, OpenOptions};

use super::store::{Error, Intake, Store};
use super::{digest, whole};
use crate::facts::path::is_clean_component;
use crate::facts::{Asset, Fingerprint, Fingerprinting, Library, MediaFile, ResourceKind};
use crate::progress::{CancellationToken, Event, Observer, Phase};
use recognise::{Recognised, Targets};
use scan::Candidate;

/// The folder of adopted originals in the mirrored tree.
const FOLDER: &str = "Adopted";

/// How a file was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Its content is what the library's fingerprint is of.
    Fingerprint,
    /// The library has no fingerprint; name and size are those of this original and of no other.
    NameAndSize,
}

impl By {
    /// Its word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            By::Fingerprint => "fingerprint",
            By::NameAndSize => "name-and-size",
        }
    }
}

/// An original that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// The file, below the folder that was given. Text of somebody's file system.
    pub file: String,
    /// The library's name of its asset.
    pub asset: String,
    /// Which of the asset's originals.
    pub part: ResourceKind,
    /// How it was recognised.
    pub by: By,
    /// Bytes.
    pub bytes: u64,
}

/// What adopting came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adoption {
    /// What is part of the copy now.
    pub taken: Vec<Original>,
    /// Of these, files whose bytes are shared with the download.
    pub shared: u64,
    /// Files that were part of the copy already.
    pub already_kept: u64,
    /// Files whose original is on the phone, from where it is copied.
    pub on_phone: u64,
    /// Files that were not taken, each with the reason in plain words. Text of somebody's file system.
    pub not_taken: Vec<(String, String)>,
    /// Files that are no pictures (lists, sidecars).
    pub no_pictures: u64,
    /// Originals that are not on the phone, before and after: how many are not kept here.
    pub missing_before: u64,
    /// As `missing_before`, now.
    pub missing: u64,
}

/// A download that could not be looked at, or a copy that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// It was asked to stop; what was taken in stays.
    #[error("it was asked to stop")]
    Cancelled,
    /// The folder cannot be read.
    #[error("the folder cannot be read: {0}")]
    Folder(io::Error),
    /// The copy.
    #[error(transparent)]
    Copy(#[from] Error),
}

/// Takes in what `folder` holds of the originals that `library` says are not on the phone. Blocks.
///
/// # Errors
/// The folder cannot be listed, this computer cannot write, or it was asked to stop. A file that cannot be read is none.
pub fn adopt(
    store: &Store,
    library: &Library,
    folder: &Dir,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Adoption, Failed> {
    let assets = library.assets.as_deref().unwrap_or_default();
    let scanned = scan::scan(folder, cancel).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => Failed::Cancelled,
        _ => Failed::Folder(error),
    })?;
    let mut targets = Targets::of(assets, scanned.details);
    targets.note_kept(store);
    let mut adopting = Adopting {
        store,
        assets,
        folder,
        intake: store.intake(),
        adoption: Adoption {
            not_taken: scanned.unread,
            no_pictures: scanned.no_pictures,
            missing_before: targets.missing(),
            ..Adoption::default()
        },
        cancel,
    };
    let bytes_total = Some(scanned.candidates.iter().map(|one| one.size).sum());
    let items_total = Some(scanned.candidates.len() as u64);
    observer.event(Event::Began { phase: Phase::Photos, bytes_total, items_total });
    let mut bytes_done = 0;
    for (items_done, candidate) in (1..).zip(&scanned.candidates) {
        adopting.consider(candidate, &mut targets)?;
        bytes_done += candidate.size;
        observer.event(Event::Advanced { phase: Phase::Photos, bytes_done, bytes_total, items_done });
    }
    let Adopting { intake, mut adoption, .. } = adopting;
    let taken_in = intake.finish()?;
    observer.event(Event::Ended { phase: Phase::Photos });
    adoption.not_taken.extend(taken_in.refused);
    adoption.missing = targets.missing();
    Ok(adoption)
}

struct Adopting<'a> {
    store: &'a Store,
    assets: &'a [Asset],
    folder: &'a Dir,
    intake: Intake<'a>,
    adoption: Adoption,
    cancel: &'a CancellationToken,
}

/// What a file's content is.
struct Content {
    sha256: [u8; 32],
    fingerprint: Fingerprint,
    whole: bool,
}

impl Adopting<'_> {
    fn consider(&mut self, candidate: &Candidate, targets: &mut Targets<'_>) -> Result<(), Failed> {
        if let Some(why) = targets.reason_by_size(candidate) {
            self.adoption.not_taken.push((candidate.shown(), why));
            return Ok(());
        }
        let read = open(self.folder, &candidate.path).and_then(|mut file| {
            let content = read(&mut file, candidate, self.cancel)?;
            Ok((file, content))
        });
        let (mut file, content) = match read {
            Err(_) if self.cancel.is_cancelled() => return Err(Failed::Cancelled),
            Err(error) => {
                self.adoption.not_taken.push((candidate.shown(), format!("it cannot be read: {error}")));
                return Ok(());
            }
            Ok(read) => read,
        };
        match targets.recognise(candidate, content.fingerprint, content.whole) {
            Recognised::Not(why) => self.adoption.not_taken.push((candidate.shown(), why)),
            Recognised::As { places, by } => {
                for place in places {
                    self.take(candidate, &mut file, &content, (place, by), targets)?;
                }
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        candidate: &Candidate,
        file: &mut File,
        content: &Content,
        (place, by): (usize, By),
        targets: &mut Targets<'_>,
    ) -> Result<(), Failed> {
        let target = targets.at(place);
        if target.on_phone {
            self.adoption.on_phone += 1;
            return Ok(());
        }
        if target.kept {
            self.adoption.already_kept += 1;
            return Ok(());
        }
        let asset = &self.assets[target.asset];
        let (part, path) = (target.part, self.path(asset, target.part, candidate));
        let taken = asset.created.or(asset.added).and_then(|at| i64::try_from(at.as_nanosecond()).ok());
        let mtime_ns = taken.unwrap_or(candidate.mtime_ns);
        let media = MediaFile { path, size: candidate.size, mtime_ns, birthtime_ns: mtime_ns };
        file.rewind().map_err(Failed::Folder)?;
        match self.intake.adopt(&media, (asset.uuid.clone(), part), file, content.sha256) {
            Err(Error::Reader { source, .. }) => {
                self.adoption.not_taken.push((candidate.shown(), source.to_string()));
            }
            Err(error) => return Err(error.into()),
            Ok(shared) => {
                self.adoption.shared += u64::from(shared);
                let (file, asset, bytes) = (candidate.shown(), asset.uuid.clone(), candidate.size);
                self.adoption.taken.push(Original { file, asset, part, by, bytes });
                targets.keep(place);
            }
        }
        Ok(())
    }

    /// Where it goes: below the asset's own name, under the name that it was taken under.
    fn path(&self, asset: &Asset, part: ResourceKind, candidate: &Candidate) -> String {
        let original = asset.original_name.as_deref().unwrap_or_default();
        let (stem, own) = original.rsplit_once('.').unwrap_or((original, "bin"));
        let extension = match candidate.extension() {
            given if given.is_empty() && part == ResourceKind::Original => own.to_owned(),
            given => given,
        };
        let name = format!("{stem}.{extension}");
        let name = if is_clean_component(&name) && !stem.is_empty() {
            name
        } else {
            format!("original.{}", if is_clean_component(&extension) { &extension } else { "bin" })
        };
        let path = format!("{FOLDER}/{}/{name}", asset.uuid);
        let taken = self.store.entry(&path).is_some_and(|entry| entry.part != Some(part));
        if taken { format!("{FOLDER}/{}/{part:?} {name}", asset.uuid) } else { path }
    }
}

fn open(folder: &Dir, path: &PathBuf) -> io::Result<File> {
    // Without waiting: opening somebody's named pipe would never come back.
    use cap_std::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No);
    options.custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0));
    let file = folder.open_with(path, &options)?.into_std();
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    Ok(file)
}

fn read(file: &mut File, candidate: &Candidate, cancel: &CancellationToken) -> io::Result<Content> {
    let mut sha256 = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut taking = Fingerprinting::default();
    let mut block = vec![0; 1 << 18];
    let mut got = 0_u64;
    loop {
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let read = match file.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        got += read as u64;
        if read == 0 || got > candidate.size {
            break;
        }
        sha256.update(&block[..read]);
        taking.update(&block[..read]);
    }
    if got != candidate.size {
        return Err(io::Error::other("it has changed meanwhile"));
    }
    let whole = whole::is_whole(file, &candidate.shown())?;
    Ok(Content { sha256: digest(sha256), fingerprint: taking.finish(), whole })
}

#[cfg(test)]
mod tests;
