//! Makes a keybag, as a phone does when a backup password is set: fresh class keys, wrapped with what follows from the
//! password.
//!
//! The order of its tags is the one that pyiosbackup's and iphone_backup_decrypt's readers were written for: ten that
//! belong to the bag, then exactly five for each class.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::rand;

use super::{Keybag, Keys, WRAP_PASSCODE, WRAPPED_KEY_BYTES};
use crate::backup::Secret;

/// How often the two derivations go round; the names are the keybag's own tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iterations {
    /// Of the first one, PBKDF2 with SHA-256.
    pub dpic: u32,
    /// Of the second one, PBKDF2 with SHA-1.
    pub iter: u32,
}

impl Default for Iterations {
    /// Those of real phones.
    fn default() -> Self {
        Self { dpic: 10_000_000, iter: 10_000 }
    }
}

/// A keybag that was made, and its keys.
#[derive(Debug, Clone)]
pub struct Created {
    /// As it stands in `Manifest.plist`.
    pub bag: Vec<u8>,
    /// The keys of the classes that the password opens.
    pub keys: Keys,
}

const VERSION: u32 = 5;
const TYPE_BACKUP: u32 = 1;
/// The classes, in a bag's own order: the first three are tied to the device as well.
const CLASSES: std::ops::RangeInclusive<u32> = 1..=11;
const LAST_OF_PASSWORD_ALONE: u32 = 8;
/// Wrapped with the password, and inside that with the device's own key.
const WRAP_PASSCODE_AND_DEVICE: u32 = 3;

/// Makes a bag for a password. Takes as long as unlocking one: seconds for a real phone's iterations.
///
/// # Panics
/// If this computer gives no random numbers, or on zero iterations.
#[must_use]
pub fn create(password: &Secret, iterations: Iterations) -> Created {
    let (salt, first_salt) = (random::<20>(), random::<20>());
    let header = Keybag {
        salt: salt.to_vec(),
        iterations: iterations.iter,
        first: Some((first_salt.to_vec(), iterations.dpic)),
        classes: Vec::new(),
    };
    let kek = header.derive(password).expect("iterations are not zero");
    let mut bag = Vec::with_capacity(2048);
    let number = |bag: &mut Vec<u8>, tag: &[u8; 4], value: u32| put(bag, tag, &value.to_be_bytes());
    number(&mut bag, b"VERS", VERSION);
    number(&mut bag, b"TYPE", TYPE_BACKUP);
    put(&mut bag, b"UUID", uuid::Uuid::new_v4().as_bytes());
    put(&mut bag, b"HMCK", &wrap(&kek, &Secret::new(random::<32>())));
    number(&mut bag, b"WRAP", 0);
    put(&mut bag, b"SALT", &salt);
    number(&mut bag, b"ITER", iterations.iter);
    number(&mut bag, b"DPWT", 1);
    number(&mut bag, b"DPIC", iterations.dpic);
    put(&mut bag, b"DPSL", &first_salt);
    let mut keys = Vec::new();
    for class in CLASSES.rev() {
        // What stands for a class that is tied to the device is its key under the device's own: random to everybody else.
        let key = Secret::new(random::<32>());
        let of_password = class <= LAST_OF_PASSWORD_ALONE;
        put(&mut bag, b"UUID", uuid::Uuid::new_v4().as_bytes());
        number(&mut bag, b"CLAS", class);
        number(&mut bag, b"WRAP", if of_password { WRAP_PASSCODE } else { WRAP_PASSCODE_AND_DEVICE });
        number(&mut bag, b"KTYP", 0);
        put(&mut bag, b"WPKY", &wrap(&kek, &key));
        if of_password {
            keys.push((class, key));
        }
    }
    Created { bag, keys: Keys::of(keys) }
}

/// A fresh key for a file.
///
/// # Panics
/// If this computer gives no random numbers.
#[must_use]
pub fn fresh_key() -> Secret {
    Secret::new(random::<32>())
}

/// Wraps a key of 32 bytes with another.
pub(super) fn wrap(kek: &Secret, key: &Secret) -> [u8; WRAPPED_KEY_BYTES] {
    let mut wrapped = [0; WRAPPED_KEY_BYTES];
    AesKek::new(&AES_256, kek.expose())
        .and_then(|kek| kek.wrap(key.expose(), &mut wrapped).map(|_| ()))
        .expect("both keys have 32 bytes");
    wrapped
}

fn put(bag: &mut Vec<u8>, tag: &[u8; 4], value: &[u8]) {
    bag.extend_from_slice(tag);
    bag.extend_from_slice(&u32::try_from(value.len()).expect("a value is short").to_be_bytes());
    bag.extend_from_slice(value);
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the computer gives random numbers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::Error;
    use super::*;

    const FEW: Iterations = Iterations { dpic: 20, iter: 10 };

    #[test]
    fn a_bag_that_was_made_opens_with_its_password_alone() {
        let Created { bag, keys } = create(&Secret::new("päss"), FEW);
        let read = Keybag::parse(&bag).unwrap();
        let file = fresh_key();
        let wrapped = keys.wrap(3, &file).unwrap();
        assert_eq!(wrapped.len(), 44);
        let opened = read.unlock(&Secret::new("päss")).unwrap();
        assert_eq!(opened.unwrap(&wrapped).unwrap(), file);
        assert_eq!(read.unlock(&Secret::new("pass")).unwrap_err(), Error::WrongPassword);
        assert!(keys.wrap(11, &file).is_none(), "class 11 is tied to the device");
        let again: Vec<(u32, Secret)> = keys.classes().map(|(class, key)| (class, key.clone())).collect();
        assert_eq!(Keys::of(again).unwrap(&wrapped).unwrap(), file);
    }

    #[test]
    fn the_tags_are_those_that_readers_count() {
        let bag = create(&Secret::new("x"), FEW).bag;
        let mut tags = Vec::new();
        let mut rest = &bag[..];
        while let Some((tag, value, after)) = super::super::tag(rest) {
            tags.push((String::from_utf8_lossy(tag).into_owned(), value.len()));
            rest = after;
        }
        assert!(rest.is_empty());
        let names: Vec<&str> = tags.iter().map(|(tag, _)| tag.as_str()).collect();
        let head = ["VERS", "TYPE", "UUID", "HMCK", "WRAP", "SALT", "ITER", "DPWT", "DPIC", "DPSL"];
        assert_eq!(names[..10], head);
        assert_eq!(names.len(), 10 + 11 * 5);
        assert!(names[10..].chunks(5).all(|class| class == ["UUID", "CLAS", "WRAP", "KTYP", "WPKY"]));
        assert!(tags.iter().filter(|(tag, _)| tag == "WPKY").all(|(_, length)| *length == 40));
    }

    #[test]
    fn two_bags_share_nothing() {
        let (one, two) = (create(&Secret::new("x"), FEW), create(&Secret::new("x"), FEW));
        assert_ne!(one.bag, two.bag);
        let wrapped = one.keys.wrap(3, &fresh_key()).unwrap();
        assert!(two.keys.unwrap(&wrapped).is_err());
    }
}
