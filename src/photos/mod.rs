//! The copy of the photos: walk, plan, pull, manifest, verify.
//!
//! Knows AFC and one device's folder on this computer: a mirrored tree under `photos/` and its manifest. Knows the
//! library only as facts; knows no backup: a file that comes from one is handed in as a reader ([`Store::take_in`]).
//! Everything about a photo lives here once: what a walk copies, which local name it gets, when it is durable.

pub mod adopt;
mod commit;
mod exif;
pub mod export;
mod fetch;
mod folder;
mod knowledge;
mod known;
pub mod layout;
pub mod gallery;
mod manifest;
mod names;
mod partial;
mod plan;
pub mod pull;
mod sink;
mod stage;
mod store;
#[cfg(test)]
mod tests;
pub mod verify;
mod walk;
pub(crate) mod whole;

pub use knowledge::Remembered;
pub use known::Known;
pub use manifest::{Entry, Source};
pub use plan::{Item, Plan};
pub use pull::{Ended, Options, Pulled, Refused, pull, pull_with};
pub use store::{Error, Store, Taken};
pub use walk::{walk, walk_anew};

/// For [`crate::fuzzed`].
pub(crate) fn upright(tiff: &[u8]) {
    let mut turned = tiff.to_vec();
    exif::set_upright(&mut turned);
    let was_told = exif::orientation(tiff).is_some();
    assert!(!was_told || exif::orientation(&turned) == Some(1), "what is upright says so");
}

/// A digest that was written as 64 hexadecimal digits. A copy of a million photos has millions of them.
fn digest_of_hex(text: &str) -> Option<[u8; 32]> {
    const NO_DIGIT: u8 = 16;
    const VALUES: [u8; 256] = {
        let mut values = [NO_DIGIT; 256];
        let mut value = 0;
        while value < 16 {
            values[b"0123456789abcdef"[value as usize] as usize] = value;
            values[b"0123456789ABCDEF"[value as usize] as usize] = value;
            value += 1;
        }
        values
    };
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut digest = [0; 32];
    let mut at = 0;
    while at < 32 {
        let (high, low) = (VALUES[digits[2 * at] as usize], VALUES[digits[2 * at + 1] as usize]);
        if high == NO_DIGIT || low == NO_DIGIT {
            return None;
        }
        digest[at] = high << 4 | low;
        at += 1;
    }
    Some(digest)
}

/// The digest of a finished SHA-256.
fn digest(hash: aws_lc_rs::digest::Context) -> [u8; 32] {
    hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod hex_tests {
    use super::digest_of_hex;

    #[test]
    fn digests_come_back_and_nothing_else_is_one() {
        let digest: [u8; 32] = std::array::from_fn(|n| (n * 37 + 9) as u8);
        let text = hex::encode(digest);
        assert_eq!(digest_of_hex(&text), Some(digest));
        assert_eq!(digest_of_hex(&text.to_uppercase()), Some(digest));
        for bad in
            [&text[1..], &format!("{text}0"), &text.replacen('9', "g", 1), &text.replacen("09", "é", 1)]
        {
            assert_eq!(digest_of_hex(bad), None, "{bad}");
        }
    }
}
