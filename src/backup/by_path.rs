//! Small values for the files of a backup, by path, packed tightly: a phone may have more than a million files, and what
//! is known of all of them has to fit into memory at once.
//!
//! Nearly every file of a backup stands under the SHA-1 of its name, in a folder named like its first two digits, and
//! waits in `Snapshot/` under the same name before. Of such a path only the 20 bytes of the digest are kept.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Where a phone puts new files until all are there.
const SNAPSHOT: &str = "Snapshot/";
/// Shelves by the first 12 bits of the digest, so that putting one in moves few others.
const SHELVES: usize = 1 << 12;
/// So few are on one shelf alone.
const FEW: usize = 64;
/// Most paths of another form; real backups have a handful.
const OTHERS_MAX: usize = 10_000;

type Id = [u8; 20];

/// The values, by path below the device's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ByPath<V> {
    standing: Shelves<V>,
    snapshot: Shelves<V>,
    others: BTreeMap<String, V>,
}

/// More paths of another form than any backup has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {OTHERS_MAX} files have names that no backup gives")]
pub(super) struct TooMany;

/// What a path is.
enum Form<'p> {
    Standing(Id),
    Snapshot(Id),
    Other(&'p str),
}

impl<'p> Form<'p> {
    fn of(path: &'p str) -> Self {
        match path.strip_prefix(SNAPSHOT) {
            Some(inside) => id_of(inside).map_or(Self::Other(path), Self::Snapshot),
            None => id_of(path).map_or(Self::Other(path), Self::Standing),
        }
    }
}

/// The digest in a path `ab/ab…` of 40 lower-case digits.
fn id_of(path: &str) -> Option<Id> {
    let (folder, name) = path.split_once('/')?;
    let lower = |text: &str| text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let mut id = Id::default();
    let ours = name.len() == 40 && name.get(..2) == Some(folder) && lower(name);
    (ours && hex::decode_to_slice(name, &mut id).is_ok()).then_some(id)
}

fn path_of(prefix: &str, id: &Id) -> String {
    let name = hex::encode(id);
    format!("{prefix}{}/{name}", &name[..2])
}

impl<V> Default for ByPath<V> {
    fn default() -> Self {
        Self { standing: Shelves::default(), snapshot: Shelves::default(), others: BTreeMap::new() }
    }
}

impl<V: Copy> ByPath<V> {
    pub(super) fn len(&self) -> usize {
        self.standing.len + self.snapshot.len + self.others.len()
    }

    pub(super) fn get(&self, path: &str) -> Option<V> {
        match Form::of(path) {
            Form::Standing(id) => self.standing.get(&id),
            Form::Snapshot(id) => self.snapshot.get(&id),
            Form::Other(path) => self.others.get(path).copied(),
        }
    }

    /// Puts a value in the place of what is there.
    ///
    /// # Errors
    /// [`TooMany`].
    pub(super) fn insert(&mut self, path: &str, value: V) -> Result<(), TooMany> {
        match Form::of(path) {
            Form::Standing(id) => self.standing.insert(id, value),
            Form::Snapshot(id) => self.snapshot.insert(id, value),
            Form::Other(path) => {
                if self.others.len() >= OTHERS_MAX && !self.others.contains_key(path) {
                    return Err(TooMany);
                }
                self.others.insert(path.to_owned(), value);
            }
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str) -> Option<V> {
        match Form::of(path) {
            Form::Standing(id) => self.standing.remove(&id),
            Form::Snapshot(id) => self.snapshot.remove(&id),
            Form::Other(path) => self.others.remove(path),
        }
    }

    /// All of them, in an order that depends on the paths alone.
    pub(super) fn iter(&self) -> impl Iterator<Item = (String, V)> {
        let others = self.others.iter().map(|(path, value)| (path.clone(), *value));
        others.chain(self.snapshot.iter(SNAPSHOT)).chain(self.standing.iter(""))
    }

    /// All values.
    pub(super) fn values(&self) -> impl Iterator<Item = V> {
        let shelves = self.snapshot.shelves.iter().chain(&self.standing.shelves).flatten();
        self.others.values().copied().chain(shelves.map(|(_, value)| *value))
    }

    /// The paths of what stands at `path` or below it.
    pub(super) fn below(&self, path: &str) -> Vec<String> {
        let mut found: Vec<String> = self.get(path).iter().map(|_| path.to_owned()).collect();
        let inside = format!("{path}/");
        let from = (Bound::Included(inside.as_str()), Bound::Unbounded);
        let others = self.others.range::<str, _>(from).map(|(path, _)| path);
        found.extend(others.take_while(|other| other.starts_with(&inside)).cloned());
        for (prefix, shelves) in [(SNAPSHOT, &self.snapshot), ("", &self.standing)] {
            let Some(rest) = inside.strip_prefix(prefix) else { continue };
            // The whole of it, or one folder of two digits.
            let mut first = [0];
            let folder = rest.len() == 3 && hex::decode_to_slice(&rest[..2], &mut first).is_ok();
            if rest.is_empty() || (folder && rest[..2] == hex::encode(first)) {
                let ours = shelves.ids().filter(|id| rest.is_empty() || id[0] == first[0]);
                found.extend(ours.map(|id| path_of(prefix, id)));
            }
        }
        found
    }
}

/// Values by digest, sorted.
#[derive(Debug, Clone)]
struct Shelves<V> {
    /// None until something is put in, one for the first few, then [`SHELVES`].
    shelves: Vec<Vec<(Id, V)>>,
    len: usize,
}

impl<V: PartialEq> PartialEq for Shelves<V> {
    fn eq(&self, other: &Self) -> bool {
        self.shelves.iter().flatten().eq(other.shelves.iter().flatten())
    }
}

impl<V: Eq> Eq for Shelves<V> {}

impl<V> Default for Shelves<V> {
    fn default() -> Self {
        Self { shelves: Vec::new(), len: 0 }
    }
}

/// The shelf of a digest among so many.
fn shelf(id: &Id, of: usize) -> usize {
    if of == 1 { 0 } else { usize::from(id[0]) << 4 | usize::from(id[1]) >> 4 }
}

impl<V: Copy> Shelves<V> {
    fn place(&self, id: &Id) -> Option<Result<usize, usize>> {
        let shelf = self.shelves.get(shelf(id, self.shelves.len()))?;
        Some(shelf.binary_search_by(|(other, _)| other.cmp(id)))
    }

    fn get(&self, id: &Id) -> Option<V> {
        let at = self.place(id)?.ok()?;
        Some(self.shelves[shelf(id, self.shelves.len())][at].1)
    }

    fn insert(&mut self, id: Id, value: V) {
        if self.shelves.is_empty() {
            self.shelves.push(Vec::new());
        } else if self.shelves.len() == 1 && self.len >= FEW {
            self.spread();
        }
        let place = self.place(&id).expect("there is a shelf for every digest");
        let count = self.shelves.len();
        let shelf = &mut self.shelves[shelf(&id, count)];
        match place {
            Ok(at) => shelf[at].1 = value,
            Err(at) => {
                if shelf.len() == shelf.capacity() {
                    // Not doubled: a million files have to fit.
                    shelf.reserve_exact((shelf.len() / 8).max(4));
                }
                shelf.insert(at, (id, value));
                self.len += 1;
            }
        }
    }

    fn remove(&mut self, id: &Id) -> Option<V> {
        let at = self.place(id)?.ok()?;
        let count = self.shelves.len();
        let shelf = &mut self.shelves[shelf(id, count)];
        let (_, value) = shelf.remove(at);
        if shelf.is_empty() {
            *shelf = Vec::new();
        }
        self.len -= 1;
        Some(value)
    }

    /// From the one shelf to all of them.
    fn spread(&mut self) {
        let few = std::mem::take(&mut self.shelves);
        self.shelves.resize_with(SHELVES, Vec::new);
        for (id, value) in few.into_iter().flatten() {
            self.shelves[shelf(&id, SHELVES)].push((id, value));
        }
    }

    fn ids(&self) -> impl Iterator<Item = &Id> {
        self.shelves.iter().flatten().map(|(id, _)| id)
    }

    fn iter(&self, prefix: &'static str) -> impl Iterator<Item = (String, V)> {
        self.shelves.iter().flatten().map(move |(id, value)| (path_of(prefix, id), *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths of every form, some that look alike.
    fn path(number: u64) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &(number / 9).to_le_bytes());
        let name = hex::encode(&digest.as_ref()[..20]);
        let folder = &name[..2];
        match number % 9 {
            0 => format!("{folder}/{name}"),
            1 => format!("Snapshot/{folder}/{name}"),
            2 => format!("00/{name}"),
            3 => format!("{folder}/{}", &name[..39]),
            4 => format!("{}/{}", folder.to_uppercase(), name.to_uppercase()),
            5 => format!("Snapshot/Snapshot/{folder}/{name}"),
            6 => format!("{folder}/{name}/x"),
            7 => format!("Snapshot/{name}"),
            _ => name,
        }
    }

    #[test]
    fn it_holds_what_a_plain_map_holds() {
        let (mut ours, mut plain) = (ByPath::<u64>::default(), BTreeMap::new());
        let mut seed = 7_u64;
        for step in 0..6000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let path = path((seed >> 33) % 900);
            if seed >> 62 == 0 {
                assert_eq!(ours.remove(&path), plain.remove(&path), "{path}");
            } else {
                ours.insert(&path, step).unwrap();
                plain.insert(path, step);
            }
        }
        assert_eq!(ours.len(), plain.len());
        assert_eq!(ours.iter().collect::<BTreeMap<_, _>>(), plain);
        assert!((0..900).map(path).all(|path| ours.get(&path) == plain.get(&path).copied()));
        for folder in (0..900).map(path).chain(["Snapshot".into(), "00".into(), "zz".into(), String::new()]) {
            for folder in [
                folder.as_str(),
                folder.split('/').next().unwrap(),
                folder.rsplit_once('/').map_or("", |(up, _)| up),
            ] {
                let inside = format!("{folder}/");
                let wanted: Vec<&String> =
                    plain.keys().filter(|path| *path == folder || path.starts_with(&inside)).collect();
                let mut below = ours.below(folder);
                below.sort();
                assert_eq!(below.iter().collect::<Vec<_>>(), wanted, "{folder}");
            }
        }
    }

    #[test]
    fn names_that_no_backup_gives_are_bounded() {
        let mut map = ByPath::<u8>::default();
        for number in 0..OTHERS_MAX {
            map.insert(&format!("x{number}"), 0).unwrap();
        }
        assert_eq!(map.insert("one more", 0), Err(TooMany));
        map.insert("x1", 1).unwrap();
        map.insert(&path(0), 1).unwrap();
    }
}
