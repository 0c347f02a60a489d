//! TLS between host and device, for both sides, where trust is in keys alone.
//!
//! The host: whoever answers must present a certificate over the very key that the pair record holds, and must prove
//! that it has the private half. Names, dates, chains and the certificate's own signature (SHA-1 in many records) mean
//! nothing here. The device: a host must present one of the certificates that it stored when pairing, or one signed
//! by the stored root (libimobiledevice presents the root itself, others the host's), and prove the same.

use std::sync::Arc;

use aws_lc_rs::signature::{self, UnparsedPublicKey};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certs::{self, DeviceKey};
use super::{BadRecord, Error, PairRecord};
use crate::usbmux::Stream;

/// The signatures that either side may prove itself with.
const SCHEMES: [SignatureScheme; 6] = [
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// What a host needs to talk to one device: its own certificate and the device's key.
///
/// # Errors
/// [`BadRecord`] when the record's certificates or keys cannot be read, or do not belong together.
pub fn client_config(record: &PairRecord) -> Result<Arc<ClientConfig>, BadRecord> {
    let device = certs::certificate("DeviceCertificate", record.device_certificate())?;
    let expected = DeviceKey::of_certificate(&device)
        .map_err(|why| BadRecord::Unreadable { key: "DeviceCertificate", why })?;
    let certificate = certs::certificate("HostCertificate", record.host_certificate())?;
    let host = certified("HostPrivateKey", certificate, record.host_private_key())?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("the provider supports both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedDevice(expected)))
        .with_client_cert_resolver(Arc::new(HostCertificate(host)));
    // A resumed session would not prove the key again.
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// Makes `stream` an encrypted one to the device that `config` names.
///
/// # Errors
/// [`Error::KeyMismatch`] when somebody else answers, else [`Error::Tls`].
pub async fn connect(stream: Stream, config: &Arc<ClientConfig>) -> Result<Stream, Error> {
    Ok(connect_and_tell(stream, config).await?.0)
}

/// What both sides agreed to speak, by its names in the standards; `None` for one that has no name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    /// The version, `TLSv1_2` for example.
    pub version: Option<&'static str>,
    /// The cipher suite, `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384` for example.
    pub cipher: Option<&'static str>,
}

/// As [`connect`], and tells what was agreed.
///
/// # Errors
/// As [`connect`].
pub async fn connect_and_tell(stream: Stream, config: &Arc<ClientConfig>) -> Result<(Stream, Spoken), Error> {
    let nobody = ServerName::try_from("device.invalid").expect("a well-formed name; it is never sent");
    match TlsConnector::from(Arc::clone(config)).connect(nobody, stream).await {
        Ok(stream) => {
            let agreed = stream.get_ref().1;
            let spoken = Spoken {
                version: agreed.protocol_version().and_then(|version| version.as_str()),
                cipher: agreed.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()),
            };
            Ok((Box::new(stream), spoken))
        }
        Err(error) if is_key_mismatch(&error) => Err(Error::KeyMismatch),
        Err(error) => Err(Error::Tls(error)),
    }
}

fn is_key_mismatch(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        inner,
        Some(rustls::Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure | CertificateError::BadSignature
        ))
    )
}

/// The newest version of TLS that a simulated device speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Newest {
    /// 1.2 only: what every phone was seen to speak.
    #[default]
    Tls12,
    /// 1.2 and 1.3.
    Tls13,
}

/// What a device needs to talk to the hosts that it trusts.
///
/// `certificate` is the device's, PEM, as the host made it when pairing; `private_key` the device's own, PEM or DER;
/// `hosts` the certificates (PEM) that were stored when pairing.
///
/// # Errors
/// [`BadRecord`] when something cannot be read, or the key does not belong to the certificate.
pub fn server_config(
    certificate: &[u8],
    private_key: &[u8],
    hosts: &TrustedHost,
    newest: Newest,
) -> Result<Arc<ServerConfig>, BadRecord> {
    let certificate = certs::certificate("DeviceCertificate", certificate)?;
    let device = certified("the device's private key", certificate, private_key)?;
    let versions: &[_] = match newest {
        Newest::Tls12 => &[&rustls::version::TLS12],
        Newest::Tls13 => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("the provider supports both versions")
        .with_client_cert_verifier(Arc::new(hosts.clone()))
        .with_cert_resolver(Arc::new(DeviceCertificate(device)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // A ticket sent after the handshake could meet a client that has gone back to plain text.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Joins a certificate and its key, after comparing them. rustls' own comparison cannot read every certificate that
/// hosts have made.
fn certified(
    key_name: &'static str,
    certificate: CertificateDer<'static>,
    key: &[u8],
) -> Result<Arc<CertifiedKey>, BadRecord> {
    let unreadable = |why: String| BadRecord::Unreadable { key: key_name, why };
    let key = provider()
        .key_provider
        .load_private_key(certs::private_key(key_name, key)?)
        .map_err(|_| unreadable("it is no RSA private key".to_owned()))?;
    let of_certificate = DeviceKey::of_certificate(&certificate).map_err(unreadable)?;
    let belongs = key.public_key().is_none_or(|spki| {
        x509_parser::x509::SubjectPublicKeyInfo::from_der(&spki)
            .is_ok_and(|(_, spki)| *spki.subject_public_key.data == *of_certificate.pkcs1_der())
    });
    if belongs { Ok(Arc::new(CertifiedKey::new(vec![certificate], key))) } else { Err(BadRecord::KeysDiffer) }
}

/// Presents the host's certificate whatever the device hints at: its hints are empty names.
#[derive(Debug)]
struct HostCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for HostCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct DeviceCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for DeviceCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// The one device that may answer.
#[derive(Debug)]
struct PinnedDevice(DeviceKey);

impl ServerCertVerifier for PinnedDevice {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match DeviceKey::of_certificate(presented) {
            Ok(key) if key == self.0 => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_handshake(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_handshake(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

/// What a device stored of a host when pairing.
#[derive(Debug, Clone)]
pub struct TrustedHost {
    certificates: Vec<CertificateDer<'static>>,
    root_key: Option<Vec<u8>>,
}

impl TrustedHost {
    /// From the certificates (PEM) of the host's Pair request.
    ///
    /// # Errors
    /// [`BadRecord::Unreadable`].
    pub fn new(host_certificate: &[u8], root_certificate: Option<&[u8]>) -> Result<Self, BadRecord> {
        let mut certificates = vec![certs::certificate("HostCertificate", host_certificate)?];
        let mut root_key = None;
        if let Some(root) = root_certificate {
            let root = certs::certificate("RootCertificate", root)?;
            let key = DeviceKey::of_certificate(&root)
                .map_err(|why| BadRecord::Unreadable { key: "RootCertificate", why })?;
            root_key = Some(key.pkcs1_der().to_vec());
            certificates.push(root);
        }
        Ok(Self { certificates, root_key })
    }

    fn accepts(&self, presented: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|stored| stored == presented)
            || self.root_key.as_ref().is_some_and(|root| is_signed_by(presented, root))
    }
}

impl ClientCertVerifier for TrustedHost {
    /// Empty on purpose: clients choose among several certificates by it, and ours all have the same empty name.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        presented: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.accepts(presented) {
            Ok(ClientCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_handshake(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_handshake(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

/// Whether the other side holds the private half of the key in its certificate.
fn verify_handshake(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let algorithm: &dyn signature::VerificationAlgorithm = match signed.scheme {
        SignatureScheme::RSA_PSS_SHA256 => &signature::RSA_PSS_2048_8192_SHA256,
        SignatureScheme::RSA_PSS_SHA384 => &signature::RSA_PSS_2048_8192_SHA384,
        SignatureScheme::RSA_PSS_SHA512 => &signature::RSA_PSS_2048_8192_SHA512,
        SignatureScheme::RSA_PKCS1_SHA256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        SignatureScheme::RSA_PKCS1_SHA384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        SignatureScheme::RSA_PKCS1_SHA512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        _ => return Err(CertificateError::BadSignature.into()),
    };
    DeviceKey::of_certificate(certificate)
        .ok()
        .and_then(|key| {
            UnparsedPublicKey::new(algorithm, key.pkcs1_der()).verify(message, signed.signature()).ok()
        })
        .map(|()| HandshakeSignatureValid::assertion())
        .ok_or_else(|| CertificateError::BadSignature.into())
}

/// Whether a certificate was signed with the private half of `root` (PKCS#1 DER), with SHA-256 or SHA-1.
pub(super) fn is_signed_by(certificate: &CertificateDer<'_>, root: &[u8]) -> bool {
    const SHA256_WITH_RSA: &str = "1.2.840.113549.1.1.11";
    const SHA1_WITH_RSA: &str = "1.2.840.113549.1.1.5";
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    let algorithm: &dyn signature::VerificationAlgorithm =
        match parsed.signature_algorithm.algorithm.to_id_string().as_str() {
            SHA256_WITH_RSA => &signature::RSA_PKCS1_2048_8192_SHA256,
            SHA1_WITH_RSA => &signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            _ => return false,
        };
    UnparsedPublicKey::new(algorithm, root)
        .verify(parsed.tbs_certificate.as_ref(), &parsed.signature_value.data)
        .is_ok()
}

#[cfg(test)]
mod tests;
