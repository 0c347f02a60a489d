//! A host of our own against a phone in process: trust in each of its states, sessions, services, locks, restarts.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plist::{Dictionary, Value};

use crate::frame::{self, DictExt, Encoding, Limits};
use crate::lockdown::certs::{self, HostKeys};
use crate::lockdown::connection::Connection;
use crate::lockdown::pairing::{self, Attempt, NotReached, Obstacle};
use crate::lockdown::{Error, Phone, Refusal, Session};
use crate::progress::{CancellationToken, Silent};
use crate::sim::config::Lock;
use crate::sim::healthy::dictionary;
use crate::sim::supervision::testing::Supervisor;
use crate::sim::trust::Answer;
use crate::sim::{AWAY, Bus, Device};
use crate::usbmux::{Event, Muxer};

const QUICK: &str = "[person]\ntrusts_after_ms = 20\nunlocks_after_ms = 20\n";
const SOON: Duration = Duration::from_secs(10);

struct Bench {
    folder: tempfile::TempDir,
    device: Arc<Device>,
    bus: Arc<Bus>,
}

impl Bench {
    fn new(toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::at(folder, toml, false)
    }

    fn at(folder: tempfile::TempDir, toml: &str, keep: bool) -> Self {
        write_toml(folder.path(), toml);
        let device = Device::open(folder.path(), keep).unwrap();
        let bus = Arc::new(Bus::new(vec![Arc::clone(&device)]));
        Self { folder, device, bus }
    }

    async fn phone(&self) -> Phone {
        let attached = self.bus.devices().await.unwrap().remove(0);
        Phone { muxer: Arc::clone(&self.bus) as Arc<dyn Muxer>, attached }
    }

    async fn reach(&self, wait: Duration) -> Result<Session, NotReached> {
        pairing::establish(&self.phone().await, wait, &Silent, &CancellationToken::new()).await
    }

    async fn session(&self) -> Session {
        self.reach(SOON).await.unwrap()
    }

    async fn obstacle(&self) -> Obstacle {
        match self.reach(Duration::from_millis(50)).await {
            Err(NotReached::Obstacle(obstacle)) => obstacle,
            other => panic!("no obstacle: {other:?}"),
        }
    }

    fn now(&self, toml: &str) {
        write_toml(self.folder.path(), toml);
        // The file's stamp is looked at that often.
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn write_toml(folder: &Path, toml: &str) {
    std::fs::write(folder.join("device.toml"), toml).unwrap();
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Refusal {
    result.unwrap_err().refusal().expect("the phone refused").clone()
}

#[tokio::test]
async fn a_phone_that_is_asked_shows_its_dialog_and_is_trusted_then() {
    let bench = Bench::new(QUICK);
    let session = bench.session().await;
    assert_eq!(session.value(None, Some("ProductType")).await.unwrap().as_string(), Some("iPhone13,2"));
    let battery = session.value(Some("com.apple.mobile.battery"), None).await.unwrap();
    assert_eq!(battery.as_dictionary().unwrap().uint("BatteryCurrentCapacity"), Some(80));
    assert_eq!(refusal(session.value(None, Some("Nothing")).await), Refusal::MissingValue);
    let unknown = session.value(Some("com.example"), None).await.unwrap();
    assert!(unknown.as_dictionary().unwrap().is_empty());
    // A second one goes beside the first, without a dialog.
    let Attempt::Trusted(second) = pairing::attempt(&bench.phone().await).await.unwrap() else {
        panic!("the phone has forgotten us");
    };
    second.value(None, None).await.unwrap();
    session.value(None, None).await.unwrap();
}

#[tokio::test]
async fn each_state_of_trust_gives_its_own_answer() {
    for (toml, expected) in [
        ("[trust]\nstate = \"denied\"", Obstacle::Denied),
        ("[trust]\nstate = \"pending\"", Obstacle::Pending),
        ("[trust]\nstate = \"supervised\"", Obstacle::Supervised),
        ("[person]\ntrusts_after_ms = 0", Obstacle::Pending),
        ("[lock]\nstate = \"locked\"\n[person]\nunlocks_after_ms = 0", Obstacle::Locked),
    ] {
        assert_eq!(Bench::new(toml).obstacle().await, expected, "{toml}");
    }
}

#[tokio::test]
async fn a_phone_that_became_stale_does_not_know_the_record_and_pairs_anew() {
    let bench = Bench::new(QUICK);
    drop(bench.session().await);
    bench.now("[person]\ntrusts_after_ms = 20\n[trust]\nstate = \"stale\"");
    let attempt = pairing::attempt(&bench.phone().await).await.unwrap();
    assert!(matches!(attempt, Attempt::Not(Obstacle::Stale)), "{attempt:?}");
    drop(bench.session().await);
    assert!(matches!(pairing::attempt(&bench.phone().await).await.unwrap(), Attempt::Trusted(_)));
}

#[tokio::test]
async fn before_trust_only_the_public_values_are_told() {
    let bench = Bench::new(QUICK);
    let mut connection = Connection::open(&bench.phone().await).await.unwrap();
    let public = connection.value(None, None).await.unwrap().into_dictionary().unwrap();
    assert!(public.data("DevicePublicKey").unwrap().starts_with(b"-----BEGIN RSA PUBLIC KEY-----"));
    assert!(public.contains_key("WiFiAddress") && !public.contains_key("SerialNumber"));
    assert_eq!(refusal(connection.value(None, Some("SerialNumber")).await), Refusal::GetProhibited);
    let battery = connection.value(Some("com.apple.mobile.battery"), None).await;
    assert_eq!(refusal(battery), Refusal::GetProhibited);
    assert_eq!(refusal(connection.start_service("com.apple.afc", None).await), Refusal::SessionInactive);
    assert_eq!(refusal(connection.start_service("com.example", None).await), Refusal::InvalidService);
    let set = connection.set_value(None, "DeviceName", "x".into()).await;
    assert_eq!(refusal(set), Refusal::SetProhibited);
    connection.set_value(None, "UntrustedHostBUID", "x".into()).await.unwrap();
    assert!(connection.start_service("com.apple.mobile.insecure_notification_proxy", None).await.is_ok());
}

#[tokio::test]
async fn a_locked_phone_opens_its_data_to_an_escrow_bag_unless_it_just_started() {
    let bench = Bench::new(QUICK);
    let session = bench.session().await;
    bench.now("[lock]\nstate = \"locked\"\n[person]\nunlocks_after_ms = 0");
    assert_eq!(refusal(session.start_service("com.apple.afc").await), Refusal::PasswordProtected);
    assert!(session.start_service_escrowed("com.apple.afc").await.is_ok());
    assert_eq!(session.value(None, Some("PasswordProtected")).await.unwrap(), Value::Boolean(true));
    bench.now("[lock]\nstate = \"before-first-unlock\"\n[person]\nunlocks_after_ms = 0");
    assert_eq!(refusal(session.start_service_escrowed("com.apple.afc").await), Refusal::EscrowLocked);
    // What needs no data goes on.
    assert!(session.start_service("com.apple.mobile.diagnostics_relay").await.is_ok());
    bench.now("[lock]\nstate = \"before-first-unlock\"\n[person]\nunlocks_after_ms = 20");
    let _ = session.start_service("com.apple.afc").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(session.start_service("com.apple.afc").await.is_ok());
}

#[tokio::test]
async fn every_service_that_is_started_says_what_its_kind_says_also_over_tls() {
    for services in ["none", "all", "by-version"] {
        let bench = Bench::new(&format!("{QUICK}[tls]\nservices = \"{services}\""));
        let session = bench.session().await;
        let mut stream = session.start_service("com.apple.mobile.notification_proxy").await.unwrap();
        let mut shutdown = plist::Dictionary::new();
        shutdown.insert("Command".to_owned(), "Shutdown".into());
        frame::write(&mut stream, &Value::Dictionary(shutdown), Encoding::Xml).await.unwrap();
        let answer = frame::read(&mut stream, &Limits::LOCKDOWN).await.unwrap();
        assert_eq!(answer.as_dictionary().unwrap().string("Command"), Some("ProxyDeath"), "{services}");
    }
}

#[tokio::test]
async fn what_the_file_refuses_is_refused_as_phones_do() {
    let bench = Bench::new(&format!(
        "{QUICK}[refuse]\nlockdown_domains = [\"com.apple.fmip\"]\nservices = [\"com.apple.afc\"]"
    ));
    let session = bench.session().await;
    assert_eq!(refusal(session.value(Some("com.apple.fmip"), None).await), Refusal::GetProhibited);
    assert_eq!(refusal(session.start_service("com.apple.afc").await), Refusal::ServiceProhibited);
    // Real daemons crash at this one.
    let asked = session.value(Some("com.apple.mobile.debug"), None).await;
    assert!(matches!(asked, Err(Error::Wire { .. })), "{asked:?}");
}

#[tokio::test]
async fn an_unplugged_phone_takes_its_connections_along_and_comes_back_as_another() {
    let bench =
        Bench::new(&format!("{QUICK}[[fault]]\nat = \"lockdown\"\nafter_messages = 12\nkind = \"unplug\""));
    let mut events = bench.bus.listen().await.unwrap();
    let Some(Event::Attached(first)) = events.recv().await else { panic!("it is plugged in") };
    let session = bench.session().await;
    let mut stream = session.start_service("com.apple.mobile.heartbeat").await.unwrap();
    frame::read(&mut stream, &Limits::LOCKDOWN).await.unwrap();
    while session.value(None, Some("ProductType")).await.is_ok() {}
    let began = Instant::now();
    assert!(frame::read(&mut stream, &Limits::LOCKDOWN).await.is_err());
    let next = async {
        loop {
            match events.recv().await.expect("the bus is there") {
                Event::Paired(_) => {}
                other => return other,
            }
        }
    };
    assert_eq!(next.await, Event::Detached(first.id));
    assert!(bench.bus.devices().await.unwrap().is_empty());
    let Some(Event::Attached(second)) = events.recv().await else { panic!("it comes back") };
    assert!(began.elapsed() >= AWAY - Duration::from_millis(100));
    assert_ne!(second.id, first.id);
    assert_eq!(second.udid, first.udid);
    drop(bench.session().await);
}

#[tokio::test]
async fn a_harsh_phone_is_not_ready_at_once_and_answers_in_pieces() {
    let bench = Bench::new(&format!("temper = \"harsh\"\n{QUICK}"));
    let mut connection = Connection::open(&bench.phone().await).await.unwrap();
    assert!(connection.value(None, None).await.unwrap().as_dictionary().unwrap().len() > 10);
    let session = bench.session().await;
    assert!(session.start_service("com.apple.afc").await.is_ok());
}

#[tokio::test]
async fn a_phone_that_keeps_remembers_its_key_and_its_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::at(folder, QUICK, true);
    drop(bench.session().await);
    let udid = bench.device.udid().clone();
    let record = bench.bus.pair_record(&udid).await.unwrap().unwrap();
    let Bench { folder, device, bus } = bench;
    drop((device, bus));
    let again = Bench::at(folder, QUICK, true);
    again.bus.save_pair_record(&udid, None, &record).await.unwrap();
    assert!(matches!(pairing::attempt(&again.phone().await).await.unwrap(), Attempt::Trusted(_)));
}

#[tokio::test]
async fn a_phone_that_keeps_nothing_leaves_its_folder_alone() {
    let bench = Bench::new(QUICK);
    drop(bench.session().await);
    let names: Vec<_> =
        std::fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["device.toml"]);
}

#[tokio::test]
async fn a_supervisor_that_signs_its_challenge_is_trusted_and_gets_the_escrow_bag_of_an_unlocked_phone() {
    let (supervisor, other) = (Supervisor::new(), Supervisor::new());
    let folder = tempfile::tempdir().unwrap();
    let certificates = Value::Array(vec![Value::Data(supervisor.certificate.clone())]);
    let cloud = dictionary! {"IsSupervised": true, "SupervisorHostCertificates": certificates};
    let told = dictionary! {"CloudConfiguration": Value::Dictionary(cloud)};
    let told = Value::Dictionary(dictionary! {"GetCloudConfiguration": Value::Dictionary(told)});
    std::fs::write(folder.path().join("profiles.plist"), frame::to_xml(&told)).unwrap();
    let state = "[person]\nunlocks_after_ms = 0\n[trust]\nstate = \"supervised\"\n";
    let bench = Bench::at(folder, &format!("{state}[lock]\nstate = \"locked\"\n"), false);
    let identity = bench.device.identity().await.unwrap();
    let record =
        certs::new_record(&HostKeys::generate(), &identity.public_key, "HOST", "BUID").unwrap().to_plist();
    let record = frame::parse(&record, &Limits::FILE).unwrap().into_dictionary().unwrap();
    let challenged = async |who: &Supervisor| {
        let named = dictionary! {"SupervisorCertificate": Value::Data(who.certificate.clone())};
        bench.device.pair(&record, &named).await.unwrap()
    };
    let answered = async |response: Vec<u8>| {
        let response = dictionary! {"ChallengeResponse": Value::Data(response)};
        bench.device.pair(&record, &response).await.unwrap()
    };
    assert!(matches!(challenged(&other).await, Answer::Refused(Refusal::McProtected)));
    for bag in [false, true] {
        let Answer::Challenge(challenge) = challenged(&supervisor).await else { panic!("no challenge") };
        let wrong = answered(other.signed(&challenge, true)).await;
        assert!(matches!(wrong, Answer::Refused(Refusal::McProtected)));
        let Answer::Challenge(challenge) = challenged(&supervisor).await else { panic!("no challenge") };
        let Answer::Paired { escrow_bag } = answered(supervisor.signed(&challenge, true)).await else {
            panic!("the supervisor is not trusted")
        };
        assert_eq!(escrow_bag.is_some(), bag);
        bench.now(state);
        bench.device.set_lock(Lock::Unlocked);
    }
    assert_eq!(bench.obstacle().await, Obstacle::Supervised);
}

#[tokio::test]
async fn an_erased_phone_has_another_key_and_nothing_that_was_set() {
    let bench = Bench::new(QUICK);
    let session = bench.session().await;
    session.set_value(None, "DeviceName", "Anna".into()).await.unwrap();
    drop(session);
    let before = bench.device.identity().await.unwrap();
    for name in ["device-key.pem", "pairings.plist", "values.plist"] {
        bench.device.state().remove(Path::new(name)).unwrap();
    }
    bench.device.forget_pairings();
    bench.device.forget_values();
    assert_ne!(bench.device.string("DeviceName").as_deref(), Some("Anna"));
    assert_ne!(bench.device.identity().await.unwrap().public_key, before.public_key);
    // It cannot be told from a stranger with the same name: nothing is done in silence.
    assert_eq!(bench.obstacle().await, Obstacle::KeyChanged);
}
