//! A signed message (CMS SignedData, RFC 5652, DER) as a supervising host sends it: what was signed, and whether the
//! holder of a certificate signed it. Written by a stranger: every length is checked, nothing recurses.

use aws_lc_rs::{digest, signature};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Larger than any signed challenge.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// Signers that are looked at.
const SIGNERS_MAX: usize = 8;
/// Attributes of a signer that are looked at.
const ATTRIBUTES_MAX: usize = 32;

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, with something inside.
const CONTEXT_0: u8 = 0xa0;

/// 1.2.840.113549.1.7.2
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// 1.2.840.113549.1.9.4
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// 1.3.14.3.2.26
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// 2.16.840.1.101.3.4.2.1
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// One value of DER.
#[derive(Debug, Clone, Copy)]
struct Item<'a> {
    tag: u8,
    content: &'a [u8],
    /// With its tag and length.
    whole: &'a [u8],
}

/// A row of values.
#[derive(Debug, Clone, Copy)]
struct Row<'a>(&'a [u8]);

impl<'a> Row<'a> {
    /// Takes the next value.
    fn next(&mut self) -> Option<Item<'a>> {
        let bytes = self.0;
        let (&tag, &first) = (bytes.first()?, bytes.get(1)?);
        let (length, header) = match first {
            0..=0x7f => (usize::from(first), 2),
            // Longer than four bytes, or of unknown length: nothing that is sent here.
            0x81..=0x84 => {
                let n = usize::from(first & 0x7f);
                let length = bytes.get(2..2 + n)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, 2 + n)
            }
            _ => return None,
        };
        let end = header.checked_add(length)?;
        let whole = bytes.get(..end)?;
        self.0 = &bytes[end..];
        Some(Item { tag, content: &whole[header..], whole })
    }

    /// Takes the next value if it has this tag, else nothing is taken.
    fn maybe(&mut self, tag: u8) -> Option<Item<'a>> {
        let mut ahead = *self;
        let item = ahead.next().filter(|item| item.tag == tag)?;
        *self = ahead;
        Some(item)
    }

    /// Takes the next value, which must have this tag.
    fn must(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.maybe(tag).map(|item| item.content)
    }
}

/// A signed message, taken apart.
#[derive(Debug)]
pub(super) struct Signed<'a> {
    /// What was signed.
    pub(super) content: &'a [u8],
    signers: Vec<Signer<'a>>,
}

#[derive(Debug)]
struct Signer<'a> {
    digest: &'static digest::Algorithm,
    /// The signed attributes: as they stand, with their tag.
    attributes: Option<&'a [u8]>,
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes a message apart; `None`: it is none, or its content is not inside.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        if message.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        let mut outer = Row(Row(message).must(SEQUENCE)?);
        if outer.must(OID)? != SIGNED_DATA {
            return None;
        }
        let mut data = Row(Row(outer.must(CONTEXT_0)?).must(SEQUENCE)?);
        data.must(INTEGER)?;
        data.must(SET)?;
        let mut inside = Row(data.must(SEQUENCE)?);
        inside.must(OID)?;
        let content = Row(inside.must(CONTEXT_0)?).must(OCTETS)?;
        // Certificates and revocations: who may sign is known here already.
        data.maybe(CONTEXT_0);
        data.maybe(CONTEXT_0 + 1);
        let mut row = Row(data.must(SET)?);
        let mut signers = Vec::new();
        while let Some(signer) = row.maybe(SEQUENCE).filter(|_| signers.len() < SIGNERS_MAX) {
            signers.extend(Signer::parse(signer.content));
        }
        Some(Self { content, signers })
    }

    /// Whether the holder of `certificate` (DER) signed the content.
    pub(super) fn is_by(&self, certificate: &[u8]) -> bool {
        let certificate = CertificateDer::from(certificate);
        let Ok((_, parsed)) = X509Certificate::from_der(&certificate) else { return false };
        let key = parsed.public_key();
        let bytes = &key.subject_public_key.data;
        self.signers.iter().any(|signer| signer.signed(self.content, bytes))
    }
}

impl<'a> Signer<'a> {
    fn parse(signer: &'a [u8]) -> Option<Self> {
        let mut row = Row(signer);
        row.must(INTEGER)?;
        // Who signed, by issuer and number or by key; the key that verifies is known here already.
        row.next()?;
        let digest = match Row(row.must(SEQUENCE)?).must(OID)? {
            SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            SHA256 => &digest::SHA256,
            _ => return None,
        };
        let attributes = row.maybe(CONTEXT_0).map(|item| item.whole);
        row.must(SEQUENCE)?;
        let signature = row.must(OCTETS)?;
        Some(Self { digest, attributes, signature })
    }

    fn signed(&self, content: &[u8], key: &[u8]) -> bool {
        let Some(attributes) = self.attributes else { return self.verifies(content, key) };
        let digest = digest::digest(self.digest, content);
        if message_digest(attributes).is_none_or(|told| told != digest.as_ref()) {
            return false;
        }
        // Signed is the set itself, not the place where it stands (RFC 5652 §5.4).
        let mut set = attributes.to_vec();
        set[0] = SET;
        self.verifies(&set, key)
    }

    fn verifies(&self, message: &[u8], key: &[u8]) -> bool {
        let algorithms: [&dyn signature::VerificationAlgorithm; 2] =
            if self.digest == &digest::SHA1_FOR_LEGACY_USE_ONLY {
                [&signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, &signature::ECDSA_P256_SHA256_ASN1]
            } else {
                [&signature::RSA_PKCS1_2048_8192_SHA256, &signature::ECDSA_P256_SHA256_ASN1]
            };
        // A key is of one kind only: the other algorithm cannot read it.
        algorithms.into_iter().any(|algorithm| {
            signature::UnparsedPublicKey::new(algorithm, key).verify(message, self.signature).is_ok()
        })
    }
}

/// The digest that the attributes name.
fn message_digest(attributes: &[u8]) -> Option<&[u8]> {
    let mut row = Row(Row(attributes).must(CONTEXT_0)?);
    for _ in 0..ATTRIBUTES_MAX {
        let mut attribute = Row(row.must(SEQUENCE)?);
        if attribute.must(OID)? == MESSAGE_DIGEST {
            return Row(attribute.must(SET)?).must(OCTETS);
        }
    }
    None
}

#[cfg(test)]
pub(in crate::sim) mod testing {
    //! A supervising host's side, for tests.

    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};

    use super::*;
    use crate::frame::{self, DictExt, Limits};
    use crate::lockdown::certs;

    /// Somebody with a key, and a certificate over it.
    pub(in crate::sim) struct Supervisor {
        pub(in crate::sim) certificate: Vec<u8>,
        key: RsaKeyPair,
    }

    impl Supervisor {
        pub(in crate::sim) fn new() -> Self {
            let record = certs::new_record(
                &certs::HostKeys::generate(),
                &certs::DeviceKey::of_pair(&certs::rsa_key()),
                "H",
                "B",
            );
            let record = record.unwrap();
            let certificate = certs::certificate("HostCertificate", record.host_certificate()).unwrap();
            let all = frame::parse(&record.to_plist(), &Limits::FILE).unwrap().into_dictionary().unwrap();
            let key = certs::private_key("HostPrivateKey", all.data("HostPrivateKey").unwrap()).unwrap();
            let key = RsaKeyPair::from_pkcs8(key.secret_der()).unwrap();
            Self { certificate: certificate.to_vec(), key }
        }

        fn sign(&self, message: &[u8]) -> Vec<u8> {
            let mut signature = vec![0; self.key.public_modulus_len()];
            self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        }

        /// The content signed, with or without attributes.
        pub(in crate::sim) fn signed(&self, content: &[u8], attributes: bool) -> Vec<u8> {
            let sha256 = der(SEQUENCE, &[&der(OID, &[SHA256])]);
            let digest = digest::digest(&digest::SHA256, content);
            let digest = der(SET, &[&der(OCTETS, &[digest.as_ref()])]);
            let inside = der(SEQUENCE, &[&der(OID, &[MESSAGE_DIGEST]), &digest]);
            let signature = if attributes { self.sign(&der(SET, &[&inside])) } else { self.sign(content) };
            let inside = if attributes { der(CONTEXT_0, &[&inside]) } else { Vec::new() };
            let version = der(INTEGER, &[&[1]]);
            let who = der(SEQUENCE, &[]);
            let signer =
                der(SEQUENCE, &[&version, &who, &sha256, &inside, &sha256, &der(OCTETS, &[&signature])]);
            let content = der(SEQUENCE, &[&der(OID, &[&[1]]), &der(CONTEXT_0, &[&der(OCTETS, &[content])])]);
            let data = der(SEQUENCE, &[&version, &der(SET, &[&sha256]), &content, &der(SET, &[&signer])]);
            der(SEQUENCE, &[&der(OID, &[SIGNED_DATA]), &der(CONTEXT_0, &[&data])])
        }
    }

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let header =
            if content.len() < 0x80 { vec![tag, length[1]] } else { vec![tag, 0x82, length[0], length[1]] };
        [header, content].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Supervisor;
    use super::*;

    #[test]
    fn what_was_signed_is_known_and_by_whom() {
        let (one, other) = (Supervisor::new(), Supervisor::new());
        for attributes in [true, false] {
            let message = one.signed(b"challenge", attributes);
            let signed = Signed::parse(&message).unwrap();
            assert_eq!(signed.content, b"challenge");
            assert!(signed.is_by(&one.certificate) && !signed.is_by(&other.certificate));
            assert!(!signed.is_by(b"no certificate"));
            let content = message.windows(9).position(|window| window == b"challenge").unwrap();
            for at in (content..content + 9).chain(message.len() - 256..message.len()) {
                let mut changed = message.clone();
                changed[at] ^= 1;
                let still = Signed::parse(&changed).is_some_and(|signed| signed.is_by(&one.certificate));
                assert!(!still, "a change at {at} went unnoticed");
            }
        }
    }

    #[test]
    fn a_message_that_is_cut_or_noise_is_none() {
        let message = Supervisor::new().signed(b"challenge", true);
        for length in 0..message.len() {
            assert!(Signed::parse(&message[..length]).is_none());
        }
        for hostile in [&[0x30, 0x80][..], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x85, 1], &[0x30]] {
            assert!(Signed::parse(hostile).is_none());
        }
    }
}
