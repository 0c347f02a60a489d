//! The whole of our own multiplexer with simulated phones that come, go, and make trouble.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::BoxFuture;

use super::*;
use crate::lockdown::pairing::Attempt;
use crate::muxd::{Hold, Manners, Muxd, NotReady, Ready, Records, Seen};
use crate::usbmux::server::tests::until;
use crate::usbmux::{DeviceId, Event, Udid};

/// A phone that makes trouble at its end of the cable: what it says, and what it is told.
type Trouble =
    Arc<dyn Fn((mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>)) -> BoxFuture<'static, ()> + Send + Sync>;

/// What is plugged into a port.
#[derive(Clone)]
enum InPort {
    Phone(Bus),
    Trouble(Trouble),
}

impl std::fmt::Debug for InPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Phone(_)) { "Phone" } else { "Trouble" })
    }
}

/// Ports of a computer, and what is plugged into them.
#[derive(Debug)]
pub(super) struct Ports {
    phones: Mutex<Vec<(Seen, InPort)>>,
    /// Nobody can look at them.
    is_blind: AtomicBool,
    /// So many tries fail first.
    refusals: Mutex<u32>,
    /// The system has not done its part yet.
    is_fresh: AtomicBool,
    changed: tokio::sync::Notify,
    /// Phones that are held now.
    held: Arc<AtomicUsize>,
}

/// A phone's end of the cable lasts as long as the host's.
#[derive(Debug)]
struct Plugged(tokio::task::JoinHandle<()>, Arc<AtomicUsize>);

impl Hold for Plugged {}

impl Drop for Plugged {
    fn drop(&mut self) {
        self.0.abort();
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait::async_trait]
impl muxd::Bus for Ports {
    fn seen(&self) -> Result<Vec<Seen>, NotReady> {
        if self.is_blind.load(Ordering::Relaxed) {
            return Err(NotReady::NotPermitted);
        }
        Ok(self.phones.lock().unwrap().iter().map(|(seen, _)| *seen).collect())
    }

    fn ready(&self, seen: &Seen) -> Result<Ready, NotReady> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(NotReady::NotPermitted);
        }
        let phones = self.phones.lock().unwrap();
        let device = phones.iter().find(|(phone, _)| phone == seen).ok_or(NotReady::Gone)?.1.clone();
        drop(phones);
        tokio::runtime::Handle::current().block_on(async {
            let (udid, (bulk, plugged)) = match device {
                InPort::Phone(bus) => (bus.devices().await.unwrap().remove(0).udid, cable(&bus).await),
                InPort::Trouble(trouble) => {
                    let (reads_in, reads) = mpsc::channel(4);
                    let (writes, writes_out) = mpsc::channel(WRITES_MAX);
                    let plugged = tokio::spawn(trouble((reads_in, writes_out)));
                    let udid =
                        Udid::parse(&format!("00008101-{:016X}", 0xBAD_0000 + u64::from(seen.address)));
                    (udid.unwrap(), (Bulk { reads, writes, packet_bytes: UNIT }, plugged))
                }
            };
            self.held.fetch_add(1, Ordering::Relaxed);
            Ok(Ready { udid, bulk, hold: Arc::new(Plugged(plugged, Arc::clone(&self.held))) })
        })
    }

    fn is_seen_to(&self, _seen: &Seen) -> bool {
        !self.is_fresh.load(Ordering::Relaxed)
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Ports {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            phones: Mutex::default(),
            is_blind: AtomicBool::new(false),
            refusals: Mutex::default(),
            is_fresh: AtomicBool::new(false),
            changed: tokio::sync::Notify::new(),
            held: Arc::default(),
        })
    }

    pub(super) fn plug(&self, address: u8, bus: &Bus) {
        self.plug_device(address, InPort::Phone(bus.clone()));
    }

    pub(super) fn plug_trouble(
        &self,
        address: u8,
        trouble: impl Fn((mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>)) -> BoxFuture<'static, ()>
        + Send
        + Sync
        + 'static,
    ) {
        self.plug_device(address, InPort::Trouble(Arc::new(trouble)));
    }

    fn plug_device(&self, address: u8, device: InPort) {
        let seen = Seen { bus: 1, address, product_id: 0x12a8, speed_bps: 480_000_000 };
        self.phones.lock().unwrap().push((seen, device));
    }

    pub(super) async fn until_held(&self, phones: usize) {
        until("what is held", || self.held.load(Ordering::Relaxed) == phones).await;
    }

    pub(super) fn unplug(&self, address: u8) {
        self.phones.lock().unwrap().retain(|(seen, _)| seen.address != address);
    }
}

pub(super) fn start(ports: &Arc<Ports>, manners: Manners) -> (tempfile::TempDir, Arc<Muxd>) {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::in_folders([folder.path().join("lockdown")]);
    let muxd = Muxd::start(Arc::clone(ports) as Arc<dyn muxd::Bus>, records, manners);
    (folder, Arc::new(muxd))
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_are_listed_reached_and_taken_from_the_list_each_by_itself() {
    let ((_one, first), (_two, second)) = (phone_folder(10), phone_folder(10));
    let ports = Ports::new();
    ports.plug(2, &first);
    ports.plug(3, &second);
    let (_records, muxd) = start(&ports, Manners::default());
    // The first list already has whatever is plugged in.
    let listed = muxd.devices().await.unwrap();
    assert_eq!(listed.len(), 2);
    let of = |address: u32| listed.iter().find(|it| it.location_id == 1 << 16 | address).unwrap().clone();
    assert_eq!((of(2).product_id, of(2).speed_bps), (0x12a8, 480_000_000));
    let mut events = muxd.listen().await.unwrap();
    for _ in 0..2 {
        assert!(matches!(next(&mut events).await, Event::Attached(_)));
    }
    let mut waiting = muxd.connect(of(2).id, lockdown::PORT).await.unwrap();
    // A look that fails unplugs nobody.
    ports.is_blind.store(true, Ordering::Relaxed);
    assert!(tokio::time::timeout(Duration::from_millis(600), events.recv()).await.is_err());
    ports.is_blind.store(false, Ordering::Relaxed);
    assert_eq!(muxd.devices().await.unwrap().len(), 2);
    let mut other = muxd.connect(of(3).id, lockdown::PORT).await.unwrap();
    ports.unplug(2);
    assert_eq!(next(&mut events).await, Event::Detached(of(2).id));
    assert!(waiting.read_u8().await.is_err());
    assert!(matches!(muxd.connect(of(2).id, 1).await, Err(Error::NoSuchDevice)));
    other.write_all(&[0, 0]).await.unwrap();
    assert_eq!(muxd.devices().await.unwrap(), [of(3)]);
    // Plugged in again it is another device, as usbmuxd has it.
    ports.plug(4, &first);
    let Event::Attached(again) = next(&mut events).await else { panic!("it is not listed again") };
    assert!(again.udid == of(2).udid && again.id > of(3).id);
    // With the multiplexer everything ends.
    drop(muxd);
    assert!(tokio::time::timeout(Duration::from_secs(10), other.read_u8()).await.unwrap().is_err());
}

#[tokio::test]
async fn one_that_is_closed_has_let_go_of_every_phone() {
    let ((_one, first), (_two, second)) = (phone_folder(10), phone_folder(10));
    let ports = Ports::new();
    ports.plug(2, &first);
    ports.plug(3, &second);
    let (_records, muxd) = start(&ports, Manners::default());
    assert_eq!(muxd.devices().await.unwrap().len(), 2);
    muxd.close().await;
    assert_eq!(muxd.listed(), []);
    ports.until_held(0).await;
    tokio::time::timeout(Duration::from_secs(1), muxd.close()).await.expect("once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_cannot_be_opened_is_tried_again_and_pairs_without_any_usbmuxd() {
    let (_folder, bus) = phone_folder(10);
    let ports = Ports::new();
    ports.plug(2, &bus);
    *ports.refusals.lock().unwrap() = 5;
    let (records, muxd) = start(&ports, Manners::default());
    assert_eq!(muxd.devices().await.unwrap(), []);
    let Event::Attached(attached) = next(&mut muxd.listen().await.unwrap()).await else { panic!("no phone") };
    let udid = attached.udid.clone();
    let phone = lockdown::Phone { muxer: Arc::clone(&muxd) as Arc<dyn Muxer>, attached };
    assert!(matches!(pairing::attempt(&phone).await.unwrap(), Attempt::Not(_)));
    let wait = Duration::from_secs(20);
    let session = pairing::establish(&phone, wait, &Silent, &CancellationToken::new()).await.unwrap();
    assert_eq!(session.udid(), &udid);
    assert!(records.path().join(format!("lockdown/{udid}.plist")).exists());
    assert!(matches!(pairing::attempt(&phone).await.unwrap(), Attempt::Trusted(_)));
    muxd.delete_pair_record(&udid).await.unwrap();
    assert_eq!(muxd.pair_record(&udid).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_left_alone_until_the_system_has_seen_to_it_but_not_for_long() {
    let (_folder, bus) = phone_folder(10);
    let ports = Ports::new();
    ports.is_fresh.store(true, Ordering::Relaxed);
    ports.plug(2, &bus);
    let began = std::time::Instant::now();
    let (_records, muxd) = start(&ports, Manners::default());
    assert_eq!(muxd.devices().await.unwrap().len(), 1);
    assert!(began.elapsed() >= Duration::from_millis(500), "nobody has seen to it");
    let mut events = muxd.listen().await.unwrap();
    assert!(matches!(next(&mut events).await, Event::Attached(_)));
    ports.unplug(2);
    ports.changed.notify_one();
    assert!(matches!(next(&mut events).await, Event::Detached(_)));
    ports.plug(3, &bus);
    ports.changed.notify_one();
    tokio::time::sleep(Duration::from_millis(50)).await;
    ports.is_fresh.store(false, Ordering::Relaxed);
    ports.changed.notify_one();
    assert!(matches!(next(&mut events).await, Event::Attached(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_asked_for_trust_at_the_plug_if_that_is_wanted() {
    let (_folder, bus) = phone_folder(10);
    let ports = Ports::new();
    let manners = Manners { asks_for_trust: true, ..Manners::default() };
    let (_records, muxd) = start(&ports, manners);
    let mut events = muxd.listen().await.unwrap();
    ports.plug(2, &bus);
    let mut attached = None;
    // Whether it is listed before its owner has answered depends on how soon that is.
    let paired = loop {
        match next(&mut events).await {
            Event::Attached(phone) => attached = Some(phone),
            Event::Paired(id) => break id,
            Event::Detached(_) => panic!("it did not leave"),
        }
    };
    let attached = match attached {
        Some(attached) => attached,
        None => match next(&mut events).await {
            Event::Attached(attached) => attached,
            other => panic!("{other:?}"),
        },
    };
    assert_eq!(attached.id, paired);
    assert!(muxd.pair_record(&attached.udid).await.unwrap().is_some());
}

/// A usbmuxd, say, that does what it is told.
#[derive(Debug, Default)]
struct Other {
    is_away: AtomicBool,
    has_phones: AtomicBool,
}

impl muxd::Neighbour for Other {
    fn leaves(&self, _free: Duration) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    fn has(&self, _phone: &Seen) -> bool {
        self.has_phones.load(Ordering::Relaxed)
    }

    fn unused_for(&self) -> Duration {
        Duration::from_millis(300)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_somebody_else_may_want_is_taken_late_held_while_it_is_used_and_given_back() {
    let (_folder, bus) = phone_folder(10);
    let ports = Ports::new();
    ports.plug(2, &bus);
    let other = Arc::new(Other::default());
    let manners = Manners { neighbour: Some(Arc::clone(&other) as _), first_id: 700, ..Manners::default() };
    let (_records, muxd) = start(&ports, manners);
    let mut events = muxd.listen().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(events.try_recv().is_err() && muxd.listed().is_empty());
    other.is_away.store(true, Ordering::Relaxed);
    let Event::Attached(attached) = next(&mut events).await else { panic!("it is not taken") };
    assert_eq!(attached.id, DeviceId(700));

    // As long as it is used it is ours, whoever comes.
    let mut used = muxd.connect(attached.id, lockdown::PORT).await.unwrap();
    other.is_away.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ports.held.load(Ordering::Relaxed), 1);
    used.write_all(&[0, 0]).await.unwrap();
    drop(used);
    until("nobody uses it, and it is held", || ports.held.load(Ordering::Relaxed) == 0).await;
    // It is listed all the same, and whoever wants it has it.
    assert_eq!(muxd.devices().await.unwrap(), std::slice::from_ref(&attached));
    let all = (0..4).map(|_| muxd.connect(attached.id, lockdown::PORT));
    let all = futures_util::future::try_join_all(all).await.unwrap();
    assert_eq!(ports.held.load(Ordering::Relaxed), 1);
    drop(all);
    until("it is not let go of again", || ports.held.load(Ordering::Relaxed) == 0).await;
    assert!(events.try_recv().is_err(), "nobody is told any of this");

    other.has_phones.store(true, Ordering::Relaxed);
    assert_eq!(next(&mut events).await, Event::Detached(attached.id));
    assert!(matches!(muxd.connect(attached.id, 1).await, Err(Error::NoSuchDevice)));
}
