//! Who says that it is the paired phone and cannot show it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use plist::Dictionary;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::frame::{self, DictExt, Encoding, Limits};
use crate::lockdown::certs::rsa_key;
use crate::lockdown::tls::{self, Newest, TrustedHost};
use crate::progress::Silent;
use crate::usbmux::{self, Attached, DeviceId, Muxer, Stream};

const UDID: &str = "00008101-000000000000001E";

/// Has the phone's id and public key, which it tells everybody, and not its private key. Agrees to everything.
#[derive(Debug)]
struct Impostor {
    public_key: Vec<u8>,
    tls: Arc<rustls::ServerConfig>,
    record: Mutex<Option<Vec<u8>>>,
    /// It does not tell its key when it is asked for the first time.
    is_shy: Arc<AtomicBool>,
}

#[async_trait]
impl Muxer for Impostor {
    async fn devices(&self) -> Result<Vec<Attached>, usbmux::Error> {
        Ok(Vec::new())
    }

    async fn listen(&self) -> Result<mpsc::Receiver<usbmux::Event>, usbmux::Error> {
        Err(usbmux::Error::NoSuchDevice)
    }

    async fn connect(&self, _device: DeviceId, _port: u16) -> Result<Stream, usbmux::Error> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let is_shy = Arc::clone(&self.is_shy);
        tokio::spawn(answer(theirs, self.public_key.clone(), Arc::clone(&self.tls), is_shy));
        Ok(Box::new(ours))
    }

    async fn buid(&self) -> Result<String, usbmux::Error> {
        Ok("BUID".to_owned())
    }

    async fn pair_record(&self, _udid: &Udid) -> Result<Option<Vec<u8>>, usbmux::Error> {
        Ok(self.record.lock().unwrap().clone())
    }

    async fn save_pair_record(
        &self,
        _udid: &Udid,
        _device: Option<DeviceId>,
        record: &[u8],
    ) -> Result<(), usbmux::Error> {
        *self.record.lock().unwrap() = Some(record.to_vec());
        Ok(())
    }

    async fn delete_pair_record(&self, _udid: &Udid) -> Result<(), usbmux::Error> {
        *self.record.lock().unwrap() = None;
        Ok(())
    }
}

async fn answer(
    mut stream: tokio::io::DuplexStream,
    public_key: Vec<u8>,
    tls: Arc<rustls::ServerConfig>,
    is_shy: Arc<AtomicBool>,
) {
    while let Ok(asked) = frame::read(&mut stream, &Limits::LOCKDOWN).await {
        let asked = asked.into_dictionary().unwrap();
        let request = asked.string("Request").unwrap();
        let mut reply = message::reply(request);
        let encrypted = request == "StartSession" && asked.string("HostID") != Some("OLD");
        match (request, asked.string("Key")) {
            ("QueryType", _) => drop(reply.insert("Type".into(), message::TYPE.into())),
            ("GetValue", Some("UniqueDeviceID")) => drop(reply.insert("Value".into(), UDID.into())),
            ("GetValue", Some("DevicePublicKey")) if is_shy.swap(false, Ordering::Relaxed) => {
                reply = message::refused(request, &Refusal::MissingValue);
            }
            ("GetValue", Some("DevicePublicKey")) => {
                reply.insert("Value".into(), Value::Data(public_key.clone()));
            }
            ("Pair", _) => drop(reply.insert("EscrowBag".into(), Value::Data(vec![1; 32]))),
            ("StartSession", _) if encrypted => drop(reply.insert("EnableSessionSSL".into(), true.into())),
            ("StartSession", _) => reply = message::refused(request, &Refusal::InvalidHostId),
            _ => reply = message::refused(request, &Refusal::MissingValue),
        }
        let reply: Dictionary = reply;
        frame::write(&mut stream, &Value::Dictionary(reply), Encoding::Xml).await.unwrap();
        if encrypted {
            let _ = TlsAcceptor::from(tls).accept(stream).await;
            return;
        }
    }
}

/// An impostor with a key of its own, and the record of the phone that it plays.
fn impostor(kept: bool) -> (Arc<Impostor>, Vec<u8>) {
    impostor_who(kept, false)
}

/// One who is honest about its key names its own, after a first refusal.
fn impostor_who(kept: bool, is_honest: bool) -> (Arc<Impostor>, Vec<u8>) {
    let phone_key = DeviceKey::of_pair(&rsa_key());
    let record = new_record(&HostKeys::generate(), &phone_key, "OLD", "BUID").unwrap().to_plist();
    let other = rsa_key();
    let own = new_record(&HostKeys::generate(), &DeviceKey::of_pair(&other), "X", "BUID").unwrap();
    let anybody = TrustedHost::new(own.host_certificate(), None).unwrap();
    let key = other.serialize_pem();
    let tls = tls::server_config(own.device_certificate(), key.as_bytes(), &anybody, Newest::Tls12).unwrap();
    let stored = Mutex::new(kept.then(|| record.clone()));
    let public_key = if is_honest { DeviceKey::of_pair(&other) } else { phone_key }.to_pem();
    let is_shy = Arc::new(AtomicBool::new(is_honest));
    (Arc::new(Impostor { public_key, tls, record: stored, is_shy }), record)
}

async fn met(impostor: &Arc<Impostor>) -> Result<Session, NotReached> {
    let attached = Attached {
        id: DeviceId(1),
        udid: Udid::parse(UDID).unwrap(),
        product_id: 0x12a8,
        location_id: 0,
        speed_bps: 0,
    };
    let phone = Phone { muxer: Arc::clone(impostor) as Arc<dyn Muxer>, attached };
    establish(&phone, Duration::ZERO, &Silent, &CancellationToken::new()).await
}

#[tokio::test]
async fn who_does_not_hold_the_key_that_it_names_takes_no_place_of_an_earlier_pairing() {
    let (impostor, record) = impostor(true);
    let met = met(&impostor).await;
    assert!(matches!(met, Err(NotReached::Obstacle(Obstacle::KeyMismatch))), "{met:?}");
    assert!(impostor.record.lock().unwrap().as_ref() == Some(&record), "the earlier record was replaced");
}

#[tokio::test]
async fn nothing_is_kept_of_who_does_not_hold_the_key_that_it_names() {
    let (impostor, _) = impostor(false);
    let met = met(&impostor).await;
    assert!(matches!(met, Err(NotReached::Obstacle(Obstacle::KeyMismatch))), "{met:?}");
    assert!(impostor.record.lock().unwrap().is_none());
}

#[tokio::test]
async fn another_key_that_is_told_only_with_the_question_takes_no_place_of_an_earlier_pairing() {
    let (impostor, record) = impostor_who(true, true);
    let met = met(&impostor).await;
    assert!(matches!(met, Err(NotReached::Obstacle(Obstacle::KeyChanged))), "{met:?}");
    assert!(impostor.record.lock().unwrap().as_ref() == Some(&record), "the earlier record was replaced");
    assert!(!impostor.is_shy.load(Ordering::Relaxed), "it was not asked");
}
