//! The certificates of a pairing: a root that signs itself, the host's signed by it, and the device's, made by the
//! host over the device's public key. All have empty names, as libimobiledevice and Apple make them; nobody ever
//! checks a name or a date, only keys.

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, PublicKeyData, RsaKeySize, SignatureAlgorithm,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{BadRecord, PairRecord};

const VALID_YEARS: i16 = 10;
/// A public key of 16 384 bits has about 2 KiB.
const PUBLIC_KEY_BYTES_MAX: usize = 8 << 10;

/// The host's two key pairs. They are made once for a pairing and kept while the person has not answered, so that the
/// device sees the same host each time.
pub struct HostKeys {
    root: KeyPair,
    host: KeyPair,
}

/// Shows nothing: the keys are secret.
impl std::fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostKeys").finish_non_exhaustive()
    }
}

impl HostKeys {
    /// Makes two RSA keys of 2048 bits; takes some hundred milliseconds of computing.
    #[must_use]
    pub fn generate() -> Self {
        Self { root: rsa_key(), host: rsa_key() }
    }
}

/// An RSA key of 2048 bits, also for the simulated device's own.
#[must_use]
pub fn rsa_key() -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
        .expect("the system's random numbers are there, or nothing is safe")
}

/// A key that [`rsa_key`] made, from its PEM.
#[must_use]
pub fn key_from_pem(pem: &str) -> Option<KeyPair> {
    KeyPair::from_pem(pem).ok()
}

/// A device's public key, RSA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceKey {
    /// PKCS#1 `RSAPublicKey`.
    der: Vec<u8>,
}

impl DeviceKey {
    /// Reads lockdown's `DevicePublicKey`: PEM, `RSA PUBLIC KEY`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        if pem.len() > PUBLIC_KEY_BYTES_MAX {
            return Err("it is too long".to_owned());
        }
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem).map_err(|_| "it is no PEM".to_owned())?;
        match pem.label.as_str() {
            "RSA PUBLIC KEY" => Self::from_pkcs1(&pem.contents),
            "PUBLIC KEY" => {
                let (_, key) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&pem.contents)
                    .map_err(|_| "it is no public key".to_owned())?;
                Self::from_pkcs1(&key.subject_public_key.data)
            }
            _ => Err("it is no public key".to_owned()),
        }
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, String> {
        use x509_parser::public_key::RSAPublicKey;
        let (rest, key) = RSAPublicKey::from_der(der).map_err(|_| "it is no RSA key".to_owned())?;
        if !rest.is_empty() || !(1024..=16_384).contains(&key.key_size()) {
            return Err("it is no RSA key of a usual size".to_owned());
        }
        Ok(Self { der: der.to_vec() })
    }

    /// The key in a certificate.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| "it is no certificate".to_owned())?;
        Self::from_pkcs1(&parsed.public_key().subject_public_key.data)
    }

    /// PKCS#1 DER.
    #[must_use]
    pub fn pkcs1_der(&self) -> &[u8] {
        &self.der
    }

    /// As lockdown gives it: PEM, `RSA PUBLIC KEY`.
    #[must_use]
    pub fn to_pem(&self) -> Vec<u8> {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&self.der);
        let mut pem = String::from("-----BEGIN RSA PUBLIC KEY-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
            pem.push('\n');
        }
        pem.push_str("-----END RSA PUBLIC KEY-----\n");
        pem.into_bytes()
    }

    /// The public half of a key pair made by [`rsa_key`].
    #[must_use]
    pub fn of_pair(pair: &KeyPair) -> Self {
        Self { der: pair.public_key_raw().to_vec() }
    }
}

impl PublicKeyData for DeviceKey {
    fn der_bytes(&self) -> &[u8] {
        &self.der
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

/// A new pair record for a device, with everything but what the device adds (its escrow bag).
///
/// # Errors
/// A sentence about what could not be made into a certificate.
pub fn new_record(
    keys: &HostKeys,
    device: &DeviceKey,
    host_id: &str,
    system_buid: &str,
) -> Result<PairRecord, String> {
    let words = |error: rcgen::Error| error.to_string();
    let root_params = params(1, IsCa::Ca(BasicConstraints::Unconstrained), &[]);
    let root = root_params.self_signed(&keys.root).map_err(words)?;
    let issuer = Issuer::from_params(&root_params, &keys.root);
    let usages = [KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    let host = params(2, IsCa::ExplicitNoCa, &usages).signed_by(&keys.host, &issuer).map_err(words)?;
    let device = params(3, IsCa::ExplicitNoCa, &usages).signed_by(device, &issuer).map_err(words)?;

    let data = |pem: String| plist::Value::Data(pem.into_bytes());
    let mut dict = plist::Dictionary::new();
    dict.insert("DeviceCertificate".into(), data(device.pem()));
    dict.insert("HostCertificate".into(), data(host.pem()));
    dict.insert("HostID".into(), host_id.into());
    dict.insert("HostPrivateKey".into(), data(keys.host.serialize_pem()));
    dict.insert("RootCertificate".into(), data(root.pem()));
    dict.insert("RootPrivateKey".into(), data(keys.root.serialize_pem()));
    dict.insert("SystemBUID".into(), system_buid.into());
    PairRecord::from_dictionary(dict).map_err(|error| error.to_string())
}

fn params(serial: u64, is_ca: IsCa, usages: &[KeyUsagePurpose]) -> CertificateParams {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(serial.into());
    // A phone whose clock is a little behind must not find it in the future.
    params.not_before = day(today.saturating_sub(1.day()));
    params.not_after = day(today.saturating_add(VALID_YEARS.years()));
    params.is_ca = is_ca;
    params.key_usages = usages.to_vec();
    params
}

/// A certificate out of a pair record: PEM, or DER as some hosts keep it.
///
/// # Errors
/// [`BadRecord::Unreadable`].
pub fn certificate(key: &'static str, bytes: &[u8]) -> Result<CertificateDer<'static>, BadRecord> {
    if looks_like_der(bytes) {
        return Ok(CertificateDer::from(bytes.to_vec()));
    }
    CertificateDer::from_pem_slice(bytes)
        .map_err(|error| BadRecord::Unreadable { key, why: error.to_string() })
}

/// A private key out of a pair record: PEM (`RSA PRIVATE KEY` or `PRIVATE KEY`), or PKCS#8 DER.
///
/// # Errors
/// [`BadRecord::Unreadable`], without any of its content.
pub fn private_key(key: &'static str, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, BadRecord> {
    let unreadable = || BadRecord::Unreadable { key, why: "it is no private key".to_owned() };
    if looks_like_der(bytes) {
        return PrivateKeyDer::try_from(bytes.to_vec()).map_err(|_| unreadable());
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|_| unreadable())
}

/// A DER sequence with a length of two bytes, as all certificates and RSA keys are.
fn looks_like_der(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x30, 0x82])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_record_has_version_3_certificates_without_names_signed_by_its_root() {
        let device = rsa_key();
        let key = DeviceKey::of_pair(&device);
        let record = new_record(&HostKeys::generate(), &key, "HOST", "BUID").unwrap();
        let root_der = certificate("RootCertificate", record.root_certificate().unwrap()).unwrap();
        let (_, root) = X509Certificate::from_der(&root_der).unwrap();
        for pem in
            [record.device_certificate(), record.host_certificate(), record.root_certificate().unwrap()]
        {
            let der = certificate("any", pem).unwrap();
            let (_, parsed) = X509Certificate::from_der(&der).unwrap();
            assert_eq!(parsed.version(), x509_parser::x509::X509Version::V3);
            assert_eq!(parsed.subject().iter().count(), 0);
            assert_eq!(parsed.issuer().iter().count(), 0);
            assert!(super::super::tls::is_signed_by(&der, &root.public_key().subject_public_key.data));
        }
        let in_certificate = certificate("DeviceCertificate", record.device_certificate()).unwrap();
        assert_eq!(DeviceKey::of_certificate(&in_certificate).unwrap(), key);
    }

    #[test]
    fn a_device_key_is_read_in_both_forms_and_comes_back_as_pkcs1() {
        let pair = rsa_key();
        let key = DeviceKey::of_pair(&pair);
        assert_eq!(DeviceKey::from_pem(&key.to_pem()).unwrap(), key);
        assert_eq!(DeviceKey::from_pem(pair.public_key_pem().as_bytes()).unwrap(), key);
    }

    #[test]
    fn a_device_key_that_is_none_is_refused() {
        let pem = DeviceKey::of_pair(&rsa_key()).to_pem();
        for length in (0..pem.len() - 30).step_by(7) {
            assert!(DeviceKey::from_pem(&pem[..length]).is_err(), "cut at {length}");
        }
        let long = [pem.as_slice(), &vec![b'\n'; PUBLIC_KEY_BYTES_MAX]].concat();
        for bad in [&b"-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n"[..], b"", &long]
        {
            assert!(DeviceKey::from_pem(bad).is_err());
        }
    }
}
