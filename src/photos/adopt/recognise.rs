//! Which original a file is.

use std::collections::HashMap;

use super::By;
use super::details::Details;
use super::scan::Candidate;
use crate::facts::{Asset, Fingerprint, Owner, Place, ResourceKind};
use crate::photos::Store;
use crate::photos::manifest::Source;

/// Endings of RAW files.
const RAW: [&str; 14] =
    ["dng", "cr2", "cr3", "crw", "nef", "nrw", "arw", "raf", "orf", "rw2", "pef", "srw", "raw", "3fr"];
/// Endings of clips.
const CLIPS: [&str; 3] = ["mov", "mp4", "m4v"];

/// An original that the library knows.
#[derive(Debug)]
pub(super) struct Target {
    /// Its place in the library's list of assets.
    pub(super) asset: usize,
    pub(super) part: ResourceKind,
    /// It is on the phone, so the phone's own file is copied.
    pub(super) on_phone: bool,
    /// It was adopted, in this run or an earlier one.
    pub(super) kept: bool,
    bytes: Option<u64>,
    fingerprint: Option<Fingerprint>,
}

/// All originals of the owner, to be found by size and name.
pub(super) struct Targets<'a> {
    assets: &'a [Asset],
    all: Vec<Target>,
    by_bytes: HashMap<u64, Vec<usize>>,
    /// By name without extension, in lower case.
    by_stem: HashMap<String, Vec<usize>>,
    details: Details,
}

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recognised {
    /// These originals (several when the library holds the same content several times).
    As {
        /// Their places.
        places: Vec<usize>,
        /// By what it was recognised.
        by: By,
    },
    /// None, and why.
    Not(String),
}

impl<'a> Targets<'a> {
    /// The originals of the owner's `assets`, also of trashed ones.
    pub(super) fn of(assets: &'a [Asset], details: Details) -> Self {
        let mut targets =
            Self { assets, all: Vec::new(), by_bytes: HashMap::new(), by_stem: HashMap::new(), details };
        for (at, asset) in assets.iter().enumerate().filter(|(_, asset)| asset.owner == Owner::Own) {
            for original in &asset.resources {
                let place = targets.all.len();
                targets.all.push(Target {
                    asset: at,
                    part: original.kind,
                    on_phone: matches!(original.place, Place::HereAndInIcloud | Place::OnlyHere),
                    kept: false,
                    bytes: original.stated_bytes,
                    fingerprint: original.fingerprint,
                });
                if let Some(bytes) = original.stated_bytes {
                    targets.by_bytes.entry(bytes).or_default().push(place);
                }
                if let Some(stem) = asset.original_name.as_deref().and_then(stem) {
                    targets.by_stem.entry(stem).or_default().push(place);
                }
            }
        }
        targets
    }

    /// Notes what earlier runs took in.
    pub(super) fn note_kept(&mut self, store: &Store) {
        let manifest = store.manifest();
        let mut adopted: HashMap<(&str, ResourceKind), u64> = HashMap::new();
        for entry in manifest.entries().values() {
            if let (Source::Adopted, true, None, Some(asset), Some(part)) =
                (entry.source, entry.whole, &entry.damaged, &entry.asset, entry.part)
            {
                adopted.insert((asset, part), entry.size);
            }
        }
        for target in &mut self.all {
            let size = adopted.get(&(self.assets[target.asset].uuid.as_str(), target.part));
            target.kept = size.is_some_and(|size| *size >= target.bytes.unwrap_or(0));
        }
    }

    /// The original at `place`.
    pub(super) fn at(&self, place: usize) -> &Target {
        &self.all[place]
    }

    /// It is part of the copy now.
    pub(super) fn keep(&mut self, place: usize) {
        self.all[place].kept = true;
    }

    /// Originals that are neither on the phone nor adopted.
    pub(super) fn missing(&self) -> u64 {
        self.all.iter().filter(|target| !target.on_phone && !target.kept).count() as u64
    }

    /// Why a file need not be read: no original has its size.
    pub(super) fn reason_by_size(&self, candidate: &Candidate) -> Option<String> {
        if self.by_bytes.contains_key(&candidate.size) {
            return None;
        }
        let named: Vec<&Target> = self.named(candidate).map(|place| &self.all[place]).collect();
        let Some(first) = named.first() else {
            return Some("no original of this library has its size or its name".to_owned());
        };
        if named.iter().any(|target| target.bytes.is_none()) {
            return None;
        }
        let stated = first.bytes.expect("every size is stated");
        Some(format!(
            "it has {} bytes where the library states {stated} for the original of that name: an edited or smaller \
             version, or cut short",
            candidate.size
        ))
    }

    /// Says which original a file is whose content has `fingerprint`; `whole`: its structure is.
    pub(super) fn recognise(
        &self,
        candidate: &Candidate,
        fingerprint: Fingerprint,
        whole: bool,
    ) -> Recognised {
        let same_size = self.by_bytes.get(&candidate.size).map_or(&[][..], Vec::as_slice);
        let named: Vec<usize> = self
            .named(candidate)
            .filter(|place| self.all[*place].bytes.is_none_or(|bytes| bytes == candidate.size))
            .collect();
        let mut exact: Vec<usize> = same_size.iter().chain(&named).copied().collect();
        exact.retain(|place| self.all[*place].fingerprint == Some(fingerprint));
        exact.sort_unstable();
        exact.dedup();
        if !exact.is_empty() {
            return Self::if_whole(whole, exact, By::Fingerprint);
        }
        let of_list = self.details.agree(candidate.folder(), &candidate.name(), fingerprint);
        if of_list == Some(false) {
            return Recognised::Not(
                "it is not what the list beside it names: it was damaged on the way".to_owned(),
            );
        }
        // Without a fingerprint only an exactly stated size tells an original from an edit of the same name.
        let open: Vec<usize> = named
            .iter()
            .copied()
            .filter(|place| self.all[*place].fingerprint.is_none() && self.all[*place].bytes.is_some())
            .collect();
        match (open.len(), named.is_empty()) {
            (1, _) => Self::if_whole(whole, open, By::NameAndSize),
            (2.., _) => Recognised::Not("several originals have this name and size".to_owned()),
            (0, true) => Recognised::Not("no original of this library has its name and content".to_owned()),
            (0, false) => Recognised::Not(
                "its content is not that of the original of that name: it was edited or damaged".to_owned(),
            ),
        }
    }

    fn if_whole(whole: bool, places: Vec<usize>, by: By) -> Recognised {
        if whole {
            return Recognised::As { places, by };
        }
        Recognised::Not("its structure is broken: it is cut short or damaged".to_owned())
    }

    /// The originals that a file could be by its name: the same stem, and an ending of the same sort.
    fn named<'s>(&'s self, candidate: &Candidate) -> impl Iterator<Item = usize> + use<'s, 'a> {
        let (name, extension) = (candidate.name(), candidate.extension().to_ascii_lowercase());
        let mut places: Vec<usize> = Vec::new();
        for stem in stems(&name) {
            places.extend(self.by_stem.get(&stem).into_iter().flatten());
        }
        let all = &self.all;
        let assets = self.assets;
        places.into_iter().filter(move |place| {
            let target = &all[*place];
            let original = assets[target.asset].original_name.as_deref().unwrap_or_default();
            let own = original.rsplit_once('.').map_or("", |(_, extension)| extension);
            match target.part {
                ResourceKind::Original => same_kind(&extension, &own.to_ascii_lowercase()),
                ResourceKind::Raw => RAW.contains(&extension.as_str()),
                ResourceKind::LiveVideo => CLIPS.contains(&extension.as_str()),
            }
        })
    }
}

fn stem(name: &str) -> Option<String> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_lowercase();
    (!stem.is_empty()).then_some(stem)
}

/// The stems under which a download may have come: `IMG_0001`, and without the number that a browser or a Mac puts
/// behind a name that is taken: `IMG_0001 (2)`, `IMG_0001(2)`, `IMG_0001 2`.
fn stems(name: &str) -> Vec<String> {
    let Some(whole) = stem(name) else { return Vec::new() };
    let mut stems = vec![whole.clone()];
    let digits = |text: &str| (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let inside = whole.strip_suffix(')').and_then(|rest| rest.rsplit_once('('));
    let cut = match (inside, whole.rsplit_once(' ')) {
        (Some((rest, number)), _) if digits(number) => Some(rest.trim_end()),
        (None, Some((rest, number))) if digits(number) => Some(rest),
        _ => None,
    };
    stems.extend(cut.filter(|rest| !rest.is_empty()).map(str::to_owned));
    stems
}

/// Endings that are the same in other spellings.
fn same_kind(one: &str, other: &str) -> bool {
    let usual = |extension: &str| match extension {
        "jpeg" | "jpe" => "jpg".to_owned(),
        "heif" => "heic".to_owned(),
        "tif" => "tiff".to_owned(),
        other => other.to_owned(),
    };
    usual(one) == usual(other)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_number_behind_a_name_is_no_part_of_it() {
        assert_eq!(stems("IMG_0001.HEIC"), ["img_0001"]);
        for name in ["IMG_0001 (2).HEIC", "IMG_0001(2).HEIC", "IMG_0001 2.HEIC"] {
            assert_eq!(stems(name)[1], "img_0001", "{name}");
        }
        assert_eq!(stems("Trip 2023 (x).jpg"), ["trip 2023 (x)"]);
        assert!(stems(".jpg").is_empty() && same_kind("jpeg", "jpg") && !same_kind("jpg", "heic"));
    }
}
