//! Which files of the copy are exported, as what, and under which name.

use std::collections::HashSet;

use super::super::manifest::{Entries, Entry};
use super::super::names::local_path;
use super::super::plan::mutated;

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Jpeg,
    Copy,
}

/// One picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// The phone's path.
    pub(super) path: String,
    pub(super) entry: Entry,
    pub(super) make: Make,
    /// The path below the folder.
    pub(super) target: String,
}

/// What becomes a JPEG, and what is a picture that everybody can open.
const CONVERTED: [&str; 3] = ["heic", "heif", "hif"];
const COPIED: [&str; 6] = ["jpg", "jpeg", "png", "gif", "webp", "tiff"];

/// The pictures in the order of their paths, and how many files are left where they are.
pub(super) fn jobs(entries: &Entries) -> (Vec<Job>, u64) {
    let intact = entries.iter().filter(|(_, entry)| entry.damaged.is_none());
    let mut paths: Vec<(&str, &Entry)> = intact.map(|(path, entry)| (&**path, &**entry)).collect();
    paths.sort_by_key(|(path, _)| *path);
    let (mut jobs, mut left, mut taken) = (Vec::new(), 0, HashSet::new());
    // What keeps its name has it first: a JPEG that is made gives way.
    for wanted in [Make::Copy, Make::Jpeg] {
        for (path, entry) in &paths {
            match make(path) {
                Some(make) if make == wanted => {
                    let target = free(path, make, &mut taken);
                    jobs.push(Job { path: (*path).to_owned(), entry: (*entry).clone(), make, target });
                }
                None if wanted == Make::Copy => left += 1,
                _ => {}
            }
        }
    }
    jobs.sort_by(|a, b| a.path.cmp(&b.path));
    (jobs, left)
}

fn make(path: &str) -> Option<Make> {
    let extension = path.rsplit_once('.')?.1.to_ascii_lowercase();
    let any = |of: &[&str]| of.contains(&extension.as_str());
    if any(&CONVERTED) { Some(Make::Jpeg) } else { any(&COPIED).then_some(Make::Copy) }
}

/// A name that nothing else has, also where capitals do not count.
fn free(path: &str, make: Make, taken: &mut HashSet<String>) -> String {
    let (stem, extension) = place(path);
    let as_is = match make {
        Make::Jpeg => "jpg",
        Make::Copy => extension,
    };
    let mut name = format!("{stem}.{as_is}");
    let mut number = 1;
    while !taken.insert(name.to_lowercase()) {
        name = match number {
            1 => format!("{stem}.{extension}.{as_is}"),
            number => format!("{stem} ({number}).{as_is}"),
        };
        number += 1;
    }
    name
}

/// Name and extension: the phone's own below the folder, an edited version beside its original.
fn place(path: &str) -> (String, &str) {
    let (stem, extension) = path.rsplit_once('.').unwrap_or((path, ""));
    match mutated(path) {
        Some(original) => (format!("{} (edited)", local_path(original)), extension),
        None => (local_path(stem), extension),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::manifest::Source;
    use super::*;

    fn names(paths: &[&str]) -> (Vec<(String, Make)>, u64) {
        let entry = Entry {
            size: 1,
            sha256: [0; 32],
            mtime_ns: 0,
            birthtime_ns: 0,
            source: Source::Afc,
            whole: true,
            asset: None,
            part: None,
            damaged: None,
            trashed: None,
            stored_as: None,
        };
        let entries = paths.iter().map(|path| ((*path).into(), Arc::new(entry.clone()))).collect();
        let (jobs, left) = jobs(&entries);
        (jobs.into_iter().map(|job| (job.target, job.make)).collect(), left)
    }

    #[test]
    fn names_stay_recognisable_and_never_collide() {
        let (names, left) = names(&[
            "DCIM/100APPLE/IMG_0001.HEIC",
            "DCIM/100APPLE/IMG_0001.JPG",
            "DCIM/100APPLE/IMG_0001.MOV",
            "DCIM/100APPLE/IMG_0002.AAE",
            "DCIM/100APPLE/IMG_0002.HEIC",
            "DCIM/100APPLE/IMG_0003.DNG",
            "PhotoData/Mutations/DCIM/100APPLE/IMG_0002/Adjustments/FullSizeRender.heic",
        ]);
        let expected = [
            ("DCIM/100APPLE/IMG_0001.HEIC.jpg", Make::Jpeg),
            ("DCIM/100APPLE/IMG_0001.JPG", Make::Copy),
            ("DCIM/100APPLE/IMG_0002.jpg", Make::Jpeg),
            ("DCIM/100APPLE/IMG_0002 (edited).jpg", Make::Jpeg),
        ];
        assert_eq!(names, expected.map(|(name, make)| (name.to_owned(), make)));
        assert_eq!(left, 3);
    }
}
