//! Becoming trusted, against the simulated phone: each way it can go, and what is kept of it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use idevice_fix::facts::Reach;
use idevice_fix::frame::{self, DictExt, Encoding, Limits};
use idevice_fix::lockdown::certs::{DeviceKey, HostKeys, new_record, rsa_key};
use idevice_fix::lockdown::pairing::{self, Attempt, NotReached, Obstacle};
use idevice_fix::lockdown::{self, PairRecord, Phone};
use idevice_fix::progress::{CancellationToken, Event, Observer, Silent, Touch};
use idevice_fix::sim::{self, Bus, Device, Rerouted};
use idevice_fix::usbmux::client::Usbmuxd;
use idevice_fix::usbmux::server::Listener;
use idevice_fix::usbmux::{Address, Muxer, Stream, Udid};
use idevice_fix::visit::reach;
use plist::Value;

/// Long enough for everything that comes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// For what does not come.
const A_MOMENT: Duration = Duration::from_millis(1200);

/// A simulated phone's folder, and the phone on a bus.
struct Bench {
    folder: tempfile::TempDir,
    bus: Arc<Bus>,
}

impl Bench {
    fn with(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_settings(folder.path(), settings);
        let device = Device::open(folder.path(), false).unwrap();
        Self { folder, bus: Arc::new(Bus::new(vec![device])) }
    }

    /// The phone changes its mind.
    async fn becomes(&self, settings: &str) {
        write_settings(self.folder.path(), settings);
        // The file is looked at no more often than every hundredth of a second.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }

    async fn phone(&self) -> Phone {
        let muxer: Arc<dyn Muxer> = self.bus.clone();
        let attached = muxer.devices().await.unwrap().remove(0);
        Phone { muxer, attached }
    }

    async fn kept(&self) -> Option<Vec<u8>> {
        let phone = self.phone().await;
        self.bus.pair_record(&phone.attached.udid).await.unwrap()
    }
}

fn write_settings(folder: &Path, settings: &str) {
    // Written beside and renamed, so that the phone never reads half of it.
    let beside = folder.join("beside");
    std::fs::write(&beside, settings).unwrap();
    std::fs::rename(&beside, folder.join("device.toml")).unwrap();
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Heard {
    /// Who was called for what, and what they did.
    fn touches(&self) -> Vec<(&'static str, Touch)> {
        let events = self.0.lock().unwrap();
        let touch = |event: &Event| match event {
            Event::PersonNeeded { touch, .. } => Some(("needed", *touch)),
            Event::PersonDone { touch } => Some(("done", *touch)),
            _ => None,
        };
        events.iter().filter_map(touch).collect()
    }
}

async fn establish(phone: &Phone, wait: Duration) -> Result<lockdown::Session, NotReached> {
    pairing::establish(phone, wait, &Silent, &CancellationToken::new()).await
}

async fn obstacle(phone: &Phone, wait: Duration) -> Obstacle {
    match establish(phone, wait).await {
        Err(NotReached::Obstacle(obstacle)) => obstacle,
        other => panic!("{other:?}"),
    }
}

async fn works(session: &lockdown::Session) {
    let name = session.value(None, Some("DeviceName")).await.unwrap();
    assert!(name.as_string().is_some());
}

#[tokio::test]
async fn a_phone_is_asked_once_and_then_opened_without_asking() {
    let bench = Bench::with("");
    let phone = bench.phone().await;
    let Attempt::Not(Obstacle::NotTrusted) = pairing::attempt(&phone).await.unwrap() else {
        panic!("nobody has paired yet")
    };
    let heard = Heard::default();
    let session = pairing::establish(&phone, PATIENCE, &heard, &CancellationToken::new()).await.unwrap();
    works(&session).await;
    assert_eq!(heard.touches(), [("needed", Touch::Trust), ("done", Touch::Trust)]);

    let kept = bench.kept().await.unwrap();
    let record = PairRecord::from_plist(&kept).unwrap();
    assert!(record.escrow_bag().is_some());
    let dict = Value::from_reader(std::io::Cursor::new(&kept)).unwrap().into_dictionary().unwrap();
    for key in ["RootCertificate", "RootPrivateKey", "HostPrivateKey", "EscrowBag"] {
        assert!(dict.data(key).is_some(), "{key}: other tools need it");
    }
    assert!(dict.string("WiFiMACAddress").is_some());

    let heard = Heard::default();
    let again = pairing::establish(&phone, PATIENCE, &heard, &CancellationToken::new()).await.unwrap();
    works(&again).await;
    assert_eq!(heard.touches(), []);
    assert!(matches!(pairing::attempt(&phone).await.unwrap(), Attempt::Trusted(_)));
    assert_eq!(bench.kept().await.unwrap(), kept);
}

#[tokio::test]
async fn a_question_that_nobody_answers_is_pending_and_leaves_nothing_behind() {
    let bench = Bench::with("[trust]\nstate = \"pending\"");
    let phone = bench.phone().await;
    let began = Instant::now();
    assert_eq!(obstacle(&phone, A_MOMENT).await, Obstacle::Pending);
    assert!(began.elapsed() >= A_MOMENT);
    assert_eq!(bench.kept().await, None);
}

#[tokio::test]
async fn dont_trust_is_denied_at_once() {
    let bench = Bench::with("[trust]\nstate = \"denied\"");
    let began = Instant::now();
    assert_eq!(obstacle(&bench.phone().await, PATIENCE).await, Obstacle::Denied);
    assert!(began.elapsed() < PATIENCE / 2);
    assert_eq!(bench.kept().await, None);
}

#[tokio::test]
async fn a_supervised_phone_says_so() {
    let bench = Bench::with("[trust]\nstate = \"supervised\"");
    assert_eq!(obstacle(&bench.phone().await, PATIENCE).await, Obstacle::Supervised);
}

#[tokio::test]
async fn a_locked_phone_is_waited_for_and_goes_on_by_itself() {
    let bench = Bench::with("[lock]\nstate = \"locked\"\n[person]\nunlocks_after_ms = 2500");
    let heard = Heard::default();
    let phone = bench.phone().await;
    let session = pairing::establish(&phone, PATIENCE, &heard, &CancellationToken::new()).await.unwrap();
    works(&session).await;
    let touches = heard.touches();
    assert_eq!(touches[..2], [("needed", Touch::Unlock), ("done", Touch::Unlock)]);
}

#[tokio::test]
async fn a_phone_that_stays_locked_is_said_to_be_locked() {
    let bench = Bench::with("[lock]\nstate = \"locked\"\n[person]\nunlocks_after_ms = 0");
    assert_eq!(obstacle(&bench.phone().await, A_MOMENT).await, Obstacle::Locked);
    assert_eq!(obstacle(&bench.phone().await, Duration::ZERO).await, Obstacle::Locked);
}

#[tokio::test]
async fn a_phone_that_forgot_us_is_asked_again_and_only_its_yes_replaces_the_record() {
    let bench = Bench::with("");
    let phone = bench.phone().await;
    works(&establish(&phone, PATIENCE).await.unwrap()).await;
    let first = bench.kept().await.unwrap();

    bench.becomes("[trust]\nstate = \"stale\"\n[person]\ntrusts_after_ms = 0").await;
    assert!(matches!(pairing::attempt(&phone).await.unwrap(), Attempt::Not(Obstacle::Stale)));
    assert_eq!(obstacle(&phone, A_MOMENT).await, Obstacle::Pending);
    assert_eq!(bench.kept().await.unwrap(), first, "nobody has agreed yet");

    bench.becomes("[trust]\nstate = \"stale\"\n[person]\ntrusts_after_ms = 100").await;
    works(&establish(&phone, PATIENCE).await.unwrap()).await;
    assert_ne!(bench.kept().await.unwrap(), first);
}

#[tokio::test]
async fn a_phone_that_forgot_us_and_shows_another_key_is_not_asked_and_the_record_kept() {
    let bench = Bench::with("");
    works(&establish(&bench.phone().await, PATIENCE).await.unwrap()).await;
    let kept = bench.kept().await.unwrap();
    // Another phone, under the id of the first.
    let other = Bench::with("");
    let phone = other.phone().await;
    other.bus.save_pair_record(&phone.attached.udid, None, &kept).await.unwrap();
    assert!(matches!(pairing::attempt(&phone).await.unwrap(), Attempt::Not(Obstacle::KeyChanged)));
    let heard = Heard::default();
    let outcome = pairing::establish(&phone, PATIENCE, &heard, &CancellationToken::new()).await;
    assert!(matches!(outcome, Err(NotReached::Obstacle(Obstacle::KeyChanged))), "{outcome:?}");
    assert!(heard.touches().is_empty(), "the phone was asked");
    // The person is told, and must act: exit status 4.
    let muxer: Arc<dyn Muxer> = Arc::clone(&phone.muxer);
    let told =
        reach::session(&muxer, phone.attached.clone(), PATIENCE, &Silent, &CancellationToken::new()).await;
    let unreached = told.unwrap_err();
    assert_eq!(unreached.reach, Some(Reach::KeyChanged));
    assert_eq!(unreached.stop.trouble.exit_status(), 4);
    assert!(unreached.stop.cause.contains("another key"), "{}", unreached.stop.cause);
    assert_eq!(other.kept().await.unwrap(), kept);
    // Who knows better deletes the record.
    other.bus.delete_pair_record(&phone.attached.udid).await.unwrap();
    works(&establish(&phone, PATIENCE).await.unwrap()).await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_replaced_after_a_yes() {
    let bench = Bench::with("");
    let phone = bench.phone().await;
    bench.bus.save_pair_record(&phone.attached.udid, None, b"<plist><dict/></plist>").await.unwrap();
    let attempt = pairing::attempt(&phone).await.unwrap();
    assert!(matches!(attempt, Attempt::Not(Obstacle::UnusableRecord(_))), "{attempt:?}");
    works(&establish(&phone, PATIENCE).await.unwrap()).await;
    assert!(matches!(pairing::attempt(&phone).await.unwrap(), Attempt::Trusted(_)));
}

#[tokio::test]
async fn another_key_than_the_paired_one_is_refused_and_the_record_kept() {
    let bench = Bench::with("");
    let phone = bench.phone().await;
    works(&establish(&phone, PATIENCE).await.unwrap()).await;
    let kept = bench.kept().await.unwrap();
    // The record of a pairing with another phone, under the host id that this one knows.
    let record = PairRecord::from_plist(&kept).unwrap();
    let other = DeviceKey::of_pair(&rsa_key());
    let forged = new_record(&HostKeys::generate(), &other, record.host_id(), record.system_buid()).unwrap();
    let mut dict = Value::from_reader(std::io::Cursor::new(&kept)).unwrap().into_dictionary().unwrap();
    dict.insert("DeviceCertificate".into(), Value::Data(forged.device_certificate().to_vec()));
    let mixed = frame::to_xml(&Value::Dictionary(dict));
    bench.bus.save_pair_record(&phone.attached.udid, None, &mixed).await.unwrap();

    assert!(matches!(pairing::attempt(&phone).await.unwrap(), Attempt::Not(Obstacle::KeyMismatch)));
    assert_eq!(obstacle(&phone, PATIENCE).await, Obstacle::KeyMismatch);
    assert_eq!(bench.kept().await.unwrap(), mixed);
}

#[tokio::test]
async fn a_phone_that_is_not_the_one_the_muxer_named_is_an_error_and_nothing_is_saved() {
    let bench = Bench::with("");
    let mut phone = bench.phone().await;
    phone.attached.udid = Udid::parse("00008101-00AAAAAAAAAAAAAA").unwrap();
    let outcome = establish(&phone, PATIENCE).await;
    assert!(matches!(outcome, Err(NotReached::Failed(lockdown::Error::OtherDevice))), "{outcome:?}");
    assert_eq!(bench.bus.pair_record(&phone.attached.udid).await.unwrap(), None);
}

#[tokio::test]
async fn waiting_can_be_interrupted() {
    let bench = Bench::with("[trust]\nstate = \"pending\"");
    let (phone, cancel) = (bench.phone().await, CancellationToken::new());
    let stop = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        stop.cancel();
    });
    let began = Instant::now();
    let outcome = pairing::establish(&phone, PATIENCE, &Silent, &cancel).await;
    assert!(matches!(outcome, Err(NotReached::Cancelled)));
    assert!(began.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn a_harsh_phone_just_plugged_in_calls_nobody() {
    let bench = Bench::with("temper = \"harsh\"");
    let phone = bench.phone().await;
    let heard = Heard::default();
    let session = pairing::establish(&phone, PATIENCE, &heard, &CancellationToken::new()).await.unwrap();
    works(&session).await;
    assert!(heard.touches().iter().all(|(_, touch)| *touch == Touch::Trust), "{:?}", heard.touches());
}

#[tokio::test]
async fn through_a_socket_as_well_and_a_session_outlives_its_connection() {
    let bench = Bench::with("");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mux");
    let listener = Listener::unix(&path, 0o600).unwrap();
    let stop = CancellationToken::new();
    let served = tokio::spawn(sim::run((*bench.bus).clone(), vec![listener], stop.clone()));
    let muxer: Arc<dyn Muxer> = Arc::new(Usbmuxd::at(Address::Unix(path)));
    let attached = muxer.devices().await.unwrap().remove(0);
    let phone = Phone { muxer, attached };
    let session = establish(&phone, PATIENCE).await.unwrap();
    works(&session).await;
    // A request that is given up leaves its answer on the wire: the next one must not take it for its own.
    tokio::select! {
        biased;
        answer = session.value(None, None) => panic!("nothing answers that fast: {answer:?}"),
        () = std::future::ready(()) => {}
    }
    works(&session).await;
    stop.cancel();
    served.await.unwrap();
}

/// A muxer that keeps what the host sends to lockdown before it is encrypted.
fn eavesdropper(bus: Bus, sent: Arc<Mutex<Vec<u8>>>) -> impl Muxer {
    Rerouted::new(bus, move |bus, device, port| {
        let sent = Arc::clone(&sent);
        async move {
            let phone = bus.connect(device, port).await?;
            let (host, middle) = tokio::io::duplex(1 << 20);
            tokio::spawn(async move {
                let (mut from_phone, mut to_phone) = tokio::io::split(phone);
                let (mut from_host, mut to_host) = tokio::io::split(middle);
                let up = async {
                    while let Ok(asked) = frame::read(&mut from_host, &Limits::LOCKDOWN).await {
                        keep(&asked, &mut sent.lock().unwrap());
                        frame::write(&mut to_phone, &asked, Encoding::Xml).await.unwrap();
                    }
                };
                tokio::join!(up, tokio::io::copy(&mut from_phone, &mut to_host))
            });
            Ok(Box::new(host) as Stream)
        }
    })
}

/// Keeps a request as text, and what stands encoded in its pair record as it is.
fn keep(asked: &Value, sent: &mut Vec<u8>) {
    sent.extend(frame::to_xml(asked));
    let asked_for = asked.as_dictionary().unwrap();
    for data in asked_for.dict("PairRecord").into_iter().flat_map(|record| record.values()) {
        sent.extend(data.as_data().unwrap_or_default());
    }
}

#[tokio::test]
async fn no_private_key_leaves_the_host_and_the_phone_sees_one_host_however_often_it_is_asked() {
    let bench = Bench::with("[trust]\nstate = \"pending\"");
    let sent = Arc::new(Mutex::new(Vec::new()));
    let muxer = Arc::new(eavesdropper((*bench.bus).clone(), sent.clone()));
    let phone = Phone { muxer, attached: bench.phone().await.attached };
    let text = || String::from_utf8_lossy(&sent.lock().unwrap()).into_owned();
    let asked_often = async {
        while text().matches("<string>Pair</string>").count() < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = asked_often => {}
        outcome = establish(&phone, PATIENCE) => panic!("{outcome:?}"),
    }
    let sent = text();
    assert!(sent.contains("BEGIN CERTIFICATE"), "the eavesdropper sees what is sent");
    assert!(!sent.contains("PRIVATE"));
    let host_ids: std::collections::BTreeSet<&str> = sent
        .split("<key>HostID</key>")
        .skip(1)
        .map(|rest| rest.trim_start().split('<').nth(1).unwrap())
        .collect();
    assert_eq!(host_ids.len(), 1, "{host_ids:?}");
}
