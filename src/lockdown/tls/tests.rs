//! Both sides of TLS against each other: the right device, an impostor, a stranger, and records of other hosts.

use rcgen::KeyPair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::lockdown::certs::{HostKeys, new_record, rsa_key};

struct Paired {
    device: KeyPair,
    record: PairRecord,
}

fn paired() -> Paired {
    let device = rsa_key();
    let record = new_record(&HostKeys::generate(), &DeviceKey::of_pair(&device), "HOST", "BUID").unwrap();
    Paired { device, record }
}

impl Paired {
    fn server(&self, newest: Newest) -> Arc<ServerConfig> {
        let host = TrustedHost::new(self.record.host_certificate(), self.record.root_certificate()).unwrap();
        let key = self.device.serialize_pem();
        server_config(self.record.device_certificate(), key.as_bytes(), &host, newest).unwrap()
    }
}

/// Both sides shake hands and the device sends five bytes; what each side made of it.
async fn meet(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> (Result<(), Error>, bool) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let device = tokio::spawn(async move {
        let mut stream = TlsAcceptor::from(server).accept(theirs).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await
    });
    let host = async {
        let mut stream = connect(Box::new(ours), &client).await?;
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await.map_err(Error::Tls)?;
        assert_eq!(&greeting, b"hello");
        Ok(())
    };
    let host = host.await;
    (host, device.await.unwrap().is_ok())
}

#[tokio::test]
async fn the_paired_device_is_reached_over_both_versions() {
    let paired = paired();
    for newest in [Newest::Tls12, Newest::Tls13] {
        let (host, device) = meet(client_config(&paired.record).unwrap(), paired.server(newest)).await;
        host.unwrap();
        assert!(device, "{newest:?}");
    }
}

#[tokio::test]
async fn another_device_is_a_key_mismatch_on_both_versions() {
    let (paired, impostor) = (paired(), paired());
    for newest in [Newest::Tls12, Newest::Tls13] {
        let (host, _) = meet(client_config(&paired.record).unwrap(), impostor.server(newest)).await;
        assert!(matches!(host, Err(Error::KeyMismatch)), "{host:?}");
    }
}

/// Has the right certificate, and signs with another key.
#[tokio::test]
async fn a_stolen_certificate_without_its_key_is_a_key_mismatch() {
    let paired = paired();
    let other = provider()
        .key_provider
        .load_private_key(certs::private_key("key", rsa_key().serialize_pem().as_bytes()).unwrap())
        .unwrap();
    let stolen = certs::certificate("DeviceCertificate", paired.record.device_certificate()).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(DeviceCertificate(Arc::new(CertifiedKey::new(vec![stolen], other)))));
    let (host, _) = meet(client_config(&paired.record).unwrap(), Arc::new(config)).await;
    assert!(matches!(host, Err(Error::KeyMismatch)), "{host:?}");
}

#[tokio::test]
async fn a_host_that_was_not_paired_is_turned_away() {
    let paired = paired();
    // The stranger knows the device's key, and has certificates of its own.
    let record =
        new_record(&HostKeys::generate(), &DeviceKey::of_pair(&paired.device), "HOST", "BUID").unwrap();
    let (_, device) = meet(client_config(&record).unwrap(), paired.server(Newest::Tls12)).await;
    assert!(!device);
}

#[test]
fn the_root_itself_and_what_it_signed_are_accepted_and_nothing_else() {
    let (ours, other) = (paired(), paired());
    let host = TrustedHost::new(ours.record.host_certificate(), ours.record.root_certificate()).unwrap();
    let cert = |bytes: &[u8]| certs::certificate("any", bytes).unwrap();
    assert!(host.accepts(&cert(ours.record.host_certificate())));
    assert!(host.accepts(&cert(ours.record.root_certificate().unwrap())));
    assert!(!host.accepts(&cert(other.record.host_certificate())));
    assert!(!host.accepts(&cert(other.record.root_certificate().unwrap())));
    assert!(!host.accepts(&CertificateDer::from(vec![0x30, 0x82, 0, 0])));
}

#[test]
fn keys_that_do_not_belong_together_are_found_before_anything_is_sent() {
    let (mut ours, other) = (paired().record, paired().record);
    ours.insert("HostPrivateKey", plist::Value::Data(other.host_private_key().to_vec()));
    assert!(matches!(client_config(&ours), Err(BadRecord::KeysDiffer)));
    ours.insert("HostPrivateKey", plist::Value::Data(b"-----BEGIN PRIVATE KEY-----".to_vec()));
    let error = client_config(&ours).unwrap_err();
    assert!(matches!(error, BadRecord::Unreadable { key: "HostPrivateKey", .. }));
    ours.insert("DeviceCertificate", plist::Value::Data(vec![0x30, 0x82, 1]));
    assert!(matches!(client_config(&ours), Err(BadRecord::Unreadable { key: "DeviceCertificate", .. })));
}

/// As libimobiledevice makes them: signed with SHA-1, serial number 0, PKCS#1 keys.
fn libimobiledevices() -> (PairRecord, Arc<ServerConfig>) {
    let record = include_bytes!("../../../tests/fixtures/pair-record-libimobiledevice.plist");
    let key = include_bytes!("../../../tests/fixtures/pair-record-libimobiledevice.device-key.pem");
    let record = PairRecord::from_plist(record).unwrap();
    let host = TrustedHost::new(record.host_certificate(), record.root_certificate()).unwrap();
    let server = server_config(record.device_certificate(), key, &host, Newest::Tls12).unwrap();
    (record, server)
}

#[tokio::test]
async fn a_record_made_by_libimobiledevice_works() {
    let (record, server) = libimobiledevices();
    let (host, device) = meet(client_config(&record).unwrap(), server).await;
    host.unwrap();
    assert!(device);
}

#[tokio::test]
async fn a_host_may_present_the_root_certificate_itself() {
    let (record, server) = libimobiledevices();
    let dict = plist::Value::from_reader(std::io::Cursor::new(record.to_plist())).unwrap();
    let root_key = dict.as_dictionary().unwrap().get("RootPrivateKey").unwrap().as_data().unwrap().to_vec();
    let mut as_root = record.clone();
    as_root.insert("HostCertificate", plist::Value::Data(record.root_certificate().unwrap().to_vec()));
    as_root.insert("HostPrivateKey", plist::Value::Data(root_key));
    let (host, device) = meet(client_config(&as_root).unwrap(), server).await;
    host.unwrap();
    assert!(device);
}
