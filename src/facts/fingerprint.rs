//! The fingerprint by which the photo library and iCloud know a file's content.
//!
//! It is the byte 1 and the SHA-1 of a salt and the whole content, in base64 (28 characters). Known from public clients
//! of iCloud, which get it as `fileChecksum` and were checked against real downloads; the library keeps it as
//! `ZFINGERPRINT`. SHA-1 is broken against somebody who makes two files on purpose, so it tells *which* original a file
//! is and never proves a copy: that is SHA-256's.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Goes before the content.
const SALT: &[u8] = b"com.apple.XattrObjectSalt\0com.apple.DataObjectSalt\0";
/// The first byte: which kind of fingerprint it is.
const KIND: u8 = 1;
/// Characters of one in text.
const TEXT_CHARS: usize = 28;
/// Bytes of one.
const BYTES: usize = 21;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; BYTES]);

impl Fingerprint {
    /// The fingerprint that `text` writes; `None` for anything else. Both alphabets of base64 are in use.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != TEXT_CHARS {
            return None;
        }
        let decode = |alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok();
        let bytes = decode(&STANDARD).or_else(|| decode(&URL_SAFE))?;
        let bytes: [u8; BYTES] = bytes.try_into().ok()?;
        (bytes[0] == KIND).then_some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64::engine::general_purpose::STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("this is no fingerprint"))
    }
}

/// Takes the fingerprint of content as it comes.
pub struct Fingerprinting(Context);

impl Default for Fingerprinting {
    fn default() -> Self {
        let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        hash.update(SALT);
        Self(hash)
    }
}

impl fmt::Debug for Fingerprinting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprinting")
    }
}

impl Fingerprinting {
    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// All bytes came.
    #[must_use]
    pub fn finish(self) -> Fingerprint {
        let mut bytes = [KIND; BYTES];
        bytes[1..].copy_from_slice(self.0.finish().as_ref());
        Fingerprint(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Fingerprint {
        let mut taking = Fingerprinting::default();
        bytes.chunks(3).for_each(|piece| taking.update(piece));
        taking.finish()
    }

    #[test]
    fn real_ones_are_read_and_written_alike() {
        for text in ["Acg7iUvHLiR8FEuZ08xqDKhpN+tR", "AR+EBsqiK/ZDwaYWNlhjg+1C8N93"] {
            let fingerprint = Fingerprint::parse(text).unwrap();
            assert_eq!(fingerprint.to_string(), text);
            let url = text.replace('+', "-").replace('/', "_");
            assert_eq!(Fingerprint::parse(&url), Some(fingerprint));
        }
    }

    #[test]
    fn anything_else_is_none() {
        for text in [
            "",
            "x",
            "Acg7iUvHLiR8FEuZ08xqDKhpN+t",
            "Bcg7iUvHLiR8FEuZ08xqDKhpN+tR",
            "Acg7iUvHLiR8FEuZ08xqDKhpN+t=",
        ] {
            assert_eq!(Fingerprint::parse(text), None, "{text}");
        }
    }

    #[test]
    fn it_is_of_the_content_alone() {
        // Computed with another implementation of SHA-1 over the salt and the content.
        assert_eq!(of(b"").to_string(), "AW2cWT2PxzWixMKuuNMTHJ8CJ3sH");
        assert_eq!(of(b"abc").to_string(), "AYnnoj1r4lMYTs3JP/g7mjGaDCgO");
        assert_ne!(of(b"abd"), of(b"abc"));
    }
}
