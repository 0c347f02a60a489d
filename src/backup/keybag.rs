//! The keybag of an encrypted backup: from the password to the keys of its protection classes.
//!
//! It is a list of tags, each four letters, a big-endian length and a value: first what belongs to the bag, then per
//! class a block that begins with `UUID`. Apple's Platform Security guide names the scheme; the numbers are those of
//! pyiosbackup and iphone_backup_decrypt. The bag comes from a phone or an old disk: iterations and sizes are bounded.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::pbkdf2;

use super::Secret;

pub mod create;

/// Most iterations of the two derivations together; real bags have 10,000,000 and 10,000.
const ITERATIONS_MAX: u32 = 50_000_000;
/// Most bytes of a bag.
const BAG_BYTES_MAX: usize = 64 * 1024;
const CLASS_KEY_BYTES: usize = 32;
/// A wrapped class key of 32 bytes.
const WRAPPED_KEY_BYTES: usize = 40;
/// The class key is wrapped with the password.
const WRAP_PASSCODE: u32 = 2;

/// Why a keybag gave no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bag is whole, the password is not its own.
    #[error("the backup password is wrong")]
    WrongPassword,
    /// The bag itself is damaged.
    #[error("the keybag is damaged: {0}")]
    Damaged(&'static str),
}

/// The class keys of an unlocked bag.
#[derive(Clone)]
pub struct Keys(BTreeMap<u32, Secret>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys(of classes {:?})", self.0.keys().collect::<Vec<_>>())
    }
}

impl Keys {
    /// The keys of these classes, 32 bytes each.
    #[must_use]
    pub fn of(classes: impl IntoIterator<Item = (u32, Secret)>) -> Self {
        Self(classes.into_iter().filter(|(_, key)| key.expose().len() == CLASS_KEY_BYTES).collect())
    }

    /// Each class and its key.
    pub fn classes(&self) -> impl Iterator<Item = (u32, &Secret)> {
        self.0.iter().map(|(class, key)| (*class, key))
    }

    /// Wraps the key of a file for a class, as [`Keys::unwrap`] reads it; `None`: no such class, or no key of 32 bytes.
    #[must_use]
    pub fn wrap(&self, class: u32, key: &Secret) -> Option<Vec<u8>> {
        let class_key = self.0.get(&class).filter(|_| key.expose().len() == CLASS_KEY_BYTES)?;
        Some([&class.to_le_bytes()[..], &create::wrap(class_key, key)].concat())
    }

    /// The key of a file or of the manifest: `wrapped` is its class (little endian, 4 bytes) and its key, wrapped with that
    /// class's key.
    ///
    /// # Errors
    /// In words: no such class, or the wrapped key is damaged.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Secret, &'static str> {
        let (class, wrapped) = wrapped.split_first_chunk::<4>().ok_or("its key is too short")?;
        let class_key = self.0.get(&u32::from_le_bytes(*class)).ok_or("its protection class has no key")?;
        unwrap(class_key, wrapped).ok_or("its key does not unwrap")
    }
}

#[derive(Debug, Clone, Default)]
struct Class {
    number: Option<u32>,
    wrap: u32,
    wrapped_key: Vec<u8>,
}

/// A keybag as it stands in `Manifest.plist`.
#[derive(Debug, Clone, Default)]
pub struct Keybag {
    salt: Vec<u8>,
    iterations: u32,
    /// The stronger derivation that goes first since iOS 10.2.
    first: Option<(Vec<u8>, u32)>,
    classes: Vec<Class>,
}

impl Keybag {
    /// Reads a bag.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > BAG_BYTES_MAX {
            return Err(Error::Damaged("it is too large"));
        }
        let mut bag = Self::default();
        let (mut first_salt, mut first_iterations) = (None, None);
        let mut rest = bytes;
        let mut seen_bag_uuid = false;
        while !rest.is_empty() {
            let (tag, value, after) = tag(rest).ok_or(Error::Damaged("a tag is cut short"))?;
            rest = after;
            match tag {
                b"UUID" if seen_bag_uuid => bag.classes.push(Class::default()),
                b"UUID" => seen_bag_uuid = true,
                b"SALT" => bag.salt = value.to_vec(),
                b"ITER" => bag.iterations = number(value)?,
                b"DPSL" => first_salt = Some(value.to_vec()),
                b"DPIC" => first_iterations = Some(number(value)?),
                _ => {
                    if let Some(class) = bag.classes.last_mut() {
                        class.take(tag, value)?;
                    }
                }
            }
        }
        bag.first = first_salt.zip(first_iterations);
        let total = bag.iterations.saturating_add(bag.first.as_ref().map_or(0, |(_, count)| *count));
        if bag.iterations == 0 || bag.salt.is_empty() || total > ITERATIONS_MAX {
            return Err(Error::Damaged("its derivation has no salt, no iterations, or far too many"));
        }
        let whole = |class: &Class| class.number.is_some() && class.wrapped_key.len() == WRAPPED_KEY_BYTES;
        if bag.classes.is_empty() || !bag.classes.iter().all(whole) {
            return Err(Error::Damaged("it holds no class keys, or parts of one are missing"));
        }
        Ok(bag)
    }

    /// Derives the key from the password and unwraps the class keys. Takes seconds for a real bag.
    ///
    /// # Errors
    /// [`Error::WrongPassword`] when not a single class key unwraps, [`Error::Damaged`] when only some do.
    pub fn unlock(&self, password: &Secret) -> Result<Keys, Error> {
        let kek = self.derive(password)?;
        let (mut keys, mut failed) = (BTreeMap::new(), 0);
        for class in self.classes.iter().filter(|class| class.wrap == WRAP_PASSCODE) {
            let Some(number) = class.number else { return Err(Error::Damaged("a class has no number")) };
            match unwrap(&kek, &class.wrapped_key) {
                Some(key) => drop(keys.insert(number, key)),
                None => failed += 1,
            }
        }
        match (keys.is_empty(), failed) {
            (true, 0) => Err(Error::Damaged("no class key is wrapped with the password")),
            (true, _) => Err(Error::WrongPassword),
            (false, 0) => Ok(Keys(keys)),
            (false, _) => Err(Error::Damaged("some class keys do not unwrap with a password that others do")),
        }
    }

    fn derive(&self, password: &Secret) -> Result<Secret, Error> {
        let none = Error::Damaged("a derivation has no iterations");
        let mut secret = password.clone();
        if let Some((salt, iterations)) = &self.first {
            let iterations = NonZeroU32::new(*iterations).ok_or(none.clone())?;
            secret = pbkdf2(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, &secret);
        }
        let iterations = NonZeroU32::new(self.iterations).ok_or(none)?;
        Ok(pbkdf2(pbkdf2::PBKDF2_HMAC_SHA1, iterations, &self.salt, &secret))
    }
}

impl Class {
    fn take(&mut self, tag: &[u8; 4], value: &[u8]) -> Result<(), Error> {
        match tag {
            b"CLAS" => self.number = Some(number(value)? & 0xF),
            b"WRAP" => self.wrap = number(value)?,
            b"WPKY" => self.wrapped_key = value.to_vec(),
            _ => {}
        }
        Ok(())
    }
}

fn tag(bytes: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((tag, value, rest))
}

fn number(value: &[u8]) -> Result<u32, Error> {
    value.try_into().map(u32::from_be_bytes).map_err(|_| Error::Damaged("a number has a wrong length"))
}

fn pbkdf2(algorithm: pbkdf2::Algorithm, iterations: NonZeroU32, salt: &[u8], secret: &Secret) -> Secret {
    let mut key = vec![0; 32];
    pbkdf2::derive(algorithm, iterations, salt, secret.expose(), &mut key);
    Secret::new(key)
}

fn unwrap(kek: &Secret, wrapped: &[u8]) -> Option<Secret> {
    let mut key = vec![0; wrapped.len()];
    let kek = AesKek::new(&AES_256, kek.expose()).ok()?;
    let length = kek.unwrap(wrapped, &mut key).ok()?.len();
    key.truncate(length);
    (length == CLASS_KEY_BYTES).then(|| Secret::new(key))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A bag as phones make them, with few iterations: classes 1 to 8 wrapped with the password, 9 to 11 also tied to the
    /// device.
    pub(in crate::backup) fn bag(password: &[u8], class_key: impl Fn(u32) -> [u8; 32]) -> Vec<u8> {
        fn put(out: &mut Vec<u8>, tag: &[u8; 4], value: &[u8]) {
            out.extend_from_slice(tag);
            out.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
            out.extend_from_slice(value);
        }
        let mut out = Vec::new();
        put(&mut out, b"VERS", &5u32.to_be_bytes());
        put(&mut out, b"TYPE", &1u32.to_be_bytes());
        put(&mut out, b"UUID", &[1; 16]);
        put(&mut out, b"HMCK", &[2; 40]);
        put(&mut out, b"WRAP", &0u32.to_be_bytes());
        put(&mut out, b"SALT", &[3; 20]);
        put(&mut out, b"ITER", &100u32.to_be_bytes());
        put(&mut out, b"DPWT", &1u32.to_be_bytes());
        put(&mut out, b"DPIC", &200u32.to_be_bytes());
        put(&mut out, b"DPSL", &[4; 20]);
        let first = Some((vec![4; 20], 200));
        let header = Keybag { salt: vec![3; 20], iterations: 100, first, classes: Vec::new() };
        let kek = header.derive(&Secret::new(password)).unwrap();
        for class in (1..=11u32).rev() {
            let mut wrapped = [0; 40];
            AesKek::new(&AES_256, kek.expose()).unwrap().wrap(&class_key(class), &mut wrapped).unwrap();
            put(&mut out, b"UUID", &[u8::try_from(class).unwrap(); 16]);
            put(&mut out, b"CLAS", &class.to_be_bytes());
            put(&mut out, b"WRAP", &(if class > 8 { 3u32 } else { 2 }).to_be_bytes());
            put(&mut out, b"KTYP", &0u32.to_be_bytes());
            put(&mut out, b"WPKY", &wrapped);
        }
        out
    }

    /// Wraps a file's key for `class`.
    pub(in crate::backup) fn wrap_for(class: u32, class_key: &[u8; 32], key: &[u8; 32]) -> Vec<u8> {
        let mut wrapped = [0; 40];
        AesKek::new(&AES_256, class_key).unwrap().wrap(key, &mut wrapped).unwrap();
        [&class.to_le_bytes()[..], &wrapped].concat()
    }

    fn class_key(class: u32) -> [u8; 32] {
        [u8::try_from(class).unwrap() + 100; 32]
    }

    #[test]
    fn the_password_opens_it_and_another_does_not() {
        let bag = Keybag::parse(&bag(b"secret", class_key)).unwrap();
        let keys = bag.unlock(&Secret::new("secret")).unwrap();
        let wrapped = wrap_for(3, &class_key(3), &[9; 32]);
        assert_eq!(keys.unwrap(&wrapped).unwrap(), Secret::new([9; 32]));
        assert!(
            keys.unwrap(&wrap_for(11, &class_key(11), &[9; 32])).is_err(),
            "class 11 is tied to the device"
        );
        assert_eq!(bag.unlock(&Secret::new("Secret")).unwrap_err(), Error::WrongPassword);
    }

    #[test]
    fn damage_is_told_apart_from_a_wrong_password() {
        let whole = bag(b"secret", class_key);
        for length in 0..whole.len() {
            match Keybag::parse(&whole[..length]) {
                Err(error) => assert!(matches!(error, Error::Damaged(_))),
                Ok(cut) => {
                    if let Err(error) = cut.unlock(&Secret::new("secret")) {
                        assert!(matches!(error, Error::Damaged(_)), "cut at {length}");
                    }
                }
            }
        }
        let mut changed = whole;
        let last = changed.len() - 1;
        changed[last] ^= 1;
        let unlocked = Keybag::parse(&changed).unwrap().unlock(&Secret::new("secret"));
        assert_eq!(
            unlocked.unwrap_err(),
            Error::Damaged("some class keys do not unwrap with a password that others do")
        );
    }

    #[test]
    fn absurd_iterations_are_refused_before_they_are_done() {
        let whole = bag(b"secret", class_key);
        let at = whole.windows(4).position(|window| window == b"DPIC").unwrap() + 8;
        let mut slow = whole;
        slow[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(matches!(Keybag::parse(&slow), Err(Error::Damaged(_))));
    }
}
