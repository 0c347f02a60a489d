//! Certificates and keys of pair records, and pictures: what is looked into without being believed.

use idevice_fix::fuzzed;
use idevice_fix::lockdown::certs::{DeviceKey, certificate, key_from_pem, private_key};

/// PEM or DER, of anybody.
pub(crate) fn certificates(bytes: &[u8]) {
    let _ = DeviceKey::from_pem(bytes).map(|key| key.to_pem());
    if let Ok(found) = certificate("DeviceCertificate", bytes) {
        let _ = DeviceKey::of_certificate(&found).map(|key| key.pkcs1_der().len());
    }
    let _ = private_key("HostPrivateKey", bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = key_from_pem(text);
    }
}

/// Texts around nothing much, and the beginning of a certificate.
pub(crate) fn certificate_seeds() -> Vec<Vec<u8>> {
    let pem =
        |what: &str| format!("-----BEGIN {what}-----\nMAoCAwEAAQIDAQAB\n-----END {what}-----\n").into_bytes();
    let der = vec![0x30, 0x82, 0, 9, 0x30, 0x82, 0, 5, 2, 3, 1, 0, 1];
    vec![pem("RSA PUBLIC KEY"), pem("CERTIFICATE"), pem("RSA PRIVATE KEY"), der]
}

/// Containers of pictures and clips, and the orientation inside them.
pub(crate) fn pictures(bytes: &[u8]) {
    for name in ["a.HEIC", "a.txt"] {
        let _ = fuzzed::is_whole(bytes, name);
    }
    fuzzed::upright(bytes);
}

/// The smallest of each kind.
pub(crate) fn picture_seeds() -> Vec<Vec<u8>> {
    let boxed = |kind: &[u8; 4], content: &[u8]| {
        let length = u32::try_from(content.len() + 8).expect("short");
        [&length.to_be_bytes(), &kind[..], content].concat()
    };
    let movie = boxed(
        b"moov",
        &boxed(b"trak", &boxed(b"mdia", &boxed(b"minf", &boxed(b"stbl", &boxed(b"stco", &[0; 12]))))),
    );
    let place = boxed(b"iloc", &[0, 0, 0, 0, 0x44, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4]);
    vec![
        vec![0xFF, 0xD8, 0xFF, 0xDA, 0, 2, 1, 2, 0xFF, 0xD9],
        [boxed(b"ftyp", b"qt  \0\0\0\0"), movie, boxed(b"mdat", b"data")].concat(),
        [
            boxed(b"ftyp", b"heic\0\0\0\0"),
            boxed(b"meta", &[&[0; 4][..], &place].concat()),
            boxed(b"mdat", b"data"),
        ]
        .concat(),
        b"\x89PNG\r\n\x1a\n\0\0\0\0IEND\xAE\x42\x60\x82".to_vec(),
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec(),
        b"RIFF\x04\0\0\0WEBP".to_vec(),
        b"GIF89a;".to_vec(),
        b"<?xml version=\"1.0\"?><plist><dict/></plist>".to_vec(),
    ]
}
