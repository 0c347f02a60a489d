//! What the multiplexer keeps of a phone, without a bus. The whole of it, with phones, is tried where there are some.

use futures_util::FutureExt;

use super::super::line::Bulk;
use super::super::plug::{NotReady, Ready};
use super::keep::LetGo;
use super::*;
use crate::usbmux::packet::{Message, Packet};

/// Nothing is ever plugged into it.
#[derive(Debug)]
struct NoBus;

impl Bus for NoBus {
    fn seen(&self) -> Result<Vec<Seen>, NotReady> {
        Ok(Vec::new())
    }

    fn ready(&self, _seen: &Seen) -> Result<Ready, NotReady> {
        Err(NotReady::Gone)
    }
}

fn house() -> Arc<House> {
    Arc::new(House {
        bus: Arc::new(NoBus),
        records: Arc::new(Records::in_folders([])),
        manners: Manners::default(),
        phones: Mutex::default(),
        changes: watch::Sender::default(),
        untried: watch::Sender::new(Some(0)),
    })
}

/// The line of a phone that says which protocol it speaks, and then nothing more.
async fn line() -> Line {
    let (answers, reads) = mpsc::channel(1);
    let (writes, mut written) = mpsc::channel(4);
    tokio::spawn(async move {
        let version = Packet { numbers: None, message: Message::Version { major: 1, minor: 0 } };
        let _ = answers.send(version.encode()).await;
        while written.recv().await.is_some() {}
    });
    Line::open(Bulk { reads, writes, packet_bytes: 512 }).await.unwrap()
}

#[tokio::test]
async fn a_phone_is_let_go_of_only_if_nobody_wants_it_by_then() {
    let (house, line) = (house(), line().await);
    let seen = Seen { bus: 1, address: 2, product_id: 0x12a8, speed_bps: 0 };
    let udid = Udid::parse("00008101-000000000000001E").unwrap();
    let here = house.enter(&seen, udid, line.clone());
    let unused = line.times_wanted();
    // Somebody asks for a connection between the last look and the word that it is let go of.
    let mut asking = Box::pin(house.connect(here.attached.id, 62078));
    assert!(futures_util::poll!(&mut asking).is_pending());
    assert!(matches!(here.let_go(&line, unused), LetGo::Wanted));
    let is_held = |house: &House| house.phones().plugged[&here.attached.id].line.borrow().is_some();
    assert!(is_held(&house), "whoever asked has its line");
    drop(asking);
    // A word that was said while it was held does not take it up again.
    house.phones().plugged[&here.attached.id].wanted.notify_one();
    let LetGo::Done(wanted) = here.let_go(&line, line.times_wanted()) else { panic!("nobody wants it") };
    assert!(!is_held(&house) && wanted.notified().now_or_never().is_none());
    let asking = house.connect(here.attached.id, 62078);
    assert!(asking.now_or_never().is_none() && wanted.notified().now_or_never().is_some());
    house.phones().plugged.clear();
    assert!(matches!(here.let_go(&line, line.times_wanted()), LetGo::Gone));
}

#[tokio::test]
async fn a_connection_that_a_phone_never_answers_does_not_keep_it_in_use() {
    let line = line().await;
    let impatient = tokio::time::timeout(Duration::from_millis(50), line.connect(62078)).await;
    assert!(impatient.is_err());
    let free = tokio::time::timeout(Duration::from_secs(60), line.unused(Duration::from_millis(100)));
    assert_eq!(free.await, Ok(1));
}
