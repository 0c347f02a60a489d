//! Phones that make trouble, and programs that do: what the other phones notice of it is nothing.

use std::sync::atomic::AtomicU32;
use std::time::Instant;

use super::muxer::{Ports, start};
use super::*;
use crate::muxd::{CONNECTIONS_MAX, Manners};
use crate::usbmux::packet::{Message, Numbers, Packet, Segment, flags};

/// Measured once by hand with a whole number of bytes and rounds; here it is only seen that nothing stops.
const MEASURED: &str = "IDEVICE_FIX_HOSTILE_ROUNDS";
/// A phone's answer to VERSION.
const VERSION: [u8; 20] = [0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
/// USB at high speed carries a hundred packets in a millisecond, of all phones on the bus together.
const FLOOD_PER_MS: u32 = 12;
/// What such a phone is read with.
const LINK: &str = "[link]\nbytes_per_second = 40000000\n";

/// What comes out of a phone, and what goes into it.
type Ends = (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>);

/// It takes everything and never says a word.
async fn silent((_keep, mut writes): Ends) {
    while writes.recv().await.is_some() {}
}

/// It says what it likes, as fast as USB lets it.
async fn flood((reads, mut writes): Ends, what: impl Fn(u32) -> Vec<u8>) {
    let _ = reads.send(VERSION.to_vec()).await;
    for n in 0.. {
        if reads.send(what(n)).await.is_err() {
            return;
        }
        while writes.try_recv().is_ok() {}
        if n.is_multiple_of(FLOOD_PER_MS) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn segment(n: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let message = Message::Segment(Segment {
        source: (n >> 8) as u16,
        destination: n as u16,
        sequence: n.wrapping_mul(77),
        acknowledged: n,
        flags,
        window_bytes: 131_072,
        payload,
    });
    Packet { numbers: Some(Numbers { sent: n as u16, seen: n as u16 }), message }.encode()
}

/// One of each kind, by turns.
async fn trouble(kind: u32, ends: Ends) {
    match kind % 5 {
        0 => silent(ends).await,
        1 => flood(ends, |n| segment(n, flags::RST, &[])).await,
        2 => flood(ends, |n| segment(n, flags::ACK, &[7; 300])).await,
        // Lengths that lie: more than anybody takes, and less than there is.
        3 => flood(ends, |n| [&[0, 0, 0, 6, 0xFF, 0xFF, 0xFF, n as u8][..], &[9; 100]].concat()).await,
        _ => flood(ends, |n| [&n.to_be_bytes()[..], &[0, 0, 0, 4], &[0xAB; 40]].concat()).await,
    }
}

/// Seconds for one whole file of the phone's.
async fn seconds(session: &lockdown::Session, bytes: usize) -> f64 {
    let began = Instant::now();
    let afc = Afc::open(session).await.unwrap();
    assert_eq!(afc.read_file("/DCIM/clip.mov", 1 << 30).await.unwrap().len(), bytes);
    began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_that_make_trouble_are_no_trouble_of_the_others() {
    let rounds: Option<usize> = std::env::var(MEASURED).ok().and_then(|told| told.parse().ok());
    let bytes = if rounds.is_some() { 100_000_000 } else { 1_000_000 };
    let (_folder, bus) = phone_with(bytes, LINK);
    let ports = Ports::new();
    ports.plug(2, &bus);
    let (_records, muxd) = start(&ports, Manners::default());
    let attached = muxd.devices().await.unwrap().remove(0);
    let phone = lockdown::Phone { muxer: Arc::clone(&muxd) as Arc<dyn Muxer>, attached };
    let wait = Duration::from_secs(60);
    let session = pairing::establish(&phone, wait, &Silent, &CancellationToken::new()).await.unwrap();

    let (mut alone, mut among) = (Vec::new(), Vec::new());
    let resets = Arc::new(AtomicU32::new(0));
    for _ in 0..rounds.unwrap_or(1) {
        alone.push(seconds(&session, bytes).await);
        for kind in 0..10 {
            ports.plug_trouble(100 + kind, move |ends| Box::pin(trouble(kind.into(), ends)));
        }
        // One that resets itself in a loop is a new one each time.
        let (resetting, count) = (Arc::clone(&ports), Arc::clone(&resets));
        let loops = tokio::spawn(async move {
            for address in (10..100).cycle() {
                resetting.plug_trouble(address, |ends| Box::pin(silent(ends)));
                tokio::time::sleep(Duration::from_millis(250)).await;
                resetting.unplug(address);
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        tokio::time::sleep(Duration::from_millis(600)).await;
        among.push(seconds(&session, bytes).await);
        assert!(muxd.listed().contains(&phone.attached));
        loops.abort();
        let _ = loops.await;
        (10..=110).for_each(|address| ports.unplug(address));
        ports.until_held(1).await;
    }
    assert!(resets.load(std::sync::atomic::Ordering::Relaxed) > 0);
    assert_eq!(
        muxd.devices().await.unwrap(),
        std::slice::from_ref(&phone.attached),
        "what made trouble has left nothing"
    );
    let best = |all: &[f64]| all.iter().copied().fold(f64::INFINITY, f64::min);
    let kept = best(&alone) / best(&among);
    eprintln!("beside ten phones that make trouble: {:.1} % of the throughput", 100.0 * kept);
    assert!(rounds.is_none() || kept >= 0.95, "{alone:?} {among:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_by_the_thousand_leave_nothing_and_as_many_as_there_can_be_end_no_other() {
    let told = std::env::var(MEASURED).ok().and_then(|told| told.parse().ok());
    let times = told.map_or(300, |rounds: usize| rounds * 10_000);
    let (_folder, bus) = phone_folder(10);
    let (bulk, _plugged) = cable(&bus).await;
    let line = Line::open(bulk).await.unwrap();
    for n in 0..times {
        let connected = line.connect(if n % 3 == 0 { 9 } else { lockdown::PORT }).await;
        assert_eq!(connected.is_err(), n % 3 == 0, "{connected:?}");
    }
    let over = tokio::time::timeout(Duration::from_secs(20), line.unused(Duration::from_millis(100)));
    over.await.expect("nothing stays of those that ended");

    // All that there can be at a time: one more is refused, and none of the others suffers.
    let mut busy = Vec::new();
    for n in 0..CONNECTIONS_MAX {
        busy.push(line.connect(lockdown::PORT).await.unwrap_or_else(|error| panic!("{n}: {error}")));
    }
    assert!(matches!(line.connect(lockdown::PORT).await, Err(Error::Refused(_))));
    let mut first = busy.swap_remove(0);
    first.write_all(&[0xFF; 4]).await.unwrap();
    let hung_up = tokio::time::timeout(Duration::from_secs(20), first.read(&mut [0; 1])).await;
    assert!(matches!(hung_up.expect("the phone answers"), Ok(0) | Err(_)));
    drop(first);
    let mut again = line.connect(lockdown::PORT).await;
    for _ in 0..40 {
        if again.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        again = line.connect(lockdown::PORT).await;
    }
    panic!("there is no room for another one: {again:?}");
}
