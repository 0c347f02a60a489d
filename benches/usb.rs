//! What a multiplexer costs: the same phone on a real USB bus, reached through a muxer's socket or through our own
//! multiplexer in this process.
//!
//! `usb PATH BYTES` or `usb own BYTES`: one phone must be plugged in and have a file below `DCIM`. Says in one line of JSON
//! the median time of a question to lockdownd that needs no trust, how many bytes of that file were read over AFC and
//! thrown away (again and again until there were so many), the seconds that took, and the processor seconds of this
//! process for them. `tests/rig/run` calls it in its machine, for usbmuxd and for ours in turn, when `CABLE_BENCH` names
//! what `cargo bench --no-run --bench usb` made.

#![expect(clippy::print_stdout, reason = "figures are what a benchmark is for")]

#[path = "common/processor.rs"]
mod processor;
#[path = "common/reading.rs"]
mod reading;

use std::sync::Arc;
use std::time::{Duration, Instant};

use idevice_fix::afc::Afc;
use idevice_fix::lockdown::connection::Connection;
use idevice_fix::lockdown::{Phone, pairing};
use idevice_fix::muxd::{Manners, Muxd, Records, Usb};
use idevice_fix::photos;
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::usbmux::client::Usbmuxd;
use idevice_fix::usbmux::{Address, Muxer};

const QUESTIONS: usize = 200;
const PLUG_WAIT: Duration = Duration::from_secs(60);

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let (Some(which), Some(bytes)) = (words.next(), words.next().and_then(|word| word.parse().ok())) else {
        println!("usb PATH|own BYTES: with a phone on the bus; see tests/rig/run");
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(measure(&which, bytes));
    runtime.shutdown_timeout(Duration::from_secs(5));
}

async fn measure(which: &str, wanted: u64) {
    let records = tempfile::tempdir().expect("a temporary folder");
    let muxer: Arc<dyn Muxer> = if which == "own" {
        let records = Records::in_folders([records.path().to_owned()]);
        Arc::new(Muxd::start(Arc::new(Usb::system()), records, Manners::default()))
    } else {
        Arc::new(Usbmuxd::at(Address::Unix(which.into())))
    };
    let phone = plugged_in(muxer).await;
    let median = question(&phone).await;
    let cancel = CancellationToken::new();
    let session = pairing::establish(&phone, PLUG_WAIT, &Silent, &cancel).await.expect("the phone trusts us");
    let afc = Afc::open(&session).await.expect("the files are served");
    let listing = photos::walk(&afc, &cancel).await.expect("the files are listed");
    let largest = listing.files.iter().max_by_key(|file| file.size).expect("there is a photo");
    let (processor_before, began) = (processor::seconds(), Instant::now());
    let mut bytes = 0;
    while bytes < wanted {
        bytes += reading::read(&afc, &largest.path, largest.size).await;
    }
    println!(
        "{{\"us\": {:.0}, \"bytes\": {bytes}, \"seconds\": {:.3}, \"processor_seconds\": {:.2}}}",
        median.as_secs_f64() * 1e6,
        began.elapsed().as_secs_f64(),
        processor::seconds() - processor_before
    );
}

async fn plugged_in(muxer: Arc<dyn Muxer>) -> Phone {
    let began = Instant::now();
    loop {
        let listed = muxer.devices().await.unwrap_or_default();
        if let Some(attached) = listed.into_iter().next() {
            return Phone { muxer, attached };
        }
        assert!(began.elapsed() < PLUG_WAIT, "no phone is listed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The median of the times that a question takes.
async fn question(phone: &Phone) -> Duration {
    let mut lockdown = Connection::open(phone).await.expect("lockdownd answers");
    let mut times = Vec::with_capacity(QUESTIONS);
    for _ in 0..QUESTIONS {
        let began = Instant::now();
        lockdown.query_type().await.expect("lockdownd answers");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}
